/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One connection to a door of a node, see link.h. */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/link.h"

/* A body that leaves from where it is, behind so many bytes of `out`. */
struct vg_link_outside {
	const __u8 *data;
	size_t length;
	__u64 at;
};

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

static void take(struct vg_buffer *buffer, size_t length)
{
	buffer->start += length;
	if (buffer->start == buffer->end)
		buffer->start = buffer->end = 0;
}

/* ---- finding --------------------------------------------------------------------------------------------------- */

void vg_address_set_port(union vg_address *address, __u16 port)
{
	if (address->any.sa_family == AF_INET6)
		address->v6.sin6_port = VG_HTOBE16(port);
	else
		address->v4.sin_port = VG_HTOBE16(port);
}

struct vg_link *vg_link_at(struct virgo *v, const struct vg_link_user *user, const union vg_address *address,
			   socklen_t length)
{
	struct vg_link *link;

	for (unsigned int i = 0; i < v->links_count; i++)
		if (v->links[i]->user == user && vg_address_same(&v->links[i]->address, address))
			return v->links[i];
	if (v->links_count == VG_LINKS_MAX)
		return NULL;
	if (!v->links)
		v->links = calloc(VG_LINKS_MAX, sizeof(struct vg_link *));
	link = v->links ? calloc(1, sizeof(*link)) : NULL;
	if (!link)
		return NULL;
	link->user = user;
	link->fd = -1;
	link->address = *address;
	link->address_length = length;
	link->number = v->links_count;
	vg_address_text(address, link->text, sizeof(link->text));
	v->links[v->links_count++] = link;
	return link;
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
	vg_links_due(v, now_ns + VG_CONNECT_NS);
	if (connect(link->fd, &link->address.any, link->address_length) < 0 && errno != EINPROGRESS)
		vg_link_fail(v, link, -errno, now_ns);
}

void vg_link_want(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	if (link->fd >= 0)
		return;
	link->wanted = true;
	vg_links_due(v, now_ns > link->retry_ns ? now_ns : link->retry_ns);
}

static void close_link(struct vg_link *link)
{
	if (link->fd >= 0)
		(void)close(link->fd);
	link->fd = -1;
	link->connecting = link->placed = false;
	link->ping_ns = link->out_taken = 0;
	vg_buffer_free(&link->in);
	vg_buffer_free(&link->out);
	vg_buffer_free(&link->outside);
}

void vg_link_drop(struct vg_link *link)
{
	close_link(link);
}

void vg_link_fail(struct virgo *v, struct vg_link *link, int error, __u64 now_ns)
{
	bool was_up = vg_link_is_up(link);

	close_link(link);
	link->failed_ns = now_ns;
	link->load_ns = 0;
	link->backoff_ns = link->backoff_ns ? 2 * link->backoff_ns : VG_LINK_RETRY_FIRST_NS;
	if (link->backoff_ns > VG_LINK_RETRY_MAX_NS)
		link->backoff_ns = VG_LINK_RETRY_MAX_NS;
	/* At once, if it had worked for a while. */
	link->retry_ns = (was_up ? link->begun_ns : now_ns) + link->backoff_ns;
	link->user->down(v, link, was_up, error, now_ns);
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

int vg_link_say(struct virgo *v, struct vg_link *link, const struct vg_wire_header *head, const void *key,
		__u32 key_length, const void *body, __u32 body_length, bool in_place)
{
	const size_t padded = VG_ALIGN_UP((size_t)key_length, (size_t)8);
	const bool outside = in_place && body_length > VG_LINK_COPY_MAX;
	struct vg_wire_header header = *head;
	size_t header_at;

	if (vg_buffer_reserve(&link->out, sizeof(header) + padded + (outside ? 0 : body_length)) ||
	    (outside && vg_buffer_reserve(&link->outside, sizeof(struct vg_link_outside))))
		return -ENOMEM;
	header.magic = VG_HTOBE16(VG_WIRE_MAGIC);
	header.version = VG_WIRE_VERSION;
	header.flags |= VG_HTOBE16(v->keyed ? VG_FLAG_TAGGED : 0);
	header.client = VG_HTOBE64(v->client);
	header.source_node = VG_HTOBE16(VG_NODE_NONE);
	header.key_length = VG_HTOBE32(key_length);
	header.body_length = VG_HTOBE32(body_length);
	header_at = link->out.end;
	link->out.end += sizeof(header);
	(void)vg_buffer_add(&link->out, key, key_length);
	(void)vg_buffer_add(&link->out, (const __u8[8]){ 0 }, padded - key_length);
	if (v->keyed)
		header.tag = vg_wire_tag_of(v->key, &header, link->out.data + header_at + sizeof(header));
	memcpy(link->out.data + header_at, &header, sizeof(header));
	if (!outside)
		(void)vg_buffer_add(&link->out, body, body_length);
	else
		(void)vg_buffer_add(&link->outside,
				    &(struct vg_link_outside){
					    body, body_length, link->out_taken + (link->out.end - link->out.start) },
				    sizeof(struct vg_link_outside));
	return 0;
}

/* What is to leave, in order. How many vectors. */
static int gather(const struct vg_link *link, struct iovec *vectors)
{
	const __u8 *at = link->out.data + link->out.start;
	__u64 taken = link->out_taken;
	size_t next = link->outside.start;
	int count = 0;

	for (; next < link->outside.end && count + 2 < VG_LINK_VECTORS_MAX; next += sizeof(struct vg_link_outside)) {
		struct vg_link_outside outside;

		memcpy(&outside, link->outside.data + next, sizeof(outside));
		if (outside.at > taken)
			vectors[count++] = (struct iovec){ (void *)at, (size_t)(outside.at - taken) };
		at += outside.at - taken;
		taken = outside.at;
		vectors[count++] = (struct iovec){ (void *)outside.data, outside.length };
	}
	if (next == link->outside.end && at < link->out.data + link->out.end)
		vectors[count++] = (struct iovec){ (void *)at, (size_t)(link->out.data + link->out.end - at) };
	return count;
}

static void note_sent(struct vg_link *link, size_t sent)
{
	while (sent) {
		struct vg_link_outside outside = { .at = ~0ULL };
		size_t part;

		if (link->outside.start < link->outside.end)
			memcpy(&outside, link->outside.data + link->outside.start, sizeof(outside));
		if (outside.at > link->out_taken) {
			part = outside.at - link->out_taken < sent ? (size_t)(outside.at - link->out_taken) : sent;
			link->out_taken += part;
			take(&link->out, part);
		} else if (sent < outside.length) {
			part = sent;
			outside.data += part;
			outside.length -= part;
			memcpy(link->outside.data + link->outside.start, &outside, sizeof(outside));
		} else {
			part = outside.length;
			take(&link->outside, sizeof(outside));
		}
		sent -= part;
	}
}

static bool has_output(const struct vg_link *link)
{
	return link->out.start < link->out.end || link->outside.start < link->outside.end;
}

void vg_link_flush(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	struct iovec vectors[VG_LINK_VECTORS_MAX];

	while (vg_link_is_up(link) && has_output(link)) {
		struct msghdr message = { .msg_iov = vectors, .msg_iovlen = (size_t)gather(link, vectors) };
		ssize_t sent = sendmsg(link->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (sent < 0) {
			vg_link_fail(v, link, -errno, now_ns);
			return;
		}
		note_sent(link, (size_t)sent);
	}
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

/* Before its lengths are believed: an answer to us, tagged where there is a key, no longer than any can be. */
static int check_head(struct virgo *v, const struct vg_link *link, const struct vg_wire_header *head)
{
	if (vg_wire_check(head) != VG_WIRE_OK || !(head->flags & VG_HTOBE16(VG_FLAG_REPLY)) || head->key_length ||
	    VG_BE32TOH(head->body_length) > link->user->body_max ||
	    (head->client && VG_BE64TOH(head->client) != v->client))
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

/* So many bytes have arrived in their place, or are at `data` and belong there. */
static void fill_place(struct vg_link *link, const __u8 *data, size_t length)
{
	for (int i = 0; i < 2; i++) {
		size_t part = length < link->into[i].iov_len ? length : link->into[i].iov_len;

		if (data && part) {
			memcpy(link->into[i].iov_base, data, part);
			data += part;
		}
		link->into[i].iov_base = (__u8 *)link->into[i].iov_base + part;
		link->into[i].iov_len -= part;
		length -= part;
	}
	assert(!length);
}

/* What is here of a message goes where the rest of it will. */
static int begin_place(struct virgo *v, struct vg_link *link, const struct vg_wire_header *head)
{
	struct vg_buffer *in = &link->in;

	if (!link->user->place || !link->user->place(v, link, head, link->into))
		return vg_buffer_reserve(in, vg_wire_length(head) - (in->end - in->start));
	assert(link->into[0].iov_len + link->into[1].iov_len == VG_BE32TOH(head->body_length));
	link->head = *head;
	link->placed = true;
	in->start += sizeof(*head);
	fill_place(link, in->data + in->start, in->end - in->start);
	in->start = in->end = 0;
	return 0;
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
		error = check_head(v, link, &head);
		if (error)
			return error;
		whole = vg_wire_length(&head);
		if (in->end - in->start < whole)
			return begin_place(v, link, &head);
		/* Moved on before it is handed over: whoever hears of it may end the link. */
		in->start += whole;
		note_load(link, &head, now_ns);
		error = link->user->frame(v, link, &head, at + sizeof(head), now_ns);
		if (error || link->fd < 0)
			return error;
	}
	return 0;
}

/* 0: all that was asked for came, and there may be more; 1: that was all; or why the connection cannot go on. */
static int receive_once(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	struct vg_buffer *in = &link->in;
	struct iovec vectors[3] = { link->into[0], link->into[1] };
	size_t wanted = 0, placed = 0, got;
	struct msghdr message;
	ssize_t result;
	int error = 0;

	if (in->start == in->end)
		in->start = in->end = 0;
	if (in->room - in->end < VG_LINK_READ_BYTES / 4)
		error = vg_buffer_reserve(in, VG_LINK_READ_BYTES);
	if (error)
		return error;
	if (link->placed)
		placed = vectors[0].iov_len + vectors[1].iov_len;
	wanted = in->room - in->end;
	if (link->large && wanted > VG_LINK_SPILL_BYTES && in->end - in->start < sizeof(struct vg_wire_header))
		wanted = VG_LINK_SPILL_BYTES;
	vectors[2] = (struct iovec){ in->data + in->end, wanted };
	message = (struct msghdr){ .msg_iov = link->placed ? vectors : vectors + 2,
				   .msg_iovlen = link->placed ? 3 : 1 };
	result = recvmsg(link->fd, &message, MSG_DONTWAIT);
	if (result < 0)
		return errno == EAGAIN || errno == EINTR ? 1 : -errno;
	if (!result)
		return -ECONNRESET;
	link->heard_ns = now_ns;
	link->ping_ns = 0;
	got = (size_t)result;
	wanted += placed;
	if (link->placed) {
		fill_place(link, NULL, got < placed ? got : placed);
		in->end += got < placed ? 0 : got - placed;
		if (got >= placed) {
			link->placed = false;
			note_load(link, &link->head, now_ns);
			error = link->user->frame(v, link, &link->head, NULL, now_ns);
		}
	} else {
		in->end += got;
	}
	if (!error && vg_link_is_up(link) && !link->placed)
		error = feed(v, link, now_ns);
	return error ? error : got < wanted;
}

static void receive(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	int done = 0;

	for (int rounds = 0; rounds < VG_LINK_ROUNDS_MAX && !done && vg_link_is_up(link); rounds++)
		done = receive_once(v, link, now_ns);
	if (done < 0 && link->fd >= 0)
		vg_link_fail(v, link, done, now_ns);
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
	link->user->up(v, link, now_ns);
}

static void ready(struct virgo *v, struct vg_link *link, short events, __u64 now_ns)
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
	const struct vg_wire_header ping = { .opcode = VG_OP_PING, .sequence = VG_HTOBE64(v->sequence + 1) };

	if (link->fd < 0) {
		vg_link_want(v, link, now_ns);
	} else if (!link->connecting && !link->ping_ns && !vg_link_say(v, link, &ping, NULL, 0, NULL, 0, false)) {
		v->sequence++;
		link->ping_ns = now_ns;
	}
}

static void timers(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	if (link->fd < 0) {
		if (!link->wanted)
			return;
		if (now_ns < link->retry_ns)
			vg_links_due(v, link->retry_ns);
		else
			open_link(v, link, now_ns);
	} else if (link->connecting) {
		if (now_ns >= link->begun_ns + VG_CONNECT_NS)
			vg_link_fail(v, link, -ETIMEDOUT, now_ns);
		else
			vg_links_due(v, link->begun_ns + VG_CONNECT_NS);
	} else if (link->ping_ns) {
		if (now_ns >= link->ping_ns + v->timeout_ns)
			vg_link_fail(v, link, -ETIMEDOUT, now_ns);
		else
			vg_links_due(v, link->ping_ns + v->timeout_ns);
	} else if (link->users) {
		if (now_ns >= link->heard_ns + VG_LINK_SILENCE_NS)
			vg_link_probe(v, link, now_ns);
		vg_links_due(v,
			     link->ping_ns ? link->ping_ns + v->timeout_ns : link->heard_ns + VG_LINK_SILENCE_NS);
	}
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

void vg_links_due(struct virgo *v, __u64 due_ns)
{
	if (due_ns < v->links_due_ns)
		v->links_due_ns = due_ns;
}

nfds_t vg_links_poll(struct virgo *v, struct pollfd *polled, nfds_t room)
{
	nfds_t count = 0;

	for (unsigned int i = 0; i < v->links_count && count < room; i++) {
		const struct vg_link *link = v->links[i];

		if (link->fd >= 0)
			polled[count++] = (struct pollfd){
				.fd = link->fd,
				.events = (short)(POLLIN | (link->connecting || has_output(link) ? POLLOUT : 0)),
			};
	}
	return count;
}

void vg_links_ready(struct virgo *v, const struct pollfd *polled, nfds_t count, __u64 now_ns)
{
	for (nfds_t i = 0; i < count; i++)
		for (unsigned int j = 0; polled[i].revents && j < v->links_count; j++)
			if (v->links[j]->fd == polled[i].fd) {
				ready(v, v->links[j], polled[i].revents, now_ns);
				break;
			}
}

void vg_links_timers(struct virgo *v, __u64 now_ns)
{
	for (unsigned int i = 0; i < v->links_count; i++)
		timers(v, v->links[i], now_ns);
}

void vg_links_flush(struct virgo *v, __u64 now_ns)
{
	for (unsigned int i = 0; i < v->links_count; i++)
		vg_link_flush(v, v->links[i], now_ns);
}

void vg_links_end(struct virgo *v)
{
	vg_links_flush(v, vg_now_ns());
	for (unsigned int i = 0; i < v->links_count; i++) {
		close_link(v->links[i]);
		free(v->links[i]);
	}
	v->links_count = 0;
	free(v->links);
	v->links = NULL;
}
