/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TIME, DEBUG, SLOWLOG, LATENCY. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdint.h>

#include "svc/mem/cmd.h"
#include "svc/mem/hotkeys.h"
#include "svc/mem/resp_watch.h"

int vg_cmd_time(struct vg_call *call)
{
	__u64 microseconds = call->env->clock->unix_ns / 1000;

	vg_resp_array(call->out, 2);
	vg_resp_bulk_format(call->out, "%llu", (unsigned long long)(microseconds / 1000000));
	vg_resp_bulk_format(call->out, "%llu", (unsigned long long)(microseconds % 1000000));
	return 0;
}

/* ---- DEBUG ----------------------------------------------------------------------------------------------------- */

#define SLEEP_SECONDS_MAX 86400.0

static void wake_up(void *context)
{
	struct vg_pending *pending = context;

	vg_resp_simple(&pending->out, "OK");
	vg_pending_done(pending);
}

/* Only this connection waits: the worker goes on. */
int vg_cmd_debug_sleep(struct vg_call *call)
{
	const struct vg_resp_arg *arg = &call->arg[2];
	struct vg_pending *pending;
	char text[32] = "";
	double seconds;

	memcpy(text, arg->data, arg->length < sizeof(text) ? arg->length : sizeof(text) - 1);
	seconds = strtod(text, NULL);
	if (!(seconds >= 0))
		seconds = 0;
	if (seconds > SLEEP_SECONDS_MAX)
		seconds = SLEEP_SECONDS_MAX;
	pending = vg_call_defer(call);
	if (!pending)
		return 0;
	if (vg_env_timer(call->env, (__u64)(seconds * 1e9), wake_up, pending)) {
		vg_resp_error(&pending->out, "ERR no timer is free");
		vg_pending_done(pending);
	}
	return -EINPROGRESS;
}

/* ---- VIRGO.HOTKEYS ---------------------------------------------------------------------------------------------- */

#define HOT_KEYS_MAX 128

/* VIRGO.HOTKEYS [count]: the share of all commands on keys in ten thousandths, its possible error, and the key. */
int vg_cmd_virgo_hotkeys(struct vg_call *call)
{
	struct vg_hot_key key[HOT_KEYS_MAX];
	__u64 samples;
	__s64 count = 10;

	if (call->args > 2)
		return vg_call_arity_error(call);
	if (call->args == 2 && !vg_call_integer(call, 1, &count))
		return 0;
	count = count < 1 ? 1 : count > HOT_KEYS_MAX ? HOT_KEYS_MAX : count;
	count = vg_hot_report(call->env, key, (int)count, &samples);
	vg_resp_array(call->out, (__u64)count);
	for (__s64 i = 0; i < count; i++) {
		__u32 length = key[i].length < VG_HOT_KEY_BYTES ? key[i].length : VG_HOT_KEY_BYTES;

		vg_resp_array(call->out, 3);
		vg_resp_bulk(call->out, key[i].key, length);
		vg_resp_integer(call->out, samples ? (__s64)(10000ULL * key[i].count / samples) : 0);
		vg_resp_integer(call->out, samples ? (__s64)(10000ULL * key[i].error / samples) : 0);
	}
	return 0;
}

/* ---- WAIT, ROLE ------------------------------------------------------------------------------------------------- */

static void answer_none(void *context)
{
	struct vg_pending *pending = context;

	vg_resp_integer(&pending->out, 0);
	vg_pending_done(pending);
}

/*
 * There are no replicas: none has acknowledged anything, and who waits for one waits until the timeout (0: for ever,
 * here a day). What a change's answer says of the disk is appendfsync's business, not WAIT's.
 */
int vg_cmd_wait(struct vg_call *call)
{
	struct vg_pending *pending;
	__s64 replicas, timeout_ms;

	if (!vg_call_integer(call, 1, &replicas) || !vg_call_timeout(call, 2, &timeout_ms))
		return 0;
	if (replicas <= 0 || call->queued) {
		vg_resp_integer(call->out, 0);
		return 0;
	}
	if (!timeout_ms || timeout_ms > (__s64)(SLEEP_SECONDS_MAX * 1000))
		timeout_ms = (__s64)(SLEEP_SECONDS_MAX * 1000);
	pending = vg_call_defer(call);
	if (!pending)
		return 0;
	if (vg_env_timer(call->env, (__u64)timeout_ms * 1000000, answer_none, pending))
		answer_none(pending);
	return -EINPROGRESS;
}

int vg_cmd_role(struct vg_call *call)
{
	vg_resp_array(call->out, 3);
	vg_resp_bulk_text(call->out, "master");
	vg_resp_integer(call->out, 0);
	vg_resp_array(call->out, 0);
	return 0;
}

int vg_cmd_debug_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"SLEEP <seconds>", "    Answer after that time; nobody else waits.", NULL,
	};

	return vg_call_help(call, "DEBUG", lines);
}

/* ---- SLOWLOG --------------------------------------------------------------------------------------------------- */

static void write_slow(void *context, const struct vg_slow_entry *entry)
{
	struct vg_out *out = context;

	vg_resp_array(out, 6);
	vg_resp_integer(out, entry->id);
	vg_resp_integer(out, entry->unix_seconds);
	vg_resp_integer(out, entry->duration_us);
	vg_resp_array(out, (__u64)entry->args);
	for (int i = 0; i < entry->args; i++)
		vg_resp_bulk(out, entry->arg[i].text, entry->arg[i].length);
	vg_resp_bulk_text(out, entry->peer);
	vg_resp_bulk_text(out, entry->name);
}

struct slow_answer {
	struct vg_out entries;
	__u64 count;
};

static void collect_slow(void *context, const struct vg_slow_entry *entry)
{
	struct slow_answer *answer = context;

	write_slow(&answer->entries, entry);
	answer->count++;
}

int vg_cmd_slowlog_get(struct vg_call *call)
{
	struct slow_answer answer = { 0 };
	__s64 count = 10;

	if (call->args > 3) {
		vg_resp_error(call->out,
			      "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG HELP.",
			      (int)call->arg[1].length, call->arg[1].data);
		return 0;
	}
	if (call->args == 3 && (!vg_resp_number(call->arg[2].data, call->arg[2].length, &count) || count < -1)) {
		vg_resp_error(call->out, "ERR count should be greater than or equal to -1");
		return 0;
	}
	vg_out_init(&answer.entries, call->env->chunks);
	vg_slowlog_each(count < 0 || count > INT32_MAX ? INT32_MAX : (int)count, collect_slow, &answer);
	vg_resp_array(call->out, answer.count);
	vg_out_splice(call->out, &answer.entries);
	vg_out_deinit(&answer.entries);
	return 0;
}

int vg_cmd_slowlog_len(struct vg_call *call)
{
	vg_resp_integer(call->out, vg_slowlog_length());
	return 0;
}

int vg_cmd_slowlog_reset(struct vg_call *call)
{
	vg_slowlog_reset();
	vg_resp_simple(call->out, "OK");
	return 0;
}

int vg_cmd_slowlog_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"GET [<count>]", "    The last slow commands, newest first (default: 10, -1: all).",
		"LEN", "    How many are kept.",
		"RESET", "    Forget them.",
		NULL,
	};

	return vg_call_help(call, "SLOWLOG", lines);
}

/* ---- LATENCY --------------------------------------------------------------------------------------------------- */

#define EVENT "command"

int vg_cmd_latency_latest(struct vg_call *call)
{
	struct vg_latency latency;

	vg_latency_read(&latency);
	vg_resp_array(call->out, latency.count ? 1 : 0);
	if (!latency.count)
		return 0;
	vg_resp_array(call->out, 4);
	vg_resp_bulk_text(call->out, EVENT);
	vg_resp_integer(call->out, latency.sample[latency.count - 1].unix_seconds);
	vg_resp_integer(call->out, latency.sample[latency.count - 1].milliseconds);
	vg_resp_integer(call->out, latency.worst_ms);
	return 0;
}

int vg_cmd_latency_history(struct vg_call *call)
{
	struct vg_latency latency;

	vg_latency_read(&latency);
	if (!vg_arg_is(&call->arg[2], EVENT))
		latency.count = 0;
	vg_resp_array(call->out, (__u64)latency.count);
	for (int i = 0; i < latency.count; i++) {
		vg_resp_array(call->out, 2);
		vg_resp_integer(call->out, latency.sample[i].unix_seconds);
		vg_resp_integer(call->out, latency.sample[i].milliseconds);
	}
	return 0;
}

int vg_cmd_latency_reset(struct vg_call *call)
{
	bool asked = call->args == 2;

	for (int i = 2; i < call->args; i++)
		asked |= vg_arg_is(&call->arg[i], EVENT);
	vg_resp_integer(call->out, asked ? vg_latency_reset() : 0);
	return 0;
}

int vg_cmd_latency_doctor(struct vg_call *call)
{
	__s64 threshold_ms = __atomic_load_n(&vg_watch_settings.latency_threshold_ms, __ATOMIC_RELAXED);
	struct vg_latency latency;
	char text[256];
	int length;

	vg_latency_read(&latency);
	if (!threshold_ms)
		length = snprintf(text, sizeof(text),
				  "Nothing is watched: set latency-monitor-threshold to a number of "
				  "milliseconds first.\n");
	else if (!latency.count)
		length = snprintf(text, sizeof(text), "No command took %lld ms or more.\n", (long long)threshold_ms);
	else
		length = snprintf(text, sizeof(text),
				  "%d slow moments, the worst %lld ms. SLOWLOG GET names the commands.\n",
				  latency.count, (long long)latency.worst_ms);
	vg_resp_verbatim(call->out, call->version, text, (size_t)length);
	return 0;
}

int vg_cmd_latency_help(struct vg_call *call)
{
	static const char *const lines[] = {
		"DOCTOR", "    What slow commands have in common.",
		"HISTORY <event>", "    The slow moments of the event; there is one: command.",
		"LATEST", "    The last slow moment of every event.",
		"RESET [<event> ...]", "    Forget them.",
		NULL,
	};

	return vg_call_help(call, "LATENCY", lines);
}
