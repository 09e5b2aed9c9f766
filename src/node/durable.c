/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The log at start and end: opened behind what was recovered, kept by a thread of its own, finished. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "node/commit.h"
#include "node/world.h"
#include "pool/recover.h"

static void wake_first(void *context)
{
	struct vg_world *world = context;

	if (__atomic_load_n(&world->workers_made, __ATOMIC_ACQUIRE))
		vg_io_wake(world->workers[0].io);
}

static int open_log(struct vg_world *world, const struct vg_recovered *recovered)
{
	struct vg_wal_config config = {
		.directory_fd = fcntl(world->data_fd, F_DUPFD_CLOEXEC, 0),
		.segment_bytes = world->options.log_segment_bytes,
		.sequence = recovered->sequence,
		.identity = recovered->identity,
		.segment = recovered->segment,
		.node = world->cluster->self,
		.wake = wake_first,
		.wake_context = world,
	};
	int error;

	if (config.directory_fd < 0)
		return -errno;
	if (vg_wal_sync_parse(world->options.appendfsync, &config.sync))
		config.sync = VG_WAL_SYNC_EVERYSEC;
	if (!config.identity && getrandom(&config.identity, sizeof(config.identity), 0) < 0)
		return -errno;
	error = vg_wal_new(&world->wal, &config);
	for (__u32 i = 0; i < recovered->files && !error; i++)
		error = vg_wal_found_file(world->wal, recovered->file[i].number, recovered->file[i].last,
					  recovered->file[i].bytes);
	if (error)
		return error;
	vg_wal_snapshot_done(world->wal, recovered->snapshot);
	vg_wal_keep(world->wal); /* the first file is ready before the first change */
	return vg_store_observe(world->store, vg_wal_observe, world->wal);
}

static void *keep(void *context)
{
	struct vg_world *world = context;

	while (!__atomic_load_n(&world->keeper_stops, __ATOMIC_ACQUIRE)) {
		vg_wal_keep(world->wal);
		vg_wal_keep_wait(world->wal);
	}
	return NULL;
}

int vg_commit_open(struct vg_world *world, const struct vg_recovered *recovered, char *why, size_t why_bytes)
{
	int error = open_log(world, recovered);

	if (!error)
		error = -pthread_create(&world->keeper, NULL, keep, world);
	if (error) {
		snprintf(why, why_bytes, "cannot open the log in %s: %s", world->options.dir, strerror(-error));
		return error;
	}
	world->keeper_runs = true;
	pthread_setname_np(world->keeper, "log-keeper");
	return 0;
}

__u64 vg_commit_sequence(const struct vg_world *world)
{
	return world->wal ? vg_wal_sequence(world->wal) : world->recovered_sequence;
}

void vg_commit_stop(struct vg_world *world)
{
	if (!world->keeper_runs)
		return;
	__atomic_store_n(&world->keeper_stops, true, __ATOMIC_RELEASE);
	vg_wal_keep_wake(world->wal);
	pthread_join(world->keeper, NULL);
	world->keeper_runs = false;
	__atomic_store_n(&world->workers_made, false, __ATOMIC_RELEASE); /* there is nobody to wake */
}

void vg_commit_close(struct vg_world *world)
{
	int error = world->wal ? vg_wal_finish(world->wal) : 0;

	if (error)
		vg_log(VG_LOG_ERROR, "the end of the log could not be written", "error=\"%s\"", strerror(-error));
	vg_wal_free(world->wal);
	world->wal = NULL;
}
