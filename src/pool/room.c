/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/room.h"

#include "pool/cut.h"
#include "pool/evict.h"

#define DEMOTE_BYTES_MIN 128 /* a smaller value takes hardly more room than the reference to it */
#define DEMOTE_BUCKETS 32    /* looked at for cold values each time the arena is found full */
#define SLABS_AT_ONCE 6	     /* emptied for one cell, at most */
#define DEMOTE_ROUNDS 4
#define DEMOTE_ROUNDS_SMALL 16 /* … for a cell without which the write is refused */
/* Slabs could not be emptied, as some cells are in the caches of others, who give them back within a second or so. */
#define SKIP_AFTER_FAILURE 16
#define SKIP_WHEN_FULL 64

/* ---- the owner of a cell ---- */

/* The hash of what may be an item there; its memory may be anything, and changing. */
static bool hash_of_cell(const struct vg_store *store, __u32 class, __u32 cell, __u64 *ret_hash)
{
	__u32 bytes = vg_slab_size(class), at;
	__u8 key[VG_CELL_MAX];
	struct vg_item header;

	vg_racy_copy(&header, store->arena + cell, sizeof(header));
	if (header.slab_class != class)
		return false;
	if (header.flags & VG_ITEM_HEAP_KEY) {
		at = vg_item_hash_offset(&header);
		if (at + sizeof(*ret_hash) > bytes)
			return false;
		vg_racy_copy(ret_hash, store->arena + cell + at, sizeof(*ret_hash));
		return true;
	}
	at = vg_item_key_offset(header.flags);
	if (at + header.key_length > bytes)
		return false;
	vg_racy_copy(key, store->arena + cell + at, header.key_length);
	*ret_hash = vg_hash64(key, header.key_length);
	return true;
}

static bool try_bucket(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *bucket,
		       struct vg_place *ret_place)
{
	__u32 sequence = __atomic_load_n(&bucket->sequence, __ATOMIC_RELAXED);

	if (sequence & 1 || !vg_sequence_try(&bucket->sequence, sequence))
		return false;
	/* With one lock more it may be that what follows is behind the cut of a view that was opened meanwhile. */
	vg_cuts_look(store, worker);
	*ret_place = (struct vg_place){ .bucket = bucket, .sequence = sequence };
	return true;
}

bool vg_place_try_bucket(struct vg_store *store, struct vg_store_worker *worker, __u32 number,
			 struct vg_place *ret_place)
{
	return try_bucket(store, worker, &store->buckets[number], ret_place);
}

bool vg_place_try_cell(struct vg_store *store, struct vg_store_worker *worker, __u32 class, __u32 cell,
		       struct vg_place *ret_place)
{
	struct vg_bucket *bucket;
	__u64 hash, control;

	if (!hash_of_cell(store, class, cell, &hash))
		return false;
	bucket = vg_bucket_of(store, hash, &control);
	if (!try_bucket(store, worker, bucket, ret_place))
		return false;
	if (vg_bucket_of(store, hash, &control) == bucket)
		for (struct vg_bucket *line = bucket; line; line = vg_line_next(store, line))
			VG_EACH_TAGGED(slot, line, vg_index_tag(hash))
				if (vg_line_cell(line, slot) == cell) {
					ret_place->line = line;
					ret_place->slot = slot;
					return true;
				}
	vg_place_give(ret_place);
	return false;
}

/* ---- emptying a slab ---- */

static bool move_item(struct vg_store *store, struct vg_store_worker *worker, __u32 class, struct vg_place *place)
{
	/* Not into a slab more: it would be the one that this makes empty. */
	__u32 to = vg_slab_get_partial(&store->slabs, &worker->cache, class);
	__u32 word = vg_line_word(place->line, place->slot), from = word & VG_CELL_OFFSET;

	if (!to)
		return false;
	memcpy(store->arena + to, store->arena + from, vg_slab_size(class));
	vg_item_own_block(store, vg_item_at(store, to));
	__atomic_store_n(&place->line->cell[place->slot], to | (word & ~VG_CELL_OFFSET), __ATOMIC_RELEASE);
	place->changed = true;
	vg_slab_put_back(&store->slabs, class, from);
	return true;
}

/* With `evict` what cannot be moved is removed. */
static bool empty_slab(struct vg_store *store, struct vg_store_worker *worker, __u32 number, __u32 class, bool evict)
{
	__u32 first = store->slabs.offset + number * VG_SLAB_BYTES, bytes = vg_slab_size(class);
	struct vg_place place;

	if (!vg_slab_drain(&store->slabs, number, class))
		return false;
	vg_slab_flush(&store->slabs, &worker->cache, class);
	for (__u32 cell = first; cell + bytes <= first + VG_SLAB_BYTES; cell += bytes) {
		if (!vg_place_try_cell(store, worker, class, cell, &place))
			continue;
		if (!move_item(store, worker, class, &place) && evict &&
		    vg_evict_may(store, vg_place_item(store, &place))) {
			vg_evict_place(store, worker, &place);
			/* The cell came into the cache, but nothing may be moved to where it is. */
			vg_slab_flush(&store->slabs, &worker->cache, class);
		}
		vg_place_give(&place);
	}
	vg_slab_flush(&store->slabs, &worker->cache, class);
	return vg_slab_drained(&store->slabs, number, class);
}

/* ---- cold and hot ---- */

/* The item found, with its value in the tier that the change of place asks for. */
static bool replace_tier(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place, bool to_heap)
{
	const struct vg_item *item = vg_place_item(store, place);
	const struct vg_entry entry = vg_item_entry(item);
	const struct vg_change all = vg_entry_change(&entry);
	struct vg_key key = { .hash = vg_item_hash(item) };
	__u32 cell;
	int error;

	key.data = vg_item_key(item, &key.length);
	error = vg_item_new_in(store, worker, &key, &all, item, to_heap, &cell);
	if (error)
		return false;
	if (to_heap && vg_item_at(store, cell)->slab_class >= item->slab_class) { /* nothing would be won */
		vg_item_free(store, worker, cell);
		return false;
	}
	vg_place_replace(store, worker, place, cell);
	return true;
}

static __u32 demote_bucket(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place)
{
	__u32 count = 0;

	for (struct vg_bucket *line = place->bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++) {
			const struct vg_item *item = vg_line_item(store, line, slot);
			__u32 uses = vg_line_word(line, slot) & VG_CELL_FREQUENCY;

			if (!line->tag[slot])
				continue;
			if (uses) {
				__atomic_fetch_sub(&line->cell[slot], 1, __ATOMIC_RELAXED);
				continue;
			}
			place->line = line;
			place->slot = slot;
			if (!(item->flags & VG_ITEM_HEAP) && item->key_length <= VG_INLINE_KEY_MAX &&
			    item->value_length >= DEMOTE_BYTES_MIN)
				count += replace_tier(store, worker, place, true);
		}
	return count;
}

static __u32 demote_some(struct vg_store *store, struct vg_store_worker *worker)
{
	__u32 count = 0;
	__u64 control = __atomic_load_n(&store->header->index_control, __ATOMIC_ACQUIRE);
	struct vg_place place;

	for (int i = 0; i < DEMOTE_BUCKETS; i++) {
		__u32 number = store->room.cold_bucket++ % vg_buckets_count(control);

		if (!vg_place_try_bucket(store, worker, number, &place))
			continue;
		count += demote_bucket(store, worker, &place);
		vg_place_give(&place);
	}
	return count;
}

void vg_room_promote(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		     __u64 item_bytes)
{
	const struct vg_item *item;
	struct vg_place place;

	if (!vg_slab_has_room(&store->slabs, vg_slab_size_class((__u32)item_bytes)))
		return;
	vg_place_take(store, key, &place);
	item = vg_place_item(store, &place);
	if (item && item->flags & VG_ITEM_HEAP && !(item->flags & VG_ITEM_HEAP_KEY) &&
	    vg_item_bytes(item->flags, item->key_length, vg_item_value_length(item)) <= VG_CELL_MAX)
		replace_tier(store, worker, &place, false);
	vg_place_give(&place);
}

/* ---- what is to be done ---- */

/* Empty sparse slabs until the class has room and the reserve for small cells is whole. */
static bool empty_sparse(struct vg_store *store, struct vg_store_worker *worker, __u32 wanted,
			 struct vg_slab_excluded *excluded)
{
	__u32 number, class;

	for (int i = 0; i < SLABS_AT_ONCE; i++) {
		if (vg_slab_has_room(&store->slabs, wanted) && vg_slabs_reserve_whole(&store->slabs))
			return true;
		if (excluded->count == VG_SLAB_EXCLUDED_MAX) {
			worker->room_skip = SKIP_AFTER_FAILURE;
			break;
		}
		if (!vg_slab_find_sparse(&store->slabs, excluded, &number, &class))
			break;
		if (!empty_slab(store, worker, number, class, false))
			excluded->number[excluded->count++] = number;
	}
	return false;
}

/* In the worker's own cache as well: what it made room of may be there. */
static bool has_cells(struct vg_store *store, const struct vg_store_worker *worker, __u32 class)
{
	return worker->cache.class[class].count || vg_slab_has_room(&store->slabs, class);
}

static bool empty_any(struct vg_store *store, struct vg_store_worker *worker, __u32 wanted)
{
	__u32 number, class;

	for (int i = 0; i < SLABS_AT_ONCE && !has_cells(store, worker, wanted); i++)
		if (vg_slab_find_next(&store->slabs, &store->room.slab, &number, &class))
			empty_slab(store, worker, number, class, true);
	return has_cells(store, worker, wanted);
}

/* Without such a cell even a value for the heap tier is refused. */
static bool is_small(const struct vg_store *store, __u32 class)
{
	return store->slabs.class[class].cell_bytes <= VG_SLAB_SMALL_BYTES;
}

/*
 * Where nothing has come back since the last time, all that can be done was done then: it is not tried each time. For a
 * small cell that must have been all; and for a line, which no larger cell can stand in for, it is tried anyway.
 */
static bool is_in_vain(const struct vg_store *store, struct vg_store_worker *worker, __u32 class)
{
	if (!worker->room_skip || class == VG_SLAB_CLASS_LINE || (is_small(store, class) && !worker->room_all) ||
	    worker->room_seen != __atomic_load_n(&store->slabs.releases, __ATOMIC_RELAXED))
		return false;
	worker->room_skip--;
	return true;
}

/*
 * Sparse slabs are emptied, and values go to the heap tier until there are some. For what is needed this goes on though
 * none of them is cold. Slabs that could not be emptied may be if something has left them.
 */
static void empty_some(struct vg_store *store, struct vg_store_worker *worker, __u32 class)
{
	struct vg_slab_excluded excluded = { 0 };
	bool small = is_small(store, class), made = empty_sparse(store, worker, class, &excluded);
	int rounds = small ? DEMOTE_ROUNDS_SMALL : worker->room_skip ? 0 : DEMOTE_ROUNDS;

	for (int i = 0; !made && i < rounds; i++) {
		if (demote_some(store, worker)) {
			excluded.count = 0;
			made = empty_sparse(store, worker, class, &excluded);
		} else if (!small) {
			break;
		}
	}
}

bool vg_room_make(struct vg_store *store, struct vg_store_worker *worker, __u32 class)
{
	bool made;

	/* Moving asks for cells too. */
	if (worker->room_making || is_in_vain(store, worker, class))
		return false;
	worker->room_making = true;
	worker->room_skip = 0;
	vg_lock_take(&store->room.lock);
	empty_some(store, worker, class);
	made = has_cells(store, worker, class) || (vg_evicts(store) && empty_any(store, worker, class));
	vg_lock_give(&store->room.lock);
	if (!made) {
		worker->room_skip = worker->room_skip ?: SKIP_WHEN_FULL;
		worker->room_seen = __atomic_load_n(&store->slabs.releases, __ATOMIC_RELAXED);
		worker->room_all = is_small(store, class);
		if (worker->room_all) /* what others have in their caches keeps slabs from being empty */
			vg_slabs_ask(&store->slabs);
	}
	worker->room_making = false;
	return made;
}

bool vg_room_make_index(struct vg_store *store, struct vg_store_worker *worker)
{
	__u32 number = __atomic_load_n(&store->slabs.index, __ATOMIC_RELAXED), class;
	bool made;

	if (number >= store->slabs.slabs_max)
		return false;
	class = vg_slab_class_of(&store->slabs, number);
	if (class >= VG_SLAB_SIZES)
		return false;
	worker->room_making = true;
	vg_lock_take(&store->room.lock);
	made = empty_slab(store, worker, number, class, vg_evicts(store));
	vg_lock_give(&store->room.lock);
	worker->room_making = false;
	return made;
}
