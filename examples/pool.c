/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Memory: allocate in the pool, write and read ranges, free, and see that a freed handle is an answer and not a crash.
 *
 *     cc pool.c -lvirgo -o pool && ./pool 127.0.0.1
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virgo/virgo.h"

#define BYTES 2500 /* the original reached only the first 1000 of them */

static void must(struct virgo *v, int error, const char *what)
{
	if (error)
		errx(EXIT_FAILURE, "%s: %s (%s)", what, virgo_strerror(error), virgo_error_text(v));
}

int main(int argc, char **argv)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = argc > 1 ? argv[1] : NULL };
	char why[128], back[BYTES];
	struct virgo_load load;
	struct virgo *v;
	uint64_t handle, bytes, elapsed_ns;
	int error;

	if (virgo_connect(&v, &options, why, sizeof(why)))
		errx(EXIT_FAILURE, "%s", why);
	must(v, virgo_ping(v, VIRGO_NODE_ANY, &elapsed_ns, &load), "ping");
	printf("%s answers in %.0f us, %u requests in flight\n", virgo_node_address(v, 0), (double)elapsed_ns / 1e3,
	       load.in_flight);
	must(v, virgo_malloc(v, BYTES, &handle), "malloc");
	must(v, virgo_size(v, handle, &bytes), "size");
	printf("handle %016llx, %llu bytes\n", (unsigned long long)handle, (unsigned long long)bytes);
	must(v, virgo_set(v, handle, "first", 5), "set");
	must(v, virgo_set_range(v, handle, BYTES - 4, "last", 4), "set_range");
	must(v, virgo_get(v, handle, back, BYTES), "get");
	printf("%.5s … %.4s\n", back, back + BYTES - 4);
	must(v, virgo_free(v, handle), "free");
	error = virgo_get(v, handle, back, 5);
	printf("after free: %s\n", virgo_strerror(error));
	virgo_disconnect(v);
	return error == -ESTALE ? EXIT_SUCCESS : EXIT_FAILURE;
}
