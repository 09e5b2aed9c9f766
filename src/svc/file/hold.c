// SPDX-License-Identifier: GPL-3.0-or-later
/* What hold.h promises, until its modules are there. */
#include "svc/file/hold.h"

#include <errno.h>

int vg_quotas_init(struct vg_file_pool *pool)
{
	return 0;
}
void vg_quotas_deinit(struct vg_file_pool *pool)
{
}
bool vg_quota_begin(struct vg_file_op *op)
{
	return true;
}
void vg_quota_descriptor_opened(struct vg_file_descriptor *descriptor, const struct statx *stat,
				const struct vg_file_op *op)
{
}
void vg_quota_inode_gone(struct vg_file_inode *inode)
{
}
void vg_quota_settle(struct vg_file_op *op, int error)
{
}
void vg_quota_statfs(const struct vg_file_op *op, struct vg_file_statfs *statfs)
{
}
