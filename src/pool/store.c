/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The main path of the store: one key read or changed. */
#include "pool/index.h"
#include "pool/observe.h"
#include "pool/evict.h"
#include "pool/room.h"

_Thread_local __u32 vg_store_worker_index = VG_STORE_WORKERS_MAX;

void vg_store_worker(struct vg_store *store, __u32 worker)
{
	assert(worker < store->workers_count);
	vg_store_worker_index = worker;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

void vg_store_prefetch_bucket(const struct vg_store *store, __u64 hash)
{
	__u64 control;

	__builtin_prefetch(vg_bucket_of(store, hash, &control));
}

void vg_store_prefetch_item(const struct vg_store *store, __u64 hash)
{
	__u64 control;
	const struct vg_bucket *line = vg_bucket_of(store, hash, &control);

	VG_EACH_TAGGED(slot, line, vg_index_tag(hash)) {
		const __u8 *item = (const __u8 *)vg_line_item(store, line, slot);

		__builtin_prefetch(item);
		__builtin_prefetch(item + 64);
	}
}

/*
 * Note the use of an item in its slot's word, as XDP does: without the sequence. If the word is still what was read it
 * names this item, or one in its place that was read as soon as it was there, which does no harm.
 */
static void touch(const struct vg_reading *reading)
{
	__u32 word = reading->word, touched = vg_cell_touched(word);

	if (touched != word)
		__atomic_compare_exchange_n(reading->slot, &word, touched, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* The value of a valid reading in the arena, copied; false: it moved meanwhile. */
static bool copy_value(const struct vg_store *store, const struct vg_reading *reading, const struct vg_key *key,
		       void *buffer)
{
	__u64 at = (__u64)reading->cell + vg_item_value_offset(reading->header.flags, key->length);
	__u32 length = reading->header.value_length;

	if (length > VG_CELL_MAX || at + length > store->arena_bytes)
		return false;
	vg_racy_copy(buffer, store->arena + at, length);
	return vg_reading_valid(store, reading, key->hash);
}

/* A value in the heap tier: the sequence is taken for as long as it takes to learn its length and add a reference. */
static bool pin_value(const struct vg_store *store, struct vg_reading *reading, __u64 now_ms,
		      struct vg_block **ret_block)
{
	struct vg_item *item = vg_item_at(store, reading->cell);

	if (!vg_sequence_try(&reading->bucket->sequence, reading->sequence))
		return false;
	reading->value_length = vg_item_value_length(item);
	if (ret_block && !vg_item_expired(item, now_ms)) {
		*ret_block = vg_item_block(item);
		vg_block_ref(*ret_block);
	}
	vg_sequence_give(&reading->bucket->sequence, reading->sequence);
	return true;
}

static void count_retry(struct vg_store *store, unsigned *spins)
{
	struct vg_store_worker *worker = vg_worker_self(store);

	vg_worker_count(worker->retries, 1);
	vg_relax(spins);
}

static void facts_of(const struct vg_reading *reading, const struct vg_key *key, __u64 now_ms,
		     struct vg_key_facts *ret_facts)
{
	const struct vg_item *header = &reading->header;

	*ret_facts = (struct vg_key_facts){
		.value_length = reading->value_length,
		.expire_ms = reading->expire_ms,
		.memory_bytes = vg_slab_size(header->slab_class) + sizeof(struct vg_bucket) / VG_INDEX_LOAD,
		.version = reading->meta.version,
		.client_flags = reading->meta.client_flags,
		.marks = reading->meta.marks,
		.frequency = reading->word & VG_CELL_FREQUENCY,
		.idle_seconds = reading->word & VG_CELL_USED ?
					0 :
					(__u16)(vg_access_clock(now_ms) - header->access_clock) * 16u,
		.in_heap = header->flags & VG_ITEM_HEAP,
	};
	if (ret_facts->in_heap)
		ret_facts->memory_bytes += sizeof(struct vg_block) + reading->value_length +
					   (header->flags & VG_ITEM_HEAP_KEY ? key->length : 0);
}

/* What is read again and again, and fits a cell, has no business in the heap tier. */
static void come_back(struct vg_store *store, const struct vg_reading *reading, const struct vg_key *key)
{
	__u64 bytes = vg_item_bytes(reading->header.flags, key->length, reading->value_length);

	if (key->length <= VG_INLINE_KEY_MAX && bytes <= VG_CELL_MAX)
		vg_room_promote(store, vg_worker_self(store), key, bytes);
}

/* The value of a living key, copied or pinned, and the reading that counts. 0 or -ENOENT. */
static int read_value(struct vg_store *store, const struct vg_key *key, __u64 now_ms, void *buffer,
		      struct vg_block **ret_block, struct vg_reading *reading)
{
	struct vg_block *block = NULL;
	bool valid;

	for (unsigned spins = 0;; count_retry(store, &spins)) {
		vg_reading_find(store, reading, key);
		if (!reading->cell)
			valid = vg_reading_valid(store, reading, key->hash);
		else if (reading->header.flags & VG_ITEM_HEAP)
			valid = pin_value(store, reading, now_ms, &block);
		else
			valid = copy_value(store, reading, key, buffer);
		if (valid)
			break;
	}
	if (!reading->cell || vg_deadline_passed(reading->expire_ms, now_ms))
		return -ENOENT;
	touch(reading);
	if (block && (reading->word & VG_CELL_FREQUENCY) == VG_CELL_FREQUENCY)
		come_back(store, reading, key);
	*ret_block = block;
	return 0;
}

ssize_t vg_store_get(struct vg_store *store, const struct vg_key *key, __u64 now_ms, void *buffer, size_t capacity,
		     struct vg_block **ret_block, __u64 *ret_expire_ms)
{
	struct vg_reading reading;
	int error;

	assert(capacity >= VG_CELL_MAX);
	error = read_value(store, key, now_ms, buffer, ret_block, &reading);
	if (error)
		return error;
	if (ret_expire_ms)
		*ret_expire_ms = reading.expire_ms;
	return (ssize_t)reading.value_length;
}

static int version_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	if (old->exists && !old->version) {
		change->action = VG_CHANGE_VERSION;
		change->version = vg_store_version_new(context);
	}
	return 0;
}

ssize_t vg_store_read(struct vg_store *store, const struct vg_key *key, __u64 now_ms, bool versioned, void *buffer,
		      size_t capacity, struct vg_block **ret_block, struct vg_key_facts *ret_facts)
{
	struct vg_reading reading;
	struct vg_block *block;
	bool tried = false;
	int error;

	assert(capacity >= VG_CELL_MAX);
	for (;;) {
		error = read_value(store, key, now_ms, buffer, &block, &reading);
		if (error)
			return error;
		if (!versioned || reading.meta.version || tried)
			break;
		if (block)
			vg_block_put(block);
		/* Without room for a version the value is read without one: once tried is enough. */
		tried = vg_store_update(store, key, now_ms, version_update, store) != 0;
	}
	*ret_block = block;
	facts_of(&reading, key, now_ms, ret_facts);
	return (ssize_t)reading.value_length;
}

int vg_store_facts(struct vg_store *store, const struct vg_key *key, __u64 now_ms, bool touched,
		   struct vg_key_facts *ret_facts)
{
	struct vg_reading reading;
	bool valid;

	for (unsigned spins = 0;; count_retry(store, &spins)) {
		vg_reading_find(store, &reading, key);
		if (reading.cell && reading.header.flags & VG_ITEM_HEAP)
			valid = pin_value(store, &reading, now_ms, NULL);
		else
			valid = vg_reading_valid(store, &reading, key->hash);
		if (valid)
			break;
	}
	if (!reading.cell || vg_deadline_passed(reading.expire_ms, now_ms))
		return -ENOENT;
	if (touched)
		touch(&reading);
	facts_of(&reading, key, now_ms, ret_facts);
	return 0;
}

/* Each worker takes a stretch of numbers at a time. They begin beyond those of the arena's former life. */
__u64 vg_store_version_new(struct vg_store *store)
{
	struct vg_store_worker *worker = vg_worker_self(store);

	if (worker->version % VG_VERSIONS_TAKEN == 0)
		worker->version = __atomic_fetch_add(&store->versions, VG_VERSIONS_TAKEN, __ATOMIC_RELAXED);
	return ++worker->version;
}

/* ---- changing -------------------------------------------------------------------------------------------------- */

/* The item of a taken place, after it was removed if its time had come. */
static struct vg_item *living_item(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
				   struct vg_place *place, __u64 now_ms)
{
	struct vg_item *item = vg_place_item(store, place);

	if (!item || !vg_item_expired(item, now_ms))
		return item;
	vg_place_remove(store, worker, place);
	vg_place_find(store, key, place);
	vg_worker_count(worker->expired, 1);
	vg_observe_key(store, VG_OBSERVED_EXPIRED, key, NULL);
	return NULL;
}

/* A version is told with the next change: it is nobody's business but the client's that asked for it. */
static void tell(struct vg_store *store, const struct vg_key *key, const struct vg_item *item,
		 enum vg_change_action action)
{
	if (action != VG_CHANGE_VERSION)
		vg_observe_key(store, action == VG_CHANGE_STORE ? VG_OBSERVED_SET : VG_OBSERVED_DEADLINE, key, item);
}

/* Publish an item that nobody sees yet; it is freed on error. */
static int publish(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		   struct vg_place *place, __u32 cell, enum vg_change_action action)
{
	int error;

	if (place->line) {
		vg_place_replace(store, worker, place, cell);
		tell(store, key, vg_item_at(store, cell), action);
		return 0;
	}
	if (!place->free_line) {
		error = vg_bucket_reserve(store, worker, place->bucket, 1);
		/* No line, or too many: then it is one of this bucket's keys that goes. */
		if (error && vg_evicts(store) && vg_evict_in_bucket(store, worker, place))
			error = 0;
		if (error) {
			vg_item_free(store, worker, cell);
			return error;
		}
		vg_place_find(store, key, place);
	}
	vg_place_insert(store, worker, place, key->hash, cell);
	tell(store, key, vg_item_at(store, cell), action);
	return 0;
}

static int store_change(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
			struct vg_place *place, const struct vg_change *change, __u64 now_ms)
{
	struct vg_item *item = vg_place_item(store, place);
	__u32 cell;
	int error;

	if (worker->over_limit)
		return -ENOMEM;
	if (item && vg_item_patch(store, worker, item, change, now_ms)) {
		place->changed = true;
		tell(store, key, item, VG_CHANGE_STORE);
		return 0;
	}
	error = vg_item_new(store, worker, key, change, item, now_ms, &cell);
	return error ? error : publish(store, worker, key, place, cell, change->action);
}

/* Deadline or version alone. */
static int extension_change(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
			    struct vg_place *place, const struct vg_change *change, __u64 now_ms)
{
	struct vg_item *item = vg_place_item(store, place);
	__u32 cell;
	int error;

	if (vg_item_patch_extension(store, worker, item, change)) {
		place->changed = true;
		tell(store, key, item, change->action);
		return 0;
	}
	error = vg_item_remake(store, worker, key, item, change, now_ms, &cell);
	return error ? error : publish(store, worker, key, place, cell, change->action);
}

static int apply(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		 struct vg_place *place, const struct vg_change *change, __u64 now_ms)
{
	struct vg_item *item = vg_place_item(store, place);

	if (change->action == VG_CHANGE_NONE)
		return 0;
	if (change->action == VG_CHANGE_DELETE || vg_deadline_passed(change->expire_ms, now_ms)) {
		if (item) {
			vg_place_remove(store, worker, place);
			vg_observe_key(store, VG_OBSERVED_DELETE, key, NULL);
		}
		return 0;
	}
	if (change->action == VG_CHANGE_STORE)
		return store_change(store, worker, key, place, change, now_ms);
	return item ? extension_change(store, worker, key, place, change, now_ms) : 0;
}

int vg_store_update(struct vg_store *store, const struct vg_key *key, __u64 now_ms, vg_update_fn fn, void *context)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	struct vg_change change = { .action = VG_CHANGE_NONE };
	struct vg_entry old = { .exists = false };
	struct vg_place place;
	struct vg_item *item;
	int error;

	if (key->length > VG_KEY_MAX)
		return -EMSGSIZE;
	vg_evict_before_write(store, worker);
	vg_place_take(store, key, &place);
	item = living_item(store, worker, key, &place, now_ms);
	if (item)
		old = vg_item_entry(item);
	error = fn(context, &old, &change);
	if (!error)
		error = apply(store, worker, key, &place, &change, now_ms);
	vg_place_give(&place);
	vg_index_grow(store, worker);
	return error;
}

int vg_store_set(struct vg_store *store, const struct vg_key *key, __u64 now_ms, const void *value, size_t length,
		 __u64 expire_ms)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	struct vg_change change = { .action = VG_CHANGE_STORE, .expire_ms = expire_ms, .part = { { value, length } },
				    .parts = 1 };
	struct vg_place place;
	__u32 cell = 0;
	int error;

	if (key->length > VG_KEY_MAX)
		return -EMSGSIZE;
	vg_evict_before_write(store, worker);
	if (worker->over_limit && !vg_deadline_passed(expire_ms, now_ms))
		return -ENOMEM;
	if (vg_item_bytes(vg_change_flags(&change), key->length, length) > VG_CELL_MAX &&
	    !vg_deadline_passed(expire_ms, now_ms)) {
		/* A large copy is made before the bucket is taken. */
		error = vg_item_new(store, worker, key, &change, NULL, now_ms, &cell);
		if (error)
			return error;
	}
	vg_place_take(store, key, &place);
	living_item(store, worker, key, &place, now_ms);
	if (cell)
		error = publish(store, worker, key, &place, cell, VG_CHANGE_STORE);
	else
		error = apply(store, worker, key, &place, &change, now_ms);
	vg_place_give(&place);
	vg_index_grow(store, worker);
	return error;
}

int vg_store_delete(struct vg_store *store, const struct vg_key *key, __u64 now_ms)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	struct vg_place place;
	int error = -ENOENT;

	vg_place_take(store, key, &place);
	if (living_item(store, worker, key, &place, now_ms)) {
		vg_place_remove(store, worker, &place);
		vg_observe_key(store, VG_OBSERVED_DELETE, key, NULL);
		error = 0;
	}
	vg_place_give(&place);
	vg_index_grow(store, worker);
	return error;
}
