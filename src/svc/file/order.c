// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Changes of overlapping bytes of one descriptor are made in the order in which they came. A descriptor has a list of
 * its changes that have not ended, and of what waits for them, oldest first; each entry counts those before it that
 * are in its way. The list is short: a connection has VG_FILE_IN_FLIGHT_MAX requests in flight.
 */
#include <assert.h>

#include "svc/file/bytes.h"

static bool overlap(const struct vg_file_op *op, __u64 start, __u64 end)
{
	return op->order.start < end && start < op->order.end;
}

static __u64 end_of(__u64 start, __u64 length)
{
	return start + length < start ? VG_FILE_END_OF_ALL : start + length;
}

bool vg_order_blocks(const struct vg_file_descriptor *descriptor, __u64 start, __u64 length)
{
	__u64 end = end_of(start, length);

	for (const struct vg_file_op *op = descriptor->changes_first; op; op = op->next)
		if (op->order.change && overlap(op, start, end))
			return true;
	return false;
}

static void link_last(struct vg_file_op *op)
{
	struct vg_file_descriptor *descriptor = op->descriptor;

	op->next = NULL;
	op->previous = descriptor->changes_last;
	if (op->previous)
		op->previous->next = op;
	else
		descriptor->changes_first = op;
	descriptor->changes_last = op;
	op->order.listed = true;
}

static void take_out(struct vg_file_op *op)
{
	struct vg_file_descriptor *descriptor = op->descriptor;

	if (op->previous)
		op->previous->next = op->next;
	else
		descriptor->changes_first = op->next;
	if (op->next)
		op->next->previous = op->previous;
	else
		descriptor->changes_last = op->previous;
	op->next = op->previous = NULL;
	op->order.listed = false;
}

static void enter(struct vg_file_op *op, __u64 start, __u64 length, bool change, void (*go)(struct vg_file_op *op))
{
	struct vg_file_op *earlier;

	assert(!op->order.listed);
	op->order.start = start;
	op->order.end = end_of(start, length);
	op->order.change = change;
	op->order.go = go;
	op->order.blockers = 0;
	for (earlier = op->descriptor->changes_first; earlier; earlier = earlier->next)
		op->order.blockers += earlier->order.change && overlap(earlier, op->order.start, op->order.end);
	if (op->order.blockers && vg_op_keep(op))
		return;
	op->ordered = true;
	if (change || op->order.blockers)
		link_last(op);
	if (!op->order.blockers)
		go(op);
}

void vg_bytes_ordered(struct vg_file_op *op, __u64 offset, __u64 length, void (*go)(struct vg_file_op *op))
{
	enter(op, offset, length, true, go);
}

void vg_order_look(struct vg_file_op *op, __u64 start, __u64 length, void (*go)(struct vg_file_op *op))
{
	enter(op, start, length, false, go);
}

/* What may begin now, oldest first. */
static void let_go(struct vg_file_op *op, struct vg_bytes_pool *pool)
{
	struct vg_file_op *later;

	for (later = op->next; later; later = later->next) {
		if (!op->order.change || !later->order.blockers || !overlap(later, op->order.start, op->order.end) ||
		    --later->order.blockers)
			continue;
		later->order.next_ready = NULL;
		*pool->ready_end = later;
		pool->ready_end = &later->order.next_ready;
	}
}

/*
 * Those that may begin do so when the list is in order again. One may end at once, and set others free: they are put
 * behind, so calls go no deeper for it.
 */
void vg_bytes_end(struct vg_file_op *op)
{
	struct vg_bytes_pool *pool = op->pool->data;

	if (!op->order.listed)
		return;
	let_go(op, pool);
	take_out(op);
	if (pool->beginning)
		return;
	pool->beginning = true;
	while (pool->ready) {
		struct vg_file_op *next = pool->ready;

		pool->ready = next->order.next_ready;
		if (!pool->ready)
			pool->ready_end = &pool->ready;
		if (!next->order.change)
			take_out(next);
		next->order.go(next);
	}
	pool->beginning = false;
}
