/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The index: a linear-hashing table of bucket lines (include/virgo/maps.h). Readers' half is inline; they take no
 * lock.
 */
#ifndef VG_POOL_INDEX_H
#define VG_POOL_INDEX_H

#include <errno.h>

#include "pool/item.h"

#define VG_INDEX_BUCKETS_MIN 1024
#define VG_INDEX_LOAD 7		 /* keys a bucket on average before the table grows; a line has VG_BUCKET_SLOTS */
#define VG_INDEX_GROWTH_STEP 8	 /* a worker says so after so many new keys … */
#define VG_INDEX_SPLITS_MAX 4	 /* … and splits at most so many buckets then */
#define VG_INDEX_BLOCKED_STEP 4096 /* keys more, until growing is tried again that had no room */
#define VG_BUCKET_ITEMS_MAX (VG_CHAIN_MAX * VG_BUCKET_SLOTS)

/* ---- lines ---- */

/* The line behind this one, or NULL. A racing reader may find anything there, so anything is borne. */
static inline struct vg_bucket *vg_line_next(const struct vg_store *store, const struct vg_bucket *line)
{
	__u32 next = __atomic_load_n(&line->next, __ATOMIC_RELAXED);

	if (!next || next % sizeof(*line) || next > store->arena_bytes - sizeof(*line))
		return NULL;
	return (struct vg_bucket *)(store->arena + next);
}

/* The slots whose tag is this one, as bit 8 * i + 7; slots 8 and more in the second half. */
static inline __u64 vg_tags_equal(const struct vg_bucket *line, int half, __u8 tag)
{
	const __u64 low = 0x7f7f7f7f7f7f7f7fULL, second = (1ULL << 8 * (VG_BUCKET_SLOTS - 8)) - 1;
	__u64 tags = half ? __atomic_load_n((const __u32 *)(line->tag + 8), __ATOMIC_RELAXED) :
			    __atomic_load_n((const __u64 *)line->tag, __ATOMIC_RELAXED);
	__u64 differ = tags ^ (0x0101010101010101ULL * tag);

	return ~(((differ & low) + low) | differ | low) & (half ? second : ~0ULL);
}

/* for each slot of the line with this tag */
#define VG_EACH_TAGGED(slot, line, wanted_tag)                                                                         \
	for (__u64 half_ = 0, found_ = vg_tags_equal(line, 0, wanted_tag);                                             \
	     found_ || (half_ == 0 && (half_ = 1, found_ = vg_tags_equal(line, 1, wanted_tag))); found_ &= found_ - 1) \
		for (__u32 slot = (__u32)half_ * 8 + (__u32)__builtin_ctzll(found_) / 8, once_ = 1; once_; once_ = 0)

/* A slot's word; readers may be setting its lowest bits. */
static inline __u32 vg_line_word(const struct vg_bucket *line, __u32 slot)
{
	return __atomic_load_n(&line->cell[slot], __ATOMIC_RELAXED);
}

static inline __u32 vg_line_cell(const struct vg_bucket *line, __u32 slot)
{
	return vg_line_word(line, slot) & VG_CELL_OFFSET;
}

static inline struct vg_item *vg_line_item(const struct vg_store *store, const struct vg_bucket *line, __u32 slot)
{
	return vg_item_at(store, vg_line_cell(line, slot));
}

/* ---- reading ---- */

struct vg_reading {
	struct vg_bucket *bucket;
	__u64 control;
	__u32 sequence;
	__u32 cell;		/* of the item found, 0: none */
	__u32 word;		/* of its slot, and where that is */
	__u32 *slot;
	/* What is known of it: a heap-tier value's length is not until its block is. */
	struct vg_item header;
	__u64 value_length, expire_ms;
	struct vg_item_meta meta;
};

static inline struct vg_bucket *vg_bucket_of(const struct vg_store *store, __u64 hash, __u64 *ret_control)
{
	*ret_control = __atomic_load_n(&store->header->index_control, __ATOMIC_ACQUIRE);
	return &store->buckets[vg_index_bucket(*ret_control, hash)];
}

/*
 * Was everything since the search began one state of the bucket, and the key's bucket this one? A split publishes
 * index_control before it gives the sequence of the bucket it took keys from: who read the sequence it gave (acquire)
 * therefore reads the new control here.
 */
static inline bool vg_reading_valid(const struct vg_store *store, const struct vg_reading *reading, __u64 hash)
{
	__u64 control;

	if (!vg_sequence_is(&reading->bucket->sequence, reading->sequence))
		return false;
	return reading->cell || vg_bucket_of(store, hash, &control) == reading->bucket;
}

bool vg_reading_heap_key(const struct vg_store *store, const struct vg_reading *reading, __u32 cell,
			 const struct vg_key *key);

static inline bool vg_reading_match(const struct vg_store *store, struct vg_reading *reading, __u32 cell,
				    const struct vg_key *key)
{
	__u64 at;

	if (cell < sizeof(struct vg_arena_header) || cell > store->arena_bytes - sizeof(struct vg_item))
		return false;
	vg_racy_copy(&reading->header, store->arena + cell, sizeof(reading->header));
	if (reading->header.flags & VG_ITEM_HEAP_KEY)
		return key->length > VG_INLINE_KEY_MAX && vg_reading_heap_key(store, reading, cell, key);
	at = (__u64)cell + vg_item_key_offset(reading->header.flags);
	return reading->header.key_length == key->length && at + key->length <= store->arena_bytes &&
	       vg_racy_equal(store->arena + at, key->data, key->length);
}

/* The extensions of the item found; they end before its key, which was in the arena. */
static inline void vg_reading_extensions(const struct vg_store *store, struct vg_reading *reading)
{
	const __u8 *item = store->arena + reading->cell;
	__u8 flags = reading->header.flags;

	reading->value_length = reading->header.value_length;
	reading->expire_ms = 0;
	reading->meta = (struct vg_item_meta){ 0 };
	if (!(flags & (VG_ITEM_DEADLINE | VG_ITEM_META)) ||
	    (__u64)reading->cell + vg_item_key_offset(flags) > store->arena_bytes)
		return;
	if (flags & VG_ITEM_DEADLINE)
		vg_racy_copy(&reading->expire_ms, item + sizeof(struct vg_item), sizeof(reading->expire_ms));
	if (flags & VG_ITEM_META)
		vg_racy_copy(&reading->meta, item + vg_item_meta_offset(flags), sizeof(reading->meta));
}

/* Find the key without a lock. What is found counts only if vg_reading_valid() says so after its use. */
static inline void vg_reading_find(const struct vg_store *store, struct vg_reading *reading, const struct vg_key *key)
{
	struct vg_bucket *line;
	__u8 tag = vg_index_tag(key->hash);
	unsigned spins = 0;
	int lines = 0;

	reading->bucket = vg_bucket_of(store, key->hash, &reading->control);
	for (;; vg_relax(&spins)) {
		reading->sequence = __atomic_load_n(&reading->bucket->sequence, __ATOMIC_ACQUIRE);
		if (!(reading->sequence & 1))
			break;
	}
	reading->cell = 0;
	for (line = reading->bucket; line && lines++ < VG_CHAIN_MAX; line = vg_line_next(store, line))
		VG_EACH_TAGGED(slot, line, tag) {
			__u32 word = vg_line_word(line, slot);

			if (vg_reading_match(store, reading, word & VG_CELL_OFFSET, key)) {
				reading->cell = word & VG_CELL_OFFSET;
				reading->word = word;
				reading->slot = &line->cell[slot];
				vg_reading_extensions(store, reading);
				return;
			}
		}
}

/* ---- changing: with the bucket's sequence taken ---- */

struct vg_place {
	struct vg_bucket *bucket; /* its first line */
	__u32 sequence;		  /* the even value from before */
	bool changed;
	struct vg_bucket *line;	  /* of the item found, NULL: none */
	__u32 slot;
	struct vg_bucket *free_line; /* of the first free slot, NULL: none */
	__u32 free_slot;
};

static inline struct vg_item *vg_place_item(const struct vg_store *store, const struct vg_place *place)
{
	return place->line ? vg_line_item(store, place->line, place->slot) : NULL;
}

/* Take the sequence of the key's bucket and find the key in it; give it back, moved on if something changed. */
void vg_place_take(struct vg_store *store, const struct vg_key *key, struct vg_place *ret_place);
void vg_place_give(struct vg_place *place);
/* Look again, after the bucket's slots have moved. */
void vg_place_find(struct vg_store *store, const struct vg_key *key, struct vg_place *place);

/* See to it that a taken bucket has so many free slots. -ELOOP, -ENOMEM: then it may have empty lines. */
int vg_bucket_reserve(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *bucket, __u32 count);
/* Put an item that nobody sees yet into the free slot. */
void vg_place_insert(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place, __u64 hash,
		     __u32 cell);
/* Put it in the place of the item found, which is freed. */
void vg_place_replace(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place, __u32 cell);
/* Free the item found. Slots of the bucket may move. */
void vg_place_remove(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place);

/* Empty one slot of a taken bucket and free its item; vg_bucket_compact closes the holes when all is done. */
void vg_slot_remove(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *line, __u32 slot);
void vg_bucket_compact(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *bucket);

/* Grow the table if this worker's new keys ask for it. No sequence is held. */
void vg_index_grow(struct vg_store *store, struct vg_store_worker *worker);

#endif
