/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/data.h"

#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/interest.h"

#define LEND_BYTES 32768 /* a value of a view as long as this is copied once and lent, not copied into chunks */

int vg_data_read(const struct vg_call *call, const struct vg_key *key, void *buffer, struct vg_value *ret_value)
{
	struct vg_key_facts facts;
	ssize_t length;

	if (call->view)
		return vg_view_get(call->view, key, ret_value);
	*ret_value = (struct vg_value){ 0 };
	length = vg_store_read(call->env->store, key, call->now_ms, false, buffer, VG_CELL_MAX, &ret_value->block,
			       &facts);
	if (length < 0)
		return (int)length;
	ret_value->data = ret_value->block ? vg_block_data(ret_value->block) : buffer;
	ret_value->length = (size_t)length;
	ret_value->expire_ms = facts.expire_ms;
	ret_value->client_flags = facts.client_flags;
	return 0;
}

struct set {
	const void *value;
	size_t length;
	__u64 expire_ms;
};

static int set_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct set *set = context;

	change->action = VG_CHANGE_STORE;
	change->expire_ms = set->expire_ms;
	change->part[0] = (struct vg_part){ set->value, set->length };
	change->parts = 1;
	return 0;
}

int vg_data_set(const struct vg_call *call, const struct vg_key *key, const void *value, size_t length,
		__u64 expire_ms)
{
	struct set set = { value, length, expire_ms };

	if (!call->view && !vg_data_is_heard(call))
		return vg_store_set(call->env->store, key, call->now_ms, value, length, expire_ms);
	return vg_data_update(call, key, set_update, &set);
}

static int delete_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	if (!old->exists)
		return -ENOENT;
	change->action = VG_CHANGE_DELETE;
	return 0;
}

int vg_data_delete(const struct vg_call *call, const struct vg_key *key)
{
	if (!call->view && !vg_data_is_heard(call))
		return vg_store_delete(call->env->store, key, call->now_ms);
	return vg_data_update(call, key, delete_update, NULL);
}

/* ---- changes that somebody wants to hear of --------------------------------------------------------------------- */

static const char *store_name(const struct vg_command *command, enum vg_event_class *class)
{
	*class = VG_EVENT_STRING;
	if (command->run == vg_cmd_incr || command->run == vg_cmd_decr || command->run == vg_cmd_incrby ||
	    command->run == vg_cmd_decrby)
		return "incrby";
	if (command->run == vg_cmd_incrbyfloat)
		return "incrbyfloat";
	if (command->run == vg_cmd_append)
		return "append";
	if (command->run == vg_cmd_setrange)
		return "setrange";
	if (command->run == vg_cmd_restore) {
		*class = VG_EVENT_GENERIC;
		return "restore";
	}
	if (command->run == vg_cmd_rename || command->run == vg_cmd_renamenx || command->run == vg_cmd_copy) {
		*class = VG_EVENT_GENERIC;
		return command->run == vg_cmd_copy ? "copy_to" : "rename_to";
	}
	return "set";
}

/* A value that had ended before it was set: for Redis it was there for a moment. */
static void note_passed(const struct vg_call *call, const struct vg_key *key, const struct vg_entry *old, __u64 by)
{
	struct vg_mem_shared *shared = vg_mem_shared(call->env);

	if (!old->exists)
		vg_event_note(shared, VG_EVENT_NEW, "new", key, false, by);
	vg_event_note(shared, VG_EVENT_STRING, "set", key, true, by);
	vg_event_note(shared, VG_EVENT_GENERIC, "expire", key, false, by);
	vg_event_note(shared, VG_EVENT_EXPIRED, "expired", key, true, 0);
}

static void note_change(const struct vg_call *call, const struct vg_key *key, const struct vg_entry *old,
			const struct vg_change *change)
{
	struct vg_mem_shared *shared = vg_mem_shared(call->env);
	const struct vg_command *command = call->command;
	bool passed = change->expire_ms && change->expire_ms <= call->now_ms;
	bool renamed = command->run == vg_cmd_rename || command->run == vg_cmd_renamenx;
	__u64 by = call->client ? vg_client_session(call->client)->id : 0;
	enum vg_event_class class;
	const char *name;

	if (change->action == VG_CHANGE_STORE && !passed) {
		name = store_name(command, &class);
		/* Redis takes a key away and adds it anew where it copies one. */
		if (!renamed && (!old->exists || command->run == vg_cmd_copy || command->run == vg_cmd_restore))
			vg_event_note(shared, VG_EVENT_NEW, "new", key, false, by);
		vg_event_note(shared, class, name, key, true, by);
		if (call->dated && class == VG_EVENT_STRING)
			vg_event_note(shared, VG_EVENT_GENERIC, "expire", key, false, by);
	} else if (call->dated && command->run == vg_cmd_set && passed) {
		note_passed(call, key, old, by);
	} else if (!old->exists || change->action == VG_CHANGE_NONE || change->action == VG_CHANGE_VERSION) {
		return;
	} else if (change->action == VG_CHANGE_DEADLINE && !passed) {
		vg_event_note(shared, VG_EVENT_GENERIC, change->expire_ms ? "expire" : "persist", key, true, by);
	} else {
		vg_event_note(shared, VG_EVENT_GENERIC, renamed ? "rename_from" : "del", key, true, by);
	}
}

struct noted {
	const struct vg_call *call;
	const struct vg_key *keys;
	vg_update_fn update;
	vg_transaction_fn transaction;
	void *context;
};

static int noted_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct noted *noted = context;
	int error = noted->update(noted->context, old, change);

	if (!error)
		note_change(noted->call, noted->keys, old, change);
	return error;
}

int vg_data_update_noted(const struct vg_call *call, const struct vg_key *key, vg_update_fn fn, void *context)
{
	struct noted noted = { .call = call, .keys = key, .update = fn, .context = context };
	__u32 mark = vg_events_mark();
	int error;

	if (call->view) {
		error = vg_view_update(call->view, key, noted_update, &noted);
	} else {
		vg_events_mute();
		error = vg_store_update(call->env->store, key, call->now_ms, noted_update, &noted);
		vg_events_unmute();
	}
	if (error && error != -ENOENT) /* that is said of a key that has just expired, too */
		vg_events_rewind(mark);
	return error;
}

/* Has the same key come before among those of this change? */
static bool is_stored_before(const struct noted *noted, const struct vg_change *changes, int i)
{
	const struct vg_key *key = &noted->keys[i];

	for (int k = 0; k < i; k++)
		if (noted->keys[k].hash == key->hash && noted->keys[k].length == key->length &&
		    changes[k].action == VG_CHANGE_STORE && memcmp(noted->keys[k].data, key->data, key->length) == 0)
			return true;
	return false;
}

static int noted_transaction(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	const struct noted *noted = context;
	int error = noted->transaction(noted->context, old, changes, count);

	/* RENAME: the new name is told before the old one goes. */
	if (!error && count == 2 && changes[0].action == VG_CHANGE_DELETE && changes[1].action == VG_CHANGE_STORE)
		vg_event_note(vg_mem_shared(noted->call->env), VG_EVENT_NEW, "new", &noted->keys[1], false, 0);
	for (int i = 0; i < count && !error; i++) {
		struct vg_entry before = old[i];

		before.exists |= is_stored_before(noted, changes, i);
		note_change(noted->call, &noted->keys[i], &before, &changes[i]);
	}
	return error;
}

int vg_data_transact_noted(const struct vg_call *call, const struct vg_key *keys, int count, vg_transaction_fn fn,
			   void *context)
{
	struct noted noted = { .call = call, .keys = keys, .transaction = fn, .context = context };
	__u32 mark = vg_events_mark();
	int error;

	if (call->view) {
		error = vg_view_transact(call->view, keys, count, noted_transaction, &noted);
	} else {
		vg_events_mute();
		error = vg_store_transact(call->env->store, keys, count, call->now_ms, noted_transaction, &noted);
		vg_events_unmute();
	}
	if (error && error != -ENOENT)
		vg_events_rewind(mark);
	return error;
}

void vg_data_broken(const struct vg_call *call, const struct vg_key *key)
{
	vg_interest_note(vg_mem_shared(call->env)->interest, key->hash, false);
}

void vg_data_miss(const struct vg_call *call, const struct vg_key *key)
{
	call->env->stats->misses++;
	if (vg_data_is_heard(call))
		vg_event_note(vg_mem_shared(call->env), VG_EVENT_MISS, "keymiss", key, false, 0);
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* A view's values end with it; what is answered may be sent later. */
struct copy {
	const struct vg_mem *mem;
	char bytes[];
};

static void release_copy(void *context)
{
	struct copy *copy = context;

	copy->mem->free(copy->mem->context, copy);
}

static void answer_copy(struct vg_call *call, const void *data, size_t length)
{
	const struct vg_mem *mem = call->env->mem;
	struct copy *copy = mem->alloc(mem->context, sizeof(*copy) + length);

	if (!copy) {
		call->out->failed = true;
		return;
	}
	copy->mem = mem;
	memcpy(copy->bytes, data, length);
	vg_resp_bulk_lend(call->out, copy->bytes, length, release_copy, copy);
}

void vg_call_value(struct vg_call *call, struct vg_value *value, size_t offset, size_t length)
{
	const char *data = (const char *)value->data + offset;

	if (value->block && length) {
		vg_resp_bulk_lend(call->out, data, length, vg_block_put, value->block);
		value->block = NULL; /* the output's from here */
	} else if (call->view && length >= LEND_BYTES) {
		answer_copy(call, data, length);
	} else {
		vg_resp_bulk(call->out, data, length);
	}
	vg_value_release(value);
}
