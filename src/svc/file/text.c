// SPDX-License-Identifier: GPL-3.0-or-later
/* The original's text on the file pool's port. */
#include <errno.h>

#include "svc/file/file.h"

ssize_t vg_file_text_input(struct vg_session *session, const __u8 *data, size_t length)
{
	return -EPROTONOSUPPORT;
}

void vg_file_text_answer(struct vg_file_op *op, struct vg_session *session, int error)
{
}
