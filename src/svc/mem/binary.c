// SPDX-License-Identifier: GPL-3.0-or-later
/* VIRGO binary over TCP: frames in, answers out, in order. */
#include <errno.h>
#include <string.h>

#include "proto/frame.h"
#include "svc/mem/binary_later.h"
#include "svc/mem/mem.h"
#include "svc/mem/snapshot.h"

#define PREFETCH_FRAMES 16
#define BODY_UNUSED_MAX VG_DATAGRAM_MAX /* operations without a body may carry padding's worth of one */
#define BODY_COPY_MAX 4096		/* longer ones are lent to the output rather than copied */

/* ---- answers --------------------------------------------------------------------------------------------------- */

/* Header, then the body, which may already lie at its place in the room that was reserved for it. */
void vg_mem_binary_reply(struct vg_session *session, const struct vg_wire_header *request, struct vg_mem_answer *answer)
{
	const char *text = answer->status && !answer->body_length ? answer->text : NULL;
	const void *body = text ? text : answer->body;
	size_t length = text ? strlen(text) : answer->body_length, inlined = length <= BODY_COPY_MAX ? length : 0;
	struct vg_wire_header header;
	__u8 *room;

	vg_mem_count_refusal(session->env, answer->status);
	vg_mem_reply_header(session->env, request, answer, text ? VG_FLAG_TEXT : answer->flags, (__u32)length, &header);
	room = vg_out_reserve(session->out, sizeof(header) + inlined);
	if (room) {
		memcpy(room, &header, sizeof(header));
		if (inlined && body != room + sizeof(header))
			memcpy(room + sizeof(header), body, inlined);
		vg_out_commit(session->out, sizeof(header) + inlined);
	}
	if (room && length && !inlined) {
		vg_out_lend(session->out, body, length, answer->release, answer->release_context);
		answer->release = NULL;
	}
	vg_mem_answer_release(answer);
}

/* Why a frame is not executed. */
struct refusal {
	__u8 status;
	bool silent;   /* counted, not answered */
	bool unproven; /* as in vg_mem_answer */
	const char *text;
};

static void refuse(struct vg_session *session, const struct vg_wire_header *header, const struct refusal *refusal)
{
	struct vg_mem_answer answer = {
		.status = refusal->status,
		.unproven = refusal->unproven,
		.text = refusal->text,
		.ident = VG_BE64TOH(header->ident),
	};

	if (!refusal->silent)
		vg_mem_binary_reply(session, header, &answer);
}

/* ---- one frame ------------------------------------------------------------------------------------------------- */

static __u64 body_max(const struct vg_env *env, __u8 opcode)
{
	switch (opcode) {
	case VG_OP_SET:
	case VG_OP_CAS:
		return env->settings->value_bytes_max < VG_VALUE_MAX ? env->settings->value_bytes_max : VG_VALUE_MAX;
	case VG_OP_HANDLE_SET:
		return VG_VALUE_MAX;
	case VG_OP_COMMAND:
	case VG_OP_MEMCACHE:
	case VG_OP_SNAPSHOT_LOAD:
		return VG_BODY_MAX;
	}
	return BODY_UNUSED_MAX;
}

/*
 * What can be said of a frame by its header and key, before its body is here: true when it may be executed. With a
 * cluster key nothing is done, and nothing is told but "unauthorized", without the right tag.
 */
static bool admitted(struct vg_env *env, const struct vg_frame *frame, struct refusal *ret_refusal)
{
	const __u64 *key = vg_cluster_key(env->cluster);

	*ret_refusal = (struct refusal){ 0 };
	if (frame->header.flags & VG_HTOBE16(VG_FLAG_REPLY)) {
		vg_refuse(env, VG_REFUSAL_MALFORMED); /* an answer to an answer would go on for ever */
		ret_refusal->silent = true;
	} else if (key ? !vg_frame_tag_right(key, &frame->header, frame->key) : !vg_mem_open(env)) {
		ret_refusal->status = VG_STATUS_UNAUTHORIZED;
		ret_refusal->unproven = true;
		ret_refusal->text =
			key ? NULL : "a node with a password answers binary requests under a cluster key only";
	} else if (frame->verdict == VG_WIRE_BAD_OPCODE) {
		ret_refusal->status = VG_STATUS_UNSUPPORTED;
		ret_refusal->text = "unknown operation";
	} else if (frame->verdict != VG_WIRE_OK) {
		ret_refusal->status = VG_STATUS_BAD_REQUEST;
		ret_refusal->text = "an unknown flag, or a reserved field that is not zero";
	} else if (frame->body_length > body_max(env, frame->header.opcode)) {
		vg_refuse(env, VG_REFUSAL_TOO_LONG);
		ret_refusal->status = VG_STATUS_BAD_REQUEST;
		ret_refusal->text = "the body is too long for this operation";
	}
	return !ret_refusal->silent && !ret_refusal->status;
}

static void execute(struct vg_session *session, const struct vg_frame *frame)
{
	const struct vg_wire_header *header = &frame->header;
	const struct vg_mem_request request = {
		.opcode = header->opcode,
		.flags = VG_BE16TOH(header->flags),
		.partition = VG_BE16TOH(header->partition),
		.ident = VG_BE64TOH(header->ident),
		.argument = VG_BE64TOH(header->argument),
		.key = frame->key,
		.body = frame->body,
		.key_length = frame->key_length,
		.body_length = frame->body_length,
	};
	static const char name[VG_OP_MAX][sizeof(session->last_command)] = {
#define X(symbol, number, text) [number] = text,
		VG_OPCODES(X)
#undef X
	};
	bool reads = header->opcode == VG_OP_GET || header->opcode == VG_OP_HANDLE_GET ||
		     header->opcode == VG_OP_SNAPSHOT_GET || header->opcode == VG_OP_MGET;
	struct vg_mem_answer answer;
	__u8 *room = NULL, *value;

	session->requests++;
	session->env->stats->requests_stream++;
	memcpy(session->last_command, name[header->opcode], sizeof(session->last_command));
	if (reads) {
		/* A small value is copied once: from the store to its place behind the header that will be written. */
		room = vg_out_reserve(session->out, sizeof(*header) + VG_MEM_BUFFER_BYTES);
		if (!room)
			return; /* session->out->failed: the node closes the session */
	}
	value = room ? room + sizeof(*header) : NULL;
	if (vg_mem_is_snapshot(header->opcode)) {
		vg_mem_snapshot(session->env, &request, value, &answer);
		vg_mem_binary_reply(session, header, &answer);
	} else if (vg_mem_execute(session->env, &request, value, &answer) == VG_MEM_ELSEWHERE) {
		vg_mem_binary_later(session, header, &request, &answer);
	} else {
		vg_mem_binary_reply(session, header, &answer);
	}
}

/* The stream cannot be read further: say why, and end it. */
static void framing_lost(struct vg_session *session, const struct vg_frame *frame)
{
	struct refusal refusal = { .status = VG_STATUS_BAD_REQUEST, .text = "a length over its limit" };

	if (frame->verdict == VG_WIRE_BAD_VERSION) {
		vg_refuse(session->env, VG_REFUSAL_BAD_VERSION);
		refusal = (struct refusal){ .status = VG_STATUS_UNSUPPORTED, .text = "this node speaks version 1" };
	} else if (frame->verdict == VG_WIRE_BAD_MAGIC) {
		refusal.text = "not a VIRGO header";
	}
	refusal.unproven = vg_cluster_key(session->env->cluster);
	refuse(session, &frame->header, &refusal);
	session->finish = true;
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

/*
 * A refused frame whose body is still to come: it is let go as it arrives, and answered when it has: a client need not
 * expect an answer to what it has not sent yet. Lives in the session's state.
 */
struct skipping {
	__u64 left; /* bytes to come; 0: no frame is being skipped */
	__be64 client, sequence, ident;
	__be16 partition;
	__u8 opcode;
	struct refusal refusal;
};
_Static_assert(sizeof(struct skipping) <= sizeof(((struct vg_session *)0)->state), "fits the session's state");

static struct skipping *skipping(struct vg_session *session)
{
	return (struct skipping *)session->state.words;
}

static void skip_begin(struct vg_session *session, const struct vg_frame *frame, const struct refusal *refusal)
{
	*skipping(session) = (struct skipping){
		.left = frame->length,
		.client = frame->header.client,
		.sequence = frame->header.sequence,
		.ident = frame->header.ident,
		.partition = frame->header.partition,
		.opcode = frame->header.opcode,
		.refusal = *refusal,
	};
}

static size_t skip(struct vg_session *session, size_t length)
{
	struct skipping *skip = skipping(session);
	size_t taken = skip->left < length ? (size_t)skip->left : length;
	const struct vg_wire_header header = {
		.opcode = skip->opcode,
		.client = skip->client,
		.sequence = skip->sequence,
		.partition = skip->partition,
		.ident = skip->ident,
	};

	skip->left -= taken;
	if (!skip->left)
		refuse(session, &header, &skip->refusal);
	return taken;
}

/* Ask for the lines that the frames at hand will touch, all before the first of them is executed. */
static void prefetch(const struct vg_env *env, const __u8 *data, size_t length)
{
	__u64 hash[PREFETCH_FRAMES];
	int count = 0;

	for (int i = 0; i < PREFETCH_FRAMES && length >= sizeof(struct vg_wire_header); i++) {
		struct vg_wire_header header;
		__u64 whole;

		memcpy(&header, data, sizeof(header));
		whole = vg_wire_length(&header);
		if (vg_wire_check(&header) != VG_WIRE_OK || whole > length)
			break;
		if (header.opcode <= VG_OP_DEL && header.opcode >= VG_OP_GET)
			hash[count++] = VG_BE64TOH(header.ident);
		data += whole;
		length -= whole;
	}
	if (count < 2)
		return;
	for (int i = 0; i < count; i++)
		vg_store_prefetch_bucket(env->store, hash[i]);
	for (int i = 0; i < count; i++)
		vg_store_prefetch_item(env->store, hash[i]);
}

/* Bytes taken from the front; 0: more are needed. */
static size_t take(struct vg_session *session, const __u8 *data, size_t length)
{
	struct refusal refusal;
	struct vg_frame frame;

	if (skipping(session)->left)
		return skip(session, length);
	switch (vg_frame_read(&frame, data, length)) {
	case VG_FRAME_LOST:
		framing_lost(session, &frame);
		return length;
	case VG_FRAME_MORE:
		session->input_wanted = frame.length;
		return 0;
	case VG_FRAME_HEAD:
		if (admitted(session->env, &frame, &refusal)) {
			session->input_wanted = frame.length;
			return 0;
		}
		skip_begin(session, &frame, &refusal);
		return skip(session, length);
	case VG_FRAME_WHOLE:
		if (admitted(session->env, &frame, &refusal))
			execute(session, &frame);
		else
			refuse(session, &frame.header, &refusal);
		break;
	}
	return frame.length;
}

ssize_t vg_mem_binary_input(struct vg_session *session, const __u8 *data, size_t length)
{
	size_t taken = 0, step = 1;

	for (int frames = 0;
	     taken < length && step && !session->paused && !session->finish && !vg_out_full(session->out); frames++) {
		if (frames % PREFETCH_FRAMES == 0)
			prefetch(session->env, data + taken, length - taken);
		step = take(session, data + taken, length - taken);
		taken += step;
	}
	return (ssize_t)taken;
}
