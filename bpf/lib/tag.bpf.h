/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The SipHash tag of a message in a packet (virgo/wire.h says what it covers). */
#ifndef VG_BPF_TAG_H
#define VG_BPF_TAG_H

#include "virgo/hash.h"
#include "virgo/wire_codec.h"

#define VG_HEADER_WORDS (sizeof(struct vg_wire_header) / 8)
#define VG_HEADER_WORD_HOPS 0
#define VG_HEADER_WORD_TAG (__builtin_offsetof(struct vg_wire_header, tag) / 8)
#define VG_HEADER_HOPS_MASK (~(0xffULL << (8 * __builtin_offsetof(struct vg_wire_header, hops))))

/*
 * The tag of a header (in the packet or not) and the padded key at `key` in the packet that ends at `end`. `words` is
 * the most 8-byte words of key that are walked: a longer key is refused by the caller. Zero if the packet is too short,
 * which callers have excluded.
 */
static __always_inline __be64 vg_tag(const struct vg_wire_header *header, const void *key, const void *end,
				     const __u64 cluster_key[2], const __u32 words)
{
	const __u64 *at = (const __u64 *)header;
	__u64 key_bytes = vg_wire_key_padded(header);
	struct vg_siphash state;

	vg_siphash_start(&state, cluster_key);
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < VG_HEADER_WORDS; i++) {
		__u64 word = at[i];

		if (i == VG_HEADER_WORD_HOPS)
			word &= VG_HEADER_HOPS_MASK;
		if (i == VG_HEADER_WORD_TAG)
			word = 0;
		vg_siphash_word(&state, word);
	}
	at = key;
	for (__u32 i = 0; i < words; i++, at++) {
		if (8ULL * i >= key_bytes)
			break;
		if ((const void *)(at + 1) > end)
			return 0;
		vg_siphash_word(&state, *at);
	}
	return VG_HTOBE64(vg_siphash_finish(&state, (sizeof(*header) + key_bytes) << 56));
}

#endif
