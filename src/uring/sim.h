/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The simulated network behind sim.c, for tests. One world a program, one thread: sockets, virtual time and one random
 * sequence, so that a seed is a run. What a test does here happens at once, as if by somebody far away; what a vg_io
 * does on the same sockets happens in its turns, with the faults that are switched on.
 *
 * Virtual descriptors are far above real ones: a system call on one of them fails with EBADF.
 */
#ifndef VG_URING_SIM_H
#define VG_URING_SIM_H

#include <sys/socket.h>
#include <sys/types.h>

#include "uring/io.h"

/* Chances in a thousand, each time the thing could happen. */
struct vg_sim_faults {
	__u32 late;		/* an operation that could go on waits for another turn */
	__u32 short_transfer;	/* a receive or a send moves only some of the bytes it could */
	__u32 no_buffers;	/* a receive finds no buffer */
	__u32 more_cleared;	/* a multishot operation ends with a good completion */
	__u32 reorder;		/* a completion overtakes those of other operations */
	__u32 overflow;		/* only a part of the completion queue is delivered in a turn */
	__u32 spurious;		/* a turn delivers nothing */
	__u32 reset;		/* a stream breaks */
	__u32 datagram_lost, datagram_doubled;
	__u32 io_error;		/* a file operation or a call fails with EIO; what a failed write left is anything */
	__u32 no_space;		/* a write fails with ENOSPC */
};
extern const struct vg_sim_faults vg_sim_no_faults;
extern const struct vg_sim_faults
	vg_sim_all_faults; /* all but `reset`, lost or doubled datagrams and failing files: those change answers */

/* Start from nothing: closes all sockets, sets the time to 1 s. Every vg_io must have been freed. */
void vg_sim_start(__u64 seed, const struct vg_sim_faults *faults);
void vg_sim_end(void);
void vg_sim_set_faults(const struct vg_sim_faults *faults);

__u64 vg_sim_now_ns(void);
void vg_sim_advance(__u64 ns);
__u64 vg_sim_random(__u64 bound); /* 0 … bound - 1, from the world's sequence */
__u32 vg_sim_sockets_open(void);
__u32 vg_sim_operations_open(const struct vg_io *io);
__u32 vg_sim_buffers_out(const struct vg_io *io);

/* Sockets to give to a vg_io; several may share an address. vg_listen_tcp and vg_listen_udp make such sockets too. */
int vg_sim_listen(const struct sockaddr *address, socklen_t length);
int vg_sim_datagram(const struct sockaddr *address, socklen_t length);

/* The far side of a stream. -ECONNREFUSED when nobody listens there. */
int vg_sim_connect(const struct sockaddr *address, socklen_t length);
/* Bytes taken, 0 when the other side's window is full, -EPIPE when it has gone, -ECONNRESET. */
ssize_t vg_sim_write(int fd, const void *data, size_t bytes);
/* Bytes, 0 at the end of the stream, -EAGAIN when there is nothing yet, -ECONNRESET. */
ssize_t vg_sim_read(int fd, void *data, size_t bytes);
void vg_sim_shutdown(int fd); /* no more bytes will come from this side */
void vg_sim_close(int fd);    /* a reset for the other side if there were unread bytes */
void vg_sim_break(int fd);    /* a reset for both sides */

/* The far side of datagrams: from a socket of vg_sim_datagram that no vg_io receives on. -EAGAIN as above. */
int vg_sim_sendto(int fd, const void *data, size_t bytes, const struct sockaddr *peer, socklen_t peer_length);
ssize_t vg_sim_recvfrom(int fd, void *data, size_t bytes, struct sockaddr_storage *ret_peer,
			socklen_t *ret_peer_length);

/*
 * Files are real ones, reached through real descriptors; only the faults and the moment are simulated. The n-th file
 * operation from now on (1: the next) fails with `error`, once; 0: none does.
 */
void vg_sim_fail_file(__u64 nth, int error);
__u64 vg_sim_files_done(void); /* file operations carried out since vg_sim_start */
/*
 * The power goes: of what was written through a vg_io since vg_sim_start and neither durably nor followed by a sync of
 * its file, any 512 bytes may be what they were before. Files that were closed meanwhile are remembered.
 */
void vg_sim_power_cut(void);

#endif
