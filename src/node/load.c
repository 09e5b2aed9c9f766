/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <netinet/in.h>

#include "node/load.h"
#include "node/peers.h"
#include "node/world.h"
#include "virgo/policy.h"

#define WAIT_SMOOTHING 8 /* of the run-queue delay: an eighth each housekeeping */
#define PING_TICKS 20	 /* once a second each pair is pinged all the same: it keeps link addresses resolved */
#define FIGURES_TICKS 10 /* counting the store's memory is a walk */
#define PACE_TICKS 2	 /* a sample each tenth of a second */
#define TICK_MS VG_LEASE_RENEW_MS

/* ---- what others say ------------------------------------------------------------------------------------------- */

void vg_load_heard(struct vg_worker *worker, __u16 node, unsigned int service, const struct vg_load_stamp *stamp)
{
	struct vg_node_load *load = &worker->world->maps.node_load[node];
	struct vg_service_load *of_service = &load->service[service];

	if (service >= VG_LOADS_MAX)
		return;
	__atomic_store_n(&of_service->in_flight, VG_BE32TOH(stamp->in_flight), __ATOMIC_RELAXED);
	__atomic_store_n(&of_service->service_ns, VG_BE32TOH(stamp->service_ns), __ATOMIC_RELAXED);
	__atomic_store_n(&of_service->sent, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&of_service->seen_ns, worker->clock.monotonic_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&load->run_queue_delay_ns, VG_BE32TOH(stamp->run_queue_delay_ns), __ATOMIC_RELAXED);
	__atomic_store_n(&load->memory_free_permille, VG_BE16TOH(stamp->memory_free_permille), __ATOMIC_RELAXED);
	__atomic_store_n(&load->seen_ns, worker->clock.monotonic_ns, __ATOMIC_RELAXED);
	__atomic_fetch_add(&load->stamps, 1, __ATOMIC_RELAXED);
}

unsigned int vg_load_of_port(const struct vg_cluster *cluster, __u16 node, __u16 port)
{
	const struct vg_cluster_node *of = &cluster->node[node];

	if (port && port == of->port_mem)
		return VG_LOAD_MEM;
	return port && port == of->port_cpu ? VG_LOAD_CPU : VG_LOADS_MAX;
}

static __u64 age_ns(const struct vg_worker *worker, __u16 node, unsigned int service)
{
	__u64 seen_ns =
		__atomic_load_n(&worker->world->maps.node_load[node].service[service].seen_ns, __ATOMIC_RELAXED);
	__u64 now_ns = worker->clock.monotonic_ns;

	/* XDP and other workers write too, and their clocks may be a moment ahead of this turn's. */
	return !seen_ns ? ~0ULL : now_ns > seen_ns ? now_ns - seen_ns : 0;
}

static struct vg_candidate candidate_of(const struct vg_worker *worker, __u16 node, unsigned int service)
{
	const struct vg_node_load *load = &worker->world->maps.node_load[node];
	__u64 age_ms = age_ns(worker, node, service) / 1000000;

	return (struct vg_candidate){
		.node = node,
		.in_flight = __atomic_load_n(&load->service[service].in_flight, __ATOMIC_RELAXED) +
			     __atomic_load_n(&load->service[service].sent, __ATOMIC_RELAXED),
		.service_ns = __atomic_load_n(&load->service[service].service_ns, __ATOMIC_RELAXED),
		.wait_ns = __atomic_load_n(&load->run_queue_delay_ns, __ATOMIC_RELAXED),
		.age_ms = age_ms > VG_STAMP_AGE_MAX_MS ? ~0U : (__u32)age_ms,
	};
}

/* The most a cold node has in flight, over all nodes that are heard. */
static __u32 hot_in_flight(const struct vg_worker *worker, unsigned int service)
{
	const struct vg_cluster *cluster = worker->env.cluster;
	__u32 in_flight[VG_NODES_MAX], count = 0;

	for (__u16 i = 0; i < cluster->nodes; i++) {
		struct vg_candidate candidate;

		if (i == cluster->self)
			continue;
		candidate = candidate_of(worker, i, service);
		if (candidate.age_ms <= VG_STAMP_AGE_MAX_MS)
			in_flight[count++] = candidate.in_flight;
	}
	return vg_policy_hot_in_flight(in_flight, count);
}

__u16 vg_load_pick(struct vg_worker *worker, unsigned int service, bool (*usable)(void *context, __u16 node),
		   void *context)
{
	__u32 self = worker->env.cluster->self, others = worker->env.cluster->nodes - 1u;
	__u32 policy = (__u32)worker->world->options.policy, random = (__u32)(vg_env_random(&worker->env) >> 32);
	__u32 draws = vg_policy_draws(policy, others, VG_POLICY_DRAWS_MAX);
	struct vg_choice choice = VG_CHOICE_NONE;

	for (__u32 i = 0; others && i < draws; i++) {
		__u32 node = vg_policy_drawn(others, random, draws, i);
		struct vg_candidate candidate;

		node += node >= self; /* any but this one */
		if (!usable(context, (__u16)node))
			continue;
		candidate = candidate_of(worker, (__u16)node, service);
		vg_policy_consider(&choice, policy, &candidate, worker->world->hot_in_flight[service],
				   vg_policy_chance(random, i));
	}
	if (choice.node != VG_NODE_NONE)
		__atomic_fetch_add(&worker->world->maps.node_load[choice.node].service[service].sent, 1,
				   __ATOMIC_RELAXED);
	return (__u16)choice.node;
}

/* ---- what we say ----------------------------------------------------------------------------------------------- */

/* The mean wait for a CPU since the last time, smoothed; a time without waits counts as one of none. */
static __u32 run_queue_delay_ns(struct vg_world *world)
{
	struct vg_waits now, *before = &world->waits;
	__u64 mean_ns;

	if (vg_bpfmaps_waits(&world->maps, &now))
		return 0;
	mean_ns = now.waits > before->waits ? (now.wait_ns - before->wait_ns) / (now.waits - before->waits) : 0;
	*before = now;
	world->wait_ns_smoothed += ((__s64)mean_ns - world->wait_ns_smoothed) / WAIT_SMOOTHING;
	/* 0 would say that it is not measured. */
	return world->wait_ns_smoothed < 1	      ? 1
	       : world->wait_ns_smoothed > 0xffffffff ? 0xffffffff
						      : (__u32)world->wait_ns_smoothed;
}

static __u32 saturated(__u64 value)
{
	return value > 0xffffffff ? 0xffffffff : (__u32)value;
}

/* Sum of requests in flight and mean time of service over the workers that run the service. */
static void service_now(const struct vg_worker *worker, enum vg_service_number number, struct vg_service_now *ret_now)
{
	const struct vg_world *world = worker->world;
	const struct vg_service *service = vg_services[number];
	__u64 in_flight = 0, service_ns = 0, instances = 0;

	for (__u32 w = 0; service && service->load && w < world->worker_count; w++) {
		__u64 one_in_flight = 0, one_service_ns = 0;

		if (!world->workers[w].env.services[number])
			continue;
		service->load(&world->workers[w].env, &one_in_flight, &one_service_ns);
		in_flight += one_in_flight;
		service_ns += one_service_ns;
		instances++;
	}
	ret_now->in_flight = saturated(in_flight);
	ret_now->service_ns = saturated(instances ? service_ns / instances : 0);
}

static void say(struct vg_worker *worker, const struct vg_stats *sum)
{
	struct vg_world *world = worker->world;
	struct vg_local *local = world->maps.local;
	struct vg_service_now cpu = { 0 };

	vg_bpfmaps_stamp(&world->maps, saturated(sum->in_flight), saturated(sum->service_ns_smoothed),
			 vg_worker_memory_free_permille(world));
	service_now(worker, VG_SERVICE_CPU, &cpu);
	__atomic_store_n(&local->other[VG_LOAD_CPU - 1].in_flight, cpu.in_flight, __ATOMIC_RELAXED);
	__atomic_store_n(&local->other[VG_LOAD_CPU - 1].service_ns, cpu.service_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&local->run_queue_delay_ns, run_queue_delay_ns(world), __ATOMIC_RELAXED);
	for (unsigned int service = 0; service <= VG_LOAD_CPU; service++)
		world->hot_in_flight[service] = hot_in_flight(worker, service);
	__atomic_store_n(&local->hot_in_flight, world->hot_in_flight[VG_LOAD_CPU], __ATOMIC_RELAXED);
}

/* The agent's pages show these. Each field is a word of its own, so no reader sees half of one. */
static void tell_figures(const struct vg_worker *worker, const struct vg_stats *sum)
{
	const struct vg_world *world = worker->world;
	struct vg_store_stats store;
	struct vg_pool pool = {
		.updated_ns = worker->clock.monotonic_ns,
		.requests_stream = sum->requests_stream,
		.requests_datagram = sum->requests_datagram,
		.hits = sum->hits,
		.misses = sum->misses,
		.forwarded = sum->forwarded,
		.connections_open = sum->connections_open,
		.workers = world->worker_count,
		.heartbeats = world->heartbeats,
	};

	vg_store_stats(world->store, &store);
	pool.keys = store.keys;
	pool.handles = store.handles;
	pool.expired = store.expired;
	pool.arena_bytes = store.arena_bytes;
	pool.arena_used = store.arena_used;
	pool.heap_bytes = store.heap_bytes;
	pool.heap_used = store.heap_used;
	for (int i = 0; i < VG_REFUSAL_MAX; i++)
		pool.refused += sum->refused[i];
	for (size_t i = 0; i < sizeof(pool) / sizeof(__u64); i++)
		__atomic_store_n((__u64 *)world->maps.pool + i, ((const __u64 *)&pool)[i], __ATOMIC_RELAXED);
}

/* And these, of the services that have a map for theirs. */
static void tell_counts(const struct vg_worker *worker, enum vg_service_number number, __u64 *updated_ns, __u64 *counts)
{
	struct vg_figure figures[VG_FIGURES_MAX];
	int count = vg_env_figures(&worker->env, number, &figures);

	for (int i = 0; i < count; i++)
		__atomic_store_n(&counts[i], figures[i].value, __ATOMIC_RELAXED);
	__atomic_store_n(updated_ns, count ? worker->clock.monotonic_ns : 0, __ATOMIC_RELAXED);
}

static void tell_services(const struct vg_worker *worker)
{
	const struct vg_bpfmaps *maps = &worker->world->maps;

	tell_counts(worker, VG_SERVICE_CPU, &maps->cpu_figures->updated_ns, (__u64 *)&maps->cpu_figures->counts);
	tell_counts(worker, VG_SERVICE_FILE, &maps->file_figures->updated_ns, (__u64 *)&maps->file_figures->counts);
}

/* ---- heartbeats ------------------------------------------------------------------------------------------------ */

static void beat(struct vg_worker *worker)
{
	const struct vg_cluster *cluster = worker->env.cluster;
	__u64 slowness = 1 + cluster->nodes / VG_HEARTBEAT_NODES;
	/* Half a housekeeping earlier, so that a beat is not put off by a whole one. */
	__u64 silence_ns = (VG_HEARTBEAT_MS * slowness - TICK_MS / 2) * 1000000ULL;
	bool all = worker->ticks % (PING_TICKS * slowness) == 0;

	for (__u16 i = 0; i < cluster->nodes; i++) {
		if (i == cluster->self)
			continue;
		if (cluster->node[i].port_mem && (all || age_ns(worker, i, VG_LOAD_MEM) >= silence_ns)) {
			vg_peers_ping(worker->env.peers, i, cluster->node[i].port_mem, worker->listener[0].udp_fd);
			worker->world->heartbeats++;
		}
		if (cluster->node[i].port_cpu && cluster->node[cluster->self].port_cpu &&
		    (all || age_ns(worker, i, VG_LOAD_CPU) >= silence_ns)) {
			vg_peers_ping(worker->env.peers, i, cluster->node[i].port_cpu, worker->listener[0].udp_fd);
			worker->world->heartbeats++;
		}
	}
}

/* ---- pace ------------------------------------------------------------------------------------------------------ */

void vg_env_xdp_answers(const struct vg_env *env, struct vg_xdp_answers *ret_answers)
{
	const struct vg_worker *worker = env->node;
	const struct vg_bpfmaps *maps = &worker->world->maps;

	*ret_answers = (struct vg_xdp_answers){
		.hits = vg_bpfmaps_count(maps, VG_REASON_HIT) + vg_bpfmaps_count(maps, VG_REASON_HANDLE_HIT) +
			vg_bpfmaps_count(maps, VG_REASON_MEMCACHE_HIT),
		.misses = vg_bpfmaps_count(maps, VG_REASON_NOT_FOUND) + vg_bpfmaps_count(maps, VG_REASON_EXPIRED) +
			  vg_bpfmaps_count(maps, VG_REASON_HANDLE_GONE) +
			  vg_bpfmaps_count(maps, VG_REASON_MEMCACHE_MISS),
		.others = vg_bpfmaps_count(maps, VG_REASON_PING) + vg_bpfmaps_count(maps, VG_REASON_MULTI_GET),
	};
}

static void sample_pace(struct vg_worker *worker, const struct vg_stats *sum)
{
	struct vg_pace_meter *meter = &worker->world->pace;
	__u32 place = meter->taken % VG_PACE_SAMPLES;
	struct vg_xdp_answers xdp;

	vg_env_xdp_answers(&worker->env, &xdp);
	__atomic_store_n(&meter->sample[place].at_ns, worker->clock.monotonic_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&meter->sample[place].requests,
			 sum->requests_stream + sum->requests_datagram + xdp.hits + xdp.misses + xdp.others,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&meter->sample[place].bytes_in, sum->bytes_in, __ATOMIC_RELAXED);
	__atomic_store_n(&meter->sample[place].bytes_out, sum->bytes_out, __ATOMIC_RELAXED);
	__atomic_store_n(&meter->taken, meter->taken + 1, __ATOMIC_RELEASE);
}

/* Between the newest sample and the oldest but one: the oldest may be the one that is being written. */
void vg_env_pace(const struct vg_env *env, struct vg_pace *ret_pace)
{
	const struct vg_worker *worker = env->node;
	const struct vg_pace_meter *meter = &worker->world->pace;
	__u32 taken = __atomic_load_n(&meter->taken, __ATOMIC_ACQUIRE);
	__u32 newest = (taken - 1) % VG_PACE_SAMPLES;
	__u32 oldest = taken < VG_PACE_SAMPLES ? 0 : (taken + 1) % VG_PACE_SAMPLES;
	__u64 elapsed_ms;

	*ret_pace = (struct vg_pace){ 0 };
	if (taken < 2)
		return;
#define SINCE(field)                                                     \
	(__atomic_load_n(&meter->sample[newest].field, __ATOMIC_RELAXED) - \
	 __atomic_load_n(&meter->sample[oldest].field, __ATOMIC_RELAXED))
	elapsed_ms = SINCE(at_ns) / 1000000;
	if (elapsed_ms == 0)
		return;
	ret_pace->requests_per_s = SINCE(requests) * 1000 / elapsed_ms;
	ret_pace->bytes_in_per_s = SINCE(bytes_in) * 1000 / elapsed_ms;
	ret_pace->bytes_out_per_s = SINCE(bytes_out) * 1000 / elapsed_ms;
#undef SINCE
}

void vg_load_tend(struct vg_worker *worker)
{
	struct vg_stats sum;

	vg_env_stats_sum(&worker->env, &sum);
	say(worker, &sum);
	if (worker->ticks % FIGURES_TICKS == 0) {
		tell_figures(worker, &sum);
		tell_services(worker);
	}
	if (worker->ticks % PACE_TICKS == 0)
		sample_pace(worker, &sum);
	if (worker->listeners && worker->env.cluster->nodes > 1)
		beat(worker);
	worker->ticks++;
}
