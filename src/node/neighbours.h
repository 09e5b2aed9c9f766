/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The link addresses of the other nodes, asked of the kernel over rtnetlink, for XDP to steer by. The FIB helper of BPF
 * answers only on interfaces that forward, which a node's need not do; the neighbour table may be read by anybody.
 */
#ifndef VG_NODE_NEIGHBOURS_H
#define VG_NODE_NEIGHBOURS_H

#include "node/bpfmaps.h"
#include "node/cluster.h"

/*
 * Write the next hop's link address and interface of every other node into the node table, where the kernel knows them.
 * What it does not know stays as it was. Any one thread; takes two short system calls a node. 0 or a negative errno.
 */
int vg_neighbours_refresh(struct vg_bpfmaps *maps, const struct vg_cluster *cluster);

#endif
