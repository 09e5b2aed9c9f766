/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The heap tier: an allocator over one region of address space reserved at start. TLSF (M. Masmano, I. Ripoll,
 * A. Crespo, J. Real, "TLSF: a new dynamic memory allocator for real-time systems", 2004): allocation and release take
 * constant time, neighbours are joined at once. Any thread.
 */
#ifndef VG_POOL_HEAP_H
#define VG_POOL_HEAP_H

#include <stddef.h>

#include "base/mem.h"
#include "pool/lock.h"

#define VG_HEAP_ALIGN 16
#define VG_HEAP_STEPS_BITS 5 /* a power of two is divided into 32 steps: at most 3 % of a block is lost to rounding */
#define VG_HEAP_STEPS (1u << VG_HEAP_STEPS_BITS)
#define VG_HEAP_POWERS 34    /* blocks to 2^(34 + 8) bytes */
#define VG_HEAP_TRIM_BYTES (8u << 20) /* a block this large gives its pages back when released */

struct vg_heap_chunk;

struct vg_heap {
	struct vg_lock lock;
	__u8 *base;
	size_t bytes;
	size_t used_bytes; /* of blocks in use, with their headers; atomic */
	__u64 powers;	   /* which rows of `steps` are not 0 */
	__u32 steps[VG_HEAP_POWERS];
	struct vg_heap_chunk *free[VG_HEAP_POWERS][VG_HEAP_STEPS];
	struct vg_mem mem; /* the same as an interface */
};

int vg_heap_init(struct vg_heap *heap, size_t bytes);
void vg_heap_deinit(struct vg_heap *heap);

/* 16-byte aligned, not cleared; NULL when there is no room. */
void *vg_heap_alloc(struct vg_heap *heap, size_t bytes);
void vg_heap_free(struct vg_heap *heap, void *memory); /* accepts NULL */
size_t vg_heap_usable(const void *memory); /* at least what was asked for */

/* So many bytes side by side are sure to hold a block of `bytes`. */
size_t vg_heap_span(size_t bytes);
/*
 * Go over what is in use behind a block in use, up to `span` bytes from where that block begins; `fn` is called under
 * the lock. False: it said no, or the region ends before.
 */
typedef bool (*vg_heap_fn)(void *context, const void *memory, size_t usable);
bool vg_heap_behind(struct vg_heap *heap, const void *memory, size_t span, vg_heap_fn fn, void *context);

/* Walk the whole region and assert that it is in order; returns the free bytes. For tests. */
size_t vg_heap_check(struct vg_heap *heap);

#endif
