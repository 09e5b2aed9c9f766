/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Handles anywhere in the cluster: one range face over memory that is here, on another node, or spread over nodes.
 *
 * An allocation up to settings->chunk_bytes lives on the node that was asked. A larger one is spread: its handle names
 * a table on the asked node that holds the handles of its chunks; the first chunk lies here, the others round the
 * nodes. Reads and writes of a range are split over the chunks and come together again; the caller sees one range.
 *
 * Every function calls fn exactly once: either before it returns (all memory was here, or an early error) or later on
 * this thread. Arguments need to live only until the function returns. Up to VG_HANDLE_PARALLEL questions to other
 * nodes are out at once for one call.
 *
 * Errors (vg_handle_result.error): 0; -ESTALE the handle is gone; -ERANGE outside the allocation; -ENOMEM; -EINVAL a
 * size of 0; -EMSGSIZE over VG_HANDLE_BYTES_MAX, or more than VG_VALUE_MAX bytes in one read or write; -EXDEV the
 * memory is on another node and VG_HANDLE_HERE was asked; -EHOSTUNREACH, -EBUSY, -EACCES, -EIO: what the other node
 * said.
 */
#ifndef VG_SVC_MEM_HANDLE_H
#define VG_SVC_MEM_HANDLE_H

#include "svc/svc.h"

#define VG_HANDLE_BYTES_MAX 0xffffffffULL /* a range has 32 bits on the wire */
#define VG_HANDLE_PARALLEL 8

/* Flags of a call. */
#define VG_HANDLE_HERE 0x1 /* alloc: one piece on this node. Others: the handle itself must be of this node */

struct vg_handle_result {
	int error;
	__u64 handle;	/* alloc: the new handle; else the one asked for */
	__u64 length;	/* facts: bytes of the allocation. read, write: bytes moved */
	/*
	 * read: the bytes, from env->mem; NULL when length is 0. Freed after fn returns, unless fn takes it: it sets
	 * data to NULL and owes vg_handle_data_free(data), for example through vg_out_lend.
	 */
	void *data;
};
typedef void (*vg_handle_fn)(void *context, struct vg_handle_result *result);

void vg_handle_alloc(struct vg_env *env, __u64 bytes, __u32 flags, vg_handle_fn fn, void *context);
void vg_handle_read(struct vg_env *env, __u64 handle, __u64 offset, __u64 length, __u32 flags, vg_handle_fn fn,
		    void *context);
void vg_handle_write(struct vg_env *env, __u64 handle, __u64 offset, const void *data, __u64 length, __u32 flags,
		     vg_handle_fn fn, void *context);
/* Frees every chunk it can reach; an error says that some could not be freed. The handle is gone either way. */
void vg_handle_free(struct vg_env *env, __u64 handle, __u32 flags, vg_handle_fn fn, void *context);
/* How long the allocation is. */
void vg_handle_facts(struct vg_env *env, __u64 handle, __u32 flags, vg_handle_fn fn, void *context);

/*
 * The part that needs nobody else, without a callback: 0, an error as above, or -EINPROGRESS when the memory is spread
 * or on another node (nothing was done then). For datagrams and for the common small request.
 */
int vg_handle_read_now(struct vg_env *env, __u64 handle, __u64 offset, void *data, __u64 length);
int vg_handle_write_now(struct vg_env *env, __u64 handle, __u64 offset, const void *data, __u64 length);
int vg_handle_alloc_now(struct vg_env *env, __u64 bytes, __u64 *ret_handle);
int vg_handle_free_now(struct vg_env *env, __u64 handle);
int vg_handle_facts_now(struct vg_env *env, __u64 handle, __u64 *ret_length);

/*
 * Memory for such data (NULL: none), and its end; where it came from is kept with it, so the signature fits
 * vg_out_lend.
 */
void *vg_handle_data_new(struct vg_env *env, __u64 length);
void vg_handle_data_free(void *data);

/* The wire status of an error above, and the error of a status: the only place that translates. */
__u8 vg_mem_status_of(int error);
int vg_mem_error_of(__u8 status);

#endif
