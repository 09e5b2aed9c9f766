/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a node says to its jobs: answers, output, their end. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/job.h"

/* ---- what arrives ---------------------------------------------------------------------------------------------- */

static void accepted(struct virgo_job *job)
{
	job->link->unanswered -= job->phase == VG_PHASE_SENT;
	job->phase = VG_PHASE_RUNNING;
	job->lost_ns = 0;
	if (job->flags & VIRGO_JOB_DETACH && !job->adopted) {
		vg_job_finish(job);
		return;
	}
	if (job->signal == VG_JOB_CANCEL_PENDING) {
		(void)vg_job_order(job, VG_OP_JOB_CANCEL, 0);
	} else if (job->signal) {
		job->last_signal = job->signal;
		(void)vg_job_order(job, VG_OP_JOB_SIGNAL, (__u64)job->signal);
		job->signal = 0;
	}
	vg_job_push_input(job);
}

static void refusal_text(struct virgo_job *job, const struct vg_wire_header *header, const __u8 *body)
{
	__u32 length = VG_BE32TOH(header->body_length), reason = (__u32)VG_BE64TOH(header->argument);

	if (header->flags & VG_HTOBE16(VG_FLAG_TEXT) && length)
		(void)snprintf(job->text, sizeof(job->text), "%.*s", (int)length, (const char *)body);
	else
		(void)snprintf(job->text, sizeof(job->text), "%s",
			       reason ? vg_job_reason_text(reason) : vg_status_text(header->status));
}

static void on_clone(struct virgo_job *job, const struct vg_wire_header *header, const __u8 *body, __u64 now_ns)
{
	const __u32 reason = (__u32)VG_BE64TOH(header->argument);
	struct vg_link *link = job->link;

	if (header->status == VG_STATUS_OK) {
		job->id = VG_BE64TOH(header->ident);
		accepted(job);
		return;
	}
	if (header->status == VG_STATUS_BUSY) {
		/* Choose again, without this one. */
		if (!job->busy_until_ns)
			job->busy_until_ns = now_ns + job->busy_ns;
		vg_job_again(job);
		vg_job_leave_out(job, link);
		job->was_busy = true;
		return;
	}
	if (header->status == VG_STATUS_REPLAYED && reason == VG_JOB_REASON_REPLAYED && header->ident) {
		/* It had arrived before the connection broke. */
		job->id = VG_BE64TOH(header->ident);
		link->unanswered--;
		job->phase = VG_PHASE_ATTACHING;
		job->sent_ns = 0;
		vg_jobs_link_up(job->v, link, now_ns);
		return;
	}
	refusal_text(job, header, body);
	if (header->status == VG_STATUS_REPLAYED) {
		vg_job_undecided(job, job->text);
		return;
	}
	if (header->status == VG_STATUS_UNAUTHORIZED && !reason)
		job->v->refused_us = true;
	vg_job_fail(job, vg_job_error(reason, header->status), job->text);
}

static void on_attach(struct virgo_job *job, const struct vg_wire_header *header, const __u8 *body)
{
	const __u32 reason = (__u32)VG_BE64TOH(header->argument);

	if (header->status == VG_STATUS_OK) {
		/* The node has this much; what had left and did not arrive leaves again. */
		job->input_sent = job->input_at;
		job->input_end_sent = false;
		if (vg_job_input_taken(job, VG_BE64TOH(header->argument))) {
			vg_job_fail(job, -EPROTO, NULL);
			return;
		}
		accepted(job);
		return;
	}
	refusal_text(job, header, body);
	if (header->status == VG_STATUS_RANGE)
		vg_job_fail(job, -ENODATA, "a part of its output is no longer kept on its node");
	else if (reason == VG_JOB_REASON_NO_JOB && !job->adopted)
		vg_job_undecided(job, "the node knows nothing of it any more");
	else if (header->status == VG_STATUS_BUSY)
		/* Our old connection, whose end the node has not noticed. */
		job->sent_ns = 0;
	else
		vg_job_fail(job, vg_job_error(reason, header->status), job->text);
}

static void tell_taken(struct virgo_job *job, __u16 number)
{
	struct vg_job_stream *stream = &job->stream[number - VG_JOB_STDOUT];

	stream->told = stream->taken;
	(void)vg_job_say(job->v, job->link,
			   &(struct vg_wire_header){ .opcode = VG_OP_JOB_WINDOW,
						     .ident = VG_HTOBE64(job->id),
						     .partition = VG_HTOBE16(number),
						     .argument = VG_HTOBE64(stream->taken) },
			   NULL, 0, NULL);
}

/* Take what is new of it, and let the node send more once half of what it may send ahead has been taken. */
static int on_output(struct virgo_job *job, const struct vg_wire_header *header, const __u8 *body)
{
	const __u64 at = VG_BE64TOH(header->argument), end = at + VG_BE32TOH(header->body_length);
	const __u16 number = VG_BE16TOH(header->partition);
	struct vg_job_stream *stream;
	size_t known;

	if (number != VG_JOB_STDOUT && number != VG_JOB_STDERR)
		return -EPROTO;
	stream = &job->stream[number - VG_JOB_STDOUT];
	if (stream->anywhere)
		stream->taken = stream->told = at;
	stream->anywhere = false;
	if (at > stream->taken) {
		vg_job_fail(job, -ENODATA, "a part of its output is no longer kept on its node");
		return 0;
	}
	if (end <= stream->taken)
		return 0;
	known = (size_t)(stream->taken - at);
	stream->taken = end;
	if (job->output) {
		job->v->delivering = job->in_output = true;
		job->output(job->context, number, body + known, (size_t)(end - at) - known);
		job->v->delivering = job->in_output = false;
	} else if (vg_buffer_add(&stream->kept, body + known, (size_t)(end - at) - known)) {
		vg_job_fail(job, -ENOMEM, NULL);
		return 0;
	}
	if (job->phase != VG_PHASE_RUNNING || stream->taken - stream->told < stream->window / 2)
		return 0;
	tell_taken(job, number);
	return 0;
}

static void note_end(struct virgo_job *job, const struct vg_job_end *end)
{
	struct virgo_job_result *result = &job->result;
	const __u32 code = VG_BE32TOH(end->code), reason = VG_BE16TOH(end->reason);

	result->queued_ns = VG_BE64TOH(end->queued_us) * 1000;
	result->run_ns = VG_BE64TOH(end->wall_us) * 1000;
	result->user_ns = VG_BE64TOH(end->user_us) * 1000;
	result->system_ns = VG_BE64TOH(end->system_us) * 1000;
	result->memory_bytes = VG_BE64TOH(end->memory_peak_bytes);
	switch (end->how) {
	case VG_JOB_EXITED:
		result->status = (int)code;
		break;
	case VG_JOB_SIGNALLED:
		result->signal = (int)code;
		break;
	case VG_JOB_TIMEOUT:
		result->timed_out = true;
		result->signal = (int)code;
		break;
	case VG_JOB_CANCELLED:
		result->signal = (int)code;
		result->error = -ECANCELED;
		break;
	case VG_JOB_LOST:
		result->error = -ECONNRESET;
		break;
	default:
		result->error = vg_job_error(reason, vg_job_reason_status(reason));
		result->status = (int)code;
		if (!job->text[0])
			(void)snprintf(job->text, sizeof(job->text), "%s", vg_job_reason_text(reason));
	}
}

static bool misses(const struct vg_job_stream *stream, __u64 end)
{
	return !stream->anywhere && stream->taken != end;
}

static int on_end(struct virgo_job *job, const struct vg_wire_header *header, const __u8 *body)
{
	const __u32 length = VG_BE32TOH(header->body_length);
	struct vg_job_end end;
	__u32 result_length, text_length;

	if (length < sizeof(end))
		return -EPROTO;
	memcpy(&end, body, sizeof(end));
	result_length = VG_BE32TOH(end.result_length);
	text_length = VG_BE32TOH(end.text_length);
	if ((__u64)sizeof(end) + result_length + text_length != length)
		return -EPROTO;
	if (job->kind == VIRGO_EXECUTABLE && (misses(&job->stream[0], VG_BE64TOH(end.output_bytes)) ||
					      misses(&job->stream[1], VG_BE64TOH(end.error_bytes)))) {
		vg_job_fail(job, -ENODATA, "a part of its output is lost");
		return 0;
	}
	if (result_length && vg_buffer_add(&job->stream[0].kept, body + sizeof(end), result_length)) {
		vg_job_fail(job, -ENOMEM, NULL);
		return 0;
	}
	(void)snprintf(job->text, sizeof(job->text), "%.*s", (int)text_length,
		       (const char *)body + sizeof(end) + result_length);
	job->id = VG_BE64TOH(header->ident);
	note_end(job, &end);
	/* We have all of it: the node need not keep it. */
	if (job->kind == VIRGO_EXECUTABLE) {
		if (job->stream[1].taken != job->stream[1].told)
			tell_taken(job, VG_JOB_STDERR);
		if (!job->stream[0].anywhere)
			tell_taken(job, VG_JOB_STDOUT);
	}
	vg_job_finish(job);
	return 0;
}

static bool ends(int signal)
{
	return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT || signal == SIGKILL;
}

/* ---- who it is for --------------------------------------------------------------------------------------------- */

static struct virgo_job *find(struct virgo *v, const struct vg_link *link, const struct vg_wire_header *header)
{
	const __u64 sequence = VG_BE64TOH(header->sequence), id = VG_BE64TOH(header->ident);
	/* A function is answered by its end. */
	const bool is_answer = header->opcode == VG_OP_CLONE || header->opcode == VG_OP_JOB_END;

	for (struct virgo_job *job = v->jobs; job; job = job->next) {
		if (job->link != link)
			continue;
		if (job->phase == VG_PHASE_SENT ? is_answer && job->sequence == sequence : id && job->id == id)
			return job;
	}
	return NULL;
}

static void answer_question(struct vg_question *question, const struct vg_wire_header *header, const __u8 *body)
{
	const __u32 reason = (__u32)VG_BE64TOH(header->argument);

	question->answered = true;
	question->body_length = VG_BE32TOH(header->body_length);
	question->body = malloc((size_t)question->body_length + 1);
	if (!question->body) {
		question->error = -ENOMEM;
		return;
	}
	if (question->body_length)
		memcpy(question->body, body, question->body_length);
	question->body[question->body_length] = '\0';
	if (header->status == VG_STATUS_OK)
		return;
	question->error = vg_job_error(reason, header->status);
	(void)snprintf(question->text, sizeof(question->text), "%s",
		       header->flags & VG_HTOBE16(VG_FLAG_TEXT) && question->body_length ? (char *)question->body
		       : reason								 ? vg_job_reason_text(reason)
				: vg_status_text(header->status));
}

int vg_jobs_frame(struct virgo *v, struct vg_link *link, const struct vg_wire_header *header, const __u8 *body,
		  __u64 now_ns)
{
	struct virgo_job *job;

	/* Its load stamp may be what a choice waits for. */
	if (header->opcode == VG_OP_PING)
		vg_links_due(v, now_ns);
	for (struct vg_question *question = v->questions; question; question = question->next)
		if (question->link == link && question->sequence == VG_BE64TOH(header->sequence) &&
		    question->opcode == header->opcode && question->sent && !question->answered) {
			answer_question(question, header, body);
			return 0;
		}
	job = find(v, link, header);
	/* Of a job we have forgotten, or an answer to an order that needs none. */
	if (!job)
		return 0;
	switch (header->opcode) {
	case VG_OP_CLONE:
		if (job->phase == VG_PHASE_SENT)
			on_clone(job, header, body, now_ns);
		return 0;
	case VG_OP_JOB_ATTACH:
		if (job->phase == VG_PHASE_ATTACHING)
			on_attach(job, header, body);
		return 0;
	case VG_OP_JOB_OUTPUT:
		return on_output(job, header, body);
	case VG_OP_JOB_WINDOW:
		if (vg_job_input_taken(job, VG_BE64TOH(header->argument)))
			return -EPROTO;
		job->input_told = VG_BE64TOH(header->argument);
		vg_job_push_input(job);
		return 0;
	case VG_OP_JOB_SIGNAL:
		/* It has not begun yet, so no signal can reach it: what would end it cancels it. */
		if (header->status == VG_STATUS_BAD_REQUEST && job->phase == VG_PHASE_RUNNING && ends(job->last_signal))
			(void)vg_job_order(job, VG_OP_JOB_CANCEL, 0);
		return 0;
	case VG_OP_JOB_END:
		return on_end(job, header, body);
	default:
		return 0;
	}
}
