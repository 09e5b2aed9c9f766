/* SPDX-License-Identifier: GPL-3.0-or-later */
/* INFO: the fields that Redis clients and dashboards read, and our own. Figures that are not kept are not shown. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "svc/mem/cmd.h"
#include "pool/version.h"
#include "svc/mem/hub.h"
#include "svc/mem/resp_watch.h"
#include "svc/mem/shared.h"
#include "svc/mem/tracking.h"
#include "svc/persist.h"

#define VERSION_REDIS "7.0.15"

struct report {
	const struct vg_env *env;
	struct vg_out text;
	struct vg_stats stats;
	struct vg_store_stats store;
	struct vg_tracking_figures tracking;
};

static void line(struct report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(struct report *report, const char *format, ...)
{
	char *at = vg_out_reserve(&report->text, 512);
	va_list values;
	int length;

	if (!at)
		return;
	va_start(values, format);
	length = vsnprintf(at, 510, format, values);
	va_end(values);
	length = length > 509 ? 509 : length;
	memcpy(at + length, "\r\n", 2);
	vg_out_commit(&report->text, (size_t)length + 2);
}

#define LINE_U64(report, name, value) line(report, name ":%llu", (unsigned long long)(value))

static void server(struct report *report)
{
	const struct vg_env *env = report->env;
	__u64 uptime_s = vg_env_uptime_s(env);
	struct utsname machine;

	line(report, "redis_version:%s", VERSION_REDIS);
	line(report, "virgo_version:%s", VG_VERSION);
	line(report, "redis_mode:standalone");
	if (uname(&machine) == 0)
		line(report, "os:%s %s %s", machine.sysname, machine.release, machine.machine);
	line(report, "arch_bits:64");
	line(report, "multiplexing_api:io_uring");
	line(report, "process_id:%d", getpid());
	line(report, "tcp_port:%u", env->settings->port[VG_DOOR_MEM]);
	LINE_U64(report, "server_time_usec", env->clock->unix_ns / 1000);
	LINE_U64(report, "uptime_in_seconds", uptime_s);
	LINE_U64(report, "uptime_in_days", uptime_s / 86400);
	line(report, "config_file:%s", env->settings->config_file ? env->settings->config_file : "");
	line(report, "io_threads_active:%u", env->workers > 1);
	line(report, "virgo_workers:%u", env->workers);
}

static void clients(struct report *report)
{
	LINE_U64(report, "connected_clients", report->stats.connections_open);
	line(report, "blocked_clients:0");
	LINE_U64(report, "tracking_clients", report->tracking.clients);
	line(report, "clients_in_timeout_table:0");
}

static void size_for_people(struct report *report, const char *name, __u64 bytes)
{
	static const char units[] = "BKMGT";
	double size = (double)bytes;
	int unit = 0;

	while (size >= 1024 && unit < 4) {
		size /= 1024;
		unit++;
	}
	if (unit == 0)
		line(report, "%s:%lluB", name, (unsigned long long)bytes);
	else
		line(report, "%s:%.2f%c", name, size, units[unit]);
}

/* With the arena, which is touched whole at start. 0: not known. */
static __u64 resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long long size, resident = 0;

	if (file && fscanf(file, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	if (file)
		fclose(file);
	return resident * (__u64)sysconf(_SC_PAGESIZE);
}

static void memory(struct report *report)
{
	const struct vg_store_stats *store = &report->store;
	__u64 used = store->used, resident = resident_bytes(), total, limit;
	enum vg_eviction policy;
	struct rusage usage;

	vg_store_limit_get(report->env->store, &policy, &limit);
	total = store->arena_bytes + store->heap_bytes;
	LINE_U64(report, "used_memory", used);
	size_for_people(report, "used_memory_human", used);
	LINE_U64(report, "used_memory_rss", resident);
	size_for_people(report, "used_memory_rss_human", resident);
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		LINE_U64(report, "used_memory_peak_rss", (__u64)usage.ru_maxrss * 1024);
	LINE_U64(report, "used_memory_dataset", used);
	LINE_U64(report, "maxmemory", limit);
	size_for_people(report, "maxmemory_human", limit);
	line(report, "maxmemory_policy:%s", vg_eviction_text(policy));
	line(report, "mem_fragmentation_ratio:%.2f", used ? (double)resident / (double)used : 0.0);
	LINE_U64(report, "virgo_memory_bytes", total);
	LINE_U64(report, "virgo_arena_bytes", store->arena_bytes);
	LINE_U64(report, "virgo_arena_used", store->arena_used);
	LINE_U64(report, "virgo_heap_bytes", store->heap_bytes);
	LINE_U64(report, "virgo_heap_used", store->heap_used);
	LINE_U64(report, "virgo_handles", store->handles);
	LINE_U64(report, "virgo_index_buckets", store->buckets);
	LINE_U64(report, "virgo_index_chain_lines", store->chain_lines);
}

/* The fields that dashboards know under these names, and what only this log has. */
static void log_state(struct report *report)
{
	struct vg_wal *wal = report->env->wal;
	struct vg_wal_stats stats;

	line(report, "aof_enabled:%d", wal != NULL);
	line(report, "aof_rewrite_in_progress:0");
	if (!wal)
		return;
	vg_wal_stats(wal, &stats);
	line(report, "aof_last_write_status:%s", stats.error ? "err" : "ok");
	LINE_U64(report, "aof_current_size", stats.current_bytes);
	LINE_U64(report, "aof_buffer_length", stats.pending_bytes);
	line(report, "virgo_log_fsync:%s", vg_wal_sync_text(stats.sync));
	line(report, "virgo_log_error:%s", stats.error ? strerror(-stats.error) : "");
	LINE_U64(report, "virgo_log_sequence", stats.sequence);
	LINE_U64(report, "virgo_log_durable", stats.durable);
	LINE_U64(report, "virgo_log_segments", stats.segments);
	LINE_U64(report, "virgo_log_batches", stats.batches);
	LINE_U64(report, "virgo_log_bytes", stats.bytes);
	LINE_U64(report, "virgo_log_failures", stats.failures);
	line(report, "virgo_log_wants_snapshot:%d", stats.wants_snapshot);
}

static void persistence(struct report *report)
{
	struct vg_persistence known;
	struct vg_cuts_stats cuts;

	vg_env_persistence((struct vg_env *)report->env, &known);
	vg_cuts_stats(report->env->store, &cuts);
	line(report, "loading:0");
	line(report, "async_loading:0");
	LINE_U64(report, "current_cow_size", cuts.bytes);
	line(report, "current_fork_perc:%u.%u0", known.running ? known.permille / 10 : 0,
	     known.running ? known.permille % 10 : 0);
	LINE_U64(report, "rdb_changes_since_last_save", known.changes);
	line(report, "rdb_bgsave_in_progress:%d", known.running);
	LINE_U64(report, "rdb_last_save_time", known.last_save_s);
	line(report, "rdb_last_bgsave_status:%s", known.last_error ? "err" : "ok");
	line(report, "rdb_last_bgsave_time_sec:%lld", (long long)known.last_seconds);
	line(report, "rdb_current_bgsave_time_sec:%lld", (long long)known.current_seconds);
	LINE_U64(report, "rdb_saves", known.saves);
	if (known.last_error)
		line(report, "virgo_last_bgsave_error:%s", known.last_why);
	LINE_U64(report, "virgo_last_bgsave_bytes", known.last_bytes);
	LINE_U64(report, "virgo_snapshots_open", cuts.open);
	log_state(report);
}

static void count_topic(void *context, const char *name, size_t length, __u32 subscribers)
{
	++*(__u64 *)context;
}

/* A channel with subscribers on several workers counts for each. */
static __u64 count_topics(const struct report *report, enum vg_topic_kind kind)
{
	__u64 count = 0;

	vg_hub_each(vg_mem_shared(report->env), kind, count_topic, &count);
	return count;
}

struct error_sum {
	int used;
	__u64 total;
	struct {
		char word[VG_RESP_ERROR_WORD];
		__u64 count;
	} kind[2 * VG_ERROR_KINDS_MAX];
};

static void add_error(void *context, const char *word, __u64 count)
{
	struct error_sum *sum = context;
	int i = 0;

	sum->total += count;
	while (i < sum->used && strcmp(sum->kind[i].word, word) != 0)
		i++;
	if (i == 2 * VG_ERROR_KINDS_MAX)
		return;
	if (i == sum->used) {
		snprintf(sum->kind[i].word, sizeof(sum->kind[i].word), "%s", word);
		sum->kind[sum->used++].count = 0;
	}
	sum->kind[i].count += count;
}

static __u64 count_errors(void)
{
	struct error_sum sum = { 0 };

	vg_watch_errors_each(add_error, &sum);
	return sum.total;
}

static void error_statistics(struct report *report)
{
	struct error_sum sum = { 0 };

	vg_watch_errors_each(add_error, &sum);
	for (int i = 0; i < sum.used; i++)
		if (sum.kind[i].count)
			line(report, "errorstat_%s:count=%llu", sum.kind[i].word,
			     (unsigned long long)sum.kind[i].count);
}

static void statistics(struct report *report)
{
	const struct vg_stats *stats = &report->stats;
	struct vg_xdp_answers xdp;
	struct vg_pace pace;

	vg_env_pace(report->env, &pace);
	vg_env_xdp_answers(report->env, &xdp);
	LINE_U64(report, "total_connections_received", stats->connections_accepted);
	LINE_U64(report, "total_commands_processed", stats->requests_stream + stats->requests_datagram);
	LINE_U64(report, "instantaneous_ops_per_sec", pace.requests_per_s);
	line(report, "instantaneous_input_kbps:%.2f", (double)pace.bytes_in_per_s / 1024);
	line(report, "instantaneous_output_kbps:%.2f", (double)pace.bytes_out_per_s / 1024);
	LINE_U64(report, "total_net_input_bytes", stats->bytes_in);
	LINE_U64(report, "total_net_output_bytes", stats->bytes_out);
	LINE_U64(report, "expired_keys", report->store.expired);
	LINE_U64(report, "evicted_keys", report->store.evicted);
	LINE_U64(report, "keyspace_hits", stats->hits);
	LINE_U64(report, "keyspace_misses", stats->misses);
	LINE_U64(report, "pubsub_channels", count_topics(report, VG_TOPIC_CHANNEL));
	LINE_U64(report, "pubsub_patterns", count_topics(report, VG_TOPIC_PATTERN));
	LINE_U64(report, "tracking_total_keys", report->tracking.keys);
	LINE_U64(report, "tracking_total_items", report->tracking.items);
	LINE_U64(report, "tracking_total_prefixes", report->tracking.prefixes);
	LINE_U64(report, "total_error_replies", count_errors());
	LINE_U64(report, "virgo_requests_stream", stats->requests_stream);
	LINE_U64(report, "virgo_requests_datagram", stats->requests_datagram);
	LINE_U64(report, "virgo_xdp_hits", xdp.hits);
	LINE_U64(report, "virgo_xdp_misses", xdp.misses);
	LINE_U64(report, "virgo_forwarded", stats->forwarded);
	LINE_U64(report, "virgo_in_flight", stats->in_flight);
	LINE_U64(report, "virgo_service_ns", stats->service_ns_smoothed);
	LINE_U64(report, "virgo_reader_retries", report->store.reader_retries);
	for (int i = 0; i < VG_REFUSAL_MAX; i++) {
		if (stats->refused[i])
			line(report, "virgo_refused_%d:%llu,%s", i, (unsigned long long)stats->refused[i],
			     vg_refusal_text((enum vg_refusal)i));
	}
}

static void replication(struct report *report)
{
	line(report, "role:master");
	line(report, "connected_slaves:0");
	line(report, "master_failover_state:no-failover");
	line(report, "master_repl_offset:0");
	line(report, "repl_backlog_active:0");
}

static void cpu(struct report *report)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage))
		return;
	line(report, "used_cpu_sys:%lld.%06ld", (long long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec);
	line(report, "used_cpu_user:%lld.%06ld", (long long)usage.ru_utime.tv_sec, (long)usage.ru_utime.tv_usec);
}

/* Commands are timed only when they can be slow: the time of a call is known of those. */
static void command_statistics(struct report *report)
{
	for (int i = 0; i < vg_commands_count; i++) {
		struct vg_command_count sum;
		double each_us;

		vg_watch_count_sum(i, &sum);
		if (!sum.calls && !sum.rejected)
			continue;
		each_us = sum.timed ? (double)sum.timed_ns / (double)sum.timed / 1000 : 0;
		line(report, "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,timed_calls=%llu",
		     vg_commands[i].name, (unsigned long long)sum.calls, (unsigned long long)(sum.timed_ns / 1000),
		     each_us, (unsigned long long)sum.rejected, (unsigned long long)sum.timed);
	}
}

static void cluster(struct report *report)
{
	const struct vg_cluster *topology = report->env->cluster;

	line(report, "cluster_enabled:0");
	line(report, "virgo_node:%u", vg_cluster_self(topology));
	line(report, "virgo_nodes:%u", vg_cluster_nodes(topology));
	line(report, "virgo_epoch:%u", vg_cluster_epoch(topology));
}

static void keyspace(struct report *report)
{
	if (report->store.keys)
		line(report, "db0:keys=%llu", (unsigned long long)report->store.keys);
}

/* What another service of this node counts; nothing where it has none. */
static void service(struct report *report, enum vg_service_number number, const char *prefix)
{
	struct vg_figure figures[VG_FIGURES_MAX];
	int count = vg_env_figures(report->env, number, &figures);

	for (int i = 0; i < count; i++)
		line(report, "%s_%s:%llu", prefix, figures[i].name, (unsigned long long)figures[i].value);
}

static void jobs(struct report *report)
{
	service(report, VG_SERVICE_CPU, "virgo_jobs");
}

static void files(struct report *report)
{
	service(report, VG_SERVICE_FILE, "virgo_files");
}

static const struct {
	const char *name, *title;
	void (*write)(struct report *report);
	bool by_default;
} sections[] = {
	{ "server", "Server", server, true },
	{ "clients", "Clients", clients, true },
	{ "memory", "Memory", memory, true },
	{ "persistence", "Persistence", persistence, true },
	{ "stats", "Stats", statistics, true },
	{ "replication", "Replication", replication, true },
	{ "cpu", "CPU", cpu, true },
	{ "commandstats", "Commandstats", command_statistics, false },
	{ "errorstats", "Errorstats", error_statistics, true },
	{ "cluster", "Cluster", cluster, true },
	{ "jobs", "Jobs", jobs, true },
	{ "files", "Files", files, true },
	{ "keyspace", "Keyspace", keyspace, true },
};

static bool is_asked_for(const struct vg_call *call, size_t section)
{
	if (call->args == 1)
		return sections[section].by_default;
	for (int i = 1; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (vg_arg_is(arg, sections[section].name) || vg_arg_is(arg, "all") || vg_arg_is(arg, "everything") ||
		    (vg_arg_is(arg, "default") && sections[section].by_default))
			return true;
	}
	return false;
}

int vg_cmd_info(struct vg_call *call)
{
	struct report report = { .env = call->env };
	bool first = true;
	char header[48];
	int length;

	vg_config_stats(call->env, &report.stats);
	vg_store_stats(call->env->store, &report.store);
	vg_tracking_figures(vg_mem_shared(call->env)->tracking, &report.tracking);
	vg_out_init(&report.text, call->env->chunks);
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		if (!is_asked_for(call, i))
			continue;
		if (!first)
			vg_out_append(&report.text, "\r\n", 2);
		first = false;
		line(&report, "# %s", sections[i].title);
		sections[i].write(&report);
	}
	length = snprintf(header, sizeof(header), call->version == 3 ? "=%llu\r\ntxt:" : "$%llu\r\n",
			  (unsigned long long)report.text.bytes + (call->version == 3 ? 4 : 0));
	vg_out_append(call->out, header, (size_t)length);
	vg_out_splice(call->out, &report.text);
	vg_out_append(call->out, "\r\n", 2);
	vg_out_deinit(&report.text);
	return 0;
}
