/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-journal.h>

#include "base/log.h"

#define LINE_MAX_BYTES 1024

static const char *const level_names[] = {
	[VG_LOG_ERROR] = "error", [VG_LOG_WARNING] = "warning", [VG_LOG_NOTICE] = "notice",
	[VG_LOG_INFO] = "info",	  [VG_LOG_DEBUG] = "debug",
};
static const char *const target_names[] = {
	[VG_LOG_AUTO] = "auto",
	[VG_LOG_STDERR] = "stderr",
	[VG_LOG_JOURNAL] = "journal",
};

/* Written by vg_log_configure at start and on reload, read by every thread. */
static enum vg_log_level log_level = VG_LOG_INFO;
static bool to_journal;

static int name_index(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return i;
	return -EINVAL;
}

int vg_log_level_parse(const char *name, enum vg_log_level *ret_level)
{
	int index = name_index(level_names, sizeof(level_names) / sizeof(level_names[0]), name);

	if (index < 0)
		return index;
	*ret_level = (enum vg_log_level)index;
	return 0;
}

int vg_log_target_parse(const char *name, enum vg_log_target *ret_target)
{
	int index = name_index(target_names, sizeof(target_names) / sizeof(target_names[0]), name);

	if (index < 0)
		return index;
	*ret_target = (enum vg_log_target)index;
	return 0;
}

/* systemd says in JOURNAL_STREAM which device and inode its own stderr stream has. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &status) == 0 &&
	       status.st_dev == device && status.st_ino == inode;
}

void vg_log_configure(enum vg_log_level level, enum vg_log_target target)
{
	__atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
	__atomic_store_n(&to_journal, target == VG_LOG_JOURNAL || (target == VG_LOG_AUTO && stderr_is_journal()),
			 __ATOMIC_RELAXED);
}

static void write_stderr(enum vg_log_level level, const char *event, const char *fields)
{
	char line[LINE_MAX_BYTES + 128], stamp[32];
	struct timespec now;
	struct tm parts;
	int length;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
	length = snprintf(line, sizeof(line), "%s.%03ldZ %s %s%s%s\n", stamp, now.tv_nsec / 1000000, level_names[level],
			  event, fields[0] ? " " : "", fields);
	if (length >= (int)sizeof(line)) {
		length = sizeof(line);
		line[length - 1] = '\n';
	}
	/* A log that cannot be written has nobody to complain to. */
	(void)!write(STDERR_FILENO, line, (size_t)length);
}

void vg_log(enum vg_log_level level, const char *event, const char *fields, ...)
{
	char text[LINE_MAX_BYTES] = "";
	va_list arguments;

	if (level > __atomic_load_n(&log_level, __ATOMIC_RELAXED))
		return;
	if (fields) {
		va_start(arguments, fields);
		vsnprintf(text, sizeof(text), fields, arguments);
		va_end(arguments);
	}
	/* A newline inside a value must not forge a second line. */
	for (char *at = text; *at; at++)
		if (*at == '\n' || *at == '\r')
			*at = ' ';
	if (__atomic_load_n(&to_journal, __ATOMIC_RELAXED))
		sd_journal_send("MESSAGE=%s%s%s", event, text[0] ? " " : "", text, "PRIORITY=%d", level,
				"VIRGO_EVENT=%s", event, "VIRGO_FIELDS=%s", text, NULL);
	else
		write_stderr(level, event, text);
}
