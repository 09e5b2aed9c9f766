/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cli/job.h"

#define DESCRIPTORS_MAX 1100
#define INPUT_BYTES 65536
#define JSON_OUTPUT_BYTES_MAX (64u << 20)
#define INTERRUPTS_MAX 3 /* so often is asked politely */

/* What is passed on to the job. */
static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };

/* ---- results --------------------------------------------------------------------------------------------------- */

int cli_job_exit(const struct virgo_job_result *result)
{
	if (result->timed_out)
		return CLI_JOB_TIMED_OUT;
	switch (-result->error) {
	case 0:
		return result->signal ? CLI_JOB_SIGNAL + result->signal : result->status & 0xff;
	case ENOENT:
		return CLI_JOB_NOT_FOUND;
	case ENOEXEC:
		return CLI_JOB_NOT_EXECUTABLE;
	default:
		return CLI_JOB_TROUBLE;
	}
}

bool cli_job_name(const char *text, char *ret_node, size_t node_bytes, __u64 *ret_id)
{
	const char *slash = strrchr(text, '/');

	if (!slash || slash == text || (size_t)(slash - text) >= node_bytes || !cli_handle(slash + 1, ret_id))
		return false;
	memcpy(ret_node, text, (size_t)(slash - text));
	ret_node[slash - text] = '\0';
	return true;
}

int cli_signal_number(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (end != text && !*end)
		return number > 0 && number < NSIG ? (int)number : 0;
	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	for (int signal = 1; signal < NSIG; signal++) {
		const char *name = sigabbrev_np(signal);

		if (name && strcmp(name, text) == 0)
			return signal;
	}
	return 0;
}

json_t *cli_job_json(const struct virgo_job_result *result)
{
	char job[24];

	(void)snprintf(job, sizeof(job), "%016llx", (unsigned long long)result->job);
	return json_pack("{s:b, s:i, s:i, s:b, s:s, s:s?, s:i, s:{s:s, s:s}, s:I, s:I, s:I, s:I, s:I, s:I}", "ok",
			 !result->error && !result->status && !result->signal, "status", result->status, "signal",
			 result->signal, "timed_out", result->timed_out, "job", job, "node", result->node, "attempts",
			 (int)result->attempts, "error", "name",
			 result->error ? strerrorname_np(-result->error) ?: "" : "", "text",
			 !result->error ? ""
			 : result->text ? result->text
					: virgo_strerror(result->error),
			 "elapsed_ns", (json_int_t)result->elapsed_ns, "queued_ns", (json_int_t)result->queued_ns,
			 "run_ns", (json_int_t)result->run_ns, "user_ns", (json_int_t)result->user_ns, "system_ns",
			 (json_int_t)result->system_ns, "memory_bytes", (json_int_t)result->memory_bytes);
}

void cli_json_spool(json_t *object, const char *name, struct cli_spool *spool)
{
	__u64 length = cli_spool_length(spool);
	size_t room = length < JSON_OUTPUT_BYTES_MAX ? (size_t)length : JSON_OUTPUT_BYTES_MAX, filled;
	char *data = malloc(room + 1);

	if (!data)
		return;
	filled = cli_spool_head(spool, data, room);
	cli_json_bytes(object, name, data, filled);
	free(data);
	if (filled < length)
		(void)json_object_set_new(object, "cut_off", json_true());
}

/* ---- output ---------------------------------------------------------------------------------------------------- */

void cli_job_output(void *context, int stream, const void *data, size_t length)
{
	struct cli_job *job = context;
	int error;

	if (job->output_error)
		return;
	job->shown += length;
	if (job->collect)
		error = cli_spool_add(stream == 2 ? &job->err : &job->out, data, length);
	else
		error = cli_write_all(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, data, length);
	if (!error)
		return;
	/* Nobody reads any more: the job hears what it would hear at the end of a pipe. */
	job->output_error = error;
	(void)virgo_job_kill(job->job, error == -EPIPE ? SIGPIPE : SIGTERM);
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

bool cli_job_has_input(void)
{
	struct stat status;

	if (fstat(STDIN_FILENO, &status))
		return false;
	return !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3);
}

static void pass_input(struct cli_job *job)
{
	static char data[INPUT_BYTES];
	size_t room = virgo_job_room(job->job);
	ssize_t got = read(STDIN_FILENO, data, room < sizeof(data) ? room : sizeof(data));

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got > 0 && virgo_job_write(job->job, data, (size_t)got) == got)
		return;
	job->input = false;
	(void)virgo_job_end_input(job->job);
}

/* ---- terminal and signals -------------------------------------------------------------------------------------- */

static void make_raw(struct cli_job *job)
{
	struct termios raw;

	if (isatty(STDIN_FILENO) != 1 || tcgetattr(STDIN_FILENO, &job->terminal))
		return;
	raw = job->terminal;
	cfmakeraw(&raw);
	job->terminal_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void resize(struct cli_job *job)
{
	struct winsize size;

	if (job->tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		(void)virgo_job_resize(job->job, size.ws_row, size.ws_col);
}

int cli_job_prepare(struct cli_job *job, struct cli *cli, const char *what)
{
	sigset_t held;

	*job = (struct cli_job){ .cli = cli, .what = what, .signals = -1 };
	cli_spool_init(&job->out);
	cli_spool_init(&job->err);
	(void)sigemptyset(&held);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		(void)sigaddset(&held, passed_on[i]);
	(void)sigprocmask(SIG_BLOCK, &held, NULL);
	/* A closed pipe is an error of write(2) here, and a signal for the job. */
	(void)signal(SIGPIPE, SIG_IGN);
	job->signals = signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK);
	return job->signals < 0 ? -errno : 0;
}

/* False: we were asked often enough, and leave without the job. */
static bool pass_signals(struct cli_job *job)
{
	struct signalfd_siginfo signal;

	while (read(job->signals, &signal, sizeof(signal)) == sizeof(signal)) {
		if (signal.ssi_signo == SIGWINCH) {
			resize(job);
			continue;
		}
		(void)virgo_job_kill(job->job, (int)signal.ssi_signo);
		if ((signal.ssi_signo == SIGINT || signal.ssi_signo == SIGTERM) && ++job->interrupts >= INTERRUPTS_MAX)
			return false;
	}
	return true;
}

/* ---- following ------------------------------------------------------------------------------------------------- */

/* Wait for the pool, a signal, or input that there is room for. */
static bool wait_turn(struct cli_job *job)
{
	struct pollfd polled[DESCRIPTORS_MAX];
	int timeout_ms, count = virgo_descriptors(job->cli->virgo, polled, DESCRIPTORS_MAX - 2, &timeout_ms);

	polled[count] = (struct pollfd){ .fd = job->signals, .events = POLLIN };
	polled[count + 1] = (struct pollfd){
		.fd = job->input && virgo_job_room(job->job) ? STDIN_FILENO : -1,
		.events = POLLIN,
	};
	if (poll(polled, (nfds_t)count + 2, timeout_ms) < 0 && errno != EINTR)
		return false;
	if (polled[count].revents && !pass_signals(job))
		return false;
	if (polled[count + 1].revents)
		pass_input(job);
	(void)virgo_poll(job->cli->virgo);
	return true;
}

static void report(struct cli_job *job, const struct virgo_job_result *result)
{
	json_t *object;

	if (job->cli->json) {
		object = cli_job_json(result);
		cli_json_spool(object, "stdout", &job->out);
		cli_json_spool(object, "stderr", &job->err);
		(void)cli_print_json(object);
	}
	if (result->timed_out)
		fprintf(stderr, "virgo: %s: its time was up\n", job->what);
	else if (result->error)
		fprintf(stderr, "virgo: %s%s%s: %s\n", job->what, result->node ? " on " : "",
			result->node ? result->node : "", result->text ? result->text : virgo_strerror(result->error));
}

int cli_job_follow(struct cli_job *job)
{
	const struct virgo_job_result *result;
	bool stay = true;

	if (job->tty)
		make_raw(job);
	while (!(result = virgo_job_result(job->job)) && stay &&
	       !(job->only_kept && virgo_job_attached(job->job) && job->shown >= job->kept))
		stay = wait_turn(job);
	if (job->terminal_raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &job->terminal);
	job->terminal_raw = false;
	if (!result)
		return stay ? CLI_OK : CLI_JOB_SIGNAL + SIGINT;
	if (job->output_error && job->output_error != -EPIPE)
		fprintf(stderr, "virgo: %s: output: %s\n", job->what, strerror(-job->output_error));
	report(job, result);
	if (job->output_error)
		return job->output_error == -EPIPE ? CLI_JOB_SIGNAL + SIGPIPE : CLI_JOB_TROUBLE;
	return cli_job_exit(result);
}

void cli_job_deinit(struct cli_job *job)
{
	virgo_job_free(job->job);
	cli_spool_deinit(&job->out);
	cli_spool_deinit(&job->err);
	if (job->signals >= 0)
		(void)close(job->signals);
}
