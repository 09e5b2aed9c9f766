/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * posix_check [-s] TRUSTED CHECKED [NAME]: does each thing once in the directory TRUSTED (ext4) and once in CHECKED (a
 * mount), and compares what is seen. Prints TAP. With NAME: those checks alone whose name has it. -s: CHECKED is spread
 * over several nodes.
 */
#include <dirent.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "posix_check.h"
#include "posix_files.h"
#include "posix_attributes.h"
#include "posix_names.h"
#include "posix_locks.h"

#define SAID_BYTES 16384
#define CHECK_SECONDS 30 /* then it hangs */

static char said[SAID_BYTES];
static size_t said_length;

void say(const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	if (said_length && said_length < SAID_BYTES - 2)
		said[said_length++] = ' ';
	length = vsnprintf(said + said_length, SAID_BYTES - said_length, format, arguments);
	va_end(arguments);
	if (length > 0)
		said_length += (size_t)length < SAID_BYTES - said_length ? (size_t)length : SAID_BYTES - said_length - 1;
}

int must_open(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		say("cannot open %s: %s", path, strerrorname_np(errno));
	return fd;
}

void put(const char *path, const char *text)
{
	int fd = must_open(path, O_WRONLY | O_CREAT | O_TRUNC);

	if (fd >= 0 && write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		say("cannot write %s: %s", path, strerrorname_np(errno));
	close(fd);
}

void show(const char *path)
{
	char text[256];
	int fd = open(path, O_RDONLY);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (length < 0) {
		say("%s", strerrorname_np(errno));
	} else {
		for (ssize_t i = 0; i < length; i++)
			text[i] = text[i] ? text[i] : '~';
		text[length] = '\0';
		say("\"%s\"", text);
	}
	if (fd >= 0)
		close(fd);
}

void show_size(const char *path)
{
	struct stat stat;

	N(lstat(path, &stat) ? -1 : stat.st_size);
}

void in_child(void (*fn)(void))
{
	int pipes[2], status;
	pid_t pid;
	ssize_t length, all = 0;

	if (pipe(pipes) || (pid = fork()) < 0) {
		say("no child");
		return;
	}
	if (!pid) {
		close(pipes[0]);
		said_length = 0;
		fn();
		_exit(write(pipes[1], said, said_length) != (ssize_t)said_length);
	}
	close(pipes[1]);
	if (said_length && said_length < SAID_BYTES - 2)
		said[said_length++] = ' ';
	while ((length = read(pipes[0], said + said_length, SAID_BYTES - 1 - said_length)) > 0) {
		said_length += (size_t)length;
		all += length;
	}
	close(pipes[0]);
	said[said_length] = '\0';
	if (waitpid(pid, &status, 0) != pid || status)
		say("child ended with %d", status);
}

/* ---- running them ----------------------------------------------------------------------------------------------- */

/* The linker's names for where the section begins and ends. */
extern const struct check *__start_checks[], *__stop_checks[];

static int by_order(const void *a, const void *b)
{
	return (int)(*(const struct check *const *)a)->order - (int)(*(const struct check *const *)b)->order;
}

/* A check under way, in a process of its own: whatever it opens, locks and changes ends with it. */
struct running {
	pid_t pid;
	int from;
};

static void start(struct running *running, const struct check *check, const char *directory, unsigned int number)
{
	int pipes[2];
	char own[64];

	(void)snprintf(own, sizeof(own), "check-%d-%u", getpid(), number);
	if (pipe(pipes) || (running->pid = fork()) < 0)
		exit(99);
	if (!running->pid) {
		close(pipes[0]);
		alarm(CHECK_SECONDS);
		umask(022);
		if (chdir(directory) || mkdir(own, 0755) || chdir(own))
			say("no directory in %s: %s", directory, strerrorname_np(errno));
		else
			check->run();
		_exit(write(pipes[1], said, said_length) != (ssize_t)said_length);
	}
	close(pipes[1]);
	running->from = pipes[0];
}

/* What it said. */
static char *finish(struct running *running)
{
	char *text = malloc(SAID_BYTES);
	size_t length = 0;
	ssize_t more;
	int status;

	if (!text)
		exit(99);
	while ((more = read(running->from, text + length, SAID_BYTES - 40 - length)) > 0)
		length += (size_t)more;
	text[length] = '\0';
	close(running->from);
	if (waitpid(running->pid, &status, 0) != running->pid || status)
		(void)snprintf(text + length, 40, " (ended with %d)", status);
	return text;
}

int main(int argc, char **argv)
{
	size_t count = (size_t)(__stop_checks - __start_checks);
	unsigned int number = 0, failed = 0;
	bool spread = argc > 1 && !strcmp(argv[1], "-s");

	argc -= spread;
	argv += spread;
	if (argc < 3) {
		fprintf(stderr, "usage: posix_check [-s] TRUSTED CHECKED [NAME]\n");
		return 2;
	}
	/* Compilers put them there as they like. */
	qsort(__start_checks, count, sizeof(*__start_checks), by_order);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 4)
		printf("1..%zu\n", count);
	for (size_t i = 0; i < count; i++) {
		const struct check *check = __start_checks[i];
		struct running running[2];
		char *trusted, *checked;
		bool differs = check->wanted && (spread || !check->spread), same;
		const char *wanted;

		if (argc > 3 && !strstr(check->name, argv[3]))
			continue;
		start(&running[0], check, argv[1], (unsigned int)i);
		start(&running[1], check, argv[2], (unsigned int)i);
		trusted = finish(&running[0]);
		checked = finish(&running[1]);
		wanted = differs ? check->wanted : trusted;
		same = !strcmp(wanted, checked);
		failed += !same;
		printf("%s %u - %s%s%s\n", same ? "ok" : "not ok", ++number, check->name, differs ? ": " : "",
		       differs ? check->reason : "");
		if (!same)
			printf("# wanted: %s\n# the mount: %s\n", wanted, checked);
		else if (argc > 3)
			printf("# %s\n", checked);
		free(trusted);
		free(checked);
	}
	return failed ? 1 : 0;
}
