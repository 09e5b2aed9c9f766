/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/resp.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>

static enum vg_resp_verdict parse_array(struct vg_resp_parser *parser, const struct vg_resp_input *input,
					struct vg_resp_result *ret);
static enum vg_resp_verdict parse_bulks(struct vg_resp_parser *parser, const struct vg_resp_input *input,
					struct vg_resp_result *ret);
static enum vg_resp_verdict parse_inline(struct vg_resp_parser *parser, const struct vg_resp_input *input,
					 struct vg_resp_result *ret);

enum vg_resp_verdict vg_resp_parse(struct vg_resp_parser *parser, const struct vg_resp_input *input,
				   struct vg_resp_result *ret_result)
{
	ret_result->wanted = 0;
	if (input->length == 0)
		return VG_RESP_MORE;
	if (parser->arg && parser->announced)
		return parse_bulks(parser, input, ret_result);
	if (input->data[0] == '*')
		return parse_array(parser, input, ret_result);
	return parse_inline(parser, input, ret_result);
}

void vg_resp_parser_reset(struct vg_resp_parser *parser, const struct vg_mem *mem)
{
	if (parser->arg)
		mem->free(mem->context, parser->arg);
	if (parser->text)
		mem->free(mem->context, parser->text);
	*parser = (struct vg_resp_parser){ 0 };
}

bool vg_resp_number(const char *text, size_t length, __s64 *ret_value)
{
	bool negative = length > 1 && text[0] == '-';
	__u64 limit = (__u64)INT64_MAX + negative, value = 0;
	size_t i = negative;

	if (length == 0 || length > VG_RESP_DIGITS)
		return false;
	if (text[i] == '0' && length > 1)
		return false;
	for (; i < length; i++) {
		unsigned int digit = (unsigned int)(text[i] - '0');

		if (digit > 9 || value > (limit - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*ret_value = (__s64)(negative ? -value : value);
	return true;
}

/*
 * The number in a line `<sign byte><digits>\r\n` at `at`. The common one or two digits are read without a search.
 * *ret_next is the first byte behind the line. VG_RESP_MORE: no whole line yet; VG_RESP_BAD_BULK: not a number.
 */
static inline enum vg_resp_verdict parse_length_line(const char *data, size_t length, size_t at, __s64 *ret_value,
						     size_t *ret_next)
{
	const char *line = data + at + 1, *end;
	size_t left = length - at - 1;

	if (left >= 3 && line[1] == '\r' && (unsigned char)(line[0] - '0') <= 9) {
		*ret_value = line[0] - '0';
		*ret_next = at + 4;
		return VG_RESP_REQUEST;
	}
	if (left >= 4 && line[2] == '\r' && (unsigned char)(line[0] - '1') <= 8 &&
	    (unsigned char)(line[1] - '0') <= 9) {
		*ret_value = (line[0] - '0') * 10 + (line[1] - '0');
		*ret_next = at + 5;
		return VG_RESP_REQUEST;
	}
	end = memchr(line, '\r', left < VG_RESP_INLINE_MAX ? left : VG_RESP_INLINE_MAX);
	if (!end || end + 1 >= data + length)
		return VG_RESP_MORE;
	*ret_next = (size_t)(end + 2 - data);
	return vg_resp_number(line, (size_t)(end - line), ret_value) ? VG_RESP_REQUEST : VG_RESP_BAD_BULK;
}

static enum vg_resp_verdict parse_array(struct vg_resp_parser *parser, const struct vg_resp_input *input,
					struct vg_resp_result *ret)
{
	enum vg_resp_verdict verdict;
	__s64 announced;
	size_t next;

	verdict = parse_length_line(input->data, input->length, 0, &announced, &next);
	if (verdict == VG_RESP_MORE)
		return input->length > VG_RESP_INLINE_MAX ? VG_RESP_LONG_ARRAY_LINE : VG_RESP_MORE;
	if (verdict != VG_RESP_REQUEST || announced > VG_RESP_ARGS_MAX)
		return VG_RESP_BAD_ARRAY;
	if (announced > VG_RESP_UNAUTH_ARGS_MAX && !input->trusted)
		return VG_RESP_UNAUTH_ARRAY;
	if (announced <= 0) {
		ret->request = (struct vg_resp_request){ .arg = input->arg };
		ret->taken = next;
		return VG_RESP_REQUEST;
	}
	parser->announced = (__s32)announced;
	parser->done = 0;
	parser->at = next;
	return parse_bulks(parser, input, ret);
}

/* Make the parser's own array hold one more argument; it grows with what arrives, not with what was announced. */
static bool grow(struct vg_resp_parser *parser, const struct vg_mem *mem)
{
	__u64 capacity = parser->arg_capacity ? 2ULL * parser->arg_capacity : 4 * VG_RESP_ARGS_INLINE;
	struct vg_resp_arg *arg;

	if (capacity > (__u64)parser->announced)
		capacity = (__u64)parser->announced;
	arg = mem->alloc(mem->context, capacity * sizeof(*arg));
	if (!arg)
		return false;
	if (parser->arg) {
		memcpy(arg, parser->arg, (size_t)parser->done * sizeof(*arg));
		mem->free(mem->context, parser->arg);
	}
	parser->arg = arg;
	parser->arg_capacity = (__u32)capacity;
	return true;
}

/*
 * The bulk strings of an array, from parser->at. Until the request is whole an argument's data is its offset from the
 * request's beginning, because the input may move. What a short request has of its arguments is found again on the next
 * call (a few lengths are read, bulk bytes are skipped); a long one continues where it was.
 */
static enum vg_resp_verdict parse_bulks(struct vg_resp_parser *parser, const struct vg_resp_input *input,
					struct vg_resp_result *ret)
{
	bool own = parser->announced > VG_RESP_ARGS_INLINE;
	struct vg_resp_arg *arg = own ? parser->arg : input->arg;
	const char *data = input->data;
	size_t at = parser->at, next;
	int done = parser->done;
	__s64 bulk;

	for (; done < parser->announced; done++) {
		enum vg_resp_verdict verdict;

		if (at >= input->length)
			goto more;
		verdict = parse_length_line(data, input->length, at, &bulk, &next);
		if (verdict == VG_RESP_MORE && input->length - at > VG_RESP_INLINE_MAX)
			return VG_RESP_LONG_BULK_LINE;
		if (verdict == VG_RESP_MORE)
			goto more;
		if (data[at] != '$') {
			ret->unexpected = data[at];
			return VG_RESP_NOT_BULK;
		}
		if (verdict != VG_RESP_REQUEST || bulk < 0 || bulk > VG_VALUE_MAX)
			return VG_RESP_BAD_BULK;
		if (bulk > VG_RESP_UNAUTH_BULK_MAX && !input->trusted)
			return VG_RESP_UNAUTH_BULK;
		if (next + (size_t)bulk + 2 > input->length) {
			ret->wanted = next + (size_t)bulk + 2;
			goto more;
		}
		if (own && (__u32)done >= parser->arg_capacity) {
			parser->done = done;
			if (!grow(parser, input->mem))
				return VG_RESP_NO_MEMORY;
			arg = parser->arg;
		}
		arg[done].data = (const char *)next;
		arg[done].length = (size_t)bulk;
		at = next + (size_t)bulk + 2;
	}
	for (int i = 0; i < done; i++)
		arg[i].data = data + (size_t)arg[i].data;
	ret->request = (struct vg_resp_request){ .arg = arg, .args = done };
	ret->taken = at;
	parser->announced = 0;
	parser->at = 0;
	return VG_RESP_REQUEST;
more:
	if (own && parser->arg) {
		parser->done = done;
		parser->at = at;
	} else {
		parser->announced = 0;
		parser->at = 0;
	}
	return VG_RESP_MORE;
}

static bool is_blank(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static int hex_digit(char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/*
 * One word at line[*at], unquoted into `text`; returns its length or -1 when the quotes do not balance. A closing quote
 * must be followed by a blank or the end.
 */
static ssize_t unquote_word(const char *line, size_t length, size_t *at, char *text)
{
	size_t i = *at, made = 0;
	char quote = 0;

	for (; i < length; i++) {
		char byte = line[i];

		if (quote && byte == quote) {
			if (i + 1 < length && !is_blank(line[i + 1]))
				return -1;
			quote = 0;
			i++;
			break;
		}
		if (quote == '"' && byte == '\\' && i + 3 < length && line[i + 1] == 'x' &&
		    hex_digit(line[i + 2]) >= 0 && hex_digit(line[i + 3]) >= 0) {
			text[made++] = (char)(hex_digit(line[i + 2]) * 16 + hex_digit(line[i + 3]));
			i += 3;
		} else if (quote == '"' && byte == '\\' && i + 1 < length) {
			static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
			const char *escape = memchr(from, line[++i], sizeof(from) - 1);

			text[made++] = escape ? to[escape - from] : line[i];
		} else if (quote == '\'' && byte == '\\' && i + 1 < length && line[i + 1] == '\'') {
			text[made++] = '\'';
			i++;
		} else if (!quote && is_blank(byte)) {
			break;
		} else if (!quote && (byte == '"' || byte == '\'')) {
			quote = byte;
		} else {
			text[made++] = byte;
		}
	}
	*at = i;
	return quote ? -1 : (ssize_t)made;
}

/* The words of an inline command; `text` is where unquoted words go, or NULL when the line has no quotes. */
static enum vg_resp_verdict split_words(struct vg_resp_parser *parser, const struct vg_resp_input *input,
					const char *line, size_t length, char *text, struct vg_resp_request *ret)
{
	struct vg_resp_arg *arg = input->arg;
	__u32 capacity = VG_RESP_ARGS_INLINE;
	size_t at = 0;
	int args = 0;

	for (;;) {
		ssize_t made;

		while (at < length && is_blank(line[at]))
			at++;
		if (at == length)
			break;
		if ((__u32)args == capacity) {
			parser->done = parser->arg ? args : 0;
			parser->announced = VG_RESP_INLINE_MAX;
			if (!grow(parser, input->mem))
				return VG_RESP_NO_MEMORY;
			if (arg == input->arg)
				memcpy(parser->arg, arg, (size_t)args * sizeof(*arg));
			arg = parser->arg;
			capacity = parser->arg_capacity;
		}
		if (text) {
			made = unquote_word(line, length, &at, text);
			if (made < 0)
				return VG_RESP_QUOTES;
			arg[args++] = (struct vg_resp_arg){ text, (size_t)made };
			text += made;
		} else {
			size_t start = at;

			while (at < length && !is_blank(line[at]))
				at++;
			arg[args++] = (struct vg_resp_arg){ line + start, at - start };
		}
	}
	parser->announced = 0;
	*ret = (struct vg_resp_request){ .arg = arg, .args = args };
	return VG_RESP_REQUEST;
}

static enum vg_resp_verdict parse_inline(struct vg_resp_parser *parser, const struct vg_resp_input *input,
					 struct vg_resp_result *ret)
{
	const char *line = input->data;
	size_t known = parser->at < input->length ? parser->at : input->length;
	const char *end = memchr(line + known, '\n', input->length - known);
	size_t length;

	if (!end) {
		parser->at = input->length;
		return input->length > VG_RESP_INLINE_MAX ? VG_RESP_LONG_INLINE : VG_RESP_MORE;
	}
	parser->at = 0;
	ret->taken = (size_t)(end - line) + 1;
	length = (size_t)(end - line);
	if (length > VG_RESP_INLINE_MAX)
		return VG_RESP_LONG_INLINE;
	if (length && line[length - 1] == '\r')
		length--;
	length = strnlen(line, length); /* a zero byte ends the line, as it does for Redis */
	if (memchr(line, '"', length) || memchr(line, '\'', length)) {
		parser->text = input->mem->alloc(input->mem->context, length);
		if (!parser->text)
			return VG_RESP_NO_MEMORY;
	}
	return split_words(parser, input, line, length, parser->text, &ret->request);
}

void vg_resp_verdict_text(enum vg_resp_verdict verdict, char unexpected, char text[80])
{
	static const char *const texts[] = {
		[VG_RESP_NO_MEMORY] = "OOM command not allowed when used memory > 'maxmemory'.",
		[VG_RESP_BAD_ARRAY] = "ERR Protocol error: invalid multibulk length",
		[VG_RESP_BAD_BULK] = "ERR Protocol error: invalid bulk length",
		[VG_RESP_LONG_INLINE] = "ERR Protocol error: too big inline request",
		[VG_RESP_LONG_ARRAY_LINE] = "ERR Protocol error: too big mbulk count string",
		[VG_RESP_LONG_BULK_LINE] = "ERR Protocol error: too big bulk count string",
		[VG_RESP_QUOTES] = "ERR Protocol error: unbalanced quotes in request",
		[VG_RESP_UNAUTH_ARRAY] = "ERR Protocol error: unauthenticated multibulk length",
		[VG_RESP_UNAUTH_BULK] = "ERR Protocol error: unauthenticated bulk length",
	};

	if (verdict == VG_RESP_NOT_BULK) {
		snprintf(text, 80, "ERR Protocol error: expected '$', got '%c'", unexpected);
		return;
	}
	assert(texts[verdict]);
	snprintf(text, 80, "%s", texts[verdict]);
}
