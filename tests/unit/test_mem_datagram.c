// SPDX-License-Identifier: GPL-3.0-or-later
/* VIRGO binary over UDP: no reflection, once and only once, and where to go instead. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "fake_wire.h"
#include "proto/window.h"

static struct message *numbered(struct message *request, __u64 client, __u64 sequence)
{
	request->header.client = VG_HTOBE64(client);
	request->header.sequence = VG_HTOBE64(sequence);
	return request;
}

static __u8 status(struct fake_node *node, const struct message *request)
{
	return ask_datagram(node, request, request->length + 200, false)->status;
}

static void test_datagram_serves(void **state)
{
	struct fake_node *node = *state;
	struct answer *got;

	assert_int_equal(status(node, message(VG_OP_PING, NULL, NULL, 0)), VG_STATUS_OK);
	assert_int_equal(status(node, message(VG_OP_GET, "k", NULL, 0)), VG_STATUS_NOT_FOUND);
	assert_int_equal(status(node, message(VG_OP_SET, "k", "value", 5)), VG_STATUS_OK);
	got = ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 100, false);
	assert_int_equal(got->status, VG_STATUS_OK);
	assert_int_equal(got->length, 5);
	assert_memory_equal(got->body, "value", 5);
	assert_int_equal(VG_BE32TOH(got->header.epoch), 9);
	assert_int_equal(status(node, numbered(message(VG_OP_DEL, "k", NULL, 0), 1, 43)), VG_STATUS_OK);
	assert_int_equal(status(node, message(VG_OP_GET, "k", NULL, 0)), VG_STATUS_NOT_FOUND);
}

/*
 * An answer is at most as long as what was sent; only who has proved itself gets more, and never more than a frame
 * holds.
 */
static void test_datagram_no_reflection(void **state)
{
	struct fake_node *node = *state;
	struct fake_session *session = fake_session_open(node, VG_PROTOCOL_BINARY);
	static __u8 value[5000];

	ask(session, message(VG_OP_SET, "k", value, 100));
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 180, false)->status, VG_STATUS_OK);
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 179, false)->status, VG_STATUS_TOO_BIG);
	assert_int_equal(fake.datagram_length, 80);
	assert_int_equal(node->stats.refused[VG_REFUSAL_REFLECTION], 1);
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 88, true)->length, 100);
	ask(session, message(VG_OP_SET, "k", value, VG_DATAGRAM_MAX - 80));
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 88, true)->status, VG_STATUS_OK);
	ask(session, message(VG_OP_SET, "k", value, VG_DATAGRAM_MAX - 79));
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 88, true)->status, VG_STATUS_TOO_BIG);
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 2000, false)->status, VG_STATUS_TOO_BIG);
	ask(session, message(VG_OP_SET, "k", value, sizeof(value)));
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 88, true)->status, VG_STATUS_TOO_BIG);
}

static void test_datagram_leaves_long_work_to_tcp(void **state)
{
	static const __u8 opcodes[] = { VG_OP_COMMAND, VG_OP_STATUS, VG_OP_TOPOLOGY };

	for (size_t i = 0; i < sizeof(opcodes); i++)
		assert_int_equal(ask_datagram(*state, message(opcodes[i], NULL, NULL, 0), 1400, false)->status, VG_STATUS_TOO_BIG);
}

static void test_datagram_done_once(void **state)
{
	struct fake_node *node = *state;
	struct vg_store_stats stats;
	struct answer *got;
	__u64 handle;

	for (int times = 0; times < 3; times++) {
		struct message *request = numbered(message(VG_OP_SET, "k", "v", 1), 7, 10);

		request->header.flags = VG_HTOBE16(VG_FLAG_IF_ABSENT);
		assert_int_equal(status(node, request), VG_STATUS_OK);
	}
	assert_int_equal(node->stats.refused[VG_REFUSAL_DUPLICATE], 2);
	got = ask_datagram(node, numbered(handle_message(VG_OP_HANDLE_ALLOC, 0, 50, NULL, 0), 7, 11), 80, false);
	assert_int_equal(got->status, VG_STATUS_OK);
	handle = got->ident;
	for (int times = 0; times < 3; times++) {
		got = ask_datagram(node, numbered(handle_message(VG_OP_HANDLE_ALLOC, 0, 50, NULL, 0), 7, 11), 80, false);
		assert_int_equal(got->ident, handle);
	}
	vg_store_stats(node->env.store, &stats);
	assert_int_equal(stats.handles, 1);
	for (int times = 0; times < 3; times++)
		assert_int_equal(status(node, numbered(handle_message(VG_OP_HANDLE_FREE, handle, 0, NULL, 0), 7, 12)), VG_STATUS_OK);
	assert_int_equal(status(node, numbered(handle_message(VG_OP_HANDLE_FREE, handle, 0, NULL, 0), 7, 13)), VG_STATUS_GONE);
	/* A late copy of an old SET does not undo what came after it. */
	assert_int_equal(status(node, numbered(message(VG_OP_SET, "k", "new", 3), 7, 14)), VG_STATUS_OK);
	assert_int_equal(status(node, numbered(message(VG_OP_SET, "k", "v", 1), 7, 10)), VG_STATUS_OK);
	assert_int_equal(ask_datagram(node, message(VG_OP_GET, "k", NULL, 0), 200, false)->length, 3);
	assert_int_equal(status(node, numbered(message(VG_OP_DEL, "k", NULL, 0), 7, 14)), VG_STATUS_BAD_REQUEST);
	/* Out of order is not replayed; far behind is. */
	assert_int_equal(status(node, numbered(message(VG_OP_SET, "k", "a", 1), 7, 5000)), VG_STATUS_OK);
	assert_int_equal(status(node, numbered(message(VG_OP_SET, "k", "b", 1), 7, 4900)), VG_STATUS_OK);
	assert_int_equal(status(node, numbered(message(VG_OP_SET, "k", "c", 1), 7, 14)), VG_STATUS_REPLAYED);
	assert_int_equal(node->stats.refused[VG_REFUSAL_REPLAYED], 1);
	/* Reads have no window. */
	assert_int_equal(status(node, numbered(message(VG_OP_GET, "k", NULL, 0), 7, 14)), VG_STATUS_OK);
}

/* What was refused was not done, so it is not remembered: the same request may succeed later. */
static void test_datagram_refusals_are_not_remembered(void **state)
{
	struct fake_node *node = *state;
	struct message *request = numbered(message(VG_OP_SET, "k", "v", 1), 7, 10);

	request->header.ident ^= VG_HTOBE64(1);
	assert_int_equal(status(node, request), VG_STATUS_BAD_REQUEST);
	request->header.ident ^= VG_HTOBE64(1);
	assert_int_equal(status(node, request), VG_STATUS_OK);
	request = numbered(message(VG_OP_SET, "k", "v", 1), 7, 11);
	request->bytes[5] = 1;
	assert_int_equal(status(node, request), VG_STATUS_BAD_REQUEST);
	request->bytes[5] = 0;
	assert_int_equal(status(node, request), VG_STATUS_OK);
}

static void test_datagram_of_another_node(void **state)
{
	static const __u8 opcodes[] = { VG_OP_GET, VG_OP_SET, VG_OP_DEL };
	struct fake_node *node = *state;
	struct answer *got;
	__u64 there;

	for (size_t i = 0; i < sizeof(opcodes); i++) {
		struct message *request = message(opcodes[i], key_of(1, 2), NULL, 0);

		got = ask_datagram(node, request, 200, false);
		assert_int_equal(got->status, VG_STATUS_WRONG_NODE);
		assert_int_equal(got->argument, 1);
		request->header.ident ^= VG_HTOBE64(1);
		assert_int_equal(status(node, request), VG_STATUS_BAD_REQUEST);
	}
	there = ask_datagram(&fake.node[1], handle_message(VG_OP_HANDLE_ALLOC, 0, 50, NULL, 0), 80, false)->ident;
	got = ask_datagram(node, handle_message(VG_OP_HANDLE_GET, there, 10, NULL, 0), 200, false);
	assert_int_equal(got->status, VG_STATUS_WRONG_NODE);
	assert_int_equal(got->argument, 1);
	assert_null(fake.asks);
	/* Memory that is spread is for TCP, both to get it and to use it. */
	got = ask_datagram(node, numbered(handle_message(VG_OP_HANDLE_ALLOC, 0, 200000, NULL, 0), 7, 1), 80, false);
	assert_int_equal(got->status, VG_STATUS_TOO_BIG);
	there = ask(fake_session_open(node, VG_PROTOCOL_BINARY), handle_message(VG_OP_HANDLE_ALLOC, 0, 200000, NULL, 0))->ident;
	assert_int_equal(status(node, handle_message(VG_OP_HANDLE_GET, there, 10, NULL, 0)), VG_STATUS_TOO_BIG);
	assert_int_equal(status(node, numbered(handle_message(VG_OP_HANDLE_FREE, there, 0, NULL, 0), 7, 2)), VG_STATUS_TOO_BIG);
}

static void test_datagram_keyed(void **state)
{
	struct fake_node *node = *state;
	struct answer *got;

	for (__u8 opcode = 1; opcode < VG_OP_MAX; opcode++) {
		got = ask_datagram(node, message(opcode, key_of(0, 2), NULL, 0), 200, false);
		assert_int_equal(got->status, VG_STATUS_UNAUTHORIZED);
		assert_int_equal(fake.datagram_length, 80);
		assert_false(got->header.flags & VG_HTOBE16(VG_FLAG_TAGGED));
		assert_int_equal(got->header.load.memory_free_permille, 0);
	}
	assert_int_equal(node->stats.refused[VG_REFUSAL_UNAUTHORIZED], VG_OP_MAX - 1);
	got = ask_datagram(node, message(VG_OP_SET, key_of(0, 2), "v", 1), 100, true);
	assert_int_equal(got->status, VG_STATUS_OK);
	assert_true(vg_wire_tag_of(cluster_key, &got->header, NULL) == got->header.tag);
	got = ask_datagram(node, message(VG_OP_GET, key_of(0, 2), NULL, 0), 88, true);
	assert_int_equal(got->length, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_datagram_serves, one),
		WITH(test_datagram_no_reflection, one),
		WITH(test_datagram_leaves_long_work_to_tcp, one),
		WITH(test_datagram_done_once, one),
		WITH(test_datagram_refusals_are_not_remembered, one),
		WITH(test_datagram_of_another_node, two),
		WITH(test_datagram_keyed, two_keyed),
	};

	return cmocka_run_group_tests_name("mem_datagram", tests, NULL, NULL);
}
