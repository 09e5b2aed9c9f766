/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an answer means: a result, or a reason to ask again in another way. */
#include <errno.h>
#include <string.h>

#include "client/client.h"

/* In a cluster without a key there is nothing to check: whoever knows client and sequence has seen the request. */
bool vg_reply_tag_right(struct virgo *v, const struct vg_wire_header *header)
{
	if (!v->keyed)
		return true;
	return header->flags & VG_HTOBE16(VG_FLAG_TAGGED) && vg_wire_tag_of(v->key, header, NULL) == header->tag;
}

int vg_error_of_status(const struct vg_request *request, __u8 status)
{
	switch (status) {
	case VG_STATUS_OK:
		return 0;
	case VG_STATUS_NOT_FOUND:
		return -ENOENT;
	case VG_STATUS_GONE:
		return -ESTALE;
	case VG_STATUS_BAD_REQUEST:
		return -EINVAL;
	case VG_STATUS_UNSUPPORTED:
		return -EOPNOTSUPP;
	case VG_STATUS_TOO_BIG:
		return -EMSGSIZE;
	case VG_STATUS_NO_MEMORY:
		return -ENOSPC;
	case VG_STATUS_UNAUTHORIZED:
		return -EACCES;
	case VG_STATUS_WRONG_NODE:
		return request->operation == VIRGO_SNAPSHOT_GET ? -EXDEV : -EHOSTUNREACH;
	case VG_STATUS_UNREACHABLE:
		return -EHOSTUNREACH;
	case VG_STATUS_BUSY:
		return -EBUSY;
	case VG_STATUS_REPLAYED:
		return -EALREADY;
	case VG_STATUS_RANGE:
		return -ERANGE;
	case VG_STATUS_CONDITION:
		return request->flags & VIRGO_IF_ABSENT || request->operation == VIRGO_CAS ? -EEXIST : -ENOENT;
	case VG_STATUS_INTERNAL:
		return -EREMOTEIO;
	case VG_STATUS_NOT_LOGGED:
		return -EROFS;
	default:
		return -EPROTO;
	}
}

const char *vg_status_text(__u8 status)
{
	static const char *const texts[VG_STATUS_MAX] = {
#define X(name, number, text) [number] = text,
		VG_STATUSES(X)
#undef X
	};

	return status < VG_STATUS_MAX ? texts[status] : "an unknown status";
}

/* The owner, if we know where it is, else over TCP, where the node that was asked asks the owner for us. */
static void follow(struct virgo *v, struct vg_request *request, __u64 owner, __u64 now_ns)
{
	struct vg_peer *peer = owner < VG_NODES_MAX ? v->peer_of_node[owner] : NULL;

	v->counters.redirected++;
	if (peer)
		vg_route_forget(v, request);
	else
		vg_topology_fetch(v, now_ns);
	if (peer && peer != request->peer && !request->pinned && request->redirects < VG_REDIRECTS_MAX) {
		request->redirects++;
		request->peer = peer;
		request->datagram_sends = 0;
		vg_datagram_start(v, request, now_ns);
	} else if (v->flags & VIRGO_NO_TCP) {
		vg_request_fail(v, request, -EHOSTUNREACH, vg_status_text(VG_STATUS_WRONG_NODE));
	} else {
		vg_stream_start(v, request, request->peer, now_ns);
	}
}

/*
 * Our padding was short of the value: pad for whatever XDP could answer, or take TCP. Only a value's length is a guess;
 * what else does not fit (memory spread over nodes, a long answer) would not fit the next time either.
 */
static void ask_for_more(struct virgo *v, struct vg_request *request, __u64 now_ns)
{
	bool padded = request->opcode != VG_OP_GET ||
		      request->datagram_length >= sizeof(struct vg_wire_header) + VG_XDP_VALUE_MAX;

	v->counters.too_big++;
	vg_datagram_sample_value(v, VG_XDP_VALUE_MAX);
	if (!padded) {
		request->datagram_length = 0;
		request->datagram_sends = 0;
		vg_datagram_start(v, request, now_ns);
	} else if (v->flags & VIRGO_NO_TCP) {
		vg_request_fail(v, request, -EMSGSIZE, NULL);
	} else {
		vg_stream_start(v, request, request->peer, now_ns);
	}
}

/* Whether the answer was a detour that has been taken. Nothing was done by a node that answers so. */
static bool detour(struct virgo *v, struct vg_request *request, const struct vg_wire_header *header, bool datagram,
		   __u64 now_ns)
{
	switch (header->status) {
	case VG_STATUS_WRONG_NODE:
		if (datagram)
			follow(v, request, VG_BE64TOH(header->argument), now_ns);
		return datagram;
	case VG_STATUS_TOO_BIG:
		if (datagram)
			ask_for_more(v, request, now_ns);
		return datagram;
	case VG_STATUS_BUSY:
		if (now_ns + VG_BUSY_WAIT_NS >= request->deadline_ns)
			return false;
		request->datagram_sends = 0;
		request->stream_sent = 0;
		vg_request_wait(v, request, VG_BUSY_WAIT_NS, now_ns);
		return true;
	case VG_STATUS_REPLAYED:
		if (!datagram || !request->repeatable)
			return false;
		vg_request_renumber(v, request);
		return true;
	case VG_STATUS_UNSUPPORTED:
		/* A node may do over TCP alone what it does not do over UDP. */
		if (datagram && !(v->flags & VIRGO_NO_TCP)) {
			vg_stream_start(v, request, request->peer, now_ns);
			return true;
		}
		return false;
	default:
		return false;
	}
}

static void take_load(struct virgo_load *load, const struct vg_wire_header *header)
{
	load->in_flight = VG_BE32TOH(header->load.in_flight);
	load->service_ns = VG_BE32TOH(header->load.service_ns);
	load->run_queue_delay_ns = VG_BE32TOH(header->load.run_queue_delay_ns);
	load->memory_free_permille = VG_BE16TOH(header->load.memory_free_permille);
}

void vg_reply(struct virgo *v, struct vg_request *request, struct vg_peer *peer, const union vg_address *from,
	      const struct vg_wire_header *header, const void *body, __u64 now_ns)
{
	struct virgo_result result = {
		.error = vg_error_of_status(request, header->status),
		.node = VG_BE16TOH(header->source_node),
	};
	char text[VG_CLIENT_TEXT_MAX];
	__u32 length = VG_BE32TOH(header->body_length);

	if (from)
		peer = vg_route_learn(v, request, from, header);
	take_load(&result.load, header);
	if (peer)
		peer->load = result.load;
	if (peer && from) {
		peer->udp_works = true;
		peer->udp_suspect_until_ns = 0;
	}
	if (detour(v, request, header, from != NULL, now_ns))
		return;
	if (result.error) {
		result.text = vg_status_text(header->status);
		if (header->flags & VG_HTOBE16(VG_FLAG_TEXT) && length) {
			length = length < sizeof(text) ? length : sizeof(text) - 1;
			memcpy(text, body, length);
			text[length] = '\0';
			result.text = text;
		}
	} else if (request->operation == VIRGO_GET_RANGE && length != request->length) {
		result.error = -EPROTO;
	} else {
		result.data = body;
		result.length = length;
		result.handle = VG_BE64TOH(header->ident);
		result.bytes = VG_BE64TOH(header->argument);
		if (request->operation == VIRGO_GET)
			vg_datagram_sample_value(v, length);
	}
	vg_request_complete(v, request, &result);
}
