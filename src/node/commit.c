/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "node/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/world.h"

#define DATAGRAMS_HELD 512 /* answers that wait, a worker; one more is lost, and asked for again */

#define GATHER_NS_MAX 1000000 /* the longest that a commit waits for more */

struct held_datagram {
	__u64 number;
	int fd;
	socklen_t peer_length;
	struct sockaddr_storage peer;
	size_t bytes;
	__u8 data[VG_DATAGRAM_MAX];
};

struct vg_commit {
	struct vg_wal_step step;
	bool writing;	   /* this worker is the writer, and its step is in the ring … */
	bool stuck;	   /* … or is not: there was no place */
	__u64 submitted_ns;
	__u64 turn_mark;   /* this thread's last change before the turn */
	__u64 depend;	   /* the answer being made waits for this one too */
	struct held_datagram *held; /* a ring, in the order of numbers */
	__u32 held_first, held_count;
	int error_told;	   /* connections were told of it */
};

/* ---- what waits ------------------------------------------------------------------------------------------------ */

__u64 vg_commit_mark(const struct vg_worker *worker)
{
	return worker->commit ? vg_wal_thread_sequence : 0;
}

/* The number that answers of changes since `mark` wait for, 0: none. */
static __u64 number_since(struct vg_worker *worker, __u64 mark)
{
	struct vg_commit *commit = worker->commit;
	__u64 number = vg_wal_thread_sequence != mark ? vg_wal_thread_sequence : 0;

	if (commit->depend > number)
		number = commit->depend;
	commit->depend = 0;
	return number > vg_wal_settled(worker->world->wal) ? number : 0;
}

void vg_commit_hold(struct vg_worker *worker, struct vg_conn *conn, __u64 mark, __u64 position)
{
	__u64 number = number_since(worker, mark);

	if (number && vg_conn_position(conn) > position)
		vg_conn_hold(conn, position, number, vg_wal_sealed(worker->world->wal));
}

void vg_commit_hold_late(struct vg_worker *worker, struct vg_conn *conn)
{
	if (worker->commit)
		vg_commit_hold(worker, conn, worker->commit->turn_mark, vg_conn_unsent(conn));
}

void vg_env_depend(struct vg_env *env)
{
	struct vg_worker *worker = env->node;

	if (worker->commit)
		worker->commit->depend = vg_wal_sequence(worker->world->wal);
}

int vg_env_answer(struct vg_env *env, const struct vg_datagram *datagram, const void *data, size_t bytes)
{
	struct vg_worker *worker = env->node;
	struct vg_commit *commit = worker->commit;
	struct held_datagram *held;
	__u64 number = commit ? number_since(worker, worker->datagram_mark) : 0;

	if (!number)
		return vg_io_sendto(env->io, datagram->fd, data, bytes, datagram->peer, datagram->peer_length);
	if (commit->held_count == DATAGRAMS_HELD || bytes > sizeof(held->data))
		return -EBUSY;
	held = &commit->held[(commit->held_first + commit->held_count++) % DATAGRAMS_HELD];
	held->number = number;
	held->fd = datagram->fd;
	held->bytes = bytes;
	memcpy(held->data, data, bytes);
	held->peer_length = datagram->peer_length;
	memcpy(&held->peer, datagram->peer, datagram->peer_length);
	return 0;
}

static void release_datagrams(struct vg_worker *worker, __u64 settled)
{
	struct vg_commit *commit = worker->commit;

	while (commit->held_count && commit->held[commit->held_first].number <= settled) {
		struct held_datagram *held = &commit->held[commit->held_first];

		vg_io_sendto(worker->io, held->fd, held->data, held->bytes, (struct sockaddr *)&held->peer,
			     held->peer_length);
		commit->held_first = (commit->held_first + 1) % DATAGRAMS_HELD;
		commit->held_count--;
	}
}

/* ---- a log that cannot be written ------------------------------------------------------------------------------ */

const char *vg_env_refusal(const struct vg_env *env)
{
	static _Thread_local char text[160];
	int error = env->wal ? vg_wal_error(env->wal) : 0;

	snprintf(text, sizeof(text), "Errors writing to the log: %s", strerror(-error));
	return text;
}

/*
 * What became of the changes whose answers wait cannot be said: they are in memory, and will be in the log when it can
 * be written again. So the first of them is answered with the error and the connection ends, as one whose server died.
 */
static void last_words(struct vg_conn *conn)
{
	struct vg_node_session *own = conn->session;
	struct vg_session *session = &own->session;
	char text[224];

	if (session->protocol != VG_PROTOCOL_RESP)
		return;
	snprintf(text, sizeof(text), "-MISCONF %s\r\n", vg_env_refusal(session->env));
	vg_out_append(&conn->out, text, strlen(text));
}

static void tell_error(struct vg_worker *worker, int error)
{
	struct vg_commit *commit = worker->commit;

	if (error != commit->error_told && worker->env.worker == 0) {
		if (error)
			vg_log(VG_LOG_ERROR, "the log cannot be written, changes are refused", "error=\"%s\"",
			       strerror(-error));
		else
			vg_log(VG_LOG_NOTICE, "the log can be written again", NULL);
	}
	commit->error_told = error;
	if (!error)
		return;
	vg_conn_pool_drop_held(worker->conns, last_words);
	commit->held_count = 0; /* clients ask again, and are answered then */
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void on_step(void *owner, const struct vg_io_event *event);

static void submit(struct vg_worker *worker)
{
	struct vg_commit *commit = worker->commit;
	const struct vg_wal_step *step = &commit->step;
	struct iovec vector = { step->data, step->bytes < 1u << 30 ? step->bytes : 1u << 30 };
	int error;

	if (step->what == VG_WAL_SYNC)
		error = vg_io_fsync(worker->io, step->fd, true, on_step, worker, NULL);
	else if (step->durable)
		error = vg_io_write_durable(worker->io, step->fd, &vector, 1, step->offset, on_step, worker, NULL);
	else
		error = vg_io_write(worker->io, step->fd, &vector, 1, step->offset, on_step, worker, NULL);
	commit->writing = true;
	commit->stuck = error != 0;
	commit->submitted_ns = worker->clock.monotonic_ns;
}

/* Others whose answers wait, or who may have to write next. */
static void wake_others(struct vg_worker *worker)
{
	struct vg_world *world = worker->world;

	for (__u32 w = 0; w < world->worker_count; w++)
		if (&world->workers[w] != worker && __atomic_load_n(&world->workers[w].commit_waits, __ATOMIC_SEQ_CST))
			vg_io_wake(world->workers[w].io);
}

static __u32 waiters(const struct vg_world *world)
{
	__u32 sum = 0;

	for (__u32 w = 0; w < world->worker_count; w++)
		sum += __atomic_load_n(&world->workers[w].commit_waiters, __ATOMIC_RELAXED);
	return sum;
}

static void on_gathered(void *owner, const struct vg_io_event *event)
{
	vg_worker_turn(owner); /* and the end of the turn looks again */
}

/*
 * Those whose answers leave now will most probably ask again in a moment. To begin the next commit without them would
 * divide clients into two halves that take turns, each waiting for the other's commit too. So the next one waits until
 * as many wait as did just now, but no longer than half the time a commit takes.
 */
static void gather(struct vg_worker *worker)
{
	struct vg_world *world = worker->world;
	__u64 now_ns = worker->clock.monotonic_ns, took_ns = now_ns - worker->commit->submitted_ns;

	if (took_ns / 2 > GATHER_NS_MAX)
		took_ns = 2 * GATHER_NS_MAX;
	__atomic_store_n(&world->gather_wanted, waiters(world), __ATOMIC_RELAXED);
	__atomic_store_n(&world->gather_until_ns, now_ns + took_ns / 2, __ATOMIC_RELAXED);
	(void)vg_io_timeout(worker->io, took_ns / 2, on_gathered, worker, NULL); /* else the housekeeping looks */
}

static bool gathers(const struct vg_worker *worker)
{
	const struct vg_world *world = worker->world;

	return worker->clock.monotonic_ns < __atomic_load_n(&world->gather_until_ns, __ATOMIC_RELAXED) &&
	       waiters(world) < __atomic_load_n(&world->gather_wanted, __ATOMIC_RELAXED) &&
	       vg_wal_sync(world->wal) == VG_WAL_SYNC_ALWAYS;
}

static void on_step(void *owner, const struct vg_io_event *event)
{
	struct vg_worker *worker = owner;
	struct vg_commit *commit = worker->commit;

	vg_worker_turn(worker);
	if (commit->step.what == VG_WAL_WRITE && commit->step.durable)
		gather(worker);
	commit->writing = vg_wal_done(worker->world->wal, event->result, worker->clock.monotonic_ns, &commit->step);
	if (commit->writing)
		submit(worker);
	wake_others(worker);
}

void vg_commit_turn_begin(struct vg_worker *worker)
{
	if (worker->commit)
		worker->commit->turn_mark = vg_wal_thread_sequence;
}

void vg_commit_release(struct vg_worker *worker)
{
	struct vg_wal *wal = worker->world->wal;
	__u64 settled;
	int error;

	if (!worker->commit)
		return;
	settled = vg_wal_settled(wal);
	error = vg_wal_error(wal);
	vg_conn_pool_release(worker->conns, settled);
	release_datagrams(worker, settled);
	if (error || error != worker->commit->error_told)
		tell_error(worker, error);
	vg_conn_pool_block(worker->conns, vg_wal_full(wal) && !error);
}

bool vg_commit_pending(const struct vg_worker *worker)
{
	const struct vg_commit *commit = worker->commit;

	return commit && (commit->writing || commit->held_count || vg_conn_pool_holds(worker->conns));
}

static void note_waiters(struct vg_worker *worker)
{
	__u32 count = vg_conn_pool_holds(worker->conns) + worker->commit->held_count;

	__atomic_store_n(&worker->commit_waiters, count, __ATOMIC_RELAXED);
}

/*
 * Whoever is the writer looks whether others wait after it has said what is safe; this one says that it waits before it
 * looks what is safe. One of the two sees the other.
 */
void vg_commit_write(struct vg_worker *worker)
{
	struct vg_commit *commit = worker->commit;
	struct vg_wal *wal = worker->world->wal;

	if (!commit)
		return;
	note_waiters(worker);
	if (commit->stuck)
		submit(worker);
	else if (!commit->writing && !gathers(worker) && vg_wal_next(wal, worker->clock.monotonic_ns, &commit->step))
		submit(worker);
	__atomic_store_n(&worker->commit_waits, vg_commit_pending(worker), __ATOMIC_SEQ_CST);
	if (worker->commit_waits && !commit->writing) {
		vg_commit_release(worker);
		vg_conn_pool_flush(worker->conns);
		note_waiters(worker);
	}
}

int vg_commit_new(struct vg_worker *worker)
{
	struct vg_commit *commit;

	if (!worker->world->wal)
		return 0;
	commit = calloc(1, sizeof(*commit));
	if (!commit)
		return -ENOMEM;
	commit->held = calloc(DATAGRAMS_HELD, sizeof(*commit->held));
	if (!commit->held) {
		free(commit);
		return -ENOMEM;
	}
	worker->commit = commit;
	return 0;
}

void vg_commit_free(struct vg_worker *worker)
{
	struct vg_commit *commit = worker->commit;

	if (!commit)
		return;
	/* The ring has gone and its answer with it: as if the write had failed, so that it is done again. */
	if (commit->writing)
		(void)vg_wal_done(worker->world->wal, -ECANCELED, worker->clock.monotonic_ns, &commit->step);
	free(commit->held);
	free(commit);
	worker->commit = NULL;
}
