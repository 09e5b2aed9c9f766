/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Processes as the CPU pool asks for them; src/node implements this on the spawner (base/spawn.h), a test may supply
 * its own. All on the thread of the worker that runs the pool.
 */
#ifndef VG_SVC_SPAWN_H
#define VG_SVC_SPAWN_H

#include "base/spawn.h"
#include "svc/svc.h"

struct vg_spawn_request {
	__u32 flags; /* VG_SPAWN_*; AS_USER is added by the node's configuration, but for workers that keep theirs */
	__u64 job;
	__u64 memory_bytes;
	__u32 cpu_ms, cpu_permille, processes;
	__u16 rows, columns;
	bool merge;	  /* stderr goes where stdout goes */
	bool privileged;  /* keeps the daemon's user */
	bool socket;	  /* a worker: a stream socket is its stdin; stdout and stderr are the daemon's stderr */
	__u32 arguments, environment;
	const char *strings; /* as in vg_spawn_message */
	size_t strings_bytes;
};

struct vg_spawned {
	int error;		  /* 0, or a negative errno; then all below is empty */
	enum vg_spawn_stage stage;
	pid_t pid;
	int pidfd;		  /* these descriptors are the callee's */
	int input_fd;		  /* the writing end of its stdin, -1: none; terminal, socket: the same as output_fd */
	int output_fd, error_fd;  /* the reading ends; error_fd -1: there is no stderr of its own */
};

/*
 * Start a process; fn is called once, later. 0, -EAGAIN (too many are being started: ask again after one of them), or
 * another negative errno: then fn is not called.
 */
int vg_spawn(struct vg_env *env, const struct vg_spawn_request *request,
	     void (*fn)(void *context, const struct vg_spawned *spawned), void *context);

struct vg_spawn_end {
	int status; /* as of wait(2) */
	__u64 user_us, system_us, memory_peak_bytes;
};
/*
 * The process has ended (vg_io_waitid with WNOWAIT has said so): take its group with it, collect it, and let the
 * spawner know. 0 or a negative errno.
 */
int vg_spawn_reap(struct vg_env *env, pid_t pid, struct vg_spawn_end *ret_end);
/* To the process, or to its whole group. 0 or a negative errno. */
int vg_spawn_signal(pid_t pid, int pidfd, int number, bool group);
/* The program that plays the roles of workers. */
const char *vg_spawn_worker_program(struct vg_env *env);
int vg_spawn_resize(int terminal_fd, __u16 rows, __u16 columns);

#endif
