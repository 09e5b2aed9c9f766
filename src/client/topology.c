/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cluster's table, asked for only when a node says "another node's" of one whose address we do not know: without
 * XDP on the way nobody steers a datagram to its owner, so that no answer would ever teach us its address.
 *
 *     {"epoch":1,"self":0,"nodes":[{"node":0,"address":"10.0.0.1","port":30000,"cpu_port":10000,"file_port":50000},…],
 *      "partitions":[[0,16383,0],…]}
 *
 * The reader below takes just this shape, names in any order, and gives up at the first thing that is none of it: what
 * it has learnt until then is harmless, as routes are only hints and answers correct them.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "client/client.h"

#define TEXT_MAX 64
#define REFRESH_NS 1000000000ULL

struct reader {
	const char *at, *end;
};

static bool skip_to(struct reader *r, char wanted)
{
	while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
	if (r->at == r->end || *r->at != wanted)
		return false;
	r->at++;
	return true;
}

/* A string without escapes, as names and addresses are. */
static bool take_text(struct reader *r, char *text)
{
	size_t length = 0;

	if (!skip_to(r, '"'))
		return false;
	for (; r->at < r->end && *r->at != '"' && *r->at != '\\' && length < TEXT_MAX - 1; r->at++)
		text[length++] = *r->at;
	text[length] = '\0';
	return skip_to(r, '"');
}

static bool take_number(struct reader *r, __u32 maximum, __u32 *ret_number)
{
	__u64 number = 0;
	const char *start;

	while (r->at < r->end && *r->at == ' ')
		r->at++;
	for (start = r->at; r->at < r->end && *r->at >= '0' && *r->at <= '9' && number <= maximum; r->at++)
		number = number * 10 + (__u64)(*r->at - '0');
	*ret_number = (__u32)number;
	return r->at != start && number <= maximum;
}

static void learn_address(struct virgo *v, __u32 node, const char *text, __u16 port)
{
	union vg_address address = { 0 };
	struct vg_peer *peer;

	if (inet_pton(AF_INET, text, &address.v4.sin_addr) == 1 && address.v4.sin_addr.s_addr != htonl(INADDR_ANY)) {
		address.v4.sin_family = AF_INET;
		address.v4.sin_port = htons(port);
	} else if (inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1 &&
		   !IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr)) {
		address.v6.sin6_family = AF_INET6;
		address.v6.sin6_port = htons(port);
	} else {
		return;
	}
	/* What answers have taught is fresher. */
	if (v->peer_of_node[node])
		return;
	if (vg_peer_add(v, &address, address.any.sa_family == AF_INET ? sizeof(address.v4) : sizeof(address.v6),
			&peer) == 0)
		vg_route_learn_node(v, peer, (__u16)node);
}

static bool take_node(struct reader *r, struct virgo *v)
{
	__u32 node = VG_NODE_NONE, port = 0, cpu_port = ~0u, file_port = ~0u;
	char name[TEXT_MAX], address[TEXT_MAX] = "";

	do {
		bool taken = take_text(r, name) && skip_to(r, ':');

		if (taken && strcmp(name, "node") == 0)
			taken = take_number(r, VG_NODES_MAX - 1, &node);
		else if (taken && strcmp(name, "port") == 0)
			taken = take_number(r, 65535, &port);
		else if (taken && strcmp(name, "cpu_port") == 0)
			taken = take_number(r, 65535, &cpu_port);
		else if (taken && strcmp(name, "file_port") == 0)
			taken = take_number(r, 65535, &file_port);
		else if (taken && strcmp(name, "address") == 0)
			taken = take_text(r, address);
		else
			taken = false;
		if (!taken)
			return false;
	} while (skip_to(r, ','));
	if (node < VG_NODES_MAX && port)
		learn_address(v, node, address, (__u16)port);
	if (node < VG_NODES_MAX && v->peer_of_node[node] && cpu_port != ~0u) {
		v->peer_of_node[node]->cpu_port = (__u16)cpu_port;
		v->peer_of_node[node]->cpu_off = cpu_port == 0;
	}
	if (node < VG_NODES_MAX && v->peer_of_node[node] && file_port != ~0u) {
		v->peer_of_node[node]->file_port = (__u16)file_port;
		v->peer_of_node[node]->file_off = file_port == 0;
	}
	return skip_to(r, '}');
}

static bool take_partitions(struct reader *r, struct virgo *v)
{
	__u32 first, last, node;

	if (!take_number(r, VG_PARTITIONS - 1, &first) || !skip_to(r, ',') ||
	    !take_number(r, VG_PARTITIONS - 1, &last) || !skip_to(r, ',') || !take_number(r, VG_NODE_NONE, &node) ||
	    !skip_to(r, ']'))
		return false;
	for (__u32 p = first; p <= last; p++)
		v->node_of_partition[p] = (__u16)node;
	return true;
}

static bool take_list(struct reader *r, struct virgo *v, char open, bool (*take)(struct reader *r, struct virgo *v))
{
	if (!skip_to(r, '['))
		return false;
	if (skip_to(r, ']'))
		return true;
	do {
		if (!skip_to(r, open) || !take(r, v))
			return false;
	} while (skip_to(r, ','));
	return skip_to(r, ']');
}

void vg_topology_read(struct virgo *v, const char *text, size_t length)
{
	struct reader r = { text, text + length };
	char name[TEXT_MAX];
	__u32 number;
	bool taken = skip_to(&r, '{');

	while (taken) {
		taken = take_text(&r, name) && skip_to(&r, ':');
		if (taken && strcmp(name, "nodes") == 0)
			taken = take_list(&r, v, '{', take_node);
		else if (taken && strcmp(name, "partitions") == 0)
			taken = take_list(&r, v, '[', take_partitions);
		else
			taken = taken && take_number(&r, ~0u, &number);
		taken = taken && skip_to(&r, ',');
	}
}

static void on_topology(void *context, const struct virgo_result *result)
{
	if (!result->error)
		vg_topology_read(context, result->data, result->length);
}

void vg_topology_fetch(struct virgo *v, __u64 now_ns)
{
	if (v->flags & (VIRGO_NO_TCP | VIRGO_ASK_ANY) || now_ns < v->topology_due_ns)
		return;
	if (vg_submit_internal(v,
			       &(struct virgo_request){ .operation = VIRGO_TOPOLOGY, .fn = on_topology, .context = v }))
		return;
	v->topology_due_ns = now_ns + REFRESH_NS;
}
