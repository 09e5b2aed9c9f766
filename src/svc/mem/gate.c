/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a connection in a special state does with a command before it runs: keeps it for EXEC, or refuses it. */
#include <errno.h>
#include <stdio.h>

#include "svc/mem/cmd.h"
#include "svc/mem/more.h"

/* These run at once inside MULTI too. */
static bool ends_or_guards(const struct vg_command *command)
{
	return command->run == vg_cmd_exec || command->run == vg_cmd_discard || command->run == vg_cmd_multi ||
	       command->run == vg_cmd_watch || command->run == vg_cmd_quit || command->run == vg_cmd_reset;
}

/* All keys of a transaction must be one node's. False: an error was answered. */
static bool note_owner(struct vg_call *call, struct vg_multi *multi)
{
	const struct vg_command *command = call->command;
	int last = vg_command_last_key(command, call->args);

	for (int i = command->first; command->first && i <= last; i += command->step) {
		const struct vg_resp_arg *key = &call->arg[i];
		__u16 owner = vg_cluster_owner(call->env->cluster, vg_partition_of(key->data, key->length));

		if (owner == VG_NODE_NONE) {
			vg_resp_error(call->out, "CLUSTERDOWN Hash slot not served");
			return false;
		}
		if (multi->owner == VG_NODE_NONE)
			multi->owner = owner;
		if (multi->owner != owner) {
			vg_resp_error(call->out, "CROSSSLOT Keys in request don't hash to the same slot");
			return false;
		}
	}
	return true;
}

static void queue(struct vg_call *call)
{
	struct vg_multi *multi = &call->client->more->multi;
	int error;

	if (multi->failed) { /* EXEC will refuse them all: none is kept */
		vg_resp_simple(call->out, "QUEUED");
		return;
	}
	if (call->command->flags & VG_CMD_NO_MULTI) {
		vg_resp_error(call->out, "ERR Command not allowed inside a transaction");
		multi->failed = true;
		return;
	}
	if (!note_owner(call, multi)) {
		multi->failed = true;
		return;
	}
	error = vg_multi_add(multi, call->env->mem, call->command, call->arg, call->args);
	if (error) {
		multi->failed = true;
		vg_call_failure(call, error);
		return;
	}
	vg_resp_simple(call->out, "QUEUED");
}

/* What a RESP2 connection with subscriptions may still say: everything else would be lost among the messages. */
static bool is_for_subscribers(const struct vg_command *command)
{
	return command->run == vg_cmd_ping || command->run == vg_cmd_quit || command->run == vg_cmd_reset ||
	       command->run == vg_cmd_subscribe || command->run == vg_cmd_unsubscribe ||
	       command->run == vg_cmd_psubscribe || command->run == vg_cmd_punsubscribe ||
	       command->run == vg_cmd_ssubscribe || command->run == vg_cmd_sunsubscribe;
}

static void refuse_subscriber(struct vg_call *call)
{
	char why[192];

	snprintf(why, sizeof(why),
		 "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
		 "context",
		 call->command->name);
	if (call->command->run == vg_cmd_exec) {
		vg_gate_abandon(call, why);
		return;
	}
	vg_resp_error(call->out, "ERR %s", why);
	vg_gate_refused(call);
}

/* Every key of the command lives here; false: where it does was answered, as a node of Redis Cluster answers. */
bool vg_gate_is_here(struct vg_call *call)
{
	int last = vg_command_last_key(call->command, call->args);

	for (int i = call->command->first; i && i <= last; i += call->command->step) {
		__u16 partition = vg_partition_of(call->arg[i].data, call->arg[i].length);
		__u16 owner = vg_cluster_owner(call->env->cluster, partition);
		const char *address = owner == VG_NODE_NONE ? NULL : vg_cluster_address(call->env->cluster, owner);

		if (owner == vg_cluster_self(call->env->cluster))
			continue;
		if (address)
			vg_resp_error(call->out, "MOVED %u %s", partition, address);
		else
			vg_resp_error(call->out, "CLUSTERDOWN Hash slot not served");
		return false;
	}
	return true;
}

bool vg_gate_stops(struct vg_call *call)
{
	__u32 flags = call->client->flags;

	if (flags & VG_CLIENT_PUBSUB && !(flags & VG_CLIENT_RESP3) && !is_for_subscribers(call->command)) {
		refuse_subscriber(call);
		return true;
	}
	/* Only the owner of a key knows when copies of it are stale. */
	if (flags & VG_CLIENT_TRACKING && call->command->flags & VG_CMD_READONLY && !call->alone &&
	    call->command->route != VG_ROUTE_HERE && !vg_gate_is_here(call)) {
		vg_gate_refused(call);
		return true;
	}
	if (call->client->flags & VG_CLIENT_MULTI && !ends_or_guards(call->command)) {
		queue(call);
		return true;
	}
	return false;
}

void vg_gate_refused(struct vg_call *call)
{
	if (call->client->flags & VG_CLIENT_MULTI)
		call->client->more->multi.failed = true;
}

void vg_gate_abandon(struct vg_call *call, const char *why)
{
	if (call->client->more) {
		vg_multi_clear(&call->client->more->multi, call->env->mem);
		vg_unwatch_all(call->env, &call->client->more->watched);
	}
	call->client->flags &= ~(__u32)VG_CLIENT_MULTI;
	vg_resp_error(call->out, "EXECABORT Transaction discarded because of: %s", why);
}

/* CLIENT CACHING is about the one command behind it; a transaction is one. */
void vg_gate_passed(struct vg_call *call)
{
	struct vg_client *client = call->client;

	if (client->flags & VG_CLIENT_TRACKING && !(client->flags & VG_CLIENT_MULTI) &&
	    (!call->command || strncmp(call->command->name, "client|", 7) != 0))
		client->more->tracking.flags &= ~(__u32)VG_TRACKING_CACHING;
}
