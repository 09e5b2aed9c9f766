/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * virgo bench: how fast the pool answers this client. Closed loop: every thread keeps its window full. Open loop
 * (--rate): requests start when they are due, and their time counts from then, so that a stall is not hidden by asking
 * less. Every answer to a get is checked against what was set.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/prng.h"
#include "cli/cli.h"

#define KEY_BYTES_MAX 128
#define VALUE_BYTES_MAX (1u << 20)
#define STEPS 32	     /* parts of a power of two: times are known to 3 % */
#define BUCKETS (STEPS * 44) /* up to some hours */
#define WINDOW_MAX VIRGO_WINDOW_MAX

struct settings {
	__u64 seconds, rate, keys, value_bytes, sets_percent, threads, window;
	const char *prefix;
	bool no_fill;
};

struct worker;

/* One place of the window: the request that is in it. */
struct slot {
	struct worker *worker;
	char key[KEY_BYTES_MAX];
	size_t key_length;
	__u64 due_ns;
	bool get, filling;
	struct slot *next; /* free ones */
};

struct worker {
	struct cli cli;
	const struct settings *settings;
	unsigned int number;
	pthread_t thread;
	__u64 random;
	struct slot *slots, *free;
	char *value; /* a key, repeated: the value of that key starts with it */
	__u64 gets, sets, misses, errors, wrong, filled, elapsed_ns, most_ns;
	int first_error;
	char first_text[256];
	__u64 histogram[BUCKETS];
	struct virgo_counters counters;
};

/* ---- times ---------------------------------------------------------------------------------------------------------
 */

static unsigned int bucket_of(__u64 ns)
{
	unsigned int power, bucket;

	if (ns < STEPS)
		return (unsigned int)ns;
	power = 63 - (unsigned int)__builtin_clzll(ns);
	bucket = (power - 4) * STEPS + (unsigned int)(ns >> (power - 5) & (STEPS - 1));
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The upper edge of a bucket. */
static __u64 bucket_ns(unsigned int bucket)
{
	if (bucket < STEPS)
		return bucket;
	return ((__u64)(STEPS + bucket % STEPS) + 1) << (bucket / STEPS - 1);
}

static __u64 percentile_ns(const struct worker *sum, double share)
{
	__u64 total = 0, seen = 0;

	for (unsigned int i = 0; i < BUCKETS; i++)
		total += sum->histogram[i];
	for (unsigned int i = 0; i < BUCKETS; i++) {
		seen += sum->histogram[i];
		if (total && (double)seen >= share * (double)total)
			return bucket_ns(i) < sum->most_ns ? bucket_ns(i) : sum->most_ns;
	}
	return 0;
}

/* ---- requests -------------------------------------------------------------------------------------------------------
 */

static void on_result(void *context, const struct virgo_result *result)
{
	struct slot *slot = context;
	struct worker *worker = slot->worker;
	__u64 ns = cli_now_ns() - slot->due_ns, check = worker->settings->value_bytes;

	slot->next = worker->free;
	worker->free = slot;
	if (result->error && result->error != -ENOENT) {
		if (!worker->errors++) {
			worker->first_error = result->error;
			(void)snprintf(worker->first_text, sizeof(worker->first_text), "%s",
				       result->text ? result->text : "");
		}
		return;
	}
	if (slot->filling) {
		worker->filled++;
		return;
	}
	worker->histogram[bucket_of(ns)]++;
	worker->most_ns = ns > worker->most_ns ? ns : worker->most_ns;
	worker->gets += slot->get;
	worker->sets += !slot->get;
	check = check < slot->key_length ? check : slot->key_length;
	if (result->error)
		worker->misses++;
	else if (slot->get &&
		 (result->length != worker->settings->value_bytes || memcmp(result->data, slot->key, check)))
		worker->wrong++;
}

static void submit(struct worker *worker, __u64 key_number, bool get, bool filling, __u64 due_ns)
{
	struct slot *slot = worker->free;
	struct virgo_request request = { .operation = get ? VIRGO_GET : VIRGO_SET, .fn = on_result, .context = slot };
	int error;

	worker->free = slot->next;
	slot->key_length = (size_t)snprintf(slot->key, sizeof(slot->key), "%s%010llu", worker->settings->prefix,
					    (unsigned long long)key_number);
	slot->get = get;
	slot->filling = filling;
	slot->due_ns = due_ns;
	request.key = slot->key;
	request.key_length = slot->key_length;
	if (!get) {
		/* Each place of the window has its own value, as it must stay until the result is there. */
		char *value = worker->value + (size_t)(slot - worker->slots) * worker->settings->value_bytes;
		size_t head = worker->settings->value_bytes < slot->key_length ? worker->settings->value_bytes
									       : slot->key_length;

		memcpy(value, slot->key, head);
		request.data = value;
		request.length = worker->settings->value_bytes;
	}
	/* A place is free, but a change that has no answer yet may hold the window back. */
	while ((error = virgo_submit(worker->cli.virgo, &request)) == -EAGAIN)
		(void)virgo_wait(worker->cli.virgo, 1, -1);
	if (error)
		on_result(slot, &(struct virgo_result){ .error = error });
}

static void drain(struct worker *worker)
{
	while (virgo_pending(worker->cli.virgo))
		(void)virgo_wait(worker->cli.virgo, 0, -1);
}

static bool hopeless(const struct worker *worker)
{
	return worker->first_error == -EHOSTUNREACH || worker->first_error == -EACCES;
}

static void fill(struct worker *worker)
{
	const struct settings *settings = worker->settings;
	struct cli_progress progress;

	cli_progress_start(&progress, "filling", settings->keys / settings->threads, false);
	progress.terminal = progress.terminal && worker->number == 0;
	for (__u64 key = worker->number; key < settings->keys && !hopeless(worker); key += settings->threads) {
		while (!worker->free)
			(void)virgo_wait(worker->cli.virgo, 1, -1);
		submit(worker, key, false, true, cli_now_ns());
		cli_progress_set(&progress, worker->filled);
	}
	drain(worker);
	cli_progress_end(&progress);
}

static void measure(struct worker *worker)
{
	const struct settings *settings = worker->settings;
	const __u64 started_ns = cli_now_ns(), end_ns = started_ns + settings->seconds * 1000000000ULL;
	const double gap_ns = settings->rate ? 1e9 * (double)settings->threads / (double)settings->rate : 0;
	__u64 now_ns = started_ns, asked = 0;

	while (now_ns < end_ns && !hopeless(worker)) {
		__u64 due_ns = settings->rate ? started_ns + (__u64)((double)asked * gap_ns) : now_ns;

		if (worker->free && due_ns <= now_ns) {
			__u64 drawn = vg_prng_next(&worker->random);

			submit(worker, (drawn >> 32) % settings->keys, (drawn & 0xffff) % 100 >= settings->sets_percent,
			       false, due_ns);
			asked++;
		} else if (worker->free) {
			/* Between two requests of an open loop: answers are taken as they come, to the microsecond. */
			(void)virgo_poll(worker->cli.virgo);
		} else {
			(void)virgo_wait(worker->cli.virgo, 1, -1);
		}
		now_ns = cli_now_ns();
	}
	drain(worker);
	worker->elapsed_ns = cli_now_ns() - started_ns;
}

/* ---- threads ------------------------------------------------------------------------------------------------------
 */

static int worker_prepare(struct worker *worker, const struct cli *cli, const struct settings *settings,
			  unsigned int number)
{
	worker->cli = *cli;
	worker->cli.window = settings->window;
	worker->settings = settings;
	worker->number = number;
	worker->random = 0x9e3779b97f4a7c15ULL * (number + 1) ^ cli_now_ns();
	worker->random = worker->random ? worker->random : 1;
	worker->slots = calloc(settings->window, sizeof(*worker->slots));
	worker->value = malloc(settings->window * settings->value_bytes + 1);
	if (!worker->slots || !worker->value)
		return cli_complain(&worker->cli, CLI_OTHER, "out of memory");
	memset(worker->value, 'v', settings->window * settings->value_bytes);
	for (__u64 i = 0; i < settings->window; i++) {
		worker->slots[i].worker = worker;
		worker->slots[i].next = worker->free;
		worker->free = &worker->slots[i];
	}
	return cli_connect(&worker->cli);
}

static void *worker_fill(void *context)
{
	fill(context);
	return NULL;
}

static void *worker_measure(void *context)
{
	measure(context);
	return NULL;
}

/* Run one phase on all threads; the first runs on ours. */
static int run_phase(struct worker *workers, __u64 count, void *(*phase)(void *worker))
{
	__u64 started = 1;
	int error = 0;

	for (; started < count && !error; started++)
		error = pthread_create(&workers[started].thread, NULL, phase, &workers[started]);
	if (error)
		started--;
	phase(&workers[0]);
	for (__u64 i = 1; i < started; i++)
		(void)pthread_join(workers[i].thread, NULL);
	return -error;
}

static void add_up(struct worker *sum, struct worker *workers, __u64 count)
{
	for (__u64 i = 0; i < count; i++) {
		struct worker *worker = &workers[i];

		virgo_counters(worker->cli.virgo, &worker->counters);
		sum->gets += worker->gets;
		sum->sets += worker->sets;
		sum->misses += worker->misses;
		sum->errors += worker->errors;
		sum->wrong += worker->wrong;
		sum->first_error = sum->first_error ? sum->first_error : worker->first_error;
		sum->elapsed_ns = worker->elapsed_ns > sum->elapsed_ns ? worker->elapsed_ns : sum->elapsed_ns;
		sum->most_ns = worker->most_ns > sum->most_ns ? worker->most_ns : sum->most_ns;
		sum->counters.datagrams_sent += worker->counters.datagrams_sent;
		sum->counters.datagrams_resent += worker->counters.datagrams_resent;
		sum->counters.stream_requests += worker->counters.stream_requests;
		sum->counters.redirected += worker->counters.redirected;
		for (unsigned int b = 0; b < BUCKETS; b++)
			sum->histogram[b] += worker->histogram[b];
	}
}

/* ---- the report ----------------------------------------------------------------------------------------------------
 */

static int report_json(const struct settings *settings, const struct worker *sum, double rate)
{
	json_t *object =
		json_pack("{s:b, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:I}", "ok", !sum->errors && !sum->wrong,
			  "requests", (json_int_t)(sum->gets + sum->sets), "seconds", (double)sum->elapsed_ns / 1e9,
			  "rate", rate, "gets", (json_int_t)sum->gets, "sets", (json_int_t)sum->sets, "misses",
			  (json_int_t)sum->misses, "errors", (json_int_t)sum->errors, "wrong", (json_int_t)sum->wrong);

	if (!object)
		return CLI_OTHER;
	(void)json_object_update_new(
		object, json_pack("{s:I, s:I, s:I, s:I}", "p50_ns", (json_int_t)percentile_ns(sum, 0.5), "p99_ns",
				  (json_int_t)percentile_ns(sum, 0.99), "p999_ns",
				  (json_int_t)percentile_ns(sum, 0.999), "max_ns", (json_int_t)sum->most_ns));
	(void)json_object_update_new(object,
				     json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "datagrams_sent",
					       (json_int_t)sum->counters.datagrams_sent, "datagrams_resent",
					       (json_int_t)sum->counters.datagrams_resent, "stream_requests",
					       (json_int_t)sum->counters.stream_requests, "wrong_node",
					       (json_int_t)sum->counters.redirected, "threads",
					       (json_int_t)settings->threads, "window", (json_int_t)settings->window,
					       "value_bytes", (json_int_t)settings->value_bytes));
	return cli_print_json(object);
}

static void report_text(const struct settings *settings, const struct worker *sum, double rate)
{
	char p50[24], p99[24], p999[24], most[24];

	printf("requests  %llu in %.2f s: %.0f a second%s\n", (unsigned long long)(sum->gets + sum->sets),
	       (double)sum->elapsed_ns / 1e9, rate, settings->rate ? " (open loop)" : "");
	printf("of these  %llu gets, %llu of them found nothing, %llu sets, %llu threads, window %llu, values of %llu "
	       "bytes\n",
	       (unsigned long long)sum->gets, (unsigned long long)sum->misses, (unsigned long long)sum->sets,
	       (unsigned long long)settings->threads, (unsigned long long)settings->window,
	       (unsigned long long)settings->value_bytes);
	printf("time      p50 %s, p99 %s, p99.9 %s, longest %s\n",
	       cli_duration(p50, sizeof(p50), (double)percentile_ns(sum, 0.5)),
	       cli_duration(p99, sizeof(p99), (double)percentile_ns(sum, 0.99)),
	       cli_duration(p999, sizeof(p999), (double)percentile_ns(sum, 0.999)),
	       cli_duration(most, sizeof(most), (double)sum->most_ns));
	printf("datagrams %llu sent, %llu of them again; %llu requests over TCP\n",
	       (unsigned long long)sum->counters.datagrams_sent, (unsigned long long)sum->counters.datagrams_resent,
	       (unsigned long long)sum->counters.stream_requests);
	printf("errors    %llu, wrong values %llu\n", (unsigned long long)sum->errors, (unsigned long long)sum->wrong);
}

/* ---- the command ---------------------------------------------------------------------------------------------------
 */

enum {
	OPTION_SECONDS = 256,
	OPTION_RATE,
	OPTION_KEYS,
	OPTION_VALUE,
	OPTION_SETS,
	OPTION_THREADS,
	OPTION_WINDOW,
	OPTION_PREFIX,
	OPTION_NO_FILL,
	OPTION_TCP
};

struct parsed {
	struct cli *cli;
	struct settings settings;
};

static bool number_in(const char *text, __u64 minimum, __u64 maximum, __u64 *ret_number)
{
	return vg_number_parse(text, maximum, ret_number) == 0 && *ret_number >= minimum;
}

static bool bench_option(void *context, int option, const char *value)
{
	struct parsed *parsed = context;
	struct settings *settings = &parsed->settings;

	switch (option) {
	case OPTION_SECONDS:
		return number_in(value, 1, 86400, &settings->seconds);
	case OPTION_RATE:
		return number_in(value, 1, 100000000, &settings->rate);
	case OPTION_KEYS:
		return number_in(value, 1, 1000000000, &settings->keys);
	case OPTION_VALUE:
		return vg_size_parse(value, VALUE_BYTES_MAX, &settings->value_bytes) == 0;
	case OPTION_SETS:
		return number_in(value, 0, 100, &settings->sets_percent);
	case OPTION_THREADS:
		return number_in(value, 1, 256, &settings->threads);
	case OPTION_WINDOW:
		return number_in(value, 1, WINDOW_MAX, &settings->window);
	case OPTION_PREFIX:
		settings->prefix = value;
		return strlen(value) <= KEY_BYTES_MAX - 24;
	case OPTION_NO_FILL:
		settings->no_fill = true;
		return true;
	default:
		parsed->cli->flags |= VIRGO_NO_UDP;
		return true;
	}
}

static int run(struct cli *cli, const struct settings *settings, struct worker *workers, struct worker *sum)
{
	const struct worker *failed = NULL;
	int code = CLI_OK, error = 0;
	double rate;

	for (__u64 i = 0; !code && i < settings->threads; i++)
		code = worker_prepare(&workers[i], cli, settings, (unsigned int)i);
	if (code)
		return code;
	if (!settings->no_fill)
		error = run_phase(workers, settings->threads, worker_fill);
	for (__u64 i = 0; i < settings->threads && !failed; i++)
		failed = workers[i].first_error ? &workers[i] : NULL;
	if (!error && !failed)
		error = run_phase(workers, settings->threads, worker_measure);
	if (error || failed)
		return cli_fail_said(cli, error ? error : failed->first_error, "bench",
				     error ? "" : failed->first_text);
	add_up(sum, workers, settings->threads);
	rate = sum->elapsed_ns ? (double)(sum->gets + sum->sets) * 1e9 / (double)sum->elapsed_ns : 0;
	if (cli->json)
		(void)report_json(settings, sum, rate);
	else
		report_text(settings, sum, rate);
	if (sum->errors)
		return cli_exit_of(sum->first_error) ? cli_exit_of(sum->first_error) : CLI_OTHER;
	return sum->wrong ? CLI_NOT_FOUND : CLI_OK;
}

int cli_bench(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "seconds", required_argument, NULL, OPTION_SECONDS },
					     { "rate", required_argument, NULL, OPTION_RATE },
					     { "keys", required_argument, NULL, OPTION_KEYS },
					     { "value-size", required_argument, NULL, OPTION_VALUE },
					     { "sets", required_argument, NULL, OPTION_SETS },
					     { "threads", required_argument, NULL, OPTION_THREADS },
					     { "window", required_argument, NULL, OPTION_WINDOW },
					     { "prefix", required_argument, NULL, OPTION_PREFIX },
					     { "no-fill", no_argument, NULL, OPTION_NO_FILL },
					     { "tcp", no_argument, NULL, OPTION_TCP },
					     { 0 } };
	struct parsed parsed = { .cli = cli,
				 .settings = { .seconds = 5,
					       .keys = 100000,
					       .value_bytes = 64,
					       .sets_percent = 10,
					       .threads = 1,
					       .window = 32,
					       .prefix = "bench:" } };
	int first = cli_parse(cli, argc, argv, own, bench_option, &parsed, 0, 0), code = CLI_OTHER;
	struct worker *workers, *sum;

	if (first < 0)
		return cli_parse_exit(first);
	workers = calloc(parsed.settings.threads, sizeof(*workers));
	sum = calloc(1, sizeof(*sum));
	if (workers && sum)
		code = run(cli, &parsed.settings, workers, sum);
	for (__u64 i = 0; workers && i < parsed.settings.threads; i++) {
		virgo_disconnect(workers[i].cli.virgo);
		free(workers[i].slots);
		free(workers[i].value);
	}
	free(workers);
	free(sum);
	return code;
}
