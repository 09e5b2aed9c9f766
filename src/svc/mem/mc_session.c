// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * A memcached session. What has arrived is read in batches: the index lines of all keys at hand are asked for before
 * the first request runs. A request whose data block nobody wants (too long, or its line was wrong) is let go as it
 * arrives.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/mem/mc.h"
#include "svc/secret.h"

#define BATCH_MAX 32
#define SIGN_IN_MAX 1024 /* bytes of user, blank and password */

/* Lives in the session's state. */
struct client {
	struct vg_mc_parser parser;
	__u64 skip_left; /* bytes of a data block that nobody wants */
};
_Static_assert(sizeof(struct client) <= sizeof(((struct vg_session *)0)->state), "fits the session's state");

static struct client *of_session(struct vg_session *session)
{
	return (struct client *)session->state.words;
}

struct batch {
	int count;
	enum vg_mc_state state; /* of the one it ended with, if that is not whole */
	struct {
		struct vg_mc_request request;
		const __u8 *raw;
		__u64 hash;
		bool hashed;
	} entry[BATCH_MAX + 1];
};

/* ---- what is answered without being run ------------------------------------------------------------------------ */

static void say(struct vg_session *session, const char *text)
{
	vg_out_append(session->out, text, strlen(text));
	vg_out_append(session->out, "\r\n", 2);
}

/* A value that is too large must not leave an older one that looks like it. */
static void forget_key(struct vg_env *env, struct vg_mc_word key)
{
	const struct vg_key old = { key.data, (__u32)key.length, vg_hash64(key.data, key.length) };

	vg_refuse(env, VG_REFUSAL_TOO_LONG);
	vg_mc_counts(env)->store_too_large++;
	if (vg_cluster_owner(env->cluster, vg_partition_of(key.data, key.length)) == vg_cluster_self(env->cluster))
		vg_store_delete(env->store, &old, vg_clock_unix_ms(env->clock));
}

/* Answer a line that was wrong, or a data block. */
static void say_error(struct vg_session *session, const struct vg_mc_request *request)
{
	if (request->too_large)
		forget_key(session->env, request->key);
	else
		vg_refuse(session->env, strcmp(request->error, "ERROR") == 0 ? VG_REFUSAL_UNKNOWN_COMMAND :
									       VG_REFUSAL_MALFORMED);
	if (!request->quiet)
		say(session, request->error);
}

static __u64 value_max(const struct vg_env *env)
{
	return env->settings->value_bytes_max < VG_VALUE_MAX ? env->settings->value_bytes_max : VG_VALUE_MAX;
}

/*
 * A node with a password takes one request before the password: a `set` of any key, whose data block is user and
 * password, as memcached's own sign-in is. The user's name is not looked at: there is one.
 */
static void sign_in(struct vg_session *session, const struct vg_mc_request *request)
{
	struct vg_env *env = session->env;
	struct vg_mc_word text = { (const char *)request->value, request->value_length }, user, password;

	if (request->verb != VG_MC_SET || request->value_length > SIGN_IN_MAX) {
		vg_refuse(env, VG_REFUSAL_UNAUTHORIZED);
		say(session, "CLIENT_ERROR unauthenticated");
		return;
	}
	vg_mc_counts(env)->auth_cmds++;
	if (!vg_mc_next(&text, &user) || !vg_mc_next(&text, &password)) {
		say(session, "CLIENT_ERROR bad authentication token format");
	} else if (vg_secret_matches(env->settings->password, password.data, password.length)) {
		session->authenticated = true;
		say(session, "STORED");
	} else {
		vg_mc_counts(env)->auth_errors++;
		vg_refuse(env, VG_REFUSAL_UNAUTHORIZED);
		say(session, "CLIENT_ERROR authentication failure");
	}
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* The first key of a request; what is prefetched is asked for once more and found. */
static bool first_key(const struct vg_mc_request *request, struct vg_mc_word *ret_key)
{
	struct vg_mc_word rest = request->rest;

	if (request->verb == VG_MC_GAT || request->verb == VG_MC_GATS)
		return vg_mc_next(&rest, ret_key);
	*ret_key = request->key;
	return request->key.length && request->verb != VG_MC_ERROR && !vg_mc_has(request, 'b');
}

static void read_batch(struct vg_session *session, const __u8 *data, size_t length, struct batch *batch)
{
	struct client *client = of_session(session);
	struct vg_env *env = session->env;
	size_t at = 0;

	batch->count = 0;
	batch->state = VG_MC_WHOLE;
	while (batch->count < BATCH_MAX && at < length) {
		struct vg_mc_request *request = &batch->entry[batch->count].request;
		struct vg_mc_word key;

		batch->entry[batch->count].raw = data + at;
		batch->state = vg_mc_read(&client->parser, request, data + at, length - at, value_max(env));
		if (batch->state != VG_MC_WHOLE)
			return;
		batch->entry[batch->count].hashed = first_key(request, &key);
		if (batch->entry[batch->count].hashed) {
			batch->entry[batch->count].hash = vg_hash64(key.data, key.length);
			vg_store_prefetch_bucket(env->store, batch->entry[batch->count].hash);
		}
		at += request->length;
		batch->count++;
		if (!session->authenticated)
			break; /* what a password changes must be known before the next request runs */
	}
	if (batch->count > 1)
		for (int i = 0; i < batch->count; i++)
			if (batch->entry[i].hashed)
				vg_store_prefetch_item(env->store, batch->entry[i].hash);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

static const char *const verb_names[VG_MC_VERB_MAX] = {
	"error", "get", "gets", "gat", "gats", "set", "add", "replace", "append", "prepend", "cas", "incr", "decr",
	"touch", "delete", "flush_all", "stats", "version", "verbosity", "quit", "mg", "ms", "md", "ma", "mn", "me",
};

static void run_one(struct vg_session *session, const struct batch *batch, int i, __u64 now_ms)
{
	const struct vg_mc_request *request = &batch->entry[i].request;
	struct vg_mc_call call;

	if (!session->authenticated) {
		sign_in(session, request);
		return;
	}
	if (request->verb == VG_MC_ERROR) {
		say_error(session, request);
		return;
	}
	call.env = session->env;
	call.out = session->out;
	call.request = request;
	call.session = session;
	call.raw = batch->entry[i].raw;
	call.now_ms = now_ms;
	call.key = (struct vg_key){ request->key.data, (__u32)request->key.length, batch->entry[i].hash };
	if (vg_mc_has(request, 'b')) {
		call.key.data = call.binary_key;
		call.key.length =
			(__u32)vg_mc_base64_decode(request->key.data, request->key.length, call.binary_key);
		call.key.hash = vg_hash64(call.key.data, call.key.length);
	}
	if (vg_mc_route(&call) == 0)
		vg_mc_run(&call);
}

/* How many ran. */
static int run_batch(struct vg_session *session, const struct batch *batch)
{
	struct vg_env *env = session->env;
	__u64 now_ms = vg_clock_unix_ms(env->clock);
	int i;

	for (i = 0; i < batch->count && !session->finish && !session->paused && !vg_out_full(session->out); i++) {
		session->requests++;
		env->stats->requests_stream++;
		run_one(session, batch, i, now_ms);
	}
	if (i) {
		session->used_ns = env->clock->monotonic_ns;
		memcpy(session->last_command, verb_names[batch->entry[i - 1].request.verb],
		       strlen(verb_names[batch->entry[i - 1].request.verb]) + 1);
	}
	return i;
}

/*
 * The line is here, its data block is not. True: it is not wanted, and is skipped; the line is answered now, as
 * memcached does.
 */
static bool refuse_head(struct vg_session *session, const struct vg_mc_request *request)
{
	if (!session->authenticated) {
		if (request->value_length <= SIGN_IN_MAX && request->verb == VG_MC_SET)
			return false;
		vg_refuse(session->env, VG_REFUSAL_UNAUTHORIZED);
		say(session, "CLIENT_ERROR unauthenticated");
	} else if (request->verb == VG_MC_ERROR) {
		say_error(session, request);
	} else {
		return false;
	}
	of_session(session)->skip_left = request->length;
	of_session(session)->parser = (struct vg_mc_parser){ 0 };
	return true;
}

static size_t skip(struct vg_session *session, size_t length)
{
	struct client *client = of_session(session);
	size_t taken = client->skip_left < length ? (size_t)client->skip_left : length;

	client->skip_left -= taken;
	return taken;
}

ssize_t vg_mem_mc_input(struct vg_session *session, const __u8 *data, size_t length)
{
	struct batch batch;
	size_t taken = 0;

	while (taken < length && !session->paused && !session->finish && !vg_out_full(session->out)) {
		int ran;

		if (of_session(session)->skip_left) {
			taken += skip(session, length - taken);
			continue;
		}
		read_batch(session, data + taken, length - taken, &batch);
		ran = run_batch(session, &batch);
		for (int i = 0; i < ran; i++)
			taken += batch.entry[i].request.length;
		/* What is parsed and did not run is parsed again. */
		if (ran < batch.count) {
			of_session(session)->parser = (struct vg_mc_parser){ 0 };
			break;
		}
		if (batch.state == VG_MC_LOST) {
			vg_refuse(session->env, VG_REFUSAL_TOO_LONG);
			return -EPROTO;
		}
		if (batch.state == VG_MC_MORE)
			break;
		if (batch.state == VG_MC_HEAD && !session->finish && !session->paused &&
		    !refuse_head(session, &batch.entry[batch.count].request)) {
			session->input_wanted = batch.entry[batch.count].request.length;
			break;
		}
	}
	return session->finish ? (ssize_t)length : (ssize_t)taken;
}

/* ---- from other nodes ------------------------------------------------------------------------------------------ */

int vg_mem_mc_forwarded(struct vg_env *env, const void *request, size_t length, struct vg_out *out)
{
	struct vg_mc_parser parser = { 0 };
	struct vg_mc_request parsed;
	struct vg_mc_call call = { .env = env, .out = out, .request = &parsed, .raw = request,
				   .now_ms = vg_clock_unix_ms(env->clock) };
	int error;

	if (!length || vg_mc_read(&parser, &parsed, request, length, value_max(env)) != VG_MC_WHOLE ||
	    parsed.length != length || parsed.verb == VG_MC_ERROR)
		return -EINVAL;
	call.key = (struct vg_key){ .data = parsed.key.data, .length = (__u32)parsed.key.length };
	if (vg_mc_has(&parsed, 'b')) {
		call.key.data = call.binary_key;
		call.key.length = (__u32)vg_mc_base64_decode(parsed.key.data, parsed.key.length, call.binary_key);
	}
	if (call.key.length)
		call.key.hash = vg_hash64(call.key.data, call.key.length);
	error = vg_mc_route(&call);
	if (!error)
		vg_mc_run(&call);
	return error;
}
