/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A full arena: sizes that change, slabs emptied by moving items while others read and write, values that go to the heap
 * tier and come back.
 */
#include "store_threads.h"

#include "pool/index.h"

#define ARENA_BYTES (4u << 20)

static size_t value_of(__u64 number, size_t length, __u8 *to)
{
	__u64 state = number * 0x9e3779b97f4a7c15ULL + length;

	random_fill(&state, to, length);
	return length;
}

static int set_sized(struct vg_store *store, __u64 number, size_t length)
{
	struct vg_key key = key_of(&number, sizeof(number));
	__u8 value[VG_CELL_MAX + 8];

	return vg_store_set(store, &key, NOW_MS, value, value_of(number, length, value), 0);
}

static void assert_sized(struct vg_store *store, __u64 number, size_t length)
{
	struct vg_key key = key_of(&number, sizeof(number));
	__u8 value[VG_CELL_MAX + 8];

	assert_value(store, &key, NOW_MS, value, value_of(number, length, value), 0);
}

static void delete_number(struct vg_store *store, __u64 number)
{
	struct vg_key key = key_of(&number, sizeof(number));

	assert_int_equal(vg_store_delete(store, &key, NOW_MS), 0);
}

static bool in_heap(struct vg_store *store, __u64 number)
{
	struct vg_key key = key_of(&number, sizeof(number));
	struct vg_key_facts facts;

	assert_int_equal(vg_store_facts(store, &key, NOW_MS, false, &facts), 0);
	return facts.in_heap;
}

/* Keys of one size until one goes to the heap tier or there is no room at all; how many went into the arena. */
static __u64 fill(struct vg_store *store, size_t length)
{
	__u64 number = 0;

	while (set_sized(store, number, length) == 0 && !in_heap(store, number))
		number++;
	return number;
}

/* What used to be one size serves another at once, however the sizes follow each other, and nothing leaks. */
static void test_room_sizes_change(void **state)
{
	static const size_t lengths[] = { 20, 4000, 100, 1000, 0, 300, 64, 2000, 32 };
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, 1u << 20, 1);
	struct vg_store_stats stats;

	for (int i = 0; i < 27; i++) {
		size_t length = lengths[i * 4 % 9];
		__u32 class = vg_slab_size_class((__u32)vg_item_bytes(0, 8, length));
		__u64 count = fill(store, length), bytes = count * vg_slab_size(class);

		vg_store_stats(store, &stats);
		assert_true(bytes + stats.buckets * sizeof(struct vg_bucket) > (__u64)ARENA_BYTES * 85 / 100);
		for (__u64 number = 0; number < count; number += 97)
			assert_sized(store, number, length);
		if (i % 3 == 2)
			vg_store_clear(store);
		else
			for (__u64 number = 0; number < count; number++)
				delete_number(store, number);
		vg_store_clear(store);
		vg_store_stats(store, &stats);
		assert_int_equal(stats.keys, 0);
		assert_int_equal(stats.heap_used, 0);
		assert_int_equal(stats.arena_used, stats.buckets * sizeof(struct vg_bucket));
	}
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* Three of four items go, all over the slabs: what they leave must be gathered for another size. */
static void test_room_is_gathered(void **state)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, 1u << 20, 1);
	__u64 count = fill(store, 40), fit;

	vg_store_clear(store);
	assert_true(fill(store, 40) >= count * 9 / 10);
	for (__u64 number = 0; number < count; number++)
		if (number % 4)
			delete_number(store, number);
	for (fit = 0; set_sized(store, 1u << 20 | fit, 900) == 0 && !in_heap(store, 1u << 20 | fit); fit++)
		;
	assert_true(fit * 900 > (__u64)ARENA_BYTES / 2);
	for (__u64 number = 0; number < count; number += 4)
		assert_sized(store, number, 40);
	for (__u64 i = 0; i < fit; i++)
		assert_sized(store, 1u << 20 | i, 900);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* Cold values make room for new ones; read again and again, with room in the arena, they come back. */
static void test_room_tiers(void **state)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, 32u << 20, 1);
	__u64 count = 12000, cold = 0, back = 0;

	for (__u64 number = 0; number < count; number++)
		assert_int_equal(set_sized(store, number, 1000), 0);
	for (__u64 number = 0; number < count; number++)
		cold += in_heap(store, number);
	assert_true(cold > count / 2);
	for (__u64 number = 0; number < count; number++)
		assert_sized(store, number, 1000);
	for (__u64 number = 0; number < count; number++)
		if (number % 8)
			delete_number(store, number);
	for (int i = 0; i < 5; i++)
		for (__u64 number = 0; number < count; number += 8)
			assert_sized(store, number, 1000);
	for (__u64 number = 0; number < count; number += 8)
		back += !in_heap(store, number);
	assert_int_equal(back, count / 8);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* ---- while others read and write ---- */

#define SHIFTING_KEYS 3000

/* The length follows from the first word, which also says the key. */
static size_t shifting_value(__u64 number, __u64 draw, __u8 *to)
{
	size_t length = 16 + draw % 8 * 100 + (draw >> 8) % 64;
	__u64 state = draw ^ number;

	random_fill(&state, to, length);
	memcpy(to, &draw, sizeof(draw));
	memcpy(to + 8, &number, sizeof(number));
	return length;
}

static void *shift(void *context)
{
	struct thread *thread = context;
	__u8 value[VG_CELL_MAX], expected[VG_CELL_MAX];
	struct vg_block *block;

	vg_store_worker(thread->store, thread->number);
	for (int i = 0; i < ROUNDS; i++) {
		__u64 draw = random_next(&thread->random), number = (draw >> 32) % SHIFTING_KEYS;
		struct vg_key key = key_of(&number, sizeof(number));
		ssize_t length;

		/* The sizes of a moment are few, and others after a while. */
		draw = (draw & ~7ULL) | (__u64)(i * 8LL / ROUNDS);
		if (draw >> 20 & 1) {
			length = (ssize_t)shifting_value(number, draw, value);
			CHECK(vg_store_set(thread->store, &key, NOW_MS, value, (size_t)length, 0) == 0);
		}
		length = vg_store_get(thread->store, &key, NOW_MS, value, sizeof(value), &block, NULL);
		if (length < 0)
			continue;
		if (block)
			memcpy(value, vg_block_data(block), (size_t)length);
		CHECK(vg_load64(value + 8) == number);
		CHECK(shifting_value(number, vg_load64(value), expected) == (size_t)length);
		CHECK(!memcmp(value, expected, (size_t)length));
		if (block)
			vg_block_put(block);
	}
	return NULL;
}

static void test_room_under_load(void **state)
{
	static void *(*const fn[THREADS])(void *) = { shift, shift, shift, shift };
	void *arena = map_shared(ARENA_BYTES / 2);
	struct vg_store *store = store_make(arena, ARENA_BYTES / 2, 32u << 20, THREADS);
	struct vg_store_stats stats;

	run_threads(store, random_seed("room under load"), fn, NULL);
	vg_store_clear(store);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.keys, 0);
	assert_int_equal(stats.heap_used, 0);
	assert_int_equal(stats.arena_used, stats.buckets * sizeof(struct vg_bucket));
	vg_store_free(store);
	munmap(arena, ARENA_BYTES / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_room_sizes_change),
		cmocka_unit_test(test_room_is_gathered),
		cmocka_unit_test(test_room_tiers),
		cmocka_unit_test(test_room_under_load),
	};

	return cmocka_run_group_tests_name("store_room", tests, NULL, NULL);
}
