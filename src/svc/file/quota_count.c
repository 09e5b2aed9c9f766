// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Counting what is there: when the node starts, before it answers anybody; and, where there are several nodes, again
 * and again while it runs: for what they move here and away nobody here asks.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "svc/file/disk.h"
#include "svc/file/quota.h"
#include "virgo/hash.h"

/* A directory that is still to be looked at. */
struct directory {
	struct directory *next;
	__u32 length;
	char path[];
};

/* Files with several names that have been counted. */
struct seen {
	__u64 *inode;
	__u32 count, room; /* a power of two, at most half full */
};

struct counting {
	struct vg_file_pool *pool;
	struct vg_quotas *quotas;
	struct directory *first, *current;
	struct seen seen;
};

/* Whether it is the first time; -ENOMEM. Inodes of one file system: the root's. */
static int seen_first(struct counting *counting, __u64 inode)
{
	struct seen *seen = &counting->seen;
	__u32 at;

	if (2 * (seen->count + 1) > seen->room) {
		struct seen larger = { .room = seen->room ? seen->room * 2 : 1024 };

		larger.inode = vg_file_alloc(counting->pool, larger.room * sizeof(*larger.inode));
		if (!larger.inode)
			return -ENOMEM;
		memset(larger.inode, 0, larger.room * sizeof(*larger.inode));
		for (__u32 i = 0; i < seen->room; i++)
			if (seen->inode[i]) {
				for (at = (__u32)vg_hash64(&seen->inode[i], 8); larger.inode[at % larger.room]; at++)
					;
				larger.inode[at % larger.room] = seen->inode[i];
			}
		larger.count = seen->count;
		vg_file_free(counting->pool, seen->inode);
		*seen = larger;
	}
	for (at = (__u32)vg_hash64(&inode, 8); seen->inode[at % seen->room]; at++)
		if (seen->inode[at % seen->room] == inode)
			return 0;
	seen->inode[at % seen->room] = inode;
	seen->count++;
	return 1;
}

static int push(struct counting *counting, const char *parent, __u32 parent_length, const char *name, __u32 length)
{
	__u32 slash = parent_length ? 1 : 0, all = parent_length + slash + length;
	struct directory *directory;

	if (all > VG_FILE_PATH_MAX)
		return 0; /* nobody can name what is in it */
	directory = vg_file_alloc(counting->pool, sizeof(*directory) + all + 1);
	if (!directory)
		return -ENOMEM;
	memcpy(directory->path, parent, parent_length);
	if (slash)
		directory->path[parent_length] = '/';
	memcpy(directory->path + parent_length + slash, name, length);
	directory->path[all] = '\0';
	directory->length = all;
	directory->next = counting->first;
	counting->first = directory;
	return 0;
}

static void count_one(struct vg_quotas *quotas, const char *path, __u32 length, const struct statx *stat)
{
	bool own = length >= VG_FILE_RESERVED_LENGTH && !memcmp(path, VG_FILE_RESERVED, VG_FILE_RESERVED_LENGTH);
	__u64 which = own && S_ISDIR(stat->stx_mode) ? 0 : vg_quotas_of_path(quotas, path, length);

	for (__u32 i = 0; i < quotas->count; i++) {
		quotas->found[i].bytes += which >> i & 1 && S_ISREG(stat->stx_mode) ? stat->stx_size : 0;
		quotas->found[i].files += which >> i & 1;
	}
}

static int on_entry(void *context, const struct vg_disk_entry *entry)
{
	struct counting *counting = context;
	const struct directory *in = counting->current;
	char path[VG_FILE_PATH_MAX + 1];
	__u32 slash = in->length ? 1 : 0, length = in->length + slash + entry->length;
	struct statx stat;
	int first = 1;

	if (length > VG_FILE_PATH_MAX || vg_disk_stat_at(entry->dir_fd, entry->name, &stat))
		return 0; /* it has gone meanwhile, or nobody can name it */
	memcpy(path, in->path, in->length);
	path[in->length] = '/';
	memcpy(path + in->length + slash, entry->name, entry->length);
	if (!S_ISDIR(stat.stx_mode) && stat.stx_nlink > 1)
		first = seen_first(counting, stat.stx_ino);
	if (first < 0)
		return first;
	if (first)
		count_one(counting->quotas, path, length, &stat);
	return S_ISDIR(stat.stx_mode) ? push(counting, in->path, in->length, entry->name, entry->length) : 0;
}

/* One directory, which is the caller's to free. */
static int count_directory(struct counting *counting, struct directory *directory)
{
	__u64 cursor = 0;
	int error;

	counting->current = directory;
	do {
		error = vg_disk_list(counting->pool->root_fd, directory->path, cursor, on_entry, counting, &cursor);
	} while (!error && cursor);
	if (error == -ENOENT || error == -ENOTDIR || error == -ELOOP)
		return 0; /* it has gone meanwhile */
	if (error == -EACCES || error == -EPERM) {
		vg_log(VG_LOG_WARNING, "not counted for quotas", "directory=/%s error=%s", directory->path,
		       strerror(-error));
		error = 0;
	}
	return error;
}

int vg_quotas_count(struct vg_file_pool *pool, struct vg_quotas *quotas)
{
	struct counting counting = { .pool = pool, .quotas = quotas };
	int error = 0;

	memset(quotas->found, 0, sizeof(quotas->found));
	for (__u32 i = 0; i < quotas->count && !error; i++) {
		const struct vg_quota *quota = &quotas->quota[i];

		/* What is within another's directory is counted with that. */
		if (!vg_quotas_of_path(quotas, quota->directory, quota->length))
			error = push(&counting, "", 0, quota->directory, quota->length);
	}
	while (counting.first) {
		struct directory *directory = counting.first;

		counting.first = directory->next;
		error = error ?: count_directory(&counting, directory);
		vg_file_free(pool, directory);
	}
	vg_file_free(pool, counting.seen.inode);
	return error;
}

/* ---- again ------------------------------------------------------------------------------------------------------- */

#define AGAIN_NS 60000000000ull /* between the end of one count and the next */

static int work(void *argument)
{
	struct vg_file_pool *pool = argument;

	vg_disk_enter();
	return vg_quotas_count(pool, pool->quotas);
}

static void on_counted(void *owner, const struct vg_io_event *event)
{
	struct vg_file_pool *pool = owner;
	struct vg_quotas *quotas = pool->quotas;

	vg_env_turn(pool->env);
	if (pool->stopping)
		return;
	quotas->counting = false;
	if (!event->result)
		vg_quotas_found(quotas);
	vg_quotas_count_again(pool);
}

static void on_time(void *context)
{
	struct vg_file_pool *pool = context;
	struct vg_quotas *quotas = pool->quotas;

	if (pool->stopping)
		return;
	pthread_mutex_lock(&quotas->lock);
	memset(quotas->gained, 0, sizeof(quotas->gained));
	pthread_mutex_unlock(&quotas->lock);
	quotas->counting = !vg_io_call(pool->env->io, work, pool, on_counted, pool, NULL);
	if (!quotas->counting)
		vg_quotas_count_again(pool);
}

void vg_quotas_count_again(struct vg_file_pool *pool)
{
	if (vg_env_timer(pool->env, AGAIN_NS, on_time, pool))
		vg_log(VG_LOG_WARNING, "quotas are not counted any more", NULL);
}
