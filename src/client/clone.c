/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* virgo_clone() and its relatives: what the public calls for jobs do before and after job.c. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/job.h"

static int read_options(const struct virgo_job_options *options, struct virgo_job_options *ret_options)
{
	*ret_options = (struct virgo_job_options){ .size = sizeof(*ret_options) };
	if (!options)
		return 0;
	if (options->size > sizeof(*ret_options) || options->size < sizeof(options->size))
		return -EINVAL;
	memcpy(ret_options, options, options->size);
	return 0;
}

static int say(struct virgo *v, int error, const char *text)
{
	(void)snprintf(v->error_text, sizeof(v->error_text), "%s", text ? text : virgo_strerror(error));
	return error;
}

static int explain_start(struct virgo *v, int error, const struct virgo_job_options *options)
{
	char text[VG_CLIENT_TEXT_MAX];

	if (error == -EADDRNOTAVAIL)
		(void)snprintf(text, sizeof(text), "no node \"%.200s\"", options->node);
	else if (error == -EMSGSIZE)
		(void)snprintf(text, sizeof(text), "arguments, environment or input are over the limit");
	else if (error == -EINVAL)
		(void)snprintf(text, sizeof(text), "unknown policy, kind or flags, or no name");
	else
		(void)snprintf(text, sizeof(text), "%s", virgo_strerror(error));
	return say(v, error, text);
}

static int check(enum virgo_kind kind, const char *name, const void *argument, size_t length,
		 const struct virgo_job_options *options)
{
	const unsigned int known = VIRGO_JOB_INPUT | VIRGO_JOB_TTY | VIRGO_JOB_DETACH | VIRGO_JOB_ISOLATE;

	if ((int)kind < 0 || kind > VIRGO_KERNEL || !name || !name[0] || (!argument && length))
		return -EINVAL;
	if (options->flags & ~known || options->priority > 255)
		return -EINVAL;
	return kind != VIRGO_EXECUTABLE && options->flags ? -EINVAL : 0;
}

int virgo_clone_start(struct virgo *v, enum virgo_kind kind, const char *name, const void *argument, size_t length,
		      const struct virgo_job_options *options, struct virgo_job **ret_job)
{
	struct virgo_job_options wanted;
	struct virgo_job *job;
	int error = read_options(options, &wanted);

	if (!error)
		error = check(kind, name, argument, length, &wanted);
	if (!error)
		error = vg_job_new(v, &wanted, &job);
	if (error)
		return explain_start(v, error, &wanted);
	job->kind = kind;
	error = vg_job_body(job, name, argument, length, &wanted);
	if (error) {
		job->phase = VG_PHASE_ENDED;
		virgo_job_free(job);
		return explain_start(v, error, &wanted);
	}
	vg_job_submit(job);
	*ret_job = job;
	return 0;
}

int virgo_job_attach(struct virgo *v, const char *node, uint64_t number, const struct virgo_job_options *options,
		     struct virgo_job **ret_job)
{
	struct virgo_job_options wanted;
	struct virgo_job *job;
	int error = read_options(options, &wanted);

	wanted.node = node;
	if (!error && (!node || !number))
		error = -EINVAL;
	if (!error)
		error = vg_job_new(v, &wanted, &job);
	if (error)
		return explain_start(v, error, &wanted);
	job->kind = VIRGO_EXECUTABLE;
	job->adopted = job->stream[0].anywhere = job->stream[1].anywhere = true;
	job->id = number;
	vg_job_windows(job, VG_JOB_WINDOW_MAX);
	job->streams_input = wanted.flags & VIRGO_JOB_INPUT;
	job->input_ended = !job->streams_input;
	vg_job_submit(job);
	*ret_job = job;
	return 0;
}

const struct virgo_job_result *virgo_job_result(const struct virgo_job *job)
{
	return job->phase == VG_PHASE_ENDED ? &job->result : NULL;
}

int virgo_job_wait(struct virgo_job *job, int timeout_ms)
{
	struct virgo *v = job->v;
	const __u64 until_ns = timeout_ms < 0 ? ~0ULL : vg_now_ns() + (__u64)timeout_ms * 1000000ULL;

	if (v->delivering)
		return -EDEADLK;
	while (job->phase != VG_PHASE_ENDED) {
		int error = vg_client_step(v, until_ns);

		if (job->phase == VG_PHASE_ENDED)
			break;
		if (error)
			return error;
		if (vg_now_ns() >= until_ns)
			return -ETIMEDOUT;
	}
	return 0;
}

int virgo_clone(struct virgo *v, enum virgo_kind kind, const char *name, const void *argument, size_t length,
		const struct virgo_job_options *options, struct virgo_job_result *ret_result)
{
	struct virgo_job *job;
	int error;

	*ret_result = (struct virgo_job_result){ 0 };
	if (v->delivering)
		return ret_result->error = -EDEADLK;
	error = virgo_clone_start(v, kind, name, argument, length, options, &job);
	if (error) {
		ret_result->error = error;
		return error;
	}
	/* A signal does not end a synchronous call: the job has its own end. */
	while ((error = virgo_job_wait(job, -1)))
		assert(error == -EINTR || error == -ENOMEM);
	*ret_result = job->result;
	if (job->result.error)
		(void)say(v, job->result.error, job->result.text);
	else
		v->error_text[0] = '\0';
	/* The bytes change hands; the words do not outlive the handle. */
	ret_result->text = ret_result->error ? v->error_text : NULL;
	for (int i = 0; i < 2 && !job->result.error; i++)
		job->stream[i].kept = (struct vg_buffer){ 0 };
	virgo_job_free(job);
	return ret_result->error;
}

void virgo_job_result_free(struct virgo_job_result *result)
{
	free((void *)result->data);
	free((void *)result->errors);
	*result = (struct virgo_job_result){ 0 };
}

uint64_t virgo_job_number(const struct virgo_job *job)
{
	return job->id;
}

const char *virgo_job_node(const struct virgo_job *job)
{
	return job->where;
}

bool virgo_job_attached(const struct virgo_job *job)
{
	return job->phase == VG_PHASE_RUNNING;
}

/* ---- input and orders ------------------------------------------------------------------------------------------ */

size_t virgo_job_room(const struct virgo_job *job)
{
	const size_t held = job->input.end - job->input.start;

	if (job->phase == VG_PHASE_ENDED || job->input_ended || held >= VG_JOB_INPUT_WINDOW)
		return 0;
	return VG_JOB_INPUT_WINDOW - held;
}

ssize_t virgo_job_write(struct virgo_job *job, const void *data, size_t length)
{
	size_t room = virgo_job_room(job);

	if (job->phase == VG_PHASE_ENDED || job->input_ended)
		return -EPIPE;
	length = length < room ? length : room;
	if (vg_buffer_add(&job->input, data, length))
		return -ENOMEM;
	vg_job_push_input(job);
	vg_links_due(job->v, 0);
	return (ssize_t)length;
}

int virgo_job_end_input(struct virgo_job *job)
{
	job->input_ended = true;
	vg_job_push_input(job);
	vg_links_due(job->v, 0);
	return 0;
}

int virgo_job_kill(struct virgo_job *job, int signal)
{
	if (signal < 0 || signal > 64)
		return -EINVAL;
	vg_links_due(job->v, 0);
	switch (job->phase) {
	case VG_PHASE_ENDED:
		return 0;
	case VG_PHASE_CHOOSING:
		/* It is nowhere yet: nothing has to be undone. */
		vg_job_fail(job, -ECANCELED, NULL);
		return 0;
	case VG_PHASE_RUNNING:
		job->last_signal = signal;
		return vg_job_order(job, signal ? VG_OP_JOB_SIGNAL : VG_OP_JOB_CANCEL, (__u64)signal);
	default:
		job->signal = signal ? signal : VG_JOB_CANCEL_PENDING;
		return 0;
	}
}

int virgo_job_resize(struct virgo_job *job, unsigned short rows, unsigned short columns)
{
	if (job->phase != VG_PHASE_RUNNING)
		return 0;
	vg_links_due(job->v, 0);
	return vg_job_order(job, VG_OP_JOB_RESIZE, (__u64)rows << 16 | columns);
}

void virgo_job_free(struct virgo_job *job)
{
	if (!job)
		return;
	assert(!job->in_output);
	job->ended = NULL;
	if (job->phase == VG_PHASE_RUNNING && !(job->flags & VIRGO_JOB_DETACH) && !job->adopted)
		(void)vg_job_order(job, VG_OP_JOB_CANCEL, 0);
	if (job->phase != VG_PHASE_ENDED)
		vg_job_fail(job, -ECANCELED, NULL);
	vg_job_unlink_ended(job);
	vg_buffer_free(&job->input);
	vg_buffer_free(&job->stream[0].kept);
	vg_buffer_free(&job->stream[1].kept);
	free(job->body);
	free(job);
}

/* ---- questions to a node --------------------------------------------------------------------------------------- */

static int ask(struct virgo *v, const char *node, __u8 opcode, __u64 ident, __u64 argument,
	       struct vg_question *question)
{
	struct vg_question **at;
	int error = v->delivering ? -EDEADLK : 0;

	*question = (struct vg_question){ .opcode = opcode, .ident = ident, .argument = argument };
	if (!error && node)
		error = vg_job_node_find(v, node, &question->link);
	else if (!error)
		question->link = vg_job_link_of(v, v->peers[0]);
	if (!error && !question->link)
		error = -EADDRNOTAVAIL;
	if (error)
		return say(v, error, NULL);
	question->next = v->questions;
	v->questions = question;
	question->due_ns = vg_now_ns() + v->timeout_ns;
	if (question->link->fd >= 0 && !question->link->connecting)
		vg_jobs_link_up(v, question->link, vg_now_ns());
	else
		vg_link_want(v, question->link, vg_now_ns());
	while (!question->answered && vg_now_ns() < question->due_ns)
		(void)vg_client_step(v, question->due_ns);
	for (at = &v->questions; *at != question; at = &(*at)->next)
		;
	*at = question->next;
	if (!question->answered)
		question->error = -ETIMEDOUT;
	return question->error ? say(v, question->error, question->text[0] ? question->text : NULL) : 0;
}

int virgo_jobs(struct virgo *v, const char *node, char **ret_json)
{
	struct vg_question question;
	int error = ask(v, node, VG_OP_JOB_LIST, 0, 0, &question);

	if (!error)
		error = vg_job_list_json(question.body, question.body_length, ret_json);
	free(question.body);
	return error;
}

int virgo_jobs_kill(struct virgo *v, const char *node, uint64_t number, int signal)
{
	struct vg_question question;
	int error;

	if (signal < 0 || signal > 64)
		return say(v, -EINVAL, NULL);
	error = ask(v, node, signal ? VG_OP_JOB_SIGNAL : VG_OP_JOB_CANCEL, number, (__u64)signal, &question);
	free(question.body);
	return error;
}

unsigned int virgo_jobs_running(const struct virgo *v)
{
	return v->jobs_count;
}

const char *virgo_cpu_node(struct virgo *v, unsigned int node)
{
	const struct vg_link *link = node < v->peers_count ? vg_job_link_of(v, v->peers[node]) : NULL;

	return link ? link->text : NULL;
}

int virgo_cpu_load(struct virgo *v, const char *node, struct virgo_load *ret_load)
{
	struct vg_question question;
	int error = ask(v, node, VG_OP_PING, 0, 0, &question);

	free(question.body);
	if (!error)
		*ret_load = question.link->load;
	return error;
}
