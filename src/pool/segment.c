/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (1u << 20)

/* ---- names ----------------------------------------------------------------------------------------------------- */

void vg_segment_name(__u32 number, char name[VG_SEGMENT_NAME_BYTES])
{
	snprintf(name, VG_SEGMENT_NAME_BYTES, "log-%010u.vgl", number);
}

__u32 vg_segment_number(const char *name)
{
	char again[VG_SEGMENT_NAME_BYTES];
	unsigned long number;

	if (strncmp(name, "log-", 4) || name[4] < '0' || name[4] > '9')
		return 0;
	number = strtoul(name + 4, NULL, 10);
	if (!number || number > VG_SEGMENT_NUMBER_MAX)
		return 0;
	vg_segment_name((__u32)number, again);
	return strcmp(name, again) ? 0 : (__u32)number;
}

static int ascending(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return x < y ? -1 : x > y;
}

int vg_segments_list(int directory_fd, __u32 **ret_numbers, __u32 *ret_count)
{
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	__u32 *numbers = NULL, *more, count = 0, number;
	struct dirent *entry;
	int error = 0;

	if (!directory) {
		error = -errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	while ((entry = readdir(directory)) && !error) {
		number = vg_segment_number(entry->d_name);
		if (!number)
			continue;
		more = reallocarray(numbers, count + 1, sizeof(*numbers));
		if (!more) {
			error = -ENOMEM;
			break;
		}
		numbers = more;
		numbers[count++] = number;
	}
	closedir(directory);
	if (error) {
		free(numbers);
		return error;
	}
	if (count)
		qsort(numbers, count, sizeof(*numbers), ascending);
	*ret_numbers = numbers;
	*ret_count = count;
	return 0;
}

/* ---- one file -------------------------------------------------------------------------------------------------- */

int vg_segment_open(struct vg_segment_reader *reader, int directory_fd, const char *name)
{
	struct stat status;
	int error;

	*reader = (struct vg_segment_reader){ .fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC) };
	if (reader->fd < 0)
		return -errno;
	reader->buffer = malloc(BUFFER_BYTES);
	reader->capacity = BUFFER_BYTES;
	error = !reader->buffer ? -ENOMEM : fstat(reader->fd, &status) ? -errno : 0;
	if (error) {
		vg_segment_close(reader);
		return error;
	}
	reader->size = (__u64)status.st_size;
	(void)posix_fadvise(reader->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* only a hint */
	return 0;
}

void vg_segment_close(struct vg_segment_reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	free(reader->buffer);
	reader->fd = -1;
	reader->buffer = NULL;
}

/* See to it that `bytes` from reader->at on are in the buffer, or all there are. */
static int window(struct vg_segment_reader *reader, size_t bytes)
{
	if (reader->at >= reader->base && reader->at + bytes <= reader->base + reader->length)
		return 0;
	if (bytes > reader->capacity) {
		__u8 *larger = realloc(reader->buffer, bytes);

		if (!larger)
			return -ENOMEM;
		reader->buffer = larger;
		reader->capacity = bytes;
	}
	reader->base = reader->at;
	reader->length = 0;
	while (reader->length < reader->capacity) {
		ssize_t got = pread(reader->fd, reader->buffer + reader->length, reader->capacity - reader->length,
				    (off_t)(reader->base + reader->length));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		reader->length += (size_t)got;
	}
	return 0;
}

static size_t there(const struct vg_segment_reader *reader)
{
	return reader->length - (size_t)(reader->at - reader->base);
}

static const __u8 *here(const struct vg_segment_reader *reader)
{
	return reader->buffer + (reader->at - reader->base);
}

/* Fewer bytes than a header are left: are they all zero? */
static bool zeros_left(const struct vg_segment_reader *reader)
{
	for (size_t i = 0; i < there(reader); i++)
		if (here(reader)[i])
			return false;
	return true;
}

int vg_segment_read(struct vg_segment_reader *reader, struct vg_record *ret_record, enum vg_record_verdict *ret_verdict)
{
	int error = window(reader, sizeof(struct vg_record_header));

	if (error)
		return error;
	*ret_verdict = vg_record_read(here(reader), there(reader), ret_record);
	if (*ret_verdict == VG_RECORD_MORE && !ret_record->length) {
		*ret_verdict = zeros_left(reader) ? VG_RECORD_END : VG_RECORD_BAD;
	} else if (*ret_verdict == VG_RECORD_MORE && ret_record->length > reader->size - reader->at) {
		*ret_verdict = VG_RECORD_BAD; /* cut off */
	} else if (*ret_verdict == VG_RECORD_MORE) {
		error = window(reader, ret_record->length);
		if (error)
			return error;
		*ret_verdict = vg_record_read(here(reader), there(reader), ret_record);
		if (*ret_verdict == VG_RECORD_MORE)
			*ret_verdict = VG_RECORD_BAD;
	}
	if (*ret_verdict == VG_RECORD_OK)
		reader->at += ret_record->length;
	return 0;
}

int vg_segment_seek(struct vg_segment_reader *reader, struct vg_record *ret_record)
{
	for (; reader->at + sizeof(struct vg_record_header) <= reader->size; reader->at += VG_RECORD_ALIGN) {
		struct vg_record_header header;
		int error = window(reader, VG_RECORD_SEGMENT_BYTES);

		if (error)
			return error;
		if (there(reader) < sizeof(header))
			break;
		memcpy(&header, here(reader), sizeof(header));
		if ((header.kind != VG_RECORD_BATCH || header.length != VG_RECORD_BATCH_BYTES) &&
		    (header.kind != VG_RECORD_SEGMENT || header.length != VG_RECORD_SEGMENT_BYTES))
			continue;
		if (vg_record_read(here(reader), there(reader), ret_record) == VG_RECORD_OK) {
			reader->at += ret_record->length;
			return 0;
		}
	}
	return -ENOENT;
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

const char *vg_walk_end_text(enum vg_walk_end end)
{
	switch (end) {
	case VG_WALK_WHOLE:
		return "whole";
	case VG_WALK_TORN:
		return "torn";
	case VG_WALK_CORRUPT:
		return "corrupt";
	case VG_WALK_MISSING:
		return "missing";
	}
	return "?";
}

struct state {
	const struct vg_walk *walk;
	struct vg_walk_result *result;
	__u32 *numbers, count;
	__u64 expected;	   /* 0: not known yet */
	__u64 batch_first; /* of the batch being read */
	bool stopped;	   /* result->segment and offset say where */
	struct vg_segment_reader reader;
};

static int open_segment(struct state *state, __u32 position)
{
	char name[VG_SEGMENT_NAME_BYTES];

	vg_segment_name(state->numbers[position], name);
	state->result->segment = state->numbers[position];
	return vg_segment_open(&state->reader, state->walk->directory_fd, name);
}

static void stop(struct state *state, enum vg_walk_end end, __u64 offset)
{
	state->stopped = true;
	state->result->end = end;
	state->result->offset = offset;
}

/*
 * Is there a record behind the place where the walk stopped that was written when the change expected there was
 * already on stable storage? Then the place was right once.
 */
static int look_for_proof(struct state *state, __u32 position, bool *ret_proof)
{
	__u64 from = state->result->offset;
	struct vg_record record;
	int error = 0;

	for (*ret_proof = false; position < state->count && !error && !*ret_proof; position++, from = 0) {
		char name[VG_SEGMENT_NAME_BYTES];

		vg_segment_name(state->numbers[position], name);
		error = vg_segment_open(&state->reader, state->walk->directory_fd, name);
		if (error)
			break;
		state->reader.at = from;
		while (!(error = vg_segment_seek(&state->reader, &record)) && !*ret_proof)
			*ret_proof = record.kind == VG_RECORD_BATCH && record.durable >= state->expected;
		vg_segment_close(&state->reader);
		error = error == -ENOENT ? 0 : error;
	}
	return error;
}

/* The first record of a file. False: it cannot follow what came before. */
static bool begins_right(struct state *state, const struct vg_record *record)
{
	if (record->kind != VG_RECORD_SEGMENT || record->number != state->result->segment ||
	    (state->result->identity && record->identity != state->result->identity))
		return false;
	if (state->expected && record->sequence < state->batch_first)
		return false;
	state->result->identity = record->identity;
	return true;
}

/*
 * Does the number that a file begins with follow? A write that failed is done again in the next file, so it may go back
 * within the last batch; and it may go on further ahead if a snapshot has what lies between.
 */
static bool number_follows(const struct state *state, __u64 sequence)
{
	if (state->expected && sequence <= state->expected)
		return true;
	return sequence <= state->walk->after + 1;
}

static int visit(struct state *state, __u64 offset, const struct vg_record *record)
{
	state->result->records++;
	return state->walk->record ? state->walk->record(state->walk->context, state->result->segment, offset, record) :
				     0;
}

/* The records behind a file's first one, up to its end or what is not right. */
static int walk_records(struct state *state, enum vg_record_verdict *ret_verdict)
{
	struct vg_record record;

	for (;;) {
		__u64 offset = state->reader.at;
		int error = vg_segment_read(&state->reader, &record, ret_verdict);

		if (error)
			return error;
		state->result->offset = offset;
		if (*ret_verdict != VG_RECORD_OK)
			return 0;
		if (record.kind == VG_RECORD_SEGMENT || record.sequence != state->expected) {
			*ret_verdict = VG_RECORD_BAD;
			return 0;
		}
		if (record.kind == VG_RECORD_BATCH)
			state->batch_first = record.sequence;
		else
			state->expected++;
		error = visit(state, offset, &record);
		if (error)
			return error;
	}
}

/* What a file begins with, or nothing: a file made ready and not used yet. */
static int walk_begin(struct state *state, struct vg_record *ret_record, enum vg_record_verdict *ret_verdict)
{
	int error = vg_segment_read(&state->reader, ret_record, ret_verdict);

	if (error || *ret_verdict == VG_RECORD_END)
		return error;
	if (*ret_verdict == VG_RECORD_OK && !begins_right(state, ret_record))
		*ret_verdict = VG_RECORD_BAD;
	return 0;
}

/*
 * One file. What is not right in its end is nothing when the next file goes on where this one is right: the write that
 * failed was done again there.
 */
static int walk_segment(struct state *state, __u32 position, __u64 *ret_end, bool *ret_unfinished)
{
	enum vg_record_verdict verdict;
	struct vg_record record;
	__u64 former = state->result->offset;
	__u32 former_segment = position ? state->numbers[position - 1] : 0;
	int error = walk_begin(state, &record, &verdict);

	if (error)
		return error;
	if (verdict != VG_RECORD_OK) {
		*ret_end = 0;
		*ret_unfinished = true;
		state->result->offset = 0;
		if (verdict == VG_RECORD_BAD)
			stop(state, VG_WALK_TORN, 0);
		return 0;
	}
	if (!number_follows(state, record.sequence)) {
		/* The place that is not right is the end of the file before. */
		if (former_segment)
			state->result->segment = former_segment;
		else
			state->expected = state->walk->after + 1;
		stop(state, former_segment ? VG_WALK_TORN : VG_WALK_MISSING, former_segment ? former : 0);
		return 0;
	}
	state->expected = state->batch_first = record.sequence;
	error = visit(state, 0, &record) ?: walk_records(state, &verdict);
	state->result->bytes += state->reader.at;
	*ret_end = state->result->offset;
	*ret_unfinished = verdict == VG_RECORD_BAD;
	return error;
}

static int walk_all(struct state *state)
{
	bool unfinished = false, proof = false;
	__u32 position, last = 0;
	__u64 end = 0;
	int error = 0;

	for (position = 0; position < state->count && !error && !state->stopped; position++) {
		bool now_unfinished = false;
		__u64 now_end;

		error = open_segment(state, position);
		if (error)
			break;
		error = walk_segment(state, position, &now_end, &now_unfinished);
		vg_segment_close(&state->reader);
		if (error || state->stopped)
			break;
		/* A file that was only made ready counts if something follows it that should not. */
		if (now_unfinished && !now_end)
			continue;
		last = position;
		end = now_end;
		unfinished = now_unfinished;
	}
	if (error)
		return error;
	if (!state->stopped && state->count) {
		state->result->segment = state->numbers[last];
		state->result->offset = end;
		state->result->end = unfinished ? VG_WALK_TORN : VG_WALK_WHOLE;
	}
	if (!state->count || state->result->end == VG_WALK_MISSING)
		return 0;
	if (!state->expected)
		state->expected = state->walk->after + 1;
	/* Also behind zeros: a write may have been lost whose successor was not. */
	for (position = 0; state->numbers[position] != state->result->segment;)
		position++;
	error = look_for_proof(state, position, &proof);
	if (proof)
		state->result->end = VG_WALK_CORRUPT;
	return error;
}

int vg_segments_walk(const struct vg_walk *walk, struct vg_walk_result *ret_result)
{
	struct state state = { .walk = walk, .result = ret_result };
	int error;

	*ret_result = (struct vg_walk_result){ .end = VG_WALK_WHOLE };
	error = vg_segments_list(walk->directory_fd, &state.numbers, &state.count);
	if (error)
		return error;
	error = walk_all(&state);
	ret_result->expected = state.expected ? state.expected : walk->after + 1;
	free(state.numbers);
	return error;
}
