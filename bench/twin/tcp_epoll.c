// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The daemon's plain twin: RESP GET, SET and PING over one hash table, one thread, epoll, read and write. It has none
 * of what the daemon must have (deadlines, limits, other commands, other workers), so it is what the daemon's
 * architecture is to be compared with, and a lower bound for what epoll can do. Usage: tcp_epoll ADDRESS PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virgo/hash.h"

#define CONNECTIONS_MAX 4096
#define INPUT_BYTES 65536
#define OUTPUT_BYTES (1 << 20)
#define VALUE_MAX 32768
#define TABLE_SLOTS (1u << 22)
#define TABLE_KEYS_MAX (TABLE_SLOTS / 4 * 3)
#define WORDS_MAX 3

struct item {
	__u64 hash;
	__u32 key_length, value_length;
	char bytes[]; /* key, value */
};

struct connection {
	int socket;
	__u32 have; /* bytes in input that are not a whole command yet */
	char input[INPUT_BYTES];
};

struct word {
	const char *data;
	__u32 length;
};

static struct item **table;
static __u32 table_keys;
static char output[OUTPUT_BYTES];
static __u32 output_length;

/* The slot of the key, or the empty one where it belongs. */
static struct item **find(const struct word *key, __u64 hash)
{
	__u32 at = (__u32)hash & (TABLE_SLOTS - 1);

	for (; table[at]; at = (at + 1) & (TABLE_SLOTS - 1)) {
		struct item *item = table[at];

		if (item->hash == hash && item->key_length == key->length &&
		    !memcmp(item->bytes, key->data, key->length))
			break;
	}
	return &table[at];
}

static void reply(const char *data, size_t length)
{
	memcpy(output + output_length, data, length);
	output_length += (__u32)length;
}

#define REPLY(text) reply(text, sizeof(text) - 1)

static void do_get(const struct word *key)
{
	struct item *item = *find(key, vg_hash64(key->data, key->length));
	char head[16];

	if (!item) {
		REPLY("$-1\r\n");
		return;
	}
	reply(head, (size_t)snprintf(head, sizeof(head), "$%u\r\n", item->value_length));
	reply(item->bytes + item->key_length, item->value_length);
	REPLY("\r\n");
}

static void do_set(const struct word *key, const struct word *value)
{
	__u64 hash = vg_hash64(key->data, key->length);
	struct item **slot = find(key, hash), *item = *slot;

	if (!item || item->value_length != value->length) {
		if (!item && table_keys == TABLE_KEYS_MAX) {
			REPLY("-ERR table full\r\n");
			return;
		}
		table_keys += !item;
		item = realloc(item, sizeof(*item) + key->length + value->length);
		if (!item)
			abort();
		*slot = item;
	}
	*item = (struct item){ .hash = hash, .key_length = key->length, .value_length = value->length };
	memcpy(item->bytes, key->data, key->length);
	memcpy(item->bytes + key->length, value->data, value->length);
	REPLY("+OK\r\n");
}

static void execute(const struct word *words, int count)
{
	if (count == 2 && words[0].length == 3 && !strncasecmp(words[0].data, "get", 3))
		do_get(&words[1]);
	else if (count == 3 && words[0].length == 3 && !strncasecmp(words[0].data, "set", 3))
		do_set(&words[1], &words[2]);
	else if (count == 1 && words[0].length == 4 && !strncasecmp(words[0].data, "ping", 4))
		REPLY("+PONG\r\n");
	else
		REPLY("-ERR unknown command\r\n");
}

/* "<mark>N\r\n": true with *at behind it; *ret_bad: it is something else; false alone: there is more to come. */
static bool take_number(const char **at, const char *end, char mark, __u32 max, __u32 *ret, bool *ret_bad)
{
	const char *c = *at;
	__u32 value = 0;

	if (c == end)
		return false;
	if (*c++ != mark) {
		*ret_bad = true;
		return false;
	}
	for (; c < end && *c >= '0' && *c <= '9' && value <= max; c++)
		value = value * 10 + (__u32)(*c - '0');
	if (end - c < 2) {
		*ret_bad = value > max;
		return false;
	}
	*ret_bad = value > max || c[0] != '\r' || c[1] != '\n';
	*at = c + 2;
	*ret = value;
	return !*ret_bad;
}

/* One command at *at. */
static bool take_command(const char **at, const char *end, bool *ret_bad)
{
	struct word words[WORDS_MAX];
	const char *c = *at;
	__u32 count;

	if (!take_number(&c, end, '*', WORDS_MAX, &count, ret_bad))
		return false;
	for (__u32 i = 0; i < count; i++) {
		if (!take_number(&c, end, '$', VALUE_MAX, &words[i].length, ret_bad) ||
		    end - c < (long)words[i].length + 2)
			return false;
		words[i].data = c;
		c += words[i].length + 2;
	}
	execute(words, (int)count);
	*at = c;
	return true;
}

static bool flush(int socket)
{
	__u32 done = 0;

	while (done < output_length) {
		ssize_t sent = send(socket, output + done, output_length - done, MSG_NOSIGNAL);

		if (sent < 0)
			return false;
		done += (__u32)sent;
	}
	output_length = 0;
	return true;
}

/* Returns false when the connection is over. */
static bool serve(struct connection *connection)
{
	ssize_t got = recv(connection->socket, connection->input + connection->have, INPUT_BYTES - connection->have, 0);
	const char *at = connection->input, *end;
	bool bad = false;

	if (got <= 0)
		return false;
	end = at + connection->have + got;
	while (take_command(&at, end, &bad))
		if (output_length > OUTPUT_BYTES - 2 * VALUE_MAX && !flush(connection->socket))
			return false;
	if (bad)
		return false;
	connection->have = (__u32)(end - at);
	memmove(connection->input, at, connection->have);
	return flush(connection->socket) && connection->have < INPUT_BYTES;
}

static void accept_one(int epoll, int listener)
{
	int one = 1, socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct connection *connection = socket < 0 ? NULL : malloc(sizeof(*connection));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };

	if (!connection) {
		if (socket >= 0)
			close(socket);
		return;
	}
	connection->socket = socket;
	connection->have = 0;
	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) < 0) {
		close(socket);
		free(connection);
	}
}

static int listen_on(const char *address, const char *port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((__u16)strtoul(port, NULL, 10)) };
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1)
		return -1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(listener, CONNECTIONS_MAX) < 0)
		return -1;
	return listener;
}

int main(int argc, char **argv)
{
	struct epoll_event events[256], event = { .events = EPOLLIN };
	int listener = argc == 3 ? listen_on(argv[1], argv[2]) : -1, epoll = epoll_create1(EPOLL_CLOEXEC);

	table = calloc(TABLE_SLOTS, sizeof(*table));
	if (listener < 0 || epoll < 0 || !table || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) {
		fprintf(stderr, "usage: tcp_epoll ADDRESS PORT (%s)\n", strerror(errno));
		return EXIT_FAILURE;
	}
	for (;;) {
		int count = epoll_wait(epoll, events, 256, -1);

		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;

			if (!connection) {
				accept_one(epoll, listener);
			} else if (!serve(connection)) {
				output_length = 0;
				close(connection->socket);
				free(connection);
			}
		}
	}
}
