/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "node/save.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "node/world.h"

#define PAUSE_NS 300000ULL	      /* between pieces: a piece takes about as long on this worker */
#define RETRY_NS 5000000000ULL	      /* after a failure rules wait so long */
#define RULES_TICKS 20		      /* they are looked at each second */
#define LOG_SEGMENTS_MAX 8 /* so many files of the log, and twice the last snapshot: time for a new one */

static struct vg_saver *saver_of(struct vg_env *env)
{
	return &((struct vg_worker *)env->node)->world->saver;
}

/* ---- counting changes ------------------------------------------------------------------------------------------ */

static _Thread_local __u64 *thread_changes;

/* A registered observer (store.h): on every worker, for every change. */
static void count_change(void *context, struct vg_observed *observed)
{
	if (thread_changes && observed->kind < VG_OBSERVED_BEGIN)
		__atomic_store_n(thread_changes, *thread_changes + 1, __ATOMIC_RELAXED);
}

static __u64 changes_of(const struct vg_world *world)
{
	__u64 sum = 0;

	for (__u32 w = 0; world->workers && w < world->worker_count; w++)
		sum += __atomic_load_n(&world->workers[w].changes, __ATOMIC_RELAXED);
	return sum;
}

/* ---- one snapshot ---------------------------------------------------------------------------------------------- */

static int source_config(struct vg_world *world, __u64 now_ms, struct vg_snapshot_source_config *ret_config)
{
	*ret_config = (struct vg_snapshot_source_config){
		.store = world->store,
		.now_ms = now_ms,
		.log_sequence = vg_commit_sequence(world),
		.node = vg_cluster_self(world->cluster),
		.compress = world->options.snapshot_compress,
	};
	world->saver.log_sequence = ret_config->log_sequence;
	if (getrandom(&ret_config->identity, sizeof(ret_config->identity), 0) < 0)
		return -errno;
	return 0;
}

/* The lock is held. */
static void note_end(struct vg_world *world, const struct vg_snapshot_result *result, const struct vg_clock *clock)
{
	struct vg_saver *saver = &world->saver;
	__u64 elapsed_ns = clock->monotonic_ns - saver->begun_ns;

	saver->running = false;
	saver->writer = NULL;
	saver->known.last_error = result->error;
	saver->known.last_seconds = (__s64)(elapsed_ns / 1000000000);
	snprintf(saver->known.last_why, sizeof(saver->known.last_why), "%s", result->why);
	if (result->error) {
		vg_log(VG_LOG_ERROR, "snapshot failed, the last one stays", "error=\"%s\"", result->why);
		return;
	}
	if (world->wal)
		vg_wal_snapshot_done(world->wal, saver->log_sequence);
	saver->known.last_save_s = clock->unix_ns / 1000000000;
	saver->known.last_bytes = result->file_bytes;
	saver->known.saves++;
	saver->saved_changes = saver->begun_changes;
	vg_log(VG_LOG_NOTICE, "snapshot saved", "keys=%llu handles=%llu bytes=%llu milliseconds=%llu",
	       result->counts.keys, result->counts.handles, result->file_bytes, elapsed_ns / 1000000);
}

static int begin(struct vg_worker *worker, enum vg_save_how how, vg_save_fn done, void *context);

static void on_done(void *context, const struct vg_snapshot_result *result)
{
	struct vg_worker *worker = context;
	struct vg_saver *saver = &worker->world->saver;
	vg_save_fn done;
	void *done_context;
	bool again;

	vg_worker_turn(worker);
	pthread_mutex_lock(&saver->lock);
	note_end(worker->world, result, &worker->clock);
	done = saver->done;
	done_context = saver->context;
	again = saver->scheduled && !saver->stopping;
	saver->scheduled = false;
	if (again)
		(void)begin(worker, VG_SAVE_BACKGROUND, NULL, NULL); /* it has logged why not */
	pthread_mutex_unlock(&saver->lock);
	if (done)
		done(done_context, result->error, result->why);
}

/* The lock is held; this is the worker's thread. */
static int begin(struct vg_worker *worker, enum vg_save_how how, vg_save_fn done, void *context)
{
	struct vg_world *world = worker->world;
	struct vg_saver *saver = &world->saver;
	struct vg_snapshot_writer_config config = {
		.io = worker->io,
		.directory_fd = world->data_fd,
		.name = VG_SNAPSHOT_NAME,
		.pause_ns = how == VG_SAVE_NOW ? 0 : PAUSE_NS,
		.done = on_done,
		.context = worker,
	};
	__u64 changes = changes_of(world);
	int error;

	saver->tried_ns = worker->clock.monotonic_ns;
	error = source_config(world, vg_clock_unix_ms(&worker->clock), &config.source);
	error = error ?: vg_snapshot_writer_new(&saver->writer, &config);
	if (error) {
		saver->known.last_error = error;
		snprintf(saver->known.last_why, sizeof(saver->known.last_why), "%s", strerror(-error));
		vg_log(VG_LOG_ERROR, "snapshot not begun", "error=\"%s\"", strerror(-error));
		return error;
	}
	saver->running = true;
	saver->writer_worker = worker->env.worker;
	saver->how = how;
	saver->done = done;
	saver->context = context;
	saver->begun_ns = worker->clock.monotonic_ns;
	saver->begun_changes = changes;
	saver->known.last_begun_s = worker->clock.unix_ns / 1000000000;
	return 0;
}

int vg_env_save(struct vg_env *env, enum vg_save_how how, vg_save_fn done, void *context)
{
	struct vg_worker *worker = env->node;
	struct vg_saver *saver = saver_of(env);
	int error;

	if (worker->world->data_fd < 0)
		return -ENODEV;
	pthread_mutex_lock(&saver->lock);
	if (saver->stopping)
		error = -ESHUTDOWN;
	else if (!saver->running)
		error = begin(worker, how, done, context);
	else
		error = how == VG_SAVE_LATER ? 0 : -EALREADY;
	if (saver->running && saver->done != done && how == VG_SAVE_LATER && !error)
		saver->scheduled = true;
	pthread_mutex_unlock(&saver->lock);
	return error;
}

/* ---- by themselves --------------------------------------------------------------------------------------------- */

/* The log has lost something, or has grown well past what a snapshot would need. */
static bool log_wants_one(const struct vg_world *world)
{
	struct vg_wal_stats stats;

	vg_wal_stats(world->wal, &stats);
	return stats.wants_snapshot || (stats.current_bytes > LOG_SEGMENTS_MAX * world->options.log_segment_bytes &&
					stats.current_bytes > 2 * world->saver.known.last_bytes);
}

static bool due(const struct vg_world *world, const struct vg_clock *clock)
{
	const struct vg_saver *saver = &world->saver;
	__u64 changes = changes_of(world) - saver->saved_changes;
	__u64 seconds = clock->unix_ns / 1000000000 - saver->known.last_save_s;

	if (saver->known.last_error && clock->monotonic_ns < saver->tried_ns + RETRY_NS)
		return false;
	if (world->wal && log_wants_one(world))
		return true;
	for (int i = 0; i < saver->rules_count; i++)
		if (changes >= saver->rules[i].changes && seconds >= saver->rules[i].seconds)
			return true;
	return false;
}

void vg_saver_tick(struct vg_worker *worker)
{
	struct vg_saver *saver = &worker->world->saver;

	if (worker->world->data_fd < 0)
		return;
	thread_changes = &worker->changes;
	if (worker->env.worker || worker->saver_ticks++ % RULES_TICKS)
		return;
	pthread_mutex_lock(&saver->lock);
	if (!saver->running && !saver->stopping && due(worker->world, &worker->clock))
		(void)begin(worker, VG_SAVE_BACKGROUND, NULL, NULL);
	pthread_mutex_unlock(&saver->lock);
}

int vg_saver_set_rules(struct vg_world *world, const char *text)
{
	struct vg_saver *saver = &world->saver;
	struct vg_save_rule rules[VG_SAVE_RULES_MAX];
	int count = vg_save_rules_parse(text, rules), at = 0;

	if (count < 0)
		return count;
	pthread_mutex_lock(&saver->lock);
	memcpy(saver->rules, rules, sizeof(rules[0]) * (size_t)count);
	saver->rules_count = count;
	saver->known.rules[0] = 0;
	for (int i = 0; i < count && at < (int)sizeof(saver->known.rules) - 32; i++)
		at += snprintf(saver->known.rules + at, sizeof(saver->known.rules) - (size_t)at, "%s%u %llu",
			       i ? " " : "", rules[i].seconds, (unsigned long long)rules[i].changes);
	pthread_mutex_unlock(&saver->lock);
	return 0;
}

int vg_env_save_rules(struct vg_env *env, const char *text)
{
	return vg_saver_set_rules(((struct vg_worker *)env->node)->world, text);
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

void vg_env_shutdown(struct vg_env *env, enum vg_shutdown_how how)
{
	struct vg_saver *saver = saver_of(env);

	pthread_mutex_lock(&saver->lock);
	saver->final_forced = how == VG_SHUTDOWN_SAVE;
	saver->final_forbidden = how == VG_SHUTDOWN_NOSAVE;
	pthread_mutex_unlock(&saver->lock);
	kill(getpid(), SIGTERM);
}

void vg_saver_stop(struct vg_worker *worker)
{
	struct vg_saver *saver = &worker->world->saver;

	pthread_mutex_lock(&saver->lock);
	saver->stopping = true;
	if (saver->running && saver->writer_worker == worker->env.worker)
		vg_snapshot_writer_cancel(saver->writer);
	pthread_mutex_unlock(&saver->lock);
}

bool vg_saver_busy(const struct vg_worker *worker)
{
	const struct vg_saver *saver = &worker->world->saver;

	return __atomic_load_n(&saver->running, __ATOMIC_RELAXED) && saver->writer_worker == worker->env.worker;
}

static int write_all(int fd, struct iovec *vectors, int count, __u64 *bytes)
{
	for (int i = 0; i < count; i++) {
		const __u8 *at = vectors[i].iov_base;
		size_t left = vectors[i].iov_len;

		while (left) {
			ssize_t done = write(fd, at, left);

			if (done < 0 && errno == EINTR)
				continue;
			if (done <= 0)
				return done ? -errno : -EIO;
			at += done;
			left -= (size_t)done;
			*bytes += (__u64)done;
		}
	}
	return 0;
}

static int write_source(struct vg_snapshot_source *source, int fd, __u64 *bytes)
{
	struct iovec vectors[VG_SNAPSHOT_VECTORS];
	int more = 1, error = 0, count;

	while (more == 1 && !error) {
		more = vg_snapshot_source_next(source, vectors, &count);
		error = more < 0 ? more : write_all(fd, vectors, count, bytes);
	}
	return error ?: fsync(fd) ? -errno : 0;
}

/* All workers have ended: nobody waits for us but who stops us. */
static int save_blocking(struct vg_world *world, const struct vg_clock *clock, struct vg_snapshot_result *result)
{
	static const char temporary[] = VG_SNAPSHOT_NAME ".tmp";
	struct vg_snapshot_source_config config;
	struct vg_snapshot_source *source = NULL;
	int fd = -1, error = source_config(world, vg_clock_unix_ms(clock), &config);

	vg_store_worker(world->store, 0);
	error = error ?: vg_snapshot_source_new(&source, &config);
	if (!error) {
		fd = openat(world->data_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		error = fd < 0 ? -errno : write_source(source, fd, &result->file_bytes);
	}
	if (!error && renameat(world->data_fd, temporary, world->data_fd, VG_SNAPSHOT_NAME))
		error = -errno;
	if (!error && fsync(world->data_fd))
		error = -errno;
	if (error)
		(void)unlinkat(world->data_fd, temporary, 0);
	if (fd >= 0)
		close(fd);
	if (source)
		result->counts = *vg_snapshot_source_counts(source);
	vg_snapshot_source_free(source);
	return error;
}

int vg_saver_finish(struct vg_world *world)
{
	struct vg_saver *saver = &world->saver;
	struct vg_snapshot_result result = { 0 };
	bool changed = changes_of(world) != saver->saved_changes;
	struct vg_clock clock;

	if (world->data_fd < 0 || saver->final_forbidden ||
	    (!saver->final_forced && (!saver->rules_count || !changed)))
		return 0;
	vg_clock_update(&clock);
	saver->begun_ns = clock.monotonic_ns;
	saver->begun_changes = changes_of(world);
	result.error = save_blocking(world, &clock, &result);
	if (result.error)
		snprintf(result.why, sizeof(result.why), "%s", strerror(-result.error));
	vg_clock_update(&clock);
	note_end(world, &result, &clock);
	return result.error;
}

/* ---- what is known --------------------------------------------------------------------------------------------- */

void vg_env_persistence(struct vg_env *env, struct vg_persistence *ret_persistence)
{
	struct vg_worker *worker = env->node;
	struct vg_world *world = worker->world;
	struct vg_saver *saver = &world->saver;

	pthread_mutex_lock(&saver->lock);
	*ret_persistence = saver->known;
	ret_persistence->available = world->data_fd >= 0;
	ret_persistence->running = saver->running;
	ret_persistence->scheduled = saver->scheduled;
	ret_persistence->current_seconds =
		saver->running ? (__s64)((worker->clock.monotonic_ns - saver->begun_ns) / 1000000000) : -1;
	if (saver->running)
		ret_persistence->permille = vg_snapshot_writer_permille(saver->writer);
	ret_persistence->changes = changes_of(world) - saver->saved_changes;
	pthread_mutex_unlock(&saver->lock);
	ret_persistence->compress = world->options.snapshot_compress;
	ret_persistence->directory = world->options.dir;
	ret_persistence->file = VG_SNAPSHOT_NAME;
}

void vg_saver_init(struct vg_world *world)
{
	struct vg_saver *saver = &world->saver;
	struct vg_clock clock;

	pthread_mutex_init(&saver->lock, NULL);
	vg_clock_update(&clock);
	if (world->wal)
		vg_wal_snapshot_done(world->wal, saver->log_sequence);
	saver->known.last_save_s = clock.unix_ns / 1000000000;
	saver->known.last_seconds = -1;
	if (world->data_fd < 0)
		return;
	(void)vg_saver_set_rules(world, world->options.save); /* checked when it was read */
	if (vg_store_observe(world->store, count_change, world))
		vg_log(VG_LOG_ERROR, "changes are not counted: rules of --save see none", NULL);
}

void vg_saver_deinit(struct vg_world *world)
{
	thread_changes = NULL; /* this thread may have worked for this world, and may do so for another */
	pthread_mutex_destroy(&world->saver.lock);
}
