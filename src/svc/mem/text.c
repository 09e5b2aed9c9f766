// SPDX-License-Identifier: GPL-3.0-or-later
/* The original's text grammar on the memory pool's port. docs/protocol.md, "Text", says what is answered and why. */
#include "proto/text.h"

#include <errno.h>
#include <string.h>

#include "svc/mem/handle.h"
#include "svc/mem/mem.h"
#include "svc/secret.h"
#include "virgo/hash.h"

struct later {
	struct vg_mem_wait wait; /* first */
	enum vg_text_verb verb;
	bool padded;
	__u64 handle;
	size_t length;		 /* HANDLE_SET: bytes of `data` without the NUL behind them */
	bool bare;		 /* HANDLE_SET: that NUL did not fit */
	char data[];
};

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void say_status(struct vg_session *session, bool padded, __u8 status, const char *text)
{
	vg_mem_count_refusal(session->env, status);
	vg_text_reply_error(session->out, padded, vg_mem_status_name(status), text ? text : vg_mem_status_text(status));
}

static void say_error(struct vg_session *session, bool padded, int error, const char *text)
{
	say_status(session, padded, vg_mem_status_of(error), text);
}

/* ---- handles --------------------------------------------------------------------------------------------------- */

static void on_handle(void *context, struct vg_handle_result *result);

/* The string at the front of the bytes: up to the first NUL, as the original read it. */
static void say_string(struct vg_session *session, bool padded, const struct vg_handle_result *result)
{
	vg_text_reply(session->out, padded, result->data, result->data ? strnlen(result->data, result->length) : 0);
}

static void say_result(struct vg_session *session, const struct later *later, const struct vg_handle_result *result)
{
	static const char freed[] = "kernel memory freed";

	if (result->error) {
		say_error(session, later->padded, result->error, NULL);
		return;
	}
	switch (later->verb) {
	case VG_TEXT_HANDLE_GET:
		say_string(session, later->padded, result);
		break;
	case VG_TEXT_HANDLE_FREE:
		vg_text_reply(session->out, later->padded, freed, sizeof(freed) - 1);
		break;
	default:
		vg_text_reply_token(session->out, later->padded, result->handle);
		break;
	}
}

/* The second half of a get: the length is known now, the bytes are asked for. */
static void on_length(void *context, struct vg_handle_result *result)
{
	struct later *later = context;
	__u64 length = result->length < VG_TEXT_REPLY_MAX ? result->length : VG_TEXT_REPLY_MAX;

	if (result->error)
		on_handle(later, result);
	else
		vg_handle_read(later->wait.env, later->handle, 0, length, 0, on_handle, later);
}

static void on_handle(void *context, struct vg_handle_result *result)
{
	struct later *later = context;
	struct vg_session *session;

	/* A string ends with a NUL where there is room for one; where there is not, it fills the allocation. */
	if (later->verb == VG_TEXT_HANDLE_SET && result->error == -ERANGE && !later->bare) {
		later->bare = true;
		vg_handle_write(later->wait.env, later->handle, 0, later->data, later->length, 0, on_handle, later);
		return;
	}
	session = vg_mem_wait_session(&later->wait);
	if (session)
		say_result(session, later, result);
	vg_mem_wait_answered(&later->wait);
}

static void handle_request(struct vg_session *session, const struct vg_text_request *request)
{
	struct vg_text_span data =
		request->verb == VG_TEXT_HANDLE_SET ? request->argument[1] : (struct vg_text_span){ "", 0 };
	struct vg_env *env = session->env;
	__u64 bytes = 0, handle = 0;
	struct later *later;
	int error;

	error = request->verb == VG_TEXT_MALLOC ? vg_text_decimal(request->argument[0], VG_HANDLE_BYTES_MAX, &bytes) :
						  vg_text_token(request->argument[0], &handle);
	if (error || (request->verb == VG_TEXT_MALLOC && !bytes)) {
		say_status(session, request->padded, VG_STATUS_BAD_REQUEST,
			   request->verb == VG_TEXT_MALLOC ? "a size is a decimal number of bytes from 1 to 4294967295"
							   : "a token is 1 to 16 hexadecimal digits without 0x");
		return;
	}
	later = vg_mem_wait_begin(session, sizeof(*later) + data.length + 1);
	if (!later) {
		say_status(session, request->padded, VG_STATUS_NO_MEMORY, NULL);
		return;
	}
	later->verb = request->verb;
	later->padded = request->padded;
	later->handle = handle;
	later->length = data.length;
	memcpy(later->data, data.data, data.length);
	if (request->verb == VG_TEXT_MALLOC)
		vg_handle_alloc(env, bytes, 0, on_handle, later);
	else if (request->verb == VG_TEXT_HANDLE_SET)
		vg_handle_write(env, handle, 0, later->data, later->length + 1, 0, on_handle, later);
	else if (request->verb == VG_TEXT_HANDLE_GET)
		vg_handle_facts(env, handle, 0, on_length, later);
	else
		vg_handle_free(env, handle, 0, on_handle, later);
	vg_mem_wait_leave(&later->wait);
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

static void say_answer(struct vg_session *session, bool padded, enum vg_text_verb verb,
		       const struct vg_mem_answer *answer)
{
	if (answer->status)
		say_status(session, padded, answer->status, answer->text);
	else if (verb != VG_TEXT_GET)
		vg_text_reply(session->out, padded, "OK", 2);
	else if (answer->body_length > VG_TEXT_REPLY_MAX)
		say_status(session, padded, VG_STATUS_TOO_BIG,
			   "the value does not fit a text reply: read it with RESP");
	else
		vg_text_reply(session->out, padded, answer->body, answer->body_length);
}

static void on_peer(void *context, const struct vg_peer_reply *reply)
{
	struct later *later = context;
	struct vg_session *session = vg_mem_wait_session(&later->wait);
	struct vg_mem_answer answer = {
		.status = reply->error ? vg_mem_status_of(reply->error) : reply->status,
		.body = reply->body,
		.body_length = reply->body_length,
	};

	if (session)
		say_answer(session, later->padded, later->verb, &answer);
	vg_mem_wait_answered(&later->wait);
}

static void ask_owner(struct vg_session *session, const struct vg_text_request *request,
		      const struct vg_mem_request *key_request)
{
	const struct iovec body = { (void *)key_request->body, key_request->body_length };
	const struct vg_peer_request question = {
		.opcode = key_request->opcode,
		.partition = key_request->partition,
		.ident = key_request->ident,
		.key = key_request->key,
		.key_length = key_request->key_length,
		.body = &body,
		.body_count = key_request->body_length ? 1 : 0,
	};
	struct later *later = vg_mem_wait_begin(session, sizeof(*later));

	if (!later) {
		say_status(session, request->padded, VG_STATUS_NO_MEMORY, NULL);
		return;
	}
	later->verb = request->verb;
	later->padded = request->padded;
	vg_peers_ask(session->env->peers, vg_mem_request_owner(session->env, key_request), &question, on_peer, later);
	vg_mem_wait_leave(&later->wait);
}

static void key_request(struct vg_session *session, const struct vg_text_request *request)
{
	static const __u8 opcode[] = {
		[VG_TEXT_SET] = VG_OP_SET, [VG_TEXT_GET] = VG_OP_GET, [VG_TEXT_DEL] = VG_OP_DEL
	};
	struct vg_text_span key = request->argument[0], value = request->argument[1];
	const struct vg_mem_request execute = {
		.opcode = opcode[request->verb],
		.partition = vg_partition_of(key.data, key.length),
		.ident = vg_hash64(key.data, key.length),
		.key = key.data,
		.key_length = (__u32)key.length,
		.body = value.data,
		.body_length = (__u32)value.length,
	};
	__u8 buffer[VG_MEM_BUFFER_BYTES];
	struct vg_mem_answer answer;

	if (vg_mem_execute(session->env, &execute, buffer, &answer) == VG_MEM_ELSEWHERE) {
		ask_owner(session, request, &execute);
		return;
	}
	say_answer(session, request->padded, request->verb, &answer);
	vg_mem_answer_release(&answer);
}

/* ---- who may ask ----------------------------------------------------------------------------------------------- */

static void authenticate(struct vg_session *session, const struct vg_text_request *request)
{
	if (!session->env->settings->password[0]) {
		say_status(session, request->padded, VG_STATUS_BAD_REQUEST, "no password is set");
		return;
	}
	if (!vg_secret_matches(session->env->settings->password, request->argument[0].data,
			       request->argument[0].length)) {
		say_status(session, request->padded, VG_STATUS_UNAUTHORIZED, "wrong password");
		return;
	}
	session->authenticated = true;
	vg_text_reply(session->out, request->padded, "OK", 2);
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

static void execute(struct vg_session *session, const struct vg_text_request *request)
{
	if (request->verb == VG_TEXT_NOTHING)
		return;
	session->requests++;
	session->env->stats->requests_stream++;
	if (request->verb == VG_TEXT_MALFORMED) {
		say_status(session, request->padded, VG_STATUS_BAD_REQUEST, request->fault);
	} else if (request->verb == VG_TEXT_AUTH) {
		authenticate(session, request);
	} else if (!session->authenticated) {
		say_status(session, request->padded, VG_STATUS_UNAUTHORIZED,
			   "give the password first: virgo_auth(password)");
	} else if (request->verb >= VG_TEXT_FILE_OPEN) { /* unknown, or the file pool's */
		vg_refuse(session->env, VG_REFUSAL_UNKNOWN_COMMAND);
		vg_text_reply_error(session->out, request->padded, "unknown_command",
				    "known are virgo_cloud_malloc virgo_cloud_set virgo_cloud_get virgo_cloud_free "
				    "virgo_set virgo_get virgo_del");
	} else if (request->verb == VG_TEXT_SET || request->verb == VG_TEXT_GET || request->verb == VG_TEXT_DEL) {
		key_request(session, request);
	} else {
		handle_request(session, request);
	}
}

ssize_t vg_mem_text_input(struct vg_session *session, const __u8 *data, size_t length)
{
	struct vg_text_request request;
	size_t taken = 0;
	ssize_t step;

	while (taken < length && !session->paused && !session->finish && !vg_out_full(session->out)) {
		step = vg_text_read(&request, data + taken, length - taken);
		if (!step)
			break;
		if (step < 0) {
			/* Where the next request begins cannot be told. */
			vg_refuse(session->env, VG_REFUSAL_TOO_LONG);
			vg_text_reply_error(session->out, false, "too_long", "a request has at most 65536 bytes");
			session->finish = true;
			return (ssize_t)length;
		}
		execute(session, &request);
		taken += (size_t)step;
	}
	return (ssize_t)taken;
}
