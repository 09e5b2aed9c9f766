/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Time as a handle that is passed in, so that tests and the simulator move it. The two readings are taken once a loop
 * by the worker and are good enough for everything a request does.
 */
#ifndef VG_BASE_CLOCK_H
#define VG_BASE_CLOCK_H

#include "virgo/types.h"

struct vg_clock {
	__u64 monotonic_ns; /* CLOCK_MONOTONIC */
	__u64 unix_ns;	    /* CLOCK_REALTIME */
};

/* Read both clocks of the machine. */
void vg_clock_update(struct vg_clock *clock);

static inline __u64 vg_clock_unix_ms(const struct vg_clock *clock)
{
	return clock->unix_ns / 1000000;
}

#endif
