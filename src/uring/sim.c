/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * io.h over the simulated network. A turn has the kernel's part, in which operations that can go on do so and leave
 * completions in a queue, and the delivery. Between the two lies everything that may go wrong: cancelled operations
 * whose bytes were taken already, completions that wait, overtake each other or find no buffer.
 */
#include "uring/sim_op.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TURN_NS_MAX 20000 /* virtual time that a turn may take */

/* ---- the completion queue -------------------------------------------------------------------------------------- */

/* Completions of one operation keep their order; those of different ones need not. */
struct sim_completion *vg_sim_op_complete(struct vg_io *io, struct sim_op *op, int result, bool more)
{
	struct sim_completion *completion = calloc(1, sizeof(*completion)), **at = &io->queue, **walk;
	bool overtakes = vg_sim_chance(vg_sim_faults()->reorder);

	assert(completion);
	completion->slot = op - io->op;
	completion->generation = op->generation;
	completion->result = result;
	completion->more = more;
	for (walk = &io->queue; *walk; walk = &(*walk)->next)
		if ((*walk)->slot == completion->slot || !overtakes || vg_sim_chance(500))
			at = &(*walk)->next;
	completion->next = *at;
	*at = completion;
	op->ended |= !more;
	return completion;
}

static void put_op(struct vg_io *io, struct sim_op *op)
{
	if (op->socket)
		vg_sim_socket_unref(op->socket);
	op->kind = OP_FREE;
	op->socket = NULL;
	op->generation++;
	io->operations_open--;
}

static void free_completion(struct vg_io *io, struct sim_completion *completion)
{
	if (completion->has_data && completion->datagram)
		io->datagrams_out--;
	else if (completion->has_data)
		io->streams_out--;
	free(completion->data);
	free(completion);
}

static void deliver(struct vg_io *io, struct sim_completion *completion)
{
	struct sim_op *op = &io->op[completion->slot];
	struct vg_io_event event = {
		.result = completion->result,
		.more = completion->more,
		.data = completion->has_data ? completion->data : NULL,
		.peer = completion->peer_length ? (struct sockaddr *)&completion->peer : NULL,
		.peer_length = completion->peer_length,
		.truncated = completion->truncated,
	};
	vg_io_fn fn = op->fn;
	void *owner = op->owner;
	bool is_accept = op->kind == OP_ACCEPT;

	assert(op->kind != OP_FREE && op->generation == completion->generation);
	io->stats.completions++;
	if (!completion->more)
		put_op(io, op);
	if (fn)
		fn(owner, &event);
	else if (is_accept && completion->result >= 0)
		vg_sim_socket_close(vg_sim_socket_of(completion->result));
	free_completion(io, completion);
}

static int deliver_batch(struct vg_io *io)
{
	struct sim_completion *completion, *batch = io->queue, **end = &batch;
	__u32 length = 0, wanted;
	int delivered = 0;

	for (completion = batch; completion; completion = completion->next)
		length++;
	wanted = length;
	if (length && vg_sim_chance(vg_sim_faults()->overflow)) {
		wanted = 1 + vg_sim_random(length);
		io->stats.overflows++;
	}
	while (wanted--)
		end = &(*end)->next;
	io->queue = *end;
	*end = NULL;
	while ((completion = batch)) {
		batch = completion->next;
		deliver(io, completion);
		delivered++;
	}
	return delivered;
}

int vg_io_run(struct vg_io *io, bool wait)
{
	struct vg_io_event woken = { .more = true };
	int delivered = 0;
	__u32 slot;

	io->stats.turns++;
	vg_sim_advance(vg_sim_random(TURN_NS_MAX));
	vg_sim_kernel_part(io, false);
	if (vg_sim_chance(vg_sim_faults()->spurious))
		return 0;
	if (wait && !io->queue && !io->wake_pending) {
		vg_sim_kernel_part(io, true);
		if (!io->queue) {
			vg_sim_pass_time(io);
			vg_sim_kernel_part(io, true);
		}
	}
	if (io->wake_pending) {
		io->wake_pending = false;
		delivered++;
		if (io->wake_fn)
			io->wake_fn(io->wake_owner, &woken);
	}
	delivered += deliver_batch(io);
	for (slot = 0; slot < io->config.operations; slot++)
		io->op[slot].without_buffers = false;
	return delivered;
}

/* ---- submitting ------------------------------------------------------------------------------------------------ */

static vg_io_op name_of(const struct vg_io *io, const struct sim_op *op)
{
	return (__u64)op->generation << 32 | (__u32)(op - io->op);
}

static struct sim_op *op_of(struct vg_io *io, vg_io_op name)
{
	struct sim_op *op;

	if (!name || (__u32)name >= io->config.operations)
		return NULL;
	op = &io->op[(__u32)name];
	return op->kind != OP_FREE && op->generation == name >> 32 ? op : NULL;
}

struct sim_op *vg_sim_op_begin(struct vg_io *io, enum sim_op_kind kind, int fd, vg_io_fn fn, void *owner,
			       vg_io_op *ret_op)
{
	struct sim_op *op;
	__u32 slot = 0;

	while (slot < io->config.operations && io->op[slot].kind != OP_FREE)
		slot++;
	if (slot == io->config.operations)
		return NULL;
	op = &io->op[slot];
	*op = (struct sim_op){ .kind = kind, .generation = op->generation, .fn = fn, .owner = owner, .fd = fd };
	if (kind < OP_TIMEOUT) {
		op->socket = vg_sim_socket_of(fd);
		assert(op->socket); /* a descriptor that is not open */
		vg_sim_socket_ref(op->socket);
	}
	io->operations_open++;
	io->stats.submitted++;
	if (ret_op)
		*ret_op = name_of(io, op);
	return op;
}

int vg_io_accept(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return vg_sim_op_begin(io, OP_ACCEPT, fd, fn, owner, ret_op) ? 0 : -EBUSY;
}

int vg_io_recv(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return vg_sim_op_begin(io, OP_RECV, fd, fn, owner, ret_op) ? 0 : -EBUSY;
}

int vg_io_recvmsg(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return vg_sim_op_begin(io, OP_RECVMSG, fd, fn, owner, ret_op) ? 0 : -EBUSY;
}

int vg_io_send(struct vg_io *io, int fd, const struct iovec *vectors, int count, vg_io_fn fn, void *owner,
	       vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, OP_SEND, fd, fn, owner, ret_op);

	assert(count > 0 && count <= VG_IO_VECTORS);
	if (!op)
		return -EBUSY;
	memcpy(op->vectors, vectors, count * sizeof(*vectors));
	op->count = count;
	op->checksum = vg_sim_op_checksum(op);
	return 0;
}

int vg_io_sendto(struct vg_io *io, int fd, const void *data, size_t bytes, const struct sockaddr *peer,
		 socklen_t peer_length)
{
	struct sim_socket *socket = vg_sim_socket_of(fd);

	assert(socket && socket->kind == SIM_DATAGRAM);
	if (bytes > io->config.datagram_bytes)
		return -EMSGSIZE;
	if (io->datagrams_sent == io->config.datagram_buffers) {
		io->stats.datagrams_lost++;
		return -EBUSY;
	}
	io->datagrams_sent++;
	vg_sim_deliver_datagram(socket, data, bytes, peer, peer_length);
	return 0;
}

int vg_io_connect(struct vg_io *io, int fd, const struct sockaddr *peer, socklen_t peer_length, vg_io_fn fn,
		  void *owner, vg_io_op *ret_op)
{
	struct sim_op *op;

	if (peer_length > sizeof(op->peer))
		return -EINVAL;
	op = vg_sim_op_begin(io, OP_CONNECT, fd, fn, owner, ret_op);
	if (!op)
		return -EBUSY;
	memcpy(&op->peer, peer, peer_length);
	op->peer_length = peer_length;
	return 0;
}

int vg_io_timeout(struct vg_io *io, __u64 delay_ns, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct sim_op *op = vg_sim_op_begin(io, OP_TIMEOUT, -1, fn, owner, ret_op);

	if (!op)
		return -EBUSY;
	op->due_ns = vg_sim_now_ns() + delay_ns;
	return 0;
}

void vg_io_wake(struct vg_io *io)
{
	io->wake_pending = true;
}

void vg_io_on_wake(struct vg_io *io, vg_io_fn fn, void *owner)
{
	io->wake_fn = fn;
	io->wake_owner = owner;
}

void vg_io_stop(struct vg_io *io, vg_io_op name)
{
	struct sim_op *op = op_of(io, name);

	if (op && op->fn)
		op->ending = true;
}

void vg_io_cancel(struct vg_io *io, vg_io_op name)
{
	struct sim_op *op = op_of(io, name);

	if (!op || !op->fn)
		return;
	op->fn = NULL;
	op->ending = true;
}

void vg_io_close(struct vg_io *io, int fd)
{
	assert(vg_sim_socket_of(fd) || fd < SIM_FD_FIRST);
	if (io->closing_count == io->closing_room) {
		io->closing_room = io->closing_room ? io->closing_room * 2 : 64;
		io->closing = realloc(io->closing, io->closing_room * sizeof(*io->closing));
		assert(io->closing);
	}
	io->closing[io->closing_count++] = fd;
}

void vg_io_shutdown(struct vg_io *io, int fd)
{
	vg_sim_shutdown(fd);
}

int vg_io_socket(struct vg_io *io, int family, int type)
{
	return vg_sim_socket_new(type == SOCK_DGRAM ? SIM_DATAGRAM : SIM_NEW)->fd;
}

/* ---- making and ending ----------------------------------------------------------------------------------------- */

int vg_io_new(struct vg_io **ret_io, const struct vg_io_config *config)
{
	struct vg_io *io = calloc(1, sizeof(*io));
	__u32 slot;

	if (!io)
		return -ENOMEM;
	io->config = *config;
	io->op = calloc(config->operations, sizeof(*io->op));
	if (!io->op) {
		free(io);
		return -ENOMEM;
	}
	for (slot = 0; slot < config->operations; slot++)
		io->op[slot].generation = 1;
	*ret_io = io;
	return 0;
}

void vg_io_free(struct vg_io *io)
{
	struct sim_completion *completion;
	__u32 slot;

	if (!io)
		return;
	for (slot = 0; slot < io->config.operations; slot++)
		io->op[slot].ending = true;
	vg_sim_close_sockets(io);
	while ((completion = io->queue)) {
		io->queue = completion->next;
		if (io->op[completion->slot].kind == OP_ACCEPT && completion->result >= 0)
			vg_sim_socket_close(vg_sim_socket_of(completion->result));
		free_completion(io, completion);
	}
	for (slot = 0; slot < io->config.operations; slot++)
		if (io->op[slot].kind != OP_FREE)
			put_op(io, &io->op[slot]);
	free(io->closing);
	free(io->op);
	free(io);
}

const struct vg_io_stats *vg_io_stats(const struct vg_io *io)
{
	return &io->stats;
}

__u32 vg_sim_operations_open(const struct vg_io *io)
{
	return io->operations_open;
}

__u32 vg_sim_buffers_out(const struct vg_io *io)
{
	return io->streams_out + io->datagrams_out;
}
