/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How to reach clients whose requests were steered here. Declarations only. */
#ifndef VG_BPF_MAPS_NEIGHBOUR_H
#define VG_BPF_MAPS_NEIGHBOUR_H

#include "virgo/maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, VG_NEIGHBOURS_MAX);
	__type(key, struct vg_ip_address);
	__type(value, struct vg_neighbour);
} VG_MAP_NEIGHBOUR SEC(".maps");

#endif
