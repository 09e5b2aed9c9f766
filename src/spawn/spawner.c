/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The loop of the spawner: a request, a process, an answer. It keeps the pids of what runs, so that nothing survives
 * the daemon: when the socket ends, every job is killed with its group.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "spawn/spawn.h"

#define RUNNING_MAX 65536

/* Processes that were started and not yet collected by the daemon. */
static struct running {
	pid_t pid;
	uint64_t job;
} *running;
static size_t running_count, running_room;

static int remember(pid_t pid, uint64_t job)
{
	if (running_count == running_room) {
		size_t room = running_room ? 2 * running_room : 256;
		struct running *larger = room <= RUNNING_MAX ? realloc(running, room * sizeof(*running)) : NULL;

		if (!larger)
			return -ENOMEM;
		running = larger;
		running_room = room;
	}
	running[running_count++] = (struct running){ pid, job };
	return 0;
}

static void forget(pid_t pid)
{
	for (size_t i = 0; i < running_count; i++) {
		if (running[i].pid != pid)
			continue;
		cgroup_remove(running[i].job);
		running[i] = running[--running_count];
		return;
	}
}

/* The daemon has gone: it collects no more, so these pids are still those we made. */
static void end_all(void)
{
	for (size_t i = 0; i < running_count; i++) {
		kill(-running[i].pid, SIGKILL);
		kill(running[i].pid, SIGKILL);
		cgroup_remove(running[i].job);
	}
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

static void answer(const struct vg_spawn_message *message, const struct outcome *outcome)
{
	struct vg_spawn_answer answer = {
		.tag = message->tag, .error = outcome->error, .stage = outcome->stage, .pid = outcome->pid,
	};
	struct iovec vector = { &answer, sizeof(answer) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr header = { .msg_iov = &vector, .msg_iovlen = 1 };

	if (!outcome->error) {
		header.msg_control = &control;
		header.msg_controllen = sizeof(control.room);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &outcome->pidfd, sizeof(int));
	}
	/* Blocks while the daemon is busy; when the daemon has gone the next receive says so. */
	while (sendmsg(VG_SPAWN_FD, &header, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* Take the strings apart. 0 or -EINVAL. */
static int parse(struct start *start, char *strings, size_t bytes)
{
	const struct vg_spawn_message *message = start->message;
	char *at = strings, *end = strings + bytes;
	uint32_t strings_wanted = 2 + message->arguments + message->environment;

	if (!bytes || end[-1] || message->arguments > VG_JOB_STRINGS_MAX || message->environment > VG_JOB_STRINGS_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < strings_wanted; i++) {
		if (at == end)
			return -EINVAL;
		if (i == 0)
			start->program = at;
		else if (i == 1)
			start->directory = at;
		else if (i - 2 < message->arguments)
			start->argument[i - 2] = at;
		else
			start->environment[i - 2 - message->arguments] = at;
		at += strlen(at) + 1;
	}
	start->argument[message->arguments] = start->environment[message->environment] = NULL;
	return 0;
}

static void take_start(const struct vg_spawn_message *message, char *strings, size_t bytes, const int *fds, int count)
{
	static char *argument[VG_JOB_STRINGS_MAX + 1], *environment[VG_JOB_STRINGS_MAX + 1];
	struct start start = { .message = message, .argument = argument, .environment = environment, .cgroup_fd = -1 };
	struct outcome outcome = { .error = -EINVAL, .stage = VG_SPAWN_STAGE_PROCESS, .pidfd = -1 };

	if (count == VG_SPAWN_FDS && message->strings_bytes == bytes && !parse(&start, strings, bytes)) {
		memcpy(start.fd, fds, sizeof(start.fd));
		start.cgroup_fd = cgroup_make(message);
		outcome = child_start(&start);
		if (start.cgroup_fd >= 0)
			close(start.cgroup_fd);
		if (outcome.error)
			cgroup_remove(message->job);
		else if (remember(outcome.pid, message->job))
			kill(-outcome.pid, SIGKILL); /* cannot be looked after: it ends, and the daemon sees it */
	}
	answer(message, &outcome);
	if (outcome.pidfd >= 0)
		close(outcome.pidfd);
}

static int take_fds(struct msghdr *header, int *fds)
{
	int count = 0;

	for (struct cmsghdr *each = CMSG_FIRSTHDR(header); each; each = CMSG_NXTHDR(header, each)) {
		if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
			continue;
		count = (int)((each->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(each), (size_t)count * sizeof(int));
	}
	return count;
}

static bool take_message(void)
{
	static struct {
		struct vg_spawn_message message;
		char strings[VG_SPAWN_STRINGS_MAX];
	} buffer;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(VG_SPAWN_FDS * sizeof(int))];
	} control;
	struct iovec vector = { &buffer, sizeof(buffer) };
	struct msghdr header = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room),
	};
	int fds[VG_SPAWN_FDS], count;
	ssize_t length = recvmsg(VG_SPAWN_FD, &header, MSG_CMSG_CLOEXEC);

	if (length < 0)
		return errno == EINTR;
	if (!length)
		return false;
	count = take_fds(&header, fds);
	if ((size_t)length >= sizeof(buffer.message) && buffer.message.operation == VG_SPAWN_START)
		take_start(&buffer.message, buffer.strings, (size_t)length - sizeof(buffer.message), fds, count);
	else if ((size_t)length >= sizeof(buffer.message) && buffer.message.operation == VG_SPAWN_ENDED)
		forget(buffer.message.pid);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	return true;
}

int spawner_main(const char *cgroup)
{
	prctl(PR_SET_NAME, "virgo-spawner");
	/* Nothing of it may be read by the jobs that run as the same user. */
	prctl(PR_SET_DUMPABLE, 0);
	cgroup_init(cgroup);
	while (take_message())
		;
	end_all();
	_exit(EXIT_SUCCESS); /* a checker of leaks at exit could not look into a process that is not dumpable */
}
