// SPDX-License-Identifier: GPL-3.0-or-later
/* Executables: from a request to a process, and to its end. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "svc/cpu/cpu.h"

#define STRAGGLER_NS 500000000ull /* what has left the job's group may hold its output open so long */

/* ---- what the spawner is told ---------------------------------------------------------------------------------- */

static __u32 spawn_flags(__u16 flags)
{
	return (flags & VG_JOB_PTY ? VG_SPAWN_TERMINAL : 0) | (flags & VG_JOB_NEW_MOUNTS ? VG_SPAWN_NEW_MOUNTS : 0) |
	       (flags & VG_JOB_NEW_PIDS ? VG_SPAWN_NEW_PIDS : 0) | (flags & VG_JOB_NEW_NET ? VG_SPAWN_NEW_NET : 0) |
	       (flags & VG_JOB_SECCOMP ? VG_SPAWN_SECCOMP : 0);
}

static size_t put(char *to, struct vg_job_text text)
{
	memcpy(to, text.data, text.length);
	to[text.length] = '\0';
	return text.length + 1;
}

/* What a program finds that was given no environment. Returns the bytes, entries are counted in *ret_count. */
static size_t put_default_environment(char *to, size_t room, const struct vg_job *job, __u32 *ret_count)
{
	int length = snprintf(to, room, "PATH=/usr/local/bin:/usr/bin:/bin%cHOME=/%cLANG=C.UTF-8%cVIRGO_JOB=%016llx", 0,
			      0, 0, job->id);

	assert((size_t)length < room);
	*ret_count = 4;
	return (size_t)length + 1;
}

#define DEFAULT_ENVIRONMENT_BYTES 128

static size_t put_strings(const struct vg_job *job, char *to, __u32 *ret_environment)
{
	const __u8 *at = job->view.strings;
	size_t bytes = put(to, job->view.name);

	bytes += put(to + bytes, job->view.directory);
	for (__u32 i = 0; i < job->view.arguments + job->view.environment; i++)
		bytes += put(to + bytes, vg_job_next(&at));
	*ret_environment = job->view.environment;
	if (!job->view.environment)
		bytes += put_default_environment(to + bytes, DEFAULT_ENVIRONMENT_BYTES, job, ret_environment);
	return bytes;
}

static void on_spawned(void *context, const struct vg_spawned *spawned);

int vg_run_start(struct vg_job *job)
{
	const struct vg_job_view *view = &job->view;
	/* A NUL takes less room than the length it replaces. */
	char *strings = vg_cpu_alloc(job->cpu, VG_JOB_SPEC_MAX + DEFAULT_ENVIRONMENT_BYTES);
	struct vg_spawn_request request = {
		.flags = spawn_flags(view->flags),
		.job = job->id,
		.memory_bytes = view->memory_bytes,
		.cpu_ms = view->cpu_ms,
		.cpu_permille = view->cpu_permille,
		.processes = view->processes,
		.rows = view->rows,
		.columns = view->columns,
		.merge = view->flags & VG_JOB_MERGE,
		.arguments = view->arguments,
		.strings = strings,
	};
	int error;

	if (!strings)
		return -ENOMEM;
	request.strings_bytes = put_strings(job, strings, &request.environment);
	error = vg_spawn(job->cpu->env, &request, on_spawned, job);
	vg_cpu_free(job->cpu, strings);
	return error;
}

/* ---- its end --------------------------------------------------------------------------------------------------- */

static void conclude(struct vg_job *job)
{
	int status = job->end.status;

	job->code = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
	vg_job_end(job, job->stopping ? job->how : WIFEXITED(status) ? VG_JOB_EXITED : VG_JOB_SIGNALLED);
}

void vg_run_check_end(struct vg_job *job)
{
	if (job->state != VG_JOB_STATE_RUNNING || !job->reaped)
		return;
	if (job->input.op) {
		vg_io_stop(job->cpu->env->io, job->input.op);
		return;
	}
	if (vg_output_idle(&job->output[0]) && vg_output_idle(&job->output[1]))
		conclude(job);
}

static void close_outputs(struct vg_job *job)
{
	vg_output_close(&job->output[0]);
	vg_output_close(&job->output[1]);
	vg_run_check_end(job);
}

static void watch_stragglers(struct vg_job *job);

/* A read that waits waits for somebody who has left the group; one that does not waits for the client. */
static void on_straggler(void *owner, const struct vg_io_event *event)
{
	struct vg_job *job = owner;

	vg_env_turn(job->cpu->env);
	job->timer_op = 0;
	if (job->output[0].op)
		vg_output_close(&job->output[0]);
	if (job->output[1].op)
		vg_output_close(&job->output[1]);
	watch_stragglers(job);
}

static void watch_stragglers(struct vg_job *job)
{
	struct vg_io *io = job->cpu->env->io;

	vg_io_cancel(io, job->timer_op);
	job->timer_op = 0;
	if (vg_io_timeout(io, STRAGGLER_NS, on_straggler, job, &job->timer_op))
		close_outputs(job);
}

static void reap(struct vg_job *job)
{
	struct vg_cpu *cpu = job->cpu;

	if (vg_spawn_reap(cpu->env, job->pid, &job->end))
		job->end.status = SIGKILL; /* somebody else has collected it: it has ended in any case */
	job->reaped = true;
	vg_io_close(cpu->env->io, job->pidfd);
	job->pidfd = -1;
	if (job->stopping && job->how == VG_JOB_LOST) {
		close_outputs(job); /* nobody wants it */
		return;
	}
	if (vg_output_idle(&job->output[0]) && vg_output_idle(&job->output[1]))
		vg_run_check_end(job);
	else
		watch_stragglers(job);
}

static void on_ended(void *owner, const struct vg_io_event *event)
{
	struct vg_job *job = owner;

	vg_env_turn(job->cpu->env);
	/* An error of the wait itself: it is ended, so that collecting it does not wait. */
	if (event->result < 0)
		(void)vg_spawn_signal(job->pid, job->pidfd, SIGKILL, true);
	reap(job);
}

/* ---- its beginning --------------------------------------------------------------------------------------------- */

static enum vg_job_reason reason_of(enum vg_spawn_stage stage)
{
	switch (stage) {
	case VG_SPAWN_STAGE_LIMIT:
		return VG_JOB_REASON_LIMITS;
	case VG_SPAWN_STAGE_DIRECTORY:
		return VG_JOB_REASON_DIRECTORY;
	case VG_SPAWN_STAGE_PROGRAM:
		return VG_JOB_REASON_PROGRAM;
	default:
		return VG_JOB_REASON_START;
	}
}

static void set_text(struct vg_job *job, const char *text)
{
	__u32 length = (__u32)strlen(text);

	job->result = vg_cpu_alloc(job->cpu, length + 1);
	if (!job->result)
		return;
	memcpy(job->result, text, length);
	job->text_length = length;
}

static void not_started(struct vg_job *job, const struct vg_spawned *spawned)
{
	char text[160];

	job->reason = reason_of(spawned->stage);
	snprintf(text, sizeof(text), "%s: %s", vg_job_reason_text(job->reason), strerror(-spawned->error));
	set_text(job, text);
	vg_job_end(job, VG_JOB_FAILED);
}

static int open_streams(struct vg_job *job, const struct vg_spawned *spawned)
{
	__u32 window = job->view.window ?: VG_JOB_WINDOW_DEFAULT;
	int error;

	if (window > VG_JOB_WINDOW_MAX)
		window = VG_JOB_WINDOW_MAX;
	if (window < 4096)
		window = 4096;
	error = vg_output_open(&job->output[0], job, VG_JOB_STDOUT, spawned->output_fd, window);
	if (spawned->error_fd >= 0)
		error = vg_output_open(&job->output[1], job, VG_JOB_STDERR, spawned->error_fd,
				       window < VG_JOB_ERROR_WINDOW ? window : VG_JOB_ERROR_WINDOW) ?: error;
	vg_input_open(job, spawned->input_fd);
	return error;
}

static void on_spawned(void *context, const struct vg_spawned *spawned)
{
	struct vg_job *job = context;
	struct vg_cpu *cpu = job->cpu;
	int error;

	if (spawned->error) {
		not_started(job, spawned);
		return;
	}
	job->state = VG_JOB_STATE_RUNNING;
	job->pid = spawned->pid;
	job->pidfd = spawned->pidfd;
	error = open_streams(job, spawned);
	error = error ?: vg_io_waitid(cpu->env->io, P_PIDFD, (id_t)job->pidfd, &job->ended_info, WEXITED | WNOWAIT,
				      on_ended, job, NULL);
	if (error) {
		/* It cannot be served: what it has done by now is lost. */
		job->reason = VG_JOB_REASON_NO_MEMORY;
		job->stopping = true;
		job->how = VG_JOB_FAILED;
		(void)vg_spawn_signal(job->pid, job->pidfd, SIGKILL, true);
		reap(job);
		close_outputs(job);
		return;
	}
	if (job->stopping)
		vg_run_stop(job);
	vg_cpu_dispatch(cpu); /* the spawner has room again */
}

/* ---- stopping -------------------------------------------------------------------------------------------------- */

static void on_grace(void *owner, const struct vg_io_event *event)
{
	struct vg_job *job = owner;

	vg_env_turn(job->cpu->env);
	job->timer_op = 0;
	if (!job->reaped)
		(void)vg_spawn_signal(job->pid, job->pidfd, SIGKILL, true);
}

void vg_run_stop(struct vg_job *job)
{
	struct vg_io *io = job->cpu->env->io;

	if (job->state == VG_JOB_STATE_STARTING)
		return; /* on_spawned comes back */
	if (job->reaped) {
		close_outputs(job);
		return;
	}
	vg_io_cancel(io, job->timer_op);
	job->timer_op = 0;
	(void)vg_spawn_signal(job->pid, job->pidfd, SIGTERM, true);
	(void)vg_spawn_signal(job->pid, job->pidfd, SIGCONT, true); /* a stopped one hears nothing else */
	if (vg_io_timeout(io, VG_CPU_GRACE_NS, on_grace, job, &job->timer_op))
		(void)vg_spawn_signal(job->pid, job->pidfd, SIGKILL, true);
	/* What nobody reads is let go, so that it can end. */
	if (job->how == VG_JOB_LOST)
		close_outputs(job);
}

void vg_run_deinit(struct vg_job *job)
{
	if (job->state != VG_JOB_STATE_RUNNING || job->reaped)
		return;
	(void)vg_spawn_signal(job->pid, job->pidfd, SIGKILL, true);
	(void)vg_spawn_reap(job->cpu->env, job->pid, &job->end);
	job->reaped = true;
}
