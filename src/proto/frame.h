/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * VIRGO binary on a stream: the frame at the front of contiguous bytes of any alignment, as a typed view. Pure; any
 * thread. A frame is judged as soon as its header and key are here, so that a request that will be refused need not be
 * held: its body can be skipped as it arrives.
 */
#ifndef VG_PROTO_FRAME_H
#define VG_PROTO_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/wire.h"
#include "virgo/wire_codec.h"

enum vg_frame_state {
	VG_FRAME_MORE,	/* not even header and key are here; `length` bytes are wanted */
	VG_FRAME_HEAD,	/* header and key are here, the body not wholly */
	VG_FRAME_WHOLE,
	VG_FRAME_LOST,	/* where the next frame starts cannot be known; `verdict` says why, the header is filled in */
};

struct vg_frame {
	struct vg_wire_header header; /* a copy */
	enum vg_wire_verdict
		verdict; /* with HEAD and WHOLE: OK, BAD_OPCODE or BAD_FIELD (with lengths that are good) */
	const __u8 *key;	      /* into the input, zero-padded to 8 bytes */
	const __u8 *body;	      /* into the input; only with WHOLE */
	__u32 key_length, body_length;
	__u64 length;		      /* of the whole frame; with MORE: bytes wanted */
};

enum vg_frame_state vg_frame_read(struct vg_frame *frame, const __u8 *data, size_t length);

/* Whether the bytes that pad a key to 8 are zero, as they must be. `key` has room for the padding. */
bool vg_frame_padding_zero(const __u8 *key, __u32 key_length);

/* Whether the message carries the right tag under `key`. */
bool vg_frame_tag_right(const __u64 key[2], const struct vg_wire_header *header, const __u8 *key_padded);

#endif
