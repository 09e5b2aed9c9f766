/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A whole node over simulated I/O: one worker with its services, turned by hand. Redis clients pipeline random commands
 * on keys of their own, in pieces, under faults, and know every byte that must come back.
 *
 *   VG_SIM_SEED=n replays one run (but for the store's random numbers and the clock), VG_SIM_RUNS=n sets how many.
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

#include "base/log.h"
#include "node/peers.h"
#include "node/world.h"
#include "uring/sim.h"

#define RUNS_DEFAULT 150
#define CLIENTS_MAX 6
#define COMMANDS_MAX 60
#define KEYS 5
#define VALUE_MAX 120000
#define TURNS_MAX 400000

static __u64 seed;
static __u32 address; /* the node looks whether it is free on the real machine: of this process alone */

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

#define check(condition)                                             \
	do {                                                         \
		if (!(condition)) {                                  \
			say_seed(0);                                 \
			fail_msg("seed %llu: %s", seed, #condition); \
		}                                                    \
	} while (0)

/* ---- the node -------------------------------------------------------------------------------------------------- */

static struct vg_world *node_start(void)
{
	static struct vg_options_text text;
	struct vg_world *world;
	char why[512] = "";

	vg_options_default(&text);
	snprintf(text.values.listen, sizeof(text.values.listen), "127.%u.%u.%u:%u", address >> 16 & 255, address >> 8 & 255,
		 address & 255, VG_PORT_MEM);
	snprintf(text.values.bpf, sizeof(text.values.bpf), "off");
	text.values.cloud_file[0] = 0;
	text.values.workers = 1;
	text.values.connections = CLIENTS_MAX;
	text.values.arena_bytes = 16 << 20;
	text.values.heap_bytes = 64 << 20;
	text.values.idle_timeout_s = 0;
	if (vg_options_finish(&text.values, why, sizeof(why)))
		fail_msg("%s", why);
	if (vg_world_new(&world, &text.values, NULL, NULL, why, sizeof(why)))
		fail_msg("%s", why);
	vg_store_worker(world->store, 0);
	return world;
}

static void node_turn(struct vg_world *world)
{
	check(vg_worker_step(&world->workers[0], vg_sim_random(2)) >= 0);
}

/* ---- clients --------------------------------------------------------------------------------------------------- */

struct text {
	__u8 *bytes;
	size_t length, room;
};

struct client {
	int fd, number;
	bool leaves, done; /* leaves: in the middle */
	struct text requests, answers, value[KEYS];
	bool present[KEYS];
	size_t sent, received, leave_at;
};

static void add(struct text *text, const void *bytes, size_t length)
{
	if (text->length + length > text->room) {
		text->room = (text->length + length) * 2;
		text->bytes = realloc(text->bytes, text->room);
	}
	if (length)
		memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
}

static void add_format(struct text *text, const char *format, ...)
{
	char line[128];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	add(text, line, strlen(line));
}

static void add_bulk(struct text *text, const void *bytes, size_t length)
{
	add_format(text, "$%zu\r\n", length);
	add(text, bytes, length);
	add(text, "\r\n", 2);
}

static size_t random_bytes(__u8 *bytes)
{
	size_t length, index;

	switch (vg_sim_random(16)) {
	case 0:
		length = vg_sim_random(VALUE_MAX);
		break;
	case 1:
	case 2:
		length = vg_sim_random(6000);
		break;
	default:
		length = vg_sim_random(100);
	}
	for (index = 0; index < length; index++)
		bytes[index] = vg_sim_random(256);
	return length;
}

static void begin_command(struct client *client, int words, const char *verb, int key)
{
	char name[32];

	snprintf(name, sizeof(name), "client%d:%d", client->number, key);
	add_format(&client->requests, "*%d\r\n$%zu\r\n%s\r\n", words, strlen(verb), verb);
	add_bulk(&client->requests, name, strlen(name));
}

static void plan_write(struct client *client, int key, bool append)
{
	static __u8 bytes[VALUE_MAX];
	size_t length = random_bytes(bytes);

	begin_command(client, 3, append ? "APPEND" : "SET", key);
	add_bulk(&client->requests, bytes, length);
	if (!append)
		client->value[key].length = 0;
	add(&client->value[key], bytes, length);
	client->present[key] = true;
	if (append)
		add_format(&client->answers, ":%zu\r\n", client->value[key].length);
	else
		add_format(&client->answers, "+OK\r\n");
}

static void plan_command(struct client *client)
{
	int key = vg_sim_random(KEYS);
	struct text *value = &client->value[key];

	switch (vg_sim_random(8)) {
	case 0 ... 1:
		plan_write(client, key, false);
		break;
	case 2:
		plan_write(client, key, true);
		break;
	case 3:
		begin_command(client, 2, "DEL", key);
		add_format(&client->answers, ":%d\r\n", client->present[key]);
		client->present[key] = false;
		value->length = 0;
		break;
	case 4:
		add_format(&client->requests, "PING\r\n");
		add_format(&client->answers, "+PONG\r\n");
		break;
	case 5:
		begin_command(client, 3, "INCRBY", key);
		add_bulk(&client->requests, "x", 1);
		add_format(&client->answers, "-ERR value is not an integer or out of range\r\n");
		break;
	default:
		begin_command(client, 2, "GET", key);
		if (client->present[key])
			add_bulk(&client->answers, value->bytes, value->length);
		else
			add_format(&client->answers, "$-1\r\n");
	}
}

static void client_start(struct client *client, int number, const struct vg_world *world)
{
	struct sockaddr_in node = { .sin_family = AF_INET, .sin_port = htons(VG_PORT_MEM), .sin_addr.s_addr = htonl(address) };
	int commands = 1 + vg_sim_random(COMMANDS_MAX);

	memset(client, 0, sizeof(*client));
	client->number = number;
	while (commands--)
		plan_command(client);
	client->leaves = vg_sim_random(5) == 0;
	client->leave_at = vg_sim_random(client->requests.length);
	client->fd = vg_sim_connect((struct sockaddr *)&node, sizeof(node));
	check(client->fd >= 0);
}

static void client_end(struct client *client)
{
	vg_sim_close(client->fd);
	client->done = true;
	free(client->requests.bytes);
	free(client->answers.bytes);
	for (int key = 0; key < KEYS; key++)
		free(client->value[key].bytes);
}

static void client_turn(struct client *client)
{
	static __u8 data[70000];
	size_t left = client->requests.length - client->sent;
	ssize_t moved;

	if (client->done)
		return;
	if (client->leaves && client->sent >= client->leave_at) {
		client_end(client);
		return;
	}
	if (left && vg_sim_random(3)) {
		moved = vg_sim_write(client->fd, client->requests.bytes + client->sent, 1 + vg_sim_random(left));
		check(moved >= 0);
		client->sent += moved;
		if (client->sent == client->requests.length)
			vg_sim_shutdown(client->fd);
	}
	if (vg_sim_random(3))
		return;
	moved = vg_sim_read(client->fd, data, 1 + vg_sim_random(sizeof(data)));
	if (moved > 0) {
		check(client->received + moved <= client->answers.length);
		check(!memcmp(data, client->answers.bytes + client->received, moved));
		client->received += moved;
	} else if (moved != -EAGAIN) {
		check(moved == 0);
		check(client->received == client->answers.length);
		client_end(client);
	}
}

/* ---- runs ------------------------------------------------------------------------------------------------------ */

static void run_once(void)
{
	struct client client[CLIENTS_MAX];
	struct vg_worker *worker;
	struct vg_world *world;
	int clients, index, turns, running = 1;
	__u32 chunks;

	vg_sim_start(seed, &vg_sim_all_faults);
	world = node_start();
	worker = &world->workers[0];
	chunks = worker->chunks.free_count;
	clients = 1 + vg_sim_random(CLIENTS_MAX);
	for (index = 0; index < clients; index++)
		client_start(&client[index], index, world);
	for (turns = 0; running && turns < TURNS_MAX; turns++) {
		node_turn(world);
		for (index = 0, running = 0; index < clients; index++) {
			client_turn(&client[index]);
			running += !client[index].done;
		}
	}
	check(!running);
	/* Some may have left before they were accepted, and cancelled receives may still hold buffers. */
	for (turns = 0; turns < TURNS_MAX; turns++) {
		if (worker->stats.connections_accepted == (__u64)clients && !vg_conn_pool_used(worker->conns) &&
		    !vg_sim_buffers_out(worker->io))
			break;
		node_turn(world);
	}
	check(!vg_conn_pool_used(worker->conns));
	check(worker->stats.connections_open == 0 && worker->stats.in_flight == 0);
	check(worker->stats.connections_accepted == (__u64)clients);
	check(worker->chunks.free_count == chunks);
	check(!vg_sim_buffers_out(worker->io));
	vg_world_free(world);
	vg_sim_end();
}

static void test_node_answers_every_seed(void **state)
{
	const char *one = getenv("VG_SIM_SEED"), *count = getenv("VG_SIM_RUNS");
	__u64 first = one ? strtoull(one, NULL, 0) : 1, runs = one ? 1 : count ? strtoull(count, NULL, 0) : RUNS_DEFAULT;

	vg_log_configure(VG_LOG_ERROR, VG_LOG_STDERR);
	address = 127u << 24 | 1u << 16 | ((__u32)getpid() & 0xffff);
	signal(SIGABRT, say_seed);
	for (seed = first; seed < first + runs; seed++)
		run_once();
	signal(SIGABRT, SIG_DFL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_answers_every_seed),
	};

	return cmocka_run_group_tests_name("node_sim", tests, NULL, NULL);
}
