/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of this room share, and nobody outside it includes. */
#ifndef VG_POOL_PRIVATE_H
#define VG_POOL_PRIVATE_H

#include <assert.h>
#include <stdint.h>

#include "pool/heap.h"
#include "pool/lock.h"
#include "pool/slab.h"
#include "pool/store.h"

struct vg_cuts;

#define VG_VERSIONS_TAKEN 4096 /* a worker takes so many versions at a time: a power of two */
#define VG_SCAN_BYTES (VG_KEY_MAX + 65536) /* keys of one bucket copied out at once: always at least one */

/* A key's or allocation's memory in the heap tier: this header, the key padded to 16 bytes (or none), the value. */
struct vg_block {
	struct vg_heap *heap;
	__u32 references; /* the item's own and the pins'; taken only under the bucket's (slot's) sequence */
	__u32 key_length;
	__u64 length;	  /* bytes of the value */
	__u32 owner;	  /* cell of its item, as of when it was last moved; 0: it is a handle's. Atomic */
	__u32 reserved;
};
_Static_assert(sizeof(struct vg_block) % VG_HEAP_ALIGN == 0, "the key behind it is aligned");

/* One worker's. The figures have one writer; others read them. */
struct vg_store_worker {
	__s64 keys, lines, cell_bytes, handles; /* may go below zero: what one stores another deletes */
	__u64 expired, evicted, retries;
	__u64 version; /* the last one it gave out; a multiple of VG_VERSIONS_TAKEN: it must take more */
	__u64 cut_epoch;   /* cut.h: of the critical section it is in */
	__u32 writes_unlocked; /* it copies into a large allocation without a lock; atomic */
	bool over_limit;  /* no room for a write, as of the beginning of this call */
	bool room_making; /* cells it asks for now serve to make room */
	bool any_size;	  /* a cell it asks for now may be larger than the item */
	__u32 room_skip;  /* so many times it does not try, while no cells have come back since … */
	__u32 room_seen;  /* … the slabs' figure was this */
	bool room_all;	  /* the last time it tried all that can be done */
	__u32 growth; /* keys inserted less removed since the shared figure heard of it */
	struct vg_slab_cache cache;
	struct vg_transaction *transaction;
	__u8 *scan; /* VG_SCAN_BYTES */
} __attribute__((aligned(64)));

struct vg_store {
	struct vg_arena_header *header;
	__u8 *arena; /* the same address */
	__u64 arena_bytes;
	struct vg_bucket *buckets;
	__u32 *marks; /* by worker, see item.c */
	struct vg_handle_slot *slots;
	__u16 node;
	__u32 workers_count;
	struct vg_store_worker *workers;
	struct vg_slabs slabs;
	struct vg_heap heap;

	struct {
		__s64 keys;	      /* about how many there are: workers add to it now and then */
		struct vg_lock split; /* one thread at a time grows the table */
		__s64 blocked_keys;   /* the index had no room to grow when there were so many; under the lock */
	} growth __attribute__((aligned(64)));
	struct {
		struct vg_lock lock;
		__u32 fresh;	   /* slots from here on were never used */
		__u32 first, last; /* free ones, the longest free first; slot + 1, 0: none */
	} handles __attribute__((aligned(64)));
	struct { /* room.c */
		struct vg_lock lock;
		__u32 cold_bucket, slab; /* where looking for cold values, and for a slab to empty, goes on */
	} room;
	struct { /* evict.c */
		__u64 maxmemory; /* 0: no limit; atomic, as the next two */
		__u32 policy;	 /* enum vg_eviction */
		bool queues;	 /* S3-FIFO's are kept */
		struct vg_lock lock;
		__u32 *ring; /* the small queue: cells */
		__u64 ring_mask, head, tail; /* head: atomic */
		__u32 hand;
		__u64 random;
	} limit;
	__u64 versions;	    /* the next stretch of them; atomic */
	__u32 sweep_bucket; /* atomic */

	struct { /* filled before workers start, see observe.h */
		vg_observe_fn fn;
		void *context;
	} observer[VG_STORE_OBSERVERS_MAX];
	__u32 observers_count;
	struct vg_clear_marks *clear; /* NULL: there are no observers */
	__u64 cut_epoch;   /* of the newest view, 0: none is open; atomic */
	struct vg_cuts *views;
};

struct vg_clear_marks;
extern _Thread_local __u32 vg_store_worker_index;

static inline struct vg_store_worker *vg_worker_self(const struct vg_store *store)
{
	assert(vg_store_worker_index < store->workers_count);
	return &store->workers[vg_store_worker_index];
}

/* A figure of this worker's changes by `by`. */
#define vg_worker_count(figure, by) __atomic_store_n(&(figure), (figure) + (by), __ATOMIC_RELAXED)

static inline __u32 vg_store_offset(const struct vg_store *store, const void *at)
{
	return (__u32)((const __u8 *)at - store->arena);
}

static inline __u32 vg_buckets_count(__u64 control)
{
	return (1u << (control >> 32 & 31)) + (__u32)control;
}

/* open.c: cleared memory, or NULL. */
void *vg_store_map(size_t bytes);
/* transact.c: of what a worker needs for a transaction. */
size_t vg_transaction_bytes(void);

/* repair.c: make an arena that a dead process left consistent. 0, or -EINVAL: it is not one, or beyond repair. */
int vg_store_adopt(struct vg_store *store, __u64 now_ms, struct vg_store_repair *ret_repair);
/* handle.c: its part of it. */
void vg_handles_adopt(struct vg_store *store, __u64 *claimed);

#endif
