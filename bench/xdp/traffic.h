/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What traffic.bpf.c and the programs that load it agree on. */
#ifndef VG_BENCH_TRAFFIC_H
#define VG_BENCH_TRAFFIC_H

#include "virgo/wire.h"

#define VG_TRAFFIC_UDP_END 42 /* Ethernet, IPv4 and UDP headers */
#define VG_TRAFFIC_KEY_BYTES 16
#define VG_TRAFFIC_HEAD (VG_TRAFFIC_UDP_END + (int)sizeof(struct vg_wire_header) + VG_TRAFFIC_KEY_BYTES)
#define VG_TRAFFIC_HEAD_WORDS ((VG_TRAFFIC_HEAD + 7) / 8)
#define VG_TRAFFIC_VALUE_BYTES 64
/* A request is padded so that header and value fit: the frame of the answer is never longer. */
#define VG_TRAFFIC_FRAME (VG_TRAFFIC_UDP_END + (int)sizeof(struct vg_wire_header) + VG_TRAFFIC_VALUE_BYTES)

/* What comes back. Written by one receive queue only. */
struct vg_traffic_counts {
	__u64 answered; /* datagrams from the server's port */
	__u64 right;	/* status OK and the key's own value, or an echo of a request */
	__u64 not_ok;	/* another status */
	__u64 wrong;	/* anything else */
};

#endif
