/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the agent knows about a node, read from the pins: one structure, filled in one place, shown as a table, as JSON
 * and as metrics (report.h). Reading takes no lock and changes nothing.
 */
#ifndef VG_LOADER_STATUS_H
#define VG_LOADER_STATUS_H

#include "attach.h"
#include "objects.h"
#include "pin.h"
#include "virgo/maps.h"

enum vg_map {
	VG_MAPS_ARENA,
	VG_MAPS_CONFIG,
	VG_MAPS_LOCAL,
	VG_MAPS_PARTITION,
	VG_MAPS_NODE,
	VG_MAPS_COUNTER,
	VG_MAPS_BUDGET,
	VG_MAPS_NEIGHBOUR,
	VG_MAPS_NODE_LOAD,
	VG_MAPS_STEERED,
	VG_MAPS_POOL,
	VG_MAPS_HOST,
	VG_MAPS_REQUIRED_MAX, /* those behind a node can do without: the probes', and what pins of older agents lack */
	VG_MAPS_CPU_LOAD = VG_MAPS_REQUIRED_MAX,
	VG_MAPS_CGROUP_LOAD,
	VG_MAPS_IO_LOAD,
	VG_MAPS_CPU_FIGURES,
	VG_MAPS_FILE_FIGURES,
	VG_MAPS_MAX,
};

#define VG_STATUS_CPUS_MAX 256 /* those beyond are added to the last */

/* Descriptors of the pinned maps, so that a process that gave up its rights can go on reading. */
struct vg_status_source {
	const struct vg_pin_root *root;
	int map_fds[VG_MAPS_MAX];
	dev_t device; /* of the directory of maps, to notice that the pins were replaced */
	ino_t inode;
};

struct vg_program_status {
	const char *name;
	__u32 id; /* 0: not pinned */
	char tag[2 * 8 + 1];
	__u32 verified_instructions;
	__u32 jited_bytes;
	bool probe;
	bool attached; /* a probe */
	__u64 runs, run_ns; /* where the kernel counts them (kernel.bpf_stats_enabled) */
};

struct vg_cgroup_status {
	__u64 id; /* inode number of its directory */
	struct vg_cgroup_load load;
};

struct vg_map_status {
	const char *name;
	__u32 id;
	__u64 memory_bytes; /* what the kernel charges for it */
};

enum vg_lease {
	VG_LEASE_NONE,	  /* no daemon ever took it */
	VG_LEASE_EXPIRED, /* one did, and stopped renewing */
	VG_LEASE_ALIVE,
};

struct vg_node_status {
	const char *pin_root;
	struct vg_program_status programs[VG_OBJECT_MAX];
	struct vg_map_status maps[VG_MAPS_MAX];
	struct vg_attachment attachments[VG_ATTACHMENTS_MAX];
	int attachments_count;
	struct vg_counter counters[VG_REASON_MAX]; /* summed over the CPUs */
	enum vg_lease lease;
	__u64 lease_age_ns;	 /* since it was last renewed; unless NONE */
	struct vg_config config; /* without the key */
	struct vg_local local;
	struct vg_node nodes[VG_NODES_MAX];
	struct vg_node_load loads[VG_NODES_MAX];
	__u64 now_ns; /* CLOCK_MONOTONIC when all this was read */
	struct vg_pool pool;
	struct vg_cpu_figures cpu_figures;
	struct vg_file_figures file_figures;
	struct vg_host host;
	bool scheduler_watched, io_watched;
	struct vg_cpu_load cpus[VG_STATUS_CPUS_MAX];
	int cpus_count;
	struct vg_io_load io[VG_IO_MAX]; /* summed over the CPUs */
	struct vg_cgroup_status cgroups[VG_CGROUPS_MAX];
	int cgroups_count;
};

/* -ENOENT when nothing is loaded. */
int vg_status_source_open(struct vg_status_source *source, const struct vg_pin_root *root);
void vg_status_source_close(struct vg_status_source *source);

/* Any one thread at a time. -ESTALE: the maps are no longer those that are pinned. */
int vg_status_read(const struct vg_status_source *source, struct vg_node_status *ret_status);

/* Whether a daemon holds the node's arena now. */
bool vg_lease_alive(const struct vg_pin_root *root);

/* How a lease that ends at `until_ns` stands at `now_ns`. */
static inline enum vg_lease vg_lease_state(__u64 until_ns, __u64 now_ns, __u64 *ret_age_ns)
{
	const __u64 lease_ns = VG_LEASE_MS * 1000000ULL;
	__u64 renewed_ns = until_ns > lease_ns ? until_ns - lease_ns : 0;

	*ret_age_ns = 0;
	if (!until_ns)
		return VG_LEASE_NONE;
	*ret_age_ns = now_ns > renewed_ns ? now_ns - renewed_ns : 0;
	return until_ns > now_ns ? VG_LEASE_ALIVE : VG_LEASE_EXPIRED;
}

#endif
