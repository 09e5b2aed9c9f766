// SPDX-License-Identifier: GPL-3.0-or-later
/* Every command: what is sent and the exact bytes that come back, in RESP2 and where it differs in RESP3. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mem_fixture.h"

struct exchange {
	const char *request; /* an inline command without its line end */
	const char *reply;   /* RESP2 */
	const char *reply3;  /* RESP3, if it differs */
};

static int setup(void **state)
{
	static struct mem_session session;

	mem_world_start(1);
	mem_open(&session, 0);
	*state = &session;
	return 0;
}

static int teardown(void **state)
{
	mem_close(*state);
	mem_world_stop();
	return 0;
}

static void expect(struct mem_session *session, const char *request, const char *reply)
{
	mem_forget_answer(session);
	mem_receive(session, request, strlen(request));
	mem_receive(session, "\r\n", 2);
	mem_settle(session);
	if (!session->answer || strcmp(session->answer, reply) != 0)
		print_message("# request: %s\n", request);
	assert_string_equal(session->answer ? session->answer : "", reply);
}

/* The same exchanges in both versions, each on an empty store. */
static void run(void **state, const struct exchange *exchange)
{
	struct mem_session *session = *state;

	for (const struct exchange *at = exchange; at->request; at++)
		expect(session, at->request, at->reply);
	expect(session, "FLUSHALL", "+OK\r\n");
	mem_receive(session, "HELLO 3\r\n", 9);
	for (const struct exchange *at = exchange; at->request; at++)
		expect(session, at->request, at->reply3 ? at->reply3 : at->reply);
	mem_receive(session, "HELLO 2\r\n", 9);
}

#define NIL "$-1\r\n", "_\r\n"
#define NOT_INTEGER "-ERR value is not an integer or out of range\r\n"
#define SYNTAX "-ERR syntax error\r\n"

static void test_strings(void **state)
{
	static const struct exchange exchanges[] = {
		{ "GET k", NIL },
		{ "SET k v", "+OK\r\n" },
		{ "get k", "$1\r\nv\r\n" },
		{ "GET", "-ERR wrong number of arguments for 'get' command\r\n" },
		{ "SET k v NX", NIL },
		{ "SET k w XX", "+OK\r\n" },
		{ "SET k w NX XX", SYNTAX },
		{ "SET none w XX", NIL },
		{ "SET k x GET", "$1\r\nw\r\n" },
		{ "SET k y NX GET", "$1\r\nx\r\n" },
		{ "SET fresh y GET", NIL },
		{ "SET k v EX 0", "-ERR invalid expire time in 'set' command\r\n" },
		{ "SET k v EX abc", NOT_INTEGER },
		{ "SET k v PX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n" },
		{ "SET k v EX 10 KEEPTTL", SYNTAX },
		{ "SET k v EX 100", "+OK\r\n" },
		{ "SET k v2 KEEPTTL", "+OK\r\n" },
		{ "TTL k", ":100\r\n" },
		{ "SET k v EXAT 1", "+OK\r\n" },
		{ "GET k", NIL },
		{ "GETSET k a", NIL },
		{ "GETSET k b", "$1\r\na\r\n" },
		{ "GETDEL k", "$1\r\nb\r\n" },
		{ "GETDEL k", NIL },
		{ "SETNX k 1", ":1\r\n" },
		{ "SETNX k 2", ":0\r\n" },
		{ "SETEX k 0 v", "-ERR invalid expire time in 'setex' command\r\n" },
		{ "SETEX k 10 v", "+OK\r\n" },
		{ "PSETEX k 10000 v", "+OK\r\n" },
		{ "GETEX k PERSIST", "$1\r\nv\r\n" },
		{ "TTL k", ":-1\r\n" },
		{ "GETEX k EX 5 PX 5", SYNTAX },
		{ "GETEX none EX 0", NIL },
		{ "GETEX k EX 0", "-ERR invalid expire time in 'getex' command\r\n" },
		{ "GETEX k EXAT 1", "$1\r\nv\r\n" },
		{ "EXISTS k", ":0\r\n" },
		{ "MSET a 1 b 2", "+OK\r\n" },
		{ "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n" },
		{ "MGET a nope b", "*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n", "*3\r\n$1\r\n1\r\n_\r\n$1\r\n2\r\n" },
		{ "MSETNX c 1 a 2", ":0\r\n" },
		{ "EXISTS c", ":0\r\n" },
		{ "MSETNX c 1 d 2", ":1\r\n" },
		{ NULL },
	};

	run(state, exchanges);
}

static void test_numbers(void **state)
{
	static const struct exchange exchanges[] = {
		{ "INCR n", ":1\r\n" },
		{ "DECRBY n 5", ":-4\r\n" },
		{ "INCRBY n 9223372036854775807", ":9223372036854775803\r\n" },
		{ "INCRBY n 9223372036854775807", "-ERR increment or decrement would overflow\r\n" },
		{ "DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n" },
		{ "INCRBY n 1x", NOT_INTEGER },
		{ "SET n 010", "+OK\r\n" },
		{ "INCR n", NOT_INTEGER },
		{ "DECR none", ":-1\r\n" },
		{ "SET f 10.50", "+OK\r\n" },
		{ "INCRBYFLOAT f 0.1", "$4\r\n10.6\r\n" },
		{ "INCRBYFLOAT f -5", "$3\r\n5.6\r\n" },
		{ "SET f 5.0e3", "+OK\r\n" },
		{ "INCRBYFLOAT f 2.0e2", "$4\r\n5200\r\n" },
		{ "INCRBYFLOAT f abc", "-ERR value is not a valid float\r\n" },
		{ "INCRBYFLOAT f +inf", "-ERR increment would produce NaN or Infinity\r\n" },
		{ "SETEX t 100 5", "+OK\r\n" },
		{ "INCR t", ":6\r\n" },
		{ "TTL t", ":100\r\n" },
		{ NULL },
	};

	run(state, exchanges);
}

static void test_parts(void **state)
{
	static const struct exchange exchanges[] = {
		{ "APPEND s Hello", ":5\r\n" },
		{ "APPEND s \" World\"", ":11\r\n" },
		{ "STRLEN s", ":11\r\n" },
		{ "GETRANGE s 0 4", "$5\r\nHello\r\n" },
		{ "GETRANGE s -5 -1", "$5\r\nWorld\r\n" },
		{ "GETRANGE s 5 2", "$0\r\n\r\n" },
		{ "SUBSTR s 0 -1", "$11\r\nHello World\r\n" },
		{ "GETRANGE none 0 -1", "$0\r\n\r\n" },
		{ "SETRANGE s 6 Redis", ":11\r\n" },
		{ "SETRANGE s -1 x", "-ERR offset is out of range\r\n" },
		{ "SETRANGE s 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n" },
		{ "SETRANGE p 3 x", ":4\r\n" },
		{ "STRLEN p", ":4\r\n" },
		{ "SETRANGE none 3 \"\"", ":0\r\n" },
		{ "EXISTS none", ":0\r\n" },
		{ NULL },
	};

	run(state, exchanges);
}

static void test_deadlines(void **state)
{
	static const struct exchange exchanges[] = {
		{ "TTL k", ":-2\r\n" },
		{ "SET k v", "+OK\r\n" },
		{ "TTL k", ":-1\r\n" },
		{ "EXPIRE k 100", ":1\r\n" },
		{ "PTTL k", ":100000\r\n" },
		{ "EXPIRETIME k", ":1700000100\r\n" },
		{ "PEXPIRETIME k", ":1700000100000\r\n" },
		{ "EXPIRE k 50 GT", ":0\r\n" },
		{ "EXPIRE k 200 GT", ":1\r\n" },
		{ "EXPIRE k 100 LT", ":1\r\n" },
		{ "EXPIRE k 100 NX", ":0\r\n" },
		{ "PERSIST k", ":1\r\n" },
		{ "PERSIST k", ":0\r\n" },
		{ "EXPIRE k 100 XX", ":0\r\n" },
		{ "EXPIRE k 100 GT", ":0\r\n" },
		{ "EXPIRE k 100 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n" },
		{ "EXPIRE k 100 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n" },
		{ "EXPIRE k 100 AA", "-ERR Unsupported option AA\r\n" },
		{ "EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n" },
		{ "EXPIRE k x", NOT_INTEGER },
		{ "PEXPIREAT k 1700000001499", ":1\r\n" },
		{ "TTL k", ":1\r\n" },
		{ "EXPIREAT k 1", ":1\r\n" },
		{ "EXISTS k", ":0\r\n" },
		{ NULL },
	};

	run(state, exchanges);
}

static void test_keys(void **state)
{
	static const struct exchange exchanges[] = {
		{ "MSET a 1 b 2 c 3", "+OK\r\n" },
		{ "EXISTS a a nope", ":2\r\n" },
		{ "TOUCH a nope", ":1\r\n" },
		{ "DBSIZE", ":3\r\n" },
		{ "TYPE a", "+string\r\n" },
		{ "TYPE nope", "+none\r\n" },
		{ "DEL a nope", ":1\r\n" },
		{ "UNLINK b", ":1\r\n" },
		{ "RANDOMKEY", "$1\r\nc\r\n" },
		{ "KEYS *", "*1\r\n$1\r\nc\r\n" },
		{ "KEYS [a-b]", "*0\r\n" },
		{ "SCAN 0 MATCH c COUNT 1000", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nc\r\n" },
		{ "SCAN x", "-ERR invalid cursor\r\n" },
		{ "SCAN 0 COUNT 0", SYNTAX },
		{ "SCAN 9223372036854775807", "*2\r\n$1\r\n0\r\n*0\r\n" },
		{ "RENAME nope x", "-ERR no such key\r\n" },
		{ "RENAME c d", "+OK\r\n" },
		{ "RENAMENX d d", ":0\r\n" },
		{ "COPY d e", ":1\r\n" },
		{ "COPY d e", ":0\r\n" },
		{ "COPY d e REPLACE", ":1\r\n" },
		{ "COPY d d", "-ERR source and destination objects are the same\r\n" },
		{ "COPY d e DB 1", "-ERR DB index is out of range\r\n" },
		{ "RENAMENX d e", ":0\r\n" },
		{ "OBJECT ENCODING d", "$3\r\nint\r\n" },
		{ "OBJECT ENCODING nope", NIL },
		{ "OBJECT REFCOUNT d", ":1\r\n" },
		{ "OBJECT IDLETIME d", ":0\r\n" },
		{ "OBJECT FREQ d", ":1\r\n" },
		{ "OBJECT NONSENSE d", "-ERR unknown subcommand 'NONSENSE'. Try OBJECT HELP.\r\n" },
		{ "MEMORY USAGE nope", NIL },
		{ "FLUSHDB ASYNC", "+OK\r\n" },
		{ "FLUSHALL NOW", SYNTAX },
		{ "RANDOMKEY", NIL },
		{ "DBSIZE", ":0\r\n" },
		{ NULL },
	};

	run(state, exchanges);
}

static void test_connection(void **state)
{
	static const struct exchange exchanges[] = {
		{ "PING", "+PONG\r\n" },
		{ "PING \"a b\"", "$3\r\na b\r\n" },
		{ "PING a b", "-ERR wrong number of arguments for 'ping' command\r\n" },
		{ "ECHO \"\\x41\\n\"", "$2\r\nA\n\r\n" },
		{ "SELECT 0", "+OK\r\n" },
		{ "SELECT 1", "-ERR DB index is out of range\r\n" },
		{ "SELECT x", NOT_INTEGER },
		{ "HELLO 4", "-NOPROTO unsupported protocol version\r\n" },
		{ "HELLO x", "-ERR Protocol version is not an integer or out of range\r\n" },
		{ "AUTH secret", "-ERR AUTH <password> called without any password configured for the default user. Are you "
				 "sure your configuration is correct?\r\n" },
		{ "AUTH nobody secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n" },
		{ "CLIENT ID", ":7\r\n" },
		{ "CLIENT GETNAME", NIL },
		{ "CLIENT SETNAME me", "+OK\r\n" },
		{ "CLIENT GETNAME", "$2\r\nme\r\n" },
		{ "CLIENT SETNAME \"a b\"", "-ERR Client names cannot contain spaces, newlines or special characters.\r\n" },
		{ "CLIENT SETNAME \"\"", "+OK\r\n" },
		{ "CLIENT SETINFO LIB-NAME x", "+OK\r\n" },
		{ "CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n" },
		{ "CLIENT NO-EVICT maybe", SYNTAX },
		{ "TIME", "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n" },
		{ "NONSENSE a b", "-ERR unknown command 'NONSENSE', with args beginning with: 'a' 'b' \r\n" },
		{ "\"a\\r\\nb\"", "-ERR unknown command 'a  b', with args beginning with: \r\n" },
		{ "DEBUG SLEEP 0.1", "+OK\r\n" },
		{ NULL },
	};

	run(state, exchanges);
}

static void test_server(void **state)
{
	static const struct exchange exchanges[] = {
		{ "CONFIG GET maxmemory-policy", "*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n",
		  "%1\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n" },
		{ "CONFIG SET maxmemory 1 maxmemory-policy noeviction", "+OK\r\n" },
		{ "CONFIG GET maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n1\r\n",
		  "%1\r\n$9\r\nmaxmemory\r\n$1\r\n1\r\n" },
		{ "SET over limit", "-OOM command not allowed when used memory > 'maxmemory'.\r\n" },
		{ "CONFIG SET maxmemory lots", "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - "
					       "argument must be a memory value\r\n" },
		{ "CONFIG SET maxmemory 1gb maxmemory-policy allkeys-lru", "+OK\r\n" },
		{ "SET over limit", "+OK\r\n" },
		{ "DEL over", ":1\r\n" },
		{ "CONFIG SET maxmemory-policy allkeys-best",
		  "-ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument must be one of the "
		  "following: noeviction, allkeys-s3fifo, allkeys-lru, volatile-ttl\r\n" },
		{ "CONFIG SET maxmemory 0 maxmemory-policy noeviction", "+OK\r\n" },
		{ "CONFIG GET nonsense", "*0\r\n", "%0\r\n" },
		{ "CONFIG SET slowlog-max-len 10", "+OK\r\n" },
		{ "CONFIG GET slowlog-max-l?n", "*2\r\n$15\r\nslowlog-max-len\r\n$2\r\n10\r\n",
		  "%1\r\n$15\r\nslowlog-max-len\r\n$2\r\n10\r\n" },
		{ "CONFIG SET nonsense 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'\r\n" },
		{ "CONFIG SET slowlog-max-len x", "-ERR CONFIG SET failed (possibly related to argument 'slowlog-max-len') - "
						  "argument couldn't be parsed into an integer\r\n" },
		{ "CONFIG RESETSTAT", "+OK\r\n" },
		{ "COMMAND COUNT x", "-ERR wrong number of arguments for 'command|count' command\r\n" },
		{ "COMMAND GETKEYS MSET a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n" },
		{ "COMMAND GETKEYS PING", "-ERR wrong number of arguments for 'command|getkeys' command\r\n" },
		{ "COMMAND GETKEYS PING x", "-ERR The command has no key arguments\r\n" },
		{ "COMMAND INFO nonsense", "*1\r\n$-1\r\n", "*1\r\n_\r\n" },
		{ "COMMAND LIST FILTERBY PATTERN get", "*1\r\n$3\r\nget\r\n" },
		{ "COMMAND INFO ttl",
		  "*1\r\n*10\r\n$3\r\nttl\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*3\r\n+@keyspace\r\n+@read\r\n"
		  "+@fast\r\n*1\r\n$23\r\nnondeterministic_output\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n$12\r\n"
		  "begin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n"
		  "*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\n"
		  "limit\r\n:0\r\n*0\r\n",
		  "*1\r\n*10\r\n$3\r\nttl\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n+@keyspace\r\n+@read\r\n"
		  "+@fast\r\n~1\r\n$23\r\nnondeterministic_output\r\n~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n$12\r\n"
		  "begin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n"
		  "%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\n"
		  "limit\r\n:0\r\n~0\r\n" },
		{ "LATENCY LATEST", "*0\r\n" },
		{ "LATENCY RESET", ":0\r\n" },
		{ "CONFIG SET slowlog-log-slower-than 0", "+OK\r\n" },
		{ "SLOWLOG RESET", "+OK\r\n" },
		{ "PING", "+PONG\r\n" },
		{ "SLOWLOG LEN", ":2\r\n" },
		{ "CONFIG SET slowlog-log-slower-than 10000", "+OK\r\n" },
		{ "SLOWLOG GET x", "-ERR count should be greater than or equal to -1\r\n" },
		{ "SLOWLOG RESET", "+OK\r\n" },
		{ "SLOWLOG GET", "*0\r\n" },
		{ NULL },
	};

	run(state, exchanges);
}

static void test_handles(void **state)
{
	struct mem_session *session = *state;
	char handle[32], request[96];
	int length;

	mem_receive(session, "VIRGO.ALLOC 100\r\n", 17);
	mem_settle(session);
	assert_int_equal(sscanf(session->answer, "$%d\r\n%31[0-9a-f]", &length, handle), 2);
	snprintf(request, sizeof(request), "VIRGO.SET %s 10 hello", handle);
	expect(session, request, "+OK\r\n");
	snprintf(request, sizeof(request), "VIRGO.GET %s 9 7", handle);
	mem_forget_answer(session);
	mem_receive(session, request, strlen(request));
	mem_receive(session, "\r\n", 2);
	mem_settle(session);
	assert_int_equal(session->answer_length, 4 + 7 + 2);
	assert_memory_equal(session->answer, "$7\r\n\0hello\0\r\n", 13);
	snprintf(request, sizeof(request), "VIRGO.GET %s 90 11", handle);
	expect(session, request, "-ERR outside the allocation\r\n");
	snprintf(request, sizeof(request), "VIRGO.FREE %s", handle);
	expect(session, request, "+OK\r\n");
	snprintf(request, sizeof(request), "VIRGO.GET %s 0 1", handle);
	expect(session, request, "-GONE the handle is gone\r\n");
	expect(session, "VIRGO.ALLOC 0", "-ERR a size is at least 1\r\n");
	expect(session, "VIRGO.GET xyz 0 1", "-ERR a handle is up to 16 hexadecimal digits\r\n");
}

/* What no client may see twice the same; only its form is checked. */
static void test_descriptions(void **state)
{
	struct mem_session *session = *state;
	static const struct {
		const char *request, *part;
	} asked[] = {
		{ "INFO", "redis_version:7.0.15\r\n" },
		{ "INFO memory", "# Memory\r\nused_memory:" },
		{ "INFO stats", "instantaneous_ops_per_sec:7\r\n" },
		{ "INFO stats", "virgo_xdp_hits:3\r\n" },
		{ "INFO commandstats", "cmdstat_info:calls=" },
		{ "INFO keyspace", "# Keyspace\r\ndb0:keys=1" },
		{ "INFO jobs", "# Jobs\r\nvirgo_jobs_running:2\r\nvirgo_jobs_done:5\r\n" },
		{ "INFO files", "# Files\r\n" },
		{ "INFO all", "# Commandstats\r\n" },
		{ "COMMAND DOCS get", "$7\r\nsummary\r\n" },
		{ "COMMAND", "$4\r\nmset\r\n:-3\r\n" },
		{ "CLIENT INFO", "id=7 addr=127.0.0.1:4000 laddr=127.0.0.1:30000 name= age=0 idle=0 flags=N db=0" },
		{ "OBJECT HELP", "+OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n" },
		{ "CONFIG GET *", "requirepass" },
		{ "MEMORY USAGE k", ":" },
		{ "LATENCY DOCTOR", "latency-monitor-threshold" },
	};

	expect(session, "SET k v", "+OK\r\n");
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		mem_forget_answer(session);
		mem_receive(session, asked[i].request, strlen(asked[i].request));
		mem_receive(session, "\r\n", 2);
		mem_settle(session);
		if (!strstr(session->answer, asked[i].part))
			print_message("# %s: %s\n", asked[i].request, session->answer);
		assert_non_null(strstr(session->answer, asked[i].part));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_strings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadlines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server, setup, teardown),
		cmocka_unit_test_setup_teardown(test_handles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptions, setup, teardown),
	};

	return cmocka_run_group_tests_name("mem_commands", tests, NULL, NULL);
}
