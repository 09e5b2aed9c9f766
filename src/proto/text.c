// SPDX-License-Identifier: GPL-3.0-or-later
#include "proto/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	enum vg_text_verb verb;
	int arguments;
} verbs[] = {
	{ "virgo_cloud_malloc", VG_TEXT_MALLOC, 1 },
	{ "virgo_cloud_set", VG_TEXT_HANDLE_SET, 2 },
	{ "virgo_cloud_get", VG_TEXT_HANDLE_GET, 1 },
	{ "virgo_cloud_free", VG_TEXT_HANDLE_FREE, 1 },
	{ "virgo_set", VG_TEXT_SET, 2 },
	{ "virgo_get", VG_TEXT_GET, 1 },
	{ "virgo_del", VG_TEXT_DEL, 1 },
	{ "virgo_auth", VG_TEXT_AUTH, 1 },
	{ "virgo_cloud_open", VG_TEXT_FILE_OPEN, 1 },
	{ "virgo_cloud_read", VG_TEXT_FILE_READ, 4 },
	{ "virgo_cloud_write", VG_TEXT_FILE_WRITE, 4 },
	{ "virgo_cloud_close", VG_TEXT_FILE_CLOSE, 1 },
};

static bool ends_request(char byte)
{
	return byte == '\r' || byte == '\n' || byte == '\0';
}

static struct vg_text_span trimmed(struct vg_text_span span)
{
	while (span.length && (span.data[0] == ' ' || span.data[0] == '\t'))
		span.data++, span.length--;
	while (span.length && (span.data[span.length - 1] == ' ' || span.data[span.length - 1] == '\t'))
		span.length--;
	return span;
}

static void malformed(struct vg_text_request *request, const char *fault)
{
	request->verb = VG_TEXT_MALFORMED;
	request->fault = fault;
}

static void split_two(struct vg_text_request *request, struct vg_text_span inside, int arguments, const char *fault)
{
	const char *comma = arguments == 2 ? memchr(inside.data, ',', inside.length) : NULL;

	request->argument[0] = inside;
	if (arguments == 1)
		return;
	if (!comma) {
		malformed(request, fault);
		return;
	}
	request->argument[0].length = (size_t)(comma - inside.data);
	request->argument[1].data = comma + 1;
	request->argument[1].length = inside.length - request->argument[0].length - 1;
}

/* Cut what is behind the last comma off `span`; false: there is none. */
static bool cut_last(struct vg_text_span *span, struct vg_text_span *ret_last)
{
	const char *comma = span->length ? memrchr(span->data, ',', span->length) : NULL;

	if (!comma)
		return false;
	ret_last->data = comma + 1;
	ret_last->length = (size_t)(span->data + span->length - ret_last->data);
	span->length = (size_t)(comma - span->data);
	return true;
}

/*
 * Everything between the first ( and the last ) of the line, split at the first comma where two are wanted, and at the
 * first and the last two where four are: so data may have commas.
 */
static void split_arguments(struct vg_text_request *request, struct vg_text_span inside, int arguments)
{
	static const char two[] = "two arguments are wanted: name(first,second)",
			  four[] = "four arguments are wanted: name(number,data,count,position)";

	if (arguments < 4)
		split_two(request, inside, arguments, two);
	else if (cut_last(&inside, &request->argument[3]) && cut_last(&inside, &request->argument[2]))
		split_two(request, inside, 2, four);
	else
		malformed(request, four);
}

static void parse_line(struct vg_text_request *request, struct vg_text_span line)
{
	const char *open, *close;
	struct vg_text_span name, inside;

	line = trimmed(line);
	open = memchr(line.data, '(', line.length);
	close = memrchr(line.data, ')', line.length);
	if (!open || !close || close < open || close != line.data + line.length - 1) {
		malformed(request, "a request is name(argument) or name(argument,argument) on a line of its own");
		return;
	}
	name = trimmed((struct vg_text_span){ line.data, (size_t)(open - line.data) });
	inside = (struct vg_text_span){ open + 1, (size_t)(close - open - 1) };
	request->verb = VG_TEXT_UNKNOWN;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strlen(verbs[i].name) == name.length && !memcmp(verbs[i].name, name.data, name.length)) {
			request->verb = verbs[i].verb;
			split_arguments(request, inside, verbs[i].arguments);
			return;
		}
	}
}

ssize_t vg_text_read(struct vg_text_request *request, const __u8 *data, size_t length)
{
	const char *text = (const char *)data;
	size_t start = 0, end;

	*request = (struct vg_text_request){ .verb = VG_TEXT_NOTHING };
	while (start < length && ends_request(text[start]))
		start++;
	if (start)
		return (ssize_t)start;
	for (end = 0; end < length && !ends_request(text[end]); end++)
		if (end >= VG_TEXT_REQUEST_MAX)
			return -EMSGSIZE;
	if (end == length)
		return 0;
	request->padded = text[end] == '\0';
	parse_line(request, (struct vg_text_span){ text, end });
	return (ssize_t)end + 1;
}

static struct vg_text_span unquoted(struct vg_text_span span)
{
	span = trimmed(span);
	if (span.length >= 2 && span.data[0] == '"' && span.data[span.length - 1] == '"') {
		span.data++;
		span.length -= 2;
	}
	return span;
}

int vg_text_decimal(struct vg_text_span span, __u64 max, __u64 *ret_number)
{
	__u64 number = 0;

	span = unquoted(span);
	if (!span.length)
		return -EINVAL;
	for (size_t i = 0; i < span.length; i++) {
		unsigned int digit = (unsigned char)span.data[i] - (unsigned int)'0';

		if (digit > 9)
			return -EINVAL;
		if (number > (max - digit) / 10 || max < digit)
			return -ERANGE;
		number = number * 10 + digit;
	}
	*ret_number = number;
	return 0;
}

static int hex_digit(char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	if (byte >= 'a' && byte <= 'f')
		return byte - 'a' + 10;
	if (byte >= 'A' && byte <= 'F')
		return byte - 'A' + 10;
	return -1;
}

int vg_text_token(struct vg_text_span span, __u64 *ret_handle)
{
	__u64 handle = 0;

	span = unquoted(span);
	if (!span.length)
		return -EINVAL;
	if (span.length > 16)
		return -ERANGE;
	for (size_t i = 0; i < span.length; i++) {
		int digit = hex_digit(span.data[i]);

		if (digit < 0)
			return -EINVAL;
		handle = handle << 4 | (__u64)digit;
	}
	*ret_handle = handle;
	return 0;
}

void vg_text_reply(struct vg_out *out, bool padded, const void *text, size_t length)
{
	char buffer[VG_TEXT_PADDED_BYTES] = { 0 };

	if (!padded) {
		vg_out_append(out, text, length);
		vg_out_append(out, "\r\n", 2);
		return;
	}
	if (length)
		memcpy(buffer, text, length < sizeof(buffer) ? length : sizeof(buffer) - 1);
	vg_out_append(out, buffer, sizeof(buffer));
}

void vg_text_reply_token(struct vg_out *out, bool padded, __u64 handle)
{
	char token[17];
	int length = snprintf(token, sizeof(token), "%llx", (unsigned long long)handle);

	vg_text_reply(out, padded, token, (size_t)length);
}

void vg_text_reply_error(struct vg_out *out, bool padded, const char *name, const char *message)
{
	char line[256];
	int length = snprintf(line, sizeof(line), "virgo_error(%s,%s)", name, message);

	vg_text_reply(out, padded, line, (size_t)length < sizeof(line) ? (size_t)length : sizeof(line) - 1);
}
