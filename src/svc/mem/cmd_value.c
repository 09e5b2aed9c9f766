/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Several keys at once, and parts of values. */
#include <errno.h>
#include <stdint.h>

#include "svc/mem/cmd.h"
#include "svc/mem/data.h"

#define PREFETCH_AHEAD 16 /* keys of one MGET whose index lines are on their way at once */

int vg_cmd_mget(struct vg_call *call)
{
	struct vg_store *store = call->env->store;
	struct vg_key key[PREFETCH_AHEAD];

	vg_resp_array(call->out, (__u64)call->args - 1);
	for (int at = 1; at < call->args; at += PREFETCH_AHEAD) {
		int count = call->args - at < PREFETCH_AHEAD ? call->args - at : PREFETCH_AHEAD;

		for (int i = 0; i < count; i++) {
			key[i] = vg_call_key(call, at + i);
			vg_store_prefetch_bucket(store, key[i].hash);
		}
		for (int i = 0; i < count; i++)
			vg_store_prefetch_item(store, key[i].hash);
		for (int i = 0; i < count; i++)
			vg_cmd_get_one(call, &key[i]);
	}
	return 0;
}

/* ---- MSET, MSETNX ---------------------------------------------------------------------------------------------- */

struct set_many {
	const struct vg_resp_arg *arg; /* key, value, key, value … */
	bool if_absent, refused;
};

static int set_many_fill(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	struct set_many *many = context;

	if (many->if_absent)
		for (int i = 0; i < count; i++)
			if (old[i].exists)
				many->refused = true;
	for (int i = 0; i < count && !many->refused; i++) {
		changes[i].action = VG_CHANGE_STORE;
		changes[i].part[0] = (struct vg_part){ many->arg[2 * i + 1].data, many->arg[2 * i + 1].length };
		changes[i].parts = 1;
	}
	return 0;
}

/* All pairs, atomically for up to VG_TRANSACTION_KEYS_MAX keys; MSET of more goes in steps of as many. */
static int set_many(struct vg_call *call, struct set_many *many)
{
	const struct vg_mem *mem = call->env->mem;
	int pairs = (call->args - 1) / 2, result = 0;
	int step = pairs < VG_TRANSACTION_KEYS_MAX ? pairs : VG_TRANSACTION_KEYS_MAX;
	struct vg_key *key;

	if (many->if_absent && pairs > VG_TRANSACTION_KEYS_MAX)
		return -EMSGSIZE;
	key = mem->alloc(mem->context, (size_t)step * sizeof(*key));
	if (!key)
		return -ENOMEM;
	for (int at = 0; at < pairs && result == 0; at += step) {
		int count = pairs - at < step ? pairs - at : step;

		for (int i = 0; i < count; i++) {
			key[i] = vg_call_key(call, 1 + 2 * (at + i));
			vg_store_prefetch_bucket(call->env->store, key[i].hash);
		}
		many->arg = &call->arg[1 + 2 * at];
		result = vg_data_transact(call, key, count, set_many_fill, many);
	}
	mem->free(mem->context, key);
	return result;
}

int vg_cmd_mset(struct vg_call *call)
{
	struct set_many many = { 0 };
	int result;

	if (call->args % 2 == 0)
		return vg_call_arity_error(call);
	result = set_many(call, &many);
	if (result)
		return vg_call_failure(call, result);
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_msetnx(struct vg_call *call)
{
	struct set_many many = { .if_absent = true };
	int result;

	if (call->args % 2 == 0)
		return vg_call_arity_error(call);
	result = set_many(call, &many);
	if (result)
		return vg_call_failure(call, result);
	vg_resp_integer(call->out, !many.refused);
	return 0;
}

/* ---- parts of a value ------------------------------------------------------------------------------------------ */

#define TOO_LONG_TEXT "ERR string exceeds maximum allowed size (proto-max-bulk-len)"

struct splice {
	struct vg_part part;
	__u64 offset;	 /* SETRANGE */
	__u64 length;	 /* of the new value */
};

static int append_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct splice *splice = context;

	splice->length = old->length + splice->part.length;
	if (splice->length > VG_VALUE_MAX)
		return -EOVERFLOW;
	change->action = VG_CHANGE_STORE;
	change->expire_ms = old->exists ? old->expire_ms : 0;
	change->client_flags = old->client_flags;
	if (old->exists)
		change->part[change->parts++] = (struct vg_part){ old->value, old->length };
	change->part[change->parts++] = splice->part;
	return 0;
}

static int splice_run(struct vg_call *call, vg_update_fn update, struct splice *splice)
{
	struct vg_key key = vg_call_key(call, 1);
	int result = vg_data_update(call, &key, update, splice);

	if (result == -EOVERFLOW)
		vg_resp_error(call->out, TOO_LONG_TEXT);
	else if (result)
		vg_call_failure(call, result);
	else
		vg_resp_integer(call->out, (__s64)splice->length);
	return 0;
}

int vg_cmd_append(struct vg_call *call)
{
	struct splice splice = { .part = { call->arg[2].data, call->arg[2].length } };

	return splice_run(call, append_update, &splice);
}

static int setrange_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct splice *splice = context;
	__u64 had = old->exists ? old->length : 0, end = splice->offset + splice->part.length;
	const char *value = old->value;

	splice->length = had;
	if (splice->part.length == 0)
		return 0;
	if (end > VG_VALUE_MAX)
		return -EOVERFLOW;
	change->action = VG_CHANGE_STORE;
	change->expire_ms = old->exists ? old->expire_ms : 0;
	change->client_flags = old->client_flags;
	if (had && splice->offset)
		change->part[change->parts++] =
			(struct vg_part){ value, had < splice->offset ? had : splice->offset };
	if (splice->offset > had)
		change->part[change->parts++] = (struct vg_part){ NULL, splice->offset - had };
	change->part[change->parts++] = splice->part;
	if (had > end)
		change->part[change->parts++] = (struct vg_part){ value + end, had - end };
	splice->length = had > end ? had : end;
	return 0;
}

int vg_cmd_setrange(struct vg_call *call)
{
	struct splice splice = { .part = { call->arg[3].data, call->arg[3].length } };
	__s64 offset;

	if (!vg_call_integer(call, 2, &offset))
		return 0;
	if (offset < 0) {
		vg_resp_error(call->out, "ERR offset is out of range");
		return 0;
	}
	if (offset > VG_VALUE_MAX)
		offset = VG_VALUE_MAX + 1LL;
	splice.offset = (__u64)offset;
	return splice_run(call, setrange_update, &splice);
}

int vg_cmd_strlen(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, 1);
	struct vg_key_facts facts;
	int result = vg_data_facts(call, &key, true, &facts);

	if (result)
		vg_data_miss(call, &key);
	else
		call->env->stats->hits++;
	vg_resp_integer(call->out, result ? 0 : (__s64)facts.value_length);
	return 0;
}

int vg_cmd_getrange(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, 1);
	struct vg_value value = { .data = "" };
	char buffer[VG_CELL_MAX];
	__s64 start, end, length;

	if (!vg_call_integer(call, 2, &start) || !vg_call_integer(call, 3, &end))
		return 0;
	if (vg_data_get(call, &key, buffer, &value))
		vg_data_miss(call, &key);
	else
		call->env->stats->hits++;
	length = (__s64)value.length;
	if (length <= 0 || (start < 0 && end < 0 && start > end)) {
		start = 0;
		end = -1;
	} else {
		start = start < 0 ? start + length : start;
		end = end < 0 ? end + length : end;
		start = start < 0 ? 0 : start;
		end = end < 0 ? 0 : end;
		end = end >= length ? length - 1 : end;
	}
	if (start > end)
		vg_call_value(call, &value, 0, 0);
	else
		vg_call_value(call, &value, (size_t)start, (size_t)(end - start + 1));
	return 0;
}
