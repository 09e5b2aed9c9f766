/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Passes every packet and counts it. A veth delivers what its other end transmits from XDP only while an XDP program
 * is attached here: that program may be this one.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "lib/account.bpf.h"

SEC("xdp")
int vg_xdp_pass(struct xdp_md *ctx)
{
	vg_account(VG_REASON_PEER_PASS, ctx->data_end - ctx->data);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
