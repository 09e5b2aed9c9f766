/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A node with a file pool over simulated I/O, turned by hand, and clients that speak the wire. Included by one file of a
 * test program, behind cmocka.h; `seed` is the run's.
 */
#ifndef TESTS_SIM_BYTES_FIXTURE_H
#define TESTS_SIM_BYTES_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "node/world.h"
#include "svc/file/file.h"
#include "uring/sim.h"
#include "virgo/file.h"

#define CLIENTS_MAX 4
#define BATCH_MAX 24
#define FILE_BYTES 150000u
#define WRITE_MAX 40000u
#define TURNS_MAX 400000
#define RECORD 24 /* bytes of an append to the shared log */

static __u64 seed;
static __u32 address; /* the node looks whether it is free on the real machine: of this process alone */
static char root[] = "/tmp/vg-bytes-XXXXXX"; /* what is exported */
static int root_fd;

#define check(condition)                                                                               \
	do {                                                                                           \
		if (!(condition))                                                                      \
			fail_msg("replay with VG_SIM_SEED=%llu: %s (line %d)", seed, #condition, __LINE__); \
	} while (0)

/* ---- the node -------------------------------------------------------------------------------------------------- */

static struct vg_world *node_start(void)
{
	static struct vg_options_text text;
	struct vg_world *world;
	char why[512] = "";

	vg_options_default(&text);
	snprintf(text.values.listen, sizeof(text.values.listen), "127.%u.%u.%u", address >> 16 & 255,
		 address >> 8 & 255, address & 255);
	snprintf(text.values.bpf, sizeof(text.values.bpf), "off");
	snprintf(text.values.file_root, sizeof(text.values.file_root), "%s", root);
	text.values.cloud_file[0] = 0;
	text.values.workers = 1;
	text.values.connections = CLIENTS_MAX;
	text.values.arena_bytes = 16 << 20;
	text.values.heap_bytes = 256 << 20;
	text.values.port[VG_DOOR_CPU] = 0;
	if (vg_options_finish(&text.values, why, sizeof(why)))
		fail_msg("%s", why);
	if (vg_world_new(&world, &text.values, NULL, NULL, why, sizeof(why)))
		fail_msg("%s", why);
	vg_store_worker(world->store, 0);
	return world;
}

static struct vg_file_pool *pool_of(struct vg_world *world)
{
	return vg_file_pool(&world->workers[0].env);
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

struct bytes {
	__u8 *data;
	size_t length, room;
};

static void add(struct bytes *bytes, const void *data, size_t length)
{
	if (bytes->length + length > bytes->room) {
		bytes->room = (bytes->length + length) * 2;
		bytes->data = realloc(bytes->data, bytes->room);
		assert_non_null(bytes->data);
	}
	if (length)
		memcpy(bytes->data + bytes->length, data, length);
	bytes->length += length;
}

/* What an operation must have come to. */
struct expected {
	__u64 sequence;
	__u8 opcode;
	bool answered, may_fail;
	__u32 length;	/* READ: of the answer's body; WRITE: bytes */
	__u32 offset;
	__u8 *body;	/* READ: what must be in it */
};

struct client {
	int fd, number;
	__u64 sequence, file, log;
	struct bytes out, in;
	size_t sent;
	__u8 model[FILE_BYTES];
	struct expected expected[BATCH_MAX];
	int count, answered, failed;
	__u32 appended;
	struct vg_wire_header header; /* of the last answer */
};

static void request(struct client *client, __u8 opcode, __u16 flags, __u64 ident, __u64 argument, const char *key,
		    const void *body, __u32 length)
{
	__u32 key_length = key ? (__u32)strlen(key) : 0;
	struct vg_wire_header header = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = opcode,
		.client = VG_HTOBE64(77 + (__u64)client->number),
		.sequence = VG_HTOBE64(++client->sequence),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.partition = VG_HTOBE16(flags),
		.ident = VG_HTOBE64(ident),
		.argument = VG_HTOBE64(argument),
		.key_length = VG_HTOBE32(key_length),
		.body_length = VG_HTOBE32(length),
	};
	static const __u8 zeros[8];

	add(&client->out, &header, sizeof(header));
	add(&client->out, key, key_length);
	add(&client->out, zeros, -key_length & 7);
	add(&client->out, body, length);
}

/* The next whole answer, or false: its body is behind the header in client->in until the next call. */
static bool next_answer(struct client *client, const __u8 **ret_body, __u32 *ret_length)
{
	struct vg_wire_header *header = &client->header;

	if (client->in.length < sizeof(*header))
		return false;
	memcpy(header, client->in.data, sizeof(*header));
	*ret_length = VG_BE32TOH(header->body_length);
	check(VG_BE16TOH(header->magic) == VG_WIRE_MAGIC && *ret_length <= VG_FILE_DATA_MAX + 4096);
	*ret_body = client->in.data + sizeof(*header);
	return client->in.length >= sizeof(*header) + *ret_length;
}

static void drop_answer(struct client *client, __u32 length)
{
	size_t bytes = sizeof(struct vg_wire_header) + length;

	client->in.length -= bytes;
	memmove(client->in.data, client->in.data + bytes, client->in.length);
}

/* Send and receive some. */
static void move_bytes(struct client *client)
{
	static __u8 data[70000];
	size_t left = client->out.length - client->sent;
	ssize_t moved;

	if (left && vg_sim_random(3)) {
		moved = vg_sim_write(client->fd, client->out.data + client->sent, 1 + vg_sim_random(left));
		check(moved >= 0);
		client->sent += (size_t)moved;
		if (client->sent == client->out.length)
			client->sent = client->out.length = 0;
	}
	if (vg_sim_random(3)) {
		moved = vg_sim_read(client->fd, data, 1 + vg_sim_random(sizeof(data)));
		check(moved > 0 || moved == -EAGAIN);
		if (moved > 0)
			add(&client->in, data, (size_t)moved);
	}
}

/* One request, whose answer must be OK; returns its ident. */
static __u64 ask(struct vg_world *world, struct client *client)
{
	const __u8 *body;
	__u32 length;

	for (int turns = 0; !next_answer(client, &body, &length); turns++) {
		check(turns < TURNS_MAX);
		move_bytes(client);
		check(vg_worker_step(&world->workers[0], vg_sim_random(2)) >= 0);
	}
	if (client->header.status)
		fail_msg("seed %llu: operation %d answered %d: %.*s", seed, client->header.opcode, client->header.status,
			 (int)length, (const char *)body);
	drop_answer(client, length);
	return VG_BE64TOH(client->header.ident);
}

static void client_start(struct vg_world *world, struct client *client, int number)
{
	struct sockaddr_in node = { .sin_family = AF_INET, .sin_port = htons(VG_PORT_FILE),
				    .sin_addr.s_addr = htonl(address) };
	struct vg_file_session session = { 0 };
	char name[32];

	memset(client, 0, sizeof(*client));
	client->number = number;
	client->fd = vg_sim_connect((struct sockaddr *)&node, sizeof(node));
	check(client->fd >= 0);
	request(client, VG_OP_FILE_SESSION, 0, 0, 0, NULL, &session, sizeof(session));
	ask(world, client);
	snprintf(name, sizeof(name), "file-%d", number);
	request(client, VG_OP_FILE_OPEN, 0, 0,
		(__u64)(VG_FILE_O_READ | VG_FILE_O_WRITE | VG_FILE_O_CREATE | VG_FILE_O_TRUNCATE) << 32 | 0600, name, NULL, 0);
	client->file = ask(world, client);
	request(client, VG_OP_FILE_OPEN, 0, 0, (__u64)(VG_FILE_O_WRITE | VG_FILE_O_CREATE | VG_FILE_O_APPEND) << 32 | 0600,
		"log", NULL, 0);
	client->log = ask(world, client);
	request(client, VG_OP_FILE_WRITE, 0, client->file, 0, NULL, client->model, FILE_BYTES);
	ask(world, client);
}

static void client_end(struct client *client)
{
	vg_sim_close(client->fd);
	free(client->out.data);
	free(client->in.data);
}

static struct client the_clients[CLIENTS_MAX];

/* The errno that one request is answered with, 0: OK; *ret_length: of the body, whose first bytes are in `start`. */
static int answer_of(struct vg_world *world, struct client *client, __u32 *ret_length, __u8 start[128])
{
	const __u8 *body;
	__u32 length;

	for (int turns = 0; !next_answer(client, &body, &length); turns++) {
		check(turns < TURNS_MAX);
		move_bytes(client);
		check(vg_worker_step(&world->workers[0], vg_sim_random(2)) >= 0);
	}
	*ret_length = length;
	memcpy(start, body, length < 128 ? length : 128);
	drop_answer(client, length);
	check(!client->header.status || client->header.status == VG_STATUS_ERRNO);
	return client->header.status ? (int)VG_BE64TOH(client->header.argument) : 0;
}

static void world_end(struct vg_world *world, struct client *client, int clients)
{
	struct vg_file_pool *pool = pool_of(world);

	for (int i = 0; i < clients; i++)
		client_end(&client[i]);
	for (int turns = 0; vg_conn_pool_used(world->workers[0].conns); turns++) {
		check(turns < TURNS_MAX);
		check(vg_worker_step(&world->workers[0], true) >= 0);
	}
	check(!pool->ops && !pool->bytes); /* every request has ended, and given back its memory */
	vg_world_free(world);
	vg_sim_end();
}

static int set_up(void **state)
{
	vg_log_configure(VG_LOG_ERROR, VG_LOG_STDERR);
	address = 127u << 24 | 2u << 16 | ((__u32)getpid() & 0xffff);
	assert_non_null(mkdtemp(root));
	root_fd = open(root, O_RDONLY | O_DIRECTORY);
	return root_fd < 0;
}

static int tear_down(void **state)
{
	char name[32];

	for (int i = 0; i < CLIENTS_MAX; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		unlinkat(root_fd, name, 0);
	}
	unlinkat(root_fd, "log", 0);
	unlinkat(root_fd, ".virgo", AT_REMOVEDIR);
	close(root_fd);
	return rmdir(root) ? -1 : 0;
}

#endif
