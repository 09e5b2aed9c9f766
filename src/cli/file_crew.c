/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "cli/file.h"

#define WAITING_MAX 1024 /* given and not begun: bounds memory while the walk runs ahead */

struct worker {
	struct file_crew *crew;
	struct virgo *virgo;
	pthread_t thread;
};

struct file_crew {
	pthread_mutex_t lock;
	pthread_cond_t more, fewer; /* jobs */
	void *jobs[WAITING_MAX];
	size_t first, count;
	bool ending;
	file_crew_fn fn;
	void *context;
	unsigned int workers;
	struct worker worker[];
};

/* NULL: there is no more, and there will be none. */
static void *take(struct file_crew *crew)
{
	void *job = NULL;

	(void)pthread_mutex_lock(&crew->lock);
	while (!crew->count && !crew->ending)
		(void)pthread_cond_wait(&crew->more, &crew->lock);
	if (crew->count) {
		job = crew->jobs[crew->first];
		crew->first = (crew->first + 1) % WAITING_MAX;
		crew->count--;
		(void)pthread_cond_signal(&crew->fewer);
	}
	(void)pthread_mutex_unlock(&crew->lock);
	return job;
}

static void *work(void *context)
{
	struct worker *worker = context;
	void *job;

	while ((job = take(worker->crew)))
		worker->crew->fn(worker->crew->context, worker->virgo, job);
	return NULL;
}

int file_crew_start(struct cli *cli, unsigned int workers, file_crew_fn fn, void *context, struct file_crew **ret_crew)
{
	struct file_crew *crew = calloc(1, sizeof(*crew) + workers * sizeof(crew->worker[0]));
	int code = CLI_OK;

	if (!crew)
		return cli_complain(cli, CLI_OTHER, "out of memory");
	crew->fn = fn;
	crew->context = context;
	(void)pthread_mutex_init(&crew->lock, NULL);
	(void)pthread_cond_init(&crew->more, NULL);
	(void)pthread_cond_init(&crew->fewer, NULL);
	while (crew->workers < workers && !code) {
		struct worker *worker = &crew->worker[crew->workers];

		worker->crew = crew;
		code = cli_connect_other(cli, &worker->virgo);
		if (!code && pthread_create(&worker->thread, NULL, work, worker)) {
			virgo_disconnect(worker->virgo);
			code = cli_complain(cli, CLI_OTHER, "no more threads");
		}
		crew->workers += !code;
	}
	if (code)
		file_crew_end(crew);
	else
		*ret_crew = crew;
	return code;
}

void file_crew_give(struct file_crew *crew, void *job)
{
	(void)pthread_mutex_lock(&crew->lock);
	while (crew->count == WAITING_MAX)
		(void)pthread_cond_wait(&crew->fewer, &crew->lock);
	crew->jobs[(crew->first + crew->count) % WAITING_MAX] = job;
	crew->count++;
	(void)pthread_cond_signal(&crew->more);
	(void)pthread_mutex_unlock(&crew->lock);
}

void file_crew_end(struct file_crew *crew)
{
	if (!crew)
		return;
	(void)pthread_mutex_lock(&crew->lock);
	crew->ending = true;
	(void)pthread_cond_broadcast(&crew->more);
	(void)pthread_mutex_unlock(&crew->lock);
	for (unsigned int i = 0; i < crew->workers; i++) {
		(void)pthread_join(crew->worker[i].thread, NULL);
		virgo_disconnect(crew->worker[i].virgo);
	}
	(void)pthread_cond_destroy(&crew->fewer);
	(void)pthread_cond_destroy(&crew->more);
	(void)pthread_mutex_destroy(&crew->lock);
	free(crew);
}
