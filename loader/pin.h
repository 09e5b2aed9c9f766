/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The pin root: a directory of a bpffs that holds one node's state.
 *
 *     <root>/v<layout>/maps/      the maps, by their names: what the daemon opens
 *     <root>/v<layout>/progs/     the programs, by their names
 *     <root>/v<layout>/progs_next an upgrade's programs, until it is through
 *     <root>/v<layout>/links/     one entry a place the agent attached to; attach.h says what
 *
 * Pins are the durable state, so every change happens under a lock on the root directory and either stays as a whole or
 * is rolled back as a whole. Main thread.
 */
#ifndef VG_LOADER_PIN_H
#define VG_LOADER_PIN_H

#include <stdbool.h>
#include <sys/types.h>

#define VG_PIN_ROOT_BYTES_MAX 192 /* of the root's path */
#define VG_PIN_PATH_BYTES 320	  /* holds any path below it */
#define VG_PIN_NAME_BYTES 48
#define VG_PIN_CHANGES_MAX 64 /* directories and pins that one command makes */

enum vg_pin_directory {
	VG_PIN_MAPS,
	VG_PIN_PROGS,
	VG_PIN_PROGS_NEXT,
	VG_PIN_LINKS,
	VG_PIN_DIRECTORY_MAX,
};

struct vg_pin_root {
	char path[VG_PIN_ROOT_BYTES_MAX + 1];
	int lock_fd; /* the locked root directory, -1 when not locked */
	/* What was made since the last commit, for the way back. */
	struct {
		char path[VG_PIN_PATH_BYTES];
		bool directory;
	} changes[VG_PIN_CHANGES_MAX];
	int changes_count;
};

/*
 * Name the root without touching it. 0, or -EINVAL for a path that is relative or too long.
 */
int vg_pin_root_init(struct vg_pin_root *root, const char *path);

/*
 * Lock the root against other agents; wait for them at most some seconds, then -EBUSY. With `create` it is made where
 * it is missing (a change that can be rolled back), else -ENOENT. -ENOTSUP: not on a bpffs.
 */
int vg_pin_root_lock(struct vg_pin_root *root, bool create);
void vg_pin_root_unlock(struct vg_pin_root *root);

/* -EPROTONOSUPPORT when the root has pins of another layout version. */
int vg_pin_layout_check(const struct vg_pin_root *root);

/* Whether anything of this layout is pinned here. */
bool vg_pin_present(const struct vg_pin_root *root);

/* Make the layout's own directories where they are missing. */
int vg_pin_directories_make(struct vg_pin_root *root);
int vg_pin_directory_make(struct vg_pin_root *root, enum vg_pin_directory directory);

/* A new descriptor of a pinned object, -ENOENT, or another negative errno, explained. */
int vg_pin_get(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name);
int vg_pin_put(struct vg_pin_root *root, enum vg_pin_directory directory, const char *name, int fd);
/* Let a pin name another object, in one step; it is undone by replacing it again, not by a rollback. */
int vg_pin_replace(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name, int fd);
int vg_pin_remove(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name);
int vg_pin_give(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name, uid_t uid,
		gid_t gid);

/* Names of the pins of a directory; at most `names_max`. Returns how many, 0 when the directory is missing. */
int vg_pin_list(const struct vg_pin_root *root, enum vg_pin_directory directory, char (*ret_names)[VG_PIN_NAME_BYTES],
		int names_max);

/* Which directory it is; the same path is another one after an unload and a load. */
int vg_pin_directory_identity(const struct vg_pin_root *root, enum vg_pin_directory directory, dev_t *ret_device,
			      ino_t *ret_inode);

/* Let progs and progs_next change places, in one step; then remove a directory with all that is in it. */
int vg_pin_programs_exchange(const struct vg_pin_root *root);
int vg_pin_directory_remove(const struct vg_pin_root *root, enum vg_pin_directory directory);

/* Keep the changes made since the last commit, or take them back, the last one first. */
void vg_pin_commit(struct vg_pin_root *root);
void vg_pin_rollback(struct vg_pin_root *root);

/* Take the layout's directories away, and the root if nothing is left in it. */
int vg_pin_tree_remove(const struct vg_pin_root *root);

void vg_pin_path(const struct vg_pin_root *root, enum vg_pin_directory directory, const char *name,
		 char (*ret_path)[VG_PIN_PATH_BYTES]);

/* Whether the path is on a bpffs. */
bool vg_pin_is_bpffs(const char *path);

#endif
