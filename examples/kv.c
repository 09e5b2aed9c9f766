/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Keys: set one, get it back, let one expire, and ask for many at once.
 *
 *     cc kv.c -lvirgo -o kv && ./kv 127.0.0.1
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virgo/virgo.h"

#define COUNT 1000

struct tally {
	unsigned int right, wrong;
};

static void on_get(void *context, const struct virgo_result *result)
{
	struct tally *tally = context;

	if (!result->error && result->length == 5 && memcmp(result->data, "value", 5) == 0)
		tally->right++;
	else
		tally->wrong++;
}

static void must(struct virgo *v, int error, const char *what)
{
	if (error)
		errx(EXIT_FAILURE, "%s: %s (%s)", what, virgo_strerror(error), virgo_error_text(v));
}

int main(int argc, char **argv)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = argc > 1 ? argv[1] : NULL };
	static char keys[COUNT][16];
	struct tally tally = { 0 };
	struct virgo *v;
	char why[128];
	void *value;
	size_t length;

	if (virgo_connect(&v, &options, why, sizeof(why)))
		errx(EXIT_FAILURE, "%s", why);
	must(v, virgo_key_set(v, "greeting", 8, "hello", 5, 0, 0), "set");
	must(v, virgo_key_get(v, "greeting", 8, &value, &length), "get");
	printf("greeting = %.*s\n", (int)length, (char *)value);
	free(value);
	must(v, virgo_key_set(v, "brief", 5, "gone in a minute", 16, 60000, 0), "set with a deadline");

	/* Many at once: the window is bounded, so make room when it is full. Keys stay in place until their results. */
	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(keys[i], sizeof(keys[i]), "many:%d", i);
		must(v, virgo_key_set(v, keys[i], strlen(keys[i]), "value", 5, 60000, 0), "set");
	}
	for (int i = 0; i < COUNT; i++)
		while (virgo_submit_get(v, keys[i], strlen(keys[i]), on_get, &tally))
			must(v, virgo_wait(v, 1, -1) < 0, "wait");
	while (virgo_pending(v))
		(void)virgo_wait(v, 0, -1);
	printf("%u of %d right\n", tally.right, COUNT);
	virgo_disconnect(v);
	return tally.right == COUNT ? EXIT_SUCCESS : EXIT_FAILURE;
}
