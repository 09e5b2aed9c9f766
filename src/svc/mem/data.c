/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/data.h"

#include <errno.h>

#define LEND_BYTES 32768 /* a value of a view as long as this is copied once and lent, not copied into chunks */

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

	if (!call->view)
		return vg_store_set(call->env->store, key, call->now_ms, value, length, expire_ms);
	return vg_view_update(call->view, key, set_update, &set);
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
	if (!call->view)
		return vg_store_delete(call->env->store, key, call->now_ms);
	return vg_view_update(call->view, key, delete_update, NULL);
}

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
