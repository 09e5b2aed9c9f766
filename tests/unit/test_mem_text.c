// SPDX-License-Identifier: GPL-3.0-or-later
/* The original's text grammar, as a person on telnet and an original client meet it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "fake_wire.h"

static struct fake_session *text_on(void *node)
{
	return fake_session_open(node, VG_PROTOCOL_TEXT);
}

/* One line, and the line that answers it (without its CR LF). */
static const char *say(struct fake_session *session, const char *line)
{
	static char reply[100000];
	size_t length;

	assert_int_equal(fake_feed(session, line, strlen(line)), 0);
	assert_int_equal(fake_feed(session, "\r\n", 2), 0);
	fake_run();
	assert_int_equal(session->input_length, 0);
	length = fake_take(session, reply, sizeof(reply));
	assert_true(length >= 2 && length < sizeof(reply));
	assert_memory_equal(reply + length - 2, "\r\n", 2);
	reply[length - 2] = '\0';
	return reply;
}

/* A request as an original client sends it, 3000 bytes, in pieces; the 500 bytes it gets. */
static const char *say_padded(struct fake_session *session, const char *text, size_t step)
{
	static char reply[600];
	char bytes[3000] = { 0 };

	memcpy(bytes, text, strlen(text));
	for (size_t at = 0; at < sizeof(bytes); at += step)
		assert_int_equal(fake_feed(session, bytes + at, step < sizeof(bytes) - at ? step : sizeof(bytes) - at), 0);
	fake_run();
	assert_int_equal(session->input_length, 0);
	assert_int_equal(session->out.bytes, 500);
	fake_take(session, reply, sizeof(reply));
	assert_int_equal(reply[499], 0);
	for (size_t i = strlen(reply); i < 500; i++)
		assert_int_equal(reply[i], 0);
	return reply;
}

static const char *with(const char *format, const char *token)
{
	static char line[600];

	snprintf(line, sizeof(line), format, token);
	return line;
}

static void expect_error(const char *reply, const char *name)
{
	char want[64];

	snprintf(want, sizeof(want), "virgo_error(%s,", name);
	if (strncmp(reply, want, strlen(want)) || reply[strlen(reply) - 1] != ')')
		fail_msg("wanted %s…): %s", want, reply);
}

static void test_text_handles(void **state)
{
	struct fake_session *session = text_on(*state);
	char token[32];

	snprintf(token, sizeof(token), "%s", say(session, "virgo_cloud_malloc(100)"));
	assert_int_equal(strspn(token, "0123456789abcdef"), strlen(token));
	assert_true(strlen(token) >= 1 && strlen(token) <= 16);
	assert_string_equal(say(session, with("virgo_cloud_get(%s)", token)), "");
	assert_string_equal(say(session, with("virgo_cloud_set(%s,hello, (big) world)", token)), token);
	assert_string_equal(say(session, with("virgo_cloud_get(%s)", token)), "hello, (big) world");
	assert_string_equal(say(session, with("virgo_cloud_set(\"%s\",short)", token)), token);
	assert_string_equal(say(session, with("virgo_cloud_get(%s)", token)), "short");
	assert_string_equal(say(session, with("virgo_cloud_set(%s,)", token)), token);
	assert_string_equal(say(session, with("virgo_cloud_get(%s)", token)), "");
	assert_string_equal(say(session, with("virgo_cloud_free(%s)", token)), "kernel memory freed");
	expect_error(say(session, with("virgo_cloud_free(%s)", token)), "gone");
	expect_error(say(session, with("virgo_cloud_get(%s)", token)), "gone");
	expect_error(say(session, with("virgo_cloud_set(%s,x)", token)), "gone");
}

/* A string as long as the allocation fills it; a longer one is refused and changes nothing. */
static void test_text_set_to_the_brim(void **state)
{
	struct fake_session *session = text_on(*state);
	char token[32];

	snprintf(token, sizeof(token), "%s", say(session, "virgo_cloud_malloc(5)"));
	assert_string_equal(say(session, with("virgo_cloud_set(%s,12345)", token)), token);
	assert_string_equal(say(session, with("virgo_cloud_get(%s)", token)), "12345");
	expect_error(say(session, with("virgo_cloud_set(%s,123456)", token)), "range");
	assert_string_equal(say(session, with("virgo_cloud_get(%s)", token)), "12345");
}

static void test_text_padded_clients(void **state)
{
	static const size_t steps[] = { 3000, 500, 499, 1 };
	struct fake_session *session = text_on(*state);
	char token[32], data[700], line[800];

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		snprintf(token, sizeof(token), "%s", say_padded(session, "virgo_cloud_malloc(1000)", steps[i]));
		assert_string_equal(say_padded(session, with("virgo_cloud_set(%s,data)", token), steps[i]), token);
		assert_string_equal(say_padded(session, with("virgo_cloud_get(%s)", token), steps[i]), "data");
		expect_error(say_padded(session, "virgo_cloud_get(zz)", steps[i]), "bad_request");
	}
	/* What is longer than the original's reply is cut there, and whole for who asks with a line. */
	memset(data, 'd', 699);
	data[699] = '\0';
	snprintf(line, sizeof(line), "virgo_cloud_set(%s,%s)", token, data);
	assert_string_equal(say_padded(session, line, 3000), token);
	assert_int_equal(strlen(say_padded(session, with("virgo_cloud_get(%s)", token), 3000)), 499);
	assert_string_equal(say(session, with("virgo_cloud_get(%s)", token)), data);
	assert_string_equal(say_padded(session, with("virgo_cloud_free(%s)", token), 3000), "kernel memory freed");
	assert_false(session->session.finish);
}

static void test_text_keys(void **state)
{
	struct fake_session *session = text_on(*state);
	char value[5001], line[6000];

	for (__u16 owner = 0; owner < 2; owner++) {
		char key[32];

		snprintf(key, sizeof(key), "%s", key_of(owner, 2));
		expect_error(say(session, with("virgo_get(%s)", key)), "not_found");
		assert_string_equal(say(session, with("virgo_set(%s,a value, with ) and ()", key)), "OK");
		assert_string_equal(say(session, with("virgo_get(%s)", key)), "a value, with ) and (");
		assert_string_equal(say(session, with("virgo_del(%s)", key)), "OK");
		expect_error(say(session, with("virgo_del(%s)", key)), "not_found");
		memset(value, 'v', sizeof(value) - 1);
		value[sizeof(value) - 1] = '\0';
		snprintf(line, sizeof(line), "virgo_set(%s,%s)", key, value);
		assert_string_equal(say(session, line), "OK");
		assert_string_equal(say(session, with("virgo_get(%s)", key)), value);
		assert_int_equal(strlen(say_padded(session, with("virgo_get(%s)", key), 3000)), 499);
		/* The same key by the binary face. */
		assert_int_equal(ask(fake_session_open(*state, VG_PROTOCOL_BINARY), message(VG_OP_GET, key, NULL, 0))->length, 5000);
	}
	fake.node[1].fail_from = 1;
	expect_error(say(session, with("virgo_get(%s)", key_of(1, 2))), "unreachable");
}

/* A token is an ordinary handle: of any node, spread or not, and the binary face reads the same bytes. */
static void test_text_tokens_are_handles(void **state)
{
	struct fake_session *here = text_on(&fake.node[0]), *there = text_on(&fake.node[1]);
	struct answer *got;
	char token[32];

	for (int spread = 0; spread < 2; spread++) {
		snprintf(token, sizeof(token), "%s", say(there, spread ? "virgo_cloud_malloc(200000)" : "virgo_cloud_malloc(100)"));
		assert_string_equal(say(here, with("virgo_cloud_set(%s,over the fence)", token)), token);
		assert_string_equal(say(there, with("virgo_cloud_get(%s)", token)), "over the fence");
		got = ask(fake_session_open(&fake.node[0], VG_PROTOCOL_BINARY),
			  handle_message(VG_OP_HANDLE_GET, strtoull(token, NULL, 16), 15, NULL, 0));
		assert_int_equal(got->length, 15);
		assert_memory_equal(got->body, "over the fence", 15);
		assert_string_equal(say(here, with("virgo_cloud_free(%s)", token)), "kernel memory freed");
		expect_error(say(there, with("virgo_cloud_get(%s)", token)), "gone");
	}
	fake.node[1].fail_from = 1;
	snprintf(token, sizeof(token), "%s", say(there, "virgo_cloud_malloc(100)"));
	expect_error(say(here, with("virgo_cloud_get(%s)", token)), "unreachable");
}

static void test_text_errors(void **state)
{
	static const struct {
		const char *line, *name;
	} cases[] = {
		{ "virgo_cloud_malloc(0)", "bad_request" }, { "virgo_cloud_malloc(-1)", "bad_request" },
		{ "virgo_cloud_malloc(99999999999999999999)", "bad_request" }, { "virgo_cloud_malloc()", "bad_request" },
		{ "virgo_cloud_malloc(4294967295)", "no_memory" }, { "virgo_cloud_malloc", "bad_request" },
		{ "virgo_cloud_malloc(1", "bad_request" }, { "virgo_cloud_get(0x12)", "bad_request" },
		{ "virgo_cloud_get()", "bad_request" }, { "virgo_cloud_get(0)", "gone" },
		{ "virgo_cloud_get(ffffffffffffffff)", "gone" }, { "virgo_cloud_get(11112222333344445)", "bad_request" },
		{ "virgo_cloud_set(1)", "bad_request" }, { "virgo_cloud_frob(1)", "unknown_command" },
		{ "virgo_auth(x)", "bad_request" }, { "virgo_", "bad_request" },
	};
	struct fake_session *session = text_on(*state);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_error(say(session, cases[i].line), cases[i].name);
	assert_string_equal(say(session, "virgo_set(k,v)"), "OK");
}

static void test_text_too_long(void **state)
{
	struct fake_session *session = text_on(*state);
	char *line = malloc(70000), reply[256] = "";

	memset(line, 'a', 70000);
	assert_int_equal(fake_feed(session, line, 70000), 0);
	free(line);
	assert_true(session->session.finish);
	reply[fake_take(session, reply, sizeof(reply) - 1)] = '\0';
	assert_memory_equal(reply, "virgo_error(too_long,", 21);
}

static void test_text_password(void **state)
{
	struct fake_node *node = *state;
	struct fake_session *session;

	snprintf(node->settings.password, sizeof(node->settings.password), "secret");
	session = text_on(node);
	expect_error(say(session, "virgo_set(k,v)"), "unauthorized");
	expect_error(say(session, "virgo_cloud_malloc(1)"), "unauthorized");
	expect_error(say(session, "virgo_auth(secreT)"), "unauthorized");
	expect_error(say(session, "virgo_auth(secre)"), "unauthorized");
	expect_error(say(session, "virgo_auth(secrets)"), "unauthorized");
	assert_string_equal(say(session, "virgo_auth(secret)"), "OK");
	expect_error(say(session, "virgo_get(k)"), "not_found");
	assert_int_equal(node->stats.refused[VG_REFUSAL_UNAUTHORIZED], 5);
}

/* Many requests in one piece, some of which wait for another node: the answers come in order. */
static void test_text_pipeline(void **state)
{
	struct fake_session *session = text_on(*state);
	char lines[500], reply[500] = "", there[32];
	int length;

	snprintf(there, sizeof(there), "%s", key_of(1, 2));
	length = snprintf(lines, sizeof(lines), "virgo_set(%s,1)\r\nvirgo_set(%s,2)\n\n\r\nvirgo_get(%s)\nvirgo_get(%s)\r\n", there,
			  key_of(0, 2), there, key_of(0, 2));
	assert_int_equal(fake_feed(session, lines, (size_t)length), 0);
	fake_run();
	fake_take(session, reply, sizeof(reply));
	assert_string_equal(reply, "OK\r\nOK\r\n1\r\n2\r\n");
}

static void test_other_protocols_are_refused(void **state)
{
	struct fake_node *node = *state;
	struct fake_session *session = fake_session_open(node, VG_PROTOCOL_HTTP);
	char reply[500] = "";

	fake_feed(session, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 34);
	assert_true(session->session.finish);
	fake_take(session, reply, sizeof(reply) - 1);
	assert_memory_equal(reply, "HTTP/1.1 400 ", 13);
	assert_non_null(strstr(reply, "9464"));
	assert_int_equal(strlen(strstr(reply, "\r\n\r\n") + 4), 78);
	assert_int_equal(node->stats.refused[VG_REFUSAL_HTTP], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_text_handles, one),
		WITH(test_text_set_to_the_brim, one),
		WITH(test_text_padded_clients, one),
		WITH(test_text_keys, two),
		WITH(test_text_tokens_are_handles, two),
		WITH(test_text_errors, one),
		WITH(test_text_too_long, one),
		WITH(test_text_password, one),
		WITH(test_text_pipeline, two),
		WITH(test_other_protocols_are_refused, one),
	};

	return cmocka_run_group_tests_name("mem_text", tests, NULL, NULL);
}
