/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libvirgo: "virgo" puts and gets small files whole, "virgo-calls" by open, write or read, close. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "virgo/virgo.h"

struct files_file {
	struct virgo_file *file;
};

/* One small file on its way. */
struct request {
	void *data;
	size_t length;
	files_fn fn;
	void *context;
};

static struct virgo *virgo_of(struct files_client *client)
{
	return (struct virgo *)client;
}

/* The nodes are those of the environment. */
static int way_open(const char *target, struct files_client **ret_client)
{
	struct virgo_options options = { .size = sizeof(options), .window = 1024, .timeout_ms = 30000 };
	struct virgo *virgo;
	int error;

	if (getenv("BENCH_FILE_PORT"))
		options.file_port = (uint16_t)strtoul(getenv("BENCH_FILE_PORT"), NULL, 10);
	error = virgo_connect(&virgo, &options, NULL, 0);
	if (!error)
		*ret_client = (struct files_client *)virgo;
	return error;
}

static void way_close(struct files_client *client)
{
	virgo_disconnect(virgo_of(client));
}

static int way_mkdir(struct files_client *client, const char *path)
{
	return virgo_mkdir(virgo_of(client), path, 0777);
}

static int way_put(struct files_client *client, const char *path, const void *data, size_t length)
{
	return virgo_file_put(virgo_of(client), path, data, length, 0, 0644);
}

static ssize_t way_get(struct files_client *client, const char *path, void *buffer, size_t length)
{
	void *data;
	size_t got;
	int error = virgo_file_get(virgo_of(client), path, &data, &got, NULL);

	if (error)
		return error;
	if (got > length)
		got = length;
	memcpy(buffer, data, got);
	free(data);
	return (ssize_t)got;
}

static int calls_put(struct files_client *client, const char *path, const void *data, size_t length)
{
	struct virgo_file *file;
	int error = virgo_open(virgo_of(client), path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &file), closed;

	if (error)
		return error;
	error = virgo_write(virgo_of(client), file, data, length) == (ssize_t)length ? 0 : -EIO;
	closed = virgo_close(virgo_of(client), file);
	return error ? error : closed;
}

static ssize_t calls_get(struct files_client *client, const char *path, void *buffer, size_t length)
{
	struct virgo_file *file;
	int error = virgo_open(virgo_of(client), path, O_RDONLY, 0, &file);
	ssize_t got;

	if (error)
		return error;
	got = virgo_read(virgo_of(client), file, buffer, length);
	error = virgo_close(virgo_of(client), file);
	return error ? error : got;
}

static int way_open_file(struct files_client *client, const char *path, int flags, struct files_file **ret_file)
{
	struct virgo_file *file;
	int error = virgo_open(virgo_of(client), path,
			       O_RDWR | (flags & FILES_CREATE ? O_CREAT : 0) | (flags & FILES_DIRECT ? O_DIRECT : 0) |
				       (flags & FILES_DURABLE ? O_DSYNC : 0),
			       0644, &file);

	if (!error)
		*ret_file = (struct files_file *)file;
	return error;
}

static void way_close_file(struct files_client *client, struct files_file *file)
{
	(void)virgo_close(virgo_of(client), (struct virgo_file *)file);
}

static int way_read(struct files_client *client, struct files_file *file, void *buffer, size_t length, uint64_t offset,
		    files_fn fn, void *context)
{
	return virgo_submit_pread(virgo_of(client), (struct virgo_file *)file, buffer, length, offset, fn, context);
}

static int way_write(struct files_client *client, struct files_file *file, const void *data, size_t length,
		     uint64_t offset, files_fn fn, void *context)
{
	return virgo_submit_pwrite(virgo_of(client), (struct virgo_file *)file, data, length, offset, fn, context);
}

static void was_put(void *context, ssize_t result)
{
	struct request *request = context;

	request->fn(request->context, result < 0 ? result : (ssize_t)request->length);
	free(request);
}

static int way_submit_put(struct files_client *client, const char *path, const void *data, size_t length, files_fn fn,
			  void *context)
{
	struct request *put = calloc(1, sizeof(*put));
	int error;

	if (!put)
		return -ENOMEM;
	*put = (struct request){ .length = length, .fn = fn, .context = context };
	error = virgo_submit_file_put(virgo_of(client), path, data, length, 0, 0644, was_put, put);
	if (error)
		free(put);
	return error;
}

static void was_got(void *context, ssize_t result)
{
	struct request *get = context;

	get->fn(get->context, result < 0 ? result : (ssize_t)get->length);
	if (result >= 0)
		free(get->data);
	free(get);
}

static int way_submit_get(struct files_client *client, const char *path, files_fn fn, void *context)
{
	struct request *get = calloc(1, sizeof(*get));
	int error;

	if (!get)
		return -ENOMEM;
	get->fn = fn;
	get->context = context;
	error = virgo_submit_file_get(virgo_of(client), path, &get->data, &get->length, was_got, get);
	if (error)
		free(get);
	return error;
}

static void way_wait(struct files_client *client)
{
	(void)virgo_wait(virgo_of(client), 1, -1);
}

static int way_poll(struct files_client *client)
{
	return virgo_poll(virgo_of(client));
}

const struct files_way files_virgo = {
	.name = "virgo",
	.open = way_open,
	.close = way_close,
	.mkdir = way_mkdir,
	.put = way_put,
	.get = way_get,
	.open_file = way_open_file,
	.close_file = way_close_file,
	.read = way_read,
	.write = way_write,
	.submit_put = way_submit_put,
	.submit_get = way_submit_get,
	.wait = way_wait,
	.poll = way_poll,
};

const struct files_way files_virgo_calls = {
	.name = "virgo-calls",
	.open = way_open,
	.close = way_close,
	.mkdir = way_mkdir,
	.put = calls_put,
	.get = calls_get,
};
