/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What holds across keys and across time while threads change the store: no insert is lost to a split, a walk sees what
 * lasts, transactions are whole, handles are written whole and released once.
 */
#include "store_threads.h"

/* ---- a small table that is split all the time while everybody inserts ---- */

#define YOUNG_KEYS 2000

static void *insert_young(void *context)
{
	struct thread *thread = context;
	__u64 id[2] = { 0, thread->number };
	struct vg_key key;

	vg_store_worker(thread->store, thread->number);
	pthread_barrier_wait(thread->shared);
	for (; id[0] < YOUNG_KEYS; id[0]++) {
		key = key_of(id, sizeof(id));
		CHECK(vg_store_set(thread->store, &key, NOW_MS, "", 0, 0) == 0);
	}
	pthread_barrier_wait(thread->shared);
	while (id[0]-- > 0) {
		key = key_of(id, sizeof(id));
		CHECK(vg_store_delete(thread->store, &key, NOW_MS) == 0);
	}
	return NULL;
}

static void test_store_together_young_table_loses_nothing(void **state)
{
	static void *(*const fn[THREADS])(void *) = { insert_young, insert_young, insert_young, insert_young };
	size_t arena_bytes = 1u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store_stats stats;
	pthread_barrier_t barrier;

	assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
	for (int round = 0; round < 40; round++) {
		struct vg_store *store = store_make(arena, arena_bytes, 1u << 20, THREADS);

		run_threads(store, 0, fn, &barrier);
		vg_store_stats(store, &stats);
		assert_true(stats.buckets > VG_INDEX_BUCKETS_MIN);
		assert_int_equal(stats.keys, 0);
		assert_int_equal(stats.chain_lines, 0);
		vg_store_free(store);
	}
	pthread_barrier_destroy(&barrier);
	munmap(arena, arena_bytes);
}

/* ---- a walk sees what is there all the time, while others make the table grow ---- */

#define LASTING_KEYS 3000

struct walk {
	__u32 growing;	      /* threads that still make it grow */
	__u8 seen[LASTING_KEYS];
	__u32 walks;
};

static void *grow(void *context)
{
	struct thread *thread = context;
	struct walk *walk = thread->shared;

	vg_store_worker(thread->store, thread->number);
	for (__u64 i = 0; i < ROUNDS; i++) {
		__u64 id[2] = { i, thread->number };
		struct vg_key key = key_of(id, sizeof(id));

		CHECK(vg_store_set(thread->store, &key, NOW_MS, &i, sizeof(i), 0) == 0);
		id[0] = random_next(&thread->random) % (i + 1);
		key = key_of(id, sizeof(id));
		if (i % 3 == 0)
			vg_store_delete(thread->store, &key, NOW_MS);
	}
	__atomic_fetch_sub(&walk->growing, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void seen_fn(void *context, const void *key, size_t length)
{
	struct walk *walk = context;
	__u64 id[2];

	CHECK(length == sizeof(id));
	memcpy(id, key, sizeof(id));
	if (id[1] == THREADS)
		walk->seen[id[0]] = 1;
}

static void *walk_again_and_again(void *context)
{
	struct thread *thread = context;
	struct walk *walk = thread->shared;
	__u64 cursor = 0;

	vg_store_worker(thread->store, thread->number);
	do {
		memset(walk->seen, 0, sizeof(walk->seen));
		do {
			cursor = vg_store_scan(thread->store, cursor, 50, NOW_MS, seen_fn, walk);
		} while (cursor);
		for (int i = 0; i < LASTING_KEYS; i++)
			CHECK(walk->seen[i]);
		walk->walks++;
	} while (__atomic_load_n(&walk->growing, __ATOMIC_RELAXED));
	return NULL;
}

static void test_store_together_walk_while_growing(void **state)
{
	static void *(*const fn[THREADS])(void *) = { grow, walk_again_and_again, grow, grow };
	size_t arena_bytes = 64u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 1u << 20, THREADS);
	static struct walk walk;

	for (__u64 i = 0; i < LASTING_KEYS; i++) {
		__u64 id[2] = { i, THREADS };
		struct vg_key key = key_of(id, sizeof(id));

		assert_int_equal(vg_store_set(store, &key, NOW_MS, "", 0, 0), 0);
	}
	walk.growing = THREADS - 1;
	run_threads(store, random_seed("walk while growing"), fn, &walk);
	assert_true(walk.walks > 1);
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

/* ---- transfers between two accounts keep the sum ---- */

#define ACCOUNTS 24

struct transfer {
	__u64 amount, balance[2];
};

static int transfer_fn(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	struct transfer *transfer = context;
	__u64 from = vg_load64(old[0].value), to = vg_load64(old[1].value);

	transfer->balance[0] = from - transfer->amount % (from + 1);
	transfer->balance[1] = to + transfer->amount % (from + 1);
	for (int i = 0; i < 2; i++) {
		changes[i].action = VG_CHANGE_STORE;
		changes[i].part[0] = (struct vg_part){ &transfer->balance[i], sizeof(__u64) };
		changes[i].parts = 1;
	}
	return 0;
}

static void *transfer(void *context)
{
	struct thread *thread = context;

	vg_store_worker(thread->store, thread->number);
	for (int i = 0; i < ROUNDS; i++) {
		struct transfer transfer = { .amount = random_next(&thread->random) };
		__u64 from = random_next(&thread->random) % ACCOUNTS;
		__u64 to = (from + 1 + random_next(&thread->random) % (ACCOUNTS - 1)) % ACCOUNTS;
		struct vg_key keys[2] = { key_of(&from, sizeof(from)), key_of(&to, sizeof(to)) };

		CHECK(vg_store_transact(thread->store, keys, 2, NOW_MS, transfer_fn, &transfer) == 0);
	}
	return NULL;
}

static int sum_fn(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	*(__u64 *)context = 0;
	for (int i = 0; i < count; i++)
		*(__u64 *)context += vg_load64(old[i].value);
	return 0;
}

static void *sum(void *context)
{
	struct thread *thread = context;
	__u64 ids[ACCOUNTS], total;
	struct vg_key keys[ACCOUNTS];

	vg_store_worker(thread->store, thread->number);
	for (__u64 i = 0; i < ACCOUNTS; i++) {
		ids[i] = i;
		keys[i] = key_of(&ids[i], sizeof(ids[i]));
	}
	for (int i = 0; i < ROUNDS / 10; i++) {
		CHECK(vg_store_transact(thread->store, keys, ACCOUNTS, NOW_MS, sum_fn, &total) == 0);
		CHECK(total == ACCOUNTS * 1000);
	}
	return NULL;
}

/* Meanwhile the table grows, so that buckets are split under the transfers. */
static void *insert_others(void *context)
{
	struct thread *thread = context;

	vg_store_worker(thread->store, thread->number);
	for (__u32 i = 0; i < ROUNDS; i++) {
		struct vg_key key = key_of(&i, sizeof(i));

		CHECK(vg_store_set(thread->store, &key, NOW_MS, "", 0, 0) == 0);
	}
	return NULL;
}

static void test_store_together_transfers_keep_the_sum(void **state)
{
	static void *(*const fn[THREADS])(void *) = { transfer, transfer, sum, insert_others };
	size_t arena_bytes = 32u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 1u << 20, THREADS);
	__u64 balance = 1000;

	for (__u64 i = 0; i < ACCOUNTS; i++) {
		struct vg_key key = key_of(&i, sizeof(i));

		assert_int_equal(vg_store_set(store, &key, NOW_MS, &balance, sizeof(balance), 0), 0);
	}
	run_threads(store, random_seed("transfers"), fn, NULL);
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

/* ---- handles: a write of a cell is whole for readers, what is released is gone for everybody ---- */

#define HANDLES 64
#define HANDLE_BYTES_MAX 512

struct table {
	__u64 handle[HANDLES]; /* atomic; whoever exchanges one for 0 owns and releases it */
};

static bool uniform(const __u8 *bytes, size_t length)
{
	for (size_t i = 1; i < length; i++)
		if (bytes[i] != bytes[0])
			return false;
	return true;
}

static void *use_handles(void *context)
{
	struct thread *thread = context;
	struct table *table = thread->shared;
	__u8 bytes[HANDLE_BYTES_MAX];
	__u64 mine, length;
	__u32 flags;

	vg_store_worker(thread->store, thread->number);
	for (int i = 0; i < ROUNDS; i++) {
		__u64 random = random_next(&thread->random), *place = &table->handle[random % HANDLES];
		__u64 handle = __atomic_load_n(place, __ATOMIC_RELAXED);
		int error = handle ? vg_store_handle_facts(thread->store, handle, &length, &flags) : -ESTALE;

		CHECK(error == 0 || error == -ESTALE);
		if (error == 0 && (random >> 8) % 4) {
			error = vg_store_handle_read(thread->store, handle, 0, bytes, length);
			CHECK(error == -ESTALE || (error == 0 && uniform(bytes, length)));
			memset(bytes, (int)(random >> 16), sizeof(bytes));
			error = vg_store_handle_write(thread->store, handle, 0, bytes, length);
			CHECK(error == 0 || error == -ESTALE);
			continue;
		}
		mine = __atomic_exchange_n(place, 0, __ATOMIC_RELAXED);
		if (mine) {
			CHECK(vg_store_release(thread->store, mine) == 0);
			CHECK(vg_store_release(thread->store, mine) == -ESTALE);
			CHECK(vg_store_handle_read(thread->store, mine, 0, bytes, 1) == -ESTALE);
		}
		CHECK(vg_store_alloc(thread->store, 1 + (random >> 24) % HANDLE_BYTES_MAX, &mine) == 0);
		mine = __atomic_exchange_n(place, mine, __ATOMIC_RELAXED);
		if (mine)
			CHECK(vg_store_release(thread->store, mine) == 0);
	}
	return NULL;
}

static void test_store_together_handles(void **state)
{
	static void *(*const fn[THREADS])(void *) = { use_handles, use_handles, use_handles, use_handles };
	size_t arena_bytes = 4u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 1u << 20, THREADS);
	struct table table = { 0 };
	struct vg_store_stats stats;

	run_threads(store, random_seed("handles"), fn, &table);
	for (int i = 0; i < HANDLES; i++)
		if (table.handle[i])
			assert_int_equal(vg_store_release(store, table.handle[i]), 0);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.handles, 0);
	assert_int_equal(stats.arena_used, stats.buckets * sizeof(struct vg_bucket));
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_together_young_table_loses_nothing),
		cmocka_unit_test(test_store_together_walk_while_growing),
		cmocka_unit_test(test_store_together_transfers_keep_the_sum),
		cmocka_unit_test(test_store_together_handles),
	};

	return cmocka_run_group_tests_name("store_together", tests, NULL, NULL);
}
