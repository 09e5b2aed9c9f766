/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory for bytes on their way: page-aligned blocks of 4 KiB to 2 MiB out of one region, which is touched as it is
 * used and apart from the memory pool's heap. Buddies: a block is a power of two of pages, splits in two and is joined
 * with its other half again. One thread.
 */
#ifndef VG_SVC_FILE_BUFFERS_H
#define VG_SVC_FILE_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"

#define VG_BUFFER_MAX (2u << 20)
#define VG_BUFFER_ORDERS 10 /* 4 KiB << 9 */

struct vg_buffer_page;

struct vg_buffers {
	__u8 *memory;
	size_t bytes, mapped_bytes;
	struct vg_buffer_page *page;	/* of each page, what is known of the block that begins there */
	__u32 pages, fresh;		/* from `fresh` on nothing has been used yet */
	__u32 free[VG_BUFFER_ORDERS];	/* page + 1, 0: none */
};

int vg_buffers_init(struct vg_buffers *buffers, size_t bytes); /* 0, -ENOMEM */
void vg_buffers_deinit(struct vg_buffers *buffers);
/* At least so many bytes (≤ VG_BUFFER_MAX), not cleared; NULL: none are left in one piece. */
void *vg_buffer_get(struct vg_buffers *buffers, size_t bytes);
void vg_buffer_put(struct vg_buffers *buffers, void *memory);
static inline bool vg_buffer_is_of(const struct vg_buffers *buffers, const void *memory)
{
	return (const __u8 *)memory >= buffers->memory && (const __u8 *)memory < buffers->memory + buffers->bytes;
}

#endif
