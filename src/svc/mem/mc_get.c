// SPDX-License-Identifier: GPL-3.0-or-later
/* What reads: get, gets, gat, gats, mg, me. */
#include <stdio.h>

#include <string.h>

#include "svc/mem/mc_item.h"

#define COPY_MAX 8192 /* longer values are lent to the output, not copied */

/* ---- values ---------------------------------------------------------------------------------------------------- */

/* A value that was read: in `buffer`, or pinned. */
struct value {
	struct vg_block *block;
	struct vg_key_facts facts;
	size_t length;
	char buffer[VG_CELL_MAX];
};

static bool read_value(struct vg_mc_call *call, const struct vg_key *key, bool versioned, struct value *value)
{
	ssize_t length = vg_store_read(call->env->store, key, call->now_ms, versioned, value->buffer,
				       sizeof(value->buffer), &value->block, &value->facts);

	value->length = length < 0 ? 0 : (size_t)length;
	return length >= 0;
}

static void drop(struct value *value)
{
	if (value->block)
		vg_block_put(value->block);
	value->block = NULL;
}

/* A line, the value and its line end: what is short goes out in one piece. Ends the value. */
static void answer_value(struct vg_mc_call *call, const char *head, size_t head_length, struct value *value)
{
	const void *data = value->block ? vg_block_data(value->block) : value->buffer;
	char *room;

	if (value->length > COPY_MAX) {
		vg_out_append(call->out, head, head_length);
		vg_out_lend(call->out, data, value->length, vg_block_put, value->block);
		value->block = NULL;
		vg_out_append(call->out, "\r\n", 2);
		return;
	}
	room = vg_out_reserve(call->out, head_length + value->length + 2);
	if (room) {
		memcpy(room, head, head_length);
		memcpy(room + head_length, data, value->length);
		memcpy(room + head_length + value->length, "\r\n", 2);
		vg_out_commit(call->out, head_length + value->length + 2);
	}
	drop(value);
}

/* ---- get ------------------------------------------------------------------------------------------------------- */

static char *put_number(char *at, __u64 number)
{
	char digits[20], *digit = digits + sizeof(digits);

	do
		*--digit = (char)('0' + number % 10);
	while (number /= 10);
	memcpy(at, digit, (size_t)(digits + sizeof(digits) - digit));
	return at + (digits + sizeof(digits) - digit);
}

static int deadline_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	const struct vg_mc_call *call = context;

	if (!old->exists)
		return 0;
	change->action = VG_CHANGE_DEADLINE;
	vg_mc_keep_until(change, vg_mc_deadline_ms(call->request->exptime, call->now_ms), call->now_ms);
	return 0;
}

static void get_one(struct vg_mc_call *call, const struct vg_key *key)
{
	enum vg_mc_verb verb = call->request->verb;
	bool touches = verb == VG_MC_GAT || verb == VG_MC_GATS, unique = verb == VG_MC_GETS || verb == VG_MC_GATS;
	struct vg_mc_counts *counts = vg_mc_counts(call->env);
	struct value value;
	char head[6 + VG_MC_KEY_MAX + 3 * 21 + 2], *at = head;
	bool hit = read_value(call, key, unique, &value);

	counts->cmd_get += !touches;
	counts->cmd_touch += touches;
	if (!hit) {
		call->env->stats->misses++;
		counts->get_misses++;
		counts->touch_misses += touches;
		return;
	}
	call->env->stats->hits++;
	counts->get_hits++;
	counts->touch_hits += touches;
	if (touches) /* a deadline that cannot be kept leaves the value as it is */
		(void)vg_store_update(call->env->store, key, call->now_ms, deadline_update, call);
	memcpy(at, "VALUE ", 6);
	memcpy(at + 6, key->data, key->length);
	at += 6 + key->length;
	*at++ = ' ';
	at = put_number(at, value.facts.client_flags);
	*at++ = ' ';
	at = put_number(at, value.length);
	if (unique) {
		*at++ = ' ';
		at = put_number(at, value.facts.version);
	}
	memcpy(at, "\r\n", 2);
	answer_value(call, head, (size_t)(at + 2 - head), &value);
}

void vg_mc_get_one(struct vg_mc_call *call, struct vg_mc_word word)
{
	const struct vg_key key = { word.data, (__u32)word.length, vg_hash64(word.data, word.length) };

	get_one(call, &key);
}

void vg_mc_get(struct vg_mc_call *call)
{
	struct vg_mc_word rest = call->request->rest, word;
	bool first = call->request->verb == VG_MC_GET || call->request->verb == VG_MC_GETS;

	/* The first key's hash is made already; with more than one the index lines of all are asked for first. */
	if (first && vg_mc_next(&rest, &word)) {
		struct vg_mc_word ahead = rest;

		while (vg_mc_next(&ahead, &word))
			vg_store_prefetch_bucket(call->env->store, vg_hash64(word.data, word.length));
		get_one(call, &call->key);
	}
	while (vg_mc_next(&rest, &word))
		vg_mc_get_one(call, word);
	vg_out_append(call->out, "END\r\n", 5);
}

/* ---- mg -------------------------------------------------------------------------------------------------------- */

/* What mg does beside reading: it may make the key, give it a deadline, and hand out the right to fetch it anew. */
struct fetch {
	const struct vg_mc_call *call;
	__u64 made_deadline_ms; /* N */
	__u64 deadline_ms;	/* T */
	bool touched_first;	/* T stands before R, which then looks at the new deadline */
	bool exists, made, won;
	__u32 marks; /* as they were */
};

/* R: is less left of the deadline than that? */
static bool is_due(const struct fetch *fetch, const struct vg_entry *old)
{
	const struct vg_mc_request *request = fetch->call->request;
	__u64 deadline_ms = fetch->touched_first ? fetch->deadline_ms : old->expire_ms;

	return vg_mc_has(request, 'R') && deadline_ms &&
	       (__s64)vg_mc_seconds_left(deadline_ms, fetch->call->now_ms) < request->meta.recache_ttl;
}

static bool touches_first(const struct vg_mc_request *request)
{
	struct vg_mc_word rest = request->rest, flag;

	while (vg_mc_next(&rest, &flag) && flag.data[0] != 'R')
		if (flag.data[0] == 'T')
			return true;
	return false;
}

static int fetch_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct fetch *fetch = context;
	const struct vg_mc_request *request = fetch->call->request;
	bool sent = old->marks & VG_MC_TOKEN_SENT, changes;

	fetch->exists = old->exists || vg_mc_has(request, 'N');
	fetch->made = !old->exists && fetch->exists;
	fetch->marks = old->marks;
	if (!fetch->exists)
		return 0;
	fetch->won = fetch->made || (!sent && (old->marks & VG_MC_STALE || is_due(fetch, old)));
	vg_mc_keep(old, change);
	changes = fetch->made || fetch->won;
	if (fetch->won)
		change->marks |= VG_MC_TOKEN_SENT;
	if (vg_mc_has(request, 'h') && !(old->marks & VG_MC_FETCHED) && !fetch->made) {
		change->marks |= VG_MC_FETCHED;
		changes = true;
	}
	if (!changes)
		change->action = vg_mc_has(request, 'T') ? VG_CHANGE_DEADLINE : VG_CHANGE_NONE;
	if (fetch->made || vg_mc_has(request, 'T'))
		vg_mc_keep_until(change, vg_mc_last_deadline(request, fetch->made, fetch->made_deadline_ms,
							     fetch->deadline_ms), fetch->call->now_ms);
	return 0;
}

static bool wants_update(const struct vg_mc_call *call, bool hit, const struct value *value)
{
	const struct vg_mc_request *request = call->request;

	if (vg_mc_has(request, 'N') || vg_mc_has(request, 'T') || vg_mc_has(request, 'R') || vg_mc_has(request, 'h'))
		return true;
	return hit && value->facts.marks & VG_MC_STALE && !(value->facts.marks & VG_MC_TOKEN_SENT);
}

static void answer_miss(struct vg_mc_call *call)
{
	struct vg_mc_word rest = call->request->rest, flag;
	struct vg_mc_reply reply = { .length = 0 };

	call->env->stats->misses++;
	vg_mc_counts(call->env)->get_misses++;
	if (call->request->quiet)
		return;
	vg_mc_put(&reply, "EN");
	while (vg_mc_next(&rest, &flag))
		vg_mc_put_echo(&reply, call, flag);
	vg_mc_reply_end(call, &reply);
}

static void put_hit_flag(struct vg_mc_reply *reply, struct vg_mc_call *call, const struct fetch *fetch,
			 struct value *value, struct vg_mc_word flag)
{
	const struct vg_key_facts *facts = &value->facts;

	switch (flag.data[0]) {
	case 'T':
		value->facts.expire_ms = fetch->deadline_ms;
		break;
	case 'N':
		if (fetch->made)
			value->facts.expire_ms = fetch->made_deadline_ms;
		break;
	case 's':
		vg_mc_put_flag(reply, 's', value->length);
		break;
	case 't':
		vg_mc_put_ttl(reply, facts->expire_ms, call->now_ms);
		break;
	case 'c':
		vg_mc_put_flag(reply, 'c', facts->version);
		break;
	case 'f':
		vg_mc_put_flag(reply, 'f', facts->client_flags);
		break;
	case 'l':
		vg_mc_put_flag(reply, 'l', facts->idle_seconds);
		break;
	case 'h':
		vg_mc_put_flag(reply, 'h', fetch->marks & VG_MC_FETCHED ? 1 : 0);
		break;
	default:
		vg_mc_put_echo(reply, call, flag);
		break;
	}
}

static void answer_hit(struct vg_mc_call *call, const struct fetch *fetch, struct value *value)
{
	struct vg_mc_word rest = call->request->rest, flag;
	struct vg_mc_reply reply = { .length = 0 };
	bool with_value = vg_mc_has(call->request, 'v');
	char head[32];

	call->env->stats->hits++;
	vg_mc_counts(call->env)->get_hits++;
	if (with_value)
		snprintf(head, sizeof(head), "VA %zu", value->length);
	vg_mc_put(&reply, with_value ? head : "HD");
	if (fetch->made)
		value->facts.expire_ms = 0;
	while (vg_mc_next(&rest, &flag))
		put_hit_flag(&reply, call, fetch, value, flag);
	if (fetch->marks & VG_MC_TOKEN_SENT)
		vg_mc_put(&reply, " Z");
	if (fetch->marks & VG_MC_STALE)
		vg_mc_put(&reply, " X");
	if (fetch->won)
		vg_mc_put(&reply, " W");
	if (!with_value) {
		vg_mc_reply_end(call, &reply);
		drop(value);
		return;
	}
	vg_mc_put(&reply, "\r\n");
	answer_value(call, reply.text, reply.length, value);
}

void vg_mc_meta_get(struct vg_mc_call *call)
{
	const struct vg_mc_request *request = call->request;
	struct fetch fetch = { .call = call };
	bool versioned = vg_mc_has(request, 'c'), hit;
	struct value value;

	vg_mc_counts(call->env)->cmd_get++;
	hit = read_value(call, &call->key, versioned, &value);
	fetch.marks = hit ? value.facts.marks : 0;
	if (wants_update(call, hit, &value)) {
		int error;

		fetch.made_deadline_ms = vg_mc_deadline_ms(request->meta.vivify_ttl, call->now_ms);
		fetch.deadline_ms = vg_mc_deadline_ms(request->meta.ttl, call->now_ms);
		fetch.touched_first = touches_first(request);
		error = vg_store_update(call->env->store, &call->key, call->now_ms, fetch_update, &fetch);
		if (error) {
			if (hit)
				drop(&value);
			vg_mc_say(call, vg_mc_failure(call, error));
			return;
		}
		if (!hit && fetch.exists)
			hit = read_value(call, &call->key, versioned, &value);
	}
	if (hit)
		answer_hit(call, &fetch, &value);
	else
		answer_miss(call);
}

/* ---- me -------------------------------------------------------------------------------------------------------- */

void vg_mc_meta_debug(struct vg_mc_call *call)
{
	struct vg_mc_reply reply = { .length = 0 };
	struct vg_key_facts facts;
	char text[160];

	vg_mc_counts(call->env)->cmd_meta++;
	if (vg_store_facts(call->env->store, &call->key, call->now_ms, false, &facts)) {
		vg_mc_say(call, "EN");
		return;
	}
	vg_mc_put(&reply, "ME ");
	memcpy(reply.text + reply.length, call->request->key.data, call->request->key.length);
	reply.length += call->request->key.length;
	snprintf(text, sizeof(text), " exp=%lld la=%u cas=%llu fetch=%s cls=%u size=%llu",
		 facts.expire_ms ? -(long long)vg_mc_seconds_left(facts.expire_ms, call->now_ms) : -1,
		 facts.idle_seconds, (unsigned long long)facts.version, facts.marks & VG_MC_FETCHED ? "yes" : "no",
		 facts.in_heap, (unsigned long long)facts.memory_bytes);
	vg_mc_put(&reply, text);
	vg_mc_reply_end(call, &reply);
}
