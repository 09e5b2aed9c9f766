/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside quotas: quota.c asks and tells, quota_ledger.c counts, quota_count.c begins. */
#ifndef VG_SVC_FILE_QUOTA_H
#define VG_SVC_FILE_QUOTA_H

#include <pthread.h>
#include <string.h>

#include "svc/file/file.h"

#define VG_QUOTAS_MAX 64 /* a bit each */
_Static_assert(VG_QUOTAS_MAX == VG_FILE_EXPORTS_MAX + 1, "one of each export, and one of all");

struct vg_quota {
	const char *directory; /* a path of the pool, of the settings */
	__u32 length;
	__u64 bytes_max, files_max;	/* 0: no limit */
	__u64 bytes, files;		/* there are */
	__u64 bytes_asked, files_asked; /* requests under way may add */
};

/* A file that somebody has entered. */
struct vg_quota_entry {
	struct vg_quota_entry *next; /* of its bucket */
	__u64 device, inode;
	__u64 which;   /* quotas it counts for, a bit each */
	__u64 counted; /* bytes that are in them */
	__u32 references;
	bool nameless; /* when it was last looked at */
	/* The loop's alone: of requests on its descriptors. */
	__u32 under_way;
	__u64 asked; /* bytes that are reserved for them */
	__u64 top;   /* how long they may make it */
};

struct vg_quota_sum {
	__u64 bytes, files;
};

#define VG_QUOTA_BUCKETS 4096
struct vg_quotas {
	pthread_mutex_t lock; /* the numbers and the entries; held for a look at a file, never while one is changed */
	pthread_mutex_t names; /* held while a name goes, or is relied on; taken first */
	__u32 count;
	struct vg_quota quota[VG_QUOTAS_MAX];
	struct vg_quota_sum gained[VG_QUOTAS_MAX]; /* what has come since counting began */
	struct vg_quota_sum found[VG_QUOTAS_MAX];  /* what counting finds: its own until it has ended */
	bool counting;
	struct vg_quota_entry *entry[VG_QUOTA_BUCKETS];
};

/* The quotas that something of this path counts for, a bit each. */
__u64 vg_quotas_of_path(const struct vg_quotas *quotas, const char *path, __u32 length);
/* The lock is held, or nobody else is there yet. */
void vg_quotas_add(struct vg_quotas *quotas, __u64 which, __s64 bytes, __s64 files);
/* Bytes there may be more. */
__u64 vg_quotas_room(struct vg_quotas *quotas, __u64 which);
int vg_quotas_reserve(struct vg_quotas *quotas, __u64 which, __u64 bytes, __u64 files); /* 0 or -EDQUOT */
void vg_quotas_unreserve(struct vg_quotas *quotas, __u64 which, __u64 bytes, __u64 files);
/* An entered file has changed. */
void vg_quota_look(struct vg_file_pool *pool, struct vg_quota_entry *entry, int fd);
/* Take what was found for what there is. */
void vg_quotas_found(struct vg_quotas *quotas);
/* Count all there is into quotas->found, which takes as long as looking at it. 0, -ENOMEM, or what the disk says. */
int vg_quotas_count(struct vg_file_pool *pool, struct vg_quotas *quotas);
/* Again now and then, on a helper thread: where other nodes change what is here. */
void vg_quotas_count_again(struct vg_file_pool *pool);

#endif
