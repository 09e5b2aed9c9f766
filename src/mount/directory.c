/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lists of directories. The whole list is taken when it is read from its start, so that positions in it stay what they
 * are. What stat said of an entry is passed on only while it is young and this mount has changed no name since: the
 * kernel would believe in a file that has just been removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "mount/mount.h"

#define YOUNG_NS 1000000000ull

struct entry {
	struct virgo_file_stat stat;
	size_t name; /* where it begins in `names` */
};

struct directory {
	struct directory *next, **link; /* of all open ones */
	pthread_mutex_t lock;
	struct node *node;
	struct entry *entries;
	size_t count, entries_max;
	char *names;
	size_t names_length, names_max;
	int error; /* at its end */
	__u64 changes, listed_ns;
};

static struct directory *directory_of(const struct fuse_file_info *info)
{
	return (struct directory *)(uintptr_t)info->fh;
}

static void directory_free(struct mount *mount, struct directory *directory)
{
	pthread_mutex_lock(&mount->tree.lock);
	*directory->link = directory->next;
	if (directory->next)
		directory->next->link = directory->link;
	pthread_mutex_unlock(&mount->tree.lock);
	pthread_mutex_destroy(&directory->lock);
	free(directory->entries);
	free(directory->names);
	free(directory);
}

void directories_end(struct mount *mount)
{
	while (mount->directories)
		directory_free(mount, mount->directories);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct directory *directory = calloc(1, sizeof(*directory));

	if (!directory) {
		reply_error(req, -ENOMEM);
		return;
	}
	pthread_mutex_init(&directory->lock, NULL);
	directory->node = tree_node(&mount->tree, ino);
	pthread_mutex_lock(&mount->tree.lock);
	directory->next = mount->directories;
	directory->link = &mount->directories;
	if (directory->next)
		directory->next->link = &directory->next;
	mount->directories = directory;
	pthread_mutex_unlock(&mount->tree.lock);
	info->fh = (uintptr_t)directory;
	if (fuse_reply_open(req, info) == -ENOENT)
		directory_free(mount, directory);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	directory_free(mount_of(req), directory_of(info));
	fuse_reply_err(req, 0);
}

/* Room for one more of `bytes`, of which there are `count`. */
static bool make_room(void **array, size_t *max, size_t count, size_t more, size_t bytes)
{
	size_t wanted = *max ? *max : 64;
	void *larger;

	while (wanted < count + more)
		wanted *= 2;
	if (wanted == *max)
		return true;
	larger = realloc(*array, wanted * bytes);
	if (!larger)
		return false;
	*array = larger;
	*max = wanted;
	return true;
}

static int take_entry(void *context, const char *name, const struct virgo_file_stat *stat)
{
	struct directory *directory = context;
	size_t bytes = strlen(name) + 1;

	if (!make_room((void **)&directory->entries, &directory->entries_max, directory->count, 1,
		       sizeof(*directory->entries)) ||
	    !make_room((void **)&directory->names, &directory->names_max, directory->names_length, bytes, 1))
		return -ENOMEM;
	directory->entries[directory->count++] = (struct entry){ .stat = *stat, .name = directory->names_length };
	memcpy(directory->names + directory->names_length, name, bytes);
	directory->names_length += bytes;
	return 0;
}

static __u64 now_ns(void)
{
	struct vg_clock clock;

	vg_clock_update(&clock);
	return clock.monotonic_ns;
}

/* 0: `entries` has what there is, and `error` what is said behind it. */
static int list(struct mount *mount, struct directory *directory)
{
	struct client *client = clients_take(&mount->clients);
	struct target target = TARGET(NULL, directory->node, NULL);
	bool removed;
	int error;

	if (!client)
		return -ENOMEM;
	do {
		directory->count = directory->names_length = 0;
		directory->changes = tree_changes(&mount->tree);
		directory->listed_ns = now_ns();
		error = target_find(mount, client, &target);
		removed = error == -ESTALE || target.opened;
		if (!removed && !error)
			error = virgo_list(client->virgo, target.path, take_entry, directory);
	} while (target_again(mount, client, &target, &error));
	clients_put(&mount->clients, client);
	/* readdir(3) takes ENOENT for the end of an empty directory: it is said only of one that was removed here. */
	if (removed)
		error = -ENOENT;
	else if (error == -ENOENT)
		error = -ESTALE;
	/* A node is silent: what the others have is shown, and then that it is not all. */
	directory->error = directory->count ? error : 0;
	return directory->count ? 0 : error;
}

struct reply {
	char *buffer;
	size_t size, used;
};

/* "." and "..", which stand at 1 and 2; entry i at i + 3. */
static bool add_dot(fuse_req_t req, struct reply *reply, const char *name, off_t next, bool plus)
{
	struct fuse_entry_param none = { .attr = { .st_ino = FUSE_ROOT_ID, .st_mode = S_IFDIR } };
	char *at = reply->buffer + reply->used;
	size_t left = reply->size - reply->used;
	size_t bytes = plus ? fuse_add_direntry_plus(req, at, left, name, &none, next) :
			      fuse_add_direntry(req, at, left, name, &none.attr, next);

	if (bytes > left)
		return false;
	reply->used += bytes;
	return true;
}

static bool add_plus(fuse_req_t req, struct reply *reply, struct directory *directory, size_t index, bool known)
{
	struct mount *mount = mount_of(req);
	const struct entry *entry = &directory->entries[index];
	const char *name = directory->names + entry->name;
	struct fuse_entry_param param = { .attr = { .st_ino = entry->stat.inode, .st_mode = entry->stat.mode } };
	size_t left = reply->size - reply->used;
	size_t bytes = fuse_add_direntry_plus(req, NULL, 0, name, &param, 0);

	if (bytes > left)
		return false;
	/* The size of a striped file is not in the list. */
	if (known && !entry->stat.stripes)
		(void)fill_entry(mount, directory->node, name, &entry->stat, &param);
	(void)fuse_add_direntry_plus(req, reply->buffer + reply->used, left, name, &param, (off_t)index + 3);
	reply->used += bytes;
	return true;
}

static bool add_plain(fuse_req_t req, struct reply *reply, struct directory *directory, size_t index)
{
	const struct entry *entry = &directory->entries[index];
	const struct stat stat = { .st_ino = entry->stat.inode, .st_mode = entry->stat.mode };
	size_t left = reply->size - reply->used;
	size_t bytes = fuse_add_direntry(req, reply->buffer + reply->used, left, directory->names + entry->name, &stat,
					 (off_t)index + 3);

	if (bytes > left)
		return false;
	reply->used += bytes;
	return true;
}

static void fill_reply(fuse_req_t req, struct reply *reply, struct directory *directory, size_t offset, bool plus)
{
	struct mount *mount = mount_of(req);
	bool known = plus && directory->changes == tree_changes(&mount->tree) &&
		     now_ns() - directory->listed_ns < YOUNG_NS;

	if (offset == 0 && !add_dot(req, reply, ".", 1, plus))
		return;
	if (offset <= 1 && !add_dot(req, reply, "..", 2, plus))
		return;
	for (size_t i = offset > 2 ? offset - 2 : 0; i < directory->count; i++) {
		if (plus ? !add_plus(req, reply, directory, i, known) : !add_plain(req, reply, directory, i))
			return;
	}
}

static void read_directory(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *info, bool plus)
{
	struct mount *mount = mount_of(req);
	struct directory *directory = directory_of(info);
	struct reply reply = { .size = size, .buffer = malloc(size) };
	int error = 0;

	if (!reply.buffer) {
		reply_error(req, -ENOMEM);
		return;
	}
	pthread_mutex_lock(&directory->lock);
	if (!offset || !directory->listed_ns)
		error = list(mount, directory);
	if (!error)
		fill_reply(req, &reply, directory, (size_t)offset, plus);
	if (!error && !reply.used)
		error = directory->error;
	pthread_mutex_unlock(&directory->lock);
	if (error)
		reply_error(req, error);
	else
		fuse_reply_buf(req, reply.buffer, reply.used);
	free(reply.buffer);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	read_directory(req, size, offset, info, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	read_directory(req, size, offset, info, true);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, tree_node(&mount->tree, ino), NULL);
	struct virgo_file *file;
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error && !target.opened)
			error = virgo_open(client->virgo, target.path, O_RDONLY | O_DIRECTORY, 0, &file);
	} while (target_again(mount, client, &target, &error));
	if (!error) {
		error = virgo_fsync(client->virgo, file);
		(void)virgo_close(client->virgo, file);
	}
	clients_put(&mount->clients, client);
	reply_error(req, error);
}
