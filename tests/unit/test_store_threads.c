/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Many threads on one store: every value tells whether it is whole, every thread knows what its own keys hold, sums
 * stay what they are. Built with TSAN=1 it also says whether anything is raced for but the readers' copies.
 */
#include "store_threads.h"

/* ---- values that tell ---- */

#define VALUE_BYTES_MAX 9000

/* A value of a key: its first word is a draw that all others and the length follow from. */
static size_t value_make(__u64 key, __u64 draw, __u8 *to)
{
	size_t length = draw % 16 == 0 ? draw / 16 % VALUE_BYTES_MAX : draw / 16 % 200;
	__u64 state = draw ^ key * 0x9e3779b97f4a7c15ULL;

	length = length < 8 ? 8 : length;
	random_fill(&state, to, length);
	memcpy(to, &draw, 8);
	return length;
}

static bool value_whole(__u64 key, const __u8 *value, size_t length)
{
	static _Thread_local __u8 expected[VALUE_BYTES_MAX + 8];

	return length >= 8 && value_make(key, vg_load64(value), expected) == length &&
	       !memcmp(expected, value, length);
}

/* The draw of the key's value, 0: no such key. */
static __u64 read_whole(struct vg_store *store, const struct vg_key *key, __u64 number)
{
	static _Thread_local __u8 buffer[VG_CELL_MAX];
	struct vg_block *block;
	ssize_t length = vg_store_get(store, key, NOW_MS, buffer, sizeof(buffer), &block, NULL);
	const __u8 *value = block && length >= 0 ? vg_block_data(block) : buffer;
	__u64 draw;

	if (length < 0) {
		CHECK(length == -ENOENT);
		return 0;
	}
	CHECK(value_whole(number, value, (size_t)length));
	draw = vg_load64(value);
	if (block)
		vg_block_put(block);
	return draw;
}

static int whole_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	CHECK(!old->exists || value_whole(*(__u64 *)context, old->value, old->length));
	return 0;
}

/* ---- everything at once: shared keys are whole, own keys are never lost, while the table grows and shrinks ---- */

#define SHARED_KEYS 200
#define OWN_KEYS 6000

static void *stress(void *context)
{
	static _Thread_local __u64 own[OWN_KEYS];
	static _Thread_local __u8 value[VALUE_BYTES_MAX + 8];
	struct thread *thread = context;
	struct vg_store *store = thread->store;

	vg_store_worker(store, thread->number);
	for (int i = 0; i < ROUNDS; i++) {
		__u64 draw = random_next(&thread->random) | 1, number = random_next(&thread->random);
		__u64 id[2] = { number % SHARED_KEYS, 0 };
		struct vg_key key;
		int error;

		if (number >> 32 & 3) { /* an own key: what it holds is known */
			id[0] = number % OWN_KEYS;
			id[1] = thread->number + 1;
		}
		key = key_of(id, sizeof(id));
		if (id[1])
			CHECK(read_whole(store, &key, id[0]) == own[id[0]]);
		switch (number >> 40 & 7) {
		case 0:
			error = vg_store_delete(store, &key, NOW_MS);
			CHECK(error == 0 || error == -ENOENT);
			CHECK(!id[1] || (error == 0) == (own[id[0]] != 0));
			if (id[1])
				own[id[0]] = 0;
			break;
		case 1 ... 3:
			error = vg_store_set(store, &key, NOW_MS, value, value_make(id[0], draw, value), 0);
			CHECK(error == 0);
			if (id[1])
				own[id[0]] = draw;
			break;
		case 4:
			CHECK(vg_store_update(store, &key, NOW_MS, whole_fn, &id[0]) == 0);
			break;
		default:
			draw = read_whole(store, &key, id[0]);
			CHECK(!id[1] || draw == own[id[0]]);
		}
	}
	for (__u64 i = 0; i < OWN_KEYS; i++) {
		__u64 id[2] = { i, thread->number + 1 };
		struct vg_key key = key_of(id, sizeof(id));

		CHECK(read_whole(store, &key, i) == own[i]);
	}
	return NULL;
}

static void test_store_threads_no_torn_read_no_lost_key(void **state)
{
	static void *(*const fn[THREADS])(void *) = { stress, stress, stress, stress };
	size_t arena_bytes = 32u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 256u << 20, THREADS);
	struct vg_store_stats stats;

	run_threads(store, random_seed("no torn read"), fn, NULL);
	vg_store_stats(store, &stats);
	assert_true(stats.buckets > VG_INDEX_BUCKETS_MIN);
	vg_store_clear(store);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.keys, 0);
	assert_int_equal(stats.heap_used, 0);
	assert_int_equal(stats.chain_lines, 0);
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

/* ---- few keys, written and read all the time ---- */

#define HOT_KEYS 3

static void *write_hot(void *context)
{
	static _Thread_local __u8 value[VALUE_BYTES_MAX + 8];
	struct thread *thread = context;

	vg_store_worker(thread->store, thread->number);
	for (int i = 0; i < ROUNDS * 2; i++) {
		__u64 draw = random_next(&thread->random), number = draw % HOT_KEYS;
		struct vg_key key = key_of(&number, sizeof(number));

		CHECK(vg_store_set(thread->store, &key, NOW_MS, value, value_make(number, draw, value), 0) == 0);
		if (i % 64 == 0)
			vg_store_delete(thread->store, &key, NOW_MS);
	}
	__atomic_fetch_sub((__u32 *)thread->shared, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *read_hot(void *context)
{
	struct thread *thread = context;

	vg_store_worker(thread->store, thread->number);
	while (__atomic_load_n((__u32 *)thread->shared, __ATOMIC_RELAXED))
		for (__u64 number = 0; number < HOT_KEYS; number++) {
			struct vg_key key = key_of(&number, sizeof(number));

			read_whole(thread->store, &key, number);
		}
	return NULL;
}

static void test_store_threads_hot_keys_are_whole(void **state)
{
	static void *(*const fn[THREADS])(void *) = { write_hot, read_hot, write_hot, read_hot };
	size_t arena_bytes = 4u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 16u << 20, THREADS);
	__u32 writing = 2;

	run_threads(store, random_seed("hot keys"), fn, &writing);
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

/*
 * XDP notes the use of an item in its slot's word after its reading, when the slot may long be something else: bits of
 * use change, or nothing.
 */
static void *read_as_xdp(void *context)
{
	struct thread *thread = context;

	vg_store_worker(thread->store, thread->number);
	while (__atomic_load_n((__u32 *)thread->shared, __ATOMIC_RELAXED))
		for (__u64 number = 0; number < HOT_KEYS; number++) {
			struct vg_key key = key_of(&number, sizeof(number));
			struct vg_reading reading;

			vg_reading_find(thread->store, &reading, &key);
			if (reading.cell && vg_reading_valid(thread->store, &reading, key.hash)) {
				sched_yield();
				__atomic_compare_exchange_n(reading.slot, &reading.word, reading.word ^ 7, false,
							    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
			}
		}
	return NULL;
}

static void *write_hot_and_handles(void *context)
{
	struct thread *thread = context;
	__u64 handles[16] = { 0 }, random = thread->random, number, length;
	__u8 bytes[200], expected[200];
	__u32 flags;

	vg_store_worker(thread->store, thread->number);
	memset(expected, 0x5a, sizeof(expected));
	for (int i = 0; i < ROUNDS; i++) {
		__u64 draw = random_next(&random), *handle = &handles[draw % 16];
		struct vg_key key = key_of(&number, sizeof(number));

		number = draw / 16 % HOT_KEYS;
		key.hash = vg_hash64(&number, sizeof(number));
		CHECK(vg_store_set(thread->store, &key, NOW_MS, expected, draw / 64 % 200, 0) == 0);
		vg_store_delete(thread->store, &key, NOW_MS);
		if (*handle) {
			CHECK(vg_store_handle_facts(thread->store, *handle, &length, &flags) == 0);
			CHECK(vg_store_handle_read(thread->store, *handle, 0, bytes, length) == 0);
			CHECK(!memcmp(bytes, expected, length));
			CHECK(vg_store_release(thread->store, *handle) == 0);
		}
		CHECK(vg_store_alloc(thread->store, 1 + draw / 64 % 200, handle) == 0);
		CHECK(vg_store_handle_write(thread->store, *handle, 0, expected, 1 + draw / 64 % 200) == 0);
	}
	__atomic_fetch_sub((__u32 *)thread->shared, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void test_store_threads_late_use_hurts_nothing(void **state)
{
	static void *(*const fn[THREADS])(void *) = { write_hot_and_handles, read_as_xdp, write_hot_and_handles,
						      read_as_xdp };
	size_t arena_bytes = 16u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 1u << 20, THREADS);
	__u32 writing = 2;

	run_threads(store, random_seed("late use"), fn, &writing);
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

/* ---- slabs change from one size to another under the readers' eyes ---- */

#define PHASES 60

struct phases {
	__u32 writing;
	__u64 now_ms; /* of the slabs' clock */
};

static void *fill_and_clear(void *context)
{
	static _Thread_local __u8 value[VALUE_BYTES_MAX + 8];
	struct thread *thread = context;
	struct phases *phases = thread->shared;

	vg_store_worker(thread->store, thread->number);
	for (__u64 phase = 0; phase < PHASES; phase++) {
		__u64 draw = 16 * (8 + phase % 4 * 60) + 1, number, stored = 0;

		for (number = 0; number < 20000; number++) {
			struct vg_key key = key_of(&number, sizeof(number));
			int error = vg_store_set(thread->store, &key, NOW_MS, value, value_make(number, draw, value), 0);

			CHECK(error == 0 || error == -ENOMEM || error == -ELOOP);
			stored += !error;
		}
		CHECK(stored > 1000);
		vg_store_clear(thread->store);
		vg_store_sweep(thread->store, 0,
			       __atomic_add_fetch(&phases->now_ms, 2 * VG_SLAB_REST_MS, __ATOMIC_RELAXED));
	}
	__atomic_fetch_sub(&phases->writing, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *read_phases(void *context)
{
	struct thread *thread = context;
	struct phases *phases = thread->shared;

	vg_store_worker(thread->store, thread->number);
	while (__atomic_load_n(&phases->writing, __ATOMIC_RELAXED))
		for (__u64 number = 0; number < 20000; number += 1 + random_next(&thread->random) % 8) {
			struct vg_key key = key_of(&number, sizeof(number));

			read_whole(thread->store, &key, number);
		}
	return NULL;
}

static void test_store_threads_slabs_change_class(void **state)
{
	static void *(*const fn[THREADS])(void *) = { fill_and_clear, read_phases, read_phases, read_phases };
	size_t arena_bytes = 2u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 1u << 20, THREADS);
	struct phases phases = { 1, NOW_MS };
	struct vg_store_stats stats;

	run_threads(store, random_seed("slabs change class"), fn, &phases);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.arena_used, stats.buckets * sizeof(struct vg_bucket));
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

/* ---- keys of the heap tier are found while others hold their bucket and change nothing ---- */

#define LONG_KEY_BYTES 2000

static void *walk_a_while(void *context)
{
	struct thread *thread = context;
	__u8 key[VG_KEY_MAX];

	vg_store_worker(thread->store, thread->number);
	for (int i = 0; i < ROUNDS * 5; i++)
		CHECK(vg_store_random(thread->store, 0, NOW_MS, key) == LONG_KEY_BYTES);
	__atomic_fetch_sub((__u32 *)thread->shared, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void *read_long(void *context)
{
	struct thread *thread = context;
	__u8 bytes[LONG_KEY_BYTES] = { 1 }, buffer[VG_CELL_MAX];
	struct vg_key key = key_of(bytes, sizeof(bytes));
	struct vg_block *block;

	vg_store_worker(thread->store, thread->number);
	while (__atomic_load_n((__u32 *)thread->shared, __ATOMIC_RELAXED)) {
		ssize_t length = vg_store_get(thread->store, &key, NOW_MS, buffer, sizeof(buffer), &block, NULL);

		CHECK(length == VG_CELL_MAX);
		if (length >= 0)
			vg_block_put(block);
	}
	return NULL;
}

static void test_store_threads_long_keys_are_found(void **state)
{
	static void *(*const fn[THREADS])(void *) = { walk_a_while, read_long, read_long, walk_a_while };
	static __u8 value[VG_CELL_MAX], bytes[LONG_KEY_BYTES] = { 1 };
	struct vg_key key = key_of(bytes, sizeof(bytes));
	size_t arena_bytes = 1u << 20;
	void *arena = map_shared(arena_bytes);
	struct vg_store *store = store_make(arena, arena_bytes, 1u << 20, THREADS);
	__u32 walking = 2;

	assert_int_equal(vg_store_set(store, &key, NOW_MS, value, sizeof(value), 0), 0);
	run_threads(store, 0, fn, &walking);
	vg_store_free(store);
	munmap(arena, arena_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_threads_no_torn_read_no_lost_key),
		cmocka_unit_test(test_store_threads_hot_keys_are_whole),
		cmocka_unit_test(test_store_threads_late_use_hurts_nothing),
		cmocka_unit_test(test_store_threads_slabs_change_class),
		cmocka_unit_test(test_store_threads_long_keys_are_found),
	};

	return cmocka_run_group_tests_name("store_threads", tests, NULL, NULL);
}
