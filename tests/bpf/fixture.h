/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the tests of the BPF programs share: a loaded program with its maps in reach, packets, and what became of
 * them.
 */
#ifndef VG_TESTS_BPF_FIXTURE_H
#define VG_TESTS_BPF_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "pool/store.h"
#include "virgo/hash.h"
#include "virgo/maps.h"
#include "virgo/wire_codec.h"
#include "xdp_ingress.skel.h"

#define CLOCK_NS (1000 * 1000000000ULL)		/* what the programs read, and what is added to it for Unix time */
#define UNIX_OFFSET_NS (1699999000 * 1000000000ULL)
#define NOW_MS ((CLOCK_NS + UNIX_OFFSET_NS) / 1000000)
#define SELF 1
#define EPOCH 5
#define CPUS_MAX 512
#define PORT 30000
#define CLIENT_PORT 40000

/* ---- packets --------------------------------------------------------------------------------------------------- */

struct request {
	int version;		/* of IP; 0: 4 */
	int vlan_tags;
	__u8 opcode;
	__u16 flags, partition, source_node;
	__u8 hops;
	__u32 epoch;
	__u64 ident, argument, sequence;
	const void *key;
	__u32 key_length;
	__u32 body_length;	/* of zeros */
	__u32 room;		/* least bytes behind the header, for the answer */
	const __u64 *cluster_key; /* NULL: not tagged */
};

struct packet {
	__u8 bytes[2048];
	__u32 length;
	__u32 network, udp, header; /* where they begin */
};

void packet_build(struct packet *packet, const struct request *request);
struct vg_wire_header *packet_header(struct packet *packet);
/* Make lengths and IPv4 checksum fit what lies there, after the test has changed it. */
void packet_repair(struct packet *packet);
/* Whether the UDP checksum is right, or absent where IPv4 allows it; and the IPv4 header's. */
bool packet_checksums_right(const struct packet *packet);
/* A GET of the key, with its own hash and partition. */
struct request request_get(const void *key, __u32 length);

/* ---- programs -------------------------------------------------------------------------------------------------- */

struct fixture {
	struct xdp_ingress *skeleton;
	int program;
	struct vg_config *config;
	struct vg_local *local;
	struct vg_partition_owner *owners;
	struct vg_node *nodes;
	__u8 *arena;
	struct vg_store *store;
};

/* NULL, or why BPF programs cannot be loaded here: the tests are skipped then. */
const char *bpf_unavailable(void);

/* Load xdp_ingress with the clock fixed (0: the kernel's), open its maps, make a store in its arena. */
void fixture_open(struct fixture *fixture, __u64 clock_ns, size_t arena_bytes);
void fixture_close(struct fixture *fixture);

/* Run the packet through; it is changed to what came out. Returns the verdict; *ret_reason the one reason counted. */
int packet_run(int program, int counters, struct packet *packet, enum vg_reason *ret_reason);
/* The same without looking at the counters. */
int packet_run_quickly(int program, struct packet *packet);
int fixture_run(const struct fixture *fixture, struct packet *packet, enum vg_reason *ret_reason);

/* Whether a reason is counted by tc_egress or xdp_pass: tc's verdict is OK, xdp_pass has one. */
static inline bool reason_is_of_others(enum vg_reason reason)
{
#define REASON_VERDICT_PASS false
#define REASON_VERDICT_TX false
#define REASON_VERDICT_REDIRECT false
#define REASON_VERDICT_OK true
	static const bool of_tc[] = {
#define X(name, verdict, text) [VG_REASON_##name] = REASON_VERDICT_##verdict,
		VG_REASONS(X)
#undef X
	};

	return of_tc[reason] || reason == VG_REASON_PEER_PASS;
}

void *map_open(const struct bpf_map *map, size_t bytes);
void store_set(struct vg_store *store, const char *key, const void *value, size_t length, __u64 expire_ms);

/* SplitMix64 (G. Steele, D. Lea, C. Flood, 2014). */
static inline __u64 random_next(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

#endif
