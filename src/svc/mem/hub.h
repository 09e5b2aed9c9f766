/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Publish and subscribe. Each worker has a hub that knows the subscriptions of its own connections; a message goes to
 * the hub of every worker that has a match, by mail where it is another one. A hub is changed by its own worker only,
 * under its lock; the others look into it under the lock to count, its worker reads it without.
 *
 * Messages of one publisher reach a subscriber in order. A subscriber that reads too slowly is closed, see
 * vg_hub_limits, and counted as a refusal.
 */
#ifndef VG_MEM_HUB_H
#define VG_MEM_HUB_H

#include "svc/mem/resp_call.h"

enum vg_topic_kind { VG_TOPIC_CHANNEL = 0, VG_TOPIC_PATTERN, VG_TOPIC_SHARD, VG_TOPIC_MONITOR, VG_TOPIC_KINDS };

struct vg_hub;
struct vg_mem_shared;

/* One subscription of one connection. */
struct vg_subscription {
	struct vg_subscription *next, *before; /* of the connection, the latest first */
	struct vg_subscription *next_of_topic, *before_of_topic;
	struct vg_topic *topic;
	struct vg_client *client;
};

/* A connection's; all zero: none. */
struct vg_subscriptions {
	struct vg_subscription *first;
	__u32 count[VG_TOPIC_KINDS];
};

/* client-output-buffer-limit pubsub: bytes a subscriber may leave unread; 0: no limit but the worker's own. */
struct vg_hub_limits {
	__u64 hard_bytes, soft_bytes, soft_seconds;
};
extern struct vg_hub_limits vg_hub_limits;

int vg_hub_new(struct vg_hub **ret_hub, const struct vg_mem *mem);
void vg_hub_free(struct vg_hub *hub); /* accepts NULL; all its subscriptions are gone */

/* 1: a new one, 0: there was one already, -ENOMEM. */
int vg_hub_subscribe(struct vg_hub *hub, struct vg_subscriptions *own, struct vg_client *client,
		     enum vg_topic_kind kind, const void *name, size_t length);
/* Whether there was one. */
bool vg_hub_unsubscribe(struct vg_hub *hub, struct vg_subscriptions *own, enum vg_topic_kind kind, const void *name,
			size_t length);
/* The name of some subscription of the kind, the latest; NULL: there is none. */
const char *vg_subscriptions_name(const struct vg_subscriptions *own, enum vg_topic_kind kind, size_t *ret_length);

/* To all subscribers of this node, those of this worker at once. How many there are; -ENOMEM: nobody heard it. */
__s64 vg_hub_publish(struct vg_env *env, enum vg_topic_kind kind, const void *channel, size_t channel_length,
		     const void *payload, size_t payload_length);
/* Could anybody hear of a message? One load a worker. */
bool vg_hub_has_listeners(const struct vg_mem_shared *shared);

/* What nobody asked for was appended to the session's output: send it, and close a session that has too much. */
void vg_hub_pushed(struct vg_session *session);

/* ---- looking ---------------------------------------------------------------------------------------------------- */

/* Every topic of the kind with its number of subscribers, over all workers: a topic may come several times. */
void vg_hub_each(const struct vg_mem_shared *shared, enum vg_topic_kind kind,
		 void (*fn)(void *context, const char *name, size_t length, __u32 subscribers), void *context);
__u64 vg_hub_count(const struct vg_mem_shared *shared, enum vg_topic_kind kind, const void *name, size_t length);

#endif
