// SPDX-License-Identifier: GPL-3.0-or-later
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "proto/resp.h"

static void *give(void *context, size_t bytes)
{
	return malloc(bytes ? bytes : 1);
}

static void take(void *context, void *memory)
{
	free(memory);
}

static void *give_nothing(void *context, size_t bytes)
{
	return NULL;
}

static const struct vg_mem memory = { give, take, NULL };
static const struct vg_mem no_memory = { give_nothing, take, NULL };
static struct vg_resp_arg room[VG_RESP_ARGS_INLINE];

static enum vg_resp_verdict parse(struct vg_resp_parser *parser, const char *text, size_t length,
				  struct vg_resp_result *result)
{
	struct vg_resp_input input = { .data = text, .length = length, .trusted = true, .arg = room, .mem = &memory };

	return vg_resp_parse(parser, &input, result);
}

/* The words of one request, separated by '|'. */
static void expect_words(const char *text, const char *words)
{
	struct vg_resp_parser parser = { 0 };
	struct vg_resp_result result;
	char joined[512];
	size_t length = 0;

	assert_int_equal(parse(&parser, text, strlen(text), &result), VG_RESP_REQUEST);
	for (int i = 0; i < result.request.args; i++)
		length += (size_t)snprintf(joined + length, sizeof(joined) - length, "%s%.*s", i ? "|" : "",
					   (int)result.request.arg[i].length, result.request.arg[i].data);
	joined[length] = '\0';
	assert_string_equal(joined, words);
	assert_int_equal(result.taken, strlen(text));
	vg_resp_parser_reset(&parser, &memory);
}

static void test_resp_inline_words(void **state)
{
	expect_words("PING\r\n", "PING");
	expect_words("  GET   a \t b \n", "GET|a|b");
	expect_words("set \"a b\" 'c d'\r\n", "set|a b|c d");
	expect_words("x \"\\x41\\x4a\\n\\\"\\q\" 'it\\'s' '\\n'\r\n", "x|AJ\n\"q|it's|\\n");
	expect_words("x \"\\xZZ\"\r\n", "x|xZZ");
	expect_words("x \"\" ''\r\n", "x||");
	expect_words("a\"b c\"\r\n", "a" "b c");
	expect_words("\r\n", "");
	expect_words("   \r\n", "");
}

/* Every split of a request: incomplete before its end, and then the same whatever was seen before. */
static void test_resp_arrays_in_pieces(void **state)
{
	static const char text[] = "*3\r\n$3\r\nSET\r\n$12\r\nabcdefghijkl\r\n$0\r\n\r\n";
	size_t whole = sizeof(text) - 1;

	for (size_t cut = 0; cut < whole; cut++) {
		struct vg_resp_parser parser = { 0 };
		struct vg_resp_result result;
		char *first = malloc(cut + 1), *second = malloc(whole);

		memcpy(first, text, cut);
		memcpy(second, text, whole);
		assert_int_equal(parse(&parser, first, cut, &result), VG_RESP_MORE);
		if (cut > 18 && cut < 31) /* the length of the second bulk is known */
			assert_int_equal(result.wanted, 18 + 12 + 2);
		free(first); /* the input may move */
		assert_int_equal(parse(&parser, second, whole, &result), VG_RESP_REQUEST);
		assert_int_equal(result.taken, whole);
		assert_int_equal(result.request.args, 3);
		assert_memory_equal(result.request.arg[1].data, "abcdefghijkl", 12);
		assert_int_equal(result.request.arg[2].length, 0);
		assert_false(vg_resp_parser_holds(&parser));
		free(second);
	}
}

/* A long array is not read again from its start, and its arguments follow the input when it moves. */
static void test_resp_long_array_in_pieces(void **state)
{
	enum { ELEMENTS = 5000 };
	char *text = malloc(ELEMENTS * 16 + 32);
	size_t whole = (size_t)sprintf(text, "*%d\r\n", ELEMENTS), at = 0;
	struct vg_resp_parser parser = { 0 };
	struct vg_resp_result result;

	for (int i = 0; i < ELEMENTS; i++)
		whole += (size_t)sprintf(text + whole, "$4\r\n%04d\r\n", i);
	for (size_t length = 1; length < whole; length += 997) {
		char *piece = malloc(length);

		memcpy(piece, text, length);
		assert_int_equal(parse(&parser, piece, length, &result), VG_RESP_MORE);
		assert_true(parser.at >= at);
		at = parser.at;
		free(piece);
	}
	assert_true(at > whole - 2000);
	assert_int_equal(parse(&parser, text, whole, &result), VG_RESP_REQUEST);
	assert_int_equal(result.request.args, ELEMENTS);
	for (int i = 0; i < ELEMENTS; i++) {
		char want[8];

		snprintf(want, sizeof(want), "%04d", i);
		assert_memory_equal(result.request.arg[i].data, want, 4);
	}
	vg_resp_parser_reset(&parser, &memory);
	free(text);
}

static void test_resp_many_inline_words(void **state)
{
	char text[4096];
	size_t length = 0;
	struct vg_resp_parser parser = { 0 };
	struct vg_resp_result result;

	for (int i = 0; i < 700; i++)
		length += (size_t)sprintf(text + length, "%03d%s", i, i == 699 ? "\r\n" : " ");
	assert_int_equal(parse(&parser, text, length, &result), VG_RESP_REQUEST);
	assert_int_equal(result.request.args, 700);
	assert_memory_equal(result.request.arg[0].data, "000", 3);
	assert_memory_equal(result.request.arg[699].data, "699", 3);
	vg_resp_parser_reset(&parser, &memory);
}

static void test_resp_refusals(void **state)
{
	static const struct {
		const char *text;
		bool trusted;
		enum vg_resp_verdict verdict;
		const char *answer;
	} cases[] = {
		{ "*a\r\n", true, VG_RESP_BAD_ARRAY, "ERR Protocol error: invalid multibulk length" },
		{ "*99999999999999999999\r\n", true, VG_RESP_BAD_ARRAY, "ERR Protocol error: invalid multibulk length" },
		{ "*1\r\n$a\r\n", true, VG_RESP_BAD_BULK, "ERR Protocol error: invalid bulk length" },
		{ "*1\r\n$-5\r\n", true, VG_RESP_BAD_BULK, "ERR Protocol error: invalid bulk length" },
		{ "*1\r\n:1\r\n", true, VG_RESP_NOT_BULK, "ERR Protocol error: expected '$', got ':'" },
		{ "*11\r\n", false, VG_RESP_UNAUTH_ARRAY, "ERR Protocol error: unauthenticated multibulk length" },
		{ "*1\r\n$16385\r\n", false, VG_RESP_UNAUTH_BULK, "ERR Protocol error: unauthenticated bulk length" },
		{ "\"\r\n", true, VG_RESP_QUOTES, "ERR Protocol error: unbalanced quotes in request" },
		{ "*1", true, VG_RESP_MORE, NULL },
		{ "*1\r\n$4", true, VG_RESP_MORE, NULL },
		{ "*10\r\n", false, VG_RESP_MORE, NULL },
		{ "*1\r\n$16384\r\n", false, VG_RESP_MORE, NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vg_resp_input input = { .data = cases[i].text, .length = strlen(cases[i].text), .arg = room,
					       .trusted = cases[i].trusted, .mem = &memory };
		struct vg_resp_parser parser = { 0 };
		struct vg_resp_result result;
		char text[80];

		assert_int_equal(vg_resp_parse(&parser, &input, &result), cases[i].verdict);
		if (cases[i].answer) {
			vg_resp_verdict_text(cases[i].verdict, result.unexpected, text);
			assert_string_equal(text, cases[i].answer);
		}
		vg_resp_parser_reset(&parser, &memory);
	}
}

static void test_resp_no_memory(void **state)
{
	char text[1024];
	size_t length = (size_t)sprintf(text, "*65\r\n");
	struct vg_resp_parser parser = { 0 };
	struct vg_resp_result result;
	struct vg_resp_input input = { .data = text, .trusted = true, .arg = room, .mem = &no_memory };

	for (int i = 0; i < 65; i++)
		length += (size_t)sprintf(text + length, "$1\r\na\r\n");
	input.length = length;
	assert_int_equal(vg_resp_parse(&parser, &input, &result), VG_RESP_NO_MEMORY);
	vg_resp_parser_reset(&parser, &no_memory);
	input.data = "\"a\"\r\n";
	input.length = 5;
	assert_int_equal(vg_resp_parse(&parser, &input, &result), VG_RESP_NO_MEMORY);
}

static void test_resp_numbers(void **state)
{
	static const char *const good[] = { "0", "-1", "9223372036854775807", "-9223372036854775808", "1234567890" };
	static const char *const bad[] = { "", "-", "+1", " 1", "1 ", "01", "-0", "9223372036854775808",
					   "-9223372036854775809", "1.0", "0x1", "123456789012345678901" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char digits[VG_RESP_DIGITS + 1];
		__s64 value;

		assert_true(vg_resp_number(good[i], strlen(good[i]), &value));
		assert_int_equal(value, strtoll(good[i], NULL, 10));
		digits[vg_resp_digits(digits, value)] = '\0';
		assert_string_equal(digits, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		__s64 value;

		assert_false(vg_resp_number(bad[i], strlen(bad[i]), &value));
	}
}

static void expect_out(struct vg_out *out, const char *want)
{
	struct iovec part;
	size_t at = 0;

	while (vg_out_peek(out, &part, 1) == 1) {
		assert_memory_equal(part.iov_base, want + at, part.iov_len);
		at += part.iov_len;
		vg_out_consume(out, part.iov_len);
	}
	assert_int_equal(at, strlen(want));
}

static void test_resp_replies(void **state)
{
	struct vg_out_pool pool;
	struct vg_out out;

	assert_int_equal(vg_out_pool_init(&pool, 8), 0);
	vg_out_init(&out, &pool);
	vg_resp_simple(&out, "OK");
	vg_resp_error(&out, "ERR a\r\nb %d", 5);
	vg_resp_integer(&out, -42);
	vg_resp_bulk(&out, "a\0b", 0);
	vg_resp_bulk_format(&out, "%d", 1234567890);
	expect_out(&out, "+OK\r\n-ERR a  b 5\r\n:-42\r\n$0\r\n\r\n$10\r\n1234567890\r\n");
	for (int version = 2; version <= 3; version++) {
		vg_resp_null(&out, version);
		vg_resp_null_array(&out, version);
		vg_resp_map(&out, version, 2);
		vg_resp_set(&out, version, 2);
		vg_resp_bool(&out, version, true);
		vg_resp_verbatim(&out, version, "ab", 2);
		expect_out(&out, version == 2 ? "$-1\r\n*-1\r\n*4\r\n*2\r\n:1\r\n$2\r\nab\r\n" :
						"_\r\n_\r\n%2\r\n~2\r\n#t\r\n=6\r\ntxt:ab\r\n");
	}
	vg_out_deinit(&out);
	vg_out_pool_deinit(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resp_inline_words),
		cmocka_unit_test(test_resp_arrays_in_pieces),
		cmocka_unit_test(test_resp_long_array_in_pieces),
		cmocka_unit_test(test_resp_many_inline_words),
		cmocka_unit_test(test_resp_refusals),
		cmocka_unit_test(test_resp_no_memory),
		cmocka_unit_test(test_resp_numbers),
		cmocka_unit_test(test_resp_replies),
	};

	return cmocka_run_group_tests_name("resp", tests, NULL, NULL);
}
