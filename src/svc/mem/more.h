/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a RESP connection has beyond the usual, made when it first asks for it: a transaction, watched keys,
 * subscriptions, tracking. A flag of vg_client says which of it is in use, so that ordinary commands look at one word.
 */
#ifndef VG_MEM_MORE_H
#define VG_MEM_MORE_H

#include "svc/mem/hub.h"
#include "svc/mem/interest.h"
#include "svc/mem/resp_call.h"
#include "svc/mem/tracking.h"

/* ---- MULTI ------------------------------------------------------------------------------------------------------ */

/* A command that waits for EXEC: its arguments are its own. */
struct vg_queued {
	const struct vg_command *command;
	int args;
	struct vg_resp_arg arg[];
};

struct vg_multi {
	struct vg_queued **queued;
	int count, capacity;
	int keys;	  /* named by all of them, the same one counted again */
	__u16 owner;	  /* of all keys so far; VG_NODE_NONE: there was none */
	bool failed;	  /* a command was refused: EXEC refuses all */
};

/* Queue one more. 0, -ENOMEM, -EMSGSIZE: too many. */
int vg_multi_add(struct vg_multi *multi, const struct vg_mem *mem, const struct vg_command *command,
		 const struct vg_resp_arg *arg, int args);
void vg_multi_clear(struct vg_multi *multi, const struct vg_mem *mem);

/* ---- WATCH ------------------------------------------------------------------------------------------------------ */

struct vg_watched {
	struct vg_watched *next;
	struct vg_watch watch;
	struct vg_key key; /* its bytes follow */
	char bytes[];
};

/* Forget all watched keys. */
void vg_unwatch_all(struct vg_env *env, struct vg_watched **list);

/* ---- all of it -------------------------------------------------------------------------------------------------- */

struct vg_client_more {
	struct vg_multi multi;
	struct vg_watched *watched;
	struct vg_subscriptions subscriptions;
	struct vg_tracking_client tracking;
	struct vg_client *client; /* whose it is */
	struct vg_client_more *tracking_next, *tracking_before; /* of those of the worker that track */
};

/* Made at the first call; NULL: no memory. */
struct vg_client_more *vg_client_more(struct vg_client *client);
/* Back to how the connection was when new, for RESET; and for its end. */
void vg_client_more_reset(struct vg_client *client);
void vg_client_more_free(struct vg_client *client);

#endif
