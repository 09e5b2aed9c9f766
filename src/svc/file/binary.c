// SPDX-License-Identifier: GPL-3.0-or-later
/* VIRGO binary on a stream of the file pool: frames in; answers leave from answer.c. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "proto/frame.h"
#include "svc/file/file.h"
#include "svc/file/hold.h"
#include "svc/reply.h"

#define RECEIVE_MIN 16384u /* a longer body is received where it will be used, not collected first */

/* ---- answers without a request in flight ----------------------------------------------------------------------- */

static void say(struct vg_session *session, const struct vg_wire_header *header, const __u64 *key, __u8 status,
		const char *text, bool unproven)
{
	const struct vg_reply reply = {
		.opcode = header->opcode,
		.status = status,
		.client = VG_BE64TOH(header->client),
		.sequence = VG_BE64TOH(header->sequence),
		.ident = VG_BE64TOH(header->ident),
		.flags = text ? VG_FLAG_TEXT : 0,
		.body_length = text ? (__u32)strlen(text) : 0,
		.key = key,
		.unproven = unproven,
	};
	struct vg_wire_header answer;

	vg_reply_header(session->env, &vg_service_file, &reply, &answer);
	vg_out_append(session->out, &answer, sizeof(answer));
	if (text)
		vg_out_append(session->out, text, reply.body_length);
}

static void refuse(struct vg_session *session, const struct vg_frame *frame, const struct vg_file_link *link,
		   enum vg_status status, enum vg_refusal refusal, const char *text)
{
	vg_refuse(session->env, refusal);
	say(session, &frame->header, link->export ? link->export->key : NULL, status, text, !link->export);
}

static void tell_json(struct vg_session *session, const struct vg_frame *frame, const struct vg_file_link *link)
{
	struct vg_reply reply = {
		.opcode = frame->header.opcode,
		.client = VG_BE64TOH(frame->header.client),
		.sequence = VG_BE64TOH(frame->header.sequence),
		.ident = VG_BE64TOH(frame->header.ident),
		.key = link->export->key,
	};
	struct vg_wire_header header;
	struct vg_out body;

	vg_out_init(&body, session->env->chunks);
	if (frame->header.opcode == VG_OP_STATUS)
		vg_env_status_json(session->env, &body);
	else
		vg_env_topology_json(session->env, &body);
	if (body.failed) {
		vg_out_deinit(&body);
		refuse(session, frame, link, VG_STATUS_NO_MEMORY, VG_REFUSAL_NO_MEMORY, "out of memory");
		return;
	}
	reply.body_length = (__u32)body.bytes;
	vg_reply_header(session->env, &vg_service_file, &reply, &header);
	vg_out_append(session->out, &header, sizeof(header));
	vg_out_splice(session->out, &body);
}

/* ---- who may speak --------------------------------------------------------------------------------------------- */

/* The key a message is tagged with says which export it is for; a session keeps to one. */
static bool is_known(struct vg_file_link *link, const struct vg_frame *frame)
{
	const struct vg_file_export *export = link->export;

	if (!export || (export->key && !vg_frame_tag_right(export->key, &frame->header, frame->key)))
		export = vg_export_find(link->pool, &frame->header, frame->key);
	if (!export || (link->client && link->client->export != export))
		return false;
	link->export = export;
	return true;
}

/* True: it may be executed. Else it has been answered, or needs no answer. */
static bool admitted(struct vg_session *session, struct vg_file_link *link, const struct vg_frame *frame)
{
	const struct vg_file_operation *operation = vg_file_operation(frame->header.opcode);

	if (frame->header.flags & VG_HTOBE16(VG_FLAG_REPLY)) {
		vg_refuse(session->env, VG_REFUSAL_MALFORMED);
		return false;
	}
	if (!is_known(link, frame)) {
		vg_refuse(session->env, VG_REFUSAL_UNAUTHORIZED);
		say(session, &frame->header, NULL, VG_STATUS_UNAUTHORIZED, "missing or wrong tag", true);
		return false;
	}
	if (frame->verdict == VG_WIRE_OK && (frame->header.opcode == VG_OP_PING ||
					     frame->header.opcode == VG_OP_STATUS ||
					     frame->header.opcode == VG_OP_TOPOLOGY))
		return true;
	if (frame->verdict == VG_WIRE_BAD_OPCODE || (frame->verdict == VG_WIRE_OK && !operation))
		refuse(session, frame, link, VG_STATUS_UNSUPPORTED, VG_REFUSAL_BAD_OPCODE,
		       "no operation of the file pool");
	else if (frame->verdict != VG_WIRE_OK)
		refuse(session, frame, link, VG_STATUS_BAD_REQUEST, VG_REFUSAL_MALFORMED, "malformed request");
	else if (frame->body_length < operation->body_min)
		refuse(session, frame, link, VG_STATUS_BAD_REQUEST, VG_REFUSAL_MALFORMED, "the body is too short");
	else if (frame->body_length > operation->body_max)
		refuse(session, frame, link, VG_STATUS_TOO_BIG, VG_REFUSAL_TOO_LONG, "the body is too long");
	else
		return true;
	return false;
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

/* Memory that it and its answer may need. */
static __u64 bytes_of(const struct vg_frame *frame, const struct vg_file_operation *operation)
{
	__u32 answer = operation->answer_max;
	struct vg_file_span span;

	if (operation->body_max == sizeof(span) && operation->answer_max && frame->body) {
		memcpy(&span, frame->body, sizeof(span));
		if (VG_BE32TOH(span.length) < answer)
			answer = VG_BE32TOH(span.length);
	}
	return frame->body_length + (__u64)answer;
}

/* NULL: there is no room for it, the connection waits. */
static struct vg_file_op *make(struct vg_session *session, struct vg_file_link *link, const struct vg_frame *frame)
{
	const struct vg_wire_header *header = &frame->header;
	const struct vg_file_operation *operation = vg_file_operation(header->opcode);
	__u64 bytes = bytes_of(frame, operation);
	struct vg_file_op *op = vg_op_new(link, bytes);

	if (!op) {
		vg_link_wait(link, session, bytes);
		return NULL;
	}
	op->operation = operation;
	op->session = session;
	op->export = link->export;
	op->key = link->export->key;
	op->opcode = header->opcode;
	op->flags = VG_BE16TOH(header->partition);
	op->forwarded = header->flags & VG_HTOBE16(VG_FLAG_FORWARDED) && link->export == &link->pool->exports[0];
	op->source_node = VG_BE16TOH(header->source_node);
	op->wire_client = VG_BE64TOH(header->client);
	op->sequence = VG_BE64TOH(header->sequence);
	op->ident = VG_BE64TOH(header->ident);
	op->argument = VG_BE64TOH(header->argument);
	op->key_length = frame->key_length;
	op->body_length = frame->body_length;
	/* What a node opens here for its text clients is one client's. */
	if (op->forwarded && !link->client && header->opcode == VG_OP_FILE_OPEN)
		vg_client_of_node(link, op->source_node);
	if (link->client) {
		op->client = link->client;
		op->client->refs++;
	}
	session->owed = true;
	session->requests++;
	session->env->stats->requests_stream++;
	__atomic_store_n(&link->pool->counts.requests, link->pool->counts.requests + 1, __ATOMIC_RELAXED);
	return op;
}

/* False: not now. */
static bool execute(struct vg_session *session, struct vg_file_link *link, const struct vg_frame *frame)
{
	struct vg_file_op *op;

	switch (frame->header.opcode) {
	case VG_OP_PING:
		say(session, &frame->header, link->export->key, VG_STATUS_OK, NULL, false);
		return true;
	case VG_OP_STATUS:
	case VG_OP_TOPOLOGY:
		tell_json(session, frame, link);
		return true;
	}
	op = make(session, link, frame);
	if (!op)
		return false;
	op->key_bytes = frame->key;
	op->body = frame->body;
	vg_op_start(op);
	return true;
}

/* ---- large bodies ---------------------------------------------------------------------------------------------- */

/* Header and key of a request are here. Bytes taken; 0: it is not such a one, or there is no room now. */
static size_t receive_begin(struct vg_session *session, struct vg_file_link *link, const struct vg_frame *frame)
{
	size_t head = (size_t)(frame->length - frame->body_length);
	struct vg_file_op *op;

	if (frame->body_length < RECEIVE_MIN)
		return 0;
	op = make(session, link, frame);
	if (!op)
		return 0;
	if (vg_op_buffer(op, frame->body_length) ||
	    (frame->key_length && vg_op_set_key(op, frame->key, frame->key_length))) {
		link->skip = frame->body_length;
		op->body_length = 0;
		vg_op_fail(op, -ENOMEM);
		return head;
	}
	op->body = op->buffer;
	link->receiving = op;
	link->received = 0;
	return head;
}

static size_t receive(struct vg_session *session, struct vg_file_link *link, const __u8 *data, size_t length)
{
	struct vg_file_op *op = link->receiving;
	size_t left = op->body_length - link->received, part = left < length ? left : length;

	memcpy(op->buffer + link->received, data, part);
	link->received += (__u32)part;
	if (part == left) {
		link->receiving = NULL;
		op->session = session;
		vg_op_start(op);
	} else {
		op->session = NULL; /* the output is others' meanwhile */
	}
	return part;
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

static void framing_lost(struct vg_session *session, const struct vg_file_link *link, const struct vg_frame *frame)
{
	bool version = frame->verdict == VG_WIRE_BAD_VERSION;

	vg_refuse(session->env, version ? VG_REFUSAL_BAD_VERSION : VG_REFUSAL_MALFORMED);
	say(session, &frame->header, NULL, version ? VG_STATUS_UNSUPPORTED : VG_STATUS_BAD_REQUEST,
	    version ? "this node speaks version 1" : "not a VIRGO header, or a length over its limit",
	    link->pool->exports[0].key);
	session->finish = true;
}

static size_t take_head(struct vg_session *session, struct vg_file_link *link, const struct vg_frame *frame,
			size_t length)
{
	size_t head;

	if (!admitted(session, link, frame)) {
		link->skip = frame->length - length;
		return length;
	}
	head = receive_begin(session, link, frame);
	if (!head && !session->paused)
		session->input_wanted = frame->length;
	return head;
}

static size_t take(struct vg_session *session, struct vg_file_link *link, const __u8 *data, size_t length)
{
	struct vg_frame frame;

	if (link->skip) {
		size_t part = link->skip < length ? (size_t)link->skip : length;

		link->skip -= part;
		return part;
	}
	if (link->receiving)
		return receive(session, link, data, length);
	switch (vg_frame_read(&frame, data, length)) {
	case VG_FRAME_LOST:
		framing_lost(session, link, &frame);
		return length;
	case VG_FRAME_MORE:
		session->input_wanted = frame.length;
		return 0;
	case VG_FRAME_HEAD:
		return take_head(session, link, &frame, length);
	case VG_FRAME_WHOLE:
		if (admitted(session, link, &frame) && !execute(session, link, &frame))
			return 0;
		break;
	}
	return frame.length;
}

ssize_t vg_file_binary_input(struct vg_session *session, const __u8 *data, size_t length)
{
	struct vg_file_link *link = vg_link_of(session);
	size_t taken = 0, step = 1;

	if (!link)
		return -ENOMEM;
	if (link->gone)
		return -ECONNABORTED;
	while (taken < length && step && !session->paused && !session->finish && !vg_out_full(session->out)) {
		step = take(session, link, data + taken, length - taken);
		taken += step;
	}
	return (ssize_t)taken;
}
