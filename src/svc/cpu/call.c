// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Calls: functions of plug-ins and kernel programs, carried out by worker processes, one call at a time each. A worker
 * that dies or takes too long costs its call; another takes its place.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "svc/cpu/cpu.h"

#define REST_NS 50000000ull	 /* before a worker that failed is started again; doubled each time */
#define REST_NS_MAX 5000000000ull
#define RESULT_BYTES_MAX (VG_JOB_RESULT_MAX + VG_CALL_TEXT_MAX)

static void start_caller(struct vg_cpu_caller *caller);
static void bury(struct vg_cpu_caller *caller);

/* ---- the end of a call ----------------------------------------------------------------------------------------- */

static void give_up_job(struct vg_cpu_caller *caller, const char *text)
{
	struct vg_job *job = caller->job;
	struct vg_cpu *cpu = caller->cpu;

	caller->job = NULL;
	vg_cpu_free(cpu, caller->result);
	caller->result = NULL;
	if (!job)
		return;
	job->caller = NULL;
	if (!job->stopping) {
		job->reason = VG_JOB_REASON_CRASHED;
		job->result = vg_cpu_alloc(cpu, strlen(text) + 1);
		if (job->result) {
			memcpy(job->result, text, strlen(text));
			job->text_length = (__u32)strlen(text);
		}
	}
	vg_job_end(job, job->stopping ? job->how : VG_JOB_FAILED);
}

static void conclude(struct vg_cpu_caller *caller)
{
	struct vg_job *job = caller->job;

	caller->job = NULL;
	caller->state = VG_CALLER_IDLE;
	caller->failures = 0;
	job->caller = NULL;
	job->code = caller->answer.code;
	job->reason = (__u16)caller->answer.reason;
	job->result = caller->result;
	job->result_length = caller->answer.result_length;
	job->text_length = caller->answer.text_length;
	caller->result = NULL;
	vg_job_end(job, job->reason ? VG_JOB_FAILED : VG_JOB_EXITED);
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

/* The worker is of no use: its end is awaited by on_ended, which replaces it. */
static void end_caller(struct vg_cpu_caller *caller)
{
	if (caller->state == VG_CALLER_DOWN || caller->state == VG_CALLER_STARTING || caller->state == VG_CALLER_ENDING)
		return;
	caller->state = VG_CALLER_ENDING;
	(void)vg_spawn_signal(caller->pid, caller->pidfd, SIGKILL, true);
}

/* Bytes of an answer. False: more than we asked for. */
static bool take(struct vg_cpu_caller *caller, const __u8 *data, size_t length)
{
	while (length) {
		size_t head = sizeof(caller->answer), whole = head, part;
		__u8 *to = (__u8 *)&caller->answer + caller->received;

		if (!caller->job)
			return false;
		if (caller->received >= head) {
			whole += (size_t)caller->answer.result_length + caller->answer.text_length;
			to = caller->result + (caller->received - head);
		}
		part = whole - caller->received < length ? whole - caller->received : length;
		memcpy(to, data, part);
		caller->received += part;
		data += part;
		length -= part;
		if (caller->received == head) {
			size_t behind = (size_t)caller->answer.result_length + caller->answer.text_length;

			if (caller->answer.result_length > VG_JOB_RESULT_MAX ||
			    caller->answer.text_length > VG_CALL_TEXT_MAX || caller->answer.reason >= VG_JOB_REASON_MAX)
				return false;
			caller->result = behind ? vg_cpu_alloc(caller->cpu, behind) : NULL;
			if (behind && !caller->result)
				return false;
			whole += behind;
		}
		if (caller->received < whole || caller->received < head)
			continue;
		if (caller->send_op)
			return false; /* an answer to what was not yet asked */
		conclude(caller);
	}
	return true;
}

static void on_received(void *owner, const struct vg_io_event *event)
{
	struct vg_cpu_caller *caller = owner;

	vg_env_turn(caller->cpu->env);
	if (!event->more)
		caller->receive_op = 0;
	if (event->result <= 0 || !take(caller, event->data, (size_t)event->result))
		end_caller(caller);
}

static void send_rest(struct vg_cpu_caller *caller);

static void on_sent(void *owner, const struct vg_io_event *event)
{
	struct vg_cpu_caller *caller = owner;

	vg_env_turn(caller->cpu->env);
	caller->send_op = 0;
	if (caller->dead) {
		bury(caller);
		return;
	}
	if (event->result < 0) {
		end_caller(caller);
		return;
	}
	caller->sent += (size_t)event->result;
	if (caller->job)
		send_rest(caller);
}

/* Head, name, argument: what of them has not left yet. */
static void send_rest(struct vg_cpu_caller *caller)
{
	const struct vg_job_view *view = &caller->job->view;
	const struct iovec parts[] = {
		{ &caller->head, sizeof(caller->head) },
		{ (void *)view->name.data, view->name.length },
		{ (void *)view->input.data, view->input.length },
	};
	struct iovec vectors[3];
	size_t skip = caller->sent;
	int count = 0;

	for (int i = 0; i < 3; i++) {
		if (skip >= parts[i].iov_len) {
			skip -= parts[i].iov_len;
			continue;
		}
		vectors[count++] = (struct iovec){ (char *)parts[i].iov_base + skip, parts[i].iov_len - skip };
		skip = 0;
	}
	if (count && vg_io_send(caller->cpu->env->io, caller->fd, vectors, count, on_sent, caller, &caller->send_op)) {
		caller->send_op = 0;
		end_caller(caller);
	}
}

bool vg_call_start(struct vg_job *job)
{
	struct vg_cpu *cpu = job->cpu;

	for (__u32 i = 0; i < cpu->callers; i++) {
		struct vg_cpu_caller *caller = &cpu->caller[i];

		if (caller->class != vg_job_class(job) || caller->state != VG_CALLER_IDLE || caller->send_op)
			continue;
		caller->state = VG_CALLER_BUSY;
		caller->job = job;
		caller->head = (struct vg_call_message){
			.name_length = job->view.name.length,
			.argument_length = job->view.input.length,
			.result_max = VG_JOB_RESULT_MAX,
		};
		caller->sent = caller->received = 0;
		job->caller = caller;
		job->state = VG_JOB_STATE_RUNNING;
		send_rest(caller);
		return true;
	}
	return false;
}

void vg_call_stop(struct vg_job *job)
{
	if (job->caller)
		end_caller(job->caller);
}

/* ---- the process ----------------------------------------------------------------------------------------------- */

static void on_rested(void *context)
{
	struct vg_cpu_caller *caller = context;

	if (!caller->cpu->stopping)
		start_caller(caller);
}

static void start_later(struct vg_cpu_caller *caller)
{
	__u64 rest_ns = REST_NS << (caller->failures < 8 ? caller->failures : 8);

	caller->state = VG_CALLER_DOWN;
	caller->failures++;
	if (rest_ns > REST_NS_MAX)
		rest_ns = REST_NS_MAX;
	if (vg_env_timer(caller->cpu->env, rest_ns, on_rested, caller))
		vg_log(VG_LOG_ERROR, "a worker of the CPU pool is not started again: out of memory", NULL);
}

/* The process has ended and nothing of it is in flight. */
static void bury(struct vg_cpu_caller *caller)
{
	struct vg_cpu *cpu = caller->cpu;
	struct vg_spawn_end end = { 0 };
	bool was_stopped = caller->job && caller->job->stopping;
	char text[96];

	(void)vg_spawn_reap(cpu->env, caller->pid, &end);
	vg_io_cancel(cpu->env->io, caller->receive_op);
	caller->receive_op = 0;
	vg_io_close(cpu->env->io, caller->fd);
	vg_io_close(cpu->env->io, caller->pidfd);
	caller->fd = caller->pidfd = -1;
	if (WIFSIGNALED(end.status))
		snprintf(text, sizeof(text), "the worker that ran it died of signal %d (%s)", WTERMSIG(end.status),
			 sigabbrev_np(WTERMSIG(end.status)) ?: "?");
	else
		snprintf(text, sizeof(text), "the worker that ran it left with status %d", WEXITSTATUS(end.status));
	cpu->counts.workers_replaced++;
	vg_log(VG_LOG_WARNING, "a worker of the CPU pool has ended and is replaced", "pid=%d why=\"%s\"",
	       (int)caller->pid, was_stopped ? "its call was stopped" : text);
	if (was_stopped)
		caller->failures = 0; /* not its fault, and others wait */
	give_up_job(caller, text);
	if (caller->failures || !was_stopped)
		start_later(caller);
	else
		start_caller(caller);
}

static void on_ended(void *owner, const struct vg_io_event *event)
{
	struct vg_cpu_caller *caller = owner;
	struct vg_io *io = caller->cpu->env->io;

	vg_env_turn(caller->cpu->env);
	caller->state = VG_CALLER_ENDING;
	if (event->result < 0)
		(void)vg_spawn_signal(caller->pid, caller->pidfd, SIGKILL, true);
	caller->dead = true;
	if (caller->send_op)
		vg_io_stop(io, caller->send_op); /* it reads the job's bytes: on_sent comes back */
	else
		bury(caller);
}

static void on_spawned(void *context, const struct vg_spawned *spawned)
{
	struct vg_cpu_caller *caller = context;
	struct vg_io *io = caller->cpu->env->io;

	if (spawned->error) {
		vg_log(VG_LOG_ERROR, "a worker of the CPU pool does not start", "error=\"%s\"",
		       strerror(-spawned->error));
		start_later(caller);
		return;
	}
	caller->pid = spawned->pid;
	caller->pidfd = spawned->pidfd;
	caller->fd = spawned->input_fd;
	caller->state = VG_CALLER_IDLE;
	caller->dead = false;
	if (vg_io_waitid(io, P_PIDFD, (id_t)caller->pidfd, &caller->ended_info, WEXITED | WNOWAIT, on_ended, caller,
			 NULL) ||
	    vg_io_recv(io, caller->fd, on_received, caller, &caller->receive_op)) {
		vg_log(VG_LOG_ERROR, "no operation is left for a worker of the CPU pool", NULL);
		end_caller(caller);
		return;
	}
	vg_cpu_dispatch(caller->cpu);
}

static void start_caller(struct vg_cpu_caller *caller)
{
	struct vg_cpu *cpu = caller->cpu;
	bool function = caller->class == VG_CPU_FUNCTIONS;
	const char *directory = function ? cpu->settings->plugin_dir : cpu->settings->kernel_dir;
	const char *program = vg_spawn_worker_program(cpu->env);
	char strings[2048];
	/* program, directory to be in, three arguments, no environment */
	int length = snprintf(strings, sizeof(strings), "%s%c/%c%s%c%s%c%s", program, 0, 0, VG_SPAWN_PROGRAM, 0,
			      function ? "function" : "kernel", 0, directory);
	const struct vg_spawn_request request = {
		.flags = VG_SPAWN_WORKER,
		.privileged = !function,
		.socket = true,
		.arguments = 3,
		.strings = strings,
		.strings_bytes = (size_t)length + 1,
	};

	assert((size_t)length < sizeof(strings)); /* options are shorter */
	caller->state = VG_CALLER_STARTING;
	if (vg_spawn(cpu->env, &request, on_spawned, caller))
		start_later(caller);
}

int vg_callers_init(struct vg_cpu *cpu)
{
	__u32 functions = cpu->settings->plugin_dir ? cpu->settings->workers : 0;

	cpu->callers = functions + (cpu->settings->kernel_dir ? 1 : 0);
	if (!cpu->callers)
		return 0;
	cpu->caller = vg_cpu_alloc(cpu, cpu->callers * sizeof(*cpu->caller));
	if (!cpu->caller)
		return -ENOMEM;
	for (__u32 i = 0; i < cpu->callers; i++) {
		cpu->caller[i] = (struct vg_cpu_caller){
			.cpu = cpu, .class = i < functions ? VG_CPU_FUNCTIONS : VG_CPU_KERNEL, .pidfd = -1, .fd = -1,
		};
		start_caller(&cpu->caller[i]);
	}
	return 0;
}

void vg_callers_deinit(struct vg_cpu *cpu)
{
	struct vg_spawn_end end;

	for (__u32 i = 0; i < cpu->callers; i++) {
		struct vg_cpu_caller *caller = &cpu->caller[i];

		if (caller->pidfd < 0)
			continue;
		(void)vg_spawn_signal(caller->pid, caller->pidfd, SIGKILL, true);
		(void)vg_spawn_reap(cpu->env, caller->pid, &end);
		vg_io_close(cpu->env->io, caller->fd);
		vg_io_close(cpu->env->io, caller->pidfd);
	}
	vg_cpu_free(cpu, cpu->caller);
}
