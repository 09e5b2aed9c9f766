/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CLIENT: connections, this one and the others. */

#include <stdio.h>

#include "svc/mem/cmd.h"

int vg_cmd_client_id(struct vg_call *call)
{
	vg_resp_integer(call->out, (__s64)vg_client_session(call->client)->id);
	return 0;
}

int vg_cmd_client_getname(struct vg_call *call)
{
	const struct vg_session *session = vg_client_session(call->client);

	if (session->name[0])
		vg_resp_bulk_text(call->out, session->name);
	else
		vg_resp_null(call->out, call->version);
	return 0;
}

/* Copy a name into a field of the session; false: it does not fit. */
static bool copy_name(char field[VG_SESSION_NAME_MAX], const struct vg_resp_arg *name)
{
	if (name->length >= VG_SESSION_NAME_MAX)
		return false;
	memcpy(field, name->data, name->length);
	field[name->length] = '\0';
	return true;
}

int vg_cmd_client_setname(struct vg_call *call)
{
	const struct vg_resp_arg *name = &call->arg[2];

	if (!vg_client_name_is_valid(name->data, name->length))
		vg_resp_error(call->out, "ERR Client names cannot contain spaces, newlines or special characters.");
	else if (!copy_name(vg_client_session(call->client)->name, name))
		vg_resp_error(call->out, "ERR Client names are shorter than %d bytes here.", VG_SESSION_NAME_MAX);
	else
		vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_client_setinfo(struct vg_call *call)
{
	struct vg_session *session = vg_client_session(call->client);
	const struct vg_resp_arg *value = &call->arg[3];
	const char *option;
	char *field;

	if (vg_arg_is(&call->arg[2], "lib-name")) {
		field = session->library;
		option = "lib-name";
	} else if (vg_arg_is(&call->arg[2], "lib-ver")) {
		field = session->library_version;
		option = "lib-ver";
	} else {
		vg_resp_error(call->out, "ERR Unrecognized option '%.*s'", (int)(call->arg[2].length & 0x7f),
			      call->arg[2].data);
		return 0;
	}
	if (!vg_client_name_is_valid(value->data, value->length) || !copy_name(field, value))
		vg_resp_error(call->out, "ERR %s cannot contain spaces, newlines or special characters.", option);
	else
		vg_resp_simple(call->out, "OK");
	return 0;
}

/* ---- LIST, INFO ------------------------------------------------------------------------------------------------ */

/* One line in the form clients parse; its length. Fields that have no meaning here are left out. */
static size_t describe(const struct vg_session *session, __u64 now_ns, char line[512])
{
	const struct vg_client *client = vg_session_client((struct vg_session *)session);
	char flags[4] = "N";
	__u32 resp_flags = session->protocol == VG_PROTOCOL_RESP ? client->flags : 0;
	int length;

	if (resp_flags & VG_CLIENT_NO_EVICT)
		snprintf(flags, sizeof(flags), "e");
	length = snprintf(
		line, 512,
		"id=%llu addr=%s laddr=%s name=%s age=%llu idle=%llu flags=%s db=0 sub=0 psub=0 ssub=0 multi=-1 "
		"cmd=%s user=default lib-name=%s lib-ver=%s resp=%d",
		(unsigned long long)session->id, session->peer, session->local, session->name,
		(unsigned long long)((now_ns - session->created_ns) / 1000000000),
		(unsigned long long)((now_ns > session->used_ns ? now_ns - session->used_ns : 0) / 1000000000), flags,
		session->last_command[0] ? session->last_command : "NULL", session->library, session->library_version,
		resp_flags & VG_CLIENT_RESP3 ? 3 : 2);
	return length < 512 ? (size_t)length : 511;
}

int vg_cmd_client_info(struct vg_call *call)
{
	struct vg_session *session = vg_client_session(call->client);
	char line[513];
	size_t length;

	snprintf(session->last_command, sizeof(session->last_command), "client|info");
	session->used_ns = call->env->clock->monotonic_ns;
	length = describe(session, call->env->clock->monotonic_ns, line);
	line[length++] = '\n';
	vg_resp_verbatim(call->out, call->version, line, length);
	return 0;
}

struct listing {
	struct vg_call *call;
	struct vg_out lines;
	bool none; /* of the type asked for */
};

static bool is_asked_for(const struct vg_call *call, __u64 id)
{
	__s64 asked;

	if (call->args < 4 || !vg_arg_is(&call->arg[2], "id"))
		return true;
	for (int i = 3; i < call->args; i++)
		if (vg_resp_number(call->arg[i].data, call->arg[i].length, &asked) && (__u64)asked == id)
			return true;
	return false;
}

static void list_one(void *context, const struct vg_session *session)
{
	struct listing *listing = context;
	char line[513];
	size_t length;

	if (listing->none || !is_asked_for(listing->call, session->id))
		return;
	length = describe(session, listing->call->env->clock->monotonic_ns, line);
	line[length++] = '\n';
	vg_out_append(&listing->lines, line, length);
}

/* All clients here are normal; the other types that Redis knows have none. False: an error was answered. */
static bool read_type(struct vg_call *call, const struct vg_resp_arg *type, bool *ret_none)
{
	static const char *const types[] = { "normal", "master", "replica", "slave", "pubsub" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (vg_arg_is(type, types[i])) {
			*ret_none = i != 0;
			return true;
		}
	}
	vg_resp_error(call->out, "ERR Unknown client type '%.*s'", (int)(type->length < 128 ? type->length : 128),
		      type->data);
	return false;
}

/* The whole output as one string of RESP. */
static void answer_lines(struct vg_call *call, struct vg_out *lines)
{
	char header[48];
	int length = snprintf(header, sizeof(header), call->version == 3 ? "=%llu\r\ntxt:" : "$%llu\r\n",
			      (unsigned long long)lines->bytes + (call->version == 3 ? 4 : 0));

	vg_out_append(call->out, header, (size_t)length);
	vg_out_splice(call->out, lines);
	vg_out_append(call->out, "\r\n", 2);
}

int vg_cmd_client_list(struct vg_call *call)
{
	struct listing listing = { .call = call };

	if (call->args == 4 && vg_arg_is(&call->arg[2], "type")) {
		if (!read_type(call, &call->arg[3], &listing.none))
			return 0;
	} else if (call->args > 3 && vg_arg_is(&call->arg[2], "id")) {
		__s64 id;

		for (int i = 3; i < call->args; i++) {
			if (!vg_resp_number(call->arg[i].data, call->arg[i].length, &id) || id < 1) {
				vg_resp_error(call->out, "ERR Invalid client ID");
				return 0;
			}
		}
	} else if (call->args != 2) {
		return vg_call_syntax_error(call);
	}
	vg_out_init(&listing.lines, call->env->chunks);
	vg_sessions_each(call->env, list_one, &listing);
	answer_lines(call, &listing.lines);
	vg_out_deinit(&listing.lines);
	return 0;
}

/* ---- KILL ------------------------------------------------------------------------------------------------------ */

#define KILL_BATCH 256

struct kill {
	const struct vg_call *call;
	const struct vg_resp_arg *address, *local, *user;
	__s64 id;
	bool skip_me, by_id, none;
	int count;
	__u64 found[KILL_BATCH];
};

static bool text_is(const struct vg_resp_arg *arg, const char *text)
{
	return arg->length == strlen(text) && memcmp(arg->data, text, arg->length) == 0;
}

static void kill_match(void *context, const struct vg_session *session)
{
	struct kill *kill = context;
	bool me = kill->call->client && vg_client_session(kill->call->client)->id == session->id;

	if (kill->none || (me && kill->skip_me) || (kill->by_id && (__u64)kill->id != session->id) ||
	    (kill->address && !text_is(kill->address, session->peer)) ||
	    (kill->local && !text_is(kill->local, session->local)) || (kill->user && !text_is(kill->user, "default")))
		return;
	if (kill->count < KILL_BATCH)
		kill->found[kill->count++] = session->id;
}

/* False: an error was answered. */
static bool read_kill(struct vg_call *call, struct kill *kill)
{
	for (int i = 2; i < call->args; i += 2) {
		const struct vg_resp_arg *option = &call->arg[i], *value = option + 1;

		if (i + 1 >= call->args) {
			vg_call_syntax_error(call);
			return false;
		}
		if (vg_arg_is(option, "id")) {
			if (!vg_resp_number(value->data, value->length, &kill->id) || kill->id < 1) {
				vg_resp_error(call->out, "ERR client-id should be greater than 0");
				return false;
			}
			kill->by_id = true;
		} else if (vg_arg_is(option, "addr")) {
			kill->address = value;
		} else if (vg_arg_is(option, "laddr")) {
			kill->local = value;
		} else if (vg_arg_is(option, "user")) {
			kill->user = value;
		} else if (vg_arg_is(option, "type")) {
			if (!read_type(call, value, &kill->none))
				return false;
		} else if (vg_arg_is(option, "skipme") && (vg_arg_is(value, "yes") || vg_arg_is(value, "no"))) {
			kill->skip_me = vg_arg_is(value, "yes");
		} else {
			vg_call_syntax_error(call);
			return false;
		}
	}
	return true;
}

int vg_cmd_client_kill(struct vg_call *call)
{
	struct kill kill = { .call = call, .skip_me = true };
	bool old_form = call->args == 3;
	int killed = 0;

	if (old_form) {
		kill.address = &call->arg[2];
		kill.skip_me = false;
	} else if (!read_kill(call, &kill)) {
		return 0;
	}
	vg_sessions_each(call->env, kill_match, &kill);
	for (int i = 0; i < kill.count; i++) {
		if (call->client && vg_client_session(call->client)->id == kill.found[i]) {
			vg_client_session(call->client)->finish = true; /* after this answer */
			killed++;
		} else {
			killed += vg_session_kill(call->env, kill.found[i]);
		}
	}
	if (!old_form)
		vg_resp_integer(call->out, killed);
	else if (killed)
		vg_resp_simple(call->out, "OK");
	else
		vg_resp_error(call->out, "ERR No such client");
	return 0;
}

/* ---- switches -------------------------------------------------------------------------------------------------- */

static int flip(struct vg_call *call, __u32 flag)
{
	if (vg_arg_is(&call->arg[2], "on"))
		call->client->flags |= flag;
	else if (vg_arg_is(&call->arg[2], "off"))
		call->client->flags &= ~flag;
	else
		return vg_call_syntax_error(call);
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_client_no_evict(struct vg_call *call)
{
	return flip(call, VG_CLIENT_NO_EVICT);
}

int vg_cmd_client_no_touch(struct vg_call *call)
{
	return flip(call, VG_CLIENT_NO_TOUCH);
}

/* OFF and SKIP are not answered themselves. */
int vg_cmd_client_reply(struct vg_call *call)
{
	if (vg_arg_is(&call->arg[2], "on")) {
		call->client->flags &= ~(__u32)VG_CLIENT_REPLY_ANY;
		vg_resp_simple(call->out, "OK");
	} else if (vg_arg_is(&call->arg[2], "off")) {
		call->client->flags |= VG_CLIENT_REPLY_OFF;
	} else if (vg_arg_is(&call->arg[2], "skip")) {
		/* When this very command is to be skipped, the session still has to take that mark away. */
		if (!(call->client->flags & VG_CLIENT_REPLY_OFF))
			call->client->flags |= call->client->flags & VG_CLIENT_REPLY_SKIP ? VG_CLIENT_REPLY_SKIP_NEXT :
											    VG_CLIENT_REPLY_SKIP;
	} else {
		return vg_call_syntax_error(call);
	}
	return 0;
}

int vg_cmd_client_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"GETNAME",
		"    The name of this connection.",
		"ID",
		"    The number of this connection.",
		"INFO",
		"    What is known of this connection.",
		"KILL <ip:port>",
		"    Close the connection of that peer.",
		"KILL <option> <value> [<option> <value> ...]",
		"    Close what matches: ID <id>, ADDR <ip:port>, LADDR <ip:port>, TYPE normal, USER default, SKIPME "
		"yes|no.",
		"LIST [TYPE normal] [ID <id> ...]",
		"    What is known of connections, one a line.",
		"NO-EVICT (ON|OFF)",
		"    Mark this connection.",
		"NO-TOUCH (ON|OFF)",
		"    Accepted; reads count as uses all the same.",
		"REPLY (ON|OFF|SKIP)",
		"    Whether answers are sent.",
		"SETINFO (LIB-NAME|LIB-VER) <value>",
		"    Name the client library.",
		"SETNAME <name>",
		"    Name this connection.",
		NULL,
	};

	return vg_call_help(call, "CLIENT", lines);
}
