// SPDX-License-Identifier: GPL-3.0-or-later
/* Changes are made once: requests that are sent again, because a connection was lost, meet the memory of the first. */
#include <errno.h>

#include "svc/file/hold.h"
#include "svc/file/retry_memory.h"

static struct vg_retry_memory *memory_of(struct vg_file_client *client)
{
	struct vg_retry_memory *memory;

	if (!client->retries && !vg_retry_memory_new(&memory, client->pool->env->mem, VG_FILE_IN_FLIGHT_MAX))
		client->retries = memory;
	return client->retries;
}

static void count(struct vg_file_pool *pool)
{
	__atomic_store_n(&pool->counts.retries, pool->counts.retries + 1, __ATOMIC_RELAXED);
	vg_refuse(pool->env, VG_REFUSAL_DUPLICATE);
}

/* It was answered before: the same again. */
static void repeat(struct vg_file_op *op, const struct vg_retry_answer *before)
{
	const struct vg_file_answer answer = {
		.ident = before->ident,
		.argument = before->argument,
		.flags = before->flags,
		.body = before->body,
		.body_length = before->body_length,
	};

	op->remembered = false;
	vg_op_repeat(op, before->status, &answer);
}

/* It is under way: the answer will come here, and this request is no more. */
static void join(struct vg_file_op *op, struct vg_file_op *running)
{
	vg_op_move(running, op->link, op->wire_client, op->sequence);
	op->remembered = false;
	op->answered = true;
	vg_op_end(op);
}

static void refuse(struct vg_file_op *op, int error)
{
	op->remembered = false;
	vg_op_fail(op, error);
}

/* True: it is new after all: it never arrived. */
static bool is_new(struct vg_file_op *op, struct vg_retry_memory *memory)
{
	struct vg_retry_answer answer;
	void *running;

	switch (vg_retry_look(memory, op->wire_client, op->sequence, op->opcode, &answer, &running)) {
	case VG_RETRY_NEW:
		return true;
	case VG_RETRY_RUNNING:
		count(op->pool);
		join(op, running);
		break;
	case VG_RETRY_DONE:
		count(op->pool);
		repeat(op, &answer);
		break;
	case VG_RETRY_UNKNOWN:
		refuse(op, -EREMOTEIO);
		break;
	case VG_RETRY_OTHER:
		refuse(op, -EINVAL);
		break;
	}
	return false;
}

bool vg_retry_begin(struct vg_file_op *op)
{
	struct vg_retry_memory *memory = memory_of(op->client);
	struct vg_retry_record *record;

	if (!memory) {
		refuse(op, -ENOMEM);
		return false;
	}
	if (op->flags & VG_FILE_RETRY && !is_new(op, memory))
		return false;
	if (vg_retry_record_begin(memory, op->wire_client, op->sequence, op->opcode, op, &record)) {
		refuse(op, -ENOMEM);
		return false;
	}
	op->retry = record;
	return true;
}

void vg_retry_end(struct vg_file_op *op, enum vg_status status, const struct vg_file_answer *answer)
{
	/* The text of an error is made anew from its number. */
	bool text = status != VG_STATUS_OK && status != VG_STATUS_WRONG_NODE;
	const struct vg_retry_answer kept = {
		.ident = answer->ident,
		.argument = answer->argument,
		.flags = answer->flags,
		.status = (__u8)status,
		.body = answer->body,
		.body_length = text ? 0 : answer->body_length,
	};

	if (op->retry) /* else its session has ended */
		vg_retry_record_end(op->client->retries, op->retry, &kept);
	op->retry = NULL;
}

static void drop(void *running)
{
	((struct vg_file_op *)running)->retry = NULL;
}

void vg_retry_client_ended(struct vg_file_client *client)
{
	vg_retry_memory_free(client->retries, drop);
	client->retries = NULL;
}
