/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The agent as a service: load, attach, then answer /metrics, /status and /healthz until it is told to end. */
#ifndef VG_LOADER_TELEMETRY_H
#define VG_LOADER_TELEMETRY_H

#include "options.h"

int vg_command_run(const struct vg_options *options);
int vg_command_status(const struct vg_options *options);

#endif
