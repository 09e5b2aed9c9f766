/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The nodes of the cluster and which of them owns a partition. Built at start, then read by every thread. */
#ifndef VG_NODE_CLUSTER_H
#define VG_NODE_CLUSTER_H

#include <sys/socket.h>

#include "node/options.h"
#include "svc/svc.h"

struct vg_cluster_node {
	char text[80]; /* "address:port" */
	struct sockaddr_storage address;
	socklen_t address_length;
	__u16 port_mem, port_cpu, port_file; /* 0: off */
};

struct vg_cluster {
	__u16 self, nodes;
	__u32 epoch;
	bool keyed;
	__u64 key[2];
	struct vg_cluster_node node[VG_NODES_MAX];
	__u16 owner[VG_PARTITIONS];
};

/*
 * "ADDR[:PORT][/CPUPORT[/FILEPORT]]", numeric: a name that resolves differently on two nodes would split the cluster.
 * `defaults` has the ports of what the text does not name; but where it names the memory pool's port, the others are
 * off unless it names them too. 0 or -EINVAL.
 */
struct vg_cluster_ports {
	__u16 mem, cpu, file;
};
int vg_cluster_node_parse(struct vg_cluster_node *node, const char *text, const struct vg_cluster_ports *defaults);

/* 0, -EINVAL (a bad list), -ENOENT (this node is not in it), -ENOMEM; `why` gets the sentence a person needs. */
int vg_cluster_new(struct vg_cluster **ret_cluster, const struct vg_options *options, char *why, size_t why_bytes);
void vg_cluster_free(struct vg_cluster *cluster);

#endif
