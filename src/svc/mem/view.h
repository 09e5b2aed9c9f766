/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A transaction's view of the keys it names: made while the store has all their buckets locked, changed by the
 * transaction's commands one after the other, and handed back as one change a key. Nobody else sees anything of it
 * before the store publishes all of it.
 *
 * All of it happens inside one vg_store_transact() callback, on one thread. Memory comes from env->mem; when it is out,
 * the view is `failed` and the whole transaction must be given up.
 */
#ifndef VG_MEM_VIEW_H
#define VG_MEM_VIEW_H

#include "svc/mem/data.h"

struct vg_view;

/* An empty view with room for so many different keys (at most VG_TRANSACTION_KEYS_MAX). 0 or -ENOMEM. */
int vg_view_new(struct vg_view **ret_view, const struct vg_mem *mem, __u32 keys, __u64 now_ms);
void vg_view_free(struct vg_view *view); /* accepts NULL */
/* Name a key (its bytes must outlive the view); again and again the same one does no harm. -1: too many. */
int vg_view_add(struct vg_view *view, const struct vg_key *key);
/* The keys named, for vg_store_transact. */
const struct vg_key *vg_view_keys(const struct vg_view *view, int *ret_count);
/* The callback's start and end: what is there, and what shall be. */
void vg_view_begin(struct vg_view *view, const struct vg_entry *old);
void vg_view_finish(const struct vg_view *view, struct vg_change *changes);
/* A command has ended: values it replaced are no longer read by anyone. */
void vg_view_settle(struct vg_view *view);
bool vg_view_failed(const struct vg_view *view);

#endif
