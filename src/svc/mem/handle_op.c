// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/mem/handle_op.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static bool pump(struct vg_handle_op *op);

struct vg_handle_op *vg_handle_op_new(struct vg_env *env, enum vg_handle_kind kind, __u32 count, vg_handle_fn fn,
				      void *context)
{
	size_t bytes = sizeof(struct vg_handle_op) + count * sizeof(__u64);
	struct vg_handle_op *op = env->mem->alloc(env->mem->context, bytes);

	if (!op)
		return NULL;
	memset(op, 0, bytes);
	op->env = env;
	op->kind = kind;
	op->count = count;
	op->fn = fn;
	op->context = context;
	return op;
}

static void data_drop(struct vg_handle_op *op)
{
	if (op->data_owned)
		vg_handle_data_free(op->data);
	op->data = NULL;
	op->data_owned = false;
}

void vg_handle_op_free(struct vg_handle_op *op)
{
	data_drop(op);
	op->env->mem->free(op->env->mem->context, op);
}

/* ---- which bytes are whose ------------------------------------------------------------------------------------- */

struct range {
	__u64 at;	/* in the caller's range */
	__u64 offset;	/* in the piece */
	__u64 length;
};

static struct range range_of(const struct vg_handle_op *op, __u32 index)
{
	__u64 start = (op->first + (__u64)index) * op->chunk_bytes;
	__u64 from = op->offset > start ? op->offset : start;
	__u64 end = op->offset + op->length, to = start + op->chunk_bytes;

	if (to > end)
		to = end;
	assert(from >= start && from <= to);
	return (struct range){ from - op->offset, from - start, to - from };
}

static void note(struct vg_handle_op *op, int error)
{
	/* A chunk that has gone with its node's former life is as free as can be. */
	if (op->spread && op->kind == VG_HANDLE_FREE && error == -ESTALE)
		return;
	if (error && !op->error)
		op->error = error;
}

/* ---- ALLOC: who gets a piece ----------------------------------------------------------------------------------- */

static bool node_failed(const struct vg_handle_op *op, __u16 node)
{
	return op->failed[node / 64] >> (node % 64) & 1;
}

/* The nodes but this one, counted from the one the round begins at. */
static __u16 other_node(const struct vg_handle_op *op, __u32 rank)
{
	__u16 self = vg_cluster_self(op->env->cluster), others = (__u16)(vg_cluster_nodes(op->env->cluster) - 1);
	__u16 start = op->node_start > self ? (__u16)(op->node_start - 1) : op->node_start;
	__u16 node = (__u16)((start + rank) % others);

	return node < self ? node : (__u16)(node + 1);
}

/*
 * Pieces go round the nodes: the first here, the next to the less loaded of two others, and on from there. A node that
 * could not help is left out. VG_NODE_NONE: nobody is left.
 */
static __u16 node_for(const struct vg_handle_op *op, __u32 index)
{
	__u16 self = vg_cluster_self(op->env->cluster), nodes = vg_cluster_nodes(op->env->cluster);
	__u32 position = index % nodes;

	if (!position && !node_failed(op, self))
		return self;
	for (__u32 step = 0; step + 1 < nodes; step++) {
		__u16 node = other_node(op, position + nodes - 2 + step);

		if (!node_failed(op, node))
			return node;
	}
	return node_failed(op, self) ? VG_NODE_NONE : self;
}

/* ---- one piece ------------------------------------------------------------------------------------------------- */

static int piece_here(struct vg_handle_op *op, __u32 index, const struct range *range)
{
	struct vg_store *store = op->env->store;

	switch (op->kind) {
	case VG_HANDLE_ALLOC:
		return vg_store_alloc(store, range->length, &op->chunk[index]);
	case VG_HANDLE_READ:
		return vg_store_handle_read(store, op->chunk[index], range->offset, op->data + range->at,
					    range->length);
	case VG_HANDLE_WRITE:
		return vg_store_handle_write(store, op->chunk[index], range->offset,
					     op->data + (range->at - op->data_from), range->length);
	case VG_HANDLE_FREE:
		return vg_store_release(store, op->chunk[index]);
	case VG_HANDLE_FACTS:
		break;
	}
	assert(!"facts are asked of another node only");
	return -EIO;
}

static void allocated_or_not(struct vg_handle_op *op, __u32 index, __u16 node, int error, __u64 handle);

/* What the reply says of its piece; the error it stands for. */
static int piece_taken(struct vg_handle_op *op, __u32 index, const struct vg_peer_reply *reply)
{
	struct range range;

	if (reply->error)
		return reply->error == -ENOBUFS ? -EBUSY : -EHOSTUNREACH;
	if (reply->status)
		return vg_mem_error_of(reply->status);
	if (op->kind == VG_HANDLE_FACTS)
		op->facts_length = reply->argument;
	if (op->kind != VG_HANDLE_READ)
		return 0;
	range = range_of(op, index);
	if (reply->body_length != range.length)
		return -EIO;
	if (range.length)
		memcpy(op->data + range.at, reply->body, range.length);
	return 0;
}

static void on_reply(void *context, const struct vg_peer_reply *reply)
{
	struct vg_handle_piece *piece = context;
	struct vg_handle_op *op = piece->op;
	__u32 index = piece->index;
	int error = piece_taken(op, index, reply);

	piece->op = NULL;
	op->outstanding--;
	if (op->kind == VG_HANDLE_ALLOC)
		allocated_or_not(op, index, piece->node, error, error ? 0 : reply->ident);
	else
		note(op, error);
	pump(op);
}

static void ask(struct vg_handle_op *op, __u32 index, __u16 node, const struct range *range)
{
	static const __u8 opcode[] = { VG_OP_HANDLE_ALLOC, VG_OP_HANDLE_GET, VG_OP_HANDLE_SET, VG_OP_HANDLE_FREE,
				       VG_OP_HANDLE_GET };
	struct vg_peer_request request = { .opcode = opcode[op->kind], .ident = op->chunk[index] };
	struct iovec body;
	struct vg_handle_piece *piece = op->piece;

	while (piece->op)
		piece++;
	assert(piece < op->piece + VG_HANDLE_PARALLEL);
	*piece = (struct vg_handle_piece){ op, index, node };
	op->outstanding++;
	if (op->kind == VG_HANDLE_ALLOC)
		request.argument = range->length;
	if (op->kind == VG_HANDLE_READ || op->kind == VG_HANDLE_WRITE)
		request.argument = range->offset << 32 | range->length;
	if (op->kind == VG_HANDLE_WRITE) {
		body = (struct iovec){ op->data + (range->at - op->data_from), range->length };
		request.body = &body;
		request.body_count = 1;
	}
	vg_peers_ask(op->env->peers, node, &request, on_reply, piece);
}

static void node_fails(struct vg_handle_op *op, __u16 node)
{
	op->failed[node / 64] |= 1ULL << (node % 64);
}

/* A piece that one node does not give is asked of the next; a node that failed is not asked again for this call. */
static void allocate(struct vg_handle_op *op, __u32 index)
{
	__u16 self = vg_cluster_self(op->env->cluster), node;
	struct range range = range_of(op, index);

	while ((node = node_for(op, index)) == self) {
		if (!piece_here(op, index, &range))
			return;
		node_fails(op, self);
	}
	if (node == VG_NODE_NONE)
		note(op, -ENOMEM);
	else
		ask(op, index, node, &range);
}

static void work(struct vg_handle_op *op, __u32 index)
{
	__u16 node = (__u16)vg_handle_node(op->chunk[index]);
	struct range range = { 0 };

	if (op->kind == VG_HANDLE_ALLOC) {
		allocate(op, index);
		return;
	}
	if (op->kind == VG_HANDLE_READ || op->kind == VG_HANDLE_WRITE)
		range = range_of(op, index);
	if (node == vg_cluster_self(op->env->cluster))
		note(op, piece_here(op, index, &range));
	else
		ask(op, index, node, &range);
}

static void allocated_or_not(struct vg_handle_op *op, __u32 index, __u16 node, int error, __u64 handle)
{
	if (!error && vg_handle_node(handle) == node) {
		op->chunk[index] = handle;
		return;
	}
	node_fails(op, node);
	if (!op->error)
		allocate(op, index);
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

/* The table of a spread allocation, filled in now that every chunk is known. */
static int table_write(struct vg_handle_op *op)
{
	struct vg_handle_table table = { .length = op->length, .chunk_bytes = op->chunk_bytes, .count = op->count };
	struct vg_store *store = op->env->store;
	int error = vg_store_handle_write(store, op->handle, 0, &table, sizeof(table));

	if (!error)
		error = vg_store_handle_write(store, op->handle, sizeof(table), op->chunk,
					      op->count * sizeof(op->chunk[0]));
	return error ?: vg_store_handle_set_flags(store, op->handle, VG_HANDLE_SPREAD);
}

/* All or nothing: what was allocated before the failure is given back, then the caller hears of the failure. */
static void roll_back(struct vg_handle_op *op)
{
	__u32 kept = 0;

	vg_store_release(op->env->store, op->handle);
	op->handle = 0;
	for (__u32 i = 0; i < op->count; i++)
		if (op->chunk[i])
			op->chunk[kept++] = op->chunk[i];
	op->kind = VG_HANDLE_FREE;
	op->count = kept;
	op->next = 0;
}

static void finish(struct vg_handle_op *op)
{
	struct vg_handle_result result = { .error = op->error, .handle = op->handle };

	if (!op->error)
		result.length = op->kind == VG_HANDLE_FACTS ? op->facts_length : op->length;
	if (!op->error && op->kind == VG_HANDLE_READ) {
		result.data = op->data;
		op->data_owned = false;
	}
	op->fn(op->context, &result);
	if (result.data)
		vg_handle_data_free(result.data);
	vg_handle_op_free(op);
}

/* Issues what may be issued. True: the operation is done and gone. */
static bool pump(struct vg_handle_op *op)
{
	for (;;) {
		bool stop = op->error && op->kind != VG_HANDLE_FREE;

		while (!stop && op->next < op->count && op->outstanding < VG_HANDLE_PARALLEL) {
			work(op, op->next++);
			stop = op->error && op->kind != VG_HANDLE_FREE;
		}
		if (op->outstanding || (!stop && op->next < op->count))
			return false;
		if (op->kind != VG_HANDLE_ALLOC)
			break;
		if (!op->error)
			note(op, table_write(op));
		if (!op->error)
			break;
		roll_back(op);
	}
	finish(op);
	return true;
}

/* The caller's bytes end when it returns: keep those of the pieces that wait for a question to come back. */
static int data_keep(struct vg_handle_op *op)
{
	struct range range = range_of(op, op->next);
	__u8 *copy = vg_handle_data_new(op->env, op->length - range.at);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, op->data + range.at, op->length - range.at);
	op->data = copy;
	op->data_from = range.at;
	op->data_owned = true;
	return 0;
}

void vg_handle_op_start(struct vg_handle_op *op)
{
	if (op->kind == VG_HANDLE_ALLOC)
		op->node_start = vg_peers_pick(op->env->peers);
	if (pump(op))
		return;
	if (op->kind == VG_HANDLE_WRITE && op->next < op->count)
		note(op, data_keep(op));
}
