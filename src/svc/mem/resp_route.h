/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What forwarding one command and splitting one share. */
#ifndef VG_MEM_RESP_ROUTE_H
#define VG_MEM_RESP_ROUTE_H

#include "svc/mem/resp_call.h"

#define VG_ROUTE_ERROR_BYTES 192

/* Send a RESP request to a node; it answers in RESP of that version. */
void vg_route_ask(struct vg_env *env, __u16 node, int version, __u16 partition, const void *request, size_t length,
		  vg_peer_fn fn, void *context);
/* True: the node gave no RESP answer; `text` says so to the client. */
bool vg_route_reply_error(struct vg_env *env, __u16 node, const struct vg_peer_reply *reply,
			  char text[VG_ROUTE_ERROR_BYTES]);
/*
 * Split a command by the owners of its keys and merge the answers. -EINPROGRESS, or 0 when it could not be
 * (answered).
 */
int vg_route_split(struct vg_call *call);

size_t vg_route_arg_bytes(const struct vg_resp_arg *arg);
char *vg_route_put_header(char *at, char type, __s64 value);
char *vg_route_put_arg(char *at, const struct vg_resp_arg *arg);

#endif
