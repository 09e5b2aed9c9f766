/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the log and snapshots meet: the data directory.
 *
 *   snapshot.vgs            the last finished snapshot (written under another name, then renamed)
 *   log-0000000001.vgl …    segments of the write-ahead log, in order
 *
 * A snapshot says of which change on it needs the log: its writer asks vg_wal_sequence() before it makes its cut, and
 * keeps the answer in the file. A change with a number up to that had its bucket locked before the cut, so the cut has
 * it; of later ones the cut may have some, and doing those again does no harm (record.h). When the file is safe under
 * its name, the writer says vg_wal_snapshot_done(), and segments with nothing newer are removed.
 */
#ifndef VG_POOL_DURABLE_H
#define VG_POOL_DURABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"

#define VG_SNAPSHOT_NAME "snapshot.vgs"

struct vg_store;
struct vg_wal;

/* The number of the last change. Any thread. */
__u64 vg_wal_sequence(struct vg_wal *wal);
/* A snapshot is complete on stable storage that has every change up to `sequence`. Any thread. */
void vg_wal_snapshot_done(struct vg_wal *wal, __u64 sequence);
/*
 * Whether the log asks for a snapshot: it lost what it had not yet written safely (its disk failed between a write and
 * a sync), so that only a snapshot makes what is in memory durable again. Any thread.
 */
bool vg_wal_wants_snapshot(struct vg_wal *wal);

/* How far loading has come, told now and then; `what`: "snapshot" or "log". Bytes. */
typedef void (*vg_progress_fn)(void *context, const char *what, __u64 done, __u64 all);

/*
 * Load the data directory's snapshot into an empty store, before workers start, by a thread that is worker 0. 0 and the
 * number its log begins behind; -ENOENT: there is none; another negative errno, and `why` for a person.
 */
typedef int (*vg_snapshot_load_fn)(struct vg_store *store, int directory_fd, vg_progress_fn progress, void *context,
				   __u64 *ret_sequence, char *why, size_t why_bytes);

#endif
