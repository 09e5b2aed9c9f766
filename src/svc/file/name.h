/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Operations on names of this node: name.c, list.c. */
#ifndef VG_SVC_FILE_NAME_H
#define VG_SVC_FILE_NAME_H

#include "svc/file/data.h"
#include "svc/file/file.h"

void vg_name_open(struct vg_file_op *op);
void vg_name_close(struct vg_file_op *op);
void vg_name_stat(struct vg_file_op *op);
void vg_name_change(struct vg_file_op *op);
void vg_name_statfs(struct vg_file_op *op);
void vg_name_list(struct vg_file_op *op);
void vg_name_mkdir(struct vg_file_op *op);
void vg_name_rmdir(struct vg_file_op *op);
void vg_name_unlink(struct vg_file_op *op);
void vg_name_rename(struct vg_file_op *op);
void vg_name_link(struct vg_file_op *op);
void vg_name_symlink(struct vg_file_op *op);
void vg_name_readlink(struct vg_file_op *op);
void vg_name_xattr_get(struct vg_file_op *op);
void vg_name_xattr_set(struct vg_file_op *op);
void vg_name_xattr_list(struct vg_file_op *op);
void vg_name_xattr_remove(struct vg_file_op *op);

#endif
