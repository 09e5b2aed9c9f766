/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "uring/ring.h"

int vg_bufs_init(struct vg_bufs *bufs, struct io_uring *ring, int group, __u32 count, __u32 bytes)
{
	int error = 0;
	__u32 index;
	void *memory;

	if (!count || count > 32768 || count & (count - 1) || !bytes)
		return -EINVAL;
	bufs->stride = (bytes + 63ull) & ~63ull;
	bufs->count = count;
	bufs->bytes = bytes;
	bufs->group = group;
	bufs->memory_bytes = count * bufs->stride;
	memory = mmap(NULL, bufs->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	bufs->memory = memory;
	bufs->ring = io_uring_setup_buf_ring(ring, count, group, 0, &error);
	if (!bufs->ring)
		return error;
	for (index = 0; index < count; index++)
		vg_bufs_return(bufs, index);
	vg_bufs_publish(bufs);
	return 0;
}

void vg_bufs_deinit(struct vg_bufs *bufs, struct io_uring *ring)
{
	/* Taking the buffer ring out of a ring that another thread owns is refused: the ring's end does it then. */
	if (bufs->ring)
		(void)io_uring_free_buf_ring(ring, bufs->ring, bufs->count, bufs->group);
	if (bufs->memory)
		munmap(bufs->memory, bufs->memory_bytes);
	memset(bufs, 0, sizeof(*bufs));
}

void vg_bufs_return(struct vg_bufs *bufs, __u32 index)
{
	assert(index < bufs->count);
	io_uring_buf_ring_add(bufs->ring, vg_bufs_at(bufs, index), bufs->bytes, index,
			      io_uring_buf_ring_mask(bufs->count), bufs->returned++);
}

void vg_bufs_publish(struct vg_bufs *bufs)
{
	if (!bufs->returned)
		return;
	io_uring_buf_ring_advance(bufs->ring, bufs->returned);
	bufs->returned = 0;
}
