/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "cli/file.h"

#define CHUNKS 8
#define CHUNK_BYTES (1u << 20)

/* IDLE → (read) READING → READ → (seen, write) WRITING → WRITTEN → IDLE */
enum chunk_state { IDLE, READING, READ, WRITING, WRITTEN };

struct chunk {
	enum chunk_state state;
	__u64 offset;
	size_t length;
	ssize_t result;
	char *data;
};

/* Chunk n is chunks[n % CHUNKS]; oldest ≤ to_write ≤ to_read: each goes through the stages in order. */
struct running {
	const struct file_stream *stream;
	struct chunk chunks[CHUNKS];
	__u64 oldest, to_write, to_read;
	__u64 next_offset, end;
	bool at_end;
	int error;
};

static void was_read(void *context, ssize_t result)
{
	struct chunk *chunk = context;

	chunk->result = result;
	chunk->state = READ;
}

static void was_written(void *context, ssize_t result)
{
	struct chunk *chunk = context;

	chunk->result = result;
	chunk->state = WRITTEN;
}

static int start_read(struct running *running, struct chunk *chunk)
{
	const struct file_stream *stream = running->stream;
	int error;

	chunk->offset = running->next_offset;
	chunk->state = READING;
	if (!stream->from->file) {
		was_read(chunk, file_read_here(stream->from, chunk->data, CHUNK_BYTES, chunk->offset));
		/* Only here is it known at once that there is no more. */
		running->at_end = chunk->result < CHUNK_BYTES;
		return 0;
	}
	error = virgo_submit_pread(stream->virgo, stream->from->file, chunk->data, CHUNK_BYTES, chunk->offset, was_read,
				   chunk);
	if (error)
		chunk->state = IDLE;
	return error;
}

static int start_write(struct running *running, struct chunk *chunk)
{
	const struct file_stream *stream = running->stream;
	int error;

	chunk->state = WRITING;
	if (!stream->to->file) {
		error = file_write_here(stream->to, chunk->data, chunk->length, chunk->offset);
		was_written(chunk, error ? error : (ssize_t)chunk->length);
		return 0;
	}
	error = virgo_submit_pwrite(stream->virgo, stream->to->file, chunk->data, chunk->length, chunk->offset,
				    was_written, chunk);
	if (error)
		chunk->state = READ;
	return error;
}

/* True: something was done, look again. Errors go to running->error. */
static bool read_more(struct running *running)
{
	struct chunk *chunk = &running->chunks[running->to_read % CHUNKS];
	int error;

	if (running->at_end || running->to_read - running->oldest == CHUNKS)
		return false;
	error = start_read(running, chunk);
	if (error == -EAGAIN)
		return false; /* many in flight: one of them comes back */
	running->error = error;
	running->next_offset += CHUNK_BYTES;
	running->to_read += !error;
	return true;
}

static bool write_more(struct running *running)
{
	struct chunk *chunk = &running->chunks[running->to_write % CHUNKS];
	const struct file_stream *stream = running->stream;
	int error;

	if (running->to_write == running->to_read || chunk->state != READ)
		return false;
	if (chunk->result < 0) {
		running->error = (int)chunk->result;
		return true;
	}
	chunk->length = (size_t)chunk->result;
	if (chunk->length < CHUNK_BYTES)
		running->at_end = true;
	if (!chunk->length || chunk->offset > running->end) {
		/* Behind the end: nothing is written of it. */
		was_written(chunk, 0);
		running->to_write++;
		return true;
	}
	error = start_write(running, chunk);
	if (error == -EAGAIN)
		return false;
	running->error = error;
	if (!error) {
		running->end = chunk->offset + chunk->length;
		if (stream->seen)
			stream->seen(stream->context, chunk->data, chunk->length);
		running->to_write++;
	}
	return true;
}

static bool retire(struct running *running)
{
	struct chunk *chunk = &running->chunks[running->oldest % CHUNKS];

	if (running->oldest == running->to_write || chunk->state != WRITTEN)
		return false;
	if (chunk->result < 0)
		running->error = (int)chunk->result;
	else if (chunk->result && (size_t)chunk->result < chunk->length)
		running->error = -EIO;
	else if (chunk->result && running->stream->progress)
		running->error = running->stream->progress(running->stream->context, chunk->offset + chunk->length);
	chunk->state = IDLE;
	running->oldest++;
	return true;
}

static bool in_flight(const struct running *running)
{
	for (unsigned int i = 0; i < CHUNKS; i++)
		if (running->chunks[i].state == READING || running->chunks[i].state == WRITING)
			return true;
	return false;
}

int file_stream_run(const struct file_stream *stream, __u64 *ret_end)
{
	struct running running = { .stream = stream, .next_offset = stream->offset, .end = stream->offset };
	char *buffers = malloc((size_t)CHUNKS * CHUNK_BYTES);

	if (!buffers)
		return -ENOMEM;
	for (unsigned int i = 0; i < CHUNKS; i++)
		running.chunks[i].data = buffers + (size_t)i * CHUNK_BYTES;
	while (!running.error) {
		if (retire(&running) || write_more(&running) || read_more(&running))
			continue;
		if (!in_flight(&running))
			break;
		(void)virgo_wait(stream->virgo, 1, -1);
	}
	/* The buffers are lent until all have come back. */
	while (in_flight(&running))
		(void)virgo_wait(stream->virgo, 0, -1);
	free(buffers);
	if (running.error)
		return running.error;
	assert(running.oldest == running.to_read);
	*ret_end = running.end;
	return 0;
}
