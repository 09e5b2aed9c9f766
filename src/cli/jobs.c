/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo jobs, virgo kill */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/job.h"

static const char *text_of(const json_t *job, const char *name)
{
	const char *text = json_string_value(json_object_get(job, name));

	return text ? text : "";
}

/* "running", or how it ended and with what. */
static const char *state_of(const json_t *job, char *text, size_t text_bytes)
{
	if (json_object_get(job, "how"))
		(void)snprintf(text, text_bytes, "%s %d", text_of(job, "how"),
			       (int)json_integer_value(json_object_get(job, "code")));
	else
		(void)snprintf(text, text_bytes, "%s", text_of(job, "state"));
	return text;
}

static void print_job(const char *node, const json_t *job)
{
	char name[80], state[32], ran[16], written[16];

	(void)snprintf(name, sizeof(name), "%s/%llx", node, strtoull(text_of(job, "job"), NULL, 16));
	printf("%-30s %-14s %9s %10s %s\n", name, state_of(job, state, sizeof(state)),
	       cli_duration(ran, sizeof(ran), 1e3 * (double)json_integer_value(json_object_get(job, "run_us"))),
	       cli_bytes(written, sizeof(written), (double)json_integer_value(json_object_get(job, "output_bytes"))),
	       text_of(job, "name"));
}

const char *cli_cpu_node(struct cli *cli, unsigned int node)
{
	const char *address = virgo_cpu_node(cli->virgo, node), *other;

	for (unsigned int i = 0; address && i < node; i++)
		if ((other = virgo_cpu_node(cli->virgo, i)) && strcmp(other, address) == 0)
			return NULL;
	return address;
}

json_t *cli_jobs_of(struct cli *cli, const char *node, int *ret_error)
{
	char *text;
	json_t *list;

	*ret_error = virgo_jobs(cli->virgo, node, &text);
	if (*ret_error)
		return NULL;
	list = json_loads(text, 0, NULL);
	free(text);
	if (!list)
		*ret_error = -EPROTO;
	return list;
}

static int list_node(struct cli *cli, const char *node, bool all, json_t *nodes)
{
	json_t *list, *job;
	size_t index;
	int error;

	list = cli_jobs_of(cli, node, &error);
	if (!list) {
		if (cli->json)
			(void)json_array_append_new(nodes, json_pack("{s:s, s:s, s:s}", "node", node, "error",
								     virgo_strerror(error), "text",
								     virgo_error_text(cli->virgo)));
		else
			fprintf(stderr, "virgo: %s: %s\n", node, virgo_error_text(cli->virgo));
		return cli_exit_of(error);
	}
	for (index = json_array_size(list); index > 0; index--)
		if (!all && !json_is_true(json_object_get(json_array_get(list, index - 1), "mine")))
			(void)json_array_remove(list, index - 1);
	if (cli->json) {
		(void)json_array_append_new(nodes, json_pack("{s:s, s:o}", "node", node, "jobs", list));
		return CLI_OK;
	}
	json_array_foreach(list, index, job) print_job(node, job);
	json_decref(list);
	return CLI_OK;
}

enum { JOBS_ALL = 256 };
static const struct option jobs_options[] = { { "all", no_argument, NULL, JOBS_ALL }, { NULL, 0, NULL, 0 } };

static bool jobs_option(void *context, int option, const char *value)
{
	(void)option;
	(void)value;
	*(bool *)context = true;
	return true;
}

int cli_jobs(struct cli *cli, int argc, char **argv)
{
	bool all = false;
	int first = cli_parse(cli, argc, argv, jobs_options, jobs_option, &all, 0, -1), code = CLI_OK, one;
	const char *node;
	json_t *nodes;

	if (first < 0)
		return cli_parse_exit(first);
	cli_job_owner(cli);
	code = cli_connect(cli);
	if (code)
		return code;
	nodes = json_array();
	if (!cli->json)
		printf("%-30s %-14s %9s %10s %s\n", "job", "state", "time", "output", "command");
	for (unsigned int i = 0; first == argc && i < virgo_nodes(cli->virgo); i++)
		if ((node = cli_cpu_node(cli, i))) {
			one = list_node(cli, node, all, nodes);
			code = one > code ? one : code;
		}
	for (int i = first; i < argc; i++) {
		one = list_node(cli, argv[i], all, nodes);
		code = one > code ? one : code;
	}
	if (cli->json)
		(void)cli_print_json(json_pack("{s:b, s:O}", "ok", code == CLI_OK, "nodes", nodes));
	json_decref(nodes);
	return code;
}

/* ---- kill -------------------------------------------------------------------------------------------------------- */

static const struct option kill_options[] = { { "signal", required_argument, NULL, 's' }, { NULL, 0, NULL, 0 } };

static bool kill_option(void *context, int option, const char *value)
{
	(void)option;
	return (*(int *)context = cli_signal_number(value)) > 0;
}

int cli_kill(struct cli *cli, int argc, char **argv)
{
	int signal = 0, first = cli_parse(cli, argc, argv, kill_options, kill_option, &signal, 1, -1), code = CLI_OK,
	    error, one;
	char node[256];
	__u64 number;

	if (first < 0)
		return cli_parse_exit(first);
	cli_job_owner(cli);
	code = cli_connect(cli);
	if (code)
		return code;
	for (int i = first; i < argc; i++) {
		if (!cli_job_name(argv[i], node, sizeof(node), &number)) {
			code = cli_complain(cli, CLI_USAGE,
					    "\"%s\" is no job: want NODE/NUMBER, as virgo jobs shows it", argv[i]);
			continue;
		}
		error = virgo_jobs_kill(cli->virgo, node, number, signal);
		one = error ? cli_fail(cli, error, argv[i]) : CLI_OK;
		code = one > code ? one : code;
	}
	if (cli->json && code == CLI_OK)
		(void)cli_print_json(json_pack("{s:b}", "ok", 1));
	return code;
}
