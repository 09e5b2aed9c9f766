/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the daemon and its spawner say to each other over a socket that keeps messages whole, and the daemon and its
 * workers over a stream. Both ends are this program's: lengths are checked all the same, for the sake of the next
 * reader of a core dump. Host byte order.
 *
 * The spawner is a small process started before the daemon is large: it makes processes for jobs without the daemon's
 * memory, keys and descriptors near them. What it makes are the daemon's children (CLONE_PARENT), so that the daemon
 * waits for them itself.
 */
#ifndef VG_BASE_SPAWN_H
#define VG_BASE_SPAWN_H

#include "virgo/limits.h"
#include "virgo/types.h"

#define VG_SPAWN_PROGRAM "virgo-spawner" /* installed beside virgod */
#define VG_SPAWN_FD 3			 /* where the spawner finds its socket */
#define VG_SPAWN_FDS 3			 /* stdin, stdout, stderr travel with a request */

enum vg_spawn_operation {
	VG_SPAWN_START, /* answered by a vg_spawn_answer, with a pidfd if it was successful */
	VG_SPAWN_ENDED, /* the process `pid` of a START has been waited for; unanswered */
};

#define VG_SPAWN_TERMINAL 0x01	/* descriptors are a terminal: make it the controlling one */
#define VG_SPAWN_NEW_MOUNTS 0x02
#define VG_SPAWN_NEW_PIDS 0x04
#define VG_SPAWN_NEW_NET 0x08
#define VG_SPAWN_SECCOMP 0x10
#define VG_SPAWN_AS_USER 0x20	/* become uid, gid without further groups */
#define VG_SPAWN_WORKER 0x40	/* the spawner's own program in another role: argv[1] */

struct vg_spawn_message {
	__u32 operation, flags;
	__u64 tag;		 /* comes back in the answer */
	__u64 job;		 /* names its cgroup */
	__u64 memory_bytes;	 /* limits, 0: none */
	__u32 cpu_ms, cpu_permille, processes;
	__u32 uid, gid;
	__s32 pid;		 /* ENDED */
	__u32 arguments, environment;
	__u32 strings_bytes;	 /* behind this: program, directory, arguments, environment, each ended by NUL */
	__u32 reserved;
};

enum vg_spawn_stage { /* what failed */
	VG_SPAWN_STAGE_NONE,
	VG_SPAWN_STAGE_PROCESS,	  /* no process could be made */
	VG_SPAWN_STAGE_LIMIT,	  /* a limit, the user, or a confinement */
	VG_SPAWN_STAGE_DIRECTORY,
	VG_SPAWN_STAGE_PROGRAM,
};

struct vg_spawn_answer {
	__u64 tag;
	__s32 error; /* 0, or a negative errno */
	__u32 stage;
	__s32 pid;
	__u32 reserved;
};

/* NULs take the place of length prefixes, with a little more for names of the working. */
#define VG_SPAWN_STRINGS_MAX (VG_JOB_SPEC_MAX + 4096)

/* ---- workers: functions and kernel programs ---------------------------------------------------------------------- */

/* One call at a time; behind it the name and the argument. */
struct vg_call_message {
	__u32 name_length, argument_length;
	__u32 result_max, reserved;
};

/* The answer; behind it the result and the text. */
struct vg_call_answer {
	__s32 code;   /* what the function returned */
	__u32 reason; /* enum vg_job_reason: why it was not called */
	__u32 result_length, text_length;
};
#define VG_CALL_TEXT_MAX 65536

#endif
