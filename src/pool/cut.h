/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Views inside: what writers of the store do before they change something, and the side table (version.h). */
#ifndef VG_POOL_CUT_H
#define VG_POOL_CUT_H

#include "pool/item.h"
#include "pool/version.h"

#define VG_CUT_CHAINS_BITS 18
#define VG_CUT_STRIPES 1024	      /* locks for the chains */
#define VG_CUT_CHUNK_BYTES 65536     /* images of large allocations are made in pieces */
#define VG_CUT_KEYS_END (1ULL << 32) /* positions below are keys', from here on slots of handles */

enum vg_image_kind { VG_IMAGE_KEY = 0, VG_IMAGE_SLOT, VG_IMAGE_CHUNK };

struct vg_image_content {
	struct vg_entry entry;	/* in an image its value is found by vg_image_value */
	struct vg_block *block; /* holds the value, and is pinned; NULL: the value is copied behind the key */
	__u64 handle;		/* SLOT: of the allocation, … */
	__u32 flags;		/* … and its flags */
};

/*
 * What was there before a change made in epoch `label`: the version of every view from the label before (of the same
 * thing) on, up to this one. In a chain the newest of a thing comes first. Memory of the heap tier.
 */
struct vg_image {
	struct vg_image *next;
	__u64 position;		/* in a walk: keys by their hash, low 32 bits reversed; VG_CUT_KEYS_END + slot */
	__u64 label;
	__u64 hash;		/* KEY: of the key; CHUNK: its number */
	struct vg_image_content content;
	__u64 bytes;		/* accounted */
	__u32 key_length;
	__u8 kind;
	__u8 data[] __attribute__((aligned(8)));
};

struct vg_cut_slot {
	__u64 number;	      /* of the open view, 0: none; atomic */
	__u64 walked;	      /* positions below need no images; atomic */
	__u64 now_ms;
	__u64 lease_until_ms; /* atomic */
	__u64 named;	      /* the last view here, for … */
	int error;	      /* … why it ended; both under the lock */
	bool walks;
};

struct vg_cuts {
	struct vg_lock lock;  /* opening and ending */
	__u64 last;	      /* the last number given */
	int clearing;	      /* who remove all keys just now: no cut can be made */
	struct vg_cut_slot slot[VG_CUTS_MAX];
	struct vg_image **chains;
	struct vg_lock stripe[VG_CUT_STRIPES];
	__u64 bytes, bytes_max, images; /* atomic */
	__u64 opened, ended_space, ended_lease;
	struct vg_lock collecting;
	__u32 garbage_chain;	/* where freeing goes on … */
	__u32 garbage_chains;	/* … for so many chains more; atomic */
};

int vg_cuts_init(struct vg_store *store);
void vg_cuts_deinit(struct vg_store *store);

/* Bits of the hash that choose the bucket, most significant first: splits then divide ranges, and order is for ever. */
static inline __u64 vg_cut_position(__u64 hash)
{
	__u32 h = (__u32)hash;

	h = (h >> 1 & 0x55555555) | (h & 0x55555555) << 1;
	h = (h >> 2 & 0x33333333) | (h & 0x33333333) << 2;
	h = (h >> 4 & 0x0f0f0f0f) | (h & 0x0f0f0f0f) << 4;
	return __builtin_bswap32(h);
}

/*
 * With all locks of a critical section taken: is what follows behind the cut of a view? Whoever changed this bucket
 * before has given its sequence since, and so have those whose answers led here; what they read of the epoch is not
 * newer than what is read here. Who sees a view's number sees its slot filled in; sequentially consistent
 * for vg_cut_open's sake, which on these processors costs a load no more.
 */
static inline void vg_cuts_look(const struct vg_store *store, struct vg_store_worker *worker)
{
	worker->cut_epoch = __atomic_load_n(&store->cut_epoch, __ATOMIC_SEQ_CST);
}

void vg_cut_save_item(struct vg_store *store, struct vg_store_worker *worker, const struct vg_item *item);
void vg_cut_save_absent(struct vg_store *store, struct vg_store_worker *worker, const struct vg_item *item,
			 __u64 hash);
void vg_cut_save_slot(struct vg_store *store, struct vg_store_worker *worker, struct vg_handle_slot *slot);
void vg_cut_save_range(struct vg_store *store, struct vg_store_worker *worker, struct vg_handle_slot *slot,
			__u64 offset, __u64 length);

/* The item is about to be changed or removed. */
static inline void vg_cut_before(struct vg_store *store, struct vg_store_worker *worker, const struct vg_item *item)
{
	if (__builtin_expect(worker->cut_epoch != 0, 0))
		vg_cut_save_item(store, worker, item);
}

/* The new item is about to be put where none was. */
static inline void vg_cut_before_new(struct vg_store *store, struct vg_store_worker *worker,
				      const struct vg_item *item, __u64 hash)
{
	if (__builtin_expect(worker->cut_epoch != 0, 0))
		vg_cut_save_absent(store, worker, item, hash);
}

/* The slot is about to change: to begin or end a life, or to have the bytes of its cell written. */
static inline void vg_cut_before_slot(struct vg_store *store, struct vg_store_worker *worker,
				       struct vg_handle_slot *slot)
{
	if (__builtin_expect(worker->cut_epoch != 0, 0))
		vg_cut_save_slot(store, worker, slot);
}

/* ---- the side table, for the two files of it ---- */

/* What an image is of. */
struct vg_image_name {
	enum vg_image_kind kind;
	__u64 position, hash;
	const void *key;
	__u32 key_length;
};

static inline __u32 vg_image_chain(__u64 position)
{
	if (position < VG_CUT_KEYS_END)
		return (__u32)(position >> (32 - VG_CUT_CHAINS_BITS));
	return (__u32)position & ((1u << VG_CUT_CHAINS_BITS) - 1);
}

static inline struct vg_lock *vg_image_stripe(struct vg_cuts *views, __u32 chain)
{
	return &views->stripe[chain % VG_CUT_STRIPES];
}

static inline const __u8 *vg_image_value(const struct vg_image *image)
{
	return image->content.block ? image->content.entry.value : image->data + VG_ALIGN_UP(image->key_length, 8u);
}

/* Keep it unless it is kept already or no view needs it. The block is pinned in place of copying the value. */
void vg_image_save(struct vg_store *store, __u64 epoch, const struct vg_image_name *name,
		   const struct vg_image_content *content);
/* The view's image of it, the stripe's lock held; NULL: what is there now is the view's. */
const struct vg_image *vg_image_find(const struct vg_store *store, __u64 view, const struct vg_image_name *name);
/* Has it been kept in this epoch, or later? Takes the stripe's lock. */
bool vg_image_kept(struct vg_store *store, __u64 epoch, const struct vg_image_name *name);
/* Free what no view needs of one chain. Returns how many. */
__u32 vg_image_collect(struct vg_store *store, __u32 chain);
/* version.c */
void vg_cut_clearing(struct vg_store *store, bool clearing);
int vg_cut_walked(struct vg_store *store, __u64 view, __u64 position);
void vg_cut_end(struct vg_store *store, __u64 view, int error);

/* ---- walking (scan.c) ---- */

/* The bucket of a position, taken; *ret_next: the first position that is not its own. */
struct vg_bucket *vg_walk_take(struct vg_store *store, __u64 position, __u32 *ret_sequence, __u64 *ret_next);
/* fn for its items until it returns an error. */
int vg_walk_items(const struct vg_store *store, const struct vg_bucket *bucket,
		  int (*fn)(void *context, const struct vg_item *item), void *context);

#endif
