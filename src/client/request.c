/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The life of a request: submitted, sent on some path, sent again on another, completed once. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/file.h"
#include "client/near.h"
#include "client/job.h"

__u64 vg_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
}

__u64 vg_random(struct virgo *v)
{
	v->random_state++;
	return vg_hash64(&v->random_state, sizeof(v->random_state));
}

struct vg_request *vg_request_find(struct virgo *v, __u64 sequence)
{
	struct vg_request *request = &v->requests[sequence & (v->window - 1)];

	return request->state != VG_REQUEST_FREE && request->sequence == sequence ? request : NULL;
}

struct vg_wire_header *vg_request_header(struct vg_request *request)
{
	return (struct vg_wire_header *)request->head;
}

void vg_request_due(struct virgo *v, __u64 due_ns)
{
	if (due_ns < v->timer_ns)
		v->timer_ns = due_ns;
}

/* ---- submitting ------------------------------------------------------------------------------------------------ */

static const struct {
	__u8 opcode;
	bool key, handle, data, repeatable, stream_only;
} operations[VIRGO_OPERATION_MAX] = {
	[VIRGO_PING] = { VG_OP_PING, .repeatable = true },
	[VIRGO_GET] = { VG_OP_GET, .key = true, .repeatable = true },
	[VIRGO_SET] = { VG_OP_SET, .key = true, .data = true, .repeatable = true },
	[VIRGO_CAS] = { VG_OP_CAS, .key = true, .data = true },
	[VIRGO_MGET] = { VG_OP_MGET, .data = true, .repeatable = true },
	[VIRGO_DEL] = { VG_OP_DEL, .key = true },
	[VIRGO_GET_RANGE] = { VG_OP_HANDLE_GET, .handle = true, .repeatable = true },
	[VIRGO_SET_RANGE] = { VG_OP_HANDLE_SET, .handle = true, .data = true, .repeatable = true },
	[VIRGO_MALLOC] = { VG_OP_HANDLE_ALLOC },
	[VIRGO_FREE] = { VG_OP_HANDLE_FREE, .handle = true },
	[VIRGO_SIZE] = { VG_OP_HANDLE_GET, .handle = true, .repeatable = true },
	[VIRGO_COMMAND] = { VG_OP_COMMAND, .data = true, .stream_only = true },
	[VIRGO_STATUS] = { VG_OP_STATUS, .repeatable = true, .stream_only = true },
	[VIRGO_SNAPSHOT_OPEN] = { VG_OP_SNAPSHOT_OPEN, .stream_only = true },
	[VIRGO_SNAPSHOT_GET] = { VG_OP_SNAPSHOT_GET, .key = true, .repeatable = true, .stream_only = true },
	[VIRGO_SNAPSHOT_READ] = { VG_OP_SNAPSHOT_READ, .handle = true, .stream_only = true },
	[VIRGO_SNAPSHOT_CLOSE] = { VG_OP_SNAPSHOT_CLOSE, .handle = true, .stream_only = true },
	[VIRGO_SNAPSHOT_LOAD] = { VG_OP_SNAPSHOT_LOAD, .handle = true, .data = true, .stream_only = true },
	[VIRGO_TOPOLOGY] = { VG_OP_TOPOLOGY, .repeatable = true, .stream_only = true },
};

static int check(const struct virgo *v, const struct virgo_request *wanted)
{
	bool range = wanted->operation == VIRGO_GET_RANGE || wanted->operation == VIRGO_SET_RANGE;

	if ((int)wanted->operation <= 0 || wanted->operation >= VIRGO_OPERATION_MAX || !wanted->fn ||
	    wanted->node > v->peers_count)
		return -EINVAL;
	if (operations[wanted->operation].key && (!wanted->key || !wanted->key_length))
		return -EINVAL;
	if (operations[wanted->operation].data && !wanted->data && wanted->length)
		return -EINVAL;
	if ((wanted->flags & VIRGO_IF_ABSENT) && (wanted->flags & VIRGO_IF_PRESENT))
		return -EINVAL;
	/* A range of no bytes would be the question for the size. */
	if (range && (!wanted->length || wanted->offset > 0xffffffff))
		return wanted->length ? -ERANGE : -EINVAL;
	if (wanted->operation == VIRGO_MALLOC && !wanted->length)
		return -EINVAL;
	if (wanted->key_length > VG_KEY_MAX)
		return -EMSGSIZE;
	if (wanted->operation == VIRGO_MALLOC)
		return wanted->length > 0xffffffff ? -EMSGSIZE : 0;
	if (wanted->operation == VIRGO_COMMAND || wanted->operation == VIRGO_SNAPSHOT_LOAD)
		return wanted->length > VG_BODY_MAX ? -EMSGSIZE : 0;
	return wanted->length > VG_VALUE_MAX ? -EMSGSIZE : 0;
}

static __u64 argument_of(const struct virgo_request *wanted)
{
	struct timespec now;

	switch (wanted->operation) {
	case VIRGO_SET:
		if (!wanted->expire_ms)
			return 0;
		(void)clock_gettime(CLOCK_REALTIME, &now);
		return (__u64)now.tv_sec * 1000 + (__u64)now.tv_nsec / 1000000 + wanted->expire_ms;
	case VIRGO_GET_RANGE:
	case VIRGO_SET_RANGE:
		return wanted->offset << 32 | wanted->length;
	case VIRGO_SNAPSHOT_OPEN:
	case VIRGO_SNAPSHOT_GET:
	case VIRGO_SNAPSHOT_LOAD:
		return wanted->offset;
	case VIRGO_MALLOC:
		return wanted->length;
	case VIRGO_CAS:
		return wanted->version;
	case VIRGO_MGET:
		return wanted->offset;
	default:
		return 0;
	}
}

static __u16 flags_of(const struct virgo *v, const struct virgo_request *wanted)
{
	__u16 flags = v->keyed ? VG_FLAG_TAGGED : 0;

	if (wanted->operation == VIRGO_GET && wanted->flags & VIRGO_VERSION)
		flags |= VG_FLAG_VERSION;
	if (wanted->operation == VIRGO_CAS && wanted->flags & VIRGO_KEEP_EXPIRY)
		flags |= VG_FLAG_KEEP_TTL;
	if (wanted->operation == VIRGO_SET) {
		flags |= wanted->flags & VIRGO_IF_ABSENT ? VG_FLAG_IF_ABSENT : 0;
		flags |= wanted->flags & VIRGO_IF_PRESENT ? VG_FLAG_IF_PRESENT : 0;
		flags |= wanted->flags & VIRGO_KEEP_EXPIRY ? VG_FLAG_KEEP_TTL : 0;
	}
	return flags;
}

/* Header and padded key, into the request's own place or, if the key is long, into memory of its own. */
static int build_head(struct virgo *v, struct vg_request *request, const struct virgo_request *wanted)
{
	__u64 padded = VG_ALIGN_UP((__u64)request->key_length, 8ULL);
	struct vg_wire_header *header;

	request->head = request->datagram;
	if (sizeof(*header) + padded > sizeof(request->datagram)) {
		request->head = malloc(sizeof(*header) + padded);
		if (!request->head)
			return -ENOMEM;
	}
	header = vg_request_header(request);
	*header = (struct vg_wire_header){
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = request->opcode,
		.flags = VG_HTOBE16(flags_of(v, wanted)),
		.client = VG_HTOBE64(v->client),
		.sequence = VG_HTOBE64(request->sequence),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.epoch = VG_HTOBE32(v->epoch),
		.ident = VG_HTOBE64(request->key_length ? vg_hash64(wanted->key, request->key_length) : wanted->handle),
		.partition = VG_HTOBE16(request->key_length ? vg_partition_of(wanted->key, request->key_length) : 0),
		.key_length = VG_HTOBE32(request->key_length),
		.body_length = VG_HTOBE32(request->data ? (__u32)request->length : 0),
		.argument = VG_HTOBE64(argument_of(wanted)),
	};
	if (request->key_length)
		memcpy(header + 1, wanted->key, request->key_length);
	memset((__u8 *)(header + 1) + request->key_length, 0, padded - request->key_length);
	if (v->keyed)
		header->tag = vg_wire_tag(v->key, header);
	return 0;
}

/* A sequence names a slot; where a straggler still sits, the number is left out. */
static struct vg_request *take_slot(struct virgo *v)
{
	struct vg_request *request;

	do {
		v->sequence++;
		request = &v->requests[v->sequence & (v->window - 1)];
	} while (request->state != VG_REQUEST_FREE);
	return request;
}

/*
 * Whether the next sequence would be so far ahead of a change that must not be made twice that its node might forget
 * it: then, sent again, it could only be refused.
 */
static bool too_far_ahead(struct virgo *v)
{
	if (!v->once || v->sequence + 1 - v->once_floor < VG_REPLAY_WINDOW / 2)
		return false;
	v->once_floor = v->sequence + 1;
	for (unsigned int i = 0; i < v->window; i++)
		if (v->requests[i].state != VG_REQUEST_FREE && !v->requests[i].repeatable &&
		    v->requests[i].sequence < v->once_floor)
			v->once_floor = v->requests[i].sequence;
	return v->sequence + 1 - v->once_floor >= VG_REPLAY_WINDOW / 2;
}

static int submit(struct virgo *v, const struct virgo_request *wanted, bool internal)
{
	struct vg_request *request;
	__u64 now_ns = vg_now_ns();
	int error = check(v, wanted);
	const bool key = !error && operations[wanted->operation].key,
		   data = !error && operations[wanted->operation].data;

	if (error)
		return error;
	if (internal ? v->internal > 0 : virgo_pending(v) >= v->limit || too_far_ahead(v))
		return -EAGAIN;
	request = take_slot(v);
	memset(request, 0, offsetof(struct vg_request, datagram));
	request->operation = wanted->operation;
	request->opcode = operations[wanted->operation].opcode;
	request->repeatable =
		operations[wanted->operation].repeatable && !(wanted->flags & (VIRGO_IF_ABSENT | VIRGO_IF_PRESENT));
	request->stream_only = operations[wanted->operation].stream_only;
	request->flags = wanted->flags;
	request->sequence = v->sequence;
	request->key_length = key ? (__u32)wanted->key_length : 0;
	request->data = data ? wanted->data : NULL;
	request->length = wanted->length;
	request->fn = wanted->fn;
	request->context = wanted->context;
	request->submitted_ns = now_ns;
	request->deadline_ns = now_ns + v->timeout_ns;
	error = build_head(v, request, wanted);
	if (!error && v->flags & VIRGO_NO_TCP && !vg_datagram_fits(v, request))
		error = request->stream_only ? -EOPNOTSUPP : -EMSGSIZE;
	if (error) {
		if (request->head && request->head != request->datagram)
			free(request->head);
		return error;
	}
	request->pinned = wanted->node > 0;
	request->peer = request->pinned ? v->peers[wanted->node - 1] : vg_route(v, request);
	request->internal = internal;
	v->pending++;
	v->internal += internal;
	if (!request->repeatable && !v->once++)
		v->once_floor = request->sequence;
	v->counters.requests += !internal;
	vg_request_due(v, request->deadline_ns);
	vg_request_start(v, request, now_ns);
	return 0;
}

int virgo_submit(struct virgo *v, const struct virgo_request *wanted)
{
	/* What this client changes it does not read from its own memory any more. */
	if (v->near && (wanted->operation == VIRGO_SET || wanted->operation == VIRGO_DEL))
		vg_near_forget(v->near, wanted->key, wanted->key_length);
	return submit(v, wanted, false);
}

int vg_submit_internal(struct virgo *v, const struct virgo_request *wanted)
{
	return submit(v, wanted, true);
}

int virgo_submit_get(struct virgo *v, const void *key, size_t key_length, virgo_result_fn fn, void *context)
{
	return virgo_submit(
		v,
		&(struct virgo_request){
			.operation = VIRGO_GET, .key = key, .key_length = key_length, .fn = fn, .context = context });
}

int virgo_submit_set(struct virgo *v, const void *key, size_t key_length, const void *value, size_t length,
		     virgo_result_fn fn, void *context)
{
	return virgo_submit(v, &(struct virgo_request){ .operation = VIRGO_SET,
							.key = key,
							.key_length = key_length,
							.data = value,
							.length = length,
							.fn = fn,
							.context = context });
}

/* ---- choosing a path ------------------------------------------------------------------------------------------- */

static bool datagram_first(const struct virgo *v, const struct vg_request *request, __u64 now_ns)
{
	if (v->flags & VIRGO_NO_UDP || !vg_datagram_fits(v, request))
		return false;
	if (v->flags & VIRGO_NO_TCP)
		return true;
	if (now_ns < request->peer->udp_suspect_until_ns)
		return false;
	/*
	 * A change that may not be made twice must not be sent on two paths; so it takes UDP, where a node recognises
	 * what is sent again, only when UDP is known to get through.
	 */
	return request->repeatable || request->peer->udp_works;
}

void vg_request_start(struct virgo *v, struct vg_request *request, __u64 now_ns)
{
	if (datagram_first(v, request, now_ns))
		vg_datagram_start(v, request, now_ns);
	else
		vg_stream_start(v, request, request->peer, now_ns);
}

void vg_request_wait(struct virgo *v, struct vg_request *request, __u64 delay_ns, __u64 now_ns)
{
	request->state = VG_REQUEST_WAITING;
	request->due_ns = now_ns + delay_ns;
	vg_request_due(v, request->due_ns);
}

static void fail_unreachable(struct virgo *v, struct vg_request *request, int error)
{
	char text[VG_CLIENT_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "no node answers at %s%s%s", request->peer->text, error ? ": " : "",
		       error ? strerror(-error) : "");
	vg_request_fail(v, request, v->refused_us ? -EACCES : -EHOSTUNREACH, text);
}

void vg_request_no_datagram(struct virgo *v, struct vg_request *request, __u64 now_ns)
{
	vg_route_forget(v, request);
	if (v->flags & VIRGO_NO_TCP) {
		if (request->peer->udp_works)
			vg_request_fail(v, request, -ETIMEDOUT, NULL);
		else
			fail_unreachable(v, request, 0);
		return;
	}
	request->peer->udp_suspect_until_ns = now_ns + VG_UDP_SUSPECT_NS;
	if (!request->repeatable) {
		vg_request_fail(v, request, -ETIMEDOUT, NULL);
		return;
	}
	v->counters.fell_back++;
	vg_stream_start(v, request, request->peer, now_ns);
}

void vg_request_no_stream(struct virgo *v, struct vg_request *request, int error, __u64 now_ns)
{
	bool sent = request->stream_sent > 0;

	request->stream_sent = 0;
	request->streams_tried++;
	vg_route_forget(v, request);
	if (error == -EPROTO)
		vg_request_fail(v, request, error, NULL);
	else if (sent && !request->repeatable)
		vg_request_fail(v, request, -ECONNRESET, NULL);
	else if (!request->pinned && request->streams_tried <= v->configured_count)
		vg_stream_start(v, request, vg_route_other(v, request->peer), now_ns);
	else if (!sent && !request->datagram_sends && !(v->flags & VIRGO_NO_UDP) && vg_datagram_fits(v, request))
		vg_datagram_start(v, request, now_ns);
	else
		fail_unreachable(v, request, error);
}

/* The batch holds pointers: what leaves the window early leaves the batch as well. */
static void unbatch(struct virgo *v, struct vg_request *request)
{
	for (unsigned int i = 0; i < v->batched; i++)
		if (v->batch[i] == request)
			v->batch[i--] = v->batch[--v->batched];
	request->batched = false;
}

void vg_request_renumber(struct virgo *v, struct vg_request *request)
{
	struct vg_wire_header *header;
	struct vg_request *slot;

	assert(request->head == request->datagram && request->repeatable);
	unbatch(v, request);
	request->state = VG_REQUEST_FREE;
	slot = take_slot(v);
	if (slot != request) {
		*slot = *request;
		slot->head = slot->datagram;
	}
	slot->sequence = v->sequence;
	slot->datagram_sends = 0;
	header = vg_request_header(slot);
	header->sequence = VG_HTOBE64(slot->sequence);
	header->tag = v->keyed ? vg_wire_tag(v->key, header) : 0;
	vg_request_start(v, slot, vg_now_ns());
}

/* ---- completing ------------------------------------------------------------------------------------------------ */

void vg_request_complete(struct virgo *v, struct vg_request *request, struct virgo_result *result)
{
	virgo_result_fn fn = request->fn;
	void *context = request->context;

	assert(request->state != VG_REQUEST_FREE && v->pending > 0);
	if (request->batched)
		unbatch(v, request);
	if (request->head != request->datagram)
		free(request->head);
	result->elapsed_ns = vg_now_ns() - request->submitted_ns;
	result->sends = request->sends;
	request->state = VG_REQUEST_FREE;
	v->pending--;
	v->once -= !request->repeatable;
	v->internal -= request->internal;
	v->delivered += !request->internal;
	v->delivering = true;
	fn(context, result);
	v->delivering = false;
}

void vg_request_fail(struct virgo *v, struct vg_request *request, int error, const char *text)
{
	struct virgo_result result = { .error = error, .text = text, .node = VG_NODE_NONE };

	vg_request_complete(v, request, &result);
}

/* ---- time and events ------------------------------------------------------------------------------------------- */

/* A long transfer has as much time as it takes, as long as it moves. */
static __u64 deadline_of(const struct virgo *v, const struct vg_request *request)
{
	__u64 moving = request->peer->stream.progress_ns + v->timeout_ns;

	if (request->state == VG_REQUEST_STREAM && request->peer->stream.fd >= 0 && moving > request->deadline_ns)
		return moving;
	return request->deadline_ns;
}

static void expire(struct virgo *v, struct vg_request *request, __u64 now_ns)
{
	struct vg_peer *peer = request->peer;
	bool heard = peer->udp_works || (peer->stream.fd >= 0 && !peer->stream.connecting), torn;

	if (request->state == VG_REQUEST_STREAM) {
		/* What was sent in part ends the connection: the node waits for the rest. */
		torn = vg_stream_forget(&peer->stream, request) && request->stream_sent > 0;
		request->state = VG_REQUEST_WAITING;
		if (torn)
			vg_stream_close(v, peer, -ETIMEDOUT, now_ns);
	}
	vg_route_forget(v, request);
	if (heard)
		vg_request_fail(v, request, v->refused_us ? -EACCES : -ETIMEDOUT, NULL);
	else
		fail_unreachable(v, request, 0);
}

static void run_timers(struct virgo *v, __u64 now_ns)
{
	if (now_ns < v->timer_ns)
		return;
	v->timer_ns = ~0ULL;
	for (unsigned int i = 0; i < v->window; i++) {
		struct vg_request *request = &v->requests[i];

		if (request->state == VG_REQUEST_FREE)
			continue;
		if (now_ns >= deadline_of(v, request)) {
			expire(v, request, now_ns);
			continue;
		}
		vg_request_due(v, deadline_of(v, request));
		if (request->state == VG_REQUEST_STREAM)
			continue;
		if (now_ns < request->due_ns)
			vg_request_due(v, request->due_ns);
		else if (request->state == VG_REQUEST_WAITING)
			vg_request_start(v, request, now_ns);
		else
			vg_datagram_start(v, request, now_ns);
	}
	/* A handshake that takes too long has failed. */
	for (struct vg_peer *peer = v->streams, *next; peer; peer = next) {
		next = peer->stream.next;
		if (peer->stream.fd < 0 || !peer->stream.connecting)
			continue;
		if (now_ns >= peer->stream.progress_ns + VG_CONNECT_NS)
			vg_stream_close(v, peer, -ETIMEDOUT, now_ns);
		else
			vg_request_due(v, peer->stream.progress_ns + VG_CONNECT_NS);
	}
}

static int timeout_until(const struct virgo *v, __u64 until_ns, __u64 now_ns)
{
	__u64 wake_ns = until_ns < v->timer_ns ? until_ns : v->timer_ns;

	wake_ns = v->links_due_ns < wake_ns ? v->links_due_ns : wake_ns;

	if (wake_ns <= now_ns)
		return 0;
	if (wake_ns - now_ns > 60000000000ULL)
		return 60000;
	return (int)((wake_ns - now_ns + 999999) / 1000000);
}

static void run_links(struct virgo *v, __u64 now_ns)
{
	if (now_ns >= v->links_due_ns) {
		v->links_due_ns = ~0ULL;
		vg_links_timers(v, now_ns);
		vg_jobs_run(v, now_ns);
		vg_remotes_run(v, now_ns);
	}
	vg_links_flush(v, now_ns);
	vg_jobs_tell(v);
}

int vg_client_step(struct virgo *v, __u64 until_ns)
{
	struct pollfd polled[2 + VG_CLIENT_PEERS_MAX + VG_LINKS_MAX];
	struct vg_peer *owners[2 + VG_CLIENT_PEERS_MAX];
	nfds_t count = 0, links;
	__u64 now_ns = vg_now_ns();

	run_links(v, now_ns);
	vg_datagram_flush(v);
	vg_stream_open_wanted(v, now_ns);
	for (int i = 0; i < 2; i++)
		if (v->fd[i] >= 0) {
			owners[count] = NULL;
			polled[count++] = (struct pollfd){ .fd = v->fd[i], .events = POLLIN };
		}
	for (struct vg_peer *peer = v->streams; peer; peer = peer->stream.next)
		if (peer->stream.fd >= 0) {
			owners[count] = peer;
			polled[count++] =
				(struct pollfd){ .fd = peer->stream.fd, .events = vg_stream_events(&peer->stream) };
		}
	links = vg_links_poll(v, polled + count, VG_LINKS_MAX);
	if (poll(polled, count + links, timeout_until(v, until_ns, now_ns)) < 0)
		return errno == EINTR ? -EINTR : -errno;
	now_ns = vg_now_ns();
	for (nfds_t i = 0; i < count; i++) {
		int family_index = polled[i].fd == v->fd[1];

		if (!polled[i].revents)
			continue;
		if (owners[i]) {
			if (owners[i]->stream.fd == polled[i].fd)
				vg_stream_ready(v, owners[i], polled[i].revents, now_ns);
			continue;
		}
		if (polled[i].revents & POLLERR)
			vg_datagram_errors(v, family_index, now_ns);
		if (polled[i].revents & POLLIN)
			vg_datagram_receive(v, family_index);
	}
	vg_links_ready(v, polled + count, links, now_ns);
	now_ns = vg_now_ns();
	run_timers(v, now_ns);
	run_links(v, now_ns);
	return 0;
}

int virgo_descriptors(struct virgo *v, struct pollfd *descriptors, unsigned int count, int *ret_timeout_ms)
{
	__u64 now_ns = vg_now_ns();
	unsigned int filled = 0;

	run_links(v, now_ns);
	vg_datagram_flush(v);
	vg_stream_open_wanted(v, now_ns);
	for (int i = 0; i < 2; i++)
		if (v->fd[i] >= 0 && filled < count)
			descriptors[filled++] = (struct pollfd){ .fd = v->fd[i], .events = POLLIN };
	for (struct vg_peer *peer = v->streams; peer && filled < count; peer = peer->stream.next)
		if (peer->stream.fd >= 0)
			descriptors[filled++] =
				(struct pollfd){ .fd = peer->stream.fd, .events = vg_stream_events(&peer->stream) };
	*ret_timeout_ms = timeout_until(v, ~0ULL, now_ns);
	return (int)(filled + vg_links_poll(v, descriptors + filled, count - filled));
}

int virgo_wait(struct virgo *v, unsigned int count, int timeout_ms)
{
	__u64 until_ns = timeout_ms < 0 ? ~0ULL : vg_now_ns() + (__u64)timeout_ms * 1000000ULL;
	unsigned int before = v->delivered, all = virgo_pending(v);
	int error = 0;

	if (v->delivering)
		return -EDEADLK;
	if (!count || count > all)
		count = all;
	/* What result functions submit meanwhile is waited for only when all is asked for. */
	while (!error && virgo_pending(v) && v->delivered - before < count) {
		error = vg_client_step(v, until_ns);
		if (vg_now_ns() >= until_ns)
			break;
	}
	vg_datagram_flush(v);
	return v->delivered == before && error ? error : (int)(v->delivered - before);
}

int virgo_poll(struct virgo *v)
{
	unsigned int before = v->delivered;
	int error;

	if (v->delivering)
		return -EDEADLK;
	error = vg_client_step(v, 0);
	vg_datagram_flush(v);
	return v->delivered == before && error && error != -EINTR ? error : (int)(v->delivered - before);
}
