// SPDX-License-Identifier: GPL-3.0-or-later
#include "node/exports.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <ini.h>

#include "base/log.h"
#include "base/number.h"
#include "virgo/file.h"

struct reading {
	struct vg_file_export_settings *export; /* VG_FILE_EXPORTS_MAX */
	__u32 count;
	const char *path;
	char *why;
	size_t why_bytes;
	int error;
};

/* Fills `why`; the first complaint stands. Always 0, which marks the line as wrong for inih. */
__attribute__((format(printf, 3, 4))) static int complain(struct reading *reading, int error, const char *format, ...)
{
	va_list arguments;
	int length;

	if (reading->error)
		return 0;
	reading->error = error;
	length = snprintf(reading->why, reading->why_bytes, "file-exports %s: ", reading->path);
	if (length < 0 || (size_t)length >= reading->why_bytes)
		return 0;
	va_start(arguments, format);
	vsnprintf(reading->why + length, reading->why_bytes - (size_t)length, format, arguments);
	va_end(arguments);
	return 0;
}

/* ---- values ---------------------------------------------------------------------------------------------------- */

static int set_key(struct vg_file_export_settings *export, const char *text)
{
	if (strlen(text) != 32 || strspn(text, "0123456789abcdefABCDEF") != 32)
		return -EINVAL;
	export->key[0] = export->key[1] = 0;
	for (int i = 0; i < 32; i++) {
		char c = text[i];
		int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;

		export->key[i / 16] = export->key[i / 16] << 4 | (__u64)digit;
	}
	export->keyed = true;
	return 0;
}

static int set_directory(struct vg_file_export_settings *export, const char *text)
{
	size_t length;

	while (*text == '/')
		text++;
	length = strlen(text);
	while (length && text[length - 1] == '/')
		length--;
	if (length >= sizeof(export->directory) || vg_file_path_check(text, (__u32)length))
		return -EINVAL;
	memcpy(export->directory, text, length);
	export->directory[length] = '\0';
	return 0;
}

static int set_switch(bool *target, const char *text)
{
	*target = !strcmp(text, "yes");
	return *target || !strcmp(text, "no") ? 0 : -EINVAL;
}

static int set_value(struct vg_file_export_settings *export, const char *name, const char *value)
{
	if (!strcmp(name, "key"))
		return set_key(export, value);
	if (!strcmp(name, "directory"))
		return set_directory(export, value);
	if (!strcmp(name, "read-only"))
		return set_switch(&export->read_only, value);
	if (!strcmp(name, "quota-bytes"))
		return vg_size_parse(value, 1ULL << 60, &export->quota_bytes);
	if (!strcmp(name, "quota-files"))
		return vg_number_parse(value, 1ULL << 60, &export->quota_files);
	return -ENOENT;
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

static struct vg_file_export_settings *section_of(struct reading *reading, const char *name)
{
	struct vg_file_export_settings *export;

	for (__u32 i = 0; i < reading->count; i++)
		if (!strcmp(reading->export[i].name, name))
			return &reading->export[i];
	if (reading->count == VG_FILE_EXPORTS_MAX) {
		complain(reading, -E2BIG, "more than %d exports", VG_FILE_EXPORTS_MAX);
		return NULL;
	}
	export = &reading->export[reading->count];
	if (!name[0] || strlen(name) >= sizeof(export->name)) {
		complain(reading, -EINVAL, name[0] ? "a name is too long" : "a key before the first [name]");
		return NULL;
	}
	reading->count++;
	memcpy(export->name, name, strlen(name) + 1);
	return export;
}

/* inih's handler: 1 goes on, 0 marks the line as wrong. */
static int on_line(void *user, const char *section, const char *name, const char *value)
{
	struct reading *reading = user;
	struct vg_file_export_settings *export = reading->error ? NULL : section_of(reading, section);
	int error;

	if (!export)
		return 0;
	error = set_value(export, name, value);
	if (error == -ENOENT)
		return complain(reading, -EINVAL, "unknown key '%s' in [%s]", name, section);
	if (error) /* a value may be a secret: it is not repeated */
		return complain(reading, -EINVAL, "the value of '%s' in [%s] is not valid", name, section);
	return 1;
}

/* Two that cannot be told apart, or contradict each other. */
static void check_together(struct reading *reading)
{
	for (__u32 i = 0; i < reading->count; i++)
		for (__u32 k = 0; k < i; k++) {
			const struct vg_file_export_settings *a = &reading->export[k], *b = &reading->export[i];

			if (a->keyed == b->keyed && (!a->keyed || !memcmp(a->key, b->key, sizeof(a->key))))
				complain(reading, -EINVAL, "[%s] and [%s] have the same key", a->name, b->name);
			if (!strcmp(a->directory, b->directory) &&
			    ((a->quota_bytes && b->quota_bytes && a->quota_bytes != b->quota_bytes) ||
			     (a->quota_files && b->quota_files && a->quota_files != b->quota_files)))
				complain(reading, -EINVAL, "[%s] and [%s] give one directory different quotas", a->name,
					 b->name);
		}
}

int vg_exports_read(const char *path, struct vg_file_export_settings **ret_exports, __u32 *ret_count, char *why,
		    size_t why_bytes)
{
	struct reading reading = { .path = path, .why = why, .why_bytes = why_bytes };
	struct stat status;
	int line;

	reading.export = calloc(VG_FILE_EXPORTS_MAX, sizeof(*reading.export));
	if (!reading.export)
		return -ENOMEM;
	errno = 0;
	line = ini_parse(path, on_line, &reading);
	if (line == -1)
		complain(&reading, errno ? -errno : -EIO, "%s", strerror(errno ? errno : EIO));
	else if (line && !reading.error)
		complain(&reading, -EINVAL, "line %d is not understood", line);
	check_together(&reading);
	if (!reading.error && stat(path, &status) == 0 && status.st_mode & 077)
		vg_log(VG_LOG_WARNING, "list of exports is readable by others", "path=%s mode=%03o", path,
		       status.st_mode & 0777);
	if (reading.error) {
		free(reading.export);
		return reading.error;
	}
	*ret_exports = reading.export;
	*ret_count = reading.count;
	return 0;
}
