/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A worker's links to the other nodes: one TCP connection for each door that is asked, made when first needed. svc.h
 * has what services see.
 */
#ifndef VG_NODE_PEERS_H
#define VG_NODE_PEERS_H

#include "node/worker.h"

#define VG_PEER_ASKS_MAX 1024 /* questions a link holds open; past it: -ENOBUFS */
#define VG_PEER_TIMEOUT_MS 3000
#define VG_PEER_CONNECT_TIMEOUT_MS 1000
#define VG_PEER_REST_MS 200 /* after a failure questions fail at once for so long */

int vg_peers_new(struct vg_peers **ret_peers, struct vg_worker *worker);
void vg_peers_free(struct vg_peers *peers);
/* Deliver failures and time out links; each turn that had something to say, and each twentieth of a second. */
void vg_peers_tend(struct vg_peers *peers);
/*
 * Ping a port of another node by a datagram from `fd`: the answer (vg_peers_heard, or XDP) is a load stamp, and the
 * exchange keeps the link addresses resolved that XDP steers by.
 */
void vg_peers_ping(struct vg_peers *peers, __u16 node, __u16 port, int fd);
/* An answer that came by datagram from `source`, to whichever worker. */
void vg_peers_heard(struct vg_peers *peers, const struct vg_wire_header *reply, const struct sockaddr *source);
bool vg_peers_need_tending(const struct vg_peers *peers);

#endif
