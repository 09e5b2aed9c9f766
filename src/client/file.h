/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files of the pool inside the client. Everything is made of requests to one node each; what waits is the public call,
 * never what is in here.
 *
 *   file_node.c   which file pools there are, beginning and end
 *   file_link.c   a node's link: the session, requests in flight, sent again after a lost connection
 *   file_call.c   a request about a path: finds the node, follows what nodes and symbolic links say
 *   file_path.c   paths as bytes; walking symbolic links
 *   file_open.c   opening and closing, also of striped files     file_data.c   reading and writing, in pieces
 *   file_io.c     the public calls on open files                 file_name.c   the public calls on names
 *   file_list.c   what asks all nodes                            file_small.c  whole files
 *   file_handle.c what else is done to open files                file_lock.c   locks
 *   file_watch.c  watches
 *
 * Several struct virgo may share sessions: then they share one struct vg_remote_pool, the only thing here that several
 * threads touch; what changes in it is under its lock. Everything else belongs to one struct virgo, one thread.
 */
#ifndef VG_CLIENT_FILE_H
#define VG_CLIENT_FILE_H

#include <pthread.h>

#include "client/link.h"
#include "virgo/file.h"

#define VG_REMOTE_BODY_MAX (VG_FILE_DATA_MAX + 8192) /* of any answer */
#define VG_REMOTE_BUCKETS 256
#define VG_REMOTE_REDIRECTS_MAX 4
#define VG_REMOTE_SYMLINKS_MAX 40 /* as open(2) */
#define VG_REMOTE_CHUNK_BYTES (512u << 10) /* of a long transfer */
#define VG_REMOTE_CHUNKS_MAX 16		   /* of a transfer in flight at once */
#define VG_REMOTE_ANSWER_FACTOR 12	   /* a live node that does not answer within so many time-outs never will */
#define VG_REMOTE_STRIPE_UNIT (1u << 20)

/* ---- shared by those who share sessions */

/* A node's file pool. */
struct vg_remote_home {
	union vg_address address;
	socklen_t address_length;
	unsigned int index;
	/* Under the pool's lock. */
	__u64 session; /* 0: none yet */
	__u8 secret[16];
	__u32 generation; /* counts sessions; the descriptors of another one are gone */
};

struct vg_remote_pool {
	pthread_mutex_t lock;
	unsigned int users; /* struct virgo */
	unsigned int count;
	struct vg_remote_home *homes[VG_CLIENT_PEERS_MAX]; /* once set never changed */
};

/* ---- one client's */

struct vg_remote_request;
struct vg_remote_call;

/* Our connection to a node's file pool. */
struct vg_remote_node {
	struct virgo *v;
	struct vg_remote_home *home;
	struct vg_link *link;
	bool joined, ever_joined;
	bool down;     /* it was given up: the next attempt decides at once */
	__u64 session; /* that it is in, or that it asked to join, 0: a new one */
	__u32 generation;
	__u32 in_flight, in_flight_max;
	struct vg_remote_request *first, *last; /* in the order of their submission; those sent come first */
	struct vg_remote_request *unsent;	/* the first that has not left on this connection; NULL: none */
	__u64 lost_ns; /* since when there is no connection though one was wanted; 0: there is */
	__u64 session_sequence;
};

struct vg_remote_request {
	struct vg_remote_request *next, *before; /* of its node's */
	struct vg_remote_request *bucket;
	struct vg_remote_node *node; /* NULL: not in flight */
	__u8 opcode;
	bool change;   /* must not be made twice */
	bool endless;  /* may be answered at any time: a lock that waits */
	bool sent;     /* on this connection */
	bool was_sent; /* on any */
	bool grow;     /* the answer's body, behind its front, is wanted in memory from malloc(): the caller's */
	bool grown;    /* `into` is such memory */
	__u16 flags;   /* VG_FILE_*, host order */
	__u32 generation;      /* of the session of its descriptor; 0: it has none */
	__u32 sent_generation; /* of the session in which it was sent first */
	__u64 sequence, ident, argument;
	const void *key, *body; /* stay in place */
	__u32 key_length, body_length;
	__u64 submitted_ns, due_ns;
	/* Where the body of a good answer goes: first to `front`, the rest to `into`. */
	__u32 front_bytes, into_bytes;
	void *into;
	/* The answer. */
	int error; /* 0, negative errno, or VG_REMOTE_WRONG_NODE */
	__u16 answer_flags, answer_node;
	__u64 answer_ident, answer_argument;
	const __u8 *answer; /* the body behind the front: valid during done(), unless it is in `into` or grown */
	__u32 answer_length;
	void (*done)(struct vg_remote_request *request);
	void *context;
	struct vg_remote_node *asked; /* the node it was submitted to last */
	__u8 front[128] __attribute__((aligned(8)));
	__u8 small[64] __attribute__((aligned(8))); /* a short body of the request may be here */
};
#define VG_REMOTE_WRONG_NODE 1 /* answer_argument: of which node; answer_flags: VG_FILE_AT_HOME */

/* For a node of which only the number is known: the cluster's table has its address. VG_NODE_NONE: for the table. */
struct vg_remote_search {
	struct vg_remote_search *next;
	__u32 number;
	__u64 deadline_ns;
	void (*found)(struct vg_remote_search *search, int error); /* 0, -EHOSTDOWN, -ECANCELED */
	void *context;
};

/* A request about a path, to whoever knows. */
struct vg_remote_call {
	struct vg_remote_request request;
	struct virgo *v;
	struct vg_remote_search search;
	bool follow;		     /* a symbolic link at the end of the path, too */
	bool walked;		     /* since the path was last changed */
	bool plain;		     /* symbolic links are no concern of it */
	bool anywhere;		     /* asked of a node that is as good as any */
	bool missed;		     /* its home did not know it: the name node was asked again */
	__u8 redirects, symlinks, tries;
	__u32 other; /* its name node is down: the number of the node that is asked for its copy, + 1 */
	char *path, *second;	   /* checked; malloc. second: of RENAME, LINK: the body */
	__u32 length, second_length;
	struct vg_remote_walk *walk;
	int before_walk; /* what was said before the walk */
	void (*done)(struct vg_remote_call *call);
	void *context;
	int result; /* 0 or negative errno */
};

/* What struct virgo has of files. */
struct vg_remotes {
	struct vg_remote_pool *pool;
	struct vg_remote_node *nodes[VG_CLIENT_PEERS_MAX]; /* by the index of the home */
	struct vg_remote_node *node_of[VG_NODES_MAX];	   /* by the number in the cluster */
	struct vg_remote_request *buckets[VG_REMOTE_BUCKETS];
	struct vg_remote_request *ended;   /* their done() is owed, `next` links them */
	struct vg_remote_request *delayed; /* for a node that was busy; `next` links them */
	struct vg_remote_search *searches;
	bool ending;			   /* of the client: nobody is told anything any more */
	struct vg_remote_transfer *transfers_free;
	struct virgo_watch *watches;
	unsigned int cluster_nodes; /* how many there are, as a node said; 0: not known */
	unsigned int pending;	    /* submitted by users */
	unsigned int turn;
	bool table_asked; /* for the ports of file pools that are not where they usually are */
};

static inline __u64 vg_load_be64(const void *at)
{
	__be64 number;

	__builtin_memcpy(&number, at, sizeof(number));
	return VG_BE64TOH(number);
}

extern const struct vg_link_user vg_remote_links;

/* ---- file_node.c */
int vg_remotes_new(struct virgo *v, struct virgo *share);
void vg_remotes_end(struct virgo *v); /* says good-bye to sessions nobody else shares */
/* The node at this address; NULL: -ENOMEM. */
struct vg_remote_node *vg_remote_node_at(struct virgo *v, const union vg_address *address, socklen_t length);
struct vg_remote_node *vg_remote_node_home(struct virgo *v, struct vg_remote_home *home);
/* Whose file pool this peer has; NULL: none, or -ENOMEM. */
struct vg_remote_node *vg_remote_node_peer(struct virgo *v, const struct vg_peer *peer);
/* By its number; NULL: its address is not known. */
struct vg_remote_node *vg_remote_node_number(struct virgo *v, __u32 number);
/* Any that works, or might. */
struct vg_remote_node *vg_remote_node_any(struct virgo *v);
bool vg_remote_node_is_down(const struct vg_remote_node *node, __u64 now_ns);
/* Words for virgo_error_text(); NULL: the usual ones. Returns `error`. */
int vg_remote_explain(struct virgo *v, int error, const char *text);

/* ---- file_link.c */
/* Its done() is called once, later. */
void vg_remote_submit(struct vg_remote_node *node, struct vg_remote_request *request);
void vg_remotes_run(struct virgo *v, __u64 now_ns);
void vg_remotes_cancel(struct virgo *v);

/* ---- file_call.c */
void vg_remote_call_init(struct vg_remote_call *call, struct virgo *v, __u8 opcode);
/* The path as the caller wrote it: 0 or negative errno. */
int vg_remote_call_path(struct vg_remote_call *call, const char *path);
int vg_remote_call_second(struct vg_remote_call *call, const char *path);
void vg_remote_call_start(struct vg_remote_call *call, void (*done)(struct vg_remote_call *call), void *context);
/* Start it, and wait: call->result. */
int vg_remote_call_wait(struct vg_remote_call *call);
void vg_remote_call_deinit(struct vg_remote_call *call);
void vg_remote_search(struct virgo *v, struct vg_remote_search *search, __u32 number);
void vg_remote_searches_run(struct virgo *v, __u64 now_ns);
/* A request to one node, and wait: 0 or negative errno. */
int vg_remote_ask(struct virgo *v, struct vg_remote_node *node, struct vg_remote_request *request);
/* Whether a synchronous call may begin: 0, or -EDEADLK: not from inside a result function. */
int vg_remote_begin(struct virgo *v);
/* Turn the loop until *done; `result` is the call's, words about it are seen to. */
ssize_t vg_remote_wait(struct virgo *v, const bool *done, const ssize_t *result);

/* ---- file_path.c */
/* As the pool writes it: memory from malloc, zero behind it. 0, -EXDEV, -ENAMETOOLONG, -EPERM, … */
int vg_remote_path(const char *path, char **ret_path, __u32 *ret_length);
/*
 * Look for the first symbolic link in the way of the call, and put what it says in its place; `last`: the last
 * component of the path is in the way, too. Then vg_remote_walked(): 1: the path has changed, 0: there is none.
 */
void vg_remote_walk(struct vg_remote_call *call, bool last);
void vg_remote_walked(struct vg_remote_call *call, int result);

/* ---- file_open.c */
struct vg_remote_piece {
	struct vg_remote_home *home;
	__u32 generation;
	__u64 ident;
};

struct virgo_file {
	int flags; /* as open(2)'s */
	__u64 position;
	struct virgo_file_stat opened;
	__u64 id; /* of a striped one */
	__u32 unit;	    /* of stripes */
	unsigned int count; /* of pieces; a file that is not striped has one, and unit 0 */
	struct vg_remote_piece pieces[];
};

typedef void (*vg_remote_open_fn)(void *context, int error, struct virgo_file *file);
typedef void (*vg_remote_close_fn)(void *context, int error);
/* Without waiting. 0, or an error, and done() is not called. `stripes`: a new file is to be striped so; or NULL. */
int vg_remote_open_start(struct virgo *v, const char *path, int flags, mode_t mode,
			 const struct vg_file_stripes *stripes, vg_remote_open_fn done, void *context);
/* The file is gone when done() is called. */
void vg_remote_close_start(struct virgo *v, struct virgo_file *file, vg_remote_close_fn done, void *context);
__u16 vg_remote_open_flags(int flags);
void vg_remote_stat_read(const void *wire, struct virgo_file_stat *ret_stat);
/* A request about this piece: its node; NULL: -ENOMEM. */
struct vg_remote_node *vg_remote_piece_node(struct virgo *v, const struct vg_remote_piece *piece,
					    struct vg_remote_request *request);
__u32 vg_remote_piece_name(__u64 id, unsigned int index, char *name, size_t bytes);
__u64 vg_remote_stripes_size(const struct virgo_file *file, const __u64 *sizes);
/* What its name says of a striped file becomes what it is, from the stats in the fronts of its pieces' answers. */
void vg_remote_add_up(const struct virgo_file *file, const struct vg_remote_request *pieces,
		      struct virgo_file_stat *stat);
/* A file without descriptors of what an answer says behind the stat; NULL: *ret_error. */
struct virgo_file *vg_remote_striped(const __u8 *body, __u32 length, int flags, __u16 ret_nodes[VG_FILE_STRIPES_MAX],
				     int *ret_error);

/* One request for each piece. */
struct vg_remote_each {
	struct virgo *v;
	struct virgo_file *file;
	unsigned int left;
	int error; /* the first */
	void (*done)(struct vg_remote_each *each); /* frees it */
	void *context;
	struct vg_remote_node *nodes[VG_FILE_STRIPES_MAX];
	struct vg_remote_request requests[];
};
int vg_remote_each_new(struct virgo *v, struct virgo_file *file, __u8 opcode, struct vg_remote_each **ret_each);
void vg_remote_each_start(struct vg_remote_each *each, void (*done)(struct vg_remote_each *each), void *context);
/* Start it, and wait: 0 or the first error. */
int vg_remote_each_wait(struct vg_remote_each *each);

/* ---- file_data.c */
struct iovec;
int vg_remote_transfer(struct virgo *v, struct virgo_file *file, bool is_write, void *buffer, size_t length,
		       __u64 offset, virgo_file_fn fn, void *context);
void vg_remote_transfers_free(struct virgo *v);
/* A result for the user of virgo_submit_*(). */
void vg_remote_deliver(struct virgo *v, virgo_file_fn fn, void *context, ssize_t result);

/* ---- file_io.c: a place for a virgo_submit_*(): 0, -EAGAIN, -ENOMEM; its end */
int vg_remote_take(struct virgo *v, virgo_file_fn fn, void *context, void **ret_submission);
void vg_remote_taken_done(void *submission, ssize_t result);

/* ---- file_handle.c: CHANGE of a file, or of each of its pieces, and wait: 0 or negative errno */
int vg_remote_change_each(struct virgo *v, struct virgo_file *file, const struct vg_file_change *change);

/* ---- file_name.c: bodies of CHANGE */
struct vg_file_change vg_remote_change_mode(mode_t mode);
struct vg_file_change vg_remote_change_owner(uint32_t uid, uint32_t gid);
struct vg_file_change vg_remote_change_times(const struct timespec times[2]);

/* ---- file_list.c */
/* All nodes that have a file pool, as far as is known; waits for the cluster's table. How many, or negative errno. */
int vg_remote_all(struct virgo *v, struct vg_remote_node *ret_nodes[VG_NODES_MAX]);

/* ---- file_watch.c */
int vg_remote_event(struct virgo *v, struct vg_remote_node *node, const struct vg_wire_header *header,
		    const __u8 *body);
/* The session is a new one: what was watched there has to be watched again. */
void vg_remote_watches_again(struct virgo *v, struct vg_remote_node *node);
void vg_remote_watches_end(struct virgo *v);

#endif
