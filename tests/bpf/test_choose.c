/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The choice of a node in BPF against the same policy in C, on random clusters; that a request asked again goes where it
 * went; and what is never steered.
 */
#include "fixture.h"

#include <string.h>
#include <sys/mman.h>

#include "choose.skel.h"
#include "choose_run.h"
#include "virgo/policy.h"

#define ROUNDS 20000

static struct choose {
	struct choose_bpf *skeleton;
	struct vg_config *config;
	struct vg_local *local;
	struct vg_node *nodes;
	struct vg_node_load *loads;
} choose;

static __u64 random_state = 4;

static int setup(void **state)
{
	choose.skeleton = choose_bpf__open_and_load();
	assert_non_null(choose.skeleton);
	choose.config = map_open(choose.skeleton->maps.vg_config, sizeof(struct vg_config));
	choose.local = map_open(choose.skeleton->maps.vg_local, sizeof(struct vg_local));
	choose.nodes = map_open(choose.skeleton->maps.vg_node, sizeof(struct vg_node) * VG_NODES_MAX);
	choose.loads = map_open(choose.skeleton->maps.vg_node_load, sizeof(struct vg_node_load) * VG_NODES_MAX);
	return 0;
}

static int teardown(void **state)
{
	munmap(choose.config, 4096);
	munmap(choose.local, 4096);
	munmap(choose.nodes, VG_ALIGN_UP(sizeof(struct vg_node) * VG_NODES_MAX, 4096UL));
	munmap(choose.loads, sizeof(struct vg_node_load) * VG_NODES_MAX);
	choose_bpf__destroy(choose.skeleton);
	return 0;
}

static void run(struct bpf_program *program, struct choose_run *context)
{
	/* A program of this type writes into the context it was given. */
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = context, .ctx_size_in = sizeof(*context));

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &options), 0);
	assert_int_equal(options.retval, 0);
}

/* A number that is small, middling or anything: ties and extremes are where policies differ. */
static __u32 some(void)
{
	__u64 draw = random_next(&random_state);

	return (__u32)(draw % 3 == 0 ? (draw >> 8) % 4 : draw % 3 == 1 ? (draw >> 8) % 1000 : draw >> 32);
}

static void cluster_make(__u32 nodes, __u64 now_ns)
{
	*choose.config = (struct vg_config){ .node = (__u16)(some() % nodes), .nodes = (__u16)nodes,
					     .policy = some() % VG_POLICY_MAX };
	*choose.local = (struct vg_local){ .run_queue_delay_ns = some(), .hot_in_flight = some(),
					   .other = { { some(), some() } } };
	for (__u32 i = 0; i < nodes; i++) {
		choose.nodes[i] = (struct vg_node){ .port_cpu = some() % 8 ? VG_HTOBE16(VG_PORT_CPU) : 0 };
		choose.loads[i] = (struct vg_node_load){
			.run_queue_delay_ns = some(),
			.service[VG_LOAD_CPU] = { .seen_ns = some() % 8 ? now_ns - random_next(&random_state) %
								(2 * VG_STAMP_AGE_MAX_MS * 1000000ULL) : 0,
						  .in_flight = some() >> 1, .service_ns = some(), .sent = some() % 5 },
		};
	}
}

/* What the program does, from what C can see. */
static __u32 choose_in_c(__u64 now_ns, __u32 random)
{
	__u32 nodes = choose.config->nodes, self = choose.config->node, policy = choose.config->policy;
	__u32 draws = vg_policy_draws(policy, nodes, VG_POLICY_DRAWS_XDP);
	struct vg_choice choice = VG_CHOICE_NONE;

	for (__u32 i = 0; i < draws; i++) {
		__u32 n = vg_policy_drawn(nodes, random, draws, i);
		const struct vg_service_load *heard = &choose.loads[n].service[VG_LOAD_CPU];
		__u64 age_ms = (now_ns - heard->seen_ns) >> 20;
		struct vg_candidate candidate = {
			.node = n,
			.in_flight = n == self ? choose.local->other[0].in_flight : heard->in_flight + heard->sent,
			.service_ns = n == self ? choose.local->other[0].service_ns : heard->service_ns,
			.wait_ns = n == self ? choose.local->run_queue_delay_ns : choose.loads[n].run_queue_delay_ns,
		};

		if (n != self) {
			if (!choose.nodes[n].port_cpu)
				continue;
			candidate.age_ms = heard->seen_ns && age_ms < VG_STAMP_AGE_MAX_MS ? (__u32)age_ms : ~0U;
		}
		vg_policy_consider(&choice, policy, &candidate, choose.local->hot_in_flight,
				   vg_policy_chance(random, i));
	}
	return choice.node < nodes ? choice.node : self;
}

static void test_choose_as_in_c(void **state)
{
	__u32 others = 0;

	for (int round = 0; round < ROUNDS; round++) {
		__u64 now_ns = 1ULL << 44 | random_next(&random_state) >> 24;
		__u32 nodes = 1 + (__u32)(random_next(&random_state) % (round % 16 ? 12 : VG_NODES_MAX - 1));
		struct choose_run context = { .now_ns = now_ns, .random = (__u32)random_next(&random_state) };
		__u32 expected;

		cluster_make(nodes, now_ns);
		expected = nodes < 2 ? choose.config->node : choose_in_c(now_ns, context.random);
		run(choose.skeleton->progs.choose_once, &context);
		assert_int_equal(context.node, expected);
		others += expected != choose.config->node;
	}
	assert_true(others > ROUNDS / 2); /* it was about something */
}

static void cluster_of_two(void)
{
	*choose.config = (struct vg_config){ .nodes = 2, .node = 0 };
	*choose.local = (struct vg_local){ .other = { { 100, 1000 } }, .hot_in_flight = 1000 };
	choose.nodes[1].port_cpu = VG_HTOBE16(VG_PORT_CPU);
	choose.loads[1] = (struct vg_node_load){ .service[VG_LOAD_CPU] = { .seen_ns = CLOCK_NS, .in_flight = 1,
									   .service_ns = 1000 } };
}

static void test_choose_asked_again_goes_where_it_went(void **state)
{
	struct choose_run context = { .now_ns = CLOCK_NS + 1, .client = 77, .sequence = 5, .rounds = 1 };

	cluster_of_two();
	run(choose.skeleton->progs.choose_decide, &context);
	assert_int_equal((int)context.reason, -1); /* VG_CONTINUE: on to node 1 */
	assert_int_equal(context.node, 1);
	choose.loads[1].service[VG_LOAD_CPU].in_flight = 900; /* now this node would be the better one */
	context.sequence = 6;
	run(choose.skeleton->progs.choose_decide, &context);
	assert_int_equal(context.reason, VG_REASON_JOB_HERE);
	context.sequence = 5;
	run(choose.skeleton->progs.choose_decide, &context);
	assert_int_equal(context.node, 1);
	choose.loads[1].service[VG_LOAD_CPU].in_flight = 0;
	context.sequence = 6;
	run(choose.skeleton->progs.choose_decide, &context);
	assert_int_equal(context.reason, VG_REASON_JOB_HERE);
}

static void test_choose_what_names_a_node_stays(void **state)
{
	struct choose_run context = { .now_ns = CLOCK_NS + 1, .client = 78, .sequence = 1, .rounds = 1, .hops = 1 };

	cluster_of_two();
	run(choose.skeleton->progs.choose_decide, &context);
	assert_int_equal(context.reason, VG_REASON_JOB_HERE);
	context.hops = 0;
	context.flags = VG_HTOBE16(VG_FLAG_FORWARDED);
	run(choose.skeleton->progs.choose_decide, &context);
	assert_int_equal(context.reason, VG_REASON_JOB_HERE);
}

/* More requests than can be remembered: those that find no place stay here, and none of the others moves. */
static void test_choose_never_forgets_too_early(void **state)
{
	const __u32 many = 4 * VG_STEERED_SETS * VG_STEERED_WAYS;
	struct choose_run context = { .now_ns = CLOCK_NS + 1, .client = 79, .sequence = 1, .rounds = 1 };
	__u32 places = 0, kept = 0;
	static __u8 went[1000];

	cluster_of_two();
	for (__u32 i = 0; i < 1000; i++) {
		context.sequence = VG_HTOBE64(i);
		run(choose.skeleton->progs.choose_decide, &context);
		went[i] = (__u8)context.reason;
		places += (int)context.reason == -1;
	}
	context.rounds = many;
	context.client = 80;
	context.sequence = 0;
	run(choose.skeleton->progs.choose_decide, &context);
	context.rounds = 1;
	context.client = 79;
	choose.loads[1].service[VG_LOAD_CPU].in_flight = 900; /* who is forgotten would be kept here now */
	for (__u32 i = 0; i < 1000; i++) {
		context.sequence = VG_HTOBE64(i);
		run(choose.skeleton->progs.choose_decide, &context);
		assert_int_equal((__u8)context.reason, went[i]);
	}
	context.client = 81;
	for (__u32 i = 0; i < 1000; i++) {
		context.sequence = VG_HTOBE64(i);
		run(choose.skeleton->progs.choose_decide, &context);
		kept += context.reason == VG_REASON_JOB_NO_PLACE;
	}
	assert_true(places > 900);
	assert_true(kept > 500);
	context.now_ns += (VG_STEERED_AGE_MS + 1000ULL) << 20; /* all have given up */
	context.client = 82;
	run(choose.skeleton->progs.choose_decide, &context);
	assert_int_not_equal(context.reason, VG_REASON_JOB_NO_PLACE);
}

static void test_choose_skipped(void **state)
{
	print_message("# %s\n", bpf_unavailable());
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose_as_in_c),
		cmocka_unit_test(test_choose_asked_again_goes_where_it_went),
		cmocka_unit_test(test_choose_what_names_a_node_stays),
		cmocka_unit_test(test_choose_never_forgets_too_early),
	};
	const struct CMUnitTest skipped[] = { cmocka_unit_test(test_choose_skipped) };

	if (bpf_unavailable())
		return cmocka_run_group_tests_name("choose", skipped, NULL, NULL);
	return cmocka_run_group_tests_name("choose", tests, setup, teardown);
}
