// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * What a process writes: read from its pipe into a ring, given to the connection from there, and kept until the client
 * has said that it has taken it. The ring is the client's window, so nothing is ever lost to a lost connection, a slow
 * reader stops the process by its own pipe, and a flood takes no more memory than the ring.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "svc/cpu/cpu.h"
#include "virgo/wire_codec.h"

#define LEND_BYTES 4096 /* less is copied */
#define PADDED_BYTES 499 /* all that a text answer of the original's size holds */

static void give(struct vg_cpu_output *output);

int vg_output_open(struct vg_cpu_output *output, struct vg_job *job, __u16 channel, int fd, __u32 window)
{
	output->job = job;
	output->channel = channel;
	output->fd = fd;
	output->size = window;
	output->ring = vg_cpu_alloc(job->cpu, window);
	if (!output->ring)
		return -ENOMEM;
	vg_output_pump(output);
	return 0;
}

void vg_output_deinit(struct vg_cpu_output *output)
{
	if (!output->job)
		return;
	assert(!output->op);
	vg_cpu_free(output->job->cpu, output->ring);
	output->ring = NULL;
}

static void close_fd(struct vg_cpu_output *output)
{
	struct vg_job *job = output->job;

	if (output->fd < 0)
		return;
	if (job->input.fd == output->fd)
		job->input.fd = -1; /* a terminal: both are one */
	vg_io_close(job->cpu->env->io, output->fd);
	output->fd = -1;
}

void vg_output_close(struct vg_cpu_output *output)
{
	if (!output->job)
		return;
	if (output->op)
		vg_io_stop(output->job->cpu->env->io, output->op); /* on_read closes it */
	else
		close_fd(output);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static __u32 room(const struct vg_cpu_output *output)
{
	return output->size - (__u32)(output->filled - output->taken);
}

static void on_read(void *owner, const struct vg_io_event *event);

static void fill(struct vg_cpu_output *output)
{
	struct vg_cpu *cpu = output->job->cpu;
	__u32 at = (__u32)(output->filled % output->size), free_bytes = room(output);
	struct iovec vectors[2] = { { output->ring + at, free_bytes } };
	int count = 1;

	if (output->fd < 0 || output->op || !free_bytes)
		return;
	if (at + free_bytes > output->size) {
		vectors[0].iov_len = output->size - at;
		vectors[1] = (struct iovec){ output->ring, free_bytes - vectors[0].iov_len };
		count = 2;
	}
	if (vg_io_read(cpu->env->io, output->fd, vectors, count, VG_IO_STREAM, on_read, output, &output->op)) {
		output->op = 0;
		close_fd(output); /* no operation is left: the process learns it by its pipe */
	}
}

static void on_read(void *owner, const struct vg_io_event *event)
{
	struct vg_cpu_output *output = owner;
	struct vg_job *job = output->job;

	vg_env_turn(output->job->cpu->env);
	output->op = 0;
	if (event->result > 0) {
		output->filled += (__u32)event->result;
		job->cpu->counts.output_bytes += (__u32)event->result;
	} else if (event->result != -EAGAIN && event->result != -EINTR) {
		close_fd(output); /* the end; of a terminal it is -EIO */
	}
	vg_output_pump(output);
	vg_run_check_end(job);
}

/* ---- giving ---------------------------------------------------------------------------------------------------- */

static void on_lent_back(void *context)
{
	vg_job_lent_back(context);
}

static void give_piece(struct vg_cpu_output *output, struct vg_session *session, const __u8 *data, __u32 length)
{
	struct vg_job *job = output->job;
	const struct vg_reply reply = {
		.opcode = VG_OP_JOB_OUTPUT,
		.client = job->to_client,
		.sequence = job->to_sequence,
		.ident = job->id,
		.argument = output->sent,
		.partition = output->channel,
		.body_length = length,
	};
	struct vg_wire_header header;

	vg_cpu_reply_header(job->cpu->env, &reply, &header);
	vg_out_append(session->out, &header, sizeof(header));
	if (length < LEND_BYTES) {
		vg_out_append(session->out, data, length);
	} else {
		job->lent++;
		vg_out_lend(session->out, data, length, on_lent_back, job);
	}
}

/* Text has no frames: the bytes as they are, and nobody acknowledges them. */
static void give_text(struct vg_cpu_output *output, struct vg_session *session)
{
	if (output->job->padded) {
		/* Only so much can be answered: the rest is read and dropped. */
		if (output->filled > PADDED_BYTES)
			output->filled = PADDED_BYTES;
		return;
	}
	while (output->sent < output->filled) {
		__u32 at = (__u32)(output->sent % output->size), length = (__u32)(output->filled - output->sent);

		if (vg_out_full(session->out)) {
			output->job->cpu->blocked = true;
			return;
		}
		if (length > output->size - at)
			length = output->size - at;
		vg_out_append(session->out, output->ring + at, length);
		output->sent += length;
		output->taken = output->sent;
	}
	vg_session_flush(session);
}

static void give(struct vg_cpu_output *output)
{
	struct vg_job *job = output->job;
	struct vg_session *session = vg_job_session(job);

	if (!session || output->sent == output->filled)
		return;
	if (job->face == VG_CPU_TEXT) {
		give_text(output, session);
		return;
	}
	while (output->sent < output->filled && !vg_out_full(session->out)) {
		__u32 at = (__u32)(output->sent % output->size), length = (__u32)(output->filled - output->sent);

		if (length > output->size - at)
			length = output->size - at;
		if (length > VG_JOB_DATA_MAX)
			length = VG_JOB_DATA_MAX;
		give_piece(output, session, output->ring + at, length);
		output->sent += length;
	}
	job->cpu->blocked |= output->sent < output->filled;
	vg_session_flush(session);
}

void vg_output_pump(struct vg_cpu_output *output)
{
	if (!output->job)
		return;
	if (output->ring)
		give(output);
	fill(output);
	if (output->job->state == VG_JOB_STATE_ENDED)
		vg_job_tell_end(output->job);
}

bool vg_output_taken(struct vg_cpu_output *output, __u64 offset)
{
	if (offset > output->sent)
		return false;
	if (offset > output->taken)
		output->taken = offset;
	vg_output_pump(output);
	return true;
}

bool vg_output_keeps(const struct vg_cpu_output *output, __u64 offset)
{
	return offset >= output->taken && offset <= output->filled;
}

void vg_output_rewind(struct vg_cpu_output *output, __u64 offset)
{
	output->taken = output->sent = offset;
}
