// SPDX-License-Identifier: GPL-3.0-or-later
/* Frames that leave: replies, and what a job says to who is attached to it. */
#include <assert.h>
#include <string.h>

#include "svc/cpu/cpu.h"

void vg_cpu_reply_header(struct vg_env *env, const struct vg_reply *reply, struct vg_wire_header *ret_header)
{
	struct vg_reply signed_reply = *reply;

	signed_reply.key = vg_cluster_key(env->cluster);
	vg_reply_header(env, &vg_service_cpu, &signed_reply, ret_header);
}

void vg_cpu_reply(struct vg_session *session, const struct vg_reply *reply)
{
	struct vg_wire_header header;

	vg_cpu_reply_header(session->env, reply, &header);
	vg_out_append(session->out, &header, sizeof(header));
	if (reply->body_length)
		vg_out_append(session->out, reply->body, reply->body_length);
	vg_session_flush(session);
}

void vg_cpu_count_refusal(struct vg_cpu *cpu, enum vg_job_reason reason)
{
	static const enum vg_refusal refusals[VG_STATUS_MAX] = {
		[VG_STATUS_BAD_REQUEST] = VG_REFUSAL_MALFORMED,
		[VG_STATUS_UNSUPPORTED] = VG_REFUSAL_BAD_OPCODE,
		[VG_STATUS_TOO_BIG] = VG_REFUSAL_TOO_LONG,
		[VG_STATUS_NO_MEMORY] = VG_REFUSAL_NO_MEMORY,
		[VG_STATUS_UNAUTHORIZED] = VG_REFUSAL_UNAUTHORIZED,
		[VG_STATUS_BUSY] = VG_REFUSAL_BUSY,
		[VG_STATUS_REPLAYED] = VG_REFUSAL_REPLAYED,
	};
	enum vg_refusal refusal = refusals[vg_job_reason_status(reason)];

	cpu->counts.refused++;
	if (reason == VG_JOB_REASON_FULL)
		cpu->counts.busy++;
	if (refusal)
		vg_refuse(cpu->env, refusal);
}

/* ---- to who is attached ---------------------------------------------------------------------------------------- */

struct vg_session *vg_job_session(struct vg_job *job)
{
	return job->attached && job->face != VG_CPU_DATAGRAM ? vg_session_find(job->cpu->env, job->session) : NULL;
}

void vg_job_tell_window(struct vg_job *job)
{
	struct vg_session *session = vg_job_session(job);
	const struct vg_reply reply = {
		.opcode = VG_OP_JOB_WINDOW,
		.client = job->to_client,
		.sequence = job->to_sequence,
		.ident = job->id,
		.argument = job->input.written,
	};

	job->input.told = job->input.written;
	if (session && job->face == VG_CPU_STREAM)
		vg_cpu_reply(session, &reply);
}

static struct vg_job_end end_of(const struct vg_job *job)
{
	__u64 started_ns = job->started_ns ?: job->ended_ns;

	return (struct vg_job_end){
		.how = job->how,
		.kind = job->view.kind,
		.reason = VG_HTOBE16(job->reason),
		.code = VG_HTOBE32((__u32)job->code),
		.output_bytes = VG_HTOBE64(job->output[0].filled),
		.error_bytes = VG_HTOBE64(job->output[1].filled),
		.wall_us = VG_HTOBE64((job->ended_ns - started_ns) / 1000),
		.queued_us = VG_HTOBE64((started_ns - job->submitted_ns) / 1000),
		.user_us = VG_HTOBE64(job->end.user_us),
		.system_us = VG_HTOBE64(job->end.system_us),
		.memory_peak_bytes = VG_HTOBE64(job->end.memory_peak_bytes),
		.result_length = VG_HTOBE32(job->result_length),
		.text_length = VG_HTOBE32(job->text_length),
	};
}

/* The last frame of a job: to a session when all of its output has been given to it, to a datagram's source at once. */
static void tell_stream(struct vg_job *job, struct vg_session *session)
{
	const struct vg_job_end end = end_of(job);
	const __u32 behind = job->result_length + job->text_length;
	const struct vg_reply reply = {
		.opcode = VG_OP_JOB_END,
		.client = job->to_client,
		.sequence = job->to_sequence,
		.ident = job->id,
		.body_length = (__u32)sizeof(end) + behind,
	};
	struct vg_wire_header header;

	vg_cpu_reply_header(job->cpu->env, &reply, &header);
	vg_out_append(session->out, &header, sizeof(header));
	vg_out_append(session->out, &end, sizeof(end));
	if (behind)
		vg_out_append(session->out, job->result, behind);
}

static void tell_datagram(struct vg_job *job)
{
	struct {
		struct vg_wire_header header;
		struct vg_job_end end;
		__u8 behind[VG_DATAGRAM_MAX];
	} message;
	__u32 behind = job->result_length + job->text_length;
	struct vg_reply reply = {
		.opcode = VG_OP_JOB_END,
		.client = job->to_client,
		.sequence = job->to_sequence,
		.ident = job->id,
		.body_length = (__u32)sizeof(message.end) + behind,
	};

	message.end = end_of(job);
	if (sizeof(message.header) + reply.body_length > job->answer_max) {
		/* No longer than the question: the rest is to be had by JOB_ATTACH. */
		reply.status = VG_STATUS_TOO_BIG;
		reply.argument = VG_JOB_REASON_RESULT_TOO_LONG;
		reply.body_length = behind = 0;
		vg_refuse(job->cpu->env, VG_REFUSAL_REFLECTION);
	} else {
		if (behind)
			memcpy(message.behind, job->result, behind);
	}
	vg_cpu_reply_header(job->cpu->env, &reply, &message.header);
	(void)vg_io_sendto(job->cpu->env->io, job->source_fd, &message, sizeof(message.header) + reply.body_length,
			   (const struct sockaddr *)&job->source, job->source_length); /* lost: it is asked again */
}

void vg_job_tell_end(struct vg_job *job)
{
	struct vg_session *session = vg_job_session(job);

	assert(job->state == VG_JOB_STATE_ENDED);
	if (job->told_end || !job->attached || (job->face != VG_CPU_DATAGRAM && !session))
		return;
	if (job->face == VG_CPU_STREAM &&
	    (job->output[0].sent != job->output[0].filled || job->output[1].sent != job->output[1].filled))
		return; /* output.c comes back when that has gone */
	job->told_end = true;
	if (job->face == VG_CPU_DATAGRAM)
		tell_datagram(job);
	else if (job->face == VG_CPU_TEXT)
		vg_cpu_text_end(job, session);
	else
		tell_stream(job, session);
	vg_job_detach(job);
	if (session) {
		/* Now it owes one answer less; a session of text waits for it. */
		vg_session_flush(session);
		vg_session_resume(session);
	}
}
