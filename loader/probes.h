/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The probes: programs on tracepoints of the scheduler and the block layer, which measure the whole machine and belong
 * to no interface. Their links are pinned in links/ as probe_<program>. A node can do without them, so that what the
 * kernel does not have is said and passed over.
 */
#ifndef VG_LOADER_PROBES_H
#define VG_LOADER_PROBES_H

#include "objects.h"
#include "options.h"
#include "pin.h"

/* Decide from the kernel's types how waiting for a CPU is measured, unless the options say. Before any is opened. */
void vg_probes_configure(const struct vg_options *options);
/* Whether this probe is to be loaded at all. */
bool vg_probes_wanted(const struct vg_options *options, enum vg_object which);

/* Attach each probe that is pinned in progs/; with `again` also those that are attached, in the old ones' place. */
int vg_probes_attach(struct vg_pin_root *root, bool again);

void vg_probes_detach(const struct vg_pin_root *root);

/* The program a probe's link runs, or 0. */
__u32 vg_probe_attached(const struct vg_pin_root *root, enum vg_object which);

/* Load a program for one tracepoint, attach it for a moment: 0 or a negative errno. */
int vg_probe_try(const char *tracepoint);

#endif
