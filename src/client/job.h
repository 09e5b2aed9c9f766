/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Jobs inside the client.
 *
 *   clone.c       the public calls                     job_choose.c  on which node a job is started
 *   job.c         the life of a job                    job_body.c    what a CLONE says, what a list of jobs says
 *   job_frame.c   what a node says to a job
 *   job_link.c    one link (link.h) to each CPU pool, for all jobs there
 *
 *     CHOOSING ──▶ SENT ──accepted──▶ RUNNING ──▶ ENDED
 *        ▲ busy, unreachable │ connection lost     │ connection lost
 *        └───────────────────┘◀── retries ──── ATTACHING ──▶ RUNNING
 *
 * A SENT job whose connection broke is sent again with the same sequence: the node recognises it. Functions of the user
 * are called from links and vg_jobs_run() only, which means from inside vg_client_step().
 */
#ifndef VG_CLIENT_JOB_H
#define VG_CLIENT_JOB_H

#include "client/link.h"
#include "virgo/job.h"
#include "virgo/policy.h"

#define VG_STAMP_FRESH_NS 200000000ULL /* what a node said of its load so long ago is good enough to choose by */
#define VG_PROBE_NS 50000000ULL	       /* so long is waited for a probed node while others have answered */
#define VG_BUSY_FIRST_NS 5000000ULL    /* between two rounds over nodes that are all busy */
#define VG_BUSY_MAX_NS 500000000ULL
#define VG_LINK_BODY_MAX (16u << 20)	    /* of a message to us: a function's result, or a list of jobs */
#define VG_JOB_INPUT_INLINE_MAX (64u << 10) /* input of a program that travels in its CLONE; more goes in pieces */

enum vg_job_phase { VG_PHASE_CHOOSING, VG_PHASE_SENT, VG_PHASE_RUNNING, VG_PHASE_ATTACHING, VG_PHASE_ENDED };

struct virgo_job {
	struct virgo *v;
	struct virgo_job *next, *before; /* in virgo.jobs, as long as it has not ended */
	enum vg_job_phase phase;
	enum virgo_kind kind;
	__u32 policy;
	unsigned int flags, retries, rows, columns;
	bool adopted;	      /* attached to, not started by us: there is no body */
	struct vg_link *link; /* where it is; NULL: nowhere yet */
	struct vg_link *only; /* where alone it may be, or NULL */
	__u8 *body;	      /* of the CLONE */
	__u32 body_length;
	__u64 sequence, id;
	__u32 random;			       /* what the choice is drawn with */
	__u64 tried[(VG_LINKS_MAX + 63) / 64]; /* nodes left out of the choice: busy, not reached */
	bool was_busy;			       /* a node has said so */
	__u64 submitted_ns, busy_until_ns, busy_ns, wait_ns, backoff_ns;
	__u64 probe_ns;		/* when the choice began; 0: it has not */
	__u64 sent_ns, lost_ns; /* 0: not lost */

	/* Output, of stdout and of stderr. */
	struct vg_job_stream {
		bool anywhere;	       /* an adopted job's: it begins where its node says */
		__u64 taken, told;     /* offsets: handed over; and that the node has heard of */
		__u32 window;	       /* so much it may send ahead of what it has heard of */
		struct vg_buffer kept; /* without a function; one zero byte behind it at the end */
	} stream[2];
	/* Input from offset input_at on, not yet taken by the node; up to input_sent it has left. */
	struct vg_buffer input;
	__u64 input_at, input_sent;
	__u64 input_told;   /* up to which the program has read, as the node said: the window begins there */
	bool streams_input; /* more than what stands in the body */
	bool input_ended, input_end_sent;
	int last_signal; /* that was sent */
	int signal;	 /* to be sent when the node has accepted it: a number, CANCEL_PENDING, or 0 */
	bool in_output;	 /* its output function is running */

	void (*output)(void *context, int stream, const void *data, size_t length);
	void (*ended)(void *context, const struct virgo_job_result *result);
	void *context;
	struct virgo_job_result result;
	char text[VG_CLIENT_TEXT_MAX * 4];
	const char *where; /* the text of the link it is or was last on; or NULL */
};
#define VG_JOB_CANCEL_PENDING (-1)

/* A question to a node that is no job: its answer ends up here. */
struct vg_question {
	struct vg_question *next;
	struct vg_link *link;
	__u8 opcode;
	__u64 sequence, ident, argument, due_ns;
	bool sent, answered;
	int error;
	char text[VG_CLIENT_TEXT_MAX];
	__u8 *body; /* malloc; one zero byte behind it */
	__u32 body_length;
};

/* ---- job.c */
int vg_job_new(struct virgo *v, const struct virgo_job_options *options, struct virgo_job **ret_job);
void vg_job_submit(struct virgo_job *job); /* from here on it has a result */
void vg_job_windows(struct virgo_job *job, __u32 bytes);
void vg_job_send(struct virgo_job *job, struct vg_link *link, __u64 now_ns);
void vg_job_fail(struct virgo_job *job, int error, const char *text);
void vg_job_push_input(struct virgo_job *job);
int vg_job_order(struct virgo_job *job, __u8 opcode, __u64 argument);
/* Go on from what has been taken of its output. */
int vg_job_order_attach(struct virgo_job *job);
/* It has its result, which is told at the end of the turn. / Nobody knows what became of it: again, or that is it. */
void vg_job_finish(struct virgo_job *job);
void vg_job_undecided(struct virgo_job *job, const char *why);
/* The node has its input up to there. 0, or -EPROTO: that was never sent. */
int vg_job_input_taken(struct virgo_job *job, __u64 offset);

/* ---- job_frame.c */
/* What arrived on a link for its jobs: 0, or -EPROTO. */
int vg_jobs_frame(struct virgo *v, struct vg_link *link, const struct vg_wire_header *header, const __u8 *body,
		  __u64 now_ns);
/* ---- job.c, for links and loop */
/* The link works: what was on it goes on. / It broke: before or after it worked. */
void vg_jobs_link_up(struct virgo *v, struct vg_link *link, __u64 now_ns);
void vg_jobs_link_down(struct virgo *v, struct vg_link *link, bool was_up, int error, __u64 now_ns);
void vg_jobs_run(struct virgo *v, __u64 now_ns);
void vg_jobs_tell(struct virgo *v); /* their ends, to those who want to hear of it */
void vg_jobs_end(struct virgo *v); /* at the end of the client */
void vg_job_again(struct virgo_job *job); /* for another node, as if it had never been sent */
void vg_job_leave_out(struct virgo_job *job, const struct vg_link *link); /* of the choice */
void vg_job_unlink_ended(struct virgo_job *job);

/* ---- job_link.c */
/* NULL: -ENOMEM; of a peer also: it has no CPU pool. */
struct vg_link *vg_job_link_at(struct virgo *v, const union vg_address *address, socklen_t length);
struct vg_link *vg_job_link_of(struct virgo *v, const struct vg_peer *peer);
/* A message in our owner's name, with a new sequence (or that of `head` if it has one). 0 or -ENOMEM. */
int vg_job_say(struct virgo *v, struct vg_link *link, const struct vg_wire_header *head, const void *body,
	       __u32 body_length, __u64 *ret_sequence);

/* ---- job_choose.c */
/* Find a node for it and send it there, or say when to try again, or let it fail. */
void vg_job_choose(struct virgo_job *job, __u64 now_ns);
int vg_policy_by_name(const char *name, __u32 *ret_policy);
int vg_job_node_find(struct virgo *v, const char *node, struct vg_link **ret_link);

/* ---- job_body.c */
int vg_job_body(struct virgo_job *job, const char *name, const void *argument, size_t length,
		const struct virgo_job_options *options);
void vg_job_body_date(struct virgo_job *job); /* it is a request of now */
int vg_job_error(__u32 reason, __u8 status);
int vg_job_list_json(const __u8 *body, __u32 length, char **ret_json);

#endif
