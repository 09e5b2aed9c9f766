/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The original VIRGO's text grammar of the memory and the file pool: one request is name(argument[,argument …]) ended
 * by CR LF, LF or NUL. docs/protocol.md, "Text" and "The file pool as text", has the grammar, the replies and the
 * choice made for every quirk. Pure; any thread.
 */
#ifndef VG_PROTO_TEXT_H
#define VG_PROTO_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/out.h"
#include "virgo/limits.h"

#define VG_TEXT_REQUEST_MAX 65536 /* bytes of a request, without its end */
#define VG_TEXT_REPLY_MAX 65536   /* longest value a text reply holds */
#define VG_TEXT_PADDED_BYTES 500  /* the original's one reply size */

enum vg_text_verb {
	VG_TEXT_NOTHING,	/* only padding and line ends were there */
	VG_TEXT_MALLOC,		/* virgo_cloud_malloc(bytes) */
	VG_TEXT_HANDLE_SET,	/* virgo_cloud_set(token,data) */
	VG_TEXT_HANDLE_GET,	/* virgo_cloud_get(token) */
	VG_TEXT_HANDLE_FREE,	/* virgo_cloud_free(token) */
	VG_TEXT_SET,		/* virgo_set(key,value) */
	VG_TEXT_GET,		/* virgo_get(key) */
	VG_TEXT_DEL,		/* virgo_del(key) */
	VG_TEXT_AUTH,		/* virgo_auth(password) */
	VG_TEXT_FILE_OPEN,	/* virgo_cloud_open(path) */
	VG_TEXT_FILE_READ,	/* virgo_cloud_read(number,anything,count,position) */
	VG_TEXT_FILE_WRITE,	/* virgo_cloud_write(number,data,count,position) */
	VG_TEXT_FILE_CLOSE,	/* virgo_cloud_close(number) */
	VG_TEXT_UNKNOWN,	/* well-formed, but no such name */
	VG_TEXT_MALFORMED,	/* `fault` says why */
};

struct vg_text_span {
	const char *data; /* into the input */
	size_t length;
};

struct vg_text_request {
	enum vg_text_verb verb;
	bool padded;		/* ended by NUL: it wants the original's reply of 500 bytes */
	const char *fault;	/* MALFORMED: a message for a person */
	struct vg_text_span argument[4];
};

/*
 * Read one request from the front of the input. Returns bytes taken, with *request filled in (NOTHING: take them and go
 * on); 0: the end of the request is not here yet; -EMSGSIZE: it is longer than VG_TEXT_REQUEST_MAX.
 */
ssize_t vg_text_read(struct vg_text_request *request, const __u8 *data, size_t length);

/*
 * Strict scanners. Spaces and one pair of double quotes around the digits are allowed. 0, -EINVAL or -ERANGE (> max).
 */
int vg_text_decimal(struct vg_text_span span, __u64 max, __u64 *ret_number);
int vg_text_token(struct vg_text_span span, __u64 *ret_handle); /* 1 to 16 hexadecimal digits, no 0x */

/*
 * Answers, in the shape the request asked for: a line, or 500 bytes with NULs behind the text (cut at 499). Names and
 * messages of errors must not come from a peer.
 */
void vg_text_reply(struct vg_out *out, bool padded, const void *text, size_t length);
void vg_text_reply_token(struct vg_out *out, bool padded, __u64 handle);
void vg_text_reply_error(struct vg_out *out, bool padded, const char *name, const char *message);

#endif
