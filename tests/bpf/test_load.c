/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The objects as the kernel takes them: by plain bpftool with pins, within the number of instructions that
 * tests/bpf/verifier_budget allows the verifier to walk, with maps whose types and layouts are those of C.
 */
#include "fixture.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <bpf/btf.h>

#define BUDGET_FILE "tests/bpf/verifier_budget"

static const char *const objects[] = { "xdp_ingress", "tc_egress", "xdp_pass", "sched_load", "block_load" };
#define OBJECTS (sizeof(objects) / sizeof(objects[0]))
#define NETWORK_OBJECTS 3 /* the first ones: a program of the object's own name, and counters */

static const char *build_folder(void)
{
	return getenv("B") ?: "build";
}

static struct bpf_object *object_load(const char *name)
{
	struct bpf_object *object;
	char path[256];

	snprintf(path, sizeof(path), "%s/bpf/%s.bpf.o", build_folder(), name);
	object = bpf_object__open(path);
	assert_non_null(object);
	assert_int_equal(bpf_object__load(object), 0);
	return object;
}

/* ---- what the verifier walks ---- */

static __u32 budget_of(const char *program)
{
	FILE *file = fopen(BUDGET_FILE, "r");
	char line[128], name[64];
	unsigned int allowed, found = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %u", name, &allowed) == 2 && strcmp(name, program) == 0)
			found = allowed;
	fclose(file);
	assert_int_not_equal(found, 0);
	return found;
}

static void test_load_within_the_verifier_budget(void **state)
{
	for (unsigned int i = 0; i < OBJECTS; i++) {
		struct bpf_object *object = object_load(objects[i]);
		struct bpf_program *program;

		bpf_object__for_each_program(program, object) {
			struct bpf_prog_info info = { 0 };
			__u32 bytes = sizeof(info);

			assert_int_equal(bpf_prog_get_info_by_fd(bpf_program__fd(program), &info, &bytes), 0);
			print_message("# %s: %u instructions verified, %u allowed\n", info.name, info.verified_insns,
				      budget_of(info.name));
			assert_string_equal(info.name, bpf_program__name(program)); /* not cut off */
			assert_true(info.verified_insns <= budget_of(info.name));
		}
		bpf_object__close(object);
	}
}

/* ---- layouts: C against the types that the loaded map carries ---- */

struct field {
	const char *name;
	size_t offset;
};
#define FIELD(type, member) { #member, offsetof(struct type, member) }

static const struct layout {
	const char *map, *type;
	size_t bytes;
	__u32 entries;
	struct field fields[10];
} layouts[] = {
	{ VG_MAP_NAME(VG_MAP_CONFIG), "vg_config", sizeof(struct vg_config), 1,
	  { FIELD(vg_config, node), FIELD(vg_config, nodes), FIELD(vg_config, epoch), FIELD(vg_config, flags),
	    FIELD(vg_config, budget_per_ms), FIELD(vg_config, port_mem), FIELD(vg_config, ports_other),
	    FIELD(vg_config, cluster_key), FIELD(vg_config, port_memcache) } },
	{ VG_MAP_NAME(VG_MAP_LOCAL), "vg_local", sizeof(struct vg_local), 1,
	  { FIELD(vg_local, lease_until_ns), FIELD(vg_local, unix_offset_ns), FIELD(vg_local, in_flight),
	    FIELD(vg_local, service_ns), FIELD(vg_local, run_queue_delay_ns), FIELD(vg_local, memory_free_permille) } },
	{ VG_MAP_NAME(VG_MAP_PARTITION), "vg_partition_owner", sizeof(struct vg_partition_owner), VG_PARTITIONS,
	  { FIELD(vg_partition_owner, node) } },
	{ VG_MAP_NAME(VG_MAP_NODE), "vg_node", sizeof(struct vg_node), VG_NODES_MAX,
	  { FIELD(vg_node, flags), FIELD(vg_node, address4), FIELD(vg_node, address6), FIELD(vg_node, mac),
	    FIELD(vg_node, port_mem), FIELD(vg_node, ifindex) } },
	{ VG_MAP_NAME(VG_MAP_NEIGHBOUR), "vg_neighbour", sizeof(struct vg_neighbour), VG_NEIGHBOURS_MAX,
	  { FIELD(vg_neighbour, seen_ns), FIELD(vg_neighbour, mac), FIELD(vg_neighbour, ifindex) } },
	{ VG_MAP_NAME(VG_MAP_COUNTER), "vg_counter", sizeof(struct vg_counter), VG_REASON_MAX,
	  { FIELD(vg_counter, packets), FIELD(vg_counter, bytes) } },
	{ VG_MAP_NAME(VG_MAP_BUDGET), "vg_budget", sizeof(struct vg_budget), 1,
	  { FIELD(vg_budget, tick_ns), FIELD(vg_budget, tokens), FIELD(vg_budget, jiffy),
	    FIELD(vg_budget, now_ns) } },
	{ VG_MAP_NAME(VG_MAP_SCRATCH), "vg_scratch", sizeof(struct vg_scratch), 1,
	  { FIELD(vg_scratch, word), FIELD(vg_scratch, lookup) } },
	{ VG_MAP_NAME(VG_MAP_NODE_LOAD), "vg_node_load", sizeof(struct vg_node_load), VG_NODES_MAX,
	  { FIELD(vg_node_load, stamps), FIELD(vg_node_load, strangers), FIELD(vg_node_load, seen_ns),
	    FIELD(vg_node_load, run_queue_delay_ns), FIELD(vg_node_load, service) } },
	{ VG_MAP_NAME(VG_MAP_STEERED), "vg_steered", sizeof(struct vg_steered), VG_STEERED_SETS,
	  { FIELD(vg_steered, entries) } },
	{ VG_MAP_NAME(VG_MAP_POOL), "vg_pool", sizeof(struct vg_pool), 1,
	  { FIELD(vg_pool, updated_ns), FIELD(vg_pool, keys), FIELD(vg_pool, heartbeats) } },
	{ VG_MAP_NAME(VG_MAP_CPU_FIGURES), "vg_cpu_figures", sizeof(struct vg_cpu_figures), 1,
	  { FIELD(vg_cpu_figures, updated_ns), FIELD(vg_cpu_figures, counts) } },
	{ VG_MAP_NAME(VG_MAP_FILE_FIGURES), "vg_file_figures", sizeof(struct vg_file_figures), 1,
	  { FIELD(vg_file_figures, updated_ns), FIELD(vg_file_figures, counts) } },
	{ VG_MAP_NAME(VG_MAP_HOST), "vg_host", sizeof(struct vg_host), 1,
	  { FIELD(vg_host, updated_ns), FIELD(vg_host, memory_available_bytes), FIELD(vg_host, cpu),
	    FIELD(vg_host, io) } },
};

static size_t member_offset(const struct btf *btf, const struct btf_type *type, const char *name)
{
	const struct btf_member *member = btf_members(type);

	for (__u32 i = 0; i < btf_vlen(type); i++)
		if (strcmp(btf__name_by_offset(btf, member[i].name_off), name) == 0)
			return btf_member_bit_offset(type, i) / 8;
	fail_msg("no member %s", name);
	return 0;
}

static void check_layout(struct bpf_object *object, const struct layout *layout)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, layout->map);
	struct bpf_map_info info = { 0 };
	__u32 bytes = sizeof(info);
	const struct btf_type *type;
	struct btf *btf;

	assert_non_null(map);
	assert_int_equal(bpf_map_get_info_by_fd(bpf_map__fd(map), &info, &bytes), 0);
	assert_string_equal(info.name, layout->map);
	assert_int_equal(info.value_size, layout->bytes);
	assert_int_equal(info.max_entries, layout->entries);
	assert_int_equal(layout->bytes % 8, 0); /* so that a mapped array is an array in C */
	btf = btf__load_from_kernel_by_id(info.btf_id);
	assert_non_null(btf);
	type = btf__type_by_id(btf, info.btf_value_type_id);
	assert_string_equal(btf__name_by_offset(btf, type->name_off), layout->type);
	assert_int_equal(type->size, layout->bytes);
	for (const struct field *field = layout->fields; field->name; field++)
		assert_int_equal(member_offset(btf, type, field->name), field->offset);
	btf__free(btf);
}

static void test_load_layouts_are_those_of_c(void **state)
{
	struct bpf_object *object = object_load("xdp_ingress");
	struct bpf_map *arena = bpf_object__find_map_by_name(object, VG_MAP_NAME(VG_MAP_ARENA));

	for (unsigned int i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		check_layout(object, &layouts[i]);
	assert_non_null(arena);
	assert_int_equal(bpf_map__type(arena), BPF_MAP_TYPE_ARENA);
	assert_int_equal(bpf_map__max_entries(arena), VG_ARENA_PAGES);
	assert_true(bpf_map__map_extra(arena) == VG_ARENA_ADDRESS);
	bpf_object__close(object);
}

/* ---- plain bpftool ---- */

static int shell(const char *format, const char *folder, const char *name)
{
	char command[1024];
	int status;

	snprintf(command, sizeof(command), format, folder, name);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/*
 * In a child with mounts of its own, so that the file system for the pins goes with it. Exit status: 0, or the number
 * of the step that failed; 77 where that is not allowed.
 */
static int pin_all(const char *folder)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 77;
	if (mount("bpf", folder, "bpf", 0, NULL))
		return 77;
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	for (unsigned int i = 0; i < OBJECTS; i++) {
		const char *entry = i < NETWORK_OBJECTS ? "test -e '%1$s/%2$s/vg_%2$s' && test -e '%1$s/%2$s/maps/vg_counter'"
							: "ls '%1$s/%2$s/'vg_* '%1$s/%2$s/maps/'vg_*_load >/dev/null";
		char format[512];

		snprintf(format, sizeof(format),
			 "mkdir '%%1$s/%%2$s' && bpftool prog loadall %s/bpf/%%2$s.bpf.o '%%1$s/%%2$s' "
			 "pinmaps '%%1$s/%%2$s/maps'", build_folder());
		if (shell(format, folder, objects[i]))
			return 1;
		if (shell(entry, folder, objects[i]))
			return 2;
	}
	if (shell("test -e '%1$s/%2$s/maps/vg_arena'", folder, "xdp_ingress"))
		return 3;
	/* Values by name, and as many of them as there are. */
	if (shell("bpftool map dump pinned '%1$s/%2$s/maps/vg_config' | grep budget_per_ms >/dev/null", folder,
		  "xdp_ingress"))
		return 4;
	if (shell("bpftool map dump pinned '%1$s/%2$s/maps/vg_partition' | grep -c '\"node\"' | grep -x 16384 "
		  ">/dev/null",
		  folder, "xdp_ingress"))
		return 5;
	if (shell("bpftool map dump pinned '%1$s/%2$s/maps/vg_file_figures' | grep quota_refused >/dev/null", folder,
		  "xdp_ingress"))
		return 8;
	if (shell("bpftool map dump pinned '%1$s/%2$s/maps/vg_cpu_load' | grep wait_buckets >/dev/null", folder,
		  "sched_load"))
		return 7;
	if (shell("bpftool map dump pinned '%1$s/%2$s/maps/vg_counter' | grep packets >/dev/null", folder, "xdp_pass"))
		return 6;
	return 0;
}

static void test_load_by_plain_bpftool(void **state)
{
	char folder[] = "/tmp/vg-test-load-XXXXXX";
	int status;
	pid_t child;

	assert_non_null(mkdtemp(folder));
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(pin_all(folder));
	assert_int_equal(waitpid(child, &status, 0), child);
	rmdir(folder);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_load_skipped(void **state)
{
	print_message("# %s\n", bpf_unavailable());
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_within_the_verifier_budget),
		cmocka_unit_test(test_load_layouts_are_those_of_c),
		cmocka_unit_test(test_load_by_plain_bpftool),
	};
	const struct CMUnitTest skipped[] = { cmocka_unit_test(test_load_skipped) };

	if (bpf_unavailable())
		return cmocka_run_group_tests_name("load", skipped, NULL, NULL);
	return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
