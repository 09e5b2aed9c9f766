/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is said about files, and changed in that: attributes, extended ones, the file system's size. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#include "mount/mount.h"

static int ask_stat(struct mount *mount, struct client *client, struct node *node, struct virgo_file_stat *ret_stat)
{
	/* An open striped file has the mode and owner that its name had when it was opened. */
	struct target target = { .node = node, .prefer_open = !node->striped };
	int error;

	do {
		error = target_find(mount, client, &target);
		if (!error && target.opened)
			error = virgo_fstat(client->virgo, target.opened->file, ret_stat);
		else if (!error)
			error = virgo_lstat(client->virgo, target.path, ret_stat);
	} while (target_again(mount, client, &target, &error));
	/* Another file has the name now. */
	if (!error && node != &mount->tree.root &&
	    (ret_stat->inode != node->inode || ret_stat->created_ns != node->created_ns))
		error = -ESTALE;
	return error;
}

static void reply_attributes(fuse_req_t req, struct node *node, const struct virgo_file_stat *stat)
{
	struct mount *mount = mount_of(req);
	struct stat attributes;

	(void)tree_note(&mount->tree, node, stat, false);
	fill_stat(mount, node, stat, &attributes);
	fuse_reply_attr(req, &attributes, mount->options.attribute_s);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct node *node = tree_node(&mount->tree, ino);
	struct client *client = client_for(req);
	struct virgo_file_stat stat;
	int error;

	if (!client)
		return;
	error = ask_stat(mount, client, node, &stat);
	clients_put(&mount->clients, client);
	if (error)
		reply_error(req, error);
	else
		reply_attributes(req, node, &stat);
}

/* ---- setattr ---------------------------------------------------------------------------------------------------- */

static int set_mode(struct virgo *virgo, struct target *target, const struct stat *stat)
{
	mode_t mode = stat->st_mode & 07777;

	return target->opened ? virgo_fchmod(virgo, target->opened->file, mode) :
				virgo_chmod(virgo, target->path, mode);
}

static int set_owner(struct virgo *virgo, struct target *target, const struct stat *stat, int to_set)
{
	__u32 uid = to_set & FUSE_SET_ATTR_UID ? stat->st_uid : UINT32_MAX;
	__u32 gid = to_set & FUSE_SET_ATTR_GID ? stat->st_gid : UINT32_MAX;

	return target->opened ? virgo_fchown(virgo, target->opened->file, uid, gid) :
				virgo_chown(virgo, target->path, uid, gid);
}

static int set_times(struct virgo *virgo, struct target *target, const struct stat *stat, int to_set)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (to_set & FUSE_SET_ATTR_ATIME)
		times[0] = stat->st_atim;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		times[0].tv_nsec = UTIME_NOW;
	if (to_set & FUSE_SET_ATTR_MTIME)
		times[1] = stat->st_mtim;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		times[1].tv_nsec = UTIME_NOW;
	return target->opened ? virgo_futimens(virgo, target->opened->file, times) :
				virgo_utimens(virgo, target->path, times);
}

#define SET_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SET_TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)

static int set_all(struct virgo *virgo, struct target *target, const struct stat *stat, int to_set)
{
	int error = 0;

	if (to_set & FUSE_SET_ATTR_SIZE)
		error = target->opened ? virgo_ftruncate(virgo, target->opened->file, (uint64_t)stat->st_size) :
					 virgo_truncate(virgo, target->path, (uint64_t)stat->st_size);
	if (!error && to_set & SET_OWNER)
		error = set_owner(virgo, target, stat, to_set);
	/* Behind the owner, whose change takes bits of the mode away. */
	if (!error && to_set & FUSE_SET_ATTR_MODE)
		error = set_mode(virgo, target, stat);
	if (!error && to_set & SET_TIMES)
		error = set_times(virgo, target, stat, to_set);
	return error;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *stat, int to_set, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct node *node = tree_node(&mount->tree, ino);
	struct client *client = client_for(req);
	struct target target = TARGET(info ? handle_of(info) : NULL, node, NULL);
	struct virgo_file_stat now;
	int error = 0;

	if (!client)
		return;
	if (!mount->options.ids && to_set & SET_OWNER) {
		/* All is said to be the mounter's: it can be given to nobody else. */
		if ((to_set & FUSE_SET_ATTR_UID && stat->st_uid != mount->uid) ||
		    (to_set & FUSE_SET_ATTR_GID && stat->st_gid != mount->gid))
			error = -EPERM;
		to_set &= ~SET_OWNER;
	}
	target.repeatable = true;
	if (!error) {
		do {
			error = target_find(mount, client, &target);
			if (!error)
				error = set_all(client->virgo, &target, stat, to_set);
		} while (target_again(mount, client, &target, &error));
	}
	if (!error)
		error = ask_stat(mount, client, node, &now);
	clients_put(&mount->clients, client);
	if (error)
		reply_error(req, error);
	else
		reply_attributes(req, node, &now);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct virgo_statfs all;
	struct statvfs reply;
	int error;

	if (!client)
		return;
	error = virgo_statfs(client->virgo, &all);
	clients_put(&mount->clients, client);
	if (error) {
		reply_error(req, error);
		return;
	}
	if (!all.block_size)
		all.block_size = 4096;
	reply = (struct statvfs){
		.f_bsize = all.block_size,
		.f_frsize = all.block_size,
		.f_blocks = all.bytes / all.block_size,
		.f_bfree = all.bytes_free / all.block_size,
		.f_bavail = all.bytes_available / all.block_size,
		.f_files = all.files,
		.f_ffree = all.files_free,
		.f_favail = all.files_free,
		.f_namemax = all.name_max,
	};
	fuse_reply_statfs(req, &reply);
}

/* ---- extended attributes ---------------------------------------------------------------------------------------- */

/*
 * The pool keeps "user." alone. What the kernel asks about security before every write is answered here.
 */
static bool is_user(const char *name)
{
	return !strncmp(name, "user.", 5) && name[5];
}

static int not_user(const char *name)
{
	return strcmp(name, "user.") ? -EOPNOTSUPP : -EINVAL;
}

enum xattr_operation { XATTR_GET, XATTR_SET, XATTR_LIST, XATTR_REMOVE };

struct xattr {
	enum xattr_operation operation;
	const char *name, *value;
	size_t size;
	int flags;
};

static ssize_t ask_xattr(struct client *client, const char *path, const struct xattr *xattr)
{
	struct virgo *virgo = client->virgo;

	switch (xattr->operation) {
	case XATTR_GET:
		return virgo_getxattr(virgo, path, xattr->name, client->buffer, MOUNT_XATTR_BYTES);
	case XATTR_SET:
		return virgo_setxattr(virgo, path, xattr->name, xattr->value, xattr->size, xattr->flags);
	case XATTR_LIST:
		return virgo_listxattr(virgo, path, client->buffer, MOUNT_XATTR_BYTES);
	case XATTR_REMOVE:
		return virgo_removexattr(virgo, path, xattr->name);
	}
	return -ENOSYS;
}

static void reply_xattr(fuse_req_t req, const struct xattr *xattr, const char *data, size_t length)
{
	if (xattr->operation == XATTR_SET || xattr->operation == XATTR_REMOVE)
		fuse_reply_err(req, 0);
	else if (!xattr->size)
		fuse_reply_xattr(req, length);
	else if (length > xattr->size)
		reply_error(req, -ERANGE);
	else
		fuse_reply_buf(req, data, length);
}

static void do_xattr(fuse_req_t req, fuse_ino_t ino, const struct xattr *xattr)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, tree_node(&mount->tree, ino), NULL);
	ssize_t length = 0;
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error && target.opened)
			error = -ENODATA; /* it has lost its names, by which alone these are asked */
		else if (!error) {
			length = ask_xattr(client, target.path, xattr);
			error = length < 0 ? (int)length : 0;
		}
	} while (target_again(mount, client, &target, &error));
	if (error)
		reply_error(req, error);
	else
		reply_xattr(req, xattr, client->buffer, (size_t)length);
	clients_put(&mount->clients, client);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	const struct xattr xattr = { .operation = XATTR_GET, .name = name, .size = size };

	if (is_user(name))
		do_xattr(req, ino, &xattr);
	else
		reply_error(req, not_user(name));
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	const struct xattr xattr = {
		.operation = XATTR_SET, .name = name, .value = value, .size = size, .flags = flags
	};

	if (is_user(name))
		do_xattr(req, ino, &xattr);
	else
		reply_error(req, not_user(name));
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	const struct xattr xattr = { .operation = XATTR_LIST, .size = size };

	do_xattr(req, ino, &xattr);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	const struct xattr xattr = { .operation = XATTR_REMOVE, .name = name };

	if (is_user(name))
		do_xattr(req, ino, &xattr);
	else
		reply_error(req, not_user(name));
}
