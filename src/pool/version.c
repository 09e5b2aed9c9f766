/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Views: opening and ending them, reading by key, walking. The side table is in cut.c. */
#include "pool/index.h"
#include "pool/cut.h"

#define COLLECT_CHAINS 65536 /* a housekeeping call looks at so many chains … */
#define COLLECT_IMAGES 2048  /* … or frees so many images */

/* ---- opening and ending ---------------------------------------------------------------------------------------- */

static struct vg_cut_slot *slot_of(const struct vg_store *store, __u64 view)
{
	for (int i = 0; i < VG_CUTS_MAX; i++)
		if (view && __atomic_load_n(&store->views->slot[i].number, __ATOMIC_ACQUIRE) == view)
			return &store->views->slot[i];
	return NULL;
}

/* The free slot whose last view ended the longest ago: what is asked about that gets the vaguest answer. */
static struct vg_cut_slot *slot_free(struct vg_cuts *views)
{
	struct vg_cut_slot *found = NULL;

	for (int i = 0; i < VG_CUTS_MAX; i++)
		if (!views->slot[i].number && (!found || views->slot[i].named < found->named))
			found = &views->slot[i];
	return found;
}

static bool any_open(const struct vg_cuts *views)
{
	for (int i = 0; i < VG_CUTS_MAX; i++)
		if (views->slot[i].number)
			return true;
	return false;
}

/*
 * Writes to large allocations copy without a lock. One that began before the cut belongs to it: wait until it is done.
 * A writer says that it writes before it reads the epoch, both sequentially consistent: so either it has read this one,
 * or it is seen here.
 */
static void wait_for_writers(struct vg_store *store)
{
	for (__u32 i = 0; i < store->workers_count; i++)
		for (unsigned spins = 0; __atomic_load_n(&store->workers[i].writes_unlocked, __ATOMIC_SEQ_CST);)
			vg_relax(&spins);
}

int vg_cut_open(struct vg_store *store, bool walks, __u64 now_ms, __u64 lease_until_ms, __u64 *ret_view)
{
	struct vg_cuts *views = store->views;
	struct vg_cut_slot *slot;
	__u64 number;

	vg_lock_take(&views->lock);
	slot = views->clearing ? NULL : slot_free(views);
	if (!slot) {
		vg_lock_give(&views->lock);
		return -EBUSY;
	}
	number = ++views->last;
	slot->walks = walks;
	slot->now_ms = now_ms;
	slot->named = number;
	slot->error = 0;
	__atomic_store_n(&slot->walked, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->lease_until_ms, lease_until_ms, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->number, number, __ATOMIC_RELEASE);
	__atomic_store_n(&store->cut_epoch, number, __ATOMIC_SEQ_CST);
	views->opened++;
	vg_lock_give(&views->lock);
	wait_for_writers(store);
	*ret_view = number;
	return 0;
}

void vg_cut_end(struct vg_store *store, __u64 view, int error)
{
	struct vg_cuts *views = store->views;
	struct vg_cut_slot *slot;

	vg_lock_take(&views->lock);
	slot = slot_of(store, view);
	if (slot) {
		slot->error = error;
		views->ended_space += error == -ENOSPC;
		views->ended_lease += error == -ETIMEDOUT;
		__atomic_store_n(&slot->number, 0, __ATOMIC_SEQ_CST);
		if (!any_open(views))
			__atomic_store_n(&store->cut_epoch, 0, __ATOMIC_SEQ_CST);
		/* Once around: what this view alone needed. */
		__atomic_store_n(&views->garbage_chains, 1u << VG_CUT_CHAINS_BITS, __ATOMIC_RELAXED);
	}
	vg_lock_give(&views->lock);
}

void vg_cut_close(struct vg_store *store, __u64 view)
{
	vg_cut_end(store, view, -ESTALE);
}

static int error_of(struct vg_store *store, __u64 view)
{
	struct vg_cuts *views = store->views;
	int error = -ESTALE;

	vg_lock_take(&views->lock);
	for (int i = 0; i < VG_CUTS_MAX; i++)
		if (view && views->slot[i].named == view && !views->slot[i].number)
			error = views->slot[i].error;
	vg_lock_give(&views->lock);
	return error;
}

int vg_cut_check(struct vg_store *store, __u64 view, __u64 lease_until_ms)
{
	struct vg_cut_slot *slot = slot_of(store, view);

	if (!slot)
		return error_of(store, view);
	if (lease_until_ms > __atomic_load_n(&slot->lease_until_ms, __ATOMIC_RELAXED))
		__atomic_store_n(&slot->lease_until_ms, lease_until_ms, __ATOMIC_RELAXED);
	return 0;
}

void vg_cut_clearing(struct vg_store *store, bool clearing)
{
	vg_lock_take(&store->views->lock);
	store->views->clearing += clearing ? 1 : -1;
	vg_lock_give(&store->views->lock);
}

/* ---- reading by key -------------------------------------------------------------------------------------------- */

void vg_block_pin(struct vg_block *block)
{
	vg_block_ref(block);
}

/* Copied, or pinned. */
static ssize_t take_value(const struct vg_entry *entry, const void *value, struct vg_block *block, __u64 now_ms,
			  void *buffer, struct vg_block **ret_block, __u64 *ret_expire_ms)
{
	if (!entry->exists || vg_deadline_passed(entry->expire_ms, now_ms))
		return -ENOENT;
	if (block)
		vg_block_ref(block);
	else
		memcpy(buffer, value, entry->length);
	*ret_block = block;
	if (ret_expire_ms)
		*ret_expire_ms = entry->expire_ms;
	return (ssize_t)entry->length;
}

ssize_t vg_cut_get(struct vg_store *store, __u64 view, const struct vg_key *key, void *buffer, size_t capacity,
		    struct vg_block **ret_block, __u64 *ret_expire_ms)
{
	const struct vg_image_name name = { VG_IMAGE_KEY, vg_cut_position(key->hash), key->hash, key->data,
					    key->length };
	const struct vg_cut_slot *slot = slot_of(store, view);
	struct vg_lock *stripe = vg_image_stripe(store->views, vg_image_chain(name.position));
	const struct vg_image *image;
	struct vg_block *block = NULL;
	const struct vg_item *item;
	struct vg_place place;
	ssize_t length;
	__u64 now_ms;

	assert(capacity >= VG_CELL_MAX);
	if (!slot)
		return error_of(store, view);
	now_ms = slot->now_ms;
	vg_place_take(store, key, &place);
	vg_lock_take(stripe);
	image = vg_image_find(store, view, &name);
	item = vg_place_item(store, &place);
	if (image) {
		length = take_value(&image->content.entry, vg_image_value(image), image->content.block, now_ms, buffer,
				    &block, ret_expire_ms);
	} else if (item) {
		const struct vg_entry entry = vg_item_entry(item);

		length = take_value(&entry, entry.value, item->flags & VG_ITEM_HEAP ? vg_item_block(item) : NULL,
				    now_ms, buffer, &block, ret_expire_ms);
	} else {
		length = -ENOENT;
	}
	vg_lock_give(stripe);
	vg_place_give(&place);
	/* Images go only after the view has ended: if it is open still, what was found is right. */
	if (slot_of(store, view) != slot) {
		if (block)
			vg_block_put(block);
		return error_of(store, view);
	}
	*ret_block = block;
	return length;
}

/* ---- walking the keys ------------------------------------------------------------------------------------------ */

struct walk {
	struct vg_store *store;
	__u64 view, now_ms;
	vg_cut_fn fn;
	void *context;
};

static int walk_item(void *context, const struct vg_item *item)
{
	const struct walk *walk = context;
	struct vg_cut_entry entry = {
		.hash = vg_item_hash(item),
		.entry = vg_item_entry(item),
		.block = item->flags & VG_ITEM_HEAP ? vg_item_block(item) : NULL,
	};
	struct vg_image_name name = { .kind = VG_IMAGE_KEY,
				      .position = vg_cut_position(entry.hash),
				      .hash = entry.hash };
	struct vg_lock *stripe = vg_image_stripe(walk->store->views, vg_image_chain(name.position));
	bool changed = false;

	entry.key = name.key = vg_item_key(item, &entry.key_length);
	name.key_length = entry.key_length;
	if (__atomic_load_n(&walk->store->views->images, __ATOMIC_RELAXED)) {
		vg_lock_take(stripe);
		changed = vg_image_find(walk->store, walk->view, &name);
		vg_lock_give(stripe);
	}
	if (changed || vg_deadline_passed(entry.entry.expire_ms, walk->now_ms))
		return 0; /* the image is what counts, or it was none any more */
	return walk->fn(walk->context, &entry);
}

/* The images of the view in [position, next). The lock of the bucket is held: nobody makes or needs others there. */
static int walk_images(const struct walk *walk, __u64 position, __u64 next)
{
	struct vg_cuts *views = walk->store->views;
	int error = 0;

	if (!__atomic_load_n(&views->images, __ATOMIC_RELAXED))
		return 0;
	for (__u32 chain = vg_image_chain(position); chain <= vg_image_chain(next - 1) && !error; chain++) {
		if (!__atomic_load_n(&views->chains[chain], __ATOMIC_RELAXED))
			continue;
		vg_lock_take(vg_image_stripe(views, chain));
		for (const struct vg_image *image = views->chains[chain]; image && !error; image = image->next) {
			const struct vg_image_name name = { VG_IMAGE_KEY, image->position, image->hash, image->data,
							    image->key_length };
			struct vg_cut_entry entry = { image->data, image->key_length, image->hash,
						       image->content.entry, image->content.block };

			if (image->kind != VG_IMAGE_KEY || image->position < position || image->position >= next ||
			    !image->content.entry.exists || vg_image_find(walk->store, walk->view, &name) != image ||
			    vg_deadline_passed(entry.entry.expire_ms, walk->now_ms))
				continue;
			entry.entry.value = vg_image_value(image);
			error = walk->fn(walk->context, &entry);
		}
		vg_lock_give(vg_image_stripe(views, chain));
	}
	return error;
}

static void collect_range(struct vg_store *store, __u64 position, __u64 next)
{
	if (!__atomic_load_n(&store->views->images, __ATOMIC_RELAXED))
		return;
	for (__u32 chain = vg_image_chain(position); chain <= vg_image_chain(next - 1); chain++)
		vg_image_collect(store, chain);
}

int vg_cut_walk(struct vg_store *store, __u64 view, __u64 *position, vg_cut_fn fn, void *context)
{
	struct vg_cut_slot *slot = slot_of(store, view);
	struct walk walk = { store, view, 0, fn, context };
	struct vg_bucket *bucket;
	__u64 from = *position, next;
	__u32 sequence;
	int error = 0;

	if (!slot)
		return error_of(store, view);
	if (!slot->walks || from >= VG_CUT_KEYS_END)
		return -EINVAL;
	walk.now_ms = slot->now_ms;
	bucket = vg_walk_take(store, from, &sequence, &next);
	if (__atomic_load_n(&slot->walked, __ATOMIC_RELAXED) != from)
		error = -EINVAL; /* somebody else walks it */
	error = error ?: vg_walk_items(store, bucket, walk_item, &walk);
	error = error ?: walk_images(&walk, from, next);
	if (!error && slot_of(store, view) != slot)
		error = -ESTALE;
	if (!error)
		__atomic_store_n(&slot->walked, next, __ATOMIC_RELEASE);
	vg_sequence_give(&bucket->sequence, sequence);
	if (error)
		return error == -ESTALE ? error_of(store, view) : error;
	collect_range(store, from, next);
	*position = next;
	return next >= VG_CUT_KEYS_END;
}

int vg_cut_walked(struct vg_store *store, __u64 view, __u64 position)
{
	struct vg_cut_slot *slot = slot_of(store, view);

	if (!slot)
		return error_of(store, view);
	if (!slot->walks || __atomic_load_n(&slot->walked, __ATOMIC_RELAXED) < VG_CUT_KEYS_END)
		return -EINVAL;
	__atomic_store_n(&slot->walked, position, __ATOMIC_RELEASE);
	return 0;
}

/* ---- housekeeping ---------------------------------------------------------------------------------------------- */

static void collect(struct vg_store *store)
{
	struct vg_cuts *views = store->views;
	__u32 left = __atomic_load_n(&views->garbage_chains, __ATOMIC_RELAXED), freed = 0;

	for (__u32 i = 0; left && i < COLLECT_CHAINS && freed < COLLECT_IMAGES; i++) {
		if (!__atomic_load_n(&views->images, __ATOMIC_RELAXED)) {
			left = 0;
			break;
		}
		freed += vg_image_collect(store, views->garbage_chain);
		views->garbage_chain = (views->garbage_chain + 1) % (1u << VG_CUT_CHAINS_BITS);
		left--;
	}
	/* If a view ended meanwhile there is another round to make. */
	if (__atomic_load_n(&views->garbage_chains, __ATOMIC_RELAXED) > left)
		__atomic_store_n(&views->garbage_chains, left, __ATOMIC_RELAXED);
}

void vg_cuts_tend(struct vg_store *store, __u64 now_ms)
{
	struct vg_cuts *views = store->views;

	for (int i = 0; i < VG_CUTS_MAX; i++) {
		struct vg_cut_slot *slot = &views->slot[i];
		__u64 number = __atomic_load_n(&slot->number, __ATOMIC_ACQUIRE);
		__u64 until_ms = __atomic_load_n(&slot->lease_until_ms, __ATOMIC_RELAXED);

		if (number && until_ms && until_ms <= now_ms)
			vg_cut_end(store, number, -ETIMEDOUT);
	}
	if (vg_lock_try(&views->collecting)) {
		collect(store);
		vg_lock_give(&views->collecting);
	}
}

void vg_cuts_stats(const struct vg_store *store, struct vg_cuts_stats *ret_stats)
{
	struct vg_cuts *views = store->views;
	struct vg_cuts_stats stats = {
		.images = __atomic_load_n(&views->images, __ATOMIC_RELAXED),
		.bytes = __atomic_load_n(&views->bytes, __ATOMIC_RELAXED),
	};

	vg_lock_take(&views->lock);
	stats.bytes_max = views->bytes_max;
	stats.opened = views->opened;
	stats.ended_space = views->ended_space;
	stats.ended_lease = views->ended_lease;
	for (int i = 0; i < VG_CUTS_MAX; i++)
		stats.open += views->slot[i].number != 0;
	vg_lock_give(&views->lock);
	*ret_stats = stats;
}

void vg_cuts_limit(struct vg_store *store, __u64 bytes_max)
{
	store->views->bytes_max = bytes_max;
}
