// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-store: what a call of the store costs, one thread, over anonymous memory, 1 M keys of 16 bytes with values of
 * 64. Prints nanoseconds a call as one JSON object.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../load/cpu.h"
#include "../load/keys.h"
#include "pool/store.h"

#define KEYS (1u << 20)
#define HOT_KEYS (1u << 10)
#define VALUE_BYTES 64
#define ARENA_BYTES (1ull << 30)
#define CALLS (1u << 20)
#define BATCH 16
#define NOW_MS 1

static struct vg_store *store;
static char buffer[VG_CELL_MAX];

struct request {
	char text[VG_BENCH_KEY_BYTES];
	struct vg_key key;
};

static void make_request(__u32 number, struct request *request)
{
	vg_bench_key(number, request->text);
	request->key = (struct vg_key){ .data = request->text, .length = VG_BENCH_KEY_BYTES,
					.hash = vg_hash64(request->text, VG_BENCH_KEY_BYTES) };
}

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "bench-store: %s: %s\n", what, strerror((int)-result));
		exit(EXIT_FAILURE);
	}
}

static void do_set(const struct request *request)
{
	char value[VALUE_BYTES];

	vg_bench_value(request->key.hash, value, sizeof(value));
	must(vg_store_set(store, &request->key, NOW_MS, value, sizeof(value), 0), "set");
}

static void do_get(const struct request *request)
{
	struct vg_block *block;

	must(vg_store_get(store, &request->key, NOW_MS, buffer, sizeof(buffer), &block, NULL), "get");
	if (memcmp(buffer, &request->key.hash, 8)) {
		fprintf(stderr, "bench-store: a wrong value\n");
		exit(EXIT_FAILURE);
	}
}

static void do_miss(const struct request *request)
{
	struct vg_block *block;

	if (vg_store_get(store, &request->key, NOW_MS, buffer, sizeof(buffer), &block, NULL) != -ENOENT)
		must(-EEXIST, "a key that should be missing");
}

/* Calls over random keys from `first`, in batches that are prefetched first, or without. */
static double time_calls(void (*call)(const struct request *), __u32 first, __u32 keys, bool prefetch)
{
	static struct request requests[BATCH];
	__u64 random = 0x9E3779B97F4A7C15ULL, begin_ns = vg_bench_now_ns();

	for (__u32 done = 0; done < CALLS; done += BATCH) {
		for (int i = 0; i < BATCH; i++)
			make_request(first + (__u32)(vg_bench_random(&random) >> 32) % keys, &requests[i]);
		for (int i = 0; prefetch && i < BATCH; i++)
			vg_store_prefetch_bucket(store, requests[i].key.hash);
		for (int i = 0; prefetch && i < BATCH; i++)
			vg_store_prefetch_item(store, requests[i].key.hash);
		for (int i = 0; i < BATCH; i++)
			call(&requests[i]);
	}
	return (double)(vg_bench_now_ns() - begin_ns) / CALLS;
}

static void do_nothing(const struct request *request)
{
	asm volatile("" : : "r"(request) : "memory");
}

int main(void)
{
	struct vg_store_config config = { .arena_bytes = ARENA_BYTES, .heap_bytes = 64 << 20, .workers = 1,
					  .instance = 1 };
	struct vg_store_repair repair;
	struct request request;
	double making;

	config.arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);
	must(config.arena == MAP_FAILED ? -ENOMEM : vg_store_new(&store, &config, &repair), "store");
	vg_store_worker(store, 0);
	for (__u32 i = 0; i < KEYS; i++) {
		make_request(i, &request);
		do_set(&request);
	}
	making = time_calls(do_nothing, 0, KEYS, false); /* the key and its hash: part of every figure, taken off */
	printf("{\"store get, hot\": %.1f, ", time_calls(do_get, 0, HOT_KEYS, false) - making);
	printf("\"store get, uniform\": %.1f, ", time_calls(do_get, 0, KEYS, false) - making);
	printf("\"store get, uniform, batch of 16 prefetched\": %.1f, ", time_calls(do_get, 0, KEYS, true) - making);
	printf("\"store get, missing\": %.1f, ", time_calls(do_miss, KEYS, KEYS, false) - making);
	printf("\"store set, hot\": %.1f, ", time_calls(do_set, 0, HOT_KEYS, false) - making);
	printf("\"store set, uniform\": %.1f, ", time_calls(do_set, 0, KEYS, false) - making);
	printf("\"store set, uniform, batch of 16 prefetched\": %.1f}\n", time_calls(do_set, 0, KEYS, true) - making);
	vg_store_free(store);
	return EXIT_SUCCESS;
}
