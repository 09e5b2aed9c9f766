/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the probes of the scheduler and of the block layer count. Declarations only. */
#ifndef VG_BPF_MAPS_TELEMETRY_H
#define VG_BPF_MAPS_TELEMETRY_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_cpu_load);
} VG_MAP_CPU_LOAD SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, VG_CGROUPS_MAX);
	__type(key, __u64);
	__type(value, struct vg_cgroup_load);
} VG_MAP_CGROUP_LOAD SEC(".maps");

#endif
