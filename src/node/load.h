/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who is how busy: what this node says of itself (vg_local, and for the agent vg_pool, vg_cpu_figures,
 * vg_file_figures) and what it has heard of others (vg_node_load). Without BPF the tables are ordinary memory, and
 * the daemon alone writes and reads them.
 */
#ifndef VG_NODE_LOAD_H
#define VG_NODE_LOAD_H

#include "node/worker.h"

/* A stamp that is believed. Any worker. `service`: VG_LOAD_*. */
void vg_load_heard(struct vg_worker *worker, __u16 node, unsigned int service, const struct vg_load_stamp *stamp);
/* The service whose port of that node this is, or VG_LOADS_MAX. */
unsigned int vg_load_of_port(const struct vg_cluster *cluster, __u16 node, __u16 port);

/*
 * A node, other than this one, for a request to the service, by the configured policy; `usable` says which may be taken
 * at all. VG_NODE_NONE: none may.
 */
__u16 vg_load_pick(struct vg_worker *worker, unsigned int service, bool (*usable)(void *context, __u16 node),
		   void *context);

/* The last few samples of what goes by; written by worker 0, read by any. */
#define VG_PACE_SAMPLES 16
struct vg_pace_meter {
	struct {
		__u64 at_ns, requests, bytes_in, bytes_out; /* counts until then */
	} sample[VG_PACE_SAMPLES];
	__u32 taken;
};

/* Each housekeeping of worker 0: measure, write what the programs and the agent read, ping who has been silent. */
void vg_load_tend(struct vg_worker *worker);

#endif
