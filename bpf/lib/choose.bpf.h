/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which node runs a job that names none: the policies of virgo/policy.h over the stamps this node has heard. A datagram
 * that is sent again must not start the job again somewhere else, so where each one went is remembered until its client
 * has given up; a job that finds no place to be remembered stays here.
 */
#ifndef VG_BPF_CHOOSE_H
#define VG_BPF_CHOOSE_H

#include "lib/answer.bpf.h"
#include "maps/cluster.bpf.h"
#include "maps/load.bpf.h"
#include "virgo/policy.h"

#define VG_AGE_SHIFT 20 /* nanoseconds to milliseconds, near enough */

/* What is known of a node; false: it runs no jobs. */
static __always_inline bool vg_candidate_of(const struct vg_config *config, const struct vg_local *local, __u32 number,
					    __u64 now_ns, struct vg_candidate *ret_candidate)
{
	const struct vg_service_load *heard;
	const struct vg_node_load *load;
	const struct vg_node *node;
	__u64 age_ms;

	ret_candidate->node = number;
	ret_candidate->is_local = 0;
	if (number == config->node) {
		ret_candidate->in_flight = local->other[VG_LOAD_CPU - 1].in_flight;
		ret_candidate->service_ns = local->other[VG_LOAD_CPU - 1].service_ns;
		ret_candidate->wait_ns = local->run_queue_delay_ns;
		ret_candidate->age_ms = 0;
		return true;
	}
	node = bpf_map_lookup_elem(&VG_MAP_NODE, &number);
	load = bpf_map_lookup_elem(&VG_MAP_NODE_LOAD, &number);
	if (!node || !load || !node->port_cpu)
		return false;
	heard = &load->service[VG_LOAD_CPU];
	age_ms = (now_ns - heard->seen_ns) >> VG_AGE_SHIFT;
	ret_candidate->in_flight = heard->in_flight + heard->sent;
	ret_candidate->service_ns = heard->service_ns;
	ret_candidate->wait_ns = load->run_queue_delay_ns;
	ret_candidate->age_ms = heard->seen_ns && age_ms < VG_STAMP_AGE_MAX_MS ? (__u32)age_ms : ~0U;
	return true;
}

/* The node's number: this one's when there is no better. A function of its own for the verifier's sake. */
__noinline int vg_choose(const struct vg_config *config, const struct vg_local *local, __u64 now_ns, __u32 random)
{
	struct vg_choice choice = VG_CHOICE_NONE;
	__u32 nodes, draws, start, stride, inverse;

	if (!config || !local)
		return 0;
	nodes = config->nodes;
	if (nodes < 2)
		return config->node;
	draws = vg_policy_draws(config->policy, nodes, VG_POLICY_DRAWS_XDP);
	inverse = (__u32)((1ULL << 32) / nodes);
	start = vg_policy_start(nodes, random);
	stride = vg_policy_stride(nodes, random, draws);
	for (__u32 i = 0; i < VG_POLICY_DRAWS_XDP; i++) {
		__u32 drawn = vg_policy_modulo(start + i * stride, nodes, inverse);
		struct vg_candidate candidate;

		if (i >= draws)
			break;
		if (vg_candidate_of(config, local, drawn, now_ns, &candidate))
			vg_policy_consider(&choice, config->policy, &candidate, local->hot_in_flight,
					   vg_policy_chance(random, i));
	}
	return choice.node < nodes ? choice.node : config->node;
}

/* ---- who asked before ------------------------------------------------------------------------------------------ */

static __always_inline __u64 vg_request_name(const struct vg_wire_header *header)
{
	__u64 name = header->client ^ header->sequence * 0x9e3779b97f4a7c15ULL;

	name = (name ^ name >> 32) * 0xd6e8feb86659fd93ULL;
	return (name ^ name >> 32) | 1;
}

/*
 * Where the request of this name went, or, the first time, a place to remember it. Two CPUs that want the same place
 * have one winner; the other one keeps its job here.
 */
static __always_inline struct vg_steered_entry *vg_steered_find(__u64 name, __u32 now_ms, bool *ret_known)
{
	__u32 set_number = (__u32)(name >> 40) % VG_STEERED_SETS;
	struct vg_steered *set = bpf_map_lookup_elem(&VG_MAP_STEERED, &set_number);
	struct vg_steered_entry *free = NULL;

	*ret_known = false;
	if (!set)
		return NULL;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < VG_STEERED_WAYS; i++) {
		struct vg_steered_entry *entry = &set->entries[i];

		if (entry->name == name) {
			*ret_known = true;
			return entry;
		}
		if (!entry->name || now_ms - entry->seen_ms > VG_STEERED_AGE_MS)
			free = entry;
	}
	return free;
}

/* Where the job goes: the reason it stays, or VG_CONTINUE and another node. */
static __always_inline int vg_job_owner(const struct vg_serve *serve, __u32 *ret_owner)
{
	const struct vg_wire_header *header = serve->frame.header;
	__u32 now_ms = (__u32)(serve->now_ns >> VG_AGE_SHIFT), chosen;
	struct vg_steered_entry *entry;
	__u64 name, old;
	bool known;

	if (header->opcode != VG_OP_CLONE)
		return VG_REASON_NOT_A_READ;
	if (header->flags & VG_HTOBE16(VG_FLAG_FORWARDED) || header->hops)
		return VG_REASON_JOB_HERE;
	name = vg_request_name(header);
	entry = vg_steered_find(name, now_ms, &known);
	if (!entry)
		return VG_REASON_JOB_NO_PLACE;
	if (known) {
		*ret_owner = entry->node;
		return *ret_owner == serve->config->node ? VG_REASON_JOB_HERE : VG_CONTINUE;
	}
	chosen = (__u32)vg_choose(serve->config, serve->local, serve->now_ns, bpf_get_prandom_u32());
	old = entry->name;
	if (__sync_val_compare_and_swap(&entry->name, old, name) != old)
		return VG_REASON_JOB_NO_PLACE;
	entry->node = (__u16)chosen;
	entry->seen_ms = now_ms;
	*ret_owner = chosen;
	return chosen == serve->config->node ? VG_REASON_JOB_HERE : VG_CONTINUE;
}

/* The node has one more to do until it says how many it has. */
static __always_inline void vg_job_sent(__u32 node)
{
	struct vg_node_load *load = bpf_map_lookup_elem(&VG_MAP_NODE_LOAD, &node);

	if (load)
		__sync_fetch_and_add(&load->service[VG_LOAD_CPU].sent, 1);
}

#endif
