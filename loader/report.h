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

/* The nodes with what is known of their load: /nodes, and a part of the above. */
json_t *vg_report_nodes(const struct vg_node_status *status);

/* What the three have in common. */
struct vg_reason_words {
	const char *name, *verdict, *text;
};
extern const struct vg_reason_words vg_report_reasons[VG_REASON_MAX];
extern const char *const vg_load_names[VG_LOADS_MAX]; /* services by VG_LOAD_*; NULL: not used */
const char *vg_report_lower(const char *name, char (*buffer)[32]);
const char *vg_report_interface(const struct vg_attachment *attachment, char (*buffer)[48]);
double vg_report_age_s(const struct vg_node_status *status, __u64 then_ns);

/* Prometheus' text format, version 0.0.4. */
void vg_report_metrics(FILE *out, const struct vg_node_status *status);

#endif
