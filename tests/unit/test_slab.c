/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cells: size classes, whole and disjoint cells, exhaustion, slabs that change class, adopting. */
#include "store_fixture.h"

#include "pool/slab.h"

#define SLABS 8
#define ARENA_BYTES ((SLABS + 1) * VG_SLAB_BYTES)

struct arena { /* two workers' caches over eight slabs; slab 0 lies behind one slab of other things */
	__u8 *memory;
	__u8 classes[SLABS];
	struct vg_slabs slabs;
	struct vg_slab_cache cache[2];
};

static int setup(void **state)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	arena->memory = map_shared(ARENA_BYTES);
	*state = arena;
	return vg_slabs_init(&arena->slabs, arena->memory, VG_SLAB_BYTES, SLABS, arena->classes);
}

static int teardown(void **state)
{
	struct arena *arena = *state;

	vg_slabs_deinit(&arena->slabs);
	munmap(arena->memory, ARENA_BYTES);
	free(arena);
	return 0;
}

/* Every length gets the smallest class that holds it; steps are 8 up to 256, then at most a fourteenth. */
static void test_slab_size_classes(void **state)
{
	assert_int_equal(vg_slab_size(VG_SLAB_SIZES - 1), VG_CELL_MAX);
	for (__u32 bytes = 1; bytes <= VG_CELL_MAX; bytes++) {
		__u32 class = vg_slab_size_class(bytes);

		assert_true(class < VG_SLAB_SIZES);
		assert_true(vg_slab_size(class) >= bytes);
		assert_int_equal(vg_slab_size(class) % VG_CELL_ALIGN, 0);
		if (class)
			assert_true(vg_slab_size(class - 1) < bytes);
	}
	for (__u32 class = 1; class < VG_SLAB_SIZES; class++)
		assert_true(vg_slab_size(class) - vg_slab_size(class - 1) <=
			    (class < 32 ? 8 : vg_slab_size(class) / 14));
}

/* Fill everything with one class; returns how many, first written full of its own number. */
static __u32 fill(struct arena *arena, __u32 class, __u32 *ret_cells)
{
	__u32 bytes = arena->slabs.class[class].cell_bytes, count = 0;

	while ((ret_cells[count] = vg_slab_get(&arena->slabs, &arena->cache[count % 2], class))) {
		assert_true(ret_cells[count] >= VG_SLAB_BYTES && ret_cells[count] + bytes <= ARENA_BYTES);
		assert_int_equal(ret_cells[count] % VG_CELL_ALIGN, 0);
		for (__u32 at = 0; at < bytes; at += 4)
			memcpy(arena->memory + ret_cells[count] + at, &count, 4);
		count++;
	}
	/* The other worker's cache may hold some: they are not lost, but they are its own. */
	for (int i = 0; i < 2; i++)
		while ((ret_cells[count] = vg_slab_get(&arena->slabs, &arena->cache[i], class))) {
			for (__u32 at = 0; at < bytes; at += 4)
				memcpy(arena->memory + ret_cells[count] + at, &count, 4);
			count++;
		}
	return count;
}

static void test_slab_cells_are_disjoint_and_all_there(void **state)
{
	static const __u32 classes[] = { 0, 3, 20, 40, VG_SLAB_SIZES - 1, VG_SLAB_CLASS_HANDLE + 7, VG_SLAB_CLASS_LINE };
	static __u32 cells[SLABS * VG_SLAB_BYTES / 8 + 1];
	struct arena *arena = *state;

	for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		__u32 class = classes[i], bytes = arena->slabs.class[class].cell_bytes;
		__u32 count = fill(arena, class, cells);

		/* The last slab is for small cells. */
		assert_int_equal(count, (bytes > VG_SLAB_SMALL_BYTES ? SLABS - 1 : SLABS) * (VG_SLAB_BYTES / bytes));
		for (__u32 cell = 0; cell < count; cell++)
			for (__u32 at = 0; at < bytes; at += 4)
				assert_memory_equal(arena->memory + cells[cell] + at, &cell, 4);
		assert_int_equal(vg_slab_get(&arena->slabs, &arena->cache[0], class), 0);
		teardown(state);
		setup(state);
		arena = *state;
	}
}

/* An empty slab serves another class at once; one of lines only when it has rested: XDP may be late with a bit. */
static void test_slab_changes_class(void **state)
{
	static __u32 cells[SLABS * VG_SLAB_BYTES / 64 + 1];
	struct arena *arena = *state;
	__u32 count = fill(arena, 7, cells), slabs_given = 0;

	vg_slabs_tick(&arena->slabs, &arena->cache[1], 1000000);
	for (__u32 i = 0; i < count; i++)
		vg_slab_put(&arena->slabs, &arena->cache[0], 7, cells[i]);
	count = fill(arena, VG_SLAB_CLASS_LINE, cells);
	for (int i = 0; i < SLABS; i++)
		slabs_given += arena->classes[i] == VG_SLAB_CLASS_LINE + 1;
	assert_true(slabs_given >= SLABS - 2); /* the cache keeps cells of one or two */
	assert_int_equal(count, slabs_given * (VG_SLAB_BYTES / 64));

	for (__u32 i = 0; i < count; i++)
		vg_slab_put(&arena->slabs, &arena->cache[0], VG_SLAB_CLASS_LINE, cells[i]);
	vg_slabs_tick(&arena->slabs, &arena->cache[0], 1000000 + VG_SLAB_SETTLE_MS);
	while (vg_slab_get(&arena->slabs, &arena->cache[0], 7)) /* what the caches had of it */
		;
	assert_int_equal(vg_slab_get(&arena->slabs, &arena->cache[0], 15), 0);
	vg_slabs_tick(&arena->slabs, &arena->cache[1], 1000000 + VG_SLAB_SETTLE_MS + VG_SLAB_REST_MS);
	assert_int_not_equal(vg_slab_get(&arena->slabs, &arena->cache[0], 15), 0);
}

/* The index takes the lowest slabs, if they are free. */
static void test_slab_index_grows_from_below(void **state)
{
	static __u32 cells[SLABS * VG_SLAB_BYTES / 64 + 1];
	struct arena *arena = *state;
	__u32 count;

	assert_true(vg_slabs_extend_index(&arena->slabs, 2 * VG_SLAB_BYTES));
	count = fill(arena, 7, cells);
	assert_int_equal(count, (SLABS - 2) * VG_SLAB_BYTES / 64);
	for (__u32 i = 0; i < count; i++)
		assert_true(cells[i] >= 3 * VG_SLAB_BYTES);
	assert_true(vg_slabs_extend_index(&arena->slabs, 2 * VG_SLAB_BYTES));
	assert_false(vg_slabs_extend_index(&arena->slabs, 2 * VG_SLAB_BYTES + 1));
	for (__u32 i = 0; i < count; i++)
		vg_slab_put(&arena->slabs, &arena->cache[0], 7, cells[i]);
	vg_slabs_tick(&arena->slabs, &arena->cache[0], 1000000);
	assert_true(vg_slabs_extend_index(&arena->slabs, 2 * VG_SLAB_BYTES + 1));
	assert_int_equal(arena->slabs.index, 3);
	assert_true(vg_slabs_extend_index(&arena->slabs, SLABS * VG_SLAB_BYTES));
	assert_false(vg_slabs_extend_index(&arena->slabs, SLABS * VG_SLAB_BYTES + 1));
	assert_int_equal(vg_slab_get(&arena->slabs, &arena->cache[0], 7), 0);
}

static void test_slab_claims_what_is_whole_only(void **state)
{
	struct arena *arena = *state;
	__u64 claimed[SLABS * VG_SLAB_BYTES / VG_CELL_ALIGN / 64] = { 0 };
	__u32 slab1 = 2 * VG_SLAB_BYTES, cells = VG_SLAB_BYTES / 48, count = 0, cell;

	arena->classes[1] = 5 + 1; /* cells of 48 bytes */
	arena->classes[3] = 0xff;
	assert_true(vg_slab_claim(&arena->slabs, claimed, 5, slab1 + 48));
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, slab1 + 48));	      /* taken */
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, slab1 + 64));	      /* between cells */
	assert_false(vg_slab_claim(&arena->slabs, claimed, 6, slab1 + 64));	      /* another class */
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, slab1 + cells * 48)); /* the rest at the end */
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, VG_SLAB_BYTES));	      /* a slab without class */
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, 0));
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, 48));
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, ARENA_BYTES));
	assert_false(vg_slab_claim(&arena->slabs, claimed, 5, 0xfffffff0));
	vg_slabs_claimed(&arena->slabs, claimed);
	/* All of slab 1 but the claimed cell, then whatever is behind, and slab 0. */
	while ((cell = vg_slab_get(&arena->slabs, &arena->cache[0], 5))) {
		assert_int_not_equal(cell, slab1 + 48);
		count++;
	}
	assert_int_equal(count, SLABS * cells - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slab_size_classes),
		cmocka_unit_test_setup_teardown(test_slab_cells_are_disjoint_and_all_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slab_changes_class, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slab_index_grows_from_below, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slab_claims_what_is_whole_only, setup, teardown),
	};

	return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
