/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/map_engine.h"
#include "cli/map_template.h"
#include "virgo/hash.h"

bool map_failed(const struct map_result *result)
{
	return result->error || result->status;
}

void map_init(struct map_engine *map, const struct map_ops *ops, void *context, char *const *words, size_t count)
{
	*map = (struct map_engine){
		.ops = ops, .context = context, .words = words, .word_count = count, .jobs_max = 1
	};
}

/* ---- jobs ------------------------------------------------------------------------------------------------------ */

static void free_job(struct map_job *job)
{
	if (!job)
		return;
	cli_spool_deinit(&job->out);
	cli_spool_deinit(&job->err);
	free(job->argument);
	free(job->command);
	free(job);
}

/* Words and where each ends, so that "a b" is not "a", "b". */
static __u64 hash_of(char *const *command)
{
	__u64 hash = 0, pair[2];

	for (; *command; command++) {
		pair[0] = hash;
		pair[1] = vg_hash64(*command, strlen(*command));
		hash = vg_hash64(pair, sizeof(pair));
	}
	return hash;
}

int map_make(struct map_engine *map, const char *argument, size_t length, struct map_job **ret_job)
{
	struct map_job *job = calloc(1, sizeof(*job));
	int error = -ENOMEM;

	if (!job)
		return error;
	cli_spool_init(&job->out);
	cli_spool_init(&job->err);
	job->number = map->number + 1;
	job->argument = strndup(argument, length);
	if (job->argument)
		error = map_expand(map->words, map->word_count, job->argument, job->number, &job->command);
	if (error) {
		free_job(job);
		return error;
	}
	job->hash = hash_of(job->command);
	map->number++;
	*ret_job = job;
	return 0;
}

void map_skip(struct map_engine *map, struct map_job *job)
{
	map->skipped++;
	free_job(job);
}

static void enqueue(struct map_engine *map, struct map_job *job, bool front)
{
	job->state = MAP_WAITING;
	job->next_waiting = front ? map->waiting_first : NULL;
	if (!map->waiting_first)
		map->waiting_first = map->waiting_last = job;
	else if (front)
		map->waiting_first = job;
	else
		map->waiting_last = map->waiting_last->next_waiting = job;
	map->waiting++;
}

void map_add(struct map_engine *map, struct map_job *job)
{
	job->before = map->last;
	if (map->last)
		map->last->after = job;
	else
		map->first = job;
	map->last = job;
	map->added++;
	enqueue(map, job, false);
}

static void forget(struct map_engine *map, struct map_job *job)
{
	if (job->before)
		job->before->after = job->after;
	else
		map->first = job->after;
	if (job->after)
		job->after->before = job->before;
	else
		map->last = job->before;
	free_job(job);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

bool map_wants(const struct map_engine *map)
{
	return !map->stopping && map->waiting < MAP_QUEUE_MAX;
}

static void emit(struct map_engine *map, struct map_job *job)
{
	map->ops->emit(map->context, job);
	forget(map, job);
}

static void finish(struct map_engine *map, struct map_job *job)
{
	job->state = MAP_FINISHED;
	map->finished++;
	map->failed += map_failed(&job->result);
	if (!map->keep_order) {
		emit(map, job);
		return;
	}
	while (map->first && map->first->state == MAP_FINISHED)
		emit(map, map->first);
}

static bool too_far_ahead(const struct map_engine *map, const struct map_job *job)
{
	return map->keep_order && job->number - map->first->number >= MAP_AHEAD_MAX;
}

void map_pump(struct map_engine *map)
{
	while (!map->stopping && map->waiting_first && map->running < map->jobs_max) {
		struct map_job *job = map->waiting_first;
		int error;

		if (too_far_ahead(map, job))
			return;
		job->state = MAP_RUNNING;
		error = map->ops->start(map->context, job);
		if (error == -EAGAIN) {
			job->state = MAP_WAITING;
			return;
		}
		map->waiting_first = job->next_waiting;
		map->waiting--;
		job->attempts++;
		map->running++;
		if (error)
			map_done(map, job, &(struct map_result){ .error = error });
	}
}

int map_output(struct map_job *job, int stream, const void *data, size_t length)
{
	assert(job->state == MAP_RUNNING);
	return cli_spool_add(stream == 2 ? &job->err : &job->out, data, length);
}

void map_done(struct map_engine *map, struct map_job *job, const struct map_result *result)
{
	assert(job->state == MAP_RUNNING && map->running > 0);
	map->running--;
	job->result = *result;
	if (map_failed(result) && job->attempts <= map->retries && !map->stopping) {
		/* Only the last attempt's output counts. */
		cli_spool_clear(&job->out);
		cli_spool_clear(&job->err);
		map->retried++;
		enqueue(map, job, true);
		return;
	}
	finish(map, job);
}

void map_stop(struct map_engine *map)
{
	struct map_job *job, *next;

	if (map->stopping)
		return;
	map->stopping = true;
	while (map->waiting_first) {
		job = map->waiting_first;
		map->waiting_first = job->next_waiting;
		map->waiting--;
		forget(map, job);
	}
	for (job = map->first; job; job = next) {
		next = job->after;
		if (job->state == MAP_RUNNING)
			map->ops->stop(map->context, job);
	}
	/* Those dropped may have been what finished ones were waiting for. */
	while (map->first && map->first->state == MAP_FINISHED)
		emit(map, map->first);
}

bool map_idle(const struct map_engine *map)
{
	return !map->waiting && !map->running;
}

int map_exit(const struct map_engine *map)
{
	return map->failed < MAP_FAILED_MAX ? (int)map->failed : MAP_FAILED_MAX;
}

void map_deinit(struct map_engine *map)
{
	while (map->first)
		forget(map, map->first);
	map->waiting_first = map->waiting_last = NULL;
	map->waiting = map->running = 0;
}
