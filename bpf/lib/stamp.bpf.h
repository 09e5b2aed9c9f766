/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The load stamp: how busy this node is, written into what it sends. */
#ifndef VG_BPF_STAMP_H
#define VG_BPF_STAMP_H

#include "virgo/wire.h"
#include "maps/state.bpf.h"

/* The load stamp of this node, as vg_local has it now. */
static __always_inline void vg_stamp(struct vg_load_stamp *load, const volatile struct vg_local *local)
{
	load->in_flight = VG_HTOBE32(local->in_flight);
	load->service_ns = VG_HTOBE32(local->service_ns);
	load->run_queue_delay_ns = VG_HTOBE32(local->run_queue_delay_ns);
	load->memory_free_permille = VG_HTOBE16(local->memory_free_permille);
	load->reserved = 0;
}

#endif
