/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The keys as a command sees them: the store's; or, between MULTI and EXEC's end, the transaction's own view of it
 * (view.c), which becomes the store's all at once. Handlers of commands that name keys go through here, nowhere else.
 */
#ifndef VG_MEM_DATA_H
#define VG_MEM_DATA_H

#include "svc/mem/events.h"
#include "svc/mem/resp_call.h"
#include "svc/mem/shared.h"

/* A value that was read: in the caller's buffer, pinned, or in a view; valid until it is released. */
struct vg_value {
	const void *data;
	size_t length;
	__u64 expire_ms;
	__u32 client_flags;	/* vg_data_read alone says them */
	struct vg_block *block; /* pinned; or NULL */
};

/* ---- a transaction's view (view.c) ------------------------------------------------------------------------------ */

int vg_view_get(struct vg_view *view, const struct vg_key *key, struct vg_value *ret_value);
int vg_view_facts(struct vg_view *view, const struct vg_key *key, struct vg_key_facts *ret_facts);
int vg_view_transact(struct vg_view *view, const struct vg_key *keys, int count, vg_transaction_fn fn, void *context);
int vg_view_update(struct vg_view *view, const struct vg_key *key, vg_update_fn fn, void *context);

/* ---- either ----------------------------------------------------------------------------------------------------- */

/* 0 or -ENOENT. `buffer` has VG_CELL_MAX bytes. */
static inline int vg_data_get(const struct vg_call *call, const struct vg_key *key, void *buffer,
			      struct vg_value *ret_value)
{
	ssize_t length;

	if (__builtin_expect(call->view != NULL, 0))
		return vg_view_get(call->view, key, ret_value);
	ret_value->block = NULL;
	length = vg_store_get(call->env->store, key, call->now_ms, buffer, VG_CELL_MAX, &ret_value->block,
			      &ret_value->expire_ms);
	if (length < 0)
		return (int)length;
	ret_value->data = ret_value->block ? vg_block_data(ret_value->block) : buffer;
	ret_value->length = (size_t)length;
	return 0;
}

static inline void vg_value_release(struct vg_value *value)
{
	if (value->block)
		vg_block_put(value->block);
	value->block = NULL;
}

static inline int vg_data_facts(const struct vg_call *call, const struct vg_key *key, bool touch,
				struct vg_key_facts *ret_facts)
{
	if (__builtin_expect(call->view != NULL, 0))
		return vg_view_facts(call->view, key, ret_facts);
	return vg_store_facts(call->env->store, key, call->now_ms, touch, ret_facts);
}

/* Somebody wants to hear of changes: the same, and the change is noted by the command's name for it. */
int vg_data_update_noted(const struct vg_call *call, const struct vg_key *key, vg_update_fn fn, void *context);
int vg_data_transact_noted(const struct vg_call *call, const struct vg_key *keys, int count, vg_transaction_fn fn,
			   void *context);

static inline bool vg_data_is_heard(const struct vg_call *call)
{
	return __builtin_expect(vg_events_listening(vg_mem_shared(call->env)) & VG_LISTEN_CHANGES, 0);
}

static inline int vg_data_update(const struct vg_call *call, const struct vg_key *key, vg_update_fn fn, void *context)
{
	if (vg_data_is_heard(call))
		return vg_data_update_noted(call, key, fn, context);
	if (__builtin_expect(call->view != NULL, 0))
		return vg_view_update(call->view, key, fn, context);
	return vg_store_update(call->env->store, key, call->now_ms, fn, context);
}

static inline int vg_data_transact(const struct vg_call *call, const struct vg_key *keys, int count,
				   vg_transaction_fn fn, void *context)
{
	if (vg_data_is_heard(call))
		return vg_data_transact_noted(call, keys, count, fn, context);
	if (__builtin_expect(call->view != NULL, 0))
		return vg_view_transact(call->view, keys, count, fn, context);
	return vg_store_transact(call->env->store, keys, count, call->now_ms, fn, context);
}

/* As vg_data_get, with all there is to know of the value. */
int vg_data_read(const struct vg_call *call, const struct vg_key *key, void *buffer, struct vg_value *ret_value);
int vg_data_set(const struct vg_call *call, const struct vg_key *key, const void *value, size_t length,
		__u64 expire_ms);
int vg_data_delete(const struct vg_call *call, const struct vg_key *key); /* 0 or -ENOENT */
/* Whatever the store makes of a change: a transaction that watches the key must fail. */
void vg_data_broken(const struct vg_call *call, const struct vg_key *key);
/* A read found no such key: counted, and told who wants to hear of it. */
void vg_data_miss(const struct vg_call *call, const struct vg_key *key);

/* Answer a value, or `length` bytes of it from `offset` on, and release it. */
void vg_call_value(struct vg_call *call, struct vg_value *value, size_t offset, size_t length);

#endif
