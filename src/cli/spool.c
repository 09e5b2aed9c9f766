/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/spool.h"

void cli_spool_init(struct cli_spool *spool)
{
	*spool = (struct cli_spool){ .fd = -1 };
}

void cli_spool_deinit(struct cli_spool *spool)
{
	if (spool->fd >= 0)
		(void)close(spool->fd);
	free(spool->data);
	cli_spool_init(spool);
}

void cli_spool_clear(struct cli_spool *spool)
{
	cli_spool_deinit(spool);
}

__u64 cli_spool_length(const struct cli_spool *spool)
{
	return spool->filed + spool->length;
}

static int open_file(void)
{
	const char *directory = getenv("TMPDIR");
	char path[4096];
	int fd;

	if (!directory || !directory[0])
		directory = "/tmp";
	fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	/* Not every file system has files without a name. */
	if (snprintf(path, sizeof(path), "%s/virgo-map-XXXXXX", directory) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	(void)unlink(path);
	return fd;
}

static int spill(struct cli_spool *spool)
{
	int error;

	if (spool->fd < 0) {
		int fd = open_file();

		if (fd < 0)
			return fd;
		spool->fd = fd;
	}
	error = cli_write_all(spool->fd, spool->data, spool->length);
	if (error)
		return error;
	spool->filed += spool->length;
	spool->length = 0;
	return 0;
}

int cli_spool_add(struct cli_spool *spool, const void *data, size_t length)
{
	const char *from = data;

	while (length) {
		size_t part;

		if (spool->length == spool->room) {
			size_t room = spool->room ? 2 * spool->room : 4096;
			char *larger = NULL;
			int error = 0;

			if (spool->room >= CLI_SPOOL_MEMORY_BYTES)
				error = spill(spool);
			else if (!(larger = realloc(spool->data, room)))
				error = -ENOMEM;
			if (error)
				return error;
			if (larger) {
				spool->data = larger;
				spool->room = room;
			}
		}
		part = spool->room - spool->length;
		part = part < length ? part : length;
		memcpy(spool->data + spool->length, from, part);
		spool->length += part;
		from += part;
		length -= part;
	}
	return 0;
}

int cli_spool_copy(struct cli_spool *spool, int fd)
{
	char piece[32768];

	for (__u64 at = 0; at < spool->filed;) {
		ssize_t got = pread(spool->fd, piece, sizeof(piece), (off_t)at);
		int error;

		if (got <= 0)
			return got ? -errno : -EIO;
		error = cli_write_all(fd, piece, (size_t)got);
		if (error)
			return error;
		at += (__u64)got;
	}
	return spool->length ? cli_write_all(fd, spool->data, spool->length) : 0;
}

size_t cli_spool_head(struct cli_spool *spool, void *buffer, size_t bytes)
{
	ssize_t got = spool->filed ? pread(spool->fd, buffer, bytes, 0) : 0;
	size_t filled = got > 0 ? (size_t)got : 0, part = bytes - filled;

	/* A short read of a file we wrote ends where the file does, unless the buffer is full. */
	part = part < spool->length ? part : spool->length;
	if (part)
		memcpy((char *)buffer + filled, spool->data, part);
	return filled + part;
}
