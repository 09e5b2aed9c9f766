// SPDX-License-Identifier: GPL-3.0-or-later
/* The tree's system calls: names, stubs and the pool's own notes beneath the root. All may block: helper threads. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/number.h"
#include "svc/file/disk.h"
#include "svc/file/tree_inner.h"

#define OWN VG_FILE_RESERVED "/"
#define DEPTH_MAX 2048 /* of directories in a path */

/* ---- ways ------------------------------------------------------------------------------------------------------- */

int vg_tree_beneath(int at, const char *path, int flags)
{
	struct open_how how = {
		.flags = (__u64)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, at, path[0] ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* The directory a path is in, and where its name begins. A descriptor, or -errno. */
static int open_parent(int root, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char parent[VG_FILE_PATH_MAX + 1];

	*ret_name = slash ? slash + 1 : path;
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	return vg_tree_beneath(root, parent, O_PATH | O_DIRECTORY);
}

/* What a link says; NONE: no stub. -errno: it cannot be read. */
int vg_tree_read_stub(int parent, const char *name, struct vg_stub *ret_stub)
{
	char target[VG_STUB_TARGET_MAX];
	ssize_t length = readlinkat(parent, name, target, sizeof(target));

	ret_stub->kind = VG_STUB_NONE;
	if (length < 0)
		return errno == EINVAL ? 0 : -errno;
	if (length < (ssize_t)sizeof(target))
		(void)vg_stub_parse(target, (size_t)length, ret_stub);
	return 0;
}

static __u32 read_pin(int parent, const char *name)
{
	char value[16];
	__u64 node;
	int fd = vg_tree_beneath(parent, name, O_RDONLY | O_DIRECTORY);
	ssize_t length = fd < 0 ? -1 : fgetxattr(fd, VG_TREE_PIN, value, sizeof(value) - 1);

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return 0;
	value[length] = '\0';
	return vg_number_parse(value, VG_NODES_MAX - 1, &node) ? 0 : (__u32)node + 1;
}

static int look_at(int parent, const char *name, struct vg_tree_look *ret_look)
{
	struct stat stat;
	int error;

	*ret_look = (struct vg_tree_look){ .kind = VG_KIND_NOTHING };
	if (fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	ret_look->mode = stat.st_mode;
	if (S_ISDIR(stat.st_mode)) {
		ret_look->kind = VG_KIND_DIRECTORY;
		ret_look->pin = read_pin(parent, name);
		return 0;
	}
	ret_look->kind = VG_KIND_FILE;
	if (!S_ISLNK(stat.st_mode))
		return 0;
	error = vg_tree_read_stub(parent, name, &ret_look->stub);
	if (error)
		return error;
	ret_look->kind = ret_look->stub.kind == VG_STUB_HOME	? VG_KIND_STUB :
			 ret_look->stub.kind == VG_STUB_STRIPED ? VG_KIND_STRIPED :
								  VG_KIND_SYMLINK;
	return 0;
}

int vg_tree_look(int root, const char *path, struct vg_tree_look *ret_look)
{
	const char *name;
	int parent, error;

	*ret_look = (struct vg_tree_look){ .kind = VG_KIND_NOTHING };
	if (!path[0]) {
		ret_look->kind = VG_KIND_DIRECTORY;
		ret_look->mode = S_IFDIR | 0755;
		return 0;
	}
	parent = open_parent(root, path, &name);
	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	error = look_at(parent, name, ret_look);
	close(parent);
	return error;
}

/* ---- making ---------------------------------------------------------------------------------------------------- */

/* A copy is no news: the directory it is in keeps its times. */
static int make_copy(int parent, const char *name)
{
	struct stat before;
	bool known = !fstat(parent, &before);

	if (mkdirat(parent, name, 0755))
		return errno == EEXIST ? 0 : -errno;
	if (known)
		(void)utimensat(parent, ".", (struct timespec[]){ before.st_atim, before.st_mtim }, 0);
	return 0;
}

int vg_tree_make_parents(int root, const char *path)
{
	int at = vg_tree_beneath(root, "", O_PATH | O_DIRECTORY), error = at < 0 ? at : 0;
	const char *slash;

	vg_disk_enter();
	for (; !error && (slash = strchr(path, '/')); path = slash + 1) {
		char name[VG_FILE_NAME_MAX + 1];
		int next;

		snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		next = vg_tree_beneath(at, name, O_PATH | O_DIRECTORY);
		if (next == -ENOENT) {
			error = make_copy(at, name);
			next = error ?: vg_tree_beneath(at, name, O_PATH | O_DIRECTORY);
		}
		error = next < 0 ? next : 0;
		if (!error) {
			close(at);
			at = next;
		}
	}
	if (at >= 0)
		close(at);
	return error;
}

/* The parent, made if it is missing. */
int vg_tree_need_parent(int root, const char *path, const char **ret_name)
{
	int parent = open_parent(root, path, ret_name);

	if (parent == -ENOENT) {
		int error = vg_tree_make_parents(root, path);

		parent = error ?: open_parent(root, path, ret_name);
	}
	return parent;
}

int vg_tree_create(int root, const char *path, __u32 mode)
{
	const char *name;
	int parent = vg_tree_need_parent(root, path, &name), fd;

	if (parent < 0)
		return parent;
	vg_disk_enter();
	/* Who made it must be able to open it; CREATED gives it the mode that was asked for. */
	fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode & 07777) | 0600);
	if (fd < 0)
		fd = -errno;
	close(parent);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* A symbolic link that appears as one step, whatever was there (but a directory). */
static int replace_link(int root, int parent, const char *name, const char *target)
{
	static __u64 counter;
	char temporary[80];

	snprintf(temporary, sizeof(temporary), OWN "new/%d.%llx", getpid(),
		 __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED));
	(void)unlinkat(root, temporary, 0);
	if (symlinkat(target, root, temporary))
		return -errno;
	if (renameat(root, temporary, parent, name)) {
		int error = -errno;

		(void)unlinkat(root, temporary, 0);
		return error;
	}
	return 0;
}

/* Whatever replaces or removes a striped file's stub keeps it in the trash first: its pieces must go too. */
static int keep_stripes(int root, int parent, const char *name)
{
	struct vg_stub stub;
	char trash[64];
	int error = vg_tree_read_stub(parent, name, &stub);

	if (error == -ENOENT || (!error && stub.kind != VG_STUB_STRIPED))
		return 0;
	if (error)
		return error;
	snprintf(trash, sizeof(trash), OWN "trash/%016llx", stub.id);
	return linkat(parent, name, root, trash, 0) && errno != EEXIST ? -errno : 0;
}

int vg_tree_stub_make(int root, const char *path, __u16 home, bool replace)
{
	const struct vg_stub stub = { .kind = VG_STUB_HOME, .home = home };
	char target[VG_STUB_TARGET_MAX];
	const char *name;
	int parent = vg_tree_need_parent(root, path, &name), error = 0;

	if (parent < 0)
		return parent;
	(void)vg_stub_format(&stub, target);
	if (replace)
		error = keep_stripes(root, parent, name) ?: replace_link(root, parent, name, target);
	else if (symlinkat(target, parent, name))
		error = -errno;
	close(parent);
	return error;
}

int vg_tree_stub_remove(int root, const char *path, __u16 home)
{
	struct vg_stub stub;
	const char *name;
	int parent = open_parent(root, path, &name), error;

	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	error = vg_tree_read_stub(parent, name, &stub);
	if (!error && stub.kind == VG_STUB_HOME && stub.home == home && unlinkat(parent, name, 0))
		error = -errno;
	close(parent);
	return error == -ENOENT ? 0 : error;
}

/* ---- changing -------------------------------------------------------------------------------------------------- */

int vg_tree_unlink(int root, const char *path)
{
	struct vg_tree_look look;
	const char *name;
	int parent = open_parent(root, path, &name), error;

	if (parent < 0)
		return parent;
	error = look_at(parent, name, &look);
	if (!error && (look.kind == VG_KIND_NOTHING || look.kind == VG_KIND_STUB))
		error = -ENOENT;
	if (!error && look.kind == VG_KIND_STRIPED)
		error = keep_stripes(root, parent, name);
	if (!error && unlinkat(parent, name, 0))
		error = -errno;
	close(parent);
	return error;
}

static bool is_same_object(int parent, const char *name, const struct stat *as)
{
	struct stat stat;

	return !fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) && stat.st_ino == as->st_ino &&
	       stat.st_dev == as->st_dev;
}

/* Both parents, the second made if it is missing. 0 or -errno; what is >= 0 is to be closed. */
static int open_both(int root, const char *from, const char *to, int fd[2], const char *name[2])
{
	fd[1] = -1;
	fd[0] = open_parent(root, from, &name[0]);
	if (fd[0] < 0)
		return fd[0];
	fd[1] = vg_tree_need_parent(root, to, &name[1]);
	return fd[1] < 0 ? fd[1] : 0;
}

static void close_both(const int fd[2])
{
	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

int vg_tree_move(int root, const char *from, const char *to, bool no_replace)
{
	struct vg_tree_look look;
	const char *name[2];
	struct stat stat;
	int fd[2], error = open_both(root, from, to, fd, name);

	if (!error && fstatat(fd[0], name[0], &stat, AT_SYMLINK_NOFOLLOW))
		error = -errno;
	error = error ?: look_at(fd[0], name[0], &look);
	if (!error && look.kind == VG_KIND_STUB)
		error = -ENOENT;
	error = error ?: look_at(fd[1], name[1], &look);
	/* A stub in the way is the name's own: it is replaced. */
	no_replace &= !error && vg_kind_is_object(look.kind);
	if (!error && look.kind == VG_KIND_DIRECTORY)
		error = S_ISDIR(stat.st_mode) ? 0 : -EISDIR;
	if (!error && look.kind == VG_KIND_STRIPED)
		error = keep_stripes(root, fd[1], name[1]);
	if (!error && syscall(SYS_renameat2, fd[0], name[0], fd[1], name[1], no_replace ? RENAME_NOREPLACE : 0))
		error = -errno;
	/* Two names of one file: rename(2) leaves both. */
	if (!error && is_same_object(fd[0], name[0], &stat))
		error = 1;
	close_both(fd);
	return error;
}

int vg_tree_link(int root, const char *from, const char *to)
{
	struct vg_tree_look look;
	const char *name[2];
	int fd[2], error = open_both(root, from, to, fd, name);

	error = error ?: look_at(fd[0], name[0], &look);
	if (!error && look.kind == VG_KIND_STRIPED)
		error = -EPERM; /* which of two names would have the pieces removed? */
	if (!error && (look.kind == VG_KIND_STUB || look.kind == VG_KIND_NOTHING))
		error = -ENOENT;
	error = error ?: look_at(fd[1], name[1], &look);
	if (!error && look.kind == VG_KIND_STUB && unlinkat(fd[1], name[1], 0))
		error = -errno; /* whatever it named is not there: the name node has asked */
	if (!error && linkat(fd[0], name[0], fd[1], name[1], 0))
		error = -errno;
	close_both(fd);
	return error;
}

/* ---- directories ----------------------------------------------------------------------------------------------- */

/* fn for each entry of an open directory, which is read from its start. fn: 0 to go on, or what to return. */
int vg_tree_each_entry(int directory, vg_tree_entry_fn fn, void *context)
{
	int fd = vg_tree_beneath(directory, "", O_RDONLY | O_DIRECTORY), error = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!stream) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	while (!error && (entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			error = fn(context, directory, entry->d_name);
	closedir(stream);
	return error;
}

struct empty_walk {
	const struct vg_tree_mine *mine;
	int depth;
};

static int check_entry(void *context, int directory, const char *name)
{
	struct empty_walk *walk = context;
	struct vg_tree_look look;
	int error = look_at(directory, name, &look), fd;

	if (error || look.kind == VG_KIND_STUB || look.kind == VG_KIND_NOTHING)
		return error;
	if (look.kind != VG_KIND_DIRECTORY || ++walk->depth > DEPTH_MAX ||
	    vg_cluster_owner(walk->mine->cluster, vg_file_partition(name, (__u32)strlen(name))) == walk->mine->self)
		return -ENOTEMPTY;
	fd = vg_tree_beneath(directory, name, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	error = vg_tree_each_entry(fd, check_entry, walk);
	close(fd);
	walk->depth--;
	return error;
}

int vg_tree_empty(int root, const char *path, const struct vg_tree_mine *mine)
{
	struct empty_walk walk = { .mine = mine };
	int fd = vg_tree_beneath(root, path, O_RDONLY | O_DIRECTORY), error;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	error = vg_tree_each_entry(fd, check_entry, &walk);
	close(fd);
	return error;
}

/* Stubs and empty directories, from the leaves up; anything else stops it. */
static int drop_entry(void *context, int directory, const char *name)
{
	int *depth = context, error, fd;
	struct vg_tree_look look;

	error = look_at(directory, name, &look);
	if (error || look.kind == VG_KIND_NOTHING)
		return error;
	if (look.kind == VG_KIND_STUB)
		return unlinkat(directory, name, 0) ? -errno : 0;
	if (look.kind != VG_KIND_DIRECTORY || ++*depth > DEPTH_MAX)
		return -ENOTEMPTY;
	fd = vg_tree_beneath(directory, name, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	error = vg_tree_each_entry(fd, drop_entry, depth);
	close(fd);
	--*depth;
	return error ?: unlinkat(directory, name, AT_REMOVEDIR) ? -errno : 0;
}

int vg_tree_drop(int root, const char *path)
{
	const char *name;
	int parent = open_parent(root, path, &name), depth = 0, error;
	struct vg_tree_look look;

	if (parent < 0)
		return parent == -ENOENT ? 0 : parent;
	error = look_at(parent, name, &look);
	if (!error && look.kind != VG_KIND_NOTHING)
		error = look.kind == VG_KIND_DIRECTORY ? drop_entry(&depth, parent, name) : -ENOTDIR;
	close(parent);
	return error;
}

/* Where both exist, what is in one goes into the other. */
static int merge_entry(void *context, int from, const char *name)
{
	int to = *(int *)context, inner[2], error;

	if (!syscall(SYS_renameat2, from, name, to, name, RENAME_NOREPLACE))
		return 0;
	if (errno != EEXIST)
		return -errno;
	inner[0] = vg_tree_beneath(from, name, O_RDONLY | O_DIRECTORY);
	if (inner[0] < 0) /* the younger one is right */
		return unlinkat(from, name, 0) ? -errno : 0;
	inner[1] = vg_tree_beneath(to, name, O_RDONLY | O_DIRECTORY);
	error = inner[1] < 0 ? inner[1] : vg_tree_each_entry(inner[0], merge_entry, &inner[1]);
	close_both(inner);
	return error ?: unlinkat(from, name, AT_REMOVEDIR) ? -errno : 0;
}

static int merge(int from, const char *from_name, int to, const char *to_name)
{
	int fd[2] = { vg_tree_beneath(from, from_name, O_RDONLY | O_DIRECTORY), -1 }, error;

	fd[1] = vg_tree_beneath(to, to_name, O_RDONLY | O_DIRECTORY);
	error = fd[0] < 0 ? fd[0] : fd[1] < 0 ? fd[1] : vg_tree_each_entry(fd[0], merge_entry, &fd[1]);
	close_both(fd);
	return error ?: unlinkat(from, from_name, AT_REMOVEDIR) ? -errno : 0;
}

/* The directory is new here: make it as it is where its name was. */
static int must_have(int root, const char *path, __u32 mode)
{
	const char *name;
	int parent = vg_tree_need_parent(root, path, &name), error = 0;

	if (parent < 0)
		return parent;
	if (mkdirat(parent, name, 0755) && errno != EEXIST)
		error = -errno;
	if (!error && fchmodat(parent, name, mode & 07777, 0))
		error = -errno;
	close(parent);
	return error;
}

int vg_tree_shift(int root, const char *from, const char *to, bool must, __u32 mode)
{
	struct vg_tree_look look;
	const char *name[2];
	int fd[2], error = vg_tree_look(root, from, &look);

	vg_disk_enter();
	if (!error && look.kind == VG_KIND_DIRECTORY) {
		error = open_both(root, from, to, fd, name);
		if (!error && renameat(fd[0], name[0], fd[1], name[1])) {
			error = -errno;
			if (error == -ENOTEMPTY || error == -EEXIST)
				error = merge(fd[0], name[0], fd[1], name[1]);
		}
		close_both(fd);
	}
	return error ?: must ? must_have(root, to, mode) : 0;
}

/* ---- attributes of directories ---------------------------------------------------------------------------------- */

/* One extended attribute behind the others; false: it has no room. */
static bool pack_attribute(int fd, const char *name, __u8 *at, size_t room, size_t *ret_length)
{
	size_t name_length = strlen(name) + 1;
	ssize_t length;
	__u32 value_length;

	if (room < name_length + sizeof(value_length))
		return false;
	length = fgetxattr(fd, name, at + name_length + sizeof(value_length),
			   room - name_length - sizeof(value_length));
	if (length < 0)
		return false;
	value_length = (__u32)length;
	memcpy(at, name, name_length);
	memcpy(at + name_length, &value_length, sizeof(value_length));
	*ret_length = name_length + sizeof(value_length) + value_length;
	return true;
}

int vg_tree_attributes_read(int root, const char *path, void *buffer, __u32 bytes)
{
	struct vg_tree_attributes *attributes = buffer;
	size_t at = sizeof(*attributes), length = 0;
	char names[4096];
	struct stat stat;
	ssize_t names_length;
	int fd = vg_tree_beneath(root, path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return fd;
	if (fstat(fd, &stat)) {
		close(fd);
		return -EIO;
	}
	*attributes = (struct vg_tree_attributes){
		.mode = stat.st_mode & 07777,
		.uid = stat.st_uid,
		.gid = stat.st_gid,
		.accessed_s = (__u64)stat.st_atim.tv_sec,
		.accessed_ns = (__u64)stat.st_atim.tv_nsec,
		.modified_s = (__u64)stat.st_mtim.tv_sec,
		.modified_ns = (__u64)stat.st_mtim.tv_nsec,
	};
	names_length = flistxattr(fd, names, sizeof(names));
	for (ssize_t i = 0; i < names_length; i += (ssize_t)strlen(names + i) + 1)
		if (!strncmp(names + i, "user.", 5) &&
		    pack_attribute(fd, names + i, (__u8 *)buffer + at, bytes - at, &length))
			at += length;
	close(fd);
	return (int)at;
}

int vg_tree_attributes_write(int root, const char *path, const void *buffer, __u32 length, bool owners)
{
	const struct vg_tree_attributes *attributes = buffer;
	const __u8 *at = attributes->extended, *end = (const __u8 *)buffer + length;
	int fd = vg_tree_beneath(root, path, O_RDONLY | O_DIRECTORY), error = 0;

	if (fd < 0)
		return fd;
	while (at < end) {
		const char *name = (const char *)at;
		const __u8 *value = memchr(at, '\0', (size_t)(end - at));
		__u32 value_length;

		if (!value || end - value < 1 + (ssize_t)sizeof(value_length))
			break;
		memcpy(&value_length, value + 1, sizeof(value_length));
		value += 1 + sizeof(value_length);
		if (value_length > end - value || strncmp(name, "user.", 5))
			break;
		if (fsetxattr(fd, name, value, value_length, 0))
			error = -errno;
		at = value + value_length;
	}
	if (owners && fchown(fd, attributes->uid, attributes->gid))
		error = -errno;
	if (fchmod(fd, attributes->mode & 07777))
		error = -errno;
	if (futimens(fd, (struct timespec[]){ { (time_t)attributes->accessed_s, (long)attributes->accessed_ns },
					      { (time_t)attributes->modified_s, (long)attributes->modified_ns } }))
		error = -errno;
	close(fd);
	return error;
}
