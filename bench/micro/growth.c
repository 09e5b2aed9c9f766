// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-growth: one thread puts keys of 16 bytes with values of 32 into a store whose index begins small, timing calls,
 * and prints what the slowest took and the memory of a key, as one JSON object. A call during which the scheduler took
 * the processor away is counted apart: that pause is not the store's. Usage: bench-growth [KEYS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "pool/store.h"
#include "virgo/hash.h"

#define KEYS_DEFAULT 1000000u
#define ARENA_BYTES_A_KEY 76 /* with some to spare */
#define VALUE_BYTES 32
#define LOOK_NS 20000 /* slower than this: was it the scheduler? */

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000 + (__u64)now.tv_nsec;
}

static long switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw + usage.ru_nvcsw;
}

int main(int argc, char **argv)
{
	__u64 keys = argc > 1 ? strtoull(argv[1], NULL, 0) : KEYS_DEFAULT, slowest = 0, over = 0, preempted = 0;
	size_t arena_bytes = (size_t)(keys * ARENA_BYTES_A_KEY + (16u << 20)) & ~(size_t)4095;
	struct vg_store_config config = {
		.arena_bytes = arena_bytes, .heap_bytes = 1 << 20, .workers = 1, .instance = 1
	};
	struct vg_store_stats stats;
	struct vg_store *store;
	__u64 from, before;
	long seen;

	config.arena = mmap(NULL, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (config.arena == MAP_FAILED || vg_store_new(&store, &config, NULL)) {
		fprintf(stderr, "bench-growth: no store of %zu bytes\n", arena_bytes);
		return EXIT_FAILURE;
	}
	vg_store_worker(store, 0);
	seen = switches();
	from = before = now_ns();
	for (__u64 i = 0; i < keys; i++) {
		char text[32], value[VALUE_BYTES] = { 0 };
		struct vg_key key = { text, 16, 0 };
		__u64 took, after;

		snprintf(text, sizeof(text), "key:%012llu", (unsigned long long)i);
		key.hash = vg_hash64(text, 16);
		memcpy(value, &i, sizeof(i));
		if (vg_store_set(store, &key, 1, value, sizeof(value), 0)) {
			fprintf(stderr, "bench-growth: no room for key %llu\n", (unsigned long long)i);
			return EXIT_FAILURE;
		}
		after = now_ns();
		took = after - before;
		before = after;
		if (took < LOOK_NS)
			continue;
		if (switches() != seen) {
			seen = switches();
			preempted++;
		} else if (took > slowest) {
			slowest = took;
		}
		over += took > 1000000;
		before = now_ns();
	}
	vg_store_stats(store, &stats);
	printf("{\"keys\": %llu, \"ns a key\": %.1f, \"slowest us\": %.1f, \"over 1 ms\": %llu, \"preempted\": %llu, "
	       "\"bytes a key\": %.2f, \"chain lines a key\": %.4f}\n",
	       keys, (double)(now_ns() - from) / (double)keys, (double)slowest / 1000, over, preempted,
	       (double)stats.used / (double)keys, (double)stats.chain_lines / (double)keys);
	vg_store_free(store);
	return EXIT_SUCCESS;
}
