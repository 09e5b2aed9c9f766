/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Processor time of other processes and threads, from the scheduler's own clock (nanoseconds, not ticks). */
#ifndef VG_BENCH_CPU_H
#define VG_BENCH_CPU_H

#include <sched.h>
#include <sys/types.h>

#include "virgo/types.h"

__u64 vg_bench_now_ns(void); /* CLOCK_MONOTONIC */

/* Time all threads of a process have run, or only one thread when `thread` is not 0. 0, -ESRCH, -errno. */
int vg_bench_cpu_ns(pid_t process, pid_t thread, __u64 *ret_ns);

/* Run this thread on one processor; negative: anywhere. 0 or -errno. */
int vg_bench_pin(int cpu);

#endif
