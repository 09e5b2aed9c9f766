/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Doing again what a record says. */
#include "pool/record.h"

#include <assert.h>
#include <errno.h>

#include "virgo/hash.h"

static struct vg_key key_of(const struct vg_record *record)
{
	return (struct vg_key){ record->key, record->key_length, vg_hash64(record->key, record->key_length) };
}

static int set_again(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct vg_record *record = context;

	*change = (struct vg_change){
		.action = VG_CHANGE_STORE,
		.expire_ms = record->expire_ms,
		.version = record->version,
		.client_flags = record->client_flags,
		.marks = record->marks,
		.part = { { record->value, record->value_length } },
		.parts = 1,
	};
	return 0;
}

/* After a CLEAR a key may have been given a deadline just before it went: then it is not there any more. */
static int set_deadline_again(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct vg_record *record = context;

	change->action = old->exists ? VG_CHANGE_DEADLINE : VG_CHANGE_NONE;
	change->expire_ms = record->expire_ms;
	return 0;
}

/* A handle that is gone now was written to and then released: what follows in the log says so. */
static int none_if_gone(int error)
{
	return error == -ESTALE ? 0 : error;
}

static int apply_transaction(struct vg_store *store, const struct vg_record *transaction)
{
	struct vg_record inside;
	size_t at = 0;
	int error = 0;

	while (!error && vg_record_next(transaction, &at, &inside))
		error = vg_record_apply(store, &inside);
	return error;
}

/* Nothing expires meanwhile (the time is 0): what has, goes when all is done. */
int vg_record_apply(struct vg_store *store, const struct vg_record *record)
{
	struct vg_key key;
	int error;

	switch (record->kind) {
	case VG_RECORD_SET:
		key = key_of(record);
		return vg_store_update(store, &key, 0, set_again, (void *)record);
	case VG_RECORD_DELETE:
		key = key_of(record);
		error = vg_store_delete(store, &key, 0);
		return error == -ENOENT ? 0 : error;
	case VG_RECORD_DEADLINE:
		key = key_of(record);
		return vg_store_update(store, &key, 0, set_deadline_again, (void *)record);
	case VG_RECORD_CLEAR:
		vg_store_clear(store);
		return 0;
	case VG_RECORD_ALLOC:
		return vg_store_handle_restore(store, record->handle, record->value_length, 0);
	case VG_RECORD_WRITE:
		return none_if_gone(vg_store_handle_write(store, record->handle, record->offset, record->value,
							  record->value_length));
	case VG_RECORD_FLAGS:
		return none_if_gone(vg_store_handle_set_flags(store, record->handle, record->flags));
	case VG_RECORD_RELEASE:
		vg_store_handle_forget(store, record->handle);
		return 0;
	case VG_RECORD_TRANSACTION:
		return apply_transaction(store, record);
	default:
		return 0;
	}
}
