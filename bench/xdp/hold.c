// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-hold INTERFACE echo|pass [PORT]: attach a program of traffic.bpf.c natively, say "ready", and stay. The program
 * goes with the process, however it ends.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "traffic.h"
#include "traffic.skel.h"

static int attach(struct traffic *traffic, const char *interface, bool echo)
{
	LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
	struct bpf_program *program = echo ? traffic->progs.traffic_echo : traffic->progs.traffic_pass;
	int err = traffic__load(traffic);

	return err ? err : bpf_link_create(bpf_program__fd(program), (int)if_nametoindex(interface), BPF_XDP, &native);
}

int main(int argc, char **argv)
{
	struct traffic *traffic;
	bool echo;
	int link;

	if (argc < 3 || argc > 4 || (strcmp(argv[2], "echo") && strcmp(argv[2], "pass"))) {
		fprintf(stderr, "usage: bench-hold INTERFACE echo|pass [PORT]\n");
		return EXIT_FAILURE;
	}
	echo = !strcmp(argv[2], "echo");
	traffic = traffic__open();
	if (!traffic)
		return EXIT_FAILURE;
	traffic->rodata->cfg_port = htons((unsigned short)(argc == 4 ? strtoul(argv[3], NULL, 10) : 0));
	link = attach(traffic, argv[1], echo);
	if (link < 0) {
		fprintf(stderr, "bench-hold: %s: %s\n", argv[1], strerror(-link));
		return EXIT_FAILURE;
	}
	printf("ready\n");
	fflush(stdout);
	pause();
	return EXIT_SUCCESS;
}
