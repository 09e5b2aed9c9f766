// SPDX-License-Identifier: GPL-3.0-or-later
#include "dispatch.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "caps.h"
#include "explain.h"

#define LIBXDP_BPFFS_DEFAULT "/sys/fs/bpf"

/*
 * libxdp keeps its state in the bpffs at /sys/fs/bpf, where other XDP tools find it. In a network namespace that `ip
 * netns exec` made /sys is fresh and has no bpffs: then the state lives beside our own pins.
 */
static void state_choose(const struct vg_pin_root *root)
{
	if (!vg_pin_is_bpffs(LIBXDP_BPFFS_DEFAULT))
		(void)setenv(XDP_BPFFS_ENVVAR, root->path, 0);
}

static int freplace_try(struct bpf_object *target, struct bpf_object *replacement)
{
	struct bpf_program *program;
	int error, link;

	error = bpf_object__load(target);
	if (error)
		return error;
	program = bpf_object__find_program_by_name(replacement, vg_object_types[VG_OBJECT_PASS].program);
	if (!program)
		return -ENOENT;
	error = bpf_program__set_type(program, BPF_PROG_TYPE_EXT);
	if (!error)
		error = bpf_program__set_expected_attach_type(program, 0);
	if (!error)
		error = bpf_program__set_attach_target(program, vg_object_program_fd(VG_OBJECT_PASS, target),
						       vg_object_types[VG_OBJECT_PASS].program);
	if (!error)
		error = bpf_object__load(replacement);
	if (error)
		return error;
	link = bpf_raw_tracepoint_open(NULL, bpf_program__fd(program));
	if (link < 0)
		return link;
	close(link);
	return 0;
}

int vg_dispatch_try(void)
{
	struct bpf_object *target = NULL, *replacement = NULL;
	int error;

	error = vg_object_open(NULL, VG_OBJECT_PASS, &target);
	if (!error)
		error = vg_object_open(NULL, VG_OBJECT_PASS, &replacement);
	if (!error) {
		/* The target's BTF is read by its id, which only CAP_SYS_ADMIN may. */
		vg_caps_raise(CAP_SYS_ADMIN);
		error = freplace_try(target, replacement);
		vg_caps_lower(CAP_SYS_ADMIN);
	}
	bpf_object__close(replacement);
	bpf_object__close(target);
	if (error)
		vg_explain_forget(); /* a trial that fails is an answer, not a failure */
	return error ? -EOPNOTSUPP : 0;
}

/* Whether libxdp has put the program into a dispatcher, and not alone on the interface. */
static bool dispatched(__u32 ifindex)
{
	struct xdp_multiprog *programs = xdp_multiprog__get_from_ifindex((int)ifindex);
	bool yes = !libxdp_get_error(programs) && !xdp_multiprog__is_legacy(programs);

	if (!libxdp_get_error(programs))
		xdp_multiprog__close(programs);
	return yes;
}

static int attach_new(struct bpf_object *object, enum vg_object which, __u32 ifindex, enum vg_attach_mode mode,
		      int *ret_fd)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, options, .obj = object, .prog_name = vg_object_types[which].program);
	const enum xdp_attach_mode modes[] = {
		[VG_ATTACH_AUTO] = XDP_MODE_UNSPEC,
		[VG_ATTACH_NATIVE] = XDP_MODE_NATIVE,
		[VG_ATTACH_GENERIC] = XDP_MODE_SKB,
	};
	struct xdp_program *program = xdp_program__create(&options);
	int error, fd;

	if (!program)
		return -errno;
	error = xdp_program__attach(program, (int)ifindex, modes[mode], 0);
	if (error)
		goto out;
	fd = dispatched(ifindex) ? fcntl(xdp_program__fd(program), F_DUPFD_CLOEXEC, 3) : -EOPNOTSUPP;
	if (fd < 0) {
		error = fd == -EOPNOTSUPP ? fd : -errno;
		(void)xdp_program__detach(program, (int)ifindex, XDP_MODE_UNSPEC, 0);
		goto out;
	}
	*ret_fd = fd;
out:
	xdp_program__close(program);
	return error;
}

int vg_dispatch_attach(const struct vg_pin_root *root, enum vg_object which, __u32 ifindex, enum vg_attach_mode mode,
		       int *ret_fd)
{
	struct bpf_object *object;
	int error = vg_object_open(root, which, &object);

	if (error)
		return error;
	state_choose(root);
	vg_caps_raise(CAP_SYS_ADMIN);
	error = attach_new(object, which, ifindex, mode, ret_fd);
	vg_caps_lower(CAP_SYS_ADMIN);
	bpf_object__close(object);
	/* -ENOENT: libxdp's dispatcher object is not installed. */
	return error == -ENOENT ? -EOPNOTSUPP : error;
}

int vg_dispatch_detach(const struct vg_pin_root *root, int fd, __u32 ifindex)
{
	struct xdp_program *program;
	int error;

	state_choose(root);
	vg_caps_raise(CAP_SYS_ADMIN);
	program = xdp_program__from_fd(fd);
	error = (int)libxdp_get_error(program);
	if (!error) {
		error = xdp_program__detach(program, (int)ifindex, XDP_MODE_UNSPEC, 0);
		xdp_program__close(program);
	}
	vg_caps_lower(CAP_SYS_ADMIN);
	return error;
}

static int print_all(enum libxdp_print_level level, const char *format, va_list arguments)
{
	return vfprintf(stderr, format, arguments);
}

void vg_dispatch_verbose(int verbose)
{
	libxdp_set_print(verbose ? print_all : NULL);
}
