/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a job may not do: limits, the user it becomes, namespaces, system calls. Called in a child that shares this
 * process's memory: system calls only, and raw ones where libc would speak to its other threads.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "spawn/spawn.h"

#define OPEN_FILES 1024 /* what programs expect; the daemon's own limit is higher */

/* ---- limits ---------------------------------------------------------------------------------------------------- */

static int limit(int resource, uint64_t value)
{
	struct rlimit rlimit;

	if (getrlimit(resource, &rlimit))
		return -errno;
	if (value < rlimit.rlim_max)
		rlimit.rlim_max = value;
	rlimit.rlim_cur = rlimit.rlim_max;
	return setrlimit(resource, &rlimit) ? -errno : 0;
}

/* A share of processors without a cgroup: only so many of them, and not the same ones for every job. */
static int limit_processors(uint32_t permille, uint64_t job)
{
	uint32_t wanted = (permille + 999) / 1000, count, seen = 0, taken = 0;
	cpu_set_t all, some;

	if (sched_getaffinity(0, sizeof(all), &all))
		return -errno;
	count = (uint32_t)CPU_COUNT(&all);
	if (wanted >= count)
		return 0;
	CPU_ZERO(&some);
	for (uint32_t round = 0; round < 2; round++) {
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
			if (CPU_ISSET(cpu, &all) && seen++ >= job % count && taken < wanted && !CPU_ISSET(cpu, &some)) {
				CPU_SET(cpu, &some);
				taken++;
			}
	}
	return sched_setaffinity(0, sizeof(some), &some) ? -errno : 0;
}

int confine_limits(const struct vg_spawn_message *message, bool in_cgroup)
{
	struct rlimit files = { 0 };
	int error = limit(RLIMIT_CORE, 0);

	if (!error && !getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur > OPEN_FILES) {
		files.rlim_cur = OPEN_FILES;
		error = setrlimit(RLIMIT_NOFILE, &files) ? -errno : 0;
	}
	if (!error && message->cpu_ms)
		error = limit(RLIMIT_CPU, (message->cpu_ms + 999ull) / 1000);
	if (in_cgroup || error)
		return error;
	if (message->memory_bytes)
		error = limit(RLIMIT_AS, message->memory_bytes);
	if (!error && message->processes)
		error = limit(RLIMIT_NPROC, message->processes);
	if (!error && message->cpu_permille)
		error = limit_processors(message->cpu_permille, message->job);
	return error;
}

/* ---- user ------------------------------------------------------------------------------------------------------ */

int confine_user(const struct vg_spawn_message *message)
{
	if (message->flags & VG_SPAWN_AS_USER &&
	    (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, message->gid, message->gid, message->gid) ||
	     syscall(SYS_setresuid, message->uid, message->uid, message->uid)))
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

/* ---- namespaces ------------------------------------------------------------------------------------------------ */

static int raise_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		error = -errno;
	close(fd);
	return error;
}

int confine_namespaces(uint32_t flags)
{
	/* Mounts made here must not be seen by the machine. */
	if (flags & (VG_SPAWN_NEW_MOUNTS | VG_SPAWN_NEW_PIDS) && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	if (flags & VG_SPAWN_NEW_MOUNTS && mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"))
		return -errno;
	if (flags & VG_SPAWN_NEW_PIDS && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		return -errno;
	return flags & VG_SPAWN_NEW_NET ? raise_loopback() : 0;
}

/* ---- system calls ---------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define FOREIGN_BIT 0x40000000 /* the x32 numbers: the same calls by other names */
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define FOREIGN_BIT 0
#else
#error "which architecture's system call numbers are these?"
#endif

/* Calls that change the machine, look into other processes, or open large parts of the kernel: EPERM. */
#define REFUSED(X)                                                                                                     \
	X(acct) X(add_key) X(bpf) X(clock_adjtime) X(clock_settime) X(delete_module) X(finit_module) X(fsconfig)       \
	X(fsmount) X(fsopen) X(fspick) X(init_module) X(io_uring_enter) X(io_uring_register) X(io_uring_setup)         \
	X(kcmp) X(kexec_file_load) X(kexec_load) X(keyctl) X(mount) X(mount_setattr) X(move_mount) X(move_pages)       \
	X(name_to_handle_at) X(open_by_handle_at) X(open_tree) X(perf_event_open) X(pivot_root) X(process_madvise)     \
	X(process_vm_readv) X(process_vm_writev) X(ptrace) X(quotactl) X(reboot) X(request_key) X(setdomainname)       \
	X(sethostname) X(setns) X(settimeofday) X(swapoff) X(swapon) X(syslog) X(umount2) X(unshare) X(userfaultfd)    \
	X(vhangup) X(adjtimex) X(chroot)

int confine_seccomp(void)
{
	static const struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if FOREIGN_BIT
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, FOREIGN_BIT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
#endif
#define X(name)                                                       \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1),        \
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		REFUSED(X)
#undef X
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), (struct sock_filter *)filter };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}
