/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The CPU pool's conversation by hand, for tests that say what no client library would: frames over a blocking socket,
 * requests made with the codec of virgo/job.h. What goes wrong with the tools of the test ends it.
 */
#ifndef VG_TESTS_JOB_H
#define VG_TESTS_JOB_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "virgo/job.h"
#include "virgo/wire_codec.h"

#ifndef JOB_KEY_ROOM /* a program may need longer ones */
#define JOB_KEY_ROOM VG_JOB_OWNER_MAX
#endif
#define JOB_BODY_MAX (VG_JOB_SPEC_MAX + VG_JOB_INPUT_MAX + VG_JOB_RESULT_MAX)

struct job_link {
	int fd;
	bool keyed;
	__u64 key[2];
	__u64 client, sequence;
	char owner[JOB_KEY_ROOM]; /* the key of what is sent */
	__u32 owner_length;
	struct vg_wire_header header; /* of the frame read last */
	__u8 *body;
};

struct job_frame {
	__u8 opcode;
	__u16 partition, flags;
	__u64 sequence, ident, argument;
	const void *body;
	__u32 body_length;
};

__attribute__((noreturn, unused)) static void job_die(const char *what)
{
	fprintf(stderr, "job client: %s: %s\n", what, strerror(errno));
	exit(99);
}

__attribute__((unused)) static __u64 job_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (__u64)now.tv_sec * 1000 + (__u64)now.tv_nsec / 1000000;
}

__attribute__((unused)) static void job_read_key(struct job_link *link, const char *path)
{
	unsigned long long high, low;
	FILE *file = path && path[0] ? fopen(path, "re") : NULL;

	if (!file)
		return;
	if (fscanf(file, "%16llx%16llx", &high, &low) != 2)
		job_die(path);
	fclose(file);
	link->keyed = true;
	link->key[0] = high;
	link->key[1] = low;
}

__attribute__((unused)) static void job_init(struct job_link *link)
{
	*link = (struct job_link){ .fd = -1, .body = malloc(JOB_BODY_MAX) };
	if (!link->body || getrandom(&link->client, sizeof(link->client), 0) != sizeof(link->client))
		job_die("start");
}

__attribute__((unused)) static struct sockaddr_in job_address(const char *address, const char *port)
{
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_port = htons((__u16)strtoul(port, NULL, 10)) };

	if (inet_pton(AF_INET, address, &where.sin_addr) != 1)
		job_die(address);
	return where;
}

__attribute__((unused)) static void job_connect(struct job_link *link, const char *address, const char *port)
{
	struct sockaddr_in where = job_address(address, port);
	int one = 1;

	if (link->fd >= 0)
		close(link->fd);
	link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&where, sizeof(where)))
		job_die("connect");
	setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

__attribute__((unused)) static bool job_send_all(int fd, const void *data, size_t length)
{
	for (const char *at = data; length;) {
		ssize_t part = send(fd, at, length, MSG_NOSIGNAL);

		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return false;
		at += part;
		length -= (size_t)part;
	}
	return true;
}

/* Header and padded key of a frame, in `room`; returns their length. */
__attribute__((unused)) static size_t job_head(const struct job_link *link, const struct job_frame *frame, __u8 *room)
{
	struct vg_wire_header header = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = frame->opcode,
		.flags = VG_HTOBE16(frame->flags | (link->keyed ? VG_FLAG_TAGGED : 0)),
		.client = VG_HTOBE64(link->client),
		.sequence = VG_HTOBE64(frame->sequence),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.partition = VG_HTOBE16(frame->partition),
		.ident = VG_HTOBE64(frame->ident),
		.key_length = VG_HTOBE32(link->owner_length),
		.body_length = VG_HTOBE32(frame->body_length),
		.argument = VG_HTOBE64(frame->argument),
	};
	size_t padded = VG_ALIGN_UP(link->owner_length, 8u);

	memset(room, 0, sizeof(header) + padded);
	memcpy(room + sizeof(header), link->owner, link->owner_length);
	if (link->keyed)
		header.tag = vg_wire_tag_of(link->key, &header, room + sizeof(header));
	memcpy(room, &header, sizeof(header));
	return sizeof(header) + padded;
}

__attribute__((unused)) static bool job_send(struct job_link *link, const struct job_frame *frame)
{
	__u8 room[sizeof(struct vg_wire_header) + JOB_KEY_ROOM];
	size_t length = job_head(link, frame, room);

	return job_send_all(link->fd, room, length) && job_send_all(link->fd, frame->body, frame->body_length);
}

static bool job_receive_all(int fd, void *data, size_t length)
{
	for (char *at = data; length;) {
		ssize_t part = recv(fd, at, length, 0);

		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return false;
		at += part;
		length -= (size_t)part;
	}
	return true;
}

/* The next frame into link->header and link->body; false: the connection has ended. */
__attribute__((unused)) static bool job_receive(struct job_link *link)
{
	__u32 length;

	if (!job_receive_all(link->fd, &link->header, sizeof(link->header)))
		return false;
	length = VG_BE32TOH(link->header.body_length);
	if (link->header.magic != VG_HTOBE16(VG_WIRE_MAGIC) || link->header.key_length || length > JOB_BODY_MAX) {
		errno = EPROTO;
		job_die("frame");
	}
	if (link->keyed && vg_wire_tag_of(link->key, &link->header, NULL) != link->header.tag &&
	    link->header.status != VG_STATUS_UNAUTHORIZED) {
		errno = EBADMSG;
		job_die("tag of an answer");
	}
	return job_receive_all(link->fd, link->body, length);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

struct job_wish {
	struct vg_job_request fixed; /* counts are filled in */
	const char *name, *directory;
	char **argument, **environment; /* NULL-terminated, or NULL */
	const void *input;
	__u32 input_length;
};

/* The body of a CLONE, allocated. */
__attribute__((unused)) static __u8 *job_body(const struct job_wish *wish, __u32 *ret_length)
{
	struct vg_job_writer writer = { 0 };
	struct vg_job_request fixed = wish->fixed;
	__u32 arguments = 0, environment = 0;

	while (wish->argument && wish->argument[arguments])
		arguments++;
	while (wish->environment && wish->environment[environment])
		environment++;
	fixed.arguments = VG_HTOBE32(arguments);
	fixed.environment = VG_HTOBE32(environment);
	fixed.input_length = VG_HTOBE32(wish->input_length);
	if (!fixed.issued_ms)
		fixed.issued_ms = VG_HTOBE64(job_now_ms());
	for (int pass = 0; pass < 2; pass++) {
		if (pass && !(writer.data = malloc(writer.room = writer.bytes)))
			job_die("memory");
		writer.bytes = 0;
		vg_job_put_bytes(&writer, &fixed, sizeof(fixed));
		vg_job_put(&writer, wish->name, (__u32)strlen(wish->name));
		vg_job_put(&writer, wish->directory ?: "", (__u32)strlen(wish->directory ?: ""));
		for (__u32 i = 0; i < arguments; i++)
			vg_job_put(&writer, wish->argument[i], (__u32)strlen(wish->argument[i]));
		for (__u32 i = 0; i < environment; i++)
			vg_job_put(&writer, wish->environment[i], (__u32)strlen(wish->environment[i]));
		vg_job_put_bytes(&writer, wish->input, wish->input_length);
	}
	*ret_length = (__u32)writer.bytes;
	return writer.data;
}

__attribute__((unused)) static struct job_frame job_clone_frame(struct job_link *link, const __u8 *body, __u32 length)
{
	return (struct job_frame){
		.opcode = VG_OP_CLONE,
		.sequence = ++link->sequence,
		.ident = vg_job_digest(link->keyed ? link->key : NULL, body, length),
		.body = body,
		.body_length = length,
	};
}

/* Ask for a job; returns the sequence of the request. */
__attribute__((unused)) static __u64 job_clone(struct job_link *link, const struct job_wish *wish)
{
	__u32 length;
	__u8 *body = job_body(wish, &length);
	struct job_frame frame = job_clone_frame(link, body, length);

	if (!job_send(link, &frame))
		job_die("send");
	free(body);
	return frame.sequence;
}

/* Say how far output of a channel was taken. */
__attribute__((unused)) static void job_taken(struct job_link *link, __u64 id, __u16 channel, __u64 offset)
{
	const struct job_frame frame = {
		.opcode = VG_OP_JOB_WINDOW, .partition = channel, .ident = id, .argument = offset,
	};

	(void)job_send(link, &frame);
}

__attribute__((unused)) static __u64 job_operation(struct job_link *link, __u8 opcode, __u64 id, __u64 argument)
{
	const struct job_frame frame = {
		.opcode = opcode, .sequence = ++link->sequence, .ident = id, .argument = argument,
	};

	if (!job_send(link, &frame))
		job_die("send");
	return frame.sequence;
}

__attribute__((unused)) static struct vg_job_end job_end_of(const struct job_link *link)
{
	struct vg_job_end end;

	memcpy(&end, link->body, sizeof(end));
	return end;
}

#endif
