/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kernel's part of a simulated turn: operations that can go on do so and leave completions. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uring/sim_op.h"

size_t vg_sim_maybe_short(size_t bytes)
{
	return bytes > 1 && vg_sim_chance(vg_sim_faults()->short_transfer) ? 1 + vg_sim_random(bytes - 1) : bytes;
}

static bool find_no_buffer(struct vg_io *io, struct sim_op *op, __u32 out, __u32 buffers)
{
	if (out < buffers && !vg_sim_chance(vg_sim_faults()->no_buffers))
		return false;
	op->without_buffers = true;
	io->stats.no_buffers++;
	return true;
}

static bool goes_on(void)
{
	return !vg_sim_chance(vg_sim_faults()->more_cleared);
}

static void accept_one(struct vg_io *io, struct sim_op *op)
{
	struct sim_socket *socket = vg_sim_socket_accept(op->socket);

	if (socket)
		vg_sim_op_complete(io, op, socket->fd, goes_on());
}

static void recv_one(struct vg_io *io, struct sim_op *op)
{
	struct sim_socket *socket = op->socket;
	size_t bytes = vg_sim_socket_waiting(socket);
	struct sim_completion *completion;

	if (!bytes) {
		if (socket->reset)
			vg_sim_op_complete(io, op, -ECONNRESET, false);
		else if (socket->input_ended)
			vg_sim_op_complete(io, op, 0, false);
		return;
	}
	if (find_no_buffer(io, op, io->streams_out, io->config.stream_buffers))
		return;
	if (bytes > io->config.stream_buffer_bytes)
		bytes = io->config.stream_buffer_bytes;
	bytes = vg_sim_maybe_short(bytes);
	completion = vg_sim_op_complete(io, op, bytes, goes_on());
	completion->has_data = true;
	completion->data = malloc(bytes);
	assert(completion->data);
	memcpy(completion->data, socket->input + socket->input_begin, bytes);
	socket->input_begin += bytes;
	io->streams_out++;
}

static void recvmsg_one(struct vg_io *io, struct sim_op *op)
{
	struct sim_datagram *datagram;
	struct sim_completion *completion;
	size_t bytes;

	if (!op->socket->datagram_first ||
	    find_no_buffer(io, op, io->datagrams_out, io->config.datagram_buffers))
		return;
	datagram = vg_sim_take_datagram(op->socket);
	bytes = datagram->bytes < io->config.datagram_bytes ? datagram->bytes : io->config.datagram_bytes;
	completion = vg_sim_op_complete(io, op, bytes, goes_on());
	completion->has_data = completion->datagram = true;
	completion->truncated = bytes < datagram->bytes;
	completion->peer = datagram->from;
	completion->peer_length = datagram->from_length;
	/* One more than nothing, so that an empty datagram has an address as well; 16-byte aligned as in the ring. */
	completion->data = malloc(bytes ? bytes : 1);
	assert(completion->data);
	memcpy(completion->data, datagram->data, bytes);
	io->datagrams_out++;
	free(datagram);
}

__u64 vg_sim_op_checksum(const struct sim_op *op)
{
	__u64 sum = 1469598103934665603ull;
	int index;
	size_t at;

	for (index = 0; index < op->count; index++)
		for (at = 0; at < op->vectors[index].iov_len; at++)
			sum = (sum ^ ((const __u8 *)op->vectors[index].iov_base)[at]) * 1099511628211ull;
	return sum;
}

static void send_some(struct vg_io *io, struct sim_op *op)
{
	struct sim_socket *socket = op->socket;
	size_t total = 0, sent = 0;
	int index;

	if (vg_sim_chance(vg_sim_faults()->reset))
		vg_sim_break(socket->fd);
	if (socket->reset || !socket->other || socket->other->abandoned) {
		vg_sim_op_complete(io, op, socket->reset ? -ECONNRESET : -EPIPE, false);
		return;
	}
	/* The other side gave up reading but its socket is there: bytes go where nobody looks. */
	if (!vg_sim_socket_room(socket))
		return;
	assert(vg_sim_op_checksum(op) == op->checksum); /* the sender touched bytes that a send in flight names */
	for (index = 0; index < op->count; index++)
		total += op->vectors[index].iov_len;
	if (total > vg_sim_socket_room(socket))
		total = vg_sim_socket_room(socket);
	total = vg_sim_maybe_short(total);
	for (index = 0; index < op->count && sent < total; index++) {
		size_t part = op->vectors[index].iov_len < total - sent ? op->vectors[index].iov_len : total - sent;

		if (part)
			sent += vg_sim_write(socket->fd, op->vectors[index].iov_base, part);
	}
	vg_sim_op_complete(io, op, sent, false);
}

static void go_on(struct vg_io *io, struct sim_op *op)
{
	switch (op->kind) {
	case OP_ACCEPT:
		accept_one(io, op);
		break;
	case OP_RECV:
		recv_one(io, op);
		break;
	case OP_RECVMSG:
		recvmsg_one(io, op);
		break;
	case OP_SEND:
		send_some(io, op);
		break;
	case OP_CONNECT:
		vg_sim_op_complete(io, op,
				   vg_sim_socket_connect(op->socket, (struct sockaddr *)&op->peer, op->peer_length),
				   false);
		break;
	case OP_TIMEOUT:
		if (op->due_ns <= vg_sim_now_ns())
			vg_sim_op_complete(io, op, 0, false);
		break;
	case OP_FREE:
		break;
	default:
		vg_sim_file_go_on(io, op);
	}
}

static void work_on(struct vg_io *io, struct sim_op *op, bool hurry)
{
	if (op->kind == OP_FREE || op->ended || op->without_buffers)
		return;
	if (!hurry && vg_sim_chance(vg_sim_faults()->late))
		return;
	/* A cancel may come too late for what had happened already. */
	if (!op->ending || (op->socket && op->socket->fd >= 0 && vg_sim_chance(500)))
		go_on(io, op);
	if (op->ending && !op->ended)
		vg_sim_op_complete(io, op, -ECANCELED, false);
}

void vg_sim_close_sockets(struct vg_io *io)
{
	__u32 index, slot;

	for (index = 0; index < io->closing_count; index++) {
		struct sim_socket *socket = vg_sim_socket_of(io->closing[index]);

		if (!socket) {
			close(io->closing[index]); /* a real file */
			continue;
		}
		for (slot = 0; slot < io->config.operations; slot++)
			assert(io->op[slot].kind == OP_FREE || io->op[slot].socket != socket || io->op[slot].ending ||
			       io->op[slot].ended);
		vg_sim_socket_close(socket);
	}
	io->closing_count = 0;
}

void vg_sim_kernel_part(struct vg_io *io, bool hurry)
{
	__u32 count = io->config.operations, start = vg_sim_random(count), index;

	for (index = 0; index < count; index++)
		work_on(io, &io->op[(start + index) % count], hurry);
	vg_sim_close_sockets(io);
	io->datagrams_sent = 0;
}

/* Nothing can happen before the next timer is due. */
void vg_sim_pass_time(struct vg_io *io)
{
	__u64 due_ns = 0;
	__u32 slot;

	for (slot = 0; slot < io->config.operations; slot++) {
		struct sim_op *op = &io->op[slot];

		if (op->kind == OP_TIMEOUT && !op->ended && !op->ending && (!due_ns || op->due_ns < due_ns))
			due_ns = op->due_ns;
	}
	if (due_ns > vg_sim_now_ns())
		vg_sim_advance(due_ns - vg_sim_now_ns());
}
