// SPDX-License-Identifier: GPL-3.0-or-later
/* memcached's protocol, as its clients meet it; tests/oracle compares it with memcached itself. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>

#include "fake_wire.h"
#include "proto/memcache.h"

static char reply[2 << 20];

/* What the session answers to the bytes, handed over `step` at a time. */
static const char *say_in_pieces(struct fake_session *session, const char *bytes, size_t length, size_t step)
{
	size_t taken;

	for (size_t at = 0; at < length; at += step) {
		assert_int_equal(fake_feed(session, bytes + at, length - at < step ? length - at : step), 0);
		fake_run();
	}
	assert_int_equal(session->input_length, 0);
	assert_false(session->session.paused);
	taken = fake_take(session, reply, sizeof(reply) - 1);
	reply[taken] = '\0';
	return reply;
}

static const char *say(struct fake_session *session, const char *text)
{
	return say_in_pieces(session, text, strlen(text), strlen(text));
}

static struct fake_session *mc_on(void *node)
{
	return fake_session_open(node, VG_PROTOCOL_MEMCACHE);
}

struct talk {
	const char *said, *answered;
};

static void talk(struct fake_session *session, const struct talk *lines, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_string_equal(say(session, lines[i].said), lines[i].answered);
}
#define TALK(session, lines) talk(session, lines, sizeof(lines) / sizeof((lines)[0]))

static const struct talk classic[] = {
	{ "get a\r\n", "END\r\n" },
	{ "set a 7 0 5\r\nhello\r\n", "STORED\r\n" },
	{ "get a\r\n", "VALUE a 7 5\r\nhello\r\nEND\r\n" },
	{ "get a b a\n", "VALUE a 7 5\r\nhello\r\nVALUE a 7 5\r\nhello\r\nEND\r\n" },
	{ "add a 0 0 1\r\nx\r\n", "NOT_STORED\r\n" },
	{ "replace b 0 0 1\r\nx\r\n", "NOT_STORED\r\n" },
	{ "append a 9 9 1\r\n!\r\n", "STORED\r\n" },
	{ "prepend a 9 9 1\r\n>\r\n", "STORED\r\n" },
	{ "get a\r\n", "VALUE a 7 7\r\n>hello!\r\nEND\r\n" },
	{ "cas b 0 0 1 5\r\nx\r\n", "NOT_FOUND\r\n" },
	{ "cas a 0 0 1 5\r\nx\r\n", "EXISTS\r\n" },
	{ "touch a 100\r\n", "TOUCHED\r\n" },
	{ "touch b 100\r\n", "NOT_FOUND\r\n" },
	{ "gat 0 a\r\n", "VALUE a 7 7\r\n>hello!\r\nEND\r\n" },
	{ "incr a 1\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n" },
	{ "set n 0 0 2\r\n10\r\n", "STORED\r\n" },
	{ "incr n 5\r\n", "15\r\n" },
	{ "decr n 6\r\n", "9\r\n" },
	{ "get n\r\n", "VALUE n 0 2\r\n9 \r\nEND\r\n" }, /* as long as it was, as memcached leaves it */
	{ "decr n 100\r\n", "0\r\n" },
	{ "set n 0 0 20\r\n18446744073709551615\r\n", "STORED\r\n" },
	{ "incr n 2\r\n", "1\r\n" },
	{ "incr nothing 2\r\n", "NOT_FOUND\r\n" },
	{ "delete n\r\n", "DELETED\r\n" },
	{ "delete n 0\r\n", "NOT_FOUND\r\n" },
	{ "delete n 1\r\n", "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n" },
	{ "set a 0 -1 1\r\nx\r\n", "STORED\r\n" },
	{ "get a\r\n", "END\r\n" },
	{ "set q 0 0 1 noreply\r\nx\r\ndelete q noreply\r\nget q\r\n", "END\r\n" },
	{ "set a 0 0 5\r\nhelloxx\r\n", "CLIENT_ERROR bad data chunk\r\nERROR\r\n" },
	{ "nonsense\r\n", "ERROR\r\n" },
	{ "\r\n", "ERROR\r\n" },
	{ "GET a\r\n", "ERROR\r\n" },
	{ "set a 0 0\r\n", "ERROR\r\n" },
	{ "set a x 0 5\r\n", "CLIENT_ERROR bad command line format\r\n" },
	{ "set a 0 0 -1\r\n", "CLIENT_ERROR bad command line format\r\n" },
	{ "set a\tb 0 0 1\r\n", "CLIENT_ERROR bad command line format\r\n" },
	{ "get a\tb\r\n", "CLIENT_ERROR bad command line format\r\n" },
	{ "verbosity 1\r\n", "OK\r\n" },
	{ "version\r\n", "VERSION 1.6.18-virgo\r\n" },
	{ "stats nonsense\r\n", "ERROR\r\n" },
	{ "stats reset\r\n", "RESET\r\n" },
	{ "stats sizes\r\n", "STAT sizes_status disabled\r\nEND\r\n" },
	{ "set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\n", "STORED\r\nOK\r\nEND\r\n" },
};

static void test_mc_classic(void **state)
{
	TALK(mc_on(*state), classic);
}

static const struct talk meta[] = {
	{ "mg a v\r\n", "EN\r\n" },
	{ "mg a v q\r\nmn\r\n", "MN\r\n" },
	{ "ms a 5 F7 T0\r\nhello\r\n", "HD\r\n" },
	{ "mg a v f s t k Oabc\r\n", "VA 5 f7 s5 t-1 ka Oabc\r\nhello\r\n" },
	{ "mg a\r\n", "HD\r\n" },
	{ "mg a T100 t\r\n", "HD t100\r\n" },
	{ "mg a h\r\nmg a h\r\n", "HD h0\r\nHD h1\r\n" },
	{ "ms a 1 ME\r\nx\r\n", "NS\r\n" },
	{ "ms a 1 MA q\r\n!\r\nmg a v\r\n", "VA 6\r\nhello!\r\n" },
	{ "ms b 1 MR k\r\nx\r\n", "NS kb\r\n" },
	{ "ms a 1 C5 Oq\r\nx\r\n", "EX Oq\r\n" },
	{ "ms b 1 C5\r\nx\r\n", "NF\r\n" },
	{ "ms a 1 MX\r\nx\r\n", "CLIENT_ERROR invalid mode for ms M token\r\n" },
	{ "ms a 1 !\r\nx\r\n", "CLIENT_ERROR invalid flag\r\n" },
	{ "mg a v v\r\n", "CLIENT_ERROR duplicate flag\r\n" },
	{ "ms a x\r\n", "CLIENT_ERROR bad command line format\r\n" },
	{ "ma n v\r\n", "NF\r\n" },
	{ "ma n N0 J10 v\r\n", "VA 2\r\n10\r\n" },
	{ "ma n D5 v\r\n", "VA 2\r\n15\r\n" },
	{ "ma n MD D20 v t\r\n", "VA 1 t-1\r\n0\r\n" },
	{ "md n q\r\nmn\r\n", "MN\r\n" },
	{ "md n k\r\n", "NF kn\r\n" },
	{ "ms YmluAQ== 1 b k\r\nx\r\n", "HD kYmluAQ== b\r\n" },
	{ "mg YmluAQ== b v k\r\n", "VA 1 kYmluAQ== b\r\nx\r\n" },
	{ "mg *** b\r\n", "CLIENT_ERROR error decoding key\r\n" },
	/* Who may make a stale value anew: the first is told so (W), the others that somebody was (Z). */
	{ "md a I T30\r\n", "HD\r\n" },
	{ "mg a t\r\nmg a\r\n", "HD t30 X W\r\nHD Z X\r\n" },
	{ "ms a 1\r\ny\r\nmg a v\r\n", "HD\r\nVA 1\r\ny\r\n" },
	{ "mg new N30 t v\r\nmg new t\r\n", "VA 0 t30 W\r\n\r\nHD t30 Z\r\n" },
	{ "ms r 1 T20\r\nx\r\nmg r R30\r\nmg r R30\r\n", "HD\r\nHD W\r\nHD Z\r\n" },
	{ "me nothing\r\n", "EN\r\n" },
};

static void test_mc_meta(void **state)
{
	TALK(mc_on(*state), meta);
}

/* The unique number that the last answer gave, and what it is good for. */
static void test_mc_unique(void **state)
{
	struct fake_session *session = mc_on(*state);
	unsigned long long unique, again;
	char line[120];

	say(session, "set a 1 0 1\r\nx\r\n");
	assert_int_equal(sscanf(say(session, "gets a\r\n"), "VALUE a 1 1 %llu", &unique), 1);
	assert_int_not_equal(unique, 0);
	assert_int_equal(sscanf(say(session, "gets a\r\n"), "VALUE a 1 1 %llu", &again), 1);
	assert_int_equal(unique, again);
	snprintf(line, sizeof(line), "cas a 2 0 1 %llu\r\ny\r\n", unique);
	assert_string_equal(say(session, line), "STORED\r\n");
	assert_string_equal(say(session, line), "EXISTS\r\n");
	assert_string_equal(say(session, "get a\r\n"), "VALUE a 2 1\r\ny\r\nEND\r\n");
	assert_int_equal(sscanf(say(session, "mg a c\r\n"), "HD c%llu", &unique), 1);
	assert_true(unique > again);
	/* A touch changes no value. */
	say(session, "touch a 1000\r\n");
	snprintf(line, sizeof(line), "ms a 1 C%llu c\r\nz\r\n", unique);
	assert_int_equal(sscanf(say(session, line), "HD c%llu", &again), 1);
	assert_true(again > unique);
	/* What was fetched as an older version may be stored, and says so. */
	snprintf(line, sizeof(line), "ms a 1 C%llu I\r\ns\r\n", unique);
	assert_string_equal(say(session, line), "HD\r\n");
	assert_string_equal(say(session, "mg a v\r\n"), "VA 1 X W\r\ns\r\n");
	snprintf(line, sizeof(line), "md a C%llu\r\n", unique);
	assert_string_equal(say(session, line), "EX\r\n");
}

/* However the bytes are cut, the answers are the same. */
static void test_mc_pieces(void **state)
{
	struct fake_session *session = mc_on(*state);
	char all[16384], whole[32768];
	size_t length = 0;

	for (size_t i = 0; i < sizeof(classic) / sizeof(classic[0]); i++)
		length += (size_t)snprintf(all + length, sizeof(all) - length, "%s", classic[i].said);
	snprintf(whole, sizeof(whole), "%s", say(session, all));
	for (size_t step = 1; step < 80; step += 1 + step / 7)
		assert_string_equal(say_in_pieces(session, all, length, step), whole);
}

static void test_mc_deadlines(void **state)
{
	struct fake_session *session = mc_on(*state);
	struct fake_node *node = *state;
	char line[100];

	say(session, "set short 0 10 1\r\nx\r\nset month 0 2592000 1\r\nx\r\nset past 0 2592001 1\r\nx\r\n");
	snprintf(line, sizeof(line), "set absolute 0 %llu 1\r\nx\r\n", node->clock.unix_ns / 1000000000 + 20);
	assert_string_equal(say(session, line), "STORED\r\n");
	assert_string_equal(say(session, "mg short t\r\nmg month t\r\nmg past t\r\nmg absolute t\r\n"),
			    "HD t10\r\nHD t2592000\r\nEN\r\nHD t20\r\n");
	node->clock.unix_ns += 10000000000ULL;
	assert_string_equal(say(session, "get short absolute\r\n"), "VALUE absolute 0 1\r\nx\r\nEND\r\n");
	node->clock.unix_ns += 10000000000ULL;
	assert_string_equal(say(session, "get absolute\r\n"), "END\r\n");
	assert_string_equal(say(session, "gat -1 month\r\nget month\r\n"), "VALUE month 0 1\r\nx\r\nEND\r\nEND\r\n");
	/* put off, and the test's node has no timers */
	assert_string_equal(say(session, "flush_all 100\r\n"), "SERVER_ERROR out of memory\r\n");
}

static void test_mc_limits(void **state)
{
	struct fake_session *session = mc_on(*state);
	struct fake_node *node = *state;
	static char line[3 << 20];
	size_t length;

	node->settings.value_bytes_max = 1000;
	/* A value too long is refused as soon as its line is there, and let go as it comes; what was there goes too. */
	assert_string_equal(say(session, "set a 0 0 1\r\nx\r\nset a 0 0 1001\r\n"),
			    "STORED\r\nSERVER_ERROR object too large for cache\r\n");
	memset(line, 'v', 1001);
	memcpy(line + 1001, "\r\nmn\r\n", 7);
	assert_string_equal(say_in_pieces(session, line, 1007, 100), "MN\r\n");
	assert_string_equal(say(session, "get a\r\n"), "END\r\n");
	length = (size_t)sprintf(line, "set b 0 0 1001\r\n%01001d\r\nmn\r\n", 0);
	assert_string_equal(say_in_pieces(session, line, length, length),
			    "SERVER_ERROR object too large for cache\r\nMN\r\n");
	node->settings.value_bytes_max = VG_VALUE_MAX;
	/* A large value, whole and back. */
	length = (size_t)sprintf(line, "set large 3 0 1000000\r\n%01000000d\r\n", 7);
	assert_string_equal(say_in_pieces(session, line, length, 8192), "STORED\r\n");
	say(session, "get large\r\n");
	assert_memory_equal(reply, "VALUE large 3 1000000\r\n000", 26);
	assert_string_equal(reply + 23 + 999999, "7\r\nEND\r\n");
	/* Keys of 250 bytes, no more; lines that never end. */
	length = (size_t)sprintf(line, "set %0250d 0 0 1\r\nx\r\nget %0250d\r\ndelete %0251d\r\n", 1, 1, 1);
	say(session, line);
	assert_non_null(strstr(reply, "STORED\r\nVALUE 000"));
	assert_non_null(strstr(reply, "CLIENT_ERROR bad command line format\r\n"));
	length = (size_t)sprintf(line, "get");
	while (length < 60000)
		length += (size_t)sprintf(line + length, " key%zu", length);
	length += (size_t)sprintf(line + length, "\r\n");
	assert_string_equal(say_in_pieces(session, line, length, 1000), "END\r\n");
	memset(line, 'x', VG_MC_LINE_MAX + 1);
	assert_int_equal(fake_feed(session, line, VG_MC_LINE_MAX + 1), -EPROTO);
	session = mc_on(*state);
	memcpy(line, "get ", 4);
	memset(line + 4, 'x', VG_MC_GET_LINE_MAX);
	assert_int_equal(fake_feed(session, line, VG_MC_GET_LINE_MAX + 4), -EPROTO);
}

static void test_mc_password(void **state)
{
	struct fake_node *node = *state;
	struct fake_session *session;

	snprintf(node->settings.password, sizeof(node->settings.password), "secret");
	session = mc_on(node);
	assert_string_equal(say(session, "get a\r\n"), "CLIENT_ERROR unauthenticated\r\n");
	assert_string_equal(say(session, "set x 0 0 5\r\nwrong\r\n"), "CLIENT_ERROR bad authentication token format\r\n");
	assert_string_equal(say(session, "set x 0 0 10\r\nuser wrong\r\n"), "CLIENT_ERROR authentication failure\r\n");
	/* What is not a sign-in is not held, however long it says it is. */
	assert_string_equal(say(session, "set x 0 0 5000\r\n"), "CLIENT_ERROR unauthenticated\r\n");
	memset(reply, 'x', 5000);
	assert_string_equal(say_in_pieces(session, reply, 5002, 5002), "");
	assert_string_equal(say(session, "set x 0 0 11\r\nuser secret\r\nget a\r\n"), "STORED\r\nEND\r\n");
	node->settings.password[0] = '\0';
}

/* Keys of the other node: one by one, many at once, and all of them gone. */
static void test_mc_cluster(void **state)
{
	struct fake_session *session = mc_on(&fake.node[0]), *there = mc_on(&fake.node[1]);
	char key[2][32], line[200], want[200];

	for (__u16 owner = 0; owner < 2; owner++) {
		snprintf(key[owner], sizeof(key[owner]), "%s", key_of(owner, 2));
		snprintf(line, sizeof(line), "set %s %u 0 1\r\n%u\r\n", key[owner], owner, owner);
		assert_string_equal(say(session, line), "STORED\r\n");
		snprintf(line, sizeof(line), "incr %s 5\r\nms %s 1 q\r\nx\r\nmg %s v\r\n", key[owner], key[owner], key[owner]);
		snprintf(want, sizeof(want), "%u\r\nVA 1\r\nx\r\n", owner + 5);
		assert_string_equal(say(there, line), want);
	}
	snprintf(line, sizeof(line), "get %s nothing %s\r\nmn\r\n", key[0], key[1]);
	snprintf(want, sizeof(want), "VALUE %s 0 1\r\nx\r\nVALUE %s 0 1\r\nx\r\nEND\r\nMN\r\n", key[0], key[1]);
	assert_string_equal(say(session, line), want);
	assert_int_equal(fake.node[0].stats.hits + fake.node[1].stats.hits, 4);
	snprintf(line, sizeof(line), "set %s 0 0 1 noreply\r\ny\r\nmn\r\n", key[1]);
	assert_string_equal(say(session, line), "MN\r\n");
	assert_string_equal(say(session, "flush_all\r\n"), "OK\r\n");
	snprintf(line, sizeof(line), "get %s %s\r\n", key[0], key[1]);
	assert_string_equal(say(there, line), "END\r\n");
	fake.node[1].fail_from = 1;
	fake.node[1].asked = 0;
	assert_string_equal(say(session, line), "SERVER_ERROR the owner of the key does not answer\r\n");
	snprintf(line, sizeof(line), "get %s\r\n", key[0]);
	assert_string_equal(say(session, line), "END\r\n");
}

/* What one protocol writes the others read. */
static void test_mc_and_others(void **state)
{
	struct fake_session *session = mc_on(*state), *resp = fake_session_open(*state, VG_PROTOCOL_RESP);

	say(session, "set shared 9 0 5\r\nhello\r\n");
	assert_string_equal(say(resp, "GET shared\r\nAPPEND shared !\r\n"), "$5\r\nhello\r\n:6\r\n");
	assert_string_equal(say(session, "get shared\r\n"), "VALUE shared 9 6\r\nhello!\r\nEND\r\n");
	say(resp, "SET shared 1\r\n");
	assert_string_equal(say(session, "incr shared 2\r\nget shared\r\n"), "3\r\nVALUE shared 0 1\r\n3\r\nEND\r\n");
}

static const struct sockaddr_in stranger = { .sin_family = AF_INET, .sin_addr.s_addr = 0x0100a8c0 };
static const struct sockaddr_in local = { .sin_family = AF_INET, .sin_addr.s_addr = 0x0100007f };

/* The line that answers a datagram with this line; NULL: none. */
static const char *datagram(struct fake_node *node, const struct sockaddr_in *from, const char *line)
{
	static const __u8 head[8] = { 0x12, 0x34, 0, 0, 0, 1, 0, 0 };
	__u8 bytes[2048];
	struct vg_datagram message = { .protocol = VG_PROTOCOL_MEMCACHE, .data = bytes, .length = 8 + strlen(line),
				       .peer = (const struct sockaddr *)from, .peer_length = sizeof(*from) };

	memcpy(bytes, head, 8);
	memcpy(bytes + 8, line, strlen(line));
	fake.datagrams = 0;
	vg_service_mem.datagram(&node->env, &message);
	if (!fake.datagrams)
		return NULL;
	assert_memory_equal(fake.datagram, head, 8);
	if (from == &stranger)
		assert_true(fake.datagram_length <= message.length);
	memcpy(reply, fake.datagram + 8, fake.datagram_length - 8);
	reply[fake.datagram_length - 8] = '\0';
	return reply;
}

static void test_mc_datagrams(void **state)
{
	struct fake_node *node = *state;

	say(mc_on(node), "set k 0 0 5\r\nhello\r\n");
	assert_string_equal(datagram(node, &stranger, "get k\r\n"), "ERROR\r\n"); /* would be longer than the request */
	assert_string_equal(datagram(node, &stranger, "get k                      \r\n"),
			    "VALUE k 0 5\r\nhello\r\nEND\r\n");
	assert_string_equal(datagram(node, &stranger, "get n\r\n"), "END\r\n");
	assert_string_equal(datagram(node, &local, "get k\r\n"), "VALUE k 0 5\r\nhello\r\nEND\r\n");
	assert_string_equal(datagram(node, &local, "get k n k\r\n"),
			    "VALUE k 0 5\r\nhello\r\nVALUE k 0 5\r\nhello\r\nEND\r\n");
	assert_string_equal(datagram(node, &local, "set k 0 0 1\r\nx\r\n"), "ERROR\r\n");
	assert_string_equal(datagram(node, &local, "delete k\r\n"), "ERROR\r\n");
	assert_null(datagram(node, &stranger, "g\r\n"));
	assert_null(datagram(node, &stranger, ""));
	snprintf(node->settings.password, sizeof(node->settings.password), "secret");
	assert_null(datagram(node, &local, "get k\r\n"));
	node->settings.password[0] = '\0';
}

static void test_mc_base64(void **state)
{
	static const char *const pairs[][2] = { { "a", "YQ==" }, { "ab", "YWI=" }, { "abc", "YWJj" }, { "\xff\xfe\xfd", "//79" } };
	static const char *const wrong[] = { "", "YQ=", "YQ", "Y===", "YQ==YQ==", "Y*==", "====" };
	__u8 bytes[300];
	char text[400];

	for (size_t i = 0; i < 4; i++) {
		size_t length = strlen(pairs[i][0]);

		assert_int_equal(vg_mc_base64_decode(pairs[i][1], strlen(pairs[i][1]), bytes), length);
		assert_memory_equal(bytes, pairs[i][0], length);
		assert_int_equal(vg_mc_base64_encode(pairs[i][0], length, text), strlen(pairs[i][1]));
		assert_memory_equal(text, pairs[i][1], strlen(pairs[i][1]));
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(vg_mc_base64_decode(wrong[i], strlen(wrong[i]), bytes), 0);
}

static void test_mc_no_memory(void **state)
{
	struct fake_session *session = mc_on(&fake.node[0]);
	char line[100];

	snprintf(line, sizeof(line), "get %s\r\nmn\r\n", key_of(1, 2));
	fake.memory_limit = fake.memory_out;
	assert_string_equal(say(session, line), "SERVER_ERROR out of memory\r\nMN\r\n");
	fake.memory_limit = 0;
	assert_string_equal(say(session, line), "END\r\nMN\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_mc_classic, one),
		WITH(test_mc_meta, one),
		WITH(test_mc_unique, one),
		WITH(test_mc_pieces, one),
		WITH(test_mc_deadlines, one),
		WITH(test_mc_limits, one),
		WITH(test_mc_password, one),
		WITH(test_mc_cluster, two),
		WITH(test_mc_and_others, one),
		WITH(test_mc_datagrams, one),
		cmocka_unit_test(test_mc_base64),
		WITH(test_mc_no_memory, two),
	};

	return cmocka_run_group_tests_name("mem_memcache", tests, NULL, NULL);
}
