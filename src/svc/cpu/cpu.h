/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The CPU pool inside. One instance a node, one thread. A request that came in any tongue becomes a job; a job waits in
 * the queue of its class, runs (an executable as a process of its own, a function or a kernel program as a call to a
 * worker), ends, and is kept for a while so that who lost the connection can ask for the rest.
 *
 *   cpu.c	the service	     job.c	life of a job		   run.c      executables: processes, streams
 *   binary.c	VIRGO on streams     output.c	what they write	       call.c	 workers, functions
 *   text.c	one word a line	     input.c	what they read	       answer.c  frames that leave
 *   datagram.c VIRGO on datagrams   queue.c	who is next
 */
#ifndef VG_SVC_CPU_CPU_H
#define VG_SVC_CPU_CPU_H

#include <signal.h>

#include "proto/window.h"
#include "svc/cpu/queue.h"
#include "svc/reply.h"
#include "svc/spawn.h"
#include "svc/svc.h"
#include "virgo/figures.h"
#include "virgo/job.h"

#define VG_CPU_ENDED_MAX 512	     /* ended jobs that are remembered */
#define VG_CPU_GRACE_NS 2000000000ull /* between asking a job to end and ending it */
#define VG_CPU_NAME_MAX 64	     /* of a job's name, as it is listed */

enum vg_cpu_class { VG_CPU_PROGRAMS, VG_CPU_FUNCTIONS, VG_CPU_KERNEL, VG_CPU_CLASSES };

/* Which tongue the answers are given in. */
enum vg_cpu_face { VG_CPU_STREAM, VG_CPU_TEXT, VG_CPU_DATAGRAM };

/* One stream of output: read from the process into a ring, kept there until the client has taken it. */
struct vg_cpu_output {
	struct vg_job *job;
	__u16 channel; /* VG_JOB_STDOUT, VG_JOB_STDERR */
	int fd;	       /* -1: none, or at its end */
	vg_io_op op;   /* a read in flight */
	__u8 *ring;
	__u32 size;
	__u64 taken, sent, filled; /* offsets: acknowledged by the client ≤ given to the connection ≤ read */
};

/* What goes to stdin: first what came with the request, then what is in the ring. */
struct vg_cpu_input {
	int fd;	     /* -1: none, or closed */
	vg_io_op op; /* a write in flight */
	__u8 *ring;  /* VG_JOB_INPUT_WINDOW bytes, once there is something */
	__u64 first; /* bytes that came with the request */
	__u64 written, filled, told; /* offsets: in the pipe ≤ received; told: the window last announced */
	bool ends;   /* nothing comes behind `filled` */
	bool deaf;   /* the process reads no more: what comes is dropped */
};

struct vg_cpu;

struct vg_job {
	struct vg_queue_entry queued; /* first */
	struct vg_cpu *cpu;
	__u64 id; /* 0: the place is free */
	__u8 state, how, face;
	bool stopping; /* asked to end; `how` says why */
	__u16 reason;
	__s32 code;

	/* Who asked. */
	__u8 owner[VG_JOB_OWNER_MAX];
	__u32 owner_length;
	__u64 client, sequence; /* of the request */
	char peer[64];
	__u64 submitted_ms, submitted_ns, started_ns, ended_ns;

	/* What for: a copy of the request's body, and its parts. */
	__u8 *body;
	struct vg_job_view view;
	char name[VG_CPU_NAME_MAX];

	/* Who gets the answers: a session, or the source of a datagram. */
	bool attached;
	struct vg_session_ref session;
	__u64 to_client, to_sequence; /* the request that is being answered: the CLONE, or an ATTACH */
	struct sockaddr_storage source;
	socklen_t source_length;
	int source_fd;
	size_t answer_max; /* of a datagram */
	bool padded;	   /* text */
	bool told_end;	   /* JOB_END has been given to the connection */

	/* An executable. */
	pid_t pid;
	int pidfd;
	siginfo_t ended_info;
	vg_io_op timer_op, linger_op;
	struct vg_cpu_input input;
	struct vg_cpu_output output[2];
	struct vg_spawn_end end;
	bool reaped;
	__u32 lent;	   /* pieces of its memory that connections still send from */
	bool discarded;	   /* has no place in the table any more, lives for those only */

	/* A call. */
	struct vg_cpu_caller *caller;
	__u8 *result;
	__u32 result_length, text_length;

	struct vg_job *newer, *older; /* among the ended; `newer` also links free places */
};

/* A worker process that answers calls. */
struct vg_cpu_caller {
	struct vg_cpu *cpu;
	enum vg_cpu_class class;
	enum { VG_CALLER_DOWN, VG_CALLER_STARTING, VG_CALLER_IDLE, VG_CALLER_BUSY, VG_CALLER_ENDING } state;
	pid_t pid;
	int pidfd, fd;
	vg_io_op send_op, receive_op;
	siginfo_t ended_info;
	bool dead; /* its process has ended, a send is still in flight */
	struct vg_job *job;
	struct vg_call_message head;
	size_t sent;
	struct vg_call_answer answer;
	size_t received;
	__u8 *result; /* result and text of `answer` */
	__u32 failures; /* in a row: it rests longer each time */
};

struct vg_cpu {
	struct vg_env *env;
	const struct vg_cpu_settings *settings;
	struct vg_window *window;
	__u64 born_ms; /* Unix time: requests from before are another life's */
	struct vg_job *job;
	__u32 places;
	struct vg_job *free;
	struct vg_job *newest, *oldest; /* ended */
	struct vg_queue queue[VG_CPU_CLASSES];
	__u32 running[VG_CPU_CLASSES];
	struct vg_cpu_caller *caller;
	__u32 callers;
	struct vg_cpu_counts counts;
	bool blocked;  /* some output waits for its connection to have room */
	bool stopping, dispatching;
	void *memory[2];
};

static inline struct vg_cpu *vg_cpu(const struct vg_env *env)
{
	return env->services[VG_SERVICE_CPU];
}

static inline void *vg_cpu_alloc(struct vg_cpu *cpu, size_t bytes)
{
	return cpu->env->mem->alloc(cpu->env->mem->context, bytes);
}

static inline void vg_cpu_free(struct vg_cpu *cpu, void *memory)
{
	if (memory)
		cpu->env->mem->free(cpu->env->mem->context, memory);
}

/* ---- job.c ----------------------------------------------------------------------------------------------------- */

/* A request, whatever it came in: who asks, and what. */
struct vg_cpu_request {
	enum vg_cpu_face face;
	const __u8 *owner;
	__u32 owner_length;
	__u64 client, sequence, digest;
	const void *body; /* of a CLONE */
	__u32 body_length;
	bool trusted; /* made here (text): no digest, no age, no window */
	const char *peer;
};

/*
 * Take a request. VG_JOB_REASON_NONE: *ret_job is the job, which may run or wait, and nobody is attached yet; call
 * vg_job_go after attaching. REPLAYED: *ret_job is the job of the first time, or NULL: it is no longer known.
 */
enum vg_job_reason vg_job_make(struct vg_cpu *cpu, const struct vg_cpu_request *request, struct vg_job **ret_job);
void vg_job_go(struct vg_job *job);
/* The job of this number, if it is this owner's: NO_JOB or NOT_YOURS else. */
enum vg_job_reason vg_job_find(struct vg_cpu *cpu, __u64 id, const struct vg_cpu_request *request,
			       struct vg_job **ret_job);
bool vg_job_is_of(const struct vg_job *job, const struct vg_cpu_request *request);
/* Ask it to end: it will, soon, as `how`. */
void vg_job_stop(struct vg_job *job, enum vg_job_how how);
/* It has ended; code and reason are set. Tells whoever is attached. */
void vg_job_end(struct vg_job *job, enum vg_job_how how);
/* Answers go to this session, as answers to that request. What was attached before is detached first. */
void vg_job_attach(struct vg_job *job, struct vg_session *session, __u64 client, __u64 sequence);
/* Its session is gone, or has been told all. The job waits for another, or ends. */
void vg_job_detach(struct vg_job *job);
void vg_job_lent_back(struct vg_job *job); /* a connection has sent a piece of its memory */
/* Forget an ended job. */
void vg_job_discard(struct vg_job *job);
void vg_job_record(const struct vg_job *job, const struct vg_cpu_request *request, struct vg_job_record *ret_record);
/* Start what may start. */
void vg_cpu_dispatch(struct vg_cpu *cpu);
static inline enum vg_cpu_class vg_job_class(const struct vg_job *job)
{
	return job->view.kind == VG_JOB_EXECUTABLE ? VG_CPU_PROGRAMS :
	       job->view.kind == VG_JOB_FUNCTION   ? VG_CPU_FUNCTIONS :
						     VG_CPU_KERNEL;
}

/* ---- run.c: executables ---------------------------------------------------------------------------------------- */

/* 0, -EAGAIN (later), or a negative errno. */
int vg_run_start(struct vg_job *job);
void vg_run_stop(struct vg_job *job);
/* Whether the process and its output have come to their end; then the job has too. */
void vg_run_check_end(struct vg_job *job);
void vg_run_deinit(struct vg_job *job); /* kills what runs, waits for it */

/* ---- output.c, input.c ----------------------------------------------------------------------------------------- */

int vg_output_open(struct vg_cpu_output *output, struct vg_job *job, __u16 channel, int fd, __u32 window);
/* Read as far as there is room, give to the client as far as it wants. */
void vg_output_pump(struct vg_cpu_output *output);
/* The client has taken all before `offset`. False: not an offset that may be. */
bool vg_output_taken(struct vg_cpu_output *output, __u64 offset);
/* Whether what follows `offset` is still kept; and give it from there. */
bool vg_output_keeps(const struct vg_cpu_output *output, __u64 offset);
void vg_output_rewind(struct vg_cpu_output *output, __u64 offset);
void vg_output_close(struct vg_cpu_output *output); /* stops reading; what is kept stays */
void vg_output_deinit(struct vg_cpu_output *output);
static inline bool vg_output_idle(const struct vg_cpu_output *output)
{
	return output->fd < 0 && !output->op;
}

void vg_input_open(struct vg_job *job, int fd);
/* Bytes at `offset`; none: that is where it ends. */
enum vg_job_reason vg_input_take(struct vg_job *job, __u64 offset, const void *data, __u32 length);
void vg_input_close(struct vg_job *job);

/* ---- call.c: functions and kernel programs --------------------------------------------------------------------- */

int vg_callers_init(struct vg_cpu *cpu);
void vg_callers_deinit(struct vg_cpu *cpu);
bool vg_call_start(struct vg_job *job); /* false: no worker is free */
void vg_call_stop(struct vg_job *job);	/* its worker is ended, and replaced */

/* ---- answer.c -------------------------------------------------------------------------------------------------- */

/* Its key is filled in: the cluster's. */
void vg_cpu_reply_header(struct vg_env *env, const struct vg_reply *reply, struct vg_wire_header *ret_header);
/* Header and body to a stream; flushed at the end of the turn. */
void vg_cpu_reply(struct vg_session *session, const struct vg_reply *reply);
/* The session that gets the job's frames, or NULL. */
struct vg_session *vg_job_session(struct vg_job *job);
void vg_job_tell_end(struct vg_job *job);
void vg_job_tell_window(struct vg_job *job); /* how much input may come */
void vg_cpu_count_refusal(struct vg_cpu *cpu, enum vg_job_reason reason);

/* ---- faces ----------------------------------------------------------------------------------------------------- */

ssize_t vg_cpu_binary_input(struct vg_session *session, const __u8 *data, size_t length);
ssize_t vg_cpu_text_input(struct vg_session *session, const __u8 *data, size_t length);
void vg_cpu_text_end(struct vg_job *job, struct vg_session *session);
void vg_cpu_datagram(struct vg_env *env, const struct vg_datagram *datagram);

#endif
