/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/pause.h"

#include <errno.h>

#include "svc/mem/cmd.h"
#include "svc/mem/more.h"

/* The sessions of one worker that wait. */
struct vg_paused {
	int count, capacity;
	struct vg_session_ref session[];
};

static bool note(struct vg_env *env, const struct vg_session *session)
{
	struct vg_mem_worker *worker = vg_mem_worker(env);
	struct vg_paused *paused = worker->paused, *larger;

	if (!paused || paused->count == paused->capacity) {
		int capacity = paused ? 2 * paused->capacity : 64;

		larger = env->mem->alloc(env->mem->context,
					 sizeof(*larger) + (size_t)capacity * sizeof(larger->session[0]));
		if (!larger)
			return false;
		if (paused)
			memcpy(larger, paused, sizeof(*paused) + (size_t)paused->count * sizeof(paused->session[0]));
		else
			larger->count = 0;
		larger->capacity = capacity;
		env->mem->free(env->mem->context, paused);
		worker->paused = paused = larger;
	}
	paused->session[paused->count++] = vg_session_ref(session);
	return true;
}

/* All go on; one that must still wait comes back here with its next try. */
static void let_go(struct vg_env *env)
{
	struct vg_paused *paused = vg_mem_worker(env)->paused;

	vg_mem_worker(env)->paused = NULL;
	for (int i = 0; paused && i < paused->count; i++) {
		struct vg_session *session = vg_session_find(env, paused->session[i]);

		if (session)
			vg_session_resume(session);
	}
	env->mem->free(env->mem->context, paused);
}

static void on_time(void *context)
{
	let_go(context);
}

void vg_pause_deinit(struct vg_env *env)
{
	env->mem->free(env->mem->context, vg_mem_worker(env)->paused);
	vg_mem_worker(env)->paused = NULL;
}

/* Writes, and what would be told to replicas as one. */
static bool is_write(const struct vg_client *client, const struct vg_command *command)
{
	if (command->run == vg_cmd_exec && client->flags & VG_CLIENT_MULTI) {
		const struct vg_multi *multi = &client->more->multi;

		for (int i = 0; i < multi->count; i++)
			if (multi->queued[i]->command->flags & VG_CMD_WRITE)
				return true;
		return false;
	}
	return command->flags & VG_CMD_WRITE || command->run == vg_cmd_publish || command->run == vg_cmd_spublish;
}

bool vg_pause_holds_slow(struct vg_session *session, const struct vg_command *command)
{
	struct vg_env *env = session->env;
	struct vg_mem_shared *shared = vg_mem_shared(env);
	__u64 until_ms = __atomic_load_n(&shared->pause_until_ms, __ATOMIC_ACQUIRE);
	__u64 now_ms = vg_clock_unix_ms(env->clock);
	bool first = !vg_mem_worker(env)->paused;

	if (now_ms >= until_ms) {
		vg_events_listen(shared, VG_LISTEN_PAUSE, false);
		return false;
	}
	if (!command || (!__atomic_load_n(&shared->pause_all, __ATOMIC_RELAXED) &&
			 !is_write(vg_session_client(session), command)))
		return false;
	if (!note(env, session))
		return false;
	if (first && vg_env_timer(env, (until_ms - now_ms) * 1000000, on_time, env)) {
		let_go(env);
		return false;
	}
	vg_session_pause(session);
	return true;
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

bool vg_call_timeout(struct vg_call *call, int position, __s64 *ret_timeout_ms)
{
	if (!vg_resp_number(call->arg[position].data, call->arg[position].length, ret_timeout_ms)) {
		vg_resp_error(call->out, "ERR timeout is not an integer or out of range");
		return false;
	}
	if (*ret_timeout_ms < 0) {
		vg_resp_error(call->out, "ERR timeout is negative");
		return false;
	}
	return true;
}

int vg_cmd_client_pause(struct vg_call *call)
{
	struct vg_mem_shared *shared = vg_mem_shared(call->env);
	bool all = true;
	__s64 timeout_ms;
	__u64 until_ms;

	if (call->args > 4)
		return vg_call_arity_error(call);
	if (call->args == 4) {
		all = vg_arg_is(&call->arg[3], "all");
		if (!all && !vg_arg_is(&call->arg[3], "write")) {
			vg_resp_error(call->out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
			return 0;
		}
	}
	if (!vg_call_timeout(call, 2, &timeout_ms))
		return 0;
	until_ms = call->now_ms + (__u64)timeout_ms;
	/* As Redis: a pause that is on is neither shortened nor made milder. */
	if (__atomic_load_n(&shared->pause_until_ms, __ATOMIC_RELAXED) > call->now_ms) {
		all |= __atomic_load_n(&shared->pause_all, __ATOMIC_RELAXED);
		if (shared->pause_until_ms > until_ms)
			until_ms = shared->pause_until_ms;
	}
	__atomic_store_n(&shared->pause_all, all, __ATOMIC_RELAXED);
	__atomic_store_n(&shared->pause_until_ms, until_ms, __ATOMIC_RELEASE);
	vg_events_listen(shared, VG_LISTEN_PAUSE, true);
	vg_resp_simple(call->out, "OK");
	return 0;
}

static void on_unpause(struct vg_env *env, struct vg_mail *mail)
{
	env->mem->free(env->mem->context, mail);
	let_go(env);
}

int vg_cmd_client_unpause(struct vg_call *call)
{
	struct vg_env *env = call->env;
	struct vg_mem_shared *shared = vg_mem_shared(env);

	__atomic_store_n(&shared->pause_until_ms, 0, __ATOMIC_RELEASE);
	for (__u32 worker = 0; worker < VG_MEM_WORKERS_MAX; worker++) {
		struct vg_mail *mail = shared->env[worker] ? env->mem->alloc(env->mem->context, sizeof(*mail)) : NULL;

		if (!mail) /* then they go on when the time comes */
			continue;
		*mail = (struct vg_mail){ .fn = on_unpause };
		vg_env_post(env, worker, mail);
	}
	vg_resp_simple(call->out, "OK");
	return 0;
}

/* Nobody is ever blocked here: commands that wait for others' data are of types that are not kept. */
int vg_cmd_client_unblock(struct vg_call *call)
{
	__s64 id;

	if (call->args > 4)
		return vg_call_arity_error(call);
	if (call->args == 4 && !vg_arg_is(&call->arg[3], "timeout") && !vg_arg_is(&call->arg[3], "error")) {
		vg_resp_error(call->out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
		return 0;
	}
	if (vg_call_integer(call, 2, &id))
		vg_resp_integer(call->out, 0);
	return 0;
}
