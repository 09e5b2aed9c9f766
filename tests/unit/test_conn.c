/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Connections on the real ring and real sockets; tests/sim/test_conn_sim.c has the faults. And addresses as text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uring/conn.h"
#include "uring/listen.h"

#define CHUNKS 256
#define CONNECTIONS 4
#define TURNS_MAX 100000

struct fixture {
	struct vg_io *io;
	struct vg_conn_pool *conns;
	struct vg_out_pool chunks;
	struct vg_mem mem;
	int memory_out;
	struct vg_conn *conn;
	int peer; /* the other end of conn's socket */
	int calls, closes, close_reason, drains;
	size_t largest_call;
	size_t take;  /* bytes a call takes; 0: all */
	size_t whole; /* take nothing before so many are there */
	const char *reply;
	int result; /* what on_input returns, if not 0 */
};

static void *memory_get(void *context, size_t bytes)
{
	((struct fixture *)context)->memory_out++;
	return malloc(bytes);
}

static void memory_put(void *context, void *memory)
{
	((struct fixture *)context)->memory_out--;
	free(memory);
}

static ssize_t on_input(struct vg_conn *conn, const __u8 *data, size_t length)
{
	struct fixture *fixture = conn->session;

	fixture->calls++;
	if (length > fixture->largest_call)
		fixture->largest_call = length;
	if (fixture->reply)
		vg_out_append(&conn->out, fixture->reply, strlen(fixture->reply));
	if (fixture->result)
		return fixture->result;
	if (length < fixture->whole) {
		conn->input_wanted = fixture->whole;
		return 0;
	}
	if (fixture->take && fixture->take < length)
		length = fixture->take;
	if (!fixture->reply)
		vg_out_append(&conn->out, data, length);
	return length;
}

static void on_close(struct vg_conn *conn, int reason)
{
	struct fixture *fixture = conn->session;

	fixture->closes++;
	fixture->close_reason = reason;
	fixture->conn = NULL;
}

static void on_drain(struct vg_conn *conn)
{
	((struct fixture *)conn->session)->drains++;
}

static const struct vg_conn_user user = { .on_input = on_input, .on_close = on_close, .on_drain = on_drain };

static int set_up(void **state)
{
	static const struct vg_io_config config = {
		.entries = 64,
		.operations = 32,
		.stream_buffers = 16,
		.stream_buffer_bytes = 4096,
		.datagram_buffers = 4,
		.datagram_bytes = 512,
	};
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int error = vg_io_new(&fixture->io, &config), pair[2];

	if (error == -ENOSYS || error == -EPERM) {
		free(fixture);
		skip();
	}
	assert_int_equal(error, 0);
	fixture->mem = (struct vg_mem){ memory_get, memory_put, fixture };
	assert_int_equal(vg_out_pool_init(&fixture->chunks, CHUNKS), 0);
	assert_int_equal(vg_conn_pool_new(&fixture->conns, fixture->io, &fixture->mem, &fixture->chunks, CONNECTIONS), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vg_conn_open(fixture->conns, pair[1], &user, fixture, &fixture->conn), 0);
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	fixture->peer = pair[0];
	*state = fixture;
	return 0;
}

/* However a test ends: everything is given back. */
static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	vg_conn_pool_free(fixture->conns);
	assert_int_equal(vg_io_run(fixture->io, false) < 0, 0);
	vg_io_free(fixture->io);
	assert_int_equal(fixture->closes, 1);
	assert_int_equal(fixture->memory_out, 0);
	assert_int_equal(fixture->chunks.free_count, CHUNKS);
	vg_out_pool_deinit(&fixture->chunks);
	close(fixture->peer);
	free(fixture);
	return 0;
}

static void turn(struct fixture *fixture)
{
	assert_true(vg_io_run(fixture->io, false) >= 0);
	vg_conn_pool_flush(fixture->conns);
}

static void settle(struct fixture *fixture)
{
	__u64 before;
	int quiet = 0;

	while (quiet < 3) {
		before = vg_io_stats(fixture->io)->completions;
		turn(fixture);
		quiet = vg_io_stats(fixture->io)->completions == before ? quiet + 1 : 0;
	}
}

static void say(struct fixture *fixture, const char *text)
{
	assert_int_equal(write(fixture->peer, text, strlen(text)), strlen(text));
	settle(fixture);
}

static void hear(struct fixture *fixture, const char *text)
{
	char got[256] = { 0 };
	ssize_t bytes = read(fixture->peer, got, sizeof(got) - 1);

	if (!text) {
		assert_int_equal(bytes, 0);
		return;
	}
	assert_int_equal(bytes, strlen(text));
	assert_string_equal(got, text);
}

static void test_conn_hands_over_whole_buffers_without_memory(void **state)
{
	struct fixture *fixture = *state;

	say(fixture, "one");
	hear(fixture, "one");
	assert_int_equal(fixture->calls, 1);
	assert_int_equal(fixture->memory_out, 0);
}

static void test_conn_assembles_what_comes_in_pieces(void **state)
{
	struct fixture *fixture = *state;

	fixture->whole = 9;
	say(fixture, "one");
	say(fixture, "two");
	assert_int_equal(fixture->calls, 1); /* it has said how many it wants */
	say(fixture, "six");
	assert_int_equal(fixture->calls, 2);
	hear(fixture, "onetwosix");
}

static void test_conn_calls_again_for_the_rest(void **state)
{
	struct fixture *fixture = *state;

	fixture->take = 2;
	say(fixture, "abcdefg");
	assert_int_equal(fixture->calls, 4);
	hear(fixture, "abcdefg");
}

static void test_conn_paused_holds_and_resume_hands_over(void **state)
{
	struct fixture *fixture = *state;

	vg_conn_pause(fixture->conn);
	say(fixture, "abc");
	say(fixture, "def");
	assert_int_equal(fixture->calls, 0);
	vg_conn_resume(fixture->conn);
	settle(fixture);
	assert_int_equal(fixture->largest_call, 6);
	hear(fixture, "abcdef");
}

static void test_conn_paused_stops_receiving_when_full(void **state)
{
	struct fixture *fixture = *state;
	static __u8 data[65536], got[65536];
	size_t sent = 0, received = 0;
	ssize_t bytes;

	vg_conn_pause(fixture->conn);
	for (int turns = 0; turns < 200; turns++) {
		bytes = write(fixture->peer, data, sizeof(data));
		sent += bytes > 0 ? bytes : 0;
		turn(fixture);
	}
	assert_true(bytes < 0); /* the peer feels it */
	assert_in_range(fixture->conn->held_length, VG_CONN_HELD_MAX, VG_CONN_HELD_MAX + 16 * 4096);
	fixture->take = 1000;
	vg_conn_resume(fixture->conn);
	for (int turns = 0; received < sent && turns < TURNS_MAX; turns++) {
		bytes = read(fixture->peer, got, sizeof(got));
		received += bytes > 0 ? bytes : 0;
		turn(fixture);
	}
	assert_int_equal(received, sent);
}

static void test_conn_slow_reader_is_bounded_and_drains(void **state)
{
	struct fixture *fixture = *state;
	static __u8 data[65536], got[65536];
	size_t sent = 0, received = 0;
	ssize_t bytes;

	for (int turns = 0; turns < 400; turns++) {
		bytes = write(fixture->peer, data, sizeof(data));
		sent += bytes > 0 ? bytes : 0;
		turn(fixture);
		assert_true(fixture->conn->out.bytes <= VG_CONN_OUT_HIGH + 4096);
	}
	assert_true(fixture->conn->out.bytes > VG_CONN_OUT_HIGH);
	assert_true(sent > VG_CONN_OUT_HIGH + VG_CONN_HELD_MAX);
	assert_int_equal(fixture->drains, 0);
	for (int turns = 0; received < sent && turns < TURNS_MAX; turns++) {
		bytes = read(fixture->peer, got, sizeof(got));
		received += bytes > 0 ? bytes : 0;
		turn(fixture);
	}
	assert_int_equal(received, sent);
	assert_true(fixture->drains > 0);
}

static void test_conn_too_long_message_is_refused_after_the_answers(void **state)
{
	struct fixture *fixture = *state;

	say(fixture, "answered");
	fixture->conn->input_max = 8;
	fixture->whole = 100;
	say(fixture, "x");
	hear(fixture, "answered");
	hear(fixture, NULL);
	shutdown(fixture->peer, SHUT_WR);
	settle(fixture);
	assert_int_equal(fixture->close_reason, -EMSGSIZE);
}

static void test_conn_error_closes_after_the_last_words(void **state)
{
	struct fixture *fixture = *state;

	fixture->reply = "-ERR last words\r\n";
	fixture->result = -EPROTO;
	say(fixture, "nonsense");
	hear(fixture, fixture->reply);
	hear(fixture, NULL);
	shutdown(fixture->peer, SHUT_WR);
	settle(fixture);
	assert_int_equal(fixture->close_reason, -EPROTO);
	assert_int_equal(fixture->calls, 1);
}

/*
 * Over TCP, where a close on unread bytes is a reset: a client that goes on sending reads what was wrong all the
 * same.
 */
static void test_conn_last_words_reach_a_client_that_is_still_sending(void **state)
{
	static __u8 data[1 << 20];
	struct fixture *fixture = *state, late = { .reply = "-ERR too long\r\n", .result = -EPROTO };
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int listening = vg_listen_tcp("127.0.0.1:0"), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t bytes;

	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
	late.peer = client;
	assert_int_equal(vg_conn_open(fixture->conns, accept(listening, NULL, NULL), &user, &late, &late.conn), 0);
	assert_int_equal(((struct sockaddr_in *)&late.conn->peer)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	for (size_t sent = 0, turns = 0; sent < 8 * sizeof(data) && turns < TURNS_MAX; turns++) {
		bytes = write(client, data, sizeof(data));
		sent += bytes > 0 ? bytes : 0;
		assert_true(bytes > 0 || errno == EAGAIN);
		vg_io_run(fixture->io, false);
		vg_conn_pool_flush(fixture->conns);
	}
	settle(fixture);
	hear(&late, late.reply);
	hear(&late, NULL);
	assert_int_equal(late.calls, 1);
	assert_int_equal(late.closes, 0);
	close(client);
	settle(fixture);
	assert_int_equal(late.close_reason, -EPROTO);
	close(listening);
}

static void test_conn_half_closed_peer_gets_its_answers(void **state)
{
	struct fixture *fixture = *state;

	vg_conn_pause(fixture->conn);
	assert_int_equal(write(fixture->peer, "request", 7), 7);
	assert_int_equal(shutdown(fixture->peer, SHUT_WR), 0);
	settle(fixture);
	assert_int_equal(fixture->closes, 0); /* an answer is being made elsewhere */
	vg_conn_resume(fixture->conn);
	settle(fixture);
	hear(fixture, "request");
	hear(fixture, NULL);
	assert_int_equal(fixture->closes, 1);
	assert_int_equal(fixture->close_reason, 0);
}

static void test_conn_finish_sends_first(void **state)
{
	struct fixture *fixture = *state;

	vg_out_append(&fixture->conn->out, "bye", 3);
	vg_conn_finish(fixture->conn);
	assert_int_equal(fixture->closes, 0);
	settle(fixture);
	hear(fixture, "bye");
	hear(fixture, NULL);
	assert_int_equal(fixture->close_reason, 0);
}

static void test_conn_abort_ends_a_stuck_send(void **state)
{
	struct fixture *fixture = *state;
	static __u8 data[1 << 20];

	vg_out_append(&fixture->conn->out, data, sizeof(data));
	vg_conn_flush(fixture->conn);
	settle(fixture);
	assert_true(fixture->conn->sending > 0); /* nobody reads */
	vg_conn_abort(fixture->conn, -ETIMEDOUT);
	assert_int_equal(fixture->closes, 0); /* not from inside the call */
	settle(fixture);
	assert_int_equal(fixture->closes, 1);
	assert_int_equal(fixture->close_reason, -ETIMEDOUT);
	assert_int_equal(vg_conn_pool_used(fixture->conns), 0);
}

static void test_conn_dry_pool_closes_and_full_table_refuses(void **state)
{
	struct fixture *fixture = *state;
	struct fixture others = { 0 };
	struct vg_conn *conn;
	int pair[2], opened = 1;

	for (;;) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		close(pair[0]);
		if (vg_conn_open(fixture->conns, pair[1], &user, &others, &conn))
			break;
		opened++;
	}
	assert_int_equal(opened, CONNECTIONS);
	settle(fixture);
	assert_int_equal(fcntl(pair[1], F_GETFD), -1); /* the refused descriptor is closed */
	assert_int_equal(vg_conn_pool_used(fixture->conns), 1);
	while (!fixture->conn->out.failed)
		vg_out_append(&fixture->conn->out, "0123456789abcdef", 16);
	vg_conn_flush(fixture->conn);
	settle(fixture);
	assert_int_equal(fixture->close_reason, -ENOBUFS);
}

/* Slots of connections, operations and descriptors are reused at once; a cancelled receive may still hold its own. */
static void test_conn_churn_exhausts_nothing(void **state)
{
	enum { ROUNDS = 3000 };
	struct fixture *fixture = *state, churn = { 0 };
	int pair[2], round, highest = 0;

	for (round = 0; round < ROUNDS; round++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		if (pair[1] > highest)
			highest = pair[1];
		assert_int_equal(vg_conn_open(fixture->conns, pair[1], &user, &churn, &churn.conn), 0);
		assert_int_equal(write(pair[0], "ping", 4), 4);
		if (round & 1)
			vg_conn_abort(churn.conn, -ECONNABORTED);
		close(pair[0]);
		for (int turns = 0; churn.conn && turns < 10; turns++)
			turn(fixture);
		assert_null(churn.conn);
		assert_int_equal(churn.closes, round + 1);
	}
	assert_true(highest < fixture->peer + 16);
	say(fixture, "still here");
	hear(fixture, "still here");
	assert_int_equal(vg_io_stats(fixture->io)->stale, 0);
}

/* ---- addresses ------------------------------------------------------------------------------------------------- */

static void check_address(const char *text, const char *expected)
{
	struct sockaddr_storage address;
	char formatted[VG_ADDRESS_TEXT_BYTES];
	socklen_t length;
	int error = vg_address_parse(text, &address, &length);

	assert_int_equal(error, expected ? 0 : -EINVAL);
	if (!expected)
		return;
	vg_address_format((struct sockaddr *)&address, formatted, sizeof(formatted));
	assert_string_equal(formatted, expected);
}

static void test_address_text_both_ways(void **state)
{
	static const char *const wrong[] = { "", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:1x",
					     "1.2.3:1", "::1:80", "[::1]", "[::1", "[::1:80", "[]:80", "[1.2.3.4]:80",
					     "host:80", "1.2.3.4:000080", "[fe80::1%nosuchif]:1" };
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
	char text[VG_ADDRESS_TEXT_BYTES];
	size_t index;

	check_address("127.0.0.1:30000", "127.0.0.1:30000");
	check_address("0.0.0.0:0", "0.0.0.0:0");
	check_address("[::]:65535", "[::]:65535");
	check_address("[2001:db8:0:0::1]:80", "[2001:db8::1]:80");
	check_address("[::ffff:1.2.3.4]:80", "1.2.3.4:80");
	for (index = 0; index < sizeof(wrong) / sizeof(wrong[0]); index++)
		check_address(wrong[index], NULL);
	inet_pton(AF_INET6, "::ffff:9.8.7.6", &mapped.sin6_addr);
	vg_address_format((struct sockaddr *)&mapped, text, sizeof(text));
	assert_string_equal(text, "9.8.7.6:7");
	vg_address_format(&(struct sockaddr){ .sa_family = AF_UNIX }, text, sizeof(text));
	assert_string_equal(text, "?");
}

static void test_listen_workers_share_an_address(void **state)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address), size = sizeof(int);
	char text[VG_ADDRESS_TEXT_BYTES];
	int first = vg_listen_tcp("127.0.0.1:0"), second, foreign, without_delay = 0;

	assert_true(first >= 0);
	assert_int_equal(getsockname(first, (struct sockaddr *)&address, &length), 0);
	vg_address_format((struct sockaddr *)&address, text, sizeof(text));
	second = vg_listen_tcp(text);
	assert_true(second >= 0);
	foreign = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(foreign, (struct sockaddr *)&address, length), -1);
	assert_int_equal(getsockopt(first, IPPROTO_TCP, TCP_NODELAY, &without_delay, &size), 0);
	assert_true(without_delay);
	assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(vg_listen_tcp("nowhere"), -EINVAL);
	assert_int_equal(vg_listen_udp("192.0.2.1:9"), -EADDRNOTAVAIL);
	close(first);
	close(second);
	close(foreign);
}

int main(void)
{
#define real(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		real(test_conn_hands_over_whole_buffers_without_memory),
		real(test_conn_assembles_what_comes_in_pieces),
		real(test_conn_calls_again_for_the_rest),
		real(test_conn_paused_holds_and_resume_hands_over),
		real(test_conn_paused_stops_receiving_when_full),
		real(test_conn_slow_reader_is_bounded_and_drains),
		real(test_conn_too_long_message_is_refused_after_the_answers),
		real(test_conn_error_closes_after_the_last_words),
		real(test_conn_last_words_reach_a_client_that_is_still_sending),
		real(test_conn_half_closed_peer_gets_its_answers),
		real(test_conn_finish_sends_first),
		real(test_conn_abort_ends_a_stuck_send),
		real(test_conn_dry_pool_closes_and_full_table_refuses),
		real(test_conn_churn_exhausts_nothing),
		cmocka_unit_test(test_address_text_both_ways),
		cmocka_unit_test(test_listen_workers_share_an_address),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
