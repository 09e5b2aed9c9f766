/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Mail between workers: a stack that any thread pushes to and its owner takes whole. The exchange acquires what the
 * pushes released, so the owner sees what the sender wrote before it posted.
 */
#include "node/world.h"

void vg_env_post(struct vg_env *env, __u32 number, struct vg_mail *mail)
{
	struct vg_worker *worker = &((struct vg_worker *)env->node)->world->workers[number];

	mail->next = __atomic_load_n(&worker->mail, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&worker->mail, &mail->next, mail, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	vg_io_wake(worker->io);
}

void vg_worker_take_mail(struct vg_worker *worker)
{
	struct vg_mail *mail = __atomic_exchange_n(&worker->mail, NULL, __ATOMIC_ACQUIRE), *oldest = NULL, *next;

	for (; mail; mail = next) {
		next = mail->next;
		mail->next = oldest;
		oldest = mail;
	}
	for (; oldest; oldest = next) {
		next = oldest->next;
		oldest->fn(&worker->env, oldest);
	}
}
