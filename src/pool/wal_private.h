/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The inside of the write-ahead log: wal.c takes changes and writes, wal_keep.c looks after files. */
#ifndef VG_POOL_WAL_PRIVATE_H
#define VG_POOL_WAL_PRIVATE_H

#include <semaphore.h>

#include "pool/lock.h"
#include "pool/record.h"
#include "pool/segment.h"
#include "pool/wal.h"

/*
 * Records on their way. In front there is room for the SEGMENT and the BATCH that are written before them. Address
 * space for as much as the largest transactions of all workers at once; memory only for what is used.
 */
#define REGION_BYTES (6ULL << 30)
#define REGION_HEAD (VG_RECORD_SEGMENT_BYTES + VG_RECORD_BATCH_BYTES)
#define REGION_KEEP_BYTES (4u << 20) /* what stays in memory when it is empty */

struct region {
	__u8 *memory;
	size_t used; /* REGION_HEAD: empty */
	__u64 first, last;
	__u64 sealed_ns; /* changes after that are in the other one */
};

/* A file that was written to and will not be any more. */
struct retired {
	int fd; /* -1: none */
	__u64 bytes; /* what is behind is not right and must go */
	__u64 last, written_ns; /* of the log when it ended */
};

struct vg_wal {
	struct vg_wal_config config;
	enum vg_wal_sync sync; /* atomic */
	__u64 settled;	       /* atomic: the larger of durable, and written where nobody waits for more */
	__u64 sealed;	       /* atomic */
	int error;	       /* atomic */
	bool wants_snapshot;   /* atomic */
	bool lags;	       /* atomic */
	size_t pending;	       /* atomic: bytes in the filling region */

	struct vg_lock lock __attribute__((aligned(64))); /* all below */
	struct region region[2];
	int filling;	       /* the other one is being written, or empty */
	__u64 sequence;
	size_t transaction;    /* where the open one began in the filling region, 0: none */
	__u64 broken_at;       /* with wants_snapshot: the number a snapshot must have, at least */

	bool writing;	       /* some worker is the writer */
	bool syncing;	       /* its step is a sync */
	size_t out_at;	       /* of the other region: already written */
	bool out_sealed;       /* it has its BATCH */
	__u64 written, durable;
	__u64 synced_ns, retry_ns;
	__u64 written_ns, durable_ns; /* changes made before these are */

	int fd;		       /* of the file being written, -1: none */
	__u32 number;
	__u64 position, batch_position; /* of the next byte; of the batch being written */
	__u32 last_number;     /* the highest a file has had */
	int next_fd;	       /* made ready by the keeper, -1: not yet */
	__u32 next_number;
	int keeper_error;
	bool waits_for_next;
	struct retired retired;

	__u64 snapshot;	       /* the number that the last snapshot has */
	struct {
		__u32 number;
		__u64 last;    /* the highest change in it */
		__u64 bytes;
	} *file;	       /* all but the one being written, ascending */
	__u32 files, files_room;
	struct vg_wal_stats stats;
	sem_t keeper;
};

/* With the lock: what was not yet safe is lost to the log; a snapshot must save it. */
void vg_wal_break(struct vg_wal *wal, int error);
void vg_wal_update_settled(struct vg_wal *wal);
void vg_wal_set_error(struct vg_wal *wal, int error);
/* Without the lock. */
void vg_wal_wake(struct vg_wal *wal);

#endif
