/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The output of one connection: bytes in pooled chunks and borrowed blocks (large values that are sent from where they
 * live), in order. Codecs append; the connection sends from the front and consumes what was sent. One thread.
 *
 * Chunks that a send in flight reads are never moved or written: appending continues behind the last byte.
 */
#ifndef VG_BASE_OUT_H
#define VG_BASE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "virgo/types.h"

#define VG_OUT_CHUNK_BYTES 16384
#define VG_OUT_HIGH (1u << 20) /* bytes waiting to be sent, past which nothing more is answered for now */
#define VG_OUT_SHARE (2 * VG_OUT_CHUNK_BYTES) /* the same when the pool is half empty */

struct vg_out_chunk;

/* Chunks, acquired at start; one pool a worker. */
struct vg_out_pool {
	struct vg_out_chunk *free;
	void *memory;
	size_t memory_bytes;
	__u32 free_count, chunks;
};

int vg_out_pool_init(struct vg_out_pool *pool, __u32 chunks); /* 0, -ENOMEM */
void vg_out_pool_deinit(struct vg_out_pool *pool);

struct vg_out {
	struct vg_out_pool *pool;
	struct vg_out_chunk *first, *last;
	__u64 bytes;	/* appended and not yet consumed */
	bool failed;	/* the pool ran dry in the middle of an answer: the connection must be closed */
};

void vg_out_init(struct vg_out *out, struct vg_out_pool *pool);
void vg_out_deinit(struct vg_out *out); /* gives chunks and blocks back; no send may be in flight */

/*
 * Whether so much waits that the next request should wait too: what a peer does not read must neither grow without
 * bound nor take the chunks that others' answers need. Checked between requests; one answer may be of any size.
 */
static inline bool vg_out_full(const struct vg_out *out)
{
	return out->bytes > VG_OUT_HIGH || (out->bytes > VG_OUT_SHARE && out->pool->free_count < out->pool->chunks / 2);
}

/*
 * `bytes` (≤ VG_OUT_CHUNK_BYTES) contiguous writable bytes, or NULL when the pool is dry (then `failed` is set);
 * valid until the next call. vg_out_commit says how many were used.
 */
void *vg_out_reserve(struct vg_out *out, size_t bytes);
void vg_out_commit(struct vg_out *out, size_t bytes);
void vg_out_append(struct vg_out *out, const void *data, size_t bytes);

/* Lend `bytes` at `data` to the output; release(context) is called once they are sent or the output is dropped. */
void vg_out_lend(struct vg_out *out, const void *data, size_t bytes, void (*release)(void *context), void *context);

/* The front of the output as up to `count` vectors; returns how many were filled. */
int vg_out_peek(const struct vg_out *out, struct iovec *vectors, int count);
void vg_out_consume(struct vg_out *out, size_t bytes);
/* Only the first `bytes` stay; what is behind them is dropped. */
void vg_out_truncate(struct vg_out *out, size_t bytes);

/* Take all that is in `from` to the end of `to` (same pool): how an answer that came late is put in its place. */
void vg_out_splice(struct vg_out *to, struct vg_out *from);

#endif
