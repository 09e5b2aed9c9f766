/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a service is, and everything it may ask of the node it runs in. src/node implements the functions declared
 * here; a unit test may supply its own.
 *
 * A service instance belongs to one worker and runs on that worker's thread only. It is handed input, appends answers
 * to the session's output, and never blocks: what needs another node or time is asked with a callback, and the session
 * is paused meanwhile, which keeps the answers of a pipeline in order.
 */
#ifndef VG_SVC_H
#define VG_SVC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/out.h"
#include "pool/store.h"
#include "pool/wal.h"
#include "proto/dispatch.h"
#include "uring/io.h"
#include "virgo/wire.h"

/* ---- figures --------------------------------------------------------------------------------------------------- */

/* Why a request was refused; counted per worker, shown by INFO and `virgo status`. X(name, text) */
#define VG_REFUSALS(X)                                              \
	X(MALFORMED, "malformed")                                   \
	X(BAD_VERSION, "binary of another version")                 \
	X(BAD_OPCODE, "unknown operation")                          \
	X(UNKNOWN_COMMAND, "unknown command")                       \
	X(TOO_LONG, "over a limit of length")                       \
	X(UNAUTHORIZED, "no or wrong password or tag")              \
	X(REPLAYED, "older than its client's window")               \
	X(DUPLICATE, "asked again: answered from memory")           \
	X(WRONG_NODE, "key of another node")                        \
	X(NO_MEMORY, "out of memory")                               \
	X(BUSY, "a table was full")                                 \
	X(UNREACHABLE, "the owner did not answer")                  \
	X(REFLECTION, "answer larger than an unproven request")     \
	X(TRUNCATED, "datagram cut off")                            \
	X(HTTP, "HTTP on a pool port")                              \
	X(NOT_LOGGED, "changes refused: the log cannot be written")                              \
	X(SLOW_SUBSCRIBER, "subscriber read too slowly: closed")

enum vg_refusal {
#define X(name, text) VG_REFUSAL_##name,
	VG_REFUSALS(X)
#undef X
	VG_REFUSAL_MAX
};
const char *vg_refusal_text(enum vg_refusal refusal);

#define VG_LATENCY_BUCKETS 64 /* two a power of two, from 1 ns: bucket 2n + (second half) */

/* One writer (the worker), relaxed readers. */
struct vg_stats {
	__u64 connections_accepted, connections_open;
	__u64 requests_stream, requests_datagram;
	__u64 hits, misses;
	__u64 bytes_in, bytes_out;
	__u64 forwarded;	    /* asked of another node */
	__u64 in_flight;	    /* received and not yet answered */
	__u64 service_ns_smoothed;  /* EWMA, 1/64 */
	__u64 refused[VG_REFUSAL_MAX];
	__u64 latency[VG_LATENCY_BUCKETS]; /* service times of batches, per request */
} __attribute__((aligned(64)));

/* ---- the cluster ----------------------------------------------------------------------------------------------- */

struct vg_cluster; /* topology; the same for all workers, read-only between reloads */
__u16 vg_cluster_self(const struct vg_cluster *cluster);
__u16 vg_cluster_nodes(const struct vg_cluster *cluster);
__u32 vg_cluster_epoch(const struct vg_cluster *cluster);
__u16 vg_cluster_owner(const struct vg_cluster *cluster, __u16 partition); /* VG_NODE_NONE: nobody */
/* "address:port" of the node's memory pool, or NULL. */
const char *vg_cluster_address(const struct vg_cluster *cluster, __u16 node);
/* Where that service of the node listens on its address; 0: nowhere. */
__u16 vg_cluster_port(const struct vg_cluster *cluster, __u16 node, unsigned int door);
/* NULL, or the cluster key. */
const __u64 *vg_cluster_key(const struct vg_cluster *cluster);

/* A request to another node over this worker's link to it. Everything is copied before the call returns. */
struct vg_peer_request {
	__u8 opcode;
	__u8 door;	/* enum vg_door: which of the node's services; 0: the memory pool */
	bool tentative; /* perhaps it is not there yet: that costs those who ask behind this nothing */
	__u16 flags;	/* VG_FLAG_FORWARDED and TAGGED are added */
	__u16 partition;
	__u64 ident, argument;
	const void *key;
	__u32 key_length;
	const struct iovec *body;
	int body_count;
};
struct vg_peer_reply {
	int error;	/* 0, or -EHOSTUNREACH, -ETIMEDOUT, -ENOBUFS: then nothing else is filled in */
	__u8 status;	/* enum vg_status */
	__u16 flags, partition;
	__u64 ident, argument;
	const void *body; /* valid during the call */
	__u32 body_length;
};
typedef void (*vg_peer_fn)(void *context, const struct vg_peer_reply *reply);
struct vg_peers; /* links of one worker */
/*
 * Answers of one node's memory pool come in the order they were asked, those of other services in any. fn is always
 * called once, later, on this thread; never from inside.
 */
void vg_peers_ask(struct vg_peers *peers, __u16 node, const struct vg_peer_request *request, vg_peer_fn fn,
		  void *context);
/* Another node for an allocation, by the configured policy on the last load stamps; this one if there is none. */
__u16 vg_peers_pick(struct vg_peers *peers);

/* ---- services and their ports ----------------------------------------------------------------------------------- */

/* Place in vg_services[] and in vg_env.services[]. */
enum vg_service_number { VG_SERVICE_MEM, VG_SERVICE_CPU, VG_SERVICE_FILE, VG_SERVICE_MAX };

/*
 * A port that may be listened on, over TCP and UDP: the service behind it and, where the port says it, the protocol
 * (else the first bytes of a stream do, and datagrams are VIRGO binary).
 */
enum vg_door { VG_DOOR_MEM, VG_DOOR_CPU, VG_DOOR_FILE, VG_DOOR_MEMCACHE, VG_DOOR_MAX };
struct vg_door_facts {
	const char *name; /* its option is --<name>-port */
	enum vg_service_number service;
	enum vg_protocol protocol; /* VG_PROTOCOL_UNKNOWN: any */
};
extern const struct vg_door_facts vg_doors[VG_DOOR_MAX];

struct vg_env;

/* ---- the worker a service instance lives in -------------------------------------------------------------------- */

struct vg_settings { /* what services may read of the configuration; reloads swap the pointer */
	char password[256];	  /* RESP AUTH and requirepass; empty: none */
	__u64 chunk_bytes;	  /* handle allocations larger than this are spread over nodes */
	__u64 value_bytes_max;
	__u32 idle_timeout_s;	  /* RESP client idle timeout, 0: never */
	const char *config_file;  /* or NULL */
	__u16 port[VG_DOOR_MAX];  /* 0: not listened on */
};

/* The CPU pool's part of the configuration; the same until the node ends. */
struct vg_cpu_settings {
	__u32 jobs, queue, workers;
	__u64 linger_ns, keep_bytes;
	__u8 text_kind;		 /* enum vg_job_kind: what a word of text names */
	bool as_queue;		 /* every request goes to queue_push */
	const char *plugin_dir, *kernel_dir; /* or NULL */
	/*
	 * Where a queue service takes requests instead of the pool (use_as_kingcobra_service): 0 or a negative errno.
	 * NULL: there is none.
	 */
	int (*queue_push)(struct vg_env *env, __u64 client, __u64 sequence, const void *body, __u32 length);
};

#define VG_FILE_OPS_MAX 4096 /* requests of the file pool in flight, of all connections */

/* A directory of the file pool that a key opens, and what is allowed there: node/exports.h. */
#define VG_FILE_EXPORTS_MAX 63
struct vg_file_export_settings {
	char name[64];	     /* for people */
	__u64 key[2];
	bool keyed;	     /* false: whoever sends no tag */
	bool read_only;
	char directory[256]; /* a path of the pool, checked; empty: all of it */
	__u64 quota_bytes, quota_files; /* of the directory; 0: no limit */
};

/* The file pool's part of the configuration; the same until the node ends. */
/* Where a new file goes: to the node of its name, or to another, which that node then points to. */
enum vg_placement { VG_PLACE_HASH, VG_PLACE_LEAST_USED, VG_PLACE_LEAST_LOADED, VG_PLACE_LOCAL };
#define VG_PLACEMENT_NAMES "hash, leastused, leastloaded, local"

struct vg_file_settings {
	int root_fd;	    /* the directory that is exported; the node's, closed when no thread uses it */
	bool read_only;
	bool ids;	    /* owners' numbers pass through */
	enum vg_placement placement;
	__u32 descriptors;  /* open files, of all clients */
	__u64 memory_bytes; /* of requests and answers under way */
	__u64 quota_bytes, quota_files; /* of all there is; 0: no limit */
	const struct vg_file_export_settings *exports;
	__u32 export_count; /* 0 with exports NULL: the cluster's key, or none, opens all */
};

struct vg_env {
	__u32 worker, workers;
	const struct vg_clock *clock;
	struct vg_store *store;
	struct vg_io *io;
	struct vg_cluster *cluster;
	struct vg_peers *peers;
	struct vg_stats *stats;
	const struct vg_settings *settings;
	const struct vg_cpu_settings *cpu;
	const struct vg_file_settings *file;
	const struct vg_mem *mem;	/* memory of request size: the heap tier */
	struct vg_out_pool *chunks;
	__u64 random_state;
	__u32 run_queue_delay_ns;	/* smoothed, for load stamps; 0: not measured */
	struct vg_wal *wal;		/* the write-ahead log, NULL: nothing is kept over a restart */
	void *node;			/* src/node's own */
	void *services[VG_SERVICE_MAX];	/* each service's own, made by its init; NULL where it does not run */
};

/*
 * A turn of the loop has begun: the first call of a turn reads the clock. What a service is called back with by env->io
 * itself (not by the node) begins with this.
 */
void vg_env_turn(struct vg_env *env);
__u64 vg_env_random(struct vg_env *env); /* not for secrets */
void vg_env_stats_sum(const struct vg_env *env, struct vg_stats *ret_sum); /* over all workers */
__u64 vg_env_uptime_s(const struct vg_env *env);
/* Of late: the mean of the last second and a half, what XDP answers included in the requests. Any thread. */
struct vg_pace {
	__u64 requests_per_s, bytes_in_per_s, bytes_out_per_s;
};
void vg_env_pace(const struct vg_env *env, struct vg_pace *ret_pace);
/* What XDP has answered in this node's name, of its keys and handles: no worker has seen these requests. */
struct vg_xdp_answers {
	__u64 hits, misses, others;
};
void vg_env_xdp_answers(const struct vg_env *env, struct vg_xdp_answers *ret_answers);
/* What a service counts, over all its instances: how many figures, 0 where none runs. Any thread. */
struct vg_figure {
	const char *name;
	__u64 value;
};
#define VG_FIGURES_MAX 32
int vg_env_figures(const struct vg_env *env, enum vg_service_number number,
		   struct vg_figure (*ret_figures)[VG_FIGURES_MAX]);
/* Run fn on this worker after delay_ns. */
int vg_env_timer(struct vg_env *env, __u64 delay_ns, void (*fn)(void *context), void *context);
/*
 * Run mail->fn on that worker's thread soon; from any worker's thread. Mail of one worker to another arrives in the
 * order it was posted. fn is called once for each, at the latest when the node is torn down, and owns the mail then.
 * closed() and deinit() post none.
 */
struct vg_mail {
	struct vg_mail *next; /* the mailbox's own */
	void (*fn)(struct vg_env *env, struct vg_mail *mail);
};
void vg_env_post(struct vg_env *env, __u32 worker, struct vg_mail *mail);
/* This node's state as JSON text, into `out`: what the STATUS operation and `virgo status` show. */
void vg_env_status_json(struct vg_env *env, struct vg_out *out);
void vg_env_topology_json(struct vg_env *env, struct vg_out *out);

/*
 * Whether changes are refused just now, because the log could not be written: ask before making one on behalf of a
 * client, and answer with the text of vg_env_refusal. One branch where there is no log.
 */
static inline bool vg_env_refuses(const struct vg_env *env)
{
	return __builtin_expect(env->wal != NULL, 0) && vg_wal_error(env->wal);
}
/* "Errors writing to the log: No space left on device"; valid until the next call on this thread. */
const char *vg_env_refusal(const struct vg_env *env);

static inline void vg_refuse(struct vg_env *env, enum vg_refusal refusal)
{
	env->stats->refused[refusal]++;
}

/* ---- sessions: one stream connection as a service sees it ------------------------------------------------------ */

#define VG_SESSION_NAME_MAX 64

struct vg_session {
	struct vg_env *env;
	struct vg_out *out;	  /* answers go here; flushed at the end of the turn */
	enum vg_protocol protocol;
	__u64 id;		  /* unique on this node */
	__u64 created_ns, used_ns;/* CLOCK_MONOTONIC */
	char peer[64];		  /* "address:port" */
	char local[64];
	bool authenticated;	  /* password given, or none needed */
	bool finish;		  /* set by the service: close after the answers so far */
	bool paused;
	bool owed;		  /* set by the service: answers are still to come though input is taken */
	bool working;		  /* set by the service: the same, but the end of input is the end of the session */
	__u64 input_wanted;	  /* see conn.h; set by input() when it needs more */
	char name[VG_SESSION_NAME_MAX];	/* CLIENT SETNAME */
	char library[VG_SESSION_NAME_MAX], library_version[VG_SESSION_NAME_MAX];
	char last_command[24];
	__u64 requests;
	/* The service's own state; zeroed when the session opens. */
	union {
		__u64 words[9];
		void *pointer;
	} state;
};

/* Input is not handed over while paused; resume after the answer was appended to session->out (it flushes too). */
void vg_session_pause(struct vg_session *session);
void vg_session_resume(struct vg_session *session);
/* What was appended to session->out outside of input() leaves at the end of the turn; session->finish counts too. */
void vg_session_flush(struct vg_session *session);
/*
 * A late answer must not meet a session that has gone and whose slot lives again: keep a reference instead of a
 * pointer, and look it up (NULL: gone) when the answer comes.
 */
struct vg_session_ref {
	__u32 slot, generation;
};
struct vg_session_ref vg_session_ref(const struct vg_session *session);
struct vg_session *vg_session_find(struct vg_env *env, struct vg_session_ref ref);

/* All sessions of all workers: a snapshot of each, under a lock. For CLIENT LIST and KILL. */
void vg_sessions_each(struct vg_env *env, void (*fn)(void *context, const struct vg_session *session), void *context);
bool vg_session_kill(struct vg_env *env, __u64 id); /* closed soon, on its own worker */
/* Where the session lives, which its reference is good for; false: there is none. The outputs may be NULL. */
bool vg_session_locate(struct vg_env *env, __u64 id, __u32 *ret_worker, struct vg_session_ref *ret_ref);

/* ---- services -------------------------------------------------------------------------------------------------- */

struct vg_datagram {
	/*
	 * Checked by vg_wire_check, lengths within the datagram. NULL at a door with a protocol of its own: then only
	 * `data` and `length` are filled in, and whose they are.
	 */
	const struct vg_wire_header *header;
	enum vg_protocol protocol;	     /* the door's; VG_PROTOCOL_UNKNOWN: VIRGO binary */
	const __u8 *data;		     /* the whole datagram */
	const __u8 *key, *body;
	size_t length;			     /* of the whole datagram: an unproven source gets no longer answer */
	bool proven;			     /* its tag is right */
	int fd;				     /* answer from here */
	const struct sockaddr *peer;
	socklen_t peer_length;
};

/*
 * Answer a datagram, from a copy. Did its request change something, then the answer leaves when the change is safe.
 * 0, or -EBUSY: it is lost, as datagrams may be.
 */
int vg_env_answer(struct vg_env *env, const struct vg_datagram *datagram, const void *data, size_t bytes);
/* The answer being made speaks of a change that an earlier request has made: it waits as if it were its own. */
void vg_env_depend(struct vg_env *env);

struct vg_service {
	const char *name;
	enum vg_service_number number;
	/*
	 * One instance for the whole node, on its last worker: for a service whose sessions share so much that one
	 * thread is simpler than locks. Else one instance a worker.
	 */
	bool single;
	int (*init)(struct vg_env *env);	/* once a worker it runs on; never if none of its doors is open */
	void (*deinit)(struct vg_env *env);
	/*
	 * Take input of a session whose protocol is known. Returns bytes taken (0: needs more, says how many in
	 * session->input_wanted), or a negative errno: the framing is lost, close after the answers so far.
	 */
	ssize_t (*input)(struct vg_session *session, const __u8 *data, size_t length);
	void (*closed)(struct vg_session *session); /* optional */
	void (*turn)(struct vg_env *env); /* optional: at the end of each turn of the loop, before output leaves */
	void (*datagram)(struct vg_env *env, const struct vg_datagram *datagram);
	/*
	 * Optional: how busy this instance is, from any thread: requests received and not yet answered, and the
	 * smoothed time the node takes for one when it has many. They go into the service's load stamps.
	 */
	void (*load)(const struct vg_env *env, __u64 *ret_in_flight, __u64 *ret_service_ns);
	/*
	 * Optional: the words this instance counts in, from any thread, each read atomically; and their names, NULL
	 * behind the last (virgo/figures.h).
	 */
	const __u64 *(*counts)(const struct vg_env *env);
	const char *const *count_names;
};

extern const struct vg_service vg_service_mem, vg_service_cpu, vg_service_file;

#endif
