/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sockets of the simulated network, as sim.c sees them. Nobody else includes this. */
#ifndef VG_URING_SIM_NET_H
#define VG_URING_SIM_NET_H

#include "uring/sim.h"

enum sim_kind {
	SIM_NEW, /* a stream socket that has not connected yet */
	SIM_LISTEN,
	SIM_STREAM,
	SIM_DATAGRAM,
};

struct sim_datagram {
	struct sim_datagram *next;
	struct sockaddr_storage from;
	socklen_t from_length;
	size_t bytes;
	__u8 data[];
};

struct sim_socket {
	enum sim_kind kind;
	int fd;		 /* -1: closed */
	int references;	 /* its descriptor, its operations, its place in a backlog, its other side */
	struct sockaddr_storage address;
	socklen_t address_length;
	struct sim_socket *other;	/* streams */
	struct sim_socket *backlog_first, *backlog_next;
	__u8 *input;			/* bytes that have arrived, SIM_WINDOW_BYTES of room */
	size_t input_begin, input_end;
	bool input_ended, reset, abandoned; /* abandoned: closed on this side */
	struct sim_datagram *datagram_first, *datagram_last;
	__u32 datagrams;
};

#define SIM_FD_FIRST (1 << 28) /* virtual descriptors begin here */
#define SIM_WINDOW_BYTES 65536
#define SIM_DATAGRAMS_MAX 1024

bool vg_sim_chance(__u32 per_thousand);
const struct vg_sim_faults *vg_sim_faults(void);

struct sim_socket *vg_sim_socket_new(enum sim_kind kind);
struct sim_socket *vg_sim_socket_of(int fd); /* NULL: not open */
void vg_sim_socket_ref(struct sim_socket *socket);
void vg_sim_socket_unref(struct sim_socket *socket);
struct sim_socket *vg_sim_socket_find(enum sim_kind kind, const struct sockaddr *address, socklen_t length);
/* Make a stream between `near` (SIM_NEW) and whoever listens there: 0 or -ECONNREFUSED. */
int vg_sim_socket_connect(struct sim_socket *near, const struct sockaddr *address, socklen_t length);
struct sim_socket *vg_sim_socket_accept(struct sim_socket *listening); /* NULL: nobody waits */
size_t vg_sim_socket_room(const struct sim_socket *socket);	       /* bytes its other side can take now */
static inline size_t vg_sim_socket_waiting(const struct sim_socket *socket)
{
	return socket->input_end - socket->input_begin;
}
void vg_sim_socket_close(struct sim_socket *socket);
void vg_sim_deliver_datagram(struct sim_socket *from, const void *data, size_t bytes, const struct sockaddr *to,
			     socklen_t to_length);
struct sim_datagram *vg_sim_take_datagram(struct sim_socket *socket); /* the caller frees it; NULL: none */

/* sim_file.c: forget what a power cut would take back. */
void vg_sim_files_reset(void);

#endif
