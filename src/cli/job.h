/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One job in the foreground: its input from our standard input, its output to our standard output and error, our
 * signals passed on to it, our terminal lent to it. What `virgo run`, `attach` and `logs` have in common.
 */
#ifndef VG_CLI_JOB_H
#define VG_CLI_JOB_H

#include <termios.h>

#include "cli/cli.h"
#include "cli/spool.h"

/* What run and map end with when it is not the command's own status; as env(1), timeout(1) and the shells have it. */
#define CLI_JOB_TIMED_OUT 124
#define CLI_JOB_TROUBLE 125 /* ours: no node, wrong usage, nobody knows how it ended */
#define CLI_JOB_NOT_EXECUTABLE 126
#define CLI_JOB_NOT_FOUND 127
#define CLI_JOB_SIGNAL 128 /* + its number */

/* Options of run and map: CLI_JOB_OPTIONS in the command's table, cli_job_option() in its function. */
enum {
	CLI_JOB_ON = 512,
	CLI_JOB_POLICY,
	CLI_JOB_CPU,
	CLI_JOB_MEMORY,
	CLI_JOB_TIMEOUT,
	CLI_JOB_BUSY,
	CLI_JOB_RETRY,
	CLI_JOB_PRIORITY,
	CLI_JOB_DIRECTORY,
	CLI_JOB_ENVIRONMENT,
	CLI_JOB_ISOLATE
};
/* clang-format off */
#define CLI_JOB_OPTIONS                                              \
	{ "on", required_argument, NULL, CLI_JOB_ON },               \
	{ "policy", required_argument, NULL, CLI_JOB_POLICY },       \
	{ "cpu", required_argument, NULL, CLI_JOB_CPU },             \
	{ "mem", required_argument, NULL, CLI_JOB_MEMORY },          \
	{ "timeout", required_argument, NULL, CLI_JOB_TIMEOUT },     \
	{ "busy", required_argument, NULL, CLI_JOB_BUSY },           \
	{ "retry", required_argument, NULL, CLI_JOB_RETRY },         \
	{ "priority", required_argument, NULL, CLI_JOB_PRIORITY },   \
	{ "cwd", required_argument, NULL, CLI_JOB_DIRECTORY },       \
	{ "env", required_argument, NULL, CLI_JOB_ENVIRONMENT },     \
	{ "isolate", no_argument, NULL, CLI_JOB_ISOLATE }
/* clang-format on */
#define CLI_JOB_OPTIONS_HELP                                                                                           \
	"  --on NODE            there: an address, or a node's number (default: where --policy says)\n"                \
	"  --policy P           prequal (default), leastloaded, p2c, prg, locality: virgo lb sim shows them\n"         \
	"  --cpu N              processors it may use: 0.5, 2\n"                                                       \
	"  --mem SIZE           memory it may use: 512m\n"                                                             \
	"  --timeout SPAN       how long it may run\n"                                                                 \
	"  --busy SPAN          how long to look for a node that is not full (default: -t)\n"                          \
	"  --priority N         when a node is full: 1 to 255, lower is first (default 128)\n"                         \
	"  --cwd DIR            the folder it runs in\n"                                                               \
	"  --env NAME[=VALUE]   of its environment, which is then all of it but PATH; may be repeated\n"               \
	"  --isolate            it sees no other process, mount or network\n"

#define CLI_JOB_ENVIRONMENT_MAX 256
struct cli_job_options {
	struct virgo_job_options job;
	unsigned int retries;
	const char *environment[CLI_JOB_ENVIRONMENT_MAX];
	size_t environment_count;
};
bool cli_job_option(struct cli_job_options *options, int option, const char *value);
bool cli_job_environment(struct cli_job_options *options, const char *value);
/* Whose the jobs are: VIRGO_OWNER, else a number drawn once for this user. Before cli_connect(). */
void cli_job_owner(struct cli *cli);

struct cli_job {
	struct cli *cli;
	const char *what; /* for messages */
	struct virgo_job *job;
	bool input;   /* our standard input is the job's */
	bool tty;     /* our terminal is raw meanwhile */
	bool collect; /* --json: output is kept, not written */
	bool detach;
	bool only_kept; /* leave when everything that was there at the beginning has been shown */
	__u64 kept;
	/* private */
	struct cli_spool out, err;
	int signals;	/* signalfd */
	int interrupts; /* how often we were asked to leave */
	int output_error;
	__u64 shown; /* bytes */
	bool terminal_raw;
	struct termios terminal;
};

/* Before virgo_clone_start(): signals are held back from here on. 0 or a negative errno. */
int cli_job_prepare(struct cli_job *job, struct cli *cli, const char *what);
/* The output function of the options (context: the cli_job). */
void cli_job_output(void *context, int stream, const void *data, size_t length);
/* Stay with the job until it ends; the exit status. */
int cli_job_follow(struct cli_job *job);
void cli_job_deinit(struct cli_job *job);

/* What a command that passes on a job's status leaves with after cli_parse(). */
static inline int cli_job_parse_exit(int parsed)
{
	return parsed == CLI_PARSE_HELP ? CLI_OK : CLI_JOB_TROUBLE;
}

/* The exit status that stands for a result. */
int cli_job_exit(const struct virgo_job_result *result);
/* "10.0.0.1:10000/1a2b" as `virgo run --detach` and `virgo jobs` print it: where it is, and its number. */
bool cli_job_name(const char *text, char *ret_node, size_t node_bytes, __u64 *ret_id);
/* Whether our standard input is worth passing on: not /dev/null, not closed. */
bool cli_job_has_input(void);
/* "TERM", "SIGTERM", "15"; 0: none. */
int cli_signal_number(const char *text);
/* The CPU pool of the node with this index, or NULL: it has none, or it is that of one before. */
const char *cli_cpu_node(struct cli *cli, unsigned int node);
/* The jobs of a node as an array; NULL: *ret_error says why. */
json_t *cli_jobs_of(struct cli *cli, const char *node, int *ret_error);
/* Everything about a result but its output. */
json_t *cli_job_json(const struct virgo_job_result *result);
void cli_json_spool(json_t *object, const char *name, struct cli_spool *spool);

#endif
