/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define SILENT_NS 400000000ULL /* what is done by then needs no bar */
#define REDRAW_NS 100000000ULL
#define BAR_WIDTH 30

__u64 cli_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
}

void cli_progress_start(struct cli_progress *progress, const char *what, __u64 total, bool bytes)
{
	*progress = (struct cli_progress){ .what = what,
					   .total = total,
					   .started_ns = cli_now_ns(),
					   .bytes = bytes,
					   .terminal = isatty(STDERR_FILENO) == 1 };
}

static void draw(struct cli_progress *progress, __u64 now_ns)
{
	double share = progress->total ? (double)progress->done / (double)progress->total : 0;
	double rate = (double)progress->done * 1e9 / (double)(now_ns - progress->started_ns + 1);
	int filled = (int)(share * BAR_WIDTH);
	char text[32];

	fprintf(stderr, "\r%s [%.*s%*s] %3.0f%%  ", progress->what, filled, "##############################",
		BAR_WIDTH - filled, "", 100 * share);
	if (progress->bytes)
		fprintf(stderr, "%s/s ", cli_bytes(text, sizeof(text), rate));
	else
		fprintf(stderr, "%.0f/s ", rate);
	if (rate > 0 && progress->total > progress->done)
		fprintf(stderr, " %.0f s left  \033[K", (double)(progress->total - progress->done) / rate);
	else
		fprintf(stderr, "\033[K");
	progress->drawn = true;
	progress->drawn_ns = now_ns;
}

void cli_progress_set(struct cli_progress *progress, __u64 done)
{
	__u64 now_ns;

	progress->done = done < progress->total ? done : progress->total;
	if (!progress->terminal)
		return;
	now_ns = cli_now_ns();
	if (now_ns - progress->started_ns >= SILENT_NS && now_ns - progress->drawn_ns >= REDRAW_NS)
		draw(progress, now_ns);
}

void cli_progress_end(struct cli_progress *progress)
{
	if (progress->drawn)
		fprintf(stderr, "\r\033[K");
}
