/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Group commit: a worker's part in writing the log, and its answers that wait for it. A worker keeps back what a
 * connection is told of its own changes, and answers to datagrams; reads of others are answered meanwhile. When it has
 * nothing to do it may be the one that writes for all (pool/wal.h).
 */
#ifndef VG_NODE_COMMIT_H
#define VG_NODE_COMMIT_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"

struct vg_commit;
struct vg_conn;
struct vg_datagram;
struct vg_worker;
struct vg_world;

/* ---- a worker's ---- */

int vg_commit_new(struct vg_worker *worker); /* nothing without a log */
void vg_commit_free(struct vg_worker *worker);
/* The number of this thread's last change: what is asked before and after a call that may make some. */
__u64 vg_commit_mark(const struct vg_worker *worker);
/* Were changes made since `mark`? Then what is in the connection's output from `position` on waits for them. */
void vg_commit_hold(struct vg_worker *worker, struct vg_conn *conn, __u64 mark, __u64 position);
/* Answers made outside of a connection's input: they wait for whatever this turn has changed. */
void vg_commit_hold_late(struct vg_worker *worker, struct vg_conn *conn);
void vg_commit_turn_begin(struct vg_worker *worker);
/* At the end of a turn: let go what is safe; and start writing, once all of the turn's changes are made. */
void vg_commit_release(struct vg_worker *worker);
void vg_commit_write(struct vg_worker *worker);
bool vg_commit_pending(const struct vg_worker *worker); /* answers are kept back, or this worker is writing */

/* ---- the node's ---- */

struct vg_recovered;
/*
 * The log goes on behind what the store was made from: opened, observing the store, its keeper started; before workers
 * are made. Stop: the keeper, when workers have ended. Close: when they are gone; what they have
 * not written is written and synced.
 */
int vg_commit_open(struct vg_world *world, const struct vg_recovered *recovered, char *why, size_t why_bytes);
/* Of the last change the data directory knows of: what a snapshot must be said to have (pool/durable.h). */
__u64 vg_commit_sequence(const struct vg_world *world);
void vg_commit_stop(struct vg_world *world);
void vg_commit_close(struct vg_world *world);

#endif
