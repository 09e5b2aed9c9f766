/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Start-up: a store made again from the data directory, the snapshot first and then the log behind it. Blocking calls,
 * before workers start, on a thread that is worker 0 of the store.
 *
 * A torn end (what was being written when everything ended) is cut. What had been safe and is not right is never
 * skipped: -EBADMSG and a sentence with file and place, unless `repair` says to go on with what is before it; then the
 * damaged file is kept beside as FILE.damaged, and so are those behind it.
 */
#ifndef VG_POOL_RECOVER_H
#define VG_POOL_RECOVER_H

#include "pool/durable.h"
#include "pool/store.h"
#include "pool/wal.h"

struct vg_recover {
	struct vg_store *store; /* empty, without observers */
	int directory_fd;
	__u64 now_ms;
	bool repair;
	vg_snapshot_load_fn load; /* NULL: there are no snapshots */
	vg_progress_fn progress;  /* or NULL */
	void *context;
};

struct vg_recovered {
	__u64 sequence, snapshot; /* the last change; the last that the snapshot has, 0: there is none */
	__u64 identity;		  /* of the log; 0: there is none yet */
	__u32 segment;		  /* the last file's number */
	__u64 records, cut_bytes; /* changes done again; bytes of the end that were not right */
	__u64 expired;
	bool repaired;
	char cut_name[48];	  /* the file that was cut, or empty */
	struct {
		__u32 number;
		__u64 last, bytes;
	} *file;
	__u32 files;
};
int vg_recover(const struct vg_recover *recover, struct vg_recovered *ret_recovered, char *why, size_t why_bytes);
void vg_recovered_free(struct vg_recovered *recovered);

#endif
