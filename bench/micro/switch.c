// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-switch: what the probes cost a context switch. Two threads on one processor pass a byte back and forth over two
 * pipes; slices with the scheduler's probes attached and slices without take turns within one process, so that whatever
 * else the machine does meets both alike. Prints nanoseconds a switch, medians of the slices, as one JSON object.
 * Usage: bench-switch SECONDS [BUILD]
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SLICES_MAX 1000
#define ROUNDS 20000 /* of a slice: two switches each */

static void must(long result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "bench-switch: %s: %s\n", what, strerror((int)-result));
	exit(EXIT_FAILURE);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the switches ---------------------------------------------------------------------------------------------- */

static int there[2], back[2];

static void *echo(void *context)
{
	char byte;

	while (read(there[0], &byte, 1) == 1)
		if (write(back[1], &byte, 1) != 1)
			break;
	return NULL;
}

/* Processor time of both threads a switch: what others take of the processor is not in it, what the probes take is. */
static double slice_ns(void)
{
	struct timespec before, after;
	char byte = 0;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	for (int i = 0; i < ROUNDS; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			must(-EIO, "pipe");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	return ((double)(after.tv_sec - before.tv_sec) * 1e9 + (double)(after.tv_nsec - before.tv_nsec)) /
	       (2.0 * ROUNDS);
}

/* ---- the probes ------------------------------------------------------------------------------------------------ */

static struct bpf_object *probes_load(const char *build, const char *program_name)
{
	char path[512];
	struct bpf_object *object;
	struct bpf_program *program;

	snprintf(path, sizeof(path), "%s/bpf/sched_load.bpf.o", build);
	object = bpf_object__open(path);
	must(object ? 0 : -ENOENT, path);
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), program_name));
	must(bpf_object__load(object), "load");
	return object;
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return difference < 0 ? -1 : difference > 0;
}

static double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof(*values), compare);
	return values[count / 2];
}

int main(int argc, char **argv)
{
	static double with[SLICES_MAX], without[SLICES_MAX];
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 2, end_s;
	struct bpf_object *object = probes_load(argc > 2 ? argv[2] : "build", "vg_sched_switch");
	struct bpf_program *program = bpf_object__find_program_by_name(object, "vg_sched_switch");
	cpu_set_t one;
	pthread_t thread;
	int slices = 0;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	must(pipe(there) ? -errno : 0, "pipe");
	must(pipe(back) ? -errno : 0, "pipe");
	must(-pthread_create(&thread, NULL, echo, NULL), "thread");
	(void)slice_ns(); /* warm */
	for (end_s = now_s() + 2 * seconds; slices < SLICES_MAX && (slices < 3 || now_s() < end_s); slices++) {
		struct bpf_link *link;

		without[slices] = slice_ns();
		link = bpf_program__attach(program);
		must(link ? 0 : -errno, "attach");
		with[slices] = slice_ns();
		bpf_link__destroy(link);
	}
	close(there[1]);
	pthread_join(thread, NULL);
	bpf_object__close(object);
	printf("{\"with_ns\": %.1f, \"without_ns\": %.1f, \"slices\": %d}\n", median(with, slices),
	       median(without, slices), slices);
	return EXIT_SUCCESS;
}
