/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <time.h>

#include "base/clock.h"

static __u64 read_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (__u64)now.tv_sec * 1000000000 + (__u64)now.tv_nsec;
}

void vg_clock_update(struct vg_clock *clock)
{
	clock->monotonic_ns = read_ns(CLOCK_MONOTONIC);
	clock->unix_ns = read_ns(CLOCK_REALTIME);
}
