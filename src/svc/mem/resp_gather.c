/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A command that several nodes answer: each owner is sent the keys that are its own, and the answers become one.
 * It is not atomic over nodes: MSET may be done on one and refused on another; then the refusal is answered.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "svc/mem/cmd.h"
#include "svc/mem/resp_route.h"

struct part {
	struct gather *gather;
	__u16 node, partition;
	int args;
	size_t bytes;	/* of the request */
	char *text, *end; /* the request while it is made, then the answer */
	size_t at, length;
};

struct gather {
	struct vg_env *env;
	struct vg_pending *pending;
	enum vg_route merge;
	int left;	     /* answers still out; one more while asking */
	__u64 sum;	     /* of integers, or of elements */
	char error[VG_ROUTE_ERROR_BYTES]; /* the first one, or empty */
	struct vg_out own;   /* this node's elements of a list */
	/* A list in the order of keys. Keys that are here are read when all others have come. */
	int keys;
	__u16 *part_of_key;
	int own_part;	     /* -1: none */
	int parts;
	struct part part[];
};

static void gather_free(struct gather *gather)
{
	const struct vg_mem *mem = gather->env->mem;

	for (int i = 0; i < gather->parts; i++)
		if (gather->part[i].text)
			mem->free(mem->context, gather->part[i].text);
	if (gather->part_of_key)
		mem->free(mem->context, gather->part_of_key);
	vg_out_deinit(&gather->own);
	mem->free(mem->context, gather);
}

static struct gather *gather_new(struct vg_env *env, enum vg_route merge, int parts)
{
	const struct vg_mem *mem = env->mem;
	struct gather *gather = mem->alloc(mem->context, sizeof(*gather) + (size_t)parts * sizeof(struct part));

	if (!gather)
		return NULL;
	memset(gather, 0, sizeof(*gather) + (size_t)parts * sizeof(struct part));
	gather->env = env;
	gather->merge = merge;
	gather->parts = parts;
	gather->own_part = -1;
	vg_out_init(&gather->own, env->chunks);
	for (int i = 0; i < parts; i++)
		gather->part[i].gather = gather;
	return gather;
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void fail(struct gather *gather, const char *text, size_t length)
{
	if (gather->error[0])
		return;
	snprintf(gather->error, sizeof(gather->error), "%.*s",
		 (int)(length < sizeof(gather->error) ? length : sizeof(gather->error) - 1), text);
}

static void fail_strange(struct gather *gather, const struct part *part)
{
	char text[64];

	fail(gather, text,
	     (size_t)snprintf(text, sizeof(text), "ERR node %u gave an answer of another form", part->node));
}

/* The number in a line `<type><number>\r\n`; the length of the line, 0: it is none. */
static size_t read_header(const char *text, size_t length, __s64 *ret_value)
{
	const char *end = length > 1 ? memchr(text, '\r', length < 32 ? length : 32) : NULL;

	if (!end || end + 1 >= text + length || !vg_resp_number(text + 1, (size_t)(end - text - 1), ret_value))
		return 0;
	return (size_t)(end + 2 - text);
}

/* One string or null of an array; its length with all that is around it, 0: it is something else. */
static size_t element_length(const char *text, size_t length)
{
	size_t header;
	__s64 bulk;

	if (length >= 3 && text[0] == '_')
		return 3;
	if (length < 4 || text[0] != '$')
		return 0;
	header = read_header(text, length, &bulk);
	if (!header || bulk < -1 || (__u64)bulk + 1 > length)
		return 0;
	if (bulk == -1)
		return header;
	return header + (size_t)bulk + 2 <= length ? header + (size_t)bulk + 2 : 0;
}

static void take_answer(struct part *part, const char *text, size_t length)
{
	struct gather *gather = part->gather;
	const struct vg_mem *mem = gather->env->mem;
	__s64 value = 0;

	if (text[0] == '-') {
		fail(gather, text + 1, length - 3);
	} else if (gather->merge == VG_ROUTE_OK) {
		if (text[0] != '+')
			fail_strange(gather, part);
	} else if (gather->merge == VG_ROUTE_SUM) {
		if (text[0] != ':' || !read_header(text, length, &value))
			fail_strange(gather, part);
		gather->sum += (__u64)value;
	} else {
		part->at = text[0] == '*' ? read_header(text, length, &value) : 0;
		part->text = part->at ? mem->alloc(mem->context, length) : NULL;
		if (!part->at || value < 0)
			fail_strange(gather, part);
		else if (!part->text)
			fail(gather, VG_OOM_TEXT, strlen(VG_OOM_TEXT));
		else
			memcpy(part->text, text, length);
		part->length = length;
		gather->sum += (__u64)value;
	}
}

/* The values in the order of the keys: copied from the answers, or read here. */
static void merge_by_key(struct gather *gather)
{
	struct vg_pending *pending = gather->pending;
	struct vg_call call = { .env = gather->env, .out = &pending->out, .version = pending->version,
				.now_ms = vg_clock_unix_ms(gather->env->clock) };

	vg_resp_array(&pending->out, (__u64)gather->keys);
	for (int i = 0; i < gather->keys; i++) {
		struct part *part = &gather->part[gather->part_of_key[i]];
		size_t length = element_length(part->text + part->at, part->length - part->at);
		__s64 key_length;
		struct vg_key key;

		assert(length);
		if (gather->part_of_key[i] == gather->own_part) { /* the "answer" of this node is its keys */
			size_t header = read_header(part->text + part->at, part->length - part->at, &key_length);

			key.data = part->text + part->at + header;
			key.length = (__u32)key_length;
			key.hash = vg_hash64(key.data, key.length);
			vg_cmd_get_one(&call, &key);
		} else {
			vg_out_append(&pending->out, part->text + part->at, length);
		}
		part->at += length;
	}
}

/* Are there as many elements in every answer as keys were asked? */
static bool is_complete(struct gather *gather)
{
	for (int i = 0; i < gather->parts; i++) {
		struct part *part = &gather->part[i];
		size_t at = part->at, length;
		int count = 0;

		for (; (length = element_length(part->text + at, part->length - at)) > 0; at += length)
			count++;
		if (at != part->length || count != part->args) {
			fail_strange(gather, part);
			return false;
		}
	}
	return true;
}

static void gather_finish(struct gather *gather)
{
	struct vg_pending *pending = gather->pending;
	struct vg_out *out = &pending->out;

	if (!gather->error[0] && gather->keys && gather->merge == VG_ROUTE_LIST && is_complete(gather)) {
		merge_by_key(gather);
	} else if (gather->error[0]) {
		vg_resp_error(out, "%s", gather->error);
	} else if (gather->merge == VG_ROUTE_SUM) {
		vg_resp_integer(out, (__s64)gather->sum);
	} else if (gather->merge == VG_ROUTE_OK) {
		vg_resp_simple(out, "OK");
	} else {
		vg_resp_array(out, gather->sum);
		vg_out_splice(out, &gather->own);
		for (int i = 0; i < gather->parts; i++)
			vg_out_append(out, gather->part[i].text + gather->part[i].at,
				      gather->part[i].length - gather->part[i].at);
	}
	gather_free(gather);
	vg_pending_done(pending);
}

static void one_less(struct gather *gather)
{
	if (--gather->left == 0)
		gather_finish(gather);
}

static void on_part(void *context, const struct vg_peer_reply *reply)
{
	struct part *part = context;
	char text[VG_ROUTE_ERROR_BYTES];

	if (vg_route_reply_error(part->gather->env, part->node, reply, text))
		fail(part->gather, text, strlen(text));
	else
		take_answer(part, reply->body, reply->body_length);
	one_less(part->gather);
}

/* ---- splitting ------------------------------------------------------------------------------------------------- */

/* Which part each key belongs to; the parts' nodes are in `node`. Returns how many. */
static int assign(const struct vg_call *call, __u16 *part_of_key, __u16 node[VG_NODES_MAX])
{
	__u16 part_of_node[VG_NODES_MAX];
	int parts = 0, key = 0, last = vg_command_last_key(call->command, call->args);

	memset(part_of_node, 0xff, sizeof(part_of_node));
	for (int i = call->command->first; i <= last; i += call->command->step) {
		const struct vg_resp_arg *arg = &call->arg[i];
		__u16 owner = vg_cluster_owner(call->env->cluster, vg_partition_of(arg->data, arg->length));

		assert(owner < VG_NODES_MAX); /* the router has looked */
		if (part_of_node[owner] == 0xffff) {
			part_of_node[owner] = (__u16)parts;
			node[parts++] = owner;
		}
		part_of_key[key++] = part_of_node[owner];
	}
	return parts;
}

/* Every part's request: `<command> its keys (and values)`. False: no memory. */
static bool make_requests(const struct vg_call *call, struct gather *gather)
{
	const struct vg_mem *mem = call->env->mem;
	int step = call->command->step;

	for (int key = 0; key < gather->keys; key++) {
		struct part *part = &gather->part[gather->part_of_key[key]];

		part->args += step;
		for (int i = 0; i < step; i++)
			part->bytes += vg_route_arg_bytes(&call->arg[call->command->first + key * step + i]);
	}
	for (int i = 0; i < gather->parts; i++) {
		struct part *part = &gather->part[i];

		part->bytes += VG_RESP_DIGITS + 3 + vg_route_arg_bytes(&call->arg[0]);
		part->text = mem->alloc(mem->context, part->bytes);
		if (!part->text)
			return false;
		part->end = vg_route_put_header(part->text, '*', part->args + 1);
		part->end = vg_route_put_arg(part->end, &call->arg[0]);
	}
	for (int key = 0; key < gather->keys; key++) {
		struct part *part = &gather->part[gather->part_of_key[key]];
		const struct vg_resp_arg *arg = &call->arg[call->command->first + key * step];

		part->partition = vg_partition_of(arg->data, arg->length);
		for (int i = 0; i < step; i++)
			part->end = vg_route_put_arg(part->end, arg + i);
	}
	return true;
}

/* This node's own part: a sum is made now; a list keeps its keys. */
static void do_own(struct vg_call *call, struct gather *gather, struct part *part)
{
	struct vg_out answer;
	struct iovec text[2];
	size_t header;
	__s64 ignored;

	if (gather->merge == VG_ROUTE_LIST) {
		header = read_header(part->text, part->bytes, &ignored);
		part->at = header + vg_route_arg_bytes(&call->arg[0]);
		part->length = (size_t)(part->end - part->text);
		return;
	}
	vg_out_init(&answer, call->env->chunks);
	if (vg_mem_resp_execute(call->env, (const __u8 *)part->text, (size_t)(part->end - part->text), call->version,
				true, &answer, NULL, NULL) == 0 &&
	    vg_out_peek(&answer, text, 2) == 1)
		take_answer(part, text[0].iov_base, text[0].iov_len);
	else
		fail(gather, VG_OOM_TEXT, strlen(VG_OOM_TEXT));
	vg_out_deinit(&answer);
}

static void ask_parts(struct vg_call *call, struct gather *gather)
{
	const struct vg_mem *mem = call->env->mem;
	__u16 self = vg_cluster_self(call->env->cluster);

	gather->left = 1;
	for (int i = 0; i < gather->parts; i++) {
		struct part *part = &gather->part[i];
		size_t length = (size_t)(part->end - part->text);

		if (part->node == self) {
			gather->own_part = i;
			do_own(call, gather, part);
			continue;
		}
		if (length > VG_BODY_MAX) {
			fail(gather, "ERR too long for one message to another node", 44);
			continue;
		}
		gather->left++;
		vg_route_ask(call->env, part->node, call->version, part->partition, part->text, length, on_part, part);
		mem->free(mem->context, part->text);
		part->text = NULL;
	}
	one_less(gather);
}

int vg_route_split(struct vg_call *call)
{
	const struct vg_mem *mem = call->env->mem;
	int keys = (vg_command_last_key(call->command, call->args) - call->command->first) / call->command->step + 1;
	__u16 *part_of_key = mem->alloc(mem->context, (size_t)keys * sizeof(*part_of_key));
	__u16 node[VG_NODES_MAX];
	struct gather *gather;
	int parts;

	if (!part_of_key)
		return vg_call_failure(call, -ENOMEM);
	parts = assign(call, part_of_key, node);
	gather = gather_new(call->env, call->command->route, parts);
	if (!gather) {
		mem->free(mem->context, part_of_key);
		return vg_call_failure(call, -ENOMEM);
	}
	gather->keys = keys;
	gather->part_of_key = part_of_key;
	for (int i = 0; i < parts; i++)
		gather->part[i].node = node[i];
	gather->pending = make_requests(call, gather) ? vg_call_defer(call) : NULL;
	if (!gather->pending) {
		gather_free(gather);
		return vg_call_failure(call, -ENOMEM);
	}
	ask_parts(call, gather);
	return -EINPROGRESS;
}

/* ---- everywhere ------------------------------------------------------------------------------------------------ */

int vg_route_everywhere(struct vg_call *call, enum vg_route merge, __u64 own_count, struct vg_out *own)
{
	__u16 self = vg_cluster_self(call->env->cluster), nodes = vg_cluster_nodes(call->env->cluster);
	struct gather *gather = gather_new(call->env, merge, nodes - 1);
	char request[VG_KEY_MAX + 256], *end = request;
	size_t bytes = VG_RESP_DIGITS + 3;
	int parts = 0;

	for (int i = 0; i < call->args; i++)
		bytes += vg_route_arg_bytes(&call->arg[i]);
	if (bytes > sizeof(request)) {
		if (gather)
			gather_free(gather);
		return vg_call_failure(call, -EMSGSIZE);
	}
	if (!gather)
		return vg_call_failure(call, -ENOMEM);
	gather->pending = vg_call_defer(call);
	if (!gather->pending) {
		gather_free(gather);
		return 0;
	}
	end = vg_route_put_header(end, '*', call->args);
	for (int i = 0; i < call->args; i++)
		end = vg_route_put_arg(end, &call->arg[i]);
	gather->sum = own_count;
	if (own)
		vg_out_splice(&gather->own, own);
	gather->left = nodes - 1;
	for (__u16 node = 0; node < nodes; node++) {
		if (node == self)
			continue;
		gather->part[parts].node = node;
		vg_route_ask(call->env, node, call->version, 0, request, (size_t)(end - request), on_part,
			     &gather->part[parts++]);
	}
	return -EINPROGRESS;
}
