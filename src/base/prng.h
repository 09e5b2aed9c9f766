/* SPDX-License-Identifier: GPL-3.0-or-later */
/* xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). Not for secrets. */
#ifndef VG_BASE_PRNG_H
#define VG_BASE_PRNG_H

#include "virgo/types.h"

/* `state` must not be 0. */
static inline __u64 vg_prng_next(__u64 *state)
{
	__u64 x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545F4914F6CDD1DULL;
}

#endif
