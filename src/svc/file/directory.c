// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * RMDIR, and RENAME of directories, at the name node of the (old) path. Every node may have a copy, so every node must
 * answer: EHOSTDOWN else, and nothing has changed.
 *
 * RMDIR: all freeze it; all look whether it is empty; it is removed here, which is the change; then the copies. Who
 * does not hear that has a copy of nothing, which is never believed (parent.c).
 *
 * RENAME: all freeze both names; the new one is looked at; a note is written here, which is the change; all rename
 * their copies; the note goes. A node that does not answer is asked until it does, and so is everybody by a node that
 * starts and finds such a note; until then the old name stays frozen here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "svc/file/tree_inner.h"

static void ask_all(struct vg_tree_task *task, enum vg_home_verb verb, const char *path, __u32 length, vg_task_fn then)
{
	vg_tree_ask_all(task, true, VG_HOME_ARGUMENT(verb, 0, 0, 0), path, length, NULL, 0, then);
}

/* ---- the end, when nothing has changed -------------------------------------------------------------------------- */

static void refused(struct vg_tree_task *task)
{
	if (task->result == -EAGAIN)
		vg_task_again(task);
	else
		vg_task_fail(task, task->result);
}

/* THAW is of all that the task has frozen. */
static void refuse(struct vg_tree_task *task, int error)
{
	task->result = error;
	ask_all(task, VG_HOME_THAW, task->path, task->path_length, refused);
}

/* ---- RMDIR ------------------------------------------------------------------------------------------------------ */

static void thawed(struct vg_tree_task *task)
{
	vg_task_ok(task);
}

static void copies_dropped(struct vg_tree_task *task)
{
	ask_all(task, VG_HOME_THAW, task->path, task->path_length, thawed);
}

static void dropped(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (reply->error)
		refuse(task, reply->error);
	else
		vg_tree_ask_all(task, false, VG_HOME_ARGUMENT(VG_HOME_DROP, 0, 0, 0), task->path, task->path_length,
				NULL, 0, copies_dropped);
}

static void is_empty(struct vg_tree_task *task)
{
	if (task->error)
		refuse(task, task->error);
	else
		vg_tree_ask(task, task->tree->self, VG_HOME_ARGUMENT(VG_HOME_DROP, 0, 0, 0), task->path,
			    task->path_length, NULL, 0, dropped);
}

static void frozen(struct vg_tree_task *task)
{
	if (task->error)
		refuse(task, task->error);
	else
		ask_all(task, VG_HOME_EMPTY, task->path, task->path_length, is_empty);
}

/* It is somebody's stub: what is there? */
static void on_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (!reply->error && !vg_kind_is_object((enum vg_home_kind)(reply->argument & 0xff)))
		vg_task_absent(task);
	else
		vg_task_fail(task, reply->error ?: -ENOTDIR);
}

static void on_looked(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	enum vg_home_kind kind = (enum vg_home_kind)(reply->argument & 0xff);
	__u16 home = (__u16)(reply->argument >> 8 & 0xffff);

	if (reply->error)
		vg_task_fail(task, reply->error);
	else if (kind == VG_KIND_NOTHING)
		vg_task_absent(task);
	else if (kind == VG_KIND_STUB && home < task->tree->nodes)
		vg_tree_ask_look(task, home, task->path, task->path_length, on_home);
	else if (kind != VG_KIND_DIRECTORY)
		vg_task_fail(task, -ENOTDIR);
	else
		ask_all(task, VG_HOME_FREEZE, task->path, task->path_length, frozen);
}

void vg_rmdir_begin(struct vg_tree_task *task)
{
	vg_tree_ask_look(task, task->tree->self, task->path, task->path_length, on_looked);
}

/* ---- RENAME ----------------------------------------------------------------------------------------------------- */

static void shift(struct vg_tree_task *task);

static void moved_and_thawed(struct vg_tree_task *task)
{
	if (task->op)
		vg_task_ok(task);
	else
		vg_task_end(task);
}

static void note_removed(struct vg_tree_task *task, int result)
{
	(void)result; /* if it is still there it is carried out once more, which changes nothing */
	ask_all(task, VG_HOME_THAW, task->path, task->path_length, moved_and_thawed);
}

static int remove_note(struct vg_tree_task *task)
{
	return vg_tree_note_remove(task->root, "moves", task->id);
}

/* ---- what it is, to the node of its new name ---- */

static void on_attributes(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (reply->error == -EHOSTDOWN)
		vg_mend_later(task, shift);
	else
		vg_task_work(task, remove_note, note_removed);
}

static int read_attributes(struct vg_tree_task *task)
{
	int length = vg_tree_attributes_read(task->root, task->other, task->buffer, VG_TREE_ATTRIBUTES_MAX);

	task->buffer_length = length > 0 ? (__u32)length : 0;
	return length < 0 ? length : 0;
}

static void attributes_read(struct vg_tree_task *task, int result)
{
	if (result) /* it has been renamed on since */
		vg_task_work(task, remove_note, note_removed);
	else
		vg_tree_ask(task, task->other_node, VG_HOME_ARGUMENT(VG_HOME_ATTRIBUTES, 0, 0, 0), task->other,
			    task->other_length, (const char *)task->buffer, task->buffer_length, on_attributes);
}

static void shifted(struct vg_tree_task *task)
{
	struct vg_file_pool *pool = task->tree->pool;

	if (task->error) {
		if (task->error != task->result)
			vg_log(VG_LOG_NOTICE, "renaming a directory has to wait",
			       "node=%u from=\"%s\" to=\"%s\" error=\"%s\"", task->failed_node, task->path, task->other,
			       strerror(-task->error));
		task->result = task->error;
		vg_mend_later(task, shift);
		return;
	}
	task->other_node = vg_tree_owner(task->tree, task->other, task->other_length);
	if (!task->buffer && task->other_node != task->tree->self)
		task->buffer = vg_file_alloc(pool, VG_TREE_ATTRIBUTES_MAX);
	if (task->buffer)
		vg_task_work(task, read_attributes, attributes_read);
	else
		vg_task_work(task, remove_note, note_removed);
}

static void shift(struct vg_tree_task *task)
{
	vg_tree_ask_all(task, true, VG_HOME_ARGUMENT(VG_HOME_SHIFT, 0, 0, task->mode), task->path, task->path_length,
			task->other, task->other_length, shifted);
}

void vg_directory_resume(struct vg_tree_task *task)
{
	shift(task);
}

static int write_note(struct vg_tree_task *task)
{
	char text[2 * VG_FILE_PATH_MAX + 64];
	int at = snprintf(text, sizeof(text), "%u %s", task->mode, task->path);

	/* Paths have no NUL in them. */
	memcpy(text + at + 1, task->other, task->other_length + 1);
	return vg_tree_note_write(task->root, "moves", task->id, text, (__u32)at + 1 + task->other_length);
}

static void noted(struct vg_tree_task *task, int result)
{
	if (result)
		refuse(task, result);
	else
		shift(task);
}

static void other_is_empty(struct vg_tree_task *task)
{
	if (task->error)
		refuse(task, task->error);
	else
		vg_task_work(task, write_note, noted);
}

static void on_other_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (reply->error)
		refuse(task, reply->error);
	else if (vg_kind_is_object((enum vg_home_kind)(reply->argument & 0xff)))
		refuse(task, task->no_replace ? -EEXIST : -ENOTDIR);
	else
		vg_task_work(task, write_note, noted);
}

static void on_other(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	enum vg_home_kind kind = (enum vg_home_kind)(reply->argument & 0xff);
	__u16 home = (__u16)(reply->argument >> 8 & 0xffff);

	if (reply->error)
		refuse(task, reply->error);
	else if (kind == VG_KIND_NOTHING)
		vg_task_work(task, write_note, noted);
	else if (kind == VG_KIND_STUB && home < task->tree->nodes)
		vg_tree_ask_look(task, home, task->other, task->other_length, on_other_home);
	else if (kind != VG_KIND_DIRECTORY)
		refuse(task, task->no_replace ? -EEXIST : -ENOTDIR);
	else if (task->no_replace)
		refuse(task, -EEXIST);
	else
		ask_all(task, VG_HOME_EMPTY, task->other, task->other_length, other_is_empty);
}

static void other_frozen(struct vg_tree_task *task)
{
	if (task->error)
		refuse(task, task->error);
	else
		vg_tree_ask_look(task, task->other_node, task->other, task->other_length, on_other);
}

static void both_to_freeze(struct vg_tree_task *task)
{
	if (task->error)
		refuse(task, task->error);
	else
		ask_all(task, VG_HOME_FREEZE, task->other, task->other_length, other_frozen);
}

static void parent_checked(struct vg_tree_task *task)
{
	if (task->error)
		vg_task_fail(task, task->error);
	else
		ask_all(task, VG_HOME_FREEZE, task->path, task->path_length, both_to_freeze);
}

static bool is_below(const char *path, __u32 length, const char *directory, __u32 directory_length)
{
	return length > directory_length && path[directory_length] == '/' &&
	       !memcmp(path, directory, directory_length);
}

/* task->kind is DIRECTORY, task->mode its own. */
void vg_directory_rename(struct vg_tree_task *task)
{
	if (is_below(task->other, task->other_length, task->path, task->path_length))
		vg_task_fail(task, -EINVAL);
	else if (is_below(task->path, task->path_length, task->other, task->other_length))
		vg_task_fail(task, task->no_replace ? -EEXIST : -ENOTEMPTY);
	else if (task->path_length == task->other_length && !memcmp(task->path, task->other, task->path_length))
		vg_task_ok(task);
	else
		vg_parent_check(task, task->other, task->other_length, parent_checked);
}
