/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/observe.h"

#include <errno.h>

static __u64 *mark_of(struct vg_store *store, __u64 hash, __u64 *ret_bit)
{
	*ret_bit = 1ULL << (hash & 63);
	return &store->clear->mark[hash / 64 % (VG_CLEAR_MARKS / 64)];
}

/*
 * The marks are looked at after the observers were told: if the change came after CLEAR, its order among the changes
 * was decided after `active` was set (both under the observer's own lock), so it is seen here. Told before CLEAR, a
 * mark too many costs one superfluous DELETE.
 */
static void mark_set(struct vg_store *store, __u64 hash)
{
	__u64 bit, *word;

	if (!store->clear || !__atomic_load_n(&store->clear->active, __ATOMIC_ACQUIRE))
		return;
	word = mark_of(store, hash, &bit);
	__atomic_fetch_or(word, bit, __ATOMIC_RELAXED); /* the bucket's lock orders it before the clear gets there */
}

void vg_observe(struct vg_store *store, struct vg_observed *observed)
{
	for (__u32 i = 0; i < store->observers_count; i++)
		store->observer[i].fn(store->observer[i].context, observed);
	if (observed->kind == VG_OBSERVED_SET)
		mark_set(store, observed->key->hash);
}

void vg_observe_item(struct vg_store *store, enum vg_observed_kind kind, const struct vg_item *item)
{
	struct vg_key key;

	if (!vg_observed(store))
		return;
	key.data = vg_item_key(item, &key.length);
	key.hash = vg_item_hash(item);
	vg_observe_key(store, kind, &key, kind == VG_OBSERVED_SET || kind == VG_OBSERVED_DEADLINE ? item : NULL);
}

void vg_observe_kind(struct vg_store *store, enum vg_observed_kind kind)
{
	struct vg_observed observed = { .kind = kind };

	if (vg_observed(store))
		vg_observe(store, &observed);
}

void vg_observe_clear_begin(struct vg_store *store)
{
	if (!vg_observed(store))
		return;
	vg_lock_take(&store->clear->lock);
	memset(store->clear->mark, 0, sizeof(store->clear->mark));
	__atomic_store_n(&store->clear->active, true, __ATOMIC_SEQ_CST);
	vg_observe_kind(store, VG_OBSERVED_CLEAR);
}

void vg_observe_clear_end(struct vg_store *store)
{
	if (!vg_observed(store))
		return;
	vg_observe_kind(store, VG_OBSERVED_CLEARED);
	__atomic_store_n(&store->clear->active, false, __ATOMIC_RELEASE);
	vg_lock_give(&store->clear->lock);
}

void vg_observe_cleared_item(struct vg_store *store, const struct vg_item *item)
{
	__u64 bit, *word;

	if (!vg_observed(store))
		return;
	word = mark_of(store, vg_item_hash(item), &bit);
	if (__atomic_load_n(word, __ATOMIC_RELAXED) & bit)
		vg_observe_item(store, VG_OBSERVED_DELETE, item);
}

int vg_store_observe(struct vg_store *store, vg_observe_fn fn, void *context)
{
	if (store->observers_count == VG_STORE_OBSERVERS_MAX)
		return -ENOSPC;
	if (!store->clear) {
		store->clear = vg_store_map(sizeof(*store->clear));
		if (!store->clear)
			return -ENOMEM;
	}
	store->observer[store->observers_count].fn = fn;
	store->observer[store->observers_count].context = context;
	store->observers_count++;
	return 0;
}
