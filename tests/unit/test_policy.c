/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The policies: who comes before whom, and how evenly chance draws. Bounds of chi-square are for one in 10^5. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "virgo/policy.h"

#define NODES_MAX 32

static __u64 random_state = 20261121;

static __u32 random32(void)
{
	return (__u32)(vg_prng_next(&random_state) >> 32);
}

/* One choice among all that is known, as a chooser makes it. */
static __u32 choose(__u32 policy, const struct vg_candidate *all, __u32 count, __u32 hot)
{
	__u32 random = random32(), draws = vg_policy_draws(policy, count, VG_POLICY_DRAWS_MAX);
	struct vg_choice choice = VG_CHOICE_NONE;

	for (__u32 i = 0; i < draws; i++)
		vg_policy_consider(&choice, policy, &all[vg_policy_drawn(count, random, draws, i)], hot,
				   vg_policy_chance(random, i));
	return choice.node;
}

static void fill(struct vg_candidate *all, __u32 count)
{
	for (__u32 i = 0; i < count; i++)
		all[i] = (struct vg_candidate){ .node = i, .in_flight = 5, .service_ns = 1000 };
}

/* Chi-square of counts that should be equal. */
static double unevenness(const __u32 *counts, __u32 count, __u32 total)
{
	double expected = (double)total / count, sum = 0;

	for (__u32 i = 0; i < count; i++)
		sum += (counts[i] - expected) * (counts[i] - expected) / expected;
	return sum;
}

/* Equal nodes: every policy spreads evenly, whatever their number. 72 is beyond 1 in 10^5 for 30 degrees of freedom. */
static void test_policy_equal_nodes_get_equal_shares(void **state)
{
	static const __u32 clusters[] = { 2, 3, 7, 8, 9, 16, 17, 31 };
	struct vg_candidate all[NODES_MAX];

	for (__u32 policy = 0; policy < VG_POLICY_MAX; policy++) {
		for (unsigned int c = 0; c < sizeof(clusters) / sizeof(clusters[0]); c++) {
			__u32 counts[NODES_MAX] = { 0 }, total = 20000;

			fill(all, clusters[c]);
			for (__u32 i = 0; i < total; i++)
				counts[choose(policy, all, clusters[c], 100)]++;
			assert_true(unevenness(counts, clusters[c], total) < 72);
		}
	}
}

/* Power of two: the node of rank r among n is taken when both drawn rank no better: (2(n-r)-1)/(n(n-1)) for r from 0.
 */
static void test_policy_p2c_follows_its_law(void **state)
{
	struct vg_candidate all[NODES_MAX];
	__u32 counts[NODES_MAX] = { 0 }, n = 10, total = 50000;
	double sum = 0;

	fill(all, n);
	for (__u32 i = 0; i < n; i++)
		all[i].in_flight = 10 * i;
	for (__u32 i = 0; i < total; i++)
		counts[choose(VG_POLICY_P2C, all, n, 100)]++;
	for (__u32 r = 0; r < n - 1; r++) {
		double expected = total * 2.0 * (n - 1 - r) / (n * (n - 1.0));

		sum += (counts[r] - expected) * (counts[r] - expected) / expected;
	}
	assert_int_equal(counts[n - 1], 0); /* the worst of all never wins against another */
	assert_true(sum < 38);
}

static void test_policy_prg_does_not_look_at_load(void **state)
{
	struct vg_candidate all[NODES_MAX];
	__u32 counts[NODES_MAX] = { 0 };

	fill(all, 5);
	all[3].in_flight = 1000000;
	all[3].service_ns = 4000000000U;
	for (__u32 i = 0; i < 20000; i++)
		counts[choose(VG_POLICY_PRG, all, 5, 1)]++;
	assert_true(unevenness(counts, 5, 20000) < 30);
}

static void test_policy_silent_nodes_are_the_last_resort(void **state)
{
	struct vg_candidate all[NODES_MAX];

	for (__u32 policy = 0; policy < VG_POLICY_MAX; policy++) {
		fill(all, 2);
		all[0].age_ms = VG_STAMP_AGE_MAX_MS + 1;
		all[0].in_flight = 0;
		all[1].in_flight = 100000;
		for (int i = 0; i < 100; i++)
			assert_int_equal(choose(policy, all, 2, 10), 1);
		all[1].age_ms = VG_STAMP_AGE_MAX_MS + 1;
		assert_int_not_equal(choose(policy, all, 2, 10), VG_NODE_NONE);
		all[0].age_ms = VG_STAMP_AGE_MAX_MS; /* just young enough */
		for (int i = 0; i < 100; i++)
			assert_int_equal(choose(policy, all, 2, 10), 0);
	}
}

static __u64 rank(__u32 policy, __u32 in_flight, __u32 service_ns, __u32 hot)
{
	struct vg_candidate candidate = { .in_flight = in_flight, .service_ns = service_ns };

	return vg_policy_rank(policy, &candidate, hot, 0);
}

static void test_policy_prequal_hot_and_cold(void **state)
{
	const __u32 p = VG_POLICY_PREQUAL;

	/* Idle before cold before hot, whatever the times. */
	assert_true(rank(p, 0, 4000000000U, 10) < rank(p, 1, 1, 10));
	assert_true(rank(p, 10, 4000000000U, 10) < rank(p, 11, 1, 10));
	/* Of cold ones the expected latency decides: a fast node with more in flight may be the better one. */
	assert_true(rank(p, 3, 1000, 10) < rank(p, 1, 2001, 10));
	assert_true(rank(p, 3, 1000, 10) > rank(p, 1, 1999, 10));
	/* Of hot ones the requests in flight, then the time of service. */
	assert_true(rank(p, 12, 1, 10) > rank(p, 11, 1000000, 10));
	assert_true(rank(p, 11, 1, 10) < rank(p, 11, 2, 10));
	/* A wait for a processor counts as time. */
	struct vg_candidate calm = { .in_flight = 1, .service_ns = 1000 }, busy = calm;

	busy.wait_ns = 1;
	assert_true(vg_policy_rank(p, &calm, 10, 0) < vg_policy_rank(p, &busy, 10, 0));
}

/* Whatever a stamp says, the class stands and the rank does not wrap. */
static void test_policy_no_stamp_breaks_the_order(void **state)
{
	static const __u32 extremes[] = { 0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff };

	for (__u32 policy = 0; policy < VG_POLICY_MAX; policy++) {
		for (int f = 0; f < 6; f++) {
			for (int s = 0; s < 6; s++) {
				struct vg_candidate one = { .in_flight = extremes[f],
							    .service_ns = extremes[s],
							    .wait_ns = extremes[s],
							    .is_local = f & 1 };
				__u64 heard = vg_policy_rank(policy, &one, 7, 0xffffffff);

				one.age_ms = 0xffffffff;
				assert_true(heard < vg_policy_rank(policy, &one, 7, 0));
				assert_true(vg_policy_rank(policy, &one, 7, 0) >> 62 == VG_CLASS_SILENT);
			}
		}
	}
	for (__u32 f = 0; f + 1 < 6; f++)
		assert_true(rank(VG_POLICY_LEASTLOADED, extremes[f], 5, 7) <=
			    rank(VG_POLICY_LEASTLOADED, extremes[f + 1], 5, 7));
}

static void test_policy_locality_is_worth_a_wait(void **state)
{
	struct vg_candidate here = { .node = 1, .in_flight = 6, .service_ns = 1000, .is_local = 1 },
			    there = { .node = 2, .in_flight = 1, .service_ns = 1000 };

	assert_true(vg_policy_rank(VG_POLICY_LOCALITY, &here, 100, 0) <
		    vg_policy_rank(VG_POLICY_LOCALITY, &there, 100, 0));
	here.in_flight = 8; /* nine times the service are more than four times two */
	assert_true(vg_policy_rank(VG_POLICY_LOCALITY, &here, 100, 0) >
		    vg_policy_rank(VG_POLICY_LOCALITY, &there, 100, 0));
	here.in_flight = 101; /* hot */
	there.in_flight = 100;
	there.service_ns = 100000;
	assert_true(vg_policy_rank(VG_POLICY_LOCALITY, &here, 100, 0) >
		    vg_policy_rank(VG_POLICY_LOCALITY, &there, 100, 0));
}

static void test_policy_hot_is_a_quantile(void **state)
{
	__u32 in_flight[100];

	for (__u32 i = 0; i < 100; i++)
		in_flight[(i * 37) % 100] = i + 1;
	assert_int_equal(vg_policy_hot_in_flight(in_flight, 100), 2 * 84 + 1);
	memset(in_flight, 0, sizeof(in_flight));
	assert_int_equal(vg_policy_hot_in_flight(in_flight, 100), 1);
	assert_int_equal(vg_policy_hot_in_flight(in_flight, 0), 1);
	memset(in_flight, 0xff, sizeof(in_flight));
	assert_true(vg_policy_hot_in_flight(in_flight, 100) > VG_POLICY_IN_FLIGHT_MAX / 4);
}

/* What is drawn is within the cluster; all of it when as many are drawn; the first two differ. */
static void test_policy_draws(void **state)
{
	for (__u32 nodes = 1; nodes <= VG_NODES_MAX; nodes = nodes < 40 ? nodes + 1 : nodes * 2 - 1) {
		__u32 draws = vg_policy_draws(VG_POLICY_PREQUAL, nodes, VG_POLICY_DRAWS_MAX);

		for (int round = 0; round < 200; round++) {
			__u32 random = random32(), seen = 0;

			for (__u32 i = 0; i < draws; i++) {
				__u32 node = vg_policy_drawn(nodes, random, draws, i);

				assert_true(node < nodes);
				seen |= draws == nodes ? 1u << node : 0;
			}
			if (draws == nodes)
				assert_int_equal(seen, (__u32)((1ULL << nodes) - 1));
			else
				assert_int_not_equal(vg_policy_drawn(nodes, random, draws, 0),
						     vg_policy_drawn(nodes, random, draws, 1));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy_equal_nodes_get_equal_shares),
		cmocka_unit_test(test_policy_p2c_follows_its_law),
		cmocka_unit_test(test_policy_prg_does_not_look_at_load),
		cmocka_unit_test(test_policy_silent_nodes_are_the_last_resort),
		cmocka_unit_test(test_policy_prequal_hot_and_cold),
		cmocka_unit_test(test_policy_no_stamp_breaks_the_order),
		cmocka_unit_test(test_policy_locality_is_worth_a_wait),
		cmocka_unit_test(test_policy_hot_is_a_quantile),
		cmocka_unit_test(test_policy_draws),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
