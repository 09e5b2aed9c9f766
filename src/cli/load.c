/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * virgo load, virgo verify: many keys, pipelined. A source is a list of keys with their values, one a line, or files
 * whose contents are the values. Load sets them; verify gets them and compares byte by byte.
 *
 *   a line    KEY<tab>VALUE, or KEY alone: then the value is the line itself
 *   a file    key: its path below the directory that was named; value: its content
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "virgo/limits.h"

#define IN_FLIGHT_BYTES_MAX (64u << 20) /* values in memory at once, but for one larger than that */
#define WINDOW 64
#define COMPLAINTS_MAX 10 /* lines about single keys; the rest is only counted */
#define FOLDERS_DEPTH_MAX 64
#define HOPELESS 64 /* failures, and nothing good in between: the pool is not there */

enum { OPTION_PREFIX = 256, OPTION_LINES, OPTION_FILES };

struct bulk {
	struct cli *cli;
	const char *prefix, *what;
	size_t prefix_length;
	enum { BY_KIND = 0, BY_LINES, BY_FILES } form;
	bool verify;
	struct cli_progress progress;
	__u64 total, good, missing, differing, failed, bytes, in_flight_bytes;
	int error; /* the first trouble with the pool */
	int exit;  /* trouble with the sources */
};

/* One key under way. */
struct item {
	struct bulk *bulk;
	char *key, *value; /* value may lie in `line`, which owns it */
	size_t key_length, length;
	char *owned;
};

static void item_free(struct item *item)
{
	free(item->key);
	free(item->owned);
	free(item);
}

static void complain(struct bulk *bulk, const struct item *item, const char *what)
{
	if (bulk->missing + bulk->differing + bulk->failed <= COMPLAINTS_MAX)
		fprintf(stderr, "virgo: %.*s: %s\n", (int)item->key_length, item->key, what);
}

static void on_result(void *context, const struct virgo_result *result)
{
	struct item *item = context;
	struct bulk *bulk = item->bulk;

	if (result->error == -ENOENT && bulk->verify) {
		bulk->missing++;
		complain(bulk, item, "missing");
	} else if (result->error) {
		bulk->failed++;
		bulk->error = bulk->error ? bulk->error : result->error;
		complain(bulk, item, result->text ? result->text : virgo_strerror(result->error));
	} else if (bulk->verify &&
		   (result->length != item->length || memcmp(result->data, item->value, item->length))) {
		bulk->differing++;
		complain(bulk, item, "differs");
	} else {
		bulk->good++;
	}
	bulk->bytes += item->length;
	bulk->in_flight_bytes -= item->length;
	item_free(item);
}

/* Takes `owned`, in which the value lies. A pool that does not answer ends it all. */
static int submit(struct bulk *bulk, const char *name, size_t name_length, char *owned, char *value, size_t length)
{
	struct virgo *v = bulk->cli->virgo;
	struct virgo_request request = { .operation = bulk->verify ? VIRGO_GET : VIRGO_SET, .fn = on_result };
	struct item *item = calloc(1, sizeof(*item));
	int error = item ? 0 : -ENOMEM;

	if (item) {
		*item = (struct item){ .bulk = bulk, .value = value, .length = length, .owned = owned };
		item->key_length = bulk->prefix_length + name_length;
		item->key = malloc(item->key_length + 1);
		error = item->key ? 0 : -ENOMEM;
	}
	if (error) {
		free(item);
		free(owned);
		return error;
	}
	memcpy(item->key, bulk->prefix, bulk->prefix_length);
	memcpy(item->key + bulk->prefix_length, name, name_length);
	bulk->total++;
	bulk->in_flight_bytes += length;
	request.key = item->key;
	request.key_length = item->key_length;
	request.data = bulk->verify ? NULL : value;
	request.length = bulk->verify ? 0 : length;
	request.context = item;
	while (bulk->in_flight_bytes > IN_FLIGHT_BYTES_MAX && virgo_pending(v))
		(void)virgo_wait(v, 1, -1);
	while ((error = virgo_submit(v, &request)) == -EAGAIN)
		(void)virgo_wait(v, 1, -1);
	if (error) {
		on_result(item, &(struct virgo_result){ .error = error });
		return 0;
	}
	return bulk->failed >= HOPELESS && !bulk->good ? bulk->error : 0;
}

static int load_lines(struct bulk *bulk, const char *path)
{
	FILE *file = strcmp(path, "-") ? fopen(path, "re") : stdin;
	size_t room = 0, name_length;
	char *line = NULL, *tab;
	__u64 done = bulk->progress.done;
	ssize_t length;
	int error = 0;

	if (!file) {
		bulk->exit = cli_complain(bulk->cli, CLI_OTHER, "%s: %s", path, strerror(errno));
		return 0;
	}
	while (!error && (length = getline(&line, &room, file)) > 0) {
		done += (__u64)length;
		if (line[length - 1] == '\n')
			line[--length] = '\0';
		if (!length)
			continue;
		tab = memchr(line, '\t', (size_t)length);
		name_length = tab ? (size_t)(tab - line) : (size_t)length;
		if (!name_length)
			continue;
		/* The line is the item's from here; getline makes a new one. */
		error = submit(bulk, line, name_length, line, tab ? tab + 1 : line,
			       tab ? (size_t)length - name_length - 1 : (size_t)length);
		line = NULL;
		room = 0;
		cli_progress_set(&bulk->progress, done);
	}
	free(line);
	if (ferror(file))
		bulk->exit = cli_complain(bulk->cli, CLI_OTHER, "%s: %s", path, strerror(errno));
	if (file != stdin)
		(void)fclose(file);
	return error;
}

static int load_file(struct bulk *bulk, const char *path, const char *name)
{
	size_t length;
	char *data;
	int error = cli_read_file(path, &data, &length);

	if (error) {
		bulk->exit = cli_complain(bulk->cli, CLI_OTHER, "%s: %s", path, strerror(-error));
		return 0;
	}
	cli_progress_set(&bulk->progress, bulk->progress.done + length);
	return submit(bulk, name, strlen(name), data, data, length);
}

/* What is done with a source: load it, or only add up its bytes for the progress bar. */
static int walk(struct bulk *bulk, const char *path, size_t root_length, int depth, bool only_size)
{
	struct dirent **entries;
	struct stat status;
	int count, error = 0;
	char *below;

	if (stat(path, &status)) {
		if (!only_size)
			bulk->exit = cli_complain(bulk->cli, CLI_OTHER, "%s: %s", path, strerror(errno));
		return 0;
	}
	if (S_ISREG(status.st_mode) && only_size) {
		bulk->progress.total += (__u64)status.st_size;
		return 0;
	}
	if (S_ISREG(status.st_mode))
		return bulk->form == BY_LINES ? load_lines(bulk, path) : load_file(bulk, path, path + root_length);
	if (!S_ISDIR(status.st_mode) || depth == FOLDERS_DEPTH_MAX)
		return 0;
	count = scandir(path, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		if (!error && strcmp(entries[i]->d_name, ".") && strcmp(entries[i]->d_name, "..")) {
			error = asprintf(&below, "%s/%s", path, entries[i]->d_name) < 0 ? -ENOMEM : 0;
			if (!error) {
				error = walk(bulk, below, root_length, depth + 1, only_size);
				free(below);
			}
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	else if (!only_size)
		bulk->exit = cli_complain(bulk->cli, CLI_OTHER, "%s: %s", path, strerror(errno));
	return error;
}

/* A file named itself: its lines, unless --files says that its content is one value. A directory: its files. */
static int take_source(struct bulk *bulk, char *path, bool only_size)
{
	size_t length = strlen(path);
	struct stat status;

	if (strcmp(path, "-") == 0)
		return only_size ? 0 : load_lines(bulk, path);
	while (length > 1 && path[length - 1] == '/')
		path[--length] = '\0';
	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		return walk(bulk, path, length + 1, 0, only_size);
	if (only_size || bulk->form == BY_FILES)
		return walk(bulk, path, 0, 0, only_size);
	return load_lines(bulk, path);
}

static bool bulk_option(void *context, int option, const char *value)
{
	struct bulk *bulk = context;

	if (option == OPTION_PREFIX)
		bulk->prefix = value;
	else
		bulk->form = option == OPTION_LINES ? BY_LINES : BY_FILES;
	return true;
}

static int report(struct bulk *bulk, __u64 elapsed_ns)
{
	char bytes[24], time[24];

	if (bulk->cli->json)
		(void)cli_print_json(json_pack(
			"{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "ok", bulk->good == bulk->total && !bulk->exit,
			bulk->verify ? "verified" : "loaded", (json_int_t)bulk->good, "total", (json_int_t)bulk->total,
			"missing", (json_int_t)bulk->missing, "differing", (json_int_t)bulk->differing, "failed",
			(json_int_t)bulk->failed, "bytes", (json_int_t)bulk->bytes, "elapsed_ns",
			(json_int_t)elapsed_ns));
	else if (bulk->verify)
		printf("verified %llu/%llu\n", (unsigned long long)bulk->good, (unsigned long long)bulk->total);
	else
		printf("loaded %llu/%llu keys, %s in %s\n", (unsigned long long)bulk->good,
		       (unsigned long long)bulk->total, cli_bytes(bytes, sizeof(bytes), (double)bulk->bytes),
		       cli_duration(time, sizeof(time), (double)elapsed_ns));
	if (bulk->error)
		return cli_exit_of(bulk->error) == CLI_NOT_FOUND ? CLI_OTHER : cli_exit_of(bulk->error);
	if (bulk->exit)
		return bulk->exit;
	return bulk->good == bulk->total ? CLI_OK : CLI_NOT_FOUND;
}

static int run(struct cli *cli, int argc, char **argv, bool verify)
{
	static const struct option own[] = { { "prefix", required_argument, NULL, OPTION_PREFIX },
					     { "lines", no_argument, NULL, OPTION_LINES },
					     { "files", no_argument, NULL, OPTION_FILES },
					     { 0 } };
	struct bulk bulk = { .cli = cli, .prefix = "", .verify = verify };
	int first = cli_parse(cli, argc, argv, own, bulk_option, &bulk, 1, -1), code, error = 0;
	__u64 started_ns = cli_now_ns();

	if (first < 0)
		return cli_parse_exit(first);
	cli->window = WINDOW;
	code = cli_connect(cli);
	if (code)
		return code;
	bulk.prefix_length = strlen(bulk.prefix);
	cli_progress_start(&bulk.progress, verify ? "verifying" : "loading", 0, true);
	for (int i = first; i < argc; i++)
		(void)take_source(&bulk, argv[i], true);
	for (int i = first; !error && i < argc; i++)
		error = take_source(&bulk, argv[i], false);
	while (virgo_pending(cli->virgo))
		(void)virgo_wait(cli->virgo, 0, -1);
	cli_progress_end(&bulk.progress);
	if (error && !bulk.error)
		return cli_complain(cli, CLI_OTHER, "%s", strerror(-error));
	return report(&bulk, cli_now_ns() - started_ns);
}

int cli_load(struct cli *cli, int argc, char **argv)
{
	return run(cli, argc, argv, false);
}

int cli_verify(struct cli *cli, int argc, char **argv)
{
	return run(cli, argc, argv, true);
}
