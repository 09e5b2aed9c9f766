/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * io.h over the simulated network. A turn has the kernel's part, in which operations that can go on do so and leave
 * completions in a queue, and the delivery. Between the two lies everything that may go wrong: cancelled operations
 * whose bytes were taken already, completions that wait, overtake each other or find no buffer.
 */
#include "uring/sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uring/sim_net.h"

#define TURN_NS_MAX 20000 /* virtual time that a turn may take */

enum op_kind {
	OP_FREE,
	OP_ACCEPT,
	OP_RECV,
	OP_RECVMSG,
	OP_SEND,
	OP_CONNECT,
	OP_TIMEOUT,
};

struct op {
	enum op_kind kind;
	__u32 generation;
	vg_io_fn fn; /* NULL: cancelled */
	void *owner;
	struct sim_socket *socket;
	bool ending;	      /* a cancel is under way */
	bool ended;	      /* its last completion is in the queue */
	bool without_buffers; /* goes on when the turn ends */
	struct iovec vectors[VG_IO_VECTORS];
	int count;
	__u64 checksum; /* of what is to be sent: it must not change until it was taken */
	struct sockaddr_storage peer;
	socklen_t peer_length;
	__u64 due_ns;
};

struct completion {
	struct completion *next;
	__u32 slot, generation;
	int result;
	bool more;
	struct sockaddr_storage peer;
	socklen_t peer_length;
	bool truncated, has_data, datagram;
	__u8 *data; /* of its own, so that a use after the callback is seen */
};

struct vg_io {
	struct vg_io_config config;
	struct op *op;
	__u32 operations_open;
	__u32 streams_out, datagrams_out; /* buffers that completions hold */
	struct completion *queue;
	int *closing; /* descriptors to close in the next turn */
	__u32 closing_count, closing_room;
	__u32 datagrams_sent; /* since the last turn */
	bool wake_pending;
	vg_io_fn wake_fn;
	void *wake_owner;
	struct vg_io_stats stats;
};

/* ---- the completion queue -------------------------------------------------------------------------------------- */

/* Completions of one operation keep their order; those of different ones need not. */
static struct completion *complete(struct vg_io *io, struct op *op, int result, bool more)
{
	struct completion *completion = calloc(1, sizeof(*completion)), **at = &io->queue, **walk;
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

static void put_op(struct vg_io *io, struct op *op)
{
	if (op->socket)
		vg_sim_socket_unref(op->socket);
	op->kind = OP_FREE;
	op->socket = NULL;
	op->generation++;
	io->operations_open--;
}

static void free_completion(struct vg_io *io, struct completion *completion)
{
	if (completion->has_data && completion->datagram)
		io->datagrams_out--;
	else if (completion->has_data)
		io->streams_out--;
	free(completion->data);
	free(completion);
}

static void deliver(struct vg_io *io, struct completion *completion)
{
	struct op *op = &io->op[completion->slot];
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
	struct completion *completion, *batch = io->queue, **end = &batch;
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

/* ---- the kernel's part ----------------------------------------------------------------------------------------- */

static size_t maybe_short(size_t bytes)
{
	return bytes > 1 && vg_sim_chance(vg_sim_faults()->short_transfer) ? 1 + vg_sim_random(bytes - 1) : bytes;
}

static bool find_no_buffer(struct vg_io *io, struct op *op, __u32 out, __u32 buffers)
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

static void accept_one(struct vg_io *io, struct op *op)
{
	struct sim_socket *socket = vg_sim_socket_accept(op->socket);

	if (socket)
		complete(io, op, socket->fd, goes_on());
}

static void recv_one(struct vg_io *io, struct op *op)
{
	struct sim_socket *socket = op->socket;
	size_t bytes = vg_sim_socket_waiting(socket);
	struct completion *completion;

	if (!bytes) {
		if (socket->reset)
			complete(io, op, -ECONNRESET, false);
		else if (socket->input_ended)
			complete(io, op, 0, false);
		return;
	}
	if (find_no_buffer(io, op, io->streams_out, io->config.stream_buffers))
		return;
	if (bytes > io->config.stream_buffer_bytes)
		bytes = io->config.stream_buffer_bytes;
	bytes = maybe_short(bytes);
	completion = complete(io, op, bytes, goes_on());
	completion->has_data = true;
	completion->data = malloc(bytes);
	assert(completion->data);
	memcpy(completion->data, socket->input + socket->input_begin, bytes);
	socket->input_begin += bytes;
	io->streams_out++;
}

static void recvmsg_one(struct vg_io *io, struct op *op)
{
	struct sim_datagram *datagram;
	struct completion *completion;
	size_t bytes;

	if (!op->socket->datagram_first ||
	    find_no_buffer(io, op, io->datagrams_out, io->config.datagram_buffers))
		return;
	datagram = vg_sim_take_datagram(op->socket);
	bytes = datagram->bytes < io->config.datagram_bytes ? datagram->bytes : io->config.datagram_bytes;
	completion = complete(io, op, bytes, goes_on());
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

static __u64 checksum_of(const struct op *op)
{
	__u64 sum = 1469598103934665603ull;
	int index;
	size_t at;

	for (index = 0; index < op->count; index++)
		for (at = 0; at < op->vectors[index].iov_len; at++)
			sum = (sum ^ ((const __u8 *)op->vectors[index].iov_base)[at]) * 1099511628211ull;
	return sum;
}

static void send_some(struct vg_io *io, struct op *op)
{
	struct sim_socket *socket = op->socket;
	size_t total = 0, sent = 0;
	int index;

	if (vg_sim_chance(vg_sim_faults()->reset))
		vg_sim_break(socket->fd);
	if (socket->reset || !socket->other || socket->other->abandoned) {
		complete(io, op, socket->reset ? -ECONNRESET : -EPIPE, false);
		return;
	}
	/* The other side gave up reading but its socket is there: bytes go where nobody looks. */
	if (!vg_sim_socket_room(socket))
		return;
	assert(checksum_of(op) == op->checksum); /* the sender touched bytes that a send in flight names */
	for (index = 0; index < op->count; index++)
		total += op->vectors[index].iov_len;
	if (total > vg_sim_socket_room(socket))
		total = vg_sim_socket_room(socket);
	total = maybe_short(total);
	for (index = 0; index < op->count && sent < total; index++) {
		size_t part = op->vectors[index].iov_len < total - sent ? op->vectors[index].iov_len : total - sent;

		if (part)
			sent += vg_sim_write(socket->fd, op->vectors[index].iov_base, part);
	}
	complete(io, op, sent, false);
}

static void go_on(struct vg_io *io, struct op *op)
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
		complete(io, op, vg_sim_socket_connect(op->socket, (struct sockaddr *)&op->peer, op->peer_length),
			 false);
		break;
	case OP_TIMEOUT:
		if (op->due_ns <= vg_sim_now_ns())
			complete(io, op, 0, false);
		break;
	case OP_FREE:
		break;
	}
}

static void work_on(struct vg_io *io, struct op *op, bool hurry)
{
	if (op->kind == OP_FREE || op->ended || op->without_buffers)
		return;
	if (!hurry && vg_sim_chance(vg_sim_faults()->late))
		return;
	/* A cancel may come too late for what had happened already. */
	if (!op->ending || (op->socket && op->socket->fd >= 0 && vg_sim_chance(500)))
		go_on(io, op);
	if (op->ending && !op->ended)
		complete(io, op, -ECANCELED, false);
}

static void close_sockets(struct vg_io *io)
{
	__u32 index, slot;

	for (index = 0; index < io->closing_count; index++) {
		struct sim_socket *socket = vg_sim_socket_of(io->closing[index]);

		assert(socket);
		for (slot = 0; slot < io->config.operations; slot++)
			assert(io->op[slot].kind == OP_FREE || io->op[slot].socket != socket || io->op[slot].ending ||
			       io->op[slot].ended);
		vg_sim_socket_close(socket);
	}
	io->closing_count = 0;
}

static void kernel_part(struct vg_io *io, bool hurry)
{
	__u32 count = io->config.operations, start = vg_sim_random(count), index;

	for (index = 0; index < count; index++)
		work_on(io, &io->op[(start + index) % count], hurry);
	close_sockets(io);
	io->datagrams_sent = 0;
}

/* Nothing can happen before the next timer is due. */
static void pass_time(struct vg_io *io)
{
	__u64 due_ns = 0;
	__u32 slot;

	for (slot = 0; slot < io->config.operations; slot++) {
		struct op *op = &io->op[slot];

		if (op->kind == OP_TIMEOUT && !op->ended && !op->ending && (!due_ns || op->due_ns < due_ns))
			due_ns = op->due_ns;
	}
	if (due_ns > vg_sim_now_ns())
		vg_sim_advance(due_ns - vg_sim_now_ns());
}

int vg_io_run(struct vg_io *io, bool wait)
{
	struct vg_io_event woken = { .more = true };
	int delivered = 0;
	__u32 slot;

	io->stats.turns++;
	vg_sim_advance(vg_sim_random(TURN_NS_MAX));
	kernel_part(io, false);
	if (vg_sim_chance(vg_sim_faults()->spurious))
		return 0;
	if (wait && !io->queue && !io->wake_pending) {
		kernel_part(io, true);
		if (!io->queue) {
			pass_time(io);
			kernel_part(io, true);
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

static vg_io_op name_of(const struct vg_io *io, const struct op *op)
{
	return (__u64)op->generation << 32 | (__u32)(op - io->op);
}

static struct op *op_of(struct vg_io *io, vg_io_op name)
{
	struct op *op;

	if (!name || (__u32)name >= io->config.operations)
		return NULL;
	op = &io->op[(__u32)name];
	return op->kind != OP_FREE && op->generation == name >> 32 ? op : NULL;
}

static struct op *begin(struct vg_io *io, enum op_kind kind, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct op *op;
	__u32 slot = 0;

	while (slot < io->config.operations && io->op[slot].kind != OP_FREE)
		slot++;
	if (slot == io->config.operations)
		return NULL;
	op = &io->op[slot];
	*op = (struct op){ .kind = kind, .generation = op->generation, .fn = fn, .owner = owner };
	if (kind != OP_TIMEOUT) {
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
	return begin(io, OP_ACCEPT, fd, fn, owner, ret_op) ? 0 : -EBUSY;
}

int vg_io_recv(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return begin(io, OP_RECV, fd, fn, owner, ret_op) ? 0 : -EBUSY;
}

int vg_io_recvmsg(struct vg_io *io, int fd, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	return begin(io, OP_RECVMSG, fd, fn, owner, ret_op) ? 0 : -EBUSY;
}

int vg_io_send(struct vg_io *io, int fd, const struct iovec *vectors, int count, vg_io_fn fn, void *owner,
	       vg_io_op *ret_op)
{
	struct op *op = begin(io, OP_SEND, fd, fn, owner, ret_op);

	assert(count > 0 && count <= VG_IO_VECTORS);
	if (!op)
		return -EBUSY;
	memcpy(op->vectors, vectors, count * sizeof(*vectors));
	op->count = count;
	op->checksum = checksum_of(op);
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
	struct op *op;

	if (peer_length > sizeof(op->peer))
		return -EINVAL;
	op = begin(io, OP_CONNECT, fd, fn, owner, ret_op);
	if (!op)
		return -EBUSY;
	memcpy(&op->peer, peer, peer_length);
	op->peer_length = peer_length;
	return 0;
}

int vg_io_timeout(struct vg_io *io, __u64 delay_ns, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct op *op = begin(io, OP_TIMEOUT, -1, fn, owner, ret_op);

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
	struct op *op = op_of(io, name);

	if (op && op->fn)
		op->ending = true;
}

void vg_io_cancel(struct vg_io *io, vg_io_op name)
{
	struct op *op = op_of(io, name);

	if (!op || !op->fn)
		return;
	op->fn = NULL;
	op->ending = true;
}

void vg_io_close(struct vg_io *io, int fd)
{
	assert(vg_sim_socket_of(fd));
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
	struct completion *completion;
	__u32 slot;

	if (!io)
		return;
	for (slot = 0; slot < io->config.operations; slot++)
		io->op[slot].ending = true;
	close_sockets(io);
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
