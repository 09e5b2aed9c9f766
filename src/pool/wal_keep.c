/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The keeper's half of the log: everything that may block. Under `always` a file is filled with zeros before it is
 * used: writing over blocks that are there costs one flush, while a file that grows, or whose blocks are only reserved,
 * makes the file system commit its journal each time (docs/decisions/0031-segments.md has the figures).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "pool/wal_private.h"

#define ZEROS_BYTES (1u << 20)

void vg_wal_wake(struct vg_wal *wal)
{
	if (wal->config.wake)
		wal->config.wake(wal->config.wake_context);
}

void vg_wal_keep_wake(struct vg_wal *wal)
{
	sem_post(&wal->keeper);
}

void vg_wal_keep_wait(struct vg_wal *wal)
{
	static const struct timespec rest = { .tv_nsec = 200000000 };
	struct timespec until;

	if (__atomic_load_n(&wal->keeper_error, __ATOMIC_RELAXED))
		nanosleep(&rest, NULL); /* however often it is asked */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	(void)sem_timedwait(&wal->keeper, &until); /* whatever the reason: look whether there is something to do */
	while (!sem_trywait(&wal->keeper))
		;
}

/* ---- the file after this one ----------------------------------------------------------------------------------- */

static int write_zeros(int fd, __u64 bytes)
{
	__u8 *zeros = calloc(1, ZEROS_BYTES);
	__u64 at = 0;
	int error = zeros ? 0 : -ENOMEM;

	while (at < bytes && !error) {
		ssize_t wrote = pwrite(fd, zeros, bytes - at < ZEROS_BYTES ? bytes - at : ZEROS_BYTES, (off_t)at);

		if (wrote < 0 && errno != EINTR)
			error = -errno;
		else if (wrote > 0)
			at += (__u64)wrote;
	}
	free(zeros);
	return error;
}

static int prepare(const struct vg_wal *wal, int fd)
{
	int error = fallocate(fd, 0, 0, (off_t)wal->config.segment_bytes) ? -errno : 0;

	if (error == -EOPNOTSUPP)
		error = 0; /* then zeros make room, or writes as they come */
	if (!error && vg_wal_sync(wal) == VG_WAL_SYNC_ALWAYS)
		error = write_zeros(fd, wal->config.segment_bytes);
	if (!error && fsync(fd))
		error = -errno;
	return error ?: fsync(wal->config.directory_fd) ? -errno : 0;
}

static int make_file(const struct vg_wal *wal, __u32 number)
{
	char name[VG_SEGMENT_NAME_BYTES];
	int fd, error;

	vg_segment_name(number, name);
	fd = openat(wal->config.directory_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	error = prepare(wal, fd);
	if (!error)
		return fd;
	close(fd);
	(void)unlinkat(wal->config.directory_fd, name, 0); /* it holds nothing */
	return error;
}

static void make_next(struct vg_wal *wal)
{
	__u32 number;
	bool waited;
	int fd;

	vg_lock_take(&wal->lock);
	number = wal->next_fd < 0 && !wal->wants_snapshot ? wal->last_number + 1 : 0;
	vg_lock_give(&wal->lock);
	if (!number)
		return;
	fd = make_file(wal, number);
	vg_lock_take(&wal->lock);
	waited = wal->waits_for_next;
	__atomic_store_n(&wal->keeper_error, fd < 0 ? fd : 0, __ATOMIC_RELAXED);
	if (fd >= 0) {
		wal->next_fd = fd;
		wal->next_number = wal->last_number = number;
		wal->retry_ns = 0;
	} else if (waited) {
		vg_wal_set_error(wal, fd);
	}
	vg_lock_give(&wal->lock);
	if (waited)
		vg_wal_wake(wal);
}

/* ---- the file before ------------------------------------------------------------------------------------------- */

static void finish_retired(struct vg_wal *wal)
{
	struct retired retired;
	bool broken, synced;

	vg_lock_take(&wal->lock);
	retired = wal->retired;
	broken = wal->wants_snapshot;
	vg_lock_give(&wal->lock);
	if (retired.fd < 0)
		return;
	/* What was made ready and not used goes, and so does the end of a write that failed. */
	(void)!ftruncate(retired.fd, (off_t)retired.bytes); /* the reader finds its way without that too */
	synced = !fdatasync(retired.fd);
	if (!synced && !broken) {
		int error = -errno;

		vg_lock_take(&wal->lock);
		if (wal->sync != VG_WAL_SYNC_ALWAYS)
			vg_wal_break(wal, error); /* what it held since the last sync may be gone */
		vg_lock_give(&wal->lock);
	}
	close(retired.fd);
	vg_lock_take(&wal->lock);
	wal->retired.fd = -1;
	if (synced && retired.last > wal->durable) {
		wal->durable = retired.last;
		wal->durable_ns = retired.written_ns;
		vg_wal_update_settled(wal);
	}
	vg_lock_give(&wal->lock);
	vg_wal_wake(wal);
}

/* ---- files that a snapshot has made superfluous ---------------------------------------------------------------- */

static __u32 take_superfluous(struct vg_wal *wal)
{
	__u32 number = 0;

	vg_lock_take(&wal->lock);
	if (wal->files && wal->retired.fd < 0 && wal->file[0].last <= wal->snapshot) {
		number = wal->file[0].number;
		wal->files--;
		memmove(wal->file, wal->file + 1, wal->files * sizeof(*wal->file));
	}
	vg_lock_give(&wal->lock);
	return number;
}

static void remove_superfluous(struct vg_wal *wal)
{
	char name[VG_SEGMENT_NAME_BYTES];
	__u32 number;

	while ((number = take_superfluous(wal))) {
		vg_segment_name(number, name);
		(void)unlinkat(wal->config.directory_fd, name, 0); /* one that stays is removed at the next start */
	}
}

void vg_wal_keep(struct vg_wal *wal)
{
	finish_retired(wal);
	make_next(wal);
	remove_superfluous(wal);
}

int vg_wal_found_file(struct vg_wal *wal, __u32 number, __u64 last, __u64 bytes)
{
	if (wal->files == wal->files_room)
		return -ENOSPC;
	wal->file[wal->files].number = number;
	wal->file[wal->files].last = last;
	wal->file[wal->files++].bytes = bytes;
	return 0;
}

/* Broken, the log goes on where the snapshot ends: nothing may have been changed since. */
void vg_wal_snapshot_done(struct vg_wal *wal, __u64 sequence)
{
	vg_lock_take(&wal->lock);
	if (sequence > wal->snapshot)
		wal->snapshot = sequence;
	if (wal->wants_snapshot && !wal->writing && wal->fd < 0 && sequence == wal->sequence) {
		wal->written = wal->durable = sequence;
		__atomic_store_n(&wal->sealed, sequence, __ATOMIC_RELEASE);
		vg_wal_update_settled(wal);
		vg_wal_set_error(wal, 0);
		__atomic_store_n(&wal->wants_snapshot, false, __ATOMIC_RELEASE);
	}
	vg_lock_give(&wal->lock);
	vg_wal_keep_wake(wal);
}
