/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What must hold before XDP does any work for a request: a daemon that lives, an arena we understand, time, proof. */
#ifndef VG_BPF_ADMIT_H
#define VG_BPF_ADMIT_H

#include "lib/answer.bpf.h"
#include "lib/clock.bpf.h"
#include "lib/frame.bpf.h"
#include "lib/tag.bpf.h"
#include "maps/arena.bpf.h"
#include "maps/budget.bpf.h"
#include "maps/state.bpf.h"

#define VG_MS_NS 1000000ULL
#define VG_TICK_MAX_MS 10 /* the coarsest tick of a kernel (HZ=100); an idle CPU saves up no more than this */

/*
 * Take one token. Tokens come with each tick of the coarse clock, in proportion to the time it covers, and do not pile
 * up: a burst is at most VG_TICK_MAX_MS long.
 */
static __always_inline bool vg_budget_spend(struct vg_budget *budget, const struct vg_config *config, __u64 now_ns)
{
	__u64 elapsed_ns;

	elapsed_ns = now_ns - budget->tick_ns;
	if (elapsed_ns >= VG_MS_NS) {
		__u64 elapsed_ms = elapsed_ns < VG_TICK_MAX_MS * VG_MS_NS ? elapsed_ns / VG_MS_NS : VG_TICK_MAX_MS;

		budget->tokens = elapsed_ms * (config->budget_per_ms ?: VG_XDP_BUDGET_DEFAULT);
		budget->tick_ns = now_ns;
	}
	if (!budget->tokens)
		return false;
	budget->tokens--;
	return true;
}

static __always_inline bool vg_budget_take(const struct vg_config *config, __u64 now_ns)
{
	__u32 zero = 0;
	struct vg_budget *budget = bpf_map_lookup_elem(&VG_MAP_BUDGET, &zero);

	return budget && vg_budget_spend(budget, config, now_ns);
}

static __always_inline bool vg_arena_is_ours(void)
{
	struct vg_arena_header __arena *arena = vg_arena_at(struct vg_arena_header, 0);

	return arena->magic == VG_ARENA_MAGIC && arena->layout_version == VG_LAYOUT_VERSION;
}

/* Whether the request's tag is right. A function of its own for the verifier's sake (see vg_frame_shape). */
__noinline int vg_tag_is_right(struct xdp_md *ctx, __u64 shape, const struct vg_config *config)
{
	struct vg_frame frame;

	if (!config || vg_frame_reopen(&frame, ctx, shape))
		return 0;
	return vg_tag(frame.header, frame.header + 1, frame.end, config->cluster_key, VG_XDP_KEY_MAX / 8) ==
	       frame.header->tag;
}

/* In a keyed cluster nothing is answered or steered for who cannot prove to hold the key. */
static __always_inline int vg_check_tag(const struct vg_serve *serve)
{
	const struct vg_wire_header *header = serve->frame.header;

	if (!(serve->config->flags & VG_CONFIG_KEYED))
		return VG_CONTINUE;
	if (!(header->flags & VG_HTOBE16(VG_FLAG_TAGGED)))
		return VG_REASON_BAD_TAG;
	if (VG_BE32TOH(header->key_length) > VG_XDP_KEY_MAX)
		return VG_REASON_KEY_TOO_LONG;
	return vg_tag_is_right(serve->ctx, serve->shape, serve->config) ? VG_CONTINUE : VG_REASON_BAD_TAG;
}

static __always_inline int vg_admit(const struct vg_serve *serve)
{
	if (serve->frame.header->flags & VG_HTOBE16(VG_FLAG_REPLY))
		return VG_REASON_IS_REPLY;
	if (serve->local->lease_until_ns <= serve->now_ns)
		return VG_REASON_NO_LEASE;
	if (!vg_arena_is_ours())
		return VG_REASON_NO_ARENA;
	if (!vg_budget_take(serve->config, serve->now_ns))
		return VG_REASON_BUDGET;
	return vg_check_tag(serve);
}

#endif
