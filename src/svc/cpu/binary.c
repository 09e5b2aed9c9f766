// SPDX-License-Identifier: GPL-3.0-or-later
/* VIRGO binary on a stream of the CPU pool: requests in, jobs' frames out (answer.c, output.c). */
#include <string.h>

#include "proto/frame.h"
#include "svc/cpu/cpu.h"

#define BODY_OTHER_MAX VG_DATAGRAM_MAX /* of operations that need no body */

/* ---- refusals -------------------------------------------------------------------------------------------------- */

static void refuse_with(struct vg_session *session, const struct vg_wire_header *header, __u8 status, __u16 reason,
			const char *text, bool unproven)
{
	const struct vg_reply reply = {
		.opcode = header->opcode,
		.status = status,
		.client = VG_BE64TOH(header->client),
		.sequence = VG_BE64TOH(header->sequence),
		.ident = VG_BE64TOH(header->ident),
		.argument = reason,
		.flags = VG_FLAG_TEXT,
		.body = text,
		.body_length = (__u32)strlen(text),
		.unproven = unproven,
	};

	vg_cpu_reply(session, &reply);
}

static void refuse(struct vg_session *session, const struct vg_wire_header *header, enum vg_job_reason reason)
{
	refuse_with(session, header, vg_job_reason_status(reason), (__u16)reason, vg_job_reason_text(reason), false);
}

/* Refused and counted: what vg_job_make has not counted itself. */
static void refuse_counted(struct vg_session *session, const struct vg_wire_header *header, enum vg_job_reason reason)
{
	vg_cpu_count_refusal(vg_cpu(session->env), reason);
	refuse(session, header, reason);
}

static __u32 body_max(__u8 opcode)
{
	return opcode == VG_OP_CLONE	 ? VG_JOB_SPEC_MAX + VG_JOB_INPUT_MAX :
	       opcode == VG_OP_JOB_INPUT ? VG_JOB_DATA_MAX :
					   BODY_OTHER_MAX;
}

/* ---- operations ------------------------------------------------------------------------------------------------ */

static struct vg_cpu_request request_of(const struct vg_session *session, const struct vg_frame *frame)
{
	return (struct vg_cpu_request){
		.face = VG_CPU_STREAM,
		.owner = frame->key,
		.owner_length = frame->key_length,
		.client = VG_BE64TOH(frame->header.client),
		.sequence = VG_BE64TOH(frame->header.sequence),
		.digest = VG_BE64TOH(frame->header.ident),
		.body = frame->body,
		.body_length = frame->body_length,
		.peer = session->peer,
	};
}

static void answer_ok(struct vg_session *session, const struct vg_wire_header *header, const struct vg_job *job,
		      __u64 argument)
{
	const struct vg_reply reply = {
		.opcode = header->opcode,
		.client = VG_BE64TOH(header->client),
		.sequence = VG_BE64TOH(header->sequence),
		.ident = job->id,
		.argument = argument,
	};

	vg_cpu_reply(session, &reply);
}

static void clone(struct vg_session *session, const struct vg_frame *frame)
{
	const struct vg_cpu_request request = request_of(session, frame);
	struct vg_cpu *cpu = vg_cpu(session->env);
	struct vg_job *job;
	enum vg_job_reason reason = vg_job_make(cpu, &request, &job);
	struct vg_wire_header header = frame->header;

	if (reason) {
		/* Whose it is may learn its number, and attach. */
		if (job)
			header.ident = vg_job_is_of(job, &request) ? VG_HTOBE64(job->id) : 0;
		refuse(session, &header, reason);
		return;
	}
	if (!job) { /* the queue service has it */
		answer_ok(session, &header, &(const struct vg_job){ 0 }, 0);
		return;
	}
	vg_job_attach(job, session, request.client, request.sequence);
	if (job->view.kind == VG_JOB_EXECUTABLE)
		answer_ok(session, &header, job, vg_queue_before(&cpu->queue[VG_CPU_PROGRAMS], job->view.priority));
	vg_job_go(job);
}

/*
 * Operations that change something are done once, so that a recorded one cannot be played again. False: it is old or
 * was done before, and has been answered.
 */
static bool is_new(struct vg_session *session, const struct vg_frame *frame)
{
	struct vg_cpu *cpu = vg_cpu(session->env);
	const struct vg_window_answer now = { VG_BE64TOH(frame->header.ident), frame->header.opcode, VG_STATUS_OK };
	__u64 client = VG_BE64TOH(frame->header.client), sequence = VG_BE64TOH(frame->header.sequence);
	struct vg_window_answer before;

	switch (vg_window_look(cpu->window, client, sequence, &before)) {
	case VG_WINDOW_NEW:
		vg_window_record(cpu->window, client, sequence, &now);
		return true;
	case VG_WINDOW_DUPLICATE:
		cpu->counts.duplicates++;
		refuse_counted(session, &frame->header, VG_JOB_REASON_REPLAYED);
		return false;
	case VG_WINDOW_OLD:
		break;
	}
	refuse_counted(session, &frame->header, VG_JOB_REASON_OLD);
	return false;
}

static __u64 load64(const __u8 *at)
{
	return (__u64)vg_job_load32(at) << 32 | vg_job_load32(at + 4);
}

static void attach(struct vg_session *session, const struct vg_frame *frame, struct vg_job *job)
{
	__u64 offset = VG_BE64TOH(frame->header.argument);
	__u64 error_offset = frame->body_length >= 8 ? load64(frame->body) : 0;

	if (job->attached && job->face != VG_CPU_STREAM) {
		refuse_counted(session, &frame->header, VG_JOB_REASON_TAKEN);
		return;
	}
	offset = offset == VG_JOB_OFFSET_KEPT ? job->output[0].taken : offset;
	error_offset = error_offset == VG_JOB_OFFSET_KEPT ? job->output[1].taken : error_offset;
	if (!vg_output_keeps(&job->output[0], offset) || !vg_output_keeps(&job->output[1], error_offset)) {
		refuse_counted(session, &frame->header, VG_JOB_REASON_OFFSET);
		return;
	}
	vg_job_detach(job); /* its owner has come back before the old connection was known to be lost */
	vg_output_rewind(&job->output[0], offset);
	vg_output_rewind(&job->output[1], error_offset);
	job->face = VG_CPU_STREAM;
	vg_job_attach(job, session, VG_BE64TOH(frame->header.client), VG_BE64TOH(frame->header.sequence));
	answer_ok(session, &frame->header, job, job->input.filled);
	/* What was told to a connection that was lost may not have arrived. */
	if (job->view.kind == VG_JOB_EXECUTABLE)
		vg_job_tell_window(job);
	vg_output_pump(&job->output[0]);
	vg_output_pump(&job->output[1]);
	if (job->state == VG_JOB_STATE_ENDED)
		vg_job_tell_end(job);
}

static void signal_job(struct vg_session *session, const struct vg_frame *frame, struct vg_job *job)
{
	__u64 number = VG_BE64TOH(frame->header.argument);

	if (number < 1 || number > 64 || job->state != VG_JOB_STATE_RUNNING || job->view.kind != VG_JOB_EXECUTABLE ||
	    job->reaped || vg_spawn_signal(job->pid, job->pidfd, (int)number, true))
		refuse_counted(session, &frame->header, VG_JOB_REASON_SIGNAL);
	else
		answer_ok(session, &frame->header, job, number);
}

/* JOB_WINDOW: not answered, but a wrong one is. */
static void window(struct vg_session *session, const struct vg_frame *frame, struct vg_job *job)
{
	__u16 channel = VG_BE16TOH(frame->header.partition);
	__u64 offset = VG_BE64TOH(frame->header.argument);

	if ((channel != VG_JOB_STDOUT && channel != VG_JOB_STDERR) ||
	    (job->output[channel - 1].job ? !vg_output_taken(&job->output[channel - 1], offset) : offset != 0)) {
		refuse_counted(session, &frame->header, VG_JOB_REASON_OFFSET);
		return;
	}
	if (job->state == VG_JOB_STATE_ENDED && !job->attached && job->output[0].taken == job->output[0].filled &&
	    job->output[1].taken == job->output[1].filled && !(job->result_length + job->text_length))
		vg_job_discard(job); /* its owner has all there is */
}

static void input(struct vg_session *session, const struct vg_frame *frame, struct vg_job *job)
{
	enum vg_job_reason reason =
		vg_input_take(job, VG_BE64TOH(frame->header.argument), frame->body, frame->body_length);

	if (reason)
		refuse_counted(session, &frame->header, reason);
}

static void resize(struct vg_job *job, __u64 argument)
{
	if (job->view.flags & VG_JOB_PTY && job->output[0].fd >= 0)
		(void)vg_spawn_resize(job->output[0].fd, (__u16)(argument >> 16), (__u16)argument);
}

static void job_operation(struct vg_session *session, const struct vg_frame *frame)
{
	const struct vg_cpu_request request = request_of(session, frame);
	__u8 opcode = frame->header.opcode;
	struct vg_job *job;
	enum vg_job_reason reason = vg_job_find(vg_cpu(session->env), VG_BE64TOH(frame->header.ident), &request, &job);
	bool changes = opcode == VG_OP_JOB_SIGNAL || opcode == VG_OP_JOB_CANCEL || opcode == VG_OP_JOB_ATTACH;

	/* An acknowledgement or input for a job that has gone comes late, and is no mistake. */
	if (reason == VG_JOB_REASON_NO_JOB && (opcode == VG_OP_JOB_WINDOW || opcode == VG_OP_JOB_INPUT))
		return;
	if (reason) {
		refuse_counted(session, &frame->header, reason);
		return;
	}
	if (changes && !is_new(session, frame))
		return;
	switch (opcode) {
	case VG_OP_JOB_INPUT:
		input(session, frame, job);
		break;
	case VG_OP_JOB_WINDOW:
		window(session, frame, job);
		break;
	case VG_OP_JOB_SIGNAL:
		signal_job(session, frame, job);
		break;
	case VG_OP_JOB_CANCEL:
		answer_ok(session, &frame->header, job, job->state);
		vg_job_stop(job, VG_JOB_CANCELLED);
		break;
	case VG_OP_JOB_ATTACH:
		attach(session, frame, job);
		break;
	case VG_OP_JOB_RESIZE:
		resize(job, VG_BE64TOH(frame->header.argument));
		break;
	}
}

/* ---- lists ----------------------------------------------------------------------------------------------------- */

static void append_record(struct vg_out *out, const struct vg_job *job, const struct vg_cpu_request *request)
{
	struct vg_job_record record;

	vg_job_record(job, request, &record);
	vg_out_append(out, &record, sizeof(record));
	vg_out_append(out, job->name, strlen(job->name));
}

/* Header with the length of what is in `body`, then that. */
static void reply_with(struct vg_session *session, const struct vg_wire_header *request, struct vg_out *body)
{
	const struct vg_reply reply = {
		.opcode = request->opcode,
		.client = VG_BE64TOH(request->client),
		.sequence = VG_BE64TOH(request->sequence),
		.ident = VG_BE64TOH(request->ident),
		.body_length = (__u32)body->bytes,
	};
	struct vg_wire_header header;

	if (body->failed) {
		vg_out_deinit(body);
		refuse_counted(session, request, VG_JOB_REASON_NO_MEMORY);
		return;
	}
	vg_cpu_reply_header(session->env, &reply, &header);
	vg_out_append(session->out, &header, sizeof(header));
	vg_out_splice(session->out, body);
}

static void list(struct vg_session *session, const struct vg_frame *frame)
{
	const struct vg_cpu_request request = request_of(session, frame);
	struct vg_cpu *cpu = vg_cpu(session->env);
	struct vg_job *job;
	struct vg_out body;

	vg_out_init(&body, session->env->chunks);
	if (frame->header.opcode == VG_OP_JOB_STATUS) {
		enum vg_job_reason reason =
			vg_job_find(cpu, VG_BE64TOH(frame->header.ident), &request, &job);

		if (reason) {
			refuse_counted(session, &frame->header, reason);
			return;
		}
		append_record(&body, job, &request);
	} else {
		for (__u32 i = 0; i < cpu->places; i++)
			if (cpu->job[i].id)
				append_record(&body, &cpu->job[i], &request);
	}
	reply_with(session, &frame->header, &body);
}

static void tell_json(struct vg_session *session, const struct vg_frame *frame)
{
	struct vg_out body;

	vg_out_init(&body, session->env->chunks);
	if (frame->header.opcode == VG_OP_STATUS)
		vg_env_status_json(session->env, &body);
	else
		vg_env_topology_json(session->env, &body);
	reply_with(session, &frame->header, &body);
}

/* ---- one frame ------------------------------------------------------------------------------------------------- */

static void execute(struct vg_session *session, const struct vg_frame *frame)
{
	session->requests++;
	session->env->stats->requests_stream++;
	switch (frame->header.opcode) {
	case VG_OP_PING:
		answer_ok(session, &frame->header, &(const struct vg_job){ .id = VG_BE64TOH(frame->header.ident) }, 0);
		break;
	case VG_OP_STATUS:
	case VG_OP_TOPOLOGY:
		tell_json(session, frame);
		break;
	case VG_OP_CLONE:
		clone(session, frame);
		break;
	case VG_OP_JOB_LIST:
	case VG_OP_JOB_STATUS:
		list(session, frame);
		break;
	case VG_OP_JOB_INPUT:
	case VG_OP_JOB_WINDOW:
	case VG_OP_JOB_SIGNAL:
	case VG_OP_JOB_CANCEL:
	case VG_OP_JOB_ATTACH:
	case VG_OP_JOB_RESIZE:
		job_operation(session, frame);
		break;
	default:
		refuse_counted(session, &frame->header, VG_JOB_REASON_OPERATION);
	}
}

/* True: it may be executed. Else it has been answered, or needs no answer. */
static bool admitted(struct vg_session *session, const struct vg_frame *frame)
{
	struct vg_env *env = session->env;
	const __u64 *key = vg_cluster_key(env->cluster);

	if (frame->header.flags & VG_HTOBE16(VG_FLAG_REPLY)) {
		vg_refuse(env, VG_REFUSAL_MALFORMED);
		return false;
	}
	if (key && !vg_frame_tag_right(key, &frame->header, frame->key)) {
		vg_refuse(env, VG_REFUSAL_UNAUTHORIZED);
		refuse_with(session, &frame->header, VG_STATUS_UNAUTHORIZED, 0, "missing or wrong tag", true);
		return false;
	}
	if (frame->verdict == VG_WIRE_BAD_OPCODE) {
		refuse_counted(session, &frame->header, VG_JOB_REASON_OPERATION);
		return false;
	}
	if (frame->verdict != VG_WIRE_OK) {
		refuse_counted(session, &frame->header, VG_JOB_REASON_MALFORMED);
		return false;
	}
	if (frame->key_length > VG_JOB_OWNER_MAX || frame->body_length > body_max(frame->header.opcode)) {
		refuse_counted(session, &frame->header, VG_JOB_REASON_TOO_LONG);
		return false;
	}
	return true;
}

static void framing_lost(struct vg_session *session, const struct vg_frame *frame)
{
	bool version = frame->verdict == VG_WIRE_BAD_VERSION;

	vg_refuse(session->env, version ? VG_REFUSAL_BAD_VERSION : VG_REFUSAL_MALFORMED);
	refuse_with(session, &frame->header, version ? VG_STATUS_UNSUPPORTED : VG_STATUS_BAD_REQUEST, 0,
		    version ? "this node speaks version 1" : "not a VIRGO header, or a length over its limit",
		    vg_cluster_key(session->env->cluster));
	session->finish = true;
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

/* session->state: words[0] counts the jobs attached, words[1] the bytes still to come of a body that was refused. */
static size_t take(struct vg_session *session, const __u8 *data, size_t length)
{
	__u64 *skip = &session->state.words[1];
	struct vg_frame frame;

	if (*skip) {
		size_t part = *skip < length ? (size_t)*skip : length;

		*skip -= part;
		return part;
	}
	switch (vg_frame_read(&frame, data, length)) {
	case VG_FRAME_LOST:
		framing_lost(session, &frame);
		return length;
	case VG_FRAME_MORE:
		session->input_wanted = frame.length;
		return 0;
	case VG_FRAME_HEAD:
		if (admitted(session, &frame)) {
			session->input_wanted = frame.length;
			return 0;
		}
		*skip = frame.length - length;
		return length;
	case VG_FRAME_WHOLE:
		if (admitted(session, &frame))
			execute(session, &frame);
		break;
	}
	return frame.length;
}

ssize_t vg_cpu_binary_input(struct vg_session *session, const __u8 *data, size_t length)
{
	size_t taken = 0, step = 1;

	while (taken < length && step && !session->finish && !vg_out_full(session->out)) {
		step = take(session, data + taken, length - taken);
		taken += step;
	}
	return (ssize_t)taken;
}
