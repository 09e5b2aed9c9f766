// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * VIRGO binary as the memory service answers it, over TCP and over UDP, on real stores and real frames between nodes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "fake_wire.h"

static struct fake_session *session_on(void **state)
{
	return fake_session_open(*state, VG_PROTOCOL_BINARY);
}

static void expect_body(const struct answer *got, const char *text)
{
	assert_int_equal(got->status, VG_STATUS_OK);
	assert_int_equal(got->length, strlen(text));
	assert_memory_equal(got->body, text, strlen(text));
}

/* ---- one node, TCP --------------------------------------------------------------------------------------------- */

static void test_binary_ping_golden(void **state)
{
	static const __u8 golden[80] = {
		0x56, 0x47, 0x01, 0x01, 0x00, 0x01, 0x00, 0x00, /* "VG", version, PING; flags REPLY */
		0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0, 0, 0, 0, 0, 0x2a,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, /* from node 0; epoch */
		[56] = 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x04, 0xd2, /* 5 in flight, 1234 ns */
	};
	struct fake_node *node = *state;
	struct answer *got;
	__be16 permille;

	node->stats.in_flight = 5;
	node->stats.service_ns_smoothed = 1234;
	got = ask(session_on(state), message(VG_OP_PING, NULL, NULL, 0));
	permille = got->header.load.memory_free_permille;
	assert_true(VG_BE16TOH(permille) > 500 && VG_BE16TOH(permille) <= 1000);
	got->header.load.memory_free_permille = 0;
	assert_memory_equal(&got->header, golden, sizeof(golden));
}

static void test_binary_set_get_del(void **state)
{
	struct fake_session *session = session_on(state);

	assert_int_equal(ask(session, message(VG_OP_GET, "k", NULL, 0))->status, VG_STATUS_NOT_FOUND);
	assert_int_equal(ask(session, message(VG_OP_SET, "k", "value", 5))->status, VG_STATUS_OK);
	expect_body(ask(session, message(VG_OP_GET, "k", NULL, 0)), "value");
	assert_int_equal(ask(session, message(VG_OP_SET, "k", NULL, 0))->status, VG_STATUS_OK);
	expect_body(ask(session, message(VG_OP_GET, "k", NULL, 0)), "");
	assert_int_equal(ask(session, message(VG_OP_SET, "", "of the empty key", 16))->status, VG_STATUS_OK);
	expect_body(ask(session, message(VG_OP_GET, "", NULL, 0)), "of the empty key");
	assert_int_equal(ask(session, message(VG_OP_DEL, "k", NULL, 0))->status, VG_STATUS_OK);
	assert_int_equal(ask(session, message(VG_OP_DEL, "k", NULL, 0))->status, VG_STATUS_NOT_FOUND);
	assert_int_equal(ask(session, message(VG_OP_GET, "k", NULL, 0))->status, VG_STATUS_NOT_FOUND);
	assert_int_equal(((struct fake_node *)*state)->stats.hits, 3);
	assert_int_equal(((struct fake_node *)*state)->stats.misses, 2);
}

static void test_binary_values_of_every_size(void **state)
{
	static const size_t sizes[] = { 1, 7, 8, 1000, 4000, 4070, 4096, 4097, 16304, 16384, 70000, 300000 };
	struct fake_session *session = session_on(state);
	static __u8 value[300000];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct answer *got;

		for (size_t at = 0; at < sizes[i]; at++)
			value[at] = (__u8)(at * 7 + i);
		assert_int_equal(ask(session, message(VG_OP_SET, "k", value, sizes[i]))->status, VG_STATUS_OK);
		got = ask(session, message(VG_OP_GET, "k", NULL, 0));
		assert_int_equal(got->status, VG_STATUS_OK);
		assert_int_equal(got->length, sizes[i]);
		assert_memory_equal(got->body, value, sizes[i]);
	}
}

static struct answer *set_with(struct fake_session *session, __u16 flags, __u64 expire_ms)
{
	struct message *request = message(VG_OP_SET, "k", "v", 1);

	request->header.flags = VG_HTOBE16(flags);
	request->header.argument = VG_HTOBE64(expire_ms);
	return ask(session, request);
}

static void test_binary_set_conditions_and_deadlines(void **state)
{
	struct fake_node *node = *state;
	struct fake_session *session = session_on(state);
	__u64 now_ms = vg_clock_unix_ms(&node->clock);
	struct message *expired;

	assert_int_equal(set_with(session, VG_FLAG_IF_PRESENT, 0)->status, VG_STATUS_CONDITION);
	assert_int_equal(set_with(session, VG_FLAG_IF_ABSENT, 0)->status, VG_STATUS_OK);
	assert_int_equal(set_with(session, VG_FLAG_IF_ABSENT, 0)->status, VG_STATUS_CONDITION);
	assert_int_equal(set_with(session, VG_FLAG_IF_PRESENT, now_ms + 1000)->status, VG_STATUS_OK);
	assert_int_equal(set_with(session, VG_FLAG_KEEP_TTL, 0)->status, VG_STATUS_OK);
	assert_int_equal(set_with(session, VG_FLAG_KEEP_TTL, now_ms + 5)->status, VG_STATUS_BAD_REQUEST);
	assert_int_equal(set_with(session, VG_FLAG_IF_ABSENT | VG_FLAG_IF_PRESENT, 0)->status, VG_STATUS_BAD_REQUEST);
	assert_int_equal(set_with(session, 0, 1ULL << 48)->status, VG_STATUS_BAD_REQUEST);
	expect_body(ask(session, message(VG_OP_GET, "k", NULL, 0)), "v");
	node->clock.unix_ns += 1001000000;
	assert_int_equal(ask(session, message(VG_OP_GET, "k", NULL, 0))->status, VG_STATUS_NOT_FOUND);
	/* XDP finds it, sees that its time is over, and asks no more. */
	expired = message(VG_OP_GET, "k", NULL, 0);
	expired->header.partition ^= VG_HTOBE16(1);
	assert_int_equal(ask(session, expired)->status, VG_STATUS_NOT_FOUND);
	assert_int_equal(set_with(session, VG_FLAG_IF_PRESENT, 0)->status, VG_STATUS_CONDITION);
}

/* A hit needs the key alone; whoever is told "not found", or changes something, must have named the right place. */
static void test_binary_hash_and_partition(void **state)
{
	static const __u8 opcodes[] = { VG_OP_GET, VG_OP_SET, VG_OP_DEL };
	struct fake_session *session = session_on(state);
	struct message *request;

	for (size_t i = 0; i < sizeof(opcodes); i++) {
		request = message(opcodes[i], "k", NULL, 0);
		request->header.ident ^= VG_HTOBE64(1);
		assert_int_equal(ask(session, request)->status, VG_STATUS_BAD_REQUEST);
		request = message(opcodes[i], "k", NULL, 0);
		request->header.partition ^= VG_HTOBE16(1);
		assert_int_equal(ask(session, request)->status, VG_STATUS_BAD_REQUEST);
		request = message(opcodes[i], "k", NULL, 0);
		request->header.partition = 0xffff;
		assert_int_equal(ask(session, request)->status, VG_STATUS_BAD_REQUEST);
	}
	ask(session, message(VG_OP_SET, "k", "v", 1));
	request = message(VG_OP_GET, "k", NULL, 0);
	request->header.partition ^= VG_HTOBE16(1);
	expect_body(ask(session, request), "v");
	request = message(VG_OP_GET, "k", NULL, 0);
	request->header.epoch = VG_HTOBE32(8);
	expect_body(ask(session, request), "v");
	((struct fake_node *)*state)->cluster.owner[vg_partition_of("k", 1)] = VG_NODE_NONE;
	assert_int_equal(ask(session, message(VG_OP_GET, "k", NULL, 0))->status, VG_STATUS_UNREACHABLE);
}

static void test_binary_handles(void **state)
{
	struct fake_session *session = session_on(state);
	__u64 handle, range = 3ULL << 32 | 5;
	struct answer *got = ask(session, handle_message(VG_OP_HANDLE_ALLOC, 0, 10000, NULL, 0));

	assert_int_equal(got->status, VG_STATUS_OK);
	handle = got->ident;
	assert_int_not_equal(handle, 0);
	assert_int_equal(ask(session, handle_message(VG_OP_HANDLE_SET, handle, range, "hello", 5))->status, VG_STATUS_OK);
	expect_body(ask(session, handle_message(VG_OP_HANDLE_GET, handle, range, NULL, 0)), "hello");
	got = ask(session, handle_message(VG_OP_HANDLE_GET, handle, 10000, NULL, 0));
	assert_int_equal(got->length, 10000);
	assert_memory_equal(got->body, "\0\0\0hello\0", 9);
	got = ask(session, handle_message(VG_OP_HANDLE_GET, handle, 0, NULL, 0));
	assert_int_equal(got->argument, 10000);
	assert_int_equal(got->length, 0);
	got = ask(session, handle_message(VG_OP_HANDLE_GET, handle, 10001, NULL, 0));
	assert_int_equal(got->status, VG_STATUS_RANGE);
	got = ask(session, handle_message(VG_OP_HANDLE_GET, handle, 9999ULL << 32 | 2, NULL, 0));
	assert_int_equal(got->status, VG_STATUS_RANGE);
	got = ask(session, handle_message(VG_OP_HANDLE_GET, handle, UINT64_MAX, NULL, 0));
	assert_int_equal(got->status, VG_STATUS_RANGE);
	got = ask(session, handle_message(VG_OP_HANDLE_SET, handle, 9999ULL << 32 | 2, "ab", 2));
	assert_int_equal(got->status, VG_STATUS_RANGE);
	got = ask(session, handle_message(VG_OP_HANDLE_SET, handle, 3, "ab", 2));
	assert_int_equal(got->status, VG_STATUS_BAD_REQUEST);
	assert_int_equal(ask(session, handle_message(VG_OP_HANDLE_FREE, handle, 0, NULL, 0))->status, VG_STATUS_OK);
	for (__u8 opcode = VG_OP_HANDLE_GET; opcode <= VG_OP_HANDLE_FREE; opcode++)
		if (opcode != VG_OP_HANDLE_ALLOC)
			assert_int_equal(ask(session, handle_message(opcode, handle, 0, NULL, 0))->status, VG_STATUS_GONE);
	got = ask(session, handle_message(VG_OP_HANDLE_GET, handle, UINT64_MAX, NULL, 0));
	assert_int_equal(got->status, VG_STATUS_GONE);
	got = ask(session, handle_message(VG_OP_HANDLE_ALLOC, 0, 0, NULL, 0));
	assert_int_equal(got->status, VG_STATUS_BAD_REQUEST);
	got = ask(session, handle_message(VG_OP_HANDLE_ALLOC, 0, 1ULL << 32, NULL, 0));
	assert_int_equal(got->status, VG_STATUS_NO_MEMORY);
	got = ask(session, handle_message(VG_OP_HANDLE_GET, UINT64_MAX, 1, NULL, 0));
	assert_int_equal(got->status, VG_STATUS_GONE);
}

static void test_binary_status_topology_command(void **state)
{
	static const char ping[] = "*1\r\n$4\r\nPING\r\n";
	struct fake_session *session = session_on(state);

	expect_body(ask(session, message(VG_OP_STATUS, NULL, NULL, 0)), "{\"status\":1}");
	expect_body(ask(session, message(VG_OP_TOPOLOGY, NULL, NULL, 0)), "{\"topology\":1}");
	expect_body(ask(session, message(VG_OP_COMMAND, NULL, ping, sizeof(ping) - 1)), "+PONG\r\n");
	assert_int_equal(ask(session, message(VG_OP_COMMAND, NULL, "PING", 4))->status, VG_STATUS_BAD_REQUEST);
	assert_int_equal(ask(session, message(VG_OP_COMMAND, NULL, NULL, 0))->status, VG_STATUS_BAD_REQUEST);
}

/* A frame that cannot be served, followed by one that can, in one piece and byte by byte. */
static void survives(struct fake_session *session, const struct message *bad, __u8 status)
{
	struct message copy = *bad;
	const struct message *good;

	for (int bytewise = 0; bytewise < 2; bytewise++) {
		size_t behind = copy.length - sizeof(copy.header), step = bytewise ? 1 : behind;

		assert_int_equal(fake_feed(session, &copy.header, sizeof(copy.header)), 0);
		for (size_t at = 0; at < behind; at += step)
			assert_int_equal(fake_feed(session, copy.bytes + at, step), 0);
		assert_int_equal(next_answer(session)->status, status);
		good = message(VG_OP_PING, NULL, NULL, 0);
		assert_int_equal(ask(session, good)->status, VG_STATUS_OK);
		assert_false(session->session.finish);
	}
}

static void test_binary_hostile_headers_survived(void **state)
{
	struct fake_node *node = *state;
	struct fake_session *session = session_on(state);
	struct message *bad;

	bad = message(VG_OP_MAX, "key", "body", 4);
	survives(session, bad, VG_STATUS_UNSUPPORTED);
	bad = message(VG_OP_SET, "key", "body", 4);
	bad->header.flags = VG_HTOBE16(0x8000);
	survives(session, bad, VG_STATUS_BAD_REQUEST);
	bad = message(VG_OP_SET, "key", "body", 4);
	bad->header.load.reserved = 1;
	survives(session, bad, VG_STATUS_BAD_REQUEST);
	bad = message(VG_OP_SET, "key", "body", 4);
	bad->header.status = 1;
	survives(session, bad, VG_STATUS_BAD_REQUEST);
	bad = message(VG_OP_SET, "key", "body", 4);
	bad->bytes[5] = 1;
	survives(session, bad, VG_STATUS_BAD_REQUEST);
	node->settings.value_bytes_max = 3;
	bad = message(VG_OP_SET, "key", "body", 4);
	survives(session, bad, VG_STATUS_BAD_REQUEST);
	bad = message(VG_OP_GET, "key", NULL, 2000);
	survives(session, bad, VG_STATUS_BAD_REQUEST);
	assert_int_equal(ask(session, message(VG_OP_GET, "key", NULL, 0))->status, VG_STATUS_NOT_FOUND);
	assert_int_equal(node->stats.refused[VG_REFUSAL_BAD_OPCODE], 2);
	assert_int_equal(node->stats.refused[VG_REFUSAL_TOO_LONG], 4);
}

static void test_binary_framing_lost(void **state)
{
	static const struct {
		size_t at;
		__u8 value, status;
	} cases[] = {
		{ 0, 'X', VG_STATUS_BAD_REQUEST }, { 2, 2, VG_STATUS_UNSUPPORTED }, { 40, 1, VG_STATUS_BAD_REQUEST },
		{ 44, 0x7f, VG_STATUS_BAD_REQUEST },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fake_session *session = session_on(state);
		struct message *bad = message(VG_OP_PING, NULL, NULL, 0);

		((__u8 *)&bad->header)[cases[i].at] = cases[i].value;
		assert_int_equal(ask(session, bad)->status, cases[i].status);
		assert_true(session->session.finish);
		fake_session_close(session);
	}
}

static void test_binary_replies_are_not_answered(void **state)
{
	struct fake_session *session = session_on(state);
	struct message *reply = message(VG_OP_PING, NULL, NULL, 0);

	reply->header.flags = VG_HTOBE16(VG_FLAG_REPLY);
	assert_int_equal(fake_feed(session, &reply->header, sizeof(reply->header)), 0);
	assert_int_equal(session->out.bytes, 0);
	assert_null(ask_datagram(*state, reply, 200, false));
	assert_int_equal(((struct fake_node *)*state)->stats.refused[VG_REFUSAL_MALFORMED], 2);
	assert_int_equal(ask(session, message(VG_OP_PING, NULL, NULL, 0))->status, VG_STATUS_OK);
}

/* Neither key nor tag can be had by who knows only the password: binary is closed then, but RESP's. */
static void test_binary_closed_by_a_password(void **state)
{
	struct fake_node *node = *state;

	snprintf(node->settings.password, sizeof(node->settings.password), "secret");
	assert_int_equal(ask(session_on(state), message(VG_OP_SET, "k", "v", 1))->status, VG_STATUS_UNAUTHORIZED);
	assert_int_equal(ask_datagram(node, message(VG_OP_SET, "k", "v", 1), 200, false)->status, VG_STATUS_UNAUTHORIZED);
	node->settings.password[0] = '\0';
	assert_int_equal(ask(session_on(state), message(VG_OP_GET, "k", NULL, 0))->status, VG_STATUS_NOT_FOUND);
}

/* ---- two nodes ------------------------------------------------------------------------------------------------- */

static void test_binary_forwards_over_tcp(void **state)
{
	struct fake_session *session = session_on(state);
	const char *there = key_of(1, 2);
	struct message *request;
	struct answer *got;
	__u8 large[5000];

	memset(large, 'x', sizeof(large));
	assert_int_equal(ask(session, message(VG_OP_GET, there, NULL, 0))->status, VG_STATUS_NOT_FOUND);
	request = message(VG_OP_SET, there, large, sizeof(large));
	request->header.flags = VG_HTOBE16(VG_FLAG_IF_ABSENT);
	assert_int_equal(ask(session, request)->status, VG_STATUS_OK);
	request = message(VG_OP_SET, there, "v", 1);
	request->header.flags = VG_HTOBE16(VG_FLAG_IF_ABSENT);
	assert_int_equal(ask(session, request)->status, VG_STATUS_CONDITION);
	got = ask(session, message(VG_OP_GET, there, NULL, 0));
	assert_int_equal(got->length, sizeof(large));
	assert_memory_equal(got->body, large, sizeof(large));
	assert_int_equal(fake.node[1].stats.hits, 1);
	assert_int_equal(ask(session, message(VG_OP_DEL, there, NULL, 0))->status, VG_STATUS_OK);
	/* What was forwarded once is answered, not forwarded. */
	request = message(VG_OP_GET, there, NULL, 0);
	request->header.flags = VG_HTOBE16(VG_FLAG_FORWARDED);
	got = ask(session, request);
	assert_int_equal(got->status, VG_STATUS_WRONG_NODE);
	assert_int_equal(got->argument, 1);
	fake.node[1].fail_from = 1;
	assert_int_equal(ask(session, message(VG_OP_GET, there, NULL, 0))->status, VG_STATUS_UNREACHABLE);
}

static struct answer *command(struct fake_session *session, __u16 flags, const char *verb, const char *key)
{
	char text[200];
	int length = snprintf(text, sizeof(text), "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(verb), verb, strlen(key), key);
	struct message *request = message(VG_OP_COMMAND, NULL, text, (size_t)length);

	request->header.flags = VG_HTOBE16(flags);
	return ask(session, request);
}

/* A RESP command in a frame is executed where its key lives, and answered where it was asked. */
static void test_binary_forwards_commands(void **state)
{
	struct fake_session *session = session_on(state);
	char there[32];

	snprintf(there, sizeof(there), "%s", key_of(1, 2));
	expect_body(command(session, 0, "GET", there), "$-1\r\n");
	assert_int_equal(ask(session, message(VG_OP_SET, there, "7", 1))->status, VG_STATUS_OK);
	expect_body(command(session, 0, "INCR", there), ":8\r\n");
	expect_body(ask(session, message(VG_OP_GET, there, NULL, 0)), "8");
	assert_int_equal(command(session, VG_FLAG_FORWARDED, "GET", there)->status, VG_STATUS_WRONG_NODE);
	fake.node[1].fail_from = 1;
	assert_int_equal(command(session, 0, "GET", there)->status, VG_STATUS_OK); /* the body is RESP's error */
}

static void test_binary_answers_in_order(void **state)
{
	struct fake_session *session = session_on(state);
	char there[32];
	struct message *request;

	snprintf(there, sizeof(there), "%s", key_of(1, 2));
	for (int i = 0; i < 6; i++) {
		request = message(i % 2 ? VG_OP_PING : VG_OP_GET, i % 2 ? NULL : there, NULL, 0);
		request->header.sequence = VG_HTOBE64(100 + i);
		assert_int_equal(fake_feed(session, &request->header, sizeof(request->header)), 0);
		assert_int_equal(fake_feed(session, request->bytes, request->length - sizeof(request->header)), 0);
	}
	assert_int_equal(session->out.bytes, 0);
	assert_true(session->session.paused);
	fake_run();
	for (int i = 0; i < 6; i++)
		assert_int_equal(VG_BE64TOH(next_answer(session)->header.sequence), 100 + i);
}

/* The client goes while another node works for it: the answer finds nobody, and nothing is left behind (see stop). */
static void test_binary_session_gone_meanwhile(void **state)
{
	struct fake_session *session = session_on(state), *other;
	struct message *request = message(VG_OP_GET, key_of(1, 2), NULL, 0);

	fake_feed(session, &request->header, sizeof(request->header));
	fake_feed(session, request->bytes, request->length - sizeof(request->header));
	assert_true(session->session.paused);
	fake_session_close(session);
	other = session_on(state);
	assert_ptr_equal(other, session);
	fake_run();
	assert_int_equal(other->out.bytes, 0);
	assert_int_equal(ask(other, message(VG_OP_PING, NULL, NULL, 0))->status, VG_STATUS_OK);
}

/* ---- under a cluster key --------------------------------------------------------------------------------------- */

static void test_binary_keyed_refuses(void **state)
{
	struct fake_node *node = *state;
	struct fake_session *session = session_on(state);
	struct message *request;

	for (__u8 opcode = 1; opcode < VG_OP_MAX; opcode++) {
		struct answer *got = ask(session, message(opcode, "k", NULL, 0));

		assert_int_equal(got->status, VG_STATUS_UNAUTHORIZED);
		assert_false(got->header.flags & VG_HTOBE16(VG_FLAG_TAGGED));
		assert_int_equal(got->header.load.memory_free_permille, 0);
	}
	request = message(VG_OP_SET, key_of(0, 2), "v", 1);
	message_tag(request, cluster_key);
	request->header.tag ^= VG_HTOBE64(1);
	assert_int_equal(ask(session, request)->status, VG_STATUS_UNAUTHORIZED);
	/* A tag over another key, on an operation it was not made for. */
	request = message(VG_OP_GET, key_of(0, 2), NULL, 0);
	message_tag(request, cluster_key);
	request->header.opcode = VG_OP_DEL;
	assert_int_equal(ask(session, request)->status, VG_STATUS_UNAUTHORIZED);
	/* Nor is a large body held for who may not ask: it is let go as it comes. */
	request = message(VG_OP_SET, "k", NULL, 300000);
	assert_int_equal(fake_feed(session, &request->header, sizeof(request->header)), 0);
	assert_int_equal(fake_feed(session, request->bytes, 8), 0);
	assert_int_equal(fake_feed(session, request->bytes + 8, 100000), 0);
	assert_int_equal(session->input_length, 0);
	assert_int_equal(session->out.bytes, 0);
	assert_int_equal(fake_feed(session, request->bytes + 8, 200000), 0);
	assert_int_equal(next_answer(session)->status, VG_STATUS_UNAUTHORIZED);
	assert_int_equal(node->stats.refused[VG_REFUSAL_UNAUTHORIZED], VG_OP_MAX - 1 + 3);
	request = message(VG_OP_PING, NULL, NULL, 0);
	message_tag(request, cluster_key);
	assert_int_equal(ask(session, request)->status, VG_STATUS_OK);
}

/* Nothing a stranger chose is signed for it, also where the stream cannot be read further. */
static void test_binary_keyed_framing_lost(void **state)
{
	struct fake_session *session = session_on(state);
	struct message *request = message(VG_OP_PING, NULL, NULL, 0);
	struct answer *got;

	request->header.version = 2;
	got = ask(session, request);
	assert_int_equal(got->status, VG_STATUS_UNSUPPORTED);
	assert_int_equal(got->header.tag, 0);
	assert_false(got->header.flags & VG_HTOBE16(VG_FLAG_TAGGED));
	assert_true(session->session.finish);
}

static void test_binary_keyed_serves(void **state)
{
	struct fake_session *session = session_on(state);

	for (__u16 owner = 0; owner < 2; owner++) {
		struct message *request = message(VG_OP_GET, key_of(owner, 2), NULL, 0);
		struct answer *got;

		message_tag(request, cluster_key);
		assert_int_equal(ask(session, request)->status, VG_STATUS_NOT_FOUND);
		request = message(VG_OP_SET, key_of(owner, 2), "v", 1);
		message_tag(request, cluster_key);
		got = ask(session, request);
		assert_int_equal(got->status, VG_STATUS_OK);
		assert_true(got->header.flags & VG_HTOBE16(VG_FLAG_TAGGED));
		assert_true(vg_wire_tag_of(cluster_key, &got->header, NULL) == got->header.tag);
	}
}

/* Wherever memory ends, the answer is a status, and nothing is lost (see stop). */
static void test_binary_without_memory(void **state)
{
	struct fake_session *session = session_on(state);
	struct message *request;

	for (int blocks = 0; blocks < 4; blocks++) {
		struct answer *got;

		fake.memory_limit = fake.memory_out + blocks;
		request = message(VG_OP_GET, key_of(1, 2), NULL, 0);
		got = ask(session, request);
		assert_true(got->status == VG_STATUS_NO_MEMORY || got->status == VG_STATUS_NOT_FOUND);
		assert_true(blocks || got->status == VG_STATUS_NO_MEMORY);
	}
	fake.memory_limit = 0;
	assert_int_equal(ask(session, message(VG_OP_PING, NULL, NULL, 0))->status, VG_STATUS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_binary_ping_golden, one),
		WITH(test_binary_set_get_del, one),
		WITH(test_binary_values_of_every_size, one),
		WITH(test_binary_set_conditions_and_deadlines, one),
		WITH(test_binary_hash_and_partition, one),
		WITH(test_binary_handles, one),
		WITH(test_binary_status_topology_command, one),
		WITH(test_binary_hostile_headers_survived, one),
		WITH(test_binary_framing_lost, one),
		WITH(test_binary_replies_are_not_answered, one),
		WITH(test_binary_closed_by_a_password, one),
		WITH(test_binary_forwards_over_tcp, two),
		WITH(test_binary_forwards_commands, two),
		WITH(test_binary_answers_in_order, two),
		WITH(test_binary_session_gone_meanwhile, two),
		WITH(test_binary_keyed_refuses, two_keyed),
		WITH(test_binary_keyed_framing_lost, two_keyed),
		WITH(test_binary_keyed_serves, two_keyed),
		WITH(test_binary_without_memory, two),
	};

	return cmocka_run_group_tests_name("mem_binary", tests, NULL, NULL);
}
