/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The choice of a node by itself, as xdp_ingress makes it: for the test that compares it with the same policy in C, and
 * for the bench. Run by BPF_PROG_TEST_RUN with a struct choose_run as its context.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "lib/choose.bpf.h"
#include "choose_run.h"

/* A request that is not in a packet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct vg_wire_header);
} choose_request SEC(".maps");

SEC("syscall")
int choose_once(struct choose_run *run)
{
	__u32 zero = 0;

	run->node = (__u32)vg_choose(bpf_map_lookup_elem(&VG_MAP_CONFIG, &zero),
				     bpf_map_lookup_elem(&VG_MAP_LOCAL, &zero), run->now_ns, run->random);
	return 0;
}

struct decide_loop {
	const struct vg_config *config;
	const struct vg_local *local;
	struct vg_wire_header *header;
	__u64 now_ns, sequence;
	__u32 reason, node;
};

static long decide(__u32 i, struct decide_loop *loop)
{
	struct vg_serve serve = { .config = loop->config, .local = loop->local, .now_ns = loop->now_ns };

	loop->header->sequence = loop->sequence + i;
	serve.frame.header = loop->header;
	loop->reason = vg_job_owner(&serve, &loop->node);
	return 0;
}

/* All of the decision: looking whether it was made before, choosing, remembering. */
SEC("syscall")
int choose_decide(struct choose_run *run)
{
	__u32 zero = 0;
	struct decide_loop loop = {
		.config = bpf_map_lookup_elem(&VG_MAP_CONFIG, &zero),
		.local = bpf_map_lookup_elem(&VG_MAP_LOCAL, &zero),
		.header = bpf_map_lookup_elem(&choose_request, &zero),
		.now_ns = run->now_ns,
		.sequence = run->sequence,
		.node = ~0U,
	};
	__u64 before_ns;

	if (!loop.config || !loop.local || !loop.header)
		return 1;
	*loop.header = (struct vg_wire_header){ .opcode = VG_OP_CLONE, .client = run->client, .hops = run->hops,
						.flags = run->flags };
	before_ns = bpf_ktime_get_ns();
	bpf_loop(run->rounds, decide, &loop, 0);
	run->elapsed_ns = bpf_ktime_get_ns() - before_ns;
	run->reason = loop.reason;
	run->node = loop.node;
	return 0;
}

/* The same loop with nothing in it, to be taken off. */
static long nothing(__u32 i, struct decide_loop *loop)
{
	loop->header->sequence = loop->sequence + i;
	return 0;
}

SEC("syscall")
int choose_nothing(struct choose_run *run)
{
	__u32 zero = 0;
	struct decide_loop loop = { .header = bpf_map_lookup_elem(&choose_request, &zero) };
	__u64 before_ns = bpf_ktime_get_ns();

	if (!loop.header)
		return 1;
	bpf_loop(run->rounds, nothing, &loop, 0);
	run->elapsed_ns = bpf_ktime_get_ns() - before_ns;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
