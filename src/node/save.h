/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * When snapshots are made, and what is known of the last one. One writer at a time, on the worker that was asked; the
 * state is under a lock that is held for moments only.
 */
#ifndef VG_NODE_SAVE_H
#define VG_NODE_SAVE_H

#include <pthread.h>

#include "pool/snapshot.h"
#include "svc/persist.h"

struct vg_world;
struct vg_worker;

struct vg_saver {
	pthread_mutex_t lock;
	struct vg_snapshot_writer *writer; /* touched by its worker alone */
	__u32 writer_worker;
	bool running, scheduled;
	bool stopping;		/* no more are begun */
	bool final_forced, final_forbidden; /* SHUTDOWN SAVE, NOSAVE */
	enum vg_save_how how;
	vg_save_fn done;
	void *context;
	__u64 begun_ns, begun_changes, tried_ns;
	struct vg_persistence known;	    /* but what is counted elsewhere */
	__u64 log_sequence;	/* see durable.h: of the snapshot being written */
	__u64 saved_changes;	/* of all, how many the last good snapshot has */
	struct vg_save_rule rules[VG_SAVE_RULES_MAX];
	int rules_count;
};

void vg_saver_init(struct vg_world *world);
void vg_saver_deinit(struct vg_world *world);
/* Every worker's, at each housekeeping. */
void vg_saver_tick(struct vg_worker *worker);
/* The worker drains: what it writes is given up. True while it still has some of it. */
void vg_saver_stop(struct vg_worker *worker);
bool vg_saver_busy(const struct vg_worker *worker);
/* Workers have ended: the last snapshot, if rules or SHUTDOWN want one. Blocks. 0 or a negative errno. */
int vg_saver_finish(struct vg_world *world);
/* New rules, of the configuration or a command. -EINVAL. */
int vg_saver_set_rules(struct vg_world *world, const char *text);

#endif
