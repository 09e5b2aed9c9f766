/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Connections over simulated I/O. A server speaks a small protocol over conn.c; clients send random messages, read at
 * random paces and leave in random ways, under random faults. Every byte must come back in order, and at the end every
 * pool must be full again.
 *
 * Message: a 4-byte length, then so many bytes, of which the first is an enum message_kind. The answer is the same with
 * every byte of the body inverted.
 *
 *   VG_SIM_SEED=n replays one run, VG_SIM_RUNS=n sets how many there are.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uring/conn.h"
#include "uring/sim.h"

#define RUNS_DEFAULT 1000
#define CLIENTS_MAX 6
#define MESSAGES_MAX 30
#define INPUT_MAX 150000
#define TURNS_MAX 400000
#define STREAM_BUFFERS 8
#define STREAM_BUFFER_BYTES 4096

enum message_kind {
	MESSAGE_ECHO,	/* answered at once */
	MESSAGE_LOAN,	/* answered at once, with a borrowed block */
	MESSAGE_LATE,	/* the session pauses; answered by a timer, put in place by a splice */
	MESSAGE_NESTED, /* pauses and resumes within the call */
	MESSAGE_FINISH, /* answered, then the server closes */
	MESSAGE_BAD,	/* the server closes with an error, after the answers before it */
	MESSAGE_HUGE,	/* announces more than input_max: the same */
	MESSAGE_ABORT,	/* the server cuts the connection at once */
};

static __u64 seed;
static struct {
	__u32 held_full, out_high, scarce, no_buffers;
} reached; /* a test whose faults never happen proves nothing */

static void say_seed(int signal_number)
{
	char text[96];
	int length = snprintf(text, sizeof(text), "# replay with VG_SIM_SEED=%llu\n", seed);

	(void)!write(STDERR_FILENO, text, length);
	if (signal_number) {
		signal(SIGABRT, SIG_DFL);
		raise(SIGABRT);
	}
}

#define check(condition)                \
	do {                            \
		if (!(condition)) {     \
			say_seed(0);    \
			fail_msg("seed %llu: %s", seed, #condition); \
		}                       \
	} while (0)

/* ---- the server ------------------------------------------------------------------------------------------------ */

struct server {
	struct vg_io *io;
	struct vg_conn_pool *conns;
	struct vg_out_pool chunks;
	struct vg_mem mem;
	size_t memory_out, memory_calls, memory_refused_after;
	int loans_out, sessions, opened, broken; /* broken: closed with a reason that no client asked for */
	int listening;
	vg_io_op accept_op;
	bool ending;
	bool scarce; /* too little of something, and streams break: connections may end early */
	size_t held_most, out_most;
};

struct session {
	struct server *server;
	struct vg_conn *conn;
	int asked_reason; /* the error its client asked for */
	bool late;    /* a timer is running */
};

static void *memory_get(void *context, size_t bytes)
{
	struct server *server = context;

	if (++server->memory_calls > server->memory_refused_after && vg_sim_random(4) == 0)
		return NULL;
	server->memory_out++;
	return malloc(bytes);
}

static void memory_put(void *context, void *memory)
{
	((struct server *)context)->memory_out--;
	free(memory);
}

struct loan {
	struct server *server;
	__u8 bytes[];
};

static void release_loan(void *context)
{
	struct loan *loan = context;

	loan->server->loans_out--;
	free(loan);
}

static void invert(__u8 *to, const __u8 *from, size_t bytes)
{
	while (bytes--)
		*to++ = ~*from++;
}

static void answer(struct server *server, struct vg_out *out, const __u8 *body, __u32 bytes, bool lend)
{
	vg_out_append(out, &bytes, sizeof(bytes));
	if (lend) {
		struct loan *loan = malloc(sizeof(*loan) + bytes);

		loan->server = server;
		server->loans_out++;
		invert(loan->bytes, body, bytes);
		vg_out_lend(out, loan->bytes, bytes, release_loan, loan);
		return;
	}
	while (bytes) {
		__u32 part = bytes < 1000 ? bytes : 1000;
		__u8 *room = vg_out_reserve(out, part);

		if (!room)
			return;
		invert(room, body, part);
		vg_out_commit(out, part);
		body += part;
		bytes -= part;
	}
}

struct late {
	struct session *session; /* NULL: it has gone meanwhile */
	struct vg_out out;
	struct late *next;
};
static struct late *late_first;

static void on_late(void *owner, const struct vg_io_event *event)
{
	struct late *late = owner, **at;

	for (at = &late_first; *at != late; at = &(*at)->next)
		continue;
	*at = late->next;
	if (late->session) {
		late->session->late = false;
		vg_out_splice(&late->session->conn->out, &late->out);
		vg_conn_resume(late->session->conn);
	}
	vg_out_deinit(&late->out);
	free(late);
}

static void answer_late(struct session *session, const __u8 *body, __u32 bytes)
{
	struct late *late = calloc(1, sizeof(*late));

	vg_out_init(&late->out, &session->server->chunks);
	answer(session->server, &late->out, body, bytes, bytes & 1);
	late->session = session;
	late->next = late_first;
	late_first = late;
	if (vg_io_timeout(session->server->io, vg_sim_random(vg_sim_random(10) ? 100000 : 3000000), on_late, late, NULL)) {
		late_first = late->next;
		vg_out_deinit(&late->out);
		free(late);
		vg_conn_abort(session->conn, -EBUSY);
		return;
	}
	session->late = true;
	vg_conn_pause(session->conn);
}

/* One message; returns what on_input would. */
static ssize_t take_message(struct session *session, const __u8 *data, size_t length)
{
	struct vg_conn *conn = session->conn;
	__u32 bytes;

	if (length < sizeof(bytes))
		return 0;
	memcpy(&bytes, data, sizeof(bytes));
	if (bytes > INPUT_MAX)
		session->asked_reason = -EMSGSIZE;
	if (length - sizeof(bytes) < bytes) {
		conn->input_wanted = vg_sim_random(4) && bytes <= INPUT_MAX ? 0 : sizeof(bytes) + (__u64)bytes;
		return 0;
	}
	data += sizeof(bytes);
	switch (data[0]) {
	case MESSAGE_BAD:
		session->asked_reason = -EPROTO;
		return -EPROTO;
	case MESSAGE_ABORT:
		session->asked_reason = -ECONNABORTED;
		vg_conn_abort(conn, -ECONNABORTED);
		break;
	case MESSAGE_LATE:
		answer_late(session, data, bytes);
		break;
	case MESSAGE_NESTED:
		vg_conn_pause(conn);
		answer(session->server, &conn->out, data, bytes, false);
		vg_conn_resume(conn);
		break;
	default:
		answer(session->server, &conn->out, data, bytes, data[0] == MESSAGE_LOAN);
	}
	if (data[0] == MESSAGE_FINISH)
		vg_conn_finish(conn);
	return sizeof(bytes) + bytes;
}

static ssize_t on_input(struct vg_conn *conn, const __u8 *data, size_t length)
{
	struct session *session = conn->session;
	size_t taken = 0;

	check(session->conn == conn && !conn->paused && !session->late && length);
	check(conn->out.bytes <= VG_CONN_OUT_HIGH);
	while (!conn->paused && conn->out.bytes <= VG_CONN_OUT_HIGH) {
		ssize_t part = take_message(session, data + taken, length - taken);

		if (part < 0)
			return part;
		taken += part;
		if (!part || vg_sim_random(8) == 0)
			break;
	}
	return taken;
}

static void on_close(struct vg_conn *conn, int reason)
{
	struct session *session = conn->session;
	struct late *late;

	check(session->conn == conn);
	if (reason && reason != session->asked_reason)
		session->server->broken++;
	for (late = late_first; late; late = late->next)
		if (late->session == session)
			late->session = NULL;
	session->server->sessions--;
	vg_conn_flush(conn); /* pointless, and harmless */
	free(session);
}

static const struct vg_conn_user server_user = { .on_input = on_input, .on_close = on_close };

static void on_accept(void *owner, const struct vg_io_event *event)
{
	struct server *server = owner;
	struct session *session;

	if (!event->more && !server->ending)
		check(!vg_io_accept(server->io, server->listening, on_accept, server, &server->accept_op));
	check(event->result >= 0);
	server->opened++;
	session = calloc(1, sizeof(*session));
	session->server = server;
	if (vg_conn_open(server->conns, event->result, &server_user, session, &session->conn)) {
		server->broken++;
		free(session);
		return;
	}
	session->conn->input_max = INPUT_MAX;
	server->sessions++;
}

static void watch_bounds(struct vg_conn *conn, void *context)
{
	struct server *server = context;

	if (conn->held_length > server->held_most)
		server->held_most = conn->held_length;
	if (conn->out.bytes > server->out_most)
		server->out_most = conn->out.bytes;
}

static struct sockaddr_in server_address(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(30000), .sin_addr.s_addr = htonl(0x0a000001) };
}

static void server_start(struct server *server, __u32 chunks, __u32 operations, __u32 connections)
{
	const struct vg_io_config config = {
		.entries = 64,
		.operations = operations,
		.stream_buffers = STREAM_BUFFERS,
		.stream_buffer_bytes = STREAM_BUFFER_BYTES,
		.datagram_buffers = 8,
		.datagram_bytes = 1432,
		.seed = seed,
	};
	struct sockaddr_in address = server_address();

	memset(server, 0, sizeof(*server));
	server->mem = (struct vg_mem){ memory_get, memory_put, server };
	server->memory_refused_after = SIZE_MAX;
	check(!vg_io_new(&server->io, &config));
	check(!vg_out_pool_init(&server->chunks, chunks));
	check(!vg_conn_pool_new(&server->conns, server->io, &server->mem, &server->chunks, connections));
	server->listening = vg_sim_listen((struct sockaddr *)&address, sizeof(address));
	check(server->listening >= 0);
	check(!vg_io_accept(server->io, server->listening, on_accept, server, &server->accept_op));
}

static void server_turn(struct server *server)
{
	check(vg_io_run(server->io, vg_sim_random(2)) >= 0);
	vg_conn_pool_flush(server->conns);
	vg_conn_pool_each(server->conns, watch_bounds, server);
}

/* Nothing may be left anywhere. */
static void server_end(struct server *server, __u32 chunks)
{
	int turns;

	for (turns = 0; (vg_conn_pool_used(server->conns) || late_first) && turns < TURNS_MAX; turns++)
		server_turn(server);
	check(!vg_conn_pool_used(server->conns) && !server->sessions && !late_first);
	server->ending = true;
	vg_io_cancel(server->io, server->accept_op);
	vg_io_close(server->io, server->listening);
	for (turns = 0; vg_sim_operations_open(server->io) && turns < 1000; turns++)
		check(vg_io_run(server->io, false) >= 0);
	check(!vg_sim_operations_open(server->io) && !vg_sim_buffers_out(server->io));
	check(!server->loans_out && !server->memory_out);
	check(server->chunks.free_count == chunks);
	check(!vg_sim_sockets_open());
	vg_conn_pool_free(server->conns);
	vg_io_free(server->io);
	vg_out_pool_deinit(&server->chunks);
	vg_sim_end();
}

/* ---- clients --------------------------------------------------------------------------------------------------- */

enum farewell {
	FAREWELL_HALF_CLOSE, /* stops sending, reads all answers and then the end */
	FAREWELL_SERVER,     /* its last message makes the server close */
	FAREWELL_CLOSE,	     /* reads all answers, closes */
	FAREWELL_EARLY,	     /* closes in the middle */
	FAREWELL_BREAK,	     /* is cut off in the middle */
	FAREWELL_MAX
};

struct client {
	int fd;
	enum farewell farewell;
	bool slow, greedy, done, cut; /* greedy: sends much, as fast as it can */
	__u8 *requests, *answers;
	size_t request_bytes, answer_bytes, sent, received, leave_at;
};

static size_t random_length(bool greedy)
{
	switch (greedy ? vg_sim_random(5) : vg_sim_random(20)) {
	case 0:
		return 1 + vg_sim_random(100000);
	case 1 ... 4:
		return 1 + vg_sim_random(9000);
	default:
		return 1 + vg_sim_random(200);
	}
}

static void plan_message(struct client *client, enum message_kind kind, size_t room)
{
	__u32 bytes = random_length(client->greedy), announced = kind == MESSAGE_HUGE ? INPUT_MAX + 1 + bytes : bytes;
	__u8 *at = client->requests + client->request_bytes, *to = client->answers + client->answer_bytes;
	__u32 index;

	check(client->request_bytes + sizeof(bytes) + bytes <= room);
	memcpy(at, &announced, sizeof(announced));
	for (index = 0; index < bytes; index++)
		at[sizeof(bytes) + index] = vg_sim_random(256);
	at[sizeof(bytes)] = kind;
	client->request_bytes += sizeof(bytes) + bytes;
	if (kind == MESSAGE_BAD || kind == MESSAGE_HUGE || kind == MESSAGE_ABORT)
		return;
	memcpy(to, &bytes, sizeof(bytes));
	invert(to + sizeof(bytes), at + sizeof(bytes), bytes);
	client->answer_bytes += sizeof(bytes) + bytes;
}

/* Returns whether it will leave in the middle. */
static bool client_start(struct client *client)
{
	static const enum message_kind last[] = { MESSAGE_FINISH, MESSAGE_BAD, MESSAGE_HUGE, MESSAGE_ABORT };
	struct sockaddr_in address = server_address();
	size_t messages = 1 + vg_sim_random(MESSAGES_MAX), room;
	enum message_kind kind;

	memset(client, 0, sizeof(*client));
	client->farewell = vg_sim_random(FAREWELL_MAX);
	client->slow = vg_sim_random(4) == 0;
	client->greedy = vg_sim_random(10) == 0;
	if (client->greedy)
		messages *= 5;
	room = (messages + 1) * 100100;
	client->requests = malloc(room);
	client->answers = malloc(room);
	while (messages--)
		plan_message(client, vg_sim_random(MESSAGE_FINISH), room);
	client->leave_at = vg_sim_random(client->request_bytes);
	if (client->farewell == FAREWELL_SERVER) {
		kind = last[vg_sim_random(4)];
		client->cut = kind == MESSAGE_ABORT; /* answers before it may be lost */
		plan_message(client, kind, room);
	}
	client->fd = vg_sim_connect((struct sockaddr *)&address, sizeof(address));
	check(client->fd >= 0);
	return client->farewell == FAREWELL_EARLY || client->farewell == FAREWELL_BREAK;
}

static void client_end(struct client *client)
{
	vg_sim_close(client->fd);
	client->fd = -1;
	client->done = true;
	free(client->requests);
	free(client->answers);
}

static void client_send(struct client *client)
{
	size_t left = client->request_bytes - client->sent;
	ssize_t sent;

	if (!left || (!client->greedy && vg_sim_random(3) == 0))
		return;
	if (!client->greedy && vg_sim_random(2))
		left = 1 + vg_sim_random(left);
	sent = vg_sim_write(client->fd, client->requests + client->sent, left);
	if (sent > 0)
		client->sent += sent;
	if (client->sent == client->request_bytes && client->farewell == FAREWELL_HALF_CLOSE)
		vg_sim_shutdown(client->fd);
}

/* What came must be what was to come; at its end the answers must be whole, unless the connection was cut. */
static bool client_read(struct client *client, const struct server *server)
{
	static __u8 data[100000];
	size_t wanted = client->slow ? 1 + vg_sim_random(20000) : 1 + vg_sim_random(sizeof(data));
	ssize_t got;

	if (vg_sim_random(client->slow ? 30 : 2))
		return true;
	got = vg_sim_read(client->fd, data, wanted);
	if (got == -EAGAIN)
		return true;
	if (got > 0) {
		check(client->received + got <= client->answer_bytes);
		check(!memcmp(data, client->answers + client->received, got));
		client->received += got;
		return client->farewell != FAREWELL_CLOSE || client->received < client->answer_bytes;
	}
	if (server->scarce || client->cut)
		return false;
	check(client->received == client->answer_bytes);
	check(got == 0 || client->farewell == FAREWELL_SERVER); /* HUGE: closed with its bytes unread */
	check(client->farewell == FAREWELL_HALF_CLOSE || client->farewell == FAREWELL_SERVER);
	return false;
}

static void client_turn(struct client *client, const struct server *server)
{
	bool leaves = client->sent >= client->leave_at;

	if (client->done)
		return;
	if (leaves && client->farewell == FAREWELL_BREAK)
		vg_sim_break(client->fd);
	if (leaves && (client->farewell == FAREWELL_BREAK || client->farewell == FAREWELL_EARLY)) {
		client_end(client);
		return;
	}
	client_send(client);
	if (!client_read(client, server))
		client_end(client);
}

/* ---- runs ------------------------------------------------------------------------------------------------------ */

static struct vg_sim_faults random_faults(bool breaks)
{
	struct vg_sim_faults faults = vg_sim_all_faults;

	/* Some runs with hardly any fault, some with a lot of one of them. */
	faults.late = vg_sim_random(2) ? faults.late : vg_sim_random(900);
	faults.short_transfer = vg_sim_random(2) ? faults.short_transfer : vg_sim_random(1001);
	faults.no_buffers = vg_sim_random(2) ? 0 : vg_sim_random(500);
	faults.more_cleared = vg_sim_random(2) ? 0 : vg_sim_random(1001);
	faults.overflow = vg_sim_random(2) ? 0 : vg_sim_random(800);
	faults.reset = breaks ? vg_sim_random(20) : 0;
	return faults;
}

static void run_once(void)
{
	struct client client[CLIENTS_MAX];
	struct vg_sim_faults faults;
	struct server server;
	__u32 chunks = 2000, operations = 64;
	int clients, leavers = 0, index, turns, running;
	bool scarce;

	vg_sim_start(seed, &vg_sim_no_faults);
	scarce = vg_sim_random(4) == 0;
	faults = random_faults(scarce);
	vg_sim_set_faults(&faults);
	if (scarce) {
		/* Too little of something: connections may break, and nothing else. */
		chunks = 5 + vg_sim_random(40);
		operations = 4 + vg_sim_random(20);
	}
	clients = 1 + vg_sim_random(CLIENTS_MAX);
	server_start(&server, chunks, operations, scarce ? 1 + vg_sim_random(CLIENTS_MAX) : CLIENTS_MAX);
	server.scarce = scarce;
	if (scarce)
		server.memory_refused_after = vg_sim_random(50);
	for (index = 0; index < clients; index++)
		leavers += client_start(&client[index]);
	for (turns = 0, running = 1; running && turns < TURNS_MAX; turns++) {
		server_turn(&server);
		for (index = 0, running = 0; index < clients; index++) {
			client_turn(&client[index], &server);
			running += !client[index].done;
		}
	}
	check(!running); /* nobody waits for ever */
	check(scarce || server.broken <= leavers);
	check(server.held_most <= INPUT_MAX + VG_CONN_HELD_MAX + 2 * STREAM_BUFFERS * STREAM_BUFFER_BYTES);
	reached.held_full += server.held_most >= VG_CONN_HELD_MAX;
	reached.out_high += server.out_most > VG_CONN_OUT_HIGH;
	reached.scarce += scarce && server.broken;
	reached.no_buffers += vg_io_stats(server.io)->no_buffers > 0;
	server_end(&server, chunks);
}

static void test_conn_survives_every_seed(void **state)
{
	const char *one = getenv("VG_SIM_SEED"), *count = getenv("VG_SIM_RUNS");
	__u64 first = one ? strtoull(one, NULL, 0) : 1, runs = one ? 1 : count ? strtoull(count, NULL, 0) : RUNS_DEFAULT;

	signal(SIGABRT, say_seed);
	for (seed = first; seed < first + runs; seed++)
		run_once();
	signal(SIGABRT, SIG_DFL);
	if (runs >= RUNS_DEFAULT)
		assert_true(reached.held_full && reached.out_high && reached.scarce && reached.no_buffers);
	print_message("# runs that reached: input held back %u, output full %u, broken %u, no buffers %u\n",
		      reached.held_full, reached.out_high, reached.scarce, reached.no_buffers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conn_survives_every_seed),
	};

	return cmocka_run_group_tests_name("conn_sim", tests, NULL, NULL);
}
