// SPDX-License-Identifier: GPL-3.0-or-later
#include "control.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"
#include "caps.h"
#include "explain.h"
#include "objects.h"
#include "pin.h"
#include "probe.h"
#include "probes.h"
#include "status.h"

/* ---- load ------------------------------------------------------------------------------------------------------ */

/* Bring one object in: its maps are the pinned ones where they exist, and a program that is pinned already stays. */
static int load_one(struct vg_pin_root *root, enum vg_object which, bool *ret_adopted)
{
	struct bpf_object *object;
	int error, fd;

	error = vg_object_open(root, which, &object);
	if (error)
		return error;
	fd = vg_pin_get(root, VG_PIN_PROGS, vg_object_types[which].program);
	if (fd >= 0) {
		error = vg_object_program_check(which, object, fd);
		close(fd);
		*ret_adopted = true;
		goto out;
	}
	error = fd == -ENOENT ? vg_object_load(which, object) : fd;
	if (!error)
		error = vg_object_pin_maps(root, object);
	if (!error)
		error = vg_pin_put(root, VG_PIN_PROGS, vg_object_types[which].program,
				   vg_object_program_fd(which, object));
out:
	bpf_object__close(object);
	return error;
}

/* The daemon opens its maps by the rights of bpffs; whoever cannot reach the directory cannot open them. */
static int maps_give(const struct vg_pin_root *root, const struct vg_options *options)
{
	char names[VG_PIN_CHANGES_MAX][VG_PIN_NAME_BYTES], path[VG_PIN_ROOT_BYTES_MAX + 1];
	int error = 0, count = vg_pin_list(root, VG_PIN_MAPS, names, VG_PIN_CHANGES_MAX);

	for (int i = 0; !error && i < count; i++)
		error = vg_pin_give(root, VG_PIN_MAPS, names[i], options->daemon_uid, options->daemon_gid);
	if (error || count < 0)
		return error ?: count;
	snprintf(path, sizeof(path), "%s", root->path);
	for (char *slash = path + strlen(path); slash > path; slash = strrchr(path, '/')) {
		struct stat directory;

		*slash = '\0';
		if (!stat(path[0] ? path : "/", &directory) && directory.st_uid != options->daemon_uid &&
		    !(directory.st_mode & S_IXOTH) &&
		    !(directory.st_gid == options->daemon_gid && directory.st_mode & S_IXGRP))
			fprintf(stderr,
				"virgo-agent: warning: the daemon's user cannot pass %s (mode %03o): chmod o+x it, "
				"or use a bpffs of its own\n",
				path, directory.st_mode & 0777);
	}
	return 0;
}

/* What the kernel does not take is said, and done without; pins of another layout are an error as everywhere. */
static int load_probes(struct vg_pin_root *root, const struct vg_options *options)
{
	bool adopted;

	vg_probes_configure(options);
	for (int which = VG_OBJECT_NETWORK_MAX; which < VG_OBJECT_MAX; which++) {
		int error = vg_probes_wanted(options, which) ? load_one(root, which, &adopted) : 0;

		if (error == -EPROTONOSUPPORT || error == -EEXIST)
			return error;
		if (error) {
			fprintf(stderr, "virgo-agent: warning: no telemetry from %s: %s\n",
				vg_object_types[which].program, vg_explanation());
			vg_explain_forget();
		}
	}
	return options->telemetry == VG_TELEMETRY_OFF ? 0 : vg_probes_attach(root, false);
}

/* Under the lock. */
static int load_locked(struct vg_pin_root *root, const struct vg_options *options, bool *ret_adopted)
{
	int error;

	*ret_adopted = false;
	error = vg_pin_layout_check(root);
	if (!error)
		error = vg_pin_directories_make(root);
	for (int which = 0; !error && which < VG_OBJECT_NETWORK_MAX; which++)
		error = load_one(root, which, ret_adopted);
	if (!error)
		error = load_probes(root, options);
	if (!error && options->daemon_user_given)
		error = maps_give(root, options);
	if (error)
		vg_pin_rollback(root);
	else
		vg_pin_commit(root);
	return error;
}

/* What every command that changes something starts with. */
static int begin(struct vg_pin_root *root, const struct vg_options *options, bool create)
{
	int error = vg_caps_require();

	if (!error)
		error = vg_pin_root_init(root, options->pin_root);
	if (!error)
		error = vg_pin_root_lock(root, create);
	return error;
}

int vg_command_load(const struct vg_options *options)
{
	struct vg_pin_root root;
	bool adopted;
	int error = begin(&root, options, true);

	if (error)
		return error;
	error = load_locked(&root, options, &adopted);
	vg_pin_root_unlock(&root);
	if (error)
		vg_probe_explain(stderr, error);
	else
		printf("%s %s/v%d\n", adopted ? "adopted" : "loaded", root.path, VG_LAYOUT_VERSION);
	return error;
}

/* ---- attach ---------------------------------------------------------------------------------------------------- */

static int interface_find(const char *interface, __u32 *ret_ifindex)
{
	*ret_ifindex = if_nametoindex(interface);
	return *ret_ifindex ? 0 : vg_explain(-ENODEV, "%s: no such interface in this network namespace", interface);
}

/* What one command attached, for the way back. */
struct made {
	struct vg_attachment attachments[2 * VG_INTERFACES_MAX];
	int count;
};

static void made_undo(const struct vg_pin_root *root, struct made *made)
{
	while (made->count > 0)
		(void)vg_attachment_remove(root, &made->attachments[--made->count], false);
}

/* XDP and, for a node's own interface, the egress program. */
static int attach_one(struct vg_pin_root *root, const struct vg_options *options, const char *interface,
		      struct made *made)
{
	enum vg_object which = options->pass_role ? VG_OBJECT_PASS : VG_OBJECT_INGRESS;
	struct vg_attachment xdp, egress = {};
	bool is_new;
	__u32 ifindex;
	int error;

	error = interface_find(interface, &ifindex);
	if (!error)
		error = vg_attach_xdp(root, which, ifindex, options->mode, &xdp, &is_new);
	if (error)
		return error;
	if (is_new)
		made->attachments[made->count++] = xdp;
	if (!options->pass_role && options->egress != VG_EGRESS_NONE)
		error = vg_attach_egress(root, ifindex, options->egress, &egress, &is_new);
	if (error)
		return error;
	if (egress.program[0] && is_new)
		made->attachments[made->count++] = egress;
	printf("%s: %s %s%s%s%s\n", interface, vg_object_types[which].program, vg_attachment_mode(&xdp),
	       egress.program[0] ? ", " : "", egress.program[0] ? egress.program : "",
	       egress.program[0] ? (egress.hook == VG_HOOK_TCX ? " tcx" : " clsact") : "");
	if ((xdp.hook == VG_HOOK_GENERIC || xdp.generic) && options->mode == VG_ATTACH_AUTO)
		fprintf(stderr, "virgo-agent: warning: %s has no native XDP for this: generic mode is slow\n",
			interface);
	return 0;
}

static int attach_locked(struct vg_pin_root *root, const struct vg_options *options)
{
	int error = vg_pin_present(root) ? 0 : vg_explain(-ENOENT, "nothing is loaded at %s: load first", root->path);
	struct made made = {};

	for (int i = 0; !error && i < options->interfaces_count; i++) {
		error = attach_one(root, options, options->interfaces[i], &made);
		if (!error)
			vg_pin_commit(root); /* from here on it is made_undo's */
	}
	if (error) {
		made_undo(root, &made);
		vg_pin_rollback(root);
	}
	return error;
}

int vg_command_attach(const struct vg_options *options)
{
	struct vg_pin_root root;
	int error = begin(&root, options, false);

	if (error)
		return error;
	error = attach_locked(&root, options);
	vg_pin_root_unlock(&root);
	return error;
}

int vg_control_start(struct vg_pin_root *root, const struct vg_options *options)
{
	bool adopted;
	int error = begin(root, options, true);

	if (error)
		return error;
	error = load_locked(root, options, &adopted);
	if (error)
		vg_probe_explain(stderr, error);
	else
		error = attach_locked(root, options);
	vg_pin_root_unlock(root);
	return error;
}

/* ---- detach and unload ----------------------------------------------------------------------------------------- */

static int detach_one(struct vg_pin_root *root, const char *interface)
{
	struct vg_attachment all[VG_ATTACHMENTS_MAX];
	int error, removed = 0, count = vg_attachments_list(root, all, VG_ATTACHMENTS_MAX);
	__u32 ifindex;

	error = count < 0 ? count : interface_find(interface, &ifindex);
	for (int i = 0; !error && i < count; i++) {
		if (!all[i].here || all[i].ifindex != ifindex)
			continue;
		error = vg_attachment_remove(root, &all[i], false);
		removed++;
	}
	if (!error && !removed)
		error = vg_explain(-ENOENT, "%s: nothing of ours is attached", interface);
	return error;
}

int vg_control_stop(struct vg_pin_root *root, const struct vg_options *options)
{
	int error = vg_pin_root_lock(root, false);

	if (error)
		return error;
	for (int i = 0; !error && i < options->interfaces_count; i++)
		error = detach_one(root, options->interfaces[i]);
	vg_pin_root_unlock(root);
	return error;
}

int vg_command_detach(const struct vg_options *options)
{
	struct vg_pin_root root;
	int error = vg_caps_require();

	if (!error)
		error = vg_pin_root_init(&root, options->pin_root);
	return error ? error : vg_control_stop(&root, options);
}

static int unload_locked(struct vg_pin_root *root, const struct vg_options *options)
{
	struct vg_attachment all[VG_ATTACHMENTS_MAX];
	int error, count;

	error = vg_pin_present(root) ? vg_pin_layout_check(root)
				     : vg_explain(-ENOENT, "nothing is loaded at %s", root->path);
	if (!error && !options->force && vg_lease_alive(root))
		error = vg_explain(-EBUSY, "a daemon is serving from %s: stop it first, or --force", root->path);
	if (error)
		return error;
	count = vg_attachments_list(root, all, VG_ATTACHMENTS_MAX);
	error = count < 0 ? count : 0;
	for (int i = 0; !error && i < count; i++)
		error = vg_attachment_remove(root, &all[i], options->force);
	return error ? error : vg_pin_tree_remove(root);
}

int vg_command_unload(const struct vg_options *options)
{
	struct vg_pin_root root;
	int error = begin(&root, options, false);

	if (error)
		return error;
	error = unload_locked(&root, options);
	vg_pin_root_unlock(&root);
	return error;
}
