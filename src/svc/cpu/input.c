// SPDX-License-Identifier: GPL-3.0-or-later
/* What a process reads: first what came with the request, then what the client sends, within a window. */
#include <errno.h>
#include <string.h>

#include "svc/cpu/cpu.h"

static void pump(struct vg_job *job);

static void close_fd(struct vg_job *job)
{
	struct vg_cpu_input *input = &job->input;

	if (input->fd >= 0 && input->fd != job->output[0].fd) /* a terminal is its output's */
		vg_io_close(job->cpu->env->io, input->fd);
	input->fd = -1;
}

void vg_input_open(struct vg_job *job, int fd)
{
	job->input.fd = fd;
	pump(job);
}

void vg_input_close(struct vg_job *job)
{
	struct vg_cpu_input *input = &job->input;

	close_fd(job);
	input->deaf = true;
	vg_cpu_free(job->cpu, input->ring);
	input->ring = NULL;
}

/* It reads no more: what is here and what comes is dropped, so that the client is not held up by it. */
static void drop_rest(struct vg_job *job)
{
	struct vg_cpu_input *input = &job->input;

	input->deaf = true;
	input->written = input->filled;
	close_fd(job);
}

static void announce(struct vg_job *job)
{
	struct vg_cpu_input *input = &job->input;

	bool done = input->ends && input->written == input->filled;

	if (!done && input->written - input->told >= VG_JOB_INPUT_WINDOW / 2)
		vg_job_tell_window(job);
}

static void on_written(void *owner, const struct vg_io_event *event)
{
	struct vg_job *job = owner;
	struct vg_cpu_input *input = &job->input;

	vg_env_turn(job->cpu->env);
	input->op = 0;
	if (event->result > 0) {
		input->written += (__u32)event->result;
		job->cpu->counts.input_bytes += (__u32)event->result;
	} else if (event->result != -EAGAIN && event->result != -EINTR) {
		drop_rest(job);
	}
	announce(job);
	pump(job);
	vg_run_check_end(job);
}

/* What can be written at once: the next bytes, in at most two pieces. */
static int pieces(const struct vg_job *job, struct iovec *vectors)
{
	const struct vg_cpu_input *input = &job->input;
	__u64 left = input->filled - input->written;
	__u32 at;

	if (input->written < input->first) {
		vectors[0] = (struct iovec){ (void *)(job->view.input.data + input->written),
					     input->first - input->written };
		return 1;
	}
	at = (__u32)((input->written - input->first) % VG_JOB_INPUT_WINDOW);
	vectors[0] = (struct iovec){ input->ring + at, left };
	if (at + left <= VG_JOB_INPUT_WINDOW)
		return 1;
	vectors[0].iov_len = VG_JOB_INPUT_WINDOW - at;
	vectors[1] = (struct iovec){ input->ring, left - vectors[0].iov_len };
	return 2;
}

static void on_terminal_ended(void *owner, const struct vg_io_event *event)
{
	struct vg_job *job = owner;

	vg_env_turn(job->cpu->env);
	job->input.op = 0;
	vg_run_check_end(job);
}

static void end_input(struct vg_job *job)
{
	static char end_of_transmission[] = { 4 };
	const struct iovec vector = { end_of_transmission, 1 };
	int fd = job->input.fd;

	if (job->view.flags & VG_JOB_PTY && fd >= 0)
		(void)vg_io_write(job->cpu->env->io, fd, &vector, 1, VG_IO_STREAM, on_terminal_ended, job,
				  &job->input.op);
	close_fd(job);
}

static void pump(struct vg_job *job)
{
	struct vg_cpu_input *input = &job->input;
	struct iovec vectors[2];
	int count;

	if (input->fd < 0 || input->op)
		return;
	if (input->written >= input->filled) {
		if (input->ends)
			end_input(job);
		return;
	}
	count = pieces(job, vectors);
	if (vg_io_write(job->cpu->env->io, input->fd, vectors, count, VG_IO_STREAM, on_written, job, &input->op)) {
		input->op = 0;
		drop_rest(job);
	}
}

static void store(struct vg_cpu_input *input, const __u8 *data, __u32 length)
{
	__u32 at = (__u32)((input->filled - input->first) % VG_JOB_INPUT_WINDOW), part = VG_JOB_INPUT_WINDOW - at;

	if (part > length)
		part = length;
	memcpy(input->ring + at, data, part);
	memcpy(input->ring, data + part, length - part);
	input->filled += length;
}

static __u64 at_least(__u64 a, __u64 b)
{
	return a > b ? a : b;
}

enum vg_job_reason vg_input_take(struct vg_job *job, __u64 offset, const void *data, __u32 length)
{
	struct vg_cpu_input *input = &job->input;
	__u64 known;

	if (job->view.kind != VG_JOB_EXECUTABLE || job->state == VG_JOB_STATE_ENDED)
		return VG_JOB_REASON_NONE; /* too late for it: it has what it wanted */
	if (offset > input->filled || (input->ends && offset + length > input->filled))
		return VG_JOB_REASON_OFFSET;
	known = input->filled - offset;
	if (!length) {
		input->ends |= !known;
	} else if (known < length) { /* else it came twice */
		data = (const __u8 *)data + known;
		length -= (__u32)known;
		if (input->filled + length - at_least(input->written, input->first) > VG_JOB_INPUT_WINDOW)
			return VG_JOB_REASON_OFFSET;
		if (!input->ring && !input->deaf)
			input->ring = vg_cpu_alloc(job->cpu, VG_JOB_INPUT_WINDOW);
		if (!input->ring && !input->deaf)
			return VG_JOB_REASON_NO_MEMORY;
		if (input->deaf)
			input->filled = input->written = input->filled + length;
		else
			store(input, data, length);
		announce(job);
	}
	pump(job);
	return VG_JOB_REASON_NONE;
}
