/* SPDX-License-Identifier: GPL-3.0-or-later */
/* MULTI, EXEC, DISCARD, WATCH, UNWATCH; and VIRGO.EXEC, a transaction in one message, as nodes send it to others. */
#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/exec.h"
#include "svc/mem/resp_route.h"
#include "svc/mem/shared.h"

int vg_cmd_multi(struct vg_call *call)
{
	if (call->client->flags & VG_CLIENT_MULTI) {
		vg_resp_error(call->out, "ERR MULTI calls can not be nested");
		return 0;
	}
	if (!vg_client_more(call->client))
		return vg_call_failure(call, -ENOMEM);
	call->client->flags |= VG_CLIENT_MULTI;
	vg_resp_simple(call->out, "OK");
	return 0;
}

/* Out of MULTI; what was queued and watched is forgotten. */
static void leave(struct vg_call *call)
{
	struct vg_client_more *more = call->client->more;

	call->client->flags &= ~(__u32)VG_CLIENT_MULTI;
	vg_multi_clear(&more->multi, call->env->mem);
	vg_unwatch_all(call->env, &more->watched);
}

int vg_cmd_discard(struct vg_call *call)
{
	if (!(call->client->flags & VG_CLIENT_MULTI)) {
		vg_resp_error(call->out, "ERR DISCARD without MULTI");
		return 0;
	}
	leave(call);
	vg_resp_simple(call->out, "OK");
	return 0;
}

/* ---- EXEC ------------------------------------------------------------------------------------------------------- */

/* The owner of all its keys is another node: it gets the whole transaction as one command. */
static int forward(struct vg_call *call, struct vg_multi *multi)
{
	static const struct vg_resp_arg name = { "VIRGO.EXEC", 10 };
	const struct vg_mem *mem = call->env->mem;
	__u16 owner = multi->owner;
	struct vg_call whole = *call;
	size_t bytes = VG_RESP_DIGITS + 3 + vg_route_arg_bytes(&name);
	int args = 1, result;
	char *text, *at;

	for (int i = 0; i < multi->count; i++) {
		bytes += 2 * (VG_RESP_DIGITS + 3);
		args += 1 + multi->queued[i]->args;
		for (int k = 0; k < multi->queued[i]->args; k++)
			bytes += vg_route_arg_bytes(&multi->queued[i]->arg[k]);
	}
	text = mem->alloc(mem->context, bytes);
	if (!text)
		return vg_call_failure(call, -ENOMEM);
	at = vg_route_put_arg(vg_route_put_header(text, '*', args), &name);
	for (int i = 0; i < multi->count; i++) {
		const struct vg_queued *queued = multi->queued[i];
		char digits[VG_RESP_DIGITS];
		struct vg_resp_arg count = { digits, vg_resp_digits(digits, queued->args) };

		at = vg_route_put_arg(at, &count);
		for (int k = 0; k < queued->args; k++)
			at = vg_route_put_arg(at, &queued->arg[k]);
	}
	whole.raw = text;
	whole.raw_length = (size_t)(at - text);
	result = vg_route_forward(&whole, owner);
	call->out = whole.out;
	call->pending = whole.pending;
	mem->free(mem->context, text);
	return result;
}

int vg_cmd_exec(struct vg_call *call)
{
	struct vg_client_more *more = call->client->more;
	bool here;
	int result = 0;

	if (!(call->client->flags & VG_CLIENT_MULTI)) {
		vg_resp_error(call->out, "ERR EXEC without MULTI");
		return 0;
	}
	here = more->multi.owner == VG_NODE_NONE || more->multi.owner == vg_cluster_self(call->env->cluster);
	if (more->multi.failed) {
		vg_resp_error(call->out, "EXECABORT Transaction discarded because of previous errors.");
	} else if (here) {
		call->client->flags &= ~(__u32)VG_CLIENT_MULTI;
		return vg_exec_run(call, &more->multi, &more->watched);
	} else if (more->watched) { /* watched keys are always this node's */
		vg_resp_error(call->out, "CROSSSLOT Keys in request don't hash to the same slot");
	} else {
		result = forward(call, &more->multi);
	}
	leave(call);
	return result;
}

static bool is_here(const struct vg_env *env, const struct vg_call *one)
{
	int last = vg_command_last_key(one->command, one->args);

	for (int i = one->command->first; i && i <= last; i += one->command->step)
		if (vg_cluster_owner(env->cluster, vg_partition_of(one->arg[i].data, one->arg[i].length)) !=
		    vg_cluster_self(env->cluster))
			return false;
	return true;
}

/* VIRGO.EXEC <words of a command> <command> …: like MULTI, those commands, EXEC. */
int vg_cmd_virgo_exec(struct vg_call *call)
{
	struct vg_multi multi = { .owner = VG_NODE_NONE };
	struct vg_watched *watched = NULL;
	int at = 1, error = 0;

	while (at < call->args && !error) {
		struct vg_call one = { .env = call->env, .out = call->out, .forwarded = call->forwarded };
		__s64 args;

		if (!vg_resp_number(call->arg[at].data, call->arg[at].length, &args) || args < 1 ||
		    args > call->args - at - 1) {
			vg_multi_clear(&multi, call->env->mem);
			return vg_call_syntax_error(call);
		}
		one.arg = &call->arg[at + 1];
		one.args = (int)args;
		if (!vg_call_lookup(&one)) { /* the error was answered */
			vg_multi_clear(&multi, call->env->mem);
			return 0;
		}
		if (one.command->run == vg_cmd_virgo_exec || (call->client && !call->alone)) {
			vg_multi_clear(&multi, call->env->mem);
			vg_resp_error(call->out, "ERR VIRGO.EXEC is for nodes; use MULTI");
			return 0;
		}
		if (call->forwarded && !is_here(call->env, &one)) {
			vg_multi_clear(&multi, call->env->mem);
			return -EREMOTE;
		}
		error = vg_multi_add(&multi, call->env->mem, one.command, one.arg, one.args);
		at += 1 + (int)args;
	}
	if (error) {
		vg_multi_clear(&multi, call->env->mem);
		return vg_call_failure(call, error);
	}
	return vg_exec_run(call, &multi, &watched);
}

/* ---- WATCH ------------------------------------------------------------------------------------------------------ */

struct begin_watch {
	struct vg_interest *interest;
	struct vg_watched *watched;
};

static int begin_watch(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct begin_watch *begin = context;

	vg_interest_watch(begin->interest, begin->watched->key.hash, old->exists, &begin->watched->watch);
	return 0;
}

static bool is_watched(const struct vg_watched *list, const struct vg_key *key)
{
	for (; list; list = list->next)
		if (list->key.hash == key->hash && list->key.length == key->length &&
		    memcmp(list->key.data, key->data, key->length) == 0)
			return true;
	return false;
}

/* 0 or an error of the store. */
static int watch_one(struct vg_call *call, struct vg_client_more *more, const struct vg_key *key)
{
	const struct vg_mem *mem = call->env->mem;
	struct begin_watch begin = { .interest = vg_mem_shared(call->env)->interest };
	int error;

	if (is_watched(more->watched, key))
		return 0;
	begin.watched = mem->alloc(mem->context, sizeof(*begin.watched) + key->length);
	if (!begin.watched)
		return -ENOMEM;
	memcpy(begin.watched->bytes, key->data, key->length);
	begin.watched->key = (struct vg_key){ begin.watched->bytes, key->length, key->hash };
	error = vg_store_update(call->env->store, key, call->now_ms, begin_watch, &begin);
	if (error) {
		mem->free(mem->context, begin.watched);
		return error;
	}
	begin.watched->next = more->watched;
	more->watched = begin.watched;
	return 0;
}

int vg_cmd_watch(struct vg_call *call)
{
	struct vg_client_more *more = vg_client_more(call->client);
	int error = 0;

	if (!more)
		return vg_call_failure(call, -ENOMEM);
	if (call->client->flags & VG_CLIENT_MULTI) {
		vg_resp_error(call->out, "ERR WATCH inside MULTI is not allowed");
		return 0;
	}
	/* A watched key lives here: its changes are seen where they are made. */
	if (!vg_gate_is_here(call))
		return 0;
	for (int i = 1; i < call->args && !error; i++) {
		struct vg_key key = { call->arg[i].data, (__u32)call->arg[i].length,
				      vg_hash64(call->arg[i].data, call->arg[i].length) };

		error = watch_one(call, more, &key);
	}
	if (error)
		return vg_call_failure(call, error);
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_unwatch(struct vg_call *call)
{
	if (call->client->more)
		vg_unwatch_all(call->env, &call->client->more->watched);
	vg_resp_simple(call->out, "OK");
	return 0;
}
