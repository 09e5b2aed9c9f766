/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Figures of a node: kept per worker, summed when somebody asks, told as JSON and as load stamps. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/prng.h"
#include "node/peers.h"
#include "node/world.h"
#include "virgo/policy.h"

const char *vg_refusal_text(enum vg_refusal refusal)
{
	static const char *const texts[] = {
#define X(name, text) text,
		VG_REFUSALS(X)
#undef X
	};

	return texts[refusal];
}

static const char *const refusal_names[] = {
#define X(name, text) #name,
	VG_REFUSALS(X)
#undef X
};

static struct vg_world *world_of(const struct vg_env *env)
{
	return ((struct vg_worker *)env->node)->world;
}

/* ---- what is counted in every turn ----------------------------------------------------------------------------- */

static unsigned int latency_bucket(__u64 ns)
{
	unsigned int power = ns ? 63 - (unsigned int)__builtin_clzll(ns) : 0;
	unsigned int half = power ? ns >> (power - 1) & 1 : 0;
	unsigned int bucket = 2 * power + half;

	return bucket < VG_LATENCY_BUCKETS ? bucket : VG_LATENCY_BUCKETS - 1;
}

/* A batch's time is shared by its requests: what a request cost, not what it waited behind others of its batch. */
void vg_worker_account_turn(struct vg_worker *worker)
{
	struct vg_stats *stats = &worker->stats;
	__u64 requests = stats->requests_stream + stats->requests_datagram - worker->turn_requests;
	struct vg_clock end;
	__u64 each_ns;

	if (!requests)
		return;
	vg_clock_update(&end);
	each_ns = (end.monotonic_ns - worker->clock.monotonic_ns) / requests;
	stats->latency[latency_bucket(each_ns)] += requests;
	stats->service_ns_smoothed += (__u64)((__s64)(each_ns - stats->service_ns_smoothed) / 64);
}

__u16 vg_worker_memory_free_permille(const struct vg_world *world)
{
	struct vg_store_stats figures;
	__u64 arena, heap;

	vg_store_stats(world->store, &figures);
	arena = figures.arena_bytes ? 1000 - figures.arena_used * 1000 / figures.arena_bytes : 0;
	heap = figures.heap_bytes ? 1000 - figures.heap_used * 1000 / figures.heap_bytes : 0;
	return (__u16)(arena < heap ? arena : heap);
}

/* ---- what services ask ----------------------------------------------------------------------------------------- */

__u64 vg_env_random(struct vg_env *env)
{
	return vg_prng_next(&env->random_state);
}

/* Every field of vg_stats is a count, so the sum is over words. */
void vg_env_stats_sum(const struct vg_env *env, struct vg_stats *ret_sum)
{
	const struct vg_world *world = world_of(env);

	memset(ret_sum, 0, sizeof(*ret_sum));
	for (__u32 w = 0; w < world->worker_count; w++) {
		const __u64 *from = (const __u64 *)&world->workers[w].stats;
		__u64 *to = (__u64 *)ret_sum;

		for (size_t i = 0; i < sizeof(*ret_sum) / sizeof(*to); i++)
			to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	}
	ret_sum->service_ns_smoothed /= world->worker_count;
}

__u64 vg_env_uptime_s(const struct vg_env *env)
{
	return (env->clock->monotonic_ns - world_of(env)->started_ns) / 1000000000;
}

int vg_env_figures(const struct vg_env *env, enum vg_service_number number,
		   struct vg_figure (*ret_figures)[VG_FIGURES_MAX])
{
	const struct vg_world *world = world_of(env);
	const struct vg_service *service = vg_services[number];
	int count = 0;

	for (__u32 w = 0; service->counts && w < world->worker_count; w++) {
		const struct vg_env *each = &world->workers[w].env;
		const __u64 *words = each->services[number] ? service->counts(each) : NULL;

		for (int i = 0; words && service->count_names[i]; i++) {
			struct vg_figure *figure = &(*ret_figures)[i];

			if (i == count)
				(*ret_figures)[count++] = (struct vg_figure){ service->count_names[i] };
			figure->value += __atomic_load_n(&words[i], __ATOMIC_RELAXED);
		}
	}
	return count;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

/* The bucket in which the given share of all requests lies, as its upper edge. */
static __u64 percentile_ns(const struct vg_stats *stats, unsigned int permille)
{
	__u64 total = 0, seen = 0;

	for (int i = 0; i < VG_LATENCY_BUCKETS; i++)
		total += stats->latency[i];
	for (int i = 0; i < VG_LATENCY_BUCKETS; i++) {
		seen += stats->latency[i];
		if (total && seen * 1000 >= total * permille)
			return i & 1 ? 2ULL << (i / 2) : (1ULL << (i / 2)) + ((1ULL << (i / 2)) >> 1);
	}
	return 0;
}

static json_t *integer(__u64 value)
{
	return json_integer((json_int_t)value);
}

static json_t *requests_json(const struct vg_stats *sum)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "stream", integer(sum->requests_stream),
			 "datagram", integer(sum->requests_datagram), "hits", integer(sum->hits), "misses",
			 integer(sum->misses), "forwarded", integer(sum->forwarded), "in_flight",
			 integer(sum->in_flight), "service_ns", integer(sum->service_ns_smoothed), "p50_ns",
			 integer(percentile_ns(sum, 500)), "p99_ns", integer(percentile_ns(sum, 990)), "p999_ns",
			 integer(percentile_ns(sum, 999)));
}

static json_t *classes_json(struct vg_store *store)
{
	struct vg_store_class classes[VG_STORE_CLASSES_MAX];
	int count = vg_store_classes(store, classes);
	json_t *array = json_array();

	for (int i = 0; i < count; i++)
		json_array_append_new(array, json_pack("{s:s, s:i, s:i, s:i, s:i}", "kind", classes[i].kind,
						       "cell_bytes", (int)classes[i].cell_bytes, "slabs",
						       (int)classes[i].slabs, "cells", (int)classes[i].cells,
						       "cells_used", (int)classes[i].cells_used));
	return array;
}

static json_t *memory_json(const struct vg_world *world)
{
	struct vg_store_stats figures;

	vg_store_stats(world->store, &figures);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "keys", integer(figures.keys),
			 "handles", integer(figures.handles), "expired", integer(figures.expired), "evicted",
			 integer(figures.evicted), "arena_bytes", integer(figures.arena_bytes), "arena_used",
			 integer(figures.arena_used), "heap_bytes", integer(figures.heap_bytes), "heap_used",
			 integer(figures.heap_used), "buckets", integer(figures.buckets), "chain_lines",
			 integer(figures.chain_lines), "classes", classes_json(world->store));
}

/* Requests of ours that XDP left to the daemon: every reason to pass but those that say the packet was not for us. */
static __u64 xdp_passed(const struct vg_world *world)
{
	enum { VERDICT_PASS = 1, VERDICT_TX, VERDICT_REDIRECT, VERDICT_OK };
	static const __u8 verdicts[] = {
#define X(name, verdict, text) VERDICT_##verdict,
		VG_REASONS(X)
#undef X
	};
	__u64 sum = 0;

	for (int reason = 0; reason < VG_REASON_MAX; reason++)
		if (verdicts[reason] == VERDICT_PASS && reason != VG_REASON_NOT_IP && reason != VG_REASON_NOT_VIRGO &&
		    reason != VG_REASON_PEER_PASS && reason != VG_REASON_IS_REPLY)
			sum += vg_bpfmaps_count(&world->maps, (enum vg_reason)reason);
	return sum;
}

static json_t *xdp_json(const struct vg_world *world)
{
	static const struct {
		const char *name;
		enum vg_reason reason;
	} shown[] = {
		{ "hits", VG_REASON_HIT },
		{ "handle_hits", VG_REASON_HANDLE_HIT },
		{ "not_found", VG_REASON_NOT_FOUND },
		{ "expired", VG_REASON_EXPIRED },
		{ "handle_gone", VG_REASON_HANDLE_GONE },
		{ "pings", VG_REASON_PING },
		{ "steered", VG_REASON_STEERED },
		{ "steered_out", VG_REASON_STEERED_OUT },
	};
	json_t *object = json_pack("{s:b}", "present", world->maps.present);

	for (unsigned int i = 0; object && i < sizeof(shown) / sizeof(shown[0]); i++)
		json_object_set_new(object, shown[i].name, integer(vg_bpfmaps_count(&world->maps, shown[i].reason)));
	if (object)
		json_object_set_new(object, "passed", integer(xdp_passed(world)));
	return object;
}

static json_t *refusals_json(const struct vg_stats *sum)
{
	json_t *object = json_object();

	for (int i = 0; i < VG_REFUSAL_MAX; i++)
		json_object_set_new(object, refusal_names[i], integer(sum->refused[i]));
	return object;
}

static json_t *loops_json(const struct vg_world *world)
{
	struct vg_io_stats sum = { 0 };

	for (__u32 w = 0; w < world->worker_count; w++) {
		const struct vg_io_stats *each = vg_io_stats(world->workers[w].io);

		sum.turns += __atomic_load_n(&each->turns, __ATOMIC_RELAXED);
		sum.submitted += __atomic_load_n(&each->submitted, __ATOMIC_RELAXED);
		sum.completions += __atomic_load_n(&each->completions, __ATOMIC_RELAXED);
		sum.no_buffers += __atomic_load_n(&each->no_buffers, __ATOMIC_RELAXED);
		sum.stale += __atomic_load_n(&each->stale, __ATOMIC_RELAXED);
		sum.overflows += __atomic_load_n(&each->overflows, __ATOMIC_RELAXED);
		sum.datagrams_lost += __atomic_load_n(&each->datagrams_lost, __ATOMIC_RELAXED);
	}
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "turns", integer(sum.turns), "submitted",
			 integer(sum.submitted), "completions", integer(sum.completions), "no_buffers",
			 integer(sum.no_buffers), "stale", integer(sum.stale), "overflows", integer(sum.overflows),
			 "datagrams_lost", integer(sum.datagrams_lost));
}

static json_t *services_json(const struct vg_env *env)
{
	json_t *services = json_object();

	for (int i = 0; i < VG_SERVICE_MAX; i++) {
		struct vg_figure figures[VG_FIGURES_MAX];
		int count = vg_env_figures(env, (enum vg_service_number)i, &figures);
		json_t *service = count ? json_object() : NULL;

		for (int f = 0; f < count; f++)
			json_object_set_new(service, figures[f].name, integer(figures[f].value));
		if (service)
			json_object_set_new(services, vg_services[i]->name, service);
	}
	return services;
}

static void append_json(struct vg_out *out, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (text)
		vg_out_append(out, text, strlen(text));
	free(text);
	json_decref(object);
}

/* What this node last heard of a service of another one; nothing if it never did. */
static void heard_json(json_t *node, const char *name, const struct vg_service_load *load, __u64 now_ns)
{
	if (!load->seen_ns)
		return;
	json_object_set_new(node, name,
			    json_pack("{s:o, s:o, s:o, s:f}", "in_flight", integer(load->in_flight), "sent_since",
				      integer(load->sent), "service_ns", integer(load->service_ns), "age_s",
				      now_ns > load->seen_ns ? (double)(now_ns - load->seen_ns) / 1e9 : 0.0));
}

static json_t *peer_json(const struct vg_worker *worker, __u16 number)
{
	const struct vg_node_load *load = &worker->world->maps.node_load[number];
	__u64 now_ns = worker->clock.monotonic_ns;
	json_t *node = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "node", (int)number, "address",
				 worker->env.cluster->node[number].text, "stamps", integer(load->stamps), "strangers",
				 integer(load->strangers), "run_queue_delay_ns", integer(load->run_queue_delay_ns),
				 "memory_free_permille", integer(load->memory_free_permille));

	heard_json(node, "mem", &load->service[VG_LOAD_MEM], now_ns);
	heard_json(node, "cpu", &load->service[VG_LOAD_CPU], now_ns);
	return node;
}

/* What this node says of itself, and what it has heard of the others. */
static json_t *load_json(const struct vg_worker *worker)
{
	const struct vg_local *local = worker->world->maps.local;
	const struct vg_cluster *cluster = worker->env.cluster;
	json_t *heard = json_array();

	for (__u16 i = 0; i < cluster->nodes; i++)
		if (i != cluster->self)
			json_array_append_new(heard, peer_json(worker, i));
	return json_pack("{s:s, s:{s:o, s:o}, s:{s:o, s:o}, s:o, s:i, s:o, s:o, s:o}", "policy",
			 vg_policy_name((__u32)worker->world->options.policy), "mem", "in_flight",
			 integer(local->in_flight), "service_ns", integer(local->service_ns), "cpu", "in_flight",
			 integer(local->other[VG_LOAD_CPU - 1].in_flight), "service_ns",
			 integer(local->other[VG_LOAD_CPU - 1].service_ns), "run_queue_delay_ns",
			 integer(local->run_queue_delay_ns), "memory_free_permille", (int)local->memory_free_permille,
			 "heartbeats", integer(worker->world->heartbeats), "strangers",
			 integer(worker->world->maps.node_load[cluster->self].strangers), "heard", heard);
}

void vg_env_status_json(struct vg_env *env, struct vg_out *out)
{
	const struct vg_world *world = world_of(env);
	struct vg_stats sum;

	vg_env_stats_sum(env, &sum);
	append_json(out,
		    json_pack("{s:s, s:i, s:s, s:i, s:i, s:o, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
			      "s:o, s:o}", "version", VG_VERSION, "node", (int)env->cluster->self, "address",
			      vg_cluster_address(env->cluster, env->cluster->self), "nodes", (int)env->cluster->nodes,
			      "epoch", (int)env->cluster->epoch, "uptime_s", integer(vg_env_uptime_s(env)), "pid",
			      (int)getpid(), "workers", (int)world->worker_count, "connections_open",
			      integer(sum.connections_open), "connections_accepted", integer(sum.connections_accepted),
			      "bytes_in", integer(sum.bytes_in), "bytes_out", integer(sum.bytes_out), "requests",
			      requests_json(&sum), "memory", memory_json(world), "refused", refusals_json(&sum), "xdp",
			      xdp_json(world), "loop", loops_json(world), "services",
			      services_json(env), "load", load_json(env->node)));
}

void vg_env_topology_json(struct vg_env *env, struct vg_out *out)
{
	const struct vg_cluster *cluster = env->cluster;
	json_t *nodes = json_array(), *partitions = json_array();
	unsigned int first = 0;

	for (int i = 0; i < cluster->nodes; i++) {
		char address[64];
		__u16 port = 0;

		if (vg_address_split(cluster->node[i].text, address, sizeof(address), &port))
			continue;
		json_array_append_new(nodes,
				      json_pack("{s:i, s:s, s:i, s:i, s:i}", "node", i, "address", address, "port",
						(int)port, "cpu_port", (int)cluster->node[i].port_cpu, "file_port",
						(int)cluster->node[i].port_file));
	}
	for (unsigned int p = 1; p <= VG_PARTITIONS; p++) {
		if (p < VG_PARTITIONS && cluster->owner[p] == cluster->owner[first])
			continue;
		json_array_append_new(partitions,
				      json_pack("[i, i, i]", (int)first, (int)p - 1, (int)cluster->owner[first]));
		first = p;
	}
	append_json(out, json_pack("{s:i, s:i, s:o, s:o}", "epoch", (int)cluster->epoch, "self", (int)cluster->self,
				   "nodes", nodes, "partitions", partitions));
}
