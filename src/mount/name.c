/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is done to names: look up, make, remove, rename, link. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>

#include "mount/mount.h"

static struct timespec time_of(__s64 ns)
{
	__s64 seconds = ns / 1000000000, rest = ns % 1000000000;

	if (rest < 0) {
		rest += 1000000000;
		seconds--;
	}
	return (struct timespec){ .tv_sec = seconds, .tv_nsec = rest };
}

void fill_stat(const struct mount *mount, const struct node *node, const struct virgo_file_stat *from, struct stat *to)
{
	*to = (struct stat){
		.st_ino = node == &mount->tree.root ? FUSE_ROOT_ID : from->inode,
		.st_mode = from->mode,
		.st_nlink = from->links,
		.st_uid = mount->options.ids ? from->uid : mount->uid,
		.st_gid = mount->options.ids ? from->gid : mount->gid,
		.st_size = (off_t)from->size,
		.st_blocks = (blkcnt_t)((from->allocated + 511) / 512),
		.st_blksize = (blksize_t)from->block_size,
		.st_atim = time_of(from->accessed_ns),
		.st_mtim = time_of(from->modified_ns),
		.st_ctim = time_of(from->changed_ns),
	};
}

int fill_entry(struct mount *mount, struct node *parent, const char *name, const struct virgo_file_stat *stat,
	       struct fuse_entry_param *ret_entry)
{
	struct node *node = tree_enter(&mount->tree, parent, name, stat);

	if (!node)
		return -ENOMEM;
	*ret_entry = (struct fuse_entry_param){
		.ino = tree_ino(&mount->tree, node),
		.attr_timeout = mount->options.attribute_s,
		.entry_timeout = mount->options.entry_s,
	};
	fill_stat(mount, node, stat, &ret_entry->attr);
	return 0;
}

static void reply_entry(fuse_req_t req, struct node *parent, const char *name, const struct virgo_file_stat *stat)
{
	struct mount *mount = mount_of(req);
	struct fuse_entry_param entry;
	int error = fill_entry(mount, parent, name, stat, &entry);

	if (error)
		reply_error(req, error);
	else if (fuse_reply_entry(req, &entry)) /* interrupted: the kernel does not have it */
		tree_forget(&mount->tree, tree_node(&mount->tree, entry.ino), 1);
}

int own_new(struct mount *mount, fuse_req_t req, struct client *client, struct node *parent, const char *path,
	    struct virgo_file_stat *stat)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	__u32 gid;
	int error;

	/* Its directory's group, if that says so; a copy of it on the new file's node may not know. */
	pthread_mutex_lock(&mount->tree.lock);
	gid = parent->mode & S_ISGID ? parent->gid : who->gid;
	pthread_mutex_unlock(&mount->tree.lock);
	if (!mount->options.ids || (stat->uid == who->uid && stat->gid == gid))
		return 0;
	error = virgo_chown(client->virgo, path, who->uid, gid);
	return error ? error : virgo_lstat(client->virgo, path, stat);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent_ino, const char *name)
{
	struct mount *mount = mount_of(req);
	struct node *parent = tree_node(&mount->tree, parent_ino);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, parent, name);
	struct virgo_file_stat stat;
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error)
			error = virgo_lstat(client->virgo, target.path, &stat);
	} while (target_again(mount, client, &target, &error));
	clients_put(&mount->clients, client);
	if (!error) {
		reply_entry(req, parent, name, &stat);
		return;
	}
	if (error == -ENOENT)
		tree_remove(&mount->tree, parent, name, false);
	if (error == -ENOENT && mount->options.negative_s > 0) {
		const struct fuse_entry_param none = { .entry_timeout = mount->options.negative_s };

		fuse_reply_entry(req, &none);
		return;
	}
	reply_error(req, error);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	struct tree *tree = &mount_of(req)->tree;

	tree_forget(tree, tree_node(tree, ino), lookups);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct tree *tree = &mount_of(req)->tree;

	for (size_t i = 0; i < count; i++)
		tree_forget(tree, tree_node(tree, forgets[i].ino), forgets[i].nlookup);
	fuse_reply_none(req);
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

/* What is made, at a path: 0, or the pool's error. */
struct making {
	mode_t mode;
	const char *symlink; /* what it says */
	struct node *link;   /* a file that gets one name more */
};

static int make_file(struct virgo *virgo, const char *path, mode_t mode)
{
	struct virgo_file *file;
	int error = virgo_open(virgo, path, O_WRONLY | O_CREAT | O_EXCL, mode & 07777, &file);

	if (!error)
		(void)virgo_close(virgo, file);
	return error;
}

static int make_link(struct mount *mount, struct virgo *virgo, struct node *node, const char *path)
{
	char from[MOUNT_PATH_BYTES];
	int error;

	pthread_mutex_lock(&mount->tree.lock);
	error = tree_path(&mount->tree, node, NULL, from);
	pthread_mutex_unlock(&mount->tree.lock);
	return error ? (error == -ESTALE ? -ENOENT : error) : virgo_link(virgo, from, path);
}

static int make_one(struct mount *mount, struct virgo *virgo, const struct making *making, const char *path)
{
	if (making->symlink)
		return virgo_symlink(virgo, making->symlink, path);
	if (making->link)
		return make_link(mount, virgo, making->link, path);
	if (S_ISDIR(making->mode))
		return virgo_mkdir(virgo, path, making->mode & 07777);
	return make_file(virgo, path, making->mode);
}

static void make(fuse_req_t req, fuse_ino_t parent_ino, const char *name, const struct making *making)
{
	struct mount *mount = mount_of(req);
	struct node *parent = tree_node(&mount->tree, parent_ino);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, parent, name);
	struct virgo_file_stat stat;
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error)
			error = make_one(mount, client->virgo, making, target.path);
	} while (target_again(mount, client, &target, &error));
	tree_changed(&mount->tree);
	if (!error)
		error = virgo_lstat(client->virgo, target.path, &stat);
	if (!error && !making->link)
		error = own_new(mount, req, client, parent, target.path, &stat);
	clients_put(&mount->clients, client);
	if (error)
		reply_error(req, error);
	else
		reply_entry(req, parent, name, &stat);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	const struct making making = { .mode = mode };

	if (S_ISREG(mode))
		make(req, parent, name, &making);
	else
		reply_error(req, -EPERM); /* the pool has no devices, pipes and sockets */
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	const struct making making = { .mode = S_IFDIR | (mode & 07777) };

	make(req, parent, name, &making);
}

void op_symlink(fuse_req_t req, const char *symlink, fuse_ino_t parent, const char *name)
{
	const struct making making = { .symlink = symlink };

	make(req, parent, name, &making);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	const struct making making = { .link = tree_node(&mount_of(req)->tree, ino) };

	make(req, parent, name, &making);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, tree_node(&mount->tree, ino), NULL);
	ssize_t length = 0;
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error) {
			length = virgo_readlink(client->virgo, target.path, client->buffer, MOUNT_PATH_BYTES);
			error = length < 0 ? (int)length : 0;
		}
	} while (target_again(mount, client, &target, &error));
	if (error) {
		reply_error(req, error);
	} else {
		client->buffer[length] = '\0';
		fuse_reply_readlink(req, client->buffer);
	}
	clients_put(&mount->clients, client);
}

/* ---- removing and renaming -------------------------------------------------------------------------------------- */

static void remove_one(fuse_req_t req, fuse_ino_t parent_ino, const char *name,
		       int (*fn)(struct virgo *virgo, const char *path))
{
	struct mount *mount = mount_of(req);
	struct node *parent = tree_node(&mount->tree, parent_ino);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, parent, name);
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error)
			error = fn(client->virgo, target.path);
	} while (target_again(mount, client, &target, &error));
	clients_put(&mount->clients, client);
	if (!error)
		tree_remove(&mount->tree, parent, name, true);
	reply_error(req, error);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_one(req, parent, name, virgo_unlink);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_one(req, parent, name, virgo_rmdir);
}

/*
 * Two paths, and a third that may move under both: a directory above is renamed by another thread. Then the paths are
 * other ones when the pool has said that there is no such thing.
 */
static int rename_paths(struct mount *mount, struct client *client, const struct target *from, const struct target *to,
			unsigned int flags)
{
	char paths[2][2][MOUNT_PATH_BYTES];
	int error = 0;

	for (unsigned int i = 0;; i ^= 1) {
		bool same;

		pthread_mutex_lock(&mount->tree.lock);
		error = error == -ENOENT ? error : 0;
		if (tree_path(&mount->tree, from->node, from->name, paths[i][0]) ||
		    tree_path(&mount->tree, to->node, to->name, paths[i][1])) {
			pthread_mutex_unlock(&mount->tree.lock);
			return error ? error : -ENAMETOOLONG;
		}
		pthread_mutex_unlock(&mount->tree.lock);
		same = error && !strcmp(paths[0][0], paths[1][0]) && !strcmp(paths[0][1], paths[1][1]);
		if (same)
			return error;
		error = virgo_rename(client->virgo, paths[i][0], paths[i][1], flags);
		if (error != -ENOENT)
			return error;
	}
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	       unsigned int flags)
{
	struct mount *mount = mount_of(req);
	struct tree *tree = &mount->tree;
	const struct target from = TARGET(NULL, tree_node(tree, parent), name);
	const struct target to = TARGET(NULL, tree_node(tree, new_parent), new_name);
	struct client *client;
	bool directory;
	int error;

	if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		reply_error(req, -EINVAL);
		return;
	}
	client = client_for(req);
	if (!client)
		return;
	directory = tree_rename_begin(tree, from.node, name, to.node, new_name);
	error = rename_paths(mount, client, &from, &to, flags);
	if (!error)
		tree_rename(tree, from.node, name, to.node, new_name, flags & RENAME_EXCHANGE);
	tree_rename_end(tree, directory);
	clients_put(&mount->clients, client);
	reply_error(req, error);
}
