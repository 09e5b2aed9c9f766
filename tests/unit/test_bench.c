// SPDX-License-Identifier: GPL-3.0-or-later
/* The measuring instruments: a histogram that does not lie, the generator's keys and partitions, parsers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "../../bench/load/histogram.h"
#include "../../bench/load/keys.h"
#include "../../bench/load/proto.h"
#include "../../bench/xdp/frame.h"

static struct vg_histogram histogram;

static void test_histogram_quantiles_are_within_two_percent(void **state)
{
	static const double fractions[] = { 0.001, 0.5, 0.99, 0.999, 1 };

	memset(&histogram, 0, sizeof(histogram));
	for (__u64 i = 1; i <= 1000000; i++)
		vg_histogram_add(&histogram, i * 37);
	for (int i = 0; i < 5; i++) {
		double exact = fractions[i] * 1000000 * 37;
		double got = (double)vg_histogram_quantile(&histogram, fractions[i]);

		assert_true(got > exact * 0.98 && got < exact * 1.02);
	}
	assert_int_equal(histogram.max_ns, 37000000);
}

static void test_histogram_takes_any_value(void **state)
{
	memset(&histogram, 0, sizeof(histogram));
	assert_int_equal(vg_histogram_quantile(&histogram, 0.5), 0);
	vg_histogram_add(&histogram, 0);
	assert_int_equal(vg_histogram_quantile(&histogram, 1), 0);
	vg_histogram_add(&histogram, ~0ull);
	assert_int_equal(histogram.count, 2);
	assert_true(vg_histogram_quantile(&histogram, 1) > 1ull << 39);
}

static void test_choice_is_uniform_or_skewed(void **state)
{
	struct vg_bench_choice uniform, zipf;
	__u64 random = 1;
	__u32 low = 0, hits[1000] = { 0 }, most = 0;

	vg_bench_choice_init(&uniform, 1000, 0);
	vg_bench_choice_init(&zipf, 1000, 0.99);
	for (int i = 0; i < 100000; i++) {
		__u32 key = vg_bench_choose(&uniform, &random);

		assert_true(key < 1000);
		low += key < 500;
		key = vg_bench_choose(&zipf, &random);
		assert_true(key < 1000);
		if (++hits[key] > most)
			most = hits[key];
	}
	assert_true(low > 49000 && low < 51000);
	/* The most popular of 1000 keys has a share of 1 / sum(1 / i^0.99), which is 13 %. */
	assert_true(most > 12000 && most < 14000);
}

/* The generator adds up tables instead of hashing the text: they must say what the key's own hash says. */
static void test_generator_tables_name_the_partition(void **state)
{
	__u16 crc[3][256];
	char key[VG_BENCH_KEY_BYTES];

	vg_frame_crc(crc);
	for (__u32 number = 0; number < 1u << 24; number += 4099) {
		__u16 sum = crc[0][number & 255] ^ crc[1][number >> 8 & 255] ^ crc[2][number >> 16];

		vg_bench_key(number, key);
		assert_int_equal(sum % VG_PARTITIONS, vg_partition_of(key, sizeof(key)));
	}
}

struct seen {
	int hits, misses, done, errors;
	__u64 head, length;
};

static void on_answer(void *context, enum vg_bench_answer answer, __u64 head, __u64 length)
{
	struct seen *seen = context;

	seen->hits += answer == VG_ANSWER_HIT;
	seen->misses += answer == VG_ANSWER_MISS;
	seen->done += answer == VG_ANSWER_DONE;
	seen->errors += answer == VG_ANSWER_ERROR;
	if (answer == VG_ANSWER_HIT) {
		seen->head = head;
		seen->length = length;
	}
}

/* The same answers however the stream is cut. */
static struct seen parse(enum vg_bench_proto proto, const char *text, size_t length, size_t piece)
{
	struct vg_bench_parser parser;
	struct seen seen = { 0 };

	vg_bench_parser_init(&parser, proto, 5);
	for (size_t at = 0; at < length; at += piece)
		vg_bench_parse(&parser, text + at, length - at < piece ? length - at : piece, on_answer, &seen);
	return seen;
}

static void test_parser_reads_resp(void **state)
{
	static const char text[] = "$10\r\nAAAAAAAA\r\n\r\n$-1\r\n+OK\r\n$0\r\n\r\n-ERR no\r\n:1\r\n_\r\n";

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct seen seen = parse(VG_BENCH_RESP, text, sizeof(text) - 1, piece);

		assert_int_equal(seen.hits, 2);
		assert_int_equal(seen.misses, 2);
		assert_int_equal(seen.done, 2);
		assert_int_equal(seen.errors, 1);
		assert_int_equal(seen.length, 0); /* the last value was the empty one */
	}
	assert_int_equal(parse(VG_BENCH_RESP, text, 19, 3).head, 0x4141414141414141ULL);
}

static void test_parser_reads_memcache(void **state)
{
	static const char text[] = "VALUE k 0 9\r\nAAAAAAAAB\r\nEND\r\nEND\r\nSTORED\r\nERROR\r\nVALUE\r\n";

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		struct seen seen = parse(VG_BENCH_MEMCACHE, text, sizeof(text) - 1, piece);

		assert_int_equal(seen.hits, 1);
		assert_int_equal(seen.misses, 1);
		assert_int_equal(seen.done, 1);
		assert_int_equal(seen.errors, 2);
		assert_int_equal(seen.length, 9);
		assert_int_equal(seen.head, 0x4141414141414141ULL);
	}
}

static void test_parser_counts_echoes(void **state)
{
	for (size_t piece = 1; piece < 16; piece++)
		assert_int_equal(parse(VG_BENCH_ECHO, "helloworldagai", 14, piece).done, 2);
}

static void test_requests_carry_key_and_value(void **state)
{
	struct vg_bench_template request;
	char text[256];
	__u64 hash;

	assert_int_equal(vg_bench_template_init(&request, VG_BENCH_RESP, VG_BENCH_SET, 9), 0);
	hash = vg_bench_template_write(&request, 0xbeef, text);
	assert_int_equal(hash, vg_hash64("virgokey0000beef", 16));
	assert_memory_equal(text, "*3\r\n$3\r\nSET\r\n$16\r\nvirgokey0000beef\r\n$9\r\n", 40);
	assert_memory_equal(text + 40, &hash, 8);
	assert_memory_equal(text + 49, "\r\n", 2);
	assert_int_equal(request.length, 51);
	vg_bench_template_deinit(&request);
	assert_int_equal(vg_bench_template_init(&request, VG_BENCH_MEMCACHE, VG_BENCH_GET, 9), 0);
	vg_bench_template_write(&request, 1, text);
	assert_memory_equal(text, "get virgokey00000001\r\n", request.length);
	vg_bench_template_deinit(&request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_histogram_quantiles_are_within_two_percent),
		cmocka_unit_test(test_histogram_takes_any_value),
		cmocka_unit_test(test_choice_is_uniform_or_skewed),
		cmocka_unit_test(test_generator_tables_name_the_partition),
		cmocka_unit_test(test_parser_reads_resp),
		cmocka_unit_test(test_parser_reads_memcache),
		cmocka_unit_test(test_parser_counts_echoes),
		cmocka_unit_test(test_requests_carry_key_and_value),
	};

	return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
