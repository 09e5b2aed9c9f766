/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Waiting, and the memory order of the sequence rule (include/virgo/maps.h), in one place.
 *
 * A sequence word is lock and version in one. Its writer:
 *
 *   take     CAS even -> odd, acquire: nothing of the critical section moves before it, and it sees all that the last
 *            writer did. The release fence behind it keeps the section's stores from becoming visible before the odd
 *            value: a reader that saw one of them must, after its acquire fence, see the sequence moved.
 *   give     store even, release: whoever reads the even value sees the whole section.
 *
 * Its reader: load acquire (even), copy, acquire fence, load again. If the copy took anything from a later section, the
 * fences pair up (release fence before that store, acquire fence after that load) and the second load differs.
 */
#ifndef VG_POOL_LOCK_H
#define VG_POOL_LOCK_H

#include <sched.h>
#include <stdbool.h>
#include <string.h>

#include "virgo/types.h"

#define VG_SPINS_MAX 128 /* then the holder has probably lost its processor: let it run */

static inline void vg_relax(unsigned *spins)
{
	if (++*spins % VG_SPINS_MAX == 0)
		sched_yield();
#if defined(__x86_64__) || defined(__i386__)
	else
		__builtin_ia32_pause();
#endif
}

/* ThreadSanitizer knows no fences: there, the accesses they order are the ones below that it is told not to see. */
#ifdef __SANITIZE_THREAD__
#define VG_RACY __attribute__((no_sanitize("thread"), noinline, unused))
#define VG_FENCE(order) __sync_synchronize()
#else
#define VG_RACY __attribute__((unused)) inline
#define VG_FENCE(order) __atomic_thread_fence(order)
#endif

static inline bool vg_sequence_try(__u32 *sequence, __u32 even)
{
	if (!__atomic_compare_exchange_n(sequence, &even, even + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	VG_FENCE(__ATOMIC_RELEASE);
	return true;
}

/* Returns the even value that was there. */
static inline __u32 vg_sequence_take(__u32 *sequence)
{
	for (unsigned spins = 0;; vg_relax(&spins)) {
		__u32 seen = __atomic_load_n(sequence, __ATOMIC_RELAXED);

		if (!(seen & 1) && vg_sequence_try(sequence, seen))
			return seen;
	}
}

static inline void vg_sequence_give(__u32 *sequence, __u32 even)
{
	__atomic_store_n(sequence, even, __ATOMIC_RELEASE);
}

/* After a reader's copy: is it whole? */
static inline bool vg_sequence_is(const __u32 *sequence, __u32 even)
{
	VG_FENCE(__ATOMIC_ACQUIRE);
	return __atomic_load_n(sequence, __ATOMIC_RELAXED) == even;
}

/*
 * Copies and comparisons that may run while a writer changes the memory: deliberate races, whose result counts only
 * after vg_sequence_is(). Under ThreadSanitizer they are written out, since it watches memcpy wherever it is called.
 */
static VG_RACY void vg_racy_copy(void *to, const void *from, size_t bytes)
{
#ifdef __SANITIZE_THREAD__
	for (size_t i = 0; i < bytes; i++)
		((volatile __u8 *)to)[i] = ((const volatile __u8 *)from)[i];
#else
	memcpy(to, from, bytes);
#endif
}

static VG_RACY bool vg_racy_equal(const void *a, const void *b, size_t bytes)
{
#ifdef __SANITIZE_THREAD__
	for (size_t i = 0; i < bytes; i++)
		if (((const volatile __u8 *)a)[i] != ((const volatile __u8 *)b)[i])
			return false;
	return true;
#else
	return memcmp(a, b, bytes) == 0;
#endif
}

/* A lock for what is short and rarely contended: the shared halves of the allocators. */
struct vg_lock {
	__u32 taken;
};

static inline void vg_lock_take(struct vg_lock *lock)
{
	for (unsigned spins = 0; __atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE); vg_relax(&spins))
		;
}

static inline bool vg_lock_try(struct vg_lock *lock)
{
	return !__atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE);
}

static inline void vg_lock_give(struct vg_lock *lock)
{
	__atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
}

#endif
