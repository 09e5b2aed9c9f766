// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The name node of a new name: PREPARE, then COMMIT or ABORT. The object will be at `home`, where one step makes the
 * name true. What is written here before that depends on what the name is now:
 *
 *   nothing		a stub that names `home`: as good as nothing until that has the object
 *   a stub of `home`	nothing: the step replaces the one object by the other
 *   anything else	a note with both homes; after the step the name is pointed to the new one, the old object goes
 *
 * A node that starts and finds such a note, or whose asker is silent, asks the home whether the step was taken.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/file/hold.h"
#include "svc/file/tree_inner.h"

static struct vg_name_lock *lock_of(struct vg_tree_task *task)
{
	return task->prepared_lock;
}

static void refuse(struct vg_tree_task *task, int error)
{
	vg_gate_unlock(task->tree, lock_of(task));
	vg_task_fail(task, error);
}

/* ---- PREPARE ---------------------------------------------------------------------------------------------------- */

static int write_note(struct vg_tree_task *task)
{
	char text[VG_FILE_PATH_MAX + 64];
	int length = snprintf(text, sizeof(text), "%u %u %s", task->home, task->old_home, task->path);

	return vg_tree_note_write(task->root, "renames", task->prepared_lock->note, text, (__u32)length);
}

static int make_ready(struct vg_tree_task *task)
{
	__u16 self = task->tree->self;
	bool other_stub = task->kind == VG_KIND_STUB && task->old_home != task->home;

	if (task->kind == VG_KIND_NOTHING)
		return task->home == self ? 0 : vg_tree_stub_make(task->root, task->path, task->home, false);
	if (other_stub && task->looked) /* of nothing */
		return task->home == self ? 0 : vg_tree_stub_make(task->root, task->path, task->home, true);
	if (other_stub || (vg_kind_is_object(task->kind) && task->home != self))
		return write_note(task);
	return 0;
}

static void on_ready(struct vg_tree_task *task, int result)
{
	struct vg_name_lock *lock = lock_of(task);
	bool other_stub = task->kind == VG_KIND_STUB && task->old_home != task->home;
	bool stands = vg_kind_is_object(task->kind) && task->home != task->tree->self;

	if (result) {
		refuse(task, result);
		return;
	}
	lock->prepared = true;
	lock->until_ns = lock->node == task->tree->self ? 0 : vg_tree_now_ns(task->tree) + VG_TREE_LEASE_NS;
	lock->home = task->home;
	lock->old_home = task->old_home;
	lock->recorded = stands || (other_stub && !task->looked);
	lock->stub_made = task->home != task->tree->self && !lock->recorded &&
			  (task->kind == VG_KIND_NOTHING || other_stub);
	vg_task_ok(task);
}

/* A stub's home has been asked whether there is anything. */
static void on_old_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	bool there = vg_kind_is_object((enum vg_home_kind)(reply->argument & 0xff));

	if (reply->error) {
		refuse(task, reply->error);
	} else if (there && task->no_replace) {
		refuse(task, -EEXIST);
	} else {
		task->looked = !there;
		vg_task_work(task, make_ready, on_ready);
	}
}

static int look(struct vg_tree_task *task)
{
	struct vg_tree_look look;
	int error = vg_tree_look(task->root, task->path, &look);

	task->kind = look.kind;
	task->old_home = look.kind == VG_KIND_STUB ? look.stub.home : task->tree->self;
	return error;
}

static void on_looked(struct vg_tree_task *task, int result)
{
	struct vg_tree *tree = task->tree;

	if (!result && task->kind == VG_KIND_DIRECTORY)
		result = task->no_replace ? -EEXIST : -EISDIR;
	if (!result && task->no_replace && vg_kind_is_object(task->kind))
		result = -EEXIST;
	if (result) {
		refuse(task, result);
	} else if (task->kind == VG_KIND_STUB && (task->old_home == tree->self || task->old_home >= tree->nodes)) {
		task->looked = true; /* of nobody */
		task->old_home = tree->self == task->home ? tree->nodes : tree->self;
		vg_task_work(task, make_ready, on_ready);
	} else if (task->kind == VG_KIND_STUB && (task->no_replace || task->old_home != task->home)) {
		/* Also so that it is known to be alive: its object is to go when the name has changed. */
		vg_tree_ask_look(task, task->old_home, task->path, task->path_length, on_old_home);
	} else {
		vg_task_work(task, make_ready, on_ready);
	}
}

static void on_parent(struct vg_tree_task *task)
{
	if (task->error)
		refuse(task, task->error);
	else
		vg_task_work(task, look, on_looked);
}

void vg_prepare_run(struct vg_file_op *op)
{
	struct vg_tree *tree = vg_tree_of(op->pool);
	const struct vg_home_own own = *vg_home_own(op);
	__u16 asker = op->local ? tree->self : op->source_node;
	struct vg_tree_task *task;

	if (vg_gate_find(tree, op->path, op->path_length)) {
		vg_op_fail(op, -EAGAIN);
		return;
	}
	if (vg_op_keep(op))
		return;
	task = vg_task_new(tree, op);
	if (task)
		task->prepared_lock = vg_gate_lock(tree, op->path, op->path_length, op->ident, asker);
	if (!task || !task->prepared_lock) {
		vg_op_fail(op, -ENOMEM);
		return;
	}
	task->prepared_lock->until_ns = asker == tree->self ? 0 : vg_tree_now_ns(tree) + VG_TREE_LEASE_NS;
	task->prepared_lock->note = vg_env_random(tree->pool->env); /* if there will be one */
	task->home = own.node;
	task->no_replace = own.flags & VG_HOME_NO_REPLACE;
	vg_parent_check(task, task->path, task->path_length, on_parent);
}

/* ---- COMMIT, ABORT ---------------------------------------------------------------------------------------------- */

static int remove_note(struct vg_tree_task *task)
{
	return vg_tree_note_remove(task->root, "renames", task->prepared_lock->note);
}

static int take_back(struct vg_tree_task *task)
{
	const struct vg_name_lock *lock = task->prepared_lock;
	int error = lock->recorded ? remove_note(task) : 0;

	return error ?: lock->stub_made ? vg_tree_stub_remove(task->root, task->path, lock->home) : 0;
}

static void settled(struct vg_tree_task *task, int result)
{
	struct vg_name_lock *lock = lock_of(task);

	task->prepared_lock = NULL;
	vg_gate_unlock(task->tree, lock);
	if (!task->op)
		vg_task_end(task);
	else if (result)
		vg_task_fail(task, result);
	else
		vg_task_ok(task);
}

static int point_to_home(struct vg_tree_task *task)
{
	const struct vg_name_lock *lock = task->prepared_lock;

	struct vg_quota_name gone;
	int error;

	if (lock->home == task->tree->self)
		return 0;
	error = vg_tree_goes_begin(task->tree->pool, task->path, &gone);
	error = error ?: vg_tree_stub_make(task->root, task->path, lock->home, true);
	vg_quota_name_end(task->tree->pool, &gone);
	return error;
}

static void try_again(struct vg_tree_task *task);

static void on_old_gone(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (reply->error && reply->error != -ENOENT)
		vg_mend_later(task, try_again);
	else
		vg_task_work(task, remove_note, settled);
}

static void on_pointed(struct vg_tree_task *task, int result)
{
	const struct vg_name_lock *lock = lock_of(task);

	vg_mend_soon(task->tree);
	if (result)
		vg_mend_later(task, try_again);
	else if (lock->old_home != task->tree->self && lock->old_home != lock->home &&
		 lock->old_home < task->tree->nodes)
		vg_tree_ask(task, lock->old_home, VG_HOME_ARGUMENT(VG_HOME_UNLINK, 0, 0, 0), task->path,
			    task->path_length, NULL, 0, on_old_gone);
	else
		vg_task_work(task, remove_note, settled);
}

static void try_again(struct vg_tree_task *task)
{
	vg_task_work(task, point_to_home, on_pointed);
}

/* The step has been taken. */
static void commit(struct vg_tree_task *task)
{
	if (lock_of(task)->recorded)
		try_again(task);
	else
		settled(task, 0);
}

void vg_commit_run(struct vg_file_op *op, bool yes, bool unknown)
{
	struct vg_tree *tree = vg_tree_of(op->pool);
	__u16 asker = op->local ? tree->self : op->source_node;
	struct vg_name_lock *lock = vg_gate_find(tree, op->path, op->path_length);
	struct vg_tree_task *task;

	if (!lock || lock->task != op->ident || lock->node != asker || !lock->prepared || lock->settling) {
		vg_op_fail(op, -ESTALE);
		return;
	}
	if (unknown) {
		lock->until_ns = vg_tree_now_ns(tree) + VG_TREE_LEASE_NS;
		vg_op_ok(op);
		return;
	}
	if (vg_op_keep(op))
		return;
	task = vg_task_new(tree, op);
	if (!task) {
		vg_op_fail(op, -ENOMEM);
		return;
	}
	lock->settling = true;
	lock->until_ns = 0;
	task->prepared_lock = lock;
	if (yes)
		commit(task);
	else
		vg_task_work(task, take_back, settled);
}

/* ---- nobody says whether ---------------------------------------------------------------------------------------- */

static void ask_home(struct vg_tree_task *task);

static void on_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (reply->error)
		vg_mend_later(task, ask_home);
	else if (vg_kind_is_object((enum vg_home_kind)(reply->argument & 0xff)))
		commit(task);
	else
		vg_task_work(task, take_back, settled);
}

static void ask_home(struct vg_tree_task *task)
{
	vg_tree_ask(task, lock_of(task)->home, VG_HOME_ARGUMENT(VG_HOME_LOOK, 0, 0, 0), task->path, task->path_length,
		    NULL, 0, on_home);
}

void vg_mend_prepared(struct vg_tree *tree, struct vg_name_lock *lock)
{
	struct vg_tree_task *task;

	lock->until_ns = 0;
	if (!lock->prepared || lock->settling)
		return; /* what has it, ends it */
	if (!lock->recorded) {
		vg_gate_unlock(tree, lock); /* nothing or a stub that tells the truth */
		return;
	}
	task = vg_task_new_own(tree, lock->path, "");
	if (!task) {
		lock->until_ns = vg_tree_now_ns(tree) + VG_TREE_LEASE_NS;
		return;
	}
	lock->settling = true;
	task->prepared_lock = lock;
	ask_home(task);
}
