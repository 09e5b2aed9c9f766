/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copying a value from the arena into the packet: blocks of 64 bytes, bounds once a block, exactly `length` bytes. */
#ifndef VG_BPF_COPY_H
#define VG_BPF_COPY_H

#include "lib/frame.bpf.h"
#include "maps/arena.bpf.h"

#define VG_COPY_BLOCK_BYTES 64

static __always_inline void vg_copy_words(void *to, const void __arena *from, const int words)
{
	__u64 *target = to;
	const __u64 __arena *source = from;

#pragma clang loop unroll(full)
	for (int i = 0; i < words; i++)
		target[i] = source[i];
}

/* The last length % 8 bytes. False if the packet ends before them. */
static __always_inline bool vg_copy_tail(void *to, const void *end, __u32 offset, __u32 length)
{
	if (length & 4) {
		if (to + 4 > end)
			return false;
		*(__u32 *)to = *vg_arena_at(__u32, offset);
		to += 4;
		offset += 4;
	}
	if (length & 2) {
		if (to + 2 > end)
			return false;
		*(__u16 *)to = *vg_arena_at(__u16, offset);
		to += 2;
		offset += 2;
	}
	if (length & 1) {
		if (to + 1 > end)
			return false;
		*(__u8 *)to = *vg_arena_at(__u8, offset);
	}
	return true;
}

/* Copy `length` ≤ max (a constant, 64s) bytes at arena offset `offset`. False if the packet ends before them. */
static __always_inline bool vg_copy(void *to, const void *end, __u32 offset, __u32 length, const __u32 max)
{
	for (__u32 i = 0; i < max / VG_COPY_BLOCK_BYTES; i++) {
		if (length < VG_COPY_BLOCK_BYTES)
			break;
		if (to + VG_COPY_BLOCK_BYTES > end)
			return false;
		vg_copy_words(to, vg_arena_at(void, offset), VG_COPY_BLOCK_BYTES / 8);
		to += VG_COPY_BLOCK_BYTES;
		offset += VG_COPY_BLOCK_BYTES;
		length -= VG_COPY_BLOCK_BYTES;
	}
	for (__u32 i = 0; i < VG_COPY_BLOCK_BYTES / 8 - 1; i++) {
		if (length < 8)
			break;
		if (to + 8 > end)
			return false;
		vg_copy_words(to, vg_arena_at(void, offset), 1);
		to += 8;
		offset += 8;
		length -= 8;
	}
	return vg_copy_tail(to, end, offset, length);
}

/*
 * Copy `length` ≤ VG_XDP_VALUE_MAX bytes at arena offset `offset`, of any alignment, to the place of the answer's body.
 * 0, or negative if the packet ends before them. A function of its own for the verifier's sake (see vg_frame_shape).
 */
__noinline int vg_copy_value(struct xdp_md *ctx, __u64 shape, __u32 offset, __u32 length)
{
	struct vg_frame frame;

	vg_arena_use();
	if (vg_frame_reopen(&frame, ctx, shape))
		return -1;
	return vg_copy(frame.header + 1, frame.end, offset, length, VG_XDP_VALUE_MAX) ? 0 : -1;
}

#endif
