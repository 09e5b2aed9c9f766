/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A large file on its way. cp writes into the file itself. sync writes beside it, notes on the way how far it has come
 * and what the bytes so far hash to, and puts the whole file in its place: who is interrupted goes on from the note,
 * if the source is still the same and what is there still hashes to what was noted.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/file.h"
#include "virgo/file.h"

#define PART_NOTE "user.virgo-part"
#define NOTE_BYTES (32u << 20) /* between two notes; a multiple of the stream's chunks */
#define RANGE_BYTES (64u << 20)

struct transfer {
	struct file_copy *copy;
	struct virgo *virgo;
	const struct file_job *job;
	struct file_place to; /* what is written: the file, or the one beside it */
	struct file_end in, out;
	struct file_hash *hash; /* of what was sent; NULL for cp */
	__u64 start, told, hashed;
	__u64 note_at, note_value; /* what the bytes before that hash to; 0: none waits for being written */
	bool notes;
};

/*
 * Beside the file, and under a name whose partition is the file's: the node that will own the name has the bytes, so
 * that the rename at the end moves nothing and leaves no stub. Found again by who comes to resume.
 */
static int part_path(struct file_place final, char *buffer)
{
	__u32 length = (__u32)strlen(final.path), offset = vg_file_name_offset(final.path, length);
	__u16 wanted = vg_file_partition(final.path, length);
	int stem = (int)(length - offset < 200 ? length - offset : 200), all;
	unsigned int tries = final.pool ? 16 * VG_PARTITIONS : 1;

	for (unsigned int number = 0; number < tries; number++) {
		all = snprintf(buffer, FILE_PATH_BYTES, "%.*s.%.*s.%x.part", (int)offset, final.path, stem,
			       final.path + offset, number);
		if (all < 0 || all >= FILE_PATH_BYTES)
			return -ENAMETOOLONG;
		if (vg_file_partition(buffer, (__u32)all) == wanted)
			break;
	}
	return 0;
}

/* ---- going on -------------------------------------------------------------------------------------------------- */

/* How far a former run came, by its note; 0: there is none, or it was about something else. */
static __u64 noted(struct transfer *transfer, __u64 *ret_value)
{
	const struct virgo_file_stat *stat = &transfer->job->stat;
	uint64_t offset, value, size;
	struct virgo_file_stat part;
	int64_t modified_ns;
	char text[120];

	if (file_stat(transfer->virgo, transfer->to, false, &part) || !file_is(&part, S_IFREG) ||
	    file_get_note(transfer->virgo, transfer->to, PART_NOTE, text, sizeof(text)) ||
	    sscanf(text, "%" SCNu64 " %" SCNx64 " %" SCNu64 " %" SCNd64, &offset, &value, &size, &modified_ns) != 4)
		return 0;
	if (size != stat->size || modified_ns != stat->modified_ns || offset > part.size || offset % NOTE_BYTES)
		return 0;
	*ret_value = value;
	return offset;
}

/* Both files are open. Where to begin; the hash has been fed what is before that. Reads what is here, if either is. */
static int find_start(struct transfer *transfer)
{
	struct file_end *read = transfer->in.file && !transfer->out.file ? &transfer->out : &transfer->in;
	__u64 value, offset = noted(transfer, &value);
	int error;

	if (!offset)
		return 0;
	error = file_hash_read(transfer->virgo, read, offset, transfer->hash);
	if (!error && file_hash_value(transfer->hash) == value) {
		transfer->start = transfer->told = transfer->hashed = offset;
		file_resumed(transfer->copy, offset);
		return 0;
	}
	file_hash_free(transfer->hash);
	transfer->hash = file_hash_new();
	return transfer->hash ? 0 : -ENOMEM;
}

static void seen(void *context, const void *data, size_t length)
{
	struct transfer *transfer = context;

	if (!transfer->hash)
		return;
	file_hash_add(transfer->hash, data, length);
	transfer->hashed += length;
	if (transfer->notes && !(transfer->hashed % NOTE_BYTES) && !transfer->note_at) {
		transfer->note_at = transfer->hashed;
		transfer->note_value = file_hash_value(transfer->hash);
	}
}

/* The note is about bytes that are on the disk. */
static int write_note(struct transfer *transfer)
{
	char text[120];
	int error = file_fdatasync(transfer->virgo, &transfer->out);

	if (error)
		return error;
	(void)snprintf(text, sizeof(text), "%" PRIu64 " %016" PRIx64 " %" PRIu64 " %" PRId64,
		       (uint64_t)transfer->note_at, (uint64_t)transfer->note_value, transfer->job->stat.size,
		       transfer->job->stat.modified_ns);
	/* A disk without attributes: an interrupted run begins anew. */
	if (file_set_note(transfer->virgo, transfer->to, PART_NOTE, text))
		transfer->notes = false;
	transfer->note_at = 0;
	return 0;
}

static int progress(void *context, __u64 written)
{
	struct transfer *transfer = context;

	file_copied(transfer->copy, written - transfer->told);
	transfer->told = written;
	return transfer->note_at && written >= transfer->note_at ? write_note(transfer) : 0;
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* Within one node, without the bytes coming here. -EXDEV: they are of two. */
static int copy_on_server(struct transfer *transfer)
{
	__u64 at = 0;

	for (;;) {
		ssize_t done = virgo_copy_range(transfer->virgo, transfer->in.file, at, transfer->out.file, at,
						RANGE_BYTES);

		if (done < 0)
			return at ? (int)done : -EXDEV;
		if (!done)
			return 0;
		at += (__u64)done;
		(void)progress(transfer, at);
	}
}

static int copy_bytes(struct transfer *transfer)
{
	struct file_stream stream = { .virgo = transfer->virgo,
				      .from = &transfer->in,
				      .to = &transfer->out,
				      .offset = transfer->start,
				      .seen = seen,
				      .progress = progress,
				      .context = transfer };
	__u64 end;
	int error = -EXDEV;

	if (transfer->in.file && transfer->out.file && !transfer->hash)
		error = copy_on_server(transfer);
	if (error != -EXDEV)
		return error;
	error = file_stream_run(&stream, &end);
	/* What was there before may have been longer. */
	if (!error && transfer->copy->sync)
		error = file_truncate(transfer->virgo, &transfer->out, end);
	return error ? error : transfer->copy->sync ? file_fdatasync(transfer->virgo, &transfer->out) : 0;
}

static int open_both(struct transfer *transfer)
{
	struct file_copy *copy = transfer->copy;
	const struct file_job *job = transfer->job;
	int flags = O_RDWR | O_CREAT | (copy->sync ? 0 : O_TRUNC) | (copy->no_replace ? O_EXCL : 0), error;

	error = file_open(transfer->virgo, file_from(copy, job->from), O_RDONLY, 0, 0, &transfer->in);
	if (error)
		return error;
	if (!copy->to_pool && !copy->sync)
		flags = (flags & ~O_RDWR) | O_WRONLY; /* a device, a pipe */
	return file_open(transfer->virgo, transfer->to, flags, job->stat.mode & 0777, copy->to_pool ? copy->stripes : 0,
			 &transfer->out);
}

static int put_in_place(struct transfer *transfer)
{
	struct file_copy *copy = transfer->copy;
	__u64 value = transfer->hash ? file_hash_value(transfer->hash) : 0;
	bool whole = transfer->hash && transfer->hashed == transfer->job->stat.size;
	int error;

	if (copy->sync)
		(void)file_remove_note(transfer->virgo, transfer->to, PART_NOTE);
	error = file_finish(copy, transfer->virgo, transfer->job, transfer->to, whole ? &value : NULL);
	if (!error && copy->sync)
		error = file_rename(transfer->virgo, transfer->to, transfer->job->to);
	/* What is wrong in it is not to be gone on from. */
	if (error == -EBADMSG && copy->sync)
		(void)file_unlink(transfer->virgo, transfer->to, false);
	return error;
}

int file_transfer(struct file_copy *copy, struct virgo *virgo, const struct file_job *job)
{
	struct transfer transfer = { .copy = copy,
				     .virgo = virgo,
				     .job = job,
				     .to = file_to(copy, job->to),
				     .in = { .fd = -1 },
				     .out = { .fd = -1 },
				     .notes = copy->sync };
	char part[FILE_PATH_BYTES];
	int error = copy->sync ? part_path(transfer.to, part) : 0, closed;

	if (error)
		return error;
	if (copy->sync) {
		transfer.to.path = part;
		transfer.hash = file_hash_new();
		if (!transfer.hash)
			return -ENOMEM;
	}
	error = open_both(&transfer);
	if (!error && copy->sync)
		error = find_start(&transfer);
	error = error ? error : copy_bytes(&transfer);
	closed = file_close(virgo, &transfer.out);
	error = error ? error : closed;
	(void)file_close(virgo, &transfer.in);
	error = error ? error : put_in_place(&transfer);
	file_hash_free(transfer.hash);
	return error;
}
