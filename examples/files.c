/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Files: a directory with small files, written and read many at once, and a large one in stripes over all nodes.
 *
 *     cc files.c -lvirgo -o files && ./files 127.0.0.1
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virgo/virgo.h"

#define COUNT 200
#define LARGE_BYTES (8u << 20)

static void must(struct virgo *v, ssize_t result, const char *what)
{
	if (result < 0)
		errx(EXIT_FAILURE, "%s: %s", what, virgo_error_text(v));
}

static void on_put(void *context, ssize_t result)
{
	unsigned int *failed = context;

	*failed += result != 0;
}

static int on_entry(void *context, const char *name, const struct virgo_file_stat *stat)
{
	unsigned long *bytes = context;

	(void)name;
	*bytes += stat->size;
	return 0;
}

static void write_many(struct virgo *v)
{
	static char paths[COUNT][32];
	unsigned int failed = 0;
	unsigned long bytes = 0;
	int error;

	must(v, virgo_mkdir(v, "example", 0755), "mkdir");
	/* The window is bounded, so make room when it is full. Paths are copied; the data stays in place. */
	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(paths[i], sizeof(paths[i]), "example/%d", i);
		while ((error = virgo_submit_file_put(v, paths[i], paths[i], strlen(paths[i]), 0, 0644, on_put,
						      &failed)) == -EAGAIN)
			must(v, virgo_wait(v, 1, -1), "wait");
		must(v, error, "put");
	}
	must(v, virgo_wait(v, 0, -1), "wait");
	must(v, virgo_list(v, "example", on_entry, &bytes), "list");
	printf("%d files, %u failed, %lu bytes\n", COUNT, failed, bytes);
	for (int i = 0; i < COUNT; i++)
		must(v, virgo_unlink(v, paths[i]), "unlink");
}

static void write_large(struct virgo *v)
{
	static char data[LARGE_BYTES], back[LARGE_BYTES];
	struct virgo_file *file;

	memset(data, 'x', sizeof(data));
	must(v, virgo_open_striped(v, "example/large", O_RDWR, 0644, 0, 0, &file), "open");
	must(v, virgo_pwrite(v, file, data, sizeof(data), 0), "write");
	must(v, virgo_fsync(v, file), "fsync");
	must(v, virgo_pread(v, file, back, sizeof(back), 0), "read");
	printf("a large file in %u stripes: %s\n", virgo_opened_stat(file)->stripes,
	       memcmp(data, back, sizeof(data)) ? "different" : "the same");
	must(v, virgo_close(v, file), "close");
	must(v, virgo_unlink(v, "example/large"), "unlink");
	must(v, virgo_rmdir(v, "example"), "rmdir");
}

int main(int argc, char **argv)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = argc > 1 ? argv[1] : NULL };
	struct virgo *v;
	char why[128];

	if (virgo_connect(&v, &options, why, sizeof(why)))
		errx(EXIT_FAILURE, "%s", why);
	write_many(v);
	write_large(v);
	virgo_disconnect(v);
	return 0;
}
