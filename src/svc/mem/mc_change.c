// SPDX-License-Identifier: GPL-3.0-or-later
/* What changes a key that is there: incr, decr, ma, touch, delete, md. */
#include <errno.h>

#include <string.h>

#include "svc/mem/mc_item.h"

#define DIGITS_MAX 20
#define TRIES_MAX 8 /* while others make the value longer and longer */

static const char not_a_number[] = "CLIENT_ERROR cannot increment or decrement non-numeric value";

/* ---- numbers --------------------------------------------------------------------------------------------------- */

struct add {
	const struct vg_mc_call *call;
	bool down, makes;   /* makes: N: a key that is not there begins with `initial` */
	__u64 delta, initial, made_deadline_ms;
	__u64 version;	    /* what it gets, 0: none */
	bool has_deadline;  /* T */
	__u64 deadline_ms;
	__u64 compare;	    /* C, 0: any */
	bool found, matches, made;
	__u64 kept_deadline_ms;
	size_t length;	    /* of the digits */
	char text[DIGITS_MAX];
	char *blanks;	    /* behind the digits; of env->mem when more are needed than there are */
	__u64 blanks_length;
};

static size_t digits(char *text, __u64 number)
{
	char backwards[DIGITS_MAX];
	size_t length = 0;

	do
		backwards[length++] = (char)('0' + number % 10);
	while (number /= 10);
	for (size_t i = 0; i < length; i++)
		text[i] = backwards[length - 1 - i];
	return length;
}

/* A number shorter than the value that was there is followed by blanks up to its length, as memcached leaves it. */
static int add_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct add *add = context;
	__u64 value, left;

	add->found = old->exists || add->makes;
	add->made = !old->exists;
	if (!add->found)
		return 0;
	if (old->exists && !old->length)
		return -EDOM;
	add->matches = !old->exists || !add->compare || add->compare == old->version;
	if (!add->matches)
		return 0;
	if (old->exists && !vg_mc_number(old->value, old->length, &value))
		return -EDOM;
	if (!old->exists)
		value = add->initial;
	else if (add->down)
		value = value > add->delta ? value - add->delta : 0;
	else
		value += add->delta;
	add->length = digits(add->text, value);
	vg_mc_keep(old, change);
	change->version = add->version;
	if (!old->exists || add->length > old->length)
		change->marks = 0; /* a number that needs more room is a new value, for memcached too */
	change->part[0] = (struct vg_part){ add->text, add->length };
	left = old->exists && old->length > add->length ? old->length - add->length : 0;
	if (left > add->blanks_length) {
		add->blanks_length = left;
		return -EAGAIN;
	}
	change->part[1] = (struct vg_part){ add->blanks, left };
	change->parts = 2;
	add->kept_deadline_ms = change->expire_ms;
	if (add->made || add->has_deadline)
		vg_mc_keep_until(change, vg_mc_last_deadline(add->call->request, add->made, add->made_deadline_ms,
							     add->deadline_ms), add->call->now_ms);
	return 0;
}

/* Text that begins with a number is a number, however much of it there is: more blanks may be needed. */
static int run_add_with_blanks(struct vg_mc_call *call, struct add *add)
{
	const struct vg_mem *mem = call->env->mem;
	char few[DIGITS_MAX];
	int error = -EAGAIN;

	memset(few, ' ', sizeof(few));
	add->blanks = few;
	add->blanks_length = sizeof(few);
	for (int tries = 0; error == -EAGAIN && tries < TRIES_MAX; tries++) {
		if (add->blanks_length > sizeof(few)) {
			if (add->blanks != few)
				mem->free(mem->context, add->blanks);
			add->blanks = mem->alloc(mem->context, add->blanks_length);
			if (!add->blanks)
				return -ENOMEM;
			memset(add->blanks, ' ', add->blanks_length);
		}
		error = vg_store_update(call->env->store, &call->key, call->now_ms, add_update, add);
	}
	if (add->blanks != few)
		mem->free(mem->context, add->blanks);
	return error;
}

static int run_add(struct vg_mc_call *call, struct add *add)
{
	struct vg_mc_counts *counts = vg_mc_counts(call->env);
	int error = run_add_with_blanks(call, add);

	if (!error && !add->found)
		*(add->down ? &counts->decr_misses : &counts->incr_misses) += 1;
	else if (!error)
		*(add->down ? &counts->decr_hits : &counts->incr_hits) += 1;
	return error;
}

void vg_mc_arithmetic(struct vg_mc_call *call)
{
	struct add add = { .call = call, .down = call->request->verb == VG_MC_DECR, .delta = call->request->number };
	int error = run_add(call, &add);

	if (error == -EDOM) {
		vg_mc_say(call, not_a_number);
	} else if (error) {
		vg_mc_say(call, vg_mc_failure(call, error));
	} else if (!add.found) {
		vg_mc_say(call, "NOT_FOUND");
	} else if (!call->request->quiet) {
		vg_out_append(call->out, add.text, add.length);
		vg_out_append(call->out, "\r\n", 2);
	}
}

/* The flags of an answer with a number, in their order: t before T tells the deadline before it. */
static void put_number_flags(struct vg_mc_call *call, const struct add *add, struct vg_mc_reply *reply)
{
	struct vg_mc_word rest = call->request->rest, flag;
	__u64 deadline_ms = add->made ? 0 : add->kept_deadline_ms;

	while (vg_mc_next(&rest, &flag)) {
		switch (flag.data[0]) {
		case 'c':
			vg_mc_put_flag(reply, 'c', add->version);
			break;
		case 't':
			vg_mc_put_ttl(reply, deadline_ms, call->now_ms);
			break;
		case 'T':
			deadline_ms = add->deadline_ms;
			break;
		case 'N':
			deadline_ms = add->made ? add->made_deadline_ms : deadline_ms;
			break;
		default:
			vg_mc_put_echo(reply, call, flag);
			break;
		}
	}
}

static void answer_add(struct vg_mc_call *call, const struct add *add)
{
	struct vg_mc_word rest = call->request->rest, flag;
	struct vg_mc_reply reply = { .length = 0 };
	bool done = add->found && add->matches, with_value = done && vg_mc_has(call->request, 'v');
	char head[16] = "VA ";

	if (done && call->request->quiet && !add->made) /* that a key was made is told all the same */
		return;
	if (with_value)
		head[3 + digits(head + 3, add->length)] = '\0';
	vg_mc_put(&reply, with_value ? head : done ? "HD" : add->found ? "EX" : "NF");
	if (done)
		put_number_flags(call, add, &reply);
	while (!done && vg_mc_next(&rest, &flag))
		vg_mc_put_echo(&reply, call, flag);
	if (with_value) {
		vg_mc_put(&reply, "\r\n");
		memcpy(reply.text + reply.length, add->text, add->length);
		reply.length += add->length;
	}
	vg_mc_reply_end(call, &reply);
}

void vg_mc_meta_arithmetic(struct vg_mc_call *call)
{
	const struct vg_mc_request *request = call->request;
	const struct vg_mc_meta *meta = &request->meta;
	struct add add = {
		.call = call,
		.down = meta->mode == 'D' || meta->mode == 'd' || meta->mode == '-',
		.makes = vg_mc_has(request, 'N'),
		.delta = meta->delta,
		.initial = meta->initial,
		.made_deadline_ms = vg_mc_deadline_ms(meta->vivify_ttl, call->now_ms),
		.has_deadline = vg_mc_has(request, 'T'),
		.deadline_ms = vg_mc_deadline_ms(meta->ttl, call->now_ms),
		.compare = meta->compare,
		.version = vg_mc_has(request, 'c') ? vg_store_version_new(call->env->store) : 0,
	};
	int error = run_add(call, &add);

	if (!error) {
		answer_add(call, &add);
		return;
	}
	vg_out_append(call->out, error == -EDOM ? not_a_number : vg_mc_failure(call, error),
		      strlen(error == -EDOM ? not_a_number : vg_mc_failure(call, error)));
	vg_out_append(call->out, "\r\n", 2);
}

/* ---- touch ----------------------------------------------------------------------------------------------------- */

struct touch {
	__u64 deadline_ms, now_ms;
	bool found;
};

static int touch_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct touch *touch = context;

	touch->found = old->exists;
	if (!old->exists)
		return 0;
	change->action = VG_CHANGE_DEADLINE;
	vg_mc_keep_until(change, touch->deadline_ms, touch->now_ms);
	return 0;
}

void vg_mc_touch(struct vg_mc_call *call)
{
	struct vg_mc_counts *counts = vg_mc_counts(call->env);
	struct touch touch = { vg_mc_deadline_ms(call->request->exptime, call->now_ms), call->now_ms, false };
	int error = vg_store_update(call->env->store, &call->key, call->now_ms, touch_update, &touch);

	counts->cmd_touch++;
	counts->touch_hits += touch.found;
	counts->touch_misses += !touch.found;
	vg_mc_say(call, error ? vg_mc_failure(call, error) : touch.found ? "TOUCHED" : "NOT_FOUND");
}

/* ---- delete ---------------------------------------------------------------------------------------------------- */

struct delete {
	const struct vg_mc_call *call;
	__u64 version; /* I: what it gets */
	bool found, matches;
};

static int delete_update(void *context, const struct vg_entry *old, struct vg_change *change)
{
	struct delete *delete = context;
	const struct vg_mc_request *request = delete->call->request;

	delete->found = old->exists;
	delete->matches = old->exists && (!vg_mc_has(request, 'C') ||
					  (old->version && old->version == request->meta.compare));
	if (!delete->matches)
		return 0;
	if (!vg_mc_has(request, 'I')) {
		change->action = VG_CHANGE_DELETE;
		return 0;
	}
	vg_mc_keep(old, change);
	change->version = delete->version;
	change->marks = (old->marks | VG_MC_STALE) & ~(__u32)VG_MC_TOKEN_SENT;
	if (vg_mc_has(request, 'T'))
		vg_mc_keep_until(change, vg_mc_deadline_ms(request->meta.ttl, delete->call->now_ms),
				 delete->call->now_ms);
	return 0;
}

static int run_delete(struct vg_mc_call *call, struct delete *delete)
{
	struct vg_mc_counts *counts = vg_mc_counts(call->env);
	int error;

	delete->call = call;
	if (vg_mc_has(call->request, 'I'))
		delete->version = vg_store_version_new(call->env->store);
	error = vg_store_update(call->env->store, &call->key, call->now_ms, delete_update, delete);
	counts->delete_hits += delete->matches;
	counts->delete_misses += !delete->matches;
	return error;
}

void vg_mc_delete(struct vg_mc_call *call)
{
	struct delete delete = { .found = false };
	int error = run_delete(call, &delete);

	vg_mc_say(call, error ? vg_mc_failure(call, error) : delete.found ? "DELETED" : "NOT_FOUND");
}

void vg_mc_meta_delete(struct vg_mc_call *call)
{
	struct vg_mc_word rest = call->request->rest, flag;
	struct vg_mc_reply reply = { .length = 0 };
	struct delete delete = { .found = false };
	int error = run_delete(call, &delete);

	if (error) {
		vg_mc_say(call, vg_mc_failure(call, error));
		return;
	}
	if (call->request->quiet && delete.matches)
		return;
	vg_mc_put(&reply, delete.matches ? "HD" : delete.found ? "EX" : "NF");
	while (vg_mc_next(&rest, &flag))
		vg_mc_put_echo(&reply, call, flag);
	vg_mc_reply_end(call, &reply);
}
