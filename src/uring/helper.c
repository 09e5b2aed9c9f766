/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Threads for calls that block. One lock guards two lists: calls that wait for a helper, in order, and calls that have
 * ended, until the ring's owner delivers them. Threads are made when there is more to do than there are idle ones, and
 * stay. The owner is woken for the first of a list only: it takes all there are.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "uring/ring.h"

#define BRIEF_TURN_NS 300000	      /* the owner spends so much of a turn on brief calls */
#define BRIEF_SLOW_NS 1000000	      /* one that takes longer was not brief */
#define BRIEF_REST_NS 100000000ull    /* then it makes none for so long */
#define BRIEF_REST_MAX_NS 2000000000ull

/* ---- lists ----------------------------------------------------------------------------------------------------- */

static void append(struct vg_io *io, struct vg_call_list *list, __u32 slot)
{
	io->extra[slot].next = 0;
	if (list->last)
		io->extra[list->last - 1].next = slot + 1;
	else
		list->first = slot + 1;
	list->last = slot + 1;
}

static __u32 take_first(struct vg_io *io, struct vg_call_list *list)
{
	__u32 slot = list->first - 1;

	assert(list->first);
	list->first = io->extra[slot].next;
	if (!list->first)
		list->last = 0;
	return slot;
}

static bool take_out(struct vg_io *io, struct vg_call_list *list, __u32 slot)
{
	__u32 before = 0, at = list->first;

	while (at && at != slot + 1) {
		before = at;
		at = io->extra[at - 1].next;
	}
	if (!at)
		return false;
	if (before)
		io->extra[before - 1].next = io->extra[slot].next;
	else
		list->first = io->extra[slot].next;
	if (list->last == at)
		list->last = before;
	return true;
}

/* Under the lock. True: the owner is to be woken. */
static bool end_call(struct vg_io *io, __u32 slot, int result)
{
	bool first = !io->helpers.done.first;

	io->extra[slot].result = result;
	append(io, &io->helpers.done, slot);
	return first;
}

/* ---- a helper -------------------------------------------------------------------------------------------------- */

static void *help(void *context)
{
	struct vg_io *io = context;
	struct vg_helpers *helpers = &io->helpers;

	pthread_mutex_lock(&helpers->lock);
	while (!helpers->ending) {
		__u32 slot;
		int result;

		if (!helpers->waiting.first) {
			helpers->idle++;
			pthread_cond_wait(&helpers->work, &helpers->lock);
			helpers->idle--;
			continue;
		}
		slot = take_first(io, &helpers->waiting);
		helpers->waiting_count--;
		pthread_mutex_unlock(&helpers->lock);
		result = io->extra[slot].call(io->extra[slot].argument);
		pthread_mutex_lock(&helpers->lock);
		if (end_call(io, slot, result))
			vg_wake_signal(io);
	}
	pthread_mutex_unlock(&helpers->lock);
	return NULL;
}

/* Signals are the main thread's business. */
static int add_helper(struct vg_io *io)
{
	struct vg_helpers *helpers = &io->helpers;
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&helpers->thread[helpers->threads], NULL, help, io);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		helpers->threads++;
	return -error;
}

/* ---- the owner's side ------------------------------------------------------------------------------------------ */

static int begin_call(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, __u32 *ret_slot,
		      vg_io_op *ret_op)
{
	struct vg_op *op = vg_op_get(io, VG_OP_CALL, -1, fn, owner);

	if (!op)
		return -EBUSY;
	*ret_slot = (__u32)(op - io->op);
	io->extra[*ret_slot].call = call;
	io->extra[*ret_slot].argument = argument;
	if (ret_op)
		*ret_op = vg_op_name(io, op);
	return 0;
}

/* Under the lock. -EAGAIN: there is no helper, and none can be made. */
static int give(struct vg_io *io, __u32 slot)
{
	struct vg_helpers *helpers = &io->helpers;
	int error = 0;

	/* A helper that was woken and has not yet run counts as idle, and its call as waiting. */
	if (helpers->waiting_count >= helpers->idle && helpers->threads < helpers->limit)
		error = add_helper(io);
	else
		pthread_cond_signal(&helpers->work);
	if (error && !helpers->threads)
		return error;
	append(io, &helpers->waiting, slot);
	helpers->waiting_count++;
	io->stats.calls++;
	return 0;
}

int vg_io_call(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	__u32 slot;
	int error = begin_call(io, call, argument, fn, owner, &slot, ret_op);

	if (error)
		return error;
	pthread_mutex_lock(&io->helpers.lock);
	error = give(io, slot);
	pthread_mutex_unlock(&io->helpers.lock);
	if (!error)
		return 0;
	vg_op_put(io, &io->op[slot]);
	return -EBUSY;
}

int vg_io_call_brief(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	__u32 slot;
	int error = begin_call(io, call, argument, fn, owner, &slot, ret_op);

	if (error)
		return error;
	append(io, &io->helpers.brief, slot);
	io->helpers.brief_count++;
	return 0;
}

/* ---- brief calls ----------------------------------------------------------------------------------------------- */

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000 + (__u64)now.tv_nsec;
}

/* How often this thread has waited by itself: one that others have kept from its processor has not. */
static long waits(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nvcsw;
}

static __u32 take_brief(struct vg_io *io)
{
	io->helpers.brief_count--;
	return take_first(io, &io->helpers.brief);
}

/* True: some have failed, and wait to be delivered. */
static bool give_brief(struct vg_io *io, __u32 count)
{
	bool failed = false;

	pthread_mutex_lock(&io->helpers.lock);
	while (count--) {
		__u32 slot = take_brief(io);

		if (!give(io, slot))
			continue;
		(void)end_call(io, slot, -EBUSY);
		failed = true;
	}
	pthread_mutex_unlock(&io->helpers.lock);
	return failed;
}

/* The disk has let us wait: it is left to helpers, longer each time it happens again. */
static void rest(struct vg_helpers *helpers, __u64 at_ns)
{
	helpers->rest_ns = helpers->rest_ns ? helpers->rest_ns * 2 : BRIEF_REST_NS;
	if (helpers->rest_ns > BRIEF_REST_MAX_NS)
		helpers->rest_ns = BRIEF_REST_MAX_NS;
	helpers->rest_until_ns = at_ns + helpers->rest_ns;
}

/* One whose thread was kept from its processor says nothing about the rest. */
static void smooth(struct vg_helpers *helpers, __u64 took_ns)
{
	if (took_ns > BRIEF_SLOW_NS)
		took_ns = BRIEF_SLOW_NS;
	helpers->brief_ns += took_ns / 16 - helpers->brief_ns / 16;
}

/*
 * As many as will fit a turn, by what they took before; those that come first go to helpers, if there are more.
 * `end_call` need not wake anybody: the owner is here, and delivers them.
 */
bool vg_helpers_make_brief(struct vg_io *io)
{
	struct vg_helpers *helpers = &io->helpers;
	__u64 begin_ns = now_ns(), at_ns = begin_ns, fit;
	bool made = false;
	long waited;

	if (begin_ns < helpers->rest_until_ns)
		return give_brief(io, helpers->brief_count);
	fit = BRIEF_TURN_NS / (helpers->brief_ns + 1);
	if (helpers->brief_count > fit)
		made = give_brief(io, helpers->brief_count - (__u32)fit);
	waited = waits();
	while (helpers->brief_count && at_ns - begin_ns < BRIEF_TURN_NS) {
		__u32 slot = take_brief(io);
		int result = io->extra[slot].call(io->extra[slot].argument);
		__u64 after_ns = now_ns();

		pthread_mutex_lock(&helpers->lock);
		(void)end_call(io, slot, result);
		pthread_mutex_unlock(&helpers->lock);
		io->stats.own_calls++;
		made = true;
		smooth(helpers, after_ns - at_ns);
		if (after_ns - at_ns > BRIEF_SLOW_NS && waits() != waited)
			rest(helpers, after_ns);
		else if (helpers->rest_ns && after_ns > helpers->rest_until_ns + helpers->rest_ns)
			helpers->rest_ns = 0; /* it has been quick for as long as it was left alone */
		at_ns = after_ns;
		if (at_ns < helpers->rest_until_ns)
			break;
	}
	if (helpers->brief_count)
		made |= give_brief(io, helpers->brief_count);
	return made;
}

void vg_helpers_stop(struct vg_io *io, struct vg_op *op)
{
	struct vg_helpers *helpers = &io->helpers;
	__u32 slot = (__u32)(op - io->op);
	bool brief = take_out(io, &helpers->brief, slot);

	helpers->brief_count -= brief;
	pthread_mutex_lock(&helpers->lock);
	if (brief) {
		if (end_call(io, slot, -ECANCELED))
			vg_wake_signal(io);
	} else if (take_out(io, &helpers->waiting, slot)) {
		helpers->waiting_count--;
		if (end_call(io, slot, -ECANCELED))
			vg_wake_signal(io);
	}
	pthread_mutex_unlock(&helpers->lock);
}

/* Those that have ended by now; a callback may submit more, which end in a later turn. */
void vg_helpers_deliver(struct vg_io *io)
{
	struct vg_helpers *helpers = &io->helpers;
	__u32 next;

	pthread_mutex_lock(&helpers->lock);
	next = helpers->done.first;
	helpers->done = (struct vg_call_list){ 0 };
	pthread_mutex_unlock(&helpers->lock);
	while (next) {
		struct vg_op_extra *extra = &io->extra[next - 1];
		struct vg_op *op = &io->op[next - 1];
		struct vg_io_event event = { .result = extra->result };
		void *owner = op->owner;
		vg_io_fn fn = op->fn;

		next = extra->next; /* the slot may be used again from here on */
		vg_op_put(io, op);
		if (fn)
			fn(owner, &event);
	}
}

void vg_helpers_init(struct vg_io *io, __u32 limit)
{
	struct vg_helpers *helpers = &io->helpers;

	if (!limit)
		limit = VG_IO_HELPERS;
	helpers->limit = limit < VG_IO_HELPERS_MAX ? limit : VG_IO_HELPERS_MAX;
	pthread_mutex_init(&helpers->lock, NULL);
	pthread_cond_init(&helpers->work, NULL);
}

void vg_helpers_deinit(struct vg_io *io)
{
	struct vg_helpers *helpers = &io->helpers;

	pthread_mutex_lock(&helpers->lock);
	helpers->ending = true;
	pthread_cond_broadcast(&helpers->work);
	pthread_mutex_unlock(&helpers->lock);
	while (helpers->threads)
		pthread_join(helpers->thread[--helpers->threads], NULL);
	pthread_cond_destroy(&helpers->work);
	pthread_mutex_destroy(&helpers->lock);
}
