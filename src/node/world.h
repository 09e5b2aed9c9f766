/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All of a node: built in order, run until told to stop, torn down in reverse. */
#ifndef VG_NODE_WORLD_H
#define VG_NODE_WORLD_H

#include "node/load.h"
#include "node/save.h"
#include "node/spawn.h"
#include "node/worker.h"

/* Told about once a second while the data directory is read: "snapshot" or "log", and bytes. */
typedef void (*vg_loading_fn)(const char *what, __u64 done, __u64 all);

#define VG_TRY_AGAIN_NS 50000000 /* what a daemon that has just died still holds is tried again … */
#define VG_TRIES 40		 /* … so often */

struct vg_world {
	struct vg_options options;
	char listen_text[VG_DOOR_MAX][80]; /* "address:port", empty: not listened on */
	const char *config_file;      /* or NULL */
	struct vg_settings *settings; /* the ones in force; older ones stay readable until the end */
	struct vg_settings settings_kept[2];
	int settings_at;
	struct vg_cluster *cluster;
	struct vg_bpfmaps maps;
	struct vg_spawner *spawner; /* NULL: the CPU pool is closed */
	struct vg_cpu_settings cpu;
	struct vg_file_settings file; /* root_fd -1: the file pool is closed */
	struct vg_store *store;
	struct vg_saver saver;
	int data_fd;		      /* the data directory; -1: nothing is kept on disk */
	struct vg_wal *wal;	      /* NULL: changes are not logged */
	__u64 recovered_sequence;     /* of the last change that was there at the start */
	pthread_t keeper;	      /* of the log: what may block */
	bool keeper_runs, keeper_stops;
	__u64 gather_until_ns;	      /* atomic: the next commit waits so long for … */
	__u32 gather_wanted;	      /* … so many waiters, see commit.c */
	bool workers_made;	      /* atomic */
	vg_loading_fn on_loading;     /* or NULL */
	struct vg_worker *workers;
	__u32 worker_count;
	__u64 started_ns; /* CLOCK_MONOTONIC */
	__u64 session_ids;
	__u64 ping_client; /* names this node as the client of its pings, whichever worker hears the answer */
	/* Worker 0's. */
	__u64 heartbeats;
	struct vg_pace_meter pace;
	struct vg_waits waits; /* when it last looked */
	__s64 wait_ns_smoothed;
	__u32 hot_in_flight[VG_LOADS_MAX]; /* read by all: a number that moves slowly */
};

/* Build everything and bind all ports; `why` gets the sentence a person needs. Nothing is left behind on failure. */
int vg_world_new(struct vg_world **ret_world, const struct vg_options *options, const char *config_file,
		 vg_loading_fn on_loading, char *why, size_t why_bytes);
/* Serve until SIGTERM or SIGINT (drains first); `reload` is called on SIGHUP. Returns 0, or why a worker ended. */
int vg_world_run(struct vg_world *world, void (*reload)(struct vg_world *world, void *context), void *context);
/* Take over the reloadable options. */
void vg_world_reload(struct vg_world *world, const struct vg_options *options);
void vg_world_free(struct vg_world *world);

/* file_root.c: the file pool's directory, if it is open. Closed when no thread uses it. */
int vg_file_root_open(struct vg_world *world, char *why, size_t why_bytes);
void vg_file_root_close(struct vg_world *world);

#endif
