/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "uring/ring.h"

#define ACCEPT_REST_NS 20000000

/* ---- completions ----------------------------------------------------------------------------------------------- */

static struct vg_bufs *bufs_of(struct vg_io *io, const struct vg_op *op)
{
	return op->kind == VG_OP_RECVMSG ? &io->datagrams : &io->streams;
}

void vg_op_rearm_later(struct vg_io *io, struct vg_op *op)
{
	op->rearm = true;
	op->next = io->rearm_first;
	io->rearm_first = (op - io->op) + 1;
}

/* What came in for an owner that no longer listens. */
static void drop_completion(struct vg_io *io, const struct vg_op *op, const struct io_uring_cqe *cqe)
{
	if (op->kind == VG_OP_ACCEPT && cqe->res >= 0)
		close(cqe->res);
	if (cqe->flags & IORING_CQE_F_BUFFER)
		vg_bufs_return(bufs_of(io, op), cqe->flags >> IORING_CQE_BUFFER_SHIFT);
}

static void deliver(struct vg_io *io, enum vg_op_kind kind, vg_io_fn fn, void *owner, const struct io_uring_cqe *cqe,
		    bool more)
{
	struct vg_io_event event = { .result = cqe->res, .more = more };
	bool buffer = cqe->flags & IORING_CQE_F_BUFFER;
	__u32 index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

	if (kind == VG_OP_RECVMSG && buffer) {
		vg_datagram_deliver(io, fn, owner, cqe, more);
		vg_bufs_return(&io->datagrams, index);
		return;
	}
	if (kind == VG_OP_TIMEOUT && cqe->res == -ETIME)
		event.result = 0;
	if ((kind == VG_OP_RECV || kind == VG_OP_RECVMSG) && cqe->res == -ENOBUFS)
		event.result = -ECANCELED; /* stopped while it waited for buffers */
	if (buffer && cqe->res > 0)
		event.data = vg_bufs_at(&io->streams, index);
	fn(owner, &event);
	if (buffer)
		vg_bufs_return(&io->streams, index);
}

/*
 * Without descriptors or memory an accept fails at once, again and again: it rests for a while, on a timer that has its
 * name, and whoever waits to be accepted waits in the kernel's queue.
 */
static bool rests(struct vg_io *io, struct vg_op *op, int result)
{
	struct io_uring_sqe *sqe;

	if (op->kind != VG_OP_ACCEPT || !op->fn || op->stop || op->resting ||
	    (result != -EMFILE && result != -ENFILE && result != -ENOBUFS && result != -ENOMEM))
		return false;
	sqe = vg_ring_sqe(io);
	if (!sqe)
		return false;
	io->extra[op - io->op].delay = (struct __kernel_timespec){ .tv_nsec = ACCEPT_REST_NS };
	io_uring_prep_timeout(sqe, &io->extra[op - io->op].delay, 0, 0);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	op->resting = true;
	return true;
}

/*
 * A multishot operation that the kernel ended for its own reasons: no buffers, a full completion queue, an empty
 * datagram. Those go on without their owner; an error or the end of a stream is the owner's business.
 */
static bool goes_on(const struct vg_op *op, int result)
{
	if (!op->fn || op->stop)
		return false;
	switch (op->kind) {
	case VG_OP_ACCEPT:
		return result >= 0 || result == -ECONNABORTED;
	case VG_OP_RECV:
		return result > 0 || result == -ENOBUFS;
	case VG_OP_RECVMSG:
		return result >= 0 || result == -ENOBUFS;
	default:
		return false;
	}
}

void vg_op_on_completion(struct vg_io *io, const struct io_uring_cqe *cqe)
{
	struct vg_op *op = vg_op_find(io, cqe->user_data);
	bool more = cqe->flags & IORING_CQE_F_MORE;
	enum vg_op_kind kind;
	vg_io_fn fn;
	void *owner;

	if (cqe->user_data == USER_DATA_NONE)
		return;
	if (!op) {
		io->stats.stale++;
		return;
	}
	kind = op->kind;
	fn = op->fn;
	owner = op->owner;
	if (kind == VG_OP_WAKE) {
		vg_wake_on_completion(io, op);
		return;
	}
	if (op->resting && fn && !op->stop) {
		op->resting = false;
		vg_op_rearm_later(io, op);
		return;
	}
	if (!more && rests(io, op, cqe->res)) {
		more = true;
	} else if (!more && goes_on(op, cqe->res)) {
		vg_op_rearm_later(io, op);
		more = true;
		if (cqe->res == -ENOBUFS) {
			io->stats.no_buffers++;
			return;
		}
	}
	if (!fn)
		drop_completion(io, op, cqe);
	if (!more) {
		if (kind == VG_OP_SENDTO)
			vg_datagram_put(io, op->copy);
		vg_op_put(io, op); /* before the call: the callee may submit again */
	}
	if (fn)
		deliver(io, kind, fn, owner, cqe, more);
}

/* ---- slots ----------------------------------------------------------------------------------------------------- */

struct vg_op *vg_op_get(struct vg_io *io, enum vg_op_kind kind, int fd, vg_io_fn fn, void *owner)
{
	struct vg_op *op;

	if (!io->op_free)
		return NULL;
	op = &io->op[io->op_free - 1];
	assert(op->kind == VG_OP_FREE);
	io->op_free = op->next;
	op->kind = kind;
	op->fd = fd;
	op->fn = fn;
	op->owner = owner;
	op->rearm = false;
	op->stop = false;
	op->resting = false;
	op->copy = 0;
	op->next = 0;
	return op;
}

void vg_op_put(struct vg_io *io, struct vg_op *op)
{
	assert(op->kind != VG_OP_FREE && !op->rearm);
	op->kind = VG_OP_FREE;
	op->fn = NULL;
	if (!++op->generation)
		op->generation = 1;
	op->next = io->op_free;
	io->op_free = (op - io->op) + 1;
}

struct vg_op *vg_op_find(struct vg_io *io, __u64 user_data)
{
	__u32 slot = (__u32)user_data, generation = user_data >> 32;

	if (slot >= io->operations || io->op[slot].kind == VG_OP_FREE || io->op[slot].generation != generation)
		return NULL;
	return &io->op[slot];
}

__u64 vg_op_name(const struct vg_io *io, const struct vg_op *op)
{
	return (__u64)op->generation << 32 | (__u32)(op - io->op);
}

/* ---- submitting ------------------------------------------------------------------------------------------------ */

int vg_op_arm(struct vg_io *io, struct vg_op *op)
{
	struct io_uring_sqe *sqe = vg_ring_sqe(io);

	if (!sqe)
		return -EBUSY;
	switch (op->kind) {
	case VG_OP_ACCEPT:
		io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
		break;
	case VG_OP_RECV:
		io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
		break;
	case VG_OP_RECVMSG:
		io_uring_prep_recvmsg_multishot(sqe, op->fd, &io->datagram_message, 0);
		break;
	case VG_OP_WAKE:
		io_uring_prep_read(sqe, op->fd, &io->wake_count, sizeof(io->wake_count), 0);
		break;
	default:
		assert(!"an operation that is not armed again");
	}
	if (op->kind == VG_OP_RECV || op->kind == VG_OP_RECVMSG) {
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = bufs_of(io, op)->group;
	}
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

void vg_op_rearm_all(struct vg_io *io)
{
	__u32 next = io->rearm_first;

	io->rearm_first = 0;
	while (next) {
		struct vg_op *op = &io->op[next - 1];

		next = op->next;
		op->rearm = false;
		op->next = 0;
		if (op->kind != VG_OP_WAKE && !op->fn)
			vg_op_put(io, op);
		else if (vg_op_arm(io, op))
			vg_op_rearm_later(io, op);
	}
}

int vg_op_begin(struct vg_io *io, enum vg_op_kind kind, int fd, vg_io_fn fn, void *owner, struct vg_op **ret_op,
		struct io_uring_sqe **ret_sqe, vg_io_op *ret_name)
{
	struct vg_op *op = vg_op_get(io, kind, fd, fn, owner);
	struct io_uring_sqe *sqe = op ? vg_ring_sqe(io) : NULL;

	if (!sqe) {
		if (op)
			vg_op_put(io, op);
		return -EBUSY;
	}
	*ret_op = op;
	*ret_sqe = sqe;
	if (ret_name)
		*ret_name = vg_op_name(io, op);
	return 0;
}

static int arm_new(struct vg_io *io, enum vg_op_kind kind, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct vg_op *op = vg_op_get(io, kind, fd, fn, owner);

	if (!op)
		return -EBUSY;
	if (vg_op_arm(io, op)) {
		vg_op_put(io, op);
		return -EBUSY;
	}
	if (ret_op)
		*ret_op = vg_op_name(io, op);
	return 0;
}

int vg_io_accept(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return arm_new(io, VG_OP_ACCEPT, fd, fn, owner, ret_op);
}

int vg_io_recv(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return arm_new(io, VG_OP_RECV, fd, fn, owner, ret_op);
}

int vg_io_recvmsg(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return arm_new(io, VG_OP_RECVMSG, fd, fn, owner, ret_op);
}

int vg_io_send(struct vg_io *io, int fd, const struct iovec *vectors, int count, vg_io_fn fn, void *owner,
	       vg_io_op *ret_op)
{
	struct vg_op_extra *extra;
	struct io_uring_sqe *sqe;
	struct vg_op *op;
	int error;

	assert(count > 0 && count <= VG_IO_VECTORS);
	error = vg_op_begin(io, VG_OP_SEND, fd, fn, owner, &op, &sqe, ret_op);
	if (error)
		return error;
	if (count == 1) {
		io_uring_prep_send(sqe, fd, vectors[0].iov_base, vectors[0].iov_len, MSG_NOSIGNAL);
	} else {
		extra = &io->extra[op - io->op];
		memcpy(extra->vectors, vectors, count * sizeof(*vectors));
		extra->message = (struct msghdr){ .msg_iov = extra->vectors, .msg_iovlen = count };
		io_uring_prep_sendmsg(sqe, fd, &extra->message, MSG_NOSIGNAL);
	}
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

int vg_io_connect(struct vg_io *io, int fd, const struct sockaddr *peer, socklen_t peer_length, vg_io_fn fn,
		  void *owner, vg_io_op *ret_op)
{
	struct vg_op_extra *extra;
	struct io_uring_sqe *sqe;
	struct vg_op *op;
	int error;

	if (peer_length > sizeof(extra->peer))
		return -EINVAL;
	error = vg_op_begin(io, VG_OP_CONNECT, fd, fn, owner, &op, &sqe, ret_op);
	if (error)
		return error;
	extra = &io->extra[op - io->op];
	memcpy(&extra->peer, peer, peer_length);
	io_uring_prep_connect(sqe, fd, (struct sockaddr *)&extra->peer, peer_length);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

int vg_io_timeout(struct vg_io *io, __u64 delay_ns, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct vg_op_extra *extra;
	struct io_uring_sqe *sqe;
	struct vg_op *op;
	int error;

	error = vg_op_begin(io, VG_OP_TIMEOUT, -1, fn, owner, &op, &sqe, ret_op);
	if (error)
		return error;
	extra = &io->extra[op - io->op];
	extra->delay = (struct __kernel_timespec){ .tv_sec = delay_ns / 1000000000, .tv_nsec = delay_ns % 1000000000 };
	io_uring_prep_timeout(sqe, &extra->delay, 0, 0);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

/* ---- ending ---------------------------------------------------------------------------------------------------- */

/* Ask the kernel; its answer does not matter: either the operation ends, or it had ended and its completion is near. */
static void ask_cancel(struct vg_io *io, vg_io_op name)
{
	struct io_uring_sqe *sqe = vg_ring_sqe(io);

	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, name, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, USER_DATA_NONE);
}

void vg_io_cancel(struct vg_io *io, vg_io_op name)
{
	struct vg_op *op = vg_op_find(io, name);

	if (!op || !op->fn)
		return;
	op->fn = NULL;
	if (!op->rearm && op->kind != VG_OP_CALL) /* otherwise it is not in the kernel: vg_op_rearm_all frees it */
		ask_cancel(io, name);
}

void vg_io_stop(struct vg_io *io, vg_io_op name)
{
	struct vg_op *op = vg_op_find(io, name);

	if (!op || !op->fn || op->stop)
		return;
	op->stop = true;
	if (op->kind == VG_OP_CALL) {
		vg_helpers_stop(io, op);
		return;
	}
	/* One that waits for buffers is armed again at the end of the turn, before the cancel is submitted. */
	if (op->rearm)
		vg_op_rearm_all(io);
	ask_cancel(io, name);
}

void vg_io_close(struct vg_io *io, int fd)
{
	struct io_uring_sqe *sqe = vg_ring_sqe(io);

	/*
	 * Through the ring, behind what is queued for this descriptor: closed here and now, its number could already be
	 * another thread's file when the queue is submitted.
	 */
	if (!sqe) {
		close(fd);
		return;
	}
	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, USER_DATA_NONE);
}

void vg_io_shutdown(struct vg_io *io, int fd)
{
	(void)shutdown(fd, SHUT_WR); /* fails when the peer has gone already: nothing to tell it */
}

int vg_io_socket(struct vg_io *io, int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		return -errno;
	if (type == SOCK_STREAM)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* only latency is lost */
	return fd;
}
