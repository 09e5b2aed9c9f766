/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files, pipes and processes: operations that complete once and hold nothing of ours; and what needs no operation. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "uring/ring.h"
#include "uring/try.h"

/* One vector needs no copy of it: the kernel takes address and length from the submission. */
enum how { READS, READS_ASIDE, WRITES };
static int submit_vectors(struct vg_io *io, enum how how, int fd, const struct iovec *vectors, int count, __u64 offset,
			  int flags, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct io_uring_sqe *sqe;
	struct iovec *kept;
	struct vg_op *op;
	int error;

	assert(count > 0 && count <= VG_IO_VECTORS);
	error = vg_op_begin(io, VG_OP_FILE, fd, fn, owner, &op, &sqe, ret_op);
	if (error)
		return error;
	kept = io->extra[op - io->op].vectors;
	if (count > 1)
		memcpy(kept, vectors, (size_t)count * sizeof(*vectors));
	if (count == 1 && how == WRITES)
		io_uring_prep_write(sqe, fd, vectors->iov_base, (unsigned int)vectors->iov_len, offset);
	else if (count == 1)
		io_uring_prep_read(sqe, fd, vectors->iov_base, (unsigned int)vectors->iov_len, offset);
	else if (how == WRITES)
		io_uring_prep_writev(sqe, fd, kept, (unsigned int)count, offset);
	else
		io_uring_prep_readv(sqe, fd, kept, (unsigned int)count, offset);
	sqe->rw_flags = flags;
	if (how == READS_ASIDE)
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

int vg_io_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
	       void *owner, vg_io_op *ret_op)
{
	return submit_vectors(io, READS, fd, vectors, count, offset, 0, fn, owner, ret_op);
}

int vg_io_read_aside(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		     void *owner, vg_io_op *ret_op)
{
	return submit_vectors(io, READS_ASIDE, fd, vectors, count, offset, 0, fn, owner, ret_op);
}

int vg_io_write(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		void *owner, vg_io_op *ret_op)
{
	return submit_vectors(io, WRITES, fd, vectors, count, offset, 0, fn, owner, ret_op);
}

int vg_io_write_durable(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
			void *owner, vg_io_op *ret_op)
{
	return submit_vectors(io, WRITES, fd, vectors, count, offset, RWF_DSYNC, fn, owner, ret_op);
}

/* What follows differs in one line each: the preparation of the submission. */

int vg_io_fsync(struct vg_io *io, int fd, bool data_only, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct io_uring_sqe *sqe;
	struct vg_op *op;
	int error = vg_op_begin(io, VG_OP_FILE, fd, fn, owner, &op, &sqe, ret_op);

	if (error)
		return error;
	io_uring_prep_fsync(sqe, fd, data_only ? IORING_FSYNC_DATASYNC : 0);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

int vg_io_poll(struct vg_io *io, int fd, unsigned int events, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct io_uring_sqe *sqe;
	struct vg_op *op;
	int error = vg_op_begin(io, VG_OP_FILE, fd, fn, owner, &op, &sqe, ret_op);

	if (error)
		return error;
	io_uring_prep_poll_add(sqe, fd, events);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

int vg_io_waitid(struct vg_io *io, idtype_t type, id_t id, siginfo_t *ret_info, int options, vg_io_fn fn, void *owner,
		 vg_io_op *ret_op)
{
	struct io_uring_sqe *sqe;
	struct vg_op *op;
	int error = vg_op_begin(io, VG_OP_FILE, -1, fn, owner, &op, &sqe, ret_op);

	if (error)
		return error;
	io_uring_prep_waitid(sqe, type, id, ret_info, options, 0);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

int vg_io_splice(struct vg_io *io, int from_fd, __u64 from_offset, int to_fd, __u64 to_offset, unsigned int bytes,
		 vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct io_uring_sqe *sqe;
	struct vg_op *op;
	int error = vg_op_begin(io, VG_OP_FILE, to_fd, fn, owner, &op, &sqe, ret_op);

	if (error)
		return error;
	io_uring_prep_splice(sqe, from_fd, (__s64)from_offset, to_fd, (__s64)to_offset, bytes, 0);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

/* ---- here and now ---------------------------------------------------------------------------------------------- */

int vg_io_try_open(struct vg_io *io, int dir_fd, const char *path, const struct open_how *how)
{
	return vg_try_open(dir_fd, path, how);
}

int vg_io_try_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset)
{
	return vg_try_read(fd, vectors, count, offset);
}

int vg_io_try_stat(struct vg_io *io, int fd, struct statx *ret_status)
{
	return vg_try_stat(fd, ret_status);
}

void vg_io_try_close(struct vg_io *io, int fd)
{
	close(fd); /* what it says concerns earlier writes, which were answered */
}
