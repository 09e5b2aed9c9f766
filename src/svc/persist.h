/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What services may ask about snapshots. src/node implements it; a unit test may supply its own.
 *
 * A snapshot is written by the worker that was asked, piece by piece through its ring, while all workers serve. One at
 * a time.
 */
#ifndef VG_SVC_PERSIST_H
#define VG_SVC_PERSIST_H

#include "svc/svc.h"

#define VG_SAVE_RULES_MAX 16

struct vg_save_rule {
	__u32 seconds;
	__u64 changes;
};
/* "3600 1 300 100": how many rules; -EINVAL. */
int vg_save_rules_parse(const char *text, struct vg_save_rule rules[VG_SAVE_RULES_MAX]);

struct vg_persistence {
	bool available;		   /* there is a data directory */
	bool running, scheduled, compress;
	__u32 permille;		   /* of the running one */
	__u64 last_save_s;	   /* Unix time of the last good one, or of the start */
	__u64 last_begun_s;
	__s64 last_seconds, current_seconds; /* how long; -1: there was none */
	__u64 saves;		   /* good ones, since the start */
	__u64 changes;		   /* since the last good one began */
	__u64 last_bytes;
	int last_error;		   /* of the last one */
	char last_why[128];
	const char *directory, *file;
	char rules[256];	   /* as CONFIG GET save shows them */
};
void vg_env_persistence(struct vg_env *env, struct vg_persistence *ret_persistence);

enum vg_save_how {
	VG_SAVE_BACKGROUND, /* others are served meanwhile with hardly a difference */
	VG_SAVE_NOW,	    /* without pauses; `done` tells the end */
	VG_SAVE_LATER,	    /* as BACKGROUND, as soon as the one that runs has ended */
};
typedef void (*vg_save_fn)(void *context, int error, const char *why);
/*
 * 0: begun (or scheduled). `done` (may be NULL) is called once when it has ended, on this worker. -ENODEV: there is no
 * data directory; -EALREADY: one runs; -EBUSY: all keys are just being removed; other errors of the disk.
 */
int vg_env_save(struct vg_env *env, enum vg_save_how how, vg_save_fn done, void *context);
/* Rules that count from now on, for as long as this daemon runs. -EINVAL. */
int vg_env_save_rules(struct vg_env *env, const char *text);
/* End the daemon as SIGTERM does: with a last snapshot if there are rules for them, in any case, or in none. */
enum vg_shutdown_how { VG_SHUTDOWN_DEFAULT, VG_SHUTDOWN_SAVE, VG_SHUTDOWN_NOSAVE };
void vg_env_shutdown(struct vg_env *env, enum vg_shutdown_how how);

#endif
