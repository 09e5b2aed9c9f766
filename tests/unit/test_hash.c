/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The three functions of a key against published vectors and, for XXH64, the reference library. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "virgo/hash.h"

static void test_hash_equals_xxhash(void **state)
{
	__u8 bytes[1024];
	__u64 random = 88172645463325252ULL;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		bytes[i] = (__u8)random;
	}
	for (size_t start = 0; start < 9; start++)
		for (size_t length = 0; length + start <= sizeof(bytes); length++)
			assert_int_equal(vg_hash64(bytes + start, length), XXH64(bytes + start, length, 0));
}

/* The vector of the Redis Cluster specification, and its rule of hash tags with each of its corners. */
static void test_hash_partition_vectors(void **state)
{
	static const struct {
		const char *key, *same_as;
	} tags[] = {
		{ "{user1000}.following", "user1000" },
		{ "{user1000}.followers", "user1000" },
		{ "foo{{bar}}zap", "{bar" },
		{ "foo{bar}{zap}", "bar" },
	};

	assert_int_equal(vg_partition_of("123456789", 9), 0x31c3);
	assert_int_equal(vg_partition_of("", 0), 0);
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		assert_int_equal(vg_partition_of(tags[i].key, strlen(tags[i].key)),
				 vg_partition_of(tags[i].same_as, strlen(tags[i].same_as)));
	/* An empty tag is no tag: the whole key counts, so these two differ as their tails do. */
	assert_int_not_equal(vg_partition_of("foo{}{bar}", 10), vg_partition_of("bar", 3));
	assert_int_not_equal(vg_partition_of("foo{}a", 6), vg_partition_of("foo{}b", 6));
	assert_int_equal(vg_partition_of("foo", 3), 12182);
	assert_int_equal(vg_partition_of("bar", 3), 5061);
}

/* Appendix A of the SipHash paper: key 00…0f, message 00…0e. The others are from the authors' vectors.h. */
static void test_hash_siphash_vectors(void **state)
{
	__u64 key[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };
	__u8 message[15];

	for (__u8 i = 0; i < sizeof(message); i++)
		message[i] = i;
	assert_int_equal(vg_siphash24(key, message, 15), 0xa129ca6149be45e5ULL);
	assert_int_equal(vg_siphash24(key, message, 0), 0x726fdb47dd0e0e31ULL);
	assert_int_equal(vg_siphash24(key, message, 1), 0x74f839c593dc67fdULL);
	assert_int_equal(vg_siphash24(key, message, 8), 0x93f5f5799a932462ULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_equals_xxhash),
		cmocka_unit_test(test_hash_partition_vectors),
		cmocka_unit_test(test_hash_siphash_vectors),
	};

	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
