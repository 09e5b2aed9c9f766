/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The header of a VIRGO binary answer, with the load stamp and the tag it leaves with. */
#ifndef VG_SVC_REPLY_H
#define VG_SVC_REPLY_H

#include "svc/svc.h"

struct vg_reply {
	__u8 opcode, status;
	__u16 partition, flags; /* REPLY and TAGGED are added */
	__u64 client, sequence, ident, argument;
	const void *body; /* for who appends it; not looked at here */
	__u32 body_length;
	const __u64 *key; /* it is tagged with; NULL: not */
	bool unproven;	  /* neither signed nor told how busy we are */
};
void vg_reply_header(const struct vg_env *env, const struct vg_service *service, const struct vg_reply *reply,
		     struct vg_wire_header *ret_header);

#endif
