/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/evict.h"

#include <strings.h>

#include "pool/cut.h"
#include "pool/observe.h"
#include "pool/room.h"

#define SMALL_SHARE 10	      /* the small queue has a tenth of the keys */
#define SMALL_TRIES 64	      /* entries of the ring looked at for one key */
#define MAIN_BUCKETS 256      /* buckets the hand goes on for one key: four rounds take all uses away */
#define PROMOTE_USES 1	      /* uses that make a key of the small queue one of the main queue */
#define HEAP_BUCKETS 2048     /* … for one with its value in the heap tier */
#define SAMPLE_BUCKETS 3      /* of which the least recently used key goes */
#define DEADLINE_BUCKETS 64   /* looked at for a key with a deadline … */
#define DEADLINE_KEYS 5	      /* … until so many have been seen */
#define DEADLINE_HAND_BUCKETS 8192
#define ROUNDS_MAX 256	      /* keys that go for one write */

__u64 vg_store_used(const struct vg_store *store)
{
	__u64 buckets = vg_buckets_count(__atomic_load_n(&store->header->index_control, __ATOMIC_RELAXED));
	__s64 cell_bytes = 0;

	for (__u32 i = 0; i < store->workers_count; i++)
		cell_bytes += __atomic_load_n(&store->workers[i].cell_bytes, __ATOMIC_RELAXED);
	return (cell_bytes > 0 ? (__u64)cell_bytes : 0) + buckets * sizeof(struct vg_bucket) +
	       __atomic_load_n(&store->heap.used_bytes, __ATOMIC_RELAXED);
}

void vg_store_limit(struct vg_store *store, enum vg_eviction policy, __u64 maxmemory)
{
	__atomic_store_n(&store->limit.policy, policy, __ATOMIC_RELAXED);
	__atomic_store_n(&store->limit.maxmemory, maxmemory, __ATOMIC_RELAXED);
	__atomic_store_n(&store->limit.queues, maxmemory && policy == VG_EVICTION_S3FIFO, __ATOMIC_RELAXED);
}

void vg_store_limit_get(const struct vg_store *store, enum vg_eviction *ret_policy, __u64 *ret_maxmemory)
{
	*ret_policy = (enum vg_eviction)__atomic_load_n(&store->limit.policy, __ATOMIC_RELAXED);
	*ret_maxmemory = __atomic_load_n(&store->limit.maxmemory, __ATOMIC_RELAXED);
}

static const char *const names[] = { [VG_EVICTION_NONE] = "noeviction",
				     [VG_EVICTION_S3FIFO] = "allkeys-s3fifo",
				     [VG_EVICTION_LRU] = "allkeys-lru",
				     [VG_EVICTION_TTL] = "volatile-ttl" };

const char *vg_eviction_text(enum vg_eviction policy)
{
	return names[policy];
}

int vg_eviction_parse(const char *text, size_t length, enum vg_eviction *ret_policy)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == length && !strncasecmp(names[i], text, length)) {
			*ret_policy = (enum vg_eviction)i;
			return 0;
		}
	return -EINVAL;
}

void vg_evict_to_limit(struct vg_store *store, struct vg_store_worker *worker)
{
	__u64 limit = __atomic_load_n(&store->limit.maxmemory, __ATOMIC_RELAXED);

	for (int i = 0; vg_store_used(store) > limit; i++)
		if (i == ROUNDS_MAX || !vg_evicts(store) || !vg_evict_some(store, worker, false)) {
			worker->over_limit = true;
			return;
		}
}

/* ---- removing ---- */

/* 32 bits of the hash that the bucket does not follow from; never 0. */
static __u32 ghost_of(__u64 hash)
{
	return (__u32)(hash >> 24) | 1;
}

void vg_evict_place(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place)
{
	const struct vg_item *item = vg_place_item(store, place);
	bool expired = vg_item_expired(item, __atomic_load_n(&store->slabs.now_ms, __ATOMIC_RELAXED));
	__u32 ghost = expired || item->flags & VG_ITEM_MAIN ? 0 : ghost_of(vg_item_hash(item));

	vg_observe_item(store, expired ? VG_OBSERVED_EXPIRED : VG_OBSERVED_EVICTED, item);
	vg_slot_remove(store, worker, place->line, place->slot);
	if (ghost && vg_evicts_s3fifo(store))
		__atomic_store_n(&place->line->cell[place->slot], ghost, __ATOMIC_RELAXED);
	vg_bucket_compact(store, worker, place->bucket);
	place->line = NULL;
	place->changed = true;
	if (expired)
		vg_worker_count(worker->expired, 1);
	else
		vg_worker_count(worker->evicted, 1);
}

/* The class of items that the cell belongs to; else VG_SLAB_SIZES or more. */
static __u32 class_of_cell(const struct vg_store *store, __u32 cell)
{
	__u32 number = (cell - store->slabs.offset) / VG_SLAB_BYTES;

	return cell < store->slabs.offset || number >= store->slabs.slabs_max ?
		       VG_SLAB_SIZES :
		       vg_slab_class_of(&store->slabs, number);
}

/* ---- side by side in the heap tier ---- */

#define RUN_BLOCKS 256 /* noted at once */

struct run {
	struct vg_heap *heap;
	bool more; /* there are further ones */
	__u32 count;
	const void *block[RUN_BLOCKS];
	__u32 owner[RUN_BLOCKS];
};

/* What looks like an item's block; if it is one is known when its bucket is taken. */
static bool run_note(void *context, const void *memory, size_t usable)
{
	struct run *run = context;
	struct vg_block head;

	if (usable < sizeof(head))
		return false;
	vg_racy_copy(&head, memory, sizeof(head));
	if (head.heap != run->heap || !head.owner)
		return false;
	run->more = run->count == RUN_BLOCKS;
	if (run->more)
		return false;
	run->block[run->count] = memory;
	run->owner[run->count++] = head.owner;
	return true;
}

static bool evict_block(struct vg_store *store, struct vg_store_worker *worker, const void *block, __u32 cell)
{
	__u32 class = class_of_cell(store, cell);
	const struct vg_item *item;
	struct vg_place place;
	bool may;

	if (class >= VG_SLAB_SIZES || !vg_place_try_cell(store, worker, class, cell, &place))
		return false;
	item = vg_place_item(store, &place);
	may = item->flags & VG_ITEM_HEAP && vg_item_block(item) == block && vg_evict_may(store, item) &&
	      __atomic_load_n(&vg_item_block(item)->references, __ATOMIC_ACQUIRE) == 1;
	if (may)
		vg_evict_place(store, worker, &place);
	vg_place_give(&place);
	return may;
}

/*
 * The item of the place is about to go, and what lies behind its block goes first: of keys chosen by their use alone
 * hardly two lie side by side, and a value larger than most would be refused however many go. The block stays where it
 * is meanwhile, since its bucket is taken.
 */
static void evict_behind(struct vg_store *store, struct vg_store_worker *worker, const struct vg_place *place,
			 size_t heap_bytes)
{
	const void *block = vg_item_block(vg_place_item(store, place));
	size_t span = vg_heap_span(heap_bytes);
	struct run run = { .heap = &store->heap };

	do {
		run.more = false;
		run.count = 0;
		if (!vg_heap_behind(&store->heap, block, span, run_note, &run) && !run.more)
			return;
		for (__u32 i = 0; i < run.count; i++)
			if (!evict_block(store, worker, run.block[i], run.owner[i]))
				return;
	} while (run.more);
}

/* ---- S3-FIFO ---- */

static void item_set_main(struct vg_item *item)
{
	__atomic_store_n(&item->flags, item->flags | VG_ITEM_MAIN, __ATOMIC_RELAXED);
}

static void small_add(struct vg_store *store, __u32 cell)
{
	__u64 at = __atomic_fetch_add(&store->limit.head, 1, __ATOMIC_RELAXED);

	__atomic_store_n(&store->limit.ring[at & store->limit.ring_mask], cell, __ATOMIC_RELAXED);
}

/* Among the line's free slots one without a ghost; else any: so ghosts make room for each other. */
static __u32 choose_slot(const struct vg_bucket *line, __u64 hash)
{
	__u32 slots[VG_BUCKET_SLOTS], count = 0;

	VG_EACH_TAGGED(slot, line, 0) {
		if (!vg_line_word(line, slot))
			return slot;
		slots[count++] = slot;
	}
	return slots[(hash >> 32) % count];
}

static bool ghost_take(const struct vg_store *store, struct vg_bucket *bucket, __u64 hash)
{
	__u32 ghost = ghost_of(hash);

	for (struct vg_bucket *line = bucket; line; line = vg_line_next(store, line))
		VG_EACH_TAGGED(slot, line, 0)
			if (vg_line_word(line, slot) == ghost) {
				__atomic_store_n(&line->cell[slot], 0, __ATOMIC_RELAXED);
				return true;
			}
	return false;
}

void vg_evict_inserting(struct vg_store *store, struct vg_place *place, __u64 hash, __u32 cell)
{
	if (ghost_take(store, place->bucket, hash))
		item_set_main(vg_item_at(store, cell));
	else
		small_add(store, cell);
	place->free_slot = choose_slot(place->free_line, hash);
}

void vg_evict_replacing(struct vg_store *store, const struct vg_item *old, __u32 cell)
{
	if (old->flags & VG_ITEM_MAIN)
		item_set_main(vg_item_at(store, cell));
	else
		small_add(store, cell);
}

static void take_uses(struct vg_bucket *line, __u32 slot, __u32 uses)
{
	__u32 word = vg_line_word(line, slot);

	if ((word & VG_CELL_FREQUENCY) >= uses)
		__atomic_compare_exchange_n(&line->cell[slot], &word, word - uses, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
}

/* The next of the small queue that was not used goes; those that were, and what has gone already, are passed by. */
static bool evict_small(struct vg_store *store, struct vg_store_worker *worker)
{
	for (int i = 0; i < SMALL_TRIES; i++) {
		__u64 head = __atomic_load_n(&store->limit.head, __ATOMIC_RELAXED);
		__u32 cell, uses, class;
		struct vg_place place;

		if (head - store->limit.tail > store->limit.ring_mask) /* overrun: the hand will find those */
			store->limit.tail = head - store->limit.ring_mask;
		if (store->limit.tail == head)
			return false;
		cell = __atomic_load_n(&store->limit.ring[store->limit.tail++ & store->limit.ring_mask],
				       __ATOMIC_RELAXED);
		class = class_of_cell(store, cell);
		if (class >= VG_SLAB_SIZES || !vg_place_try_cell(store, worker, class, cell, &place))
			continue;
		uses = vg_line_word(place.line, place.slot) & VG_CELL_FREQUENCY;
		if (vg_place_item(store, &place)->flags & VG_ITEM_MAIN) {
			vg_place_give(&place);
			continue;
		}
		if (uses < PROMOTE_USES) {
			vg_evict_place(store, worker, &place);
			vg_place_give(&place);
			return true;
		}
		item_set_main(vg_place_item(store, &place));
		take_uses(place.line, place.slot, uses);
		vg_place_give(&place);
	}
	return false;
}

/*
 * One bucket under the hand. What is not in the main queue, though it was never used, has its place in the ring ahead
 * of it, or was lost from it (moved, or overrun): one round more will tell.
 */
static bool evict_in_bucket(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place,
			    size_t heap_bytes)
{
	bool evicted = false;

	for (struct vg_bucket *line = place->bucket; line && !evicted; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS && !evicted; slot++) {
			struct vg_item *item = vg_line_item(store, line, slot);

			if (!line->tag[slot] || (heap_bytes && !(item->flags & VG_ITEM_HEAP)))
				continue;
			if (vg_line_word(line, slot) & VG_CELL_FREQUENCY) {
				take_uses(line, slot, 1);
			} else if (heap_bytes || item->flags & VG_ITEM_MAIN) {
				place->line = line;
				place->slot = slot;
				if (heap_bytes)
					evict_behind(store, worker, place, heap_bytes);
				vg_evict_place(store, worker, place);
				evicted = true;
			} else {
				item_set_main(item);
			}
		}
	return evicted;
}

static __u32 next_bucket(struct vg_store *store)
{
	return store->limit.hand++ % vg_buckets_count(__atomic_load_n(&store->header->index_control, __ATOMIC_ACQUIRE));
}

static bool evict_main(struct vg_store *store, struct vg_store_worker *worker, size_t heap_bytes)
{
	for (int i = 0; i < (heap_bytes ? HEAP_BUCKETS : MAIN_BUCKETS); i++) {
		struct vg_place place;
		bool evicted;

		if (!vg_place_try_bucket(store, worker, next_bucket(store), &place))
			continue;
		evicted = evict_in_bucket(store, worker, &place, heap_bytes);
		vg_place_give(&place);
		if (evicted)
			return true;
	}
	return false;
}

static bool evict_s3fifo(struct vg_store *store, struct vg_store_worker *worker, size_t heap_bytes)
{
	__u64 small = __atomic_load_n(&store->limit.head, __ATOMIC_RELAXED) - store->limit.tail;
	__s64 keys = __atomic_load_n(&store->growth.keys, __ATOMIC_RELAXED);

	if (heap_bytes)
		return evict_main(store, worker, heap_bytes);
	if (keys > 0 && small * SMALL_SHARE > (__u64)keys && evict_small(store, worker))
		return true;
	return evict_main(store, worker, 0) || evict_small(store, worker);
}

/* ---- by sampling ---- */

struct candidate {
	__u32 bucket, cell;
	__u64 score; /* the highest goes */
	int seen;
};

/* Longest unused first; of what was noted since the sweep last passed the number of uses tells. */
static __u64 score_lru(const struct vg_item *item, __u32 word, __u64 now_ms)
{
	__u16 idle = (__u16)(vg_access_clock(now_ms) - item->access_clock);

	return (word & VG_CELL_USED ? 0 : 8 * (1ULL + idle)) + VG_CELL_FREQUENCY - (word & VG_CELL_FREQUENCY) + 1;
}

/* Soonest deadline first; without one it stays. */
static __u64 score_ttl(const struct vg_item *item, __u32 word, __u64 now_ms)
{
	__u64 deadline = vg_item_deadline(item);

	return deadline ? ~deadline : 0;
}

static void look_at_bucket(struct vg_store *store, struct vg_store_worker *worker, __u32 number, bool in_heap,
			   __u64 (*score)(const struct vg_item *, __u32, __u64), struct candidate *best)
{
	__u64 now_ms = __atomic_load_n(&store->slabs.now_ms, __ATOMIC_RELAXED);
	struct vg_place place;

	if (!vg_place_try_bucket(store, worker, number, &place))
		return;
	for (struct vg_bucket *line = place.bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++) {
			__u32 word = vg_line_word(line, slot);
			__u64 points;

			if (!line->tag[slot] ||
			    (in_heap && !(vg_line_item(store, line, slot)->flags & VG_ITEM_HEAP)))
				continue;
			points = score(vg_line_item(store, line, slot), word, now_ms);
			best->seen += points > 0;
			if (points > best->score) {
				best->score = points;
				best->bucket = number;
				best->cell = word & VG_CELL_OFFSET;
			}
			take_uses(line, slot, 1);
		}
	vg_place_give(&place);
}

bool vg_evict_may(const struct vg_store *store, const struct vg_item *item)
{
	enum vg_eviction policy = (enum vg_eviction)__atomic_load_n(&store->limit.policy, __ATOMIC_RELAXED);

	return policy == VG_EVICTION_TTL ? item->flags & VG_ITEM_DEADLINE : policy != VG_EVICTION_NONE;
}

bool vg_evict_in_bucket(struct vg_store *store, struct vg_store_worker *worker, struct vg_place *place)
{
	bool by_ttl = __atomic_load_n(&store->limit.policy, __ATOMIC_RELAXED) == VG_EVICTION_TTL;
	__u64 now_ms = __atomic_load_n(&store->slabs.now_ms, __ATOMIC_RELAXED), most = 0;

	for (struct vg_bucket *line = place->bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++) {
			const struct vg_item *item = vg_line_item(store, line, slot);
			__u64 points;

			if (!line->tag[slot] || !vg_evict_may(store, item))
				continue;
			points = (by_ttl ? score_ttl : score_lru)(item, vg_line_word(line, slot), now_ms);
			if (points > most) {
				most = points;
				place->line = line;
				place->slot = slot;
			}
		}
	if (!most)
		return false;
	vg_evict_place(store, worker, place);
	return true;
}

static bool evict_candidate(struct vg_store *store, struct vg_store_worker *worker, const struct candidate *best,
			    size_t heap_bytes)
{
	struct vg_place place;

	if (!best->score || !vg_place_try_bucket(store, worker, best->bucket, &place))
		return false;
	for (struct vg_bucket *line = place.bucket; line && !place.changed; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS && !place.changed; slot++)
			if (line->tag[slot] && vg_line_cell(line, slot) == best->cell) {
				place.line = line;
				place.slot = slot;
				if (heap_bytes && vg_place_item(store, &place)->flags & VG_ITEM_HEAP)
					evict_behind(store, worker, &place, heap_bytes);
				vg_evict_place(store, worker, &place);
			}
	vg_place_give(&place);
	return place.changed;
}

/* SplitMix64's step is enough: the buckets are in no order. */
static __u32 random_bucket(struct vg_store *store)
{
	__u64 z = store->limit.random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	return (__u32)(z >> 33) % vg_buckets_count(__atomic_load_n(&store->header->index_control, __ATOMIC_ACQUIRE));
}

static bool evict_lru(struct vg_store *store, struct vg_store_worker *worker, size_t heap_bytes)
{
	struct candidate best = { 0 };

	for (int i = 0; i < SAMPLE_BUCKETS || (!best.seen && i < HEAP_BUCKETS); i++)
		look_at_bucket(store, worker, random_bucket(store), heap_bytes, score_lru, &best);
	return evict_candidate(store, worker, &best, heap_bytes);
}

/* Where deadlines are rare the hand goes through the index for one. */
static bool evict_ttl(struct vg_store *store, struct vg_store_worker *worker, size_t heap_bytes)
{
	struct candidate best = { 0 };

	for (int i = 0; best.seen < DEADLINE_KEYS && i < DEADLINE_BUCKETS; i++)
		look_at_bucket(store, worker, random_bucket(store), heap_bytes, score_ttl, &best);
	for (int i = 0; !best.seen && i < DEADLINE_HAND_BUCKETS; i++)
		look_at_bucket(store, worker, next_bucket(store), heap_bytes, score_ttl, &best);
	return evict_candidate(store, worker, &best, heap_bytes);
}

bool vg_evict_some(struct vg_store *store, struct vg_store_worker *worker, size_t heap_bytes)
{
	bool evicted = false;

	vg_lock_take(&store->limit.lock);
	switch ((enum vg_eviction)__atomic_load_n(&store->limit.policy, __ATOMIC_RELAXED)) {
	case VG_EVICTION_S3FIFO:
		evicted = evict_s3fifo(store, worker, heap_bytes);
		break;
	case VG_EVICTION_LRU:
		evicted = evict_lru(store, worker, heap_bytes);
		break;
	case VG_EVICTION_TTL:
		evicted = evict_ttl(store, worker, heap_bytes);
		break;
	case VG_EVICTION_NONE:
		break;
	}
	vg_lock_give(&store->limit.lock);
	return evicted;
}
