/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef VG_MEM_MONITOR_H
#define VG_MEM_MONITOR_H

#include "svc/mem/events.h"
#include "svc/mem/resp_call.h"

/* Show the command, which is about to run, to who monitors. */
void vg_monitor_feed_slow(struct vg_call *call);
static inline void vg_monitor_feed(struct vg_call *call)
{
	if (__builtin_expect(vg_events_listening(vg_mem_shared(call->env)) & VG_LISTEN_MONITOR, 0))
		vg_monitor_feed_slow(call);
}
/* A connection monitors from now on (1) or no more (-1). */
void vg_monitor_count(struct vg_mem_shared *shared, int change);

#endif
