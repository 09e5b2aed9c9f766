/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/exec.h"

#include <assert.h>
#include <errno.h>

#include "svc/mem/events.h"
#include "svc/mem/shared.h"
#include "svc/mem/view.h"

struct exec {
	struct vg_env *env;
	struct vg_client *client; /* NULL: none */
	int version;
	__u64 now_ms;
	struct vg_multi multi;
	struct vg_watched *watched;
	struct vg_view *view;
	int at, end;		  /* the command being run; the step's end */
	bool forwarded, alone;
	bool checked;		  /* the watched keys have been looked at */
	bool late;		  /* some command's answer had to be waited for */
	struct vg_out answers;
	struct vg_pending *pending; /* late: where the answer goes; NULL: nowhere */
};

static void exec_free(struct exec *exec)
{
	const struct vg_mem *mem = exec->env->mem;

	vg_view_free(exec->view);
	vg_multi_clear(&exec->multi, mem);
	vg_unwatch_all(exec->env, &exec->watched);
	vg_out_deinit(&exec->answers);
	mem->free(mem->context, exec);
}

/* Does it look at more than its keys? What concerns the connection, channels or the clock does not. */
static bool stands_alone(const struct vg_command *command)
{
	return !command->first && strcmp(command->group, "connection") && strcmp(command->group, "pubsub") &&
	       strcmp(command->name, "time") && strcmp(command->name, "unwatch");
}

/* ---- one command ------------------------------------------------------------------------------------------------ */

static void on_answer(void *context, struct vg_out *answer);

static int run_one(struct exec *exec, const struct vg_queued *queued, struct vg_view *view)
{
	struct vg_client *client = exec->client;
	struct vg_call call = { .env = exec->env, .out = &exec->answers, .command = queued->command,
				.queued = true, .arg = (struct vg_resp_arg *)queued->arg, .args = queued->args,
				.view = view,
				.forwarded = exec->forwarded, .alone = exec->alone, .now_ms = exec->now_ms,
				.done = on_answer, .done_context = exec };

	call.version = client ? (client->flags & VG_CLIENT_RESP3 ? 3 : 2) : exec->version;
	if (!stands_alone(queued->command) || queued->command->flags & VG_CMD_SESSION)
		call.client = client;
	return vg_call_run_queued(&call);
}

/* ---- a step: commands that are one for everybody else ----------------------------------------------------------- */

static int add_key(struct exec *exec, const struct vg_key *key)
{
	return vg_view_add(exec->view, key) < 0 ? -EMSGSIZE : 0;
}

/* Every key of the transaction is named before anything is done, and locked in every step of it. */
static int name_keys(struct exec *exec)
{
	int error = vg_view_new(&exec->view, exec->env->mem, VG_TRANSACTION_KEYS_MAX, exec->now_ms);

	for (struct vg_watched *watched = exec->watched; watched && !error; watched = watched->next)
		error = add_key(exec, &watched->key);
	for (int i = 0; i < exec->multi.count && !error; i++) {
		const struct vg_queued *queued = exec->multi.queued[i];
		int last = vg_command_last_key(queued->command, queued->args);

		for (int k = queued->command->first; queued->command->first && k <= last && !error;
		     k += queued->command->step) {
			const struct vg_resp_arg *arg = &queued->arg[k];
			struct vg_key key = { arg->data, (__u32)arg->length, vg_hash64(arg->data, arg->length) };

			error = arg->length > VG_KEY_MAX ? -EMSGSIZE : add_key(exec, &key);
		}
	}
	return error;
}

static bool watched_changed(const struct exec *exec)
{
	for (const struct vg_watched *watched = exec->watched; watched; watched = watched->next)
		if (vg_interest_changed(vg_mem_shared(exec->env)->interest, &watched->watch))
			return true;
	return false;
}

static int run_step(struct exec *exec, struct vg_view *view)
{
	for (; exec->at < exec->end; exec->at++) {
		int result = run_one(exec, exec->multi.queued[exec->at], view);

		assert(result == 0); /* what may have to wait stands alone */
		if (view)
			vg_view_settle(view);
	}
	return exec->answers.failed ? -ENOMEM : 0;
}

/* With everything locked. -ECANCELED: a watched key has changed. */
static int step_locked(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	struct exec *exec = context;
	int error;

	if (!exec->checked && watched_changed(exec))
		return -ECANCELED;
	exec->checked = true;
	vg_view_begin(exec->view, old);
	error = run_step(exec, exec->view);
	if (!error && vg_view_failed(exec->view))
		error = -ENOMEM;
	if (!error)
		vg_view_finish(exec->view, changes);
	return error;
}

static int next_step(struct exec *exec)
{
	const struct vg_key *keys;
	int count, error;
	__u32 mark;

	exec->end = exec->at;
	while (exec->end < exec->multi.count && !stands_alone(exec->multi.queued[exec->end]->command))
		exec->end++;
	keys = vg_view_keys(exec->view, &count);
	if (!count)
		return run_step(exec, NULL);
	mark = vg_events_mark();
	vg_events_mute(); /* the commands have noted what they change, one by one */
	error = vg_store_transact(exec->env->store, keys, count, exec->now_ms, step_locked, exec);
	vg_events_unmute();
	if (error)
		vg_events_rewind(mark);
	return error;
}

/* ---- the whole of it -------------------------------------------------------------------------------------------- */

/* -EINPROGRESS: a command's answer is waited for; else the transaction has ended so. */
static int go_on(struct exec *exec)
{
	int error = 0;

	while (!error) {
		if (!exec->checked || exec->at < exec->multi.count)
			error = next_step(exec);
		exec->checked = true;
		if (error || exec->at == exec->multi.count)
			break;
		if (stands_alone(exec->multi.queued[exec->at]->command)) {
			error = run_one(exec, exec->multi.queued[exec->at], NULL);
			exec->at += error == 0;
		}
	}
	return error;
}

static void answer(struct exec *exec, int error, struct vg_out *out, int version)
{
	struct vg_call call = { .env = exec->env, .out = out, .version = version };

	if (error == -ECANCELED) {
		vg_resp_null_array(out, version);
	} else if (error == -EMSGSIZE) {
		vg_resp_error(out, "ERR a transaction names at most %d different keys, of %d bytes each",
			      VG_TRANSACTION_KEYS_MAX, VG_KEY_MAX);
	} else if (error) {
		vg_call_failure(&call, error);
	} else {
		vg_resp_array(out, (__u64)exec->multi.count);
		vg_out_splice(out, &exec->answers);
	}
}

static void on_answer(void *context, struct vg_out *one)
{
	struct exec *exec = context;
	int error;

	vg_out_splice(&exec->answers, one);
	exec->at++;
	/* The connection may have gone meanwhile; what was begun is carried out. */
	exec->client = exec->pending ? exec->pending->client : NULL;
	error = go_on(exec);
	if (error == -EINPROGRESS)
		return;
	if (exec->pending) {
		answer(exec, error, &exec->pending->out, exec->pending->version);
		vg_pending_done(exec->pending);
	}
	exec_free(exec);
}

int vg_exec_run(struct vg_call *call, struct vg_multi *multi, struct vg_watched **watched)
{
	const struct vg_mem *mem = call->env->mem;
	struct exec *exec = mem->alloc(mem->context, sizeof(*exec));
	int error;

	if (!exec) {
		vg_multi_clear(multi, mem);
		vg_unwatch_all(call->env, watched);
		return vg_call_failure(call, -ENOMEM);
	}
	*exec = (struct exec){ .env = call->env, .client = call->client, .version = call->version,
			       .now_ms = call->now_ms, .multi = *multi, .watched = *watched, .alone = call->alone,
			       .forwarded = call->forwarded };
	*multi = (struct vg_multi){ .owner = VG_NODE_NONE };
	*watched = NULL;
	vg_out_init(&exec->answers, call->env->chunks);
	error = name_keys(exec);
	if (!error)
		error = go_on(exec);
	if (error == -EINPROGRESS) {
		/* Without memory for the answer there is none; the transaction goes on all the same. */
		exec->pending = vg_call_defer(call);
		return exec->pending ? -EINPROGRESS : 0;
	}
	answer(exec, error, call->out, call->version);
	exec_free(exec);
	return 0;
}
