/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command line `virgo`: a table of commands over the public API. Results go to standard output, as text or, with
 * --json, as one JSON object; everything else goes to standard error.
 */
#ifndef VG_CLI_CLI_H
#define VG_CLI_CLI_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"
#include "virgo/virgo.h"

/* What the program ends with; the man page says the same. */
enum cli_exit {
	CLI_OK = 0,
	CLI_NOT_FOUND = 1, /* no such key, the handle is gone, a condition was not met, a comparison failed */
	CLI_USAGE = 2,
	CLI_UNREACHABLE = 3, /* no node answers */
	CLI_REFUSED = 4,     /* the cluster key is missing or wrong */
	CLI_OTHER = 5,
};

struct cli {
	const char *command;
	const char *nodes, *key_file; /* NULL: the library's defaults */
	const char *owner;	      /* of jobs; NULL: this process */
	unsigned int cpu_port, file_port;
	__u64 timeout_ms, window;
	size_t near_bytes;  /* of a near cache; 0: none */
	unsigned int flags; /* VIRGO_NO_UDP … */
	bool json;
	bool stop_at_argument; /* options end at the first argument */
	struct virgo *virgo;   /* opened by the first cli_connect */
};

struct cli_command {
	const char *name, *arguments, *help;
	const char *options; /* one a line, for --help; or NULL */
	int (*run)(struct cli *cli, int argc, char **argv);
};
extern const struct cli_command cli_commands[]; /* ends with a NULL name */

/* ---- main.c ---------------------------------------------------------------------------------------------------- */

/*
 * Read the command's own options and the general ones, which may stand anywhere; fn gets each of its own (the `val` of
 * its entry, 256 or more, and its argument) and returns false for a value that is none. `minimum` and `maximum` bound
 * the arguments (-1: no limit). Returns the index of the first argument, or a negative number: leave with CLI_USAGE,
 * or, if help was asked and given, with CLI_OK (cli_parse_exit says which).
 */
typedef bool (*cli_option_fn)(void *context, int option, const char *value);
int cli_parse(struct cli *cli, int argc, char **argv, const struct option *own, cli_option_fn fn, void *context,
	      int minimum, int maximum);
int cli_parse_exit(int parsed);
#define CLI_PARSE_HELP (-1)
#define CLI_PARSE_USAGE (-2)

/* Open the client. CLI_OK, or what to leave with after the message was printed. */
int cli_connect(struct cli *cli);
/* One more client, for another thread. */
int cli_connect_other(struct cli *cli, struct virgo **ret_virgo);

/* ---- output.c -------------------------------------------------------------------------------------------------- */

/* Print what went wrong with `what` ("get greeting") and return the exit code. */
int cli_fail(struct cli *cli, int error, const char *what);
/* The same with the words that came with the error; empty: none. */
int cli_fail_said(struct cli *cli, int error, const char *what, const char *said);
/* The same for trouble outside the pool: files, arguments. */
int cli_complain(struct cli *cli, enum cli_exit code, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum cli_exit cli_exit_of(int error);
/* Print the object on one line and let it go; CLI_OK. */
int cli_print_json(json_t *object);
/* A string, or, where the bytes are not UTF-8, their hex digits under `name`_hex. */
void cli_json_bytes(json_t *object, const char *name, const void *data, size_t length);
/* "1.50 ms"; the text is in `buffer` of 16 bytes or more, which is returned. */
const char *cli_duration(char *buffer, size_t bytes, double ns);
const char *cli_bytes(char *text, size_t text_bytes, double bytes);

/* ---- input.c --------------------------------------------------------------------------------------------------- */

/* The whole file ("-": standard input) in memory from malloc, one zero byte behind it. 0 or negative errno. */
int cli_read_file(const char *path, char **ret_data, size_t *ret_length);
int cli_write_all(int fd, const void *data, size_t length);

/* A handle as `virgo malloc` prints it: 16 hex digits, with or without 0x. */
bool cli_handle(const char *text, __u64 *ret_handle);
/* "30", "1.5s", "200ms", "2m", "1h", "7d" in milliseconds; a bare number is seconds. */
bool cli_span(const char *text, __u64 *ret_ms);

/* ---- progress.c ------------------------------------------------------------------------------------------------ */

/* A bar on standard error, only on a terminal and only when it takes longer than a moment. */
struct cli_progress {
	const char *what;
	__u64 total, done, started_ns, drawn_ns;
	bool bytes, terminal, drawn;
};
void cli_progress_start(struct cli_progress *progress, const char *what, __u64 total, bool bytes);
void cli_progress_set(struct cli_progress *progress, __u64 done);
void cli_progress_end(struct cli_progress *progress);
__u64 cli_now_ns(void);

/* ---- commands -------------------------------------------------------------------------------------------------- */

int cli_get(struct cli *cli, int argc, char **argv);
int cli_check_log(struct cli *cli, int argc, char **argv);
int cli_set(struct cli *cli, int argc, char **argv);
int cli_del(struct cli *cli, int argc, char **argv);
int cli_cas(struct cli *cli, int argc, char **argv);
int cli_malloc(struct cli *cli, int argc, char **argv);
int cli_free(struct cli *cli, int argc, char **argv);
int cli_read(struct cli *cli, int argc, char **argv);
int cli_write(struct cli *cli, int argc, char **argv);
int cli_ping(struct cli *cli, int argc, char **argv);
int cli_status(struct cli *cli, int argc, char **argv);
int cli_run_command(struct cli *cli, int argc, char **argv);
int cli_load(struct cli *cli, int argc, char **argv);
int cli_verify(struct cli *cli, int argc, char **argv);
int cli_bench(struct cli *cli, int argc, char **argv);
int cli_run(struct cli *cli, int argc, char **argv);
int cli_map(struct cli *cli, int argc, char **argv);
int cli_jobs(struct cli *cli, int argc, char **argv);
int cli_logs(struct cli *cli, int argc, char **argv);
int cli_attach(struct cli *cli, int argc, char **argv);
int cli_kill(struct cli *cli, int argc, char **argv);
int cli_backup(struct cli *cli, int argc, char **argv);
int cli_restore(struct cli *cli, int argc, char **argv);
int cli_snapshot_read(struct cli *cli, int argc, char **argv);
int cli_top(struct cli *cli, int argc, char **argv);
int cli_top_mem(struct cli *cli, bool once, __u64 interval_ms); /* virgo top mem: called by cli_top */
int cli_ls(struct cli *cli, int argc, char **argv);
int cli_cat(struct cli *cli, int argc, char **argv);
int cli_put(struct cli *cli, int argc, char **argv);
int cli_cp(struct cli *cli, int argc, char **argv);
int cli_sync(struct cli *cli, int argc, char **argv);
int cli_mv(struct cli *cli, int argc, char **argv);
int cli_rm(struct cli *cli, int argc, char **argv);
int cli_mkdir(struct cli *cli, int argc, char **argv);
int cli_stat(struct cli *cli, int argc, char **argv);
int cli_du(struct cli *cli, int argc, char **argv);
int cli_hotkeys(struct cli *cli, int argc, char **argv);
int cli_lb(struct cli *cli, int argc, char **argv);
int cli_nodes(struct cli *cli, int argc, char **argv);
int cli_mount(struct cli *cli, int argc, char **argv);
int cli_umount(struct cli *cli, int argc, char **argv);

#endif
