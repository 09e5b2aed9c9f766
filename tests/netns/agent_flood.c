/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * For the tests of the agent.
 *
 *   agent_flood lease MAPS SECONDS
 *       Stand in for the daemon: write an arena header, a configuration with the default port and a lease into the maps
 *       pinned in the directory MAPS, so that XDP answers pings for so long.
 *   agent_flood update LINK PROGRAM
 *       Let the pinned link run the pinned program, as somebody who does not know the agent might.
 *   agent_flood flood ADDRESS SECONDS WINDOW [KEY VALUE]
 *       Keep WINDOW pings (or GETs of KEY) under way for SECONDS or until SIGTERM, wait for the last answers, and print
 *       "SENT LOST". Nothing is sent twice, so a single packet that is not answered, or not with VALUE, shows.
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

#include "virgo/hash.h"
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

/* ---- the daemon's part ----------------------------------------------------------------------------------------- */

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
	struct vg_arena_header *arena =
		map_open(maps, VG_MAP_NAME(VG_MAP_ARENA), VG_ARENA_ADDRESS, VG_ARENA_PAGES * 4096UL);
	struct vg_config *config = map_open(maps, VG_MAP_NAME(VG_MAP_CONFIG), 0, 4096);
	struct vg_local *local = map_open(maps, VG_MAP_NAME(VG_MAP_LOCAL), 0, 4096);

	*arena = (struct vg_arena_header){ .magic = VG_ARENA_MAGIC,
					   .layout_version = VG_LAYOUT_VERSION,
					   .size_pages = 1 };
	*config = (struct vg_config){
		.nodes = 1, .epoch = 1, .budget_per_ms = 1000000, .port_mem = VG_HTOBE16(VG_PORT_MEM)
	};
	local->lease_until_ns = monotonic_ns() + (__u64)seconds * 1000000000;
	return 0;
}

/* ---- the client's part ----------------------------------------------------------------------------------------- */

static volatile sig_atomic_t told_to_end;

static void on_sigterm(int signal_number)
{
	told_to_end = signal_number;
}

/* What is sent, again and again with another sequence, and what must come back. */
struct exchange {
	union {
		struct vg_wire_header header;
		char bytes[VG_DATAGRAM_MAX];
	} request;
	size_t request_bytes;
	const char *value;
	size_t value_bytes;
};

static void exchange_init(struct exchange *exchange, const char *key, const char *value)
{
	struct vg_wire_header *header = &exchange->request.header;
	size_t key_bytes = strlen(key);

	memset(exchange, 0, sizeof(*exchange));
	exchange->value = value;
	exchange->value_bytes = strlen(value);
	expect(key_bytes <= VG_XDP_KEY_MAX && exchange->value_bytes <= VG_XDP_VALUE_MAX, "key or value too long");
	/* Padded so that the answer fits. */
	exchange->request_bytes = sizeof(*header) + VG_ALIGN_UP(key_bytes, 8UL) + exchange->value_bytes;
	*header = (struct vg_wire_header){
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = key_bytes ? VG_OP_GET : VG_OP_PING,
		.client = VG_HTOBE64(0x5649524741),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.partition = key_bytes ? VG_HTOBE16(vg_partition_of(key, key_bytes)) : 0,
		.ident = key_bytes ? VG_HTOBE64(vg_hash64(key, key_bytes)) : 0,
		.key_length = VG_HTOBE32((__u32)key_bytes),
	};
	memcpy(header + 1, key, key_bytes);
}

static void request_send(int fd, struct exchange *exchange, __u64 sequence)
{
	exchange->request.header.sequence = VG_HTOBE64(sequence);
	expect(send(fd, &exchange->request, exchange->request_bytes, 0) == (ssize_t)exchange->request_bytes, "send");
}

static int answer_is_right(const struct exchange *exchange, const struct vg_wire_header *answer, size_t bytes)
{
	return bytes >= sizeof(*answer) + exchange->value_bytes && answer->magic == VG_HTOBE16(VG_WIRE_MAGIC) &&
	       answer->opcode == exchange->request.header.opcode && answer->flags & VG_HTOBE16(VG_FLAG_REPLY) &&
	       answer->status == VG_STATUS_OK && VG_BE32TOH(answer->body_length) == exchange->value_bytes &&
	       !memcmp(answer + 1, exchange->value, exchange->value_bytes);
}

/* Count the answers that are there. */
static __u64 answers_take(int fd, const struct exchange *exchange)
{
	union {
		struct vg_wire_header header;
		char bytes[VG_DATAGRAM_MAX];
	} answer;
	__u64 taken = 0;
	ssize_t bytes;

	while ((bytes = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT)) >= 0)
		taken += answer_is_right(exchange, &answer.header, (size_t)bytes);
	/* Where nobody listens on the port, what XDP lets through comes back as an error, and is lost. */
	expect(errno == EAGAIN || errno == ECONNREFUSED, "recv");
	return taken;
}

static int flood(const char *address, int seconds, __u64 window, struct exchange *exchange)
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
			request_send(fd, exchange, ++sent);
		if (sent == answered)
			break;
		errno = 0;
		if (poll(&wait, 1, STRAGGLERS_MS) <= 0 && errno != EINTR)
			break;
		answered += answers_take(fd, exchange);
	}
	printf("%llu %llu\n", (unsigned long long)sent, (unsigned long long)(sent - answered));
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	struct exchange exchange;

	if (argc == 4 && !strcmp(argv[1], "lease"))
		return lease(argv[2], (int)strtol(argv[3], NULL, 10));
	if (argc == 4 && !strcmp(argv[1], "update"))
		return update(argv[2], argv[3]);
	if ((argc == 5 || argc == 7) && !strcmp(argv[1], "flood")) {
		exchange_init(&exchange, argc == 7 ? argv[5] : "", argc == 7 ? argv[6] : "");
		return flood(argv[2], (int)strtol(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), &exchange);
	}
	fprintf(stderr, "usage: agent_flood lease MAPS SECONDS\n"
			"       agent_flood update LINK PROGRAM\n"
			"       agent_flood flood ADDRESS SECONDS WINDOW [KEY VALUE]\n");
	return 2;
}
