// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Names of this node's disk. Each operation: what can be had without waiting is tried at once, the rest is work on a
 * helper thread (disk.c) and an end here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>

#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/name.h"
#include "svc/file/tree.h"

static int root_of(const struct vg_file_op *op)
{
	return op->pool->root_fd;
}

/* Stubs are tree.c's business: it asks with local ops, which may touch them. */
static bool sees_stubs(const struct vg_file_op *op)
{
	return op->local || op->pool->alone;
}

/* The end of most: an error, or OK with nothing to say. */
static void done_plain(struct vg_file_op *op, int result)
{
	if (result < 0)
		vg_op_fail(op, result);
	else
		vg_op_ok(op);
}

/* The end of those that answer with a stat. */
static void done_stat(struct vg_file_op *op, int result)
{
	if (!result)
		vg_op_answer_stat(op, &op->own.name.stat);
	done_plain(op, result);
}

/* ---- OPEN, CLOSE ----------------------------------------------------------------------------------------------- */

static __u16 open_flags_of(const struct vg_file_op *op)
{
	return (__u16)(op->argument >> 32);
}

/* What is neither file nor directory is not opened for anybody. */
static int check_type(const struct statx *stat, __u16 flags)
{
	if (S_ISDIR(stat->stx_mode))
		return flags & VG_FILE_O_WRITE ? -EISDIR : 0;
	return S_ISREG(stat->stx_mode) ? 0 : -EPERM;
}

static void opened(struct vg_file_op *op, int fd)
{
	struct vg_file_descriptor *descriptor;
	struct statx *stat = &op->own.name.stat;
	int error = check_type(stat, open_flags_of(op));

	if (!error && !op->client)
		error = -ESTALE;
	if (error)
		vg_io_close(op->pool->env->io, fd);
	else
		error = vg_descriptor_new(op->client, fd, open_flags_of(op), stat, &descriptor);
	if (error) {
		vg_op_fail(op, error);
		return;
	}
	if (op->pool->quotas)
		vg_quota_descriptor_opened(descriptor, op);
	vg_op_answer_stat(op, stat);
	op->answer.ident = vg_descriptor_ident(descriptor);
	if (op->text)
		descriptor->text_number = op->answer.ident = op->client->text_next++;
	vg_op_ok(op);
}

/* What is done with it before anybody else may: emptied, where quotas must know of it, and given its mode. */
static int open_begin(struct vg_file_op *op, int fd, bool empties)
{
	struct vg_file_name_work *name = &op->own.name;
	struct vg_quota_entry *entry;
	int error = vg_quota_enter(op->pool, op->path, fd, &entry);

	if (!error && empties && !name->created)
		error = vg_disk_truncate(fd, &name->before);
	if (op->flags & VG_FILE_CREATED) /* for this very operation, by the name node */
		error = error ?: vg_disk_set_mode(fd, name->mode);
	vg_quota_leave(op->pool, entry, fd);
	return error ?: vg_disk_fstat(fd, &name->stat);
}

static int open_work(struct vg_file_op *op)
{
	struct vg_file_name_work *name = &op->own.name;
	bool empties = op->pool->quotas && name->flags & O_TRUNC;
	int flags = name->flags & ~(empties ? O_TRUNC : 0), fd, error;

	vg_quota_make_begin(op);
	if (op->text)
		fd = vg_disk_open_following(root_of(op), op->path, flags, name->mode, &name->created);
	else
		fd = vg_disk_open(root_of(op), op->path, flags, name->mode, &name->created, op->target);
	vg_quota_make_end(op, fd >= 0 && name->created);
	if (fd < 0)
		return fd == -ENOENT && op->quota.none_more ? -EDQUOT : fd;
	error = open_begin(op, fd, empties);
	if (error)
		vg_disk_close(fd);
	return error ?: fd;
}

static void open_done(struct vg_file_op *op, int fd)
{
	if (fd < 0)
		vg_op_fail(op, fd);
	else
		opened(op, fd);
}

void vg_name_open(struct vg_file_op *op)
{
	__u16 flags = open_flags_of(op);
	int open_flags = op->argument >> 48 ? -EINVAL : vg_file_open_flags(flags), fd = -EAGAIN;
	struct open_how how;

	if (open_flags >= 0 && op->argument & 0xffffffff & ~07777ull)
		open_flags = -EINVAL;
	if (open_flags < 0) {
		vg_op_fail(op, open_flags);
		return;
	}
	if (!(flags & (VG_FILE_O_CREATE | VG_FILE_O_TRUNCATE)) && !op->text && !(op->flags & VG_FILE_CREATED)) {
		vg_disk_how(&how, open_flags | O_NOFOLLOW, 0);
		fd = vg_io_try_open(op->pool->env->io, root_of(op), op->path[0] ? op->path : ".", &how);
	}
	if (fd >= 0 && vg_io_try_stat(op->pool->env->io, fd, &op->own.name.stat) == 0) {
		opened(op, fd);
		return;
	}
	if (fd >= 0) /* a file system that must ask for it */
		vg_io_try_close(op->pool->env->io, fd);
	op->own.name.flags = open_flags | (flags & VG_FILE_O_CREATE ? O_CREAT : 0) |
			     (flags & VG_FILE_O_EXCLUSIVE ? O_EXCL : 0);
	op->own.name.mode = vg_file_mode(op->pool, (__u32)op->argument);
	vg_op_work(op, open_work, open_done);
}

void vg_name_close(struct vg_file_op *op)
{
	vg_descriptor_close(op->descriptor);
	vg_op_ok(op);
}

/* ---- STAT, CHANGE, STATFS -------------------------------------------------------------------------------------- */

static int stat_work(struct vg_file_op *op)
{
	return vg_disk_stat(root_of(op), op->path, &op->own.name.stat, op->target);
}

/* Without waiting: a name that the kernel knows, of what is no symbolic link. */
static int stat_now(struct vg_file_op *op)
{
	struct vg_io *io = op->pool->env->io;
	struct open_how how;
	int fd, error;

	vg_disk_how(&how, O_PATH | O_NOFOLLOW, 0);
	fd = vg_io_try_open(io, root_of(op), op->path[0] ? op->path : ".", &how);
	if (fd < 0)
		return -EAGAIN;
	error = vg_io_try_stat(io, fd, &op->own.name.stat);
	vg_io_try_close(io, fd);
	return error || S_ISLNK(op->own.name.stat.stx_mode) ? -EAGAIN : 0;
}

void vg_name_stat(struct vg_file_op *op)
{
	int error = op->descriptor ? vg_disk_fstat(op->descriptor->fd, &op->own.name.stat) : stat_now(op);

	if (error == -EAGAIN && !op->descriptor)
		vg_op_work(op, stat_work, done_stat);
	else
		done_stat(op, error);
}

static int change_work(struct vg_file_op *op)
{
	const struct vg_file_change *change = (const void *)op->body;
	int fd = op->descriptor ? op->descriptor->fd : -1, error = 0;
	struct vg_quota_name length = { .fd = -1 };

	if (fd < 0 && change->mask & VG_HTOBE32(VG_FILE_CHANGE_SIZE))
		error = vg_quota_name_begin(op->pool, op->path, &length);
	error = error ?: vg_disk_change(root_of(op), op->path, fd, change, op->pool->settings->ids,
					op->quoted ? op->quota.bytes : ~0ull, &op->own.name.before,
					&op->own.name.stat, op->target);
	vg_quota_name_end(op->pool, &length);
	return error;
}

static void change_go(struct vg_file_op *op)
{
	vg_op_work(op, change_work, done_stat);
}

void vg_name_change(struct vg_file_op *op)
{
	struct vg_file_change change;
	__u32 mask;

	memcpy(&change, op->body, sizeof(change));
	mask = VG_BE32TOH(change.mask);
	if (mask & ~VG_FILE_CHANGE_KNOWN || (mask & VG_FILE_CHANGE_MODE && VG_BE32TOH(change.mode) & ~07777u)) {
		vg_op_fail(op, -EINVAL);
		return;
	}
	if (op->descriptor && mask & VG_FILE_CHANGE_SIZE && !(op->descriptor->flags & VG_FILE_O_WRITE)) {
		vg_op_fail(op, -EINVAL);
		return;
	}
	if (vg_op_keep(op))
		return;
	change.mode = VG_HTOBE32(vg_file_mode(op->pool, VG_BE32TOH(change.mode)));
	memcpy(op->buffer, &change, sizeof(change));
	/* A new size has its place among the writes before and behind it. */
	if (op->descriptor && mask & VG_FILE_CHANGE_SIZE)
		vg_bytes_ordered(op, 0, ~0ull, change_go);
	else
		change_go(op);
}

static int statfs_work(struct vg_file_op *op)
{
	struct statfs statfs;
	int error = vg_disk_statfs(root_of(op), &statfs);

	if (error)
		return error;
	op->own.statfs = (struct vg_file_statfs){
		.bytes = VG_HTOBE64((__u64)statfs.f_blocks * (__u64)statfs.f_bsize),
		.bytes_free = VG_HTOBE64((__u64)statfs.f_bfree * (__u64)statfs.f_bsize),
		.bytes_available = VG_HTOBE64((__u64)statfs.f_bavail * (__u64)statfs.f_bsize),
		.files = VG_HTOBE64(statfs.f_files),
		.files_free = VG_HTOBE64(statfs.f_ffree),
		.block_size = VG_HTOBE32((__u32)statfs.f_bsize),
		.name_max = VG_HTOBE32(VG_FILE_NAME_MAX),
		.read_only = VG_HTOBE32(op->export->read_only),
	};
	return 0;
}

static void statfs_done(struct vg_file_op *op, int result)
{
	if (!result && op->pool->quotas)
		vg_quota_statfs(op, &op->own.statfs);
	op->answer.body = &op->own.statfs;
	op->answer.body_length = sizeof(op->own.statfs);
	done_plain(op, result);
}

void vg_name_statfs(struct vg_file_op *op)
{
	vg_op_work(op, statfs_work, statfs_done);
}

/* ---- names that come and go ------------------------------------------------------------------------------------ */

static int mkdir_work(struct vg_file_op *op)
{
	__u32 mode = vg_file_mode(op->pool, (__u32)op->argument);
	int error;

	vg_quota_make_begin(op);
	error = vg_disk_mkdir(root_of(op), op->path, mode, &op->own.name.stat);
	vg_quota_make_end(op, !error);
	return error;
}

static void mkdir_done(struct vg_file_op *op, int result)
{
	op->own.name.created = !result;
	done_stat(op, result);
}

void vg_name_mkdir(struct vg_file_op *op)
{
	if (op->argument & ~07777ull)
		vg_op_fail(op, -EINVAL);
	else
		vg_op_work(op, mkdir_work, mkdir_done);
}

static int rmdir_work(struct vg_file_op *op)
{
	struct vg_quota_name gone;
	int error = vg_quota_name_begin(op->pool, op->path, &gone) ?: vg_disk_rmdir(root_of(op), op->path);

	vg_quota_name_end(op->pool, &gone);
	return error;
}

void vg_name_rmdir(struct vg_file_op *op)
{
	vg_op_work(op, rmdir_work, done_plain);
}

static int unlink_work(struct vg_file_op *op)
{
	struct vg_quota_name gone;
	int error = vg_quota_name_begin(op->pool, op->path, &gone);

	error = error ?: vg_disk_unlink(root_of(op), op->path, sees_stubs(op), NULL, op->target);
	vg_quota_name_end(op->pool, &gone);
	return error;
}

void vg_name_unlink(struct vg_file_op *op)
{
	vg_op_work(op, unlink_work, done_plain);
}

static int rename_work(struct vg_file_op *op)
{
	unsigned int flags = (op->flags & VG_FILE_NO_REPLACE ? RENAME_NOREPLACE : 0) |
			     (op->flags & VG_FILE_EXCHANGE ? RENAME_EXCHANGE : 0);

	return vg_quota_rename(op->pool, op->path, op->other, flags, sees_stubs(op), op->target);
}

void vg_name_rename(struct vg_file_op *op)
{
	vg_op_work(op, rename_work, done_plain);
}

static int link_work(struct vg_file_op *op)
{
	return vg_disk_link(root_of(op), op->path, op->other, sees_stubs(op), op->target);
}

void vg_name_link(struct vg_file_op *op)
{
	vg_op_work(op, link_work, done_plain);
}

static int symlink_work(struct vg_file_op *op)
{
	const char *text = op->own.name.text;
	int error;

	vg_quota_make_begin(op);
	error = vg_disk_symlink(root_of(op), text, op->path, &op->own.name.stat);
	vg_quota_make_end(op, !error);
	return error;
}

void vg_name_symlink(struct vg_file_op *op)
{
	const char *target = (const char *)op->body;
	__u32 length = op->body_length;

	/* What looks like a stub is the pool's own. */
	if (memchr(target, '\0', length) || vg_stub_is_reserved(target, length)) {
		vg_op_fail(op, -EINVAL);
		return;
	}
	if (length > VG_FILE_PATH_MAX) {
		vg_op_fail(op, -ENAMETOOLONG);
		return;
	}
	/* It may come here twice (tree.c): the body stays as it is. Behind it there is room for a NUL. */
	if (vg_op_keep(op))
		return;
	op->buffer[length] = '\0';
	op->own.name.text = op->buffer;
	vg_op_work(op, symlink_work, mkdir_done);
}

/* ---- what is read into the op's buffer ------------------------------------------------------------------------- */

static void read_into(struct vg_file_op *op, __u32 bytes, int (*work)(struct vg_file_op *op),
		      void (*done)(struct vg_file_op *op, int result))
{
	op->body_length = 0;
	if (vg_op_buffer(op, bytes))
		vg_op_fail(op, -ENOMEM);
	else
		vg_op_work(op, work, done);
}

static void done_bytes(struct vg_file_op *op, int result)
{
	op->answer.body = op->buffer;
	op->answer.body_length = result > 0 ? (__u32)result : 0;
	done_plain(op, result);
}

static int readlink_work(struct vg_file_op *op)
{
	return vg_disk_readlink(root_of(op), op->path, (char *)op->buffer, VG_FILE_PATH_MAX, op->target);
}

void vg_name_readlink(struct vg_file_op *op)
{
	read_into(op, VG_FILE_PATH_MAX, readlink_work, done_bytes);
}

/* ---- extended attributes --------------------------------------------------------------------------------------- */

static int fd_of(const struct vg_file_op *op)
{
	return op->descriptor ? op->descriptor->fd : -1;
}

/* The body is a name, and goes to own.name.attribute: false: it was none, and the op has failed. */
static bool take_attribute(struct vg_file_op *op, const __u8 *name, __u32 length)
{
	if (!length || length > VG_FILE_NAME_MAX || memchr(name, '\0', length)) {
		vg_op_fail(op, length > VG_FILE_NAME_MAX ? -ERANGE : -EINVAL);
		return false;
	}
	memcpy(op->own.name.attribute, name, length);
	op->own.name.attribute[length] = '\0';
	return true;
}

static int xattr_get_work(struct vg_file_op *op)
{
	return vg_disk_xattr_get(root_of(op), op->path, fd_of(op), op->target, op->own.name.attribute, op->buffer,
				 VG_FILE_XATTR_MAX);
}

void vg_name_xattr_get(struct vg_file_op *op)
{
	if (take_attribute(op, op->body, op->body_length))
		read_into(op, VG_FILE_XATTR_MAX, xattr_get_work, done_bytes);
}

static int xattr_list_work(struct vg_file_op *op)
{
	return vg_disk_xattr_list(root_of(op), op->path, fd_of(op), op->target, (char *)op->buffer, VG_FILE_XATTR_MAX);
}

void vg_name_xattr_list(struct vg_file_op *op)
{
	read_into(op, VG_FILE_XATTR_MAX, xattr_list_work, done_bytes);
}

static int xattr_set_work(struct vg_file_op *op)
{
	return vg_disk_xattr_set(root_of(op), op->path, fd_of(op), op->target, op->own.name.attribute,
				 op->own.name.text, op->own.name.length, op->own.name.flags);
}

void vg_name_xattr_set(struct vg_file_op *op)
{
	struct vg_file_xattr front;
	__u32 name, flags;

	memcpy(&front, op->body, sizeof(front));
	name = VG_BE32TOH(front.name_length);
	flags = VG_BE32TOH(front.flags);
	if (name > op->body_length - sizeof(front) || flags > 2) {
		vg_op_fail(op, -EINVAL);
		return;
	}
	if (op->body_length - sizeof(front) - name > VG_FILE_XATTR_MAX) {
		vg_op_fail(op, -E2BIG);
		return;
	}
	if (!take_attribute(op, op->body + sizeof(front), name) || vg_op_keep(op))
		return;
	op->own.name.text = op->body + sizeof(front) + name;
	op->own.name.length = op->body_length - (__u32)sizeof(front) - name;
	op->own.name.flags = (int)flags; /* XATTR_CREATE and XATTR_REPLACE have these numbers */
	vg_op_work(op, xattr_set_work, done_plain);
}

static int xattr_remove_work(struct vg_file_op *op)
{
	return vg_disk_xattr_remove(root_of(op), op->path, fd_of(op), op->target, op->own.name.attribute);
}

void vg_name_xattr_remove(struct vg_file_op *op)
{
	if (!take_attribute(op, op->body, op->body_length))
		return;
	op->body_length = 0;
	vg_op_work(op, xattr_remove_work, done_plain);
}
