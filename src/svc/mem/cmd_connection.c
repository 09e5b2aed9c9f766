/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The connection itself: who is there, who is speaking, in which version. */
#include <errno.h>
#include <stdio.h>

#include "svc/mem/cmd.h"
#include "svc/mem/more.h"
#include "svc/secret.h"

#define REDIS_VERSION "7.0.15" /* the version whose answers these are */

int vg_cmd_ping(struct vg_call *call)
{
	if (call->args > 2)
		return vg_call_arity_error(call);
	if (call->client && call->client->flags & VG_CLIENT_PUBSUB && call->version == 2) {
		vg_resp_array(call->out, 2);
		vg_resp_bulk_text(call->out, "pong");
		vg_resp_bulk(call->out, call->args == 2 ? call->arg[1].data : "",
			     call->args == 2 ? call->arg[1].length : 0);
		return 0;
	}
	if (call->args == 2)
		vg_resp_bulk(call->out, call->arg[1].data, call->arg[1].length);
	else
		vg_out_append(call->out, "+PONG\r\n", 7);
	return 0;
}

int vg_cmd_echo(struct vg_call *call)
{
	vg_resp_bulk(call->out, call->arg[1].data, call->arg[1].length);
	return 0;
}

/* ---- AUTH ------------------------------------------------------------------------------------------------------ */

/* Is it the default user's password? Without one every password is right, as for Redis. */
static bool is_password(struct vg_call *call, const struct vg_resp_arg *user, const struct vg_resp_arg *password)
{
	const char *secret = call->env->settings->password;
	bool known = !user || (user->length == 7 && memcmp(user->data, "default", 7) == 0);

	return known && (!secret[0] || vg_secret_matches(secret, password->data, password->length));
}

static void refuse_password(struct vg_call *call)
{
	vg_refuse(call->env, VG_REFUSAL_UNAUTHORIZED);
	vg_resp_error(call->out, "WRONGPASS invalid username-password pair or user is disabled.");
}

int vg_cmd_auth(struct vg_call *call)
{
	const struct vg_resp_arg *user = call->args == 3 ? &call->arg[1] : NULL;

	if (call->args > 3)
		return vg_call_syntax_error(call);
	if (!user && !call->env->settings->password[0]) {
		vg_resp_error(call->out,
			      "ERR AUTH <password> called without any password configured for the default user. "
			      "Are you sure your configuration is correct?");
		return 0;
	}
	if (!is_password(call, user, &call->arg[call->args - 1])) {
		refuse_password(call);
		return 0;
	}
	vg_client_session(call->client)->authenticated = true;
	vg_resp_simple(call->out, "OK");
	return 0;
}

/* ---- HELLO ----------------------------------------------------------------------------------------------------- */

static void set_name(struct vg_session *session, const struct vg_resp_arg *name)
{
	snprintf(session->name, sizeof(session->name), "%.*s", (int)name->length, name->data);
}

bool vg_client_name_is_valid(const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (name[i] < '!' || name[i] > '~')
			return false;
	return true;
}

static void greet(struct vg_call *call)
{
	vg_resp_map(call->out, call->version, 7);
	vg_resp_bulk_text(call->out, "server");
	vg_resp_bulk_text(call->out, "redis");
	vg_resp_bulk_text(call->out, "version");
	vg_resp_bulk_text(call->out, REDIS_VERSION);
	vg_resp_bulk_text(call->out, "proto");
	vg_resp_integer(call->out, call->version);
	vg_resp_bulk_text(call->out, "id");
	vg_resp_integer(call->out, (__s64)vg_client_session(call->client)->id);
	vg_resp_bulk_text(call->out, "mode");
	vg_resp_bulk_text(call->out, "standalone");
	vg_resp_bulk_text(call->out, "role");
	vg_resp_bulk_text(call->out, "master");
	vg_resp_bulk_text(call->out, "modules");
	vg_resp_array(call->out, 0);
}

struct hello {
	__s64 version;
	const struct vg_resp_arg *user, *password, *name;
};

/* False: an error was answered. */
static bool read_hello(struct vg_call *call, struct hello *hello)
{
	hello->version = call->version;
	if (call->args > 1 && !vg_resp_number(call->arg[1].data, call->arg[1].length, &hello->version)) {
		vg_resp_error(call->out, "ERR Protocol version is not an integer or out of range");
		return false;
	}
	if (hello->version != 2 && hello->version != 3) {
		vg_resp_error(call->out, "NOPROTO unsupported protocol version");
		return false;
	}
	for (int i = 2; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (vg_arg_is(arg, "auth") && i + 2 < call->args) {
			hello->user = arg + 1;
			hello->password = arg + 2;
			i += 2;
		} else if (vg_arg_is(arg, "setname") && i + 1 < call->args) {
			hello->name = arg + 1;
			i++;
		} else {
			vg_resp_error(call->out, "ERR Syntax error in HELLO option '%.*s'", (int)(arg->length & 0xff),
				      arg->data);
			return false;
		}
	}
	return true;
}

int vg_cmd_hello(struct vg_call *call)
{
	struct vg_session *session = vg_client_session(call->client);
	struct hello hello = { 0 };

	if (!read_hello(call, &hello))
		return 0;
	if (hello.password && !is_password(call, hello.user, hello.password)) {
		refuse_password(call);
		return 0;
	}
	if (hello.password)
		session->authenticated = true;
	if (!session->authenticated) {
		vg_refuse(call->env, VG_REFUSAL_UNAUTHORIZED);
		vg_resp_error(call->out,
			      "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
			      "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client "
			      "and select the RESP protocol version at the same time");
		return 0;
	}
	if (hello.name && !vg_client_name_is_valid(hello.name->data, hello.name->length)) {
		vg_resp_error(call->out, "ERR Client names cannot contain spaces, newlines or special characters.");
		return 0;
	}
	if (hello.name)
		set_name(session, hello.name);
	call->version = (int)hello.version;
	call->client->flags &= ~(__u32)VG_CLIENT_RESP3;
	if (call->version == 3)
		call->client->flags |= VG_CLIENT_RESP3;
	greet(call);
	return 0;
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

int vg_cmd_select(struct vg_call *call)
{
	if (vg_call_database(call, 1))
		vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_quit(struct vg_call *call)
{
	vg_client_session(call->client)->finish = true;
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_reset(struct vg_call *call)
{
	struct vg_session *session = vg_client_session(call->client);

	vg_client_more_reset(call->client);
	call->client->flags = 0;
	call->version = 2;
	session->name[0] = '\0';
	session->authenticated = !call->env->settings->password[0];
	vg_resp_simple(call->out, "RESET");
	return 0;
}
