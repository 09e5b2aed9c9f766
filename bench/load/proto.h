/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the loader says and how it reads the answers: RESP2, memcached's ASCII, or bytes that only come back (echo). */
#ifndef VG_BENCH_PROTO_H
#define VG_BENCH_PROTO_H

#include <stdbool.h>
#include <stddef.h>

#include "virgo/types.h"

enum vg_bench_proto { VG_BENCH_RESP, VG_BENCH_MEMCACHE, VG_BENCH_ECHO };
enum vg_bench_verb { VG_BENCH_GET, VG_BENCH_SET, VG_BENCH_PING };

/* A request as it always looks; only the key and the value in it change. */
struct vg_bench_template {
	size_t length;
	size_t key_at;	 /* 0: no key */
	size_t value_at; /* 0: no value */
	size_t value_length;
	char *bytes;
};

/* Echo sends what RESP would; PING is RESP's or echo's. 0 or -ENOMEM. */
int vg_bench_template_init(struct vg_bench_template *request, enum vg_bench_proto proto, enum vg_bench_verb verb,
			   size_t value_length);
void vg_bench_template_deinit(struct vg_bench_template *request);

/* Write the request for key number `key`, whose hash is returned; `at` has room for request->length bytes. */
__u64 vg_bench_template_write(const struct vg_bench_template *request, __u32 key, char *at);

enum vg_bench_answer {
	VG_ANSWER_HIT,	 /* a value */
	VG_ANSWER_MISS,
	VG_ANSWER_DONE,	 /* stored, PONG, or the echo is complete */
	VG_ANSWER_ERROR, /* the server refused, or what it said cannot be understood */
};

/* Reads a stream of answers, however it is cut. One for each connection. */
struct vg_bench_parser {
	enum vg_bench_proto proto;
	bool value_seen;
	__u32 line_length;
	char line[120];
	__u64 echo_length; /* bytes of one echoed request, 0 for the others */
	__u64 body_left;   /* of a value and its CR LF, or of an echo */
	__u64 body_seen;
	__u64 head;	   /* the value's first eight bytes */
	__u64 body_length; /* of the value last read */
};

void vg_bench_parser_init(struct vg_bench_parser *parser, enum vg_bench_proto proto, size_t echo_length);

/* Called for each whole answer; `head` and `length` are the value's with VG_ANSWER_HIT. */
typedef void (*vg_bench_answer_fn)(void *context, enum vg_bench_answer answer, __u64 head, __u64 length);

void vg_bench_parse(struct vg_bench_parser *parser, const char *data, size_t length, vg_bench_answer_fn fn,
		    void *context);

#endif
