/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The public calls on open files. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/file.h"

struct waiter {
	bool done;
	ssize_t result;
	struct virgo_file *file;
};

static void wake(void *context, ssize_t result)
{
	struct waiter *waiter = context;

	waiter->done = true;
	waiter->result = result;
}

/* What has not even begun. */
static int refuse(struct virgo *v, int error)
{
	return error == -EDEADLK ? error : vg_remote_explain(v, error, NULL);
}

/* ---- opening and closing --------------------------------------------------------------------------------------- */

static void opened(void *context, int error, struct virgo_file *file)
{
	struct waiter *waiter = context;

	waiter->file = file;
	wake(context, error);
}

static int open_and_wait(struct virgo *v, const char *path, int flags, mode_t mode,
			 const struct vg_file_stripes *stripes, struct virgo_file **ret_file)
{
	struct waiter waiter = { 0 };
	int error = vg_remote_begin(v);

	if (!error)
		error = vg_remote_open_start(v, path, flags, mode, stripes, opened, &waiter);
	if (error)
		return refuse(v, error);
	error = (int)vg_remote_wait(v, &waiter.done, &waiter.result);
	if (!error)
		*ret_file = waiter.file;
	return error;
}

int virgo_open(struct virgo *v, const char *path, int flags, mode_t mode, struct virgo_file **ret_file)
{
	return open_and_wait(v, path, flags, mode, NULL, ret_file);
}

int virgo_open_striped(struct virgo *v, const char *path, int flags, mode_t mode, uint32_t unit, unsigned int count,
		       struct virgo_file **ret_file)
{
	struct vg_file_stripes stripes = { .unit = VG_HTOBE32(unit ? unit : VG_REMOTE_STRIPE_UNIT),
					   .count = VG_HTOBE16((__u16)count) };

	if (count > VG_FILE_STRIPES_MAX || unit % 65536 || flags & O_APPEND)
		return refuse(v, -EINVAL);
	return open_and_wait(v, path, flags | O_CREAT | O_EXCL, mode, &stripes, ret_file);
}

static void closed(void *context, int error)
{
	wake(context, error);
}

int virgo_close(struct virgo *v, struct virgo_file *file)
{
	struct waiter waiter = { 0 };
	int error = vg_remote_begin(v);

	if (error || !file)
		return error;
	vg_remote_close_start(v, file, closed, &waiter);
	return (int)vg_remote_wait(v, &waiter.done, &waiter.result);
}

const struct virgo_file_stat *virgo_opened_stat(const struct virgo_file *file)
{
	return &file->opened;
}

/* ---- reading and writing --------------------------------------------------------------------------------------- */

static ssize_t transfer(struct virgo *v, struct virgo_file *file, bool is_write, void *buffer, size_t length,
			uint64_t offset)
{
	struct waiter waiter = { 0 };
	int error = vg_remote_begin(v);

	if (!length && !error)
		return 0;
	if (!error)
		error = vg_remote_transfer(v, file, is_write, buffer, length, offset, wake, &waiter);
	if (error)
		return refuse(v, error);
	return vg_remote_wait(v, &waiter.done, &waiter.result);
}

ssize_t virgo_pread(struct virgo *v, struct virgo_file *file, void *buffer, size_t length, uint64_t offset)
{
	return transfer(v, file, false, buffer, length, offset);
}

ssize_t virgo_pwrite(struct virgo *v, struct virgo_file *file, const void *data, size_t length, uint64_t offset)
{
	return transfer(v, file, true, (void *)data, length, offset);
}

ssize_t virgo_read(struct virgo *v, struct virgo_file *file, void *buffer, size_t length)
{
	ssize_t got = transfer(v, file, false, buffer, length, file->position);

	if (got > 0)
		file->position += (uint64_t)got;
	return got;
}

ssize_t virgo_write(struct virgo *v, struct virgo_file *file, const void *data, size_t length)
{
	ssize_t put = transfer(v, file, true, (void *)data, length, file->position);

	/* What was appended has moved it already. */
	if (put > 0 && !(file->flags & O_APPEND))
		file->position += (uint64_t)put;
	return put;
}

/* ---- vectors: through memory of our own, but a single one or long ones ----------------------------------------- */

#define VECTOR_ALONE_BYTES 65536 /* vectors from here on are asked for one by one */

static ssize_t total_of(const struct iovec *vectors, int count, bool *ret_long)
{
	size_t total = 0;

	if (count < 0 || count > IOV_MAX)
		return -EINVAL;
	*ret_long = true;
	for (int i = 0; i < count; i++) {
		if (vectors[i].iov_len > (size_t)SSIZE_MAX - total)
			return -EINVAL;
		total += vectors[i].iov_len;
		*ret_long = *ret_long && vectors[i].iov_len >= VECTOR_ALONE_BYTES;
	}
	return (ssize_t)total;
}

static ssize_t one_by_one(struct virgo *v, struct virgo_file *file, bool is_write, const struct iovec *vectors,
			  int count, uint64_t offset)
{
	ssize_t done = 0;

	for (int i = 0; i < count; i++) {
		ssize_t got = transfer(v, file, is_write, vectors[i].iov_base, vectors[i].iov_len,
				       offset + (uint64_t)done);

		if (got < 0)
			return done ? done : got;
		done += got;
		if ((size_t)got < vectors[i].iov_len)
			break;
	}
	return done;
}

static ssize_t vectored(struct virgo *v, struct virgo_file *file, bool is_write, const struct iovec *vectors,
			int count, uint64_t offset)
{
	bool is_long;
	ssize_t total = total_of(vectors, count, &is_long), result;
	size_t at = 0, part;
	__u8 *memory;

	if (total < 0)
		return refuse(v, (int)total);
	/* What is appended goes as one step, if it can. */
	if (count == 1 || (is_long && !(is_write && file->flags & O_APPEND)))
		return one_by_one(v, file, is_write, vectors, count, offset);
	/* O_DIRECT asks nothing of our memory: it is the node's that is aligned. */
	memory = malloc((size_t)total + 1);
	if (!memory)
		return refuse(v, -ENOMEM);
	for (int i = 0; i < count && is_write; at += vectors[i++].iov_len)
		if (vectors[i].iov_len)
			memcpy(memory + at, vectors[i].iov_base, vectors[i].iov_len);
	result = transfer(v, file, is_write, memory, (size_t)total, offset);
	at = 0;
	for (int i = 0; i < count && !is_write && result > (ssize_t)at; i++, at += part) {
		part = (size_t)result - at < vectors[i].iov_len ? (size_t)result - at : vectors[i].iov_len;
		if (part)
			memcpy(vectors[i].iov_base, memory + at, part);
	}
	free(memory);
	return result;
}

ssize_t virgo_preadv(struct virgo *v, struct virgo_file *file, const struct iovec *vectors, int count, uint64_t offset)
{
	return vectored(v, file, false, vectors, count, offset);
}

ssize_t virgo_pwritev(struct virgo *v, struct virgo_file *file, const struct iovec *vectors, int count,
		      uint64_t offset)
{
	return vectored(v, file, true, vectors, count, offset);
}

/* ---- without waiting ------------------------------------------------------------------------------------------- */

struct submission {
	struct virgo *v;
	virgo_file_fn fn;
	void *context;
};

void vg_remote_taken_done(void *context, ssize_t result)
{
	struct submission submission = *(struct submission *)context;

	free(context);
	vg_remote_deliver(submission.v, submission.fn, submission.context, result);
}

/* A place for a submission: 0, -EAGAIN, -ENOMEM. */
int vg_remote_take(struct virgo *v, virgo_file_fn fn, void *context, void **ret_submission)
{
	struct submission *submission;

	if (!fn)
		return -EINVAL;
	if (virgo_pending(v) >= v->limit)
		return -EAGAIN;
	submission = malloc(sizeof(*submission));
	if (!submission)
		return -ENOMEM;
	*submission = (struct submission){ v, fn, context };
	*ret_submission = submission;
	return 0;
}

static int submit_transfer(struct virgo *v, struct virgo_file *file, bool is_write, void *buffer, size_t length,
			   uint64_t offset, virgo_file_fn fn, void *context)
{
	void *submission;
	int error = length ? vg_remote_take(v, fn, context, &submission) : -EINVAL;

	if (error)
		return error;
	v->files->pending++;
	error = vg_remote_transfer(v, file, is_write, buffer, length, offset, vg_remote_taken_done, submission);
	if (error) {
		v->files->pending--;
		free(submission);
	}
	return error;
}

int virgo_submit_pread(struct virgo *v, struct virgo_file *file, void *buffer, size_t length, uint64_t offset,
		       virgo_file_fn fn, void *context)
{
	return submit_transfer(v, file, false, buffer, length, offset, fn, context);
}

int virgo_submit_pwrite(struct virgo *v, struct virgo_file *file, const void *data, size_t length, uint64_t offset,
			virgo_file_fn fn, void *context)
{
	return submit_transfer(v, file, true, (void *)data, length, offset, fn, context);
}

static void synced(struct vg_remote_each *each)
{
	void *submission = each->context;
	int error = each->error;

	free(each);
	vg_remote_taken_done(submission, error);
}

int virgo_submit_fsync(struct virgo *v, struct virgo_file *file, int data_only, virgo_file_fn fn, void *context)
{
	struct vg_remote_each *each;
	void *submission;
	int error = vg_remote_take(v, fn, context, &submission);

	if (error)
		return error;
	error = vg_remote_each_new(v, file, VG_OP_FILE_SYNC, &each);
	if (error) {
		free(submission);
		return error;
	}
	for (unsigned int i = 0; i < file->count; i++)
		each->requests[i].flags = data_only ? VG_FILE_DATA_ONLY : 0;
	v->files->pending++;
	vg_remote_each_start(each, synced, submission);
	return 0;
}
