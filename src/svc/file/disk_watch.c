// SPDX-License-Identifier: GPL-3.0-or-later
/* inotify(7). */
#include "svc/file/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>

int vg_disk_watcher_new(void)
{
	int fd = inotify_init1(IN_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int vg_disk_watch(int root_fd, int watcher_fd, const char *path, __u32 mask, char *ret_target)
{
	int fd = vg_disk_open(root_fd, path, O_PATH, 0, NULL, ret_target), watch;
	char name[40];
	struct statx stat;

	if (fd < 0)
		return fd;
	/* What was found beneath the root, whatever its name has come to mean since. */
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	watch = vg_disk_fstat(fd, &stat);
	if (!watch && !S_ISDIR(stat.stx_mode) && !S_ISREG(stat.stx_mode))
		watch = -EPERM;
	if (!watch) {
		watch = inotify_add_watch(watcher_fd, name, mask | IN_MASK_ADD);
		watch = watch < 0 ? -errno : watch;
	}
	vg_disk_close(fd);
	return watch;
}

void vg_disk_unwatch(int watcher_fd, int watch)
{
	(void)inotify_rm_watch(watcher_fd, watch); /* else it has gone by itself */
}
