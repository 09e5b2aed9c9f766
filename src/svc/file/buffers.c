// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/file/buffers.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096u
#define LARGEST (VG_BUFFER_ORDERS - 1)
#define LARGEST_PAGES (1u << LARGEST)
_Static_assert(LARGEST_PAGES * PAGE_BYTES == VG_BUFFER_MAX, "the largest block is one of the largest order");

struct vg_buffer_page {
	__u32 next, previous; /* in a list of free blocks: page + 1 */
	__u8 order;
	bool free;
};

int vg_buffers_init(struct vg_buffers *buffers, size_t bytes)
{
	size_t blocks = (bytes + VG_BUFFER_MAX - 1) / VG_BUFFER_MAX, pages = blocks * LARGEST_PAGES;
	size_t table_bytes = pages * sizeof(struct vg_buffer_page);
	__u8 *memory;

	memset(buffers, 0, sizeof(*buffers));
	/* One block more, to begin where large pages do. */
	buffers->mapped_bytes = (blocks + 1) * VG_BUFFER_MAX + table_bytes;
	memory = mmap(NULL, buffers->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		      -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	buffers->page = (struct vg_buffer_page *)memory;
	buffers->memory = (__u8 *)VG_ALIGN_UP((unsigned long)memory + table_bytes, (unsigned long)VG_BUFFER_MAX);
	buffers->bytes = blocks * VG_BUFFER_MAX;
	buffers->pages = (__u32)pages;
	/* Fewer pieces for the disk, fewer lookups for the copies; without it everything works as well. */
	(void)madvise(buffers->memory, buffers->bytes, MADV_HUGEPAGE);
	return 0;
}

void vg_buffers_deinit(struct vg_buffers *buffers)
{
	if (buffers->page)
		munmap(buffers->page, buffers->mapped_bytes);
	memset(buffers, 0, sizeof(*buffers));
}

/* ---- lists of free blocks -------------------------------------------------------------------------------------- */

static void list_add(struct vg_buffers *buffers, __u32 index, __u8 order)
{
	struct vg_buffer_page *page = &buffers->page[index];

	*page = (struct vg_buffer_page){ .next = buffers->free[order], .order = order, .free = true };
	if (page->next)
		buffers->page[page->next - 1].previous = index + 1;
	buffers->free[order] = index + 1;
}

static void list_remove(struct vg_buffers *buffers, __u32 index)
{
	struct vg_buffer_page *page = &buffers->page[index];

	if (page->previous)
		buffers->page[page->previous - 1].next = page->next;
	else
		buffers->free[page->order] = page->next;
	if (page->next)
		buffers->page[page->next - 1].previous = page->previous;
	page->free = false;
}

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

static __u8 order_of(size_t bytes)
{
	size_t pages = (bytes + PAGE_BYTES - 1) / PAGE_BYTES;

	return pages <= 1 ? 0 : (__u8)(64 - __builtin_clzll(pages - 1));
}

/* A free block of that order or the next larger one there is; false: there is none. */
static bool find(struct vg_buffers *buffers, __u8 order, __u32 *ret_index)
{
	for (; order < VG_BUFFER_ORDERS; order++) {
		if (!buffers->free[order])
			continue;
		*ret_index = buffers->free[order] - 1;
		list_remove(buffers, *ret_index);
		return true;
	}
	if (buffers->fresh == buffers->pages)
		return false;
	*ret_index = buffers->fresh;
	buffers->fresh += LARGEST_PAGES;
	buffers->page[*ret_index].order = LARGEST;
	return true;
}

void *vg_buffer_get(struct vg_buffers *buffers, size_t bytes)
{
	__u8 order = order_of(bytes);
	__u32 index;

	assert(order < VG_BUFFER_ORDERS);
	if (!find(buffers, order, &index))
		return NULL;
	while (buffers->page[index].order > order) {
		__u8 half = --buffers->page[index].order;

		list_add(buffers, index + (1u << half), half);
	}
	return buffers->memory + (size_t)index * PAGE_BYTES;
}

void vg_buffer_put(struct vg_buffers *buffers, void *memory)
{
	__u32 index = (__u32)((size_t)((__u8 *)memory - buffers->memory) / PAGE_BYTES);
	__u8 order = buffers->page[index].order;

	assert(vg_buffer_is_of(buffers, memory) && !buffers->page[index].free);
	for (; order < LARGEST; order++) {
		__u32 other = index ^ (1u << order);

		if (!buffers->page[other].free || buffers->page[other].order != order)
			break;
		list_remove(buffers, other);
		index &= ~(1u << order);
	}
	list_add(buffers, index, order);
}
