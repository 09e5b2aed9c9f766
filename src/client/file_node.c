/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which file pools there are, what several clients share of them, and the beginning and end of it. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/file.h"

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static struct vg_remote_home *find_home(struct vg_remote_pool *pool, const union vg_address *address, socklen_t length)
{
	struct vg_remote_home *home;

	for (unsigned int i = 0; i < pool->count; i++)
		if (vg_address_same(&pool->homes[i]->address, address))
			return pool->homes[i];
	home = pool->count < VG_CLIENT_PEERS_MAX ? calloc(1, sizeof(*home)) : NULL;
	if (!home)
		return NULL;
	home->address = *address;
	home->address_length = length;
	home->index = pool->count;
	pool->homes[pool->count++] = home;
	return home;
}

struct vg_remote_node *vg_remote_node_home(struct virgo *v, struct vg_remote_home *home)
{
	struct vg_remote_node **place = &v->files->nodes[home->index], *node = *place;

	if (node)
		return node;
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->v = v;
	node->home = home;
	node->link = vg_link_at(v, &vg_remote_links, &home->address, home->address_length);
	if (!node->link) {
		free(node);
		return NULL;
	}
	node->link->file = node;
	*place = node;
	return node;
}

struct vg_remote_node *vg_remote_node_at(struct virgo *v, const union vg_address *address, socklen_t length)
{
	struct vg_remote_pool *pool = v->files->pool;
	struct vg_remote_home *home;

	pthread_mutex_lock(&pool->lock);
	home = find_home(pool, address, length);
	pthread_mutex_unlock(&pool->lock);
	return home ? vg_remote_node_home(v, home) : NULL;
}

struct vg_remote_node *vg_remote_node_peer(struct virgo *v, const struct vg_peer *peer)
{
	union vg_address address = peer->address;

	if (peer->file_off)
		return NULL;
	vg_address_set_port(&address, peer->file_port ? peer->file_port : v->file_port);
	return vg_remote_node_at(v, &address, peer->address_length);
}

struct vg_remote_node *vg_remote_node_number(struct virgo *v, __u32 number)
{
	if (number >= VG_NODES_MAX)
		return NULL;
	if (v->files->node_of[number])
		return v->files->node_of[number];
	return v->peer_of_node[number] ? vg_remote_node_peer(v, v->peer_of_node[number]) : NULL;
}

bool vg_remote_node_is_down(const struct vg_remote_node *node, __u64 now_ns)
{
	const struct vg_link *link = node->link;

	return link->fd < 0 && link->failed_ns && now_ns < link->retry_ns && (node->down || !node->ever_joined);
}

/* The first that is not known to be down, beginning with the configured; else one of those. */
struct vg_remote_node *vg_remote_node_any(struct virgo *v)
{
	__u64 now_ns = vg_now_ns();
	struct vg_remote_node *node;

	for (unsigned int i = 0; i < v->peers_count; i++) {
		node = vg_remote_node_peer(v, v->peers[i]);
		if (node && !vg_remote_node_is_down(node, now_ns))
			return node;
	}
	return vg_remote_node_peer(v, v->peers[v->files->turn++ % v->configured_count]);
}

/* ---- words ----------------------------------------------------------------------------------------------------- */

int vg_remote_explain(struct virgo *v, int error, const char *text)
{
	if (!text)
		text = error ? strerror(-error) : "";
	(void)snprintf(v->error_text, sizeof(v->error_text), "%s", text);
	return error;
}

/* ---- beginning and end ------------------------------------------------------------------------------------------ */

int vg_remotes_new(struct virgo *v, struct virgo *share)
{
	struct vg_remote_pool *pool;

	v->files = calloc(1, sizeof(*v->files));
	if (!v->files)
		return -ENOMEM;
	if (!share) {
		pool = calloc(1, sizeof(*pool));
		if (!pool)
			return -ENOMEM;
		pthread_mutex_init(&pool->lock, NULL);
		pool->users = 1;
	} else {
		pool = share->files->pool;
		pthread_mutex_lock(&pool->lock);
		pool->users++;
		pthread_mutex_unlock(&pool->lock);
	}
	v->files->pool = pool;
	return 0;
}

static void leave_pool(struct vg_remote_pool *pool, bool last)
{
	if (!last)
		return;
	for (unsigned int i = 0; i < pool->count; i++)
		free(pool->homes[i]);
	pthread_mutex_destroy(&pool->lock);
	explicit_bzero(pool, sizeof(*pool));
	free(pool);
}

/* What nobody shares is given back at once; the nodes need not wait for the end of a lease. */
void vg_remotes_end(struct virgo *v)
{
	struct vg_remotes *files = v->files;
	bool last = false;

	if (!files)
		return;
	if (files->pool) {
		pthread_mutex_lock(&files->pool->lock);
		last = --files->pool->users == 0;
		pthread_mutex_unlock(&files->pool->lock);
	}
	files->ending = true;
	/* A body that has not left is its user's memory, or of what is cancelled now. */
	for (unsigned int i = 0; i < v->links_count; i++)
		if (v->links[i]->file && v->links[i]->outside.start < v->links[i]->outside.end) {
			vg_link_drop(v->links[i]);
			v->links[i]->file->joined = false;
		}
	vg_remotes_cancel(v);
	vg_remote_watches_end(v);
	vg_remote_transfers_free(v);
	for (unsigned int i = 0; i < v->links_count; i++) {
		struct vg_remote_node *node = v->links[i]->file;

		if (!node)
			continue;
		if (last && node->joined)
			(void)vg_link_say(v, node->link,
					  &(struct vg_wire_header){ .opcode = VG_OP_FILE_END,
								    .sequence = VG_HTOBE64(++v->sequence) },
					  NULL, 0, NULL, 0, false);
		free(node);
		v->links[i]->file = NULL;
	}
	if (files->pool)
		leave_pool(files->pool, last);
	free(files);
	v->files = NULL;
}
