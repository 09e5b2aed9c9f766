/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The data directory at start: opened, held by this daemon alone, and the store made again from what is in it. */
#ifndef VG_NODE_DATA_DIR_H
#define VG_NODE_DATA_DIR_H

#include "node/world.h"
#include "pool/recover.h"

/* Fills in world->data_fd; without --data-dir it stays -1. 0 or a negative errno and `why`. */
int vg_data_dir_open(struct vg_world *world, char *why, size_t why_bytes);
void vg_data_dir_close(struct vg_world *world);
/* Snapshot and log into the empty store, by this thread as worker 0. */
int vg_data_dir_recover(struct vg_world *world, __u64 now_ms, struct vg_recovered *ret_recovered, char *why,
			size_t why_bytes);

#endif
