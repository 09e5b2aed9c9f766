// SPDX-License-Identifier: GPL-3.0-or-later
/* Answers of a stream session that come late. */
#include <assert.h>
#include <string.h>

#include "svc/mem/mem.h"

void *vg_mem_wait_begin(struct vg_session *session, size_t bytes)
{
	struct vg_env *env = session->env;
	struct vg_mem_wait *wait = env->mem->alloc(env->mem->context, bytes);

	assert(bytes >= sizeof(*wait));
	if (!wait)
		return NULL;
	memset(wait, 0, bytes);
	wait->env = env;
	wait->session = session;
	wait->ref = vg_session_ref(session);
	return wait;
}

static void wait_free(struct vg_mem_wait *wait)
{
	wait->env->mem->free(wait->env->mem->context, wait);
}

void vg_mem_wait_leave(struct vg_mem_wait *wait)
{
	assert(!wait->left);
	if (wait->answered) {
		wait_free(wait);
		return;
	}
	wait->left = true;
	vg_session_pause(wait->session);
	wait->session = NULL; /* from now on only what vg_session_find says */
}

struct vg_session *vg_mem_wait_session(const struct vg_mem_wait *wait)
{
	return wait->left ? vg_session_find(wait->env, wait->ref) : wait->session;
}

void vg_mem_wait_answered(struct vg_mem_wait *wait)
{
	struct vg_session *session;

	assert(!wait->answered);
	wait->answered = true;
	if (!wait->left)
		return;
	session = vg_mem_wait_session(wait);
	wait_free(wait);
	if (session)
		vg_session_resume(session);
}
