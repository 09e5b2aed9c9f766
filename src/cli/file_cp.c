/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo cp, put, get, sync */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/file.h"

#define WORKERS_DEFAULT 8
#define WORKERS_MAX 64
#define STRIPES_MAX 64

void file_copy_init(struct file_copy *copy, struct cli *cli)
{
	*copy = (struct file_copy){ .cli = cli, .workers = WORKERS_DEFAULT };
	(void)pthread_mutex_init(&copy->lock, NULL);
}

bool file_copy_option(void *context, int option, const char *value)
{
	struct file_copy *copy = context;
	__u64 number;

	switch (option) {
	case 'r':
		return copy->recursive = true;
	case 'p':
		return copy->preserve = true;
	case 'v':
		return copy->verbose = true;
	case FILE_NO_REPLACE:
		return copy->no_replace = true;
	case FILE_QUIET:
		return copy->quiet = true;
	case FILE_STRIPE:
		if (vg_number_parse(value, STRIPES_MAX, &number) || !number)
			return false;
		copy->stripes = (unsigned int)number;
		return true;
	case FILE_WORKERS:
		if (vg_number_parse(value, WORKERS_MAX, &number) || !number)
			return false;
		copy->workers = (unsigned int)number;
		return true;
	default:
		return false;
	}
}

/* ---- cp, put, get ---------------------------------------------------------------------------------------------- */

/* Standard input into a file of the pool, or a file of the pool into standard output. */
static int copy_stream(struct file_copy *copy, const char *path, bool out)
{
	struct file_end here = { .fd = out ? STDOUT_FILENO : STDIN_FILENO, .stream = true }, there;
	struct virgo *virgo;
	struct file_stream stream = { .from = out ? &there : &here, .to = out ? &here : &there };
	int code = cli_connect(copy->cli), error, closed;
	__u64 end;

	if (code)
		return code;
	stream.virgo = virgo = copy->cli->virgo;
	error = file_open(virgo, (struct file_place){ true, path },
			  out ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC | (copy->no_replace ? O_EXCL : 0), 0644,
			  copy->stripes, &there);
	if (error)
		return file_fail(copy->cli, error, path);
	error = file_stream_run(&stream, &end);
	closed = file_close(virgo, &there);
	error = error ? error : closed;
	return error ? file_fail(copy->cli, error, path) : CLI_OK;
}

/* One source to its place: into the directory `to`, or as `to`. */
static void copy_one(struct file_copy *copy, const char *from, const char *to, bool into)
{
	char path[FILE_PATH_BYTES], last[FILE_PATH_BYTES];
	struct virgo_file_stat stat;
	int error = file_stat(copy->cli->virgo, file_from(copy, from), !copy->recursive, &stat);

	/* A root, or "..": what is in it, then. */
	if (!error && into && file_last(last, from)[0])
		error = file_join(path, to, last);
	else if (!error)
		(void)snprintf(path, sizeof(path), "%s", to);
	if (error)
		file_copy_failed(copy, copy->from_pool ? copy->cli->virgo : NULL, error, from);
	else
		file_copy_tree(copy, from, path, &stat);
}

static bool ends_with_slash(const char *path)
{
	size_t length = strlen(path);

	return !length || path[length - 1] == '/';
}

static int copy_all(struct file_copy *copy, int count, char **sources, const char *to, const char *what)
{
	struct virgo_file_stat stat;
	bool into;
	int code;

	if (strlen(to) >= FILE_PATH_BYTES)
		return cli_complain(copy->cli, CLI_USAGE, "the name is too long");
	code = file_copy_begin(copy, what);
	if (code)
		return code;
	into = !file_stat(copy->cli->virgo, file_to(copy, to), true, &stat) && file_is(&stat, S_IFDIR);
	if (!into && (count > 1 || (ends_with_slash(to) && !copy->recursive)))
		file_copy_failed(copy, NULL, -ENOTDIR, to);
	else
		for (int i = 0; i < count; i++)
			copy_one(copy, copy->from_pool ? file_pool_path(sources[i]) : sources[i], to, into);
	return file_copy_end(copy);
}

static const struct option copy_options[] = { FILE_COPY_OPTIONS, { 0 } };

int cli_cp(struct cli *cli, int argc, char **argv)
{
	struct file_copy copy;
	struct file_place to;
	int first;

	file_copy_init(&copy, cli);
	first = cli_parse(cli, argc, argv, copy_options, file_copy_option, &copy, 2, -1);
	if (first < 0)
		return cli_parse_exit(first);
	to = file_place_of(argv[argc - 1]);
	copy.to_pool = to.pool;
	copy.from_pool = argv[first][0] == ':';
	for (int i = first; i < argc - 1; i++)
		if ((argv[i][0] == ':') != copy.from_pool)
			return cli_complain(cli, CLI_USAGE, "the sources must be all here or all in the pool (:PATH)");
	if (!copy.from_pool && !copy.to_pool)
		return cli_complain(cli, CLI_USAGE, "none of these is in the pool: write :PATH for one that is");
	return copy_all(&copy, argc - 1 - first, argv + first, to.path, "cp");
}

int cli_put(struct cli *cli, int argc, char **argv)
{
	struct file_copy copy;
	int first, count;

	file_copy_init(&copy, cli);
	first = cli_parse(cli, argc, argv, copy_options, file_copy_option, &copy, 1, -1);
	if (first < 0)
		return cli_parse_exit(first);
	copy.to_pool = true;
	count = argc - first;
	if (count == 2 && !strcmp(argv[first], "-"))
		return copy_stream(&copy, file_pool_path(argv[first + 1]), false);
	/* With one argument: into the pool's root. */
	return copy_all(&copy, count > 1 ? count - 1 : 1, argv + first, count > 1 ? file_pool_path(argv[argc - 1]) : "",
			"put");
}

int file_get(struct file_copy *copy, int count, char **arguments)
{
	copy->from_pool = true;
	if (count == 2 && !strcmp(arguments[1], "-"))
		return copy_stream(copy, file_pool_path(arguments[0]), true);
	return copy_all(copy, count - 1, arguments, arguments[count - 1], "get");
}

/* ---- sync ------------------------------------------------------------------------------------------------------ */

enum { SYNC_CHECKSUM = 700, SYNC_VERIFY, SYNC_DELETE, SYNC_DRY_RUN };

static bool sync_option(void *context, int option, const char *value)
{
	struct file_copy *copy = context;

	switch (option) {
	case SYNC_CHECKSUM:
		return copy->checksum = true;
	case SYNC_VERIFY:
		return copy->verify = true;
	case SYNC_DELETE:
		return copy->delete_others = true;
	case SYNC_DRY_RUN:
		return copy->dry_run = true;
	default:
		return file_copy_option(copy, option, value);
	}
}

/* The directories that lead to it are made, too. */
static int make_parents(struct file_copy *copy, const char *path)
{
	char part[FILE_PATH_BYTES];
	int error = 0;

	for (const char *at = strchr(path + 1, '/'); path[0] && at && !error; at = strchr(at + 1, '/')) {
		(void)snprintf(part, sizeof(part), "%.*s", (int)(at - path), path);
		error = copy->dry_run ? 0 : file_mkdir(copy->cli->virgo, file_to(copy, part), 0777);
		error = error == -EEXIST ? 0 : error;
	}
	return error;
}

int cli_sync(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "checksum", no_argument, NULL, SYNC_CHECKSUM },
					     { "verify", no_argument, NULL, SYNC_VERIFY },
					     { "delete", no_argument, NULL, SYNC_DELETE },
					     { "dry-run", no_argument, NULL, SYNC_DRY_RUN },
					     { "stripe", required_argument, NULL, FILE_STRIPE },
					     { "workers", required_argument, NULL, FILE_WORKERS },
					     { "verbose", no_argument, NULL, 'v' },
					     { "no-progress", no_argument, NULL, FILE_QUIET },
					     { 0 } };
	struct file_place from, to;
	struct virgo_file_stat stat;
	struct file_copy copy;
	int first, code, error;

	file_copy_init(&copy, cli);
	first = cli_parse(cli, argc, argv, own, sync_option, &copy, 2, 2);
	if (first < 0)
		return cli_parse_exit(first);
	from = file_place_of(argv[first]);
	to = file_place_of(argv[first + 1]);
	copy.from_pool = from.pool;
	copy.to_pool = to.pool;
	copy.sync = copy.recursive = copy.preserve = true;
	if (!from.pool && !to.pool)
		return cli_complain(cli, CLI_USAGE, "none of these is in the pool: write :PATH for one that is");
	if (strlen(to.path) >= FILE_PATH_BYTES)
		return cli_complain(cli, CLI_USAGE, "the name is too long");
	code = file_copy_begin(&copy, "sync");
	if (code)
		return code;
	error = file_stat(cli->virgo, from, true, &stat);
	if (error)
		file_copy_failed(&copy, from.pool ? cli->virgo : NULL, error, argv[first]);
	else if ((error = make_parents(&copy, to.path)))
		file_copy_failed(&copy, to.pool ? cli->virgo : NULL, error, argv[first + 1]);
	else
		file_copy_tree(&copy, from.path, to.path, &stat);
	return file_copy_end(&copy);
}
