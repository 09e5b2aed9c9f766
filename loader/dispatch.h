/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libxdp's dispatcher: several XDP programs on one interface, where the kernel can replace functions (freplace). */
#ifndef VG_LOADER_DISPATCH_H
#define VG_LOADER_DISPATCH_H

#include <linux/types.h>
#include <stdbool.h>

#include "attach.h"
#include "objects.h"

/* Whether the kernel takes a program in the place of another's function; tried, not looked up. 0 or -EOPNOTSUPP. */
int vg_dispatch_try(void);

/*
 * Put a new instance of the program, on the pinned maps, into the interface's dispatcher (made if there is none).
 * Returns its descriptor in *ret_fd. -EOPNOTSUPP: no dispatcher here, nothing was changed.
 */
int vg_dispatch_attach(const struct vg_pin_root *root, enum vg_object which, __u32 ifindex, enum vg_attach_mode mode,
		       int *ret_fd);
int vg_dispatch_detach(const struct vg_pin_root *root, int fd, __u32 ifindex);

/* libxdp's own words go to stderr, or nowhere. */
void vg_dispatch_verbose(int verbose);

#endif
