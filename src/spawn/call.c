/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "spawn/spawn.h"
#include "virgo/job.h"

/* What was read ahead: a small call comes with one system call. */
static char ahead[16384];
static size_t ahead_at, ahead_end;

/* All of it, or false: the daemon has gone. */
static bool read_all(void *to, size_t bytes)
{
	for (char *at = to; bytes;) {
		bool direct = bytes >= sizeof(ahead);
		size_t part = ahead_end - ahead_at < bytes ? ahead_end - ahead_at : bytes;
		ssize_t length;

		if (part) {
			memcpy(at, ahead + ahead_at, part);
			ahead_at += part;
			at += part;
			bytes -= part;
			continue;
		}
		length = direct ? read(STDIN_FILENO, at, bytes) : read(STDIN_FILENO, ahead, sizeof(ahead));
		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0)
			return false;
		if (direct) {
			at += length;
			bytes -= (size_t)length;
		} else {
			ahead_at = 0;
			ahead_end = (size_t)length;
		}
	}
	return true;
}

static bool write_all(struct iovec *vectors, int count)
{
	while (count) {
		ssize_t length = writev(STDIN_FILENO, vectors, count);

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return false;
		while (count && (size_t)length >= vectors->iov_len) {
			length -= (ssize_t)vectors->iov_len;
			vectors++;
			count--;
		}
		if (count) {
			vectors->iov_base = (char *)vectors->iov_base + length;
			vectors->iov_len -= (size_t)length;
		}
	}
	return true;
}

static bool answer(const struct call_result *result)
{
	size_t text_length = result->text ? strnlen(result->text, VG_CALL_TEXT_MAX) : 0;
	struct vg_call_answer head = {
		.code = result->code,
		.reason = result->reason,
		.result_length = (uint32_t)result->result_length,
		.text_length = (uint32_t)text_length,
	};
	struct iovec vectors[] = {
		{ &head, sizeof(head) },
		{ (void *)result->result, result->result_length },
		{ (void *)result->text, text_length },
	};

	return write_all(vectors, 3);
}

int call_loop(void (*serve)(const struct call *call, struct call_result *result))
{
	char *name = malloc(VG_JOB_SPEC_MAX + 1), *argument = malloc(VG_JOB_INPUT_MAX);
	char *room = malloc(VG_JOB_RESULT_MAX);
	struct vg_call_message head;

	if (!name || !argument || !room)
		return EXIT_FAILURE;
	while (read_all(&head, sizeof(head))) {
		struct call call = {
			.name = name,
			.argument = argument,
			.argument_length = head.argument_length,
			.result = room,
			.result_max = head.result_max < VG_JOB_RESULT_MAX ? head.result_max : VG_JOB_RESULT_MAX,
		};
		struct call_result result = { 0 };

		if (head.name_length > VG_JOB_SPEC_MAX || head.argument_length > VG_JOB_INPUT_MAX ||
		    !read_all(name, head.name_length) || !read_all(argument, head.argument_length))
			break;
		name[head.name_length] = '\0';
		serve(&call, &result);
		if (!answer(&result))
			break;
	}
	return EXIT_SUCCESS;
}
