/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connection to a node's CPU pool: one, for all its jobs. Messages are appended to `out` and leave at the end of
 * the turn; what arrives is handed to job.c whole, where it lies. A silent connection with jobs on it is asked for a
 * sign of life, and one that gives none has broken.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/job.h"

/* ---- buffers --------------------------------------------------------------------------------------------------- */

int vg_buffer_reserve(struct vg_buffer *buffer, size_t bytes)
{
	size_t filled = buffer->end - buffer->start, room = buffer->room ? buffer->room : 4096;
	__u8 *data;

	if (buffer->room - buffer->end >= bytes)
		return 0;
	if (buffer->start && buffer->room - filled >= bytes && filled <= buffer->room / 2) {
		memmove(buffer->data, buffer->data + buffer->start, filled);
		buffer->start = 0;
		buffer->end = filled;
		return 0;
	}
	while (room - buffer->end < bytes)
		room *= 2;
	data = realloc(buffer->data, room);
	if (!data)
		return -ENOMEM;
	buffer->data = data;
	buffer->room = room;
	return 0;
}

int vg_buffer_add(struct vg_buffer *buffer, const void *data, size_t length)
{
	int error = vg_buffer_reserve(buffer, length);

	if (error || !length)
		return error;
	memcpy(buffer->data + buffer->end, data, length);
	buffer->end += length;
	return 0;
}

void vg_buffer_free(struct vg_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct vg_buffer){ 0 };
}

/* ---- finding --------------------------------------------------------------------------------------------------- */

static void set_port(union vg_address *address, __u16 port)
{
	if (address->any.sa_family == AF_INET6)
		address->v6.sin6_port = VG_HTOBE16(port);
	else
		address->v4.sin_port = VG_HTOBE16(port);
}

struct vg_link *vg_link_at(struct virgo *v, const union vg_address *address, socklen_t length)
{
	struct vg_link *link;

	for (unsigned int i = 0; i < v->links_count; i++)
		if (vg_address_same(&v->links[i]->address, address))
			return v->links[i];
	if (v->links_count == VG_LINKS_MAX)
		return NULL;
	if (!v->links)
		v->links = calloc(VG_LINKS_MAX, sizeof(struct vg_link *));
	link = v->links ? calloc(1, sizeof(*link)) : NULL;
	if (!link)
		return NULL;
	link->fd = -1;
	link->address = *address;
	link->address_length = length;
	link->number = v->links_count;
	vg_address_text(address, link->text, sizeof(link->text));
	v->links[v->links_count++] = link;
	return link;
}

struct vg_link *vg_link_of(struct virgo *v, const struct vg_peer *peer)
{
	union vg_address address = peer->address;

	if (peer->cpu_off)
		return NULL;
	set_port(&address, peer->cpu_port ? peer->cpu_port : v->cpu_port);
	return vg_link_at(v, &address, peer->address_length);
}

/* ---- opening and closing --------------------------------------------------------------------------------------- */

static void open_link(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	const int on = 1;

	link->wanted = false;
	link->begun_ns = now_ns;
	link->fd = socket(link->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (link->fd < 0) {
		vg_link_fail(v, link, -errno, now_ns);
		return;
	}
	(void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	link->connecting = true;
	vg_jobs_due(v, now_ns + VG_CONNECT_NS);
	if (connect(link->fd, &link->address.any, link->address_length) < 0 && errno != EINPROGRESS)
		vg_link_fail(v, link, -errno, now_ns);
}

void vg_link_want(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	if (link->fd >= 0)
		return;
	link->wanted = true;
	vg_jobs_due(v, now_ns > link->retry_ns ? now_ns : link->retry_ns);
}

void vg_link_close(struct vg_link *link)
{
	if (link->fd >= 0)
		(void)close(link->fd);
	link->fd = -1;
	link->connecting = false;
	link->ping_ns = 0;
	vg_buffer_free(&link->in);
	vg_buffer_free(&link->out);
}

void vg_link_fail(struct virgo *v, struct vg_link *link, int error, __u64 now_ns)
{
	bool was_up = link->fd >= 0 && !link->connecting;

	vg_link_close(link);
	link->failed_ns = now_ns;
	link->load_ns = 0;
	link->backoff_ns = link->backoff_ns ? 2 * link->backoff_ns : VG_LINK_RETRY_FIRST_NS;
	if (link->backoff_ns > VG_LINK_RETRY_MAX_NS)
		link->backoff_ns = VG_LINK_RETRY_MAX_NS;
	link->retry_ns = now_ns + link->backoff_ns;
	vg_jobs_link_down(v, link, was_up, error, now_ns);
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

int vg_link_send(struct virgo *v, struct vg_link *link, const struct vg_wire_header *head, const void *body,
		 __u32 body_length, __u64 *ret_sequence)
{
	const size_t padded = VG_ALIGN_UP((size_t)v->owner_length, (size_t)8);
	struct vg_wire_header header = *head;

	if (vg_buffer_reserve(&link->out, sizeof(header) + padded + body_length))
		return -ENOMEM;
	header.magic = VG_HTOBE16(VG_WIRE_MAGIC);
	header.version = VG_WIRE_VERSION;
	header.flags = VG_HTOBE16(v->keyed ? VG_FLAG_TAGGED : 0);
	header.client = VG_HTOBE64(v->client);
	/* What is never answered needs no name, and leaves the node's window to what must not be done twice. */
	if (!header.sequence && head->opcode != VG_OP_JOB_INPUT && head->opcode != VG_OP_JOB_WINDOW &&
	    head->opcode != VG_OP_JOB_RESIZE)
		header.sequence = VG_HTOBE64(++v->sequence);
	header.source_node = VG_HTOBE16(VG_NODE_NONE);
	header.key_length = VG_HTOBE32(v->owner_length);
	header.body_length = VG_HTOBE32(body_length);
	if (v->keyed)
		header.tag = vg_wire_tag_of(v->key, &header, v->owner);
	(void)vg_buffer_add(&link->out, &header, sizeof(header));
	(void)vg_buffer_add(&link->out, v->owner, padded);
	(void)vg_buffer_add(&link->out, body, body_length);
	if (ret_sequence)
		*ret_sequence = VG_BE64TOH(header.sequence);
	return 0;
}

void vg_link_flush(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	while (link->fd >= 0 && !link->connecting && link->out.start < link->out.end) {
		ssize_t sent = send(link->fd, link->out.data + link->out.start, link->out.end - link->out.start,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (sent < 0) {
			vg_link_fail(v, link, -errno, now_ns);
			return;
		}
		link->out.start += (size_t)sent;
	}
	if (link->out.start == link->out.end)
		link->out.start = link->out.end = 0;
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

/* Before its lengths are believed: an answer to us, tagged where there is a key, no longer than any can be. */
static int check_head(struct virgo *v, const struct vg_wire_header *head)
{
	if (vg_wire_check(head) != VG_WIRE_OK || !(head->flags & VG_HTOBE16(VG_FLAG_REPLY)) || head->key_length ||
	    VG_BE32TOH(head->body_length) > VG_LINK_BODY_MAX || (head->client && VG_BE64TOH(head->client) != v->client))
		return -EPROTO;
	if (!vg_reply_tag_right(v, head) && head->status != VG_STATUS_UNAUTHORIZED)
		return -EPROTO;
	return 0;
}

static void note_load(struct vg_link *link, const struct vg_wire_header *head, __u64 now_ns)
{
	link->load = (struct virgo_load){
		.in_flight = VG_BE32TOH(head->load.in_flight),
		.service_ns = VG_BE32TOH(head->load.service_ns),
		.run_queue_delay_ns = VG_BE32TOH(head->load.run_queue_delay_ns),
		.memory_free_permille = VG_BE16TOH(head->load.memory_free_permille),
	};
	link->load_ns = now_ns;
}

/* Hand over all whole messages. */
static int feed(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	struct vg_buffer *in = &link->in;

	while (in->end - in->start >= sizeof(struct vg_wire_header)) {
		const __u8 *at = in->data + in->start;
		struct vg_wire_header head;
		__u64 whole;
		int error;

		memcpy(&head, at, sizeof(head));
		error = check_head(v, &head);
		if (error)
			return error;
		whole = vg_wire_length(&head);
		if (in->end - in->start < whole)
			return vg_buffer_reserve(in, whole - (in->end - in->start));
		/* Moved on before it is handed over: whoever hears of it may end the link. */
		in->start += whole;
		note_load(link, &head, now_ns);
		error = vg_jobs_frame(v, link, &head, at + sizeof(head), now_ns);
		if (error || link->fd < 0)
			return error;
	}
	return 0;
}

static void receive(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	struct vg_buffer *in = &link->in;
	ssize_t got = 0;
	int error;

	if (in->start == in->end)
		in->start = in->end = 0;
	error = in->room - in->end >= VG_LINK_READ_BYTES / 4 ? 0 : vg_buffer_reserve(in, VG_LINK_READ_BYTES);
	if (!error) {
		got = recv(link->fd, in->data + in->end, in->room - in->end, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		error = got < 0 ? -errno : got == 0 ? -ECONNRESET : 0;
	}
	if (!error) {
		in->end += (size_t)got;
		link->heard_ns = now_ns;
		link->ping_ns = 0;
		error = feed(v, link, now_ns);
	}
	if (error && link->fd >= 0)
		vg_link_fail(v, link, error, now_ns);
}

static void finish_connecting(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (error) {
		vg_link_fail(v, link, -error, now_ns);
		return;
	}
	link->connecting = false;
	link->heard_ns = now_ns;
	link->backoff_ns = link->failed_ns = 0;
	vg_jobs_link_up(v, link, now_ns);
}

void vg_link_ready(struct virgo *v, struct vg_link *link, short events, __u64 now_ns)
{
	if (link->connecting) {
		if (events & (POLLOUT | POLLERR | POLLHUP))
			finish_connecting(v, link, now_ns);
	} else if (events & (POLLIN | POLLERR | POLLHUP)) {
		receive(v, link, now_ns);
	}
	vg_link_flush(v, link, now_ns);
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

void vg_link_probe(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	if (link->fd < 0)
		vg_link_want(v, link, now_ns);
	else if (!link->connecting && !link->ping_ns &&
		 !vg_link_send(v, link, &(struct vg_wire_header){ .opcode = VG_OP_PING }, NULL, 0, NULL))
		link->ping_ns = now_ns;
}

void vg_link_timers(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	if (link->fd < 0) {
		if (!link->wanted)
			return;
		if (now_ns < link->retry_ns)
			vg_jobs_due(v, link->retry_ns);
		else
			open_link(v, link, now_ns);
	} else if (link->connecting) {
		if (now_ns >= link->begun_ns + VG_CONNECT_NS)
			vg_link_fail(v, link, -ETIMEDOUT, now_ns);
		else
			vg_jobs_due(v, link->begun_ns + VG_CONNECT_NS);
	} else if (link->ping_ns) {
		if (now_ns >= link->ping_ns + v->timeout_ns)
			vg_link_fail(v, link, -ETIMEDOUT, now_ns);
		else
			vg_jobs_due(v, link->ping_ns + v->timeout_ns);
	} else if (link->jobs) {
		if (now_ns >= link->heard_ns + VG_LINK_SILENCE_NS)
			vg_link_probe(v, link, now_ns);
		vg_jobs_due(v, link->ping_ns ? link->ping_ns + v->timeout_ns : link->heard_ns + VG_LINK_SILENCE_NS);
	}
}
