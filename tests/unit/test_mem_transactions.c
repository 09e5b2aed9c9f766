// SPDX-License-Identifier: GPL-3.0-or-later
/* Transactions, watched keys, messages, notifications and invalidations: several sessions of one node, and of three. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mem_fixture.h"
#include "svc/mem/interest.h"

static struct mem_session one, two;

static int setup_nodes(__u16 nodes)
{
	mem_world_start(nodes);
	mem_open(&one, 0);
	mem_open(&two, 0);
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
	mem_close(&one);
	mem_close(&two);
	mem_world_stop();
	return 0;
}

static void expect(struct mem_session *session, const char *request, const char *reply)
{
	mem_forget_answer(session);
	mem_receive(session, request, strlen(request));
	mem_settle(session);
	if (strcmp(session->answer ? session->answer : "", reply) != 0)
		print_message("# request: %s\n", request);
	assert_string_equal(session->answer ? session->answer : "", reply);
}

/* What came to the session unasked. */
static void expect_pushed(struct mem_session *session, const char *pushed)
{
	vg_service_mem.turn(session->session.env);
	assert_string_equal(session->answer ? session->answer : "", pushed);
	mem_forget_answer(session);
}

static void test_commands_wait_for_exec(void **state)
{
	expect(&one, "MULTI\r\nSET a 1\r\nINCR a\r\nGET a\r\n", "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
	expect(&two, "GET a\r\n", "$-1\r\n");
	expect(&one, "EXEC\r\n", "*3\r\n+OK\r\n:2\r\n$1\r\n2\r\n");
	expect(&two, "GET a\r\n", "$1\r\n2\r\n");
	expect(&one, "EXEC\r\nDISCARD\r\n", "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
	expect(&one, "MULTI\r\nNOSUCH\r\nSET a 9\r\nEXEC\r\n",
	       "+OK\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n+QUEUED\r\n"
	       "-EXECABORT Transaction discarded because of previous errors.\r\n");
	expect(&two, "GET a\r\n", "$1\r\n2\r\n");
	expect(&one, "MULTI\r\nEXEC\r\n", "+OK\r\n*0\r\n");
}

/* Everything a command may do to a key, seen by those behind it in the same transaction. */
static void test_a_transaction_sees_itself(void **state)
{
	expect(&one,
	       "SET x old\r\nMULTI\r\nMSET a 1 b 2 a 3\r\nRENAME a c\r\nMGET a b c\r\nAPPEND c tail\r\nGETSET c new\r\n"
	       "GETDEL c\r\nEXISTS c\r\nEXPIRE b 100\r\nTTL b\r\nCOPY b d\r\nDBSIZE\r\nGET x\r\nDEL x\r\nEXEC\r\n",
	       "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
	       "+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*13\r\n+OK\r\n+OK\r\n*3\r\n$-1\r\n$1\r\n2\r\n"
	       "$1\r\n3\r\n:5\r\n$5\r\n3tail\r\n$3\r\nnew\r\n:0\r\n:1\r\n:100\r\n:1\r\n:3\r\n$3\r\nold\r\n:1\r\n");
	expect(&two, "MGET a b c d x\r\n", "*5\r\n$-1\r\n$1\r\n2\r\n$-1\r\n$1\r\n2\r\n$-1\r\n");
}

static void test_watched_keys(void **state)
{
	expect(&one, "WATCH k\r\nMULTI\r\nSET k mine\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n");
	expect(&two, "SET k theirs\r\n", "+OK\r\n");
	expect(&one, "EXEC\r\nGET k\r\n", "*-1\r\n$6\r\ntheirs\r\n");
	/* Changed and back again is changed; so is one that came and went. */
	expect(&one, "WATCH gone\r\n", "+OK\r\n");
	expect(&two, "SET gone 1\r\nDEL gone\r\n", "+OK\r\n:1\r\n");
	expect(&one, "MULTI\r\nEXEC\r\n", "+OK\r\n*-1\r\n");
	/* Another key is not, nor a key that did not exist when all were removed. */
	expect(&one, "WATCH quiet\r\n", "+OK\r\n");
	expect(&two, "SET other 1\r\nFLUSHALL\r\n", "+OK\r\n+OK\r\n");
	expect(&one, "MULTI\r\nPING\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
	expect(&one, "WATCH k\r\nUNWATCH\r\n", "+OK\r\n+OK\r\n");
	expect(&two, "SET k 1\r\n", "+OK\r\n");
	expect(&one, "MULTI\r\nGET k\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n$1\r\n1\r\n");
}

/* A change that does not come over RESP breaks a watch as well. */
static void test_any_change_breaks_a_watch(void **state)
{
	struct vg_env *env = &mem_world.node[0].env;
	struct vg_key key = { "k", 1, vg_hash64("k", 1) };

	expect(&one, "SET k 1\r\nWATCH k\r\n", "+OK\r\n+OK\r\n");
	assert_int_equal(vg_store_set(env->store, &key, MEM_NOW_MS, "2", 1, 0), 0);
	expect(&one, "MULTI\r\nEXEC\r\n", "+OK\r\n*-1\r\n");
	expect(&one, "SET k 1 PX 50\r\nWATCH k\r\n", "+OK\r\n+OK\r\n");
	mem_world.clock.unix_ns += 60000000;
	expect(&one, "MULTI\r\nEXEC\r\n", "+OK\r\n*-1\r\n");
}

/* Without memory nothing of a transaction happens: every allocation that EXEC makes fails once. */
static void test_no_memory_does_nothing(void **state)
{
	bool done = false;

	expect(&one, "SET a old\r\n", "+OK\r\n");
	for (int left = 0; !done; left++) {
		assert_in_range(left, 0, 100);
		expect(&one, "MULTI\r\nSET a new\r\nSET b new\r\n", "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
		mem_world.allocations_left = left;
		mem_forget_answer(&one);
		mem_receive(&one, "EXEC\r\n", 6);
		mem_settle(&one);
		mem_world.allocations_left = -1;
		done = one.answer[0] == '*';
		if (!done) {
			assert_memory_equal(one.answer, "-OOM ", 5);
			expect(&two, "MGET a b\r\n", "*2\r\n$3\r\nold\r\n$-1\r\n");
		}
	}
	expect(&two, "MGET a b\r\n", "*2\r\n$3\r\nnew\r\n$3\r\nnew\r\n");
}

static void test_messages(void **state)
{
	expect(&one, "SUBSCRIBE news\r\nPSUBSCRIBE n*\r\nGET x\r\n",
	       "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n"
	       "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in "
	       "this context\r\n");
	mem_forget_answer(&one);
	expect(&two, "PUBLISH news hi\r\nPUBLISH other hi\r\nPUBSUB NUMSUB news\r\nPUBSUB NUMPAT\r\n",
	       ":2\r\n:0\r\n*2\r\n$4\r\nnews\r\n:1\r\n:1\r\n");
	expect_pushed(&one, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\n"
			    "news\r\n$2\r\nhi\r\n");
	expect(&one, "UNSUBSCRIBE\r\nPUNSUBSCRIBE\r\nGET x\r\n",
	       "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:0\r\n$-1\r\n");
}

/* Who does not read is closed, and counted; nobody else is harmed. */
static void test_a_slow_subscriber_is_closed(void **state)
{
	static char request[40000];
	int length = sprintf(request, "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$30000\r\n");
	struct vg_stats *stats = &mem_world.node[0].stats;

	memset(request + length, 'x', 30000);
	memcpy(request + length + 30000, "\r\n", 2);
	expect(&one, "SUBSCRIBE c\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
	mem_listed[0] = &one;
	mem_deaf = &one;
	for (int i = 0; i < 100; i++) {
		mem_forget_answer(&two);
		mem_receive(&two, request, (size_t)length + 30002);
		assert_string_equal(two.answer, ":1\r\n");
	}
	assert_int_equal(stats->refused[VG_REFUSAL_SLOW_SUBSCRIBER], 1);
	assert_true(one.session.finish);
	assert_in_range(one.out.bytes, 1, 2 * VG_OUT_HIGH);
	mem_listed[0] = NULL;
	mem_deaf = NULL;
}

static void test_notifications(void **state)
{
	struct vg_env *env = &mem_world.node[0].env;
	struct vg_key key = { "k", 1, vg_hash64("k", 1) };

	expect(&two, "CONFIG SET notify-keyspace-events Eg$x\r\n", "+OK\r\n");
	expect(&one, "PSUBSCRIBE __keyevent*\r\n", "*3\r\n$10\r\npsubscribe\r\n$11\r\n__keyevent*\r\n:1\r\n");
	mem_forget_answer(&one);
	expect(&two, "INCR k\r\n", ":1\r\n");
	expect_pushed(&one, "*4\r\n$8\r\npmessage\r\n$11\r\n__keyevent*\r\n$21\r\n__keyevent@0__:incrby\r\n$1\r\nk\r\n");
	assert_int_equal(vg_store_delete(env->store, &key, MEM_NOW_MS), 0); /* not over RESP */
	expect_pushed(&one, "*4\r\n$8\r\npmessage\r\n$11\r\n__keyevent*\r\n$18\r\n__keyevent@0__:del\r\n$1\r\nk\r\n");
	expect(&two, "CONFIG SET notify-keyspace-events ''\r\nINCR k\r\n", "+OK\r\n:1\r\n");
	expect_pushed(&one, "");
}

static void test_invalidations(void **state)
{
	struct vg_env *env = &mem_world.node[0].env;
	struct vg_key key = { "k", 1, vg_hash64("k", 1) };

	mem_receive(&one, "HELLO 3\r\n", 9);
	expect(&one, "CLIENT TRACKING ON\r\nGET k\r\nGET l\r\n", "+OK\r\n_\r\n_\r\n");
	mem_forget_answer(&one);
	expect(&two, "SET k 1\r\n", "+OK\r\n");
	expect_pushed(&one, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
	expect(&two, "SET k 2\r\n", "+OK\r\n"); /* it was told once, and has not read it again */
	expect_pushed(&one, "");
	expect(&one, "GET k\r\n", "$1\r\n2\r\n");
	mem_forget_answer(&one);
	assert_int_equal(vg_store_set(env->store, &key, MEM_NOW_MS, "3", 1, 0), 0);
	expect_pushed(&one, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
	expect(&one, "GET k\r\n", "$1\r\n3\r\n");
	mem_forget_answer(&one);
	expect(&two, "FLUSHALL\r\n", "+OK\r\n");
	expect_pushed(&one, ">2\r\n$10\r\ninvalidate\r\n_\r\n");
	/* A table of one key: who holds the key that makes room is told so. */
	expect(&two, "CONFIG SET tracking-table-max-keys 1\r\n", "+OK\r\n");
	expect(&one, "GET k\r\n", "_\r\n");
	expect(&two, "CONFIG SET tracking-table-max-keys 1000000\r\n", "+OK\r\n");
	expect(&one, "CLIENT TRACKING OFF\r\n", "+OK\r\n");
}

static void test_dump_and_restore(void **state)
{
	char request[256];
	size_t length, head;

	expect(&one, "SET k hello\r\n", "+OK\r\n");
	mem_forget_answer(&one);
	mem_receive(&one, "DUMP k\r\n", 8);
	head = strcspn(one.answer, "\n") + 1;
	length = one.answer_length - head - 2;
	for (size_t broken = 0; broken <= length; broken++) { /* every byte of it is guarded; the last round: none */
		int at = sprintf(request, "*5\r\n$7\r\nRESTORE\r\n$1\r\nc\r\n$1\r\n0\r\n$%zu\r\n", length);

		memcpy(request + at, one.answer + head, length);
		if (broken < length)
			request[(size_t)at + broken] ^= 0x10;
		at += (int)length;
		at += sprintf(request + at, "\r\n$7\r\nREPLACE\r\n");
		mem_forget_answer(&two);
		mem_receive(&two, request, (size_t)at);
		assert_string_equal(two.answer, broken < length ?
							"-ERR DUMP payload version or checksum are wrong\r\n" : "+OK\r\n");
	}
	expect(&two, "GET c\r\n", "$5\r\nhello\r\n");
}

/* Keys of another node: the whole transaction goes there; of two nodes, or watched ones: it is refused. */
static void test_other_nodes(void **state)
{
	char key[3][16] = { "", "", "" }, request[256], reply[256];

	for (int i = 0; !key[0][0] || !key[1][0] || !key[2][0]; i++) {
		char name[16];

		snprintf(name, sizeof(name), "k%d", i);
		memcpy(key[vg_partition_of(name, (__u32)strlen(name)) % 3], name, sizeof(name));
	}
	snprintf(request, sizeof(request), "MULTI\r\nSET %s 1\r\nINCR %s\r\nEXEC\r\n", key[1], key[1]);
	expect(&one, request, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n");
	snprintf(request, sizeof(request), "MULTI\r\nSET %s 1\r\nSET %s 1\r\nEXEC\r\n", key[1], key[2]);
	expect(&one, request,
	       "+OK\r\n+QUEUED\r\n-CROSSSLOT Keys in request don't hash to the same slot\r\n"
	       "-EXECABORT Transaction discarded because of previous errors.\r\n");
	snprintf(request, sizeof(request), "WATCH %s\r\n", key[2]);
	snprintf(reply, sizeof(reply), "-MOVED %u 127.0.0.1:30000\r\n",
		 vg_partition_of(key[2], (__u32)strlen(key[2])));
	expect(&one, request, reply);
	expect(&one, "PUBLISH c x\r\n", ":0\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_commands_wait_for_exec, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_a_transaction_sees_itself, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_watched_keys, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_any_change_breaks_a_watch, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory_does_nothing, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_messages, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_a_slow_subscriber_is_closed, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_notifications, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_invalidations, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_dump_and_restore, setup_one, teardown),
		cmocka_unit_test_setup_teardown(test_other_nodes, setup_three, teardown),
	};

	return cmocka_run_group_tests_name("mem_transactions", tests, NULL, NULL);
}
