// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-choose: the steering decision of XDP by itself: looking whether the request was asked before, drawing and
 * comparing candidates, remembering. In a loop inside one BPF program; what an empty loop costs is taken off. Prints
 * nanoseconds a decision for clusters of several sizes, the least of some rounds, as one JSON object.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choose.skel.h"
#include "choose_run.h"
#include "virgo/maps.h"
#include "virgo/policy.h"

#define DECISIONS (VG_STEERED_SETS * VG_STEERED_WAYS / 8) /* all of them find a place */
#define ROUNDS 200

static void must(long result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "bench-choose: %s: %s\n", what, strerror((int)-result));
	exit(EXIT_FAILURE);
}

static double run(struct bpf_program *program, struct choose_run *context)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = context, .ctx_size_in = sizeof(*context));

	must(bpf_prog_test_run_opts(bpf_program__fd(program), &options), "run");
	return (double)context->elapsed_ns / context->rounds;
}

static void cluster(struct choose_bpf *skeleton, __u32 nodes, __u32 policy, __u64 now_ns)
{
	struct vg_config config = { .nodes = (__u16)nodes, .policy = policy };
	struct vg_local local = { .hot_in_flight = 8 };
	struct vg_node node = { .port_cpu = VG_HTOBE16(VG_PORT_CPU) };
	__u32 zero = 0;

	must(bpf_map_update_elem(bpf_map__fd(skeleton->maps.vg_config), &zero, &config, 0), "vg_config");
	must(bpf_map_update_elem(bpf_map__fd(skeleton->maps.vg_local), &zero, &local, 0), "vg_local");
	for (__u32 i = 0; i < nodes; i++) {
		struct vg_node_load load = { .service[VG_LOAD_CPU] = { .seen_ns = now_ns - 1000000,
								       .in_flight = i % 7,
								       .service_ns = 1000 + i } };

		must(bpf_map_update_elem(bpf_map__fd(skeleton->maps.vg_node), &i, &node, 0), "vg_node");
		must(bpf_map_update_elem(bpf_map__fd(skeleton->maps.vg_node_load), &i, &load, 0), "vg_node_load");
	}
}

static double decision_ns(struct choose_bpf *skeleton, __u32 nodes, __u32 policy)
{
	struct choose_run context = { .now_ns = 1ULL << 44, .client = 1, .rounds = DECISIONS };
	double empty = 1e9, decided = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double each_ns = run(skeleton->progs.choose_nothing, &context);

		empty = each_ns < empty ? each_ns : empty;
		/* Each round all former decisions have been forgotten. */
		context.now_ns += (VG_STEERED_AGE_MS + 1000ULL) << 20;
		context.client++;
		cluster(skeleton, nodes, policy, context.now_ns);
		each_ns = run(skeleton->progs.choose_decide, &context);
		decided = each_ns < decided ? each_ns : decided;
		if (context.reason == VG_REASON_JOB_NO_PLACE)
			must(-ENOSPC, "a decision found no place");
	}
	return decided - empty;
}

int main(void)
{
	struct choose_bpf *skeleton = choose_bpf__open_and_load();

	must(skeleton ? 0 : -errno, "load");
	printf("{\"xdp choice, prequal, 8 nodes\": %.1f, ", decision_ns(skeleton, 8, VG_POLICY_PREQUAL));
	printf("\"xdp choice, prequal, 1000 nodes\": %.1f, ", decision_ns(skeleton, 1000, VG_POLICY_PREQUAL));
	printf("\"xdp choice, p2c, 1000 nodes\": %.1f}\n", decision_ns(skeleton, 1000, VG_POLICY_P2C));
	choose_bpf__destroy(skeleton);
	return EXIT_SUCCESS;
}
