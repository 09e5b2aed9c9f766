// SPDX-License-Identifier: GPL-3.0-or-later
/* The pool's own files beneath the root: notes of changes under way, stubs and pieces of striped files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "svc/file/disk.h"
#include "svc/file/tree_inner.h"

#define OWN VG_FILE_RESERVED "/"

/* ---- notes ----------------------------------------------------------------------------------------------------- */

static const char *const own_directories[] = { "new", "making", "trash", "renames", "moves", "pieces", "attributes" };

int vg_tree_make_own(int root)
{
	char path[32];

	vg_disk_enter();
	if (mkdirat(root, VG_FILE_RESERVED, 0700) && errno != EEXIST)
		return -errno;
	for (size_t i = 0; i < sizeof(own_directories) / sizeof(own_directories[0]); i++) {
		snprintf(path, sizeof(path), OWN "%s", own_directories[i]);
		if (mkdirat(root, path, 0700) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

int vg_tree_note_write(int root, const char *kind, __u64 id, const char *text, __u32 length)
{
	char temporary[80], path[80];
	int fd, error = 0;

	snprintf(temporary, sizeof(temporary), OWN "new/%s.%016llx", kind, id);
	snprintf(path, sizeof(path), OWN "%s/%016llx", kind, id);
	fd = openat(root, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length)
		error = -EIO;
	close(fd);
	if (!error && renameat(root, temporary, root, path))
		error = -errno;
	if (error)
		(void)unlinkat(root, temporary, 0);
	return error;
}

int vg_tree_note_read(int root, const char *kind, __u64 id, char text[VG_TREE_NOTE_MAX])
{
	ssize_t length;
	char path[80];
	int fd;

	snprintf(path, sizeof(path), OWN "%s/%016llx", kind, id);
	fd = openat(root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, VG_TREE_NOTE_MAX - 1);
	close(fd);
	if (length < 0)
		return -EIO;
	text[length] = '\0';
	return (int)length;
}

int vg_tree_note_remove(int root, const char *kind, __u64 id)
{
	char path[80];

	snprintf(path, sizeof(path), OWN "%s/%016llx", kind, id);
	return unlinkat(root, path, 0) && errno != ENOENT ? -errno : 0;
}

struct notes_walk {
	bool (*fn)(void *context, __u64 id);
	void *context;
};

static int note_entry(void *context, int directory, const char *name)
{
	struct notes_walk *walk = context;
	char *end;
	__u64 id = strtoull(name, &end, 16);

	return end == name || *end || walk->fn(walk->context, id) ? 0 : -ECANCELED;
}

int vg_tree_notes(int root, const char *kind, bool (*fn)(void *context, __u64 id), void *context)
{
	struct notes_walk walk = { .fn = fn, .context = context };
	char path[80];
	int fd, error;

	snprintf(path, sizeof(path), OWN "%s", kind);
	fd = vg_tree_beneath(root, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	error = vg_tree_each_entry(fd, note_entry, &walk);
	close(fd);
	return error == -ECANCELED ? 0 : error;
}

/* ---- striped files --------------------------------------------------------------------------------------------- */

static void making_path(__u64 id, char path[64])
{
	snprintf(path, 64, OWN "making/%016llx", id);
}

int vg_tree_making_begin(int root, const struct vg_stub *stub)
{
	char target[VG_STUB_TARGET_MAX], path[64];

	(void)vg_stub_format(stub, target);
	making_path(stub->id, path);
	return symlinkat(target, root, path) ? -errno : 0;
}

int vg_tree_making_place(int root, __u64 id, const char *path)
{
	char making[64];
	const char *name;
	int parent = vg_tree_need_parent(root, path, &name), error = 0;

	if (parent < 0)
		return parent;
	making_path(id, making);
	if (syscall(SYS_renameat2, root, making, parent, name, RENAME_NOREPLACE))
		error = -errno;
	close(parent);
	return error;
}

int vg_tree_making_end(int root, __u64 id)
{
	char making[64], trash[64];

	making_path(id, making);
	snprintf(trash, sizeof(trash), OWN "trash/%016llx", id);
	return renameat(root, making, root, trash) && errno != ENOENT ? -errno : 0;
}

int vg_tree_trash_read(int root, __u64 id, struct vg_stub *ret_stub)
{
	struct stat stat;
	char path[64];
	int error;

	snprintf(path, sizeof(path), OWN "trash/%016llx", id);
	if (fstatat(root, path, &stat, AT_SYMLINK_NOFOLLOW))
		return -errno;
	error = vg_tree_read_stub(root, path, ret_stub);
	if (!error && ret_stub->kind != VG_STUB_STRIPED)
		error = -EINVAL;
	return error ?: stat.st_nlink > 1;
}

int vg_tree_trash_remove(int root, __u64 id, bool attributes)
{
	char path[64];

	vg_tree_attributes_path(id, path);
	if (attributes)
		(void)unlinkat(root, path, 0);
	snprintf(path, sizeof(path), OWN "trash/%016llx", id);
	return unlinkat(root, path, 0) && errno != ENOENT ? -errno : 0;
}

void vg_tree_attributes_path(__u64 id, char path[64])
{
	snprintf(path, 64, OWN "attributes/%016llx", id);
}

int vg_tree_attributes_make(int root, __u64 id, __u32 mode)
{
	char path[64];
	int fd;

	vg_disk_enter();
	vg_tree_attributes_path(id, path);
	fd = openat(root, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode & 07777);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

void vg_tree_piece_path(__u64 id, __u32 index, char path[80])
{
	snprintf(path, 80, OWN "pieces/%016llx.%u", id, index);
}

int vg_tree_piece_make(int root, __u64 id, __u32 index)
{
	char path[80];
	int fd;

	vg_disk_enter();
	vg_tree_piece_path(id, index, path);
	fd = openat(root, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int vg_tree_piece_drop(int root, __u64 id, __u32 index)
{
	char path[80];

	vg_tree_piece_path(id, index, path);
	return unlinkat(root, path, 0) && errno != ENOENT ? -errno : 0;
}
