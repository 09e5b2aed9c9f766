// SPDX-License-Identifier: GPL-3.0-or-later
/* LIST: the entries of a directory that this node speaks for. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "svc/file/disk.h"
#include "svc/file/name.h"
#include "svc/file/tree.h"

#define ENTRY_MAX (sizeof(struct vg_file_entry) + VG_FILE_NAME_MAX + 8)

struct listing {
	const struct vg_file_op *op;
	__u8 *data;
	__u32 room, filled;
	bool with_stat;
};

static bool is_reserved(const struct vg_file_op *op, const struct vg_disk_entry *entry)
{
	return !op->path_length && entry->length >= VG_FILE_RESERVED_LENGTH &&
	       !memcmp(entry->name, VG_FILE_RESERVED, VG_FILE_RESERVED_LENGTH);
}

/* A copy of a directory is listed where its name lives, unless copies are asked for. */
static bool is_ours(const struct vg_file_op *op, const char *name, __u32 length)
{
	return op->pool->alone || op->flags & VG_FILE_COPIES ||
	       vg_cluster_owner(op->pool->env->cluster, vg_file_partition(name, length)) == op->pool->self;
}

static __u32 mode_of_type(__u8 type)
{
	return type == DT_DIR ? S_IFDIR : type == DT_LNK ? S_IFLNK : S_IFREG;
}

/* What is listed, and how: false: it is not. */
static bool describe(const struct listing *listing, const struct vg_disk_entry *entry, struct statx *stat,
		     __u16 *ret_flags)
{
	const struct vg_file_op *op = listing->op;
	char target[VG_STUB_TARGET_MAX];
	struct vg_stub stub;
	int length;

	*stat = (struct statx){ .stx_ino = entry->inode, .stx_mode = (__u16)mode_of_type(entry->type) };
	*ret_flags = 0;
	if ((listing->with_stat || entry->type == DT_UNKNOWN) && vg_disk_stat_at(entry->dir_fd, entry->name, stat))
		return false; /* it went away meanwhile */
	if (S_ISDIR(stat->stx_mode))
		return is_ours(op, entry->name, entry->length);
	if (!S_ISLNK(stat->stx_mode))
		return S_ISREG(stat->stx_mode);
	length = vg_disk_readlink_at(entry->dir_fd, entry->name, target, sizeof(target));
	switch (length < 0 ? VG_STUB_NONE : vg_stub_parse(target, (size_t)length, &stub)) {
	case VG_STUB_NONE:
		return true;
	case VG_STUB_STRIPED:
		stat->stx_mode = (__u16)((stat->stx_mode & 07777) | S_IFREG);
		*ret_flags = VG_FILE_STRIPED;
		return true;
	case VG_STUB_HOME:
		break;
	}
	return false;
}

static int add(void *context, const struct vg_disk_entry *entry)
{
	struct listing *listing = context;
	struct vg_file_entry *at = (void *)(listing->data + listing->filled);
	__u32 bytes = (__u32)VG_ALIGN_UP(sizeof(*at) + entry->length, 8ul);
	struct statx stat;
	__u16 flags;

	if (entry->type != DT_REG && entry->type != DT_DIR && entry->type != DT_LNK && entry->type != DT_UNKNOWN)
		return 0;
	if (is_reserved(listing->op, entry) || entry->length > VG_FILE_NAME_MAX)
		return 0;
	if (listing->filled + bytes > listing->room)
		return 1;
	if (!describe(listing, entry, &stat, &flags))
		return 0;
	memset(at, 0, bytes);
	vg_file_stat_pack(listing->op->pool, &stat, &at->stat);
	if (!listing->with_stat) /* what was not looked at is not said */
		at->stat.links = at->stat.block_size = 0;
	at->stat.flags = VG_HTOBE16(flags);
	at->cursor = VG_HTOBE64(entry->cursor);
	at->name_length = VG_HTOBE16((__u16)entry->length);
	memcpy(at + 1, entry->name, entry->length);
	listing->filled += bytes;
	return 0;
}

static int list_work(struct vg_file_op *op)
{
	struct listing listing = {
		.op = op,
		.data = op->buffer,
		.room = op->buffer_bytes,
		.with_stat = op->flags & VG_FILE_WITH_STAT,
	};
	int error = vg_disk_list(op->pool->root_fd, op->path, op->argument, add, &listing, &op->own.name.cursor);

	return error ?: (int)listing.filled;
}

static void list_done(struct vg_file_op *op, int result)
{
	if (result < 0) {
		vg_op_fail(op, result);
		return;
	}
	op->answer = (struct vg_file_answer){
		.argument = op->own.name.cursor, .body = op->buffer, .body_length = (__u32)result
	};
	vg_op_ok(op);
}

void vg_name_list(struct vg_file_op *op)
{
	struct vg_file_span span;
	__u32 bytes;

	memcpy(&span, op->body, sizeof(span));
	bytes = VG_BE32TOH(span.length) < VG_FILE_LIST_MAX ? VG_BE32TOH(span.length) : VG_FILE_LIST_MAX;
	op->body_length = 0;
	if (bytes < ENTRY_MAX)
		vg_op_fail(op, -EINVAL); /* not one entry would fit */
	else if (vg_op_buffer(op, bytes))
		vg_op_fail(op, -ENOMEM);
	else
		vg_op_work(op, list_work, list_done);
}
