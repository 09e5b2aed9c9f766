/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who is how busy, as far as this node has heard; and figures that only user space writes. Declarations only. */
#ifndef VG_BPF_MAPS_LOAD_H
#define VG_BPF_MAPS_LOAD_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VG_NODES_MAX);
	__type(key, __u32);
	__type(value, struct vg_node_load);
} VG_MAP_NODE_LOAD SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, VG_STEERED_SETS);
	__type(key, __u32);
	__type(value, struct vg_steered);
} VG_MAP_STEERED SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_pool);
} VG_MAP_POOL SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_cpu_figures);
} VG_MAP_CPU_FIGURES SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_file_figures);
} VG_MAP_FILE_FIGURES SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_host);
} VG_MAP_HOST SEC(".maps");

#endif
