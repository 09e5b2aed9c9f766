// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * OPEN and PUT that create, MKDIR, SYMLINK, at the name node, with the name held. What is placed here is made as on one
 * node; only where that fails is it looked closer: a stub was in the way, the copy of the directory is missing. What is
 * placed elsewhere: the stub first, then the object at its home. A crash in between leaves a stub whose home has
 * nothing, which is as good as no name.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/file/tree_inner.h"

static bool is_file(const struct vg_tree_task *task)
{
	return task->op->opcode == VG_OP_FILE_OPEN || task->op->opcode == VG_OP_FILE_PUT;
}

static void run_again(struct vg_tree_task *task, int result)
{
	if (result)
		vg_task_fail(task, result);
	else
		vg_task_run(task);
}

/* ---- elsewhere -------------------------------------------------------------------------------------------------- */

static void on_created(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	bool exclusive = task->op->argument >> 32 & VG_FILE_O_EXCLUSIVE;

	if (!reply->error)
		vg_task_elsewhere(task, task->home, VG_FILE_CREATED);
	else if (reply->error == -EEXIST && !exclusive)
		vg_task_elsewhere(task, task->home, 0);
	else
		vg_task_fail(task, reply->error);
}

static void create_at_home(struct vg_tree_task *task, int result)
{
	__u32 mode = (__u32)task->op->argument & 07777;

	if (result)
		vg_task_fail(task, result);
	else
		vg_tree_ask(task, task->home, VG_HOME_ARGUMENT(VG_HOME_CREATE, 0, 0, mode), task->path,
			    task->path_length, NULL, 0, on_created);
}

static int make_stub(struct vg_tree_task *task)
{
	return vg_tree_stub_make(task->root, task->path, task->home, false);
}

static int remove_stub(struct vg_tree_task *task)
{
	return vg_tree_stub_remove(task->root, task->path, task->home);
}

/* Before a directory or a link takes the place of a stub: has its home anything? */
static void on_looked_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (!reply->error && vg_kind_is_object((enum vg_home_kind)(reply->argument & 0xff)))
		vg_task_fail(task, -EEXIST);
	else if (reply->error)
		vg_task_fail(task, reply->error);
	else
		vg_task_work(task, remove_stub, run_again);
}

static void on_looked(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	enum vg_home_kind kind = (enum vg_home_kind)(reply->argument & 0xff);
	__u16 home = (__u16)(reply->argument >> 8 & 0xffff);
	bool again = task->looked;

	task->looked = true;
	if (reply->error) {
		vg_task_fail(task, reply->error);
	} else if (kind == VG_KIND_STUB && home < task->tree->nodes && home != task->tree->self) {
		task->home = home;
		if (is_file(task))
			create_at_home(task, 0);
		else
			vg_tree_ask(task, home, VG_HOME_ARGUMENT(VG_HOME_LOOK, 0, 0, 0), task->path, task->path_length,
				    NULL, 0, on_looked_home);
	} else if (kind == VG_KIND_STUB) { /* of nobody */
		task->home = home;
		vg_task_work(task, remove_stub, run_again);
	} else if (kind == VG_KIND_NOTHING && !again && task->home != task->tree->self) {
		vg_task_work(task, make_stub, create_at_home);
	} else if (task->error) {
		vg_task_fail(task, task->error);
	} else {
		vg_task_run(task); /* it knows what to say */
	}
}

static void look(struct vg_tree_task *task, int error)
{
	task->error = error;
	vg_tree_ask_look(task, task->tree->self, task->path, task->path_length, on_looked);
}

/* ---- here ------------------------------------------------------------------------------------------------------- */

static int make_parents(struct vg_tree_task *task)
{
	return vg_tree_make_parents(task->root, task->path);
}

void vg_create_met(struct vg_tree_task *task, int error)
{
	if ((error == -ENOENT || error == -ENOTDIR) && !task->parents_made) {
		task->parents_made = true;
		vg_task_work(task, make_parents, run_again);
	} else if (error == -EREMOTE || error == -EEXIST) {
		task->home = task->tree->self;
		look(task, error == -EEXIST ? error : 0);
	} else {
		vg_task_fail(task, error);
	}
}

static void on_parent(struct vg_tree_task *task)
{
	struct vg_tree *tree = task->tree;

	if (task->error) {
		vg_task_fail(task, task->error);
		return;
	}
	task->home = is_file(task) ? vg_place_choose(tree, task->op, task->pin) : tree->self;
	if (vg_stripe_is_create(task->op))
		vg_stripe_create(task);
	else if (task->home == tree->self)
		vg_task_run(task);
	else
		look(task, 0);
}

void vg_create_begin(struct vg_tree_task *task)
{
	vg_parent_check(task, task->path, task->path_length, on_parent);
}

/* ---- the copy of a directory that is to be watched ------------------------------------------------------------- */

static int make_copy(struct vg_tree_task *task)
{
	return vg_tree_make_parents(task->root, task->op->other);
}

static void on_watched(struct vg_tree_task *task)
{
	if (task->error)
		vg_task_fail(task, task->error);
	else
		vg_task_work(task, make_copy, run_again);
}

/* As if a name were made in it, which may come to be here. */
void vg_create_copy(struct vg_tree_task *task)
{
	struct vg_file_op *op = task->op;
	char path[VG_FILE_PATH_MAX + 3];
	int length = snprintf(path, sizeof(path), "%s/x", op->path);

	task->looked = true;
	if (vg_op_set_other(op, &op->pool->exports[0], path, (__u32)length))
		vg_task_fail(task, -ENOENT);
	else
		vg_parent_check(task, op->other, op->other_length, on_watched);
}
