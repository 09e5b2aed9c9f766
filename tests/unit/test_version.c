/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Views: what a reader sees is the store of one moment, whatever writers do meanwhile. */
#include <pthread.h>

#include "pool/version.h"
#include "store_fixture.h"

#define ARENA_BYTES (64u << 20)
#define HEAP_BYTES (256u << 20)

struct seen { /* what a walk has met */
	__u64 keys, sum;
	__u8 *counts; /* by the number in the key */
	__u32 numbers;
	__u8 *values; /* first byte, by number */
};

static int note(void *context, const struct vg_cut_entry *entry)
{
	struct seen *seen = context;
	__u64 number = 0, value = 0;

	assert_true(entry->key_length >= sizeof(number));
	memcpy(&number, entry->key, sizeof(number));
	assert_true(number < seen->numbers);
	assert_true(entry->hash == vg_hash64(entry->key, entry->key_length));
	assert_int_equal(seen->counts[number], 0);
	seen->counts[number]++;
	memcpy(&value, entry->entry.value, entry->entry.length < 8 ? entry->entry.length : 8);
	if (seen->values)
		seen->values[number] = (__u8)value;
	seen->sum += value;
	seen->keys++;
	return 0;
}

static void seen_init(struct seen *seen, __u32 numbers)
{
	*seen = (struct seen){ .numbers = numbers, .counts = calloc(numbers, 1), .values = calloc(numbers, 1) };
	assert_non_null(seen->counts);
	assert_non_null(seen->values);
}

static void seen_free(struct seen *seen)
{
	free(seen->counts);
	free(seen->values);
}

static struct vg_key number_key(__u64 *number)
{
	return key_of(number, sizeof(*number));
}

static void set_number(struct vg_store *store, __u64 number, __u64 value, __u64 expire_ms)
{
	struct vg_key key = number_key(&number);

	assert_int_equal(vg_store_set(store, &key, NOW_MS, &value, sizeof(value), expire_ms), 0);
}

static ssize_t view_read(struct vg_store *store, __u64 view, __u64 number, __u64 *ret_value)
{
	static _Thread_local __u8 buffer[VG_CELL_MAX];
	struct vg_key key = number_key(&number);
	struct vg_block *block = NULL;
	ssize_t length = vg_cut_get(store, view, &key, buffer, sizeof(buffer), &block, NULL);

	if (length >= 0) {
		*ret_value = 0;
		memcpy(ret_value, block ? vg_block_data(block) : buffer, length < 8 ? (size_t)length : 8);
	}
	if (block)
		vg_block_put(block);
	return length;
}

/* ---- one thread ------------------------------------------------------------------------------------------------ */

static void test_view_keeps_what_changes(void **state)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	__u64 view, second, value, one = 1, two = 2;
	struct vg_cuts_stats stats;
	struct vg_key key = number_key(&one), other = number_key(&two);

	set_number(store, 1, 10, 0);
	set_number(store, 2, 20, NOW_MS + 50);
	assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &view), 0);
	set_number(store, 1, 11, 0); /* in place */
	assert_int_equal(vg_store_delete(store, &other, NOW_MS), 0);
	set_number(store, 3, 30, 0); /* new */
	assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &second), 0);
	set_number(store, 1, 12, 0);
	set_number(store, 2, 22, 0);
	assert_int_equal(view_read(store, view, 1, &value), 8);
	assert_int_equal(value, 10);
	assert_int_equal(view_read(store, view, 2, &value), 8);
	assert_int_equal(value, 20);
	assert_int_equal(view_read(store, view, 3, &value), -ENOENT);
	assert_int_equal(view_read(store, second, 1, &value), 8);
	assert_int_equal(value, 11);
	assert_int_equal(view_read(store, second, 2, &value), -ENOENT);
	assert_int_equal(view_read(store, second, 3, &value), 8);
	assert_int_equal(value, 30);
	value = 12;
	assert_value(store, &key, NOW_MS, &value, 8, 0);
	vg_cut_close(store, view);
	assert_int_equal(view_read(store, view, 1, &value), -ESTALE);
	assert_int_equal(view_read(store, second, 1, &value), 8);
	assert_int_equal(value, 11);
	vg_cut_close(store, second);
	for (int i = 0; i < 8; i++)
		vg_cuts_tend(store, NOW_MS);
	vg_cuts_stats(store, &stats);
	assert_int_equal(stats.images, 0);
	assert_int_equal(stats.bytes, 0);
	assert_int_equal(stats.open, 0);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

static void test_view_keeps_expired_and_large(void **state)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	size_t large_bytes = 300000;
	__u8 *large = malloc(large_bytes), buffer[VG_CELL_MAX];
	__u64 view, value, number = 7, expire_ms;
	struct vg_key key = number_key(&number);
	struct vg_block *block;

	assert_non_null(large);
	memset(large, 'a', large_bytes);
	assert_int_equal(vg_store_set(store, &key, NOW_MS, large, large_bytes, 0), 0);
	set_number(store, 1, 10, NOW_MS + 100);
	set_number(store, 2, 20, NOW_MS + 100);
	assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &view), 0);
	memset(large, 'b', large_bytes);
	assert_int_equal(vg_store_set(store, &key, NOW_MS, large, large_bytes, 0), 0);
	/* Time passes: one is swept away, the other is met by a writer. */
	for (int i = 0; i < 400; i++)
		vg_store_sweep(store, 1 << 12, NOW_MS + 200);
	set_number(store, 2, 21, 0);
	assert_int_equal(view_read(store, view, 1, &value), 8);
	assert_int_equal(value, 10);
	assert_int_equal(view_read(store, view, 2, &value), 8);
	assert_int_equal(value, 20);
	memset(large, 'a', large_bytes);
	assert_int_equal(vg_cut_get(store, view, &key, buffer, sizeof(buffer), &block, &expire_ms), large_bytes);
	assert_non_null(block);
	assert_memory_equal(vg_block_data(block), large, large_bytes);
	vg_block_put(block);
	free(large);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

static void test_view_ends_clearly(void **state)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	__u64 view[VG_CUTS_MAX], extra, value;
	struct vg_cuts_stats stats;

	for (__u64 i = 0; i < 1000; i++)
		set_number(store, i, i, 0);
	vg_cuts_limit(store, 20000);
	assert_int_equal(vg_cut_open(store, false, NOW_MS, NOW_MS + 1000, &view[0]), 0);
	for (__u64 i = 0; i < 1000; i++)
		set_number(store, i, i + 1, 0); /* writers never fail for a view's sake */
	assert_int_equal(view_read(store, view[0], 1, &value), -ENOSPC);
	assert_int_equal(vg_cut_check(store, view[0], 0), -ENOSPC);
	for (int i = 0; i < 8; i++)
		vg_cuts_tend(store, NOW_MS);
	vg_cuts_stats(store, &stats);
	assert_int_equal(stats.bytes, 0);
	assert_int_equal(stats.ended_space, 1);

	for (int i = 0; i < VG_CUTS_MAX; i++)
		assert_int_equal(vg_cut_open(store, false, NOW_MS, NOW_MS + 1000 + (__u64)i, &view[i]), 0);
	assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &extra), -EBUSY);
	vg_cuts_tend(store, NOW_MS + 1000);
	assert_int_equal(vg_cut_check(store, view[0], 0), -ETIMEDOUT);
	assert_int_equal(vg_cut_check(store, view[1], NOW_MS + 5000), 0); /* renewed */
	vg_cuts_tend(store, NOW_MS + 4000);
	assert_int_equal(vg_cut_check(store, view[1], 0), 0);
	assert_int_equal(vg_cut_check(store, view[2], 0), -ETIMEDOUT);
	assert_int_equal(vg_cut_check(store, 123456, 0), -ESTALE);
	assert_int_equal(vg_cut_check(store, 0, 0), -ESTALE);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* Against a copy: random changes between the steps of a walk, while the table splits under it. */
static void test_walk_is_the_cut(void **state)
{
	enum { NUMBERS = 60000 };
	__u64 seed = random_seed("walk_is_the_cut");
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	__u8 *model = calloc(NUMBERS, 1);
	struct vg_cuts_stats stats;

	assert_non_null(model);
	for (int round = 0; round < 6; round++) {
		__u64 view, position = 0, live = 0;
		struct seen seen;
		int result;

		/* Few keys first, more each round: the walk meets a table that grows. */
		for (__u64 i = 0; i < 4000; i++) {
			__u64 number = random_next(&seed) % NUMBERS, value = 1 + random_next(&seed) % 250;

			set_number(store, number, value, 0);
			model[number] = (__u8)value;
		}
		assert_int_equal(vg_cut_open(store, true, NOW_MS, 0, &view), 0);
		seen_init(&seen, NUMBERS);
		do {
			result = vg_cut_walk(store, view, &position, note, &seen);
			assert_true(result >= 0);
			for (int i = 0; i < 8; i++) {
				__u64 number = random_next(&seed) % NUMBERS;
				struct vg_key key = number_key(&number);

				if (random_next(&seed) % 3)
					set_number(store, number, 1 + random_next(&seed) % 250, 0);
				else
					vg_store_delete(store, &key, NOW_MS);
			}
		} while (!result);
		for (__u32 i = 0; i < NUMBERS; i++) {
			assert_int_equal(seen.counts[i], model[i] != 0);
			assert_int_equal(seen.values[i], model[i]);
			live += model[i] != 0;
		}
		assert_int_equal(seen.keys, live);
		vg_cuts_stats(store, &stats);
		assert_int_equal(stats.images, 0); /* what was passed needs none */
		vg_cut_close(store, view);
		seen_free(&seen);
		/* The model of the next round is what is there now. */
		for (__u64 i = 0; i < NUMBERS; i++) {
			struct vg_key key = number_key(&i);
			__u8 buffer[VG_CELL_MAX];
			struct vg_block *block;

			model[i] = vg_store_get(store, &key, NOW_MS, buffer, sizeof(buffer), &block, NULL) > 0 ?
					   buffer[0] : 0;
		}
	}
	free(model);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* A callback that has no room gets the same keys again; nothing is lost or doubled. */
static int note_or_fail(void *context, const struct vg_cut_entry *entry)
{
	static __u64 calls;

	return ++calls % 101 == 0 ? -ENOBUFS : note(context, entry);
}

static void test_walk_repeats_after_failure(void **state)
{
	enum { NUMBERS = 3000 };
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	__u64 view, position = 0, before;
	struct seen seen, saved;
	int result = 0;

	for (__u64 i = 0; i < NUMBERS; i++)
		set_number(store, i, 1, 0);
	assert_int_equal(vg_cut_open(store, true, NOW_MS, 0, &view), 0);
	assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &before), 0);
	seen_init(&seen, NUMBERS);
	saved = seen;
	saved.counts = malloc(NUMBERS);
	while (!result) {
		__u64 at = position;

		memcpy(saved.counts, seen.counts, NUMBERS);
		saved.keys = seen.keys;
		result = vg_cut_walk(store, view, &position, note_or_fail, &seen);
		if (result < 0) {
			assert_int_equal(result, -ENOBUFS);
			assert_int_equal(position, at);
			memcpy(seen.counts, saved.counts, NUMBERS);
			seen.keys = saved.keys;
			result = 0;
		}
	}
	assert_int_equal(seen.keys, NUMBERS);
	assert_int_equal(vg_cut_walk(store, before, &position, note, &seen), -EINVAL); /* not opened for it */
	free(saved.counts);
	seen_free(&seen);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* ---- handles --------------------------------------------------------------------------------------------------- */

static void check_slot(struct vg_store *store, __u64 view, __u64 handle, const __u8 *bytes, __u64 length)
{
	__u32 index = vg_handle_slot_index(handle), flags;
	__u64 got_handle, got_length;
	__u8 *got = malloc(length + 1);

	assert_non_null(got);
	assert_int_equal(vg_cut_slot(store, view, index, &got_handle, &got_length, &flags), 0);
	assert_int_equal(got_length, length);
	if (length) {
		assert_true(got_handle == handle);
		assert_int_equal(vg_cut_slot_read(store, view, index, 0, got, length), 0);
		assert_memory_equal(got, bytes, length);
		assert_int_equal(vg_cut_slot_read(store, view, index, 1, got, length), -ERANGE);
	}
	free(got);
}

static void test_view_keeps_handles(void **state)
{
	enum { COUNT = 40, LARGE = 200000 };
	__u64 seed = random_seed("view_keeps_handles");
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	__u64 handle[COUNT], length[COUNT], view[3], late;
	__u8 *bytes[3][COUNT], *now[COUNT];

	for (int i = 0; i < COUNT; i++) {
		length[i] = i % 2 ? LARGE - (__u64)i * 100 : 1 + (__u64)i * 50;
		now[i] = malloc(length[i]);
		assert_non_null(now[i]);
		random_fill(&seed, now[i], length[i] & ~7ULL);
		assert_int_equal(vg_store_alloc(store, length[i], &handle[i]), 0);
		memset(now[i] + (length[i] & ~7ULL), 0, length[i] & 7);
		assert_int_equal(vg_store_handle_write(store, handle[i], 0, now[i], length[i]), 0);
	}
	for (int v = 0; v < 3; v++) {
		assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &view[v]), 0);
		for (int i = 0; i < COUNT; i++) {
			bytes[v][i] = malloc(length[i]);
			assert_non_null(bytes[v][i]);
			memcpy(bytes[v][i], now[i], length[i]);
		}
		for (int i = v; i < COUNT - v; i++) {
			__u64 at = random_next(&seed) % length[i], part = random_next(&seed) % (length[i] - at) + 1;

			memset(now[i] + at, v + 1, part);
			assert_int_equal(vg_store_handle_write(store, handle[i], at, now[i] + at, part), 0);
		}
	}
	/* One of each size ends, and another lives in its slot. */
	assert_int_equal(vg_store_release(store, handle[2]), 0);
	assert_int_equal(vg_store_release(store, handle[3]), 0);
	assert_int_equal(vg_store_handle_set_flags(store, handle[4], 5), 0);
	memset(now[4], 9, length[4]);
	assert_int_equal(vg_store_handle_write(store, handle[4], 0, now[4], length[4]), 0);
	assert_int_equal(vg_store_alloc(store, LARGE, &late), 0);
	for (int v = 0; v < 3; v++) {
		for (int i = 0; i < COUNT; i++)
			check_slot(store, view[v], handle[i], bytes[v][i], length[i]);
		check_slot(store, view[v], late, NULL, 0);
		for (int i = 0; i < COUNT; i++)
			free(bytes[v][i]);
	}
	for (int i = 0; i < COUNT; i++)
		free(now[i]);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* ---- threads --------------------------------------------------------------------------------------------------- */

/*
 * Accounts whose sum never changes, moved between by transactions of two to eight keys; journals: a pair of keys where
 * the second is written only after the first, so that a cut with the second and without the first would be no cut.
 */
enum { ACCOUNTS = 2000, START = 1000, EXTRA = 40000, WRITERS = 3 };

struct bank {
	struct vg_store *store;
	__u32 worker;
	__u64 seed;
	__u32 *stop;
	__u64 moves;
};

static int move_money(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	__u64 *balance = context, moved = 0;

	for (int i = 0; i < count; i++) {
		assert_true(old[i].exists);
		memcpy(&balance[i], old[i].value, sizeof(balance[i]));
	}
	for (int i = 1; i < count; i++) {
		__u64 part = balance[i] / 8;

		balance[i] -= part;
		moved += part;
	}
	balance[0] += moved;
	for (int i = 0; i < count; i++) {
		changes[i].action = VG_CHANGE_STORE;
		changes[i].part[0] = (struct vg_part){ &balance[i], sizeof(balance[i]) };
		changes[i].parts = 1;
	}
	return 0;
}

static void transfer(struct bank *bank)
{
	__u64 number[8], balance[8];
	struct vg_key key[8];
	int count = 2 + (int)(random_next(&bank->seed) % 7);

	for (int i = 0; i < count; i++) {
		bool again = true;

		while (again) {
			number[i] = random_next(&bank->seed) % ACCOUNTS;
			again = false;
			for (int j = 0; j < i; j++)
				again |= number[j] == number[i];
		}
		key[i] = number_key(&number[i]);
	}
	assert_int_equal(vg_store_transact(bank->store, key, count, NOW_MS, move_money, balance), 0);
}

static void *bank_run(void *context)
{
	struct bank *bank = context;

	vg_store_worker(bank->store, bank->worker);
	while (!__atomic_load_n(bank->stop, __ATOMIC_RELAXED)) {
		__u64 number = ACCOUNTS + random_next(&bank->seed) % EXTRA, zero = 0;
		struct vg_key key = number_key(&number);

		transfer(bank);
		/* Keys worth nothing come and go, so that the table splits. */
		if (random_next(&bank->seed) & 3)
			assert_int_equal(vg_store_set(bank->store, &key, NOW_MS, &zero, sizeof(zero), 0), 0);
		else
			vg_store_delete(bank->store, &key, NOW_MS);
		bank->moves++;
	}
	return NULL;
}

static void test_cut_is_consistent_under_load(void **state)
{
	__u64 seed = random_seed("cut_is_consistent_under_load"), sum;
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, WRITERS + 1);
	struct bank bank[WRITERS];
	pthread_t thread[WRITERS];
	__u32 stop = 0;

	for (__u64 i = 0; i < ACCOUNTS; i++)
		set_number(store, i, START, 0);
	for (__u32 i = 0; i < WRITERS; i++) {
		bank[i] = (struct bank){ store, i + 1, random_next(&seed), &stop, 0 };
		assert_int_equal(pthread_create(&thread[i], NULL, bank_run, &bank[i]), 0);
	}
	for (int round = 0; round < 25; round++) {
		__u64 view, walked, position = 0, value;
		struct seen seen;
		int result;

		assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &view), 0);
		assert_int_equal(vg_cut_open(store, true, NOW_MS, 0, &walked), 0);
		seen_init(&seen, ACCOUNTS + EXTRA);
		while (!(result = vg_cut_walk(store, walked, &position, note, &seen)))
			;
		assert_int_equal(result, 1);
		assert_int_equal(seen.sum, (__u64)ACCOUNTS * START);
		sum = 0;
		for (__u64 i = 0; i < ACCOUNTS; i++) {
			assert_int_equal(seen.counts[i], 1);
			assert_int_equal(view_read(store, view, i, &value), 8);
			sum += value;
		}
		assert_int_equal(sum, (__u64)ACCOUNTS * START);
		vg_cut_close(store, view);
		vg_cut_close(store, walked);
		vg_cuts_tend(store, NOW_MS);
		seen_free(&seen);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(thread[i], NULL);
		assert_true(bank[i].moves > 0);
	}
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

/* A view that is opened in the middle of a large write sees all of it or nothing. */
static void *write_large(void *context)
{
	struct bank *bank = context;
	__u64 handle = bank->seed;
	size_t bytes = 2 << 20;
	__u8 *data = malloc(bytes);

	assert_non_null(data);
	vg_store_worker(bank->store, bank->worker);
	for (__u8 fill = 1; !__atomic_load_n(bank->stop, __ATOMIC_RELAXED); fill++) {
		memset(data, fill, bytes);
		assert_int_equal(vg_store_handle_write(bank->store, handle, 0, data, bytes), 0);
	}
	free(data);
	return NULL;
}

static void test_large_writes_are_whole(void **state)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 2);
	struct bank bank = { store, 1 };
	__u8 *data = malloc(2 << 20);
	pthread_t thread;
	__u32 stop = 0;

	assert_non_null(data);
	bank.stop = &stop;
	assert_int_equal(vg_store_alloc(store, 2 << 20, &bank.seed), 0);
	assert_int_equal(pthread_create(&thread, NULL, write_large, &bank), 0);
	for (int round = 0; round < 60; round++) {
		__u32 slot = vg_handle_slot_index(bank.seed);
		__u64 view;

		assert_int_equal(vg_cut_open(store, false, NOW_MS, 0, &view), 0);
		assert_int_equal(vg_cut_slot_read(store, view, slot, 0, data, 2 << 20), 0);
		for (size_t i = 1; i < 2 << 20; i++)
			if (data[i] != data[0])
				fail_msg("byte %zu is %u, the first one %u", i, data[i], data[0]);
		vg_cut_close(store, view);
		for (int i = 0; i < 5; i++)
			vg_cuts_tend(store, NOW_MS);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	free(data);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_view_keeps_what_changes),
		cmocka_unit_test(test_view_keeps_expired_and_large),
		cmocka_unit_test(test_view_ends_clearly),
		cmocka_unit_test(test_walk_is_the_cut),
		cmocka_unit_test(test_walk_repeats_after_failure),
		cmocka_unit_test(test_view_keeps_handles),
		cmocka_unit_test(test_cut_is_consistent_under_load),
		cmocka_unit_test(test_large_writes_are_whole),
	};

	return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
