/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The directory of the file pool, and what the process needs to have many of its files open. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "node/exports.h"
#include "node/world.h"

#define DESCRIPTORS_OTHER 1024 /* of listeners, rings, links, jobs */

/* As many descriptors as connections and open files may need, if the machine lets us. */
static void raise_limit(const struct vg_world *world)
{
	rlim_t wanted = (rlim_t)(world->options.file_open + world->options.connections * world->worker_count +
				 DESCRIPTORS_OTHER);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < wanted)
		vg_log(VG_LOG_NOTICE, "fewer files than file-open may be open", "descriptors=%llu wanted=%llu",
		       (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
}

int vg_file_root_open(struct vg_world *world, char *why, size_t why_bytes)
{
	const struct vg_options *options = &world->options;
	int fd;

	if (!options->file_root[0] || !world->listen_text[VG_DOOR_FILE][0])
		return 0;
	fd = open(options->file_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		int error = -errno;

		snprintf(why, why_bytes, "file-root %s: %s", options->file_root, strerror(-error));
		return error;
	}
	world->file = (struct vg_file_settings){
		.root_fd = fd,
		.read_only = options->file_read_only,
		.ids = options->file_ids,
		.placement = (enum vg_placement)options->file_placement,
		.descriptors = (__u32)options->file_open,
		.memory_bytes = options->file_memory_bytes,
		.quota_bytes = options->file_quota_bytes,
		.quota_files = options->file_quota_files,
	};
	if (options->file_exports[0]) {
		struct vg_file_export_settings *exports;
		int error = vg_exports_read(options->file_exports, &exports, &world->file.export_count, why, why_bytes);

		if (error)
			return error;
		world->file.exports = exports;
	}
	raise_limit(world);
	return 0;
}

void vg_file_root_close(struct vg_world *world)
{
	if (world->file.root_fd >= 0)
		close(world->file.root_fd);
	world->file.root_fd = -1;
	free((void *)world->file.exports);
	world->file.exports = NULL;
}
