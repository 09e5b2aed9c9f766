/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>

#include "node/bpfmaps.h"

#define ARENA_MAP_BYTES ((size_t)VG_ARENA_PAGES * 4096)
#define PAGE_BYTES 4096UL
#define CPUS_MAX 1024

/* The memory a map would have, rounded up to pages. */
static size_t map_bytes(size_t value_bytes, size_t entries)
{
	return VG_ALIGN_UP(value_bytes * entries, PAGE_BYTES);
}

static void *anonymous(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Every array this daemon writes, with its pin and its shape. */
struct array {
	const char *name;
	size_t value_bytes, entries;
	size_t member; /* of struct vg_bpfmaps: where the mapping goes */
	bool optional; /* pins of an older agent may lack it */
};
static const struct array arrays[] = {
	{ VG_MAP_NAME(VG_MAP_CONFIG), sizeof(struct vg_config), 1, offsetof(struct vg_bpfmaps, config) },
	{ VG_MAP_NAME(VG_MAP_LOCAL), sizeof(struct vg_local), 1, offsetof(struct vg_bpfmaps, local) },
	{ VG_MAP_NAME(VG_MAP_PARTITION), sizeof(struct vg_partition_owner), VG_PARTITIONS,
	  offsetof(struct vg_bpfmaps, partition) },
	{ VG_MAP_NAME(VG_MAP_NODE), sizeof(struct vg_node), VG_NODES_MAX, offsetof(struct vg_bpfmaps, node) },
	{ VG_MAP_NAME(VG_MAP_NODE_LOAD), sizeof(struct vg_node_load), VG_NODES_MAX,
	  offsetof(struct vg_bpfmaps, node_load) },
	{ VG_MAP_NAME(VG_MAP_POOL), sizeof(struct vg_pool), 1, offsetof(struct vg_bpfmaps, pool) },
	{ VG_MAP_NAME(VG_MAP_CPU_FIGURES), sizeof(struct vg_cpu_figures), 1, offsetof(struct vg_bpfmaps, cpu_figures),
	  true },
	{ VG_MAP_NAME(VG_MAP_FILE_FIGURES), sizeof(struct vg_file_figures), 1,
	  offsetof(struct vg_bpfmaps, file_figures), true },
};
_Static_assert(sizeof(struct vg_node) % 8 == 0 && sizeof(struct vg_partition_owner) % 8 == 0,
	       "the kernel rounds elements of an array up to 8 bytes");
#define ARRAYS (sizeof(arrays) / sizeof(arrays[0]))

static void **array_place(struct vg_bpfmaps *maps, const struct array *array)
{
	return (void **)((char *)maps + array->member);
}

static int open_pin(const char *folder, const char *name, char *why, size_t why_bytes)
{
	char path[VG_OPTION_TEXT_MAX + 64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = bpf_obj_get(path);
	if (fd == -ENOENT)
		snprintf(why, why_bytes, "nothing pinned under %s: virgo-agent load has not run", folder);
	else if (fd < 0)
		snprintf(why, why_bytes, "%s: %s", path, strerror(-fd));
	return fd;
}

static int anonymous_array(struct vg_bpfmaps *maps, const struct array *array)
{
	void *memory = anonymous(map_bytes(array->value_bytes, array->entries));

	*array_place(maps, array) = memory;
	return memory ? 0 : -ENOMEM;
}

static int map_array(struct vg_bpfmaps *maps, const struct array *array, const char *folder, char *why,
		     size_t why_bytes)
{
	struct bpf_map_info info = { 0 };
	__u32 info_bytes = sizeof(info);
	int fd = open_pin(folder, array->name, why, why_bytes);
	void *memory;

	if (fd < 0)
		return fd;
	if (bpf_map_get_info_by_fd(fd, &info, &info_bytes) || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.value_size != array->value_bytes || info.max_entries != array->entries) {
		snprintf(why, why_bytes, "%s/%s has another layout", folder, array->name);
		close(fd);
		return -EINVAL;
	}
	memory = mmap(NULL, map_bytes(array->value_bytes, array->entries), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		snprintf(why, why_bytes, "cannot map %s/%s: %s", folder, array->name, strerror(errno));
	else
		*array_place(maps, array) = memory;
	close(fd);
	return memory == MAP_FAILED ? -EACCES : 0;
}

static int map_arena(struct vg_bpfmaps *maps, const char *folder, char *why, size_t why_bytes)
{
	int fd = open_pin(folder, VG_MAP_NAME(VG_MAP_ARENA), why, why_bytes);
	void *memory;

	if (fd < 0)
		return fd;
	memory = mmap((void *)VG_ARENA_ADDRESS, ARENA_MAP_BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	close(fd);
	if (memory == MAP_FAILED) {
		snprintf(why, why_bytes, "cannot map the arena: %s", strerror(errno));
		return -EACCES;
	}
	maps->arena = memory;
	maps->arena_map_bytes = ARENA_MAP_BYTES;
	return 0;
}

/*
 * Two daemons must not write one arena. The lock is taken on the pin directory itself: nothing to create, and it goes
 * with the process.
 */
static int lock_arena(struct vg_bpfmaps *maps, const char *folder)
{
	maps->lock_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (maps->lock_fd < 0)
		return -errno;
	return flock(maps->lock_fd, LOCK_EX | LOCK_NB) ? -EBUSY : 0;
}

/* A node can do without; -1 where there is none, or it is none we know. */
static int open_cpu_load(const char *folder)
{
	struct bpf_map_info info = { 0 };
	__u32 info_bytes = sizeof(info);
	char why[VG_OPTION_TEXT_MAX + 128];
	int fd = open_pin(folder, VG_MAP_NAME(VG_MAP_CPU_LOAD), why, sizeof(why));

	if (fd < 0)
		return -1;
	if (!bpf_map_get_info_by_fd(fd, &info, &info_bytes) && info.type == BPF_MAP_TYPE_PERCPU_ARRAY &&
	    info.value_size == sizeof(struct vg_cpu_load))
		return fd;
	close(fd);
	return -1;
}

static int open_pinned(struct vg_bpfmaps *maps, const struct vg_options *options, char *why, size_t why_bytes)
{
	char folder[VG_OPTION_TEXT_MAX + 32];
	int error = 0;

	if (strcmp(options->bpf, "off") == 0) {
		snprintf(why, why_bytes, "turned off");
		return -ENOENT;
	}
	snprintf(folder, sizeof(folder), "%s/v%d/maps", options->pin_root, VG_LAYOUT_VERSION);
	for (unsigned int i = 0; i < ARRAYS && !error; i++) {
		error = map_array(maps, &arrays[i], folder, why, why_bytes);
		if (error && arrays[i].optional) /* what is written there nobody sees */
			error = anonymous_array(maps, &arrays[i]);
	}
	if (!error)
		error = lock_arena(maps, folder);
	if (error == -EBUSY)
		snprintf(why, why_bytes, "another daemon holds the arena under %s", folder);
	error = error ?: map_arena(maps, folder, why, why_bytes);
	if (error)
		return error;
	maps->counter_fd = open_pin(folder, VG_MAP_NAME(VG_MAP_COUNTER), why, why_bytes);
	maps->cpu_load_fd = open_cpu_load(folder);
	maps->present = maps->counter_fd >= 0;
	return maps->present ? 0 : maps->counter_fd;
}

static int open_anonymous(struct vg_bpfmaps *maps, const struct vg_options *options)
{
	maps->arena = anonymous(options->arena_bytes);
	maps->arena_map_bytes = options->arena_bytes;
	for (unsigned int i = 0; i < ARRAYS; i++)
		if (anonymous_array(maps, &arrays[i]))
			return -ENOMEM;
	return maps->arena ? 0 : -ENOMEM;
}

int vg_bpfmaps_open(struct vg_bpfmaps *maps, const struct vg_options *options, char *why, size_t why_bytes)
{
	static const struct vg_bpfmaps empty = { .counter_fd = -1, .cpu_load_fd = -1, .lock_fd = -1 };
	int error;

	*maps = empty;
	libbpf_set_print(NULL);
	error = open_pinned(maps, options, why, why_bytes);
	if (!error)
		return 0;
	vg_bpfmaps_close(maps);
	if (error == -EBUSY || strcmp(options->bpf, "require") == 0)
		return error;
	error = open_anonymous(maps, options);
	if (error)
		vg_bpfmaps_close(maps);
	return error;
}

void vg_bpfmaps_close(struct vg_bpfmaps *maps)
{
	if (maps->present) /* else the lease may be another daemon's */
		vg_bpfmaps_drop_lease(maps);
	for (unsigned int i = 0; i < ARRAYS; i++) {
		void **place = array_place(maps, &arrays[i]);

		if (*place)
			munmap(*place, map_bytes(arrays[i].value_bytes, arrays[i].entries));
		*place = NULL;
	}
	if (maps->arena)
		munmap(maps->arena, maps->arena_map_bytes);
	maps->arena = NULL;
	if (maps->counter_fd >= 0)
		close(maps->counter_fd);
	if (maps->cpu_load_fd >= 0)
		close(maps->cpu_load_fd);
	if (maps->lock_fd >= 0)
		close(maps->lock_fd);
	maps->counter_fd = maps->cpu_load_fd = maps->lock_fd = -1;
	maps->present = false;
}

static void publish_node(struct vg_node *to, const struct vg_cluster_node *from)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&from->address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)&from->address;
	/* The link address may have been entered by hand or by the agent: it stays. */
	__u32 flags = to->flags & VG_NODE_HAS_MAC;

	if (from->address.ss_family == AF_INET) {
		to->address4 = four->sin_addr.s_addr;
		flags |= VG_NODE_HAS_V4;
	} else {
		memcpy(to->address6, &six->sin6_addr, 16);
		flags |= VG_NODE_HAS_V6;
	}
	to->port_mem = htons(from->port_mem);
	to->port_cpu = htons(from->port_cpu);
	to->flags = flags;
}

void vg_bpfmaps_publish(struct vg_bpfmaps *maps, const struct vg_cluster *cluster, const struct vg_options *options)
{
	struct vg_config *config = maps->config;

	config->node = cluster->self;
	config->nodes = cluster->nodes;
	config->epoch = cluster->epoch;
	config->budget_per_ms = (__u32)options->xdp_budget;
	config->policy = (__u32)options->policy;
	config->ports_other[VG_CONFIG_PORT_CPU] = htons(cluster->node[cluster->self].port_cpu);
	config->port_mem = htons(cluster->node[cluster->self].port_mem);
	/* Nothing in that protocol proves that the asker may read: with a key or a password nobody is answered. */
	config->port_memcache = options->memcache_udp && !cluster->keyed && !options->password[0] ?
					htons((__u16)options->port[VG_DOOR_MEMCACHE]) : 0;
	memcpy(config->cluster_key, cluster->key, sizeof(config->cluster_key));
	config->flags = cluster->keyed ? VG_CONFIG_KEYED : 0;
	for (int i = 0; i < cluster->nodes; i++)
		publish_node(&maps->node[i], &cluster->node[i]);
	for (int p = 0; p < VG_PARTITIONS; p++)
		maps->partition[p].node = cluster->owner[p];
}

void vg_bpfmaps_renew_lease(struct vg_bpfmaps *maps, const struct vg_clock *clock)
{
	__atomic_store_n(&maps->local->unix_offset_ns, clock->unix_ns - clock->monotonic_ns, __ATOMIC_RELAXED);
	/* Release: a program that sees the lease also sees the facts and the arena it stands for. */
	__atomic_store_n(&maps->local->lease_until_ns, clock->monotonic_ns + VG_LEASE_MS * 1000000ULL,
			 __ATOMIC_RELEASE);
}

void vg_bpfmaps_drop_lease(struct vg_bpfmaps *maps)
{
	__atomic_store_n(&maps->local->lease_until_ns, 0, __ATOMIC_RELEASE);
}

void vg_bpfmaps_stamp(struct vg_bpfmaps *maps, __u32 in_flight, __u32 service_ns, __u16 memory_free_permille)
{
	__atomic_store_n(&maps->local->in_flight, in_flight, __ATOMIC_RELAXED);
	__atomic_store_n(&maps->local->service_ns, service_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&maps->local->memory_free_permille, memory_free_permille, __ATOMIC_RELAXED);
}

int vg_bpfmaps_waits(const struct vg_bpfmaps *maps, struct vg_waits *ret_waits)
{
	int cpus = maps->cpu_load_fd >= 0 ? libbpf_num_possible_cpus() : 0;
	static struct vg_cpu_load values[CPUS_MAX]; /* one thread asks */
	const __u32 key = 0;

	if (cpus <= 0 || cpus > CPUS_MAX || bpf_map_lookup_elem(maps->cpu_load_fd, &key, values))
		return -ENODATA;
	*ret_waits = (struct vg_waits){ 0 };
	for (int i = 0; i < cpus; i++) {
		ret_waits->waits += values[i].waits;
		ret_waits->wait_ns += values[i].wait_ns;
	}
	return 0;
}

__u64 vg_bpfmaps_count(const struct vg_bpfmaps *maps, enum vg_reason reason)
{
	int cpus = maps->present ? libbpf_num_possible_cpus() : 0;
	struct vg_counter values[CPUS_MAX];
	__u32 key = reason;
	__u64 sum = 0;

	if (cpus <= 0 || cpus > CPUS_MAX || bpf_map_lookup_elem(maps->counter_fd, &key, values))
		return 0;
	for (int i = 0; i < cpus; i++)
		sum += values[i].packets;
	return sum;
}
