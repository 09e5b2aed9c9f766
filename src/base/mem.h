/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a room gets large or variable memory from, without knowing who gives it: in the daemon the heap tier. */
#ifndef VG_BASE_MEM_H
#define VG_BASE_MEM_H

#include <stddef.h>

struct vg_mem {
	/* NULL when there is none: an answer, not a crash. Memory is 16-byte aligned and not cleared. Any thread. */
	void *(*alloc)(void *context, size_t bytes);
	void (*free)(void *context, void *memory);
	void *context;
};

#endif
