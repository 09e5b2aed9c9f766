/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a CLONE says, what a refusal means, and a list of jobs as JSON. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/job.h"

static __u32 count(const char *const *strings)
{
	__u32 number = 0;

	while (strings && strings[number])
		number++;
	return number;
}

static void put_text(struct vg_job_writer *writer, const char *text)
{
	vg_job_put(writer, text, (__u32)strlen(text));
}

static __u64 now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (__u64)now.tv_sec * 1000 + (__u64)now.tv_nsec / 1000000;
}

void vg_job_body_date(struct virgo_job *job)
{
	const __be64 issued_ms = VG_HTOBE64(now_ms());

	memcpy(job->body + offsetof(struct vg_job_request, issued_ms), &issued_ms, sizeof(issued_ms));
}

static __u16 wire_flags(const struct virgo_job *job, enum virgo_kind kind)
{
	__u16 flags = job->streams_input ? 0 : VG_JOB_INPUT_ENDS;

	if (kind != VIRGO_EXECUTABLE)
		return flags;
	flags |= job->flags & VIRGO_JOB_TTY ? VG_JOB_PTY : 0;
	flags |= job->flags & VIRGO_JOB_DETACH ? VG_JOB_KEEP : 0;
	if (job->flags & VIRGO_JOB_ISOLATE)
		flags |= VG_JOB_NEW_MOUNTS | VG_JOB_NEW_PIDS | VG_JOB_NEW_NET | VG_JOB_SECCOMP;
	return flags;
}

static void write_body(struct vg_job_writer *writer, const struct vg_job_request *fixed, const char *name,
		       const void *input, __u32 input_length, const struct virgo_job_options *options)
{
	bool executable = fixed->kind == VIRGO_EXECUTABLE;

	vg_job_put_bytes(writer, fixed, sizeof(*fixed));
	put_text(writer, name);
	put_text(writer, executable && options->directory ? options->directory : "");
	if (executable)
		put_text(writer, name);
	for (const char *const *text = options->arguments; executable && text && *text; text++)
		put_text(writer, *text);
	for (const char *const *text = options->environment; executable && text && *text; text++)
		put_text(writer, *text);
	vg_job_put_bytes(writer, input, input_length);
}

int vg_job_body(struct virgo_job *job, const char *name, const void *argument, size_t length,
		const struct virgo_job_options *options)
{
	const enum virgo_kind kind = job->kind;
	const bool executable = kind == VIRGO_EXECUTABLE;
	struct vg_job_writer writer = { 0 };
	struct vg_job_request fixed;
	__u32 inlined;

	/* Input of a program beyond what a CLONE holds follows in pieces. */
	job->streams_input = executable && (job->flags & VIRGO_JOB_INPUT || length > VG_JOB_INPUT_INLINE_MAX);
	if (!executable && length > VG_JOB_INPUT_MAX)
		return -EMSGSIZE;
	inlined = job->streams_input ? 0 : (__u32)length;
	job->input_ended = !(job->flags & VIRGO_JOB_INPUT);
	if (job->streams_input && vg_buffer_add(&job->input, argument, length))
		return -ENOMEM;
	vg_job_windows(job, executable && job->output ? VG_JOB_WINDOW_MAX : VG_JOB_WINDOW_DEFAULT);
	fixed = (struct vg_job_request){
		.kind = (__u8)kind,
		.priority = options->priority ? (__u8)options->priority : VG_JOB_PRIORITY_DEFAULT,
		.flags = VG_HTOBE16(wire_flags(job, kind)),
		.timeout_ms = VG_HTOBE32(options->timeout_ms),
		.memory_bytes = VG_HTOBE64(options->memory_bytes),
		.cpu_permille = VG_HTOBE32(options->cpu_permille),
		.window = VG_HTOBE32(job->stream[0].window),
		.rows = VG_HTOBE16(options->rows),
		.columns = VG_HTOBE16(options->columns),
		.arguments = VG_HTOBE32(executable ? count(options->arguments) + 1 : 0),
		.environment = VG_HTOBE32(executable ? count(options->environment) : 0),
		.input_length = VG_HTOBE32(inlined),
	};
	write_body(&writer, &fixed, name, argument, inlined, options);
	if (writer.bytes - inlined > VG_JOB_SPEC_MAX)
		return -EMSGSIZE;
	job->body = malloc(writer.bytes);
	if (!job->body)
		return -ENOMEM;
	job->body_length = (__u32)writer.bytes;
	writer = (struct vg_job_writer){ .data = job->body, .room = writer.bytes };
	write_body(&writer, &fixed, name, argument, inlined, options);
	return 0;
}

int vg_job_error(__u32 reason, __u8 status)
{
	switch (reason) {
	case VG_JOB_REASON_NOT_ALLOWED:
	case VG_JOB_REASON_NOT_YOURS:
		return -EPERM;
	case VG_JOB_REASON_CRASHED:
		return -EHOSTDOWN;
	case VG_JOB_REASON_TIMED_OUT:
		return -ETIME;
	case VG_JOB_REASON_VERIFIER:
		return -ENOEXEC;
	case VG_JOB_REASON_NO_MEMORY:
		return -EBUSY;
	default:
		break;
	}
	/* A job has no key whose condition might fail; the rest is as for any request. */
	return vg_error_of_status(&(struct vg_request){ 0 }, status);
}

/* ---- lists ----------------------------------------------------------------------------------------------------- */

struct text {
	char *data;
	size_t length, room;
	bool failed;
};

static void __attribute__((format(printf, 2, 3))) print(struct text *text, const char *format, ...)
{
	va_list arguments, again;
	int bytes;

	va_start(arguments, format);
	va_copy(again, arguments);
	bytes = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (!text->failed && text->room - text->length <= (size_t)bytes) {
		size_t room = 2 * (text->length + (size_t)bytes) + 256;
		char *data = realloc(text->data, room);

		text->failed = !data;
		text->data = data ? data : text->data;
		text->room = data ? room : text->room;
	}
	if (!text->failed)
		text->length +=
			(size_t)vsnprintf(text->data + text->length, text->room - text->length, format, arguments);
	va_end(arguments);
}

/* As a JSON string of ASCII: bytes of UTF-8 are shown one by one, as nobody has said that they are UTF-8. */
static void print_string(struct text *text, const __u8 *bytes, __u32 length)
{
	print(text, "\"");
	for (__u32 i = 0; i < length; i++) {
		if (bytes[i] < 0x20 || bytes[i] >= 0x7f || bytes[i] == '"' || bytes[i] == '\\')
			print(text, "\\u%04x", bytes[i]);
		else
			print(text, "%c", bytes[i]);
	}
	print(text, "\"");
}

static void print_record(struct text *text, const struct vg_job_record *record, const __u8 *name, __u32 length)
{
	print(text, "{\"job\":\"%016llx\",\"state\":\"%s\",\"kind\":\"%s\",\"name\":",
	      (unsigned long long)VG_BE64TOH(record->id), vg_job_state_text(record->state),
	      vg_job_kind_text(record->kind));
	print_string(text, name, length);
	if (record->state == VG_JOB_STATE_ENDED)
		print(text, ",\"how\":\"%s\",\"code\":%u", vg_job_how_text(record->how), VG_BE32TOH(record->code));
	print(text,
	      ",\"mine\":%s,\"attached\":%s,\"priority\":%u,\"pid\":%u,\"submitted_ms\":%llu,\"run_us\":%llu,"
	      "\"input_bytes\":%llu,\"output_bytes\":%llu}",
	      record->mine ? "true" : "false", record->attached ? "true" : "false", record->priority,
	      VG_BE32TOH(record->pid), (unsigned long long)VG_BE64TOH(record->submitted_ms),
	      (unsigned long long)VG_BE64TOH(record->run_us), (unsigned long long)VG_BE64TOH(record->input_bytes),
	      (unsigned long long)VG_BE64TOH(record->output_bytes));
}

int vg_job_list_json(const __u8 *body, __u32 length, char **ret_json)
{
	struct text text = { 0 };
	struct vg_job_record record;
	__u32 name_length;

	print(&text, "[");
	for (__u32 at = 0; at < length; at += (__u32)sizeof(record) + name_length) {
		if (length - at < sizeof(record))
			goto malformed;
		memcpy(&record, body + at, sizeof(record));
		name_length = VG_BE32TOH(record.name_length);
		if (name_length > length - at - sizeof(record))
			goto malformed;
		print(&text, "%s", at ? "," : "");
		print_record(&text, &record, body + at + sizeof(record), name_length);
	}
	print(&text, "]");
	if (text.failed) {
		free(text.data);
		return -ENOMEM;
	}
	*ret_json = text.data; /* the caller's from here */
	return 0;

malformed:
	free(text.data);
	return -EPROTO;
}
