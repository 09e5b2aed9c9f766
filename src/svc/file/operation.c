// SPDX-License-Identifier: GPL-3.0-or-later
/* The operations, and what each request passes through before it runs. */
#include <errno.h>
#include <string.h>

#include "svc/file/data.h"
#include "svc/file/hold.h"
#include "svc/file/name.h"
#include "svc/file/tree.h"

#define KEY VG_FILE_NEEDS_KEY
#define NAME VG_FILE_NEEDS_NAME
#define IDENT VG_FILE_NEEDS_IDENT
#define OTHER VG_FILE_NEEDS_OTHER
#define CHANGES VG_FILE_CHANGES
#define ONCE VG_FILE_REMEMBERED
#define GROWS VG_FILE_GROWS
#define NODES VG_FILE_FORWARDABLE

#define XATTR_BODY_MAX (sizeof(struct vg_file_xattr) + VG_FILE_NAME_MAX + VG_FILE_XATTR_MAX)
#define PATHS_MAX 8192 /* longer ones than may be are refused by their own error */
#define SPAN sizeof(struct vg_file_span)
#define FETCHED VG_FILE_IN_PLACE_MAX /* of a larger file more is asked for when it is known how large it is */

static const struct vg_file_operation operations[] = {
#define AT(name) [VG_OP_FILE_##name - VG_OP_FILE_SESSION]
	AT(SESSION) = { vg_session_run, VG_FILE_NO_CLIENT, sizeof(struct vg_file_session),
			sizeof(struct vg_file_session) },
	AT(END) = { vg_session_end_run },
	AT(OPEN) = { vg_name_open, KEY | CHANGES | ONCE | GROWS | NODES, 0, sizeof(struct vg_file_stripes) },
	AT(CLOSE) = { vg_name_close, IDENT | ONCE | NODES },
	AT(READ) = { vg_bytes_read, IDENT | VG_FILE_NEEDS_READ | NODES, SPAN, SPAN, VG_FILE_DATA_MAX },
	AT(WRITE) = { vg_bytes_write, IDENT | VG_FILE_NEEDS_WRITE | CHANGES | ONCE | GROWS | NODES, 0,
		      VG_FILE_DATA_MAX },
	AT(SYNC) = { vg_bytes_sync, IDENT | ONCE },
	AT(STAT) = { vg_name_stat, KEY | IDENT | NODES },
	AT(CHANGE) = { vg_name_change, KEY | IDENT | CHANGES | ONCE | GROWS | NODES, sizeof(struct vg_file_change),
		       sizeof(struct vg_file_change) },
	AT(STATFS) = { vg_name_statfs },
	AT(LIST) = { vg_name_list, KEY | NODES, SPAN, SPAN, VG_FILE_LIST_MAX },
	AT(RENAME) = { vg_name_rename, NAME | OTHER | CHANGES | ONCE | NODES, 1, PATHS_MAX },
	AT(LINK) = { vg_name_link, NAME | OTHER | CHANGES | ONCE | NODES, 1, PATHS_MAX },
	AT(UNLINK) = { vg_name_unlink, NAME | CHANGES | ONCE | NODES },
	AT(MKDIR) = { vg_name_mkdir, NAME | CHANGES | ONCE | GROWS | NODES },
	AT(RMDIR) = { vg_name_rmdir, NAME | CHANGES | ONCE | NODES },
	AT(SYMLINK) = { vg_name_symlink, NAME | CHANGES | ONCE | GROWS | NODES, 1, PATHS_MAX },
	AT(READLINK) = { vg_name_readlink, NAME | NODES, 0, 0, VG_FILE_PATH_MAX },
	AT(XATTR_GET) = { vg_name_xattr_get, KEY | IDENT | NODES, 1, VG_FILE_NAME_MAX, VG_FILE_XATTR_MAX },
	AT(XATTR_SET) = { vg_name_xattr_set, KEY | IDENT | CHANGES | ONCE | NODES, sizeof(struct vg_file_xattr) + 1,
			  XATTR_BODY_MAX },
	AT(XATTR_LIST) = { vg_name_xattr_list, KEY | IDENT | NODES, 0, 0, VG_FILE_XATTR_MAX },
	AT(XATTR_REMOVE) = { vg_name_xattr_remove, KEY | IDENT | CHANGES | ONCE | NODES, 1, VG_FILE_NAME_MAX },
	AT(COPY) = { vg_bytes_copy, IDENT | VG_FILE_NEEDS_READ | CHANGES | ONCE | GROWS, sizeof(struct vg_file_copy),
		     sizeof(struct vg_file_copy) },
	AT(ALLOCATE) = { vg_bytes_allocate, IDENT | VG_FILE_NEEDS_WRITE | CHANGES | ONCE | GROWS,
			 sizeof(struct vg_file_range), sizeof(struct vg_file_range) },
	AT(SEEK) = { vg_bytes_seek, IDENT },
	AT(FETCH) = { vg_bytes_fetch, NAME, 0, 0, FETCHED },
	AT(PUT) = { vg_bytes_put, NAME | CHANGES | ONCE | GROWS, 0, VG_FILE_DATA_MAX },
	AT(WATCH) = { vg_watch_run, KEY | ONCE },
	AT(UNWATCH) = { vg_unwatch_run, ONCE },
	AT(LOCK) = { vg_lock_run, IDENT | ONCE, sizeof(struct vg_file_lock), sizeof(struct vg_file_lock) },
	/* A path and what goes before it is checked there. */
	AT(HOME) = { vg_tree_home, KEY | VG_FILE_NODES_ONLY, 0, XATTR_BODY_MAX },
#undef AT
};

const struct vg_file_operation *vg_file_operation(__u8 opcode)
{
	__u8 index = (__u8)(opcode - VG_OP_FILE_SESSION);

	if (opcode < VG_OP_FILE_SESSION || index >= sizeof(operations) / sizeof(operations[0]))
		return NULL;
	return operations[index].run ? &operations[index] : NULL;
}

bool vg_op_changes(const struct vg_file_op *op)
{
	if (op->opcode == VG_OP_FILE_OPEN)
		return op->argument >> 32 & (VG_FILE_O_WRITE | VG_FILE_O_CREATE | VG_FILE_O_TRUNCATE);
	return op->operation->needs & CHANGES;
}

/* ---- what is checked ------------------------------------------------------------------------------------------- */

/* By path, or by descriptor: which of them it is when either may be. */
static bool is_by_path(const struct vg_file_op *op)
{
	__u32 needs = op->operation->needs;

	return needs & (KEY | NAME) && !(needs & IDENT && op->ident);
}

static int check_paths(struct vg_file_op *op)
{
	/* No path, but the name of a piece: tree.c knows where that is. */
	bool own = op->flags & VG_FILE_PIECE && (op->opcode == VG_OP_FILE_OPEN || op->opcode == VG_OP_FILE_STAT ||
						 op->opcode == VG_OP_FILE_CHANGE || op->opcode == VG_OP_FILE_FETCH);
	int error = vg_file_path_check(op->key_bytes, op->key_length);

	if (!error && op->operation->needs & NAME && !op->key_length)
		error = op->opcode == VG_OP_FILE_MKDIR ? EEXIST : EBUSY; /* the root is there, and stays */
	if (!error)
		error = -vg_op_set_path(op, own ? &op->pool->exports[0] : op->export, op->key_bytes, op->key_length);
	if (!error && op->operation->needs & OTHER) {
		error = op->body_length ? vg_file_path_check(op->body, op->body_length) : EBUSY;
		error = error ?: -vg_op_set_other(op, op->export, op->body, op->body_length);
		op->body_length = 0; /* it is in `other` */
	}
	return -error;
}

static int check_descriptor(struct vg_file_op *op)
{
	__u32 needs = op->operation->needs;
	struct vg_file_descriptor *descriptor;
	int error = op->client ? vg_descriptor_find(op->client, op->ident, &descriptor) : -EBADF;

	if (error)
		return error;
	if ((needs & VG_FILE_NEEDS_READ && !(descriptor->flags & VG_FILE_O_READ)) ||
	    (needs & VG_FILE_NEEDS_WRITE && !(descriptor->flags & VG_FILE_O_WRITE)))
		return S_ISDIR(descriptor->mode) ? -EISDIR : -EBADF;
	vg_descriptor_ref(descriptor);
	op->descriptor = descriptor;
	return 0;
}

/* Who asks may ask this. */
static int check_who(const struct vg_file_op *op)
{
	__u32 needs = op->operation->needs;

	if (op->forwarded)
		return needs & (NODES | VG_FILE_NODES_ONLY) ? 0 : -EPERM;
	if (needs & VG_FILE_NODES_ONLY)
		return -EPERM;
	return op->client || needs & VG_FILE_NO_CLIENT ? 0 : -ESTALE;
}

/* ---- the way --------------------------------------------------------------------------------------------------- */

void vg_op_run(struct vg_file_op *op)
{
	op->begun = true;
	if (op->pool->quotas && !op->quoted && op->operation->needs & CHANGES) {
		op->quoted = true;
		if (!vg_quota_begin(op))
			return;
	}
	vg_op_after_quota(op);
}

void vg_op_after_quota(struct vg_file_op *op)
{
	op->operation->run(op);
}

void vg_op_after_retry(struct vg_file_op *op)
{
	__u32 needs = op->operation->needs;
	int error = 0;

	if (needs & CHANGES && vg_op_changes(op) && op->export->read_only)
		error = -EROFS;
	if (!error && needs & IDENT && !is_by_path(op))
		error = check_descriptor(op);
	if (error) {
		vg_op_fail(op, error);
		return;
	}
	op->begun = true;
	if (op->local || !op->path || vg_tree_begin(op))
		vg_op_run(op);
}

void vg_op_start(struct vg_file_op *op)
{
	int error = check_who(op);

	if (!error && is_by_path(op))
		error = check_paths(op);
	if (error) {
		vg_op_fail(op, error);
		return;
	}
	if (op->operation->needs & ONCE && op->client && !op->text && !op->forwarded) {
		op->remembered = true;
		if (!vg_retry_begin(op))
			return;
	}
	vg_op_after_retry(op);
}
