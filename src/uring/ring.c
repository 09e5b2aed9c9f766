/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One ring a thread: created disabled, enabled by the first turn on the thread that will run it, which makes that
 * thread its only submitter. Completions are made by the kernel only when that thread enters it (DEFER_TASKRUN), so
 * while a batch is being delivered nothing changes under it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uring/ring.h"

#define DATAGRAM_GROUP 1
#define STREAM_GROUP 2
#define OPERATIONS_OWN 1 /* the wake read */
#define FILE_WORKERS 64
#define BRIEF_SUBMIT_NS 10000

/* ---- turning --------------------------------------------------------------------------------------------------- */

/* The first turn: this thread becomes the ring's. */
static int enable(struct vg_io *io)
{
	int error = io_uring_enable_rings(&io->ring);

	if (error)
		return error;
	io->enabled = true;
	io->thread = pthread_self();
	/* Saves a descriptor lookup a system call; without it everything works as well. */
	(void)io_uring_register_ring_fd(&io->ring);
	/* How many writes and syncs of files may wait at once: the kernel's own limit is made for computing. */
	(void)io_uring_register_iowq_max_workers(&io->ring, (unsigned int[]){ FILE_WORKERS, 0 });
	return 0;
}

/* Everything the queue holds now, and no more: what callbacks cause comes with the next turn. */
static unsigned int deliver_batch(struct vg_io *io)
{
	struct io_uring_cqe *cqe;
	unsigned int head, count = 0, ready = io_uring_cq_ready(&io->ring);

	io_uring_for_each_cqe(&io->ring, head, cqe) {
		if (count == ready)
			break;
		count++;
		vg_op_on_completion(io, cqe);
	}
	io_uring_cq_advance(&io->ring, count);
	vg_bufs_publish(&io->streams);
	vg_bufs_publish(&io->datagrams);
	vg_op_rearm_all(io);
	return count;
}

int vg_io_run(struct vg_io *io, bool wait)
{
	unsigned int count, queued;
	bool made = false;
	int submitted;

	if (!io->enabled) {
		int error = enable(io);

		if (error)
			return error;
	}
	queued = io_uring_sq_ready(&io->ring);
	if (io->helpers.brief_count) {
		/* Answers that are ready do not wait for it, if it takes longer than a system call. */
		if (io->helpers.brief_count * io->helpers.brief_ns > BRIEF_SUBMIT_NS)
			(void)io_uring_submit(&io->ring); /* what is wrong is said again below */
		made = vg_helpers_make_brief(io);
	}
	submitted = wait && !made ? io_uring_submit_and_wait(&io->ring, 1) : io_uring_submit_and_get_events(&io->ring);
	/* A signal, or the kernel short of memory or of completion room: deliver what there is, then try again. */
	if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN && submitted != -EBUSY)
		return submitted;
	if (IO_URING_READ_ONCE(*io->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
		io->stats.overflows++; /* the next turn's system call fetches them */
	count = deliver_batch(io);
	if (made)
		vg_helpers_deliver(io);
	io->stats.turns++;
	io->stats.submitted += queued;
	io->stats.completions += count;
	return count;
}

struct io_uring_sqe *vg_ring_sqe(struct vg_io *io)
{
	struct io_uring_sqe *sqe;

	if (io->enabled && !pthread_equal(io->thread, pthread_self()))
		return NULL;
	sqe = io_uring_get_sqe(&io->ring);
	if (sqe || !io->enabled)
		return sqe;
	io->stats.submitted += io_uring_sq_ready(&io->ring);
	if (io_uring_submit(&io->ring) < 0)
		return NULL;
	return io_uring_get_sqe(&io->ring);
}

/* ---- setting up ------------------------------------------------------------------------------------------------ */

static int make_ring(struct vg_io *io, const struct vg_io_config *config)
{
	struct io_uring_params params;
	unsigned int optional = IORING_SETUP_NO_SQARRAY; /* Linux 6.6; the fallback can go with older kernels */
	int error;

	do {
		memset(&params, 0, sizeof(params));
		params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED |
			       IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | optional;
		params.cq_entries = config->entries * 4 > config->operations ? config->entries * 4 : config->operations;
		error = io_uring_queue_init_params(config->entries, &io->ring, &params);
	} while (error == -EINVAL && optional && !(optional = 0));
	io->ring_made = !error;
	return error;
}

static int make_operations(struct vg_io *io, __u32 operations)
{
	__u32 slot;

	io->op = aligned_alloc(64, operations * sizeof(*io->op));
	io->extra = calloc(operations, sizeof(*io->extra));
	if (!io->op || !io->extra)
		return -ENOMEM;
	memset(io->op, 0, operations * sizeof(*io->op));
	io->operations = operations;
	for (slot = operations; slot; slot--) {
		io->op[slot - 1].generation = 1;
		io->op[slot - 1].next = io->op_free;
		io->op_free = slot;
	}
	return 0;
}

static int make_parts(struct vg_io *io, const struct vg_io_config *config)
{
	/* Operations of the callers, one for each datagram being sent, our own. */
	int error = make_operations(io, config->operations + config->datagram_buffers + OPERATIONS_OWN);

	if (!error)
		error = vg_datagram_init(io, config->datagram_buffers, config->datagram_bytes);
	if (!error)
		error = make_ring(io, config);
	if (!error)
		error = vg_bufs_init(&io->streams, &io->ring, STREAM_GROUP, config->stream_buffers,
				     config->stream_buffer_bytes);
	if (!error)
		error = vg_bufs_init(&io->datagrams, &io->ring, DATAGRAM_GROUP, config->datagram_buffers,
				     config->datagram_bytes + DATAGRAM_NAME_BYTES +
					     sizeof(struct io_uring_recvmsg_out));
	if (!error)
		error = vg_wake_init(io);
	return error;
}

int vg_io_new(struct vg_io **ret_io, const struct vg_io_config *config)
{
	struct vg_io *io = calloc(1, sizeof(*io));
	int error = -ENOMEM;

	if (!io)
		return error;
	io->wake_fd = -1;
	vg_helpers_init(io, config->helpers);
	error = make_parts(io, config);
	if (error) {
		vg_io_free(io);
		return error;
	}
	*ret_io = io;
	return 0;
}

void vg_io_free(struct vg_io *io)
{
	struct io_uring_sync_cancel_reg everything = {
		.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
		.timeout = { .tv_sec = 1 },
	};

	if (!io)
		return;
	vg_helpers_deinit(io);
	if (io->ring_made) {
		/*
		 * On the ring's own thread this closes what was to be closed and waits until nothing is in flight. From
		 * another thread the kernel refuses both and cancels when the ring goes.
		 */
		if (io->enabled) {
			(void)io_uring_submit(&io->ring);
			(void)io_uring_register_sync_cancel(&io->ring, &everything);
		}
		io_uring_queue_exit(&io->ring);
	}
	vg_bufs_deinit(&io->streams);
	vg_bufs_deinit(&io->datagrams);
	vg_wake_deinit(io);
	vg_datagram_deinit(io);
	free(io->op);
	free(io->extra);
	free(io);
}

const struct vg_io_stats *vg_io_stats(const struct vg_io *io)
{
	return &io->stats;
}
