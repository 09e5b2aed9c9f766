/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Jobs of the CPU pool: a program, many at once with a completion handle, a function of a plug-in, a kernel program.
 *
 *     VIRGO_NODES=10.0.0.1,10.0.0.2 clone [FUNCTION [KERNEL-PROGRAM]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <virgo/virgo.h>

#define JOBS 8

static int fail(struct virgo *v, const char *what, int error)
{
	fprintf(stderr, "%s: %s (%s)\n", what, virgo_strerror(error), virgo_error_text(v));
	virgo_disconnect(v);
	return EXIT_FAILURE;
}

/* A program somewhere: its output and its end. */
static int program(struct virgo *v)
{
	static const char *const arguments[] = { "-c", "tr a-z A-Z; exit 3", NULL };
	struct virgo_job_options options = { .size = sizeof(options), .arguments = arguments };
	struct virgo_job_result result;
	int error = virgo_clone(v, VIRGO_EXECUTABLE, "sh", "from afar\n", 10, &options, &result);

	if (error)
		return error;
	printf("status %d: %s", result.status, (const char *)result.data);
	virgo_job_result_free(&result);
	return 0;
}

/* Many at once: each has a handle, and says when it has ended. */
struct count {
	unsigned int ended, failed;
};

static void on_ended(void *context, const struct virgo_job_result *result)
{
	struct count *count = context;

	count->ended++;
	count->failed += result->error || result->status;
}

static int many(struct virgo *v)
{
	struct count count = { 0 };
	struct virgo_job_options options = { .size = sizeof(options), .ended = on_ended, .context = &count };
	struct virgo_job *jobs[JOBS];
	int started = 0, error = 0;

	while (started < JOBS && !error) {
		error = virgo_clone_start(v, VIRGO_EXECUTABLE, "true", NULL, 0, &options, &jobs[started]);
		started += !error;
	}
	for (int i = 0; i < started; i++) {
		(void)virgo_job_wait(jobs[i], -1);
		virgo_job_free(jobs[i]);
	}
	printf("%u of %d ended, %u failed\n", count.ended, JOBS, count.failed);
	return error;
}

/* Bytes in, bytes out: of a function, or of a program inside the kernel. */
static int call(struct virgo *v, enum virgo_kind kind, const char *name, const void *argument, size_t length)
{
	struct virgo_job_result result;
	int error = virgo_clone(v, kind, name, argument, length, NULL, &result);

	if (error)
		return error;
	printf("%s returned %d and %zu bytes:", name, result.status, result.length);
	for (size_t i = 0; i < result.length; i++)
		printf(" %02x", ((const unsigned char *)result.data)[i]);
	printf("\n");
	virgo_job_result_free(&result);
	return 0;
}

int main(int argc, char **argv)
{
	const unsigned char number[8] = { 18, 0, 0, 0,
					  12 }; /* two halves of a word, as the examples' kernel programs take */
	struct virgo_options options = { .size = sizeof(options) };
	const char *port = getenv("VIRGO_CPU_PORT");
	struct virgo *v;
	char why[256];
	int error;

	options.cpu_port = port ? (uint16_t)strtoul(port, NULL, 10) : 0;
	if (virgo_connect(&v, &options, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return EXIT_FAILURE;
	}
	error = program(v);
	if (error)
		return fail(v, "program", error);
	error = many(v);
	if (error)
		return fail(v, "many", error);
	error = argc > 1 ? call(v, VIRGO_FUNCTION, argv[1], "text", 4) : 0;
	if (error)
		return fail(v, argv[1], error);
	error = argc > 2 ? call(v, VIRGO_KERNEL, argv[2], number, sizeof(number)) : 0;
	if (error)
		return fail(v, argv[2], error);
	virgo_disconnect(v);
	return EXIT_SUCCESS;
}
