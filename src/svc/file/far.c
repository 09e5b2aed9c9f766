// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Text clients and files of other nodes. A text client knows no nodes: what it opens is opened where it is, over this
 * node's link to that one, and its numbers stand for descriptors there. On the other node all of them are one client's,
 * this node, with a lease as any other: where the link is lost for longer they are gone, and the numbers with them.
 */
#include <errno.h>
#include <string.h>

#include "svc/file/tree.h"

#define HOPS_MAX 8

struct vg_file_far {
	struct vg_file_far *next;
	__u64 number, ident; /* the client's; the node's, which is in it */
};

/* op->own: an OPEN on its way. */
struct far_own {
	__u32 hops;
	__u16 node, flags;
};

static struct far_own *own_of(struct vg_file_op *op)
{
	return (struct far_own *)&op->own;
}

static void fail(struct vg_file_op *op, int error)
{
	op->begun = false; /* that is the answer */
	vg_op_fail(op, error);
}

static int error_of(const struct vg_peer_reply *reply)
{
	if (reply->error)
		return -EHOSTDOWN;
	if (reply->status == VG_STATUS_ERRNO && reply->argument && reply->argument < 4096)
		return -(int)reply->argument;
	return reply->status ? -EREMOTEIO : 0;
}

static void ask(struct vg_file_op *op, __u16 node, __u16 flags, vg_peer_fn fn)
{
	const struct iovec body = { (void *)op->body, op->body_length };
	const struct vg_peer_request request = {
		.opcode = op->opcode,
		.door = VG_DOOR_FILE,
		.partition = flags,
		.ident = op->ident,
		.argument = op->argument,
		.key = op->path,
		.key_length = op->path_length,
		.body = &body,
		.body_count = op->body_length ? 1 : 0,
	};

	op->pool->counts.asked_nodes++;
	vg_peers_ask(op->pool->env->peers, node, &request, fn, op);
}

/* ---- OPEN ------------------------------------------------------------------------------------------------------- */

static void on_opened(void *context, const struct vg_peer_reply *reply)
{
	struct vg_file_op *op = context;
	struct vg_file_client *client = op->client;
	struct vg_file_far *far;
	int error = error_of(reply);

	if (!reply->error && reply->status == VG_STATUS_WRONG_NODE) {
		vg_far_open(op, (__u16)reply->argument, own_of(op)->flags | (reply->partition & 0xff));
		return;
	}
	if (!error && reply->partition & VG_FILE_STRIPED)
		error = -EOPNOTSUPP; /* its pieces are of many nodes */
	far = error ? NULL : vg_file_alloc(op->pool, sizeof(*far));
	if (!error && !far)
		error = -ENOMEM;
	if (error) {
		fail(op, error);
		return;
	}
	*far = (struct vg_file_far){ .next = client->far, .number = client->text_next++, .ident = reply->ident };
	client->far = far;
	op->answer.ident = far->number;
	vg_op_ok(op);
}

/* The name is another node's, but the file is here. */
static void open_here(struct vg_file_op *op, __u16 flags)
{
	op->flags |= flags;
	op->far = false;
	op->answer = (struct vg_file_answer){ 0 };
	memset(&op->own, 0, sizeof(op->own));
	if (vg_tree_begin(op))
		vg_op_run(op);
}

void vg_far_open(struct vg_file_op *op, __u16 node, __u16 flags)
{
	struct far_own *own = own_of(op);

	if (vg_op_keep(op))
		return;
	if (!op->far) {
		op->far = true;
		memset(&op->own, 0, sizeof(op->own));
	}
	own->flags = flags;
	if (++own->hops > HOPS_MAX)
		fail(op, -ELOOP);
	else if (node == op->pool->self)
		open_here(op, flags);
	else
		ask(op, node, flags, on_opened);
}

/* ---- READ, WRITE, CLOSE ----------------------------------------------------------------------------------------- */

bool vg_far_find(const struct vg_file_client *client, __u64 number, __u64 *ret_ident)
{
	const struct vg_file_far *far = client->far;

	while (far && far->number != number)
		far = far->next;
	if (far)
		*ret_ident = far->ident;
	return far;
}

static void forget(struct vg_file_client *client, __u64 ident)
{
	struct vg_file_far **at = &client->far, *far;

	while ((far = *at) && far->ident != ident)
		at = &far->next;
	if (!far)
		return;
	*at = far->next;
	vg_file_free(client->pool, far);
}

static void on_used(void *context, const struct vg_peer_reply *reply)
{
	struct vg_file_op *op = context;
	int error = error_of(reply);

	if (op->opcode == VG_OP_FILE_CLOSE || error == -ESTALE)
		forget(op->client, op->ident);
	if (error) {
		fail(op, error);
		return;
	}
	op->answer.argument = reply->argument;
	op->answer.body = reply->body;
	op->answer.body_length = reply->body_length;
	vg_op_ok(op);
}

void vg_far_use(struct vg_file_op *op)
{
	if (!vg_op_keep(op))
		ask(op, (__u16)(op->ident >> VG_FILE_NODE_SHIFT), 0, on_used);
}

/* ---- the end of the client -------------------------------------------------------------------------------------- */

static void on_closed(void *context, const struct vg_peer_reply *reply)
{
	(void)context; /* if it was not heard, the lease of this node's descriptors there sees to it */
	(void)reply;
}

void vg_far_client_ended(struct vg_file_client *client)
{
	while (client->far) {
		const struct vg_peer_request request = {
			.opcode = VG_OP_FILE_CLOSE,
			.door = VG_DOOR_FILE,
			.ident = client->far->ident,
		};

		if (!client->pool->stopping)
			vg_peers_ask(client->pool->env->peers, (__u16)(client->far->ident >> VG_FILE_NODE_SHIFT),
				     &request, on_closed, NULL);
		forget(client, client->far->ident);
	}
}
