/* SPDX-License-Identifier: GPL-3.0-or-later */
/* MONITOR: every command, as a line to who asked. The lines travel as messages do (hub.h), and so are bounded. */
#include "svc/mem/monitor.h"

#include <errno.h>
#include <stdio.h>

#include "svc/mem/cmd.h"
#include "svc/mem/more.h"
#include "svc/mem/shared.h"

#define ARG_BYTES 1024	/* of an argument; longer ones are cut, and say so */
#define LINE_BYTES 65536

struct line {
	size_t length;
	char text[LINE_BYTES];
};

static void put(struct line *line, const char *text, size_t length)
{
	if (length > sizeof(line->text) - line->length)
		length = sizeof(line->text) - line->length;
	memcpy(line->text + line->length, text, length);
	line->length += length;
}

static void put_byte(struct line *line, unsigned char byte)
{
	static const char plain[] = "nrtab", codes[] = "\n\r\t\a\b";
	const char *code = byte ? strchr(codes, byte) : NULL;
	char text[8];

	if (byte == '\\' || byte == '"')
		put(line, text, (size_t)snprintf(text, sizeof(text), "\\%c", byte));
	else if (code)
		put(line, text, (size_t)snprintf(text, sizeof(text), "\\%c", plain[code - codes]));
	else if (byte >= ' ' && byte < 0x7f)
		put(line, (const char *)&byte, 1);
	else
		put(line, text, (size_t)snprintf(text, sizeof(text), "\\x%02x", byte));
}

static void put_arg(struct line *line, const struct vg_resp_arg *arg)
{
	size_t shown = arg->length < ARG_BYTES ? arg->length : ARG_BYTES;
	char more[48];

	put(line, " \"", 2);
	for (size_t i = 0; i < shown; i++)
		put_byte(line, (unsigned char)arg->data[i]);
	if (shown < arg->length)
		put(line, more, (size_t)snprintf(more, sizeof(more), "... (%zu more bytes)", arg->length - shown));
	put(line, "\"", 1);
}

void vg_monitor_feed_slow(struct vg_call *call)
{
	static const struct vg_resp_arg redacted = { "(redacted)", 10 };
	__u64 now_us = call->env->clock->unix_ns / 1000;
	struct line line = { 0 };
	char head[128];

	if (call->command->flags & VG_CMD_ADMIN || call->command->run == vg_cmd_exec)
		return;
	put(&line, head,
	    (size_t)snprintf(head, sizeof(head), "%llu.%06llu [0 %s]", (unsigned long long)(now_us / 1000000),
			     (unsigned long long)(now_us % 1000000),
			     call->client ? vg_client_session(call->client)->peer : "cluster"));
	for (int i = 0; i < call->args && line.length < LINE_BYTES - 8 * ARG_BYTES; i++)
		put_arg(&line, i && call->command->flags & VG_CMD_SECRET ? &redacted : &call->arg[i]);
	vg_hub_publish(call->env, VG_TOPIC_MONITOR, "", 0, line.text, line.length);
}

int vg_cmd_monitor(struct vg_call *call)
{
	struct vg_client_more *more = vg_client_more(call->client);
	struct vg_mem_shared *shared = vg_mem_shared(call->env);
	int result = more ? vg_hub_subscribe(shared->hub[call->env->worker], &more->subscriptions, call->client,
					     VG_TOPIC_MONITOR, "", 0) : -ENOMEM;

	if (result < 0)
		return vg_call_failure(call, result);
	if (result)
		vg_monitor_count(shared, 1);
	vg_resp_simple(call->out, "OK");
	return 0;
}

void vg_monitor_count(struct vg_mem_shared *shared, int change)
{
	/* One that comes while the last one goes may hear nothing before the next one comes: it is a debugging aid. */
	__u32 count = __atomic_add_fetch(&shared->monitors, (__u32)change, __ATOMIC_SEQ_CST);

	vg_events_listen(shared, VG_LISTEN_MONITOR, count > 0);
}
