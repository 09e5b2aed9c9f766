/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo run, attach, logs: one job in the foreground, or sent off. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/job.h"

enum { RUN_TTY = 256, RUN_DETACH, RUN_NO_INPUT, RUN_KIND };

static const struct option run_options[] = {
	CLI_JOB_OPTIONS,
	{ "tty", no_argument, NULL, RUN_TTY },
	{ "detach", no_argument, NULL, RUN_DETACH },
	{ "no-input", no_argument, NULL, RUN_NO_INPUT },
	{ "kind", required_argument, NULL, RUN_KIND },
	{ NULL, 0, NULL, 0 },
};

struct run {
	struct cli_job_options options;
	bool no_input;
	enum virgo_kind kind;
};

static bool kind_of(const char *text, enum virgo_kind *ret_kind)
{
	static const char *const names[] = { "function", "executable", "kernel" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0) {
			*ret_kind = (enum virgo_kind)i;
			return true;
		}
	return false;
}

static bool run_option(void *context, int option, const char *value)
{
	struct run *run = context;

	switch (option) {
	case RUN_TTY:
		run->options.job.flags |= VIRGO_JOB_TTY;
		return true;
	case RUN_DETACH:
		run->options.job.flags |= VIRGO_JOB_DETACH;
		return true;
	case RUN_NO_INPUT:
		run->no_input = true;
		return true;
	case RUN_KIND:
		return kind_of(value, &run->kind);
	default:
		return cli_job_option(&run->options, option, value);
	}
}

/* ---- functions and kernel programs: bytes in, bytes out --------------------------------------------------------- */

static int call(struct cli *cli, struct run *run, int argc, char **argv)
{
	struct virgo_job_result result;
	char *argument = NULL;
	size_t length = 0;
	int error, code;

	if (argc > 1)
		return cli_complain(cli, CLI_JOB_TROUBLE, "a function takes its argument from standard input, not %s",
				    argv[1]);
	if (!run->no_input && cli_job_has_input()) {
		error = cli_read_file("-", &argument, &length);
		if (error)
			return cli_complain(cli, CLI_JOB_TROUBLE, "standard input: %s", strerror(-error));
	}
	run->options.job.retries = run->options.retries;
	error = virgo_clone(cli->virgo, run->kind, argv[0], argument, length, &run->options.job, &result);
	free(argument);
	code = cli_job_exit(&result);
	if (cli->json) {
		json_t *object = cli_job_json(&result);

		if (!error)
			cli_json_bytes(object, "result", result.data, result.length);
		(void)cli_print_json(object);
	} else if (!error && cli_write_all(STDOUT_FILENO, result.data, result.length)) {
		code = CLI_JOB_TROUBLE;
	}
	if (error)
		fprintf(stderr, "virgo: %s: %s\n", argv[0], virgo_error_text(cli->virgo));
	virgo_job_result_free(&result);
	return code;
}

/* ---- programs --------------------------------------------------------------------------------------------------- */

static int follow(struct cli *cli, struct cli_job *job)
{
	const struct virgo_job_result *result;
	int code = cli_job_follow(job);

	result = virgo_job_result(job->job);
	if (job->detach && result && !result->error && !cli->json)
		printf("%s/%llx\n", result->node, (unsigned long long)result->job);
	return code;
}

static int execute(struct cli *cli, struct run *run, int argc, char **argv)
{
	struct virgo_job_options *options = &run->options.job;
	struct cli_job job;
	struct winsize size;
	int error = cli_job_prepare(&job, cli, argv[0]), code;

	(void)argc;
	job.tty = options->flags & VIRGO_JOB_TTY;
	job.detach = options->flags & VIRGO_JOB_DETACH;
	job.input = !run->no_input && !job.detach && cli_job_has_input();
	job.collect = cli->json;
	if (job.tty && job.detach)
		error = -EINVAL;
	options->flags |= job.input ? VIRGO_JOB_INPUT : 0;
	options->retries = run->options.retries;
	options->arguments = (const char *const *)argv + 1;
	options->output = cli_job_output;
	options->context = &job;
	if (job.tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) {
		options->rows = size.ws_row;
		options->columns = size.ws_col;
	}
	if (error)
		code = cli_complain(cli, CLI_JOB_TROUBLE, "%s",
				    error == -EINVAL ? "--tty and --detach do not go together" : strerror(-error));
	else if ((error = virgo_clone_start(cli->virgo, VIRGO_EXECUTABLE, argv[0], NULL, 0, options, &job.job)))
		code = cli_complain(cli, CLI_JOB_TROUBLE, "%s: %s", argv[0], virgo_error_text(cli->virgo));
	else
		code = follow(cli, &job);
	cli_job_deinit(&job);
	return code;
}

int cli_run(struct cli *cli, int argc, char **argv)
{
	struct run run = { .options.job.size = sizeof(run.options.job), .kind = VIRGO_EXECUTABLE };
	int first, code;

	cli->stop_at_argument = true;
	first = cli_parse(cli, argc, argv, run_options, run_option, &run, 1, -1);
	if (first < 0)
		return cli_job_parse_exit(first);
	cli_job_owner(cli);
	code = cli_connect(cli);
	if (code)
		return CLI_JOB_TROUBLE;
	if (run.kind != VIRGO_EXECUTABLE)
		return call(cli, &run, argc - first, argv + first);
	return execute(cli, &run, argc - first, argv + first);
}

/* ---- jobs that are there already -------------------------------------------------------------------------------- */

enum { ATTACH_NO_INPUT = 256 };

static const struct option attach_options[] = {
	{ "no-input", no_argument, NULL, ATTACH_NO_INPUT },
	{ NULL, 0, NULL, 0 },
};

static bool attach_option(void *context, int option, const char *value)
{
	(void)option;
	(void)value;
	*(bool *)context = true;
	return true;
}

/* How many bytes of output the job has by now; 0 also when its node does not know it: attaching then says so. */
static __u64 output_of(struct cli *cli, const char *node, __u64 number)
{
	json_t *list, *job;
	__u64 bytes = 0;
	size_t index;
	int error;

	list = cli_jobs_of(cli, node, &error);
	json_array_foreach(list, index, job)
	{
		const char *text = json_string_value(json_object_get(job, "job"));

		if (text && strtoull(text, NULL, 16) == number)
			bytes = (__u64)json_integer_value(json_object_get(job, "output_bytes"));
	}
	json_decref(list);
	return bytes;
}

static int attach(struct cli *cli, const char *name, bool input, bool follow_it)
{
	struct virgo_job_options options = { .size = sizeof(options), .output = cli_job_output };
	struct cli_job job;
	char node[256];
	__u64 number;
	int error, code;

	if (!cli_job_name(name, node, sizeof(node), &number))
		return cli_complain(cli, CLI_JOB_TROUBLE, "\"%s\" is no job: want NODE/NUMBER, as virgo jobs shows it",
				    name);
	cli_job_owner(cli);
	if (cli_connect(cli))
		return CLI_JOB_TROUBLE;
	error = cli_job_prepare(&job, cli, name);
	job.input = input && cli_job_has_input();
	job.collect = cli->json;
	job.only_kept = !follow_it;
	job.kept = follow_it ? 0 : output_of(cli, node, number);
	options.flags = job.input ? VIRGO_JOB_INPUT : 0;
	options.context = &job;
	if (!error)
		error = virgo_job_attach(cli->virgo, node, number, &options, &job.job);
	if (error)
		code = cli_complain(cli, CLI_JOB_TROUBLE, "%s: %s", name, virgo_error_text(cli->virgo));
	else
		code = cli_job_follow(&job);
	cli_job_deinit(&job);
	return code;
}

int cli_attach(struct cli *cli, int argc, char **argv)
{
	bool no_input = false;
	int first;

	first = cli_parse(cli, argc, argv, attach_options, attach_option, &no_input, 1, 1);
	return first < 0 ? cli_job_parse_exit(first) : attach(cli, argv[first], !no_input, true);
}

int cli_logs(struct cli *cli, int argc, char **argv)
{
	int first;

	first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 1, 1);
	return first < 0 ? cli_job_parse_exit(first) : attach(cli, argv[first], false, false);
}
