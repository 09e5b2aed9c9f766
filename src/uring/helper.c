/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Threads for calls that block. One lock guards two lists: calls that wait for a helper, in order, and calls that have
 * ended, until the ring's owner delivers them. Threads are made when there is more to do than there are idle ones, and
 * stay. The owner is woken for the first of a list only: it takes all there are.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>

#include "uring/ring.h"

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

int vg_io_call(struct vg_io *io, vg_io_call_fn call, void *argument, vg_io_fn fn, void *owner, vg_io_op *ret_op)
{
	struct vg_helpers *helpers = &io->helpers;
	struct vg_op *op = vg_op_get(io, VG_OP_CALL, -1, fn, owner);
	struct vg_op_extra *extra;
	int error = 0;

	if (!op)
		return -EBUSY;
	extra = &io->extra[op - io->op];
	extra->call = call;
	extra->argument = argument;
	pthread_mutex_lock(&helpers->lock);
	/* A helper that was woken and has not yet run counts as idle, and its call as waiting. */
	if (helpers->waiting_count >= helpers->idle && helpers->threads < helpers->limit)
		error = add_helper(io);
	else
		pthread_cond_signal(&helpers->work);
	if (error && !helpers->threads) {
		pthread_mutex_unlock(&helpers->lock);
		vg_op_put(io, op);
		return -EBUSY;
	}
	append(io, &helpers->waiting, (__u32)(op - io->op));
	helpers->waiting_count++;
	pthread_mutex_unlock(&helpers->lock);
	if (ret_op)
		*ret_op = vg_op_name(io, op);
	io->stats.calls++;
	return 0;
}

void vg_helpers_stop(struct vg_io *io, struct vg_op *op)
{
	struct vg_helpers *helpers = &io->helpers;
	__u32 slot = (__u32)(op - io->op);

	pthread_mutex_lock(&helpers->lock);
	if (take_out(io, &helpers->waiting, slot)) {
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
