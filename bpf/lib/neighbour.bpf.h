/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The link addresses of clients: noted where answers leave through the stack, used where XDP answers a steered
 * request.
 */
#ifndef VG_BPF_NEIGHBOUR_H
#define VG_BPF_NEIGHBOUR_H

#include "lib/frame.bpf.h"
#include "maps/neighbour.bpf.h"

/* Renewing an entry for every answer would cost more than the answer. */
#define VG_NEIGHBOUR_RENEW_NS 1000000000ULL

static __always_inline void vg_ip_address_of4(struct vg_ip_address *address, __be32 ip)
{
	*address = (struct vg_ip_address){ .bytes = { [10] = 0xff, [11] = 0xff } };
	__builtin_memcpy(address->bytes + 12, &ip, sizeof(ip));
}

static __always_inline void vg_sender_of(const struct vg_frame *frame, struct vg_ip_address *address)
{
	if (frame->version == 4)
		vg_ip_address_of4(address, frame->ip4->saddr);
	else
		__builtin_memcpy(address, &frame->ip6->saddr, sizeof(*address));
}

/* Where a datagram that the stack sends is going. */
static __always_inline void vg_neighbour_note(const struct vg_frame *frame, __u32 ifindex, __u64 now_ns)
{
	struct vg_neighbour fresh = { .seen_ns = now_ns, .ifindex = ifindex };
	struct vg_neighbour *known;
	struct vg_ip_address address;

	if (frame->version == 4)
		vg_ip_address_of4(&address, frame->ip4->daddr);
	else
		__builtin_memcpy(&address, &frame->ip6->daddr, sizeof(address));
	__builtin_memcpy(fresh.mac, frame->ethernet->h_dest, sizeof(fresh.mac));
	known = bpf_map_lookup_elem(&VG_MAP_NEIGHBOUR, &address);
	if (known && known->seen_ns + VG_NEIGHBOUR_RENEW_NS > now_ns && known->ifindex == ifindex &&
	    __builtin_memcmp(known->mac, fresh.mac, sizeof(fresh.mac)) == 0)
		return;
	bpf_map_update_elem(&VG_MAP_NEIGHBOUR, &address, &fresh, 0 /* BPF_ANY */);
}

/* The sender's link address, if it can be reached where its request came in; else NULL. */
static __always_inline const struct vg_neighbour *vg_neighbour_find(const struct vg_frame *frame, __u32 ifindex,
								    __u64 now_ns)
{
	const struct vg_neighbour *known;
	struct vg_ip_address address;

	vg_sender_of(frame, &address);
	known = bpf_map_lookup_elem(&VG_MAP_NEIGHBOUR, &address);
	if (!known || known->ifindex != ifindex || known->seen_ns + VG_NEIGHBOUR_AGE_MS * 1000000ULL < now_ns)
		return NULL;
	return known;
}

#endif
