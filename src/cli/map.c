/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo map: a command for each argument, all over the pool. map_engine.h counts; here jobs are started and shown. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/job.h"
#include "cli/map_engine.h"
#include "cli/map_resume.h"
#include "cli/map_template.h"

#define DESCRIPTORS_MAX 1100
#define JOBS_MAX 4096
#define JOBS_A_NODE 4
#define LINE_READ_BYTES 65536
#define PIECE_BYTES 65536

struct map_run {
	struct cli *cli;
	struct map_engine map;
	struct map_resume resume;
	struct cli_job_options options;
	struct cli_progress progress;
	const char *resume_file, *output_file;
	unsigned int jobs;
	bool input_files, null, no_progress;
	/* The arguments: those behind ":::", or lines of standard input. */
	char **arguments;
	bool from_input, input_ended;
	char *line; /* what has been read and not yet taken */
	size_t line_start, line_end, line_room;
	struct task *tasks;
	int signals, interrupts;
	int trouble; /* a negative errno: output cannot be written, or input not read */
};

/* A job that runs. */
struct task {
	struct map_run *run;
	struct map_job *job;
	struct virgo_job *handle;
	int input; /* the file it reads, -1: none, or all of it has been sent */
	struct task *next, *before;
};

/* ---- a job's end ------------------------------------------------------------------------------------------------ */

static void task_free(struct task *task)
{
	if (task->input >= 0)
		(void)close(task->input);
	if (task->before)
		task->before->next = task->next;
	else
		task->run->tasks = task->next;
	if (task->next)
		task->next->before = task->before;
	virgo_job_free(task->handle);
	free(task);
}

static void task_output(void *context, int stream, const void *data, size_t length)
{
	struct task *task = context;
	int error = map_output(task->job, stream, data, length);

	if (error && !task->run->trouble) {
		task->run->trouble = error;
		fprintf(stderr, "virgo: map: output cannot be kept: %s\n", strerror(-error));
	}
}

static void task_ended(void *context, const struct virgo_job_result *result)
{
	struct task *task = context;
	struct map_run *run = task->run;
	struct map_job *job = task->job;
	struct map_result ended = {
		.error = result->error,
		.status = cli_job_exit(result),
		.elapsed_ns = result->elapsed_ns,
	};

	(void)snprintf(ended.node, sizeof(ended.node), "%s", result->node ? result->node : "");
	if (result->error || result->timed_out)
		(void)snprintf(ended.text, sizeof(ended.text), "%s",
			       result->timed_out ? "its time was up"
			       : result->text	 ? result->text
						 : virgo_strerror(result->error));
	task_free(task);
	map_done(&run->map, job, &ended);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static int start(void *context, struct map_job *job)
{
	struct map_run *run = context;
	struct virgo_job_options options = run->options.job;
	struct task *task = calloc(1, sizeof(*task));
	int error;

	if (!task)
		return -ENOMEM;
	task->run = run;
	task->job = job;
	task->input = run->input_files ? open(job->argument, O_RDONLY | O_CLOEXEC) : -1;
	error = run->input_files && task->input < 0 ? -errno : 0;
	options.flags |= run->input_files ? VIRGO_JOB_INPUT : 0;
	options.arguments = (const char *const *)job->command + 1;
	options.output = task_output;
	options.ended = task_ended;
	options.context = task;
	if (!error)
		error = virgo_clone_start(run->cli->virgo, VIRGO_EXECUTABLE, job->command[0], NULL, 0, &options,
					  &task->handle);
	if (error) {
		if (task->input >= 0)
			(void)close(task->input);
		free(task);
		return error == -EAGAIN ? -EBUSY : error;
	}
	task->next = run->tasks;
	if (run->tasks)
		run->tasks->before = task;
	run->tasks = task;
	job->runner = task;
	return 0;
}

static void stop(void *context, struct map_job *job)
{
	struct task *task = job->runner;

	(void)context;
	(void)virgo_job_kill(task->handle, 0);
}

/* ---- showing results --------------------------------------------------------------------------------------------- */

/* Whole or not at all: under another name first. */
static int write_file(struct map_run *run, struct map_job *job)
{
	char *words[] = { (char *)run->output_file }, **path = NULL, *temporary = NULL;
	int error = map_expand(words, 1, job->argument, job->number, &path), fd = -1;

	if (!error && asprintf(&temporary, "%s.XXXXXX", path[0]) < 0) {
		temporary = NULL;
		error = -ENOMEM;
	}
	if (!error) {
		fd = mkostemp(temporary, O_CLOEXEC);
		error = fd < 0 ? -errno : 0;
	}
	if (!error)
		error = cli_spool_copy(&job->out, fd);
	if (fd >= 0 && (fchmod(fd, 0644) || close(fd)) && !error)
		error = -errno;
	if (!error && rename(temporary, path[0]))
		error = -errno;
	if (error) {
		fprintf(stderr, "virgo: map: %s: %s\n", path ? path[0] : run->output_file, strerror(-error));
		if (fd >= 0)
			(void)unlink(temporary);
	}
	free(temporary);
	free(path);
	return error;
}

static int show_json(struct map_run *run, struct map_job *job)
{
	const struct map_result *result = &job->result;
	json_t *object = json_pack("{s:b, s:I, s:i, s:s, s:s, s:i, s:f}", "ok", !map_failed(result), "number",
				   (json_int_t)job->number, "status", result->error ? -1 : result->status, "node",
				   result->node, "error", result->text, "attempts", (int)job->attempts, "seconds",
				   (double)result->elapsed_ns / 1e9);

	cli_json_bytes(object, "argument", job->argument, strlen(job->argument));
	if (!run->output_file)
		cli_json_spool(object, "stdout", &job->out);
	cli_json_spool(object, "stderr", &job->err);
	(void)cli_print_json(object);
	return fflush(stdout) ? -errno : 0;
}

static void emit(void *context, struct map_job *job)
{
	struct map_run *run = context;
	int error = 0;

	cli_progress_end(&run->progress);
	if (run->output_file && !map_failed(&job->result) && write_file(run, job)) {
		/* Not done: the next run with the resume file tries again. */
		job->result.error = -EIO;
		run->map.failed++;
	}
	if (run->cli->json)
		error = show_json(run, job);
	else if (!run->output_file)
		error = cli_spool_copy(&job->out, STDOUT_FILENO);
	if (!error && !run->cli->json)
		error = cli_spool_copy(&job->err, STDERR_FILENO);
	if (job->result.error || job->result.text[0])
		fprintf(stderr, "virgo: map: %s%s%s: %s\n", job->argument, job->result.node[0] ? " on " : "",
			job->result.node, job->result.text[0] ? job->result.text : virgo_strerror(job->result.error));
	if (!error)
		error = map_resume_note(&run->resume, job);
	if (error && !run->trouble) {
		run->trouble = error;
		if (error != -EPIPE)
			fprintf(stderr, "virgo: map: %s\n", strerror(-error));
	}
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static void take_argument(struct map_run *run, const char *argument, size_t length)
{
	struct map_job *job;
	int error = map_make(&run->map, argument, length, &job);

	if (error) {
		fprintf(stderr, "virgo: map: %.*s…: %s\n", length < 40 ? (int)length : 40, argument, strerror(-error));
		run->map.failed++;
		run->map.finished++;
		run->map.added++;
	} else if (map_resume_take(&run->resume, job->hash)) {
		map_skip(&run->map, job);
	} else {
		map_add(&run->map, job);
	}
}

/* Whole lines of what has been read, as many as are wanted; at the end of the input also the last one. */
static void take_lines(struct map_run *run)
{
	const char end = run->null ? '\0' : '\n';

	while (map_wants(&run->map) && run->line_start < run->line_end) {
		char *line = run->line + run->line_start, *close;
		size_t left = run->line_end - run->line_start, length;

		close = memchr(line, end, left);
		if (!close && !run->input_ended)
			return;
		length = close ? (size_t)(close - line) : left;
		run->line_start += length + (close != NULL);
		/* An empty line is nobody's argument. */
		if (length)
			take_argument(run, line, length);
	}
}

static void read_lines(struct map_run *run)
{
	ssize_t got;

	if (run->line_start) {
		memmove(run->line, run->line + run->line_start, run->line_end - run->line_start);
		run->line_end -= run->line_start;
		run->line_start = 0;
	}
	if (run->line_room - run->line_end < LINE_READ_BYTES) {
		char *larger = run->line_end > 4 * MAP_COMMAND_BYTES_MAX
				       ? NULL
				       : realloc(run->line, run->line_room + 2 * LINE_READ_BYTES);

		if (!larger) {
			run->trouble = -E2BIG;
			fprintf(stderr, "virgo: map: a line of standard input is over the limit\n");
			return;
		}
		run->line = larger;
		run->line_room += 2 * LINE_READ_BYTES;
	}
	got = read(STDIN_FILENO, run->line + run->line_end, LINE_READ_BYTES);
	if (got > 0)
		run->line_end += (size_t)got;
	else if (got == 0)
		run->input_ended = true;
	else if (errno != EINTR && errno != EAGAIN)
		run->trouble = -errno;
}

static void take_arguments(struct map_run *run)
{
	while (!run->from_input && *run->arguments && map_wants(&run->map)) {
		take_argument(run, *run->arguments, strlen(*run->arguments));
		run->arguments++;
	}
	if (!run->from_input)
		run->input_ended = !*run->arguments;
	else
		take_lines(run);
}

static bool has_all(const struct map_run *run)
{
	return run->input_ended && run->line_start == run->line_end;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static void pass_input(struct task *task)
{
	static char piece[PIECE_BYTES];
	size_t room;

	while ((room = virgo_job_room(task->handle)) && task->input >= 0) {
		ssize_t got = read(task->input, piece, room < sizeof(piece) ? room : sizeof(piece));

		if (got > 0 && virgo_job_write(task->handle, piece, (size_t)got) == got)
			continue;
		(void)close(task->input);
		task->input = -1;
		if (got < 0) {
			fprintf(stderr, "virgo: map: %s: %s\n", task->job->argument, strerror(errno));
			(void)virgo_job_kill(task->handle, 0);
		}
		(void)virgo_job_end_input(task->handle);
	}
}

static void take_signals(struct map_run *run)
{
	struct signalfd_siginfo signal;

	while (read(run->signals, &signal, sizeof(signal)) == sizeof(signal)) {
		run->interrupts++;
		map_stop(&run->map);
	}
}

static void wait_turn(struct map_run *run)
{
	struct pollfd polled[DESCRIPTORS_MAX];
	const bool reads = run->from_input && !run->input_ended && map_wants(&run->map);
	int timeout_ms, count = virgo_descriptors(run->cli->virgo, polled, DESCRIPTORS_MAX - 2, &timeout_ms);

	polled[count] = (struct pollfd){ .fd = run->signals, .events = POLLIN };
	polled[count + 1] = (struct pollfd){ .fd = reads ? STDIN_FILENO : -1, .events = POLLIN };
	if (poll(polled, (nfds_t)count + 2, timeout_ms) < 0 && errno != EINTR) {
		run->trouble = -errno;
		return;
	}
	if (polled[count].revents)
		take_signals(run);
	if (polled[count + 1].revents)
		read_lines(run);
	(void)virgo_poll(run->cli->virgo);
	for (struct task *task = run->tasks; task; task = task->next)
		if (task->input >= 0)
			pass_input(task);
}

static void run_all(struct map_run *run)
{
	cli_progress_start(&run->progress, "map", 0, false);
	run->progress.terminal &= !run->no_progress;
	for (;;) {
		take_arguments(run);
		map_pump(&run->map);
		run->progress.total = run->map.added;
		cli_progress_set(&run->progress, run->map.finished);
		if (run->trouble)
			map_stop(&run->map);
		if ((map_idle(&run->map) && (has_all(run) || run->map.stopping)) || run->interrupts > 1)
			break;
		/* What waits in the buffer needs no input. */
		if (!(map_wants(&run->map) && run->from_input && run->line_start < run->line_end && run->input_ended))
			wait_turn(run);
	}
	cli_progress_end(&run->progress);
}

static int report(struct map_run *run)
{
	const struct map_engine *map = &run->map;
	const double seconds = (double)(cli_now_ns() - run->progress.started_ns) / 1e9;

	if (run->cli->json)
		(void)cli_print_json(json_pack("{s:b, s:I, s:I, s:I, s:I, s:f}", "ok", !map->failed && !run->interrupts,
					       "jobs", (json_int_t)map->finished, "failed", (json_int_t)map->failed,
					       "skipped", (json_int_t)map->skipped, "retried", (json_int_t)map->retried,
					       "seconds", seconds));
	else if (map->failed)
		fprintf(stderr, "virgo: map: %llu of %llu failed\n", (unsigned long long)map->failed,
			(unsigned long long)map->finished);
	if (run->interrupts)
		return CLI_JOB_SIGNAL + SIGINT;
	if (run->trouble)
		return run->trouble == -EPIPE ? CLI_JOB_SIGNAL + SIGPIPE : CLI_JOB_TROUBLE;
	return map_exit(map);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

enum { MAP_KEEP_ORDER = 256, MAP_RESUME, MAP_INPUT, MAP_OUTPUT, MAP_NO_PROGRESS };

static const struct option map_options[] = {
	CLI_JOB_OPTIONS,
	{ "jobs", required_argument, NULL, 'j' },
	{ "keep-order", no_argument, NULL, MAP_KEEP_ORDER },
	{ "resume", required_argument, NULL, MAP_RESUME },
	{ "input", no_argument, NULL, MAP_INPUT },
	{ "output", required_argument, NULL, MAP_OUTPUT },
	{ "null", no_argument, NULL, '0' },
	{ "no-progress", no_argument, NULL, MAP_NO_PROGRESS },
	{ NULL, 0, NULL, 0 },
};

static bool map_option(void *context, int option, const char *value)
{
	struct map_run *run = context;
	__u64 number;

	switch (option) {
	case 'j':
		if (vg_number_parse(value, JOBS_MAX, &number) || !number)
			return false;
		run->jobs = (unsigned int)number;
		return true;
	case MAP_KEEP_ORDER:
		run->map.keep_order = true;
		return true;
	case MAP_RESUME:
		run->resume_file = value;
		return value[0] != '\0';
	case MAP_INPUT:
		run->input_files = true;
		return true;
	case MAP_OUTPUT:
		run->output_file = value;
		return value[0] != '\0';
	case '0':
		run->null = true;
		return true;
	case MAP_NO_PROGRESS:
		run->no_progress = true;
		return true;
	default:
		return cli_job_option(&run->options, option, value);
	}
}

static const struct map_ops ops = { start, emit, stop };

/* The words of the command end at ":::", if there is one; how many there are. */
static size_t split(struct map_run *run, char **words, int count)
{
	size_t length = 0;

	while (length < (size_t)count && strcmp(words[length], ":::") != 0)
		length++;
	run->from_input = length == (size_t)count;
	run->arguments = words + length + !run->from_input;
	return length;
}

static int prepare(struct map_run *run)
{
	sigset_t held;
	size_t bad_line = 0;
	int error;

	(void)sigemptyset(&held);
	(void)sigaddset(&held, SIGINT);
	(void)sigaddset(&held, SIGTERM);
	(void)sigaddset(&held, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &held, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	run->signals = signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK);
	if (run->signals < 0)
		return cli_complain(run->cli, CLI_JOB_TROUBLE, "map: %s", strerror(errno));
	if (!run->resume_file)
		return 0;
	error = map_resume_open(&run->resume, run->resume_file, &bad_line);
	if (error == -EINVAL)
		return cli_complain(run->cli, CLI_JOB_TROUBLE, "%s, line %zu: not a resume file", run->resume_file,
				    bad_line);
	return error ? cli_complain(run->cli, CLI_JOB_TROUBLE, "%s: %s", run->resume_file, strerror(-error)) : 0;
}

int cli_map(struct cli *cli, int argc, char **argv)
{
	struct map_run run = {
		.cli = cli, .resume.fd = -1, .signals = -1, .options.job.size = sizeof(run.options.job)
	};
	int first, code;
	size_t words;

	cli->stop_at_argument = true;
	map_init(&run.map, &ops, &run, NULL, 0);
	first = cli_parse(cli, argc, argv, map_options, map_option, &run, 1, -1);
	if (first < 0)
		return cli_job_parse_exit(first);
	words = split(&run, argv + first, argc - first);
	if (!words)
		return cli_complain(cli, CLI_JOB_TROUBLE, "map: there is no command before :::");
	run.map.words = argv + first;
	run.map.word_count = words;
	run.map.retries = run.options.retries;
	/* A full pool is no failure of a job that can wait. */
	if (!run.options.job.busy_ms)
		run.options.job.busy_ms = ~0u;
	cli_job_owner(cli);
	if (cli_connect(cli))
		return CLI_JOB_TROUBLE;
	run.map.jobs_max = run.jobs ? run.jobs : JOBS_A_NODE * virgo_nodes(cli->virgo);
	code = prepare(&run);
	if (!code) {
		run_all(&run);
		code = report(&run);
	}
	while (run.tasks)
		task_free(run.tasks);
	map_deinit(&run.map);
	map_resume_close(&run.resume);
	if (run.signals >= 0)
		(void)close(run.signals);
	free(run.line);
	return code;
}
