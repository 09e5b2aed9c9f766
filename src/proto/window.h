/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Datagrams come twice: a client that heard nothing asks again, and a network repeats what it likes. For operations
 * that change something the window remembers, for each client, the last VG_WINDOW_SEQUENCES sequence numbers and how
 * they were answered: what was done is not done again, its answer is given again; what is older than the window is
 * refused.
 *
 * One worker's, so one thread's: a client's datagrams stay on one socket as long as its address stays. All memory is
 * acquired by _new. Clients live in sets of VG_WINDOW_WAYS; in a full set the longest unheard-of makes room, and what
 * it sent can then no longer be told from new.
 */
#ifndef VG_PROTO_WINDOW_H
#define VG_PROTO_WINDOW_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/limits.h"
#include "virgo/types.h"

#define VG_WINDOW_SEQUENCES VG_REPLAY_WINDOW
#define VG_WINDOW_WAYS 8
#define VG_WINDOW_CLIENTS 4096 /* a worker: 68 MB of address space, touched as clients come */

struct vg_window;

/* What is kept of an answer: all answers to operations that change something are headers. */
struct vg_window_answer {
	__u64 ident;
	__u8 opcode, status;
};

enum vg_window_verdict {
	VG_WINDOW_NEW,	     /* not seen: execute it, then vg_window_record */
	VG_WINDOW_DUPLICATE, /* done before: *ret_answer */
	VG_WINDOW_OLD,	     /* older than the window: whether it was done is not known */
};

/* `secret` keeps clients from choosing whom they push out. `clients`: a multiple of VG_WINDOW_WAYS. 0 or -ENOMEM. */
int vg_window_new(struct vg_window **ret_window, __u32 clients, __u64 secret);
void vg_window_free(struct vg_window *window); /* accepts NULL */

/* Changes nothing. */
enum vg_window_verdict vg_window_look(const struct vg_window *window, __u64 client, __u64 sequence,
				      struct vg_window_answer *ret_answer);
void vg_window_record(struct vg_window *window, __u64 client, __u64 sequence, const struct vg_window_answer *answer);

#endif
