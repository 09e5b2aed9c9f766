/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The load stamp: how busy this node is, written into what it sends. */
#ifndef VG_BPF_STAMP_H
#define VG_BPF_STAMP_H

#include "virgo/wire.h"
#include "maps/state.bpf.h"

/* Whose port it is: VG_LOAD_*, or VG_LOADS_MAX for nobody's. */
static __always_inline __u32 vg_service_of(const struct vg_config *config, __be16 port)
{
	if (!port)
		return VG_LOADS_MAX;
	if (port == config->port_mem)
		return VG_LOAD_MEM;
	return port == config->ports_other[VG_CONFIG_PORT_CPU] ? VG_LOAD_CPU : VG_LOADS_MAX;
}

/* The load stamp of a service of this node, as vg_local has it now; of a service without one, the memory pool's. */
static __always_inline void vg_stamp(struct vg_load_stamp *load, const volatile struct vg_local *local, __u32 service)
{
	bool is_cpu = service == VG_LOAD_CPU;

	load->in_flight = VG_HTOBE32(is_cpu ? local->other[VG_LOAD_CPU - 1].in_flight : local->in_flight);
	load->service_ns = VG_HTOBE32(is_cpu ? local->other[VG_LOAD_CPU - 1].service_ns : local->service_ns);
	load->run_queue_delay_ns = VG_HTOBE32(local->run_queue_delay_ns);
	load->memory_free_permille = VG_HTOBE16(local->memory_free_permille);
	load->reserved = 0;
}

#endif
