/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* CLOCK_MONOTONIC as of the last tick: cheap, and behind by a tick at most. A test fixes it before loading. */
#ifndef VG_BPF_CLOCK_H
#define VG_BPF_CLOCK_H

#include "virgo/maps.h"

const volatile __u64 cfg_fixed_clock_ns = 0; /* 0: the kernel's clock */

static __always_inline __u64 vg_now_ns(void)
{
	return cfg_fixed_clock_ns ? cfg_fixed_clock_ns : bpf_ktime_get_coarse_ns();
}

/*
 * The same, read once a tick and CPU: the count of ticks is a load, where reading the clock is a call. The kernel
 * counts a tick before it moves its clock, so what is kept may be of the tick before.
 */
static __always_inline void vg_now_keep(struct vg_budget *cpu)
{
	__u64 jiffy = bpf_jiffies64();

	if (cpu->jiffy != jiffy || cfg_fixed_clock_ns) {
		cpu->now_ns = vg_now_ns();
		cpu->jiffy = jiffy;
	}
}

#endif
