/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Kernel-side functions for the CPU pool (virgod --kernel-dir): programs of type syscall, called with bytes that they
 * may read and write. What the caller gets back is the return value and the bytes.
 */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

#define BOX_BYTES 8

/* Adds up numbers in the kernel's memory: they outlive the call. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} total SEC(".maps");

struct box {
	__u64 number;
};

SEC("syscall")
int add(struct box *box)
{
	__u32 key = 0;
	__u64 *sum = bpf_map_lookup_elem(&total, &key);

	if (!sum)
		return -1;
	__sync_fetch_and_add(sum, box->number);
	box->number = *sum;
	return 0;
}

/* The greatest common divisor of the halves of a word, by Euclid. */
SEC("syscall")
int divisor(struct box *box)
{
	__u32 a = (__u32)(box->number >> 32), b = (__u32)box->number;

	for (int i = 0; i < 64 && b; i++) {
		__u32 rest = a % b;

		a = b;
		b = rest;
	}
	box->number = a;
	return (int)a;
}

char LICENSE[] SEC("license") = "GPL";
