// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Quotas: how many bytes and how many files there may be in a directory of this node and below it. What counts is the
 * size of each file, as `ls -l` shows it, holes and all, and each file, directory and symbolic link once; so it is
 * known before a request runs how much more it may need, and EDQUOT is told before anything has changed.
 *
 * All is counted when the node starts (quota_count.c) and kept up with from then on (quota_ledger.c). Here is what a
 * request may add: it is reserved before it runs, for its path or, if it has one, by the file of its descriptor.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "svc/file/bytes.h"
#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/quota.h"

/* ---- which, and how much --------------------------------------------------------------------------------------- */

/* Whether the path is below the directory, or the directory itself, when `or_it`. */
static bool is_in(const struct vg_quota *quota, const char *path, __u32 length, bool or_it)
{
	if (length == quota->length)
		return or_it && !memcmp(path, quota->directory, length);
	return !quota->length || (length > quota->length && path[quota->length] == '/' &&
				  !memcmp(path, quota->directory, quota->length));
}

__u64 vg_quotas_of_path(const struct vg_quotas *quotas, const char *path, __u32 length)
{
	__u64 which = 0;

	for (__u32 i = 0; i < quotas->count; i++)
		which |= (__u64)is_in(&quotas->quota[i], path, length, false) << i;
	return which;
}

/* Whether a directory with a quota is there or below. */
static bool holds_quota(const struct vg_quotas *quotas, const char *path, __u32 length)
{
	const struct vg_quota above = { .directory = path, .length = length };

	for (__u32 i = 0; i < quotas->count; i++)
		if (is_in(&above, quotas->quota[i].directory, quotas->quota[i].length, true))
			return true;
	return false;
}

/* ---- by descriptor --------------------------------------------------------------------------------------------- */

/* A request may make the file `length` bytes long, or so much longer. It names the descriptor until it is settled. */
static int file_ask(struct vg_file_op *op, struct vg_file_descriptor *descriptor, __u64 length, bool longer)
{
	struct vg_quota_entry *entry = descriptor->inode->quota;
	__u64 bytes;
	int error;

	if (!entry)
		return -ENOMEM; /* there was none for it when the file was opened */
	if (!entry->under_way) {
		vg_quota_look(op->pool, entry, descriptor->fd);
		entry->top = entry->counted;
	}
	if (longer)
		length = length > ~0ULL - entry->top ? ~0ULL : entry->top + length;
	bytes = length > entry->top ? length - entry->top : 0;
	error = vg_quotas_reserve(op->pool->quotas, entry->which, bytes, 0);
	if (error)
		return error;
	entry->top += bytes;
	entry->asked += bytes;
	entry->under_way++;
	op->quota.bytes = bytes;
	op->quota.descriptor = descriptor;
	vg_descriptor_ref(descriptor);
	return 0;
}

static void file_settle(struct vg_file_op *op)
{
	struct vg_file_descriptor *descriptor = op->quota.descriptor;
	struct vg_quota_entry *entry = descriptor->inode->quota;

	assert(entry->under_way);
	vg_quota_look(op->pool, entry, descriptor->fd);
	if (!--entry->under_way) {
		vg_quotas_unreserve(op->pool->quotas, entry->which, entry->asked, 0);
		entry->asked = 0;
	}
	op->quota.descriptor = NULL;
	vg_descriptor_put(descriptor);
}

void vg_quota_descriptor_opened(struct vg_file_descriptor *descriptor, const struct vg_file_op *op)
{
	struct vg_quota_entry *entry;

	if (!descriptor->inode->quota && !vg_quota_enter(op->pool, op->path, descriptor->fd, &entry))
		descriptor->inode->quota = entry; /* without one who would write is told so */
}

void vg_quota_inode_gone(struct vg_file_pool *pool, struct vg_file_inode *inode, int fd)
{
	vg_quota_leave(pool, inode->quota, fd);
	inode->quota = NULL;
}

/* ---- before a request ------------------------------------------------------------------------------------------ */

static __u64 load64(__be64 value)
{
	return VG_BE64TOH(value);
}

/* It may need so much, for its path. */
static int path_ask(struct vg_file_op *op, __u64 bytes, __u64 files)
{
	struct vg_quotas *quotas = op->pool->quotas;
	int error;

	op->quota.which = vg_quotas_of_path(quotas, op->path, op->path_length);
	error = vg_quotas_reserve(quotas, op->quota.which, bytes, files);
	if (error)
		return error;
	op->quota.bytes = bytes;
	op->quota.files = files;
	return 0;
}

/* No more than there is: who carries it out knows how long the file was, and refuses what is more. */
static int path_ask_up_to(struct vg_file_op *op, __u64 bytes, __u64 files)
{
	__u64 most = vg_quotas_room(op->pool->quotas,
				     vg_quotas_of_path(op->pool->quotas, op->path, op->path_length));

	return path_ask(op, bytes < most ? bytes : most, files);
}

/* A file may be made. Where there may be no more of them, one that is there may still be opened. */
static int create_ask(struct vg_file_op *op, int (*ask_path)(struct vg_file_op *op, __u64 bytes, __u64 files),
		      __u64 bytes)
{
	__u64 flags = op->argument >> 32;
	int error = ask_path(op, bytes, flags & VG_FILE_O_CREATE ? 1 : 0);

	if (error != -EDQUOT || !(flags & VG_FILE_O_CREATE) || flags & VG_FILE_O_EXCLUSIVE)
		return error;
	op->argument &= ~((__u64)VG_FILE_O_CREATE << 32);
	op->quota.none_more = true;
	return ask_path(op, bytes, 0);
}

static int change_ask(struct vg_file_op *op)
{
	struct vg_file_change change;

	memcpy(&change, op->body, sizeof(change));
	if (!(VG_BE32TOH(change.mask) & VG_FILE_CHANGE_SIZE))
		return 0;
	return op->descriptor ? file_ask(op, op->descriptor, load64(change.size), false) :
				path_ask_up_to(op, load64(change.size), 0);
}

static int write_ask(struct vg_file_op *op)
{
	bool append = op->flags & VG_FILE_APPEND || op->descriptor->flags & VG_FILE_O_APPEND;

	if (append)
		return file_ask(op, op->descriptor, op->body_length, true);
	if (op->argument > VG_FILE_OFFSET_MAX) /* it fails for that */
		return 0;
	return file_ask(op, op->descriptor, op->body_length ? op->argument + op->body_length : 0, false);
}

/* Space behind the end that no size shows cannot be counted, so it is not given. */
static int allocate_ask(struct vg_file_op *op)
{
	struct vg_file_range range;
	struct statx stat;
	__u64 end;

	memcpy(&range, op->body, sizeof(range));
	end = load64(range.offset) + load64(range.length);
	if (op->flags & VG_FILE_PUNCH_HOLE || end < load64(range.offset))
		return 0;
	if (!(op->flags & VG_FILE_KEEP_SIZE))
		return file_ask(op, op->descriptor, end, false);
	return vg_disk_fstat(op->descriptor->fd, &stat) ?: end > stat.stx_size ? -EOPNOTSUPP : 0;
}

static int copy_ask(struct vg_file_op *op)
{
	struct vg_file_descriptor *to;
	struct vg_file_copy copy;
	struct statx stat;
	__u64 from, length;

	memcpy(&copy, op->body, sizeof(copy));
	if (vg_descriptor_find(op->client, load64(copy.to), &to) || vg_disk_fstat(op->descriptor->fd, &stat))
		return 0; /* it fails for that */
	from = load64(copy.from_offset);
	length = from < stat.stx_size ? stat.stx_size - from : 0;
	if (load64(copy.length) < length)
		length = load64(copy.length);
	if (!length || load64(copy.to_offset) > VG_FILE_OFFSET_MAX)
		return 0;
	return file_ask(op, to, load64(copy.to_offset) + length, false);
}

/* Names do not move from under one quota to under another: nobody knows what goes with a directory. */
static int two_ask(struct vg_file_op *op)
{
	const struct vg_quotas *quotas = op->pool->quotas;

	if (op->opcode == VG_OP_FILE_RENAME &&
	    (holds_quota(quotas, op->path, op->path_length) ||
	     (op->flags & VG_FILE_EXCHANGE && holds_quota(quotas, op->other, op->other_length))))
		return -EBUSY;
	return vg_quotas_of_path(quotas, op->path, op->path_length) ==
			       vg_quotas_of_path(quotas, op->other, op->other_length) ?
		       path_ask(op, 0, 0) :
		       -EXDEV;
}

static int ask(struct vg_file_op *op)
{
	switch (op->opcode) {
	case VG_OP_FILE_OPEN:
		return create_ask(op, path_ask, 0);
	case VG_OP_FILE_PUT:
		return create_ask(op, path_ask_up_to, op->body_length);
	case VG_OP_FILE_MKDIR:
	case VG_OP_FILE_SYMLINK:
		return path_ask(op, 0, 1);
	case VG_OP_FILE_UNLINK:
	case VG_OP_FILE_RMDIR:
		return path_ask(op, 0, 0);
	case VG_OP_FILE_RENAME:
	case VG_OP_FILE_LINK:
		return two_ask(op);
	case VG_OP_FILE_CHANGE:
		return change_ask(op);
	case VG_OP_FILE_WRITE:
		return write_ask(op);
	case VG_OP_FILE_ALLOCATE:
		return allocate_ask(op);
	case VG_OP_FILE_COPY:
		return copy_ask(op);
	}
	return 0;
}

bool vg_quota_begin(struct vg_file_op *op)
{
	struct vg_file_pool *pool = op->pool;
	int error = ask(op);

	if (!error)
		return true;
	if (error == -EDQUOT)
		__atomic_store_n(&pool->counts.quota_refused, pool->counts.quota_refused + 1, __ATOMIC_RELAXED);
	vg_op_fail(op, error);
	return false;
}

/* ---- after it -------------------------------------------------------------------------------------------------- */

bool vg_quota_made_elsewhere(struct vg_file_op *op)
{
	struct vg_quotas *quotas = op->pool->quotas;
	int error = 0;

	if (!quotas)
		return true;
	op->quota.which = vg_quotas_of_path(quotas, op->path, op->path_length);
	error = vg_quotas_reserve(quotas, op->quota.which, 0, 1);
	if (error) {
		vg_op_fail(op, error);
		return false;
	}
	op->quota.files = 1;
	op->quoted = true;
	return true;
}

void vg_quota_settle(struct vg_file_op *op)
{
	if (op->quota.descriptor)
		file_settle(op);
	else
		vg_quotas_unreserve(op->pool->quotas, op->quota.which, op->quota.bytes, op->quota.files);
}

/* ---- beginning, end, and what it shows ------------------------------------------------------------------------- */

static __be64 at_most(__be64 shown, __u64 most)
{
	return VG_BE64TOH(shown) < most ? shown : VG_HTOBE64(most);
}

void vg_quota_statfs(const struct vg_file_op *op, struct vg_file_statfs *statfs)
{
	struct vg_quotas *quotas = op->pool->quotas;

	pthread_mutex_lock(&quotas->lock);
	for (__u32 i = 0; i < quotas->count; i++) {
		const struct vg_quota *quota = &quotas->quota[i];

		if (!is_in(quota, op->export->prefix, op->export->prefix_length, true))
			continue;
		if (quota->bytes_max) {
			__u64 bytes = quota->bytes < quota->bytes_max ? quota->bytes_max - quota->bytes : 0;

			statfs->bytes = at_most(statfs->bytes, quota->bytes_max);
			statfs->bytes_free = at_most(statfs->bytes_free, bytes);
			statfs->bytes_available = at_most(statfs->bytes_available, bytes);
		}
		if (quota->files_max) {
			statfs->files = at_most(statfs->files, quota->files_max);
			statfs->files_free = at_most(statfs->files_free, quota->files < quota->files_max ?
									 quota->files_max - quota->files :
									 0);
		}
	}
	pthread_mutex_unlock(&quotas->lock);
}

/* A quota of a directory, once however many exports name it. */
static void set_quota(struct vg_quotas *quotas, const char *directory, __u64 bytes_max, __u64 files_max)
{
	struct vg_quota *quota = quotas->quota;

	if (!bytes_max && !files_max)
		return;
	while (quota < quotas->quota + quotas->count && strcmp(quota->directory, directory))
		quota++;
	if (quota == quotas->quota + quotas->count) {
		assert(quotas->count < VG_QUOTAS_MAX);
		*quota = (struct vg_quota){ .directory = directory, .length = (__u32)strlen(directory) };
		quotas->count++;
	}
	if (bytes_max && (!quota->bytes_max || bytes_max < quota->bytes_max))
		quota->bytes_max = bytes_max;
	if (files_max && (!quota->files_max || files_max < quota->files_max))
		quota->files_max = files_max;
}

int vg_quotas_init(struct vg_file_pool *pool)
{
	const struct vg_file_settings *settings = pool->settings;
	struct vg_quotas *quotas = vg_file_alloc(pool, sizeof(*quotas));
	int error;

	if (!quotas)
		return -ENOMEM;
	memset(quotas, 0, sizeof(*quotas));
	pthread_mutex_init(&quotas->lock, NULL);
	pthread_mutex_init(&quotas->names, NULL);
	set_quota(quotas, "", settings->quota_bytes, settings->quota_files);
	for (__u32 i = 0; i < settings->export_count; i++)
		set_quota(quotas, settings->exports[i].directory, settings->exports[i].quota_bytes,
			  settings->exports[i].quota_files);
	if (!quotas->count) {
		vg_file_free(pool, quotas);
		return 0;
	}
	pool->quotas = quotas;
	error = vg_quotas_count(pool, quotas);
	vg_quotas_found(quotas);
	if (!error && !pool->alone)
		vg_quotas_count_again(pool);
	for (__u32 i = 0; i < quotas->count && !error; i++)
		vg_log(VG_LOG_INFO, "quota", "directory=/%s bytes=%llu of=%llu files=%llu of=%llu",
		       quotas->quota[i].directory, (unsigned long long)quotas->quota[i].bytes,
		       (unsigned long long)quotas->quota[i].bytes_max, (unsigned long long)quotas->quota[i].files,
		       (unsigned long long)quotas->quota[i].files_max);
	return error;
}

void vg_quotas_deinit(struct vg_file_pool *pool)
{
	struct vg_quotas *quotas = pool->quotas;

	if (!quotas)
		return;
	if (quotas->counting) /* on a helper thread: then it is left to the heap tier */
		return;
	pool->quotas = NULL;
	pthread_mutex_destroy(&quotas->lock);
	pthread_mutex_destroy(&quotas->names);
	vg_file_free(pool, quotas);
}
