// SPDX-License-Identifier: GPL-3.0-or-later
#include "probe.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <jansson.h>
#include <linux/if_link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dispatch.h"
#include "explain.h"
#include "probes.h"
#include "virgo/maps.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

/* One instruction of a trial program. */
#define OP(op, to, from, offset, immediate) \
	((struct bpf_insn){.code = (op), .dst_reg = (to), .src_reg = (from), .off = (offset), .imm = (immediate)})
#define RETURN(value) OP(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value), OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define ZERO(offset) OP(BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, offset, 0) /* of the stack */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int program_try(enum bpf_prog_type type, enum bpf_attach_type attach_type, const struct bpf_insn *code,
		       size_t count)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = attach_type);

	return bpf_prog_load(type, "vg_trial", "Dual BSD/GPL", code, count, &options);
}

static int closed(int fd)
{
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int map_try(enum bpf_map_type type, __u32 key_bytes, __u32 value_bytes, __u64 address)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE, .map_extra = address);
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int error = 0, fd = bpf_map_create(type, "vg_trial", key_bytes, value_bytes, 1, &options);
	void *memory;

	if (fd < 0)
		return fd;
	memory = mmap((void *)address, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		error = -errno;
	else
		munmap(memory, page);
	close(fd);
	return error;
}

static int try_bpf(void)
{
	return closed(bpf_map_create(BPF_MAP_TYPE_ARRAY, "vg_trial", sizeof(__u32), sizeof(__u32), 1, NULL));
}

static int try_btf(void)
{
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		return -errno;
	btf__free(btf);
	return 0;
}

static int try_array_mmap(void)
{
	return map_try(BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(struct vg_local), 0);
}

static int try_arena(void)
{
	return map_try(BPF_MAP_TYPE_ARENA, 0, 0, VG_ARENA_ADDRESS);
}

static int try_xdp(void)
{
	const struct bpf_insn code[] = {RETURN(XDP_PASS)};

	return closed(program_try(BPF_PROG_TYPE_XDP, BPF_XDP, code, COUNT(code)));
}

static int try_coarse_clock(void)
{
	const struct bpf_insn code[] = {
		OP(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ktime_get_coarse_ns),
		RETURN(XDP_PASS),
	};

	return closed(program_try(BPF_PROG_TYPE_XDP, BPF_XDP, code, COUNT(code)));
}

static int try_fib_lookup(void)
{
	const struct bpf_insn code[] = {
		ZERO(-8),
		ZERO(-16),
		ZERO(-24),
		ZERO(-32),
		ZERO(-40),
		ZERO(-48),
		ZERO(-56),
		ZERO(-64),
		OP(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		OP(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -64),
		OP(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, 0, sizeof(struct bpf_fib_lookup)),
		OP(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_4, 0, 0, 0),
		OP(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_fib_lookup),
		RETURN(XDP_PASS),
	};

	return closed(program_try(BPF_PROG_TYPE_XDP, BPF_XDP, code, COUNT(code)));
}

/* Attached to loopback for a moment, it lets every packet go on. */
static int try_tcx(void)
{
	const struct bpf_insn code[] = {RETURN(TCX_NEXT)};
	int error, fd = program_try(BPF_PROG_TYPE_SCHED_CLS, BPF_TCX_EGRESS, code, COUNT(code));

	if (fd < 0)
		return fd;
	error = closed(bpf_link_create(fd, LOOPBACK_IFINDEX, BPF_TCX_EGRESS, NULL));
	close(fd);
	return error;
}

/* Attached for a moment to an interface that a person named; one that has a program already says -EBUSY. */
static int native_try(const char *interface)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
	const struct bpf_insn code[] = {RETURN(XDP_PASS)};
	unsigned int ifindex = if_nametoindex(interface);
	int error, fd;

	if (!ifindex)
		return -ENODEV;
	fd = program_try(BPF_PROG_TYPE_XDP, BPF_XDP, code, COUNT(code));
	if (fd < 0)
		return fd;
	error = closed(bpf_link_create(fd, (int)ifindex, BPF_XDP, &options));
	close(fd);
	return error;
}

static int try_sched_probe(void)
{
	return vg_probe_try("sched_switch");
}

static int try_block_probe(void)
{
	return vg_probe_try("block_rq_complete") ?: vg_probe_try("block_rq_issue");
}

static const struct trial {
	const char *name;
	int (*try)(void);
	bool required;
	const char *message; /* for a person, when it fails */
} trials[] = {
	{"bpf", try_bpf, true,
	 "the bpf system call is refused: run as root or give CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"},
	{"btf", try_btf, true,
	 "the kernel does not describe its types: it needs CONFIG_DEBUG_INFO_BTF, and /sys mounted"},
	{"array-mmap", try_array_mmap, true,
	 "arrays cannot be mapped into the daemon: Linux 5.5 or newer has this"},
	{"arena", try_arena, true,
	 "no BPF arenas, which hold the data: Linux 6.9 or newer on a 64-bit machine has them"},
	{"xdp", try_xdp, true,
	 "no XDP programs: the kernel needs CONFIG_BPF_SYSCALL and CONFIG_NET"},
	{"coarse-clock", try_coarse_clock, true,
	 "XDP has no cheap clock (bpf_ktime_get_coarse_ns): Linux 5.11 or newer has"},
	{"fib-lookup", try_fib_lookup, true,
	 "XDP cannot look routes up, which steering needs: the kernel needs CONFIG_INET"},
	{"tcx", try_tcx, false,
	 "no tcx (Linux 6.6 or newer has it): the egress program goes to clsact instead"},
	{"sched-probe", try_sched_probe, false,
	 "no BPF on the scheduler's tracepoints (CONFIG_BPF_EVENTS): run-queue delay and CPU use are not measured"},
	{"block-probe", try_block_probe, false,
	 "no BPF on the block layer's tracepoints: the time of disk requests is not measured"},
	{"dispatcher", vg_dispatch_try, false,
	 "no freplace (function tracing is missing): VIRGO must be the only XDP program of its interfaces"},
};

static int bpffs_try(const char *pin_root)
{
	char path[VG_PIN_PATH_BYTES], *slash;

	snprintf(path, sizeof(path), "%s", pin_root);
	while (access(path, F_OK) && (slash = strrchr(path, '/')) && slash != path)
		*slash = '\0';
	return vg_pin_is_bpffs(path) ? 0 : -ENOTSUP;
}

/* ---- showing it ------------------------------------------------------------------------------------------------ */

struct report {
	json_t *json; /* NULL: lines for people */
	int missing;  /* required things that failed */
};

static void report_one(struct report *report, const char *name, int error, bool required, const char *message)
{
	report->missing += error && required;
	if (report->json) {
		json_t *trial = json_pack("{s:s, s:b, s:b}", "name", name, "works", !error, "required", required);

		if (error) {
			json_object_set_new(trial, "error", json_string(strerror(-error)));
			json_object_set_new(trial, "message", json_string(message));
		}
		json_array_append_new(report->json, trial);
		return;
	}
	printf("%-14s %s", name, error ? (required ? "MISSING" : "absent") : "works");
	if (error)
		printf("  %s (%s)", message, error == -524 ? "not supported" : strerror(-error));
	printf("\n");
}

int vg_command_probe(const struct vg_options *options)
{
	struct report report = {.json = options->json ? json_array() : NULL};

	for (size_t i = 0; i < COUNT(trials); i++)
		report_one(&report, trials[i].name, trials[i].try(), trials[i].required, trials[i].message);
	report_one(&report, "bpffs", bpffs_try(options->pin_root), true,
		   "the pin root is not on a bpffs: mount -t bpf bpf /sys/fs/bpf, or name another by --pin-root");
	for (int i = 0; i < options->interfaces_count; i++) {
		char name[IF_NAMESIZE + 16];

		snprintf(name, sizeof(name), "native:%s", options->interfaces[i]);
		report_one(&report, name, native_try(options->interfaces[i]), false,
			   "no native XDP here now: attach --mode generic works everywhere, slowly");
	}
	if (report.json) {
		json_dumpf(report.json, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(report.json);
	}
	return report.missing ? vg_explain(-EOPNOTSUPP, "%d of the things VIRGO needs are missing", report.missing) : 0;
}

void vg_probe_explain(FILE *out, int error)
{
	if (error == -EBUSY || error == -EPROTONOSUPPORT || error == -EEXIST || error == -ENOTSUP)
		return;
	for (size_t i = 0; i < COUNT(trials); i++) {
		int failed = trials[i].required ? trials[i].try() : 0;

		if (failed)
			fprintf(out, "virgo-agent: %s: %s (%s)\n", trials[i].name, trials[i].message,
				strerror(-failed));
	}
}
