/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Blocks of the file pool: none overlaps another, all come back to whole ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "svc/file/buffers.h"

#define REGION (16u << 20)
#define LIVE 400

static void test_buffers_are_aligned_and_apart(void **state)
{
	struct vg_buffers buffers;
	struct {
		__u8 *at;
		size_t bytes;
		__u8 mark;
	} live[LIVE] = { 0 };
	unsigned int seed = 5, none = 0;

	assert_int_equal(vg_buffers_init(&buffers, REGION), 0);
	for (int step = 0; step < 100000; step++) {
		int i = rand_r(&seed) % LIVE;

		if (live[i].at) {
			/* Ends and middle are what was written when it was got. */
			assert_int_equal(live[i].at[0], live[i].mark);
			assert_int_equal(live[i].at[live[i].bytes / 2], live[i].mark);
			assert_int_equal(live[i].at[live[i].bytes - 1], live[i].mark);
			vg_buffer_put(&buffers, live[i].at);
			live[i].at = NULL;
			continue;
		}
		live[i].bytes = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 8 ? 20000 : VG_BUFFER_MAX);
		live[i].at = vg_buffer_get(&buffers, live[i].bytes);
		none += !live[i].at;
		if (!live[i].at)
			continue;
		assert_int_equal((uintptr_t)live[i].at % 4096, 0);
		assert_true(vg_buffer_is_of(&buffers, live[i].at) && vg_buffer_is_of(&buffers, live[i].at + live[i].bytes - 1));
		live[i].mark = (__u8)rand_r(&seed);
		memset(live[i].at, live[i].mark, live[i].bytes);
	}
	assert_true(none); /* it was full at times */
	for (int i = 0; i < LIVE; i++)
		if (live[i].at)
			vg_buffer_put(&buffers, live[i].at);
	/* All halves have found each other. */
	for (int i = 0; i < (int)(REGION / VG_BUFFER_MAX); i++)
		assert_non_null(vg_buffer_get(&buffers, VG_BUFFER_MAX));
	assert_null(vg_buffer_get(&buffers, 1));
	vg_buffers_deinit(&buffers);
}

static void test_buffers_sizes(void **state)
{
	struct vg_buffers buffers;
	void *block;

	assert_int_equal(vg_buffers_init(&buffers, 1), 0); /* at least one of the largest */
	block = vg_buffer_get(&buffers, VG_BUFFER_MAX);
	assert_non_null(block);
	assert_null(vg_buffer_get(&buffers, 1));
	vg_buffer_put(&buffers, block);
	for (int i = 0; i < 512; i++)
		assert_non_null(vg_buffer_get(&buffers, i % 2 ? 1 : 4096));
	assert_null(vg_buffer_get(&buffers, 1));
	vg_buffers_deinit(&buffers);
	vg_buffers_deinit(&buffers); /* of nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buffers_are_aligned_and_apart),
		cmocka_unit_test(test_buffers_sizes),
	};

	return cmocka_run_group_tests_name("buffers", tests, NULL, NULL);
}
