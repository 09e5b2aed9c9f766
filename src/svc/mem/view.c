/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/view.h"

#include <assert.h>
#include <errno.h>

struct entry {
	struct vg_entry now;
	struct owned *value; /* of `now`, when the view made it; NULL: the store's own */
	bool stored;	     /* the value is not the store's any more */
	bool dated;	     /* nor is the deadline */
	bool existed;
};

/* A value that a command of the transaction made. */
struct owned {
	struct owned *next; /* replaced ones */
	__u8 bytes[];
};

struct vg_view {
	const struct vg_mem *mem;
	__u64 now_ms;
	bool failed;
	struct owned *replaced;
	int count;
	__u32 room, slots; /* slots: a power of two, at least twice the room */
	struct vg_key *key;
	struct entry *entry;
	__u16 *slot; /* position + 1 of the key, by hash; 0: free */
};

int vg_view_new(struct vg_view **ret_view, const struct vg_mem *mem, __u32 keys, __u64 now_ms)
{
	__u32 slots = 8;
	struct vg_view *view;
	size_t bytes;

	assert(keys <= VG_TRANSACTION_KEYS_MAX);
	while (slots < 2 * keys)
		slots *= 2;
	bytes = sizeof(*view) + keys * (sizeof(struct vg_key) + sizeof(struct entry)) + slots * sizeof(__u16);
	view = mem->alloc(mem->context, bytes);
	if (!view)
		return -ENOMEM;
	memset(view, 0, bytes);
	view->mem = mem;
	view->now_ms = now_ms;
	view->room = keys;
	view->slots = slots;
	view->key = (struct vg_key *)(view + 1);
	view->entry = (struct entry *)(view->key + keys);
	view->slot = (__u16 *)(view->entry + keys);
	*ret_view = view;
	return 0;
}

static void drop_values(struct vg_view *view)
{
	for (int i = 0; i < view->count; i++) {
		if (view->entry[i].value)
			view->mem->free(view->mem->context, view->entry[i].value);
		view->entry[i].value = NULL;
	}
}

void vg_view_free(struct vg_view *view)
{
	if (!view)
		return;
	vg_view_settle(view);
	drop_values(view);
	view->mem->free(view->mem->context, view);
}

/* The slot that holds the key, or the free one where it belongs. */
static __u16 *slot_of(const struct vg_view *view, const struct vg_key *key)
{
	__u32 at = (__u32)key->hash & (view->slots - 1);

	for (;; at = (at + 1) & (view->slots - 1)) {
		const struct vg_key *there;

		if (!view->slot[at])
			return &view->slot[at];
		there = &view->key[view->slot[at] - 1];
		if (there->hash == key->hash && there->length == key->length &&
		    memcmp(there->data, key->data, key->length) == 0)
			return &view->slot[at];
	}
}

int vg_view_add(struct vg_view *view, const struct vg_key *key)
{
	__u16 *slot = slot_of(view, key);

	if (!*slot) {
		if ((__u32)view->count == view->room)
			return -1;
		view->key[view->count] = *key;
		*slot = (__u16)++view->count;
	}
	return *slot - 1;
}

const struct vg_key *vg_view_keys(const struct vg_view *view, int *ret_count)
{
	*ret_count = view->count;
	return view->key;
}

/* A command may touch the keys it names and no others: they were all named before. */
static struct entry *entry_of(struct vg_view *view, const struct vg_key *key)
{
	__u16 position = *slot_of(view, key);

	assert(position);
	return &view->entry[position - 1];
}

void vg_view_begin(struct vg_view *view, const struct vg_entry *old)
{
	drop_values(view);
	for (int i = 0; i < view->count; i++)
		view->entry[i] = (struct entry){ .now = old[i], .existed = old[i].exists };
}

void vg_view_finish(const struct vg_view *view, struct vg_change *changes)
{
	for (int i = 0; i < view->count; i++) {
		const struct entry *entry = &view->entry[i];
		struct vg_change *change = &changes[i];

		if (entry->now.exists && entry->stored) {
			change->action = VG_CHANGE_STORE;
			change->expire_ms = entry->now.expire_ms;
			change->version = entry->now.version;
			change->client_flags = entry->now.client_flags;
			change->marks = entry->now.marks;
			change->part[0] = (struct vg_part){ entry->now.value, entry->now.length };
			change->parts = 1;
		} else if (entry->now.exists && entry->dated) {
			change->action = VG_CHANGE_DEADLINE;
			change->expire_ms = entry->now.expire_ms;
		} else if (!entry->now.exists && entry->existed) {
			change->action = VG_CHANGE_DELETE;
		}
	}
}

void vg_view_settle(struct vg_view *view)
{
	while (view->replaced) {
		struct owned *next = view->replaced->next;

		view->mem->free(view->mem->context, view->replaced);
		view->replaced = next;
	}
}

bool vg_view_failed(const struct vg_view *view)
{
	return view->failed;
}

/* ---- what commands do ------------------------------------------------------------------------------------------- */

int vg_view_get(struct vg_view *view, const struct vg_key *key, struct vg_value *ret_value)
{
	const struct entry *entry = entry_of(view, key);

	if (!entry->now.exists)
		return -ENOENT;
	*ret_value = (struct vg_value){ .data = entry->now.value, .length = entry->now.length,
					.expire_ms = entry->now.expire_ms,
					.client_flags = entry->now.client_flags };
	return 0;
}

int vg_view_facts(struct vg_view *view, const struct vg_key *key, struct vg_key_facts *ret_facts)
{
	const struct entry *entry = entry_of(view, key);

	if (!entry->now.exists)
		return -ENOENT;
	*ret_facts = (struct vg_key_facts){ .value_length = entry->now.length, .expire_ms = entry->now.expire_ms,
					    .memory_bytes = entry->now.length + key->length +
							    sizeof(struct vg_bucket) };
	return 0;
}

/* The value that the parts make, in memory of the view. NULL: there is none. */
static struct owned *make_value(struct vg_view *view, const struct vg_change *change, __u64 *ret_length)
{
	struct owned *value;
	__u64 length = 0, at = 0;

	for (int i = 0; i < change->parts; i++)
		length += change->part[i].length;
	value = view->mem->alloc(view->mem->context, sizeof(*value) + length);
	if (!value) {
		view->failed = true;
		return NULL;
	}
	for (int i = 0; i < change->parts; i++) {
		if (change->part[i].data)
			memcpy(value->bytes + at, change->part[i].data, change->part[i].length);
		else
			memset(value->bytes + at, 0, change->part[i].length);
		at += change->part[i].length;
	}
	*ret_length = length;
	return value;
}

/* The value is not the key's any more; until the command has ended it may still be read. */
static void let_go(struct vg_view *view, struct entry *entry)
{
	if (entry->value) {
		entry->value->next = view->replaced;
		view->replaced = entry->value;
	}
	entry->value = NULL;
}

static void remove_entry(struct vg_view *view, struct entry *entry)
{
	let_go(view, entry);
	entry->now = (struct vg_entry){ .exists = false };
	entry->stored = entry->dated = false;
}

static int apply(struct vg_view *view, struct entry *entry, const struct vg_change *change, struct owned *value,
		 __u64 length)
{
	bool passed = change->expire_ms && change->expire_ms <= view->now_ms;

	if (change->action == VG_CHANGE_DELETE || (change->action != VG_CHANGE_NONE && passed)) {
		if (value)
			view->mem->free(view->mem->context, value);
		remove_entry(view, entry);
	} else if (change->action == VG_CHANGE_STORE) {
		let_go(view, entry);
		entry->value = value;
		entry->stored = true;
		entry->now = (struct vg_entry){ .exists = true, .value = value->bytes, .length = length,
						.expire_ms = change->expire_ms, .version = change->version,
						.client_flags = change->client_flags, .marks = change->marks };
	} else if (change->action == VG_CHANGE_VERSION && entry->now.exists) {
		entry->now.version = change->version;
		entry->stored = true; /* the same value, stored anew with it */
	} else if (change->action == VG_CHANGE_DEADLINE && entry->now.exists) {
		entry->now.expire_ms = change->expire_ms;
		entry->dated = true;
	}
	return 0;
}

int vg_view_update(struct vg_view *view, const struct vg_key *key, vg_update_fn fn, void *context)
{
	struct entry *entry = entry_of(view, key);
	struct vg_change change = { .action = VG_CHANGE_NONE };
	struct owned *value = NULL;
	__u64 length = 0;
	int error = fn(context, &entry->now, &change);

	if (error)
		return error;
	if (change.action == VG_CHANGE_STORE) {
		value = make_value(view, &change, &length);
		if (!value)
			return -ENOMEM;
	}
	return apply(view, entry, &change, value, length);
}

/* As the store does: the same key twice is one entry, and its last change wins. */
int vg_view_transact(struct vg_view *view, const struct vg_key *keys, int count, vg_transaction_fn fn, void *context)
{
	size_t each = sizeof(struct vg_entry) + sizeof(struct vg_change) + sizeof(struct owned *) + sizeof(__u64);
	size_t bytes = (size_t)count * each;
	struct vg_entry *old = view->mem->alloc(view->mem->context, bytes ? bytes : 1);
	struct vg_change *change;
	struct owned **value;
	__u64 *length;
	int error;

	if (!old) {
		view->failed = true;
		return -ENOMEM;
	}
	memset(old, 0, bytes);
	change = (struct vg_change *)(old + count);
	value = (struct owned **)(change + count);
	length = (__u64 *)(value + count);
	for (int i = 0; i < count; i++)
		old[i] = entry_of(view, &keys[i])->now;
	error = fn(context, old, change, count);
	/* New values first: they may be made of old ones. */
	for (int i = 0; i < count && !error; i++) {
		if (change[i].action == VG_CHANGE_STORE)
			value[i] = make_value(view, &change[i], &length[i]);
		if (change[i].action == VG_CHANGE_STORE && !value[i])
			error = -ENOMEM;
	}
	for (int i = 0; i < count; i++) {
		if (!error)
			apply(view, entry_of(view, &keys[i]), &change[i], value[i], length[i]);
		else if (value[i])
			view->mem->free(view->mem->context, value[i]);
	}
	view->mem->free(view->mem->context, old);
	return error;
}
