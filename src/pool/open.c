/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store's life: where things are in its arena, making and ending it, and its figures. */
#include <sys/mman.h>

#include "pool/index.h"
#include "pool/cut.h"
#include "pool/observe.h"

#define ARENA_BYTES_MIN (1u << 20)
#define PAGE_BYTES 4096u

/*
 * Header page, page of marks, handle slots (a sixty-fourth), a byte a slab with its class, slabs; the index grows into
 * the slabs from below, items from above. It follows from the size alone, so an arena fits the next daemon exactly when
 * it has the same size.
 */
static int geometry_of(size_t arena_bytes, struct vg_arena_header *ret_header)
{
	struct vg_arena_header header = { .layout_version = VG_LAYOUT_VERSION };
	__u64 at = PAGE_BYTES;

	arena_bytes &= ~(size_t)(PAGE_BYTES - 1);
	if (arena_bytes < ARENA_BYTES_MIN || arena_bytes > 1ULL << 32)
		return -EINVAL;
	header.size_pages = (__u32)(arena_bytes / PAGE_BYTES);
	header.marks_offset = (__u32)at;
	at += VG_STORE_WORKERS_MAX * sizeof(__u32);
	header.handles_offset = (__u32)at;
	header.handles_max = (__u32)(arena_bytes / 64 / sizeof(struct vg_handle_slot));
	at += (__u64)header.handles_max * sizeof(struct vg_handle_slot);
	at += arena_bytes / VG_SLAB_BYTES; /* the classes end where the slabs begin, see classes_of */
	header.slabs_offset = (__u32)VG_ALIGN_UP(at, (__u64)VG_SLAB_BYTES);
	header.slabs_max = (__u32)((arena_bytes - header.slabs_offset) / VG_SLAB_BYTES);
	header.index_offset = header.slabs_offset;
	header.index_buckets_max = header.slabs_max * (__u32)(VG_SLAB_BYTES / sizeof(struct vg_bucket));
	*ret_header = header;
	return 0;
}

static __u8 *classes_of(void *arena, const struct vg_arena_header *header)
{
	return (__u8 *)arena + header->handles_offset + header->handles_max * sizeof(struct vg_handle_slot);
}

_Static_assert((VG_INDEX_BUCKETS_MIN & (VG_INDEX_BUCKETS_MIN - 1)) == 0, "the index begins as a power of two");
#define INITIAL_CONTROL ((__u64)__builtin_ctz(VG_INDEX_BUCKETS_MIN) << 32)
#define INITIAL_BYTES (VG_INDEX_BUCKETS_MIN * sizeof(struct vg_bucket))

/* Nobody reads an arena without its magic; it is written when all the rest is. */
static void format(void *arena, const struct vg_arena_header *geometry, __u64 instance)
{
	struct vg_arena_header *header = arena;

	__atomic_store_n(&header->magic, 0, __ATOMIC_RELEASE);
	memset((__u8 *)arena + geometry->marks_offset, 0,
	       geometry->slabs_offset - geometry->marks_offset + INITIAL_BYTES);
	*header = *geometry;
	header->index_control = INITIAL_CONTROL;
	header->instance = instance;
	__atomic_store_n(&header->magic, VG_ARENA_MAGIC, __ATOMIC_RELEASE);
}

static bool same_geometry(const struct vg_arena_header *header, const struct vg_arena_header *geometry)
{
	return header->magic == VG_ARENA_MAGIC && header->layout_version == geometry->layout_version &&
	       header->size_pages == geometry->size_pages && header->index_offset == geometry->index_offset &&
	       header->index_buckets_max == geometry->index_buckets_max &&
	       header->marks_offset == geometry->marks_offset &&
	       header->handles_offset == geometry->handles_offset && header->handles_max == geometry->handles_max &&
	       header->slabs_offset == geometry->slabs_offset && header->slabs_max == geometry->slabs_max;
}

/*
 * Every page of the arena exists before the first request: XDP cannot make one. MADV_POPULATE_WRITE came with Linux
 * 5.14; where it is refused as unknown the pages are touched.
 */
static int prefault(void *arena, size_t bytes)
{
	(void)madvise(arena, bytes, MADV_HUGEPAGE); /* refused for the BPF arena, which has small pages */
	if (!madvise(arena, bytes, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return -errno;
	for (size_t at = 0; at < bytes; at += PAGE_BYTES)
		__atomic_fetch_or((__u8 *)arena + at, 0, __ATOMIC_RELAXED);
	return 0;
}

void *vg_store_map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int fill_arena(struct vg_store *store, const struct vg_arena_header *geometry,
		      const struct vg_store_config *config, struct vg_store_repair *ret_repair)
{
	int error = vg_slabs_init(&store->slabs, store->arena, geometry->slabs_offset, geometry->slabs_max,
				  classes_of(store->arena, geometry));

	if (error)
		return error;
	store->buckets = (struct vg_bucket *)(store->arena + geometry->index_offset);
	store->marks = (__u32 *)(store->arena + geometry->marks_offset);
	store->slots = (struct vg_handle_slot *)(store->arena + geometry->handles_offset);
	store->versions = VG_ALIGN_UP(config->now_ms << 20, (__u64)VG_VERSIONS_TAKEN);
	if (config->adopt && same_geometry(store->header, geometry)) {
		error = vg_store_adopt(store, config->now_ms, ret_repair);
		if (error != -EINVAL)
			return error;
	}
	format(store->arena, geometry, config->instance);
	return vg_slabs_extend_index(&store->slabs, INITIAL_BYTES) ? 0 : -EINVAL;
}

/* The small queue's ring has room for a tenth of all items that may be; untouched it takes no memory. */
static int ring_init(struct vg_store *store)
{
	__u64 entries = 1024;

	while (entries < store->arena_bytes / 512)
		entries *= 2;
	store->limit.ring = vg_store_map(entries * sizeof(*store->limit.ring));
	store->limit.ring_mask = entries - 1;
	return store->limit.ring ? 0 : -ENOMEM;
}

int vg_store_new(struct vg_store **ret_store, const struct vg_store_config *config, struct vg_store_repair *ret_repair)
{
	struct vg_arena_header geometry;
	struct vg_store_repair repair = { 0 };
	struct vg_store *store;
	int error = geometry_of(config->arena_bytes, &geometry);

	if (error || !config->workers || config->workers > VG_STORE_WORKERS_MAX ||
	    (__u64)(uintptr_t)config->arena % PAGE_BYTES)
		return -EINVAL;
	store = vg_store_map(sizeof(*store)); /* cleared: a store that is nothing yet */
	if (!store)
		return -ENOMEM;
	store->header = config->arena;
	store->arena = config->arena;
	store->arena_bytes = (__u64)geometry.size_pages * PAGE_BYTES;
	store->node = config->node;
	store->workers_count = config->workers;
	store->workers = vg_store_map(config->workers * sizeof(*store->workers));
	error = -ENOMEM;
	if (!store->workers)
		goto fail;
	for (__u32 i = 0; i < config->workers; i++) {
		store->workers[i].scan = vg_store_map(VG_SCAN_BYTES);
		store->workers[i].transaction = vg_store_map(vg_transaction_bytes());
		if (!store->workers[i].scan || !store->workers[i].transaction)
			goto fail;
	}
	error = ring_init(store);
	if (error)
		goto fail;
	error = vg_heap_init(&store->heap, config->heap_bytes);
	if (error)
		goto fail;
	error = vg_cuts_init(store);
	if (error)
		goto fail;
	error = prefault(store->arena, store->arena_bytes);
	if (error)
		goto fail;
	error = fill_arena(store, &geometry, config, &repair);
	if (error)
		goto fail;
	if (ret_repair)
		*ret_repair = repair;
	*ret_store = store;
	return 0;
fail:
	vg_store_free(store);
	return error;
}

void vg_store_free(struct vg_store *store)
{
	if (!store)
		return;
	for (__u32 i = 0; store->workers && i < store->workers_count; i++) {
		if (store->workers[i].scan)
			munmap(store->workers[i].scan, VG_SCAN_BYTES);
		if (store->workers[i].transaction)
			munmap(store->workers[i].transaction, vg_transaction_bytes());
	}
	if (store->workers)
		munmap(store->workers, store->workers_count * sizeof(*store->workers));
	if (store->clear)
		munmap(store->clear, sizeof(*store->clear));
	vg_cuts_deinit(store);
	if (store->limit.ring)
		munmap(store->limit.ring, (store->limit.ring_mask + 1) * sizeof(*store->limit.ring));
	vg_slabs_deinit(&store->slabs);
	vg_heap_deinit(&store->heap);
	munmap(store, sizeof(*store));
}

const struct vg_mem *vg_store_mem(struct vg_store *store)
{
	return &store->heap.mem;
}

/* Sums of figures that move: each is right for some moment, and none is below zero. */
int vg_store_classes(struct vg_store *store, struct vg_store_class ret_classes[VG_STORE_CLASSES_MAX])
{
	int count = 0;

	_Static_assert(VG_SLAB_CLASSES <= VG_STORE_CLASSES_MAX, "every class has a place");
	for (__u32 i = 0; i < VG_SLAB_CLASSES; i++) {
		const struct vg_slab_class *class = &store->slabs.class[i];
		__u32 slabs, used;

		vg_slab_figures(&store->slabs, i, &slabs, &used);
		if (slabs)
			ret_classes[count++] = (struct vg_store_class){
				.kind = i < VG_SLAB_CLASS_HANDLE ? "item" : i < VG_SLAB_CLASS_LINE ? "handle" : "line",
				.cell_bytes = class->cell_bytes,
				.slabs = slabs,
				.cells = slabs * class->cells,
				.cells_used = used,
			};
	}
	return count;
}

void vg_store_stats(const struct vg_store *store, struct vg_store_stats *ret_stats)
{
	__u64 buckets = vg_buckets_count(__atomic_load_n(&store->header->index_control, __ATOMIC_RELAXED));
	__s64 keys = 0, lines = 0, cell_bytes = 0, handles = 0;
	struct vg_store_stats stats = {
		.arena_bytes = store->arena_bytes,
		.heap_bytes = store->heap.bytes,
		.heap_used = __atomic_load_n(&store->heap.used_bytes, __ATOMIC_RELAXED),
		.buckets = buckets,
	};

	for (__u32 i = 0; i < store->workers_count; i++) {
		const struct vg_store_worker *worker = &store->workers[i];

		keys += __atomic_load_n(&worker->keys, __ATOMIC_RELAXED);
		lines += __atomic_load_n(&worker->lines, __ATOMIC_RELAXED);
		cell_bytes += __atomic_load_n(&worker->cell_bytes, __ATOMIC_RELAXED);
		handles += __atomic_load_n(&worker->handles, __ATOMIC_RELAXED);
		stats.evicted += __atomic_load_n(&worker->evicted, __ATOMIC_RELAXED);
		stats.expired += __atomic_load_n(&worker->expired, __ATOMIC_RELAXED);
		stats.reader_retries += __atomic_load_n(&worker->retries, __ATOMIC_RELAXED);
	}
	stats.keys = keys > 0 ? (__u64)keys : 0;
	stats.handles = handles > 0 ? (__u64)handles : 0;
	stats.chain_lines = lines > 0 ? (__u64)lines : 0;
	stats.arena_used = (cell_bytes > 0 ? (__u64)cell_bytes : 0) + buckets * sizeof(struct vg_bucket);
	stats.used = stats.arena_used + stats.heap_used;
	*ret_stats = stats;
}
