// SPDX-License-Identifier: GPL-3.0-or-later
#include "host.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_text(const char *path, char *text, size_t bytes)
{
	FILE *file = fopen(path, "re");
	size_t length = file ? fread(text, 1, bytes - 1, file) : 0;

	text[length] = '\0';
	if (file)
		fclose(file);
	return length > 0;
}

static __u64 number_behind(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

void vg_host_parse_pressure(const char *text, struct vg_pressure *ret_pressure)
{
	const char *some = strstr(text, "some"), *full = strstr(text, "full");

	ret_pressure->some_us = some ? number_behind(some, "total=") : 0;
	ret_pressure->full_us = full ? number_behind(full, "total=") : 0;
}

static __u32 permille(__u64 before_us, __u64 now_us, __u64 elapsed_ns)
{
	__u64 share = elapsed_ns && now_us > before_us ? (now_us - before_us) * 1000000 / elapsed_ns : 0;

	return share > 1000 ? 1000 : (__u32)share;
}

static void read_pressure(const char *path, struct vg_pressure *pressure, __u64 elapsed_ns)
{
	struct vg_pressure before = *pressure;
	char text[512];

	if (!read_text(path, text, sizeof(text)))
		return; /* a kernel without PSI */
	vg_host_parse_pressure(text, pressure);
	pressure->some_permille = permille(before.some_us, pressure->some_us, elapsed_ns);
	pressure->full_permille = permille(before.full_us, pressure->full_us, elapsed_ns);
}

void vg_host_read(struct vg_host *host, __u64 now_ns)
{
	/* There is nothing to compare the first reading with. */
	__u64 elapsed_ns = host->updated_ns ? now_ns - host->updated_ns : 0;
	char text[2048];

	if (read_text("/proc/meminfo", text, sizeof(text))) {
		host->memory_bytes = 1024 * number_behind(text, "MemTotal:");
		host->memory_available_bytes = 1024 * number_behind(text, "MemAvailable:");
	}
	read_pressure("/proc/pressure/cpu", &host->cpu, elapsed_ns);
	read_pressure("/proc/pressure/memory", &host->memory, elapsed_ns);
	read_pressure("/proc/pressure/io", &host->io, elapsed_ns);
	host->updated_ns = now_ns;
}
