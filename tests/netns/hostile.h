/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the hostile clients share: messages made by hand, so that every field can be wrong, and one honest connection
 * that asks the node how it is. Each program is one file; a result is a line "ok NAME" or "bad NAME: why" for the
 * script.
 */
#ifndef VG_TESTS_HOSTILE_H
#define VG_TESTS_HOSTILE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "virgo/hash.h"
#include "virgo/wire_codec.h"

#define UNUSED __attribute__((unused))
#define PATIENCE_MS 20000 /* for what must come; the machine may be busy */
#define OWN_KEY "hostile:known"
#define OWN_VALUE "the value that stays"

struct message {
	union {
		struct vg_wire_header header;
		__u8 bytes[4096];
	};
	size_t length;
};

static struct {
	struct sockaddr_in address;
	bool keyed;
	__u64 key[2];
	int honest; /* a TCP connection that keeps to the rules */
	__u64 sequence;
	char own_key[32]; /* a key of the node under test, whatever the cluster */
} target;

static void result(bool good, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void result(bool good, const char *name, const char *format, ...)
{
	va_list arguments;

	printf(good ? "ok %s" : "bad %s: ", name);
	if (!good) {
		va_start(arguments, format);
		vprintf(format, arguments);
		va_end(arguments);
	}
	printf("\n");
	fflush(stdout);
}

static void need(bool good, const char *what)
{
	if (good)
		return;
	printf("bad %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static void message_sign_with(struct message *message, const __u64 key[2])
{
	message->header.flags |= VG_HTOBE16(VG_FLAG_TAGGED);
	/* A length that lies is signed over what there is room for; nobody gets as far as to compare it. */
	if (vg_wire_key_padded(&message->header) <= sizeof(message->bytes) - sizeof(message->header))
		message->header.tag = vg_wire_tag(key, &message->header);
}

static void message_sign(struct message *message)
{
	if (target.keyed)
		message_sign_with(message, target.key);
}

/* An honest message, not signed yet. */
static void message_make(struct message *message, __u8 opcode, const char *key, const void *body, size_t body_bytes)
{
	size_t key_bytes = strlen(key), padded = VG_ALIGN_UP(key_bytes, 8UL);

	memset(message, 0, sizeof(*message));
	message->header = (struct vg_wire_header){
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = opcode,
		.client = VG_HTOBE64(0x484f5354ULL << 16 | (__u64)(getpid() & 0xffff)),
		.sequence = VG_HTOBE64(++target.sequence),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.partition = key_bytes ? VG_HTOBE16(vg_partition_of(key, key_bytes)) : 0,
		.ident = key_bytes ? VG_HTOBE64(vg_hash64(key, key_bytes)) : 0,
		.key_length = VG_HTOBE32((__u32)key_bytes),
		.body_length = VG_HTOBE32((__u32)body_bytes),
	};
	memcpy(message->bytes + sizeof(message->header), key, key_bytes);
	if (body_bytes)
		memcpy(message->bytes + sizeof(message->header) + padded, body, body_bytes);
	message->length = sizeof(message->header) + padded + body_bytes;
}

/* ---- streams --------------------------------------------------------------------------------------------------- */

static int stream_open(void)
{
	static const struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	static const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(fd >= 0, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	need(!connect(fd, (struct sockaddr *)&target.address, sizeof(target.address)), "connect");
	return fd;
}

static bool stream_send(int fd, const void *data, size_t bytes)
{
	while (bytes) {
		ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		data = (const char *)data + sent;
		bytes -= (size_t)sent;
	}
	return true;
}

/* Bytes read: all that were wanted, or fewer at the end of the stream, a reset or the end of patience. */
static size_t stream_read(int fd, void *data, size_t bytes)
{
	size_t done = 0;
	ssize_t part = 1;

	while (done < bytes && part > 0) {
		part = recv(fd, (char *)data + done, bytes - done, 0);
		done += part > 0 ? (size_t)part : 0;
	}
	return done;
}

/* One frame; its body is the caller's to free. False: the stream ended. */
static bool stream_reply(int fd, struct vg_wire_header *ret_header, char **ret_body)
{
	size_t bytes;

	if (stream_read(fd, ret_header, sizeof(*ret_header)) != sizeof(*ret_header))
		return false;
	bytes = VG_BE32TOH(ret_header->body_length);
	*ret_body = calloc(1, bytes + 1);
	need(*ret_body, "memory");
	if (stream_read(fd, *ret_body, bytes) == bytes)
		return true;
	free(*ret_body);
	return false;
}

static int honest_ask(struct message *message, char **ret_body)
{
	struct vg_wire_header reply;

	message_sign(message);
	need(stream_send(target.honest, message->bytes, message->length), "the honest connection sends");
	need(stream_reply(target.honest, &reply, ret_body), "the honest connection is answered");
	need(reply.sequence == message->header.sequence, "the honest connection's answers are in order");
	return reply.status;
}

/* The value that was stored at the beginning is there, and its client is served. */
static UNUSED bool honest_is_served(void)
{
	struct message message;
	char *body;
	bool good;
	int status;

	message_make(&message, VG_OP_GET, target.own_key, NULL, 0);
	status = honest_ask(&message, &body);
	good = status == VG_STATUS_OK && !strcmp(body, OWN_VALUE);
	free(body);
	return good;
}

static UNUSED __u64 refused(const char *counter)
{
	struct message message;
	json_t *root;
	__u64 count;
	char *body;

	message_make(&message, VG_OP_STATUS, "", NULL, 0);
	need(honest_ask(&message, &body) == VG_STATUS_OK, "the node says how it is");
	root = json_loads(body, 0, NULL);
	need(root && json_object_get(json_object_get(root, "refused"), counter), counter);
	count = (__u64)json_integer_value(json_object_get(json_object_get(root, "refused"), counter));
	json_decref(root);
	free(body);
	return count;
}

/* Counters are written at once, but datagrams are taken when the worker comes to it. */
static UNUSED bool refused_more(const char *counter, __u64 before)
{
	for (int tries = 0; tries < PATIENCE_MS / 20; tries++) {
		if (refused(counter) > before)
			return true;
		usleep(20000);
	}
	return false;
}

/*
 * ADDRESS and KEY ("-": none) of the command line. Keys of the lower half of the partitions are node 0's, of however
 * few.
 */
static void target_init(const char *address, const char *key)
{
	struct message message;
	char *body;

	target.address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(VG_PORT_MEM) };
	need(inet_pton(AF_INET, address, &target.address.sin_addr) == 1, "an address");
	target.keyed = strcmp(key, "-") != 0;
	if (target.keyed) {
		need(sscanf(key, "%16llx%16llx", &target.key[0], &target.key[1]) == 2, "32 hex digits");
	}
	for (int i = 0; i == 0 || vg_partition_of(target.own_key, strlen(target.own_key)) >= VG_PARTITIONS / 2; i++)
		snprintf(target.own_key, sizeof(target.own_key), "%s:%d", OWN_KEY, i);
	target.sequence = (__u64)time(NULL) << 20;
	target.honest = stream_open();
	message_make(&message, VG_OP_SET, target.own_key, OWN_VALUE, strlen(OWN_VALUE));
	need(honest_ask(&message, &body) == VG_STATUS_OK, "an honest SET");
	free(body);
}

#endif
