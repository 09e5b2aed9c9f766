/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * virgo-spawner: one small program in three roles, named by its first argument. All are started by the daemon or by the
 * spawner, and end with the socket they are given.
 *
 *   spawner [CGROUP]	makes processes (base/spawn.h)
 *   function DIR	calls functions of the plug-ins in DIR
 *   kernel DIR		runs eBPF programs of the objects in DIR
 */
#ifndef VG_SPAWN_SPAWN_H
#define VG_SPAWN_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/spawn.h"

/* A START, taken apart: pointers into the message, NULL-terminated vectors. */
struct start {
	const struct vg_spawn_message *message;
	const char *program, *directory;
	char **argument, **environment;
	int fd[VG_SPAWN_FDS];
	int cgroup_fd; /* -1: none */
};

struct outcome {
	int error;
	enum vg_spawn_stage stage;
	pid_t pid;
	int pidfd;
};

int spawner_main(const char *cgroup);
int function_main(const char *directory);
int kernel_main(const char *directory);

/* child.c */
struct outcome child_start(const struct start *start);
/* confine.c: in the child, before the program. 0 or a negative errno. */
int confine_limits(const struct vg_spawn_message *message, bool in_cgroup);
int confine_namespaces(uint32_t flags);
int confine_user(const struct vg_spawn_message *message);
int confine_seccomp(void);

/* cgroup.c: one cgroup a job, below the one that was delegated to the daemon. */
void cgroup_init(const char *directory); /* NULL: none */
int cgroup_make(const struct vg_spawn_message *message); /* a descriptor, or -1: there is none */
void cgroup_remove(uint64_t job); /* ends what is left in it */

/* call.c: the stream between daemon and worker. `serve` is called for each call; ends the process with the stream. */
struct call {
	const char *name; /* NUL-terminated */
	void *argument;
	size_t argument_length;
	void *result;
	size_t result_max;
};
struct call_result {
	int code;
	uint32_t reason;
	const void *result;
	size_t result_length;
	const char *text; /* or NULL */
};
int call_loop(void (*serve)(const struct call *call, struct call_result *result));

#endif
