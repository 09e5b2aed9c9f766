/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Into which bucket of a histogram a time goes (virgo/maps.h, VG_TIME_BUCKETS). */
#ifndef VG_BPF_BUCKETS_H
#define VG_BPF_BUCKETS_H

#include "virgo/maps.h"

/* By halving the bits above VG_TIME_FIRST_BIT. Most waits are short and take the first way out. */
static __always_inline __u32 vg_bucket_of(__u64 time_ns)
{
	__u64 rest = time_ns >> VG_TIME_FIRST_BIT;
	__u32 bucket = 1;

	if (!rest)
		return 0;
	if (rest >> VG_TIME_BUCKETS)
		return VG_TIME_BUCKETS - 1;
#pragma clang loop unroll(full)
	for (int bits = 16; bits; bits >>= 1) {
		if (rest >> bits) {
			rest >>= bits;
			bucket += bits;
		}
	}
	return bucket < VG_TIME_BUCKETS ? bucket : VG_TIME_BUCKETS - 1;
}

#endif
