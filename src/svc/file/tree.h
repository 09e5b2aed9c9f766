/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One tree over many nodes: which node a request is for, stubs, and changes of names that concern several nodes. The
 * core asks at three places; in a cluster of one the first two answer at once.
 */
#ifndef VG_SVC_FILE_TREE_H
#define VG_SVC_FILE_TREE_H

#include "svc/file/file.h"

int vg_tree_init(struct vg_file_pool *pool);
void vg_tree_deinit(struct vg_file_pool *pool);

/*
 * An op by path, checked, before it runs. True: it is for this node and concerns no other: run it. False: tree.c has
 * taken it: it has answered WRONG_NODE, or asks others and continues with vg_op_run, or ends it itself. Must call
 * vg_op_keep before it returns false with the op alive. Forwarded ops come here too.
 */
bool vg_tree_begin(struct vg_file_op *op);
/*
 * An op by path is about to fail so. True: tree.c takes it (a stub was met: ELOOP; the copy of a directory is missing:
 * ENOENT, ENOTDIR). False: that is the answer.
 */
bool vg_tree_failed(struct vg_file_op *op, int error);
/* It is being answered: whatever was held for it (the order of its name) is let go. Only if op->tree is set. */
void vg_tree_end(struct vg_file_op *op, int error);

void vg_tree_home(struct vg_file_op *op); /* FILE_HOME */

/* ---- far.c: files of other nodes, for text clients --------------------------------------------------------------- */

/* An OPEN of a text client is for that node; with these flags of VG_FILE_*. Ends it. */
void vg_far_open(struct vg_file_op *op, __u16 node, __u16 flags);
/* The descriptor that a client's number stands for, at another node. */
bool vg_far_find(const struct vg_file_client *client, __u64 number, __u64 *ret_ident);
void vg_far_use(struct vg_file_op *op); /* READ, WRITE, CLOSE of op->ident, which is such a one. Ends it */
void vg_far_client_ended(struct vg_file_client *client);

/* ---- stubs (stub.c): pure, any thread ---------------------------------------------------------------------------- */

enum vg_stub_kind { VG_STUB_NONE, VG_STUB_HOME, VG_STUB_STRIPED };
#define VG_STUB_TARGET_MAX 512 /* 64 nodes of 5 digits, and the rest */
#define VG_STUB_UNIT_STEP 65536
#define VG_STUB_UNIT_MAX (1u << 30)
struct vg_stub {
	enum vg_stub_kind kind;
	__u16 home; /* HOME */
	__u64 id;   /* STRIPED */
	__u32 unit;
	__u16 count;
	__u16 node[VG_FILE_STRIPES_MAX];
};
/* Links that begin so are the pool's own, whatever follows: users may not make them (EINVAL). */
bool vg_stub_is_reserved(const char *target, size_t length);
/* What a symbolic link says: NONE: it is a user's. */
enum vg_stub_kind vg_stub_parse(const char *target, size_t length, struct vg_stub *ret_stub);
int vg_stub_format(const struct vg_stub *stub, char target[VG_STUB_TARGET_MAX]); /* its length */

#endif
