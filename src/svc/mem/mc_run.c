// SPDX-License-Identifier: GPL-3.0-or-later
/* One request: its handler, and the pieces that answers are made of. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "svc/mem/hotkeys.h"
#include "svc/mem/mc_item.h"

static bool changes(enum vg_mc_verb verb)
{
	return verb == VG_MC_GAT || verb == VG_MC_GATS || (verb >= VG_MC_SET && verb <= VG_MC_FLUSH_ALL) ||
	       (verb >= VG_MC_META_SET && verb <= VG_MC_META_ARITHMETIC);
}

/* The log cannot be written: see vg_env_refuses. */
static bool refused(struct vg_mc_call *call)
{
	char text[192];

	if (!vg_env_refuses(call->env) || !changes(call->request->verb))
		return false;
	vg_refuse(call->env, VG_REFUSAL_NOT_LOGGED);
	snprintf(text, sizeof(text), "SERVER_ERROR %s", vg_env_refusal(call->env));
	vg_mc_say(call, text);
	return true;
}

void vg_mc_run(struct vg_mc_call *call)
{
	struct vg_hot_sketch *hot = vg_mem_worker(call->env)->hot;

	if (call->key.length && vg_hot_takes(hot))
		vg_hot_take(hot, call->env, call->key.data, call->key.length, call->key.hash);
	if (refused(call))
		return;
	switch (call->request->verb) {
	case VG_MC_GET:
	case VG_MC_GETS:
	case VG_MC_GAT:
	case VG_MC_GATS:
		vg_mc_get(call);
		break;
	case VG_MC_SET:
	case VG_MC_ADD:
	case VG_MC_REPLACE:
	case VG_MC_APPEND:
	case VG_MC_PREPEND:
	case VG_MC_CAS:
		vg_mc_store(call);
		break;
	case VG_MC_INCR:
	case VG_MC_DECR:
		vg_mc_arithmetic(call);
		break;
	case VG_MC_TOUCH:
		vg_mc_touch(call);
		break;
	case VG_MC_DELETE:
		vg_mc_delete(call);
		break;
	case VG_MC_FLUSH_ALL:
		vg_mc_flush_all(call);
		break;
	case VG_MC_STATS:
		vg_mc_stats(call);
		break;
	case VG_MC_VERSION:
		vg_mc_say(call, "VERSION " VG_MC_VERSION_TEXT);
		break;
	case VG_MC_VERBOSITY: /* logging is the node's own business: taken, and without effect */
		vg_mc_say(call, "OK");
		break;
	case VG_MC_QUIT:
		if (call->session)
			call->session->finish = true;
		break;
	case VG_MC_META_GET:
		vg_mc_meta_get(call);
		break;
	case VG_MC_META_SET:
		vg_mc_meta_set(call);
		break;
	case VG_MC_META_DELETE:
		vg_mc_meta_delete(call);
		break;
	case VG_MC_META_ARITHMETIC:
		vg_mc_meta_arithmetic(call);
		break;
	case VG_MC_META_NOOP:
		vg_mc_say(call, "MN");
		break;
	case VG_MC_META_DEBUG:
		vg_mc_meta_debug(call);
		break;
	case VG_MC_ERROR:
	case VG_MC_VERB_MAX:
		assert(false); /* the face has answered it */
	}
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

void vg_mc_say(struct vg_mc_call *call, const char *text)
{
	if (call->request->quiet)
		return;
	vg_out_append(call->out, text, strlen(text));
	vg_out_append(call->out, "\r\n", 2);
}

const char *vg_mc_failure(struct vg_mc_call *call, int error)
{
	switch (error) {
	case -EMSGSIZE:
		vg_refuse(call->env, VG_REFUSAL_TOO_LONG);
		vg_mc_counts(call->env)->store_too_large++;
		return "SERVER_ERROR object too large for cache";
	case -ENOMEM:
	case -ENOSPC:
		vg_refuse(call->env, VG_REFUSAL_NO_MEMORY);
		vg_mc_counts(call->env)->store_no_memory++;
		return "SERVER_ERROR out of memory storing object";
	case -ELOOP:
		vg_refuse(call->env, VG_REFUSAL_NO_MEMORY);
		return "SERVER_ERROR too many keys collide with this one";
	}
	return "SERVER_ERROR the change could not be made";
}

void vg_mc_put(struct vg_mc_reply *reply, const char *text)
{
	size_t length = strlen(text);

	assert(reply->length + length <= sizeof(reply->text));
	memcpy(reply->text + reply->length, text, length);
	reply->length += length;
}

void vg_mc_put_flag(struct vg_mc_reply *reply, char flag, __u64 number)
{
	char text[24], *at = text + sizeof(text);

	*--at = '\0';
	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	*--at = flag;
	*--at = ' ';
	vg_mc_put(reply, at);
}

void vg_mc_put_ttl(struct vg_mc_reply *reply, __u64 deadline_ms, __u64 now_ms)
{
	if (!deadline_ms)
		vg_mc_put(reply, " t-1");
	else
		vg_mc_put_flag(reply, 't', vg_mc_seconds_left(deadline_ms, now_ms));
}

static void put_word(struct vg_mc_reply *reply, const char *data, size_t length)
{
	assert(reply->length + length < sizeof(reply->text));
	memcpy(reply->text + reply->length, data, length);
	reply->length += length;
}

bool vg_mc_put_echo(struct vg_mc_reply *reply, const struct vg_mc_call *call, struct vg_mc_word flag)
{
	bool binary = vg_mc_has(call->request, 'b');

	if (flag.data[0] == 'O') {
		vg_mc_put(reply, " ");
		put_word(reply, flag.data, flag.length);
	} else if (flag.data[0] == 'k') {
		vg_mc_put(reply, " k");
		put_word(reply, call->request->key.data, call->request->key.length);
		if (binary)
			vg_mc_put(reply, " b");
	}
	return flag.data[0] == 'O' || flag.data[0] == 'k';
}

void vg_mc_reply_end(struct vg_mc_call *call, struct vg_mc_reply *reply)
{
	vg_mc_put(reply, "\r\n");
	vg_out_append(call->out, reply->text, reply->length);
}
