/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading and writing: a transfer of any length goes as chunks, several at once, each straight from or into the
 * caller's memory. What it says at the end is what one pread(2) or pwrite(2) would: how far it got from its beginning.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "client/file.h"

struct chunk {
	struct vg_remote_request request;
	struct vg_remote_transfer *transfer;
	size_t at, length;
	bool busy;
};

struct vg_remote_transfer {
	struct virgo *v;
	struct virgo_file *file;
	struct vg_remote_transfer *next; /* free ones */
	bool is_write, holes;
	__u8 *buffer;
	size_t length;
	__u64 offset;
	size_t issued; /* of the length */
	size_t end;    /* it ends here: at its length, or where something was short */
	int error;     /* why it ends there; 0: the end of the file */
	unsigned int in_flight, chunks_count;
	virgo_file_fn fn;
	void *context;
	struct chunk *chunks; /* `one`, or malloc */
	struct chunk one;
};

static void issue(struct vg_remote_transfer *transfer);

/* ---- its end --------------------------------------------------------------------------------------------------- */

void vg_remote_deliver(struct virgo *v, virgo_file_fn fn, void *context, ssize_t result)
{
	if (v->files->ending)
		return;
	assert(v->files->pending > 0);
	v->files->pending--;
	v->delivered++;
	v->delivering = true;
	fn(context, result);
	v->delivering = false;
}

static void release(struct vg_remote_transfer *transfer)
{
	struct virgo *v = transfer->v;

	if (transfer->chunks != &transfer->one)
		free(transfer->chunks);
	transfer->next = v->files->transfers_free;
	v->files->transfers_free = transfer;
}

static void finish(struct vg_remote_transfer *transfer)
{
	virgo_file_fn fn = transfer->fn;
	void *context = transfer->context;
	ssize_t result = transfer->end || !transfer->error ? (ssize_t)transfer->end : transfer->error;

	release(transfer);
	fn(context, result);
}

/* What is missing of pieces, but is within the file, is a hole. */
static void sized(struct vg_remote_each *each)
{
	struct vg_remote_transfer *transfer = each->context;
	__u64 sizes[VG_FILE_STRIPES_MAX], size;
	struct virgo_file_stat stat;
	int error = each->error;

	for (unsigned int i = 0; i < each->file->count && !error; i++) {
		vg_remote_stat_read(each->requests[i].front, &stat);
		sizes[i] = stat.size;
	}
	if (error) {
		transfer->end = 0;
		transfer->error = error;
	} else {
		size = vg_remote_stripes_size(each->file, sizes);
		size = size > transfer->offset ? size - transfer->offset : 0;
		transfer->end = transfer->end < size ? transfer->end : (size_t)size;
	}
	free(each);
	finish(transfer);
}

static void complete(struct vg_remote_transfer *transfer)
{
	struct vg_remote_each *each;

	if (!transfer->holes) {
		finish(transfer);
		return;
	}
	if (vg_remote_each_new(transfer->v, transfer->file, VG_OP_FILE_STAT, &each)) {
		transfer->end = 0;
		transfer->error = -ENOMEM;
		finish(transfer);
		return;
	}
	for (unsigned int i = 0; i < transfer->file->count; i++)
		each->requests[i].front_bytes = sizeof(struct vg_file_stat);
	vg_remote_each_start(each, sized, transfer);
}

/* ---- chunks ---------------------------------------------------------------------------------------------------- */

static void note_short(struct vg_remote_transfer *transfer, size_t at, int error)
{
	if (at >= transfer->end)
		return;
	transfer->end = at;
	transfer->error = error;
}

static void chunk_done(struct vg_remote_request *request)
{
	struct chunk *chunk = request->context;
	struct vg_remote_transfer *transfer = chunk->transfer;
	size_t got = transfer->is_write ? (size_t)request->answer_argument : request->answer_length;

	chunk->busy = false;
	transfer->in_flight--;
	if (request->error)
		note_short(transfer, chunk->at, request->error < 0 ? request->error : -EPROTO);
	else if (got > chunk->length)
		note_short(transfer, chunk->at, -EPROTO);
	else if (got < chunk->length && transfer->file->unit && !transfer->is_write) {
		memset(transfer->buffer + chunk->at + got, 0, chunk->length - got);
		transfer->holes = true;
	} else if (got < chunk->length) {
		note_short(transfer, chunk->at + got, 0);
	}
	if (!request->error && transfer->is_write && transfer->file->flags & O_APPEND)
		transfer->file->position = request->answer_ident + got;
	issue(transfer);
}

/* The piece that has this byte, where, and how far it goes on there. */
static const struct vg_remote_piece *piece_of(const struct virgo_file *file, __u64 offset, __u64 *ret_offset,
					      size_t *length)
{
	__u64 stripe, within;

	*ret_offset = offset;
	if (!file->unit)
		return &file->pieces[0];
	stripe = offset / file->unit;
	within = offset % file->unit;
	if (*length > file->unit - within)
		*length = (size_t)(file->unit - within);
	*ret_offset = stripe / file->count * file->unit + within;
	return &file->pieces[stripe % file->count];
}

static void issue_chunk(struct vg_remote_transfer *transfer, struct chunk *chunk)
{
	struct vg_remote_request *request = &chunk->request;
	const bool append = transfer->is_write && transfer->file->flags & O_APPEND;
	const size_t most = append ? VG_FILE_DATA_MAX : VG_REMOTE_CHUNK_BYTES;
	const struct vg_remote_piece *piece;
	struct vg_remote_node *node;
	__u64 offset;

	chunk->at = transfer->issued;
	chunk->length = transfer->end - transfer->issued < most ? transfer->end - transfer->issued : most;
	piece = piece_of(transfer->file, transfer->offset + chunk->at, &offset, &chunk->length);
	*request = (struct vg_remote_request){ .argument = offset, .done = chunk_done, .context = chunk };
	chunk->transfer = transfer;
	if (transfer->is_write) {
		request->opcode = VG_OP_FILE_WRITE;
		request->flags = append ? VG_FILE_APPEND : 0;
		request->change = append;
		request->body = transfer->buffer + chunk->at;
		request->body_length = (__u32)chunk->length;
	} else {
		const struct vg_file_span span = { .length = VG_HTOBE32((__u32)chunk->length) };

		request->opcode = VG_OP_FILE_READ;
		memcpy(request->small, &span, sizeof(span));
		request->body = request->small;
		request->body_length = sizeof(span);
		request->into = transfer->buffer + chunk->at;
		request->into_bytes = (__u32)chunk->length;
	}
	node = vg_remote_piece_node(transfer->v, piece, request);
	if (!node) {
		note_short(transfer, chunk->at, -ENOMEM);
		return;
	}
	chunk->busy = true;
	transfer->in_flight++;
	transfer->issued += chunk->length;
	vg_remote_submit(node, request);
}

/* As many as may be in flight; what is appended goes one after the other, as each decides where the next one goes. */
static void issue(struct vg_remote_transfer *transfer)
{
	for (unsigned int i = 0; i < transfer->chunks_count && transfer->issued < transfer->end; i++)
		if (!transfer->chunks[i].busy)
			issue_chunk(transfer, &transfer->chunks[i]);
	if (!transfer->in_flight)
		complete(transfer);
}

/* ---- beginning ------------------------------------------------------------------------------------------------- */

static struct vg_remote_transfer *new_transfer(struct virgo *v)
{
	struct vg_remote_transfer *transfer = v->files->transfers_free;

	if (transfer)
		v->files->transfers_free = transfer->next;
	else
		transfer = malloc(sizeof(*transfer));
	return transfer;
}

static unsigned int chunks_for(const struct virgo_file *file, bool is_write, size_t length)
{
	size_t bytes = file->unit && file->unit < VG_REMOTE_CHUNK_BYTES ? file->unit : VG_REMOTE_CHUNK_BYTES, count;

	if (is_write && file->flags & O_APPEND)
		return 1;
	/* A striped one may begin in the middle of a stripe. */
	count = length / bytes + (length % bytes != 0) + (file->unit != 0);
	if (count > VG_REMOTE_CHUNKS_MAX * (file->unit ? 2 : 1))
		count = VG_REMOTE_CHUNKS_MAX * (file->unit ? 2 : 1);
	return count ? (unsigned int)count : 1;
}

int vg_remote_transfer(struct virgo *v, struct virgo_file *file, bool is_write, void *buffer, size_t length,
		       __u64 offset, virgo_file_fn fn, void *context)
{
	struct vg_remote_transfer *transfer;
	const unsigned int count = chunks_for(file, is_write, length);

	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EINVAL;
	if (file->unit && is_write && file->flags & O_APPEND)
		return -EOPNOTSUPP;
	transfer = new_transfer(v);
	if (!transfer)
		return -ENOMEM;
	transfer->v = v;
	transfer->file = file;
	transfer->is_write = is_write;
	transfer->holes = false;
	transfer->buffer = buffer;
	transfer->length = transfer->end = length;
	transfer->offset = offset;
	transfer->issued = 0;
	transfer->error = 0;
	transfer->in_flight = 0;
	transfer->chunks_count = count;
	transfer->fn = fn;
	transfer->context = context;
	transfer->chunks = count == 1 ? &transfer->one : calloc(count, sizeof(struct chunk));
	transfer->one.busy = false;
	if (!transfer->chunks) {
		transfer->chunks = &transfer->one;
		transfer->chunks_count = 1;
	}
	issue(transfer);
	return 0;
}

void vg_remote_transfers_free(struct virgo *v)
{
	struct vg_remote_transfer *transfer = v->files->transfers_free, *next;

	for (; transfer; transfer = next) {
		next = transfer->next;
		free(transfer);
	}
	v->files->transfers_free = NULL;
}
