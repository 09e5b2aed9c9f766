/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memcached face of the memory pool: sessions (mc_session.c), requests on keys (mc_store.c, mc_get.c, mc_change.c),
 * what concerns the server (mc_stats.c), other nodes (mc_route.c) and datagrams (mc_datagram.c).
 *
 * A request of another node's key is sent there as it came, in a MEMCACHE message, and the session waits.
 */
#ifndef VG_SVC_MEM_MC_H
#define VG_SVC_MEM_MC_H

#include "proto/memcache.h"
#include "svc/mem/mem.h"
#include "virgo/hash.h"

#define VG_MC_VERSION_TEXT "1.6.18-virgo" /* what is answered to `version`: the release whose answers these are */

/* As vg_service.input, for sessions whose protocol is VG_PROTOCOL_MEMCACHE. */
ssize_t vg_mem_mc_input(struct vg_session *session, const __u8 *data, size_t length);

/*
 * One request that another node forwarded, its reply appended to `out`. 0; -EREMOTE: a key of another node; -EINVAL:
 * not one whole request.
 */
int vg_mem_mc_forwarded(struct vg_env *env, const void *request, size_t length, struct vg_out *out);

/* memcached's UDP: a frame header of 8 bytes, then a `get` of one key. */
void vg_mem_mc_datagram(struct vg_env *env, const struct vg_datagram *datagram);

/* Once a worker. 0 or -ENOMEM. */
int vg_mem_mc_init(struct vg_env *env);
void vg_mem_mc_deinit(struct vg_env *env);

/* ---- inside ---------------------------------------------------------------------------------------------------- */

/* What memcached counts, in the words of its `stats`; one set a worker, summed when asked. */
#define VG_MC_COUNTS(X)                                                                                                \
	X(cmd_get) X(cmd_set) X(cmd_flush) X(cmd_touch) X(cmd_meta) X(get_hits) X(get_misses) X(get_expired)           \
	X(delete_misses) X(delete_hits) X(incr_misses) X(incr_hits) X(decr_misses) X(decr_hits) X(cas_misses)          \
	X(cas_hits) X(cas_badval) X(touch_hits) X(touch_misses) X(store_too_large) X(store_no_memory) X(auth_cmds)     \
	X(auth_errors)
struct vg_mc_counts {
#define X(name) __u64 name;
	VG_MC_COUNTS(X)
#undef X
};

static inline struct vg_mc_counts *vg_mc_counts(const struct vg_env *env)
{
	return vg_mem_worker(env)->mc;
}
void vg_mc_counts_sum(struct vg_mc_counts *ret_sum); /* since the last reset */
void vg_mc_counts_reset(void);

/* One request being executed. */
struct vg_mc_call {
	struct vg_env *env;
	struct vg_out *out;
	const struct vg_mc_request *request;
	struct vg_session *session; /* NULL: forwarded, or a datagram: nobody else is asked */
	const void *raw;	    /* the whole request */
	__u64 now_ms;
	struct vg_key key;	    /* of requests of one key */
	__u8 binary_key[VG_MC_KEY_MAX];
};

/* Answer a line, unless the request is quiet. */
void vg_mc_say(struct vg_mc_call *call, const char *text);
/* What a failed change is answered with: errors of the store. */
const char *vg_mc_failure(struct vg_mc_call *call, int error);

/* Run a request whose keys are all here; the answer is appended. */
void vg_mc_run(struct vg_mc_call *call);

void vg_mc_store(struct vg_mc_call *call);	/* set add replace append prepend cas */
void vg_mc_meta_set(struct vg_mc_call *call);
void vg_mc_get(struct vg_mc_call *call);	/* get gets gat gats */
/* The block of one key's value, nothing if there is none; END is the caller's. */
void vg_mc_get_one(struct vg_mc_call *call, struct vg_mc_word word);
void vg_mc_meta_get(struct vg_mc_call *call);
void vg_mc_meta_debug(struct vg_mc_call *call);
void vg_mc_arithmetic(struct vg_mc_call *call); /* incr decr */
void vg_mc_meta_arithmetic(struct vg_mc_call *call);
void vg_mc_touch(struct vg_mc_call *call);
void vg_mc_delete(struct vg_mc_call *call);
void vg_mc_meta_delete(struct vg_mc_call *call);
void vg_mc_flush_all(struct vg_mc_call *call);	/* this node's keys */
void vg_mc_stats(struct vg_mc_call *call);

/* Where the request runs: 0: here; VG_MC_ASKED: others were asked, the session waits; -EREMOTE without a session. */
#define VG_MC_ASKED 1
int vg_mc_route(struct vg_mc_call *call);

/* ---- answers of meta commands ---------------------------------------------------------------------------------- */

#define VG_MC_REPLY_MAX 1024 /* the longest line: all flags, a key in base64 and an opaque */

struct vg_mc_reply {
	char text[VG_MC_REPLY_MAX];
	size_t length;
};

void vg_mc_put(struct vg_mc_reply *reply, const char *text);
void vg_mc_put_flag(struct vg_mc_reply *reply, char flag, __u64 number); /* " c42" */
/* O and k of the request, which every meta command returns; true: `flag` was one of them. */
bool vg_mc_put_echo(struct vg_mc_reply *reply, const struct vg_mc_call *call, struct vg_mc_word flag);
/* Line end, and out it goes. */
void vg_mc_reply_end(struct vg_mc_call *call, struct vg_mc_reply *reply);
/* " t<seconds left>" of a deadline, -1: none. */
void vg_mc_put_ttl(struct vg_mc_reply *reply, __u64 deadline_ms, __u64 now_ms);

#endif
