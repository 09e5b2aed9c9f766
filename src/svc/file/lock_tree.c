// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/file/lock_tree.h"

#include <assert.h>
#include <stddef.h>

static __u64 last_max_of(const struct vg_lock *lock)
{
	__u64 most = lock->last;

	if (lock->left && lock->left->last_max > most)
		most = lock->left->last_max;
	if (lock->right && lock->right->last_max > most)
		most = lock->right->last_max;
	return most;
}

static void renew_upwards(struct vg_lock *lock)
{
	for (; lock; lock = lock->parent)
		lock->last_max = last_max_of(lock);
}

/* Where the tree, or its parent, points to it. */
static struct vg_lock **link_of(struct vg_lock_tree *tree, const struct vg_lock *lock)
{
	if (!lock->parent)
		return &tree->root;
	return lock->parent->left == lock ? &lock->parent->left : &lock->parent->right;
}

/* The child takes its parent's place, the parent goes below it. */
static void rotate_up(struct vg_lock_tree *tree, struct vg_lock *child)
{
	struct vg_lock *parent = child->parent, *moved;

	*link_of(tree, parent) = child;
	child->parent = parent->parent;
	parent->parent = child;
	if (parent->left == child) {
		moved = child->right;
		parent->left = moved;
		child->right = parent;
	} else {
		moved = child->left;
		parent->right = moved;
		child->left = parent;
	}
	if (moved)
		moved->parent = parent;
	parent->last_max = last_max_of(parent);
	child->last_max = last_max_of(child);
}

void vg_lock_tree_insert(struct vg_lock_tree *tree, struct vg_lock *lock)
{
	struct vg_lock **link = &tree->root;

	lock->left = lock->right = lock->parent = NULL;
	while (*link) {
		lock->parent = *link;
		link = lock->start < lock->parent->start ? &lock->parent->left : &lock->parent->right;
	}
	*link = lock;
	renew_upwards(lock);
	while (lock->parent && lock->parent->priority < lock->priority)
		rotate_up(tree, lock);
}

void vg_lock_tree_remove(struct vg_lock_tree *tree, struct vg_lock *lock)
{
	while (lock->left || lock->right)
		rotate_up(tree, !lock->right || (lock->left && lock->left->priority > lock->right->priority) ?
					lock->left :
					lock->right);
	*link_of(tree, lock) = NULL;
	renew_upwards(lock->parent);
	lock->parent = NULL;
}

/* The first below and including `lock` that touches the range. Something below it ends at `start` or later. */
static struct vg_lock *first_below(struct vg_lock *lock, __u64 start, __u64 last)
{
	assert(lock->last_max >= start);
	for (;;) {
		if (lock->left && lock->left->last_max >= start) {
			/* If that one begins too late, so does everything to the right of it. */
			lock = lock->left;
			continue;
		}
		if (lock->start > last)
			return NULL;
		if (lock->last >= start)
			return lock;
		lock = lock->right; /* it is there: last_max is neither from here nor from the left */
	}
}

struct vg_lock *vg_lock_tree_first(const struct vg_lock_tree *tree, __u64 start, __u64 last)
{
	return tree->root && tree->root->last_max >= start ? first_below(tree->root, start, last) : NULL;
}

struct vg_lock *vg_lock_tree_next(const struct vg_lock *lock, __u64 start, __u64 last)
{
	for (;;) {
		const struct vg_lock *from;

		if (lock->right && lock->right->last_max >= start)
			return first_below(lock->right, start, last);
		do {
			from = lock;
			lock = lock->parent;
			if (!lock)
				return NULL;
		} while (from == lock->right);
		if (lock->start > last)
			return NULL;
		if (lock->last >= start)
			return (struct vg_lock *)lock;
	}
}
