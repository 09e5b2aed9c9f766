/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The key of a request, in XDP: bounded loops over the same round functions as include/virgo/hash.h; a test holds both
 * equal.
 */
#ifndef VG_BPF_KEY_H
#define VG_BPF_KEY_H

#include "virgo/hash.h"
#include "lib/frame.bpf.h"

#define VG_XDP_KEY_WORDS (VG_XDP_KEY_MAX / 8)

/* A key of at most VG_XDP_KEY_MAX bytes as zero-padded words: how requests and items hold it too. */
struct vg_xdp_key {
	__u64 word[VG_XDP_KEY_WORDS];
	__u32 length;
	__u32 words;
};

/* Bits of the last word that are not the key's. */
static __always_inline __u64 vg_key_padding_mask(__u32 length)
{
	__u32 rest = length % 8;

	return rest ? ~0ULL << (8 * rest) : 0;
}

/* Read a key of that length; padding that is not zero would make two requests of one key. */
static __always_inline int vg_key_load_at(const __u64 *at, const void *end, __u32 length, struct vg_xdp_key *key)
{
	__u64 last = 0;

	key->length = length;
	if (key->length > VG_XDP_KEY_MAX)
		return VG_REASON_KEY_TOO_LONG;
	key->words = (key->length + 7) / 8;
	for (__u32 i = 0; i < VG_XDP_KEY_WORDS; i++, at++) {
		if (i >= key->words)
			break;
		if ((const void *)(at + 1) > end)
			return VG_REASON_TRUNCATED;
		last = *at;
		key->word[i] = last;
	}
	return last & vg_key_padding_mask(key->length) ? VG_REASON_BAD_HEADER : VG_CONTINUE;
}

/* The key behind the header. */
static __always_inline int vg_key_load(const struct vg_frame *frame, struct vg_xdp_key *key)
{
	return vg_key_load_at((const __u64 *)(frame->header + 1), frame->end, VG_BE32TOH(frame->header->key_length),
			      key);
}

/* Put the key back where vg_key_load found it. */
static __always_inline void vg_key_restore(const struct vg_frame *frame, const struct vg_xdp_key *key)
{
	__u64 *at = (__u64 *)(frame->header + 1);

	for (__u32 i = 0; i < VG_XDP_KEY_WORDS; i++, at++) {
		if (i >= key->words || (void *)(at + 1) > frame->end)
			break;
		*at = key->word[i];
	}
}

static __always_inline __u64 vg_key_hash(const struct vg_xdp_key *key)
{
	__u32 length = key->length, first = 0;
	__u64 hash = VG_XXH_PRIME5, last = 0;

	if (length >= 32) {
		__u64 lane0 = VG_XXH_PRIME1 + VG_XXH_PRIME2, lane1 = VG_XXH_PRIME2, lane2 = 0, lane3 = -VG_XXH_PRIME1;

		for (__u32 i = 0; i + 4 <= VG_XDP_KEY_WORDS; i += 4) {
			if (8 * (i + 4) > length)
				break;
			lane0 = vg_xxh_round(lane0, key->word[i]);
			lane1 = vg_xxh_round(lane1, key->word[i + 1]);
			lane2 = vg_xxh_round(lane2, key->word[i + 2]);
			lane3 = vg_xxh_round(lane3, key->word[i + 3]);
		}
		hash = vg_rotl64(lane0, 1) + vg_rotl64(lane1, 7) + vg_rotl64(lane2, 12) + vg_rotl64(lane3, 18);
		hash = vg_xxh_merge(hash, lane0);
		hash = vg_xxh_merge(hash, lane1);
		hash = vg_xxh_merge(hash, lane2);
		hash = vg_xxh_merge(hash, lane3);
		first = length / 32 * 4;
	}
	hash += length;
	for (__u32 i = 0; i < VG_XDP_KEY_WORDS; i++) {
		if (i < first)
			continue;
		if (8 * i + 8 > length) {
			last = key->word[i];
			break;
		}
		hash = vg_xxh_tail8(hash, key->word[i]);
	}
	if (length & 4) {
		hash = vg_xxh_tail4(hash, (__u32)last);
		last >>= 32;
	}
	for (__u32 i = 0; i < 3; i++) {
		if (i >= (length & 3))
			break;
		hash = vg_xxh_tail1(hash, (__u8)last);
		last >>= 8;
	}
	return vg_xxh_avalanche(hash);
}

/* 1 if the byte is `wanted`, else 0, and in no way that the compiler could turn into a branch. */
static __always_inline __u64 vg_byte_is(__u64 byte, __u8 wanted)
{
	__u64 difference = byte ^ wanted;

	asm volatile("" : "+r"(difference));
	return (difference - 1) >> 63;
}

/*
 * The CRC over the key, or over what stands between the first { and the next } if that is something. Without branches
 * but for the length: the verifier would walk every way through 128 bytes of them.
 */
static __always_inline __u16 vg_key_partition(const struct vg_xdp_key *key)
{
	__u64 opened = 0, closed = 0, inside_any = 0, word = 0, whole = 0, tag = 0, choose_tag;

	for (__u32 i = 0; i < VG_XDP_KEY_MAX; i++) {
		__u64 byte, closing, inside;

		if (i >= key->length)
			break;
		if (i % 8 == 0)
			word = key->word[i / 8];
		byte = word & 0xff;
		word >>= 8;
		closing = vg_byte_is(byte, '}');
		inside = opened & ~closed & ~closing & 1;
		whole = vg_crc16_step((__u16)whole, (__u8)byte);
		asm volatile("" : "+r"(inside));
		tag ^= (tag ^ vg_crc16_step((__u16)tag, (__u8)byte)) & -inside;
		inside_any |= inside;
		closed |= opened & closing;
		opened |= vg_byte_is(byte, '{');
	}
	choose_tag = opened & closed & inside_any;
	return (choose_tag ? tag : whole) % VG_PARTITIONS;
}

/* Functions of their own, so that the verifier walks each loop once (see vg_frame_shape). */
__noinline __u64 vg_key_hash_of(const struct vg_xdp_key *key)
{
	return key && key->length <= VG_XDP_KEY_MAX ? vg_key_hash(key) : 0;
}

/* VG_PARTITIONS, which no key has, for a key that is too long. */
__noinline __u32 vg_key_partition_of(const struct vg_xdp_key *key)
{
	return key && key->length <= VG_XDP_KEY_MAX ? vg_key_partition(key) : VG_PARTITIONS;
}

/*
 * Whether hash and partition are the key's own. Asked before a key is said not to exist, as whoever claims a wrong
 * hash looks in the wrong bucket.
 */
static __always_inline bool vg_key_is(const struct vg_xdp_key *key, __u64 hash, __u32 partition)
{
	return vg_key_hash_of(key) == hash && vg_key_partition_of(key) == partition;
}

#endif
