/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A cluster in one process: the functions of svc.h for up to FAKE_NODES nodes, each with a real store, linked by queues
 * that carry real frames. Nothing moves until the test says fake_run(). Included by one file of a test program.
 */
#ifndef TESTS_FAKE_NODE_H
#define TESTS_FAKE_NODE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/out.h"
#include "svc/svc.h"
#include "virgo/hash.h"
#include "virgo/wire_codec.h"
#include "fake_persist.h"

#define FAKE static __attribute__((unused)) /* a test need not use all of it */

#define FAKE_NODES 3
#define FAKE_SESSIONS 16
#define FAKE_ARENA_BYTES (16u << 20)
#define FAKE_HEAP_BYTES (64u << 20)

struct vg_cluster {
	__u16 self, nodes;
	__u32 epoch;
	const __u64 *key;
	__u16 owner[VG_PARTITIONS];
};

struct fake_session {
	struct vg_session session; /* first */
	struct vg_out out;
	__u32 generation;
	bool open;
	__u8 *input;
	size_t input_length;
};

/* A question on its way. */
struct fake_ask {
	struct fake_ask *next;
	__u16 node;
	vg_peer_fn fn;
	void *context;
	struct fake_session *link; /* the session at the other node, once it has arrived */
	size_t length;
	__u8 frame[];
};

struct vg_peers {
	struct fake_node *node;
	__u16 pick; /* what vg_peers_pick says */
};

struct fake_node {
	struct vg_env env;
	struct vg_clock clock;
	struct vg_stats stats;
	struct vg_settings settings;
	struct vg_cluster cluster;
	struct vg_peers peers;
	struct vg_out_pool chunks;
	void *arena;
	struct fake_session session[FAKE_SESSIONS];
	__u32 asked;	      /* questions sent to this node */
	__u32 fail_from;      /* from this question on it does not answer; 0: never fails */
};

static struct fake_world {
	struct fake_node node[FAKE_NODES];
	struct fake_ask *asks, **asks_tail;
	long memory_out;      /* blocks of env->mem in use */
	long memory_limit;    /* no more than so many; 0: no limit */
	__u32 asks_out, asks_out_max;
	__u8 datagram[2048];  /* the last one sent */
	size_t datagram_length;
	int datagrams;
} fake;

/* ---- memory ---------------------------------------------------------------------------------------------------- */

FAKE void *fake_alloc(void *context, size_t bytes)
{
	void *memory;

	if (fake.memory_limit && fake.memory_out >= fake.memory_limit)
		return NULL;
	memory = malloc(bytes);
	if (memory) {
		memset(memory, 0xa5, bytes < 4096 ? bytes : 4096);
		fake.memory_out++;
	}
	return memory;
}

FAKE void fake_free(void *context, void *memory)
{
	if (memory)
		fake.memory_out--;
	free(memory);
}

static const struct vg_mem fake_mem = { fake_alloc, fake_free, NULL };

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

FAKE struct fake_node *fake_start(__u16 self, __u16 nodes, const __u64 *key)
{
	struct fake_node *node = &fake.node[self];
	struct vg_store_config config = {
		.arena_bytes = FAKE_ARENA_BYTES,
		.heap_bytes = FAKE_HEAP_BYTES,
		.node = self,
		.workers = 1,
		.instance = 7 + self,
	};

	memset(node, 0, sizeof(*node));
	node->arena = mmap(NULL, FAKE_ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	config.arena = node->arena;
	if (node->arena == MAP_FAILED || vg_store_new(&node->env.store, &config, NULL) ||
	    vg_out_pool_init(&node->chunks, 4096))
		abort();
	vg_store_worker(node->env.store, 0);
	node->clock = (struct vg_clock){ .monotonic_ns = 1000000000, .unix_ns = 1700000000000000000ULL };
	node->settings = (struct vg_settings){ .chunk_bytes = 65536, .value_bytes_max = VG_VALUE_MAX };
	node->cluster = (struct vg_cluster){ .self = self, .nodes = nodes, .epoch = 9, .key = key };
	for (int i = 0; i < VG_PARTITIONS; i++)
		node->cluster.owner[i] = (__u16)(i % nodes);
	node->peers = (struct vg_peers){ node, (__u16)((self + 1) % nodes) };
	/* One worker a node, under numbers of their own: what is counted for a whole process is counted by worker. */
	node->env.worker = self;
	node->env.workers = FAKE_NODES;
	node->env.clock = &node->clock;
	node->env.cluster = &node->cluster;
	node->env.peers = &node->peers;
	node->env.stats = &node->stats;
	node->env.settings = &node->settings;
	node->env.mem = &fake_mem;
	node->env.chunks = &node->chunks;
	node->env.random_state = 42 + self;
	node->env.node = node;
	if (vg_service_mem.init(&node->env))
		abort();
	if (!fake.asks_tail)
		fake.asks_tail = &fake.asks;
	return node;
}

FAKE void fake_session_close(struct fake_session *own)
{
	if (!own->open)
		return;
	if (vg_service_mem.closed)
		vg_service_mem.closed(&own->session);
	vg_out_deinit(&own->out);
	free(own->input);
	own->input = NULL;
	own->input_length = 0;
	own->open = false;
	own->generation++;
}

FAKE void fake_stop(struct fake_node *node)
{
	for (int i = 0; i < FAKE_SESSIONS; i++)
		fake_session_close(&node->session[i]);
	vg_service_mem.deinit(&node->env);
	vg_store_free(node->env.store);
	vg_out_pool_deinit(&node->chunks);
	munmap(node->arena, FAKE_ARENA_BYTES);
}

/* ---- sessions -------------------------------------------------------------------------------------------------- */

FAKE struct fake_session *fake_session_open(struct fake_node *node, enum vg_protocol protocol)
{
	for (int i = 0; i < FAKE_SESSIONS; i++) {
		struct fake_session *own = &node->session[i];

		if (own->open)
			continue;
		memset(&own->session, 0, sizeof(own->session));
		vg_out_init(&own->out, &node->chunks);
		own->open = true;
		own->session.env = &node->env;
		own->session.out = &own->out;
		own->session.protocol = protocol;
		own->session.authenticated = !node->settings.password[0];
		own->session.id = (__u64)i + 1;
		return own;
	}
	abort();
}

/* Hand over what was kept, until the service takes no more. The negative errno of a lost framing, or 0. */
FAKE int fake_session_pump(struct fake_session *own)
{
	while (own->input_length && !own->session.paused && !own->session.finish) {
		/* Exactly as long as the input, so that a read past its end is found. */
		__u8 *exact = malloc(own->input_length);
		ssize_t taken;

		memcpy(exact, own->input, own->input_length);
		taken = vg_service_mem.input(&own->session, exact, own->input_length);
		free(exact);
		if (taken < 0)
			return (int)taken;
		if ((size_t)taken > own->input_length)
			abort();
		if (!taken)
			break;
		own->input_length -= (size_t)taken;
		memmove(own->input, own->input + taken, own->input_length);
	}
	return 0;
}

FAKE int fake_feed(struct fake_session *own, const void *data, size_t length)
{
	own->input = realloc(own->input, own->input_length + length + 1);
	memcpy(own->input + own->input_length, data, length);
	own->input_length += length;
	return fake_session_pump(own);
}

/* Everything the session has answered, copied to `buffer`; how much it was. */
FAKE size_t fake_take(struct fake_session *own, void *buffer, size_t capacity)
{
	size_t taken = 0;
	struct iovec vector;

	while (vg_out_peek(&own->out, &vector, 1) == 1) {
		size_t part = vector.iov_len < capacity - taken ? vector.iov_len : capacity - taken;

		if (!part)
			break;
		memcpy((__u8 *)buffer + taken, vector.iov_base, part);
		taken += part;
		vg_out_consume(&own->out, part);
	}
	return taken;
}

void vg_session_pause(struct vg_session *session)
{
	session->paused = true;
}

void vg_session_resume(struct vg_session *session)
{
	if (!session->paused)
		abort();
	session->paused = false;
}

struct vg_session_ref vg_session_ref(const struct vg_session *session)
{
	const struct fake_session *own = (const struct fake_session *)session;
	struct fake_node *node = session->env->node;

	return (struct vg_session_ref){ (__u32)(own - node->session), own->generation };
}

struct vg_session *vg_session_find(struct vg_env *env, struct vg_session_ref ref)
{
	struct fake_session *own = &((struct fake_node *)env->node)->session[ref.slot];

	return own->open && own->generation == ref.generation ? &own->session : NULL;
}

void vg_sessions_each(struct vg_env *env, void (*fn)(void *context, const struct vg_session *session), void *context)
{
	struct fake_node *node = env->node;

	for (int i = 0; i < FAKE_SESSIONS; i++)
		if (node->session[i].open)
			fn(context, &node->session[i].session);
}

bool vg_session_kill(struct vg_env *env, __u64 id)
{
	return false;
}

/* ---- the cluster ----------------------------------------------------------------------------------------------- */

__u16 vg_cluster_self(const struct vg_cluster *cluster)
{
	return cluster->self;
}

__u16 vg_cluster_nodes(const struct vg_cluster *cluster)
{
	return cluster->nodes;
}

__u32 vg_cluster_epoch(const struct vg_cluster *cluster)
{
	return cluster->epoch;
}

__u16 vg_cluster_owner(const struct vg_cluster *cluster, __u16 partition)
{
	return cluster->owner[partition];
}

const char *vg_cluster_address(const struct vg_cluster *cluster, __u16 node)
{
	return node < cluster->nodes ? "192.0.2.1:30000" : NULL;
}

const __u64 *vg_cluster_key(const struct vg_cluster *cluster)
{
	return cluster->key;
}

__u16 vg_peers_pick(struct vg_peers *peers)
{
	return peers->pick;
}

void vg_peers_ask(struct vg_peers *peers, __u16 node, const struct vg_peer_request *request, vg_peer_fn fn, void *context)
{
	__u32 padded = VG_ALIGN_UP(request->key_length, 8u), body_length = 0;
	struct vg_wire_header *header;
	struct fake_ask *ask;
	__u8 *at;

	for (int i = 0; i < request->body_count; i++)
		body_length += (__u32)request->body[i].iov_len;
	ask = calloc(1, sizeof(*ask) + sizeof(*header) + padded + body_length);
	ask->node = node;
	ask->fn = fn;
	ask->context = context;
	ask->length = sizeof(*header) + padded + body_length;
	header = (struct vg_wire_header *)ask->frame;
	header->magic = VG_HTOBE16(VG_WIRE_MAGIC);
	header->version = VG_WIRE_VERSION;
	header->opcode = request->opcode;
	header->flags = VG_HTOBE16(request->flags | VG_FLAG_FORWARDED | VG_FLAG_TAGGED);
	header->source_node = VG_HTOBE16(peers->node->cluster.self);
	header->partition = VG_HTOBE16(request->partition);
	header->epoch = VG_HTOBE32(peers->node->cluster.epoch);
	header->ident = VG_HTOBE64(request->ident);
	header->argument = VG_HTOBE64(request->argument);
	header->key_length = VG_HTOBE32(request->key_length);
	header->body_length = VG_HTOBE32(body_length);
	at = (__u8 *)(header + 1);
	if (request->key_length)
		memcpy(at, request->key, request->key_length);
	at += padded;
	for (int i = 0; i < request->body_count; i++) {
		memcpy(at, request->body[i].iov_base, request->body[i].iov_len);
		at += request->body[i].iov_len;
	}
	if (peers->node->cluster.key)
		header->tag = vg_wire_tag(peers->node->cluster.key, header);
	*fake.asks_tail = ask;
	fake.asks_tail = &ask->next;
	if (++fake.asks_out > fake.asks_out_max)
		fake.asks_out_max = fake.asks_out;
}

/* The ask is over: hand the answer to who asked. */
FAKE void fake_answer(struct fake_ask *ask, int error)
{
	struct vg_peer_reply reply = { .error = error };
	struct vg_wire_header header;
	__u8 *bytes = NULL;

	if (!error) {
		size_t length = ask->link->out.bytes;

		bytes = malloc(length);
		if (fake_take(ask->link, bytes, length) != length || length < sizeof(header))
			abort();
		memcpy(&header, bytes, sizeof(header));
		if (vg_wire_check(&header) != VG_WIRE_OK || vg_wire_length(&header) != length)
			abort();
		reply = (struct vg_peer_reply){
			.status = header.status,
			.flags = VG_BE16TOH(header.flags),
			.ident = VG_BE64TOH(header.ident),
			.argument = VG_BE64TOH(header.argument),
			.body = bytes + sizeof(header),
			.body_length = VG_BE32TOH(header.body_length),
		};
	}
	if (ask->link)
		fake_session_close(ask->link);
	fake.asks_out--;
	ask->fn(ask->context, &reply);
	free(bytes);
	free(ask);
}

/* One step of the ask: true when it is over. */
FAKE bool fake_step(struct fake_ask *ask)
{
	struct fake_node *node = &fake.node[ask->node];

	if (!ask->link) {
		if (ask->node >= FAKE_NODES || !node->env.store || (node->fail_from && ++node->asked >= node->fail_from)) {
			fake_answer(ask, -EHOSTUNREACH);
			return true;
		}
		ask->link = fake_session_open(node, VG_PROTOCOL_BINARY);
		fake_feed(ask->link, ask->frame, ask->length);
	}
	if (ask->link->session.paused)
		return false;
	fake_answer(ask, 0);
	return true;
}

/* Carry questions and answers until nothing moves any more. */
FAKE void fake_run(void)
{
	bool moved = true;

	while (moved) {
		struct fake_ask **at = &fake.asks;

		moved = false;
		while (*at) {
			struct fake_ask *ask = *at, *next = ask->next;
			bool last = fake.asks_tail == &ask->next;

			/* Out of the queue first: answering may ask anew. */
			*at = next;
			if (last)
				fake.asks_tail = at;
			if (fake_step(ask)) {
				moved = true;
				break;
			}
			ask->next = *at;
			*at = ask;
			if (fake.asks_tail == at)
				fake.asks_tail = &ask->next;
			at = &ask->next;
		}
		for (int n = 0; n < FAKE_NODES; n++)
			for (int i = 0; i < FAKE_SESSIONS; i++)
				if (fake.node[n].session[i].open)
					fake_session_pump(&fake.node[n].session[i]);
	}
}

/* ---- the worker ------------------------------------------------------------------------------------------------ */

__u64 vg_env_random(struct vg_env *env)
{
	env->random_state += 0x9e3779b97f4a7c15ULL;
	return vg_hash64(&env->random_state, sizeof(env->random_state));
}

void vg_env_stats_sum(const struct vg_env *env, struct vg_stats *ret_sum)
{
	*ret_sum = *env->stats;
}

int vg_env_figures(const struct vg_env *env, enum vg_service_number number,
		   struct vg_figure (*ret_figures)[VG_FIGURES_MAX])
{
	return 0;
}

__u64 vg_env_uptime_s(const struct vg_env *env)
{
	return env->clock->monotonic_ns / 1000000000;
}

void vg_env_pace(const struct vg_env *env, struct vg_pace *ret_pace)
{
	*ret_pace = (struct vg_pace){ .requests_per_s = 7 };
}

void vg_env_xdp_answers(const struct vg_env *env, struct vg_xdp_answers *ret_answers)
{
	*ret_answers = (struct vg_xdp_answers){ .hits = 3, .misses = 2 };
}

int vg_env_timer(struct vg_env *env, __u64 delay_ns, void (*fn)(void *context), void *context)
{
	return -EBUSY;
}

void vg_env_post(struct vg_env *env, __u32 worker, struct vg_mail *mail)
{
	mail->fn(env, mail);
}

int vg_env_answer(struct vg_env *env, const struct vg_datagram *datagram, const void *data, size_t bytes)
{
	return vg_io_sendto(env->io, datagram->fd, data, bytes, datagram->peer, datagram->peer_length);
}

void vg_env_depend(struct vg_env *env)
{
}

const char *vg_env_refusal(const struct vg_env *env)
{
	return "Errors writing to the log: fake";
}

void vg_session_flush(struct vg_session *session)
{
}

bool vg_session_locate(struct vg_env *env, __u64 id, __u32 *ret_worker, struct vg_session_ref *ret_ref)
{
	return false;
}

void vg_env_status_json(struct vg_env *env, struct vg_out *out)
{
	vg_out_append(out, "{\"status\":1}", 12);
}

void vg_env_topology_json(struct vg_env *env, struct vg_out *out)
{
	vg_out_append(out, "{\"topology\":1}", 14);
}

const char *vg_refusal_text(enum vg_refusal refusal)
{
	return "";
}

int vg_io_sendto(struct vg_io *io, int fd, const void *data, size_t bytes, const struct sockaddr *peer,
		 socklen_t peer_length)
{
	if (bytes > sizeof(fake.datagram))
		abort();
	memcpy(fake.datagram, data, bytes);
	fake.datagram_length = bytes;
	fake.datagrams++;
	return 0;
}

#endif
