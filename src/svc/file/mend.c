// SPDX-License-Identifier: GPL-3.0-or-later
/* What a crash, or a node that does not answer, has left: notes that are carried out, pieces of files that are gone. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "svc/file/tree_inner.h"

#define AGAIN_NS 500000000ull
#define TRASH_AGAIN_TICKS 8

/* ---- later ------------------------------------------------------------------------------------------------------ */

void vg_mend_later(struct vg_tree_task *task, vg_task_fn then)
{
	struct vg_tree *tree = task->tree;
	struct vg_tree_task *own;

	if (tree->stopping)
		return;
	if (!task->op) {
		vg_task_rest(task, AGAIN_NS, then);
		return;
	}
	own = vg_task_new_own(tree, task->path, task->other ? task->other : "");
	if (!own) { /* its note is carried out by the next life of the node */
		vg_task_ok(task);
		return;
	}
	own->id = task->id;
	own->mode = task->mode;
	own->result = task->result;
	own->prepared_lock = task->prepared_lock;
	task->prepared_lock = NULL;
	vg_task_ok(task);
	vg_task_rest(own, AGAIN_NS, then);
}

/* ---- the trash: striped files that are gone --------------------------------------------------------------------- */

static void next_trash(struct vg_tree_task *task);

static bool collect(void *context, __u64 id)
{
	struct vg_tree *tree = context;

	tree->trash[tree->trash_count++] = id;
	return tree->trash_count < VG_TREE_TRASH_MAX;
}

static int list_trash(struct vg_tree_task *task)
{
	task->tree->trash_count = 0;
	return vg_tree_notes(task->root, "trash", collect, task->tree);
}

static int read_trash(struct vg_tree_task *task)
{
	return vg_tree_trash_read(task->root, task->tree->trash[task->tree->trash_count], &task->stub);
}

static int remove_trash(struct vg_tree_task *task)
{
	return vg_tree_trash_remove(task->root, task->tree->trash[task->tree->trash_count], task->stays);
}

static void removed(struct vg_tree_task *task, int result)
{
	(void)result;
	next_trash(task);
}

static void pieces_dropped(struct vg_tree_task *task)
{
	if (task->error) {
		task->tree->trash_at = task->tree->ticks + TRASH_AGAIN_TICKS;
		next_trash(task);
		return;
	}
	task->stays = true; /* its attributes go too */
	vg_task_work(task, remove_trash, removed);
}

static void on_trash(struct vg_tree_task *task, int result)
{
	task->stays = false;
	if (result == 0)
		vg_tree_ask_pieces(task, VG_HOME_PIECE_DROP, pieces_dropped);
	else
		vg_task_work(task, remove_trash, removed); /* it has another name, or is nothing of ours */
}

static void next_trash(struct vg_tree_task *task)
{
	struct vg_tree *tree = task->tree;

	if (tree->trash_count && !tree->stopping) {
		tree->trash_count--;
		vg_task_work(task, read_trash, on_trash);
		return;
	}
	tree->trash_busy = false;
	vg_task_end(task);
}

static void trash_listed(struct vg_tree_task *task, int result)
{
	if (result)
		task->tree->trash_count = 0;
	else if (task->tree->trash_count == VG_TREE_TRASH_MAX)
		task->tree->trash_at = task->tree->ticks + 1; /* there are more */
	next_trash(task);
}

void vg_mend_soon(struct vg_tree *tree)
{
	if (!tree->trash_at)
		tree->trash_at = tree->ticks + 1;
}

void vg_mend_tick(struct vg_tree *tree)
{
	struct vg_tree_task *task;

	if (!tree->trash_at || tree->ticks < tree->trash_at || tree->trash_busy)
		return;
	task = vg_task_new_own(tree, "", "");
	if (!task)
		return;
	tree->trash_at = 0;
	tree->trash_busy = true;
	vg_task_work(task, list_trash, trash_listed);
}

/* ---- the start -------------------------------------------------------------------------------------------------- */

/* "<mode> <path>", NUL, the other path. */
static bool resume_move(void *context, __u64 id)
{
	struct vg_tree *tree = context;
	struct vg_tree_task *task = NULL;
	char text[VG_TREE_NOTE_MAX], *path, *end;
	int length = vg_tree_note_read(tree->pool->root_fd, "moves", id, text);
	const char *other = text + strlen(text) + 1;
	unsigned long mode;

	if (length <= 0 || other >= text + length)
		return true;
	mode = strtoul(text, &end, 10);
	path = end + (*end == ' ');
	if (path > text && !vg_file_path_check(path, (__u32)strlen(path)) &&
	    !vg_file_path_check(other, (__u32)strlen(other)))
		task = vg_task_new_own(tree, path, other);
	if (task && !vg_gate_freeze_own(tree, path, id)) {
		task->id = id;
		task->mode = (__u32)mode;
		vg_task_rest(task, AGAIN_NS, vg_directory_resume);
		vg_log(VG_LOG_NOTICE, "renaming a directory goes on", "from=\"%s\" to=\"%s\"", task->path, task->other);
	}
	return true;
}

/* "<home> <old home> <path>" */
static bool resume_rename(void *context, __u64 id)
{
	struct vg_tree *tree = context;
	struct vg_name_lock *lock = NULL;
	char text[VG_TREE_NOTE_MAX], *end;
	unsigned long home, old_home;
	const char *path;

	if (vg_tree_note_read(tree->pool->root_fd, "renames", id, text) <= 0)
		return true;
	home = strtoul(text, &end, 10);
	old_home = strtoul(end, &end, 10);
	path = end + (*end == ' ');
	if (home < tree->nodes && !vg_file_path_check(path, (__u32)strlen(path)) &&
	    !vg_gate_find(tree, path, (__u32)strlen(path)))
		lock = vg_gate_lock(tree, path, (__u32)strlen(path), id, tree->self);
	if (!lock)
		return true;
	lock->prepared = lock->recorded = true;
	lock->note = id;
	lock->home = (__u16)home;
	lock->old_home = old_home < tree->nodes ? (__u16)old_home : tree->nodes;
	lock->until_ns = 1; /* at the first tick */
	return true;
}

static bool to_trash(void *context, __u64 id)
{
	struct vg_tree *tree = context;

	(void)vg_tree_making_end(tree->pool->root_fd, id);
	return true;
}

int vg_mend_init(struct vg_tree *tree)
{
	int root = tree->pool->root_fd, error = 0;

	tree->trash_at = 1;
	if (tree->pool->alone)
		return 0;
	if (!tree->pool->settings->read_only)
		error = vg_tree_make_own(root);
	if (error) {
		vg_log(VG_LOG_ERROR, "the export root cannot be written", "error=\"%s\"", strerror(-error));
		return error;
	}
	(void)vg_tree_notes(root, "making", to_trash, tree);
	(void)vg_tree_notes(root, "moves", resume_move, tree);
	(void)vg_tree_notes(root, "renames", resume_rename, tree);
	return 0;
}
