// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Quotas: how many bytes and how many files there may be in a directory of this node and below it. What counts is the
 * size of each file, as `ls -l` shows it, holes and all, and each file, directory and symbolic link once; so it is
 * known before a request runs how much more it may need, and EDQUOT is told before anything has changed.
 *
 * All is counted when the node starts (quota_count.c) and kept up with from then on. A file that is open has an
 * account: what was counted for it, and what requests under way may add. When the last of those has ended the file says
 * how long it is now, whatever became of them.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "svc/file/bytes.h"
#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/quota.h"

/* Of a file that is open. */
struct account {
	__u64 which;	 /* quotas it counts for, a bit each */
	__u64 counted;	 /* bytes that are in them */
	__u64 asked;	 /* bytes that are reserved */
	__u64 top;	 /* how long requests under way may make it */
	__u32 under_way;
	bool nameless;	 /* it goes with its last descriptor */
};

static struct vg_quotas *quotas_of(const struct vg_file_pool *pool)
{
	return pool->quotas;
}

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

static __u64 left(__u64 most, __u64 used, __u64 asked)
{
	return !most ? ~0ULL : used + asked < most ? most - used - asked : 0;
}

/* Bytes there may be more. */
static __u64 room(const struct vg_quotas *quotas, __u64 which)
{
	__u64 least = ~0ULL;

	for (__u32 i = 0; i < quotas->count; i++) {
		const struct vg_quota *quota = &quotas->quota[i];
		__u64 here = which >> i & 1 ? left(quota->bytes_max, quota->bytes, quota->bytes_asked) : ~0ULL;

		least = here < least ? here : least;
	}
	return least;
}

static int reserve(struct vg_quotas *quotas, __u64 which, __u64 bytes, __u64 files)
{
	for (__u32 i = 0; i < quotas->count; i++) {
		const struct vg_quota *quota = &quotas->quota[i];

		if (which >> i & 1 && ((bytes && bytes > left(quota->bytes_max, quota->bytes, quota->bytes_asked)) ||
				       (files && files > left(quota->files_max, quota->files, quota->files_asked))))
			return -EDQUOT;
	}
	for (__u32 i = 0; i < quotas->count; i++)
		if (which >> i & 1) {
			quotas->quota[i].bytes_asked += bytes;
			quotas->quota[i].files_asked += files;
		}
	return 0;
}

static void unreserve(struct vg_quotas *quotas, __u64 which, __u64 bytes, __u64 files)
{
	for (__u32 i = 0; i < quotas->count; i++)
		if (which >> i & 1) {
			assert(quotas->quota[i].bytes_asked >= bytes && quotas->quota[i].files_asked >= files);
			quotas->quota[i].bytes_asked -= bytes;
			quotas->quota[i].files_asked -= files;
		}
}

/* Others may change the directory too, behind our back: then there may be less to take away than there was. */
static __u64 add(__u64 to, __s64 more)
{
	return more < 0 && to < (__u64)-more ? 0 : to + (__u64)more;
}

void vg_quotas_add(struct vg_quotas *quotas, __u64 which, __s64 bytes, __s64 files)
{
	for (__u32 i = 0; i < quotas->count; i++)
		if (which >> i & 1) {
			quotas->quota[i].bytes = add(quotas->quota[i].bytes, bytes);
			quotas->quota[i].files = add(quotas->quota[i].files, files);
		}
}

/* ---- accounts of open files ------------------------------------------------------------------------------------ */

static void account_is_long(struct vg_quotas *quotas, struct account *account, __u64 bytes)
{
	vg_quotas_add(quotas, account->which, (__s64)(bytes - account->counted), 0);
	account->counted = bytes;
}

static struct account *account_of(struct vg_file_pool *pool, const struct statx *stat)
{
	__u64 device = (__u64)stat->stx_dev_major << 32 | stat->stx_dev_minor;
	struct vg_file_inode *inode = vg_inode_find(pool, device, stat->stx_ino);

	return inode ? inode->quota : NULL;
}

/* A request may make the file `length` bytes long, or so much longer. It names the descriptor until it is settled. */
static int account_ask(struct vg_file_op *op, struct vg_file_descriptor *descriptor, __u64 length, bool longer)
{
	struct vg_quotas *quotas = op->pool->quotas;
	struct account *account = descriptor->inode->quota;
	struct statx stat;
	__u64 bytes;
	int error;

	if (!account)
		return -ENOMEM; /* there was none for it when the file was opened */
	if (!account->under_way) {
		error = vg_disk_fstat(descriptor->fd, &stat);
		if (error)
			return error;
		account_is_long(quotas, account, stat.stx_size);
		account->top = stat.stx_size;
	}
	if (longer)
		length = length > ~0ULL - account->top ? ~0ULL : account->top + length;
	bytes = length > account->top ? length - account->top : 0;
	error = reserve(quotas, account->which, bytes, 0);
	if (error)
		return error;
	account->top += bytes;
	account->asked += bytes;
	account->under_way++;
	op->quota.bytes = bytes;
	op->quota.descriptor = descriptor;
	vg_descriptor_ref(descriptor);
	return 0;
}

static void account_settle(struct vg_file_op *op)
{
	struct vg_file_descriptor *descriptor = op->quota.descriptor;
	struct account *account = descriptor->inode->quota;
	struct vg_quotas *quotas = op->pool->quotas;
	struct statx stat;

	assert(account->under_way);
	if (!--account->under_way) {
		unreserve(quotas, account->which, account->asked, 0);
		account->asked = 0;
		if (!vg_disk_fstat(descriptor->fd, &stat))
			account_is_long(quotas, account, stat.stx_size);
	}
	op->quota.descriptor = NULL;
	vg_descriptor_put(descriptor);
}

void vg_quota_descriptor_opened(struct vg_file_descriptor *descriptor, const struct statx *stat,
				const struct vg_file_op *op)
{
	struct account *account = descriptor->inode->quota;
	const struct vg_file_name_work *name = &op->own.name;

	if (!S_ISREG(stat->stx_mode))
		return;
	if (!account) {
		account = vg_file_alloc(op->pool, sizeof(*account));
		if (!account)
			return; /* who would write more is told so */
		*account = (struct account){
			.which = vg_quotas_of_path(op->pool->quotas, op->path, op->path_length),
			.counted = name->created ? 0 : name->before.stx_mask ? name->before.stx_size : stat->stx_size,
		};
		descriptor->inode->quota = account;
	}
	if (!account->under_way)
		account_is_long(op->pool->quotas, account, stat->stx_size);
}

void vg_quota_inode_gone(struct vg_file_pool *pool, struct vg_file_inode *inode)
{
	struct account *account = inode->quota;

	assert(!account->under_way);
	if (account->nameless)
		vg_quotas_add(pool->quotas, account->which, -(__s64)account->counted, 0);
	vg_file_free(pool, account);
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
	error = reserve(quotas, op->quota.which, bytes, files);
	if (error)
		return error;
	op->quota.bytes = bytes;
	op->quota.files = files;
	return 0;
}

/* No more than there is: who carries it out knows how long the file was, and refuses what is more. */
static int path_ask_up_to(struct vg_file_op *op, __u64 bytes, __u64 files)
{
	__u64 most = room(op->pool->quotas, vg_quotas_of_path(op->pool->quotas, op->path, op->path_length));

	return path_ask(op, bytes < most ? bytes : most, files);
}

/* A file may be made. Where there may be no more of them, one that is there may still be opened. */
static int create_ask(struct vg_file_op *op, int (*ask_path)(struct vg_file_op *op, __u64 bytes, __u64 files), __u64 bytes)
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
	return op->descriptor ? account_ask(op, op->descriptor, load64(change.size), false) :
				path_ask_up_to(op, load64(change.size), 0);
}

static int write_ask(struct vg_file_op *op)
{
	bool append = op->flags & VG_FILE_APPEND || op->descriptor->flags & VG_FILE_O_APPEND;

	if (append)
		return account_ask(op, op->descriptor, op->body_length, true);
	if (op->argument > VG_FILE_OFFSET_MAX) /* it fails for that */
		return 0;
	return account_ask(op, op->descriptor, op->body_length ? op->argument + op->body_length : 0, false);
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
		return account_ask(op, op->descriptor, end, false);
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
	return account_ask(op, to, load64(copy.to_offset) + length, false);
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

/* What had this stat has lost a name. */
static void lost_name(struct vg_file_op *op, const struct statx *before)
{
	struct account *account;

	if (!before->stx_mask || (!S_ISDIR(before->stx_mode) && before->stx_nlink > 1))
		return;
	vg_quotas_add(op->pool->quotas, op->quota.which, 0, -1);
	if (!S_ISREG(before->stx_mode))
		return;
	account = account_of(op->pool, before);
	if (account)
		account->nameless = true;
	else
		vg_quotas_add(op->pool->quotas, op->quota.which, -(__s64)before->stx_size, 0);
}

/* A file was so long and is so long now; its account, if it is open, may know that already. */
static void has_length(struct vg_file_op *op, __u64 before, const struct statx *stat)
{
	struct account *account = account_of(op->pool, stat);

	if (!account)
		vg_quotas_add(op->pool->quotas, op->quota.which, (__s64)(stat->stx_size - before), 0);
	else if (!account->under_way)
		account_is_long(op->pool->quotas, account, stat->stx_size);
}

static void settle_done(struct vg_file_op *op)
{
	const struct vg_file_name_work *name = &op->own.name;
	struct vg_quotas *quotas = op->pool->quotas;

	switch (op->opcode) {
	case VG_OP_FILE_OPEN:
	case VG_OP_FILE_MKDIR:
	case VG_OP_FILE_SYMLINK:
		vg_quotas_add(quotas, op->quota.which, 0, name->created);
		break;
	case VG_OP_FILE_UNLINK:
		lost_name(op, &name->before);
		break;
	case VG_OP_FILE_RMDIR:
		vg_quotas_add(quotas, op->quota.which, 0, -1);
		break;
	case VG_OP_FILE_RENAME:
		if (!(op->flags & VG_FILE_EXCHANGE))
			lost_name(op, &name->before);
		break;
	case VG_OP_FILE_CHANGE:
		if (op->quota.which && S_ISREG(name->stat.stx_mode))
			has_length(op, name->before.stx_size, &name->stat);
		break;
	}
}

/* A file that was put has bytes even if that failed half-way. */
static void settle_put(struct vg_file_op *op)
{
	const struct vg_bytes_op *own = vg_bytes_op(op);

	if (!own->measured)
		return;
	vg_quotas_add(op->pool->quotas, op->quota.which, 0, own->created);
	has_length(op, own->before_bytes, &own->stat);
}

void vg_quota_settle(struct vg_file_op *op, int error)
{
	if (op->quota.descriptor)
		account_settle(op);
	else
		unreserve(op->pool->quotas, op->quota.which, op->quota.bytes, op->quota.files);
	if (op->opcode == VG_OP_FILE_PUT)
		settle_put(op);
	else if (!error)
		settle_done(op);
}

/* ---- beginning, end, and what it shows ------------------------------------------------------------------------- */

static __be64 at_most(__be64 shown, __u64 most)
{
	return VG_BE64TOH(shown) < most ? shown : VG_HTOBE64(most);
}

void vg_quota_statfs(const struct vg_file_op *op, struct vg_file_statfs *statfs)
{
	const struct vg_quotas *quotas = op->pool->quotas;

	for (__u32 i = 0; i < quotas->count; i++) {
		const struct vg_quota *quota = &quotas->quota[i];

		if (!is_in(quota, op->export->prefix, op->export->prefix_length, true))
			continue;
		if (quota->bytes_max) {
			__u64 bytes = left(quota->bytes_max, quota->bytes, 0);

			statfs->bytes = at_most(statfs->bytes, quota->bytes_max);
			statfs->bytes_free = at_most(statfs->bytes_free, bytes);
			statfs->bytes_available = at_most(statfs->bytes_available, bytes);
		}
		if (quota->files_max) {
			statfs->files = at_most(statfs->files, quota->files_max);
			statfs->files_free = at_most(statfs->files_free, left(quota->files_max, quota->files, 0));
		}
	}
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
	quotas->count = 0;
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
	for (__u32 i = 0; i < quotas->count && !error; i++)
		vg_log(VG_LOG_INFO, "quota", "directory=/%s bytes=%llu of=%llu files=%llu of=%llu",
		       quotas->quota[i].directory, (unsigned long long)quotas->quota[i].bytes,
		       (unsigned long long)quotas->quota[i].bytes_max, (unsigned long long)quotas->quota[i].files,
		       (unsigned long long)quotas->quota[i].files_max);
	return error;
}

void vg_quotas_deinit(struct vg_file_pool *pool)
{
	if (pool->quotas)
		vg_file_free(pool, quotas_of(pool));
	pool->quotas = NULL;
}
