/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Waking from other threads: an eventfd that the ring always has a read on. The flag keeps a burst of wakes to one
 * system call: whoever sets it writes, the owner clears it before it looks for work. The exchange on both sides is
 * sequentially consistent, so work that was handed over before vg_io_wake returned without writing is seen by the
 * callback that the earlier writer caused. Helper threads (helper.c) wake by the same descriptor.
 */
#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "uring/ring.h"

void vg_wake_signal(struct vg_io *io)
{
	__u64 one = 1;
	ssize_t written = write(io->wake_fd, &one, sizeof(one));

	assert(written == sizeof(one)); /* flags keep the count at a few: it cannot be full */
}

void vg_io_wake(struct vg_io *io)
{
	if (!atomic_exchange(&io->wake_pending, true))
		vg_wake_signal(io);
}

void vg_io_on_wake(struct vg_io *io, vg_io_fn fn, void *owner)
{
	io->wake_fn = fn;
	io->wake_owner = owner;
}

void vg_wake_on_completion(struct vg_io *io, struct vg_op *op)
{
	struct vg_io_event event = { .more = true };
	bool asked = atomic_exchange(&io->wake_pending, false);

	/* No room now: the end of the turn tries again. */
	if (vg_op_arm(io, op))
		vg_op_rearm_later(io, op);
	vg_helpers_deliver(io);
	if (asked && io->wake_fn)
		io->wake_fn(io->wake_owner, &event);
}

int vg_wake_init(struct vg_io *io)
{
	struct vg_op *op;

	io->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (io->wake_fd < 0)
		return -errno;
	op = vg_op_get(io, VG_OP_WAKE, io->wake_fd, NULL, NULL);
	assert(op);
	return vg_op_arm(io, op);
}

void vg_wake_deinit(struct vg_io *io)
{
	if (io->wake_fd >= 0)
		close(io->wake_fd);
	io->wake_fd = -1;
}
