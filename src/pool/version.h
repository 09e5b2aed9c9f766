/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Multi-version reads: a view pins one consistent version of all keys and handles while writers go on.
 *
 * While a view is open, a writer that is about to change what the view still needs first keeps the old version (the
 * image) in a side table; readers of the view look there first. Nothing is forked and nothing is copied that does not
 * change. A value in the heap tier is pinned, not copied.
 *
 * The cut. Opening publishes a number (the epoch). A writer reads it once for each critical section, after it has taken
 * all its locks: what it changes then is behind the cut if it saw the number, before it if not, as a whole. Two changes
 * of one bucket are ordered by its lock, and a change that followed another's answer reads the epoch later than that:
 * so what is before the cut contains all its causes.
 *
 * A view is read by key by any number of readers, or walked from start to end by one: what the walk has passed needs no
 * images any more.
 *
 * Bounds: VG_CUTS_MAX views; images take at most a quarter of the heap tier. Past that the views that would need more
 * are ended (-ENOSPC for their readers), never the writer. A view whose lease has run out is ended (-ETIMEDOUT).
 *
 * Threads: any worker, any time. Time is passed in (Unix milliseconds).
 */
#ifndef VG_POOL_VERSION_H
#define VG_POOL_VERSION_H

#include "pool/store.h"

#define VG_CUTS_MAX 16

/*
 * Open a view of the store as it is now; *ret_view is its number, never used again. Unless renewed it is ended at
 * lease_until_ms (0: no lease). -EBUSY: too many are open, or all keys are just being removed: try again.
 */
int vg_cut_open(struct vg_store *store, bool walks, __u64 now_ms, __u64 lease_until_ms, __u64 *ret_view);
/* 0, -ESTALE (closed, or never opened), -ENOSPC, -ETIMEDOUT. A later end than the lease has renews it. */
int vg_cut_check(struct vg_store *store, __u64 view, __u64 lease_until_ms);
void vg_cut_close(struct vg_store *store, __u64 view);

/* As vg_store_get, at the view's time and version; the store's errors and those of vg_cut_check. */
struct vg_cut_entry {
	const void *key; /* in a walk */
	__u32 key_length;
	__u64 hash;
	struct vg_entry entry;
	struct vg_block *block; /* where the value lies, if that can be pinned: vg_block_pin, vg_block_put; or NULL */
};
ssize_t vg_cut_get(struct vg_store *store, __u64 view, const struct vg_key *key, void *buffer, size_t capacity,
		    struct vg_block **ret_block, __u64 *ret_expire_ms);

/*
 * Walk the keys of a view opened for it. fn is called for every key of one bucket, with locks held: it must be short
 * and may keep a value by pinning its block. *position: where the walk is, 0 at first; moved on only if every call of
 * fn returned 0 (else its error comes back, and the same keys come again). Returns 1 when the keys are done.
 */
typedef int (*vg_cut_fn)(void *context, const struct vg_cut_entry *entry);
int vg_cut_walk(struct vg_store *store, __u64 view, __u64 *position, vg_cut_fn fn, void *context);
void vg_block_pin(struct vg_block *block); /* with the lock under which it was found, or a pin */

/*
 * Handles of a view, by slot. The slots follow the keys in a walk: what was done with one is said by vg_cut_pass.
 * *ret_length 0: the slot was free. Reading is by parts of any size; -ERANGE.
 */
__u32 vg_cut_slots(const struct vg_store *store); /* 0 … this, exclusive, may be in use */
int vg_cut_slot(struct vg_store *store, __u64 view, __u32 slot, __u64 *ret_handle, __u64 *ret_length,
		 __u32 *ret_flags);
int vg_cut_slot_read(struct vg_store *store, __u64 view, __u32 slot, __u64 offset, void *data, __u64 length);
int vg_cut_pass(struct vg_store *store, __u64 view, __u32 slot);

/* Housekeeping, some of it each call: ends views whose lease is over, frees images that nobody needs. */
void vg_cuts_tend(struct vg_store *store, __u64 now_ms);

struct vg_cuts_stats {
	__u64 open, images, bytes, bytes_max;
	__u64 opened, ended_space, ended_lease; /* ever */
};
void vg_cuts_stats(const struct vg_store *store, struct vg_cuts_stats *ret_stats);
void vg_cuts_limit(struct vg_store *store, __u64 bytes_max);

#endif
