/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Observers are told of every change: on every path by name, and, for anything forgotten, by a second store that is
 * made of nothing but what the observer of the first one heard, and must be equal to it.
 */
#include <pthread.h>

#include "store_fixture.h"

#define ARENA_BYTES (64u << 20)
#define HEAP_BYTES (64u << 20)
#define TOLD_MAX 4096

struct told {
	enum vg_observed_kind kind;
	char key[16], value[16];
	__u64 length, expire_ms, handle, offset;
	__u32 flags;
};

static struct fixture {
	struct vg_store *store;
	void *arena;
	struct told told[TOLD_MAX];
	__u32 count, seen;
} fixture;

static void note(void *context, struct vg_observed *observed)
{
	struct told *told = &fixture.told[fixture.count++];

	assert_true(fixture.count <= TOLD_MAX);
	*told = (struct told){ .kind = observed->kind, .length = observed->entry.length, .expire_ms = observed->entry.expire_ms,
			       .handle = observed->handle, .offset = observed->offset, .flags = observed->flags };
	if (observed->key) {
		assert_int_equal(observed->key->hash, vg_hash64(observed->key->data, observed->key->length));
		memcpy(told->key, observed->key->data, observed->key->length < 15 ? observed->key->length : 15);
	}
	if (observed->entry.value)
		memcpy(told->value, observed->entry.value, observed->entry.length < 15 ? observed->entry.length : 15);
}

static int set_up(void **state)
{
	memset(&fixture, 0, sizeof(fixture));
	fixture.arena = map_shared(ARENA_BYTES);
	fixture.store = store_make(fixture.arena, ARENA_BYTES, HEAP_BYTES, 4);
	assert_int_equal(vg_store_observe(fixture.store, note, &fixture), 0);
	return 0;
}

static int tear_down(void **state)
{
	vg_store_free(fixture.store);
	munmap(fixture.arena, ARENA_BYTES);
	return 0;
}

static const struct told *next_told(void)
{
	assert_true(fixture.seen < fixture.count);
	return &fixture.told[fixture.seen++];
}

static void expect(enum vg_observed_kind kind, const char *key, const char *value, __u64 expire_ms)
{
	const struct told *told = next_told();

	assert_int_equal(told->kind, kind);
	assert_string_equal(told->key, key);
	assert_string_equal(told->value, value);
	if (value[0])
		assert_int_equal(told->length, strlen(value));
	assert_int_equal(told->expire_ms, expire_ms);
}

static void expect_nothing(void)
{
	assert_int_equal(fixture.seen, fixture.count);
}

static struct vg_key text_key(const char *text)
{
	return key_of(text, strlen(text));
}

static void set(const char *key, const char *value, __u64 now_ms, __u64 expire_ms)
{
	struct vg_key k = text_key(key);

	assert_int_equal(vg_store_set(fixture.store, &k, now_ms, value, strlen(value), expire_ms), 0);
}

struct wish {
	enum vg_change_action action;
	const char *value;
	__u64 expire_ms;
	int error;
};

static void fill(const struct wish *wish, struct vg_change *change)
{
	change->action = wish->action;
	change->expire_ms = wish->expire_ms;
	if (wish->value) {
		change->part[0] = (struct vg_part){ wish->value, strlen(wish->value) };
		change->parts = 1;
	}
}

static int update_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct wish *wish = context;

	fill(wish, change);
	return wish->error;
}

static int transact_fn(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	const struct wish *wish = context;

	for (int i = 0; i < count; i++)
		fill(&wish[i], &changes[i]);
	return wish->error;
}

static int update(const char *key, __u64 now_ms, struct wish wish)
{
	struct vg_key k = text_key(key);

	return vg_store_update(fixture.store, &k, now_ms, update_fn, &wish);
}

static void test_observe_one_key(void **state)
{
	struct vg_key a = text_key("a"), absent = text_key("absent");

	set("a", "1", NOW_MS, 0);
	expect(VG_OBSERVED_SET, "a", "1", 0);
	set("a", "2", NOW_MS, NOW_MS + 50); /* in place */
	expect(VG_OBSERVED_SET, "a", "2", NOW_MS + 50);
	set("a", "a longer one", NOW_MS, 0); /* in another cell */
	expect(VG_OBSERVED_SET, "a", "a longer one", 0);
	assert_int_equal(update("a", NOW_MS, (struct wish){ VG_CHANGE_DEADLINE, NULL, NOW_MS + 9 }), 0);
	assert_int_equal(next_told()->kind, VG_OBSERVED_DEADLINE);
	assert_int_equal(fixture.told[fixture.seen - 1].expire_ms, NOW_MS + 9);
	assert_int_equal(update("a", NOW_MS, (struct wish){ VG_CHANGE_NONE }), 0);
	assert_int_equal(update("a", NOW_MS, (struct wish){ VG_CHANGE_STORE, "no", 0, -EEXIST }), -EEXIST);
	assert_int_equal(update("absent", NOW_MS, (struct wish){ VG_CHANGE_DELETE }), 0);
	assert_int_equal(update("absent", NOW_MS, (struct wish){ VG_CHANGE_DEADLINE, NULL, NOW_MS + 9 }), 0);
	assert_int_equal(vg_store_delete(fixture.store, &absent, NOW_MS), -ENOENT);
	expect_nothing();
	assert_int_equal(update("a", NOW_MS, (struct wish){ VG_CHANGE_DEADLINE, NULL, NOW_MS }), 0);
	expect(VG_OBSERVED_DELETE, "a", "", 0);
	assert_int_equal(update("a", NOW_MS, (struct wish){ VG_CHANGE_STORE, "3" }), 0);
	expect(VG_OBSERVED_SET, "a", "3", 0);
	assert_int_equal(update("a", NOW_MS, (struct wish){ VG_CHANGE_DELETE }), 0);
	expect(VG_OBSERVED_DELETE, "a", "", 0);
	set("a", "4", NOW_MS, 0);
	expect(VG_OBSERVED_SET, "a", "4", 0);
	set("a", "gone at once", NOW_MS, NOW_MS);
	expect(VG_OBSERVED_DELETE, "a", "", 0);
	set("a", "5", NOW_MS, 0);
	expect(VG_OBSERVED_SET, "a", "5", 0);
	assert_int_equal(vg_store_delete(fixture.store, &a, NOW_MS), 0);
	expect(VG_OBSERVED_DELETE, "a", "", 0);
	expect_nothing();
}

static void test_observe_large_values(void **state)
{
	static char large[100000];
	struct vg_key a = text_key("a");

	memset(large, 'x', sizeof(large));
	assert_int_equal(vg_store_set(fixture.store, &a, NOW_MS, large, sizeof(large), 0), 0);
	assert_int_equal(next_told()->length, sizeof(large));
	assert_int_equal(vg_store_set(fixture.store, &a, NOW_MS, large, 50000, NOW_MS + 5), 0);
	assert_int_equal(next_told()->length, 50000);
	assert_string_equal(fixture.told[1].value, "xxxxxxxxxxxxxxx");
	assert_int_equal(fixture.told[1].expire_ms, NOW_MS + 5);
	expect_nothing();
}

static void test_observe_what_expires(void **state)
{
	struct vg_key keys[2] = { text_key("c"), text_key("d") };
	struct wish wishes[2] = { { VG_CHANGE_STORE, "new" }, { VG_CHANGE_NONE } };
	const char *names[] = { "a", "b", "c", "e" };

	for (int i = 0; i < 4; i++) {
		set(names[i], "v", NOW_MS, NOW_MS + 10);
		expect(VG_OBSERVED_SET, names[i], "v", NOW_MS + 10);
	}
	set("a", "w", NOW_MS + 10, 0);
	expect(VG_OBSERVED_EXPIRED, "a", "", 0);
	expect(VG_OBSERVED_SET, "a", "w", 0);
	assert_int_equal(vg_store_delete(fixture.store, &(struct vg_key){ "b", 1, vg_hash64("b", 1) }, NOW_MS + 10),
			 -ENOENT);
	expect(VG_OBSERVED_EXPIRED, "b", "", 0);
	assert_int_equal(vg_store_transact(fixture.store, keys, 2, NOW_MS + 10, transact_fn, wishes), 0);
	expect(VG_OBSERVED_EXPIRED, "c", "", 0);
	assert_int_equal(next_told()->kind, VG_OBSERVED_BEGIN);
	expect(VG_OBSERVED_SET, "c", "new", 0);
	assert_int_equal(next_told()->kind, VG_OBSERVED_END);
	assert_int_equal(vg_store_sweep(fixture.store, ~0u, NOW_MS + 10), 1);
	expect(VG_OBSERVED_EXPIRED, "e", "", 0);
	expect_nothing();
}

static void test_observe_transaction(void **state)
{
	struct vg_key keys[4] = { text_key("a"), text_key("b"), text_key("c"), text_key("a") };
	struct wish wishes[4] = { { VG_CHANGE_STORE, "first" }, { VG_CHANGE_DELETE }, { VG_CHANGE_DEADLINE, NULL, NOW_MS + 5 },
				  { VG_CHANGE_STORE, "last" } };
	struct wish refused[4] = { { VG_CHANGE_STORE, "x", 0, -ECANCELED } };
	int sets = 0, deletes = 0, deadlines = 0;

	set("b", "1", NOW_MS, 0);
	set("c", "1", NOW_MS, 0);
	fixture.seen = fixture.count;
	assert_int_equal(vg_store_transact(fixture.store, keys, 4, NOW_MS, transact_fn, refused), -ECANCELED);
	expect_nothing();
	assert_int_equal(vg_store_transact(fixture.store, keys, 4, NOW_MS, transact_fn, wishes), 0);
	assert_int_equal(next_told()->kind, VG_OBSERVED_BEGIN);
	for (int i = 0; i < 3; i++) {
		const struct told *told = next_told();

		sets += told->kind == VG_OBSERVED_SET && !strcmp(told->key, "a") && !strcmp(told->value, "last");
		deletes += told->kind == VG_OBSERVED_DELETE && !strcmp(told->key, "b");
		deadlines += told->kind == VG_OBSERVED_DEADLINE && !strcmp(told->key, "c") &&
			     told->expire_ms == NOW_MS + 5;
	}
	assert_true(sets == 1 && deletes == 1 && deadlines == 1);
	assert_int_equal(next_told()->kind, VG_OBSERVED_END);
	expect_nothing();
}

static void test_observe_clear(void **state)
{
	set("a", "1", NOW_MS, 0);
	set("b", "1", NOW_MS, 0);
	fixture.seen = fixture.count;
	vg_store_clear(fixture.store);
	assert_int_equal(next_told()->kind, VG_OBSERVED_CLEAR);
	assert_int_equal(next_told()->kind, VG_OBSERVED_CLEARED);
	expect_nothing();
}

static void test_observe_handles(void **state)
{
	__u64 lengths[2] = { 100, 100000 }, handle;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(vg_store_alloc(fixture.store, lengths[i], &handle), 0);
		assert_int_equal(next_told()->kind, VG_OBSERVED_ALLOC);
		assert_int_equal(fixture.told[fixture.seen - 1].handle, handle);
		assert_int_equal(fixture.told[fixture.seen - 1].length, lengths[i]);
		assert_int_equal(vg_store_handle_write(fixture.store, handle, 7, "bytes", 5), 0);
		expect(VG_OBSERVED_WRITE, "", "bytes", 0);
		assert_int_equal(fixture.told[fixture.seen - 1].offset, 7);
		assert_int_equal(vg_store_handle_write(fixture.store, handle, lengths[i], "bytes", 5), -ERANGE);
		expect_nothing();
		assert_int_equal(vg_store_handle_set_flags(fixture.store, handle, 3), 0);
		assert_int_equal(next_told()->kind, VG_OBSERVED_FLAGS);
		assert_int_equal(fixture.told[fixture.seen - 1].flags, 3);
		assert_int_equal(vg_store_release(fixture.store, handle), 0);
		assert_int_equal(next_told()->kind, VG_OBSERVED_RELEASE);
		assert_int_equal(fixture.told[fixture.seen - 1].handle, handle);
		assert_int_equal(vg_store_handle_write(fixture.store, handle, 0, "x", 1), -ESTALE);
		assert_int_equal(vg_store_release(fixture.store, handle), -ESTALE);
		expect_nothing();
	}
}

static void test_observe_has_a_limit(void **state)
{
	for (int i = 1; i < VG_STORE_OBSERVERS_MAX; i++)
		assert_int_equal(vg_store_observe(fixture.store, note, NULL), 0);
	assert_int_equal(vg_store_observe(fixture.store, note, NULL), -ENOSPC);
}

/* ---- a second store made of what was told ---------------------------------------------------------------------- */

#define KEYS 300
#define THREADS 3
#define ROUNDS 6000
#define HANDLES 40

static struct twin {
	struct vg_store *first, *second;
	pthread_mutex_t lock; /* the order of changes, as the log's */
	__u64 told[VG_OBSERVED_MAX];
	__u64 handle[HANDLES]; /* of thread 0 */
} twin;

static int set_deadline(void *context, const struct vg_entry *old, struct vg_change *change)
{
	/* After CLEAR was told a key may live for a moment longer, and be given a deadline. */
	change->action = old->exists ? VG_CHANGE_DEADLINE : VG_CHANGE_NONE;
	change->expire_ms = *(__u64 *)context;
	return 0;
}

static void apply_to_second(void *context, struct vg_observed *observed)
{
	pthread_mutex_lock(&twin.lock);
	twin.told[observed->kind]++;
	switch (observed->kind) {
	case VG_OBSERVED_SET:
		assert_int_equal(vg_store_set(twin.second, observed->key, 0, observed->entry.value, observed->entry.length,
					      observed->entry.expire_ms), 0);
		break;
	case VG_OBSERVED_DELETE:
	case VG_OBSERVED_EXPIRED:
	case VG_OBSERVED_EVICTED:
		vg_store_delete(twin.second, observed->key, 0);
		break;
	case VG_OBSERVED_DEADLINE:
		assert_int_equal(vg_store_update(twin.second, observed->key, 0, set_deadline, &observed->entry.expire_ms), 0);
		break;
	case VG_OBSERVED_CLEAR:
		vg_store_clear(twin.second);
		break;
	case VG_OBSERVED_ALLOC:
		assert_int_equal(vg_store_handle_restore(twin.second, observed->handle, observed->entry.length, 0), 0);
		break;
	case VG_OBSERVED_WRITE:
		assert_int_equal(vg_store_handle_write(twin.second, observed->handle, observed->offset,
						       observed->entry.value, observed->entry.length), 0);
		break;
	case VG_OBSERVED_FLAGS:
		assert_int_equal(vg_store_handle_set_flags(twin.second, observed->handle, observed->flags), 0);
		break;
	case VG_OBSERVED_RELEASE:
		vg_store_handle_forget(twin.second, observed->handle);
		break;
	default:
		break;
	}
	pthread_mutex_unlock(&twin.lock);
}

static int random_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	__u64 *random = context;

	switch (random_next(random) % 5) {
	case 0:
		change->action = VG_CHANGE_DELETE;
		break;
	case 1:
		change->action = VG_CHANGE_DEADLINE;
		change->expire_ms = NOW_MS + random_next(random) % 200;
		break;
	case 2: /* append */
		change->action = VG_CHANGE_STORE;
		change->part[0] = (struct vg_part){ old->value, old->length };
		change->part[1] = (struct vg_part){ "0123456789", random_next(random) % 10 };
		change->parts = old->length < 8000 ? 2 : 0;
		break;
	case 3: /* grow by zeros */
		change->action = VG_CHANGE_STORE;
		change->part[0] = (struct vg_part){ NULL, random_next(random) % 6000 };
		change->parts = 1;
		break;
	default:
		break;
	}
	return 0;
}

static int random_transaction(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	for (int i = 0; i < count; i++)
		random_update(context, &old[i], &changes[i]);
	return 0;
}

static void random_handle(__u64 *random)
{
	__u64 *handle = &twin.handle[random_next(random) % HANDLES];

	if (!*handle)
		assert_int_equal(vg_store_alloc(twin.first, 1 + random_next(random) % 9000, handle), 0);
	else if (random_next(random) % 4 == 0) {
		assert_int_equal(vg_store_release(twin.first, *handle), 0);
		*handle = 0;
	} else if (random_next(random) % 8 == 0) {
		assert_int_equal(vg_store_handle_set_flags(twin.first, *handle, (__u32)random_next(random) % 2), 0);
	} else {
		__u64 length;
		__u32 flags;

		assert_int_equal(vg_store_handle_facts(twin.first, *handle, &length, &flags), 0);
		assert_int_equal(vg_store_handle_write(twin.first, *handle, length / 2, random, length < 16 ? 0 : 8), 0);
	}
}

static void random_change(__u64 *random, __u64 now_ms, bool handles)
{
	static _Thread_local __u8 value[6000];
	struct vg_key keys[3];
	__u32 number[3];

	for (int i = 0; i < 3; i++) {
		number[i] = (__u32)(random_next(random) % KEYS);
		keys[i] = key_of(&number[i], sizeof(number[i]));
	}
	switch (random_next(random) % (handles ? 7 : 6)) {
	case 0:
	case 1:
		random_fill(random, value, 64);
		assert_int_equal(vg_store_set(twin.first, &keys[0], now_ms, value, random_next(random) % sizeof(value),
					      random_next(random) % 2 ? 0 : now_ms + random_next(random) % 100), 0);
		break;
	case 2:
		vg_store_delete(twin.first, &keys[0], now_ms);
		break;
	case 3:
		assert_int_equal(vg_store_update(twin.first, &keys[0], now_ms, random_update, random), 0);
		break;
	case 4:
		assert_int_equal(vg_store_transact(twin.first, keys, 3, now_ms, random_transaction, random), 0);
		break;
	case 5:
		if (random_next(random) % 50 == 0)
			vg_store_clear(twin.first);
		else if (random_next(random) % 4 == 0)
			vg_store_sweep(twin.first, 200, now_ms);
		break;
	default:
		random_handle(random);
	}
}

struct changer {
	pthread_t thread;
	__u32 worker;
	__u64 random;
};

static void *change_many(void *context)
{
	struct changer *changer = context;

	vg_store_worker(twin.first, changer->worker);
	for (int i = 0; i < ROUNDS; i++)
		random_change(&changer->random, NOW_MS + (__u64)i / 20, changer->worker == 0);
	return NULL;
}

static void assert_twins_equal(void)
{
	static __u8 buffer[VG_CELL_MAX];
	struct vg_store_stats first, second;

	for (__u32 number = 0; number < KEYS; number++) {
		struct vg_key key = key_of(&number, sizeof(number));
		struct vg_block *block;
		__u64 expire_ms;
		ssize_t length = vg_store_get(twin.first, &key, 0, buffer, sizeof(buffer), &block, &expire_ms);

		if (length < 0) {
			assert_absent(twin.second, &key, 0);
			continue;
		}
		assert_value(twin.second, &key, 0, block ? vg_block_data(block) : buffer, (size_t)length, expire_ms);
		if (block)
			vg_block_put(block);
	}
	for (int i = 0; i < HANDLES; i++) {
		static __u8 a[9000], b[9000];
		__u64 length, other;
		__u32 flags, other_flags;

		if (!twin.handle[i])
			continue;
		assert_int_equal(vg_store_handle_facts(twin.first, twin.handle[i], &length, &flags), 0);
		assert_int_equal(vg_store_handle_facts(twin.second, twin.handle[i], &other, &other_flags), 0);
		assert_true(length == other && flags == other_flags);
		assert_int_equal(vg_store_handle_read(twin.first, twin.handle[i], 0, a, length), 0);
		assert_int_equal(vg_store_handle_read(twin.second, twin.handle[i], 0, b, length), 0);
		assert_memory_equal(a, b, length);
	}
	vg_store_stats(twin.first, &first);
	vg_store_stats(twin.second, &second);
	assert_int_equal(first.keys, second.keys);
	assert_int_equal(first.handles, second.handles);
}

static void test_observe_tells_enough_for_a_second_store(void **state)
{
	void *arenas[2] = { map_shared(ARENA_BYTES), map_shared(ARENA_BYTES) };
	struct changer changers[THREADS];
	__u64 seed = random_seed("observe");
	__u64 handle;

	twin = (struct twin){ .lock = PTHREAD_MUTEX_INITIALIZER };
	twin.first = store_make(arenas[0], ARENA_BYTES, HEAP_BYTES, THREADS);
	twin.second = store_make(arenas[1], ARENA_BYTES, HEAP_BYTES, THREADS);
	assert_int_equal(vg_store_observe(twin.first, apply_to_second, NULL), 0);
	for (__u32 i = 0; i < THREADS; i++) {
		changers[i] = (struct changer){ .worker = i, .random = seed + i };
		assert_int_equal(pthread_create(&changers[i].thread, NULL, change_many, &changers[i]), 0);
	}
	for (__u32 i = 0; i < THREADS; i++)
		pthread_join(changers[i].thread, NULL);
	assert_twins_equal();
	for (int kind = 0; kind < VG_OBSERVED_MAX; kind++)
		assert_true(twin.told[kind] || kind == VG_OBSERVED_EVICTED);
	/* The second one goes on where the first one is: no handle is given twice. */
	vg_store_handles_restored(twin.second);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(vg_store_alloc(twin.second, 8, &handle), 0);
		for (int j = 0; j < HANDLES; j++)
			assert_int_not_equal(handle, twin.handle[j]);
	}
	vg_store_free(twin.first);
	vg_store_free(twin.second);
	munmap(arenas[0], ARENA_BYTES);
	munmap(arenas[1], ARENA_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_observe_one_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_observe_large_values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_observe_what_expires, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_observe_transaction, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_observe_clear, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_observe_handles, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_observe_has_a_limit, set_up, tear_down),
		cmocka_unit_test(test_observe_tells_enough_for_a_second_store),
	};

	return cmocka_run_group_tests_name("store_observe", tests, NULL, NULL);
}
