/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pinned maps, from the daemon's side: the arena it owns, and the facts it writes for the programs. bpfmaps.c is
 * the only file of the daemon that includes libbpf. Without maps the same calls write to ordinary memory, so nobody
 * else asks whether there is BPF.
 *
 * Thread: open, publish and close on the main thread; the load stamp and the lease from one worker.
 */
#ifndef VG_NODE_BPFMAPS_H
#define VG_NODE_BPFMAPS_H

#include <stdbool.h>
#include <stddef.h>

#include "node/cluster.h"
#include "virgo/maps.h"

struct vg_bpfmaps {
	bool present; /* pinned maps were found and fit */
	void *arena;  /* the arena, or anonymous memory of arena_bytes */
	size_t arena_map_bytes;
	struct vg_config *config;
	struct vg_local *local;
	struct vg_partition_owner *partition;
	struct vg_node *node;
	struct vg_node_load *node_load;
	struct vg_pool *pool;
	struct vg_cpu_figures *cpu_figures;
	struct vg_file_figures *file_figures;
	int counter_fd;
	int cpu_load_fd; /* -1: the scheduler is not watched */
	int lock_fd; /* held while this daemon owns the arena */
};

/*
 * Open the maps under <pin_root>/v<layout>/maps. Returns 0 in both cases; `why` says why there are none. -EBUSY:
 * another daemon holds the arena. -ENOMEM.
 */
int vg_bpfmaps_open(struct vg_bpfmaps *maps, const struct vg_options *options, char *why, size_t why_bytes);
void vg_bpfmaps_close(struct vg_bpfmaps *maps); /* drops the lease first */

/* Tell the programs the cluster's facts. Before the lease. */
void vg_bpfmaps_publish(struct vg_bpfmaps *maps, const struct vg_cluster *cluster, const struct vg_options *options);
/* Hold the arena for another VG_LEASE_MS. */
void vg_bpfmaps_renew_lease(struct vg_bpfmaps *maps, const struct vg_clock *clock);
void vg_bpfmaps_drop_lease(struct vg_bpfmaps *maps);
void vg_bpfmaps_stamp(struct vg_bpfmaps *maps, __u32 in_flight, __u32 service_ns, __u16 memory_free_permille);
/* How often tasks have waited for a CPU, and for how long together. */
struct vg_waits {
	__u64 waits, wait_ns;
};
/* -ENODATA where it is not measured. */
int vg_bpfmaps_waits(const struct vg_bpfmaps *maps, struct vg_waits *ret_waits);
/* Sum of a reason's counter over CPUs; 0 without maps. */
__u64 vg_bpfmaps_count(const struct vg_bpfmaps *maps, enum vg_reason reason);

#endif
