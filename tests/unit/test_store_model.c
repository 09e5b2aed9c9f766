/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Random operations on the store and on a model that cannot be wrong (an array), compared after each: few keys and
 * values of every size, and many small ones in an arena too small for them.
 */
#include "store_fixture.h"

#include "pool/index.h"

struct entry {
	__u8 *key;
	__u32 key_length;
	__u64 hash;
	bool exists;
	__u8 *value;
	size_t length;
	__u64 expire_ms, version;
	__u32 client_flags;
	bool seen; /* by a walk */
};

struct model {
	struct vg_store *store;
	void *arena;
	size_t arena_bytes;
	__u64 random, now_ms;
	struct entry *entries;
	__u32 count;
	size_t value_bytes_max;
	__u64 refused; /* -ENOMEM */
};

static __u32 key_length_of(__u32 id, size_t value_bytes_max)
{
	static const __u32 edges[] = { 7,    8,	   9,	 15,   16,   17,    127,   128,	  129,
				       1023, 1024, 1025, 4000, 4079, 4080,  4081,  4096,  65535, 65536 };

	if (id < 4)
		return id; /* the empty key too */
	if (value_bytes_max > VG_CELL_MAX && id - 4 < sizeof(edges) / sizeof(edges[0]))
		return edges[id - 4];
	return 4 + id % 21;
}

/* Keys of four bytes and more begin with their number. */
static void model_make(struct model *model, size_t arena_bytes, __u32 count, size_t value_bytes_max, __u64 seed)
{
	*model = (struct model){ .arena = map_shared(arena_bytes), .arena_bytes = arena_bytes, .random = seed,
				 .now_ms = NOW_MS, .count = count, .value_bytes_max = value_bytes_max };
	model->store = store_make(model->arena, arena_bytes, 48u << 20, 1);
	model->entries = calloc(count, sizeof(*model->entries));
	for (__u32 id = 0; id < count; id++) {
		struct entry *entry = &model->entries[id];

		entry->key_length = key_length_of(id, value_bytes_max);
		entry->key = malloc(entry->key_length + 4);
		random_fill(&model->random, entry->key, entry->key_length);
		memcpy(entry->key, &id, entry->key_length < 4 ? entry->key_length : 4);
		entry->hash = vg_hash64(entry->key, entry->key_length);
	}
}

static void model_free(struct model *model)
{
	vg_store_free(model->store);
	munmap(model->arena, model->arena_bytes);
	for (__u32 id = 0; id < model->count; id++) {
		free(model->entries[id].key);
		free(model->entries[id].value);
	}
	free(model->entries);
}

static struct entry *entry_of(struct model *model, const void *key, size_t length)
{
	__u32 id = (__u32)length;

	if (length >= 4)
		memcpy(&id, key, 4);
	assert_true(id < model->count);
	assert_int_equal(model->entries[id].key_length, length);
	assert_memory_equal(model->entries[id].key, key, length);
	return &model->entries[id];
}

static struct vg_key key_in(const struct entry *entry)
{
	return (struct vg_key){ entry->key, entry->key_length, entry->hash };
}

static bool lives(const struct model *model, const struct entry *entry)
{
	return entry->exists && !(entry->expire_ms && entry->expire_ms <= model->now_ms);
}

static void check_entry(struct model *model, const struct entry *entry)
{
	struct vg_key key = key_in(entry);
	struct vg_key_facts facts;

	if (!lives(model, entry)) {
		assert_absent(model->store, &key, model->now_ms);
		return;
	}
	assert_value(model->store, &key, model->now_ms, entry->value, entry->length, entry->expire_ms);
	assert_int_equal(vg_store_facts(model->store, &key, model->now_ms, false, &facts), 0);
	assert_int_equal(facts.value_length, entry->length);
	assert_int_equal(facts.version, entry->version);
	assert_int_equal(facts.client_flags, entry->client_flags);
}

/* ---- one random change, the same for both ---- */

static size_t random_length(struct model *model)
{
	__u64 random = random_next(&model->random);
	size_t magnitude;

	switch (random % 8) {
	case 0:
		return 0;
	case 1:
		return VG_CELL_MAX - random / 8 % 200 < model->value_bytes_max ? VG_CELL_MAX - random / 8 % 200 : 1;
	default:
		magnitude = 1ULL << (random / 8 % 24);
		return random / 1024 % (magnitude < model->value_bytes_max ? magnitude : model->value_bytes_max);
	}
}

static __u64 random_deadline(struct model *model)
{
	__u64 random = random_next(&model->random);

	return random % 4 ? 0 : model->now_ms + random / 4 % 2000 - 200;
}

struct plan { /* a change, and what the value is after it */
	struct vg_change change;
	__u8 *fresh;   /* random bytes the parts point into */
	__u8 *outcome; /* malloc'd: the value after */
	size_t length;
};

static void plan_make(struct model *model, const struct vg_entry *old, struct plan *ret_plan)
{
	__u64 random = random_next(&model->random);
	size_t length = random_length(model), from = old->length ? random / 64 % old->length : 0;
	struct plan plan = { .change = { .action = VG_CHANGE_STORE, .expire_ms = random_deadline(model) } };
	struct vg_part *part = plan.change.part;
	const __u8 *value = old->value;
	size_t at = 0;

	if (random >> 40 & 1)
		plan.change.client_flags = (__u32)(random >> 41 & 7);
	if (random >> 45 & 1)
		plan.change.version = vg_store_version_new(model->store);
	plan.fresh = malloc(length + 1);
	random_fill(&model->random, plan.fresh, length);
	switch (random % 9) {
	case 8:
		plan.change.action = VG_CHANGE_VERSION;
		plan.change.expire_ms = old->expire_ms;
		part[plan.change.parts++] = (struct vg_part){ value, old->length };
		break;
	case 0: /* append */
		part[plan.change.parts++] = (struct vg_part){ value, old->length };
		part[plan.change.parts++] = (struct vg_part){ plan.fresh, length };
		break;
	case 1: /* overwrite a range, perhaps beyond the end */
		part[plan.change.parts++] = (struct vg_part){ value, from };
		part[plan.change.parts++] = (struct vg_part){ plan.fresh, length };
		if (from + length < old->length)
			part[plan.change.parts++] =
				(struct vg_part){ value + from + length, old->length - from - length };
		break;
	case 2: /* pad with zeros, then append */
		part[plan.change.parts++] = (struct vg_part){ value, old->length };
		part[plan.change.parts++] = (struct vg_part){ NULL, length / 2 };
		part[plan.change.parts++] = (struct vg_part){ plan.fresh, length - length / 2 };
		break;
	case 3: /* the old value in other places */
		part[plan.change.parts++] = (struct vg_part){ value + from, old->length - from };
		part[plan.change.parts++] = (struct vg_part){ plan.fresh, length };
		part[plan.change.parts++] = (struct vg_part){ value, from };
		break;
	case 4: /* only its beginning */
		part[plan.change.parts++] = (struct vg_part){ value, from };
		break;
	case 5:
		plan.change.action = VG_CHANGE_DEADLINE;
		part[plan.change.parts++] = (struct vg_part){ value, old->length };
		break;
	default:
		part[plan.change.parts++] = (struct vg_part){ plan.fresh, length };
		break;
	}
	for (int i = 0; i < plan.change.parts; i++)
		plan.length += part[i].length;
	plan.outcome = malloc(plan.length + 1);
	for (int i = 0; i < plan.change.parts; at += part[i++].length)
		if (part[i].data && part[i].length)
			memcpy(plan.outcome + at, part[i].data, part[i].length);
		else
			memset(plan.outcome + at, 0, part[i].length);
	*ret_plan = plan;
}

/* The plan has happened: the model too. */
static void plan_done(struct model *model, struct entry *entry, struct plan *plan)
{
	bool passed = plan->change.expire_ms && plan->change.expire_ms <= model->now_ms;

	if ((plan->change.action == VG_CHANGE_DEADLINE || plan->change.action == VG_CHANGE_VERSION) &&
	    !lives(model, entry))
		passed = true; /* of nothing: nothing */
	if (plan->change.action != VG_CHANGE_DEADLINE)
		entry->version = plan->change.version;
	if (plan->change.action == VG_CHANGE_STORE)
		entry->client_flags = plan->change.client_flags;
	free(entry->value);
	entry->exists = plan->change.action != VG_CHANGE_DELETE && !passed;
	entry->value = plan->outcome;
	entry->length = plan->length;
	entry->expire_ms = plan->change.expire_ms;
	free(plan->fresh);
}

static void plan_dropped(struct plan *plan)
{
	free(plan->outcome);
	free(plan->fresh);
}

static void check_old(struct model *model, const struct entry *entry, const struct vg_entry *old)
{
	assert_int_equal(old->exists, lives(model, entry));
	if (!old->exists)
		return;
	assert_int_equal(old->length, entry->length);
	assert_int_equal(old->expire_ms, entry->expire_ms);
	assert_int_equal(old->version, entry->version);
	assert_int_equal(old->client_flags, entry->client_flags);
	assert_memory_equal(old->value, entry->value, entry->length);
}

/* ---- operations ---- */

struct update {
	struct model *model;
	struct entry *entry;
	struct plan plan;
	int error;
};

static int update_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct update *update = context;

	assert_int_equal(change->action, VG_CHANGE_NONE);
	check_old(update->model, update->entry, old);
	plan_make(update->model, old, &update->plan);
	*change = update->plan.change;
	return update->error;
}

static void do_update(struct model *model, struct entry *entry)
{
	struct update update = { model, entry, .error = random_next(&model->random) % 16 ? 0 : -EDOM };
	struct vg_key key = key_in(entry);
	int error = vg_store_update(model->store, &key, model->now_ms, update_fn, &update);

	if (update.error)
		assert_int_equal(error, -EDOM);
	else if (error)
		assert_int_equal(error, -ENOMEM);
	model->refused += error == -ENOMEM;
	if (error)
		plan_dropped(&update.plan);
	else
		plan_done(model, entry, &update.plan);
}

static void do_set(struct model *model, struct entry *entry)
{
	struct vg_entry nothing = { .exists = false };
	struct vg_key key = key_in(entry);
	struct plan plan;
	int error;

	do {
		plan_make(model, &nothing, &plan);
		if (plan.change.action == VG_CHANGE_STORE)
			break;
		plan_dropped(&plan);
	} while (1);
	plan.change.version = plan.change.client_flags = 0;
	error = vg_store_set(model->store, &key, model->now_ms, plan.outcome, plan.length, plan.change.expire_ms);
	if (error)
		assert_int_equal(error, -ENOMEM);
	model->refused += error == -ENOMEM;
	if (error)
		plan_dropped(&plan);
	else
		plan_done(model, entry, &plan);
}

static void do_delete(struct model *model, struct entry *entry)
{
	struct vg_key key = key_in(entry);

	assert_int_equal(vg_store_delete(model->store, &key, model->now_ms), lives(model, entry) ? 0 : -ENOENT);
	entry->exists = false;
}

#define TRANSACTION_KEYS 12

struct transaction {
	struct model *model;
	struct entry *entries[TRANSACTION_KEYS];
	struct plan plans[TRANSACTION_KEYS];
	bool none[TRANSACTION_KEYS];
	int error;
};

static int transaction_fn(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	struct transaction *transaction = context;

	for (int i = 0; i < count; i++) {
		assert_int_equal(changes[i].action, VG_CHANGE_NONE);
		check_old(transaction->model, transaction->entries[i], &old[i]);
		plan_make(transaction->model, &old[i], &transaction->plans[i]);
		if (random_next(&transaction->model->random) % 4 == 0)
			transaction->plans[i].change.action = VG_CHANGE_DELETE;
		transaction->none[i] = random_next(&transaction->model->random) % 8 == 0;
		if (!transaction->none[i])
			changes[i] = transaction->plans[i].change;
	}
	return transaction->error;
}

/* Keys drawn with repetition: the last change of a key wins. */
static void do_transact(struct model *model)
{
	struct transaction transaction = { model, .error = random_next(&model->random) % 8 ? 0 : -EDOM };
	int count = 1 + (int)(random_next(&model->random) % TRANSACTION_KEYS), error;
	struct vg_key keys[TRANSACTION_KEYS];

	for (int i = 0; i < count; i++) {
		transaction.entries[i] = &model->entries[random_next(&model->random) % model->count];
		if (i && random_next(&model->random) % 4 == 0)
			transaction.entries[i] = transaction.entries[i - 1];
		keys[i] = key_in(transaction.entries[i]);
	}
	error = vg_store_transact(model->store, keys, count, model->now_ms, transaction_fn, &transaction);
	if (error)
		assert_int_equal(error, transaction.error ? transaction.error : -ENOMEM);
	model->refused += error == -ENOMEM;
	for (int i = 0; i < count; i++) {
		bool last = !transaction.none[i];

		for (int j = i + 1; j < count; j++)
			last &= transaction.none[j] || transaction.entries[j] != transaction.entries[i];
		if (error || !last)
			plan_dropped(&transaction.plans[i]);
		else
			plan_done(model, transaction.entries[i], &transaction.plans[i]);
	}
	for (int i = 0; i < count; i++)
		check_entry(model, transaction.entries[i]);
}

static void seen_fn(void *context, const void *key, size_t length)
{
	struct model *model = context;
	struct entry *entry = entry_of(model, key, length);

	assert_true(lives(model, entry));
	entry->seen = true;
}

static void do_scan(struct model *model)
{
	static __u8 key[VG_KEY_MAX];
	__u64 cursor = 0, living = 0;
	ssize_t length;

	do {
		cursor = vg_store_scan(model->store, cursor, 1 + random_next(&model->random) % 100, model->now_ms, seen_fn,
				       model);
	} while (cursor);
	for (__u32 id = 0; id < model->count; id++) {
		assert_int_equal(model->entries[id].seen, lives(model, &model->entries[id]));
		living += model->entries[id].seen;
		model->entries[id].seen = false;
	}
	length = vg_store_random(model->store, random_next(&model->random), model->now_ms, key);
	if (living)
		assert_true(lives(model, entry_of(model, key, (size_t)length)));
	else
		assert_int_equal(length, -ENOENT);
}

static void do_facts(struct model *model, struct entry *entry)
{
	struct vg_key key = key_in(entry);
	struct vg_key_facts facts;
	int error = vg_store_facts(model->store, &key, model->now_ms, false, &facts);

	assert_int_equal(error, lives(model, entry) ? 0 : -ENOENT);
	if (error)
		return;
	assert_int_equal(facts.value_length, entry->length);
	assert_int_equal(facts.expire_ms, entry->expire_ms);
	if (vg_item_bytes(0, entry->key_length, entry->length) > VG_CELL_MAX)
		assert_true(facts.in_heap);
	assert_true(facts.memory_bytes >= entry->length + entry->key_length);
	assert_in_range(facts.idle_seconds, 0, (model->now_ms - NOW_MS) / 1000 + 16);
}

static void step(struct model *model)
{
	struct entry *entry = &model->entries[random_next(&model->random) % model->count];
	__u64 random = random_next(&model->random);

	switch (random % 16) {
	case 0 ... 3:
		do_set(model, entry);
		break;
	case 4 ... 7:
		do_update(model, entry);
		break;
	case 8 ... 9:
		do_delete(model, entry);
		break;
	case 10:
		do_transact(model);
		break;
	case 11:
		do_facts(model, entry);
		break;
	case 12:
		model->now_ms += random / 16 % 100;
		vg_store_sweep(model->store, (__u32)(random >> 32) % 4096, model->now_ms);
		break;
	default:
		break;
	}
	check_entry(model, entry);
}

/* Empty, nothing of it is left: every cell, line and block came back. */
static void check_empty(struct model *model)
{
	struct vg_store_stats stats;

	vg_store_clear(model->store);
	vg_store_stats(model->store, &stats);
	assert_int_equal(stats.keys, 0);
	assert_int_equal(stats.chain_lines, 0);
	assert_int_equal(stats.heap_used, 0);
	assert_int_equal(stats.arena_used, stats.buckets * sizeof(struct vg_bucket));
	vg_heap_check(&model->store->heap);
	for (__u32 id = 0; id < model->count; id++) {
		model->entries[id].exists = false;
		check_entry(model, &model->entries[id]);
	}
}

static void run(struct model *model, int steps)
{
	struct vg_store_stats stats;
	__u64 living = 0;

	for (int i = 0; i < steps; i++) {
		step(model);
		if (i % 5000 == 4999)
			do_scan(model);
	}
	for (__u32 id = 0; id < model->count; id++) {
		check_entry(model, &model->entries[id]);
		living += lives(model, &model->entries[id]);
	}
	vg_store_sweep(model->store, ~0u, model->now_ms);
	vg_store_stats(model->store, &stats);
	assert_int_equal(stats.keys, living);
	check_empty(model);
}

static void test_store_model_values_of_every_size(void **state)
{
	struct model model;

	model_make(&model, 8u << 20, 60, 3u << 20, random_seed("values of every size"));
	run(&model, 30000);
	model_free(&model);
}

static void test_store_model_more_keys_than_room(void **state)
{
	struct model model;

	model_make(&model, 2u << 20, 60000, 40, random_seed("more keys than room"));
	run(&model, 300000);
	assert_true(model.refused > 0);
	assert_true(vg_buckets_count(model.store->header->index_control) > VG_INDEX_BUCKETS_MIN);
	run(&model, 100000); /* and again, after all was deleted */
	model_free(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_model_values_of_every_size),
		cmocka_unit_test(test_store_model_more_keys_than_room),
	};

	return cmocka_run_group_tests_name("store_model", tests, NULL, NULL);
}
