/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Walking the keys. The cursor is a bucket number: the table only grows, and a split moves keys to a higher bucket
 * alone, so what a walk has not passed it will still meet.
 */
#include "pool/index.h"
#include "pool/cut.h"
#include "pool/observe.h"

static __u32 buckets_now(const struct vg_store *store)
{
	return vg_buckets_count(__atomic_load_n(&store->header->index_control, __ATOMIC_ACQUIRE));
}

/* ---- the keys of one bucket, by hash, as many at a time as there is room for ---- */

struct found {
	__u64 hash;
	const struct vg_item *item;
};

static void sort_found(struct found *found, int count)
{
	for (int i = 1, j; i < count; i++) {
		struct found one = found[i];

		for (j = i; j > 0 && found[j - 1].hash > one.hash; j--)
			found[j] = found[j - 1];
		found[j] = one;
	}
}

/* Living items whose hash is at least `from`. The bucket is taken. */
static int collect(const struct vg_store *store, const struct vg_bucket *bucket, __u64 from, __u64 now_ms,
		   struct found *ret_found)
{
	int count = 0;

	for (const struct vg_bucket *line = bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++) {
			const struct vg_item *item = vg_line_item(store, line, slot);

			if (!line->tag[slot] || vg_item_expired(item, now_ms))
				continue;
			ret_found[count] = (struct found){ vg_item_hash(item), item };
			count += ret_found[count].hash >= from;
		}
	sort_found(ret_found, count);
	return count;
}

/* Copies keys as length and bytes; returns the hash to go on from, 0 when the bucket is finished. */
static __u64 copy_keys(const struct vg_store *store, struct vg_bucket *bucket, __u64 from, __u64 now_ms, __u8 *to,
		       size_t *ret_bytes)
{
	struct found found[VG_BUCKET_ITEMS_MAX];
	__u32 sequence = vg_sequence_take(&bucket->sequence);
	int count = collect(store, bucket, from, now_ms, found);
	__u64 next = 0;
	size_t at = 0;

	for (int i = 0; i < count && !next; i++) {
		__u32 length;
		const void *key = vg_item_key(found[i].item, &length);

		if (at + sizeof(length) + length > VG_SCAN_BYTES) {
			next = found[i].hash;
			break;
		}
		memcpy(to + at, &length, sizeof(length));
		memcpy(to + at + sizeof(length), key, length);
		at += sizeof(length) + length;
	}
	vg_sequence_give(&bucket->sequence, sequence); /* nothing was changed */
	*ret_bytes = at;
	/* More keys of one hash than fit were made to be so: the walk goes on without the rest of them. */
	return next && next == from ? from + 1 : next;
}

static __u32 scan_bucket(struct vg_store *store, struct vg_bucket *bucket, __u64 now_ms, vg_scan_fn fn, void *context)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	__u32 count = 0, length;
	__u64 from = 0;
	size_t bytes;

	do {
		from = copy_keys(store, bucket, from, now_ms, worker->scan, &bytes);
		for (size_t at = 0; at < bytes; at += sizeof(length) + length, count++) {
			memcpy(&length, worker->scan + at, sizeof(length));
			fn(context, worker->scan + at + sizeof(length), length);
		}
	} while (from);
	return count;
}

__u64 vg_store_scan(struct vg_store *store, __u64 cursor, __u32 count, __u64 now_ms, vg_scan_fn fn, void *context)
{
	__u32 seen = 0, buckets_seen = 0;

	/* Empty buckets are work too: a sparse table is walked in bounded steps. */
	for (; cursor < buckets_now(store) && seen < count && buckets_seen < count * 8ULL + 64;
	     cursor++, buckets_seen++)
		seen += scan_bucket(store, &store->buckets[cursor], now_ms, fn, context);
	return cursor < buckets_now(store) ? cursor : 0;
}

ssize_t vg_store_random(struct vg_store *store, __u64 random, __u64 now_ms, void *key)
{
	__u32 buckets = buckets_now(store), start = (__u32)((random & 0xffffffff) * buckets >> 32);
	struct found found[VG_BUCKET_ITEMS_MAX];
	ssize_t result = -ENOENT;

	for (__u32 i = 0; i < buckets && result < 0; i++) {
		struct vg_bucket *bucket = &store->buckets[(start + i) % buckets];
		__u32 sequence, length;
		int count;

		if (!__atomic_load_n((const __u64 *)bucket->tag, __ATOMIC_RELAXED) &&
		    !__atomic_load_n((const __u32 *)(bucket->tag + 8), __ATOMIC_RELAXED) &&
		    !__atomic_load_n(&bucket->next, __ATOMIC_RELAXED))
			continue;
		sequence = vg_sequence_take(&bucket->sequence);
		count = collect(store, bucket, 0, now_ms, found);
		if (count) {
			const void *data = vg_item_key(found[(random >> 32) % (__u32)count].item, &length);

			memcpy(key, data, length);
			result = length;
		}
		vg_sequence_give(&bucket->sequence, sequence);
	}
	return result;
}

/* ---- for views ---- */

/* How many hashes, by their low bits in reverse, the bucket has: a range of its own, halved by each split. */
static __u64 range_of(__u64 control, __u64 hash)
{
	__u32 level = (__u32)(control >> 32 & 31), bucket = (__u32)hash & ((1u << level) - 1);

	return 1ULL << (32 - level - (bucket < (__u32)control));
}

struct vg_bucket *vg_walk_take(struct vg_store *store, __u64 position, __u32 *ret_sequence, __u64 *ret_next)
{
	__u64 hash = vg_cut_position(position), control, range;
	struct vg_bucket *bucket;

	for (;;) {
		bucket = vg_bucket_of(store, hash, &control);
		*ret_sequence = vg_sequence_take(&bucket->sequence);
		if (vg_bucket_of(store, hash, &control) == bucket)
			break;
		vg_sequence_give(&bucket->sequence, *ret_sequence);
	}
	range = range_of(control, hash);
	*ret_next = (position & ~(range - 1)) + range;
	return bucket;
}

int vg_walk_items(const struct vg_store *store, const struct vg_bucket *bucket,
		  int (*fn)(void *context, const struct vg_item *item), void *context)
{
	int error = 0;

	for (const struct vg_bucket *line = bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS && !error; slot++)
			if (line->tag[slot])
				error = fn(context, vg_line_item(store, line, slot));
	return error;
}

/* ---- removing by walking ---- */

/* What reading noted in the slot's word goes into the item: a clock has room there, and a reader may not write it. */
static void settle_use(struct vg_store *store, struct vg_bucket *line, __u32 slot, __u64 now_ms)
{
	__u32 word = vg_line_word(line, slot);

	if (!(word & VG_CELL_USED))
		return;
	__atomic_store_n(&vg_line_item(store, line, slot)->access_clock, vg_access_clock(now_ms), __ATOMIC_RELAXED);
	__atomic_fetch_and(&line->cell[slot], ~VG_CELL_USED, __ATOMIC_RELAXED);
}

/* Remove the bucket's items, or only those whose time has come. */
static __u32 purge_bucket(struct vg_store *store, struct vg_store_worker *worker, struct vg_bucket *bucket,
			  bool expired_only, __u64 now_ms)
{
	__u32 sequence = vg_sequence_take(&bucket->sequence), count = 0;

	vg_cuts_look(store, worker);
	for (struct vg_bucket *line = bucket; line; line = vg_line_next(store, line))
		for (__u32 slot = 0; slot < VG_BUCKET_SLOTS; slot++) {
			const struct vg_item *item = vg_line_item(store, line, slot);

			if (!line->tag[slot])
				continue;
			if (expired_only && !vg_item_expired(item, now_ms)) {
				settle_use(store, line, slot, now_ms);
				continue;
			}
			if (expired_only)
				vg_observe_item(store, VG_OBSERVED_EXPIRED, item);
			else
				vg_observe_cleared_item(store, item);
			vg_slot_remove(store, worker, line, slot);
			count++;
		}
	vg_bucket_compact(store, worker, bucket);
	vg_sequence_give(&bucket->sequence, sequence + (count ? 2 : 0));
	return count;
}

void vg_store_clear(struct vg_store *store)
{
	struct vg_store_worker *worker = vg_worker_self(store);

	vg_cut_clearing(store, true);
	vg_observe_clear_begin(store);
	for (__u32 bucket = 0; bucket < buckets_now(store); bucket++) {
		purge_bucket(store, worker, &store->buckets[bucket], false, 0);
		vg_index_grow(store, worker); /* only to tell what went */
	}
	vg_observe_clear_end(store);
	vg_cut_clearing(store, false);
}

void vg_store_tend(struct vg_store *store, __u64 now_ms)
{
	vg_slabs_settle(&store->slabs, &vg_worker_self(store)->cache, now_ms);
}

__u32 vg_store_sweep(struct vg_store *store, __u32 buckets, __u64 now_ms)
{
	struct vg_store_worker *worker = vg_worker_self(store);
	__u32 all = buckets_now(store), count = 0, from;

	vg_slabs_tick(&store->slabs, &worker->cache, now_ms);
	if (buckets > all)
		buckets = all;
	from = __atomic_fetch_add(&store->sweep_bucket, buckets, __ATOMIC_RELAXED);
	for (__u32 i = 0; i < buckets; i++)
		count += purge_bucket(store, worker, &store->buckets[(from + i) % all], true, now_ms);
	vg_worker_count(worker->expired, count);
	vg_index_grow(store, worker);
	vg_cuts_tend(store, now_ms);
	return count;
}
