/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The heap tier's allocator: whole and disjoint blocks, joined neighbours, exhaustion, threads. */
#include "store_fixture.h"

#include <pthread.h>

#include "pool/heap.h"

#define HEAP_BYTES (64u << 20)

static struct vg_heap heap;

static int setup(void **state)
{
	return vg_heap_init(&heap, HEAP_BYTES);
}

/* All memory is back in one piece: every test ends here. */
static int teardown(void **state)
{
	size_t free_bytes = vg_heap_check(&heap);
	void *all = vg_heap_alloc(&heap, HEAP_BYTES - HEAP_BYTES / VG_HEAP_STEPS);
	int lost = free_bytes != HEAP_BYTES - VG_HEAP_ALIGN || !all;

	vg_heap_free(&heap, all);
	lost |= heap.used_bytes != 0;
	vg_heap_deinit(&heap);
	return lost ? -1 : 0;
}

static void test_heap_sizes_and_alignment(void **state)
{
	for (size_t bytes = 0; bytes < 70000; bytes += bytes < 2000 ? 1 : 997) {
		__u8 *memory = vg_heap_alloc(&heap, bytes);

		assert_non_null(memory);
		assert_int_equal((uintptr_t)memory % VG_HEAP_ALIGN, 0);
		assert_true(vg_heap_usable(memory) >= bytes);
		memset(memory, 0xa5, vg_heap_usable(memory));
		vg_heap_free(&heap, memory);
	}
	vg_heap_free(&heap, NULL);
}

static void test_heap_refuses_what_does_not_fit(void **state)
{
	void *memory;

	assert_null(vg_heap_alloc(&heap, HEAP_BYTES));
	assert_null(vg_heap_alloc(&heap, HEAP_BYTES * 2ULL));
	assert_null(vg_heap_alloc(&heap, SIZE_MAX));
	assert_null(vg_heap_alloc(&heap, SIZE_MAX - 15));
	memory = vg_heap_alloc(&heap, HEAP_BYTES / 2);
	assert_non_null(memory);
	assert_null(vg_heap_alloc(&heap, HEAP_BYTES / 2));
	vg_heap_free(&heap, memory);
}

static void test_heap_exhaustion_and_recovery(void **state)
{
	void *first = NULL;
	size_t count = 0, again = 0;

	for (int round = 0; round < 2; round++) {
		void **memory;

		while ((memory = vg_heap_alloc(&heap, 1000))) {
			*memory = first;
			first = memory;
			*(round ? &again : &count) += 1;
		}
		vg_heap_check(&heap);
		while (first) {
			void *next = *(void **)first;

			vg_heap_free(&heap, first);
			first = next;
		}
	}
	assert_true(count > HEAP_BYTES / 1100);
	assert_int_equal(count, again);
}

/* Two numbers written over a block tell whether anyone else wrote there. */
static void stamp(__u8 *memory, size_t bytes, __u64 mark)
{
	for (size_t i = 0; i + 8 <= bytes; i += 8)
		memcpy(memory + i, &(__u64){ mark + i }, 8);
}

static int stamped(const __u8 *memory, size_t bytes, __u64 mark)
{
	for (size_t i = 0; i + 8 <= bytes; i += 8)
		if (vg_load64(memory + i) != mark + i)
			return 0;
	return 1;
}

#define BLOCKS 256

/* Random blocks of all magnitudes; true if none was ever disturbed. */
static int churn(__u64 seed, int rounds)
{
	struct {
		__u8 *memory;
		size_t bytes;
		__u64 mark;
	} blocks[BLOCKS] = { 0 };
	int good = 1;

	for (int i = 0; i < rounds; i++) {
		__u64 random = random_next(&seed), mark = random_next(&seed);
		__typeof__(blocks[0]) *block = &blocks[random % BLOCKS];

		if (block->memory) {
			good &= stamped(block->memory, block->bytes, block->mark);
			vg_heap_free(&heap, block->memory);
			block->memory = NULL;
			continue;
		}
		block->bytes = random >> 8 & ((1ULL << (4 + (random >> 32) % 17)) - 1);
		block->mark = mark;
		block->memory = vg_heap_alloc(&heap, block->bytes);
		if (block->memory)
			stamp(block->memory, block->bytes, mark);
	}
	for (int i = 0; i < BLOCKS; i++) {
		good &= !blocks[i].memory || stamped(blocks[i].memory, blocks[i].bytes, blocks[i].mark);
		vg_heap_free(&heap, blocks[i].memory);
	}
	return good;
}

static void test_heap_random_blocks_stay_whole(void **state)
{
	assert_true(churn(random_seed("heap"), 60000));
}

static void *churn_thread(void *seed)
{
	return (void *)(uintptr_t)churn((__u64)(uintptr_t)seed, 30000);
}

static void test_heap_threads(void **state)
{
	__u64 seed = random_seed("heap threads");
	pthread_t threads[4];
	void *good;

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn_thread, (void *)(uintptr_t)(seed + (__u64)i)), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &good), 0);
		assert_non_null(good);
	}
}

/* A large block's pages go back to the system: fresh ones read as zero. */
static void test_heap_gives_large_blocks_back(void **state)
{
	__u8 *memory = vg_heap_alloc(&heap, VG_HEAP_TRIM_BYTES * 2), *again;
	size_t middle = VG_HEAP_TRIM_BYTES;

	memset(memory, 0xff, VG_HEAP_TRIM_BYTES * 2);
	vg_heap_free(&heap, memory);
	again = vg_heap_alloc(&heap, VG_HEAP_TRIM_BYTES * 2);
	assert_ptr_equal(again, memory);
	assert_int_equal(again[middle], 0);
	vg_heap_free(&heap, again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_heap_sizes_and_alignment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heap_refuses_what_does_not_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heap_exhaustion_and_recovery, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heap_random_blocks_stay_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heap_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heap_gives_large_blocks_back, setup, teardown),
	};

	return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
