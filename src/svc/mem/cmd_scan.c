/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * All keys, of the whole cluster. A SCAN cursor names the node it is at in its high bits, so a scan goes from node to
 * node, whichever node the client asks.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>

#include "svc/mem/cmd.h"
#include "svc/mem/resp_route.h"

#define CURSOR_NODE_SHIFT 52 /* 10 bits of node above it keep a cursor below 2^63 */
#define CURSOR_MASK ((1ULL << CURSOR_NODE_SHIFT) - 1)
_Static_assert(VG_NODES_MAX <= 1 << 10, "a cursor has room for the node");
#define KEYS_STEP 512 /* keys asked of the store at once */

struct collect {
	struct vg_out keys;
	__u64 count, seen; /* taken, and looked at */
	const struct vg_resp_arg *pattern; /* NULL: all */
};

static void collect_key(void *context, const void *key, size_t length)
{
	struct collect *collect = context;

	collect->seen++;
	if (collect->pattern && !vg_glob_match(collect->pattern->data, collect->pattern->length, key, length, false))
		return;
	vg_resp_bulk(&collect->keys, key, length);
	collect->count++;
}

int vg_cmd_keys(struct vg_call *call)
{
	struct collect collect = { .pattern = &call->arg[1] };
	__u64 cursor = 0;
	int result = 0;

	vg_out_init(&collect.keys, call->env->chunks);
	do {
		cursor = vg_store_scan(call->env->store, cursor, KEYS_STEP, call->now_ms, collect_key, &collect);
	} while (cursor && !collect.keys.failed);
	if (collect.keys.failed) {
		vg_call_failure(call, -ENOMEM);
	} else if (call->alone || call->forwarded) {
		vg_resp_array(call->out, collect.count);
		vg_out_splice(call->out, &collect.keys);
	} else {
		result = vg_route_everywhere(call, VG_ROUTE_LIST, collect.count, &collect.keys);
	}
	vg_out_deinit(&collect.keys);
	return result;
}

/* ---- SCAN ------------------------------------------------------------------------------------------------------ */

struct scan_options {
	const struct vg_resp_arg *pattern;
	__s64 count;
	bool none; /* TYPE asks for something that is not kept here */
};

static bool read_scan_options(struct vg_call *call, struct scan_options *options)
{
	for (int i = 2; i < call->args; i += 2) {
		const struct vg_resp_arg *arg = &call->arg[i];

		if (i + 1 >= call->args) {
			vg_call_syntax_error(call);
			return false;
		}
		if (vg_arg_is(arg, "count")) {
			if (!vg_call_integer(call, i + 1, &options->count))
				return false;
			if (options->count < 1) {
				vg_call_syntax_error(call);
				return false;
			}
		} else if (vg_arg_is(arg, "match")) {
			options->pattern = arg + 1;
			if (arg[1].length == 1 && arg[1].data[0] == '*')
				options->pattern = NULL;
		} else if (vg_arg_is(arg, "type")) {
			options->none = !vg_arg_is(arg + 1, "string");
		} else {
			vg_call_syntax_error(call);
			return false;
		}
	}
	return true;
}

/* A cursor is what strtoul() takes, as for Redis: nothing is 0, and a sign turns it round. */
static bool read_cursor(const struct vg_resp_arg *arg, __u64 *ret_cursor)
{
	bool sign = arg->length && (arg->data[0] == '-' || arg->data[0] == '+');
	__u64 cursor = 0;

	for (size_t i = sign; i < arg->length; i++) {
		__u64 digit = (__u64)(arg->data[i] - '0');

		if (digit > 9 || __builtin_mul_overflow(cursor, 10ULL, &cursor) ||
		    __builtin_add_overflow(cursor, digit, &cursor))
			return false;
	}
	if (sign && arg->length == 1)
		return false;
	*ret_cursor = sign && arg->data[0] == '-' ? -cursor : cursor;
	return true;
}

#define SCAN_STEPS_MAX 32

/* Walk until about as many keys were seen as asked for; in an index with few keys that takes several steps. */
static __u64 walk(struct vg_call *call, __u64 cursor, __u32 count, struct collect *collect)
{
	for (int i = 0; i < SCAN_STEPS_MAX; i++) {
		cursor = vg_store_scan(call->env->store, cursor, count, call->now_ms, collect_key, collect);
		if (!cursor || collect->seen >= count)
			break;
	}
	assert(cursor <= CURSOR_MASK);
	return cursor;
}

static void answer_scan(struct vg_call *call, __u64 cursor, struct collect *collect)
{
	vg_resp_array(call->out, 2);
	vg_resp_bulk_format(call->out, "%llu", (unsigned long long)cursor);
	vg_resp_array(call->out, collect->count);
	vg_out_splice(call->out, &collect->keys);
}

int vg_cmd_scan(struct vg_call *call)
{
	struct scan_options options = { .count = 10 };
	struct collect collect = { 0 };
	__u16 self = vg_cluster_self(call->env->cluster), nodes = vg_cluster_nodes(call->env->cluster), node;
	__u64 cursor;

	if (!read_cursor(&call->arg[1], &cursor)) {
		vg_resp_error(call->out, "ERR invalid cursor");
		return 0;
	}
	if (!read_scan_options(call, &options))
		return 0;
	node = (__u16)(cursor >> CURSOR_NODE_SHIFT);
	vg_out_init(&collect.keys, call->env->chunks);
	if (node >= nodes) { /* a cursor that never was: nothing is behind it */
		answer_scan(call, 0, &collect);
		return 0;
	}
	if (node != self)
		return call->forwarded ? -EREMOTE : vg_route_forward(call, node);
	if (options.count > UINT32_MAX)
		options.count = UINT32_MAX;
	collect.pattern = options.pattern;
	cursor = walk(call, cursor & CURSOR_MASK, (__u32)options.count, &collect);
	if (cursor)
		cursor |= (__u64)node << CURSOR_NODE_SHIFT;
	else if (node + 1 < nodes)
		cursor = (__u64)(node + 1) << CURSOR_NODE_SHIFT;
	if (options.none) {
		vg_out_deinit(&collect.keys);
		collect.count = 0;
		vg_out_init(&collect.keys, call->env->chunks);
	}
	answer_scan(call, cursor, &collect);
	vg_out_deinit(&collect.keys);
	return 0;
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

/* Some key of this node; false: there is none. */
static bool answer_random(struct vg_env *env, struct vg_out *out)
{
	char key[VG_KEY_MAX];
	ssize_t length = vg_store_random(env->store, vg_env_random(env), vg_clock_unix_ms(env->clock), key);

	if (length < 0)
		return false;
	vg_resp_bulk(out, key, (size_t)length);
	return true;
}

/*
 * Nodes own about as many keys each, so each is drawn as often. One that has none sends the question on to the next.
 * pending->work counts down the nodes still to be asked, above the number of the one that is.
 */
static void random_next(struct vg_pending *pending, size_t left, __u16 node);

static void on_random(void *context, const struct vg_peer_reply *reply)
{
	struct vg_pending *pending = context;
	size_t work = (size_t)pending->work;
	__u16 node = (__u16)work;
	char text[VG_ROUTE_ERROR_BYTES];

	if (vg_route_reply_error(pending->env, node, reply, text)) {
		vg_resp_error(&pending->out, "%s", text);
		vg_pending_done(pending);
	} else if (((const char *)reply->body)[0] == '_' || ((const char *)reply->body)[1] == '-') {
		random_next(pending, work >> 16, (__u16)((node + 1) % vg_cluster_nodes(pending->env->cluster)));
	} else {
		vg_out_append(&pending->out, reply->body, reply->body_length);
		vg_pending_done(pending);
	}
}

static void random_next(struct vg_pending *pending, size_t left, __u16 node)
{
	static const char request[] = "*1\r\n$9\r\nRANDOMKEY\r\n";
	struct vg_env *env = pending->env;
	bool here = node == vg_cluster_self(env->cluster);

	if (left && here && !answer_random(env, &pending->out)) {
		left--;
		node = (__u16)((node + 1) % vg_cluster_nodes(env->cluster));
		here = false;
	}
	if (!left && !pending->out.bytes)
		vg_resp_null(&pending->out, pending->version);
	if (!left || here) {
		vg_pending_done(pending);
		return;
	}
	pending->work = (void *)((left - 1) << 16 | node);
	vg_route_ask(env, node, pending->version, 0, request, sizeof(request) - 1, on_random, pending);
}

int vg_cmd_randomkey(struct vg_call *call)
{
	__u16 nodes = vg_cluster_nodes(call->env->cluster);
	struct vg_pending *pending;

	if (call->alone || call->forwarded) {
		if (!answer_random(call->env, call->out))
			vg_resp_null(call->out, call->version);
		return 0;
	}
	pending = vg_call_defer(call);
	if (!pending)
		return 0;
	random_next(pending, nodes, (__u16)((vg_env_random(call->env) >> 32) % nodes));
	return -EINPROGRESS;
}

int vg_cmd_dbsize(struct vg_call *call)
{
	struct vg_store_stats stats;

	vg_store_stats(call->env->store, &stats);
	if (!call->alone && !call->forwarded)
		return vg_route_everywhere(call, VG_ROUTE_SUM, stats.keys, NULL);
	vg_resp_integer(call->out, (__s64)stats.keys);
	return 0;
}

int vg_cmd_flush(struct vg_call *call)
{
	if (call->args > 2 ||
	    (call->args == 2 && !vg_arg_is(&call->arg[1], "sync") && !vg_arg_is(&call->arg[1], "async")))
		return vg_call_syntax_error(call);
	vg_store_clear(call->env->store);
	if (!call->alone && !call->forwarded)
		return vg_route_everywhere(call, VG_ROUTE_OK, 0, NULL);
	vg_resp_simple(call->out, "OK");
	return 0;
}
