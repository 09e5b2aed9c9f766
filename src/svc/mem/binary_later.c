// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/mem/binary_later.h"

#include <errno.h>
#include <string.h>

#include "svc/mem/handle.h"
#include "svc/mem/mc.h"
#include "svc/mem/resp.h"

struct later {
	struct vg_mem_wait wait; /* first */
	struct vg_wire_header header;
};

/* A body that is only there during a call, kept for the output. */
static int keep_body(struct vg_env *env, struct vg_mem_answer *answer)
{
	void *copy = vg_handle_data_new(env, answer->body_length);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, answer->body, answer->body_length);
	answer->body = copy;
	answer->release = vg_handle_data_free;
	answer->release_context = copy;
	return 0;
}

/* ---- keys of other nodes --------------------------------------------------------------------------------------- */

static void on_peer(void *context, const struct vg_peer_reply *reply)
{
	struct later *later = context;
	struct vg_session *session = vg_mem_wait_session(&later->wait);
	struct vg_mem_answer answer = { .ident = VG_BE64TOH(later->header.ident) };

	if (reply->error) {
		answer.status = vg_mem_status_of(reply->error);
		if (reply->error == -ETIMEDOUT)
			answer.text = "the owner did not answer in time: it may have done what was asked";
	} else {
		answer.status = reply->status < VG_STATUS_MAX ? reply->status : VG_STATUS_INTERNAL;
		answer.flags = reply->flags & VG_FLAG_TEXT;
		answer.argument = reply->argument;
		if (later->header.opcode == VG_OP_CAS)
			answer.ident = reply->ident;
		answer.body = reply->body;
		answer.body_length = reply->body_length;
	}
	if (session) {
		if (answer.body_length && keep_body(session->env, &answer))
			answer = (struct vg_mem_answer){ .status = VG_STATUS_NO_MEMORY, .ident = answer.ident };
		vg_mem_binary_reply(session, &later->header, &answer);
	}
	vg_mem_wait_answered(&later->wait);
}

static void ask_owner(struct later *later, const struct vg_mem_request *request)
{
	const struct iovec body = { (void *)request->body, request->body_length };
	const struct vg_peer_request question = {
		.opcode = request->opcode,
		.flags = request->flags & (VG_FLAG_IF_ABSENT | VG_FLAG_IF_PRESENT | VG_FLAG_KEEP_TTL | VG_FLAG_VERSION),
		.partition = request->partition,
		.ident = request->ident,
		.argument = request->argument,
		.key = request->key,
		.key_length = request->key_length,
		.body = &body,
		.body_count = request->body_length ? 1 : 0,
	};
	struct vg_env *env = later->wait.env;

	vg_peers_ask(env->peers, vg_mem_request_owner(env, request), &question, on_peer, later);
}

/* ---- handles elsewhere, or spread ------------------------------------------------------------------------------ */

static void on_handle(void *context, struct vg_handle_result *result)
{
	struct later *later = context;
	struct vg_session *session = vg_mem_wait_session(&later->wait);
	struct vg_mem_answer answer = {
		.status = vg_mem_status_of(result->error),
		.ident = result->error ? VG_BE64TOH(later->header.ident) : result->handle,
	};

	if (session && !result->error) {
		bool facts = later->header.opcode == VG_OP_HANDLE_GET && !(__u32)VG_BE64TOH(later->header.argument);

		answer.argument = facts ? result->length : 0;
		if (result->data) {
			answer.body = result->data;
			answer.body_length = result->length;
			answer.release = vg_handle_data_free;
			answer.release_context = result->data;
			result->data = NULL;
		}
	}
	if (session)
		vg_mem_binary_reply(session, &later->header, &answer);
	vg_mem_wait_answered(&later->wait);
}

static void ask_handle(struct later *later, const struct vg_mem_request *request)
{
	__u32 flags = request->flags & VG_FLAG_FORWARDED ? VG_HANDLE_HERE : 0;
	__u64 offset = request->argument >> 32, length = (__u32)request->argument;
	struct vg_env *env = later->wait.env;

	switch (request->opcode) {
	case VG_OP_HANDLE_ALLOC:
		vg_handle_alloc(env, request->argument, flags, on_handle, later);
		break;
	case VG_OP_HANDLE_GET:
		if (length)
			vg_handle_read(env, request->ident, offset, length, flags, on_handle, later);
		else
			vg_handle_facts(env, request->ident, flags, on_handle, later);
		break;
	case VG_OP_HANDLE_SET:
		vg_handle_write(env, request->ident, offset, request->body, length, flags, on_handle, later);
		break;
	case VG_OP_HANDLE_FREE:
		vg_handle_free(env, request->ident, flags, on_handle, later);
		break;
	}
}

/* ---- RESP commands, and what a node says of itself ------------------------------------------------------------- */

/* The answer is all that is in `body`: its length goes into the header, then it follows the header. */
static void reply_out(struct vg_session *session, const struct vg_wire_header *request, struct vg_out *body)
{
	struct vg_mem_answer answer = { .ident = VG_BE64TOH(request->ident) };
	struct vg_wire_header header;

	if (body->failed || body->bytes > VG_BODY_MAX) {
		answer.status = VG_STATUS_NO_MEMORY;
		vg_mem_binary_reply(session, request, &answer);
		return;
	}
	vg_mem_reply_header(session->env, request, &answer, 0, (__u32)body->bytes, &header);
	vg_out_append(session->out, &header, sizeof(header));
	vg_out_splice(session->out, body);
}

static void on_command(void *context, struct vg_out *body)
{
	struct later *later = context;
	struct vg_session *session = vg_mem_wait_session(&later->wait);

	if (session)
		reply_out(session, &later->header, body);
	vg_mem_wait_answered(&later->wait);
}

static void command(struct later *later, const struct vg_mem_request *request)
{
	struct vg_mem_answer answer = { .ident = request->ident };
	struct vg_session *session = later->wait.session;
	struct vg_out body;
	int error;

	vg_out_init(&body, session->out->pool);
	error = vg_mem_resp_execute(session->env, request->body, request->body_length, request->argument == 3 ? 3 : 2,
				    request->flags & VG_FLAG_FORWARDED, &body, on_command, later);
	if (!error) {
		on_command(later, &body);
	} else if (error != -EINPROGRESS) {
		answer.status = error == -EREMOTE ? VG_STATUS_WRONG_NODE : vg_mem_status_of(error);
		answer.text = error == -EINVAL ? "the body is not one RESP command" : NULL;
		vg_mem_binary_reply(session, &later->header, &answer);
		vg_mem_wait_answered(&later->wait);
	}
	vg_out_deinit(&body);
}

/* From another node, for a key of ours: answered at once. */
static void memcache(struct vg_session *session, const struct vg_wire_header *header,
		     const struct vg_mem_request *request)
{
	struct vg_mem_answer answer = { .status = VG_STATUS_UNSUPPORTED, .ident = request->ident };
	struct vg_out body;
	int error = -EOPNOTSUPP;

	vg_out_init(&body, session->out->pool);
	if (request->flags & VG_FLAG_FORWARDED)
		error = vg_mem_mc_forwarded(session->env, request->body, request->body_length, &body);
	if (!error) {
		reply_out(session, header, &body);
	} else {
		answer.status = error == -EREMOTE ? VG_STATUS_WRONG_NODE : vg_mem_status_of(error);
		vg_mem_binary_reply(session, header, &answer);
	}
	vg_out_deinit(&body);
}

static void describe(struct vg_session *session, const struct vg_wire_header *header)
{
	struct vg_out body;

	vg_out_init(&body, session->out->pool);
	if (header->opcode == VG_OP_STATUS)
		vg_env_status_json(session->env, &body);
	else
		vg_env_topology_json(session->env, &body);
	reply_out(session, header, &body);
	vg_out_deinit(&body);
}

void vg_mem_binary_later(struct vg_session *session, const struct vg_wire_header *header,
			 const struct vg_mem_request *request, struct vg_mem_answer *otherwise)
{
	struct later *later;

	if (header->opcode == VG_OP_STATUS || header->opcode == VG_OP_TOPOLOGY) {
		describe(session, header);
		return;
	}
	if (header->opcode == VG_OP_MEMCACHE) {
		memcache(session, header, request);
		return;
	}
	later = vg_mem_wait_begin(session, sizeof(*later));
	if (!later) {
		*otherwise = (struct vg_mem_answer){ .status = VG_STATUS_NO_MEMORY, .ident = request->ident };
		vg_mem_binary_reply(session, header, otherwise);
		return;
	}
	later->header = *header;
	switch (header->opcode) {
	case VG_OP_COMMAND:
		command(later, request);
		break;
	case VG_OP_GET:
	case VG_OP_SET:
	case VG_OP_DEL:
	case VG_OP_CAS:
		ask_owner(later, request);
		break;
	default:
		ask_handle(later, request);
		break;
	}
	vg_mem_wait_leave(&later->wait);
}
