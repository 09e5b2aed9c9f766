/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which keys are watched (WATCH), and whether they have changed since. One table a node, for all its workers and all
 * ways a key may change: the store's observer notes every change here.
 *
 * Watching and noting both happen with the key's bucket locked (vg_store_update, the observer), so a writer that finds
 * `total` 0 has given the bucket back before the watcher took it: its change is older than the watch. That is why one
 * relaxed load is enough where nobody watches.
 *
 * A key stands in the table by its hash. A set of the table that is full counts for all further keys of it together:
 * such a watch may be broken by a neighbour's change, never kept through its own.
 */
#ifndef VG_MEM_INTEREST_H
#define VG_MEM_INTEREST_H

#include <stdbool.h>

#include "base/mem.h"
#include "virgo/types.h"

struct vg_interest;

struct vg_watch {
	__u64 hash;
	__u32 generation; /* of its place, when the watch began */
	__u32 way;
};

int vg_interest_new(struct vg_interest **ret_interest, const struct vg_mem *mem);
void vg_interest_free(struct vg_interest *interest); /* accepts NULL */

/* With the bucket of the key locked. `exists`: whether the key does. */
void vg_interest_watch(struct vg_interest *interest, __u64 hash, bool exists, struct vg_watch *ret_watch);
/* Has the key changed? With the bucket locked the answer stays right for as long as the lock is held. */
bool vg_interest_changed(struct vg_interest *interest, const struct vg_watch *watch);
void vg_interest_unwatch(struct vg_interest *interest, const struct vg_watch *watch);

/* A key has changed and now exists or not; with its bucket locked. */
void vg_interest_note_slow(struct vg_interest *interest, __u64 hash, bool exists);
/* All keys have gone: those that existed have changed. */
void vg_interest_clear(struct vg_interest *interest);

/* How many watches there are, first in the struct so that the usual case is inline. */
static inline void vg_interest_note(struct vg_interest *interest, __u64 hash, bool exists)
{
	if (__atomic_load_n((const __u64 *)interest, __ATOMIC_RELAXED))
		vg_interest_note_slow(interest, hash, exists);
}

#endif
