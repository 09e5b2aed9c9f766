/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A stream connection: what arrived is handed to its user as contiguous bytes, what the user appends to `out` is sent,
 * one send in flight at a time. One thread. Built on io.h alone, so the simulator runs it too.
 *
 * Input: `on_input` gets all bytes not yet consumed and returns how many it took (0: it needs more; it may say how many
 * in conn->input_wanted). The rest is kept in an assembly buffer that grows up to input_max bytes from `mem`; past that
 * the connection is closed with reason -EMSGSIZE.
 *
 * Answers may be kept back until something else has happened (what they say is on stable storage): vg_conn_hold.
 *
 * Back pressure: while more than VG_CONN_OUT_HIGH bytes wait to be sent, or the user has called vg_conn_pause, nothing
 * is handed over; what arrives meanwhile is kept up to VG_CONN_HELD_MAX, then receiving is cancelled until there is
 * room.
 */
#ifndef VG_URING_CONN_H
#define VG_URING_CONN_H

#include "base/mem.h"
#include "base/out.h"
#include "uring/io.h"

#define VG_CONN_OUT_HIGH VG_OUT_HIGH
#define VG_CONN_HELD_MAX (256u << 10)
#define VG_CONN_LINGER_NS 1000000000ull

struct vg_conn;

struct vg_conn_user {
	/*
	 * Bytes taken, ≤ length; a negative errno closes the connection, after what is in `out` has been sent and the
	 * peer had VG_CONN_LINGER_NS to read it: its unread bytes would reset the connection under our last words. It
	 * takes all whole messages it can, and may stop early when `out` holds more than VG_CONN_OUT_HIGH or it has
	 * paused: it is called again with the rest when there is room. After a call that took something it is called
	 * with the rest at once, after one that took nothing only when there is more.
	 */
	ssize_t (*on_input)(struct vg_conn *conn, const __u8 *data, size_t length);
	/*
	 * The connection is gone: reason 0 (peer closed) or a negative errno. The last call; the slot is free after
	 * it.
	 */
	void (*on_close)(struct vg_conn *conn, int reason);
	/* Optional: called when `out` has drained below VG_CONN_OUT_HIGH again. */
	void (*on_drain)(struct vg_conn *conn);
};

struct vg_conn {
	struct vg_out out;
	void *session;		/* the user's */
	__u64 input_wanted;	/* set by on_input: contiguous bytes the next message needs in all; 0: not known */
	__u64 input_max;	/* bound on a single message */
	bool owed;		/* answers are still to come though it is not paused: the end of input is no end */
	struct sockaddr_storage peer;
	/* private to conn.c below */
	struct vg_conn_pool *pool;
	const struct vg_conn_user *user;
	int fd;
	vg_io_op recv_op, send_op, linger_op;
	__u64 consumed;		/* bytes of `out` that have been sent, ever */
	struct {
		__u64 number, begin; /* what begins there (as counted by `consumed`) waits for that */
	} gate[2];
	int gates;
	struct vg_conn *held_next; /* the pool's list of connections with gates */
	__u8 *held;		/* assembly buffer */
	size_t held_length, held_capacity, held_at;
	size_t sending;		/* bytes of the send in flight */
	bool recv_stopping;	/* being ended for lack of room: its last event is still to come */
	bool paused;
	bool queued;		/* in the pool's list of connections to look after at the next flush */
	bool finishing;		/* close when `out` is empty; input is dropped */
	bool aborting;		/* close as soon as no send is in flight */
	bool lingered;		/* has begun to wait for the peer to read our last words */
	bool peer_closed;	/* no more input will come */
	bool over_high;		/* more than VG_CONN_OUT_HIGH was waiting: on_drain is owed */
	int close_reason;
	__u32 generation;
	struct vg_conn *next;	/* free list, or list of connections to look after */
};

struct vg_conn_pool;

/*
 * `connections` slots, one pool a worker. vg_io needs operations for each: a receive, a send, and one being cancelled.
 * A connection that gets no operation slot is closed with -EBUSY.
 */
int vg_conn_pool_new(struct vg_conn_pool **ret_pool, struct vg_io *io, const struct vg_mem *mem,
		     struct vg_out_pool *chunks, __u32 connections);
/* Closes what is open, with reason -ESHUTDOWN; accepts NULL. `io` and `chunks` must still be there. */
void vg_conn_pool_free(struct vg_conn_pool *pool);
__u32 vg_conn_pool_used(const struct vg_conn_pool *pool);
__u64 vg_conn_pool_take_sent(struct vg_conn_pool *pool); /* bytes that all connections have sent since the last call */
/* Every open connection, in no order; the callback may close it. */
void vg_conn_pool_each(struct vg_conn_pool *pool, void (*fn)(struct vg_conn *conn, void *context), void *context);

/* Take over a connected descriptor and start receiving. -EBUSY when all slots are in use (the descriptor is closed). */
int vg_conn_open(struct vg_conn_pool *pool, int fd, const struct vg_conn_user *user, void *session,
		 struct vg_conn **ret_conn);
/* Queue what is in `out` for sending. Cheap; the pool sends once at vg_conn_pool_flush, the end of a loop turn. */
void vg_conn_flush(struct vg_conn *conn);
void vg_conn_pool_flush(struct vg_conn_pool *pool);
/*
 * Stop and resume handing over input (an answer is being made elsewhere). Resume hands over what was kept, at the
 * next flush.
 */
void vg_conn_pause(struct vg_conn *conn);
void vg_conn_resume(struct vg_conn *conn);
/*
 * Keep back what was appended from `position` on, and with it all that follows, until vg_conn_pool_release is called
 * with `number` or more. Numbers only grow. Those above `sealed` may be released together: there are never more than
 * two groups, the one being made safe and the one after it.
 */
static inline __u64 vg_conn_position(const struct vg_conn *conn)
{
	return conn->consumed + conn->out.bytes;
}
/* Of the first byte that is not being sent already. */
static inline __u64 vg_conn_unsent(const struct vg_conn *conn)
{
	return conn->consumed + conn->sending;
}
void vg_conn_hold(struct vg_conn *conn, __u64 position, __u64 number, __u64 sealed);
void vg_conn_pool_release(struct vg_conn_pool *pool, __u64 number);
__u32 vg_conn_pool_holds(const struct vg_conn_pool *pool); /* how many connections have some kept back */
/* What is kept back will not be said: it is dropped, the user may append other last words, and the connection ends. */
void vg_conn_pool_drop_held(struct vg_conn_pool *pool, void (*last_words)(struct vg_conn *conn));
/* Hand over no input of any connection for a while; what arrives is kept as for a paused one. */
void vg_conn_pool_block(struct vg_conn_pool *pool, bool blocked);
/* Close when everything in `out` has been sent. */
void vg_conn_finish(struct vg_conn *conn);
/* Close now. on_close follows from vg_conn_pool_flush, not from inside this call. */
void vg_conn_abort(struct vg_conn *conn, int reason);

#endif
