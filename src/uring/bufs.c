/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "uring/ring.h"

/* One mapping: the ring of descriptions first, the buffers behind it. */
int vg_bufs_init(struct vg_bufs *bufs, struct io_uring *ring, int group, __u32 count, __u32 bytes)
{
	struct io_uring_buf_reg registration = { .ring_entries = count, .bgid = group };
	size_t ring_bytes = (count * sizeof(struct io_uring_buf) + 4095) & ~4095ull;
	__u32 index;
	void *memory;
	int error;

	if (!count || count > 32768 || count & (count - 1) || !bytes)
		return -EINVAL;
	bufs->stride = (bytes + 63ull) & ~63ull;
	bufs->count = count;
	bufs->bytes = bytes;
	bufs->group = group;
	bufs->mapped_bytes = ring_bytes + count * bufs->stride;
	memory = mmap(NULL, bufs->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	bufs->ring = memory;
	bufs->memory = (__u8 *)memory + ring_bytes;
	registration.ring_addr = (unsigned long)memory;
	error = io_uring_register_buf_ring(ring, &registration, 0);
	if (error)
		return error;
	io_uring_buf_ring_init(bufs->ring);
	for (index = 0; index < count; index++)
		vg_bufs_return(bufs, index);
	vg_bufs_publish(bufs);
	return 0;
}

void vg_bufs_deinit(struct vg_bufs *bufs)
{
	if (bufs->ring)
		munmap(bufs->ring, bufs->mapped_bytes);
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
