/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Locks, which are the node's: other mounts see them. What has to wait waits in a thread of its own, with a client of
 * its own, so that the threads that answer the kernel are free for the unlock it waits for. A request that is
 * interrupted ends its wait by a signal, which makes libvirgo return EINTR.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "mount/mount.h"

struct waiter {
	struct waiter *next, **link;
	struct mount *mount;
	fuse_req_t req;
	struct handle *handle;
	__u64 owner;
	struct flock lock;
	int operation; /* of flock(2); 0: `lock` */
	pthread_t thread;
	bool interrupted;
};

void waiters_init(struct waiters *waiters)
{
	*waiters = (struct waiters){ 0 };
	pthread_mutex_init(&waiters->lock, NULL);
	pthread_cond_init(&waiters->ended, NULL);
}

void waiters_kick(struct waiters *waiters)
{
	pthread_mutex_lock(&waiters->lock);
	for (struct waiter *waiter = waiters->first; waiter; waiter = waiter->next) {
		if (waiter->interrupted || waiters->closing)
			(void)pthread_kill(waiter->thread, SIGUSR1);
	}
	pthread_mutex_unlock(&waiters->lock);
}

void waiters_deinit(struct waiters *waiters)
{
	pthread_mutex_lock(&waiters->lock);
	waiters->closing = true;
	while (waiters->count) {
		struct timespec soon;

		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 50000000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_nsec -= 1000000000;
			soon.tv_sec++;
		}
		pthread_mutex_unlock(&waiters->lock);
		waiters_kick(waiters);
		pthread_mutex_lock(&waiters->lock);
		if (waiters->count)
			(void)pthread_cond_timedwait(&waiters->ended, &waiters->lock, &soon);
	}
	pthread_mutex_unlock(&waiters->lock);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

static int ask(struct mount *mount, struct client *client, struct waiter *waiter, bool wait)
{
	struct target target = TARGET(waiter->handle, waiter->handle->node, NULL);
	int error;

	do {
		error = target_find(mount, client, &target);
		if (error)
			continue;
		if (waiter->operation)
			error = virgo_flock(client->virgo, target.opened->file, waiter->owner,
					    waiter->operation | (wait ? 0 : LOCK_NB));
		else
			error = virgo_lock(client->virgo, target.opened->file, waiter->owner, wait ? F_SETLKW : F_SETLK,
					   &waiter->lock);
	} while (target_again(mount, client, &target, &error));
	return error;
}

static bool is_unlock(const struct waiter *waiter)
{
	return waiter->operation ? waiter->operation == LOCK_UN : waiter->lock.l_type == F_UNLCK;
}

/* From now on closing gives locks back, and a node that was started anew is noticed. */
static void note_locked(struct mount *mount, struct handle *handle)
{
	pthread_mutex_lock(&mount->tree.lock);
	handle->locked = true;
	handle->node->locked = true;
	pthread_mutex_unlock(&mount->tree.lock);
}

static void on_interrupt(fuse_req_t req, void *context)
{
	struct waiter *waiter = context;

	pthread_mutex_lock(&waiter->mount->waiters.lock);
	waiter->interrupted = true;
	pthread_mutex_unlock(&waiter->mount->waiters.lock);
	/* The watcher wakes it, and again until it has heard. */
	(void)pthread_kill(waiter->mount->watcher, SIGUSR2);
}

static void *wait_thread(void *context)
{
	struct waiter *waiter = context;
	struct mount *mount = waiter->mount;
	struct client *client = clients_take(&mount->clients);
	sigset_t kick;
	int error;

	/* For itself by now. */
	sigemptyset(&kick);
	sigaddset(&kick, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	fuse_req_interrupt_func(waiter->req, on_interrupt, waiter);
	do {
		error = client ? ask(mount, client, waiter, true) : -ENOMEM;
		pthread_mutex_lock(&mount->waiters.lock);
		/* A signal that was not for us. */
		if (error == -EINTR && !waiter->interrupted && !mount->waiters.closing)
			error = -ERESTART;
		pthread_mutex_unlock(&mount->waiters.lock);
	} while (error == -ERESTART);
	if (!error)
		note_locked(mount, waiter->handle);
	fuse_req_interrupt_func(waiter->req, NULL, NULL);
	reply_error(waiter->req, error);
	if (client)
		clients_put(&mount->clients, client);

	pthread_mutex_lock(&mount->waiters.lock);
	*waiter->link = waiter->next;
	if (waiter->next)
		waiter->next->link = waiter->link;
	mount->waiters.count--;
	pthread_cond_broadcast(&mount->waiters.ended);
	pthread_mutex_unlock(&mount->waiters.lock);
	free(waiter);
	return NULL;
}

/* Hand it to a thread. -ENOLCK: there are too many. */
static int start_waiting(struct mount *mount, const struct waiter *asked)
{
	struct waiters *waiters = &mount->waiters;
	struct waiter *waiter = malloc(sizeof(*waiter));
	pthread_attr_t attributes;
	int error;

	if (!waiter)
		return -ENOMEM;
	*waiter = *asked;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&waiters->lock);
	error = waiters->count < MOUNT_WAITERS_MAX && !waiters->closing ?
			-pthread_create(&waiter->thread, &attributes, wait_thread, waiter) :
			-ENOLCK;
	if (!error) {
		waiter->next = waiters->first;
		waiter->link = &waiters->first;
		if (waiter->next)
			waiter->next->link = &waiter->next;
		waiters->first = waiter;
		waiters->count++;
	}
	pthread_mutex_unlock(&waiters->lock);
	pthread_attr_destroy(&attributes);
	if (error)
		free(waiter);
	return error;
}

static void lock_or_wait(fuse_req_t req, struct waiter *waiter, bool wait)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	int error;

	waiter->mount = mount;
	waiter->req = req;
	if (!client)
		return;
	error = ask(mount, client, waiter, false);
	clients_put(&mount->clients, client);
	if (error == -EACCES)
		error = -EAGAIN;
	if (error == -EAGAIN && wait) {
		error = start_waiting(mount, waiter);
		if (!error)
			return; /* the thread replies */
	}
	if (!error && !is_unlock(waiter))
		note_locked(mount, waiter->handle);
	reply_error(req, error);
}

void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct flock *lock, int sleep)
{
	struct waiter waiter = { .handle = handle_of(info), .owner = info->lock_owner, .lock = *lock };

	lock_or_wait(req, &waiter, sleep);
}

void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, int operation)
{
	struct waiter waiter = {
		.handle = handle_of(info), .owner = info->lock_owner, .operation = operation & ~LOCK_NB
	};

	lock_or_wait(req, &waiter, !(operation & LOCK_NB));
}

void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct flock *lock)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct handle *handle = handle_of(info);
	struct target target = TARGET(handle, handle->node, NULL);
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error)
			error = virgo_lock(client->virgo, target.opened->file, info->lock_owner, F_GETLK, lock);
	} while (target_again(mount, client, &target, &error));
	clients_put(&mount->clients, client);
	if (error)
		reply_error(req, error);
	else
		fuse_reply_lock(req, lock);
}
