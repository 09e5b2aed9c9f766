/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the programs are attached. Each place is one entry in links/, named <hook>_<network namespace>_<ifindex>
 * (bpffs allows no dots, so interface names cannot be used):
 *
 *     native, generic   an XDP link: the interface had no other XDP program
 *     dispatcher        our program inside libxdp's dispatcher, beside others
 *     tcx               a tcx link
 *     clsact            our program as a tc filter, where the kernel has no tcx
 *
 * The first two and tcx are BPF links: unlinking detaches them from any network namespace, nothing else can replace
 * them by accident, and an interface that goes away leaves a link that is known to be dead. For the other two the entry
 * pins the program, and they are reached from their own network namespace only.
 */
#ifndef VG_LOADER_ATTACH_H
#define VG_LOADER_ATTACH_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>

#include "objects.h"
#include "pin.h"

#define VG_ATTACHMENTS_MAX 256 /* one machine's interfaces, twice */

enum vg_hook {
	VG_HOOK_NATIVE,
	VG_HOOK_GENERIC,
	VG_HOOK_DISPATCHER,
	VG_HOOK_TCX,
	VG_HOOK_CLSACT,
	VG_HOOK_MAX,
};

enum vg_attach_mode {
	VG_ATTACH_AUTO, /* native, and generic where that is refused */
	VG_ATTACH_NATIVE,
	VG_ATTACH_GENERIC,
};

enum vg_egress_mode {
	VG_EGRESS_AUTO, /* tcx, and clsact where the kernel has none */
	VG_EGRESS_TCX,
	VG_EGRESS_CLSACT,
	VG_EGRESS_NONE,
};

struct vg_attachment {
	enum vg_hook hook;
	__u64 netns;	  /* inode of the network namespace */
	__u32 ifindex;	  /* in that namespace */
	bool here;	  /* that is the caller's own namespace */
	bool alive;	  /* the interface still exists */
	bool generic;	  /* a dispatcher in generic mode */
	__u32 program_id; /* what is attached now; 0: not known */
	char program[16];
	char interface[IF_NAMESIZE]; /* "" when it is not here or gone */
};

const char *vg_hook_name(enum vg_hook hook);
/* The hook's name; a dispatcher that does not run in the driver says so. */
const char *vg_attachment_mode(const struct vg_attachment *attachment);
bool vg_hook_is_xdp(enum vg_hook hook);
bool vg_hook_is_link(enum vg_hook hook); /* the entry is a BPF link, else it pins the program */

/* 0, or -EINVAL for a name that is none of ours. Pure. */
int vg_attachment_parse(const char *name, struct vg_attachment *ret_attachment);
void vg_attachment_name(const struct vg_attachment *attachment, char (*ret_name)[VG_PIN_NAME_BYTES]);

/* All entries of links/, at most `attachments_max`. Returns how many, or a negative errno. */
int vg_attachments_list(const struct vg_pin_root *root, struct vg_attachment *ret_attachments, int attachments_max);

/*
 * Attach the pinned program `which` to an interface of this network namespace. An interface that already has it is
 * left alone. -EBUSY when somebody else's XDP program is there and cannot be joined; it stays as it is. On success
 * *ret_attachment says where it is now, and *ret_made whether this call did it.
 */
int vg_attach_xdp(struct vg_pin_root *root, enum vg_object which, __u32 ifindex, enum vg_attach_mode mode,
		  struct vg_attachment *ret_attachment, bool *ret_made);
int vg_attach_egress(struct vg_pin_root *root, __u32 ifindex, enum vg_egress_mode mode,
		     struct vg_attachment *ret_attachment, bool *ret_made);

/*
 * Take one off its interface and forget its entry. -EXDEV for one that is no link and belongs to another network
 * namespace, which may have gone long ago; with `forget` its entry is dropped without looking.
 */
int vg_attachment_remove(const struct vg_pin_root *root, const struct vg_attachment *attachment, bool forget);

/*
 * Let `new_fd` take the place of `old_fd` without a packet in between that sees neither. -EPERM or -EBUSY when
 * something else than `old_fd` is attached. Not for VG_HOOK_DISPATCHER.
 */
int vg_attachment_replace(struct vg_pin_root *root, const struct vg_attachment *attachment, int old_fd, int new_fd);

/* The inode of this network namespace. */
__u64 vg_netns_inode(void);

#endif
