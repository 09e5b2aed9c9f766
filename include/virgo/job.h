/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Jobs of the CPU pool as they are spoken: what stands in the bodies of CLONE and of the job operations, and their
 * bounded codec, the same code for daemon, client and fuzzer. docs/protocol.md, "The CPU pool", has the conversation.
 *
 * A job belongs to its owner: the message's key, up to VG_JOB_OWNER_MAX bytes that only the owner knows, or, without
 * one, the client number of the header. Whoever names another owner is told that the job is not his.
 */
#ifndef VIRGO_JOB_H
#define VIRGO_JOB_H

#include "types.h"
#include "limits.h"
#include "wire.h"

/* X(name, number, text) */
#define VG_JOB_KINDS(X)                                                                 \
	X(FUNCTION, 0, "function")     /* a named function of an installed plug-in */   \
	X(EXECUTABLE, 1, "executable") /* a program, its streams carried both ways */   \
	X(KERNEL, 2, "kernel")	       /* an eBPF program of an allow-listed object */

enum vg_job_kind {
#define X(name, number, text) VG_JOB_##name = number,
	VG_JOB_KINDS(X)
#undef X
	VG_JOB_KIND_MAX
};

#define VG_JOB_STATES(X)                                                    \
	X(NONE, 0, "none")                                                  \
	X(QUEUED, 1, "queued")                                              \
	X(STARTING, 2, "starting")                                          \
	X(RUNNING, 3, "running")                                            \
	X(ENDED, 4, "ended") /* its result is kept for a while */

enum vg_job_state {
#define X(name, number, text) VG_JOB_STATE_##name = number,
	VG_JOB_STATES(X)
#undef X
	VG_JOB_STATE_MAX
};

/* How a job ended; vg_job_end.code says more. */
#define VG_JOB_ENDS(X)                                                                     \
	X(EXITED, 0, "exited")	     /* code: the exit status, or what the function returned */ \
	X(SIGNALLED, 1, "signalled") /* code: the signal */                                \
	X(TIMEOUT, 2, "timeout")     /* code: the signal that ended it, 0: it had not begun */ \
	X(CANCELLED, 3, "cancelled") /* the same */                                        \
	X(FAILED, 4, "failed")	     /* it did not run; vg_job_end.reason says why */      \
	X(LOST, 5, "lost")	     /* its client went away and did not come back in time */

enum vg_job_how {
#define X(name, number, text) VG_JOB_##name = number,
	VG_JOB_ENDS(X)
#undef X
	VG_JOB_HOW_MAX
};

/*
 * Why a request was refused (in the answer's argument) or a job failed (vg_job_end.reason).
 * X(name, number, status, text) — numbers are the protocol: never reused.
 */
#define VG_JOB_REASONS(X)                                                                                              \
	X(NONE, 0, OK, "no reason")                                                                                    \
	X(MALFORMED, 1, BAD_REQUEST, "malformed job: counts, lengths or reserved fields")                              \
	X(DIGEST, 2, UNAUTHORIZED, "the body is not the one that was signed")                                          \
	X(KIND, 3, BAD_REQUEST, "unknown kind of job: 0 is a function, 1 an executable, 2 a kernel program")           \
	X(FLAGS, 4, BAD_REQUEST, "unknown or contradicting flags of a job")                                            \
	X(TOO_LONG, 5, TOO_BIG, "arguments, environment or input over the limit")                                      \
	X(NUL, 6, BAD_REQUEST, "a NUL byte in name, argument, environment or directory")                               \
	X(ENVIRONMENT, 7, BAD_REQUEST, "an environment entry that is not NAME=VALUE")                                  \
	X(NAME, 8, BAD_REQUEST, "an empty name, or no argument vector")                                                \
	X(ESCAPE, 9, BAD_REQUEST, "a name that leaves the directory of plug-ins or objects")                           \
	X(SYMBOL, 10, NOT_FOUND, "no installed plug-in has this function")                                             \
	X(OBJECT, 11, NOT_FOUND, "no such kernel object or program in it")                                             \
	X(NOT_ALLOWED, 12, UNAUTHORIZED, "the kernel object is not on the allow list")                                 \
	X(VERIFIER, 13, BAD_REQUEST, "the kernel refused the program")                                                 \
	X(NO_JOB, 14, NOT_FOUND, "no such job: it never was here, or its result is no longer kept")                    \
	X(NOT_YOURS, 15, UNAUTHORIZED, "the job belongs to somebody else")                                             \
	X(FULL, 16, BUSY, "the node runs and queues as many jobs as it may")                                           \
	X(OFF, 17, UNSUPPORTED, "jobs of this kind are turned off here")                                               \
	X(REPLAYED, 18, REPLAYED, "asked before: the job is not run twice; attach to it")                              \
	X(OLD, 19, REPLAYED, "older than this node's memory: whether it ran is not known")                             \
	X(ANOTHER_LIFE, 20, REPLAYED, "asked before this node was started: whether it ran is not known")               \
	X(QUEUE, 21, UNSUPPORTED, "this node has no queue service to hand the request to")                             \
	X(DIRECTORY, 22, NOT_FOUND, "the working directory cannot be entered")                                         \
	X(PROGRAM, 23, NOT_FOUND, "the program cannot be executed")                                                    \
	X(LIMITS, 24, UNSUPPORTED, "a limit or a confinement that this node cannot set")                               \
	X(CRASHED, 25, INTERNAL, "the worker that ran it crashed")                                                     \
	X(TIMED_OUT, 26, INTERNAL, "it ran out of time")                                                               \
	X(RESULT_TOO_LONG, 27, TOO_BIG, "the result is over the limit")                                                \
	X(NO_MEMORY, 28, NO_MEMORY, "out of memory for jobs")                                                          \
	X(SIGNAL, 29, BAD_REQUEST, "no such signal, or the job has not begun")                                         \
	X(OFFSET, 30, RANGE, "an offset beyond what may be sent, or no longer kept")                                   \
	X(TAKEN, 31, BUSY, "another connection is attached to the job")                                                \
	X(STREAM, 32, UNSUPPORTED, "jobs with streams are for TCP")                                                    \
	X(START, 33, INTERNAL, "the job could not be started")                                                         \
	X(OPERATION, 34, UNSUPPORTED, "not an operation of the CPU pool")

enum vg_job_reason {
#define X(name, number, status, text) VG_JOB_REASON_##name = number,
	VG_JOB_REASONS(X)
#undef X
	VG_JOB_REASON_MAX
};

/* vg_job_request.flags */
#define VG_JOB_PTY 0x0001	 /* stdin, stdout and stderr are a terminal of rows × columns */
#define VG_JOB_KEEP 0x0002	 /* goes on without its client, for as long as it likes */
#define VG_JOB_INPUT_ENDS 0x0004 /* the input given here is all there is */
#define VG_JOB_MERGE 0x0008	 /* stderr goes where stdout goes */
#define VG_JOB_NO_WAIT 0x0010	 /* rather "busy" than the queue */
#define VG_JOB_NEW_MOUNTS 0x0020 /* a private view of the file system: no mount of it is seen outside */
#define VG_JOB_NEW_PIDS 0x0040	 /* sees no other process */
#define VG_JOB_NEW_NET 0x0080	 /* has no network but its own loopback */
#define VG_JOB_SECCOMP 0x0100	 /* without system calls that change the machine (docs/decisions/0073) */
#define VG_JOB_AS_QUEUE 0x0200	 /* use_as_kingcobra_service: hand the request to the queue instead of running it */
#define VG_JOB_FLAGS_KNOWN 0x03ff
#define VG_JOB_FLAGS_EXECUTABLE                                                                                       \
	(VG_JOB_PTY | VG_JOB_KEEP | VG_JOB_MERGE | VG_JOB_NEW_MOUNTS | VG_JOB_NEW_PIDS | VG_JOB_NEW_NET |             \
	 VG_JOB_SECCOMP)

#define VG_JOB_PRIORITY_DEFAULT 128 /* lower runs first */

/*
 * The front of a CLONE's body. Behind it, each as a length (4 bytes) and that many bytes: the name, the working
 * directory (empty: the node's choice), `arguments` arguments (kind 1: argv, from argv[0]), `environment` entries
 * NAME=VALUE (none: a small default one); then `input_length` bytes of input, and nothing more.
 *
 * name: kind 0: "function" or "library:function"; kind 1: a path, or a name looked for in PATH; kind 2:
 * "object:program". The header's ident is the body's digest (vg_job_digest), so that the tag covers the body too.
 */
struct vg_job_request {
	__u8 kind;
	__u8 priority;
	__be16 flags;
	__be32 timeout_ms;	/* from the start of the run; 0: none but the node's own */
	__be64 issued_ms;	/* Unix time of the request: a node that started later refuses it */
	__be64 memory_bytes;	/* limits, 0: the node's */
	__be32 cpu_ms;		/* of CPU time */
	__be32 cpu_permille;	/* share of one processor: 2500 is two and a half */
	__be32 processes;
	__be32 window;		/* bytes of output the client takes ahead of its JOB_WINDOW; 0: default */
	__be16 rows, columns;	/* of the terminal */
	__be32 arguments, environment;
	__be32 input_length;
	__be32 reserved;	/* zero */
	__be32 reserved2;
};
VG_ASSERT_SIZE(struct vg_job_request, 64);
VG_ASSERT_OFFSET(struct vg_job_request, issued_ms, 8);
VG_ASSERT_OFFSET(struct vg_job_request, arguments, 44);

/*
 * header.partition of JOB_OUTPUT and of the client's JOB_WINDOW. Each stream has offsets and a window of its own; that
 * of stderr is at most VG_JOB_ERROR_WINDOW. JOB_ATTACH's argument is an offset of stdout; its body, if there is one,
 * the offset of stderr (8 bytes, big-endian), else 0.
 */
#define VG_JOB_STDOUT 1
#define VG_JOB_STDERR 2
#define VG_JOB_OFFSET_KEPT (~0ULL) /* in JOB_ATTACH: from the oldest byte that is kept */

/*
 * The body of JOB_END. Behind it `result_length` bytes of result (kinds 0 and 2) and `text_length` bytes of text for a
 * person: why it failed, what the verifier said.
 */
struct vg_job_end {
	__u8 how;	      /* enum vg_job_how */
	__u8 kind;
	__be16 reason;	      /* enum vg_job_reason */
	__be32 code;
	__be64 output_bytes;  /* the offset behind its last byte of stdout */
	__be64 error_bytes;   /* and of stderr */
	__be64 wall_us;	      /* from start to end */
	__be64 queued_us;     /* from the request to the start */
	__be64 user_us, system_us;
	__be64 memory_peak_bytes;
	__be32 result_length, text_length;
};
VG_ASSERT_SIZE(struct vg_job_end, 72);

/* One job in the bodies of JOB_LIST and JOB_STATUS; behind it name_length bytes of name. */
struct vg_job_record {
	__be64 id;
	__u8 state, kind, how, priority;
	__u8 mine;	      /* 1: of who asks */
	__u8 attached;	      /* 1: some connection gets its output */
	__be16 flags;
	__be32 code;
	__be32 pid;	      /* 0: none */
	__be64 submitted_ms;  /* Unix time */
	__be64 run_us;	      /* so far, or in all */
	__be64 input_bytes, output_bytes;
	__be32 name_length;
	__be32 reserved;
};
VG_ASSERT_SIZE(struct vg_job_record, 64);

/* ---- reading --------------------------------------------------------------------------------------------------- */

struct vg_job_text {
	const __u8 *data;
	__u32 length;
};

/* A checked request: host byte order, strings still in the body. */
struct vg_job_view {
	__u8 kind, priority;
	__u16 flags, rows, columns;
	__u32 timeout_ms, cpu_ms, cpu_permille, processes, window, arguments, environment;
	__u64 issued_ms, memory_bytes;
	struct vg_job_text name, directory, input;
	const __u8 *strings; /* the arguments, then the environment: vg_job_next */
};

static inline __u32 vg_job_load32(const __u8 *at)
{
	return (__u32)at[0] << 24 | (__u32)at[1] << 16 | (__u32)at[2] << 8 | at[3];
}

/* The string at *at, which vg_job_read has found good; moves behind it. */
static inline struct vg_job_text vg_job_next(const __u8 **at)
{
	struct vg_job_text text = { *at + 4, vg_job_load32(*at) };

	*at = text.data + text.length;
	return text;
}

/* Take a string of at most the bytes that are there. 0, or why not. */
static inline enum vg_job_reason vg_job_take(const __u8 **at, const __u8 *end, struct vg_job_text *ret_text)
{
	if (end - *at < 4 || vg_job_load32(*at) > (__u64)(end - *at - 4))
		return VG_JOB_REASON_MALFORMED;
	*ret_text = vg_job_next(at);
	for (__u32 i = 0; i < ret_text->length; i++)
		if (!ret_text->data[i])
			return VG_JOB_REASON_NUL;
	return VG_JOB_REASON_NONE;
}

static inline enum vg_job_reason vg_job_check_fields(const struct vg_job_view *view)
{
	if (view->kind >= VG_JOB_KIND_MAX)
		return VG_JOB_REASON_KIND;
	if (view->flags & ~VG_JOB_FLAGS_KNOWN)
		return VG_JOB_REASON_FLAGS;
	if (view->kind != VG_JOB_EXECUTABLE && view->flags & VG_JOB_FLAGS_EXECUTABLE)
		return VG_JOB_REASON_FLAGS;
	if (view->arguments > VG_JOB_STRINGS_MAX || view->environment > VG_JOB_STRINGS_MAX ||
	    view->input.length > VG_JOB_INPUT_MAX)
		return VG_JOB_REASON_TOO_LONG;
	return VG_JOB_REASON_NONE;
}

static inline enum vg_job_reason vg_job_check_entry(struct vg_job_text entry)
{
	for (__u32 i = 0; i < entry.length; i++)
		if (entry.data[i] == '=')
			return i ? VG_JOB_REASON_NONE : VG_JOB_REASON_ENVIRONMENT;
	return VG_JOB_REASON_ENVIRONMENT;
}

/*
 * Read the body of a CLONE. Every string of *ret_view lies within the body afterwards. VG_JOB_REASON_NONE, or why it is
 * refused; never reads beyond `length`.
 */
static inline enum vg_job_reason vg_job_read(const void *body, __u64 length, struct vg_job_view *ret_view)
{
	const __u8 *at = (const __u8 *)body, *end = at + length;
	struct vg_job_request fixed;
	enum vg_job_reason reason;
	struct vg_job_text text;

	if (length < sizeof(fixed))
		return VG_JOB_REASON_MALFORMED;
	__builtin_memcpy(&fixed, at, sizeof(fixed));
	at += sizeof(fixed);
	*ret_view = (struct vg_job_view){
		.kind = fixed.kind, .priority = fixed.priority, .flags = VG_BE16TOH(fixed.flags),
		.rows = VG_BE16TOH(fixed.rows), .columns = VG_BE16TOH(fixed.columns),
		.timeout_ms = VG_BE32TOH(fixed.timeout_ms), .cpu_ms = VG_BE32TOH(fixed.cpu_ms),
		.cpu_permille = VG_BE32TOH(fixed.cpu_permille), .processes = VG_BE32TOH(fixed.processes),
		.window = VG_BE32TOH(fixed.window), .arguments = VG_BE32TOH(fixed.arguments),
		.environment = VG_BE32TOH(fixed.environment), .issued_ms = VG_BE64TOH(fixed.issued_ms),
		.memory_bytes = VG_BE64TOH(fixed.memory_bytes), .input.length = VG_BE32TOH(fixed.input_length),
	};
	reason = vg_job_check_fields(ret_view);
	if (reason)
		return reason;
	if (fixed.reserved || fixed.reserved2)
		return VG_JOB_REASON_MALFORMED;
	if (length - ret_view->input.length > VG_JOB_SPEC_MAX && length >= ret_view->input.length)
		return VG_JOB_REASON_TOO_LONG;
	reason = vg_job_take(&at, end, &ret_view->name);
	if (!reason)
		reason = vg_job_take(&at, end, &ret_view->directory);
	ret_view->strings = at;
	for (__u32 i = 0; i < ret_view->arguments && !reason; i++)
		reason = vg_job_take(&at, end, &text);
	for (__u32 i = 0; i < ret_view->environment && !reason; i++) {
		reason = vg_job_take(&at, end, &text);
		if (!reason)
			reason = vg_job_check_entry(text);
	}
	if (reason)
		return reason;
	if (!ret_view->name.length || (ret_view->kind == VG_JOB_EXECUTABLE && !ret_view->arguments))
		return VG_JOB_REASON_NAME;
	if ((__u64)(end - at) != ret_view->input.length)
		return VG_JOB_REASON_MALFORMED;
	ret_view->input.data = at;
	return VG_JOB_REASON_NONE;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static inline void vg_job_store32(__u8 *at, __u32 value)
{
	at[0] = (__u8)(value >> 24);
	at[1] = (__u8)(value >> 16);
	at[2] = (__u8)(value >> 8);
	at[3] = (__u8)value;
}

/*
 * A body being written into memory of the caller's: the fixed part with vg_job_write, then the strings in order with
 * vg_job_put, then the input with vg_job_put_bytes. `bytes` counts on when there is no room, so that a first pass
 * without memory (NULL, 0) tells how much is needed.
 */
struct vg_job_writer {
	__u8 *data;
	__u64 room, bytes;
};

static inline void vg_job_put_bytes(struct vg_job_writer *writer, const void *data, __u64 length)
{
	if (length && writer->bytes + length <= writer->room)
		__builtin_memcpy(writer->data + writer->bytes, data, length);
	writer->bytes += length;
}

static inline void vg_job_put(struct vg_job_writer *writer, const void *data, __u32 length)
{
	__u8 prefix[4];

	vg_job_store32(prefix, length);
	vg_job_put_bytes(writer, prefix, sizeof(prefix));
	vg_job_put_bytes(writer, data, length);
}

#ifndef __bpf__
#include "hash.h"

/* header.ident of a CLONE: SipHash-2-4 of the body under the cluster key, or a key of zeros where there is none. */
static inline __u64 vg_job_digest(const __u64 *cluster_key, const void *body, __u64 length)
{
	static const __u64 zeros[2];

	return vg_siphash24(cluster_key ? cluster_key : zeros, body, length);
}
#endif

/* What a refusal's number says, and the status it travels with. */
static inline const char *vg_job_reason_text(__u32 reason)
{
	switch (reason) {
#define X(name, number, status, text) \
	case number:                  \
		return text;
		VG_JOB_REASONS(X)
#undef X
	}
	return "unknown reason";
}

static inline __u8 vg_job_reason_status(__u32 reason)
{
	switch (reason) {
#define X(name, number, status, text) \
	case number:                  \
		return VG_STATUS_##status;
		VG_JOB_REASONS(X)
#undef X
	}
	return VG_STATUS_INTERNAL;
}

static inline const char *vg_job_state_text(__u8 state)
{
	switch (state) {
#define X(name, number, text) \
	case number:          \
		return text;
		VG_JOB_STATES(X)
#undef X
	}
	return "unknown";
}

static inline const char *vg_job_how_text(__u8 how)
{
	switch (how) {
#define X(name, number, text) \
	case number:          \
		return text;
		VG_JOB_ENDS(X)
#undef X
	}
	return "unknown";
}

static inline const char *vg_job_kind_text(__u8 kind)
{
	switch (kind) {
#define X(name, number, text) \
	case number:          \
		return text;
		VG_JOB_KINDS(X)
#undef X
	}
	return "unknown";
}

#endif
