// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The same random commands to two servers, and their answers byte by byte: resp_oracle PORT PORT SEED BATCHES.
 * The first server is redis-server. Exits 1 at the first difference and prints the batch, 2 when a server is not there.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH_MAX 24
#define BYTES_MAX (4u << 20)
#define MARKER "$13\r\nend-of-batch!\r\n"

static unsigned long long state;

static unsigned int draw(unsigned int below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)(state >> 33) % below;
}

/* ---- random commands ------------------------------------------------------------------------------------------- */

struct word {
	const char *data;
	size_t length;
};
#define WORD(text)                                                                                                     \
	{                                                                                                              \
		text, sizeof(text) - 1                                                                                 \
	}
#define PICK(list) (list)[draw(sizeof(list) / sizeof((list)[0]))]

static char long_text[9000];
static const struct word keys[] = {
	WORD("a"),    WORD("b"),    WORD("c"), WORD("k1"),   WORD("k2"),
	WORD("{t}x"), WORD("{t}y"), WORD(""),  WORD("k\0z"), WORD("a longer key with blanks")
};
static const struct word numbers[] = { WORD("0"),
				       WORD("1"),
				       WORD("-1"),
				       WORD("5"),
				       WORD("17"),
				       WORD("-100"),
				       WORD("010"),
				       WORD("9223372036854775807"),
				       WORD("-9223372036854775808"),
				       WORD("abc"),
				       WORD(""),
				       WORD("9223372036854775808"),
				       WORD("1.5"),
				       WORD(" 1"),
				       WORD("+1"),
				       WORD("-0") };
/*
 * No short deadline: the two clocks are not one. Nor one so far away that the store, which has 48 bits for it (the
 * year 10889), brings it nearer.
 */
static const struct word times[] = {
	WORD("100000"), WORD("9999999999"), WORD("99999999999"),	WORD("0"), WORD("-1"),
	WORD("abc"),	WORD(""),	    WORD("9223372036854775808")
};
static const struct word values[] = { WORD("hello"),	 WORD("\0\1\377"),   WORD("3.0e3"),	 WORD("inf"),
				      WORD("nan"),	 WORD("1e400"),	     WORD("0x10"),	 WORD("\r\n"),
				      { long_text, 45 }, { long_text, 500 }, { long_text, 5000 } };
static const struct word options[] = { WORD("ex"),	WORD("px"),	 WORD("EXAT"), WORD("pxat"),	WORD("nx"),
				       WORD("XX"),	WORD("gt"),	 WORD("lt"),   WORD("keepttl"), WORD("GET"),
				       WORD("persist"), WORD("replace"), WORD("bogus") };

/*
 * What a command takes, a letter each: k key, n number, t time, v value, o up to three options with times, m up to five
 * keys, p up to three pairs; a space ends the name.
 */
static const char *const commands[] = {
	"get k",      "get k",	     "set kv",	     "set kv",	      "set kvo",	"getset kv",
	"getdel k",   "getex ko",    "setnx kv",     "setex ktv",     "psetex ktv",	"mget m",
	"mset p",     "msetnx p",    "del m",	     "unlink m",      "exists m",	"touch m",
	"incr k",     "decr k",	     "incrby kn",    "decrby kn",     "incrbyfloat kn", "incrbyfloat kv",
	"append kv",  "strlen k",    "getrange knn", "substr knn",    "setrange knv",	"type k",
	"expire kto", "pexpire kto", "expireat kto", "pexpireat kto", "persist k",	"expiretime k",
	"rename kk",  "renamenx kk", "copy kko",     "echo v",	      "ping",		"ping v",
	"get",	      "get kk",	     "nosuch vvk",   "object k",      "select n",	"command v",
	"hello n",    "scan",	     "dbsize k",     "client v",      "config v",	"GeT k",
	"SETNX k",    "pttl kk",     "ttl",	     "memory v",      "time v",		"auth vvv",
};

struct batch {
	char bytes[BYTES_MAX];
	size_t length;
};

struct command {
	struct word word[32];
	int words;
};

static void add(struct command *command, struct word word)
{
	if (command->words < 32)
		command->word[command->words++] = word;
}

static void add_value(struct command *command)
{
	add(command, draw(3) ? PICK(values) : PICK(numbers));
}

static void add_parts(struct command *command, char kind)
{
	unsigned int count = draw(kind == 'm' ? 6 : 4);

	for (unsigned int i = 0; i < count; i++) {
		add(command, kind == 'o' ? PICK(options) : PICK(keys));
		if (kind == 'o' && draw(3))
			add(command, PICK(times));
		if (kind == 'p' && (i + 1 < count || draw(4)))
			add_value(command);
	}
}

static void draw_command(struct command *command)
{
	const char *form = PICK(commands), *blank = strchr(form, ' ');

	command->words = 0;
	add(command, (struct word){ form, blank ? (size_t)(blank - form) : strlen(form) });
	for (const char *at = blank ? blank + 1 : ""; *at; at++) {
		if (*at == 'k')
			add(command, PICK(keys));
		else if (*at == 'n')
			add(command, PICK(numbers));
		else if (*at == 't')
			add(command, PICK(times));
		else if (*at == 'v')
			add_value(command);
		else
			add_parts(command, *at);
	}
}

static void put(struct batch *batch, const void *data, size_t length)
{
	if (batch->length + length > sizeof(batch->bytes))
		abort();
	memcpy(batch->bytes + batch->length, data, length);
	batch->length += length;
}

static void put_command(struct batch *batch, const struct command *command)
{
	char head[32];

	put(batch, head, (size_t)snprintf(head, sizeof(head), "*%d\r\n", command->words));
	for (int i = 0; i < command->words; i++) {
		put(batch, head, (size_t)snprintf(head, sizeof(head), "$%zu\r\n", command->word[i].length));
		put(batch, command->word[i].data, command->word[i].length);
		put(batch, "\r\n", 2);
	}
}

/* ---- servers --------------------------------------------------------------------------------------------------- */

static int open_server(const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((unsigned short)strtoul(port, NULL, 10)),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	/* Pieces are pieces: none waits for the acknowledgement of the one before it. */
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror(port);
		exit(2);
	}
	return fd;
}

/* Send a batch and take its answers, up to the marker. Sends are cut at random: servers see requests in pieces. */
static void exchange(int fd, const struct batch *request, struct batch *answer)
{
	size_t sent = 0;

	answer->length = 0;
	for (;;) {
		struct pollfd events = { fd, (short)(POLLIN | (sent < request->length ? POLLOUT : 0)), 0 };

		if (poll(&events, 1, 10000) != 1) {
			fprintf(stderr, "no answer within 10 s\n");
			exit(1);
		}
		if (events.revents & POLLOUT) {
			size_t piece = request->length - sent;
			ssize_t count = send(fd, request->bytes + sent, piece > 1 ? 1 + draw((unsigned int)piece) : 1,
					     MSG_NOSIGNAL);

			sent += count > 0 ? (size_t)count : 0;
		}
		if (events.revents & (POLLIN | POLLHUP)) {
			ssize_t count =
				recv(fd, answer->bytes + answer->length, sizeof(answer->bytes) - answer->length, 0);

			if (count <= 0)
				return;
			answer->length += (size_t)count;
		}
		if (sent == request->length && answer->length >= strlen(MARKER) &&
		    memcmp(answer->bytes + answer->length - strlen(MARKER), MARKER, strlen(MARKER)) == 0)
			return;
	}
}

static void print_bytes(const char *title, const char *bytes, size_t length)
{
	printf("# %s ", title);
	for (size_t i = 0; i < length && i < 400; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (byte >= ' ' && byte < 0x7f)
			putchar(byte);
		else
			printf("\\x%02x", byte);
	}
	putchar('\n');
}

/*
 * The answer in which the two differ, and the command it belongs to: answers before it are counted by their first
 * line.
 */
static void report(const struct batch *request, const struct batch *wanted, const struct batch *got)
{
	size_t at = 0, from;

	while (at < wanted->length && at < got->length && wanted->bytes[at] == got->bytes[at])
		at++;
	from = at > 120 ? at - 120 : 0;
	print_bytes("sent:  ", request->bytes, request->length);
	print_bytes("redis: ", wanted->bytes + from, wanted->length - from);
	print_bytes("virgo: ", got->bytes + from, got->length - from);
}

int main(int argc, char **argv)
{
	static const struct command marker = { { WORD("echo"), WORD("end-of-batch!") }, 2 };
	static const struct command versions[2] = { { { WORD("hello"), WORD("2") }, 2 },
						    { { WORD("hello"), WORD("3") }, 2 } };
	static struct batch request, wanted, got;
	int redis, virgo;
	unsigned long batches;

	if (argc != 5)
		return 2;
	state = strtoull(argv[3], NULL, 10);
	batches = strtoul(argv[4], NULL, 10);
	memset(long_text, 'x', sizeof(long_text));
	redis = open_server(argv[1]);
	virgo = open_server(argv[2]);
	for (unsigned long i = 0; i < batches; i++) {
		int count = 1 + (int)draw(BATCH_MAX);

		/*
		 * The version changes now and then; the answer to HELLO itself has the connection's number, and is
		 * not compared.
		 */
		if (i % 16 == 0) {
			request.length = 0;
			put_command(&request, &versions[draw(2)]);
			put_command(&request, &marker);
			exchange(redis, &request, &wanted);
			exchange(virgo, &request, &got);
		}
		request.length = 0;
		while (count--) {
			struct command command;

			draw_command(&command);
			put_command(&request, &command);
		}
		put_command(&request, &marker);
		exchange(redis, &request, &wanted);
		exchange(virgo, &request, &got);
		if (wanted.length != got.length || memcmp(wanted.bytes, got.bytes, got.length) != 0) {
			report(&request, &wanted, &got);
			return 1;
		}
	}
	return 0;
}
