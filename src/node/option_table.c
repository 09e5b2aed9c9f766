/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The keys a node knows, their limits and their help. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"
#include "node/options.h"
#include "pool/store.h"
#include "pool/wal.h"
#include "svc/persist.h"
#include "virgo/maps.h"
#include "virgo/policy.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static int parse_text(void *target, const char *text)
{
	if (strlen(text) >= VG_OPTION_TEXT_MAX)
		return -ERANGE;
	memcpy(target, text, strlen(text) + 1);
	return 0;
}

static int parse_nodes(void *target, const char *text)
{
	if (strlen(text) >= VG_OPTION_NODES_TEXT_MAX)
		return -ERANGE;
	memcpy(target, text, strlen(text) + 1);
	return 0;
}

static int parse_switch(void *target, const char *text)
{
	static const char *const yes[] = { "yes", "true", "on", "1" }, *const no[] = { "no", "false", "off", "0" };

	for (int i = 0; i < 4; i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*(bool *)target = strcmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_within(void *target, const char *text, __u64 min, __u64 max)
{
	__u64 number;
	int error = vg_size_parse(text, max, &number);

	if (error)
		return error;
	if (number < min)
		return -ERANGE;
	*(__u64 *)target = number;
	return 0;
}

#define NUMBER_PARSER(name, min, max)                                                                                  \
	static int parse_##name(void *target, const char *text)                                                        \
	{                                                                                                              \
		return parse_within(target, text, min, max);                                                           \
	}
NUMBER_PARSER(node, 0, VG_NODES_MAX - 1)
NUMBER_PARSER(epoch, 1, 0xffffffff)
NUMBER_PARSER(count, 0, 0xffffffff)
NUMBER_PARSER(workers, 0, VG_WORKERS_MAX)
NUMBER_PARSER(port, 0, 65535)
NUMBER_PARSER(connections, 16, 65536)
NUMBER_PARSER(arena, 4 * MIB, 4 * GIB)
NUMBER_PARSER(cpu_jobs, 0, 4096)
NUMBER_PARSER(cpu_queue, 0, 65536)
NUMBER_PARSER(file_open, 64, 1 << 20)
NUMBER_PARSER(heap, 16 * MIB, 1024 * GIB)
NUMBER_PARSER(segment, MIB, GIB)
NUMBER_PARSER(maxmemory, 0, 1ULL << 50)
NUMBER_PARSER(chunk, 64, 256 * MIB)

static int parse_cpu_text(void *target, const char *text)
{
	bool known = !strcmp(text, "function") || !strcmp(text, "executable") || !strcmp(text, "kernel");

	return known ? parse_text(target, text) : -EINVAL;
}

static int parse_appendfsync(void *target, const char *text)
{
	enum vg_wal_sync sync;

	return vg_wal_sync_parse(text, &sync) ?: parse_text(target, text);
}

static int parse_bpf(void *target, const char *text)
{
	return strcmp(text, "auto") && strcmp(text, "off") && strcmp(text, "require") ? -EINVAL
										      : parse_text(target, text);
}

static int parse_save(void *target, const char *text)
{
	struct vg_save_rule rules[VG_SAVE_RULES_MAX];

	return vg_save_rules_parse(text, rules) < 0 ? -EINVAL : parse_text(target, text);
}

static int parse_policy(void *target, const char *text)
{
	for (__u32 i = 0; i < VG_POLICY_MAX; i++) {
		if (strcmp(text, vg_policy_name(i)) == 0) {
			*(__u64 *)target = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_placement(void *target, const char *text)
{
	static const char *const names[] = { "hash", "leastused", "leastloaded", "local" };

	for (__u32 i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*(__u64 *)target = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_policy_of_memory(void *target, const char *text)
{
	enum vg_eviction policy;

	return vg_eviction_parse(text, strlen(text), &policy) ?: parse_text(target, text);
}

static int parse_log_level(void *target, const char *text)
{
	enum vg_log_level level;

	return vg_log_level_parse(text, &level) ?: parse_text(target, text);
}

static int parse_log_target(void *target, const char *text)
{
	enum vg_log_target log_target;

	return vg_log_target_parse(text, &log_target) ?: parse_text(target, text);
}

#define FIELD(member) offsetof(struct vg_options, member)
const struct vg_option vg_option_table[] = {
	{ "listen", "ADDR[:PORT]", "serve every pool on ADDR, or the memory pool alone on ADDR:PORT (127.0.0.1)",
	  parse_text, FIELD(listen) },
	{ "nodes", "ADDR[:PORT],…", "the nodes of the cluster in order, the same list on each", parse_nodes,
	  FIELD(nodes) },
	{ "cloud-conf", "FILE",
	  "the original's one-line node list, read when no nodes are named (" VG_CLOUD_FILE_DEFAULT ")", parse_text,
	  FIELD(cloud_file) },
	{ "node", "N", "this node's place in the list, from 0 (found by its address)", parse_node, FIELD(node) },
	{ "epoch", "N", "version of the cluster's partition table (1)", parse_epoch, FIELD(epoch) },
	{ "key-file", "FILE", "cluster key, 32 hex digits: binary messages must carry its tag", parse_text,
	  FIELD(key_file) },
	{ "password", "TEXT", "password of RESP and text clients (none; with a key: the key's digits)", parse_text,
	  FIELD(password), true },
	{ "insecure", NULL, "listen beyond loopback without key and password", parse_switch, FIELD(insecure) },
	{ "workers", "N", "worker threads (one a core)", parse_workers, FIELD(workers) },
	{ "mem-port", "N", "port of the memory pool, 0 turns it off (30000)", parse_port, FIELD(port[VG_DOOR_MEM]) },
	{ "cpu-port", "N", "port of the CPU pool, 0 turns it off (10000; off when --listen names a port)", parse_port,
	  FIELD(port[VG_DOOR_CPU]) },
	{ "memcache-port", "N", "a port of the memory pool that speaks memcached's protocol only, 0: none (0)",
	  parse_port, FIELD(port[VG_DOOR_MEMCACHE]) },
	{ "cpu-jobs", "N", "programs the CPU pool runs at once (four a core)", parse_cpu_jobs, FIELD(cpu_jobs) },
	{ "cpu-queue", "N", "jobs that may wait for their turn (1024)", parse_cpu_queue, FIELD(cpu_queue) },
	{ "cpu-workers", "N", "processes that call functions of plug-ins (one a core)", parse_workers,
	  FIELD(cpu_workers) },
	{ "cpu-user", "NAME", "user that jobs run as (the daemon's; nobody where that is root)", parse_text,
	  FIELD(cpu_user) },
	{ "cpu-linger", "SECONDS", "a job whose client is gone waits so long for it to come back (30)", parse_count,
	  FIELD(cpu_linger_s) },
	{ "cpu-keep", "BYTES", "output and results of ended jobs that are kept (64m)", parse_heap,
	  FIELD(cpu_keep_bytes) },
	{ "cpu-text", "KIND", "what a word of text names: function, executable or kernel (function)", parse_cpu_text,
	  FIELD(cpu_text) },
	{ "cpu-cgroup", "DIR", "a cgroup v2 delegated to the daemon, for limits of jobs (none)", parse_text,
	  FIELD(cpu_cgroup) },
	{ "cpu-spawner", "FILE", "the program that starts jobs (virgo-spawner beside virgod)", parse_text,
	  FIELD(cpu_spawner) },
	{ "cpu-as-queue", "yes|no", "hand requests of the CPU pool to the queue service instead of running them (no)",
	  parse_switch, FIELD(cpu_as_queue) },
	{ "plugin-dir", "DIR", "plug-in libraries whose functions may be called (none)", parse_text,
	  FIELD(plugin_dir) },
	{ "kernel-dir", "DIR", "eBPF objects that may be run, and the list of those allowed (none)", parse_text,
	  FIELD(kernel_dir) },
	{ "file-root", "DIR", "open the file pool on this directory and what is below it (no file pool)", parse_text,
	  FIELD(file_root) },
	{ "file-port", "N", "port of the file pool, 0 turns it off (50000; off when --listen names a port)", parse_port,
	  FIELD(port[VG_DOOR_FILE]) },
	{ "file-read-only", NULL, "refuse every change of files", parse_switch, FIELD(file_read_only) },
	{ "file-ids", NULL, "numbers of users and groups pass through, set-id bits too (the daemon owns all)",
	  parse_switch, FIELD(file_ids) },
	{ "file-open", "N", "files that may be open at once (16384)", parse_file_open, FIELD(file_open) },
	{ "file-memory", "BYTES", "memory for requests of the file pool and their answers (256m)", parse_heap,
	  FIELD(file_memory_bytes) },
	{ "file-placement", "NAME", "where new files go: " VG_PLACEMENT_NAMES " (hash)", parse_placement,
	  FIELD(file_placement) },
	{ "file-exports", "FILE", "which keys open which directories of the file pool, with what quotas (none)",
	  parse_text, FIELD(file_exports) },
	{ "file-quota-bytes", "BYTES", "what the files of this node may hold together, 0: no limit (0)",
	  parse_maxmemory, FIELD(file_quota_bytes) },
	{ "file-quota-files", "N", "files, directories and links this node may have, 0: no limit (0)", parse_count,
	  FIELD(file_quota_files) },
	{ "memcache-udp", NULL, "answer memcached's get over UDP on that port too, in no more bytes than it came in",
	  parse_switch, FIELD(memcache_udp) },
	{ "arena-size", "BYTES", "memory for keys and small values, answered from XDP; at most 4g (256m)", parse_arena,
	  FIELD(arena_bytes) },
	{ "heap-size", "BYTES", "memory for large values and requests (1g)", parse_heap, FIELD(heap_bytes) },
	{ "maxmemory", "BYTES", "keys go, or writes are refused, when so much is used; 0: no limit (0)",
	  parse_maxmemory, FIELD(maxmemory), true },
	{ "maxmemory-policy", "NAME", VG_EVICTION_NAMES " (allkeys-s3fifo)", parse_policy_of_memory,
	  FIELD(maxmemory_policy), true },
	{ "chunk-size", "BYTES", "allocations larger than this are spread over nodes (256k)", parse_chunk,
	  FIELD(chunk_bytes), true },
	{ "connections", "N", "connections each worker serves at once (4096)", parse_connections, FIELD(connections) },
	{ "idle-timeout", "SECONDS", "close connections idle for so long, 0: never (0)", parse_count,
	  FIELD(idle_timeout_s), true },
	{ "bpf", "auto|off|require", "use the maps that virgo-agent pinned (auto)", parse_bpf, FIELD(bpf) },
	{ "pin-root", "DIR", "where virgo-agent pinned its maps (" VG_PIN_ROOT_DEFAULT ")", parse_text,
	  FIELD(pin_root) },
	{ "xdp-budget", "N", "answers XDP may give a millisecond on one CPU (4000)", parse_count, FIELD(xdp_budget),
	  true },
	{ "policy", "NAME", "which node gets what any could do: prequal, leastloaded, prg, p2c, locality (prequal)",
	  parse_policy, FIELD(policy) },
	{ "adopt", "yes|no", "keep what a former daemon left in the arena (yes)", parse_switch, FIELD(adopt) },
	{ "data-dir", "DIR", "keep snapshots and the log there, and start from them (nothing is kept)", parse_text,
	  FIELD(dir) },
	{ "save", "RULES", "\"SECONDS CHANGES …\": a snapshot after so long with so many changes (none)",
	  parse_save, FIELD(save), true },
	{ "snapshot-compress", "yes|no", "pack snapshots with zstd (no)", parse_switch,
	  FIELD(snapshot_compress), true },
	{ "appendonly", "yes|no", "with a data directory: log every change (yes)", parse_switch, FIELD(appendonly) },
	{ "appendfsync", "no|everysec|always",
	  "when changes are on stable storage: some time, within a second, before they are answered (everysec)",
	  parse_appendfsync, FIELD(appendfsync), true },
	{ "log-segment-size", "BYTES", "size of one file of the log (64m)", parse_segment, FIELD(log_segment_bytes) },
	{ "repair-log", NULL, "start with what is before damage in the log, and keep the rest beside", parse_switch,
	  FIELD(repair_log) },
	{ "log-level", "LEVEL", "error, warning, notice, info or debug (info)", parse_log_level, FIELD(log_level),
	  true },
	{ "log-target", "TARGET", "stderr, journal or auto (auto)", parse_log_target, FIELD(log_target), true },
};
const int vg_option_count = sizeof(vg_option_table) / sizeof(vg_option_table[0]);

void vg_options_default(struct vg_options_text *text)
{
	static const struct vg_options defaults = {
		.listen = "127.0.0.1",
		.node = VG_NODE_NONE,
		.epoch = 1,
		.port = { [VG_DOOR_MEM] = VG_PORT_MEM, [VG_DOOR_CPU] = VG_PORT_UNSAID,
			  [VG_DOOR_FILE] = VG_PORT_UNSAID },
		.cpu_queue = 1024,
		.cpu_linger_s = 30,
		.cpu_keep_bytes = 64 * MIB,
		.cpu_text = "function",
		.file_open = 16384,
		.file_memory_bytes = 256 * MIB,
		.arena_bytes = 256 * MIB,
		.heap_bytes = GIB,
		.maxmemory_policy = "allkeys-s3fifo",
		.chunk_bytes = 256 << 10,
		.connections = 4096,
		.bpf = "auto",
		.pin_root = VG_PIN_ROOT_DEFAULT,
		.adopt = true,
		.appendonly = true,
		.appendfsync = "everysec",
		.log_segment_bytes = 64 * MIB,
		.log_level = "info",
		.log_target = "auto",
	};

	text->values = defaults;
	text->given = 0;
}
