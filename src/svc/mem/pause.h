/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CLIENT PAUSE: connections that must wait with their next command, until a time or until UNPAUSE. */
#ifndef VG_MEM_PAUSE_H
#define VG_MEM_PAUSE_H

#include "svc/mem/events.h"
#include "svc/mem/resp_call.h"

/* The command has to wait: its session is paused now, and goes on by itself. */
bool vg_pause_holds_slow(struct vg_session *session, const struct vg_command *command);
static inline bool vg_pause_holds(struct vg_session *session, const struct vg_command *command)
{
	return __builtin_expect(vg_events_listening(vg_mem_shared(session->env)) & VG_LISTEN_PAUSE, 0) &&
	       vg_pause_holds_slow(session, command);
}
/* Nobody waits any more on this worker: its deinit. */
void vg_pause_deinit(struct vg_env *env);

#endif
