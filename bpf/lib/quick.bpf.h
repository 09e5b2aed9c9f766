/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The usual GET in one go: IPv4 without VLAN tags, no cluster key, a short key, a living value in the arena, at the
 * first slot of its bucket's first line whose tag fits. It is a short cut through the steps of get.bpf.h and nothing
 * else: in any doubt it changes nothing, says VG_CONTINUE, and the request takes the long way. What it saves is the
 * calls, whose returns the kernel guards against speculation, and opening the frame anew behind each
 * (docs/decisions/0012-a-short-cut-for-the-usual-get.md).
 */
#ifndef VG_BPF_QUICK_H
#define VG_BPF_QUICK_H

#include "lib/admit.bpf.h"
#include "lib/get.bpf.h"
#include "maps/cluster.bpf.h"

#define VG_QUICK_KEY_WORDS 4
#define VG_QUICK_VALUE_MAX 256

/* Whether a checked frame is one the short cut is for. */
static __always_inline bool vg_quick_fits(const struct vg_frame *frame, const struct vg_config *config)
{
	const struct vg_wire_header *header = frame->header;

	return frame->version == 4 && !frame->vlan_tags && frame->udp->dest == config->port_mem &&
	       header->opcode == VG_OP_GET && !header->hops && !header->flags && !header->body_length &&
	       header->source_node == VG_HTOBE16(VG_NODE_NONE) && !(config->flags & VG_CONFIG_KEYED) &&
	       (!header->epoch || header->epoch == VG_HTOBE32(config->epoch));
}

static __always_inline bool vg_quick_is_ours(const struct vg_wire_header *header, const struct vg_config *config)
{
	__u32 partition = VG_BE16TOH(header->partition);
	const struct vg_partition_owner *owner = bpf_map_lookup_elem(&VG_MAP_PARTITION, &partition);

	return owner && owner->node == config->node;
}

/*
 * Look at the first slot whose tag fits. True: it holds the key, and *found is to be believed if the bucket has not
 * moved. Words behind the key are not compared, and a key whose padding is not zero equals none.
 */
static __always_inline bool vg_quick_find(__u64 hash, const __u64 *key, __u32 key_length, struct vg_found *found)
{
	volatile struct vg_arena_header __arena *arena = vg_arena_at(struct vg_arena_header, 0);
	__u64 candidates, differ = 0;
	const __u64 __arena *word;
	__u32 flags;

	found->bucket = arena->index_offset +
			vg_index_bucket(arena->index_control, hash) * (__u32)sizeof(struct vg_bucket);
	found->sequence = vg_sequence_load(&vg_arena_at(struct vg_bucket, found->bucket)->sequence);
	candidates = vg_line_candidates(found->bucket, vg_index_tag(hash));
	if (found->sequence & 1 || !candidates)
		return false;
	vg_slot_load(found, found->bucket, vg_candidate_slot(candidates & -candidates));
	found->item = found->word & VG_CELL_OFFSET;
	found->header = *vg_arena_at(__u64, found->item);
	flags = vg_header_flags(found->header);
	if (flags & (VG_ITEM_HEAP | VG_ITEM_HEAP_KEY) || vg_header_key_length(found->header) != key_length)
		return false;
	word = vg_arena_at(__u64, found->item + vg_item_key_offset(flags));
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < VG_QUICK_KEY_WORDS; i++)
		differ |= 8 * i < key_length ? word[i] ^ key[i] : 0;
	return !differ;
}

static __always_inline void vg_quick_answer(const struct vg_frame *frame, const struct vg_config *config,
					    const struct vg_local *local, __u32 body_bytes)
{
	vg_swap_link(frame->ethernet);
	vg_swap_ip4(frame->ip4);
	vg_swap_ports(frame->udp);
	vg_answer_header(frame, config, local, VG_LOAD_MEM, VG_STATUS_OK, body_bytes);
}

/* The bits of a word that are the first `bytes` of it; all of them from 8 on. */
static __always_inline __u64 vg_quick_mask(__u32 bytes)
{
	return bytes >= 8 ? ~0ULL : (1ULL << 8 * bytes) - 1;
}

/*
 * Copy the value over the key and its padding, and believe it if the bucket has not moved. What will lie where the key
 * is waits in registers until that is known, so that a torn copy has spoilt nothing but padding.
 */
static __always_inline bool vg_quick_copy(__u64 *body, void *end, __u32 value, __u32 length,
					  const struct vg_found *found)
{
	const __u64 __arena *word = vg_arena_at(__u64, value);
	__u64 first[VG_QUICK_KEY_WORDS];

#pragma clang loop unroll(full)
	for (int i = 0; i < VG_QUICK_KEY_WORDS; i++)
		first[i] = word[i];
	if (length > 8 * VG_QUICK_KEY_WORDS &&
	    !vg_copy(body + VG_QUICK_KEY_WORDS, end, value + 8 * VG_QUICK_KEY_WORDS, length - 8 * VG_QUICK_KEY_WORDS,
		     VG_QUICK_VALUE_MAX))
		return false;
	if (!vg_index_unchanged(found))
		return false;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < VG_QUICK_KEY_WORDS; i++) {
		__u64 mask = length > 8 * i ? vg_quick_mask(length - 8 * i) : 0;

		body[i] ^= (body[i] ^ first[i]) & mask;
	}
	return true;
}

/* HIT: answered. VG_CONTINUE: nothing was touched. BEING_WRITTEN: the request as it came, but for its padding. */
static __always_inline int vg_quick_get(void *data, void *end, const struct vg_config *config,
					const struct vg_local *local, struct vg_budget *budget)
{
	struct vg_frame frame = { .ethernet = data, .end = end, .version = 4 };
	__u64 *body;
	const struct vg_wire_header *header;
	__u32 key_length, length, value;
	struct vg_found found;

	frame.ip4 = (void *)(frame.ethernet + 1);
	frame.udp = (void *)(frame.ip4 + 1);
	header = frame.header = (void *)(frame.udp + 1);
	body = (__u64 *)(frame.header + 1);
	if ((void *)(body + VG_QUICK_KEY_WORDS) > end)
		return VG_CONTINUE;
	frame.payload_bytes = VG_BE16TOH(frame.udp->len) - (__u32)sizeof(struct udphdr);
	key_length = VG_BE32TOH(header->key_length);
	if (!key_length || key_length > 8 * VG_QUICK_KEY_WORDS || local->lease_until_ns <= budget->now_ns ||
	    !vg_arena_is_ours() || !vg_quick_is_ours(header, config))
		return VG_CONTINUE;
	if (!vg_quick_find(VG_BE64TOH(header->ident), body, key_length, &found))
		return VG_CONTINUE;
	length = vg_header_value_length(found.header);
	if (length > VG_QUICK_VALUE_MAX || length > vg_answer_room(&frame) ||
	    vg_get_check_deadline(&found, budget->now_ns + local->unix_offset_ns) != VG_CONTINUE ||
	    !vg_budget_spend(budget, config, budget->now_ns))
		return VG_CONTINUE;
	value = found.item + vg_item_value_offset(vg_header_flags(found.header), key_length);
	if (!vg_quick_copy(body, end, value, length, &found)) {
		frame.udp->check = 0; /* none: the padding is no longer what it covered */
		return VG_REASON_BEING_WRITTEN;
	}
	vg_item_touch(&found);
	vg_quick_answer(&frame, config, local, length);
	return VG_REASON_HIT;
}

#endif
