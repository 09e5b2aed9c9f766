/* SPDX-License-Identifier: GPL-3.0-or-later */
/* System calls: the disk itself, or whatever is mounted there. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

struct files_client {
	int directory;
};

struct files_file {
	int fd;
};

static int here_open(const char *target, struct files_client **ret_client)
{
	struct files_client *client = malloc(sizeof(*client));

	if (!client)
		return -ENOMEM;
	client->directory = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (client->directory < 0) {
		free(client);
		return -errno;
	}
	*ret_client = client;
	return 0;
}

static void here_close(struct files_client *client)
{
	(void)close(client->directory);
	free(client);
}

static int here_mkdir(struct files_client *client, const char *path)
{
	return mkdirat(client->directory, path, 0777) ? -errno : 0;
}

static int here_put(struct files_client *client, const char *path, const void *data, size_t length)
{
	int fd = openat(client->directory, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), error;

	if (fd < 0)
		return -errno;
	error = write(fd, data, length) == (ssize_t)length ? 0 : -EIO;
	return close(fd) ? -errno : error;
}

static ssize_t here_get(struct files_client *client, const char *path, void *buffer, size_t length)
{
	int fd = openat(client->directory, path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -errno;
	got = read(fd, buffer, length);
	(void)close(fd);
	return got < 0 ? -EIO : got;
}

static int here_open_file(struct files_client *client, const char *path, int flags, struct files_file **ret_file)
{
	struct files_file *file = malloc(sizeof(*file));

	if (!file)
		return -ENOMEM;
	file->fd = openat(client->directory, path,
			  O_RDWR | O_CLOEXEC | (flags & FILES_CREATE ? O_CREAT : 0) |
				  (flags & FILES_DIRECT ? O_DIRECT : 0) | (flags & FILES_DURABLE ? O_DSYNC : 0),
			  0644);
	if (file->fd < 0) {
		free(file);
		return -errno;
	}
	*ret_file = file;
	return 0;
}

static void here_close_file(struct files_client *client, struct files_file *file)
{
	(void)close(file->fd);
	free(file);
}

static int here_read(struct files_client *client, struct files_file *file, void *buffer, size_t length, uint64_t offset,
		     files_fn fn, void *context)
{
	ssize_t got = pread(file->fd, buffer, length, (off_t)offset);

	fn(context, got < 0 ? -errno : got);
	return 0;
}

static int here_write(struct files_client *client, struct files_file *file, const void *data, size_t length,
		      uint64_t offset, files_fn fn, void *context)
{
	ssize_t put = pwrite(file->fd, data, length, (off_t)offset);

	fn(context, put < 0 ? -errno : put);
	return 0;
}

const struct files_way files_here = {
	.name = "here",
	.open = here_open,
	.close = here_close,
	.mkdir = here_mkdir,
	.put = here_put,
	.get = here_get,
	.open_file = here_open_file,
	.close_file = here_close_file,
	.read = here_read,
	.write = here_write,
};
