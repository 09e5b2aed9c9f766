/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/more.h"

#include <errno.h>

#include "svc/mem/monitor.h"
#include "svc/mem/shared.h"

#define QUEUED_MAX 65536 /* commands of one transaction */

/* ---- MULTI ------------------------------------------------------------------------------------------------------ */

static int make_room(struct vg_multi *multi, const struct vg_mem *mem)
{
	int capacity = multi->capacity ? 2 * multi->capacity : 16;
	struct vg_queued **larger;

	if (multi->count < multi->capacity)
		return 0;
	if (multi->count >= QUEUED_MAX)
		return -EMSGSIZE;
	larger = mem->alloc(mem->context, (size_t)capacity * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	if (multi->count)
		memcpy(larger, multi->queued, (size_t)multi->count * sizeof(*larger));
	mem->free(mem->context, multi->queued);
	multi->queued = larger;
	multi->capacity = capacity;
	return 0;
}

int vg_multi_add(struct vg_multi *multi, const struct vg_mem *mem, const struct vg_command *command,
		 const struct vg_resp_arg *arg, int args)
{
	size_t bytes = sizeof(struct vg_queued) + (size_t)args * sizeof(*arg);
	struct vg_queued *queued;
	int error = make_room(multi, mem);
	char *at;

	if (error)
		return error;
	for (int i = 0; i < args; i++)
		bytes += arg[i].length;
	queued = mem->alloc(mem->context, bytes);
	if (!queued)
		return -ENOMEM;
	queued->command = command;
	queued->args = args;
	at = (char *)(queued->arg + args);
	for (int i = 0; i < args; i++) {
		queued->arg[i] = (struct vg_resp_arg){ at, arg[i].length };
		memcpy(at, arg[i].data, arg[i].length);
		at += arg[i].length;
	}
	multi->queued[multi->count++] = queued;
	return 0;
}

void vg_multi_clear(struct vg_multi *multi, const struct vg_mem *mem)
{
	for (int i = 0; i < multi->count; i++)
		mem->free(mem->context, multi->queued[i]);
	mem->free(mem->context, multi->queued);
	*multi = (struct vg_multi){ .owner = VG_NODE_NONE };
}

/* ---- WATCH ------------------------------------------------------------------------------------------------------ */

void vg_unwatch_all(struct vg_env *env, struct vg_watched **list)
{
	while (*list) {
		struct vg_watched *watched = *list;

		*list = watched->next;
		vg_interest_unwatch(vg_mem_shared(env)->interest, &watched->watch);
		env->mem->free(env->mem->context, watched);
	}
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

struct vg_client_more *vg_client_more(struct vg_client *client)
{
	const struct vg_mem *mem = vg_client_session(client)->env->mem;

	if (client->more)
		return client->more;
	client->more = mem->alloc(mem->context, sizeof(*client->more));
	if (client->more)
		*client->more = (struct vg_client_more){ .multi.owner = VG_NODE_NONE };
	return client->more;
}

static void unsubscribe_all(struct vg_env *env, struct vg_subscriptions *own)
{
	const char *name;
	size_t length;

	for (int kind = 0; kind < VG_TOPIC_KINDS; kind++)
		while ((name = vg_subscriptions_name(own, (enum vg_topic_kind)kind, &length)))
			vg_hub_unsubscribe(vg_mem_shared(env)->hub[env->worker], own, (enum vg_topic_kind)kind, name,
					   length);
}

void vg_client_more_reset(struct vg_client *client)
{
	struct vg_env *env = vg_client_session(client)->env;
	struct vg_client_more *more = client->more;

	if (!more)
		return;
	vg_multi_clear(&more->multi, env->mem);
	vg_unwatch_all(env, &more->watched);
	if (more->subscriptions.count[VG_TOPIC_MONITOR])
		vg_monitor_count(vg_mem_shared(env), -1);
	unsubscribe_all(env, &more->subscriptions);
	vg_tracking_off(client);
}

void vg_client_more_free(struct vg_client *client)
{
	const struct vg_mem *mem = vg_client_session(client)->env->mem;

	if (!client->more)
		return;
	vg_client_more_reset(client);
	vg_tracking_closed(client);
	mem->free(mem->context, client->more);
	client->more = NULL;
}
