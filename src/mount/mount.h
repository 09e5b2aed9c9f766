/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * virgo-mount: the file pool as a file system, over libfuse's low level. The kernel asks by node and name, the pool is
 * asked by path: the tree remembers which names the kernel's nodes have. Each thread of libfuse takes a client of its
 * own for a request; all clients share the sessions, so that a file opened by one is used by all.
 *
 * Only one lock is held by several threads (struct tree's), never while the pool is asked.
 */
#ifndef VG_MOUNT_MOUNT_H
#define VG_MOUNT_MOUNT_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "virgo/types.h"
#include "virgo/virgo.h"

#define MOUNT_PATH_BYTES 4104 /* the longest path, with slashes and the zero byte */
#define MOUNT_IO_BYTES (1u << 20) /* of one read or write */
#define MOUNT_XATTR_BYTES 65536
#define MOUNT_WAITERS_MAX 24 /* for locks; with the threads they are the connections of one session */
#define MOUNT_THREADS_MAX 32

struct mount_options {
	const char *nodes, *key_file;
	const char *root; /* the pool's directory that is shown: "" or "/a/b" */
	const char *directory;
	unsigned int file_port, timeout_ms, threads;
	double entry_s, attribute_s, negative_s; /* how long the kernel may believe what it was told */
	__u64 readahead_bytes;
	bool writeback, ids, read_only, allow_other, foreground, io_uring;
};

/* options.c: 0, or what to leave with, after words were printed. */
#define OPTIONS_HELP (-1)
#define OPTIONS_USAGE 2
int options_parse(struct mount_options *options, int argc, char **argv);

/* ---- client.c -------------------------------------------------------------------------------------------------- */

struct client {
	struct virgo *virgo;
	struct client *next;
	char *buffer; /* MOUNT_IO_BYTES, page-aligned */
};

struct clients {
	pthread_mutex_t lock;
	const struct mount_options *options;
	struct virgo *first; /* whose sessions all others share; it asks once, at the start */
	struct client *idle;
};

/* Connect, and see that the pool answers. 0, or negative errno and words. */
int clients_init(struct clients *clients, const struct mount_options *options, char *why, size_t why_bytes);
void clients_deinit(struct clients *clients);
/* NULL: out of memory. */
struct client *clients_take(struct clients *clients);
void clients_put(struct clients *clients, struct client *client);
/* For a request; NULL: it has been answered that there is no memory. */
struct client *client_for(fuse_req_t req);

/* ---- tree.c ---------------------------------------------------------------------------------------------------- */

struct handle;

/* What the kernel calls an inode: one file or directory, whatever names it has. Guarded by the tree's lock. */
struct node {
	struct node *next; /* of those whose inode has the same hash */
	struct node *after, **before; /* of all */
	bool hashed, directory, striped;
	bool dirty;  /* written since it was last known to be on a disk */
	bool lost;   /* its server was started anew while it was dirty: the next fsync says so */
	bool locked; /* a lock was taken at some time: closing releases them */
	__u32 mode, links, gid;
	__u64 inode;
	__s64 created_ns;
	/* What the kernel's cached pages are of: unchanged, they may be kept when the file is opened again. */
	__s64 modified_ns;
	__u64 size;
	bool cached;
	__u64 lookups;	     /* the kernel's references */
	unsigned int inside; /* names in it */
	struct name *names;
	struct handle *handles;
};

struct tree {
	pthread_mutex_t lock;
	pthread_cond_t renamed_cond;
	struct node root;
	struct node *all;
	struct node **nodes; /* by inode */
	struct name **names; /* by directory and text */
	size_t buckets;	     /* of both, a power of two */
	size_t node_count, name_count;
	struct renames {
		unsigned int running; /* the pool was asked for, and has not answered */
		__u64 ended;
	} renames[2];	       /* of all, and of directories */
	__u64 changes;	       /* of names, by this mount */
	const char *prefix;
};

int tree_init(struct tree *tree, const char *prefix);
void tree_deinit(struct tree *tree);
struct node *tree_node(struct tree *tree, fuse_ino_t ino);
fuse_ino_t tree_ino(struct tree *tree, struct node *node);
/* The node of that name, which has this stat now; the kernel will have one reference more. NULL: out of memory. */
struct node *tree_enter(struct tree *tree, struct node *parent, const char *name, const struct virgo_file_stat *stat);
void tree_forget(struct tree *tree, struct node *node, __u64 lookups);
/* From the pool's root, into MOUNT_PATH_BYTES; `last`: a name in it. Under the lock. -ESTALE: it has no name. */
int tree_path(struct tree *tree, const struct node *node, const char *last, char *path);
/* The name is gone; `unlinked`: by this mount, so that the file may be gone, too. */
void tree_remove(struct tree *tree, struct node *parent, const char *name, bool unlinked);
/* True: it moves a directory, which tree_rename_end() wants to know. */
bool tree_rename_begin(struct tree *tree, struct node *from, const char *from_name, struct node *to,
		       const char *to_name);
/* Before tree_rename_end(), if it was done. */
void tree_rename(struct tree *tree, struct node *from, const char *from_name, struct node *to, const char *to_name,
		 bool exchange);
void tree_rename_end(struct tree *tree, bool directory);
void tree_changed(struct tree *tree);
__u64 tree_changes(struct tree *tree);
/* What stat said; `opened`: the kernel's pages are of this file now. True: they were before, too. */
bool tree_note(struct tree *tree, struct node *node, const struct virgo_file_stat *stat, bool opened);

/* ---- open.c ---------------------------------------------------------------------------------------------------- */

/* A file of the pool, opened; ends with its last user. */
struct opened {
	struct virgo_file *file;
	unsigned int references; /* under the tree's lock */
};

/* What the kernel calls an open file. */
struct handle {
	struct node *node;
	struct handle *next, **link; /* of the node's */
	int flags;		     /* to open it again */
	bool locked;		     /* has or had locks: opened anew it would not have them */
	struct opened *opened;
	pthread_mutex_t reopening; /* also around what moves the file's position */
};

struct mount;
int handle_new(struct mount *mount, struct node *node, int flags, struct virgo_file *file, struct handle **ret_handle);
void handle_free(struct mount *mount, struct client *client, struct handle *handle);
/* Those that the kernel did not release: at an unmount it drops what it had not said yet. No other thread is left. */
void handles_end(struct mount *mount);

/*
 * What a request is about: an open file, or a path. The request is repeated while target_again() says so:
 *
 *     struct target target = TARGET(handle or NULL, node, name or NULL);
 *     do {
 *             error = target_find(mount, client, &target);
 *             if (!error)
 *                     error = target.opened ? virgo_f…(…, target.opened->file) : virgo_…(…, target.path);
 *     } while (target_again(mount, client, &target, &error));
 */
struct target {
	struct handle *handle; /* NULL: by path, unless the node has lost its names */
	struct node *node;
	const char *name; /* in node, a directory; NULL: node itself */
	bool prefer_open; /* any open file of the node rather than its path */
	bool repeatable;  /* done twice is done once: it is repeated where its fate is unknown */
	struct opened *opened;
	__u64 renames;
	unsigned int tries;
	char path[MOUNT_PATH_BYTES];
};
#define TARGET(a_handle, a_node, a_name) { .handle = (a_handle), .node = (a_node), .name = (a_name) }
int target_find(struct mount *mount, struct client *client, struct target *target);
bool target_again(struct mount *mount, struct client *client, struct target *target, int *error);
/* Instead of target_again(), where nothing is repeated. */
void target_put(struct mount *mount, struct client *client, struct target *target);

/* ---- lock.c ---------------------------------------------------------------------------------------------------- */

struct waiter;
struct waiters {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct waiter *first;
	unsigned int count;
	bool closing;
};
void waiters_init(struct waiters *waiters);
/* Wake those again whose request was interrupted: a signal may have come before the wait it should have ended. */
void waiters_kick(struct waiters *waiters);
/* Interrupt all, and wait for their ends. */
void waiters_deinit(struct waiters *waiters);

/* ---- the whole ------------------------------------------------------------------------------------------------- */

struct mount {
	struct mount_options options;
	struct fuse_session *session;
	struct clients clients;
	struct tree tree;
	struct directory *directories; /* open ones; under the tree's lock */
	struct waiters waiters;
	pthread_t watcher; /* waits for signals */
	pthread_t looping; /* the thread in libfuse's loop */
	atomic_bool ended;
	uid_t uid;	   /* whose the files are said to be, without options.ids */
	gid_t gid;
};

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
static inline struct handle *handle_of(const struct fuse_file_info *info)
{
	return (struct handle *)(uintptr_t)info->fh;
}

/* directory.c: as handles_end(). */
void directories_end(struct mount *mount);

/* main.c: reply with an error of libvirgo (negative), as programs know it. */
void reply_error(fuse_req_t req, int error);
/* name.c: as the kernel wants it. */
void fill_stat(const struct mount *mount, const struct node *node, const struct virgo_file_stat *from, struct stat *to);
int fill_entry(struct mount *mount, struct node *parent, const char *name, const struct virgo_file_stat *stat,
	       struct fuse_entry_param *ret_entry);
/* Give what was made to the user who asked for it. */
int own_new(struct mount *mount, fuse_req_t req, struct client *client, struct node *parent, const char *path,
	    struct virgo_file_stat *stat);

/* The operations, by file: name.c, attribute.c, file.c, directory.c, lock.c. */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
	       unsigned int flags);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *stat, int to_set, struct fuse_file_info *info);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *info);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *info);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info);
void op_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset, struct fuse_file_info *from,
			fuse_ino_t to_ino, off_t to_offset, struct fuse_file_info *to, size_t length, int flags);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info);
void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct flock *lock);
void op_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, struct flock *lock, int sleep);
void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info, int operation);

#endif
