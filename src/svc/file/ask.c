// SPDX-License-Identifier: GPL-3.0-or-later
/* Questions of a task to nodes. What is asked of this node takes the same way, as an operation of its own. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/file/tree_inner.h"

struct vg_tree_call {
	struct vg_tree_task *task;
	vg_tree_fn fn;
	__u16 node;
};

static void answer(struct vg_tree_call *call, int error, __u64 ident, __u64 argument)
{
	struct vg_tree_call asked = *call;
	const struct vg_tree_reply reply = { .error = error, .ident = ident, .argument = argument };

	vg_file_free(call->task->tree->pool, call);
	asked.task->busy = asked.task->open > 1;
	asked.task->at_node = asked.node;
	asked.fn(asked.task, &reply);
}

static int error_of(const struct vg_peer_reply *reply)
{
	if (reply->error)
		return -EHOSTDOWN;
	switch (reply->status) {
	case VG_STATUS_OK:
		return 0;
	case VG_STATUS_ERRNO:
		return reply->argument && reply->argument < 4096 ? -(int)reply->argument : -EIO;
	case VG_STATUS_BUSY:
	case VG_STATUS_NO_MEMORY:
		return -ENOMEM;
	default:
		return -EREMOTEIO;
	}
}

static void on_peer(void *context, const struct vg_peer_reply *reply)
{
	answer(context, error_of(reply), reply->ident, reply->argument);
}

static void on_own(struct vg_file_op *op, int error)
{
	answer(vg_home_own(op)->call, error, op->answer.ident, op->answer.argument);
}

static int ask_self(struct vg_tree_call *call, __u64 ident, __u64 argument, const char *path, __u32 length,
		    const char *other, __u32 other_length)
{
	struct vg_file_pool *pool = call->task->tree->pool;
	struct vg_file_op *op = vg_op_new_local(pool, VG_OP_FILE_HOME, on_own);
	int error;

	if (!op)
		return -ENOMEM;
	vg_home_own(op)->call = call;
	op->ident = ident;
	op->argument = argument;
	error = vg_op_set_path(op, op->export, path, length);
	if (!error && other_length)
		error = vg_op_set_other(op, op->export, other, other_length);
	if (error)
		vg_op_fail(op, error); /* answers the call */
	else
		vg_op_after_retry(op);
	return 0;
}

void vg_tree_ask(struct vg_tree_task *task, __u16 node, __u64 argument, const char *path, __u32 length,
		 const char *other, __u32 other_length, vg_tree_fn fn)
{
	struct vg_tree *tree = task->tree;
	struct vg_tree_call *call = vg_file_alloc(tree->pool, sizeof(*call));
	const struct iovec body = { (void *)other, other_length };
	const struct vg_peer_request request = {
		.opcode = VG_OP_FILE_HOME,
		.door = VG_DOOR_FILE,
		.tentative = task->tentative,
		.ident = task->id,
		.argument = argument,
		.key = path,
		.key_length = length,
		.body = &body,
		.body_count = other_length ? 1 : 0,
	};
	const struct vg_tree_reply no_memory = { .error = -ENOMEM };

	if (!call) {
		fn(task, &no_memory);
		return;
	}
	*call = (struct vg_tree_call){ .task = task, .fn = fn, .node = node };
	task->busy = true;
	if (node != tree->self) {
		tree->pool->counts.asked_nodes++;
		vg_peers_ask(tree->pool->env->peers, node, &request, on_peer, call);
	} else if (ask_self(call, task->id, argument, path, length, other, other_length)) {
		answer(call, -ENOMEM, 0, 0);
	}
}

void vg_tree_ask_look(struct vg_tree_task *task, __u16 node, const char *path, __u32 length, vg_tree_fn fn)
{
	vg_tree_ask(task, node, VG_HOME_ARGUMENT(VG_HOME_LOOK, 0, 0, 0), path, length, NULL, 0, fn);
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

/* Which of two failures says more: what cannot be known, then what was refused, then what may be tried again. */
static int weight(int error)
{
	return error == -EHOSTDOWN ? 3 : error == -EAGAIN ? 1 : error ? 2 : 0;
}

static void on_one(struct vg_tree_task *task, const struct vg_tree_reply *reply)
{
	if (weight(reply->error) > weight(task->error)) {
		task->error = reply->error;
		task->failed_node = task->at_node;
	}
	if (--task->open)
		return;
	task->busy = false;
	task->then(task);
}

void vg_tree_ask_all(struct vg_tree_task *task, bool self_too, __u64 argument, const char *path, __u32 length,
		     const char *other, __u32 other_length, vg_task_fn then)
{
	const struct vg_tree_reply none = { 0 };

	task->error = 0;
	task->then = then;
	task->open = 1; /* this call itself: an answer may come at once */
	for (__u16 node = 0; node < task->tree->nodes; node++) {
		if (node == task->tree->self && !self_too)
			continue;
		task->open++;
		vg_tree_ask(task, node, argument, path, length, other, other_length, on_one);
	}
	on_one(task, &none);
}

void vg_tree_ask_pieces(struct vg_tree_task *task, enum vg_home_verb verb, vg_task_fn then)
{
	const struct vg_stub stub = task->stub;
	const struct vg_tree_reply none = { 0 };
	char key[32];

	task->error = 0;
	task->then = then;
	task->open = 1;
	for (__u32 i = 0; i < stub.count; i++) {
		int length = snprintf(key, sizeof(key), "%llx.%u", stub.id, i);

		task->open++;
		vg_tree_ask(task, stub.node[i], VG_HOME_ARGUMENT(verb, 0, 0, 0), key, (__u32)length, NULL, 0, on_one);
	}
	on_one(task, &none);
}
