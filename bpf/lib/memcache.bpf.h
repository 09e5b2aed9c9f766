/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * memcached's `get` of one key over UDP, answered from the arena as src/svc/mem/mc_datagram.c answers it, to the byte.
 * Everything is made in the scratch and written when nothing can fail any more: what is passed up is as it came.
 * docs/decisions/0051 says who is answered and how much, 0054 what of that is done here.
 */
#ifndef VG_BPF_MEMCACHE_H
#define VG_BPF_MEMCACHE_H

#include "lib/admit.bpf.h"
#include "lib/mget.bpf.h"

struct vg_mc_frame {
	__be16 request, sequence, total, reserved;
};
VG_ASSERT_SIZE(struct vg_mc_frame, 8);

#define VG_MC_VERB 0x20746567u /* "get " as it lies in memory, little-endian */
#define VG_MC_VERB_BYTES 4
#define VG_MC_BLANKS 0x2020202020202020ULL
#define VG_MC_REQUEST_LEAST 14 /* frame, "get k\n" */
#define VG_MC_LINE_AT ((__u32)sizeof(struct vg_mc_frame))
#define VG_MC_KEY_AT (VG_MC_LINE_AT + VG_MC_VERB_BYTES)

/*
 * Where in the scratch's words: first the request lies there from word 0. When its key has been taken out, the value
 * with what ends the answer begins at word 0, the line's "VALUE key" at HEAD; the numbers end where HEAD begins.
 */
#define VG_MC_HEAD_WORD 192
#define VG_MC_HEAD_BYTES 6 /* "VALUE " */
#define VG_MC_NUMBERS_END (8 * VG_MC_HEAD_WORD)
#define VG_MC_NUMBERS_MAX 18 /* blank, 10 digits, blank, 4 digits, line end */
#define VG_MC_TAIL_BYTES 7 /* "\r\nEND\r\n" */
#define VG_MC_MISS_BYTES 5
_Static_assert(VG_DATAGRAM_MAX + 8 < 8 * VG_SCRATCH_WORDS, "the request and what ends it fit");
_Static_assert(VG_XDP_VALUE_MAX + 8 + VG_MC_NUMBERS_MAX <= VG_MC_NUMBERS_END, "the value does not reach the numbers");
_Static_assert(8 * VG_MC_HEAD_WORD + VG_MC_HEAD_BYTES + VG_XDP_KEY_MAX <= 8 * VG_SCRATCH_WORDS, "the head fits");

/* Bytes from the frame's begin to the datagram's, of a frame of that shape (vg_frame_shape). */
static __always_inline __u32 vg_mc_offset(__u64 shape)
{
	bool is_ip4 = shape >> (VG_SHAPE_PAYLOAD_BITS + VG_SHAPE_OFFSET_BITS) == 4;

	return (shape >> VG_SHAPE_PAYLOAD_BITS & 0x1f) + (is_ip4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
	       sizeof(struct udphdr);
}

/* Byte `at` of the scratch, and at least eight behind it: its words, and some of the lookup. */
static __always_inline __u8 *vg_mc_byte(struct vg_scratch *scratch, __u32 at)
{
	vg_forget(at);
	return (__u8 *)scratch->word + (at & (8 * VG_SCRATCH_WORDS - 1));
}

/* ---- the request ----------------------------------------------------------------------------------------------- */

/*
 * Bytes up to one that no key has; more than VG_XDP_KEY_MAX says: that many or more. A function of its own, as are the
 * other loops here, so that the verifier does not walk what follows once for each length.
 */
__noinline __u32 vg_mc_key_length(void)
{
	const struct vg_scratch *scratch = vg_scratch_get();
	const __u8 *at;

	if (!scratch)
		return 0;
	at = (const __u8 *)scratch->word + VG_MC_KEY_AT;
	for (__u32 i = 0; i <= VG_XDP_KEY_MAX; i++)
		if (at[i] <= ' ' || at[i] == 0x7f)
			return i;
	return VG_XDP_KEY_MAX + 1;
}

/* 1 if nothing but blanks stands from byte `at` to the line's end. Behind the request lies a zero, which is neither. */
__noinline int vg_mc_line_ends(__u32 at)
{
	struct vg_scratch *scratch = vg_scratch_get();

	if (!scratch)
		return 0;
	for (__u32 i = 0; i < VG_DATAGRAM_MAX / 8; i++) {
		if (*(const __u64 *)vg_mc_byte(scratch, at) != VG_MC_BLANKS)
			break;
		at += 8;
	}
	for (__u32 i = 0; i < 8; i++) {
		if (*vg_mc_byte(scratch, at) != ' ')
			break;
		at++;
	}
	if (*vg_mc_byte(scratch, at) == '\r')
		at++;
	return *vg_mc_byte(scratch, at) == '\n';
}

/* The request into the scratch; and whether it begins as one. */
static __always_inline int vg_mc_load(struct xdp_md *ctx, __u64 shape, struct vg_scratch *scratch)
{
	const struct vg_mc_frame *frame = (const struct vg_mc_frame *)scratch->word;
	__u32 bytes = shape & 0xffff;

	if (bytes < VG_MC_REQUEST_LEAST)
		return VG_REASON_TRUNCATED;
	vg_forget(bytes);
	if (bytes > VG_DATAGRAM_MAX)
		return VG_REASON_TRUNCATED;
	if (bpf_xdp_load_bytes(ctx, vg_mc_offset(shape), scratch->word, bytes))
		return VG_REASON_TRUNCATED;
	*vg_mc_byte(scratch, bytes) = 0;
	if (frame->sequence || frame->total != VG_HTOBE16(1) || frame->reserved ||
	    *(const __u32 *)(frame + 1) != VG_MC_VERB)
		return VG_REASON_NOT_MEMCACHE;
	return VG_CONTINUE;
}

/* Take the key out of the request: what is not `get`, one blank and one key is the daemon's to understand. */
static __always_inline int vg_mc_parse(struct xdp_md *ctx, __u64 shape, struct vg_scratch *scratch,
				       struct vg_xdp_key *key)
{
	int reason = vg_mc_load(ctx, shape, scratch);
	__u32 length;

	if (reason != VG_CONTINUE)
		return reason;
	length = vg_mc_key_length();
	if (length > VG_XDP_KEY_MAX)
		return VG_REASON_KEY_TOO_LONG;
	if (!length || !vg_mc_line_ends(VG_MC_KEY_AT + length))
		return VG_REASON_NOT_MEMCACHE;
	__builtin_memset(key->word, 0, sizeof(key->word));
	if (bpf_xdp_load_bytes(ctx, vg_mc_offset(shape) + VG_MC_KEY_AT, key->word, length))
		return VG_REASON_TRUNCATED;
	key->length = length;
	key->words = (length + 7) / 8;
	return VG_CONTINUE;
}

/* ---- the answer ------------------------------------------------------------------------------------------------ */

/* Digits of the number, up to byte `at`; where they begin. */
static __always_inline __u32 vg_mc_digits(__u8 *bytes, __u32 at, __u32 number)
{
	for (int i = 0; i < 10; i++) {
		bytes[--at] = (__u8)('0' + number % 10);
		number /= 10;
		if (!number)
			break;
	}
	return at;
}

/* " flags length\r\n" into the scratch, up to VG_MC_NUMBERS_END; how many bytes. */
__noinline __u32 vg_mc_numbers(__u32 client_flags, __u32 length)
{
	struct vg_scratch *scratch = vg_scratch_get();
	__u32 at = VG_MC_NUMBERS_END;
	__u8 *bytes;

	if (!scratch || length > VG_XDP_VALUE_MAX)
		return 0;
	bytes = (__u8 *)scratch->word;
	bytes[--at] = '\n';
	bytes[--at] = '\r';
	at = vg_mc_digits(bytes, at, length);
	bytes[--at] = ' ';
	at = vg_mc_digits(bytes, at, client_flags);
	bytes[--at] = ' ';
	return VG_MC_NUMBERS_END - at;
}

/* The value, and what ends the answer, into the scratch. */
__noinline int vg_mc_value(__u32 offset, __u32 length)
{
	static const __u8 tail[VG_MC_TAIL_BYTES] = { '\r', '\n', 'E', 'N', 'D', '\r', '\n' };
	struct vg_scratch *scratch = vg_scratch_get();
	__u8 *bytes;

	vg_arena_use();
	if (!scratch || length > VG_XDP_VALUE_MAX)
		return -1;
	for (__u32 i = 0; i < VG_XDP_VALUE_MAX / 8; i++) {
		if (8 * i >= length)
			break;
		scratch->word[i] = *vg_arena_at(__u64, offset + 8 * i);
	}
	bytes = vg_mc_byte(scratch, length);
#pragma clang loop unroll(full)
	for (int i = 0; i < VG_MC_TAIL_BYTES; i++)
		bytes[i] = tail[i];
	return 0;
}

/*
 * Turn the packet round with so many bytes behind UDP's header. The frame keeps its length: what is over lies behind
 * the IP packet, as Ethernet's own padding does, and receivers cut it off.
 */
static __always_inline void vg_mc_turn(struct xdp_md *ctx, __u64 shape, __u32 bytes)
{
	struct vg_frame frame;

	if (vg_frame_reopen_least(&frame, ctx, shape, VG_MC_REQUEST_LEAST))
		return;
	vg_swap_link(frame.ethernet);
	vg_swap_ports(frame.udp);
	bytes += sizeof(struct udphdr);
	frame.udp->len = VG_HTOBE16((__u16)bytes);
	if (frame.version == 4) {
		frame.ip4->tot_len = VG_HTOBE16((__u16)(bytes + sizeof(struct iphdr)));
		vg_swap_ip4(frame.ip4);
	} else {
		frame.ip6->payload_len = VG_HTOBE16((__u16)bytes);
		vg_swap_ip6(frame.ip6);
		vg_checksum_write_udp6(ctx, (__u32)((void *)frame.ip6 - (void *)frame.ethernet));
	}
}

/* The frame's own header stays: an answer carries the request's number, and is datagram 0 of 1 too. */
static __always_inline int vg_mc_miss(struct xdp_md *ctx, __u64 shape, struct vg_scratch *scratch, int reason)
{
	scratch->word[0] = 0x0a0d444e45ULL; /* "END\r\n" */
	if (bpf_xdp_store_bytes(ctx, vg_mc_offset(shape) + VG_MC_LINE_AT, scratch->word, VG_MC_MISS_BYTES))
		return VG_REASON_TRUNCATED;
	vg_mc_turn(ctx, shape, VG_MC_LINE_AT + VG_MC_MISS_BYTES);
	return reason;
}

/* "VALUE key", the numbers, the value with its end: the request is long enough for all of it. */
__noinline int vg_mc_write(struct xdp_md *ctx, __u64 shape, __u32 key_length, __u32 numbers, __u32 length)
{
	struct vg_scratch *scratch = vg_scratch_get();
	__u32 at = vg_mc_offset(shape);
	__u8 *bytes;

	if (!scratch || !key_length || !numbers)
		return -1;
	vg_forget(key_length);
	vg_forget(numbers);
	if (key_length > VG_XDP_KEY_MAX || numbers > VG_MC_NUMBERS_MAX || length > VG_XDP_VALUE_MAX)
		return -1;
	bytes = (__u8 *)scratch->word;
	scratch->word[VG_MC_HEAD_WORD] = 0x2045554c4156ULL; /* "VALUE " */
	if (bpf_xdp_load_bytes(ctx, at + VG_MC_KEY_AT, bytes + 8 * VG_MC_HEAD_WORD + VG_MC_HEAD_BYTES, key_length))
		return -1;
	at += VG_MC_LINE_AT;
	if (bpf_xdp_store_bytes(ctx, at, bytes + 8 * VG_MC_HEAD_WORD, VG_MC_HEAD_BYTES + key_length))
		return -1;
	at += VG_MC_HEAD_BYTES + key_length;
	if (bpf_xdp_store_bytes(ctx, at, vg_mc_byte(scratch, VG_MC_NUMBERS_END - numbers), numbers))
		return -1;
	vg_forget(length); /* the bound is proved again by a mask: on the stack it was lost */
	length &= 2 * VG_XDP_VALUE_MAX - 1;
	if (bpf_xdp_store_bytes(ctx, at + numbers, bytes, length + VG_MC_TAIL_BYTES))
		return -1;
	return 0;
}

/* Make the answer, believe it if the bucket has not moved, and write it if it is no longer than the request. */
static __always_inline int vg_mc_hit(struct xdp_md *ctx, __u64 shape, struct vg_scratch *scratch, __u64 unix_ns)
{
	const struct vg_mget_lookup *lookup = (const struct vg_mget_lookup *)scratch->lookup;
	const struct vg_found *found = &lookup->found;
	__u32 flags = vg_header_flags(found->header), length = vg_header_value_length(found->header);
	__u32 key_length = lookup->key.length, client_flags = 0, numbers, bytes;
	int deadline;

	if (flags & VG_ITEM_HEAP)
		return VG_REASON_IN_HEAP;
	deadline = vg_get_check_deadline(found, unix_ns);
	if (deadline == VG_REASON_EXPIRED)
		return vg_index_unchanged(found) ? vg_mc_miss(ctx, shape, scratch, VG_REASON_EXPIRED)
						 : VG_REASON_BEING_WRITTEN;
	if (deadline != VG_CONTINUE)
		return deadline;
	if (length > VG_XDP_VALUE_MAX)
		return VG_REASON_TOO_LONG;
	if (flags & VG_ITEM_META)
		client_flags = vg_arena_at(struct vg_item_meta, found->item + vg_item_meta_offset(flags))->client_flags;
	numbers = vg_mc_numbers(client_flags, length);
	bytes = VG_MC_LINE_AT + VG_MC_HEAD_BYTES + key_length + numbers + length + VG_MC_TAIL_BYTES;
	if (bytes > (shape & 0xffff))
		return VG_REASON_NO_ROOM;
	if (vg_mc_value(found->item + vg_item_value_offset(flags, key_length), length) || !vg_index_unchanged(found))
		return VG_REASON_BEING_WRITTEN;
	vg_item_touch(found);
	if (vg_mc_write(ctx, shape, key_length, numbers, length))
		return VG_REASON_TRUNCATED;
	vg_mc_turn(ctx, shape, bytes);
	return VG_REASON_MEMCACHE_HIT;
}

/* Nobody proves anything in this protocol: with a key the daemon has not given its port, and refuses what comes. */
static __always_inline int vg_mc_admit(const struct vg_config *config, const struct vg_local *local, __u64 now_ns)
{
	if (config->flags & VG_CONFIG_KEYED)
		return VG_REASON_BAD_TAG;
	if (local->lease_until_ns <= now_ns)
		return VG_REASON_NO_LEASE;
	if (!vg_arena_is_ours())
		return VG_REASON_NO_ARENA;
	return vg_budget_take(config, now_ns) ? VG_CONTINUE : VG_REASON_BUDGET;
}

/* Serve a datagram to memcached's port whose lengths were checked. The reason it leaves with. */
__noinline int vg_receive_memcache(struct xdp_md *ctx, __u64 shape, const struct vg_config *config,
				   const struct vg_local *local, __u64 now_ns)
{
	struct vg_scratch *scratch = vg_scratch_get();
	const struct vg_partition_owner *owner;
	struct vg_mget_lookup *lookup;
	__u32 partition;
	int reason;

	vg_arena_use();
	if (!config || !local || !scratch)
		return VG_REASON_TRUNCATED;
	reason = vg_mc_admit(config, local, now_ns);
	if (reason != VG_CONTINUE)
		return reason;
	lookup = (struct vg_mget_lookup *)scratch->lookup;
	reason = vg_mc_parse(ctx, shape, scratch, &lookup->key);
	if (reason != VG_CONTINUE)
		return reason;
	partition = vg_key_partition_of(&lookup->key);
	owner = bpf_map_lookup_elem(&VG_MAP_PARTITION, &partition);
	if (!owner || owner->node != config->node)
		return VG_REASON_BAD_PARTITION;
	reason = vg_index_find(vg_key_hash_of(&lookup->key), &lookup->key, &lookup->found);
	if (reason == VG_REASON_NOT_FOUND)
		return vg_mc_miss(ctx, shape, scratch, VG_REASON_MEMCACHE_MISS);
	return reason == VG_REASON_HIT ? vg_mc_hit(ctx, shape, scratch, now_ns + local->unix_offset_ns) : reason;
}

#endif
