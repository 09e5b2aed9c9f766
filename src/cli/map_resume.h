/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file of `virgo map --resume`: a line for each job that has ended, written when its output has been.
 *
 *     HASH STATUS SECONDS NODE NUMBER ARGUMENT
 *
 * HASH (16 hex digits) names the command with its argument put in; STATUS is what it ended with, or - where that is not
 * known; in ARGUMENT control characters and backslashes are written \xx (hex). A job whose command stands there with
 * status 0 is not run again, wherever its argument now stands in the input; one that stands there twice covers two. A
 * last line that was cut off counts for nothing. The file also tells who did what and how long it took.
 */
#ifndef VG_CLI_MAP_RESUME_H
#define VG_CLI_MAP_RESUME_H

#include <stdbool.h>

#include "cli/map_engine.h"

struct map_resume {
	int fd; /* -1: none */
	struct map_resume_slot {
		__u64 hash;
		__u32 count;
		bool used;
	} * done; /* a table with open addressing */
	size_t slots, used;
};

/* Read what is there, and open the file for more. 0, or negative errno; -EINVAL: a line that is none of ours. */
int map_resume_open(struct map_resume *resume, const char *path, size_t *ret_bad_line);
void map_resume_close(struct map_resume *resume);
/* Whether it has been done; each line counts once. */
bool map_resume_take(struct map_resume *resume, __u64 hash);
int map_resume_note(struct map_resume *resume, const struct map_job *job);

#endif
