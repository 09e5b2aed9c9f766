/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * RESP2 and RESP3, server side: a resumable parser of requests over contiguous input, and writers of replies.
 * Grammar: the Redis serialization protocol specification, and inline commands.
 */
#ifndef VG_PROTO_RESP_H
#define VG_PROTO_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/out.h"
#include "virgo/limits.h"

#define VG_RESP_ARGS_MAX 1048576   /* elements a request may announce, as Redis */
#define VG_RESP_ARGS_INLINE 64	   /* arguments kept without extra memory */
#define VG_RESP_INLINE_MAX 65536   /* bytes of an inline command line */
#define VG_RESP_UNAUTH_ARGS_MAX 10 /* before AUTH a client may not make us hold much */
#define VG_RESP_UNAUTH_BULK_MAX 16384

struct vg_resp_arg {
	const char *data; /* into the input: valid until it is consumed */
	__u32 length;
};

struct vg_resp_request {
	struct vg_resp_arg *arg;
	int args;
};

/* The rest of the RESP contract is with its implementation: parser state, errors, writers. */

#endif
