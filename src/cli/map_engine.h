/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The bookkeeping of `virgo map`: arguments in, at most so many jobs in flight, results out, each once and whole. It
 * starts nothing and prints nothing by itself: what carries out a job and what becomes of its result are calls of its
 * user, so that a test drives it with a table and the command with virgo_clone(). One thread; no call here blocks.
 *
 *     waiting ──start──▶ running ──done──▶ (again: waiting) ──▶ finished ──emit──▶ gone
 *
 * With `keep_order` a finished job waits for those before it, and no job is started that is more than MAP_AHEAD_MAX
 * ahead of the oldest that is not finished: what is kept is bounded.
 */
#ifndef VG_CLI_MAP_ENGINE_H
#define VG_CLI_MAP_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/spool.h"
#include "virgo/types.h"

#define MAP_QUEUE_MAX 1024 /* arguments read ahead */
#define MAP_AHEAD_MAX 8192
#define MAP_FAILED_MAX 101 /* exit status: so many failures, and this for more than 100 */

struct map_result {
	int error;  /* negative errno: it could not be run, or nobody knows how it ended */
	int status; /* else what it ended with; 128 + N: by signal N */
	__u64 elapsed_ns;
	char node[64];	/* where; empty: nowhere */
	char text[200]; /* more about the error; or empty */
};

struct map_job {
	__u64 number; /* 1, 2, … in the order of the arguments */
	char *argument;
	char **command; /* of map_expand() */
	__u64 hash;	/* of the command */
	unsigned int attempts;
	struct cli_spool out, err;
	struct map_result result;
	void *runner; /* the user's */
	enum { MAP_WAITING, MAP_RUNNING, MAP_FINISHED } state;
	struct map_job *next_waiting;	/* in the queue */
	struct map_job *before, *after; /* all that are not gone, in order */
};

struct map_ops {
	/*
	 * Run job->command; map_output() and once map_done() follow, never from inside this call. 0; -EAGAIN: not now,
	 * map_pump() again when something has changed; any other error is the job's result.
	 */
	int (*start)(void *context, struct map_job *job);
	/* The job is finished and this is its turn. It is gone afterwards. */
	void (*emit)(void *context, struct map_job *job);
	/* Stop a running job; map_done() follows. */
	void (*stop)(void *context, struct map_job *job);
};

struct map_engine {
	const struct map_ops *ops;
	void *context;
	char *const *words;
	size_t word_count;
	unsigned int jobs_max, retries;
	bool keep_order, stopping;

	struct map_job *waiting_first, *waiting_last;
	struct map_job *first, *last; /* all that are not gone */
	unsigned int waiting, running;
	__u64 added, finished, failed, retried, skipped, number;
};

bool map_failed(const struct map_result *result);

/* `words`: the command with its places; jobs_max ≥ 1. */
void map_init(struct map_engine *map, const struct map_ops *ops, void *context, char *const *words, size_t count);
void map_deinit(struct map_engine *map);
/* Make the job of the next argument, to look at before it is added: is it done already? 0, -ENOMEM, -E2BIG. */
int map_make(struct map_engine *map, const char *argument, size_t length, struct map_job **ret_job);
void map_add(struct map_engine *map, struct map_job *job);
void map_skip(struct map_engine *map, struct map_job *job);
/* Whether it takes more arguments now. */
bool map_wants(const struct map_engine *map);
/* Start what may start. */
void map_pump(struct map_engine *map);
/* 0, or why the output cannot be kept: stop the job then. */
int map_output(struct map_job *job, int stream, const void *data, size_t length);
void map_done(struct map_engine *map, struct map_job *job, const struct map_result *result);
/* Start no more, stop what runs; what waits is dropped. */
void map_stop(struct map_engine *map);
bool map_idle(const struct map_engine *map);
/* How many failed, at most MAP_FAILED_MAX: the exit status. */
int map_exit(const struct map_engine *map);

#endif
