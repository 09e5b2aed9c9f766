/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Several keys in one datagram. The answer is as long as the keys or longer and lies where they are, so it is made
 * beside the packet and copied in when every key has been found: what is passed up is as it came.
 */
#ifndef VG_BPF_MGET_H
#define VG_BPF_MGET_H

#include "lib/get.bpf.h"
#include "maps/cluster.bpf.h"
#include "maps/scratch.bpf.h"

struct vg_mget_at {
	__u32 in;   /* bytes of the request's body that have been read */
	__u32 out;  /* words of the answer's body that have been written */
	__u32 room; /* words that there may be */
	__u32 count;
	__u64 unix_ns;
};

struct vg_mget_lookup {
	struct vg_xdp_key key;
	struct vg_found found;
	struct vg_mget_at at;
};
_Static_assert(sizeof(struct vg_mget_lookup) <= sizeof(((struct vg_scratch *)0)->lookup), "fits its place");

static __always_inline struct vg_scratch *vg_scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&VG_MAP_SCRATCH, &zero);
}

/* struct vg_mget_value as one word, in memory's order. */
static __always_inline __u64 vg_mget_head(__u32 length, __u8 status)
{
	return (__u64)VG_HTOBE32(length) | (__u64)status << 32;
}

static __always_inline int vg_mget_miss(struct vg_scratch *scratch, struct vg_mget_at *at)
{
	scratch->word[at->out & (VG_SCRATCH_WORDS - 1)] = vg_mget_head(0, VG_STATUS_NOT_FOUND);
	at->out++;
	return VG_CONTINUE;
}

/* Items pad their values with zeros to whole words, as the answer does. */
static __always_inline int vg_mget_hit(struct vg_scratch *scratch, struct vg_mget_at *at,
				       const struct vg_xdp_key *key, const struct vg_found *found)
{
	__u32 flags = vg_header_flags(found->header), length = vg_header_value_length(found->header);
	__u32 words = (length + 7) / 8, offset = found->item + vg_item_value_offset(flags, key->length);
	int deadline;

	if (flags & VG_ITEM_HEAP)
		return VG_REASON_IN_HEAP;
	deadline = vg_get_check_deadline(found, at->unix_ns);
	if (deadline == VG_REASON_EXPIRED)
		return vg_index_unchanged(found) ? vg_mget_miss(scratch, at) : VG_REASON_BEING_WRITTEN;
	if (deadline != VG_CONTINUE)
		return deadline;
	if (length > VG_XDP_VALUE_MAX)
		return VG_REASON_TOO_LONG;
	if (at->out + 1 + words > at->room)
		return VG_REASON_NO_ROOM;
	scratch->word[at->out & (VG_SCRATCH_WORDS - 1)] = vg_mget_head(length, VG_STATUS_OK);
	for (__u32 i = 0; i < VG_XDP_VALUE_MAX / 8; i++) {
		if (i >= words)
			break;
		scratch->word[(at->out + 1 + i) & (VG_SCRATCH_WORDS - 1)] = *vg_arena_at(__u64, offset + 8 * i);
	}
	if (!vg_index_unchanged(found))
		return VG_REASON_BEING_WRITTEN;
	vg_item_touch(found);
	at->out += 1 + words;
	return VG_CONTINUE;
}

/*
 * The next key; MULTI_GET: there is none. A function of its own, so that the verifier walks it once and not once for
 * each key.
 */
__noinline int vg_mget_one(struct xdp_md *ctx, __u64 shape, __u32 node)
{
	const struct vg_partition_owner *owner;
	struct vg_scratch *scratch = vg_scratch_get();
	const struct vg_mget_key *entry;
	struct vg_mget_lookup *lookup;
	struct vg_mget_at *at;
	struct vg_frame frame;
	__u32 partition;
	__u64 hash;
	int reason;

	vg_arena_use();
	if (!scratch || vg_frame_reopen(&frame, ctx, shape))
		return VG_REASON_TRUNCATED;
	lookup = (struct vg_mget_lookup *)scratch->lookup;
	at = &lookup->at;
	if (!at->count)
		return VG_REASON_MULTI_GET;
	at->count--;
	if (at->in > VG_DATAGRAM_MAX || at->out >= at->room)
		return VG_REASON_NO_ROOM;
	entry = (const void *)(frame.header + 1) + at->in;
	if ((const void *)(entry + 1) > frame.end)
		return VG_REASON_TRUNCATED;
	if (entry->reserved)
		return VG_REASON_BAD_HEADER;
	hash = VG_BE64TOH(entry->ident);
	partition = VG_BE16TOH(entry->partition);
	reason = vg_key_load_at((const __u64 *)(entry + 1), frame.end, VG_BE16TOH(entry->key_length),
				&lookup->key);
	if (reason != VG_CONTINUE)
		return reason;
	owner = bpf_map_lookup_elem(&VG_MAP_PARTITION, &partition);
	if (!owner || owner->node != node)
		return VG_REASON_BAD_PARTITION;
	at->in += (__u32)sizeof(*entry) + 8 * lookup->key.words;
	reason = vg_index_find(hash, &lookup->key, &lookup->found);
	if (reason == VG_REASON_NOT_FOUND)
		return vg_key_is(&lookup->key, hash, partition) ? vg_mget_miss(scratch, at) : VG_REASON_HASH_MISMATCH;
	return reason == VG_REASON_HIT ? vg_mget_hit(scratch, at, &lookup->key, &lookup->found) : reason;
}

/* Put the finished body behind the header. 0, or negative if the packet ends before it. */
__noinline int vg_mget_write(struct xdp_md *ctx, __u64 shape, __u32 words)
{
	const struct vg_scratch *scratch = vg_scratch_get();
	struct vg_frame frame;
	__u64 *to;

	if (!scratch || vg_frame_reopen(&frame, ctx, shape))
		return -1;
	to = (__u64 *)(frame.header + 1);
	for (__u32 i = 0; i < VG_SCRATCH_WORDS; i++, to++) {
		if (i >= words)
			break;
		if ((void *)(to + 1) > frame.end)
			return -1;
		*to = scratch->word[i];
	}
	return 0;
}

/* What is asked, and room for the answer, into the scratch; false: it cannot be right. */
static __always_inline bool vg_mget_begin(const struct vg_serve *serve)
{
	const struct vg_wire_header *header = serve->frame.header;
	struct vg_scratch *scratch = vg_scratch_get();
	__u64 count = VG_BE64TOH(header->argument);
	struct vg_mget_at *at;

	if (!scratch || header->key_length || !count || count > VG_MGET_KEYS_MAX)
		return false;
	at = &((struct vg_mget_lookup *)scratch->lookup)->at;
	at->in = 0;
	at->out = 0;
	at->room = vg_answer_room(&serve->frame) / 8;
	at->count = (__u32)count;
	at->unix_ns = serve->now_ns + serve->local->unix_offset_ns;
	return true;
}

/* All keys have been found: the answer's words, 0: there were more bytes than keys. */
static __always_inline __u32 vg_mget_end(const struct vg_serve *serve)
{
	const struct vg_scratch *scratch = vg_scratch_get();
	const struct vg_mget_at *at;

	if (!scratch)
		return 0;
	at = &((const struct vg_mget_lookup *)scratch->lookup)->at;
	return at->in == VG_BE32TOH(serve->frame.header->body_length) ? at->out : 0;
}

static __always_inline int vg_mget(struct vg_serve *serve)
{
	__u32 words;
	int reason;

	if (!vg_mget_begin(serve))
		return VG_REASON_BAD_HEADER;
	for (__u32 i = 0; i < VG_MGET_KEYS_MAX; i++) {
		reason = vg_mget_one(serve->ctx, serve->shape, serve->config->node);
		if (reason == VG_REASON_MULTI_GET)
			break;
		if (reason != VG_CONTINUE)
			return reason;
	}
	words = vg_mget_end(serve);
	if (!words)
		return VG_REASON_BAD_HEADER;
	if (vg_mget_write(serve->ctx, serve->shape, words))
		return VG_REASON_TRUNCATED;
	return vg_answer(serve, VG_STATUS_OK, 8 * words, VG_REASON_MULTI_GET);
}

#endif
