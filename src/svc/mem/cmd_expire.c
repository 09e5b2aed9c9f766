/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Deadlines of keys. */
#include <errno.h>
#include <stdint.h>

#include "svc/mem/cmd.h"
#include "svc/mem/data.h"

static int expire_error(struct vg_call *call)
{
	vg_resp_error(call->out, "ERR invalid expire time in '%s' command", call->command->name);
	return 0;
}

bool vg_deadline_option(const struct vg_call *call, int *at, struct vg_deadline *deadline)
{
	const struct vg_resp_arg *arg = &call->arg[*at];
	bool seconds = vg_arg_is(arg, "ex") || vg_arg_is(arg, "exat"), absolute = arg->length == 4;

	if (*at + 1 >= call->args || (!seconds && !vg_arg_is(arg, "px") && !vg_arg_is(arg, "pxat")))
		return false;
	/* The same option twice is no error for Redis: the last one counts. Two that differ are. */
	if (deadline->given && (deadline->seconds != seconds || deadline->absolute != absolute))
		return false;
	*deadline = (struct vg_deadline){ .given = true, .absolute = absolute, .seconds = seconds, .position = ++*at };
	return true;
}

bool vg_deadline_read(struct vg_call *call, const struct vg_deadline *deadline, __u64 *ret_expire_ms)
{
	__s64 when;

	if (!vg_call_integer(call, deadline->position, &when))
		return false;
	if (when <= 0 || (deadline->seconds && when > INT64_MAX / 1000)) {
		expire_error(call);
		return false;
	}
	if (deadline->seconds)
		when *= 1000;
	if (!deadline->absolute && __builtin_add_overflow(when, (__s64)call->now_ms, &when)) {
		expire_error(call);
		return false;
	}
	*ret_expire_ms = (__u64)when;
	call->dated = true;
	return true;
}

/* ---- EXPIRE and its kin ---------------------------------------------------------------------------------------- */

struct expire {
	__s64 when_ms; /* may be in the past */
	__u64 now_ms;
	bool if_none, if_some, if_later, if_earlier;
	bool changed;
};

static int expire_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct expire *expire = context;
	__s64 had = (__s64)old->expire_ms;

	expire->changed = false;
	if (!old->exists || (expire->if_none && had) || (expire->if_some && !had) ||
	    (expire->if_later && (!had || expire->when_ms <= had)) ||
	    (expire->if_earlier && had && expire->when_ms >= had))
		return 0;
	expire->changed = true;
	change->action = VG_CHANGE_DEADLINE;
	change->expire_ms = (__u64)expire->when_ms;
	if (expire->when_ms <= (__s64)expire->now_ms)
		change->action = VG_CHANGE_DELETE;
	return 0;
}

static bool read_conditions(struct vg_call *call, struct expire *expire)
{
	for (int i = 3; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (vg_arg_is(arg, "nx")) {
			expire->if_none = true;
		} else if (vg_arg_is(arg, "xx")) {
			expire->if_some = true;
		} else if (vg_arg_is(arg, "gt")) {
			expire->if_later = true;
		} else if (vg_arg_is(arg, "lt")) {
			expire->if_earlier = true;
		} else {
			vg_resp_error(call->out, "ERR Unsupported option %.*s",
				      (int)strnlen(arg->data, arg->length & 0xffff), arg->data);
			return false;
		}
	}
	if (expire->if_none && (expire->if_some || expire->if_later || expire->if_earlier)) {
		vg_resp_error(call->out, "ERR NX and XX, GT or LT options at the same time are not compatible");
		return false;
	}
	if (expire->if_later && expire->if_earlier) {
		vg_resp_error(call->out, "ERR GT and LT options at the same time are not compatible");
		return false;
	}
	return true;
}

static int expire(struct vg_call *call, bool seconds, bool absolute)
{
	struct expire expire = { .now_ms = call->now_ms };
	struct vg_key key = vg_call_key(call, 1);
	__s64 when;
	int result;

	if (!read_conditions(call, &expire) || !vg_call_integer(call, 2, &when))
		return 0;
	if (seconds && (when > INT64_MAX / 1000 || when < INT64_MIN / 1000))
		return expire_error(call);
	if (seconds)
		when *= 1000;
	if (!absolute && __builtin_add_overflow(when, (__s64)call->now_ms, &when))
		return expire_error(call);
	expire.when_ms = when;
	result = vg_data_update(call, &key, expire_update, &expire);
	if (result)
		return vg_call_failure(call, result);
	vg_resp_integer(call->out, expire.changed);
	return 0;
}

int vg_cmd_expire(struct vg_call *call)
{
	return expire(call, true, false);
}

int vg_cmd_pexpire(struct vg_call *call)
{
	return expire(call, false, false);
}

int vg_cmd_expireat(struct vg_call *call)
{
	return expire(call, true, true);
}

int vg_cmd_pexpireat(struct vg_call *call)
{
	return expire(call, false, true);
}

static int persist_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	bool *changed = context;

	*changed = old->exists && old->expire_ms;
	if (*changed)
		change->action = VG_CHANGE_DEADLINE;
	return 0;
}

int vg_cmd_persist(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, 1);
	bool changed = false;
	int result = vg_data_update(call, &key, persist_update, &changed);

	if (result)
		return vg_call_failure(call, result);
	vg_resp_integer(call->out, changed);
	return 0;
}

/* ---- how long still -------------------------------------------------------------------------------------------- */

static int deadline(struct vg_call *call, bool seconds, bool absolute)
{
	struct vg_key key = vg_call_key(call, 1);
	struct vg_key_facts facts;
	__s64 when;

	if (vg_data_facts(call, &key, false, &facts)) {
		vg_data_miss(call, &key);
		vg_resp_integer(call->out, -2);
		return 0;
	}
	call->env->stats->hits++;
	if (!facts.expire_ms) {
		vg_resp_integer(call->out, -1);
		return 0;
	}
	when = (__s64)facts.expire_ms - (absolute ? 0 : (__s64)call->now_ms);
	if (when < 0)
		when = 0;
	vg_resp_integer(call->out, seconds ? (when + 500) / 1000 : when);
	return 0;
}

int vg_cmd_ttl(struct vg_call *call)
{
	return deadline(call, true, false);
}

int vg_cmd_pttl(struct vg_call *call)
{
	return deadline(call, false, false);
}

int vg_cmd_expiretime(struct vg_call *call)
{
	return deadline(call, true, true);
}

int vg_cmd_pexpiretime(struct vg_call *call)
{
	return deadline(call, false, true);
}
