/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Making and ending a client. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client/file.h"
#include "client/near.h"
#include "client/job.h"

/* Places for what users may have in flight, and one for a request of our own; a power of two. */
static unsigned int slots_of(unsigned int window)
{
	unsigned int slots = 2;

	while (slots < window + 1)
		slots *= 2;
	return slots;
}

/*
 * The client's number is random, so that nobody off the path can answer for a node. The sequence starts at the time of
 * day in microseconds: a client that gets the same number again (it never should) still does not repeat itself.
 */
static int draw_identity(struct virgo *v)
{
	__u64 drawn[2];
	struct timespec now;

	if (getrandom(drawn, sizeof(drawn), 0) != sizeof(drawn))
		return -errno;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	v->client = drawn[0];
	v->random_state = drawn[1];
	v->sequence = (__u64)now.tv_sec * 1000000 + (__u64)now.tv_nsec / 1000;
	return 0;
}

static int configure(struct virgo *v, const struct virgo_options *options, char *why, size_t why_bytes)
{
	const char *key_file = options->key_file ? options->key_file : getenv("VIRGO_KEY_FILE");
	__u16 port = options->port ? options->port : VG_PORT_MEM;
	char nodes[8192];
	int error;

	v->flags = options->flags;
	v->resends = options->resends ? options->resends : 4;
	v->timeout_ns = (options->timeout_ms ? options->timeout_ms : 5000) * 1000000ULL;
	if ((v->flags & VIRGO_NO_TCP) && (v->flags & VIRGO_NO_UDP))
		return vg_explain(why, why_bytes, -EINVAL, "neither TCP nor UDP");
	if (key_file && key_file[0]) {
		error = vg_key_file_read(key_file, v->key, why, why_bytes);
		if (error)
			return error;
		v->keyed = true;
	}
	v->file_port_said = options->file_port != 0;
	v->file_port = options->file_port ? options->file_port : VG_PORT_FILE;
	v->cpu_port = options->cpu_port ? options->cpu_port : VG_PORT_CPU;
	if (options->owner) {
		size_t length = strlen(options->owner);

		if (!length || length > sizeof(v->owner))
			return vg_explain(why, why_bytes, -EINVAL, "an owner has 1 to %zu characters",
					  sizeof(v->owner));
		memcpy(v->owner, options->owner, length);
		v->owner_length = (__u32)length;
	}
	if (options->nodes)
		return vg_nodes_parse(v, options->nodes, port, why, why_bytes);
	error = vg_nodes_default(nodes, sizeof(nodes));
	if (error)
		return vg_explain(why, why_bytes, error, "the list of nodes is too long");
	return vg_nodes_parse(v, nodes, port, why, why_bytes);
}

static int acquire(struct virgo *v, unsigned int limit)
{
	const unsigned int window = slots_of(limit);

	v->limit = limit;
	v->window = window;
	v->requests = aligned_alloc(64, VG_ALIGN_UP(sizeof(*v->requests) * window, 64UL));
	v->peers = calloc(VG_CLIENT_PEERS_MAX, sizeof(struct vg_peer *));
	if (!v->requests || !v->peers)
		return -ENOMEM;
	for (unsigned int i = 0; i < window; i++)
		v->requests[i].state = VG_REQUEST_FREE;
	memset(v->node_of_partition, 0xff, sizeof(v->node_of_partition));
	return 0;
}

int virgo_connect(struct virgo **ret_virgo, const struct virgo_options *options, char *why, size_t why_bytes)
{
	struct virgo_options wanted = { .size = sizeof(wanted) };
	struct virgo *v;
	int error;

	if (options && (options->size > sizeof(wanted) || options->size < sizeof(wanted.size)))
		return vg_explain(why, why_bytes, -EINVAL, "virgo_options.size is not one of this libvirgo");
	if (options)
		memcpy(&wanted, options, options->size);
	v = calloc(1, sizeof(*v));
	if (!v)
		return vg_explain(why, why_bytes, -ENOMEM, "out of memory");
	v->fd[0] = v->fd[1] = -1;
	v->timer_ns = v->links_due_ns = ~0ULL;
	if (!wanted.window)
		wanted.window = 64;
	error = acquire(v, wanted.window < VIRGO_WINDOW_MAX ? wanted.window : VIRGO_WINDOW_MAX);
	if (!error)
		error = vg_remotes_new(v, wanted.share);
	if (error)
		vg_explain(why, why_bytes, error, "out of memory");
	if (!error)
		error = draw_identity(v);
	if (!error)
		error = configure(v, &wanted, why, why_bytes);
	v->configured_count = v->peers_count;
	if (!error && wanted.near_bytes) {
		error = vg_near_new(&v->near, wanted.near_bytes);
		if (error)
			vg_explain(why, why_bytes, error, "out of memory");
	}
	if (!error) {
		error = vg_datagram_open(v);
		if (error)
			vg_explain(why, why_bytes, error, "no socket: %s", strerror(-error));
	}
	if (error) {
		virgo_disconnect(v);
		return error;
	}
	*ret_virgo = v;
	return 0;
}

void virgo_disconnect(struct virgo *v)
{
	if (!v)
		return;
	vg_jobs_end(v);
	vg_remotes_end(v);
	vg_links_end(v);
	for (unsigned int i = 0; v->requests && i < v->window; i++)
		if (v->requests[i].state != VG_REQUEST_FREE && v->requests[i].head != v->requests[i].datagram)
			free(v->requests[i].head);
	for (unsigned int i = 0; i < v->peers_count; i++) {
		vg_stream_close(v, v->peers[i], 0, 0);
		free(v->peers[i]);
	}
	vg_near_free(v->near);
	vg_datagram_close(v);
	free(v->peers);
	free(v->requests);
	explicit_bzero(v, sizeof(*v));
	free(v);
}

unsigned int virgo_nodes(const struct virgo *v)
{
	return v->peers_count;
}

const char *virgo_node_address(const struct virgo *v, unsigned int node)
{
	return node < v->peers_count ? v->peers[node]->text : NULL;
}

void virgo_counters(const struct virgo *v, struct virgo_counters *ret_counters)
{
	*ret_counters = v->counters;
}

unsigned int virgo_pending(const struct virgo *v)
{
	return v->pending - v->internal + v->files->pending;
}

const char *virgo_error_text(const struct virgo *v)
{
	return v->error_text;
}

const char *virgo_version(void)
{
	return VG_VERSION;
}
