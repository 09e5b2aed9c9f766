/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The limit of memory: who is refused, who goes, who stays, and what observers and figures say of it. */
#include "store_threads.h"

#include "pool/evict.h"

#define ARENA_BYTES (8u << 20)
#define LIMIT_BYTES (2u << 20)

struct watch {
	__u64 evicted, expired;
};

static void watch_fn(void *context, struct vg_observed *observed)
{
	struct watch *watch = context;

	if (observed->kind == VG_OBSERVED_EVICTED)
		__atomic_fetch_add(&watch->evicted, 1, __ATOMIC_RELAXED);
	if (observed->kind == VG_OBSERVED_EXPIRED)
		__atomic_fetch_add(&watch->expired, 1, __ATOMIC_RELAXED);
}

static struct watch watch;
static const __u8 zeros[VG_CELL_MAX * 4];
static void *arena;
static struct vg_store *store;

static int setup(void **state)
{
	watch = (struct watch){ 0 };
	arena = map_shared(ARENA_BYTES);
	store = store_make(arena, ARENA_BYTES, 8u << 20, THREADS);
	assert_int_equal(vg_store_observe(store, watch_fn, &watch), 0);
	return 0;
}

static int teardown(void **state)
{
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
	return 0;
}

static int set_number(__u64 number, size_t length, __u64 expire_ms)
{
	struct vg_key key = key_of(&number, sizeof(number));

	return vg_store_set(store, &key, NOW_MS, zeros, length, expire_ms);
}

static bool get_number(__u64 number)
{
	struct vg_key key = key_of(&number, sizeof(number));
	__u8 buffer[VG_CELL_MAX];
	struct vg_block *block;
	ssize_t length = vg_store_get(store, &key, NOW_MS, buffer, sizeof(buffer), &block, NULL);

	if (length >= 0 && block)
		vg_block_put(block);
	return length >= 0;
}

static struct vg_store_stats stats_now(void)
{
	struct vg_store_stats stats;

	vg_store_stats(store, &stats);
	return stats;
}

static void test_evict_none_refuses(void **state)
{
	__u64 number = 0, one = 1;
	struct vg_key key = key_of(&one, sizeof(one));

	vg_store_limit(store, VG_EVICTION_NONE, LIMIT_BYTES);
	while (set_number(number, 100, 0) == 0)
		number++;
	assert_in_range(stats_now().used, LIMIT_BYTES, LIMIT_BYTES + 4096);
	assert_int_equal(set_number(0, 100, 0), -ENOMEM); /* as Redis: not even in place */
	assert_int_equal(watch.evicted, 0);
	assert_true(get_number(0));
	assert_int_equal(vg_store_delete(store, &key, NOW_MS), 0);
	vg_store_limit(store, VG_EVICTION_NONE, LIMIT_BYTES + 4096);
	assert_int_equal(set_number(number, 100, 0), 0);
	vg_store_limit(store, VG_EVICTION_NONE, 0);
	for (__u64 end = number + 1000; number < end; number++)
		assert_int_equal(set_number(number, 100, 0), 0);
}

/* Writers are never refused, memory stays where it is, and everyone who went was told of and counted. */
static void test_evict_keeps_the_limit(void **state)
{
	static const enum vg_eviction policies[] = { VG_EVICTION_S3FIFO, VG_EVICTION_LRU, VG_EVICTION_TTL };
	__u64 written = 0;

	for (int policy = 0; policy < 3; policy++) {
		vg_store_limit(store, policies[policy], LIMIT_BYTES);
		for (int i = 0; i < 60000; i++, written++) {
			assert_int_equal(set_number(written, written % 7 * 50, NOW_MS + 1000000), 0);
			if (i % 1000 == 0)
				assert_true(stats_now().used <= LIMIT_BYTES + 4096);
		}
		assert_true(stats_now().used > LIMIT_BYTES * 9 / 10);
		assert_int_equal(stats_now().evicted, watch.evicted);
		assert_int_equal(stats_now().keys + watch.evicted, written);
	}
	/* A lower limit is reached step by step, with the writes that come. */
	vg_store_limit(store, VG_EVICTION_S3FIFO, LIMIT_BYTES / 2);
	for (int i = 0; i < 200; i++, written++)
		assert_int_equal(set_number(written, 10, 0) & ~-ENOMEM, 0);
	assert_true(stats_now().used <= LIMIT_BYTES / 2 + 4096);
	vg_store_clear(store);
	assert_int_equal(stats_now().used, stats_now().buckets * sizeof(struct vg_bucket));
}

/* Keys that are read stay while a hundred times as many pass by once. */
static void hot_keys_stay(enum vg_eviction policy)
{
	__u64 kept = 0;

	vg_store_limit(store, policy, LIMIT_BYTES);
	for (__u64 number = 0; number < 100000; number++) {
		__u64 hot = 1ULL << 40 | number % 500;

		if (!get_number(hot))
			assert_int_equal(set_number(hot, 100, 0), 0);
		assert_int_equal(set_number(number, 100, 0), 0);
		if (number % 5000 == 0)
			vg_store_sweep(store, ~0u, NOW_MS);
	}
	for (__u64 i = 0; i < 500; i++)
		kept += get_number(1ULL << 40 | i);
	assert_true(kept > 450);
}

static void test_evict_s3fifo_hot_keys_stay(void **state)
{
	hot_keys_stay(VG_EVICTION_S3FIFO);
}

static void test_evict_lru_hot_keys_stay(void **state)
{
	hot_keys_stay(VG_EVICTION_LRU);
}

/* A key that went from the small queue and comes again belongs into the main queue, if its ghost is still there. */
static void test_evict_ghosts(void **state)
{
	__u64 number = 0, known = 0;

	vg_store_limit(store, VG_EVICTION_S3FIFO, LIMIT_BYTES);
	for (; watch.evicted < 100; number++)
		assert_int_equal(set_number(number, 100, 0), 0);
	for (number = 0; number < 90; number++) {
		struct vg_key key = key_of(&number, sizeof(number));
		struct vg_place place;

		assert_false(get_number(number)); /* first in, first out */
		assert_int_equal(set_number(number, 100, 0), 0);
		vg_place_take(store, &key, &place);
		known += (vg_place_item(store, &place)->flags & VG_ITEM_MAIN) != 0;
		vg_place_give(&place);
	}
	assert_true(known > 45);
}

static void test_evict_ttl_nearest_first(void **state)
{
	__u64 number, lasting = 0, near = 0, far = 0;

	vg_store_limit(store, VG_EVICTION_TTL, LIMIT_BYTES);
	for (number = 0; number < 20000; number++)
		assert_int_equal(set_number(number, 100, number % 3 ? NOW_MS + 1000000 * (number % 3) : 0), 0);
	assert_true(watch.evicted > 0);
	for (number = 0; number < 20000; number++)
		*(number % 3 == 0 ? &lasting : number % 3 == 1 ? &near : &far) += get_number(number);
	assert_int_equal(lasting, (20000 + 2) / 3);
	assert_true(near < far * 2 / 3);
	/* When none is left that has a deadline, writers are refused. */
	for (; number < 1000000 && set_number(number, 100, 0) == 0; number++)
		;
	for (__u64 i = 0; i < number; i += i < 20000 ? 3 : 1)
		assert_true(get_number(i));
}

/* A limit above what there is: arena and heap tier are full, of any sizes, and still nobody is refused. */
static void test_evict_when_all_is_full(void **state)
{
	__u64 random = random_seed("all is full");

	vg_store_limit(store, VG_EVICTION_S3FIFO, 1ULL << 40);
	for (int i = 0; i < 150000; i++) {
		__u64 draw = random_next(&random);
		size_t length = i / 15000 % 2 ? draw % 400 : draw % 8 ? 16 + draw % 64 : draw % 6000;

		assert_int_equal(set_number(draw >> 32, length, 0), 0);
	}
	assert_true(watch.evicted > 1000);
	vg_store_clear(store);
	assert_int_equal(stats_now().used, stats_now().buckets * sizeof(struct vg_bucket));
}

/* One value as large as many small ones, which fill the heap tier in the order of nobody: they go side by side. */
static void test_evict_for_a_large_value(void **state)
{
	for (enum vg_eviction policy = VG_EVICTION_S3FIFO; policy <= VG_EVICTION_TTL; policy++) {
		vg_store_limit(store, policy, 1ULL << 40);
		for (__u64 number = 0; number < 60000; number++)
			assert_int_equal(set_number(number, 300, NOW_MS + 1000000 + number), 0);
		for (__u64 number = 0; number < 100; number++)
			assert_int_equal(set_number(1ULL << 40 | number, sizeof(zeros), NOW_MS + 2000000), 0);
		assert_true(stats_now().keys > 10000);
		vg_store_clear(store);
	}
}

/* Whatever is done for room in a full arena: by this policy a key without a deadline stays. */
static void test_evict_ttl_without_deadlines_stay(void **state)
{
	__u64 number, refused = 0, lasting = 0;

	vg_store_limit(store, VG_EVICTION_TTL, 1ULL << 40);
	for (number = 0; number < 100000 && refused < 10; number++)
		refused += set_number(number, 16 + number % 600, number % 8 ? 0 : NOW_MS + 1000000) != 0;
	assert_int_equal(refused, 10); /* those with a deadline have all gone */
	for (__u64 i = 0; i < number; i++)
		lasting += i % 8 && get_number(i);
	assert_in_range(number - number / 8 - lasting, 0, refused + 1);
}

static void *write_of_any_size(void *context)
{
	struct thread *thread = context;

	vg_store_worker(thread->store, thread->number);
	for (int i = 0; i < ROUNDS; i++) {
		__u64 draw = random_next(&thread->random);
		size_t length = i / 10000 % 2 ? draw % 400 : draw % 8 ? 16 + draw % 64 : draw % 6000;

		CHECK(set_number(draw >> 32, length, 0) == 0);
	}
	return NULL;
}

static void test_evict_when_all_is_full_under_load(void **state)
{
	static void *(*const fn[THREADS])(void *) = { write_of_any_size, write_of_any_size, write_of_any_size,
						      write_of_any_size };

	vg_store_limit(store, VG_EVICTION_S3FIFO, 1ULL << 40);
	run_threads(store, random_seed("all is full under load"), fn, NULL);
	assert_int_equal(stats_now().evicted, watch.evicted);
	vg_store_clear(store);
	assert_int_equal(stats_now().used, stats_now().buckets * sizeof(struct vg_bucket));
}

static void *write_and_read(void *context)
{
	struct thread *thread = context;

	vg_store_worker(thread->store, thread->number);
	for (int i = 0; i < ROUNDS; i++) {
		__u64 draw = random_next(&thread->random), number = draw >> 32 & 0x3fff;

		if (draw & 1)
			CHECK(set_number(number, draw >> 8 & 0x1ff, 0) == 0);
		else
			get_number(number & number >> 3);
	}
	return NULL;
}

static void test_evict_under_load(void **state)
{
	static void *(*const fn[THREADS])(void *) = { write_and_read, write_and_read, write_and_read, write_and_read };

	vg_store_limit(store, VG_EVICTION_S3FIFO, LIMIT_BYTES / 2);
	run_threads(store, random_seed("evict under load"), fn, NULL);
	assert_true(stats_now().used <= LIMIT_BYTES / 2 + THREADS * 4096);
	assert_int_equal(stats_now().evicted, watch.evicted);
	vg_store_clear(store);
	assert_int_equal(stats_now().keys, 0);
	assert_int_equal(stats_now().used, stats_now().buckets * sizeof(struct vg_bucket));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_evict_none_refuses),
		TEST(test_evict_keeps_the_limit),
		TEST(test_evict_s3fifo_hot_keys_stay),
		TEST(test_evict_lru_hot_keys_stay),
		TEST(test_evict_ghosts),
		TEST(test_evict_ttl_nearest_first),
		TEST(test_evict_when_all_is_full),
		TEST(test_evict_for_a_large_value),
		TEST(test_evict_ttl_without_deadlines_stay),
		TEST(test_evict_when_all_is_full_under_load),
		TEST(test_evict_under_load),
	};

	return cmocka_run_group_tests_name("store_evict", tests, NULL, NULL);
}
