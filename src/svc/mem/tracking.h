/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Clients that keep copies of what they read (CLIENT TRACKING): which connection has read which key, and telling it
 * when the key has changed. One table a node, in shards with a lock each, shared by all its workers.
 *
 * A reader is entered before it reads. Who changes the key looks after it has changed it. Both do so under the shard's
 * lock, so either the reader sees the new value or the writer sees the reader.
 */
#ifndef VG_MEM_TRACKING_H
#define VG_MEM_TRACKING_H

#include "svc/mem/resp_call.h"

struct vg_tracking; /* the table */

/* A connection of some worker of this node. */
struct vg_client_ref {
	__u32 worker;
	struct vg_session_ref session;
	__u64 id;
};

enum vg_tracking_flag {
	VG_TRACKING_BCAST = 1,
	VG_TRACKING_OPTIN = 2,
	VG_TRACKING_OPTOUT = 4,
	VG_TRACKING_NOLOOP = 8,
	VG_TRACKING_CACHING = 16, /* CLIENT CACHING was said: it is about the next command */
	VG_TRACKING_BROKEN = 32,  /* who was to be told instead has gone */
};

struct vg_prefix { /* BCAST: every key that begins so */
	struct vg_prefix *next;
	struct vg_prefix *next_of_client;
	struct vg_client_ref client;
	__u32 length;
	char text[];
};

/* A connection's; VG_CLIENT_TRACKING says whether it is on. */
struct vg_tracking_client {
	__u32 flags;
	struct vg_client_ref redirect; /* id 0: none */
	struct vg_prefix *prefixes;    /* the latest first */
};

extern __s64 vg_tracking_keys_max; /* tracking-table-max-keys; 0: no limit */

int vg_tracking_new(struct vg_tracking **ret_tracking, const struct vg_mem *mem);
void vg_tracking_free(struct vg_tracking *tracking); /* accepts NULL */

/* The connection is about to read the command's keys. */
void vg_tracking_remember(struct vg_call *call);
/* 0 or -ENOMEM: nothing was changed. */
int vg_tracking_add_prefix(struct vg_client *client, const void *text, size_t length);
/* Tracking is on from now on, or off. */
void vg_tracking_on(struct vg_client *client);
void vg_tracking_off(struct vg_client *client);
void vg_tracking_closed(struct vg_client *client); /* the connection is gone */

void vg_tracking_invalidate(struct vg_env *env, const struct vg_key *key, __u64 by);
void vg_tracking_invalidate_all(struct vg_env *env, __u64 by);

/* For INFO. */
struct vg_tracking_figures {
	__u64 clients, keys, items, prefixes;
};
void vg_tracking_figures(const struct vg_tracking *tracking, struct vg_tracking_figures *ret_figures);

#endif
