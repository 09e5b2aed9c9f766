/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of the io_uring implementation of io.h: ring.c sets up and turns, op.c submits, file.c submits what is
 * not about sockets, datagram.c and bufs.c look after datagrams and provided buffers, wake.c after other threads,
 * helper.c has threads of its own for what blocks.
 * Nobody else includes this.
 */
#ifndef VG_URING_RING_H
#define VG_URING_RING_H

#include <liburing.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "uring/io.h"

/*
 * user_data is the operation's vg_io_op: slot in the low half, generation (never 0) in the high half. USER_DATA_NONE
 * marks requests whose answer nobody waits for: cancels and closes.
 */
#define USER_DATA_NONE 0ull

enum vg_op_kind {
	VG_OP_FREE,
	VG_OP_ACCEPT,
	VG_OP_RECV,
	VG_OP_RECVMSG,
	VG_OP_SEND,
	VG_OP_SENDTO,
	VG_OP_CONNECT,
	VG_OP_TIMEOUT,
	VG_OP_FILE, /* of file.c: one completion, nothing to look after */
	VG_OP_CALL, /* of helper.c: not in the kernel */
	VG_OP_WAKE,
};

/* What every completion touches; one cache line. */
struct vg_op {
	vg_io_fn fn;		/* NULL: cancelled, its owner hears nothing */
	void *owner;
	int fd;
	__u32 generation;
	__u8 kind;		/* enum vg_op_kind */
	bool rearm;		/* not in the kernel: in the list of receives that wait for buffers */
	bool stop;		/* ends instead of being re-armed */
	bool resting;		/* VG_OP_ACCEPT: a timer in the kernel's hands, descriptors had run out */
	__u32 next;		/* free list, re-arm list: slot + 1, 0 ends it */
	__u32 copy;		/* VG_OP_SENDTO: which datagram copy it holds */
} __attribute__((aligned(64)));

/* What the kernel reads while an operation is in flight. */
struct vg_op_extra {
	union {
		struct {
			struct msghdr message;
			struct iovec vectors[VG_IO_VECTORS];
		};
		struct sockaddr_storage peer;
		struct __kernel_timespec delay;
		struct {
			vg_io_call_fn call;
			void *argument;
			int result;
			__u32 next; /* in one of vg_helpers' lists: slot + 1 */
		};
	};
};

struct vg_call_list {
	__u32 first, last; /* slot + 1, 0: empty */
};

/* Threads that make calls which may block. What is not the owner's alone is under the lock. */
struct vg_helpers {
	struct vg_call_list brief; /* the owner's: to be made or given away at its next turn */
	__u32 brief_count;
	__u64 brief_ns; /* what one takes, smoothed, 1/16 */
	__u64 rest_until_ns, rest_ns; /* it makes none itself until then */
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct vg_call_list waiting, done;
	__u32 waiting_count, idle, threads, limit;
	bool ending;
	pthread_t thread[VG_IO_HELPERS_MAX];
};

/* A ring of buffers that the kernel picks from; a picked one comes back right after the callback that saw it. */
struct vg_bufs {
	struct io_uring_buf_ring *ring;
	__u8 *memory;
	size_t mapped_bytes, stride;
	__u32 count, bytes;
	int group;
	int returned; /* added to the ring, not yet shown to the kernel */
};

struct vg_datagram_copy {
	struct sockaddr_storage peer;
	__u32 next; /* free list: index + 1 */
};

#define DATAGRAM_NAME_BYTES 32 /* room for the source address; makes the payload 16-byte aligned */

struct vg_io {
	struct io_uring ring;
	bool ring_made, enabled;
	pthread_t thread; /* whose ring it is, once enabled */
	struct vg_op *op;
	struct vg_op_extra *extra;
	__u32 operations, op_free;	   /* op_free: slot + 1 */
	__u32 rearm_first;
	struct vg_bufs streams, datagrams; /* receive buffers */
	struct msghdr datagram_message;	   /* what recvmsg is asked to report: addresses, no control data */
	__u8 *copies;			   /* datagrams being sent */
	struct vg_datagram_copy *copy;
	__u32 copy_count, copy_bytes, copy_free;
	int wake_fd;
	__u64 wake_count;
	atomic_bool wake_pending;
	vg_io_fn wake_fn;
	void *wake_owner;
	struct vg_helpers helpers;
	struct vg_io_stats stats;
};

/* ring.c */
/* NULL: no room even after submitting, or the ring is another thread's. */
struct io_uring_sqe *vg_ring_sqe(struct vg_io *io);

/* op.c */
/* A slot and a place in the submission queue, or neither (-EBUSY). */
int vg_op_begin(struct vg_io *io, enum vg_op_kind kind, int fd, vg_io_fn fn, void *owner, struct vg_op **ret_op,
		struct io_uring_sqe **ret_sqe, vg_io_op *ret_name);
struct vg_op *vg_op_get(struct vg_io *io, enum vg_op_kind kind, int fd, vg_io_fn fn, void *owner); /* NULL: none free */
void vg_op_put(struct vg_io *io, struct vg_op *op);
struct vg_op *vg_op_find(struct vg_io *io, __u64 user_data); /* NULL: stale */
__u64 vg_op_name(const struct vg_io *io, const struct vg_op *op);
int vg_op_arm(struct vg_io *io, struct vg_op *op); /* (re)submit a receive or the wake read; -EBUSY */
void vg_op_rearm_later(struct vg_io *io, struct vg_op *op); /* at the end of the turn, when buffers are back */
void vg_op_rearm_all(struct vg_io *io);
void vg_op_on_completion(struct vg_io *io, const struct io_uring_cqe *cqe);

/* bufs.c */
int vg_bufs_init(struct vg_bufs *bufs, struct io_uring *ring, int group, __u32 count, __u32 bytes);
void vg_bufs_deinit(struct vg_bufs *bufs); /* after the ring has gone: it holds the registration */
void vg_bufs_return(struct vg_bufs *bufs, __u32 index);
void vg_bufs_publish(struct vg_bufs *bufs); /* show what came back to the kernel */
static inline __u8 *vg_bufs_at(const struct vg_bufs *bufs, __u32 index)
{
	return bufs->memory + index * bufs->stride;
}

/* datagram.c */
int vg_datagram_init(struct vg_io *io, __u32 copies, __u32 bytes);
void vg_datagram_deinit(struct vg_io *io);
void vg_datagram_put(struct vg_io *io, __u32 copy);
void vg_datagram_deliver(struct vg_io *io, vg_io_fn fn, void *owner, const struct io_uring_cqe *cqe, bool more);

/* wake.c */
int vg_wake_init(struct vg_io *io);
void vg_wake_deinit(struct vg_io *io);
void vg_wake_on_completion(struct vg_io *io, struct vg_op *op);
void vg_wake_signal(struct vg_io *io); /* make the owner's ring turn, from any thread */

/* helper.c */
void vg_helpers_init(struct vg_io *io, __u32 limit);
void vg_helpers_deinit(struct vg_io *io);  /* waits for calls that have begun */
void vg_helpers_deliver(struct vg_io *io); /* completions of calls that have ended */
/* Make brief calls, or give them away. True: some have ended, and wait to be delivered. */
bool vg_helpers_make_brief(struct vg_io *io);
void vg_helpers_stop(struct vg_io *io, struct vg_op *op); /* take it back if no helper has begun it */

#endif
