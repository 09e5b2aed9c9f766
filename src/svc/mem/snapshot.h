/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Snapshots over the binary protocol: a client opens one, reads keys of it or, for a backup, all of its bytes, and
 * closes it. Streams only. One that nobody has asked for VG_SNAPSHOT_LEASE_MS is ended.
 */
#ifndef VG_MEM_SNAPSHOT_H
#define VG_MEM_SNAPSHOT_H

#include "svc/mem/mem.h"

#define VG_SNAPSHOT_LEASE_MS 60000
#define VG_SNAPSHOT_PART_BYTES 131072 /* of a backup, at once */
#define VG_BACKUPS_MAX 4	      /* at a time */

struct vg_backups;
int vg_backups_new(struct vg_backups **ret_backups, const struct vg_mem *mem);
void vg_backups_free(struct vg_backups *backups); /* accepts NULL */

static inline bool vg_mem_is_snapshot(__u8 opcode)
{
	return opcode >= VG_OP_SNAPSHOT_OPEN && opcode <= VG_OP_SNAPSHOT_LOAD;
}

/* Answers at once. `buffer` has VG_MEM_BUFFER_BYTES. */
void vg_mem_snapshot(struct vg_env *env, const struct vg_mem_request *request, void *buffer,
		     struct vg_mem_answer *ret_answer);

#endif
