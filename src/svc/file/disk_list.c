// SPDX-License-Identifier: GPL-3.0-or-later
/* What is in a directory, and extended attributes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "svc/file/disk.h"

#define XATTR_PREFIX "user."

/* ---- lists ----------------------------------------------------------------------------------------------------- */

struct linux_dirent { /* getdents64(2)'s */
	__u64 inode;
	__u64 cursor;
	__u16 length;
	__u8 type;
	char name[];
};

/* 1: fn has stopped; 0: all of these went; *cursor: behind the last one that did. */
static int list_some(int fd, const __u8 *data, size_t bytes, vg_disk_entry_fn fn, void *context, __u64 *cursor)
{
	for (size_t at = 0; at < bytes;) {
		const struct linux_dirent *from = (const void *)(data + at);
		struct vg_disk_entry entry = {
			.name = from->name,
			.length = (__u32)strlen(from->name),
			.type = from->type,
			.inode = from->inode,
			.cursor = from->cursor,
			.dir_fd = fd,
		};
		bool own = !strcmp(from->name, ".") || !strcmp(from->name, "..");
		int result = own ? 0 : fn(context, &entry);

		if (result)
			return result;
		*cursor = from->cursor;
		at += from->length;
	}
	return 0;
}

int vg_disk_list(int root_fd, const char *path, __u64 cursor, vg_disk_entry_fn fn, void *context, __u64 *ret_cursor)
{
	__u8 data[32768] __attribute__((aligned(8)));
	struct open_how how;
	int fd, result = 0;

	vg_disk_how(&how, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	fd = vg_disk_open_how(root_fd, path, &how);
	if (fd < 0)
		return fd;
	if (cursor && lseek(fd, (off_t)cursor, SEEK_SET) < 0)
		result = -errno;
	while (!result) {
		long bytes = syscall(SYS_getdents64, fd, data, sizeof(data));

		if (bytes <= 0) {
			result = bytes ? -errno : 0;
			cursor = 0;
			break;
		}
		result = list_some(fd, data, (size_t)bytes, fn, context, &cursor);
	}
	close(fd);
	if (result >= 0)
		*ret_cursor = cursor;
	return result < 0 ? result : 0;
}

/* ---- extended attributes --------------------------------------------------------------------------------------- */

static bool is_users(const char *name)
{
	return !strncmp(name, XATTR_PREFIX, sizeof(XATTR_PREFIX) - 1) && name[sizeof(XATTR_PREFIX) - 1];
}

/* The calls take no mere handle, but its name in /proc: the one magic link that is followed, and made here. */
struct xattr_path {
	int fd; /* to be closed, -1: none */
	char text[40];
};

static int xattr_open(int root_fd, const char *path, int fd, char *ret_target, struct xattr_path *ret_path)
{
	struct statx stat;
	int error = 0;

	ret_path->fd = -1;
	if (fd < 0) {
		fd = ret_path->fd = vg_disk_look(root_fd, path, &stat, ret_target);
		if (fd < 0)
			return fd;
		if (!S_ISREG(stat.stx_mode) && !S_ISDIR(stat.stx_mode))
			error = S_ISLNK(stat.stx_mode) ? -ELOOP : -EPERM;
	}
	if (error) {
		close(ret_path->fd);
		return error;
	}
	snprintf(ret_path->text, sizeof(ret_path->text), "/proc/self/fd/%d", fd);
	return 0;
}

static int xattr_result(struct xattr_path *path, ssize_t result)
{
	int error = errno;

	if (path->fd >= 0)
		close(path->fd);
	return result < 0 ? -error : (int)result;
}

int vg_disk_xattr_get(int root_fd, const char *path, int fd, char *ret_target, const char *name, void *value,
		      size_t bytes)
{
	struct xattr_path at;
	int error = is_users(name) ? xattr_open(root_fd, path, fd, ret_target, &at) : -EOPNOTSUPP;

	return error ?: xattr_result(&at, getxattr(at.text, name, value, bytes));
}

int vg_disk_xattr_set(int root_fd, const char *path, int fd, char *ret_target, const char *name, const void *value,
		      size_t length, int flags)
{
	struct xattr_path at;
	int error = is_users(name) ? xattr_open(root_fd, path, fd, ret_target, &at) : -EOPNOTSUPP;

	return error ?: xattr_result(&at, setxattr(at.text, name, value, length, flags));
}

int vg_disk_xattr_remove(int root_fd, const char *path, int fd, char *ret_target, const char *name)
{
	struct xattr_path at;
	int error = is_users(name) ? xattr_open(root_fd, path, fd, ret_target, &at) : -EOPNOTSUPP;

	return error ?: xattr_result(&at, removexattr(at.text, name));
}

int vg_disk_xattr_list(int root_fd, const char *path, int fd, char *ret_target, char *names, size_t bytes)
{
	struct xattr_path at;
	int error = xattr_open(root_fd, path, fd, ret_target, &at), length, kept = 0;

	if (error)
		return error;
	length = xattr_result(&at, listxattr(at.text, names, bytes));
	for (int from = 0, next; from < length; from = next) {
		int name = (int)strlen(names + from) + 1;

		next = from + name;
		if (!is_users(names + from))
			continue;
		memmove(names + kept, names + from, (size_t)name);
		kept += name;
	}
	return length < 0 ? length : kept;
}
