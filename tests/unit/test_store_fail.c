/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every request for memory fails once, the first, the second, and so on, in each kind of change: either the change is
 * made in another way, or it is refused and nothing has changed; and nothing leaks. The linker puts the failing functions
 * in the place of the real ones (mk/tests.mk).
 */
#include "store_fixture.h"

#include "pool/index.h"

#define ARENA_BYTES (4u << 20)
#define HEAP_BYTES (16u << 20)

static int countdown; /* requests until one fails; 0: none does */
static bool failed;

__u32 __real_vg_slab_get(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class);
__u32 __wrap_vg_slab_get(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class);
void *__real_vg_heap_alloc(struct vg_heap *heap, size_t bytes);
void *__wrap_vg_heap_alloc(struct vg_heap *heap, size_t bytes);

static bool fails(void)
{
	if (!countdown || --countdown)
		return false;
	failed = true;
	return true;
}

__u32 __wrap_vg_slab_get(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class)
{
	return fails() ? 0 : __real_vg_slab_get(slabs, cache, class);
}

void *__wrap_vg_heap_alloc(struct vg_heap *heap, size_t bytes)
{
	return fails() ? NULL : __real_vg_heap_alloc(heap, bytes);
}

/* ---- what is there, and the changes ---- */

static const char *const names[] = { "small", "large", "brief", "new" };
static __u8 value[100000], bytes_new[50000];

static struct vg_key name_key(int name)
{
	return key_of(names[name], strlen(names[name]));
}

static void make(struct vg_store *store)
{
	struct vg_key small = name_key(0), large = name_key(1), brief = name_key(2);

	assert_int_equal(vg_store_set(store, &small, NOW_MS, value, 100, 0), 0);
	assert_int_equal(vg_store_set(store, &large, NOW_MS, value, sizeof(value), 0), 0);
	assert_int_equal(vg_store_set(store, &brief, NOW_MS, value, VG_CELL_MAX - 16, NOW_MS + 1000), 0);
}

static void assert_unchanged(struct vg_store *store)
{
	struct vg_key small = name_key(0), large = name_key(1), brief = name_key(2), new = name_key(3);

	assert_value(store, &small, NOW_MS, value, 100, 0);
	assert_value(store, &large, NOW_MS, value, sizeof(value), 0);
	assert_value(store, &brief, NOW_MS, value, VG_CELL_MAX - 16, NOW_MS + 1000);
	assert_absent(store, &new, NOW_MS);
}

static int append_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	change->action = VG_CHANGE_STORE;
	change->client_flags = 5;
	change->part[0] = (struct vg_part){ old->value, old->length };
	change->part[1] = (struct vg_part){ bytes_new, *(const size_t *)context };
	change->parts = 2;
	return 0;
}

static int deadline_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	change->action = VG_CHANGE_DEADLINE;
	change->expire_ms = NOW_MS + 5000;
	return 0;
}

static int version_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	change->action = VG_CHANGE_VERSION;
	change->version = 77;
	return 0;
}

static int all_fn(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	static const size_t lengths[] = { 3000, 300, 50000, 5 };

	for (int i = 0; i < count; i++) {
		changes[i].action = VG_CHANGE_STORE;
		changes[i].part[0] = (struct vg_part){ bytes_new, lengths[i] };
		changes[i].parts = 1;
	}
	changes[1].action = VG_CHANGE_DEADLINE;
	changes[1].expire_ms = NOW_MS + 7000;
	return 0;
}

#define CHANGES 10

static int change(struct vg_store *store, int which)
{
	static const size_t more[] = { 20, 40000 };
	struct vg_key key = name_key(which < 6 ? which % 3 : 3), keys[4];
	__u64 handle;

	switch (which) {
	case 0 ... 1:
		return vg_store_update(store, &key, NOW_MS, append_fn, (void *)&more[which]);
	case 2:
	case 3:
		return vg_store_update(store, &key, NOW_MS, which == 3 ? deadline_fn : version_fn, NULL);
	case 4:
		return vg_store_update(store, &key, NOW_MS, version_fn, NULL);
	case 5:
		return vg_store_set(store, &key, NOW_MS, bytes_new, sizeof(bytes_new), 0);
	case 6:
		return vg_store_set(store, &key, NOW_MS, bytes_new, 10, NOW_MS + 1);
	case 7:
		for (int i = 0; i < 4; i++)
			keys[i] = name_key(i);
		return vg_store_transact(store, keys, 4, NOW_MS, all_fn, NULL);
	case 8:
		return vg_store_alloc(store, 100, &handle) ?: vg_store_release(store, handle);
	default:
		return vg_store_alloc(store, 100000, &handle) ?: vg_store_release(store, handle);
	}
}

static void test_fail_each_request(void **state)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	struct vg_store_stats stats;
	int refused = 0, made = 0;

	memset(value, 'v', sizeof(value));
	memset(bytes_new, 'n', sizeof(bytes_new));
	for (int which = 0; which < CHANGES; which++)
		for (int nth = 1, go_on = 1; go_on; nth++) {
			int error;

			make(store);
			failed = false;
			countdown = nth;
			error = change(store, which);
			countdown = 0;
			go_on = failed;
			if (error) {
				assert_int_equal(error, -ENOMEM);
				assert_true(failed);
				assert_unchanged(store);
				refused++;
			} else {
				made += failed;
			}
			vg_store_clear(store);
			vg_store_stats(store, &stats);
			assert_int_equal(stats.heap_used, 0);
			assert_int_equal(stats.arena_used, stats.buckets * sizeof(struct vg_bucket));
			assert_true(nth < 100);
		}
	assert_true(refused >= 3 && made >= 3);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_fail_each_request) };

	return cmocka_run_group_tests_name("store_fail", tests, NULL, NULL);
}
