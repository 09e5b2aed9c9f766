/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "proto/resp.h"

#define ERROR_BYTES_MAX 1024

/* Bulks as short as this are put together in one reservation: length line, bytes and line end. */
#define BULK_SHORT (VG_OUT_CHUNK_BYTES / 4)

size_t vg_resp_digits(char text[VG_RESP_DIGITS], __s64 value)
{
	char reversed[VG_RESP_DIGITS];
	__u64 left = value < 0 ? -(__u64)value : (__u64)value;
	size_t made = 0, length = 0;

	do {
		reversed[made++] = (char)('0' + left % 10);
		left /= 10;
	} while (left);
	if (value < 0)
		text[length++] = '-';
	while (made)
		text[length++] = reversed[--made];
	return length;
}

/* `<type><number>\r\n` at `at`; its length. */
static inline size_t put_header(char *at, char type, __s64 value)
{
	size_t length = 1;

	at[0] = type;
	if ((__u64)value < 10)
		at[length++] = (char)('0' + value);
	else
		length += vg_resp_digits(at + 1, value);
	at[length++] = '\r';
	at[length++] = '\n';
	return length;
}

static void header(struct vg_out *out, char type, __s64 value)
{
	char *at = vg_out_reserve(out, VG_RESP_DIGITS + 3);

	if (at)
		vg_out_commit(out, put_header(at, type, value));
}

void vg_resp_simple(struct vg_out *out, const char *text)
{
	size_t length = strlen(text);
	char *at = vg_out_reserve(out, length + 3);

	if (!at)
		return;
	at[0] = '+';
	memcpy(at + 1, text, length);
	memcpy(at + 1 + length, "\r\n", 2);
	vg_out_commit(out, length + 3);
}

_Thread_local __u64 vg_resp_errors_written;
_Thread_local char vg_resp_error_word[VG_RESP_ERROR_WORD];

void vg_resp_error(struct vg_out *out, const char *format, ...)
{
	char *at = vg_out_reserve(out, ERROR_BYTES_MAX);
	va_list values;
	int length;

	if (!at)
		return;
	at[0] = '-';
	va_start(values, format);
	length = vsnprintf(at + 1, ERROR_BYTES_MAX - 3, format, values);
	va_end(values);
	if (length > ERROR_BYTES_MAX - 4)
		length = ERROR_BYTES_MAX - 4;
	for (int i = 1; i <= length; i++)
		if (at[i] == '\r' || at[i] == '\n')
			at[i] = ' ';
	memcpy(at + 1 + length, "\r\n", 2);
	vg_out_commit(out, (size_t)length + 3);
	vg_resp_errors_written++;
	snprintf(vg_resp_error_word, sizeof(vg_resp_error_word), "%.*s", (int)strcspn(at + 1, " \r"), at + 1);
}

void vg_resp_integer(struct vg_out *out, __s64 value)
{
	header(out, ':', value);
}

void vg_resp_bulk(struct vg_out *out, const void *data, size_t length)
{
	if (length <= BULK_SHORT) {
		char *at = vg_out_reserve(out, length + VG_RESP_DIGITS + 5);
		size_t made;

		if (!at)
			return;
		made = put_header(at, '$', (__s64)length);
		memcpy(at + made, data, length);
		memcpy(at + made + length, "\r\n", 2);
		vg_out_commit(out, made + length + 2);
		return;
	}
	header(out, '$', (__s64)length);
	vg_out_append(out, data, length);
	vg_out_append(out, "\r\n", 2);
}

void vg_resp_bulk_text(struct vg_out *out, const char *text)
{
	vg_resp_bulk(out, text, strlen(text));
}

void vg_resp_bulk_format(struct vg_out *out, const char *format, ...)
{
	char text[1024];
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	vg_resp_bulk(out, text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1);
}

void vg_resp_bulk_lend(struct vg_out *out, const void *data, size_t length, void (*release)(void *), void *context)
{
	header(out, '$', (__s64)length);
	vg_out_lend(out, data, length, release, context);
	vg_out_append(out, "\r\n", 2);
}

void vg_resp_null(struct vg_out *out, int version)
{
	if (version == 3)
		vg_out_append(out, "_\r\n", 3);
	else
		vg_out_append(out, "$-1\r\n", 5);
}

void vg_resp_null_array(struct vg_out *out, int version)
{
	if (version == 3)
		vg_out_append(out, "_\r\n", 3);
	else
		vg_out_append(out, "*-1\r\n", 5);
}

void vg_resp_array(struct vg_out *out, __u64 elements)
{
	header(out, '*', (__s64)elements);
}

void vg_resp_map(struct vg_out *out, int version, __u64 pairs)
{
	if (version == 3)
		header(out, '%', (__s64)pairs);
	else
		header(out, '*', (__s64)(2 * pairs));
}

void vg_resp_set(struct vg_out *out, int version, __u64 elements)
{
	header(out, version == 3 ? '~' : '*', (__s64)elements);
}

void vg_resp_push(struct vg_out *out, int version, __u64 elements)
{
	header(out, version == 3 ? '>' : '*', (__s64)elements);
}

void vg_resp_bool(struct vg_out *out, int version, bool value)
{
	if (version == 3)
		vg_out_append(out, value ? "#t\r\n" : "#f\r\n", 4);
	else
		header(out, ':', value);
}

void vg_resp_verbatim(struct vg_out *out, int version, const void *data, size_t length)
{
	if (version != 3) {
		vg_resp_bulk(out, data, length);
		return;
	}
	header(out, '=', (__s64)length + 4);
	vg_out_append(out, "txt:", 4);
	vg_out_append(out, data, length);
	vg_out_append(out, "\r\n", 2);
}
