/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One command: found, checked, sent to where its keys are, run. */
#include <errno.h>
#include <stdio.h>

#include "svc/mem/cmd.h"
#include "svc/mem/events.h"
#include "svc/mem/hotkeys.h"
#include "svc/mem/monitor.h"
#include "svc/mem/resp_call.h"
#include "svc/mem/resp_watch.h"
#include "svc/mem/tracking.h"

static bool check(struct vg_call *call);
static void needs_connection(struct vg_call *call);

static void note_hot(struct vg_call *call)
{
	struct vg_key key = vg_call_key(call, call->command->first);

	vg_hot_take(vg_mem_worker(call->env)->hot, call->env, key.data, key.length, key.hash);
}

/* Timed if it may be slow. */
static int run_here(struct vg_call *call)
{
	__u64 started_ns;
	int result;

	if (vg_env_refuses(call->env) && call->command->flags & VG_CMD_WRITE) {
		vg_refuse(call->env, VG_REFUSAL_NOT_LOGGED);
		vg_resp_error(call->out, "MISCONF %s", vg_env_refusal(call->env));
		return 0;
	}
	vg_monitor_feed(call);
	if (call->command->first && vg_hot_takes(vg_mem_worker(call->env)->hot))
		note_hot(call);
	if (call->client && call->client->flags & VG_CLIENT_TRACKING && call->command->flags & VG_CMD_READONLY)
		vg_tracking_remember(call);
	if (!vg_watch_wants_time(call)) {
		result = call->command->run(call);
		vg_watch_note(call, 0);
		return result;
	}
	started_ns = vg_watch_now_ns();
	result = call->command->run(call);
	vg_watch_note(call, vg_watch_now_ns() - started_ns);
	return result;
}

/* Run it where its keys are. */
static int run(struct vg_call *call)
{
	if (!call->alone && call->command->route != VG_ROUTE_HERE) {
		int result = vg_route_call(call);

		if (result)
			return result;
	}
	return run_here(call);
}

static int execute(struct vg_call *call)
{
	struct vg_out *out = call->out;
	bool gated = call->client && call->client->flags & VG_CLIENT_GATED;
	int result;

	if (!check(call)) {
		if (gated) {
			vg_gate_refused(call);
			vg_gate_passed(call);
		}
		return 0;
	}
	if (gated && vg_gate_stops(call)) {
		vg_gate_passed(call);
		return 0;
	}
	result = run(call);
	vg_events_flush(call->env);
	if (gated)
		vg_gate_passed(call);
	if (result == -EINPROGRESS)
		return vg_pending_leave(call, out);
	return result == VG_ROUTE_ANSWERED ? 0 : result;
}

int vg_call_execute(struct vg_call *call)
{
	__u64 errors = vg_resp_errors_written;
	int result = execute(call);

	if (__builtin_expect(vg_resp_errors_written != errors, 0))
		vg_watch_error(call->env, vg_resp_error_word);
	return result;
}

int vg_call_run_queued(struct vg_call *call)
{
	struct vg_out *out = call->out;
	int result;

	if (call->command->flags & VG_CMD_SESSION && !call->client) {
		needs_connection(call);
		return 0;
	}
	result = run_here(call);
	return result == -EINPROGRESS ? vg_pending_leave(call, out) : result;
}

bool vg_call_lookup(struct vg_call *call)
{
	call->command = vg_command_find(call->arg[0].data, call->arg[0].length);
	return check(call);
}

int vg_call_run(struct vg_call *call)
{
	call->command = vg_command_find(call->arg[0].data, call->arg[0].length);
	return vg_call_execute(call);
}

int vg_mem_resp_execute(struct vg_env *env, const __u8 *request, size_t length, int version, bool forwarded,
			struct vg_out *out, vg_mem_resp_fn done, void *context)
{
	struct vg_resp_arg arg[VG_RESP_ARGS_INLINE];
	struct vg_resp_parser parser = { 0 };
	struct vg_resp_input input = { .data = (const char *)request, .length = length, .trusted = true, .arg = arg,
				       .mem = env->mem };
	struct vg_resp_result parsed;
	int result = -EINVAL;

	if (length && request[0] == '*' && vg_resp_parse(&parser, &input, &parsed) == VG_RESP_REQUEST &&
	    parsed.taken == length && parsed.request.args) {
		struct vg_call call = { .env = env, .out = out, .arg = parsed.request.arg, .args = parsed.request.args,
					.version = version == 3 ? 3 : 2, .forwarded = forwarded,
					.alone = vg_cluster_nodes(env->cluster) == 1,
					.now_ms = vg_clock_unix_ms(env->clock), .raw = (const char *)request,
					.raw_length = length, .done = done, .done_context = context };

		result = vg_call_run(&call);
	}
	vg_resp_parser_reset(&parser, env->mem);
	return result;
}

/* ---- checks ---------------------------------------------------------------------------------------------------- */

/* A quoted excerpt of an argument, at most `room` bytes of it, up to a zero byte as a C program shows it. */
static int excerpt(const struct vg_resp_arg *arg, int room)
{
	size_t length = strnlen(arg->data, arg->length);

	return length < (size_t)room ? (int)length : room;
}

static void unknown_command(struct vg_call *call)
{
	char args[192] = "";
	int length = 0;

	/*
	 * A page that makes a browser post commands here: its own lines come first, and nothing behind them is
	 * obeyed.
	 */
	if (call->client && (vg_arg_is(&call->arg[0], "post") || vg_arg_is(&call->arg[0], "host:"))) {
		vg_refuse(call->env, VG_REFUSAL_HTTP);
		vg_client_session(call->client)->finish = true;
		return;
	}
	for (int i = 1; i < call->args && length < 128; i++)
		length += snprintf(args + length, sizeof(args) - (size_t)length, "'%.*s' ",
				   excerpt(&call->arg[i], 128 - length), call->arg[i].data);
	vg_refuse(call->env, VG_REFUSAL_UNKNOWN_COMMAND);
	vg_resp_error(call->out, "ERR unknown command '%.*s', with args beginning with: %s",
		      excerpt(&call->arg[0], 128), call->arg[0].data, args);
}

static bool check_sub(struct vg_call *call)
{
	const struct vg_command *sub = vg_command_find_sub(call->command, call->arg[1].data, call->arg[1].length);

	if (!sub) {
		char name[32];
		size_t i;

		for (i = 0; call->command->name[i] && i < sizeof(name) - 1; i++)
			name[i] = call->command->name[i] >= 'a' && call->command->name[i] <= 'z' ?
					  (char)(call->command->name[i] - 'a' + 'A') : call->command->name[i];
		name[i] = '\0';
		vg_resp_error(call->out, "ERR unknown subcommand '%.*s'. Try %s HELP.", excerpt(&call->arg[1], 128),
			      call->arg[1].data, name);
		return false;
	}
	call->command = sub;
	return true;
}

static bool is_authenticated(const struct vg_call *call)
{
	return !call->client || vg_client_session(call->client)->authenticated;
}

static void needs_connection(struct vg_call *call)
{
	vg_resp_error(call->out, "ERR '%s' needs a connection of its own", call->command->name);
}

/* The order of the checks is Redis's: a client sees the same first error. */
static bool check(struct vg_call *call)
{
	if (!call->command) {
		unknown_command(call);
		return false;
	}
	if (call->command->subs && call->args > 1 && !check_sub(call))
		return false;
	if (!vg_command_arity_fits(call->command, call->args)) {
		if (call->command->run == vg_cmd_exec && call->client)
			vg_gate_abandon(call, "wrong number of arguments for 'exec' command");
		else
			vg_call_arity_error(call);
		vg_watch_count(call->env, call->command)->rejected++;
		return false;
	}
	if (!(call->command->flags & VG_CMD_NO_AUTH) && !is_authenticated(call)) {
		vg_refuse(call->env, VG_REFUSAL_UNAUTHORIZED);
		vg_resp_error(call->out, "NOAUTH Authentication required.");
		return false;
	}
	if (call->command->flags & VG_CMD_SESSION && !call->client) {
		needs_connection(call);
		return false;
	}
	return true;
}

/* ---- what handlers share --------------------------------------------------------------------------------------- */

bool vg_arg_is(const struct vg_resp_arg *arg, const char *word)
{
	return arg->length == strlen(word) && strncasecmp(arg->data, word, arg->length) == 0;
}

bool vg_call_integer(struct vg_call *call, int position, __s64 *ret_value)
{
	if (vg_resp_number(call->arg[position].data, call->arg[position].length, ret_value))
		return true;
	vg_resp_error(call->out, "ERR value is not an integer or out of range");
	return false;
}

bool vg_call_database(struct vg_call *call, int position)
{
	__s64 database;

	if (!vg_call_integer(call, position, &database))
		return false;
	if (database < INT_MIN || database > INT_MAX)
		vg_resp_error(call->out, "ERR value is out of range, value must between %d and %d", INT_MIN, INT_MAX);
	else if (database != 0)
		vg_resp_error(call->out, "ERR DB index is out of range");
	return database == 0;
}

int vg_call_failure(struct vg_call *call, int error)
{
	switch (error) {
	case -ENOMEM:
		vg_refuse(call->env, VG_REFUSAL_NO_MEMORY);
		vg_resp_error(call->out, "%s", VG_OOM_TEXT);
		break;
	case -EMSGSIZE:
		vg_refuse(call->env, VG_REFUSAL_TOO_LONG);
		vg_resp_error(call->out, "ERR key is longer than %d bytes, value than %d, or too many keys at once",
			      VG_KEY_MAX, VG_VALUE_MAX);
		break;
	case -ELOOP:
		vg_refuse(call->env, VG_REFUSAL_BUSY);
		vg_resp_error(call->out, "ERR too many keys share one bucket of the index");
		break;
	default:
		vg_resp_error(call->out, "ERR internal error: %s", strerrordesc_np(-error));
		break;
	}
	return 0;
}

int vg_call_syntax_error(struct vg_call *call)
{
	vg_resp_error(call->out, "ERR syntax error");
	return 0;
}

int vg_call_arity_error(struct vg_call *call)
{
	vg_resp_error(call->out, "ERR wrong number of arguments for '%s' command", call->command->name);
	return 0;
}

int vg_call_help(struct vg_call *call, const char *title, const char *const *lines)
{
	char first[96];
	int count = 0;

	while (lines[count])
		count++;
	snprintf(first, sizeof(first), "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", title);
	vg_resp_array(call->out, (__u64)count + 3);
	vg_resp_simple(call->out, first);
	for (int i = 0; i < count; i++)
		vg_resp_simple(call->out, lines[i]);
	vg_resp_simple(call->out, "HELP");
	vg_resp_simple(call->out, "    Print this help.");
	return 0;
}
