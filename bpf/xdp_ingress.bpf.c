/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first answer to a datagram: parse, prove, and then answer it from the arena, send it on to the node that owns it,
 * or leave it to the daemon's socket. In doubt it is always left to the socket, as it came.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "lib/admit.bpf.h"
#include "lib/choose.bpf.h"
#include "lib/get.bpf.h"
#include "lib/learn.bpf.h"
#include "lib/steer.bpf.h"

/* What to return for a reason: the verdict in virgo/reasons.h. Reasons of other programs are never returned here. */
#define VG_ACTION_PASS XDP_PASS
#define VG_ACTION_TX XDP_TX
#define VG_ACTION_REDIRECT XDP_REDIRECT
#define VG_ACTION_OK XDP_PASS
static const __u8 action_of[VG_REASON_MAX] = {
#define X(name, verdict, text) [VG_REASON_##name] = VG_ACTION_##verdict,
	VG_REASONS(X)
#undef X
};

/* Choose what to do with a request that was admitted. */
static __always_inline int serve_request(struct vg_serve *serve)
{
	const struct vg_wire_header *header = serve->frame.header;
	__u32 owner;
	int reason;

	if (header->opcode == VG_OP_PING)
		return header->key_length || header->body_length ? VG_REASON_BAD_HEADER :
								   vg_answer(serve, VG_STATUS_OK, 0, VG_REASON_PING);
	if (header->epoch && header->epoch != VG_HTOBE32(serve->config->epoch))
		return VG_REASON_STALE_EPOCH;
	reason = serve->service == VG_LOAD_CPU ? vg_job_owner(serve, &owner) : vg_owner_of(serve, &owner);
	if (reason != VG_CONTINUE)
		return reason;
	/* What another node forwarded is answered here, if only to say that it came to the wrong one. */
	if (owner != serve->config->node) {
		if (header->flags & VG_HTOBE16(VG_FLAG_FORWARDED))
			return VG_REASON_BAD_PARTITION;
		reason = vg_steer(serve, owner);
		if (serve->service == VG_LOAD_CPU && (reason == VG_REASON_STEERED || reason == VG_REASON_STEERED_OUT))
			vg_job_sent(owner);
		return reason;
	}
	/* A request that was steered here is answered to the client, if we know how to reach it. */
	if (header->hops && !vg_neighbour_find(&serve->frame, serve->ctx->ingress_ifindex, serve->now_ns))
		return VG_REASON_NO_NEIGHBOUR;
	if (header->opcode == VG_OP_GET && !(header->flags & VG_HTOBE16(VG_FLAG_VERSION)))
		return vg_get(serve);
	if (header->opcode == VG_OP_HANDLE_GET)
		return vg_handle_get(serve);
	return VG_REASON_NOT_A_READ;
}

/* Prove and serve a request whose shape was checked. The reason it leaves with. */
__noinline int vg_receive(struct xdp_md *ctx, __u64 shape, const struct vg_config *config, const struct vg_local *local)
{
	struct vg_serve serve = { .ctx = ctx, .shape = shape, .config = config, .local = local };
	int reason;

	vg_arena_use();
	if (!config || !local || vg_frame_reopen(&serve.frame, ctx, shape))
		return VG_REASON_TRUNCATED;
	serve.now_ns = vg_now_ns();
	serve.service = vg_service_of(config, serve.frame.udp->dest);
	reason = vg_admit(&serve);
	if (serve.frame.header->source_node != VG_HTOBE16(VG_NODE_NONE) &&
	    (reason == VG_CONTINUE || reason == VG_REASON_IS_REPLY))
		vg_learn(ctx, shape, config, serve.now_ns);
	if (reason == VG_CONTINUE)
		reason = serve_request(&serve);
	if (serve.answered)
		vg_answer_write(&serve);
	return reason;
}

/*
 * Whether the packet is for this node's own address, as the node table has it: a host that routes would else answer for
 * those behind it. An address of zero is a daemon that listens on all; no address at all, a table not written yet.
 */
static __always_inline bool is_for_us(const struct vg_frame *frame, const struct vg_config *config)
{
	__u32 self = config->node;
	const struct vg_node *node = bpf_map_lookup_elem(&VG_MAP_NODE, &self);
	const __u64 *have, *want;

	if (!node || !node->flags)
		return true;
	if (frame->version == 4)
		return node->flags & VG_NODE_HAS_V4 && (frame->ip4->daddr == node->address4 || !node->address4);
	have = (const __u64 *)&frame->ip6->daddr;
	want = (const __u64 *)node->address6;
	return node->flags & VG_NODE_HAS_V6 && ((have[0] == want[0] && have[1] == want[1]) || !(want[0] | want[1]));
}

/* What the packet is, and what is done with it. */
static __always_inline int examine(struct xdp_md *ctx, void *data, void *end)
{
	const struct vg_config *config;
	const struct vg_local *local;
	struct vg_frame frame;
	__u32 zero = 0;
	int reason;

	reason = vg_frame_open(&frame, data, end);
	if (reason != VG_CONTINUE)
		return reason;
	config = bpf_map_lookup_elem(&VG_MAP_CONFIG, &zero);
	local = bpf_map_lookup_elem(&VG_MAP_LOCAL, &zero);
	if (!config || !local)
		return VG_REASON_NO_LEASE;
	/* A group address (lowest bit of the first byte) names no node. */
	if (vg_service_of(config, frame.udp->dest) >= VG_LOADS_MAX || frame.ethernet->h_dest[0] & 1 ||
	    !is_for_us(&frame, config))
		return VG_REASON_NOT_VIRGO;
	reason = vg_frame_check(&frame);
	if (reason != VG_CONTINUE)
		return reason;
	return vg_receive(ctx, vg_frame_shape(&frame), config, local);
}

SEC("xdp")
int vg_xdp_ingress(struct xdp_md *ctx)
{
	void *data = vg_context_pointer(ctx, data), *end = vg_context_pointer(ctx, data_end);
	__u64 bytes = end - data;
	__u32 reason = examine(ctx, data, end);

	vg_account(reason, bytes);
	return reason < VG_REASON_MAX ? action_of[reason] : XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
