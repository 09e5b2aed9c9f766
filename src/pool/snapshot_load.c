/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The data directory's snapshot into an empty store, at start. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pool/snapshot.h"

static int apply(void *context, const struct vg_record *record)
{
	return vg_record_apply(context, record);
}

static void explain(int error, __u64 offset, char *why, size_t why_bytes)
{
	if (error == -EILSEQ)
		snprintf(why, why_bytes,
			 "%s is damaged at byte %llu: nothing is served from half a snapshot; put a backup in its "
			 "place, or move it away to start without it",
			 VG_SNAPSHOT_NAME, (unsigned long long)offset);
	else if (error == -EPROTONOSUPPORT)
		snprintf(why, why_bytes, "%s was written by another version of virgod", VG_SNAPSHOT_NAME);
	else
		snprintf(why, why_bytes, "%s cannot be loaded (at byte %llu): %s", VG_SNAPSHOT_NAME,
			 (unsigned long long)offset,
			 error == -ENOMEM ? "the arena or the heap tier is too small for it" : strerror(-error));
}

int vg_snapshot_load(struct vg_store *store, int directory_fd, vg_progress_fn progress, void *context,
		     __u64 *ret_sequence, char *why, size_t why_bytes)
{
	int fd = openat(directory_fd, VG_SNAPSHOT_NAME, O_RDONLY | O_CLOEXEC);
	struct vg_snapshot_header header;
	struct vg_snapshot_counts counts;
	__u64 offset = 0;
	int error;

	if (fd < 0) {
		error = -errno;
		if (error != -ENOENT)
			explain(error, 0, why, why_bytes);
		return error;
	}
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	error = vg_snapshot_file_read(fd, &header, &counts, apply, store, progress, context, &offset);
	close(fd);
	if (error) {
		explain(error, offset, why, why_bytes);
		return error;
	}
	*ret_sequence = header.log_sequence;
	return 0;
}
