/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The RESP face inside: one command being executed (vg_call), the answer that comes late (vg_pending), and the table
 * that says what every command is called, takes, touches and where it runs.
 */
#ifndef VG_MEM_RESP_CALL_H
#define VG_MEM_RESP_CALL_H

#include "proto/resp.h"
#include "svc/mem/resp.h"
#include "virgo/hash.h"

/* ---- commands ------------------------------------------------------------------------------------------------- */

struct vg_call;
/* 0: the answer is in call->out. -EINPROGRESS: vg_call_defer was called and the answer will be in it. */
typedef int (*vg_command_fn)(struct vg_call *call);

/* In the order COMMAND INFO names them. X(NAME, text) */
#define VG_COMMAND_FLAGS(X)         \
	X(WRITE, "write")           \
	X(READONLY, "readonly")     \
	X(DENYOOM, "denyoom")       \
	X(ADMIN, "admin")           \
	X(PUBSUB, "pubsub")         \
	X(NOSCRIPT, "noscript")     \
	X(LOADING, "loading")       \
	X(STALE, "stale")           \
	X(SKIP_SLOWLOG, "skip_slowlog") \
	X(FAST, "fast")             \
	X(NO_AUTH, "no_auth")       \
	X(NO_ASYNC_LOADING, "no_async_loading") \
	X(NO_MULTI, "no_multi")     \
	X(ALLOW_BUSY, "allow_busy")

enum vg_command_flag_bit {
#define X(name, text) VG_CMD_BIT_##name,
	VG_COMMAND_FLAGS(X)
#undef X
	VG_CMD_BIT_MAX
};
enum vg_command_flag {
#define X(name, text) VG_CMD_##name = 1 << VG_CMD_BIT_##name,
	VG_COMMAND_FLAGS(X)
#undef X
	/* Ours, not shown. */
	VG_CMD_SESSION = 1 << VG_CMD_BIT_MAX,	  /* needs a connection of its own */
	VG_CMD_LONG = 1 << (VG_CMD_BIT_MAX + 1),  /* may take long: always timed for the slow log */
	VG_CMD_SECRET = 1 << (VG_CMD_BIT_MAX + 2),/* arguments never shown in logs */
};

/* ACL categories that nothing else implies, in the order they are shown. X(NAME, text) */
#define VG_COMMAND_CATEGORIES(X)      \
	X(KEYSPACE, "keyspace")       \
	X(READ, "read")               \
	X(WRITE, "write")             \
	X(STRING, "string")           \
	X(PUBSUB, "pubsub")           \
	X(ADMIN, "admin")             \
	X(FAST, "fast")               \
	X(SLOW, "slow")               \
	X(DANGEROUS, "dangerous")     \
	X(CONNECTION, "connection")   \
	X(TRANSACTION, "transaction")

enum vg_command_category_bit {
#define X(name, text) VG_ACL_BIT_##name,
	VG_COMMAND_CATEGORIES(X)
#undef X
	VG_ACL_BIT_MAX
};
enum vg_command_category {
#define X(name, text) VG_ACL_##name = 1 << VG_ACL_BIT_##name,
	VG_COMMAND_CATEGORIES(X)
#undef X
};

/* Where a command runs in a cluster. */
enum vg_route {
	VG_ROUTE_HERE = 0, /* on the node it reached; what concerns all nodes its handler asks itself */
	VG_ROUTE_KEYS,	   /* on the owner of its keys, which must be one and the same */
	VG_ROUTE_SUM,	   /* split by owner; integer answers are added */
	VG_ROUTE_OK,	   /* split by owner; all must say OK */
	VG_ROUTE_LIST,	   /* split by owner; arrays are merged in the order of the keys */
};

struct vg_command {
	const char *name; /* lower case; a subcommand's is "parent|name" */
	vg_command_fn run;
	const struct vg_command *subs; /* ends with a NULL name */
	int arity;		       /* negative: at least */
	__u32 flags;
	__u32 categories;
	signed char first, last, step; /* positions of the keys */
	enum vg_route route;
	const char *group, *since;
	const char *key_flags; /* of the key specification, words; "A;B": one for each of two keys */
	const char *tips;      /* words */
	const char *summary;
};

extern const struct vg_command vg_commands[];
extern const int vg_commands_count;

void vg_commands_init(void); /* build the name index; any number of times, before the first lookup */
/* NULL: no such command. */
const struct vg_command *vg_command_find(const char *name, size_t length);
const struct vg_command *vg_command_find_sub(const struct vg_command *parent, const char *name, size_t length);
static inline int vg_command_index(const struct vg_command *command)
{
	return (int)(command - vg_commands);
}
static inline bool vg_command_arity_fits(const struct vg_command *command, int args)
{
	return command->arity >= 0 ? args == command->arity : args >= -command->arity;
}
/* Position of the last key of a request with so many arguments. */
static inline int vg_command_last_key(const struct vg_command *command, int args)
{
	return command->last >= 0 ? command->last : args + command->last;
}

#define VG_OOM_TEXT "OOM command not allowed when used memory > 'maxmemory'."

/* ---- a command being executed ---------------------------------------------------------------------------------- */

struct vg_pending;
struct vg_client;
struct vg_view;

struct vg_call {
	struct vg_env *env;
	struct vg_out *out;
	struct vg_client *client; /* NULL: no session */
	const struct vg_command *command;
	struct vg_resp_arg *arg;
	int args;
	int version;
	bool forwarded;
	bool alone;		  /* this node is the whole cluster */
	struct vg_view *view;	  /* of the transaction it is part of; NULL: the store itself, see data.h */
	__u64 now_ms;
	__u64 hash;		  /* of arg[hashed]; hashed 0: not made yet */
	int hashed;
	bool queued;		  /* it is carried out by EXEC */
	bool dated;		  /* a deadline was given with the command */
	const char *raw;	  /* the request as it came, if it came as an array */
	size_t raw_length;
	struct vg_pending *pending; /* where a late answer goes; made by vg_call_defer unless the session has */
	vg_mem_resp_fn done;	  /* without a session */
	void *done_context;
};

/* Look up, check and run. 0 or -EINPROGRESS; -EREMOTE for a forwarded command with a key of another node. */
int vg_call_run(struct vg_call *call);
/* The same when the command is known already (NULL: unknown) and a batch has been looked up. */
int vg_call_execute(struct vg_call *call);
/* A command of a transaction: checked when it was queued, and its keys are here. 0 or -EINPROGRESS. */
int vg_call_run_queued(struct vg_call *call);
/* Look up and check, without running; false: the error was answered. */
bool vg_call_lookup(struct vg_call *call);

/* gate.c: a connection whose flags are VG_CLIENT_GATED. True: the command was answered and does not run. */
bool vg_gate_stops(struct vg_call *call);
/* Does every key of the command live here? False: where it does was answered. */
bool vg_gate_is_here(struct vg_call *call);
void vg_gate_refused(struct vg_call *call); /* the command was refused before it came to that */
void vg_gate_abandon(struct vg_call *call, const char *why); /* an EXEC that cannot be ends the transaction as well */
void vg_gate_passed(struct vg_call *call);  /* it has run, or its answer is under way */

static inline struct vg_key vg_call_key(struct vg_call *call, int position)
{
	const struct vg_resp_arg *arg = &call->arg[position];

	return (struct vg_key){ .data = arg->data,
				.length = (__u32)arg->length,
				.hash = call->hashed == position ? call->hash : vg_hash64(arg->data, arg->length) };
}

bool vg_arg_is(const struct vg_resp_arg *arg, const char *word); /* any case */
/* Reads an integer argument; false: the error was answered. */
bool vg_call_integer(struct vg_call *call, int position, __s64 *ret_value);
/* Reads a timeout in milliseconds, as CLIENT PAUSE and WAIT have it; false: the error was answered. (pause.c) */
bool vg_call_timeout(struct vg_call *call, int position, __s64 *ret_timeout_ms);
/* Is the argument 0, the one database? false: the error was answered. */
bool vg_call_database(struct vg_call *call, int position);
/* Answer an error of the store in the words of Redis. */
int vg_call_failure(struct vg_call *call, int error);
int vg_call_syntax_error(struct vg_call *call);
int vg_call_arity_error(struct vg_call *call);
/* An array of simple strings, HELP's answer: `lines` ends with NULL; the two lines about HELP itself are added. */
int vg_call_help(struct vg_call *call, const char *title, const char *const *lines);

/* ---- answers that come late ------------------------------------------------------------------------------------ */

#define VG_PENDING_SMALL 192
#define VG_WINDOW_MAX 64 /* answers a session may wait for; then it is paused until half of them are there */

struct vg_pending {
	struct vg_env *env;
	struct vg_out out;	/* the answer */
	int version;
	bool done, left;	/* left: the command that deferred it has returned */
	bool silent;		/* nobody wants the answer */
	struct vg_client *client; /* in its window; NULL: without a session, or the session has gone */
	struct vg_pending *next;
	vg_mem_resp_fn fn;	/* without a session */
	void *context;
	void *work;		/* the asker's own */
	__u32 small_length;	/* a short answer waits here, so that it holds no chunk */
	char small[VG_PENDING_SMALL];
};

/*
 * Make the answer late: call->out is the pending answer's from now on. NULL: no memory (answered). Every deferred call
 * ends with one vg_pending_done; it may come before the handler has returned.
 */
struct vg_pending *vg_call_defer(struct vg_call *call);
/* The place of an answer, without deferring yet: the session's, when earlier answers are still out. NULL: no memory. */
struct vg_pending *vg_pending_new(struct vg_call *call);
/*
 * The deferring command has returned. 0: the answer was there already and is now in `out`; -EINPROGRESS: it will come,
 * or waits for those before it.
 */
int vg_pending_leave(struct vg_call *call, struct vg_out *out);
void vg_pending_done(struct vg_pending *pending);

/* ---- other nodes ----------------------------------------------------------------------------------------------- */

#define VG_ROUTE_ANSWERED 1
/*
 * Send a command to the owners of its keys: 0: all are here, run it. VG_ROUTE_ANSWERED: an error was answered.
 * -EINPROGRESS: asked. -EREMOTE: a forwarded command with a key of another node.
 */
int vg_route_call(struct vg_call *call);
/* Send the call as it is to `node`. -EINPROGRESS, or 0 when it could not be (answered). */
int vg_route_forward(struct vg_call *call, __u16 node);
/*
 * Ask every other node the same command and merge the answers with this node's: a sum, OK, or a list, whose elements
 * are taken from `own`. -EINPROGRESS, or 0 when it could not be (answered).
 */
int vg_route_everywhere(struct vg_call *call, enum vg_route merge, __u64 own_count, struct vg_out *own);

/* ---- sessions -------------------------------------------------------------------------------------------------- */

enum vg_client_flag {
	VG_CLIENT_NO_EVICT = 1,
	VG_CLIENT_NO_TOUCH = 2,
	VG_CLIENT_REPLY_OFF = 4,
	VG_CLIENT_REPLY_SKIP = 8,	/* the answer of this command */
	VG_CLIENT_REPLY_SKIP_NEXT = 16, /* of the next */
	VG_CLIENT_REPLY_ANY = 4 | 8 | 16,
	VG_CLIENT_RESP3 = 32,
	VG_CLIENT_BARRIER = 64,		/* nothing starts before what is pending has ended */
	VG_CLIENT_MULTI = 128,		/* commands wait for EXEC */
	VG_CLIENT_PUBSUB = 256,		/* has subscriptions */
	VG_CLIENT_CUT_OFF = 512,	/* reads too slowly: is being closed, and is sent nothing more */
	VG_CLIENT_TRACKING = 1024,	/* keeps copies of what it reads */
	/* Commands are looked at before they run: gate.c */
	VG_CLIENT_GATED = VG_CLIENT_MULTI | VG_CLIENT_PUBSUB | VG_CLIENT_TRACKING,
};

struct vg_client_more;

/* The state of a RESP session: it is session->state. */
struct vg_client {
	struct vg_resp_parser parser;
	struct vg_pending *first, *last; /* answers that wait for one before them, in order: the window */
	__u32 waiting;
	__u32 flags;
	struct vg_client_more *more; /* see more.h; or NULL */
};
_Static_assert(sizeof(struct vg_client) <= sizeof(((struct vg_session *)0)->state), "RESP state outgrew its session");

static inline struct vg_session *vg_client_session(struct vg_client *client)
{
	return (struct vg_session *)((char *)client - offsetof(struct vg_session, state));
}
static inline struct vg_client *vg_session_client(struct vg_session *session)
{
	return (struct vg_client *)&session->state;
}

#endif
