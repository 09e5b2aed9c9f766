/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The connection to a node's CPU pool: one link (link.h) for all its jobs. Every message names the owner. */
#include <errno.h>

#include "client/job.h"

static const struct vg_link_user job_links = {
	.body_max = VG_LINK_BODY_MAX,
	.up = vg_jobs_link_up,
	.down = vg_jobs_link_down,
	.frame = vg_jobs_frame,
};

struct vg_link *vg_job_link_at(struct virgo *v, const union vg_address *address, socklen_t length)
{
	return vg_link_at(v, &job_links, address, length);
}

struct vg_link *vg_job_link_of(struct virgo *v, const struct vg_peer *peer)
{
	union vg_address address = peer->address;

	if (peer->cpu_off)
		return NULL;
	vg_address_set_port(&address, peer->cpu_port ? peer->cpu_port : v->cpu_port);
	return vg_job_link_at(v, &address, peer->address_length);
}

int vg_job_say(struct virgo *v, struct vg_link *link, const struct vg_wire_header *head, const void *body,
	       __u32 body_length, __u64 *ret_sequence)
{
	struct vg_wire_header header = *head;

	/* What is never answered needs no name, and leaves the node's window to what must not be done twice. */
	if (!header.sequence && head->opcode != VG_OP_JOB_INPUT && head->opcode != VG_OP_JOB_WINDOW &&
	    head->opcode != VG_OP_JOB_RESIZE)
		header.sequence = VG_HTOBE64(++v->sequence);
	if (vg_link_say(v, link, &header, v->owner, v->owner_length, body, body_length, false))
		return -ENOMEM;
	if (ret_sequence)
		*ret_sequence = VG_BE64TOH(header.sequence);
	return 0;
}
