/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * RESP2 and RESP3, server side: a resumable parser of requests over contiguous input, and writers of replies.
 * Grammar: the Redis serialization protocol specification, and inline commands.
 */
#ifndef VG_PROTO_RESP_H
#define VG_PROTO_RESP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>

#include "base/mem.h"
#include "base/out.h"
#include "virgo/limits.h"

#define VG_RESP_ARGS_MAX INT_MAX   /* elements a request may announce, as Redis; memory follows what has arrived */
#define VG_RESP_ARGS_INLINE 64	   /* arguments kept without extra memory */
#define VG_RESP_INLINE_MAX 65536   /* bytes of an inline command line, or of a line that announces a length */
#define VG_RESP_UNAUTH_ARGS_MAX 10 /* before AUTH a client may not make us hold much */
#define VG_RESP_UNAUTH_BULK_MAX 16384

struct vg_resp_arg {
	const char *data; /* into the input: valid until it is consumed */
	size_t length;
};

struct vg_resp_request {
	struct vg_resp_arg *arg;
	int args; /* 0: an empty line or array, to be skipped without an answer */
};

/* ---- requests -------------------------------------------------------------------------------------------------- */

/*
 * What is known of a request that has not arrived wholly; all zero between requests. The input may move between calls
 * but must begin at the same byte. A request of more than VG_RESP_ARGS_INLINE arguments, or an inline command with
 * quotes, lives in memory of the parser until vg_resp_parser_reset.
 */
struct vg_resp_parser {
	struct vg_resp_arg *arg;
	char *text;	   /* unquoted words of an inline command */
	__u64 at;	   /* bytes that need not be looked at again */
	__u32 arg_capacity;
	__s32 announced, done;
};

enum vg_resp_verdict {
	VG_RESP_REQUEST = 0,
	VG_RESP_MORE,	   /* incomplete */
	VG_RESP_NO_MEMORY, /* for its arguments; the framing is lost */
	/* The framing is lost: answer vg_resp_verdict_text and close. */
	VG_RESP_BAD_ARRAY,
	VG_RESP_BAD_BULK,
	VG_RESP_NOT_BULK,
	VG_RESP_LONG_INLINE,
	VG_RESP_LONG_ARRAY_LINE,
	VG_RESP_LONG_BULK_LINE,
	VG_RESP_QUOTES,
	VG_RESP_UNAUTH_ARRAY,
	VG_RESP_UNAUTH_BULK,
};

struct vg_resp_input {
	const char *data;
	size_t length;
	bool trusted;		 /* authenticated: the larger limits */
	struct vg_resp_arg *arg; /* room for the arguments: VG_RESP_ARGS_INLINE of them */
	const struct vg_mem *mem;
};

struct vg_resp_result {
	struct vg_resp_request request;
	size_t taken;	 /* VG_RESP_REQUEST: bytes of it */
	__u64 wanted;	 /* VG_RESP_MORE: bytes needed in all, as far as known; else 0 */
	char unexpected; /* VG_RESP_NOT_BULK: what was there instead of '$' */
};

enum vg_resp_verdict vg_resp_parse(struct vg_resp_parser *parser, const struct vg_resp_input *input,
				   struct vg_resp_result *ret_result);
void vg_resp_parser_reset(struct vg_resp_parser *parser, const struct vg_mem *mem);
/* The request lives in the parser's memory: it must be executed before the next one is parsed. */
static inline bool vg_resp_parser_holds(const struct vg_resp_parser *parser)
{
	return parser->arg || parser->text;
}
/* The error text that Redis answers, without "-" and line end, for a verdict that loses the framing. */
void vg_resp_verdict_text(enum vg_resp_verdict verdict, char unexpected, char text[80]);

/* ---- replies --------------------------------------------------------------------------------------------------- */
/* `version` is 2 or 3 wherever the two differ. All append to `out`; when its pool is dry they leave out->failed. */

void vg_resp_simple(struct vg_out *out, const char *text);
/* Errors this thread has written, and the first word of the last one: for statistics. */
#define VG_RESP_ERROR_WORD 24
extern _Thread_local __u64 vg_resp_errors_written;
extern _Thread_local char vg_resp_error_word[VG_RESP_ERROR_WORD];
/* The text after "-"; line ends in it become spaces. */
void vg_resp_error(struct vg_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void vg_resp_integer(struct vg_out *out, __s64 value);
void vg_resp_bulk(struct vg_out *out, const void *data, size_t length);
void vg_resp_bulk_text(struct vg_out *out, const char *text);
void vg_resp_bulk_format(struct vg_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A bulk whose bytes are lent, see vg_out_lend. */
void vg_resp_bulk_lend(struct vg_out *out, const void *data, size_t length, void (*release)(void *), void *context);
void vg_resp_null(struct vg_out *out, int version);
void vg_resp_null_array(struct vg_out *out, int version);
void vg_resp_array(struct vg_out *out, __u64 elements);
void vg_resp_map(struct vg_out *out, int version, __u64 pairs);
void vg_resp_set(struct vg_out *out, int version, __u64 elements);
/* What a server says unasked: RESP2 has only an array for it. */
void vg_resp_push(struct vg_out *out, int version, __u64 elements);
void vg_resp_bool(struct vg_out *out, int version, bool value);
/* Text for people: RESP3 marks its format ("txt"). */
void vg_resp_verbatim(struct vg_out *out, int version, const void *data, size_t length);

/* Decimal digits of a number into `text` (no NUL); how many. */
#define VG_RESP_DIGITS 20
size_t vg_resp_digits(char text[VG_RESP_DIGITS], __s64 value);
/* Strict signed decimal, as Redis reads integers: no blanks, no plus, no leading zeros. */
bool vg_resp_number(const char *text, size_t length, __s64 *ret_value);

#endif
