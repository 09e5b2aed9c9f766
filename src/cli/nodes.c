/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo nodes: the nodes with their load, and how old what the others have heard of each is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static __u64 number_at(const json_t *object, const char *group, const char *name)
{
	return (__u64)json_integer_value(json_object_get(group ? json_object_get(object, group) : object, name));
}

/* The load part of a node's status, {"address", "node", "load"}, or why there is none; adds to *ret_code. */
static json_t *ask_node(struct cli *cli, unsigned int index, int *ret_code)
{
	const char *address = virgo_node_address(cli->virgo, index);
	char *text;
	int error = virgo_status(cli->virgo, index, &text), code = (int)cli_exit_of(error);
	json_t *status, *node;

	if (error) {
		*ret_code = code > *ret_code ? code : *ret_code;
		return json_pack("{s:s, s:s}", "address", address, "error", virgo_error_text(cli->virgo));
	}
	status = json_loads(text, 0, NULL);
	free(text);
	node = json_pack("{s:s, s:O?, s:O?}", "address", address, "node", json_object_get(status, "node"), "load",
			 json_object_get(status, "load"));
	json_decref(status);
	return node;
}

/* Of all that the others have heard of this node, the oldest: then everybody knows at least so much. */
static double oldest_age(const json_t *nodes, json_int_t number)
{
	double oldest = -1;
	size_t i, j;
	json_t *node, *heard;

	json_array_foreach(nodes, i, node)
	{
		json_array_foreach(json_object_get(json_object_get(node, "load"), "heard"), j, heard)
		{
			const json_t *age = json_object_get(json_object_get(heard, "mem"), "age_s");

			if (age && json_integer_value(json_object_get(heard, "node")) == number &&
			    json_number_value(age) > oldest)
				oldest = json_number_value(age);
		}
	}
	return oldest;
}

static void print_node(const json_t *nodes, const json_t *node)
{
	const json_t *load = json_object_get(node, "load");
	char service[16], job[16], delay[16], age[16] = "-";
	double oldest;

	if (!load) {
		printf("%4s %-22s %s\n", "-", json_string_value(json_object_get(node, "address")),
		       json_string_value(json_object_get(node, "error")) ?: "says nothing of its load");
		return;
	}
	oldest = oldest_age(nodes, json_integer_value(json_object_get(node, "node")));
	if (oldest >= 0)
		(void)cli_duration(age, sizeof(age), oldest * 1e9);
	printf("%4lld %-22s %7llu %9s %6llu %9s %9s %6.1f%% %9s\n", json_integer_value(json_object_get(node, "node")),
	       json_string_value(json_object_get(node, "address")),
	       (unsigned long long)number_at(load, "mem", "in_flight"),
	       cli_duration(service, sizeof(service), (double)number_at(load, "mem", "service_ns")),
	       (unsigned long long)number_at(load, "cpu", "in_flight"),
	       cli_duration(job, sizeof(job), (double)number_at(load, "cpu", "service_ns")),
	       cli_duration(delay, sizeof(delay), (double)number_at(load, NULL, "run_queue_delay_ns")),
	       (double)number_at(load, NULL, "memory_free_permille") / 10, age);
}

/* The cluster's own table as a list for --node; NULL: nobody told. Freed by the caller. */
static char *list_of_table(struct cli *cli)
{
	json_t *table, *each;
	char *text, *list = NULL;
	size_t i, bytes = 0;
	FILE *out;

	if (virgo_topology(cli->virgo, VIRGO_NODE_ANY, &text))
		return NULL;
	table = json_loads(text, 0, NULL);
	free(text);
	out = open_memstream(&list, &bytes);
	json_array_foreach(json_object_get(table, "nodes"), i, each)
	{
		const char *address = json_string_value(json_object_get(each, "address"));
		int port = (int)json_integer_value(json_object_get(each, "port"));

		if (out && address && port > 0)
			fprintf(out, strchr(address, ':') ? "%s[%s]:%d" : "%s%s:%d", bytes || i ? "," : "", address,
				port);
	}
	json_decref(table);
	if (out)
		(void)fclose(out);
	if (list && !list[0]) {
		free(list);
		list = NULL;
	}
	return list;
}

/* Go on with all nodes of the cluster instead of those that were named. */
static int connect_all(struct cli *cli, char **ret_list)
{
	int code = cli_connect(cli);

	*ret_list = code ? NULL : list_of_table(cli);
	if (!*ret_list)
		return code;
	virgo_disconnect(cli->virgo);
	cli->virgo = NULL;
	cli->nodes = *ret_list;
	return cli_connect(cli);
}

int cli_nodes(struct cli *cli, int argc, char **argv)
{
	int first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 0, 0), code;
	json_t *nodes, *node;
	char *list;
	size_t i;

	if (first < 0)
		return cli_parse_exit(first);
	code = connect_all(cli, &list);
	if (code)
		goto out;
	nodes = json_array();
	for (unsigned int n = 0; n < virgo_nodes(cli->virgo); n++)
		(void)json_array_append_new(nodes, ask_node(cli, n, &code));
	if (cli->json) {
		(void)cli_print_json(json_pack("{s:b, s:o}", "ok", code == CLI_OK, "nodes", nodes));
		goto out;
	}
	printf("%4s %-22s %7s %9s %6s %9s %9s %7s %9s\n", "node", "address", "flight", "service", "jobs", "a job",
	       "cpu wait", "free", "heard");
	json_array_foreach(nodes, i, node) print_node(nodes, node);
	json_decref(nodes);
out:
	cli->nodes = NULL;
	free(list);
	return code;
}
