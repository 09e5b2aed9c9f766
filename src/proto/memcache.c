// SPDX-License-Identifier: GPL-3.0-or-later
#include "proto/memcache.h"

#include <limits.h>
#include <string.h>

#define BAD_LINE "CLIENT_ERROR bad command line format"
#define BAD_KEY "CLIENT_ERROR error decoding key"
#define BAD_TOKEN "CLIENT_ERROR bad token in command line format"

#define META_WORDS_MAX 19 /* of a meta command, with its verb */

_Static_assert(('a' & 63) == 33 && ('z' & 63) == 58 && ('A' & 63) == 1 && ('Z' & 63) == 26,
	       "vg_mc_flag_bit: letters differ in their low six bits");

static void parse_line(struct vg_mc_request *request, const char *line, size_t length);
static void refuse(struct vg_mc_request *request, const char *error);

/* The data block is too long, or ends wrongly. What a meta command did wrong is always answered. */
static void refuse_value(struct vg_mc_request *request, const char *error)
{
	if (request->verb == VG_MC_META_SET)
		request->quiet = false;
	refuse(request, error);
}

enum vg_mc_state vg_mc_read(struct vg_mc_parser *parser, struct vg_mc_request *request, const void *data,
			    size_t length, __u64 value_max)
{
	const char *line = data, *end = memchr(line + parser->searched, '\n', length - parser->searched);
	size_t line_length;

	if (!end) {
		bool gets = length >= 5 && (!memcmp(line, "get ", 4) || !memcmp(line, "gets ", 5));

		parser->searched = (__u32)length;
		return length > (gets ? VG_MC_GET_LINE_MAX : VG_MC_LINE_MAX) ? VG_MC_LOST : VG_MC_MORE;
	}
	line_length = (size_t)(end - line);
	if (line_length > VG_MC_GET_LINE_MAX)
		return VG_MC_LOST;
	request->length = line_length + 1;
	if (line_length > 1 && line[line_length - 1] == '\r')
		line_length--;
	parse_line(request, line, line_length);
	if (!request->has_value) {
		parser->searched = 0;
		return VG_MC_WHOLE;
	}
	if (request->verb != VG_MC_ERROR && request->value_length > value_max) {
		refuse_value(request, "SERVER_ERROR object too large for cache");
		request->too_large = true;
	}
	request->value = (const __u8 *)end + 1;
	request->length += request->value_length + 2;
	if (length < request->length) {
		parser->searched = (__u32)(end - line); /* found again at once */
		return VG_MC_HEAD;
	}
	parser->searched = 0;
	if (request->verb != VG_MC_ERROR && memcmp(request->value + request->value_length, "\r\n", 2) != 0)
		refuse_value(request, "CLIENT_ERROR bad data chunk");
	return VG_MC_WHOLE;
}

/* ---- words and numbers ----------------------------------------------------------------------------------------- */

bool vg_mc_next(struct vg_mc_word *rest, struct vg_mc_word *ret_word)
{
	const char *at = rest->data, *end = rest->data + rest->length, *from;

	while (at < end && *at == ' ')
		at++;
	from = at;
	while (at < end && *at != ' ')
		at++;
	rest->data = at;
	rest->length = (size_t)(end - at);
	*ret_word = (struct vg_mc_word){ from, (size_t)(at - from) };
	return at != from;
}

static bool is(struct vg_mc_word word, const char *text)
{
	return word.length == strlen(text) && memcmp(word.data, text, word.length) == 0;
}

static bool is_blank(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* Sign and digits at the front; the rest must begin with a blank, or not be. False: no number, or over 64 bits. */
static bool read_number(const char *text, size_t length, bool *ret_negative, __u64 *ret_number)
{
	const char *at = text, *end = text + length;
	__u64 number = 0;
	bool digits = false;

	while (at < end && is_blank(*at))
		at++;
	*ret_negative = at < end && *at == '-';
	if (at < end && (*at == '-' || *at == '+'))
		at++;
	for (; at < end && *at >= '0' && *at <= '9'; at++) {
		digits = true;
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (__u64)(*at - '0'), &number))
			return false;
	}
	if (!digits || (at < end && !is_blank(*at)))
		return false;
	*ret_number = number;
	return true;
}

bool vg_mc_number(const char *text, size_t length, __u64 *ret_number)
{
	__u64 number;
	bool negative;

	if (!read_number(text, length, &negative, &number) || (negative && number))
		return false;
	*ret_number = number;
	return true;
}

static bool read_u64(struct vg_mc_word word, __u64 *ret_number)
{
	return vg_mc_number(word.data, word.length, ret_number);
}

static bool read_u32(struct vg_mc_word word, __u32 *ret_number)
{
	__u64 number;

	if (!read_u64(word, &number) || number > UINT_MAX)
		return false;
	*ret_number = (__u32)number;
	return true;
}

static bool read_s32(struct vg_mc_word word, __s32 *ret_number)
{
	__u64 number;
	bool negative;

	if (!read_number(word.data, word.length, &negative, &number) ||
	    number > (negative ? (__u64)INT_MAX + 1 : (__u64)INT_MAX))
		return false;
	*ret_number = negative ? (__s32)-(__s64)number : (__s32)number;
	return true;
}

bool vg_mc_key_is_valid(struct vg_mc_word key)
{
	bool bad = false;

	if (key.length > VG_MC_KEY_MAX)
		return false;
	for (size_t i = 0; i < key.length; i++)
		bad |= (unsigned char)key.data[i] <= ' ' || key.data[i] == 0x7f;
	return !bad;
}

/* ---- lines ----------------------------------------------------------------------------------------------------- */

static void refuse(struct vg_mc_request *request, const char *error)
{
	request->verb = VG_MC_ERROR;
	request->error = error;
}

/* Up to so many words of a line; how many there are, or `max` + 1. */
static int split(struct vg_mc_word rest, struct vg_mc_word *word, int max)
{
	struct vg_mc_word one;
	int count = 0;

	while (count <= max && vg_mc_next(&rest, &one)) {
		if (count < max)
			word[count] = one;
		count++;
	}
	return count;
}

/* Key, exptime and what else; `words` behind the verb. */
static void parse_storage(struct vg_mc_request *request)
{
	bool cas = request->verb == VG_MC_CAS;
	struct vg_mc_word word[6];
	int count = split(request->rest, word, 6), wanted = cas ? 5 : 4;
	__s32 length;

	if (count != wanted && count != wanted + 1) {
		refuse(request, "ERROR");
		return;
	}
	request->quiet = is(word[count - 1], "noreply");
	request->key = word[0];
	if (!vg_mc_key_is_valid(word[0]) || !read_u32(word[1], &request->client_flags) ||
	    !read_s32(word[2], &request->exptime) || !read_s32(word[3], &length) ||
	    (cas && !read_u64(word[4], &request->number)) || length < 0 || length > INT_MAX - 2) {
		refuse(request, BAD_LINE);
		return;
	}
	request->has_value = true;
	request->value_length = (__u64)length;
}

static void parse_get(struct vg_mc_request *request)
{
	struct vg_mc_word word;

	if (request->verb == VG_MC_GAT || request->verb == VG_MC_GATS) {
		if (!vg_mc_next(&request->rest, &word))
			refuse(request, "ERROR");
		else if (!read_s32(word, &request->exptime))
			refuse(request, "CLIENT_ERROR invalid exptime argument");
		return;
	}
	word = request->rest;
	if (!vg_mc_next(&word, &request->key))
		refuse(request, "ERROR");
}

/* incr, decr: a delta; touch: an expiry. */
static void parse_key_and_number(struct vg_mc_request *request)
{
	struct vg_mc_word word[3];
	int count = split(request->rest, word, 3);

	if (count != 2 && count != 3) {
		refuse(request, "ERROR");
		return;
	}
	request->quiet = is(word[count - 1], "noreply");
	request->key = word[0];
	if (!vg_mc_key_is_valid(word[0]))
		refuse(request, BAD_LINE);
	else if (request->verb == VG_MC_TOUCH && !read_s32(word[1], &request->exptime))
		refuse(request, "CLIENT_ERROR invalid exptime argument");
	else if (request->verb != VG_MC_TOUCH && !read_u64(word[1], &request->number))
		refuse(request, "CLIENT_ERROR invalid numeric delta argument");
}

static void parse_delete(struct vg_mc_request *request)
{
	struct vg_mc_word word[3];
	int count = split(request->rest, word, 3);

	if (count < 1 || count > 3) {
		refuse(request, "ERROR");
		return;
	}
	request->key = word[0];
	if (count > 1) {
		bool zero = is(word[1], "0");

		request->quiet = is(word[count - 1], "noreply");
		if (!(count == 2 && (zero || request->quiet)) && !(count == 3 && zero && request->quiet)) {
			refuse(request, "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]");
			return;
		}
	}
	if (!vg_mc_key_is_valid(word[0]))
		refuse(request, BAD_LINE);
}

static void parse_flush_all(struct vg_mc_request *request)
{
	struct vg_mc_word word[2];
	int count = split(request->rest, word, 2);

	if (count > 2) {
		refuse(request, "ERROR");
		return;
	}
	request->quiet = count > 0 && is(word[count - 1], "noreply");
	if (count != (request->quiet ? 1 : 0) && !read_s32(word[0], &request->exptime))
		refuse(request, "CLIENT_ERROR invalid exptime argument");
}

static void parse_verbosity(struct vg_mc_request *request)
{
	struct vg_mc_word word[2];
	int count = split(request->rest, word, 2);
	__u32 level;

	if (count != 1 && count != 2) {
		refuse(request, "ERROR");
		return;
	}
	request->quiet = is(word[count - 1], "noreply");
	if (!read_u32(word[0], &level))
		refuse(request, BAD_LINE);
}

/* ---- meta ------------------------------------------------------------------------------------------------------ */

/* One flag with what stands behind its letter. The error text, or NULL; `*ret_stop`: nothing behind it is read. */
static const char *read_flag(struct vg_mc_request *request, struct vg_mc_word flag, bool *ret_stop)
{
	struct vg_mc_word value = { flag.data + 1, flag.length - 1 };
	struct vg_mc_meta *meta = &request->meta;
	__u8 key[VG_MC_KEY_MAX];

	switch (flag.data[0]) {
	case 'T':
		return read_s32(value, &meta->ttl) ? NULL : BAD_TOKEN;
	case 'N':
		return read_s32(value, &meta->vivify_ttl) ? NULL : BAD_TOKEN;
	case 'R':
		return read_s32(value, &meta->recache_ttl) ? NULL : BAD_TOKEN;
	case 'F':
		return read_u32(value, &request->client_flags) ? NULL : BAD_LINE;
	case 'C':
		return read_u64(value, &meta->compare) ? NULL : BAD_TOKEN;
	case 'J':
		return read_u64(value, &meta->initial) ? NULL : "CLIENT_ERROR invalid numeric initial value";
	case 'D':
		return read_u64(value, &meta->delta) ? NULL : "CLIENT_ERROR invalid numeric delta value";
	case 'M':
		meta->mode = value.length == 1 ? value.data[0] : 0;
		return value.length == 1 ? NULL : "CLIENT_ERROR incorrect length for M token";
	case 'q':
		request->quiet = true;
		return NULL;
	case 'b':
		return vg_mc_base64_decode(request->key.data, request->key.length, key) ? NULL : BAD_KEY;
	case 'c': case 'f': case 'h': case 'k': case 'l': case 's': case 't': case 'u': case 'v':
	case 'I': case 'L': case 'O': case 'P':
		return NULL;
	}
	*ret_stop = true;
	return "CLIENT_ERROR invalid flag";
}

/* All flags. NULL, or the last error that was found: so does memcached, which reads on after most. */
static const char *read_flags(struct vg_mc_request *request)
{
	struct vg_mc_word rest = request->rest, flag;
	const char *error = NULL, *found;
	bool stop = false;

	request->meta.delta = 1;
	while (!stop && vg_mc_next(&rest, &flag)) {
		if ((unsigned char)flag.data[0] >= 127 || request->meta.given & vg_mc_flag_bit(flag.data[0]))
			return "CLIENT_ERROR duplicate flag";
		found = read_flag(request, flag, &stop);
		if (!found || (flag.data[0] >= 'A'))
			request->meta.given |= vg_mc_flag_bit(flag.data[0]);
		if (found && !(error && flag.data[0] == 'F')) /* a wrong F says nothing of its own */
			error = found;
	}
	return error;
}

static const char *check_opaque(const struct vg_mc_request *request)
{
	struct vg_mc_word rest = request->rest, flag;

	if (!vg_mc_has(request, 'O'))
		return NULL;
	while (vg_mc_next(&rest, &flag))
		if (flag.data[0] == 'O' && flag.length > VG_MC_OPAQUE_MAX)
			return "CLIENT_ERROR opaque token too long";
	return NULL;
}

/* Modes of ms and ma; the others have none that is looked at. */
static const char *check_mode(const struct vg_mc_request *request)
{
	char mode = request->meta.mode;

	if (!mode)
		return NULL;
	if (request->verb == VG_MC_META_SET)
		return strchr("EeAaPpRrSs", mode) ? NULL : "CLIENT_ERROR invalid mode for ms M token";
	if (request->verb == VG_MC_META_ARITHMETIC)
		return strchr("Ii+Dd-", mode) ? NULL : "CLIENT_ERROR invalid mode for ma M token";
	return NULL;
}

static void parse_meta(struct vg_mc_request *request)
{
	struct vg_mc_word word[META_WORDS_MAX], rest = request->rest;
	int words = 1 + split(rest, word, META_WORDS_MAX);
	const char *error;
	__s32 length;

	if (words < 2) {
		refuse(request, "ERROR");
		return;
	}
	vg_mc_next(&request->rest, &request->key);
	if (request->key.length > VG_MC_KEY_MAX || (request->verb == VG_MC_META_SET && words == 2)) {
		refuse(request, BAD_LINE);
		return;
	}
	if (words > META_WORDS_MAX) {
		refuse(request, request->verb == VG_MC_META_GET ? "CLIENT_ERROR options flags are too long" :
								  "CLIENT_ERROR options flags too long");
		return;
	}
	if (request->verb == VG_MC_META_SET) {
		vg_mc_next(&request->rest, &word[0]);
		if (!read_s32(word[0], &length) || length < 0 || length > INT_MAX - 2) {
			refuse(request, BAD_LINE);
			return;
		}
		request->has_value = true;
		request->value_length = (__u64)length;
	}
	error = read_flags(request);
	if (!error && !vg_mc_has(request, 'b') && !vg_mc_key_is_valid(request->key))
		error = BAD_LINE;
	if (error && (request->verb == VG_MC_META_DELETE || request->verb == VG_MC_META_ARITHMETIC))
		error = "CLIENT_ERROR invalid or duplicate flag";
	error = error ?: check_mode(request) ?: check_opaque(request);
	if (error) {
		request->quiet = false; /* errors are always told */
		refuse(request, error);
	}
}

static void parse_debug(struct vg_mc_request *request)
{
	struct vg_mc_word flag, rest;
	__u8 key[VG_MC_KEY_MAX];

	if (!vg_mc_next(&request->rest, &request->key) || request->key.length > VG_MC_KEY_MAX) {
		refuse(request, BAD_LINE);
		return;
	}
	rest = request->rest;
	if (vg_mc_next(&rest, &flag) && is(flag, "b"))
		request->meta.given |= vg_mc_flag_bit('b');
	if (vg_mc_has(request, 'b') ? !vg_mc_base64_decode(request->key.data, request->key.length, key) :
				      !vg_mc_key_is_valid(request->key))
		refuse(request, BAD_LINE);
}

/* ---- verbs ----------------------------------------------------------------------------------------------------- */

static void parse_nothing(struct vg_mc_request *request)
{
}

static const struct {
	const char *name;
	void (*parse)(struct vg_mc_request *request);
	enum vg_mc_verb verb;
} verbs[] = {
	{ "get", parse_get, VG_MC_GET },
	{ "set", parse_storage, VG_MC_SET },
	{ "gets", parse_get, VG_MC_GETS },
	{ "mg", parse_meta, VG_MC_META_GET },
	{ "ms", parse_meta, VG_MC_META_SET },
	{ "md", parse_meta, VG_MC_META_DELETE },
	{ "ma", parse_meta, VG_MC_META_ARITHMETIC },
	{ "mn", parse_nothing, VG_MC_META_NOOP },
	{ "me", parse_debug, VG_MC_META_DEBUG },
	{ "delete", parse_delete, VG_MC_DELETE },
	{ "incr", parse_key_and_number, VG_MC_INCR },
	{ "decr", parse_key_and_number, VG_MC_DECR },
	{ "add", parse_storage, VG_MC_ADD },
	{ "cas", parse_storage, VG_MC_CAS },
	{ "replace", parse_storage, VG_MC_REPLACE },
	{ "append", parse_storage, VG_MC_APPEND },
	{ "prepend", parse_storage, VG_MC_PREPEND },
	{ "touch", parse_key_and_number, VG_MC_TOUCH },
	{ "gat", parse_get, VG_MC_GAT },
	{ "gats", parse_get, VG_MC_GATS },
	{ "bget", parse_get, VG_MC_GET }, /* an old name that memcached still knows */
	{ "stats", parse_nothing, VG_MC_STATS },
	{ "version", parse_nothing, VG_MC_VERSION },
	{ "verbosity", parse_verbosity, VG_MC_VERBOSITY },
	{ "flush_all", parse_flush_all, VG_MC_FLUSH_ALL },
	{ "quit", parse_nothing, VG_MC_QUIT },
};

static void parse_line(struct vg_mc_request *request, const char *line, size_t length)
{
	__u64 bytes = request->length;
	struct vg_mc_word verb;

	*request = (struct vg_mc_request){ .length = bytes, .rest = { line, length } };
	vg_mc_next(&request->rest, &verb);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (is(verb, verbs[i].name)) {
			request->verb = verbs[i].verb;
			verbs[i].parse(request);
			return;
		}
	}
	refuse(request, "ERROR");
}

/* ---- base64 ---------------------------------------------------------------------------------------------------- */

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t vg_mc_base64_encode(const void *data, size_t length, char *text)
{
	const __u8 *at = data;
	char *start = text;

	for (; length; at += 3) {
		__u32 bits = (__u32)at[0] << 16 | (length > 1 ? (__u32)at[1] << 8 : 0) | (length > 2 ? at[2] : 0);

		*text++ = digits64[bits >> 18];
		*text++ = digits64[bits >> 12 & 63];
		*text++ = length > 1 ? digits64[bits >> 6 & 63] : '=';
		*text++ = length > 2 ? digits64[bits & 63] : '=';
		length -= length < 3 ? length : 3;
	}
	return (size_t)(text - start);
}

static int digit64(char byte)
{
	const char *at = byte ? strchr(digits64, byte) : NULL;

	return at ? (int)(at - digits64) : -1;
}

size_t vg_mc_base64_decode(const char *text, size_t length, __u8 *out)
{
	__u8 *start = out;

	if (length % 4)
		return 0;
	for (; length; text += 4, length -= 4) {
		int padding = length == 4 ? (text[3] == '=') + (text[3] == '=' && text[2] == '=') : 0;
		__u32 bits = 0;

		for (int i = 0; i < 4; i++) {
			int digit = i >= 4 - padding ? 0 : digit64(text[i]);

			if (digit < 0)
				return 0;
			bits = bits << 6 | (__u32)digit;
		}
		*out++ = (__u8)(bits >> 16);
		if (padding < 2)
			*out++ = (__u8)(bits >> 8);
		if (padding < 1)
			*out++ = (__u8)bits;
	}
	return (size_t)(out - start);
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

__u64 vg_mc_deadline_ms(__s64 exptime, __u64 now_ms)
{
	if (exptime == 0)
		return 0;
	if (exptime < 0)
		return 1;
	if (exptime <= VG_MC_DELTA_SECONDS_MAX)
		return now_ms + (__u64)exptime * 1000;
	return (__u64)exptime * 1000;
}
