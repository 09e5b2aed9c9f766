/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "svc/mem/cmd.h"

static unsigned char fold(char byte, bool any_case)
{
	return (unsigned char)(any_case && byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte);
}

/*
 * Does `byte` belong to the class whose first byte behind '[' is pattern[*at]? *at ends on the ']' or, when there is
 * none, on the pattern's end.
 */
static bool class_has(const char *pattern, size_t length, size_t *at, unsigned char byte, bool any_case)
{
	size_t i = *at;
	bool negated = i < length && pattern[i] == '^', found = false;

	for (i += negated; i < length && pattern[i] != ']'; i++) {
		if (pattern[i] == '\\' && i + 1 < length) {
			i++;
			found |= (unsigned char)pattern[i] == byte;
		} else if (i + 2 < length && pattern[i + 1] == '-') {
			unsigned char low = fold(pattern[i], any_case), high = fold(pattern[i + 2], any_case);

			if (low > high) {
				unsigned char swap = low;

				low = high;
				high = swap;
			}
			found |= byte >= low && byte <= high;
			i += 2;
		} else {
			found |= fold(pattern[i], any_case) == byte;
		}
	}
	*at = i;
	return found != negated;
}

/* One pattern item other than '*' at *at against one byte; *at moves behind the item. */
static bool item_matches(const char *pattern, size_t length, size_t *at, char text, bool any_case)
{
	unsigned char byte = fold(text, any_case);
	char item = pattern[(*at)++];
	bool found;

	if (item == '?')
		return true;
	if (item == '[') {
		found = class_has(pattern, length, at, byte, any_case);
		if (*at < length)
			(*at)++;
		return found;
	}
	if (item == '\\' && *at < length)
		item = pattern[(*at)++];
	return fold(item, any_case) == byte;
}

/*
 * A mismatch goes back to the last '*' and lets it take one byte more; an earlier '*' never needs to be tried again, so
 * the time is at most the product of the lengths.
 */
bool vg_glob_match(const char *pattern, size_t pattern_length, const char *text, size_t length, bool any_case)
{
	size_t at = 0, i = 0, star = 0, star_text = 0;
	bool starred = false;

	if (!length) /* as Redis has it: not even a star fits nothing */
		return !pattern_length;
	while (i < length) {
		if (at < pattern_length && pattern[at] == '*') {
			starred = true;
			star = ++at;
			star_text = i;
			if (star == pattern_length)
				return true;
		} else if (at < pattern_length && item_matches(pattern, pattern_length, &at, text[i], any_case)) {
			i++;
		} else if (starred) {
			at = star;
			i = ++star_text;
		} else {
			return false;
		}
	}
	while (at < pattern_length && pattern[at] == '*')
		at++;
	return at == pattern_length;
}
