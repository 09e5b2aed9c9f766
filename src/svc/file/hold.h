/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a client holds (locks, watches), what is remembered for it (retries), and what it may (exports, quotas). The
 * core calls these; see file.h for when.
 */
#ifndef VG_SVC_FILE_HOLD_H
#define VG_SVC_FILE_HOLD_H

#include "svc/file/file.h"
#include "virgo/wire.h"

/* ---- retry.c: changes are made once ------------------------------------------------------------------------------ */

/*
 * A change of a client comes in. True: go on, it is new (and will be told to vg_retry_end). False: it was made before
 * and has been answered, or is under way and will be answered to this connection, or cannot be known and has been
 * refused; the op is gone.
 */
bool vg_retry_begin(struct vg_file_op *op);
/* It is being answered so. Called for every op for which begin said to go on, before the answer leaves. */
void vg_retry_end(struct vg_file_op *op, enum vg_status status, const struct vg_file_answer *answer);
void vg_retry_client_ended(struct vg_file_client *client);

/* ---- export.c: whom a key lets in -------------------------------------------------------------------------------- */

/*
 * Fills pool->exports; [0] is the whole root under the cluster's key (or none). 0 or a negative errno, logged.
 * Directories of exports are made where they are missing.
 */
int vg_exports_init(struct vg_file_pool *pool);
void vg_exports_deinit(struct vg_file_pool *pool);
/* The export whose key the message's tag is made with; NULL: none. `key_padded`: the bytes behind the header. */
const struct vg_file_export *vg_export_find(const struct vg_file_pool *pool, const struct vg_wire_header *header,
					    const __u8 *key_padded);
/* Of who sends no tag and speaks text; NULL: they are not let in. */
const struct vg_file_export *vg_export_without_key(const struct vg_file_pool *pool);

/* ---- quota.c ----------------------------------------------------------------------------------------------------- */

int vg_quotas_init(struct vg_file_pool *pool);
void vg_quotas_deinit(struct vg_file_pool *pool);
/*
 * A change (VG_FILE_CHANGES), once there are quotas, before it runs. True: go on. False: it has failed: EDQUOT, or
 * EXDEV (from under one quota to under another), EBUSY (a directory with a quota keeps its name). op->quota.bytes is
 * what a CHANGE or PUT by path may make the file longer.
 */
bool vg_quota_begin(struct vg_file_op *op);
/* The same for a file that is made here for its name's node (FILE_HOME). */
bool vg_quota_made_elsewhere(struct vg_file_op *op);
/* It has ended, and op->quoted is set: what was reserved is free again. */
void vg_quota_settle(struct vg_file_op *op);
void vg_quota_descriptor_opened(struct vg_file_descriptor *descriptor, const struct vg_file_op *op);
/* Its last descriptor is about to be, and inode->quota is set. */
void vg_quota_inode_gone(struct vg_file_pool *pool, struct vg_file_inode *inode, int fd);
/* statfs under a quota: of the quota. */
void vg_quota_statfs(const struct vg_file_op *op, struct vg_file_statfs *statfs);

/*
 * quota_ledger.c, any thread; without quotas they do nothing. Who changes the length of a file by its path enters it
 * before and leaves it after. 0, -ENOMEM, or what fstat(2) says.
 */
struct vg_quota_entry;
int vg_quota_enter(struct vg_file_pool *pool, const char *path, int fd, struct vg_quota_entry **ret_entry);
void vg_quota_leave(struct vg_file_pool *pool, struct vg_quota_entry *entry, int fd);
/*
 * The same by name, around what takes that name away or changes what has it: no name goes meanwhile. _end in any case.
 * Besides errors as above: there is no such name, then nothing must be done either.
 */
struct vg_quota_name {
	int fd;
	bool locked;
	struct vg_quota_entry *entry;
};
int vg_quota_name_begin(struct vg_file_pool *pool, const char *path, struct vg_quota_name *ret_name);
void vg_quota_name_end(struct vg_file_pool *pool, const struct vg_quota_name *name);
/* vg_disk_rename, which may take a name away. */
int vg_quota_rename(struct vg_file_pool *pool, const char *from, const char *to, unsigned int flags, bool stubs,
		    char *ret_target);
/* Around what may make a file, directory or link; it counts from before it is there. */
void vg_quota_make_begin(struct vg_file_op *op);
void vg_quota_make_end(struct vg_file_op *op, bool made);

/* ---- lock.c ------------------------------------------------------------------------------------------------------ */

int vg_locks_init(struct vg_file_pool *pool);
void vg_locks_deinit(struct vg_file_pool *pool);
void vg_lock_run(struct vg_file_op *op); /* FILE_LOCK */
void vg_lock_descriptor_closed(struct vg_file_descriptor *descriptor);
void vg_lock_client_ended(struct vg_file_client *client); /* ends what waits, by vg_op_fail(op, -EINTR) */

/* ---- watch.c ----------------------------------------------------------------------------------------------------- */

int vg_watches_init(struct vg_file_pool *pool);
void vg_watches_deinit(struct vg_file_pool *pool);
void vg_watch_run(struct vg_file_op *op);   /* FILE_WATCH */
void vg_unwatch_run(struct vg_file_op *op); /* FILE_UNWATCH */
void vg_watch_client_ended(struct vg_file_client *client);

#endif
