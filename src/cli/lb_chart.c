/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The study as a picture: slowdown against load, and the original's expectation beside the true mean. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/lb.h"

#define PANEL_WIDTH 420
#define PANEL_HEIGHT 320
#define MARGIN 62
#define EXPECTATION_REQUESTS 20

static const char *const colours[LB_CHOOSERS] = {
	[VG_POLICY_PREQUAL] = "#0b6e4f", [VG_POLICY_LEASTLOADED] = "#1f77b4", [VG_POLICY_PRG] = "#c0392b",
	[VG_POLICY_P2C] = "#e08e0b",	 [VG_POLICY_LOCALITY] = "#8e44ad",    [LB_IDEAL_JSQ] = "#222222",
	[LB_IDEAL_SED] = "#888888",
};

/* One panel: what its axes mean. */
struct panel {
	FILE *out;
	double left, top;
	double x_min, x_max, y_min, y_max;
	bool logarithmic; /* upward */
};

static double x_of(const struct panel *panel, double x)
{
	double span = panel->x_max > panel->x_min ? panel->x_max - panel->x_min : 1;

	return panel->left + MARGIN + (x - panel->x_min) / span * (PANEL_WIDTH - MARGIN - 20);
}

static double y_of(const struct panel *panel, double y)
{
	double low = panel->y_min, high = panel->y_max;

	if (panel->logarithmic) {
		low = log10(low);
		high = log10(high);
		y = log10(fmax(y, panel->y_min));
	}
	return panel->top + PANEL_HEIGHT - 40 - (y - low) / (high > low ? high - low : 1) * (PANEL_HEIGHT - 80);
}

static void text(const struct panel *panel, double x, double y, const char *anchor, const char *format, ...)
{
	va_list arguments;

	fprintf(panel->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
	va_start(arguments, format);
	vfprintf(panel->out, format, arguments);
	va_end(arguments);
	fprintf(panel->out, "</text>\n");
}

static void axes(const struct panel *panel, const char *title, const char *below, double x_step)
{
	FILE *out = panel->out;

	text(panel, panel->left + PANEL_WIDTH / 2.0, panel->top + 22, "middle", "%s", title);
	text(panel, panel->left + PANEL_WIDTH / 2.0, panel->top + PANEL_HEIGHT - 6, "middle", "%s", below);
	for (double x = ceil(panel->x_min / x_step) * x_step; x <= panel->x_max + 1e-9; x += x_step) {
		fprintf(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x_of(panel, x),
			y_of(panel, panel->y_min), x_of(panel, x), y_of(panel, panel->y_max));
		text(panel, x_of(panel, x), panel->top + PANEL_HEIGHT - 22, "middle", "%g", x);
	}
	for (int i = 0; i <= 4; i++) {
		double share = i / 4.0, y = panel->logarithmic ? panel->y_min * pow(panel->y_max / panel->y_min, share)
							       : panel->y_min + share * (panel->y_max - panel->y_min);

		fprintf(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
			x_of(panel, panel->x_min), y_of(panel, y), x_of(panel, panel->x_max), y_of(panel, y));
		text(panel, panel->left + MARGIN - 6, y_of(panel, y) + 4, "end", "%.3g", y);
	}
}

static double percentile_of(const struct lb_result *result, int which)
{
	return which == 0 ? result->p50 : which == 1 ? result->p99 : result->p999;
}

static void slowdown_panel(FILE *out, const struct lb_study *study, int which)
{
	static const char *const titles[] = { "p50 slowdown", "p99 slowdown", "p99.9 slowdown" };
	struct panel panel = { .out = out,
			       .left = which % 2 * PANEL_WIDTH,
			       .top = which / 2 * PANEL_HEIGHT,
			       .x_min = 100,
			       .y_min = 1,
			       .y_max = 2,
			       .logarithmic = true };

	for (int l = 0; l < study->load_count; l++) {
		panel.x_min = fmin(panel.x_min, 100 * study->loads[l]);
		panel.x_max = fmax(panel.x_max, 100 * study->loads[l]);
		for (int c = 0; c < LB_CHOOSERS; c++) {
			double y = percentile_of(lb_result_of(study, c, l), which);

			if (study->chosen[c] && y > 0) {
				panel.y_min = fmin(panel.y_min, y);
				panel.y_max = fmax(panel.y_max, y);
			}
		}
	}
	axes(&panel, titles[which], "load, percent of the capacity", 10);
	for (int c = 0; c < LB_CHOOSERS; c++) {
		if (!study->chosen[c])
			continue;
		fprintf(out, "<polyline stroke=\"%s\"%s points=\"", colours[c],
			c >= VG_POLICY_MAX ? " stroke-dasharray=\"5 4\"" : "");
		for (int l = 0; l < study->load_count; l++)
			fprintf(out, "%.1f,%.1f ", x_of(&panel, 100 * study->loads[l]),
				y_of(&panel, percentile_of(lb_result_of(study, c, l), which)));
		fprintf(out, "\"/>\n");
	}
}

/* What the original's design text says a node gets of k requests, and what it gets. */
static void expectation_panel(FILE *out, const struct lb_study *study)
{
	__u32 nodes = study->world->node_count;
	struct panel panel = { .out = out,
			       .left = PANEL_WIDTH,
			       .top = PANEL_HEIGHT,
			       .x_min = 1,
			       .x_max = EXPECTATION_REQUESTS,
			       .y_max = (double)EXPECTATION_REQUESTS / nodes };

	axes(&panel, "requests a node gets of k", "k", 5);
	fprintf(out, "<polyline stroke=\"#222222\" points=\"%.1f,%.1f %.1f,%.1f\"/>\n", x_of(&panel, 1),
		y_of(&panel, 1.0 / nodes), x_of(&panel, panel.x_max), y_of(&panel, panel.y_max));
	text(&panel, x_of(&panel, panel.x_max) - 70, y_of(&panel, panel.y_max * 0.75) - 8, "end", "true mean k/N");
	if (nodes < 2)
		return;
	fprintf(out, "<polyline stroke=\"#c0392b\" points=\"");
	for (__u32 k = 1; k <= EXPECTATION_REQUESTS; k++)
		fprintf(out, "%.1f,%.1f ", x_of(&panel, k), y_of(&panel, lb_original_expectation(nodes, k)));
	fprintf(out, "\"/>\n");
	text(&panel, x_of(&panel, panel.x_max), y_of(&panel, lb_original_expectation(nodes, EXPECTATION_REQUESTS)) - 8,
	     "end", "the original&#8217;s expectation");
}

static void legend(FILE *out, const struct lb_study *study)
{
	double x = 20;

	for (int c = 0; c < LB_CHOOSERS; c++) {
		if (!study->chosen[c])
			continue;
		fprintf(out, "<line stroke=\"%s\" stroke-width=\"2\"%s x1=\"%.0f\" y1=\"%d\" x2=\"%.0f\" y2=\"%d\"/>\n",
			colours[c], c >= VG_POLICY_MAX ? " stroke-dasharray=\"5 4\"" : "", x, 2 * PANEL_HEIGHT + 14,
			x + 24, 2 * PANEL_HEIGHT + 14);
		fprintf(out, "<text x=\"%.0f\" y=\"%d\">%s%s</text>\n", x + 28, 2 * PANEL_HEIGHT + 18,
			c >= VG_POLICY_MAX ? "ideal " : "", lb_chooser_name(c));
		x += 115;
	}
}

int lb_chart_write(const struct lb_study *study, const char *path)
{
	FILE *out = fopen(path, "we");

	if (!out)
		return -errno;
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n",
		2 * PANEL_WIDTH, 2 * PANEL_HEIGHT + 30, 2 * PANEL_WIDTH, 2 * PANEL_HEIGHT + 30);
	fprintf(out, "<style>text{font:12px sans-serif;fill:#222}polyline{fill:none;stroke-width:2}"
		     ".grid{stroke:#ddd}</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n");
	for (int which = 0; which < 3; which++)
		slowdown_panel(out, study, which);
	expectation_panel(out, study);
	legend(out, study);
	fprintf(out, "</svg>\n");
	if (ferror(out)) {
		(void)fclose(out);
		return -EIO;
	}
	return fclose(out) ? -errno : 0;
}
