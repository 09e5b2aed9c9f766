// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Does a directory exist? The name node of its own name knows; who has asked believes it for a while, and until any
 * directory is frozen. Where it does not, the answer may be that something on the way to it is no directory but a
 * symbolic link (ELOOP: the client follows it) or a file (ENOTDIR), which the name nodes above know.
 */
#include <errno.h>
#include <string.h>

#include "svc/file/tree_inner.h"

/* ---- what is believed ------------------------------------------------------------------------------------------- */

static struct vg_known *place_of(const struct vg_tree *tree, const char *path, __u32 length)
{
	return &tree->known[vg_hash64(path, length) % VG_TREE_KNOWN];
}

bool vg_parent_known(struct vg_tree *tree, const char *path, __u32 length, __u32 *ret_pin)
{
	const struct vg_known *known = place_of(tree, path, length);

	if (ret_pin)
		*ret_pin = 0;
	if (!length)
		return true;
	if (!known->path || known->length != length || vg_tree_now_ns(tree) > known->until_ns ||
	    memcmp(known->path, path, length))
		return false;
	if (ret_pin)
		*ret_pin = known->pin;
	return true;
}

void vg_parent_learn(struct vg_tree *tree, const char *path, __u32 length, __u32 pin)
{
	struct vg_known *known = place_of(tree, path, length);

	if (tree->freezes) /* perhaps it is this one that goes */
		return;
	vg_file_free(tree->pool, known->path);
	*known = (struct vg_known){ .path = vg_file_alloc(tree->pool, length) };
	if (!known->path)
		return;
	memcpy(known->path, path, length);
	known->length = length;
	known->pin = pin;
	known->until_ns = vg_tree_now_ns(tree) + VG_TREE_KNOWN_NS;
}

void vg_parent_forget(struct vg_tree *tree)
{
	for (int i = 0; tree->known && i < VG_TREE_KNOWN; i++) {
		vg_file_free(tree->pool, tree->known[i].path);
		tree->known[i] = (struct vg_known){ 0 };
	}
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

static void ask_at(struct vg_tree_task *task);

static void done(struct vg_tree_task *task, int error)
{
	task->error = error;
	task->parent_then(task);
}

/* What the home of something that is no directory says it is. */
static void on_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	enum vg_home_kind kind = (enum vg_home_kind)(reply->argument & 0xff);

	if (reply->error)
		done(task, reply->error);
	else
		done(task, kind == VG_KIND_SYMLINK ? -ELOOP : vg_kind_is_object(kind) ? -ENOTDIR : -ENOENT);
}

/* Its name node is silent: a copy that is here is believed. */
static void on_copy(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	bool here = !reply->error && (reply->argument & 0xff) == VG_KIND_DIRECTORY;

	task->pin = here ? (__u32)reply->ident : 0;
	done(task, here ? 0 : -EHOSTDOWN);
}

static void on_look(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	struct vg_tree *tree = task->tree;
	enum vg_home_kind kind = (enum vg_home_kind)(reply->argument & 0xff);
	__u16 home = (__u16)(reply->argument >> 8 & 0xffff);
	bool is_parent = task->at == vg_tree_parent(task->parent_of, task->parent_of_length);

	if (reply->error == -EHOSTDOWN && is_parent) {
		vg_tree_ask_look(task, tree->self, task->parent_of, task->at, on_copy);
	} else if (reply->error) {
		done(task, reply->error);
	} else if (kind == VG_KIND_DIRECTORY) {
		vg_parent_learn(tree, task->parent_of, task->at, (__u32)reply->ident);
		task->pin = is_parent ? (__u32)reply->ident : 0;
		done(task, is_parent ? 0 : -ENOENT);
	} else if (kind == VG_KIND_STUB && home < tree->nodes) {
		vg_tree_ask_look(task, home, task->parent_of, task->at, on_home);
	} else if (kind != VG_KIND_NOTHING) {
		done(task, kind == VG_KIND_SYMLINK ? -ELOOP : -ENOTDIR);
	} else {
		task->at = vg_tree_parent(task->parent_of, task->at);
		ask_at(task);
	}
}

static void ask_at(struct vg_tree_task *task)
{
	__u16 owner = vg_tree_owner(task->tree, task->parent_of, task->at);
	bool is_parent = task->at == vg_tree_parent(task->parent_of, task->parent_of_length);

	if (vg_parent_known(task->tree, task->parent_of, task->at, is_parent ? &task->pin : NULL)) {
		done(task, is_parent ? 0 : -ENOENT);
		return;
	}
	vg_tree_ask_look(task, owner, task->parent_of, task->at, on_look);
}

void vg_parent_check(struct vg_tree_task *task, const char *path, __u32 length, vg_task_fn then)
{
	task->parent_of = path;
	task->parent_of_length = length;
	task->parent_then = then;
	task->at = vg_tree_parent(path, length);
	ask_at(task);
}
