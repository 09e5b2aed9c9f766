// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * FETCH and PUT: a small file in one request, without a descriptor. What is in memory is fetched at once, by four
 * system calls that cannot wait; else a helper opens the file and the ring reads it. A file is put by one call on a
 * helper thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>

#include "svc/file/bytes.h"
#include "svc/file/disk.h"

/* ---- FETCH ----------------------------------------------------------------------------------------------------- */

/* The answer: a stat, and the bytes behind it; of a larger file the first ones. */
static __u32 fetch_bytes(const struct statx *stat)
{
	return stat->stx_size < VG_FILE_DATA_MAX ? (__u32)stat->stx_size : VG_FILE_DATA_MAX;
}

static void fetch_end(struct vg_file_op *op, int error)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	vg_io_try_close(op->pool->env->io, own->fd);
	if (error) {
		vg_op_fail(op, error);
		return;
	}
	vg_bytes_count(&op->pool->counts.read_bytes, own->done);
	vg_file_stat_pack(op->pool, &own->stat, (struct vg_file_stat *)op->buffer);
	op->answer.body = op->buffer;
	op->answer.body_length = (__u32)sizeof(struct vg_file_stat) + own->done;
	vg_op_ok(op);
}

static void fetch_more(struct vg_file_op *op);

static void on_fetched(void *owner, const struct vg_io_event *event)
{
	struct vg_file_op *op = owner;
	struct vg_bytes_op *own = vg_bytes_op(op);
	bool again = event->result == -EINTR || event->result == -EAGAIN;

	vg_env_turn(op->pool->env);
	op->io_op = 0;
	own->done += event->result > 0 ? (__u32)event->result : 0;
	if (event->result < 0 && !again)
		fetch_end(op, event->result);
	else if (!event->result || own->done == own->length)
		fetch_end(op, 0);
	else
		fetch_more(op);
}

static void fetch_more(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	__u8 *to = op->buffer + sizeof(struct vg_file_stat) + own->done;
	struct iovec vector = { to, own->length - own->done };
	int error = vg_io_read(op->pool->env->io, own->fd, &vector, 1, own->done, on_fetched, op, &op->io_op);

	if (error)
		fetch_end(op, error);
}

static void on_opened(struct vg_file_op *op, int error)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	if (error) {
		vg_op_fail(op, error);
		return;
	}
	own->length = fetch_bytes(&own->stat);
	if (!vg_op_charge(op, own->length))
		own->length = 0; /* there is no memory for it now: who asks sees how much there is, and reads it */
	error = vg_op_buffer(op, (__u32)sizeof(struct vg_file_stat) + own->length);
	if (error || !own->length)
		fetch_end(op, error);
	else
		fetch_more(op);
}

/* All of a small file that is in memory, into the connection's output: its length, or -EAGAIN. */
static int fetch_in_place(struct vg_file_op *op, int fd, const struct statx *stat)
{
	__u32 length = (__u32)stat->stx_size, done = 0;
	__u8 *to = vg_op_in_place(op, (__u32)sizeof(struct vg_file_stat) + length);
	struct vg_file_stat packed;

	if (!to)
		return -EAGAIN;
	vg_file_stat_pack(op->pool, stat, &packed);
	memcpy(to, &packed, sizeof(packed)); /* wherever the output has come to */
	to += sizeof(packed);
	while (done < length) {
		struct iovec vector = { to + done, length - done };
		int bytes = vg_io_try_read(op->pool->env->io, fd, &vector, 1, done);

		if (bytes < 0)
			return bytes;
		if (!bytes)
			break; /* it was cut off meanwhile */
		done += (__u32)bytes;
	}
	return (int)done;
}

/* Bytes, -EAGAIN: not so, or another error. */
static int fetch_cached(struct vg_file_op *op)
{
	struct vg_io *io = op->pool->env->io;
	struct open_how how;
	struct statx stat;
	int fd, bytes;

	vg_disk_how(&how, O_RDONLY | O_NOFOLLOW, 0);
	fd = op->path_length ? vg_io_try_open(io, op->pool->root_fd, op->path, &how) : -EISDIR;
	if (fd < 0)
		return fd == -ENOENT ? -ENOENT : -EAGAIN; /* what else is wrong the helper says in its own words */
	bytes = vg_io_try_stat(io, fd, &stat);
	if (!bytes && !S_ISREG(stat.stx_mode))
		bytes = -EAGAIN;
	if (!bytes && stat.stx_size > VG_FILE_IN_PLACE_MAX - sizeof(struct vg_file_stat))
		bytes = -EAGAIN;
	if (!bytes)
		bytes = fetch_in_place(op, fd, &stat);
	vg_io_try_close(io, fd);
	return bytes;
}

void vg_bytes_fetch(struct vg_file_op *op)
{
	int bytes = op->kept ? -EAGAIN : fetch_cached(op);

	if (bytes >= 0) {
		vg_bytes_count(&op->pool->counts.inline_reads, 1);
		vg_bytes_count(&op->pool->counts.read_bytes, (__u32)bytes);
		vg_op_ok_in_place(op, (__u32)sizeof(struct vg_file_stat) + (__u32)bytes);
	} else if (bytes == -EAGAIN) {
		vg_op_work(op, vg_disk_fetch, on_opened);
	} else {
		vg_op_fail(op, bytes);
	}
}

/* ---- PUT ------------------------------------------------------------------------------------------------------- */

static void on_put(struct vg_file_op *op, int error)
{
	if (error) {
		vg_op_fail(op, error);
		return;
	}
	vg_bytes_count(&op->pool->counts.written_bytes, op->body_length);
	vg_op_answer_stat(op, &vg_bytes_op(op)->stat);
	vg_op_ok(op);
}

void vg_bytes_put(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	__u16 flags = (__u16)(op->argument >> 32);
	int open_flags = vg_file_open_flags(flags | VG_FILE_O_WRITE);

	/* Bytes from memory that is not aligned, and where they go is the start. */
	if (open_flags < 0 || flags & (VG_FILE_O_DIRECT | VG_FILE_O_DIRECTORY | VG_FILE_O_APPEND) || !op->path_length) {
		vg_op_fail(op, op->path_length ? -EINVAL : -EISDIR);
		return;
	}
	own->flags = (open_flags & ~O_TRUNC) | (flags & VG_FILE_O_CREATE ? O_CREAT : 0) |
		     (flags & VG_FILE_O_EXCLUSIVE ? O_EXCL : 0);
	own->cuts = flags & VG_FILE_O_TRUNCATE;
	own->mode = (int)vg_file_mode(op->pool, (__u32)op->argument);
	own->durable = op->flags & VG_FILE_DURABLE || flags & VG_FILE_O_SYNC;
	if (own->durable || op->body_length > VG_BRIEF_BYTES_MAX)
		vg_op_work_long(op, vg_disk_put, on_put);
	else
		vg_op_work(op, vg_disk_put, on_put);
}
