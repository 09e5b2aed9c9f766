/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes the load stamp into the VIRGO datagrams that this node sends, so that the daemon need not, and notes the link
 * address that answers go to. Nothing is held back: every packet goes on. Attaches as tcx or, the return value means
 * the same there, as a clsact filter.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "lib/clock.bpf.h"
#include "lib/frame.bpf.h"
#include "lib/neighbour.bpf.h"
#include "lib/stamp.bpf.h"
#include "lib/tag.bpf.h"

/* The longest frame that is looked at: two VLAN tags, IPv6, UDP and the longest datagram. */
#define VG_EGRESS_FRAME_MAX                                                                     \
	(sizeof(struct ethhdr) + VG_VLAN_TAGS_MAX * sizeof(struct vlan_hdr) +                   \
	 sizeof(struct ipv6hdr) + sizeof(struct udphdr) + VG_DATAGRAM_MAX)

/* The end of a header, which the stamp and its tag make up: what is exchanged here. */
struct stamped {
	struct vg_load_stamp load;
	__be64 tag;
};
VG_ASSERT_SIZE(struct stamped, sizeof(struct vg_wire_header) - __builtin_offsetof(struct vg_wire_header, load));

static __always_inline bool is_our_port(const struct vg_config *config, __be16 port)
{
	bool ours = port == config->port_mem;

#pragma clang loop unroll(full)
	for (unsigned int i = 0; i < sizeof(config->ports_other) / sizeof(config->ports_other[0]); i++)
		ours |= port == config->ports_other[i];
	return port && ours;
}

/* A payload outside the linear part of the packet cannot be read directly. */
static __always_inline void make_linear(struct __sk_buff *skb)
{
	void *data = vg_context_pointer(skb, data), *end = vg_context_pointer(skb, data_end);
	__u32 wanted = skb->len < VG_EGRESS_FRAME_MAX ? skb->len : VG_EGRESS_FRAME_MAX;

	if (data + wanted > end)
		bpf_skb_pull_data(skb, wanted);
}

/*
 * Exchange the end of the header, and adjust the checksum by the difference. The helper leaves a checksum alone that
 * is zero (none, IPv4) or that is still to be completed further down (CHECKSUM_PARTIAL).
 */
static __always_inline int exchange(struct __sk_buff *skb, __u32 udp_offset, struct stamped *old, struct stamped *new)
{
	__u32 header_offset = udp_offset + sizeof(struct udphdr);
	__s64 difference = bpf_csum_diff((__be32 *)old, sizeof(*old), (__be32 *)new, sizeof(*new), 0);

	if (bpf_skb_store_bytes(skb, header_offset + __builtin_offsetof(struct vg_wire_header, load), new,
				sizeof(*new), 0))
		return VG_REASON_EGRESS_OTHER;
	bpf_l4_csum_replace(skb, udp_offset + __builtin_offsetof(struct udphdr, check), 0, difference,
			    BPF_F_MARK_MANGLED_0);
	return VG_REASON_EGRESS_STAMPED;
}

static __always_inline int stamp(struct __sk_buff *skb, const struct vg_frame *frame, const struct vg_config *config,
				 const struct vg_local *local)
{
	struct vg_wire_header header = *frame->header;
	struct stamped old = { header.load, header.tag }, new = { .tag = header.tag };
	bool renew = config->flags & VG_CONFIG_KEYED && header.flags & VG_HTOBE16(VG_FLAG_TAGGED);

	/* The tag of a longer key is not renewed here, so its stamp stays as the daemon wrote it. */
	if (renew && VG_BE32TOH(header.key_length) > VG_XDP_KEY_MAX)
		return VG_REASON_EGRESS_OTHER;
	vg_stamp(&new.load, local, vg_service_of(config, frame->udp->source));
	header.load = new.load;
	if (renew)
		new.tag = vg_tag(&header, frame->header + 1, frame->end, config->cluster_key, VG_XDP_KEY_MAX / 8);
	return exchange(skb, (__u32)((void *)frame->udp - (void *)frame->ethernet), &old, &new);
}

static __always_inline int examine(struct __sk_buff *skb)
{
	const struct vg_config *config;
	const struct vg_local *local;
	struct vg_frame frame;
	__u32 zero = 0;
	__u64 now_ns;

	make_linear(skb);
	if (vg_frame_open(&frame, vg_context_pointer(skb, data), vg_context_pointer(skb, data_end)) != VG_CONTINUE)
		return VG_REASON_EGRESS_OTHER;
	config = bpf_map_lookup_elem(&VG_MAP_CONFIG, &zero);
	local = bpf_map_lookup_elem(&VG_MAP_LOCAL, &zero);
	if (!config || !local)
		return VG_REASON_EGRESS_OTHER;
	if (!is_our_port(config, frame.udp->source) && !is_our_port(config, frame.udp->dest))
		return VG_REASON_EGRESS_OTHER;
	if (vg_frame_check(&frame) != VG_CONTINUE)
		return VG_REASON_EGRESS_OTHER;
	if (frame.header->source_node != VG_HTOBE16(config->node))
		return VG_REASON_EGRESS_OTHER;
	now_ns = vg_now_ns();
	if (local->lease_until_ns <= now_ns)
		return VG_REASON_EGRESS_NO_LEASE;
	if (frame.header->flags & VG_HTOBE16(VG_FLAG_REPLY))
		vg_neighbour_note(&frame, skb->ifindex, now_ns);
	return stamp(skb, &frame, config, local);
}

SEC("tcx/egress")
int vg_tc_egress(struct __sk_buff *skb)
{
	__u64 bytes = skb->len;

	vg_account(examine(skb), bytes);
	return TCX_NEXT;
}

char _license[] SEC("license") = "Dual BSD/GPL";
