/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files of the simulator: system calls on real descriptors, made when the operation's turn has come, with the faults
 * that are switched on. What was written and not yet synced is remembered, so that a power cut can take it back.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "uring/sim_op.h"
#include "uring/try.h"

#define SECTOR_BYTES 512

/* Bytes that a write replaced, newest first. */
struct unsynced {
	struct unsynced *next;
	dev_t device;
	ino_t inode;
	int fd; /* our own */
	__u64 offset;
	size_t bytes;
	__u8 before[];
};

static struct {
	struct unsynced *unsynced;
	__u64 done, fail_at;
	int fail_error;
} files;

/* ---- what a power cut takes back ------------------------------------------------------------------------------- */

static void forget(struct unsynced *one)
{
	close(one->fd);
	free(one);
}

/* Bytes past the end of the file were zeros, as far as anybody can tell. */
static void remember(int fd, __u64 offset, size_t bytes)
{
	struct unsynced *one;
	struct stat status;

	if (offset == VG_IO_STREAM || fstat(fd, &status) || !S_ISREG(status.st_mode))
		return;
	one = calloc(1, sizeof(*one) + bytes);
	assert(one);
	one->device = status.st_dev;
	one->inode = status.st_ino;
	one->offset = offset;
	one->bytes = bytes;
	one->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	assert(one->fd >= 0);
	(void)!pread(fd, one->before, bytes, (off_t)offset);
	one->next = files.unsynced;
	files.unsynced = one;
}

static void synced(int fd)
{
	struct unsynced **at = &files.unsynced, *one;
	struct stat status;

	if (fstat(fd, &status))
		return;
	while ((one = *at)) {
		if (one->device != status.st_dev || one->inode != status.st_ino) {
			at = &one->next;
			continue;
		}
		*at = one->next;
		forget(one);
	}
}

void vg_sim_power_cut(void)
{
	struct unsynced *one;

	while ((one = files.unsynced)) {
		for (size_t at = 0; at < one->bytes; at += SECTOR_BYTES) {
			size_t bytes = one->bytes - at < SECTOR_BYTES ? one->bytes - at : SECTOR_BYTES;

			if (vg_sim_chance(500))
				assert(pwrite(one->fd, one->before + at, bytes, (off_t)(one->offset + at)) ==
				       (ssize_t)bytes);
		}
		files.unsynced = one->next;
		forget(one);
	}
}

void vg_sim_files_reset(void)
{
	struct unsynced *one;

	while ((one = files.unsynced)) {
		files.unsynced = one->next;
		forget(one);
	}
	files.done = files.fail_at = 0;
}

void vg_sim_fail_file(__u64 nth, int error)
{
	files.fail_at = nth ? files.done + nth : 0;
	files.fail_error = error;
}

__u64 vg_sim_files_done(void)
{
	return files.done;
}

/* ---- the kernel's part ----------------------------------------------------------------------------------------- */

/* 0, or how this operation fails. */
static int fault(const struct sim_op *op)
{
	if (op->kind == OP_POLL || op->kind == OP_WAITID)
		return 0;
	if (++files.done == files.fail_at)
		return -files.fail_error;
	if (vg_sim_chance(vg_sim_faults()->io_error))
		return -EIO;
	return op->kind == OP_WRITE && vg_sim_chance(vg_sim_faults()->no_space) ? -ENOSPC : 0;
}

static ssize_t write_one(int fd, const struct iovec *vector, size_t bytes, __u64 offset)
{
	if (offset == VG_IO_STREAM)
		return write(fd, vector->iov_base, bytes);
	remember(fd, offset, bytes);
	return pwrite(fd, vector->iov_base, bytes, (off_t)offset);
}

static ssize_t read_one(int fd, const struct iovec *vector, size_t bytes, __u64 offset)
{
	if (offset == VG_IO_STREAM)
		return read(fd, vector->iov_base, bytes);
	return pread(fd, vector->iov_base, bytes, (off_t)offset);
}

/* A stream that has nothing, or no room, now: the operation waits. */
static bool must_wait(const struct sim_op *op)
{
	struct pollfd poll_fd = { .fd = op->fd, .events = op->kind == OP_WRITE ? POLLOUT : POLLIN };

	return (op->kind == OP_READ || op->kind == OP_WRITE) && op->offset == VG_IO_STREAM && poll(&poll_fd, 1, 0) == 0;
}

static void transfer(struct vg_io *io, struct sim_op *op)
{
	bool writes = op->kind == OP_WRITE;
	size_t total = 0, done = 0;
	ssize_t part = 0;

	assert(!writes || vg_sim_op_checksum(op) == op->checksum); /* touched while the write was under way */
	for (int i = 0; i < op->count; i++)
		total += op->vectors[i].iov_len;
	total = vg_sim_maybe_short(total);
	for (int i = 0; i < op->count && done < total; i++) {
		size_t bytes = op->vectors[i].iov_len < total - done ? op->vectors[i].iov_len : total - done;
		__u64 offset = op->offset == VG_IO_STREAM ? VG_IO_STREAM : op->offset + done;

		part = writes ? write_one(op->fd, &op->vectors[i], bytes, offset) :
				read_one(op->fd, &op->vectors[i], bytes, offset);
		if (part < 0)
			part = -errno;
		if (part <= 0)
			break;
		done += (size_t)part;
	}
	if (writes && op->durable)
		synced(op->fd); /* more than was asked for: a simulated disk has one queue */
	vg_sim_op_complete(io, op, done ? (int)done : (int)part, false);
}

static void wait_for_child(struct vg_io *io, struct sim_op *op)
{
	siginfo_t info = { 0 };

	if (waitid(op->child_type, op->child, &info, op->child_options | WNOHANG)) {
		vg_sim_op_complete(io, op, -errno, false);
		return;
	}
	if (!info.si_pid)
		return;
	if (op->child_info)
		*op->child_info = info;
	vg_sim_op_complete(io, op, 0, false);
}

static void splice_some(struct vg_io *io, struct sim_op *op)
{
	loff_t from = (loff_t)op->offset, to = (loff_t)op->to_offset;
	ssize_t result = splice(op->fd, op->offset == VG_IO_STREAM ? NULL : &from, op->to_fd,
				op->to_offset == VG_IO_STREAM ? NULL : &to, vg_sim_maybe_short(op->bytes),
				SPLICE_F_NONBLOCK);

	if (result < 0 && errno == EAGAIN)
		return;
	vg_sim_op_complete(io, op, result < 0 ? -errno : (int)result, false);
}

void vg_sim_file_go_on(struct vg_io *io, struct sim_op *op)
{
	struct pollfd poll_fd = { .fd = op->fd, .events = (short)op->events };
	int error;

	if (must_wait(op))
		return;
	error = fault(op);
	if (error) {
		vg_sim_op_complete(io, op, error, false);
		return;
	}
	switch (op->kind) {
	case OP_READ:
	case OP_WRITE:
		transfer(io, op);
		break;
	case OP_FSYNC:
		if (op->data_only ? fdatasync(op->fd) : fsync(op->fd)) {
			vg_sim_op_complete(io, op, -errno, false);
			break;
		}
		synced(op->fd);
		vg_sim_op_complete(io, op, 0, false);
		break;
	case OP_POLL:
		if (poll(&poll_fd, 1, 0) > 0)
			vg_sim_op_complete(io, op, poll_fd.revents, false);
		break;
	case OP_WAITID:
		wait_for_child(io, op);
		break;
	case OP_SPLICE:
		splice_some(io, op);
		break;
	case OP_CALL:
		vg_sim_op_complete(io, op, op->call(op->argument), false);
		break;
	default:
		assert(!"not a file operation");
	}
}

/* ---- submitting ------------------------------------------------------------------------------------------------ */

static int submit_vectors(struct vg_io *io, enum sim_op_kind kind, int fd, const struct iovec *vectors, int count,
			  __u64 offset, bool durable, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, kind, fd, fn, owner, ret_op);

	assert(count > 0 && count <= VG_IO_VECTORS);
	if (!op)
		return -EBUSY;
	memcpy(op->vectors, vectors, (size_t)count * sizeof(*vectors));
	op->count = count;
	op->offset = offset;
	op->durable = durable;
	op->checksum = kind == OP_WRITE ? vg_sim_op_checksum(op) : 0;
	return 0;
}

int vg_io_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
	       void *owner, vg_io_op *ret_op)
{
	return submit_vectors(io, OP_READ, fd, vectors, count, offset, false, fn, owner, ret_op);
}

int vg_io_read_aside(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		     void *owner, vg_io_op *ret_op)
{
	return vg_io_read(io, fd, vectors, count, offset, fn, owner, ret_op);
}

int vg_io_write(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		void *owner, vg_io_op *ret_op)
{
	return submit_vectors(io, OP_WRITE, fd, vectors, count, offset, false, fn, owner, ret_op);
}

int vg_io_write_durable(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
			void *owner, vg_io_op *ret_op)
{
	return submit_vectors(io, OP_WRITE, fd, vectors, count, offset, true, fn, owner, ret_op);
}

int vg_io_fsync(struct vg_io *io, int fd, bool data_only, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, OP_FSYNC, fd, fn, owner, ret_op);

	if (!op)
		return -EBUSY;
	op->data_only = data_only;
	return 0;
}

int vg_io_poll(struct vg_io *io, int fd, unsigned int events, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, OP_POLL, fd, fn, owner, ret_op);

	if (!op)
		return -EBUSY;
	op->events = events;
	return 0;
}

int vg_io_waitid(struct vg_io *io, idtype_t type, id_t id, siginfo_t *ret_info, int options, vg_io_fn fn, void *owner,
		 vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, OP_WAITID, -1, fn, owner, ret_op);

	if (!op)
		return -EBUSY;
	op->child_type = type;
	op->child = id;
	op->child_info = ret_info;
	op->child_options = options;
	return 0;
}

int vg_io_splice(struct vg_io *io, int from_fd, __u64 from_offset, int to_fd, __u64 to_offset, unsigned int bytes,
		 vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, OP_SPLICE, from_fd, fn, owner, ret_op);

	if (!op)
		return -EBUSY;
	op->offset = from_offset;
	op->to_fd = to_fd;
	op->to_offset = to_offset;
	op->bytes = bytes;
	return 0;
}

/* A helper thread that has all the world to itself. */
int vg_io_call(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, OP_CALL, -1, fn, owner, ret_op);

	if (!op)
		return -EBUSY;
	op->call = call;
	op->argument = argument;
	io->stats.calls++;
	return 0;
}

int vg_io_call_brief(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return vg_io_call(io, call, argument, fn, owner, ret_op);
}

/* ---- here and now ---------------------------------------------------------------------------------------------- */

/* What is late for an operation is not in memory for one that cannot wait. */
int vg_io_try_open(struct vg_io *io, int dir_fd, const char *path, const struct open_how *how)
{
	if (vg_sim_chance(vg_sim_faults()->late))
		return -EAGAIN;
	return vg_try_open(dir_fd, path, how);
}

int vg_io_try_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset)
{
	const struct vg_sim_faults *faults = vg_sim_faults();
	struct iovec shorter = vectors[0];

	if (vg_sim_chance(faults->late))
		return -EAGAIN;
	if (++files.done == files.fail_at)
		return -files.fail_error;
	if (vg_sim_chance(faults->io_error))
		return -EIO;
	if (!vg_sim_chance(faults->short_transfer))
		return vg_try_read(fd, vectors, count, offset);
	shorter.iov_len = vg_sim_maybe_short(shorter.iov_len);
	return vg_try_read(fd, &shorter, 1, offset);
}

int vg_io_try_stat(struct vg_io *io, int fd, struct statx *ret_status)
{
	return vg_try_stat(fd, ret_status);
}

void vg_io_try_close(struct vg_io *io, int fd)
{
	close(fd);
}
