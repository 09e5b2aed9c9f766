/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One call over memory in several places: the pieces are worked off in order, what is here at once, what is on other
 * nodes with up to VG_HANDLE_PARALLEL questions out. Private to handle.c and handle_op.c.
 */
#ifndef VG_SVC_MEM_HANDLE_OP_H
#define VG_SVC_MEM_HANDLE_OP_H

#include "svc/mem/handle.h"

enum vg_handle_kind { VG_HANDLE_ALLOC, VG_HANDLE_READ, VG_HANDLE_WRITE, VG_HANDLE_FREE, VG_HANDLE_FACTS };

struct vg_handle_op;

/* One question that is out. */
struct vg_handle_piece {
	struct vg_handle_op *op; /* NULL: free */
	__u32 index;
	__u16 node;
};

struct vg_handle_op {
	struct vg_env *env;
	vg_handle_fn fn;
	void *context;
	enum vg_handle_kind kind;
	int error;
	__u64 handle;		/* the caller's */
	__u64 offset, length;	/* of the range; ALLOC: length of all */
	__u64 chunk_bytes;	/* piece `index` is chunk first + index and starts at (first + index) * chunk_bytes */
	__u32 first, count, next, outstanding;
	__u64 facts_length;	/* FACTS: the answer */
	__u8 *data;		/* READ: made by vg_handle_data_new. WRITE: the caller's, or ours when data_owned */
	__u64 data_from;	/* WRITE: where in the range `data` starts */
	bool data_owned;
	bool spread;		/* the pieces are chunks, not the handle itself */
	__u16 node_start;	/* ALLOC: where the round begins */
	__u64 failed[VG_NODES_MAX / 64]; /* ALLOC: nodes that could not help */
	struct vg_handle_piece piece[VG_HANDLE_PARALLEL];
	__u64 chunk[];		/* handles of the pieces */
};

/* A new operation with room for `count` pieces, zeroed; NULL: no memory. */
struct vg_handle_op *vg_handle_op_new(struct vg_env *env, enum vg_handle_kind kind, __u32 count, vg_handle_fn fn,
				      void *context);
void vg_handle_op_free(struct vg_handle_op *op); /* without calling fn */
/* Work off the pieces. fn is called before this returns if nobody else had to be asked; the operation is gone then. */
void vg_handle_op_start(struct vg_handle_op *op);

#define VG_HANDLE_SPREAD 0x1 /* the store's flags word: the memory is a struct vg_handle_table */

/* What a spread handle names. Never smaller than VG_HANDLE_TABLE_BYTES_MIN: XDP answers only what lies in a cell. */
struct vg_handle_table {
	__u64 length;	   /* bytes of the allocation */
	__u64 chunk_bytes; /* of each chunk but the last */
	__u64 count;
	__u64 chunk[];	   /* handles */
};
#define VG_HANDLE_TABLE_BYTES_MIN (VG_CELL_MAX + 1)

#endif
