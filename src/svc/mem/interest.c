/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/interest.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define SETS 4096 /* a power of two; with WAYS: so many keys are watched one by one */
#define WAYS 4
#define SHARED WAYS /* the way of a full set's further keys */

struct set {
	bool locked;
	__u32 watches; /* of all its ways */
	struct {
		__u64 hash;
		__u32 watches, generation;
		bool exists;
	} way[WAYS + 1];
};

struct vg_interest {
	__u64 total; /* first: see vg_interest_note */
	const struct vg_mem *mem;
	struct set set[SETS];
};

int vg_interest_new(struct vg_interest **ret_interest, const struct vg_mem *mem)
{
	struct vg_interest *interest = mem->alloc(mem->context, sizeof(*interest));

	if (!interest)
		return -ENOMEM;
	memset(interest, 0, sizeof(*interest));
	interest->mem = mem;
	*ret_interest = interest;
	return 0;
}

void vg_interest_free(struct vg_interest *interest)
{
	if (interest)
		interest->mem->free(interest->mem->context, interest);
}

/* Held for a few instructions by threads that may hold a bucket; who holds it waits for nobody. */
static struct set *lock(struct vg_interest *interest, __u64 hash)
{
	struct set *set = &interest->set[(hash >> 20) & (SETS - 1)];

	while (__atomic_exchange_n(&set->locked, true, __ATOMIC_ACQUIRE))
		;
	return set;
}

static void unlock(struct set *set)
{
	__atomic_store_n(&set->locked, false, __ATOMIC_RELEASE);
}

/* The key's way; SHARED: it has none of its own. */
static __u32 find(const struct set *set, __u64 hash)
{
	__u32 way = 0;

	while (way < WAYS && !(set->way[way].watches && set->way[way].hash == hash))
		way++;
	return way;
}

void vg_interest_watch(struct vg_interest *interest, __u64 hash, bool exists, struct vg_watch *ret_watch)
{
	struct set *set = lock(interest, hash);
	__u32 way = find(set, hash);

	for (__u32 i = 0; way == SHARED && i < WAYS; i++)
		if (!set->way[i].watches)
			way = i;
	set->way[way].hash = hash;
	set->way[way].exists = exists || way == SHARED;
	set->way[way].watches++;
	__atomic_store_n(&set->watches, set->watches + 1, __ATOMIC_RELAXED);
	*ret_watch = (struct vg_watch){ .hash = hash, .generation = set->way[way].generation, .way = way };
	unlock(set);
	__atomic_add_fetch(&interest->total, 1, __ATOMIC_RELAXED);
}

bool vg_interest_changed(struct vg_interest *interest, const struct vg_watch *watch)
{
	struct set *set = lock(interest, watch->hash);
	bool changed = set->way[watch->way].generation != watch->generation;

	unlock(set);
	return changed;
}

void vg_interest_unwatch(struct vg_interest *interest, const struct vg_watch *watch)
{
	struct set *set = lock(interest, watch->hash);

	assert(set->way[watch->way].watches);
	set->way[watch->way].watches--;
	__atomic_store_n(&set->watches, set->watches - 1, __ATOMIC_RELAXED);
	unlock(set);
	__atomic_sub_fetch(&interest->total, 1, __ATOMIC_RELAXED);
}

void vg_interest_note_slow(struct vg_interest *interest, __u64 hash, bool exists)
{
	struct set *set = &interest->set[(hash >> 20) & (SETS - 1)];
	__u32 way;

	if (!__atomic_load_n(&set->watches, __ATOMIC_RELAXED))
		return;
	set = lock(interest, hash);
	way = find(set, hash);
	/* A key that got a way of its own may still have older watches in the shared one. */
	set->way[SHARED].generation++;
	if (way != SHARED) {
		set->way[way].generation++;
		set->way[way].exists = exists;
	}
	unlock(set);
}

void vg_interest_clear(struct vg_interest *interest)
{
	if (!__atomic_load_n(&interest->total, __ATOMIC_RELAXED))
		return;
	for (int i = 0; i < SETS; i++) {
		struct set *set = lock(interest, (__u64)i << 20);

		for (int way = 0; way <= SHARED; way++) {
			set->way[way].generation += set->way[way].exists;
			if (way != SHARED)
				set->way[way].exists = false;
		}
		unlock(set);
	}
}
