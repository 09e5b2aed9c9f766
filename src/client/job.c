/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The life of a job, from its submission to its one result. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/job.h"

#define INPUT_PIECE_BYTES VG_JOB_DATA_MAX

/* ---- beginning ------------------------------------------------------------------------------------------------- */

int vg_job_new(struct virgo *v, const struct virgo_job_options *options, struct virgo_job **ret_job)
{
	struct virgo_job *job = calloc(1, sizeof(*job));
	__u64 busy_ms;
	int error = job ? 0 : -ENOMEM;

	if (error)
		return error;
	job->v = v;
	job->policy = VG_POLICY_PREQUAL;
	if (options->policy)
		error = vg_policy_by_name(options->policy, &job->policy);
	if (!error && options->node)
		error = vg_job_node_find(v, options->node, &job->only);
	if (error) {
		free(job);
		return error;
	}
	busy_ms = options->busy_ms ? options->busy_ms : v->timeout_ns / 1000000;
	job->busy_ns = busy_ms * 1000000;
	job->flags = options->flags;
	job->retries = options->retries;
	job->rows = options->rows;
	job->columns = options->columns;
	job->output = options->output;
	job->ended = options->ended;
	job->context = options->context;
	job->input_ended = true;
	job->random = (__u32)vg_random(v);
	job->submitted_ns = vg_now_ns();
	*ret_job = job;
	return 0;
}

/* A node gives stderr no more than VG_JOB_ERROR_WINDOW. */
void vg_job_windows(struct virgo_job *job, __u32 bytes)
{
	job->stream[0].window = bytes;
	job->stream[1].window = bytes < VG_JOB_ERROR_WINDOW ? bytes : VG_JOB_ERROR_WINDOW;
}

void vg_job_submit(struct virgo_job *job)
{
	struct virgo *v = job->v;

	job->next = v->jobs;
	if (v->jobs)
		v->jobs->before = job;
	v->jobs = job;
	v->jobs_count++;
	job->result.attempts = 1;
	vg_links_due(v, 0);
}

static void leave_link(struct virgo_job *job)
{
	if (!job->link)
		return;
	assert(job->link->users > 0);
	job->link->users--;
	job->link->unanswered -= job->phase == VG_PHASE_SENT;
	job->link = NULL;
}

static void send_clone(struct virgo_job *job, __u64 now_ns)
{
	struct vg_wire_header head;

	/* A new request, not one that is sent again: of now, or a node that was started since would refuse it. */
	if (!job->sequence)
		vg_job_body_date(job);
	head = (struct vg_wire_header){
		.opcode = VG_OP_CLONE,
		.sequence = VG_HTOBE64(job->sequence),
		.ident = VG_HTOBE64(vg_job_digest(job->v->keyed ? job->v->key : NULL, job->body, job->body_length)),
	};

	if (vg_job_say(job->v, job->link, &head, job->body, job->body_length, &job->sequence))
		vg_job_fail(job, -ENOMEM, NULL);
	job->sent_ns = now_ns;
	vg_links_due(job->v, now_ns + job->v->timeout_ns);
}

void vg_job_send(struct virgo_job *job, struct vg_link *link, __u64 now_ns)
{
	assert(job->phase == VG_PHASE_CHOOSING && !job->link);
	job->link = link;
	link->users++;
	job->where = link->text;
	if (job->adopted) {
		job->phase = VG_PHASE_ATTACHING;
	} else {
		job->phase = VG_PHASE_SENT;
		link->unanswered++;
	}
	job->sent_ns = 0;
	if (link->fd < 0)
		vg_link_want(job->v, link, now_ns);
	else if (!link->connecting)
		vg_jobs_link_up(job->v, link, now_ns);
}

void vg_job_leave_out(struct virgo_job *job, const struct vg_link *link)
{
	job->tried[link->number / 64] |= 1ULL << (link->number % 64);
	job->where = link->text;
}

void vg_job_again(struct virgo_job *job)
{
	leave_link(job);
	job->phase = VG_PHASE_CHOOSING;
	job->id = job->adopted ? job->id : 0;
	job->sequence = job->lost_ns = job->sent_ns = job->probe_ns = job->wait_ns = 0;
	for (int i = 0; i < 2; i++)
		job->stream[i].taken = job->stream[i].told = 0;
	job->input_sent = job->input_at;
	job->input_end_sent = false;
	vg_links_due(job->v, 0);
}

/* ---- ending ---------------------------------------------------------------------------------------------------- */

void vg_job_finish(struct virgo_job *job)
{
	struct virgo *v = job->v;
	struct virgo_job_result *result = &job->result;

	leave_link(job);
	job->phase = VG_PHASE_ENDED;
	if (job->before)
		job->before->next = job->next;
	else
		v->jobs = job->next;
	if (job->next)
		job->next->before = job->before;
	job->next = job->before = NULL;
	v->jobs_count--;
	v->delivered++;
	result->job = job->id;
	result->node = job->where;
	result->elapsed_ns = vg_now_ns() - job->submitted_ns;
	if (!result->error || job->text[0])
		result->text = job->text[0] ? job->text : NULL;
	for (int i = 0; i < 2; i++)
		if (!result->error && vg_buffer_add(&job->stream[i].kept, "", 1))
			result->error = -ENOMEM;
	if (!result->error) {
		result->data = job->stream[0].kept.data;
		result->length = job->stream[0].kept.end - 1;
		result->errors = job->stream[1].kept.data;
		result->errors_length = job->stream[1].kept.end - 1;
	}
	if (!job->ended)
		return;
	/* Told at the end of the turn, when nobody walks through the jobs: whoever hears it may free them. */
	job->next = NULL;
	job->before = v->jobs_ended_last;
	if (v->jobs_ended_last)
		v->jobs_ended_last->next = job;
	else
		v->jobs_ended = job;
	v->jobs_ended_last = job;
}

void vg_job_unlink_ended(struct virgo_job *job)
{
	struct virgo *v = job->v;

	if (job->before)
		job->before->next = job->next;
	else if (v->jobs_ended == job)
		v->jobs_ended = job->next;
	else
		return; /* told already */
	if (job->next)
		job->next->before = job->before;
	else
		v->jobs_ended_last = job->before;
	job->next = job->before = NULL;
}

void vg_jobs_tell(struct virgo *v)
{
	while (v->jobs_ended) {
		struct virgo_job *job = v->jobs_ended;

		vg_job_unlink_ended(job);
		v->delivering = true;
		job->ended(job->context, &job->result); /* which may free the job */
		v->delivering = false;
	}
}

void vg_job_fail(struct virgo_job *job, int error, const char *text)
{
	if (job->phase == VG_PHASE_ENDED)
		return;
	job->result.error = error;
	if (text && text != job->text)
		(void)snprintf(job->text, sizeof(job->text), "%s", text);
	vg_job_finish(job);
}

/* Nobody knows whether it has run, or to which end. */
void vg_job_undecided(struct virgo_job *job, const char *why)
{
	char text[VG_CLIENT_TEXT_MAX * 2];

	if (job->result.attempts <= job->retries && !job->adopted && job->signal != VG_JOB_CANCEL_PENDING) {
		/* Somewhere else, if there is somewhere else. */
		if (job->link && !job->only)
			vg_job_leave_out(job, job->link);
		job->was_busy = false;
		job->result.attempts++;
		job->random = (__u32)vg_random(job->v);
		job->busy_until_ns = vg_now_ns() + job->busy_ns;
		vg_job_again(job);
		return;
	}
	(void)snprintf(text, sizeof(text), "%s; it may or may not have run", why);
	vg_job_fail(job, -ECONNRESET, text);
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

int vg_job_order(struct virgo_job *job, __u8 opcode, __u64 argument)
{
	return vg_job_say(job->v, job->link,
			    &(struct vg_wire_header){
				    .opcode = opcode, .ident = VG_HTOBE64(job->id), .argument = VG_HTOBE64(argument) },
			    NULL, 0, NULL);
}

int vg_job_order_attach(struct virgo_job *job)
{
	__u64 from[2];
	__be64 errors;

	for (int i = 0; i < 2; i++) {
		job->stream[i].told = job->stream[i].taken;
		from[i] = job->stream[i].anywhere ? VG_JOB_OFFSET_KEPT : job->stream[i].taken;
	}
	errors = VG_HTOBE64(from[1]);
	return vg_job_say(job->v, job->link,
			    &(struct vg_wire_header){ .opcode = VG_OP_JOB_ATTACH,
						      .ident = VG_HTOBE64(job->id),
						      .argument = VG_HTOBE64(from[0]) },
			    &errors, sizeof(errors), NULL);
}

void vg_job_push_input(struct virgo_job *job)
{
	const __u64 filled = job->input_at + (job->input.end - job->input.start),
		    allowed = job->input_told + VG_JOB_INPUT_WINDOW, until = filled < allowed ? filled : allowed;

	if (job->phase != VG_PHASE_RUNNING || job->kind != VIRGO_EXECUTABLE)
		return;
	while (job->input_sent < until) {
		__u64 left = until - job->input_sent;
		__u32 piece = left < INPUT_PIECE_BYTES ? (__u32)left : INPUT_PIECE_BYTES;
		struct vg_wire_header head = { .opcode = VG_OP_JOB_INPUT,
					       .ident = VG_HTOBE64(job->id),
					       .argument = VG_HTOBE64(job->input_sent) };

		if (vg_job_say(job->v, job->link, &head,
				 job->input.data + job->input.start + (job->input_sent - job->input_at), piece, NULL))
			return;
		job->input_sent += piece;
	}
	if (job->input_sent == filled && job->input_ended && job->streams_input && !job->input_end_sent)
		job->input_end_sent = !vg_job_order(job, VG_OP_JOB_INPUT, filled);
}

int vg_job_input_taken(struct virgo_job *job, __u64 offset)
{
	const __u64 filled = job->input_at + (job->input.end - job->input.start);

	if (offset < job->input_at)
		return 0;
	if (offset > filled)
		return -EPROTO;
	job->input.start += (size_t)(offset - job->input_at);
	job->input_at = offset;
	if (job->input_sent < offset)
		job->input_sent = offset;
	if (job->input.start == job->input.end)
		job->input.start = job->input.end = 0;
	return 0;
}

/* ---- links ----------------------------------------------------------------------------------------------------- */

void vg_jobs_link_up(struct virgo *v, struct vg_link *link, __u64 now_ns)
{
	for (struct virgo_job *job = v->jobs, *next; job; job = next) {
		next = job->next;
		if (job->link != link || job->sent_ns)
			continue;
		if (job->phase == VG_PHASE_SENT) {
			send_clone(job, now_ns);
		} else if (job->phase == VG_PHASE_ATTACHING) {
			job->sent_ns = now_ns;
			(void)vg_job_order_attach(job);
		}
	}
	for (struct vg_question *question = v->questions; question; question = question->next)
		if (question->link == link && !question->sent)
			question->sent =
				!vg_job_say(v, link,
					      &(struct vg_wire_header){ .opcode = question->opcode,
									.ident = VG_HTOBE64(question->ident),
									.argument = VG_HTOBE64(question->argument) },
					      NULL, 0, &question->sequence);
	vg_links_due(v, now_ns);
}

/* A connection that never worked has carried nothing: those jobs go elsewhere. The others wait for it to come back. */
void vg_jobs_link_down(struct virgo *v, struct vg_link *link, bool was_up, int error, __u64 now_ns)
{
	for (struct vg_question *question = v->questions; question; question = question->next)
		if (question->link == link && !question->answered) {
			question->answered = true;
			question->error = was_up ? -ECONNRESET : -EHOSTUNREACH;
			(void)snprintf(question->text, sizeof(question->text), "no CPU pool answers at %s: %s",
				       link->text, strerror(-error));
		}
	for (struct virgo_job *job = v->jobs, *next; job; job = next) {
		next = job->next;
		if (job->link != link)
			continue;
		if (!job->lost_ns && !job->sent_ns) {
			vg_job_again(job);
			vg_job_leave_out(job, link);
			continue;
		}
		if (!job->lost_ns)
			job->lost_ns = now_ns;
		job->sent_ns = 0;
		if (job->phase == VG_PHASE_RUNNING)
			job->phase = VG_PHASE_ATTACHING;
		vg_link_want(v, link, now_ns);
	}
	vg_links_due(v, now_ns);
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static void run_job(struct virgo_job *job, __u64 now_ns)
{
	struct virgo *v = job->v;

	if (job->lost_ns && now_ns >= job->lost_ns + v->timeout_ns) {
		vg_job_undecided(job, "the connection broke and cannot be made again");
		return;
	}
	if (job->lost_ns)
		vg_links_due(v, job->lost_ns + v->timeout_ns);
	if (job->phase == VG_PHASE_CHOOSING)
		vg_job_choose(job, now_ns);
	else if (job->phase == VG_PHASE_ATTACHING && !job->sent_ns && job->link->fd >= 0 && !job->link->connecting)
		vg_jobs_link_up(v, job->link, now_ns);
	if (job->phase != VG_PHASE_SENT || !job->sent_ns)
		return;
	/* It lives, but does not answer this: as bad as not living. */
	if (now_ns >= job->sent_ns + v->timeout_ns)
		vg_link_fail(v, job->link, -ETIMEDOUT, now_ns);
	else
		vg_links_due(v, job->sent_ns + v->timeout_ns);
}

void vg_jobs_run(struct virgo *v, __u64 now_ns)
{
	for (struct virgo_job *job = v->jobs, *next; job; job = next) {
		next = job->next;
		run_job(job, now_ns);
	}
}

void vg_jobs_end(struct virgo *v)
{
	while (v->jobs || v->jobs_ended)
		virgo_job_free(v->jobs ? v->jobs : v->jobs_ended);
}
