// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/mem/handle.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "svc/mem/handle_op.h"

/* Ahead of the bytes of a read: who gave the memory. Keeps the bytes 16-byte aligned. */
struct data_header {
	const struct vg_mem *mem;
	__u64 reserved;
};

void *vg_handle_data_new(struct vg_env *env, __u64 length)
{
	struct data_header *header = env->mem->alloc(env->mem->context, sizeof(*header) + length);

	if (!header)
		return NULL;
	header->mem = env->mem;
	return header + 1;
}

void vg_handle_data_free(void *data)
{
	struct data_header *header = data;

	if (!data)
		return;
	header--;
	header->mem->free(header->mem->context, header);
}

/* ---- what needs nobody else ------------------------------------------------------------------------------------ */

/* Whose the handle is, as far as this node can say: 0 here and in one piece, -EINPROGRESS, or -ESTALE. */
static int locate(struct vg_env *env, __u64 handle, __u64 *ret_length)
{
	__u32 node = vg_handle_node(handle), flags;
	int error;

	if (node != vg_cluster_self(env->cluster))
		return node < vg_cluster_nodes(env->cluster) ? -EINPROGRESS : -ESTALE;
	error = vg_store_handle_facts(env->store, handle, ret_length, &flags);
	if (error)
		return error;
	return flags & VG_HANDLE_SPREAD ? -EINPROGRESS : 0;
}

int vg_handle_read_now(struct vg_env *env, __u64 handle, __u64 offset, void *data, __u64 length)
{
	__u64 whole;

	return locate(env, handle, &whole) ?: vg_store_handle_read(env->store, handle, offset, data, length);
}

int vg_handle_write_now(struct vg_env *env, __u64 handle, __u64 offset, const void *data, __u64 length)
{
	__u64 whole;

	return locate(env, handle, &whole) ?: vg_store_handle_write(env->store, handle, offset, data, length);
}

int vg_handle_free_now(struct vg_env *env, __u64 handle)
{
	__u64 whole;

	return locate(env, handle, &whole) ?: vg_store_release(env->store, handle);
}

int vg_handle_facts_now(struct vg_env *env, __u64 handle, __u64 *ret_length)
{
	return locate(env, handle, ret_length);
}

static bool would_spread(const struct vg_env *env, __u64 bytes)
{
	return env->settings->chunk_bytes && bytes > env->settings->chunk_bytes && vg_cluster_nodes(env->cluster) > 1;
}

static int check_size(__u64 bytes)
{
	if (!bytes)
		return -EINVAL;
	return bytes > VG_HANDLE_BYTES_MAX ? -EMSGSIZE : 0;
}

int vg_handle_alloc_now(struct vg_env *env, __u64 bytes, __u64 *ret_handle)
{
	int error = check_size(bytes);

	if (error)
		return error;
	return would_spread(env, bytes) ? -EINPROGRESS : vg_store_alloc(env->store, bytes, ret_handle);
}

/* ---- the general calls: here, elsewhere, or spread ------------------------------------------------------------- */

static void answer(vg_handle_fn fn, void *context, int error, __u64 handle, __u64 length)
{
	struct vg_handle_result result = { .error = error, .handle = handle, .length = error ? 0 : length };

	fn(context, &result);
}

void vg_handle_alloc(struct vg_env *env, __u64 bytes, __u32 flags, vg_handle_fn fn, void *context)
{
	__u64 chunk = env->settings->chunk_bytes, handle = 0, table;
	struct vg_handle_op *op;
	int error = check_size(bytes);

	if (error || flags & VG_HANDLE_HERE || !would_spread(env, bytes)) {
		error = error ?: vg_store_alloc(env->store, bytes, &handle);
		answer(fn, context, error, handle, bytes);
		return;
	}
	op = vg_handle_op_new(env, VG_HANDLE_ALLOC, (__u32)((bytes + chunk - 1) / chunk), fn, context);
	if (!op) {
		answer(fn, context, -ENOMEM, 0, 0);
		return;
	}
	op->length = bytes;
	op->chunk_bytes = chunk;
	op->spread = true;
	table = sizeof(struct vg_handle_table) + op->count * sizeof(op->chunk[0]);
	error = vg_store_alloc(env->store, table < VG_HANDLE_TABLE_BYTES_MIN ? VG_HANDLE_TABLE_BYTES_MIN : table,
			       &op->handle);
	if (error) {
		vg_handle_op_free(op);
		answer(fn, context, error, 0, 0);
		return;
	}
	vg_handle_op_start(op);
}

/*
 * The operation that covers a range of a spread handle of this node. Range already within VG_VALUE_MAX, FREE: all of
 * it.
 */
static int spread_op(struct vg_env *env, enum vg_handle_kind kind, __u64 handle, __u64 offset, __u64 length,
		     vg_handle_fn fn, void *context, struct vg_handle_op **ret_op)
{
	struct vg_handle_table table;
	struct vg_handle_op *op;
	__u64 first, last;
	int error = vg_store_handle_read(env->store, handle, 0, &table, sizeof(table));

	if (error)
		return error;
	if (kind == VG_HANDLE_FREE)
		length = table.length;
	if (offset > table.length || length > table.length - offset)
		return -ERANGE;
	first = offset / table.chunk_bytes;
	last = length ? (offset + length - 1) / table.chunk_bytes + 1 : first;
	op = vg_handle_op_new(env, kind, (__u32)(last - first), fn, context);
	if (!op)
		return -ENOMEM;
	error = vg_store_handle_read(env->store, handle, sizeof(table) + first * sizeof(op->chunk[0]), op->chunk,
				     (last - first) * sizeof(op->chunk[0]));
	if (error) {
		vg_handle_op_free(op);
		return error;
	}
	op->handle = handle;
	op->offset = offset;
	op->length = length;
	op->chunk_bytes = table.chunk_bytes;
	op->first = (__u32)first;
	op->spread = true;
	*ret_op = op;
	return 0;
}

/* The operation that passes a call on to the node that holds the handle: one piece, as wide as the wire's ranges. */
static int remote_op(struct vg_env *env, enum vg_handle_kind kind, __u64 handle, __u64 offset, __u64 length,
		     vg_handle_fn fn, void *context, struct vg_handle_op **ret_op)
{
	struct vg_handle_op *op;

	if (offset > VG_HANDLE_BYTES_MAX)
		return -ERANGE;
	op = vg_handle_op_new(env, kind, 1, fn, context);
	if (!op)
		return -ENOMEM;
	op->chunk[0] = op->handle = handle;
	op->offset = offset;
	op->length = length;
	op->chunk_bytes = 1ULL << 33;
	*ret_op = op;
	return 0;
}

static int op_for(struct vg_env *env, enum vg_handle_kind kind, __u64 handle, __u64 offset, __u64 length, __u32 flags,
		  vg_handle_fn fn, void *context, struct vg_handle_op **ret_op)
{
	if (vg_handle_node(handle) == vg_cluster_self(env->cluster))
		return spread_op(env, kind, handle, offset, length, fn, context, ret_op);
	if (flags & VG_HANDLE_HERE)
		return -EXDEV;
	return remote_op(env, kind, handle, offset, length, fn, context, ret_op);
}

/* A range of memory that is here and in one piece. */
static int read_here(struct vg_env *env, __u64 handle, __u64 offset, __u64 length, void **ret_data)
{
	__u64 whole;
	int error = locate(env, handle, &whole);

	*ret_data = NULL;
	if (error)
		return error;
	if (offset > whole || length > whole - offset)
		return -ERANGE;
	if (!length)
		return 0;
	*ret_data = vg_handle_data_new(env, length);
	if (!*ret_data)
		return -ENOMEM;
	error = vg_store_handle_read(env->store, handle, offset, *ret_data, length);
	if (error) {
		vg_handle_data_free(*ret_data);
		*ret_data = NULL;
	}
	return error;
}

void vg_handle_read(struct vg_env *env, __u64 handle, __u64 offset, __u64 length, __u32 flags, vg_handle_fn fn,
		    void *context)
{
	struct vg_handle_result result = { .handle = handle, .length = length };
	struct vg_handle_op *op = NULL;

	result.error = length > VG_VALUE_MAX ? -EMSGSIZE : read_here(env, handle, offset, length, &result.data);
	if (result.error == -EINPROGRESS) {
		result.error = op_for(env, VG_HANDLE_READ, handle, offset, length, flags, fn, context, &op);
		if (!result.error && length) {
			op->data = vg_handle_data_new(env, length);
			op->data_owned = true;
		}
		if (!result.error && (op->data || !length)) {
			vg_handle_op_start(op);
			return;
		}
		if (op)
			vg_handle_op_free(op);
		result.error = result.error ?: -ENOMEM;
	}
	if (result.error)
		result.length = 0;
	fn(context, &result);
	vg_handle_data_free(result.data);
}

void vg_handle_write(struct vg_env *env, __u64 handle, __u64 offset, const void *data, __u64 length, __u32 flags,
		     vg_handle_fn fn, void *context)
{
	struct vg_handle_op *op;
	int error = length > VG_VALUE_MAX ? -EMSGSIZE : vg_handle_write_now(env, handle, offset, data, length);

	if (error == -EINPROGRESS) {
		error = op_for(env, VG_HANDLE_WRITE, handle, offset, length, flags, fn, context, &op);
		if (!error) {
			op->data = (__u8 *)(uintptr_t)data; /* only read, see data_keep */
			vg_handle_op_start(op);
			return;
		}
	}
	answer(fn, context, error, handle, length);
}

void vg_handle_free(struct vg_env *env, __u64 handle, __u32 flags, vg_handle_fn fn, void *context)
{
	struct vg_handle_op *op;
	int error = vg_handle_free_now(env, handle);

	if (error == -EINPROGRESS) {
		error = op_for(env, VG_HANDLE_FREE, handle, 0, 0, flags, fn, context, &op);
		/* The table goes first: of two that free at once one finds it gone, and the chunks are freed once. */
		if (!error && vg_handle_node(handle) == vg_cluster_self(env->cluster)) {
			error = vg_store_release(env->store, handle);
			if (error)
				vg_handle_op_free(op);
		}
		if (!error) {
			vg_handle_op_start(op);
			return;
		}
	}
	answer(fn, context, error, handle, 0);
}

void vg_handle_facts(struct vg_env *env, __u64 handle, __u32 flags, vg_handle_fn fn, void *context)
{
	struct vg_handle_table table = { 0 };
	struct vg_handle_op *op;
	__u64 length = 0;
	int error = vg_handle_facts_now(env, handle, &length);

	if (error == -EINPROGRESS && vg_handle_node(handle) == vg_cluster_self(env->cluster)) {
		error = vg_store_handle_read(env->store, handle, 0, &table, sizeof(table));
		length = table.length;
	} else if (error == -EINPROGRESS) {
		error = op_for(env, VG_HANDLE_FACTS, handle, 0, 0, flags, fn, context, &op);
		if (!error) {
			vg_handle_op_start(op);
			return;
		}
	}
	answer(fn, context, error, handle, length);
}
