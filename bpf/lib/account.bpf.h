/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The one exit: every packet leaves a program with a reason, which is counted here. */
#ifndef VG_BPF_ACCOUNT_H
#define VG_BPF_ACCOUNT_H

#include "virgo/reasons.h"
#include "maps/counter.bpf.h"

/* What a step says when the packet has not found its reason yet. Otherwise it is an enum vg_reason. */
#define VG_CONTINUE (-1)

/* A per-CPU slot that only this CPU writes, with interrupts of the same kind off: no atomic is needed. */
static __always_inline void vg_account(__u32 reason, __u64 bytes)
{
	struct vg_counter *counter = bpf_map_lookup_elem(&VG_MAP_COUNTER, &reason);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

#endif
