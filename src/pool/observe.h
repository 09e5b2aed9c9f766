/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the files of this room tell observers: one predictable branch where there are none. */
#ifndef VG_POOL_OBSERVE_H
#define VG_POOL_OBSERVE_H

#include "pool/item.h"

void vg_observe(struct vg_store *store, struct vg_observed *observed);
/* Of an item: its key, and with SET and DEADLINE its value and deadline. */
void vg_observe_item(struct vg_store *store, enum vg_observed_kind kind, const struct vg_item *item);
void vg_observe_kind(struct vg_store *store, enum vg_observed_kind kind);

static inline bool vg_observed(const struct vg_store *store)
{
	return __builtin_expect(store->observers_count, 0);
}

/* A key's change: the item as it is now, or NULL when it has gone. */
static inline void vg_observe_key(struct vg_store *store, enum vg_observed_kind kind, const struct vg_key *key,
				  const struct vg_item *item)
{
	struct vg_observed observed = { .kind = kind, .key = key };

	if (!vg_observed(store))
		return;
	if (item)
		observed.entry = vg_item_entry(item);
	vg_observe(store, &observed);
}

static inline void vg_observe_handle(struct vg_store *store, enum vg_observed_kind kind, __u64 handle, __u64 offset,
				     const void *data, __u64 length)
{
	struct vg_observed observed = { .kind = kind, .handle = handle, .offset = offset,
					.entry = { .value = data, .length = length } };

	if (vg_observed(store))
		vg_observe(store, &observed);
}

/*
 * A clear takes the keys bucket by bucket. What was set after it was told is marked by hash, so that the clear knows
 * which of the keys it removes it has to tell: those that were set before are covered by CLEAR.
 */
#define VG_CLEAR_MARKS 65536
struct vg_clear_marks {
	struct vg_lock lock; /* one clear at a time */
	bool active;
	__u64 mark[VG_CLEAR_MARKS / 64];
};
void vg_observe_clear_begin(struct vg_store *store);
void vg_observe_clear_end(struct vg_store *store);
/* An item the clear is about to remove; its bucket is taken. */
void vg_observe_cleared_item(struct vg_store *store, const struct vg_item *item);

#endif
