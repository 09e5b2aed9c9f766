// SPDX-License-Identifier: GPL-3.0-or-later
/* Whom a key lets in, and where. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "proto/frame.h"
#include "svc/file/disk.h"
#include "svc/file/hold.h"

/* The directory of an export and those above it: made where they are missing, so that there is something to open. */
static int make_directory(struct vg_file_pool *pool, const char *directory)
{
	char path[sizeof(((struct vg_file_export_settings *)0)->directory)];
	size_t length = strlen(directory);
	struct statx stat;

	for (size_t i = 1; i <= length; i++) {
		int error;

		if (directory[i] != '/' && directory[i])
			continue;
		memcpy(path, directory, i);
		path[i] = '\0';
		error = vg_disk_mkdir(pool->root_fd, path, 0755, &stat);
		if (error && error != -EEXIST) {
			vg_log(VG_LOG_ERROR, "cannot make the directory of an export", "directory=%s error=%s",
			       directory, strerror(-error));
			return error;
		}
	}
	return 0;
}

/*
 * Whoever has the cluster's key has everything, and so do the other nodes, who show it. Where there are exports but no
 * such key nobody has everything; several nodes could not speak with each other.
 */
int vg_exports_init(struct vg_file_pool *pool)
{
	const struct vg_file_settings *settings = pool->settings;
	__u32 count = 1 + settings->export_count;

	if (settings->exports && !vg_cluster_key(pool->env->cluster) && !pool->alone) {
		vg_log(VG_LOG_ERROR, "file-exports in a cluster of several nodes needs key-file", NULL);
		return -EINVAL;
	}
	pool->exports = vg_file_alloc(pool, count * sizeof(*pool->exports));
	if (!pool->exports)
		return -ENOMEM;
	pool->export_count = count;
	pool->exports[0] = (struct vg_file_export){
		.key = vg_cluster_key(pool->env->cluster), .prefix = "", .read_only = settings->read_only
	};
	for (__u32 i = 1; i < count; i++) {
		const struct vg_file_export_settings *from = &settings->exports[i - 1];
		int error = make_directory(pool, from->directory);

		if (error)
			return error;
		pool->exports[i] = (struct vg_file_export){
			.key = from->keyed ? from->key : NULL,
			.prefix = from->directory,
			.prefix_length = (__u32)strlen(from->directory),
			.read_only = from->read_only || settings->read_only,
		};
	}
	return 0;
}

void vg_exports_deinit(struct vg_file_pool *pool)
{
	vg_file_free(pool, pool->exports);
	pool->exports = NULL;
}

const struct vg_file_export *vg_export_find(const struct vg_file_pool *pool, const struct vg_wire_header *header,
					    const __u8 *key_padded)
{
	bool tagged = header->flags & VG_HTOBE16(VG_FLAG_TAGGED);

	for (__u32 i = 0; tagged && i < pool->export_count; i++)
		if (pool->exports[i].key && vg_frame_tag_right(pool->exports[i].key, header, key_padded))
			return &pool->exports[i];
	return vg_export_without_key(pool);
}

const struct vg_file_export *vg_export_without_key(const struct vg_file_pool *pool)
{
	for (__u32 i = pool->settings->exports ? 1 : 0; i < pool->export_count; i++)
		if (!pool->exports[i].key)
			return &pool->exports[i];
	return NULL;
}
