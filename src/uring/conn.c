/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Everything that may end or change a connection is only noted where it happens (a completion, a call by its user) and
 * done in vg_conn_pool_flush. So a callback may do anything to its own connection, and no function here is entered
 * twice.
 */
#include "uring/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELD_KEEP_BYTES 4096	 /* an assembly buffer up to this size stays with its connection when it is empty */
#define HELD_FIRST_BYTES 65536	 /* what a message may announce before its bytes have come */
#define SEND_BYTES_MAX (1u << 30) /* a completion counts in an int */

struct vg_conn_pool {
	struct vg_io *io;
	const struct vg_mem *mem;
	struct vg_out_pool *chunks;
	struct vg_conn *conn;
	__u32 count, used;
	struct vg_conn *free;
	struct vg_conn *queue_first, *queue_last;
	struct vg_conn *held;
	__u32 held_count;
	__u64 sent; /* bytes, since they were last asked for */
	bool blocked;
};

static void on_recv(void *owner, const struct vg_io_event *event);
static void on_send(void *owner, const struct vg_io_event *event);

/* ---- notes ----------------------------------------------------------------------------------------------------- */

static void queue(struct vg_conn *conn)
{
	struct vg_conn_pool *pool = conn->pool;

	if (conn->queued || conn->fd < 0)
		return;
	conn->queued = true;
	conn->next = NULL;
	if (pool->queue_last)
		pool->queue_last->next = conn;
	else
		pool->queue_first = conn;
	pool->queue_last = conn;
}

void vg_conn_flush(struct vg_conn *conn)
{
	queue(conn);
}

void vg_conn_pause(struct vg_conn *conn)
{
	conn->paused = true;
}

void vg_conn_resume(struct vg_conn *conn)
{
	conn->paused = false;
	queue(conn);
}

void vg_conn_finish(struct vg_conn *conn)
{
	conn->finishing = true;
	queue(conn);
}

void vg_conn_abort(struct vg_conn *conn, int reason)
{
	if (conn->aborting)
		return;
	conn->aborting = true;
	conn->close_reason = reason;
	queue(conn);
}

/* Close after what is in `out`, for this reason. */
static void finish_with(struct vg_conn *conn, int reason)
{
	if (!conn->finishing)
		conn->close_reason = reason;
	vg_conn_finish(conn);
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

static bool is_blocked(const struct vg_conn *conn)
{
	return conn->paused || conn->out.failed || conn->pool->blocked || vg_out_full(&conn->out);
}

static bool is_ending(const struct vg_conn *conn)
{
	return conn->finishing || conn->aborting;
}

/* Hand over until the user wants more than there is, is blocked, or ends the connection. Returns the bytes taken. */
static size_t hand_over(struct vg_conn *conn, const __u8 *data, size_t length)
{
	size_t taken = 0;

	while (taken < length && !is_blocked(conn) && !is_ending(conn)) {
		ssize_t part;

		if (conn->input_wanted > length - taken)
			break;
		conn->input_wanted = 0;
		part = conn->user->on_input(conn, data + taken, length - taken);
		assert(part <= (ssize_t)(length - taken));
		if (part < 0) {
			finish_with(conn, part);
			break;
		}
		if (!part)
			break;
		taken += part;
	}
	return taken;
}

static void held_free(struct vg_conn *conn)
{
	const struct vg_mem *mem = conn->pool->mem;

	if (conn->held)
		mem->free(mem->context, conn->held);
	conn->held = NULL;
	conn->held_at = conn->held_length = conn->held_capacity = 0;
}

/* Room for `more` bytes behind what is held. Grows with what has come, not with what was announced. */
static int held_grow(struct vg_conn *conn, size_t more)
{
	const struct vg_mem *mem = conn->pool->mem;
	size_t needed = conn->held_length + more, capacity = needed * 2;
	__u8 *larger;

	if (conn->held_at + needed <= conn->held_capacity)
		return 0;
	if (needed <= conn->held_capacity && conn->held_at >= conn->held_length) {
		memcpy(conn->held, conn->held + conn->held_at, conn->held_length);
		conn->held_at = 0;
		return 0;
	}
	if (capacity < HELD_FIRST_BYTES)
		capacity = HELD_FIRST_BYTES;
	if (conn->input_wanted > needed && conn->input_wanted < capacity)
		capacity = conn->input_wanted;
	else if (conn->input_wanted <= needed && needed <= HELD_KEEP_BYTES)
		capacity = HELD_KEEP_BYTES;
	larger = mem->alloc(mem->context, capacity);
	if (!larger)
		return -ENOMEM;
	if (conn->held_length)
		memcpy(larger, conn->held + conn->held_at, conn->held_length);
	if (conn->held)
		mem->free(mem->context, conn->held);
	conn->held = larger;
	conn->held_at = 0;
	conn->held_capacity = capacity;
	return 0;
}

static void hold(struct vg_conn *conn, const __u8 *data, size_t length)
{
	int error = held_grow(conn, length);

	if (error) {
		finish_with(conn, error);
		return;
	}
	memcpy(conn->held + conn->held_at + conn->held_length, data, length);
	conn->held_length += length;
}

static void hand_over_held(struct vg_conn *conn)
{
	size_t taken = hand_over(conn, conn->held + conn->held_at, conn->held_length);

	conn->held_at += taken;
	conn->held_length -= taken;
	if (conn->held_length)
		return;
	conn->held_at = 0;
	if (conn->held_capacity > HELD_KEEP_BYTES)
		held_free(conn);
}

/* What is over after handing over is one unfinished message, unless the user was blocked: then it is anything. */
static void check_bounds(struct vg_conn *conn)
{
	if (!is_blocked(conn) && (conn->held_length > conn->input_max || conn->input_wanted > conn->input_max))
		finish_with(conn, -EMSGSIZE);
}

static void take_input(struct vg_conn *conn, const __u8 *data, size_t length)
{
	if (!conn->held_length) {
		size_t taken = hand_over(conn, data, length);

		data += taken;
		length -= taken;
		if (length && !is_ending(conn))
			hold(conn, data, length);
	} else {
		hold(conn, data, length);
		hand_over_held(conn);
	}
	if (!is_ending(conn))
		check_bounds(conn);
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

/*
 * Input of an ending connection is taken and dropped: unread bytes would make its close a reset that can overtake
 * answers.
 */
static bool wants_input(const struct vg_conn *conn)
{
	if (conn->peer_closed || conn->aborting)
		return false;
	return conn->finishing || !is_blocked(conn) || conn->held_length < VG_CONN_HELD_MAX;
}

static void keep_receiving(struct vg_conn *conn)
{
	if (conn->recv_op && !conn->recv_stopping && !conn->peer_closed && !wants_input(conn)) {
		conn->recv_stopping = true;
		vg_io_stop(conn->pool->io, conn->recv_op);
	}
	if (conn->recv_op || !wants_input(conn))
		return;
	if (vg_io_recv(conn->pool->io, conn->fd, on_recv, conn, &conn->recv_op))
		vg_conn_abort(conn, -EBUSY);
}

static void on_recv(void *owner, const struct vg_io_event *event)
{
	struct vg_conn *conn = owner;
	int result = event->result;

	if (!event->more) {
		conn->recv_op = 0;
		conn->recv_stopping = false;
	}
	if (result > 0 && !is_ending(conn))
		take_input(conn, event->data, result);
	else if (!result)
		conn->peer_closed = true;
	else if (result < 0 && result != -ECANCELED && result != -EINTR && result != -EAGAIN)
		vg_conn_abort(conn, result);
	keep_receiving(conn);
	queue(conn);
}

/* ---- sending --------------------------------------------------------------------------------------------------- */

static void on_send(void *owner, const struct vg_io_event *event)
{
	struct vg_conn *conn = owner;

	conn->send_op = 0;
	conn->sending = 0;
	if (event->result > 0) {
		vg_out_consume(&conn->out, event->result);
		conn->consumed += (__u64)event->result;
		conn->pool->sent += (__u64)event->result;
	} else if (event->result != -EINTR && event->result != -EAGAIN) {
		vg_conn_abort(conn, event->result ? event->result : -EPIPE);
	}
	queue(conn);
}

static void start_send(struct vg_conn *conn)
{
	struct iovec vectors[VG_IO_VECTORS];
	size_t most = SEND_BYTES_MAX;
	int count, index, error;

	if (conn->sending || !conn->out.bytes)
		return;
	if (conn->gates && conn->gate[0].begin - conn->consumed < most)
		most = conn->gate[0].begin - conn->consumed;
	if (!most)
		return;
	count = vg_out_peek(&conn->out, vectors, VG_IO_VECTORS);
	for (index = 0; index < count; index++) {
		size_t room = most - conn->sending;

		if (!room)
			break;
		if (vectors[index].iov_len > room)
			vectors[index].iov_len = room;
		conn->sending += vectors[index].iov_len;
	}
	error = vg_io_send(conn->pool->io, conn->fd, vectors, index, on_send, conn, &conn->send_op);
	if (error) {
		conn->sending = 0;
		vg_conn_abort(conn, error);
	}
}

/* ---- answers kept back ----------------------------------------------------------------------------------------- */

static void held_unlink(struct vg_conn *conn)
{
	struct vg_conn **at = &conn->pool->held;

	if (!conn->gates)
		return;
	while (*at != conn)
		at = &(*at)->held_next;
	*at = conn->held_next;
	conn->gates = 0;
	conn->pool->held_count--;
}

void vg_conn_hold(struct vg_conn *conn, __u64 position, __u64 number, __u64 sealed)
{
	int last = conn->gates - 1;

	if (last >= 0 && (conn->gate[last].number > sealed || last == 1)) {
		if (number > conn->gate[last].number)
			conn->gate[last].number = number;
		return;
	}
	if (last < 0) {
		conn->held_next = conn->pool->held;
		conn->pool->held = conn;
		conn->pool->held_count++;
	}
	conn->gate[conn->gates].number = number;
	conn->gate[conn->gates++].begin = position;
}

void vg_conn_pool_release(struct vg_conn_pool *pool, __u64 number)
{
	struct vg_conn **at = &pool->held, *conn;

	while ((conn = *at)) {
		if (conn->gate[0].number <= number) {
			conn->gate[0] = conn->gate[1];
			conn->gates--;
			queue(conn);
		}
		if (conn->gates && conn->gate[0].number <= number)
			continue; /* the second group too */
		if (conn->gates) {
			at = &conn->held_next;
			continue;
		}
		*at = conn->held_next;
		pool->held_count--;
	}
}

__u32 vg_conn_pool_holds(const struct vg_conn_pool *pool)
{
	return pool->held_count;
}

void vg_conn_pool_drop_held(struct vg_conn_pool *pool, void (*last_words)(struct vg_conn *conn))
{
	struct vg_conn *conn;

	while ((conn = pool->held)) {
		__u64 keep = conn->gate[0].begin - conn->consumed;

		held_unlink(conn);
		if (conn->aborting)
			continue;
		vg_out_truncate(&conn->out, keep);
		last_words(conn);
		finish_with(conn, -EIO);
	}
}

void vg_conn_pool_block(struct vg_conn_pool *pool, bool blocked)
{
	__u32 index;

	if (pool->blocked == blocked)
		return;
	pool->blocked = blocked;
	for (index = 0; index < pool->count; index++)
		queue(&pool->conn[index]);
}

/* ---- the end of a turn ----------------------------------------------------------------------------------------- */

static void note_drain(struct vg_conn *conn)
{
	if (!conn->over_high || conn->out.bytes > VG_CONN_OUT_HIGH)
		return;
	conn->over_high = false;
	if (conn->user->on_drain && !is_ending(conn))
		conn->user->on_drain(conn);
}

/* The connection is over and the kernel reads nothing of it any more. */
static void close_now(struct vg_conn *conn)
{
	struct vg_conn_pool *pool = conn->pool;
	int fd = conn->fd;

	assert(!conn->sending);
	held_unlink(conn);
	if (conn->recv_op)
		vg_io_cancel(pool->io, conn->recv_op);
	if (conn->linger_op)
		vg_io_cancel(pool->io, conn->linger_op);
	conn->recv_op = 0;
	conn->linger_op = 0;
	vg_io_close(pool->io, fd);
	conn->fd = -1;
	conn->user->on_close(conn, conn->close_reason);
	held_free(conn);
	vg_out_deinit(&conn->out);
	conn->generation++;
	conn->queued = false;
	conn->next = pool->free;
	pool->free = conn;
	pool->used--;
}

/* Nothing is left to answer. */
static bool is_done(const struct vg_conn *conn)
{
	if (conn->sending)
		return false;
	if (conn->aborting || conn->lingered)
		return true; /* what is appended after the last words goes nowhere */
	return !conn->out.bytes && (conn->finishing || (conn->peer_closed && !conn->paused && !conn->owed));
}

static void on_linger(void *owner, const struct vg_io_event *event)
{
	struct vg_conn *conn = owner;

	conn->linger_op = 0;
	queue(conn);
}

/*
 * A peer that made an error may still be sending. Closing on its bytes resets the connection and it never reads what
 * was wrong, so it gets the end of the stream first, and a while to close its side.
 */
static bool lingers(struct vg_conn *conn)
{
	if (conn->aborting || conn->peer_closed || !conn->close_reason)
		return false;
	if (conn->lingered)
		return conn->linger_op;
	conn->lingered = true;
	if (vg_io_timeout(conn->pool->io, VG_CONN_LINGER_NS, on_linger, conn, &conn->linger_op))
		return false;
	vg_io_shutdown(conn->pool->io, conn->fd);
	return true;
}

/* What callbacks note meanwhile is done by the steps that follow them: it stays marked as queued until the end. */
static void look_after(struct vg_conn *conn)
{
	note_drain(conn);
	if (conn->held_length && !is_ending(conn) && !is_blocked(conn)) {
		hand_over_held(conn);
		if (!is_ending(conn))
			check_bounds(conn);
	}
	if (conn->out.failed)
		vg_conn_abort(conn, -ENOBUFS);
	if (!conn->aborting && !conn->lingered)
		start_send(conn);
	if (!conn->aborting)
		keep_receiving(conn);
	if (conn->aborting && conn->sending)
		vg_io_stop(conn->pool->io, conn->send_op);
	conn->over_high |= conn->out.bytes > VG_CONN_OUT_HIGH;
	conn->queued = false;
	if (is_done(conn) && !lingers(conn))
		close_now(conn);
}

/*
 * Ends, because a connection comes back into the list only by a call that another connection's callback makes about it,
 * and each callback stands for input that was taken, a drained output or a close.
 */
void vg_conn_pool_flush(struct vg_conn_pool *pool)
{
	while (pool->queue_first) {
		struct vg_conn *conn = pool->queue_first;

		pool->queue_first = conn->next;
		if (!pool->queue_first)
			pool->queue_last = NULL;
		conn->next = NULL;
		look_after(conn);
	}
}

/* ---- connections and their pool -------------------------------------------------------------------------------- */

int vg_conn_open(struct vg_conn_pool *pool, int fd, const struct vg_conn_user *user, void *session,
		 struct vg_conn **ret_conn)
{
	struct vg_conn *conn = pool->free;
	socklen_t length = sizeof(conn->peer);
	__u32 generation;
	vg_io_op recv_op;

	if (!conn || vg_io_recv(pool->io, fd, on_recv, conn, &recv_op)) {
		vg_io_close(pool->io, fd);
		return -EBUSY;
	}
	pool->free = conn->next;
	pool->used++;
	generation = conn->generation;
	memset(conn, 0, sizeof(*conn));
	conn->generation = generation;
	conn->pool = pool;
	conn->user = user;
	conn->session = session;
	conn->fd = fd;
	conn->recv_op = recv_op;
	conn->input_max = VG_CONN_HELD_MAX;
	vg_out_init(&conn->out, pool->chunks);
	if (getpeername(fd, (struct sockaddr *)&conn->peer, &length))
		conn->peer.ss_family = AF_UNSPEC; /* gone already, or simulated */
	*ret_conn = conn;
	return 0;
}

int vg_conn_pool_new(struct vg_conn_pool **ret_pool, struct vg_io *io, const struct vg_mem *mem,
		     struct vg_out_pool *chunks, __u32 connections)
{
	struct vg_conn_pool *pool = calloc(1, sizeof(*pool));
	__u32 index;

	if (!pool)
		return -ENOMEM;
	pool->conn = calloc(connections, sizeof(*pool->conn));
	if (!pool->conn) {
		free(pool);
		return -ENOMEM;
	}
	pool->io = io;
	pool->mem = mem;
	pool->chunks = chunks;
	pool->count = connections;
	for (index = connections; index; index--) {
		pool->conn[index - 1].fd = -1;
		pool->conn[index - 1].next = pool->free;
		pool->free = &pool->conn[index - 1];
	}
	*ret_pool = pool;
	return 0;
}

void vg_conn_pool_free(struct vg_conn_pool *pool)
{
	__u32 index;

	if (!pool)
		return;
	for (index = 0; index < pool->count; index++) {
		struct vg_conn *conn = &pool->conn[index];

		if (conn->fd < 0)
			continue;
		/*
		 * A send in flight is cut off: once the socket is shut down the kernel reads no more of what it was
		 * given, so the chunks and loans can go back without waiting for its completion.
		 */
		if (conn->sending) {
			(void)shutdown(conn->fd, SHUT_RDWR);
			vg_io_cancel(pool->io, conn->send_op);
			conn->sending = 0;
		}
		conn->close_reason = -ESHUTDOWN;
		close_now(conn);
	}
	free(pool->conn);
	free(pool);
}

__u64 vg_conn_pool_take_sent(struct vg_conn_pool *pool)
{
	__u64 sent = pool->sent;

	pool->sent = 0;
	return sent;
}

__u32 vg_conn_pool_used(const struct vg_conn_pool *pool)
{
	return pool->used;
}

void vg_conn_pool_each(struct vg_conn_pool *pool, void (*fn)(struct vg_conn *conn, void *context), void *context)
{
	__u32 index;

	for (index = 0; index < pool->count; index++) {
		if (pool->conn[index].fd >= 0 && !pool->conn[index].aborting)
			fn(&pool->conn[index], context);
	}
}
