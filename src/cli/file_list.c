/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo ls, stat, du, cat */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/file.h"

/* ---- one file in words ----------------------------------------------------------------------------------------- */

static const char *type_of(const struct virgo_file_stat *stat)
{
	switch (stat->mode & FILE_MODE_TYPE) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "link";
	default:
		return "other";
	}
}

json_t *file_stat_json(const struct virgo_file_stat *stat)
{
	char mode[8];

	(void)snprintf(mode, sizeof(mode), "%04o", stat->mode & 07777);
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:i, s:i}", "type",
			 type_of(stat), "mode", mode, "size", (json_int_t)stat->size, "allocated",
			 (json_int_t)stat->allocated, "inode", (json_int_t)stat->inode, "links", (int)stat->links,
			 "uid", (int)stat->uid, "gid", (int)stat->gid, "accessed_ns", (json_int_t)stat->accessed_ns,
			 "modified_ns", (json_int_t)stat->modified_ns, "changed_ns", (json_int_t)stat->changed_ns,
			 "created_ns", (json_int_t)stat->created_ns, "node", (int)stat->node, "stripes",
			 (int)stat->stripes);
}

void file_print_name(const char *name)
{
	static int terminal = -1;

	if (terminal < 0)
		terminal = isatty(STDOUT_FILENO);
	for (; *name; name++)
		putchar(terminal && ((unsigned char)*name < 32 || *name == 127) ? '?' : *name);
}

static void mode_text(mode_t mode, char text[11])
{
	static const char letters[] = "rwxrwxrwx";

	text[0] = S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : S_ISREG(mode) ? '-' : '?';
	for (int i = 0; i < 9; i++)
		text[1 + i] = mode & (0400u >> i) ? letters[i] : '-';
	if (mode & S_ISUID)
		text[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		text[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		text[9] = mode & S_IXOTH ? 't' : 'T';
	text[10] = '\0';
}

static const char *time_text(int64_t ns, char *text, size_t bytes)
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm local;

	if (!localtime_r(&seconds, &local) || !strftime(text, bytes, "%Y-%m-%d %H:%M:%S", &local))
		(void)snprintf(text, bytes, "%lld", (long long)seconds);
	return text;
}

/* ---- ls -------------------------------------------------------------------------------------------------------- */

struct listing {
	struct cli *cli;
	bool details, below, human, directory, headed, first;
	json_t *json;
};

static bool list_option(void *context, int option, const char *value)
{
	struct listing *listing = context;

	listing->details |= option == 'l';
	listing->below |= option == 'R';
	listing->directory |= option == 'd';
	listing->human |= option == 'H';
	return true;
}

static void print_entry(struct listing *listing, const char *path, const char *name, const struct virgo_file_stat *stat)
{
	char mode[11], when[32], target[FILE_PATH_BYTES], size[32];

	if (listing->details) {
		mode_text(stat->mode, mode);
		if (listing->human)
			(void)cli_bytes(size, sizeof(size), (double)stat->size);
		else
			(void)snprintf(size, sizeof(size), "%llu", (unsigned long long)stat->size);
		printf("%s %3u %5u %5u %12s  %s  node %u", mode, stat->links, stat->uid, stat->gid, size,
		       time_text(stat->modified_ns, when, sizeof(when)), stat->node);
		if (stat->stripes)
			printf("/%u", stat->stripes);
		printf("  ");
	}
	file_print_name(name);
	if (listing->details && file_is(stat, S_IFLNK) &&
	    !file_readlink(listing->cli->virgo, (struct file_place){ true, path }, target, sizeof(target))) {
		printf(" -> ");
		file_print_name(target);
	}
	putchar('\n');
}

static int list_directory(struct listing *listing, const char *path);

static int show_entry(struct listing *listing, const char *directory, const struct file_entry *entry, json_t *into)
{
	char *path = malloc(FILE_PATH_BYTES);
	json_t *object;
	int code = CLI_OK;

	if (!path || file_join(path, directory, entry->name)) {
		free(path);
		return cli_complain(listing->cli, CLI_OTHER, "%s: the name is too long", entry->name);
	}
	if (listing->cli->json) {
		object = file_stat_json(&entry->stat);
		cli_json_bytes(object, "name", entry->name, strlen(entry->name));
		(void)json_array_append_new(into, object);
	} else {
		print_entry(listing, path, entry->name, &entry->stat);
	}
	free(path);
	return code;
}

/* The directories in it after it, as ls does. */
static int list_below(struct listing *listing, const char *path, const struct file_list *list)
{
	int code = CLI_OK, one;

	for (size_t i = 0; i < list->count; i++) {
		char *below;

		if (!file_is(&list->entries[i].stat, S_IFDIR))
			continue;
		below = malloc(FILE_PATH_BYTES);
		if (!below || file_join(below, path, list->entries[i].name))
			one = cli_complain(listing->cli, CLI_OTHER, "%s: the name is too long", path);
		else
			one = list_directory(listing, below);
		code = code ? code : one;
		free(below);
	}
	return code;
}

static int list_directory(struct listing *listing, const char *path)
{
	struct file_list list;
	int error = file_list(listing->cli->virgo, (struct file_place){ true, path }, &list), code = CLI_OK, one;
	json_t *entries = json_array();

	/* What the other nodes have is shown, too. */
	if (error)
		code = file_fail(listing->cli, error, path[0] ? path : "/");
	if (listing->headed && !listing->cli->json) {
		printf("%s", listing->first ? "" : "\n");
		file_print_name(path[0] ? path : "/");
		printf(":\n");
	}
	listing->first = false;
	for (size_t i = 0; i < list.count && !(code && !error); i++) {
		one = show_entry(listing, path, &list.entries[i], entries);
		code = code ? code : one;
	}
	if (listing->cli->json) {
		json_t *object = json_pack("{s:O}", "entries", entries);

		cli_json_bytes(object, "path", path, strlen(path));
		(void)json_array_append_new(listing->json, object);
	}
	json_decref(entries);
	if (listing->below) {
		one = list_below(listing, path, &list);
		code = code ? code : one;
	}
	file_list_free(&list);
	return code;
}

static int list_argument(struct listing *listing, const char *path)
{
	struct virgo_file_stat stat;
	int error = virgo_stat(listing->cli->virgo, path, &stat);

	/* A link that leads nowhere is shown as the link. */
	if (error || listing->directory)
		error = virgo_lstat(listing->cli->virgo, path, &stat);
	if (error)
		return file_fail(listing->cli, error, path);
	if (file_is(&stat, S_IFDIR) && !listing->directory)
		return list_directory(listing, path);
	if (listing->cli->json) {
		json_t *object = file_stat_json(&stat);

		cli_json_bytes(object, "name", path, strlen(path));
		(void)json_array_append_new(listing->json, json_pack("{s:s, s:[o]}", "path", "", "entries", object));
	} else {
		print_entry(listing, path, path, &stat);
	}
	return CLI_OK;
}

int cli_ls(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "long", no_argument, NULL, 'l' },
					     { "recursive", no_argument, NULL, 'R' },
					     { "directory", no_argument, NULL, 'd' },
					     { "human", no_argument, NULL, 'H' },
					     { 0 } };
	struct listing listing = { .cli = cli, .first = true };
	int first = cli_parse(cli, argc, argv, own, list_option, &listing, 0, -1), code, one;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	listing.json = json_array();
	listing.headed = listing.below || argc - first > 1;
	if (first == argc)
		code = list_directory(&listing, "");
	for (int i = first; i < argc; i++) {
		one = list_argument(&listing, file_pool_path(argv[i]));
		code = code ? code : one;
	}
	if (cli->json && !code)
		return cli_print_json(json_pack("{s:b, s:o}", "ok", 1, "directories", listing.json));
	json_decref(listing.json);
	return code;
}

/* ---- stat ------------------------------------------------------------------------------------------------------ */

static bool stat_option(void *context, int option, const char *value)
{
	*(bool *)context = true;
	return true;
}

static void print_stat(const char *path, const struct virgo_file_stat *stat)
{
	char mode[11], when[32];

	mode_text(stat->mode, mode);
	printf("path:       ");
	file_print_name(path[0] ? path : "/");
	printf("\ntype:       %s\nsize:       %llu\nallocated:  %llu\nmode:       %04o (%s)\n", type_of(stat),
	       (unsigned long long)stat->size, (unsigned long long)stat->allocated, stat->mode & 07777, mode);
	printf("uid, gid:   %u, %u\nlinks:      %u\ninode:      %llu\nnode:       %u\n", stat->uid, stat->gid,
	       stat->links, (unsigned long long)stat->inode, stat->node);
	if (stat->stripes)
		printf("stripes:    over %u nodes\n", stat->stripes);
	printf("modified:   %s\n", time_text(stat->modified_ns, when, sizeof(when)));
	printf("changed:    %s\n", time_text(stat->changed_ns, when, sizeof(when)));
	printf("accessed:   %s\n", time_text(stat->accessed_ns, when, sizeof(when)));
	if (stat->created_ns)
		printf("created:    %s\n", time_text(stat->created_ns, when, sizeof(when)));
}

/* Without a path: the pool itself. */
static int stat_pool(struct cli *cli)
{
	struct virgo_statfs all;
	char bytes[24], available[24];
	int error = virgo_statfs(cli->virgo, &all);

	if (error)
		return file_fail(cli, error, "stat");
	if (cli->json)
		return cli_print_json(json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:i, s:i}", "ok", 1, "bytes",
						(json_int_t)all.bytes, "bytes_free", (json_int_t)all.bytes_free,
						"bytes_available", (json_int_t)all.bytes_available, "files",
						(json_int_t)all.files, "files_free", (json_int_t)all.files_free,
						"nodes", (int)all.nodes, "nodes_silent", (int)all.nodes_silent));
	printf("%s, %s available; %llu files, %llu free; %u nodes, %u silent\n",
	       cli_bytes(bytes, sizeof(bytes), (double)all.bytes),
	       cli_bytes(available, sizeof(available), (double)all.bytes_available), (unsigned long long)all.files,
	       (unsigned long long)all.files_free, all.nodes, all.nodes_silent);
	return CLI_OK;
}

int cli_stat(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "no-follow", no_argument, NULL, 256 }, { 0 } };
	bool no_follow = false;
	int first = cli_parse(cli, argc, argv, own, stat_option, &no_follow, 0, -1), code;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code || first == argc)
		return code ? code : stat_pool(cli);
	for (int i = first; i < argc; i++) {
		const char *path = file_pool_path(argv[i]);
		struct virgo_file_stat stat;
		int error = file_stat(cli->virgo, (struct file_place){ true, path }, !no_follow, &stat);

		if (error) {
			int one = file_fail(cli, error, path[0] ? path : "/");

			code = code ? code : one;
		} else if (cli->json) {
			json_t *object = file_stat_json(&stat);

			(void)json_object_set_new(object, "ok", json_true());
			cli_json_bytes(object, "path", path, strlen(path));
			(void)cli_print_json(object);
		} else {
			printf("%s", i > first ? "\n" : "");
			print_stat(path, &stat);
		}
	}
	return code;
}

/* ---- du -------------------------------------------------------------------------------------------------------- */

struct usage {
	struct cli *cli;
	bool summary, exact, apparent;
	int code;
	json_t *json;
};

struct total {
	__u64 bytes, files, directories;
};

static bool usage_option(void *context, int option, const char *value)
{
	struct usage *usage = context;

	usage->summary |= option == 's';
	usage->exact |= option == 'b';
	usage->apparent |= option == 256;
	return true;
}

static void print_usage(struct usage *usage, const char *path, const struct total *total)
{
	char text[24];

	if (usage->cli->json) {
		json_t *object = json_pack("{s:I, s:I, s:I}", "bytes", (json_int_t)total->bytes, "files",
					   (json_int_t)total->files, "directories", (json_int_t)total->directories);

		cli_json_bytes(object, "path", path, strlen(path));
		(void)json_array_append_new(usage->json, object);
		return;
	}
	if (usage->exact)
		printf("%-12llu ", (unsigned long long)total->bytes);
	else
		printf("%-12s ", cli_bytes(text, sizeof(text), (double)total->bytes));
	file_print_name(path[0] ? path : "/");
	putchar('\n');
}

static struct total add_up(struct usage *usage, const char *path, const struct virgo_file_stat *stat, bool top)
{
	struct total total = { .bytes = usage->apparent ? stat->size : stat->allocated };
	struct file_list list;
	char *below;
	int error;

	if (!file_is(stat, S_IFDIR)) {
		total.files = 1;
		if (top)
			print_usage(usage, path, &total);
		return total;
	}
	total.directories = 1;
	if (usage->apparent)
		total.bytes = 0;
	below = malloc(FILE_PATH_BYTES);
	error = file_list(usage->cli->virgo, (struct file_place){ true, path }, &list);
	if (error || !below) {
		int code = file_fail(usage->cli, error ? error : -ENOMEM, path[0] ? path : "/");

		usage->code = usage->code ? usage->code : code;
	}
	for (size_t i = 0; below && i < list.count; i++) {
		struct total part;

		if (file_join(below, path, list.entries[i].name))
			continue;
		part = add_up(usage, below, &list.entries[i].stat, false);
		total.bytes += part.bytes;
		total.files += part.files;
		total.directories += part.directories;
	}
	file_list_free(&list);
	free(below);
	if (top || !usage->summary)
		print_usage(usage, path, &total);
	return total;
}

int cli_du(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "summarize", no_argument, NULL, 's' },
					     { "bytes", no_argument, NULL, 'b' },
					     { "apparent-size", no_argument, NULL, 256 },
					     { 0 } };
	static char root[] = "";
	struct usage usage = { .cli = cli };
	int first = cli_parse(cli, argc, argv, own, usage_option, &usage, 0, -1), code;
	char *whole[] = { root };

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	usage.json = json_array();
	if (first == argc) {
		argv = whole;
		argc = 1;
		first = 0;
	}
	for (int i = first; i < argc; i++) {
		const char *path = file_pool_path(argv[i]);
		struct virgo_file_stat stat;
		int error = virgo_lstat(cli->virgo, path, &stat);

		if (!error) {
			(void)add_up(&usage, path, &stat, true);
		} else {
			code = file_fail(cli, error, path);
			usage.code = usage.code ? usage.code : code;
		}
	}
	if (cli->json && !usage.code)
		return cli_print_json(json_pack("{s:b, s:o}", "ok", 1, "paths", usage.json));
	json_decref(usage.json);
	return usage.code;
}

/* ---- cat ------------------------------------------------------------------------------------------------------- */

int cli_cat(struct cli *cli, int argc, char **argv)
{
	struct file_end out = { .fd = STDOUT_FILENO, .stream = true };
	int first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 1, -1), code;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	for (int i = first; i < argc && !code; i++) {
		const char *path = file_pool_path(argv[i]);
		struct file_end in;
		struct file_stream stream = { .virgo = cli->virgo, .from = &in, .to = &out };
		__u64 end;
		int error = file_open(cli->virgo, (struct file_place){ true, path }, O_RDONLY, 0, 0, &in);

		if (!error) {
			error = file_stream_run(&stream, &end);
			(void)file_close(cli->virgo, &in);
		}
		if (error == -EPIPE) /* who reads has enough */
			return CLI_OK;
		code = error ? file_fail(cli, error, path) : CLI_OK;
	}
	return code;
}
