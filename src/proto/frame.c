// SPDX-License-Identifier: GPL-3.0-or-later
#include "proto/frame.h"

#include <string.h>

/* BAD_FIELD says that something is wrong; the frame can be skipped only if it was not one of the lengths. */
static bool framing_survives(const struct vg_wire_header *header, enum vg_wire_verdict verdict)
{
	if (verdict == VG_WIRE_BAD_MAGIC || verdict == VG_WIRE_BAD_VERSION)
		return false;
	return VG_BE32TOH(header->key_length) <= VG_KEY_MAX && VG_BE32TOH(header->body_length) <= VG_BODY_MAX;
}

enum vg_frame_state vg_frame_read(struct vg_frame *frame, const __u8 *data, size_t length)
{
	__u64 head;

	*frame = (struct vg_frame){ .length = sizeof(frame->header) };
	if (length < sizeof(frame->header))
		return VG_FRAME_MORE;
	memcpy(&frame->header, data, sizeof(frame->header));
	frame->verdict = vg_wire_check(&frame->header);
	if (!framing_survives(&frame->header, frame->verdict))
		return VG_FRAME_LOST;
	frame->key_length = VG_BE32TOH(frame->header.key_length);
	frame->body_length = VG_BE32TOH(frame->header.body_length);
	head = sizeof(frame->header) + vg_wire_key_padded(&frame->header);
	frame->length = head;
	if (length < head)
		return VG_FRAME_MORE;
	frame->length = vg_wire_length(&frame->header);
	frame->key = data + sizeof(frame->header);
	if (frame->verdict == VG_WIRE_OK && !vg_frame_padding_zero(frame->key, frame->key_length))
		frame->verdict = VG_WIRE_BAD_FIELD;
	if (length < frame->length)
		return VG_FRAME_HEAD;
	frame->body = data + head;
	return VG_FRAME_WHOLE;
}

bool vg_frame_padding_zero(const __u8 *key, __u32 key_length)
{
	__u8 seen = 0;

	for (__u32 at = key_length; at < VG_ALIGN_UP(key_length, 8u); at++)
		seen |= key[at];
	return !seen;
}

bool vg_frame_tag_right(const __u64 key[2], const struct vg_wire_header *header, const __u8 *key_padded)
{
	/* Two whole words in registers: the comparison takes the same time whatever they hold. */
	return (header->flags & VG_HTOBE16(VG_FLAG_TAGGED)) && vg_wire_tag_of(key, header, key_padded) == header->tag;
}
