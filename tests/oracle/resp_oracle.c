// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The same random commands to two servers, and their answers byte by byte: resp_oracle PORT PORT SEED COMMANDS.
 * The first server is redis-server. Exits 1 at the first difference and prints the batch, 2 when a server is not there.
 *
 * Each server has two clients, who take turns: what the second one does breaks the first one's watched keys, and is
 * pushed to it as messages, key-space notifications and invalidations, which are compared with all the rest.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH_MAX 24
#define EPOCH 16 /* batches with the same kind of session */
#define BYTES_MAX (4u << 20)
#define MARKER "$13\r\nend-of-batch!\r\n"

static unsigned long long state;
static bool trace; /* VG_TRACE: every request is printed */

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
static const struct word exat_times[] = { WORD("99999999999"), WORD("9999999999"), WORD("0"), WORD("-1"), WORD("abc") };
static const struct word pxat_times[] = { WORD("99999999999999"), WORD("9999999999999"), WORD("0"), WORD("-5"), WORD("") };
static const struct word values[] = { WORD("hello"),	 WORD("\0\1\377"),   WORD("3.0e3"),	 WORD("inf"),
				      WORD("nan"),	 WORD("1e400"),	     WORD("0x10"),	 WORD("\r\n"),
				      { long_text, 45 }, { long_text, 500 }, { long_text, 5000 } };
static const struct word tracking_options[] = { WORD("noloop"), WORD("optin"), WORD("optout"), WORD("prefix"),
						WORD("bogus"), WORD("redirect") };
static const struct word options[] = { WORD("ex"),	WORD("px"),	 WORD("EXAT"), WORD("pxat"),	WORD("nx"),
				       WORD("XX"),	WORD("gt"),	 WORD("lt"),   WORD("keepttl"), WORD("GET"),
				       WORD("persist"), WORD("replace"), WORD("bogus") };

/*
 * What a command takes, a letter each: k key, n number, t time, v value, a one that is short (LCS of two that have grown
 * long is more than VIRGO computes), o up to three options with times, m up to five
 * keys, p up to three pairs, z nought, e an end far away, C a channel, P a pattern, L options of LCS, T of CLIENT
 * TRACKING, c of CLIENT CACHING, N of PUBSUB; a space ends the name.
 */
static const char *const commands[] = {
	"get k",      "get k",	     "set kv",	     "set kv",	      "set kvo",	"getset kv",
	"getdel k",   "getex ko",    "setnx kv",     "setex ktv",     "psetex ktv",	"mget m",
	"mset p",     "msetnx p",    "del m",	     "unlink m",      "exists m",	"touch m",
	"incr k",     "decr k",	     "incrby kn",    "decrby kn",     "incrbyfloat kn", "incrbyfloat kv",
	"append ka",  "strlen k",    "getrange knn", "substr knn",    "setrange knv",	"type k",
	"expire kto", "pexpire kto", "expireat kto", "pexpireat kto", "persist k",	"expiretime k",
	"rename kk",  "renamenx kk", "copy kko",     "echo v",	      "ping",		"ping v",
	"get",	      "get kk",	     "nosuch vvk",   "object k",      "select n",	"command v",
	"hello n",    "scan",	     "dbsize k",     "client v",      "config v",	"GeT k",
	"SETNX k",    "pttl kk",     "ttl",	     "memory v",      "time v",		"auth vvv",
	"multi",      "multi",	     "exec",	     "exec",	      "exec",		"discard",
	"watch m",    "watch k",     "unwatch",	     "exec k",	      "multi k",	"watch",
	"lcs kk",     "lcs kkL",     "lcs kkL",	     "restore ktv",   "restore ktvo",	"wait n",
	"dump",	      "dbsize",	     "publish Cv",   "publish C",     "pubsub v",	"role",
	"unsubscribe C", "substr knn", "client",     "object v",      "ttl kk",		"flushall v",
	"restore k",  "wait zn",     "lcs k",	     "discard k",     "unwatch k",	"spublish Cv",
};

/* Of a session whose keys are tracked, besides the others. */
static const char *const tracking_commands[] = {
	"client T", "client T", "get k", "get k", "mget m", "strlen k", "client c", "client|x", "exists m", "ttl k",
};

/* Of a session that subscribes, besides the others (which RESP2 refuses it then). */
static const char *const pubsub_commands[] = {
	"subscribe C", "unsubscribe C", "psubscribe P", "punsubscribe P", "ping", "ping v", "publish Cv", "ssubscribe C",
	"sunsubscribe C", "reset", "subscribe", "pubsub N", "spublish Cv",
};

/* What the other client does. */
static const char *const other_commands[] = {
	"set kv", "set kv", "set kve", "del m", "append ka", "incr k", "mset p", "rename kk", "copy kk", "expire kt",
	"persist k", "getdel k", "publish Cv", "spublish Cv", "setrange knv", "incrbyfloat kn", "getset kv", "msetnx p",
	"getex ko", "setnx kv", "psetex ktv", "decrby kn",
};

static const struct word channels[] = { WORD("news"), WORD("n2"), WORD("__keyspace@0__:a"), WORD("") };
static const struct word patterns[] = { WORD("n*"), WORD("_*"), WORD("x?") }; /* one at most fits: Redis has no order */
static const struct word lcs_options[] = { WORD("len"), WORD("idx"), WORD("minmatchlen"), WORD("2"),
					   WORD("withmatchlen"), WORD("IDX") };

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

/*
 * A time for the option before it. Absolute ones are far away or wrong: a key that had ended when it was set is there
 * until Redis looks at it again.
 */
static void add_time(struct command *command)
{
	const char *option = command->word[command->words - 1].data;

	if (strcasecmp(option, "exat") == 0)
		add(command, PICK(exat_times));
	else if (strcasecmp(option, "pxat") == 0)
		add(command, PICK(pxat_times));
	else
		add(command, PICK(times));
}

static void add_parts(struct command *command, char kind)
{
	unsigned int count = draw(kind == 'm' ? 6 : 4);

	for (unsigned int i = 0; i < count; i++) {
		add(command, kind == 'o' ? PICK(options) : PICK(keys));
		if (kind == 'o' && draw(3))
			add_time(command);
		if (kind == 'p' && (i + 1 < count || draw(4)))
			add_value(command);
	}
}

static void add_tracking(struct command *command)
{
	add(command, (struct word)WORD("tracking"));
	add(command, draw(3) ? (struct word)WORD("on") : (struct word)WORD("off"));
	if (draw(3) == 0)
		add(command, PICK(tracking_options));
	if (draw(8) == 0)
		add(command, PICK(tracking_options));
}

static void add_letter(struct command *command, char letter)
{
	if (letter == 'k')
		add(command, PICK(keys));
	else if (letter == 'n')
		add(command, PICK(numbers));
	else if (letter == 't')
		add(command, PICK(times));
	else if (letter == 'v')
		add_value(command);
	else if (letter == 'a')
		add(command, values[draw(sizeof(values) / sizeof(values[0]) - 2)]);
	else if (letter == 'C')
		add(command, PICK(channels));
	else if (letter == 'P')
		add(command, PICK(patterns));
	else if (letter == 'L')
		for (unsigned int count = 1 + draw(3); count; count--)
			add(command, PICK(lcs_options));
	else if (letter == 'T')
		add_tracking(command);
	else if (letter == 'c')
		add(command, (struct word)WORD("caching")), add(command, draw(2) ? (struct word)WORD("yes") :
										    (struct word)WORD("no"));
	else if (letter == 'z')
		add(command, (struct word)WORD("0"));
	else if (letter == 'e')
		add(command, (struct word)WORD("ex")), add(command, (struct word)WORD("5000"));
	else if (letter == 'N')
		add(command, (struct word)WORD("numsub")), add(command, PICK(channels));
	else
		add_parts(command, letter);
}

static void draw_from(struct command *command, const char *form)
{
	const char *blank = strchr(form, ' ');

	command->words = 0;
	add(command, (struct word){ form, blank ? (size_t)(blank - form) : strlen(form) });
	for (const char *at = blank ? blank + 1 : ""; *at; at++)
		add_letter(command, *at);
}

enum session { PLAIN, TRACKING, PUBSUB, NOTIFY, SESSIONS };

static void draw_command(struct command *command, enum session session)
{
	if (session == TRACKING && draw(2))
		draw_from(command, PICK(tracking_commands));
	else if (session == PUBSUB && draw(4))
		draw_from(command, PICK(pubsub_commands));
	else if (session == NOTIFY)
		draw_from(command, "ping");
	else
		draw_from(command, PICK(commands));
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
	for (size_t i = 0; i < length && (trace || i < 400); i++) {
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

/* Ends a transaction that the batch has left open: else the marker would wait for EXEC. Watched keys stay watched. */
static const struct command discard = { { WORD("discard") }, 1 };
static const struct command ping_marker = { { WORD("ping"), WORD("end-of-batch!") }, 2 };
static struct batch request, wanted, got;
static unsigned long commands_sent;

/* One of the two clients at both servers. */
struct pair {
	int redis, virgo;
};

/* Send the request, ended by a marker that every kind of session may send, and take both answers. */
static void ask(const struct pair *pair)
{
	put_command(&request, &discard);
	put_command(&request, &ping_marker);
	if (trace)
		print_bytes("asked: ", request.bytes, request.length);
	exchange(pair->redis, &request, &wanted);
	exchange(pair->virgo, &request, &got);
}

/* A whole line with a number of today's seconds or more; 0: it is none. */
static unsigned long long moment_in(const struct batch *answer, size_t line)
{
	unsigned long long number;
	char *end;

	if (answer->bytes[line] != ':')
		return 0;
	number = strtoull(answer->bytes + line + 1, &end, 10);
	return *end == '\r' && number > 1000000000 ? number : 0;
}

/* The same bytes; but a deadline that each counted from its own clock may be a second later. */
static bool is_alike(const struct batch *one, const struct batch *other)
{
	size_t line = 0;

	if (one->length != other->length)
		return false;
	for (size_t i = 0; i < one->length; i++) {
		unsigned long long moment = moment_in(one, line), another = moment_in(other, line);

		if (one->bytes[i] != other->bytes[i] && (!moment || (moment + 1 != another && another + 1 != moment)))
			return false;
		if (one->bytes[i] == '\n')
			line = i + 1;
	}
	return true;
}

static void compare(const struct pair *pair, const char *who)
{
	ask(pair);
	if (is_alike(&wanted, &got))
		return;
	printf("# the answers to the %s client differ, after %lu commands\n", who, commands_sent);
	report(&request, &wanted, &got);
	exit(1);
}

static void say(const struct pair *pair, const struct command *command)
{
	request.length = 0;
	put_command(&request, command);
	ask(pair);
}

/* A new kind of session on clean connections; the answer to HELLO itself has the connection's number. */
static enum session begin_epoch(const struct pair *first, const struct pair *second)
{
	static const struct command reset = { { WORD("reset") }, 1 };
	static const struct command versions[2] = { { { WORD("hello"), WORD("2") }, 2 },
						    { { WORD("hello"), WORD("3") }, 2 } };
	static const struct command silent = { { WORD("config"), WORD("set"), WORD("notify-keyspace-events"), WORD("") },
					       4 };
	static const struct command loud = { { WORD("config"), WORD("set"), WORD("notify-keyspace-events"),
					       WORD("KE$gxn") }, 4 };
	static const struct command listen = { { WORD("psubscribe"), WORD("__key*") }, 2 };
	enum session session = (enum session)draw(SESSIONS);

	say(first, &reset);
	say(second, session == NOTIFY ? &loud : &silent);
	say(first, &versions[session == TRACKING || draw(2)]);
	if (session == NOTIFY)
		say(first, &listen);
	return session;
}

static void draw_batch(enum session session, bool other)
{
	int count = 1 + (int)draw(other ? BATCH_MAX / 4 : BATCH_MAX);
	bool multi = false;

	request.length = 0;
	commands_sent += (unsigned long)count;
	while (count--) {
		struct command command;

		if (other)
			draw_from(&command, PICK(other_commands));
		else
			draw_command(&command, session);
		/* Invalidations leave when a transaction has ended, by the rules that hold then: none changes inside. */
		if (multi && command.word[0].length == 6 && memcmp(command.word[0].data, "client", 6) == 0)
			continue;
		multi |= command.word[0].length == 5 && memcmp(command.word[0].data, "multi", 5) == 0;
		put_command(&request, &command);
	}
}

/* A key that ends soon, and is gone when it is asked for. */
static void let_expire(const struct pair *pair)
{
	static const struct command set = { { WORD("set"), WORD("k1"), WORD("gone"), WORD("px"), WORD("20") }, 5 };
	static const struct command get = { { WORD("get"), WORD("k1") }, 2 };

	request.length = 0;
	put_command(&request, &set);
	compare(pair, "second");
	usleep(120000);
	request.length = 0;
	put_command(&request, &get);
	compare(pair, "second");
	commands_sent += 2;
}

int main(int argc, char **argv)
{
	struct pair first, second;
	enum session session = PLAIN;
	unsigned long limit;

	if (argc != 5)
		return 2;
	state = strtoull(argv[3], NULL, 10);
	limit = strtoul(argv[4], NULL, 10);
	trace = getenv("VG_TRACE");
	memset(long_text, 'x', sizeof(long_text));
	first = (struct pair){ open_server(argv[1]), open_server(argv[2]) };
	second = (struct pair){ open_server(argv[1]), open_server(argv[2]) };
	for (unsigned long i = 0; commands_sent < limit; i++) {
		if (i % EPOCH == 0)
			session = begin_epoch(&first, &second);
		draw_batch(session, false);
		compare(&first, "first");
		if (draw(2)) {
			draw_batch(session, true);
			compare(&second, "second");
			request.length = 0;
			compare(&first, "first"); /* what was pushed to it meanwhile */
		}
		if (i % 1024 == 1023)
			let_expire(&second);
	}
	printf("# %lu commands\n", commands_sent);
	return 0;
}
