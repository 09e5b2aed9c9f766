/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file pool inside. One instance a node, one thread; what may block runs on helper threads of the ring (io.h).
 *
 *   file.c        the service               operation.c   the table, and what each request passes through
 *   binary.c      VIRGO on streams          answer.c      how a request ends
 *   text.c        the original's text       op.c          requests in flight, their memory, back pressure
 *   session.c     clients, connections      descriptor.c  open files
 *   name.c list.c names of this node        disk.c        system calls that block
 *   path.c        the wire's words          data.h tree.h hold.h  what stands on this: bytes, many nodes, locks …
 *
 * Life of a request. A face (binary.c, text.c) makes a struct vg_file_op and calls vg_op_start. operation.c checks
 * what the table says, then asks in this order: retry (was it done before?), export (may this client?), tree (is
 * it here?), quota (is there room?); then the operation's `run` is called. It either answers at once, or calls
 * vg_op_keep, goes asynchronous and answers later; exactly one of vg_op_ok, vg_op_fail, vg_op_wrong_node ends it.
 *
 * Everything here is the loop thread's, but functions given to vg_op_work: those run on a helper thread and see the op,
 * which nobody else touches meanwhile, constants of the pool, and their descriptor's fd.
 */
#ifndef VG_SVC_FILE_FILE_H
#define VG_SVC_FILE_FILE_H

#include <sys/stat.h>

#include "svc/file/buffers.h"
#include "svc/svc.h"
#include "virgo/figures.h"
#include "virgo/file.h"

struct vg_file_pool;
struct vg_file_op;

#define VG_FILE_IN_FLIGHT_MAX 256   /* of one connection: past it, its input waits */
#define VG_FILE_PARKED_MAX 128	    /* of them such as may wait for ever (locks): past it ENOLCK */
#define VG_FILE_LINK_BYTES_MAX (16u << 20) /* memory of one connection's requests and answers */
#define VG_FILE_STALL_NS 5000000000ull /* who reads nothing for so long while others wait for memory is cut */
#define VG_FILE_WAKE_MAX 64 /* connections that wait and are woken in one tick */
#define VG_FILE_CLIENTS_MAX 4096
#define VG_FILE_TARGET_MAX 512	    /* of a stub's symbolic link */
#define VG_FILE_NODE_SHIFT 52	    /* of a descriptor: node (12 bits), generation (28), slot (24) */
#define VG_FILE_SLOT_BITS 24

/* ---- who asks -------------------------------------------------------------------------------------------------- */

/* What a key opens: the whole root, or a directory of it. exports[0]: the cluster's key, the whole root. */
struct vg_file_export {
	const __u64 *key;   /* NULL: no key is needed */
	const char *prefix; /* the pool's path that its root is, "" or "a/b" */
	__u32 prefix_length;
	bool read_only;
};

/* What FILE_SESSION makes: one client's descriptors, locks, watches, on this node. */
struct vg_file_client {
	struct vg_file_pool *pool;
	__u64 id; /* the session's number; 0: the place is free */
	__u8 secret[16];
	const struct vg_file_export *export;
	__u64 lease_ns, lost_ns; /* lost_ns: when its last connection was lost; 0: it has one */
	struct vg_file_link *links;
	__u32 link_count, refs; /* refs: ops that name it */
	struct vg_file_client *next; /* free places; text clients */
	bool ended;		/* released; the place is free when refs are gone */
	char text_peer[64];	/* a client of the text face: the address it is known by; else empty */
	__u64 text_next;	/* its next descriptor's number */
	struct vg_file_far *far; /* far.c's: files it has open at other nodes */
	struct vg_file_descriptor *descriptors;
	__u32 descriptor_count;
	/* hold.h: each module's own, NULL at first. */
	void *locks, *watches, *retries;
};

/* A connection. Lives until it is closed and its last op is gone. */
struct vg_file_link {
	struct vg_file_pool *pool;
	struct vg_session_ref session;
	const struct vg_file_export *export;
	struct vg_file_client *client; /* NULL: no FILE_SESSION yet */
	struct vg_file_link *next;     /* of the client's */
	__u64 wire_client;	       /* who sent FILE_SESSION */
	__u32 refs;		       /* ops that name it */
	__u32 in_flight, parked;       /* unanswered */
	__u64 bytes;		       /* charged: requests and answers in memory */
	__u64 out_bytes, moved_ns;     /* unread answers when it last looked, and since when */
	bool gone;		       /* closed, or cut: another has taken its place */
	bool paused;		       /* by us, because of its bounds */
	bool text_busy;		       /* of text: a request is under way */
	bool waiting;		       /* for memory or an op, in pool->waiting */
	struct vg_file_link *next_waiting;
	/* The stream: a large body being received, or skipped. */
	struct vg_file_op *receiving;
	__u32 received;
	__u64 skip;
};

/* A file that is open, once however often it is. */
struct vg_file_inode {
	struct vg_file_inode *next; /* of its chain; free places */
	__u64 device, number;
	__u32 refs; /* descriptors */
	/* Each module's own; zero at first. */
	void *sync, *quota;
};

/* An open file of a client. */
struct vg_file_descriptor {
	struct vg_file_client *client; /* NULL: the place is free */
	struct vg_file_descriptor *next, **link; /* of the client's; free places */
	int fd;
	__u16 flags;	  /* VG_FILE_O_* it was opened with */
	bool closed;	  /* has no number any more; lives until refs are gone */
	__u32 generation; /* 28 bits */
	__u32 refs;	  /* ops that name it */
	__u32 mode;	  /* type and permissions when it was opened */
	__u32 slot;
	__u64 text_number; /* of the text face */
	struct vg_file_inode *inode;
	/* data.c's: changes in flight in their order; what of an error of writing back it was told. */
	struct vg_file_op *changes_first, *changes_last;
	__u32 sync_errors_seen;
	bool synced, was_read;
};

/* ---- a request in flight --------------------------------------------------------------------------------------- */

struct vg_file_answer {
	__u64 ident, argument;
	__u16 flags; /* VG_FILE_*, in the header's partition */
	const void *body; /* copied by vg_op_ok; but lent, if it is in op->buffer and large */
	__u32 body_length;
};

/*
 * name.c's own: results of work on a helper thread. For quota.c too: `created`: a file that was not there before;
 * `stat`: what it made or changed, `before`: what it took away or was before (stx_mask 0: nothing, or not looked at).
 */
struct vg_file_name_work {
	int flags;
	__u32 mode, length;
	bool created;
	__u64 cursor;
	const void *text; /* in op->buffer */
	struct statx stat, before;
	char attribute[VG_FILE_NAME_MAX + 1];
};

/* data.c's: where a change is among those of its descriptor. */
struct vg_file_order {
	__u64 start, end;
	__u32 blockers;
	bool change, listed;
	void (*go)(struct vg_file_op *op);
	struct vg_file_op *next_ready;
};

struct vg_file_op {
	struct vg_file_pool *pool;
	const struct vg_file_operation *operation;
	/* Who asks. client is NULL when another node does (forwarded). */
	struct vg_file_link *link;
	struct vg_file_client *client;
	const struct vg_file_export *export;
	struct vg_session *session; /* during run only, NULL later: vg_op_session */
	/* What: the header's fields in host order. */
	__u8 opcode, status;
	bool padded; /* text: as the original's clients want it */
	bool forwarded, text, local; /* local: made by tree.c: no retry, no tree; `ended` is called */
	__u16 source_node;
	__u16 flags;		  /* VG_FILE_*: the request's partition */
	__u64 wire_client, sequence; /* names the request */
	__u64 ident, argument;
	const __u64 *key; /* its tag's, and its answer's; NULL: none */
	struct vg_file_descriptor *descriptor; /* of ident, if the operation takes one: a reference */
	const __u8 *key_bytes; /* as it came, during run only */
	__u32 key_length;
	/*
	 * Paths of the pool (export's prefix and all), NUL behind them, owned by the op; "" is the root. `other`: the
	 * second one, of RENAME and LINK.
	 */
	char *path, *other;
	__u32 path_length, other_length;
	/* In the input, until vg_op_keep copies it to `buffer` (large ones are received there). */
	const __u8 *body;
	__u32 body_length;
	bool kept, parked, answered;
	bool far;     /* far.c's */
	bool begun;   /* past the checks: it runs, or tree.c has it */
	bool remembered; /* retry.c's: vg_retry_end is called */
	bool quoted;  /* quota.c's: vg_quota_settle is called */
	bool ordered; /* data.c's: vg_bytes_end is called */
	__u32 holds;  /* who names it: its life until it is answered, and outputs that it has lent bytes to */
	/* Page-aligned memory, freed with the op. */
	__u8 *buffer;
	__u32 buffer_bytes;
	__u64 charged; /* to the link and the pool */
	__u64 started_ns;
	struct vg_file_answer answer;
	struct vg_file_stat packed; /* vg_op_answer_stat's */
	/* In flight: vg_op_work's and io's. */
	int (*work)(struct vg_file_op *op);
	void (*done)(struct vg_file_op *op, int result);
	void (*ended)(struct vg_file_op *op, int error); /* of a local op, instead of an answer */
	vg_io_op io_op;
	struct vg_file_order order;
	/* A module's list while it is in one: data.c's while order.listed, else whose it is the module says. */
	struct vg_file_op *next, *previous;
	/* Each stage's own; zero at first. */
	struct {
		__u64 which, bytes, files;		/* reserved, and of whom */
		struct vg_file_descriptor *descriptor;	/* or by the account of that file */
		bool none_more;				/* files: it may open what is there; ENOENT is EDQUOT */
	} quota;
	void *retry, *tree;
	union { /* the operation's own; zero at first */
		struct vg_file_name_work name;
		struct vg_file_statfs statfs;
		__u64 words[104];
	} own;
	struct vg_file_op *next_free;
	char *names_got[4];
	__u32 names_used, names_got_count;
	/* Not cleared from here on. */
	char names[512];	       /* short paths; long ones are got */
	char target[VG_FILE_TARGET_MAX]; /* -EREMOTE: what the stub says, NUL behind it */
};

/* What an operation needs, and is. */
#define VG_FILE_NEEDS_KEY 0x0001	/* a path, which may be the root's */
#define VG_FILE_NEEDS_NAME 0x0002	/* a path that is not */
#define VG_FILE_NEEDS_IDENT 0x0004	/* a descriptor; together with KEY: one of them */
#define VG_FILE_NEEDS_OTHER 0x0008	/* the body is a second path, not the root's */
#define VG_FILE_NEEDS_READ 0x0010	/* a descriptor open for it: EBADF else */
#define VG_FILE_NEEDS_WRITE 0x0020
#define VG_FILE_CHANGES 0x0040		/* refused read-only (OPEN: vg_op_changes) */
#define VG_FILE_GROWS 0x0080		/* may need room: quota is asked */
#define VG_FILE_NO_CLIENT 0x0100	/* needs no session */
#define VG_FILE_NODES_ONLY 0x0200	/* between nodes */
#define VG_FILE_FORWARDABLE 0x0400	/* a node may ask it of another: without a session */
#define VG_FILE_REMEMBERED 0x0800	/* so that a retry is answered, not repeated */

struct vg_file_operation {
	void (*run)(struct vg_file_op *op);
	__u32 needs;
	__u32 body_min, body_max;
	__u32 answer_max; /* memory its answer may need: reserved beforehand; a vg_file_span may say less */
};

/* operation.c: every operation has its line in the table there. NULL: there is none. */
const struct vg_file_operation *vg_file_operation(__u8 opcode);
/* Check and run a new op, which is the callee's from now on. op->session is set. */
void vg_op_start(struct vg_file_op *op);
/* The rest of vg_op_start, from behind the named stage on: for a module that took the op there. */
void vg_op_run(struct vg_file_op *op);	    /* behind the tree: quota, and op->operation->run */
void vg_op_after_retry(struct vg_file_op *op); /* also how a local op begins */
void vg_op_after_quota(struct vg_file_op *op);
/* Whether it changes something: OPEN does with CREATE or TRUNCATE only. */
bool vg_op_changes(const struct vg_file_op *op);

/* ---- answer.c: how it ends ------------------------------------------------------------------------------------- */

/* The answer is op->answer. */
void vg_op_ok(struct vg_file_op *op);
/*
 * -errno. tree.c is told first, if the op is by path and has begun, and may take it over: -EREMOTE: its last component
 * is a stub (op->target says of what); ENOENT, ENOTDIR: perhaps the copy of a directory is missing.
 */
void vg_op_fail(struct vg_file_op *op, int error);
void vg_op_wrong_node(struct vg_file_op *op, __u16 node, bool at_home);
void vg_op_refuse(struct vg_file_op *op, enum vg_status status, const char *text); /* not an errno */
/* Again what was answered before (retry.c), whatever it was. `body` is copied; errors: text is made from argument. */
void vg_op_repeat(struct vg_file_op *op, enum vg_status status, const struct vg_file_answer *answer);
/*
 * An answer with a body that is made in place, behind its header, without a copy: room for `bytes`
 * (≤ VG_FILE_IN_PLACE_MAX) in the connection's output, or NULL: not now (no memory, or it is not during run). Then
 * nothing else may touch the session until vg_op_ok_in_place with what there is (it ends the op), or another ending.
 */
#define VG_FILE_IN_PLACE_MAX (VG_OUT_CHUNK_BYTES - 128)
void *vg_op_in_place(struct vg_file_op *op, __u32 bytes);
void vg_op_ok_in_place(struct vg_file_op *op, __u32 bytes);
/*
 * A message that answers nothing: FILE_EVENT, to the client's connection whose FILE_SESSION had this wire_client.
 * False: it has none just now, or its output is full.
 */
bool vg_file_tell(struct vg_file_client *client, __u64 wire_client, __u8 opcode, __u64 ident, const void *body,
		  __u32 length);
/* "ENOENT: No such file or directory" → buffer; returns its length. */
int vg_file_error_text(int error, char *buffer, size_t bytes);

/* ---- op.c: requests in flight ---------------------------------------------------------------------------------- */

int vg_ops_init(struct vg_file_pool *pool);
void vg_ops_deinit(struct vg_file_pool *pool); /* and all tables, unless some op is under way */
/* NULL: too many, or no room for `bytes` of memory that it will need. */
struct vg_file_op *vg_op_new(struct vg_file_link *link, __u64 bytes);
/* After that: the link's input waits, and is resumed when there is room. */
void vg_link_wait(struct vg_file_link *link, struct vg_session *session, __u64 bytes);
void vg_link_unwait(struct vg_file_link *link);
void vg_links_wake(struct vg_file_pool *pool, int most); /* so many that wait, if there is room */
/*
 * One of the node's own, which nobody waits for: `ended` is called instead of an answer (error: 0 or -errno, op->answer
 * is filled in, gone after the call). Paths, arguments, body are the caller's to set; start it with vg_op_after_retry.
 * NULL: no memory.
 */
struct vg_file_op *vg_op_new_local(struct vg_file_pool *pool, __u8 opcode,
				   void (*ended)(struct vg_file_op *op, int error));
/* Paths, copied: the export's prefix and `path` joined, instead of what was there. 0, -ENAMETOOLONG, -ENOMEM. */
int vg_op_set_path(struct vg_file_op *op, const struct vg_file_export *export, const void *path, __u32 length);
/* The key as it came, for an op whose body is still to come. */
int vg_op_set_key(struct vg_file_op *op, const void *key, __u32 length);
int vg_op_set_other(struct vg_file_op *op, const struct vg_file_export *export, const void *path, __u32 length);
/* More memory than was charged when it was made. False: that would be too much now, for its link or for all. */
bool vg_op_charge(struct vg_file_op *op, __u64 bytes);
/* It outlives run: the body is copied. 0, or -ENOMEM: the op has failed and is gone. */
int vg_op_keep(struct vg_file_op *op);
/*
 * op->buffer of `bytes`, page-aligned; freed when the op's answer has been sent. -ENOMEM: none. Once an op: a body that
 * is kept is in op->buffer already, so take what you need of it first, and set body_length to 0.
 */
int vg_op_buffer(struct vg_file_op *op, __u32 bytes);
/* Run `work` on a helper thread, then `done` with its result here. Keeps the op. -EBUSY comes as a result too. */
void vg_op_work(struct vg_file_op *op, int (*work)(struct vg_file_op *op),
		void (*done)(struct vg_file_op *op, int result));
/* The same for what takes long by its nature (syncs, copies): the loop never does it itself (vg_io_call_brief). */
void vg_op_work_long(struct vg_file_op *op, int (*work)(struct vg_file_op *op),
		     void (*done)(struct vg_file_op *op, int result));
/* It may wait for ever: its connection may end meanwhile (vg_op_gone). 0, or -ENOLCK: there are too many of those. */
int vg_op_park(struct vg_file_op *op);
/* Its connection, NULL if that is gone: nobody waits for the answer, but retry.c's memory. */
struct vg_session *vg_op_session(struct vg_file_op *op);
/* From now on its answer goes to this link, as an answer to that request (a retry came while it was under way). */
void vg_op_move(struct vg_file_op *op, struct vg_file_link *link, __u64 wire_client, __u64 sequence);
/* answer.c alone: it has been answered, and is freed now, or when what it lent has been sent. */
void vg_op_end(struct vg_file_op *op);
void vg_op_lend(struct vg_file_op *op);
void vg_op_release(void *op); /* of vg_out_lend */

/* ---- session.c ------------------------------------------------------------------------------------------------- */

int vg_clients_init(struct vg_file_pool *pool);
void vg_clients_deinit(struct vg_file_pool *pool);
struct vg_file_link *vg_link_of(struct vg_session *session); /* made with the first input; NULL: no memory */
void vg_link_closed(struct vg_session *session);
void vg_link_put(struct vg_file_link *link); /* a reference less */
void vg_client_put(struct vg_file_client *client);
void vg_session_run(struct vg_file_op *op); /* FILE_SESSION */
void vg_session_end_run(struct vg_file_op *op); /* FILE_END */
/* The session of a text client at that address; NULL: too many. */
/* The session of another node, on its link: of what it opens for others. Without memory the link stays without. */
void vg_client_of_node(struct vg_file_link *link, __u16 node);
struct vg_file_client *vg_client_of_text(struct vg_file_link *link, const char *address);
/* Release everything it holds. */
void vg_client_end(struct vg_file_client *client);
/* Each tick of VG_FILE_TICK_NS while there are clients: leases. */
#define VG_FILE_TICK_NS 250000000ull

/* ---- descriptor.c ---------------------------------------------------------------------------------------------- */

int vg_descriptors_init(struct vg_file_pool *pool);
void vg_descriptors_deinit(struct vg_file_pool *pool);
/* Takes `fd` over, whatever comes of it: -EMFILE (of this client), -ENFILE (of all). */
int vg_descriptor_new(struct vg_file_client *client, int fd, __u16 flags, const struct statx *stat,
		      struct vg_file_descriptor **ret_descriptor);
/* The client's open file of this number: -EBADF; -ESTALE: of another life, or another node's. No reference. */
int vg_descriptor_find(const struct vg_file_client *client, __u64 ident, struct vg_file_descriptor **ret_descriptor);
__u64 vg_descriptor_ident(const struct vg_file_descriptor *descriptor);
void vg_descriptor_close(struct vg_file_descriptor *descriptor); /* its number is free; its fd when nobody uses it */
/* NULL: it is not open. */
struct vg_file_inode *vg_inode_find(struct vg_file_pool *pool, __u64 device, __u64 number);
void vg_descriptor_ref(struct vg_file_descriptor *descriptor);
void vg_descriptor_put(struct vg_file_descriptor *descriptor);

/* ---- path.c ---------------------------------------------------------------------------------------------------- */

/* What stat(2) said as the wire says it. */
void vg_file_stat_pack(const struct vg_file_pool *pool, const struct statx *stat, struct vg_file_stat *ret_stat);
/* op->answer: this stat as body, kept in the op. */
void vg_op_answer_stat(struct vg_file_op *op, const struct statx *stat);
/*
 * Flags of open(2) for VG_FILE_O_*, without CREATE and EXCLUSIVE, which name.c does, and APPEND and SYNC, which data.c
 * does; -EINVAL: not such flags.
 */
int vg_file_open_flags(__u16 flags);
/* Permissions that may be given to a file here: the set-id bits only with --file-ids. */
__u32 vg_file_mode(const struct vg_file_pool *pool, __u32 mode);

/* ---- the pool -------------------------------------------------------------------------------------------------- */

struct vg_file_pool {
	struct vg_env *env;
	const struct vg_file_settings *settings;
	int root_fd; /* the export root's directory: constant */
	__u16 self;  /* this node */
	bool alone;  /* a cluster of one */
	__u64 life;
	struct vg_file_export *exports;
	__u32 export_count;
	struct vg_file_client *client; /* VG_FILE_CLIENTS_MAX */
	struct vg_file_client *client_free, *text_clients;
	__u32 clients;
	struct vg_file_descriptor *descriptor; /* settings->descriptors */
	struct vg_file_descriptor *descriptor_free;
	struct vg_file_inode *inode, *inode_free; /* as many */
	struct vg_file_inode **inodes;		  /* by device and number */
	__u32 inode_buckets;			  /* a power of two */
	struct vg_file_op *op, *op_free; /* VG_FILE_OPS_MAX */
	__u32 ops, ops_touched;
	__u64 bytes; /* charged, of settings->memory_bytes */
	struct vg_buffers buffers;
	struct vg_file_link *waiting_first, *waiting_last;
	bool stopping, ticking;
	void *memory[4]; /* that the tables are in */
	struct vg_file_counts counts;
	/* Each module's own. */
	void *data, *tree, *locks, *watches, *retries, *quotas;
};

static inline struct vg_file_pool *vg_file_pool(const struct vg_env *env)
{
	return env->services[VG_SERVICE_FILE];
}

static inline void *vg_file_alloc(struct vg_file_pool *pool, size_t bytes)
{
	return pool->env->mem->alloc(pool->env->mem->context, bytes);
}

static inline void vg_file_free(struct vg_file_pool *pool, void *memory)
{
	if (memory)
		pool->env->mem->free(pool->env->mem->context, memory);
}

/* ---- faces ----------------------------------------------------------------------------------------------------- */

ssize_t vg_file_binary_input(struct vg_session *session, const __u8 *data, size_t length);
ssize_t vg_file_text_input(struct vg_session *session, const __u8 *data, size_t length);
void vg_file_text_answer(struct vg_file_op *op, struct vg_session *session, enum vg_status status, int error);

#endif
