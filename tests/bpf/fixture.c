/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- programs ---- */

static int print_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return 0;
}

const char *bpf_unavailable(void)
{
	static const struct bpf_insn pass[] = {
		{ .code = 0xb7, .dst_reg = 0, .imm = 2 }, /* r0 = XDP_PASS */
		{ .code = 0x95 },			  /* exit */
	};
	LIBBPF_OPTS(bpf_map_create_opts, arena, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "vg_probe", "GPL", pass, 2, NULL);

	libbpf_set_print(getenv("VG_BPF_LOG") ? NULL : print_nothing);
	if (fd < 0)
		return "no permission to load BPF programs";
	close(fd);
	fd = bpf_map_create(BPF_MAP_TYPE_ARENA, "vg_probe", 0, 0, 1, &arena);
	if (fd < 0)
		return "the kernel has no BPF arenas";
	close(fd);
	return NULL;
}

void *map_open(const struct bpf_map *map, size_t bytes)
{
	void *memory = mmap(NULL, VG_ALIGN_UP(bytes, 4096UL), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void cluster_write(struct fixture *fixture)
{
	*fixture->config = (struct vg_config){
		.node = SELF, .nodes = 16, .epoch = EPOCH, .budget_per_ms = ~0u, .port_mem = VG_HTOBE16(PORT),
	};
	*fixture->local = (struct vg_local){
		.lease_until_ns = ~0ULL, .unix_offset_ns = UNIX_OFFSET_NS,
		.in_flight = 3, .service_ns = 4, .run_queue_delay_ns = 5, .memory_free_permille = 600,
	};
	for (int i = 0; i < VG_PARTITIONS; i++)
		fixture->owners[i].node = SELF;
	memset(fixture->nodes, 0, sizeof(*fixture->nodes) * VG_NODES_MAX);
}

void fixture_open(struct fixture *fixture, __u64 clock_ns, size_t arena_bytes)
{
	struct vg_store_config store = { .arena_bytes = arena_bytes, .heap_bytes = 64 << 20, .node = SELF, .workers = 4,
					 .instance = 1, .now_ms = NOW_MS };
	struct xdp_ingress *skeleton = xdp_ingress__open();

	assert_non_null(skeleton);
	skeleton->rodata->cfg_fixed_clock_ns = clock_ns;
	assert_int_equal(xdp_ingress__load(skeleton), 0);
	fixture->skeleton = skeleton;
	fixture->program = bpf_program__fd(skeleton->progs.vg_xdp_ingress);
	fixture->config = map_open(skeleton->maps.vg_config, sizeof(struct vg_config));
	fixture->local = map_open(skeleton->maps.vg_local, sizeof(struct vg_local));
	fixture->owners = map_open(skeleton->maps.vg_partition, sizeof(struct vg_partition_owner) * VG_PARTITIONS);
	fixture->nodes = map_open(skeleton->maps.vg_node, sizeof(struct vg_node) * VG_NODES_MAX);
	/* libbpf has mapped the arena where it belongs. */
	fixture->arena = bpf_map__initial_value(skeleton->maps.vg_arena, &(size_t){ 0 });
	assert_ptr_equal(fixture->arena, VG_ARENA_ADDRESS);
	store.arena = fixture->arena;
	assert_int_equal(vg_store_new(&fixture->store, &store, NULL), 0);
	vg_store_worker(fixture->store, 0);
	cluster_write(fixture);
}

void fixture_close(struct fixture *fixture)
{
	vg_store_free(fixture->store);
	munmap(fixture->config, 4096);
	munmap(fixture->local, 4096);
	munmap(fixture->owners, sizeof(struct vg_partition_owner) * VG_PARTITIONS);
	munmap(fixture->nodes, VG_ALIGN_UP(sizeof(struct vg_node) * VG_NODES_MAX, 4096UL));
	xdp_ingress__destroy(fixture->skeleton);
}

static void counters_read(int map, struct vg_counter *counters)
{
	int cpus = libbpf_num_possible_cpus();
	struct vg_counter percpu[CPUS_MAX];

	assert_in_range(cpus, 1, CPUS_MAX);
	for (__u32 reason = 0; reason < VG_REASON_MAX; reason++) {
		assert_int_equal(bpf_map_lookup_elem(map, &reason, percpu), 0);
		counters[reason] = (struct vg_counter){ 0 };
		for (int cpu = 0; cpu < cpus; cpu++) {
			counters[reason].packets += percpu[cpu].packets;
			counters[reason].bytes += percpu[cpu].bytes;
		}
	}
}

int packet_run_quickly(int program, struct packet *packet)
{
	__u8 out[sizeof(packet->bytes)];
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet->bytes, .data_size_in = packet->length,
		    .data_out = out, .data_size_out = sizeof(out), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(program, &options), 0);
	memcpy(packet->bytes, out, options.data_size_out);
	packet->length = options.data_size_out;
	return (int)options.retval;
}

int packet_run(int program, int counters, struct packet *packet, enum vg_reason *ret_reason)
{
	struct vg_counter before[VG_REASON_MAX], after[VG_REASON_MAX];
	__u32 length = packet->length;
	int reasons = 0, verdict;

	counters_read(counters, before);
	verdict = packet_run_quickly(program, packet);
	counters_read(counters, after);
	for (int reason = 0; reason < VG_REASON_MAX; reason++)
		if (after[reason].packets != before[reason].packets) {
			assert_int_equal(after[reason].packets - before[reason].packets, 1);
			assert_int_equal(after[reason].bytes - before[reason].bytes, length);
			*ret_reason = (enum vg_reason)reason;
			reasons++;
		}
	assert_int_equal(reasons, 1);
	return verdict;
}

int fixture_run(const struct fixture *fixture, struct packet *packet, enum vg_reason *ret_reason)
{
	return packet_run(fixture->program, bpf_map__fd(fixture->skeleton->maps.vg_counter), packet, ret_reason);
}

void store_set(struct vg_store *store, const char *key, const void *value, size_t length, __u64 expire_ms)
{
	struct vg_key vg_key = { key, (__u32)strlen(key), vg_hash64(key, strlen(key)) };

	assert_int_equal(vg_store_set(store, &vg_key, NOW_MS, value, length, expire_ms), 0);
}
