/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The RESP face of the memory pool, as the rest of the service sees it: sessions that speak RESP, and single commands
 * that come as the body of a COMMAND message from libvirgo or another node.
 */
#ifndef VG_MEM_RESP_H
#define VG_MEM_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "svc/svc.h"

/* Once a worker, from the service's init and deinit. 0 or -ENOMEM. */
int vg_mem_resp_init(struct vg_env *env);
void vg_mem_resp_deinit(struct vg_env *env);

/* As vg_service.input and .closed, for sessions whose protocol is VG_PROTOCOL_RESP. All of session->state is RESP's. */
ssize_t vg_mem_resp_input(struct vg_session *session, const __u8 *data, size_t length);
void vg_mem_resp_closed(struct vg_session *session);

/* An answer that came late: take it with vg_out_splice (it is empty afterwards). Called once, later, on this thread. */
typedef void (*vg_mem_resp_fn)(void *context, struct vg_out *answer);

/*
 * Execute one command without a session: `request` is exactly one RESP array of bulk strings. `version` is the RESP
 * version of the answer (2 or 3; anything else is taken as 2). A forwarded command is answered here or not at all.
 *
 * 0: the answer was appended to `out`, done is not called. -EINPROGRESS: done will be called; `request` is not needed
 * any longer. -EREMOTE: a forwarded command with a key of another node. -EINVAL: not one whole request. Only the first
 * two write an answer.
 */
int vg_mem_resp_execute(struct vg_env *env, const __u8 *request, size_t length, int version, bool forwarded,
			struct vg_out *out, vg_mem_resp_fn done, void *context);

#endif
