/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When requests come and how long they take: made up, or read from a file. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "cli/lb.h"

#define SIZE_MEAN_S 0.01
#define LINE_BYTES 256

/* A real number in (0, 1]. */
static double uniform(__u64 *random)
{
	return ((double)(vg_prng_next(random) >> 11) + 1) / 9007199254740992.0;
}

static double exponential(__u64 *random, double mean)
{
	return -mean * log(uniform(random));
}

/* A Pareto distribution of exponent 1.5, cut off at a thousand times its least value: most are small, few are huge. */
static double heavy(__u64 *random)
{
	const double exponent = 1.5, least = 1, most = 1000;
	double share = 1 - pow(least / most, exponent);

	return least / pow(1 - share * (1 - uniform(random)), 1 / exponent);
}

/*
 * Calm and burst in turn: in a burst requests come ten times as fast, and half of all requests come in bursts of about
 * a hundred.
 */
static double burst_gap(__u64 *random, __u32 *left, bool *burst)
{
	const double calm_mean = 20.0 / 11, burst_mean = calm_mean / 10;

	if (!*left) {
		*burst = !*burst;
		*left = 1 + (__u32)exponential(random, 100);
	}
	--*left;
	return exponential(random, *burst ? burst_mean : calm_mean);
}

static void make_up(struct lb_trace *trace, __u32 nodes, __u64 seed)
{
	__u64 random = seed | 1;
	__u32 left = 0;
	bool bursts = !strcmp(trace->name, "burst"), heavy_tail = !strcmp(trace->name, "heavy"), burst = false;
	double at_s = 0;

	for (__u32 i = 0; i < trace->count; i++) {
		at_s += bursts ? burst_gap(&random, &left, &burst) : exponential(&random, 1);
		trace->requests[i] = (struct lb_request){
			.arrival_s = at_s,
			.size_s = heavy_tail ? heavy(&random) * SIZE_MEAN_S / 3 : exponential(&random, SIZE_MEAN_S),
			.data_node = (__u32)(vg_prng_next(&random) >> 33) % nodes,
		};
	}
}

static int read_line(struct lb_trace *trace, const char *line, __u32 number, __u32 nodes, char *why, size_t why_bytes)
{
	struct lb_request request = { .data_node = number % nodes };
	char rest;

	if (line[0] == '#' || line[strspn(line, " \t\r\n")] == '\0')
		return 0;
	if (sscanf(line, "%lf,%lf %c", &request.arrival_s, &request.size_s, &rest) != 2 ||
	    !isfinite(request.arrival_s) || !isfinite(request.size_s) || request.arrival_s < 0 || request.size_s <= 0 ||
	    strlen(line) >= LINE_BYTES - 1) {
		/* A first line may name the columns. */
		if (number == 1)
			return 0;
		(void)snprintf(why, why_bytes, "%s:%u: want ARRIVAL_SECONDS,SIZE_SECONDS", trace->name, number);
		return -EINVAL;
	}
	if (trace->count == LB_REQUESTS_MAX) {
		(void)snprintf(why, why_bytes, "%s: more than %d requests", trace->name, LB_REQUESTS_MAX);
		return -EFBIG;
	}
	trace->requests[trace->count++] = request;
	return 0;
}

static int by_arrival(const void *a, const void *b)
{
	double difference = ((const struct lb_request *)a)->arrival_s - ((const struct lb_request *)b)->arrival_s;

	return difference < 0 ? -1 : difference > 0;
}

static int read_file(struct lb_trace *trace, __u32 nodes, char *why, size_t why_bytes)
{
	FILE *file = fopen(trace->name, "re");
	char line[LINE_BYTES];
	__u32 number = 0, room = 0;
	int error = file ? 0 : -errno;

	if (error)
		(void)snprintf(why, why_bytes, "trace %s: %s (or one of poisson, burst, heavy)", trace->name,
			       strerror(-error));
	while (!error && fgets(line, sizeof(line), file)) {
		if (trace->count == room) {
			struct lb_request *larger;

			room = room ? 2 * room : 4096;
			larger = realloc(trace->requests, room * sizeof(*larger));
			if (!larger) {
				error = -ENOMEM;
				break;
			}
			trace->requests = larger;
		}
		error = read_line(trace, line, ++number, nodes, why, why_bytes);
	}
	if (file)
		(void)fclose(file);
	if (!error && trace->count < 100) {
		(void)snprintf(why, why_bytes, "%s: want 100 requests, got %u", trace->name, trace->count);
		error = -EINVAL;
	}
	return error;
}

/* The mean gap between requests becomes one second, so that a run stretches it to its load. */
static int normalize(struct lb_trace *trace, char *why, size_t why_bytes)
{
	double first_s, span_s, sum_s = 0;

	qsort(trace->requests, trace->count, sizeof(*trace->requests), by_arrival);
	first_s = trace->requests[0].arrival_s;
	span_s = trace->requests[trace->count - 1].arrival_s - first_s;
	if (span_s <= 0) {
		(void)snprintf(why, why_bytes, "%s: all requests at once: there is no rate", trace->name);
		return -EINVAL;
	}
	for (__u32 i = 0; i < trace->count; i++) {
		trace->requests[i].arrival_s = (trace->requests[i].arrival_s - first_s) * (trace->count - 1) / span_s;
		sum_s += trace->requests[i].size_s;
	}
	trace->size_mean_s = sum_s / trace->count;
	return 0;
}

int lb_trace_make(struct lb_trace *trace, const char *name, __u32 count, __u32 nodes, __u64 seed, char *why,
		  size_t why_bytes)
{
	static const char *const known[] = { "poisson", "burst", "heavy" };
	bool made_up = false;
	int error = 0;

	*trace = (struct lb_trace){ .name = name };
	for (int i = 0; i < 3; i++)
		made_up |= strcmp(name, known[i]) == 0;
	if (made_up) {
		trace->count = count;
		trace->requests = malloc(count * sizeof(*trace->requests));
		if (!trace->requests)
			return -ENOMEM;
		make_up(trace, nodes, seed);
	} else {
		error = read_file(trace, nodes, why, why_bytes);
	}
	error = error ?: normalize(trace, why, why_bytes);
	if (error)
		lb_trace_free(trace);
	return error;
}

void lb_trace_free(struct lb_trace *trace)
{
	free(trace->requests);
	trace->requests = NULL;
}
