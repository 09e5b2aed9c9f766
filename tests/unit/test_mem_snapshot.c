// SPDX-License-Identifier: GPL-3.0-or-later
/* Snapshots over the binary protocol: one moment for a reader, a backup's bytes, restoring, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "fake_wire.h"

#include "base/crc32c.h"
#include "pool/snapshot.h"

static struct answer *request(struct fake_session *session, __u8 opcode, __u64 ident, __u64 argument, const void *body,
			      size_t length)
{
	struct message *message_ = message(opcode, NULL, body, length);

	message_->header.ident = VG_HTOBE64(ident);
	message_->header.argument = VG_HTOBE64(argument);
	return ask(session, message_);
}

static __u64 open_snapshot(struct fake_session *session, __u64 kind)
{
	struct answer *got = request(session, VG_OP_SNAPSHOT_OPEN, 0, kind, NULL, 0);

	assert_int_equal(got->status, VG_STATUS_OK);
	return VG_BE64TOH(got->header.ident);
}

static struct answer *get_at(struct fake_session *session, __u64 snapshot, const char *key)
{
	struct message *message_ = message(VG_OP_SNAPSHOT_GET, key, NULL, 0);

	message_->header.argument = VG_HTOBE64(snapshot);
	return ask(session, message_);
}

static void expect_body(const struct answer *got, const char *text)
{
	assert_int_equal(got->status, VG_STATUS_OK);
	assert_int_equal(got->length, strlen(text));
	assert_memory_equal(got->body, text, strlen(text));
}

static void set(struct fake_session *session, const char *key, const void *value, size_t length)
{
	assert_int_equal(ask(session, message(VG_OP_SET, key, value, length))->status, VG_STATUS_OK);
}

static void test_one_moment(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	__u64 snapshot;

	set(session, "a", "1", 1);
	set(session, "b", "1", 1);
	snapshot = open_snapshot(session, 0);
	set(session, "a", "2", 1);
	assert_int_equal(ask(session, message(VG_OP_DEL, "b", NULL, 0))->status, VG_STATUS_OK);
	set(session, "c", "2", 1);
	expect_body(get_at(session, snapshot, "a"), "1");
	expect_body(get_at(session, snapshot, "b"), "1");
	assert_int_equal(get_at(session, snapshot, "c")->status, VG_STATUS_NOT_FOUND);
	expect_body(ask(session, message(VG_OP_GET, "a", NULL, 0)), "2");
	assert_int_equal(request(session, VG_OP_SNAPSHOT_CLOSE, snapshot, 0, NULL, 0)->status, VG_STATUS_OK);
	assert_int_equal(get_at(session, snapshot, "a")->status, VG_STATUS_GONE);
	assert_int_equal(request(session, VG_OP_SNAPSHOT_CLOSE, snapshot, 0, NULL, 0)->status, VG_STATUS_GONE);
	assert_int_equal(get_at(session, 0, "a")->status, VG_STATUS_GONE);
}

/* All bytes of a backup. */
static __u8 *read_backup(struct fake_session *session, __u64 snapshot, size_t *ret_length)
{
	__u8 *bytes = NULL;
	size_t length = 0;
	struct answer *got;

	do {
		got = request(session, VG_OP_SNAPSHOT_READ, snapshot, 0, NULL, 0);
		assert_int_equal(got->status, VG_STATUS_OK);
		bytes = realloc(bytes, length + got->length + 1);
		assert_non_null(bytes);
		memcpy(bytes + length, got->body, got->length);
		length += got->length;
	} while (got->header.argument);
	*ret_length = length;
	return bytes;
}

/* Every block of the file; how many keys were stored and left as they were. */
static void restore(struct fake_session *session, const __u8 *bytes, size_t length, __u64 flags, __u32 *ret_stored,
		    __u32 *ret_skipped)
{
	struct vg_snapshot_header header;
	size_t at = sizeof(header);

	assert_int_equal(vg_snapshot_header_check(bytes, &header), 0);
	*ret_stored = *ret_skipped = 0;
	for (;;) {
		struct vg_snapshot_block block;
		struct answer *got;

		memcpy(&block, bytes + at, sizeof(block));
		if (block.kind == VG_SNAPSHOT_LAST)
			break;
		got = request(session, VG_OP_SNAPSHOT_LOAD, header.identity, flags, bytes + at,
			      sizeof(block) + block.stored_bytes);
		assert_int_equal(got->status, VG_STATUS_OK);
		*ret_stored += (__u32)(VG_BE64TOH(got->header.argument) >> 32);
		*ret_skipped += (__u32)VG_BE64TOH(got->header.argument);
		at += sizeof(block) + block.stored_bytes;
	}
	assert_int_equal(at + sizeof(struct vg_snapshot_block) + sizeof(struct vg_snapshot_counts), length);
}

static void test_backup_and_restore(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	static __u8 large[300000];
	__u32 stored, skipped;

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (__u8)(i * 31);
	for (int kind = 1; kind <= 3; kind += 2) {
		__u64 snapshot;
		size_t length;
		__u8 *bytes;
		char key[16];

		for (int i = 0; i < 3000; i++) {
			snprintf(key, sizeof(key), "k%d", i);
			set(session, key, "before", 6);
		}
		set(session, "large", large, sizeof(large));
		snapshot = open_snapshot(session, (__u64)kind);
		set(session, "k7", "after", 5);
		set(session, "large", "after", 5);
		assert_int_equal(ask(session, message(VG_OP_DEL, "k8", NULL, 0))->status, VG_STATUS_OK);
		bytes = read_backup(session, snapshot, &length);
		assert_int_equal(request(session, VG_OP_SNAPSHOT_CLOSE, snapshot, 0, NULL, 0)->status, VG_STATUS_OK);
		restore(session, bytes, length, 0, &stored, &skipped);
		assert_int_equal(stored, 1);
		assert_int_equal(skipped, 3000);
		expect_body(ask(session, message(VG_OP_GET, "k7", NULL, 0)), "after");
		expect_body(ask(session, message(VG_OP_GET, "k8", NULL, 0)), "before");
		restore(session, bytes, length, VG_SNAPSHOT_REPLACE, &stored, &skipped);
		assert_int_equal(stored, 3001);
		expect_body(ask(session, message(VG_OP_GET, "k7", NULL, 0)), "before");
		assert_memory_equal(ask(session, message(VG_OP_GET, "large", NULL, 0))->body, large, sizeof(large));
		free(bytes);
	}
}

static void test_what_is_refused(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	__u64 plain = open_snapshot(session, 0), backups[VG_SNAPSHOT_VECTORS + 1];
	struct vg_snapshot_block block = { .magic = VG_SNAPSHOT_BLOCK_MAGIC, .kind = VG_SNAPSHOT_RECORDS,
					   .records = 1, .stored_bytes = 8, .raw_bytes = 8 };
	__u8 bytes[sizeof(block) + 8] = { 0 };
	struct iovec body = { bytes + sizeof(block), 8 };
	int opened = 0;

	assert_int_equal(request(session, VG_OP_SNAPSHOT_OPEN, 0, 4, NULL, 0)->status, VG_STATUS_BAD_REQUEST);
	assert_int_equal(request(session, VG_OP_SNAPSHOT_READ, plain, 0, NULL, 0)->status, VG_STATUS_BAD_REQUEST);
	assert_int_equal(request(session, VG_OP_SNAPSHOT_READ, 999, 0, NULL, 0)->status, VG_STATUS_GONE);
	assert_int_equal(request(session, VG_OP_SNAPSHOT_LOAD, 0, 0, "short", 5)->status, VG_STATUS_BAD_REQUEST);
	assert_int_equal(request(session, VG_OP_SNAPSHOT_LOAD, 0, 2, "short", 5)->status, VG_STATUS_BAD_REQUEST);
	/* A block whose checksum is right and whose record is none. */
	block.crc = vg_snapshot_crc(&block, 77, &body, 1);
	memcpy(bytes, &block, sizeof(block));
	assert_int_equal(request(session, VG_OP_SNAPSHOT_LOAD, 77, 0, bytes, sizeof(bytes))->status,
			 VG_STATUS_BAD_REQUEST);
	/* A packed one that claims to be huge. */
	block.codec = VG_SNAPSHOT_ZSTD;
	block.raw_bytes = 1u << 30;
	block.crc = 0;
	block.crc = vg_snapshot_crc(&block, 77, &body, 1);
	memcpy(bytes, &block, sizeof(block));
	assert_int_equal(request(session, VG_OP_SNAPSHOT_LOAD, 77, 0, bytes, sizeof(bytes))->status,
			 VG_STATUS_BAD_REQUEST);
	/* There are only so many at a time; each that is closed makes room for another. */
	while (opened < VG_SNAPSHOT_VECTORS + 1) {
		struct answer *got = request(session, VG_OP_SNAPSHOT_OPEN, 0, VG_SNAPSHOT_FOR_BACKUP, NULL, 0);

		if (got->status == VG_STATUS_BUSY)
			break;
		assert_int_equal(got->status, VG_STATUS_OK);
		backups[opened++] = VG_BE64TOH(got->header.ident);
	}
	assert_int_equal(opened, 4);
	assert_int_equal(request(session, VG_OP_SNAPSHOT_CLOSE, backups[0], 0, NULL, 0)->status, VG_STATUS_OK);
	assert_int_equal(request(session, VG_OP_SNAPSHOT_OPEN, 0, VG_SNAPSHOT_FOR_BACKUP, NULL, 0)->status,
			 VG_STATUS_OK);
}

static void test_keys_of_another_node(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	__u64 snapshot = open_snapshot(session, 0);
	int here = 0, elsewhere = 0;

	for (int i = 0; i < 50; i++) {
		char key[16];
		__u8 status;

		snprintf(key, sizeof(key), "k%d", i);
		status = get_at(session, snapshot, key)->status;
		here += status == VG_STATUS_NOT_FOUND;
		elsewhere += status == VG_STATUS_WRONG_NODE;
	}
	assert_int_equal(here + elsewhere, 50);
	assert_true(here > 0 && elsewhere > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_one_moment, one),
		WITH(test_backup_and_restore, one),
		WITH(test_what_is_refused, one),
		WITH(test_keys_of_another_node, two),
	};

	return cmocka_run_group_tests_name("mem_snapshot", tests, NULL, NULL);
}
