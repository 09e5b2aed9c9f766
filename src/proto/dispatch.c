/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/dispatch.h"

#include <string.h>

#include "virgo/wire.h"

/* Words that begin a line of the original's grammars. */
static const char *const text_words[] = { "virgo_", "eventnet_", "REQUEST#", "REPLY#" };
static const char *const http_methods[] = { "GET ",    "HEAD ",    "POST ",  "PUT ",
					    "DELETE ", "OPTIONS ", "PATCH ", "TRACE ",
					    "CONNECT " };
/*
 * memcached's commands that are no command of Redis: a line that begins with one of these words is memcached's,
 * whatever follows. memcached knows lower case only.
 */
static const char *const memcache_words[] = {
	"gets", "gat", "gats", "bget", "add", "replace", "prepend", "cas",   "delete",    "flush_all",
	"mg",	"ms",  "md",   "ma",   "mn",  "me",	 "stats",   "version", "verbosity",
};
/*
 * Commands of both, told apart by what stands behind them (docs/decisions/0050): a storage line has three numbers,
 * incr, decr and touch have one key and one number, and a get in lower case ends in CR LF.
 */
static const char *const shared_words[] = { "set ", "append ", "incr ", "decr ", "touch ", "get " };

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

/* Does the line begin with one of the words, and does the word end there? */
static bool is_memcache_word(const char *line, size_t length, bool *maybe)
{
	for (size_t i = 0; i < COUNT(memcache_words); i++) {
		size_t word = strlen(memcache_words[i]);

		if (memcmp(line, memcache_words[i], length < word ? length : word) != 0)
			continue;
		if (length <= word)
			*maybe = true;
		else if (line[word] == ' ' || line[word] == '\r' || line[word] == '\n')
			return true;
	}
	return false;
}

static bool is_number(const char *text, size_t length)
{
	size_t at = length && text[0] == '-';

	if (at == length)
		return false;
	for (; at < length; at++)
		if (text[at] < '0' || text[at] > '9')
			return false;
	return true;
}

/* A line that begins with a shared word: is it memcached's? `cr_lf`: how it ends. */
static bool is_memcache_line(const char *line, size_t length, bool cr_lf)
{
	int words = 0, numbers = 0;
	bool noreply = false;

	for (size_t at = 0, end; at < length; at = end + 1) {
		for (end = at; end < length && line[end] != ' ' && line[end] != '\r'; end++)
			;
		if (end == at)
			continue;
		words++;
		noreply = end - at == 7 && memcmp(line + at, "noreply", 7) == 0;
		numbers += words > 2 && is_number(line + at, end - at);
	}
	words -= noreply;
	if (line[0] == 'g')
		return cr_lf && words > 1;
	if (line[0] == 's' || line[0] == 'a')
		return words == 5 && numbers == 3;
	return words == 3 && numbers == 1;
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
	if (is_memcache_word(line, length, &maybe))
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
	/* A get too long to be one key's is memcached's; of the others the whole line is looked at. */
	if (begins(line, length, shared_words, COUNT(shared_words), &maybe) &&
	    (end ? is_memcache_line(line, length, length && line[length - 1] == '\r') : line[0] == 'g'))
		return VG_PROTOCOL_MEMCACHE;
	return VG_PROTOCOL_RESP;
}
