// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Requests whose keys are elsewhere. A request of one key is sent to its owner as it came; a get of several keys is
 * split by owner, and the blocks come together in the order they arrive, which the protocol leaves open; flush_all goes
 * to every node. The session waits meanwhile, so the answers of a pipeline stay in order.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/mem/mc.h"

/* One question, and what it makes of the answers. */
struct gather {
	struct vg_mem_wait wait; /* first */
	struct vg_out out;
	int left;		 /* answers to come; one more while asking */
	bool gets;		 /* END behind each answer is taken off, and one put behind them all */
	bool quiet;
	char error[96];		 /* the first one, or empty */
};

static bool is_get(const struct vg_mc_request *request)
{
	return request->verb >= VG_MC_GET && request->verb <= VG_MC_GATS;
}

static __u16 owner_of(const struct vg_env *env, const void *key, size_t length)
{
	return vg_cluster_owner(env->cluster, vg_partition_of(key, length));
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void finish(struct gather *gather)
{
	struct vg_session *session = vg_mem_wait_session(&gather->wait);

	if (session && gather->error[0] && !gather->quiet) {
		vg_out_append(session->out, gather->error, strlen(gather->error));
		vg_out_append(session->out, "\r\n", 2);
	} else if (session && !gather->error[0]) {
		vg_out_splice(session->out, &gather->out);
		if (gather->gets)
			vg_out_append(session->out, "END\r\n", 5);
	}
	vg_out_deinit(&gather->out);
	vg_mem_wait_answered(&gather->wait);
}

static void one_less(struct gather *gather)
{
	if (--gather->left == 0)
		finish(gather);
}

static void fail(struct gather *gather, const struct vg_peer_reply *reply)
{
	struct vg_env *env = gather->wait.env;
	const char *why = "the owner of the key refused the request";

	if (reply->error == -ENOBUFS) {
		vg_refuse(env, VG_REFUSAL_BUSY);
		why = "too many requests wait for the owner of the key";
	} else if (reply->error) {
		vg_refuse(env, VG_REFUSAL_UNREACHABLE);
		why = "the owner of the key does not answer";
	} else if (reply->status == VG_STATUS_NO_MEMORY) {
		why = "out of memory storing object";
	}
	if (!gather->error[0])
		snprintf(gather->error, sizeof(gather->error), "SERVER_ERROR %s", why);
}

static void on_answer(void *context, const struct vg_peer_reply *reply)
{
	struct gather *gather = context;
	size_t length = reply->body_length;

	if (reply->error || reply->status != VG_STATUS_OK) {
		fail(gather, reply);
	} else if (!gather->gets) {
		if (!gather->out.bytes) /* flush_all: all say the same */
			vg_out_append(&gather->out, reply->body, length);
	} else if (length >= 5 && memcmp((const char *)reply->body + length - 5, "END\r\n", 5) == 0) {
		vg_out_append(&gather->out, reply->body, length - 5);
	} else {
		fail(gather, &(struct vg_peer_reply){ .status = VG_STATUS_INTERNAL });
	}
	one_less(gather);
}

/* ---- questions ------------------------------------------------------------------------------------------------- */

static struct gather *gather_new(struct vg_mc_call *call)
{
	struct gather *gather = vg_mem_wait_begin(call->session, sizeof(*gather));

	if (!gather) {
		vg_refuse(call->env, VG_REFUSAL_NO_MEMORY);
		vg_mc_say(call, "SERVER_ERROR out of memory");
		return NULL;
	}
	vg_out_init(&gather->out, call->env->chunks);
	gather->left = 1;
	gather->quiet = call->request->quiet && call->request->verb < VG_MC_META_GET;
	return gather;
}

static void ask(struct gather *gather, __u16 node, const struct iovec *parts, int count)
{
	struct vg_env *env = gather->wait.env;
	const struct vg_peer_request question = { .opcode = VG_OP_MEMCACHE, .body = parts, .body_count = count };

	gather->left++;
	env->stats->forwarded++;
	vg_peers_ask(env->peers, node, &question, on_answer, gather);
}

static void leave(struct gather *gather)
{
	one_less(gather);
	vg_mem_wait_leave(&gather->wait);
}

static int unserved(struct vg_mc_call *call)
{
	vg_refuse(call->env, VG_REFUSAL_UNREACHABLE);
	vg_mc_say(call, "SERVER_ERROR no node owns the key");
	return VG_MC_ASKED;
}

static int ask_one(struct vg_mc_call *call, __u16 node)
{
	const struct iovec whole = { (void *)call->raw, call->request->length };
	struct gather *gather = gather_new(call);

	if (gather) {
		ask(gather, node, &whole, 1);
		leave(gather);
	}
	return VG_MC_ASKED;
}

/* ---- get of several keys --------------------------------------------------------------------------------------- */

static const char *get_head(const struct vg_mc_request *request, char head[32])
{
	static const char *const verb[] = { [VG_MC_GET] = "get", [VG_MC_GETS] = "gets", [VG_MC_GAT] = "gat",
					    [VG_MC_GATS] = "gats" };

	if (request->verb == VG_MC_GAT || request->verb == VG_MC_GATS)
		snprintf(head, 32, "%s %d", verb[request->verb], request->exptime);
	else
		snprintf(head, 32, "%s", verb[request->verb]);
	return head;
}

/* Ask `node` for its keys of the line; `text` has room for the whole line. */
static void ask_keys(struct vg_mc_call *call, struct gather *gather, __u16 node, char *text)
{
	struct vg_mc_word rest = call->request->rest, key;
	char head[32];
	size_t length = (size_t)snprintf(text, 32, "%s", get_head(call->request, head));
	struct iovec part = { text, 0 };

	while (vg_mc_next(&rest, &key)) {
		if (owner_of(call->env, key.data, key.length) != node)
			continue;
		text[length++] = ' ';
		memcpy(text + length, key.data, key.length);
		length += key.length;
	}
	memcpy(text + length, "\r\n", 2);
	part.iov_len = length + 2;
	ask(gather, node, &part, 1);
}

static void get_here(struct vg_mc_call *call, struct gather *gather)
{
	struct vg_mc_word rest = call->request->rest, key;
	struct vg_mc_call own = *call;

	own.out = &gather->out;
	while (vg_mc_next(&rest, &key))
		if (owner_of(call->env, key.data, key.length) == vg_cluster_self(call->env->cluster))
			vg_mc_get_one(&own, key);
}

static int split(struct vg_mc_call *call)
{
	const struct vg_mem *mem = call->env->mem;
	struct vg_mc_word rest = call->request->rest, key;
	__u64 asked[VG_NODES_MAX / 64] = { 0 };
	struct gather *gather = gather_new(call);
	char *text;

	if (!gather)
		return VG_MC_ASKED;
	gather->gets = true;
	text = mem->alloc(mem->context, call->request->length + 64);
	if (!text)
		snprintf(gather->error, sizeof(gather->error), "SERVER_ERROR out of memory");
	else
		get_here(call, gather);
	while (text && vg_mc_next(&rest, &key)) {
		__u16 owner = owner_of(call->env, key.data, key.length);

		if (owner == vg_cluster_self(call->env->cluster) || asked[owner / 64] >> owner % 64 & 1)
			continue;
		asked[owner / 64] |= 1ULL << owner % 64;
		ask_keys(call, gather, owner, text);
	}
	if (text)
		mem->free(mem->context, text);
	leave(gather);
	return VG_MC_ASKED;
}

/* ---- where ----------------------------------------------------------------------------------------------------- */

/* All keys of a get: 0: all here; else as vg_mc_route. */
static int route_get(struct vg_mc_call *call)
{
	struct vg_mc_word rest = call->request->rest, key;
	bool all_here = true;

	while (vg_mc_next(&rest, &key)) {
		__u16 owner;

		if (!vg_mc_key_is_valid(key)) {
			vg_refuse(call->env, VG_REFUSAL_MALFORMED);
			vg_mc_say(call, "CLIENT_ERROR bad command line format");
			return VG_MC_ASKED;
		}
		if (vg_cluster_nodes(call->env->cluster) == 1)
			continue;
		owner = owner_of(call->env, key.data, key.length);
		if (owner == VG_NODE_NONE)
			return unserved(call);
		all_here &= owner == vg_cluster_self(call->env->cluster);
	}
	if (all_here)
		return 0;
	return call->session ? split(call) : -EREMOTE;
}

static int everywhere(struct vg_mc_call *call)
{
	const struct iovec whole = { (void *)call->raw, call->request->length };
	__u16 nodes = vg_cluster_nodes(call->env->cluster), self = vg_cluster_self(call->env->cluster);
	struct gather *gather;
	struct vg_mc_call own = *call;

	if (nodes == 1 || !call->session)
		return 0;
	gather = gather_new(call);
	if (!gather)
		return VG_MC_ASKED;
	own.out = &gather->out;
	vg_mc_flush_all(&own);
	for (__u16 node = 0; node < nodes; node++)
		if (node != self)
			ask(gather, node, &whole, 1);
	leave(gather);
	return VG_MC_ASKED;
}

int vg_mc_route(struct vg_mc_call *call)
{
	const struct vg_mc_request *request = call->request;
	__u16 owner;

	if (is_get(request))
		return route_get(call);
	if (request->verb == VG_MC_FLUSH_ALL)
		return everywhere(call);
	if (!request->key.length || vg_cluster_nodes(call->env->cluster) == 1)
		return 0;
	owner = owner_of(call->env, call->key.data, call->key.length);
	if (owner == vg_cluster_self(call->env->cluster))
		return 0;
	if (!call->session)
		return -EREMOTE;
	return owner == VG_NODE_NONE ? unserved(call) : ask_one(call, owner);
}
