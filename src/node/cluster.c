/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/number.h"
#include "node/cluster.h"

__u16 vg_cluster_self(const struct vg_cluster *cluster)
{
	return cluster->self;
}

__u16 vg_cluster_nodes(const struct vg_cluster *cluster)
{
	return cluster->nodes;
}

__u32 vg_cluster_epoch(const struct vg_cluster *cluster)
{
	return cluster->epoch;
}

__u16 vg_cluster_owner(const struct vg_cluster *cluster, __u16 partition)
{
	return partition < VG_PARTITIONS ? cluster->owner[partition] : VG_NODE_NONE;
}

const char *vg_cluster_address(const struct vg_cluster *cluster, __u16 node)
{
	return node < cluster->nodes ? cluster->node[node].text : NULL;
}

const __u64 *vg_cluster_key(const struct vg_cluster *cluster)
{
	return cluster->keyed ? cluster->key : NULL;
}

__u16 vg_cluster_port(const struct vg_cluster *cluster, __u16 node, unsigned int door)
{
	const struct vg_cluster_node *of = &cluster->node[node];

	if (node >= cluster->nodes)
		return 0;
	return door == VG_DOOR_MEM  ? of->port_mem :
	       door == VG_DOOR_CPU  ? of->port_cpu :
	       door == VG_DOOR_FILE ? of->port_file :
				      0;
}

/* Cut "/PORT" off the end, if it is there. 0 or -EINVAL. */
static int cut_port(char *text, __u16 *port)
{
	char *slash = strchr(text, '/');
	__u64 number;

	if (!slash)
		return 0;
	*slash++ = '\0';
	if (vg_number_parse(slash, 65535, &number))
		return -EINVAL;
	*port = (__u16)number;
	return 0;
}

/* The ports behind the address: of the CPU pool, then of the file pool. */
static int parse_ports(struct vg_cluster_node *node, char *text, const struct vg_cluster_ports *defaults)
{
	char *first = strchr(text, '/'), *second = first ? strchr(first + 1, '/') : NULL;
	bool alone;

	if (first)
		*first = '\0';
	alone = vg_address_has_port(text);
	if (first)
		*first = '/';
	node->port_cpu = alone ? 0 : defaults->cpu;
	node->port_file = alone ? 0 : defaults->file;
	if (second && cut_port(second, &node->port_file))
		return -EINVAL;
	return cut_port(text, &node->port_cpu);
}

int vg_cluster_node_parse(struct vg_cluster_node *node, const char *whole, const struct vg_cluster_ports *defaults)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&node->address;
	struct sockaddr_in *four = (struct sockaddr_in *)&node->address;
	char address[64], text[96];

	node->port_mem = defaults->mem;
	if ((size_t)snprintf(text, sizeof(text), "%s", whole) >= sizeof(text) || parse_ports(node, text, defaults) ||
	    vg_address_split(text, address, sizeof(address), &node->port_mem))
		return -EINVAL;
	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(node->port_mem);
		node->address_length = sizeof(*four);
		snprintf(node->text, sizeof(node->text), "%s:%u", address, node->port_mem);
		return 0;
	}
	if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(node->port_mem);
		node->address_length = sizeof(*six);
		snprintf(node->text, sizeof(node->text), "[%s]:%u", address, node->port_mem);
		return 0;
	}
	return -EINVAL;
}

static int parse_list(struct vg_cluster *cluster, const struct vg_options *options, __u16 port, char *why,
		      size_t why_bytes)
{
	const char *separators = ", \t\r\n", *at = options->nodes;
	/* Nodes are configured alike: where the list says nothing, the others' pools are where ours are. */
	const struct vg_cluster_ports defaults = {
		.mem = port,
		.cpu = options->port[VG_DOOR_CPU] ? (__u16)options->port[VG_DOOR_CPU] : VG_PORT_CPU,
		.file = options->port[VG_DOOR_FILE] && options->port[VG_DOOR_FILE] != VG_PORT_UNSAID ?
				(__u16)options->port[VG_DOOR_FILE] : VG_PORT_FILE,
	};
	char text[80];

	while (*(at += strspn(at, separators))) {
		size_t length = strcspn(at, separators);

		snprintf(text, sizeof(text), "%.*s", (int)length, at);
		if (cluster->nodes == VG_NODES_MAX) {
			snprintf(why, why_bytes, "nodes: more than %d", VG_NODES_MAX);
			return -EINVAL;
		}
		if (length >= sizeof(text) || vg_cluster_node_parse(&cluster->node[cluster->nodes], text, &defaults)) {
			snprintf(why, why_bytes, "nodes: '%s' is not an address", text);
			return -EINVAL;
		}
		cluster->nodes++;
		at += length;
	}
	return 0;
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	if (!a || a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 && memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
						  &((const struct sockaddr_in6 *)b)->sin6_addr, 16) == 0;
}

/* The listed node that listens where we do; else the one, with our port, whose address an interface has. */
static int find_self(const struct vg_cluster *cluster, const struct vg_cluster_node *listen)
{
	struct ifaddrs *interfaces, *each;
	int found = -ENOENT;

	for (int i = 0; i < cluster->nodes; i++)
		if (cluster->node[i].port_mem == listen->port_mem &&
		    same_host((const void *)&cluster->node[i].address, (const void *)&listen->address))
			return i;
	if (getifaddrs(&interfaces))
		return -errno;
	for (each = interfaces; each && found < 0; each = each->ifa_next)
		for (int i = 0; i < cluster->nodes && found < 0; i++)
			if (cluster->node[i].port_mem == listen->port_mem &&
			    same_host(each->ifa_addr, (const void *)&cluster->node[i].address))
				found = i;
	freeifaddrs(interfaces);
	return found;
}

static int set_key(struct vg_cluster *cluster, const struct vg_options *options)
{
	cluster->keyed = options->keyed || options->password[0];
	if (options->keyed) {
		memcpy(cluster->key, options->cluster_key, sizeof(cluster->key));
		return 0;
	}
	/* A password without a key protects RESP and text; nobody knows this key, so binary messages are refused. */
	return cluster->keyed && getrandom(cluster->key, sizeof(cluster->key), 0) != sizeof(cluster->key) ? -EIO : 0;
}

static int build(struct vg_cluster *cluster, const struct vg_options *options, char *why, size_t why_bytes)
{
	const struct vg_cluster_ports defaults = { .mem = (__u16)options->port[VG_DOOR_MEM] };
	struct vg_cluster_node listen = { 0 };
	int self, error;

	if (vg_cluster_node_parse(&listen, options->listen, &defaults)) {
		snprintf(why, why_bytes, "listen: '%s' is not a numeric address", options->listen);
		return -EINVAL;
	}
	error = parse_list(cluster, options, (__u16)options->port[VG_DOOR_MEM], why, why_bytes);
	if (error)
		return error;
	if (cluster->nodes == 0)
		cluster->node[cluster->nodes++] = listen;
	if (options->node != VG_NODE_NONE)
		self = options->node < cluster->nodes ? (int)options->node : -ENOENT;
	else
		self = cluster->nodes == 1 && !options->nodes[0] ? 0 : find_self(cluster, &listen);
	if (self < 0) {
		snprintf(why, why_bytes, "this node (%s) is not in the node list: name its place with node = N",
			 listen.text);
		return self;
	}
	if (cluster->nodes > 1 && !options->keyed && options->password[0]) {
		snprintf(why, why_bytes,
			 "a cluster of several nodes with a password needs a key-file: nodes speak by key");
		return -EINVAL;
	}
	cluster->self = (__u16)self;
	cluster->node[self].port_cpu = (__u16)options->port[VG_DOOR_CPU];
	cluster->node[self].port_file = (__u16)options->port[VG_DOOR_FILE];
	cluster->epoch = (__u32)options->epoch;
	for (unsigned int p = 0; p < VG_PARTITIONS; p++)
		cluster->owner[p] = (__u16)(p * cluster->nodes / VG_PARTITIONS);
	return set_key(cluster, options);
}

int vg_cluster_new(struct vg_cluster **ret_cluster, const struct vg_options *options, char *why, size_t why_bytes)
{
	struct vg_cluster *cluster = calloc(1, sizeof(*cluster));
	int error = cluster ? build(cluster, options, why, why_bytes) : -ENOMEM;

	if (error) {
		vg_cluster_free(cluster);
		return error;
	}
	*ret_cluster = cluster;
	return 0;
}

void vg_cluster_free(struct vg_cluster *cluster)
{
	if (cluster)
		explicit_bzero(cluster->key, sizeof(cluster->key));
	free(cluster);
}
