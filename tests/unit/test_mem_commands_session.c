// SPDX-License-Identifier: GPL-3.0-or-later
/* Sessions: how requests arrive, in what order answers leave, who may speak; and commands of other nodes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mem_fixture.h"

static struct mem_session session;

static int setup_nodes(__u16 nodes)
{
	mem_world_start(nodes);
	mem_open(&session, 0);
	return 0;
}

static int setup_one(void **state)
{
	return setup_nodes(1);
}

static int setup_three(void **state)
{
	return setup_nodes(3);
}

static int teardown(void **state)
{
	mem_close(&session);
	mem_world_stop();
	return 0;
}

static void send_text(const char *text)
{
	mem_receive(&session, text, strlen(text));
}

static void expect(const char *request, const char *reply)
{
	mem_forget_answer(&session);
	send_text(request);
	mem_settle(&session);
	if (strcmp(session.answer ? session.answer : "", reply) != 0)
		print_message("# request: %s\n", request);
	assert_string_equal(session.answer ? session.answer : "", reply);
}

/* A pipeline, cut at every place and byte by byte: the answers are the same. */
static void test_delivery_in_pieces(void **state)
{
	static const char pipeline[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\na\r\n\r\nb\r\nGET k\r\n*1\r\n$4\r\nPING\r\n\r\n*0\r\n"
				       "*-1\r\nECHO 'x y'\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
	static const char answers[] = "+OK\r\n$6\r\na\r\n\r\nb\r\n+PONG\r\n$3\r\nx y\r\n$6\r\na\r\n\r\nb\r\n";

	for (size_t cut = 0; cut < sizeof(pipeline); cut++) {
		mem_forget_answer(&session);
		mem_receive(&session, pipeline, cut);
		mem_receive(&session, pipeline + cut, sizeof(pipeline) - 1 - cut);
		assert_string_equal(session.answer, answers);
	}
	mem_forget_answer(&session);
	for (size_t i = 0; i + 1 < sizeof(pipeline); i++)
		mem_receive(&session, pipeline + i, 1);
	assert_string_equal(session.answer, answers);
}

/* More arguments than the session keeps by itself, in pieces; and the size that is wanted is said. */
static void test_many_arguments_and_large_values(void **state)
{
	size_t length = 0, large = 3u << 20;
	char *request = malloc(large + 4096 + 200 * 32), head[64];
	int n;

	length += (size_t)sprintf(request, "*401\r\n$4\r\nMSET\r\n");
	for (int i = 0; i < 200; i++)
		length += (size_t)sprintf(request + length, "$4\r\nk%03d\r\n$3\r\n%03d\r\n", i, i);
	for (size_t i = 0; i < length; i += 7)
		mem_receive(&session, request + i, length - i < 7 ? length - i : 7);
	assert_string_equal(session.answer, "+OK\r\n");
	expect("MGET k000 k199\r\n", "*2\r\n$3\r\n000\r\n$3\r\n199\r\n");
	expect("DBSIZE\r\n", ":200\r\n");

	n = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%zu\r\n", large);
	memset(request, 'x', large);
	memcpy(request + large, "\r\n", 2);
	mem_forget_answer(&session);
	mem_receive(&session, head, (size_t)n);
	assert_int_equal(session.session.input_wanted, (__u64)n + large + 2);
	mem_receive(&session, request, large + 2);
	assert_string_equal(session.answer, "+OK\r\n");
	mem_forget_answer(&session);
	send_text("GET large\r\n");
	n = snprintf(head, sizeof(head), "$%zu\r\n", large);
	assert_int_equal(session.answer_length, (size_t)n + large + 2);
	assert_memory_equal(session.answer + n, request, large + 2);
	expect("GETRANGE large 1048576 1048580\r\n", "$5\r\nxxxxx\r\n");
	mem_forget_answer(&session);
	send_text("GETSET large small\r\n");
	assert_int_equal(session.answer_length, (size_t)n + large + 2);
	expect("GETDEL large\r\n", "$5\r\nsmall\r\n");
	free(request);
}

static void test_protocol_errors_close(void **state)
{
	static const struct {
		const char *request, *reply;
	} broken[] = {
		{ "*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n" },
		{ "*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n" },
		{ "*1\r\nx\r\n", "-ERR Protocol error: expected '$', got 'x'\r\n" },
		{ "*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n" },
		{ "*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n" },
		{ "GET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n" },
		{ "GET 'a'b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n" },
		{ "PING\r\n*1\r\n$a\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n" },
	};
	char *line;

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		expect(broken[i].request, broken[i].reply);
		assert_true(session.closed);
		mem_close(&session);
		mem_open(&session, 0);
	}
	expect("Host: x\r\nSET k v\r\n", ""); /* sent by a browser: closed without a word */
	assert_true(session.closed);
	mem_close(&session);
	mem_open(&session, 0);
	expect("EXISTS k\r\n", ":0\r\n");
	mem_close(&session);
	mem_open(&session, 0);
	line = malloc(70000);
	memset(line, 'a', 70000);
	mem_receive(&session, line, 70000);
	assert_string_equal(session.answer, "-ERR Protocol error: too big inline request\r\n");
	mem_close(&session);
	mem_open(&session, 0);
	line[0] = '*';
	mem_receive(&session, line, 70000);
	assert_string_equal(session.answer, "-ERR Protocol error: too big mbulk count string\r\n");
	free(line);
}

static void test_authentication(void **state)
{
	strcpy(mem_world.settings.password, "secret");
	mem_close(&session);
	mem_open(&session, 0);
	expect("GET k\r\n", "-NOAUTH Authentication required.\r\n");
	expect("NONSENSE\r\n", "-ERR unknown command 'NONSENSE', with args beginning with: \r\n");
	expect("AUTH wrong\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
	expect("AUTH secre\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
	expect("AUTH secretsecret\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
	expect("AUTH other secret\r\n", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
	expect("*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n");
	mem_close(&session);
	mem_open(&session, 0);
	expect("*2\r\n$3\r\nGET\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n");
	mem_close(&session);
	mem_open(&session, 0);
	/* What follows AUTH in one pipeline is already read with the larger limits. */
	expect("AUTH secret\r\nGET k\r\n", "+OK\r\n$-1\r\n");
	expect("RESET\r\nGET k\r\n", "+RESET\r\n-NOAUTH Authentication required.\r\n");
	mem_forget_answer(&session);
	send_text("HELLO 3 AUTH default secret SETNAME me\r\n");
	assert_memory_equal(session.answer, "%7\r\n", 4);
	expect("CLIENT GETNAME\r\n", "$2\r\nme\r\n");
	expect("QUIT\r\nPING\r\n", "+OK\r\n");
	assert_true(session.closed);
}

static void test_client_reply(void **state)
{
	expect("CLIENT REPLY SKIP\r\nPING\r\nPING a\r\n", "$1\r\na\r\n");
	expect("CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nPING a\r\n", "$1\r\na\r\n");
	expect("CLIENT REPLY OFF\r\nPING\r\nSET k v\r\nCLIENT REPLY ON\r\nGET k\r\n", "+OK\r\n$1\r\nv\r\n");
	expect("CLIENT REPLY OFF\r\nDEBUG SLEEP 1\r\nCLIENT REPLY ON\r\n", "+OK\r\n");
	expect("CLIENT REPLY NEVER\r\n", "-ERR syntax error\r\n");
}

/* The sleeper waits, its pipeline waits behind it, nothing else does. */
static void test_sleep_pauses_only_its_session(void **state)
{
	struct mem_session other;

	mem_open(&other, 0);
	send_text("PING\r\nDEBUG SLEEP 1.5\r\nPING after\r\n");
	assert_string_equal(session.answer, "+PONG\r\n");
	assert_true(session.session.paused);
	assert_int_equal(mem_world.timers->delay_ns, 1500000000);
	mem_receive(&other, "PING\r\n", 6);
	assert_string_equal(other.answer, "+PONG\r\n");
	mem_forget_answer(&session);
	mem_settle(&session);
	assert_string_equal(session.answer, "+OK\r\n$5\r\nafter\r\n");
	send_text("DEBUG SLEEP 1\r\n"); /* and goes away while it sleeps: teardown fires the timer */
	mem_close(&other);
}

static void test_memory_that_runs_out(void **state)
{
	char request[6000];
	int length = sprintf(request, "*101\r\n$3\r\nDEL\r\n");

	for (int i = 0; i < 100; i++)
		length += sprintf(request + length, "$1\r\nk\r\n");
	mem_world.allocations_left = 0;
	expect("DEBUG SLEEP 1\r\n", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
	expect("MSET a 1\r\n", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
	expect("PING\r\n", "+PONG\r\n");
	expect(request, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
	assert_true(session.closed);
	mem_world.allocations_left = -1;
}

/* ---- three nodes ----------------------------------------------------------------------------------------------- */

/* A key of that node: its partition modulo the number of nodes, see the fixture. */
static const char *key_of_node(__u16 node, int number)
{
	static char key[8][16];
	static int turn;
	char *at = key[turn++ % 8];

	for (int i = 0;; i++) {
		snprintf(at, sizeof(key[0]), "k%d.%d", number, i);
		if (vg_partition_of(at, strlen(at)) % mem_world.nodes == node)
			return at;
	}
}

static void test_cluster_forwards_in_order(void **state)
{
	const char *here = key_of_node(0, 1), *there = key_of_node(1, 1), *other = key_of_node(2, 1);
	char request[256];

	snprintf(request, sizeof(request), "SET %s 1\r\nSET %s 2\r\nSET %s 3\r\nGET %s\r\nINCR %s\r\nGET %s\r\nPING\r\n", there, here,
		 other, there, there, here);
	send_text(request);
	assert_null(session.answer); /* the first waits, so all do */
	assert_int_equal(mem_world.asked, 4);
	mem_settle(&session);
	assert_string_equal(session.answer, "+OK\r\n+OK\r\n+OK\r\n$1\r\n1\r\n:2\r\n$1\r\n2\r\n+PONG\r\n");
	assert_int_equal(mem_world.node[0].stats.forwarded, 4);
	expect("DBSIZE\r\n", ":3\r\n");
	snprintf(request, sizeof(request), "OBJECT ENCODING %s\r\n", there);
	expect(request, "$3\r\nint\r\n");
}

/* A pipeline much longer than the window. */
static void test_cluster_long_pipeline(void **state)
{
	char *request = malloc(64 * 2000), *want = malloc(64 * 2000);
	size_t length = 0, wanted = 0;

	for (int i = 0; i < 1000; i++) {
		length += (size_t)sprintf(request + length, "INCRBY key%d %d\r\n", i % 50, i);
		if (i % 10 == 0)
			length += (size_t)sprintf(request + length, "PING %d\r\n", i);
	}
	for (int i = 0, sum[50] = { 0 }; i < 1000; i++) {
		char text[16];
		int digits = snprintf(text, sizeof(text), "%d", i);

		wanted += (size_t)sprintf(want + wanted, ":%d\r\n", sum[i % 50] += i);
		if (i % 10 == 0)
			wanted += (size_t)sprintf(want + wanted, "$%d\r\n%s\r\n", digits, text);
	}
	send_text(request);
	mem_settle(&session);
	assert_string_equal(session.answer, want);
	free(request);
	free(want);
}

static void test_cluster_splits_and_merges(void **state)
{
	const char *a = key_of_node(0, 1), *b = key_of_node(1, 1), *c = key_of_node(2, 1), *d = key_of_node(1, 2);
	char request[256];

	snprintf(request, sizeof(request), "MSET %s A %s B %s C %s D\r\n", a, b, c, d);
	expect(request, "+OK\r\n");
	snprintf(request, sizeof(request), "MGET %s %s nope %s %s %s\r\n", d, a, c, b, a);
	expect(request, "*6\r\n$1\r\nD\r\n$1\r\nA\r\n$-1\r\n$1\r\nC\r\n$1\r\nB\r\n$1\r\nA\r\n");
	mem_receive(&session, "HELLO 3\r\n", 9);
	expect(request, "*6\r\n$1\r\nD\r\n$1\r\nA\r\n_\r\n$1\r\nC\r\n$1\r\nB\r\n$1\r\nA\r\n");
	mem_receive(&session, "HELLO 2\r\n", 9);
	snprintf(request, sizeof(request), "EXISTS %s %s %s %s nope\r\n", a, b, c, d);
	expect(request, ":4\r\n");
	snprintf(request, sizeof(request), "MSETNX %s 1 %s 2\r\n", a, b);
	expect(request, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
	snprintf(request, sizeof(request), "RENAME %s %s\r\n", a, b);
	expect(request, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
	snprintf(request, sizeof(request), "RENAME %s %s\r\n", b, d);
	expect(request, "+OK\r\n");
	snprintf(request, sizeof(request), "MSET %s A %s\r\n", a, b);
	expect(request, "-ERR wrong number of arguments for 'mset' command\r\n");
	snprintf(request, sizeof(request), "DEL %s %s %s %s\r\n", a, b, c, d);
	expect(request, ":3\r\n");
}

static void test_cluster_whole(void **state)
{
	char request[64], cursor[32] = "0";
	int seen = 0, rounds = 0;

	for (int i = 0; i < 300; i++) {
		snprintf(request, sizeof(request), "SET key%d v\r\n", i);
		send_text(request);
	}
	mem_settle(&session);
	expect("DBSIZE\r\n", ":300\r\n");
	mem_forget_answer(&session);
	send_text("KEYS key12?\r\nPING\r\n");
	mem_settle(&session);
	assert_memory_equal(session.answer, "*10\r\n", 5);
	do {
		mem_forget_answer(&session);
		snprintf(request, sizeof(request), "SCAN %s COUNT 20\r\n", cursor);
		send_text(request);
		mem_settle(&session);
		assert_int_equal(sscanf(session.answer, "*2\r\n$%*d\r\n%31[0-9]", cursor), 1);
		assert_true(strlen(cursor) <= 19);
		for (const char *at = session.answer; (at = strstr(at, "\r\nkey")) != NULL; at++)
			seen++;
		assert_true(++rounds < 1000);
	} while (strcmp(cursor, "0") != 0);
	assert_int_equal(seen, 300);
	for (int i = 0; i < 20; i++) {
		mem_forget_answer(&session);
		send_text("RANDOMKEY\r\n");
		mem_settle(&session);
		assert_memory_equal(session.answer, "$", 1);
		assert_non_null(strstr(session.answer, "key"));
	}
	expect("FLUSHALL\r\nDBSIZE\r\n", "+OK\r\n:0\r\n");
	snprintf(request, sizeof(request), "SET %s v\r\n", key_of_node(2, 9));
	expect(request, "+OK\r\n");
	for (int i = 0; i < 10; i++) { /* the only key is found, wherever the draw falls */
		mem_forget_answer(&session);
		send_text("RANDOMKEY\r\n");
		mem_settle(&session);
		assert_non_null(strstr(session.answer, "k9."));
	}
}

static void test_cluster_node_does_not_answer(void **state)
{
	const char *a = key_of_node(0, 1), *b = key_of_node(1, 1);
	char request[256];

	mem_world.dead[1] = true;
	snprintf(request, sizeof(request), "GET %s\r\nGET %s\r\n", b, a);
	expect(request, "-CLUSTERDOWN node 1 does not answer\r\n$-1\r\n");
	snprintf(request, sizeof(request), "MGET %s %s\r\n", a, b);
	expect(request, "-CLUSTERDOWN node 1 does not answer\r\n");
	expect("DBSIZE\r\n", "-CLUSTERDOWN node 1 does not answer\r\n");
	assert_int_equal(mem_world.node[0].stats.refused[VG_REFUSAL_UNREACHABLE], 3);
}

static void test_cluster_client_leaves_before_the_answer(void **state)
{
	const char *a = key_of_node(0, 1), *b = key_of_node(1, 1), *c = key_of_node(2, 1);
	char request[256];

	snprintf(request, sizeof(request), "GET %s\r\nGET %s\r\nMGET %s %s %s\r\nKEYS *\r\n", b, a, a, b, c);
	send_text(request);
	mem_close(&session);
	while (mem_deliver())
		;
	assert_int_equal(mem_world.node[0].stats.in_flight, 0);
	mem_open(&session, 0);
	expect("PING\r\n", "+PONG\r\n");
}

/* A forwarded command is answered here or not at all. */
static void test_cluster_never_forwards_twice(void **state)
{
	char request[128];
	struct vg_out out;
	const char *key = key_of_node(2, 1);
	int length = snprintf(request, sizeof(request), "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);

	vg_out_init(&out, &mem_world.node[1].chunks);
	assert_int_equal(vg_mem_resp_execute(&mem_world.node[1].env, (__u8 *)request, (size_t)length, 2, true, &out, NULL,
					     NULL), -EREMOTE);
	assert_int_equal(out.bytes, 0);
	assert_int_equal(mem_world.asked, 0);
	assert_int_equal(vg_mem_resp_execute(&mem_world.node[1].env, (__u8 *)request, (size_t)length - 1, 2, true, &out,
					     NULL, NULL), -EINVAL);
	vg_out_deinit(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_delivery_in_pieces, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_many_arguments_and_large_values, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_protocol_errors_close, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_authentication, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_client_reply, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_sleep_pauses_only_its_session, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_memory_that_runs_out, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_forwards_in_order, setup_three, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_long_pipeline, setup_three, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_splits_and_merges, setup_three, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_whole, setup_three, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_node_does_not_answer, setup_three, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_client_leaves_before_the_answer, setup_three, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_never_forwards_twice, setup_three, teardown),
	};

	return cmocka_run_group_tests_name("mem_commands_session", tests, NULL, NULL);
}
