/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a store makes of an arena that another one left: in order, killed in the middle of anything, or damaged. */
#include "store_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/index.h"

#define ARENA_BYTES (16u << 20) /* room for all: a full arena sends cold values to the heap tier, which dies early */
#define HEAP_BYTES (16u << 20)

/* An arena with nothing behind it: who reads past its end is killed. */
static void *map_guarded(void)
{
	__u8 *memory = map_shared(ARENA_BYTES + 65536);

	assert_int_equal(mprotect(memory + ARENA_BYTES, 65536, PROT_NONE), 0);
	return memory;
}

static struct vg_store *adopt(void *arena, __u32 workers, struct vg_store_repair *ret_repair)
{
	struct vg_store_config config = store_config(arena, ARENA_BYTES, HEAP_BYTES, workers);
	struct vg_store *store;

	config.adopt = true;
	assert_int_equal(vg_store_new(&store, &config, ret_repair), 0);
	vg_store_worker(store, 0);
	return store;
}

/* Keys are numbers; the value follows from the key and its first word. */
static size_t value_make(__u64 number, __u64 draw, __u8 *to)
{
	size_t length = 8 + draw % 150;
	__u64 state = draw ^ number << 32;

	random_fill(&state, to, length);
	memcpy(to, &draw, 8);
	return length;
}

static void put(struct vg_store *store, __u64 number, __u64 draw, __u64 expire_ms)
{
	struct vg_key key = key_of(&number, sizeof(number));
	__u8 value[256];

	assert_int_equal(vg_store_set(store, &key, NOW_MS, value, value_make(number, draw, value), expire_ms), 0);
}

/* The draw of a number's value, which is whole; 0: not there. */
static __u64 look(struct vg_store *store, __u64 number)
{
	struct vg_key key = key_of(&number, sizeof(number));
	__u8 value[VG_CELL_MAX], expected[256];
	struct vg_block *block;
	ssize_t length = vg_store_get(store, &key, NOW_MS, value, sizeof(value), &block, NULL);

	if (length == -ENOENT)
		return 0;
	assert_null(block);
	assert_int_equal(value_make(number, vg_load64(value), expected), length);
	assert_memory_equal(value, expected, length);
	return vg_load64(value);
}

/* All figures and all memory are right: with everything removed, nothing is in use. */
static void check_consistent(struct vg_store *store)
{
	struct vg_store_stats stats;

	vg_store_clear(store);
	vg_store_stats(store, &stats);
	assert_int_equal(stats.keys, 0);
	assert_int_equal(stats.chain_lines, 0);
	assert_true(stats.arena_used - stats.buckets * sizeof(struct vg_bucket) <= stats.handles * VG_CELL_MAX);
	if (!stats.handles)
		assert_int_equal(stats.arena_used, stats.buckets * sizeof(struct vg_bucket));
}

static void test_store_adopt_keeps_what_is_in_the_arena(void **state)
{
	void *arena = map_guarded();
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	static __u8 large[100000], bytes[64];
	__u64 cell_handle, heap_handle, gone_handle, length;
	struct vg_key large_key = key_of("large", 5), long_key = key_of(large, 5000);
	struct vg_store_repair repair;
	struct vg_store_stats before, after;
	__u32 flags;

	for (__u64 i = 0; i < 9000; i++)
		put(store, i, i | 1 << 20, i % 3 == 0 ? NOW_MS + 10 : i % 3 == 1 ? NOW_MS + 1000 : 0);
	assert_int_equal(vg_store_set(store, &large_key, NOW_MS, large, sizeof(large), 0), 0);
	assert_int_equal(vg_store_set(store, &long_key, NOW_MS, "x", 1, 0), 0);
	assert_int_equal(vg_store_alloc(store, 100, &cell_handle), 0);
	assert_int_equal(vg_store_alloc(store, 100000, &heap_handle), 0);
	assert_int_equal(vg_store_alloc(store, 100, &gone_handle), 0);
	assert_int_equal(vg_store_release(store, gone_handle), 0);
	assert_int_equal(vg_store_handle_write(store, cell_handle, 50, "fifty", 5), 0);
	vg_store_stats(store, &before);
	vg_store_free(store);

	struct vg_store_config config = store_config(arena, ARENA_BYTES, HEAP_BYTES, 3);
	config.adopt = true;
	config.instance = 99;
	config.now_ms = NOW_MS + 10;
	assert_int_equal(vg_store_new(&store, &config, &repair), 0);
	vg_store_worker(store, 2);
	assert_int_equal(repair.kept, 6000);
	assert_int_equal(repair.expired, 3000);
	assert_int_equal(repair.dropped_heap, 2);
	assert_int_equal(repair.dropped_torn, 0);
	for (__u64 i = 0; i < 9000; i++)
		assert_int_equal(look(store, i), i % 3 ? i | 1 << 20 : 0);
	assert_int_equal(vg_store_handle_read(store, cell_handle, 50, bytes, 5), 0);
	assert_memory_equal(bytes, "fifty", 5);
	assert_int_equal(vg_store_handle_facts(store, cell_handle, &length, &flags), 0);
	assert_int_equal(length, 100);
	assert_int_equal(vg_store_handle_facts(store, heap_handle, &length, &flags), -ESTALE);
	assert_int_equal(vg_store_handle_facts(store, gone_handle, &length, &flags), -ESTALE);
	vg_store_stats(store, &after);
	assert_int_equal(after.keys, 6000);
	assert_int_equal(after.handles, 1);
	assert_int_equal(after.buckets, before.buckets);
	assert_true(after.arena_used < before.arena_used);
	for (__u64 i = 0; i < 12000; i++)
		put(store, i, i | 2 << 20, 0);
	for (__u64 i = 0; i < 12000; i++)
		assert_int_equal(look(store, i), i | 2 << 20);
	assert_int_equal(vg_store_release(store, cell_handle), 0);
	check_consistent(store);
	vg_store_free(store);
	munmap(arena, ARENA_BYTES + 65536);
}

static void test_store_adopt_refuses_another_arena(void **state)
{
	void *arena = map_guarded();
	struct vg_arena_header *header = arena;
	struct vg_store_repair repair;
	struct vg_store *store;

	for (int i = 0; i < 4; i++) {
		store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
		put(store, 1, 1, 0);
		vg_store_free(store);
		switch (i) {
		case 0:
			header->magic ^= 1;
			break;
		case 1:
			header->layout_version++;
			break;
		case 2:
			header->size_pages /= 2;
			break;
		case 3:
			header->index_control = 30ULL << 32;
			break;
		}
		store = adopt(arena, 1, &repair);
		assert_int_equal(repair.kept, 0);
		assert_int_equal(look(store, 1), 0);
		put(store, 1, 2, 0);
		assert_int_equal(look(store, 1), 2);
		check_consistent(store);
		vg_store_free(store);
	}
	munmap(arena, ARENA_BYTES + 65536);
}

/* The bucket's line that names the number's item, and its slot. */
static struct vg_bucket *slot_of(struct vg_store *store, __u64 number, __u32 *ret_slot)
{
	struct vg_key key = key_of(&number, sizeof(number));
	struct vg_place place;

	vg_place_take(store, &key, &place);
	assert_non_null(place.line);
	vg_place_give(&place);
	*ret_slot = place.slot;
	return place.line;
}

/* What a process leaves that dies in the middle of a change, made by hand. */
static void test_store_adopt_half_done_changes(void **state)
{
	void *arena = map_guarded();
	struct vg_store_repair repair;
	struct vg_bucket *line, *unborn;
	struct vg_store *store;
	__u32 slot, buckets;

	for (int i = 0; i < 5; i++) {
		store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
		for (__u64 number = 0; number < 500; number++)
			put(store, number, number + 1, 0);
		line = slot_of(store, 77, &slot);
		buckets = vg_buckets_count(store->header->index_control);
		unborn = &store->buckets[buckets];
		switch (i) {
		case 0: /* an item was being written over */
			line->sequence |= 1;
			store->marks[0] = vg_line_cell(line, slot);
			break;
		case 1: /* the same mark, but the change was finished */
			store->marks[0] = vg_line_cell(line, slot);
			break;
		case 2: /* a slot was moved within its bucket */
			for (__u32 to = 0; to < VG_BUCKET_SLOTS; to++)
				if (!line->tag[to]) {
					line->tag[to] = line->tag[slot];
					line->cell[to] = line->cell[slot];
					break;
				}
			line->sequence |= 1;
			break;
		case 3: /* a split was not published */
			*unborn = *line;
			unborn->sequence = line->sequence |= 1;
			break;
		case 4: /* a bucket holds an item that a split has given to another */
			line = &store->buckets[(line - store->buckets) ^ 1];
			for (__u32 to = 0; to < VG_BUCKET_SLOTS; to++)
				if (!line->tag[to]) {
					__u32 from;
					struct vg_bucket *other = slot_of(store, 77, &from);

					line->tag[to] = other->tag[from];
					line->cell[to] = other->cell[from];
					break;
				}
			break;
		}
		vg_store_free(store);
		store = adopt(arena, 1, &repair);
		assert_int_equal(repair.kept, i == 0 ? 499 : 500);
		assert_int_equal(repair.dropped_torn, i == 0 || i == 2 || i == 4);
		for (__u64 number = 0; number < 500; number++)
			assert_int_equal(look(store, number), i == 0 && number == 77 ? 0 : number + 1);
		for (__u32 bucket = 0; bucket < buckets; bucket++)
			assert_int_equal(store->buckets[bucket].sequence & 1, 0);
		check_consistent(store);
		vg_store_free(store);
	}
	munmap(arena, ARENA_BYTES + 65536);
}

/* A handle of a former life: the same slot, formatted by another instance. */
static void test_store_format_forgets_handles(void **state)
{
	void *arena = map_guarded();
	struct vg_store_config config = store_config(arena, ARENA_BYTES, HEAP_BYTES, 1);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	__u64 handles[100], again, length;
	__u32 flags;

	for (int i = 0; i < 100; i++)
		assert_int_equal(vg_store_alloc(store, 16, &handles[i]), 0);
	vg_store_free(store);
	config.instance++;
	assert_int_equal(vg_store_new(&store, &config, NULL), 0);
	vg_store_worker(store, 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(vg_store_handle_facts(store, handles[i], &length, &flags), -ESTALE);
		assert_int_equal(vg_store_alloc(store, 16, &again), 0);
		assert_int_equal(vg_store_handle_facts(store, handles[i], &length, &flags), -ESTALE);
	}
	vg_store_free(store);
	munmap(arena, ARENA_BYTES + 65536);
}

/* ---- killed in the middle ---- */

#define LASTING 1000
#define CHANGING 5000
#define KILLS 40

struct killed { /* shared with the process that is killed */
	void *arena;
	struct vg_store *store;
	__u64 seed;
	int *ready;
};

static int append_fn(void *context, const struct vg_entry *old, struct vg_change *change)
{
	__u8 *value = context;

	if (!old->exists)
		return 0;
	/* Another value of the same key, over the old one: in place when it fits. */
	change->action = VG_CHANGE_STORE;
	change->part[0] = (struct vg_part){ value, value_make(vg_load64(value + 256), vg_load64(value), value) };
	change->parts = 1;
	return 0;
}

static void change_something(struct vg_store *store, __u64 *random)
{
	__u64 number = LASTING + random_next(random) % CHANGING, draw = random_next(random) | 1, handle;
	struct vg_key key = key_of(&number, sizeof(number));
	__u8 value[264];
	size_t length = value_make(number, draw, value);

	memcpy(value + 256, &number, 8);
	switch (random_next(random) % 8) {
	case 0 ... 1:
		vg_store_delete(store, &key, NOW_MS);
		break;
	case 2 ... 3:
		vg_store_update(store, &key, NOW_MS, append_fn, value);
		break;
	case 4:
		if (!vg_store_alloc(store, 1 + draw % 3000, &handle) && draw % 16)
			vg_store_release(store, handle);
		break;
	default:
		vg_store_set(store, &key, NOW_MS, value, length, 0);
	}
}

static void *change_for_ever(void *context)
{
	struct killed *killed = context;
	__u64 random = killed->seed ^ 1;

	vg_store_worker(killed->store, 1);
	for (;;)
		change_something(killed->store, &random);
	return NULL;
}

static void live_until_killed(struct killed *killed)
{
	struct vg_store_config config = store_config(killed->arena, ARENA_BYTES, HEAP_BYTES, 2);
	__u64 random = killed->seed;
	pthread_t thread;

	config.adopt = true;
	if (vg_store_new(&killed->store, &config, NULL) || pthread_create(&thread, NULL, change_for_ever, killed))
		_exit(1);
	vg_store_worker(killed->store, 0);
	__atomic_store_n(killed->ready, 1, __ATOMIC_RELEASE);
	for (;;)
		change_something(killed->store, &random);
}

static void kill_one(struct killed *killed, __u64 after_ns)
{
	struct timespec pause = { 0, (long)after_ns }, millisecond = { 0, 1000000 };
	int status;
	pid_t child;

	*killed->ready = 0;
	child = fork();
	assert_true(child >= 0);
	if (!child)
		live_until_killed(killed);
	for (int i = 0; i < 10000 && !__atomic_load_n(killed->ready, __ATOMIC_ACQUIRE); i++)
		nanosleep(&millisecond, NULL);
	nanosleep(&pause, NULL);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && *killed->ready);
}

/*
 * Nothing that was not being changed is lost, what is there is whole, and at most one key a thread is dropped. Every
 * process adopts what the one before it left.
 */
static void test_store_adopt_after_kill(void **state)
{
	struct killed killed = { map_guarded(), NULL, random_seed("killed"), map_shared(4096) };
	struct vg_store *store = store_make(killed.arena, ARENA_BYTES, HEAP_BYTES, 1);
	struct vg_store_repair repair;
	struct vg_store_stats stats;
	__u64 found;

	for (__u64 i = 0; i < LASTING; i++)
		put(store, i, i + 1, 0);
	vg_store_free(store);
	for (int round = 0; round < KILLS; round++) {
		kill_one(&killed, random_next(&killed.seed) % 20000000);
		store = adopt(killed.arena, 1, &repair);
		assert_in_range(repair.dropped_torn, 0, 2 + 2 * VG_BUCKET_SLOTS);
		found = 0;
		for (__u64 i = 0; i < LASTING + CHANGING; i++)
			found += look(store, i) != 0;
		for (__u64 i = 0; i < LASTING; i++)
			assert_int_equal(look(store, i), i + 1);
		vg_store_stats(store, &stats);
		assert_int_equal(found, stats.keys);
		assert_int_equal(found, repair.kept);
		vg_store_free(store);
	}
	store = adopt(killed.arena, 1, &repair);
	check_consistent(store);
	vg_store_free(store);
	munmap(killed.arena, ARENA_BYTES + 65536);
	munmap(killed.ready, 4096);
}

/* ---- damaged ---- */

#define DAMAGES 300

static void damage(struct vg_arena_header *header, __u64 *random)
{
	const struct vg_arena_header geometry = *header;
	__u8 *arena = (__u8 *)header;

	for (__u64 count = 1 + random_next(random) % 400; count > 0; count--) {
		__u64 where = random_next(random), what = random_next(random), at;

		switch (where % 16) {
		case 0 ... 5: /* a bucket's line */
			at = geometry.index_offset + (where >> 8) % 3000 * sizeof(struct vg_bucket);
			break;
		case 6 ... 7: /* a handle's slot */
			at = geometry.handles_offset + (where >> 8) % 200 * sizeof(struct vg_handle_slot);
			break;
		case 8: /* a slab's class */
			at = geometry.handles_offset + geometry.handles_max * sizeof(struct vg_handle_slot);
			break;
		default: /* an item, a line, a link */
			at = geometry.slabs_offset + (where >> 8) % (geometry.slabs_max * (VG_SLAB_BYTES / 16)) * 16;
		}
		at = (at + (where >> 40) % 64) % (ARENA_BYTES - 8);
		switch (what % 4) {
		case 0:
			arena[at] ^= (__u8)(1u << (what >> 8 & 7));
			break;
		case 1: /* an offset of something else */
			what = (what >> 8) % ARENA_BYTES & ~15ULL;
			memcpy(arena + (at & ~3ULL), &what, 4);
			break;
		case 2:
			what |= what << 32;
			memcpy(arena + (at & ~7ULL), &what, 8);
			break;
		default:
			arena[at] = (__u8)(what >> 8);
		}
	}
	if (random_next(random) % 16 == 0)
		header->index_control ^= 1ULL << random_next(random) % 64;
}

static void seen_fn(void *context, const void *key, size_t length)
{
	(*(__u64 *)context)++;
	assert_true(length <= VG_KEY_MAX);
}

/* Whatever is in the arena, adopting ends and the store works. */
static void test_store_adopt_damaged(void **state)
{
	__u64 random = random_seed("damaged"), handle, cursor, seen;
	void *arena = map_guarded(), *image = malloc(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	struct vg_store_repair repair;
	struct vg_store_stats stats;

	for (__u64 i = 0; i < 7000; i++)
		put(store, i, i + 1, 0);
	for (int i = 0; i < 150; i++)
		assert_int_equal(vg_store_alloc(store, 1 + (__u64)i % 5 * 100, &handle), 0);
	vg_store_free(store);
	memcpy(image, arena, ARENA_BYTES);
	for (int round = 0; round < DAMAGES; round++) {
		memcpy(arena, image, ARENA_BYTES);
		damage(arena, &random);
		store = adopt(arena, 1, &repair);
		vg_store_stats(store, &stats);
		assert_int_equal(stats.keys, repair.kept);
		seen = 0;
		cursor = 0;
		do {
			cursor = vg_store_scan(store, cursor, 100, NOW_MS, seen_fn, &seen);
		} while (cursor);
		assert_int_equal(seen, repair.kept);
		for (__u64 i = 0; i < 7000; i++) {
			struct vg_key key = key_of(&i, sizeof(i));

			vg_store_delete(store, &key, NOW_MS);
			put(store, i, i + 2, 0);
			assert_int_equal(look(store, i), i + 2);
		}
		check_consistent(store);
		vg_store_free(store);
	}
	free(image);
	munmap(arena, ARENA_BYTES + 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_adopt_keeps_what_is_in_the_arena),
		cmocka_unit_test(test_store_adopt_refuses_another_arena),
		cmocka_unit_test(test_store_adopt_half_done_changes),
		cmocka_unit_test(test_store_format_forgets_handles),
		cmocka_unit_test(test_store_adopt_after_kill),
		cmocka_unit_test(test_store_adopt_damaged),
	};

	return cmocka_run_group_tests_name("store_adopt", tests, NULL, NULL);
}
