/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The crash ledger: clients that write down what was acknowledged, a daemon that is killed at any moment, and the
 * question whether the next one knows all of it. Prints TAP, one result a kill.
 *
 *   crash_ledger VIRGOD FOLDER PORT KILLS MODE SEED
 *
 * MODE: always      kill -9; nothing acknowledged may be missing
 *       everysec    kill -9; of what was acknowledged at most the last second
 *       always-power, everysec-power: the same, and the power goes: the data directory is a file system in an image
 *                   file, which is copied at the moment of the kill. What the kernel had not yet written to it is not
 *                   in the copy, and on the copy the next daemon starts. Needs loop devices.
 *
 * Every key has one writer and operations with growing numbers, and after each kill it must be in a state between the
 * last operation acknowledged and the last one sent. Clients speak RESP (single keys, MSET of two, INCR) and VIRGO
 * binary over TCP and UDP (keys, bytes of an allocation).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "virgo/virgo.h"

#define WRITERS 8
#define KEYS 24 /* of each writer */
#define MARKS 64
#define LATE_MS 2000 /* everysec: a second, and as much for a sync on a busy machine */
#define VALUE_BYTES 700
#define START_MS 60000

enum kind { RESP_KEYS, RESP_PAIR, RESP_COUNTER, BINARY_TCP, BINARY_UDP, BINARY_MEMORY };

struct ledger { /* of one key */
	unsigned long acknowledged, sent;
	struct {
		unsigned long number;
		long long ms;
	} mark[MARKS]; /* what was acknowledged when, now and then; newest last */
	int marks;
};

static struct writer {
	int index;
	enum kind kind;
	pthread_t thread;
	struct ledger key[KEYS];
	uint64_t handle;
	unsigned long operations;
} writers[WRITERS];

static const char *virgod, *folder, *mode;
static int port;
static bool power, everysec;
static volatile bool stop;
static unsigned int seed;
static long long lost_ms_max;

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* ---- what operations do ---- */

static bool removes(enum kind kind, unsigned long number)
{
	return !number || (number % 7 == 6 && (kind == RESP_KEYS || kind == BINARY_TCP || kind == BINARY_UDP));
}

static size_t value_of(const struct writer *writer, int key, unsigned long number, char *value)
{
	size_t length = 24 + (number * 131 + (unsigned long)key) % (writer->kind == BINARY_UDP ? 300 : VALUE_BYTES - 32);

	if (writer->kind == RESP_COUNTER)
		return (size_t)sprintf(value, "%lu", number);
	memset(value, 'a' + (int)(number % 26), length);
	value[sprintf(value, "%lu:%d:%d:", number, writer->index, key)] = '.';
	return length;
}

static void name_of(const struct writer *writer, int key, char *name)
{
	sprintf(name, "ledger:%d:%d", writer->index, key);
}

/* ---- writers ---- */

static redisContext *redis_open(void)
{
	struct timeval patience = { .tv_sec = 20 };
	redisContext *context = redisConnectWithTimeout("127.0.0.1", port, patience);

	if (context && context->err) {
		redisFree(context);
		return NULL;
	}
	if (context)
		redisSetTimeout(context, patience);
	return context;
}

static bool redis_change(redisContext *context, struct writer *writer, int key, unsigned long number)
{
	char name[64], other[72], value[VALUE_BYTES];
	size_t length = value_of(writer, key, number, value);
	redisReply *reply;
	bool done;

	name_of(writer, key, name);
	snprintf(other, sizeof(other), "%s:too", name);
	if (writer->kind == RESP_COUNTER)
		reply = redisCommand(context, "INCR %s", name);
	else if (writer->kind == RESP_PAIR)
		reply = redisCommand(context, "MSET %s %b %s %b", name, value, length, other, value, length);
	else if (removes(writer->kind, number))
		reply = redisCommand(context, "DEL %s", name);
	else
		reply = redisCommand(context, "SET %s %b", name, value, length);
	done = reply && reply->type != REDIS_REPLY_ERROR;
	if (reply)
		freeReplyObject(reply);
	return done;
}

static struct virgo *binary_open(const struct writer *writer)
{
	struct virgo_options options = {
		.size = sizeof(options), .nodes = "127.0.0.1", .port = (uint16_t)port, .timeout_ms = 3000,
		.flags = writer->kind == BINARY_UDP ? VIRGO_NO_TCP : VIRGO_NO_UDP,
	};
	struct virgo *virgo;

	return virgo_connect(&virgo, &options, NULL, 0) ? NULL : virgo;
}

static bool binary_change(struct virgo *virgo, struct writer *writer, int key, unsigned long number)
{
	char name[64], value[VALUE_BYTES];
	size_t length = value_of(writer, key, number, value);
	int error;

	name_of(writer, key, name);
	if (writer->kind == BINARY_MEMORY)
		error = virgo_set_range(virgo, writer->handle, (uint64_t)key * sizeof(number), &number, sizeof(number));
	else if (removes(writer->kind, number))
		error = virgo_key_del(virgo, name, strlen(name));
	else
		error = virgo_key_set(virgo, name, strlen(name), value, length, 0, 0);
	return !error || error == -ENOENT;
}

static void acknowledge(struct ledger *ledger, unsigned long number)
{
	long long ms = now_ms();

	ledger->acknowledged = number;
	if (ledger->marks && ms - ledger->mark[ledger->marks - 1].ms < 100)
		return;
	if (ledger->marks == MARKS) {
		memmove(ledger->mark, ledger->mark + 1, sizeof(ledger->mark[0]) * (MARKS - 1));
		ledger->marks--;
	}
	ledger->mark[ledger->marks].number = number;
	ledger->mark[ledger->marks++].ms = ms;
}

static void *write_on(void *context)
{
	struct writer *writer = context;
	bool resp = writer->kind <= RESP_COUNTER, going = true;
	redisContext *redis = resp ? redis_open() : NULL;
	struct virgo *virgo = resp ? NULL : binary_open(writer);

	if (virgo && writer->kind == BINARY_MEMORY && !writer->handle)
		going = !virgo_malloc(virgo, KEYS * sizeof(unsigned long), &writer->handle);
	for (unsigned int at = 0; going && !stop && (redis || virgo); at++) {
		int key = (int)(at % KEYS);
		struct ledger *ledger = &writer->key[key];
		unsigned long number = ++ledger->sent;

		going = resp ? redis_change(redis, writer, key, number) : binary_change(virgo, writer, key, number);
		if (going)
			acknowledge(ledger, number);
		writer->operations += going;
	}
	if (redis)
		redisFree(redis);
	virgo_disconnect(virgo);
	return NULL;
}

/* ---- judging ---- */

/* The lowest number that must be there. */
static unsigned long floor_of(const struct ledger *ledger, long long killed_ms)
{
	unsigned long least = 0;

	if (!everysec)
		return ledger->acknowledged;
	for (int i = 0; i < ledger->marks; i++)
		if (ledger->mark[i].ms <= killed_ms - LATE_MS)
			least = ledger->mark[i].number;
	return least;
}

static bool is_state(const struct writer *writer, int key, unsigned long number, const char *got, size_t length)
{
	char value[VALUE_BYTES];

	if (writer->kind == BINARY_MEMORY)
		return length == sizeof(number) && !memcmp(got, &number, sizeof(number));
	if (removes(writer->kind, number))
		return !got;
	return got && value_of(writer, key, number, value) == length && !memcmp(value, got, length);
}

/* Which operation was the last one; the newest that fits. -1: none that could be. */
static bool judge(struct writer *writer, int key, const char *got, size_t length, long long killed_ms)
{
	struct ledger *ledger = &writer->key[key];
	unsigned long least = floor_of(ledger, killed_ms), number = ledger->sent + 1;

	while (number-- > least)
		if (is_state(writer, key, number, got, length))
			break;
	if (number + 1 == least || (number == ~0ul)) {
		printf("# writer %d key %d: '%.*s' is none of the states after %lu … %lu (acknowledged %lu)\n",
		       writer->index, key, got ? (int)(length < 40 ? length : 40) : 6, got ? got : "(none)", least,
		       ledger->sent, ledger->acknowledged);
		return false;
	}
	for (int i = 0; i < ledger->marks; i++)
		if (ledger->mark[i].number > number && killed_ms - ledger->mark[i].ms > lost_ms_max)
			lost_ms_max = killed_ms - ledger->mark[i].ms;
	ledger->sent = ledger->acknowledged = number;
	ledger->marks = 0;
	return true;
}

static bool judge_redis(redisContext *context, struct writer *writer, int key, long long killed_ms)
{
	char name[64], other[72];
	redisReply *reply, *second = NULL;
	bool right;

	name_of(writer, key, name);
	snprintf(other, sizeof(other), "%s:too", name);
	reply = redisCommand(context, "GET %s", name);
	if (!reply || reply->type == REDIS_REPLY_ERROR) {
		printf("# GET %s: %s\n", name, reply ? reply->str : context->errstr);
		return false;
	}
	right = judge(writer, key, reply->str, reply->len, killed_ms);
	if (writer->kind == RESP_PAIR) {
		second = redisCommand(context, "GET %s", other);
		if (!second || second->len != reply->len || (reply->str && memcmp(second->str, reply->str, reply->len))) {
			printf("# MSET came back in half: %s\n", name);
			right = false;
		}
	}
	freeReplyObject(reply);
	if (second)
		freeReplyObject(second);
	return right;
}

static bool judge_memory(struct virgo *virgo, struct writer *writer, long long killed_ms)
{
	unsigned long numbers[KEYS] = { 0 };
	bool right = true;
	int error;

	if (!writer->handle)
		return true;
	error = virgo_get_range(virgo, writer->handle, 0, numbers, sizeof(numbers));
	if (error == -ESTALE && everysec) { /* allocated in the last second */
		writer->handle = 0;
		memset(writer->key, 0, sizeof(writer->key));
		return true;
	}
	if (error)
		printf("# the allocation is gone: %s\n", virgo_strerror(error));
	for (int key = 0; key < KEYS && !error; key++)
		right &= judge(writer, key, (char *)&numbers[key], sizeof(numbers[key]), killed_ms);
	return right && !error;
}

static bool judge_all(long long killed_ms)
{
	redisContext *redis = redis_open();
	bool right = redis != NULL;

	for (int w = 0; w < WRITERS && redis; w++) {
		struct writer *writer = &writers[w];

		if (writer->kind == BINARY_MEMORY) {
			struct virgo *virgo = binary_open(writer);

			right &= virgo && judge_memory(virgo, writer, killed_ms);
			virgo_disconnect(virgo);
			continue;
		}
		for (int key = 0; key < KEYS; key++)
			right &= judge_redis(redis, writer, key, killed_ms);
	}
	if (redis)
		redisFree(redis);
	return right;
}

/* ---- the daemon and its disk ---- */

static int command(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int command(const char *format, ...)
{
	char text[1024];
	va_list values;

	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	return system(text);
}

static pid_t spawn_daemon(void)
{
	char listen[32], directory[512], log[512];
	pid_t child;

	snprintf(listen, sizeof(listen), "127.0.0.1:%d", port);
	snprintf(directory, sizeof(directory), "%s/disk/data", folder);
	snprintf(log, sizeof(log), "%s/virgod.log", folder);
	child = fork();
	if (!child) {
		if (!freopen(log, "a", stderr) || !freopen(log, "a", stdout))
			_exit(1);
		execl(virgod, virgod, "--listen", listen, "--bpf", "off", "--data-dir", directory, "--appendfsync",
		      everysec ? "everysec" : "always", "--log-segment-size", "1m", "--workers", "2", "--arena-size",
		      "16m", "--heap-size", "64m", "--connections", "64", NULL);
		_exit(1);
	}
	return child;
}

/* What the killed one's ring held, its port too, is let go a moment after its process has gone: so try again. */
static pid_t start_daemon(void)
{
	pid_t child = spawn_daemon();

	for (long long until = now_ms() + START_MS; child > 0 && now_ms() < until; usleep(20000)) {
		redisContext *redis = redis_open();

		if (redis) {
			redisFree(redis);
			return child;
		}
		if (waitpid(child, NULL, WNOHANG) == child) {
			usleep(100000);
			child = spawn_daemon();
		}
	}
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	printf("# the daemon does not come up\n");
	return -1;
}

/* The disk as it is in this moment becomes the disk. */
static int lose_power(void)
{
	return command("cp --sparse=always %s/image %s/copy && umount %s/disk && mv %s/copy %s/image && "
		       "mount -o loop %s/image %s/disk",
		       folder, folder, folder, folder, folder, folder, folder);
}

static int make_disk(void)
{
	if (!power)
		return command("mkdir -p %s/disk", folder);
	return command("mkdir -p %s/disk && truncate -s 96M %s/image && mkfs.ext4 -q %s/image && "
		       "mount -o loop %s/image %s/disk",
		       folder, folder, folder, folder, folder);
}

static bool one_kill(pid_t *daemon)
{
	long long span_ms = (everysec ? 2500 : 50) + rand_r(&seed) % (everysec ? 1500 : 400), killed_ms;
	bool saves = rand_r(&seed) % 4 == 0;
	redisContext *redis;
	int status;

	stop = false;
	for (int w = 0; w < WRITERS; w++)
		pthread_create(&writers[w].thread, NULL, write_on, &writers[w]);
	usleep((useconds_t)(span_ms * 500));
	redis = saves ? redis_open() : NULL; /* now and then there is a snapshot under way, or just made */
	if (redis) {
		freeReplyObject(redisCommand(redis, "BGSAVE"));
		redisFree(redis);
	}
	usleep((useconds_t)(span_ms * 500));
	kill(*daemon, SIGKILL);
	killed_ms = now_ms();
	waitpid(*daemon, &status, 0);
	stop = true;
	for (int w = 0; w < WRITERS; w++)
		pthread_join(writers[w].thread, NULL);
	*daemon = -1;
	if (power && lose_power()) {
		printf("# the disk could not be copied\n");
		return false;
	}
	*daemon = start_daemon();
	return *daemon > 0 && judge_all(killed_ms);
}

int main(int argc, char **argv)
{
	static const enum kind kinds[WRITERS] = { RESP_KEYS, RESP_KEYS, RESP_PAIR, RESP_COUNTER,
						  BINARY_TCP, BINARY_UDP, BINARY_UDP, BINARY_MEMORY };
	unsigned long operations = 0;
	int kills, failed = 0;
	pid_t daemon;

	if (argc != 7)
		return 2;
	virgod = argv[1];
	folder = argv[2];
	port = atoi(argv[3]);
	kills = atoi(argv[4]);
	mode = argv[5];
	seed = (unsigned int)atoi(argv[6]);
	power = strstr(mode, "-power");
	everysec = !strncmp(mode, "everysec", 8);
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("# %s: seed %u\n1..%d\n", mode, seed, kills);
	for (int w = 0; w < WRITERS; w++)
		writers[w] = (struct writer){ .index = w, .kind = kinds[w] };
	if (make_disk())
		return 1;
	daemon = start_daemon();
	for (int i = 1; i <= kills; i++) {
		bool right = daemon > 0 && one_kill(&daemon);

		printf("%s %d - %s: kill %d\n", right ? "ok" : "not ok", i, mode, i);
		failed += !right;
	}
	if (daemon > 0) {
		kill(daemon, SIGTERM);
		waitpid(daemon, NULL, 0);
	}
	if (power)
		(void)command("umount %s/disk", folder);
	for (int w = 0; w < WRITERS; w++) {
		operations += writers[w].operations;
		if (!writers[w].operations)
			printf("# writer %d never wrote anything\n", w), failed++;
	}
	printf("# %lu operations acknowledged; of what was acknowledged the last %lld ms went, at most\n", operations,
	       lost_ms_max);
	return failed ? 1 : 0;
}
