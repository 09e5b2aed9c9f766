/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/hotkeys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/lock.h"
#include "svc/mem/shared.h"

struct entry {
	__u32 sequence; /* odd while its worker writes it */
	struct vg_hot_key key;
};

struct vg_hot_sketch {
	__u32 left; /* first, see vg_hot_takes */
	int used;
	__u64 halved_ns;
	struct entry entry[VG_HOT_ENTRIES];
};

int vg_hot_new(struct vg_hot_sketch **ret_sketch, const struct vg_env *env)
{
	struct vg_hot_sketch *sketch = env->mem->alloc(env->mem->context, sizeof(*sketch));

	if (!sketch)
		return -ENOMEM;
	memset(sketch, 0, sizeof(*sketch));
	sketch->left = VG_HOT_SAMPLE;
	*ret_sketch = sketch;
	return 0;
}

void vg_hot_free(struct vg_hot_sketch *sketch, const struct vg_mem *mem)
{
	mem->free(mem->context, sketch);
}

/* ---- writing: the worker alone ---------------------------------------------------------------------------------- */

/* A reader that copies in between sees an odd sequence, or another one behind its copy than before it. */
static void begin(struct entry *entry)
{
	__atomic_store_n(&entry->sequence, entry->sequence + 1, __ATOMIC_RELAXED);
	VG_FENCE(__ATOMIC_RELEASE);
}

static void end(struct entry *entry)
{
	__atomic_store_n(&entry->sequence, entry->sequence + 1, __ATOMIC_RELEASE);
}

static void halve(struct vg_hot_sketch *sketch, __u64 now_ns)
{
	if (now_ns - sketch->halved_ns < VG_HOT_HALVING_NS)
		return;
	sketch->halved_ns = now_ns;
	for (int i = 0; i < sketch->used; i++) {
		begin(&sketch->entry[i]);
		sketch->entry[i].key.count /= 2;
		sketch->entry[i].key.error /= 2;
		end(&sketch->entry[i]);
	}
}

/* The key's entry, a free one, or the one with the smallest count, which is to become the key's. */
static struct entry *choose(struct vg_hot_sketch *sketch, __u64 hash, bool *ret_own)
{
	struct entry *least = &sketch->entry[0];

	*ret_own = false;
	for (int i = 0; i < sketch->used; i++) {
		struct entry *entry = &sketch->entry[i];

		if (entry->key.hash == hash) {
			*ret_own = true;
			return entry;
		}
		if (entry->key.count < least->key.count)
			least = entry;
	}
	return sketch->used < VG_HOT_ENTRIES ? &sketch->entry[sketch->used++] : least;
}

void vg_hot_take(struct vg_hot_sketch *sketch, struct vg_env *env, const void *key, size_t length, __u64 hash)
{
	struct entry *entry;
	bool own;

	/* Not every n-th: a client that asks in rounds of n would be seen at one place only. */
	sketch->left = 1 + (__u32)(vg_env_random(env) >> 32) % (2 * VG_HOT_SAMPLE - 1);
	halve(sketch, env->clock->monotonic_ns);
	entry = choose(sketch, hash, &own);
	begin(entry);
	if (!own) {
		entry->key.hash = hash;
		entry->key.error = entry->key.count;
		entry->key.length = (__u32)length;
		memcpy(entry->key.key, key, length < VG_HOT_KEY_BYTES ? length : VG_HOT_KEY_BYTES);
	}
	entry->key.count++;
	end(entry);
}

/* ---- reading: anybody ------------------------------------------------------------------------------------------- */

#define TRIES_MAX 16 /* a writer that is always there first: its entry is left out */

/* The words are written while we copy: what is torn is thrown away. */
__attribute__((no_sanitize("thread"))) static bool copy(const struct entry *from, struct vg_hot_key *to)
{
	for (int tries = 0; tries < TRIES_MAX; tries++) {
		__u32 before = __atomic_load_n(&from->sequence, __ATOMIC_ACQUIRE);
		const volatile __u32 *source = (const volatile __u32 *)&from->key;

		for (size_t i = 0; i < sizeof(*to) / sizeof(__u32); i++)
			((__u32 *)to)[i] = source[i];
		VG_FENCE(__ATOMIC_ACQUIRE);
		if (!(before & 1) && __atomic_load_n(&from->sequence, __ATOMIC_RELAXED) == before)
			return before != 0;
	}
	return false;
}
_Static_assert(sizeof(struct vg_hot_key) % sizeof(__u32) == 0, "copy() copies words");

static int hotter(const void *a, const void *b)
{
	const struct vg_hot_key *one = a, *other = b;

	return one->count < other->count ? 1 : one->count > other->count ? -1 : 0;
}

/* Add a key to those collected; the same one of another worker is the same. */
static int add(struct vg_hot_key *all, int used, int room, const struct vg_hot_key *key)
{
	for (int i = 0; i < used; i++) {
		if (all[i].hash != key->hash)
			continue;
		all[i].count += key->count;
		all[i].error += key->error;
		return used;
	}
	if (used < room)
		all[used++] = *key;
	return used;
}

int vg_hot_report(const struct vg_env *env, struct vg_hot_key *keys, int count, __u64 *ret_samples)
{
	const struct vg_mem_shared *shared = vg_mem_shared(env);
	int room = VG_HOT_ENTRIES * (int)env->workers, used = 0;
	struct vg_hot_key *all = env->mem->alloc(env->mem->context, (size_t)room * sizeof(*all)), one;

	*ret_samples = 0;
	if (!all)
		return 0;
	for (__u32 worker = 0; worker < VG_MEM_WORKERS_MAX; worker++) {
		const struct vg_hot_sketch *sketch =
			shared->env[worker] ? vg_mem_worker(shared->env[worker])->hot : NULL;

		for (int i = 0; sketch && i < VG_HOT_ENTRIES; i++) {
			if (!copy(&sketch->entry[i], &one) || !one.count)
				continue;
			*ret_samples += one.count - one.error;
			used = add(all, used, room, &one);
		}
	}
	qsort(all, (size_t)used, sizeof(*all), hotter);
	used = used < count ? used : count;
	memcpy(keys, all, (size_t)used * sizeof(*keys));
	env->mem->free(env->mem->context, all);
	return used;
}
