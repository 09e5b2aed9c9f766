// SPDX-License-Identifier: GPL-3.0-or-later
/* How the wire says what the kernel said, and the other way round. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "svc/file/file.h"

#define INODE_BITS 48

static __be64 time_ns(const struct statx_timestamp *time)
{
	return VG_HTOBE64((__u64)(time->tv_sec * 1000000000 + time->tv_nsec));
}

void vg_file_stat_pack(const struct vg_file_pool *pool, const struct statx *stat, struct vg_file_stat *ret_stat)
{
	__u64 inode = (stat->stx_ino & ((1ull << INODE_BITS) - 1)) | (__u64)pool->self << INODE_BITS;

	*ret_stat = (struct vg_file_stat){
		.inode = VG_HTOBE64(inode),
		.size = VG_HTOBE64(stat->stx_size),
		.allocated = VG_HTOBE64(stat->stx_blocks * 512),
		.accessed = time_ns(&stat->stx_atime),
		.modified = time_ns(&stat->stx_mtime),
		.changed = time_ns(&stat->stx_ctime),
		.created = time_ns(&stat->stx_btime),
		.mode = VG_HTOBE32(stat->stx_mode),
		.links = VG_HTOBE32(stat->stx_nlink),
		.uid = VG_HTOBE32(stat->stx_uid),
		.gid = VG_HTOBE32(stat->stx_gid),
		.block_size = VG_HTOBE32(stat->stx_blksize),
		.node = VG_HTOBE16(pool->self),
	};
}

void vg_op_answer_stat(struct vg_file_op *op, const struct statx *stat)
{
	vg_file_stat_pack(op->pool, stat, &op->packed);
	op->answer.body = &op->packed;
	op->answer.body_length = sizeof(op->packed);
}

int vg_file_open_flags(__u16 flags)
{
	bool reads = flags & VG_FILE_O_READ, writes = flags & VG_FILE_O_WRITE;
	int open_flags = reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY;

	if (flags & ~VG_FILE_O_KNOWN || !(reads || writes || flags & VG_FILE_O_DIRECTORY) ||
	    (flags & VG_FILE_O_EXCLUSIVE && !(flags & VG_FILE_O_CREATE)) ||
	    (flags & VG_FILE_O_DIRECTORY && flags & VG_FILE_O_CREATE))
		return -EINVAL;
	return open_flags | (flags & VG_FILE_O_TRUNCATE ? O_TRUNC : 0) | (flags & VG_FILE_O_DIRECT ? O_DIRECT : 0) |
	       (flags & VG_FILE_O_DIRECTORY ? O_DIRECTORY : 0);
}

__u32 vg_file_mode(const struct vg_file_pool *pool, __u32 mode)
{
	return mode & (pool->settings->ids ? 07777 : 01777);
}
