/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Several keys at once: take every bucket in ascending order, look, ask, make everything that can fail, publish. Growth
 * takes its two buckets in ascending order too and waits for no lock while it has them, so nobody waits in a circle.
 */
#include "pool/index.h"
#include "pool/cut.h"
#include "pool/observe.h"
#include "pool/evict.h"

struct vg_transaction { /* a worker's, kept between calls only as memory */
	struct {
		__u32 bucket, key;
	} order[VG_TRANSACTION_KEYS_MAX];	   /* ascending by bucket */
	__u32 sequence[VG_TRANSACTION_KEYS_MAX];   /* of order[i].bucket, where it is the first with that bucket */
	__u32 first_same[VG_TRANSACTION_KEYS_MAX]; /* by key: the key that stands for all that are equal to it */
	__u32 last_change[VG_TRANSACTION_KEYS_MAX];/* by key that stands: whose change counts; NO_CHANGE: none */
	__u32 cell[VG_TRANSACTION_KEYS_MAX];	   /* by key that stands: its new item, or 0 */
	struct vg_entry old[VG_TRANSACTION_KEYS_MAX];
	struct vg_change change[VG_TRANSACTION_KEYS_MAX];
};
#define NO_CHANGE (~0u)

/* Everything the steps below need to know. */
struct run {
	struct vg_store *store;
	struct vg_store_worker *worker;
	struct vg_transaction *t;
	const struct vg_key *keys;
	__u32 count;
	__u64 now_ms;
	bool changed;
};

size_t vg_transaction_bytes(void)
{
	return sizeof(struct vg_transaction);
}

static struct vg_bucket *bucket_at(const struct run *run, __u32 position)
{
	return &run->store->buckets[run->t->order[position].bucket];
}

static bool first_of_bucket(const struct run *run, __u32 position)
{
	return position == 0 || run->t->order[position].bucket != run->t->order[position - 1].bucket;
}

/* D. Shell's method: no memory, and short enough for a thousand. */
static void sort_order(struct run *run)
{
	static const __u32 gaps[] = { 701, 301, 132, 57, 23, 10, 4, 1 };
	__typeof__(run->t->order[0]) *order = run->t->order, one;

	for (unsigned g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++)
		for (__u32 i = gaps[g], j; i < run->count; i++) {
			one = order[i];
			for (j = i; j >= gaps[g] && order[j - gaps[g]].bucket > one.bucket; j -= gaps[g])
				order[j] = order[j - gaps[g]];
			order[j] = one;
		}
}

static void give_all(struct run *run)
{
	for (__u32 i = 0; i < run->count; i++)
		if (first_of_bucket(run, i))
			vg_sequence_give(&bucket_at(run, i)->sequence, run->t->sequence[i] + (run->changed ? 2 : 0));
}

static void take_all(struct run *run)
{
	__u64 control;
	bool moved;

	do {
		control = __atomic_load_n(&run->store->header->index_control, __ATOMIC_ACQUIRE);
		for (__u32 i = 0; i < run->count; i++) {
			run->t->order[i].bucket = vg_index_bucket(control, run->keys[i].hash);
			run->t->order[i].key = i;
		}
		sort_order(run);
		for (__u32 i = 0; i < run->count; i++)
			if (first_of_bucket(run, i))
				run->t->sequence[i] = vg_sequence_take(&bucket_at(run, i)->sequence);
		control = __atomic_load_n(&run->store->header->index_control, __ATOMIC_ACQUIRE);
		moved = false;
		for (__u32 i = 0; i < run->count && !moved; i++)
			moved = vg_index_bucket(control, run->keys[run->t->order[i].key].hash) !=
				run->t->order[i].bucket;
		if (moved)
			give_all(run);
	} while (moved);
	vg_cuts_look(run->store, run->worker);
}

static bool same_key(const struct vg_key *a, const struct vg_key *b)
{
	return a->hash == b->hash && a->length == b->length && !memcmp(a->data, b->data, a->length);
}

/* Equal keys are in one bucket: look only there. */
static void find_same(struct run *run)
{
	__u32 start = 0;

	for (__u32 i = 0; i < run->count; i++) {
		__u32 key = run->t->order[i].key;

		if (first_of_bucket(run, i))
			start = i;
		run->t->first_same[key] = key;
		for (__u32 j = start; j < i; j++) {
			__u32 other = run->t->order[j].key;

			if (run->t->first_same[other] == other && same_key(&run->keys[key], &run->keys[other])) {
				run->t->first_same[key] = other;
				break;
			}
		}
	}
}

static void find(const struct run *run, __u32 position, struct vg_place *ret_place)
{
	ret_place->bucket = bucket_at(run, position);
	vg_place_find(run->store, &run->keys[run->t->order[position].key], ret_place);
}

/* What is there. Items stay where they are while slots move, so what was read stays right. */
static void look(struct run *run)
{
	struct vg_transaction *t = run->t;

	for (__u32 i = 0; i < run->count; i++) {
		__u32 key = t->order[i].key;
		struct vg_place place;
		struct vg_item *item;

		t->old[key] = (struct vg_entry){ .exists = false };
		if (t->first_same[key] != key)
			continue;
		find(run, i, &place);
		item = vg_place_item(run->store, &place);
		if (item && vg_item_expired(item, run->now_ms)) {
			vg_place_remove(run->store, run->worker, &place);
			vg_worker_count(run->worker->expired, 1);
			vg_observe_key(run->store, VG_OBSERVED_EXPIRED, &run->keys[key], NULL);
			run->changed = true;
		} else if (item) {
			t->old[key] = vg_item_entry(item);
		}
	}
	for (__u32 i = 0; i < run->count; i++)
		t->old[i] = t->old[t->first_same[i]];
}

static bool removes(const struct run *run, const struct vg_change *change)
{
	return change->action == VG_CHANGE_DELETE || vg_deadline_passed(change->expire_ms, run->now_ms);
}

/* The item that shall be there, if it is not one that can be changed where it is (a deadline or version alone). */
static int make_item(struct run *run, __u32 key, const struct vg_change *change, const struct vg_place *place)
{
	struct vg_item *item = vg_place_item(run->store, place);
	__u32 *cell = &run->t->cell[key];

	if (change->action == VG_CHANGE_STORE && run->worker->over_limit)
		return -ENOMEM;
	if (change->action == VG_CHANGE_STORE)
		return vg_item_new(run->store, run->worker, &run->keys[key], change, item, run->now_ms, cell);
	if (!item || vg_item_suits_extension(item, change))
		return 0;
	return vg_item_remake(run->store, run->worker, &run->keys[key], item, change, run->now_ms, cell);
}

static void pick_changes(struct run *run)
{
	for (__u32 i = 0; i < run->count; i++) {
		run->t->last_change[i] = NO_CHANGE;
		run->t->cell[i] = 0;
	}
	for (__u32 i = 0; i < run->count; i++)
		if (run->t->change[i].action != VG_CHANGE_NONE)
			run->t->last_change[run->t->first_same[i]] = i;
}

/*
 * Slots for new keys. Those of the bucket may be the transaction's own, so it is others' that go for a line: room is
 * made of other slabs with every try.
 */
static int reserve(struct run *run, struct vg_bucket *bucket, __u32 count)
{
	int error = vg_bucket_reserve(run->store, run->worker, bucket, count);

	for (int i = 0; error == -ENOMEM && vg_evicts(run->store) && i < VG_EVICTIONS_VAIN_MAX; i++)
		error = vg_bucket_reserve(run->store, run->worker, bucket, count);
	return error;
}

/* Make every new item and every slot for one: after this nothing can fail. */
static int prepare(struct run *run)
{
	struct vg_transaction *t = run->t;
	__u32 inserts = 0;
	int error = 0;

	for (__u32 i = 0; i < run->count && !error; i++) {
		__u32 key = t->order[i].key, last = t->last_change[key];
		struct vg_place place;

		if (first_of_bucket(run, i))
			inserts = 0;
		if (last == NO_CHANGE || removes(run, &t->change[last]))
			continue;
		find(run, i, &place);
		error = make_item(run, key, &t->change[last], &place);
		if (!error && !place.line && t->cell[key]) {
			run->changed = true;
			error = reserve(run, place.bucket, ++inserts);
		}
	}
	if (!error)
		return 0;
	for (__u32 i = 0; i < run->count; i++) {
		if (t->cell[i])
			vg_item_free(run->store, run->worker, t->cell[i]);
		if (first_of_bucket(run, i))
			vg_bucket_compact(run->store, run->worker, bucket_at(run, i));
	}
	return error;
}

/* See store.c: a version is not told. */
static void tell(struct run *run, __u32 key, const struct vg_item *item, enum vg_change_action action)
{
	if (action != VG_CHANGE_VERSION)
		vg_observe_key(run->store, action == VG_CHANGE_STORE ? VG_OBSERVED_SET : VG_OBSERVED_DEADLINE,
			       &run->keys[key], item);
}

/* A key's new item, which is ready. */
static void publish_item(struct run *run, __u32 key, const struct vg_change *change, struct vg_place *place)
{
	__u32 cell = run->t->cell[key];

	if (place->line)
		vg_place_replace(run->store, run->worker, place, cell);
	else
		vg_place_insert(run->store, run->worker, place, run->keys[key].hash, cell);
	tell(run, key, vg_item_at(run->store, cell), change->action);
}

/* Any other change of a key that is there. */
static void publish_change(struct run *run, __u32 key, const struct vg_change *change, struct vg_place *place)
{
	struct vg_item *item = vg_place_item(run->store, place);

	if (removes(run, change)) {
		vg_place_remove(run->store, run->worker, place);
		vg_observe_key(run->store, VG_OBSERVED_DELETE, &run->keys[key], NULL);
	} else {
		vg_item_patch_extension(run->store, run->worker, item, change);
		tell(run, key, item, change->action);
	}
}

static void publish(struct run *run)
{
	struct vg_transaction *t = run->t;

	vg_observe_kind(run->store, VG_OBSERVED_BEGIN);
	/* Removals last: closing their holes would take away the lines that were reserved. */
	for (int removals = 0; removals < 2; removals++)
		for (__u32 i = 0; i < run->count; i++) {
			__u32 key = t->order[i].key, last = t->last_change[key];
			struct vg_place place;

			if (last == NO_CHANGE || removals == !!t->cell[key])
				continue;
			run->changed = true;
			find(run, i, &place);
			if (t->cell[key])
				publish_item(run, key, &t->change[last], &place);
			else if (place.line)
				publish_change(run, key, &t->change[last], &place);
		}
	vg_observe_kind(run->store, VG_OBSERVED_END);
}

int vg_store_transact(struct vg_store *store, const struct vg_key *keys, int count, __u64 now_ms, vg_transaction_fn fn,
		      void *context)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	struct run run = { store, worker, worker->transaction, keys, (__u32)count, now_ms };
	int error;

	if (count < 0 || count > VG_TRANSACTION_KEYS_MAX)
		return -EMSGSIZE;
	for (int i = 0; i < count; i++)
		if (keys[i].length > VG_KEY_MAX)
			return -EMSGSIZE;
	vg_evict_before_write(store, worker);
	take_all(&run);
	find_same(&run);
	look(&run);
	memset(run.t->change, 0, run.count * sizeof(run.t->change[0]));
	error = fn(context, run.t->old, run.t->change, count);
	if (!error) {
		pick_changes(&run);
		error = prepare(&run);
	}
	if (!error)
		publish(&run);
	give_all(&run);
	vg_index_grow(store, worker);
	return error;
}
