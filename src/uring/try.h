/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The inside of vg_io_try_*, shared by both implementations of io.h: any thread. */
#ifndef VG_URING_TRY_H
#define VG_URING_TRY_H

#include "uring/io.h"

int vg_try_open(int dir_fd, const char *path, const struct open_how *how);
int vg_try_read(int fd, const struct iovec *vectors, int count, __u64 offset);
int vg_try_stat(int fd, struct statx *ret_status);

#endif
