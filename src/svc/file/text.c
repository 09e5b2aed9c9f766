// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The original's text on the file pool's port; docs/protocol.md, "The file pool as text", says what is answered and
 * why. A request is answered before the next one is read. Its clients close their connection after each request, so
 * all connections from one address are one client, whose open files have the numbers 0, 1, 2, …
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/text.h"
#include "svc/file/file.h"
#include "svc/file/hold.h"
#include "svc/file/tree.h"
#include "svc/secret.h"

#define MODE 0755 /* of new files: the original's */

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void say_number(struct vg_session *session, bool padded, __u64 number)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%llu", number);

	vg_text_reply(session->out, padded, text, (size_t)length);
}

static void say_errno(struct vg_session *session, bool padded, int error)
{
	const char *name = strerrorname_np(-error), *text = strerrordesc_np(-error);

	vg_text_reply_error(session->out, padded, name ? name : "EIO", text ? text : "unknown error");
}

void vg_file_text_answer(struct vg_file_op *op, struct vg_session *session, enum vg_status status, int error)
{
	op->link->text_busy = false;
	(void)status;
	if (error)
		say_errno(session, op->padded, error);
	else if (op->opcode == VG_OP_FILE_OPEN)
		say_number(session, op->padded, op->answer.ident);
	else if (op->opcode == VG_OP_FILE_WRITE)
		say_number(session, op->padded, op->answer.argument);
	else if (op->opcode == VG_OP_FILE_READ)
		vg_text_reply(session->out, op->padded, op->answer.body, op->answer.body_length);
	else
		vg_text_reply(session->out, op->padded, "OK", 2);
	vg_session_resume(session);
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

/* The connection's client: all connections from its address are one. */
static bool join(struct vg_file_link *link, const struct vg_session *session)
{
	const char *colon = strrchr(session->peer, ':');
	char address[sizeof(session->peer)];

	if (link->client)
		return true;
	snprintf(address, sizeof(address), "%.*s", colon ? (int)(colon - session->peer) : 0, session->peer);
	/* Who has given the password may have all. */
	link->export = session->env->settings->password[0] ? &link->pool->exports[0] :
							     vg_export_without_key(link->pool);
	return link->export && vg_client_of_text(link, address);
}

static struct vg_file_op *make(struct vg_session *session, struct vg_file_link *link, bool padded, __u8 opcode,
			       __u64 bytes)
{
	struct vg_file_op *op = vg_op_new(link, bytes);

	if (!op) {
		vg_refuse(session->env, VG_REFUSAL_BUSY);
		say_errno(session, padded, -EAGAIN);
		return NULL;
	}
	op->operation = vg_file_operation(opcode);
	op->opcode = opcode;
	op->session = session;
	op->export = link->export;
	op->client = link->client;
	op->client->refs++;
	op->text = true;
	op->padded = padded;
	session->owed = true;
	__atomic_store_n(&link->pool->counts.requests, link->pool->counts.requests + 1, __ATOMIC_RELAXED);
	return op;
}

/* Its answer comes before the next request is read. */
static void start(struct vg_session *session, struct vg_file_link *link, struct vg_file_op *op,
		  void (*run)(struct vg_file_op *op))
{
	link->text_busy = true;
	run(op);
	if (link->text_busy)
		vg_session_pause(session);
}

static void open_file(struct vg_session *session, struct vg_file_link *link, const struct vg_text_request *request)
{
	struct vg_text_span path = request->argument[0];
	__u64 flags = VG_FILE_O_READ | (link->export->read_only ? 0 : VG_FILE_O_WRITE | VG_FILE_O_CREATE);
	struct vg_file_op *op = make(session, link, request->padded, VG_OP_FILE_OPEN, 0);

	if (!op)
		return;
	while (path.length && path.data[0] == '/') /* the pool's root, whatever the client's is */
		path.data++, path.length--;
	op->argument = flags << 32 | MODE;
	op->key_bytes = (const __u8 *)path.data;
	op->key_length = (__u32)path.length;
	start(session, link, op, vg_op_start);
}

static bool find(const struct vg_file_link *link, struct vg_text_span text, __u64 *ret_ident, bool *ret_far)
{
	const struct vg_file_descriptor *descriptor = link->client->descriptors;
	__u64 number;

	if (vg_text_decimal(text, ~0ull, &number))
		return false;
	while (descriptor && descriptor->text_number != number)
		descriptor = descriptor->next;
	*ret_far = !descriptor;
	if (!descriptor)
		return vg_far_find(link->client, number, ret_ident);
	*ret_ident = vg_descriptor_ident(descriptor);
	return true;
}

static void use_file(struct vg_session *session, struct vg_file_link *link, const struct vg_text_request *request)
{
	bool reads = request->verb == VG_TEXT_FILE_READ, writes = request->verb == VG_TEXT_FILE_WRITE;
	__u8 opcode = reads ? VG_OP_FILE_READ : writes ? VG_OP_FILE_WRITE : VG_OP_FILE_CLOSE;
	__u64 ident, count = 0, position = 0, count_max = reads ? VG_TEXT_REPLY_MAX : request->argument[1].length;
	struct vg_file_span span;
	struct vg_file_op *op;
	bool far = false;
	int error = 0;

	if (reads || writes)
		error = vg_text_decimal(request->argument[2], count_max, &count) ?:
			vg_text_decimal(request->argument[3], ~0ull >> 1, &position);
	if (!error && !find(link, request->argument[0], &ident, &far))
		error = -EBADF;
	if (error) {
		say_errno(session, request->padded, error);
		return;
	}
	op = make(session, link, request->padded, opcode, count);
	if (!op)
		return;
	span = (struct vg_file_span){ .length = VG_HTOBE32((__u32)count) };
	op->ident = ident;
	op->argument = position;
	if (reads) {
		op->body = (const __u8 *)&span;
		op->body_length = sizeof(span);
	} else if (writes) {
		op->body = (const __u8 *)request->argument[1].data;
		op->body_length = (__u32)count;
	}
	start(session, link, op, far ? vg_far_use : vg_op_start);
}

static void authenticate(struct vg_session *session, const struct vg_text_request *request)
{
	const struct vg_settings *settings = session->env->settings;

	session->authenticated = vg_secret_matches(settings->password, request->argument[0].data,
						   request->argument[0].length);
	if (session->authenticated) {
		vg_text_reply(session->out, request->padded, "OK", 2);
		return;
	}
	vg_refuse(session->env, VG_REFUSAL_UNAUTHORIZED);
	vg_text_reply_error(session->out, request->padded, "unauthorized", "wrong password");
}

static void execute(struct vg_session *session, struct vg_file_link *link, const struct vg_text_request *request)
{
	if (request->verb == VG_TEXT_NOTHING)
		return;
	session->requests++;
	session->env->stats->requests_stream++;
	if (request->verb == VG_TEXT_MALFORMED) {
		vg_refuse(session->env, VG_REFUSAL_MALFORMED);
		vg_text_reply_error(session->out, request->padded, "bad_request", request->fault);
	} else if (request->verb == VG_TEXT_AUTH) {
		authenticate(session, request);
	} else if (!session->authenticated) {
		vg_refuse(session->env, VG_REFUSAL_UNAUTHORIZED);
		vg_text_reply_error(session->out, request->padded, "unauthorized",
				    "give the password first: virgo_auth(password)");
	} else if (request->verb < VG_TEXT_FILE_OPEN || request->verb > VG_TEXT_FILE_CLOSE) {
		vg_refuse(session->env, VG_REFUSAL_UNKNOWN_COMMAND);
		vg_text_reply_error(
			session->out, request->padded, "unknown_command",
			"known are virgo_cloud_open virgo_cloud_read virgo_cloud_write virgo_cloud_close");
	} else if (!join(link, session)) {
		vg_refuse(session->env, VG_REFUSAL_BUSY);
		say_errno(session, request->padded, link->export ? -EUSERS : -EACCES);
	} else if (request->verb == VG_TEXT_FILE_OPEN) {
		open_file(session, link, request);
	} else {
		use_file(session, link, request);
	}
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

ssize_t vg_file_text_input(struct vg_session *session, const __u8 *data, size_t length)
{
	struct vg_file_link *link = vg_link_of(session);
	struct vg_text_request request;
	size_t taken = 0;
	ssize_t step;

	if (!link)
		return -ENOMEM;
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
		execute(session, link, &request);
		taken += (size_t)step;
	}
	return (ssize_t)taken;
}
