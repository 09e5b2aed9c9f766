/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From a request to a running program. The child borrows this process's memory until it has executed (CLONE_VFORK), so
 * nothing is copied, and what went wrong is simply written down where the parent reads it. It therefore calls system
 * calls only, no function of libc that keeps state.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "spawn/spawn.h"

#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
#define STACK_BYTES 65536
#define FD_PARKED 16 /* below it descriptors are put in place: the ones being moved wait above */

struct child {
	const struct start *start;
	/* Written by the child, read by the parent once the child has executed or ended. */
	volatile int error;
	volatile enum vg_spawn_stage stage;
};

/* ---- in the child ---------------------------------------------------------------------------------------------- */

static int place_descriptors(const struct start *start)
{
	int parked[VG_SPAWN_FDS];

	for (int i = 0; i < VG_SPAWN_FDS; i++) {
		parked[i] = fcntl(start->fd[i], F_DUPFD, FD_PARKED);
		if (parked[i] < 0)
			return -errno;
	}
	for (int i = 0; i < VG_SPAWN_FDS; i++)
		if (dup2(parked[i], i) < 0)
			return -errno;
	return syscall(SYS_close_range, VG_SPAWN_FDS, ~0u, 0) ? -errno : 0;
}

static int begin_session(void)
{
	sigset_t none;

	if (setsid() < 0)
		return -errno;
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL) ? -errno : 0;
}

static const char *path_of(const struct start *start)
{
	for (char **each = start->environment; *each; each++)
		if (strncmp(*each, "PATH=", 5) == 0)
			return *each + 5;
	return PATH_DEFAULT;
}

/* Returns only on failure. */
static int execute(const struct start *start)
{
	static char path[4096];
	const char *at = path_of(start);
	int error = -ENOENT;

	if (start->message->flags & VG_SPAWN_WORKER)
		at = NULL;
	if (!at || strchr(start->program, '/')) {
		execve(start->program, start->argument, start->environment);
		return -errno;
	}
	while (*at) {
		size_t length = strcspn(at, ":"), name = strlen(start->program);

		if (length && length + name + 2 <= sizeof(path)) {
			memcpy(path, at, length);
			path[length] = '/';
			memcpy(path + length + 1, start->program, name + 1);
			execve(path, start->argument, start->environment);
			if (errno != ENOENT && errno != ENOTDIR)
				error = -errno;
		}
		at += length + (at[length] == ':');
	}
	return error;
}

static int fail(struct child *child, enum vg_spawn_stage stage, int error)
{
	child->stage = stage;
	child->error = error;
	return 127;
}

static int run(void *context)
{
	struct child *child = context;
	const struct start *start = child->start;
	const struct vg_spawn_message *message = start->message;
	int error;

	error = begin_session() ?: place_descriptors(start);
	if (error)
		return fail(child, VG_SPAWN_STAGE_PROCESS, error);
	if (message->flags & VG_SPAWN_TERMINAL && ioctl(STDIN_FILENO, TIOCSCTTY, 0))
		return fail(child, VG_SPAWN_STAGE_PROCESS, -errno);
	error = confine_namespaces(message->flags);
	error = error ?: confine_limits(message, start->cgroup_fd >= 0);
	error = error ?: confine_user(message);
	if (error)
		return fail(child, VG_SPAWN_STAGE_LIMIT, error);
	/* As the user it will be: a directory that is not his is not entered. */
	if (start->directory[0] && chdir(start->directory))
		return fail(child, VG_SPAWN_STAGE_DIRECTORY, -errno);
	/* After the change of user, which clears it: nothing outlives the daemon. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return fail(child, VG_SPAWN_STAGE_LIMIT, -errno);
	if (message->flags & VG_SPAWN_SECCOMP) {
		error = confine_seccomp();
		if (error)
			return fail(child, VG_SPAWN_STAGE_LIMIT, error);
	}
	return fail(child, VG_SPAWN_STAGE_PROGRAM, execute(start));
}

/* ---- in the parent --------------------------------------------------------------------------------------------- */

/* What the parent runs in its own memory stays apart from the child's: a stack of its own. */
static long clone_child(struct clone_args *arguments, int (*fn)(void *), void *context)
{
	long pid;

#if defined(__x86_64__)
	/* clone3 has no libc function: the child starts on an empty stack and must not return into our frame. */
	register void *child_fn __asm__("r12") = (void *)fn;
	register void *child_context __asm__("r13") = context;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r13, %%rdi\n\t"
			 "call *%%r12\n\t"
			 "mov %%eax, %%edi\n\t"
			 "mov %[exit], %%eax\n\t"
			 "syscall\n\t"
			 "1:"
			 : "=a"(pid)
			 : "a"((long)SYS_clone3), "D"(arguments), "S"(sizeof(*arguments)), "r"(child_fn),
			   "r"(child_context), [exit] "i"(SYS_exit_group)
			 : "rcx", "r11", "memory");
#else
#error "a port needs its own way into a child on a stack of its own"
#endif
	return pid;
}

static uint64_t namespaces(uint32_t flags)
{
	return (flags & (VG_SPAWN_NEW_MOUNTS | VG_SPAWN_NEW_PIDS) ? CLONE_NEWNS : 0) |
	       (flags & VG_SPAWN_NEW_PIDS ? CLONE_NEWPID : 0) | (flags & VG_SPAWN_NEW_NET ? CLONE_NEWNET : 0);
}

struct outcome child_start(const struct start *start)
{
	static char stack[STACK_BYTES] __attribute__((aligned(16)));
	struct child child = { .start = start };
	struct outcome outcome = { .pidfd = -1 };
	struct clone_args arguments = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PIDFD | CLONE_CLEAR_SIGHAND |
			 namespaces(start->message->flags),
		.pidfd = (uintptr_t)&outcome.pidfd,
		.stack = (uintptr_t)stack,
		.stack_size = sizeof(stack),
	};
	long pid;

	if (start->cgroup_fd >= 0) {
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = (uint64_t)start->cgroup_fd;
	}
	pid = clone_child(&arguments, run, &child);
	if (pid < 0) {
		outcome.error = (int)pid;
		outcome.stage = pid == -EPERM && namespaces(start->message->flags) ? VG_SPAWN_STAGE_LIMIT
										    : VG_SPAWN_STAGE_PROCESS;
		return outcome;
	}
	outcome.pid = (pid_t)pid;
	if (child.error) {
		/* It is the daemon's child and must be collected there: the answer names it. */
		outcome.error = child.error;
		outcome.stage = child.stage;
		close(outcome.pidfd);
		outcome.pidfd = -1;
	}
	return outcome;
}
