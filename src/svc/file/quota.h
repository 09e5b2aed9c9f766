/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Inside quotas: quota.c and quota_count.c. */
#ifndef VG_SVC_FILE_QUOTA_H
#define VG_SVC_FILE_QUOTA_H

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

struct vg_quotas {
	__u32 count;
	struct vg_quota quota[VG_QUOTAS_MAX];
};

/* The quotas that something of this path counts for, a bit each. */
__u64 vg_quotas_of_path(const struct vg_quotas *quotas, const char *path, __u32 length);
void vg_quotas_add(struct vg_quotas *quotas, __u64 which, __s64 bytes, __s64 files);
/* Count all there is, which takes as long as looking at it. 0, -ENOMEM, or what the disk says. */
int vg_quotas_count(struct vg_file_pool *pool, struct vg_quotas *quotas);

#endif
