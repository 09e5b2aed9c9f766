/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The memory service inside: what its faces (binary, text, RESP) and its datagrams share.
 *
 * A request is executed by one function, whatever it came in. It answers at once what this node can answer alone; what
 * needs another node it leaves to the face, which may ask (a stream) or may not (a datagram).
 */
#ifndef VG_SVC_MEM_MEM_H
#define VG_SVC_MEM_MEM_H

#include "svc/svc.h"

struct vg_window;
struct vg_mem_shared;
struct vg_client_more;
struct vg_paused;
struct vg_hot_sketch;

/* The service's state on one worker: env->services[VG_SERVICE_MEM]. */
struct vg_mem_worker {
	struct vg_window *window;
	void *resp;			/* the RESP face's own */
	struct vg_mem_shared *shared;	/* with the node's other workers, see shared.h */
	struct vg_hot_sketch *hot;	/* the keys most asked for, see hotkeys.h */
	struct vg_paused *paused;	/* sessions that CLIENT PAUSE holds, see pause.c */
	struct vg_client_more *tracking_first; /* connections of this worker that keep copies */
	struct vg_mc_counts *mc;	/* the memcached face's own */
	__u64 stamp_due_ns;		/* when memory_free is counted again */
	__be16 memory_free_permille;
};

static inline struct vg_mem_worker *vg_mem_worker(const struct vg_env *env)
{
	return env->services[VG_SERVICE_MEM];
}

/* ---- one request, whatever it came in -------------------------------------------------------------------------- */

struct vg_mem_request {
	__u8 opcode;
	__u16 flags, partition; /* host byte order, as all here */
	__u64 ident, argument;
	const void *key, *body;
	__u32 key_length, body_length;
	__u32 body_room; /* MGET: bytes of body that fit the answer, 0: VG_MEM_BUFFER_BYTES */
};

struct vg_mem_answer {
	__u8 status;
	__u16 flags;	  /* VG_FLAG_TEXT: the body is another node's error text */
	bool unproven;	  /* to who has shown no tag under a cluster key: neither signed nor told how busy we are */
	const char *text; /* more than the status says, for a person; or NULL */
	__u64 ident, argument;
	/* The value: in the caller's buffer, or lent: then release(release_context) is owed once it has been used. */
	const void *body;
	__u64 body_length;
	void (*release)(void *context);
	void *release_context;
};

#define VG_MEM_BUFFER_BYTES VG_CELL_MAX

enum vg_mem_outcome {
	VG_MEM_ANSWERED,
	/*
	 * The key or handle belongs to another node, or the memory is spread, or the operation is for streams alone:
	 * nothing was done. The answer says what a face answers that cannot ask others.
	 */
	VG_MEM_ELSEWHERE,
};

/* `buffer` has VG_MEM_BUFFER_BYTES. The key's padding has been checked; nothing else of the request has. */
enum vg_mem_outcome vg_mem_execute(struct vg_env *env, const struct vg_mem_request *request, void *buffer,
				   struct vg_mem_answer *ret_answer);
void vg_mem_answer_release(struct vg_mem_answer *answer);

/* The node that owns the request's key or handle. */
__u16 vg_mem_request_owner(const struct vg_env *env, const struct vg_mem_request *request);

/* Whether the operation changes something, so that doing it twice is not doing it once. */
bool vg_mem_changes(__u8 opcode);

/* Whether who has no tag and has given no password may use the pool: there is neither key nor password. */
bool vg_mem_open(const struct vg_env *env);

/* Texts of a status: for people, and the short name of text replies ("no_memory"). */
const char *vg_mem_status_text(__u8 status);
const char *vg_mem_status_name(__u8 status);
void vg_mem_count_refusal(struct vg_env *env, __u8 status);

/* The header of the answer to `request`: echo, load stamp, epoch, status, and the tag where there is a key. */
void vg_mem_reply_header(struct vg_env *env, const struct vg_wire_header *request, const struct vg_mem_answer *answer,
			 __u16 flags, __u32 body_length, struct vg_wire_header *ret_header);

/* ---- answers that come late ------------------------------------------------------------------------------------ */

/*
 * One request of a stream session that may be answered later, first member of the face's own struct (from env->mem).
 * Between begin and leave an answer finds the session as it is; after leave it looks it up, resumes it and frees the
 * wait.
 */
struct vg_mem_wait {
	struct vg_env *env;
	struct vg_session *session;
	struct vg_session_ref ref;
	bool answered, left;
};

/* NULL when there is no memory. `bytes` of the whole struct; what is behind the wait is zeroed. */
void *vg_mem_wait_begin(struct vg_session *session, size_t bytes);
/* After the question was asked: pauses the session if the answer is not there yet; frees the wait if it is. */
void vg_mem_wait_leave(struct vg_mem_wait *wait);
/* The session to answer to, or NULL: it has gone. */
struct vg_session *vg_mem_wait_session(const struct vg_mem_wait *wait);
/* The answer is in place (or nobody wants it); `wait` is not the caller's any longer. */
void vg_mem_wait_answered(struct vg_mem_wait *wait);

/* ---- faces ----------------------------------------------------------------------------------------------------- */

ssize_t vg_mem_binary_input(struct vg_session *session, const __u8 *data, size_t length);
ssize_t vg_mem_text_input(struct vg_session *session, const __u8 *data, size_t length);
void vg_mem_datagram(struct vg_env *env, const struct vg_datagram *datagram);

#endif
