// SPDX-License-Identifier: GPL-3.0-or-later
/* SYNC, ALLOCATE, SEEK, COPY: what concerns ranges of open files and moves no bytes over the network. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "svc/file/bytes.h"

static bool is_range(__u64 offset, __u64 length)
{
	return offset <= VG_FILE_OFFSET_MAX && length <= VG_FILE_OFFSET_MAX - offset;
}

static void answer(struct vg_file_op *op, int error)
{
	if (error)
		vg_op_fail(op, error);
	else
		vg_op_ok(op);
}

/* ---- SYNC: what this connection has sent before, and all that others have been answered ------------------------- */

static void sync_now(struct vg_file_op *op)
{
	if (!vg_op_keep(op))
		vg_durable_join(op, false, op->flags & VG_FILE_DATA_ONLY, answer);
}

void vg_bytes_sync(struct vg_file_op *op)
{
	vg_order_look(op, 0, VG_FILE_END_OF_ALL, sync_now);
}

/* ---- ALLOCATE -------------------------------------------------------------------------------------------------- */

static void allocate_now(struct vg_file_op *op)
{
	vg_op_work_long(op, vg_disk_allocate, answer);
}

void vg_bytes_allocate(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct vg_file_range range;

	memcpy(&range, op->body, sizeof(range));
	own->offset = VG_BE64TOH(range.offset);
	own->bytes = VG_BE64TOH(range.length);
	own->mode = (op->flags & VG_FILE_KEEP_SIZE ? FALLOC_FL_KEEP_SIZE : 0) |
		    (op->flags & VG_FILE_PUNCH_HOLE ? FALLOC_FL_PUNCH_HOLE : 0) |
		    (op->flags & VG_FILE_ZERO_RANGE ? FALLOC_FL_ZERO_RANGE : 0);
	if (!own->bytes || !is_range(own->offset, own->bytes))
		vg_op_fail(op, -EINVAL);
	else
		vg_bytes_ordered(op, own->offset, own->bytes, allocate_now);
}

/* ---- SEEK ------------------------------------------------------------------------------------------------------ */

static void on_sought(struct vg_file_op *op, int error)
{
	op->answer.argument = vg_bytes_op(op)->bytes;
	answer(op, error);
}

static void seek_now(struct vg_file_op *op)
{
	vg_op_work(op, vg_disk_seek, on_sought);
}

/* It moves the open file's position, which appends look at: so it comes between changes, as one of them. */
void vg_bytes_seek(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	__u16 which = op->flags & (VG_FILE_SEEK_DATA | VG_FILE_SEEK_HOLE);

	own->offset = op->argument;
	own->mode = which == VG_FILE_SEEK_DATA ? SEEK_DATA : SEEK_HOLE;
	if ((which != VG_FILE_SEEK_DATA && which != VG_FILE_SEEK_HOLE) || own->offset > VG_FILE_OFFSET_MAX)
		vg_op_fail(op, -EINVAL);
	else
		vg_bytes_ordered(op, 0, VG_FILE_END_OF_ALL, seek_now);
}

/* ---- COPY ------------------------------------------------------------------------------------------------------ */

static void on_copied(struct vg_file_op *op, int error)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	vg_descriptor_put(own->other);
	op->answer.argument = own->bytes;
	if (!error)
		vg_bytes_count(&op->pool->counts.written_bytes, own->bytes);
	answer(op, error);
}

static void copy_now(struct vg_file_op *op)
{
	vg_op_work_long(op, vg_disk_copy, on_copied);
}

void vg_bytes_copy(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct vg_file_descriptor *to;
	struct vg_file_copy copy;
	int error;

	memcpy(&copy, op->body, sizeof(copy));
	own->offset = VG_BE64TOH(copy.from_offset);
	own->to_offset = VG_BE64TOH(copy.to_offset);
	own->bytes = VG_BE64TOH(copy.length);
	error = vg_descriptor_find(op->client, VG_BE64TOH(copy.to), &to);
	if (!error && (!(to->flags & VG_FILE_O_WRITE) || to->flags & VG_FILE_O_APPEND))
		error = -EBADF;
	if (!error && (!is_range(own->offset, own->bytes) || !is_range(own->to_offset, own->bytes)))
		error = -EINVAL;
	if (error || !own->bytes) {
		answer(op, error);
		return;
	}
	if (vg_op_keep(op))
		return;
	/* It is a change of where it goes; within one file it comes after all others, wherever it comes from. */
	vg_descriptor_ref(to);
	own->other = op->descriptor;
	op->descriptor = to;
	if (own->other == to)
		vg_bytes_ordered(op, 0, VG_FILE_END_OF_ALL, copy_now);
	else
		vg_bytes_ordered(op, own->to_offset, own->bytes, copy_now);
}
