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
 *     -ECANCELED     the job was cancelled       -EHOSTDOWN the worker that ran the function crashed
 *     -EPERM         the node does not allow it  -ENODATA   a part of the job's output is lost
 *     -ETIMEDOUT     no answer in time: a change may or may not have been made
 *     -ECONNRESET    the connection broke after the request was sent: likewise
 *     -EALREADY      the node has seen this request too long ago to know: likewise
 *     -EINVAL        bad argument, or the node calls the request malformed
 *     -EOPNOTSUPP    the node does not know the operation
 *     -EPROTO        an answer that makes no sense   -EREMOTEIO  the node reports an internal error
 *     -EROFS         the node cannot write its log, and refuses changes until it can
 *     -EXDEV         another node's key
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

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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
#define VIRGO_NO_FOLLOW 0x8 /* files: -ELOOP where a path meets a symbolic link, which is not followed */

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
	uint16_t cpu_port;	 /* of the nodes' CPU pools; 0: 10000, or what the cluster's table says */
	/* Whose the jobs are: who says the same may list, signal and attach to them. NULL: this client alone. */
	const char *owner;
	/*
	 * Bytes of values that virgo_key_get() and virgo_key_read() may keep in this process; 0: none. A node tells of
	 * changes over a TCP connection; a value is answered from here only after what has been told was looked at, and
	 * while the node was heard of within a second. Where that is not possible (a password) nothing is kept.
	 */
	size_t near_bytes;
	uint16_t file_port;  /* of the nodes' file pools; 0: 50000, or what the cluster's table says */
	/*
	 * Join the file sessions of that client instead of making new ones: its open files may be used with this one
	 * too (virgo_file.h). It must not be disconnected during the call.
	 */
	struct virgo *share;
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
/* Of a get. */
#define VIRGO_VERSION 0x8 /* tell the value's version, too */

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

/*
 * Compare and set. Every value that was asked for its version has one, which ends with the next change of the value.
 * virgo_get_version: as virgo_key_get; *ret_version is never 0, or 0 where the node had no room to keep one: then no
 * compare-and-set succeeds. virgo_cas: store the value if the key still has that version (0: if there is no key);
 * -EEXIST: it has another one, -ENOENT: there is no key. *ret_version (may be NULL) is the new one. `flags`:
 * VIRGO_KEEP_EXPIRY, else the key has no deadline any more. An answer that was lost may leave open whether it was done
 * (-ETIMEDOUT, -EALREADY): read again.
 */
int virgo_get_version(struct virgo *virgo, const void *key, size_t key_length, void **ret_value, size_t *ret_length,
		      uint64_t *ret_version);
int virgo_cas(struct virgo *virgo, const void *key, size_t key_length, const void *value, size_t length,
	      uint64_t version, unsigned int flags, uint64_t *ret_version);

/* One key of many, and what became of it. */
struct virgo_item {
	const void *key;
	size_t key_length;
	void *value;   /* from malloc(), one zero byte behind it; NULL with an error */
	size_t length;
	int error;     /* 0, -ENOENT … */
};
/*
 * Get many keys: those of one node together, several in a datagram. Fills value, length and error of each item.
 * 0: every item says what became of it; else nothing was asked, and all values are NULL.
 */
int virgo_mget(struct virgo *virgo, struct virgo_item *items, size_t count);

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

/* ---- snapshots ------------------------------------------------------------------------------------------------- */

/*
 * One moment of one node: its keys as they were, while writers go on. A snapshot that is not asked for a minute is
 * ended by the node (-ESTALE from then on), and so is one for which too much was changed. `node` as in virgo_ping(),
 * not any.
 */
#define VIRGO_SNAPSHOT_BACKUP 0x1   /* to be read as bytes, from start to end; else key by key */
#define VIRGO_SNAPSHOT_COMPRESS 0x2 /* the bytes are packed */

int virgo_snapshot_open(struct virgo *virgo, unsigned int node, unsigned int flags, uint64_t *ret_snapshot);
int virgo_snapshot_close(struct virgo *virgo, unsigned int node, uint64_t snapshot);
/* As virgo_key_get(); -EXDEV: the key is another node's. */
int virgo_snapshot_get(struct virgo *virgo, unsigned int node, uint64_t snapshot, const void *key, size_t key_length,
		       void **ret_value, size_t *ret_length);
/*
 * The next bytes of a backup, in memory from malloc(): one after the other they are a snapshot file. 0: these were the
 * last; else about how much is done, in thousandths, plus one.
 */
int virgo_snapshot_read(struct virgo *virgo, unsigned int node, uint64_t snapshot, void **ret_data,
			size_t *ret_length);

#define VIRGO_REPLACE 0x1 /* keys that exist already too */
/*
 * One block of a snapshot file (its header and what follows it; `identity` is the file's) into a node, which stores the
 * keys that are its own.
 */
int virgo_snapshot_load(struct virgo *virgo, unsigned int node, uint64_t identity, const void *block, size_t length,
			unsigned int flags, uint32_t *ret_stored, uint32_t *ret_skipped);

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
	/* What the functions on snapshots do; flags, handle, offset as they say in struct virgo_request. */
	VIRGO_SNAPSHOT_OPEN,  /* offset: flags */
	VIRGO_SNAPSHOT_GET,   /* key; offset: the snapshot */
	VIRGO_SNAPSHOT_READ,  /* handle: the snapshot */
	VIRGO_SNAPSHOT_CLOSE, /* handle: the snapshot */
	VIRGO_SNAPSHOT_LOAD,  /* handle: the identity; offset: flags; data, length: one block */
	VIRGO_CAS,	 /* key, data, version, flags */
	VIRGO_MGET,	 /* data, length: several keys as wire.h lays them out, `offset` of them; see virgo_mget */
	VIRGO_OPERATION_MAX
};

/* Everything in it is valid during the call of the result function only. */
struct virgo_result {
	int error;	  /* 0 or as above */
	const char *text; /* the node's words about the error, or NULL */
	const void *data; /* value, range, JSON, RESP reply */
	size_t length;
	uint64_t handle;	/* VIRGO_MALLOC; VIRGO_CAS: the new version */
	uint64_t bytes;		/* VIRGO_SIZE; VIRGO_GET with VIRGO_VERSION: the version */
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
	uint64_t version;
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

/* ---- jobs: the CPU pool ---------------------------------------------------------------------------------------- */

/*
 * A job runs once, on one node: the least loaded, or what options say. What happens when something breaks:
 *
 *   - A node that is busy, or cannot be reached before the job was sent to it, is left out and another one chosen.
 *   - A connection that breaks is made again, and the job goes on where it was: it has a number on its node, which
 *     keeps what was not taken of its output. A request that is sent again is recognised and starts nothing twice.
 *   - A node that stays away (for virgo_options.timeout_ms), or that has no memory of the job, leaves it undecided: it
 *     may have run or not, and the result is -ECONNRESET. With `retries` the caller says that running it twice does
 *     no harm: then it is started again, on another node if there is one. Output of the lost attempt is not taken back.
 *
 * -ENOENT is here: no such function, program, directory or job; -EALREADY: whether it ran is not known. A program that
 * ends with a status or by a signal is no error.
 */
enum virgo_kind {
	VIRGO_FUNCTION = 0,   /* "function" or "library:function" of an installed plug-in: bytes in, bytes out */
	VIRGO_EXECUTABLE = 1, /* a program: arguments, environment, input and output, exit status */
	VIRGO_KERNEL = 2,     /* "object:program", an installed eBPF program: context in, result and context out */
};

/* virgo_job_options.flags */
#define VIRGO_JOB_INPUT 0x1  /* EXECUTABLE: more standard input comes with virgo_job_write() */
#define VIRGO_JOB_TTY 0x2    /* EXECUTABLE: on a pseudo-terminal; all it writes is standard output then */
#define VIRGO_JOB_DETACH 0x4 /* EXECUTABLE: it goes on alone; the result is there when the node has accepted it */
#define VIRGO_JOB_ISOLATE 0x8 /* EXECUTABLE: no other process, mount or network is seen, nor the machine changed */

struct virgo_job_result;

struct virgo_job_options {
	size_t size;	   /* sizeof(struct virgo_job_options): lets the struct grow */
	const char *node;  /* "10.0.0.1", "10.0.0.1:10000" or a node's number: there alone; NULL: by policy */
	const char *policy; /* "prequal", "leastloaded", "prg", "p2c", "locality"; NULL: prequal */
	unsigned int flags; /* VIRGO_JOB_INPUT … */
	unsigned int retries;	     /* 0: it must not run twice */
	unsigned int priority;	     /* when a node is full: 1 … 255, lower is first; 0: 128 */
	unsigned int timeout_ms;     /* how long it may run; 0: as long as the node lets it */
	unsigned int busy_ms;	     /* how long to look for a node that is not busy; 0: virgo_options.timeout_ms */
	unsigned int cpu_permille;   /* share of a processor: 1500 is one and a half; 0: no limit of ours */
	uint64_t memory_bytes;	     /* 0: no limit of ours */
	const char *const *arguments;	/* EXECUTABLE: those behind its name, NULL at the end; or NULL */
	const char *const *environment; /* EXECUTABLE: all of it, "NAME=value", NULL at the end; NULL: the node's */
	const char *directory;		/* EXECUTABLE: where; NULL: where the node likes */
	unsigned short rows, columns;	/* of the pseudo-terminal */
	/*
	 * What it writes, as it comes: stream 1 or 2. Called from inside virgo_poll(), virgo_wait() and synchronous
	 * calls. The bytes are valid during the call; the node sends no more than its window until it returns, so
	 * that a slow reader slows the job. It may not free the job. NULL: all output is kept for the result.
	 */
	void (*output)(void *context, int stream, const void *data, size_t length);
	/* It has ended: called once, from the same places; may free the job and start others. Or NULL. */
	void (*ended)(void *context, const struct virgo_job_result *result);
	void *context;
};

struct virgo_job_result {
	int error;	  /* 0: it ran to its end, whatever that was */
	const char *text; /* words about the error, or NULL */
	int status;	  /* EXECUTABLE: its exit status; FUNCTION, KERNEL: what it returned */
	int signal;	  /* EXECUTABLE: that ended it, or 0 */
	bool timed_out;	  /* ended because its time was up */
	unsigned int attempts;
	uint64_t job;	  /* its number on the node; 0: it has none */
	const char *node; /* "10.0.0.1:10000"; NULL: none was found */
	/* FUNCTION, KERNEL: what came back. EXECUTABLE: what it wrote, if the options had no `output`. */
	const void *data, *errors;
	size_t length, errors_length;
	uint64_t elapsed_ns;	    /* from its submission to its result here */
	uint64_t queued_ns, run_ns; /* on the node: before it ran, and while */
	uint64_t user_ns, system_ns;
	uint64_t memory_bytes; /* the most it used */
};

/*
 * Run and wait for the end. `argument`: for a function its argument, for a kernel program its context, for an
 * executable its standard input. `options` may be NULL. 0, and the result, whose data and errors, one zero byte behind
 * each, are the caller's: virgo_job_result_free(). Else an error, which is also in ret_result->error, and the words
 * about it in virgo_error_text().
 */
int virgo_clone(struct virgo *virgo, enum virgo_kind kind, const char *name, const void *argument, size_t length,
		const struct virgo_job_options *options, struct virgo_job_result *ret_result);
void virgo_job_result_free(struct virgo_job_result *result);

/*
 * The same without waiting: a handle to ask, to be given back with virgo_job_free(). Everything passed is copied. 0,
 * -EINVAL, -EMSGSIZE, -ENOMEM, -EADDRNOTAVAIL (options.node).
 */
struct virgo_job;
int virgo_clone_start(struct virgo *virgo, enum virgo_kind kind, const char *name, const void *argument, size_t length,
		      const struct virgo_job_options *options, struct virgo_job **ret_job);
/* Stay with a job that is there already, from the first byte of output that its node still has. */
int virgo_job_attach(struct virgo *virgo, const char *node, uint64_t number, const struct virgo_job_options *options,
		     struct virgo_job **ret_job);
/* NULL: it has not ended. Valid until virgo_job_free(). */
const struct virgo_job_result *virgo_job_result(const struct virgo_job *job);
/* Until it has ended, at most so long (-1: no limit). 0, -ETIMEDOUT, -EINTR, -EDEADLK. */
int virgo_job_wait(struct virgo_job *job, int timeout_ms);
/* Its number on its node, 0 before the node has accepted it; where it is or was last. */
uint64_t virgo_job_number(const struct virgo_job *job);
const char *virgo_job_node(const struct virgo_job *job);
/* Whether its node has accepted it, and we are connected to it now. */
bool virgo_job_attached(const struct virgo_job *job);
/* How many bytes of input virgo_job_write() takes now; how many it took, or -EPIPE: there is nobody to read them. */
size_t virgo_job_room(const struct virgo_job *job);
ssize_t virgo_job_write(struct virgo_job *job, const void *data, size_t length);
/* The end of its input, behind what was written. */
int virgo_job_end_input(struct virgo_job *job);
/* A signal for it; 0: cancel it, whatever state it is in. Its result says what became of it. */
int virgo_job_kill(struct virgo_job *job, int signal);
int virgo_job_resize(struct virgo_job *job, unsigned short rows, unsigned short columns);
/* Give the handle back. A job that has not ended is cancelled, unless it is detached. Accepts NULL. */
void virgo_job_free(struct virgo_job *job);

/* Jobs that have not ended. */
unsigned int virgo_jobs_running(const struct virgo *virgo);
/*
 * The jobs a node knows, as JSON from malloc(): [{"job":"1a2b…","state":"running","name":"sleep",…},…]. `node` as in
 * the options; NULL: the first.
 */
int virgo_jobs(struct virgo *virgo, const char *node, char **ret_json);
/* Signal a job that this client has no handle of; 0: cancel it. */
int virgo_jobs_kill(struct virgo *virgo, const char *node, uint64_t number, int signal);
/* The CPU pool of that node (an index below virgo_nodes()), or NULL: it has none. Valid until virgo_disconnect(). */
const char *virgo_cpu_node(struct virgo *virgo, unsigned int node);
/* How busy a CPU pool is: in_flight are the jobs that run or wait. */
int virgo_cpu_load(struct virgo *virgo, const char *node, struct virgo_load *ret_load);

/*
 * For loops of one's own: what to wait for with poll(2), and how long at most; then call virgo_poll(). How
 * many there are; those beyond `count` are left out.
 */
int virgo_descriptors(struct virgo *virgo, struct pollfd *descriptors, unsigned int count, int *ret_timeout_ms);

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
	uint64_t near_hits, near_misses;	  /* reads answered from near_bytes, and those that were not */
	uint64_t near_invalidated;		  /* messages that something of it has changed */
};
void virgo_counters(const struct virgo *virgo, struct virgo_counters *ret_counters);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#include "virgo_file.h"

#endif
