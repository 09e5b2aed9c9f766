/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo status, virgo command */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "virgo/limits.h"

#define DEPTH_MAX 32	    /* of arrays in a reply that is printed; deeper ones are shown as they came */
#define NODES_TEXT_MAX 4096 /* 64 addresses */
#define ADDRESS_TEXT_MAX 96

/* ---- status --------------------------------------------------------------------------------------------------------
 */

static __u64 number_at(const json_t *object, const char *group, const char *name)
{
	if (group)
		object = json_object_get(object, group);
	return (__u64)json_integer_value(json_object_get(object, name));
}

/* One node's state as an object {address, ok, status or error}; *ret_code as for the whole program. */
static json_t *ask_node(struct cli *cli, unsigned int node, int *ret_code)
{
	const char *address = virgo_node_address(cli->virgo, node);
	char *text;
	int error = virgo_status(cli->virgo, node, &text);
	json_t *status;

	*ret_code = cli_exit_of(error);
	if (error)
		return json_pack("{s:s, s:b, s:s}", "address", address, "ok", 0, "error", virgo_error_text(cli->virgo));
	status = json_loads(text, 0, NULL);
	free(text);
	if (status)
		return json_pack("{s:s, s:b, s:o}", "address", address, "ok", 1, "status", status);
	*ret_code = CLI_OTHER;
	return json_pack("{s:s, s:b, s:s}", "address", address, "ok", 0, "error", virgo_strerror(-EPROTO));
}

static bool seen_node(const json_t *nodes, json_int_t number, const char *address)
{
	size_t index;
	json_t *each;

	json_array_foreach(nodes, index, each)
	{
		const json_t *status = json_object_get(each, "status");

		if (status && json_integer_value(json_object_get(status, "node")) == number)
			return true;
		if (strcmp(json_string_value(json_object_get(each, "address")), address) == 0)
			return true;
	}
	return false;
}

/* The addresses of the cluster's nodes that have not been asked yet, as a list for --node. */
static void others_of(struct cli *cli, const json_t *nodes, char *list, size_t list_bytes)
{
	json_t *topology, *each;
	size_t index, at = 0;
	char *text;

	list[0] = '\0';
	if (virgo_topology(cli->virgo, VIRGO_NODE_ANY, &text))
		return;
	topology = json_loads(text, 0, NULL);
	free(text);
	json_array_foreach(json_object_get(topology, "nodes"), index, each)
	{
		const char *address = json_string_value(json_object_get(each, "address"));
		int port = (int)json_integer_value(json_object_get(each, "port"));
		char whole[ADDRESS_TEXT_MAX];

		if (!address || port <= 0)
			continue;
		(void)snprintf(whole, sizeof(whole), strchr(address, ':') ? "[%s]:%d" : "%s:%d", address, port);
		if (seen_node(nodes, json_integer_value(json_object_get(each, "node")), whole) ||
		    at + strlen(whole) + 2 > list_bytes)
			continue;
		at += (size_t)snprintf(list + at, list_bytes - at, "%s%s", at ? "," : "", whole);
	}
	list[at] = '\0';
	json_decref(topology);
}

/* Ask all nodes the client knows and add what they say; the worst exit code. */
static int ask_all(struct cli *cli, json_t *nodes)
{
	unsigned int count = virgo_nodes(cli->virgo);
	int worst = CLI_OK, code;

	for (unsigned int i = 0; i < count; i++) {
		(void)json_array_append_new(nodes, ask_node(cli, i, &code));
		worst = code > worst ? code : worst;
	}
	return worst;
}

static int ask_others(struct cli *cli, json_t *nodes)
{
	char *list = malloc(NODES_TEXT_MAX);
	struct cli others = *cli;
	int code = CLI_OK;

	if (!list)
		return CLI_OTHER;
	others_of(cli, nodes, list, NODES_TEXT_MAX);
	if (list[0]) {
		others.nodes = list;
		others.virgo = NULL;
		code = cli_connect(&others);
		if (!code)
			code = ask_all(&others, nodes);
		virgo_disconnect(others.virgo);
	}
	free(list);
	return code;
}

static void print_node(const json_t *node)
{
	const char *address = json_string_value(json_object_get(node, "address"));
	const json_t *status = json_object_get(node, "status");
	char service[24], p50[24], p99[24], used[24];

	if (!status) {
		printf("   - %-22s %s\n", address, json_string_value(json_object_get(node, "error")));
		return;
	}
	printf("%4lld %-22s %10llu %12llu %10llu %10llu %7llu %9s %9s %9s %10s",
	       json_integer_value(json_object_get(status, "node")), address,
	       (unsigned long long)number_at(status, "memory", "keys"),
	       (unsigned long long)number_at(status, "requests", "hits"),
	       (unsigned long long)number_at(status, "requests", "misses"),
	       (unsigned long long)number_at(status, "requests", "forwarded"),
	       (unsigned long long)number_at(status, "requests", "in_flight"),
	       cli_duration(service, sizeof(service), (double)number_at(status, "requests", "service_ns")),
	       cli_duration(p50, sizeof(p50), (double)number_at(status, "requests", "p50_ns")),
	       cli_duration(p99, sizeof(p99), (double)number_at(status, "requests", "p99_ns")),
	       cli_bytes(
		       used, sizeof(used),
		       (double)(number_at(status, "memory", "arena_used") + number_at(status, "memory", "heap_used"))));
	if (json_is_true(json_object_get(json_object_get(status, "xdp"), "present")))
		printf(" %10llu %9llu\n", (unsigned long long)number_at(status, "xdp", "hits"),
		       (unsigned long long)number_at(status, "xdp", "steered"));
	else
		printf(" %10s %9s\n", "-", "-");
}

/* The other pools: a table each, if a node has one. */
struct column {
	const char *title, *name;
	enum { COUNT, BYTES, DURATION } unit;
};

static const struct column job_columns[] = {
	{ "running", "running", COUNT },     { "queued", "queued", COUNT },	 { "done", "done", COUNT },
	{ "failed", "failed", COUNT },	     { "cancelled", "cancelled", COUNT }, { "timed out", "timed_out", COUNT },
	{ "lost", "lost", COUNT },	     { "refused", "refused", COUNT },	 { "service", "service_ns", DURATION },
	{ "input", "input_bytes", BYTES },   { "output", "output_bytes", BYTES },
};

static const struct column file_columns[] = {
	{ "sessions", "sessions", COUNT },   { "open", "open_files", COUNT },	 { "requests", "requests", COUNT },
	{ "failed", "failed", COUNT },	     { "flight", "in_flight", COUNT },	 { "syncs", "syncs", COUNT },
	{ "locks", "locks", COUNT },	     { "watches", "watches", COUNT },	 { "service", "service_ns", DURATION },
	{ "read", "read_bytes", BYTES },     { "written", "written_bytes", BYTES },
};

static void print_cell(const struct column *column, const json_t *service)
{
	__u64 value = number_at(service, NULL, column->name);
	char text[24];

	switch (column->unit) {
	case COUNT:
		printf(" %10llu", (unsigned long long)value);
		break;
	case BYTES:
		printf(" %10s", cli_bytes(text, sizeof(text), (double)value));
		break;
	case DURATION:
		printf(" %10s", cli_duration(text, sizeof(text), (double)value));
		break;
	}
}

static void print_service(const json_t *nodes, const char *name, const char *title, const struct column *columns,
			  size_t count)
{
	bool begun = false;
	json_t *each;
	size_t index;

	json_array_foreach(nodes, index, each)
	{
		const json_t *status = json_object_get(each, "status");
		const json_t *service = json_object_get(json_object_get(status, "services"), name);

		if (!service)
			continue;
		if (!begun)
			printf("\n%4s %-22s", "node", title);
		for (size_t c = 0; !begun && c < count; c++)
			printf(" %10s%s", columns[c].title, c + 1 == count ? "\n" : "");
		begun = true;
		printf("%4lld %-22s", json_integer_value(json_object_get(status, "node")),
		       json_string_value(json_object_get(each, "address")));
		for (size_t c = 0; c < count; c++)
			print_cell(&columns[c], service);
		putchar('\n');
	}
}

int cli_status(struct cli *cli, int argc, char **argv)
{
	int first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 0, 0), code, other;
	json_t *nodes, *each;
	size_t index;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	nodes = json_array();
	code = ask_all(cli, nodes);
	other = ask_others(cli, nodes);
	code = other > code ? other : code;
	if (cli->json) {
		(void)cli_print_json(json_pack("{s:b, s:o}", "ok", code == CLI_OK, "nodes", nodes));
		return code;
	}
	printf("%4s %-22s %10s %12s %10s %10s %7s %9s %9s %9s %10s %10s %9s\n", "node", "address", "keys", "hits",
	       "misses", "forwarded", "flight", "service", "p50", "p99", "memory", "xdp hits", "steered");
	json_array_foreach(nodes, index, each) print_node(each);
	print_service(nodes, "cpu", "jobs", job_columns, sizeof(job_columns) / sizeof(job_columns[0]));
	print_service(nodes, "file", "files", file_columns, sizeof(file_columns) / sizeof(file_columns[0]));
	json_decref(nodes);
	return code;
}

/* ---- command -------------------------------------------------------------------------------------------------------
 */

/* A reply in RESP, read front to back; `end` bounds every step, as the reply comes from outside. */
struct reply {
	const char *at, *end;
};

/* One line without its CR LF; false: there is none. */
static bool take_line(struct reply *reply, const char **ret_line, size_t *ret_length)
{
	const char *close = memmem(reply->at, (size_t)(reply->end - reply->at), "\r\n", 2);

	if (!close)
		return false;
	*ret_line = reply->at;
	*ret_length = (size_t)(close - reply->at);
	reply->at = close + 2;
	return true;
}

static bool take_bulk(struct reply *reply, long long length, const char **ret_data)
{
	if (length > reply->end - reply->at - 2)
		return false;
	*ret_data = reply->at;
	reply->at += length + 2;
	return true;
}

static json_t *bytes_value(const char *data, size_t length)
{
	json_t *object = json_object(), *value;

	cli_json_bytes(object, "value", data, length);
	value = json_object_get(object, "value");
	if (!value)
		value = json_object_get(object, "value_hex");
	json_incref(value);
	json_decref(object);
	return value;
}

/* One value as JSON; NULL: not RESP. An error becomes {"error": text}. */
static json_t *take_value(struct reply *reply, int depth)
{
	const char *line, *data;
	size_t length;
	long long number;
	json_t *array;

	if (depth > DEPTH_MAX || !take_line(reply, &line, &length) || !length)
		return NULL;
	number = strtoll(line + 1, NULL, 10);
	switch (line[0]) {
	case '+':
		return bytes_value(line + 1, length - 1);
	case '-':
		return json_pack("{s:o}", "error", bytes_value(line + 1, length - 1));
	case ':':
		return json_integer(number);
	case '_':
		return json_null();
	case '$':
		if (number < 0)
			return json_null();
		return take_bulk(reply, number, &data) ? bytes_value(data, (size_t)number) : NULL;
	case '*':
		if (number < 0)
			return json_null();
		array = json_array();
		for (long long i = 0; i < number; i++) {
			json_t *value = take_value(reply, depth + 1);

			if (!value || json_array_append_new(array, value)) {
				json_decref(array);
				return NULL;
			}
		}
		return array;
	default:
		return NULL;
	}
}

/* As redis-cli shows a reply to a person; false: not RESP, or deeper than we go. */
static bool print_value(struct reply *reply, int depth)
{
	const char *line, *data;
	size_t length;
	long long number;

	if (depth > DEPTH_MAX || !take_line(reply, &line, &length) || !length)
		return false;
	number = strtoll(line + 1, NULL, 10);
	if (line[0] == '*' && number >= 0) {
		if (!number)
			printf("(empty)\n");
		for (long long i = 0; i < number; i++) {
			printf("%*s%lld) ", i ? 3 * depth : 0, "", i + 1);
			if (!print_value(reply, depth + 1))
				return false;
		}
		return true;
	}
	if (line[0] == '$' && number >= 0) {
		if (!take_bulk(reply, number, &data))
			return false;
		(void)fwrite(data, 1, (size_t)number, stdout);
		putchar('\n');
		return true;
	}
	if (line[0] == '_' || number < 0)
		printf(line[0] == ':' ? "%lld\n" : "(nil)\n", number);
	else
		printf("%.*s\n", (int)(length - 1), line + 1);
	return true;
}

int cli_run_command(struct cli *cli, int argc, char **argv)
{
	int first, code, error;
	struct reply reply;
	size_t length;
	char *text;
	json_t *value;

	/* Options end at the first word of the command, whose own words may look like options. */
	cli->stop_at_argument = true;
	first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 1, -1);
	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	error = virgo_command(cli->virgo, argc - first, (const char *const *)argv + first, NULL, &text, &length);
	if (error)
		return cli_fail(cli, error, argv[first]);
	reply = (struct reply){ text, text + length };
	if (length && text[0] == '-') {
		code = cli_complain(cli, strncmp(text, "-NOAUTH", 7) == 0 ? CLI_REFUSED : CLI_OTHER, "%s: %.*s",
				    argv[first], (int)strcspn(text + 1, "\r\n"), text + 1);
	} else if (cli->json) {
		value = take_value(&reply, 0);
		code = value ? cli_print_json(json_pack("{s:b, s:o}", "ok", 1, "reply", value))
			     : cli_complain(cli, CLI_OTHER, "%s: the reply is not RESP", argv[first]);
	} else if (!print_value(&reply, 0)) {
		code = cli_complain(cli, CLI_OTHER, "%s: the reply is not RESP", argv[first]);
	}
	free(text);
	return code;
}
