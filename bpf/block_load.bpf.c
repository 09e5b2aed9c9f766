/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How long the block layer's requests take, from their issue to the driver until their completion. A request is found
 * again by its address, which is its own until it completes.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "lib/buckets.bpf.h"

#define VG_REQUEST_OPERATION 0xff /* of cmd_flags: REQ_OP_BITS */
#define VG_REQUEST_READ 0
#define VG_REQUEST_WRITE 1

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VG_IO_MAX);
	__type(key, __u32);
	__type(value, struct vg_io_load);
} VG_MAP_IO_LOAD SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, VG_IO_STARTS_MAX);
	__type(key, __u64);
	__type(value, __u64);
} VG_MAP_IO_START SEC(".maps");

SEC("tp_btf/block_rq_issue")
int BPF_PROG(vg_block_issue, struct request *request)
{
	__u64 key = (__u64)request, now_ns = bpf_ktime_get_ns();

	bpf_map_update_elem(&VG_MAP_IO_START, &key, &now_ns, BPF_ANY);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(vg_block_done, struct request *request, blk_status_t error, unsigned int bytes)
{
	__u64 key = (__u64)request, now_ns, *issued = bpf_map_lookup_elem(&VG_MAP_IO_START, &key);
	__u32 operation = request->cmd_flags & VG_REQUEST_OPERATION, bucket;
	__u32 which = operation == VG_REQUEST_READ  ? VG_IO_READ
		      : operation == VG_REQUEST_WRITE ? VG_IO_WRITE
						      : VG_IO_OTHER;
	struct vg_io_load *load = bpf_map_lookup_elem(&VG_MAP_IO_LOAD, &which);

	if (!load)
		return 0;
	load->bytes += bytes;
	if (!issued) {
		load->unseen++;
		return 0;
	}
	now_ns = bpf_ktime_get_ns();
	bucket = vg_bucket_of(now_ns - *issued);
	load->requests++;
	load->time_ns += now_ns - *issued;
	if (bucket < VG_TIME_BUCKETS)
		load->time_buckets[bucket]++;
	bpf_map_delete_elem(&VG_MAP_IO_START, &key);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
