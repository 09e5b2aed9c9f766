/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo ping */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/number.h"
#include "cli/cli.h"

enum { OPTION_INTERVAL = 256 };

struct ping_options {
	__u64 count, interval_ms;
};

static bool ping_option(void *context, int option, const char *value)
{
	struct ping_options *options = context;

	if (option == 'c')
		return vg_number_parse(value, ~0ULL, &options->count) == 0;
	return cli_span(value, &options->interval_ms);
}

static void print_answer(struct cli *cli, const char *address, __u64 elapsed_ns, const struct virgo_load *load)
{
	char elapsed[24], service[24], delay[24];

	if (cli->json) {
		(void)cli_print_json(json_pack("{s:b, s:s, s:I, s:{s:I, s:I, s:I, s:i}}", "ok", 1, "node", address,
					       "elapsed_ns", (json_int_t)elapsed_ns, "load", "in_flight",
					       (json_int_t)load->in_flight, "service_ns", (json_int_t)load->service_ns,
					       "run_queue_delay_ns", (json_int_t)load->run_queue_delay_ns,
					       "memory_free_permille", load->memory_free_permille));
		return;
	}
	printf("%-24s %10s   in flight %u, service %s, run queue %s, memory free %.1f %%\n", address,
	       cli_duration(elapsed, sizeof(elapsed), (double)elapsed_ns), load->in_flight,
	       cli_duration(service, sizeof(service), load->service_ns),
	       load->run_queue_delay_ns ? cli_duration(delay, sizeof(delay), load->run_queue_delay_ns) : "-",
	       load->memory_free_permille / 10.0);
}

/* Every node known so far; those that answers have taught join in. Returns the worst exit code. */
static int round_of_pings(struct cli *cli)
{
	int worst = CLI_OK;

	for (unsigned int i = 0; i < virgo_nodes(cli->virgo); i++) {
		struct virgo_load load;
		uint64_t elapsed_ns;
		int error = virgo_ping(cli->virgo, i, &elapsed_ns, &load);

		if (error)
			worst = cli_fail(cli, error, virgo_node_address(cli->virgo, i));
		else
			print_answer(cli, virgo_node_address(cli->virgo, i), elapsed_ns, &load);
	}
	(void)fflush(stdout);
	return worst;
}

int cli_ping(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "count", required_argument, NULL, 'c' },
					     { "interval", required_argument, NULL, OPTION_INTERVAL },
					     { 0 } };
	struct ping_options options = { .count = 1, .interval_ms = 1000 };
	int first = cli_parse(cli, argc, argv, own, ping_option, &options, 0, 0), code, worst = CLI_OK;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	for (__u64 i = 0; !options.count || i < options.count; i++) {
		struct timespec pause = { (time_t)(options.interval_ms / 1000),
					  (long)(options.interval_ms % 1000) * 1000000 };

		if (i)
			(void)nanosleep(&pause, NULL);
		code = round_of_pings(cli);
		worst = code > worst ? code : worst;
	}
	return worst;
}
