// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * UNLINK, RENAME and LINK of what is no directory, at the name node of the (old) path, with that name held.
 *
 * RENAME, LINK: PREPARE at the name node of the new name; the object's home renames or links it, which is the change;
 * COMMIT at the new name's node; then the old name's stub is removed. See prepare.c for what may happen in between.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>

#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/tree_inner.h"

/* ---- UNLINK ----------------------------------------------------------------------------------------------------- */

static int remove_stub(struct vg_tree_task *task)
{
	return vg_tree_stub_remove(task->root, task->path, task->home);
}

static void unlinked(struct vg_tree_task *task, int result)
{
	result = result ?: task->error;
	if (result)
		vg_task_fail(task, result);
	else
		vg_task_ok(task);
}

static void on_unlinked_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	task->error = reply->error;
	if (reply->error && reply->error != -ENOENT)
		vg_task_fail(task, reply->error);
	else
		vg_task_work(task, remove_stub, unlinked);
}

static int unlink_here(struct vg_tree_task *task)
{
	struct vg_file_op *op = task->op;
	struct vg_quota_name gone;
	int error = vg_tree_goes_begin(op->pool, task->path, &gone);

	error = error ?: vg_disk_unlink(task->root, task->path, false, NULL, op->target);
	task->stub.kind = VG_STUB_NONE;
	if (error == -EREMOTE &&
	    vg_stub_parse(op->target, strlen(op->target), &task->stub) == VG_STUB_STRIPED)
		error = vg_tree_unlink(task->root, task->path);
	vg_quota_name_end(op->pool, &gone);
	return error;
}

static void on_unlinked(struct vg_tree_task *task, int result)
{
	task->home = task->stub.home;
	if (result == -ENOENT)
		vg_task_absent(task);
	else if (result != -EREMOTE)
		unlinked(task, result);
	else if (task->stub.kind == VG_STUB_HOME && task->home != task->tree->self)
		vg_tree_ask(task, task->home, VG_HOME_ARGUMENT(VG_HOME_UNLINK, 0, 0, 0), task->path, task->path_length,
			    NULL, 0, on_unlinked_home);
	else { /* of nobody */
		task->error = -ENOENT;
		vg_task_work(task, remove_stub, unlinked);
	}
	vg_mend_soon(task->tree);
}

void vg_unlink_begin(struct vg_tree_task *task)
{
	vg_task_work(task, unlink_here, on_unlinked);
}

/* ---- RENAME, LINK: the general way ------------------------------------------------------------------------------ */

static void renamed(struct vg_tree_task *task, int result)
{
	(void)result; /* a stub that stays names a home that has nothing */
	vg_task_ok(task);
}

static void on_committed(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	(void)reply; /* it is done: if that node does not know yet, it will ask */
	if (!task->stays && task->home != task->tree->self)
		vg_task_work(task, remove_stub, renamed);
	else
		renamed(task, 0);
}

static void on_aborted(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	(void)reply; /* if it was not heard, the name is free when the lease is over */
	if (task->error == -ENOENT)
		vg_task_absent(task);
	else
		vg_task_fail(task, task->error);
}

static void on_moved(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	__u8 unknown = reply->error == -EHOSTDOWN ? VG_HOME_UNKNOWN : 0;

	task->error = reply->error;
	task->stays = task->link || reply->argument;
	if (reply->error)
		vg_tree_ask(task, task->other_node, VG_HOME_ARGUMENT(VG_HOME_ABORT, unknown, 0, 0), task->other,
			    task->other_length, NULL, 0, on_aborted);
	else
		vg_tree_ask(task, task->other_node, VG_HOME_ARGUMENT(VG_HOME_COMMIT, 0, 0, 0), task->other,
			    task->other_length, NULL, 0, on_committed);
}

static void on_prepared(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	__u8 verb = task->link ? VG_HOME_LINK : VG_HOME_MOVE;

	task->error = reply->error;
	if (reply->error == -EAGAIN)
		vg_task_again(task);
	else if (reply->error == -EHOSTDOWN) /* perhaps it holds the name now */
		vg_tree_ask(task, task->other_node, VG_HOME_ARGUMENT(VG_HOME_ABORT, 0, 0, 0), task->other,
			    task->other_length, NULL, 0, on_aborted);
	else if (reply->error)
		vg_task_fail(task, reply->error);
	else
		vg_tree_ask(task, task->home, VG_HOME_ARGUMENT(verb, task->no_replace ? VG_HOME_NO_REPLACE : 0, 0, 0),
			    task->path, task->path_length, task->other, task->other_length, on_moved);
}

static void prepare(struct vg_tree_task *task)
{
	__u8 flags = task->no_replace || task->link ? VG_HOME_NO_REPLACE : 0;

	vg_tree_ask(task, task->other_node, VG_HOME_ARGUMENT(VG_HOME_PREPARE, flags, task->home, 0), task->other,
		    task->other_length, NULL, 0, on_prepared);
}

static void go_by_kind(struct vg_tree_task *task)
{
	struct vg_tree *tree = task->tree;

	switch (task->kind) {
	case VG_KIND_NOTHING:
		vg_task_absent(task);
		return;
	case VG_KIND_DIRECTORY:
		if (task->link)
			vg_task_fail(task, -EPERM);
		else if (task->op->flags & VG_FILE_EXCHANGE)
			vg_task_fail(task, -EXDEV);
		else
			vg_directory_rename(task);
		return;
	case VG_KIND_STUB:
		task->home = task->stub.home;
		if (task->home == tree->self || task->home >= tree->nodes) {
			vg_task_absent(task);
			return;
		}
		break;
	default:
		task->home = tree->self;
	}
	if (task->op->flags & VG_FILE_EXCHANGE && !task->link)
		vg_task_fail(task, -EXDEV);
	else if (task->path_length == task->other_length && !memcmp(task->path, task->other, task->path_length))
		task->link ? vg_task_fail(task, -EEXIST) : vg_task_ok(task);
	else
		prepare(task);
}

/* ---- both names and the object here: as on one node -------------------------------------------------------- */

static void release_other(struct vg_tree_task *task)
{
	if (task->other_lock)
		vg_gate_unlock(task->tree, task->other_lock);
	task->other_lock = NULL;
}

/* Look at both; where nothing is elsewhere, it is done at once. 1: it is not. */
static int rename_here(struct vg_tree_task *task)
{
	unsigned int flags = (task->no_replace ? RENAME_NOREPLACE : 0) |
			     (task->op->flags & VG_FILE_EXCHANGE ? RENAME_EXCHANGE : 0);
	struct vg_tree_look look, other = { .kind = VG_KIND_STUB };
	int error = vg_tree_look(task->root, task->path, &look);

	task->kind = look.kind;
	task->stub = look.stub;
	task->mode = look.mode;
	if (error || !task->other_lock)
		return error ?: 1;
	error = vg_tree_look(task->root, task->other, &other);
	if (error)
		return error;
	if ((look.kind != VG_KIND_FILE && look.kind != VG_KIND_SYMLINK) ||
	    (other.kind != VG_KIND_FILE && other.kind != VG_KIND_SYMLINK && (other.kind != VG_KIND_NOTHING)))
		return 1;
	if (task->link)
		error = vg_disk_link(task->root, task->path, task->other, false, task->op->target);
	else
		error = vg_quota_rename(task->op->pool, task->path, task->other, flags, false, task->op->target);
	/* The new name's directory may be known elsewhere only, or change its face: the general way finds out. */
	return error == -ENOENT || error == -EREMOTE ? 1 : error;
}

static void on_tried(struct vg_tree_task *task, int result)
{
	release_other(task);
	if (result == 1)
		go_by_kind(task);
	else if (result)
		vg_task_fail(task, result);
	else
		vg_task_ok(task);
}

void vg_rename_begin(struct vg_tree_task *task)
{
	struct vg_tree *tree = task->tree;

	task->link = task->op->opcode == VG_OP_FILE_LINK;
	task->no_replace = !task->link && task->op->flags & VG_FILE_NO_REPLACE;
	task->other_node = vg_tree_owner(tree, task->other, task->other_length);
	if (task->other_node == tree->self) {
		if (vg_gate_find(tree, task->other, task->other_length)) {
			if (task->path_length != task->other_length ||
			    memcmp(task->path, task->other, task->path_length)) {
				vg_task_again(task);
				return;
			}
		} else {
			task->other_lock =
				vg_gate_lock(tree, task->other, task->other_length, task->id, tree->self);
		}
	}
	vg_task_work(task, rename_here, on_tried);
}
