/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hostile streams.
 *
 *   hostile_tcp ADDRESS KEY|- PID
 *
 * PID is the daemon's, for its memory. While each connection misbehaves, an honest one is served; the answer to what is
 * wrong is compared byte by byte where a protocol lays it down.
 */
#include "hostile.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#define CONNECTIONS_MAX 64 /* --connections of the daemon under test */
#define GROWTH_MAX_KIB (96 * 1024)
#define INLINE_TOO_LONG 70000

static int daemon_pid;

static long daemon_kib(void)
{
	char path[64], line[256];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", daemon_pid);
	file = fopen(path, "r");
	need(file != NULL, path);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

/* ---- one thing said, one answer -------------------------------------------------------------------------------- */

/* A `*` at the end of the wanted answer: how it goes on does not matter. */
static const struct exchange {
	const char *name, *said, *wanted;
	bool ends;
	const char *counter;
} open_exchanges[] = {
	{ "an array whose length is a word", "*abc\r\n", "-ERR Protocol error: invalid multibulk length\r\n", true,
	  "MALFORMED" },
	{ "an array of 2^31", "*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n", true,
	  "MALFORMED" },
	{ "an element that is no bulk", "*1\r\n+PING\r\n", "-ERR Protocol error: expected '$', got '+'\r\n", true,
	  "MALFORMED" },
	{ "a bulk of -1", "*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n", true, "MALFORMED" },
	{ "a bulk of a word", "*1\r\n$abc\r\n", "-ERR Protocol error: invalid bulk length\r\n", true, "MALFORMED" },
	{ "a bulk over 512 MiB", "*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n", true,
	  "MALFORMED" },
	{ "quotes without an end", "set \"k v\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n", true,
	  "MALFORMED" },
	{ "answers before the error arrive", "PING\r\n*1\r\n:1\r\n",
	  "+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n", true, "MALFORMED" },
	{ "an empty array, and on", "*0\r\nPING\r\n", "+PONG\r\n", false, NULL },
	{ "an unknown command", "*2\r\n$7\r\nnothing\r\n$1\r\nx\r\n",
	  "-ERR unknown command 'nothing', with args beginning with: 'x' \r\n", false, "UNKNOWN_COMMAND" },
	{ "an unknown command with line ends in it", "*1\r\n$4\r\na\r\nb\r\n",
	  "-ERR unknown command 'a  b', with args beginning with: \r\n", false, "UNKNOWN_COMMAND" },
	{ "too few arguments", "*1\r\n$3\r\nGET\r\n", "-ERR wrong number of arguments for 'get' command\r\n", false,
	  NULL },
	{ "memcached without a key", "gets\r\n", "ERROR\r\n", false, NULL },
	{ "memcached with a length that is none", "set k 0 0 -1\r\n", "CLIENT_ERROR bad command line format\r\n", false, NULL },
	{ "text without its end", "virgo_cloud_malloc 12\r\n", "virgo_error(*", false, NULL },
	{ "text of an unknown request", "virgo_nonsense(1,2)\r\n", "virgo_error(unknown_command,*", false, NULL },
	{ "text with a token that never was", "virgo_cloud_get(ffffffffffffffff)\r\n", "virgo_error(*", false, NULL },
};

static const struct exchange keyed_exchanges[] = {
	{ "a command before the password", "GET k\r\n", "-NOAUTH Authentication required.\r\n", false, "UNAUTHORIZED" },
	{ "a wrong password", "AUTH wrong\r\n", "-WRONGPASS *", false, "UNAUTHORIZED" },
	{ "an array too long for strangers", "*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n",
	  true, "MALFORMED" },
	{ "a bulk too long for strangers", "*1\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n",
	  true, "MALFORMED" },
	{ "memcached before the password", "gets k\r\n", "CLIENT_ERROR unauthenticated\r\n", false, "UNAUTHORIZED" },
	{ "text before the password", "virgo_cloud_malloc(8)\r\n", "virgo_error(unauthorized,*", false,
	  "UNAUTHORIZED" },
};

static const struct exchange any_exchanges[] = {
	{ "HTTP", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n*", true, "HTTP" },
	{ "an HTTP upload", "POST / HTTP/1.0\r\nContent-Length: 1000000000\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n*",
	  true, "HTTP" },
};

/* Read what is wanted, and then the end or, where the connection should live, nothing. */
static void hold_against(int fd, const struct exchange *exchange, __u64 before)
{
	size_t wanted = strlen(exchange->wanted), got;
	bool open_end = wanted && exchange->wanted[wanted - 1] == '*';
	char answer[1024] = "", rest[1024];

	wanted -= open_end;
	got = stream_read(fd, answer, wanted);
	if (got != wanted || memcmp(answer, exchange->wanted, wanted))
		result(false, exchange->name, "'%.*s'", (int)got, answer);
	else if (exchange->ends && stream_read(fd, rest, sizeof(rest)) > (open_end ? sizeof(rest) - 1 : 0))
		result(false, exchange->name, "more was said behind it");
	else if (!exchange->ends && !open_end && recv(fd, rest, 1, MSG_DONTWAIT) != -1)
		result(false, exchange->name, "more was said, or the connection was closed");
	else if (exchange->counter && !refused_more(exchange->counter, before))
		result(false, exchange->name, "%s was not counted", exchange->counter);
	else
		result(honest_is_served(), exchange->name, "the honest client was not served");
}

static void exchange_said(const struct exchange *exchange, const char *said, size_t bytes)
{
	__u64 before = exchange->counter ? refused(exchange->counter) : 0;
	int fd = stream_open();

	stream_send(fd, said, bytes);
	hold_against(fd, exchange, before);
	close(fd);
}

static void exchanges(const struct exchange *exchange, size_t count)
{
	for (; count; count--, exchange++)
		exchange_said(exchange, exchange->said, strlen(exchange->said));
}

/* Lines that never end. */
static void endless_lines(void)
{
	static const struct exchange kinds[] = {
		{ "an inline command without end", "A", "-ERR Protocol error: too big inline request\r\n", true,
		  "MALFORMED" },
		{ "an array's length without end", "*1", "-ERR Protocol error: too big mbulk count string\r\n", true,
		  "MALFORMED" },
		{ "a bulk's length without end", "*1\r\n$1", "-ERR Protocol error: too big bulk count string\r\n", true,
		  "MALFORMED" },
		{ "a text request without end", "virgo_set(k,", "virgo_error(too_long,*", true, NULL },
	};
	static char line[INLINE_TOO_LONG];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		memset(line, '1', sizeof(line));
		memcpy(line, kinds[i].said, strlen(kinds[i].said));
		exchange_said(&kinds[i], line, sizeof(line));
	}
}

/* ---- binary ---------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned int at, bytes;
	__u64 value;
	int status; /* -1: no answer */
	const char *text;
	bool ends;
} frames[] = {
	{ "a frame of another magic", 0, 2, 0x5648, VG_STATUS_BAD_REQUEST, "not a VIRGO header", true },
	{ "a frame of another version", 2, 1, 9, VG_STATUS_UNSUPPORTED, "this node speaks version 1", true },
	{ "a frame with a key over its limit", 40, 4, VG_KEY_MAX + 1, VG_STATUS_BAD_REQUEST, "a length over its limit",
	  true },
	{ "a frame with a body over its limit", 44, 4, VG_BODY_MAX + 1, VG_STATUS_BAD_REQUEST,
	  "a length over its limit", true },
	{ "a frame of an unknown operation", 3, 1, 77, VG_STATUS_UNSUPPORTED, "unknown operation", false },
	{ "a frame with an unknown flag", 4, 2, 0x8000, VG_STATUS_BAD_REQUEST,
	  "an unknown flag, or a reserved field that is not zero", false },
	{ "a frame with a reserved field", 70, 2, 1, VG_STATUS_BAD_REQUEST,
	  "an unknown flag, or a reserved field that is not zero", false },
	{ "an answer sent to the node", 4, 2, VG_FLAG_REPLY, -1, NULL, false },
};

static void hostile_frames(void)
{
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct message before, bad, after;
		struct vg_wire_header reply = { 0 };
		char *body = NULL;
		bool good;
		int fd = stream_open();

		message_make(&before, VG_OP_GET, target.own_key, NULL, 0);
		message_sign(&before);
		message_make(&bad, VG_OP_GET, target.own_key, NULL, 0);
		for (unsigned int byte = 0; byte < frames[i].bytes; byte++)
			bad.bytes[frames[i].at + byte] = (__u8)(frames[i].value >> 8 * (frames[i].bytes - 1 - byte));
		message_sign(&bad);
		message_make(&after, VG_OP_GET, target.own_key, NULL, 0);
		message_sign(&after);
		stream_send(fd, before.bytes, before.length);
		stream_send(fd, bad.bytes, bad.length);
		stream_send(fd, after.bytes, after.length);
		good = stream_reply(fd, &reply, &body) && reply.status == VG_STATUS_OK && !strcmp(body, OWN_VALUE);
		free(body);
		body = NULL;
		if (frames[i].status >= 0) {
			good = good && stream_reply(fd, &reply, &body) && reply.status == frames[i].status &&
			       reply.sequence == bad.header.sequence && !strcmp(body, frames[i].text);
			free(body);
			body = NULL;
		}
		if (frames[i].ends)
			good = good && recv(fd, &reply, 1, 0) == 0;
		else
			good = good && stream_reply(fd, &reply, &body) && reply.sequence == after.header.sequence &&
			       reply.status == VG_STATUS_OK && !strcmp(body, OWN_VALUE);
		if (!frames[i].ends)
			free(body);
		result(good && honest_is_served(), frames[i].name, "status %d", reply.status);
		close(fd);
	}
}

static void unproven_frames(void)
{
	struct vg_wire_header reply = { 0 };
	struct message message;
	char *body = NULL;
	int fd = stream_open();
	bool good;

	message_make(&message, VG_OP_GET, target.own_key, NULL, 0);
	stream_send(fd, message.bytes, message.length);
	good = stream_reply(fd, &reply, &body) && reply.status == VG_STATUS_UNAUTHORIZED && !reply.tag &&
	       !reply.load.service_ns;
	result(good, "a frame without a tag learns nothing", "status %d", reply.status);
	free(body);
	close(fd);
}

/* Every beginning of a message, then the end or a reset. */
static void cut_off(void)
{
	static const struct linger at_once = { .l_onoff = 1 };
	struct message message;

	message_make(&message, VG_OP_SET, target.own_key, "never", 5);
	message_sign(&message);
	for (size_t bytes = 0; bytes < message.length; bytes++) {
		int fd = stream_open();

		stream_send(fd, message.bytes, bytes);
		if (bytes & 1)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		close(fd);
	}
	result(honest_is_served(), "messages cut off at every byte", "the honest client was not served");
}

/* A byte at a time: the same answers. */
static void drip(void)
{
	static const char said[] =
		"*3\r\n$3\r\nSET\r\n$4\r\ndrip\r\n$5\r\n1\r\n23\r\nGET drip\r\n*2\r\n$3\r\nDEL\r\n$4\r\ndrip\r\n";
	static const char wanted[] = "+OK\r\n$5\r\n1\r\n23\r\n:1\r\n";
	struct vg_wire_header reply = { 0 };
	struct message message;
	char answer[64], *body = NULL;
	int fd;

	if (!target.keyed) {
		fd = stream_open();
		for (size_t i = 0; i < sizeof(said) - 1; i++)
			stream_send(fd, said + i, 1);
		result(stream_read(fd, answer, sizeof(wanted) - 1) == sizeof(wanted) - 1 &&
			       !memcmp(answer, wanted, sizeof(wanted) - 1),
		       "RESP a byte at a time", "another answer");
		close(fd);
	}
	message_make(&message, VG_OP_GET, target.own_key, NULL, 0);
	message_sign(&message);
	fd = stream_open();
	for (size_t i = 0; i < message.length; i++)
		stream_send(fd, message.bytes + i, 1);
	result(stream_reply(fd, &reply, &body) && reply.status == VG_STATUS_OK, "a frame a byte at a time", "status %d",
	       reply.status);
	free(body);
	close(fd);
}

/* ---- mixtures -------------------------------------------------------------------------------------------------- */

static void mixtures(void)
{
	struct message message;
	char answer[64] = "";
	int fd = stream_open();

	stream_send(fd, "PING\r\n", 6);
	shutdown(fd, SHUT_WR);
	result(stream_read(fd, answer, sizeof(answer)) == 7 && !memcmp(answer, "+PONG\r\n", 7),
	       "a half-closed stream is answered, then closed", "'%s'", answer);
	close(fd);

	fd = stream_open();
	message_make(&message, VG_OP_GET, target.own_key, NULL, 0);
	stream_send(fd, "PING\r\n", 6);
	stream_send(fd, message.bytes, message.length);
	stream_send(fd, "\r\nPING\r\n", 8);
	result(stream_read(fd, answer, 8) == 8 && !memcmp(answer, "+PONG\r\n-", 8), "a frame behind RESP is not RESP",
	       "'%.8s'", answer);
	close(fd);
	result(honest_is_served(), "and the honest client is served", "it was not");
}

/* ---- too much -------------------------------------------------------------------------------------------------- */

/* Announced and never sent: memory is taken for what has come. */
static void announcements(void)
{
	static const char said[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nx";
	struct message message;
	long before = daemon_kib(), after;
	int fds[40];

	message_make(&message, VG_OP_SET, target.own_key, NULL, 0);
	message.header.body_length = VG_HTOBE32(VG_VALUE_MAX);
	message_sign(&message);
	for (int i = 0; i < 40; i++) {
		fds[i] = stream_open();
		if (i & 1 || target.keyed)
			stream_send(fds[i], message.bytes, message.length);
		else
			stream_send(fds[i], said, sizeof(said) - 1);
	}
	result(honest_is_served(), "20 GB announced: the honest client is served", "it was not");
	after = daemon_kib();
	result(after - before < GROWTH_MAX_KIB, "and the daemon has not grown", "%ld KiB", after - before);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
}

#define PIPELINE 10000
#define VALUE_BYTES 16384

/* Values that each take an output chunk, asked for by many who read none: chunks must be left for others. */
static void many_greedy(const struct message *get)
{
	struct message ping;
	__u64 before = refused("NO_MEMORY");
	bool served = true;
	int fds[40];
	char *body;

	for (int i = 0; i < 40; i++) {
		struct pollfd room = { .fd = fds[i] = stream_open(), .events = POLLOUT };

		for (int asked = 0; asked < 2000 && poll(&room, 1, 10) > 0; asked++)
			if (!stream_send(fds[i], get->bytes, get->length))
				break;
		message_make(&ping, VG_OP_PING, "", NULL, 0);
		served &= honest_ask(&ping, &body) == VG_STATUS_OK;
		free(body);
	}
	result(served, "forty clients that do not read: the honest one is served", "it was not");
	result(refused("NO_MEMORY") == before, "and nobody is cut off for lack of output", "%llu were",
	       refused("NO_MEMORY") - before);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
}

/* As many questions as fit, no answer read; then all that were asked are there, in order. */
static void greedy(void)
{
	static __u8 value[VALUE_BYTES], back[VALUE_BYTES];
	struct message set = { 0 }, get;
	struct vg_wire_header reply;
	long before = daemon_kib(), most;
	int asked = 0, right = 0, fd = stream_open();
	char *body;

	message_make(&set, VG_OP_SET, target.own_key, NULL, 0);
	set.header.body_length = VG_HTOBE32(VALUE_BYTES);
	message_sign(&set);
	memset(value, 'v', sizeof(value));
	stream_send(target.honest, set.bytes, set.length);
	stream_send(target.honest, value, sizeof(value));
	need(stream_reply(target.honest, &reply, &body) && reply.status == VG_STATUS_OK, "SET of a long value");
	free(body);
	message_make(&get, VG_OP_GET, target.own_key, NULL, 0);
	message_sign(&get);
	for (struct pollfd room = { .fd = fd, .events = POLLOUT }; asked < PIPELINE && poll(&room, 1, 1000) > 0;
	     asked++)
		if (!stream_send(fd, get.bytes, get.length))
			break;
	usleep(200000);
	most = daemon_kib();
	message_make(&set, VG_OP_PING, "", NULL, 0);
	result(honest_ask(&set, &body) == VG_STATUS_OK, "a client that does not read: the honest one is served",
	       "it was not");
	free(body);
	result(most - before < GROWTH_MAX_KIB, "and the daemon has not grown", "%ld KiB for %d questions",
	       most - before, asked);
	for (; right < asked; right++)
		if (stream_read(fd, &reply, sizeof(reply)) != sizeof(reply) || reply.status != VG_STATUS_OK ||
		    stream_read(fd, back, sizeof(back)) != sizeof(back) || memcmp(back, value, sizeof(back)))
			break;
	result(right == asked, "and then reads every answer", "%d of %d", right, asked);
	close(fd);
	many_greedy(&get);
	message_make(&set, VG_OP_SET, target.own_key, OWN_VALUE, strlen(OWN_VALUE));
	need(honest_ask(&set, &body) == VG_STATUS_OK, "SET");
	free(body);
}

/* Served, or refused by the end of the connection; never left hanging. */
static bool is_served(int fd)
{
	struct vg_wire_header reply;
	struct message message;
	char *body;

	message_make(&message, VG_OP_PING, "", NULL, 0);
	message_sign(&message);
	if (!stream_send(fd, message.bytes, message.length) || !stream_reply(fd, &reply, &body))
		return false;
	free(body);
	return reply.status == VG_STATUS_OK;
}

static void crowd(void)
{
	__u64 before = refused("BUSY");
	int fds[200], served = 0, tries, again = 0;

	for (int i = 0; i < 200; i++)
		fds[i] = stream_open();
	for (int i = 0; i < 200; i++)
		served += is_served(fds[i]);
	result(served > CONNECTIONS_MAX / 2 && served < CONNECTIONS_MAX,
	       "200 connections: as many as there may be are served", "%d", served);
	result(refused_more("BUSY", before), "and the others are counted", "they are not");
	result(honest_is_served(), "and who was there before is served", "it was not");
	for (int i = 0; i < 200; i++)
		close(fds[i]);
	/* The ends of the connections are taken when the worker comes to it. */
	for (tries = 0; tries < PATIENCE_MS / 100 && !again; tries++) {
		int fd = stream_open();

		again = is_served(fd);
		close(fd);
		usleep(100000);
	}
	result(again, "and when they have gone there is room again", "there is not");
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: hostile_tcp ADDRESS KEY|- PID\n");
		return 2;
	}
	target_init(argv[1], argv[2]);
	daemon_pid = (int)strtol(argv[3], NULL, 10);
	exchanges(any_exchanges, sizeof(any_exchanges) / sizeof(any_exchanges[0]));
	if (target.keyed) {
		exchanges(keyed_exchanges, sizeof(keyed_exchanges) / sizeof(keyed_exchanges[0]));
		unproven_frames();
	} else {
		exchanges(open_exchanges, sizeof(open_exchanges) / sizeof(open_exchanges[0]));
	}
	endless_lines();
	hostile_frames();
	cut_off();
	drip();
	if (!target.keyed)
		mixtures();
	announcements();
	greedy();
	crowd();
	return 0;
}
