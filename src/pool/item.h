/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Items: how a key and its value lie in a cell, or in a cell and a block of the heap tier. Under the bucket's
 * sequence.
 */
#ifndef VG_POOL_ITEM_H
#define VG_POOL_ITEM_H

#include "pool/private.h"
#include "virgo/hash.h"

#define VG_INLINE_KEY_MAX 1024		  /* a longer key goes to the heap tier along with its value */
#define VG_ITEM_EXPIRE_MAX ((1ULL << 48) - 1)

static inline struct vg_item *vg_item_at(const struct vg_store *store, __u32 cell)
{
	return (struct vg_item *)(store->arena + cell);
}

#define VG_ACCESS_TICK_MS 16000ULL	  /* unit of the access clock */
#define VG_EVICTIONS_MAX 1024		  /* keys that go to make room for one */
#define VG_EVICTIONS_ANY_MAX 128	  /* … wherever they are; then where it has room in the heap tier */
#define VG_EVICTIONS_VAIN_MAX 8		  /* looks for one in vain: uses have been taken from those that were seen */

static inline __u16 vg_access_clock(__u64 now_ms)
{
	return (__u16)(now_ms / VG_ACCESS_TICK_MS);
}

static inline __u64 vg_item_deadline(const struct vg_item *item)
{
	return item->flags & VG_ITEM_DEADLINE ? vg_load64((const __u8 *)(item + 1)) : 0;
}

/* NULL: it has none, which is as good as all zero. */
static inline struct vg_item_meta *vg_item_meta(const struct vg_item *item)
{
	if (!(item->flags & VG_ITEM_META))
		return NULL;
	return (struct vg_item_meta *)((__u8 *)item + vg_item_meta_offset(item->flags));
}

static inline bool vg_deadline_passed(__u64 expire_ms, __u64 now_ms)
{
	return expire_ms && expire_ms <= now_ms;
}

static inline bool vg_item_expired(const struct vg_item *item, __u64 now_ms)
{
	return vg_deadline_passed(vg_item_deadline(item), now_ms);
}

/* With VG_ITEM_HEAP. A key in the heap leaves its key_length 0, so that both places below hold in either case. */
static inline struct vg_block *vg_item_block(const struct vg_item *item)
{
	return (struct vg_block *)vg_load64((const __u8 *)item + vg_item_value_offset(item->flags, item->key_length));
}

/* Of the key's hash, with VG_ITEM_HEAP_KEY: behind the reference. */
static inline __u32 vg_item_hash_offset(const struct vg_item *item)
{
	return vg_item_value_offset(item->flags, 0) + (__u32)sizeof(struct vg_block *);
}

static inline __u8 *vg_block_key(const struct vg_block *block)
{
	return (__u8 *)(block + 1);
}

static inline __u8 *vg_block_value(const struct vg_block *block)
{
	return vg_block_key(block) + VG_ALIGN_UP(block->key_length, 16u);
}

/* Bytes there are for the value. */
static inline __u64 vg_block_capacity(const struct vg_block *block)
{
	return vg_heap_usable(block) - (__u64)(vg_block_value(block) - (const __u8 *)block);
}

/* Whoever makes room in the heap tier finds the item by its block. */
static inline void vg_item_own_block(struct vg_store *store, struct vg_item *item)
{
	if (item->flags & VG_ITEM_HEAP)
		__atomic_store_n(&vg_item_block(item)->owner, vg_store_offset(store, item), __ATOMIC_RELAXED);
}

static inline __u8 *vg_item_value(const struct vg_item *item)
{
	if (item->flags & VG_ITEM_HEAP)
		return vg_block_value(vg_item_block(item));
	return (__u8 *)item + vg_item_value_offset(item->flags, item->key_length);
}

static inline __u64 vg_item_value_length(const struct vg_item *item)
{
	return item->flags & VG_ITEM_HEAP ? vg_item_block(item)->length : item->value_length;
}

static inline __u8 *vg_item_inline_key(const struct vg_item *item)
{
	return (__u8 *)item + vg_item_key_offset(item->flags);
}

static inline const void *vg_item_key(const struct vg_item *item, __u32 *ret_length)
{
	if (item->flags & VG_ITEM_HEAP_KEY) {
		*ret_length = vg_item_block(item)->key_length;
		return vg_block_key(vg_item_block(item));
	}
	*ret_length = item->key_length;
	return vg_item_inline_key(item);
}

static inline __u64 vg_item_hash(const struct vg_item *item)
{
	if (item->flags & VG_ITEM_HEAP_KEY)
		return vg_load64((const __u8 *)item + vg_item_hash_offset(item));
	return vg_hash64(vg_item_inline_key(item), item->key_length);
}

/* What a callback sees of an item. */
static inline struct vg_entry vg_item_entry(const struct vg_item *item)
{
	const struct vg_item_meta *meta = vg_item_meta(item);

	return (struct vg_entry){ true,
				  vg_item_value(item),
				  vg_item_value_length(item),
				  vg_item_deadline(item),
				  meta ? meta->version : 0,
				  meta ? meta->client_flags : 0,
				  meta ? meta->marks : 0 };
}

/* Header, extensions, key and value in one cell; more than VG_CELL_MAX: in the heap tier. */
static inline __u64 vg_item_bytes(__u32 flags, __u32 key_length, __u64 value_length)
{
	return vg_item_value_offset(flags, key_length) + VG_ALIGN_UP(value_length, (__u64)8);
}

/* The extensions that a change asks for. */
static inline __u8 vg_change_flags(const struct vg_change *change)
{
	return (__u8)((change->expire_ms ? VG_ITEM_DEADLINE : 0) |
		      (change->version || change->client_flags || change->marks ? VG_ITEM_META : 0));
}

/* A block with one reference; its key_length is set. NULL: no room. */
struct vg_block *vg_block_new(struct vg_store *store, __u32 key_length, __u64 capacity);
void vg_block_ref(struct vg_block *block);

/* Cells of the arena, counted. 0: none. */
__u32 vg_cell_get(struct vg_store *store, struct vg_store_worker *worker, __u32 class);
void vg_cell_put(struct vg_store *store, struct vg_store_worker *worker, __u32 class, __u32 cell);

/* The length of what a change stores. -EMSGSIZE. */
int vg_change_length(const struct vg_change *change, __u64 *ret_length);

/* A change that stores what an entry is. */
static inline struct vg_change vg_entry_change(const struct vg_entry *entry)
{
	return (struct vg_change){ .action = VG_CHANGE_STORE,
				   .expire_ms = entry->expire_ms,
				   .version = entry->version,
				   .client_flags = entry->client_flags,
				   .marks = entry->marks,
				   .part = { { entry->value, entry->length } },
				   .parts = 1 };
}

/* A new item in the tier that is named: -ENOMEM if there is no room in it. The value fits a cell. */
int vg_item_new_in(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		   const struct vg_change *change, const struct vg_item *old, bool in_heap, __u32 *ret_cell);
/* A new item that nobody sees yet, with all that the change says. 0, or -ENOMEM or -EMSGSIZE. */
int vg_item_new(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		const struct vg_change *change, const struct vg_item *old, __u64 now_ms, __u32 *ret_cell);
/*
 * The same item with the extension that a change of its deadline or version needs; a value in the heap tier is shared
 * with the old one until that is freed. -ENOMEM.
 */
int vg_item_remake(struct vg_store *store, struct vg_store_worker *worker, const struct vg_key *key,
		   const struct vg_item *old, const struct vg_change *change, __u64 now_ms, __u32 *ret_cell);
void vg_item_free(struct vg_store *store, struct vg_store_worker *worker, __u32 cell);

/*
 * Store the change into the item it replaces. False, and nothing is done: it does not fit there, would waste the place,
 * needs the old value while it is overwritten, or a reader has it pinned.
 */
bool vg_item_patch(struct vg_store *store, struct vg_store_worker *worker, struct vg_item *item,
		   const struct vg_change *change, __u64 now_ms);
/* Has the item the extension for a change of its deadline or version alone? */
static inline bool vg_item_suits_extension(const struct vg_item *item, const struct vg_change *change)
{
	if (change->action == VG_CHANGE_VERSION)
		return item->flags & VG_ITEM_META;
	return !change->expire_ms || item->flags & VG_ITEM_DEADLINE;
}
/* Deadline or version alone. False, and nothing is done: it has no extension for that. */
bool vg_item_patch_extension(struct vg_store *store, struct vg_store_worker *worker, struct vg_item *item,
			     const struct vg_change *change);

#endif
