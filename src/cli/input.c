/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/number.h"
#include "cli/cli.h"
#include "virgo/limits.h"

#define READ_BYTES_FIRST 65536

int cli_read_file(const char *path, char **ret_data, size_t *ret_length)
{
	size_t length = 0, room = READ_BYTES_FIRST;
	char *data = malloc(room + 1), *larger;
	int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC),
	    error = fd < 0 ? -errno : 0;

	while (!error && data) {
		ssize_t got = read(fd, data + length, room - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			error = got ? -errno : 0;
			break;
		}
		length += (size_t)got;
		if (length > VG_VALUE_MAX) {
			error = -EFBIG;
		} else if (length == room) {
			larger = realloc(data, 2 * room + 1);
			error = larger ? 0 : -ENOMEM;
			data = larger ? larger : data;
			room *= larger ? 2 : 1;
		}
	}
	if (fd >= 0)
		(void)close(fd);
	if (error || !data) {
		free(data);
		return error ? error : -ENOMEM;
	}
	data[length] = '\0';
	*ret_data = data;
	*ret_length = length;
	return 0;
}

int cli_write_all(int fd, const void *data, size_t length)
{
	const char *at = data;

	while (length) {
		ssize_t put = write(fd, at, length);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		at += put;
		length -= (size_t)put;
	}
	return 0;
}

bool cli_handle(const char *text, __u64 *ret_handle)
{
	unsigned long long handle;
	char *end;

	if (text[0] == '-' || text[0] == '+' || text[0] == ' ')
		return false;
	errno = 0;
	handle = strtoull(text, &end, 16);
	if (errno || end == text || *end)
		return false;
	*ret_handle = handle;
	return true;
}

bool cli_span(const char *text, __u64 *ret_ms)
{
	return !vg_span_parse(text, (__u64)1e15, ret_ms);
}
