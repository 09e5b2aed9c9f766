/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo top mem: what the memory pool does, node by node; once, or anew every second. Fits 80 columns. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/screen.h"

#define NODES_SHOWN_MAX 64

/* What a node had counted; a rate is the difference of two. */
struct counts {
	double daemon, hits, misses, xdp_hits, xdp_misses;
};

struct top {
	struct cli *cli;
	__u64 interval_ms, taken_ns;
	struct counts before[NODES_SHOWN_MAX];
};

static double number_at(const json_t *status, const char *group, const char *name)
{
	return json_number_value(json_object_get(json_object_get(status, group), name));
}

static struct counts read_counts(const json_t *status)
{
	return (struct counts){
		.daemon = number_at(status, "requests", "stream") + number_at(status, "requests", "datagram"),
		.hits = number_at(status, "requests", "hits"),
		.misses = number_at(status, "requests", "misses"),
		.xdp_hits = number_at(status, "xdp", "hits") + number_at(status, "xdp", "handle_hits"),
		.xdp_misses = number_at(status, "xdp", "not_found") + number_at(status, "xdp", "expired"),
	};
}

static double ratio(double hits, double misses)
{
	return hits + misses > 0 ? 100 * hits / (hits + misses) : 0;
}

/* One node as figures: {address, rate, …}, or {address, error}. */
static json_t *look_at(struct top *top, unsigned int node, double seconds)
{
	const char *address = virgo_node_address(top->cli->virgo, node);
	struct counts *before = &top->before[node], now;
	char *text;
	int error = virgo_status(top->cli->virgo, node, &text);
	json_t *status, *figures;
	double span = seconds > 0 ? seconds : 1;

	if (error)
		return json_pack("{s:s, s:s}", "address", address, "error", virgo_error_text(top->cli->virgo));
	status = json_loads(text, 0, NULL);
	free(text);
	now = read_counts(status);
	/* The first picture has no span: it shows everything since the start, rates are left at 0. */
	figures = json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "address", address, "rate",
			    seconds > 0 ? (now.daemon - before->daemon) / span : 0.0, "xdp_rate",
			    seconds > 0 ? (now.xdp_hits + now.xdp_misses - before->xdp_hits -
					   before->xdp_misses) / span : 0.0,
			    "hit_percent", ratio(now.hits - before->hits, now.misses - before->misses),
			    "xdp_hit_percent",
			    ratio(now.xdp_hits - before->xdp_hits, now.xdp_misses - before->xdp_misses), "p50_ns",
			    number_at(status, "requests", "p50_ns"), "p99_ns", number_at(status, "requests", "p99_ns"),
			    "p999_ns", number_at(status, "requests", "p999_ns"));
	(void)json_object_update(figures, json_object_get(status, "memory"));
	(void)json_object_set_new(figures, "requests", json_real(now.daemon));
	(void)json_object_set_new(figures, "xdp_requests", json_real(now.xdp_hits + now.xdp_misses));
	json_decref(status);
	*before = now;
	return figures;
}

static json_t *look(struct top *top)
{
	__u64 now_ns = cli_now_ns();
	double seconds = top->taken_ns ? (double)(now_ns - top->taken_ns) / 1e9 : 0;
	json_t *nodes = json_array();

	for (unsigned int node = 0; node < virgo_nodes(top->cli->virgo) && node < NODES_SHOWN_MAX; node++)
		(void)json_array_append_new(nodes, look_at(top, node, seconds));
	top->taken_ns = now_ns;
	return nodes;
}

/* ---- drawing ---------------------------------------------------------------------------------------------------- */

typedef void (*line_fn)(bool strong, const char *format, ...) __attribute__((format(printf, 2, 3)));

__attribute__((format(printf, 2, 3))) static void plain_line(bool strong, const char *format, ...)
{
	va_list values;

	(void)strong;
	va_start(values, format);
	(void)vprintf(format, values);
	va_end(values);
	(void)putchar('\n');
}

static double figure(const json_t *node, const char *name)
{
	return json_number_value(json_object_get(node, name));
}

static const char *count_text(char text[16], double count)
{
	static const char units[] = " kMGT";
	int unit = 0;

	while (count >= 10000 && unit < 4) {
		count /= 1000;
		unit++;
	}
	(void)snprintf(text, 16, unit ? "%.0f%c" : "%.0f", count, units[unit]);
	return text;
}

/* Memory by size class, where the node says it: the fullest first would move; they stand by size. */
static void draw_classes(line_fn line, const json_t *node)
{
	const json_t *classes = json_object_get(node, "classes"), *one;
	char text[96] = "";
	size_t index, at = 0;

	json_array_foreach(classes, index, one)
	{
		char bytes[16];
		double used = figure(one, "cells_used");
		const char *kind = json_string_value(json_object_get(one, "kind"));

		if (used <= 0 || !kind || strcmp(kind, "item") != 0)
			continue;
		at += (size_t)snprintf(text + at, sizeof(text) - at, "  %.0f:%s", figure(one, "cell_bytes"),
				       count_text(bytes, used));
		if (at > 60) {
			line(false, "      items by size%s", text);
			at = 0;
			text[0] = '\0';
		}
	}
	if (at)
		line(false, "      items by size%s", text);
}

static void draw_node(line_fn line, const json_t *node)
{
	char rate[16], xdp[16], keys[16], evicted[16], p50[16], p99[16], arena[16], heap[16];

	if (json_object_get(node, "error")) {
		line(false, "%-21.21s %s", json_string_value(json_object_get(node, "address")),
		     json_string_value(json_object_get(node, "error")));
		return;
	}
	line(false, "%-21.21s %6s %5.1f%% %6s %5.1f%% %6s %5s %7s %7s",
	     json_string_value(json_object_get(node, "address")), count_text(rate, figure(node, "rate")),
	     figure(node, "hit_percent"), count_text(xdp, figure(node, "xdp_rate")), figure(node, "xdp_hit_percent"),
	     count_text(keys, figure(node, "keys")),
	     count_text(evicted, figure(node, "evicted")), cli_duration(p50, sizeof(p50), figure(node, "p50_ns")),
	     cli_duration(p99, sizeof(p99), figure(node, "p99_ns")));
	line(false, "      arena %s of %.0f %%   heap %s of %.0f %%   expired %.0f   handles %.0f",
	     cli_bytes(arena, sizeof(arena), figure(node, "arena_used")),
	     figure(node, "arena_bytes") > 0 ? 100 * figure(node, "arena_used") / figure(node, "arena_bytes") : 0,
	     cli_bytes(heap, sizeof(heap), figure(node, "heap_used")),
	     figure(node, "heap_bytes") > 0 ? 100 * figure(node, "heap_used") / figure(node, "heap_bytes") : 0,
	     figure(node, "expired"), figure(node, "handles"));
	draw_classes(line, node);
}

static void draw(line_fn line, const json_t *nodes)
{
	const json_t *node;
	size_t index;

	line(true, "%-21s %6s %6s %6s %6s %6s %5s %7s %7s", "node", "req/s", "hit", "xdp/s", "hit", "keys", "evict",
	     "p50", "p99");
	json_array_foreach(nodes, index, node) draw_node(line, node);
}

static int show_for_ever(struct top *top)
{
	if (cli_screen_open())
		return cli_complain(top->cli, CLI_USAGE,
				    "top mem: standard output is no terminal (--once shows it once)");
	for (;;) {
		json_t *nodes = look(top);
		int key;

		cli_screen_begin();
		draw(cli_screen_line, nodes);
		cli_screen_show();
		json_decref(nodes);
		key = cli_screen_key((int)top->interval_ms);
		if (key == 'q' || key == CLI_SCREEN_KEY_END)
			break;
	}
	cli_screen_close();
	return CLI_OK;
}

int cli_top_mem(struct cli *cli, bool once, __u64 interval_ms)
{
	struct top top = { .cli = cli, .interval_ms = interval_ms };
	struct timespec pause;
	json_t *nodes;
	int code = cli_connect(cli);

	if (code)
		return code;
	if (!once && !cli->json)
		return show_for_ever(&top);
	/* Two pictures: rates are of the time between them. */
	json_decref(look(&top));
	pause = (struct timespec){ (time_t)(top.interval_ms / 1000), (long)(top.interval_ms % 1000) * 1000000 };
	(void)nanosleep(&pause, NULL);
	nodes = look(&top);
	if (cli->json)
		return cli_print_json(json_pack("{s:b, s:o}", "ok", 1, "nodes", nodes));
	draw(plain_line, nodes);
	json_decref(nodes);
	return CLI_OK;
}
