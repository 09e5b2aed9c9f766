/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo top: what every node does, and its jobs; once, or anew every second. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/job.h"
#include "cli/screen.h"

#define NODES_SHOWN_MAX 512

enum { TOP_ONCE = 256, TOP_INTERVAL };

static const struct option top_options[] = {
	{ "once", no_argument, NULL, TOP_ONCE },
	{ "interval", required_argument, NULL, TOP_INTERVAL },
	{ NULL, 0, NULL, 0 },
};

struct top {
	struct cli *cli;
	bool once;
	__u64 interval_ms;
	/* Of the picture before: requests a node had answered, and when. */
	double requests_before[NODES_SHOWN_MAX];
	__u64 taken_ns;
};

static bool top_option(void *context, int option, const char *value)
{
	struct top *top = context;

	if (option == TOP_ONCE) {
		top->once = true;
		return true;
	}
	return cli_span(value, &top->interval_ms) && top->interval_ms >= 100 && top->interval_ms <= 3600000;
}

static double number_at(const json_t *object, const char *group, const char *name)
{
	return json_number_value(json_object_get(json_object_get(object, group), name));
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* What one node says: {"address", "cpu", "load", "status", "jobs"}, or what it does not say and why. */
static json_t *ask_node(struct cli *cli, unsigned int index)
{
	const char *cpu = cli_cpu_node(cli, index);
	json_t *node = json_pack("{s:s, s:s?}", "address", virgo_node_address(cli->virgo, index), "cpu", cpu), *jobs;
	struct virgo_load load;
	char *text;
	int error = virgo_status(cli->virgo, index, &text);

	if (error) {
		(void)json_object_set_new(node, "error", json_string(virgo_error_text(cli->virgo)));
		return node;
	}
	(void)json_object_set_new(node, "status", json_loads(text, 0, NULL));
	free(text);
	if (!cpu)
		return node;
	error = virgo_cpu_load(cli->virgo, cpu, &load);
	jobs = error ? NULL : cli_jobs_of(cli, cpu, &error);
	if (error) {
		(void)json_object_set_new(node, "cpu_error", json_string(virgo_error_text(cli->virgo)));
		return node;
	}
	(void)json_object_set_new(node, "load",
				  json_pack("{s:I, s:I, s:I, s:I}", "in_flight", (json_int_t)load.in_flight,
					    "service_ns", (json_int_t)load.service_ns, "run_queue_delay_ns",
					    (json_int_t)load.run_queue_delay_ns, "memory_free_permille",
					    (json_int_t)load.memory_free_permille));
	(void)json_object_set_new(node, "jobs", jobs);
	return node;
}

static json_t *ask_all(struct cli *cli)
{
	json_t *nodes = json_array();
	char *table;

	/* The table names nodes we were not told of; the library learns them from it. */
	if (virgo_topology(cli->virgo, VIRGO_NODE_ANY, &table) == 0)
		free(table);
	for (unsigned int i = 0; i < virgo_nodes(cli->virgo) && i < NODES_SHOWN_MAX; i++)
		(void)json_array_append_new(nodes, ask_node(cli, i));
	return nodes;
}

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

/* A line on the screen, or, for --once, on standard output. */
#define line(top, strong, ...)                                                                                         \
	((top)->once ? (void)(printf(__VA_ARGS__), putchar('\n')) : cli_screen_line(strong, __VA_ARGS__))

static void draw_node(struct top *top, size_t index, const json_t *node, double seconds)
{
	const json_t *status = json_object_get(node, "status"), *load = json_object_get(node, "load");
	const char *error = json_string_value(json_object_get(node, "error"));
	double requests = number_at(status, "requests", "stream") + number_at(status, "requests", "datagram");
	double rate = seconds > 0 ? (requests - top->requests_before[index]) / seconds : 0;
	char service[16], delay[16], p99[16], memory[16], jobs[16] = "-", number[16] = "-";

	if (error) {
		line(top, false, "%4s %-21.21s %.52s", "-", json_string_value(json_object_get(node, "address")), error);
		return;
	}
	top->requests_before[index] = requests;
	if (load)
		(void)snprintf(jobs, sizeof(jobs), "%lld", json_integer_value(json_object_get(load, "in_flight")));
	if (json_is_integer(json_object_get(status, "node")))
		(void)snprintf(number, sizeof(number), "%lld", json_integer_value(json_object_get(status, "node")));
	line(top, false, "%4s %-21.21s %4s %9s %9s %8.0f %9s %9s", number,
	     json_string_value(json_object_get(node, "address")), jobs,
	     cli_duration(service, sizeof(service), json_number_value(json_object_get(load, "service_ns"))),
	     cli_duration(delay, sizeof(delay), json_number_value(json_object_get(load, "run_queue_delay_ns"))), rate,
	     cli_duration(p99, sizeof(p99), number_at(status, "requests", "p99_ns")),
	     cli_bytes(memory, sizeof(memory),
		       number_at(status, "memory", "arena_used") + number_at(status, "memory", "heap_used")));
}

static void draw_job(struct top *top, const char *where, const json_t *job)
{
	const char *number = json_string_value(json_object_get(job, "job")),
		   *state = json_string_value(json_object_get(job, "how") ?: json_object_get(job, "state")),
		   *name = json_string_value(json_object_get(job, "name"));
	char ran[16], written[16], id[64];

	(void)snprintf(id, sizeof(id), "%.40s/%llx", where, strtoull(number ? number : "0", NULL, 16));
	line(top, false, "%-28.28s %-9.9s %9s %9s %.21s", id, state ? state : "",
	     cli_duration(ran, sizeof(ran), 1e3 * (double)json_integer_value(json_object_get(job, "run_us"))),
	     cli_bytes(written, sizeof(written), (double)json_integer_value(json_object_get(job, "output_bytes"))),
	     name ? name : "");
}

static bool is_live(const json_t *job)
{
	return !json_object_get(job, "how");
}

static void draw(struct top *top, json_t *nodes)
{
	const __u64 now_ns = cli_now_ns();
	const double seconds = top->taken_ns ? (double)(now_ns - top->taken_ns) / 1e9 : 0;
	size_t index, other, live = 0;
	json_t *node, *job;
	time_t now = time(NULL);
	char clock[16];
	struct tm local;

	json_array_foreach(nodes, index, node) json_array_foreach(json_object_get(node, "jobs"), other, job) live +=
		is_live(job);
	(void)strftime(clock, sizeof(clock), "%T", localtime_r(&now, &local));
	top->taken_ns = now_ns;
	if (!top->once)
		cli_screen_begin();
	line(top, false, "virgo top   %zu nodes, %zu jobs%*s%s", json_array_size(nodes), live, 40, "", clock);
	line(top, true, "%4s %-21s %4s %9s %9s %8s %9s %9s", "node", "address", "jobs", "a job", "run queue", "req/s",
	     "p99", "memory");
	json_array_foreach(nodes, index, node) draw_node(top, index, node, seconds);
	line(top, true, "%-28s %-9s %9s %9s %-21s", "job", "state", "time", "output", "command");
	json_array_foreach(nodes, index, node)
		json_array_foreach(json_object_get(node, "jobs"), other, job) if (is_live(job))
			draw_job(top, json_string_value(json_object_get(node, "cpu")), job);
	if (!top->once)
		cli_screen_show();
}

/* Whether any node has answered. */
static bool any_answer(json_t *nodes)
{
	size_t index;
	json_t *node;

	json_array_foreach(nodes, index, node) if (json_object_get(node, "status")) return true;
	return false;
}

static int show(struct top *top)
{
	json_t *nodes = ask_all(top->cli);
	int code = any_answer(nodes) ? CLI_OK : CLI_UNREACHABLE;

	if (top->cli->json)
		(void)cli_print_json(json_pack("{s:b, s:O}", "ok", code == CLI_OK, "nodes", nodes));
	else
		draw(top, nodes);
	json_decref(nodes);
	return code;
}

static int show_for_ever(struct top *top)
{
	const struct timespec pause = { (time_t)(top->interval_ms / 1000), (long)(top->interval_ms % 1000) * 1000000 };
	int code, key;

	if (top->cli->json) {
		do {
			code = show(top);
			(void)nanosleep(&pause, NULL);
		} while (!fflush(stdout));
		return code;
	}
	do {
		code = show(top);
		key = cli_screen_key((int)top->interval_ms);
	} while (key != 'q' && key != CLI_SCREEN_KEY_END);
	return code;
}

int cli_top(struct cli *cli, int argc, char **argv)
{
	struct top top = { .cli = cli, .interval_ms = 1000 };
	int first = cli_parse(cli, argc, argv, top_options, top_option, &top, 0, 1), code;

	if (first < 0)
		return cli_parse_exit(first);
	if (first < argc && strcmp(argv[first], "mem") == 0)
		return cli_top_mem(cli, top.once, top.interval_ms);
	if (first < argc)
		return cli_complain(cli, CLI_USAGE, "top: there is a view of mem, none of \"%s\"", argv[first]);
	cli_job_owner(cli);
	code = cli_connect(cli);
	if (code)
		return code;
	if (!top.once && !cli->json && cli_screen_open()) {
		/* No terminal: one picture, as text. */
		top.once = true;
	}
	code = top.once ? show(&top) : show_for_ever(&top);
	cli_screen_close();
	return code;
}
