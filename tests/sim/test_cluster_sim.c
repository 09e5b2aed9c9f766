/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Whole nodes, one to three, on one simulated network: Redis, binary and text clients pipeline requests on keys of
 * their own through any node, in pieces, under faults, and know every byte that must come back, whoever owns the key.
 * In some runs streams break, also between the nodes: then answers may be errors, but nobody hangs and nothing is lost
 * from a pool.
 *
 *   VG_SIM_SEED=n replays one run: clock and random numbers are the simulation's. VG_SIM_RUNS=n sets how many.
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
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "base/prng.h"
#include "node/world.h"
#include "uring/sim.h"
#include "virgo/hash.h"
#include "virgo/wire_codec.h"

#define RUNS_DEFAULT 100
#define NODES_MAX 3
#define CLIENTS_MAX 6
#define REQUESTS_MAX 50
#define KEYS 6
#define VALUE_MAX 60000
#define TURNS_MAX 400000
#define WAIT_TURNS 200 /* one turn in so many lets time pass until something happens */

static __u64 seed, random_state;
static __u32 address; /* of node 0; a node looks whether it is free on the real machine: of this process alone */
static struct {
	__u64 forwarded, broken;
} reached;

/* The daemon's clock and random numbers, in place of those of src/base and libc: a seed is a run. */
void vg_clock_update(struct vg_clock *clock)
{
	clock->monotonic_ns = vg_sim_now_ns();
	clock->unix_ns = 1700000000000000000ULL + vg_sim_now_ns();
}

ssize_t getrandom(void *bytes, size_t count, unsigned int flags)
{
	for (size_t i = 0; i < count; i++)
		((__u8 *)bytes)[i] = (__u8)vg_prng_next(&random_state);
	return (ssize_t)count;
}

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

#define check(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			say_seed(0);                                                                                   \
			fail_msg("seed %llu: %s", seed, #condition);                                                   \
		}                                                                                                      \
	} while (0)

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

struct cluster {
	int nodes;
	bool breaks;
	struct vg_world *world[NODES_MAX];
	__u32 chunks[NODES_MAX];
};

static int print_address(char *text, size_t bytes, int node)
{
	__u32 at = address + ((__u32)node << 16);

	return snprintf(text, bytes, "127.%u.%u.%u:%u", at >> 16 & 255, at >> 8 & 255, at & 255, VG_PORT_MEM);
}

static void node_start(struct cluster *cluster, int node)
{
	static struct vg_options_text text;
	struct vg_options *options = &text.values;
	char why[512] = "";
	int at = 0;

	vg_options_default(&text);
	print_address(options->listen, sizeof(options->listen), node);
	for (int i = 0; i < cluster->nodes; i++) {
		at += snprintf(options->nodes + at, sizeof(options->nodes) - (size_t)at, i ? "," : "");
		at += print_address(options->nodes + at, sizeof(options->nodes) - (size_t)at, i);
	}
	snprintf(options->bpf, sizeof(options->bpf), "off");
	options->node = (__u64)node;
	options->workers = 1;
	options->connections = CLIENTS_MAX + NODES_MAX;
	options->arena_bytes = 16 << 20;
	options->heap_bytes = 64 << 20;
	options->idle_timeout_s = 0;
	if (vg_options_finish(options, why, sizeof(why)) ||
	    vg_world_new(&cluster->world[node], options, NULL, NULL, why, sizeof(why)))
		fail_msg("%s", why);
	vg_store_worker(cluster->world[node]->store, 0);
	cluster->chunks[node] = cluster->world[node]->workers[0].chunks.free_count;
}

static void turn(struct cluster *cluster)
{
	for (int i = 0; i < cluster->nodes; i++)
		check(vg_worker_step(&cluster->world[i]->workers[0], vg_sim_random(WAIT_TURNS) == 0) >= 0);
}

/* ---- what is said, and what must come back --------------------------------------------------------------------- */

enum tongue { TONGUE_RESP, TONGUE_BINARY, TONGUE_TEXT, TONGUE_MAX };

struct text {
	__u8 *bytes;
	size_t length, room;
};

struct client {
	int fd, number;
	enum tongue tongue;
	bool leaves, done; /* leaves: in the middle */
	__u64 sequence;
	struct text requests, answers, heard, value[KEYS];
	bool present[KEYS];
	size_t sent, leave_at, judged; /* judged: bytes of `heard` that were compared */
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

__attribute__((format(printf, 2, 3))) static void add_format(struct text *text, const char *format, ...)
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

enum verb { VERB_SET, VERB_GET, VERB_DEL, VERB_PING };

static void say_resp(struct client *client, enum verb verb, const char *key, const struct text *value, bool present)
{
	static const char *const names[] = { "SET", "GET", "DEL" };

	if (verb == VERB_PING) {
		add_format(&client->requests, "PING\r\n");
		add_format(&client->answers, "+PONG\r\n");
		return;
	}
	add_format(&client->requests, "*%d\r\n$3\r\n%s\r\n", verb == VERB_SET ? 3 : 2, names[verb]);
	add_bulk(&client->requests, key, strlen(key));
	if (verb == VERB_SET) {
		add_bulk(&client->requests, value->bytes, value->length);
		add_format(&client->answers, "+OK\r\n");
	} else if (verb == VERB_DEL) {
		add_format(&client->answers, ":%d\r\n", present);
	} else if (present) {
		add_bulk(&client->answers, value->bytes, value->length);
	} else {
		add_format(&client->answers, "$-1\r\n");
	}
}

/* What an answer does not say the same every time. */
static void blank(struct vg_wire_header *header)
{
	header->source_node = 0;
	header->epoch = 0;
	header->load = (struct vg_load_stamp){ 0 };
}

static void say_binary(struct client *client, enum verb verb, const char *key, const struct text *value, bool present)
{
	static const __u8 opcodes[] = { VG_OP_SET, VG_OP_GET, VG_OP_DEL, VG_OP_PING };
	size_t key_bytes = verb == VERB_PING ? 0 : strlen(key), body = verb == VERB_SET ? value->length : 0;
	struct vg_wire_header header = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = opcodes[verb],
		.client = VG_HTOBE64((__u64)client->number + 1),
		.sequence = VG_HTOBE64(++client->sequence),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.partition = key_bytes ? VG_HTOBE16(vg_partition_of(key, key_bytes)) : 0,
		.ident = key_bytes ? VG_HTOBE64(vg_hash64(key, key_bytes)) : 0,
		.key_length = VG_HTOBE32((__u32)key_bytes),
		.body_length = VG_HTOBE32((__u32)body),
	};
	char padded[32] = "";

	memcpy(padded, key, key_bytes);
	add(&client->requests, &header, sizeof(header));
	add(&client->requests, padded, VG_ALIGN_UP(key_bytes, 8UL));
	if (body)
		add(&client->requests, value->bytes, body);
	body = verb == VERB_GET && present ? value->length : 0;
	header.flags = VG_HTOBE16(VG_FLAG_REPLY);
	header.status = (verb == VERB_GET || verb == VERB_DEL) && !present ? VG_STATUS_NOT_FOUND : VG_STATUS_OK;
	header.key_length = 0;
	header.body_length = VG_HTOBE32((__u32)body);
	blank(&header);
	add(&client->answers, &header, sizeof(header));
	if (body)
		add(&client->answers, value->bytes, body);
}

static void say_text(struct client *client, enum verb verb, const char *key, const struct text *value)
{
	if (verb == VERB_GET) {
		add_format(&client->requests, "virgo_get(%s)\r\n", key);
		add(&client->answers, value->bytes, value->length);
		add_format(&client->answers, "\r\n");
		return;
	}
	add_format(&client->requests, verb == VERB_SET ? "virgo_set(%s," : "virgo_del(%s", key);
	if (verb == VERB_SET)
		add(&client->requests, value->bytes, value->length);
	add_format(&client->requests, ")\n");
	add_format(&client->answers, "OK\r\n");
}

/* Bytes of all kinds; letters for who speaks in lines. */
static void random_value(struct text *value, bool letters)
{
	size_t length;

	switch (vg_sim_random(16)) {
	case 0:
		length = vg_sim_random(letters ? 9000 : VALUE_MAX);
		break;
	case 1 ... 2:
		length = vg_sim_random(6000);
		break;
	default:
		length = vg_sim_random(100);
	}
	value->length = 0;
	for (size_t i = 0; i < length + letters; i++) {
		__u8 byte = (__u8)(letters ? 'a' + vg_sim_random(26) : vg_sim_random(256));

		add(value, &byte, 1);
	}
}

static void plan_request(struct client *client)
{
	static const enum verb verbs[] = { VERB_SET, VERB_SET, VERB_SET, VERB_GET,
					   VERB_GET, VERB_GET, VERB_DEL, VERB_PING };
	enum verb verb = verbs[vg_sim_random(sizeof(verbs) / sizeof(verbs[0]))];
	int number = (int)vg_sim_random(KEYS);
	struct text *value = &client->value[number];
	char key[32];

	snprintf(key, sizeof(key), "client%d:%d", client->number, number);
	/* The text protocol's errors are sentences: it asks for what is there. */
	if (client->tongue == TONGUE_TEXT && (verb == VERB_PING || !client->present[number]))
		verb = VERB_SET;
	if (verb == VERB_SET)
		random_value(value, client->tongue == TONGUE_TEXT);
	if (client->tongue == TONGUE_RESP)
		say_resp(client, verb, key, value, client->present[number]);
	else if (client->tongue == TONGUE_BINARY)
		say_binary(client, verb, key, value, client->present[number]);
	else
		say_text(client, verb, key, value);
	if (verb == VERB_SET || verb == VERB_DEL)
		client->present[number] = verb == VERB_SET;
}

/* ---- clients --------------------------------------------------------------------------------------------------- */

static void client_start(struct client *client, int number, const struct cluster *cluster)
{
	struct sockaddr_in node = { .sin_family = AF_INET, .sin_port = htons(VG_PORT_MEM) };

	memset(client, 0, sizeof(*client));
	client->number = number;
	client->tongue = (enum tongue)vg_sim_random(TONGUE_MAX);
	for (__u64 requests = 1 + vg_sim_random(REQUESTS_MAX); requests; requests--)
		plan_request(client);
	client->leaves = vg_sim_random(6) == 0;
	client->leave_at = vg_sim_random(client->requests.length);
	node.sin_addr.s_addr = htonl(address + ((__u32)vg_sim_random(cluster->nodes) << 16));
	client->fd = vg_sim_connect((struct sockaddr *)&node, sizeof(node));
	check(client->fd >= 0);
}

static void client_end(struct client *client)
{
	vg_sim_close(client->fd);
	client->done = true;
	free(client->requests.bytes);
	free(client->answers.bytes);
	free(client->heard.bytes);
	for (int i = 0; i < KEYS; i++)
		free(client->value[i].bytes);
}

/* What was heard must be how the planned answers begin; frames are compared when their header is whole. */
static void judge(struct client *client)
{
	size_t end = client->heard.length;

	check(end <= client->answers.length);
	while (client->tongue == TONGUE_BINARY && client->judged < end) {
		struct vg_wire_header *header = (void *)(client->heard.bytes + client->judged), copy;
		size_t length;

		if (end - client->judged < sizeof(copy))
			return;
		memcpy(&copy, header, sizeof(copy));
		length = sizeof(copy) + VG_BE32TOH(copy.body_length);
		if (end - client->judged < length)
			return;
		blank(&copy);
		memcpy(header, &copy, sizeof(copy));
		check(!memcmp(header, client->answers.bytes + client->judged, length));
		client->judged += length;
	}
	check(!memcmp(client->heard.bytes + client->judged, client->answers.bytes + client->judged,
		      end - client->judged));
	client->judged = end;
}

static void client_read(struct client *client, const struct cluster *cluster)
{
	static __u8 data[70000];
	ssize_t moved = vg_sim_read(client->fd, data, 1 + vg_sim_random(sizeof(data)));

	if (moved == -EAGAIN)
		return;
	if (moved > 0) {
		add(&client->heard, data, (size_t)moved);
		if (!cluster->breaks)
			judge(client);
		return;
	}
	if (!cluster->breaks) {
		check(moved == 0);
		check(client->judged == client->answers.length);
	}
	client_end(client);
}

static void client_turn(struct client *client, const struct cluster *cluster)
{
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
		check(moved >= 0 || cluster->breaks);
		client->sent = moved < 0 ? client->requests.length : client->sent + (size_t)moved;
		if (client->sent == client->requests.length)
			vg_sim_shutdown(client->fd);
	}
	if (vg_sim_random(3) == 0)
		client_read(client, cluster);
}

/* ---- runs ------------------------------------------------------------------------------------------------------ */

static bool is_quiet(const struct cluster *cluster, int clients)
{
	__u64 accepted = 0;

	for (int i = 0; i < cluster->nodes; i++) {
		const struct vg_worker *worker = &cluster->world[i]->workers[0];

		accepted += worker->stats.connections_accepted;
		/* The links between nodes stay. */
		if (worker->stats.in_flight || vg_sim_buffers_out(worker->io) ||
		    worker->chunks.free_count != cluster->chunks[i] ||
		    vg_conn_pool_used(worker->conns) > 2U * (__u32)(cluster->nodes - 1))
			return false;
	}
	return accepted >= (__u64)clients;
}

static void run_once(void)
{
	struct cluster cluster = { 0 };
	struct client client[CLIENTS_MAX];
	struct vg_sim_faults faults = vg_sim_all_faults;
	int clients, turns, running = 1;

	random_state = seed * 2 + 1;
	vg_sim_start(seed, &vg_sim_no_faults);
	cluster.nodes = 1 + (int)vg_sim_random(NODES_MAX);
	cluster.breaks = vg_sim_random(4) == 0;
	faults.reset = cluster.breaks ? (__u32)vg_sim_random(20) : 0;
	vg_sim_set_faults(&faults);
	for (int i = 0; i < cluster.nodes; i++)
		node_start(&cluster, i);
	clients = 1 + (int)vg_sim_random(CLIENTS_MAX);
	for (int i = 0; i < clients; i++)
		client_start(&client[i], i, &cluster);
	for (turns = 0; running && turns < TURNS_MAX; turns++) {
		turn(&cluster);
		running = 0;
		for (int i = 0; i < clients; i++) {
			client_turn(&client[i], &cluster);
			running += !client[i].done;
		}
	}
	check(!running); /* nobody waits for ever */
	for (turns = 0; !is_quiet(&cluster, clients) && turns < TURNS_MAX; turns++)
		turn(&cluster);
	check(is_quiet(&cluster, clients)); /* nothing is left anywhere */
	/* Backwards: figures about commands are a process's, and lie in the memory of the node that was made last. */
	for (int i = cluster.nodes - 1; i >= 0; i--) {
		reached.forwarded += cluster.world[i]->workers[0].stats.forwarded;
		vg_world_free(cluster.world[i]);
	}
	reached.broken += cluster.breaks;
	vg_sim_end();
}

static void test_cluster_answers_every_seed(void **state)
{
	const char *one = getenv("VG_SIM_SEED"), *count = getenv("VG_SIM_RUNS");
	__u64 first = one ? strtoull(one, NULL, 0) : 1, runs = one     ? 1
							       : count ? strtoull(count, NULL, 0)
								       : RUNS_DEFAULT;

	vg_log_configure(VG_LOG_ERROR, VG_LOG_STDERR);
	address = 127u << 24 | 32u << 16 | ((__u32)getpid() & 0xffff);
	signal(SIGABRT, say_seed);
	for (seed = first; seed < first + runs; seed++)
		run_once();
	signal(SIGABRT, SIG_DFL);
	if (runs >= RUNS_DEFAULT)
		assert_true(reached.forwarded && reached.broken);
	print_message("# requests asked of another node %llu, runs with broken streams %llu\n", reached.forwarded,
		      reached.broken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cluster_answers_every_seed),
	};

	return cmocka_run_group_tests_name("cluster_sim", tests, NULL, NULL);
}
