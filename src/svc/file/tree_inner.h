/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tree's own: tasks, the order of changes of one name, what nodes ask of each other. docs/decisions/0087 has the
 * orders of steps and what a crash between any two leaves.
 *
 *   tree.c	  routing, and how a task lives      gate.c	 names that are being changed, and who waits
 *   ask.c	  questions to nodes, this one too   home.c	 FILE_HOME: what others ask of this node
 *   parent.c	  does the directory exist?	     create.c	 OPEN, PUT, MKDIR, SYMLINK
 *   rename.c	  RENAME, LINK, UNLINK of files	     prepare.c	 their other end, at the name node of the new name
 *   directory.c  RMDIR, RENAME of directories	     stripe.c	 striped files
 *   place.c	  where a new file goes		     mend.c	 what a crash has left
 *   tree_disk.c tree_notes.c  system calls: helper threads
 *
 * An object (a file, a user's symbolic link, the stub of a striped file) lies at its home, under its own path. Where
 * that is not the name node, the name node has a stub that names the home. Whether there is an object the home decides:
 * a stub whose home has none is as good as nothing. That is what makes most changes safe without a log: the stub is
 * written before the object is, and removed after it has gone, and the one step at the home is the whole change.
 */
#ifndef VG_SVC_FILE_TREE_INNER_H
#define VG_SVC_FILE_TREE_INNER_H

#include "svc/file/tree.h"

#define VG_TREE_PIN "user.virgo.home" /* of a directory: the number of the node where new files of it go */
#define VG_TREE_TICK_NS 250000000ull
#define VG_TREE_WAIT_NS 8000000000ull	/* an operation waits so long for another's change, then EHOSTDOWN */
#define VG_TREE_LEASE_NS 15000000000ull /* a name held for another node: longer than its three questions may take */
#define VG_TREE_KNOWN_NS 3000000000ull /* that a directory exists, and where its files go, is believed so long */
#define VG_TREE_KNOWN 4096		/* directories that are remembered */
#define VG_TREE_TRASH_MAX 64
#define VG_TREE_LOCK_BUCKETS 1024
#define VG_TREE_BUSY_MS 4000 /* two changes that stand in each other's way: try again so long, then EBUSY */

/* ---- FILE_HOME -------------------------------------------------------------------------------------------------- */

/*
 * argument: verb | flags << 8 | node << 16 | mode << 32; ident: the asker's task; key: a path; body: another one. Nodes
 * of one cluster are of one version: these numbers are no protocol.
 */
enum vg_home_verb {
	VG_HOME_LOOK = 1, /* → argument: kind | home << 8 | mode << 32; ident: a directory's pin: a node, + 1 */
	VG_HOME_CREATE,	  /* an object and its directories; EEXIST */
	VG_HOME_UNLINK,	  /* the object */
	VG_HOME_MOVE,	  /* the object, to `body`; → argument 1: the old name is still there (of the same file) */
	VG_HOME_LINK,	  /* the object has another name */
	VG_HOME_PREPARE,  /* `key` will name an object at `node`: hold it, and have all ready. EAGAIN: held */
	VG_HOME_COMMIT,	  /* it does */
	VG_HOME_ABORT,	  /* it will not */
	VG_HOME_FREEZE,	  /* let nothing happen below the directory. EAGAIN: another one does that */
	VG_HOME_EMPTY,	  /* is it, here? ENOTEMPTY */
	VG_HOME_DROP,	  /* remove it, here */
	VG_HOME_SHIFT,	  /* its copy here is called `body` now; with MUST: there has to be one */
	VG_HOME_THAW,
	VG_HOME_ATTRIBUTES, /* of a directory that has come here: body: struct vg_tree_attributes */
	VG_HOME_PIECE_MAKE, /* key: "<id>.<index>" */
	VG_HOME_PIECE_DROP,
	VG_HOME_SPACE,	  /* → argument: bytes available; ident: load */
	VG_HOME_BEGUN,	  /* the asker's life has begun: its tasks of before will not be heard of again */
	VG_HOME_VERBS
};
#define VG_HOME_NO_REPLACE 0x01 /* PREPARE, MOVE */
#define VG_HOME_UNKNOWN 0x02	/* ABORT: perhaps it does: find out */
#define VG_HOME_MUST 0x04	/* SHIFT */

enum vg_home_kind { VG_KIND_NOTHING, VG_KIND_DIRECTORY, VG_KIND_FILE, VG_KIND_SYMLINK, VG_KIND_STUB, VG_KIND_STRIPED };
static inline bool vg_kind_is_object(enum vg_home_kind kind)
{
	return kind == VG_KIND_FILE || kind == VG_KIND_SYMLINK || kind == VG_KIND_STRIPED;
}

/* ---- names in change (gate.c) ------------------------------------------------------------------------------------ */

struct vg_op_list {
	struct vg_file_op *first, *last;
};

/* One name, which a task of this node or of another changes. */
struct vg_name_lock {
	struct vg_name_lock *next; /* of the bucket */
	__u64 task;
	__u16 node;	/* whose task */
	__u64 until_ns; /* 0: a task of this node, which ends by itself */
	struct vg_op_list waiters;
	/* Of PREPARE, for COMMIT. */
	bool prepared, stub_made, settling;
	bool recorded; /* in a note */
	__u64 note;    /* its number */
	__u16 home, old_home;
	__u32 length;
	char path[];
};

/* A directory below which nothing may begin. */
struct vg_freeze {
	struct vg_freeze *next;
	__u64 task;
	__u16 node;
	__u64 until_ns;
	struct vg_file_op *asked; /* the FREEZE, while changes below it are to end */
	struct vg_op_list waiters;
	__u32 length;
	char path[];
};

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

struct vg_tree_task;
struct vg_tree_reply {
	int error; /* 0 or -errno; EHOSTDOWN: the node did not answer: perhaps it was done */
	__u64 ident, argument;
};
typedef void (*vg_tree_fn)(struct vg_tree_task *task, const struct vg_tree_reply *reply);
typedef void (*vg_task_fn)(struct vg_tree_task *task);
typedef void (*vg_task_result_fn)(struct vg_tree_task *task, int result);

/* A change that takes several steps, or an operation that holds a name. */
struct vg_tree_task {
	struct vg_tree *tree;
	struct vg_file_op *op; /* who waits for it; NULL: nobody, it mends */
	struct vg_tree_task *next; /* free ones */
	__u64 id;
	struct vg_name_lock *lock, *other_lock; /* its own */
	struct vg_name_lock *prepared_lock;	/* prepare.c's: of the asker */
	char *path, *other; /* the op's, or its own */
	__u32 path_length, other_length;
	bool owns_paths;
	bool busy;   /* questions are out: it may not go */
	bool tentative; /* they go to who may not be there yet */
	bool parents_made, looked; /* what has been done for the op already */
	bool link, no_replace, stays;
	enum vg_home_kind kind;
	__u16 home, other_node, old_home, at_node;
	__u32 mode;
	__u32 pin; /* of the parent: node + 1 */
	/* parent.c's: of what, length of the directory asked for, what next. */
	const char *parent_of;
	__u32 parent_of_length, at;
	vg_task_fn parent_then;
	__u32 open; /* questions out, of a round */
	__u32 failed_node;
	int error, result;
	vg_task_fn then;
	int (*work)(struct vg_tree_task *task); /* on a helper thread, which has the task meanwhile */
	vg_task_result_fn worked;
	int root; /* for it */
	__u8 *buffer; /* for it; freed with the task */
	__u32 buffer_length;
	struct vg_stub stub;
};

struct vg_known {
	char *path;
	__u32 length;
	__u32 pin;
	__u64 until_ns;
};

struct vg_place_node {
	__u64 bytes, load, heard_ns;
	bool asked;
};

struct vg_tree {
	struct vg_file_pool *pool;
	__u16 nodes, self;
	struct vg_name_lock *lock[VG_TREE_LOCK_BUCKETS];
	__u32 locks;
	struct vg_freeze *freezes;
	struct vg_op_list ready; /* may go on */
	bool ready_timer, stopping;
	struct vg_tree_task *tasks_free;
	struct vg_known *known; /* VG_TREE_KNOWN */
	struct vg_place_node *place; /* nodes */
	__u64 next_task; /* greater than those of all lives before: they begin with the time */
	__u64 ticks;
	/* mend.c's: when to look into the trash, 0: not; what is in it. */
	__u64 trash_at;
	bool trash_busy;
	__u32 trash_count;
	__u64 trash[VG_TREE_TRASH_MAX];
};

static inline struct vg_tree *vg_tree_of(const struct vg_file_pool *pool)
{
	return pool->tree;
}

static inline __u64 vg_tree_now_ns(const struct vg_tree *tree)
{
	return tree->pool->env->clock->monotonic_ns;
}

__u16 vg_tree_owner(const struct vg_tree *tree, const char *path, __u32 length);
/* Length of the directory that a path is in. */
static inline __u32 vg_tree_parent(const char *path, __u32 length)
{
	__u32 offset = vg_file_name_offset(path, length);

	return offset ? offset - 1 : 0;
}

/* tree.c. The op's, with its name held: NULL: no memory. Ends with the op. */
struct vg_tree_task *vg_task_new(struct vg_tree *tree, struct vg_file_op *op);
/* One that nobody waits for; paths are copied; ended with vg_task_end. */
struct vg_tree_task *vg_task_new_own(struct vg_tree *tree, const char *path, const char *other);
void vg_task_end(struct vg_tree_task *task);
/* End the task's op. */
void vg_task_fail(struct vg_tree_task *task, int error);
void vg_task_ok(struct vg_tree_task *task);
void vg_task_absent(struct vg_tree_task *task); /* ENOENT, if nothing on the way says better */
void vg_task_elsewhere(struct vg_tree_task *task, __u16 home, __u16 flags); /* WRONG_NODE, AT_HOME */
/* Its names are held by another: let go of its own, and begin again a moment later. */
void vg_task_again(struct vg_tree_task *task);
/* On a helper thread; then `worked` with its result. */
void vg_task_work(struct vg_tree_task *task, int (*work)(struct vg_tree_task *task), vg_task_result_fn worked);
/* `then` after so long. */
void vg_task_rest(struct vg_tree_task *task, __u64 delay_ns, vg_task_fn then);
/* Run the op as on one node. */
void vg_task_run(struct vg_tree_task *task);

/* gate.c. True: the op waits, and comes back through vg_tree_begin. */
bool vg_gate_wait(struct vg_tree *tree, struct vg_file_op *op);
struct vg_name_lock *vg_gate_find(struct vg_tree *tree, const char *path, __u32 length);
/* NULL: no memory. It must not be held. */
struct vg_name_lock *vg_gate_lock(struct vg_tree *tree, const char *path, __u32 length, __u64 task, __u16 node);
void vg_gate_unlock(struct vg_tree *tree, struct vg_name_lock *lock);
void vg_gate_freeze(struct vg_tree *tree, struct vg_file_op *op); /* ends it, now or later */
void vg_gate_thaw(struct vg_tree *tree, __u64 task, __u16 node);
/* Frozen on behalf of nobody that asks: at the start, before anything runs. */
int vg_gate_freeze_own(struct vg_tree *tree, const char *path, __u64 task);
/* That node was started anew: tasks of before this one are no more. */
void vg_gate_begun(struct vg_tree *tree, __u16 node, __u64 task);
void vg_gate_tick(struct vg_tree *tree);
void vg_gate_deinit(struct vg_tree *tree);

/* ask.c */
void vg_tree_ask(struct vg_tree_task *task, __u16 node, __u64 argument, const char *path, __u32 length,
		 const char *other, __u32 other_length, vg_tree_fn fn);
/* LOOK: what is there? */
void vg_tree_ask_look(struct vg_tree_task *task, __u16 node, const char *path, __u32 length, vg_tree_fn fn);
/*
 * All nodes at once, or all but this one; then task->then, with task->error: the worst, and task->failed_node: whose.
 */
void vg_tree_ask_all(struct vg_tree_task *task, bool self_too, __u64 argument, const char *path, __u32 length,
		     const char *other, __u32 other_length, vg_task_fn then);
/* The node of each piece of task->stub. */
void vg_tree_ask_pieces(struct vg_tree_task *task, enum vg_home_verb verb, vg_task_fn then);
#define VG_HOME_ARGUMENT(verb, flags, node, mode) \
	((__u64)(verb) | (__u64)(flags) << 8 | (__u64)(node) << 16 | (__u64)(mode) << 32)

/* parent.c: `then` with task->error 0 and task->pin: the directory that `path` is in exists. `path` stays meanwhile. */
void vg_parent_check(struct vg_tree_task *task, const char *path, __u32 length, vg_task_fn then);
bool vg_parent_known(struct vg_tree *tree, const char *path, __u32 length, __u32 *ret_pin); /* of a directory */
void vg_parent_learn(struct vg_tree *tree, const char *path, __u32 length, __u32 pin);
void vg_parent_forget(struct vg_tree *tree); /* all */

/* create.c, rename.c, directory.c, stripe.c: operations, from vg_tree_begin, with the name held. */
void vg_create_begin(struct vg_tree_task *task);
void vg_create_met(struct vg_tree_task *task, int error); /* it failed so */
void vg_create_copy(struct vg_tree_task *task); /* of the op's directory, which is to be watched: then run it */
void vg_unlink_begin(struct vg_tree_task *task);
void vg_rename_begin(struct vg_tree_task *task);
void vg_rmdir_begin(struct vg_tree_task *task);
void vg_directory_rename(struct vg_tree_task *task);
void vg_directory_resume(struct vg_tree_task *task); /* a record of one was found */
bool vg_stripe_is_piece(const struct vg_file_op *op);
bool vg_stripe_begin(struct vg_file_op *op); /* of a piece: run it */
void vg_stripe_met(struct vg_file_op *op, const struct vg_stub *stub);
bool vg_stripe_parse(const char *name, __u64 *ret_id, __u32 *ret_index); /* "<id>.<index>"; any thread */
bool vg_stripe_is_create(const struct vg_file_op *op);
void vg_stripe_create(struct vg_tree_task *task);

/* prepare.c: what PREPARE, COMMIT and ABORT do. */
void vg_prepare_run(struct vg_file_op *op);
void vg_commit_run(struct vg_file_op *op, bool commit, bool unknown);

/* place.c */
__u16 vg_place_choose(struct vg_tree *tree, struct vg_file_op *op, __u32 pin);
__u16 vg_place_node_of(const struct vg_tree *tree, const char *peer);
__u64 vg_place_load(const struct vg_file_pool *pool);
void vg_place_tick(struct vg_tree *tree);
void vg_place_begin(struct vg_tree *tree); /* tell the others that this life has begun */
void vg_place_begun(struct vg_tree *tree, __u16 node); /* that node said so */
void vg_place_stripes(struct vg_tree *tree, struct vg_stub *stub, __u32 count);

/* mend.c */
int vg_mend_init(struct vg_tree *tree);
void vg_mend_tick(struct vg_tree *tree);
void vg_mend_soon(struct vg_tree *tree); /* the trash has something */
/* It could not be done now: `then` in a while. Who waits for it has been told EHOSTDOWN, or that it is done. */
void vg_mend_later(struct vg_tree_task *task, vg_task_fn then);
/* What became of a prepared name whose asker is silent: takes the lock over. */
void vg_mend_prepared(struct vg_tree *tree, struct vg_name_lock *lock);

/* home.c */
struct vg_quota_name;
/* vg_quota_name_begin around what takes a name away, which may be nothing or a stub. Helper threads. */
int vg_tree_goes_begin(struct vg_file_pool *pool, const char *path, struct vg_quota_name *ret_name);
struct vg_home_own {
	void *call; /* who asked, if this node did */
	__u8 verb, flags;
	__u16 node;
	__u32 mode;
	__u64 result, result_ident;
};
_Static_assert(sizeof(struct vg_home_own) <= sizeof(((struct vg_file_op *)0)->own), "it has room");
static inline struct vg_home_own *vg_home_own(struct vg_file_op *op)
{
	return (struct vg_home_own *)&op->own;
}

/* ---- tree_disk.c: any thread; 0 or -errno. Paths end in NUL ------------------------------------------- */

struct vg_tree_look {
	enum vg_home_kind kind;
	__u32 mode, pin;
	struct vg_stub stub;
};
/* NOTHING: also when its directory is not there. -ELOOP, -ENOTDIR: on the way to it. */
int vg_tree_look(int root, const char *path, struct vg_tree_look *ret_look);
int vg_tree_make_parents(int root, const char *path);
int vg_tree_create(int root, const char *path, __u32 mode);
/* The object; of a striped file the stub goes to the trash. -EISDIR. A stub of another node's: -ENOENT. */
int vg_tree_unlink(int root, const char *path);
int vg_tree_stub_make(int root, const char *path, __u16 home, bool replace);
/* If it is a stub that names `home`. */
int vg_tree_stub_remove(int root, const char *path, __u16 home);
int vg_tree_move(int root, const char *from, const char *to, bool no_replace); /* 1: the old name is still there */
int vg_tree_link(int root, const char *from, const char *to);
/* Objects, or directories that are this node's own: -ENOTEMPTY. */
struct vg_tree_mine {
	__u16 self;
	const struct vg_cluster *cluster;
};
int vg_tree_empty(int root, const char *path, const struct vg_tree_mine *mine);
/* With the copies of directories and stubs that are in it. */
int vg_tree_drop(int root, const char *path);
int vg_tree_shift(int root, const char *from, const char *to, bool must, __u32 mode);
/* tree_notes.c: own files, below VG_FILE_RESERVED: one per task. */
int vg_tree_beneath(int at, const char *path, int flags); /* open(2), no symbolic link on the way */
int vg_tree_need_parent(int root, const char *path, const char **ret_name); /* made if it is missing; O_PATH */
int vg_tree_read_stub(int parent, const char *name, struct vg_stub *ret_stub); /* NONE: it is none */
typedef int (*vg_tree_entry_fn)(void *context, int directory, const char *name); /* 0: go on */
int vg_tree_each_entry(int directory, vg_tree_entry_fn fn, void *context);
#define VG_TREE_NOTE_MAX (2 * VG_FILE_PATH_MAX + 128)
int vg_tree_note_write(int root, const char *kind, __u64 id, const char *text, __u32 length);
/* Its length; NUL behind it. */
int vg_tree_note_read(int root, const char *kind, __u64 id, char text[VG_TREE_NOTE_MAX]);
int vg_tree_note_remove(int root, const char *kind, __u64 id);
/* The numbers of all of a kind; fn: false: enough. */
int vg_tree_notes(int root, const char *kind, bool (*fn)(void *context, __u64 id), void *context);
/*
 * What a directory takes along to the node of its new name: as many of its extended attributes as have room. Read: its
 * length. Between nodes of one kind of machine.
 */
#define VG_TREE_ATTRIBUTES_MAX 60000
struct vg_tree_attributes {
	__u32 mode, uid, gid, reserved;
	__u64 accessed_s, accessed_ns, modified_s, modified_ns;
	__u8 extended[]; /* name, NUL, length (4 bytes), value; … */
};
int vg_tree_attributes_read(int root, const char *path, void *buffer, __u32 bytes);
int vg_tree_attributes_write(int root, const char *path, const void *buffer, __u32 length, bool owners);
int vg_tree_make_own(int root); /* the pool's own directories */
/* Striped files: stubs that are not yet and no longer names; the file that has its attributes; a piece's path. */
int vg_tree_making_begin(int root, const struct vg_stub *stub);
int vg_tree_making_place(int root, __u64 id, const char *path); /* it becomes the name; -EEXIST */
int vg_tree_making_end(int root, __u64 id); /* it will be no file: to the trash */
int vg_tree_trash_read(int root, __u64 id, struct vg_stub *ret_stub); /* 1: it has another name: not trash */
int vg_tree_trash_remove(int root, __u64 id, bool attributes);
int vg_tree_attributes_make(int root, __u64 id, __u32 mode);
void vg_tree_attributes_path(__u64 id, char path[64]);
int vg_tree_piece_make(int root, __u64 id, __u32 index);
int vg_tree_piece_drop(int root, __u64 id, __u32 index);
void vg_tree_piece_path(__u64 id, __u32 index, char path[80]);

#endif
