/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/cut.h"
#include "pool/evict.h"
#include "pool/room.h"

#include <errno.h>

/* ---- blocks ---- */

static __u64 block_bytes(__u32 key_length, __u64 capacity)
{
	return sizeof(struct vg_block) + VG_ALIGN_UP(key_length, 16u) + capacity;
}

struct vg_block *vg_block_new(struct vg_store *store, __u32 key_length, __u64 capacity)
{
	struct vg_block *block = vg_heap_alloc(&store->heap, block_bytes(key_length, capacity));

	if (!block)
		return NULL;
	*block = (struct vg_block){ .heap = &store->heap, .references = 1, .key_length = key_length };
	return block;
}

/* Relaxed: whoever pins holds the sequence under which the block is reachable, so it cannot be on its way out. */
void vg_block_ref(struct vg_block *block)
{
	__atomic_fetch_add(&block->references, 1, __ATOMIC_RELAXED);
}

const void *vg_block_data(const struct vg_block *block)
{
	return vg_block_value(block);
}

/* Release: this holder's reads come before the free; acquire: the last one sees that all others' have. */
void vg_block_put(void *memory)
{
	struct vg_block *block = memory;
	__u32 before = __atomic_fetch_sub(&block->references, 1, __ATOMIC_ACQ_REL);

	assert(before > 0);
	if (before == 1)
		vg_heap_free(block->heap, block);
}

/* ---- cells ---- */

#define ROOM_TRIES 8 /* others may be faster to take what was made room of */

__u32 vg_cell_get(struct vg_store *store, struct vg_store_worker *worker, __u32 class)
{
	__u32 cell = vg_slab_get(&store->slabs, &worker->cache, class);

	for (int i = 0; !cell && i < ROOM_TRIES && vg_room_make(store, worker, class); i++)
		cell = vg_slab_get(&store->slabs, &worker->cache, class);
	if (cell)
		vg_worker_count(worker->cell_bytes, (__s64)store->slabs.class[class].cell_bytes);
	return cell;
}

void vg_cell_put(struct vg_store *store, struct vg_store_worker *worker, __u32 class, __u32 cell)
{
	vg_worker_count(worker->cell_bytes, -(__s64)store->slabs.class[class].cell_bytes);
	vg_slab_put(&store->slabs, &worker->cache, class, cell);
}

/* ---- what a change stores ---- */

int vg_change_length(const struct vg_change *change, __u64 *ret_length)
{
	__u64 length = 0;

	assert(change->parts >= 0 && change->parts <= (int)(sizeof(change->part) / sizeof(change->part[0])));
	for (int i = 0; i < change->parts; i++) {
		if (change->part[i].length > VG_VALUE_MAX - length)
			return -EMSGSIZE;
		length += change->part[i].length;
	}
	*ret_length = length;
	return 0;
}

static void part_copy(__u8 *to, const struct vg_part *part)
{
	if (part->data)
		memcpy(to, part->data, part->length);
	else
		memset(to, 0, part->length);
}

static void parts_copy(__u8 *to, const struct vg_change *change)
{
	for (int i = 0; i < change->parts; to += change->part[i++].length)
		if (change->part[i].length)
			part_copy(to, &change->part[i]);
}

static bool is_append(const struct vg_change *change, const struct vg_item *old)
{
	return old && change->parts > 1 && change->part[0].data == vg_item_value(old) &&
	       change->part[0].length == vg_item_value_length(old);
}

static void length_set(struct vg_item *item, __u64 length)
{
	if (item->flags & VG_ITEM_HEAP)
		vg_item_block(item)->length = length;
	else
		item->value_length = (__u16)length;
}

static void deadline_set(struct vg_item *item, __u64 expire_ms)
{
	if (expire_ms > VG_ITEM_EXPIRE_MAX)
		expire_ms = VG_ITEM_EXPIRE_MAX;
	if (item->flags & VG_ITEM_DEADLINE)
		memcpy(item + 1, &expire_ms, sizeof(expire_ms));
}

/* The item has all the extensions that the change needs. */
static void extensions_set(struct vg_item *item, const struct vg_change *change)
{
	struct vg_item_meta *meta = vg_item_meta(item);

	deadline_set(item, change->expire_ms);
	if (meta)
		*meta = (struct vg_item_meta){ change->version, change->client_flags, change->marks };
}

/* XDP compares and copies whole words: what is behind the last byte is zero. */
static void pad(__u8 *at, __u64 length)
{
	for (; length % 8; length++)
		at[length] = 0;
}

/*
 * A cell for an item. Where there is none of its size, a reference to the heap tier lies in the next larger one that is
 * free: otherwise a value would be refused that the heap tier has room for.
 */
static __u32 item_cell(struct vg_store *store, struct vg_store_worker *worker, bool any_size, __u32 *class)
{
	__u32 cell = vg_cell_get(store, worker, VG_SLAB_CLASS_ITEM + *class);

	for (__u32 larger = *class + 1; !cell && any_size && larger < VG_SLAB_SIZES; larger++) {
		cell = vg_slab_get_partial(&store->slabs, &worker->cache, VG_SLAB_CLASS_ITEM + larger);
		if (cell) {
			vg_worker_count(worker->cell_bytes, (__s64)store->slabs.class[larger].cell_bytes);
			*class = larger;
		}
	}
	return cell;
}

/* A cell with header and inline key. */
static struct vg_item *item_begin(struct vg_store *store, struct vg_store_worker *worker, __u8 flags, __u64 bytes,
				  const void *key, __u32 key_length, __u16 clock)
{
	__u32 class = vg_slab_size_class((__u32)bytes);
	__u32 cell = item_cell(store, worker, flags & VG_ITEM_HEAP || worker->any_size, &class);
	struct vg_item *item = vg_item_at(store, cell);

	if (!cell)
		return NULL;
	*item = (struct vg_item){ 0, (__u16)key_length, flags, (__u8)class, clock };
	if (key_length)
		memcpy(vg_item_inline_key(item), key, key_length);
	pad(vg_item_inline_key(item), key_length);
	return item;
}

static int item_new_inline(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
			   const struct vg_change *change, __u64 length, __u64 slack, __u64 now_ms, __u32 *ret_cell)
{
	__u8 flags = vg_change_flags(change);
	__u64 bytes = vg_item_bytes(flags, key->length, length) + slack;
	struct vg_item *item = item_begin(store, worker, flags, bytes < VG_CELL_MAX ? bytes : VG_CELL_MAX, key->data,
					  key->length, vg_access_clock(now_ms));

	if (!item)
		return -ENOMEM;
	length_set(item, length);
	extensions_set(item, change);
	parts_copy(vg_item_value(item), change);
	pad(vg_item_value(item), length);
	*ret_cell = vg_store_offset(store, item);
	return 0;
}

static int item_new_heap(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
			 const struct vg_change *change, __u64 length, __u64 capacity, __u64 now_ms, __u32 *ret_cell)
{
	bool heap_key = key->length > VG_INLINE_KEY_MAX;
	__u8 flags = vg_change_flags(change) | (heap_key ? VG_ITEM_HEAP | VG_ITEM_HEAP_KEY : VG_ITEM_HEAP);
	__u32 inline_length = heap_key ? 0 : key->length;
	struct vg_block *block = vg_block_new(store, heap_key ? key->length : 0, capacity);
	struct vg_item *item;

	if (!block)
		return -ENOMEM;
	item = item_begin(store, worker, flags, vg_item_bytes(flags, inline_length, heap_key ? 16 : 8), key->data,
			  inline_length, vg_access_clock(now_ms));
	if (!item) {
		vg_block_put(block);
		return -ENOMEM;
	}
	memcpy((__u8 *)item + vg_item_value_offset(flags, inline_length), &block, sizeof(block));
	if (heap_key) {
		memcpy(vg_block_key(block), key->data, key->length);
		memcpy((__u8 *)item + vg_item_hash_offset(item), &key->hash, sizeof(key->hash));
	}
	length_set(item, length);
	extensions_set(item, change);
	parts_copy(vg_block_value(block), change);
	vg_item_own_block(store, item);
	*ret_cell = vg_store_offset(store, item);
	return 0;
}

int vg_item_new_in(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		   const struct vg_change *change, const struct vg_item *old, bool in_heap, __u32 *ret_cell)
{
	__u64 length, then_ms = old->access_clock * VG_ACCESS_TICK_MS;
	int error = vg_change_length(change, &length);

	if (error)
		return error;
	if (in_heap)
		return item_new_heap(store, worker, key, change, length, length, then_ms, ret_cell);
	return item_new_inline(store, worker, key, change, length, 0, then_ms, ret_cell);
}

/* Small ones in the arena, unless there is no room: then in the heap tier as well. */
static int item_new(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		    const struct vg_change *change, __u64 length, __u64 slack, __u64 now_ms, __u32 *ret_cell)
{
	int error = -ENOMEM;

	if (vg_item_bytes(vg_change_flags(change), key->length, length) <= VG_CELL_MAX)
		error = item_new_inline(store, worker, key, change, length, slack / 4, now_ms, ret_cell);
	else if (slack)
		error = item_new_heap(store, worker, key, change, length, length + slack, now_ms, ret_cell);
	if (error)
		error = item_new_heap(store, worker, key, change, length, length, now_ms, ret_cell);
	return error;
}

/* Before a value is refused: in any cell that is large enough. */
static int item_new_anywhere(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
			     const struct vg_change *change, __u64 length, __u64 now_ms, __u32 *ret_cell)
{
	int error;

	worker->any_size = true;
	error = item_new_inline(store, worker, key, change, length, 0, now_ms, ret_cell);
	worker->any_size = false;
	return error;
}

/* Keys go until there is room. A small value first takes what comes; if that does not suit it, one in the heap tier. */
static int item_new_evicting(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
			     const struct vg_change *change, __u64 length, bool small, __u64 now_ms, __u32 *ret_cell)
{
	int error = -ENOMEM;

	for (int i = 0, vain = 0; error == -ENOMEM && i < VG_EVICTIONS_MAX && vain < VG_EVICTIONS_VAIN_MAX; i++) {
		bool any = small && !vain && i < VG_EVICTIONS_ANY_MAX;

		if (vg_evict_some(store, worker, any ? 0 : block_bytes(key->length, length))) {
			error = item_new(store, worker, key, change, length, 0, now_ms, ret_cell);
			continue;
		}
		if (small)
			error = item_new_anywhere(store, worker, key, change, length, now_ms, ret_cell);
		vain++;
	}
	return error;
}

int vg_item_new(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		const struct vg_change *change, const struct vg_item *old, __u64 now_ms, __u32 *ret_cell)
{
	__u64 length, slack = 0;
	int error = vg_change_length(change, &length);
	bool small;

	if (error)
		return error;
	if (is_append(change, old)) /* there will be more: room for it makes many appends linear, not square */
		slack = length / 2 < (64u << 20) ? length / 2 : 64u << 20;
	small = vg_item_bytes(vg_change_flags(change), key->length, length) <= VG_CELL_MAX;
	error = item_new(store, worker, key, change, length, slack, now_ms, ret_cell);
	if (error == -ENOMEM && vg_evicts(store))
		error = item_new_evicting(store, worker, key, change, length, small, now_ms, ret_cell);
	if (error == -ENOMEM && small)
		error = item_new_anywhere(store, worker, key, change, length, now_ms, ret_cell);
	return error;
}

int vg_item_remake(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		   const struct vg_item *old, const struct vg_change *change, __u64 now_ms, __u32 *ret_cell)
{
	struct vg_entry entry = vg_item_entry(old);
	const bool heap = old->flags & VG_ITEM_HEAP;
	/* What stands behind the key: the value, or the reference, and with a key in the heap tier its hash. */
	__u32 tail_bytes = heap ? (old->flags & VG_ITEM_HEAP_KEY ? 16 : 8) : VG_ALIGN_UP(old->value_length, 8u);
	struct vg_item *item = NULL;
	struct vg_change all;
	__u64 bytes;
	__u8 flags;

	if (change->action == VG_CHANGE_DEADLINE)
		entry.expire_ms = change->expire_ms;
	else
		entry.version = change->version;
	all = vg_entry_change(&entry);
	flags = (__u8)((old->flags & (VG_ITEM_HEAP | VG_ITEM_HEAP_KEY)) | vg_change_flags(&all));
	bytes = vg_item_bytes(flags, old->key_length, tail_bytes);
	if (bytes <= VG_CELL_MAX)
		item = item_begin(store, worker, flags, bytes, vg_item_inline_key(old), old->key_length,
				  old->access_clock);
	if (!item) /* it just fitted without, or there is no such cell */
		return vg_item_new(store, worker, key, &all, NULL, now_ms, ret_cell);
	memcpy((__u8 *)item + vg_item_value_offset(flags, old->key_length),
	       (const __u8 *)old + vg_item_value_offset(old->flags, old->key_length), tail_bytes);
	item->value_length = old->value_length;
	if (heap) {
		vg_block_ref(vg_item_block(item));
		vg_item_own_block(store, item);
	}
	extensions_set(item, &all);
	*ret_cell = vg_store_offset(store, item);
	return 0;
}

void vg_item_free(struct vg_store *store, struct vg_store_worker *worker, __u32 cell)
{
	struct vg_item *item = vg_item_at(store, cell);

	if (item->flags & VG_ITEM_HEAP)
		vg_block_put(vg_item_block(item));
	vg_cell_put(store, worker, VG_SLAB_CLASS_ITEM + item->slab_class, cell);
}

/* ---- changing an item where it is ---- */

/*
 * While an item is changed in place its worker's mark says so: if the process dies here, the next one drops this item
 * and keeps the bucket's others. The stores are in this order in the program, which is all that a dead process needs.
 */
static void mark(struct vg_store *store, const struct vg_store_worker *worker, const struct vg_item *item)
{
	__atomic_store_n(&store->marks[worker - store->workers], vg_store_offset(store, item), __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void unmark(struct vg_store *store, const struct vg_store_worker *worker)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&store->marks[worker - store->workers], 0, __ATOMIC_RELAXED);
}

/* Already where it shall be? */
static bool part_stays(const struct vg_part *part, const __u8 *value, __u64 value_length, __u64 at)
{
	return part->data && part->data == value + at && at + part->length <= value_length;
}

/* Can the parts be written over the old value one by one? *ret_first: the lowest byte that changes. */
static bool parts_apply_in_place(const struct vg_change *change, const __u8 *value, __u64 value_length,
				 __u64 *ret_first)
{
	__u64 at = 0, first = ~0ULL;

	for (int i = 0; i < change->parts; at += change->part[i++].length) {
		const struct vg_part *part = &change->part[i];
		const __u8 *data = part->data;

		if (!part->length || part_stays(part, value, value_length, at))
			continue;
		if (data && data < value + value_length && data + part->length > value)
			return false;
		if (at < first)
			first = at;
	}
	*ret_first = first;
	return true;
}

static bool place_suits(const struct vg_store *store, const struct vg_item *item, __u64 length, __u64 first)
{
	__u64 item_bytes = vg_item_bytes(item->flags, item->key_length, length);
	const struct vg_block *block;

	if (!(item->flags & VG_ITEM_HEAP)) {
		__u32 cell_bytes = vg_slab_size(item->slab_class);

		return item_bytes <= cell_bytes && item_bytes * 2 >= cell_bytes;
	}
	block = vg_item_block(item);
	if (item->flags & VG_ITEM_HEAP_KEY)
		item_bytes += block->key_length;
	if (item_bytes <= VG_CELL_MAX || length > vg_block_capacity(block) || length * 2 < vg_block_capacity(block))
		return false;
	if (first >= block->length && length >= block->length)
		return true; /* pinned bytes stay as they are: what is behind them is nobody's yet */
	return __atomic_load_n(&block->references, __ATOMIC_ACQUIRE) == 1; /* acquire: see vg_block_put */
}

bool vg_item_patch(struct vg_store *store, struct vg_store_worker *worker, struct vg_item *item,
		   const struct vg_change *change, __u64 now_ms)
{
	__u8 *value = vg_item_value(item);
	__u64 length, had = vg_item_value_length(item), first, at = 0;

	vg_cut_before(store, vg_worker_self(store), item); /* first: it may pin the bytes */
	if (vg_change_flags(change) & ~item->flags || vg_change_length(change, &length) ||
	    !parts_apply_in_place(change, value, had, &first) || !place_suits(store, item, length, first))
		return false;
	mark(store, worker, item);
	for (int i = 0; i < change->parts; at += change->part[i++].length)
		if (change->part[i].length && !part_stays(&change->part[i], value, had, at))
			part_copy(value + at, &change->part[i]);
	if (!(item->flags & VG_ITEM_HEAP))
		pad(value, length);
	length_set(item, length);
	extensions_set(item, change);
	item->access_clock = vg_access_clock(now_ms);
	unmark(store, worker);
	return true;
}

bool vg_item_patch_extension(struct vg_store *store, struct vg_store_worker *worker, struct vg_item *item,
			     const struct vg_change *change)
{
	struct vg_item_meta *meta = vg_item_meta(item);
	bool deadline = change->action == VG_CHANGE_DEADLINE;

	if (!vg_item_suits_extension(item, change))
		return false;
	if (deadline)
		vg_cut_before(store, worker, item);
	mark(store, worker, item);
	if (deadline)
		deadline_set(item, change->expire_ms);
	else
		meta->version = change->version;
	unmark(store, worker);
	return true;
}
