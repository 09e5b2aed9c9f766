/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/segment.h"

#define PROGRESS_RECORDS 4096 /* between two words of how far it is */

struct state {
	const struct vg_recover *recover;
	struct vg_recovered *recovered;
	__u64 done_before, all_bytes; /* of the log's files */
	__u64 seen;
	char *why;
	size_t why_bytes;
};

static int complain(struct state *state, int error, const char *text)
{
	snprintf(state->why, state->why_bytes, "%s: %s", text, strerror(-error));
	return error;
}

/* ---- doing it again -------------------------------------------------------------------------------------------- */

static int note_file(struct state *state, __u32 number)
{
	struct vg_recovered *recovered = state->recovered;
	void *more;

	if (recovered->files && recovered->file[recovered->files - 1].number == number)
		return 0;
	more = reallocarray(recovered->file, recovered->files + 1, sizeof(*recovered->file));
	if (!more)
		return -ENOMEM;
	recovered->file = more;
	if (recovered->files)
		state->done_before += recovered->file[recovered->files - 1].bytes;
	recovered->file[recovered->files].number = number;
	recovered->file[recovered->files].last = 0;
	recovered->file[recovered->files++].bytes = 0;
	return 0;
}

static int on_record(void *context, __u32 segment, __u64 offset, const struct vg_record *record)
{
	struct state *state = context;
	const struct vg_recover *recover = state->recover;
	int error = note_file(state, segment);

	if (error)
		return error;
	state->recovered->file[state->recovered->files - 1].bytes = offset + record->length;
	if (recover->progress && state->seen++ % PROGRESS_RECORDS == 0)
		recover->progress(recover->context, "log", state->done_before + offset, state->all_bytes);
	if (record->kind >= VG_RECORD_SEGMENT)
		return 0;
	state->recovered->file[state->recovered->files - 1].last = record->sequence;
	if (record->sequence <= state->recovered->snapshot)
		return 0;
	state->recovered->records++;
	error = vg_record_apply(recover->store, record);
	if (error)
		snprintf(state->why, state->why_bytes, "change %llu of the log cannot be done again: %s%s",
			 record->sequence, strerror(-error),
			 error == -ENOMEM ? " (is --arena-size or --heap-size smaller than it was?)" : "");
	return error;
}

static int load_snapshot(struct state *state)
{
	const struct vg_recover *recover = state->recover;
	int error;

	if (!recover->load)
		return 0;
	error = recover->load(recover->store, recover->directory_fd, recover->progress, recover->context,
			      &state->recovered->snapshot, state->why, state->why_bytes);
	return error == -ENOENT ? 0 : error;
}

/* ---- an end that is not right ---------------------------------------------------------------------------------- */

/* Keep a file beside, under another name: the whole of it. */
static int keep_damaged(int directory_fd, const char *name)
{
	char damaged[VG_SEGMENT_NAME_BYTES + 16];

	snprintf(damaged, sizeof(damaged), "%s.damaged", name);
	return renameat(directory_fd, name, directory_fd, damaged) ? -errno : 0;
}

static int copy_front(int directory_fd, const char *name, __u64 bytes)
{
	char damaged[VG_SEGMENT_NAME_BYTES + 16];
	int from, to, error = 0;

	snprintf(damaged, sizeof(damaged), "%s.damaged", name);
	from = openat(directory_fd, damaged, O_RDONLY | O_CLOEXEC);
	to = openat(directory_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (from < 0 || to < 0)
		error = -errno;
	while (!error && bytes) {
		ssize_t copied = copy_file_range(from, NULL, to, NULL, bytes, 0);

		if (copied <= 0)
			error = copied ? -errno : -EIO;
		else
			bytes -= (__u64)copied;
	}
	if (!error && fsync(to))
		error = -errno;
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return error;
}

/* What is behind `bytes` of the file goes; false in *ret_cut: there was nothing but zeros, or nothing at all. */
static int cut_file(struct state *state, const char *name, __u64 bytes)
{
	int fd = openat(state->recover->directory_fd, name, O_RDWR | O_CLOEXEC), error = 0;
	__u8 buffer[65536];
	__u64 at = bytes, last = 0;
	ssize_t got = 1;

	if (fd < 0)
		return -errno;
	while ((got = pread(fd, buffer, sizeof(buffer), (off_t)at)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			if (buffer[i])
				last = at + (__u64)i + 1;
		at += (__u64)got;
	}
	if (got < 0 || ftruncate(fd, (off_t)bytes) || fsync(fd))
		error = -errno;
	close(fd);
	if (last) {
		state->recovered->cut_bytes += last - bytes;
		memcpy(state->recovered->cut_name, name, VG_SEGMENT_NAME_BYTES);
	}
	return error;
}

/* Files behind the last good one: empty ones that were made ready, or what a cut takes along. */
static int drop_file(struct state *state, const char *name, bool keep)
{
	int directory_fd = state->recover->directory_fd;
	int error = keep ? 0 : cut_file(state, name, 0);

	if (keep)
		return keep_damaged(directory_fd, name);
	return error ?: unlinkat(directory_fd, name, 0) ? -errno : 0;
}

static int settle_end(struct state *state, const struct vg_walk_result *result)
{
	bool damaged = result->end == VG_WALK_CORRUPT || result->end == VG_WALK_MISSING;
	int directory_fd = state->recover->directory_fd, error;
	char name[VG_SEGMENT_NAME_BYTES];
	__u32 *numbers, count;

	error = vg_segments_list(directory_fd, &numbers, &count);
	for (__u32 i = 0; !error && i < count; i++) {
		vg_segment_name(numbers[i], name);
		if (numbers[i] > state->recovered->segment)
			state->recovered->segment = numbers[i];
		if (numbers[i] < result->segment)
			continue;
		if (numbers[i] > result->segment || result->end == VG_WALK_MISSING)
			error = drop_file(state, name, damaged);
		else if (!damaged)
			error = cut_file(state, name, result->offset);
		else
			error = keep_damaged(directory_fd, name) ?: copy_front(directory_fd, name, result->offset);
	}
	free(numbers);
	if (!error && fsync(directory_fd))
		error = -errno;
	return error;
}

static int judge(struct state *state, const struct vg_walk_result *result)
{
	char name[VG_SEGMENT_NAME_BYTES];

	vg_segment_name(result->segment, name);
	if (result->end == VG_WALK_WHOLE || result->end == VG_WALK_TORN)
		return 0;
	state->recovered->repaired = state->recover->repair;
	if (state->recover->repair)
		return 0;
	if (result->end == VG_WALK_MISSING)
		snprintf(state->why, state->why_bytes,
			 "the log begins too late: change %llu is in no file before %s, and in no snapshot; "
			 "--repair-log starts without what is behind it",
			 result->expected, name);
	else
		snprintf(state->why, state->why_bytes,
			 "%s is damaged at byte %llu: change %llu was safe there once and is not readable; "
			 "virgo check-log shows more, --repair-log starts with what is before it",
			 name, result->offset, result->expected);
	return -EBADMSG;
}

/* ---- all of it ------------------------------------------------------------------------------------------------- */

static int measure(struct state *state)
{
	int directory_fd = state->recover->directory_fd, error;
	char name[VG_SEGMENT_NAME_BYTES];
	__u32 *numbers, count;
	struct stat status;

	error = vg_segments_list(directory_fd, &numbers, &count);
	if (error)
		return error;
	for (__u32 i = 0; i < count; i++) {
		vg_segment_name(numbers[i], name);
		if (!fstatat(directory_fd, name, &status, 0))
			state->all_bytes += (__u64)status.st_size;
	}
	free(numbers);
	return 0;
}

int vg_recover(const struct vg_recover *recover, struct vg_recovered *recovered, char *why, size_t why_bytes)
{
	struct state state = { .recover = recover, .recovered = recovered, .why = why, .why_bytes = why_bytes };
	struct vg_walk walk = { .directory_fd = recover->directory_fd, .record = on_record, .context = &state };
	struct vg_walk_result result;
	int error;

	*recovered = (struct vg_recovered){ 0 };
	why[0] = '\0';
	error = measure(&state) ?: load_snapshot(&state);
	if (error)
		return why[0] ? error : complain(&state, error, "cannot read the data directory");
	walk.after = recovered->snapshot;
	error = vg_segments_walk(&walk, &result);
	if (error)
		return why[0] ? error : complain(&state, error, "cannot read the log");
	error = judge(&state, &result);
	if (error)
		return error;
	error = settle_end(&state, &result);
	if (error)
		return complain(&state, error, "cannot cut the end of the log");
	recovered->identity = result.identity;
	recovered->sequence = result.expected - 1 > recovered->snapshot ? result.expected - 1 : recovered->snapshot;
	vg_store_handles_restored(recover->store);
	recovered->expired = vg_store_sweep(recover->store, ~0u, recover->now_ms);
	return 0;
}

void vg_recovered_free(struct vg_recovered *recovered)
{
	free(recovered->file);
	recovered->file = NULL;
	recovered->files = 0;
}
