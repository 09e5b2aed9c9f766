/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A program that the verifier refuses: it reads where it was not given anything. */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

SEC("syscall")
int wild(__u64 *box)
{
	__u64 *anywhere = (__u64 *)*box;

	return (int)*anywhere;
}

char LICENSE[] SEC("license") = "GPL";
