/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The benchmark's keys and values. Key i is "virgokey" and i as eight hexadecimal digits: 16 bytes. Its value is the
 * key's hash (vg_hash64, host order) over and over, so every loader can tell a right answer from a wrong one without
 * remembering anything. bench/xdp/traffic.bpf.c makes the same keys.
 */
#ifndef VG_BENCH_KEYS_H
#define VG_BENCH_KEYS_H

#include <stddef.h>
#include <string.h>

#include "virgo/hash.h"

#define VG_BENCH_KEY_BYTES 16
#define VG_BENCH_KEY_PREFIX "virgokey"

static inline void vg_bench_key(__u32 number, char ret_key[VG_BENCH_KEY_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	memcpy(ret_key, VG_BENCH_KEY_PREFIX, 8);
	for (int i = 0; i < 8; i++)
		ret_key[8 + i] = digits[number >> (28 - 4 * i) & 15];
}

static inline void vg_bench_value(__u64 hash, char *ret_value, size_t length)
{
	for (size_t at = 0; at < length; at += 8)
		memcpy(ret_value + at, &hash, length - at < 8 ? length - at : 8);
}

/* xorshift64*: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016. */
static inline __u64 vg_bench_random(__u64 *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545F4914F6CDD1DULL;
}

/* Which key comes next. Uniform when theta is 0, else Zipf with that exponent (0 < theta < 1). */
struct vg_bench_choice {
	__u32 keys;
	double theta;
	double zeta_keys, zeta_two, alpha, eta; /* see vg_bench_choice_init */
};

/* Walks all keys once when theta is not 0 (a sum over 1/i^theta): done before anything is timed. */
void vg_bench_choice_init(struct vg_bench_choice *choice, __u32 keys, double theta);
__u32 vg_bench_choose(const struct vg_bench_choice *choice, __u64 *random_state);

#endif
