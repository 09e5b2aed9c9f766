/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bounded reading of a VIRGO binary message, the same code for XDP, daemon, client and fuzzer: it looks only at a
 * header that lies wholly in memory, and every length it accepts is then within the message.
 */
#ifndef VIRGO_WIRE_CODEC_H
#define VIRGO_WIRE_CODEC_H

#include "types.h"
#include "limits.h"
#include "wire.h"

/* What a header may be found to be; the caller translates to a reason or a status. */
enum vg_wire_verdict {
	VG_WIRE_OK = 0,
	VG_WIRE_BAD_MAGIC,
	VG_WIRE_BAD_VERSION,
	VG_WIRE_BAD_OPCODE,   /* unknown operation; the lengths are good, the framing survives */
	VG_WIRE_BAD_FIELD,    /* an unknown flag, a reserved field not zero, a length over its limit */
};

/* Bytes of key and body behind a checked header. */
VG_INLINE __u64 vg_wire_key_padded(const struct vg_wire_header *header)
{
	return VG_ALIGN_UP((__u64)VG_BE32TOH(header->key_length), 8ULL);
}

VG_INLINE __u64 vg_wire_length(const struct vg_wire_header *header)
{
	return sizeof(*header) + vg_wire_key_padded(header) + VG_BE32TOH(header->body_length);
}

/* Check the fields of a header that is wholly readable. Lengths against the memory behind it are the caller's. */
VG_INLINE enum vg_wire_verdict vg_wire_check(const struct vg_wire_header *header)
{
	if (header->magic != VG_HTOBE16(VG_WIRE_MAGIC))
		return VG_WIRE_BAD_MAGIC;
	if (header->version != VG_WIRE_VERSION)
		return VG_WIRE_BAD_VERSION;
	if (header->flags & VG_HTOBE16((__u16)~VG_FLAGS_KNOWN) || header->load.reserved ||
	    VG_BE32TOH(header->key_length) > VG_KEY_MAX ||
	    VG_BE32TOH(header->body_length) > VG_BODY_MAX ||
	    header->status >= VG_STATUS_MAX ||
	    (!(header->flags & VG_HTOBE16(VG_FLAG_REPLY)) && header->status))
		return VG_WIRE_BAD_FIELD;
	if (header->opcode == 0 || header->opcode >= VG_OP_MAX)
		return VG_WIRE_BAD_OPCODE;
	return VG_WIRE_OK;
}

#ifndef __bpf__
#include "hash.h"

/* The tag of a message whose padded key lies at `key_padded` (of any alignment; not read when the key is empty). */
static inline __be64 vg_wire_tag_of(const __u64 key[2], const struct vg_wire_header *header, const void *key_padded)
{
	struct vg_wire_header covered = *header;
	const __u8 *at = key_padded;
	struct vg_siphash state;
	__u64 left = vg_wire_key_padded(header);

	covered.hops = 0;
	covered.tag = 0;
	vg_siphash_start(&state, key);
	for (unsigned int i = 0; i < sizeof(covered) / 8; i++)
		vg_siphash_word(&state, vg_load64((const __u8 *)&covered + 8 * i));
	for (; left; at += 8, left -= 8)
		vg_siphash_word(&state, vg_load64(at));
	return VG_HTOBE64(vg_siphash_finish(&state, (sizeof(covered) + vg_wire_key_padded(header)) << 56));
}

/* The same of a message whose padded key lies right behind the header. */
static inline __be64 vg_wire_tag(const __u64 key[2], const struct vg_wire_header *header)
{
	return vg_wire_tag_of(key, header, header + 1);
}
#endif

#endif
