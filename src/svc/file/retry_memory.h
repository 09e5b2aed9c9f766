/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which changes a session has asked for, and what was answered: so that one that is sent again, because the connection
 * was lost with its answer, is answered and not made twice.
 *
 * How much must be remembered. A client has at most `answers` requests unanswered on its one connection, so at most so
 * many answers can be lost with it. It sends them again before anything new on the next one, and those that were done
 * are answered at once: so before it has such an answer no more than `answers` others can have been done after it, and
 * the last `answers` of each client are enough. A request that is not among them, with a number below the highest that
 * was forgotten, may have been made or not.
 *
 * Bookkeeping alone: no I/O, one thread, a session's own.
 */
#ifndef VG_SVC_FILE_RETRY_MEMORY_H
#define VG_SVC_FILE_RETRY_MEMORY_H

#include "base/mem.h"
#include "virgo/types.h"

struct vg_retry_memory;
struct vg_retry_record;

#define VG_RETRY_CLIENTS_MAX 64
#define VG_RETRY_BODY_MAX 256

struct vg_retry_answer {
	__u64 ident, argument;
	__u16 flags;
	__u8 status;
	__u32 body_length;
	const void *body; /* remembered: valid until the next call */
};

enum vg_retry_verdict {
	VG_RETRY_NEW,	  /* not seen: carry it out */
	VG_RETRY_RUNNING, /* being carried out: *ret_running is what was given to _begin */
	VG_RETRY_DONE,	  /* *ret_answer */
	VG_RETRY_UNKNOWN, /* too long ago: carried out or not */
	VG_RETRY_OTHER,	  /* that number was another operation's */
};

/* 0 or -ENOMEM. `answers`: remembered of each client. */
int vg_retry_memory_new(struct vg_retry_memory **ret_memory, const struct vg_mem *mem, __u32 answers);
/* `drop` is called with what runs. Accepts NULL. */
void vg_retry_memory_free(struct vg_retry_memory *memory, void (*drop)(void *running));

enum vg_retry_verdict vg_retry_look(struct vg_retry_memory *memory, __u64 client, __u64 sequence, __u8 opcode,
				    struct vg_retry_answer *ret_answer, void **ret_running);
/* It is being carried out from now on. -ENOMEM: it must not be, for it could not be remembered. */
int vg_retry_record_begin(struct vg_retry_memory *memory, __u64 client, __u64 sequence, __u8 opcode, void *running,
			  struct vg_retry_record **ret_record);
/* It is done. The record is the memory's again. The body, ≤ VG_RETRY_BODY_MAX, is copied. */
void vg_retry_record_end(struct vg_retry_memory *memory, struct vg_retry_record *record,
			 const struct vg_retry_answer *answer);

#endif
