/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory service without a node around it: what svc.h promises, made small. Up to MEM_NODES nodes in one process, a
 * link between them that keeps the order of answers and delivers when the test says so, timers that the test fires, and
 * sessions whose input and output are memory. Used by the tests of RESP and by its fuzzer.
 */
#ifndef VG_TESTS_MEM_FIXTURE_H
#define VG_TESTS_MEM_FIXTURE_H

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "svc/mem/handle.h"
#include "svc/mem/mem.h"
#include "svc/mem/resp.h"
#include "virgo/hash.h"
#include "fake_persist.h"

#define MEM_NODES 3
#define MEM_SESSIONS 8
#define MEM_ARENA_BYTES (8u << 20)
#define MEM_HEAP_BYTES (64u << 20)
#define MEM_NOW_MS 1700000000000ULL

struct mem_question { /* on its way to another node */
	struct mem_question *next;
	struct vg_env *from;
	__u16 node;
	vg_peer_fn fn;
	void *context;
	int version;
	__u8 opcode;
	size_t length;
	__u8 body[];
};

struct mem_timer {
	struct mem_timer *next;
	void (*fn)(void *context);
	void *context;
	__u64 delay_ns;
};

struct vg_cluster {
	__u16 self;
};

struct mem_node {
	struct vg_env env;
	struct vg_cluster cluster;
	struct vg_stats stats;
	struct vg_mem mem;
	struct vg_out_pool chunks;
	void *arena;
	__u16 silent_to; /* does not answer: VG_NODE_NONE: answers all */
};

static struct mem_world {
	struct mem_node node[MEM_NODES];
	__u16 nodes;
	struct vg_clock clock;
	struct vg_settings settings;
	struct mem_question *questions, **questions_end;
	struct mem_timer *timers;
	__u64 asked;
	int allocations_left; /* ≥ 0: so many more succeed */
	long outstanding;     /* allocations not given back */
	bool dead[MEM_NODES]; /* does not answer */
} mem_world;

struct mem_session {
	struct vg_session session;
	struct vg_out out;
	__u8 *input; /* what was not taken yet */
	size_t length, capacity;
	char *answer; /* all that came out, NUL-terminated */
	size_t answer_length, answer_capacity;
	bool closed;
};

/* ---- what svc.h promises --------------------------------------------------------------------------------------- */

__u16 vg_cluster_self(const struct vg_cluster *cluster)
{
	return cluster->self;
}

__u16 vg_cluster_nodes(const struct vg_cluster *cluster)
{
	return mem_world.nodes;
}

__u32 vg_cluster_epoch(const struct vg_cluster *cluster)
{
	return 1;
}

__u16 vg_cluster_owner(const struct vg_cluster *cluster, __u16 partition)
{
	return (__u16)(partition % mem_world.nodes);
}

const char *vg_cluster_address(const struct vg_cluster *cluster, __u16 node)
{
	return "127.0.0.1:30000";
}

const __u64 *vg_cluster_key(const struct vg_cluster *cluster)
{
	return NULL;
}

const char *vg_refusal_text(enum vg_refusal refusal)
{
	return "refused";
}

__u64 vg_env_random(struct vg_env *env)
{
	return env->random_state = env->random_state * 6364136223846793005ULL + 1442695040888963407ULL;
}

void vg_env_stats_sum(const struct vg_env *env, struct vg_stats *ret_sum)
{
	*ret_sum = *env->stats;
}

/* A CPU pool, and no file pool. */
int vg_env_figures(const struct vg_env *env, enum vg_service_number number,
		   struct vg_figure (*ret_figures)[VG_FIGURES_MAX])
{
	(*ret_figures)[0] = (struct vg_figure){ "running", 2 };
	(*ret_figures)[1] = (struct vg_figure){ "done", 5 };
	return number == VG_SERVICE_CPU ? 2 : 0;
}

__u64 vg_env_uptime_s(const struct vg_env *env)
{
	return 86400;
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
	struct mem_timer *timer = malloc(sizeof(*timer));

	*timer = (struct mem_timer){ mem_world.timers, fn, context, delay_ns };
	mem_world.timers = timer;
	return 0;
}

void vg_env_post(struct vg_env *env, __u32 worker, struct vg_mail *mail)
{
	mail->fn(env, mail);
}

static void mem_collect(struct mem_session *session);
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

static struct mem_session *mem_deaf __attribute__((unused)); /* reads nothing of what it is sent */
void vg_session_flush(struct vg_session *session)
{
	if ((struct mem_session *)session != mem_deaf)
		mem_collect((struct mem_session *)session);
}

void vg_env_status_json(struct vg_env *env, struct vg_out *out)
{
	vg_out_append(out, "{}", 2);
}

void vg_env_topology_json(struct vg_env *env, struct vg_out *out)
{
	vg_out_append(out, "{}", 2);
}

__u16 vg_peers_pick(struct vg_peers *peers)
{
	return 0;
}

void vg_peers_ask(struct vg_peers *peers, __u16 node, const struct vg_peer_request *request, vg_peer_fn fn, void *context)
{
	struct mem_question *question;
	size_t length = 0;

	for (int i = 0; i < request->body_count; i++)
		length += request->body[i].iov_len;
	question = malloc(sizeof(*question) + length + 1);
	*question = (struct mem_question){ .from = (struct vg_env *)peers, .node = node, .fn = fn, .context = context,
					   .version = (int)request->argument, .opcode = request->opcode };
	for (int i = 0; i < request->body_count; i++) {
		memcpy(question->body + question->length, request->body[i].iov_base, request->body[i].iov_len);
		question->length += request->body[i].iov_len;
	}
	if (!mem_world.questions)
		mem_world.questions_end = &mem_world.questions;
	*mem_world.questions_end = question;
	mem_world.questions_end = &question->next;
	mem_world.asked++;
}

void vg_session_pause(struct vg_session *session)
{
	session->paused = true;
}

static void mem_collect(struct mem_session *session);
void vg_session_resume(struct vg_session *session)
{
	session->paused = false;
	mem_collect((struct mem_session *)session);
}

static struct mem_session *mem_open_sessions[MEM_SESSIONS]; /* by slot */
static __u32 mem_generation[MEM_SESSIONS];

static __u32 mem_slot(const struct vg_session *session)
{
	for (__u32 i = 0; i < MEM_SESSIONS; i++)
		if (mem_open_sessions[i] == (const struct mem_session *)session)
			return i;
	return MEM_SESSIONS;
}

struct vg_session_ref vg_session_ref(const struct vg_session *session)
{
	__u32 slot = mem_slot(session);

	return (struct vg_session_ref){ slot, slot < MEM_SESSIONS ? mem_generation[slot] : 0 };
}

struct vg_session *vg_session_find(struct vg_env *env, struct vg_session_ref ref)
{
	struct mem_session *session = ref.slot < MEM_SESSIONS ? mem_open_sessions[ref.slot] : NULL;

	return session && session->session.env == env && mem_generation[ref.slot] == ref.generation ? &session->session :
												       NULL;
}

bool vg_session_locate(struct vg_env *env, __u64 id, __u32 *ret_worker, struct vg_session_ref *ret_ref)
{
	for (__u32 i = 0; i < MEM_SESSIONS; i++) {
		if (!mem_open_sessions[i] || mem_open_sessions[i]->session.env != env ||
		    mem_open_sessions[i]->session.id != id)
			continue;
		if (ret_worker)
			*ret_worker = env->worker;
		if (ret_ref)
			*ret_ref = (struct vg_session_ref){ i, mem_generation[i] };
		return true;
	}
	return false;
}

static struct mem_session *mem_listed[4]; /* what CLIENT LIST shows */
void vg_sessions_each(struct vg_env *env, void (*fn)(void *context, const struct vg_session *session), void *context)
{
	for (int i = 0; i < 4; i++)
		if (mem_listed[i])
			fn(context, &mem_listed[i]->session);
}

bool vg_session_kill(struct vg_env *env, __u64 id)
{
	for (int i = 0; i < 4; i++) {
		if (mem_listed[i] && mem_listed[i]->session.id == id) {
			mem_listed[i]->session.finish = true;
			return true;
		}
	}
	return false;
}

int vg_io_sendto(struct vg_io *io, int fd, const void *data, size_t bytes, const struct sockaddr *peer, socklen_t peer_length)
{
	return -EBUSY;
}

/* ---- the world ------------------------------------------------------------------------------------------------- */

static inline void *mem_alloc(void *context, size_t bytes)
{
	void *memory;

	if (mem_world.allocations_left == 0)
		return NULL;
	if (mem_world.allocations_left > 0)
		mem_world.allocations_left--;
	memory = aligned_alloc(16, VG_ALIGN_UP(bytes ? bytes : 1, 16UL));
	if (memory) {
		memset(memory, 0xa5, bytes); /* not cleared: nobody may count on it */
		mem_world.outstanding++;
	}
	return memory;
}

static inline void mem_free(void *context, void *memory)
{
	mem_world.outstanding -= memory != NULL;
	free(memory);
}

static inline void mem_world_start(__u16 nodes)
{
	memset(&mem_world, 0, sizeof(mem_world));
	mem_world.nodes = nodes;
	mem_world.allocations_left = -1;
	mem_world.clock.unix_ns = MEM_NOW_MS * 1000000;
	mem_world.clock.monotonic_ns = 5000000000ULL;
	mem_world.settings.port[VG_DOOR_MEM] = 30000;
	mem_world.settings.value_bytes_max = VG_VALUE_MAX;
	mem_world.settings.chunk_bytes = VG_VALUE_MAX;
	for (__u16 i = 0; i < nodes; i++) {
		struct mem_node *node = &mem_world.node[i];
		struct vg_store_config config = { .arena_bytes = MEM_ARENA_BYTES, .heap_bytes = MEM_HEAP_BYTES, .node = i,
						  .workers = 1, .instance = 77 };

		node->arena = mmap(NULL, MEM_ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert(node->arena != MAP_FAILED);
		config.arena = node->arena;
		node->cluster.self = i;
		node->mem = (struct vg_mem){ mem_alloc, mem_free, NULL };
		node->env = (struct vg_env){ .worker = i, .workers = 1, .clock = &mem_world.clock,
					     .cluster = &node->cluster, .peers = (struct vg_peers *)&node->env,
					     .stats = &node->stats, .settings = &mem_world.settings, .mem = &node->mem,
					     .chunks = &node->chunks, .random_state = i };
		if (vg_store_new(&node->env.store, &config, NULL) || vg_out_pool_init(&node->chunks, 512))
			abort();
		vg_store_worker(node->env.store, 0);
		if (vg_service_mem.init(&node->env))
			abort();
	}
}

/* Deliver the oldest question; false: there was none. */
static inline bool mem_deliver(void)
{
	struct mem_question *question = mem_world.questions;
	struct vg_peer_reply reply = { 0 };
	struct vg_env *to;
	struct vg_out out;
	__u8 *body = NULL;
	int result;

	if (!question)
		return false;
	mem_world.questions = question->next;
	if (!mem_world.questions)
		mem_world.questions_end = &mem_world.questions;
	to = &mem_world.node[question->node].env;
	vg_out_init(&out, to->chunks);
	if (question->opcode != VG_OP_COMMAND || mem_world.dead[question->node]) {
		reply.error = -ETIMEDOUT;
	} else {
		result = vg_mem_resp_execute(to, question->body, question->length, question->version, true, &out, NULL, NULL);
		assert(result != -EINPROGRESS && result != -EINVAL);
		reply.status = result == -EREMOTE ? VG_STATUS_WRONG_NODE : VG_STATUS_OK;
		reply.body_length = (__u32)out.bytes;
		reply.body = body = malloc(out.bytes + 1);
		for (size_t at = 0; at < reply.body_length;) {
			struct iovec part;

			assert(vg_out_peek(&out, &part, 1) == 1);
			memcpy(body + at, part.iov_base, part.iov_len);
			at += part.iov_len;
			vg_out_consume(&out, part.iov_len);
		}
	}
	vg_out_deinit(&out);
	question->fn(question->context, &reply);
	free(body);
	free(question);
	return true;
}

static inline bool mem_fire_timer(void)
{
	struct mem_timer *timer = mem_world.timers;

	if (!timer)
		return false;
	mem_world.timers = timer->next;
	timer->fn(timer->context);
	free(timer);
	return true;
}

static inline void mem_world_stop(void)
{
	while (mem_deliver() || mem_fire_timer())
		;
	for (__u16 i = 0; i < mem_world.nodes; i++) {
		struct mem_node *node = &mem_world.node[i];

		vg_service_mem.deinit(&node->env);
		vg_store_free(node->env.store);
		vg_out_pool_deinit(&node->chunks);
		munmap(node->arena, MEM_ARENA_BYTES);
	}
	assert(mem_world.outstanding == 0);
}

/* ---- sessions -------------------------------------------------------------------------------------------------- */

static inline void mem_open(struct mem_session *session, __u16 node)
{
	struct vg_env *env = &mem_world.node[node].env;

	memset(session, 0, sizeof(*session));
	vg_out_init(&session->out, env->chunks);
	session->session.env = env;
	session->session.out = &session->out;
	session->session.protocol = VG_PROTOCOL_RESP;
	session->session.id = 7 + mem_slot(NULL);
	mem_open_sessions[mem_slot(NULL)] = session;
	session->session.created_ns = mem_world.clock.monotonic_ns;
	session->session.authenticated = !mem_world.settings.password[0];
	snprintf(session->session.peer, sizeof(session->session.peer), "127.0.0.1:4000");
	snprintf(session->session.local, sizeof(session->session.local), "127.0.0.1:30000");
}

static void mem_collect(struct mem_session *session)
{
	struct iovec part;

	while (vg_out_peek(&session->out, &part, 1) == 1) {
		size_t length = part.iov_len;

		if (session->answer_length + length + 1 > session->answer_capacity) {
			session->answer_capacity = 2 * (session->answer_length + length + 1);
			session->answer = realloc(session->answer, session->answer_capacity);
		}
		memcpy(session->answer + session->answer_length, part.iov_base, length);
		session->answer_length += length;
		session->answer[session->answer_length] = '\0';
		vg_out_consume(&session->out, length);
	}
}

/* Hand over what has arrived, as a connection does: while it is not paused, until nothing more is taken. */
static inline void mem_turn(struct mem_session *session)
{
	while (session->length && !session->session.paused && !session->closed) {
		ssize_t taken;

		/* A copy of exactly that size: a read past it is seen by the sanitizer. */
		__u8 *exact = malloc(session->length);

		memcpy(exact, session->input, session->length);
		taken = vg_mem_resp_input(&session->session, exact, session->length);
		free(exact);
		mem_collect(session);
		if (taken < 0 || session->session.finish) {
			session->closed = true;
			break;
		}
		assert((size_t)taken <= session->length);
		memmove(session->input, session->input + taken, session->length - (size_t)taken);
		session->length -= (size_t)taken;
		if (taken == 0)
			break;
	}
}

static inline void mem_receive(struct mem_session *session, const void *data, size_t length)
{
	if (session->length + length >= session->capacity) {
		session->capacity = 2 * (session->length + length) + 1;
		session->input = realloc(session->input, session->capacity);
	}
	memcpy(session->input + session->length, data, length);
	session->length += length;
	mem_turn(session);
}

/* Until everything that was asked elsewhere is answered. */
static inline void mem_settle(struct mem_session *session)
{
	do {
		mem_turn(session);
	} while (mem_deliver() || mem_fire_timer());
	mem_turn(session);
}

static inline void mem_forget_answer(struct mem_session *session)
{
	session->answer_length = 0;
	if (session->answer)
		session->answer[0] = '\0';
}

static inline void mem_close(struct mem_session *session)
{
	__u32 slot = mem_slot(&session->session);

	vg_service_mem.closed(&session->session);
	if (slot < MEM_SESSIONS) {
		mem_open_sessions[slot] = NULL;
		mem_generation[slot]++;
	}
	vg_out_deinit(&session->out);
	free(session->input);
	free(session->answer);
	session->input = NULL;
	session->answer = NULL;
}

#endif
