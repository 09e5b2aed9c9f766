/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo get, set, cas, del */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/cli.h"
#include "cli/file.h"

#define NEAR_BYTES (64u << 20)

enum { OPTION_EX = 256, OPTION_NX, OPTION_XX, OPTION_KEEP_TTL, OPTION_NEAR };

/* A value to where it was asked for; to a terminal with the line feed that lets the prompt start anew. */
static int put_value(struct cli *cli, const char *path, const void *data, size_t length)
{
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : STDOUT_FILENO;
	int error = fd < 0 ? -errno : cli_write_all(fd, data, length);

	if (!error && !path && isatty(fd) && (!length || ((const char *)data)[length - 1] != '\n'))
		error = cli_write_all(fd, "\n", 1);
	if (path && fd >= 0 && close(fd) && !error)
		error = -errno;
	return error ? cli_complain(cli, CLI_OTHER, "%s: %s", path ? path : "standard output", strerror(-error))
		     : CLI_OK;
}

struct get_options {
	const char *path;
	unsigned long near; /* reads through a near cache; 0: one read without */
	struct file_copy files;
	bool of_files; /* one of their options */
};

static bool get_option(void *context, int option, const char *value)
{
	struct get_options *options = context;

	if (option == OPTION_NEAR) {
		options->near = strtoul(value, NULL, 10);
		return options->near > 0;
	}
	if (option == 'o') {
		options->path = value;
		return true;
	}
	options->of_files = true;
	return file_copy_option(&options->files, option, value);
}

/* Read again and again, and say where the values came from. */
static int read_near(struct cli *cli, const char *key, unsigned long times)
{
	struct virgo_counters counters;
	__u64 started_ns = cli_now_ns();
	size_t length;
	void *value;
	char each[24];
	int error;

	for (unsigned long i = 0; i < times; i++) {
		error = virgo_key_get(cli->virgo, key, strlen(key), &value, &length);
		if (error)
			return error;
		free(value);
	}
	virgo_counters(cli->virgo, &counters);
	fprintf(stderr, "virgo get: %llu of %lu from the near cache, %s each\n",
		(unsigned long long)counters.near_hits, times,
		cli_duration(each, sizeof(each), (double)(cli_now_ns() - started_ns) / (double)times));
	return 0;
}

int cli_get(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "output", required_argument, NULL, 'o' },
					     { "near", required_argument, NULL, OPTION_NEAR },
					     FILE_COPY_OPTIONS,
					     { 0 } };
	struct get_options options = { 0 };
	int first, code, error;
	const char *path;
	void *value;
	size_t length;
	json_t *object;

	file_copy_init(&options.files, cli);
	first = cli_parse(cli, argc, argv, own, get_option, &options, 1, -1);
	if (first < 0)
		return cli_parse_exit(first);
	if (argc - first > 1 && !options.path && !options.near)
		return file_get(&options.files, argc - first, argv + first);
	if (argc - first > 1 || options.of_files)
		return cli_complain(cli, CLI_USAGE, "get takes a key, or files of the pool and where they shall go");
	path = options.path;
	cli->near_bytes = options.near ? NEAR_BYTES : 0;
	code = cli_connect(cli);
	if (code)
		return code;
	error = options.near > 1 ? read_near(cli, argv[first], options.near - 1) : 0;
	error = error ? error : virgo_key_get(cli->virgo, argv[first], strlen(argv[first]), &value, &length);
	if (error)
		return cli_fail(cli, error, argv[first]);
	if (cli->json && !path) {
		object = json_pack("{s:b, s:I}", "ok", 1, "length", (json_int_t)length);
		cli_json_bytes(object, "key", argv[first], strlen(argv[first]));
		cli_json_bytes(object, "value", value, length);
		code = cli_print_json(object);
	} else {
		code = put_value(cli, path, value, length);
		if (!code && cli->json)
			code = cli_print_json(
				json_pack("{s:b, s:I, s:s}", "ok", 1, "length", (json_int_t)length, "output", path));
	}
	free(value);
	return code;
}

struct set_options {
	unsigned int flags;
	__u64 expire_ms;
};

static bool set_option(void *context, int option, const char *value)
{
	struct set_options *options = context;

	switch (option) {
	case OPTION_EX:
		return cli_span(value, &options->expire_ms) && options->expire_ms;
	case OPTION_NX:
		options->flags |= VIRGO_IF_ABSENT;
		return true;
	case OPTION_XX:
		options->flags |= VIRGO_IF_PRESENT;
		return true;
	default:
		options->flags |= VIRGO_KEEP_EXPIRY;
		return true;
	}
}

int cli_set(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "ex", required_argument, NULL, OPTION_EX },
					     { "nx", no_argument, NULL, OPTION_NX },
					     { "xx", no_argument, NULL, OPTION_XX },
					     { "keep-ttl", no_argument, NULL, OPTION_KEEP_TTL },
					     { 0 } };
	struct set_options options = { 0 };
	int first = cli_parse(cli, argc, argv, own, set_option, &options, 2, 2), code, error;
	char *data = NULL;
	const char *value;
	size_t length;

	if (first < 0)
		return cli_parse_exit(first);
	if ((options.flags & VIRGO_IF_ABSENT) && (options.flags & VIRGO_IF_PRESENT))
		return cli_complain(cli, CLI_USAGE, "--nx and --xx exclude each other");
	code = cli_connect(cli);
	if (code)
		return code;
	value = argv[first + 1];
	length = strlen(value);
	if (strcmp(value, "-") == 0) {
		error = cli_read_file("-", &data, &length);
		if (error)
			return cli_complain(cli, CLI_OTHER, "standard input: %s", strerror(-error));
		value = data;
	}
	error = virgo_key_set(cli->virgo, argv[first], strlen(argv[first]), value, length, options.expire_ms,
			      options.flags);
	free(data);
	if (error)
		return cli_fail(cli, error, argv[first]);
	if (cli->json)
		return cli_print_json(json_pack("{s:b, s:I}", "ok", 1, "length", (json_int_t)length));
	return CLI_OK;
}

static int version_of(struct cli *cli, const char *key, uint64_t *ret_version)
{
	void *value;
	size_t length;
	int error = virgo_get_version(cli->virgo, key, strlen(key), &value, &length, ret_version);

	if (error)
		return cli_fail(cli, error, key);
	free(value);
	return CLI_OK;
}

int cli_cas(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "keep-ttl", no_argument, NULL, OPTION_KEEP_TTL }, { 0 } };
	struct set_options options = { 0 };
	int first = cli_parse(cli, argc, argv, own, set_option, &options, 1, 3), code, error;
	uint64_t version = 0;
	const char *key;
	__u64 wanted;

	if (first < 0)
		return cli_parse_exit(first);
	key = argv[first];
	if (argc - first == 2 || (argc - first == 3 && vg_number_parse(argv[first + 1], ~0ULL, &wanted)))
		return cli_complain(cli, CLI_USAGE, "give a key alone, or a key, a version and a value");
	code = cli_connect(cli);
	if (!code && argc - first == 1) {
		code = version_of(cli, key, &version);
	} else if (!code) {
		error = virgo_cas(cli->virgo, key, strlen(key), argv[first + 2], strlen(argv[first + 2]), wanted,
				  options.flags, &version);
		code = error ? cli_fail(cli, error, key) : CLI_OK;
	}
	if (code)
		return code;
	if (cli->json)
		return cli_print_json(json_pack("{s:b, s:I}", "ok", 1, "version", (json_int_t)version));
	printf("%llu\n", (unsigned long long)version);
	return CLI_OK;
}

int cli_del(struct cli *cli, int argc, char **argv)
{
	int first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 1, -1), code, error;
	unsigned int deleted = 0;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	for (int i = first; i < argc; i++) {
		error = virgo_key_del(cli->virgo, argv[i], strlen(argv[i]));
		if (error && error != -ENOENT)
			return cli_fail(cli, error, argv[i]);
		deleted += !error;
	}
	if (cli->json)
		(void)cli_print_json(json_pack("{s:b, s:i}", "ok", 1, "deleted", deleted));
	else if (argc - first > 1)
		printf("%u\n", deleted);
	return deleted ? CLI_OK : CLI_NOT_FOUND;
}
