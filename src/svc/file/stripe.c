// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Striped files. The stub at the home names the pieces' nodes and is the file: as long as it is there, the file is.
 * Mode, owner and extended attributes are those of an empty file beside it; size and times are the pieces'. A new one
 * is made under a name of its own: pieces, attributes, stub; then the stub is renamed to the file's name. One that goes
 * is kept in the trash until its pieces are gone (mend.c).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/file/disk.h"
#include "svc/file/tree_inner.h"

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

bool vg_stripe_parse(const char *name, __u64 *ret_id, __u32 *ret_index)
{
	__u64 id = 0;
	__u32 index = 0;
	int digits = 0, places = 0;

	for (; *name && *name != '.'; name++, digits++) {
		int digit = *name >= '0' && *name <= '9' ? *name - '0' :
			    *name >= 'a' && *name <= 'f' ? *name - 'a' + 10 :
							   -1;

		if (digit < 0 || digits == 16)
			return false;
		id = id << 4 | (__u64)digit;
	}
	if (!digits || *name++ != '.')
		return false;
	for (; *name >= '0' && *name <= '9' && places < 3; name++, places++)
		index = index * 10 + (__u32)(*name - '0');
	*ret_id = id;
	*ret_index = index;
	return places && !*name && index < VG_FILE_STRIPES_MAX;
}

bool vg_stripe_is_piece(const struct vg_file_op *op)
{
	return op->flags & VG_FILE_PIECE &&
	       (op->opcode == VG_OP_FILE_OPEN || op->opcode == VG_OP_FILE_STAT || op->opcode == VG_OP_FILE_CHANGE ||
		op->opcode == VG_OP_FILE_FETCH || op->opcode == VG_OP_FILE_UNLINK);
}

bool vg_stripe_begin(struct vg_file_op *op)
{
	char path[80];
	__u32 index;
	__u64 id;
	int error = -EINVAL;

	/* The stub's node makes and removes them. */
	if (op->opcode == VG_OP_FILE_UNLINK) {
		error = -EPERM;
	} else if (vg_stripe_parse(op->path, &id, &index)) {
		vg_tree_piece_path(id, index, path);
		error = vg_op_set_path(op, &op->pool->exports[0], path, (__u32)strlen(path));
	}
	if (op->opcode == VG_OP_FILE_OPEN)
		op->argument &= ~((__u64)(VG_FILE_O_CREATE | VG_FILE_O_EXCLUSIVE) << 32);
	if (error)
		vg_op_fail(op, error);
	return !error;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static int attributes(struct vg_file_op *op)
{
	char path[64], target[VG_FILE_TARGET_MAX];

	vg_tree_attributes_path(op->own.name.cursor, path);
	return vg_disk_stat(op->pool->root_fd, path, &op->own.name.stat, target);
}

/* op->target has what the stub says; the answer takes its place. */
static void answer(struct vg_file_op *op, int result)
{
	struct {
		struct vg_file_stat stat;
		struct vg_file_stripes stripes;
		__be16 node[VG_ALIGN_UP(VG_FILE_STRIPES_MAX, 4)];
	} body = { 0 };
	struct vg_stub stub;

	_Static_assert(sizeof(body) <= sizeof(op->target), "it has room");
	if (!result && vg_stub_parse(op->target, strlen(op->target), &stub) != VG_STUB_STRIPED)
		result = -EIO;
	if (result) {
		op->begun = false;
		vg_op_fail(op, result);
		return;
	}
	vg_file_stat_pack(op->pool, &op->own.name.stat, &body.stat);
	body.stat.flags = VG_HTOBE16(VG_FILE_STRIPED);
	body.stripes.id = VG_HTOBE64(stub.id);
	body.stripes.unit = VG_HTOBE32(stub.unit);
	body.stripes.count = VG_HTOBE16(stub.count);
	for (int i = 0; i < stub.count; i++)
		body.node[i] = VG_HTOBE16(stub.node[i]);
	memcpy(op->target, &body, sizeof(body));
	op->answer.flags |= VG_FILE_STRIPED;
	op->answer.body = op->target;
	op->answer.body_length = (__u32)(sizeof(body.stat) + sizeof(body.stripes) + VG_ALIGN_UP(2u * stub.count, 8u));
	vg_op_ok(op);
}

static void run_on_attributes(struct vg_file_op *op, const struct vg_stub *stub)
{
	char path[64];

	vg_tree_attributes_path(stub->id, path);
	if (!op->body_length && op->opcode != VG_OP_FILE_XATTR_LIST) { /* the body was a name, and is in there now */
		memcpy(op->target, op->own.name.attribute, sizeof(op->own.name.attribute));
		op->body = (const __u8 *)op->target;
		op->body_length = (__u32)strlen(op->target);
	}
	if (vg_op_set_path(op, &op->pool->exports[0], path, (__u32)strlen(path))) {
		op->begun = false;
		vg_op_fail(op, -ENOMEM);
		return;
	}
	memset(&op->own, 0, sizeof(op->own));
	vg_op_run(op);
}

static bool changes_pieces(const struct vg_file_op *op)
{
	struct vg_file_change change;

	memcpy(&change, op->body, sizeof(change));
	return VG_BE32TOH(change.mask) & VG_FILE_CHANGE_OF_PIECES;
}

void vg_stripe_met(struct vg_file_op *op, const struct vg_stub *stub)
{
	switch (op->opcode) {
	case VG_OP_FILE_CHANGE:
		if (!changes_pieces(op)) {
			run_on_attributes(op, stub);
			return;
		}
		break;
	case VG_OP_FILE_XATTR_GET:
	case VG_OP_FILE_XATTR_SET:
	case VG_OP_FILE_XATTR_LIST:
	case VG_OP_FILE_XATTR_REMOVE:
		run_on_attributes(op, stub);
		return;
	case VG_OP_FILE_OPEN:
	case VG_OP_FILE_STAT:
	case VG_OP_FILE_FETCH:
	case VG_OP_FILE_PUT:
		break;
	default:
		op->begun = false;
		vg_op_fail(op, -EINVAL);
		return;
	}
	memset(&op->own, 0, sizeof(op->own));
	op->own.name.cursor = stub->id;
	vg_op_work(op, attributes, answer);
}

/* ---- a new one --------------------------------------------------------------------------------------------------- */

bool vg_stripe_is_create(const struct vg_file_op *op)
{
	return op->opcode == VG_OP_FILE_OPEN && op->body_length == sizeof(struct vg_file_stripes) &&
	       op->argument >> 32 & VG_FILE_O_CREATE;
}

static int give_up(struct vg_tree_task *task)
{
	return vg_tree_making_end(task->root, task->stub.id);
}

static void gave_up(struct vg_tree_task *task, int result)
{
	(void)result;
	vg_mend_soon(task->tree);
	vg_task_fail(task, task->result);
}

static void placed(struct vg_tree_task *task, int result)
{
	struct vg_file_op *op = task->op;

	task->result = result;
	if (result) {
		vg_task_work(task, give_up, gave_up);
		return;
	}
	(void)vg_stub_format(&task->stub, op->target);
	vg_stripe_met(op, &task->stub);
}

static int place(struct vg_tree_task *task)
{
	return vg_tree_making_place(task->root, task->stub.id, task->path);
}

static void pieces_made(struct vg_tree_task *task)
{
	if (task->error)
		placed(task, task->error);
	else
		vg_task_work(task, place, placed);
}

static int begin_making(struct vg_tree_task *task)
{
	int error = vg_tree_make_own(task->root);

	error = error ?: vg_tree_making_begin(task->root, &task->stub);
	return error ?: vg_tree_attributes_make(task->root, task->stub.id, (__u32)task->op->argument & 07777);
}

static void on_begun(struct vg_tree_task *task, int result)
{
	if (result)
		placed(task, result);
	else
		vg_tree_ask_pieces(task, VG_HOME_PIECE_MAKE, pieces_made);
}

static void make(struct vg_tree_task *task)
{
	struct vg_file_stripes asked;
	__u32 unit, count;

	memcpy(&asked, task->op->body, sizeof(asked));
	unit = VG_BE32TOH(asked.unit);
	count = VG_BE16TOH(asked.count);
	if (!unit || unit % VG_STUB_UNIT_STEP || unit > VG_STUB_UNIT_MAX || count > VG_FILE_STRIPES_MAX) {
		vg_task_fail(task, -EINVAL);
		return;
	}
	task->stub = (struct vg_stub){ .kind = VG_STUB_STRIPED, .unit = unit };
	task->stub.id = vg_env_random(task->tree->pool->env) ^ task->tree->pool->life;
	vg_place_stripes(task->tree, &task->stub, count ? count : VG_FILE_STRIPES_MAX);
	vg_task_work(task, begin_making, on_begun);
}

static int remove_stub(struct vg_tree_task *task)
{
	return vg_tree_stub_remove(task->root, task->path, task->home);
}

static void stub_removed(struct vg_tree_task *task, int result)
{
	if (result)
		vg_task_fail(task, result);
	else
		make(task);
}

static void on_home(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	bool there = vg_kind_is_object((enum vg_home_kind)(reply->argument & 0xff));

	if (reply->error)
		vg_task_fail(task, reply->error);
	else if (!there)
		vg_task_work(task, remove_stub, stub_removed);
	else if (task->op->argument >> 32 & VG_FILE_O_EXCLUSIVE)
		vg_task_fail(task, -EEXIST);
	else
		vg_task_elsewhere(task, task->home, 0);
}

static void on_looked(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	enum vg_home_kind kind = (enum vg_home_kind)(reply->argument & 0xff);

	task->home = (__u16)(reply->argument >> 8 & 0xffff);
	if (reply->error)
		vg_task_fail(task, reply->error);
	else if (kind == VG_KIND_NOTHING)
		make(task);
	else if (kind == VG_KIND_STUB && task->home < task->tree->nodes && task->home != task->tree->self)
		vg_tree_ask(task, task->home, VG_HOME_ARGUMENT(VG_HOME_LOOK, 0, 0, 0), task->path, task->path_length,
			    NULL, 0, on_home);
	else
		vg_task_run(task); /* there is something: opening it says what */
}

/* The name is held, its directory exists. */
void vg_stripe_create(struct vg_tree_task *task)
{
	vg_tree_ask_look(task, task->tree->self, task->path, task->path_length, on_looked);
}
