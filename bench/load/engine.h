/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The TCP loader: one thread, one io_uring, many connections.
 *
 * Closed loop (rate_per_second 0): each connection sends `pipeline` requests at once and the next ones when all are
 * answered. Open loop: requests have a time at which they should be sent, 1/rate apart, whatever the server does;
 * latency counts from that time, so a request that had to wait for a free connection has waited (no coordinated
 * omission).
 */
#ifndef VG_BENCH_ENGINE_H
#define VG_BENCH_ENGINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "histogram.h"
#include "keys.h"
#include "proto.h"

#define VG_BENCH_CONNECTIONS_MAX 4096
#define VG_BENCH_PIPELINE_MAX 1024

struct vg_bench_load {
	const char *address; /* numeric IPv4 or IPv6 */
	__u16 port;
	enum vg_bench_proto proto;
	bool ping;		/* PING instead of GET and SET */
	bool fill;		/* SET every key once, then stop; no timing */
	bool spin;		/* never sleep: poll for answers */
	__u32 connections;
	__u32 pipeline;
	__u32 set_permille;	/* share of SETs, 0 … 1000 */
	size_t value_length;
	double warmup_s, duration_s;
	__u64 rate_per_second;	/* 0: closed loop */
	pid_t server;		/* whose processor time to report, 0: nobody's */
	__u64 seed;
	struct vg_bench_choice choice;
};

struct vg_bench_result {
	__u64 requests, hits, misses, errors, wrong; /* wrong: a value that is not the key's */
	double seconds;
	__u64 loader_cpu_ns, server_cpu_ns;
	__u64 idle_polls_ns;	 /* spin only: time in polls that found nothing */
	__u64 behind_max;	 /* open loop: most requests that were due and not sent */
	struct vg_histogram latency;
};

/* 0; -errno of the connection that failed; -EPIPE when the server closed one; -EPROTO. *ret_result is large. */
int vg_bench_run(const struct vg_bench_load *load, struct vg_bench_result *ret_result);

#endif
