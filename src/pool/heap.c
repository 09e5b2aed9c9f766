/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/heap.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define CHUNK_FREE 1u
#define HEADER_BYTES offsetof(struct vg_heap_chunk, next)
#define CHUNK_BYTES_MIN sizeof(struct vg_heap_chunk)
#define LINEAR_BYTES ((size_t)VG_HEAP_ALIGN * VG_HEAP_STEPS) /* below it the steps are VG_HEAP_ALIGN apart */
#define LINEAR_BITS 9
_Static_assert(LINEAR_BYTES == 1u << LINEAR_BITS, "the first row ends where the second begins");

/* The region is chunks side by side, ended by one of size 0 in use. The links live in the payload of a free chunk. */
struct vg_heap_chunk {
	struct vg_heap_chunk *before; /* its neighbour at the lower address, or NULL */
	size_t size;		      /* with this header, a multiple of 16 | CHUNK_FREE */
	struct vg_heap_chunk *next, *previous;
};

static size_t chunk_size(const struct vg_heap_chunk *chunk)
{
	return chunk->size & ~(size_t)(VG_HEAP_ALIGN - 1);
}

static struct vg_heap_chunk *chunk_after(struct vg_heap_chunk *chunk)
{
	return (void *)((__u8 *)chunk + chunk_size(chunk));
}

static struct vg_heap_chunk *chunk_of(const void *memory)
{
	return (void *)((__u8 *)memory - HEADER_BYTES);
}

/* The list a chunk of this size belongs to: its power of two, and the step in it. */
static void place_of(size_t size, unsigned *ret_power, unsigned *ret_step)
{
	unsigned bits;

	if (size < LINEAR_BYTES) {
		*ret_power = 0;
		*ret_step = (unsigned)(size / VG_HEAP_ALIGN);
		return;
	}
	bits = 63 - (unsigned)__builtin_clzll(size);
	*ret_power = bits - LINEAR_BITS + 1;
	*ret_step = (unsigned)(size >> (bits - VG_HEAP_STEPS_BITS)) & (VG_HEAP_STEPS - 1);
}

static void list_add(struct vg_heap *heap, struct vg_heap_chunk *chunk)
{
	unsigned power, step;

	place_of(chunk_size(chunk), &power, &step);
	chunk->size |= CHUNK_FREE;
	chunk->previous = NULL;
	chunk->next = heap->free[power][step];
	if (chunk->next)
		chunk->next->previous = chunk;
	heap->free[power][step] = chunk;
	heap->steps[power] |= 1u << step;
	heap->powers |= 1ULL << power;
	ASAN_POISON_MEMORY_REGION(chunk + 1, chunk_size(chunk) - sizeof(*chunk));
}

static void list_remove(struct vg_heap *heap, struct vg_heap_chunk *chunk)
{
	unsigned power, step;

	place_of(chunk_size(chunk), &power, &step);
	if (chunk->next)
		chunk->next->previous = chunk->previous;
	if (chunk->previous)
		chunk->previous->next = chunk->next;
	else
		heap->free[power][step] = chunk->next;
	if (!heap->free[power][step]) {
		heap->steps[power] &= ~(1u << step);
		if (!heap->steps[power])
			heap->powers &= ~(1ULL << power);
	}
	chunk->size &= ~(size_t)CHUNK_FREE;
	ASAN_UNPOISON_MEMORY_REGION(chunk, chunk_size(chunk));
}

/* The next step: all chunks of its list are large enough. */
static size_t step_up(size_t size)
{
	if (size < LINEAR_BYTES)
		return size;
	return size + ((size_t)1 << (63 - __builtin_clzll(size) - VG_HEAP_STEPS_BITS)) - 1;
}

static size_t size_of(size_t bytes)
{
	size_t size = VG_ALIGN_UP(bytes + HEADER_BYTES, (size_t)VG_HEAP_ALIGN);

	return size < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : size;
}

/* A free chunk of at least `size` bytes: the first of any list whose chunks are all large enough. */
static struct vg_heap_chunk *find(struct vg_heap *heap, size_t size)
{
	unsigned power, step;
	__u64 powers;
	__u32 steps;

	place_of(step_up(size), &power, &step);
	if (power >= VG_HEAP_POWERS)
		return NULL;
	steps = heap->steps[power] & (~0u << step);
	if (!steps) {
		powers = heap->powers & (~0ULL << power << 1);
		if (!powers)
			return NULL;
		power = (unsigned)__builtin_ctzll(powers);
		steps = heap->steps[power];
	}
	return heap->free[power][__builtin_ctz(steps)];
}

void *vg_heap_alloc(struct vg_heap *heap, size_t bytes)
{
	struct vg_heap_chunk *chunk, *rest;
	size_t size;

	if (bytes > heap->bytes)
		return NULL;
	size = size_of(bytes);
	vg_lock_take(&heap->lock);
	chunk = find(heap, size);
	if (!chunk) {
		vg_lock_give(&heap->lock);
		return NULL;
	}
	list_remove(heap, chunk);
	if (chunk_size(chunk) - size >= CHUNK_BYTES_MIN) {
		rest = (void *)((__u8 *)chunk + size);
		rest->before = chunk;
		rest->size = chunk_size(chunk) - size;
		chunk_after(rest)->before = rest;
		chunk->size = size;
		list_add(heap, rest);
	}
	__atomic_fetch_add(&heap->used_bytes, chunk_size(chunk), __ATOMIC_RELAXED);
	vg_lock_give(&heap->lock);
	return (__u8 *)chunk + HEADER_BYTES;
}

/* The block is still the caller's: nobody can be given its pages while they are taken away. */
static void give_pages_back(struct vg_heap_chunk *chunk)
{
	__u8 *from = (__u8 *)VG_ALIGN_UP((size_t)(chunk + 1), (size_t)4096);
	__u8 *to = (__u8 *)((size_t)chunk_after(chunk) & ~(size_t)4095);

	(void)madvise(from, (size_t)(to - from), MADV_DONTNEED); /* refused: they stay, which is only less thrifty */
}

void vg_heap_free(struct vg_heap *heap, void *memory)
{
	struct vg_heap_chunk *chunk, *neighbour;

	if (!memory)
		return;
	chunk = chunk_of(memory);
	assert((__u8 *)chunk >= heap->base && (__u8 *)chunk < heap->base + heap->bytes);
	assert(!(chunk->size & CHUNK_FREE) && chunk_size(chunk) >= CHUNK_BYTES_MIN);
	if (chunk_size(chunk) >= VG_HEAP_TRIM_BYTES)
		give_pages_back(chunk);

	vg_lock_take(&heap->lock);
	__atomic_fetch_sub(&heap->used_bytes, chunk_size(chunk), __ATOMIC_RELAXED);
	neighbour = chunk_after(chunk);
	if (neighbour->size & CHUNK_FREE) {
		list_remove(heap, neighbour);
		chunk->size += chunk_size(neighbour);
	}
	neighbour = chunk->before;
	if (neighbour && neighbour->size & CHUNK_FREE) {
		list_remove(heap, neighbour);
		neighbour->size += chunk_size(chunk);
		chunk = neighbour;
	}
	chunk_after(chunk)->before = chunk;
	list_add(heap, chunk);
	vg_lock_give(&heap->lock);
}

size_t vg_heap_usable(const void *memory)
{
	return chunk_size(chunk_of(memory)) - HEADER_BYTES;
}

size_t vg_heap_span(size_t bytes)
{
	return step_up(size_of(bytes));
}

bool vg_heap_behind(struct vg_heap *heap, const void *memory, size_t span, vg_heap_fn fn, void *context)
{
	struct vg_heap_chunk *chunk = chunk_of(memory);
	const __u8 *end = (const __u8 *)chunk + span;
	bool goes_on = true;

	vg_lock_take(&heap->lock);
	for (chunk = chunk_after(chunk); goes_on && (const __u8 *)chunk < end; chunk = chunk_after(chunk))
		if (!(chunk->size & CHUNK_FREE))
			goes_on = chunk_size(chunk) &&
				  fn(context, (__u8 *)chunk + HEADER_BYTES, chunk_size(chunk) - HEADER_BYTES);
	vg_lock_give(&heap->lock);
	return goes_on;
}

static void *mem_alloc(void *context, size_t bytes)
{
	return vg_heap_alloc(context, bytes);
}

static void mem_free(void *context, void *memory)
{
	vg_heap_free(context, memory);
}

int vg_heap_init(struct vg_heap *heap, size_t bytes)
{
	struct vg_heap_chunk *chunk, *end;

	memset(heap, 0, sizeof(*heap));
	bytes = VG_ALIGN_UP(bytes < 65536 ? 65536 : bytes, (size_t)4096);
	if (bytes >= (size_t)1 << (VG_HEAP_POWERS + LINEAR_BITS - 1))
		return -EINVAL;
	heap->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (heap->base == MAP_FAILED) {
		heap->base = NULL;
		return -errno;
	}
	heap->bytes = bytes;
	(void)madvise(heap->base, bytes, MADV_HUGEPAGE); /* refused: small pages do as well, slower */
	heap->mem = (struct vg_mem){ mem_alloc, mem_free, heap };

	chunk = (void *)heap->base;
	chunk->before = NULL;
	chunk->size = bytes - VG_HEAP_ALIGN;
	end = chunk_after(chunk);
	end->before = chunk;
	end->size = 0;
	list_add(heap, chunk);
	return 0;
}

void vg_heap_deinit(struct vg_heap *heap)
{
	if (!heap->base)
		return;
	ASAN_UNPOISON_MEMORY_REGION(heap->base, heap->bytes);
	munmap(heap->base, heap->bytes);
	heap->base = NULL;
}

size_t vg_heap_check(struct vg_heap *heap)
{
	struct vg_heap_chunk *chunk = (void *)heap->base, *before = NULL;
	size_t free_bytes = 0, used_bytes = 0, listed_bytes = 0;

	vg_lock_take(&heap->lock);
	for (; chunk_size(chunk); before = chunk, chunk = chunk_after(chunk)) {
		assert(chunk->before == before);
		assert(!(before && before->size & chunk->size & CHUNK_FREE));
		*(chunk->size & CHUNK_FREE ? &free_bytes : &used_bytes) += chunk_size(chunk);
	}
	assert(chunk->before == before && (__u8 *)chunk == heap->base + heap->bytes - VG_HEAP_ALIGN);
	for (unsigned power = 0; power < VG_HEAP_POWERS; power++)
		for (unsigned step = 0; step < VG_HEAP_STEPS; step++)
			for (chunk = heap->free[power][step]; chunk; chunk = chunk->next)
				listed_bytes += chunk_size(chunk);
	assert(listed_bytes == free_bytes && used_bytes == heap->used_bytes);
	vg_lock_give(&heap->lock);
	return free_bytes;
}
