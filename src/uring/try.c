/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is done here and now because it cannot wait, on real descriptors: for the ring and the simulator. */
#include "uring/try.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int vg_try_open(int dir_fd, const char *path, const struct open_how *how)
{
	struct open_how cached = *how;
	long fd;

	if (cached.flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)))
		return -EAGAIN;
	/* A FIFO or a device that nobody should have put here must not make us wait. O_PATH opens nothing of it. */
	cached.flags |= O_CLOEXEC | (cached.flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY);
	cached.resolve |= RESOLVE_CACHED;
	fd = syscall(SYS_openat2, dir_fd, path, &cached, sizeof(cached));
	return fd < 0 ? -errno : (int)fd;
}

int vg_try_read(int fd, const struct iovec *vectors, int count, __u64 offset)
{
	ssize_t bytes = preadv2(fd, vectors, count, (off_t)offset, RWF_NOWAIT);

	if (bytes < 0)
		return errno == EOPNOTSUPP || errno == EINTR ? -EAGAIN : -errno; /* a file system that cannot tell */
	return (int)bytes;
}

int vg_try_stat(int fd, struct statx *ret_status)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_BTIME, ret_status) ? -errno :
														  0;
}
