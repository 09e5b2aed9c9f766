/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A storm of random messages, mutants of honest ones, while an honest client looks after its values.
 *
 *   storm ADDRESS KEY|- SEED DATAGRAMS STREAMS
 *
 * Datagrams go in gusts of one length: behind each gust an honest one asks from the same socket, so that the answers
 * between can be measured. The same seed makes the same storm.
 */
#include "hostile.h"

#define GUST 100
#define KEYS 64

static __u64 state;
static int fd;

static __u64 draw(__u64 bound) /* splitmix64 */
{
	__u64 z = state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return (z ^ z >> 31) % bound;
}

/* ---- the honest client ----------------------------------------------------------------------------------------- */

static void known(int number, char key[32], char value[64])
{
	snprintf(key, 32, "kept:%d", number);
	memset(value, 'a' + number % 26, 63);
	value[63] = '\0';
	value[snprintf(value, 63, "value of %s ", key)] = '.';
}

static void keep_all(void)
{
	struct message message;
	char key[32], value[64], *body;

	for (int i = 0; i < KEYS; i++) {
		known(i, key, value);
		message_make(&message, VG_OP_SET, key, value, 63);
		need(honest_ask(&message, &body) == VG_STATUS_OK, "SET of a value to be kept");
		free(body);
	}
}

static bool is_kept(int number)
{
	struct message message;
	char key[32], value[64], *body;
	bool good;

	known(number, key, value);
	message_make(&message, VG_OP_GET, key, NULL, 0);
	good = honest_ask(&message, &body) == VG_STATUS_OK && !strcmp(body, value);
	free(body);
	return good;
}

/* ---- datagrams ------------------------------------------------------------------------------------------------- */

/* Bytes, bits and runs of bytes change; mostly in what would be the header. */
static void mutate(__u8 *bytes, size_t length)
{
	for (__u64 changes = 1 + draw(4); length && changes; changes--) {
		size_t at = draw(draw(4) && length > sizeof(struct vg_wire_header) ? sizeof(struct vg_wire_header)
										   : length);
		size_t run = 1 + draw(8);

		switch (draw(3)) {
		case 0:
			bytes[at] = (__u8)draw(256);
			break;
		case 1:
			bytes[at] ^= (__u8)(1 << draw(8));
			break;
		case 2:
			memset(bytes + at, draw(2) ? 0xff : 0, run < length - at ? run : length - at);
		}
	}
}

/* An honest message of any operation that a datagram may carry; its keys are not those that are kept. */
static void random_message(struct message *message)
{
	static const __u8 operations[] = { VG_OP_PING,	     VG_OP_GET,		VG_OP_GET,
					   VG_OP_SET,	     VG_OP_DEL,		VG_OP_HANDLE_GET,
					   VG_OP_HANDLE_SET, VG_OP_HANDLE_FREE, VG_OP_STATUS };
	__u8 operation = operations[draw(sizeof(operations))], body[200];
	size_t body_bytes = operation == VG_OP_SET || operation == VG_OP_HANDLE_SET ? draw(sizeof(body)) : 0;
	char key[32] = "";

	if (operation >= VG_OP_GET && operation <= VG_OP_DEL)
		snprintf(key, sizeof(key), "storm:%llu", draw(KEYS));
	memset(body, 's', sizeof(body));
	message_make(message, operation, key, body, body_bytes);
	message->header.client = VG_HTOBE64(draw(100));
}

/* Take what comes until the honest datagram is answered; false when an answer is longer than it may be. */
static bool measure(size_t longest)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct message honest, arrived;
	bool good = true;

	message_make(&honest, VG_OP_SET, target.own_key, NULL, 0);
	honest.header.flags = VG_HTOBE16(VG_FLAG_IF_ABSENT);
	message_sign(&honest);
	for (int tries = 0; tries < PATIENCE_MS / 1000; tries++) {
		sendto(fd, honest.bytes, honest.length, 0, (struct sockaddr *)&target.address, sizeof(target.address));
		while (poll(&wait, 1, 1000) > 0) {
			ssize_t bytes = recv(fd, arrived.bytes, sizeof(arrived.bytes), 0);

			/* A mutant may bear the number of this question, but not its client's name too. */
			/* By the client's name too: a mutant may have drawn the sequence number of the honest one. */
			if (bytes >= (ssize_t)sizeof(arrived.header) && arrived.header.client == honest.header.client &&
			    arrived.header.sequence == honest.header.sequence)
				return good;
			if (bytes > (ssize_t)longest && good) {
				printf("# %zd bytes for %zu: operation %d, status %d, number %llu, asked %llu\n",
				       bytes, longest, arrived.header.opcode, arrived.header.status,
				       VG_BE64TOH(arrived.header.sequence), VG_BE64TOH(honest.header.sequence));
				good = false;
			}
		}
	}
	need(false, "the honest datagram is answered");
	return false;
}

static void datagrams(__u64 count)
{
	bool kept = true, measured = true;

	for (__u64 gust = 0; gust < count / GUST; gust++) {
		size_t length = draw(10) ? 80 + draw(400) : draw(2000);

		for (int i = 0; i < GUST; i++) {
			struct message message;
			bool late = draw(2);

			random_message(&message);
			message.length = length;
			if (late)
				mutate(message.bytes, length < 80 ? 80 : length);
			message_sign(&message);
			if (!late)
				mutate(message.bytes, length < 80 ? 80 : length);
			sendto(fd, message.bytes, message.length, 0, (struct sockaddr *)&target.address,
			       sizeof(target.address));
		}
		measured &= measure(target.keyed ? VG_DATAGRAM_MAX : length);
		kept &= is_kept((int)draw(KEYS));
	}
	result(kept, "datagrams: values are intact all along", "one was not");
	result(measured, "datagrams: no answer is longer than it may be", "one was");
}

/* ---- streams --------------------------------------------------------------------------------------------------- */

static const char *const lines[] = {
	"*3\r\n$3\r\nSET\r\n$7\r\nstorm:1\r\n$5\r\nvalue\r\n",
	"*2\r\n$3\r\nGET\r\n$7\r\nstorm:1\r\n",
	"PING\r\nPING\r\nECHO storm\r\n",
	"*4\r\n$4\r\nMSET\r\n$7\r\nstorm:2\r\n$1\r\n2\r\n",
	"*5\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$1\r\ns\r\n",
	"INCR storm:n\r\n",
	"*3\r\n$6\r\nAPPEND\r\n$7\r\nstorm:3\r\n$3\r\nabc\r\n",
	"HELLO 3\r\nCLIENT ID\r\nINFO\r\n",
	"SETRANGE storm:4 10 x\r\nGETRANGE storm:4 0 -1\r\n",
	"virgo_cloud_malloc(64)\r\nvirgo_set(storm:5,v)\r\nvirgo_get(storm:5)\r\n",
	"GET / HTTP/1.1\r\nHost: storm\r\n\r\n",
	"set k 0 0 1\r\nx\r\n",
	"COMMAND DOCS get\r\nCOMMAND COUNT\r\nMEMORY USAGE storm:1\r\n",
	"EXPIRE storm:1 100\r\nTTL storm:1\r\nPERSIST storm:1\r\n",
};

static size_t random_stream(__u8 *bytes, size_t room)
{
	size_t length = 0;

	for (__u64 parts = 1 + draw(6), binary = draw(2); parts; parts--) {
		const char *line = lines[draw(sizeof(lines) / sizeof(lines[0]))];
		struct message message;

		random_message(&message);
		message_sign(&message);
		if (length + message.length > room || length + strlen(line) > room)
			break;
		memcpy(bytes + length, binary ? (const void *)message.bytes : line,
		       binary ? message.length : strlen(line));
		length += binary ? message.length : strlen(line);
	}
	if (draw(8))
		mutate(bytes, length);
	return draw(4) ? length : draw(length + 1);
}

static void streams(__u64 count)
{
	static const struct linger at_once = { .l_onoff = 1 };
	static __u8 bytes[4096];
	bool kept = true;

	for (__u64 i = 0; i < count; i++) {
		int stream = stream_open();
		size_t length = random_stream(bytes, sizeof(bytes)), cut = draw(length + 1);

		stream_send(stream, bytes, cut);
		stream_send(stream, bytes + cut, length - cut);
		if (draw(8) == 0) {
			/* To the end of all answers: the node closes what its peer has closed. */
			shutdown(stream, SHUT_WR);
			while (recv(stream, bytes, sizeof(bytes), 0) > 0)
				continue;
		} else if (draw(4)) {
			setsockopt(stream, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		}
		close(stream);
		if (i % 16 == 0)
			kept &= is_kept((int)draw(KEYS));
	}
	result(kept, "streams: values are intact all along", "one was not");
}

int main(int argc, char **argv)
{
	bool all = true;

	if (argc != 6) {
		fprintf(stderr, "usage: storm ADDRESS KEY|- SEED DATAGRAMS STREAMS\n");
		return 2;
	}
	target_init(argv[1], argv[2]);
	state = strtoull(argv[3], NULL, 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	need(fd >= 0, "socket");
	keep_all();
	datagrams(strtoull(argv[4], NULL, 0));
	streams(strtoull(argv[5], NULL, 0));
	for (int i = 0; i < KEYS; i++)
		all &= is_kept(i);
	result(all, "afterwards all values are there", "not all");
	return 0;
}
