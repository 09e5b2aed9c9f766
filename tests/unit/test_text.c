// SPDX-License-Identifier: GPL-3.0-or-later
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/text.h"

/* Reads from memory that ends where the text ends. */
static ssize_t read_text(struct vg_text_request *request, char *memory, const void *text, size_t length)
{
	memcpy(memory, text, length);
	return vg_text_read(request, (const __u8 *)memory, length);
}

static bool is(struct vg_text_span span, const char *want)
{
	return span.length == strlen(want) && (!span.length || !memcmp(span.data, want, span.length));
}

static void test_text_requests(void **state)
{
	static const struct {
		const char *line;
		enum vg_text_verb verb;
		const char *first, *second;
	} cases[] = {
		{ "virgo_cloud_malloc(100)\r\n", VG_TEXT_MALLOC, "100", NULL },
		{ "virgo_cloud_malloc(100)\n", VG_TEXT_MALLOC, "100", NULL },
		{ "  virgo_cloud_malloc (100) \t\n", VG_TEXT_MALLOC, "100", NULL },
		{ "virgo_cloud_malloc()\n", VG_TEXT_MALLOC, "", NULL },
		{ "virgo_cloud_set(ef511000,hello)\n", VG_TEXT_HANDLE_SET, "ef511000", "hello" },
		{ "virgo_cloud_set(ef511000,a,b)\n", VG_TEXT_HANDLE_SET, "ef511000", "a,b" },
		{ "virgo_cloud_set(ef511000,f(x) + g(y))\n", VG_TEXT_HANDLE_SET, "ef511000", "f(x) + g(y)" },
		{ "virgo_cloud_set(ef511000,\"quoted\")\n", VG_TEXT_HANDLE_SET, "ef511000", "\"quoted\"" },
		{ "virgo_cloud_set(ef511000, two words )\n", VG_TEXT_HANDLE_SET, "ef511000", " two words " },
		{ "virgo_cloud_set(ef511000,)\n", VG_TEXT_HANDLE_SET, "ef511000", "" },
		{ "virgo_cloud_set(ef511000)\n", VG_TEXT_MALFORMED, "ef511000", NULL },
		{ "virgo_cloud_get(ffff88009bcd7968)\n", VG_TEXT_HANDLE_GET, "ffff88009bcd7968", NULL },
		{ "virgo_cloud_free(1)\n", VG_TEXT_HANDLE_FREE, "1", NULL },
		{ "virgo_set(key,value)\n", VG_TEXT_SET, "key", "value" },
		{ "virgo_get(a key, with comma)\n", VG_TEXT_GET, "a key, with comma", NULL },
		{ "virgo_del(key)\n", VG_TEXT_DEL, "key", NULL },
		{ "virgo_auth(secret)\n", VG_TEXT_AUTH, "secret", NULL },
		{ "virgo_cloud_open(a path, (with) all)\n", VG_TEXT_FILE_OPEN, "a path, (with) all", NULL },
		{ "virgo_cloud_close(7)\n", VG_TEXT_FILE_CLOSE, "7", NULL },
		{ "virgo_cloud_read(1,none,2,3)\n", VG_TEXT_FILE_READ, "1", "none" },
		{ "virgo_cloud_write(1,a,b,2,3)\n", VG_TEXT_FILE_WRITE, "1", "a,b" },
		{ "virgo_cloud_write(1,,,)\n", VG_TEXT_FILE_WRITE, "1", "" },
		{ "virgo_cloud_write(1,a,2)\n", VG_TEXT_MALFORMED, NULL, NULL },
		{ "virgo_cloud_write()\n", VG_TEXT_MALFORMED, NULL, NULL },
		{ "virgo_cloud_mallocs(1)\n", VG_TEXT_UNKNOWN, NULL, NULL },
		{ "VIRGO_CLOUD_MALLOC(1)\n", VG_TEXT_UNKNOWN, NULL, NULL },
		{ "(1)\n", VG_TEXT_UNKNOWN, NULL, NULL },
		{ "virgo_cloud_malloc\n", VG_TEXT_MALFORMED, NULL, NULL },
		{ "virgo_cloud_malloc(1\n", VG_TEXT_MALFORMED, NULL, NULL },
		{ "virgo_cloud_malloc)1(\n", VG_TEXT_MALFORMED, NULL, NULL },
		{ "virgo_cloud_malloc(1) more\n", VG_TEXT_MALFORMED, NULL, NULL },
		{ "virgo_cloud_malloc(1);\n", VG_TEXT_MALFORMED, NULL, NULL },
		{ " \n", VG_TEXT_MALFORMED, NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t length = strlen(cases[i].line), ends = strcspn(cases[i].line, "\r\n") + 1;
		char *memory = malloc(length);
		struct vg_text_request request;

		assert_int_equal(read_text(&request, memory, cases[i].line, length), ends);
		if (request.verb != cases[i].verb)
			fail_msg("%s: verb %d", cases[i].line, request.verb);
		assert_false(request.padded);
		assert_true(!cases[i].first || is(request.argument[0], cases[i].first));
		assert_true(!cases[i].second || is(request.argument[1], cases[i].second));
		assert_true((request.verb == VG_TEXT_MALFORMED) == !!request.fault);
		for (size_t cut = 0; cut + 1 < ends; cut++)
			assert_int_equal(read_text(&request, memory, cases[i].line, cut), 0);
		free(memory);
	}
}

/* The original's clients send 3000 bytes, text and NULs: one request, and nothing is left of it. */
static void test_text_padded_request(void **state)
{
	char bytes[3000] = "virgo_cloud_get(ef511000)";
	struct vg_text_request request;
	ssize_t taken;

	taken = vg_text_read(&request, (const __u8 *)bytes, sizeof(bytes));
	assert_int_equal(taken, strlen(bytes) + 1);
	assert_int_equal(request.verb, VG_TEXT_HANDLE_GET);
	assert_true(request.padded);
	taken += vg_text_read(&request, (const __u8 *)bytes + taken, sizeof(bytes) - (size_t)taken);
	assert_int_equal(taken, 3000);
	assert_int_equal(request.verb, VG_TEXT_NOTHING);
}

static void test_text_length_is_bounded(void **state)
{
	char *bytes = malloc(VG_TEXT_REQUEST_MAX + 2);
	struct vg_text_request request;

	memset(bytes, 'a', VG_TEXT_REQUEST_MAX + 2);
	assert_int_equal(vg_text_read(&request, (const __u8 *)bytes, VG_TEXT_REQUEST_MAX), 0);
	assert_int_equal(vg_text_read(&request, (const __u8 *)bytes, VG_TEXT_REQUEST_MAX + 1), -EMSGSIZE);
	bytes[VG_TEXT_REQUEST_MAX] = '\n';
	assert_int_equal(vg_text_read(&request, (const __u8 *)bytes, VG_TEXT_REQUEST_MAX + 1), VG_TEXT_REQUEST_MAX + 1);
	free(bytes);
}

static struct vg_text_span span(const char *text)
{
	return (struct vg_text_span){ text, strlen(text) };
}

static void test_text_numbers(void **state)
{
	static const struct {
		const char *text;
		int error;
		__u64 number;
	} decimal[] = {
		{ "0", 0, 0 }, { "100", 0, 100 }, { "\"100\"", 0, 100 }, { " 7 ", 0, 7 }, { "4294967295", 0, 4294967295 },
		{ "0000000000000000000000012", 0, 12 }, { "4294967296", -ERANGE, 0 }, { "42949672950", -ERANGE, 0 },
		{ "99999999999999999999999999", -ERANGE, 0 }, { "", -EINVAL, 0 }, { "\"\"", -EINVAL, 0 }, { "\"", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 }, { "+1", -EINVAL, 0 }, { "1x", -EINVAL, 0 }, { "0x10", -EINVAL, 0 }, { "1 2", -EINVAL, 0 },
	}, token[] = {
		{ "0", 0, 0 }, { "ef511000", 0, 0xef511000 }, { "EF511000", 0, 0xef511000 }, { "\"ef\"", 0, 0xef },
		{ "ffffffffffffffff", 0, UINT64_MAX }, { "0ffffffffffffffff", -ERANGE, 0 }, { "", -EINVAL, 0 },
		{ "0x12", -EINVAL, 0 }, { "12g", -EINVAL, 0 }, { "-1", -EINVAL, 0 }, { "12\"34", -EINVAL, 0 }, { "1 2", -EINVAL, 0 },
	};

	for (size_t i = 0; i < sizeof(decimal) / sizeof(decimal[0]); i++) {
		__u64 number = 77;

		assert_int_equal(vg_text_decimal(span(decimal[i].text), 0xffffffff, &number), decimal[i].error);
		assert_int_equal(number, decimal[i].error ? 77 : decimal[i].number);
	}
	for (size_t i = 0; i < sizeof(token) / sizeof(token[0]); i++) {
		__u64 number = 77;

		assert_int_equal(vg_text_token(span(token[i].text), &number), token[i].error);
		assert_int_equal(number, token[i].error ? 77 : token[i].number);
	}
	for (__u64 max = 0; max < 30; max++)
		for (__u64 number = 0; number < 60; number++) {
			char text[8];
			__u64 got;

			snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
			assert_int_equal(vg_text_decimal(span(text), max, &got), number > max ? -ERANGE : 0);
		}
}

static size_t taken(struct vg_out *out, char *bytes, size_t capacity)
{
	struct iovec vector;
	size_t length = 0;

	while (vg_out_peek(out, &vector, 1) == 1) {
		assert_true(length + vector.iov_len <= capacity);
		memcpy(bytes + length, vector.iov_base, vector.iov_len);
		length += vector.iov_len;
		vg_out_consume(out, vector.iov_len);
	}
	return length;
}

static void test_text_replies(void **state)
{
	static const char zeros[VG_TEXT_PADDED_BYTES];
	char bytes[2048], longer[1000];
	struct vg_out_pool pool;
	struct vg_out out;

	assert_int_equal(vg_out_pool_init(&pool, 8), 0);
	vg_out_init(&out, &pool);
	vg_text_reply_token(&out, false, 0xffff88009bcd7968);
	assert_int_equal(taken(&out, bytes, sizeof(bytes)), 18);
	assert_memory_equal(bytes, "ffff88009bcd7968\r\n", 18);
	vg_text_reply_token(&out, true, 0xef511000);
	assert_int_equal(taken(&out, bytes, sizeof(bytes)), 500);
	assert_memory_equal(bytes, "ef511000", 8);
	assert_memory_equal(bytes + 8, zeros, 492);
	memset(longer, 'x', sizeof(longer));
	vg_text_reply(&out, true, longer, sizeof(longer));
	assert_int_equal(taken(&out, bytes, sizeof(bytes)), 500);
	assert_memory_equal(bytes, longer, 499);
	assert_int_equal(bytes[499], 0);
	vg_text_reply(&out, false, longer, sizeof(longer));
	assert_int_equal(taken(&out, bytes, sizeof(bytes)), 1002);
	vg_text_reply(&out, true, NULL, 0);
	assert_int_equal(taken(&out, bytes, sizeof(bytes)), 500);
	assert_memory_equal(bytes, zeros, 500);
	vg_text_reply_error(&out, false, "gone", "the handle is gone");
	assert_int_equal(taken(&out, bytes, sizeof(bytes)), 38);
	assert_memory_equal(bytes, "virgo_error(gone,the handle is gone)\r\n", 38);
	vg_out_deinit(&out);
	vg_out_pool_deinit(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_requests),
		cmocka_unit_test(test_text_padded_request),
		cmocka_unit_test(test_text_length_is_bounded),
		cmocka_unit_test(test_text_numbers),
		cmocka_unit_test(test_text_replies),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
