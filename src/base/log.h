/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Structured log: a fixed event text and fields as key=value, to stderr or to journald. Any thread; one line is one
 * write. Not for the data path: what happens a thousand times a second is counted, not logged.
 *
 *     vg_log(VG_LOG_INFO, "listening", "service=%s address=%s", name, address);
 */
#ifndef VG_BASE_LOG_H
#define VG_BASE_LOG_H

#include <stdbool.h>

/* Numbers are syslog's priorities. */
enum vg_log_level {
	VG_LOG_ERROR = 3,
	VG_LOG_WARNING = 4,
	VG_LOG_NOTICE = 5,
	VG_LOG_INFO = 6,
	VG_LOG_DEBUG = 7,
};

enum vg_log_target {
	VG_LOG_AUTO = 0, /* journald when stderr is connected to it, else stderr */
	VG_LOG_STDERR,
	VG_LOG_JOURNAL,
};

/* 0 or -EINVAL for a name that is none. */
int vg_log_level_parse(const char *name, enum vg_log_level *ret_level);
int vg_log_target_parse(const char *name, enum vg_log_target *ret_target);

void vg_log_configure(enum vg_log_level level, enum vg_log_target target);

/* `fields` may be NULL. Values with spaces are the caller's to quote. */
void vg_log(enum vg_log_level level, const char *event, const char *fields, ...) __attribute__((format(printf, 3, 4)));

#endif
