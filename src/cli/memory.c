/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo malloc, free, read, write */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/cli.h"

#define PIECE_BYTES (1u << 20) /* a long range moves in such pieces, so that the bar has something to show */

enum { OPTION_OFFSET = 256, OPTION_LENGTH };

struct range_options {
	__u64 offset, length;
	bool bounded;
	const char *output;
};

static bool range_option(void *context, int option, const char *value)
{
	struct range_options *options = context;

	switch (option) {
	case OPTION_OFFSET:
		return vg_size_parse(value, 0xffffffff, &options->offset) == 0;
	case OPTION_LENGTH:
		options->bounded = true;
		return vg_size_parse(value, 0xffffffff, &options->length) == 0;
	default:
		options->output = value;
		return true;
	}
}

int cli_malloc(struct cli *cli, int argc, char **argv)
{
	int first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 1, 1), code, error;
	char text[20];
	__u64 bytes;
	uint64_t handle;

	if (first < 0)
		return cli_parse_exit(first);
	if (vg_size_parse(argv[first], 0xffffffff, &bytes) || !bytes)
		return cli_complain(cli, CLI_USAGE, "not a size between 1 and 4294967295 bytes: %s", argv[first]);
	code = cli_connect(cli);
	if (code)
		return code;
	error = virgo_malloc(cli->virgo, bytes, &handle);
	if (error)
		return cli_fail(cli, error, argv[first]);
	(void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)handle);
	if (cli->json)
		return cli_print_json(
			json_pack("{s:b, s:s, s:I}", "ok", 1, "handle", text, "bytes", (json_int_t)bytes));
	puts(text);
	return CLI_OK;
}

int cli_free(struct cli *cli, int argc, char **argv)
{
	int first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 1, -1), code, error;
	__u64 handle;

	if (first < 0)
		return cli_parse_exit(first);
	for (int i = first; i < argc; i++)
		if (!cli_handle(argv[i], &handle))
			return cli_complain(cli, CLI_USAGE, "not a handle: %s", argv[i]);
	code = cli_connect(cli);
	if (code)
		return code;
	for (int i = first; i < argc; i++) {
		(void)cli_handle(argv[i], &handle);
		error = virgo_free(cli->virgo, handle);
		if (error)
			return cli_fail(cli, error, argv[i]);
	}
	return cli->json ? cli_print_json(json_pack("{s:b, s:i}", "ok", 1, "freed", argc - first)) : CLI_OK;
}

static int copy_out(struct cli *cli, __u64 handle, const struct range_options *options, int fd, const char **ret_what)
{
	struct cli_progress progress;
	char *piece = malloc(PIECE_BYTES);
	int error = piece ? 0 : -ENOMEM;

	*ret_what = "range";
	cli_progress_start(&progress, "reading", options->length, true);
	for (__u64 done = 0; !error && done < options->length; cli_progress_set(&progress, done)) {
		__u64 length = options->length - done < PIECE_BYTES ? options->length - done : PIECE_BYTES;

		error = virgo_get_range(cli->virgo, handle, options->offset + done, piece, length);
		if (!error) {
			error = cli_write_all(fd, piece, length);
			if (error)
				*ret_what = NULL;
		}
		done += length;
	}
	cli_progress_end(&progress);
	free(piece);
	return error;
}

int cli_read(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "offset", required_argument, NULL, OPTION_OFFSET },
					     { "length", required_argument, NULL, OPTION_LENGTH },
					     { "output", required_argument, NULL, 'o' },
					     { 0 } };
	struct range_options options = { 0 };
	int first = cli_parse(cli, argc, argv, own, range_option, &options, 1, 1), code, error, fd = STDOUT_FILENO;
	const char *what;
	uint64_t bytes;
	__u64 handle;

	if (first < 0)
		return cli_parse_exit(first);
	if (!cli_handle(argv[first], &handle))
		return cli_complain(cli, CLI_USAGE, "not a handle: %s", argv[first]);
	if (cli->json && !options.output)
		return cli_complain(cli, CLI_USAGE, "--json needs --output: an allocation is bytes, not text");
	code = cli_connect(cli);
	if (code)
		return code;
	error = virgo_size(cli->virgo, handle, &bytes);
	if (!error && options.offset > bytes)
		error = -ERANGE;
	if (error)
		return cli_fail(cli, error, argv[first]);
	if (!options.bounded)
		options.length = bytes - options.offset;
	if (options.output) {
		fd = open(options.output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		if (fd < 0)
			return cli_complain(cli, CLI_OTHER, "%s: %s", options.output, strerror(errno));
	}
	error = copy_out(cli, handle, &options, fd, &what);
	if (options.output && close(fd) && !error) {
		error = -errno;
		what = NULL;
	}
	if (error && !what)
		return cli_complain(cli, CLI_OTHER, "%s: %s", options.output ? options.output : "standard output",
				    strerror(-error));
	if (error)
		return cli_fail(cli, error, argv[first]);
	if (cli->json)
		return cli_print_json(json_pack("{s:b, s:I, s:s}", "ok", 1, "length", (json_int_t)options.length,
						"output", options.output));
	return CLI_OK;
}

int cli_write(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "offset", required_argument, NULL, OPTION_OFFSET }, { 0 } };
	struct range_options options = { 0 };
	int first = cli_parse(cli, argc, argv, own, range_option, &options, 2, 2), code, error;
	struct cli_progress progress;
	size_t length, done = 0;
	__u64 handle;
	char *data;

	if (first < 0)
		return cli_parse_exit(first);
	if (!cli_handle(argv[first], &handle))
		return cli_complain(cli, CLI_USAGE, "not a handle: %s", argv[first]);
	error = cli_read_file(argv[first + 1], &data, &length);
	if (error)
		return cli_complain(cli, CLI_OTHER, "%s: %s", argv[first + 1], strerror(-error));
	code = cli_connect(cli);
	cli_progress_start(&progress, "writing", length, true);
	while (!code && !error && done < length) {
		size_t piece = length - done < PIECE_BYTES ? length - done : PIECE_BYTES;

		error = virgo_set_range(cli->virgo, handle, options.offset + done, data + done, piece);
		done += piece;
		cli_progress_set(&progress, done);
	}
	cli_progress_end(&progress);
	free(data);
	if (code)
		return code;
	if (error)
		return cli_fail(cli, error, argv[first]);
	if (cli->json)
		return cli_print_json(json_pack("{s:b, s:I}", "ok", 1, "length", (json_int_t)length));
	return CLI_OK;
}
