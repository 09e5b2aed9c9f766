/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/hub.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "svc/mem/cmd.h"
#include "svc/mem/shared.h"

#define ROWS 1024	  /* of the table of topics: a power of two */
#define LEND_BYTES 8192	  /* a payload as long as this is lent to every subscriber, not copied */

struct vg_topic {
	struct vg_topic *next;
	struct vg_subscription *first, *last;
	enum vg_topic_kind kind;
	__u32 subscribers, length;
	__u64 hash;
	char name[];
};

struct vg_hub {
	const struct vg_mem *mem;
	pthread_mutex_t lock;
	__u64 subscriptions; /* read by others without the lock: 0 is nobody */
	struct vg_topic *row[ROWS];
	struct vg_topic *patterns;
};

struct vg_hub_limits vg_hub_limits = { .hard_bytes = 33554432, .soft_bytes = 8388608, .soft_seconds = 60 };

int vg_hub_new(struct vg_hub **ret_hub, const struct vg_mem *mem)
{
	struct vg_hub *hub = mem->alloc(mem->context, sizeof(*hub));

	if (!hub)
		return -ENOMEM;
	memset(hub, 0, sizeof(*hub));
	hub->mem = mem;
	pthread_mutex_init(&hub->lock, NULL);
	*ret_hub = hub;
	return 0;
}

void vg_hub_free(struct vg_hub *hub)
{
	if (!hub)
		return;
	assert(!hub->subscriptions);
	pthread_mutex_destroy(&hub->lock);
	hub->mem->free(hub->mem->context, hub);
}

/* ---- topics ----------------------------------------------------------------------------------------------------- */

static struct vg_topic **list_of(struct vg_hub *hub, enum vg_topic_kind kind, __u64 hash)
{
	return kind == VG_TOPIC_PATTERN ? &hub->patterns : &hub->row[hash % ROWS];
}

/* Where the topic hangs, or would. */
static struct vg_topic **find(struct vg_hub *hub, enum vg_topic_kind kind, __u64 hash, const void *name, size_t length)
{
	struct vg_topic **at = list_of(hub, kind, hash);

	while (*at && !((*at)->hash == hash && (*at)->kind == kind && (*at)->length == length &&
			memcmp((*at)->name, name, length) == 0))
		at = &(*at)->next;
	return at;
}

static struct vg_topic *topic_new(const struct vg_mem *mem, enum vg_topic_kind kind, __u64 hash, const void *name,
				  size_t length)
{
	struct vg_topic *topic = mem->alloc(mem->context, sizeof(*topic) + length);

	if (!topic)
		return NULL;
	*topic = (struct vg_topic){ .kind = kind, .length = (__u32)length, .hash = hash };
	memcpy(topic->name, name, length);
	return topic;
}

/* ---- subscriptions ---------------------------------------------------------------------------------------------- */

static struct vg_subscription *find_own(const struct vg_subscriptions *own, enum vg_topic_kind kind, __u64 hash,
					const void *name, size_t length)
{
	struct vg_subscription *at = own->count[kind] ? own->first : NULL;

	while (at && !(at->topic->hash == hash && at->topic->kind == kind && at->topic->length == length &&
		       memcmp(at->topic->name, name, length) == 0))
		at = at->next;
	return at;
}

int vg_hub_subscribe(struct vg_hub *hub, struct vg_subscriptions *own, struct vg_client *client,
		     enum vg_topic_kind kind, const void *name, size_t length)
{
	__u64 hash = vg_hash64(name, length);
	struct vg_subscription *subscription;
	struct vg_topic **at, *topic;

	if (find_own(own, kind, hash, name, length))
		return 0;
	subscription = hub->mem->alloc(hub->mem->context, sizeof(*subscription));
	at = find(hub, kind, hash, name, length);
	topic = *at;
	if (subscription && !topic)
		topic = topic_new(hub->mem, kind, hash, name, length);
	if (!subscription || !topic) {
		hub->mem->free(hub->mem->context, subscription);
		return -ENOMEM;
	}
	*subscription = (struct vg_subscription){ .next = own->first, .before_of_topic = topic->last, .topic = topic,
						  .client = client };
	pthread_mutex_lock(&hub->lock);
	*at = topic;
	if (topic->last)
		topic->last->next_of_topic = subscription;
	else
		topic->first = subscription;
	topic->last = subscription;
	topic->subscribers++;
	__atomic_store_n(&hub->subscriptions, hub->subscriptions + 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&hub->lock);
	if (own->first)
		own->first->before = subscription;
	own->first = subscription;
	own->count[kind]++;
	return 1;
}

static void leave_topic(struct vg_hub *hub, struct vg_subscription *subscription)
{
	struct vg_topic *topic = subscription->topic;

	if (subscription->next_of_topic)
		subscription->next_of_topic->before_of_topic = subscription->before_of_topic;
	else
		topic->last = subscription->before_of_topic;
	if (subscription->before_of_topic)
		subscription->before_of_topic->next_of_topic = subscription->next_of_topic;
	else
		topic->first = subscription->next_of_topic;
	topic->subscribers--;
	__atomic_store_n(&hub->subscriptions, hub->subscriptions - 1, __ATOMIC_RELAXED);
	if (!topic->subscribers) {
		struct vg_topic **at = find(hub, topic->kind, topic->hash, topic->name, topic->length);

		*at = topic->next;
		hub->mem->free(hub->mem->context, topic);
	}
}

bool vg_hub_unsubscribe(struct vg_hub *hub, struct vg_subscriptions *own, enum vg_topic_kind kind, const void *name,
			size_t length)
{
	struct vg_subscription *at = find_own(own, kind, vg_hash64(name, length), name, length);

	if (!at)
		return false;
	if (at->next)
		at->next->before = at->before;
	if (at->before)
		at->before->next = at->next;
	else
		own->first = at->next;
	own->count[kind]--;
	pthread_mutex_lock(&hub->lock);
	leave_topic(hub, at);
	pthread_mutex_unlock(&hub->lock);
	hub->mem->free(hub->mem->context, at);
	return true;
}

const char *vg_subscriptions_name(const struct vg_subscriptions *own, enum vg_topic_kind kind, size_t *ret_length)
{
	for (const struct vg_subscription *at = own->first; at; at = at->next) {
		if (at->topic->kind != kind)
			continue;
		*ret_length = at->topic->length;
		return at->topic->name;
	}
	return NULL;
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

struct message {
	__u32 references; /* of mails on their way and of outputs that lend the payload */
	const struct vg_mem *mem;
	enum vg_topic_kind kind;
	__u64 hash; /* of the channel */
	size_t channel_length, payload_length;
	const char *channel, *payload;
	char bytes[];
};

static struct message *message_new(const struct vg_mem *mem, enum vg_topic_kind kind, const void *channel,
				   size_t channel_length, const void *payload, size_t payload_length)
{
	struct message *message = mem->alloc(mem->context, sizeof(*message) + channel_length + payload_length);

	if (!message)
		return NULL;
	*message = (struct message){ .references = 1, .mem = mem, .kind = kind,
				     .hash = vg_hash64(channel, channel_length), .channel_length = channel_length,
				     .payload_length = payload_length, .channel = message->bytes,
				     .payload = message->bytes + channel_length };
	memcpy(message->bytes, channel, channel_length);
	if (payload_length)
		memcpy(message->bytes + channel_length, payload, payload_length);
	return message;
}

static void message_put(void *context)
{
	struct message *message = context;

	if (__atomic_sub_fetch(&message->references, 1, __ATOMIC_ACQ_REL) == 0)
		message->mem->free(message->mem->context, message);
}

/*
 * What nobody reads must not take the output that others' answers need: beside the configured hard limit the worker's
 * own share (vg_out_full) ends a subscriber. The soft limit is kept and shown, and lies above that share.
 */
static bool is_too_slow(const struct vg_out *out)
{
	__u64 hard = __atomic_load_n(&vg_hub_limits.hard_bytes, __ATOMIC_RELAXED);

	return (hard && out->bytes > hard) || vg_out_full(out);
}

void vg_hub_pushed(struct vg_session *session)
{
	struct vg_client *client = vg_session_client(session);

	if (is_too_slow(session->out) && !(client->flags & VG_CLIENT_CUT_OFF)) {
		client->flags |= VG_CLIENT_CUT_OFF;
		vg_refuse(session->env, VG_REFUSAL_SLOW_SUBSCRIBER);
		vg_session_kill(session->env, session->id);
	}
	vg_session_flush(session);
}

static void push(struct vg_client *client, const struct vg_topic *topic, struct message *message)
{
	struct vg_session *session = vg_client_session(client);
	struct vg_out *out = session->out;
	bool pattern = topic->kind == VG_TOPIC_PATTERN;

	if (client->flags & VG_CLIENT_CUT_OFF)
		return;
	if (topic->kind == VG_TOPIC_MONITOR) {
		vg_out_append(out, "+", 1);
		vg_out_append(out, message->payload, message->payload_length);
		vg_out_append(out, "\r\n", 2);
		vg_hub_pushed(session);
		return;
	}
	vg_resp_push(out, client->flags & VG_CLIENT_RESP3 ? 3 : 2, pattern ? 4 : 3);
	vg_resp_bulk_text(out, pattern ? "pmessage" : topic->kind == VG_TOPIC_SHARD ? "smessage" : "message");
	if (pattern)
		vg_resp_bulk(out, topic->name, topic->length);
	vg_resp_bulk(out, message->channel, message->channel_length);
	if (message->payload_length >= LEND_BYTES) {
		__atomic_add_fetch(&message->references, 1, __ATOMIC_RELAXED);
		vg_resp_bulk_lend(out, message->payload, message->payload_length, message_put, message);
	} else {
		vg_resp_bulk(out, message->payload, message->payload_length);
	}
	vg_hub_pushed(session);
}

static bool pattern_fits(const struct vg_topic *pattern, const struct message *message)
{
	return message->kind == VG_TOPIC_CHANNEL &&
	       vg_glob_match(pattern->name, pattern->length, message->channel, message->channel_length, false);
}

/* To the subscribers of this hub, on its worker's thread. */
static void deliver(struct vg_hub *hub, struct message *message)
{
	const struct vg_topic *topic =
		*find(hub, message->kind, message->hash, message->channel, message->channel_length);

	for (struct vg_subscription *at = topic ? topic->first : NULL; at; at = at->next_of_topic)
		push(at->client, topic, message);
	for (topic = hub->patterns; topic; topic = topic->next)
		for (struct vg_subscription *at = pattern_fits(topic, message) ? topic->first : NULL; at;
		     at = at->next_of_topic)
			push(at->client, topic, message);
}

static __u64 count_listeners(struct vg_hub *hub, const struct message *message)
{
	const struct vg_topic *topic;
	__u64 count = 0;

	pthread_mutex_lock(&hub->lock);
	topic = *find(hub, message->kind, message->hash, message->channel, message->channel_length);
	count = topic ? topic->subscribers : 0;
	for (topic = hub->patterns; topic; topic = topic->next)
		if (pattern_fits(topic, message))
			count += topic->subscribers;
	pthread_mutex_unlock(&hub->lock);
	return count;
}

struct delivery {
	struct vg_mail mail; /* first */
	struct message *message;
};

static void on_delivery(struct vg_env *env, struct vg_mail *mail)
{
	struct delivery *delivery = (struct delivery *)mail;

	deliver(vg_mem_shared(env)->hub[env->worker], delivery->message);
	message_put(delivery->message);
	env->mem->free(env->mem->context, delivery);
}

/* False: no memory, its subscribers do not hear it. */
static bool send_to(struct vg_env *env, __u32 worker, struct message *message)
{
	struct delivery *delivery = env->mem->alloc(env->mem->context, sizeof(*delivery));

	if (!delivery)
		return false;
	__atomic_add_fetch(&message->references, 1, __ATOMIC_RELAXED);
	*delivery = (struct delivery){ .mail.fn = on_delivery, .message = message };
	vg_env_post(env, worker, &delivery->mail);
	return true;
}

__s64 vg_hub_publish(struct vg_env *env, enum vg_topic_kind kind, const void *channel, size_t channel_length,
		     const void *payload, size_t payload_length)
{
	struct vg_mem_shared *shared = vg_mem_shared(env);
	struct message *message;
	__u64 heard = 0;

	if (!vg_hub_has_listeners(shared))
		return 0;
	message = message_new(env->mem, kind, channel, channel_length, payload, payload_length);
	if (!message) {
		vg_refuse(env, VG_REFUSAL_NO_MEMORY);
		return -ENOMEM;
	}
	for (__u32 worker = 0; worker < VG_MEM_WORKERS_MAX; worker++) {
		struct vg_hub *hub = shared->hub[worker];
		__u64 count;

		if (!hub || !__atomic_load_n(&hub->subscriptions, __ATOMIC_RELAXED))
			continue;
		count = count_listeners(hub, message);
		if (count && worker == env->worker)
			deliver(hub, message);
		else if (count && !send_to(env, worker, message))
			vg_refuse(env, VG_REFUSAL_NO_MEMORY);
		heard += count;
	}
	message_put(message);
	return (__s64)heard;
}

bool vg_hub_has_listeners(const struct vg_mem_shared *shared)
{
	for (__u32 worker = 0; worker < VG_MEM_WORKERS_MAX; worker++)
		if (shared->hub[worker] &&
		    __atomic_load_n(&shared->hub[worker]->subscriptions, __ATOMIC_RELAXED))
			return true;
	return false;
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

void vg_hub_each(const struct vg_mem_shared *shared, enum vg_topic_kind kind,
		 void (*fn)(void *context, const char *name, size_t length, __u32 subscribers), void *context)
{
	for (__u32 worker = 0; worker < VG_MEM_WORKERS_MAX; worker++) {
		struct vg_hub *hub = shared->hub[worker];

		if (!hub)
			continue;
		pthread_mutex_lock(&hub->lock);
		for (int row = 0; row <= ROWS; row++) {
			const struct vg_topic *topic = row < ROWS ? hub->row[row] : hub->patterns;

			for (; topic; topic = topic->next)
				if (topic->kind == kind)
					fn(context, topic->name, topic->length, topic->subscribers);
		}
		pthread_mutex_unlock(&hub->lock);
	}
}

__u64 vg_hub_count(const struct vg_mem_shared *shared, enum vg_topic_kind kind, const void *name, size_t length)
{
	__u64 hash = vg_hash64(name, length), count = 0;

	for (__u32 worker = 0; worker < VG_MEM_WORKERS_MAX; worker++) {
		struct vg_hub *hub = shared->hub[worker];
		const struct vg_topic *topic;

		if (!hub)
			continue;
		pthread_mutex_lock(&hub->lock);
		topic = *find(hub, kind, hash, name, length);
		count += topic ? topic->subscribers : 0;
		pthread_mutex_unlock(&hub->lock);
	}
	return count;
}
