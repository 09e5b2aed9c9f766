/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The three functions of a key that XDP, daemon and client must agree on to the bit:
 *
 *   vg_hash64       XXH64 with seed 0 (xxHash specification, Y. Collet): names the bucket
 *   vg_partition_of  CRC16/XMODEM mod 16384 over the key or its {tag} (Redis Cluster specification): names the owner
 *   vg_siphash24    SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): proves the sender
 *
 * All are pure, read exactly `length` bytes and may be called from any thread. The BPF side has its own bounded
 * loops over the same round functions (bpf/lib/key.bpf.h), held equal by a test.
 */
#ifndef VIRGO_HASH_H
#define VIRGO_HASH_H

#include "types.h"
#include "limits.h"

#define VG_XXH_PRIME1 0x9E3779B185EBCA87ULL
#define VG_XXH_PRIME2 0xC2B2AE3D27D4EB4FULL
#define VG_XXH_PRIME3 0x165667B19E3779F9ULL
#define VG_XXH_PRIME4 0x85EBCA77C2B2AE63ULL
#define VG_XXH_PRIME5 0x27D4EB2F165667C5ULL

VG_INLINE __u64 vg_rotl64(__u64 x, int bits)
{
	return x << bits | x >> (64 - bits);
}

VG_INLINE __u64 vg_xxh_round(__u64 lane, __u64 word)
{
	return vg_rotl64(lane + word * VG_XXH_PRIME2, 31) * VG_XXH_PRIME1;
}

VG_INLINE __u64 vg_xxh_merge(__u64 hash, __u64 lane)
{
	return (hash ^ vg_xxh_round(0, lane)) * VG_XXH_PRIME1 + VG_XXH_PRIME4;
}

/* The tail steps: eight, four and one byte at a time. */
VG_INLINE __u64 vg_xxh_tail8(__u64 hash, __u64 word)
{
	return vg_rotl64(hash ^ vg_xxh_round(0, word), 27) * VG_XXH_PRIME1 + VG_XXH_PRIME4;
}

VG_INLINE __u64 vg_xxh_tail4(__u64 hash, __u32 word)
{
	return vg_rotl64(hash ^ word * VG_XXH_PRIME1, 23) * VG_XXH_PRIME2 + VG_XXH_PRIME3;
}

VG_INLINE __u64 vg_xxh_tail1(__u64 hash, __u8 byte)
{
	return vg_rotl64(hash ^ byte * VG_XXH_PRIME5, 11) * VG_XXH_PRIME1;
}

VG_INLINE __u64 vg_xxh_avalanche(__u64 hash)
{
	hash = (hash ^ hash >> 33) * VG_XXH_PRIME2;
	hash = (hash ^ hash >> 29) * VG_XXH_PRIME3;
	return hash ^ hash >> 32;
}

/* The CRC16/XMODEM step: polynomial 0x1021, most significant bit first, one nibble at a time (16-entry table). */
VG_INLINE __u16 vg_crc16_step(__u16 crc, __u8 byte)
{
	static const __u16 table[16] = {
		0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
		0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
	};

	crc = (__u16)(crc << 4) ^ table[(crc >> 12) ^ (byte >> 4)];
	return (__u16)(crc << 4) ^ table[(crc >> 12) ^ (byte & 0x0f)];
}

/* SipHash state and rounds; a message is fed in 64-bit little-endian words, the last word carries its length. */
struct vg_siphash {
	__u64 v0, v1, v2, v3;
};

VG_INLINE void vg_siphash_start(struct vg_siphash *s, const __u64 key[2])
{
	s->v0 = key[0] ^ 0x736f6d6570736575ULL;
	s->v1 = key[1] ^ 0x646f72616e646f6dULL;
	s->v2 = key[0] ^ 0x6c7967656e657261ULL;
	s->v3 = key[1] ^ 0x7465646279746573ULL;
}

VG_INLINE void vg_siphash_round(struct vg_siphash *s)
{
	s->v0 += s->v1;
	s->v1 = vg_rotl64(s->v1, 13) ^ s->v0;
	s->v0 = vg_rotl64(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = vg_rotl64(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = vg_rotl64(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = vg_rotl64(s->v1, 17) ^ s->v2;
	s->v2 = vg_rotl64(s->v2, 32);
}

VG_INLINE void vg_siphash_word(struct vg_siphash *s, __u64 word)
{
	s->v3 ^= word;
	vg_siphash_round(s);
	vg_siphash_round(s);
	s->v0 ^= word;
}

VG_INLINE __u64 vg_siphash_finish(struct vg_siphash *s, __u64 last_word)
{
	vg_siphash_word(s, last_word);
	s->v2 ^= 0xff;
	vg_siphash_round(s);
	vg_siphash_round(s);
	vg_siphash_round(s);
	vg_siphash_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

#ifndef __bpf__

VG_INLINE __u64 vg_load64(const void *at)
{
	__u64 word;

	__builtin_memcpy(&word, at, sizeof(word));
	return word;
}

VG_INLINE __u32 vg_load32(const void *at)
{
	__u32 word;

	__builtin_memcpy(&word, at, sizeof(word));
	return word;
}

static inline __u64 vg_hash64(const void *key, __u64 length)
{
	const __u8 *at = key, *end = at + length;
	__u64 hash = VG_XXH_PRIME5;

	if (length >= 32) {
		__u64 lane[4] = { VG_XXH_PRIME1 + VG_XXH_PRIME2, VG_XXH_PRIME2, 0, -VG_XXH_PRIME1 };

		for (; end - at >= 32; at += 32)
			for (int i = 0; i < 4; i++)
				lane[i] = vg_xxh_round(lane[i], vg_load64(at + 8 * i));
		hash = vg_rotl64(lane[0], 1) + vg_rotl64(lane[1], 7) + vg_rotl64(lane[2], 12) + vg_rotl64(lane[3], 18);
		for (int i = 0; i < 4; i++)
			hash = vg_xxh_merge(hash, lane[i]);
	}
	hash += length;
	for (; end - at >= 8; at += 8)
		hash = vg_xxh_tail8(hash, vg_load64(at));
	for (; end - at >= 4; at += 4)
		hash = vg_xxh_tail4(hash, vg_load32(at));
	for (; at < end; at++)
		hash = vg_xxh_tail1(hash, *at);
	return vg_xxh_avalanche(hash);
}

/*
 * Redis Cluster's rule: if the key has a {…} with something inside, only that part is hashed (first { and the next
 * }).
 */
static inline __u16 vg_partition_of(const void *key, __u64 length)
{
	const __u8 *at = key, *end = at + length, *open, *close;
	__u16 crc = 0;

	open = length ? __builtin_memchr(at, '{', length) : 0;
	close = open ? __builtin_memchr(open + 1, '}', (__u64)(end - open - 1)) : 0;
	if (close && close != open + 1) {
		at = open + 1;
		end = close;
	}
	for (; at < end; at++)
		crc = vg_crc16_step(crc, *at);
	return crc % VG_PARTITIONS;
}

static inline __u64 vg_siphash24(const __u64 key[2], const void *message, __u64 length)
{
	const __u8 *at = message;
	struct vg_siphash state;
	__u64 last = length << 56;

	vg_siphash_start(&state, key);
	for (; length >= 8; at += 8, length -= 8)
		vg_siphash_word(&state, vg_load64(at));
	for (__u64 i = 0; i < length; i++)
		last |= (__u64)at[i] << (8 * i);
	return vg_siphash_finish(&state, last);
}

#endif /* __bpf__ */

#endif
