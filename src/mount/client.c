/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The clients of the mount: as many as requests were ever under way at once, the one used last is taken first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount/mount.h"

static int connect_one(const struct mount_options *options, struct virgo *share, struct virgo **ret_virgo, char *why,
		       size_t why_bytes)
{
	const struct virgo_options how = {
		.size = sizeof(how),
		.nodes = options->nodes,
		.key_file = options->key_file,
		.timeout_ms = options->timeout_ms,
		.flags = VIRGO_NO_FOLLOW, /* the kernel walks symbolic links itself */
		.file_port = (uint16_t)options->file_port,
		.share = share,
	};

	return virgo_connect(ret_virgo, &how, why, why_bytes);
}

int clients_init(struct clients *clients, const struct mount_options *options, char *why, size_t why_bytes)
{
	struct virgo_file_stat stat;
	int error;

	*clients = (struct clients){ .lock = PTHREAD_MUTEX_INITIALIZER, .options = options };
	error = connect_one(options, NULL, &clients->first, why, why_bytes);
	if (error)
		return error;
	error = virgo_stat(clients->first, *options->root ? options->root : "/", &stat);
	if (!error && !S_ISDIR(stat.mode))
		error = -ENOTDIR;
	if (error) {
		const char *said = virgo_error_text(clients->first);

		(void)snprintf(why, why_bytes, "%s", said && *said ? said : virgo_strerror(error));
		clients_deinit(clients);
	}
	return error;
}

void clients_deinit(struct clients *clients)
{
	while (clients->idle) {
		struct client *client = clients->idle;

		clients->idle = client->next;
		virgo_disconnect(client->virgo);
		free(client->buffer);
		free(client);
	}
	virgo_disconnect(clients->first);
	clients->first = NULL;
}

/* Under the lock: the client whose sessions are shared is nobody else's meanwhile. */
static struct client *make_client(struct clients *clients)
{
	struct client *client = calloc(1, sizeof(*client));
	char why[64];

	if (!client)
		return NULL;
	client->buffer = aligned_alloc(4096, MOUNT_IO_BYTES);
	if (!client->buffer ||
	    connect_one(clients->options, clients->first, &client->virgo, why, sizeof(why))) {
		free(client->buffer);
		free(client);
		return NULL;
	}
	return client;
}

struct client *clients_take(struct clients *clients)
{
	struct client *client;

	pthread_mutex_lock(&clients->lock);
	client = clients->idle;
	if (client)
		clients->idle = client->next;
	else
		client = make_client(clients);
	pthread_mutex_unlock(&clients->lock);
	return client;
}

struct client *client_for(fuse_req_t req)
{
	struct client *client = clients_take(&mount_of(req)->clients);

	if (!client)
		reply_error(req, -ENOMEM);
	return client;
}

void clients_put(struct clients *clients, struct client *client)
{
	pthread_mutex_lock(&clients->lock);
	client->next = clients->idle;
	clients->idle = client;
	pthread_mutex_unlock(&clients->lock);
}
