// SPDX-License-Identifier: GPL-3.0-or-later
/* SAVE and what belongs to it, in the words that Redis clients know. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mem_fixture.h"

static struct mem_session session;

static int setup(void **state)
{
	mem_world_start(1);
	mem_open(&session, 0);
	memset(&fake_persist, 0, sizeof(fake_persist));
	fake_persist.known.available = true;
	fake_persist.known.directory = "/var/lib/virgo";
	fake_persist.known.last_save_s = 1700000000;
	return 0;
}

static int teardown(void **state)
{
	mem_close(&session);
	mem_world_stop();
	return 0;
}

static void expect(const char *request, const char *reply)
{
	mem_forget_answer(&session);
	mem_receive(&session, request, strlen(request));
	mem_settle(&session);
	if (strcmp(session.answer ? session.answer : "", reply) != 0)
		print_message("# request: %s\n", request);
	assert_string_equal(session.answer ? session.answer : "", reply);
}

static void test_bgsave_in_redis_words(void **state)
{
	expect("LASTSAVE\r\n", ":1700000000\r\n");
	expect("BGSAVE now\r\n", "-ERR syntax error\r\n");
	expect("BGSAVE\r\n", "+Background saving started\r\n");
	assert_int_equal(fake_persist.how, VG_SAVE_BACKGROUND);
	expect("BGSAVE\r\n", "-ERR Background save already in progress\r\n");
	expect("BGSAVE SCHEDULE\r\n", "+Background saving scheduled\r\n");
	assert_true(fake_persist.known.scheduled);
	expect("BGREWRITEAOF\r\n", "+Background append only file rewriting scheduled\r\n");
	fake_persist.known.running = false;
	expect("BGREWRITEAOF\r\n", "+Background append only file rewriting started\r\n");
	fake_persist.known.running = false;
	fake_persist.error = -ENOSPC;
	expect("BGSAVE\r\n", "-ERR the snapshot could not be begun: No space left on device\r\n");
}

static void test_save_waits(void **state)
{
	expect("SAVE\r\nPING\r\n", ""); /* answers stay in order */
	assert_int_equal(fake_persist.how, VG_SAVE_NOW);
	fake_persist.done(fake_persist.context, 0, "");
	mem_settle(&session);
	assert_string_equal(session.answer, "+OK\r\n+PONG\r\n");
	fake_persist.known.running = false;
	expect("SAVE\r\n", "");
	fake_persist.done(fake_persist.context, -EIO, "writing: Input/output error");
	mem_settle(&session);
	assert_string_equal(session.answer, "-ERR the snapshot failed: writing: Input/output error\r\n");
	expect("SAVE\r\n", "-ERR Background save already in progress\r\n");
	fake_persist.known.available = false;
	expect("SAVE\r\n", "-ERR nothing is kept on disk: virgod was started without --data-dir\r\n");
	expect("MULTI\r\n", "+OK\r\n");
	expect("SAVE\r\n", "-ERR Command not allowed inside a transaction\r\n");
	expect("EXEC\r\n", "-EXECABORT Transaction discarded because of previous errors.\r\n");
}

static void test_who_asks_is_gone_before_the_answer(void **state)
{
	expect("SAVE\r\n", "");
	mem_close(&session);
	fake_persist.done(fake_persist.context, 0, "");
	mem_open(&session, 0);
	expect("PING\r\n", "+PONG\r\n");
}

static void test_rules_and_places(void **state)
{
	expect("CONFIG GET dir\r\n", "*2\r\n$3\r\ndir\r\n$14\r\n/var/lib/virgo\r\n");
	expect("CONFIG GET dbfilename\r\n", "*2\r\n$10\r\ndbfilename\r\n$12\r\nsnapshot.vgs\r\n");
	expect("CONFIG SET save '900 1 60 10000'\r\n", "+OK\r\n");
	expect("CONFIG GET save\r\n", "*2\r\n$4\r\nsave\r\n$14\r\n900 1 60 10000\r\n");
	expect("CONFIG SET save '60 x'\r\n",
	       "-ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters\r\n");
	expect("CONFIG SET save '60'\r\n",
	       "-ERR CONFIG SET failed (possibly related to argument 'save') - Invalid save parameters\r\n");
	expect("CONFIG SET save ''\r\n", "+OK\r\n");
	expect("CONFIG GET save\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
}

static void test_shutdown(void **state)
{
	expect("SHUTDOWN nosave save\r\n", "-ERR syntax error\r\n");
	expect("SHUTDOWN abort\r\n", "-ERR No shutdown in progress.\r\n");
	assert_int_equal(fake_persist.shutdowns, 0);
	expect("SHUTDOWN NOSAVE\r\n", "");
	assert_int_equal(fake_persist.shutdowns, 1);
	assert_int_equal(fake_persist.shutdown, VG_SHUTDOWN_NOSAVE);
}

static void test_rules_are_read(void **state)
{
	struct vg_save_rule rules[VG_SAVE_RULES_MAX];
	char many[512] = "";

	assert_int_equal(vg_save_rules_parse("", rules), 0);
	assert_int_equal(vg_save_rules_parse(" 3600 1  300 100 ", rules), 2);
	assert_int_equal(rules[1].seconds, 300);
	assert_int_equal(rules[1].changes, 100);
	assert_int_equal(vg_save_rules_parse("3600", rules), -EINVAL);
	assert_int_equal(vg_save_rules_parse("0 1", rules), -EINVAL);
	assert_int_equal(vg_save_rules_parse("-1 1", rules), -EINVAL);
	assert_int_equal(vg_save_rules_parse("1 99999999999999999999", rules), -EINVAL);
	assert_int_equal(vg_save_rules_parse("1,1", rules), -EINVAL);
	for (int i = 0; i <= VG_SAVE_RULES_MAX; i++)
		strcat(many, "1 1 ");
	assert_int_equal(vg_save_rules_parse(many, rules), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bgsave_in_redis_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_save_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_asks_is_gone_before_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rules_and_places, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shutdown, setup, teardown),
		cmocka_unit_test(test_rules_are_read),
	};

	return cmocka_run_group_tests_name("mem_save", tests, NULL, NULL);
}
