/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From an Ethernet frame to a checked VIRGO header, in two steps, so that a caller can look at the ports between them:
 * vg_frame_open finds UDP, vg_frame_check proves that every length is true. Each says VG_CONTINUE or the reason why
 * this is none of VIRGO's. Nothing is written.
 */
#ifndef VG_BPF_FRAME_H
#define VG_BPF_FRAME_H

#include "virgo/wire_codec.h"
#include "lib/account.bpf.h"
#include "lib/checksum.bpf.h"

#define VG_IPV4_FRAGMENT 0x3fff /* more fragments, or an offset */
#define VG_VLAN_TAGS_MAX 2

/* IPv6 extension headers (IANA protocol numbers) that may stand before UDP. */
#define VG_NEXT_HOP_BY_HOP 0
#define VG_NEXT_ROUTING 43
#define VG_NEXT_FRAGMENT 44
#define VG_NEXT_DESTINATION 60
#define VG_NEXT_MOBILITY 135

struct vg_frame {
	struct ethhdr *ethernet;
	union { /* version says which: the verifier does not know that a packet pointer is never NULL */
		struct iphdr *ip4;
		struct ipv6hdr *ip6;
	};
	struct udphdr *udp;
	struct vg_wire_header *header; /* behind vg_frame_check: the header is wholly there */
	void *end;		       /* of the frame */
	__u32 payload_bytes;	       /* behind UDP's header */
	__u32 vlan_tags;
	__u32 version;		       /* of IP: 4 or 6 */
};

static __always_inline bool vg_is_vlan(__be16 protocol)
{
	return protocol == VG_HTOBE16(ETH_P_8021Q) || protocol == VG_HTOBE16(ETH_P_8021AD);
}

static __always_inline int vg_frame_open4(struct vg_frame *frame, void *at)
{
	struct iphdr *ip = at;

	if ((void *)(ip + 1) > frame->end)
		return VG_REASON_TRUNCATED;
	if (ip->version != 4)
		return VG_REASON_NOT_IP;
	if (ip->protocol != IPPROTO_UDP)
		return VG_REASON_NOT_VIRGO;
	if (ip->frag_off & VG_HTOBE16(VG_IPV4_FRAGMENT))
		return VG_REASON_FRAGMENT;
	if (ip->ihl != 5)
		return ip->ihl < 5 ? VG_REASON_TRUNCATED : VG_REASON_IP_OPTIONS;
	frame->version = 4;
	frame->ip4 = ip;
	frame->udp = (void *)(ip + 1);
	return VG_CONTINUE;
}

static __always_inline int vg_frame_open6(struct vg_frame *frame, void *at)
{
	struct ipv6hdr *ip = at;

	if ((void *)(ip + 1) > frame->end)
		return VG_REASON_TRUNCATED;
	if (ip->version != 6)
		return VG_REASON_NOT_IP;
	switch (ip->nexthdr) {
	case IPPROTO_UDP:
		break;
	case VG_NEXT_FRAGMENT:
		return VG_REASON_FRAGMENT;
	case VG_NEXT_HOP_BY_HOP:
	case VG_NEXT_ROUTING:
	case VG_NEXT_DESTINATION:
	case VG_NEXT_MOBILITY:
		return VG_REASON_IP_OPTIONS;
	default:
		return VG_REASON_NOT_VIRGO;
	}
	frame->version = 6;
	frame->ip6 = ip;
	frame->udp = (void *)(ip + 1);
	return VG_CONTINUE;
}

/* Find the UDP header of the frame between data and end. */
static __always_inline int vg_frame_open(struct vg_frame *frame, void *data, void *end)
{
	struct ethhdr *ethernet = data;
	void *at = ethernet + 1;
	__be16 protocol;
	int reason;

	frame->ethernet = ethernet;
	frame->end = end;
	frame->vlan_tags = 0;
	if (at > end)
		return VG_REASON_TRUNCATED;
	protocol = ethernet->h_proto;
#pragma clang loop unroll(full)
	for (int i = 0; i < VG_VLAN_TAGS_MAX; i++) {
		struct vlan_hdr *vlan = at;

		if (!vg_is_vlan(protocol))
			break;
		if ((void *)(vlan + 1) > end)
			return VG_REASON_TRUNCATED;
		protocol = vlan->h_vlan_encapsulated_proto;
		at = vlan + 1;
		frame->vlan_tags++;
	}
	if (protocol == VG_HTOBE16(ETH_P_IP))
		reason = vg_frame_open4(frame, at);
	else if (protocol == VG_HTOBE16(ETH_P_IPV6))
		reason = vg_frame_open6(frame, at);
	else
		return vg_is_vlan(protocol) ? VG_REASON_VLAN_STACK : VG_REASON_NOT_IP;
	if (reason == VG_CONTINUE && (void *)(frame->udp + 1) > end)
		return VG_REASON_TRUNCATED;
	return reason;
}

/*
 * The lengths that IP, UDP and the frame claim must agree: whoever lies about one is the socket's business. Less than
 * `least` bytes (a constant) behind UDP's header is too short.
 */
static __always_inline int vg_frame_check_lengths(struct vg_frame *frame, const __u32 least)
{
	__u32 udp_bytes = VG_BE16TOH(frame->udp->len);

	if (frame->version == 4) {
		if (vg_checksum_ipv4(frame->ip4))
			return VG_REASON_IP_CHECKSUM;
		if (VG_BE16TOH(frame->ip4->tot_len) != sizeof(struct iphdr) + udp_bytes)
			return VG_REASON_TRUNCATED;
	} else if (VG_BE16TOH(frame->ip6->payload_len) != udp_bytes) {
		return VG_REASON_TRUNCATED;
	}
	if (udp_bytes < sizeof(struct udphdr) + least)
		return VG_REASON_TRUNCATED;
	vg_forget(udp_bytes);
	if ((void *)frame->udp + udp_bytes > frame->end)
		return VG_REASON_TRUNCATED;
	frame->payload_bytes = udp_bytes - sizeof(struct udphdr);
	if (frame->payload_bytes > VG_DATAGRAM_MAX)
		return VG_REASON_TOO_LONG;
	return VG_CONTINUE;
}

/* Prove lengths and header of an opened frame. */
static __always_inline int vg_frame_check(struct vg_frame *frame)
{
	struct vg_wire_header *header = (void *)(frame->udp + 1);
	int reason = vg_frame_check_lengths(frame, sizeof(struct vg_wire_header));

	if (reason != VG_CONTINUE)
		return reason;
	if ((void *)(header + 1) > frame->end)
		return VG_REASON_TRUNCATED;
	frame->header = header;
	switch (vg_wire_check(header)) {
	case VG_WIRE_OK:
		break;
	case VG_WIRE_BAD_MAGIC:
		return VG_REASON_BAD_MAGIC;
	case VG_WIRE_BAD_VERSION:
		return VG_REASON_BAD_VERSION;
	default:
		return VG_REASON_BAD_HEADER;
	}
	if (vg_wire_length(header) > frame->payload_bytes)
		return VG_REASON_TRUNCATED;
	return VG_CONTINUE;
}

/*
 * A checked frame as one number, and back. The later steps are functions of their own, which the verifier walks once
 * and not once for each shape of frame that parsing tells apart; numbers is what such a function can be handed.
 */
#define VG_SHAPE_PAYLOAD_BITS 16
#define VG_SHAPE_OFFSET_BITS 8

static __always_inline __u64 vg_frame_shape(const struct vg_frame *frame)
{
	__u64 offset = sizeof(struct ethhdr) + frame->vlan_tags * sizeof(struct vlan_hdr);

	return (__u64)frame->version << (VG_SHAPE_PAYLOAD_BITS + VG_SHAPE_OFFSET_BITS) |
	       offset << VG_SHAPE_PAYLOAD_BITS | frame->payload_bytes;
}

/*
 * Zero, or negative when the packet is not of that shape, with `least` bytes (a constant) behind UDP's header, which
 * only the verifier thinks possible.
 */
static __always_inline int vg_frame_reopen_least(struct vg_frame *frame, struct xdp_md *ctx, __u64 shape,
						 const __u32 least)
{
	__u32 offset = shape >> VG_SHAPE_PAYLOAD_BITS & 0x1f;
	void *data = vg_context_pointer(ctx, data), *end = vg_context_pointer(ctx, data_end);
	void *network = data + offset;

	frame->ethernet = data;
	frame->end = end;
	frame->version = (__u32)(shape >> (VG_SHAPE_PAYLOAD_BITS + VG_SHAPE_OFFSET_BITS));
	frame->payload_bytes = shape & 0xffff;
	frame->vlan_tags = offset != sizeof(struct ethhdr);
	frame->ip4 = network;
	frame->udp = network + (frame->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	frame->header = (void *)(frame->udp + 1);
	if (data + sizeof(struct ethhdr) > end || network + sizeof(struct ipv6hdr) > end ||
	    (void *)frame->header + least > end)
		return -1;
	return 0;
}

static __always_inline int vg_frame_reopen(struct vg_frame *frame, struct xdp_md *ctx, __u64 shape)
{
	return vg_frame_reopen_least(frame, ctx, shape, sizeof(struct vg_wire_header));
}

#endif
