// SPDX-License-Identifier: GPL-3.0-or-later
/* many_keys NODES: virgo_mget over nodes, with values of every length, and compare-and-set. Exits 1 and says why. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virgo/virgo.h"

#define KEYS 200
#define ROUNDS 3

static char names[KEYS][40];

static int die(const char *what, int number, int error)
{
	printf("# %s %d: %s\n", what, number, virgo_strerror(error));
	return 1;
}

/* Each tenth does not fit a datagram, each seventh is not there. */
static size_t value_of(int number, char *value)
{
	size_t length = (size_t)sprintf(value, "value-%d-", number);

	if (number % 10 == 0) {
		memset(value + length, 'x', 1500);
		length += 1500;
	}
	return length;
}

static int get_all(struct virgo *virgo)
{
	static struct virgo_item items[KEYS];
	char value[2000];
	int error;

	for (int i = 0; i < KEYS; i++)
		items[i] = (struct virgo_item){ .key = names[i], .key_length = strlen(names[i]) };
	error = virgo_mget(virgo, items, KEYS);
	if (error)
		return die("mget", 0, error);
	for (int i = 0; i < KEYS; i++) {
		size_t length = value_of(i, value);

		if (i % 7 == 0 ? items[i].error != -ENOENT :
				 items[i].error || items[i].length != length || memcmp(items[i].value, value, length))
			return die("item", i, items[i].error);
		free(items[i].value);
	}
	return 0;
}

static int compare_and_set(struct virgo *virgo)
{
	uint64_t version, next;
	void *value;
	size_t length;
	int error = virgo_cas(virgo, "cas", 3, "one", 3, 0, 0, &version);

	if (error)
		return die("cas of an absent key", 0, error);
	error = virgo_cas(virgo, "cas", 3, "x", 1, 0, 0, NULL);
	if (error != -EEXIST)
		return die("cas of a key that is there", 0, error);
	error = virgo_cas(virgo, "cas", 3, "two", 3, version, 0, &next);
	if (error || virgo_cas(virgo, "cas", 3, "x", 1, version, 0, NULL) != -EEXIST)
		return die("cas of a version", 0, error);
	error = virgo_get_version(virgo, "cas", 3, &value, &length, &version);
	if (error || version != next || length != 3 || memcmp(value, "two", 3) != 0)
		return die("the value's version", 0, error);
	free(value);
	error = virgo_cas(virgo, "absent", 6, "x", 1, version, 0, NULL);
	return error == -ENOENT ? 0 : die("cas of a version of nothing", 0, error);
}

int main(int argc, char **argv)
{
	const struct virgo_options options = { .size = sizeof(options), .nodes = argv[1], .timeout_ms = 20000 };
	struct virgo_counters before, after;
	char why[200] = "", value[2000];
	struct virgo *virgo;
	int error;

	if (argc != 2 || virgo_connect(&virgo, &options, why, sizeof(why))) {
		printf("# %s\n", why);
		return 1;
	}
	for (int i = 0; i < KEYS; i++) {
		sprintf(names[i], "many:%d", i);
		error = i % 7 ? virgo_key_set(virgo, names[i], strlen(names[i]), value, value_of(i, value), 0, 0) : 0;
		if (error)
			return die("set", i, error);
	}
	virgo_counters(virgo, &before);
	for (int round = 0; round < ROUNDS; round++)
		if (get_all(virgo))
			return 1;
	virgo_counters(virgo, &after);
	if (after.requests - before.requests > ROUNDS * KEYS / 2)
		return die("requests", (int)(after.requests - before.requests), 0);
	error = compare_and_set(virgo);
	virgo_disconnect(virgo);
	return error;
}
