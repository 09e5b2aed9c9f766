/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which protocol a stream speaks, from its first bytes: one port serves every client. */
#ifndef VG_PROTO_DISPATCH_H
#define VG_PROTO_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"

enum vg_protocol {
	VG_PROTOCOL_UNKNOWN = 0, /* no byte yet, or not enough to tell */
	VG_PROTOCOL_BINARY,
	VG_PROTOCOL_RESP,	 /* arrays and inline commands */
	VG_PROTOCOL_TEXT,	 /* the original's grammar */
	VG_PROTOCOL_MEMCACHE,
	VG_PROTOCOL_HTTP,	 /* refused with a pointer to the admin port */
};

/*
 * VG_PROTOCOL_UNKNOWN asks for more bytes; with VG_DISPATCH_BYTES or a whole line it never does. `ended`: no more will
 * come. Whatever is nobody else's is RESP's: its inline commands are the protocol that answers a person.
 */
#define VG_DISPATCH_BYTES 512 /* a first line as long as this is decided by what is there of it */
enum vg_protocol vg_dispatch(const __u8 *data, size_t length, bool ended);

#endif
