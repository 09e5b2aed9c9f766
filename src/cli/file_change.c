/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo rm, mkdir, mv */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/number.h"
#include "cli/file.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif
#define HOME_NOTE "user.virgo.home" /* of a directory: the node where its files shall live */

/* ---- rm -------------------------------------------------------------------------------------------------------- */

struct removing {
	struct cli *cli;
	bool recursive, force, verbose;
	__u64 removed;
	int code;
};

static bool remove_option(void *context, int option, const char *value)
{
	struct removing *removing = context;

	removing->recursive |= option == 'r';
	removing->force |= option == 'f';
	removing->verbose |= option == 'v';
	return true;
}

static void failed(struct removing *removing, int error, const char *path)
{
	int code = file_fail(removing->cli, error, path[0] ? path : "/");

	removing->code = removing->code ? removing->code : code;
}

static void remove_tree(struct removing *removing, const char *path, const struct virgo_file_stat *stat)
{
	bool directory = file_is(stat, S_IFDIR);
	struct virgo *virgo = removing->cli->virgo;
	struct file_list list;
	int error = 0;

	if (directory) {
		char *below = malloc(FILE_PATH_BYTES);

		error = file_list(virgo, (struct file_place){ true, path }, &list);
		for (size_t i = 0; below && !error && i < list.count; i++)
			if (!file_join(below, path, list.entries[i].name))
				remove_tree(removing, below, &list.entries[i].stat);
		file_list_free(&list);
		free(below);
		/* The pool's root stays. */
		if (!error && !path[strspn(path, "/")])
			return;
	}
	error = error ? error : file_unlink(virgo, (struct file_place){ true, path }, directory);
	if (error && !(error == -ENOENT && removing->force)) {
		failed(removing, error, path);
		return;
	}
	removing->removed++;
	if (removing->verbose && !removing->cli->json)
		printf("removed %s\n", path);
}

int cli_rm(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "recursive", no_argument, NULL, 'r' },
					     { "force", no_argument, NULL, 'f' },
					     { "verbose", no_argument, NULL, 'v' },
					     { 0 } };
	struct removing removing = { .cli = cli };
	int first = cli_parse(cli, argc, argv, own, remove_option, &removing, 1, -1), code;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	for (int i = first; i < argc; i++) {
		const char *path = file_pool_path(argv[i]);
		struct virgo_file_stat stat;
		int error = virgo_lstat(cli->virgo, path, &stat);

		if (error == -ENOENT && removing.force)
			continue;
		if (!error && file_is(&stat, S_IFDIR) && !removing.recursive)
			error = -EISDIR;
		if (error)
			failed(&removing, error, path);
		else
			remove_tree(&removing, path, &stat);
	}
	if (cli->json && !removing.code)
		return cli_print_json(json_pack("{s:b, s:I}", "ok", 1, "removed", (json_int_t)removing.removed));
	return removing.code;
}

/* ---- mkdir ----------------------------------------------------------------------------------------------------- */

struct making {
	bool parents;
	mode_t mode;
	const char *home;
};

static bool make_option(void *context, int option, const char *value)
{
	struct making *making = context;
	char *end;
	unsigned long mode;

	if (option == 'p')
		making->parents = true;
	else if (option == 256)
		making->home = value;
	else {
		mode = strtoul(value, &end, 8);
		making->mode = (mode_t)mode;
		return !*end && end != value && mode <= 07777;
	}
	return true;
}

static int make_one(struct virgo *virgo, const struct making *making, const char *path)
{
	char *part = strdup(path);
	int error = part ? 0 : -ENOMEM;

	for (char *at = part; part && making->parents && !error && (at = strchr(at + 1, '/'));) {
		*at = '\0';
		error = at == part ? 0 : virgo_mkdir(virgo, part, 0777);
		error = error == -EEXIST ? 0 : error;
		*at = '/';
	}
	free(part);
	if (!error) {
		error = virgo_mkdir(virgo, path, making->mode);
		if (error == -EEXIST && making->parents) {
			struct virgo_file_stat stat;

			error = virgo_stat(virgo, path, &stat);
			if (!error && !file_is(&stat, S_IFDIR))
				error = -EEXIST;
		}
	}
	if (!error && making->home)
		error = file_set_note(virgo, (struct file_place){ true, path }, HOME_NOTE, making->home);
	return error;
}

int cli_mkdir(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "parents", no_argument, NULL, 'p' },
					     { "mode", required_argument, NULL, 'm' },
					     { "home", required_argument, NULL, 256 },
					     { 0 } };
	struct making making = { .mode = 0755 };
	int first = cli_parse(cli, argc, argv, own, make_option, &making, 1, -1), code;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	for (int i = first; i < argc; i++) {
		const char *path = file_pool_path(argv[i]);
		int error = make_one(cli->virgo, &making, path), one = error ? file_fail(cli, error, path) : CLI_OK;

		code = code ? code : one;
	}
	return code || !cli->json ? code : cli_print_json(json_pack("{s:b}", "ok", 1));
}

/* ---- mv -------------------------------------------------------------------------------------------------------- */

static bool move_option(void *context, int option, const char *value)
{
	*(unsigned int *)context |= RENAME_NOREPLACE;
	return true;
}

int cli_mv(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "no-replace", no_argument, NULL, FILE_NO_REPLACE }, { 0 } };
	char path[FILE_PATH_BYTES], last[FILE_PATH_BYTES];
	struct virgo_file_stat stat;
	unsigned int flags = 0;
	int first = cli_parse(cli, argc, argv, own, move_option, &flags, 2, -1), code;
	const char *to;
	bool into;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	to = file_pool_path(argv[argc - 1]);
	into = !virgo_stat(cli->virgo, to, &stat) && file_is(&stat, S_IFDIR);
	if (!into && argc - first > 2)
		return cli_complain(cli, CLI_USAGE, "%s is no directory", to);
	for (int i = first; i < argc - 1; i++) {
		const char *from = file_pool_path(argv[i]);
		int error = 0, one;

		if (into)
			error = file_join(path, to, file_last(last, from));
		error = error ? error : virgo_rename(cli->virgo, from, into ? path : to, flags);
		one = error ? file_fail(cli, error, from) : CLI_OK;
		code = code ? code : one;
	}
	return code || !cli->json ? code : cli_print_json(json_pack("{s:b}", "ok", 1));
}
