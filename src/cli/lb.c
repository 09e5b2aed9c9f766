/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo lb sim: which policy is good, found out before it matters. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "cli/cli.h"
#include "cli/lb.h"

#define NODES_DEFAULT "4x1@1,3x2@1,3x4@1.5"
#define LOADS_DEFAULT "30,50,70,80,90,95"
#define REQUESTS_DEFAULT 100000
#define REQUESTS_MIN 100
#define MS_MAX 60000

struct settings {
	const char *nodes, *trace, *loads, *policies, *svg;
	__u64 requests, clients, probes, heartbeat_ms, delay_us, seed;
	bool no_ask;
};

enum own_option {
	OPTION_NODES = 256,
	OPTION_TRACE,
	OPTION_LOADS,
	OPTION_POLICIES,
	OPTION_SVG,
	OPTION_REQUESTS,
	OPTION_CLIENTS,
	OPTION_PROBES,
	OPTION_HEARTBEAT,
	OPTION_DELAY,
	OPTION_SEED,
	OPTION_NO_ASK,
};

static const struct option own_options[] = {
	{ "nodes", required_argument, NULL, OPTION_NODES },
	{ "trace", required_argument, NULL, OPTION_TRACE },
	{ "loads", required_argument, NULL, OPTION_LOADS },
	{ "policies", required_argument, NULL, OPTION_POLICIES },
	{ "svg", required_argument, NULL, OPTION_SVG },
	{ "requests", required_argument, NULL, OPTION_REQUESTS },
	{ "clients", required_argument, NULL, OPTION_CLIENTS },
	{ "probes", required_argument, NULL, OPTION_PROBES },
	{ "heartbeat-ms", required_argument, NULL, OPTION_HEARTBEAT },
	{ "delay-us", required_argument, NULL, OPTION_DELAY },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "no-ask", no_argument, NULL, OPTION_NO_ASK },
	{ NULL },
};

static bool number_within(const char *text, __u64 min, __u64 max, __u64 *ret_number)
{
	__u64 number;

	if (vg_size_parse(text, max, &number) || number < min)
		return false;
	*ret_number = number;
	return true;
}

static bool on_option(void *context, int option, const char *value)
{
	struct settings *settings = context;

	switch (option) {
	case OPTION_NODES:
		settings->nodes = value;
		return true;
	case OPTION_TRACE:
		settings->trace = value;
		return true;
	case OPTION_LOADS:
		settings->loads = value;
		return true;
	case OPTION_POLICIES:
		settings->policies = value;
		return true;
	case OPTION_SVG:
		settings->svg = value;
		return true;
	case OPTION_REQUESTS:
		return number_within(value, REQUESTS_MIN, LB_REQUESTS_MAX, &settings->requests);
	case OPTION_CLIENTS:
		return number_within(value, 1, LB_CLIENTS_MAX, &settings->clients);
	case OPTION_PROBES:
		return number_within(value, 0, 16, &settings->probes);
	case OPTION_HEARTBEAT:
		return number_within(value, 1, MS_MAX, &settings->heartbeat_ms);
	case OPTION_DELAY:
		return number_within(value, 0, 1000000, &settings->delay_us);
	case OPTION_SEED:
		return number_within(value, 0, ~0ULL >> 1, &settings->seed);
	case OPTION_NO_ASK:
		settings->no_ask = true;
		return true;
	default:
		return false;
	}
}

/* ---- what to simulate ------------------------------------------------------------------------------------------ */

/* "4x1@1,3x2@1": COUNTxCORES@SPEED. */
static bool parse_nodes(const char *text, struct lb_world *world)
{
	while (*text) {
		unsigned int count, cores;
		double speed;
		int length;

		if (sscanf(text, "%5ux%5u@%10lf%n", &count, &cores, &speed, &length) != 3 || !count || !cores ||
		    cores > 1024 || !(speed > 0.001 && speed < 1000) || count > LB_NODES_MAX - world->node_count)
			return false;
		for (unsigned int i = 0; i < count; i++)
			world->nodes[world->node_count++] = (struct lb_node){ cores, speed };
		text += length;
		if (*text == ',' && text[1])
			text++;
		else if (*text)
			return false;
	}
	return world->node_count > 0;
}

/* "50,80,95": percents. */
static bool parse_loads(const char *text, struct lb_study *study)
{
	while (*text) {
		double percent;
		int length;

		if (study->load_count == LB_LOADS_MAX || sscanf(text, "%10lf%n", &percent, &length) != 1 ||
		    !(percent >= 1 && percent <= 99.9))
			return false;
		study->loads[study->load_count++] = percent / 100;
		text += length;
		if (*text == ',' && text[1])
			text++;
		else if (*text)
			return false;
	}
	return study->load_count > 0;
}

static bool parse_policies(const char *text, struct lb_study *study)
{
	char copy[256], *next = copy, *word;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		return false;
	while ((word = strsep(&next, ","))) {
		bool known = false;

		for (int c = 0; c < LB_CHOOSERS; c++) {
			if (strcmp(word, lb_chooser_name(c)) && strcmp(word, "all"))
				continue;
			study->chosen[c] = true;
			known = true;
		}
		if (!known)
			return false;
	}
	return true;
}

/* ---- what came out --------------------------------------------------------------------------------------------- */

static const int expectation_requests[] = { 1, 2, 3, 5, 10, 100, 1000 };
#define EXPECTATIONS (sizeof(expectation_requests) / sizeof(expectation_requests[0]))

static json_t *to_json(const struct lb_study *study)
{
	json_t *results = json_array(), *expectations = json_array();
	const struct lb_world *world = study->world;

	for (int c = 0; c < LB_CHOOSERS; c++) {
		for (int l = 0; study->chosen[c] && l < study->load_count; l++) {
			const struct lb_result *result = lb_result_of(study, c, l);
			json_t *requests = json_array();

			for (__u32 n = 0; n < world->node_count; n++)
				json_array_append_new(requests, json_integer(result->requests[n]));
			json_array_append_new(results,
					      json_pack("{s:s, s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "policy",
							lb_chooser_name(c), "ideal", c >= VG_POLICY_MAX, "load",
							study->loads[l], "mean", result->mean, "p50", result->p50,
							"p99", result->p99, "p999", result->p999, "utilization",
							result->utilization, "requests_by_node", requests));
		}
	}
	for (size_t i = 0; i < EXPECTATIONS; i++) {
		__u32 k = (__u32)expectation_requests[i];

		json_array_append_new(expectations,
				      json_pack("{s:i, s:o, s:f}", "requests", (int)k, "original",
						world->node_count > 1
							? json_real(lb_original_expectation(world->node_count, k))
							: json_null(),
						"true_mean", (double)k / world->node_count));
	}
	return json_pack("{s:b, s:s, s:i, s:i, s:f, s:o, s:o}", "ok", 1, "trace", study->trace->name, "requests",
			 (int)study->trace->count, "nodes", (int)world->node_count, "capacity", lb_capacity(world),
			 "results", results, "expected_requests_per_node", expectations);
}

static void print_table(const struct lb_study *study)
{
	const struct lb_world *world = study->world;

	printf("%s: %u requests over %u nodes of together %.4g cores; slowdown = time to answer / time of service\n\n",
	       study->trace->name, study->trace->count, world->node_count, lb_capacity(world));
	printf("%5s  %-12s %9s %9s %9s %9s  %s\n", "load", "policy", "mean", "p50", "p99", "p99.9", "p99 to ideal jsq");
	for (int l = 0; l < study->load_count; l++) {
		for (int c = 0; c < LB_CHOOSERS; c++) {
			const struct lb_result *result = lb_result_of(study, c, l);

			if (!study->chosen[c])
				continue;
			printf("%4.0f%%  %-12s %9.2f %9.2f %9.2f %9.2f", 100 * study->loads[l], lb_chooser_name(c),
			       result->mean, result->p50, result->p99, result->p999);
			if (study->chosen[LB_IDEAL_JSQ])
				printf("  %.2f", result->p99 / lb_result_of(study, LB_IDEAL_JSQ, l)->p99);
			printf("\n");
		}
		printf("\n");
	}
	printf("jsq and sed know every queue at every moment, which nobody can: join the shortest queue, and the\n"
	       "shortest expected delay.\n\n%10s %22s %14s\n",
	       "requests", "original's expectation", "true mean k/N");
	for (size_t i = 0; i < EXPECTATIONS && world->node_count > 1; i++)
		printf("%10d %22.4f %14.4f\n", expectation_requests[i],
		       lb_original_expectation(world->node_count, (__u32)expectation_requests[i]),
		       (double)expectation_requests[i] / world->node_count);
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

static int simulate(struct cli *cli, struct lb_study *study)
{
	struct cli_progress progress;
	__u64 done = 0, runs = 0;

	for (int c = 0; c < LB_CHOOSERS; c++)
		runs += study->chosen[c] ? (__u64)study->load_count : 0;
	cli_progress_start(&progress, "simulating", runs, false);
	for (int c = 0; c < LB_CHOOSERS; c++) {
		for (int l = 0; study->chosen[c] && l < study->load_count; l++) {
			int error = lb_run(study->world, study->trace, c, study->loads[l], lb_result_of(study, c, l));

			if (error)
				return cli_complain(cli, CLI_OTHER, "%s", strerror(-error));
			cli_progress_set(&progress, ++done);
		}
	}
	cli_progress_end(&progress);
	return CLI_OK;
}

static int study_run(struct cli *cli, struct lb_study *study, const struct settings *settings)
{
	int code, error;

	study->results = calloc((size_t)LB_CHOOSERS * LB_LOADS_MAX, sizeof(*study->results));
	if (!study->results)
		return cli_complain(cli, CLI_OTHER, "out of memory");
	code = simulate(cli, study);
	if (!code && settings->svg) {
		error = lb_chart_write(study, settings->svg);
		if (error)
			code = cli_complain(cli, CLI_OTHER, "%s: %s", settings->svg, strerror(-error));
	}
	if (!code && cli->json)
		code = cli_print_json(to_json(study));
	else if (!code)
		print_table(study);
	free(study->results);
	return code;
}

static int lb_sim(struct cli *cli, const struct settings *settings, struct lb_world *world)
{
	struct lb_study study = { .world = world };
	struct lb_trace trace;
	char why[256] = "out of memory";
	int code;

	if (!parse_nodes(settings->nodes, world))
		return cli_complain(cli, CLI_USAGE, "--nodes %s: want COUNTxCORES@SPEED,... of at most %d nodes",
				    settings->nodes, LB_NODES_MAX);
	if (!parse_loads(settings->loads, &study))
		return cli_complain(cli, CLI_USAGE, "--loads %s: want percents from 1 to 99.9, at most %d of them",
				    settings->loads, LB_LOADS_MAX);
	if (!parse_policies(settings->policies, &study))
		return cli_complain(cli, CLI_USAGE, "--policies %s: not all of them are known", settings->policies);
	world->clients = (__u32)settings->clients;
	world->ask = !settings->no_ask;
	world->probes = (__u32)settings->probes;
	world->heartbeat_s = (double)settings->heartbeat_ms / 1e3;
	world->delay_s = (double)settings->delay_us / 1e6;
	world->seed = settings->seed;
	if (lb_trace_make(&trace, settings->trace, (__u32)settings->requests, world->node_count, settings->seed, why,
			  sizeof(why)))
		return cli_complain(cli, CLI_USAGE, "%s", why);
	study.trace = &trace;
	code = study_run(cli, &study, settings);
	lb_trace_free(&trace);
	return code;
}

int cli_lb(struct cli *cli, int argc, char **argv)
{
	struct settings settings = {
		.nodes = NODES_DEFAULT,
		.trace = "poisson",
		.loads = LOADS_DEFAULT,
		.policies = "all",
		.requests = REQUESTS_DEFAULT,
		.clients = 4,
		.probes = 2,
		.heartbeat_ms = VG_HEARTBEAT_MS,
		.delay_us = 20,
		.seed = 1,
	};
	struct lb_world *world;
	int first = cli_parse(cli, argc, argv, own_options, on_option, &settings, 1, 1), code;

	if (first < 0)
		return cli_parse_exit(first);
	if (strcmp(argv[first], "sim"))
		return cli_complain(cli, CLI_USAGE, "lb %s: the only thing to do is sim", argv[first]);
	world = calloc(1, sizeof(*world));
	if (!world)
		return cli_complain(cli, CLI_OTHER, "out of memory");
	code = lb_sim(cli, &settings, world);
	free(world);
	return code;
}
