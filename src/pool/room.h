/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Room in a full arena: slabs are emptied by moving their items, values go to the heap tier when they are cold and come
 * back when they are hot, and keys are evicted when there is a limit (evict.c). Whoever needs a cell does this himself,
 * often with buckets taken: so everything here only tries the sequences of other buckets, and passes over what it does
 * not get.
 */
#ifndef VG_POOL_ROOM_H
#define VG_POOL_ROOM_H

#include "pool/index.h"

/* There is room for cells of the class again. */
bool vg_room_make(struct vg_store *store, struct vg_store_worker *worker, __u32 class);
/* The slab that the index needs next has become free. No sequence is held. */
bool vg_room_make_index(struct vg_store *store, struct vg_store_worker *worker);
/* A value that was read often enough comes back from the heap tier, if there is room. No sequence is held. */
void vg_room_promote(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		     __u64 item_bytes);

/* The item in this cell, if there is one and its bucket is free: its place, taken. */
bool vg_place_try_cell(struct vg_store *store, struct vg_store_worker *worker, __u32 class, __u32 cell,
		       struct vg_place *ret_place);
/* Take the sequence of a bucket by its number. */
bool vg_place_try_bucket(struct vg_store *store, struct vg_store_worker *worker, __u32 number,
			 struct vg_place *ret_place);

#endif
