/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Adopting an arena that a dead process left: keep what is whole, drop the rest. Its bytes are believed no more than a
 * packet's: every offset, length and flag is checked before it is used, and whatever is in the arena, this ends and
 * leaves a consistent store. Nobody else uses the arena meanwhile: the daemon has let the lease lapse.
 */
#include <sys/mman.h>

#include "pool/index.h"

struct repair {
	struct vg_store *store;
	struct vg_store_worker *worker;
	struct vg_store_repair *figures;
	__u64 *claimed; /* cells that have an owner, a bit for VG_CELL_ALIGN bytes of slabs */
	__u64 control;
	__u64 now_ms;
};

enum verdict { KEEP, HEAP, TORN, EXPIRED };

/* The cell is the item's own once this says KEEP. */
static enum verdict judge(struct repair *repair, __u32 bucket, __u8 tag, __u32 cell)
{
	struct vg_slabs *slabs = &repair->store->slabs;
	const struct vg_item *item;
	__u64 bytes, hash;

	if (cell < slabs->offset || cell > repair->store->arena_bytes - VG_CELL_ALIGN || cell % VG_CELL_ALIGN)
		return TORN;
	item = vg_item_at(repair->store, cell);
	if (item->flags & VG_ITEM_HEAP)
		return HEAP;
	bytes = vg_item_bytes(item->flags, item->key_length, item->value_length);
	if (item->flags & ~(VG_ITEM_DEADLINE | VG_ITEM_META | VG_ITEM_MAIN) || item->slab_class >= VG_SLAB_SIZES ||
	    bytes > vg_slab_size(item->slab_class) || bytes > repair->store->arena_bytes - cell)
		return TORN;
	hash = vg_item_hash(item);
	if (vg_index_tag(hash) != tag || vg_index_bucket(repair->control, hash) != bucket)
		return TORN;
	if (vg_item_expired(item, repair->now_ms))
		return EXPIRED;
	return vg_slab_claim(slabs, repair->claimed, VG_SLAB_CLASS_ITEM + item->slab_class, cell) ? KEEP : TORN;
}

/* XDP compares whole words: the bytes behind key and value are zero, whatever happened to them. */
static void repair_padding(struct vg_item *item)
{
	__u8 *key = vg_item_inline_key(item), *value = vg_item_value(item);

	for (__u32 i = item->key_length; i % 8; i++)
		key[i] = 0;
	for (__u32 i = item->value_length; i % 8; i++)
		value[i] = 0;
}

/* Some worker died while it changed this item in place. */
static bool is_marked(const struct vg_store *store, __u32 cell)
{
	for (__u32 i = 0; i < VG_STORE_WORKERS_MAX; i++)
		if (store->marks[i] == cell)
			return true;
	return false;
}

static void repair_slot(struct repair *repair, __u32 bucket, struct vg_bucket *line, __u32 slot, bool locked)
{
	__u32 cell = line->cell[slot] & VG_CELL_OFFSET;
	bool torn = locked && is_marked(repair->store, cell);
	enum verdict verdict = torn ? TORN : judge(repair, bucket, line->tag[slot], cell);
	struct vg_item *item;

	if (verdict != KEEP) {
		line->tag[slot] = 0;
		line->cell[slot] = 0;
		*(verdict == HEAP      ? &repair->figures->dropped_heap :
		  verdict == EXPIRED ? &repair->figures->expired :
				       &repair->figures->dropped_torn) += 1;
		return;
	}
	item = vg_item_at(repair->store, cell);
	repair_padding(item);
	if (vg_item_meta(item) && vg_item_meta(item)->version >= repair->store->versions)
		repair->store->versions = vg_item_meta(item)->version + 1;
	repair->figures->kept++;
	repair->worker->keys++;
	repair->worker->cell_bytes += vg_slab_size(item->slab_class);
}

static void repair_bucket(struct repair *repair, __u32 number)
{
	struct vg_store *store = repair->store;
	struct vg_bucket *bucket = &store->buckets[number], *line = bucket;
	bool locked = bucket->sequence & 1;

	for (int lines = 1;; lines++) {
		struct vg_bucket *next = vg_line_next(store, line);

		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++)
			if (line->tag[slot])
				repair_slot(repair, number, line, slot, locked);
			else
				line->cell[slot] = 0;
		line->reserved = 0;
		if (!next || lines >= VG_CHAIN_MAX ||
		    !vg_slab_claim(&store->slabs, repair->claimed, VG_SLAB_CLASS_LINE, line->next))
			break;
		repair->worker->lines++;
		repair->worker->cell_bytes += (__s64)sizeof(*line);
		line = next;
	}
	line->next = 0;
	bucket->sequence = (bucket->sequence + 1) & ~1u;
}

static bool control_possible(const struct vg_store *store, __u64 control)
{
	__u64 level = control >> 32, split = (__u32)control;

	return level < 31 && split < 1ULL << level && (1ULL << level) + split <= store->header->index_buckets_max;
}

int vg_store_adopt(struct vg_store *store, __u64 now_ms, struct vg_store_repair *ret_repair)
{
	size_t claimed_bytes = (size_t)store->slabs.slabs_max * (VG_SLAB_BYTES / VG_CELL_ALIGN / 8);
	struct repair repair = { store, &store->workers[0], ret_repair, NULL, store->header->index_control, now_ms };
	__u32 buckets = vg_buckets_count(repair.control);
	bool extended;

	if (!control_possible(store, repair.control))
		return -EINVAL;
	repair.claimed = mmap(NULL, claimed_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (repair.claimed == MAP_FAILED)
		return -errno;
	extended = vg_slabs_extend_index(&store->slabs, buckets * sizeof(struct vg_bucket));
	assert(extended); /* nothing else is in use yet */
	for (__u32 i = 0; i < buckets; i++)
		repair_bucket(&repair, i);
	memset(store->marks, 0, VG_STORE_WORKERS_MAX * sizeof(*store->marks));
	vg_handles_adopt(store, repair.claimed);
	vg_slabs_claimed(&store->slabs, repair.claimed);
	munmap(repair.claimed, claimed_bytes);
	/* Lines that lost their items go back once every free cell is known. */
	for (__u32 i = 0; i < buckets; i++)
		vg_bucket_compact(store, repair.worker, &store->buckets[i]);
	store->versions = VG_ALIGN_UP(store->versions, (__u64)VG_VERSIONS_TAKEN);
	store->growth.keys = repair.worker->keys;
	return 0;
}
