/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside the table of locks: lock_table.c and lock_owner.c. */
#ifndef VG_SVC_FILE_LOCK_INSIDE_H
#define VG_SVC_FILE_LOCK_INSIDE_H

#include "svc/file/lock_table.h"
#include "svc/file/lock_tree.h"

#define VG_LOCK_BUCKETS 16384

struct vg_lock_wait;

struct vg_lock_file {
	struct vg_lock_file *next; /* of its bucket */
	struct vg_lock_file *dirty; /* of those with something given back, whose waiters are to be looked at */
	bool is_dirty;
	__u64 device, inode;
	__u32 references; /* its locks and waits, and whoever works on it */
	struct vg_lock_tree tree[2]; /* of ranges, of whole files */
	struct vg_lock_wait *first, *last; /* in the order they came */
};

struct vg_lock_owner {
	struct vg_lock_owner *next; /* of its bucket */
	struct vg_lock_owner *newer, *older; /* of the session */
	struct vg_lock_session *session;
	__u64 number;
	bool whole; /* the space it lives in */
	__u32 references;
	struct vg_lock *locks;
	struct vg_lock_wait *waits;
	__u64 search; /* the last one that came by */
	struct vg_lock_owner *to_visit;
};

struct vg_locks {
	const struct vg_mem *mem;
	__u64 key[2]; /* of the hash: owners choose their numbers */
	__u64 random, searches;
	struct vg_lock_figures figures;
	struct vg_lock_wait *ended, **ended_end; /* to be told, in order */
	struct vg_lock_file *file[VG_LOCK_BUCKETS];
	struct vg_lock_owner *owner[VG_LOCK_BUCKETS];
};

void *vg_lock_take_memory(struct vg_locks *locks, size_t bytes); /* zeroed, or NULL */
void vg_lock_give_memory(struct vg_locks *locks, void *memory);
/* Where the pointer to it is, or would be. */
struct vg_lock_file **vg_lock_file_link(struct vg_locks *locks, __u64 device, __u64 inode);
struct vg_lock_owner **vg_lock_owner_link(struct vg_locks *locks, const struct vg_lock_session *session, __u64 number,
					  bool whole);
/* The caller's until _put. NULL: no memory, or there is none, when `make` is false. */
struct vg_lock_file *vg_lock_file_get(struct vg_locks *locks, __u64 device, __u64 inode, bool make);
void vg_lock_file_put(struct vg_locks *locks, struct vg_lock_file *file);
struct vg_lock_owner *vg_lock_owner_get(struct vg_locks *locks, struct vg_lock_session *session, __u64 number,
					bool whole, bool make);
void vg_lock_owner_put(struct vg_locks *locks, struct vg_lock_owner *owner);

#endif
