/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "node/load.h"
#include "node/peers.h"
#include "node/world.h"
#include "uring/listen.h"
#include "virgo/wire_codec.h"

const struct vg_service *const vg_services[VG_SERVICE_MAX] = {
	[VG_SERVICE_MEM] = &vg_service_mem,
	[VG_SERVICE_CPU] = &vg_service_cpu,
	[VG_SERVICE_FILE] = &vg_service_file,
};
const struct vg_door_facts vg_doors[VG_DOOR_MAX] = {
	[VG_DOOR_MEM] = { "mem", VG_SERVICE_MEM, VG_PROTOCOL_UNKNOWN },
	[VG_DOOR_CPU] = { "cpu", VG_SERVICE_CPU, VG_PROTOCOL_UNKNOWN },
	[VG_DOOR_FILE] = { "file", VG_SERVICE_FILE, VG_PROTOCOL_UNKNOWN },
	[VG_DOOR_MEMCACHE] = { "memcache", VG_SERVICE_MEM, VG_PROTOCOL_MEMCACHE },
};

#define TEND_NS 50000000ULL /* housekeeping; also the lease's renewal (VG_LEASE_RENEW_MS) */
_Static_assert(TEND_NS == VG_LEASE_RENEW_MS * 1000000ULL, "the lease is renewed by the housekeeping timer");
#define DRAIN_NS 5000000000ULL /* a stopping worker waits so long for answers in the making */
#define SWEEP_BUCKETS 512      /* looked through for expired keys at each housekeeping */

/* ---- a turn of the loop ---------------------------------------------------------------------------------------------
 */

void vg_worker_turn(struct vg_worker *worker)
{
	if (worker->in_turn)
		return;
	worker->in_turn = true;
	worker->turn_requests = worker->stats.requests_stream + worker->stats.requests_datagram;
	vg_commit_turn_begin(worker);
	vg_clock_update(&worker->clock);
	/* What was posted before a request was sent is seen before the request is. */
	if (__atomic_load_n(&worker->mail, __ATOMIC_RELAXED))
		vg_worker_take_mail(worker);
}

void vg_env_turn(struct vg_env *env)
{
	vg_worker_turn(env->node);
}

static void end_turn(struct vg_worker *worker)
{
	for (int i = 0; i < VG_SERVICE_MAX; i++)
		if (worker->env.services[i] && vg_services[i]->turn)
			vg_services[i]->turn(&worker->env);
}

int vg_worker_step(struct vg_worker *worker, bool wait)
{
	int result = vg_io_run(worker->io, wait);

	if (vg_peers_need_tending(worker->env.peers))
		vg_peers_tend(worker->env.peers);
	if (worker->in_turn)
		vg_worker_account_turn(worker);
	vg_commit_release(worker);
	/* Flushing may hand over input that was held back, and its answers may concern others: twice. */
	for (int i = 0; i < 2; i++) {
		end_turn(worker);
		vg_conn_pool_flush(worker->conns);
	worker->stats.bytes_out += vg_conn_pool_take_sent(worker->conns);
	}
	vg_commit_write(worker);
	worker->in_turn = false;
	return result;
}

static bool ended(struct vg_worker *worker)
{
	if (!worker->draining)
		return false;
	if (vg_saver_busy(worker))
		return false;
	return (vg_conn_pool_used(worker->conns) == 0 && !vg_commit_pending(worker)) ||
	       worker->clock.monotonic_ns >= worker->drain_until_ns;
}

static void *run(void *context)
{
	struct vg_worker *worker = context;
	int result = 0;

	vg_store_worker(worker->world->store, worker->env.worker);
	while (result >= 0 && !ended(worker))
		result = vg_worker_step(worker, true);
	if (result < 0) {
		worker->error = result;
		vg_log(VG_LOG_ERROR, "worker ended", "worker=%u error=\"%s\"", worker->env.worker, strerror(-result));
		kill(getpid(),
		     SIGTERM); /* a node without one of its workers answers only some of its clients: end whole */
	}
	return NULL;
}

/* ---- housekeeping ---------------------------------------------------------------------------------------------------
 */

/* Worker 0 speaks for the node: it holds the lease and writes the load stamp. */
static void speak_for_node(struct vg_worker *worker)
{
	struct vg_world *world = worker->world;

	if (!worker->draining)
		vg_bpfmaps_renew_lease(&world->maps, &worker->clock);
	vg_load_tend(worker);
	vg_store_sweep(world->store, SWEEP_BUCKETS, vg_clock_unix_ms(&worker->clock));
}

static void begin_drain(struct vg_worker *worker)
{
	worker->draining = true;
	worker->drain_until_ns = worker->clock.monotonic_ns + DRAIN_NS;
	for (int i = 0; i < worker->listeners; i++)
		vg_io_cancel(worker->io, worker->listener[i].accept_op);
	vg_saver_stop(worker);
	if (worker->env.worker == 0)
		vg_bpfmaps_drop_lease(&worker->world->maps);
}

static void tend(struct vg_worker *worker)
{
	vg_worker_turn(worker);
	worker->env.run_queue_delay_ns =
		__atomic_load_n(&worker->world->maps.local->run_queue_delay_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&worker->env.settings, __atomic_load_n(&worker->world->settings, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELAXED);
	if (__atomic_load_n(&worker->stopping, __ATOMIC_ACQUIRE) && !worker->draining)
		begin_drain(worker);
	vg_worker_take_mail(worker);
	vg_peers_tend(worker->env.peers);
	vg_sessions_tend(worker);
}

static void on_wake(void *owner, const struct vg_io_event *event)
{
	tend(owner);
}

static void on_tick(void *owner, const struct vg_io_event *event)
{
	struct vg_worker *worker = owner;

	tend(worker);
	vg_saver_tick(worker);
	vg_store_tend(worker->world->store, vg_clock_unix_ms(&worker->clock));
	if (worker->env.worker == 0)
		speak_for_node(worker);
	if (vg_io_timeout(worker->io, TEND_NS, on_tick, worker, NULL))
		vg_log(VG_LOG_ERROR, "housekeeping timer lost", "worker=%u", worker->env.worker);
}

/* ---- what arrives ---------------------------------------------------------------------------------------------------
 */

static void on_accept(void *owner, const struct vg_io_event *event)
{
	struct vg_listener *listener = owner;

	vg_worker_turn(listener->worker);
	if (event->result >= 0)
		vg_session_open(listener, event->result);
	else
		vg_refuse(&listener->worker->env, VG_REFUSAL_BUSY);
	if (!event->more && !listener->worker->draining)
		vg_io_accept(listener->worker->io, listener->tcp_fd, on_accept, listener, &listener->accept_op);
}

static void take_datagram(struct vg_listener *listener, const struct vg_io_event *event)
{
	struct vg_env *env = &listener->worker->env;
	const struct vg_wire_header *header = event->data;
	const __u64 *key = vg_cluster_key(env->cluster);
	struct vg_datagram datagram = {
		.header = header,
		.length = (size_t)event->result,
		.fd = listener->udp_fd,
		.peer = event->peer,
		.peer_length = event->peer_length,
	};
	enum vg_wire_verdict verdict;

	datagram.data = event->data;
	listener->worker->datagram_mark = vg_commit_mark(listener->worker);
	env->stats->requests_datagram++;
	env->stats->bytes_in += (__u64)event->result;
	if (event->truncated) {
		vg_refuse(env, VG_REFUSAL_TRUNCATED);
		return;
	}
	if (listener->protocol != VG_PROTOCOL_UNKNOWN) {
		datagram.header = NULL;
		datagram.protocol = listener->protocol;
		listener->service->datagram(env, &datagram);
		return;
	}
	if (datagram.length < sizeof(*header)) {
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		return;
	}
	verdict = vg_wire_check(header);
	if (header->flags & VG_HTOBE16(VG_FLAG_REPLY) && verdict == VG_WIRE_OK &&
	    vg_wire_length(header) <= datagram.length) {
		/* Answers are never answered: two nodes must not talk in a circle. */
		vg_peers_heard(env->peers, header, event->peer);
		return;
	}
	if (verdict == VG_WIRE_BAD_MAGIC || verdict == VG_WIRE_BAD_FIELD ||
	    (verdict == VG_WIRE_OK && vg_wire_length(header) > datagram.length)) {
		/* What is not a message of ours gets no answer. */
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		return;
	}
	if (verdict != VG_WIRE_OK) {
		if (header->flags & VG_HTOBE16(VG_FLAG_REPLY))
			return;
		vg_refuse(env, verdict == VG_WIRE_BAD_VERSION ? VG_REFUSAL_BAD_VERSION : VG_REFUSAL_BAD_OPCODE);
		vg_datagram_unsupported(env, &datagram);
		return;
	}
	datagram.key = (const __u8 *)(header + 1);
	datagram.body = datagram.key + vg_wire_key_padded(header);
	datagram.proven = key && header->flags & VG_HTOBE16(VG_FLAG_TAGGED) && vg_wire_tag(key, header) == header->tag;
	listener->service->datagram(env, &datagram);
}

/* A header that we cannot read further is answered with itself, and a status. */
void vg_datagram_unsupported(struct vg_env *env, const struct vg_datagram *datagram)
{
	struct vg_wire_header reply = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = datagram->header->opcode,
		.flags = VG_HTOBE16(VG_FLAG_REPLY),
		.status = VG_STATUS_UNSUPPORTED,
		.client = datagram->header->client,
		.sequence = datagram->header->sequence,
		.source_node = VG_HTOBE16(vg_cluster_self(env->cluster)),
		.epoch = VG_HTOBE32(vg_cluster_epoch(env->cluster)),
	};

	vg_io_sendto(env->io, datagram->fd, &reply, sizeof(reply), datagram->peer, datagram->peer_length);
}

static void on_datagram(void *owner, const struct vg_io_event *event)
{
	struct vg_listener *listener = owner;

	vg_worker_turn(listener->worker);
	if (event->result >= 0 && event->data)
		take_datagram(listener, event);
	if (!event->more)
		vg_io_recvmsg(listener->worker->io, listener->udp_fd, on_datagram, listener, &listener->receive_op);
}

/* ---- timers for services --------------------------------------------------------------------------------------- */

struct vg_timer {
	struct vg_timer *next, **link; /* of the worker's */
	struct vg_worker *worker;
	void (*fn)(void *context);
	void *context;
};

static void timer_free(struct vg_timer *timer)
{
	*timer->link = timer->next;
	if (timer->next)
		timer->next->link = timer->link;
	free(timer);
}

static void on_timer(void *owner, const struct vg_io_event *event)
{
	struct vg_timer timer = *(struct vg_timer *)owner;

	vg_worker_turn(timer.worker);
	timer_free(owner);
	timer.fn(timer.context);
}

int vg_env_timer(struct vg_env *env, __u64 delay_ns, void (*fn)(void *context), void *context)
{
	struct vg_worker *worker = env->node;
	struct vg_timer *timer = malloc(sizeof(*timer));
	int error;

	if (!timer)
		return -ENOMEM;
	*timer = (struct vg_timer){
		.next = worker->timers, .link = &worker->timers, .worker = worker, .fn = fn, .context = context
	};
	if (timer->next)
		timer->next->link = &timer->next;
	worker->timers = timer;
	error = vg_io_timeout(worker->io, delay_ns, on_timer, timer, NULL);
	if (error)
		timer_free(timer);
	return error;
}

/* ---- building -------------------------------------------------------------------------------------------------- */

static int listen_door(struct vg_worker *worker, enum vg_door door)
{
	struct vg_listener *listener = &worker->listener[worker->listeners];
	const char *address = worker->world->listen_text[door];
	int error;

	if (!address[0] || !worker->env.services[vg_doors[door].service])
		return 0;
	*listener = (struct vg_listener){
		.service = vg_services[vg_doors[door].service],
		.protocol = vg_doors[door].protocol,
		.worker = worker,
		.tcp_fd = -1,
		.udp_fd = -1,
	};
	worker->listeners++;
	listener->tcp_fd = vg_listen_tcp(address);
	if (listener->tcp_fd < 0)
		return listener->tcp_fd;
	error = vg_io_accept(worker->io, listener->tcp_fd, on_accept, listener, &listener->accept_op);
	if (error || (door == VG_DOOR_MEMCACHE && !worker->world->options.memcache_udp))
		return error;
	listener->udp_fd = vg_listen_udp(address);
	if (listener->udp_fd < 0)
		return listener->udp_fd;
	return vg_io_recvmsg(worker->io, listener->udp_fd, on_datagram, listener, &listener->receive_op);
}

static bool is_wanted(const struct vg_worker *worker, const struct vg_service *service)
{
	bool open = service->number == VG_SERVICE_MEM; /* the store and the links between nodes are its business */

	for (int door = 0; door < VG_DOOR_MAX; door++)
		open |= vg_doors[door].service == service->number && worker->world->listen_text[door][0];
	return open && (!service->single || worker->env.worker + 1 == worker->env.workers);
}

static int start_services(struct vg_worker *worker)
{
	int error = 0;

	for (int i = 0; i < VG_SERVICE_MAX && !error; i++)
		if (vg_services[i] && is_wanted(worker, vg_services[i]))
			error = vg_services[i]->init(&worker->env);
	for (int door = 0; door < VG_DOOR_MAX && !error; door++) {
		error = listen_door(worker, (enum vg_door)door);
		if (error)
			vg_log(VG_LOG_ERROR, "cannot listen", "door=%s address=\"%s\" error=\"%s\"",
			       vg_doors[door].name, worker->world->listen_text[door], strerror(-error));
	}
	return error;
}

/*
 * Operation slots: a receive and a send for each connection and each link to another node, two for each listener, one
 * datagram for each buffer, and timers for as many sessions as there are.
 */
static struct vg_io_config io_config(const struct vg_worker *worker)
{
	__u32 connections = (__u32)worker->world->options.connections + worker->env.cluster->nodes;
	/* A job: reads of its two outputs, a write, its end, two timers; each may have one being cancelled. */
	__u32 jobs = worker->world->spawner ? 12 * (worker->world->cpu.jobs + worker->world->cpu.workers + 1) : 0;

	/* A request for a file: one at a time, and one being cancelled. */
	__u32 files = worker->world->file.root_fd >= 0 ? 2 * VG_FILE_OPS_MAX : 0;

	return (struct vg_io_config){
		.entries = 1024,
		.operations = 3 * connections + 2 * VG_DOOR_MAX + jobs + files + 1024,
		.stream_buffers = 256,
		.stream_buffer_bytes = 32768,
		.datagram_buffers = 512,
		.datagram_bytes = 2048,
	};
}

int vg_worker_init(struct vg_worker *worker, struct vg_world *world, __u32 number)
{
	struct vg_io_config config;
	__u32 connections = (__u32)world->options.connections + world->cluster->nodes;
	int error;

	worker->world = world;
	worker->env = (struct vg_env){
		.worker = number,
		.workers = world->worker_count,
		.clock = &worker->clock,
		.store = world->store,
		.cluster = world->cluster,
		.stats = &worker->stats,
		.wal = world->wal,
		.settings = world->settings,
		.cpu = &world->cpu,
		.file = &world->file,
		.mem = vg_store_mem(world->store),
		.chunks = &worker->chunks,
		.node = worker,
	};
	vg_clock_update(&worker->clock);
	if (getrandom(&worker->env.random_state, sizeof(worker->env.random_state), 0) < 0)
		return -errno;
	worker->env.random_state |= 1;
	config = io_config(worker);
	error = vg_io_new(&worker->io, &config);
	if (error)
		return error;
	worker->env.io = worker->io;
	/* Each connection may have one chunk being sent and one being filled; the high-water mark bounds the rest. */
	error = vg_out_pool_init(&worker->chunks, 2 * connections + 2 * (VG_CONN_OUT_HIGH / VG_OUT_CHUNK_BYTES) * 16);
	error = error ?: vg_conn_pool_new(&worker->conns, worker->io, worker->env.mem, &worker->chunks, connections);
	error = error ?: vg_commit_new(worker);
	error = error ?: vg_sessions_init(worker, (__u32)world->options.connections);
	error = error ?: vg_peers_new(&worker->env.peers, worker);
	vg_io_on_wake(worker->io, on_wake, worker);
	error = error ?: start_services(worker);
	return error ?: vg_io_timeout(worker->io, 0, on_tick, worker, NULL);
}

int vg_worker_start(struct vg_worker *worker)
{
	char name[16];
	int error = pthread_create(&worker->thread, NULL, run, worker);

	if (error)
		return -error;
	worker->started = true;
	snprintf(name, sizeof(name), "worker-%u", worker->env.worker);
	pthread_setname_np(worker->thread, name);
	return 0;
}

void vg_worker_stop(struct vg_worker *worker)
{
	__atomic_store_n(&worker->stopping, true, __ATOMIC_RELEASE);
	vg_io_wake(worker->io);
}

void vg_worker_join(struct vg_worker *worker)
{
	if (worker->started)
		pthread_join(worker->thread, NULL);
	worker->started = false;
}

void vg_worker_deinit(struct vg_worker *worker)
{
	/* Closing connections still speaks to their services and links. */
	vg_conn_pool_free(worker->conns);
	for (int i = 0; i < VG_SERVICE_MAX; i++)
		if (worker->env.services[i])
			vg_services[i]->deinit(&worker->env);
	vg_peers_free(worker->env.peers);
	vg_io_free(worker->io);
	while (worker->timers) /* what nobody hears any more */
		timer_free(worker->timers);
	for (int i = 0; i < worker->listeners; i++) {
		if (worker->listener[i].tcp_fd >= 0)
			close(worker->listener[i].tcp_fd);
		if (worker->listener[i].udp_fd >= 0)
			close(worker->listener[i].udp_fd);
	}
	vg_sessions_deinit(worker);
	vg_commit_free(worker);
	vg_out_pool_deinit(&worker->chunks);
}
