/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A RESP session. Requests are taken in batches: all that has arrived is parsed and looked up, the index lines of all
 * its keys are prefetched, then the commands run in order.
 *
 * A command of another node is asked there and the next one is started without waiting: answers stand in the session's
 * window and leave it in order. Commands on one key keep their order, because a node answers in the order it was asked.
 */
#include <errno.h>
#include <stdio.h>

#include "svc/mem/pause.h"
#include "svc/mem/resp_call.h"

#define BATCH_MAX 32
#define BATCH_ARGS (VG_RESP_ARGS_INLINE + 4 * BATCH_MAX)

struct batch {
	int count, args;
	enum vg_resp_verdict verdict; /* why it ended */
	struct vg_resp_result result;
	struct {
		const struct vg_command *command;
		struct vg_resp_request request;
		const char *raw;
		size_t raw_length;
		__u64 hash;
	} entry[BATCH_MAX];
	struct vg_resp_arg arg[BATCH_ARGS];
};

static void read_batch(struct vg_session *session, const char *data, size_t length, struct batch *batch);
static size_t run_batch(struct vg_session *session, const struct batch *batch);

ssize_t vg_mem_resp_input(struct vg_session *session, const __u8 *data, size_t length)
{
	struct vg_client *client = vg_session_client(session);
	struct batch batch;
	size_t taken = 0, ran;

	for (;;) {
		read_batch(session, (const char *)data + taken, length - taken, &batch);
		ran = run_batch(session, &batch);
		for (size_t i = 0; i < ran; i++)
			taken += batch.entry[i].raw_length;
		/* What is parsed and did not run is parsed again; what has not arrived wholly is remembered. */
		if (batch.verdict != VG_RESP_MORE || ran < (size_t)batch.count)
			vg_resp_parser_reset(&client->parser, session->env->mem);
		if (session->finish)
			return (ssize_t)length;
		if (session->paused || ran < (size_t)batch.count)
			return (ssize_t)taken;
		if (batch.verdict == VG_RESP_MORE) {
			session->input_wanted = batch.result.wanted;
			return (ssize_t)taken;
		}
		if (batch.verdict != VG_RESP_REQUEST) {
			char text[80];

			if (client->waiting) { /* earlier answers first */
				client->flags |= VG_CLIENT_BARRIER;
				vg_session_pause(session);
				return (ssize_t)taken;
			}
			vg_resp_verdict_text(batch.verdict, batch.result.unexpected, text);
			vg_resp_error(session->out, "%s", text);
			vg_refuse(session->env, VG_REFUSAL_MALFORMED);
			return -EPROTO;
		}
	}
}

/* Parse what is there, up to a batch; a request in the parser's own memory is the last one of its batch. */
static void read_batch(struct vg_session *session, const char *data, size_t length, struct batch *batch)
{
	struct vg_client *client = vg_session_client(session);
	struct vg_env *env = session->env;
	struct vg_resp_input input = { .trusted = session->authenticated, .mem = env->mem };
	size_t at = 0;

	batch->count = 0;
	batch->args = 0;
	batch->verdict = VG_RESP_REQUEST;
	while (batch->count < BATCH_MAX && batch->args + VG_RESP_ARGS_INLINE <= BATCH_ARGS) {
		const struct vg_resp_arg *arg;
		const struct vg_command *command = NULL;
		int i = batch->count;

		input.data = data + at;
		input.length = length - at;
		input.arg = &batch->arg[batch->args];
		batch->verdict = vg_resp_parse(&client->parser, &input, &batch->result);
		if (batch->verdict != VG_RESP_REQUEST)
			break;
		arg = batch->result.request.arg;
		batch->entry[i].request = batch->result.request;
		batch->entry[i].raw = input.data;
		batch->entry[i].raw_length = batch->result.taken;
		if (batch->result.request.args) {
			command = vg_command_find(arg[0].data, arg[0].length);
			if (command && command->first == 1 && batch->result.request.args > 1) {
				batch->entry[i].hash = vg_hash64(arg[1].data, arg[1].length);
				vg_store_prefetch_bucket(env->store, batch->entry[i].hash);
			}
		}
		batch->entry[i].command = command;
		batch->count++;
		at += batch->result.taken;
		if (vg_resp_parser_holds(&client->parser))
			break;
		batch->args += batch->result.request.args;
		/* What AUTH or a new protocol version changes must be known before the next request is read. */
		if (command && command->flags & VG_CMD_NO_AUTH)
			break;
	}
	if (batch->count > 1)
		for (int i = 0; i < batch->count; i++)
			if (batch->entry[i].command && batch->entry[i].command->first == 1)
				vg_store_prefetch_item(env->store, batch->entry[i].hash);
}

static bool is_barrier(const struct vg_command *command)
{
	return !command || command->route == VG_ROUTE_HERE || command->route == VG_ROUTE_LIST;
}

/* May the command start while earlier answers are out? Else the session is paused until they are there. */
static bool may_start(struct vg_session *session, const struct vg_command *command)
{
	struct vg_client *client = vg_session_client(session);

	if (vg_pause_holds(session, command))
		return false;
	if (!client->waiting)
		return true;
	if (is_barrier(command))
		client->flags |= VG_CLIENT_BARRIER;
	else if (client->waiting < VG_WINDOW_MAX)
		return true;
	vg_session_pause(session);
	return false;
}

/* CLIENT REPLY: what the flags say once the command has run decides whether its answer is seen. */
static bool is_silent(struct vg_client *client)
{
	bool silent = client->flags & (VG_CLIENT_REPLY_OFF | VG_CLIENT_REPLY_SKIP);

	client->flags &= ~(__u32)VG_CLIENT_REPLY_SKIP;
	if (client->flags & VG_CLIENT_REPLY_SKIP_NEXT) {
		client->flags &= ~(__u32)VG_CLIENT_REPLY_SKIP_NEXT;
		client->flags |= VG_CLIENT_REPLY_SKIP;
	}
	return silent;
}

/* Run a command whose answer cannot go straight to the session's output: some wait before it, or it may be unwanted. */
static void run_aside(struct vg_session *session, struct vg_call *call)
{
	struct vg_client *client = call->client;
	struct vg_out answer;
	bool silent;
	int result;

	vg_out_init(&answer, call->env->chunks);
	call->out = &answer;
	if (client->waiting)
		call->pending = vg_pending_new(call);
	if (client->waiting && !call->pending) {
		vg_resp_error(session->out, "%s", VG_OOM_TEXT);
		session->finish = true; /* answers would come out of order */
		return;
	}
	result = vg_call_execute(call);
	silent = is_silent(client);
	if (silent)
		vg_out_deinit(&answer);
	if (call->pending) {
		call->pending->silent = silent;
		if (result == 0) {
			call->pending->left = true;
			vg_out_splice(&call->pending->out, &answer);
			vg_pending_done(call->pending);
		}
	} else {
		vg_out_splice(session->out, &answer);
	}
}

static size_t run_batch(struct vg_session *session, const struct batch *batch)
{
	struct vg_env *env = session->env;
	struct vg_client *client = vg_session_client(session);
	bool alone = vg_cluster_nodes(env->cluster) == 1;
	__u64 now_ms = vg_clock_unix_ms(env->clock);
	const struct vg_command *last = NULL;
	size_t i;

	for (i = 0; i < (size_t)batch->count && !session->finish && !session->paused && !vg_out_full(session->out);
	     i++) {
		struct vg_call call = { .env = env, .out = session->out, .client = client, .alone = alone,
					.command = batch->entry[i].command, .arg = batch->entry[i].request.arg,
					.args = batch->entry[i].request.args, .now_ms = now_ms,
					.version = client->flags & VG_CLIENT_RESP3 ? 3 : 2,
					.hash = batch->entry[i].hash, .raw = batch->entry[i].raw,
					.raw_length = batch->entry[i].raw_length };

		if (!call.args)
			continue;
		if (!may_start(session, call.command))
			break;
		if (call.command && call.command->first == 1 && call.args > 1)
			call.hashed = 1;
		session->requests++;
		env->stats->requests_stream++;
		last = call.command ? call.command : last;
		/* A subscriber reads what its own command causes before the command's answer. */
		if (client->waiting || client->flags & (VG_CLIENT_REPLY_ANY | VG_CLIENT_PUBSUB))
			run_aside(session, &call);
		else
			vg_call_execute(&call);
		/* Others may follow a command that is out to the owner of its keys; nothing else is overtaken. */
		if (client->waiting && is_barrier(call.command)) {
			client->flags |= VG_CLIENT_BARRIER;
			vg_session_pause(session);
		}
	}
	session->owed = client->waiting > 0;
	if (last) {
		session->used_ns = env->clock->monotonic_ns;
		snprintf(session->last_command, sizeof(session->last_command), "%s", last->name);
	}
	return i;
}
