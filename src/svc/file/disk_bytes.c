// SPDX-License-Identifier: GPL-3.0-or-later
/* System calls on the bytes of open files, and on small files as a whole. On helper threads: they see the op alone. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "svc/file/bytes.h"
#include "svc/file/disk.h"
#include "svc/file/hold.h"

#define COPY_STEP (64u << 20) /* a helper is kept busy so long at once */
#define COPY_BUFFER 65536

/* At the end: where that was is known by the position of the open file, which nothing else uses meanwhile (order.c). */
static ssize_t write_some(struct vg_file_op *op, int fd, const struct iovec *vector)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	ssize_t bytes;
	off_t end;

	if (!own->append)
		return pwrite(fd, vector->iov_base, vector->iov_len, (off_t)(own->offset + own->done));
	bytes = pwritev2(fd, vector, 1, -1, RWF_APPEND);
	if (bytes <= 0)
		return bytes;
	end = lseek(fd, 0, SEEK_CUR);
	if (end < 0)
		return -1;
	own->offset = (__u64)end - (__u64)bytes;
	return bytes;
}

/* An append is one step: what did not fit is not written behind what others may have written since. */
int vg_disk_write(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);

	while (own->done < own->length) {
		struct iovec vector = { (void *)(op->body + own->done), own->length - own->done };
		ssize_t bytes = write_some(op, op->descriptor->fd, &vector);

		if (bytes < 0 && errno == EINTR)
			continue;
		if (bytes < 0 && !own->done)
			return -errno;
		if (bytes <= 0)
			break;
		own->done += (__u32)bytes;
		if (own->append)
			break;
	}
	return 0;
}

int vg_disk_sync(int fd, bool data_only)
{
	return (data_only ? fdatasync(fd) : fsync(fd)) ? -errno : 0;
}

/* By the name that /proc has for the open file: a magic link, made here and to what is open already. */
int vg_disk_open_direct(struct vg_file_op *op)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", op->descriptor->fd);
	fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int vg_disk_allocate(struct vg_file_op *op)
{
	const struct vg_bytes_op *own = vg_bytes_op(op);

	return fallocate(op->descriptor->fd, own->mode, (off_t)own->offset, (off_t)own->bytes) ? -errno : 0;
}

int vg_disk_seek(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	off_t at = lseek(op->descriptor->fd, (off_t)own->offset, own->mode);

	if (at < 0)
		return -errno;
	own->bytes = (__u64)at;
	return 0;
}

/* ---- copying --------------------------------------------------------------------------------------------------- */

/* Between file systems that know nothing of each other. */
static ssize_t copy_by_hand(int from, off_t from_offset, int to, off_t to_offset, size_t bytes)
{
	char buffer[COPY_BUFFER];
	ssize_t got = pread(from, buffer, bytes < sizeof(buffer) ? bytes : sizeof(buffer), from_offset);

	return got <= 0 ? got : pwrite(to, buffer, (size_t)got, to_offset);
}

static ssize_t copy_some(struct vg_file_op *op, __u64 done, size_t bytes)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	off_t from = (off_t)(own->offset + done), to = (off_t)(own->to_offset + done);
	int from_fd = own->other->fd, to_fd = op->descriptor->fd;
	ssize_t copied = copy_file_range(from_fd, &from, to_fd, &to, bytes, 0);

	if (copied >= 0 || (errno != EXDEV && errno != EOPNOTSUPP && errno != ENOSYS))
		return copied;
	return copy_by_hand(from_fd, from, to_fd, to, bytes);
}

int vg_disk_copy(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	__u64 most = own->bytes < COPY_STEP ? own->bytes : COPY_STEP, done = 0;

	while (done < most) {
		ssize_t bytes = copy_some(op, done, (size_t)(most - done));

		if (bytes < 0 && errno == EINTR)
			continue;
		if (bytes < 0 && !done)
			return -errno;
		if (bytes <= 0)
			break;
		done += (__u64)bytes;
	}
	own->bytes = done;
	return 0;
}

/* ---- small files as a whole ------------------------------------------------------------------------------------ */

static int regular(int fd, struct statx *ret_stat)
{
	int error = vg_disk_fstat(fd, ret_stat);

	if (error || S_ISREG(ret_stat->stx_mode))
		return error;
	return S_ISDIR(ret_stat->stx_mode) ? -EISDIR : -EPERM;
}

int vg_disk_fetch(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	int error;

	own->fd = vg_disk_open(op->pool->root_fd, op->path, O_RDONLY, 0, NULL, op->target);
	if (own->fd < 0)
		return own->fd;
	error = regular(own->fd, &own->stat);
	if (error)
		vg_disk_close(own->fd);
	return error;
}

static int write_whole(int fd, const __u8 *data, __u32 length)
{
	for (__u32 done = 0; done < length;) {
		ssize_t bytes = pwrite(fd, data + done, length - done, done);

		if (bytes < 0 && errno != EINTR)
			return -errno;
		if (!bytes)
			return -ENOSPC;
		if (bytes > 0)
			done += (__u32)bytes;
	}
	return 0;
}

/* A name is safe when its directory is. */
static int sync_parent(struct vg_file_op *op)
{
	char parent[VG_FILE_PATH_MAX + 1];
	__u32 length = vg_file_name_offset(op->path, op->path_length);
	int fd, error;

	for (__u32 i = 0; i < length; i++)
		parent[i] = op->path[i];
	parent[length ? length - 1 : 0] = '\0';
	fd = vg_disk_open(op->pool->root_fd, parent, O_RDONLY | O_DIRECTORY, 0, NULL, op->target);
	if (fd < 0)
		return fd;
	error = vg_disk_sync(fd, false);
	vg_disk_close(fd);
	return error;
}

/*
 * What it was before is written over, and its rest cut off at the end: emptied first, somebody could find it empty, and
 * some file systems take that for a replacement that must be on the disk when the file is closed.
 */
static int replace_whole(int fd, const struct vg_bytes_op *own, const __u8 *data, __u32 length)
{
	int error = write_whole(fd, data, length);

	if (!error && own->cuts && own->stat.stx_size > length && ftruncate(fd, length))
		error = -errno;
	return error;
}

/* Whether there is room for what it becomes, under quotas. */
static bool has_room(const struct vg_file_op *op)
{
	__u64 before = vg_bytes_op((struct vg_file_op *)op)->stat.stx_size;

	return !op->quoted || op->body_length <= before || op->body_length - before <= op->quota.bytes;
}

static int put_bytes(struct vg_file_op *op, int fd)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	int error = regular(fd, &own->stat);

	if (!error && !has_room(op))
		error = -EDQUOT;
	error = error ?: replace_whole(fd, own, op->body, op->body_length);
	if (!error && own->durable)
		error = vg_disk_sync(fd, false);
	if (!error && own->durable && own->created)
		error = sync_parent(op);
	return error ?: vg_disk_fstat(fd, &own->stat);
}

/* Refused for its length, before there was any of it: as if nothing had been asked, if the name is still its own. */
static void unmake(struct vg_file_op *op, const struct vg_quota_entry *entry)
{
	struct vg_quota_name name;

	if (!vg_quota_name_begin(op->pool, op->path, &name) && name.entry == entry)
		(void)vg_disk_unlink(op->pool->root_fd, op->path, true, NULL, op->target);
	vg_quota_name_end(op->pool, &name);
}

int vg_disk_put(struct vg_file_op *op)
{
	struct vg_bytes_op *own = vg_bytes_op(op);
	struct vg_quota_entry *entry;
	int fd, error;

	vg_quota_make_begin(op);
	fd = vg_disk_open(op->pool->root_fd, op->path, own->flags, (mode_t)own->mode, &own->created, op->target);
	vg_quota_make_end(op, fd >= 0 && own->created);
	if (fd < 0)
		return fd == -ENOENT && op->quota.none_more ? -EDQUOT : fd;
	error = vg_quota_enter(op->pool, op->path, fd, &entry) ?: put_bytes(op, fd);
	if (error == -EDQUOT && own->created && !own->stat.stx_size)
		unmake(op, entry);
	vg_quota_leave(op->pool, entry, fd);
	vg_disk_close(fd);
	return error;
}
