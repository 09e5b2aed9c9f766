/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of data.h: what its files keep in an op (op->own) and share.
 *
 *   data.c	  READ, WRITE				 range.c      SYNC, ALLOCATE, SEEK, COPY: ranges, no bytes
 *   order.c	  overlapping changes, one after another whole.c      FETCH, PUT: a small file in one request
 *   durable.c	  group commit of writes and syncs	 disk_bytes.c system calls of these, on helper threads
 */
#ifndef VG_SVC_FILE_BYTES_H
#define VG_SVC_FILE_BYTES_H

#include "svc/file/data.h"

#define VG_FILE_DIRECT_ALIGN 4096u
#define VG_FILE_END_OF_ALL (~0ULL)
#define VG_FILE_OFFSET_MAX 0x7fffffffffffffffULL
/* A durable write up to this size is carried out by the helper that syncs; a larger one is written before. */
#define VG_DURABLE_WRITE_MAX 65536
/* Copying more to the page cache takes longer than waking a helper. */
#define VG_BRIEF_BYTES_MAX 32768

struct vg_bytes_op {
	/* Where the bytes are, or are going; done: how many were moved. */
	__u64 offset;
	__u32 length, done;
	bool append, durable, direct;
	/* durable.c */
	bool with_write, data_only, first;
	int result;
	struct vg_file_op *next_synced;
	void (*then)(struct vg_file_op *op, int error);
	/* range.c */
	struct vg_file_descriptor *other; /* COPY: where it comes from, a reference; op->descriptor: where it goes */
	__u64 to_offset, bytes;
	int mode;
	/* whole.c */
	int fd, flags;
	bool created, cuts; /* cuts: a longer file ends where its bytes do */
	struct statx stat;
};

/* pool->data */
struct vg_bytes_pool {
	struct vg_file_op *ready, **ready_end; /* order.c: may begin */
	bool beginning;
};

static inline struct vg_bytes_op *vg_bytes_op(struct vg_file_op *op)
{
	_Static_assert(sizeof(struct vg_bytes_op) <= sizeof(op->own), "it has its place in the op");
	return (struct vg_bytes_op *)&op->own;
}

static inline void vg_bytes_count(__u64 *count, __u64 more)
{
	__atomic_store_n(count, *count + more, __ATOMIC_RELAXED);
}

/* ---- order.c --------------------------------------------------------------------------------------------------- */

/* Whether an earlier change of these bytes is under way. */
bool vg_order_blocks(const struct vg_file_descriptor *descriptor, __u64 start, __u64 length);
/* As vg_bytes_ordered, for who only looks at the bytes: it waits, and nobody waits for it. */
void vg_order_look(struct vg_file_op *op, __u64 start, __u64 length, void (*go)(struct vg_file_op *op));

/* ---- durable.c ------------------------------------------------------------------------------------------------- */

/*
 * Everything written to the op's file so far to stable storage, together with those who ask the same meanwhile; `then`
 * is called with 0 or what went wrong, later. With `with_write` its own bytes are written first (offset, append,
 * length; done: how many were, offset: where). A kept op.
 */
void vg_durable_join(struct vg_file_op *op, bool with_write, bool data_only,
		     void (*then)(struct vg_file_op *op, int error));

/* Write the op's bytes, so that they are on stable storage when `then` is called. At most VG_DURABLE_WRITE_MAX. */
void vg_durable_write(struct vg_file_op *op, void (*then)(struct vg_file_op *op, int error));

/* ---- disk_bytes.c: on helper threads --------------------------------------------------------------------------- */

/* Write all of the op's body, at its offset or at the end: 0, or a negative errno if nothing was; done, offset. */
int vg_disk_write(struct vg_file_op *op);
int vg_disk_sync(int fd, bool data_only);
int vg_disk_open_direct(struct vg_file_op *op); /* the descriptor's file again, to write past the page cache → fd */
int vg_disk_allocate(struct vg_file_op *op);
int vg_disk_seek(struct vg_file_op *op);  /* → bytes */
int vg_disk_copy(struct vg_file_op *op);  /* → bytes */
int vg_disk_fetch(struct vg_file_op *op); /* opened for reading → fd, stat */
int vg_disk_put(struct vg_file_op *op);	  /* all of it → stat */

#endif
