// SPDX-License-Identifier: GPL-3.0-or-later
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "proto/window.h"

static enum vg_window_verdict look(const struct vg_window *window, __u64 client, __u64 sequence)
{
	struct vg_window_answer answer;

	return vg_window_look(window, client, sequence, &answer);
}

static void record(struct vg_window *window, __u64 client, __u64 sequence)
{
	struct vg_window_answer answer = { .ident = sequence * 3, .opcode = 3, .status = (__u8)(sequence % 5) };

	vg_window_record(window, client, sequence, &answer);
}

static int setup(void **state)
{
	return vg_window_new((struct vg_window **)state, 64, 1);
}

static int teardown(void **state)
{
	vg_window_free(*state);
	return 0;
}

static void test_window_remembers_what_was_answered(void **state)
{
	struct vg_window *window = *state;
	struct vg_window_answer answer = { 0 };

	assert_int_equal(look(window, 1, 100), VG_WINDOW_NEW);
	record(window, 1, 100);
	assert_int_equal(vg_window_look(window, 1, 100, &answer), VG_WINDOW_DUPLICATE);
	assert_int_equal(answer.ident, 300);
	assert_int_equal(answer.opcode, 3);
	assert_int_equal(answer.status, 0);
	assert_int_equal(look(window, 2, 100), VG_WINDOW_NEW);
	assert_int_equal(look(window, 1, 101), VG_WINDOW_NEW);
	assert_int_equal(look(window, 1, 99), VG_WINDOW_NEW);
}

static void test_window_edges(void **state)
{
	struct vg_window *window = *state;

	record(window, 1, 10000);
	assert_int_equal(look(window, 1, 10000 - VG_WINDOW_SEQUENCES + 1), VG_WINDOW_NEW);
	assert_int_equal(look(window, 1, 10000 - VG_WINDOW_SEQUENCES), VG_WINDOW_OLD);
	assert_int_equal(look(window, 1, 0), VG_WINDOW_OLD);
	record(window, 1, UINT64_MAX);
	assert_int_equal(look(window, 1, UINT64_MAX), VG_WINDOW_DUPLICATE);
	assert_int_equal(look(window, 1, UINT64_MAX - 1), VG_WINDOW_NEW);
	assert_int_equal(look(window, 1, 10000), VG_WINDOW_OLD);
	assert_int_equal(look(window, 1, 0), VG_WINDOW_OLD);
	record(window, 7, 0);
	assert_int_equal(look(window, 7, 0), VG_WINDOW_DUPLICATE);
}

/* Sliding by every distance clears exactly what entered, against a list of all that was recorded. */
static void test_window_slides_like_the_model(void **state)
{
	static bool seen[1 << 20];
	struct vg_window *window = *state;
	__u64 newest = 0;
	unsigned int random = 12345;

	for (int i = 0; i < 30000 && newest < 1000000; i++) {
		__u64 sequence;

		random = random * 1103515245 + 12345;
		sequence = random >> 16 & 1 ? newest + (random >> 17) % (random >> 28 ? 4 : 2500) :
					      newest - (random >> 17) % (newest < 1600 ? newest + 1 : 1600);
		enum vg_window_verdict want = !newest && !seen[0] ? VG_WINDOW_NEW :
					      sequence > newest	   ? VG_WINDOW_NEW :
					      newest - sequence >= VG_WINDOW_SEQUENCES ? VG_WINDOW_OLD :
					      seen[sequence]	   ? VG_WINDOW_DUPLICATE :
								     VG_WINDOW_NEW;

		assert_int_equal(look(window, 5, sequence), want);
		if (want == VG_WINDOW_NEW) {
			struct vg_window_answer answer;

			record(window, 5, sequence);
			assert_int_equal(vg_window_look(window, 5, sequence, &answer), VG_WINDOW_DUPLICATE);
			assert_int_equal(answer.ident, sequence * 3);
			seen[sequence] = true;
			if (sequence > newest)
				newest = sequence;
		}
	}
	assert_true(newest > 100000);
}

/* A full set gives up the longest unheard-of of its own; a client that keeps talking is never forgotten. */
static void test_window_forgets_the_longest_unheard_of(void **state)
{
	struct vg_window *window = *state;
	int kept = 0;

	for (__u64 client = 1; client <= 1000; client++) {
		record(window, client, 5);
		record(window, 1, 100 + client);
		assert_int_equal(look(window, 1, 100 + client), VG_WINDOW_DUPLICATE);
	}
	for (__u64 client = 2; client <= 1000; client++)
		kept += look(window, client, 5) == VG_WINDOW_DUPLICATE;
	assert_true(kept <= 63 && kept >= 40);
	assert_int_equal(look(window, 1000, 5), VG_WINDOW_DUPLICATE);
	assert_int_equal(look(window, 2, 5), VG_WINDOW_NEW);
}

/* There is no number behind the last one. */
static void test_window_ends_with_the_last_number(void **state)
{
	struct vg_window *window = *state;

	record(window, 9, ~0ULL - 3);
	record(window, 9, ~0ULL);
	assert_int_equal(look(window, 9, ~0ULL), VG_WINDOW_DUPLICATE);
	assert_int_equal(look(window, 9, ~0ULL - 1), VG_WINDOW_NEW);
	assert_int_equal(look(window, 9, ~0ULL - 3), VG_WINDOW_DUPLICATE);
	assert_int_equal(look(window, 9, 0), VG_WINDOW_OLD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_window_remembers_what_was_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window_edges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window_slides_like_the_model, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window_forgets_the_longest_unheard_of, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window_ends_with_the_last_number, setup, teardown),
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
