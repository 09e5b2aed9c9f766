// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * A near cache against one that writes: near_client NODES. What one client keeps in memory is never older than what it
 * has seen before, and every change of the other one is seen. Exits 0, or 1 with a sentence.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "virgo/virgo.h"

#define KEYS 40	   /* on all nodes of a cluster */
#define CHANGES 25 /* of each */
#define PATIENCE_S 20

static _Noreturn void fail(const char *what, int error)
{
	printf("# %s: %s\n", what, virgo_strerror(error));
	exit(1);
}

static struct virgo *open_client(const char *nodes, size_t near_bytes)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = nodes, .near_bytes = near_bytes };
	struct virgo *virgo;
	char why[256];

	if (virgo_connect(&virgo, &options, why, sizeof(why))) {
		printf("# %s\n", why);
		exit(1);
	}
	return virgo;
}

static int read_number(struct virgo *virgo, const char *key)
{
	char value[32] = "";
	size_t length;
	int error = virgo_key_read(virgo, key, strlen(key), value, sizeof(value) - 1, &length);

	if (error)
		fail(key, error);
	return atoi(value);
}

/* Read until the number is there; it may be late, and it never goes back. */
static void see(struct virgo *near, const char *key, int before, int number)
{
	time_t until = time(NULL) + PATIENCE_S;
	int seen = before;

	while (seen != number) {
		int now = read_number(near, key);

		if (now < seen)
			fail("a value from the past", 0);
		if (time(NULL) > until)
			fail("a change that was never seen", 0);
		seen = now;
	}
}

static void write_number(struct virgo *virgo, const char *key, int number)
{
	char value[16];
	int error = virgo_key_set(virgo, key, strlen(key), value, (size_t)snprintf(value, sizeof(value), "%d", number),
				  0, 0);

	if (error)
		fail(key, error);
}

int main(int argc, char **argv)
{
	struct virgo *near, *writer;
	struct virgo_counters counters;
	struct timespec moment = { 0, 400000000 };
	size_t length;
	void *value;
	int error;

	if (argc != 2)
		return 2;
	near = open_client(argv[1], 1 << 20);
	writer = open_client(argv[1], 0);
	for (int number = 1; number <= CHANGES; number++) {
		for (int k = 0; k < KEYS; k++) {
			char key[16];

			(void)snprintf(key, sizeof(key), "near%d", k);
			write_number(writer, key, number);
			see(near, key, number > 1 ? number - 1 : 0, number);
			if (read_number(near, key) != number) /* from memory now */
				fail("a value that changed by itself", 0);
		}
	}
	write_number(near, "near0", 1000); /* its own change, at once */
	if (read_number(near, "near0") != 1000)
		fail("its own change", 0);
	error = virgo_key_set(writer, "short", 5, "x", 1, 200, 0);
	error = error ? error : virgo_key_get(near, "short", 5, &value, &length);
	if (error)
		fail("short", error);
	free(value);
	(void)nanosleep(&moment, NULL);
	if (virgo_key_get(near, "short", 5, &value, &length) != -ENOENT)
		fail("a value past its deadline", 0);
	virgo_counters(near, &counters);
	printf("# %llu from memory, %llu read, %llu messages\n", (unsigned long long)counters.near_hits,
	       (unsigned long long)counters.near_misses, (unsigned long long)counters.near_invalidated);
	virgo_disconnect(near);
	virgo_disconnect(writer);
	return counters.near_hits < KEYS * CHANGES / 4 || !counters.near_invalidated;
}
