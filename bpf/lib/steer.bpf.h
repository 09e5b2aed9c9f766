/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sending a request on to the node that owns it. The client's address and port stay as they are, so the owner answers
 * the client directly. Everything is decided before the first byte is written.
 */
#ifndef VG_BPF_STEER_H
#define VG_BPF_STEER_H

#include "lib/answer.bpf.h"
#include "maps/cluster.bpf.h"

struct vg_link {
	__u8 source[6];
	__u8 destination[6];
	__u32 ifindex;
};

static __always_inline __be16 vg_steer_port(const struct vg_serve *serve, const struct vg_node *node)
{
	return serve->service == VG_LOAD_CPU ? node->port_cpu : node->port_mem;
}

/* Ask the kernel's routing table. Its result, BPF_FIB_LKUP_RET_*, or negative. */
static __always_inline long vg_steer_route(const struct vg_serve *serve, const struct vg_node *node,
					   struct vg_link *link)
{
	const struct vg_frame *frame = &serve->frame;
	struct bpf_fib_lookup query = {};
	long result;

	query.ifindex = serve->ctx->ingress_ifindex;
	query.l4_protocol = IPPROTO_UDP;
	query.sport = frame->udp->source;
	query.dport = vg_steer_port(serve, node);
	if (frame->version == 4) {
		query.family = AF_INET;
		query.tot_len = VG_BE16TOH(frame->ip4->tot_len);
		query.ipv4_src = frame->ip4->saddr;
		query.ipv4_dst = node->address4;
	} else {
		query.family = AF_INET6;
		query.tot_len = VG_BE16TOH(frame->ip6->payload_len) + sizeof(struct ipv6hdr);
		__builtin_memcpy(query.ipv6_src, &frame->ip6->saddr, sizeof(query.ipv6_src));
		__builtin_memcpy(query.ipv6_dst, node->address6, sizeof(query.ipv6_dst));
	}
	result = bpf_fib_lookup(serve->ctx, &query, sizeof(query), 0);
	if (result == BPF_FIB_LKUP_RET_SUCCESS) {
		__builtin_memcpy(link->source, query.smac, sizeof(link->source));
		__builtin_memcpy(link->destination, query.dmac, sizeof(link->destination));
		link->ifindex = query.ifindex;
	}
	return result;
}

/*
 * Find the next hop: the routing table's, or, where the table has none to give (the host does not forward, or no
 * neighbour is known), the one the daemon wrote down. A route that forbids is obeyed. Behind a VLAN tag the routing
 * table would speak of another interface than the frame came in on, so there only what the daemon wrote counts.
 */
static __always_inline bool vg_steer_link(const struct vg_serve *serve, const struct vg_node *node,
					  struct vg_link *link)
{
	if (!serve->frame.vlan_tags) {
		switch (vg_steer_route(serve, node, link)) {
		case BPF_FIB_LKUP_RET_SUCCESS:
			return true;
		case BPF_FIB_LKUP_RET_NOT_FWDED:
		case BPF_FIB_LKUP_RET_FWD_DISABLED:
		case BPF_FIB_LKUP_RET_NO_NEIGH:
			break;
		default:
			return false;
		}
	}
	if (!(node->flags & VG_NODE_HAS_MAC))
		return false;
	__builtin_memcpy(link->source, serve->frame.ethernet->h_dest, sizeof(link->source));
	__builtin_memcpy(link->destination, node->mac, sizeof(link->destination));
	link->ifindex = node->ifindex;
	return true;
}

static __always_inline void vg_steer_rewrite(const struct vg_serve *serve, const struct vg_node *node,
					     const struct vg_link *link)
{
	const struct vg_frame *frame = &serve->frame;

	frame->header->hops++;
	__builtin_memcpy(frame->ethernet->h_source, link->source, sizeof(link->source));
	__builtin_memcpy(frame->ethernet->h_dest, link->destination, sizeof(link->destination));
	if (vg_steer_port(serve, node))
		frame->udp->dest = vg_steer_port(serve, node);
	frame->udp->check = 0; /* IPv4: none. IPv6: written below */
	if (frame->version == 4) {
		frame->ip4->daddr = node->address4;
		frame->ip4->ttl--;
		frame->ip4->check = 0;
		frame->ip4->check = vg_checksum_ipv4(frame->ip4);
	} else {
		__builtin_memcpy(&frame->ip6->daddr, node->address6, sizeof(node->address6));
		frame->ip6->hop_limit--;
		vg_checksum_write_udp6(serve->ctx, (__u32)((void *)frame->ip6 - (void *)frame->ethernet));
	}
}

static __always_inline int vg_steer(const struct vg_serve *serve, __u32 owner)
{
	const struct vg_frame *frame = &serve->frame;
	const struct vg_node *node = bpf_map_lookup_elem(&VG_MAP_NODE, &owner);
	struct vg_link link;

	if (!node || !(node->flags & (frame->version == 4 ? VG_NODE_HAS_V4 : VG_NODE_HAS_V6)))
		return VG_REASON_STEER_FAMILY;
	if (frame->header->hops >= VG_HOPS_MAX || (frame->version == 4 ? frame->ip4->ttl : frame->ip6->hop_limit) <= 1)
		return VG_REASON_STEER_HOPS;
	if (!vg_steer_link(serve, node, &link))
		return VG_REASON_STEER_NO_ROUTE;
	vg_steer_rewrite(serve, node, &link);
	if (link.ifindex == serve->ctx->ingress_ifindex)
		return VG_REASON_STEERED;
	bpf_redirect(link.ifindex, 0);
	return VG_REASON_STEERED_OUT;
}

/*
 * Which node a request is for: the owner of its partition or handle; for requests that name neither, this one.
 * A COMMAND without a key has partition and hash zero. VG_CONTINUE, or the reason it cannot be told.
 */
static __always_inline int vg_owner_of(const struct vg_serve *serve, __u32 *ret_owner)
{
	const struct vg_wire_header *header = serve->frame.header;
	const struct vg_partition_owner *owner;
	__u32 partition = VG_BE16TOH(header->partition);

	*ret_owner = serve->config->node;
	switch (header->opcode) {
	case VG_OP_COMMAND:
		if (!partition && !header->ident)
			return VG_CONTINUE;
		break;
	case VG_OP_GET:
	case VG_OP_SET:
	case VG_OP_DEL:
	case VG_OP_CAS:
		break;
	case VG_OP_HANDLE_GET:
	case VG_OP_HANDLE_SET:
	case VG_OP_HANDLE_FREE:
		*ret_owner = vg_handle_node(VG_BE64TOH(header->ident));
		return *ret_owner < VG_NODES_MAX ? VG_CONTINUE : VG_REASON_HANDLE_RANGE;
	default:
		return VG_CONTINUE;
	}
	owner = bpf_map_lookup_elem(&VG_MAP_PARTITION, &partition);
	if (!owner || owner->node == VG_NODE_NONE)
		return VG_REASON_BAD_PARTITION;
	*ret_owner = owner->node;
	return VG_CONTINUE;
}

#endif
