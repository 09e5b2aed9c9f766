/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What VIRGO needs of the kernel, each thing found by trying it, with the message a person needs when it is missing. */
#ifndef VG_LOADER_PROBE_H
#define VG_LOADER_PROBE_H

#include <stdio.h>

#include "options.h"

/*
 * Try everything, and native XDP on the interfaces that were named; print a line each (or JSON). 0, or -EOPNOTSUPP when
 * something that VIRGO cannot do without is missing.
 */
int vg_command_probe(const struct vg_options *options);

/* After a failed load: print the message of each required thing that is missing, unless `error` explains itself. */
void vg_probe_explain(FILE *out, int error);

#endif
