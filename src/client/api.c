/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The synchronous calls: one request is submitted and waited for; others in flight get their results meanwhile. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "client/near.h"

/* What a synchronous call waits for. */
struct outcome {
	struct virgo *v;
	bool done;
	struct virgo_result result; /* without the pointers */
	/* Where the data goes: the caller's buffer, or memory from malloc. */
	void *buffer;
	size_t buffer_bytes;
	bool allocate;
	void *allocated;
};

static void take(void *context, const struct virgo_result *result)
{
	struct outcome *outcome = context;

	outcome->done = true;
	outcome->result = *result;
	(void)snprintf(outcome->v->error_text, sizeof(outcome->v->error_text), "%s",
		       !result->error ? ""
		       : result->text ? result->text
				      : virgo_strerror(result->error));
	if (result->error)
		return;
	if (outcome->allocate) {
		outcome->allocated = malloc(result->length + 1);
		if (!outcome->allocated) {
			outcome->result.error = -ENOMEM;
			return;
		}
		if (result->length)
			memcpy(outcome->allocated, result->data, result->length);
		((char *)outcome->allocated)[result->length] = '\0';
	} else if (outcome->buffer) {
		if (result->length > outcome->buffer_bytes)
			outcome->result.error = -EMSGSIZE;
		else if (result->length)
			memcpy(outcome->buffer, result->data, result->length);
	}
}

static int ask(struct virgo *v, struct virgo_request *request, struct outcome *outcome)
{
	int error;

	if (v->delivering)
		return -EDEADLK;
	v->error_text[0] = '\0';
	outcome->v = v;
	request->fn = take;
	request->context = outcome;
	while ((error = virgo_submit(v, request)) == -EAGAIN)
		(void)vg_client_step(v, ~0ULL);
	/* A signal does not end a synchronous call: the request has its own end. */
	while (!error && !outcome->done) {
		int trouble = vg_client_step(v, ~0ULL);

		/* poll(2) knows no other error with descriptors that are ours. */
		assert(!trouble || trouble == -EINTR || trouble == -ENOMEM);
	}
	if (error)
		(void)snprintf(v->error_text, sizeof(v->error_text), "%s", virgo_strerror(error));
	return error ? error : outcome->result.error;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* From the near cache, or read into it; -EOPNOTSUPP: ask as usual. */
static int near_get(struct virgo *v, const void *key, size_t key_length, const void **ret_value, size_t *ret_length)
{
	int error;

	if (!v->near || v->delivering)
		return -EOPNOTSUPP;
	error = vg_near_get(v, key, key_length, ret_value, ret_length);
	(void)snprintf(v->error_text, sizeof(v->error_text), "%s", error == -ENOENT ? virgo_strerror(error) : "");
	return error;
}

int virgo_key_get(struct virgo *v, const void *key, size_t key_length, void **ret_value, size_t *ret_length)
{
	struct virgo_request request = { .operation = VIRGO_GET, .key = key, .key_length = key_length };
	struct outcome outcome = { .allocate = true };
	const void *near;
	size_t near_length;
	int error = near_get(v, key, key_length, &near, &near_length);

	if (!error) {
		*ret_value = malloc(near_length + 1);
		if (!*ret_value)
			return -ENOMEM;
		memcpy(*ret_value, near, near_length + 1); /* a zero follows it there, too */
		*ret_length = near_length;
		return 0;
	}
	if (error != -EOPNOTSUPP)
		return error;
	error = ask(v, &request, &outcome);
	if (error)
		return error;
	*ret_value = outcome.allocated; /* the caller's from here */
	*ret_length = outcome.result.length;
	return 0;
}

int virgo_key_read(struct virgo *v, const void *key, size_t key_length, void *buffer, size_t buffer_bytes,
		   size_t *ret_length)
{
	struct virgo_request request = { .operation = VIRGO_GET, .key = key, .key_length = key_length };
	struct outcome outcome = { .buffer = buffer, .buffer_bytes = buffer_bytes };
	const void *near;
	int error = near_get(v, key, key_length, &near, ret_length);

	if (!error && *ret_length > buffer_bytes)
		return -EMSGSIZE;
	if (!error)
		memcpy(buffer, near, *ret_length);
	if (error != -EOPNOTSUPP)
		return error;
	error = ask(v, &request, &outcome);
	if (!error || error == -EMSGSIZE)
		*ret_length = outcome.result.length;
	return error;
}

int virgo_key_set(struct virgo *v, const void *key, size_t key_length, const void *value, size_t length,
		  uint64_t expire_ms, unsigned int flags)
{
	struct virgo_request request = { .operation = VIRGO_SET,
					 .key = key,
					 .key_length = key_length,
					 .data = value,
					 .length = length,
					 .expire_ms = expire_ms,
					 .flags = flags };

	return ask(v, &request, &(struct outcome){ 0 });
}

int virgo_key_del(struct virgo *v, const void *key, size_t key_length)
{
	struct virgo_request request = { .operation = VIRGO_DEL, .key = key, .key_length = key_length };

	return ask(v, &request, &(struct outcome){ 0 });
}

int virgo_get_version(struct virgo *v, const void *key, size_t key_length, void **ret_value, size_t *ret_length,
		      uint64_t *ret_version)
{
	struct virgo_request request = {
		.operation = VIRGO_GET, .key = key, .key_length = key_length, .flags = VIRGO_VERSION
	};
	struct outcome outcome = { .allocate = true };
	int error = ask(v, &request, &outcome);

	if (error)
		return error;
	*ret_value = outcome.allocated; /* the caller's from here */
	*ret_length = outcome.result.length;
	*ret_version = outcome.result.bytes;
	return 0;
}

int virgo_cas(struct virgo *v, const void *key, size_t key_length, const void *value, size_t length, uint64_t version,
	      unsigned int flags, uint64_t *ret_version)
{
	struct virgo_request request = { .operation = VIRGO_CAS,
					 .key = key,
					 .key_length = key_length,
					 .data = value,
					 .length = length,
					 .version = version,
					 .flags = flags };
	struct outcome outcome = { 0 };
	int error = ask(v, &request, &outcome);

	if (!error && ret_version)
		*ret_version = outcome.result.handle;
	return error;
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

int virgo_malloc(struct virgo *v, uint64_t bytes, uint64_t *ret_handle)
{
	struct virgo_request request = { .operation = VIRGO_MALLOC, .length = bytes };
	struct outcome outcome = { 0 };
	int error = ask(v, &request, &outcome);

	if (!error)
		*ret_handle = outcome.result.handle;
	return error;
}

int virgo_free(struct virgo *v, uint64_t handle)
{
	struct virgo_request request = { .operation = VIRGO_FREE, .handle = handle };

	return ask(v, &request, &(struct outcome){ 0 });
}

int virgo_set_range(struct virgo *v, uint64_t handle, uint64_t offset, const void *data, size_t length)
{
	struct virgo_request request = {
		.operation = VIRGO_SET_RANGE, .handle = handle, .offset = offset, .data = data, .length = length
	};

	return ask(v, &request, &(struct outcome){ 0 });
}

int virgo_get_range(struct virgo *v, uint64_t handle, uint64_t offset, void *data, size_t length)
{
	struct virgo_request request = {
		.operation = VIRGO_GET_RANGE, .handle = handle, .offset = offset, .length = length
	};

	return ask(v, &request, &(struct outcome){ .buffer = data, .buffer_bytes = length });
}

int virgo_set(struct virgo *v, uint64_t handle, const void *data, size_t length)
{
	return virgo_set_range(v, handle, 0, data, length);
}

int virgo_get(struct virgo *v, uint64_t handle, void *data, size_t length)
{
	return virgo_get_range(v, handle, 0, data, length);
}

int virgo_size(struct virgo *v, uint64_t handle, uint64_t *ret_bytes)
{
	struct virgo_request request = { .operation = VIRGO_SIZE, .handle = handle };
	struct outcome outcome = { 0 };
	int error = ask(v, &request, &outcome);

	if (!error)
		*ret_bytes = outcome.result.bytes;
	return error;
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static int ask_node(struct virgo *v, enum virgo_operation operation, unsigned int node, struct outcome *outcome)
{
	struct virgo_request request = { .operation = operation, .node = node == VIRGO_NODE_ANY ? 0 : node + 1 };

	if (node != VIRGO_NODE_ANY && node >= v->peers_count)
		return -EINVAL;
	return ask(v, &request, outcome);
}

int virgo_ping(struct virgo *v, unsigned int node, uint64_t *ret_elapsed_ns, struct virgo_load *ret_load)
{
	struct outcome outcome = { 0 };
	int error = ask_node(v, VIRGO_PING, node, &outcome);

	if (error)
		return error;
	if (ret_elapsed_ns)
		*ret_elapsed_ns = outcome.result.elapsed_ns;
	if (ret_load)
		*ret_load = outcome.result.load;
	return 0;
}

int virgo_status(struct virgo *v, unsigned int node, char **ret_json)
{
	struct outcome outcome = { .allocate = true };
	int error = ask_node(v, VIRGO_STATUS, node, &outcome);

	if (!error)
		*ret_json = outcome.allocated;
	return error;
}

int virgo_topology(struct virgo *v, unsigned int node, char **ret_json)
{
	struct outcome outcome = { .allocate = true };
	int error = ask_node(v, VIRGO_TOPOLOGY, node, &outcome);

	if (!error)
		*ret_json = outcome.allocated;
	return error;
}

/* ---- snapshots ------------------------------------------------------------------------------------------------- */

/* The request's node is named: a snapshot is of one. */
static int ask_snapshot(struct virgo *v, unsigned int node, struct virgo_request *request, struct outcome *outcome)
{
	if (node >= v->peers_count)
		return -EINVAL;
	request->node = node + 1;
	return ask(v, request, outcome);
}

int virgo_snapshot_open(struct virgo *v, unsigned int node, unsigned int flags, uint64_t *ret_snapshot)
{
	struct virgo_request request = { .operation = VIRGO_SNAPSHOT_OPEN, .offset = flags };
	struct outcome outcome = { 0 };
	int error = ask_snapshot(v, node, &request, &outcome);

	if (!error)
		*ret_snapshot = outcome.result.handle;
	return error;
}

int virgo_snapshot_close(struct virgo *v, unsigned int node, uint64_t snapshot)
{
	struct virgo_request request = { .operation = VIRGO_SNAPSHOT_CLOSE, .handle = snapshot };

	return ask_snapshot(v, node, &request, &(struct outcome){ 0 });
}

int virgo_snapshot_get(struct virgo *v, unsigned int node, uint64_t snapshot, const void *key, size_t key_length,
		       void **ret_value, size_t *ret_length)
{
	struct virgo_request request = {
		.operation = VIRGO_SNAPSHOT_GET, .key = key, .key_length = key_length, .offset = snapshot
	};
	struct outcome outcome = { .allocate = true };
	int error = ask_snapshot(v, node, &request, &outcome);

	if (error)
		return error;
	*ret_value = outcome.allocated; /* the caller's from here */
	*ret_length = outcome.result.length;
	return 0;
}

int virgo_snapshot_read(struct virgo *v, unsigned int node, uint64_t snapshot, void **ret_data, size_t *ret_length)
{
	struct virgo_request request = { .operation = VIRGO_SNAPSHOT_READ, .handle = snapshot };
	struct outcome outcome = { .allocate = true };
	int error = ask_snapshot(v, node, &request, &outcome);

	if (error)
		return error;
	*ret_data = outcome.allocated; /* the caller's from here */
	*ret_length = outcome.result.length;
	return outcome.result.bytes < 1001 ? (int)outcome.result.bytes : 1001;
}

int virgo_snapshot_load(struct virgo *v, unsigned int node, uint64_t identity, const void *block, size_t length,
			unsigned int flags, uint32_t *ret_stored, uint32_t *ret_skipped)
{
	struct virgo_request request = { .operation = VIRGO_SNAPSHOT_LOAD,
					 .handle = identity,
					 .offset = flags,
					 .data = block,
					 .length = length };
	struct outcome outcome = { 0 };
	int error = ask_snapshot(v, node, &request, &outcome);

	if (error)
		return error;
	*ret_stored = (uint32_t)(outcome.result.bytes >> 32);
	*ret_skipped = (uint32_t)outcome.result.bytes;
	return 0;
}

/* ---- any command ----------------------------------------------------------------------------------------------- */

#define RESP_NUMBER_MAX 32 /* "$", up to 20 digits, CR LF */

static int encode(int count, const char *const *arguments, const size_t *lengths, char **ret_text, size_t *ret_length)
{
	size_t bytes = RESP_NUMBER_MAX, at;
	char *text;

	for (int i = 0; i < count; i++) {
		size_t length = lengths ? lengths[i] : strlen(arguments[i]);

		if (length > VG_VALUE_MAX || bytes > VG_BODY_MAX)
			return -EMSGSIZE;
		bytes += length + RESP_NUMBER_MAX;
	}
	text = malloc(bytes);
	if (!text)
		return -ENOMEM;
	at = (size_t)snprintf(text, bytes, "*%d\r\n", count);
	for (int i = 0; i < count; i++) {
		size_t length = lengths ? lengths[i] : strlen(arguments[i]);

		at += (size_t)snprintf(text + at, bytes - at, "$%zu\r\n", length);
		memcpy(text + at, arguments[i], length);
		memcpy(text + at + length, "\r\n", 2);
		at += length + 2;
	}
	*ret_text = text;
	*ret_length = at;
	return 0;
}

int virgo_command(struct virgo *v, int count, const char *const *arguments, const size_t *lengths, char **ret_reply,
		  size_t *ret_length)
{
	struct virgo_request request = { .operation = VIRGO_COMMAND };
	struct outcome outcome = { .allocate = true };
	size_t length = 0;
	char *text = NULL;
	int error = count > 0 ? encode(count, arguments, lengths, &text, &length) : -EINVAL;

	if (error)
		return error;
	request.data = text;
	request.length = length;
	error = ask(v, &request, &outcome);
	free(text);
	if (error)
		return error;
	*ret_reply = outcome.allocated;
	*ret_length = outcome.result.length;
	return 0;
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

const char *virgo_strerror(int error)
{
	switch (error < 0 ? -error : error) {
	case 0:
		return "no error";
	case ENOENT:
		return "no such key";
	case EEXIST:
		return "the key exists";
	case ESTALE:
		return "the handle is gone: freed, or of another life of its node";
	case ERANGE:
		return "outside the allocation";
	case EMSGSIZE:
		return "too long";
	case ENOSPC:
		return "the pool is full";
	case ENOMEM:
		return "out of memory here";
	case EACCES:
		return "not allowed: the cluster key is missing or wrong";
	case EXDEV:
		return "the key is another node's";
	case EHOSTUNREACH:
		return "no node answers";
	case EBUSY:
		return "the node is busy: try again";
	case ETIMEDOUT:
		return "no answer in time: a change may or may not have been made";
	case ECONNRESET:
		return "the connection broke: a change may or may not have been made";
	case EALREADY:
		return "sent again too late for the node to know it: a change may or may not have been made";
	case EINVAL:
		return "malformed request or bad argument";
	case EOPNOTSUPP:
		return "the node does not know the operation";
	case EPROTO:
		return "the answer makes no sense";
	case EREMOTEIO:
		return "the node reports an internal error";
	case EAGAIN:
		return "too many requests in flight";
	case EDEADLK:
		return "not from inside a result function";
	case EINTR:
		return "interrupted";
	case EADDRNOTAVAIL:
		return "no such address";
	case ECANCELED:
		return "cancelled";
	case EPERM:
		return "the node does not allow it";
	case EHOSTDOWN:
		return "the worker that ran the function crashed";
	case ETIME:
		return "it ran out of time";
	case ENODATA:
		return "a part of the output is lost";
	case ENOEXEC:
		return "the kernel refused the program";
	case EPIPE:
		return "nobody reads it any more";
	default:
		return "system error";
	}
}
