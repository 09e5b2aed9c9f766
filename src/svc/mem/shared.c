/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/shared.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "svc/mem/events.h"
#include "svc/mem/hub.h"
#include "svc/mem/interest.h"
#include "svc/mem/snapshot.h"
#include "svc/mem/tracking.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list, while nodes come and go */
static struct vg_mem_shared *nodes;

static void shared_free(struct vg_mem_shared *shared)
{
	for (int i = 0; i < VG_MEM_WORKERS_MAX; i++)
		vg_hub_free(shared->hub[i]);
	vg_backups_free(shared->backups);
	vg_tracking_free(shared->tracking);
	vg_interest_free(shared->interest);
	shared->mem->free(shared->mem->context, shared);
}

static int shared_new(struct vg_mem_shared **ret_shared, const struct vg_env *env)
{
	struct vg_mem_shared *shared = env->mem->alloc(env->mem->context, sizeof(*shared));
	int error;

	if (!shared)
		return -ENOMEM;
	memset(shared, 0, sizeof(*shared));
	shared->store = env->store;
	shared->mem = env->mem;
	error = vg_interest_new(&shared->interest, env->mem);
	error = error ?: vg_tracking_new(&shared->tracking, env->mem);
	error = error ?: vg_backups_new(&shared->backups, env->mem);
	error = error ?: vg_store_observe(env->store, vg_events_observe, shared);
	if (error) {
		shared_free(shared);
		return error;
	}
	shared->next = nodes;
	nodes = shared;
	*ret_shared = shared;
	return 0;
}

int vg_mem_shared_join(struct vg_env *env)
{
	struct vg_mem_shared *shared;
	int error = 0;

	if (env->worker >= VG_MEM_WORKERS_MAX)
		return -ENOMEM;
	pthread_mutex_lock(&lock);
	for (shared = nodes; shared && shared->store != env->store; shared = shared->next)
		;
	if (!shared)
		error = shared_new(&shared, env);
	if (!error && !shared->hub[env->worker])
		error = vg_hub_new(&shared->hub[env->worker], shared->mem);
	if (!error) {
		shared->users++;
		shared->env[env->worker] = env;
		vg_mem_worker(env)->shared = shared;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

void vg_mem_shared_leave(struct vg_env *env)
{
	struct vg_mem_shared *shared = vg_mem_shared(env), **at = &nodes;

	if (!shared)
		return;
	pthread_mutex_lock(&lock);
	shared->env[env->worker] = NULL;
	vg_mem_worker(env)->shared = NULL;
	if (--shared->users == 0) {
		while (*at != shared)
			at = &(*at)->next;
		*at = shared->next;
		shared_free(shared);
	}
	pthread_mutex_unlock(&lock);
}
