// SPDX-License-Identifier: GPL-3.0-or-later
/* bench-load: load a RESP, memcached or echo server over TCP and print what came of it as one line of JSON. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "engine.h"

enum { OPTION_FILL = 256, OPTION_SPIN, OPTION_CPU, OPTION_WARMUP, OPTION_ZIPF, OPTION_PING, OPTION_SEED };

static const struct argp_option OPTIONS[] = {
	{ "address", 'a', "ADDRESS", 0, "server's address (127.0.0.1)", 0 },
	{ "port", 'p', "PORT", 0, "server's port", 0 },
	{ "protocol", 'P', "NAME", 0, "resp, memcache or echo (resp)", 0 },
	{ "connections", 'c', "N", 0, "connections (50)", 0 },
	{ "pipeline", 'n', "N", 0, "requests in flight on a connection (1)", 0 },
	{ "keys", 'k', "N", 0, "number of keys (1048576)", 0 },
	{ "value", 'v', "BYTES", 0, "length of a value (64)", 0 },
	{ "set", 's', "PERMILLE", 0, "share of SETs in 1000 requests, the rest GETs (0)", 0 },
	{ "rate", 'r', "N", 0, "open loop: requests a second", 0 },
	{ "duration", 'd', "SECONDS", 0, "measured time (3)", 0 },
	{ "server", 'S', "PID", 0, "also report this process's processor time", 0 },
	{ "zipf", OPTION_ZIPF, "EXPONENT", 0, "choose keys by Zipf's law, 0 < EXPONENT < 1 (uniform)", 0 },
	{ "ping", OPTION_PING, NULL, 0, "PING instead of GET and SET", 0 },
	{ "fill", OPTION_FILL, NULL, 0, "SET every key once and stop", 0 },
	{ "spin", OPTION_SPIN, NULL, 0, "never sleep", 0 },
	{ "cpu", OPTION_CPU, "N", 0, "run on this processor", 0 },
	{ "warmup", OPTION_WARMUP, "SECONDS", 0, "time before measuring (0.3)", 0 },
	{ "seed", OPTION_SEED, "N", 0, "of the random choice of keys", 0 },
	{ 0 },
};

struct options {
	struct vg_bench_load load;
	unsigned long keys;
	double zipf;
	int cpu;
};

static unsigned long number(struct argp_state *state, const char *text, unsigned long min, unsigned long max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value < min || value > max)
		argp_error(state, "'%s' is not a number from %lu to %lu", text, min, max);
	return value;
}

static double decimal(struct argp_state *state, const char *text, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || value < 0 || value > max)
		argp_error(state, "'%s' is not a number from 0 to %g", text, max);
	return value;
}

static enum vg_bench_proto protocol(struct argp_state *state, const char *name)
{
	static const char *const names[] = { [VG_BENCH_RESP] = "resp", [VG_BENCH_MEMCACHE] = "memcache",
					     [VG_BENCH_ECHO] = "echo" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return (enum vg_bench_proto)i;
	argp_error(state, "unknown protocol '%s'", name);
	return VG_BENCH_RESP;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct options *options = state->input;
	struct vg_bench_load *load = &options->load;

	switch (key) {
	case 'a': load->address = text; break;
	case 'p': load->port = (__u16)number(state, text, 1, 65535); break;
	case 'P': load->proto = protocol(state, text); break;
	case 'c': load->connections = (__u32)number(state, text, 1, VG_BENCH_CONNECTIONS_MAX); break;
	case 'n': load->pipeline = (__u32)number(state, text, 1, VG_BENCH_PIPELINE_MAX); break;
	case 'k': options->keys = number(state, text, 1, 1u << 28); break;
	case 'v': load->value_length = number(state, text, 0, 1u << 26); break;
	case 's': load->set_permille = (__u32)number(state, text, 0, 1000); break;
	case 'r': load->rate_per_second = number(state, text, 1, 100000000); break;
	case 'd': load->duration_s = decimal(state, text, 86400); break;
	case 'S': load->server = (pid_t)number(state, text, 1, 1u << 22); break;
	case OPTION_ZIPF: options->zipf = decimal(state, text, 0.9999); break;
	case OPTION_PING: load->ping = true; break;
	case OPTION_FILL: load->fill = true; break;
	case OPTION_SPIN: load->spin = true; break;
	case OPTION_CPU: options->cpu = (int)number(state, text, 0, 1023); break;
	case OPTION_WARMUP: load->warmup_s = decimal(state, text, 3600); break;
	case OPTION_SEED: load->seed = number(state, text, 0, ~0ul); break;
	case ARGP_KEY_END:
		if (!load->port)
			argp_error(state, "no --port");
		if (load->ping && (load->set_permille || load->fill || load->proto == VG_BENCH_MEMCACHE))
			argp_error(state, "--ping goes with neither --set, --fill nor memcache");
		if (load->proto == VG_BENCH_ECHO && load->set_permille % 1000)
			argp_error(state, "an echo needs requests of one length: --set 0 or 1000");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void print_result(const struct vg_bench_load *load, const struct vg_bench_result *result)
{
	double requests = result->requests ? (double)result->requests : 1;
	double loader_ns = (double)(result->loader_cpu_ns - result->idle_polls_ns);

	printf("{\"requests\": %llu, \"seconds\": %.4f, \"rate\": %.1f, \"hits\": %llu, \"misses\": %llu, "
	       "\"errors\": %llu, \"wrong\": %llu, ",
	       result->requests, result->seconds, result->seconds > 0 ? (double)result->requests / result->seconds : 0,
	       result->hits, result->misses, result->errors, result->wrong);
	printf("\"loop\": \"%s\", \"behind_max\": %llu, ", load->rate_per_second ? "open" : "closed",
	       result->behind_max);
	printf("\"p50_ns\": %llu, \"p99_ns\": %llu, \"p999_ns\": %llu, \"max_ns\": %llu, ",
	       vg_histogram_quantile(&result->latency, 0.5), vg_histogram_quantile(&result->latency, 0.99),
	       vg_histogram_quantile(&result->latency, 0.999), result->latency.max_ns);
	printf("\"loader_cpu_share\": %.4f, \"loader_cpu_ns\": %.1f, ", loader_ns / 1e9 / result->seconds,
	       loader_ns / requests);
	printf("\"server_cpu_ns\": %.1f, \"server_cpu_share\": %.4f}\n", (double)result->server_cpu_ns / requests,
	       (double)result->server_cpu_ns / 1e9 / result->seconds);
}

int main(int argc, char **argv)
{
	static struct vg_bench_result result;
	struct options options = {
		.load = { .address = "127.0.0.1", .connections = 50, .pipeline = 1, .value_length = 64, .warmup_s = 0.3,
			  .duration_s = 3, .seed = 0x9E3779B97F4A7C15ull },
		.keys = 1u << 20,
		.cpu = -1,
	};
	const struct argp argp = { OPTIONS, parse_option, NULL, "Load a server over TCP; prints one line of JSON.",
				   NULL, NULL, NULL };
	int err;

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	vg_bench_choice_init(&options.load.choice, (__u32)options.keys, options.zipf);
	err = vg_bench_pin(options.cpu);
	if (!err)
		err = vg_bench_run(&options.load, &result);
	if (err) {
		fprintf(stderr, "bench-load: %s port %u: %s\n", options.load.address, options.load.port,
			strerror(-err));
		return EXIT_FAILURE;
	}
	if (options.load.fill)
		printf("{\"filled\": %lu, \"errors\": %llu}\n", options.keys, result.errors);
	else
		print_result(&options.load, &result);
	return result.errors && options.load.fill ? EXIT_FAILURE : EXIT_SUCCESS;
}
