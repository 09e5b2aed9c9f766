/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A node's status for people, for programs, and for Prometheus. Nothing here asks the kernel anything. */
#ifndef VG_LOADER_REPORT_H
#define VG_LOADER_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "status.h"

void vg_report_table(FILE *out, const struct vg_node_status *status);

/* A new reference, or NULL when memory is out. */
json_t *vg_report_json(const struct vg_node_status *status);

/* Prometheus' text format, version 0.0.4. */
void vg_report_metrics(FILE *out, const struct vg_node_status *status);

#endif
