// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * READ and WRITE. What is in the page cache is read at once, a small answer straight into the connection's output; what
 * is not, or is large, goes through the ring. A write waits for earlier ones that it overlaps (order.c). A durable one
 * that is small goes with its group (durable.c); another small one is a brief call, since the ring would have a thread
 * of the kernel's make it; so is one at the end, to learn where that was. What is large goes through the ring.
 */
#include "svc/file/data.h"

#include <errno.h>
#include <string.h>

#include "svc/file/bytes.h"
#include "svc/file/disk.h"

/* So much is copied by a thread of the kernel's, so that who streams does not hold up who asks for little. */
#define READ_ASIDE_BYTES (256u << 10)
#define CLOSE_ASIDE_BYTES (16u << 20)

int vg_bytes_init(struct vg_file_pool *pool)
{
	struct vg_bytes_pool *data = vg_file_alloc(pool, sizeof(*data));

	if (!data)
		return -ENOMEM;
	*data = (struct vg_bytes_pool){ 0 };
	data->ready_end = &data->ready;
	pool->data = data;
	return 0;
}

void vg_bytes_deinit(struct vg_file_pool *pool)
{
	vg_file_free(pool, pool->data);
	pool->data = NULL;
}

static int close_work(void *fd)
{
	vg_disk_close((int)(long)fd);
	return 0;
}

static void on_closed(void *owner, const struct vg_io_event *event)
{
}

void vg_bytes_close(struct vg_file_pool *pool, int fd)
{
	struct vg_io *io = pool->env->io;
	struct statx stat;

	if (vg_io_try_stat(io, fd, &stat) || stat.stx_nlink || stat.stx_blocks * 512 < CLOSE_ASIDE_BYTES ||
	    vg_io_call(io, close_work, (void *)(long)fd, on_closed, NULL, NULL))
		vg_io_try_close(io, fd);
}

/* The kernel counts offsets in signed 64 bits; what is past the page cache it wants aligned. */
static int range_error(const struct vg_bytes_op *own)
{
	if (own->offset > VG_FILE_OFFSET_MAX - own->length)
		return -EINVAL;
	if (own->direct && (own->offset % VG_FILE_DIRECT_ALIGN || own->length % VG_FILE_DIRECT_ALIGN))
		return -EINVAL;
	return 0;
}

/* ---- READ ------------------------------------------------------------------------------------------------------ */

static void answer_read(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	vg_bytes_count(&op->pool->counts.read_bytes, own->done);
	op->answer.body = op->buffer;
	op->answer.body_length = own->done;
	vg_op_ok(op);
}

static void read_more(struct vg_file_op *op);

/* The ring gives fewer bytes than there are when it pleases; nothing is the end of the file. */
static void on_read(void *owner, const struct vg_io_event *event)
{
	struct vg_file_op *op = owner;
	struct vg_bytes_op *own = vg_bytes_op(op);
	bool again = event->result == -EINTR || event->result == -EAGAIN;

	vg_env_turn(op->pool->env);
	op->io_op = 0;
	if (event->result < 0 && !again) {
		vg_op_fail(op, event->result);
		return;
	}
	own->done += event->result > 0 ? (__u32)event->result : 0;
	if (!event->result || own->done == own->length || (own->direct && own->done % VG_FILE_DIRECT_ALIGN))
		answer_read(op);
	else
		read_more(op);
}

static void read_more(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct iovec vector = { op->buffer + own->done, own->length - own->done };
	bool aside = !own->direct && own->length >= READ_ASIDE_BYTES;
	int error = (aside ? vg_io_read_aside : vg_io_read)(op->pool->env->io, op->descriptor->fd, &vector, 1,
							    own->offset + own->done, on_read, op, &op->io_op);

	if (error)
		vg_op_fail(op, error);
}

/*
 * What the page cache has of the range, to `to`: all there is of it up to the end of the file (0), or a part
 * (-EAGAIN). own->done counts.
 */
static int read_cached(struct vg_file_op *op, __u8 *to)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	for (;;) {
		struct iovec vector = { to + own->done, own->length - own->done };
		int bytes = vg_io_try_read(op->pool->env->io, op->descriptor->fd, &vector, 1, own->offset + own->done);

		if (bytes < 0)
			return bytes;
		own->done += (__u32)bytes;
		if (!bytes || own->done == own->length)
			return 0;
	}
}

static void read_to_buffer(struct vg_file_op *op, const __u8 *begun)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	int error;

	if (vg_op_keep(op))
		return;
	error = vg_op_buffer(op, own->length);
	if (!error && own->done)
		memcpy(op->buffer, begun, own->done);
	if (!error && !own->direct && !begun && own->length < READ_ASIDE_BYTES) {
		error = read_cached(op, op->buffer);
		if (!error) {
			vg_bytes_count(&op->pool->counts.inline_reads, 1);
			answer_read(op);
			return;
		}
	}
	if (error && error != -EAGAIN)
		vg_op_fail(op, error);
	else
		read_more(op);
}

static void read_now(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	bool in_place = !own->direct && own->length <= VG_FILE_IN_PLACE_MAX && !op->kept;
	__u8 *to = in_place ? vg_op_in_place(op, own->length) : NULL;
	int error;

	if (!to) {
		read_to_buffer(op, NULL);
		return;
	}
	error = read_cached(op, to);
	if (error == -EAGAIN) {
		read_to_buffer(op, to);
	} else if (error) {
		vg_op_fail(op, error);
	} else {
		vg_bytes_count(&op->pool->counts.inline_reads, 1);
		vg_bytes_count(&op->pool->counts.read_bytes, own->done);
		vg_op_ok_in_place(op, own->done);
	}
}

void vg_bytes_read(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct vg_file_span span;

	memcpy(&span, op->body, sizeof(span));
	op->body_length = 0; /* nothing of it is kept */
	op->descriptor->was_read = true;
	own->offset = op->argument;
	own->length = VG_BE32TOH(span.length);
	own->direct = op->descriptor->flags & VG_FILE_O_DIRECT;
	if (own->length > VG_FILE_DATA_MAX || span.reserved || range_error(own))
		vg_op_fail(op, -EINVAL);
	else if (!own->length)
		vg_op_ok(op);
	else if (op->descriptor->changes_first)
		vg_order_look(op, own->offset, own->length, read_now);
	else
		read_now(op);
}

/* ---- WRITE ----------------------------------------------------------------------------------------------------- */

static void answer_write(struct vg_file_op *op, int error)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	if (error) {
		vg_op_fail(op, error);
		return;
	}
	vg_bytes_count(&op->pool->counts.written_bytes, own->done);
	op->answer.argument = own->done;
	op->answer.ident = own->offset;
	vg_op_ok(op);
}

/* Written: to the page cache, or past it. */
static void written(struct vg_file_op *op, int error)
{
	if (!error && vg_bytes_op(op)->durable)
		vg_durable_join(op, false, true, answer_write);
	else
		answer_write(op, error);
}

static void write_more(struct vg_file_op *op);

static void on_write(void *owner, const struct vg_io_event *event)
{
	struct vg_file_op *op = owner;
	struct vg_bytes_op *own = vg_bytes_op(op);
	bool again = event->result == -EINTR || event->result == -EAGAIN;

	vg_env_turn(op->pool->env);
	op->io_op = 0;
	own->done += event->result > 0 ? (__u32)event->result : 0;
	/* An error behind some bytes is told to who goes on from there. A direct write that was cut off cannot. */
	if (own->done == own->length || !event->result || (event->result < 0 && !again) ||
	    (own->direct && own->done % VG_FILE_DIRECT_ALIGN))
		written(op, own->done || event->result >= 0 ? 0 : event->result);
	else
		write_more(op);
}

static void write_more(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct iovec vector = { (void *)(op->body + own->done), own->length - own->done };
	int error = vg_io_write(op->pool->env->io, op->descriptor->fd, &vector, 1, own->offset + own->done, on_write,
				op, &op->io_op);

	if (error)
		written(op, own->done ? 0 : error);
}

static void on_copied(struct vg_file_op *op, int result)
{
	written(op, result);
}

static void write_now(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	if (own->durable && own->length <= VG_DURABLE_WRITE_MAX && !own->direct)
		vg_durable_write(op, answer_write);
	else if (!own->direct && own->length <= VG_BRIEF_BYTES_MAX)
		vg_op_work(op, vg_disk_write, on_copied);
	else if (own->append)
		vg_op_work_long(op, vg_disk_write, on_copied);
	else
		write_more(op);
}

void vg_bytes_write(struct vg_file_op *op)
{
	const __u16 flags = op->descriptor->flags;
	struct vg_bytes_op *own = vg_bytes_op(op);

	own->length = op->body_length;
	own->append = op->flags & VG_FILE_APPEND || flags & VG_FILE_O_APPEND;
	own->durable = op->flags & VG_FILE_DURABLE || flags & VG_FILE_O_SYNC;
	own->direct = flags & VG_FILE_O_DIRECT;
	own->offset = own->append ? 0 : op->argument;
	if (range_error(own)) {
		vg_op_fail(op, -EINVAL);
		return;
	}
	if (!own->length) {
		answer_write(op, 0);
		return;
	}
	if (vg_op_keep(op))
		return;
	/* Where the end will be is not known: an append comes after all changes, and before all. */
	vg_bytes_ordered(op, own->offset, own->append ? VG_FILE_END_OF_ALL : own->length, write_now);
}
