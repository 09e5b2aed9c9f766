/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A snapshot into a file: one piece after the other through the worker's ring, each at most one write and a pause, so
 * that the worker serves others between. The old file stays until the new one is whole and on stable storage.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pool/snapshot.h"

#define SYNC_BYTES (16u << 20) /* written back in such steps: the last sync has little left to do */
#define EMPTY_PIECES 8	       /* so many pieces without bytes in one step, then others have the worker */
#define RETRY_NS 10000000ULL   /* the ring has no slot: try again */

struct vg_snapshot_writer {
	struct vg_snapshot_writer_config config;
	const struct vg_mem *mem;
	struct vg_snapshot_source *source;
	int fd;
	char name[64], temporary[72];
	struct iovec vectors[VG_SNAPSHOT_VECTORS];
	int count, first;	/* first: of those not wholly written */
	__u64 offset, synced;
	bool last;		/* the source has no more */
	bool cancelled;
	bool renamed;
	__u32 permille;		/* others read it */
	struct vg_snapshot_result result;
};

static void step(struct vg_snapshot_writer *writer);

/* ---- the end --------------------------------------------------------------------------------------------------- */

/* All but the writer itself. */
static void writer_clean(struct vg_snapshot_writer *writer)
{
	vg_snapshot_source_free(writer->source);
	writer->source = NULL;
	if (writer->fd >= 0)
		close(writer->fd);
	if (!writer->renamed && writer->temporary[0])
		(void)unlinkat(writer->config.directory_fd, writer->temporary, 0);
}

static void writer_release(struct vg_snapshot_writer *writer)
{
	writer_clean(writer);
	writer->mem->free(writer->mem->context, writer);
}

static void finish(struct vg_snapshot_writer *writer, int error, const char *doing)
{
	struct vg_snapshot_result result = writer->result;

	result.error = error;
	result.counts = *vg_snapshot_source_counts(writer->source);
	result.file_bytes = writer->offset;
	result.log_sequence = writer->config.source.log_sequence;
	if (error == -ENOSPC && !strcmp(doing, "reading"))
		snprintf(result.why, sizeof(result.why), "too much was changed meanwhile for the memory there is");
	else if (error)
		snprintf(result.why, sizeof(result.why), "%s: %s", doing, strerror(-error));
	writer_clean(writer);
	writer->config.done(writer->config.context, &result);
	writer->mem->free(writer->mem->context, writer);
}

static void on_directory_synced(void *owner, const struct vg_io_event *event)
{
	finish(owner, event->result < 0 ? event->result : 0, "syncing the directory");
}

/* The file is whole and safe: now it takes the old one's place. */
static void on_synced(void *owner, const struct vg_io_event *event)
{
	struct vg_snapshot_writer *writer = owner;
	int directory_fd = writer->config.directory_fd;

	if (event->result < 0 || writer->cancelled) {
		finish(writer, event->result < 0 ? event->result : -ECANCELED, "syncing");
		return;
	}
	if (renameat(directory_fd, writer->temporary, directory_fd, writer->name)) {
		finish(writer, -errno, "renaming");
		return;
	}
	writer->renamed = true;
	if (vg_io_fsync(writer->config.io, directory_fd, false, on_directory_synced, writer, NULL))
		finish(writer, fsync(directory_fd) ? -errno : 0, "syncing the directory");
}

/* ---- one step after the other ---------------------------------------------------------------------------------- */

static void on_pause(void *owner, const struct vg_io_event *event)
{
	step(owner);
}

static void later(struct vg_snapshot_writer *writer, __u64 delay_ns)
{
	if (vg_io_timeout(writer->config.io, delay_ns, on_pause, writer, NULL))
		finish(writer, -EBUSY, "waiting");
}

static void on_part_synced(void *owner, const struct vg_io_event *event)
{
	struct vg_snapshot_writer *writer = owner;

	if (event->result < 0)
		finish(writer, event->result, "syncing");
	else
		step(writer);
}

static void on_written(void *owner, const struct vg_io_event *event);

static void write_rest(struct vg_snapshot_writer *writer)
{
	if (vg_io_write(writer->config.io, writer->fd, writer->vectors + writer->first,
			writer->count - writer->first, writer->offset, on_written, writer, NULL))
		later(writer, RETRY_NS);
}

static void on_written(void *owner, const struct vg_io_event *event)
{
	struct vg_snapshot_writer *writer = owner;
	size_t done;

	if (event->result == -EINTR || event->result == -EAGAIN) {
		later(writer, RETRY_NS);
		return;
	}
	if (event->result <= 0) {
		finish(writer, event->result ? event->result : -EIO, "writing");
		return;
	}
	done = (size_t)event->result;
	writer->offset += done;
	while (writer->first < writer->count && done >= writer->vectors[writer->first].iov_len)
		done -= writer->vectors[writer->first++].iov_len;
	if (writer->first < writer->count) { /* written short: the disk is full, or will tell what ails it */
		writer->vectors[writer->first].iov_base = (__u8 *)writer->vectors[writer->first].iov_base + done;
		writer->vectors[writer->first].iov_len -= done;
		write_rest(writer);
		return;
	}
	if (writer->offset - writer->synced >= SYNC_BYTES && !writer->last) {
		writer->synced = writer->offset;
		if (!vg_io_fsync(writer->config.io, writer->fd, true, on_part_synced, writer, NULL))
			return;
	}
	later(writer, writer->config.pause_ns);
}

static void step(struct vg_snapshot_writer *writer)
{
	int more = 1;

	if (writer->cancelled) {
		finish(writer, -ECANCELED, "stopping");
		return;
	}
	if (writer->first < writer->count) { /* the ring had no slot */
		write_rest(writer);
		return;
	}
	writer->count = writer->first = 0;
	if (writer->last) {
		if (vg_io_fsync(writer->config.io, writer->fd, false, on_synced, writer, NULL))
			later(writer, RETRY_NS);
		return;
	}
	for (int i = 0; i < EMPTY_PIECES && more == 1 && !writer->count; i++)
		more = vg_snapshot_source_next(writer->source, writer->vectors, &writer->count);
	if (more < 0) {
		finish(writer, more, "reading");
		return;
	}
	writer->last = !more;
	__atomic_store_n(&writer->permille, vg_snapshot_source_permille(writer->source), __ATOMIC_RELAXED);
	if (writer->count)
		write_rest(writer);
	else
		later(writer, writer->config.pause_ns);
}

/* ---- beginning ------------------------------------------------------------------------------------------------- */

int vg_snapshot_writer_new(struct vg_snapshot_writer **ret_writer, const struct vg_snapshot_writer_config *config)
{
	const struct vg_mem *mem = vg_store_mem(config->source.store);
	struct vg_snapshot_writer *writer = mem->alloc(mem->context, sizeof(*writer));
	int error;

	if (!writer)
		return -ENOMEM;
	*writer = (struct vg_snapshot_writer){ .config = *config, .mem = mem, .fd = -1 };
	snprintf(writer->name, sizeof(writer->name), "%s", config->name);
	snprintf(writer->temporary, sizeof(writer->temporary), "%s.tmp", writer->name);
	writer->fd = openat(config->directory_fd, writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (writer->fd < 0) {
		error = -errno;
		writer->temporary[0] = 0;
		goto fail;
	}
	error = vg_snapshot_source_new(&writer->source, &config->source);
	error = error ?: vg_io_timeout(config->io, 0, on_pause, writer, NULL);
	if (error)
		goto fail;
	*ret_writer = writer;
	return 0;
fail:
	writer_release(writer);
	return error;
}

void vg_snapshot_writer_cancel(struct vg_snapshot_writer *writer)
{
	writer->cancelled = true;
}

void vg_snapshot_writer_free(struct vg_snapshot_writer *writer)
{
	if (writer)
		writer_release(writer);
}

__u32 vg_snapshot_writer_permille(const struct vg_snapshot_writer *writer)
{
	return __atomic_load_n(&writer->permille, __ATOMIC_RELAXED);
}
