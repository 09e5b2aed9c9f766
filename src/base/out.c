/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/out.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/*
 * What a chunk holds is sent in this order: its own bytes [begin, end), then the block lent behind them, if any. So the
 * few bytes that introduce a large value and the value itself take one chunk, and a chunk with a loan takes no more
 * bytes.
 */
struct vg_out_chunk {
	struct vg_out_chunk *next;
	__u32 begin, end;
	const __u8 *lent; /* what is left of the loan */
	size_t lent_bytes;
	void (*release)(void *context);
	void *release_context;
	__u8 data[VG_OUT_CHUNK_BYTES] __attribute__((aligned(64)));
};

/* ---- the pool -------------------------------------------------------------------------------------------------- */

int vg_out_pool_init(struct vg_out_pool *pool, __u32 chunks)
{
	size_t bytes = (size_t)chunks * sizeof(struct vg_out_chunk);
	struct vg_out_chunk *chunk;
	void *memory;

	memset(pool, 0, sizeof(*pool));
	if (!chunks)
		return 0;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	pool->memory = memory;
	pool->memory_bytes = bytes;
	/* Linked from the back, so that the lowest addresses are used first and the rest stays untouched. */
	for (chunk = (struct vg_out_chunk *)memory + chunks; chunk-- != memory;) {
		chunk->next = pool->free;
		pool->free = chunk;
	}
	pool->free_count = pool->chunks = chunks;
	return 0;
}

void vg_out_pool_deinit(struct vg_out_pool *pool)
{
	if (pool->memory)
		munmap(pool->memory, pool->memory_bytes);
	memset(pool, 0, sizeof(*pool));
}

static struct vg_out_chunk *chunk_get(struct vg_out *out)
{
	struct vg_out_pool *pool = out->pool;
	struct vg_out_chunk *chunk = pool->free;

	if (!chunk) {
		out->failed = true;
		return NULL;
	}
	pool->free = chunk->next;
	pool->free_count--;
	chunk->next = NULL;
	chunk->begin = 0;
	chunk->end = 0;
	chunk->lent_bytes = 0;
	chunk->release = NULL;
	return chunk;
}

static void chunk_put(struct vg_out_pool *pool, struct vg_out_chunk *chunk)
{
	if (chunk->release)
		chunk->release(chunk->release_context);
	chunk->next = pool->free;
	pool->free = chunk;
	pool->free_count++;
}

static struct vg_out_chunk *chunk_add(struct vg_out *out)
{
	struct vg_out_chunk *chunk = chunk_get(out);

	if (!chunk)
		return NULL;
	if (out->last)
		out->last->next = chunk;
	else
		out->first = chunk;
	out->last = chunk;
	return chunk;
}

/* ---- appending ------------------------------------------------------------------------------------------------- */

void vg_out_init(struct vg_out *out, struct vg_out_pool *pool)
{
	memset(out, 0, sizeof(*out));
	out->pool = pool;
}

void vg_out_deinit(struct vg_out *out)
{
	struct vg_out_chunk *chunk = out->first, *next;

	for (; chunk; chunk = next) {
		next = chunk->next;
		chunk_put(out->pool, chunk);
	}
	vg_out_init(out, out->pool);
}

/* Bytes that may still be written into the last chunk. */
static size_t tail_room(const struct vg_out *out)
{
	const struct vg_out_chunk *last = out->last;

	return last && !last->release && !last->lent_bytes ? VG_OUT_CHUNK_BYTES - last->end : 0;
}

void *vg_out_reserve(struct vg_out *out, size_t bytes)
{
	assert(bytes <= VG_OUT_CHUNK_BYTES);
	if (out->failed)
		return NULL;
	if ((!out->last || tail_room(out) < bytes) && !chunk_add(out))
		return NULL;
	return out->last->data + out->last->end;
}

void vg_out_commit(struct vg_out *out, size_t bytes)
{
	assert(bytes <= tail_room(out));
	if (!bytes)
		return;
	out->last->end += bytes;
	out->bytes += bytes;
}

void vg_out_append(struct vg_out *out, const void *data, size_t bytes)
{
	const __u8 *from = data;

	while (bytes && !out->failed) {
		size_t part = tail_room(out);

		if (!part) {
			if (!chunk_add(out))
				return;
			part = VG_OUT_CHUNK_BYTES;
		}
		if (part > bytes)
			part = bytes;
		memcpy(out->last->data + out->last->end, from, part);
		vg_out_commit(out, part);
		from += part;
		bytes -= part;
	}
}

void vg_out_lend(struct vg_out *out, const void *data, size_t bytes, void (*release)(void *context), void *context)
{
	struct vg_out_chunk *last = out->last;

	if (!out->failed && bytes && (!last || last->release || last->lent_bytes))
		last = chunk_add(out);
	if (out->failed || !bytes) {
		if (release)
			release(context);
		return;
	}
	last->lent = data;
	last->lent_bytes = bytes;
	last->release = release;
	last->release_context = context;
	out->bytes += bytes;
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

int vg_out_peek(const struct vg_out *out, struct iovec *vectors, int count)
{
	const struct vg_out_chunk *chunk;
	int filled = 0;

	for (chunk = out->first; chunk && filled < count; chunk = chunk->next) {
		if (chunk->end > chunk->begin)
			vectors[filled++] = (struct iovec){ (void *)(chunk->data + chunk->begin),
							    chunk->end - chunk->begin };
		if (chunk->lent_bytes && filled < count)
			vectors[filled++] = (struct iovec){ (void *)chunk->lent, chunk->lent_bytes };
	}
	return filled;
}

void vg_out_consume(struct vg_out *out, size_t bytes)
{
	assert(bytes <= out->bytes);
	out->bytes -= bytes;
	while (out->first) {
		struct vg_out_chunk *chunk = out->first;
		size_t own = chunk->end - chunk->begin;
		size_t lent;

		if (own > bytes)
			own = bytes;
		chunk->begin += own;
		bytes -= own;
		lent = chunk->lent_bytes < bytes ? chunk->lent_bytes : bytes;
		if (lent)
			chunk->lent += lent;
		chunk->lent_bytes -= lent;
		bytes -= lent;
		if (chunk->end > chunk->begin || chunk->lent_bytes)
			break;
		out->first = chunk->next;
		if (!out->first)
			out->last = NULL;
		chunk_put(out->pool, chunk);
	}
	assert(!bytes);
}

/* What is left of a chunk when its first `bytes` stay; returns those that do. */
static size_t chunk_truncate(struct vg_out_chunk *chunk, size_t bytes)
{
	size_t own = chunk->end - chunk->begin;

	if (bytes < own) {
		chunk->end = chunk->begin + (__u32)bytes;
		chunk->lent_bytes = 0;
		return bytes;
	}
	if (chunk->lent_bytes > bytes - own)
		chunk->lent_bytes = bytes - own;
	return own + chunk->lent_bytes;
}

void vg_out_truncate(struct vg_out *out, size_t bytes)
{
	struct vg_out_chunk *chunk, *next;
	size_t kept = 0;

	if (bytes >= out->bytes)
		return;
	if (!bytes) {
		bool failed = out->failed;

		vg_out_deinit(out);
		out->failed = failed;
		return;
	}
	for (chunk = out->first; kept < bytes; chunk = chunk->next) {
		kept += chunk_truncate(chunk, bytes - kept);
		out->last = chunk;
	}
	for (chunk = out->last->next; chunk; chunk = next) {
		next = chunk->next;
		chunk_put(out->pool, chunk);
	}
	out->last->next = NULL;
	out->bytes = bytes;
}

void vg_out_splice(struct vg_out *to, struct vg_out *from)
{
	struct vg_out_chunk *first = from->first;

	assert(to->pool == from->pool && to != from);
	if (to->failed || !from->bytes) {
		to->failed |= from->failed;
		vg_out_deinit(from);
		return;
	}
	if (first == from->last && !first->release && !first->lent_bytes && from->bytes <= tail_room(to)) {
		/* A short answer behind a short answer: copied, so that a pipeline of them goes out in one vector. */
		to->failed |= from->failed;
		memcpy(to->last->data + to->last->end, first->data + first->begin, from->bytes);
		vg_out_commit(to, from->bytes);
		vg_out_deinit(from);
		return;
	}
	if (to->last)
		to->last->next = first;
	else
		to->first = first;
	to->last = from->last;
	to->bytes += from->bytes;
	to->failed = from->failed;
	vg_out_init(from, from->pool);
}
