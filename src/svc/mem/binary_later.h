/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Binary requests that this node does not answer alone. Private to the binary face. */
#ifndef VG_SVC_MEM_BINARY_LATER_H
#define VG_SVC_MEM_BINARY_LATER_H

#include "svc/mem/mem.h"

/*
 * Ask whom it takes, and answer when the answer is there; the session is paused until then. `otherwise` is the answer
 * where nobody can be asked.
 */
void vg_mem_binary_later(struct vg_session *session, const struct vg_wire_header *header,
			 const struct vg_mem_request *request, struct vg_mem_answer *otherwise);

/* Append the answer to a request; what the answer lends is released or owned by the output afterwards. */
void vg_mem_binary_reply(struct vg_session *session, const struct vg_wire_header *request,
			 struct vg_mem_answer *answer);

#endif
