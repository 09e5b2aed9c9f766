/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The agent seen from outside: HTTP pages for Prometheus, for health checks and for people. */
#ifndef VG_LOADER_ADMIN_H
#define VG_LOADER_ADMIN_H

#include "options.h"
#include "status.h"

struct MHD_Daemon;

/* What the HTTP thread works with; it alone touches `status` after the start. */
struct vg_admin {
	struct vg_status_source source;
	struct vg_node_status *status;
	const struct vg_options *options;
	struct MHD_Daemon *daemon; /* NULL: not listening */
};

/* Listen on options->admin. 0 or a negative errno, explained. */
int vg_admin_start(struct vg_admin *admin);
void vg_admin_stop(struct vg_admin *admin);

#endif
