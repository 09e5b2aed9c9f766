/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * virgo mount: run virgo-mount, which stands beside this program or in the path, so that this one needs no libfuse.
 * virgo umount: take a mount away that virgo-mount has made, and no other.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

#define MOUNT_PROGRAM "virgo-mount"
#define MOUNT_TYPE "fuse.virgo"

int cli_mount(struct cli *cli, int argc, char **argv)
{
	char path[PATH_MAX], timeout[32], port[16];
	/* The general options before the command are said again. */
	char **all = calloc((size_t)argc + 10, sizeof(*all));
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(MOUNT_PROGRAM));
	int count = 0;

	if (!all)
		return cli_complain(cli, CLI_OTHER, "%s", strerror(ENOMEM));
	all[count++] = (char *)MOUNT_PROGRAM;
	if (cli->nodes) {
		all[count++] = (char *)"--node";
		all[count++] = (char *)cli->nodes;
	}
	if (cli->key_file) {
		all[count++] = (char *)"--key-file";
		all[count++] = (char *)cli->key_file;
	}
	if (cli->timeout_ms) {
		(void)snprintf(timeout, sizeof(timeout), "%llums", (unsigned long long)cli->timeout_ms);
		all[count++] = (char *)"--timeout";
		all[count++] = timeout;
	}
	if (cli->file_port) {
		(void)snprintf(port, sizeof(port), "%u", cli->file_port);
		all[count++] = (char *)"--file-port";
		all[count++] = port;
	}
	for (int i = 1; i < argc; i++)
		all[count++] = argv[i];
	if (length > 0) {
		path[length] = '\0';
		memcpy(strrchr(path, '/') + 1, MOUNT_PROGRAM, sizeof(MOUNT_PROGRAM));
		(void)execv(path, all);
	}
	(void)execvp(MOUNT_PROGRAM, all);
	free(all);
	return cli_complain(cli, CLI_OTHER, MOUNT_PROGRAM ": %s",
			    errno == ENOENT ? "it is not installed" : strerror(errno));
}

/* ---- umount ----------------------------------------------------------------------------------------------------- */

static const struct option umount_options[] = {
	{ "lazy", no_argument, NULL, 'l' },
	{ NULL, 0, NULL, 0 },
};

static bool umount_option(void *context, int option, const char *value)
{
	bool *lazy = context;

	*lazy = true;
	return true;
}

/* mountinfo's escapes: \040 and the like. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] && text[2] && text[3]) {
			*to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* Whether what is mounted there last is ours: the line is "ID PARENT DEVICE ROOT PLACE OPTIONS [TAG…] - TYPE …". */
static bool is_ours(const char *directory)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, place[PATH_MAX + 1];
	size_t bytes = 0;
	bool ours = false;

	while (file && getline(&line, &bytes, file) >= 0) {
		const char *type = strstr(line, " - ");

		if (!type || sscanf(line, "%*s %*s %*s %*s %4096s", place) != 1)
			continue;
		unescape(place);
		if (!strcmp(place, directory))
			ours = !strncmp(type + 3, MOUNT_TYPE " ", sizeof(MOUNT_TYPE));
	}
	free(line);
	if (file)
		(void)fclose(file);
	return ours;
}

/* A path without looking at what is mounted there, whose server may be gone: all but the last part is resolved. */
static bool place_of(const char *directory, char *place)
{
	char parent[PATH_MAX], resolved[PATH_MAX];
	size_t length = strlen(directory);
	const char *last;

	while (length > 1 && directory[length - 1] == '/')
		length--;
	if (length >= sizeof(parent))
		return false;
	memcpy(parent, directory, length);
	parent[length] = '\0';
	last = strrchr(parent, '/');
	last = last ? last + 1 : parent;
	if (!strcmp(last, ".") || !strcmp(last, "..") || !*last)
		return realpath(directory, place);
	length = (size_t)(last - parent);
	if (!realpath(length ? (parent[length - 1] = '\0', *parent ? parent : "/") : ".", resolved))
		return false;
	return snprintf(place, PATH_MAX, "%s/%s", strcmp(resolved, "/") ? resolved : "", last) < PATH_MAX;
}

/* Not root: fusermount3 may, for a mount of the same user. 0 or -1. */
static int run_fusermount(const char *directory, bool lazy)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		(void)execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "--", directory, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return status ? -1 : 0;
}

int cli_umount(struct cli *cli, int argc, char **argv)
{
	bool lazy = false;
	int first = cli_parse(cli, argc, argv, umount_options, umount_option, &lazy, 1, -1), code = CLI_OK;

	if (first < 0)
		return cli_parse_exit(first);
	for (int i = first; i < argc; i++) {
		char place[PATH_MAX];

		if (!place_of(argv[i], place) || !is_ours(place))
			code = cli_complain(cli, CLI_NOT_FOUND, "%s: no pool is mounted there", argv[i]);
		else if (!umount2(place, lazy ? MNT_DETACH : 0))
			continue;
		else if (errno != EPERM)
			code = cli_complain(cli, CLI_OTHER, "%s: %s", argv[i],
					    errno == EBUSY ? "somebody uses it (--lazy does not mind)" :
							     strerror(errno));
		else if (run_fusermount(place, lazy)) /* it has said why */
			code = CLI_OTHER;
	}
	return code;
}
