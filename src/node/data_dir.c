/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "node/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/snapshot.h"

#define PROGRESS_PERCENT 10 /* told at each so many */

static int take_lock(int fd)
{
	static const struct timespec moment = { .tv_nsec = VG_TRY_AGAIN_NS };
	int tries = 0;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || tries++ == VG_TRIES)
			return -errno;
		(void)nanosleep(&moment, NULL);
	}
	return 0;
}

/* The directory itself is locked: no file is left behind, and the lock goes with the process. */
int vg_data_dir_open(struct vg_world *world, char *why, size_t why_bytes)
{
	const char *path = world->options.dir;
	int error = 0;

	if (!path[0])
		return 0;
	if (mkdir(path, 0700) && errno != EEXIST)
		error = -errno;
	world->data_fd = error ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!error && world->data_fd < 0)
		error = -errno;
	if (!error)
		error = take_lock(world->data_fd);
	if (error == -EWOULDBLOCK)
		snprintf(why, why_bytes, "another daemon has the data directory %s", path);
	else if (error)
		snprintf(why, why_bytes, "the data directory %s: %s", path, strerror(-error));
	return error;
}

void vg_data_dir_close(struct vg_world *world)
{
	if (world->data_fd >= 0)
		close(world->data_fd);
	world->data_fd = -1;
}

#define TELL_NS 1000000000ULL /* who started us is told so often, or would give up waiting */

struct told {
	struct vg_world *world;
	const char *what;
	__u64 percent;
	__u64 next_ns;
};

static void tell(void *context, const char *what, __u64 done, __u64 all)
{
	struct told *told = context;
	struct vg_clock clock;
	__u64 percent = all ? (__u64)((double)done * 100 / (double)all) : 100;

	vg_clock_update(&clock);
	if (told->world->on_loading && clock.monotonic_ns >= told->next_ns) {
		told->next_ns = clock.monotonic_ns + TELL_NS;
		told->world->on_loading(what, done, all);
	}
	if (told->what == what && percent < told->percent + PROGRESS_PERCENT && percent < 100)
		return;
	told->what = what;
	told->percent = percent;
	vg_log(VG_LOG_NOTICE, "loading", "what=%s percent=%llu bytes=%llu", what, percent, done);
}

int vg_data_dir_recover(struct vg_world *world, __u64 now_ms, struct vg_recovered *ret_recovered, char *why,
			size_t why_bytes)
{
	struct told told = { .world = world };
	const struct vg_recover recover = {
		.store = world->store,
		.directory_fd = world->data_fd,
		.now_ms = now_ms,
		.repair = world->options.repair_log,
		.load = vg_snapshot_load,
		.progress = tell,
		.context = &told,
	};
	struct vg_store_stats stats;
	int error;

	vg_store_worker(world->store, 0);
	error = vg_recover(&recover, ret_recovered, why, why_bytes);
	if (error)
		return error;
	vg_store_stats(world->store, &stats);
	vg_log(VG_LOG_NOTICE, "loaded", "keys=%llu handles=%llu changes=%llu cut_bytes=%llu expired=%llu", stats.keys,
	       stats.handles, ret_recovered->records, ret_recovered->cut_bytes, ret_recovered->expired);
	if (ret_recovered->cut_bytes)
		vg_log(VG_LOG_WARNING, "the torn end of the log was cut", "file=%s bytes=%llu", ret_recovered->cut_name,
		       ret_recovered->cut_bytes);
	if (ret_recovered->repaired)
		vg_log(VG_LOG_WARNING, "the log was damaged, what was behind the damage is kept as *.damaged", NULL);
	return 0;
}
