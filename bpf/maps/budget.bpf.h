/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What XDP may still do on this CPU in this tick. Declarations only. */
#ifndef VG_BPF_MAPS_BUDGET_H
#define VG_BPF_MAPS_BUDGET_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_budget);
} VG_MAP_BUDGET SEC(".maps");

#endif
