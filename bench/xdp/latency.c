// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-latency FROM TO PORT KEYS MILLISECONDS [echo]: UDP GETs one at a time over an ordinary socket, each answer
 * checked. Prints one line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "../load/cpu.h"
#include "../load/histogram.h"
#include "../load/keys.h"
#include "frame.h"

#define DATAGRAM_BYTES (VG_TRAFFIC_FRAME - VG_TRAFFIC_UDP_END)

struct result {
	__u64 right, wrong, lost;
	struct vg_histogram latency;
};

static int connect_from(const char *from, const char *to, const char *port)
{
	struct sockaddr_in own = { .sin_family = AF_INET }, peer = { .sin_family = AF_INET };
	struct timeval patience = { .tv_usec = 200000 };
	int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	peer.sin_port = htons((unsigned short)strtoul(port, NULL, 10));
	if (descriptor < 0 || inet_pton(AF_INET, from, &own.sin_addr) != 1 ||
	    inet_pton(AF_INET, to, &peer.sin_addr) != 1)
		return -1;
	setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (bind(descriptor, (struct sockaddr *)&own, sizeof(own)) < 0 ||
	    connect(descriptor, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		return -1;
	return descriptor;
}

static bool is_right(const __u8 *answer, ssize_t length, __u64 sequence, bool echo)
{
	struct vg_wire_header header;
	__u64 value[VG_TRAFFIC_VALUE_BYTES / 8];

	if (length < (ssize_t)sizeof(header))
		return false;
	memcpy(&header, answer, sizeof(header));
	if (header.sequence != VG_HTOBE64(sequence))
		return false;
	if (echo)
		return length == DATAGRAM_BYTES;
	if (length < (ssize_t)(sizeof(header) + sizeof(value)))
		return false;
	memcpy(value, answer + sizeof(header), sizeof(value));
	return header.flags & VG_HTOBE16(VG_FLAG_REPLY) && header.status == VG_STATUS_OK &&
	       header.body_length == VG_HTOBE32(sizeof(value)) && value[0] == VG_BE64TOH(header.ident);
}

static void ask(int descriptor, const struct vg_bench_choice *choice, __u64 *random, __u64 sequence, bool echo,
		struct result *result)
{
	__u8 datagram[DATAGRAM_BYTES], answer[2048];
	__u64 begin_ns;
	ssize_t got;

	vg_frame_datagram(vg_bench_choose(choice, random), sequence, datagram);
	begin_ns = vg_bench_now_ns();
	if (send(descriptor, datagram, sizeof(datagram), 0) < 0)
		got = -1;
	else
		got = recv(descriptor, answer, sizeof(answer), 0);
	if (got < 0) {
		result->lost++;
		return;
	}
	vg_histogram_add(&result->latency, vg_bench_now_ns() - begin_ns);
	if (is_right(answer, got, sequence, echo))
		result->right++;
	else
		result->wrong++;
}

int main(int argc, char **argv)
{
	static struct result result;
	struct vg_bench_choice choice;
	__u64 random = 0x9E3779B97F4A7C15ULL, sequence = 0, warm_ns, until_ns, now_ns;
	int descriptor = argc == 6 || argc == 7 ? connect_from(argv[1], argv[2], argv[3]) : -1;

	if (descriptor < 0) {
		fprintf(stderr, "usage: bench-latency FROM TO PORT KEYS MILLISECONDS [echo] (%s)\n", strerror(errno));
		return EXIT_FAILURE;
	}
	vg_bench_choice_init(&choice, (__u32)strtoul(argv[4], NULL, 10), 0);
	warm_ns = vg_bench_now_ns() + 100000000u;
	until_ns = warm_ns + strtoull(argv[5], NULL, 10) * 1000000u;
	while ((now_ns = vg_bench_now_ns()) < until_ns) {
		if (warm_ns && now_ns > warm_ns) {
			memset(&result, 0, sizeof(result));
			warm_ns = 0;
		}
		ask(descriptor, &choice, &random, ++sequence, argc == 7, &result);
	}
	printf("{\"right\": %llu, \"wrong\": %llu, \"lost\": %llu, ", result.right, result.wrong, result.lost);
	printf("\"p50_ns\": %llu, \"p99_ns\": %llu, \"p999_ns\": %llu}\n",
	       vg_histogram_quantile(&result.latency, 0.5),
	       vg_histogram_quantile(&result.latency, 0.99), vg_histogram_quantile(&result.latency, 0.999));
	return EXIT_SUCCESS;
}
