/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the memcached face keeps with a value (vg_entry.marks), and changes that leave the value as it is. */
#ifndef VG_SVC_MEM_MC_ITEM_H
#define VG_SVC_MEM_MC_ITEM_H

#include "svc/mem/mc.h"

#define VG_MC_STALE 0x1	     /* md or ms with I: whoever fetches it next is told to make it anew */
#define VG_MC_TOKEN_SENT 0x2 /* somebody was told so */
#define VG_MC_FETCHED 0x4    /* fetched by a meta command that asked (h) */

/* The old value again, with its flags, version, marks and deadline, of which the caller changes some. */
static inline void vg_mc_keep(const struct vg_entry *old, struct vg_change *change)
{
	change->action = VG_CHANGE_STORE;
	change->part[0] = (struct vg_part){ old->value, old->length };
	change->parts = 1;
	change->client_flags = old->client_flags;
	change->version = old->version;
	change->marks = old->marks;
	change->expire_ms = old->expire_ms;
}

/* A new deadline for it; what lies in the past ends it. */
static inline void vg_mc_keep_until(struct vg_change *change, __u64 deadline_ms, __u64 now_ms)
{
	change->expire_ms = deadline_ms;
	if (deadline_ms && deadline_ms <= now_ms)
		change->action = VG_CHANGE_DELETE;
}

/* T and N take effect in the order they stand in, N only for a key that is made: the deadline that is left. */
static inline __u64 vg_mc_last_deadline(const struct vg_mc_request *request, bool made, __u64 made_deadline_ms,
					__u64 deadline_ms)
{
	struct vg_mc_word rest = request->rest, flag;
	__u64 last_ms = 0;

	while (vg_mc_next(&rest, &flag)) {
		if (flag.data[0] == 'T')
			last_ms = deadline_ms;
		else if (flag.data[0] == 'N' && made)
			last_ms = made_deadline_ms;
	}
	return last_ms;
}

/* Seconds left of a deadline, rounded up. */
static inline __u64 vg_mc_seconds_left(__u64 deadline_ms, __u64 now_ms)
{
	return deadline_ms > now_ms ? (deadline_ms - now_ms + 999) / 1000 : 0;
}

#endif
