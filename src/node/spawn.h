/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The daemon's end of the spawner: svc/spawn.h on the worker that runs the CPU pool. */
#ifndef VG_NODE_SPAWN_H
#define VG_NODE_SPAWN_H

#include "node/options.h"
#include "svc/spawn.h"

struct vg_spawner;

/*
 * Start the spawner's process; early, while the daemon is small. 0 or a negative errno and `why`. The options must
 * outlive it.
 */
int vg_spawner_new(struct vg_spawner **ret_spawner, const struct vg_options *options, char *why, size_t why_bytes);
/* Its socket ends, and with it everything it has started; waits for it. Accepts NULL. */
void vg_spawner_free(struct vg_spawner *spawner);

#endif
