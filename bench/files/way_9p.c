/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * As much of 9P2000.L as a small file needs, over TCP, one message at a time: walk, create or open, write or read,
 * clunk. Fewer messages than the kernel's client sends. Little-endian, as the protocol and this machine.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"

#define MESSAGE_BYTES 65536
#define HEAD_BYTES 7
#define ROOT_FID 1
#define WORK_FID 2
#define NO_FID (~0u)
#define NO_TAG 0xffff

enum { RLERROR = 7, TLOPEN = 12, TLCREATE = 14, TMKDIR = 72, TVERSION = 100, TATTACH = 104, TWALK = 110,
       TREAD = 116, TWRITE = 118, TCLUNK = 120 };

struct files_client {
	int fd;
	size_t length; /* of the message being made */
	unsigned char message[MESSAGE_BYTES];
};

static void put_bytes(struct files_client *client, const void *data, size_t length)
{
	if (client->length + length > MESSAGE_BYTES)
		abort(); /* names and data are this bench's own */
	memcpy(client->message + client->length, data, length);
	client->length += length;
}

static void put_number(struct files_client *client, uint64_t number, size_t bytes)
{
	put_bytes(client, &number, bytes);
}

static void put_text(struct files_client *client, const char *text, size_t length)
{
	put_number(client, length, 2);
	put_bytes(client, text, length);
}

static void begin(struct files_client *client, int type)
{
	client->length = 0;
	put_number(client, 0, 4);
	put_number(client, (uint64_t)type, 1);
	put_number(client, type == TVERSION ? NO_TAG : 1, 2);
}

static int receive(struct files_client *client, size_t from, size_t to)
{
	while (from < to) {
		ssize_t got = recv(client->fd, client->message + from, to - from, 0);

		if (got <= 0)
			return got ? -errno : -ECONNRESET;
		from += (size_t)got;
	}
	return 0;
}

/* Sends the message and waits for its answer, which then stands in its place. */
static int ask(struct files_client *client)
{
	int type = client->message[4], error;
	uint32_t length = (uint32_t)client->length, code;

	memcpy(client->message, &length, 4);
	if (send(client->fd, client->message, length, MSG_NOSIGNAL) != (ssize_t)length)
		return -EPIPE;
	error = receive(client, 0, HEAD_BYTES);
	if (error)
		return error;
	memcpy(&length, client->message, 4);
	if (length < HEAD_BYTES || length > MESSAGE_BYTES)
		return -EPROTO;
	error = receive(client, HEAD_BYTES, length);
	if (error)
		return error;
	if (client->message[4] == type + 1)
		return 0;
	memcpy(&code, client->message + HEAD_BYTES, 4);
	return client->message[4] == RLERROR ? -(int)code : -EPROTO;
}

static int walk(struct files_client *client, const char *path, size_t length)
{
	size_t count_at, end;
	unsigned int names = 0;

	begin(client, TWALK);
	put_number(client, ROOT_FID, 4);
	put_number(client, WORK_FID, 4);
	count_at = client->length;
	put_number(client, 0, 2);
	for (size_t at = 0; at < length; at = end + 1, names++) {
		for (end = at; end < length && path[end] != '/';)
			end++;
		put_text(client, path + at, end - at);
	}
	memcpy(client->message + count_at, &names, 2);
	return ask(client);
}

static int clunk(struct files_client *client)
{
	begin(client, TCLUNK);
	put_number(client, WORK_FID, 4);
	return ask(client);
}

static size_t parent_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? (size_t)(slash - path) : 0;
}

static const char *name_in(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int p9_mkdir(struct files_client *client, const char *path)
{
	int error = walk(client, path, parent_length(path)), closed;

	if (error)
		return error;
	begin(client, TMKDIR);
	put_number(client, WORK_FID, 4);
	put_text(client, name_in(path), strlen(name_in(path)));
	put_number(client, 0777, 4);
	put_number(client, 0, 4);
	error = ask(client);
	closed = clunk(client);
	return error ? error : closed;
}

static int p9_put(struct files_client *client, const char *path, const void *data, size_t length)
{
	int error = walk(client, path, parent_length(path)), closed;

	if (error)
		return error;
	begin(client, TLCREATE);
	put_number(client, WORK_FID, 4);
	put_text(client, name_in(path), strlen(name_in(path)));
	put_number(client, O_WRONLY | O_CREAT | O_TRUNC, 4);
	put_number(client, 0644, 4);
	put_number(client, 0, 4);
	error = ask(client);
	if (!error) {
		begin(client, TWRITE);
		put_number(client, WORK_FID, 4);
		put_number(client, 0, 8);
		put_number(client, length, 4);
		put_bytes(client, data, length);
		error = ask(client);
	}
	closed = clunk(client);
	return error ? error : closed;
}

static ssize_t p9_get(struct files_client *client, const char *path, void *buffer, size_t length)
{
	uint32_t got = 0;
	int error = walk(client, path, strlen(path)), closed;

	if (error)
		return error;
	begin(client, TLOPEN);
	put_number(client, WORK_FID, 4);
	put_number(client, O_RDONLY, 4);
	error = ask(client);
	if (!error) {
		begin(client, TREAD);
		put_number(client, WORK_FID, 4);
		put_number(client, 0, 8);
		put_number(client, length, 4);
		error = ask(client);
	}
	if (!error) {
		memcpy(&got, client->message + HEAD_BYTES, 4);
		got = got < length ? got : (uint32_t)length;
		memcpy(buffer, client->message + HEAD_BYTES + 4, got);
	}
	closed = clunk(client);
	return error ? error : closed ? closed : (ssize_t)got;
}

static void p9_close(struct files_client *client)
{
	(void)close(client->fd);
	free(client);
}

static int attach(struct files_client *client, const char *export)
{
	int error;

	begin(client, TVERSION);
	put_number(client, MESSAGE_BYTES, 4);
	put_text(client, "9P2000.L", 8);
	error = ask(client);
	if (error)
		return error;
	begin(client, TATTACH);
	put_number(client, ROOT_FID, 4);
	put_number(client, NO_FID, 4);
	put_text(client, "root", 4);
	put_text(client, export, strlen(export));
	put_number(client, 0, 4);
	return ask(client);
}

/* `target`: PORT:EXPORT, on 127.0.0.1 */
static int p9_open(const char *target, struct files_client **ret_client)
{
	char *export;
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)strtoul(target, &export, 10)),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct files_client *client = calloc(1, sizeof(*client));
	int yes = 1, error;

	if (!client || *export != ':') {
		free(client);
		return -EINVAL;
	}
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	error = client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	if (!error) {
		(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
		error = attach(client, export + 1);
	}
	if (error)
		p9_close(client);
	else
		*ret_client = client;
	return error;
}

const struct files_way files_9p = {
	.name = "9p",
	.open = p9_open,
	.close = p9_close,
	.mkdir = p9_mkdir,
	.put = p9_put,
	.get = p9_get,
};
