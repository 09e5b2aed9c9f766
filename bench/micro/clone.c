// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-clone: jobs of the CPU pool beside what the same work costs without it. One JSON object: how many, nanoseconds
 * each, their median and 99th percentile.
 *
 *   clone spawn SECONDS FLIGHT          posix_spawn and wait of /bin/true here, so many at a time
 *   clone clone SECONDS FLIGHT          virgo_clone of /bin/true at VIRGO_NODES
 *   clone echo SECONDS 1                the function "echo", 64 bytes
 *   clone ping SECONDS 1                the memory pool's daemon, over UDP
 *   clone run SECONDS 1 COMMAND…        a program and its end, as a shell would: virgo run, ssh
 */
#include <errno.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "virgo/virgo.h"

#define SAMPLES_MAX (1u << 20)
#define ECHO_BYTES 64

extern char **environ;

struct bench {
	double until;
	unsigned int flight, running;
	unsigned long count, failed;
	double *samples; /* microseconds are too coarse: seconds */
	struct virgo *virgo;
	char *const *command;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void note(struct bench *bench, double began, bool good)
{
	if (bench->count < SAMPLES_MAX)
		bench->samples[bench->count] = now() - began;
	bench->count++;
	bench->failed += !good;
}

/* ---- here ------------------------------------------------------------------------------------------------------ */

static void spawn_loop(struct bench *bench)
{
	double began[64];
	pid_t pids[64] = { 0 };
	int status;

	for (;;) {
		while (bench->running < bench->flight && now() < bench->until) {
			unsigned int place = 0;

			while (pids[place])
				place++;
			began[place] = now();
			if (posix_spawn(&pids[place], bench->command[0], NULL, NULL, bench->command, environ)) {
				bench->failed++;
				return;
			}
			bench->running++;
		}
		if (!bench->running)
			return;
		pid_t pid = wait(&status);

		for (unsigned int place = 0; place < bench->flight; place++)
			if (pids[place] == pid) {
				pids[place] = 0;
				bench->running--;
				note(bench, began[place], WIFEXITED(status) && !WEXITSTATUS(status));
			}
	}
}

/* ---- there ----------------------------------------------------------------------------------------------------- */

struct flight {
	struct bench *bench;
	struct virgo_job *job;
	double began;
};

static void start(struct flight *flight);

static void on_ended(void *context, const struct virgo_job_result *result)
{
	struct flight *flight = context;

	note(flight->bench, flight->began, !result->error && !result->status);
	virgo_job_free(flight->job);
	flight->bench->running--;
	start(flight);
}

static void start(struct flight *flight)
{
	struct bench *bench = flight->bench;
	struct virgo_job_options options = { .size = sizeof(options), .ended = on_ended, .context = flight };

	if (now() >= bench->until)
		return;
	flight->began = now();
	if (virgo_clone_start(bench->virgo, VIRGO_EXECUTABLE, "/bin/true", NULL, 0, &options, &flight->job))
		bench->failed++;
	else
		bench->running++;
}

static void clone_loop(struct bench *bench)
{
	struct flight flights[64];

	for (unsigned int i = 0; i < bench->flight; i++) {
		flights[i] = (struct flight){ .bench = bench };
		start(&flights[i]);
	}
	while (bench->running) {
		struct pollfd polled[64];
		int timeout_ms, count = virgo_descriptors(bench->virgo, polled, 64, &timeout_ms);

		(void)poll(polled, (nfds_t)count, timeout_ms);
		(void)virgo_poll(bench->virgo);
	}
}

static void echo_loop(struct bench *bench)
{
	char text[ECHO_BYTES];

	memset(text, 'x', sizeof(text));
	while (now() < bench->until) {
		struct virgo_job_result result;
		double began = now();
		int error = virgo_clone(bench->virgo, VIRGO_FUNCTION, "echo", text, sizeof(text), NULL, &result);

		note(bench, began,
		     !error && result.length == sizeof(text) && memcmp(result.data, text, sizeof(text)) == 0);
		virgo_job_result_free(&result);
	}
}

static void ping_loop(struct bench *bench)
{
	while (now() < bench->until) {
		double began = now();

		note(bench, began, !virgo_ping(bench->virgo, 0, NULL, NULL));
	}
}

/* ---- main ------------------------------------------------------------------------------------------------------ */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void report(struct bench *bench, double began)
{
	unsigned long kept = bench->count < SAMPLES_MAX ? bench->count : SAMPLES_MAX;
	double elapsed = now() - began;

	qsort(bench->samples, kept, sizeof(double), by_size);
	printf("{\"count\": %lu, \"failed\": %lu, \"rate\": %.1f, \"mean_ns\": %.0f, ", bench->count, bench->failed,
	       (double)bench->count / elapsed, 1e9 * elapsed / (double)bench->count);
	printf("\"p50_ns\": %.0f, \"p99_ns\": %.0f}\n", 1e9 * bench->samples[kept / 2],
	       1e9 * bench->samples[kept * 99 / 100]);
}

int main(int argc, char **argv)
{
	static char *const true_command[] = { "/bin/true", NULL };
	static const struct {
		const char *name;
		void (*loop)(struct bench *bench);
		bool client;
	} modes[] = { { "spawn", spawn_loop, false },
		      { "run", spawn_loop, false },
		      { "clone", clone_loop, true },
		      { "echo", echo_loop, true },
		      { "ping", ping_loop, true } };
	struct bench bench = { .samples = calloc(SAMPLES_MAX, sizeof(double)) };
	struct virgo_options options = { .size = sizeof(options) };
	const char *port = getenv("VIRGO_CPU_PORT");
	unsigned int mode = 0;
	char why[256];
	double began;

	while (argc > 3 && mode < 5 && strcmp(modes[mode].name, argv[1]) != 0)
		mode++;
	if (argc < 4 || mode == 5 || !bench.samples) {
		fprintf(stderr, "usage: clone spawn|run|clone|echo|ping SECONDS FLIGHT [COMMAND...]\n");
		return 2;
	}
	bench.flight = (unsigned int)strtoul(argv[3], NULL, 10);
	bench.flight = bench.flight && bench.flight <= 64 ? bench.flight : 1;
	bench.command = argc > 4 ? argv + 4 : true_command;
	options.cpu_port = port ? (uint16_t)strtoul(port, NULL, 10) : 0;
	if (modes[mode].client && virgo_connect(&bench.virgo, &options, why, sizeof(why))) {
		fprintf(stderr, "clone: %s\n", why);
		return 1;
	}
	began = now();
	bench.until = began + strtod(argv[2], NULL);
	modes[mode].loop(&bench);
	if (!bench.count || bench.failed) {
		fprintf(stderr, "clone: %s: %lu of %lu failed: %s\n", argv[1], bench.failed, bench.count,
			bench.virgo ? virgo_error_text(bench.virgo) : strerror(errno));
		return 1;
	}
	report(&bench, began);
	virgo_disconnect(bench.virgo);
	free(bench.samples);
	return 0;
}
