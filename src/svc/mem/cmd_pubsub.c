/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SUBSCRIBE and its kin, PUBLISH, PUBSUB. */
#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/hub.h"
#include "svc/mem/more.h"
#include "svc/mem/shared.h"

static struct vg_hub *own_hub(const struct vg_call *call)
{
	return vg_mem_shared(call->env)->hub[call->env->worker];
}

/* The count that Redis gives: channels and patterns together, shard channels by themselves. */
static __s64 shown_count(const struct vg_subscriptions *own, enum vg_topic_kind kind)
{
	if (kind == VG_TOPIC_SHARD)
		return own->count[VG_TOPIC_SHARD];
	return (__s64)own->count[VG_TOPIC_CHANNEL] + own->count[VG_TOPIC_PATTERN];
}

static void note_subscriptions(struct vg_client *client)
{
	const struct vg_subscriptions *own = &client->more->subscriptions;

	if (own->count[VG_TOPIC_CHANNEL] || own->count[VG_TOPIC_PATTERN] || own->count[VG_TOPIC_SHARD])
		client->flags |= VG_CLIENT_PUBSUB;
	else
		client->flags &= ~(__u32)VG_CLIENT_PUBSUB;
}

static void answer(struct vg_call *call, const char *what, const char *name, size_t length, __s64 count)
{
	vg_resp_push(call->out, call->version, 3);
	vg_resp_bulk_text(call->out, what);
	if (name)
		vg_resp_bulk(call->out, name, length);
	else
		vg_resp_null(call->out, call->version);
	vg_resp_integer(call->out, count);
}

/* ---- SUBSCRIBE, UNSUBSCRIBE ------------------------------------------------------------------------------------- */

static int subscribe(struct vg_call *call, enum vg_topic_kind kind, const char *what)
{
	struct vg_client_more *more = vg_client_more(call->client);

	if (!more)
		return vg_call_failure(call, -ENOMEM);
	for (int i = 1; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (arg->length > VG_KEY_MAX)
			return vg_call_failure(call, -EMSGSIZE);
		if (vg_hub_subscribe(own_hub(call), &more->subscriptions, call->client, kind, arg->data, arg->length) <
		    0)
			return vg_call_failure(call, -ENOMEM);
		answer(call, what, arg->data, arg->length, shown_count(&more->subscriptions, kind));
	}
	note_subscriptions(call->client);
	return 0;
}

int vg_cmd_subscribe(struct vg_call *call)
{
	return subscribe(call, VG_TOPIC_CHANNEL, "subscribe");
}

int vg_cmd_psubscribe(struct vg_call *call)
{
	return subscribe(call, VG_TOPIC_PATTERN, "psubscribe");
}

int vg_cmd_ssubscribe(struct vg_call *call)
{
	if (call->queued) {
		vg_resp_error(call->out, "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
		return 0;
	}
	return subscribe(call, VG_TOPIC_SHARD, "ssubscribe");
}

/* All of the kind; one answer says so where there was none. */
static void unsubscribe_all(struct vg_call *call, enum vg_topic_kind kind, const char *what)
{
	struct vg_subscriptions *own = &call->client->more->subscriptions;
	char copy[VG_KEY_MAX];
	const char *name;
	size_t length;
	bool any = false;

	while ((name = vg_subscriptions_name(own, kind, &length))) {
		memcpy(copy, name, length);
		vg_hub_unsubscribe(own_hub(call), own, kind, copy, length);
		answer(call, what, copy, length, shown_count(own, kind));
		any = true;
	}
	if (!any)
		answer(call, what, NULL, 0, shown_count(own, kind));
}

static int unsubscribe(struct vg_call *call, enum vg_topic_kind kind, const char *what)
{
	struct vg_client_more *more = vg_client_more(call->client);

	if (!more)
		return vg_call_failure(call, -ENOMEM);
	if (call->args == 1)
		unsubscribe_all(call, kind, what);
	for (int i = 1; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		vg_hub_unsubscribe(own_hub(call), &more->subscriptions, kind, arg->data, arg->length);
		answer(call, what, arg->data, arg->length, shown_count(&more->subscriptions, kind));
	}
	note_subscriptions(call->client);
	return 0;
}

int vg_cmd_unsubscribe(struct vg_call *call)
{
	return unsubscribe(call, VG_TOPIC_CHANNEL, "unsubscribe");
}

int vg_cmd_punsubscribe(struct vg_call *call)
{
	return unsubscribe(call, VG_TOPIC_PATTERN, "punsubscribe");
}

int vg_cmd_sunsubscribe(struct vg_call *call)
{
	return unsubscribe(call, VG_TOPIC_SHARD, "sunsubscribe");
}

/* ---- PUBLISH ---------------------------------------------------------------------------------------------------- */

/* Subscribers of every node hear it; a node that cannot be reached is not waited for, and its subscribers miss it. */
static int publish(struct vg_call *call, enum vg_topic_kind kind)
{
	__s64 heard = vg_hub_publish(call->env, kind, call->arg[1].data, call->arg[1].length, call->arg[2].data,
				     call->arg[2].length);

	if (heard < 0)
		return vg_call_failure(call, (int)heard);
	if (!call->alone && !call->forwarded && !call->view)
		return vg_route_everywhere(call, VG_ROUTE_SUM, (__u64)heard, NULL);
	vg_resp_integer(call->out, heard);
	return 0;
}

int vg_cmd_publish(struct vg_call *call)
{
	return publish(call, VG_TOPIC_CHANNEL);
}

int vg_cmd_spublish(struct vg_call *call)
{
	return publish(call, VG_TOPIC_SHARD);
}

/* ---- PUBSUB: what this node knows, as a node of Redis Cluster answers ------------------------------------------- */

struct listing {
	struct vg_call *call;
	const struct vg_resp_arg *pattern;
	struct vg_out names;
	struct vg_subscriptions seen; /* of a hub of its own: names come once a worker */
	struct vg_hub *hub;
	__u64 count;
};

static void list_one(void *context, const char *name, size_t length, __u32 subscribers)
{
	struct listing *listing = context;

	if (listing->pattern &&
	    !vg_glob_match(listing->pattern->data, listing->pattern->length, name, length, false))
		return;
	if (vg_hub_subscribe(listing->hub, &listing->seen, NULL, VG_TOPIC_CHANNEL, name, length) != 1)
		return;
	vg_resp_bulk(&listing->names, name, length);
	listing->count++;
}

/* Every name once; how many. -ENOMEM. */
static int list_topics(struct vg_call *call, enum vg_topic_kind kind, const struct vg_resp_arg *pattern,
		       struct listing *listing)
{
	const char *name;
	size_t length;

	*listing = (struct listing){ .call = call, .pattern = pattern };
	if (vg_hub_new(&listing->hub, call->env->mem))
		return vg_call_failure(call, -ENOMEM) - 1;
	vg_out_init(&listing->names, call->env->chunks);
	vg_hub_each(vg_mem_shared(call->env), kind, list_one, listing);
	while ((name = vg_subscriptions_name(&listing->seen, VG_TOPIC_CHANNEL, &length)))
		vg_hub_unsubscribe(listing->hub, &listing->seen, VG_TOPIC_CHANNEL, name, length);
	vg_hub_free(listing->hub);
	return 0;
}

static int channels(struct vg_call *call, enum vg_topic_kind kind)
{
	struct listing listing;

	if (call->args > 3) {
		vg_resp_error(call->out,
			      "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try PUBSUB HELP.",
			      (int)call->arg[1].length, call->arg[1].data);
		return 0;
	}
	if (list_topics(call, kind, call->args == 3 ? &call->arg[2] : NULL, &listing))
		return 0;
	vg_resp_array(call->out, listing.count);
	vg_out_splice(call->out, &listing.names);
	vg_out_deinit(&listing.names);
	return 0;
}

int vg_cmd_pubsub_channels(struct vg_call *call)
{
	return channels(call, VG_TOPIC_CHANNEL);
}

int vg_cmd_pubsub_shardchannels(struct vg_call *call)
{
	return channels(call, VG_TOPIC_SHARD);
}

static int numbers(struct vg_call *call, enum vg_topic_kind kind)
{
	vg_resp_array(call->out, 2 * ((__u64)call->args - 2));
	for (int i = 2; i < call->args; i++) {
		vg_resp_bulk(call->out, call->arg[i].data, call->arg[i].length);
		vg_resp_integer(call->out, (__s64)vg_hub_count(vg_mem_shared(call->env), kind, call->arg[i].data,
							       call->arg[i].length));
	}
	return 0;
}

int vg_cmd_pubsub_numsub(struct vg_call *call)
{
	return numbers(call, VG_TOPIC_CHANNEL);
}

int vg_cmd_pubsub_shardnumsub(struct vg_call *call)
{
	return numbers(call, VG_TOPIC_SHARD);
}

int vg_cmd_pubsub_numpat(struct vg_call *call)
{
	struct listing listing;

	if (list_topics(call, VG_TOPIC_PATTERN, NULL, &listing))
		return 0;
	vg_out_deinit(&listing.names);
	vg_resp_integer(call->out, (__s64)listing.count);
	return 0;
}

int vg_cmd_pubsub_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"CHANNELS [<pattern>]", "    Channels of this node that somebody has subscribed to.",
		"NUMPAT", "    How many different patterns.",
		"NUMSUB [<channel> ...]", "    How many subscribers a channel has, patterns not counted.",
		"SHARDCHANNELS [<pattern>]", "    The same of shard channels.",
		"SHARDNUMSUB [<shardchannel> ...]", "    The same of shard channels.",
		NULL,
	};

	return vg_call_help(call, "PUBSUB", lines);
}
