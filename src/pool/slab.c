/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "pool/slab.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

/* What the process knows of a slab; under its class's lock. Free cells are linked through their first four bytes. */
struct vg_slab {
	__u32 free;	   /* arena offset of the first free cell, 0: none */
	__u16 carved;	   /* cells from here on were never used */
	__u16 used;	   /* cells handed out, those in caches included */
	__u32 next, previous; /* in its class's list, slab number + 1 */
	bool empty;	   /* in its class's list of empty ones; atomic */
	bool counted;	   /* in `empties`: it may serve any class */
	bool draining;	   /* in no list until it is empty */
	__u64 emptied_ms;
};

static __u32 *link_of(struct vg_slabs *slabs, __u32 cell)
{
	return (__u32 *)(slabs->arena + cell);
}

static __u32 slab_offset(const struct vg_slabs *slabs, __u32 number)
{
	return slabs->offset + number * VG_SLAB_BYTES;
}

static void list_append(struct vg_slabs *slabs, struct vg_slab_list *list, __u32 number)
{
	struct vg_slab *slab = &slabs->slab[number];

	slab->next = 0;
	slab->previous = list->last;
	if (list->last)
		slabs->slab[list->last - 1].next = number + 1;
	else
		__atomic_store_n(&list->first, number + 1, __ATOMIC_RELAXED);
	list->last = number + 1;
}

static void list_remove(struct vg_slabs *slabs, struct vg_slab_list *list, __u32 number)
{
	struct vg_slab *slab = &slabs->slab[number];

	if (slab->next)
		slabs->slab[slab->next - 1].previous = slab->previous;
	else
		list->last = slab->previous;
	if (slab->previous)
		slabs->slab[slab->previous - 1].next = slab->next;
	else
		__atomic_store_n(&list->first, slab->next, __ATOMIC_RELAXED);
}

static void empty_count(struct vg_slabs *slabs, __u32 number)
{
	slabs->slab[number].counted = true;
	__atomic_fetch_add(&slabs->empties, 1, __ATOMIC_RELAXED);
}

static void empty_add(struct vg_slabs *slabs, struct vg_slab_class *class, __u32 number)
{
	slabs->slab[number].emptied_ms = __atomic_load_n(&slabs->now_ms, __ATOMIC_RELAXED);
	list_append(slabs, &class->empty, number);
	if (class != &slabs->class[VG_SLAB_CLASS_LINE])
		empty_count(slabs, number);
	__atomic_store_n(&slabs->slab[number].empty, true, __ATOMIC_RELEASE);
}

static void empty_remove(struct vg_slabs *slabs, struct vg_slab_class *class, __u32 number)
{
	__atomic_store_n(&slabs->slab[number].empty, false, __ATOMIC_RELAXED);
	if (slabs->slab[number].counted)
		__atomic_fetch_sub(&slabs->empties, 1, __ATOMIC_RELAXED);
	slabs->slab[number].counted = false;
	list_remove(slabs, &class->empty, number);
}

/* Take one cell of a slab that has one; the class's lock is held. */
static __u32 slab_take(struct vg_slabs *slabs, struct vg_slab_class *class, __u32 number)
{
	struct vg_slab *slab = &slabs->slab[number];
	__u32 cell = slab->free;

	if (cell)
		slab->free = *link_of(slabs, cell);
	else
		cell = slab_offset(slabs, number) + slab->carved++ * class->cell_bytes;
	class->used++;
	if (slab->used++ == 0) {
		empty_remove(slabs, class, number);
		list_append(slabs, &class->partial, number);
	}
	if (slab->used == class->cells)
		list_remove(slabs, &class->partial, number);
	return cell;
}

static void slab_give(struct vg_slabs *slabs, struct vg_slab_class *class, __u32 cell)
{
	__u32 number = (cell - slabs->offset) / VG_SLAB_BYTES;
	struct vg_slab *slab = &slabs->slab[number];

	assert(slab->used > 0);
	__atomic_store_n(link_of(slabs, cell), slab->free, __ATOMIC_RELAXED);
	slab->free = cell;
	class->used--;
	if (slab->used-- == class->cells && !slab->draining)
		list_append(slabs, &class->partial, number);
	if (slab->used == 0) {
		if (!slab->draining)
			list_remove(slabs, &class->partial, number);
		slab->draining = false;
		empty_add(slabs, class, number);
	}
}

/* Does the slab rest? Its class's lock is held. */
static bool is_resting(const struct vg_slabs *slabs, __u32 class, __u32 number)
{
	return class == VG_SLAB_CLASS_LINE && slabs->slab[number].emptied_ms + VG_SLAB_REST_MS >
						       __atomic_load_n(&slabs->now_ms, __ATOMIC_RELAXED);
}

/* An empty slab of any class. One lock at a time: the caller holds none. */
static bool steal_slab(struct vg_slabs *slabs, __u32 *ret_number)
{
	for (__u32 i = 0; i < VG_SLAB_CLASSES; i++) {
		struct vg_slab_class *class = &slabs->class[i];
		__u32 number;
		bool found;

		if (!__atomic_load_n(&class->empty.first, __ATOMIC_RELAXED))
			continue;
		vg_lock_take(&class->lock);
		number = class->empty.first - 1;
		found = class->empty.first && !is_resting(slabs, i, number);
		if (found) {
			empty_remove(slabs, class, number);
			class->slabs--;
		}
		vg_lock_give(&class->lock);
		if (found) {
			*ret_number = number;
			return true;
		}
	}
	return false;
}

static bool fresh_slab(struct vg_slabs *slabs, __u32 *ret_number)
{
	bool found;

	if (__atomic_load_n(&slabs->fresh, __ATOMIC_RELAXED) == __atomic_load_n(&slabs->index, __ATOMIC_RELAXED))
		return false;
	vg_lock_take(&slabs->fresh_lock);
	found = slabs->fresh > slabs->index;
	if (found) {
		*ret_number = slabs->fresh - 1;
		__atomic_store_n(&slabs->fresh, slabs->fresh - 1, __ATOMIC_RELAXED);
	}
	vg_lock_give(&slabs->fresh_lock);
	return found;
}

static __u32 free_slabs(const struct vg_slabs *slabs)
{
	__u32 fresh = __atomic_load_n(&slabs->fresh, __ATOMIC_RELAXED);
	__u32 index = __atomic_load_n(&slabs->index, __ATOMIC_RELAXED);

	return (fresh > index ? fresh - index : 0) + __atomic_load_n(&slabs->empties, __ATOMIC_RELAXED);
}

static bool is_reserved(const struct vg_slabs *slabs, const struct vg_slab_class *class)
{
	return class->cell_bytes > VG_SLAB_SMALL_BYTES && free_slabs(slabs) <= slabs->reserve;
}

/* A slab more for the class. */
static bool add_slab(struct vg_slabs *slabs, __u32 class_number)
{
	struct vg_slab_class *class = &slabs->class[class_number];
	__u32 number;

	if (is_reserved(slabs, class) || (!fresh_slab(slabs, &number) && !steal_slab(slabs, &number)))
		return false;

	/* The slab is this thread's alone. Its class is written before any cell of it can be named in the index. */
	slabs->slab[number] = (struct vg_slab){ 0 };
	vg_lock_take(&class->lock);
	__atomic_store_n(&slabs->classes[number], (__u8)(class_number + 1), __ATOMIC_RELEASE);
	empty_add(slabs, class, number);
	class->slabs++;
	vg_lock_give(&class->lock);
	return true;
}

/* Take this very slab if no cell of it is in use. */
static bool take_slab(struct vg_slabs *slabs, __u32 number)
{
	__u32 class_number = __atomic_load_n(&slabs->classes[number], __ATOMIC_ACQUIRE) - 1u;
	struct vg_slab_class *class;
	bool found;

	if (class_number >= VG_SLAB_CLASSES)
		return false;
	class = &slabs->class[class_number];
	vg_lock_take(&class->lock);
	/* A slab's class is written before it is listed: if this class's list has it, the class is still this one. */
	found = __atomic_load_n(&slabs->slab[number].empty, __ATOMIC_ACQUIRE) &&
		__atomic_load_n(&slabs->classes[number], __ATOMIC_RELAXED) == class_number + 1 &&
		!is_resting(slabs, class_number, number);
	if (found) {
		empty_remove(slabs, class, number);
		class->slabs--;
	}
	vg_lock_give(&class->lock);
	return found;
}

bool vg_slabs_extend_index(struct vg_slabs *slabs, __u64 bytes)
{
	bool done = true;

	if (bytes <= (__u64)__atomic_load_n(&slabs->index, __ATOMIC_RELAXED) * VG_SLAB_BYTES)
		return true;
	vg_lock_take(&slabs->fresh_lock);
	while (done && (__u64)slabs->index * VG_SLAB_BYTES < bytes) {
		__u32 next = slabs->index;

		done = next < slabs->slabs_max && (next < slabs->fresh || take_slab(slabs, next));
		if (!done)
			break;
		__atomic_store_n(&slabs->classes[next], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&slabs->index, next + 1, __ATOMIC_RELAXED);
		if (slabs->fresh < slabs->index)
			__atomic_store_n(&slabs->fresh, slabs->index, __ATOMIC_RELAXED);
	}
	vg_lock_give(&slabs->fresh_lock);
	return done;
}

/* Give cells back until the cache holds `left` of the class. */
static void flush(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class, __u32 left)
{
	__u32 *count = &cache->class[class].count;

	if (*count <= left)
		return;
	__atomic_fetch_add(&slabs->releases, 1, __ATOMIC_RELAXED);
	vg_lock_take(&slabs->class[class].lock);
	while (*count > left)
		slab_give(slabs, &slabs->class[class], cache->class[class].cell[--*count]);
	vg_lock_give(&slabs->class[class].lock);
}

static void settle(struct vg_slabs *slabs, struct vg_slab_cache *cache)
{
	for (__u32 class = 0; class < VG_SLAB_CLASSES; class++)
		flush(slabs, cache, class, 0);
}

void vg_slabs_settle(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u64 now_ms)
{
	__u32 asked = __atomic_load_n(&slabs->asked, __ATOMIC_RELAXED);

	if (now_ms - cache->settled_ms < VG_SLAB_SETTLE_MS && cache->asked == asked)
		return;
	cache->settled_ms = now_ms;
	cache->asked = asked;
	settle(slabs, cache);
}

/* Half of what the empty cache may hold; with `partial` of slabs that are in use anyway. */
static bool refill_of(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class_number, bool partial)
{
	struct vg_slab_class *class = &slabs->class[class_number];
	__u32 wanted = class->cache_cells / 2, count = 0;

	vg_lock_take(&class->lock);
	while (count < wanted &&
	       (class->partial.first || (!partial && class->empty.last && !is_reserved(slabs, class)))) {
		__u32 number = class->partial.first ? class->partial.first : class->empty.last;

		cache->class[class_number].cell[count++] = slab_take(slabs, class, number - 1);
	}
	vg_lock_give(&class->lock);
	cache->class[class_number].count = count;
	return count > 0;
}

static bool refill(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class)
{
	bool filled;

	vg_slabs_settle(slabs, cache, __atomic_load_n(&slabs->now_ms, __ATOMIC_RELAXED));
	do
		filled = refill_of(slabs, cache, class, false);
	while (!filled && add_slab(slabs, class));
	return filled;
}

__u32 vg_slab_get(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class)
{
	assert(class < VG_SLAB_CLASSES);
	if (!cache->class[class].count && !refill(slabs, cache, class))
		return 0;
	return cache->class[class].cell[--cache->class[class].count];
}

__u32 vg_slab_get_partial(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class)
{
	if (!cache->class[class].count && !refill_of(slabs, cache, class, true))
		return 0;
	return cache->class[class].cell[--cache->class[class].count];
}

void vg_slab_put(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class, __u32 cell)
{
	assert(class < VG_SLAB_CLASSES && cell >= slabs->offset);
	if (cache->class[class].count == slabs->class[class].cache_cells) {
		flush(slabs, cache, class, slabs->class[class].cache_cells / 2);
		vg_slabs_settle(slabs, cache, __atomic_load_n(&slabs->now_ms, __ATOMIC_RELAXED));
	}
	cache->class[class].cell[cache->class[class].count++] = cell;
}

/* ---- emptying a slab ---- */

void vg_slab_put_back(struct vg_slabs *slabs, __u32 class, __u32 cell)
{
	vg_lock_take(&slabs->class[class].lock);
	slab_give(slabs, &slabs->class[class], cell);
	vg_lock_give(&slabs->class[class].lock);
}

void vg_slab_flush(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u32 class)
{
	flush(slabs, cache, class, 0);
}

void vg_slabs_ask(struct vg_slabs *slabs)
{
	__atomic_fetch_add(&slabs->asked, 1, __ATOMIC_RELAXED);
}

bool vg_slabs_reserve_whole(const struct vg_slabs *slabs)
{
	return free_slabs(slabs) >= slabs->reserve;
}

bool vg_slab_has_room(struct vg_slabs *slabs, __u32 class_number)
{
	struct vg_slab_class *class = &slabs->class[class_number];
	bool room;

	vg_lock_take(&class->lock);
	room = class->partial.first || (class->empty.first && !is_reserved(slabs, class));
	vg_lock_give(&class->lock);
	return room || (free_slabs(slabs) && !is_reserved(slabs, class));
}

/* The class with most free bytes, if that is a slab and more; its lock is not held any more. */
static bool find_wasteful(struct vg_slabs *slabs, __u32 *ret_class)
{
	__u64 most = 0;

	for (__u32 i = VG_SLAB_CLASS_ITEM; i < VG_SLAB_CLASS_ITEM + VG_SLAB_SIZES; i++) {
		struct vg_slab_class *class = &slabs->class[i];
		__u64 free;

		vg_lock_take(&class->lock);
		free = (__u64)class->slabs * class->cells - class->used;
		vg_lock_give(&class->lock);
		if (free > class->cells && free * class->cell_bytes > most) {
			most = free * class->cell_bytes;
			*ret_class = i;
		}
	}
	return most;
}

#define SPARSE_LOOK 128 /* slabs looked at: the least used of them need not be the least of all */

static bool is_excluded(const struct vg_slab_excluded *excluded, __u32 number)
{
	for (__u32 i = 0; i < excluded->count; i++)
		if (excluded->number[i] == number)
			return true;
	return false;
}

bool vg_slab_find_sparse(struct vg_slabs *slabs, const struct vg_slab_excluded *excluded, __u32 *ret_number,
			 __u32 *ret_class)
{
	struct vg_slab_class *class;
	__u32 best = 0, at;

	if (!find_wasteful(slabs, ret_class))
		return false;
	class = &slabs->class[*ret_class];
	vg_lock_take(&class->lock);
	at = class->partial.first;
	for (int i = 0; at && i < SPARSE_LOOK; i++, at = slabs->slab[at - 1].next)
		if (!is_excluded(excluded, at - 1) &&
		    (!best || slabs->slab[at - 1].used < slabs->slab[best - 1].used))
			best = at;
	vg_lock_give(&class->lock);
	*ret_number = best - 1;
	return best;
}

bool vg_slab_find_next(struct vg_slabs *slabs, __u32 *hand, __u32 *ret_number, __u32 *ret_class)
{
	__u32 first = __atomic_load_n(&slabs->index, __ATOMIC_RELAXED);

	for (__u32 i = 0; i < slabs->slabs_max; i++) {
		__u32 number = *hand < first || *hand >= slabs->slabs_max ? first : *hand;

		*hand = number + 1;
		if (number < slabs->slabs_max && vg_slab_class_of(slabs, number) < VG_SLAB_SIZES) {
			*ret_number = number;
			*ret_class = vg_slab_class_of(slabs, number);
			return true;
		}
	}
	return false;
}

bool vg_slab_drain(struct vg_slabs *slabs, __u32 number, __u32 class_number)
{
	struct vg_slab_class *class = &slabs->class[class_number];
	struct vg_slab *slab = &slabs->slab[number];
	bool found;

	vg_lock_take(&class->lock);
	found = vg_slab_class_of(slabs, number) == class_number && slab->used && !slab->draining;
	if (found && slab->used < class->cells)
		list_remove(slabs, &class->partial, number);
	if (found)
		slab->draining = true;
	vg_lock_give(&class->lock);
	return found;
}

bool vg_slab_drained(struct vg_slabs *slabs, __u32 number, __u32 class_number)
{
	struct vg_slab_class *class = &slabs->class[class_number];
	struct vg_slab *slab = &slabs->slab[number];
	bool empty;

	vg_lock_take(&class->lock);
	empty = !slab->draining;
	if (!empty && slab->used < class->cells)
		list_append(slabs, &class->partial, number);
	slab->draining = false;
	vg_lock_give(&class->lock);
	return empty;
}

/* Slabs of lines that have rested are anyone's from now on. */
static void count_rested(struct vg_slabs *slabs)
{
	struct vg_slab_class *lines = &slabs->class[VG_SLAB_CLASS_LINE];

	vg_lock_take(&lines->lock);
	for (__u32 at = lines->empty.first; at && !is_resting(slabs, VG_SLAB_CLASS_LINE, at - 1);
	     at = slabs->slab[at - 1].next)
		if (!slabs->slab[at - 1].counted)
			empty_count(slabs, at - 1);
	vg_lock_give(&lines->lock);
}

void vg_slabs_tick(struct vg_slabs *slabs, struct vg_slab_cache *cache, __u64 now_ms)
{
	vg_slabs_settle(slabs, cache, now_ms);
	__atomic_store_n(&slabs->now_ms, now_ms, __ATOMIC_RELAXED);
	count_rested(slabs);
}

int vg_slabs_init(struct vg_slabs *slabs, void *arena, __u32 offset, __u32 slabs_max, __u8 *classes)
{
	memset(slabs, 0, sizeof(*slabs));
	slabs->arena = arena;
	slabs->offset = offset;
	slabs->slabs_max = slabs->fresh = slabs_max;
	slabs->classes = classes;
	slabs->reserve = 1 + slabs_max / 1024;
	for (__u32 i = 0; i < VG_SLAB_CLASSES; i++) {
		struct vg_slab_class *class = &slabs->class[i];

		class->cell_bytes = i == VG_SLAB_CLASS_LINE ? 64 : vg_slab_size(i % VG_SLAB_SIZES);
		class->cells = VG_SLAB_BYTES / class->cell_bytes;
		class->cache_cells = VG_SLAB_CACHE_BYTES / class->cell_bytes;
		if (class->cache_cells > VG_SLAB_CACHE_CELLS)
			class->cache_cells = VG_SLAB_CACHE_CELLS;
	}
	slabs->slab = mmap(NULL, slabs_max * sizeof(struct vg_slab), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slabs->slab == MAP_FAILED) {
		slabs->slab = NULL;
		return -errno;
	}
	return 0;
}

void vg_slabs_deinit(struct vg_slabs *slabs)
{
	if (slabs->slab)
		munmap(slabs->slab, slabs->slabs_max * sizeof(struct vg_slab));
	slabs->slab = NULL;
}

bool vg_slab_claim(struct vg_slabs *slabs, __u64 *claimed, __u32 class, __u32 cell)
{
	__u32 number, within, bit;

	if (cell < slabs->offset || (cell - slabs->offset) / VG_SLAB_BYTES >= slabs->slabs_max)
		return false;
	number = (cell - slabs->offset) / VG_SLAB_BYTES;
	within = cell - slab_offset(slabs, number);
	if (number < slabs->index || slabs->classes[number] != class + 1 || within % slabs->class[class].cell_bytes ||
	    within / slabs->class[class].cell_bytes >= slabs->class[class].cells)
		return false;
	bit = (cell - slabs->offset) / VG_CELL_ALIGN;
	if (claimed[bit / 64] >> (bit % 64) & 1)
		return false;
	claimed[bit / 64] |= 1ULL << (bit % 64);
	slabs->slab[number].used++;
	return true;
}

void vg_slabs_claimed(struct vg_slabs *slabs, const __u64 *claimed)
{
	__u32 first_used = slabs->slabs_max;

	for (__u32 number = slabs->slabs_max; number-- > slabs->index;)
		if (slabs->slab[number].used)
			first_used = number;
	for (__u32 number = slabs->index; number < first_used; number++)
		slabs->classes[number] = 0;
	slabs->fresh = first_used;

	for (__u32 number = first_used; number < slabs->slabs_max; number++) {
		struct vg_slab *slab = &slabs->slab[number];
		struct vg_slab_class *class;

		if (!slab->used) /* nobody claimed a cell: any class will do */
			slabs->classes[number] = VG_SLAB_CLASS_ITEM + 1;
		class = &slabs->class[slabs->classes[number] - 1];
		class->slabs++;
		class->used += slab->used;
		if (!slab->used) {
			empty_add(slabs, class, number);
			continue;
		}
		slab->carved = (__u16)class->cells;
		for (__u32 i = class->cells; i-- > 0;) {
			__u32 cell = slab_offset(slabs, number) + i * class->cell_bytes;
			__u32 bit = (cell - slabs->offset) / VG_CELL_ALIGN;

			if (claimed[bit / 64] >> (bit % 64) & 1)
				continue;
			*link_of(slabs, cell) = slab->free;
			slab->free = cell;
		}
		if (slab->used < class->cells)
			list_append(slabs, &class->partial, number);
	}
}

void vg_slab_figures(struct vg_slabs *slabs, __u32 number, __u32 *ret_slabs, __u32 *ret_used)
{
	struct vg_slab_class *class = &slabs->class[number];

	vg_lock_take(&class->lock);
	*ret_slabs = class->slabs;
	*ret_used = class->used;
	vg_lock_give(&class->lock);
}
