/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A client that goes on while the daemon dies and comes back, and knows every value it may see.
 *
 *   steady ADDRESS KEY|-       until SIGTERM
 *
 * Each key has one writer and versions that grow. What a GET finds must be whole, the key's own, not older than the
 * last version that was acknowledged before the GET was sent, and not newer than the last one sent: across kills and
 * restarts, because the arena outlives the daemon. Requests go over UDP, are sent once and forgotten when nothing
 * comes.
 */
#include "hostile.h"

#include <signal.h>

#define KEYS 256
#define WINDOW 64
#define FORGOTTEN_MS 300
#define SETS_PERCENT 10

struct ask {
	__u64 sequence; /* 0: the place is free */
	__u64 sent_ms;
	int key;
	bool sets;
	__u64 version; /* a SET: what is written; a GET: the least that may be found */
};

static struct {
	char name[32];
	__u64 acknowledged, sent;
	bool setting; /* one at a time */
} key[KEYS];
static struct ask ask[WINDOW];
static int fd;
static __u64 gets, sets, lost, wrong;
static char first_wrong[200];
static volatile sig_atomic_t told_to_end;

static void on_sigterm(int signal_number)
{
	told_to_end = signal_number;
}

static __u64 now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000 + (__u64)now.tv_nsec / 1000000;
}

/* Lengths change with the version, so that cells of several sizes come and go. */
static size_t value_of(int number, __u64 version, char *value)
{
	size_t length = 40 + (version * 37 + (__u64)number) % 400;

	memset(value, 'a' + (int)(version % 26), length);
	value[snprintf(value, 40, "%s %llu ", key[number].name, version)] = '.';
	return length;
}

static void note_wrong(const struct ask *asked, const char *what, const struct message *answer)
{
	if (!wrong++)
		snprintf(first_wrong, sizeof(first_wrong), "%s of %s, at least version %llu: status %d, '%.60s'", what,
			 key[asked->key].name, asked->version, answer->header.status,
			 (const char *)answer->bytes + sizeof(answer->header));
}

static void judge(const struct ask *asked, const struct message *answer)
{
	const char *found = (const char *)answer->bytes + sizeof(answer->header);
	size_t length = VG_BE32TOH(answer->header.body_length);
	char wanted[512], name[32];
	__u64 version;

	/* What the daemon has no room or time for is no lie. */
	if (answer->header.status == VG_STATUS_BUSY || answer->header.status == VG_STATUS_NO_MEMORY)
		return;
	if (asked->sets) {
		sets++;
		if (answer->header.status != VG_STATUS_OK)
			note_wrong(asked, "SET", answer);
		else if (asked->version > key[asked->key].acknowledged)
			key[asked->key].acknowledged = asked->version;
		return;
	}
	gets++;
	if (answer->header.status != VG_STATUS_OK || sscanf(found, "%31s %llu", name, &version) != 2 ||
	    strcmp(name, key[asked->key].name) || version < asked->version || version > key[asked->key].sent ||
	    value_of(asked->key, version, wanted) != length || memcmp(wanted, found, length))
		note_wrong(asked, "GET", answer);
}

static void ask_something(struct ask *place, __u64 random)
{
	int number = (int)((random >> 8) % KEYS);
	struct message message;
	char value[512];

	*place = (struct ask){ .key = number,
			       .sent_ms = now_ms(),
			       .sets = random % 100 < SETS_PERCENT && !key[number].setting };
	if (place->sets) {
		key[number].setting = true;
		place->version = ++key[number].sent;
		message_make(&message, VG_OP_SET, key[number].name, value, value_of(number, place->version, value));
	} else {
		place->version = key[number].acknowledged;
		message_make(&message, VG_OP_GET, key[number].name, NULL, 0);
		message.length = 600;
	}
	place->sequence = VG_BE64TOH(message.header.sequence);
	message_sign(&message);
	sendto(fd, message.bytes, message.length, 0, (struct sockaddr *)&target.address, sizeof(target.address));
}

static void release(struct ask *place)
{
	if (place->sets)
		key[place->key].setting = false;
	place->sequence = 0;
}

static void take_answers(void)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct message answer;
	ssize_t bytes;

	if (poll(&wait, 1, 10) <= 0)
		return;
	while (memset(&answer, 0, sizeof(answer)),
	       (bytes = recv(fd, answer.bytes, sizeof(answer.bytes) - 1, MSG_DONTWAIT)) >= 0)
		for (int i = 0; i < WINDOW; i++)
			if (ask[i].sequence && ask[i].sequence == VG_BE64TOH(answer.header.sequence)) {
				judge(&ask[i], &answer);
				release(&ask[i]);
			}
}

static void forget_old(void)
{
	for (int i = 0; i < WINDOW; i++)
		if (ask[i].sequence && now_ms() - ask[i].sent_ms > FORGOTTEN_MS) {
			/* A SET that was forgotten may still be carried out: its version is sent, not acknowledged. */
			lost++;
			release(&ask[i]);
		}
}

static void run(void)
{
	__u64 random = 88172645463325252ULL;

	while (!told_to_end) {
		for (int i = 0; i < WINDOW; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			if (!ask[i].sequence)
				ask_something(&ask[i], random >> 16);
		}
		take_answers();
		forget_old();
	}
}

/* With the daemon back, every key is there, at the least in the version that was acknowledged last. */
static int count_kept(void)
{
	char value[512], found[64];
	int kept = 0;

	close(target.honest);
	target.honest = stream_open();
	for (int i = 0; i < KEYS; i++) {
		struct message message;
		__u64 version = 0;
		char *body;

		message_make(&message, VG_OP_GET, key[i].name, NULL, 0);
		if (honest_ask(&message, &body) == VG_STATUS_OK && sscanf(body, "%63s %llu", found, &version) == 2 &&
		    version >= key[i].acknowledged && version <= key[i].sent &&
		    value_of(i, version, value) == strlen(body) && !memcmp(value, body, strlen(body)))
			kept++;
		free(body);
	}
	return kept;
}

int main(int argc, char **argv)
{
	struct message message;
	char value[512], *body;
	int kept;

	if (argc != 3) {
		fprintf(stderr, "usage: steady ADDRESS KEY|-\n");
		return 2;
	}
	target_init(argv[1], argv[2]);
	signal(SIGTERM, on_sigterm);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	need(fd >= 0, "socket");
	for (int i = 0; i < KEYS; i++) {
		snprintf(key[i].name, sizeof(key[i].name), "steady:%d", i);
		key[i].acknowledged = key[i].sent = 1;
		message_make(&message, VG_OP_SET, key[i].name, value, value_of(i, 1, value));
		need(honest_ask(&message, &body) == VG_STATUS_OK, "SET");
		free(body);
	}
	run();
	printf("# %llu gets and %llu sets answered, %llu lost\n", gets, sets, lost);
	result(!wrong, "no wrong value ever", "%llu; the first: %s", wrong, first_wrong);
	result(gets && sets, "requests were answered", "%llu gets, %llu sets", gets, sets);
	kept = count_kept();
	result(kept == KEYS, "every key is there in its last version", "%d of %d", kept, KEYS);
	return 0;
}
