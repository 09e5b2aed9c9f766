/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inside of the simulated io.h: sim.c submits and delivers, sim_turn.c is the kernel's part for sockets and timers,
 * sim_file.c for files, pipes and processes. Nobody else includes this.
 */
#ifndef VG_URING_SIM_OP_H
#define VG_URING_SIM_OP_H

#include "uring/sim_net.h"

enum sim_op_kind {
	OP_FREE,
	OP_ACCEPT,
	OP_RECV,
	OP_RECVMSG,
	OP_SEND,
	OP_CONNECT,
	OP_TIMEOUT,
	OP_READ, /* from here on: of real descriptors */
	OP_WRITE,
	OP_FSYNC,
	OP_POLL,
	OP_WAITID,
	OP_SPLICE,
	OP_CALL,
};

struct sim_op {
	enum sim_op_kind kind;
	__u32 generation;
	vg_io_fn fn; /* NULL: cancelled */
	void *owner;
	struct sim_socket *socket;
	bool ending;	      /* a cancel is under way */
	bool ended;	      /* its last completion is in the queue */
	bool without_buffers; /* goes on when the turn ends */
	struct iovec vectors[VG_IO_VECTORS];
	int count;
	__u64 checksum; /* of what is to be sent: it must not change until it was taken */
	struct sockaddr_storage peer;
	socklen_t peer_length;
	__u64 due_ns;
	int fd, to_fd;		  /* files */
	__u64 offset, to_offset;
	bool durable, data_only;
	unsigned int events, bytes;
	idtype_t child_type;
	id_t child;
	siginfo_t *child_info;
	int child_options;
	vg_io_call_fn call;
	void *argument;
};

struct sim_completion {
	struct sim_completion *next;
	__u32 slot, generation;
	int result;
	bool more;
	struct sockaddr_storage peer;
	socklen_t peer_length;
	bool truncated, has_data, datagram;
	__u8 *data; /* of its own, so that a use after the callback is seen */
};

struct vg_io {
	struct vg_io_config config;
	struct sim_op *op;
	__u32 operations_open;
	__u32 streams_out, datagrams_out; /* buffers that completions hold */
	struct sim_completion *queue;
	int *closing; /* descriptors to close in the next turn */
	__u32 closing_count, closing_room;
	__u32 datagrams_sent; /* since the last turn */
	bool wake_pending;
	vg_io_fn wake_fn;
	void *wake_owner;
	struct vg_io_stats stats;
};

/* sim.c: the slot of a new operation, or NULL; `fd` is a virtual socket, or not looked at for the kinds without. */
struct sim_op *vg_sim_op_begin(struct vg_io *io, enum sim_op_kind kind, int fd, vg_io_fn fn, void *owner,
			       vg_io_op *ret_op);
/* Put a completion in the queue. */
struct sim_completion *vg_sim_op_complete(struct vg_io *io, struct sim_op *op, int result, bool more);
/* The checksum of the bytes that an operation's vectors name. */
__u64 vg_sim_op_checksum(const struct sim_op *op);

/* sim_turn.c: let operations go on; `hurry`: none is late. */
void vg_sim_kernel_part(struct vg_io *io, bool hurry);
void vg_sim_close_sockets(struct vg_io *io);
void vg_sim_pass_time(struct vg_io *io); /* nothing can happen before the next timer is due */
size_t vg_sim_maybe_short(size_t bytes);

/* sim_file.c */
void vg_sim_file_go_on(struct vg_io *io, struct sim_op *op);

#endif
