/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Options that run and map have in common, and whose the jobs of this user are. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/job.h"

#define OWNER_DIGITS 32

bool cli_job_option(struct cli_job_options *options, int option, const char *value)
{
	struct virgo_job_options *job = &options->job;
	__u64 number;
	double share;
	char *end;

	switch (option) {
	case CLI_JOB_ON:
		job->node = value;
		return value[0] != '\0';
	case CLI_JOB_POLICY:
		job->policy = value;
		return value[0] != '\0';
	case CLI_JOB_CPU:
		share = strtod(value, &end);
		job->cpu_permille = (unsigned int)(share * 1000 + 0.5);
		return end != value && !*end && share >= 0.001 && share <= 1e6;
	case CLI_JOB_MEMORY:
		return vg_size_parse(value, 1ULL << 50, &number) == 0 && (job->memory_bytes = number) != 0;
	case CLI_JOB_TIMEOUT:
		if (!cli_span(value, &number) || !number || number > 0xffffffff)
			return false;
		job->timeout_ms = (unsigned int)number;
		return true;
	case CLI_JOB_BUSY:
		if (!cli_span(value, &number) || number > 0xffffffff)
			return false;
		job->busy_ms = (unsigned int)(number ? number : 1);
		return true;
	case CLI_JOB_RETRY:
		if (vg_number_parse(value, 1000, &number))
			return false;
		options->retries = (unsigned int)number;
		return true;
	case CLI_JOB_PRIORITY:
		if (vg_number_parse(value, 255, &number) || !number)
			return false;
		job->priority = (unsigned int)number;
		return true;
	case CLI_JOB_DIRECTORY:
		job->directory = value;
		return value[0] != '\0';
	case CLI_JOB_ENVIRONMENT:
		return cli_job_environment(options, value);
	case CLI_JOB_ISOLATE:
		job->flags |= VIRGO_JOB_ISOLATE;
		return true;
	default:
		return false;
	}
}

/* NAME=VALUE, or NAME for what it is here; a name that is not set here is left out, as ssh does. */
bool cli_job_environment(struct cli_job_options *options, const char *value)
{
	const char *here;
	char *entry;

	if (options->environment_count + 2 > CLI_JOB_ENVIRONMENT_MAX || !value[0] || value[0] == '=')
		return false;
	if (strchr(value, '=')) {
		options->environment[options->environment_count++] = value;
	} else {
		here = getenv(value);
		if (!here)
			return true;
		if (asprintf(&entry, "%s=%s", value, here) < 0)
			return false;
		options->environment[options->environment_count++] = entry; /* as long as the program runs */
	}
	options->job.environment = options->environment;
	return true;
}

/* ---- owner ----------------------------------------------------------------------------------------------------- */

static int make_owner(const char *path, char *owner)
{
	unsigned char drawn[OWNER_DIGITS / 2];
	int fd, error = 0;

	if (getrandom(drawn, sizeof(drawn), 0) != sizeof(drawn))
		return -errno;
	for (size_t i = 0; i < sizeof(drawn); i++)
		(void)snprintf(owner + 2 * i, 3, "%02x", drawn[i]);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = cli_write_all(fd, owner, OWNER_DIGITS);
	if (close(fd) && !error)
		error = -errno;
	return error;
}

static int read_owner(const char *path, char *owner)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = read(fd, owner, OWNER_DIGITS);
	(void)close(fd);
	owner[OWNER_DIGITS] = '\0';
	return got == OWNER_DIGITS && strspn(owner, "0123456789abcdef") == OWNER_DIGITS ? 0 : -EINVAL;
}

static void make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
}

void cli_job_owner(struct cli *cli)
{
	static char owner[OWNER_DIGITS + 1];
	const char *said = getenv("VIRGO_OWNER"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char path[4096];
	int error;

	if (said && said[0]) {
		cli->owner = said;
		return;
	}
	if ((!state || !state[0]) && (!home || !home[0]))
		return;
	if (snprintf(path, sizeof(path), "%s%s/virgo/owner", state && state[0] ? state : home,
		     state && state[0] ? "" : "/.local/state") >= (int)sizeof(path))
		return;
	error = read_owner(path, owner);
	if (error == -ENOENT) {
		make_folders(path);
		error = make_owner(path, owner);
		/* Another virgo was faster: then his is ours too. */
		if (error == -EEXIST)
			error = read_owner(path, owner);
	}
	/* Without it the jobs are this process's alone; nothing else is lost. */
	if (!error)
		cli->owner = owner;
}
