/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A worker: one thread, one ring, its own listening sockets, connections and links to other nodes. Workers share the
 * store, the cluster's table and nothing else; what one wants of another goes through a flag and vg_io_wake.
 */
#ifndef VG_NODE_WORKER_H
#define VG_NODE_WORKER_H

#include <pthread.h>

#include "node/bpfmaps.h"
#include "node/cluster.h"
#include "node/commit.h"
#include "node/options.h"
#include "svc/svc.h"
#include "uring/conn.h"

/* The services of a node: the only list of them. */
extern const struct vg_service *const vg_services[VG_SERVICE_MAX];

struct vg_world;
struct vg_worker;

/* A session, and what the node keeps beside it. */
struct vg_node_session {
	struct vg_session session; /* first: the service's pointer is the node's pointer */
	struct vg_conn *conn;	   /* NULL: the slot is free */
	const struct vg_service *service;
	__u32 slot, generation;
	__u32 next_free;
	bool kill; /* set by any thread */
};

struct vg_listener {
	const struct vg_service *service;
	enum vg_protocol protocol; /* the door's own, or VG_PROTOCOL_UNKNOWN */
	struct vg_worker *worker;
	int tcp_fd, udp_fd;
	vg_io_op accept_op, receive_op;
};

struct vg_worker {
	struct vg_env env; /* first: env.node is this worker */
	struct vg_world *world;
	struct vg_clock clock;
	struct vg_stats stats;

	struct vg_io *io;
	struct vg_out_pool chunks;
	struct vg_conn_pool *conns;
	struct vg_listener listener[VG_DOOR_MAX];
	int listeners;
	struct vg_timer *timers; /* that services wait for */

	struct vg_commit *commit; /* NULL: there is no log */
	bool commit_waits;	  /* atomic: others wake this worker when something has become safe */
	__u32 commit_waiters;	  /* atomic: connections and datagrams whose answers wait */
	__u64 datagram_mark;	  /* see vg_commit_mark; before the datagram in hand */

	struct vg_node_session *sessions;
	__u32 session_count, session_free;
	pthread_mutex_t registry; /* opening and closing of sessions against vg_sessions_each of other workers */

	pthread_t thread;
	bool started;
	bool stopping; /* set by the main thread: drain and end */
	bool draining;
	bool killing;	     /* some session of this worker has `kill` set */
	struct vg_mail *mail; /* from other workers, the newest first */
	bool in_turn;	     /* the clock has been read for this turn */
	__u64 turn_requests; /* requests counted when the turn began */
	__u64 ticks, saver_ticks;
	__u64 changes;	     /* of the store by this worker; read by others */
	__u64 drain_until_ns;
	int error; /* why the thread ended, 0: it was told to */
};

/* Everything acquired; 0 or a negative errno. The thread is started by vg_worker_start. */
int vg_worker_init(struct vg_worker *worker, struct vg_world *world, __u32 number);
int vg_worker_start(struct vg_worker *worker);
void vg_worker_stop(struct vg_worker *worker); /* asks; any thread */
void vg_worker_join(struct vg_worker *worker);
void vg_worker_deinit(struct vg_worker *worker);

/* One turn of the loop, what the thread does over and over; for tests that turn a worker by hand. As vg_io_run. */
int vg_worker_step(struct vg_worker *worker, bool wait);
/* Every callback of a worker's ring begins with this: the first of a turn reads the clock. */
void vg_worker_turn(struct vg_worker *worker);

/* Answer UNSUPPORTED to a datagram whose version or operation nobody here knows. */
void vg_datagram_unsupported(struct vg_env *env, const struct vg_datagram *datagram);

/* session.c */
int vg_sessions_init(struct vg_worker *worker, __u32 count);
void vg_sessions_deinit(struct vg_worker *worker);
void vg_session_open(struct vg_listener *listener, int fd);
/* Close idle, killed and, when draining, finished sessions; each twentieth of a second and when woken. */
void vg_sessions_tend(struct vg_worker *worker);

/* mail.c */
void vg_worker_take_mail(struct vg_worker *worker);

/* status.c */
__u16 vg_worker_memory_free_permille(const struct vg_world *world);
void vg_worker_account_turn(struct vg_worker *worker);

#endif
