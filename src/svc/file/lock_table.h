/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who holds which part of which file, who waits for it, and who would wait for ever. Byte ranges as fcntl(2)'s
 * (F_SETLK), whole files as flock(2)'s: two spaces that know nothing of each other. Bookkeeping alone: no I/O, one
 * thread.
 *
 * An owner is a number within a session. Locks belong to the owner, whatever descriptor they were asked through, but
 * closing that descriptor gives them back. Requests that wait are granted in the order they came, as soon as nothing
 * that is held is in their way; a request that could wait for itself, through others, is refused with -EDEADLK when it
 * comes. As in Linux, an owner whose threads wait for several things counts as waiting for all of them; a whole-file
 * lock that is changed is given back first, when the new kind cannot be had at once.
 */
#ifndef VG_SVC_FILE_LOCK_TABLE_H
#define VG_SVC_FILE_LOCK_TABLE_H

#include <stdbool.h>

#include "base/mem.h"
#include "virgo/file.h"

struct vg_locks;
struct vg_lock_owner;

#define VG_LOCK_LAST 0x7fffffffffffffffULL /* "to the end of any file" */
#define VG_LOCKS_MAX (256u << 10)	   /* of the node, held and waiting */
#define VG_LOCKS_SESSION_MAX (16u << 10)   /* of one session, held */
#define VG_LOCK_WAITS_SESSION_MAX 1024
#define VG_LOCK_STEPS_MAX (64u << 10) /* of looking for a deadlock */

/* What one session has. Zeroed, it has nothing; vg_locks_end_session before it goes. */
struct vg_lock_session {
	struct vg_lock_owner *owners;
	__u32 held, waiting;
};

struct vg_lock_request {
	__u64 device, inode;
	struct vg_lock_session *session;
	__u64 owner;
	__u64 descriptor;
	__u64 start, length; /* length 0: VG_LOCK_LAST; of a whole file both are ignored */
	__u32 pid;
	__u8 kind; /* enum vg_file_lock_kind */
	bool whole;
};

/* What a request that waited comes to: 0, -EINTR, -ENOLCK. May call everything below. */
typedef void (*vg_lock_fn)(void *context, int result);

struct vg_lock_figures {
	__u64 held, waiting, deadlocks, refused;
};

/* 0 or -ENOMEM. `random`: not guessable by clients, not 0. */
int vg_locks_new(struct vg_locks **ret_locks, const struct vg_mem *mem, __u64 random);
void vg_locks_free(struct vg_locks *locks); /* all sessions have ended; accepts NULL */
const struct vg_lock_figures *vg_locks_figures(const struct vg_locks *locks);

/*
 * 0: it is so. -EAGAIN: another's is in the way, and fn is NULL. -EINPROGRESS: it waits, and fn will be called, once,
 * unless its session ends. -EDEADLK, -ENOLCK (too many), -EINVAL (start or end past VG_LOCK_LAST, no such kind).
 * Unlocking never waits; it ends what the owner waits for in the range (-EINTR).
 */
int vg_lock_set(struct vg_locks *locks, const struct vg_lock_request *request, vg_lock_fn fn, void *context);
/* What would be in the way of it; kind VG_FILE_UNLOCK: nothing. 0 or -EINVAL. */
int vg_lock_test(struct vg_locks *locks, const struct vg_lock_request *request, struct vg_lock_request *ret_holder);
/* End what the owner waits for in the range (-EINTR); what it holds stays. -EINVAL, or how many there were. */
int vg_lock_interrupt(struct vg_locks *locks, const struct vg_lock_request *request);
/* The descriptor is closed: what was taken through it is given back, what waits through it ends (-EINTR). */
void vg_locks_close(struct vg_locks *locks, struct vg_lock_session *session, __u64 device, __u64 inode,
		    __u64 descriptor);
/* Everything is given back; fn of what waits is not called, drop(context) is, where it is not NULL. */
void vg_locks_end_session(struct vg_locks *locks, struct vg_lock_session *session, void (*drop)(void *context));

#endif
