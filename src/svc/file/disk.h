/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * System calls on names of the export root: the only file of the service that makes them. All may block, so they run
 * on helper threads (vg_op_work), but those that say otherwise. A path is checked (virgo/file.h), so it has no ".."
 * and no "." in it; "" is the root. No symbolic link is followed anywhere in it, but by vg_disk_open_following.
 * Results are 0 or a count or a descriptor, or a negative errno; -EREMOTE: the last component is a stub (tree.h),
 * `target` says of what.
 */
#ifndef VG_SVC_FILE_DISK_H
#define VG_SVC_FILE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "svc/file/file.h"

struct open_how;

/* What a helper thread begins with: its umask is 0, so that modes are what was asked for. */
void vg_disk_enter(void);

/* For vg_io_try_open, and what vg_disk_open does. */
void vg_disk_how(struct open_how *how, int flags, mode_t mode);
/* Inside: openat2(2) as `how` says; a handle on whatever is there, without opening it, and its stat. */
int vg_disk_open_how(int root_fd, const char *path, const struct open_how *how);
int vg_disk_look(int root_fd, const char *path, struct statx *ret_stat, char *ret_target);
/* *ret_created may be NULL: then flags have no O_CREAT. */
int vg_disk_open(int root_fd, const char *path, int flags, mode_t mode, bool *ret_created, char *ret_target);
/* Symbolic links are followed, beneath the root: -EXDEV else. */
int vg_disk_open_following(int root_fd, const char *path, int flags, mode_t mode, bool *ret_created);
void vg_disk_close(int fd);
int vg_disk_set_mode(int fd, mode_t mode);
/* Does not block: an open descriptor. */
int vg_disk_fstat(int fd, struct statx *ret_stat);
/* A stub is -EREMOTE. */
int vg_disk_stat(int root_fd, const char *path, struct statx *ret_stat, char *ret_target);
/* fd < 0: by path. The stats before and after. More bytes than growth_max are -EDQUOT. */
int vg_disk_change(int root_fd, const char *path, int fd, const struct vg_file_change *change, bool ids,
		   __u64 growth_max, struct statx *ret_before, struct statx *ret_after, char *ret_target);
/* To nothing; what it was before. */
int vg_disk_truncate(int fd, struct statx *ret_before);
int vg_disk_statfs(int root_fd, struct statfs *ret_statfs);
int vg_disk_mkdir(int root_fd, const char *path, mode_t mode, struct statx *ret_stat);
int vg_disk_rmdir(int root_fd, const char *path);
/* ret_before may be NULL: not looked at. Stubs are -EREMOTE unless `stubs`. */
int vg_disk_unlink(int root_fd, const char *path, bool stubs, struct statx *ret_before, char *ret_target);
/* flags: renameat2(2)'s. ret_before: of what it replaced, may be NULL. If `from` or `to` is a stub: -EREMOTE. */
int vg_disk_rename(int root_fd, const char *from, const char *to, unsigned int flags, bool stubs,
		   struct statx *ret_before, char *ret_target);
int vg_disk_link(int root_fd, const char *from, const char *to, bool stubs, char *ret_target);
int vg_disk_symlink(int root_fd, const char *target, const char *path, struct statx *ret_stat);
/* Bytes; -EINVAL: no symbolic link. */
int vg_disk_readlink(int root_fd, const char *path, char *buffer, size_t bytes, char *ret_target);
/* fd < 0: by path. Names of the user's space only: -EOPNOTSUPP. */
int vg_disk_xattr_get(int root_fd, const char *path, int fd, char *ret_target, const char *name, void *value,
		      size_t bytes);
int vg_disk_xattr_set(int root_fd, const char *path, int fd, char *ret_target, const char *name, const void *value,
		      size_t length, int flags);
int vg_disk_xattr_list(int root_fd, const char *path, int fd, char *ret_target, char *names, size_t bytes);
int vg_disk_xattr_remove(int root_fd, const char *path, int fd, char *ret_target, const char *name);

/*
 * Entries of a directory from `cursor` on, but "." and "..", as the file system gives them: `fn` returns 0 to go on, 1
 * to stop before this entry, or a negative errno. *ret_cursor: to go on there, 0: that was all.
 */
struct vg_disk_entry {
	const char *name;
	__u32 length;
	__u8 type; /* DT_* */
	__u64 inode;
	__u64 cursor; /* behind it */
	int dir_fd;   /* to look at it */
};
typedef int (*vg_disk_entry_fn)(void *context, const struct vg_disk_entry *entry);
int vg_disk_list(int root_fd, const char *path, __u64 cursor, vg_disk_entry_fn fn, void *context, __u64 *ret_cursor);
int vg_disk_stat_at(int dir_fd, const char *name, struct statx *ret_stat);
int vg_disk_readlink_at(int dir_fd, const char *name, char *buffer, size_t bytes);

/* disk_watch.c. An inotify descriptor to read events from; does not block. */
int vg_disk_watcher_new(void);
/* Watch a file or a directory for these of inotify's events too: the number its events have. */
int vg_disk_watch(int root_fd, int watcher_fd, const char *path, __u32 mask, char *ret_target);
void vg_disk_unwatch(int watcher_fd, int watch); /* does not block */

/* Does not block. */
int vg_disk_random(void *data, size_t bytes);

#endif
