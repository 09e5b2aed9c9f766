/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Believing load stamps. A message from a node says how busy that node is; who may say so is the question. In a keyed
 * cluster whoever holds the key: the tag covers node and stamp. In one without a key whoever sends from the address
 * that the node table has. Everybody else is a stranger, who is counted.
 */
#ifndef VG_BPF_LEARN_H
#define VG_BPF_LEARN_H

#include "lib/admit.bpf.h"
#include "maps/cluster.bpf.h"
#include "maps/load.bpf.h"

/* Whose stamp it is: the service of the sender's port. */
static __always_inline __u32 vg_service_of_sender(const struct vg_frame *frame, __u32 number)
{
	const struct vg_node *node = bpf_map_lookup_elem(&VG_MAP_NODE, &number);
	__be16 port = frame->udp->source;

	if (!node || !port)
		return VG_LOADS_MAX;
	if (port == node->port_mem)
		return VG_LOAD_MEM;
	return port == node->port_cpu ? VG_LOAD_CPU : VG_LOADS_MAX;
}

static __always_inline bool vg_sender_is(const struct vg_frame *frame, __u32 number)
{
	const struct vg_node *node = bpf_map_lookup_elem(&VG_MAP_NODE, &number);
	const __u64 *have, *want;

	if (!node)
		return false;
	if (frame->version == 4)
		return node->flags & VG_NODE_HAS_V4 && frame->ip4->saddr == node->address4;
	have = (const __u64 *)&frame->ip6->saddr;
	want = (const __u64 *)node->address6;
	return node->flags & VG_NODE_HAS_V6 && have[0] == want[0] && have[1] == want[1];
}

static __always_inline void vg_learn_write(struct vg_node_load *load, __u32 service, const struct vg_load_stamp *stamp,
					   __u64 now_ns)
{
	if (service >= VG_LOADS_MAX)
		return;
	load->service[service].in_flight = VG_BE32TOH(stamp->in_flight);
	load->service[service].service_ns = VG_BE32TOH(stamp->service_ns);
	load->service[service].sent = 0;
	load->service[service].seen_ns = now_ns;
	load->run_queue_delay_ns = VG_BE32TOH(stamp->run_queue_delay_ns);
	load->memory_free_permille = VG_BE16TOH(stamp->memory_free_permille);
	load->seen_ns = now_ns;
	__sync_fetch_and_add(&load->stamps, 1);
}

/* The message's proof, which nobody has looked at yet. */
static __always_inline bool vg_message_is_proven(struct xdp_md *ctx, __u64 shape, const struct vg_config *config,
						const struct vg_frame *frame, __u64 now_ns)
{
	return frame->header->flags & VG_HTOBE16(VG_FLAG_TAGGED) &&
	       VG_BE32TOH(frame->header->key_length) <= VG_XDP_KEY_MAX &&
	       vg_budget_take(config, now_ns) && vg_tag_is_right(ctx, shape, config);
}

/*
 * A message whose sender says that it is a node, before anything else is done about it. A function of its own for the
 * verifier's sake.
 */
__noinline int vg_learn(struct xdp_md *ctx, __u64 shape, const struct vg_config *config, __u64 now_ns)
{
	struct vg_frame frame;
	struct vg_node_load *load;
	__u32 number, service;
	bool believed;

	if (!config || vg_frame_reopen(&frame, ctx, shape))
		return 0;
	number = VG_BE16TOH(frame.header->source_node);
	believed = number < config->nodes && number != config->node;
	if (!believed)
		number = config->node; /* somebody claims to be us, or a node that is not */
	else if (!(config->flags & VG_CONFIG_KEYED))
		believed = vg_sender_is(&frame, number);
	else
		believed = vg_message_is_proven(ctx, shape, config, &frame, now_ns);
	service = vg_service_of_sender(&frame, number);
	load = bpf_map_lookup_elem(&VG_MAP_NODE_LOAD, &number);
	if (!load)
		return 0;
	if (believed && service < VG_LOADS_MAX)
		vg_learn_write(load, service, &frame.header->load, now_ns);
	else
		__sync_fetch_and_add(&load->strangers, 1);
	return 0;
}

#endif
