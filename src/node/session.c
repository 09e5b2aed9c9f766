/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sessions: between a connection, which moves bytes, and a service, which understands them. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/world.h"
#include "proto/dispatch.h"
#include "uring/listen.h"

#define NO_SLOT 0xffffffff
#define INPUT_MAX (VG_BODY_MAX + VG_KEY_MAX + 4096ULL) /* the longest binary message; RESP's own limits are lower */

static struct vg_node_session *of_session(struct vg_session *session)
{
	return (struct vg_node_session *)session;
}

static struct vg_worker *of_env(struct vg_env *env)
{
	return env->node;
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

static ssize_t on_input(struct vg_conn *conn, const __u8 *data, size_t length)
{
	struct vg_node_session *own = conn->session;
	struct vg_session *session = &own->session;
	struct vg_worker *worker = of_env(session->env);
	__u64 mark, position;
	ssize_t taken;

	vg_worker_turn(worker);
	session->used_ns = worker->clock.monotonic_ns;
	if (session->protocol == VG_PROTOCOL_UNKNOWN) {
		session->protocol = vg_dispatch(data, length, false);
		if (session->protocol == VG_PROTOCOL_UNKNOWN)
			return 0;
	}
	session->input_wanted = 0;
	mark = vg_commit_mark(worker);
	position = vg_conn_position(conn);
	taken = own->service->input(session, data, length);
	if (worker->commit)
		vg_commit_hold(worker, conn, mark, position);
	if (taken > 0)
		worker->stats.bytes_in += (__u64)taken;
	conn->input_wanted = session->input_wanted;
	conn->owed = session->owed;
	if (session->out->failed) {
		vg_refuse(session->env, VG_REFUSAL_NO_MEMORY);
		vg_conn_abort(conn, -ENOBUFS);
		return taken;
	}
	vg_conn_flush(conn);
	if (session->finish)
		vg_conn_finish(conn);
	return taken;
}

static void on_close(struct vg_conn *conn, int reason)
{
	struct vg_node_session *own = conn->session;
	struct vg_worker *worker = of_env(own->session.env);

	vg_worker_turn(worker);
	if (reason == -EMSGSIZE)
		vg_refuse(&worker->env, VG_REFUSAL_TOO_LONG);
	if (own->service->closed)
		own->service->closed(&own->session);
	if (own->session.paused)
		worker->stats.in_flight--;
	pthread_mutex_lock(&worker->registry);
	own->conn = NULL;
	own->generation++;
	own->next_free = worker->session_free;
	worker->session_free = own->slot;
	pthread_mutex_unlock(&worker->registry);
	worker->stats.connections_open--;
}

static const struct vg_conn_user session_user = { .on_input = on_input, .on_close = on_close };

/* ---- opening ------------------------------------------------------------------------------------------------------
 */

static struct vg_node_session *take_slot(struct vg_worker *worker)
{
	struct vg_node_session *own;

	if (worker->session_free == NO_SLOT)
		return NULL;
	own = &worker->sessions[worker->session_free];
	worker->session_free = own->next_free;
	memset(&own->session, 0, sizeof(own->session));
	__atomic_store_n(&own->kill, false, __ATOMIC_RELAXED);
	return own;
}

static void describe(struct vg_session *session, const struct vg_conn *conn, int fd)
{
	struct sockaddr_storage local;
	socklen_t length = sizeof(local);

	vg_address_format((const struct sockaddr *)&conn->peer, session->peer, sizeof(session->peer));
	if (getsockname(fd, (struct sockaddr *)&local, &length) == 0)
		vg_address_format((const struct sockaddr *)&local, session->local, sizeof(session->local));
}

void vg_session_open(struct vg_listener *listener, int fd)
{
	struct vg_worker *worker = listener->worker;
	struct vg_node_session *own;
	struct vg_conn *conn;

	pthread_mutex_lock(&worker->registry);
	own = take_slot(worker);
	if (own) {
		struct vg_session *session = &own->session;

		own->service = listener->service;
		session->protocol = listener->protocol;
		session->env = &worker->env;
		session->id = __atomic_add_fetch(&worker->world->session_ids, 1, __ATOMIC_RELAXED);
		session->created_ns = session->used_ns = worker->clock.monotonic_ns;
		session->authenticated = !worker->env.settings->password[0];
	}
	if (!own) {
		vg_io_close(worker->io, fd);
	} else if (vg_conn_open(worker->conns, fd, &session_user, own, &conn)) {
		own->next_free = worker->session_free;
		worker->session_free = own->slot;
		own = NULL;
	} else {
		own->conn = conn;
		own->session.out = &conn->out;
		conn->input_max = INPUT_MAX;
		describe(&own->session, conn, fd);
	}
	pthread_mutex_unlock(&worker->registry);
	if (!own) {
		vg_refuse(&worker->env, VG_REFUSAL_BUSY);
		return;
	}
	worker->stats.connections_accepted++;
	worker->stats.connections_open++;
}

int vg_sessions_init(struct vg_worker *worker, __u32 count)
{
	worker->sessions = calloc(count, sizeof(*worker->sessions));
	if (!worker->sessions)
		return -ENOMEM;
	worker->session_count = count;
	for (__u32 i = 0; i < count; i++) {
		worker->sessions[i].slot = i;
		worker->sessions[i].next_free = i + 1 < count ? i + 1 : NO_SLOT;
	}
	return -pthread_mutex_init(&worker->registry, NULL);
}

void vg_sessions_deinit(struct vg_worker *worker)
{
	if (worker->sessions)
		pthread_mutex_destroy(&worker->registry);
	free(worker->sessions);
	worker->sessions = NULL;
}

/* ---- what services ask of sessions ----------------------------------------------------------------------------- */

void vg_session_pause(struct vg_session *session)
{
	if (session->paused)
		return;
	session->paused = true;
	session->env->stats->in_flight++;
	vg_conn_pause(of_session(session)->conn);
}

void vg_session_resume(struct vg_session *session)
{
	struct vg_node_session *own = of_session(session);

	if (!session->paused)
		return;
	session->paused = false;
	session->env->stats->in_flight--;
	if (session->out->failed) {
		vg_conn_abort(own->conn, -ENOBUFS);
		return;
	}
	own->conn->owed = session->owed;
	vg_commit_hold_late(of_env(session->env), own->conn);
	vg_conn_flush(own->conn);
	if (session->finish)
		vg_conn_finish(own->conn);
	vg_conn_resume(own->conn);
}

void vg_session_flush(struct vg_session *session)
{
	struct vg_conn *conn = of_session(session)->conn;

	if (session->out->failed) {
		vg_conn_abort(conn, -ENOBUFS);
		return;
	}
	vg_commit_hold_late(of_env(session->env), conn);
	conn->owed = session->owed;
	vg_conn_flush(conn);
	if (session->finish)
		vg_conn_finish(conn);
}

struct vg_session_ref vg_session_ref(const struct vg_session *session)
{
	const struct vg_node_session *own = (const struct vg_node_session *)session;

	return (struct vg_session_ref){ .slot = own->slot, .generation = own->generation };
}

struct vg_session *vg_session_find(struct vg_env *env, struct vg_session_ref ref)
{
	struct vg_worker *worker = of_env(env);
	struct vg_node_session *own = ref.slot < worker->session_count ? &worker->sessions[ref.slot] : NULL;

	return own && own->conn && own->generation == ref.generation ? &own->session : NULL;
}

/* Counters and names of a session move on their own thread while we copy: each is bounded, none is followed. */
__attribute__((no_sanitize("thread"))) static void snapshot(struct vg_session *to, const struct vg_session *from)
{
	const volatile __u64 *source = (const volatile __u64 *)from;
	__u64 *target = (__u64 *)to;

	for (size_t i = 0; i < sizeof(*to) / sizeof(*target); i++)
		target[i] = source[i];
	to->name[sizeof(to->name) - 1] = to->library[sizeof(to->library) - 1] = '\0';
	to->library_version[sizeof(to->library_version) - 1] = to->last_command[sizeof(to->last_command) - 1] = '\0';
	to->peer[sizeof(to->peer) - 1] = to->local[sizeof(to->local) - 1] = '\0';
}
_Static_assert(sizeof(struct vg_session) % 8 == 0, "snapshot() copies words");

void vg_sessions_each(struct vg_env *env, void (*fn)(void *context, const struct vg_session *session), void *context)
{
	struct vg_world *world = of_env(env)->world;
	struct vg_session copy;

	for (__u32 w = 0; w < world->worker_count; w++) {
		struct vg_worker *worker = &world->workers[w];

		pthread_mutex_lock(&worker->registry);
		for (__u32 i = 0; i < worker->session_count; i++) {
			if (!worker->sessions[i].conn)
				continue;
			snapshot(&copy, &worker->sessions[i].session);
			fn(context, &copy);
		}
		pthread_mutex_unlock(&worker->registry);
	}
}

bool vg_session_kill(struct vg_env *env, __u64 id)
{
	struct vg_world *world = of_env(env)->world;
	bool found = false;

	for (__u32 w = 0; w < world->worker_count && !found; w++) {
		struct vg_worker *worker = &world->workers[w];

		pthread_mutex_lock(&worker->registry);
		for (__u32 i = 0; i < worker->session_count && !found; i++) {
			found = worker->sessions[i].conn && worker->sessions[i].session.id == id;
			if (found)
				__atomic_store_n(&worker->sessions[i].kill, true, __ATOMIC_RELAXED);
		}
		pthread_mutex_unlock(&worker->registry);
		if (found) {
			__atomic_store_n(&worker->killing, true, __ATOMIC_RELEASE);
			vg_io_wake(worker->io);
		}
	}
	return found;
}

bool vg_session_locate(struct vg_env *env, __u64 id, __u32 *ret_worker, struct vg_session_ref *ret_ref)
{
	struct vg_world *world = of_env(env)->world;
	bool found = false;

	for (__u32 w = 0; w < world->worker_count && !found; w++) {
		struct vg_worker *worker = &world->workers[w];

		pthread_mutex_lock(&worker->registry);
		for (__u32 i = 0; i < worker->session_count && !found; i++) {
			const struct vg_node_session *own = &worker->sessions[i];

			found = own->conn && own->session.id == id;
			if (found && ret_worker)
				*ret_worker = w;
			if (found && ret_ref)
				*ret_ref = (struct vg_session_ref){ .slot = i, .generation = own->generation };
		}
		pthread_mutex_unlock(&worker->registry);
	}
	return found;
}

/* ---- housekeeping ---------------------------------------------------------------------------------------------- */

static void tend_one(struct vg_worker *worker, struct vg_node_session *own, __u64 idle_ns)
{
	bool busy = own->session.owed || own->session.working;

	if (__atomic_load_n(&own->kill, __ATOMIC_RELAXED) ||
	    (idle_ns && !busy && worker->clock.monotonic_ns - own->session.used_ns > idle_ns))
		vg_conn_abort(own->conn, -ECONNABORTED);
	else if (worker->draining && !own->session.paused && !busy)
		vg_conn_finish(own->conn);
}

void vg_sessions_tend(struct vg_worker *worker)
{
	__u64 idle_ns = (__u64)worker->env.settings->idle_timeout_s * 1000000000;
	bool killing = __atomic_exchange_n(&worker->killing, false, __ATOMIC_ACQUIRE);

	if (!killing && !idle_ns && !worker->draining)
		return;
	for (__u32 i = 0; i < worker->session_count; i++)
		if (worker->sessions[i].conn)
			tend_one(worker, &worker->sessions[i], idle_ns);
}
