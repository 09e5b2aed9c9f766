/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of the store share: an arena of anonymous memory, keys, and repeatable randomness. */
#ifndef VG_TESTS_STORE_FIXTURE_H
#define VG_TESTS_STORE_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "pool/store.h"
#include "virgo/hash.h"

#define NOW_MS 1700000000000ULL

static inline void *map_shared(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static inline struct vg_store_config store_config(void *arena, size_t arena_bytes, size_t heap_bytes, __u32 workers)
{
	return (struct vg_store_config){
		.arena = arena,
		.arena_bytes = arena_bytes,
		.heap_bytes = heap_bytes,
		.node = 7,
		.workers = workers,
		.instance = 0x1234567890abcdefULL,
		.now_ms = NOW_MS,
	};
}

static inline struct vg_store *store_make(void *arena, size_t arena_bytes, size_t heap_bytes, __u32 workers)
{
	struct vg_store_config config = store_config(arena, arena_bytes, heap_bytes, workers);
	struct vg_store *store;

	assert_int_equal(vg_store_new(&store, &config, NULL), 0);
	vg_store_worker(store, 0);
	return store;
}

static inline struct vg_key key_of(const void *data, size_t length)
{
	return (struct vg_key){ data, (__u32)length, vg_hash64(data, length) };
}

/* SplitMix64 (G. Steele, D. Lea, C. Flood, 2014). */
static inline __u64 random_next(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* VG_SEED repeats a run; otherwise every run is another, and says which. */
static inline __u64 random_seed(const char *test)
{
	const char *given = getenv("VG_SEED");
	struct timespec now;
	__u64 seed;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seed = given ? strtoull(given, NULL, 0) : (__u64)now.tv_nsec * 1000003 + (__u64)now.tv_sec;
	printf("# %s: VG_SEED=%llu\n", test, (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

static inline void random_fill(__u64 *state, __u8 *to, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 8) {
		__u64 word = random_next(state);

		memcpy(to + i, &word, bytes - i < 8 ? bytes - i : 8);
	}
}

/* Assert what the key holds. */
static inline void assert_value(struct vg_store *store, const struct vg_key *key, __u64 now_ms, const void *value,
				size_t length, __u64 expire_ms)
{
	static _Thread_local __u8 buffer[VG_CELL_MAX];
	struct vg_block *block;
	__u64 got_expire_ms = 1;
	ssize_t got = vg_store_get(store, key, now_ms, buffer, sizeof(buffer), &block, &got_expire_ms);

	assert_int_equal(got, length);
	assert_memory_equal(block ? vg_block_data(block) : buffer, value, length);
	assert_int_equal(got_expire_ms, expire_ms);
	if (block)
		vg_block_put(block);
}

static inline void assert_absent(struct vg_store *store, const struct vg_key *key, __u64 now_ms)
{
	static _Thread_local __u8 buffer[VG_CELL_MAX];
	struct vg_block *block;

	assert_int_equal(vg_store_get(store, key, now_ms, buffer, sizeof(buffer), &block, NULL), -ENOENT);
}

#endif
