/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Commands whose keys are elsewhere: one is sent to their node; one with keys of several nodes is split and merged. */
#include "svc/mem/resp_route.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* ---- where ----------------------------------------------------------------------------------------------------- */

static __u16 owner_of(const struct vg_call *call, int position)
{
	const struct vg_resp_arg *key = &call->arg[position];

	return vg_cluster_owner(call->env->cluster, vg_partition_of(key->data, key->length));
}

int vg_route_call(struct vg_call *call)
{
	const struct vg_command *command = call->command;
	int last = vg_command_last_key(command, call->args);
	__u16 self = vg_cluster_self(call->env->cluster), first = owner_of(call, command->first);
	bool same = true;

	if (first == VG_NODE_NONE)
		goto unserved;
	for (int i = command->first + command->step; i <= last; i += command->step) {
		__u16 owner = owner_of(call, i);

		if (owner == VG_NODE_NONE)
			goto unserved;
		same &= owner == first;
	}
	if (same && first == self)
		return 0;
	if (call->forwarded)
		return -EREMOTE;
	/* What Redis says of a wrong number of values must not depend on where the keys are. */
	if (command->step == 2 && call->args % 2 == 0) {
		vg_call_arity_error(call);
		return VG_ROUTE_ANSWERED;
	}
	if (same)
		return vg_route_forward(call, first) ?: VG_ROUTE_ANSWERED;
	if (command->route == VG_ROUTE_KEYS) {
		vg_resp_error(call->out, "CROSSSLOT Keys in request don't hash to the same slot");
		return VG_ROUTE_ANSWERED;
	}
	return vg_route_split(call) ?: VG_ROUTE_ANSWERED;
unserved:
	vg_resp_error(call->out, "CLUSTERDOWN Hash slot not served");
	return VG_ROUTE_ANSWERED;
}

/* ---- requests in RESP ------------------------------------------------------------------------------------------ */

size_t vg_route_arg_bytes(const struct vg_resp_arg *arg)
{
	char digits[VG_RESP_DIGITS];

	return 1 + vg_resp_digits(digits, (__s64)arg->length) + 2 + arg->length + 2;
}

char *vg_route_put_header(char *at, char type, __s64 value)
{
	*at++ = type;
	at += vg_resp_digits(at, value);
	*at++ = '\r';
	*at++ = '\n';
	return at;
}

char *vg_route_put_arg(char *at, const struct vg_resp_arg *arg)
{
	at = vg_route_put_header(at, '$', (__s64)arg->length);
	memcpy(at, arg->data, arg->length);
	at += arg->length;
	*at++ = '\r';
	*at++ = '\n';
	return at;
}

/* The whole request as an array, in memory of env->mem; NULL: none. An inline command has no such form of its own. */
static char *encode(const struct vg_call *call, size_t *ret_length)
{
	const struct vg_mem *mem = call->env->mem;
	size_t bytes = VG_RESP_DIGITS + 3;
	char *data, *at;

	for (int i = 0; i < call->args; i++)
		bytes += vg_route_arg_bytes(&call->arg[i]);
	data = mem->alloc(mem->context, bytes);
	if (!data)
		return NULL;
	at = vg_route_put_header(data, '*', call->args);
	for (int i = 0; i < call->args; i++)
		at = vg_route_put_arg(at, &call->arg[i]);
	*ret_length = (size_t)(at - data);
	return data;
}

/* ---- one node -------------------------------------------------------------------------------------------------- */

bool vg_route_reply_error(struct vg_env *env, __u16 node, const struct vg_peer_reply *reply,
			  char text[VG_ROUTE_ERROR_BYTES])
{
	if (reply->error == -ENOBUFS) {
		vg_refuse(env, VG_REFUSAL_BUSY);
		snprintf(text, VG_ROUTE_ERROR_BYTES, "TRYAGAIN too many requests wait for node %u", node);
	} else if (reply->error) {
		vg_refuse(env, VG_REFUSAL_UNREACHABLE);
		snprintf(text, VG_ROUTE_ERROR_BYTES, "CLUSTERDOWN node %u does not answer", node);
	} else if (reply->status == VG_STATUS_NO_MEMORY) {
		snprintf(text, VG_ROUTE_ERROR_BYTES, "%s", VG_OOM_TEXT);
	} else if (reply->status == VG_STATUS_WRONG_NODE) {
		snprintf(text, VG_ROUTE_ERROR_BYTES, "CLUSTERDOWN node %u does not own the key: topologies differ",
			 node);
	} else if (reply->status != VG_STATUS_OK || reply->body_length < 3) {
		snprintf(text, VG_ROUTE_ERROR_BYTES, "ERR node %u refused the request (status %u)", node,
			 reply->status);
	} else {
		return false;
	}
	return true;
}

void vg_route_ask(struct vg_env *env, __u16 node, int version, __u16 partition, const void *request, size_t length,
		  vg_peer_fn fn, void *context)
{
	struct iovec body = { .iov_base = (void *)request, .iov_len = length };
	struct vg_peer_request ask = { .opcode = VG_OP_COMMAND, .partition = partition, .argument = (__u64)version,
				       .body = &body, .body_count = 1 };

	env->stats->forwarded++;
	vg_peers_ask(env->peers, node, &ask, fn, context);
}

static void on_forwarded(void *context, const struct vg_peer_reply *reply)
{
	struct vg_pending *pending = context;
	char text[VG_ROUTE_ERROR_BYTES];

	if (vg_route_reply_error(pending->env, (__u16)(size_t)pending->work, reply, text))
		vg_resp_error(&pending->out, "%s", text);
	else
		vg_out_append(&pending->out, reply->body, reply->body_length);
	vg_pending_done(pending);
}

int vg_route_forward(struct vg_call *call, __u16 node)
{
	const struct vg_mem *mem = call->env->mem;
	const char *request = call->raw;
	size_t length = call->raw_length;
	const struct vg_resp_arg *key = call->command->first ? &call->arg[call->command->first] : NULL;
	struct vg_pending *pending;
	char *encoded = NULL;

	if (!request || length == 0 || request[0] != '*') {
		request = encoded = encode(call, &length);
		if (!encoded)
			return vg_call_failure(call, -ENOMEM);
	}
	pending = length <= VG_BODY_MAX ? vg_call_defer(call) : NULL;
	if (length > VG_BODY_MAX) {
		vg_call_failure(call, -EMSGSIZE);
	} else if (pending) {
		pending->work = (void *)(size_t)node;
		vg_route_ask(call->env, node, call->version, key ? vg_partition_of(key->data, key->length) : 0, request,
			     length, on_forwarded, pending);
	}
	if (encoded)
		mem->free(mem->context, encoded);
	return pending ? -EINPROGRESS : 0;
}
