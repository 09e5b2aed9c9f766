/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The write-ahead log: one for all workers (docs/decisions/0030-one-log.md). It observes the store: every change
 * becomes a record in memory, numbered and appended with the change's bucket locked, so the order of the file is the
 * order of the changes. Nothing here waits for a disk:
 *
 *   any worker      vg_wal_next() at the end of its turn: is there something to do, and nobody doing it? Then this
 *                   worker is the writer: it does the step with its own ring and says how it went to vg_wal_done(),
 *                   which may name a further step. One write takes along everything that was changed while the last
 *                   one was under way: group commit.
 *   the keeper      a thread of its own runs vg_wal_keep(): makes the next file ready before it is needed, syncs and
 *                   closes the last one, removes what a snapshot has made superfluous.
 *
 * When writing fails, changes are refused (vg_wal_error) and what was not written stays in memory; a write is tried
 * again every second, in a new file. When a sync fails, or memory for records ran out, what was lost is not known:
 * then nothing is logged any more until a snapshot is complete (vg_wal_wants_snapshot).
 */
#ifndef VG_POOL_WAL_H
#define VG_POOL_WAL_H

#include "pool/durable.h"
#include "pool/store.h"

enum vg_wal_sync {
	VG_WAL_SYNC_NO,	      /* the system writes when it likes */
	VG_WAL_SYNC_EVERYSEC, /* a sync a second */
	VG_WAL_SYNC_ALWAYS,   /* answers wait until their changes are on stable storage */
	VG_WAL_SYNC_MAX
};
/* "no", "everysec", "always"; -EINVAL for another word. */
int vg_wal_sync_parse(const char *word, enum vg_wal_sync *ret_sync);
const char *vg_wal_sync_text(enum vg_wal_sync sync);

struct vg_wal_config {
	int directory_fd;     /* the log's own from now on */
	__u64 segment_bytes;
	enum vg_wal_sync sync;
	__u64 sequence;	      /* of the last change that is there already */
	__u64 identity;	      /* of the log; random when it is new */
	__u32 segment;	      /* number of the last file, 0: there is none */
	__u32 node;
	/* Called from any thread when some worker should look at vg_wal_next again. May be NULL. */
	void (*wake)(void *context);
	void *wake_context;
};

/* Memory for records not yet written, past which workers take no more input. */
#define VG_WAL_HIGH_BYTES (64u << 20)
#define VG_WAL_RETRY_NS 1000000000ULL
#define VG_WAL_SEGMENT_BYTES_MIN 65536u

int vg_wal_new(struct vg_wal **ret_wal, const struct vg_wal_config *config);
void vg_wal_free(struct vg_wal *wal); /* what was not written is lost; accepts NULL */

/* A file that is there already, with changes up to `last`: before workers start, ascending. */
int vg_wal_found_file(struct vg_wal *wal, __u32 number, __u64 last, __u64 bytes);
/* Write and sync everything with blocking calls, when workers have ended. 0 or a negative errno. */
int vg_wal_finish(struct vg_wal *wal);

/* The observer: vg_store_observe(store, vg_wal_observe, wal). */
void vg_wal_observe(void *wal, struct vg_observed *observed);
/* The number of the last change this thread has made. */
extern _Thread_local __u64 vg_wal_thread_sequence;

/* ---- writing --------------------------------------------------------------------------------------------------- */

struct vg_wal_step {
	enum { VG_WAL_WRITE = 1, VG_WAL_SYNC } what;
	int fd;
	void *data; /* WRITE: these bytes there, durably or not */
	size_t bytes;
	__u64 offset;
	bool durable;
};
/* True: this thread is the writer now, and owes a call of vg_wal_done with the step's result. */
bool vg_wal_next(struct vg_wal *wal, __u64 now_ns, struct vg_wal_step *ret_step);
/* `result` as of a write or sync: a count or 0, or a negative errno. True: a further step, as above. */
bool vg_wal_done(struct vg_wal *wal, int result, __u64 now_ns, struct vg_wal_step *ret_step);

/* Changes up to here need not be waited for any more: on stable storage under `always`, else all. Any thread. */
__u64 vg_wal_settled(const struct vg_wal *wal);
/* Changes up to here are being written or have been: a later one goes with a later write. */
__u64 vg_wal_sealed(const struct vg_wal *wal);
/* 0, or the negative errno for which changes are refused. Any thread, cheap. */
int vg_wal_error(const struct vg_wal *wal);
/* More than VG_WAL_HIGH_BYTES wait, or under `everysec` what waits is older than it should be. */
bool vg_wal_full(const struct vg_wal *wal);
enum vg_wal_sync vg_wal_sync(const struct vg_wal *wal);
void vg_wal_set_sync(struct vg_wal *wal, enum vg_wal_sync sync);

/* ---- the keeper ------------------------------------------------------------------------------------------------ */

/* Do what there is to do; blocks for as long as disks do. */
void vg_wal_keep(struct vg_wal *wal);
/* Wait until there may be something to do, a second at most. */
void vg_wal_keep_wait(struct vg_wal *wal);
void vg_wal_keep_wake(struct vg_wal *wal);

/* ---- figures --------------------------------------------------------------------------------------------------- */

struct vg_wal_stats {
	__u64 sequence, written, durable; /* numbers of changes */
	__u64 current_bytes;		  /* of all files, as far as they are written */
	__u64 pending_bytes;		  /* not yet written */
	__u64 batches, syncs, failures, bytes;
	__u32 segments;			  /* files */
	int error, keeper_error;
	bool wants_snapshot;
	enum vg_wal_sync sync;
};
void vg_wal_stats(struct vg_wal *wal, struct vg_wal_stats *ret_stats);

#endif
