// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/cpu/queue.h"

#include <assert.h>

void vg_queue_init(struct vg_queue *queue, struct vg_queue_entry **memory, __u32 room)
{
	*queue = (struct vg_queue){ .entry = memory, .room = room };
}

static bool before(const struct vg_queue_entry *a, const struct vg_queue_entry *b)
{
	return a->priority != b->priority ? a->priority < b->priority : a->order < b->order;
}

static void put(struct vg_queue *queue, __u32 place, struct vg_queue_entry *entry)
{
	queue->entry[place] = entry;
	entry->place = place;
}

static void rise(struct vg_queue *queue, __u32 place, struct vg_queue_entry *entry)
{
	while (place && before(entry, queue->entry[(place - 1) / 2])) {
		put(queue, place, queue->entry[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	put(queue, place, entry);
}

static void sink(struct vg_queue *queue, __u32 place, struct vg_queue_entry *entry)
{
	for (;;) {
		__u32 child = 2 * place + 1;

		if (child + 1 < queue->count && before(queue->entry[child + 1], queue->entry[child]))
			child++;
		if (child >= queue->count || !before(queue->entry[child], entry))
			break;
		put(queue, place, queue->entry[child]);
		place = child;
	}
	put(queue, place, entry);
}

bool vg_queue_push(struct vg_queue *queue, struct vg_queue_entry *entry, __u8 priority)
{
	assert(entry->place == VG_QUEUE_NOWHERE);
	if (queue->count == queue->room)
		return false;
	entry->priority = priority;
	entry->order = queue->orders++;
	rise(queue, queue->count++, entry);
	return true;
}

struct vg_queue_entry *vg_queue_first(const struct vg_queue *queue)
{
	return queue->count ? queue->entry[0] : NULL;
}

void vg_queue_remove(struct vg_queue *queue, struct vg_queue_entry *entry)
{
	__u32 place = entry->place;
	struct vg_queue_entry *last;

	assert(place < queue->count && queue->entry[place] == entry);
	entry->place = VG_QUEUE_NOWHERE;
	last = queue->entry[--queue->count];
	if (last == entry)
		return;
	if (place && before(last, queue->entry[(place - 1) / 2]))
		rise(queue, place, last);
	else
		sink(queue, place, last);
}

__u32 vg_queue_before(const struct vg_queue *queue, __u8 priority)
{
	__u32 count = 0;

	for (__u32 i = 0; i < queue->count; i++)
		count += queue->entry[i]->priority <= priority;
	return count;
}
