// SPDX-License-Identifier: GPL-3.0-or-later
/* Which node an operation is for, and the life of what takes more than one step. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "svc/file/tree_inner.h"

__u16 vg_tree_owner(const struct vg_tree *tree, const char *path, __u32 length)
{
	return vg_cluster_owner(tree->pool->env->cluster, vg_file_partition(path, length));
}

/* It is there, and who asks will be told so, or asked for. */
static void go_elsewhere(struct vg_file_op *op, __u16 node, bool at_home)
{
	if (op->text)
		vg_far_open(op, node, op->flags | op->answer.flags | (at_home ? VG_FILE_AT_HOME : 0));
	else
		vg_op_wrong_node(op, node, at_home);
}

/* ---- routing ---------------------------------------------------------------------------------------------------- */

/* What concerns each node's own part, or nobody's. */
static bool is_of_any_node(const struct vg_file_op *op)
{
	return !op->path_length || op->opcode == VG_OP_FILE_WATCH || op->opcode == VG_OP_FILE_HOME;
}

static bool makes_a_name(const struct vg_file_op *op)
{
	return op->opcode == VG_OP_FILE_MKDIR || op->opcode == VG_OP_FILE_SYMLINK || op->opcode == VG_OP_FILE_PUT ||
	       (op->opcode == VG_OP_FILE_OPEN && op->argument >> 32 & VG_FILE_O_CREATE);
}

static bool changes_a_name(const struct vg_file_op *op)
{
	return op->opcode == VG_OP_FILE_RENAME || op->opcode == VG_OP_FILE_LINK || op->opcode == VG_OP_FILE_UNLINK ||
	       op->opcode == VG_OP_FILE_RMDIR;
}

/* The name node has seen to it that it is there, and that it is who asks who made it. */
static bool begin_at_home(struct vg_file_op *op)
{
	if (changes_a_name(op) || op->opcode == VG_OP_FILE_MKDIR || op->opcode == VG_OP_FILE_SYMLINK) {
		vg_op_fail(op, -EINVAL);
		return false;
	}
	if (op->opcode == VG_OP_FILE_OPEN || op->opcode == VG_OP_FILE_PUT)
		op->argument &= ~((__u64)(VG_FILE_O_CREATE | VG_FILE_O_EXCLUSIVE) << 32);
	return true;
}

static void begin_task(struct vg_tree *tree, struct vg_file_op *op)
{
	struct vg_tree_task *task;

	if (vg_op_keep(op))
		return;
	task = vg_task_new(tree, op);
	if (!task) {
		vg_op_fail(op, -ENOMEM);
		return;
	}
	switch (op->opcode) {
	case VG_OP_FILE_RENAME:
	case VG_OP_FILE_LINK:
		vg_rename_begin(task);
		break;
	case VG_OP_FILE_UNLINK:
		vg_unlink_begin(task);
		break;
	case VG_OP_FILE_RMDIR:
		vg_rmdir_begin(task);
		break;
	default:
		vg_create_begin(task);
	}
}

bool vg_tree_begin(struct vg_file_op *op)
{
	struct vg_tree *tree = vg_tree_of(op->pool);
	__u16 owner;

	if (op->local || op->opcode == VG_OP_FILE_HOME)
		return true;
	if (vg_stripe_is_piece(op))
		return vg_stripe_begin(op);
	if (op->pool->alone && !vg_stripe_is_create(op))
		return true;
	owner = vg_tree_owner(tree, op->path, op->path_length);
	if (owner != tree->self && !is_of_any_node(op) && !(op->flags & VG_FILE_AT_HOME)) {
		go_elsewhere(op, owner, false);
		return false;
	}
	if ((tree->locks || tree->freezes) && vg_gate_wait(tree, op))
		return false;
	if (op->flags & VG_FILE_AT_HOME)
		return begin_at_home(op);
	if (!op->path_length || !(makes_a_name(op) || changes_a_name(op)))
		return true;
	begin_task(tree, op);
	return false;
}

/* ---- what failed here ------------------------------------------------------------------------------------------- */

/* Nobody is there: but is that because a directory on the way is something else, somewhere else? */
static void answer_absent(struct vg_tree_task *task)
{
	int error = task->error ?: -ENOENT;

	vg_task_fail(task, error);
}

void vg_task_absent(struct vg_tree_task *task)
{
	vg_parent_check(task, task->path, task->path_length, answer_absent);
}

static bool met_stub(struct vg_file_op *op)
{
	struct vg_tree *tree = vg_tree_of(op->pool);
	struct vg_stub stub = { 0 };

	if (vg_stub_parse(op->target, strlen(op->target), &stub) == VG_STUB_STRIPED) {
		vg_stripe_met(op, &stub);
		return true;
	}
	if (op->flags & VG_FILE_AT_HOME || stub.kind != VG_STUB_HOME || stub.home == tree->self ||
	    stub.home >= tree->nodes) {
		op->begun = false;
		vg_op_fail(op, -ENOENT);
		return true;
	}
	go_elsewhere(op, stub.home, true);
	return true;
}

bool vg_tree_failed(struct vg_file_op *op, int error)
{
	struct vg_tree_task *task = op->tree;
	struct vg_tree *tree = vg_tree_of(op->pool);

	if (op->local || op->opcode == VG_OP_FILE_HOME || op->answered)
		return false;
	if (task && !task->looked && makes_a_name(op) &&
	    (error == -EREMOTE || error == -ENOENT || error == -ENOTDIR || error == -EEXIST)) {
		vg_create_met(task, error);
		return true;
	}
	if (error == -EREMOTE)
		return met_stub(op);
	if (error != -ENOENT || task || op->pool->alone || op->flags & VG_FILE_AT_HOME || vg_stripe_is_piece(op) ||
	    (is_of_any_node(op) && op->opcode != VG_OP_FILE_WATCH))
		return false;
	if (op->opcode != VG_OP_FILE_WATCH &&
	    vg_parent_known(tree, op->path, vg_tree_parent(op->path, op->path_length), NULL))
		return false;
	if (vg_op_keep(op))
		return true;
	task = vg_task_new(tree, op);
	if (!task)
		return false;
	if (op->opcode == VG_OP_FILE_WATCH)
		vg_create_copy(task);
	else
		vg_task_absent(task);
	return true;
}

/* ---- tasks ------------------------------------------------------------------------------------------------------ */

static struct vg_tree_task *task_get(struct vg_tree *tree)
{
	struct vg_tree_task *task = tree->tasks_free;

	if (task)
		tree->tasks_free = task->next;
	else
		task = vg_file_alloc(tree->pool, sizeof(*task));
	if (task)
		*task = (struct vg_tree_task){ .tree = tree, .id = ++tree->next_task };
	return task;
}

static void task_put(struct vg_tree_task *task)
{
	struct vg_tree *tree = task->tree;

	assert(!task->busy && !task->open);
	if (task->other_lock)
		vg_gate_unlock(tree, task->other_lock);
	if (task->lock)
		vg_gate_unlock(tree, task->lock);
	vg_file_free(tree->pool, task->buffer);
	if (task->owns_paths)
		vg_file_free(tree->pool, task->path);
	task->next = tree->tasks_free;
	tree->tasks_free = task;
}

struct vg_tree_task *vg_task_new(struct vg_tree *tree, struct vg_file_op *op)
{
	struct vg_tree_task *task = task_get(tree);

	if (!task)
		return NULL;
	task->op = op;
	task->path = op->path;
	task->path_length = op->path_length;
	task->other = op->other;
	task->other_length = op->other_length;
	if ((makes_a_name(op) || changes_a_name(op)) && !vg_gate_find(tree, op->path, op->path_length)) {
		task->lock = vg_gate_lock(tree, op->path, op->path_length, task->id, tree->self);
		if (!task->lock) {
			task_put(task);
			return NULL;
		}
	}
	op->tree = task;
	return task;
}

struct vg_tree_task *vg_task_new_own(struct vg_tree *tree, const char *path, const char *other)
{
	struct vg_tree_task *task = task_get(tree);
	size_t length = strlen(path), other_length = strlen(other);

	if (!task)
		return NULL;
	task->path = vg_file_alloc(tree->pool, length + other_length + 2);
	if (!task->path) {
		task_put(task);
		return NULL;
	}
	task->owns_paths = true;
	task->other = task->path + length + 1;
	memcpy(task->path, path, length + 1);
	memcpy(task->other, other, other_length + 1);
	task->path_length = (__u32)length;
	task->other_length = (__u32)other_length;
	return task;
}

void vg_task_end(struct vg_tree_task *task)
{
	assert(!task->op);
	task_put(task);
}

void vg_tree_end(struct vg_file_op *op, int error)
{
	struct vg_tree_task *task = op->tree;

	(void)error;
	op->tree = NULL;
	task_put(task);
}

void vg_task_fail(struct vg_tree_task *task, int error)
{
	task->looked = true;
	task->op->begun = false; /* that is the answer */
	vg_op_fail(task->op, error);
}

void vg_task_ok(struct vg_tree_task *task)
{
	vg_op_ok(task->op);
}

void vg_task_elsewhere(struct vg_tree_task *task, __u16 home, __u16 flags)
{
	task->op->answer.flags |= flags;
	go_elsewhere(task->op, home, true);
}

void vg_task_run(struct vg_tree_task *task)
{
	memset(&task->op->own, 0, sizeof(task->op->own)); /* perhaps it ran before */
	vg_op_run(task->op);
}

static void on_rested(void *context)
{
	struct vg_tree_task *task = context;

	task->busy = false;
	task->then(task);
}

void vg_task_rest(struct vg_tree_task *task, __u64 delay_ns, vg_task_fn then)
{
	task->then = then;
	task->busy = true;
	if (vg_env_timer(task->tree->pool->env, delay_ns, on_rested, task))
		on_rested(task);
}

static void begin_again(struct vg_tree_task *task)
{
	struct vg_file_op *op = task->op;

	op->tree = NULL;
	task_put(task);
	memset(&op->own, 0, sizeof(op->own));
	if (vg_tree_begin(op))
		vg_op_run(op);
}

void vg_task_again(struct vg_tree_task *task)
{
	struct vg_tree *tree = task->tree;

	if (vg_tree_now_ns(tree) - task->op->started_ns > VG_TREE_BUSY_MS * 1000000ull) {
		vg_task_fail(task, -EBUSY);
		return;
	}
	if (task->lock)
		vg_gate_unlock(tree, task->lock);
	task->lock = NULL;
	/* Of two that met, one is likely to be first next time. */
	vg_task_rest(task, (1 + vg_env_random(tree->pool->env) % 16) * 1000000ull, begin_again);
}

static int work(void *context)
{
	struct vg_tree_task *task = context;

	return task->work(task);
}

static void on_worked(void *owner, const struct vg_io_event *event)
{
	struct vg_tree_task *task = owner;

	vg_env_turn(task->tree->pool->env);
	task->busy = false;
	task->worked(task, event->result);
}

void vg_task_work(struct vg_tree_task *task, int (*fn)(struct vg_tree_task *task), vg_task_result_fn worked)
{
	struct vg_file_pool *pool = task->tree->pool;

	task->work = fn;
	task->worked = worked;
	task->root = pool->root_fd;
	task->busy = true;
	if (vg_io_call(pool->env->io, work, task, on_worked, task, NULL)) {
		task->busy = false;
		worked(task, -EBUSY);
	}
}

/* ---- the tree --------------------------------------------------------------------------------------------------- */

static void on_tick(void *context)
{
	struct vg_tree *tree = context;

	if (tree->stopping)
		return;
	if (!tree->ticks++)
		vg_place_begin(tree);
	vg_gate_tick(tree);
	vg_place_tick(tree);
	vg_mend_tick(tree);
	(void)vg_env_timer(tree->pool->env, VG_TREE_TICK_NS, on_tick, tree);
}

int vg_tree_init(struct vg_file_pool *pool)
{
	const struct vg_cluster *cluster = pool->env->cluster;
	struct vg_tree *tree = vg_file_alloc(pool, sizeof(*tree));

	if (!tree)
		return -ENOMEM;
	*tree = (struct vg_tree){
		.pool = pool,
		.nodes = vg_cluster_nodes(cluster),
		.self = vg_cluster_self(cluster),
		.next_task = vg_clock_unix_ms(pool->env->clock) << 20,
	};
	pool->tree = tree;
	tree->known = vg_file_alloc(pool, VG_TREE_KNOWN * sizeof(*tree->known));
	tree->place = vg_file_alloc(pool, tree->nodes * sizeof(*tree->place));
	if (!tree->known || !tree->place)
		return -ENOMEM;
	memset(tree->known, 0, VG_TREE_KNOWN * sizeof(*tree->known));
	memset(tree->place, 0, tree->nodes * sizeof(*tree->place));
	return vg_mend_init(tree) ?: vg_env_timer(pool->env, 0, on_tick, tree);
}

void vg_tree_deinit(struct vg_file_pool *pool)
{
	struct vg_tree *tree = pool->tree;
	struct vg_tree_task *task;

	if (!tree)
		return;
	tree->stopping = true;
	vg_gate_deinit(tree);
	vg_parent_forget(tree);
	while ((task = tree->tasks_free)) {
		tree->tasks_free = task->next;
		vg_file_free(pool, task);
	}
	vg_file_free(pool, tree->known);
	vg_file_free(pool, tree->place);
	vg_file_free(pool, tree);
	pool->tree = NULL;
}
