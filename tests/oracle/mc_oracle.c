// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The same random requests to memcached and to virgod, and their answers byte by byte: mc_oracle PORT PORT SEED COMMANDS.
 * The first server is memcached. Unique numbers of cas are each server's own: each is sent what it gave out itself, and
 * they are not compared; nor is more than a second or two of what is left of an expiry. Exits 1 at the first
 * difference and prints the batch, 2 when a server is not there.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH_MAX 32
#define BYTES_MAX (4u << 20)
#define KEYS 12

static unsigned long long state;

static unsigned int draw(unsigned int below)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)(state >> 33) % below;
}

/*
 * Answers leave before what follows: memcached makes a shorter number as long as the old one with blanks, but not if an
 * answer that has not left yet still shows the old one.
 */
#define LEFT "mn\r\n"

#define PICK(list) (list)[draw(sizeof(list) / sizeof((list)[0]))]

struct bytes {
	char data[BYTES_MAX];
	size_t length;
};

static struct server {
	const char *name;
	int fd;
	struct bytes request, answer;
	unsigned long long unique[KEYS]; /* of each key, as it last told */
} servers[2];

/* ---- random requests ------------------------------------------------------------------------------------------- */

static const char *const keys[KEYS] = { "a", "b", "c", "k1", "k2", "k3", "number", "n2", "a/longer:key-with_signs", "{t}x",
					"Q", "zz" };
/* The same keys in base64 would be other keys for who forgets the b flag: two that are only used so. */
static const char *const binary_keys[] = { "YmluYXJ5AQ==", "AAECAwQFBgcI", "dGVzdA==", "not*base64!!", "abc" };
static const char *const exptimes[] = { "0", "0", "0", "100000", "2000000", "2147483647", "-1", "abc", "", "-0" };
static const char *const flag_numbers[] = { "0", "0", "1", "42", "4294967295", "-1", "x", "00007", "+3" };
/* None from 2^63 on is stored: memcached looks for a minus sign in what lies behind it. */
static const char *const numbers[] = { "0", "1", "5", "17", "18446744073709551616", "-1", "abc",
				       "010", "99", "1000000000000" };
static const char *const values[] = { "", "0", "1", "5", "10", "99", "100", "184467440737", "007", "12abc", "3 ",
				      " 4", "hello", "some words here", "value\twith\ttabs", "x\r\ny", "-5", "END" };
static char long_value[20000];

static void put(const void *data, size_t length)
{
	for (int s = 0; s < 2; s++) {
		if (servers[s].request.length + length > BYTES_MAX)
			abort();
		memcpy(servers[s].request.data + servers[s].request.length, data, length);
		servers[s].request.length += length;
	}
}

static void text(const char *string)
{
	put(string, strlen(string));
}

static void word(const char *string)
{
	text(" ");
	if (draw(60) == 0)
		text(" ");
	text(string);
}

/* A unique number that each server has given out for the key, or none of theirs. */
static void unique(const char *before, unsigned int key)
{
	char number[64];

	text(before);
	for (int s = 0; s < 2; s++) {
		struct bytes *request = &servers[s].request;
		int length = snprintf(number, sizeof(number), "%llu", servers[s].unique[key]);

		memcpy(request->data + request->length, number, (size_t)length);
		request->length += (size_t)length;
	}
}

/*
 * A long one only behind a line that is right: memcached closes at what looks like an endless line. What is joined to
 * another value has no digits, or numbers would grow beyond 2^63; and no value is a blank alone, behind which memcached
 * reads on.
 */
static const char *draw_value(bool may_be_long, bool joins, size_t *ret_length)
{
	static const char *const words[] = { "", "hello", "some words here", "x\r\ny", "END" };
	const char *value = joins ? PICK(words) : PICK(values);

	*ret_length = strlen(value);
	if (draw(12) == 0) {
		value = long_value;
		*ret_length = draw((may_be_long ? sizeof(long_value) : 1500) >> draw(8));
	}
	return value;
}

static void end_line(bool may_be_quiet)
{
	if (may_be_quiet && draw(10) == 0)
		word("noreply");
	if (draw(40) == 0)
		text("  ");
	text(draw(30) ? "\r\n" : "\n");
}

/* The data block: now and then one that does not end as it must. */
static void block(const char *value, size_t length)
{
	put(value, length);
	text(draw(60) ? "\r\n" : "xx\r\n");
}

static void storage(const char *verb, unsigned int key)
{
	static const char *const lengths[] = { "-1", "abc", "", "2147483647" };
	bool right = draw(2), cas = strcmp(verb, "cas") == 0;
	char number[32];
	size_t length;
	const char *value = draw_value(right, verb[0] == 'p' || !strcmp(verb, "append"), &length);

	text(verb);
	word(keys[key]);
	word(right ? "0" : PICK(flag_numbers));
	word(right ? "0" : PICK(exptimes));
	snprintf(number, sizeof(number), "%zu", length);
	word(right || draw(20) ? number : PICK(lengths));
	if (cas && (right || draw(10)))
		unique(" ", key);
	else if (cas)
		word(PICK(numbers));
	end_line(true);
	block(value, length);
}

static void retrieval(void)
{
	static const char *const verbs[] = { "get", "get", "gets", "gets", "gat 0", "gats 0", "gat 100000", "gat -1", "gats abc" };
	unsigned int count = draw(40) ? 1 + draw(4) : draw(60);

	text(PICK(verbs));
	/* No key that is too long here: memcached then forgets answers that it has not sent yet, of earlier requests. */
	while (count--)
		word(PICK(keys));
	end_line(false);
}

/*
 * With a key in base64 nothing that makes a value of its own: memcached forgets then that the key is binary, and shows
 * it as it is. Nor C: there is no unique number of that key.
 */
static void meta_flags(const char *letters, unsigned int key, bool binary)
{
	unsigned int count = draw(6);
	/* Of these the others look at an opaque, or print what is left of a time that is past, when all is done. */
	bool sets = strchr(letters, 'F');
	char flag[64];

	for (unsigned int i = 0; i < count; i++) {
		char letter = letters[draw((unsigned int)strlen(letters))];

		if (binary && strchr("NCM", letter))
			continue;
		switch (letter) {
		case 'R': /* not what other expiries are: the two clocks do not tick at once */
			snprintf(flag, sizeof(flag), "R%s", draw(2) ? "30" : draw(4) ? "200000" : "abc");
			break;
		case 'T': case 'N':
			snprintf(flag, sizeof(flag), "%c%s", letter, draw(3) ? "100000" : draw(4) ? "0" : sets ? "-1" : "abc");
			break;
		case 'F':
			snprintf(flag, sizeof(flag), "F%s", PICK(flag_numbers));
			break;
		case 'J': case 'D':
			snprintf(flag, sizeof(flag), "%c%s", letter, PICK(numbers));
			break;
		case 'O':
			snprintf(flag, sizeof(flag), "O%s", draw(20) || !sets ? "opaque123" : "1234567890123456789012345678901234567890");
			break;
		case 'M':
			snprintf(flag, sizeof(flag), "M%c", "EAPRSIDID+-x"[draw(12)]);
			break;
		case 'C':
			unique(" C", key);
			continue;
		default:
			snprintf(flag, sizeof(flag), "%c", letter);
		}
		word(flag);
	}
}

/* k first, so that a unique number in the answer is known by its key. */
static void meta(void)
{
	static const char *const verbs[] = { "mg", "mg", "mg", "ms", "ms", "md", "ma", "ma", "mn" };
	const char *verb = PICK(verbs), *value;
	unsigned int key = draw(KEYS);
	bool binary = draw(12) == 0 && verb[1] != 'a', right = draw(2);
	char number[32];
	size_t length;

	if (strcmp(verb, "mn") == 0) {
		text("mn\r\n");
		return;
	}
	if (verb[1] == 'a')
		text(LEFT);
	text(verb);
	word(binary ? PICK(binary_keys) : keys[key]);
	value = draw_value(right, true, &length);
	if (strcmp(verb, "ms") == 0) {
		snprintf(number, sizeof(number), "%zu", length);
		word(right || draw(20) ? number : "abc");
	}
	word("k");
	if (binary)
		word("b");
	if (verb[1] == 'g')
		meta_flags(draw(30) ? "vvvtcfsqOTNRu" : "vkq!z", key, binary);
	else if (verb[1] == 's')
		meta_flags(draw(30) ? "cqTFOMCI" : "TTF!", key, binary);
	else if (verb[1] == 'd')
		meta_flags(draw(30) ? "qOCIT" : "OO!", key, binary);
	else /* no T: memcached gives it to the old value when the number has grown out of its place */
		meta_flags(draw(30) ? "vtcqONJDMC" : "DJMJ!", key, binary);
	end_line(false);
	if (verb[1] == 's')
		block(value, length);
}

/* One letter more than a key may have, or as many as it may. */
static void long_key(void)
{
	static const char *const verbs[] = { "touch", "incr", "delete", "mg", "ma", "md" };
	const char *verb = PICK(verbs);

	text(verb);
	text(" ");
	put(long_value, draw(2) ? 251 : 250);
	if (verb[0] == 't' || verb[0] == 'i')
		text(" 1");
	else if (verb[0] == 'm')
		text(" k");
	end_line(false);
}

static void other(void)
{
	static const char *const lines[] = { "flush_all", "flush_all 0", "flush_all noreply", "flush_all abc", "verbosity 1",
					     "verbosity", "verbosity x", "bogus", "GET a", "", " ", "get", "set", "set a 0 0", "x", "mx a",
					     "incr", "decr a", "touch a", "delete", "cas a 0 0 5", "stats reset", "stats nonsense",
					     "mg", "ms a", "ms", "md", "ma", "me", "gat", "gat 0", "gat 0 a",
					     "bget a", "verbosity 1 noreply",
					     "set a 0 0 -1", "set a 0 0 5 6 7", "flush_all 0 noreply", "flush_all 1 2 3", "incr a 1 2 3",
					     "mg a 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4", "delete a 1", "delete a 0 noreply",
					     "delete a b c", "get a b c d e f g h i j k l m n o p q r s t u v w x y z" };

	if (draw(10) == 0) {
		long_key();
		return;
	}
	text(PICK(lines));
	end_line(false);
}

static void draw_request(void)
{
	static const char *const storing[] = { "set", "set", "set", "add", "replace", "append", "prepend", "cas", "cas" };
	unsigned int kind = draw(100);

	if (kind < 32) {
		storage(PICK(storing), draw(KEYS));
	} else if (kind < 55) {
		retrieval();
	} else if (kind < 65) {
		text(LEFT);
		text(draw(2) ? "incr" : "decr");
		word(draw(2) ? keys[6 + draw(2)] : PICK(keys));
		word(draw(4) ? "3" : PICK(numbers));
		end_line(true);
	} else if (kind < 70) {
		text("touch");
		word(PICK(keys));
		word(PICK(exptimes));
		end_line(true);
	} else if (kind < 76) {
		text("delete");
		word(PICK(keys));
		end_line(true);
	} else if (kind < 97) {
		meta();
	} else {
		other();
	}
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void note_unique(struct server *server, const char *key, size_t key_length, unsigned long long number)
{
	for (unsigned int i = 0; i < KEYS; i++)
		if (strlen(keys[i]) == key_length && !memcmp(keys[i], key, key_length))
			server->unique[i] = number;
}

struct line {
	const char *at;
	size_t length;	     /* without its end */
	const char *word[64];
	size_t word_length[64];
	int words;
};

static bool next_line(const struct bytes *answer, size_t *at, struct line *line)
{
	const char *from = answer->data + *at, *end = memchr(from, '\n', answer->length - *at);

	if (*at >= answer->length || !end)
		return false;
	line->at = from;
	line->length = (size_t)(end - from);
	*at += line->length + 1;
	line->words = 0;
	for (size_t i = 0; i < line->length && line->words < 64;) {
		size_t begin = i;

		while (i < line->length && from[i] != ' ' && from[i] != '\r')
			i++;
		if (i > begin) {
			line->word[line->words] = from + begin;
			line->word_length[line->words++] = i - begin;
		}
		i++;
	}
	return true;
}

static bool is(const struct line *line, int number, const char *string)
{
	return number < line->words && line->word_length[number] == strlen(string) &&
	       !memcmp(line->word[number], string, strlen(string));
}

static bool is_meta(const struct line *line)
{
	return is(line, 0, "HD") || is(line, 0, "VA");
}

/* Bytes of the data block that belongs to the line. */
static size_t block_of(const struct line *line)
{
	if (is(line, 0, "VALUE") && line->words >= 4)
		return strtoull(line->word[3], NULL, 10) + 2;
	if (is(line, 0, "VA") && line->words >= 2)
		return strtoull(line->word[1], NULL, 10) + 2;
	return 0;
}

static void note_uniques(struct server *server, const struct line *line)
{
	const char *key = NULL;
	size_t key_length = 0;

	if (is(line, 0, "VALUE") && line->words == 5)
		note_unique(server, line->word[1], line->word_length[1], strtoull(line->word[4], NULL, 10));
	if (!is_meta(line))
		return;
	for (int i = 1; i < line->words; i++) {
		if (line->word[i][0] == 'k') {
			key = line->word[i] + 1;
			key_length = line->word_length[i] - 1;
		}
		if (line->word[i][0] == 'c' && key && strtoull(line->word[i] + 1, NULL, 10))
			note_unique(server, key, key_length, strtoull(line->word[i] + 1, NULL, 10));
	}
}

static bool words_agree(const struct line *wanted, const struct line *got, int i)
{
	char letter = wanted->word[i][0];
	long difference;

	if (wanted->word_length[i] == got->word_length[i] && !memcmp(wanted->word[i], got->word[i], got->word_length[i]))
		return true;
	if (is(wanted, 0, "VALUE") && i == 4)
		return isdigit((unsigned char)got->word[i][0]);
	if (!is_meta(wanted) || letter != got->word[i][0])
		return false;
	if (letter == 'c')
		return isdigit((unsigned char)got->word[i][1]);
	if (letter != 't')
		return false;
	difference = strtol(wanted->word[i] + 1, NULL, 10) - strtol(got->word[i] + 1, NULL, 10);
	return difference >= -2 && difference <= 2;
}

/* Where the two answers differ: a byte of memcached's; -1: nowhere. */
static long compare(void)
{
	size_t at[2] = { 0, 0 };
	struct line line[2];

	for (;;) {
		size_t from = at[0], data;
		bool more = next_line(&servers[0].answer, &at[0], &line[0]);

		if (more != next_line(&servers[1].answer, &at[1], &line[1]))
			return (long)from;
		if (!more)
			return -1;
		for (int s = 0; s < 2; s++)
			note_uniques(&servers[s], &line[s]);
		if (line[0].words != line[1].words)
			return (long)from;
		for (int i = 0; i < line[0].words; i++)
			if (!words_agree(&line[0], &line[1], i))
				return (long)from;
		data = block_of(&line[0]);
		if (data > servers[0].answer.length - at[0] || data > servers[1].answer.length - at[1] ||
		    memcmp(servers[0].answer.data + at[0], servers[1].answer.data + at[1], data) != 0)
			return (long)from;
		at[0] += data;
		at[1] += data;
	}
}

/* ---- servers --------------------------------------------------------------------------------------------------- */

static int open_server(const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((unsigned short)strtoul(port, NULL, 10)),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror(port);
		exit(2);
	}
	return fd;
}

static void exchange(struct server *server)
{
	static const char tail[] = "EN kend-of-batch\r\n";
	size_t sent = 0;

	server->answer.length = 0;
	for (;;) {
		struct pollfd events = { server->fd, (short)(POLLIN | (sent < server->request.length ? POLLOUT : 0)), 0 };

		if (poll(&events, 1, 20000) != 1) {
			fprintf(stderr, "%s: no answer within 20 s\n", server->name);
			exit(1);
		}
		if (events.revents & POLLOUT) {
			size_t left = server->request.length - sent;
			ssize_t count = send(server->fd, server->request.data + sent,
					     draw(3) ? left : 1 + draw((unsigned int)left), MSG_NOSIGNAL);

			sent += count > 0 ? (size_t)count : 0;
		}
		if (events.revents & (POLLIN | POLLHUP)) {
			ssize_t count = recv(server->fd, server->answer.data + server->answer.length,
					     BYTES_MAX - server->answer.length, 0);

			if (count <= 0)
				return;
			server->answer.length += (size_t)count;
		}
		if (sent == server->request.length && server->answer.length >= sizeof(tail) - 1 &&
		    !memcmp(server->answer.data + server->answer.length - (sizeof(tail) - 1), tail, sizeof(tail) - 1))
			return;
	}
}

static void print_bytes(const char *title, const char *bytes, size_t length, size_t most)
{
	printf("# %s ", title);
	if (getenv("VG_BRIEF") && most == 6000)
		return;
	for (size_t i = 0; i < length && i < most; i++) {
		unsigned char byte = (unsigned char)bytes[i];

		if (byte >= ' ' && byte < 0x7f)
			putchar(byte);
		else
			printf("\\x%02x", byte);
	}
	putchar('\n');
}

static void report(size_t at)
{
	size_t from = at > 200 ? at - 200 : 0;

	print_bytes("sent:     ", servers[1].request.data, servers[1].request.length, 6000);
	for (int s = 0; s < 2; s++)
		print_bytes(servers[s].name, servers[s].answer.data + from,
			    servers[s].answer.length > from ? servers[s].answer.length - from : 0, 600);
	print_bytes("differ at ", servers[0].answer.data + at, servers[0].answer.length - at, 60);
}

int main(int argc, char **argv)
{
	unsigned long long commands;

	if (argc != 5)
		return 2;
	servers[0].name = "memcached:";
	servers[1].name = "virgod:   ";
	for (int s = 0; s < 2; s++)
		servers[s].fd = open_server(argv[1 + s]);
	state = strtoull(argv[3], NULL, 10);
	commands = strtoull(argv[4], NULL, 10);
	for (size_t i = 0; i < sizeof(long_value); i++)
		long_value[i] = (char)('a' + i % 26);
	for (unsigned long long done = 0; done < commands;) {
		unsigned int count = 1 + draw(BATCH_MAX);
		unsigned long long seed_of_sends;
		long at;

		servers[0].request.length = servers[1].request.length = 0;
		if (done == 0)
			text("flush_all\r\n"); /* both begin empty */
		for (unsigned int i = 0; i < count; i++)
			draw_request();
		done += count;
		text("mg end-of-batch k\r\n"); /* a key that nobody stores: no other request is answered so */
		seed_of_sends = state;
		for (int s = 0; s < 2; s++)
			exchange(&servers[s]);
		state = seed_of_sends;
		at = compare();
		if (at >= 0) {
			report((size_t)at);
			return 1;
		}
	}
	return 0;
}
