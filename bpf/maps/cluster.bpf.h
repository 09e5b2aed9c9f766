/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which node owns a partition, and how to reach a node. Declarations only. */
#ifndef VG_BPF_MAPS_CLUSTER_H
#define VG_BPF_MAPS_CLUSTER_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VG_PARTITIONS);
	__type(key, __u32);
	__type(value, struct vg_partition_owner);
} VG_MAP_PARTITION SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VG_NODES_MAX);
	__type(key, __u32);
	__type(value, struct vg_node);
} VG_MAP_NODE SEC(".maps");

#endif
