// SPDX-License-Identifier: GPL-3.0-or-later
/* How a request ends: everybody who has a part in it is told, then the answer leaves. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/file/data.h"
#include "svc/file/hold.h"
#include "svc/file/tree.h"
#include "svc/reply.h"

#define LEND_MIN 8192 /* what is shorter is copied to where its header is */
#define ERROR_TEXT_MAX 128

int vg_file_error_text(int error, char *buffer, size_t bytes)
{
	const char *name = strerrorname_np(-error), *text = strerrordesc_np(-error);
	int length = snprintf(buffer, bytes, "%s: %s", name ? name : "EIO", text ? text : "unknown error");

	return length < (int)bytes ? length : (int)bytes - 1;
}

/* ---- what leaves ----------------------------------------------------------------------------------------------- */

static void header_of(const struct vg_file_op *op, enum vg_status status, __u16 flags, __u32 body_length,
		      struct vg_wire_header *ret_header)
{
	const struct vg_reply reply = {
		.opcode = op->opcode,
		.status = (__u8)status,
		.partition = op->answer.flags,
		.flags = flags,
		.client = op->wire_client,
		.sequence = op->sequence,
		.ident = op->answer.ident,
		.argument = op->answer.argument,
		.body_length = body_length,
		.key = op->key,
	};

	vg_reply_header(op->pool->env, &vg_service_file, &reply, ret_header);
}

static void leave(struct vg_file_op *op, struct vg_session *session, enum vg_status status, __u16 flags)
{
	const __u8 *body = op->answer.body;
	__u32 length = op->answer.body_length;
	bool own = op->buffer && body >= op->buffer && body < op->buffer + op->buffer_bytes;
	struct vg_wire_header header;

	header_of(op, status, flags, length, &header);
	vg_out_append(session->out, &header, sizeof(header));
	if (own && length >= LEND_MIN) {
		vg_op_lend(op);
		vg_out_lend(session->out, body, length, vg_op_release, op);
	} else if (length) {
		vg_out_append(session->out, body, length);
	}
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static void account(struct vg_file_op *op, int error)
{
	struct vg_file_pool *pool = op->pool;
	__u64 took_ns = pool->env->clock->monotonic_ns - op->started_ns;
	__u64 *mean_ns = &pool->counts.service_ns;

	__atomic_store_n(mean_ns, *mean_ns + took_ns / 64 - *mean_ns / 64, __ATOMIC_RELAXED);
	if (error)
		__atomic_store_n(&pool->counts.failed, pool->counts.failed + 1, __ATOMIC_RELAXED);
}

/* Everybody is told; op->answer is complete. `error`: 0, or what went wrong. */
static void settle(struct vg_file_op *op, enum vg_status status, int error)
{
	assert(!op->answered);
	op->answered = true;
	if (op->ordered)
		vg_bytes_end(op);
	if (op->quoted)
		vg_quota_settle(op);
	if (op->tree)
		vg_tree_end(op, error);
	if (op->remembered)
		vg_retry_end(op, status, &op->answer);
	account(op, error);
}

static void finish(struct vg_file_op *op, enum vg_status status, __u16 flags, int error)
{
	struct vg_session *session;

	settle(op, status, error);
	if (op->local) {
		op->ended(op, error);
	} else if ((session = vg_op_session(op))) {
		if (op->text)
			vg_file_text_answer(op, session, status, error);
		else
			leave(op, session, status, flags);
	}
	vg_op_end(op);
}

void vg_op_ok(struct vg_file_op *op)
{
	finish(op, VG_STATUS_OK, 0, 0);
}

void vg_op_fail(struct vg_file_op *op, int error)
{
	char text[ERROR_TEXT_MAX];

	assert(error < 0);
	if (op->begun && op->path && vg_tree_failed(op, error))
		return;
	op->answer = (struct vg_file_answer){
		.argument = (__u64)-error,
		.body = text,
		.body_length = (__u32)vg_file_error_text(error, text, sizeof(text)),
	};
	finish(op, VG_STATUS_ERRNO, VG_FLAG_TEXT, error);
}

void vg_op_wrong_node(struct vg_file_op *op, __u16 node, bool at_home)
{
	__u64 *count = &op->pool->counts.wrong_node;

	op->answer.argument = node;
	op->answer.flags |= at_home ? VG_FILE_AT_HOME : 0;
	__atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
	finish(op, VG_STATUS_WRONG_NODE, 0, -EREMOTE);
}

void vg_op_refuse(struct vg_file_op *op, enum vg_status status, const char *text)
{
	op->answer = (struct vg_file_answer){ .body = text, .body_length = (__u32)strlen(text) };
	finish(op, status, VG_FLAG_TEXT, -EPROTO);
}

void vg_op_repeat(struct vg_file_op *op, enum vg_status status, const struct vg_file_answer *answer)
{
	char text[ERROR_TEXT_MAX];

	op->answer = *answer;
	if (status == VG_STATUS_ERRNO) {
		op->answer.body = text;
		op->answer.body_length = (__u32)vg_file_error_text(-(int)answer->argument, text, sizeof(text));
	}
	finish(op, status, status == VG_STATUS_ERRNO ? VG_FLAG_TEXT : 0, status ? -EPROTO : 0);
}

/* ---- in place -------------------------------------------------------------------------------------------------- */

void *vg_op_in_place(struct vg_file_op *op, __u32 bytes)
{
	__u8 *at;

	assert(bytes <= VG_FILE_IN_PLACE_MAX);
	if (!op->session || op->text)
		return NULL;
	at = vg_out_reserve(op->session->out, sizeof(struct vg_wire_header) + bytes);
	return at ? at + sizeof(struct vg_wire_header) : NULL;
}

void vg_op_ok_in_place(struct vg_file_op *op, __u32 bytes)
{
	struct vg_out *out = op->session->out;
	/* The same place as before: nothing was appended since. */
	struct vg_wire_header *at = vg_out_reserve(out, sizeof(*at) + bytes), header;

	settle(op, VG_STATUS_OK, 0);
	header_of(op, VG_STATUS_OK, 0, bytes, &header);
	memcpy(at, &header, sizeof(header));
	vg_out_commit(out, sizeof(header) + bytes);
	vg_op_end(op);
}

/* ---- what nobody asked for ------------------------------------------------------------------------------------- */

bool vg_file_tell(struct vg_file_client *client, __u64 wire_client, __u8 opcode, __u64 ident, const void *body,
		  __u32 length)
{
	struct vg_file_pool *pool = client->pool;
	struct vg_file_link *link = client->links;
	struct vg_session *session;
	struct vg_reply reply = {
		.opcode = opcode,
		.client = wire_client,
		.ident = ident,
		.body_length = length,
		.key = client->export->key,
	};
	struct vg_wire_header header;

	while (link && link->wire_client != wire_client)
		link = link->next;
	session = link && !link->gone ? vg_session_find(pool->env, link->session) : NULL;
	if (!session || vg_out_full(session->out))
		return false;
	vg_reply_header(pool->env, &vg_service_file, &reply, &header);
	vg_out_append(session->out, &header, sizeof(header));
	vg_out_append(session->out, body, length);
	vg_session_flush(session);
	return true;
}
