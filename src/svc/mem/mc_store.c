// SPDX-License-Identifier: GPL-3.0-or-later
/* memcached's storage commands: set, add, replace, append, prepend, cas, and ms. */
#include <errno.h>

#include <string.h>

#include "svc/mem/mc_item.h"

enum mode { MODE_SET, MODE_ADD, MODE_REPLACE, MODE_APPEND, MODE_PREPEND, MODE_CAS };
enum outcome { STORED, NOT_STORED, EXISTS, NOT_FOUND };

struct store {
	enum mode mode;
	struct vg_part value;
	__u32 client_flags;
	__u64 deadline_ms, now_ms;
	__u64 compare;	    /* 0: any */
	__u64 version;	    /* what it gets, 0: none */
	__u64 stale_below;  /* I: what was fetched as an older version may be stored, and is marked; 0: not so */
	enum outcome outcome;
};

/* A joined value keeps the flags and the deadline of the one that was there. */
static void join(const struct store *store, const struct vg_entry *old, struct vg_change *change)
{
	const struct vg_part there = { old->value, old->length };

	change->action = VG_CHANGE_STORE;
	change->part[0] = store->mode == MODE_APPEND ? there : store->value;
	change->part[1] = store->mode == MODE_APPEND ? store->value : there;
	change->parts = 2;
	change->client_flags = old->client_flags;
	change->expire_ms = old->expire_ms;
}

static void replace(const struct store *store, const struct vg_entry *old, bool stale, struct vg_change *change)
{
	change->action = VG_CHANGE_STORE;
	change->part[0] = store->value;
	change->parts = 1;
	change->client_flags = store->client_flags;
	change->expire_ms = store->deadline_ms;
	if (stale) {
		change->expire_ms = old->expire_ms;
		change->marks = VG_MC_STALE | (old->marks & VG_MC_TOKEN_SENT);
	}
	/* Stored, and gone at once: nothing of it is ever seen. */
	if (change->expire_ms && change->expire_ms <= store->now_ms)
		change->action = old->exists ? VG_CHANGE_DELETE : VG_CHANGE_NONE;
}

static int store_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct store *store = context;
	bool matches = old->version && store->compare == old->version;
	bool stale = store->compare && store->stale_below && store->compare < (old->version ?: store->stale_below);
	bool joins = store->mode == MODE_APPEND || store->mode == MODE_PREPEND;

	change->version = store->version;
	store->outcome = STORED;
	if (!old->exists) {
		if (store->mode == MODE_SET || store->mode == MODE_ADD)
			replace(store, old, false, change);
		else
			store->outcome = store->mode == MODE_CAS ? NOT_FOUND : NOT_STORED;
	} else if (store->mode == MODE_ADD) {
		store->outcome = NOT_STORED;
	} else if (store->mode == MODE_CAS ? !matches && !stale :
					     joins && store->compare && !matches) {
		store->outcome = EXISTS;
	} else if (joins) {
		join(store, old, change);
	} else {
		replace(store, old, store->mode == MODE_CAS && !matches, change);
	}
	return 0;
}

/* NULL: done, store->outcome says what; else the error to answer. */
static const char *run(struct vg_mc_call *call, struct store *store)
{
	const struct vg_mc_request *request = call->request;
	struct vg_mc_counts *counts = vg_mc_counts(call->env);
	int error;

	counts->cmd_set++;
	store->value = (struct vg_part){ request->value, request->value_length };
	store->client_flags = request->client_flags;
	store->now_ms = call->now_ms;
	error = vg_store_update(call->env->store, &call->key, call->now_ms, store_update, store);
	/* What could not be stored must not leave an older value that looks like it. */
	if (error && (error == -ENOMEM || error == -EMSGSIZE) && store->mode == MODE_SET)
		vg_store_delete(call->env->store, &call->key, call->now_ms);
	if (store->mode == MODE_CAS && !error) {
		counts->cas_hits += store->outcome == STORED;
		counts->cas_badval += store->outcome == EXISTS;
		counts->cas_misses += store->outcome == NOT_FOUND;
	}
	return error ? vg_mc_failure(call, error) : NULL;
}

void vg_mc_store(struct vg_mc_call *call)
{
	static const char *const said[] = { "STORED", "NOT_STORED", "EXISTS", "NOT_FOUND" };
	static const enum mode mode[VG_MC_VERB_MAX] = {
		[VG_MC_SET] = MODE_SET,	      [VG_MC_ADD] = MODE_ADD,	      [VG_MC_REPLACE] = MODE_REPLACE,
		[VG_MC_APPEND] = MODE_APPEND, [VG_MC_PREPEND] = MODE_PREPEND, [VG_MC_CAS] = MODE_CAS,
	};
	const struct vg_mc_request *request = call->request;
	struct store store = { .mode = mode[request->verb], .compare = request->number,
			       .deadline_ms = vg_mc_deadline_ms(request->exptime, call->now_ms) };
	const char *error = run(call, &store);

	vg_mc_say(call, error ?: said[store.outcome]);
}

static enum mode meta_mode(const struct vg_mc_request *request)
{
	switch (request->meta.mode | 0x20) {
	case 'e':
		return MODE_ADD;
	case 'a':
		return MODE_APPEND;
	case 'p':
		return MODE_PREPEND;
	}
	if (vg_mc_has(request, 'C'))
		return MODE_CAS;
	return (request->meta.mode | 0x20) == 'r' ? MODE_REPLACE : MODE_SET;
}

void vg_mc_meta_set(struct vg_mc_call *call)
{
	static const char *const said[] = { "HD", "NS", "EX", "NF" };
	const struct vg_mc_request *request = call->request;
	struct vg_mc_word rest = request->rest, flag;
	struct vg_mc_reply reply = { .length = 0 };
	struct store store = { .mode = meta_mode(request), .compare = request->meta.compare };
	const char *error;

	store.deadline_ms = vg_mc_deadline_ms(vg_mc_has(request, 'T') ? request->meta.ttl : 0, call->now_ms);
	/* A value that nobody asked a version of is newer than all that were given out. */
	if (vg_mc_has(request, 'I') && store.mode == MODE_CAS)
		store.stale_below = vg_store_version_new(call->env->store);
	if (vg_mc_has(request, 'c'))
		store.version = vg_store_version_new(call->env->store);
	error = run(call, &store);
	if (error) {
		vg_out_append(call->out, error, strlen(error));
		vg_out_append(call->out, "\r\n", 2);
		return;
	}
	if (store.outcome == STORED && request->quiet)
		return;
	vg_mc_put(&reply, said[store.outcome]);
	while (vg_mc_next(&rest, &flag))
		if (!vg_mc_put_echo(&reply, call, flag) && flag.data[0] == 'c')
			vg_mc_put_flag(&reply, 'c', store.outcome == STORED ? store.version : 0);
	vg_mc_reply_end(call, &reply);
}
