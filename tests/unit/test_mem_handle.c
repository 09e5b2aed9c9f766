// SPDX-License-Identifier: GPL-3.0-or-later
/* Handles over three nodes: spread memory reads and writes as one range, also when nodes fail. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "fake_wire.h"
#include "svc/mem/handle.h"

#define CHUNK 65536
#define WHOLE (5 * CHUNK + 1000)

struct heard {
	int times, error;
	__u64 handle, length;
	__u8 *data; /* a copy */
};

static void hear(void *context, struct vg_handle_result *result)
{
	struct heard *heard = context;

	heard->times++;
	heard->error = result->error;
	heard->handle = result->handle;
	heard->length = result->length;
	if (result->data) {
		heard->data = malloc(result->length);
		memcpy(heard->data, result->data, result->length);
	}
}

static __u64 handles_on(int node)
{
	struct vg_store_stats stats;

	vg_store_stats(fake.node[node].env.store, &stats);
	return stats.handles;
}

static __u64 allocate(struct vg_env *env, __u64 bytes, int want)
{
	struct heard heard = { 0 };

	vg_handle_alloc(env, bytes, 0, hear, &heard);
	fake_run();
	assert_int_equal(heard.times, 1);
	assert_int_equal(heard.error, want);
	assert_true(!want == !!heard.handle);
	return heard.handle;
}

static int write_at(struct vg_env *env, __u64 handle, __u64 offset, const void *data, __u64 length)
{
	struct heard heard = { 0 };
	__u8 *copy = malloc(length + 1);

	/* The caller's bytes do not outlive the call. */
	memcpy(copy, data, length);
	vg_handle_write(env, handle, offset, copy, length, 0, hear, &heard);
	memset(copy, 0xee, length);
	free(copy);
	fake_run();
	assert_int_equal(heard.times, 1);
	return heard.error;
}

static int read_at(struct vg_env *env, __u64 handle, __u64 offset, void *data, __u64 length)
{
	struct heard heard = { 0 };

	vg_handle_read(env, handle, offset, length, 0, hear, &heard);
	fake_run();
	assert_int_equal(heard.times, 1);
	assert_int_equal(heard.length, heard.error ? 0 : length);
	assert_true(!!heard.data == (!heard.error && length));
	if (heard.data)
		memcpy(data, heard.data, length);
	free(heard.data);
	return heard.error;
}

static int free_it(struct vg_env *env, __u64 handle)
{
	struct heard heard = { 0 };

	vg_handle_free(env, handle, 0, hear, &heard);
	fake_run();
	assert_int_equal(heard.times, 1);
	return heard.error;
}

static __u64 length_of(struct vg_env *env, __u64 handle)
{
	struct heard heard = { 0 };

	vg_handle_facts(env, handle, 0, hear, &heard);
	fake_run();
	assert_int_equal(heard.times, 1);
	assert_int_equal(heard.error, 0);
	return heard.length;
}

/* Ranges over every kind of chunk border, against a plain array. */
static void test_handle_spread_is_one_range(void **state)
{
	static __u8 model[WHOLE], got[WHOLE], data[WHOLE];
	struct vg_env *near = &fake.node[0].env, *far = &fake.node[1].env;
	__u64 handle = allocate(near, WHOLE, 0);
	unsigned int random = 99;

	assert_int_equal(handles_on(0), 1 + 2);
	assert_int_equal(handles_on(1), 2);
	assert_int_equal(handles_on(2), 2);
	assert_int_equal(length_of(near, handle), WHOLE);
	assert_int_equal(length_of(far, handle), WHOLE);
	memset(model, 0, sizeof(model));
	assert_int_equal(read_at(near, handle, 0, got, WHOLE), 0);
	assert_memory_equal(got, model, WHOLE);
	for (int round = 0; round < 60; round++) {
		struct vg_env *env = round % 3 ? near : far;
		__u64 offset, length;

		random = random * 1103515245 + 12345;
		offset = (random >> 8) % (WHOLE + 1);
		random = random * 1103515245 + 12345;
		length = (random >> 8) % (WHOLE - offset + 1);
		if (round % 4 == 0)
			offset = (__u64)(round % 6) * CHUNK, length = round % 8 ? CHUNK : 1;
		if (offset + length > WHOLE)
			length = WHOLE - offset;
		for (__u64 i = 0; i < length; i++)
			data[i] = (__u8)(random + i * 13);
		assert_int_equal(write_at(env, handle, offset, data, length), 0);
		memcpy(model + offset, data, length);
		assert_int_equal(read_at(round % 2 ? far : near, handle, 0, got, WHOLE), 0);
		assert_memory_equal(got, model, WHOLE);
		assert_int_equal(read_at(env, handle, offset, got, length), 0);
		assert_memory_equal(got, model + offset, length);
	}
	assert_int_equal(free_it(far, handle), 0);
	for (int n = 0; n < 3; n++)
		assert_int_equal(handles_on(n), 0);
	assert_int_equal(free_it(near, handle), -ESTALE);
	assert_int_equal(read_at(far, handle, 0, got, 1), -ESTALE);
}

static void test_handle_ranges_outside(void **state)
{
	struct vg_env *env = &fake.node[0].env;
	__u64 handles[3] = { allocate(env, WHOLE, 0), allocate(env, 100, 0), allocate(&fake.node[1].env, 100, 0) };
	__u8 bytes[200] = { 0 };

	for (int i = 0; i < 3; i++) {
		__u64 whole = i ? 100 : WHOLE;

		assert_int_equal(read_at(env, handles[i], whole, bytes, 0), 0);
		assert_int_equal(read_at(env, handles[i], whole - 1, bytes, 1), 0);
		assert_int_equal(read_at(env, handles[i], whole, bytes, 1), -ERANGE);
		assert_int_equal(read_at(env, handles[i], whole - 1, bytes, 2), -ERANGE);
		assert_int_equal(read_at(env, handles[i], UINT64_MAX, bytes, 2), -ERANGE);
		assert_int_equal(read_at(env, handles[i], 0, bytes, VG_VALUE_MAX + 1ULL), -EMSGSIZE);
		assert_int_equal(write_at(env, handles[i], whole - 1, bytes, 2), -ERANGE);
		assert_int_equal(write_at(env, handles[i], whole - 1, bytes, 1), 0);
		assert_int_equal(write_at(env, handles[i], UINT64_MAX - 1, bytes, 3), -ERANGE);
		assert_int_equal(free_it(env, handles[i]), 0);
	}
	allocate(env, 0, -EINVAL);
	allocate(env, VG_HANDLE_BYTES_MAX + 1, -EMSGSIZE);
	assert_int_equal(free_it(env, vg_handle_make(500, 1, 1)), -ESTALE);
	assert_int_equal(free_it(env, UINT64_MAX), -ESTALE);
	assert_int_equal(free_it(env, 0), -ESTALE);
}

/* The k-th question to a node fails, for every k: the memory goes elsewhere, and is whole. */
static void test_handle_alloc_around_a_failing_node(void **state)
{
	static __u8 data[WHOLE], got[WHOLE];
	struct vg_env *env = &fake.node[0].env;

	memset(data, 7, sizeof(data));
	for (__u32 k = 1; k <= 3; k++) {
		__u64 handle, there;

		fake.node[1].asked = 0;
		fake.node[1].fail_from = k;
		handle = allocate(env, WHOLE, 0);
		there = handles_on(1);
		assert_true(there < k);
		assert_int_equal(handles_on(0) + handles_on(1) + handles_on(2), 7);
		fake.node[1].fail_from = 0;
		assert_int_equal(write_at(env, handle, 0, data, WHOLE), 0);
		assert_int_equal(read_at(env, handle, 0, got, WHOLE), 0);
		assert_memory_equal(got, data, WHOLE);
		assert_int_equal(free_it(env, handle), 0);
	}
	fake.node[1].fail_from = fake.node[2].fail_from = 1;
	assert_true(allocate(env, WHOLE, 0));
	assert_int_equal(handles_on(0), 7);
}

/* All or nothing: when no node has the memory, no node keeps a part of it. */
static void test_handle_alloc_all_or_nothing(void **state)
{
	struct vg_env *env = &fake.node[0].env;

	for (int i = 0; i < 3; i++)
		fake.node[i].settings.chunk_bytes = 8 << 20;
	allocate(env, 1ULL << 30, -ENOMEM);
	for (int n = 0; n < 3; n++)
		assert_int_equal(handles_on(n), 0);
	/* A table that does not fit is the same. */
	fake.memory_limit = fake.memory_out;
	if (!fake.memory_limit)
		fake.memory_limit = -1;
	allocate(env, 32 << 20, -ENOMEM);
	fake.memory_limit = 0;
	assert_int_equal(handles_on(0), 0);
	assert_true(allocate(env, 32 << 20, 0));
}

static void test_handle_use_with_a_node_down(void **state)
{
	static __u8 got[WHOLE];
	struct vg_env *env = &fake.node[0].env;
	__u64 handle = allocate(env, WHOLE, 0), there = allocate(&fake.node[2].env, 100, 0);

	fake.node[2].asked = 0;
	fake.node[2].fail_from = 1;
	assert_int_equal(read_at(env, handle, 0, got, WHOLE), -EHOSTUNREACH);
	assert_int_equal(read_at(env, handle, 0, got, CHUNK), 0);
	assert_int_equal(write_at(env, handle, 0, got, WHOLE), -EHOSTUNREACH);
	assert_int_equal(read_at(env, there, 0, got, 10), -EHOSTUNREACH);
	assert_int_equal(free_it(env, handle), -EHOSTUNREACH);
	assert_int_equal(handles_on(0), 0);
	assert_int_equal(handles_on(1), 0);
	assert_int_equal(handles_on(2), 3);
	fake.node[2].fail_from = 0;
	assert_int_equal(read_at(env, there, 0, got, 10), 0);
}

/* A chunk that is gone (its node lived anew) is said so; freeing the rest is no error. */
static void test_handle_chunk_gone(void **state)
{
	static __u8 got[WHOLE];
	struct vg_env *env = &fake.node[0].env;
	__u64 handle = allocate(env, WHOLE, 0);

	vg_service_mem.deinit(&fake.node[1].env);
	vg_store_free(fake.node[1].env.store);
	vg_out_pool_deinit(&fake.node[1].chunks);
	munmap(fake.node[1].arena, FAKE_ARENA_BYTES);
	fake_start(1, 3, NULL);
	assert_int_equal(read_at(env, handle, 0, got, WHOLE), -ESTALE);
	assert_int_equal(free_it(env, handle), 0);
}

static void test_handle_parallel_is_bounded(void **state)
{
	static __u8 data[100 * CHUNK / 16];
	struct vg_env *env = &fake.node[0].env;
	__u64 handle;

	for (int i = 0; i < 3; i++)
		fake.node[i].settings.chunk_bytes = CHUNK / 16;
	handle = allocate(env, sizeof(data), 0);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (__u8)(i * 31);
	assert_int_equal(write_at(env, handle, 0, data, sizeof(data)), 0);
	memset(data, 0, sizeof(data));
	assert_int_equal(read_at(env, handle, 0, data, sizeof(data)), 0);
	for (size_t i = 0; i < sizeof(data); i++)
		assert_int_equal(data[i], (__u8)(i * 31));
	assert_int_equal(free_it(env, handle), 0);
	assert_int_equal(fake.asks_out_max, VG_HANDLE_PARALLEL);
}

/* XDP answers what lies in a cell of the arena: a spread handle's table must never be found there. */
static void test_handle_table_is_not_in_a_cell(void **state)
{
	struct fake_node *node = &fake.node[0];
	const struct vg_arena_header *header = node->arena;
	__u64 handle = allocate(&node->env, CHUNK + 1, 0);
	const struct vg_handle_slot *slot = (const struct vg_handle_slot *)((__u8 *)node->arena + header->handles_offset) +
					    vg_handle_slot_index(handle);

	assert_int_equal(slot->generation, vg_handle_generation(handle));
	assert_int_equal(slot->cell, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_handle_spread_is_one_range, three),
		WITH(test_handle_ranges_outside, three),
		WITH(test_handle_alloc_around_a_failing_node, three),
		WITH(test_handle_alloc_all_or_nothing, three),
		WITH(test_handle_use_with_a_node_down, three),
		WITH(test_handle_chunk_gone, three),
		WITH(test_handle_parallel_is_bounded, three),
		WITH(test_handle_table_is_not_in_a_cell, three),
	};

	return cmocka_run_group_tests_name("mem_handle", tests, NULL, NULL);
}
