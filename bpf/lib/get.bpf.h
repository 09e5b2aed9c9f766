/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* GET by key and by handle, answered from the arena. */
#ifndef VG_BPF_GET_H
#define VG_BPF_GET_H

#include "lib/answer.bpf.h"
#include "lib/copy.bpf.h"
#include "lib/index.bpf.h"

/*
 * Note the use of an item in its slot's word: a line is nothing but a line, so whatever has become of the slot
 * meanwhile, the exchange changes bits of use or nothing.
 */
static __always_inline void vg_item_touch(const struct vg_found *found)
{
	__u32 touched = vg_cell_touched(found->word);

	if (touched != found->word)
		__sync_val_compare_and_swap(vg_arena_at(__u32, found->slot), found->word, touched);
}

/* Nothing hangs at the hash the client named. That is an answer only if hash and partition are the key's own. */
static __always_inline int vg_get_missed(struct vg_serve *serve, const struct vg_xdp_key *key, __u64 hash)
{
	if (!vg_key_is(key, hash, VG_BE16TOH(serve->frame.header->partition)))
		return VG_REASON_HASH_MISMATCH;
	return vg_answer(serve, VG_STATUS_NOT_FOUND, 0, VG_REASON_NOT_FOUND);
}

/* VG_CONTINUE: it lives; EXPIRED; or NEAR_EXPIRY, as the coarse clock is behind by up to a tick. */
static __always_inline int vg_get_check_deadline(const struct vg_found *found, __u64 unix_ns)
{
	__u64 expire_ms, now_ms;

	if (!(vg_header_flags(found->header) & VG_ITEM_DEADLINE))
		return VG_CONTINUE;
	expire_ms = *vg_arena_at(__u64, found->item + sizeof(struct vg_item));
	if (!expire_ms)
		return VG_CONTINUE;
	now_ms = unix_ns / 1000000;
	if (expire_ms <= now_ms)
		return VG_REASON_EXPIRED;
	return expire_ms - now_ms <= VG_EXPIRY_DOUBT_MS ? VG_REASON_NEAR_EXPIRY : VG_CONTINUE;
}

/*
 * A copy turned out torn: the packet goes up with the request it brought. Its key is put back; its padding is lost,
 * which nobody reads, but the checksum covers it. Copying twice, first beside the packet, would cost every hit; this is
 * rare.
 */
static __always_inline int vg_get_torn(const struct vg_serve *serve, const struct vg_xdp_key *key)
{
	const struct vg_frame *frame = &serve->frame;

	if (key)
		vg_key_restore(frame, key);
	frame->udp->check = 0; /* IPv4: none */
	if (frame->version != 4)
		vg_checksum_write_udp6(serve->ctx, (__u32)((void *)frame->ip6 - (void *)frame->ethernet));
	return VG_REASON_BEING_WRITTEN;
}

/* Copy the value behind the header and believe it if the bucket has not moved. */
static __always_inline int vg_get_hit(struct vg_serve *serve, const struct vg_xdp_key *key,
				      const struct vg_found *found)
{
	const struct vg_frame *frame = &serve->frame;
	__u64 unix_ns = serve->now_ns + serve->local->unix_offset_ns;
	__u32 flags = vg_header_flags(found->header), length = vg_header_value_length(found->header);
	__u32 value_offset = found->item + vg_item_value_offset(flags, key->length);
	int deadline;

	if (flags & VG_ITEM_HEAP)
		return VG_REASON_IN_HEAP;
	deadline = vg_get_check_deadline(found, unix_ns);
	if (deadline == VG_REASON_EXPIRED) {
		if (!vg_index_unchanged(found))
			return VG_REASON_BEING_WRITTEN;
		return vg_answer(serve, VG_STATUS_NOT_FOUND, 0, VG_REASON_EXPIRED);
	}
	if (deadline != VG_CONTINUE)
		return deadline;
	if (length > VG_XDP_VALUE_MAX)
		return VG_REASON_TOO_LONG;
	if (length > vg_answer_room(frame))
		return VG_REASON_NO_ROOM;
	if (vg_copy_value(serve->ctx, serve->shape, value_offset, length) ||
	    !vg_index_unchanged(found))
		return vg_get_torn(serve, key);
	vg_item_touch(found);
	return vg_answer(serve, VG_STATUS_OK, length, VG_REASON_HIT);
}

/* For a partition of this node. */
static __always_inline int vg_get(struct vg_serve *serve)
{
	__u64 hash = VG_BE64TOH(serve->frame.header->ident);
	struct vg_xdp_key key;
	struct vg_found found;
	int reason;

	/* A GET has no body: all that lies behind the key is padding, which an answer may overwrite. */
	if (serve->frame.header->body_length)
		return VG_REASON_BAD_HEADER;
	reason = vg_key_load(&serve->frame, &key);
	if (reason != VG_CONTINUE)
		return reason;
	reason = vg_index_find(hash, &key, &found);
	if (reason == VG_REASON_NOT_FOUND)
		return vg_get_missed(serve, &key, hash);
	if (reason != VG_REASON_HIT)
		return reason;
	return vg_get_hit(serve, &key, &found);
}

static __always_inline int vg_handle_get(struct vg_serve *serve)
{
	const struct vg_arena_header __arena *arena = vg_arena_at(struct vg_arena_header, 0);
	const struct vg_frame *frame = &serve->frame;
	__u64 handle = VG_BE64TOH(frame->header->ident), argument = VG_BE64TOH(frame->header->argument);
	__u32 offset = (__u32)(argument >> 32), length = (__u32)argument, sequence, slot_length, cell;
	const struct vg_handle_slot __arena *slot;
	bool lives;

	if (frame->header->key_length || frame->header->body_length)
		return VG_REASON_BAD_HEADER;
	/* An empty range asks how long the allocation is: the daemon's to say. */
	if (!length || vg_handle_slot_index(handle) >= arena->handles_max)
		return VG_REASON_HANDLE_RANGE;
	if (length > VG_XDP_VALUE_MAX)
		return VG_REASON_TOO_LONG;
	slot = vg_arena_at(struct vg_handle_slot,
			   arena->handles_offset + vg_handle_slot_index(handle) * (__u32)sizeof(*slot));
	sequence = vg_sequence_load(&slot->sequence);
	if (sequence & 1)
		return VG_REASON_BEING_WRITTEN;
	slot_length = slot->length;
	cell = slot->cell;
	lives = slot_length && slot->generation == vg_handle_generation(handle);
	if (!lives) {
		if (vg_sequence_load(&slot->sequence) != sequence)
			return VG_REASON_BEING_WRITTEN;
		return vg_answer(serve, VG_STATUS_GONE, 0, VG_REASON_HANDLE_GONE);
	}
	if (!cell)
		return VG_REASON_IN_HEAP;
	/* Length 0 asks how long the allocation is: the daemon says so in the argument. */
	if (!length || (__u64)offset + length > slot_length)
		return VG_REASON_HANDLE_RANGE;
	if (length > vg_answer_room(frame))
		return VG_REASON_NO_ROOM;
	if (vg_copy_value(serve->ctx, serve->shape, cell + offset, length) ||
	    vg_sequence_load(&slot->sequence) != sequence)
		return vg_get_torn(serve, NULL);
	return vg_answer(serve, VG_STATUS_OK, length, VG_REASON_HANDLE_HIT);
}

#endif
