// SPDX-License-Identifier: GPL-3.0-or-later
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"
#include "proto.h"

static const char KEY_PLACE[] = "0123456789abcdef";
_Static_assert(sizeof(KEY_PLACE) - 1 == VG_BENCH_KEY_BYTES, "the place of the key is as long as a key");

/* Everything before the value. */
static int print_head(char **ret_head, enum vg_bench_proto proto, enum vg_bench_verb verb, size_t value_length)
{
	bool memcache = proto == VG_BENCH_MEMCACHE;

	switch (verb) {
	case VG_BENCH_GET:
		return asprintf(ret_head, memcache ? "get %s\r\n" : "*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n", KEY_PLACE);
	case VG_BENCH_SET:
		return asprintf(ret_head, memcache ? "set %s 0 0 %zu\r\n" : "*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$%zu\r\n",
				KEY_PLACE, value_length);
	case VG_BENCH_PING:
		assert(!memcache);
		break;
	}
	return asprintf(ret_head, "*1\r\n$4\r\nPING\r\n");
}

int vg_bench_template_init(struct vg_bench_template *request, enum vg_bench_proto proto, enum vg_bench_verb verb,
			   size_t value_length)
{
	char *key, *grown;
	int head;

	*request = (struct vg_bench_template){ 0 };
	head = print_head(&request->bytes, proto, verb, value_length);
	if (head < 0)
		return -ENOMEM;
	request->length = (size_t)head;
	key = strstr(request->bytes, KEY_PLACE);
	request->key_at = key ? (size_t)(key - request->bytes) : 0;
	if (verb != VG_BENCH_SET)
		return 0;
	grown = realloc(request->bytes, request->length + value_length + 2);
	if (!grown) {
		vg_bench_template_deinit(request);
		return -ENOMEM;
	}
	request->bytes = grown;
	request->value_at = request->length;
	request->value_length = value_length;
	request->length += value_length + 2;
	memset(request->bytes + request->value_at, 0, value_length);
	memcpy(request->bytes + request->value_at + value_length, "\r\n", 2);
	return 0;
}

void vg_bench_template_deinit(struct vg_bench_template *request)
{
	free(request->bytes);
	*request = (struct vg_bench_template){ 0 };
}

__u64 vg_bench_template_write(const struct vg_bench_template *request, __u32 key, char *at)
{
	__u64 hash = 0;

	memcpy(at, request->bytes, request->length);
	if (request->key_at) {
		vg_bench_key(key, at + request->key_at);
		hash = vg_hash64(at + request->key_at, VG_BENCH_KEY_BYTES);
	}
	if (request->value_at)
		vg_bench_value(hash, at + request->value_at, request->value_length);
	return hash;
}

void vg_bench_parser_init(struct vg_bench_parser *parser, enum vg_bench_proto proto, size_t echo_length)
{
	*parser = (struct vg_bench_parser){ .proto = proto };
	if (proto == VG_BENCH_ECHO)
		parser->echo_length = parser->body_left = echo_length;
}

/* The value's length in "$64" or "VALUE key 0 64"; false when there is none. */
static bool length_in(const char *text, __u64 *ret_length)
{
	char *end;

	*ret_length = strtoull(text, &end, 10);
	return end != text && *end == 0;
}

static void begin_body(struct vg_bench_parser *parser, __u64 length)
{
	parser->body_length = length;
	parser->body_left = length + 2;
	parser->body_seen = 0;
	parser->head = 0;
}

/* A whole line without its end. True when it completes an answer. */
static bool take_line_resp(struct vg_bench_parser *parser, enum vg_bench_answer *ret_answer)
{
	const char *line = parser->line;
	__u64 length;

	*ret_answer = VG_ANSWER_DONE;
	if (line[0] == '+' || line[0] == ':')
		return true;
	if (line[0] == '$' && length_in(line + 1, &length)) {
		if (length == (__u64)-1) {
			*ret_answer = VG_ANSWER_MISS;
			return true;
		}
		begin_body(parser, length);
		return false;
	}
	*ret_answer = line[0] == '_' ? VG_ANSWER_MISS : VG_ANSWER_ERROR;
	return true;
}

static bool take_line_memcache(struct vg_bench_parser *parser, enum vg_bench_answer *ret_answer)
{
	const char *line = parser->line, *last_word = strrchr(line, ' ');
	__u64 length;

	if (!strncmp(line, "VALUE ", 6) && length_in(last_word + 1, &length)) {
		parser->value_seen = true;
		begin_body(parser, length);
		return false;
	}
	*ret_answer = VG_ANSWER_ERROR;
	if (!strcmp(line, "END"))
		*ret_answer = parser->value_seen ? VG_ANSWER_HIT : VG_ANSWER_MISS;
	else if (!strcmp(line, "STORED"))
		*ret_answer = VG_ANSWER_DONE;
	parser->value_seen = false;
	return true;
}

/* Returns the bytes used; *ret_line: the line is whole. A line too long for us is cut: it is an error anyway. */
static size_t take_line_bytes(struct vg_bench_parser *parser, const char *data, size_t length, bool *ret_line)
{
	const char *end = memchr(data, '\n', length);
	size_t used = end ? (size_t)(end - data) + 1 : length;
	size_t room = sizeof(parser->line) - 1 - parser->line_length;
	size_t kept = used < room ? used : room;

	memcpy(parser->line + parser->line_length, data, kept);
	parser->line_length += (__u32)kept;
	*ret_line = end != NULL;
	if (end) {
		while (parser->line_length && strchr("\r\n", parser->line[parser->line_length - 1]))
			parser->line_length--;
		parser->line[parser->line_length] = 0;
		parser->line_length = 0;
	}
	return used;
}

static size_t take_body(struct vg_bench_parser *parser, const char *data, size_t length)
{
	size_t used = length < parser->body_left ? length : (size_t)parser->body_left;

	for (size_t i = 0; i < used && parser->body_seen + i < 8; i++)
		((char *)&parser->head)[parser->body_seen + i] = data[i];
	parser->body_seen += used;
	parser->body_left -= used;
	return used;
}

void vg_bench_parse(struct vg_bench_parser *parser, const char *data, size_t length, vg_bench_answer_fn fn,
		    void *context)
{
	enum vg_bench_answer answer;
	size_t used;
	bool line;

	for (; length; data += used, length -= used) {
		if (parser->body_left) {
			used = take_body(parser, data, length);
			if (parser->body_left || parser->proto == VG_BENCH_MEMCACHE)
				continue;
			answer = parser->proto == VG_BENCH_ECHO ? VG_ANSWER_DONE : VG_ANSWER_HIT;
			parser->body_left = parser->echo_length; /* else 0: a line comes next */
			fn(context, answer, parser->head, parser->body_length);
			continue;
		}
		used = take_line_bytes(parser, data, length, &line);
		if (line && (parser->proto == VG_BENCH_RESP ? take_line_resp(parser, &answer) :
							      take_line_memcache(parser, &answer)))
			fn(context, answer, parser->head, parser->body_length);
	}
}
