/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a job has written, kept until its turn to be shown comes: in memory while it is small, in a file without a name
 * ($TMPDIR, else /tmp) beyond that, so that ten thousand jobs of a megabyte do not have to fit memory.
 */
#ifndef VG_CLI_SPOOL_H
#define VG_CLI_SPOOL_H

#include <stddef.h>

#include "virgo/types.h"

#define CLI_SPOOL_MEMORY_BYTES (64u << 10)

struct cli_spool {
	char *data; /* the last part, not yet in the file */
	size_t length, room;
	__u64 filed; /* bytes in the file */
	int fd;	     /* -1: no file yet */
};

void cli_spool_init(struct cli_spool *spool);
void cli_spool_deinit(struct cli_spool *spool);
/* Forget what is in it, to fill it anew. */
void cli_spool_clear(struct cli_spool *spool);
/* 0, -ENOMEM, or what the file system says. */
int cli_spool_add(struct cli_spool *spool, const void *data, size_t length);
/* Write all of it to a descriptor. */
int cli_spool_copy(struct cli_spool *spool, int fd);
/* The beginning of it, at most `bytes`, for a report; how many bytes there were. */
size_t cli_spool_head(struct cli_spool *spool, void *buffer, size_t bytes);
__u64 cli_spool_length(const struct cli_spool *spool);

#endif
