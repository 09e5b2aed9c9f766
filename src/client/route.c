/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which node to ask. Nothing is fetched: an answer says which node sent it and from which address it came, so that the
 * first answer about a partition teaches its owner. What is not known goes to a configured node, which steers, forwards
 * or says who owns it. Only answers that match a request are believed (its client and sequence are 64 random bits and
 * a count), and in a keyed cluster only tagged ones.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "virgo/maps.h"
#include "virgo/policy.h"

void vg_address_text(const union vg_address *address, char *text, size_t text_bytes)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (address->any.sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
		(void)snprintf(text, text_bytes, "[%s]:%u", host, ntohs(address->v6.sin6_port));
	} else {
		(void)inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
		(void)snprintf(text, text_bytes, "%s:%u", host, ntohs(address->v4.sin_port));
	}
}

bool vg_address_same(const union vg_address *a, const union vg_address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
	       memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof(a->v6.sin6_addr)) == 0;
}

static struct vg_peer *find_peer(struct virgo *v, const union vg_address *address)
{
	for (unsigned int i = 0; i < v->peers_count; i++)
		if (vg_address_same(&v->peers[i]->address, address))
			return v->peers[i];
	return NULL;
}

int vg_peer_add(struct virgo *v, const union vg_address *address, socklen_t length, struct vg_peer **ret_peer)
{
	struct vg_peer *peer = find_peer(v, address);

	if (!peer) {
		if (v->peers_count == VG_CLIENT_PEERS_MAX)
			return -ENOBUFS;
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			return -ENOMEM;
		peer->address = *address;
		peer->address_length = length;
		peer->node = VG_NODE_NONE;
		vg_address_text(address, peer->text, sizeof(peer->text));
		vg_stream_init(&peer->stream);
		v->peers[v->peers_count++] = peer;
	}
	*ret_peer = peer;
	return 0;
}

__u16 vg_request_partition(const struct vg_request *request)
{
	return VG_BE16TOH(((const struct vg_wire_header *)request->head)->partition);
}

static bool has_key(const struct vg_request *request)
{
	return request->key_length > 0;
}

static bool has_handle(const struct vg_request *request)
{
	return request->opcode == VG_OP_HANDLE_GET || request->opcode == VG_OP_HANDLE_SET ||
	       request->opcode == VG_OP_HANDLE_FREE;
}

static struct vg_peer *configured_in_turn(struct virgo *v)
{
	return v->peers[v->turn++ % v->configured_count];
}

struct vg_peer *vg_route(struct virgo *v, const struct vg_request *request)
{
	const struct vg_wire_header *header = (const struct vg_wire_header *)request->head;
	__u16 node = VG_NODE_NONE;

	if (request->opcode == VG_OP_HANDLE_ALLOC)
		return vg_route_malloc(v);
	if (v->flags & VIRGO_ASK_ANY)
		return configured_in_turn(v);
	if (has_key(request))
		node = v->node_of_partition[VG_BE16TOH(header->partition) % VG_PARTITIONS];
	else if (has_handle(request))
		node = (__u16)vg_handle_node(VG_BE64TOH(header->ident));
	if (node < VG_NODES_MAX && v->peer_of_node[node])
		return v->peer_of_node[node];
	return configured_in_turn(v);
}

/* By the last load stamps; a node whose stream could not be opened counts as silent. */
struct vg_peer *vg_route_malloc(struct virgo *v)
{
	__u32 random = (__u32)(vg_random(v) >> 32), count = v->peers_count, in_flight[VG_POLICY_DRAWS_MAX];
	__u32 draws = vg_policy_draws(VG_POLICY_PREQUAL, count, VG_POLICY_DRAWS_MAX), hot;
	struct vg_choice choice = VG_CHOICE_NONE;

	for (__u32 i = 0; i < draws; i++)
		in_flight[i] = v->peers[vg_policy_drawn(count, random, draws, i)]->load.in_flight;
	hot = vg_policy_hot_in_flight(in_flight, draws);
	for (__u32 i = 0; i < draws; i++) {
		__u32 drawn = vg_policy_drawn(count, random, draws, i);
		const struct vg_peer *peer = v->peers[drawn];
		struct vg_candidate candidate = {
			.node = drawn,
			.in_flight = peer->load.in_flight,
			.service_ns = peer->load.service_ns,
			.wait_ns = peer->load.run_queue_delay_ns,
			.age_ms = peer->stream_failed ? ~0U : 0,
		};

		vg_policy_consider(&choice, VG_POLICY_PREQUAL, &candidate, hot, vg_policy_chance(random, i));
	}
	return v->peers[choice.node];
}

struct vg_peer *vg_route_other(struct virgo *v, const struct vg_peer *peer)
{
	struct vg_peer *other = configured_in_turn(v);

	return other == peer ? configured_in_turn(v) : other;
}

void vg_route_forget(struct virgo *v, const struct vg_request *request)
{
	if (has_key(request))
		v->node_of_partition[vg_request_partition(request) % VG_PARTITIONS] = VG_NODE_NONE;
}

/* A node has moved: its old address keeps its place in the list, but is no longer asked for that node. */
void vg_route_learn_node(struct virgo *v, struct vg_peer *peer, __u16 node)
{
	if (peer->node < VG_NODES_MAX && v->peer_of_node[peer->node] == peer)
		v->peer_of_node[peer->node] = NULL;
	if (v->peer_of_node[node])
		v->peer_of_node[node]->node = VG_NODE_NONE;
	peer->node = node;
	v->peer_of_node[node] = peer;
}

struct vg_peer *vg_route_learn(struct virgo *v, struct vg_request *request, const union vg_address *from,
			       const struct vg_wire_header *header)
{
	__u16 node = VG_BE16TOH(header->source_node), *route;
	struct vg_peer *peer = request->peer;

	if (!vg_address_same(&peer->address, from)) {
		peer = node < VG_NODES_MAX ? v->peer_of_node[node] : NULL;
		if (!peer || !vg_address_same(&peer->address, from))
			peer = find_peer(v, from);
	}
	if (node >= VG_NODES_MAX)
		return peer;
	if (!peer && vg_peer_add(v, from, from->any.sa_family == AF_INET ? sizeof(from->v4) : sizeof(from->v6), &peer))
		return NULL;
	if (peer->node != node)
		vg_route_learn_node(v, peer, node);
	v->epoch = VG_BE32TOH(header->epoch);
	if (has_key(request) && (header->status == VG_STATUS_OK || header->status == VG_STATUS_NOT_FOUND)) {
		route = &v->node_of_partition[vg_request_partition(request) % VG_PARTITIONS];
		if (*route != node)
			v->counters.routes_learnt++;
		*route = node;
	}
	return peer;
}
