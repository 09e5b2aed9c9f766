// SPDX-License-Identifier: GPL-3.0-or-later
#include "objects.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "caps.h"
#include "explain.h"
#include "layout.h"
#include "block_load.skel.h"
#include "sched_load.skel.h"
#include "tc_egress.skel.h"
#include "xdp_ingress.skel.h"
#include "xdp_pass.skel.h"

const struct vg_object_type vg_object_types[VG_OBJECT_MAX] = {
	[VG_OBJECT_INGRESS] = {"xdp_ingress", "vg_xdp_ingress"},
	[VG_OBJECT_EGRESS] = {"tc_egress", "vg_tc_egress"},
	[VG_OBJECT_PASS] = {"xdp_pass", "vg_xdp_pass"},
	[VG_OBJECT_SCHED_SWITCH] = {"sched_load", "vg_sched_switch"},
	[VG_OBJECT_SCHED_WAKEUP] = {"sched_load", "vg_sched_wakeup", true},
	[VG_OBJECT_SCHED_NEW] = {"sched_load", "vg_sched_new", true},
	[VG_OBJECT_BLOCK_ISSUE] = {"block_load", "vg_block_issue"},
	[VG_OBJECT_BLOCK_DONE] = {"block_load", "vg_block_done"},
};

static const void *(*const object_bytes[VG_OBJECT_MAX])(size_t *ret_bytes) = {
	[VG_OBJECT_INGRESS] = xdp_ingress__elf_bytes,
	[VG_OBJECT_EGRESS] = tc_egress__elf_bytes,
	[VG_OBJECT_PASS] = xdp_pass__elf_bytes,
	[VG_OBJECT_SCHED_SWITCH] = sched_load__elf_bytes,
	[VG_OBJECT_SCHED_WAKEUP] = sched_load__elf_bytes,
	[VG_OBJECT_SCHED_NEW] = sched_load__elf_bytes,
	[VG_OBJECT_BLOCK_ISSUE] = block_load__elf_bytes,
	[VG_OBJECT_BLOCK_DONE] = block_load__elf_bytes,
};

static bool own_notes;

void vg_objects_own_notes(bool wanted)
{
	own_notes = wanted;
}

/* Let a map be the pinned one, if there is one that is the same map. */
static int map_bind(const struct vg_pin_root *root, struct bpf_object *object, struct bpf_map *map)
{
	int error, fd = vg_pin_get(root, VG_PIN_MAPS, bpf_map__name(map));

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	error = vg_layout_check(map, bpf_object__btf(object), fd);
	if (!error)
		error = bpf_map__reuse_fd(map, fd);
	close(fd);
	return error;
}

/* Where a variable lies in the read-only data of an object, or -1. */
static int variable_offset(const struct bpf_object *object, const char *name)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *section = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);

	for (unsigned int i = 0; section && i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *variable = btf_var_secinfos(section) + i;
		const struct btf_type *type = btf__type_by_id(btf, variable->type);

		if (!strcmp(btf__name_by_offset(btf, type->name_off), name))
			return (int)variable->offset;
	}
	return -1;
}

/* Load the one program, and tell the scheduler's how waiting is measured. */
static void configure(enum vg_object which, struct bpf_object *object)
{
	int offset = variable_offset(object, "cfg_own_notes");
	struct bpf_program *program;
	struct bpf_map *map;

	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), vg_object_types[which].program));
	if (offset < 0)
		return;
	bpf_object__for_each_map(map, object) {
		size_t bytes;
		char *values = bpf_map__initial_value(map, &bytes);

		if (strstr(bpf_map__name(map), ".rodata") && values && (size_t)offset < bytes)
			memcpy(values + offset, &own_notes, sizeof(own_notes));
	}
}

int vg_object_open(const struct vg_pin_root *root, enum vg_object which, struct bpf_object **ret_object)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = vg_object_types[which].file);
	struct bpf_object *object;
	struct bpf_map *map;
	const void *elf;
	size_t elf_bytes;
	int error = 0;

	elf = object_bytes[which](&elf_bytes);
	object = bpf_object__open_mem(elf, elf_bytes, &options);
	if (!object) {
		error = -errno;
		return vg_explain(error, "%s: cannot open the embedded object", vg_object_types[which].file);
	}
	configure(which, object);
	bpf_object__for_each_map(map, object) {
		/* Pinning is the agent's own business, whatever the object declares. */
		error = bpf_map__set_pin_path(map, NULL);
		if (!error && root && !bpf_map__is_internal(map))
			error = map_bind(root, object, map);
		if (error)
			goto fail;
	}
	*ret_object = object;
	return 0;
fail:
	bpf_object__close(object);
	return error;
}

int vg_object_load(enum vg_object which, struct bpf_object *object)
{
	int error = bpf_object__load(object);

	if (!error && !bpf_object__find_program_by_name(object, vg_object_types[which].program))
		error = -ENOEXEC;
	if (error)
		vg_explain(error, "the kernel does not take %s: %s (--verbose shows the verifier's words)",
			   vg_object_types[which].program, strerror(-error));
	return error;
}

int vg_object_pin_maps(struct vg_pin_root *root, struct bpf_object *object)
{
	struct bpf_map *map;
	int error = 0;

	bpf_object__for_each_map(map, object) {
		int fd;

		if (bpf_map__is_internal(map))
			continue;
		fd = vg_pin_get(root, VG_PIN_MAPS, bpf_map__name(map));
		if (fd >= 0)
			close(fd);
		else if (fd == -ENOENT)
			error = vg_pin_put(root, VG_PIN_MAPS, bpf_map__name(map), bpf_map__fd(map));
		else
			error = fd;
		if (error)
			break;
	}
	return error;
}

int vg_object_program_check(enum vg_object which, const struct bpf_object *object, int pinned_fd)
{
	const char *name = vg_object_types[which].program;
	const struct bpf_program *program = bpf_object__find_program_by_name(object, name);
	struct bpf_prog_info info = {};
	__u32 info_bytes = sizeof(info);

	assert(program);
	if (bpf_prog_get_info_by_fd(pinned_fd, &info, &info_bytes) || info.type != bpf_program__type(program) ||
	    strcmp(info.name, name))
		return vg_explain(-EEXIST, "what is pinned as %s is not that program", name);
	return 0;
}

int vg_object_program_fd(enum vg_object which, const struct bpf_object *object)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, vg_object_types[which].program);

	assert(program);
	return bpf_program__fd(program);
}

static int print_all(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return vfprintf(stderr, format, arguments);
}

void vg_objects_verbose(int verbose)
{
	libbpf_set_print(verbose ? print_all : NULL);
}
