/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first answer to a datagram: parse, prove, and then answer it from the arena, send it on to the node that owns it,
 * or leave it to the daemon's socket. In doubt it is always left to the socket, as it came.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "lib/admit.bpf.h"
#include "lib/choose.bpf.h"
#include "lib/mget.bpf.h"
#include "lib/learn.bpf.h"
#include "lib/memcache.bpf.h"
#include "lib/quick.bpf.h"
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

static __always_inline int serve_ping(struct vg_serve *serve)
{
	const struct vg_wire_header *header = serve->frame.header;

	if (header->key_length || header->body_length)
		return VG_REASON_BAD_HEADER;
	return vg_answer(serve, VG_STATUS_OK, 0, VG_REASON_PING);
}

/* Send a request that was admitted to the node it is for. */
static __always_inline int send_on(struct vg_serve *serve, __u32 owner)
{
	/* What another node forwarded is answered here, if only to say that it came to the wrong one. */
	if (serve->frame.header->flags & VG_HTOBE16(VG_FLAG_FORWARDED))
		return VG_REASON_BAD_PARTITION;
	return vg_steer(serve, owner);
}

/* A small job goes to the node that the policy chooses; it is never done here. */
static __always_inline int serve_job(struct vg_serve *serve)
{
	const struct vg_wire_header *header = serve->frame.header;
	__u32 owner;
	int reason;

	if (header->opcode == VG_OP_PING)
		return serve_ping(serve);
	if (header->epoch && header->epoch != VG_HTOBE32(serve->config->epoch))
		return VG_REASON_STALE_EPOCH;
	reason = vg_job_owner(serve, &owner);
	if (reason != VG_CONTINUE)
		return reason;
	reason = send_on(serve, owner);
	if (reason == VG_REASON_STEERED || reason == VG_REASON_STEERED_OUT)
		vg_job_sent(owner);
	return reason;
}

/* Choose what to do with a request to the memory pool that was admitted. */
static __always_inline int serve_request(struct vg_serve *serve)
{
	const struct vg_wire_header *header = serve->frame.header;
	__u32 owner;
	int reason;

	if (header->opcode == VG_OP_PING)
		return serve_ping(serve);
	if (header->epoch && header->epoch != VG_HTOBE32(serve->config->epoch))
		return VG_REASON_STALE_EPOCH;
	reason = vg_owner_of(serve, &owner);
	if (reason != VG_CONTINUE)
		return reason;
	if (owner != serve->config->node)
		return send_on(serve, owner);
	/* A request that was steered here is answered to the client, if we know how to reach it. */
	if (header->hops && !vg_neighbour_find(&serve->frame, serve->ctx->ingress_ifindex, serve->now_ns))
		return VG_REASON_NO_NEIGHBOUR;
	if (header->opcode == VG_OP_GET && !(header->flags & VG_HTOBE16(VG_FLAG_VERSION)))
		return vg_get(serve);
	if (header->opcode == VG_OP_HANDLE_GET)
		return vg_handle_get(serve);
	return header->opcode == VG_OP_MGET ? VG_CONTINUE : VG_REASON_NOT_A_READ;
}

/* Prove and serve a request whose shape was checked. The reason it leaves with. */
static __always_inline int receive(struct xdp_md *ctx, __u64 shape, const struct vg_config *config,
				   const struct vg_local *local, __u64 now_ns, __u32 service)
{
	struct vg_serve serve = {
		.ctx = ctx, .shape = shape, .config = config, .local = local, .now_ns = now_ns, .service = service
	};
	int reason;

	vg_arena_use();
	if (!config || !local || vg_frame_reopen(&serve.frame, ctx, shape))
		return VG_REASON_TRUNCATED;
	reason = vg_admit(&serve);
	if (reason == VG_CONTINUE)
		reason = service == VG_LOAD_CPU ? serve_job(&serve) : serve_request(&serve);
	if (serve.answered)
		vg_answer_write(&serve);
	return reason;
}

/* One function for each service: the verifier walks it once (see vg_frame_shape), and its stack holds what it needs. */
__noinline int vg_receive(struct xdp_md *ctx, __u64 shape, const struct vg_config *config, const struct vg_local *local,
			  __u64 now_ns)
{
	return receive(ctx, shape, config, local, now_ns, VG_LOAD_MEM);
}

/* What vg_receive let through: a GET of several keys, for which its stack has no room left. */
__noinline int vg_receive_many(struct xdp_md *ctx, __u64 shape, const struct vg_config *config,
			       const struct vg_local *local, __u64 now_ns)
{
	struct vg_serve serve = {
		.ctx = ctx, .shape = shape, .config = config, .local = local, .now_ns = now_ns, .service = VG_LOAD_MEM
	};
	int reason;

	vg_arena_use();
	if (!config || !local || vg_frame_reopen(&serve.frame, ctx, shape))
		return VG_REASON_TRUNCATED;
	reason = vg_mget(&serve);
	if (serve.answered)
		vg_answer_write(&serve);
	return reason;
}

__noinline int vg_receive_job(struct xdp_md *ctx, __u64 shape, const struct vg_config *config,
			      const struct vg_local *local, __u64 now_ns)
{
	return receive(ctx, shape, config, local, now_ns, VG_LOAD_CPU);
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

/* What is to no port of the services: memcached's, where it has one over UDP. */
static __always_inline int examine_other(struct xdp_md *ctx, struct vg_frame *frame, const struct vg_config *config,
					 const struct vg_local *local, struct vg_budget *budget)
{
	int reason;

	if (!config->port_memcache || frame->udp->dest != config->port_memcache || frame->ethernet->h_dest[0] & 1 ||
	    !is_for_us(frame, config))
		return VG_REASON_NOT_VIRGO;
	reason = vg_frame_check_lengths(frame, VG_MC_REQUEST_LEAST);
	if (reason != VG_CONTINUE)
		return reason;
	vg_now_keep(budget);
	return vg_receive_memcache(ctx, vg_frame_shape(frame), config, local, budget->now_ns);
}

/* What the packet is, and what is done with it. */
static __always_inline int examine(struct xdp_md *ctx, void *data, void *end)
{
	const struct vg_config *config;
	const struct vg_local *local;
	struct vg_budget *budget;
	struct vg_frame frame;
	__u32 zero = 0;
	int reason;

	reason = vg_frame_open(&frame, data, end);
	if (reason != VG_CONTINUE)
		return reason;
	config = bpf_map_lookup_elem(&VG_MAP_CONFIG, &zero);
	local = bpf_map_lookup_elem(&VG_MAP_LOCAL, &zero);
	budget = bpf_map_lookup_elem(&VG_MAP_BUDGET, &zero);
	if (!config || !local || !budget)
		return VG_REASON_NO_LEASE;
	/* A group address (lowest bit of the first byte) names no node. */
	if (vg_service_of(config, frame.udp->dest) >= VG_LOADS_MAX)
		return examine_other(ctx, &frame, config, local, budget);
	if (frame.ethernet->h_dest[0] & 1 || !is_for_us(&frame, config))
		return VG_REASON_NOT_VIRGO;
	reason = vg_frame_check(&frame);
	if (reason != VG_CONTINUE)
		return reason;
	vg_now_keep(budget);
	if (vg_quick_fits(&frame, config)) {
		reason = vg_quick_get(data, end, config, local, budget);
		if (reason != VG_CONTINUE)
			return reason;
	}
	if (frame.header->source_node != VG_HTOBE16(VG_NODE_NONE))
		vg_learn(ctx, vg_frame_shape(&frame), config, budget->now_ns);
	if (frame.udp->dest != config->port_mem)
		return vg_receive_job(ctx, vg_frame_shape(&frame), config, local, budget->now_ns);
	reason = vg_receive(ctx, vg_frame_shape(&frame), config, local, budget->now_ns);
	if (reason == VG_CONTINUE)
		reason = vg_receive_many(ctx, vg_frame_shape(&frame), config, local, budget->now_ns);
	return reason;
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
