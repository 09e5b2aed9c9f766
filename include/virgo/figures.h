/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the services of a node count. One list each: the words that the service counts in, those of its pinned map
 * (maps.h), the names in `virgo status --json` and in INFO, and the agent's metrics are all made from it. The order is
 * part of the map's layout.
 *
 * X(name, type, metric, help)
 *   type     COUNTER, GAUGE, or SECONDS: a gauge, counted in nanoseconds and told in seconds
 *   metric   with its label if there are several; they stand together, and the first one's help is told
 */
#ifndef VIRGO_FIGURES_H
#define VIRGO_FIGURES_H

#include "types.h"

#define VG_CPU_COUNTS(X)                                                                                               \
	X(running, GAUGE, "virgo_cpu_jobs_running", "Jobs at work.")                                                   \
	X(queued, GAUGE, "virgo_cpu_jobs_queued", "Jobs that wait for a place.")                                       \
	X(kept, GAUGE, "virgo_cpu_jobs_kept", "Jobs that ended and can still be asked for.")                           \
	X(kept_bytes, GAUGE, "virgo_cpu_kept_bytes", "Memory of their output.")                                        \
	X(accepted, COUNTER, "virgo_cpu_jobs_accepted_total", "Jobs that were taken.")                                 \
	X(done, COUNTER, "virgo_cpu_jobs_total{result=\"done\"}",                                                      \
	  "Jobs that ended, by how: done is by themselves, whatever their exit status.")                               \
	X(failed, COUNTER, "virgo_cpu_jobs_total{result=\"failed\"}", "What was asked for could not be run.")         \
	X(cancelled, COUNTER, "virgo_cpu_jobs_total{result=\"cancelled\"}", "By who asked for them.")                  \
	X(timed_out, COUNTER, "virgo_cpu_jobs_total{result=\"timed_out\"}", "Their time was over.")                    \
	X(lost, COUNTER, "virgo_cpu_jobs_total{result=\"lost\"}", "Who asked for them did not come back.")             \
	X(refused, COUNTER, "virgo_cpu_refused_total", "Requests for jobs that were refused.")                         \
	X(busy, COUNTER, "virgo_cpu_refused_full_total", "Of them those for which there was no place.")                \
	X(duplicates, COUNTER, "virgo_cpu_duplicates_total", "Requests for jobs that had come before.")                \
	X(workers_replaced, COUNTER, "virgo_cpu_workers_replaced_total", "Workers for functions that ended.")          \
	X(input_bytes, COUNTER, "virgo_cpu_input_bytes_total", "What jobs have read.")                                 \
	X(output_bytes, COUNTER, "virgo_cpu_output_bytes_total", "What jobs have written.")                            \
	X(service_ns, SECONDS, "virgo_cpu_job_seconds", "The time for a job, averaged.")

#define VG_FILE_COUNTS(X)                                                                                              \
	X(requests, COUNTER, "virgo_file_requests_total", "Requests for files.")                                       \
	X(failed, COUNTER, "virgo_file_failed_total", "Of them those that ended with an error.")                       \
	X(in_flight, GAUGE, "virgo_file_in_flight", "Requests under way, locks that are waited for among them.")       \
	X(waits, COUNTER, "virgo_file_waits_total", "Requests that waited for memory or for others to end.")           \
	X(memory_bytes, GAUGE, "virgo_file_memory_bytes", "Memory of requests and answers under way.")                 \
	X(sessions, GAUGE, "virgo_file_sessions", "Sessions of clients.")                                              \
	X(sessions_ended, COUNTER, "virgo_file_sessions_ended_total", "Sessions that have ended.")                     \
	X(open_files, GAUGE, "virgo_file_open", "Open files.")                                                         \
	X(read_bytes, COUNTER, "virgo_file_read_bytes_total", "Bytes read.")                                           \
	X(written_bytes, COUNTER, "virgo_file_written_bytes_total", "Bytes written.")                                  \
	X(inline_reads, COUNTER, "virgo_file_inline_reads_total", "Reads answered at once from the page cache.")       \
	X(syncs, COUNTER, "virgo_file_syncs_total", "Requests to have something on the disk.")                         \
	X(group_syncs, COUNTER, "virgo_file_group_syncs_total", "Syncs of the disk for groups of them.")               \
	X(locks, GAUGE, "virgo_file_locks", "Locks held.")                                                             \
	X(lock_waits, GAUGE, "virgo_file_lock_waits", "Requests that wait for a lock.")                                \
	X(watches, GAUGE, "virgo_file_watches", "Files and directories that are watched.")                             \
	X(events, COUNTER, "virgo_file_events_total", "Events told to those who watch.")                               \
	X(retries, COUNTER, "virgo_file_retries_total", "Requests sent again that had come before.")                   \
	X(quota_refused, COUNTER, "virgo_file_quota_refused_total", "Requests refused because of a quota.")            \
	X(wrong_node, COUNTER, "virgo_file_wrong_node_total", "Requests sent on to the node that has the file.")       \
	X(asked_nodes, COUNTER, "virgo_file_asked_nodes_total", "Questions to other nodes.")                           \
	X(service_ns, SECONDS, "virgo_file_request_seconds", "The time for a request, averaged.")

/* Words, each by itself: a service changes them while others read. */
#define X(name, type, metric, help) __u64 name;
struct vg_cpu_counts {
	VG_CPU_COUNTS(X)
};
struct vg_file_counts {
	VG_FILE_COUNTS(X)
};
#undef X

#endif
