/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who is next, against a plain list that is searched. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/prng.h"
#include "svc/cpu/queue.h"

#define ENTRIES 200

static struct vg_queue queue;
static struct vg_queue_entry *memory[ENTRIES], entry[ENTRIES];

static int setup(void **state)
{
	vg_queue_init(&queue, memory, ENTRIES);
	for (int i = 0; i < ENTRIES; i++)
		entry[i] = (struct vg_queue_entry){ .place = VG_QUEUE_NOWHERE };
	return 0;
}

static void test_first_come_among_equals(void **state)
{
	for (int i = 0; i < 10; i++)
		assert_true(vg_queue_push(&queue, &entry[i], (__u8)(i % 2)));
	for (int i = 0; i < 10; i++) {
		struct vg_queue_entry *first = vg_queue_first(&queue);

		assert_ptr_equal(first, &entry[i < 5 ? 2 * i : 2 * (i - 5) + 1]);
		vg_queue_remove(&queue, first);
		assert_int_equal(first->place, VG_QUEUE_NOWHERE);
	}
	assert_null(vg_queue_first(&queue));
}

static void test_it_has_a_bound(void **state)
{
	struct vg_queue_entry more = { .place = VG_QUEUE_NOWHERE };

	for (int i = 0; i < ENTRIES; i++)
		assert_true(vg_queue_push(&queue, &entry[i], 1));
	assert_false(vg_queue_push(&queue, &more, 0));
	assert_int_equal(more.place, VG_QUEUE_NOWHERE);
	assert_int_equal(vg_queue_before(&queue, 0), 0);
	assert_int_equal(vg_queue_before(&queue, 1), ENTRIES);
}

static struct vg_queue_entry *best(void)
{
	struct vg_queue_entry *found = NULL;

	for (int i = 0; i < ENTRIES; i++)
		if (entry[i].place != VG_QUEUE_NOWHERE &&
		    (!found || entry[i].priority < found->priority ||
		     (entry[i].priority == found->priority && entry[i].order < found->order)))
			found = &entry[i];
	return found;
}

static void test_like_a_list_that_is_searched(void **state)
{
	__u64 seed = 7;

	for (int step = 0; step < 20000; step++) {
		struct vg_queue_entry *each = &entry[vg_prng_next(&seed) % ENTRIES];

		if (each->place == VG_QUEUE_NOWHERE)
			assert_true(vg_queue_push(&queue, each, (__u8)(vg_prng_next(&seed) % 5)));
		else if (vg_prng_next(&seed) % 2)
			vg_queue_remove(&queue, each);
		else
			vg_queue_remove(&queue, vg_queue_first(&queue));
		assert_ptr_equal(vg_queue_first(&queue), best());
		for (__u32 i = 0; i < queue.count; i++)
			assert_int_equal(queue.entry[i]->place, i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_first_come_among_equals, setup),
		cmocka_unit_test_setup(test_it_has_a_bound, setup),
		cmocka_unit_test_setup(test_like_a_list_that_is_searched, setup),
	};

	return cmocka_run_group_tests_name("cpu_queue", tests, NULL, NULL);
}
