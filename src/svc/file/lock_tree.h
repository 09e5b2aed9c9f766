/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The locks of one file, by where they begin, so that those that touch a range are found without looking at the others:
 * a treap whose nodes know the farthest end below them. Ranges of different owners overlap. Pure; one thread.
 */
#ifndef VG_SVC_FILE_LOCK_TREE_H
#define VG_SVC_FILE_LOCK_TREE_H

#include "virgo/types.h"

struct vg_lock_owner;
struct vg_lock_file;

struct vg_lock {
	struct vg_lock *parent, *left, *right;
	__u64 priority; /* drawn at random by who inserts it: keeps the tree flat, whatever a client does */
	__u64 start, last; /* bytes, both in it; not changed while it is in a tree */
	__u64 last_max;	/* the greatest `last` of the node and all below it */
	struct vg_lock_file *file;
	struct vg_lock_owner *owner;
	struct vg_lock *newer, *older; /* of the same owner */
	struct vg_lock *picked;	       /* of a list made for a moment */
	__u64 descriptor;
	__u32 pid;
	__u8 kind; /* enum vg_file_lock_kind */
};

struct vg_lock_tree {
	struct vg_lock *root;
};

void vg_lock_tree_insert(struct vg_lock_tree *tree, struct vg_lock *lock);
void vg_lock_tree_remove(struct vg_lock_tree *tree, struct vg_lock *lock);
/* Those that have a byte of [start, last], in order of where they begin; NULL: no more. */
struct vg_lock *vg_lock_tree_first(const struct vg_lock_tree *tree, __u64 start, __u64 last);
struct vg_lock *vg_lock_tree_next(const struct vg_lock *lock, __u64 start, __u64 last);

#endif
