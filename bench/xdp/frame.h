/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The requests of traffic.bpf.c, prepared in user space. */
#ifndef VG_BENCH_FRAME_H
#define VG_BENCH_FRAME_H

#include "traffic.h"

struct vg_frame_ends {
	__u8 mac_from[6], mac_to[6];
	__u32 address_from, address_to; /* IPv4, network byte order */
	__u16 port_from, port_to;	/* host byte order */
};

/* Head of a frame that asks for a key (or pings); what changes from one to the next is zero. */
void vg_frame_head(const struct vg_frame_ends *ends, __u8 opcode, __u16 flags,
		   __u8 ret_head[VG_TRAFFIC_HEAD_WORDS * 8]);

/* Tables for the partition of key numbers of at most 24 bits: see cfg_crc. */
void vg_frame_crc(__u16 ret_crc[3][256]);

/* A whole datagram (without outer headers) that asks for key `number`; VG_TRAFFIC_FRAME - VG_TRAFFIC_UDP_END bytes. */
void vg_frame_datagram(__u32 number, __u64 sequence, __u8 *ret_datagram);

#endif
