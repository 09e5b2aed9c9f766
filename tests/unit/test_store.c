/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What store.h promises, one promise a test. */
#include "store_fixture.h"

#include "pool/index.h"

#define ARENA_BYTES (8u << 20)
#define HEAP_BYTES (32u << 20)

static void *arena;
static struct vg_store *store;

static int setup(void **state)
{
	arena = map_shared(ARENA_BYTES);
	store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 2);
	return 0;
}

static int teardown(void **state)
{
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
	return 0;
}

static struct vg_key text_key(const char *text)
{
	return key_of(text, strlen(text));
}

static void set(const char *key_text, const void *value, size_t length, __u64 expire_ms)
{
	struct vg_key key = text_key(key_text);

	assert_int_equal(vg_store_set(store, &key, NOW_MS, value, length, expire_ms), 0);
}

static void test_store_limits(void **state)
{
	static __u8 key_bytes[VG_KEY_MAX + 1];
	struct vg_key longest = key_of(key_bytes, VG_KEY_MAX), longer = key_of(key_bytes, VG_KEY_MAX + 1);
	struct vg_key keys[1] = { longer }, key = text_key("k");

	assert_int_equal(vg_store_set(store, &longest, NOW_MS, "v", 1, 0), 0);
	assert_value(store, &longest, NOW_MS, "v", 1, 0);
	assert_int_equal(vg_store_set(store, &longer, NOW_MS, "v", 1, 0), -EMSGSIZE);
	assert_int_equal(vg_store_update(store, &longer, NOW_MS, NULL, NULL), -EMSGSIZE);
	assert_int_equal(vg_store_transact(store, keys, 1, NOW_MS, NULL, NULL), -EMSGSIZE);
	assert_int_equal(vg_store_transact(store, NULL, VG_TRANSACTION_KEYS_MAX + 1, NOW_MS, NULL, NULL), -EMSGSIZE);
	assert_int_equal(vg_store_set(store, &key, NOW_MS, "v", VG_VALUE_MAX + 1ULL, 0), -EMSGSIZE);
	assert_absent(store, &longer, NOW_MS);
	assert_int_equal(vg_store_delete(store, &longer, NOW_MS), -ENOENT);
}

static void test_store_deadline(void **state)
{
	struct vg_key key = text_key("mortal");
	struct vg_key_facts facts;
	struct vg_store_stats stats;

	set("mortal", "v", 1, NOW_MS + 100);
	assert_value(store, &key, NOW_MS + 99, "v", 1, NOW_MS + 100);
	assert_absent(store, &key, NOW_MS + 100);
	assert_int_equal(vg_store_facts(store, &key, NOW_MS + 100, true, &facts), -ENOENT);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.keys, 1); /* a reader changes nothing */
	assert_int_equal(vg_store_delete(store, &key, NOW_MS + 100), -ENOENT);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.keys, 0); /* a writer removes */
	assert_int_equal(stats.expired, 1);

	set("mortal", "v", 1, 0);
	set("mortal", "w", 1, NOW_MS); /* not later than now: deletes */
	assert_absent(store, &key, NOW_MS);
	set("mortal", "v", 1, ~0ULL); /* further than an item can say: as far as it can */
	assert_value(store, &key, NOW_MS, "v", 1, VG_ITEM_EXPIRE_MAX);
}

static void test_store_sweep_removes_what_has_expired(void **state)
{
	struct vg_store_stats stats;
	__u32 removed = 0;

	for (__u32 i = 0; i < 3000; i++) {
		struct vg_key key = key_of(&i, sizeof(i));

		assert_int_equal(vg_store_set(store, &key, NOW_MS, "", 0, i % 3 ? NOW_MS + i % 100 + 1 : 0), 0);
	}
	assert_int_equal(vg_store_sweep(store, ~0u, NOW_MS), 0);
	for (int i = 0; i < 100; i++)
		removed += vg_store_sweep(store, 100, NOW_MS + 1000);
	assert_int_equal(removed, 2000);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.keys, 1000);
	assert_int_equal(stats.expired, 2000);
}

static int prefix_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct vg_part *extra = context;

	change->action = VG_CHANGE_STORE;
	change->part[0] = (struct vg_part){ old->value, old->length };
	change->part[1] = *extra;
	change->parts = 2;
	return 0;
}

/* Appends move the value only now and then: into larger cells, then into a block with room behind it. */
static void test_store_append_in_place(void **state)
{
	static __u8 expected[400000];
	struct vg_key key = text_key("growing");
	__u32 moved = 0, cell = 0;
	size_t length = 0;

	for (int i = 0; length + 100 < sizeof(expected); i++) {
		struct vg_part extra = { expected + length, 1 + (size_t)i % 100 };
		struct vg_place place;

		memset(expected + length, i, extra.length);
		assert_int_equal(vg_store_update(store, &key, NOW_MS, prefix_fn, &extra), 0);
		length += extra.length;
		vg_place_take(store, &key, &place);
		moved += cell != vg_line_cell(place.line, place.slot);
		cell = vg_line_cell(place.line, place.slot);
		vg_place_give(&place);
		if (i % 100 == 0)
			assert_value(store, &key, NOW_MS, expected, length, 0);
	}
	assert_value(store, &key, NOW_MS, expected, length, 0);
	assert_in_range(moved, 2, 60);
}

/* A pinned value stays what it was, whatever becomes of its key. */
static void test_store_pinned_value_is_immutable(void **state)
{
	static __u8 large[100000], other[100000];
	struct vg_part extra = { "more", 4 };
	struct vg_key key = text_key("large");
	struct vg_block *block;
	struct vg_store_stats stats;
	__u8 buffer[VG_CELL_MAX];

	memset(large, 1, sizeof(large));
	memset(other, 2, sizeof(other));
	for (int i = 0; i < 5; i++) {
		set("large", large, sizeof(large), 0);
		assert_int_equal(vg_store_update(store, &key, NOW_MS, prefix_fn, &extra), 0);
		assert_int_equal(vg_store_get(store, &key, NOW_MS, buffer, sizeof(buffer), &block, NULL),
				 sizeof(large) + 4);
		switch (i) {
		case 0:
			set("large", other, sizeof(other), 0);
			break;
		case 1:
			assert_int_equal(vg_store_delete(store, &key, NOW_MS), 0);
			set("other", other, sizeof(other), 0);
			break;
		case 2:
			assert_int_equal(vg_store_update(store, &key, NOW_MS, prefix_fn, &extra), 0);
			break;
		case 3:
			set("large", "small", 5, 0);
			break;
		case 4:
			vg_store_clear(store);
			break;
		}
		assert_memory_equal(vg_block_data(block), large, sizeof(large));
		assert_memory_equal((const __u8 *)vg_block_data(block) + sizeof(large), "more", 4);
		vg_block_put(block);
	}
	vg_store_clear(store);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.heap_used, 0);
}

/* A version is given on the first asking, in the arena and in the heap tier, stays, and goes with the next change. */
static void test_store_versions(void **state)
{
	static __u8 value[VG_CELL_MAX + 100], buffer[VG_CELL_MAX];
	static const size_t lengths[] = { 5, VG_CELL_MAX - 16, VG_CELL_MAX + 100 };
	struct vg_key key = text_key("counted");
	struct vg_key_facts facts;
	struct vg_block *block;
	__u64 version = 0;

	for (int i = 0; i < 3; i++) {
		set("counted", value, lengths[i], NOW_MS + 1000);
		assert_int_equal(vg_store_facts(store, &key, NOW_MS, false, &facts), 0);
		assert_int_equal(facts.version, 0);
		for (int j = 0; j < 2; j++) {
			assert_int_equal(vg_store_read(store, &key, NOW_MS, true, buffer, sizeof(buffer), &block, &facts),
					 lengths[i]);
			if (block)
				vg_block_put(block);
			assert_true(j ? facts.version == version : facts.version && facts.version != version);
			assert_int_equal(facts.expire_ms, NOW_MS + 1000);
			version = facts.version;
		}
	}
	assert_int_equal(vg_store_delete(store, &key, NOW_MS), 0);
	assert_int_equal(vg_store_read(store, &key, NOW_MS, true, buffer, sizeof(buffer), &block, &facts), -ENOENT);
}

/* XDP compares and copies whole words: behind a key and a value there is nothing but zeros, in every cell ever. */
static void test_store_padding_is_zero(void **state)
{
	__u64 random = random_seed("padding");

	for (int i = 0; i < 20000; i++) {
		__u8 bytes[64];
		__u64 draw = random_next(&random);
		struct vg_key key = key_of(bytes, 1 + draw % 20);
		struct vg_place place;
		const struct vg_item *item;
		const __u8 *at;

		memset(bytes, 0xff, sizeof(bytes));
		bytes[0] = (__u8)(draw >> 16);
		key.hash = vg_hash64(bytes, key.length);
		assert_int_equal(vg_store_set(store, &key, NOW_MS, bytes, (draw >> 32) % 64, 0), 0);
		vg_place_take(store, &key, &place);
		item = vg_place_item(store, &place);
		at = vg_item_inline_key(item);
		for (__u32 j = item->key_length; j % 8; j++)
			assert_int_equal(at[j], 0);
		at = vg_item_value(item);
		for (__u32 j = item->value_length; j % 8; j++)
			assert_int_equal(at[j], 0);
		vg_place_give(&place);
	}
}

static void test_store_facts_and_use(void **state)
{
	struct vg_key key = text_key("used");
	struct vg_key_facts facts;

	set("used", "value", 5, 0);
	assert_int_equal(vg_store_facts(store, &key, NOW_MS + 160000, false, &facts), 0);
	assert_int_equal(facts.value_length, 5);
	assert_int_equal(facts.idle_seconds, 160);
	assert_false(facts.in_heap);
	assert_in_range(facts.memory_bytes, 16 + 8 + 8, 64);
	assert_int_equal(vg_store_facts(store, &key, NOW_MS + 160000, true, &facts), 0);
	assert_int_equal(vg_store_facts(store, &key, NOW_MS + 160000, false, &facts), 0);
	assert_int_equal(facts.idle_seconds, 0);
	assert_value(store, &key, NOW_MS + 320000, "value", 5, 0);
	assert_int_equal(vg_store_facts(store, &key, NOW_MS + 320000, false, &facts), 0);
	assert_int_equal(facts.idle_seconds, 0);
}

/* Keys chosen to collide: the bucket says so, and everything else goes on. */
static void test_store_colliding_keys(void **state)
{
	__u32 stored = 0;
	__u64 i;

	for (i = 0; stored < VG_BUCKET_ITEMS_MAX; i++) {
		struct vg_key key = { &i, sizeof(i), 0x123400000000ULL << 16 }; /* the store believes the hash it is told */
		int error = vg_store_set(store, &key, NOW_MS, &i, sizeof(i), 0);

		assert_int_equal(error, 0);
		stored++;
	}
	for (int again = 0; again < 3; again++) {
		struct vg_key key = { &i, sizeof(i), 0x123400000000ULL << 16 };

		assert_int_equal(vg_store_set(store, &key, NOW_MS, &i, sizeof(i), 0), -ELOOP);
		assert_absent(store, &key, NOW_MS);
	}
	for (__u64 j = 0; j < VG_BUCKET_ITEMS_MAX; j++) {
		struct vg_key key = { &j, sizeof(j), 0x123400000000ULL << 16 };

		assert_value(store, &key, NOW_MS, &j, sizeof(j), 0);
		assert_int_equal(vg_store_delete(store, &key, NOW_MS), 0);
	}
	set("another", "v", 1, 0);
}

static int refuse_store_fn(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	static const __u8 zeros[64];

	for (int i = 0; i < count; i++) {
		changes[i].action = i % 3 == 0 && i + 1 < count ? VG_CHANGE_DELETE : VG_CHANGE_STORE;
		changes[i].part[0] = (struct vg_part){ zeros, sizeof(zeros) };
		changes[i].parts = 1;
	}
	changes[count - 1].part[0] = *(struct vg_part *)context;
	return 0;
}

/* The last of many changes has no room: none of them happened. */
static void test_store_transaction_is_all_or_nothing(void **state)
{
	struct vg_part huge = { NULL, HEAP_BYTES };
	struct vg_key keys[400];
	__u32 ids[400];
	struct vg_store_stats before, after;

	for (__u32 i = 0; i < 400; i++) {
		ids[i] = i;
		keys[i] = key_of(&ids[i], sizeof(ids[i]));
		if (i % 2)
			assert_int_equal(vg_store_set(store, &keys[i], NOW_MS, "old", 3, 0), 0);
	}
	vg_store_stats(store, &before);
	assert_int_equal(vg_store_transact(store, keys, 400, NOW_MS, refuse_store_fn, &huge), -ENOMEM);
	vg_store_stats(store, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	for (__u32 i = 0; i < 400; i++)
		if (i % 2)
			assert_value(store, &keys[i], NOW_MS, "old", 3, 0);
		else
			assert_absent(store, &keys[i], NOW_MS);
	huge.length = 10;
	assert_int_equal(vg_store_transact(store, keys, 400, NOW_MS, refuse_store_fn, &huge), 0);
	vg_store_stats(store, &after);
	assert_int_equal(after.keys, 400 - 134 + 1); /* 399 is divisible by 3, but the last stores */
}

/* Neither arena nor heap is lost by running out of it. */
static void test_store_exhaustion(void **state)
{
	static __u8 value[60000];
	struct vg_store_stats full, again;
	int error = 0;

	for (int round = 0; round < 2; round++) {
		for (__u32 size = 40; size <= sizeof(value); size *= 1500) {
			__u32 i = 0;

			for (error = 0; !error; i++) {
				__u32 id[2] = { i, size };
				struct vg_key key = key_of(id, sizeof(id));

				error = vg_store_set(store, &key, NOW_MS, value, size, 0);
				if (error)
					assert_absent(store, &key, NOW_MS);
			}
			assert_int_equal(error, -ENOMEM);
			if (size == 40) { /* make room in the arena for references to the heap */
				for (__u32 j = 0; j < i; j++) {
					__u32 id[2] = { j, size };
					struct vg_key key = key_of(id, sizeof(id));

					if (j % 2)
						assert_int_equal(vg_store_delete(store, &key, NOW_MS), j + 1 < i ? 0 : -ENOENT);
				}
				vg_store_sweep(store, 0, NOW_MS);
				vg_store_sweep(store, 0, NOW_MS + 2 * VG_SLAB_REST_MS);
			}
		}
		vg_store_stats(store, round ? &again : &full);
		vg_store_clear(store);
		vg_store_sweep(store, 0, NOW_MS + (__u64)(round + 2) * 2 * VG_SLAB_REST_MS);
	}
	assert_true(full.arena_used > full.arena_bytes / 3);
	assert_in_range(again.keys, full.keys - full.keys / 50, full.keys + full.keys / 50);
	vg_store_stats(store, &again);
	assert_int_equal(again.keys, 0);
	assert_int_equal(again.heap_used, 0);
	assert_int_equal(again.arena_used, again.buckets * sizeof(struct vg_bucket));
}

/* ---- handles ---- */

static void test_store_handle_bytes(void **state)
{
	static const __u64 lengths[] = { 1, 16, 17, 4095, VG_CELL_MAX, VG_CELL_MAX + 1, 1000000 };
	static __u8 bytes[1000000], zeros[1000000];
	__u64 handle, length;
	__u32 flags;

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (int again = 0; again < 2; again++) { /* the second time where the first one left its bytes */
			assert_int_equal(vg_store_alloc(store, lengths[i], &handle), 0);
			assert_int_equal(vg_handle_node(handle), 7);
			assert_int_equal(vg_store_handle_read(store, handle, 0, bytes, lengths[i]), 0);
			assert_memory_equal(bytes, zeros, lengths[i]);
			assert_int_equal(vg_store_handle_read(store, handle, 0, bytes, lengths[i] + 1), -ERANGE);
			assert_int_equal(vg_store_handle_read(store, handle, lengths[i] + 1, bytes, 0), -ERANGE);
			assert_int_equal(vg_store_handle_read(store, handle, ~0ULL, bytes, 2), -ERANGE);
			assert_int_equal(vg_store_handle_write(store, handle, 1, bytes, lengths[i]), -ERANGE);
			assert_int_equal(vg_store_handle_write(store, handle, 2, bytes, ~0ULL), -ERANGE);
			assert_int_equal(vg_store_handle_read(store, handle, lengths[i], bytes, 0), 0);
			memset(bytes, 0xee, lengths[i]);
			assert_int_equal(vg_store_handle_write(store, handle, 0, bytes, lengths[i]), 0);
			assert_int_equal(vg_store_handle_write(store, handle, lengths[i] - 1, "!", 1), 0);
			bytes[lengths[i] - 1] = 0;
			assert_int_equal(vg_store_handle_read(store, handle, lengths[i] - 1, bytes + lengths[i] - 1, 1), 0);
			assert_int_equal(bytes[lengths[i] - 1], '!');
			assert_int_equal(vg_store_handle_facts(store, handle, &length, &flags), 0);
			assert_int_equal(length, lengths[i]);
			assert_int_equal(flags, 0);
			assert_int_equal(vg_store_release(store, handle), 0);
			assert_int_equal(vg_store_release(store, handle), -ESTALE);
			assert_int_equal(vg_store_handle_write(store, handle, 0, "x", 1), -ESTALE);
		}
	assert_int_equal(vg_store_alloc(store, 0, &handle), -EINVAL);
	assert_int_equal(vg_store_alloc(store, 1ULL << 32, &handle), -EMSGSIZE);
	assert_int_equal(vg_store_alloc(store, HEAP_BYTES, &handle), -ENOMEM);
}

/* With flags an allocation is the daemon's: its bytes leave the arena and stay what they were. */
static void test_store_handle_flags_leave_the_arena(void **state)
{
	__u64 handle, length;
	__u8 bytes[10];
	__u32 flags;

	assert_int_equal(vg_store_alloc(store, 10, &handle), 0);
	assert_int_equal(vg_store_handle_write(store, handle, 0, "0123456789", 10), 0);
	assert_int_not_equal(store->slots[vg_handle_slot_index(handle)].cell, 0);
	assert_int_equal(vg_store_handle_set_flags(store, handle, 3), 0);
	assert_int_equal(store->slots[vg_handle_slot_index(handle)].cell, 0);
	assert_int_equal(vg_store_handle_read(store, handle, 0, bytes, 10), 0);
	assert_memory_equal(bytes, "0123456789", 10);
	assert_int_equal(vg_store_handle_facts(store, handle, &length, &flags), 0);
	assert_int_equal(length, 10);
	assert_int_equal(flags, 3);
	assert_int_equal(vg_store_release(store, handle), 0);
	assert_int_equal(vg_store_handle_set_flags(store, handle, 0), -ESTALE);
	assert_int_equal(vg_store_handle_set_flags(store, handle, 1), -ESTALE);
}

/* A slot is used again as late as possible and never under the same handle; made-up handles are gone. */
static void test_store_handle_is_never_another(void **state)
{
	__u32 slots = store->header->handles_max;
	__u64 first, handle, made_up, random = random_seed("made-up handles");
	__u8 byte;

	assert_int_equal(vg_store_alloc(store, 16, &first), 0);
	assert_int_equal(vg_store_release(store, first), 0);
	for (__u32 i = 0; i < 3 * slots; i++) {
		assert_int_equal(vg_store_alloc(store, 16, &handle), 0);
		assert_int_not_equal(handle, first);
		if (i + 1 < slots)
			assert_int_not_equal(vg_handle_slot_index(handle), vg_handle_slot_index(first));
		assert_int_equal(vg_store_handle_read(store, first, 0, &byte, 1), -ESTALE);
		assert_int_equal(vg_store_release(store, handle), 0);
	}
	for (int i = 0; i < 100000; i++) {
		made_up = random_next(&random);
		if (i % 2)
			made_up = vg_handle_make(7, (__u32)made_up & 0xffffff, (__u32)(made_up >> 32) % slots);
		assert_int_equal(vg_store_handle_read(store, made_up, 0, &byte, 1), -ESTALE);
		assert_int_equal(vg_store_release(store, made_up), -ESTALE);
	}
}

static void test_store_handle_slots_run_out(void **state)
{
	__u64 *handles = calloc(store->header->handles_max, sizeof(*handles)), more;
	__u32 count = 0;

	while (vg_store_alloc(store, 16, &handles[count]) == 0)
		if (++count == store->header->handles_max)
			break;
	assert_int_equal(count, store->header->handles_max);
	assert_int_equal(vg_store_alloc(store, 16, &more), -ENOMEM);
	assert_int_equal(vg_store_release(store, handles[5]), 0);
	assert_int_equal(vg_store_alloc(store, 16, &more), 0);
	assert_int_equal(vg_handle_slot_index(more), vg_handle_slot_index(handles[5]));
	free(handles);
}

static void test_store_refuses_impossible_configurations(void **state)
{
	struct vg_store_config config = store_config(arena, ARENA_BYTES, HEAP_BYTES, 1);
	struct vg_store *other = NULL;

	config.arena_bytes = 4096;
	assert_int_equal(vg_store_new(&other, &config, NULL), -EINVAL);
	config.arena_bytes = (1ULL << 32) + 4096;
	assert_int_equal(vg_store_new(&other, &config, NULL), -EINVAL);
	config = store_config((__u8 *)arena + 1, ARENA_BYTES, HEAP_BYTES, 1);
	assert_int_equal(vg_store_new(&other, &config, NULL), -EINVAL);
	config = store_config(arena, ARENA_BYTES, HEAP_BYTES, 0);
	assert_int_equal(vg_store_new(&other, &config, NULL), -EINVAL);
	config = store_config(arena, ARENA_BYTES, 1ULL << 50, 1);
	assert_true(vg_store_new(&other, &config, NULL) < 0);
	assert_null(other);
	vg_store_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_deadline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_sweep_removes_what_has_expired, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_versions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_append_in_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_pinned_value_is_immutable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_padding_is_zero, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_facts_and_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_colliding_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_transaction_is_all_or_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_exhaustion, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_handle_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_handle_flags_leave_the_arena, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_handle_is_never_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_handle_slots_run_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_refuses_impossible_configurations, setup, teardown),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
