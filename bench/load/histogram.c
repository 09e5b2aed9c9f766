// SPDX-License-Identifier: GPL-3.0-or-later
#include <assert.h>

#include "histogram.h"

#define STEPS (1u << VG_HISTOGRAM_STEP_BITS)

/* Below STEPS a cell is one nanosecond; octave k above it has STEPS cells of 2^k nanoseconds. */
static __u32 cell_of(__u64 value_ns)
{
	__u32 octave;

	if (value_ns < STEPS)
		return (__u32)value_ns;
	if (value_ns >> VG_HISTOGRAM_OCTAVES)
		return VG_HISTOGRAM_CELLS - 1;
	octave = 63u - (__u32)__builtin_clzll(value_ns) - VG_HISTOGRAM_STEP_BITS;
	return ((octave + 1) << VG_HISTOGRAM_STEP_BITS) + (__u32)((value_ns >> octave) - STEPS);
}

static __u64 middle_of(__u32 cell)
{
	__u32 octave;

	if (cell < STEPS)
		return cell;
	octave = (cell >> VG_HISTOGRAM_STEP_BITS) - 1;
	return ((__u64)(STEPS + (cell & (STEPS - 1))) << octave) + ((1ull << octave) >> 1);
}

void vg_histogram_add(struct vg_histogram *histogram, __u64 value_ns)
{
	__u32 cell = cell_of(value_ns);

	assert(cell < VG_HISTOGRAM_CELLS);
	histogram->cell[cell]++;
	histogram->count++;
	if (value_ns > histogram->max_ns)
		histogram->max_ns = value_ns;
}

__u64 vg_histogram_quantile(const struct vg_histogram *histogram, double fraction)
{
	__u64 seen = 0, wanted = (__u64)(fraction * (double)histogram->count + 0.5);

	if (!histogram->count)
		return 0;
	if (wanted == 0)
		wanted = 1;
	for (__u32 i = 0; i < VG_HISTOGRAM_CELLS; i++) {
		seen += histogram->cell[i];
		if (seen >= wanted)
			return middle_of(i) < histogram->max_ns ? middle_of(i) : histogram->max_ns;
	}
	return histogram->max_ns;
}
