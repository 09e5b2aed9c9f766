/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An answer in the making that must not touch the packet yet. Declarations only. */
#ifndef VG_BPF_MAPS_SCRATCH_H
#define VG_BPF_MAPS_SCRATCH_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_scratch);
} VG_MAP_SCRATCH SEC(".maps");

#endif
