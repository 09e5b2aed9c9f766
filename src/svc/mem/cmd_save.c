/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF, SHUTDOWN: in the words that Redis clients and their tools know. */
#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/persist.h"

static int refuse(struct vg_call *call, int error)
{
	if (error == -ENODEV)
		vg_resp_error(call->out, "ERR nothing is kept on disk: virgod was started without --data-dir");
	else if (error == -EALREADY)
		vg_resp_error(call->out, "ERR Background save already in progress");
	else if (error == -EBUSY)
		vg_resp_error(call->out, "ERR all keys are just being removed, or too many snapshots are open");
	else
		vg_resp_error(call->out, "ERR the snapshot could not be begun: %s", strerror(-error));
	return 0;
}

static void on_saved(void *context, int error, const char *why)
{
	struct vg_pending *pending = context;

	if (error)
		vg_resp_error(&pending->out, "ERR the snapshot failed: %s", why);
	else
		vg_resp_simple(&pending->out, "OK");
	vg_pending_done(pending);
}

/* Redis stops until it is saved; here only this connection waits. */
int vg_cmd_save(struct vg_call *call)
{
	struct vg_pending *pending = vg_call_defer(call);
	int error;

	if (!pending)
		return 0;
	error = vg_env_save(call->env, VG_SAVE_NOW, on_saved, pending);
	if (error) {
		refuse(call, error);
		vg_pending_done(pending);
	}
	return -EINPROGRESS;
}

int vg_cmd_bgsave(struct vg_call *call)
{
	bool schedule = call->args == 2 && vg_arg_is(&call->arg[1], "schedule");
	struct vg_persistence known;
	int error;

	if (call->args > 2 || (call->args == 2 && !schedule))
		return vg_call_syntax_error(call);
	vg_env_persistence(call->env, &known);
	error = vg_env_save(call->env, schedule ? VG_SAVE_LATER : VG_SAVE_BACKGROUND, NULL, NULL);
	if (error)
		return refuse(call, error);
	vg_resp_simple(call->out, known.running ? "Background saving scheduled" : "Background saving started");
	return 0;
}

int vg_cmd_lastsave(struct vg_call *call)
{
	struct vg_persistence known;

	vg_env_persistence(call->env, &known);
	vg_resp_integer(call->out, (__s64)known.last_save_s);
	return 0;
}

/* The log is made shorter by what a snapshot has: that is its rewriting. */
int vg_cmd_bgrewriteaof(struct vg_call *call)
{
	struct vg_persistence known;
	int error;

	vg_env_persistence(call->env, &known);
	error = vg_env_save(call->env, VG_SAVE_LATER, NULL, NULL);
	if (error)
		return refuse(call, error);
	vg_resp_simple(call->out, known.running ? "Background append only file rewriting scheduled" :
						  "Background append only file rewriting started");
	return 0;
}

/* The answer is the end of the connection. */
int vg_cmd_shutdown(struct vg_call *call)
{
	enum vg_shutdown_how how = VG_SHUTDOWN_DEFAULT;
	bool abort = false;

	for (int i = 1; i < call->args; i++) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (vg_arg_is(arg, "nosave") && how == VG_SHUTDOWN_DEFAULT)
			how = VG_SHUTDOWN_NOSAVE;
		else if (vg_arg_is(arg, "save") && how == VG_SHUTDOWN_DEFAULT)
			how = VG_SHUTDOWN_SAVE;
		else if (vg_arg_is(arg, "abort") && call->args == 2)
			abort = true;
		else if (!vg_arg_is(arg, "now") && !vg_arg_is(arg, "force"))
			return vg_call_syntax_error(call);
	}
	if (abort) {
		vg_resp_error(call->out, "ERR No shutdown in progress.");
		return 0;
	}
	vg_env_shutdown(call->env, how);
	if (call->client)
		vg_client_session(call->client)->finish = true;
	return 0;
}
