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

static const char *const map_names[VG_MAPS_MAX] = {
	[VG_MAPS_ARENA] = VG_MAP_NAME(VG_MAP_ARENA),   [VG_MAPS_CONFIG] = VG_MAP_NAME(VG_MAP_CONFIG),
	[VG_MAPS_LOCAL] = VG_MAP_NAME(VG_MAP_LOCAL),   [VG_MAPS_PARTITION] = VG_MAP_NAME(VG_MAP_PARTITION),
	[VG_MAPS_NODE] = VG_MAP_NAME(VG_MAP_NODE),     [VG_MAPS_COUNTER] = VG_MAP_NAME(VG_MAP_COUNTER),
	[VG_MAPS_BUDGET] = VG_MAP_NAME(VG_MAP_BUDGET), [VG_MAPS_NEIGHBOUR] = VG_MAP_NAME(VG_MAP_NEIGHBOUR),
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
	if (fd < 0)
		return;
	if (!bpf_prog_get_info_by_fd(fd, &info, &info_bytes)) {
		ret_program->id = info.id;
		ret_program->verified_instructions = info.verified_insns;
		ret_program->jited_bytes = info.jited_prog_len;
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

static int read_nodes(int fd, int nodes, struct vg_node *ret_nodes)
{
	int error = 0;

	for (__u32 node = 0; !error && node < (__u32)nodes && node < VG_NODES_MAX; node++)
		error = bpf_map_lookup_elem(fd, &node, &ret_nodes[node]);
	return error;
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
		error = read_nodes(fds[VG_MAPS_NODE], ret_status->config.nodes, ret_status->nodes);
	ret_status->lease = vg_lease_state(ret_status->local.lease_until_ns, monotonic_ns(), &ret_status->lease_age_ns);
	return error;
}
