/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Keys as such: gone, there, renamed, copied, looked at. */
#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/data.h"

int vg_cmd_del(struct vg_call *call)
{
	__s64 count = 0;

	for (int i = 1; i < call->args; i++) {
		struct vg_key key = vg_call_key(call, i);

		count += vg_data_delete(call, &key) == 0;
	}
	vg_resp_integer(call->out, count);
	return 0;
}

static __s64 count_existing(struct vg_call *call, bool touch)
{
	struct vg_key_facts facts;
	__s64 count = 0;

	for (int i = 1; i < call->args; i++) {
		struct vg_key key = vg_call_key(call, i);

		if (vg_data_facts(call, &key, touch, &facts) == 0)
			count++;
		else
			vg_data_miss(call, &key);
	}
	call->env->stats->hits += (__u64)count;
	return count;
}

int vg_cmd_exists(struct vg_call *call)
{
	vg_resp_integer(call->out, count_existing(call, false));
	return 0;
}

int vg_cmd_touch(struct vg_call *call)
{
	vg_resp_integer(call->out, count_existing(call, true));
	return 0;
}

/* False: no such key; a miss was counted. */
static bool facts_of(struct vg_call *call, int position, struct vg_key_facts *facts)
{
	struct vg_key key = vg_call_key(call, position);

	if (vg_data_facts(call, &key, false, facts)) {
		if (call->command->run == vg_cmd_type)
			vg_data_miss(call, &key);
		else
			call->env->stats->misses++;
		return false;
	}
	call->env->stats->hits++;
	return true;
}

int vg_cmd_type(struct vg_call *call)
{
	struct vg_key_facts facts;

	vg_resp_simple(call->out, facts_of(call, 1, &facts) ? "string" : "none");
	return 0;
}

/* ---- RENAME, RENAMENX, COPY ------------------------------------------------------------------------------------ */

#define NO_SUCH_KEY (-ENOENT)

struct move {
	bool if_absent, keep_source, refused;
};

static int move_fill(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	struct move *move = context;

	move->refused = false;
	if (!old[0].exists)
		return NO_SUCH_KEY;
	if (move->if_absent && old[1].exists) {
		move->refused = true;
		return 0;
	}
	changes[1].action = VG_CHANGE_STORE;
	changes[1].expire_ms = old[0].expire_ms;
	changes[1].client_flags = old[0].client_flags;
	changes[1].part[0] = (struct vg_part){ old[0].value, old[0].length };
	changes[1].parts = 1;
	if (!move->keep_source)
		changes[0].action = VG_CHANGE_DELETE;
	return 0;
}

/* 0 or a negative error of the store; NO_SUCH_KEY. */
static int move_run(struct vg_call *call, struct move *move)
{
	struct vg_key key[2] = { vg_call_key(call, 1), vg_call_key(call, 2) };

	return vg_data_transact(call, key, 2, move_fill, move);
}

static bool is_same_key(const struct vg_call *call)
{
	return call->arg[1].length == call->arg[2].length &&
	       memcmp(call->arg[1].data, call->arg[2].data, call->arg[1].length) == 0;
}

static int rename_key(struct vg_call *call, bool if_absent)
{
	struct move move = { .if_absent = if_absent };
	struct vg_key_facts facts;
	int result;

	if (is_same_key(call)) {
		result = facts_of(call, 1, &facts) ? 0 : NO_SUCH_KEY;
		move.refused = true;
	} else {
		result = move_run(call, &move);
	}
	if (result == NO_SUCH_KEY)
		vg_resp_error(call->out, "ERR no such key");
	else if (result)
		vg_call_failure(call, result);
	else if (if_absent)
		vg_resp_integer(call->out, !move.refused);
	else
		vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_rename(struct vg_call *call)
{
	return rename_key(call, false);
}

int vg_cmd_renamenx(struct vg_call *call)
{
	return rename_key(call, true);
}

int vg_cmd_copy(struct vg_call *call)
{
	struct move move = { .if_absent = true, .keep_source = true };
	int result;

	for (int i = 3; i < call->args; i++) {
		if (vg_arg_is(&call->arg[i], "replace")) {
			move.if_absent = false;
		} else if (vg_arg_is(&call->arg[i], "db") && i + 1 < call->args) {
			if (!vg_call_database(call, ++i))
				return 0;
		} else {
			return vg_call_syntax_error(call);
		}
	}
	if (is_same_key(call)) {
		vg_resp_error(call->out, "ERR source and destination objects are the same");
		return 0;
	}
	result = move_run(call, &move);
	if (result && result != NO_SUCH_KEY)
		return vg_call_failure(call, result);
	vg_resp_integer(call->out, result == 0 && !move.refused);
	return 0;
}

/* ---- OBJECT, MEMORY -------------------------------------------------------------------------------------------- */

#define EMBEDDED_MAX 44 /* bytes of a string that Redis keeps inside its object */

int vg_cmd_object_encoding(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, 2);
	struct vg_value value = { 0 };
	char buffer[VG_CELL_MAX];
	__s64 number;

	if (vg_data_get(call, &key, buffer, &value))
		vg_resp_null(call->out, call->version);
	else if (vg_resp_number(value.data, value.length, &number))
		vg_resp_bulk_text(call->out, "int");
	else
		vg_resp_bulk_text(call->out, value.length <= EMBEDDED_MAX ? "embstr" : "raw");
	vg_value_release(&value);
	return 0;
}

int vg_cmd_object_refcount(struct vg_call *call)
{
	struct vg_key_facts facts;

	if (facts_of(call, 2, &facts))
		vg_resp_integer(call->out, 1);
	else
		vg_resp_null(call->out, call->version);
	return 0;
}

int vg_cmd_object_idletime(struct vg_call *call)
{
	struct vg_key_facts facts;

	if (facts_of(call, 2, &facts))
		vg_resp_integer(call->out, facts.idle_seconds);
	else
		vg_resp_null(call->out, call->version);
	return 0;
}

/* Uses are counted up to 3, whatever the policy: S3-FIFO goes by them. */
int vg_cmd_object_freq(struct vg_call *call)
{
	struct vg_key_facts facts;

	if (facts_of(call, 2, &facts))
		vg_resp_integer(call->out, facts.frequency);
	else
		vg_resp_null(call->out, call->version);
	return 0;
}

int vg_cmd_object_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"ENCODING <key>", "    Say how the value would be kept by Redis: int, embstr or raw.",
		"FREQ <key>", "    Uses that eviction has not yet taken away, 0 to 3.",
		"IDLETIME <key>", "    Seconds since the key was used last, in steps of 16.",
		"REFCOUNT <key>", "    Always 1: values are not shared.",
		NULL,
	};

	return vg_call_help(call, "OBJECT", lines);
}

int vg_cmd_memory_usage(struct vg_call *call)
{
	struct vg_key_facts facts;
	__s64 samples;

	for (int i = 3; i < call->args; i++) {
		if (!vg_arg_is(&call->arg[i], "samples") || i + 1 >= call->args)
			return vg_call_syntax_error(call);
		if (!vg_call_integer(call, ++i, &samples))
			return 0;
		if (samples < 0)
			return vg_call_syntax_error(call);
	}
	if (facts_of(call, 2, &facts))
		vg_resp_integer(call->out, (__s64)facts.memory_bytes);
	else
		vg_resp_null(call->out, call->version);
	return 0;
}

int vg_cmd_memory_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"USAGE <key> [SAMPLES <count>]",
		"    Bytes that the key, its value and its share of the index take.",
		NULL,
	};

	return vg_call_help(call, "MEMORY", lines);
}
