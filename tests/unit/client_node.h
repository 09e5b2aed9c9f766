/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A small node on a thread of its own, for the tests of the client: it speaks VIRGO binary over UDP and TCP, keeps keys
 * and allocations, and misbehaves as told. The real node is tested elsewhere; this one loses, doubles, delays and
 * forges.
 */
#ifndef VG_TESTS_CLIENT_NODE_H
#define VG_TESTS_CLIENT_NODE_H

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/prng.h"
#include "virgo/virgo.h"
#include "virgo/wire_codec.h"

#define FAKE_ENTRIES 8192
#define FAKE_SEEN 4096
#define FAKE_CONNECTIONS 16
#define FAKE_MESSAGE_MAX (8u << 20)

struct fake_entry {
	__u8 *key, *value;
	__u32 key_length, value_length;
};

struct fake_faults {
	unsigned int lose_request_percent, lose_reply_percent, double_percent, delay_percent;
	bool forge;   /* before every answer send some that must not be believed */
	bool foreign; /* answer from another port than was asked, as direct return does */
	bool mute_udp;
	bool break_streams;   /* close a connection instead of answering it, once each */
	bool mutate;	      /* before every answer send some of its bytes changed, over UDP and TCP */
	bool garbage_streams; /* answer with bytes that are no frame */
	unsigned int busy;    /* so many answers are "busy" */
	__u64 wrong_node;     /* 1 + the owner that datagrams are sent to; 0: we own all */
};

/* Set the faults before the thread starts or through fake_faults(); read counts after fake_stop() or between requests.
 */
struct fake_node {
	pthread_t thread;
	pthread_mutex_t lock;
	int udp, udp_foreign, listener, stop;
	int connection[FAKE_CONNECTIONS];
	__u8 *input[FAKE_CONNECTIONS];
	size_t filled[FAKE_CONNECTIONS];
	__u16 port, port_foreign, number;
	bool keyed;
	__u64 key[2];
	struct fake_faults faults;
	struct fake_entry entry[FAKE_ENTRIES];
	struct fake_entry handle[64];
	__u64 seen[FAKE_SEEN]; /* sequences of changes that were made; one client a test */
	__u8 seen_status[FAKE_SEEN];
	__u64 seen_ident[FAKE_SEEN];
	unsigned int executed[VG_OP_MAX], datagrams, datagrams_foreign, frames, repeated, accepted;
	__u64 random;
	char topology[512]; /* set it before the first request */
	/* One answer held back, to come after a later one. */
	__u8 held[2048];
	size_t held_length;
	struct sockaddr_in held_to;
};

static inline bool fake_chance(struct fake_node *node, unsigned int percent)
{
	return vg_prng_next(&node->random) % 100 < percent;
}

static inline struct fake_entry *fake_find(struct fake_node *node, const __u8 *key, __u32 length, bool make)
{
	__u64 at = vg_hash64(key, length) % FAKE_ENTRIES;

	/* A deleted entry keeps its key with value NULL, so that the chain does not break. */
	for (unsigned int i = 0; i < FAKE_ENTRIES; i++, at = (at + 1) % FAKE_ENTRIES) {
		struct fake_entry *entry = &node->entry[at];

		if (entry->key && entry->key_length == length && memcmp(entry->key, key, length) == 0)
			return entry;
		if (!entry->key && !make)
			return NULL;
		if (!entry->key) {
			entry->key = malloc(length);
			assert(entry->key);
			memcpy(entry->key, key, length);
			entry->key_length = length;
			return entry;
		}
	}
	return NULL;
}

static inline void fake_store(struct fake_entry *entry, const void *value, __u32 length)
{
	free(entry->value);
	entry->value = malloc(length + 1);
	assert(entry->value);
	memcpy(entry->value, value, length);
	entry->value_length = length;
}

/* What is answered: status, and the body where it lives. */
struct fake_answer {
	__u8 status;
	__u64 ident, argument;
	const void *body;
	__u32 body_length;
};

static inline void fake_execute_key(struct fake_node *node, const struct vg_wire_header *request, const __u8 *key,
				    const __u8 *body, struct fake_answer *answer)
{
	__u32 key_length = VG_BE32TOH(request->key_length);
	struct fake_entry *entry = fake_find(node, key, key_length, request->opcode == VG_OP_SET);
	bool exists = entry && entry->value;

	assert(VG_BE64TOH(request->ident) == vg_hash64(key, key_length));
	assert(VG_BE16TOH(request->partition) == vg_partition_of(key, key_length));
	if (request->opcode == VG_OP_SET) {
		if ((request->flags & VG_HTOBE16(VG_FLAG_IF_ABSENT) && exists) ||
		    (request->flags & VG_HTOBE16(VG_FLAG_IF_PRESENT) && !exists))
			answer->status = VG_STATUS_CONDITION;
		else
			fake_store(entry, body, VG_BE32TOH(request->body_length));
		return;
	}
	if (!exists) {
		answer->status = VG_STATUS_NOT_FOUND;
	} else if (request->opcode == VG_OP_DEL) {
		free(entry->value);
		entry->value = NULL;
	} else {
		answer->body = entry->value;
		answer->body_length = entry->value_length;
	}
}

static inline void fake_execute_handle(struct fake_node *node, const struct vg_wire_header *request, const __u8 *body,
				       struct fake_answer *answer)
{
	__u64 argument = VG_BE64TOH(request->argument), offset = argument >> 32, length = argument & 0xffffffff;
	__u64 slot = VG_BE64TOH(request->ident) & 63;
	struct fake_entry *entry = &node->handle[slot];

	if (request->opcode == VG_OP_HANDLE_ALLOC) {
		for (slot = 0; slot < 64 && node->handle[slot].value; slot++)
			;
		assert(slot < 64 && argument <= FAKE_MESSAGE_MAX);
		node->handle[slot].value = calloc(1, argument);
		node->handle[slot].value_length = (__u32)argument;
		answer->ident = (__u64)node->number << 52 | 1ULL << 28 | slot;
		return;
	}
	if (!entry->value) {
		answer->status = VG_STATUS_GONE;
	} else if (request->opcode == VG_OP_HANDLE_FREE) {
		free(entry->value);
		entry->value = NULL;
	} else if (offset + length > entry->value_length) {
		answer->status = VG_STATUS_RANGE;
	} else if (request->opcode == VG_OP_HANDLE_SET) {
		memcpy(entry->value + offset, body, length);
	} else if (!length) {
		answer->argument = entry->value_length;
	} else {
		answer->body = entry->value + offset;
		answer->body_length = (__u32)length;
	}
}

static inline void fake_execute(struct fake_node *node, const struct vg_wire_header *request, const __u8 *key,
				const __u8 *body, struct fake_answer *answer)
{
	__u64 sequence = VG_BE64TOH(request->sequence);
	bool changes = request->opcode == VG_OP_SET || request->opcode == VG_OP_DEL ||
		       (request->opcode >= VG_OP_HANDLE_SET && request->opcode <= VG_OP_HANDLE_FREE);

	if (changes && node->seen[sequence % FAKE_SEEN] == sequence) {
		node->repeated++;
		answer->status = node->seen_status[sequence % FAKE_SEEN];
		answer->ident = node->seen_ident[sequence % FAKE_SEEN];
		return;
	}
	node->executed[request->opcode]++;
	if (VG_BE32TOH(request->key_length)) {
		fake_execute_key(node, request, key, body, answer);
	} else if (request->opcode >= VG_OP_HANDLE_GET && request->opcode <= VG_OP_HANDLE_FREE) {
		fake_execute_handle(node, request, body, answer);
	} else if (request->opcode == VG_OP_COMMAND) {
		answer->body = "+PONG\r\n";
		answer->body_length = 7;
	} else if (request->opcode == VG_OP_TOPOLOGY) {
		answer->body = node->topology;
		answer->body_length = (__u32)strlen(node->topology);
	} else if (request->opcode != VG_OP_PING) {
		answer->body = "{\"self\":1}";
		answer->body_length = 10;
	}
	if (changes) {
		node->seen[sequence % FAKE_SEEN] = sequence;
		node->seen_status[sequence % FAKE_SEEN] = answer->status;
		node->seen_ident[sequence % FAKE_SEEN] = answer->ident;
	}
}

/* Header and body of the answer, in memory from malloc. */
static inline __u8 *fake_reply(struct fake_node *node, const struct vg_wire_header *request,
			       const struct fake_answer *answer, size_t *ret_length)
{
	struct vg_wire_header header = *request;
	__u8 *reply = malloc(sizeof(header) + answer->body_length);

	assert(reply);
	header.flags = VG_HTOBE16(VG_FLAG_REPLY | (node->keyed ? VG_FLAG_TAGGED : 0));
	header.status = answer->status;
	header.source_node = VG_HTOBE16(node->number);
	header.epoch = VG_HTOBE32(1);
	header.ident = answer->ident ? VG_HTOBE64(answer->ident) : request->ident;
	header.key_length = 0;
	header.body_length = VG_HTOBE32(answer->body_length);
	header.argument = VG_HTOBE64(answer->argument);
	header.load.in_flight = VG_HTOBE32(3);
	header.load.memory_free_permille = VG_HTOBE16(900);
	header.tag = node->keyed ? vg_wire_tag_of(node->key, &header, NULL) : 0;
	memcpy(reply, &header, sizeof(header));
	if (answer->body_length)
		memcpy(reply + sizeof(header), answer->body, answer->body_length);
	*ret_length = sizeof(header) + answer->body_length;
	return reply;
}

static inline bool fake_authorized(const struct fake_node *node, const struct vg_wire_header *request, const __u8 *key)
{
	return !node->keyed ||
	       (request->flags & VG_HTOBE16(VG_FLAG_TAGGED) && vg_wire_tag_of(node->key, request, key) == request->tag);
}

/* Answers that look nearly right: another client's, another request's, a wrong tag, half a header. */
static inline void fake_forge(struct fake_node *node, int fd, const __u8 *reply, size_t length,
			      const struct sockaddr_in *to)
{
	__u8 forged[2048];
	struct vg_wire_header *header = (struct vg_wire_header *)forged;

	for (int kind = 0; kind < 5; kind++) {
		size_t send_length = length;

		memcpy(forged, reply, length);
		if (kind == 0)
			header->client ^= 1;
		else if (kind == 1)
			header->sequence ^= VG_HTOBE64(1ULL << 40);
		else if (kind == 2)
			header->body_length = VG_HTOBE32(4000);
		else if (kind == 3)
			send_length = 40;
		else if (node->keyed)
			header->tag ^= 1;
		else
			header->flags = 0;
		if (length > sizeof(*header))
			forged[sizeof(*header)] ^= 0xff;
		(void)sendto(fd, forged, send_length, 0, (const struct sockaddr *)to, sizeof(*to));
	}
}

/* The answer with a few bytes of its header changed at random: anything may come of it but a crash or a wrong value. */
static inline void fake_mutate(struct fake_node *node, __u8 *reply)
{
	for (__u64 changes = 1 + vg_prng_next(&node->random) % 3; changes; changes--)
		reply[vg_prng_next(&node->random) % sizeof(struct vg_wire_header)] = (__u8)vg_prng_next(&node->random);
}

static inline void fake_send(struct fake_node *node, int fd, const __u8 *reply, size_t length,
			     const struct sockaddr_in *to)
{
	if (node->faults.forge)
		fake_forge(node, fd, reply, length, to);
	for (int i = 0; node->faults.mutate && i < 8; i++) {
		__u8 changed[2048];

		memcpy(changed, reply, length);
		fake_mutate(node, changed);
		(void)sendto(fd, changed, vg_prng_next(&node->random) % (length + 1), 0, (const struct sockaddr *)to,
			     sizeof(*to));
		(void)sendto(fd, changed, length, 0, (const struct sockaddr *)to, sizeof(*to));
	}
	if (fake_chance(node, node->faults.lose_reply_percent))
		return;
	if (!node->held_length && fake_chance(node, node->faults.delay_percent)) {
		memcpy(node->held, reply, length);
		node->held_length = length;
		node->held_to = *to;
		return;
	}
	(void)sendto(fd, reply, length, 0, (const struct sockaddr *)to, sizeof(*to));
	if (fake_chance(node, node->faults.double_percent))
		(void)sendto(fd, reply, length, 0, (const struct sockaddr *)to, sizeof(*to));
	if (node->held_length) {
		(void)sendto(fd, node->held, node->held_length, 0, (const struct sockaddr *)&node->held_to,
			     sizeof(node->held_to));
		node->held_length = 0;
	}
}

static inline void fake_datagram(struct fake_node *node, int fd)
{
	__u8 data[2048], *reply;
	struct vg_wire_header *request = (struct vg_wire_header *)data;
	struct sockaddr_in from;
	socklen_t from_length = sizeof(from);
	ssize_t got = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &from_length);
	struct fake_answer answer = { 0 };
	const __u8 *key = (const __u8 *)(request + 1), *body;
	size_t length;

	if (got < 0)
		return;
	assert(got >= (ssize_t)sizeof(*request) && got <= VG_DATAGRAM_MAX && vg_wire_check(request) == VG_WIRE_OK &&
	       vg_wire_length(request) <= (__u64)got);
	node->datagrams++;
	node->datagrams_foreign += fd == node->udp_foreign;
	body = key + vg_wire_key_padded(request);
	if (node->faults.mute_udp || fake_chance(node, node->faults.lose_request_percent))
		return;
	if (!fake_authorized(node, request, key))
		answer.status = VG_STATUS_UNAUTHORIZED;
	else if (node->faults.busy && node->faults.busy--)
		answer.status = VG_STATUS_BUSY;
	else if (node->faults.wrong_node) {
		answer.status = VG_STATUS_WRONG_NODE;
		answer.argument = node->faults.wrong_node - 1;
	} else
		fake_execute(node, request, key, body, &answer);
	/* No answer is longer than its request. */
	if (sizeof(*request) + answer.body_length > (size_t)got)
		answer = (struct fake_answer){ .status = VG_STATUS_TOO_BIG };
	reply = fake_reply(node, request, &answer, &length);
	fake_send(node, node->faults.foreign ? node->udp_foreign : fd, reply, length, &from);
	free(reply);
}

static inline void fake_close(struct fake_node *node, int at)
{
	(void)close(node->connection[at]);
	node->connection[at] = -1;
	node->filled[at] = 0;
}

static inline void fake_send_all(int fd, const __u8 *data, size_t length)
{
	while (length) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent < 0)
			return;
		data += sent;
		length -= (size_t)sent;
	}
}

/* One whole frame at the front of the input; false: the connection was closed. */
static inline bool fake_frame(struct fake_node *node, int at)
{
	struct vg_wire_header request;
	const __u8 *key = node->input[at] + sizeof(request);
	struct fake_answer answer = { 0 };
	size_t length;
	__u8 *reply;

	memcpy(&request, node->input[at], sizeof(request));
	node->frames++;
	if (node->faults.break_streams) {
		fake_close(node, at);
		return false;
	}
	if (!fake_authorized(node, &request, key))
		answer.status = VG_STATUS_UNAUTHORIZED;
	else
		fake_execute(node, &request, key, key + vg_wire_key_padded(&request), &answer);
	reply = fake_reply(node, &request, &answer, &length);
	if (node->faults.mutate)
		fake_mutate(node, reply);
	if (node->faults.garbage_streams)
		reply[vg_prng_next(&node->random) % 16] ^= 0x55;
	fake_send_all(node->connection[at], reply, length);
	free(reply);
	return true;
}

static inline void fake_stream(struct fake_node *node, int at)
{
	ssize_t got =
		recv(node->connection[at], node->input[at] + node->filled[at], FAKE_MESSAGE_MAX - node->filled[at], 0);

	if (got <= 0) {
		fake_close(node, at);
		return;
	}
	node->filled[at] += (size_t)got;
	while (node->filled[at] >= sizeof(struct vg_wire_header)) {
		struct vg_wire_header request;
		__u64 length;

		memcpy(&request, node->input[at], sizeof(request));
		length = vg_wire_length(&request);
		assert(vg_wire_check(&request) == VG_WIRE_OK && length <= FAKE_MESSAGE_MAX);
		if (node->filled[at] < length || !fake_frame(node, at))
			return;
		node->filled[at] -= length;
		memmove(node->input[at], node->input[at] + length, node->filled[at]);
	}
}

static inline void fake_accept(struct fake_node *node)
{
	int fd = accept4(node->listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < FAKE_CONNECTIONS; i++)
		if (node->connection[i] < 0) {
			node->connection[i] = fd;
			if (!node->input[i])
				node->input[i] = malloc(FAKE_MESSAGE_MAX);
			assert(node->input[i]);
			node->accepted++;
			return;
		}
	if (fd >= 0)
		(void)close(fd);
}

static inline void *fake_run(void *context)
{
	struct fake_node *node = context;

	for (;;) {
		struct pollfd polled[4 + FAKE_CONNECTIONS] = { { node->stop, POLLIN, 0 },
							       { node->udp, POLLIN, 0 },
							       { node->udp_foreign, POLLIN, 0 },
							       { node->listener, POLLIN, 0 } };

		for (int i = 0; i < FAKE_CONNECTIONS; i++)
			polled[4 + i] = (struct pollfd){ node->connection[i], POLLIN, 0 };
		(void)poll(polled, 4 + FAKE_CONNECTIONS, -1);
		if (polled[0].revents)
			return NULL;
		pthread_mutex_lock(&node->lock);
		if (polled[1].revents)
			fake_datagram(node, node->udp);
		if (polled[2].revents)
			fake_datagram(node, node->udp_foreign);
		if (polled[3].revents)
			fake_accept(node);
		for (int i = 0; i < FAKE_CONNECTIONS; i++)
			if (polled[4 + i].revents && node->connection[i] == polled[4 + i].fd)
				fake_stream(node, i);
		pthread_mutex_unlock(&node->lock);
	}
}

static inline int fake_socket(int type, __u16 *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				       .sin_port = htons(*port) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert(fd >= 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    getsockname(fd, (struct sockaddr *)&address, &length)) {
		(void)close(fd);
		return -1;
	}
	*port = ntohs(address.sin_port);
	return fd;
}

/* `stream` false: nobody listens for connections. */
static inline struct fake_node *fake_start(__u16 number, const struct fake_faults *faults, const __u64 *key,
					   bool stream)
{
	struct fake_node *node = calloc(1, sizeof(*node));

	assert(node);
	node->number = number;
	node->random = 0x9e3779b97f4a7c15ULL + number;
	node->listener = -1;
	for (int i = 0; i < FAKE_CONNECTIONS; i++)
		node->connection[i] = -1;
	if (faults)
		node->faults = *faults;
	if (key) {
		node->keyed = true;
		memcpy(node->key, key, sizeof(node->key));
	}
	pthread_mutex_init(&node->lock, NULL);
	node->stop = eventfd(0, EFD_CLOEXEC);
	node->udp_foreign = fake_socket(SOCK_DGRAM, &node->port_foreign);
	/* One port number for both protocols: drawn again when the other protocol's is taken. */
	do {
		node->port = 0;
		node->udp = fake_socket(SOCK_DGRAM, &node->port);
		if (stream)
			node->listener = fake_socket(SOCK_STREAM, &node->port);
		if (stream && node->listener < 0)
			(void)close(node->udp);
	} while (stream && node->listener < 0);
	assert(!stream || listen(node->listener, 16) == 0);
	assert(pthread_create(&node->thread, NULL, fake_run, node) == 0);
	return node;
}

static inline void fake_set_faults(struct fake_node *node, const struct fake_faults *faults)
{
	pthread_mutex_lock(&node->lock);
	node->faults = *faults;
	pthread_mutex_unlock(&node->lock);
}

/* One of the node's counts, while it runs. */
static inline unsigned int fake_count(struct fake_node *node, const unsigned int *field)
{
	unsigned int count;

	pthread_mutex_lock(&node->lock);
	count = *field;
	pthread_mutex_unlock(&node->lock);
	return count;
}

static inline void fake_stop(struct fake_node *node)
{
	__u64 one = 1;

	assert(write(node->stop, &one, sizeof(one)) == sizeof(one));
	(void)pthread_join(node->thread, NULL);
	for (int i = 0; i < FAKE_CONNECTIONS; i++) {
		if (node->connection[i] >= 0)
			(void)close(node->connection[i]);
		free(node->input[i]);
	}
	for (int i = 0; i < FAKE_ENTRIES; i++) {
		free(node->entry[i].key);
		free(node->entry[i].value);
	}
	for (int i = 0; i < 64; i++)
		free(node->handle[i].value);
	(void)close(node->udp);
	(void)close(node->udp_foreign);
	(void)close(node->stop);
	if (node->listener >= 0)
		(void)close(node->listener);
	pthread_mutex_destroy(&node->lock);
	free(node);
}

/* ---- clients ------------------------------------------------------------------------------------------------------
 */

static inline struct virgo *client_of(const struct fake_node *node, unsigned int flags, unsigned int timeout_ms,
				      const char *key_file)
{
	char address[32];
	struct virgo_options options = { .size = sizeof(options),
					 .nodes = address,
					 .flags = flags,
					 .timeout_ms = timeout_ms,
					 .resends = 12,
					 .key_file = key_file ? key_file : "" };
	struct virgo *v;

	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", node->port);
	assert(virgo_connect(&v, &options, NULL, 0) == 0);
	return v;
}

static inline struct virgo_counters counters_of(const struct virgo *v)
{
	struct virgo_counters counters;

	virgo_counters(v, &counters);
	return counters;
}

static inline void write_key_file(char *path, const char *text)
{
	int fd = mkstemp(path);

	assert(fd >= 0);
	assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	(void)close(fd);
}

#endif
