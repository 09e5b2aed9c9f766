/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the daemon tells every program: who the node is (vg_config) and how it is now (vg_local). Declarations only. */
#ifndef VG_BPF_MAPS_STATE_H
#define VG_BPF_MAPS_STATE_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_config);
} VG_MAP_CONFIG SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_local);
} VG_MAP_LOCAL SEC(".maps");

#endif
