/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The public calls on names. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "client/file.h"

/* A call about this path is begun: 0, or an error whose words have been said. */
static int begin(struct vg_remote_call *call, struct virgo *v, __u8 opcode, const char *path)
{
	int error;

	vg_remote_call_init(call, v, opcode);
	error = vg_remote_call_path(call, path);
	return error ? vg_remote_explain(v, error, NULL) : 0;
}

/* Carried out and over. */
static int end(struct vg_remote_call *call)
{
	int error = vg_remote_call_wait(call);

	vg_remote_call_deinit(call);
	return error;
}

static void set_body(struct vg_remote_call *call, const void *body, size_t length)
{
	memcpy(call->request.small, body, length);
	call->request.body = call->request.small;
	call->request.body_length = (__u32)length;
}

/* ---- stat ------------------------------------------------------------------------------------------------------ */

/* How long a striped file is and when it was changed its pieces know. */
static int stat_striped(struct virgo *v, const char *path, struct virgo_file_stat *ret_stat)
{
	struct virgo_file *file;
	int error = virgo_open(v, path, O_RDONLY | O_NOFOLLOW, 0, &file);

	if (error)
		return error;
	*ret_stat = file->opened;
	return virgo_close(v, file);
}

static int stat_path(struct virgo *v, const char *path, bool follow, struct virgo_file_stat *ret_stat)
{
	struct vg_remote_call call;
	int error = begin(&call, v, VG_OP_FILE_STAT, path);

	if (error)
		return error;
	call.follow = follow;
	call.request.front_bytes = sizeof(struct vg_file_stat);
	error = vg_remote_call_wait(&call);
	if (!error && call.request.answer_flags & VG_FILE_STRIPED)
		error = stat_striped(v, call.path, ret_stat);
	else if (!error)
		vg_remote_stat_read(call.request.front, ret_stat);
	vg_remote_call_deinit(&call);
	return error;
}

int virgo_stat(struct virgo *v, const char *path, struct virgo_file_stat *ret_stat)
{
	return stat_path(v, path, true, ret_stat);
}

int virgo_lstat(struct virgo *v, const char *path, struct virgo_file_stat *ret_stat)
{
	return stat_path(v, path, false, ret_stat);
}

/* ---- making and removing --------------------------------------------------------------------------------------- */

static int change_name(struct virgo *v, __u8 opcode, const char *path, __u64 argument)
{
	struct vg_remote_call call;
	int error = begin(&call, v, opcode, path);

	if (error)
		return error;
	call.request.change = true;
	call.request.argument = argument;
	return end(&call);
}

int virgo_unlink(struct virgo *v, const char *path)
{
	return change_name(v, VG_OP_FILE_UNLINK, path, 0);
}

int virgo_mkdir(struct virgo *v, const char *path, mode_t mode)
{
	return change_name(v, VG_OP_FILE_MKDIR, path, mode & 07777);
}

int virgo_rmdir(struct virgo *v, const char *path)
{
	return change_name(v, VG_OP_FILE_RMDIR, path, 0);
}

static int change_two(struct virgo *v, __u8 opcode, const char *from, const char *to, __u16 flags)
{
	struct vg_remote_call call;
	int error = begin(&call, v, opcode, from);

	if (error)
		return error;
	error = vg_remote_call_second(&call, to);
	if (error) {
		vg_remote_call_deinit(&call);
		return vg_remote_explain(v, error, NULL);
	}
	call.request.change = true;
	call.request.flags = flags;
	return end(&call);
}

int virgo_rename(struct virgo *v, const char *from, const char *to, unsigned int flags)
{
	__u16 wire = flags & RENAME_NOREPLACE ? VG_FILE_NO_REPLACE : 0;

	wire |= flags & RENAME_EXCHANGE ? VG_FILE_EXCHANGE : 0;
	if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    wire == (VG_FILE_NO_REPLACE | VG_FILE_EXCHANGE))
		return vg_remote_explain(v, -EINVAL, NULL);
	return change_two(v, VG_OP_FILE_RENAME, from, to, wire);
}

int virgo_link(struct virgo *v, const char *from, const char *to)
{
	return change_two(v, VG_OP_FILE_LINK, from, to, 0);
}

/* ---- symbolic links -------------------------------------------------------------------------------------------- */

int virgo_symlink(struct virgo *v, const char *target, const char *path)
{
	struct vg_remote_call call;
	size_t length = strlen(target);
	int error;

	if (!length || length > VG_FILE_PATH_MAX)
		return vg_remote_explain(v, length ? -ENAMETOOLONG : -ENOENT, NULL);
	error = begin(&call, v, VG_OP_FILE_SYMLINK, path);
	if (error)
		return error;
	call.request.change = true;
	call.request.body = target;
	call.request.body_length = (__u32)length;
	return end(&call);
}

ssize_t virgo_readlink(struct virgo *v, const char *path, char *buffer, size_t bytes)
{
	struct vg_remote_call call;
	size_t length;
	int error = begin(&call, v, VG_OP_FILE_READLINK, path);

	if (error)
		return error;
	call.request.grow = true;
	error = end(&call);
	length = call.request.answer_length < bytes ? call.request.answer_length : bytes;
	if (!error && length)
		memcpy(buffer, call.request.into, length);
	if (call.request.grown)
		free(call.request.into);
	return error ? error : (ssize_t)length;
}

/* ---- attributes ------------------------------------------------------------------------------------------------ */

struct vg_file_change vg_remote_change_mode(mode_t mode)
{
	return (struct vg_file_change){ .mask = VG_HTOBE32(VG_FILE_CHANGE_MODE), .mode = VG_HTOBE32(mode & 07777) };
}

struct vg_file_change vg_remote_change_owner(uint32_t uid, uint32_t gid)
{
	__u32 mask = (uid != UINT32_MAX ? VG_FILE_CHANGE_UID : 0) | (gid != UINT32_MAX ? VG_FILE_CHANGE_GID : 0);

	return (struct vg_file_change){ .mask = VG_HTOBE32(mask), .uid = VG_HTOBE32(uid), .gid = VG_HTOBE32(gid) };
}

static __be64 wire_time(const struct timespec *time)
{
	return VG_HTOBE64((__u64)((int64_t)time->tv_sec * 1000000000LL + time->tv_nsec));
}

struct vg_file_change vg_remote_change_times(const struct timespec times[2])
{
	struct vg_file_change change = { 0 };
	__u32 mask = 0;

	if (!times || times[0].tv_nsec == UTIME_NOW)
		mask |= VG_FILE_CHANGE_ACCESSED_NOW;
	else if (times[0].tv_nsec != UTIME_OMIT)
		mask |= VG_FILE_CHANGE_ACCESSED;
	if (!times || times[1].tv_nsec == UTIME_NOW)
		mask |= VG_FILE_CHANGE_MODIFIED_NOW;
	else if (times[1].tv_nsec != UTIME_OMIT)
		mask |= VG_FILE_CHANGE_MODIFIED;
	change.mask = VG_HTOBE32(mask);
	change.accessed = mask & VG_FILE_CHANGE_ACCESSED ? wire_time(&times[0]) : 0;
	change.modified = mask & VG_FILE_CHANGE_MODIFIED ? wire_time(&times[1]) : 0;
	return change;
}

/* Its pieces have its size and its times. */
static int change_striped(struct virgo *v, const char *path, const struct vg_file_change *change)
{
	struct virgo_file *file;
	int error = virgo_open(v, path, O_WRONLY | O_NOFOLLOW, 0, &file), closing;

	if (error)
		return error;
	error = vg_remote_change_each(v, file, change);
	closing = virgo_close(v, file);
	return error ? error : closing;
}

static int change(struct virgo *v, const char *path, bool follow, const struct vg_file_change *change)
{
	struct vg_remote_call call;
	int error = begin(&call, v, VG_OP_FILE_CHANGE, path);

	if (error)
		return error;
	call.follow = follow;
	call.request.change = true;
	set_body(&call, change, sizeof(*change));
	error = vg_remote_call_wait(&call);
	if (!error && call.request.answer_flags & VG_FILE_STRIPED)
		error = change_striped(v, call.path, change);
	vg_remote_call_deinit(&call);
	return error;
}

int virgo_chmod(struct virgo *v, const char *path, mode_t mode)
{
	const struct vg_file_change wanted = vg_remote_change_mode(mode);

	return change(v, path, false, &wanted);
}

int virgo_chown(struct virgo *v, const char *path, uint32_t uid, uint32_t gid)
{
	const struct vg_file_change wanted = vg_remote_change_owner(uid, gid);

	return change(v, path, false, &wanted);
}

int virgo_truncate(struct virgo *v, const char *path, uint64_t size)
{
	const struct vg_file_change wanted = { .mask = VG_HTOBE32(VG_FILE_CHANGE_SIZE), .size = VG_HTOBE64(size) };

	return size > INT64_MAX ? vg_remote_explain(v, -EINVAL, NULL) : change(v, path, true, &wanted);
}

int virgo_utimens(struct virgo *v, const char *path, const struct timespec times[2])
{
	const struct vg_file_change wanted = vg_remote_change_times(times);

	return change(v, path, false, &wanted);
}

/* ---- extended attributes --------------------------------------------------------------------------------------- */

static int check_name(const char *name)
{
	size_t length = name ? strlen(name) : 0;

	return length && length <= VG_FILE_NAME_MAX ? 0 : -ERANGE;
}

/* An answer into the caller's memory; `bytes` 0: how long it is. */
static ssize_t ask_value(struct virgo *v, __u8 opcode, const char *path, const char *name, void *value, size_t bytes)
{
	struct vg_remote_call call;
	ssize_t length;
	int error = begin(&call, v, opcode, path);

	if (error)
		return error;
	call.request.grow = true;
	call.request.body = name;
	call.request.body_length = name ? (__u32)strlen(name) : 0;
	error = end(&call);
	length = (ssize_t)call.request.answer_length;
	if (!error && bytes && (size_t)length > bytes)
		error = vg_remote_explain(v, -ERANGE, NULL);
	if (!error && bytes && length)
		memcpy(value, call.request.into, (size_t)length);
	if (call.request.grown)
		free(call.request.into);
	return error ? error : length;
}

ssize_t virgo_getxattr(struct virgo *v, const char *path, const char *name, void *value, size_t bytes)
{
	int error = check_name(name);

	return error ? vg_remote_explain(v, error, NULL)
		     : ask_value(v, VG_OP_FILE_XATTR_GET, path, name, value, bytes);
}

ssize_t virgo_listxattr(struct virgo *v, const char *path, char *names, size_t bytes)
{
	return ask_value(v, VG_OP_FILE_XATTR_LIST, path, NULL, names, bytes);
}

int virgo_setxattr(struct virgo *v, const char *path, const char *name, const void *value, size_t length, int flags)
{
	struct vg_remote_call call;
	struct vg_file_xattr front = { .flags = VG_HTOBE32((__u32)flags) };
	size_t name_length;
	__u8 *body;
	int error = check_name(name);

	if (!error && length > VG_FILE_XATTR_MAX)
		error = -E2BIG;
	if (error)
		return vg_remote_explain(v, error, NULL);
	name_length = strlen(name);
	body = malloc(sizeof(front) + name_length + length);
	if (!body)
		return vg_remote_explain(v, -ENOMEM, NULL);
	front.name_length = VG_HTOBE32((__u32)name_length);
	memcpy(body, &front, sizeof(front));
	memcpy(body + sizeof(front), name, name_length);
	if (length)
		memcpy(body + sizeof(front) + name_length, value, length);
	error = begin(&call, v, VG_OP_FILE_XATTR_SET, path);
	if (!error) {
		call.request.change = true;
		call.request.body = body;
		call.request.body_length = (__u32)(sizeof(front) + name_length + length);
		error = end(&call);
	}
	free(body);
	return error;
}

int virgo_removexattr(struct virgo *v, const char *path, const char *name)
{
	struct vg_remote_call call;
	int error = check_name(name);

	if (error)
		return vg_remote_explain(v, error, NULL);
	error = begin(&call, v, VG_OP_FILE_XATTR_REMOVE, path);
	if (error)
		return error;
	call.request.change = true;
	call.request.body = name;
	call.request.body_length = (__u32)strlen(name);
	return end(&call);
}
