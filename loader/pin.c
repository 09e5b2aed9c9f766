// SPDX-License-Identifier: GPL-3.0-or-later
#include "pin.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "caps.h"
#include "explain.h"
#include "virgo/maps.h"

#define LOCK_TRIES_MAX 250 /* of 20 ms: another agent's command takes far less than five seconds */

static const char *const directory_names[VG_PIN_DIRECTORY_MAX] = {
	[VG_PIN_MAPS] = "maps",
	[VG_PIN_PROGS] = "progs",
	[VG_PIN_PROGS_NEXT] = "progs_next",
	[VG_PIN_LINKS] = "links",
};

static void layout_path(const struct vg_pin_root *root, char (*ret_path)[VG_PIN_PATH_BYTES])
{
	snprintf(*ret_path, sizeof(*ret_path), "%s/v%d", root->path, VG_LAYOUT_VERSION);
}

static void directory_path(const struct vg_pin_root *root, enum vg_pin_directory directory,
			   char (*ret_path)[VG_PIN_PATH_BYTES])
{
	assert(directory < VG_PIN_DIRECTORY_MAX);
	snprintf(*ret_path, sizeof(*ret_path), "%s/v%d/%s", root->path, VG_LAYOUT_VERSION, directory_names[directory]);
}

void vg_pin_path(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name,
		 char (*ret_path)[VG_PIN_PATH_BYTES])
{
	assert(directory < VG_PIN_DIRECTORY_MAX && strlen(name) < VG_PIN_NAME_BYTES);
	snprintf(*ret_path, sizeof(*ret_path), "%s/v%d/%s/%s", root->path, VG_LAYOUT_VERSION,
		 directory_names[directory], name);
}

bool vg_pin_is_bpffs(const char *path)
{
	struct statfs filesystem;

	return !statfs(path, &filesystem) && (unsigned long)filesystem.f_type == BPF_FS_MAGIC;
}

int vg_pin_root_init(struct vg_pin_root *root, const char *path)
{
	size_t length = strlen(path);

	memset(root, 0, sizeof(*root));
	root->lock_fd = -1;
	while (length > 1 && path[length - 1] == '/')
		length--;
	if (path[0] != '/' || length > VG_PIN_ROOT_BYTES_MAX)
		return vg_explain(-EINVAL, "--pin-root must be an absolute path of at most %d bytes",
				  VG_PIN_ROOT_BYTES_MAX);
	memcpy(root->path, path, length);
	return 0;
}

/* ---- changes and the way back ---------------------------------------------------------------------------------- */

static void change_record(struct vg_pin_root *root, const char *path, bool directory)
{
	assert(root->changes_count < VG_PIN_CHANGES_MAX);
	snprintf(root->changes[root->changes_count].path, VG_PIN_PATH_BYTES, "%s", path);
	root->changes[root->changes_count++].directory = directory;
}

void vg_pin_commit(struct vg_pin_root *root)
{
	root->changes_count = 0;
}

void vg_pin_rollback(struct vg_pin_root *root)
{
	/* Removing what this process just made can fail only if somebody else changed it: then it is theirs. */
	while (root->changes_count > 0) {
		root->changes_count--;
		if (root->changes[root->changes_count].directory)
			(void)rmdir(root->changes[root->changes_count].path);
		else
			(void)unlink(root->changes[root->changes_count].path);
	}
}

static int make(struct vg_pin_root *root, const char *path)
{
	if (mkdir(path, 0755)) {
		int error = -errno;

		return error == -EEXIST
			       ? 0
			       : vg_explain(error, "%s: cannot make the directory: %s", path, strerror(-error));
	}
	change_record(root, path, true);
	return 0;
}

/* Make the root and what is missing above it, as long as all that is on a bpffs. */
static int root_make(struct vg_pin_root *root)
{
	char path[VG_PIN_PATH_BYTES], parent[VG_PIN_PATH_BYTES] = "/";
	int error = 0;

	for (size_t end = 1; !error && end <= strlen(root->path); end++) {
		if (root->path[end] != '/' && root->path[end] != '\0')
			continue;
		snprintf(path, sizeof(path), "%.*s", (int)end, root->path);
		if (access(path, F_OK)) {
			if (!vg_pin_is_bpffs(parent))
				return vg_explain(-ENOTSUP,
						  "%s is not a bpffs: mount -t bpf bpf %s, or name one by --pin-root",
						  parent, parent);
			error = make(root, path);
		}
		snprintf(parent, sizeof(parent), "%s", path);
	}
	return error;
}

/* ---- the lock -------------------------------------------------------------------------------------------------- */

/* Whether the locked descriptor is still what the path names: the holder before us may have removed it. */
static bool still_there(int fd, const char *path)
{
	struct stat locked, named;

	return !fstat(fd, &locked) && !stat(path, &named) && locked.st_ino == named.st_ino &&
	       locked.st_dev == named.st_dev;
}

static int lock_try(struct vg_pin_root *root)
{
	int error, fd = open(root->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		error = -errno;
		goto fail;
	}
	error = still_there(fd, root->path) ? 0 : -EWOULDBLOCK;
	if (error)
		goto fail;
	root->lock_fd = fd;
	return 0;
fail:
	close(fd);
	return error;
}

int vg_pin_root_lock(struct vg_pin_root *root, bool create)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	int error = 0;

	assert(root->lock_fd < 0);
	for (int tries = 0; tries < LOCK_TRIES_MAX; tries++) {
		if (create)
			error = root_make(root);
		if (!error)
			error = lock_try(root);
		if (!error)
			break;
		vg_pin_rollback(root);
		if (error != -EWOULDBLOCK)
			break;
		nanosleep(&pause, NULL);
	}
	if (error == -EWOULDBLOCK)
		return vg_explain(-EBUSY, "%s is locked by another agent", root->path);
	if (error == -ENOENT)
		return vg_explain(error, "nothing is loaded at %s", root->path);
	if (!error && !vg_pin_is_bpffs(root->path)) {
		vg_pin_root_unlock(root);
		return vg_explain(-ENOTSUP, "%s is not on a bpffs: mount -t bpf bpf %s", root->path, root->path);
	}
	if (error)
		vg_explain(error, "%s: %s", root->path, strerror(-error));
	return error;
}

void vg_pin_root_unlock(struct vg_pin_root *root)
{
	if (root->lock_fd >= 0)
		close(root->lock_fd);
	root->lock_fd = -1;
}

/* ---- layouts and directories ----------------------------------------------------------------------------------- */

int vg_pin_layout_check(const struct vg_pin_root *root)
{
	DIR *entries = opendir(root->path);
	struct dirent *entry;
	unsigned int layout;
	int error = 0;

	if (!entries)
		return -errno;
	while (!error && (entry = readdir(entries))) {
		char rest;

		if (sscanf(entry->d_name, "v%u%c", &layout, &rest) == 1 && layout != VG_LAYOUT_VERSION)
			error = vg_explain(-EPROTONOSUPPORT,
					   "%s has pins of layout v%u, this agent's is v%d: "
					   "unload them with the version that made them",
					   root->path, layout, VG_LAYOUT_VERSION);
	}
	closedir(entries);
	return error;
}

bool vg_pin_present(const struct vg_pin_root *root)
{
	char path[VG_PIN_PATH_BYTES];

	layout_path(root, &path);
	return !access(path, F_OK);
}

int vg_pin_directory_make(struct vg_pin_root *root, enum vg_pin_directory directory)
{
	char path[VG_PIN_PATH_BYTES];

	directory_path(root, directory, &path);
	return make(root, path);
}

int vg_pin_directories_make(struct vg_pin_root *root)
{
	char path[VG_PIN_PATH_BYTES];
	int error;

	layout_path(root, &path);
	error = make(root, path);
	if (!error)
		error = vg_pin_directory_make(root, VG_PIN_MAPS);
	if (!error)
		error = vg_pin_directory_make(root, VG_PIN_PROGS);
	if (!error)
		error = vg_pin_directory_make(root, VG_PIN_LINKS);
	return error;
}

/* ---- pins ------------------------------------------------------------------------------------------------------ */

int vg_pin_get(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name)
{
	char path[VG_PIN_PATH_BYTES];
	struct stat pin;
	int fd;

	vg_pin_path(root, directory, name, &path);
	/* A map belongs to the daemon's user, and root without this capability is a stranger to it. */
	vg_caps_raise(CAP_DAC_OVERRIDE);
	fd = bpf_obj_get(path);
	vg_caps_lower(CAP_DAC_OVERRIDE);
	if (fd >= 0 || fd == -ENOENT)
		return fd;
	if (!lstat(path, &pin) && !S_ISREG(pin.st_mode))
		return vg_explain(-EEXIST, "%s is in the way: it is no BPF object", path);
	return vg_explain(fd, "%s: %s", path, strerror(-fd));
}

int vg_pin_put(struct vg_pin_root *root, enum vg_pin_directory directory, const char *name, int fd)
{
	char path[VG_PIN_PATH_BYTES];
	int error;

	vg_pin_path(root, directory, name, &path);
	error = bpf_obj_pin(fd, path);
	if (error)
		return vg_explain(error, "%s: cannot pin: %s", path, strerror(-error));
	change_record(root, path, false);
	return 0;
}

int vg_pin_replace(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name, int fd)
{
	char path[VG_PIN_PATH_BYTES], next[VG_PIN_PATH_BYTES + 8];
	int error;

	vg_pin_path(root, directory, name, &path);
	snprintf(next, sizeof(next), "%s_next", path);
	(void)unlink(next); /* of a replacement that was interrupted */
	error = bpf_obj_pin(fd, next);
	if (error)
		return vg_explain(error, "%s: cannot pin: %s", next, strerror(-error));
	if (!rename(next, path))
		return 0;
	error = -errno;
	(void)unlink(next);
	return vg_explain(error, "%s: cannot replace: %s", path, strerror(-error));
}

int vg_pin_remove(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name)
{
	char path[VG_PIN_PATH_BYTES];

	vg_pin_path(root, directory, name, &path);
	return unlink(path) ? -errno : 0;
}

int vg_pin_give(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name, uid_t uid, gid_t gid)
{
	char path[VG_PIN_PATH_BYTES];
	int error;

	vg_pin_path(root, directory, name, &path);
	vg_caps_raise(CAP_CHOWN);
	error = lchown(path, uid, gid) ? -errno : 0;
	vg_caps_lower(CAP_CHOWN);
	if (error)
		vg_explain(error, "%s: cannot give it to the daemon's user: %s", path, strerror(-error));
	return error;
}

static int list_path(const char *path, char (*ret_names)[VG_PIN_NAME_BYTES], int names_max)
{
	DIR *entries = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (!entries)
		return errno == ENOENT ? 0 : -errno;
	while (count < names_max && (entry = readdir(entries))) {
		size_t length = strlen(entry->d_name);

		if (entry->d_name[0] != '.' && length < VG_PIN_NAME_BYTES)
			memcpy(ret_names[count++], entry->d_name, length + 1);
	}
	closedir(entries);
	return count;
}

int vg_pin_list(const struct vg_pin_root *root, enum vg_pin_directory directory, char (*ret_names)[VG_PIN_NAME_BYTES],
		int names_max)
{
	char path[VG_PIN_PATH_BYTES];

	directory_path(root, directory, &path);
	return list_path(path, ret_names, names_max);
}

int vg_pin_directory_identity(const struct vg_pin_root *root, enum vg_pin_directory directory, dev_t *ret_device,
			      ino_t *ret_inode)
{
	char path[VG_PIN_PATH_BYTES];
	struct stat identity;

	directory_path(root, directory, &path);
	if (stat(path, &identity))
		return -errno;
	*ret_device = identity.st_dev;
	*ret_inode = identity.st_ino;
	return 0;
}

int vg_pin_programs_exchange(const struct vg_pin_root *root)
{
	char now[VG_PIN_PATH_BYTES], next[VG_PIN_PATH_BYTES];

	directory_path(root, VG_PIN_PROGS, &now);
	directory_path(root, VG_PIN_PROGS_NEXT, &next);
	return renameat2(AT_FDCWD, now, AT_FDCWD, next, RENAME_EXCHANGE) ? -errno : 0;
}

int vg_pin_directory_remove(const struct vg_pin_root *root, enum vg_pin_directory directory)
{
	char names[VG_PIN_CHANGES_MAX][VG_PIN_NAME_BYTES], path[VG_PIN_PATH_BYTES];
	int count, error = 0;

	while (!error && (count = vg_pin_list(root, directory, names, VG_PIN_CHANGES_MAX)) != 0) {
		error = count < 0 ? count : 0;
		while (!error && count > 0)
			error = vg_pin_remove(root, directory, names[--count]);
	}
	directory_path(root, directory, &path);
	if (!error && rmdir(path) && errno != ENOENT)
		error = -errno;
	if (error)
		vg_explain(error, "%s: cannot remove: %s", path, strerror(-error));
	return error;
}

int vg_pin_tree_remove(const struct vg_pin_root *root)
{
	char path[VG_PIN_PATH_BYTES];
	int error = 0;

	for (int directory = 0; !error && directory < VG_PIN_DIRECTORY_MAX; directory++)
		error = vg_pin_directory_remove(root, directory);
	if (error)
		return error;
	layout_path(root, &path);
	if (rmdir(path) && errno != ENOENT) {
		error = -errno;
		return vg_explain(error, "%s: cannot remove: %s", path, strerror(-error));
	}
	/* What libxdp leaves when its state lived here. */
	snprintf(path, sizeof(path), "%s/xdp", root->path);
	(void)rmdir(path);
	/* The root may be a mount point, or hold what is not ours. */
	(void)rmdir(root->path);
	return 0;
}
