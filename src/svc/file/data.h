/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes of files of this node: data.c, durable.c. Called by operation.c's table and descriptor.c. */
#ifndef VG_SVC_FILE_DATA_H
#define VG_SVC_FILE_DATA_H

#include "svc/file/file.h"

int vg_bytes_init(struct vg_file_pool *pool);
void vg_bytes_deinit(struct vg_file_pool *pool);
/* The fd is about to be closed: nobody names the descriptor any more. */
void vg_bytes_descriptor_gone(struct vg_file_descriptor *descriptor);
/* Close it; if that gives back a large file that has no name any more, on a helper thread: it takes long. */
void vg_bytes_close(struct vg_file_pool *pool, int fd);

/*
 * ident: descriptor, checked, op->descriptor; READ is open for reading, WRITE and ALLOCATE for writing.
 * VG_FILE_O_APPEND, O_DIRECT and O_SYNC are in op->descriptor->flags.
 */
void vg_bytes_read(struct vg_file_op *op);
void vg_bytes_write(struct vg_file_op *op);
void vg_bytes_sync(struct vg_file_op *op);
void vg_bytes_allocate(struct vg_file_op *op);
void vg_bytes_seek(struct vg_file_op *op);
void vg_bytes_copy(struct vg_file_op *op);
/*
 * Changes of overlapping ranges of one descriptor keep their order: `go` is called at once, or when those before it
 * have ended. For operations of other files that change bytes (truncate). Then op->ordered is set, and vg_bytes_end is
 * called when the op is answered.
 */
void vg_bytes_ordered(struct vg_file_op *op, __u64 offset, __u64 length, void (*go)(struct vg_file_op *op));
void vg_bytes_end(struct vg_file_op *op);
/* By path; what they answer is a stat and bytes, a stat. */
void vg_bytes_fetch(struct vg_file_op *op);
void vg_bytes_put(struct vg_file_op *op);

#endif
