/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CPU pools that say what a test wants: threads that read frames and answer by a script, on two addresses of loopback
 * with the same port, as two nodes have it. Included by one test program, behind cmocka.
 */
#ifndef TESTS_FAKE_POOL_H
#define TESTS_FAKE_POOL_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virgo/job.h"
#include "virgo/virgo.h"
#include "virgo/wire_codec.h"

#define FRAME_MAX (1u << 20)
#define JOB_ID 0x123456789aULL

struct frame {
	struct vg_wire_header header;
	__u8 *body;
	__u32 length;
};

struct pool {
	int listening, connection;
	pthread_t thread;
	atomic_bool stop;
	/* What the test looks at. */
	atomic_uint clones, attaches, cancels, windows, pings, connections;
	atomic_ullong first_sequence, last_sequence, attach_offset, attach_errors, input_bytes;
	atomic_bool input_ended;
	/* The script. False: the connection ends. */
	bool (*answer)(struct pool *pool, const struct frame *frame);
	__u32 in_flight; /* its load stamp */
};

static struct pool pools[2];
static __u16 port;

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static bool send_all(int fd, const void *data, size_t length)
{
	for (const __u8 *at = data; length;) {
		ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		at += sent;
		length -= (size_t)sent;
	}
	return true;
}

static bool reply(struct pool *pool, const struct frame *to, __u8 opcode, __u8 status, __u64 ident, __u64 argument,
		  __u16 partition, const void *body, size_t length)
{
	struct vg_wire_header header = {
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = opcode,
		.flags = VG_HTOBE16(VG_FLAG_REPLY),
		.status = status,
		.client = to->header.client,
		.sequence = to->header.sequence,
		.partition = VG_HTOBE16(partition),
		.ident = VG_HTOBE64(ident),
		.argument = VG_HTOBE64(argument),
		.body_length = VG_HTOBE32((__u32)length),
		.load = { .in_flight = VG_HTOBE32(pool->in_flight) },
	};

	return send_all(pool->connection, &header, sizeof(header)) && send_all(pool->connection, body, length);
}

static bool accepts(struct pool *pool, const struct frame *frame)
{
	return reply(pool, frame, VG_OP_CLONE, VG_STATUS_OK, JOB_ID, 0, 0, "", 0);
}

static bool writes(struct pool *pool, const struct frame *frame, __u16 stream, __u64 at, const char *text)
{
	return reply(pool, frame, VG_OP_JOB_OUTPUT, VG_STATUS_OK, JOB_ID, at, stream, text, strlen(text));
}

static bool refuses(struct pool *pool, const struct frame *frame, enum vg_job_reason reason)
{
	return reply(pool, frame, frame->header.opcode, vg_job_reason_status(reason), JOB_ID, reason, 0, "", 0);
}

static bool ends_with(struct pool *pool, const struct frame *frame, __u8 how, __u32 code, __u64 out, __u64 err,
		      const char *result, __u16 reason)
{
	struct {
		struct vg_job_end end;
		char result[64];
	} body = { .end = { .how = how,
			    .reason = VG_HTOBE16(reason),
			    .code = VG_HTOBE32(code),
			    .output_bytes = VG_HTOBE64(out),
			    .error_bytes = VG_HTOBE64(err),
			    .wall_us = VG_HTOBE64(1234),
			    .result_length = VG_HTOBE32((__u32)strlen(result)) } };

	memcpy(body.result, result, strlen(result));
	return reply(pool, frame, VG_OP_JOB_END, VG_STATUS_OK, JOB_ID, 0, 0, &body, sizeof(body.end) + strlen(result));
}

static bool receive_all(struct pool *pool, void *data, size_t length)
{
	for (__u8 *at = data; length;) {
		struct pollfd ready = { .fd = pool->connection, .events = POLLIN };
		ssize_t got;

		if (poll(&ready, 1, 20) == 0) {
			if (pool->stop)
				return false;
			continue;
		}
		got = recv(pool->connection, at, length, 0);
		if (got <= 0)
			return false;
		at += got;
		length -= (size_t)got;
	}
	return true;
}

static void note(struct pool *pool, const struct frame *frame)
{
	switch (frame->header.opcode) {
	case VG_OP_CLONE:
		if (!pool->clones++)
			pool->first_sequence = VG_BE64TOH(frame->header.sequence);
		pool->last_sequence = VG_BE64TOH(frame->header.sequence);
		break;
	case VG_OP_JOB_ATTACH:
		pool->attaches++;
		pool->attach_offset = VG_BE64TOH(frame->header.argument);
		pool->attach_errors = frame->length == 8 ? vg_job_load32(frame->body + 4) : 0;
		break;
	case VG_OP_JOB_CANCEL:
		pool->cancels++;
		break;
	case VG_OP_JOB_WINDOW:
		pool->windows++;
		break;
	case VG_OP_JOB_INPUT:
		pool->input_bytes += frame->length;
		pool->input_ended = pool->input_ended || !frame->length;
		break;
	case VG_OP_PING:
		pool->pings++;
		break;
	default:
		break;
	}
}

static void serve(struct pool *pool)
{
	struct frame frame = { .body = malloc(FRAME_MAX) };
	bool go_on = true;

	while (go_on && receive_all(pool, &frame.header, sizeof(frame.header))) {
		__u64 behind = vg_wire_length(&frame.header) - sizeof(frame.header);
		__u64 key = vg_wire_key_padded(&frame.header);

		if (behind > FRAME_MAX || !receive_all(pool, frame.body, behind))
			break;
		frame.length = VG_BE32TOH(frame.header.body_length);
		memmove(frame.body, frame.body + key, frame.length);
		note(pool, &frame);
		if (frame.header.opcode == VG_OP_PING)
			go_on = reply(pool, &frame, VG_OP_PING, VG_STATUS_OK, 0, 0, 0, "", 0);
		else
			go_on = pool->answer(pool, &frame);
	}
	free(frame.body);
}

static void *run_pool(void *argument)
{
	struct pool *pool = argument;

	while (!pool->stop) {
		struct pollfd ready = { .fd = pool->listening, .events = POLLIN };

		if (poll(&ready, 1, 20) != 1)
			continue;
		pool->connection = accept(pool->listening, NULL, NULL);
		if (pool->connection < 0)
			continue;
		pool->connections++;
		serve(pool);
		(void)close(pool->connection);
	}
	return NULL;
}

static void pool_start(int number, bool (*answer)(struct pool *pool, const struct frame *frame), __u32 in_flight)
{
	struct pool *pool = &pools[number];

	pool->answer = answer;
	pool->in_flight = in_flight;
	assert_int_equal(listen(pool->listening, 16), 0);
	assert_int_equal(pthread_create(&pool->thread, NULL, run_pool, pool), 0);
}

/* Two addresses of loopback with the same port, as two nodes have it. */
static int setup(void **state)
{
	(void)state;
	memset(pools, 0, sizeof(pools));
	port = 0;
	for (__u32 i = 0; i < 2; i++) {
		struct sockaddr_in address = { .sin_family = AF_INET,
					       .sin_addr.s_addr = htonl(INADDR_LOOPBACK + i),
					       .sin_port = htons(port) };
		socklen_t length = sizeof(address);

		pools[i].listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(pools[i].listening, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(getsockname(pools[i].listening, (struct sockaddr *)&address, &length), 0);
		port = ntohs(address.sin_port);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		pools[i].stop = true;
		if (pools[i].thread)
			(void)pthread_join(pools[i].thread, NULL);
		(void)close(pools[i].listening);
	}
	return 0;
}

static struct virgo *client(const char *nodes, unsigned int timeout_ms)
{
	struct virgo_options options = {
		.size = sizeof(options), .nodes = nodes, .cpu_port = port, .timeout_ms = timeout_ms, .owner = "tester"
	};
	struct virgo *v;
	char why[128];

	assert_int_equal(virgo_connect(&v, &options, why, sizeof(why)), 0);
	return v;
}

static const char *const two = "127.0.0.1,127.0.0.2";

#endif
