// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The original's text on the CPU pool's port: one word a line, the name of what is to run; docs/protocol.md, "The CPU
 * pool as text", says what is answered and why.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/text.h"
#include "svc/cpu/cpu.h"
#include "svc/secret.h"

#define LINE_MAX_BYTES 4096
#define WORDS_MAX 64

static const char *reason_name(__u16 reason)
{
	switch (reason) {
#define X(name, number, status, text) \
	case number:                  \
		return #name;
		VG_JOB_REASONS(X)
#undef X
	}
	return "INTERNAL";
}

static void say_error(struct vg_session *session, bool padded, const char *name, const char *message)
{
	char small[32];
	size_t i;

	for (i = 0; name[i] && i < sizeof(small) - 1; i++)
		small[i] = (char)tolower((unsigned char)name[i]);
	small[i] = '\0';
	vg_text_reply_error(session->out, padded, small, message);
	vg_session_flush(session);
}

/* ---- the end of a job ------------------------------------------------------------------------------------------ */

static void say_failure(struct vg_job *job, struct vg_session *session)
{
	char message[200];

	if (job->text_length && job->result)
		snprintf(message, sizeof(message), "%.*s", (int)(job->text_length < 190 ? job->text_length : 190),
			 (const char *)job->result + job->result_length);
	else
		snprintf(message, sizeof(message), "%s", vg_job_reason_text(job->reason));
	for (char *at = message; *at; at++)
		if (*at < ' ')
			*at = ' ';
	say_error(session, job->padded, reason_name(job->reason), message);
}

static void say_output(struct vg_job *job, struct vg_session *session)
{
	struct vg_cpu_output *output = &job->output[0];
	char message[64];

	if (job->how != VG_JOB_EXITED || job->code) {
		snprintf(message, sizeof(message), "%s %d", vg_job_how_text(job->how), (int)job->code);
		say_error(session, job->padded, "exit", message);
	} else if (job->padded) {
		vg_text_reply(session->out, true, output->ring, (size_t)output->filled);
	} else if (!output->filled) {
		vg_text_reply(session->out, false, "ok", 2);
	}
}

void vg_cpu_text_end(struct vg_job *job, struct vg_session *session)
{
	if (job->how == VG_JOB_FAILED)
		say_failure(job, session);
	else if (job->view.kind == VG_JOB_EXECUTABLE)
		say_output(job, session);
	else if (job->how != VG_JOB_EXITED)
		say_error(session, job->padded, vg_job_how_text(job->how), vg_job_reason_text(job->reason));
	else if (job->code && !job->result_length)
		say_error(session, job->padded, "exit", "the function returned an error");
	else
		vg_text_reply(session->out, job->padded, job->result, job->result_length);
}

/* ---- a line ---------------------------------------------------------------------------------------------------- */

static void authenticate(struct vg_session *session, bool padded, const char *line, size_t length)
{
	static const char before[] = "virgo_auth(";
	size_t prefix = sizeof(before) - 1;

	if (length < prefix + 1 || memcmp(line, before, prefix) || line[length - 1] != ')') {
		vg_refuse(session->env, VG_REFUSAL_UNAUTHORIZED);
		say_error(session, padded, "unauthorized", "give the password first: virgo_auth(password)");
	} else if (!vg_secret_matches(session->env->settings->password, line + prefix, length - prefix - 1)) {
		vg_refuse(session->env, VG_REFUSAL_UNAUTHORIZED);
		say_error(session, padded, "unauthorized", "wrong password");
	} else {
		session->authenticated = true;
		vg_text_reply(session->out, padded, "OK", 2);
	}
}

/* The words of a line as argv. */
static __u32 put_words(struct vg_job_writer *writer, const char *line, size_t length)
{
	__u32 words = 0;

	for (size_t at = 0; at < length && words < WORDS_MAX;) {
		const char *space = memchr(line + at, ' ', length - at);
		size_t word = space ? (size_t)(space - line) - at : length - at;

		if (word) {
			vg_job_put(writer, line + at, (__u32)word);
			words++;
		}
		at += word + 1;
	}
	return words;
}

static void run(struct vg_session *session, bool padded, const char *line, size_t length)
{
	static __u8 memory[sizeof(struct vg_job_request) + 3 * LINE_MAX_BYTES + 4 * WORDS_MAX + 64];
	struct vg_job_writer writer = {
		.data = memory, .room = sizeof(memory), .bytes = sizeof(struct vg_job_request),
	};
	struct vg_cpu *cpu = vg_cpu(session->env);
	const char *space = memchr(line, ' ', length);
	size_t name = space ? (size_t)(space - line) : length;
	struct vg_job_request fixed = { .kind = cpu->settings->text_kind, .priority = VG_JOB_PRIORITY_DEFAULT };
	struct vg_cpu_request request = {
		.face = VG_CPU_TEXT, .client = session->id, .body = memory, .trusted = true, .peer = session->peer,
	};
	enum vg_job_reason reason;
	struct vg_job *job;

	vg_job_put(&writer, line, (__u32)name);
	vg_job_put(&writer, "", 0);
	if (fixed.kind == VG_JOB_EXECUTABLE) {
		fixed.arguments = VG_HTOBE32(put_words(&writer, line, length));
		fixed.flags = VG_HTOBE16(VG_JOB_INPUT_ENDS | VG_JOB_MERGE);
	} else if (space) {
		fixed.input_length = VG_HTOBE32((__u32)(length - name - 1));
		vg_job_put_bytes(&writer, space + 1, length - name - 1);
	}
	memcpy(memory, &fixed, sizeof(fixed));
	request.body_length = (__u32)writer.bytes;
	reason = vg_job_make(cpu, &request, &job);
	if (reason) {
		say_error(session, padded, reason_name((__u16)reason), vg_job_reason_text(reason));
		return;
	}
	if (!job) {
		vg_text_reply(session->out, padded, "queued", 6);
		return;
	}
	job->padded = padded;
	vg_job_attach(job, session, 0, 0);
	vg_session_pause(session); /* its answer comes before the next line's */
	vg_job_go(job);
}

static void take_line(struct vg_session *session, bool padded, const char *line, size_t length)
{
	while (length && (line[length - 1] == '\r' || line[length - 1] == ' '))
		length--;
	if (!length)
		return;
	session->requests++;
	session->env->stats->requests_stream++;
	if (!session->authenticated)
		authenticate(session, padded, line, length);
	else if (length > LINE_MAX_BYTES)
		say_error(session, padded, "too_long", "a line has at most 4096 bytes");
	else
		run(session, padded, line, length);
}

/* ---- the stream ------------------------------------------------------------------------------------------------ */

/* Where the line ends: at LF, or at NUL (the original's clients send 3000 bytes, text and NULs). */
static size_t line_length(const __u8 *data, size_t length, bool *ret_padded)
{
	const __u8 *feed = memchr(data, '\n', length), *end = memchr(data, '\0', feed ? (size_t)(feed - data) : length);

	*ret_padded = end;
	return end ? (size_t)(end - data) : feed ? (size_t)(feed - data) : length;
}

ssize_t vg_cpu_text_input(struct vg_session *session, const __u8 *data, size_t length)
{
	size_t taken = 0;

	while (taken < length && !session->paused && !session->finish && !vg_out_full(session->out)) {
		bool padded;
		size_t line = line_length(data + taken, length - taken, &padded);

		if (line == length - taken) {
			if (line <= LINE_MAX_BYTES + 2)
				break;
			/* Where the next line begins cannot be told without keeping this one. */
			vg_refuse(session->env, VG_REFUSAL_TOO_LONG);
			say_error(session, false, "too_long", "a line has at most 4096 bytes");
			session->finish = true;
			return (ssize_t)length;
		}
		take_line(session, padded, (const char *)data + taken, line);
		taken += line + 1;
	}
	return (ssize_t)taken;
}
