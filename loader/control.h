/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The commands that change something, under the lock. They do all they were asked or leave all as it was; detach and
 * unload, which only take away, stop where they fail and can be repeated.
 */
#ifndef VG_LOADER_CONTROL_H
#define VG_LOADER_CONTROL_H

#include "options.h"

/* All return 0 or a negative errno, explained. */
int vg_command_load(const struct vg_options *options);
int vg_command_attach(const struct vg_options *options);
int vg_command_detach(const struct vg_options *options);
int vg_command_unload(const struct vg_options *options);
int vg_command_upgrade(const struct vg_options *options);

/* Load, and attach to the interfaces that were named; *root is left initialised and unlocked. */
int vg_control_start(struct vg_pin_root *root, const struct vg_options *options);
/* Detach from the interfaces that were named, as far as that is possible. */
int vg_control_stop(struct vg_pin_root *root, const struct vg_options *options);

#endif
