// SPDX-License-Identifier: GPL-3.0-or-later
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"

/* SET "key" "value", deadline 1700000000000, byte by byte as docs/protocol.md has it. */
static const __u8 golden[] = {
	0x56, 0x47, 0x01, 0x03, /* "VG", version, SET */
	0x00, 0x00, 0x00, 0x00, /* flags, hops, status */
	0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, /* client */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, /* sequence */
	0xff, 0xff, 0x30, 0xfb, /* source: a client; partition 12539 */
	0x00, 0x00, 0x00, 0x09, /* epoch */
	0x44, 0x77, 0x62, 0x56, 0x2d, 0xe1, 0x43, 0x34, /* hash (vg_hash64) */
	0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x05, /* lengths */
	0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, /* deadline */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* load */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* tag */
	'k', 'e', 'y', 0, 0, 0, 0, 0, 'v', 'a', 'l', 'u', 'e',
};

static void test_frame_golden(void **state)
{
	struct vg_frame frame;

	assert_int_equal(sizeof(golden), 93);
	assert_int_equal(vg_frame_read(&frame, golden, sizeof(golden)), VG_FRAME_WHOLE);
	assert_int_equal(frame.verdict, VG_WIRE_OK);
	assert_int_equal(frame.header.opcode, VG_OP_SET);
	assert_int_equal(VG_BE64TOH(frame.header.client), 0x1122334455667788);
	assert_int_equal(VG_BE64TOH(frame.header.sequence), 42);
	assert_int_equal(VG_BE16TOH(frame.header.source_node), VG_NODE_NONE);
	assert_int_equal(VG_BE16TOH(frame.header.partition), vg_partition_of("key", 3));
	assert_int_equal(VG_BE64TOH(frame.header.ident), vg_hash64("key", 3));
	assert_int_equal(VG_BE64TOH(frame.header.argument), 1700000000000);
	assert_int_equal(frame.length, sizeof(golden));
	assert_int_equal(frame.key_length, 3);
	assert_int_equal(frame.body_length, 5);
	assert_memory_equal(frame.key, "key", 3);
	assert_memory_equal(frame.body, "value", 5);
}

/* Every prefix, at every alignment, from memory that ends where the bytes end. */
static void test_frame_in_pieces(void **state)
{
	for (size_t shift = 0; shift < 8; shift++) {
		for (size_t length = 0; length <= sizeof(golden); length++) {
			__u8 *memory = malloc(shift + length + !length), *at = memory + shift;
			enum vg_frame_state want = length < 88 ? VG_FRAME_MORE :
						   length < sizeof(golden) ? VG_FRAME_HEAD : VG_FRAME_WHOLE;
			struct vg_frame frame;

			memcpy(at, golden, length);
			assert_int_equal(vg_frame_read(&frame, at, length), want);
			assert_int_equal(frame.length, length < 80 ? 80 : length < 88 ? 88 : sizeof(golden));
			free(memory);
		}
	}
}

static enum vg_frame_state changed(struct vg_frame *frame, size_t at, __u8 value)
{
	__u8 bytes[sizeof(golden)];

	memcpy(bytes, golden, sizeof(golden));
	assert_true(bytes[at] != value);
	bytes[at] = value;
	return vg_frame_read(frame, bytes, sizeof(bytes));
}

/* Each field hostile: whether the stream lives on depends on nothing but magic, version and lengths. */
static void test_frame_hostile_fields(void **state)
{
	static const struct {
		size_t at;
		__u8 value;
		enum vg_frame_state state;
		enum vg_wire_verdict verdict;
	} cases[] = {
		{ 0, 'v', VG_FRAME_LOST, VG_WIRE_BAD_MAGIC },
		{ 1, 'g', VG_FRAME_LOST, VG_WIRE_BAD_MAGIC },
		{ 2, 0, VG_FRAME_LOST, VG_WIRE_BAD_VERSION },
		{ 2, 2, VG_FRAME_LOST, VG_WIRE_BAD_VERSION },
		{ 3, 0, VG_FRAME_WHOLE, VG_WIRE_BAD_OPCODE },
		{ 3, VG_OP_MAX, VG_FRAME_WHOLE, VG_WIRE_BAD_OPCODE },
		{ 3, 255, VG_FRAME_WHOLE, VG_WIRE_BAD_OPCODE },
		{ 4, 0x80, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },	/* unknown flag */
		{ 4, 0x01, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },
		{ 5, 0x01, VG_FRAME_WHOLE, VG_WIRE_OK },	/* a reply: the service's business */
		{ 6, 255, VG_FRAME_WHOLE, VG_WIRE_OK },		/* hops */
		{ 7, 1, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },	/* a status in a request */
		{ 7, VG_STATUS_MAX, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },
		{ 40, 0x01, VG_FRAME_LOST, VG_WIRE_BAD_FIELD }, /* key of 16 MiB */
		{ 41, 0x02, VG_FRAME_LOST, VG_WIRE_BAD_FIELD }, /* key of 128 KiB */
		{ 42, 0x01, VG_FRAME_MORE, VG_WIRE_OK },	/* key of 259 bytes */
		{ 44, 0xff, VG_FRAME_LOST, VG_WIRE_BAD_FIELD },
		{ 45, 0x01, VG_FRAME_HEAD, VG_WIRE_OK },
		{ 47, 0x06, VG_FRAME_HEAD, VG_WIRE_OK },
		{ 47, 0x04, VG_FRAME_WHOLE, VG_WIRE_OK },
		{ 70, 1, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },	/* reserved */
		{ 71, 1, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },
		{ 83, 1, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },	/* the key's padding */
		{ 87, 1, VG_FRAME_WHOLE, VG_WIRE_BAD_FIELD },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vg_frame frame;
		enum vg_frame_state got = changed(&frame, cases[i].at, cases[i].value);

		if (got != cases[i].state || frame.verdict != cases[i].verdict)
			fail_msg("byte %zu = %u: state %d verdict %d", cases[i].at, cases[i].value, got, frame.verdict);
	}
}

static void test_frame_tags(void **state)
{
	static const __u64 key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 }, other[2] = { 1, 2 };
	__u8 bytes[sizeof(golden)];
	struct vg_frame frame;
	__be64 tag;

	memcpy(bytes, golden, sizeof(golden));
	bytes[5] = VG_FLAG_TAGGED;
	vg_frame_read(&frame, bytes, sizeof(bytes));
	tag = vg_wire_tag_of(key, &frame.header, frame.key);
	memcpy(bytes + 72, &tag, sizeof(tag));
	for (size_t at = 0; at < 88; at++) {
		for (int bit = 0; bit < 8; bit++) {
			bytes[at] ^= 1 << bit;
			/* hops alone may change on the way. */
			if (vg_frame_read(&frame, bytes, sizeof(bytes)) >= VG_FRAME_HEAD && frame.length == sizeof(bytes))
				assert_int_equal(vg_frame_tag_right(key, &frame.header, frame.key), at == 6);
			bytes[at] ^= 1 << bit;
		}
	}
	vg_frame_read(&frame, bytes, sizeof(bytes));
	assert_true(vg_frame_tag_right(key, &frame.header, frame.key));
	assert_false(vg_frame_tag_right(other, &frame.header, frame.key));
	bytes[5] = 0;
	vg_frame_read(&frame, bytes, sizeof(bytes));
	assert_false(vg_frame_tag_right(key, &frame.header, frame.key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_golden),
		cmocka_unit_test(test_frame_in_pieces),
		cmocka_unit_test(test_frame_hostile_fields),
		cmocka_unit_test(test_frame_tags),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
