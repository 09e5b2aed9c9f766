/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who is next: lowest priority number first, among equals the one that came first. A binary heap over memory of the
 * caller's; each entry knows its place, so that it may leave from the middle. Pure; one thread.
 */
#ifndef VG_SVC_CPU_QUEUE_H
#define VG_SVC_CPU_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"

#define VG_QUEUE_NOWHERE 0xffffffff

struct vg_queue_entry {
	__u32 place; /* VG_QUEUE_NOWHERE: in no queue */
	__u8 priority;
	__u64 order;
};

struct vg_queue {
	struct vg_queue_entry **entry;
	__u32 count, room;
	__u64 orders;
};

void vg_queue_init(struct vg_queue *queue, struct vg_queue_entry **memory, __u32 room);
/* False: it is full. */
bool vg_queue_push(struct vg_queue *queue, struct vg_queue_entry *entry, __u8 priority);
struct vg_queue_entry *vg_queue_first(const struct vg_queue *queue); /* NULL: empty */
void vg_queue_remove(struct vg_queue *queue, struct vg_queue_entry *entry);
/* How many would run before an entry of this priority that came now. */
__u32 vg_queue_before(const struct vg_queue *queue, __u8 priority);

#endif
