/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/dispatch.h"

#include <string.h>

#include "virgo/wire.h"

/* Words that begin a line of the original's grammars. */
static const char *const text_words[] = { "virgo_", "eventnet_", "REQUEST#", "REPLY#" };
static const char *const http_methods[] = { "GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "TRACE ",
					    "CONNECT " };
/* memcached's verbs that no Redis client sends in an inline command: a bare `get` and `set` need a closer look. */
static const char *const memcache_words[] = { "gets ", "gat ", "gats ", "add ", "replace ", "prepend ", "cas ", "mg ",
					      "ms ", "md ", "ma ", "mn\r", "me ", "version\r", "stats\r", "stats " };

/* These are both protocols'; the whole line tells. */
static const char *const shared_words[] = { "set ", "append " };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Does the line begin with one of the words? *maybe is set when it is too short to tell. */
static bool begins(const char *line, size_t length, const char *const *words, size_t count, bool *maybe)
{
	for (size_t i = 0; i < count; i++) {
		size_t word_length = strlen(words[i]);

		if (length >= word_length && memcmp(line, words[i], word_length) == 0)
			return true;
		if (length < word_length && memcmp(line, words[i], length) == 0)
			*maybe = true;
	}
	return false;
}

/* A request line ends in its version: `GET /metrics` alone is a person who reads a key. */
static bool is_http(const char *line, size_t length)
{
	bool maybe = false;

	return begins(line, length, http_methods, COUNT(http_methods), &maybe) && memmem(line, length, " HTTP/", 6);
}

/* `set KEY FLAGS EXPTIME BYTES`: three numbers where a Redis client has at most a value and options. */
static bool is_memcache_storage(const char *line, size_t length)
{
	int field = 0;
	bool digits = true, maybe;

	if (!begins(line, length, shared_words, COUNT(shared_words), &maybe))
		return false;
	for (size_t i = 0; i < length && line[i] != '\r'; i++) {
		if (line[i] == ' ') {
			if (field >= 2 && !digits)
				return false;
			field++;
			digits = true;
		} else if (line[i] < '0' || line[i] > '9') {
			digits = false;
		}
	}
	return field == 4 && digits;
}

enum vg_protocol vg_dispatch(const __u8 *data, size_t length, bool ended)
{
	const char *line = (const char *)data;
	const char *end;
	bool maybe = false, whole;

	if (length == 0)
		return VG_PROTOCOL_UNKNOWN;
	if (data[0] == '*')
		return VG_PROTOCOL_RESP;
	if (data[0] == VG_WIRE_MAGIC >> 8) {
		if (length < 2 && !ended)
			return VG_PROTOCOL_UNKNOWN;
		if (length >= 2 && data[1] == (VG_WIRE_MAGIC & 0xff))
			return VG_PROTOCOL_BINARY;
	}
	if (begins(line, length, text_words, COUNT(text_words), &maybe))
		return VG_PROTOCOL_TEXT;
	if (begins(line, length, memcache_words, COUNT(memcache_words), &maybe))
		return VG_PROTOCOL_MEMCACHE;
	if (begins(line, length, http_methods, COUNT(http_methods), &maybe) ||
	    begins(line, length, shared_words, COUNT(shared_words), &maybe))
		maybe = true;

	end = memchr(line, '\n', length);
	whole = end || length >= VG_DISPATCH_BYTES || ended;
	if (end)
		length = (size_t)(end - line);
	if (is_http(line, length))
		return VG_PROTOCOL_HTTP;
	if (!whole && maybe)
		return VG_PROTOCOL_UNKNOWN;
	if (end && is_memcache_storage(line, length))
		return VG_PROTOCOL_MEMCACHE;
	return VG_PROTOCOL_RESP;
}
