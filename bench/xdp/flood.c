// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * bench-flood: send GETs out of a veth interface as fast as BPF_PROG_TEST_RUN makes live frames, or with a bounded
 * number unanswered, and check what comes back. Prints one line of JSON. Run inside the interface's namespace.
 */
#include <argp.h>
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../load/cpu.h"
#include "frame.h"
#include "traffic.skel.h"

#define SERVERS_MAX 8
/* Without an answer for so long, a window is taken to be lost (the server's queue was full). */
#define LOST_AFTER_US 10000

enum { OPTION_ECHO = 256, OPTION_WARMUP, OPTION_CPU, OPTION_MAC_TO, OPTION_MAC_FROM, OPTION_THREADED };

static const struct argp_option OPTIONS[] = {
	{ "interface", 'i', "NAME", 0, "interface to send from (a veth end)", 0 },
	{ "from", 'f', "ADDRESS", 0, "source IPv4 address", 0 },
	{ "to", 't', "ADDRESS", 0, "destination IPv4 address", 0 },
	{ "mac-from", OPTION_MAC_FROM, "MAC", 0, "source Ethernet address", 0 },
	{ "mac-to", OPTION_MAC_TO, "MAC", 0, "destination Ethernet address", 0 },
	{ "port", 'p', "PORT", 0, "server's UDP port", 0 },
	{ "keys", 'k', "N", 0, "number of keys, a power of two up to 2^24 (1048576)", 0 },
	{ "window", 'w', "N", 0, "most requests unanswered, 0: no bound (0)", 0 },
	{ "batch", 'b', "N", 0, "frames sent at once (64)", 0 },
	{ "duration", 'd', "MS", 0, "measured time, milliseconds (2000)", 0 },
	{ "server", 'S', "PID", 0, "also add up this process's or kernel thread's processor time; may be repeated", 0 },
	{ "echo", OPTION_ECHO, NULL, 0, "requests come back as they are", 0 },
	{ "warmup", OPTION_WARMUP, "MS", 0, "time before measuring, milliseconds (300)", 0 },
	{ "cpu", OPTION_CPU, "N", 0, "run on this processor", 0 },
	{ "threaded", OPTION_THREADED, NULL, 0, "receive in a kernel thread, on the same processor", 0 },
	{ 0 },
};

struct options {
	const char *interface;
	struct vg_frame_ends ends;
	__u32 keys, window, batch;
	double warmup_s, duration_s;
	pid_t servers[SERVERS_MAX];
	int servers_count, cpu;
	bool echo, threaded;
};

static unsigned long number(struct argp_state *state, const char *text, unsigned long min, unsigned long max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value < min || value > max)
		argp_error(state, "'%s' is not a number from %lu to %lu", text, min, max);
	return value;
}

static __u32 address(struct argp_state *state, const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		argp_error(state, "'%s' is not an IPv4 address", text);
	return address.s_addr;
}

static void mac(struct argp_state *state, const char *text, __u8 *ret_mac)
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &ret_mac[0], &ret_mac[1], &ret_mac[2], &ret_mac[3],
		   &ret_mac[4], &ret_mac[5]) != 6)
		argp_error(state, "'%s' is not an Ethernet address", text);
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'i': options->interface = text; break;
	case 'f': options->ends.address_from = address(state, text); break;
	case 't': options->ends.address_to = address(state, text); break;
	case OPTION_MAC_FROM: mac(state, text, options->ends.mac_from); break;
	case OPTION_MAC_TO: mac(state, text, options->ends.mac_to); break;
	case 'p': options->ends.port_to = (__u16)number(state, text, 1, 65535); break;
	case 'k':
		options->keys = (__u32)number(state, text, 1, 1u << 24);
		if (options->keys & (options->keys - 1))
			argp_error(state, "--keys must be a power of two");
		break;
	case 'w': options->window = (__u32)number(state, text, 0, 1u << 20); break;
	case 'b': options->batch = (__u32)number(state, text, 1, 256); break;
	case 'd': options->duration_s = (double)number(state, text, 1, 86400000) / 1000; break;
	case OPTION_WARMUP: options->warmup_s = (double)number(state, text, 0, 86400000) / 1000; break;
	case 'S':
		if (options->servers_count == SERVERS_MAX)
			argp_error(state, "too many --server");
		options->servers[options->servers_count++] = (pid_t)number(state, text, 1, 1u << 22);
		break;
	case OPTION_ECHO: options->echo = true; break;
	case OPTION_THREADED: options->threaded = true; break;
	case OPTION_CPU: options->cpu = (int)number(state, text, 0, 1023); break;
	case ARGP_KEY_END:
		if (!options->interface || !options->ends.port_to || !options->ends.address_to)
			argp_error(state, "--interface, --port and --to are needed");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void configure(struct traffic *traffic, const struct options *options)
{
	__u16 crc[3][256];

	vg_frame_head(&options->ends, VG_OP_GET, 0, (__u8 *)traffic->rodata->cfg_head);
	vg_frame_crc(crc);
	memcpy((void *)traffic->rodata->cfg_crc, crc, sizeof(crc));
	traffic->rodata->cfg_key_mask = options->keys - 1;
	traffic->rodata->cfg_window = options->window;
	traffic->rodata->cfg_port = htons(options->ends.port_to);
	traffic->rodata->cfg_expect_echo = options->echo;
}

/* What the counters stood at. */
struct mark {
	__u64 now_ns, sent, loader_ns, server_ns;
	struct vg_traffic_counts counts;
};

static void take_mark(const struct traffic *traffic, const struct options *options, struct mark *ret_mark)
{
	__u64 ns;

	*ret_mark = (struct mark){ .now_ns = vg_bench_now_ns(), .sent = traffic->data->maker.sent,
				   .counts = traffic->bss->sink };
	vg_bench_cpu_ns(getpid(), 0, &ret_mark->loader_ns);
	for (int i = 0; i < options->servers_count; i++)
		if (vg_bench_cpu_ns(options->servers[i], 0, &ns) == 0)
			ret_mark->server_ns += ns;
}

/* The thread that makes frames. One call makes them all: setting one up takes the kernel tens of milliseconds. */
struct maker {
	const struct options *options;
	int program, err;
	pthread_t thread;
};

static void *make_frames(void *argument)
{
	static __u8 frame[VG_TRAFFIC_FRAME];
	struct maker *maker = argument;
	struct xdp_md context = { .data_end = sizeof(frame),
				  .ingress_ifindex = if_nametoindex(maker->options->interface) };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .ctx_in = &context,
		    .ctx_size_in = sizeof(context), .repeat = INT_MAX, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = maker->options->batch);

	maker->err = bpf_prog_test_run_opts(maker->program, &run);
	if (maker->err == -EINTR)
		maker->err = 0; /* how it is told to stop */
	return NULL;
}

static void on_stop(int signal)
{
}

static int maker_start(struct maker *maker)
{
	struct sigaction stop = { .sa_handler = on_stop };

	sigaction(SIGUSR1, &stop, NULL);
	return -pthread_create(&maker->thread, NULL, make_frames, maker);
}

/* The signal is repeated: one that comes before the call has begun has no effect. */
static int maker_stop(struct maker *maker)
{
	while (pthread_tryjoin_np(maker->thread, NULL) == EBUSY) {
		pthread_kill(maker->thread, SIGUSR1);
		usleep(1000);
	}
	return maker->err;
}

/* Let time pass; forgive the server what it has lost. */
static void wait_for(struct traffic *traffic, const struct options *options, double seconds)
{
	__u64 until_ns = vg_bench_now_ns() + (__u64)(seconds * 1e9), answered = 0, unanswered;

	while (vg_bench_now_ns() < until_ns) {
		usleep(LOST_AFTER_US);
		unanswered = traffic->data->maker.sent - traffic->bss->sink.answered - traffic->bss->lost;
		if (options->window && traffic->bss->sink.answered == answered)
			traffic->bss->lost += unanswered;
		answered = traffic->bss->sink.answered;
	}
}

static void print_result(const struct traffic *traffic, const struct mark *from, const struct mark *to)
{
	double seconds = (double)(to->now_ns - from->now_ns) / 1e9;
	double loader_ns = (double)(to->loader_ns - from->loader_ns);
	double server_ns = (double)(to->server_ns - from->server_ns);
	__u64 answered = to->counts.answered - from->counts.answered, sent = to->sent - from->sent;
	double answers = answered ? (double)answered : 1;

	printf("{\"seconds\": %.4f, \"sent\": %llu, \"answered\": %llu, ", seconds, sent, answered);
	printf("\"right\": %llu, \"not_ok\": %llu, \"wrong\": %llu, ", to->counts.right - from->counts.right,
	       to->counts.not_ok - from->counts.not_ok, to->counts.wrong - from->counts.wrong);
	printf("\"answered_in_all\": %llu, ", (unsigned long long)traffic->bss->sink.answered); /* warming up, too */
	printf("\"lost\": %llu, \"offered_rate\": %.1f, \"rate\": %.1f, ", (unsigned long long)traffic->bss->lost,
	       (double)sent / seconds, (double)answered / seconds);
	printf("\"loader_cpu_share\": %.4f, \"loader_cpu_ns\": %.2f, ", loader_ns / 1e9 / seconds, loader_ns / answers);
	printf("\"server_cpu_share\": %.4f, \"server_cpu_ns\": %.2f}\n", server_ns / 1e9 / seconds,
	       server_ns / answers);
}

/* Whether the file holds the name of a kernel thread "napi/INTERFACE-N", which is cut at 15 characters. */
static bool is_receive_thread(const char *comm_path, const char *interface)
{
	char wanted[16], name[32] = "";
	FILE *file = fopen(comm_path, "re");

	if (!file)
		return false; /* it ended */
	snprintf(wanted, sizeof(wanted), "napi/%.10s", interface);
	if (!fgets(name, sizeof(name), file))
		name[0] = 0;
	fclose(file);
	return !strncmp(name, wanted, strlen(wanted));
}

static int pin_receive_thread(const struct options *options)
{
	int pinned = -ESRCH;
	cpu_set_t set;
	glob_t found;

	if (options->cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET((unsigned int)options->cpu, &set);
	if (glob("/proc/[0-9]*/comm", GLOB_NOSORT, NULL, &found))
		return -ESRCH;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		pid_t pid = (pid_t)strtol(found.gl_pathv[i] + strlen("/proc/"), NULL, 10);

		if (is_receive_thread(found.gl_pathv[i], options->interface))
			pinned = sched_setaffinity(pid, sizeof(set), &set) < 0 ? -errno : 0;
	}
	globfree(&found);
	return pinned;
}

/* This interface's receive side runs where and how it is told, not where the server's sender leaves it. */
static int set_threaded(const struct options *options)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/net/%.15s/threaded", options->interface);
	file = fopen(path, "we");
	if (!file)
		return -errno;
	fprintf(file, "%d", options->threaded);
	if (fclose(file))
		return -errno;
	return options->threaded ? pin_receive_thread(options) : 0;
}

static int flood(struct traffic *traffic, const struct options *options)
{
	LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
	int ifindex = (int)if_nametoindex(options->interface);
	struct maker maker = { .options = options };
	struct mark from, to;
	int link, err;

	configure(traffic, options);
	err = traffic__load(traffic);
	if (err)
		return err;
	link = bpf_link_create(bpf_program__fd(traffic->progs.traffic_sink), ifindex, BPF_XDP, &native);
	if (link < 0)
		return link;
	maker.program = bpf_program__fd(traffic->progs.traffic_make);
	err = set_threaded(options);
	if (!err)
		err = maker_start(&maker);
	if (err)
		goto out;
	wait_for(traffic, options, options->warmup_s);
	take_mark(traffic, options, &from);
	wait_for(traffic, options, options->duration_s);
	take_mark(traffic, options, &to);
	err = maker_stop(&maker);
	if (!err)
		print_result(traffic, &from, &to);
out:
	close(link);
	return err;
}

int main(int argc, char **argv)
{
	struct options options = { .keys = 1u << 20, .batch = 64, .warmup_s = 0.3, .duration_s = 2, .cpu = -1,
				   .ends = { .port_from = 40000 } };
	const struct argp argp = { OPTIONS, parse_option, NULL, "Flood a VIRGO node with GETs over a veth pair.",
				   NULL, NULL, NULL };
	struct traffic *traffic;
	int err;

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	err = vg_bench_pin(options.cpu);
	traffic = traffic__open();
	if (!traffic)
		err = -errno;
	if (!err)
		err = flood(traffic, &options);
	traffic__destroy(traffic);
	if (err) {
		fprintf(stderr, "bench-flood: %s: %s\n", options.interface, strerror(-err));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
