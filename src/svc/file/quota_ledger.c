// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * What is counted, kept up with while several threads change several files at once. Whatever may change a file enters
 * it here first and leaves it afterwards: what the file then says of itself, looked at under the lock, is what counts,
 * so that neither the order of two changes nor that of their ends matters. A file nobody has entered is as long as it
 * is counted. One that has lost its last name is forgotten by who leaves it last.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>

#include "svc/file/disk.h"
#include "svc/file/hold.h"
#include "svc/file/quota.h"
#include "virgo/hash.h"

#define RACES_MAX 16

/* ---- numbers; the lock is held ----------------------------------------------------------------------------------- */

static __u64 left(__u64 most, __u64 used, __u64 asked)
{
	return !most ? ~0ULL : used + asked < most ? most - used - asked : 0;
}

/* Others may change the directory too, behind our back: then there may be less to take away than there was. */
static __u64 sum(__u64 to, __s64 more)
{
	return more < 0 && to < (__u64)-more ? 0 : to + (__u64)more;
}

void vg_quotas_add(struct vg_quotas *quotas, __u64 which, __s64 bytes, __s64 files)
{
	for (__u32 i = 0; i < quotas->count; i++)
		if (which >> i & 1) {
			quotas->quota[i].bytes = sum(quotas->quota[i].bytes, bytes);
			quotas->quota[i].files = sum(quotas->quota[i].files, files);
			quotas->gained[i].bytes += bytes > 0 ? (__u64)bytes : 0;
			quotas->gained[i].files += files > 0 ? (__u64)files : 0;
		}
}

/*
 * Whether what changed meanwhile was seen is not known: what has come is added, what has gone is not taken away, so
 * that it is rather too much for a while than too little. What has no name could not be found.
 */
void vg_quotas_found(struct vg_quotas *quotas)
{
	pthread_mutex_lock(&quotas->lock);
	for (__u32 i = 0; i < quotas->count; i++) {
		quotas->quota[i].bytes = quotas->found[i].bytes + quotas->gained[i].bytes;
		quotas->quota[i].files = quotas->found[i].files + quotas->gained[i].files;
	}
	for (__u32 i = 0; i < VG_QUOTA_BUCKETS; i++)
		for (struct vg_quota_entry *entry = quotas->entry[i]; entry; entry = entry->next)
			if (entry->nameless)
				vg_quotas_add(quotas, entry->which, (__s64)entry->counted, 1);
	pthread_mutex_unlock(&quotas->lock);
}

/* ---- reservations ------------------------------------------------------------------------------------------------ */

__u64 vg_quotas_room(struct vg_quotas *quotas, __u64 which)
{
	__u64 least = ~0ULL;

	pthread_mutex_lock(&quotas->lock);
	for (__u32 i = 0; i < quotas->count; i++) {
		const struct vg_quota *quota = &quotas->quota[i];
		__u64 here = which >> i & 1 ? left(quota->bytes_max, quota->bytes, quota->bytes_asked) : ~0ULL;

		least = here < least ? here : least;
	}
	pthread_mutex_unlock(&quotas->lock);
	return least;
}

static bool has_room(const struct vg_quotas *quotas, __u64 which, __u64 bytes, __u64 files)
{
	for (__u32 i = 0; i < quotas->count; i++) {
		const struct vg_quota *quota = &quotas->quota[i];

		if (which >> i & 1 && ((bytes && bytes > left(quota->bytes_max, quota->bytes, quota->bytes_asked)) ||
				       (files && files > left(quota->files_max, quota->files, quota->files_asked))))
			return false;
	}
	return true;
}

int vg_quotas_reserve(struct vg_quotas *quotas, __u64 which, __u64 bytes, __u64 files)
{
	bool fits;

	pthread_mutex_lock(&quotas->lock);
	fits = has_room(quotas, which, bytes, files);
	for (__u32 i = 0; i < quotas->count && fits; i++)
		if (which >> i & 1) {
			quotas->quota[i].bytes_asked += bytes;
			quotas->quota[i].files_asked += files;
		}
	pthread_mutex_unlock(&quotas->lock);
	return fits ? 0 : -EDQUOT;
}

void vg_quotas_unreserve(struct vg_quotas *quotas, __u64 which, __u64 bytes, __u64 files)
{
	pthread_mutex_lock(&quotas->lock);
	for (__u32 i = 0; i < quotas->count; i++)
		if (which >> i & 1) {
			assert(quotas->quota[i].bytes_asked >= bytes && quotas->quota[i].files_asked >= files);
			quotas->quota[i].bytes_asked -= bytes;
			quotas->quota[i].files_asked -= files;
		}
	pthread_mutex_unlock(&quotas->lock);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static struct vg_quota_entry **entry_link(struct vg_quotas *quotas, __u64 device, __u64 inode)
{
	const __u64 name[2] = { device, inode };
	struct vg_quota_entry **link = &quotas->entry[vg_hash64(name, sizeof(name)) % VG_QUOTA_BUCKETS];

	while (*link && ((*link)->inode != inode || (*link)->device != device))
		link = &(*link)->next;
	return link;
}

static __u64 length_of(const struct statx *stat)
{
	return S_ISREG(stat->stx_mode) ? stat->stx_size : 0;
}

/* Nobody has entered it yet, so it is as long as it is counted; but without a name it is not counted any more. */
static struct vg_quota_entry *entry_new(struct vg_file_pool *pool, const char *path, const struct statx *stat)
{
	struct vg_quotas *quotas = pool->quotas;
	struct vg_quota_entry *entry = vg_file_alloc(pool, sizeof(*entry));
	__u64 device = (__u64)stat->stx_dev_major << 32 | stat->stx_dev_minor;

	if (!entry)
		return NULL;
	*entry = (struct vg_quota_entry){
		.device = device,
		.inode = stat->stx_ino,
		.which = vg_quotas_of_path(quotas, path, (__u32)strlen(path)),
		.counted = stat->stx_nlink ? length_of(stat) : 0,
	};
	*entry_link(quotas, device, stat->stx_ino) = entry;
	if (!stat->stx_nlink)
		vg_quotas_add(quotas, entry->which, 0, 1);
	return entry;
}

/* The lock is held. */
static void look_again(struct vg_quotas *quotas, struct vg_quota_entry *entry, const struct statx *stat)
{
	vg_quotas_add(quotas, entry->which, (__s64)(length_of(stat) - entry->counted), 0);
	entry->counted = length_of(stat);
	entry->nameless = !stat->stx_nlink;
}

int vg_quota_enter(struct vg_file_pool *pool, const char *path, int fd, struct vg_quota_entry **ret_entry)
{
	struct vg_quotas *quotas = pool->quotas;
	struct vg_quota_entry *entry = NULL;
	struct statx stat;
	int error;

	*ret_entry = NULL;
	if (!quotas)
		return 0;
	pthread_mutex_lock(&quotas->lock);
	error = vg_disk_fstat(fd, &stat);
	if (!error) {
		entry = *entry_link(quotas, (__u64)stat.stx_dev_major << 32 | stat.stx_dev_minor, stat.stx_ino);
		entry = entry ?: entry_new(pool, path, &stat);
		error = entry ? 0 : -ENOMEM;
	}
	if (entry) {
		entry->references++;
		look_again(quotas, entry, &stat);
	}
	pthread_mutex_unlock(&quotas->lock);
	*ret_entry = entry;
	return error;
}

void vg_quota_look(struct vg_file_pool *pool, struct vg_quota_entry *entry, int fd)
{
	struct vg_quotas *quotas = pool->quotas;
	struct statx stat;

	pthread_mutex_lock(&quotas->lock);
	if (!vg_disk_fstat(fd, &stat))
		look_again(quotas, entry, &stat);
	pthread_mutex_unlock(&quotas->lock);
}

void vg_quota_leave(struct vg_file_pool *pool, struct vg_quota_entry *entry, int fd)
{
	struct vg_quotas *quotas = pool->quotas;
	struct vg_quota_entry **link;
	struct statx stat;
	bool last;

	if (!entry)
		return;
	pthread_mutex_lock(&quotas->lock);
	assert(entry->references);
	last = !--entry->references;
	if (!vg_disk_fstat(fd, &stat)) {
		look_again(quotas, entry, &stat);
		if (last && !stat.stx_nlink)
			vg_quotas_add(quotas, entry->which, -(__s64)entry->counted, -1);
	}
	if (last) {
		assert(!entry->under_way);
		link = entry_link(quotas, entry->device, entry->inode);
		*link = entry->next;
	}
	pthread_mutex_unlock(&quotas->lock);
	if (last)
		vg_file_free(pool, entry);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

int vg_quota_name_begin(struct vg_file_pool *pool, const char *path, struct vg_quota_name *ret_name)
{
	struct vg_quotas *quotas = pool->quotas;
	char target[VG_FILE_TARGET_MAX];
	int error;

	*ret_name = (struct vg_quota_name){ .fd = -1 };
	if (!quotas)
		return 0;
	pthread_mutex_lock(&quotas->names); /* what has the name now has it until the end */
	ret_name->locked = true;
	ret_name->fd = vg_disk_open(pool->root_fd, path, O_PATH, 0, NULL, target);
	if (ret_name->fd < 0)
		return ret_name->fd;
	error = vg_quota_enter(pool, path, ret_name->fd, &ret_name->entry);
	if (error) {
		vg_disk_close(ret_name->fd);
		ret_name->fd = -1;
	}
	return error;
}

void vg_quota_name_end(struct vg_file_pool *pool, const struct vg_quota_name *name)
{
	struct vg_quotas *quotas = pool->quotas;

	if (name->fd >= 0) {
		vg_quota_leave(pool, name->entry, name->fd);
		vg_disk_close(name->fd);
	}
	if (name->locked)
		pthread_mutex_unlock(&quotas->names);
}

int vg_quota_rename(struct vg_file_pool *pool, const char *from, const char *to, unsigned int flags, bool stubs,
		    char *ret_target)
{
	int error = -EEXIST;

	if (!pool->quotas)
		return vg_disk_rename(pool->root_fd, from, to, flags, stubs, NULL, ret_target);
	for (int i = 0; i < RACES_MAX && error == -EEXIST; i++) {
		struct vg_quota_name gone;
		bool there = !vg_quota_name_begin(pool, to, &gone);

		/* Where nothing was seen to go nothing goes. */
		error = vg_disk_rename(pool->root_fd, from, to, there || flags ? flags : RENAME_NOREPLACE, stubs, NULL,
				       ret_target);
		vg_quota_name_end(pool, &gone);
		if (there || flags)
			break;
	}
	return error == -EEXIST && !flags ? -EBUSY : error;
}

void vg_quota_make_begin(struct vg_file_op *op)
{
	struct vg_quotas *quotas = op->pool->quotas;

	if (!op->quoted)
		return;
	vg_quotas_unreserve(quotas, op->quota.which, 0, op->quota.files);
	op->quota.files = 0;
	pthread_mutex_lock(&quotas->lock);
	vg_quotas_add(quotas, op->quota.which, 0, 1);
	pthread_mutex_unlock(&quotas->lock);
}

void vg_quota_make_end(struct vg_file_op *op, bool made)
{
	struct vg_quotas *quotas = op->pool->quotas;

	if (!op->quoted || made)
		return;
	pthread_mutex_lock(&quotas->lock);
	vg_quotas_add(quotas, op->quota.which, 0, -1);
	for (__u32 i = 0; i < quotas->count; i++)
		quotas->gained[i].files = sum(quotas->gained[i].files, -(__s64)(op->quota.which >> i & 1));
	pthread_mutex_unlock(&quotas->lock);
}
