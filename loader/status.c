// SPDX-License-Identifier: GPL-3.0-or-later
#include "status.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "explain.h"
#include "probes.h"

static const char *const map_names[VG_MAPS_MAX] = {
	[VG_MAPS_ARENA] = VG_MAP_NAME(VG_MAP_ARENA),	     [VG_MAPS_CONFIG] = VG_MAP_NAME(VG_MAP_CONFIG),
	[VG_MAPS_LOCAL] = VG_MAP_NAME(VG_MAP_LOCAL),	     [VG_MAPS_PARTITION] = VG_MAP_NAME(VG_MAP_PARTITION),
	[VG_MAPS_NODE] = VG_MAP_NAME(VG_MAP_NODE),	     [VG_MAPS_COUNTER] = VG_MAP_NAME(VG_MAP_COUNTER),
	[VG_MAPS_BUDGET] = VG_MAP_NAME(VG_MAP_BUDGET),	     [VG_MAPS_NEIGHBOUR] = VG_MAP_NAME(VG_MAP_NEIGHBOUR),
	[VG_MAPS_NODE_LOAD] = VG_MAP_NAME(VG_MAP_NODE_LOAD), [VG_MAPS_STEERED] = VG_MAP_NAME(VG_MAP_STEERED),
	[VG_MAPS_POOL] = VG_MAP_NAME(VG_MAP_POOL),	     [VG_MAPS_HOST] = VG_MAP_NAME(VG_MAP_HOST),
	[VG_MAPS_CPU_LOAD] = VG_MAP_NAME(VG_MAP_CPU_LOAD),   [VG_MAPS_CGROUP_LOAD] = VG_MAP_NAME(VG_MAP_CGROUP_LOAD),
	[VG_MAPS_IO_LOAD] = VG_MAP_NAME(VG_MAP_IO_LOAD),     [VG_MAPS_CPU_FIGURES] = VG_MAP_NAME(VG_MAP_CPU_FIGURES),
	[VG_MAPS_FILE_FIGURES] = VG_MAP_NAME(VG_MAP_FILE_FIGURES),
};

int vg_status_source_open(struct vg_status_source *source, const struct vg_pin_root *root)
{
	int error;

	source->root = root;
	for (int map = 0; map < VG_MAPS_MAX; map++)
		source->map_fds[map] = -1;
	error = vg_pin_directory_identity(root, VG_PIN_MAPS, &source->device, &source->inode);
	for (int map = 0; !error && map < VG_MAPS_MAX; map++) {
		source->map_fds[map] = vg_pin_get(root, VG_PIN_MAPS, map_names[map]);
		error = source->map_fds[map] < 0 ? source->map_fds[map] : 0;
		if (error == -ENOENT && map >= VG_MAPS_REQUIRED_MAX)
			error = 0;
	}
	if (error == -ENOENT)
		vg_explain(error, "nothing is loaded at %s", root->path);
	if (error)
		vg_status_source_close(source);
	return error;
}

void vg_status_source_close(struct vg_status_source *source)
{
	for (int map = 0; map < VG_MAPS_MAX; map++) {
		if (source->map_fds[map] >= 0)
			close(source->map_fds[map]);
		source->map_fds[map] = -1;
	}
}

static __u64 monotonic_ns(void)
{
	struct vg_clock clock;

	vg_clock_update(&clock);
	return clock.monotonic_ns;
}

bool vg_lease_alive(const struct vg_pin_root *root)
{
	const __u32 key = 0;
	struct vg_local local = {};
	__u64 age_ns;
	int fd = vg_pin_get(root, VG_PIN_MAPS, map_names[VG_MAPS_LOCAL]);

	if (fd < 0)
		return false;
	(void)bpf_map_lookup_elem(fd, &key, &local);
	close(fd);
	return vg_lease_state(local.lease_until_ns, monotonic_ns(), &age_ns) == VG_LEASE_ALIVE;
}

static void read_program(const struct vg_pin_root *root, enum vg_object which, struct vg_program_status *ret_program)
{
	struct bpf_prog_info info = {};
	__u32 info_bytes = sizeof(info);
	int fd = vg_pin_get(root, VG_PIN_PROGS, vg_object_types[which].program);

	ret_program->name = vg_object_types[which].program;
	ret_program->probe = which >= VG_OBJECT_NETWORK_MAX;
	if (fd < 0)
		return;
	if (!bpf_prog_get_info_by_fd(fd, &info, &info_bytes)) {
		ret_program->id = info.id;
		ret_program->verified_instructions = info.verified_insns;
		ret_program->jited_bytes = info.jited_prog_len;
		ret_program->runs = info.run_cnt;
		ret_program->run_ns = info.run_time_ns;
		ret_program->attached = ret_program->probe && vg_probe_attached(root, which) == info.id;
		for (int i = 0; i < BPF_TAG_SIZE; i++)
			snprintf(ret_program->tag + 2 * i, 3, "%02x", info.tag[i]);
	}
	close(fd);
}

/* The kernel says what a map is charged with only in the descriptor's fdinfo. */
static __u64 map_memory(int fd)
{
	char path[64], line[128];
	__u64 bytes = 0;
	FILE *fdinfo;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	fdinfo = fopen(path, "re");
	while (fdinfo && fgets(line, sizeof(line), fdinfo)) {
		if (sscanf(line, "memlock: %" SCNu64, (uint64_t *)&bytes) == 1)
			break;
	}
	if (fdinfo)
		fclose(fdinfo);
	return bytes;
}

static int read_counters(int fd, struct vg_counter *ret_counters)
{
	int error = 0, cpus = libbpf_num_possible_cpus();
	struct vg_counter *values;

	if (cpus < 0)
		return cpus;
	values = calloc(cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (__u32 reason = 0; !error && reason < VG_REASON_MAX; reason++) {
		error = bpf_map_lookup_elem(fd, &reason, values);
		for (int cpu = 0; !error && cpu < cpus; cpu++) {
			ret_counters[reason].packets += values[cpu].packets;
			ret_counters[reason].bytes += values[cpu].bytes;
		}
	}
	free(values);
	return error;
}

static int read_nodes(const int *fds, struct vg_node_status *status)
{
	int error = 0;

	for (__u32 node = 0; !error && node < status->config.nodes && node < VG_NODES_MAX; node++) {
		error = bpf_map_lookup_elem(fds[VG_MAPS_NODE], &node, &status->nodes[node]);
		if (!error)
			error = bpf_map_lookup_elem(fds[VG_MAPS_NODE_LOAD], &node, &status->loads[node]);
	}
	return error;
}

/* Every field of these is a count or a sum, and 64 bits wide. */
static void add_words(void *sum, const void *values, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(__u64); i++)
		((__u64 *)sum)[i] += ((const __u64 *)values)[i];
}

static void read_cpus(int fd, struct vg_node_status *status)
{
	const __u32 key = 0;
	int cpus = libbpf_num_possible_cpus();
	struct vg_cpu_load *values = fd < 0 || cpus <= 0 ? NULL : calloc((size_t)cpus, sizeof(*values));

	if (!values || bpf_map_lookup_elem(fd, &key, values)) {
		free(values);
		return;
	}
	status->scheduler_watched = true;
	for (int cpu = 0; cpu < cpus; cpu++) {
		if (status->cpus_count < VG_STATUS_CPUS_MAX)
			status->cpus[status->cpus_count++] = values[cpu];
		else
			add_words(&status->cpus[VG_STATUS_CPUS_MAX - 1], &values[cpu], sizeof(values[cpu]));
	}
	free(values);
}

static void read_io(int fd, struct vg_node_status *status)
{
	int cpus = libbpf_num_possible_cpus();
	struct vg_io_load *values = fd < 0 || cpus <= 0 ? NULL : calloc((size_t)cpus, sizeof(*values));

	for (__u32 which = 0; values && which < VG_IO_MAX; which++) {
		if (bpf_map_lookup_elem(fd, &which, values))
			break;
		status->io_watched = true;
		for (int cpu = 0; cpu < cpus; cpu++)
			add_words(&status->io[which], &values[cpu], sizeof(values[cpu]));
	}
	free(values);
}

/* Entries that come and go meanwhile may be missed: then they are seen the next time. */
static void read_cgroups(int fd, struct vg_node_status *status)
{
	__u64 key, next;
	int error = fd < 0 ? fd : bpf_map_get_next_key(fd, NULL, &next);

	while (!error && status->cgroups_count < VG_CGROUPS_MAX) {
		struct vg_cgroup_status *cgroup = &status->cgroups[status->cgroups_count];

		key = next;
		if (!bpf_map_lookup_elem(fd, &key, &cgroup->load)) {
			cgroup->id = key;
			status->cgroups_count++;
		}
		error = bpf_map_get_next_key(fd, &key, &next);
	}
}

int vg_status_read(const struct vg_status_source *source, struct vg_node_status *ret_status)
{
	const int *fds = source->map_fds;
	const __u32 key = 0;
	dev_t device;
	ino_t inode;
	int error;

	error = vg_pin_directory_identity(source->root, VG_PIN_MAPS, &device, &inode);
	if (error || device != source->device || inode != source->inode)
		return -ESTALE;
	memset(ret_status, 0, sizeof(*ret_status));
	ret_status->pin_root = source->root->path;
	for (int which = 0; which < VG_OBJECT_MAX; which++)
		read_program(source->root, which, &ret_status->programs[which]);
	for (int map = 0; map < VG_MAPS_MAX; map++) {
		struct bpf_map_info info = {};
		__u32 info_bytes = sizeof(info);

		ret_status->maps[map].name = map_names[map];
		if (fds[map] < 0)
			continue;
		if (!bpf_map_get_info_by_fd(fds[map], &info, &info_bytes))
			ret_status->maps[map].id = info.id;
		ret_status->maps[map].memory_bytes = map_memory(fds[map]);
	}
	error = vg_attachments_list(source->root, ret_status->attachments, VG_ATTACHMENTS_MAX);
	if (error < 0)
		return error;
	ret_status->attachments_count = error;
	error = bpf_map_lookup_elem(fds[VG_MAPS_CONFIG], &key, &ret_status->config);
	explicit_bzero(ret_status->config.cluster_key, sizeof(ret_status->config.cluster_key));
	if (!error)
		error = bpf_map_lookup_elem(fds[VG_MAPS_LOCAL], &key, &ret_status->local);
	if (!error)
		error = read_counters(fds[VG_MAPS_COUNTER], ret_status->counters);
	if (!error)
		error = bpf_map_lookup_elem(fds[VG_MAPS_POOL], &key, &ret_status->pool);
	if (!error)
		error = bpf_map_lookup_elem(fds[VG_MAPS_HOST], &key, &ret_status->host);
	if (!error)
		error = read_nodes(fds, ret_status);
	if (!error && fds[VG_MAPS_CPU_FIGURES] >= 0)
		error = bpf_map_lookup_elem(fds[VG_MAPS_CPU_FIGURES], &key, &ret_status->cpu_figures);
	if (!error && fds[VG_MAPS_FILE_FIGURES] >= 0)
		error = bpf_map_lookup_elem(fds[VG_MAPS_FILE_FIGURES], &key, &ret_status->file_figures);
	read_cpus(fds[VG_MAPS_CPU_LOAD], ret_status);
	read_io(fds[VG_MAPS_IO_LOAD], ret_status);
	read_cgroups(fds[VG_MAPS_CGROUP_LOAD], ret_status);
	ret_status->now_ns = monotonic_ns();
	ret_status->lease =
		vg_lease_state(ret_status->local.lease_until_ns, ret_status->now_ns, &ret_status->lease_age_ns);
	return error;
}
