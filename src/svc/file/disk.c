// SPDX-License-Identifier: GPL-3.0-or-later
#include "svc/file/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "svc/file/tree.h"

#define CONFINED (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
#define STAT_MASK (STATX_BASIC_STATS | STATX_BTIME)
#define RACES_MAX 16 /* a path that somebody changes all the time is given up */

void vg_disk_enter(void)
{
	static _Thread_local bool entered;

	if (entered)
		return;
	entered = true;
	if (!unshare(CLONE_FS)) /* else the daemon's umask stands: modes lose those bits */
		(void)umask(0);
}

/* ---- opening --------------------------------------------------------------------------------------------------- */

void vg_disk_how(struct open_how *how, int flags, mode_t mode)
{
	*how = (struct open_how){
		.flags = (__u64)(flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY | O_NONBLOCK)),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = CONFINED | RESOLVE_NO_SYMLINKS,
	};
}

int vg_disk_open_how(int root_fd, const char *path, const struct open_how *how)
{
	for (int i = 0; i < RACES_MAX; i++) {
		long fd = syscall(SYS_openat2, root_fd, path[0] ? path : ".", how, sizeof(*how));

		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	/* A pipe nobody reads, a socket: what is not opened here is not told apart. */
	return errno == ENXIO || errno == ENODEV ? -EPERM : -errno;
}

static bool is_directory(int fd)
{
	struct stat status;

	return !fstat(fd, &status) && S_ISDIR(status.st_mode);
}

/* Made, or opened if it is there: which of them it was is known. */
static int open_or_create(int root_fd, const char *path, struct open_how *how, bool *ret_created)
{
	bool exclusive = how->flags & O_EXCL;
	mode_t mode = (mode_t)how->mode;

	*ret_created = false;
	if (!(how->flags & O_CREAT))
		return vg_disk_open_how(root_fd, path, how);
	for (int i = 0; i < RACES_MAX; i++) {
		int fd;

		how->flags |= O_CREAT | O_EXCL;
		how->mode = mode;
		fd = vg_disk_open_how(root_fd, path, how);
		if (fd >= 0) {
			*ret_created = true;
			return fd;
		}
		if (fd != -EEXIST || exclusive)
			return fd;
		how->flags &= ~(__u64)(O_CREAT | O_EXCL);
		how->mode = 0;
		fd = vg_disk_open_how(root_fd, path, how);
		if (fd >= 0 && is_directory(fd)) { /* as open(2): what might have been made is no directory */
			close(fd);
			return -EISDIR;
		}
		if (fd != -ENOENT)
			return fd;
	}
	return -ENOENT; /* it comes and goes, or is a symbolic link to nothing */
}

static int parent_open(int root_fd, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char parent[VG_FILE_PATH_MAX + 1];
	struct open_how how;

	vg_disk_how(&how, O_PATH | O_DIRECTORY, 0);
	*ret_name = slash ? slash + 1 : path;
	if (!slash)
		return root_fd;
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	return vg_disk_open_how(root_fd, parent, &how);
}

static void parent_close(int root_fd, int fd)
{
	if (fd >= 0 && fd != root_fd)
		close(fd);
}

/* -EREMOTE if the name is a stub, and then what it says; else 0, also if there is nothing. */
static int stub_check(int dir_fd, const char *name, char *ret_target)
{
	struct vg_stub stub;
	ssize_t length = readlinkat(dir_fd, name, ret_target, VG_FILE_TARGET_MAX - 1);

	if (length < 0 || !vg_stub_parse(ret_target, (size_t)length, &stub))
		return 0;
	ret_target[length] = '\0';
	return -EREMOTE;
}

static int stub_check_path(int root_fd, const char *path, char *ret_target)
{
	const char *name;
	int dir_fd = parent_open(root_fd, path, &name), error;

	if (dir_fd < 0)
		return 0;
	error = stub_check(dir_fd, name, ret_target);
	parent_close(root_fd, dir_fd);
	return error;
}

int vg_disk_open(int root_fd, const char *path, int flags, mode_t mode, bool *ret_created, char *ret_target)
{
	struct open_how how;
	bool created;
	int fd;

	vg_disk_how(&how, flags | O_NOFOLLOW, mode);
	fd = open_or_create(root_fd, path, &how, ret_created ? ret_created : &created);
	if (fd == -ELOOP)
		fd = stub_check_path(root_fd, path, ret_target) ?: -ELOOP;
	return fd;
}

int vg_disk_open_following(int root_fd, const char *path, int flags, mode_t mode, bool *ret_created)
{
	struct open_how how;

	vg_disk_how(&how, flags, mode);
	how.resolve = CONFINED;
	return open_or_create(root_fd, path, &how, ret_created);
}

int vg_disk_truncate(int fd, struct statx *ret_before)
{
	int error = vg_disk_fstat(fd, ret_before);

	if (!error && ret_before->stx_size && ftruncate(fd, 0))
		error = -errno;
	return error;
}

int vg_disk_set_mode(int fd, mode_t mode)
{
	return fchmod(fd, mode) ? -errno : 0;
}

void vg_disk_close(int fd)
{
	close(fd);
}

/* ---- what there is --------------------------------------------------------------------------------------------- */

int vg_disk_stat_at(int dir_fd, const char *name, struct statx *ret_stat)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name[0] ? 0 : AT_EMPTY_PATH);

	return statx(dir_fd, name, flags, STAT_MASK, ret_stat) ? -errno : 0;
}

int vg_disk_fstat(int fd, struct statx *ret_stat)
{
	return vg_disk_stat_at(fd, "", ret_stat);
}

int vg_disk_readlink_at(int dir_fd, const char *name, char *buffer, size_t bytes)
{
	ssize_t length = readlinkat(dir_fd, name, buffer, bytes);

	return length < 0 ? -errno : (int)length;
}

/* A handle on whatever is there, without opening it. */
static int look(int root_fd, const char *path)
{
	struct open_how how;

	vg_disk_how(&how, O_PATH | O_NOFOLLOW, 0);
	return vg_disk_open_how(root_fd, path, &how);
}

int vg_disk_look(int root_fd, const char *path, struct statx *ret_stat, char *ret_target)
{
	int fd = look(root_fd, path), error;

	if (fd < 0)
		return fd;
	error = vg_disk_fstat(fd, ret_stat);
	if (!error && S_ISLNK(ret_stat->stx_mode))
		error = stub_check(fd, "", ret_target);
	if (!error)
		return fd;
	close(fd);
	return error;
}

int vg_disk_stat(int root_fd, const char *path, struct statx *ret_stat, char *ret_target)
{
	int fd = vg_disk_look(root_fd, path, ret_stat, ret_target);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int vg_disk_statfs(int root_fd, struct statfs *ret_statfs)
{
	return fstatfs(root_fd, ret_statfs) ? -errno : 0;
}

int vg_disk_readlink(int root_fd, const char *path, char *buffer, size_t bytes, char *ret_target)
{
	struct statx stat;
	int fd = vg_disk_look(root_fd, path, &stat, ret_target), length;

	if (fd < 0)
		return fd;
	length = S_ISLNK(stat.stx_mode) ? vg_disk_readlink_at(fd, "", buffer, bytes) : -EINVAL;
	close(fd);
	return length;
}

/* ---- changing what there is ------------------------------------------------------------------------------------ */

static struct timespec time_of(const struct vg_file_change *change, bool modified)
{
	__u32 mask = VG_BE32TOH(change->mask);
	__s64 at = (__s64)VG_BE64TOH(modified ? change->modified : change->accessed);
	struct timespec time = { .tv_sec = at / 1000000000, .tv_nsec = at % 1000000000 };

	if (time.tv_nsec < 0) {
		time.tv_nsec += 1000000000;
		time.tv_sec--;
	}
	if (mask & (modified ? VG_FILE_CHANGE_MODIFIED_NOW : VG_FILE_CHANGE_ACCESSED_NOW))
		time.tv_nsec = UTIME_NOW;
	else if (!(mask & (modified ? VG_FILE_CHANGE_MODIFIED : VG_FILE_CHANGE_ACCESSED)))
		time.tv_nsec = UTIME_OMIT;
	return time;
}

static int change_mode(int fd, mode_t mode)
{
#ifdef SYS_fchmodat2
	if (!syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH))
		return 0;
	if (errno != ENOSYS && errno != EINVAL)
		return -errno;
#endif
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, mode) ? -errno : 0;
}

/* Who owns what is the daemon's user's business, unless numbers are to pass through: then it may change nothing. */
static int change_owner(int fd, const struct vg_file_change *change, bool ids, const struct statx *before)
{
	__u32 mask = VG_BE32TOH(change->mask);
	uid_t uid = mask & VG_FILE_CHANGE_UID ? VG_BE32TOH(change->uid) : (uid_t)-1;
	gid_t gid = mask & VG_FILE_CHANGE_GID ? VG_BE32TOH(change->gid) : (gid_t)-1;

	if (!ids)
		return (uid == (uid_t)-1 || uid == before->stx_uid) && (gid == (gid_t)-1 || gid == before->stx_gid) ?
			       0 :
			       -EPERM;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) ? -errno : 0;
}

/* `fd` may be a mere handle: the file is opened to change its size. */
static int change_size(int root_fd, const char *path, int fd, bool handle, __u64 size, char *ret_target)
{
	int opened = fd, error;

	if (size > 0x7fffffffffffffff)
		return -EINVAL;
	if (handle)
		opened = vg_disk_open(root_fd, path, O_WRONLY, 0, NULL, ret_target);
	if (opened < 0)
		return opened;
	error = ftruncate(opened, (off_t)size) ? -errno : 0;
	if (handle)
		close(opened);
	return error;
}

static int change_all(int root_fd, const char *path, int fd, bool handle, const struct vg_file_change *change, bool ids,
		      __u64 growth_max, const struct statx *before, char *ret_target)
{
	const struct timespec times[2] = { time_of(change, false), time_of(change, true) };
	__u32 mask = VG_BE32TOH(change->mask);
	int error = 0;

	if (!S_ISREG(before->stx_mode) && !S_ISDIR(before->stx_mode) && !S_ISLNK(before->stx_mode))
		return -EPERM;
	if (mask & VG_FILE_CHANGE_SIZE) {
		__u64 size = VG_BE64TOH(change->size);

		error = S_ISDIR(before->stx_mode) ? -EISDIR : S_ISLNK(before->stx_mode) ? -EINVAL : 0;
		if (size > before->stx_size && size - before->stx_size > growth_max)
			error = error ?: -EDQUOT;
		error = error ?: change_size(root_fd, path, fd, handle, size, ret_target);
	}
	if (!error && mask & (VG_FILE_CHANGE_UID | VG_FILE_CHANGE_GID))
		error = change_owner(fd, change, ids, before);
	if (!error && mask & VG_FILE_CHANGE_MODE)
		error = S_ISLNK(before->stx_mode) ? -EOPNOTSUPP : change_mode(fd, VG_BE32TOH(change->mode));
	if (!error && (times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT) &&
	    utimensat(fd, "", times, AT_EMPTY_PATH))
		error = -errno;
	return error;
}

int vg_disk_change(int root_fd, const char *path, int fd, const struct vg_file_change *change, bool ids,
		   __u64 growth_max, struct statx *ret_before, struct statx *ret_after, char *ret_target)
{
	bool handle = fd < 0;
	int error;

	if (handle)
		fd = vg_disk_look(root_fd, path, ret_before, ret_target);
	else if ((error = vg_disk_fstat(fd, ret_before)))
		return error;
	if (fd < 0)
		return fd;
	error = change_all(root_fd, path, fd, handle, change, ids, growth_max, ret_before, ret_target);
	error = error ?: vg_disk_fstat(fd, ret_after);
	if (handle)
		close(fd);
	return error;
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

/* What was just made. Somebody may have taken it away already: it was made all the same. */
static void stat_made(int dir_fd, const char *name, mode_t mode, struct statx *ret_stat)
{
	if (vg_disk_stat_at(dir_fd, name, ret_stat))
		*ret_stat = (struct statx){ .stx_mode = (__u16)mode };
}

int vg_disk_mkdir(int root_fd, const char *path, mode_t mode, struct statx *ret_stat)
{
	const char *name;
	int dir_fd = parent_open(root_fd, path, &name), error;

	if (dir_fd < 0)
		return dir_fd;
	error = mkdirat(dir_fd, name, mode) ? -errno : 0;
	if (!error)
		stat_made(dir_fd, name, S_IFDIR | mode, ret_stat);
	parent_close(root_fd, dir_fd);
	return error;
}

int vg_disk_rmdir(int root_fd, const char *path)
{
	const char *name;
	int dir_fd = parent_open(root_fd, path, &name), error;

	if (dir_fd < 0)
		return dir_fd;
	error = unlinkat(dir_fd, name, AT_REMOVEDIR) ? -errno : 0;
	parent_close(root_fd, dir_fd);
	return error;
}

/* Look before it goes: its stat, if it is wanted, and that it is no stub. */
static int before_it_goes(int dir_fd, const char *name, bool stubs, struct statx *ret_before, char *ret_target)
{
	int error = stubs ? 0 : stub_check(dir_fd, name, ret_target);

	if (!error && ret_before && vg_disk_stat_at(dir_fd, name, ret_before))
		ret_before->stx_mask = 0;
	return error;
}

int vg_disk_unlink(int root_fd, const char *path, bool stubs, struct statx *ret_before, char *ret_target)
{
	const char *name;
	int dir_fd = parent_open(root_fd, path, &name), error;

	if (dir_fd < 0)
		return dir_fd;
	error = before_it_goes(dir_fd, name, stubs, ret_before, ret_target);
	if (!error && unlinkat(dir_fd, name, 0))
		error = -errno;
	parent_close(root_fd, dir_fd);
	return error;
}

/* Both parents; then `call` with them. */
static int with_two(int root_fd, const char *from, const char *to,
		    int (*call)(void *context, int from_fd, const char *from_name, int to_fd, const char *to_name),
		    void *context)
{
	const char *from_name, *to_name;
	int from_fd = parent_open(root_fd, from, &from_name), to_fd, error;

	if (from_fd < 0)
		return from_fd;
	to_fd = parent_open(root_fd, to, &to_name);
	error = to_fd < 0 ? to_fd : call(context, from_fd, from_name, to_fd, to_name);
	parent_close(root_fd, to_fd);
	parent_close(root_fd, from_fd);
	return error;
}

struct two {
	unsigned int flags;
	bool stubs;
	struct statx *ret_before;
	char *ret_target;
};

static int rename_two(void *context, int from_fd, const char *from_name, int to_fd, const char *to_name)
{
	const struct two *two = context;
	int error = before_it_goes(from_fd, from_name, two->stubs, NULL, two->ret_target);

	error = error ?: before_it_goes(to_fd, to_name, two->stubs, two->ret_before, two->ret_target);
	if (!error && renameat2(from_fd, from_name, to_fd, to_name, two->flags))
		error = -errno;
	return error;
}

int vg_disk_rename(int root_fd, const char *from, const char *to, unsigned int flags, bool stubs,
		   struct statx *ret_before, char *ret_target)
{
	struct two two = { flags, stubs, ret_before, ret_target };

	return with_two(root_fd, from, to, rename_two, &two);
}

static int link_two(void *context, int from_fd, const char *from_name, int to_fd, const char *to_name)
{
	const struct two *two = context;
	int error = before_it_goes(from_fd, from_name, two->stubs, NULL, two->ret_target);

	if (!error && linkat(from_fd, from_name, to_fd, to_name, 0))
		error = -errno;
	return error;
}

int vg_disk_link(int root_fd, const char *from, const char *to, bool stubs, char *ret_target)
{
	struct two two = { .stubs = stubs, .ret_target = ret_target };

	return with_two(root_fd, from, to, link_two, &two);
}

int vg_disk_symlink(int root_fd, const char *target, const char *path, struct statx *ret_stat)
{
	const char *name;
	int dir_fd = parent_open(root_fd, path, &name), error;

	if (dir_fd < 0)
		return dir_fd;
	error = symlinkat(target, dir_fd, name) ? -errno : 0;
	if (!error)
		stat_made(dir_fd, name, S_IFLNK | 0777, ret_stat);
	parent_close(root_fd, dir_fd);
	return error;
}

/* ---- the rest -------------------------------------------------------------------------------------------------- */

int vg_disk_random(void *data, size_t bytes)
{
	return getrandom(data, bytes, 0) == (ssize_t)bytes ? 0 : -EIO;
}
