// SPDX-License-Identifier: GPL-3.0-or-later
/* One request of the memory pool, as far as this node can answer it alone. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "proto/frame.h"
#include "svc/mem/handle.h"
#include "svc/mem/hotkeys.h"
#include "svc/mem/mem.h"
#include "virgo/wire_codec.h"

#define STAMP_INTERVAL_NS 100000000 /* how old the share of free memory in a load stamp may be */

static enum vg_mem_outcome say(struct vg_mem_answer *answer, __u8 status, const char *text)
{
	answer->status = status;
	answer->text = text;
	return VG_MEM_ANSWERED;
}

static enum vg_mem_outcome say_error(struct vg_mem_answer *answer, int error)
{
	return say(answer, vg_mem_status_of(error), error == -ELOOP ? "too many keys collide with this one" : NULL);
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* Whether hash and partition are the key's own; a request that lies about them would look in the wrong place. */
static bool names_its_place(const struct vg_mem_request *request)
{
	return request->ident == vg_hash64(request->key, request->key_length) &&
	       request->partition == vg_partition_of(request->key, request->key_length);
}

/* The answer to a key that is not this node's. */
static enum vg_mem_outcome other_owner(struct vg_env *env, const struct vg_mem_request *request,
				       struct vg_mem_answer *answer)
{
	__u16 owner;

	if (!names_its_place(request))
		return say(answer, VG_STATUS_BAD_REQUEST, "hash or partition is not the key's own");
	owner = vg_cluster_owner(env->cluster, request->partition);
	if (owner == VG_NODE_NONE)
		return say(answer, VG_STATUS_UNREACHABLE, "no node owns the key's partition");
	say(answer, VG_STATUS_WRONG_NODE, NULL);
	answer->argument = owner;
	return request->flags & VG_FLAG_FORWARDED ? VG_MEM_ANSWERED : VG_MEM_ELSEWHERE;
}

static bool owned_here(const struct vg_env *env, const struct vg_mem_request *request)
{
	return request->partition < VG_PARTITIONS &&
	       vg_cluster_owner(env->cluster, request->partition) == vg_cluster_self(env->cluster);
}

/* A key whose deadline has come was found, whatever else the request says of it. */
static bool expired_here(struct vg_env *env, const struct vg_key *key)
{
	struct vg_key_facts facts;

	return vg_store_facts(env->store, key, 0, false, &facts) == 0;
}

/*
 * As XDP answers: what is found under a partition of ours needs no proof but the key itself; only "not found" is said
 * after hash and partition were seen to be the key's own.
 */
static enum vg_mem_outcome get(struct vg_env *env, const struct vg_mem_request *request, void *buffer,
			       struct vg_mem_answer *answer)
{
	const struct vg_key key = { request->key, request->key_length, request->ident };
	struct vg_block *block = NULL;
	struct vg_key_facts facts;
	ssize_t length;

	if (!owned_here(env, request))
		return other_owner(env, request, answer);
	if (vg_hot_takes(vg_mem_worker(env)->hot))
		vg_hot_take(vg_mem_worker(env)->hot, env, key.data, key.length, key.hash);
	if (request->flags & VG_FLAG_VERSION) {
		length = vg_store_read(env->store, &key, vg_clock_unix_ms(env->clock), true, buffer,
				       VG_MEM_BUFFER_BYTES, &block, &facts);
		answer->argument = length < 0 ? 0 : facts.version;
	} else {
		length = vg_store_get(env->store, &key, vg_clock_unix_ms(env->clock), buffer, VG_MEM_BUFFER_BYTES,
				      &block, NULL);
	}
	if (length == -ENOENT) {
		if (!names_its_place(request) && !expired_here(env, &key))
			return say(answer, VG_STATUS_BAD_REQUEST, "hash or partition is not the key's own");
		env->stats->misses++;
		return say(answer, VG_STATUS_NOT_FOUND, NULL);
	}
	if (length < 0)
		return say_error(answer, (int)length);
	env->stats->hits++;
	answer->body = block ? vg_block_data(block) : buffer;
	answer->body_length = (__u64)length;
	answer->release = block ? vg_block_put : NULL;
	answer->release_context = block;
	return say(answer, VG_STATUS_OK, NULL);
}

static int set_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct vg_mem_request *request = context;

	if (request->flags & (old->exists ? VG_FLAG_IF_ABSENT : VG_FLAG_IF_PRESENT))
		return -EEXIST;
	change->action = VG_CHANGE_STORE;
	change->expire_ms = request->flags & VG_FLAG_KEEP_TTL && old->exists ? old->expire_ms : request->argument;
	change->part[0] = (struct vg_part){ request->body, request->body_length };
	change->parts = 1;
	return 0;
}

static enum vg_mem_outcome set(struct vg_env *env, const struct vg_mem_request *request, struct vg_mem_answer *answer)
{
	const __u16 conditions = VG_FLAG_IF_ABSENT | VG_FLAG_IF_PRESENT;
	const struct vg_key key = { request->key, request->key_length, request->ident };
	__u64 now_ms = vg_clock_unix_ms(env->clock);
	int error;

	if (!owned_here(env, request))
		return other_owner(env, request, answer);
	if (!names_its_place(request))
		return say(answer, VG_STATUS_BAD_REQUEST, "hash or partition is not the key's own");
	if ((request->flags & conditions) == conditions)
		return say(answer, VG_STATUS_BAD_REQUEST, "if-absent and if-present exclude each other");
	if (request->argument >> 48 || (request->argument && request->flags & VG_FLAG_KEEP_TTL))
		return say(answer, VG_STATUS_BAD_REQUEST, "no deadline, or one that contradicts keep-ttl");
	if (request->body_length > VG_VALUE_MAX || request->body_length > env->settings->value_bytes_max) {
		vg_refuse(env, VG_REFUSAL_TOO_LONG);
		return say(answer, VG_STATUS_BAD_REQUEST, "the value is too long");
	}
	if (request->flags & (conditions | VG_FLAG_KEEP_TTL))
		error = vg_store_update(env->store, &key, now_ms, set_update, (void *)request);
	else
		error = vg_store_set(env->store, &key, now_ms, request->body, request->body_length, request->argument);
	return say_error(answer, error);
}

static enum vg_mem_outcome del(struct vg_env *env, const struct vg_mem_request *request, struct vg_mem_answer *answer)
{
	const struct vg_key key = { request->key, request->key_length, request->ident };

	if (!owned_here(env, request))
		return other_owner(env, request, answer);
	if (!names_its_place(request))
		return say(answer, VG_STATUS_BAD_REQUEST, "hash or partition is not the key's own");
	return say_error(answer, vg_store_delete(env->store, &key, vg_clock_unix_ms(env->clock)));
}

/* ---- compare-and-set ------------------------------------------------------------------------------------------- */

struct cas {
	const struct vg_mem_request *request;
	__u64 version; /* what it gets */
};

static int cas_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct cas *cas = context;
	const struct vg_mem_request *request = cas->request;

	if (!old->exists && request->argument)
		return -ENOENT;
	if (old->exists && (!old->version || old->version != request->argument))
		return -EEXIST;
	change->action = VG_CHANGE_STORE;
	change->version = cas->version;
	change->client_flags = old->client_flags;
	change->expire_ms = request->flags & VG_FLAG_KEEP_TTL ? old->expire_ms : 0;
	change->part[0] = (struct vg_part){ request->body, request->body_length };
	change->parts = 1;
	return 0;
}

static enum vg_mem_outcome cas(struct vg_env *env, const struct vg_mem_request *request, struct vg_mem_answer *answer)
{
	const struct vg_key key = { request->key, request->key_length, request->ident };
	struct cas cas = { request, 0 };
	int error;

	if (!owned_here(env, request))
		return other_owner(env, request, answer);
	if (!names_its_place(request))
		return say(answer, VG_STATUS_BAD_REQUEST, "hash or partition is not the key's own");
	if (request->flags & (VG_FLAG_IF_ABSENT | VG_FLAG_IF_PRESENT))
		return say(answer, VG_STATUS_BAD_REQUEST, "the version is the condition");
	if (request->body_length > VG_VALUE_MAX || request->body_length > env->settings->value_bytes_max) {
		vg_refuse(env, VG_REFUSAL_TOO_LONG);
		return say(answer, VG_STATUS_BAD_REQUEST, "the value is too long");
	}
	cas.version = vg_store_version_new(env->store);
	error = vg_store_update(env->store, &key, vg_clock_unix_ms(env->clock), cas_update, &cas);
	if (!error)
		answer->ident = cas.version;
	return say_error(answer, error);
}

/* ---- several keys ---------------------------------------------------------------------------------------------- */

/* The next key of an MGET's body, as a GET of its own; the bytes it takes, 0: that is none. */
static __u32 mget_next(const struct vg_mem_request *request, __u32 at, struct vg_mem_request *ret_get)
{
	const __u8 *body = request->body;
	struct vg_mget_key entry;
	__u32 length, padded;

	if (request->body_length - at < sizeof(entry))
		return 0;
	memcpy(&entry, body + at, sizeof(entry));
	length = VG_BE16TOH(entry.key_length);
	padded = VG_ALIGN_UP(length, 8u);
	if (length > VG_XDP_KEY_MAX || entry.reserved || request->body_length - at - sizeof(entry) < padded ||
	    !vg_frame_padding_zero(body + at + sizeof(entry), length))
		return 0;
	*ret_get = (struct vg_mem_request){
		.opcode = VG_OP_GET,
		.flags = VG_FLAG_FORWARDED, /* answered here or not at all */
		.partition = VG_BE16TOH(entry.partition),
		.ident = VG_BE64TOH(entry.ident),
		.key = body + at + sizeof(entry),
		.key_length = length,
	};
	return (__u32)sizeof(entry) + padded;
}

/* Each key is answered as a GET of it alone would be; a value without room is TOO_BIG. */
static enum vg_mem_outcome mget(struct vg_env *env, const struct vg_mem_request *request, __u8 *buffer,
				struct vg_mem_answer *answer)
{
	__u32 room = request->body_room ?: VG_MEM_BUFFER_BYTES, used = 0, at = 0, step;
	__u32 left = (__u32)sizeof(struct vg_mget_value) * (__u32)request->argument;
	__u8 value[VG_MEM_BUFFER_BYTES];
	struct vg_mem_request one;

	if (!request->argument || request->argument > VG_MGET_KEYS_MAX || request->key_length)
		return say(answer, VG_STATUS_BAD_REQUEST, "one to sixteen keys, all in the body");
	for (__u64 i = 0; i < request->argument; i++, at += step) {
		step = mget_next(request, at, &one);
		if (!step)
			return say(answer, VG_STATUS_BAD_REQUEST, "a key that does not lie wholly in the body");
	}
	if (at != request->body_length || left > room)
		return say(answer, VG_STATUS_BAD_REQUEST, "more in the body than keys");
	for (at = 0; at < request->body_length; at += step) {
		struct vg_mem_answer got = { .ident = 0 };
		struct vg_mget_value head = { 0 };

		step = mget_next(request, at, &one);
		get(env, &one, value, &got);
		left -= (__u32)sizeof(head);
		if (!got.status && used + sizeof(head) + VG_ALIGN_UP(got.body_length, 8ULL) + left > room)
			got.status = VG_STATUS_TOO_BIG;
		head.status = got.status;
		if (!got.status) {
			head.length = VG_HTOBE32((__u32)got.body_length);
			memcpy(buffer + used + sizeof(head), got.body, got.body_length);
			memset(buffer + used + sizeof(head) + got.body_length, 0, -got.body_length & 7);
		}
		memcpy(buffer + used, &head, sizeof(head));
		used += (__u32)sizeof(head) + (got.status ? 0 : (__u32)VG_ALIGN_UP(got.body_length, 8ULL));
		vg_mem_answer_release(&got);
	}
	answer->body = buffer;
	answer->body_length = used;
	return say(answer, VG_STATUS_OK, NULL);
}

/* ---- handles --------------------------------------------------------------------------------------------------- */

/* The answer to a handle operation whose immediate part ended with `error`. */
static enum vg_mem_outcome handle_answer(struct vg_env *env, const struct vg_mem_request *request, int error,
					 struct vg_mem_answer *answer)
{
	if (error != -EINPROGRESS)
		return say_error(answer, error);
	if (request->opcode == VG_OP_HANDLE_ALLOC ||
	    vg_mem_request_owner(env, request) == vg_cluster_self(env->cluster)) {
		say(answer, VG_STATUS_TOO_BIG, "memory spread over nodes is reached over TCP");
		return VG_MEM_ELSEWHERE;
	}
	say(answer, VG_STATUS_WRONG_NODE, NULL);
	answer->argument = vg_mem_request_owner(env, request);
	return request->flags & VG_FLAG_FORWARDED ? VG_MEM_ANSWERED : VG_MEM_ELSEWHERE;
}

static enum vg_mem_outcome handle_get(struct vg_env *env, const struct vg_mem_request *request, void *buffer,
				      struct vg_mem_answer *answer)
{
	__u64 offset = request->argument >> 32, length = (__u32)request->argument;
	void *data = buffer;
	int error;

	if (!length)
		return handle_answer(env, request, vg_handle_facts_now(env, request->ident, &answer->argument), answer);
	if (length > VG_MEM_BUFFER_BYTES) {
		/* Memory is taken for what can be answered only: the length is the peer's word so far. */
		__u64 whole = 0;

		error = vg_handle_facts_now(env, request->ident, &whole);
		if (error)
			return handle_answer(env, request, error, answer);
		if (offset > whole || length > whole - offset)
			return say(answer, VG_STATUS_RANGE, NULL);
		if (length > VG_VALUE_MAX)
			return say(answer, VG_STATUS_RANGE, "so much is not read at once");
		data = vg_handle_data_new(env, length);
		if (!data)
			return say(answer, VG_STATUS_NO_MEMORY, NULL);
	}
	error = vg_handle_read_now(env, request->ident, offset, data, length);
	if (error) {
		if (data != buffer)
			vg_handle_data_free(data);
		return handle_answer(env, request, error, answer);
	}
	answer->body = data;
	answer->body_length = length;
	answer->release = data != buffer ? vg_handle_data_free : NULL;
	answer->release_context = data;
	return say(answer, VG_STATUS_OK, NULL);
}

static enum vg_mem_outcome handle_set(struct vg_env *env, const struct vg_mem_request *request,
				      struct vg_mem_answer *answer)
{
	__u64 offset = request->argument >> 32, length = (__u32)request->argument;

	if (length != request->body_length)
		return say(answer, VG_STATUS_BAD_REQUEST, "the range is not as long as the data");
	if (length > VG_VALUE_MAX)
		return say(answer, VG_STATUS_RANGE, "so much is not written at once");
	return handle_answer(env, request, vg_handle_write_now(env, request->ident, offset, request->body, length),
			     answer);
}

static enum vg_mem_outcome handle_alloc(struct vg_env *env, const struct vg_mem_request *request,
					struct vg_mem_answer *answer)
{
	int error;

	if (!request->argument)
		return say(answer, VG_STATUS_BAD_REQUEST, "an allocation has at least one byte");
	if (request->argument > VG_HANDLE_BYTES_MAX)
		return say(answer, VG_STATUS_NO_MEMORY, "an allocation has at most 4294967295 bytes");
	/* A node that spreads an allocation asks for its chunks forwarded: they lie in one piece. */
	if (request->flags & VG_FLAG_FORWARDED)
		error = vg_store_alloc(env->store, request->argument, &answer->ident);
	else
		error = vg_handle_alloc_now(env, request->argument, &answer->ident);
	return handle_answer(env, request, error, answer);
}

/* ---- the one switch -------------------------------------------------------------------------------------------- */

enum vg_mem_outcome vg_mem_execute(struct vg_env *env, const struct vg_mem_request *request, void *buffer,
				   struct vg_mem_answer *answer)
{
	*answer = (struct vg_mem_answer){ .ident = request->ident };
	if (vg_env_refuses(env) && vg_mem_changes(request->opcode) &&
	    vg_mem_request_owner(env, request) == vg_cluster_self(env->cluster))
		return say(answer, VG_STATUS_NOT_LOGGED, vg_env_refusal(env));
	switch (request->opcode) {
	case VG_OP_PING:
		return say(answer, VG_STATUS_OK, NULL);
	case VG_OP_GET:
		return get(env, request, buffer, answer);
	case VG_OP_SET:
		return set(env, request, answer);
	case VG_OP_DEL:
		return del(env, request, answer);
	case VG_OP_CAS:
		return cas(env, request, answer);
	case VG_OP_MGET:
		return mget(env, request, buffer, answer);
	case VG_OP_HANDLE_GET:
		return handle_get(env, request, buffer, answer);
	case VG_OP_HANDLE_SET:
		return handle_set(env, request, answer);
	case VG_OP_HANDLE_ALLOC:
		return handle_alloc(env, request, answer);
	case VG_OP_HANDLE_FREE:
		return handle_answer(env, request, vg_handle_free_now(env, request->ident), answer);
	case VG_OP_COMMAND:
	case VG_OP_MEMCACHE:
	case VG_OP_STATUS:
	case VG_OP_TOPOLOGY:
	case VG_OP_SNAPSHOT_OPEN:
	case VG_OP_SNAPSHOT_GET:
	case VG_OP_SNAPSHOT_READ:
	case VG_OP_SNAPSHOT_CLOSE:
	case VG_OP_SNAPSHOT_LOAD:
		say(answer, VG_STATUS_TOO_BIG, "this operation is for TCP");
		return VG_MEM_ELSEWHERE;
	}
	return say(answer, VG_STATUS_UNSUPPORTED, NULL);
}

void vg_mem_answer_release(struct vg_mem_answer *answer)
{
	if (answer->release)
		answer->release(answer->release_context);
	answer->release = NULL;
}

__u16 vg_mem_request_owner(const struct vg_env *env, const struct vg_mem_request *request)
{
	switch (request->opcode) {
	case VG_OP_GET:
	case VG_OP_SET:
	case VG_OP_DEL:
	case VG_OP_CAS:
		return request->partition < VG_PARTITIONS ? vg_cluster_owner(env->cluster, request->partition)
							  : VG_NODE_NONE;
	case VG_OP_HANDLE_GET:
	case VG_OP_HANDLE_SET:
	case VG_OP_HANDLE_FREE:
		return (__u16)vg_handle_node(request->ident);
	}
	return vg_cluster_self(env->cluster);
}

bool vg_mem_changes(__u8 opcode)
{
	return opcode == VG_OP_SET || opcode == VG_OP_DEL || opcode == VG_OP_CAS || opcode == VG_OP_HANDLE_SET ||
	       opcode == VG_OP_HANDLE_ALLOC || opcode == VG_OP_HANDLE_FREE;
}

bool vg_mem_open(const struct vg_env *env)
{
	return !vg_cluster_key(env->cluster) && !env->settings->password[0];
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

/* Free memory changes slowly and costs a walk to count: counted now and then, stamped into every answer. */
static __be16 memory_free_permille(struct vg_env *env)
{
	struct vg_mem_worker *worker = vg_mem_worker(env);
	struct vg_store_stats stats;
	__u64 bytes, used;

	if (env->clock->monotonic_ns < worker->stamp_due_ns)
		return worker->memory_free_permille;
	vg_store_stats(env->store, &stats);
	bytes = stats.arena_bytes + stats.heap_bytes;
	used = stats.arena_used + stats.heap_used;
	worker->memory_free_permille = VG_HTOBE16((__u16)(used < bytes ? (bytes - used) / (bytes / 1000 + 1) : 0));
	worker->stamp_due_ns = env->clock->monotonic_ns + STAMP_INTERVAL_NS;
	return worker->memory_free_permille;
}

static __u32 saturated(__u64 value)
{
	return value > 0xffffffff ? 0xffffffff : (__u32)value;
}

void vg_mem_reply_header(struct vg_env *env, const struct vg_wire_header *request, const struct vg_mem_answer *answer,
			 __u16 flags, __u32 body_length, struct vg_wire_header *ret_header)
{
	/*
	 * What a stranger chose (client, sequence, hash) is not signed for it: it could play the answer to someone
	 * else.
	 */
	const __u64 *key = answer->unproven ? NULL : vg_cluster_key(env->cluster);

	assert(answer->status < VG_STATUS_MAX);
	*ret_header = (struct vg_wire_header){
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = request->opcode,
		.flags = VG_HTOBE16(flags | VG_FLAG_REPLY | (key ? VG_FLAG_TAGGED : 0)),
		.status = answer->status,
		.client = request->client,
		.sequence = request->sequence,
		.source_node = VG_HTOBE16(vg_cluster_self(env->cluster)),
		.partition = request->partition,
		.epoch = VG_HTOBE32(vg_cluster_epoch(env->cluster)),
		.ident = VG_HTOBE64(answer->ident),
		.body_length = VG_HTOBE32(body_length),
		.argument = VG_HTOBE64(answer->argument),
	};
	if (!answer->unproven)
		ret_header->load = (struct vg_load_stamp){
			.in_flight = VG_HTOBE32(saturated(env->stats->in_flight)),
			.service_ns = VG_HTOBE32(saturated(env->stats->service_ns_smoothed)),
			.run_queue_delay_ns = VG_HTOBE32(env->run_queue_delay_ns),
			.memory_free_permille = memory_free_permille(env),
		};
	if (key)
		ret_header->tag = vg_wire_tag_of(key, ret_header, NULL);
}
