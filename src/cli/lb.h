/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The simulator of `virgo lb sim`: requests of a trace over nodes of unequal strength, each client choosing by what it
 * has heard, with the policies of virgo/policy.h. Times are seconds, as real numbers: nothing here is production time.
 */
#ifndef VG_CLI_LB_H
#define VG_CLI_LB_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/policy.h"

#define LB_NODES_MAX 256
#define LB_CLIENTS_MAX 64
#define LB_LOADS_MAX 32
#define LB_REQUESTS_MAX 5000000

/* ---- lb_trace.c ------------------------------------------------------------------------------------------------ */

struct lb_request {
	double arrival_s; /* at a mean of one request a second; stretched to the load */
	double size_s;	  /* of service on a node of speed 1 */
	__u32 data_node;  /* which node has the data it names */
};

struct lb_trace {
	const char *name;
	struct lb_request *requests;
	__u32 count;
	double size_mean_s;
};

/* "poisson", "burst", "heavy", or a CSV file of lines "arrival_seconds,size_seconds". 0 or negative errno and why. */
int lb_trace_make(struct lb_trace *trace, const char *name, __u32 count, __u32 nodes, __u64 seed, char *why,
		  size_t why_bytes);
void lb_trace_free(struct lb_trace *trace);

/* ---- lb_sim.c -------------------------------------------------------------------------------------------------- */

/* The policies, and two choosers that know everything at every moment: what no real one can. */
enum lb_chooser {
	LB_IDEAL_JSQ = VG_POLICY_MAX, /* join the shortest queue; of equal ones the fastest node's */
	LB_IDEAL_SED,		      /* the shortest expected delay */
	LB_CHOOSERS,
};
const char *lb_chooser_name(int chooser);

struct lb_node {
	__u32 cores;
	double speed;
};

struct lb_world {
	struct lb_node nodes[LB_NODES_MAX];
	__u32 node_count;
	__u32 clients;
	bool ask;	    /* the candidates are pinged before the choice, which waits for the answers */
	__u32 probes;	    /* each request is followed by so many pings to nodes drawn by chance */
	double delay_s;	    /* of a datagram, one way */
	double heartbeat_s; /* a node not heard for so long is pinged */
	__u64 seed;
};

struct lb_result {
	double mean, p50, p99, p999; /* slowdown: time from arrival to answer / size */
	double utilization;
	__u32 requests[LB_NODES_MAX]; /* how many each node got */
};

double lb_capacity(const struct lb_world *world);
/* One run; `load` is the share of the capacity that the trace asks for. 0 or -ENOMEM. */
int lb_run(const struct lb_world *world, const struct lb_trace *trace, int chooser, double load,
	   struct lb_result *ret_result);

/* The original's published expectation of requests a node for k requests over N nodes, and the true one, k/N. */
double lb_original_expectation(__u32 nodes, __u32 requests);

/* ---- lb_chart.c ------------------------------------------------------------------------------------------------ */

struct lb_study {
	const struct lb_world *world;
	const struct lb_trace *trace;
	double loads[LB_LOADS_MAX];
	int load_count;
	bool chosen[LB_CHOOSERS];
	struct lb_result *results; /* [chooser][load] */
};

static inline struct lb_result *lb_result_of(const struct lb_study *study, int chooser, int load)
{
	return &study->results[chooser * LB_LOADS_MAX + load];
}

/* 0 or negative errno. */
int lb_chart_write(const struct lb_study *study, const char *path);

#endif
