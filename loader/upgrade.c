// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The upgrade: this agent's programs take the place of the pinned ones, on the same maps, everywhere they are attached.
 *
 * New programs are loaded and pinned in progs_next/, then every attachment is switched (each switch is atomic: a packet
 * sees the old program or the new one), then progs/ and progs_next/ change places. A failure before that last step
 * switches back what was switched, but for a program that has joined libxdp's dispatcher: that one stays.
 *
 * An agent that was killed half-way leaves a mixture of both programs attached, which the next upgrade finds: what is
 * attached may be a program of either directory.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "caps.h"
#include "control.h"
#include "dispatch.h"
#include "explain.h"
#include "objects.h"
#include "pin.h"
#include "probes.h"
#include "virgo/maps.h"

/* Programs by what they are for; descriptors or -1. */
struct programs {
	int fds[VG_OBJECT_MAX];
};

struct upgrade {
	struct vg_pin_root *root;
	const struct vg_options *options;
	struct programs old;	     /* of progs/ */
	struct programs interrupted; /* of an earlier progs_next/ */
	struct programs next;
	struct vg_attachment attachments[VG_ATTACHMENTS_MAX];
	int attachments_count;
};

static void programs_close(struct programs *programs)
{
	for (int which = 0; which < VG_OBJECT_MAX; which++) {
		if (programs->fds[which] >= 0)
			close(programs->fds[which]);
		programs->fds[which] = -1;
	}
}

static int programs_open(const struct vg_pin_root *root, enum vg_pin_directory directory, struct programs *programs)
{
	for (int which = 0; which < VG_OBJECT_MAX; which++) {
		programs->fds[which] = vg_pin_get(root, directory, vg_object_types[which].program);
		if (programs->fds[which] < 0 && programs->fds[which] != -ENOENT)
			return programs->fds[which];
	}
	return 0;
}

static __u32 program_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 info_bytes = sizeof(info);

	return fd >= 0 && !bpf_prog_get_info_by_fd(fd, &info, &info_bytes) ? info.id : 0;
}

static int next_load_one(struct upgrade *upgrade, enum vg_object which)
{
	struct bpf_object *object;
	int error = vg_object_open(upgrade->root, which, &object);

	if (error)
		return error;
	error = vg_object_load(which, object);
	if (!error)
		error = vg_object_pin_maps(upgrade->root, object);
	if (!error)
		error = vg_pin_put(upgrade->root, VG_PIN_PROGS_NEXT, vg_object_types[which].program,
				   vg_object_program_fd(which, object));
	bpf_object__close(object);
	return error;
}

/* Maps that the older agent did not have belong to whom the arena was given. */
static int maps_give(const struct vg_pin_root *root)
{
	char names[VG_PIN_CHANGES_MAX][VG_PIN_NAME_BYTES], path[VG_PIN_PATH_BYTES];
	int error = 0, count = vg_pin_list(root, VG_PIN_MAPS, names, VG_PIN_CHANGES_MAX);
	struct stat arena, map;

	vg_pin_path(root, VG_PIN_MAPS, VG_MAP_NAME(VG_MAP_ARENA), &path);
	if (count < 0 || stat(path, &arena))
		return count < 0 ? count : -errno;
	for (int i = 0; !error && i < count; i++) {
		vg_pin_path(root, VG_PIN_MAPS, names[i], &path);
		if (!stat(path, &map) && (map.st_uid != arena.st_uid || map.st_gid != arena.st_gid))
			error = vg_pin_give(root, VG_PIN_MAPS, names[i], arena.st_uid, arena.st_gid);
	}
	return error;
}

/* Load the new programs on the pinned maps, and pin them beside the old ones. */
static int next_load(struct upgrade *upgrade)
{
	int error = vg_pin_directory_make(upgrade->root, VG_PIN_PROGS_NEXT);

	for (int which = 0; !error && which < VG_OBJECT_MAX; which++) {
		if (!vg_probes_wanted(upgrade->options, which))
			continue;
		error = next_load_one(upgrade, which);
		if (error && which >= VG_OBJECT_NETWORK_MAX) { /* a node can do without probes */
			fprintf(stderr, "virgo-agent: warning: no telemetry from %s: %s\n",
				vg_object_types[which].program, vg_explanation());
			vg_explain_forget();
			error = 0;
		}
	}
	error = error ?: maps_give(upgrade->root);
	return error ?: programs_open(upgrade->root, VG_PIN_PROGS_NEXT, &upgrade->next);
}

/* Which of our programs an attachment runs: what it is for, and the descriptor. -EBUSY when it is none of them. */
static int attached_now(const struct upgrade *upgrade, const struct vg_attachment *attachment,
			enum vg_object *ret_which)
{
	for (int which = 0; which < VG_OBJECT_MAX; which++) {
		*ret_which = which;
		if (program_id(upgrade->old.fds[which]) == attachment->program_id)
			return upgrade->old.fds[which];
		if (program_id(upgrade->interrupted.fds[which]) == attachment->program_id)
			return upgrade->interrupted.fds[which];
	}
	return vg_explain(-EBUSY, "%s runs program %u, which is not ours", attachment->interface,
			  attachment->program_id);
}

/*
 * Inside a dispatcher the new instance joins before the old one leaves; libxdp makes each of the two steps atomic. In
 * between the first of them answers and the other one only sees what the first passed on.
 */
static int switch_dispatched(struct upgrade *upgrade, const struct vg_attachment *attachment)
{
	char name[VG_PIN_NAME_BYTES];
	int error, old_fd, new_fd;

	vg_attachment_name(attachment, &name);
	if (!attachment->here)
		return vg_explain(-EXDEV, "interface number %u belongs to network namespace %llu: upgrade there",
				  attachment->ifindex, (unsigned long long)attachment->netns);
	old_fd = vg_pin_get(upgrade->root, VG_PIN_LINKS, name);
	if (old_fd < 0)
		return old_fd;
	error = vg_dispatch_attach(upgrade->root, VG_OBJECT_INGRESS, attachment->ifindex, VG_ATTACH_AUTO, &new_fd);
	if (error)
		goto out_old;
	error = vg_pin_replace(upgrade->root, VG_PIN_LINKS, name, new_fd);
	if (error) {
		(void)vg_dispatch_detach(upgrade->root, new_fd, attachment->ifindex);
		goto out_new;
	}
	error = vg_dispatch_detach(upgrade->root, old_fd, attachment->ifindex);
out_new:
	close(new_fd);
out_old:
	close(old_fd);
	return error;
}

static int switch_one(struct upgrade *upgrade, const struct vg_attachment *attachment, bool back)
{
	enum vg_object which;
	int now;

	if (!attachment->alive)
		return 0;
	if (attachment->hook == VG_HOOK_DISPATCHER)
		/* The instance that is there was made from this agent's object: there is none to go back to. */
		return back ? 0 : switch_dispatched(upgrade, attachment);
	now = attached_now(upgrade, attachment, &which);
	if (now < 0)
		return now;
	if (back)
		return vg_attachment_replace(upgrade->root, attachment, upgrade->next.fds[which], now);
	return vg_attachment_replace(upgrade->root, attachment, now, upgrade->next.fds[which]);
}

static int switch_all(struct upgrade *upgrade)
{
	int done, error = 0;

	upgrade->attachments_count = vg_attachments_list(upgrade->root, upgrade->attachments, VG_ATTACHMENTS_MAX);
	if (upgrade->attachments_count < 0)
		return upgrade->attachments_count;
	for (done = 0; done < upgrade->attachments_count; done++) {
		error = switch_one(upgrade, &upgrade->attachments[done], false);
		if (error) {
			vg_explain(error, "%s: cannot replace the %s program: %s", upgrade->attachments[done].interface,
				   vg_hook_name(upgrade->attachments[done].hook), strerror(-error));
			break;
		}
	}
	if (!error) {
		error = vg_pin_programs_exchange(upgrade->root);
		if (error)
			vg_explain(error, "%s: cannot exchange the program pins: %s", upgrade->root->path,
				   strerror(-error));
	}
	while (error && --done >= 0)
		(void)switch_one(upgrade, &upgrade->attachments[done], true);
	return error;
}

static int upgrade_locked(struct upgrade *upgrade)
{
	int error;

	error = vg_pin_layout_check(upgrade->root);
	if (!error && !vg_pin_present(upgrade->root))
		error = vg_explain(-ENOENT, "nothing is loaded at %s: load first", upgrade->root->path);
	if (!error)
		error = programs_open(upgrade->root, VG_PIN_PROGS, &upgrade->old);
	if (!error)
		error = programs_open(upgrade->root, VG_PIN_PROGS_NEXT, &upgrade->interrupted);
	if (!error)
		error = vg_pin_directory_remove(upgrade->root, VG_PIN_PROGS_NEXT);
	if (!error)
		error = next_load(upgrade);
	if (!error)
		error = switch_all(upgrade);
	if (error) {
		vg_pin_rollback(upgrade->root);
		return error;
	}
	if (upgrade->options->telemetry == VG_TELEMETRY_OFF)
		vg_probes_detach(upgrade->root);
	error = vg_probes_attach(upgrade->root, true);
	vg_pin_commit(upgrade->root);
	if (error)
		return error;
	return vg_pin_directory_remove(upgrade->root, VG_PIN_PROGS_NEXT);
}

int vg_command_upgrade(const struct vg_options *options)
{
	struct vg_pin_root root;
	struct upgrade upgrade = {.root = &root, .options = options};
	int error = vg_caps_require();

	for (int which = 0; which < VG_OBJECT_MAX; which++)
		upgrade.old.fds[which] = upgrade.interrupted.fds[which] = upgrade.next.fds[which] = -1;
	vg_probes_configure(options);
	if (!error)
		error = vg_pin_root_init(&root, options->pin_root);
	if (!error)
		error = vg_pin_root_lock(&root, false);
	if (error)
		return error;
	error = upgrade_locked(&upgrade);
	for (int which = 0; !error && which < VG_OBJECT_MAX; which++) {
		if (upgrade.next.fds[which] < 0)
			continue;
		printf("%s: program %u -> %u\n", vg_object_types[which].program, program_id(upgrade.old.fds[which]),
		       program_id(upgrade.next.fds[which]));
	}
	programs_close(&upgrade.old);
	programs_close(&upgrade.interrupted);
	programs_close(&upgrade.next);
	vg_pin_root_unlock(&root);
	return error;
}
