// SPDX-License-Identifier: GPL-3.0-or-later
/* The life of a job: made, queued, run, ended, kept, forgotten. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "svc/cpu/cpu.h"

#define PLACE_BITS 20 /* of a job's number: the rest is drawn at random, so that nobody guesses it */
#define PLACE_MASK ((1u << PLACE_BITS) - 1)
#define CALL_TIMEOUT_MS 60000 /* of a function that names none: it holds a worker */

/* ---- places ---------------------------------------------------------------------------------------------------- */

static void link_newest(struct vg_cpu *cpu, struct vg_job *job)
{
	job->older = cpu->newest;
	job->newer = NULL;
	if (cpu->newest)
		cpu->newest->newer = job;
	else
		cpu->oldest = job;
	cpu->newest = job;
	cpu->counts.kept++;
}

static void unlink_ended(struct vg_cpu *cpu, struct vg_job *job)
{
	*(job->newer ? &job->newer->older : &cpu->newest) = job->older;
	*(job->older ? &job->older->newer : &cpu->oldest) = job->newer;
	cpu->counts.kept--;
}

static __u64 memory_of(const struct vg_job *job)
{
	return (job->output[0].ring ? job->output[0].size : 0) + (job->output[1].ring ? job->output[1].size : 0) +
	       job->result_length + job->text_length;
}

/* Its memory and its place go; only when no connection sends from it any more. */
static void release_place(struct vg_job *job)
{
	struct vg_cpu *cpu = job->cpu;

	vg_output_deinit(&job->output[0]);
	vg_output_deinit(&job->output[1]);
	vg_cpu_free(cpu, job->result);
	*job = (struct vg_job){ .cpu = cpu, .queued.place = VG_QUEUE_NOWHERE, .newer = cpu->free };
	cpu->free = job;
}

void vg_job_discard(struct vg_job *job)
{
	struct vg_cpu *cpu = job->cpu;

	assert(job->state == VG_JOB_STATE_ENDED && !job->discarded);
	vg_job_detach(job);
	unlink_ended(cpu, job);
	cpu->counts.kept_bytes -= memory_of(job);
	job->id = 0;
	job->discarded = true;
	if (!job->lent)
		release_place(job);
}

void vg_job_lent_back(struct vg_job *job)
{
	assert(job->lent);
	job->lent--;
	if (job->discarded && !job->lent)
		release_place(job);
}

/* The ended job that is forgotten first: never one whose client is still being told. NULL: there is none. */
static struct vg_job *least_wanted(const struct vg_cpu *cpu)
{
	struct vg_job *job = cpu->oldest;

	while (job && job->attached)
		job = job->newer;
	return job;
}

static struct vg_job *take_place(struct vg_cpu *cpu)
{
	struct vg_job *job = cpu->free, *forgotten = job ? NULL : least_wanted(cpu);

	if (forgotten) {
		vg_job_discard(forgotten);
		job = cpu->free;
	}
	if (job)
		cpu->free = job->newer;
	return job;
}

static __u64 draw_id(struct vg_cpu *cpu, const struct vg_job *job)
{
	__u64 id;

	do
		id = (vg_env_random(cpu->env) & ~(__u64)PLACE_MASK) | (__u64)(job - cpu->job);
	while (!(id >> PLACE_BITS));
	return id;
}

static struct vg_job *by_id(struct vg_cpu *cpu, __u64 id)
{
	__u32 place = (__u32)(id & PLACE_MASK);

	return id && place < cpu->places && cpu->job[place].id == id ? &cpu->job[place] : NULL;
}

bool vg_job_is_of(const struct vg_job *job, const struct vg_cpu_request *request)
{
	if (!job->owner_length && !request->owner_length)
		return job->client == request->client;
	return job->owner_length == request->owner_length &&
	       memcmp(job->owner, request->owner, job->owner_length) == 0;
}

enum vg_job_reason vg_job_find(struct vg_cpu *cpu, __u64 id, const struct vg_cpu_request *request,
			       struct vg_job **ret_job)
{
	struct vg_job *job = by_id(cpu, id);

	if (!job)
		return VG_JOB_REASON_NO_JOB;
	if (!vg_job_is_of(job, request))
		return VG_JOB_REASON_NOT_YOURS;
	*ret_job = job;
	return VG_JOB_REASON_NONE;
}

/* ---- the audit ------------------------------------------------------------------------------------------------- */

/* What a stranger wrote, fit for one line of a log. */
static void plain(const __u8 *from, __u32 length, char *to, size_t bytes)
{
	size_t count = length < bytes - 1 ? length : bytes - 1;

	for (size_t i = 0; i < count; i++)
		to[i] = from[i] < ' ' || from[i] > '~' || from[i] == '"' || from[i] == '\\' ? '?' : (char)from[i];
	to[count] = '\0';
}

/* Tells owners apart in the log without telling what they are known by. */
static __u32 owner_mark(const struct vg_job *job)
{
	return (__u32)(job->owner_length ? vg_hash64(job->owner, job->owner_length) :
					   vg_hash64(&job->client, sizeof(job->client)));
}

static void audit(const struct vg_job *job)
{
	char first[96] = "";

	if (job->view.kind == VG_JOB_EXECUTABLE && job->body) {
		const __u8 *at = job->view.strings;
		size_t used = 0;

		for (__u32 i = 0; i < job->view.arguments && used + 2 < sizeof(first); i++) {
			struct vg_job_text text = vg_job_next(&at);

			if (i)
				first[used++] = ' ';
			plain(text.data, text.length, first + used, sizeof(first) - used);
			used += strlen(first + used);
		}
	}
	vg_log(VG_LOG_INFO, "job",
	       "id=%016llx kind=%s name=\"%s\" arguments=\"%s\" peer=%s owner=%08x pid=%d how=%s code=%d reason=%u "
	       "queued_us=%llu run_us=%llu input=%llu output=%llu",
	       job->id, vg_job_kind_text(job->view.kind), job->name, first, job->peer[0] ? job->peer : "-",
	       owner_mark(job), (int)job->pid, vg_job_how_text(job->how), (int)job->code, job->reason,
	       ((job->started_ns ?: job->ended_ns) - job->submitted_ns) / 1000,
	       (job->ended_ns - (job->started_ns ?: job->ended_ns)) / 1000, job->input.written,
	       job->output[0].filled + job->output[1].filled);
}

static void audit_refusal(const struct vg_cpu_request *request, enum vg_job_reason reason)
{
	vg_log(VG_LOG_INFO, "job refused", "peer=%s client=%016llx reason=%u why=\"%s\"", request->peer,
	       request->client, reason, vg_job_reason_text(reason));
}

/* ---- making ---------------------------------------------------------------------------------------------------- */

static bool leaves_its_directory(struct vg_job_text name)
{
	if (name.data[0] == '.')
		return true;
	for (__u32 i = 0; i < name.length; i++)
		if (name.data[i] == '/' || (name.data[i] == '.' && i && name.data[i - 1] == '.'))
			return true;
	return false;
}

static enum vg_job_reason check_kind(const struct vg_cpu *cpu, const struct vg_job_view *view)
{
	if (view->kind == VG_JOB_EXECUTABLE)
		return VG_JOB_REASON_NONE;
	if (!(view->kind == VG_JOB_FUNCTION ? cpu->settings->plugin_dir : cpu->settings->kernel_dir))
		return VG_JOB_REASON_OFF;
	return leaves_its_directory(view->name) ? VG_JOB_REASON_ESCAPE : VG_JOB_REASON_NONE;
}

/* Whether it is the request that was signed, of this life of the node, and new. */
static enum vg_job_reason check_once(struct vg_cpu *cpu, const struct vg_cpu_request *request, __u64 issued_ms,
				     struct vg_job **ret_job)
{
	struct vg_window_answer before;

	if (request->trusted)
		return VG_JOB_REASON_NONE;
	switch (vg_window_look(cpu->window, request->client, request->sequence, &before)) {
	case VG_WINDOW_OLD:
		return VG_JOB_REASON_OLD;
	case VG_WINDOW_DUPLICATE:
		*ret_job = before.opcode == VG_OP_CLONE ? by_id(cpu, before.ident) : NULL;
		cpu->counts.duplicates++;
		return VG_JOB_REASON_REPLAYED;
	case VG_WINDOW_NEW:
		break;
	}
	return issued_ms < cpu->born_ms ? VG_JOB_REASON_ANOTHER_LIFE : VG_JOB_REASON_NONE;
}

static bool can_start(const struct vg_cpu *cpu, enum vg_cpu_class class)
{
	if (class == VG_CPU_PROGRAMS)
		return cpu->running[class] < cpu->settings->jobs;
	for (__u32 i = 0; i < cpu->callers; i++)
		if (cpu->caller[i].class == class && cpu->caller[i].state == VG_CALLER_IDLE)
			return true;
	return false;
}

static enum vg_job_reason check_room(const struct vg_cpu *cpu, const struct vg_job_view *view, enum vg_cpu_class class)
{
	bool waits = cpu->queue[class].count || !can_start(cpu, class);

	if (cpu->stopping || (waits && (view->flags & VG_JOB_NO_WAIT || cpu->counts.queued >= cpu->settings->queue)))
		return VG_JOB_REASON_FULL;
	return VG_JOB_REASON_NONE;
}

static enum vg_job_reason check(struct vg_cpu *cpu, const struct vg_cpu_request *request, struct vg_job_view *view,
				struct vg_job **ret_job)
{
	enum vg_job_reason reason;

	if (!request->trusted && vg_job_digest(vg_cluster_key(cpu->env->cluster), request->body,
					       request->body_length) != request->digest)
		return VG_JOB_REASON_DIGEST;
	reason = vg_job_read(request->body, request->body_length, view);
	reason = reason ?: check_once(cpu, request, view->issued_ms, ret_job);
	if (!reason && (view->flags & VG_JOB_AS_QUEUE || cpu->settings->as_queue))
		return VG_JOB_REASON_QUEUE;
	reason = reason ?: check_kind(cpu, view);
	if (!reason && request->face == VG_CPU_DATAGRAM && view->kind == VG_JOB_EXECUTABLE)
		return VG_JOB_REASON_STREAM;
	return reason ?: check_room(cpu, view, view->kind == VG_JOB_EXECUTABLE ? VG_CPU_PROGRAMS :
					       view->kind == VG_JOB_FUNCTION   ? VG_CPU_FUNCTIONS :
										 VG_CPU_KERNEL);
}

/* The queue service takes it, where there is one. */
static enum vg_job_reason hand_to_queue(struct vg_cpu *cpu, const struct vg_cpu_request *request)
{
	if (!cpu->settings->queue_push)
		return VG_JOB_REASON_QUEUE;
	return cpu->settings->queue_push(cpu->env, request->client, request->sequence, request->body,
					 request->body_length) ? VG_JOB_REASON_FULL : VG_JOB_REASON_NONE;
}

static void remember(struct vg_cpu *cpu, const struct vg_cpu_request *request, __u64 id)
{
	const struct vg_window_answer answer = { id, VG_OP_CLONE, VG_STATUS_OK };

	if (!request->trusted)
		vg_window_record(cpu->window, request->client, request->sequence, &answer);
}

static enum vg_job_reason fill(struct vg_job *job, const struct vg_cpu_request *request)
{
	struct vg_cpu *cpu = job->cpu;
	enum vg_job_reason reason;

	job->body = vg_cpu_alloc(cpu, request->body_length);
	if (!job->body)
		return VG_JOB_REASON_NO_MEMORY;
	memcpy(job->body, request->body, request->body_length);
	reason = vg_job_read(job->body, request->body_length, &job->view);
	assert(!reason);
	job->id = draw_id(cpu, job);
	job->face = request->face;
	job->owner_length = request->owner_length;
	memcpy(job->owner, request->owner ? request->owner : (const __u8 *)"", request->owner_length);
	job->client = job->to_client = request->client;
	job->sequence = job->to_sequence = request->sequence;
	snprintf(job->peer, sizeof(job->peer), "%s", request->peer);
	plain(job->view.name.data, job->view.name.length, job->name, sizeof(job->name));
	job->submitted_ms = vg_clock_unix_ms(cpu->env->clock);
	job->submitted_ns = cpu->env->clock->monotonic_ns;
	job->state = VG_JOB_STATE_QUEUED;
	job->pidfd = job->input.fd = job->output[0].fd = job->output[1].fd = job->source_fd = -1;
	job->input.first = job->input.filled = job->view.input.length;
	job->input.ends = job->view.flags & VG_JOB_INPUT_ENDS;
	return VG_JOB_REASON_NONE;
}

enum vg_job_reason vg_job_make(struct vg_cpu *cpu, const struct vg_cpu_request *request, struct vg_job **ret_job)
{
	enum vg_job_reason reason;
	struct vg_job_view view;
	struct vg_job *job;

	*ret_job = NULL;
	reason = check(cpu, request, &view, ret_job);
	if (reason == VG_JOB_REASON_QUEUE) {
		reason = hand_to_queue(cpu, request);
		if (!reason)
			remember(cpu, request, 0);
	} else if (!reason) {
		job = take_place(cpu);
		reason = job ? fill(job, request) : VG_JOB_REASON_FULL;
		if (!reason) {
			remember(cpu, request, job->id);
			cpu->counts.accepted++;
			*ret_job = job;
			return VG_JOB_REASON_NONE;
		}
		if (job)
			release_place(job);
	}
	if (reason && !*ret_job) {
		vg_cpu_count_refusal(cpu, reason);
		audit_refusal(request, reason);
	}
	return reason;
}

/* ---- running --------------------------------------------------------------------------------------------------- */

static __u32 timeout_ms(const struct vg_job *job)
{
	if (job->view.timeout_ms)
		return job->view.timeout_ms;
	return job->view.kind == VG_JOB_EXECUTABLE ? 0 : CALL_TIMEOUT_MS;
}

static void on_timeout(void *owner, const struct vg_io_event *event)
{
	struct vg_job *job = owner;

	vg_env_turn(job->cpu->env);
	job->timer_op = 0;
	vg_job_stop(job, VG_JOB_TIMEOUT);
}

/* 0, -EAGAIN, or an error that ends it. */
static int start(struct vg_job *job)
{
	struct vg_cpu *cpu = job->cpu;
	enum vg_cpu_class class = vg_job_class(job);
	int error;

	job->started_ns = cpu->env->clock->monotonic_ns;
	job->state = VG_JOB_STATE_STARTING;
	cpu->running[class]++;
	cpu->counts.running++;
	error = class == VG_CPU_PROGRAMS ? vg_run_start(job) : vg_call_start(job) ? 0 : -EAGAIN;
	if (!error) {
		if (timeout_ms(job))
			(void)vg_io_timeout(cpu->env->io, timeout_ms(job) * 1000000ULL, on_timeout, job,
					    &job->timer_op);
		return 0;
	}
	job->state = VG_JOB_STATE_QUEUED;
	job->started_ns = 0;
	cpu->running[class]--;
	cpu->counts.running--;
	return error;
}

static void refuse_start(struct vg_job *job, int error)
{
	job->reason = error == -ENOMEM ? VG_JOB_REASON_NO_MEMORY : VG_JOB_REASON_START;
	vg_job_end(job, VG_JOB_FAILED);
}

static void enqueue(struct vg_job *job)
{
	if (vg_queue_push(&job->cpu->queue[vg_job_class(job)], &job->queued, job->view.priority)) {
		job->cpu->counts.queued++;
		return;
	}
	job->reason = VG_JOB_REASON_FULL;
	vg_job_end(job, VG_JOB_FAILED);
}

void vg_job_go(struct vg_job *job)
{
	struct vg_cpu *cpu = job->cpu;
	enum vg_cpu_class class = vg_job_class(job);
	int error = cpu->queue[class].count || !can_start(cpu, class) ? -EAGAIN : start(job);

	if (error == -EAGAIN)
		enqueue(job);
	else if (error)
		refuse_start(job, error);
}

static void dispatch_class(struct vg_cpu *cpu, enum vg_cpu_class class)
{
	struct vg_queue_entry *first;

	while ((first = vg_queue_first(&cpu->queue[class])) && can_start(cpu, class)) {
		struct vg_job *job = (struct vg_job *)first;
		int error = start(job);

		if (error == -EAGAIN)
			return; /* the spawner has no room: on_spawned comes back */
		vg_queue_remove(&cpu->queue[class], first);
		cpu->counts.queued--;
		if (error)
			refuse_start(job, error);
	}
}

void vg_cpu_dispatch(struct vg_cpu *cpu)
{
	if (cpu->dispatching || cpu->stopping)
		return; /* a job that ends at once asks again from inside: the loop goes on anyway */
	cpu->dispatching = true;
	for (int class = 0; class < VG_CPU_CLASSES; class++)
		dispatch_class(cpu, (enum vg_cpu_class)class);
	cpu->dispatching = false;
}

/* ---- ending ---------------------------------------------------------------------------------------------------- */

static void count_end(struct vg_cpu *cpu, const struct vg_job *job)
{
	struct vg_cpu_counts *counts = &cpu->counts;

	switch (job->how) {
	case VG_JOB_EXITED:
	case VG_JOB_SIGNALLED:
		counts->done++;
		break;
	case VG_JOB_TIMEOUT:
		counts->timed_out++;
		break;
	case VG_JOB_CANCELLED:
		counts->cancelled++;
		break;
	case VG_JOB_LOST:
		counts->lost++;
		break;
	default:
		counts->failed++;
	}
}

static void keep_within_bounds(struct vg_cpu *cpu)
{
	while (cpu->counts.kept > VG_CPU_ENDED_MAX || cpu->counts.kept_bytes > cpu->settings->keep_bytes) {
		struct vg_job *job = least_wanted(cpu);

		if (!job)
			return;
		vg_job_discard(job);
	}
}

static void on_linger(void *owner, const struct vg_io_event *event)
{
	struct vg_job *job = owner;

	vg_env_turn(job->cpu->env);
	job->linger_op = 0;
	if (!job->attached)
		vg_job_stop(job, VG_JOB_LOST);
}

void vg_job_detach(struct vg_job *job)
{
	struct vg_session *session = vg_job_session(job);
	struct vg_cpu *cpu = job->cpu;

	if (!job->attached)
		return;
	job->attached = false;
	if (session)
		session->working = --session->state.words[0];
	if (session && job->face == VG_CPU_TEXT)
		session->owed = false;
	if (job->state == VG_JOB_STATE_ENDED)
		return;
	if (job->face == VG_CPU_TEXT)
		vg_job_stop(job, VG_JOB_LOST); /* nobody can come back to it */
	else if (!(job->view.flags & VG_JOB_KEEP))
		(void)vg_io_timeout(cpu->env->io, cpu->settings->linger_ns, on_linger, job, &job->linger_op);
}

void vg_job_attach(struct vg_job *job, struct vg_session *session, __u64 client, __u64 sequence)
{
	assert(!job->attached);
	if (job->linger_op)
		vg_io_cancel(job->cpu->env->io, job->linger_op);
	job->linger_op = 0;
	job->attached = true;
	job->told_end = false;
	job->session = vg_session_ref(session);
	job->to_client = client;
	job->to_sequence = sequence;
	session->state.words[0]++;
	/* People end their input and read on; a client that speaks frames and ends its input has gone. */
	session->working = true;
	session->owed = job->face == VG_CPU_TEXT;
}

void vg_job_end(struct vg_job *job, enum vg_job_how how)
{
	struct vg_cpu *cpu = job->cpu;
	bool ran = job->state == VG_JOB_STATE_STARTING || job->state == VG_JOB_STATE_RUNNING;

	assert(job->state != VG_JOB_STATE_ENDED && job->queued.place == VG_QUEUE_NOWHERE);
	vg_io_cancel(cpu->env->io, job->timer_op);
	vg_io_cancel(cpu->env->io, job->linger_op);
	job->timer_op = job->linger_op = 0;
	job->how = how;
	job->ended_ns = cpu->env->clock->monotonic_ns;
	if (ran) {
		cpu->running[vg_job_class(job)]--;
		cpu->counts.running--;
		cpu->counts.service_ns +=
			(__u64)((__s64)(job->ended_ns - job->started_ns - cpu->counts.service_ns) / 16);
	}
	job->state = VG_JOB_STATE_ENDED;
	count_end(cpu, job);
	audit(job);
	vg_input_close(job);
	vg_cpu_free(cpu, job->body);
	job->body = NULL;
	link_newest(cpu, job);
	cpu->counts.kept_bytes += memory_of(job);
	vg_job_tell_end(job);
	keep_within_bounds(cpu);
	vg_cpu_dispatch(cpu);
}

void vg_job_stop(struct vg_job *job, enum vg_job_how how)
{
	struct vg_cpu *cpu = job->cpu;

	if (job->state == VG_JOB_STATE_ENDED || job->stopping)
		return;
	job->stopping = true;
	job->how = how;
	if (how == VG_JOB_TIMEOUT)
		job->reason = VG_JOB_REASON_TIMED_OUT;
	if (job->state == VG_JOB_STATE_QUEUED) {
		vg_queue_remove(&cpu->queue[vg_job_class(job)], &job->queued);
		cpu->counts.queued--;
		vg_job_end(job, how);
	} else if (job->view.kind == VG_JOB_EXECUTABLE) {
		vg_run_stop(job);
	} else {
		vg_call_stop(job);
	}
}

/* ---- telling about it ------------------------------------------------------------------------------------------ */

void vg_job_record(const struct vg_job *job, const struct vg_cpu_request *request, struct vg_job_record *ret_record)
{
	__u64 until_ns = job->state == VG_JOB_STATE_ENDED ? job->ended_ns : job->cpu->env->clock->monotonic_ns;

	*ret_record = (struct vg_job_record){
		.id = VG_HTOBE64(job->id),
		.state = job->state,
		.kind = job->view.kind,
		.how = job->how,
		.priority = job->view.priority,
		.mine = vg_job_is_of(job, request),
		.attached = job->attached,
		.flags = VG_HTOBE16(job->view.flags),
		.code = VG_HTOBE32((__u32)job->code),
		.pid = VG_HTOBE32((__u32)(job->state == VG_JOB_STATE_RUNNING ? job->pid : 0)),
		.submitted_ms = VG_HTOBE64(job->submitted_ms),
		.run_us = VG_HTOBE64(job->started_ns ? (until_ns - job->started_ns) / 1000 : 0),
		.input_bytes = VG_HTOBE64(job->input.written),
		.output_bytes = VG_HTOBE64(job->output[0].filled + job->output[1].filled),
		.name_length = VG_HTOBE32((__u32)strlen(job->name)),
	};
}
