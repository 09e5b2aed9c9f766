/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/index.h"

#include "pool/cut.h"
#include "pool/evict.h"
#include "pool/room.h"

static bool key_equal(const struct vg_item *item, const struct vg_key *key)
{
	__u32 length;
	const void *data;

	if ((item->flags & VG_ITEM_HEAP_KEY) && vg_item_hash(item) != key->hash)
		return false;
	data = vg_item_key(item, &length);
	return length == key->length && memcmp(data, key->data, length) == 0;
}

/*
 * A key in the heap tier is compared with the sequence taken, since its block may be freed as soon as it is not. Taking
 * it from exactly the value this reading began with proves that the cell is still the one it saw.
 */
bool vg_reading_heap_key(const struct vg_store *store, const struct vg_reading *reading, __u32 cell,
			 const struct vg_key *key)
{
	__u32 *sequence = &reading->bucket->sequence;
	bool equal;

	for (unsigned spins = 0; !vg_sequence_try(sequence, reading->sequence); vg_relax(&spins)) {
		__u32 seen = __atomic_load_n(sequence, __ATOMIC_RELAXED);

		/*
		 * Who holds it may give it back as it was, and then this reading is still good; moved on, it never
		 * is.
		 */
		if (seen != reading->sequence && seen != reading->sequence + 1)
			return false;
	}
	equal = key_equal(vg_item_at(store, cell), key);
	vg_sequence_give(sequence, reading->sequence);
	return equal;
}

void vg_place_find(struct vg_store *store, const struct vg_key *key, struct vg_place *place)
{
	__u8 tag = vg_index_tag(key->hash);

	place->line = place->free_line = NULL;
	for (struct vg_bucket *line = place->bucket; line; line = vg_line_next(store, line)) {
		VG_EACH_TAGGED(slot, line, tag)
			if (key_equal(vg_line_item(store, line, slot), key)) {
				place->line = line;
				place->slot = slot;
				return;
			}
		VG_EACH_TAGGED(slot, line, 0)
			if (!place->free_line) {
				place->free_line = line;
				place->free_slot = slot;
			}
	}
}

void vg_place_take(struct vg_store *store, const struct vg_key *key, struct vg_place *ret_place)
{
	__u64 control;

	for (;;) {
		ret_place->bucket = vg_bucket_of(store, key->hash, &control);
		ret_place->sequence = vg_sequence_take(&ret_place->bucket->sequence);
		if (vg_bucket_of(store, key->hash, &control) == ret_place->bucket)
			break; /* it can only be split by whoever has its sequence: this thread */
		vg_sequence_give(&ret_place->bucket->sequence, ret_place->sequence);
	}
	ret_place->changed = false;
	vg_cuts_look(store, vg_worker_self(store));
	vg_place_find(store, key, ret_place);
}

void vg_place_give(struct vg_place *place)
{
	vg_sequence_give(&place->bucket->sequence, place->sequence + (place->changed ? 2 : 0));
}

/* An empty line at the end of the chain. */
static struct vg_bucket *line_append(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *last)
{
	__u32 cell = vg_cell_get(store, worker, VG_SLAB_CLASS_LINE);
	struct vg_bucket *line = (struct vg_bucket *)(store->arena + cell);

	if (!cell)
		return NULL;
	/* Racing readers may still be looking at what this line was: they see tags of 0, or their sequence moved. */
	for (unsigned i = 0; i < sizeof(*line) / 8; i++)
		__atomic_store_n((__u64 *)line + i, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&last->next, cell, __ATOMIC_RELEASE);
	vg_worker_count(worker->lines, 1);
	return line;
}

int vg_bucket_reserve(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *bucket, __u32 count)
{
	struct vg_bucket *last = bucket;
	__u32 free = 0;
	int lines = 0;

	for (struct vg_bucket *line = bucket; line; last = line, line = vg_line_next(store, line), lines++)
		free += (__u32)(__builtin_popcountll(vg_tags_equal(line, 0, 0)) +
				__builtin_popcountll(vg_tags_equal(line, 1, 0)));
	for (; free < count; free += VG_BUCKET_SLOTS) {
		if (lines++ >= VG_CHAIN_MAX)
			return -ELOOP;
		last = line_append(store, worker, last);
		if (!last)
			return -ENOMEM;
	}
	return 0;
}

/* The tag last, and release: a slot that is in use names a whole item, also for who finds this process dead. */
static void slot_set(struct vg_bucket *line, __u32 slot, __u8 tag, __u32 cell)
{
	__atomic_store_n(&line->cell[slot], cell, __ATOMIC_RELEASE);
	__atomic_store_n(&line->tag[slot], tag, __ATOMIC_RELEASE);
}

static void slot_clear(struct vg_bucket *line, __u32 slot)
{
	__atomic_store_n(&line->tag[slot], 0, __ATOMIC_RELEASE);
	__atomic_store_n(&line->cell[slot], 0, __ATOMIC_RELAXED);
}

void vg_place_insert(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place, __u64 hash,
		     __u32 cell)
{
	assert(!place->line && place->free_line);
	if (vg_evicts_s3fifo(store))
		vg_evict_inserting(store, place, hash, cell);
	vg_cut_before_new(store, worker, vg_item_at(store, cell), hash);
	slot_set(place->free_line, place->free_slot, vg_index_tag(hash), cell);
	place->line = place->free_line;
	place->slot = place->free_slot;
	place->free_line = NULL;
	place->changed = true;
	vg_worker_count(worker->keys, 1);
	worker->growth++;
}

/* The old cell is freed with the sequence odd: a reader that still copies from it will find the sequence moved. */
void vg_place_replace(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place, __u32 cell)
{
	__u32 word = vg_line_word(place->line, place->slot), old = word & VG_CELL_OFFSET;

	if (vg_evicts_s3fifo(store))
		vg_evict_replacing(store, vg_item_at(store, old), cell);
	vg_cut_before(store, worker, vg_item_at(store, old));
	__atomic_store_n(&place->line->cell[place->slot], cell | (word & ~VG_CELL_OFFSET), __ATOMIC_RELEASE);
	place->changed = true;
	vg_item_free(store, worker, old);
}

void vg_slot_remove(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *line, __u32 slot)
{
	__u32 cell = vg_line_cell(line, slot);

	vg_cut_before(store, worker, vg_line_item(store, line, slot));
	slot_clear(line, slot);
	vg_item_free(store, worker, cell);
	vg_worker_count(worker->keys, -1);
	worker->growth--;
}

void vg_place_remove(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place)
{
	vg_slot_remove(store, worker, place->line, place->slot);
	vg_bucket_compact(store, worker, place->bucket);
	place->changed = true;
	place->line = place->free_line = NULL;
}

/* The first line before `end` with an empty slot. */
static struct vg_bucket *hole_before(struct vg_store *store, struct vg_bucket *line, const struct vg_bucket *end,
				     __u32 *ret_slot)
{
	for (; line != end; line = vg_line_next(store, line))
		VG_EACH_TAGGED(slot, line, 0) {
			*ret_slot = slot;
			return line;
		}
	return NULL;
}

static int used_slot(const struct vg_bucket *line)
{
	for (int i = VG_BUCKET_SLOTS - 1; i >= 0; i--)
		if (line->tag[i])
			return i;
	return -1;
}

/*
 * Fill holes from the end of the chain and free lines that become empty. A slot is set in its new place before it is
 * cleared in the old one: a process that dies between leaves it twice, which its successor sees, not nowhere.
 */
void vg_bucket_compact(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *bucket)
{
	while (bucket->next) {
		struct vg_bucket *last = bucket, *before = NULL, *line;
		__u32 slot;
		int used;

		for (; last->next; last = vg_line_next(store, last))
			before = last;
		used = used_slot(last);
		if (used < 0) {
			__u32 cell = before->next;

			__atomic_store_n(&before->next, 0, __ATOMIC_RELEASE);
			vg_cell_put(store, worker, VG_SLAB_CLASS_LINE, cell);
			vg_worker_count(worker->lines, -1);
			continue;
		}
		line = hole_before(store, bucket, last, &slot);
		if (!line)
			return;
		slot_set(line, slot, last->tag[used], vg_line_word(last, (__u32)used));
		slot_clear(last, (__u32)used);
	}
}

/* ---- growing ---- */

struct moving {
	struct vg_bucket *line;
	__u32 slot;
};

/* Which items of the bucket have the hash bit that will tell the two halves apart. */
static int collect_moving(struct vg_store *store, struct vg_bucket *bucket, __u32 bit, struct moving *ret_moving)
{
	int count = 0;

	for (struct vg_bucket *line = bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++)
			if (line->tag[slot])
				__builtin_prefetch(vg_line_item(store, line, slot));
	for (struct vg_bucket *line = bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++)
			if (line->tag[slot] && vg_item_hash(vg_line_item(store, line, slot)) >> bit & 1)
				ret_moving[count++] = (struct moving){ line, slot };
	return count;
}

/* Copy the slots into the new bucket. False: no memory for its further lines; it is empty again. */
static bool fill_bucket(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *bucket,
			const struct moving *moving, int count)
{
	struct vg_bucket *line = bucket;

	for (int i = 0; i < count; i++) {
		const struct vg_bucket *from = moving[i].line;

		if (i && i % VG_BUCKET_SLOTS == 0) {
			line = line_append(store, worker, line);
			if (!line) {
				for (line = bucket; line; line = vg_line_next(store, line))
					memset(line->tag, 0, sizeof(line->tag));
				vg_bucket_compact(store, worker, bucket);
				return false;
			}
		}
		slot_set(line, (__u32)i % VG_BUCKET_SLOTS, from->tag[moving[i].slot],
			 vg_line_word(from, moving[i].slot));
	}
	return true;
}

/*
 * Split the next bucket; the split lock is held. The new bucket is filled before index_control names it, and the old
 * one loses the items after: a process that dies between leaves them once, or twice with the wrong one recognisable by
 * its hash. Both sequences are odd meanwhile, so no reader sees either; the lower bucket is taken first.
 */
static bool split(struct vg_store *store, struct vg_store_worker *worker)
{
	__u64 control = store->header->index_control;
	__u32 level = (__u32)(control >> 32), next = (__u32)control;
	struct vg_bucket *old, *fresh;
	struct moving moving[VG_BUCKET_ITEMS_MAX];
	__u32 sequence;
	int count;

	old = &store->buckets[next];
	fresh = &store->buckets[vg_buckets_count(control)];
	sequence = vg_sequence_take(&old->sequence);
	count = collect_moving(store, old, level, moving);
	*fresh = (struct vg_bucket){ .sequence = 1 };
	if (!fill_bucket(store, worker, fresh, moving, count)) {
		vg_sequence_give(&old->sequence, sequence);
		return false;
	}
	control = ++next == 1u << level ? (__u64)(level + 1) << 32 : (__u64)level << 32 | next;
	__atomic_store_n(&store->header->index_control, control, __ATOMIC_RELEASE);
	for (int i = 0; i < count; i++)
		slot_clear(moving[i].line, moving[i].slot);
	vg_bucket_compact(store, worker, old);
	vg_sequence_give(&fresh->sequence, 2);
	vg_sequence_give(&old->sequence, sequence + 2);
	return true;
}

/* The slab that the index needs is in use. Emptying it is tried again when there are many more keys. */
static bool extend(struct vg_store *store, struct vg_store_worker *worker, __s64 keys)
{
	__u64 bytes = (vg_buckets_count(store->header->index_control) + 1) * sizeof(struct vg_bucket);

	if (vg_slabs_extend_index(&store->slabs, bytes))
		return true;
	if (store->growth.blocked_keys && keys - store->growth.blocked_keys < VG_INDEX_BLOCKED_STEP)
		return false;
	if (vg_room_make_index(store, worker) && vg_slabs_extend_index(&store->slabs, bytes)) {
		store->growth.blocked_keys = 0;
		return true;
	}
	store->growth.blocked_keys = keys;
	return false;
}

void vg_index_grow(struct vg_store *store, struct vg_store_worker *worker)
{
	__s32 growth = (__s32)worker->growth;
	__s64 keys;

	if (growth < VG_INDEX_GROWTH_STEP && growth > -VG_INDEX_GROWTH_STEP)
		return;
	worker->growth = 0;
	keys = __atomic_add_fetch(&store->growth.keys, growth, __ATOMIC_RELAXED);
	for (int i = 0; i < VG_INDEX_SPLITS_MAX; i++) {
		__u64 control = __atomic_load_n(&store->header->index_control, __ATOMIC_ACQUIRE);

		if (keys <= (__s64)vg_buckets_count(control) * VG_INDEX_LOAD || !vg_lock_try(&store->growth.split))
			return;
		if (!extend(store, worker, keys) || !split(store, worker))
			i = VG_INDEX_SPLITS_MAX;
		vg_lock_give(&store->growth.split);
	}
}
