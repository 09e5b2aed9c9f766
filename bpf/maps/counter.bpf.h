/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets and bytes by reason, per CPU. Declarations only. */
#ifndef VG_BPF_MAPS_COUNTER_H
#define VG_BPF_MAPS_COUNTER_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VG_REASON_MAX);
	__type(key, __u32);
	__type(value, struct vg_counter);
} VG_MAP_COUNTER SEC(".maps");

#endif
