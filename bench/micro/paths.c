// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-paths: what a run of xdp_ingress costs on each path, by BPF_PROG_TEST_RUN. A program that makes a fresh request
 * of a random key calls the program under test on it, again and again; what making alone costs is taken off. The arena
 * is filled by the real store. Prints nanoseconds a run as one JSON object. Usage: bench-paths [PART OF A NAME]
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../load/cpu.h"
#include "../load/keys.h"
#include "../xdp/frame.h"
#include "pool/store.h"
#include "traffic.skel.h"
#include "virgo/maps.h"
#include "xdp_ingress.skel.h"

#define KEYS (1u << 20)
#define HOT_KEYS (1u << 10)
#define ARENA_BYTES (1ull << 30)
#define RUNS (1 << 21)
#define PORT 30000
#define NOBODY (-1) /* path.status: the program passes the frame on */

static const __u64 CLUSTER_KEY[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };

enum target { TARGET_PASS, TARGET_ECHO, TARGET_INGRESS };

struct path {
	const char *name; /* NULL: the cost of making the request, taken off the paths that follow */
	enum target target;
	__u8 opcode;
	bool keyed;
	__u32 first, keys;
	int status;
};

static const struct path PATHS[] = {
	{ NULL, TARGET_PASS, VG_OP_PING, false, 0, 1, NOBODY },
	{ "xdp echo", TARGET_ECHO, VG_OP_PING, false, 0, 1, VG_STATUS_OK },
	{ "xdp ping", TARGET_INGRESS, VG_OP_PING, false, 0, 1, VG_STATUS_OK },
	{ NULL, TARGET_PASS, VG_OP_GET, false, 0, KEYS, NOBODY },
	{ "xdp get, hot", TARGET_INGRESS, VG_OP_GET, false, 0, HOT_KEYS, VG_STATUS_OK },
	{ "xdp get, uniform", TARGET_INGRESS, VG_OP_GET, false, 0, KEYS, VG_STATUS_OK },
	{ "xdp get, missing", TARGET_INGRESS, VG_OP_GET, false, KEYS, KEYS, VG_STATUS_NOT_FOUND },
	{ NULL, TARGET_PASS, VG_OP_GET, true, 0, KEYS, NOBODY },
	{ "xdp get, hot, tag checked and written", TARGET_INGRESS, VG_OP_GET, true, 0, HOT_KEYS, VG_STATUS_OK },
	{ "xdp get, uniform, tag checked and written", TARGET_INGRESS, VG_OP_GET, true, 0, KEYS, VG_STATUS_OK },
};

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "bench-paths: %s: %s\n", what, strerror((int)-result));
		exit(EXIT_FAILURE);
	}
}

/* Keys 0 … KEYS - 1, in the arena that the program reads. libbpf has mapped it where the program says. */
static void fill(void)
{
	struct vg_store_config config = { .arena = (void *)VG_ARENA_ADDRESS, .arena_bytes = ARENA_BYTES,
					  .heap_bytes = 64 << 20, .workers = 1, .instance = 1 };
	struct vg_store_repair repair;
	struct vg_store *store;
	char text[VG_BENCH_KEY_BYTES], value[VG_TRAFFIC_VALUE_BYTES];

	must(vg_store_new(&store, &config, &repair), "store");
	vg_store_worker(store, 0);
	for (__u32 i = 0; i < KEYS; i++) {
		struct vg_key key = { .data = text, .length = sizeof(text) };

		vg_bench_key(i, text);
		key.hash = vg_hash64(text, sizeof(text));
		vg_bench_value(key.hash, value, sizeof(value));
		must(vg_store_set(store, &key, 1, value, sizeof(value), 0), "set");
	}
	/* The store stays: the arena is read until the end. */
}

static void tell(struct xdp_ingress *ingress, bool keyed)
{
	struct vg_config config = { .nodes = 1, .epoch = 1, .flags = keyed ? VG_CONFIG_KEYED : 0,
				    .budget_per_ms = 1u << 30, .port_mem = htons(PORT),
				    .cluster_key = { CLUSTER_KEY[0], CLUSTER_KEY[1] } };
	struct vg_local local = { .lease_until_ns = ~0ull };
	__u32 zero = 0;

	must(bpf_map__update_elem(ingress->maps.vg_config, &zero, sizeof(zero), &config, sizeof(config), 0),
	     "vg_config");
	must(bpf_map__update_elem(ingress->maps.vg_local, &zero, sizeof(zero), &local, sizeof(local), 0), "vg_local");
}

static struct traffic *prepare(const struct path *path)
{
	struct vg_frame_ends ends = { .mac_from = { 2, 0, 0, 0, 0, 1 }, .mac_to = { 2, 0, 0, 0, 0, 2 },
				      .address_from = htonl(0x0a4d0001), .address_to = htonl(0x0a4d0002),
				      .port_from = 40000, .port_to = PORT };
	struct traffic *traffic = traffic__open();
	__u16 crc[3][256];

	must(traffic ? 0 : -errno, "traffic");
	vg_frame_head(&ends, path->opcode, path->keyed ? VG_FLAG_TAGGED : 0, (__u8 *)traffic->rodata->cfg_head);
	vg_frame_crc(crc);
	memcpy((void *)traffic->rodata->cfg_crc, crc, sizeof(crc));
	traffic->rodata->cfg_key_mask = path->keys - 1;
	traffic->rodata->cfg_key_first = path->first;
	traffic->rodata->cfg_ping = path->opcode == VG_OP_PING;
	traffic->rodata->cfg_tagged = path->keyed;
	memcpy((void *)traffic->rodata->cfg_tag_key, CLUSTER_KEY, sizeof(CLUSTER_KEY));
	traffic->rodata->cfg_port = htons(PORT);
	must(traffic__load(traffic), "traffic");
	return traffic;
}

/* The last frame shows what the program did with each. */
static void check(const struct path *path, __u32 verdict, const __u8 *frame)
{
	struct vg_wire_header header;

	memcpy(&header, frame + VG_TRAFFIC_UDP_END, sizeof(header));
	if (verdict == (path->target == TARGET_PASS ? XDP_PASS : XDP_TX) &&
	    (path->target != TARGET_INGRESS || header.status == path->status))
		return;
	fprintf(stderr, "bench-paths: %s: verdict %u, status %u\n", path->name ?: "making", verdict, header.status);
	exit(EXIT_FAILURE);
}

static double time_path(const struct path *path, struct xdp_ingress *ingress)
{
	static __u8 frame[VG_TRAFFIC_FRAME], after[2048];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .data_out = after,
		    .data_size_out = sizeof(after), .repeat = RUNS);
	struct traffic *traffic = prepare(path);
	const struct bpf_program *const targets[] = { [TARGET_PASS] = traffic->progs.traffic_pass,
						      [TARGET_ECHO] = traffic->progs.traffic_echo,
						      [TARGET_INGRESS] = ingress->progs.vg_xdp_ingress };
	int target = bpf_program__fd(targets[path->target]);
	__u32 zero = 0;

	tell(ingress, path->keyed);
	must(bpf_map__update_elem(traffic->maps.traffic_next, &zero, sizeof(zero), &target, sizeof(target), 0),
	     "traffic_next");
	must(bpf_prog_test_run_opts(bpf_program__fd(traffic->progs.traffic_call), &run), path->name ?: "making");
	check(path, run.retval, after);
	traffic__destroy(traffic);
	return run.duration;
}

int main(int argc, char **argv)
{
	struct xdp_ingress *ingress = xdp_ingress__open_and_load();
	double making = 0, ns;
	const char *separator = "{";

	must(ingress ? 0 : -errno, "xdp_ingress");
	fill();
	for (unsigned int i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
		if (argc > 1 && PATHS[i].name && !strstr(PATHS[i].name, argv[1]))
			continue; /* for a profiler: the paths of that name only */
		ns = time_path(&PATHS[i], ingress);
		if (!PATHS[i].name) {
			making = ns;
			continue;
		}
		printf("%s\"%s\": %.1f", separator, PATHS[i].name, ns - making);
		separator = ", ";
	}
	printf("}\n");
	xdp_ingress__destroy(ingress);
	return EXIT_SUCCESS;
}
