// SPDX-License-Identifier: GPL-3.0-or-later
#include "attach.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caps.h"
#include "dispatch.h"
#include "explain.h"

/* Where our tc filter sits, so that it is found again: "VG". */
#define CLSACT_HANDLE 0x5647
#define CLSACT_PRIORITY 0x5647

__u64 vg_netns_inode(void)
{
	struct stat netns;

	return stat("/proc/self/ns/net", &netns) ? 0 : netns.st_ino;
}

/* ---- entries --------------------------------------------------------------------------------------------------- */

/* What the kernel says of a link: which program, and whether its interface still exists. */
static void link_describe(int fd, struct vg_attachment *attachment)
{
	struct bpf_link_info info = {};
	__u32 info_bytes = sizeof(info);

	if (bpf_link_get_info_by_fd(fd, &info, &info_bytes))
		return;
	attachment->program_id = info.prog_id;
	attachment->alive = (info.type == BPF_LINK_TYPE_XDP ? info.xdp.ifindex : info.tcx.ifindex) != 0;
}

static void program_describe(int fd, struct vg_attachment *attachment)
{
	struct bpf_prog_info info = {};
	__u32 info_bytes = sizeof(info);

	if (!bpf_prog_get_info_by_fd(fd, &info, &info_bytes))
		attachment->program_id = info.id;
	attachment->alive = attachment->interface[0] || !attachment->here;
}

/* The program's name by its id, among the pinned ones. */
static void program_name(const struct vg_pin_root *root, struct vg_attachment *attachment)
{
	for (int which = 0; which < VG_OBJECT_MAX; which++) {
		struct vg_attachment pinned = {};
		int fd = vg_pin_get(root, VG_PIN_PROGS, vg_object_types[which].program);

		if (fd < 0)
			continue;
		program_describe(fd, &pinned);
		close(fd);
		/* An instance inside a dispatcher is a program of its own, and only the ingress one goes there. */
		if (pinned.program_id == attachment->program_id ||
		    (attachment->hook == VG_HOOK_DISPATCHER && which == VG_OBJECT_INGRESS))
			snprintf(attachment->program, sizeof(attachment->program), "%s",
				 vg_object_types[which].program);
	}
}

static void describe(const struct vg_pin_root *root, const char *name, struct vg_attachment *attachment)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	int fd;

	attachment->here = attachment->netns == vg_netns_inode();
	if (attachment->here && !if_indextoname(attachment->ifindex, attachment->interface))
		attachment->interface[0] = '\0';
	fd = vg_pin_get(root, VG_PIN_LINKS, name);
	if (fd < 0)
		return;
	if (vg_hook_is_link(attachment->hook))
		link_describe(fd, attachment);
	else
		program_describe(fd, attachment);
	close(fd);
	if (attachment->hook == VG_HOOK_DISPATCHER && attachment->here)
		attachment->generic = !bpf_xdp_query((int)attachment->ifindex, 0, &query) && query.skb_prog_id;
	program_name(root, attachment);
}

int vg_attachments_list(const struct vg_pin_root *root, struct vg_attachment *ret_attachments, int attachments_max)
{
	char names[VG_ATTACHMENTS_MAX][VG_PIN_NAME_BYTES];
	int found = 0, count = vg_pin_list(root, VG_PIN_LINKS, names, VG_ATTACHMENTS_MAX);

	for (int i = 0; i < count && found < attachments_max; i++) {
		if (!vg_attachment_parse(names[i], &ret_attachments[found]))
			describe(root, names[i], &ret_attachments[found++]);
	}
	return count < 0 ? count : found;
}

/* Our entry on an interface of this namespace, for XDP or for tc. -ENOENT when there is none that still lives. */
static int find(const struct vg_pin_root *root, __u32 ifindex, bool xdp, struct vg_attachment *ret_attachment)
{
	struct vg_attachment all[VG_ATTACHMENTS_MAX];
	int count = vg_attachments_list(root, all, VG_ATTACHMENTS_MAX);

	for (int i = 0; i < count; i++) {
		if (!all[i].here || all[i].ifindex != ifindex || vg_hook_is_xdp(all[i].hook) != xdp)
			continue;
		if (all[i].alive) {
			*ret_attachment = all[i];
			return 0;
		}
		/* Left by an interface that has gone and had the same number. */
		count = vg_attachment_remove(root, &all[i], false) ?: count;
	}
	return count < 0 ? count : -ENOENT;
}

static int entry_put(struct vg_pin_root *root, const struct vg_attachment *attachment, int fd)
{
	char name[VG_PIN_NAME_BYTES];

	vg_attachment_name(attachment, &name);
	return vg_pin_put(root, VG_PIN_LINKS, name, fd);
}

/* ---- XDP ------------------------------------------------------------------------------------------------------- */

/* Say who sits on the interface. */
static int explain_occupant(__u32 ifindex, __u32 program_id)
{
	char interface[IF_NAMESIZE] = "the interface";
	struct bpf_prog_info info = {};
	__u32 info_bytes = sizeof(info);
	int fd;

	if_indextoname(ifindex, interface);
	vg_caps_raise(CAP_SYS_ADMIN);
	fd = bpf_prog_get_fd_by_id(program_id);
	vg_caps_lower(CAP_SYS_ADMIN);
	if (fd >= 0) {
		(void)bpf_prog_get_info_by_fd(fd, &info, &info_bytes);
		close(fd);
	}
	return vg_explain(
		-EBUSY,
		"%s already has an XDP program (id %u%s%s) that is not ours and that no other can join: it is "
		"left in place",
		interface, program_id, info.name[0] ? ", " : "", info.name);
}

static int xdp_link(struct vg_pin_root *root, int program_fd, __u32 ifindex, bool native,
		    struct vg_attachment *attachment)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int error, fd = bpf_link_create(program_fd, (int)ifindex, BPF_XDP, &options);

	if (fd < 0)
		return fd;
	attachment->hook = native ? VG_HOOK_NATIVE : VG_HOOK_GENERIC;
	error = entry_put(root, attachment, fd);
	/* Without its entry the link dies with the descriptor. */
	close(fd);
	return error;
}

static int xdp_alone(struct vg_pin_root *root, enum vg_object which, __u32 ifindex, enum vg_attach_mode mode,
		     struct vg_attachment *attachment)
{
	int error = -EOPNOTSUPP, fd = vg_pin_get(root, VG_PIN_PROGS, vg_object_types[which].program);

	if (fd < 0)
		return fd;
	if (mode != VG_ATTACH_GENERIC)
		error = xdp_link(root, fd, ifindex, true, attachment);
	if (mode == VG_ATTACH_GENERIC || (mode == VG_ATTACH_AUTO && error && error != -EBUSY && error != -EPERM))
		error = xdp_link(root, fd, ifindex, false, attachment);
	close(fd);
	if (error == -EBUSY)
		return vg_explain(error, "another XDP program was attached meanwhile: it is left in place");
	if (error == -EOPNOTSUPP && mode == VG_ATTACH_NATIVE)
		return vg_explain(error,
				  "the interface's driver has no native XDP: --mode generic works everywhere, slowly");
	if (error)
		vg_explain(error, "the kernel refuses XDP on the interface: %s (native XDP may want a smaller MTU)",
			   strerror(-error));
	return error;
}

static int xdp_beside(struct vg_pin_root *root, enum vg_object which, __u32 ifindex, enum vg_attach_mode mode,
		      struct vg_attachment *attachment)
{
	int fd, error = vg_dispatch_attach(root, which, ifindex, mode, &fd);

	if (error)
		return error;
	attachment->hook = VG_HOOK_DISPATCHER;
	error = entry_put(root, attachment, fd);
	if (error)
		(void)vg_dispatch_detach(root, fd, ifindex);
	close(fd);
	return error;
}

/* The program is there already: fine if it is the one that was asked for, in a mode that was asked for. */
static int xdp_adopt(const struct vg_attachment *found, enum vg_object which, enum vg_attach_mode mode)
{
	if (strcmp(found->program, vg_object_types[which].program))
		return vg_explain(-EEXIST, "%s already has %s: detach it first", found->interface, found->program);
	if ((mode == VG_ATTACH_NATIVE && found->hook == VG_HOOK_GENERIC) ||
	    (mode == VG_ATTACH_GENERIC && found->hook == VG_HOOK_NATIVE))
		return vg_explain(-EEXIST, "%s is attached in %s mode: detach it first", found->interface,
				  vg_hook_name(found->hook));
	return 0;
}

int vg_attach_xdp(struct vg_pin_root *root, enum vg_object which, __u32 ifindex, enum vg_attach_mode mode,
		  struct vg_attachment *ret_attachment, bool *ret_made)
{
	struct vg_attachment attachment = {.netns = vg_netns_inode(), .ifindex = ifindex};
	LIBBPF_OPTS(bpf_xdp_query_opts, occupant);
	int error;

	error = find(root, ifindex, true, &attachment);
	if (!error) {
		error = xdp_adopt(&attachment, which, mode);
		if (error)
			return error;
		*ret_attachment = attachment;
		*ret_made = false;
		return 0;
	}
	if (error != -ENOENT)
		return error;
	error = bpf_xdp_query((int)ifindex, 0, &occupant);
	if (error)
		return vg_explain(error, "cannot ask the interface for its XDP program: %s", strerror(-error));
	error = vg_dispatch_try();
	if (!error)
		error = xdp_beside(root, which, ifindex, mode, &attachment);
	if (error)
		vg_explain_forget(); /* why there is no dispatcher is not why attaching fails, if it does */
	if (error && (occupant.drv_prog_id || occupant.skb_prog_id || occupant.hw_prog_id))
		return explain_occupant(ifindex, occupant.drv_prog_id ?: occupant.skb_prog_id ?: occupant.hw_prog_id);
	if (error)
		error = xdp_alone(root, which, ifindex, mode, &attachment);
	if (error)
		return error;
	*ret_made = true;
	return find(root, ifindex, true, ret_attachment);
}

/* ---- tc egress ------------------------------------------------------------------------------------------------- */

static int tcx_attach(struct vg_pin_root *root, int program_fd, __u32 ifindex, struct vg_attachment *attachment)
{
	LIBBPF_OPTS(bpf_link_create_opts, options);
	int error, fd = bpf_link_create(program_fd, (int)ifindex, BPF_TCX_EGRESS, &options);

	if (fd < 0)
		return fd;
	attachment->hook = VG_HOOK_TCX;
	error = entry_put(root, attachment, fd);
	close(fd);
	return error;
}

static int clsact_set(__u32 ifindex, int program_fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program_fd, .flags = flags, .handle = CLSACT_HANDLE,
		    .priority = CLSACT_PRIORITY);
	int error = bpf_tc_hook_create(&hook);

	return error && error != -EEXIST ? error : bpf_tc_attach(&hook, &options);
}

/* Take our filter away, if the one at our place is ours; the qdisc stays, for it may serve others. */
static int clsact_clear(__u32 ifindex, __u32 program_id)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);
	int error = bpf_tc_query(&hook, &options);

	if (error || options.prog_id != program_id)
		return error == -ENOENT || error == -ENODEV || error == -EINVAL ? 0 : error;
	options.prog_fd = 0;
	options.prog_id = 0;
	options.flags = 0;
	return bpf_tc_detach(&hook, &options);
}

static int clsact_attach(struct vg_pin_root *root, int program_fd, __u32 ifindex, struct vg_attachment *attachment)
{
	struct vg_attachment ours = {};
	int error = clsact_set(ifindex, program_fd, 0);

	if (error)
		return error;
	attachment->hook = VG_HOOK_CLSACT;
	error = entry_put(root, attachment, program_fd);
	if (error) {
		program_describe(program_fd, &ours);
		(void)clsact_clear(ifindex, ours.program_id);
	}
	return error;
}

int vg_attach_egress(struct vg_pin_root *root, __u32 ifindex, enum vg_egress_mode mode,
		     struct vg_attachment *ret_attachment, bool *ret_made)
{
	struct vg_attachment attachment = {.netns = vg_netns_inode(), .ifindex = ifindex};
	int error, fd;

	assert(mode != VG_EGRESS_NONE);
	error = find(root, ifindex, false, &attachment);
	if (!error) {
		*ret_attachment = attachment;
		*ret_made = false;
	}
	if (error != -ENOENT)
		return error;
	fd = vg_pin_get(root, VG_PIN_PROGS, vg_object_types[VG_OBJECT_EGRESS].program);
	if (fd < 0)
		return fd;
	error = -EOPNOTSUPP;
	if (mode != VG_EGRESS_CLSACT)
		error = tcx_attach(root, fd, ifindex, &attachment);
	if (mode == VG_EGRESS_CLSACT || (mode == VG_EGRESS_AUTO && (error == -EINVAL || error == -EOPNOTSUPP)))
		error = clsact_attach(root, fd, ifindex, &attachment);
	close(fd);
	if (error)
		return vg_explain(error, "the kernel refuses the egress program: %s", strerror(-error));
	*ret_made = true;
	return find(root, ifindex, false, ret_attachment);
}

/* ---- away and over --------------------------------------------------------------------------------------------- */

int vg_attachment_remove(const struct vg_pin_root *root, const struct vg_attachment *attachment, bool forget)
{
	char name[VG_PIN_NAME_BYTES];
	int error = 0, fd;

	vg_attachment_name(attachment, &name);
	fd = vg_pin_get(root, VG_PIN_LINKS, name);
	if (fd < 0)
		return fd;
	if (vg_hook_is_link(attachment->hook)) {
		error = bpf_link_detach(fd);
		if (error == -ENOLINK || error == -ENODEV) /* its interface has gone */
			error = 0;
	} else if (!attachment->here && !forget) {
		error = vg_explain(-EXDEV,
				   "%s on interface number %u belongs to network namespace %llu: detach it there, or "
				   "unload --force if that has gone",
				   vg_hook_name(attachment->hook), attachment->ifindex,
				   (unsigned long long)attachment->netns);
	} else if (!attachment->here) {
		error = 0;
	} else if (attachment->alive && attachment->hook == VG_HOOK_CLSACT) {
		error = clsact_clear(attachment->ifindex, attachment->program_id);
	} else if (attachment->alive) {
		error = vg_dispatch_detach(root, fd, attachment->ifindex);
	}
	close(fd);
	if (!error)
		error = vg_pin_remove(root, VG_PIN_LINKS, name);
	return error;
}

int vg_attachment_replace(struct vg_pin_root *root, const struct vg_attachment *attachment, int old_fd, int new_fd)
{
	LIBBPF_OPTS(bpf_link_update_opts, options, .flags = BPF_F_REPLACE, .old_prog_fd = old_fd);
	char name[VG_PIN_NAME_BYTES];
	int error, fd;

	assert(attachment->hook != VG_HOOK_DISPATCHER);
	vg_attachment_name(attachment, &name);
	if (attachment->hook == VG_HOOK_CLSACT) {
		error = clsact_set(attachment->ifindex, new_fd, BPF_TC_F_REPLACE);
		return error ? error : vg_pin_replace(root, VG_PIN_LINKS, name, new_fd);
	}
	fd = vg_pin_get(root, VG_PIN_LINKS, name);
	if (fd < 0)
		return fd;
	error = bpf_link_update(fd, new_fd, &options);
	close(fd);
	return error;
}
