/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Asynchronous I/O as services and nodes see it: submit an operation, get its completions as calls. Two
 * implementations with the same symbols: ring.c & co (io_uring) in the daemon, sim.c (seeded, deterministic, with
 * faults) in tests; a program links one of them.
 *
 * One vg_io belongs to one thread: every call is from it, every completion arrives on it, from inside vg_io_run and
 * never from inside a submitting call. An operation is named by a vg_io_op: slot and generation, never a pointer, so
 * a completion that comes late for a recycled slot is recognised, counted and dropped.
 *
 * Submitting calls return 0 and fill *ret_op (may be NULL), or -EBUSY when all operation slots are in use: the caller
 * sheds load. Descriptors passed in stay the caller's unless it says otherwise.
 *
 * A vg_io may be made on one thread and handed to another: the first vg_io_run decides whose it is. Before that the
 * submission queue takes `entries` operations, no more. When its thread has ended another may cancel, close and free.
 */
#ifndef VG_URING_IO_H
#define VG_URING_IO_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "virgo/types.h"

struct vg_io;
struct open_how; /* <linux/openat2.h> */
struct statx;	 /* <sys/stat.h> */
typedef __u64 vg_io_op; /* 0: none */

struct vg_io_config {
	unsigned int entries;	     /* submission queue; the completion queue is four times as large, at least */
	unsigned int operations;     /* operation slots */
	unsigned int stream_buffers; /* provided buffers for stream receives: a power of two */
	unsigned int stream_buffer_bytes;
	unsigned int datagram_buffers; /* the same for datagrams: payload, address and control data */
	unsigned int datagram_bytes;   /* largest payload */
	unsigned int helpers;	     /* threads for vg_io_call at most; 0: VG_IO_HELPERS */
	__u64 seed;		     /* sim.c only */
};

/* One completion. `result` is 0 or a count, or a negative errno. */
struct vg_io_event {
	int result;
	bool more;		      /* a multishot operation goes on; false: it has ended, whatever the result */
	const void *data;	      /* received bytes (result of them); valid during the call only */
	const struct sockaddr *peer;  /* datagrams: who sent it */
	socklen_t peer_length;
	bool truncated;		      /* datagrams: longer than datagram_bytes */
};

typedef void (*vg_io_fn)(void *owner, const struct vg_io_event *event);

/* 0, -ENOMEM, -ENOSYS and what io_uring_setup says. *ret_io is written only on success. */
int vg_io_new(struct vg_io **ret_io, const struct vg_io_config *config);
void vg_io_free(struct vg_io *io); /* cancels what is in flight, without completions; accepts NULL */

/*
 * Accept connections until cancelled; result: a new descriptor (close-on-exec), the callee's. A negative result with
 * `more` is news, no end: when descriptors run out (-EMFILE, -ENFILE, …) vg_io tries again by itself after a while.
 */
int vg_io_accept(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op);
/*
 * Receive until cancelled, each completion with one filled buffer; result 0 with data NULL: the peer has closed.
 * When buffers run out the operation ends with -ENOBUFS and more = false; vg_io re-arms it by itself as soon as
 * buffers are back, so a caller sees -ENOBUFS never. Any other end without `more`: the caller re-arms or closes.
 */
int vg_io_recv(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op);
/* The same for datagrams; several sources, one descriptor. */
int vg_io_recvmsg(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op);
/*
 * Send; may complete short. The vectors are copied, the bytes they name must stay until the completion. ≤
 * VG_IO_VECTORS.
 */
#define VG_IO_VECTORS 16
int vg_io_send(struct vg_io *io, int fd, const struct iovec *vectors, int count, vg_io_fn fn, void *owner,
	       vg_io_op *ret_op);
/*
 * Send one datagram from a copy that vg_io owns (≤ datagram_bytes); nothing is reported back: a datagram may be lost.
 * -EBUSY when too many are in flight: it is lost too, and counted.
 */
int vg_io_sendto(struct vg_io *io, int fd, const void *data, size_t bytes, const struct sockaddr *peer,
		 socklen_t peer_length);
int vg_io_connect(struct vg_io *io, int fd, const struct sockaddr *peer, socklen_t peer_length, vg_io_fn fn,
		  void *owner, vg_io_op *ret_op);
/* Once after `delay_ns`; result -ETIME is translated to 0. */
int vg_io_timeout(struct vg_io *io, __u64 delay_ns, vg_io_fn fn, void *owner, vg_io_op *ret_op);

/* ---- files, pipes and processes --------------------------------------------------------------------------------- */

/*
 * Read and write, once; may complete short. `offset` in the file, or VG_IO_STREAM for what has none (a pipe), or whose
 * own position is meant. The vectors (1 … VG_IO_VECTORS) are copied, their bytes must stay until the completion: also
 * after vg_io_cancel, so end such an operation with vg_io_stop and wait for its last event. Result: bytes, 0: the end.
 */
#define VG_IO_STREAM (~0ULL)
int vg_io_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
	       void *owner, vg_io_op *ret_op);
/* The same by a thread of the kernel's: for much that may be in memory, and would be copied while this one waits. */
int vg_io_read_aside(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		     void *owner, vg_io_op *ret_op);
int vg_io_write(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
		void *owner, vg_io_op *ret_op);
/* The same, complete when the bytes are on stable storage, with what is needed to find them again (RWF_DSYNC). */
int vg_io_write_durable(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset, vg_io_fn fn,
			void *owner, vg_io_op *ret_op);
/* What has been written so far (completed before this call) to stable storage; `data_only`: without its times. */
int vg_io_fsync(struct vg_io *io, int fd, bool data_only, vg_io_fn fn, void *owner, vg_io_op *ret_op);
/* Once, when one of `events` (POLLIN, POLLOUT, …) is there; result: those that are. */
int vg_io_poll(struct vg_io *io, int fd, unsigned int events, vg_io_fn fn, void *owner, vg_io_op *ret_op);
/*
 * waitid(2): which child (P_PIDFD with its descriptor, or P_PID), what about it (WEXITED, …). *ret_info is the
 * caller's and must stay until the completion, as the bytes of a read. Result 0.
 */
int vg_io_waitid(struct vg_io *io, idtype_t type, id_t id, siginfo_t *ret_info, int options, vg_io_fn fn, void *owner,
		 vg_io_op *ret_op);
/* Move up to `bytes` between two descriptors, one of them a pipe. Offsets as above. Result: bytes, 0: the end. */
int vg_io_splice(struct vg_io *io, int from_fd, __u64 from_offset, int to_fd, __u64 to_offset, unsigned int bytes,
		 vg_io_fn fn, void *owner, vg_io_op *ret_op);

/* ---- calls that may block --------------------------------------------------------------------------------------- */

/*
 * What has no good operation of its own (openat2 that creates, rename, getdents, copy_file_range, …): run
 * call(argument) on a helper thread; what it returns is the completion's result. `argument` and all it names are the
 * helper's until the completion, also after vg_io_cancel: end a call with vg_io_stop, which takes back one that has
 * not begun (-ECANCELED) and waits for one that has. Calls begin in the order of their submission and end in any. A
 * call must not use this vg_io, and must come to an end by itself: vg_io_free waits for those that have begun, and
 * forgets the others.
 */
#define VG_IO_HELPERS 16
#define VG_IO_HELPERS_MAX 64
typedef int (*vg_io_call_fn)(void *argument);
int vg_io_call(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op);
/*
 * The same for a call that is mostly done in some microseconds (a name is made, a directory is in memory): waking a
 * helper and being woken by it takes several times as long, so the owner may make it itself at the beginning of its
 * next turn. One that turns out to be slow makes it leave all of them to helpers for a while.
 */
int vg_io_call_brief(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op);

/* Here and now, in the calling thread, as long as it needs no wait: -EAGAIN means that it would, ask otherwise. */

/*
 * openat2(2) with what `how` says, and RESOLVE_CACHED, O_CLOEXEC, O_NOCTTY and O_NONBLOCK. A new descriptor, the
 * caller's, or a negative errno. O_CREAT and O_TRUNC are -EAGAIN always.
 */
int vg_io_try_open(struct vg_io *io, int dir_fd, const char *path, const struct open_how *how);
/* Read what is in memory: bytes (fewer, where the page cache has no more), 0: the end, -EAGAIN: nothing is. */
int vg_io_try_read(struct vg_io *io, int fd, const struct iovec *vectors, int count, __u64 offset);
/* statx(2) of an open descriptor with STATX_BASIC_STATS and STATX_BTIME: what is known without asking a server. */
int vg_io_try_stat(struct vg_io *io, int fd, struct statx *ret_status);
/* A descriptor that nothing is in flight for is closed at once: its number is free when this returns. */
void vg_io_try_close(struct vg_io *io, int fd);

/* ---- threads, endings, descriptors ------------------------------------------------------------------------------ */

/* Wake another thread's vg_io_run; from any thread that holds the pointer. Coalesced. */
void vg_io_wake(struct vg_io *io);
void vg_io_on_wake(struct vg_io *io, vg_io_fn fn, void *owner);

/*
 * The operation's owner hears nothing of it from now on; the kernel's answer to the cancel is swallowed, and so are
 * bytes that had been received already. The bytes of a send may be read until it has ended: vg_io_stop those.
 */
void vg_io_cancel(struct vg_io *io, vg_io_op op);
/* End the operation soon, and let its owner hear the rest: what had happened already, then an event without `more`. */
void vg_io_stop(struct vg_io *io, vg_io_op op);
/* No more will be sent: the peer reads the end of the stream behind what has completed. Receiving goes on. */
void vg_io_shutdown(struct vg_io *io, int fd);
/*
 * Close the descriptor once everything submitted for it so far has been started; its operations are to be cancelled
 * before.
 */
void vg_io_close(struct vg_io *io, int fd);
/*
 * A new socket of `family` and `type` to connect or send from, close-on-exec (and TCP without delay), or a negative
 * errno.
 */
int vg_io_socket(struct vg_io *io, int family, int type);

/*
 * One turn: submit everything queued in one system call, wait for at least one completion if `wait`, deliver what has
 * arrived (one batch). Returns the number delivered, or a negative errno that ends the worker.
 */
int vg_io_run(struct vg_io *io, bool wait);

/* What went by, for status and tests. Owner thread. */
struct vg_io_stats {
	__u64 turns, submitted, completions;
	__u64 no_buffers;	 /* receives that ended for lack of buffers and were re-armed */
	__u64 stale;		 /* completions for recycled slots, dropped */
	__u64 overflows;	 /* completion queue overflows the kernel reported */
	__u64 datagrams_lost;	 /* sendto without room */
	__u64 calls, own_calls;	 /* given to helper threads; made by the owner itself */
};
const struct vg_io_stats *vg_io_stats(const struct vg_io *io);

#endif
