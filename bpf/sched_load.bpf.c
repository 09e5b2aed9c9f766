/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How busy the CPUs are, from the scheduler's tracepoints: how long tasks wait for a CPU, how many are on its run
 * queue, how long it works, polls and rests. Everything is added up in per-CPU words; who wants a rate reads twice.
 *
 * One probe on sched_switch is enough where the kernel notes when a task was queued (task_struct.sched_info, which all
 * distributions have): it reads that note and the run queue's clock, both of which the scheduler has just written, so
 * no clock is read and nothing is looked up. Where it does not, the agent loads with cfg_own_notes: then a wakeup
 * leaves the time in the task's own storage, one wakeup in VG_WAKE_SAMPLE, since a clock costs more than the rest.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "lib/buckets.bpf.h"
#include "maps/telemetry.bpf.h"

#define VG_WAKE_SAMPLE 8
#define VG_TASK_RUNNING 0 /* the state of a task that a switch has put back on the run queue */

const volatile bool cfg_own_notes = false;

/* When a task was last queued: only with cfg_own_notes. Not pinned by the agent: it belongs to the tasks. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} vg_task_queued SEC(".maps");

/* ---- what a task is -------------------------------------------------------------------------------------------- */

/* The first eight letters of a thread's name as a number. */
#define VG_NAME8(a, b, c, d, e, f, g, h)                                                                            \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 | \
	 (__u64)(g) << 48 | (__u64)(h) << 56)

/*
 * Threads that are on the CPU to look for work, not to do it: the kernel's io_uring pollers, and the cores of DPDK and
 * SPDK, by the names these give them.
 */
static __always_inline bool is_polling(const struct task_struct *task)
{
	__u64 name = *(const __u64 *)task->comm;

	return name == VG_NAME8('i', 'o', 'u', '-', 's', 'q', 'p', '-') ||
	       name == VG_NAME8('d', 'p', 'd', 'k', '-', 'w', 'o', 'r') ||
	       name == VG_NAME8('l', 'c', 'o', 'r', 'e', '-', 'w', 'o') ||
	       name == VG_NAME8('r', 'e', 'a', 'c', 't', 'o', 'r', '_');
}

static __always_inline __u32 kind_of(const struct task_struct *task)
{
	if (!task->pid)
		return VG_STINT_IDLE;
	return is_polling(task) ? VG_STINT_POLLING : VG_STINT_BUSY;
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

/* How long `next` has waited for this CPU, or 0: it did not, or it was not measured. */
static __always_inline __u64 waited_by_own_note(struct task_struct *next, __u64 now_ns)
{
	__u64 *queued = bpf_task_storage_get(&vg_task_queued, next, NULL, 0), wait_ns;

	if (!queued || !*queued)
		return 0;
	wait_ns = now_ns - *queued;
	*queued = 0;
	return wait_ns;
}

static __always_inline __u64 waited_by_sched_info(const struct task_struct *next, __u64 clock_ns)
{
	__u64 queued = next->sched_info.last_queued;

	return queued && clock_ns > queued ? clock_ns - queued : 0;
}

/* The cgroup's share of it. Two CPUs may add at once, so these are atomic; one switch in VG_CGROUP_SAMPLE gets here. */
static __always_inline void count_for_cgroup(const struct task_struct *task, __u64 wait_ns, __u32 bucket)
{
	__u64 id = task->cgroups->dfl_cgrp->kn->id;
	struct vg_cgroup_load *load = bpf_map_lookup_elem(&VG_MAP_CGROUP_LOAD, &id);

	if (!load) {
		static const struct vg_cgroup_load none;

		bpf_map_update_elem(&VG_MAP_CGROUP_LOAD, &id, &none, BPF_NOEXIST);
		load = bpf_map_lookup_elem(&VG_MAP_CGROUP_LOAD, &id);
		if (!load)
			return;
	}
	__sync_fetch_and_add(&load->waits, 1);
	__sync_fetch_and_add(&load->wait_ns, wait_ns);
	if (bucket < VG_TIME_BUCKETS)
		__sync_fetch_and_add(&load->wait_buckets[bucket], 1);
}

static __always_inline void count_wait(struct vg_cpu_load *load, const struct task_struct *next, __u64 wait_ns)
{
	__u32 bucket = vg_bucket_of(wait_ns);

	load->waits++;
	load->wait_ns += wait_ns;
	if (bucket < VG_TIME_BUCKETS)
		load->wait_buckets[bucket]++;
	if (load->switches % VG_CGROUP_SAMPLE == 0)
		count_for_cgroup(next, wait_ns, bucket);
}

/* ---- probes ---------------------------------------------------------------------------------------------------- */

/* Leave the time with a task that was queued. */
static __always_inline void note(struct task_struct *task)
{
	__u64 *queued;

	if (!cfg_own_notes || bpf_get_prandom_u32() % VG_WAKE_SAMPLE)
		return;
	queued = bpf_task_storage_get(&vg_task_queued, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (queued)
		*queued = bpf_ktime_get_ns();
}

/*
 * The run queue that a task is on. The variable itself is not in every kernel's symbol table, but each task knows the
 * fair queue of its CPU, whichever class it is of, and that knows the whole.
 */
static __always_inline const struct rq *run_queue_of(const struct task_struct *task)
{
	return task->se.cfs_rq->rq;
}

/* The stint that lasted ends and another begins. */
static __always_inline void count_stint(struct vg_cpu_load *load, const struct rq *rq, __u64 clock_ns)
{
	__u64 stint_ns = load->began_clock_ns && clock_ns > load->began_clock_ns ? clock_ns - load->began_clock_ns : 0;
	__u32 kind = load->kind;

	if (kind < sizeof(load->stint_ns) / sizeof(load->stint_ns[0]))
		load->stint_ns[kind] += stint_ns;
	load->runnable_ns += stint_ns * load->runnable;
	load->switches++;
	load->began_clock_ns = clock_ns;
	load->runnable = rq->nr_running;
}

/*
 * From `prev` to `next`. Called with the run queue locked, and what is counted is this CPU's: nothing is atomic. A task
 * that goes to sleep is no longer in nr_running, one that was only interrupted is.
 */
SEC("tp_btf/sched_switch")
int BPF_PROG(vg_sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	__u32 zero = 0;
	struct vg_cpu_load *load = bpf_map_lookup_elem(&VG_MAP_CPU_LOAD, &zero);
	const struct rq *rq = run_queue_of(next);
	__u64 clock_ns = cfg_own_notes ? bpf_ktime_get_ns() : rq->clock, wait_ns = 0;

	if (!load)
		return 0;
	count_stint(load, rq, clock_ns);
	load->kind = kind_of(next);
	if (prev_state == VG_TASK_RUNNING && prev->pid)
		note(prev);
	if (load->kind != VG_STINT_IDLE)
		wait_ns = cfg_own_notes ? waited_by_own_note(next, clock_ns) : waited_by_sched_info(next, clock_ns);
	if (wait_ns)
		count_wait(load, next, wait_ns);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(vg_sched_wakeup, struct task_struct *task)
{
	note(task);
	return 0;
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(vg_sched_new, struct task_struct *task)
{
	note(task);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
