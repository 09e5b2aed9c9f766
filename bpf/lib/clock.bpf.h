/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* CLOCK_MONOTONIC as of the last tick: cheap, and behind by a tick at most. A test fixes it before loading. */
#ifndef VG_BPF_CLOCK_H
#define VG_BPF_CLOCK_H

const volatile __u64 cfg_fixed_clock_ns = 0; /* 0: the kernel's clock */

static __always_inline __u64 vg_now_ns(void)
{
	return cfg_fixed_clock_ns ? cfg_fixed_clock_ns : bpf_ktime_get_coarse_ns();
}

#endif
