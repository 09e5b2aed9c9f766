/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The same questions asked of this machine's files and of the pool's. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/file.h"

struct file_place file_place_of(const char *argument)
{
	return (struct file_place){ .pool = argument[0] == ':', .path = file_pool_path(argument) };
}

const char *file_pool_path(const char *argument)
{
	return argument[0] == ':' ? argument + 1 : argument;
}

int file_join(char *buffer, const char *directory, const char *name)
{
	size_t length = strlen(directory);
	bool slash = length && directory[length - 1] != '/';
	int all = snprintf(buffer, FILE_PATH_BYTES, "%s%s%s", directory, slash ? "/" : "", name);

	return all < 0 || all >= FILE_PATH_BYTES ? -ENAMETOOLONG : 0;
}

const char *file_last(char *buffer, const char *path)
{
	size_t end = strlen(path), start;

	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/';)
		start--;
	if (end - start >= FILE_PATH_BYTES || (end - start == 1 && path[start] == '.') ||
	    (end - start == 2 && path[start] == '.' && path[start + 1] == '.'))
		end = start;
	memcpy(buffer, path + start, end - start);
	buffer[end - start] = '\0';
	return buffer;
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

static int64_t nanoseconds(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static void stat_here(const struct stat *status, struct virgo_file_stat *ret_stat)
{
	*ret_stat = (struct virgo_file_stat){
		.inode = status->st_ino,
		.size = (uint64_t)status->st_size,
		.allocated = (uint64_t)status->st_blocks * 512,
		.accessed_ns = nanoseconds(&status->st_atim),
		.modified_ns = nanoseconds(&status->st_mtim),
		.changed_ns = nanoseconds(&status->st_ctim),
		.mode = status->st_mode,
		.links = (uint32_t)status->st_nlink,
		.uid = status->st_uid,
		.gid = status->st_gid,
		.block_size = (uint32_t)status->st_blksize,
	};
}

int file_stat(struct virgo *virgo, struct file_place place, bool follow, struct virgo_file_stat *ret_stat)
{
	struct stat status;

	if (place.pool)
		return follow ? virgo_stat(virgo, place.path, ret_stat) : virgo_lstat(virgo, place.path, ret_stat);
	if (follow ? stat(place.path, &status) : lstat(place.path, &status))
		return -errno;
	stat_here(&status, ret_stat);
	return 0;
}

int file_mkdir(struct virgo *virgo, struct file_place place, mode_t mode)
{
	if (place.pool)
		return virgo_mkdir(virgo, place.path, mode);
	return mkdir(place.path, mode) ? -errno : 0;
}

int file_unlink(struct virgo *virgo, struct file_place place, bool directory)
{
	if (place.pool)
		return directory ? virgo_rmdir(virgo, place.path) : virgo_unlink(virgo, place.path);
	return (directory ? rmdir(place.path) : unlink(place.path)) ? -errno : 0;
}

int file_rename(struct virgo *virgo, struct file_place place, const char *to)
{
	if (place.pool)
		return virgo_rename(virgo, place.path, to, 0);
	return rename(place.path, to) ? -errno : 0;
}

int file_readlink(struct virgo *virgo, struct file_place place, char *buffer, size_t bytes)
{
	ssize_t length = place.pool ? virgo_readlink(virgo, place.path, buffer, bytes)
				    : readlink(place.path, buffer, bytes);

	if (length < 0)
		return place.pool ? (int)length : -errno;
	if ((size_t)length >= bytes)
		return -ENAMETOOLONG;
	buffer[length] = '\0';
	return 0;
}

int file_symlink(struct virgo *virgo, const char *target, struct file_place place)
{
	if (place.pool)
		return virgo_symlink(virgo, target, place.path);
	return symlink(target, place.path) ? -errno : 0;
}

int file_set_mode(struct virgo *virgo, struct file_place place, mode_t mode)
{
	if (place.pool)
		return virgo_chmod(virgo, place.path, mode & 07777);
	return chmod(place.path, mode & 07777) ? -errno : 0;
}

static struct timespec time_of(int64_t ns)
{
	struct timespec time = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	if (time.tv_nsec < 0) { /* before the epoch */
		time.tv_sec--;
		time.tv_nsec += 1000000000;
	}
	return time;
}

int file_set_times(struct virgo *virgo, struct file_place place, int64_t accessed_ns, int64_t modified_ns)
{
	struct timespec times[2] = { time_of(accessed_ns), time_of(modified_ns) };

	if (place.pool)
		return virgo_utimens(virgo, place.path, times);
	return utimensat(AT_FDCWD, place.path, times, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

int file_get_note(struct virgo *virgo, struct file_place place, const char *name, char *text, size_t text_bytes)
{
	ssize_t length = place.pool ? virgo_getxattr(virgo, place.path, name, text, text_bytes - 1)
				    : lgetxattr(place.path, name, text, text_bytes - 1);

	if (length < 0)
		return place.pool ? (int)length : -errno;
	text[length] = '\0';
	return 0;
}

int file_set_note(struct virgo *virgo, struct file_place place, const char *name, const char *text)
{
	if (place.pool)
		return virgo_setxattr(virgo, place.path, name, text, strlen(text), 0);
	return lsetxattr(place.path, name, text, strlen(text), 0) ? -errno : 0;
}

int file_remove_note(struct virgo *virgo, struct file_place place, const char *name)
{
	if (place.pool)
		return virgo_removexattr(virgo, place.path, name);
	return lremovexattr(place.path, name) ? -errno : 0;
}

/* ---- lists ----------------------------------------------------------------------------------------------------- */

static int add_entry(void *context, const char *name, const struct virgo_file_stat *stat)
{
	struct file_list *list = context;
	struct file_entry *larger;

	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		larger = reallocarray(list->entries, list->room, sizeof(*list->entries));
		if (!larger)
			return -ENOMEM;
		list->entries = larger;
	}
	list->entries[list->count] = (struct file_entry){ .name = strdup(name), .stat = *stat };
	if (!list->entries[list->count].name)
		return -ENOMEM;
	list->count++;
	return 0;
}

static int list_here(const char *path, struct file_list *list)
{
	DIR *directory = opendir(path[0] ? path : ".");
	struct dirent *entry;
	int error = 0;

	if (!directory)
		return -errno;
	while (!error && (errno = 0, entry = readdir(directory))) {
		struct virgo_file_stat facts;
		struct stat status;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		/* Gone since: it is not there. */
		if (fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW))
			continue;
		stat_here(&status, &facts);
		error = add_entry(list, entry->d_name, &facts);
	}
	if (!error && errno)
		error = -errno;
	(void)closedir(directory);
	return error;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct file_entry *)a)->name, ((const struct file_entry *)b)->name);
}

/* What a list says of a striped file is what its name node knows: its size is told by its pieces. */
static void ask_striped(struct virgo *virgo, const char *path, struct file_list *list)
{
	char whole[FILE_PATH_BYTES];

	for (size_t i = 0; i < list->count; i++)
		if (list->entries[i].stat.stripes && !file_join(whole, path, list->entries[i].name))
			(void)virgo_lstat(virgo, whole, &list->entries[i].stat);
}

int file_list(struct virgo *virgo, struct file_place place, struct file_list *ret_list)
{
	int error;

	*ret_list = (struct file_list){ 0 };
	error = place.pool ? virgo_list(virgo, place.path, add_entry, ret_list) : list_here(place.path, ret_list);
	if (error && error != -EHOSTDOWN) {
		file_list_free(ret_list);
		return error;
	}
	if (place.pool)
		ask_striped(virgo, place.path, ret_list);
	if (ret_list->count)
		qsort(ret_list->entries, ret_list->count, sizeof(*ret_list->entries), by_name);
	return error;
}

void file_list_free(struct file_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->entries[i].name);
	free(list->entries);
	*list = (struct file_list){ 0 };
}

/* ---- open files ------------------------------------------------------------------------------------------------ */

#define STRIPE_BYTES (1u << 20)

int file_open(struct virgo *virgo, struct file_place place, int flags, mode_t mode, unsigned int stripes,
	      struct file_end *ret_handle)
{
	struct virgo_file *file = NULL;
	int fd = -1, error = 0;

	if (!place.pool) {
		fd = open(place.path, flags | O_CLOEXEC, mode);
		error = fd < 0 ? -errno : 0;
	} else if (stripes && flags & O_CREAT) {
		error = virgo_open_striped(virgo, place.path, flags, mode, STRIPE_BYTES, stripes, &file);
		/* It keeps the stripes it has. */
		if (error == -EEXIST && !(flags & O_EXCL))
			error = virgo_open(virgo, place.path, flags, mode, &file);
	} else {
		error = virgo_open(virgo, place.path, flags, mode, &file);
	}
	if (!error)
		*ret_handle = (struct file_end){ .file = file, .fd = fd };
	return error;
}

int file_close(struct virgo *virgo, struct file_end *handle)
{
	int error = 0;

	if (handle->file)
		error = virgo_close(virgo, handle->file);
	else if (handle->fd >= 0 && !handle->stream && close(handle->fd))
		error = -errno;
	*handle = (struct file_end){ .fd = -1 };
	return error;
}

int file_fdatasync(struct virgo *virgo, struct file_end *handle)
{
	if (handle->file)
		return virgo_fdatasync(virgo, handle->file);
	return fdatasync(handle->fd) ? -errno : 0;
}

int file_truncate(struct virgo *virgo, struct file_end *handle, __u64 size)
{
	if (handle->file)
		return virgo_ftruncate(virgo, handle->file, size);
	return ftruncate(handle->fd, (off_t)size) ? -errno : 0;
}

ssize_t file_read_here(const struct file_end *handle, void *buffer, size_t length, __u64 offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = handle->stream
				      ? read(handle->fd, (char *)buffer + done, length - done)
				      : pread(handle->fd, (char *)buffer + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int file_write_here(const struct file_end *handle, const void *data, size_t length, __u64 offset)
{
	if (handle->stream)
		return cli_write_all(handle->fd, data, length);
	for (size_t done = 0; done < length;) {
		ssize_t put = pwrite(handle->fd, (const char *)data + done, length - done, (off_t)(offset + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		done += (size_t)put;
	}
	return 0;
}
