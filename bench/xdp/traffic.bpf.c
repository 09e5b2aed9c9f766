// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Both ends of the XDP benchmark:
 *
 *   traffic_make  run by BPF_PROG_TEST_RUN with live frames: turns each frame into a GET of a random key and sends it
 *   traffic_sink  on the interface it is sent from: checks, counts and drops what comes back
 *   traffic_echo  the limit: what any XDP program must at least do to answer a datagram
 *   traffic_pass  for interfaces that must only run NAPI
 *   traffic_call  makes a request and runs another program on it, for timing with BPF_PROG_TEST_RUN's repeat
 *
 * The kernel recycles frames with what the last run left in them, so every byte of the head is written each time.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "virgo/hash.h"
#include "traffic.h"

/* The first bytes of a frame; random key, sequence, partition, ident and tag are put in on the fly. */
const volatile __u64 cfg_head[VG_TRAFFIC_HEAD_WORDS];
/* CRC16 is linear: the partition of key n is the XOR of a table entry for each of n's bytes. */
const volatile __u16 cfg_crc[3][256];
const volatile __u32 cfg_key_mask;   /* keys - 1, a power of two less one, at most 24 bits */
const volatile __u32 cfg_key_first;  /* number of the first key; 0 unless keys shall be missing */
const volatile __u32 cfg_window;     /* most requests unanswered; 0: as fast as frames can be made */
const volatile __u32 cfg_ping;	     /* no keys, PING */
const volatile __u32 cfg_tagged;
const volatile __u64 cfg_tag_key[2];
const volatile __be16 cfg_port;	     /* the server's */
const volatile __u32 cfg_expect_echo;

/* Each has one writer, and a cache line of its own. */
struct {
	__u64 sent;
	__u64 random;
} maker __attribute__((aligned(64))) = { .random = 0x9E3779B97F4A7C15ULL };
struct vg_traffic_counts sink __attribute__((aligned(64)));
/* Requests that user space has given up: the window is open for as many again. */
__u64 lost __attribute__((aligned(64)));

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} traffic_next SEC(".maps");

static __always_inline __u32 next_number(void)
{
	__u64 random = maker.random;

	random ^= random >> 12;
	random ^= random << 25;
	random ^= random >> 27;
	maker.random = random;
	return (__u32)((random * 0x2545F4914F6CDD1DULL) >> 32);
}

/* Eight hexadecimal digits, the most significant one first in memory. */
static __always_inline __u64 hexadecimal(__u32 number)
{
	__u64 digits = number, letters;

	digits = (digits | digits << 16) & 0x0000ffff0000ffffULL;
	digits = (digits | digits << 8) & 0x00ff00ff00ff00ffULL;
	digits = (digits | digits << 4) & 0x0f0f0f0f0f0f0f0fULL;
	digits = __builtin_bswap64(digits);
	letters = ((digits + 0x0606060606060606ULL) >> 4) & 0x0101010101010101ULL;
	return digits + 0x3030303030303030ULL + letters * ('a' - '0' - 10);
}

static __always_inline void put_key(void *data, __u32 number)
{
	struct vg_wire_header *header = data + VG_TRAFFIC_UDP_END;
	__u64 *key = (void *)(header + 1);
	__u64 hash = VG_XXH_PRIME5 + VG_TRAFFIC_KEY_BYTES;
	__u16 crc = cfg_crc[0][number & 255] ^ cfg_crc[1][number >> 8 & 255] ^ cfg_crc[2][number >> 16 & 255];

	key[1] = hexadecimal(number);
	hash = vg_xxh_tail8(hash, key[0]);
	hash = vg_xxh_tail8(hash, key[1]);
	header->ident = VG_HTOBE64(vg_xxh_avalanche(hash));
	header->partition = VG_HTOBE16(crc & (VG_PARTITIONS - 1));
}

static __always_inline void put_tag(void *data)
{
	struct vg_wire_header *header = data + VG_TRAFFIC_UDP_END;
	__u64 *words = (void *)header, key[2] = { cfg_tag_key[0], cfg_tag_key[1] };
	struct vg_siphash state;

	vg_siphash_start(&state, key);
	for (int i = 0; i < (int)(sizeof(*header) + VG_TRAFFIC_KEY_BYTES) / 8; i++)
		vg_siphash_word(&state, words[i]);
	header->tag = VG_HTOBE64(vg_siphash_finish(&state, (__u64)(sizeof(*header) + VG_TRAFFIC_KEY_BYTES) << 56));
}

static __always_inline int make(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct vg_wire_header *header = data + VG_TRAFFIC_UDP_END;
	__u64 *words = data;

	if (data + VG_TRAFFIC_FRAME > data_end)
		return -1;
	for (int i = 0; i < VG_TRAFFIC_HEAD_WORDS; i++)
		words[i] = cfg_head[i];
	header->sequence = VG_HTOBE64(++maker.sent);
	if (!cfg_ping)
		put_key(data, cfg_key_first + (next_number() & cfg_key_mask));
	if (cfg_tagged)
		put_tag(data);
	return 0;
}

SEC("xdp")
int traffic_make(struct xdp_md *ctx)
{
	if (cfg_window &&
	    maker.sent - *(volatile __u64 *)&sink.answered - *(volatile __u64 *)&lost >= cfg_window)
		return XDP_DROP;
	return make(ctx) < 0 ? XDP_ABORTED : XDP_TX;
}

SEC("xdp")
int traffic_call(struct xdp_md *ctx)
{
	long length = (long)ctx->data_end - (long)ctx->data;

	/* The program that was called on this frame the last time may have cut it. */
	if (length != VG_TRAFFIC_FRAME && bpf_xdp_adjust_tail(ctx, (int)(VG_TRAFFIC_FRAME - length)) < 0)
		return XDP_ABORTED;
	barrier_var(ctx); /* read its pointers again: the verifier wants each load at its place */
	if (make(ctx) < 0)
		return XDP_ABORTED;
	bpf_tail_call(ctx, &traffic_next, 0);
	return XDP_ABORTED;
}

/* IPv4 without options and UDP, as traffic_make makes it; everything else (ARP) is the stack's. */
static __always_inline int is_udp(void *data)
{
	return *(__u16 *)(data + 12) == VG_HTOBE16(ETH_P_IP) && *(__u8 *)(data + 14) == 0x45 &&
	       *(__u8 *)(data + 23) == 17;
}

static __always_inline int is_right(void *data, void *data_end, const struct vg_wire_header *header)
{
	__u64 *value = (void *)(header + 1);

	if (cfg_expect_echo)
		return !(header->flags & VG_HTOBE16(VG_FLAG_REPLY));
	if (!(header->flags & VG_HTOBE16(VG_FLAG_REPLY)) || header->status != VG_STATUS_OK)
		return 0;
	if (cfg_ping)
		return 1;
	return header->body_length == VG_HTOBE32(VG_TRAFFIC_VALUE_BYTES) &&
	       (void *)value + VG_TRAFFIC_VALUE_BYTES <= data_end && value[0] == VG_BE64TOH(header->ident) &&
	       value[VG_TRAFFIC_VALUE_BYTES / 8 - 1] == value[0];
}

SEC("xdp")
int traffic_sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct vg_wire_header *header = data + VG_TRAFFIC_UDP_END;

	if ((void *)(header + 1) > data_end || !is_udp(data) || *(__be16 *)(data + 34) != cfg_port)
		return XDP_PASS;
	if (header->magic == VG_HTOBE16(VG_WIRE_MAGIC) && is_right(data, data_end, header))
		sink.right++;
	else if (header->flags & VG_HTOBE16(VG_FLAG_REPLY) && header->status != VG_STATUS_OK)
		sink.not_ok++;
	else
		sink.wrong++;
	sink.answered++;
	return XDP_DROP;
}

/*
 * Swap what names sender and receiver. The IPv4 checksum does not change by it; the UDP one is left out, for a sender
 * on the same machine may have left it to be completed by hardware that is not there.
 */
SEC("xdp")
int traffic_echo(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u16 *half = data, hold16;
	__u32 *ip_source = data + 26, hold32;
	__be16 *ports = data + 34;

	if (data + VG_TRAFFIC_UDP_END > data_end || !is_udp(data) || ports[1] != cfg_port)
		return XDP_PASS;
	for (int i = 0; i < 3; i++) {
		hold16 = half[i];
		half[i] = half[i + 3];
		half[i + 3] = hold16;
	}
	hold32 = ip_source[0];
	ip_source[0] = ip_source[1];
	ip_source[1] = hold32;
	hold16 = ports[0];
	ports[0] = ports[1];
	ports[1] = hold16;
	ports[3] = 0;
	return XDP_TX;
}

SEC("xdp")
int traffic_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
