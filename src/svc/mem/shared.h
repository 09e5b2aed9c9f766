/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the workers of one node's memory service have in common beside the store: who watches keys, who has subscribed,
 * who keeps copies. Made by the first worker's init, gone with the last one's deinit; found by the store it belongs to.
 */
#ifndef VG_MEM_SHARED_H
#define VG_MEM_SHARED_H

#include "svc/mem/mem.h"

#define VG_MEM_WORKERS_MAX 64

struct vg_interest;
struct vg_hub;
struct vg_tracking;
struct vg_backups;

struct vg_mem_shared {
	struct vg_mem_shared *next; /* nodes of this process: tests run several */
	struct vg_store *store;
	const struct vg_mem *mem;
	__u32 users;
	struct vg_env *env[VG_MEM_WORKERS_MAX]; /* by worker; NULL: not there */
	struct vg_hub *hub[VG_MEM_WORKERS_MAX];	/* likewise */
	struct vg_interest *interest;
	struct vg_tracking *tracking;
	struct vg_backups *backups;
	__u32 listening; /* who wants to hear of changes, see events.h */
	__u32 notify;	 /* notify-keyspace-events */
	__u32 monitors;	 /* connections that monitor */
	bool pause_all;	 /* CLIENT PAUSE: all commands, not writes alone */
	__u64 pause_until_ms;
};

/* Once a worker, from the service's init and deinit. 0 or -ENOMEM. */
int vg_mem_shared_join(struct vg_env *env);
void vg_mem_shared_leave(struct vg_env *env);

static inline struct vg_mem_shared *vg_mem_shared(const struct vg_env *env)
{
	return vg_mem_worker(env)->shared;
}

#endif
