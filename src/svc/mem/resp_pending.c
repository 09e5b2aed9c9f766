/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Answers that come late, and the window in which a session's stand in order. */
#include <assert.h>
#include <errno.h>

#include "svc/mem/more.h"

struct vg_pending *vg_pending_new(struct vg_call *call)
{
	struct vg_env *env = call->env;
	struct vg_client *client = call->client;
	struct vg_pending *pending = env->mem->alloc(env->mem->context, sizeof(*pending));

	if (!pending)
		return NULL;
	*pending = (struct vg_pending){ .env = env, .version = call->version, .client = client, .fn = call->done,
					.context = call->done_context };
	vg_out_init(&pending->out, env->chunks);
	env->stats->in_flight++;
	if (!client)
		return pending;
	if (client->last)
		client->last->next = pending;
	else
		client->first = pending;
	client->last = pending;
	client->waiting++;
	return pending;
}

struct vg_pending *vg_call_defer(struct vg_call *call)
{
	if (!call->pending)
		call->pending = vg_pending_new(call);
	if (!call->pending) {
		vg_call_failure(call, -ENOMEM);
		return NULL;
	}
	call->out = &call->pending->out;
	return call->pending;
}

static void pending_free(struct vg_pending *pending)
{
	struct vg_env *env = pending->env;

	vg_out_deinit(&pending->out);
	env->stats->in_flight--;
	env->mem->free(env->mem->context, pending);
}

/* The answer is complete but others stand before it: a short one gives its chunk back. */
static void settle(struct vg_pending *pending)
{
	struct iovec part[4];
	int parts;

	if (pending->silent)
		vg_out_deinit(&pending->out);
	if (pending->out.bytes == 0 || pending->out.bytes > sizeof(pending->small) || pending->out.failed)
		return;
	parts = vg_out_peek(&pending->out, part, 4);
	for (int i = 0; i < parts; i++) {
		memcpy(pending->small + pending->small_length, part[i].iov_base, part[i].iov_len);
		pending->small_length += (__u32)part[i].iov_len;
	}
	assert(pending->small_length <= sizeof(pending->small));
	vg_out_deinit(&pending->out);
}

static void append_answer(struct vg_out *out, struct vg_pending *pending)
{
	if (pending->small_length)
		vg_out_append(out, pending->small, pending->small_length);
	vg_out_splice(out, &pending->out);
}

int vg_pending_leave(struct vg_call *call, struct vg_out *out)
{
	struct vg_pending *pending = call->pending;
	struct vg_client *client = pending->client;

	pending->left = true;
	if (!pending->done)
		return -EINPROGRESS;
	if (client && client->first != pending) {
		settle(pending);
		return -EINPROGRESS;
	}
	if (client) {
		assert(!pending->next); /* nothing starts while a command runs */
		client->first = client->last = NULL;
		client->waiting = 0;
	}
	append_answer(out, pending);
	pending_free(pending);
	call->pending = NULL;
	return 0;
}

/* Whatever stands at the front and is complete goes out; the session goes on when there is room again. */
static void flush_window(struct vg_client *client)
{
	struct vg_session *session = vg_client_session(client);

	while (client->first && client->first->done) {
		struct vg_pending *pending = client->first;

		client->first = pending->next;
		if (!client->first)
			client->last = NULL;
		client->waiting--;
		if (pending->out.failed)
			session->finish = true;
		append_answer(session->out, pending);
		pending_free(pending);
	}
	if (session->paused && (client->flags & VG_CLIENT_BARRIER ? client->waiting > 0 :
								     client->waiting > VG_WINDOW_MAX / 2))
		return;
	client->flags &= ~(__u32)VG_CLIENT_BARRIER;
	session->owed = client->waiting > 0;
	if (!session->paused)
		vg_session_pause(session); /* resuming is what flushes */
	vg_session_resume(session);
}

void vg_pending_done(struct vg_pending *pending)
{
	assert(!pending->done);
	pending->done = true;
	if (!pending->left)
		return;
	if (pending->client) {
		struct vg_client *client = pending->client;

		settle(pending);
		if (pending == client->first)
			flush_window(client);
		return;
	}
	if (pending->fn)
		pending->fn(pending->context, &pending->out);
	pending_free(pending);
}

void vg_mem_resp_closed(struct vg_session *session)
{
	struct vg_client *client = vg_session_client(session);
	struct vg_pending *pending = client->first;

	while (pending) {
		struct vg_pending *next = pending->next;

		pending->client = NULL;
		pending->fn = NULL;
		if (pending->done)
			pending_free(pending);
		pending = next;
	}
	vg_client_more_free(client);
	vg_resp_parser_reset(&client->parser, session->env->mem);
	*client = (struct vg_client){ 0 };
}
