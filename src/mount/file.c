/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Open files: what is read and written. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "mount/mount.h"

/*
 * How the pool's file is opened. O_DIRECT is about this machine's cache, and the kernel sees to that: the node's rules
 * of alignment are not those of the mount. With the write-back cache the kernel reads what it completes, and appends
 * itself.
 */
static int pool_flags(const struct mount *mount, int flags)
{
	flags &= O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC;
	if (mount->options.writeback) {
		if ((flags & O_ACCMODE) == O_WRONLY)
			flags = (flags & ~O_ACCMODE) | O_RDWR;
		flags &= ~O_APPEND;
	}
	return flags | O_NOFOLLOW;
}

/* *ret_flags: how it was opened, in the end. */
static int open_path(struct mount *mount, struct client *client, const char *path, int flags, mode_t mode,
		     struct virgo_file **ret_file, int *ret_flags)
{
	int pool = pool_flags(mount, flags), error = virgo_open(client->virgo, path, pool, mode, ret_file);

	/* A file that may be written only: then what is completed cannot be read first. */
	if (error == -EACCES && mount->options.writeback && (flags & O_ACCMODE) == O_WRONLY) {
		pool = (pool & ~O_ACCMODE) | O_WRONLY;
		error = virgo_open(client->virgo, path, pool, mode, ret_file);
	}
	/* No node knows the end of a striped file: the kernel says where it believes it to be. */
	if (!error && pool & O_APPEND && virgo_opened_stat(*ret_file)->stripes) {
		(void)virgo_close(client->virgo, *ret_file);
		pool &= ~(O_APPEND | O_TRUNC | O_EXCL | O_CREAT);
		error = virgo_open(client->virgo, path, pool, mode, ret_file);
	}
	*ret_flags = pool;
	return error;
}

void op_create(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct node *parent = tree_node(&mount->tree, parent_ino);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, parent, name);
	struct virgo_file *file = NULL;
	struct virgo_file_stat stat;
	struct fuse_entry_param entry;
	struct handle *handle = NULL;
	struct node *node = NULL;
	int error, flags;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (!error)
			error = open_path(mount, client, target.path, info->flags | O_CREAT, mode & 07777, &file,
					  &flags);
	} while (target_again(mount, client, &target, &error));
	tree_changed(&mount->tree);
	if (error)
		goto out;
	stat = *virgo_opened_stat(file);
	error = own_new(mount, req, client, parent, target.path, &stat);
	if (!error)
		error = fill_entry(mount, parent, name, &stat, &entry);
	if (error)
		goto out;
	node = tree_node(&mount->tree, entry.ino);
	error = handle_new(mount, node, flags, file, &handle);
	if (error)
		goto out;
	file = NULL;
	info->keep_cache = tree_note(&mount->tree, node, &stat, true);
	info->fh = (uintptr_t)handle;
	if (fuse_reply_create(req, &entry, info) == -ENOENT) {
		/* Interrupted: nobody will release it. */
		handle_free(mount, client, handle);
		tree_forget(&mount->tree, node, 1);
	}
	clients_put(&mount->clients, client);
	return;
out:
	if (file)
		(void)virgo_close(client->virgo, file);
	if (node)
		tree_forget(&mount->tree, node, 1);
	clients_put(&mount->clients, client);
	reply_error(req, error);
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct node *node = tree_node(&mount->tree, ino);
	struct client *client = client_for(req);
	struct target target = TARGET(NULL, node, NULL);
	struct virgo_file *file = NULL;
	const struct virgo_file_stat *stat;
	struct handle *handle;
	int error, flags;

	if (!client)
		return;
	target.repeatable = true;
	do {
		error = target_find(mount, client, &target);
		if (!error && target.opened)
			error = -ESTALE; /* it has no name any more */
		else if (!error)
			error = open_path(mount, client, target.path, info->flags & ~(O_CREAT | O_EXCL), 0, &file,
					  &flags);
	} while (target_again(mount, client, &target, &error));
	if (error)
		goto out;
	stat = virgo_opened_stat(file);
	/* The name is another file's by now: the kernel looks it up again. */
	error = stat->inode == node->inode && stat->created_ns == node->created_ns ? 0 : -ESTALE;
	if (!error)
		error = handle_new(mount, node, flags, file, &handle);
	if (error)
		goto out;
	info->keep_cache = tree_note(&mount->tree, node, stat, true);
	info->fh = (uintptr_t)handle;
	if (fuse_reply_open(req, info) == -ENOENT)
		handle_free(mount, client, handle);
	clients_put(&mount->clients, client);
	return;
out:
	if (file)
		(void)virgo_close(client->virgo, file);
	clients_put(&mount->clients, client);
	reply_error(req, error);
}

/*
 * All that is asked for, or to the end of the file: the kernel takes what is short for the end, but pread() is short,
 * too, where a node failed behind some bytes, and says so only when it is asked for the rest. That is a page or more:
 * the kernel asks for no more than the page with the last byte, so that nothing is asked twice at the end of a file.
 */
#define REST_BYTES_MIN 4096u

static ssize_t read_all(struct virgo *virgo, struct virgo_file *file, char *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;
	ssize_t got;

	do {
		got = virgo_pread(virgo, file, buffer + done, size - done, offset + done);
		if (got < 0)
			return got;
		done += (size_t)got;
	} while (got && size - done >= REST_BYTES_MIN);
	return (ssize_t)done;
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct handle *handle = handle_of(info);
	struct target target = TARGET(handle, handle->node, NULL);
	ssize_t length = 0;
	int error;

	if (!client)
		return;
	if (size > MOUNT_IO_BYTES)
		size = MOUNT_IO_BYTES;
	do {
		error = target_find(mount, client, &target);
		if (!error) {
			length = read_all(client->virgo, target.opened->file, client->buffer, size, (uint64_t)offset);
			error = length < 0 ? (int)length : 0;
		}
	} while (target_again(mount, client, &target, &error));
	if (error)
		reply_error(req, error);
	else
		fuse_reply_buf(req, client->buffer, (size_t)length);
	clients_put(&mount->clients, client);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct handle *handle = handle_of(info);
	struct target target = TARGET(handle, handle->node, NULL);
	ssize_t length = 0;
	int error;

	if (!client)
		return;
	/* The same bytes at the same place do no harm. */
	target.repeatable = !(handle->flags & O_APPEND);
	pthread_mutex_lock(&mount->tree.lock);
	handle->node->dirty = true;
	pthread_mutex_unlock(&mount->tree.lock);
	do {
		error = target_find(mount, client, &target);
		if (error)
			continue;
		length = virgo_pwrite(client->virgo, target.opened->file, data, size, (uint64_t)offset);
		error = length < 0 ? (int)length : 0;
	} while (target_again(mount, client, &target, &error));
	clients_put(&mount->clients, client);
	if (error)
		reply_error(req, error);
	else
		fuse_reply_write(req, (size_t)length);
}

/* At each close(2). What was written is the node's already; what is left are the closer's locks. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct handle *handle = handle_of(info);
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	struct target target = TARGET(handle, handle->node, NULL);
	struct client *client;
	bool locked;

	pthread_mutex_lock(&mount->tree.lock);
	locked = handle->node->locked;
	pthread_mutex_unlock(&mount->tree.lock);
	if (!locked) {
		fuse_reply_err(req, 0);
		return;
	}
	client = client_for(req);
	if (!client)
		return;
	(void)target_find(mount, client, &target);
	/* A node that forgot the file has forgotten its locks. */
	(void)virgo_lock(client->virgo, target.opened->file, info->lock_owner, F_SETLK, &all);
	target_put(mount, client, &target);
	clients_put(&mount->clients, client);
	fuse_reply_err(req, 0);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct handle *handle = handle_of(info);
	struct client *client = client_for(req);

	if (!client)
		return;
	if (info->flock_release && handle->locked)
		(void)virgo_flock(client->virgo, handle->opened->file, info->lock_owner, LOCK_UN);
	fuse_reply_err(req, 0);
	handle_free(mount, client, handle);
	clients_put(&mount->clients, client);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct handle *handle = handle_of(info);
	struct node *node = handle->node;
	struct target target = TARGET(handle, node, NULL);
	bool was_dirty;
	int error;

	if (!client)
		return;
	/* Before: what is written meanwhile is dirty behind it. */
	pthread_mutex_lock(&mount->tree.lock);
	was_dirty = node->dirty;
	node->dirty = false;
	pthread_mutex_unlock(&mount->tree.lock);
	do {
		error = target_find(mount, client, &target);
		if (!error)
			error = data_only ? virgo_fdatasync(client->virgo, target.opened->file) :
					    virgo_fsync(client->virgo, target.opened->file);
		/* The node was started anew before it could be sure. */
		if (error == -ESTALE && was_dirty) {
			pthread_mutex_lock(&mount->tree.lock);
			node->lost = true;
			pthread_mutex_unlock(&mount->tree.lock);
		}
	} while (target_again(mount, client, &target, &error));
	pthread_mutex_lock(&mount->tree.lock);
	node->dirty |= error && was_dirty;
	if (!error && node->lost) {
		node->lost = false;
		error = -EIO;
	}
	pthread_mutex_unlock(&mount->tree.lock);
	clients_put(&mount->clients, client);
	reply_error(req, error);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct handle *handle = handle_of(info);
	struct target target = TARGET(handle, handle->node, NULL);
	int error;

	if (!client)
		return;
	target.repeatable = true;
	do {
		error = target_find(mount, client, &target);
		if (!error)
			error = virgo_fallocate(client->virgo, target.opened->file, mode, (uint64_t)offset,
						(uint64_t)length);
	} while (target_again(mount, client, &target, &error));
	clients_put(&mount->clients, client);
	reply_error(req, error);
}

/* SEEK_DATA and SEEK_HOLE; the others are the kernel's. */
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct handle *handle = handle_of(info);
	struct target target = TARGET(handle, handle->node, NULL);
	int64_t at = 0;
	int error;

	if (!client)
		return;
	do {
		error = target_find(mount, client, &target);
		if (error)
			continue;
		pthread_mutex_lock(&handle->reopening); /* it moves the position, which nobody uses */
		at = virgo_seek(client->virgo, target.opened->file, offset, whence);
		pthread_mutex_unlock(&handle->reopening);
		error = at < 0 ? (int)at : 0;
	} while (target_again(mount, client, &target, &error));
	clients_put(&mount->clients, client);
	if (error)
		reply_error(req, error);
	else
		fuse_reply_lseek(req, at);
}

/* Within one node; else the kernel copies (EXDEV). */
void op_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset, struct fuse_file_info *from,
			fuse_ino_t to_ino, off_t to_offset, struct fuse_file_info *to, size_t length, int flags)
{
	struct mount *mount = mount_of(req);
	struct client *client = client_for(req);
	struct handle *from_handle = handle_of(from), *to_handle = handle_of(to);
	struct target source = TARGET(from_handle, from_handle->node, NULL);
	struct target sink = TARGET(to_handle, to_handle->node, NULL);
	ssize_t copied;
	int error, other;

	if (!client)
		return;
	source.repeatable = sink.repeatable = true;
	pthread_mutex_lock(&mount->tree.lock);
	to_handle->node->dirty = true;
	pthread_mutex_unlock(&mount->tree.lock);
	do {
		(void)target_find(mount, client, &source);
		(void)target_find(mount, client, &sink);
		copied = virgo_copy_range(client->virgo, source.opened->file, (uint64_t)from_offset, sink.opened->file,
					  (uint64_t)to_offset, length);
		error = copied < 0 ? (int)copied : 0;
		/* Either may be stale: both are tried. */
		other = error;
		(void)target_again(mount, client, &source, &other);
	} while (target_again(mount, client, &sink, &error));
	clients_put(&mount->clients, client);
	if (error)
		reply_error(req, error);
	else
		fuse_reply_write(req, (size_t)copied);
}
