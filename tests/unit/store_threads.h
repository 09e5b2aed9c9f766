/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Threads on one store, for the tests that need them. */
#ifndef VG_TESTS_STORE_THREADS_H
#define VG_TESTS_STORE_THREADS_H

#include <pthread.h>

#include "store_fixture.h"
#include "pool/index.h"

#define THREADS 4
#ifdef __SANITIZE_THREAD__
#define ROUNDS 20000
#else
#define ROUNDS 100000
#endif

/* An assertion of cmocka belongs to the main thread: others leave the line of the first failure here. */
static int failed_line;

#define CHECK(condition)                                                                                          \
	do {                                                                                                      \
		int none_ = 0;                                                                                    \
		if (!(condition))                                                                                 \
			__atomic_compare_exchange_n(&failed_line, &none_, __LINE__, false, __ATOMIC_RELAXED,      \
						    __ATOMIC_RELAXED);                                            \
	} while (0)

struct thread {
	pthread_t id;
	struct vg_store *store;
	__u32 number;
	__u64 random;
	void *shared;
};

static inline void run_threads(struct vg_store *store, __u64 seed, void *(*const fn[THREADS])(void *), void *shared)
{
	struct thread threads[THREADS];

	failed_line = 0;
	for (__u32 i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){ .store = store, .number = i, .random = seed + i, .shared = shared };
		assert_int_equal(pthread_create(&threads[i].id, NULL, fn[i], &threads[i]), 0);
	}
	for (__u32 i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i].id, NULL), 0);
	assert_int_equal(failed_line, 0); /* else: the line of the check */
}

#endif
