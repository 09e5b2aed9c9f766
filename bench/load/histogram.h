/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A log-linear histogram of nanoseconds: each octave is cut into 64 equal steps, so a quantile is off by less than
 * 1.6 % whatever its size. Not thread-safe.
 */
#ifndef VG_BENCH_HISTOGRAM_H
#define VG_BENCH_HISTOGRAM_H

#include "virgo/types.h"

#define VG_HISTOGRAM_STEP_BITS 6
#define VG_HISTOGRAM_OCTAVES 40 /* up to 2^40 ns, 18 minutes; what is longer counts as that */
#define VG_HISTOGRAM_CELLS ((VG_HISTOGRAM_OCTAVES - VG_HISTOGRAM_STEP_BITS + 1) << VG_HISTOGRAM_STEP_BITS)

struct vg_histogram {
	__u64 count;
	__u64 max_ns;
	__u64 cell[VG_HISTOGRAM_CELLS];
};

void vg_histogram_add(struct vg_histogram *histogram, __u64 value_ns);
/* The value that `fraction` (0 … 1) of the samples do not exceed; 0 without samples. */
__u64 vg_histogram_quantile(const struct vg_histogram *histogram, double fraction);

#endif
