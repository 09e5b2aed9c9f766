// SPDX-License-Identifier: GPL-3.0-or-later
#include "probes.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "caps.h"
#include "explain.h"

static void link_name(enum vg_object which, char (*ret_name)[VG_PIN_NAME_BYTES])
{
	snprintf(*ret_name, sizeof(*ret_name), "probe_%s", vg_object_types[which].program);
}

/* ---- what the kernel has --------------------------------------------------------------------------------------- */

static bool has_member(const struct btf *btf, const char *structure, const char *member)
{
	int id = btf__find_by_name_kind(btf, structure, BTF_KIND_STRUCT);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);

	for (unsigned int i = 0; type && i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_members(type)[i].name_off), member))
			return true;
	return false;
}

/* The scheduler's own note of when a task was queued, and the way to its clock (sched_load.bpf.c says what for). */
static bool kernel_takes_notes(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool yes = btf && has_member(btf, "task_struct", "sched_info") &&
		   has_member(btf, "sched_info", "last_queued") && has_member(btf, "sched_entity", "cfs_rq") &&
		   has_member(btf, "cfs_rq", "rq");

	btf__free(btf);
	return yes;
}

void vg_probes_configure(const struct vg_options *options)
{
	vg_objects_own_notes(options->telemetry == VG_TELEMETRY_NOTES ||
			     (options->telemetry == VG_TELEMETRY_AUTO && !kernel_takes_notes()));
}

bool vg_probes_wanted(const struct vg_options *options, enum vg_object which)
{
	if (which < VG_OBJECT_NETWORK_MAX)
		return true;
	if (options->telemetry == VG_TELEMETRY_OFF)
		return false;
	return !vg_object_types[which].own_notes || options->telemetry == VG_TELEMETRY_NOTES || !kernel_takes_notes();
}

/* ---- attaching ------------------------------------------------------------------------------------------------- */

/* A descriptor of a new link, or a negative errno. */
static int link_new(int program_fd)
{
	LIBBPF_OPTS(bpf_raw_tp_opts, options);
	int fd = bpf_raw_tracepoint_open_opts(program_fd, &options);

	return fd < 0 ? -errno : fd;
}

__u32 vg_probe_attached(const struct vg_pin_root *root, enum vg_object which)
{
	struct bpf_link_info info = {};
	__u32 info_bytes = sizeof(info);
	char name[VG_PIN_NAME_BYTES];
	int fd;

	link_name(which, &name);
	fd = vg_pin_get(root, VG_PIN_LINKS, name);
	if (fd < 0)
		return 0;
	if (bpf_link_get_info_by_fd(fd, &info, &info_bytes))
		info.prog_id = 0;
	close(fd);
	return info.prog_id;
}

/*
 * The new link is made before the old one goes: for a moment both count, which adds an event or two to counts of
 * millions, where a gap would make a stint of all that was missed.
 */
static int attach_one(struct vg_pin_root *root, enum vg_object which, int program_fd)
{
	char name[VG_PIN_NAME_BYTES];
	int error, fd = link_new(program_fd);

	if (fd < 0)
		return fd;
	link_name(which, &name);
	error = vg_probe_attached(root, which) ? vg_pin_replace(root, VG_PIN_LINKS, name, fd)
					       : vg_pin_put(root, VG_PIN_LINKS, name, fd);
	close(fd);
	return error;
}

int vg_probes_attach(struct vg_pin_root *root, bool again)
{
	for (int which = VG_OBJECT_NETWORK_MAX; which < VG_OBJECT_MAX; which++) {
		int error, fd = vg_pin_get(root, VG_PIN_PROGS, vg_object_types[which].program);

		if (fd == -ENOENT)
			continue;
		if (fd < 0)
			return fd;
		error = again || !vg_probe_attached(root, which) ? attach_one(root, which, fd) : 0;
		close(fd);
		if (error) {
			fprintf(stderr, "virgo-agent: warning: no telemetry from %s: %s\n",
				vg_object_types[which].program, strerror(-error));
			vg_explain_forget();
		}
	}
	return 0;
}

void vg_probes_detach(const struct vg_pin_root *root)
{
	for (int which = VG_OBJECT_NETWORK_MAX; which < VG_OBJECT_MAX; which++) {
		char name[VG_PIN_NAME_BYTES];

		link_name(which, &name);
		(void)vg_pin_remove(root, VG_PIN_LINKS, name); /* the link goes with its last name */
	}
}

int vg_probe_try(const char *tracepoint)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_RAW_TP);
	int fd, link_fd, id = libbpf_find_vmlinux_btf_id(tracepoint, BPF_TRACE_RAW_TP);

	if (id < 0)
		return id;
	options.attach_btf_id = (__u32)id;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "vg_trial", "Dual BSD/GPL", code, 2, &options);
	if (fd < 0)
		return fd;
	link_fd = link_new(fd);
	close(fd);
	if (link_fd < 0)
		return link_fd;
	close(link_fd);
	return 0;
}
