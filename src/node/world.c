/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "node/data_dir.h"
#include "node/neighbours.h"
#include "node/world.h"
#include "virgo/job.h"

/* ---- settings that services read ------------------------------------------------------------------------------- */

static void set_settings(struct vg_world *world)
{
	const struct vg_options *options = &world->options;
	struct vg_settings *settings = &world->settings_kept[world->settings_at];

	world->settings_at ^= 1;
	*settings = (struct vg_settings){
		.chunk_bytes = options->chunk_bytes,
		.value_bytes_max = VG_VALUE_MAX,
		.idle_timeout_s = (__u32)options->idle_timeout_s,
		.config_file = world->config_file,
	};
	for (int door = 0; door < VG_DOOR_MAX; door++)
		settings->port[door] = (__u16)world->options.port[door];
	settings->port[VG_DOOR_MEM] = world->cluster->node[world->cluster->self].port_mem;
	snprintf(settings->password, sizeof(settings->password), "%s", options->password);
	__atomic_store_n(&world->settings, settings, __ATOMIC_RELEASE);
}

static void set_limit(struct vg_world *world)
{
	const char *text = world->options.maxmemory_policy;
	enum vg_eviction policy = VG_EVICTION_NONE;

	(void)vg_eviction_parse(text, strlen(text), &policy); /* checked when it was read */
	vg_store_limit(world->store, policy, world->options.maxmemory);
}

void vg_world_reload(struct vg_world *world, const struct vg_options *options)
{
	enum vg_wal_sync sync;

	world->options.chunk_bytes = options->chunk_bytes;
	world->options.idle_timeout_s = options->idle_timeout_s;
	world->options.xdp_budget = options->xdp_budget;
	world->options.snapshot_compress = options->snapshot_compress;
	if (strcmp(world->options.save, options->save)) {
		memcpy(world->options.save, options->save, sizeof(options->save));
		(void)vg_saver_set_rules(world, options->save); /* checked when it was read */
	}
	if (world->wal && !vg_wal_sync_parse(options->appendfsync, &sync))
		vg_wal_set_sync(world->wal, sync);
	/* What CONFIG SET has said since stays, unless the file says something new. */
	if (world->options.maxmemory != options->maxmemory ||
	    strcmp(world->options.maxmemory_policy, options->maxmemory_policy)) {
		world->options.maxmemory = options->maxmemory;
		memcpy(world->options.maxmemory_policy, options->maxmemory_policy, sizeof(options->maxmemory_policy));
		set_limit(world);
	}
	memcpy(world->options.password, options->password, sizeof(options->password));
	__atomic_store_n(&world->maps.config->budget_per_ms, (__u32)options->xdp_budget, __ATOMIC_RELAXED);
	/* Workers take the new settings within a housekeeping tick; by the next reload nobody reads the ones before. */
	set_settings(world);
}

static __u32 cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (__u32)CPU_COUNT(&set);
}

static void set_cpu_settings(struct vg_world *world)
{
	const struct vg_options *options = &world->options;

	world->cpu = (struct vg_cpu_settings){
		.jobs = options->cpu_jobs ? (__u32)options->cpu_jobs : 4 * cores(),
		.queue = (__u32)options->cpu_queue,
		.workers = options->cpu_workers ? (__u32)options->cpu_workers : cores(),
		.linger_ns = options->cpu_linger_s * 1000000000ULL,
		.keep_bytes = options->cpu_keep_bytes,
		.text_kind = options->cpu_text[0] == 'f'   ? VG_JOB_FUNCTION
			     : options->cpu_text[0] == 'e' ? VG_JOB_EXECUTABLE
							   : VG_JOB_KERNEL,
		.as_queue = options->cpu_as_queue,
		.plugin_dir = options->plugin_dir[0] ? options->plugin_dir : NULL,
		.kernel_dir = options->kernel_dir[0] ? options->kernel_dir : NULL,
	};
}

/* ---- building -------------------------------------------------------------------------------------------------- */

/*
 * Workers share their port (SO_REUSEPORT), so a second daemon of the same user would share it too, and answer half of
 * the clients. A bind without sharing tells.
 */
static int try_port(const struct vg_cluster_node *self)
{
	int fd = socket(self->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&self->address, self->address_length))
		error = -errno;
	close(fd);
	return error;
}

/*
 * The kernel takes a dead daemon's ring apart a moment after the process is gone, and only then gives its sockets back.
 */
static int port_is_free(const struct vg_cluster_node *self)
{
	static const struct timespec moment = { .tv_nsec = VG_TRY_AGAIN_NS };
	int error = try_port(self);

	for (int i = 0; i < VG_TRIES && error == -EADDRINUSE; i++) {
		(void)nanosleep(&moment, NULL);
		error = try_port(self);
	}
	return error;
}

static int listen_door(struct vg_world *world, enum vg_door door, char *why, size_t why_bytes)
{
	const struct vg_cluster_ports defaults = { .mem = (__u16)world->options.port[door] };
	struct vg_cluster_node listen = { 0 };
	char text[80];
	int error;

	/* --listen may name the memory pool's port; the other doors share its address. */
	snprintf(text, sizeof(text), "%s", world->options.listen);
	if (door != VG_DOOR_MEM)
		vg_address_strip_port(text);
	error = vg_cluster_node_parse(&listen, text, &defaults);
	if (!error && listen.port_mem)
		error = port_is_free(&listen);
	if (error)
		snprintf(why, why_bytes, "cannot listen on %s for the %s pool: %s", listen.text, vg_doors[door].name,
			 strerror(-error));
	if (listen.port_mem)
		snprintf(world->listen_text[door], sizeof(world->listen_text[door]), "%s", listen.text);
	return error;
}

static int listen_address(struct vg_world *world, char *why, size_t why_bytes)
{
	int error = 0;

	for (int door = 0; door < VG_DOOR_MAX && !error; door++)
		error = listen_door(world, (enum vg_door)door, why, why_bytes);
	return error;
}

static int open_store(struct vg_world *world, const struct vg_clock *clock, char *why, size_t why_bytes)
{
	struct vg_store_config config = {
		.arena = world->maps.arena,
		.arena_bytes = world->options.arena_bytes,
		.adopt = world->maps.present && world->options.adopt && world->data_fd < 0, /* the disk knows better */
		.heap_bytes = world->options.heap_bytes,
		.node = world->cluster->self,
		.workers = world->worker_count,
		.now_ms = vg_clock_unix_ms(clock),
	};
	struct vg_store_repair repair = { 0 };
	int error;

	if (getrandom(&config.instance, sizeof(config.instance), 0) < 0)
		return -errno;
	error = vg_store_new(&world->store, &config, &repair);
	if (error)
		snprintf(why, why_bytes, "cannot make a store of %llu + %llu bytes: %s", world->options.arena_bytes,
			 world->options.heap_bytes, strerror(-error));
	else if (config.adopt)
		vg_log(VG_LOG_NOTICE, "arena adopted", "kept=%llu dropped_heap=%llu dropped_torn=%llu expired=%llu",
		       repair.kept, repair.dropped_heap, repair.dropped_torn, repair.expired);
	return error;
}

static int recover(struct vg_world *world, const struct vg_clock *clock, char *why, size_t why_bytes)
{
	struct vg_recovered recovered;
	int error = vg_data_dir_recover(world, vg_clock_unix_ms(clock), &recovered, why, why_bytes);

	world->recovered_sequence = recovered.sequence;
	if (!error && world->options.appendonly)
		error = vg_commit_open(world, &recovered, why, why_bytes);
	vg_recovered_free(&recovered);
	return error;
}

static int build(struct vg_world *world, char *why, size_t why_bytes)
{
	char bpf_why[VG_OPTION_TEXT_MAX + 256] = "";
	struct vg_clock clock;
	int error;

	vg_clock_update(&clock);
	world->started_ns = clock.monotonic_ns;
	if (getrandom(&world->ping_client, sizeof(world->ping_client), 0) < 0)
		return -errno;
	world->worker_count = world->options.workers ? (__u32)world->options.workers : cores();
	if (world->worker_count > VG_WORKERS_MAX)
		world->worker_count = VG_WORKERS_MAX;
	error = vg_cluster_new(&world->cluster, &world->options, why, why_bytes);
	error = error ?: listen_address(world, why, why_bytes);
	if (!error && world->listen_text[VG_DOOR_CPU][0])
		error = vg_spawner_new(&world->spawner, &world->options, why, why_bytes);
	error = error ?: vg_file_root_open(world, why, why_bytes);
	if (error)
		return error;
	error = vg_bpfmaps_open(&world->maps, &world->options, bpf_why, sizeof(bpf_why));
	if (error) {
		snprintf(why, why_bytes, "BPF maps: %s", bpf_why);
		return error;
	}
	if (!world->maps.present)
		vg_log(VG_LOG_NOTICE, "no XDP fast path, serving from sockets", "reason=\"%s\"", bpf_why);
	else
		vg_bpfmaps_drop_lease(&world->maps); /* while the arena is repaired, XDP keeps out */
	error = vg_data_dir_open(world, why, why_bytes);
	error = error ?: open_store(world, &clock, why, why_bytes);
	if (!error && world->data_fd >= 0)
		error = recover(world, &clock, why, why_bytes);
	if (error)
		return error;
	vg_saver_init(world);
	set_settings(world);
	set_limit(world);
	set_cpu_settings(world);
	vg_bpfmaps_publish(&world->maps, world->cluster, &world->options);
	world->workers = aligned_alloc(64, VG_ALIGN_UP(world->worker_count * sizeof(*world->workers), 64UL));
	if (!world->workers)
		return -ENOMEM;
	memset(world->workers, 0, world->worker_count * sizeof(*world->workers));
	for (__u32 w = 0; w < world->worker_count && !error; w++)
		error = vg_worker_init(&world->workers[w], world, w);
	__atomic_store_n(&world->workers_made, !error, __ATOMIC_RELEASE);
	if (error)
		snprintf(why, why_bytes, "cannot set up a worker: %s%s", strerror(-error),
			 error == -ENOSYS || error == -EPERM ? " (io_uring is not available here)" : "");
	return error;
}

int vg_world_new(struct vg_world **ret_world, const struct vg_options *options, const char *config_file,
		 vg_loading_fn on_loading, char *why, size_t why_bytes)
{
	struct vg_world *world = calloc(1, sizeof(*world));
	int error;

	if (!world)
		return -ENOMEM;
	world->options = *options;
	world->config_file = config_file;
	world->maps.counter_fd = world->maps.cpu_load_fd = world->maps.lock_fd = world->data_fd = -1;
	world->file.root_fd = -1;
	world->on_loading = on_loading;
	error = build(world, why, why_bytes);
	if (error) {
		vg_world_free(world);
		return error;
	}
	*ret_world = world;
	return 0;
}

/* Whether there was any. */
static bool take_mail(struct vg_world *world)
{
	bool any = false;

	for (__u32 w = 0; world->workers && w < world->worker_count; w++) {
		if (!world->workers[w].mail)
			continue;
		any = true;
		vg_worker_take_mail(&world->workers[w]);
	}
	return any;
}

void vg_world_free(struct vg_world *world)
{
	if (!world)
		return;
	/* Mail that nobody took: what it carries is given back while everybody it may speak to is still there. */
	while (take_mail(world))
		;
	vg_commit_stop(world);
	for (__u32 w = 0; world->workers && w < world->worker_count; w++)
		vg_worker_deinit(&world->workers[w]);
	free(world->workers);
	vg_commit_close(world);
	vg_spawner_free(world->spawner);
	vg_file_root_close(world);
	/* The lease goes before the memory it stands for. */
	if (world->maps.present)
		vg_bpfmaps_drop_lease(&world->maps);
	vg_saver_deinit(world);
	vg_store_free(world->store);
	vg_data_dir_close(world);
	vg_bpfmaps_close(&world->maps);
	vg_cluster_free(world->cluster);
	free(world);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

/* Between signals the main thread keeps the other nodes' link addresses fresh: it may ask the kernel and wait. */
static void wait_signals(struct vg_world *world, const sigset_t *signals,
			 void (*reload)(struct vg_world *world, void *context), void *context)
{
	static const struct timespec second = { .tv_sec = 1 };

	for (;;) {
		int signal_number = sigtimedwait(signals, NULL, &second);

		if (world->maps.present && world->cluster->nodes > 1)
			vg_neighbours_refresh(&world->maps, world->cluster);
		if (signal_number < 0)
			continue;
		if (signal_number != SIGHUP) {
			vg_log(VG_LOG_NOTICE, "stopping", "signal=%s", sigabbrev_np(signal_number));
			return;
		}
		reload(world, context);
		for (__u32 w = 0; w < world->worker_count; w++)
			vg_io_wake(world->workers[w].io);
	}
}

int vg_world_run(struct vg_world *world, void (*reload)(struct vg_world *world, void *context), void *context)
{
	sigset_t signals;
	int error = 0;

	/* Workers inherit the mask: signals are the main thread's. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (__u32 w = 0; w < world->worker_count && !error; w++)
		error = vg_worker_start(&world->workers[w]);
	if (!error)
		wait_signals(world, &signals, reload, context);
	for (__u32 w = 0; w < world->worker_count; w++)
		vg_worker_stop(&world->workers[w]);
	for (__u32 w = 0; w < world->worker_count; w++) {
		vg_worker_join(&world->workers[w]);
		error = error ?: world->workers[w].error;
	}
	return vg_saver_finish(world) ?: error;
}
