/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawn/spawn.h"

static int parent_fd = -1;
static bool limits; /* the controllers we need are there; without them a cgroup still ends as one */

static bool has_word(const char *text, const char *word)
{
	const char *at = strstr(text, word);
	size_t length = strlen(word);

	return at && (at == text || at[-1] == ' ') && (!at[length] || at[length] == ' ' || at[length] == '\n');
}

static int write_file(int directory, const char *name, const char *text)
{
	int fd = openat(directory, name, O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		error = -errno;
	close(fd);
	return error;
}

void cgroup_init(const char *directory)
{
	char controllers[512] = "";
	int fd;

	if (!directory)
		return;
	parent_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = parent_fd < 0 ? -1 : openat(parent_fd, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (read(fd, controllers, sizeof(controllers) - 1) < 0)
		controllers[0] = '\0';
	close(fd);
	limits = has_word(controllers, "memory") && has_word(controllers, "pids") && has_word(controllers, "cpu") &&
		 !write_file(parent_fd, "cgroup.subtree_control", "+memory +pids +cpu");
}

static void name_of(uint64_t job, char *name, size_t bytes)
{
	snprintf(name, bytes, "job-%016llx", (unsigned long long)job);
}

static void set_limits(int fd, const struct vg_spawn_message *message)
{
	char text[64];

	if (message->memory_bytes) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)message->memory_bytes);
		(void)write_file(fd, "memory.max", text);
		(void)write_file(fd, "memory.swap.max", "0");
	}
	if (message->processes) {
		snprintf(text, sizeof(text), "%u", message->processes);
		(void)write_file(fd, "pids.max", text);
	}
	if (message->cpu_permille) {
		snprintf(text, sizeof(text), "%llu 100000", message->cpu_permille * 100ull);
		(void)write_file(fd, "cpu.max", text);
	}
}

int cgroup_make(const struct vg_spawn_message *message)
{
	char name[32];
	int fd;

	if (parent_fd < 0 || message->flags & VG_SPAWN_WORKER)
		return -1;
	/* Without controllers the limits are the child's own: then a cgroup is made by none. */
	if (!limits && (message->memory_bytes || message->processes || message->cpu_permille))
		return -1;
	name_of(message->job, name, sizeof(name));
	if (mkdirat(parent_fd, name, 0755) && errno != EEXIST)
		return -1;
	fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		set_limits(fd, message);
	return fd;
}

void cgroup_remove(uint64_t job)
{
	char name[64];

	if (parent_fd < 0)
		return;
	name_of(job, name, sizeof(name));
	strncat(name, "/cgroup.kill", sizeof(name) - strlen(name) - 1);
	(void)write_file(parent_fd, name, "1");
	*strchr(name, '/') = '\0';
	/* What was killed just now leaves in a moment. */
	for (int tries = 0; unlinkat(parent_fd, name, AT_REMOVEDIR) && errno == EBUSY && tries < 50; tries++)
		usleep(1000);
}
