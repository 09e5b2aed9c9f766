/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The list of exports of the file pool: which key lets in where, and with how much room. */
#ifndef VG_NODE_EXPORTS_H
#define VG_NODE_EXPORTS_H

#include "svc/svc.h"

/*
 * An INI file with one section an export:
 *
 *     [alice]                 its name, for people
 *     key = 0123…cdef         32 hex digits; without: whoever sends no tag
 *     directory = home/alice  of the pool; without: all of it
 *     read-only = yes
 *     quota-bytes = 10g       of the directory, whoever writes there; without: no limit
 *     quota-files = 100000
 *
 * *ret_exports is the caller's to free(). 0, -EINVAL, -E2BIG, -ENOMEM or what open(2) says; `why` gets the sentence.
 */
int vg_exports_read(const char *path, struct vg_file_export_settings **ret_exports, __u32 *ret_count, char *why,
		    size_t why_bytes);

#endif
