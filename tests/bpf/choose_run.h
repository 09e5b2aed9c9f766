/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What choose.bpf.c is asked, and what it answers. */
#ifndef VG_TESTS_BPF_CHOOSE_RUN_H
#define VG_TESTS_BPF_CHOOSE_RUN_H

#include "virgo/types.h"

struct choose_run {
	__u64 now_ns;
	__u64 client, sequence;
	__u32 random;
	__u32 rounds; /* decisions on requests of following sequence numbers */
	__u16 flags;  /* of the request, big-endian */
	__u8 hops;
	__u8 reserved;
	/* answers */
	__u32 node;
	__u32 reason;
	__u32 reserved2;
	__u64 elapsed_ns;
};
VG_ASSERT_SIZE(struct choose_run, 56);

#endif
