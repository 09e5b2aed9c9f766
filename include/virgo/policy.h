/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which node a request goes to that any node could serve: the policies, the same code for XDP, daemon, client library
 * and simulator. Pure functions over what the caller knows of some candidates; nothing is remembered here.
 *
 * A caller draws candidates (vg_policy_draws says how many, vg_policy_drawn which), fills in what it knows of each and
 * shows it to vg_policy_consider; the lowest rank wins. A rank is 64 bits:
 *
 *     class (2 bits) | cost (52 bits) | chance (10 bits)
 *
 * The classes: idle, cold, hot, silent. So a node that has not been heard for
 * VG_STAMP_AGE_MAX_MS is the last resort under every policy, and ties are broken by chance, or all choosers with the
 * same picture would go to the same node.
 *
 * prequal is the hot-cold rule of B. Wydrowski, R. Kleinberg, S. Rumble and A. Archer ("Load is not what you should
 * balance: introducing Prequal", NSDI 2024): a node is hot when it has more requests in flight than a quantile of all
 * nodes; of cold nodes the one with the least expected latency is taken, among hot ones the one with the fewest
 * requests in flight. Ours adds that a node with nothing to do comes before all others: what a smoothed service time
 * says is less certain than that nobody waits there (docs/decisions/0061).
 */
#ifndef VIRGO_POLICY_H
#define VIRGO_POLICY_H

#include "types.h"
#include "limits.h"

/* X(name, number, text, help): numbers are in maps (vg_config.policy); 0 is the default. */
#define VG_POLICIES(X)                                                                                                 \
	X(PREQUAL, 0, "prequal", "least expected latency, of nodes that are not hot")                                  \
	X(LEASTLOADED, 1, "leastloaded", "fewest requests in flight of all (the original's registry)")                 \
	X(PRG, 2, "prg", "any, by chance (the original's PRG)")                                                        \
	X(P2C, 3, "p2c", "the less loaded of two drawn by chance")                                                     \
	X(LOCALITY, 4, "locality", "prequal that goes far for the node that holds the named data")

enum vg_policy {
#define X(name, number, text, help) VG_POLICY_##name = number,
	VG_POLICIES(X)
#undef X
		VG_POLICY_MAX
};

#ifndef __bpf__
static inline const char *vg_policy_name(__u32 policy)
{
	static const char *const names[VG_POLICY_MAX] = {
#define X(name, number, text, help) [number] = text,
		VG_POLICIES(X)
#undef X
	};

	return policy < VG_POLICY_MAX ? names[policy] : "unknown";
}
#endif

/* What is known of a node. */
struct vg_candidate {
	__u32 node;
	__u32 in_flight;  /* as its last stamp said, and what the chooser has sent there since */
	__u32 service_ns; /* the node's time for a request when it has many; 0: not known */
	__u32 wait_ns;	  /* smoothed run-queue delay */
	__u32 age_ms;	  /* of the stamp */
	__u32 is_local;	  /* not 0: the named data is there */
};

/* Data that need not be moved is worth waiting so many times as long. */
#define VG_POLICY_LOCALITY_WORTH 4

#define VG_POLICY_CHANCE_BITS 10
#define VG_POLICY_COST_BITS 52
#define VG_POLICY_COST_MAX ((1ULL << VG_POLICY_COST_BITS) - 1)
#define VG_POLICY_IN_FLIGHT_MAX 0xfffffU /* more are as many: 20 bits, and 32 of service time, are 52 */

enum vg_policy_class { VG_CLASS_IDLE = 0, VG_CLASS_COLD, VG_CLASS_HOT, VG_CLASS_SILENT };

/* The best so far; initialise `rank` to all ones. */
struct vg_choice {
	__u64 rank;
	__u32 node;
};
#define VG_CHOICE_NONE ((struct vg_choice){ ~0ULL, VG_NODE_NONE })

/* How many of `nodes` candidates are drawn; `most` is VG_POLICY_DRAWS_MAX, or _XDP there. */
VG_INLINE __u32 vg_policy_draws(__u32 policy, __u32 nodes, __u32 most)
{
	__u32 draws = most;

	if (policy == VG_POLICY_P2C || policy == VG_POLICY_PRG)
		draws = 2; /* prg looks at the second where the first is silent */
	return nodes < draws ? nodes : draws;
}

/*
 * The number of the candidate drawn as the `i`th of `nodes`: a random start and a random stride, so that each node is
 * as likely as any other and the first two always differ. All of them when as many are drawn as there are.
 */
VG_INLINE __u32 vg_policy_start(__u32 nodes, __u32 random)
{
	return (random >> 16) * nodes >> 16;
}

VG_INLINE __u32 vg_policy_stride(__u32 nodes, __u32 random, __u32 draws)
{
	return draws < nodes ? 1 + ((random & 0xffff) * (nodes - 1) >> 16) : 1;
}

VG_INLINE __u32 vg_policy_drawn(__u32 nodes, __u32 random, __u32 draws, __u32 i)
{
	return (vg_policy_start(nodes, random) + i * vg_policy_stride(nodes, random, draws)) % nodes;
}

/*
 * number % nodes for numbers below 2^20, by the rounded inverse 2^32 / nodes, which is divided once for all candidates:
 * the quotient is right or one too small. Without a branch, which would double the verifier's work for each candidate.
 */
VG_INLINE __u32 vg_policy_modulo(__u32 number, __u32 nodes, __u32 inverse)
{
	__u32 rest = number - (__u32)((__u64)number * inverse >> 32) * nodes, less = rest - nodes;

	return less + (nodes & (__u32)((__s32)less >> 31));
}

/* The time until a request sent there now would be answered: everybody before it, and itself. */
VG_INLINE __u64 vg_policy_latency_ns(const struct vg_candidate *candidate, __u32 in_flight)
{
	__u64 service_ns = candidate->service_ns ? candidate->service_ns : 1;

	return service_ns * (in_flight + 1ULL) + candidate->wait_ns;
}

VG_INLINE __u64 vg_policy_rank(__u32 policy, const struct vg_candidate *candidate, __u32 hot_in_flight, __u32 random)
{
	__u32 in_flight =
		candidate->in_flight < VG_POLICY_IN_FLIGHT_MAX ? candidate->in_flight : VG_POLICY_IN_FLIGHT_MAX;
	__u64 class = VG_CLASS_COLD, cost = 0;

	switch (policy) {
	case VG_POLICY_PRG:
		break;
	case VG_POLICY_P2C:
	case VG_POLICY_LEASTLOADED:
		cost = (__u64)in_flight << 32 | candidate->service_ns;
		break;
	default:
		if (in_flight > hot_in_flight) {
			class = VG_CLASS_HOT;
			cost = (__u64)in_flight << 32 | candidate->service_ns;
			break;
		}
		cost = vg_policy_latency_ns(candidate, in_flight);
		if (policy != VG_POLICY_LOCALITY)
			class = in_flight ? VG_CLASS_COLD : VG_CLASS_IDLE;
		else if (candidate->is_local)
			cost /= VG_POLICY_LOCALITY_WORTH;
	}
	if (candidate->age_ms > VG_STAMP_AGE_MAX_MS)
		class = VG_CLASS_SILENT;
	if (cost > VG_POLICY_COST_MAX)
		cost = VG_POLICY_COST_MAX;
	return class << 62 | cost << VG_POLICY_CHANCE_BITS | (random & ((1U << VG_POLICY_CHANCE_BITS) - 1));
}

/* Let the candidate be the choice if it ranks before what is chosen so far. `random` must differ for each of them. */
VG_INLINE void vg_policy_consider(struct vg_choice *choice, __u32 policy, const struct vg_candidate *candidate,
				  __u32 hot_in_flight, __u32 random)
{
	/* prg takes the first that is not silent: chance has drawn it already. */
	__u64 rank = vg_policy_rank(policy, candidate, hot_in_flight, policy == VG_POLICY_PRG ? 0 : random);

	if (rank < choice->rank) {
		choice->rank = rank;
		choice->node = candidate->node;
	}
}

/* Another number for each candidate out of one random one (the finaliser of MurmurHash3). */
VG_INLINE __u32 vg_policy_chance(__u32 random, __u32 i)
{
	__u32 x = random + i * 0x9e3779b9U;

	x = (x ^ x >> 16) * 0x85ebca6bU;
	x = (x ^ x >> 13) * 0xc2b2ae35U;
	return x ^ x >> 16;
}

/*
 * The most requests in flight a node may have to be cold: the VG_POLICY_HOT_PERMILLE quantile of `in_flight`, doubled
 * and one more, so that of nodes with little to do none is hot. In user space; BPF is told by vg_local.hot_in_flight.
 */
VG_INLINE __u32 vg_policy_hot_in_flight(const __u32 *in_flight, __u32 count)
{
	__u32 low = 0, high = VG_POLICY_IN_FLIGHT_MAX / 4;

	/* The smallest number that so many of them do not exceed, by halving. */
	while (low < high) {
		__u32 middle = low + (high - low) / 2, below = 0;

		for (__u32 i = 0; i < count; i++)
			below += in_flight[i] <= middle;
		if (below * 1000ULL >= (__u64)count * VG_POLICY_HOT_PERMILLE)
			high = middle;
		else
			low = middle + 1;
	}
	return 2 * low + 1;
}

#endif
