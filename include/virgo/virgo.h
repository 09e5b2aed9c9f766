/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libvirgo: the client of a VIRGO memory pool.
 *
 * Requests go over UDP, where a node's XDP program may answer them, and are sent again when no answer comes; what does
 * not fit a datagram, and what UDP does not deliver, goes over TCP. The library learns from the answers which node owns
 * what, so that it asks the owner the next time.
 *
 * Results are 0 (or a count where it says so), or a negative errno; virgo_strerror() tells what it means here:
 *
 *     -ENOENT        no such key, or VIRGO_IF_PRESENT and it is absent
 *     -EEXIST        VIRGO_IF_ABSENT and the key exists
 *     -ESTALE        the handle is gone: freed, or of another life of its node
 *     -ERANGE        outside the allocation
 *     -EMSGSIZE      over a limit, or the buffer is too small for the value
 *     -ENOSPC        the pool is full            -ENOMEM    this process is out of memory
 *     -EACCES        wrong or missing cluster key
 *     -EHOSTUNREACH  no node answers             -EBUSY     the node is: try again
 *     -ETIMEDOUT     no answer in time: a change may or may not have been made
 *     -ECONNRESET    the connection broke after the request was sent: likewise
 *     -EALREADY      the node has seen this request too long ago to know: likewise
 *     -EINVAL        bad argument, or the node calls the request malformed
 *     -EOPNOTSUPP    the node does not know the operation
 *     -EPROTO        an answer that makes no sense   -EREMOTEIO  the node reports an internal error
 *     -EAGAIN        the window is full: call virgo_wait()
 *     -EDEADLK       called from inside a result function, where only virgo_submit*() may be called
 *
 * Threads: a struct virgo belongs to one thread at a time; different ones are independent. There is no global state,
 * nothing is printed, no signal is raised.
 *
 * Sizes are bytes, durations milliseconds unless the name says otherwise. Pointers passed in stay the caller's.
 */
#ifndef VIRGO_H
#define VIRGO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library is built with everything hidden; what is declared here is not. */
#pragma GCC visibility push(default)

struct virgo;

/* ---- opening and closing --------------------------------------------------------------------------------------- */

#define VIRGO_WINDOW_MAX 4096

/* virgo_options.flags */
#define VIRGO_NO_TCP 0x1  /* datagrams only: what does not fit one fails with -EMSGSIZE */
#define VIRGO_NO_UDP 0x2  /* streams only */
#define VIRGO_ASK_ANY 0x4 /* do not learn routes: ask the configured nodes in turn, who pass requests on */

struct virgo_options {
	size_t size; /* sizeof(struct virgo_options): lets the struct grow */
	/*
	 * "10.0.0.1,10.0.0.2:30000,[fd00::1]:30000", names allowed; NULL: the environment's VIRGO_NODES, else the first
	 * line of /etc/virgo_client.conf, else 127.0.0.1.
	 */
	const char *nodes;
	uint16_t port;		 /* for nodes without one; 0: 30000 */
	const char *key_file;	 /* 32 hex digits: the cluster key; NULL: VIRGO_KEY_FILE, else none */
	unsigned int timeout_ms; /* of a request; for long transfers: without any progress. 0: 5000 */
	unsigned int resends;	 /* of a datagram, before TCP; 0: 4 */
	unsigned int window;	 /* requests in flight at once, at most VIRGO_WINDOW_MAX; 0: 64 */
	unsigned int flags;	 /* VIRGO_NO_TCP … */
};

/*
 * Make a client. No node is asked yet. `options` may be NULL (all defaults). On error `*ret_virgo` is not written, and
 * where `why` is not NULL, a sentence for a person is put there (`why_bytes` bytes, always terminated).
 * -EINVAL, -ENOENT (key file), -EADDRNOTAVAIL (a name that does not resolve), -ENOMEM, what socket(2) says.
 */
int virgo_connect(struct virgo **ret_virgo, const struct virgo_options *options, char *why, size_t why_bytes);
/* Give everything back. What is in flight is forgotten: its result functions are not called. Accepts NULL. */
void virgo_disconnect(struct virgo *virgo);

/* What a result means; never NULL, valid for ever. Accepts either sign. */
const char *virgo_strerror(int error);
/* More about the last synchronous call that failed, in the node's words where it had any; valid until the next call. */
const char *virgo_error_text(const struct virgo *virgo);
/* "0.1.0" */
const char *virgo_version(void);

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* Flags of a set. */
#define VIRGO_IF_ABSENT 0x1
#define VIRGO_IF_PRESENT 0x2
#define VIRGO_KEEP_EXPIRY 0x4 /* keep the deadline the key has */

/*
 * The value, in memory from malloc() that the caller frees with free(); one zero byte follows it. -ENOENT …
 */
int virgo_key_get(struct virgo *virgo, const void *key, size_t key_length, void **ret_value, size_t *ret_length);
/* The same into the caller's buffer; *ret_length is the value's length, also with -EMSGSIZE. */
int virgo_key_read(struct virgo *virgo, const void *key, size_t key_length, void *buffer, size_t buffer_bytes,
		   size_t *ret_length);
/* expire_ms: how long from now the key shall live; 0: for ever. */
int virgo_key_set(struct virgo *virgo, const void *key, size_t key_length, const void *value, size_t length,
		  uint64_t expire_ms, unsigned int flags);
int virgo_key_del(struct virgo *virgo, const void *key, size_t key_length);

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* Cleared memory somewhere in the pool, on the less loaded of two nodes; large allocations are spread over nodes. */
int virgo_malloc(struct virgo *virgo, uint64_t bytes, uint64_t *ret_handle);
int virgo_free(struct virgo *virgo, uint64_t handle);
/* The first `length` bytes. */
int virgo_set(struct virgo *virgo, uint64_t handle, const void *data, size_t length);
int virgo_get(struct virgo *virgo, uint64_t handle, void *data, size_t length);
int virgo_set_range(struct virgo *virgo, uint64_t handle, uint64_t offset, const void *data, size_t length);
int virgo_get_range(struct virgo *virgo, uint64_t handle, uint64_t offset, void *data, size_t length);
/* How many bytes the allocation has. */
int virgo_size(struct virgo *virgo, uint64_t handle, uint64_t *ret_bytes);

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

/* How busy a node said it was. */
struct virgo_load {
	uint32_t in_flight;	     /* requests */
	uint32_t service_ns;	     /* smoothed */
	uint32_t run_queue_delay_ns; /* 0: not measured */
	uint16_t memory_free_permille;
	uint16_t reserved;
};

#define VIRGO_NODE_ANY (~0u)

/* Nodes known by address: the configured ones first, in their order, then those learnt from answers. */
unsigned int virgo_nodes(const struct virgo *virgo);
/* "10.0.0.1:30000"; NULL beyond the last. Valid until virgo_disconnect(). */
const char *virgo_node_address(const struct virgo *virgo, unsigned int node);

/* Ask that node (an index below virgo_nodes()) or any. */
int virgo_ping(struct virgo *virgo, unsigned int node, uint64_t *ret_elapsed_ns, struct virgo_load *ret_load);
/* JSON text from malloc(), zero-terminated: the node's state; the cluster's nodes, partitions and epoch. TCP. */
int virgo_status(struct virgo *virgo, unsigned int node, char **ret_json);
int virgo_topology(struct virgo *virgo, unsigned int node, char **ret_json);
/*
 * Any RESP command over TCP. `lengths` NULL: arguments are zero-terminated. The reply in RESP2 syntax, from malloc(),
 * zero-terminated; a reply that says "-ERR …" is a success here.
 */
int virgo_command(struct virgo *virgo, int count, const char *const *arguments, const size_t *lengths, char **ret_reply,
		  size_t *ret_length);

/* ---- many requests at once ------------------------------------------------------------------------------------- */

enum virgo_operation {
	VIRGO_PING = 1,
	VIRGO_GET,	 /* key */
	VIRGO_SET,	 /* key, data, expire_ms, flags */
	VIRGO_DEL,	 /* key */
	VIRGO_GET_RANGE, /* handle, offset, length */
	VIRGO_SET_RANGE, /* handle, offset, data, length */
	VIRGO_MALLOC,	 /* length */
	VIRGO_FREE,	 /* handle */
	VIRGO_SIZE,	 /* handle */
	VIRGO_COMMAND,	 /* data, length: one command in RESP */
	VIRGO_STATUS,
	VIRGO_TOPOLOGY,
	VIRGO_OPERATION_MAX
};

/* Everything in it is valid during the call of the result function only. */
struct virgo_result {
	int error;	  /* 0 or as above */
	const char *text; /* the node's words about the error, or NULL */
	const void *data; /* value, range, JSON, RESP reply */
	size_t length;
	uint64_t handle;	/* VIRGO_MALLOC */
	uint64_t bytes;		/* VIRGO_SIZE */
	uint64_t elapsed_ns;	/* from submission to answer */
	struct virgo_load load; /* of the node that answered; zero with an error of ours */
	uint16_t node;		/* its number in the cluster; 0xffff: nobody answered */
	uint16_t sends;		/* how often the request was sent */
};

typedef void (*virgo_result_fn)(void *context, const struct virgo_result *result);

struct virgo_request {
	enum virgo_operation operation;
	unsigned int flags; /* VIRGO_IF_ABSENT … */
	unsigned int node;  /* PING, STATUS, TOPOLOGY, COMMAND, MALLOC: index + 1, 0: any; other operations: 0 */
	const void *key;
	size_t key_length;
	const void *data; /* key and data stay in place, unchanged, until the result function is called */
	uint64_t length;
	uint64_t handle, offset;
	uint64_t expire_ms;
	virgo_result_fn fn;
	void *context;
};

/*
 * Take a request; its result function is called exactly once, later, from inside virgo_poll(), virgo_wait() or a
 * synchronous call. 0, -EAGAIN (window full; nothing taken), -EINVAL, -EMSGSIZE. The request may leave only with the
 * next virgo_poll() or virgo_wait(). Requests in flight together are carried out in any order.
 */
int virgo_submit(struct virgo *virgo, const struct virgo_request *request);
int virgo_submit_get(struct virgo *virgo, const void *key, size_t key_length, virgo_result_fn fn, void *context);
int virgo_submit_set(struct virgo *virgo, const void *key, size_t key_length, const void *value, size_t length,
		     virgo_result_fn fn, void *context);

/* Requests in flight. */
unsigned int virgo_pending(const struct virgo *virgo);
/* Deliver what has arrived, without waiting. How many result functions were called. */
int virgo_poll(struct virgo *virgo);
/*
 * Wait until `count` (0: all) requests in flight have their result or `timeout_ms` (-1: no limit but the requests' own)
 * has passed. How many result functions were called; -EINTR when a signal came first and none was.
 */
int virgo_wait(struct virgo *virgo, unsigned int count, int timeout_ms);

/* What the client did; for people, tests and measurements. */
struct virgo_counters {
	uint64_t requests, datagrams_sent, datagrams_resent, datagrams_received;
	uint64_t streams_opened, stream_requests; /* requests that went over TCP */
	uint64_t fell_back;			  /* of these: because UDP did not deliver */
	uint64_t duplicates;			  /* answers to requests that had been answered */
	uint64_t forged;			  /* wrong or missing tag, or not a message: dropped */
	uint64_t redirected;			  /* answers "wrong node" */
	uint64_t too_big;			  /* answers "does not fit the request" */
	uint64_t routes_learnt;
};
void virgo_counters(const struct virgo *virgo, struct virgo_counters *ret_counters);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
