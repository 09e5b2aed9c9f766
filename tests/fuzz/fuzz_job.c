/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The body of a CLONE: whatever it is, it is refused with a reason or read within its bytes; and what was read, written
 * again, is the same request.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "virgo/job.h"

static void require(int condition)
{
	if (!condition)
		abort();
}

static struct vg_job_request fixed_of(const struct vg_job_view *view)
{
	return (struct vg_job_request){
		.kind = view->kind, .priority = view->priority, .flags = VG_HTOBE16(view->flags),
		.timeout_ms = VG_HTOBE32(view->timeout_ms), .issued_ms = VG_HTOBE64(view->issued_ms),
		.memory_bytes = VG_HTOBE64(view->memory_bytes), .cpu_ms = VG_HTOBE32(view->cpu_ms),
		.cpu_permille = VG_HTOBE32(view->cpu_permille), .processes = VG_HTOBE32(view->processes),
		.window = VG_HTOBE32(view->window), .rows = VG_HTOBE16(view->rows), .columns = VG_HTOBE16(view->columns),
		.arguments = VG_HTOBE32(view->arguments), .environment = VG_HTOBE32(view->environment),
		.input_length = VG_HTOBE32(view->input.length),
	};
}

static void write_again(const struct vg_job_view *view, const uint8_t *body, size_t length)
{
	struct vg_job_writer writer = { .data = malloc(length), .room = length };
	struct vg_job_request fixed = fixed_of(view);
	const __u8 *at = view->strings;

	require(writer.data != NULL);
	vg_job_put_bytes(&writer, &fixed, sizeof(fixed));
	vg_job_put(&writer, view->name.data, view->name.length);
	vg_job_put(&writer, view->directory.data, view->directory.length);
	for (__u32 i = 0; i < view->arguments + view->environment; i++) {
		struct vg_job_text text = vg_job_next(&at);

		require(memchr(text.data, 0, text.length) == NULL);
		require(i < view->arguments || (text.length && memchr(text.data + 1, '=', text.length - 1)));
		vg_job_put(&writer, text.data, text.length);
	}
	vg_job_put_bytes(&writer, view->input.data, view->input.length);
	require(writer.bytes == length && !memcmp(writer.data, body, length));
	free(writer.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vg_job_view view;
	enum vg_job_reason reason = vg_job_read(data, size, &view);

	require(reason < VG_JOB_REASON_MAX);
	if (!reason)
		write_again(&view, data, size);
	return 0;
}
