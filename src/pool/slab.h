/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Cells of the arena: slabs of VG_SLAB_BYTES, each carved into cells of one class; a cache of free cells a worker,
 * and behind the caches one shared list of slabs a class, under a lock.
 *
 * The index lies in the lowest slabs and takes the next one when it grows; classes take theirs from the top. An empty
 * slab serves whatever class asks next. One exception: XDP may set the bits of use in a line's words a moment after the
 * line was released, so a slab of lines rests for VG_SLAB_REST_MS before it becomes something else.
 *
 * Which class a slab has is written in the arena (a byte each, before the slabs), for the next daemon.
 */
#ifndef VG_POOL_SLAB_H
#define VG_POOL_SLAB_H

#include <stdbool.h>

#include "pool/lock.h"
#include "virgo/limits.h"

#define VG_SLAB_SIZES 96		    /* 8 … 256 by 8, then sixteen steps a power of two */
#define VG_SLAB_CLASS_ITEM 0		    /* first of VG_SLAB_SIZES classes */
#define VG_SLAB_CLASS_HANDLE VG_SLAB_SIZES  /* first of VG_SLAB_SIZES classes */
#define VG_SLAB_CLASS_LINE (2 * VG_SLAB_SIZES)
#define VG_SLAB_CLASSES (VG_SLAB_CLASS_LINE + 1)
_Static_assert(VG_SLAB_CLASSES <= VG_SLAB_CLASSES_MAX, "a class fits its byte");

/* A cold value that shall leave the arena needs a small cell for its key: the last slabs are kept for those. */
#define VG_SLAB_SMALL_BYTES 128
#define VG_SLAB_REST_MS 2000
#define VG_SLAB_SETTLE_MS                                                                                              \
	1000 /* so often a worker gives back all its cache: each cell in it keeps a slab from being empty */
#define VG_SLAB_CACHE_CELLS 32
#define VG_SLAB_CACHE_BYTES 8192 /* a cache holds at most so much of one class, but at least two cells */

struct vg_slab_cache { /* one worker's */
	__u64 settled_ms;
	__u32 asked; /* the slabs' figure when it last settled */
	struct {
		__u32 count;
		__u32 cell[VG_SLAB_CACHE_CELLS];
	} class[VG_SLAB_CLASSES];
};

struct vg_slab;
struct vg_slab_list {
	__u32 first, last; /* slab numbers + 1; 0: none. First: atomic, for a look without the lock */
};

struct vg_slab_class {
	struct vg_lock lock;
	__u32 cell_bytes;
	__u32 cells;		     /* in a slab */
	__u32 cache_cells;
	__u32 slabs, used;	     /* how many it has, and cells in use, those in caches included */
	struct vg_slab_list partial; /* some cells in use, some free */
	struct vg_slab_list empty;   /* no cell in use; the longest empty one first */
} __attribute__((aligned(64)));

struct vg_slabs {
	__u8 *arena;
	__u32 offset;	   /* of slab 0 */
	__u32 slabs_max;
	__u8 *classes;	   /* in the arena: class + 1 of each slab, 0: none yet */
	struct vg_slab *slab;
	struct vg_lock fresh_lock;
	__u32 releases;	    /* times that cells came back to their slabs; atomic */
	__u32 asked;	    /* times that all caches were asked to give back what they have; atomic */
	__u32 empties;	    /* slabs in lists of empty ones, but for those of lines that rest; atomic */
	__u32 reserve;	    /* so many of the last free slabs are for cells up to VG_SLAB_SMALL_BYTES */
	__u32 index, fresh; /* slabs of the index; slabs from there up to `fresh` were never used by a class; atomic */
	__u64 now_ms;	   /* of the last vg_slabs_tick; atomic */
	struct vg_slab_class class[VG_SLAB_CLASSES];
};

/* `classes` and the slabs are within the arena; nothing is in use. */
int vg_slabs_init(struct vg_slabs *slabs, void *arena, __u32 offset, __u32 slabs_max, __u8 *classes);
void vg_slabs_deinit(struct vg_slabs *slabs);

/* A cell's arena offset, or 0 when there is none. */
__u32 vg_slab_get(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class);
/* The same of the slabs that the class has in part, and no further one. */
__u32 vg_slab_get_partial(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class);
void vg_slab_put(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class, __u32 cell);
/* How many slabs a class has, and cells of them in use. Any thread. */
void vg_slab_figures(struct vg_slabs *slabs, __u32 number, __u32 *ret_slabs, __u32 *ret_used);
/* Make the index's slabs hold so many bytes. False: the next slab is in use, and there are none to give instead. */
bool vg_slabs_extend_index(struct vg_slabs *slabs, __u64 bytes);
/*
 * Emptying a slab, for whoever moves or removes its items (room.c). A drained slab gives no cells; it is empty as soon
 * as the last one has come back. `sparse` is the one with the least in it of an item class that has a slab's worth of
 * free cells elsewhere; `next` is any slab of items, another one each time. False: there is none.
 */
#define VG_SLAB_EXCLUDED_MAX 4
struct vg_slab_excluded { /* slabs that could not be emptied, just now */
	__u32 count, number[VG_SLAB_EXCLUDED_MAX];
};
bool vg_slab_find_sparse(struct vg_slabs *slabs, const struct vg_slab_excluded *excluded, __u32 *ret_number,
			 __u32 *ret_class);
bool vg_slab_find_next(struct vg_slabs *slabs, __u32 *hand, __u32 *ret_number, __u32 *ret_class);
bool vg_slab_drain(struct vg_slabs *slabs, __u32 number, __u32 class);
/* True: it has been emptied. */
bool vg_slab_drained(struct vg_slabs *slabs, __u32 number, __u32 class);
/* As vg_slab_put, past the cache, which would hand a drained slab's cell out again. */
void vg_slab_put_back(struct vg_slabs *slabs, __u32 class, __u32 cell);
/* Give back what the cache has of a class. */
void vg_slab_flush(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class);
/* Every worker shall give back all its cache, as soon as it next goes to the shared lists. */
void vg_slabs_ask(struct vg_slabs *slabs);
/* The class of the slab that a cell is in. */
static inline __u32 vg_slab_class_of(const struct vg_slabs *slabs, __u32 number)
{
	return __atomic_load_n(&slabs->classes[number], __ATOMIC_RELAXED) - 1u;
}
/* Are there as many free slabs as are kept for small cells? */
bool vg_slabs_reserve_whole(const struct vg_slabs *slabs);
/* Are there cells of the class to be had without emptying a slab? */
bool vg_slab_has_room(struct vg_slabs *slabs, __u32 class);
/* The caller's cache gives back what it has, if that was long ago or has been asked for. */
void vg_slabs_settle(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u64 now_ms);
/* The clock goes on; `cache` is the caller's. */
void vg_slabs_tick(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u64 now_ms);

/*
 * Adopting: the owner names every cell that is in use, in any order, then says it has finished. `claimed` has a bit for
 * every VG_CELL_ALIGN bytes of slabs and starts cleared. False: not a cell of that class, or claimed before.
 */
bool vg_slab_claim(struct vg_slabs *slabs, __u64 *claimed, __u32 class, __u32 cell);
void vg_slabs_claimed(struct vg_slabs *slabs, const __u64 *claimed);

/*
 * The size class of `bytes` (1 … VG_CELL_MAX), 0 … VG_SLAB_SIZES - 1, and its size. Above 256 a size is what a slab can
 * be divided into: 248, 240 … 128 cells, then 124 … 64, 62 … 32, 31 … 16, so that nothing is left at its end.
 */
static inline __u32 vg_slab_size_class(__u32 bytes)
{
	__u32 cells, power;

	if (bytes <= 256)
		return bytes ? (bytes - 1) / 8 : 0;
	cells = VG_SLAB_BYTES / VG_ALIGN_UP(bytes, 8u); /* 16 … 248 */
	power = 31 - (__u32)__builtin_clz(cells);	/* 4 … 7 */
	return 32 + (7 - power) * 16 + 31 - (cells >> (power - 4));
}

static inline __u32 vg_slab_size(__u32 size_class)
{
	__u32 power, cells;

	if (size_class < 32)
		return (size_class + 1) * 8;
	power = 7 - (size_class - 32) / 16;
	cells = (31 - (size_class - 32) % 16) << (power - 4);
	return VG_SLAB_BYTES / cells & ~7u;
}

#endif
