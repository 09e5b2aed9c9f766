/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Records of the log: what is written is read again, and anything else is recognised. */
#include "wal_fixture.h"

#include "base/crc32c.h"
#include "pool/record.h"

#define ROOM 4096

static __u8 bytes[ROOM] __attribute__((aligned(8)));

static void test_record_checksum_is_crc32c(void **state)
{
	__u8 data[300];
	__u64 random = 1;

	/* The value every table of checksums gives for these nine digits. */
	assert_int_equal(vg_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(vg_crc32c(0, "", 0), 0);
	random_fill(&random, data, sizeof(data));
	for (size_t length = 0; length < sizeof(data); length++) {
		__u32 whole = vg_crc32c(0, data, length);

		assert_int_equal(whole, vg_crc32c_portable(0, data, length));
		assert_int_equal(whole, vg_crc32c(vg_crc32c(0, data, length / 3), data + length / 3, length - length / 3));
	}
}

static size_t write_one(const struct vg_observed *observed, __u64 sequence)
{
	size_t length = vg_record_bytes(observed);

	assert_true(length && length % 8 == 0 && length <= ROOM);
	memset(bytes, 0xee, sizeof(bytes));
	vg_record_write(bytes, observed);
	vg_record_seal(bytes, vg_record_body_crc(bytes), sequence);
	return length;
}

static struct vg_record read_one(size_t length)
{
	struct vg_record record;

	assert_int_equal(vg_record_read(bytes, sizeof(bytes), &record), VG_RECORD_OK);
	assert_int_equal(record.length, length);
	for (size_t cut = 0; cut < length; cut++) {
		struct vg_record part;

		assert_int_equal(vg_record_read(bytes, cut, &part), VG_RECORD_MORE);
		assert_int_equal(part.length, cut < 24 ? 0 : length);
	}
	for (size_t at = 0; at < length; at++)
		for (int bit = 0; bit < 8; bit++) {
			struct vg_record wrong;
			enum vg_record_verdict verdict;

			bytes[at] ^= (__u8)(1 << bit);
			verdict = vg_record_read(bytes, length, &wrong);
			assert_true(verdict == VG_RECORD_BAD || verdict == VG_RECORD_MORE);
			bytes[at] ^= (__u8)(1 << bit);
		}
	return record;
}

static void test_record_of_every_kind(void **state)
{
	struct vg_key key = key_of("a key", 5), empty = key_of("", 0);
	struct vg_observed set = { .kind = VG_OBSERVED_SET, .key = &key, .entry = { true, "value", 5 } };
	struct vg_record record;

	record = read_one(write_one(&set, 77));
	assert_int_equal(record.kind, VG_RECORD_SET);
	assert_int_equal(record.sequence, 77);
	assert_int_equal(record.key_length, 5);
	assert_memory_equal(record.key, "a key", 5);
	assert_int_equal(record.value_length, 5);
	assert_memory_equal(record.value, "value", 5);
	assert_true(!record.expire_ms && !record.version && !record.client_flags && !record.marks);

	set.entry.expire_ms = NOW_MS;
	set.entry.client_flags = 0xdeadbeef;
	set.entry.marks = 3;
	set.entry.version = 1ULL << 60;
	set.key = &empty;
	set.entry.length = 0;
	record = read_one(write_one(&set, ~0ULL));
	assert_int_equal(record.sequence, ~0ULL);
	assert_true(!record.key_length && !record.value_length && record.expire_ms == NOW_MS);
	assert_true(record.client_flags == 0xdeadbeef && record.marks == 3 && record.version == 1ULL << 60);

	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_DELETE, .key = &key }, 1));
	assert_int_equal(record.kind, VG_RECORD_DELETE);
	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_EVICTED, .key = &key }, 1));
	assert_int_equal(record.kind, VG_RECORD_DELETE);
	assert_memory_equal(record.key, "a key", 5);
	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_DEADLINE, .key = &key,
							   .entry = { true, "not this", 8, 99 } }, 1));
	assert_true(record.kind == VG_RECORD_DEADLINE && record.expire_ms == 99 && !record.value_length);
	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_CLEAR }, 1));
	assert_int_equal(record.kind, VG_RECORD_CLEAR);
	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_ALLOC, .handle = 5,
							   .entry = { .length = 1ULL << 33 } }, 1));
	assert_true(record.kind == VG_RECORD_ALLOC && record.handle == 5 && record.value_length == 1ULL << 33);
	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_WRITE, .handle = 5, .offset = 9,
							   .entry = { .value = "xyz", .length = 3 } }, 1));
	assert_true(record.kind == VG_RECORD_WRITE && record.handle == 5 && record.offset == 9);
	assert_int_equal(record.value_length, 3);
	assert_memory_equal(record.value, "xyz", 3);
	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_FLAGS, .handle = 5, .flags = 1 }, 1));
	assert_true(record.kind == VG_RECORD_FLAGS && record.handle == 5 && record.flags == 1);
	record = read_one(write_one(&(struct vg_observed){ .kind = VG_OBSERVED_RELEASE, .handle = 5 }, 1));
	assert_true(record.kind == VG_RECORD_RELEASE && record.handle == 5);
	for (int kind = 0; kind < VG_OBSERVED_MAX; kind++)
		if (kind == VG_OBSERVED_EXPIRED || kind >= VG_OBSERVED_BEGIN || kind == VG_OBSERVED_CLEARED)
			assert_int_equal(vg_record_bytes(&(struct vg_observed){ .kind = kind, .key = &key }), 0);
}

static void test_record_marks(void **state)
{
	struct vg_record record;

	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(vg_record_read(bytes, sizeof(bytes), &record), VG_RECORD_END);
	vg_record_write_batch(bytes, 10, 4);
	record = read_one(VG_RECORD_BATCH_BYTES);
	assert_true(record.kind == VG_RECORD_BATCH && record.sequence == 10 && record.durable == 4);
	vg_record_write_segment(bytes, 10, 0x1234, 3, 7);
	record = read_one(VG_RECORD_SEGMENT_BYTES);
	assert_true(record.kind == VG_RECORD_SEGMENT && record.sequence == 10 && record.identity == 0x1234);
	assert_true(record.number == 3 && record.node == 7);
}

static void test_record_transaction(void **state)
{
	struct vg_key key = key_of("k", 1);
	struct vg_observed set = { .kind = VG_OBSERVED_SET, .key = &key, .entry = { true, "v", 1 } };
	struct vg_observed delete = { .kind = VG_OBSERVED_DELETE, .key = &key };
	size_t length = sizeof(struct vg_record_header), at = 0;
	struct vg_record record, inside;

	vg_record_write(bytes + length, &set);
	length += vg_record_bytes(&set);
	vg_record_write(bytes + length, &delete);
	length += vg_record_bytes(&delete);
	vg_record_write_transaction(bytes, length - sizeof(struct vg_record_header));
	vg_record_seal(bytes, vg_record_body_crc(bytes), 5);
	record = read_one(length);
	assert_int_equal(record.kind, VG_RECORD_TRANSACTION);
	assert_true(vg_record_next(&record, &at, &inside));
	assert_int_equal(inside.kind, VG_RECORD_SET);
	assert_true(vg_record_next(&record, &at, &inside));
	assert_int_equal(inside.kind, VG_RECORD_DELETE);
	assert_false(vg_record_next(&record, &at, &inside));

	/* A right checksum over what cannot be: a transaction in a transaction, a record that leaves it. */
	bytes[24 + 16] = VG_RECORD_TRANSACTION;
	vg_record_seal(bytes, vg_record_body_crc(bytes), 5);
	assert_int_equal(vg_record_read(bytes, sizeof(bytes), &record), VG_RECORD_BAD);
	bytes[24 + 16] = VG_RECORD_SET;
	bytes[24 + 4] = 0xf0;
	vg_record_seal(bytes, vg_record_body_crc(bytes), 5);
	assert_int_equal(vg_record_read(bytes, sizeof(bytes), &record), VG_RECORD_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_checksum_is_crc32c),
		cmocka_unit_test(test_record_of_every_kind),
		cmocka_unit_test(test_record_marks),
		cmocka_unit_test(test_record_transaction),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
