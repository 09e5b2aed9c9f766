/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The simulator keeps the promises of io.h, and a seed is a run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "uring/listen.h"
#include "uring/sim.h"

#define SEEDS 200
#define TURNS_MAX 20000
#define DATAGRAM_BYTES 256

static const struct vg_io_config small = {
	.entries = 32,
	.operations = 16,
	.stream_buffers = 4,
	.stream_buffer_bytes = 512,
	.datagram_buffers = 4,
	.datagram_bytes = DATAGRAM_BYTES,
};

struct heard {
	struct vg_io *io;
	int fd;
	int events, ends, last_result, truncated;
	size_t bytes;
	__u8 data[4096];
	__u64 time_ns;
	struct sockaddr_storage peer;
};

static void on_event(void *owner, const struct vg_io_event *event)
{
	struct heard *heard = owner;

	heard->events++;
	heard->ends += !event->more;
	heard->last_result = event->result;
	heard->truncated += event->truncated;
	heard->time_ns = vg_sim_now_ns();
	if (event->peer)
		memcpy(&heard->peer, event->peer, event->peer_length);
	if (event->result > 0 && event->data && heard->bytes + event->result <= sizeof(heard->data)) {
		memcpy(heard->data + heard->bytes, event->data, event->result);
		heard->bytes += event->result;
	}
}

static struct sockaddr_in address_of(__u16 port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x0a000001) };
}

#define turn_until(io, condition)                                        \
	do {                                                             \
		int turns_ = 0;                                          \
		while (!(condition)) {                                   \
			assert_true(turns_++ < TURNS_MAX);               \
			assert_true(vg_io_run(io, true) >= 0);           \
		}                                                        \
	} while (0)

/* Two workers of two nodes meet: one connects and sends, the other accepts and receives. */
static __u64 talk(__u64 seed)
{
	struct heard accepted = { 0 }, connected = { 0 }, sent = { 0 }, received = { 0 }, refused = { 0 };
	struct sockaddr_in there = address_of(1), nowhere = address_of(2);
	struct iovec vectors[2] = { { "first ", 6 }, { "second", 6 } };
	struct vg_io *server, *client;
	int listening, fd, other, accepting = 0;
	vg_io_op accept_op, recv_op = 0;
	__u64 trace;

	vg_sim_start(seed, &vg_sim_all_faults);
	assert_int_equal(vg_io_new(&server, &small), 0);
	assert_int_equal(vg_io_new(&client, &small), 0);
	listening = vg_listen_tcp("10.0.0.1:1");
	assert_true(listening >= 0);
	assert_int_equal(vg_io_accept(server, listening, on_event, &accepted, &accept_op), 0);
	fd = vg_io_socket(client, AF_INET, SOCK_STREAM);
	other = vg_io_socket(client, AF_INET, SOCK_STREAM);
	assert_int_equal(vg_io_connect(client, fd, (void *)&there, sizeof(there), on_event, &connected, NULL), 0);
	assert_int_equal(vg_io_connect(client, other, (void *)&nowhere, sizeof(nowhere), on_event, &refused, NULL), 0);
	turn_until(client, connected.events && refused.events);
	assert_int_equal(connected.last_result, 0);
	assert_int_equal(refused.last_result, -ECONNREFUSED);
	turn_until(server, accepted.events);
	accepting = !accepted.ends;
	while (sent.bytes < 12) {
		/* Short sends are finished by whoever sends. */
		size_t first = sent.last_result > 0 ? sent.last_result : 0;
		struct iovec rest = { (__u8 *)"first second" + sent.bytes, 12 - sent.bytes };
		int before = sent.events;

		assert_int_equal(vg_io_send(client, fd, first ? &rest : vectors, first ? 1 : 2, on_event, &sent, NULL), 0);
		turn_until(client, sent.events > before);
		assert_true(sent.last_result > 0);
		sent.bytes += sent.last_result;
	}
	vg_io_close(client, fd);
	vg_io_close(client, other);
	assert_true(vg_io_run(client, false) >= 0);
	do {
		received.ends = 0;
		assert_int_equal(vg_io_recv(server, accepted.last_result, on_event, &received, &recv_op), 0);
		turn_until(server, received.ends);
	} while (received.last_result > 0);
	assert_int_equal(received.last_result, 0);
	assert_int_equal(received.bytes, 12);
	assert_memory_equal(received.data, "first second", 12);
	if (accepting)
		vg_io_cancel(server, accept_op);
	vg_io_close(server, listening);
	vg_io_close(server, accepted.last_result);
	turn_until(server, !vg_sim_operations_open(server) && !vg_sim_sockets_open());
	trace = vg_sim_now_ns() * 31 + vg_io_stats(server)->turns * 7 + vg_io_stats(client)->completions;
	vg_io_free(server);
	vg_io_free(client);
	vg_sim_end();
	return trace;
}

static void test_sim_seed_is_a_run(void **state)
{
	__u64 seed, different = 0;

	for (seed = 0; seed < SEEDS; seed++) {
		assert_int_equal(talk(seed), talk(seed));
		different += talk(seed) != talk(seed + 1);
	}
	assert_true(different > SEEDS / 2);
}

static void test_sim_datagrams_and_their_faults(void **state)
{
	struct vg_sim_faults lossy = { .datagram_lost = 300, .datagram_doubled = 300, .late = 300, .no_buffers = 200 };
	struct sockaddr_in there = address_of(5), here = address_of(6);
	struct heard heard = { 0 };
	struct sockaddr_storage from;
	socklen_t from_length;
	__u8 data[DATAGRAM_BYTES + 1] = "datagram", got[sizeof(data)];
	struct vg_io *io;
	vg_io_op op;
	int server, client, sent;

	vg_sim_start(1, &vg_sim_no_faults);
	assert_int_equal(vg_io_new(&io, &small), 0);
	server = vg_listen_udp("10.0.0.1:5");
	client = vg_sim_datagram((void *)&here, sizeof(here));
	assert_int_equal(vg_io_recvmsg(io, server, on_event, &heard, &op), 0);
	assert_int_equal(vg_sim_sendto(client, data, DATAGRAM_BYTES, (void *)&there, sizeof(there)), 0);
	turn_until(io, heard.events);
	assert_int_equal(heard.last_result, DATAGRAM_BYTES);
	assert_int_equal(heard.truncated, 0);
	assert_memory_equal(&heard.peer, &here, sizeof(here));
	assert_int_equal(vg_sim_sendto(client, data, sizeof(data), (void *)&there, sizeof(there)), 0);
	turn_until(io, heard.events == 2);
	assert_int_equal(heard.last_result, DATAGRAM_BYTES);
	assert_int_equal(heard.truncated, 1);

	for (sent = 0; sent < (int)small.datagram_buffers; sent++)
		assert_int_equal(vg_io_sendto(io, server, data, 8, (void *)&here, sizeof(here)), 0);
	assert_int_equal(vg_io_sendto(io, server, data, 8, (void *)&here, sizeof(here)), -EBUSY);
	assert_int_equal(vg_io_sendto(io, server, data, sizeof(data), (void *)&here, sizeof(here)), -EMSGSIZE);
	assert_int_equal(vg_io_stats(io)->datagrams_lost, 1);
	while (sent--)
		assert_int_equal(vg_sim_recvfrom(client, got, sizeof(got), &from, &from_length), 8);
	assert_memory_equal(&from, &there, sizeof(there));
	assert_int_equal(vg_sim_recvfrom(client, got, sizeof(got), NULL, NULL), -EAGAIN);

	vg_sim_set_faults(&lossy);
	heard.events = 0;
	for (sent = 0; sent < 500; sent++)
		vg_sim_sendto(client, data, 8, (void *)&there, sizeof(there));
	for (sent = 0; sent < 2000; sent++)
		vg_io_run(io, false);
	assert_in_range(heard.events, 300, 600); /* 500 · 0.7 · 1.3, about */
	assert_int_not_equal(heard.events, 500);
	vg_io_cancel(io, op);
	vg_io_close(io, server);
	vg_sim_close(client);
	turn_until(io, !vg_sim_operations_open(io));
	vg_io_free(io);
	vg_sim_end();
}

static void test_sim_time_stands_still_until_nothing_else_can_happen(void **state)
{
	struct heard early = { 0 }, late = { 0 }, never = { 0 }, woken = { 0 };
	struct vg_io *io;
	__u64 start;
	vg_io_op op;

	vg_sim_start(7, &vg_sim_all_faults);
	assert_int_equal(vg_io_new(&io, &small), 0);
	start = vg_sim_now_ns();
	assert_int_equal(vg_io_timeout(io, 2000000000, on_event, &late, NULL), 0);
	assert_int_equal(vg_io_timeout(io, 1000000000, on_event, &early, NULL), 0);
	assert_int_equal(vg_io_timeout(io, 500000000, on_event, &never, &op), 0);
	vg_io_cancel(io, op);
	vg_io_on_wake(io, on_event, &woken);
	vg_io_wake(io);
	vg_io_wake(io);
	turn_until(io, woken.events);
	assert_int_equal(woken.events, 1); /* coalesced */
	turn_until(io, early.events);
	assert_int_equal(early.last_result, 0);
	assert_int_equal(late.events, 0);
	assert_in_range(early.time_ns - start, 1000000000, 1100000000);
	turn_until(io, late.events);
	assert_in_range(late.time_ns - start, 2000000000, 2100000000);
	assert_int_equal(never.events, 0);
	assert_int_equal(woken.events, 1);
	vg_io_free(io);
	vg_sim_end();
}

static void test_sim_slots_run_out(void **state)
{
	struct heard heard = { 0 };
	struct vg_io *io;
	unsigned int index;

	vg_sim_start(1, &vg_sim_no_faults);
	assert_int_equal(vg_io_new(&io, &small), 0);
	for (index = 0; index < small.operations; index++)
		assert_int_equal(vg_io_timeout(io, 1000, on_event, &heard, NULL), 0);
	assert_int_equal(vg_io_timeout(io, 1000, on_event, &heard, NULL), -EBUSY);
	turn_until(io, heard.events == (int)small.operations);
	assert_int_equal(vg_io_timeout(io, 1000, on_event, &heard, NULL), 0);
	vg_io_free(io);
	vg_sim_end();
}

/* Why conn.c stops its receives instead of cancelling them: bytes that were taken already are dropped with a cancel. */
static void test_sim_cancel_loses_bytes_and_stop_does_not(void **state)
{
	struct sockaddr_in there = address_of(1);
	__u64 seed, lost = 0;

	for (seed = 0; seed < 2 * SEEDS; seed++) {
		struct heard accepted = { 0 }, received = { 0 };
		struct vg_io *io;
		vg_io_op accept_op, op;
		int client;

		vg_sim_start(seed, &vg_sim_no_faults);
		assert_int_equal(vg_io_new(&io, &small), 0);
		assert_int_equal(vg_io_accept(io, vg_listen_tcp("10.0.0.1:1"), on_event, &accepted, &accept_op), 0);
		client = vg_sim_connect((void *)&there, sizeof(there));
		turn_until(io, accepted.events);
		assert_int_equal(vg_io_recv(io, accepted.last_result, on_event, &received, &op), 0);
		assert_int_equal(vg_sim_write(client, "bytes", 5), 5);
		if (seed & 1)
			vg_io_stop(io, op);
		else
			vg_io_cancel(io, op);
		turn_until(io, vg_sim_operations_open(io) == 1);
		assert_int_equal(received.ends, seed & 1);
		assert_true(!(seed & 1) || received.last_result == -ECANCELED);
		assert_int_equal(vg_io_recv(io, accepted.last_result, on_event, &received, &op), 0);
		vg_sim_shutdown(client);
		turn_until(io, received.last_result == 0 && received.ends > (int)(seed & 1));
		assert_true(!(seed & 1) || received.bytes == 5);
		lost += received.bytes < 5;
		vg_io_free(io);
		vg_sim_end();
	}
	assert_true(lost > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sim_seed_is_a_run),
		cmocka_unit_test(test_sim_datagrams_and_their_faults),
		cmocka_unit_test(test_sim_time_stands_still_until_nothing_else_can_happen),
		cmocka_unit_test(test_sim_slots_run_out),
		cmocka_unit_test(test_sim_cancel_loses_bytes_and_stop_does_not),
	};

	return cmocka_run_group_tests_name("io_sim", tests, NULL, NULL);
}
