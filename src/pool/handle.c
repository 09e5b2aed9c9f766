/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Handles: type-stable slots with a generation. A slot that is free is used again as late as possible, so that a
 * generation comes back only after 2^24 lives of a slot that waited its turn each time.
 */
#include "pool/index.h"
#include "pool/cut.h"
#include "pool/observe.h"
#include "pool/evict.h"

#define GENERATION_MASK ((1u << VG_HANDLE_GENERATION_BITS) - 1)

/* ---- the free list ---- */

/* The longest free slot; slots never used come first. -ENOMEM. */
static int slot_get(struct vg_store *store, __u32 *ret_index)
{
	int error = 0;

	vg_lock_take(&store->handles.lock);
	if (store->handles.fresh < store->header->handles_max) {
		*ret_index = store->handles.fresh++;
	} else if (store->handles.first) {
		*ret_index = store->handles.first - 1;
		store->handles.first = (__u32)store->slots[*ret_index].place;
		if (!store->handles.first)
			store->handles.last = 0;
	} else {
		error = -ENOMEM;
	}
	vg_lock_give(&store->handles.lock);
	return error;
}

/* The slot's length is 0, so nobody but the list looks at its place. */
static void slot_put(struct vg_store *store, __u32 index)
{
	vg_lock_take(&store->handles.lock);
	store->slots[index].place = 0;
	if (store->handles.last)
		store->slots[store->handles.last - 1].place = index + 1;
	else
		store->handles.first = index + 1;
	store->handles.last = index + 1;
	vg_lock_give(&store->handles.lock);
}

/* The first one of a slot depends on the arena's instance: a handle of a former life is most probably gone. */
static __u32 next_generation(const struct vg_store *store, const struct vg_handle_slot *slot, __u32 index)
{
	__u64 seed[2] = { store->header->instance, index };
	__u32 next = slot->generation ? slot->generation + 1 : (__u32)vg_hash64(seed, sizeof(seed));

	next &= GENERATION_MASK;
	return next ? next : 1;
}

/* ---- one slot ---- */

/* The slot a handle may belong to, or NULL. */
static struct vg_handle_slot *slot_of(const struct vg_store *store, __u64 handle)
{
	__u32 index = vg_handle_slot_index(handle);

	if (vg_handle_node(handle) != store->node || index >= store->header->handles_max)
		return NULL;
	return &store->slots[index];
}

static bool slot_is(const struct vg_handle_slot *slot, __u64 handle)
{
	return __atomic_load_n(&slot->length, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&slot->generation, __ATOMIC_RELAXED) == vg_handle_generation(handle);
}

/* Take the sequence of the handle's slot. -ESTALE, and then it is not taken. */
static int slot_take(const struct vg_store *store, __u64 handle, struct vg_handle_slot **ret_slot, __u32 *ret_sequence)
{
	struct vg_handle_slot *slot = slot_of(store, handle);

	if (!slot)
		return -ESTALE;
	*ret_sequence = vg_sequence_take(&slot->sequence);
	if (!slot_is(slot, handle)) {
		vg_sequence_give(&slot->sequence, *ret_sequence);
		return -ESTALE;
	}
	vg_cuts_look(store, vg_worker_self(store));
	*ret_slot = slot;
	return 0;
}

static bool in_range(__u32 allocation, __u64 offset, __u64 length)
{
	return offset <= allocation && length <= allocation - offset;
}

static __u32 cell_class(__u32 length)
{
	return VG_SLAB_CLASS_HANDLE + vg_slab_size_class(length);
}

static struct vg_block *slot_block(const struct vg_handle_slot *slot)
{
	return (struct vg_block *)(uintptr_t)slot->place;
}

static void free_memory(struct vg_store *store, __u32 cell, __u32 length, struct vg_block *block)
{
	if (cell)
		vg_cell_put(store, vg_worker_self(store), cell_class(length), cell);
	else
		vg_block_put(block);
}

/* ---- life ---- */

/* Cleared memory for an allocation: a cell, or a block where it is too large or the arena is full. */
static int new_memory(struct vg_store *store, __u64 length, bool in_heap, __u32 *ret_cell, struct vg_block **ret_block)
{
	__u32 cell = 0;
	struct vg_block *block = NULL;

	if (!length)
		return -EINVAL;
	if (length > ~(__u32)0)
		return -EMSGSIZE;
	if (length <= VG_CELL_MAX && !in_heap)
		cell = vg_cell_get(store, vg_worker_self(store), cell_class((__u32)length));
	if (!cell)
		block = vg_block_new(store, 0, length < VG_CELL_MAX && in_heap ? VG_CELL_MAX : length);
	if (!cell && !block)
		return -ENOMEM;
	memset(cell ? store->arena + cell : vg_block_value(block), 0, VG_ALIGN_UP(length, 8u));
	*ret_cell = cell;
	*ret_block = block;
	return 0;
}

int vg_store_alloc(struct vg_store *store, __u64 length, __u64 *ret_handle)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	struct vg_block *block;
	struct vg_handle_slot *slot;
	__u32 cell, index, sequence, generation;
	int error;

	vg_evict_before_write(store, worker);
	error = worker->over_limit ? -ENOMEM : new_memory(store, length, false, &cell, &block);
	for (int i = 0; error == -ENOMEM && i < VG_EVICTIONS_MAX && vg_evicts(store); i++) {
		if (!vg_evict_some(store, worker, length > VG_CELL_MAX ? sizeof(struct vg_block) + length : 0))
			break;
		error = new_memory(store, length, false, &cell, &block);
	}
	if (error)
		return error;
	if (slot_get(store, &index)) {
		free_memory(store, cell, (__u32)length, block);
		return -ENOMEM;
	}

	/*
	 * The length last: while it is 0 the slot is free, whatever else it says, also for a successor after a crash.
	 */
	slot = &store->slots[index];
	sequence = vg_sequence_take(&slot->sequence);
	vg_cuts_look(store, worker);
	vg_cut_before_slot(store, worker, slot);
	generation = next_generation(store, slot, index);
	__atomic_store_n(&slot->generation, generation, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->cell, cell, __ATOMIC_RELAXED);
	slot->place = (__u64)(uintptr_t)block;
	__atomic_store_n(&slot->flags, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->length, (__u32)length, __ATOMIC_RELEASE);
	*ret_handle = vg_handle_make(store->node, generation, index);
	vg_observe_handle(store, VG_OBSERVED_ALLOC, *ret_handle, 0, NULL, length);
	vg_sequence_give(&slot->sequence, sequence + 2);
	vg_worker_count(worker->handles, 1);
	return 0;
}

int vg_store_release(struct vg_store *store, __u64 handle)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	struct vg_handle_slot *slot;
	struct vg_block *block;
	__u32 sequence, cell, length;
	int error = slot_take(store, handle, &slot, &sequence);

	if (error)
		return error;
	cell = slot->cell;
	length = slot->length;
	block = slot_block(slot);
	vg_cut_before_slot(store, worker, slot);
	__atomic_store_n(&slot->length, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&slot->cell, 0, __ATOMIC_RELEASE);
	vg_observe_handle(store, VG_OBSERVED_RELEASE, handle, 0, NULL, 0);
	vg_sequence_give(&slot->sequence, sequence + 2);
	/* The sequence has moved: a reader that still copies from the cell will find so. */
	free_memory(store, cell, length, block);
	slot_put(store, vg_handle_slot_index(handle));
	vg_worker_count(worker->handles, -1);
	return 0;
}

/* ---- bytes ---- */

/* In the heap tier: pin the block, then copy with nothing taken. */
static int copy_pinned(struct vg_store *store, __u64 handle, __u64 offset, void *to, const void *from, __u64 length)
{
	struct vg_handle_slot *slot;
	struct vg_store_worker *worker = vg_worker_self(store);
	struct vg_block *block = NULL;
	__u32 sequence;
	int error = slot_take(store, handle, &slot, &sequence);

	if (error)
		return error;
	if (!in_range(slot->length, offset, length)) {
		error = -ERANGE;
	} else if (!slot->cell) {
		block = slot_block(slot);
		vg_block_ref(block);
		if (from && worker->cut_epoch)
			vg_cut_save_range(store, worker, slot, offset, length);
		if (from) /* of writes at the same time to the same bytes, the one told last need not be what stays */
			vg_observe_handle(store, VG_OBSERVED_WRITE, handle, offset, from, length);
	} else {
		error = -EAGAIN; /* it began its life after the caller looked: in a cell */
	}
	vg_sequence_give(&slot->sequence, sequence);
	if (error)
		return error;
	vg_racy_copy(to ? to : vg_block_value(block) + offset, from ? from : vg_block_value(block) + offset, length);
	vg_block_put(block);
	return 0;
}

int vg_store_handle_read(struct vg_store *store, __u64 handle, __u64 offset, void *data, __u64 length)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	struct vg_handle_slot *slot = slot_of(store, handle);
	int error;

	if (!slot)
		return -ESTALE;
	for (unsigned spins = 0;; vg_relax(&spins), vg_worker_count(worker->retries, 1)) {
		__u32 sequence = __atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE);
		__u32 cell = __atomic_load_n(&slot->cell, __ATOMIC_RELAXED);

		if (sequence & 1)
			continue;
		error = 0;
		if (!slot_is(slot, handle))
			error = -ESTALE;
		else if (!in_range(__atomic_load_n(&slot->length, __ATOMIC_RELAXED), offset, length))
			error = -ERANGE;
		else if (!cell)
			error = copy_pinned(store, handle, offset, data, NULL, length);
		else if (cell + offset + length <= store->arena_bytes)
			vg_racy_copy(data, store->arena + cell + offset, length);
		if (error != -EAGAIN && (!cell || vg_sequence_is(&slot->sequence, sequence)))
			return error;
	}
}

/*
 * A view that is opened meanwhile waits until the copy is done, so that the cut has all of it (version.c). That we
 * write is said before the epoch is read.
 */
static int write_pinned(struct vg_store *store, __u64 handle, __u64 offset, const void *data, __u64 length)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	int error;

	__atomic_store_n(&worker->writes_unlocked, 1, __ATOMIC_SEQ_CST);
	error = copy_pinned(store, handle, offset, NULL, data, length);
	__atomic_store_n(&worker->writes_unlocked, 0, __ATOMIC_RELEASE);
	return error;
}

int vg_store_handle_write(struct vg_store *store, __u64 handle, __u64 offset, const void *data, __u64 length)
{
	struct vg_handle_slot *slot;
	__u32 sequence;
	int error = slot_take(store, handle, &slot, &sequence);

	if (error)
		return error;
	if (!slot->cell) {
		vg_sequence_give(&slot->sequence, sequence);
		return write_pinned(store, handle, offset, data, length);
	}
	if (!in_range(slot->length, offset, length)) {
		error = -ERANGE;
	} else if (length) {
		vg_cut_before_slot(store, vg_worker_self(store), slot);
		memcpy(store->arena + slot->cell + offset, data, length);
	}
	if (!error)
		vg_observe_handle(store, VG_OBSERVED_WRITE, handle, offset, data, length);
	vg_sequence_give(&slot->sequence, sequence + (error ? 0 : 2));
	return error;
}

/* ---- facts ---- */

int vg_store_handle_facts(struct vg_store *store, __u64 handle, __u64 *ret_length, __u32 *ret_flags)
{
	struct vg_handle_slot *slot;
	__u32 sequence;
	int error = slot_take(store, handle, &slot, &sequence);

	if (error)
		return error;
	*ret_length = slot->length;
	*ret_flags = slot->flags;
	vg_sequence_give(&slot->sequence, sequence);
	return 0;
}

/*
 * An allocation with flags is the daemon's business: its bytes leave the arena, where XDP would answer them as they
 * are.
 */
int vg_store_handle_set_flags(struct vg_store *store, __u64 handle, __u32 flags)
{
	struct vg_handle_slot *slot;
	struct vg_block *block = NULL;
	__u32 sequence, cell;
	int error;

	if (flags) {
		block = vg_block_new(store, 0, VG_CELL_MAX);
		if (!block)
			return -ENOMEM;
	}
	error = slot_take(store, handle, &slot, &sequence);
	if (error) {
		if (block)
			vg_block_put(block);
		return error;
	}
	cell = slot->cell;
	vg_cut_before_slot(store, vg_worker_self(store), slot);
	__atomic_store_n(&slot->flags, flags, __ATOMIC_RELAXED);
	if (cell && block) {
		memcpy(vg_block_value(block), store->arena + cell, slot->length);
		slot->place = (__u64)(uintptr_t)block;
		__atomic_store_n(&slot->cell, 0, __ATOMIC_RELEASE);
		vg_cell_put(store, vg_worker_self(store), cell_class(slot->length), cell);
		block = NULL; /* the slot's now */
	}
	vg_observe(store, &(struct vg_observed){ .kind = VG_OBSERVED_FLAGS, .handle = handle, .flags = flags });
	vg_sequence_give(&slot->sequence, sequence + 2);
	if (block)
		vg_block_put(block);
	return 0;
}

/* ---- restoring ---- */

int vg_store_handle_restore(struct vg_store *store, __u64 handle, __u64 length, __u32 flags)
{
	struct vg_handle_slot *slot = slot_of(store, handle);
	struct vg_block *block;
	__u32 cell;
	int error;

	if (!slot || !vg_handle_generation(handle))
		return -ESTALE;
	error = new_memory(store, length, flags != 0, &cell, &block);
	if (error)
		return error;
	if (slot->length)
		vg_store_handle_forget(store, vg_handle_make(store->node, slot->generation,
							     vg_handle_slot_index(handle)));
	slot->generation = vg_handle_generation(handle);
	slot->cell = cell;
	slot->place = (__u64)(uintptr_t)block;
	slot->flags = flags;
	slot->length = (__u32)length;
	vg_worker_count(vg_worker_self(store)->handles, 1);
	return 0;
}

/* The generation stays: the slot's next handle is another one. */
void vg_store_handle_forget(struct vg_store *store, __u64 handle)
{
	struct vg_handle_slot *slot = slot_of(store, handle);

	if (!slot || !slot_is(slot, handle))
		return;
	free_memory(store, slot->cell, slot->length, slot_block(slot));
	slot->length = slot->cell = 0;
	slot->flags = 0;
	slot->place = 0;
	vg_worker_count(vg_worker_self(store)->handles, -1);
}

void vg_store_handles_restored(struct vg_store *store)
{
	__u32 fresh = 0;

	for (__u32 i = 0; i < store->header->handles_max; i++)
		if (store->slots[i].generation)
			fresh = i + 1;
	store->handles.fresh = fresh;
	store->handles.first = store->handles.last = 0;
	for (__u32 i = 0; i < fresh; i++)
		if (!store->slots[i].length)
			slot_put(store, i);
}

/* ---- adopting ---- */

static bool adopt_slot(struct vg_store *store, struct vg_handle_slot *slot, __u64 *claimed)
{
	slot->generation &= GENERATION_MASK;
	return slot->length && slot->length <= VG_CELL_MAX && slot->generation && slot->cell &&
	       vg_slab_claim(&store->slabs, claimed, cell_class(slot->length), slot->cell);
}

void vg_handles_adopt(struct vg_store *store, __u64 *claimed)
{
	struct vg_store_worker *worker = &store->workers[0];
	__u32 fresh = 0;

	for (__u32 i = 0; i < store->header->handles_max; i++)
		if (store->slots[i].generation)
			fresh = i + 1;
		else
			store->slots[i] = (struct vg_handle_slot){ 0 };
	store->handles.fresh = fresh;
	for (__u32 i = 0; i < fresh; i++) {
		struct vg_handle_slot *slot = &store->slots[i];

		slot->sequence = (slot->sequence + 1) & ~1u;
		slot->flags = 0;
		slot->place = 0;
		if (adopt_slot(store, slot, claimed)) {
			worker->handles++;
			worker->cell_bytes += store->slabs.class[cell_class(slot->length)].cell_bytes;
		} else {
			slot->length = slot->cell = 0;
			slot_put(store, i);
		}
	}
}
