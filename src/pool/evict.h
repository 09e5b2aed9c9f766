/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The limit of memory, and who must go when it is reached.
 *
 * S3-FIFO (J. Yang, Y. Zhang, Z. Qiu, Y. Yue, R. Vigfusson, "FIFO queues are all you need for cache eviction",
 * SOSP 2023) without lists: the small queue is a ring of cells in the order of insertion; the main queue is the index
 * itself, gone through bucket by bucket by a hand that takes one use from each item and removes those that have none;
 * ghosts, the hashes of keys removed from the small queue, stand in the unused slots of their bucket's lines. A use is
 * a bit or two in the slot's word, set by XDP and by workers; nothing is ever moved for it.
 */
#ifndef VG_POOL_EVICT_H
#define VG_POOL_EVICT_H

#include "pool/index.h"

/* Is there a limit, and may keys go for it? */
static inline bool vg_evicts(const struct vg_store *store)
{
	return __atomic_load_n(&store->limit.maxmemory, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&store->limit.policy, __ATOMIC_RELAXED) != VG_EVICTION_NONE;
}

static inline bool vg_evicts_s3fifo(const struct vg_store *store)
{
	return __builtin_expect(__atomic_load_n(&store->limit.queues, __ATOMIC_RELAXED), 0);
}

/* What counts against the limit: cells and lines in use, the heap tier. */
__u64 vg_store_used(const struct vg_store *store);

void vg_evict_to_limit(struct vg_store *store, struct vg_store_worker *worker);
/* Before anything is taken: keys go until there is room for a write; notes whether there is. */
static inline void vg_evict_before_write(struct vg_store *store, struct vg_store_worker *worker)
{
	worker->over_limit = false;
	if (__builtin_expect(__atomic_load_n(&store->limit.maxmemory, __ATOMIC_RELAXED) != 0, 0))
		vg_evict_to_limit(store, worker);
}

/*
 * Some key goes, whatever the limit; with heap_bytes one whose value is in the heap tier, and those who lie behind it
 * until there are so many bytes side by side. False: none was found. Buckets may be taken.
 */
bool vg_evict_some(struct vg_store *store, struct vg_store_worker *worker, size_t heap_bytes);
/* Some key of this taken bucket goes, which has a free slot then. False: the policy lets none of them go. */
bool vg_evict_in_bucket(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place);
/* May this item go to make room, by the policy? */
bool vg_evict_may(const struct vg_store *store, const struct vg_item *item);
/* Remove the item of a taken place, as evicted or, if its time has come, expired. */
void vg_evict_place(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place);

/* A key's new item is about to be put into the place: into which queue, and into which of the line's slots. */
void vg_evict_inserting(struct vg_store *store, struct vg_place *place, __u64 hash, __u32 cell);
/* A new item takes the place of the old one of its key. */
void vg_evict_replacing(struct vg_store *store, const struct vg_item *old, __u32 cell);

#endif
