/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "uring/ring.h"

/* A buffer holds the kernel's report, the source address and the payload, in this order. */
void vg_datagram_deliver(struct vg_io *io, vg_io_fn fn, void *owner, const struct io_uring_cqe *cqe, bool more)
{
	__u32 index = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	void *buffer = vg_bufs_at(&io->datagrams, index);
	struct io_uring_recvmsg_out *report = io_uring_recvmsg_validate(buffer, cqe->res, &io->datagram_message);
	struct vg_io_event event = { .more = more };

	if (!report) {
		event.result = -EBADMSG;
		fn(owner, &event);
		return;
	}
	event.result = io_uring_recvmsg_payload_length(report, cqe->res, &io->datagram_message);
	event.data = io_uring_recvmsg_payload(report, &io->datagram_message);
	event.peer = io_uring_recvmsg_name(report);
	event.peer_length = report->namelen < DATAGRAM_NAME_BYTES ? report->namelen : DATAGRAM_NAME_BYTES;
	event.truncated = report->flags & MSG_TRUNC;
	fn(owner, &event);
}

int vg_io_sendto(struct vg_io *io, int fd, const void *data, size_t bytes, const struct sockaddr *peer,
		 socklen_t peer_length)
{
	struct io_uring_sqe *sqe;
	struct vg_op *op = NULL;
	__u32 index;

	if (bytes > io->copy_bytes || peer_length > sizeof(struct sockaddr_storage))
		return -EMSGSIZE;
	if (io->copy_free)
		op = vg_op_get(io, VG_OP_SENDTO, fd, NULL, NULL);
	sqe = op ? vg_ring_sqe(io) : NULL;
	if (!sqe) {
		if (op)
			vg_op_put(io, op);
		io->stats.datagrams_lost++;
		return -EBUSY;
	}
	index = io->copy_free - 1;
	io->copy_free = io->copy[index].next;
	op->copy = index + 1;
	memcpy(io->copies + (size_t)index * io->copy_bytes, data, bytes);
	memcpy(&io->copy[index].peer, peer, peer_length);
	io_uring_prep_sendto(sqe, fd, io->copies + (size_t)index * io->copy_bytes, bytes, MSG_NOSIGNAL,
			     (struct sockaddr *)&io->copy[index].peer, peer_length);
	io_uring_sqe_set_data64(sqe, vg_op_name(io, op));
	return 0;
}

void vg_datagram_put(struct vg_io *io, __u32 copy)
{
	assert(copy && copy <= io->copy_count);
	io->copy[copy - 1].next = io->copy_free;
	io->copy_free = copy;
}

int vg_datagram_init(struct vg_io *io, __u32 copies, __u32 bytes)
{
	__u32 index;

	io->datagram_message.msg_namelen = DATAGRAM_NAME_BYTES;
	io->copy_bytes = (bytes + 63u) & ~63u;
	io->copy = calloc(copies, sizeof(*io->copy));
	io->copies = aligned_alloc(64, (size_t)copies * io->copy_bytes);
	if (!io->copy || !io->copies)
		return -ENOMEM;
	io->copy_count = copies;
	for (index = copies; index; index--)
		vg_datagram_put(io, index);
	return 0;
}

void vg_datagram_deinit(struct vg_io *io)
{
	free(io->copy);
	free(io->copies);
	io->copy = NULL;
	io->copies = NULL;
}
