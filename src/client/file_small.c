/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whole files: in one request where they fit one; else opened, read or written, and closed. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "client/file.h"

/* A get or a put under way. */
struct whole {
	struct vg_remote_call call;
	struct virgo *v;
	struct virgo_file *file; /* of a large one */
	bool is_put;
	const void *data;
	size_t length, done_bytes;
	int flags;
	mode_t mode;
	__u8 *memory; /* of a get */
	struct virgo_file_stat stat;
	void **ret_data;
	size_t *ret_length;
	struct virgo_file_stat *ret_stat;
	ssize_t result;
	virgo_file_fn fn;
	void *context;
};

/* ---- its end --------------------------------------------------------------------------------------------------- */

static void finish(struct whole *whole, ssize_t result)
{
	virgo_file_fn fn = whole->fn;
	void *context = whole->context;

	if (!whole->is_put && !result && !whole->v->files->ending) {
		whole->memory[whole->length] = '\0';
		*whole->ret_data = whole->memory;
		*whole->ret_length = whole->length;
		if (whole->ret_stat)
			*whole->ret_stat = whole->stat;
	} else {
		free(whole->memory);
	}
	vg_remote_call_deinit(&whole->call);
	free(whole);
	fn(context, result);
}

static void closed(void *context, int error)
{
	struct whole *whole = context;

	/* What was read is here, whatever closing says. */
	finish(whole, whole->result ? whole->result : whole->is_put ? error : 0);
}

static void close_it(struct whole *whole, ssize_t result)
{
	whole->result = result;
	vg_remote_close_start(whole->v, whole->file, closed, whole);
}

/* ---- large ones ------------------------------------------------------------------------------------------------ */

static void go_on(struct whole *whole);

static void moved(void *context, ssize_t moved_bytes)
{
	struct whole *whole = context;

	if (moved_bytes < 0) {
		close_it(whole, moved_bytes);
		return;
	}
	whole->done_bytes += (size_t)moved_bytes;
	if (!moved_bytes && whole->is_put) {
		close_it(whole, -EIO);
		return;
	}
	/* It has become shorter meanwhile: this is all of it. */
	if (!moved_bytes)
		whole->length = whole->done_bytes;
	go_on(whole);
}

static void go_on(struct whole *whole)
{
	__u8 *at = whole->is_put ? (__u8 *)whole->data : whole->memory;
	int error;

	if (whole->done_bytes == whole->length) {
		close_it(whole, 0);
		return;
	}
	error = vg_remote_transfer(whole->v, whole->file, whole->is_put, at + whole->done_bytes,
				   whole->length - whole->done_bytes, whole->done_bytes, moved, whole);
	if (error)
		close_it(whole, error);
}

static void opened(void *context, int error, struct virgo_file *file)
{
	struct whole *whole = context;

	whole->file = file;
	if (error) {
		finish(whole, error);
		return;
	}
	whole->stat = file->opened;
	if (!whole->is_put) {
		whole->length = file->opened.size;
		free(whole->memory);
		whole->memory = whole->length < SIZE_MAX ? malloc(whole->length + 1) : NULL;
		if (!whole->memory) {
			close_it(whole, -ENOMEM);
			return;
		}
	}
	go_on(whole);
}

static void open_large(struct whole *whole)
{
	const int flags = whole->is_put ? whole->flags | O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY;
	int error = vg_remote_open_start(whole->v, whole->call.path, flags, whole->mode, NULL, opened, whole);

	if (error)
		finish(whole, error);
}

/* ---- small ones ------------------------------------------------------------------------------------------------ */

static void fetched(struct vg_remote_call *call)
{
	struct whole *whole = call->context;
	const struct vg_remote_request *request = &call->request;

	whole->memory = request->grown ? request->into : NULL;
	if (call->result == -EMSGSIZE || call->result == -EFBIG) {
		open_large(whole);
		return;
	}
	if (call->result) {
		finish(whole, call->result);
		return;
	}
	vg_remote_stat_read(request->front, &whole->stat);
	whole->length = request->answer_length;
	if (request->answer_flags & VG_FILE_STRIPED || whole->stat.size > whole->length)
		open_large(whole);
	else
		finish(whole, 0);
}

static void stored(struct vg_remote_call *call)
{
	struct whole *whole = call->context;

	if (!call->result && call->request.answer_flags & VG_FILE_STRIPED)
		open_large(whole);
	else
		finish(whole, call->result);
}

static void start_get(struct whole *whole)
{
	whole->call.request.front_bytes = sizeof(struct vg_file_stat);
	whole->call.request.grow = true;
	vg_remote_call_start(&whole->call, fetched, whole);
}

static void start_put(struct whole *whole)
{
	struct vg_remote_request *request = &whole->call.request;
	const int flags = whole->flags | O_WRONLY | O_CREAT | O_TRUNC;

	if (whole->length > VG_FILE_DATA_MAX) {
		open_large(whole);
		return;
	}
	request->argument = (__u64)vg_remote_open_flags(flags) << 32 | (whole->mode & 07777);
	request->flags = whole->flags & (O_SYNC | O_DSYNC) ? VG_FILE_DURABLE : 0;
	request->change = true;
	request->body = whole->data;
	request->body_length = (__u32)whole->length;
	vg_remote_call_start(&whole->call, stored, whole);
}

/* 0: fn is going to be called. */
static int start(struct virgo *v, const struct whole *wanted, const char *path)
{
	struct whole *whole = malloc(sizeof(*whole));
	int error;

	if (!whole)
		return -ENOMEM;
	*whole = *wanted;
	whole->v = v;
	vg_remote_call_init(&whole->call, v, whole->is_put ? VG_OP_FILE_PUT : VG_OP_FILE_FETCH);
	error = vg_remote_call_path(&whole->call, path);
	if (error) {
		free(whole);
		return error;
	}
	whole->call.follow = !(whole->flags & O_EXCL);
	if (whole->is_put)
		start_put(whole);
	else
		start_get(whole);
	return 0;
}

/* ---- the public calls ------------------------------------------------------------------------------------------ */

struct waiter {
	bool done;
	ssize_t result;
};

static void wake(void *context, ssize_t result)
{
	struct waiter *waiter = context;

	waiter->done = true;
	waiter->result = result;
}

static int carry_out(struct virgo *v, const struct whole *wanted, const char *path)
{
	struct waiter waiter = { 0 };
	struct whole waited = *wanted;
	int error = vg_remote_begin(v);

	waited.fn = wake;
	waited.context = &waiter;
	if (!error)
		error = start(v, &waited, path);
	if (error)
		return error == -EDEADLK ? error : vg_remote_explain(v, error, NULL);
	return (int)vg_remote_wait(v, &waiter.done, &waiter.result);
}

static int submit(struct virgo *v, struct whole *wanted, const char *path, virgo_file_fn fn, void *context)
{
	int error = vg_remote_take(v, fn, context, &wanted->context);

	if (error)
		return error;
	wanted->fn = vg_remote_taken_done;
	v->files->pending++;
	error = start(v, wanted, path);
	if (error) {
		v->files->pending--;
		free(wanted->context);
	}
	return error;
}

static int check_put(const void *data, size_t length, int flags)
{
	return (!data && length) || flags & ~(O_EXCL | O_SYNC | O_DSYNC) ? -EINVAL : 0;
}

int virgo_file_get(struct virgo *v, const char *path, void **ret_data, size_t *ret_length,
		   struct virgo_file_stat *ret_stat)
{
	struct whole wanted = { .ret_data = ret_data, .ret_length = ret_length, .ret_stat = ret_stat };

	return carry_out(v, &wanted, path);
}

int virgo_file_put(struct virgo *v, const char *path, const void *data, size_t length, int flags, mode_t mode)
{
	struct whole wanted = { .is_put = true, .data = data, .length = length, .flags = flags, .mode = mode };
	int error = check_put(data, length, flags);

	return error ? vg_remote_explain(v, error, NULL) : carry_out(v, &wanted, path);
}

int virgo_submit_file_put(struct virgo *v, const char *path, const void *data, size_t length, int flags, mode_t mode,
			  virgo_file_fn fn, void *context)
{
	struct whole wanted = { .is_put = true, .data = data, .length = length, .flags = flags, .mode = mode };
	int error = check_put(data, length, flags);

	return error ? error : submit(v, &wanted, path, fn, context);
}

int virgo_submit_file_get(struct virgo *v, const char *path, void **ret_data, size_t *ret_length, virgo_file_fn fn,
			  void *context)
{
	struct whole wanted = { .ret_data = ret_data, .ret_length = ret_length };

	return submit(v, &wanted, path, fn, context);
}
