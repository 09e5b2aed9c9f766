// SPDX-License-Identifier: GPL-3.0-or-later
/* Bytes of files of this node. */
#include "svc/file/data.h"

#include <errno.h>
#include <string.h>

int vg_bytes_init(struct vg_file_pool *pool)
{
	return 0;
}

void vg_bytes_deinit(struct vg_file_pool *pool)
{
}

void vg_bytes_descriptor_gone(struct vg_file_descriptor *descriptor)
{
}

void vg_bytes_ordered(struct vg_file_op *op, __u64 offset, __u64 length, void (*go)(struct vg_file_op *))
{
	go(op);
}

void vg_bytes_end(struct vg_file_op *op)
{
}

static void on_read(void *owner, const struct vg_io_event *event)
{
	struct vg_file_op *op = owner;

	vg_env_turn(op->pool->env);
	op->io_op = 0;
	if (event->result < 0) {
		vg_op_fail(op, event->result);
		return;
	}
	op->answer.body = op->buffer;
	op->answer.body_length = (__u32)event->result;
	vg_op_ok(op);
}

static void read_later(struct vg_file_op *op, __u32 length)
{
	struct iovec vector;
	int error;

	op->body_length = 0;
	if (vg_op_keep(op))
		return;
	error = vg_op_buffer(op, length);
	vector = (struct iovec){ op->buffer, length };
	error = error ?: vg_io_read(op->pool->env->io, op->descriptor->fd, &vector, 1, op->argument, on_read, op,
				    &op->io_op);
	if (error)
		vg_op_fail(op, error);
}

void vg_bytes_read(struct vg_file_op *op)
{
	struct vg_file_span span;
	struct iovec vector;
	int result;

	memcpy(&span, op->body, sizeof(span));
	vector.iov_len = VG_BE32TOH(span.length);
	if (vector.iov_len > VG_FILE_DATA_MAX) {
		vg_op_fail(op, -EINVAL);
		return;
	}
	vector.iov_base = vector.iov_len <= VG_FILE_IN_PLACE_MAX ? vg_op_in_place(op, (__u32)vector.iov_len) : NULL;
	if (vector.iov_base) {
		result = vg_io_try_read(op->pool->env->io, op->descriptor->fd, &vector, 1, op->argument);
		if (result == (int)vector.iov_len) {
			vg_op_ok_in_place(op, (__u32)result);
			return;
		}
	}
	read_later(op, (__u32)vector.iov_len);
}
