/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GET, SET and what is made of them. */
#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/data.h"

int vg_cmd_get(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, 1);

	vg_cmd_get_one(call, &key);
	return 0;
}

void vg_cmd_get_one(struct vg_call *call, const struct vg_key *key)
{
	char buffer[VG_CELL_MAX];
	struct vg_value value;

	if (vg_data_get(call, key, buffer, &value)) {
		vg_data_miss(call, key);
		vg_resp_null(call->out, call->version);
		return;
	}
	call->env->stats->hits++;
	vg_call_value(call, &value, 0, value.length);
}

/* ---- a change that answers the old value ----------------------------------------------------------------------- */

/*
 * The old value is wanted outside of the update. A short one is copied under the lock. A long one is pinned before: if
 * the update then finds the very same block, it is still the value (a pinned block is neither changed nor used again).
 */
struct swap {
	struct vg_value pinned;	 /* what was read before the update; data NULL: nothing */
	ssize_t length;		 /* of the old value, -1: there was none */
	char buffer[VG_CELL_MAX];
	const struct vg_call *call;
	struct vg_key key;
	/* The change itself. */
	int (*change)(struct swap *swap, const struct vg_entry *old, struct vg_change *change);
	struct vg_part value;
	__u64 expire_ms, now_ms;
	bool if_absent, if_present, keep, changed;
};

#define SWAP_TRIES_MAX 64

static int swap_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct swap *swap = context;

	swap->length = old->exists ? (ssize_t)old->length : -1;
	if (!old->exists)
		vg_data_miss(swap->call, &swap->key);
	if (old->exists && old->length > sizeof(swap->buffer)) {
		if (swap->pinned.data != old->value || swap->pinned.length != old->length)
			return -EAGAIN;
	} else if (old->exists) {
		memcpy(swap->buffer, old->value, old->length);
	}
	return swap->change(swap, old, change);
}

static void unpin(struct swap *swap)
{
	vg_value_release(&swap->pinned);
	swap->pinned = (struct vg_value){ 0 };
}

/* Do the change; 0, or the error was answered (1). swap->length and value say what was there. */
static int swap_run(struct vg_call *call, struct swap *swap)
{
	int result;

	swap->call = call;
	swap->key = vg_call_key(call, 1);
	for (int tries = 0; tries < SWAP_TRIES_MAX; tries++) {
		swap->changed = false;
		result = vg_data_update(call, &swap->key, swap_update, swap);
		if (result != -EAGAIN)
			break;
		unpin(swap);
		if (vg_data_get(call, &swap->key, swap->buffer, &swap->pinned))
			swap->pinned = (struct vg_value){ 0 };
	}
	/* What is in the buffer is the value itself; what was pinned in vain goes back. */
	if (result || swap->length <= (ssize_t)sizeof(swap->buffer))
		unpin(swap);
	if (result == -EAGAIN) {
		vg_resp_error(call->out, "TRYAGAIN the value changed too often while it was read");
		return 1;
	}
	if (result) {
		vg_call_failure(call, result);
		return 1;
	}
	return 0;
}

/* Answer the old value, which ends the swap. */
static void swap_answer(struct vg_call *call, struct swap *swap)
{
	struct vg_value value = swap->pinned;

	if (swap->length < 0) {
		vg_resp_null(call->out, call->version);
		return;
	}
	call->env->stats->hits++;
	if (!value.data)
		value = (struct vg_value){ .data = swap->buffer };
	vg_call_value(call, &value, 0, (size_t)swap->length);
}

static int swap_store(struct swap *swap, const struct vg_entry *old, struct vg_change *change)
{
	if ((swap->if_absent && old->exists) || (swap->if_present && !old->exists))
		return 0;
	swap->changed = true;
	change->expire_ms = swap->keep && old->exists ? old->expire_ms : swap->expire_ms;
	change->part[0] = swap->value;
	change->parts = 1;
	change->action = VG_CHANGE_STORE;
	/* It ends before it begins: the store deletes what was there, and who watches the key is told all the same. */
	if (change->expire_ms && change->expire_ms <= swap->now_ms && swap->call)
		vg_data_broken(swap->call, &swap->key);
	return 0;
}

static int swap_delete(struct swap *swap, const struct vg_entry *old, struct vg_change *change)
{
	if (old->exists)
		change->action = VG_CHANGE_DELETE;
	return 0;
}

/* GETEX: swap->keep: leave the deadline; else it becomes expire_ms (0: none). */
static int swap_deadline(struct swap *swap, const struct vg_entry *old, struct vg_change *change)
{
	if (!old->exists || swap->keep || (!swap->expire_ms && !old->expire_ms))
		return 0;
	change->action = VG_CHANGE_DEADLINE;
	change->expire_ms = swap->expire_ms;
	if (swap->expire_ms && swap->expire_ms <= swap->now_ms)
		change->action = VG_CHANGE_DELETE;
	return 0;
}

/* ---- SET ------------------------------------------------------------------------------------------------------- */

/* A set with a condition or an old deadline to keep, whose old value nobody asked for. */
static int condition_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct swap *swap = context;

	return swap_store(swap, old, change);
}

static int set_plain(struct vg_call *call, const struct vg_resp_arg *value, __u64 expire_ms)
{
	struct vg_key key = vg_call_key(call, 1);
	int result;

	result = vg_data_set(call, &key, value->data, value->length, expire_ms);
	if (result)
		return vg_call_failure(call, result);
	vg_out_append(call->out, "+OK\r\n", 5);
	return 0;
}

struct set_options {
	struct vg_deadline deadline;
	bool if_absent, if_present, keep, get;
};

static bool read_set_options(struct vg_call *call, struct set_options *options)
{
	for (int i = 3; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (vg_arg_is(arg, "nx") && !options->if_present)
			options->if_absent = true;
		else if (vg_arg_is(arg, "xx") && !options->if_absent)
			options->if_present = true;
		else if (vg_arg_is(arg, "get"))
			options->get = true;
		else if (vg_arg_is(arg, "keepttl") && !options->deadline.given)
			options->keep = true;
		else if (options->keep || !vg_deadline_option(call, &i, &options->deadline))
			return false;
	}
	return true;
}

int vg_cmd_set(struct vg_call *call)
{
	struct set_options options = { 0 };
	struct swap swap = { .change = swap_store, .now_ms = call->now_ms };
	struct vg_key key;
	int result;

	if (call->args == 3)
		return set_plain(call, &call->arg[2], 0);
	if (!read_set_options(call, &options))
		return vg_call_syntax_error(call);
	if (options.deadline.given && !vg_deadline_read(call, &options.deadline, &swap.expire_ms))
		return 0;
	if (!options.if_absent && !options.if_present && !options.keep && !options.get &&
	    (!swap.expire_ms || swap.expire_ms > call->now_ms))
		return set_plain(call, &call->arg[2], swap.expire_ms);

	swap.value = (struct vg_part){ call->arg[2].data, call->arg[2].length };
	swap.if_absent = options.if_absent;
	swap.if_present = options.if_present;
	swap.keep = options.keep;
	if (options.get) {
		if (swap_run(call, &swap) == 0)
			swap_answer(call, &swap);
		return 0;
	}
	swap.call = call;
	key = swap.key = vg_call_key(call, 1);
	result = vg_data_update(call, &key, condition_update, &swap);
	if (result)
		return vg_call_failure(call, result);
	if (swap.changed)
		vg_resp_simple(call->out, "OK");
	else
		vg_resp_null(call->out, call->version);
	return 0;
}

int vg_cmd_setnx(struct vg_call *call)
{
	struct swap swap = { .if_absent = true, .value = { call->arg[2].data, call->arg[2].length } };
	struct vg_key key = vg_call_key(call, 1);
	int result = vg_data_update(call, &key, condition_update, &swap);

	if (result)
		return vg_call_failure(call, result);
	vg_resp_integer(call->out, swap.changed);
	return 0;
}

static int set_for(struct vg_call *call, bool seconds)
{
	struct vg_deadline deadline = { .given = true, .seconds = seconds, .position = 2 };
	__u64 expire_ms;

	if (!vg_deadline_read(call, &deadline, &expire_ms))
		return 0;
	return set_plain(call, &call->arg[3], expire_ms);
}

int vg_cmd_setex(struct vg_call *call)
{
	return set_for(call, true);
}

int vg_cmd_psetex(struct vg_call *call)
{
	return set_for(call, false);
}

int vg_cmd_getset(struct vg_call *call)
{
	struct swap swap = { .change = swap_store, .value = { call->arg[2].data, call->arg[2].length } };

	if (swap_run(call, &swap) == 0)
		swap_answer(call, &swap);
	return 0;
}

int vg_cmd_getdel(struct vg_call *call)
{
	struct swap swap = { .change = swap_delete };

	if (swap_run(call, &swap) == 0)
		swap_answer(call, &swap);
	return 0;
}

int vg_cmd_getex(struct vg_call *call)
{
	struct swap swap = { .change = swap_deadline, .keep = true, .now_ms = call->now_ms };
	struct vg_deadline deadline = { 0 };
	bool persist = false;

	for (int i = 2; i < call->args; i++) {
		if (vg_arg_is(&call->arg[i], "persist") && !deadline.given)
			persist = true;
		else if (persist || !vg_deadline_option(call, &i, &deadline))
			return vg_call_syntax_error(call);
	}
	if (deadline.given) {
		struct vg_key key = vg_call_key(call, 1);
		struct vg_key_facts facts;

		/* A missing key is answered before a wrong time is. */
		if (vg_data_facts(call, &key, false, &facts)) {
			vg_data_miss(call, &key);
			vg_resp_null(call->out, call->version);
			return 0;
		}
		if (!vg_deadline_read(call, &deadline, &swap.expire_ms))
			return 0;
	}
	swap.keep = !deadline.given && !persist;
	if (swap_run(call, &swap) == 0)
		swap_answer(call, &swap);
	return 0;
}
