/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Open files, and what a request is about. A node of the pool that was started anew, or a session whose lease is over,
 * leaves descriptors that nobody knows (ESTALE): the file is opened again by its path, if that is still the same file.
 * Two things such a file cannot keep quiet about: locks, which are gone, so that a file with locks stays stale; and
 * what was written and not synced, which the node may have lost: the next fsync fails once.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/log.h"
#include "mount/mount.h"

#define TRIES_MAX 5
#define REOPEN_FLAGS (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC)

int handle_new(struct mount *mount, struct node *node, int flags, struct virgo_file *file, struct handle **ret_handle)
{
	struct handle *handle = calloc(1, sizeof(*handle));
	struct opened *opened = calloc(1, sizeof(*opened));

	if (!handle || !opened) {
		free(handle);
		free(opened);
		return -ENOMEM;
	}
	*opened = (struct opened){ .file = file, .references = 1 };
	*handle = (struct handle){ .node = node, .flags = flags & REOPEN_FLAGS, .opened = opened };
	pthread_mutex_init(&handle->reopening, NULL);
	pthread_mutex_lock(&mount->tree.lock);
	handle->next = node->handles;
	handle->link = &node->handles;
	if (handle->next)
		handle->next->link = &handle->next;
	node->handles = handle;
	pthread_mutex_unlock(&mount->tree.lock);
	*ret_handle = handle;
	return 0;
}

static void opened_put(struct mount *mount, struct client *client, struct opened *opened)
{
	bool last;

	pthread_mutex_lock(&mount->tree.lock);
	last = --opened->references == 0;
	pthread_mutex_unlock(&mount->tree.lock);
	if (last) {
		/* The file is closed whatever is said: nobody waits for it. */
		(void)virgo_close(client->virgo, opened->file);
		free(opened);
	}
}

void handle_free(struct mount *mount, struct client *client, struct handle *handle)
{
	pthread_mutex_lock(&mount->tree.lock);
	*handle->link = handle->next;
	if (handle->next)
		handle->next->link = handle->link;
	pthread_mutex_unlock(&mount->tree.lock);
	opened_put(mount, client, handle->opened);
	pthread_mutex_destroy(&handle->reopening);
	free(handle);
}

void handles_end(struct mount *mount)
{
	int error = 0;

	for (struct node *node = mount->tree.all; node; node = node->after)
		while (node->handles && !error) {
			struct handle *handle = node->handles;

			node->handles = handle->next;
			/* Where nobody answers, nobody is waited for: the session ends with its lease. */
			error = virgo_close(mount->clients.first, handle->opened->file);
			pthread_mutex_destroy(&handle->reopening);
			free(handle->opened);
			free(handle);
		}
}

/* Open again what became stale, unless another thread has done so. 0, or -ESTALE, or what else stands in the way. */
static int reopen(struct mount *mount, struct client *client, struct handle *handle, struct opened *stale)
{
	struct node *node = handle->node;
	const struct virgo_file_stat *stat;
	struct virgo_file *file = NULL;
	struct opened *opened = NULL, *former = NULL;
	char path[MOUNT_PATH_BYTES];
	int error = 0;

	pthread_mutex_lock(&handle->reopening);
	pthread_mutex_lock(&mount->tree.lock);
	if (handle->opened == stale)
		error = handle->locked ? -ESTALE : tree_path(&mount->tree, node, NULL, path);
	pthread_mutex_unlock(&mount->tree.lock);
	if (error || handle->opened != stale)
		goto out;
	opened = calloc(1, sizeof(*opened));
	error = opened ? virgo_open(client->virgo, path, handle->flags | O_NOFOLLOW, 0, &file) : -ENOMEM;
	if (error) {
		error = error == -ENOENT || error == -ELOOP ? -ESTALE : error;
		goto out;
	}
	stat = virgo_opened_stat(file);
	pthread_mutex_lock(&mount->tree.lock);
	if (stat->inode == node->inode && stat->created_ns == node->created_ns) {
		*opened = (struct opened){ .file = file, .references = 1 };
		handle->opened = opened;
		former = stale;
		node->lost |= node->dirty;
		node->dirty = false;
	}
	pthread_mutex_unlock(&mount->tree.lock);
	if (former) {
		opened_put(mount, client, former);
		vg_log(VG_LOG_NOTICE, "file opened again", "inode=%llx lost=%d", (unsigned long long)node->inode,
		       node->lost);
		opened = NULL;
	} else {
		(void)virgo_close(client->virgo, file);
		error = -ESTALE;
	}
out:
	free(opened);
	pthread_mutex_unlock(&handle->reopening);
	return error;
}

int target_find(struct mount *mount, struct client *client, struct target *target)
{
	struct tree *tree = &mount->tree;
	const struct renames *renames = &tree->renames[target->name != NULL];
	struct handle *handle = target->handle;
	int error = 0;

	target->opened = NULL;
	pthread_mutex_lock(&tree->lock);
	/* One that is under way makes the path doubtful, too: then this number never comes again. */
	target->renames = renames->ended - (renames->running ? 1 : 0);
	if (target->prefer_open && !handle)
		handle = target->node->handles;
	if (!handle) {
		error = tree_path(tree, target->node, target->name, target->path);
		if (error == -ESTALE && !target->name && target->node->handles) {
			error = 0;
			handle = target->node->handles;
		}
	}
	if (handle) {
		target->opened = handle->opened;
		target->opened->references++;
	}
	pthread_mutex_unlock(&tree->lock);
	return error;
}

/* Whether something was renamed since the path was made, so that another one may be right. */
static bool path_is_doubtful(struct mount *mount, const struct target *target)
{
	struct tree *tree = &mount->tree;
	const struct renames *renames = &tree->renames[target->name != NULL];
	__u64 ended;
	bool doubtful;

	pthread_mutex_lock(&tree->lock);
	ended = renames->ended;
	doubtful = target->renames != ended;
	while (doubtful && renames->running && renames->ended == ended)
		pthread_cond_wait(&tree->renamed_cond, &tree->lock);
	pthread_mutex_unlock(&tree->lock);
	return doubtful;
}

void target_put(struct mount *mount, struct client *client, struct target *target)
{
	if (target->opened)
		opened_put(mount, client, target->opened);
	target->opened = NULL;
}

bool target_again(struct mount *mount, struct client *client, struct target *target, int *error)
{
	struct opened *opened = target->opened;
	bool again = false, unknown = *error == -EREMOTEIO && target->repeatable;

	target->opened = NULL;
	if (unknown)
		target->repeatable = false;
	/* Its session is gone, then, and the descriptor with it. */
	if (opened && (*error == -ESTALE || unknown) && target->tries++ < TRIES_MAX) {
		if (target->handle) {
			*error = reopen(mount, client, target->handle, opened);
			again = !*error;
		} else {
			again = target->prefer_open;
			target->prefer_open = false;
		}
	}
	if (opened) {
		opened_put(mount, client, opened);
		return again;
	}
	if (unknown)
		return true;
	if (*error != -ENOENT && *error != -ENOTDIR)
		return false;
	if (target->tries++ < TRIES_MAX && path_is_doubtful(mount, target))
		return true;
	/* The kernel's idea of where this is may be old: it looks every name of the path up again, and then knows. */
	if (!target->name)
		*error = -ESTALE;
	return false;
}
