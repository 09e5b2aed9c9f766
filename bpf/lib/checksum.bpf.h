/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Internet checksums (RFC 1071), always over the whole: a received checksum is never updated, because a frame from a
 * veth carries a partial one. Sums are of the bytes as they lie, so the result is stored as it is.
 */
#ifndef VG_BPF_CHECKSUM_H
#define VG_BPF_CHECKSUM_H

#include "virgo/limits.h"
#include "lib/context.bpf.h"

static __always_inline __u16 vg_checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* Over a header without options; 0 says that the checksum in it is right. */
static __always_inline __u16 vg_checksum_ipv4(const struct iphdr *ip)
{
	const __u32 *word = (const __u32 *)ip;

	return vg_checksum_fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
}

static __always_inline __u64 vg_checksum_add64(__u64 sum, __u64 word)
{
	return sum + (word & 0xffffffff) + (word >> 32);
}

/*
 * Write the checksum of the UDP datagram behind an IPv6 header that lies `offset` bytes into the frame. A function of
 * its own, so that the verifier walks its loop once and not once for each shape of frame. The lengths were checked.
 */
__noinline int vg_checksum_write_udp6(struct xdp_md *ctx, __u32 offset)
{
	void *end = vg_context_pointer(ctx, data_end), *at;
	struct ipv6hdr *ip;
	struct udphdr *udp;
	__u64 sum = 0;
	__u32 left;

	if (offset > sizeof(struct ethhdr) + 2 * sizeof(struct vlan_hdr))
		return -1;
	ip = vg_context_pointer(ctx, data) + offset;
	udp = (void *)(ip + 1);
	at = udp;
	if ((void *)(udp + 1) > end)
		return -1;
	udp->check = 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < 4; i++)
		sum = vg_checksum_add64(sum, ((__u64 *)&ip->saddr)[i]);
	sum += udp->len + VG_HTOBE16(IPPROTO_UDP);
	left = VG_BE16TOH(udp->len);
	for (int i = 0; i < (VG_DATAGRAM_MAX + 8) / 32; i++) {
		if (left < 32 || at + 32 > end)
			break;
		for (int j = 0; j < 4; j++)
			sum = vg_checksum_add64(sum, ((__u64 *)at)[j]);
		at += 32;
		left -= 32;
	}
	for (int i = 0; i < 3; i++) {
		if (left < 8 || at + 8 > end)
			break;
		sum = vg_checksum_add64(sum, *(__u64 *)at);
		at += 8;
		left -= 8;
	}
	if (left & 4 && at + 4 <= end) {
		sum += *(__u32 *)at;
		at += 4;
	}
	if (left & 2 && at + 2 <= end) {
		sum += *(__u16 *)at;
		at += 2;
	}
	if (left & 1 && at + 1 <= end)
		sum += *(__u8 *)at;
	udp->check = vg_checksum_fold(sum);
	if (!udp->check)
		udp->check = 0xffff;
	return 0;
}

#endif
