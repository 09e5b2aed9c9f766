/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For the tests of the agent.
 *
 *   agent_flood lease MAPS SECONDS
 *       Stand in for the daemon: write an arena header, a configuration with the default port and a lease into the maps
 *       pinned in the directory MAPS, so that XDP answers pings for so long.
 *   agent_flood update LINK PROGRAM
 *       Let the pinned link run the pinned program, as somebody who does not know the agent might.
 *   agent_flood pings ADDRESS SECONDS WINDOW
 *       Keep WINDOW pings under way for SECONDS or until SIGTERM, wait for the last answers, and print "SENT LOST". Nothing is sent
 *       twice, so a single packet that XDP did not answer shows.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "virgo/maps.h"
#include "virgo/wire.h"

#define STRAGGLERS_MS 1000 /* without any answer for so long, what is missing is lost */

static void expect(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static __u64 monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000 + (__u64)now.tv_nsec;
}

/* ---- the daemon's part ------------------------------------------------------------------------------------------- */

static int pin_open(const char *path)
{
	union bpf_attr attributes = {.pathname = (__u64)(unsigned long)path};
	int fd = (int)syscall(__NR_bpf, BPF_OBJ_GET, &attributes, sizeof(attributes));

	expect(fd >= 0, path);
	return fd;
}

static int update(const char *link, const char *program)
{
	union bpf_attr attributes = {.link_update = {.link_fd = pin_open(link), .new_prog_fd = pin_open(program)}};

	expect(!syscall(__NR_bpf, BPF_LINK_UPDATE, &attributes, sizeof(attributes)), "update");
	return 0;
}

/* An arena is mapped whole or not at all. */
static void *map_open(const char *maps, const char *name, __u64 address, size_t bytes)
{
	char path[512];
	void *memory;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", maps, name);
	fd = pin_open(path);
	memory = mmap((void *)address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect(memory != MAP_FAILED, path);
	close(fd);
	return memory;
}

static int lease(const char *maps, int seconds)
{
	struct vg_arena_header *arena = map_open(maps, VG_MAP_NAME(VG_MAP_ARENA), VG_ARENA_ADDRESS, VG_ARENA_PAGES * 4096UL);
	struct vg_config *config = map_open(maps, VG_MAP_NAME(VG_MAP_CONFIG), 0, 4096);
	struct vg_local *local = map_open(maps, VG_MAP_NAME(VG_MAP_LOCAL), 0, 4096);

	*arena = (struct vg_arena_header){.magic = VG_ARENA_MAGIC, .layout_version = VG_LAYOUT_VERSION, .size_pages = 1};
	*config = (struct vg_config){.nodes = 1, .epoch = 1, .budget_per_ms = 1000000, .port_mem = VG_HTOBE16(VG_PORT_MEM)};
	local->lease_until_ns = monotonic_ns() + (__u64)seconds * 1000000000;
	return 0;
}

/* ---- the client's part ------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t told_to_end;

static void on_sigterm(int signal_number)
{
	told_to_end = signal_number;
}

static void ping_send(int fd, __u64 sequence)
{
	const struct vg_wire_header ping = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = VG_OP_PING,
		.client = VG_HTOBE64(0x5649524741),
		.sequence = VG_HTOBE64(sequence),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
	};

	expect(send(fd, &ping, sizeof(ping), 0) == sizeof(ping), "send");
}

/* Count the answers that are there. */
static __u64 answers_take(int fd)
{
	struct vg_wire_header answer;
	__u64 taken = 0;

	while (recv(fd, &answer, sizeof(answer), MSG_DONTWAIT) == sizeof(answer)) {
		if (answer.magic == VG_HTOBE16(VG_WIRE_MAGIC) && answer.opcode == VG_OP_PING &&
		    answer.flags & VG_HTOBE16(VG_FLAG_REPLY) && answer.status == VG_STATUS_OK)
			taken++;
	}
	/* Nobody listens on the port: what XDP lets through comes back as an error, and is lost. */
	expect(errno == EAGAIN || errno == ECONNREFUSED, "recv");
	return taken;
}

static int pings(const char *address, int seconds, __u64 window)
{
	struct sockaddr_in node = {.sin_family = AF_INET, .sin_port = htons(VG_PORT_MEM)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	__u64 end_ns = monotonic_ns() + (__u64)seconds * 1000000000, sent = 0, answered = 0;
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	signal(SIGTERM, on_sigterm);
	expect(inet_pton(AF_INET, address, &node.sin_addr) == 1, address);
	expect(!connect(fd, (struct sockaddr *)&node, sizeof(node)), "connect");
	for (;;) {
		while (sent - answered < window && !told_to_end && monotonic_ns() < end_ns)
			ping_send(fd, ++sent);
		if (sent == answered)
			break;
		errno = 0;
		if (poll(&wait, 1, STRAGGLERS_MS) <= 0 && errno != EINTR)
			break;
		answered += answers_take(fd);
	}
	printf("%llu %llu\n", (unsigned long long)sent, (unsigned long long)(sent - answered));
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "lease"))
		return lease(argv[2], (int)strtol(argv[3], NULL, 10));
	if (argc == 4 && !strcmp(argv[1], "update"))
		return update(argv[2], argv[3]);
	if (argc == 5 && !strcmp(argv[1], "pings"))
		return pings(argv[2], (int)strtol(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	fprintf(stderr, "usage: agent_flood lease MAPS SECONDS | update LINK PROGRAM | pings ADDRESS SECONDS WINDOW\n");
	return 2;
}
