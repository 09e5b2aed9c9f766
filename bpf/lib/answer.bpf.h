/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Turning a request, in place, into its answer: addresses swapped, header rewritten, load stamped, tag renewed. The
 * datagram keeps its length, so no answer is longer than its request; what lies behind the body is left over from the
 * request. Called when nothing can fail any more.
 */
#ifndef VG_BPF_ANSWER_H
#define VG_BPF_ANSWER_H

#include "lib/frame.bpf.h"
#include "lib/neighbour.bpf.h"
#include "lib/stamp.bpf.h"
#include "lib/tag.bpf.h"
#include "maps/state.bpf.h"

#define VG_ANSWER_TTL 64

/* What the steps behind parsing share. */
struct vg_serve {
	struct xdp_md *ctx;
	struct vg_frame frame;
	__u64 shape;
	const struct vg_config *config;
	const struct vg_local *local;
	__u64 now_ns;
	__u32 service;	  /* VG_LOAD_* */
	__u32 body_bytes; /* of the answer, when there is one */
	__u8 status;
	bool answered;
};

/* Bytes of body that fit behind the answer's header. */
static __always_inline __u32 vg_answer_room(const struct vg_frame *frame)
{
	return frame->payload_bytes - (__u32)sizeof(struct vg_wire_header);
}

static __always_inline void vg_answer_header(const struct vg_frame *frame, const struct vg_config *config,
					     const struct vg_local *local, __u32 service, __u8 status,
					     __u32 body_bytes)
{
	struct vg_wire_header *header = frame->header;
	bool keyed = config->flags & VG_CONFIG_KEYED;

	header->flags = keyed ? VG_HTOBE16(VG_FLAG_REPLY | VG_FLAG_TAGGED) : VG_HTOBE16(VG_FLAG_REPLY);
	header->hops = 0;
	header->status = status;
	header->source_node = VG_HTOBE16(config->node);
	header->epoch = VG_HTOBE32(config->epoch);
	header->key_length = 0;
	header->body_length = VG_HTOBE32(body_bytes);
	header->argument = 0;
	vg_stamp(&header->load, local, service);
	header->tag = 0;
	if (keyed)
		header->tag = vg_tag(header, header + 1, frame->end, config->cluster_key, 0);
}

/* In wide words: a link address has no alignment, which would make the compiler copy bytes. */
static __always_inline void vg_swap_link(struct ethhdr *ethernet)
{
	__u32 *high = (__u32 *)ethernet->h_dest;
	__u16 *low = (__u16 *)(ethernet->h_dest + 4);
	__u32 high_old = high[0];
	__u16 low_old = low[0];

	*high = *(__u32 *)ethernet->h_source;
	*low = *(__u16 *)(ethernet->h_source + 4);
	*(__u32 *)ethernet->h_source = high_old;
	*(__u16 *)(ethernet->h_source + 4) = low_old;
}

/*
 * Back to the link address the request came from; or, when another node steered it here, to the client's own. That one
 * was there when the request was admitted: should it have been forgotten since, the answer is lost as datagrams may be.
 */
static __always_inline void vg_turn_link(struct xdp_md *ctx, const struct vg_frame *frame)
{
	const struct vg_neighbour *client = NULL;

	if (frame->header->hops)
		client = vg_neighbour_find(frame, ctx->ingress_ifindex, 0);
	vg_swap_link(frame->ethernet);
	if (client)
		__builtin_memcpy(frame->ethernet->h_dest, client->mac, sizeof(client->mac));
}

/*
 * The word of time to live, protocol and checksum is made in a register: reading back what was just written in smaller
 * pieces stalls. Swapping the addresses does not change their sum.
 */
static __always_inline void vg_swap_ip4(struct iphdr *ip)
{
	__u32 *word = (__u32 *)ip, source = word[3], lives = VG_ANSWER_TTL | IPPROTO_UDP << 8;

	word[2] = lives | (__u32)vg_checksum_fold((__u64)word[0] + word[1] + lives + source + word[4]) << 16;
	word[3] = word[4];
	word[4] = source;
}

static __always_inline void vg_swap_ip6(struct ipv6hdr *ip)
{
	struct in6_addr address = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = address;
	ip->hop_limit = VG_ANSWER_TTL;
}

static __always_inline void vg_swap_ports(struct udphdr *udp)
{
	__be16 port = udp->source;

	udp->source = udp->dest;
	udp->dest = port;
	udp->check = 0; /* IPv4: none */
}

/* Send the answer back where the request came from; the body is in place. */
static __always_inline void vg_answer_write(const struct vg_serve *serve)
{
	struct vg_frame frame;

	/* Opened anew: what earlier steps learnt of the packet's bounds would multiply the verifier's work here. */
	if (vg_frame_reopen(&frame, serve->ctx, serve->shape))
		return;
	vg_turn_link(serve->ctx, &frame);
	vg_answer_header(&frame, serve->config, serve->local, serve->service, serve->status, serve->body_bytes);
	vg_swap_ports(frame.udp);
	if (frame.version == 4) {
		vg_swap_ip4(frame.ip4);
	} else {
		vg_swap_ip6(frame.ip6);
		vg_checksum_write_udp6(serve->ctx, (__u32)((void *)frame.ip6 - (void *)frame.ethernet));
	}
}

/* Say what is to be answered; it is written where all ways meet (vg_answer_write). Returns `reason`. */
static __always_inline int vg_answer(struct vg_serve *serve, __u8 status, __u32 body_bytes, int reason)
{
	serve->status = status;
	serve->body_bytes = body_bytes;
	serve->answered = true;
	return reason;
}

#endif
