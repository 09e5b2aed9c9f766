/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a node can be told: one table of keys, each a line of the config file and a flag of the same name. Flags win
 * over the file, the file over the defaults. The original's one-line node list (virgo_cloud.conf) is read when no
 * nodes are named otherwise.
 */
#ifndef VG_NODE_OPTIONS_H
#define VG_NODE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "svc/svc.h"
#include "virgo/limits.h"
#include "virgo/types.h"

#define VG_OPTIONS_FILE_DEFAULT "/etc/virgo/virgo.conf"
#define VG_CLOUD_FILE_DEFAULT "/etc/virgo_cloud.conf"
#define VG_OPTION_TEXT_MAX 256
#define VG_OPTION_NODES_TEXT_MAX 65536
#define VG_WORKERS_MAX 64
#define VG_PORT_UNSAID 0x10000

struct vg_options {
	char listen[VG_OPTION_TEXT_MAX];      /* ADDR: every service on its port; ADDR:PORT: the memory pool alone */
	char nodes[VG_OPTION_NODES_TEXT_MAX]; /* ADDR[:PORT],…  in node order; empty: a cluster of one */
	char cloud_file[VG_OPTION_TEXT_MAX];
	__u64 node; /* this node's place in the list; VG_NODE_NONE: found by address */
	__u64 epoch;
	char key_file[VG_OPTION_TEXT_MAX]; /* 32 hex digits: the cluster key */
	char password[VG_OPTION_TEXT_MAX];
	bool insecure;
	__u64 workers; /* 0: one a core */
	__u64 port[VG_DOOR_MAX]; /* 0: closed; VG_PORT_UNSAID until vg_options_finish */
	/* The CPU pool. */
	__u64 cpu_jobs, cpu_queue, cpu_workers; /* 0: by the number of processors */
	__u64 cpu_linger_s, cpu_keep_bytes;
	char cpu_user[VG_OPTION_TEXT_MAX]; /* empty: the daemon's own, but nobody where that is root */
	char cpu_text[VG_OPTION_TEXT_MAX]; /* what a word of text names: function, executable, kernel */
	char cpu_cgroup[VG_OPTION_TEXT_MAX], cpu_spawner[VG_OPTION_TEXT_MAX];
	char plugin_dir[VG_OPTION_TEXT_MAX], kernel_dir[VG_OPTION_TEXT_MAX];
	bool cpu_as_queue;
	/* The file pool; without a root there is none. */
	char file_root[VG_OPTION_TEXT_MAX];
	bool file_read_only, file_ids;
	__u64 file_open, file_memory_bytes, file_quota_bytes, file_quota_files;
	char file_exports[VG_OPTION_TEXT_MAX];
	__u64 file_placement; /* enum vg_placement */
	bool memcache_udp; /* the memcached port answers get over UDP */
	__u64 arena_bytes, heap_bytes, chunk_bytes;
	__u64 maxmemory; /* bytes, 0: no limit but those */
	char maxmemory_policy[VG_OPTION_TEXT_MAX];
	__u64 connections; /* for each worker */
	__u64 idle_timeout_s;
	char bpf[VG_OPTION_TEXT_MAX]; /* auto, off, require */
	char pin_root[VG_OPTION_TEXT_MAX];
	__u64 policy;	  /* enum vg_policy */
	__u64 xdp_budget; /* answers a millisecond a CPU, 0: default */
	bool adopt;	  /* keep what a former daemon left in the arena */
	char dir[VG_OPTION_TEXT_MAX]; /* of snapshots and the log; empty: nothing is kept on disk */
	char save[VG_OPTION_TEXT_MAX]; /* "SECONDS CHANGES …": when snapshots are made by themselves */
	bool snapshot_compress;
	bool appendonly;  /* with a data directory: log every change */
	char appendfsync[VG_OPTION_TEXT_MAX]; /* no, everysec, always */
	__u64 log_segment_bytes;
	bool repair_log;
	char log_level[VG_OPTION_TEXT_MAX], log_target[VG_OPTION_TEXT_MAX];
	/* Filled in from the above by vg_options_finish. */
	__u64 cluster_key[2];
	bool keyed;
};

struct vg_options_text {
	struct vg_options values;
	__u64 given; /* bit i: key i was set by a flag, the file has no say in it */
};

struct vg_option {
	const char *name;     /* of the key and of the flag */
	const char *argument; /* shown in --help; NULL: a switch (file: yes or no) */
	const char *help;
	int (*parse)(void *target, const char *text); /* 0 or -EINVAL, -ERANGE */
	unsigned long offset;			      /* of the field in struct vg_options */
	bool reloadable;			      /* SIGHUP takes a new value */
};
extern const struct vg_option vg_option_table[];
extern const int vg_option_count;

void vg_options_default(struct vg_options_text *text);
/* Set by a flag. Returns 0 or a negative errno; `why` gets the sentence a person needs. */
int vg_options_set(struct vg_options_text *text, int key, const char *value, char *why, size_t why_bytes);
/* Read a config file; -ENOENT if there is none. */
int vg_options_read(struct vg_options_text *text, const char *path, char *why, size_t why_bytes);
/* Read the files the values point to (key, node list) and check the whole; 0 or a negative errno and `why`. */
int vg_options_finish(struct vg_options *options, char *why, size_t why_bytes);

/* Split "ADDR[:PORT]", "[v6]:PORT". *ret_port is left alone when there is none. 0 or -EINVAL. */
int vg_address_split(const char *text, char *ret_address, size_t address_bytes, __u16 *ret_port);
/* Whether "ADDR[:PORT]" names a port: then the memory pool alone is meant. */
bool vg_address_has_port(const char *text);
/* Cut the port off, if there is one; brackets go too. */
void vg_address_strip_port(char *text);
bool vg_address_is_loopback(const char *address);

#endif
