/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The io_uring implementation of io.h on real sockets. Sizes are small, so that exhaustion happens in every run. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "uring/io.h"
#include "uring/listen.h"

#define CLIENTS 200
#define TURNS_MAX 200000
#define DATAGRAM_BYTES 256

static const struct vg_io_config small = {
	.entries = 32,
	.operations = 512,
	.stream_buffers = 8,
	.stream_buffer_bytes = 512,
	.datagram_buffers = 8,
	.datagram_bytes = DATAGRAM_BYTES,
};

static int set_up(void **state)
{
	struct vg_io *io;
	int error = vg_io_new(&io, &small);

	if (error == -ENOSYS || error == -EPERM)
		skip();
	assert_int_equal(error, 0);
	*state = io;
	return 0;
}

static int tear_down(void **state)
{
	vg_io_free(*state);
	return 0;
}

/* Turn until the condition holds; a lost completion would wait for ever, so a timer keeps the loop turning. */
static void on_tick(void *owner, const struct vg_io_event *event)
{
	*(bool *)owner = true;
}

#define turn_until(io, condition)                                                         \
	do {                                                                              \
		int turns_ = 0, waits_ = 0;                                               \
		bool ticked_ = true;                                                      \
		vg_io_op tick_ = 0;                                                       \
		while (!(condition)) {                                                    \
			if (ticked_) {                                                    \
				assert_true(waits_++ < 100);                              \
				ticked_ = false;                                          \
				assert_int_equal(vg_io_timeout(io, 100000000, on_tick, &ticked_, &tick_), 0); \
			}                                                                 \
			assert_true(turns_++ < TURNS_MAX);                                \
			assert_true(vg_io_run(io, true) >= 0);                            \
		}                                                                         \
		if (!ticked_)                                                             \
			vg_io_cancel(io, tick_);                                          \
	} while (0)

/* What one operation has told its owner. */
struct heard {
	struct vg_io *io;
	vg_io_op op;
	int events, last_result, ends;
	size_t bytes;
	__u8 *data; /* or NULL: only counted */
	bool truncated;
	struct sockaddr_in peer;
};

static void on_event(void *owner, const struct vg_io_event *event)
{
	struct heard *heard = owner;

	heard->events++;
	heard->last_result = event->result;
	heard->ends += !event->more;
	heard->truncated |= event->truncated;
	if (event->peer && event->peer_length >= sizeof(heard->peer))
		memcpy(&heard->peer, event->peer, sizeof(heard->peer));
	if (event->result > 0 && event->data && heard->data)
		memcpy(heard->data + heard->bytes, event->data, event->result);
	if (event->result > 0)
		heard->bytes += event->result;
}

static in_port_t bound_port(int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	return address.sin_port;
}

static struct sockaddr_in loopback(in_port_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

/* ---- streams --------------------------------------------------------------------------------------------------- */

struct server {
	struct vg_io *io;
	vg_io_op accept_op;
	int accepted, closed, fd[CLIENTS];
	size_t echoed;
};
struct echo {
	struct server *server;
	int fd;
	__u8 reply[16];
};

static void on_sent(void *owner, const struct vg_io_event *event)
{
	struct echo *echo = owner;

	assert_int_equal(event->result, sizeof(echo->reply));
	echo->server->echoed++;
}

static void on_request(void *owner, const struct vg_io_event *event)
{
	struct echo *echo = owner;
	struct iovec vectors[2] = { { echo->reply, 7 }, { echo->reply + 7, 9 } };

	if (event->result > 0) {
		assert_int_equal(event->result, sizeof(echo->reply));
		memcpy(echo->reply, event->data, sizeof(echo->reply));
		assert_int_equal(vg_io_send(echo->server->io, echo->fd, vectors, 2, on_sent, echo, NULL), 0);
		return;
	}
	assert_int_equal(event->result, 0);
	assert_null(event->data);
	assert_false(event->more);
	vg_io_close(echo->server->io, echo->fd);
	echo->server->closed++;
	free(echo);
}

static void on_accept(void *owner, const struct vg_io_event *event)
{
	struct server *server = owner;
	struct echo *echo = calloc(1, sizeof(*echo));

	assert_true(event->result >= 0);
	assert_true(fcntl(event->result, F_GETFD) & FD_CLOEXEC);
	assert_true(event->more);
	echo->server = server;
	echo->fd = event->result;
	server->fd[server->accepted++] = event->result;
	assert_int_equal(vg_io_recv(server->io, echo->fd, on_request, echo, NULL), 0);
}

static void test_ring_many_connections_share_few_buffers(void **state)
{
	struct server server = { .io = *state };
	int listening = vg_listen_tcp("127.0.0.1:0"), client[CLIENTS], index;
	struct sockaddr_in address = loopback(bound_port(listening));
	char request[17], reply[16];

	assert_int_equal(vg_io_accept(server.io, listening, on_accept, &server, &server.accept_op), 0);
	for (index = 0; index < CLIENTS; index++) {
		client[index] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(client[index], (struct sockaddr *)&address, sizeof(address)), 0);
	}
	turn_until(server.io, server.accepted == CLIENTS);
	/* All at once: many more than there are buffers. */
	for (index = 0; index < CLIENTS; index++) {
		snprintf(request, sizeof(request), "request %08d", index);
		assert_int_equal(write(client[index], request, 16), 16);
	}
	turn_until(server.io, server.echoed == CLIENTS);
	assert_true(vg_io_stats(server.io)->no_buffers > 0);
	for (index = 0; index < CLIENTS; index++) {
		snprintf(request, sizeof(request), "request %08d", index);
		assert_int_equal(read(client[index], reply, 16), 16);
		assert_memory_equal(reply, request, 16);
		close(client[index]);
	}
	turn_until(server.io, server.closed == CLIENTS);
	vg_io_cancel(server.io, server.accept_op);
	vg_io_close(server.io, listening);
	assert_true(vg_io_run(server.io, false) >= 0);
	assert_int_equal(vg_io_stats(server.io)->stale, 0);
	for (index = 0; index < CLIENTS; index++)
		assert_int_equal(fcntl(server.fd[index], F_GETFD), -1);
}

/* Out of descriptors: the accept rests instead of spinning, and goes on when there are some again. */
static void test_ring_accept_outlives_lack_of_descriptors(void **state)
{
	struct server server = { .io = *state };
	int listening = vg_listen_tcp("127.0.0.1:0"), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rounds;
	struct heard heard = { .io = *state }, rest = { .io = *state };
	struct sockaddr_in address = loopback(bound_port(listening));
	struct rlimit before, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = client + 1;
	assert_int_equal(vg_io_accept(*state, listening, on_event, &heard, &server.accept_op), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	for (rounds = 0; rounds < 3; rounds++) {
		rest.events = 0;
		assert_int_equal(vg_io_timeout(*state, 30000000, on_event, &rest, NULL), 0);
		turn_until(*state, rest.events);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(heard.last_result, -EMFILE);
	assert_int_equal(heard.ends, 0);
	assert_in_range(heard.events, 1, 10); /* a spinning accept would have had thousands */
	turn_until(*state, heard.last_result >= 0);
	vg_io_close(*state, heard.last_result);
	vg_io_cancel(*state, server.accept_op);
	vg_io_close(*state, listening);
	assert_true(vg_io_run(*state, false) >= 0);
	close(client);
}

static void test_ring_large_send_completes_short_and_goes_on(void **state)
{
	enum { BYTES = 8 << 20 };
	struct heard received = { .io = *state }, sent = { .io = *state };
	__u8 *from = malloc(BYTES), *to = malloc(BYTES);
	size_t index, sends = 0;
	int pair[2];

	for (index = 0; index < BYTES; index++)
		from[index] = index * 31 + (index >> 12);
	received.data = to;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vg_io_recv(sent.io, pair[1], on_event, &received, &received.op), 0);
	while (sent.bytes < BYTES) {
		int before = sent.events;
		struct iovec vector = { from + sent.bytes, BYTES - sent.bytes };

		assert_int_equal(vg_io_send(sent.io, pair[0], &vector, 1, on_event, &sent, NULL), 0);
		turn_until(sent.io, sent.events > before);
		assert_true(sent.last_result > 0);
		sends++;
	}
	assert_true(sends > 1); /* a socket buffer is smaller than this */
	turn_until(sent.io, received.bytes == BYTES);
	assert_memory_equal(from, to, BYTES);
	vg_io_cancel(sent.io, received.op);
	vg_io_close(sent.io, pair[0]);
	vg_io_close(sent.io, pair[1]);
	assert_true(vg_io_run(sent.io, false) >= 0);
	free(from);
	free(to);
}

static void test_ring_cancelled_receive_is_silent_and_stopped_one_hears_the_rest(void **state)
{
	struct heard cancelled = { .io = *state }, stopped = { .io = *state }, again = { .io = *state };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vg_io_recv(*state, pair[1], on_event, &cancelled, &cancelled.op), 0);
	assert_true(vg_io_run(*state, false) >= 0);
	/* The data is there before the cancel is submitted: its completion is late and must be dropped. */
	assert_int_equal(write(pair[0], "late", 4), 4);
	vg_io_cancel(*state, cancelled.op);
	vg_io_cancel(*state, cancelled.op); /* harmless */
	assert_true(vg_io_run(*state, false) >= 0);
	assert_true(vg_io_run(*state, false) >= 0);
	assert_int_equal(cancelled.events, 0);

	assert_int_equal(vg_io_recv(*state, pair[1], on_event, &stopped, &stopped.op), 0);
	assert_true(vg_io_run(*state, false) >= 0);
	assert_int_equal(write(pair[0], "rest", 4), 4);
	vg_io_stop(*state, stopped.op);
	turn_until(*state, stopped.ends);
	assert_int_equal(stopped.ends, 1);
	assert_int_equal(write(pair[0], "next", 4), 4);
	assert_int_equal(vg_io_recv(*state, pair[1], on_event, &again, &again.op), 0);
	turn_until(*state, stopped.bytes + again.bytes >= 8);
	/* No byte was lost between the two, and none of the first's owner. */
	assert_true(stopped.bytes + again.bytes == 8 || stopped.bytes + again.bytes == 12);
	assert_int_equal(cancelled.events, 0);
	vg_io_stop(*state, stopped.op); /* it has ended: harmless */
	vg_io_cancel(*state, again.op);
	vg_io_close(*state, pair[0]);
	vg_io_close(*state, pair[1]);
	assert_true(vg_io_run(*state, false) >= 0);
}

static void test_ring_stopped_send_ends(void **state)
{
	struct heard sent = { .io = *state };
	size_t bytes = 8 << 20;
	__u8 *data = calloc(1, bytes);
	struct iovec vectors[2] = { { data, bytes / 2 }, { data + bytes / 2, bytes / 2 } };
	int pair[2], fill;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fill = fcntl(pair[0], F_GETFL);
	assert_int_equal(fcntl(pair[0], F_SETFL, fill | O_NONBLOCK), 0);
	while (write(pair[0], data, 4096) > 0)
		continue;
	assert_int_equal(fcntl(pair[0], F_SETFL, fill), 0);
	assert_int_equal(vg_io_send(*state, pair[0], vectors, 2, on_event, &sent, &sent.op), 0);
	assert_true(vg_io_run(*state, false) >= 0);
	assert_int_equal(sent.events, 0); /* nobody reads: it waits */
	vg_io_stop(*state, sent.op);
	turn_until(*state, sent.events);
	assert_int_equal(sent.last_result, -ECANCELED);
	assert_int_equal(sent.ends, 1);
	vg_io_close(*state, pair[0]);
	vg_io_close(*state, pair[1]);
	assert_true(vg_io_run(*state, false) >= 0);
	free(data);
}

static void test_ring_connect_reports_success_and_refusal(void **state)
{
	struct heard good = { .io = *state }, bad = { .io = *state };
	int listening = vg_listen_tcp("127.0.0.1:0"), closed = vg_listen_tcp("127.0.0.1:0"), first, second;
	struct sockaddr_in there = loopback(bound_port(listening)), nowhere = loopback(bound_port(closed));

	close(closed);
	first = vg_io_socket(*state, AF_INET, SOCK_STREAM);
	second = vg_io_socket(*state, AF_INET, SOCK_STREAM);
	assert_true(first >= 0 && second >= 0);
	assert_int_equal(vg_io_connect(*state, first, (void *)&there, sizeof(there), on_event, &good, NULL), 0);
	assert_int_equal(vg_io_connect(*state, second, (void *)&nowhere, sizeof(nowhere), on_event, &bad, NULL), 0);
	turn_until(*state, good.events && bad.events);
	assert_int_equal(good.last_result, 0);
	assert_int_equal(bad.last_result, -ECONNREFUSED);
	vg_io_close(*state, first);
	vg_io_close(*state, second);
	vg_io_close(*state, listening);
	assert_true(vg_io_run(*state, false) >= 0);
}

static void test_ring_slots_run_out_and_come_back(void **state)
{
	struct heard heard[1024] = { 0 };
	vg_io_op op[1024];
	int count = 0, index;

	assert_true(vg_io_run(*state, false) >= 0);
	while (count < 1024 && !vg_io_timeout(*state, 3600000000000ull, on_event, &heard[count], &op[count]))
		count++;
	assert_true(count >= (int)small.operations && count < 1024);
	assert_int_equal(vg_io_timeout(*state, 1, on_event, &heard[0], NULL), -EBUSY);
	assert_int_equal(vg_io_sendto(*state, 0, "x", 1, (void *)&(struct sockaddr_in){ 0 }, 16), -EBUSY);
	assert_int_equal(vg_io_stats(*state)->datagrams_lost, 1);
	for (index = 0; index < count; index++)
		vg_io_cancel(*state, op[index]);
	assert_true(vg_io_run(*state, false) >= 0);
	assert_true(vg_io_run(*state, false) >= 0);
	for (index = 0; index < count; index++)
		assert_int_equal(heard[index].events, 0);
	assert_int_equal(vg_io_timeout(*state, 1000000, on_event, &heard[0], NULL), 0);
	turn_until(*state, heard[0].events);
	assert_int_equal(heard[0].last_result, 0);
}

/* ---- datagrams ------------------------------------------------------------------------------------------------- */

static void test_ring_datagrams_arrive_whole_or_marked_truncated(void **state)
{
	__u8 data[DATAGRAM_BYTES * 2], got[DATAGRAM_BYTES * 4];
	struct heard heard = { .io = *state, .data = got };
	int server = vg_listen_udp("127.0.0.1:0"), client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in there = loopback(bound_port(server)), here = loopback(0);
	size_t index;

	for (index = 0; index < sizeof(data); index++)
		data[index] = index;
	assert_int_equal(bind(client, (void *)&here, sizeof(here)), 0);
	assert_int_equal(vg_io_recvmsg(*state, server, on_event, &heard, &heard.op), 0);
	assert_true(vg_io_run(*state, false) >= 0);

	assert_int_equal(sendto(client, data, DATAGRAM_BYTES, 0, (void *)&there, sizeof(there)), DATAGRAM_BYTES);
	turn_until(*state, heard.events == 1);
	assert_int_equal(heard.last_result, DATAGRAM_BYTES);
	assert_false(heard.truncated);
	assert_memory_equal(got, data, DATAGRAM_BYTES);
	assert_int_equal(heard.peer.sin_port, bound_port(client));

	assert_int_equal(sendto(client, data, 0, 0, (void *)&there, sizeof(there)), 0);
	turn_until(*state, heard.events == 2);
	assert_int_equal(heard.last_result, 0);
	assert_int_equal(heard.ends, 0);

	assert_int_equal(sendto(client, data, DATAGRAM_BYTES + 1, 0, (void *)&there, sizeof(there)), DATAGRAM_BYTES + 1);
	turn_until(*state, heard.events == 3);
	assert_int_equal(heard.last_result, DATAGRAM_BYTES);
	assert_true(heard.truncated);

	/* And back, from copies: more than there are copies is refused and counted, what was taken arrives. */
	for (index = 0; index < small.datagram_buffers; index++)
		assert_int_equal(vg_io_sendto(*state, server, &data[index], 1, (void *)&heard.peer, sizeof(heard.peer)), 0);
	assert_int_equal(vg_io_sendto(*state, server, data, 1, (void *)&heard.peer, sizeof(heard.peer)), -EBUSY);
	assert_int_equal(vg_io_sendto(*state, server, data, sizeof(data), (void *)&heard.peer, sizeof(heard.peer)),
			 -EMSGSIZE);
	assert_true(vg_io_run(*state, false) >= 0);
	for (index = 0; index < small.datagram_buffers; index++) {
		assert_int_equal(recv(client, got, sizeof(got), 0), 1);
		assert_int_equal(got[0], index);
	}
	assert_int_equal(vg_io_sendto(*state, server, data, 1, (void *)&heard.peer, sizeof(heard.peer)), 0);
	vg_io_cancel(*state, heard.op);
	vg_io_close(*state, server);
	assert_true(vg_io_run(*state, false) >= 0);
	close(client);
}

static void test_ring_datagrams_survive_lack_of_buffers(void **state)
{
	struct heard heard = { .io = *state };
	int server = vg_listen_udp("127.0.0.1:0"), client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in there = loopback(bound_port(server));
	int index;

	assert_int_equal(vg_io_recvmsg(*state, server, on_event, &heard, &heard.op), 0);
	for (index = 0; index < 100; index++)
		assert_int_equal(sendto(client, "datagram", 8, 0, (void *)&there, sizeof(there)), 8);
	turn_until(*state, heard.events == 100);
	assert_int_equal(heard.bytes, 800);
	assert_int_equal(heard.ends, 0);
	assert_true(vg_io_stats(*state)->no_buffers > 0);
	vg_io_cancel(*state, heard.op);
	vg_io_close(*state, server);
	assert_true(vg_io_run(*state, false) >= 0);
	close(client);
}

/*
 * More at once than the completion queue holds: the kernel keeps the rest, ends the operation, and nothing is
 * missing.
 */
static void test_ring_completion_queue_overflows_without_loss(void **state)
{
	enum { SOCKETS = 6, EACH = 60 };
	struct vg_io_config config = small;
	struct heard heard[SOCKETS] = { 0 };
	int server[SOCKETS], client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), index, round, events = 0;
	struct sockaddr_in there;
	struct vg_io *io;

	config.entries = 4;
	config.operations = SOCKETS + 2;
	config.datagram_buffers = 256;
	assert_int_equal(vg_io_new(&io, &config), 0);
	assert_true(vg_io_run(io, false) >= 0);
	for (index = 0; index < SOCKETS; index++) {
		server[index] = vg_listen_udp("127.0.0.1:0");
		assert_int_equal(vg_io_recvmsg(io, server[index], on_event, &heard[index], &heard[index].op), 0);
	}
	assert_true(vg_io_run(io, false) >= 0);
	for (round = 0; round < EACH; round++) {
		for (index = 0; index < SOCKETS; index++) {
			there = loopback(bound_port(server[index]));
			assert_int_equal(sendto(client, "x", 1, 0, (void *)&there, sizeof(there)), 1);
		}
	}
	for (round = 0; round < 1000 && events < SOCKETS * EACH; round++) {
		assert_true(vg_io_run(io, false) >= 0);
		for (index = 0, events = 0; index < SOCKETS; index++)
			events += heard[index].events;
	}
	assert_int_equal(events, SOCKETS * EACH);
	assert_true(vg_io_stats(io)->overflows > 0);
	for (index = 0; index < SOCKETS; index++) {
		assert_int_equal(heard[index].ends, 0);
		vg_io_cancel(io, heard[index].op);
		vg_io_close(io, server[index]);
	}
	vg_io_free(io);
	close(client);
}

/* ---- other threads --------------------------------------------------------------------------------------------- */

#define WAKES 20000
struct wakes {
	struct vg_io *io;
	_Atomic int handed_over; /* work given by the other thread */
	int seen, woken;
};

static void on_woken(void *owner, const struct vg_io_event *event)
{
	struct wakes *wakes = owner;

	wakes->woken++;
	wakes->seen = wakes->handed_over;
}

static void *wake_often(void *argument)
{
	struct wakes *wakes = argument;
	int index;

	for (index = 0; index < WAKES; index++) {
		wakes->handed_over++;
		vg_io_wake(wakes->io);
	}
	return NULL;
}

static void test_ring_wake_is_never_lost(void **state)
{
	struct wakes wakes = { .io = *state };
	pthread_t thread;

	vg_io_on_wake(wakes.io, on_woken, &wakes);
	assert_int_equal(pthread_create(&thread, NULL, wake_often, &wakes), 0);
	turn_until(wakes.io, wakes.seen == WAKES);
	pthread_join(thread, NULL);
	assert_true(wakes.woken <= WAKES);
}

static void *turn_elsewhere(void *argument)
{
	struct heard *heard = argument;

	while (!heard->events)
		if (vg_io_run(heard->io, true) < 0)
			break;
	return NULL;
}

/* Made on one thread, run by another, closed and freed by the first: what a daemon does with its workers. */
static void test_ring_made_here_runs_there(void **state)
{
	struct heard heard = { .io = *state }, received = { .io = *state };
	pthread_t thread;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vg_io_recv(heard.io, pair[1], on_event, &received, &received.op), 0);
	assert_int_equal(vg_io_timeout(heard.io, 1000000, on_event, &heard, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, turn_elsewhere, &heard), 0);
	pthread_join(thread, NULL);
	assert_int_equal(heard.events, 1);
	assert_int_equal(heard.last_result, 0);
	assert_int_equal(vg_io_timeout(heard.io, 1, on_event, &heard, NULL), -EBUSY);
	vg_io_cancel(heard.io, received.op);
	vg_io_close(heard.io, pair[1]);
	assert_int_equal(fcntl(pair[1], F_GETFD), -1);
	close(pair[0]);
}

static void test_ring_refuses_a_senseless_configuration(void **state)
{
	struct vg_io_config config = small;
	struct vg_io *io = NULL;

	config.stream_buffers = 7;
	assert_int_equal(vg_io_new(&io, &config), -EINVAL);
	assert_null(io);
}

int main(void)
{
#define real(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		real(test_ring_many_connections_share_few_buffers),
		real(test_ring_accept_outlives_lack_of_descriptors),
		real(test_ring_large_send_completes_short_and_goes_on),
		real(test_ring_cancelled_receive_is_silent_and_stopped_one_hears_the_rest),
		real(test_ring_stopped_send_ends),
		real(test_ring_connect_reports_success_and_refusal),
		real(test_ring_slots_run_out_and_come_back),
		real(test_ring_datagrams_arrive_whole_or_marked_truncated),
		real(test_ring_datagrams_survive_lack_of_buffers),
		real(test_ring_completion_queue_overflows_without_loss),
		real(test_ring_wake_is_never_lost),
		real(test_ring_made_here_runs_there),
		cmocka_unit_test(test_ring_refuses_a_senseless_configuration),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
