// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The order of changes. A task that changes a name holds it; operations on the name wait for it, in their order. A
 * directory that is being removed or renamed is frozen on every node: nothing begins below it, and the freezing is
 * answered when what had begun has ended. Only operations of clients wait here; what a task asks of other nodes passes,
 * because the task holds its name where it began, and freezing waits for it there.
 *
 * Nobody waits for a name while holding another: PREPARE of a name that is held is refused, and the task lets go of
 * its own and tries again. So there is no circle to wait in.
 */
#include <errno.h>
#include <string.h>

#include "svc/file/tree_inner.h"

/* ---- lists of operations ----------------------------------------------------------------------------------------- */

static void list_add(struct vg_op_list *list, struct vg_file_op *op)
{
	op->next = NULL;
	op->previous = list->last;
	if (list->last)
		list->last->next = op;
	else
		list->first = op;
	list->last = op;
}

static void list_take(struct vg_op_list *list, struct vg_file_op *op)
{
	*(op->previous ? &op->previous->next : &list->first) = op->next;
	*(op->next ? &op->next->previous : &list->last) = op->previous;
	op->next = op->previous = NULL;
}

/* Operations go on at a time of their own, not from inside the ending of another one. */
static void go_on(void *context)
{
	struct vg_tree *tree = context;
	struct vg_op_list list = tree->ready;
	struct vg_file_op *op;

	tree->ready = (struct vg_op_list){ 0 };
	tree->ready_timer = false;
	while ((op = list.first)) {
		list_take(&list, op);
		if (vg_tree_begin(op))
			vg_op_run(op);
	}
}

static void wake(struct vg_tree *tree, struct vg_op_list *waiters)
{
	struct vg_file_op *op;

	while ((op = waiters->first)) {
		list_take(waiters, op);
		list_add(&tree->ready, op);
	}
	if (tree->ready.first && !tree->ready_timer && !tree->stopping)
		tree->ready_timer = !vg_env_timer(tree->pool->env, 0, go_on, tree);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static struct vg_name_lock **bucket_of(struct vg_tree *tree, const char *path, __u32 length)
{
	return &tree->lock[vg_hash64(path, length) % VG_TREE_LOCK_BUCKETS];
}

struct vg_name_lock *vg_gate_find(struct vg_tree *tree, const char *path, __u32 length)
{
	struct vg_name_lock *lock = tree->locks ? *bucket_of(tree, path, length) : NULL;

	while (lock && (lock->length != length || memcmp(lock->path, path, length)))
		lock = lock->next;
	return lock;
}

struct vg_name_lock *vg_gate_lock(struct vg_tree *tree, const char *path, __u32 length, __u64 task, __u16 node)
{
	struct vg_name_lock *lock = vg_file_alloc(tree->pool, sizeof(*lock) + length + 1);
	struct vg_name_lock **bucket = bucket_of(tree, path, length);

	if (!lock)
		return NULL;
	*lock = (struct vg_name_lock){ .next = *bucket, .task = task, .node = node, .length = length };
	memcpy(lock->path, path, length);
	lock->path[length] = '\0';
	*bucket = lock;
	tree->locks++;
	return lock;
}

static bool is_below(const char *path, __u32 length, const char *directory, __u32 directory_length)
{
	return length >= directory_length && !memcmp(path, directory, directory_length) &&
	       (length == directory_length || path[directory_length] == '/');
}

static bool is_quiet(const struct vg_tree *tree, const struct vg_freeze *freeze)
{
	for (int i = 0; i < VG_TREE_LOCK_BUCKETS && tree->locks; i++)
		for (const struct vg_name_lock *lock = tree->lock[i]; lock; lock = lock->next)
			if ((lock->task != freeze->task || lock->node != freeze->node) &&
			    is_below(lock->path, lock->length, freeze->path, freeze->length))
				return false;
	return true;
}

/* FREEZE is answered when nobody but its own task holds a name below its directory. Answering may change the list. */
static bool answer_one(struct vg_tree *tree)
{
	for (struct vg_freeze *freeze = tree->freezes; freeze; freeze = freeze->next) {
		struct vg_file_op *op = freeze->asked;

		if (op && is_quiet(tree, freeze)) {
			freeze->asked = NULL;
			vg_op_ok(op);
			return true;
		}
	}
	return false;
}

void vg_gate_unlock(struct vg_tree *tree, struct vg_name_lock *lock)
{
	struct vg_name_lock **at = bucket_of(tree, lock->path, lock->length);

	while (*at != lock)
		at = &(*at)->next;
	*at = lock->next;
	tree->locks--;
	wake(tree, &lock->waiters);
	vg_file_free(tree->pool, lock);
	while (tree->freezes && answer_one(tree))
		;
}

/* ---- directories ------------------------------------------------------------------------------------------------ */

static struct vg_freeze *freeze_over(struct vg_tree *tree, const char *path, __u32 length)
{
	struct vg_freeze *freeze = tree->freezes;

	while (freeze && !is_below(path, length, freeze->path, freeze->length))
		freeze = freeze->next;
	return freeze;
}

static struct vg_freeze *freeze_add(struct vg_tree *tree, const char *path, __u32 length, __u64 task, __u16 node)
{
	struct vg_freeze *freeze = vg_file_alloc(tree->pool, sizeof(*freeze) + length + 1);

	if (!freeze)
		return NULL;
	*freeze = (struct vg_freeze){ .next = tree->freezes, .task = task, .node = node, .length = length };
	memcpy(freeze->path, path, length);
	freeze->path[length] = '\0';
	tree->freezes = freeze;
	vg_parent_forget(tree);
	return freeze;
}

void vg_gate_freeze(struct vg_tree *tree, struct vg_file_op *op)
{
	__u16 node = op->local ? tree->self : op->source_node;
	struct vg_freeze *freeze;

	for (freeze = tree->freezes; freeze; freeze = freeze->next) {
		bool mine = freeze->task == op->ident && freeze->node == node;

		if (mine && freeze->length == op->path_length && !memcmp(freeze->path, op->path, freeze->length))
			break; /* asked again */
		if (!mine && (is_below(op->path, op->path_length, freeze->path, freeze->length) ||
			      is_below(freeze->path, freeze->length, op->path, op->path_length))) {
			vg_op_fail(op, -EAGAIN);
			return;
		}
	}
	freeze = freeze ?: freeze_add(tree, op->path, op->path_length, op->ident, node);
	if (!freeze || freeze->asked || vg_op_keep(op)) {
		if (!freeze || freeze->asked)
			vg_op_fail(op, freeze ? -EAGAIN : -ENOMEM);
		return;
	}
	if (!op->local)
		freeze->until_ns = vg_tree_now_ns(tree) + VG_TREE_LEASE_NS;
	freeze->asked = op;
	(void)answer_one(tree);
}

int vg_gate_freeze_own(struct vg_tree *tree, const char *path, __u64 task)
{
	return freeze_add(tree, path, (__u32)strlen(path), task, tree->self) ? 0 : -ENOMEM;
}

static void thaw(struct vg_tree *tree, struct vg_freeze **at)
{
	struct vg_freeze *freeze = *at;
	struct vg_file_op *asked = freeze->asked;

	*at = freeze->next;
	vg_parent_forget(tree);
	wake(tree, &freeze->waiters);
	vg_file_free(tree->pool, freeze);
	if (asked)
		vg_op_fail(asked, -ECANCELED);
}

void vg_gate_thaw(struct vg_tree *tree, __u64 task, __u16 node)
{
	struct vg_freeze **at = &tree->freezes;

	while (*at) {
		if ((*at)->task == task && (*at)->node == node) {
			thaw(tree, at);
			at = &tree->freezes;
		} else {
			at = &(*at)->next;
		}
	}
}

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

bool vg_gate_wait(struct vg_tree *tree, struct vg_file_op *op)
{
	struct vg_freeze *freeze = tree->freezes ? freeze_over(tree, op->path, op->path_length) : NULL;
	struct vg_op_list *list;

	if (!freeze && op->other && tree->freezes)
		freeze = freeze_over(tree, op->other, op->other_length);
	if (freeze) {
		list = &freeze->waiters;
	} else {
		struct vg_name_lock *lock = vg_gate_find(tree, op->path, op->path_length);

		if (!lock)
			return false;
		list = &lock->waiters;
	}
	if (!vg_op_keep(op))
		list_add(list, op);
	return true;
}

static void drop_late(struct vg_tree *tree, struct vg_op_list *list)
{
	__u64 now_ns = vg_tree_now_ns(tree);
	struct vg_op_list late = { 0 };
	struct vg_file_op *op;

	while ((op = list->first) && now_ns - op->started_ns > VG_TREE_WAIT_NS) {
		list_take(list, op);
		list_add(&late, op);
	}
	while ((op = late.first)) {
		list_take(&late, op);
		op->begun = false; /* that is the answer */
		vg_op_fail(op, -EHOSTDOWN);
	}
}

/* The first lock or freeze that is past its time: ending it changes the lists, so one at a time. */
static bool end_late(struct vg_tree *tree)
{
	__u64 now_ns = vg_tree_now_ns(tree);

	for (struct vg_freeze **at = &tree->freezes; *at; at = &(*at)->next) {
		if ((*at)->until_ns && now_ns > (*at)->until_ns) {
			thaw(tree, at);
			return true;
		}
	}
	for (int i = 0; i < VG_TREE_LOCK_BUCKETS && tree->locks; i++) {
		for (struct vg_name_lock *lock = tree->lock[i]; lock; lock = lock->next) {
			if (lock->until_ns && now_ns > lock->until_ns) {
				vg_mend_prepared(tree, lock);
				return true;
			}
		}
	}
	return false;
}

void vg_gate_begun(struct vg_tree *tree, __u16 node, __u64 task)
{
	for (struct vg_freeze *freeze = tree->freezes; freeze; freeze = freeze->next)
		if (freeze->node == node && freeze->task < task && freeze->until_ns)
			freeze->until_ns = 1;
	for (int i = 0; i < VG_TREE_LOCK_BUCKETS && tree->locks; i++)
		for (struct vg_name_lock *lock = tree->lock[i]; lock; lock = lock->next)
			if (lock->node == node && lock->task < task && lock->until_ns)
				lock->until_ns = 1;
	while (end_late(tree))
		;
}

void vg_gate_tick(struct vg_tree *tree)
{
	for (struct vg_freeze *freeze = tree->freezes; freeze; freeze = freeze->next)
		drop_late(tree, &freeze->waiters);
	for (int i = 0; i < VG_TREE_LOCK_BUCKETS && tree->locks; i++)
		for (struct vg_name_lock *lock = tree->lock[i]; lock; lock = lock->next)
			drop_late(tree, &lock->waiters);
	while (end_late(tree))
		;
}

void vg_gate_deinit(struct vg_tree *tree)
{
	struct vg_freeze *freeze;

	for (int i = 0; i < VG_TREE_LOCK_BUCKETS; i++) {
		struct vg_name_lock *lock;

		while ((lock = tree->lock[i])) {
			tree->lock[i] = lock->next;
			vg_file_free(tree->pool, lock);
		}
	}
	while ((freeze = tree->freezes)) {
		tree->freezes = freeze->next;
		vg_file_free(tree->pool, freeze);
	}
}
