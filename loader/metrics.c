// SPDX-License-Identifier: GPL-3.0-or-later
/* A node's status as Prometheus reads it: text format, version 0.0.4. */
#include "report.h"

#include <string.h>

#define VG_STRINGIFY(x) VG_STRINGIFY_(x)

static void metric_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metric(FILE *out, const char *name, const char *type, const char *help, double value)
{
	metric_head(out, name, type, help);
	fprintf(out, "%s %.17g\n", name, value);
}

/* A label's value may hold anything an interface name may. */
static void label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '"' || *value == '\\')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void metrics_counters(FILE *out, const struct vg_node_status *status, const char *metric_name, const char *help,
			     bool bytes)
{
	metric_head(out, metric_name, "counter", help);
	for (int reason = 0; reason < VG_REASON_MAX; reason++) {
		const struct vg_counter *counter = &status->counters[reason];
		char name[32], verdict[32];

		fprintf(out, "%s{reason=\"%s\",verdict=\"%s\"} %llu\n", metric_name,
			vg_report_lower(vg_report_reasons[reason].name, &name),
			vg_report_lower(vg_report_reasons[reason].verdict, &verdict),
			(unsigned long long)(bytes ? counter->bytes : counter->packets));
	}
}

static void metrics_attachments(FILE *out, const struct vg_node_status *status)
{
	metric_head(out, "virgo_attached", "gauge", "1 for each interface a program is attached to.");
	for (int i = 0; i < status->attachments_count; i++) {
		const struct vg_attachment *attachment = &status->attachments[i];
		char interface[48];

		fputs("virgo_attached{", out);
		label(out, "interface", vg_report_interface(attachment, &interface));
		fprintf(out, ",mode=\"%s\",program=\"%s\"} %d\n", vg_attachment_mode(attachment), attachment->program,
			attachment->alive);
	}
}

/* ---- telemetry ------------------------------------------------------------------------------------------------- */

/* `labels` without braces, or empty. Buckets of a histogram in Prometheus' sense count all below their bound. */
static void histogram(FILE *out, const char *name, const char *labels, const __u64 *buckets, __u64 sum_ns)
{
	const char *comma = labels[0] ? "," : "";
	__u64 below = 0;

	for (int b = 0; b < VG_TIME_BUCKETS - 1; b++) {
		below += buckets[b];
		fprintf(out, "%s_bucket{%s%sle=\"%.9g\"} %llu\n", name, labels, comma,
			(double)(1ULL << (VG_TIME_FIRST_BIT + b)) / 1e9, (unsigned long long)below);
	}
	below += buckets[VG_TIME_BUCKETS - 1];
	fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)below);
	fprintf(out, "%s_sum%s%s%s %.9g\n", name, labels[0] ? "{" : "", labels, labels[0] ? "}" : "",
		(double)sum_ns / 1e9);
	fprintf(out, "%s_count%s%s%s %llu\n", name, labels[0] ? "{" : "", labels, labels[0] ? "}" : "",
		(unsigned long long)below);
}

static void metrics_cpus(FILE *out, const struct vg_node_status *status)
{
	static const char *const kinds[] = {
		[VG_STINT_IDLE] = "idle", [VG_STINT_BUSY] = "busy", [VG_STINT_POLLING] = "polling"
	};
	char labels[32];

	metric_head(out, "virgo_run_queue_delay_seconds", "histogram", "How long tasks waited for a CPU.");
	for (int cpu = 0; cpu < status->cpus_count; cpu++) {
		snprintf(labels, sizeof(labels), "cpu=\"%d\"", cpu);
		histogram(out, "virgo_run_queue_delay_seconds", labels, status->cpus[cpu].wait_buckets,
			  status->cpus[cpu].wait_ns);
	}
	metric_head(out, "virgo_cpu_seconds_total", "counter", "What CPUs did, of stints that ended.");
	for (int cpu = 0; cpu < status->cpus_count; cpu++)
		for (int kind = 0; kind <= VG_STINT_POLLING; kind++)
			fprintf(out, "virgo_cpu_seconds_total{cpu=\"%d\",kind=\"%s\"} %.9g\n", cpu, kinds[kind],
				(double)status->cpus[cpu].stint_ns[kind] / 1e9);
	metric_head(out, "virgo_run_queue_length", "gauge", "Tasks on the run queue at the last switch.");
	for (int cpu = 0; cpu < status->cpus_count; cpu++)
		fprintf(out, "virgo_run_queue_length{cpu=\"%d\"} %u\n", cpu, status->cpus[cpu].runnable);
	metric_head(out, "virgo_run_queue_seconds_total", "counter",
		    "Tasks on the run queue times how long; its rate is the mean length.");
	for (int cpu = 0; cpu < status->cpus_count; cpu++)
		fprintf(out, "virgo_run_queue_seconds_total{cpu=\"%d\"} %.9g\n", cpu,
			(double)status->cpus[cpu].runnable_ns / 1e9);
	metric_head(out, "virgo_switches_total", "counter", "Context switches.");
	for (int cpu = 0; cpu < status->cpus_count; cpu++)
		fprintf(out, "virgo_switches_total{cpu=\"%d\"} %llu\n", cpu,
			(unsigned long long)status->cpus[cpu].switches);
}

static void metrics_cgroups(FILE *out, const struct vg_node_status *status)
{
	char labels[48];

	metric_head(out, "virgo_cgroup_run_queue_delay_seconds", "histogram",
		    "The same by cgroup (inode number of its directory): one switch in " VG_STRINGIFY(
			    VG_CGROUP_SAMPLE) " is looked at.");
	for (int i = 0; i < status->cgroups_count; i++) {
		snprintf(labels, sizeof(labels), "cgroup=\"%llu\"", (unsigned long long)status->cgroups[i].id);
		histogram(out, "virgo_cgroup_run_queue_delay_seconds", labels, status->cgroups[i].load.wait_buckets,
			  status->cgroups[i].load.wait_ns);
	}
}

static void metrics_io(FILE *out, const struct vg_node_status *status)
{
	static const char *const operations[VG_IO_MAX] = {
		[VG_IO_READ] = "read", [VG_IO_WRITE] = "write", [VG_IO_OTHER] = "other"
	};
	char labels[32];

	metric_head(out, "virgo_block_request_seconds", "histogram", "Block requests, from issue to completion.");
	for (int which = 0; which < VG_IO_MAX; which++) {
		snprintf(labels, sizeof(labels), "operation=\"%s\"", operations[which]);
		histogram(out, "virgo_block_request_seconds", labels, status->io[which].time_buckets,
			  status->io[which].time_ns);
	}
	metric_head(out, "virgo_block_bytes_total", "counter", "Their bytes.");
	for (int which = 0; which < VG_IO_MAX; which++)
		fprintf(out, "virgo_block_bytes_total{operation=\"%s\"} %llu\n", operations[which],
			(unsigned long long)status->io[which].bytes);
}

static void metrics_host(FILE *out, const struct vg_host *host)
{
	const struct {
		const char *name;
		const struct vg_pressure *pressure;
	} resources[] = { { "cpu", &host->cpu }, { "memory", &host->memory }, { "io", &host->io } };

	if (!host->updated_ns) /* nobody has looked: the agent looks while it runs */
		return;
	metric(out, "virgo_host_memory_bytes", "gauge", "Memory of the machine.", (double)host->memory_bytes);
	metric(out, "virgo_host_memory_available_bytes", "gauge", "What new work could have of it.",
	       (double)host->memory_available_bytes);
	metric_head(out, "virgo_pressure_seconds_total", "counter", "Time in which tasks stalled (PSI): some, all.");
	for (int i = 0; i < 3; i++)
		fprintf(out,
			"virgo_pressure_seconds_total{resource=\"%s\",stalled=\"some\"} %.9g\n"
			"virgo_pressure_seconds_total{resource=\"%s\",stalled=\"full\"} %.9g\n",
			resources[i].name, (double)resources[i].pressure->some_us / 1e6, resources[i].name,
			(double)resources[i].pressure->full_us / 1e6);
	metric_head(out, "virgo_pressure_ratio", "gauge", "The share of the last second.");
	for (int i = 0; i < 3; i++)
		fprintf(out,
			"virgo_pressure_ratio{resource=\"%s\",stalled=\"some\"} %.3f\n"
			"virgo_pressure_ratio{resource=\"%s\",stalled=\"full\"} %.3f\n",
			resources[i].name, resources[i].pressure->some_permille / 1e3, resources[i].name,
			resources[i].pressure->full_permille / 1e3);
}

/* ---- the cluster ----------------------------------------------------------------------------------------------- */

/* One gauge over nodes and services: `of` 0 in flight, 1 seconds of service, 2 age. */
static void metrics_heard(FILE *out, const struct vg_node_status *status, const char *name, const char *help, int of)
{
	metric_head(out, name, "gauge", help);
	for (int node = 0; node < status->config.nodes && node < VG_NODES_MAX; node++) {
		for (int which = 0; which < VG_LOADS_MAX; which++) {
			const struct vg_service_load *heard = &status->loads[node].service[which];

			if (!heard->seen_ns || !vg_load_names[which])
				continue;
			fprintf(out, "%s{node=\"%d\",service=\"%s\"} %.9g\n", name, node, vg_load_names[which],
				of == 0	  ? (double)heard->in_flight
				: of == 1 ? heard->service_ns / 1e9
					  : vg_report_age_s(status, heard->seen_ns));
		}
	}
}

static void metrics_cluster(FILE *out, const struct vg_node_status *status)
{
	metrics_heard(out, status, "virgo_node_in_flight", "Requests another node last said it has in flight.", 0);
	metrics_heard(out, status, "virgo_node_service_seconds", "Its time for a request.", 1);
	metrics_heard(out, status, "virgo_node_heard_seconds", "How long ago it said so.", 2);
	metric_head(out, "virgo_stamps_total", "counter", "Load stamps believed, by node.");
	for (int node = 0; node < status->config.nodes && node < VG_NODES_MAX; node++)
		fprintf(out, "virgo_stamps_total{node=\"%d\"} %llu\n", node,
			(unsigned long long)status->loads[node].stamps);
	metric_head(out, "virgo_strangers_total", "counter", "Load stamps not believed, by the node they named.");
	for (int node = 0; node < status->config.nodes && node < VG_NODES_MAX; node++)
		fprintf(out, "virgo_strangers_total{node=\"%d\"} %llu\n", node,
			(unsigned long long)status->loads[node].strangers);
}

static void metrics_pool(FILE *out, const struct vg_node_status *status)
{
	const struct vg_pool *pool = &status->pool;
	const struct {
		const char *name, *type, *help;
		__u64 value;
	} figures[] = {
		{ "virgo_pool_keys", "gauge", "Keys in the memory pool.", pool->keys },
		{ "virgo_pool_handles", "gauge", "Allocations.", pool->handles },
		{ "virgo_pool_expired_total", "counter", "Keys whose deadline came.", pool->expired },
		{ "virgo_pool_arena_bytes", "gauge", "Room for keys and small values.", pool->arena_bytes },
		{ "virgo_pool_arena_used_bytes", "gauge", "Of it in use.", pool->arena_used },
		{ "virgo_pool_heap_bytes", "gauge", "Room for large values.", pool->heap_bytes },
		{ "virgo_pool_heap_used_bytes", "gauge", "Of it in use.", pool->heap_used },
		{ "virgo_pool_hits_total", "counter", "GETs by the daemon that found.", pool->hits },
		{ "virgo_pool_misses_total", "counter", "And that did not.", pool->misses },
		{ "virgo_pool_forwarded_total", "counter", "Requests asked of another node.", pool->forwarded },
		{ "virgo_pool_refused_total", "counter", "Requests refused.", pool->refused },
		{ "virgo_pool_connections", "gauge", "Open connections.", pool->connections_open },
		{ "virgo_pool_workers", "gauge", "Worker threads.", pool->workers },
		{ "virgo_heartbeats_total", "counter", "Pings to nodes that were silent.", pool->heartbeats },
	};

	if (!pool->updated_ns)
		return;
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		metric(out, figures[i].name, figures[i].type, figures[i].help, (double)figures[i].value);
	metric_head(out, "virgo_pool_requests_total", "counter", "Requests that reached the daemon.");
	fprintf(out,
		"virgo_pool_requests_total{transport=\"stream\"} %llu\n"
		"virgo_pool_requests_total{transport=\"datagram\"} %llu\n",
		(unsigned long long)pool->requests_stream, (unsigned long long)pool->requests_datagram);
}

/* What other services count, from their lists (virgo/figures.h). */
struct figure {
	const char *metric, *help; /* metric: with its label */
	enum { COUNTER, GAUGE, SECONDS } type;
};

static const struct figure cpu_figures[] = {
#define X(name, type, metric, help) { metric, help, type },
	VG_CPU_COUNTS(X)
#undef X
};

static const struct figure file_figures[] = {
#define X(name, type, metric, help) { metric, help, type },
	VG_FILE_COUNTS(X)
#undef X
};

static void metrics_figures(FILE *out, const struct figure *figures, const __u64 *counts, size_t bytes)
{
	char before[64] = "", name[64];

	for (size_t i = 0; i < bytes / sizeof(*counts); i++) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(figures[i].metric, "{"), figures[i].metric);
		if (strcmp(name, before))
			metric_head(out, name, figures[i].type == COUNTER ? "counter" : "gauge", figures[i].help);
		memcpy(before, name, sizeof(before));
		if (figures[i].type == SECONDS)
			fprintf(out, "%s %.9g\n", figures[i].metric, (double)counts[i] / 1e9);
		else
			fprintf(out, "%s %llu\n", figures[i].metric, (unsigned long long)counts[i]);
	}
}

static void metrics_services(FILE *out, const struct vg_node_status *status)
{
	const struct vg_cpu_figures *cpu = &status->cpu_figures;
	const struct vg_file_figures *file = &status->file_figures;

	if (cpu->updated_ns)
		metrics_figures(out, cpu_figures, (const __u64 *)&cpu->counts, sizeof(cpu->counts));
	if (file->updated_ns)
		metrics_figures(out, file_figures, (const __u64 *)&file->counts, sizeof(file->counts));
}

static void metrics_own_load(FILE *out, const struct vg_node_status *status)
{
	const struct vg_local *local = &status->local;

	metric_head(out, "virgo_load_in_flight", "gauge", "Requests in flight here, by service.");
	fprintf(out, "virgo_load_in_flight{service=\"mem\"} %u\nvirgo_load_in_flight{service=\"cpu\"} %u\n",
		local->in_flight, local->other[VG_LOAD_CPU - 1].in_flight);
	metric_head(out, "virgo_load_service_seconds", "gauge", "The time for one of them, averaged.");
	fprintf(out,
		"virgo_load_service_seconds{service=\"mem\"} %.9g\nvirgo_load_service_seconds{service=\"cpu\"} %.9g\n",
		local->service_ns / 1e9, local->other[VG_LOAD_CPU - 1].service_ns / 1e9);
	metric(out, "virgo_load_run_queue_delay_seconds", "gauge", "How long tasks wait for a CPU, smoothed.",
	       local->run_queue_delay_ns / 1e9);
	metric(out, "virgo_load_memory_free_ratio", "gauge", "Memory headroom of the pool.",
	       local->memory_free_permille / 1e3);
}

/* ---- all of it ------------------------------------------------------------------------------------------------- */

void vg_report_metrics(FILE *out, const struct vg_node_status *status)
{
	metric_head(out, "virgo_agent_info", "gauge", "The agent that answers.");
	fprintf(out, "virgo_agent_info{version=\"%s\",layout=\"%d\"} 1\n", VG_VERSION, VG_LAYOUT_VERSION);
	metrics_counters(out, status, "virgo_packets_total", "Packets that left a BPF program, by reason.", false);
	metrics_counters(out, status, "virgo_packet_bytes_total", "Their bytes.", true);
	metric(out, "virgo_lease_alive", "gauge", "1 while a daemon holds the arena.", status->lease == VG_LEASE_ALIVE);
	metric(out, "virgo_lease_age_seconds", "gauge", "Since the daemon last renewed its lease; 0: never taken.",
	       status->lease_age_ns / 1e9);
	metric(out, "virgo_node", "gauge", "This node's number.", status->config.node);
	metric(out, "virgo_epoch", "gauge", "The cluster's epoch.", status->config.epoch);
	metrics_own_load(out, status);
	metrics_attachments(out, status);
	metric_head(out, "virgo_map_memory_bytes", "gauge", "What the kernel charges for a map.");
	for (int i = 0; i < VG_MAPS_MAX; i++)
		if (status->maps[i].id)
			fprintf(out, "virgo_map_memory_bytes{map=\"%s\"} %llu\n", status->maps[i].name,
				(unsigned long long)status->maps[i].memory_bytes);
	metric_head(out, "virgo_program_verified_instructions", "gauge", "Instructions the verifier walked.");
	for (int i = 0; i < VG_OBJECT_MAX; i++)
		if (status->programs[i].id)
			fprintf(out, "virgo_program_verified_instructions{program=\"%s\",tag=\"%s\"} %u\n",
				status->programs[i].name, status->programs[i].tag,
				status->programs[i].verified_instructions);
	if (status->scheduler_watched)
		metrics_cpus(out, status);
	if (status->scheduler_watched)
		metrics_cgroups(out, status);
	if (status->io_watched)
		metrics_io(out, status);
	metrics_host(out, &status->host);
	metrics_cluster(out, status);
	metrics_pool(out, status);
	metrics_services(out, status);
}
