/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finding an item in the arena's index, as a reader that never waits: what it says holds if the bucket's sequence is
 * even before and the same after (vg_index_unchanged). virgo/maps.h has the rules, docs/maps.md the argument.
 */
#ifndef VG_BPF_INDEX_H
#define VG_BPF_INDEX_H

#include "lib/key.bpf.h"
#include "maps/arena.bpf.h"

/* An item as the lookup read it. */
struct vg_found {
	__u32 bucket;	/* arena offsets */
	__u32 item;
	__u32 sequence;
	__u32 slot;	/* where the slot's word is, and what it was */
	__u32 word;
	__u64 header;	/* struct vg_item as one word */
};

#define VG_ITEM_KEY_LENGTH_SHIFT (8 * __builtin_offsetof(struct vg_item, key_length))
#define VG_ITEM_FLAGS_SHIFT (8 * __builtin_offsetof(struct vg_item, flags))

static __always_inline __u32 vg_header_value_length(__u64 header)
{
	return (__u16)header;
}

static __always_inline __u32 vg_header_key_length(__u64 header)
{
	return (__u16)(header >> VG_ITEM_KEY_LENGTH_SHIFT);
}

static __always_inline __u32 vg_header_flags(__u64 header)
{
	return (__u8)(header >> VG_ITEM_FLAGS_SHIFT);
}

static __always_inline __u32 vg_sequence_load(const volatile __u32 __arena *sequence)
{
	__u32 value;

	vg_load_barrier();
	value = *sequence;
	vg_load_barrier();
	return value;
}

static __always_inline bool vg_index_unchanged(const struct vg_found *found)
{
	return vg_sequence_load(&vg_arena_at(struct vg_bucket, found->bucket)->sequence) == found->sequence;
}

/* One bit, the highest of its byte, for each of the eight tags in `tags` that equals `tag`. */
static __always_inline __u64 vg_tags_equal(__u64 tags, __u8 tag)
{
	const __u64 low = 0x7f7f7f7f7f7f7f7fULL;
	__u64 different = tags ^ tag * 0x0101010101010101ULL;

	return ~(((different & low) + low) | different | low);
}

static __always_inline bool vg_item_has_key(__u32 item_key, const struct vg_xdp_key *key)
{
	const __u64 __arena *word = vg_arena_at(__u64, item_key);

	for (__u32 i = 0; i < VG_XDP_KEY_WORDS; i++, word++) {
		if (i >= key->words)
			break;
		if (*word != key->word[i])
			return false;
	}
	return true;
}

/*
 * Whether the item holds the key: VG_REASON_HIT, VG_REASON_NOT_FOUND, or IN_HEAP when its key is not here to compare.
 */
static __always_inline int vg_item_compare(__u32 item, const struct vg_xdp_key *key, struct vg_found *found)
{
	__u64 header = *vg_arena_at(__u64, item);
	__u32 flags = vg_header_flags(header);

	if (flags & VG_ITEM_HEAP_KEY)
		return VG_REASON_IN_HEAP;
	if (vg_header_key_length(header) != key->length || !vg_item_has_key(item + vg_item_key_offset(flags), key))
		return VG_REASON_NOT_FOUND;
	found->item = item;
	found->header = header;
	return VG_REASON_HIT;
}

/* The slots whose tag is this one: bit 8 * i + j for slot i + 8 * j. */
static __always_inline __u64 vg_line_candidates(__u32 line_offset, __u8 tag)
{
	const struct vg_bucket __arena *line = vg_arena_at(struct vg_bucket, line_offset);
	__u64 first = vg_tags_equal(*(const __u64 __arena *)line->tag, tag);
	__u64 second = vg_tags_equal(*(const __u32 __arena *)(line->tag + 8) & 0xffffff, tag) & 0xffffff;

	return first >> 7 | second >> 6;
}

/* The slot of one such bit. */
static __always_inline __u32 vg_candidate_slot(__u64 bit)
{
	__u64 upper = bit >> 1 & 0x0101010101010101ULL; /* the slot's bit, if it is one of the upper ones */
	/* A multiplication moves the number of the bit's byte to the top: 1, 2^8, 2^16 … give 0, 1, 2 … */
	__u32 slot = (__u32)((upper ?: bit) * 0x0001020304050607ULL >> 56);

	return upper ? slot + 8 : slot;
}

static __always_inline void vg_slot_load(struct vg_found *found, __u32 line_offset, __u32 slot)
{
	found->slot = line_offset + (__u32)__builtin_offsetof(struct vg_bucket, cell) + slot * 4;
	found->word = *vg_arena_at(__u32, found->slot);
}

/* One line of a bucket. */
static __always_inline int vg_line_search(__u32 line_offset, __u8 tag, const struct vg_xdp_key *key,
					  struct vg_found *found)
{
	__u64 candidates = vg_line_candidates(line_offset, tag);

	for (int i = 0; i < VG_BUCKET_SLOTS; i++) {
		__u64 lowest = candidates & -candidates;
		int verdict;

		if (!candidates)
			break;
		candidates ^= lowest;
		vg_slot_load(found, line_offset, vg_candidate_slot(lowest));
		verdict = vg_item_compare(found->word & VG_CELL_OFFSET, key, found);
		if (verdict != VG_REASON_NOT_FOUND)
			return verdict;
	}
	return VG_REASON_NOT_FOUND;
}

/*
 * Look for the key. VG_REASON_HIT: *found is filled in, to be believed once vg_index_unchanged says so. NOT_FOUND: it
 * is certain that nothing hangs at this hash. Else the reason to pass the request up.
 */
__noinline int vg_index_find(__u64 hash, const struct vg_xdp_key *key, struct vg_found *found)
{
	volatile struct vg_arena_header __arena *arena = vg_arena_at(struct vg_arena_header, 0);
	__u8 tag = vg_index_tag(hash);
	__u64 control;
	__u32 line;
	int verdict;

	vg_arena_use();
	if (!key || !found)
		return VG_REASON_BEING_WRITTEN;
	control = arena->index_control;
	line = arena->index_offset + vg_index_bucket(control, hash) * (__u32)sizeof(struct vg_bucket);
	found->bucket = line;
	found->sequence = vg_sequence_load(&vg_arena_at(struct vg_bucket, line)->sequence);
	if (found->sequence & 1)
		return VG_REASON_BEING_WRITTEN;
	for (int i = 0; i < VG_CHAIN_XDP_MAX; i++) {
		verdict = vg_line_search(line, tag, key, found);
		if (verdict != VG_REASON_NOT_FOUND)
			return verdict;
		line = vg_arena_at(struct vg_bucket, line)->next;
		if (!line)
			break;
	}
	if (!vg_index_unchanged(found) || arena->index_control != control)
		return VG_REASON_BEING_WRITTEN;
	return line ? VG_REASON_CHAIN : VG_REASON_NOT_FOUND;
}

#endif
