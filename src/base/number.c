/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/number.h"

/* Reads digits; *ret_rest is what follows them. */
static int parse_digits(const char *text, __u64 max, __u64 *ret_number, const char **ret_rest)
{
	__u64 number = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (__u64)(*text - '0'), &number) || number > max)
			return -ERANGE;
	*ret_number = number;
	*ret_rest = text;
	return 0;
}

int vg_number_parse(const char *text, __u64 max, __u64 *ret_number)
{
	const char *rest;
	__u64 number;
	int error = parse_digits(text, max, &number, &rest);

	if (error)
		return error;
	if (*rest)
		return -EINVAL;
	*ret_number = number;
	return 0;
}

int vg_size_parse(const char *text, __u64 max, __u64 *ret_bytes)
{
	static const struct {
		const char *suffix;
		int shift;
	} suffixes[] = { { "", 0 },    { "b", 0 },  { "k", 10 },  { "kb", 10 }, { "kib", 10 }, { "m", 20 },
			 { "mb", 20 }, { "mib", 20 }, { "g", 30 }, { "gb", 30 }, { "gib", 30 } };
	const char *rest;
	__u64 number;
	int error = parse_digits(text, max, &number, &rest);

	if (error)
		return error;
	for (unsigned int i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strcasecmp(rest, suffixes[i].suffix) == 0) {
			if (number > max >> suffixes[i].shift)
				return -ERANGE;
			*ret_bytes = number << suffixes[i].shift;
			return 0;
		}
	return -EINVAL;
}

int vg_span_parse(const char *text, __u64 max_ms, __u64 *ret_ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = { { "", 1e3 }, { "ms", 1 }, { "s", 1e3 }, { "m", 60e3 }, { "h", 3600e3 }, { "d", 86400e3 } };
	char *end;
	double number = strtod(text, &end);

	if (end == text || text[0] < '0' || text[0] > '9' || !(number >= 0 && number < 1e12))
		return -EINVAL;
	for (unsigned int i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0) {
			if (number * units[i].ms > (double)max_ms)
				return -ERANGE;
			*ret_ms = (__u64)(number * units[i].ms + 0.5);
			return 0;
		}
	return -EINVAL;
}
