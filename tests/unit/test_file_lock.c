/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Locks of files, against a model that knows of every byte who holds it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "svc/file/lock_table.h"

#define FILES 3
#define SESSIONS 3
#define OWNERS 3 /* of a session */
#define DESCRIPTORS 2 /* of a session and file */
#define CELLS 48 /* the last one stands for all bytes behind it */
#define WAITS_MAX 512
#define STEPS 60000

static void *memory_alloc(void *context, size_t bytes)
{
	int *left = context;

	if (!*left)
		return NULL;
	(*left)--;
	return malloc(bytes);
}

static void memory_free(void *context, void *memory)
{
	(*(int *)context)++;
	free(memory);
}

static int pieces;
static struct vg_mem memory = { memory_alloc, memory_free, &pieces };
static struct vg_locks *locks;
static struct vg_lock_session session[SESSIONS];

/* What a waiting request has come to. */
struct promise {
	int result; /* EINPROGRESS: nothing yet */
	bool dropped;
};

static void on_result(void *context, int result)
{
	struct promise *promise = context;

	assert_int_equal(promise->result, -EINPROGRESS);
	promise->result = result;
}

static int setup(void **state)
{
	pieces = 1 << 20;
	memset(session, 0, sizeof(session));
	return vg_locks_new(&locks, &memory, 42);
}

static int teardown(void **state)
{
	for (int i = 0; i < SESSIONS; i++)
		vg_locks_end_session(locks, &session[i], NULL);
	assert_int_equal(vg_locks_figures(locks)->held, 0);
	assert_int_equal(vg_locks_figures(locks)->waiting, 0);
	vg_locks_free(locks);
	assert_int_equal(pieces, 1 << 20);
	return 0;
}

static struct vg_lock_request ask(int who, __u64 owner, __u8 kind, __u64 start, __u64 length)
{
	return (struct vg_lock_request){ .inode = 1, .session = &session[who], .owner = owner, .descriptor = 1,
					 .start = start, .length = length, .kind = kind };
}

static int set(int who, __u64 owner, __u8 kind, __u64 start, __u64 length)
{
	const struct vg_lock_request request = ask(who, owner, kind, start, length);

	return vg_lock_set(locks, &request, NULL, NULL);
}

static int set_waiting(int who, __u64 owner, __u8 kind, __u64 start, __u64 length, struct promise *promise)
{
	const struct vg_lock_request request = ask(who, owner, kind, start, length);

	promise->result = -EINPROGRESS;
	return vg_lock_set(locks, &request, on_result, promise);
}

/* ---- single behaviours ----------------------------------------------------------------------------------------- */

static void test_exclusive_and_shared(void **state)
{
	assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, 10, 10), 0);
	assert_int_equal(set(1, 1, VG_FILE_LOCK_SHARED, 15, 10), 0);
	assert_int_equal(set(0, 2, VG_FILE_LOCK_EXCLUSIVE, 19, 1), -EAGAIN); /* owners of one session too */
	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 10, 5), 0);	     /* its own is not in the way */
	assert_int_equal(set(1, 1, VG_FILE_LOCK_SHARED, 14, 1), -EAGAIN);
	assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 0, 0), 0);
	assert_int_equal(set(0, 2, VG_FILE_LOCK_EXCLUSIVE, 0, 15), 0);
	assert_int_equal(set(0, 2, VG_FILE_LOCK_EXCLUSIVE, 25, 0), 0);
	assert_int_equal(set(1, 2, VG_FILE_LOCK_EXCLUSIVE, VG_LOCK_LAST, 1), -EAGAIN);
}

static void test_holder_is_told(void **state)
{
	struct vg_lock_request request = ask(1, 7, VG_FILE_LOCK_SHARED, 0, 0), holder;

	assert_int_equal(vg_lock_test(locks, &request, &holder), 0);
	assert_int_equal(holder.kind, VG_FILE_UNLOCK);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 100, 0), 0);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, 10, 5), 0);
	assert_int_equal(vg_lock_test(locks, &request, &holder), 0);
	assert_int_equal(holder.kind, VG_FILE_LOCK_EXCLUSIVE);
	assert_int_equal(holder.start, 100);
	assert_int_equal(holder.length, 0);
	assert_ptr_equal(holder.session, &session[0]);
	request.kind = VG_FILE_LOCK_EXCLUSIVE;
	assert_int_equal(vg_lock_test(locks, &request, &holder), 0);
	assert_int_equal(holder.start, 10);
	assert_int_equal(holder.length, 5);
	request.session = &session[0];
	request.owner = 1;
	assert_int_equal(vg_lock_test(locks, &request, &holder), 0);
	assert_int_equal(holder.kind, VG_FILE_UNLOCK); /* nobody waits for itself */
}

static void test_bad_ranges(void **state)
{
	assert_int_equal(set(0, 1, 3, 0, 0), -EINVAL);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, VG_LOCK_LAST + 1, 0), -EINVAL);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, 1, ~0ULL), -EINVAL);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, VG_LOCK_LAST, 2), -EINVAL);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, VG_LOCK_LAST, 1), 0);
	assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 5, 0), 0);
	assert_int_equal(vg_locks_figures(locks)->held, 0);
}

static void test_waiting_is_granted_in_order(void **state)
{
	static struct promise first, second, third;

	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 0, 10), 0);
	assert_int_equal(set_waiting(1, 1, VG_FILE_LOCK_EXCLUSIVE, 5, 10, &first), -EINPROGRESS);
	assert_int_equal(set_waiting(1, 2, VG_FILE_LOCK_SHARED, 0, 1, &second), -EINPROGRESS);
	assert_int_equal(set_waiting(2, 1, VG_FILE_LOCK_SHARED, 9, 1, &third), -EINPROGRESS);
	assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 0, 1), 0);
	assert_int_equal(second.result, 0);
	assert_int_equal(first.result, -EINPROGRESS);
	assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 0, 0), 0);
	assert_int_equal(first.result, 0);
	assert_int_equal(third.result, -EINPROGRESS);
	vg_locks_end_session(locks, &session[1], NULL);
	assert_int_equal(third.result, 0);
}

static void test_deadlock_is_refused(void **state)
{
	static struct promise a, b, c;

	for (int i = 0; i < 3; i++)
		assert_int_equal(set(i, 1, VG_FILE_LOCK_EXCLUSIVE, (__u64)i, 1), 0);
	assert_int_equal(set_waiting(0, 1, VG_FILE_LOCK_SHARED, 1, 1, &a), -EINPROGRESS);
	assert_int_equal(set_waiting(1, 1, VG_FILE_LOCK_SHARED, 2, 1, &b), -EINPROGRESS);
	assert_int_equal(set_waiting(2, 1, VG_FILE_LOCK_SHARED, 0, 1, &c), -EDEADLK);
	assert_int_equal(set_waiting(2, 2, VG_FILE_LOCK_SHARED, 0, 1, &c), -EINPROGRESS); /* another owner may */
	assert_int_equal(vg_locks_figures(locks)->deadlocks, 1);
	assert_int_equal(set(2, 1, VG_FILE_UNLOCK, 0, 0), 0);
	assert_int_equal(b.result, 0);
	assert_int_equal(a.result, -EINPROGRESS);
}

static void test_two_that_share_cannot_both_rise(void **state)
{
	static struct promise a, b;

	assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, 0, 0), 0);
	assert_int_equal(set(1, 1, VG_FILE_LOCK_SHARED, 0, 0), 0);
	assert_int_equal(set_waiting(0, 1, VG_FILE_LOCK_EXCLUSIVE, 0, 0, &a), -EINPROGRESS);
	assert_int_equal(set_waiting(1, 1, VG_FILE_LOCK_EXCLUSIVE, 0, 0, &b), -EDEADLK);
	assert_int_equal(set(1, 1, VG_FILE_UNLOCK, 0, 0), 0);
	assert_int_equal(a.result, 0);
}

static void test_whole_files_are_another_space(void **state)
{
	struct vg_lock_request whole = ask(1, 1, VG_FILE_LOCK_EXCLUSIVE, 7, 3), holder;
	static struct promise a;

	whole.whole = true;
	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 0, 0), 0);
	assert_int_equal(vg_lock_set(locks, &whole, NULL, NULL), 0);
	whole.session = &session[2];
	assert_int_equal(vg_lock_test(locks, &whole, &holder), 0);
	assert_int_equal(holder.start, 0);
	assert_int_equal(holder.length, 0);
	whole.kind = VG_FILE_LOCK_SHARED;
	a.result = -EINPROGRESS;
	assert_int_equal(vg_lock_set(locks, &whole, on_result, &a), -EINPROGRESS);
	whole.session = &session[1]; /* lowered: the other may share it */
	assert_int_equal(vg_lock_set(locks, &whole, NULL, NULL), 0);
	assert_int_equal(a.result, 0);
	whole.kind = VG_FILE_LOCK_EXCLUSIVE; /* raised in vain: given back, as flock(2) does */
	assert_int_equal(vg_lock_set(locks, &whole, NULL, NULL), -EAGAIN);
	whole.session = &session[2];
	assert_int_equal(vg_lock_set(locks, &whole, NULL, NULL), 0);
}

static void test_interrupted_and_closed(void **state)
{
	struct vg_lock_request request = ask(1, 1, VG_FILE_LOCK_SHARED, 0, 20);
	static struct promise a, b, c;

	assert_int_equal(set(1, 1, VG_FILE_LOCK_SHARED, 50, 1), 0);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 0, 10), 0);
	assert_int_equal(set_waiting(1, 1, VG_FILE_LOCK_SHARED, 0, 10, &a), -EINPROGRESS);
	assert_int_equal(set_waiting(1, 1, VG_FILE_LOCK_SHARED, 5, 30, &b), -EINPROGRESS);
	request.start = 30;
	request.length = 21;
	assert_int_equal(vg_lock_interrupt(locks, &request), 1);
	assert_int_equal(b.result, -EINTR);
	assert_int_equal(a.result, -EINPROGRESS);
	assert_int_equal(session[1].held, 1);
	assert_int_equal(set_waiting(1, 1, VG_FILE_LOCK_SHARED, 5, 30, &c), -EINPROGRESS);
	assert_int_equal(set(1, 1, VG_FILE_UNLOCK, 9, 1), 0); /* both go over byte 9 */
	assert_int_equal(a.result, -EINTR);
	assert_int_equal(c.result, -EINTR);
	assert_int_equal(set_waiting(1, 1, VG_FILE_LOCK_SHARED, 0, 10, &a), -EINPROGRESS);
	vg_locks_close(locks, &session[1], 0, 1, 2);
	assert_int_equal(a.result, -EINPROGRESS);
	vg_locks_close(locks, &session[1], 0, 1, 1);
	assert_int_equal(a.result, -EINTR);
	assert_int_equal(session[1].held, 0);
}

static void count_drop(void *context)
{
	((struct promise *)context)->dropped = true;
}

static void test_end_of_a_session(void **state)
{
	static struct promise a = { 0 }, b = { 0 };

	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 0, 10), 0);
	assert_int_equal(set(1, 1, VG_FILE_LOCK_EXCLUSIVE, 20, 10), 0);
	assert_int_equal(set_waiting(1, 2, VG_FILE_LOCK_SHARED, 0, 10, &a), -EINPROGRESS);
	assert_int_equal(set_waiting(0, 2, VG_FILE_LOCK_SHARED, 20, 10, &b), -EINPROGRESS);
	vg_locks_end_session(locks, &session[1], count_drop);
	assert_true(a.dropped);
	assert_int_equal(a.result, -EINPROGRESS);
	assert_int_equal(b.result, 0);
}

static void test_bounds(void **state)
{
	static struct promise waits[VG_LOCK_WAITS_SESSION_MAX + 1];

	/* Every other byte: none melt. */
	for (__u64 i = 0; i < VG_LOCKS_SESSION_MAX; i++)
		assert_int_equal(set(0, 1, VG_FILE_LOCK_SHARED, 2 * i, 1), 0);
	assert_int_equal(set(0, 2, VG_FILE_LOCK_SHARED, 1, 1), -ENOLCK);
	assert_int_equal(set(1, 1, VG_FILE_LOCK_SHARED, 1, 1), 0);
	assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 0, 0), 0);
	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 10, 0), 0);
	for (int i = 0; i <= VG_LOCK_WAITS_SESSION_MAX; i++)
		assert_int_equal(set_waiting(2, (__u64)i, VG_FILE_LOCK_SHARED, 10, 1, &waits[i]),
				 i < VG_LOCK_WAITS_SESSION_MAX ? -EINPROGRESS : -ENOLCK);
	assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 0, 0), 0);
	for (int i = 0; i < VG_LOCK_WAITS_SESSION_MAX; i++)
		assert_int_equal(waits[i].result, 0);
}

static void test_without_memory(void **state)
{
	int had = pieces;
	static struct promise a;

	assert_int_equal(set(0, 1, VG_FILE_LOCK_EXCLUSIVE, 0, 10), 0);
	for (int left = 0; left < 3; left++) {
		int kept = pieces;

		pieces = left;
		assert_int_equal(set(1, 1, VG_FILE_LOCK_EXCLUSIVE, 20, 1), left < 2 ? -ENOLCK : 0);
		assert_int_equal(set_waiting(1, 2, VG_FILE_LOCK_SHARED, 0, 1, &a), -ENOLCK);
		if (!left) /* it needs a second piece */
			assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 4, 1), -ENOLCK);
		pieces += kept - left;
	}
	assert_int_equal(set(0, 1, VG_FILE_UNLOCK, 4, 1), 0);
	assert_int_equal(set(1, 1, VG_FILE_LOCK_EXCLUSIVE, 4, 1), 0);
	for (int i = 0; i < SESSIONS; i++)
		vg_locks_end_session(locks, &session[i], NULL);
	assert_int_equal(pieces, had);
}

/* ---- the model ------------------------------------------------------------------------------------------------- */

struct cell {
	__u8 kind;
	__u64 descriptor;
};

static struct cell model[FILES][2][SESSIONS * OWNERS][CELLS];
static struct {
	struct promise promise; /* what the table says */
	bool waits;		/* as the model sees it; then: */
	int result;
	int file, owner, first, last;
	bool whole;
	__u8 kind;
	__u64 descriptor;
	int previous, next; /* -1: none */
} wait[WAITS_MAX];
static int oldest, newest;

static bool model_blocks(int file, bool whole, int by, int owner, int first, int last, __u8 kind)
{
	if (by == owner)
		return false;
	for (int i = first; i <= last; i++)
		if (model[file][whole][by][i].kind == VG_FILE_LOCK_EXCLUSIVE ||
		    (model[file][whole][by][i].kind && kind == VG_FILE_LOCK_EXCLUSIVE))
			return true;
	return false;
}

static bool model_blocked(int file, bool whole, int owner, int first, int last, __u8 kind)
{
	for (int by = 0; by < SESSIONS * OWNERS; by++)
		if (model_blocks(file, whole, by, owner, first, last, kind))
			return true;
	return false;
}

static bool model_put(int file, bool whole, int owner, int first, int last, __u8 kind, __u64 descriptor)
{
	bool released = false;

	for (int i = first; i <= last; i++) {
		struct cell *cell = &model[file][whole][owner][i];

		released = released || (cell->kind && (cell->kind != kind || cell->descriptor != descriptor));
		*cell = (struct cell){ kind, kind ? descriptor : 0 };
	}
	return released;
}

static void model_end(int w, int result)
{
	wait[w].waits = false;
	wait[w].result = result;
	if (wait[w].previous >= 0)
		wait[wait[w].previous].next = wait[w].next;
	else
		oldest = wait[w].next;
	if (wait[w].next >= 0)
		wait[wait[w].next].previous = wait[w].previous;
	else
		newest = wait[w].previous;
}

static void model_grant(int file)
{
	bool released = true;

	while (released) {
		released = false;
		for (int w = oldest, next; w >= 0; w = next) {
			next = wait[w].next;
			if (wait[w].file != file || model_blocked(file, wait[w].whole, wait[w].owner, wait[w].first,
								  wait[w].last, wait[w].kind))
				continue;
			released = model_put(file, wait[w].whole, wait[w].owner, wait[w].first, wait[w].last,
					     wait[w].kind, wait[w].descriptor) || released;
			model_end(w, 0);
		}
	}
}

/* Whether `owner` is reached from what is in the way of this request; owners known to lead nowhere are in `seen`. */
static bool model_reaches(int file, bool whole, int from, int first, int last, __u8 kind, int owner, bool *seen)
{
	for (int by = 0; by < SESSIONS * OWNERS; by++) {
		if (!model_blocks(file, whole, by, from, first, last, kind))
			continue;
		if (by == owner)
			return true;
		if (seen[by])
			continue;
		seen[by] = true;
		for (int w = oldest; w >= 0; w = wait[w].next)
			if (wait[w].owner == by && wait[w].whole == whole &&
			    model_reaches(wait[w].file, whole, by, wait[w].first, wait[w].last, wait[w].kind, owner,
					  seen))
				return true;
	}
	return false;
}

static void model_interrupt(int file, bool whole, int owner, int first, int last)
{
	for (int w = oldest, next; w >= 0; w = next) {
		next = wait[w].next;
		if (wait[w].file == file && wait[w].whole == whole && wait[w].owner == owner &&
		    wait[w].first <= last && wait[w].last >= first)
			model_end(w, -EINTR);
	}
}

static int model_set(const struct vg_lock_request *request, int owner, int first, int last, int w)
{
	int file = (int)request->inode;
	bool whole = request->whole, seen[SESSIONS * OWNERS] = { 0 };

	if (request->kind == VG_FILE_UNLOCK)
		model_interrupt(file, whole, owner, first, last);
	if (request->kind == VG_FILE_UNLOCK || !model_blocked(file, whole, owner, first, last, request->kind)) {
		if (model_put(file, whole, owner, first, last, request->kind, request->descriptor))
			model_grant(file);
		return 0;
	}
	if (whole && model_put(file, whole, owner, first, last, VG_FILE_UNLOCK, 0))
		model_grant(file);
	if (w < 0)
		return -EAGAIN;
	if (model_reaches(file, whole, owner, first, last, request->kind, owner, seen))
		return -EDEADLK;
	wait[w].waits = true;
	wait[w].result = -EINPROGRESS;
	wait[w].file = file;
	wait[w].owner = owner;
	wait[w].first = first;
	wait[w].last = last;
	wait[w].whole = whole;
	wait[w].kind = request->kind;
	wait[w].descriptor = request->descriptor;
	wait[w].previous = newest;
	wait[w].next = -1;
	if (newest >= 0)
		wait[newest].next = w;
	else
		oldest = w;
	newest = w;
	return -EINPROGRESS;
}

static void model_close(int who, int file, __u64 descriptor)
{
	bool released = false;

	for (int w = oldest, next; w >= 0; w = next) {
		next = wait[w].next;
		if (wait[w].file == file && wait[w].owner / OWNERS == who && wait[w].descriptor == descriptor)
			model_end(w, -EINTR);
	}
	for (int whole = 0; whole < 2; whole++)
		for (int owner = who * OWNERS; owner < (who + 1) * OWNERS; owner++)
			for (int i = 0; i < CELLS; i++)
				if (model[file][whole][owner][i].kind &&
				    model[file][whole][owner][i].descriptor == descriptor) {
					model[file][whole][owner][i] = (struct cell){ 0 };
					released = true;
				}
	if (released)
		model_grant(file);
}

static void model_end_session(int who)
{
	for (int w = oldest, next; w >= 0; w = next) {
		next = wait[w].next;
		if (wait[w].owner / OWNERS == who) {
			model_end(w, -ECANCELED);
			wait[w].promise.result = -ECANCELED; /* nobody is told */
		}
	}
	for (int file = 0; file < FILES; file++)
		memset(model[file][0][who * OWNERS], 0, OWNERS * sizeof(model[file][0][0])),
			memset(model[file][1][who * OWNERS], 0, OWNERS * sizeof(model[file][1][0]));
	for (int file = 0; file < FILES; file++)
		model_grant(file);
}

static __u64 model_runs(void)
{
	__u64 runs = 0;

	for (int file = 0; file < FILES; file++)
		for (int whole = 0; whole < 2; whole++)
			for (int owner = 0; owner < SESSIONS * OWNERS; owner++)
				for (int i = 0; i < CELLS; i++) {
					const struct cell *cell = &model[file][whole][owner][i];

					runs += cell->kind && (i == 0 || cell[-1].kind != cell->kind ||
							       cell[-1].descriptor != cell->descriptor);
				}
	return runs;
}

static void compare_cells(__u64 *random)
{
	struct vg_lock_request request = { 0 }, holder;

	for (int i = 0; i < 16; i++) {
		int owner = (int)(vg_prng_next(random) % (SESSIONS * OWNERS));
		int cell = (int)(vg_prng_next(random) % CELLS);

		request.inode = vg_prng_next(random) % FILES;
		request.whole = vg_prng_next(random) % 4 == 0;
		request.session = &session[owner / OWNERS];
		request.owner = (__u64)owner;
		request.start = (__u64)cell;
		request.length = 1;
		request.kind = (__u8)(1 + vg_prng_next(random) % 2);
		assert_int_equal(vg_lock_test(locks, &request, &holder), 0);
		assert_int_equal(holder.kind != VG_FILE_UNLOCK,
				 model_blocked((int)request.inode, request.whole, owner, cell, cell, request.kind));
		if (holder.kind)
			assert_int_equal(model[request.inode][request.whole][holder.owner][cell].kind, holder.kind);
	}
}

static void compare_waits(void)
{
	__u64 waiting = 0;

	for (int w = oldest; w >= 0; w = wait[w].next)
		waiting++;
	assert_int_equal(vg_locks_figures(locks)->waiting, waiting);
	for (int w = 0; w < WAITS_MAX; w++)
		assert_int_equal(wait[w].promise.result, wait[w].result);
	assert_int_equal(vg_locks_figures(locks)->held, model_runs());
}

static int free_wait(void)
{
	for (int w = 0; w < WAITS_MAX; w++)
		if (!wait[w].waits)
			return w;
	return -1;
}

static void random_step(__u64 *random)
{
	int owner = (int)(vg_prng_next(random) % (SESSIONS * OWNERS)), who = owner / OWNERS, w = -1, result, wanted;
	int first = (int)(vg_prng_next(random) % (CELLS - 1)), last;
	__u64 dice = vg_prng_next(random) % 1000;
	struct vg_lock_request request = {
		.inode = vg_prng_next(random) % FILES,
		.session = &session[who],
		.owner = (__u64)owner,
		.start = (__u64)first,
		.whole = vg_prng_next(random) % 5 == 0,
		.kind = (__u8)(vg_prng_next(random) % 3),
	};

	request.descriptor = (__u64)who * 100 + request.inode * 10 + vg_prng_next(random) % DESCRIPTORS;
	last = first + (int)(vg_prng_next(random) % (__u64)(CELLS - first));
	request.length = last == CELLS - 1 ? 0 : (__u64)(last - first + 1);
	if (request.whole) {
		first = 0;
		last = CELLS - 1;
	}
	if (dice < 3) {
		vg_locks_end_session(locks, &session[who], NULL);
		model_end_session(who);
		return;
	}
	if (dice < 40) {
		vg_locks_close(locks, &session[who], 0, request.inode, request.descriptor);
		model_close(who, (int)request.inode, request.descriptor);
		return;
	}
	if (dice < 80) {
		vg_lock_interrupt(locks, &request);
		model_interrupt((int)request.inode, request.whole, owner, first, last);
		return;
	}
	if (dice < 500)
		w = free_wait();
	if (w >= 0)
		wait[w].promise.result = wait[w].result = -EINPROGRESS;
	result = vg_lock_set(locks, &request, w >= 0 ? on_result : NULL, w >= 0 ? &wait[w].promise : NULL);
	wanted = model_set(&request, owner, first, last, w);
	assert_int_equal(result, wanted);
	if (w >= 0 && result != -EINPROGRESS)
		wait[w].promise.result = wait[w].result = 0;
}

static void test_random_against_model(void **state)
{
	__u64 random = 20261121;

	memset(model, 0, sizeof(model));
	memset(wait, 0, sizeof(wait));
	oldest = newest = -1;
	for (int i = 0; i < STEPS; i++) {
		random_step(&random);
		compare_cells(&random);
		if (i % 16 == 0)
			compare_waits();
	}
	compare_waits();
	assert_true(vg_locks_figures(locks)->deadlocks > STEPS / 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_exclusive_and_shared, setup, teardown),
		cmocka_unit_test_setup_teardown(test_holder_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting_is_granted_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadlock_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_that_share_cannot_both_rise, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole_files_are_another_space, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupted_and_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_of_a_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_against_model, setup, teardown),
	};

	return cmocka_run_group_tests_name("file locks", tests, NULL, NULL);
}
