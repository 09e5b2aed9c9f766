// SPDX-License-Identifier: GPL-3.0-or-later
/* FILE_HOME: what another node, or a task of this one, asks of this node. */
#include <errno.h>
#include <string.h>

#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/tree_inner.h"

int vg_tree_goes_begin(struct vg_file_pool *pool, const char *path, struct vg_quota_name *ret_name)
{
	int error = vg_quota_name_begin(pool, path, ret_name);

	/* Nothing, or a stub, which nobody has counted. */
	return error == -ENOENT || error == -EREMOTE ? 0 : error;
}

/* Run on a helper thread: the op's own path and other, and vg_home_own. */
static int look(struct vg_file_op *op)
{
	struct vg_home_own *own = vg_home_own(op);
	struct vg_tree_look found;
	int error = vg_tree_look(op->pool->root_fd, op->path, &found);

	own->result = (__u64)found.kind | (__u64)found.stub.home << 8 | (__u64)found.mode << 32;
	own->result_ident = found.pin;
	return error;
}

static int create(struct vg_file_op *op)
{
	int error;

	vg_quota_make_begin(op);
	error = vg_tree_create(op->pool->root_fd, op->path, vg_home_own(op)->mode);
	vg_quota_make_end(op, !error);
	return error;
}

static int unlink_object(struct vg_file_op *op)
{
	struct vg_quota_name gone;
	int error = vg_tree_goes_begin(op->pool, op->path, &gone) ?: vg_tree_unlink(op->pool->root_fd, op->path);

	vg_quota_name_end(op->pool, &gone);
	return error;
}

static int move(struct vg_file_op *op)
{
	struct vg_home_own *own = vg_home_own(op);
	struct vg_quota_name gone;
	int result = vg_tree_goes_begin(op->pool, op->other, &gone);

	if (!result)
		result = vg_tree_move(op->pool->root_fd, op->path, op->other, own->flags & VG_HOME_NO_REPLACE);
	vg_quota_name_end(op->pool, &gone);
	own->result = result == 1;
	return result < 0 ? result : 0;
}

static int link_object(struct vg_file_op *op)
{
	return vg_tree_link(op->pool->root_fd, op->path, op->other);
}

static int empty(struct vg_file_op *op)
{
	const struct vg_tree_mine mine = { .self = op->pool->self, .cluster = op->pool->env->cluster };

	return vg_tree_empty(op->pool->root_fd, op->path, &mine);
}

static int attributes(struct vg_file_op *op)
{
	return vg_tree_attributes_write(op->pool->root_fd, op->path, op->body, op->body_length,
					op->pool->settings->ids);
}

static int drop(struct vg_file_op *op)
{
	return vg_tree_drop(op->pool->root_fd, op->path);
}

static int shift(struct vg_file_op *op)
{
	__u16 owner = vg_cluster_owner(op->pool->env->cluster, vg_file_partition(op->other, op->other_length));

	return vg_tree_shift(op->pool->root_fd, op->path, op->other, owner == op->pool->self, vg_home_own(op)->mode);
}

static int piece_make(struct vg_file_op *op)
{
	__u32 index;
	__u64 id;

	if (!vg_stripe_parse(op->path, &id, &index))
		return -EINVAL;
	return vg_tree_make_own(op->pool->root_fd) ?: vg_tree_piece_make(op->pool->root_fd, id, index);
}

static int piece_drop(struct vg_file_op *op)
{
	__u32 index;
	__u64 id;

	return vg_stripe_parse(op->path, &id, &index) ? vg_tree_piece_drop(op->pool->root_fd, id, index) : -EINVAL;
}

static int space(struct vg_file_op *op)
{
	struct statfs statfs;
	int error = vg_disk_statfs(op->pool->root_fd, &statfs);

	vg_home_own(op)->result = error ? 0 : (__u64)statfs.f_bavail * (__u64)statfs.f_bsize;
	return error;
}

static const struct {
	int (*work)(struct vg_file_op *op);
	bool has_other, leaves_trash;
} verbs[VG_HOME_VERBS] = {
	[VG_HOME_LOOK] = { look },
	[VG_HOME_CREATE] = { create },
	[VG_HOME_UNLINK] = { unlink_object, .leaves_trash = true },
	[VG_HOME_MOVE] = { move, .has_other = true, .leaves_trash = true },
	[VG_HOME_LINK] = { link_object, .has_other = true },
	[VG_HOME_EMPTY] = { empty },
	[VG_HOME_ATTRIBUTES] = { attributes },
	[VG_HOME_DROP] = { drop },
	[VG_HOME_SHIFT] = { shift, .has_other = true },
	[VG_HOME_PIECE_MAKE] = { piece_make },
	[VG_HOME_PIECE_DROP] = { piece_drop },
	[VG_HOME_SPACE] = { space },
};

static void on_done(struct vg_file_op *op, int result)
{
	const struct vg_home_own *own = vg_home_own(op);

	if (verbs[own->verb].leaves_trash)
		vg_mend_soon(vg_tree_of(op->pool));
	if (own->verb == VG_HOME_SPACE)
		op->answer.ident = vg_place_load(op->pool);
	else
		op->answer.ident = own->result_ident;
	op->answer.argument = own->result;
	if (result)
		vg_op_fail(op, result);
	else
		vg_op_ok(op);
}

/* What concerns the order of changes stays on this thread. */
static bool run_here(struct vg_file_op *op, const struct vg_home_own *own)
{
	struct vg_tree *tree = vg_tree_of(op->pool);

	switch (own->verb) {
	case VG_HOME_PREPARE:
		vg_prepare_run(op);
		return true;
	case VG_HOME_COMMIT:
	case VG_HOME_ABORT:
		vg_commit_run(op, own->verb == VG_HOME_COMMIT, own->flags & VG_HOME_UNKNOWN);
		return true;
	case VG_HOME_FREEZE:
		vg_gate_freeze(tree, op);
		return true;
	case VG_HOME_BEGUN:
		if (!op->local) {
			vg_gate_begun(tree, op->source_node, op->ident);
			vg_place_begun(tree, op->source_node);
		}
		vg_op_ok(op);
		return true;
	case VG_HOME_THAW:
		vg_gate_thaw(tree, op->ident, op->local ? tree->self : op->source_node);
		vg_op_ok(op);
		return true;
	}
	return false;
}

/* The tag says that it is a node; where there is no key, the address has to, as far as addresses say anything. */
static bool is_of_a_node(struct vg_file_op *op)
{
	struct vg_tree *tree = vg_tree_of(op->pool);
	struct vg_session *session;

	if (op->local)
		return true;
	if (!tree || op->source_node >= tree->nodes || op->source_node == tree->self)
		return false;
	session = vg_op_session(op);
	return op->key || (session && (!strncmp(session->peer, "127.", 4) || !strncmp(session->peer, "[::1]:", 6) ||
				       vg_place_node_of(tree, session->peer) != VG_NODE_NONE));
}

void vg_tree_home(struct vg_file_op *op)
{
	struct vg_home_own *own = vg_home_own(op);

	own->verb = (__u8)op->argument;
	own->flags = (__u8)(op->argument >> 8);
	own->node = (__u16)(op->argument >> 16);
	own->mode = (__u32)(op->argument >> 32);
	if (!is_of_a_node(op)) {
		vg_op_fail(op, -EPERM);
		return;
	}
	if (own->verb == VG_HOME_ATTRIBUTES) {
		if (op->body_length < sizeof(struct vg_tree_attributes))
			own->verb = VG_HOME_VERBS;
	} else if (!op->other && op->body_length) {
		int error = -vg_file_path_check(op->body, op->body_length);

		error = error ?: vg_op_set_other(op, op->export, op->body, op->body_length);
		if (error) {
			vg_op_fail(op, error);
			return;
		}
		op->body_length = 0;
	}
	if (own->node >= vg_tree_of(op->pool)->nodes)
		own->verb = VG_HOME_VERBS;
	if (own->verb < VG_HOME_VERBS && run_here(op, own))
		return;
	if (own->verb >= VG_HOME_VERBS || !verbs[own->verb].work || (verbs[own->verb].has_other && !op->other))
		vg_op_fail(op, -EINVAL);
	else if (own->verb != VG_HOME_CREATE || vg_quota_made_elsewhere(op))
		vg_op_work(op, verbs[own->verb].work, on_done);
}
