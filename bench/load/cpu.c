// SPDX-License-Identifier: GPL-3.0-or-later
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cpu.h"

__u64 vg_bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000u + (__u64)now.tv_nsec;
}

/* The first number of schedstat is the time the thread has been on a processor, nanoseconds. */
static int thread_cpu_ns(pid_t process, const char *thread, __u64 *ret_ns)
{
	char path[80];
	unsigned long long ns;
	FILE *file;
	int found;

	snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", process, thread);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	found = fscanf(file, "%llu", &ns);
	fclose(file);
	if (found != 1)
		return -EIO;
	*ret_ns = ns;
	return 0;
}

int vg_bench_cpu_ns(pid_t process, pid_t thread, __u64 *ret_ns)
{
	char path[32], name[16];
	struct dirent *entry;
	__u64 ns, sum = 0;
	DIR *tasks;

	if (thread) {
		snprintf(name, sizeof(name), "%d", thread);
		return thread_cpu_ns(process, name, ret_ns);
	}
	snprintf(path, sizeof(path), "/proc/%d/task", process);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while ((entry = readdir(tasks)))
		if (entry->d_name[0] != '.' && thread_cpu_ns(process, entry->d_name, &ns) == 0)
			sum += ns;
	closedir(tasks);
	*ret_ns = sum;
	return 0;
}

int vg_bench_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET((unsigned int)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}
