/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What commands cost: calls by command, the slow log and the latency monitor. One for all workers.
 *
 * Reading the clock costs as much as a short command, so a command is timed only if it can be slow (its flag says so,
 * or its arguments are large), or if the threshold is so low that every command may pass it.
 */
#ifndef VG_MEM_RESP_WATCH_H
#define VG_MEM_RESP_WATCH_H

#include "svc/mem/resp_call.h"

#define VG_SLOWLOG_ENTRIES_MAX 1024
#define VG_SLOWLOG_ARGS_MAX 32
#define VG_SLOWLOG_ARG_BYTES 128

struct vg_watch_settings {
	__s64 slower_than_us;	   /* slowlog-log-slower-than: negative: off, 0: everything */
	__s64 slowlog_length_max;
	__s64 latency_threshold_ms; /* 0: off */
};
extern struct vg_watch_settings vg_watch_settings;




bool vg_watch_wants_time(const struct vg_call *call);
__u64 vg_watch_now_ns(void);
/* Count the call, and log it when it was slow. duration_ns 0: not timed. */
void vg_watch_note(struct vg_call *call, __u64 duration_ns);

/* Counted by each worker for itself; read by others without a lock. */
struct vg_command_count {
	__u64 calls, timed, timed_ns, rejected;
};
struct vg_command_count *vg_watch_count(const struct vg_env *env, const struct vg_command *command);
/* Over all workers, since the last reset. `index`: of a command in vg_commands. */
void vg_watch_count_sum(int index, struct vg_command_count *ret_sum);
void vg_watch_reset_counts(void);

/* Error answers by their first word, as INFO errorstats has them. */
#define VG_ERROR_KINDS_MAX 48 /* of a worker; further ones are not told apart */
void vg_watch_error(const struct vg_env *env, const char *word);
/* Every kind once a worker, with its count since the last reset. */
void vg_watch_errors_each(void (*fn)(void *context, const char *word, __u64 count), void *context);

/* The slow log, newest first; the entry is valid during the call, which may not use the slow log. */
struct vg_slow_entry {
	const struct vg_mem *mem; /* where it is from */
	__s64 id, unix_seconds, duration_us;
	int args;	 /* kept */
	char peer[64], name[64];
	struct {
		__u32 length;
		char text[VG_SLOWLOG_ARG_BYTES + 32];
	} arg[VG_SLOWLOG_ARGS_MAX];
};
void vg_slowlog_each(int count, void (*fn)(void *context, const struct vg_slow_entry *entry), void *context);
int vg_slowlog_length(void);
void vg_slowlog_reset(void);

/* The latency monitor's one event, "command": what passed its threshold. */
#define VG_LATENCY_SAMPLES 160
struct vg_latency {
	int count; /* samples kept, oldest first */
	struct {
		__s64 unix_seconds, milliseconds;
	} sample[VG_LATENCY_SAMPLES];
	__s64 worst_ms;
};
void vg_latency_read(struct vg_latency *ret_latency);
int vg_latency_reset(void); /* how many events were forgotten */

#endif
