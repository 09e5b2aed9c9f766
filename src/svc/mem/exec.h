/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Carrying out a transaction: all keys it names and all it watches are locked, its commands run against a view of them,
 * and the store publishes all changes at once. A command that looks at the whole keyspace or at the server (KEYS,
 * DBSIZE, FLUSHALL, INFO …) runs between two such steps, with nothing locked: what stands before it and what stands
 * behind it are each atomic, the two together are not. (docs/decisions/0045-transactions.md)
 */
#ifndef VG_MEM_EXEC_H
#define VG_MEM_EXEC_H

#include "svc/mem/more.h"

/*
 * Answer the transaction's array to the call; the queue and the watched keys are taken over, and given back when it has
 * ended. As a command's run: 0 or -EINPROGRESS.
 */
int vg_exec_run(struct vg_call *call, struct vg_multi *multi, struct vg_watched **watched);

#endif
