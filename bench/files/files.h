/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The same work on files by different ways: through a mount (or the disk itself), libvirgo, libnfs, 9P. A client
 * belongs to one thread. Results are 0 or a count, or a negative errno.
 */
#ifndef VG_BENCH_FILES_H
#define VG_BENCH_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct files_client;
struct files_file;

enum { FILES_CREATE = 1, FILES_DIRECT = 2, FILES_DURABLE = 4 };

typedef void (*files_fn)(void *context, ssize_t result);

struct files_way {
	const char *name;
	/* `target`: a directory, or whatever names the server. */
	int (*open)(const char *target, struct files_client **ret_client);
	void (*close)(struct files_client *client);
	int (*mkdir)(struct files_client *client, const char *path);
	/* A small file: create, write, close; open, read, close. */
	int (*put)(struct files_client *client, const char *path, const void *data, size_t length);
	ssize_t (*get)(struct files_client *client, const char *path, void *buffer, size_t length);
	/* A large one. NULL where it is not measured this way. */
	int (*open_file)(struct files_client *client, const char *path, int flags, struct files_file **ret_file);
	void (*close_file)(struct files_client *client, struct files_file *file);
	/* fn is called before it returns, or from inside `wait`. */
	int (*read)(struct files_client *client, struct files_file *file, void *buffer, size_t length, uint64_t offset,
		    files_fn fn, void *context);
	int (*write)(struct files_client *client, struct files_file *file, const void *data, size_t length,
		     uint64_t offset, files_fn fn, void *context);
	/* Small ones, several at once; or NULL: one after the other. */
	int (*submit_put)(struct files_client *client, const char *path, const void *data, size_t length, files_fn fn,
			  void *context);
	int (*submit_get)(struct files_client *client, const char *path, files_fn fn, void *context);
	void (*wait)(struct files_client *client); /* until one has come back */
	int (*poll)(struct files_client *client);  /* without waiting; how many have */
};

extern const struct files_way files_here, files_virgo, files_virgo_calls, files_9p, files_nfs;

#endif
