/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libvirgo: files of the pool. virgo.h includes this.
 *
 * Results are 0 or a count, or a negative errno that means what it means for the system call of the same name: -ENOENT,
 * -EEXIST, -ENOTDIR, -EDQUOT, … Besides:
 *
 *     -EHOSTDOWN     the node that holds the file, or its name, does not answer; other files are not touched by that
 *     -ESTALE        the descriptor is of another life of its node, or its lease is over: open again
 *     -EREMOTEIO     the connection was lost and the node has no memory of the change: it was made or it was not
 *     -EXDEV         a path or a symbolic link that leaves the pool; exchanging two files of two nodes
 *
 * Paths are bytes, from the pool's root: "a/b", "/a/b" and "a//b" are the same; ".." is taken back before anything is
 * asked. Symbolic links are followed as by open(2), within the pool.
 *
 * Threads: as struct virgo. A struct virgo_file may be used with every struct virgo that shares the session of the one
 * it was opened with (virgo_options.share): each of those by one thread at a time, the file by all of them at once, but
 * for what moves its position, and virgo_close().
 */
#ifndef VIRGO_FILE_API_H
#define VIRGO_FILE_API_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct virgo;
struct virgo_file; /* an open file, with a position of its own */

/* What stat(2) says. Times are nanoseconds since the epoch. */
struct virgo_file_stat {
	uint64_t inode; /* unique in the pool */
	uint64_t size, allocated;
	int64_t accessed_ns, modified_ns, changed_ns, created_ns;
	uint32_t mode, links, uid, gid, block_size;
	uint16_t node;	  /* its home's number */
	uint16_t stripes; /* over so many nodes; 0: not striped */
};

/* ---- open files ------------------------------------------------------------------------------------------------ */

/*
 * `flags` as open(2)'s: O_RDONLY O_WRONLY O_RDWR, O_CREAT O_EXCL O_TRUNC O_APPEND O_DIRECT O_SYNC O_DSYNC O_NOFOLLOW
 * O_DIRECTORY; others are ignored. *ret_file is given back with virgo_close(), whatever that says.
 */
int virgo_open(struct virgo *virgo, const char *path, int flags, mode_t mode, struct virgo_file **ret_file);
/* A new file in stripes of `unit` bytes over so many nodes (0: all). -EEXIST … */
int virgo_open_striped(struct virgo *virgo, const char *path, int flags, mode_t mode, uint32_t unit, unsigned int count,
		       struct virgo_file **ret_file);
int virgo_close(struct virgo *virgo, struct virgo_file *file);
/* At the file's position, which moves. Any length: large ones go as several requests at once. */
ssize_t virgo_read(struct virgo *virgo, struct virgo_file *file, void *buffer, size_t length);
ssize_t virgo_write(struct virgo *virgo, struct virgo_file *file, const void *data, size_t length);
ssize_t virgo_pread(struct virgo *virgo, struct virgo_file *file, void *buffer, size_t length, uint64_t offset);
ssize_t virgo_pwrite(struct virgo *virgo, struct virgo_file *file, const void *data, size_t length, uint64_t offset);
struct iovec;
ssize_t virgo_preadv(struct virgo *virgo, struct virgo_file *file, const struct iovec *vectors, int count,
		     uint64_t offset);
ssize_t virgo_pwritev(struct virgo *virgo, struct virgo_file *file, const struct iovec *vectors, int count,
		      uint64_t offset);
/* whence: SEEK_SET … SEEK_HOLE */
int64_t virgo_seek(struct virgo *virgo, struct virgo_file *file, int64_t offset, int whence);
int virgo_fsync(struct virgo *virgo, struct virgo_file *file);
int virgo_fdatasync(struct virgo *virgo, struct virgo_file *file);
int virgo_ftruncate(struct virgo *virgo, struct virgo_file *file, uint64_t size);
int virgo_fallocate(struct virgo *virgo, struct virgo_file *file, int mode, uint64_t offset, uint64_t length);
int virgo_fstat(struct virgo *virgo, struct virgo_file *file, struct virgo_file_stat *ret_stat);
/* What virgo_fstat() said when it was opened, after creating and truncating; nobody is asked. */
const struct virgo_file_stat *virgo_opened_stat(const struct virgo_file *file);
/* As virgo_chmod() & co below, of a file that may have lost its name. */
int virgo_fchmod(struct virgo *virgo, struct virgo_file *file, mode_t mode);
int virgo_fchown(struct virgo *virgo, struct virgo_file *file, uint32_t uid, uint32_t gid);
struct timespec;
int virgo_futimens(struct virgo *virgo, struct virgo_file *file, const struct timespec times[2]);
/* On the server, without the bytes coming here, where both files are of one node: -EXDEV else. */
ssize_t virgo_copy_range(struct virgo *virgo, struct virgo_file *from, uint64_t from_offset, struct virgo_file *to,
			 uint64_t to_offset, size_t length);
/*
 * flock(2) and fcntl(2)'s F_SETLK, F_SETLKW, F_GETLK; `owner` tells owners within this client apart. What waits, waits
 * without limit, whatever virgo_options.timeout_ms; -EINTR: a signal came, and it waits no longer.
 */
int virgo_flock(struct virgo *virgo, struct virgo_file *file, uint64_t owner, int operation);
struct flock;
int virgo_lock(struct virgo *virgo, struct virgo_file *file, uint64_t owner, int command, struct flock *lock);

/* ---- names ----------------------------------------------------------------------------------------------------- */

int virgo_stat(struct virgo *virgo, const char *path, struct virgo_file_stat *ret_stat);
int virgo_lstat(struct virgo *virgo, const char *path, struct virgo_file_stat *ret_stat);
int virgo_unlink(struct virgo *virgo, const char *path);
int virgo_mkdir(struct virgo *virgo, const char *path, mode_t mode);
int virgo_rmdir(struct virgo *virgo, const char *path);
int virgo_rename(struct virgo *virgo, const char *from, const char *to, unsigned int flags); /* as renameat2(2)'s */
int virgo_link(struct virgo *virgo, const char *from, const char *to);
int virgo_symlink(struct virgo *virgo, const char *target, const char *path);
ssize_t virgo_readlink(struct virgo *virgo, const char *path, char *buffer, size_t bytes);
/* Of the file itself, if it is a symbolic link; UINT32_MAX: leave it. */
int virgo_chmod(struct virgo *virgo, const char *path, mode_t mode);
int virgo_chown(struct virgo *virgo, const char *path, uint32_t uid, uint32_t gid);
int virgo_truncate(struct virgo *virgo, const char *path, uint64_t size);
int virgo_utimens(struct virgo *virgo, const char *path, const struct timespec times[2]); /* UTIME_NOW, UTIME_OMIT */
ssize_t virgo_getxattr(struct virgo *virgo, const char *path, const char *name, void *value, size_t bytes);
int virgo_setxattr(struct virgo *virgo, const char *path, const char *name, const void *value, size_t length,
		   int flags);
ssize_t virgo_listxattr(struct virgo *virgo, const char *path, char *names, size_t bytes);
int virgo_removexattr(struct virgo *virgo, const char *path, const char *name);

struct virgo_statfs {
	uint64_t bytes, bytes_free, bytes_available, files, files_free;
	uint32_t block_size, name_max;
	unsigned int nodes, nodes_silent; /* summed up over; that did not answer */
};
int virgo_statfs(struct virgo *virgo, struct virgo_statfs *ret_statfs);

/*
 * A directory, from all nodes; without "." and "..". fn returns 0 to go on, or what the call shall return. When a node
 * does not answer what the others have is listed, and the call returns -EHOSTDOWN at the end. fn may not use `virgo`.
 */
typedef int (*virgo_list_fn)(void *context, const char *name, const struct virgo_file_stat *stat);
int virgo_list(struct virgo *virgo, const char *path, virgo_list_fn fn, void *context);

/*
 * Changes below a directory or of a file, as inotify(7) tells them; `fn` is called from inside virgo_poll(),
 * virgo_wait() and synchronous calls. IN_Q_OVERFLOW: some were lost.
 */
typedef void (*virgo_watch_fn)(void *context, uint32_t mask, uint32_t cookie, const char *name);
struct virgo_watch;
int virgo_watch(struct virgo *virgo, const char *path, uint32_t mask, virgo_watch_fn fn, void *context,
		struct virgo_watch **ret_watch);
int virgo_unwatch(struct virgo *virgo, struct virgo_watch *watch);

/* ---- small files, whole ---------------------------------------------------------------------------------------- */

/* Open, read all, close, in one request where it is small. The bytes are the caller's to free(). */
int virgo_file_get(struct virgo *virgo, const char *path, void **ret_data, size_t *ret_length,
		   struct virgo_file_stat *ret_stat);
/* Create or replace, write, close. `flags`: O_EXCL, O_SYNC. */
int virgo_file_put(struct virgo *virgo, const char *path, const void *data, size_t length, int flags, mode_t mode);

/* ---- many requests at once ------------------------------------------------------------------------------------- */

/*
 * Without waiting: fn is called once, later, from inside virgo_poll(), virgo_wait() or a synchronous call; `result` is
 * what the synchronous function would return. Buffers stay the caller's, in place, until then. 0, or -EAGAIN: too many
 * in flight, nothing was taken. virgo_wait() and virgo_pending() count these too.
 */
typedef void (*virgo_file_fn)(void *context, ssize_t result);
int virgo_submit_pread(struct virgo *virgo, struct virgo_file *file, void *buffer, size_t length, uint64_t offset,
		       virgo_file_fn fn, void *context);
int virgo_submit_pwrite(struct virgo *virgo, struct virgo_file *file, const void *data, size_t length, uint64_t offset,
			virgo_file_fn fn, void *context);
int virgo_submit_fsync(struct virgo *virgo, struct virgo_file *file, int data_only, virgo_file_fn fn, void *context);
int virgo_submit_file_put(struct virgo *virgo, const char *path, const void *data, size_t length, int flags,
			  mode_t mode, virgo_file_fn fn, void *context);
/* *ret_data and *ret_length are written before fn is called. */
int virgo_submit_file_get(struct virgo *virgo, const char *path, void **ret_data, size_t *ret_length, virgo_file_fn fn,
			  void *context);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
