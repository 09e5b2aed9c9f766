/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Functions for the CPU pool (virgod --plugin-dir): the smallest one there is, and two that do some work. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "virgo/function.h"

/* The argument itself. */
VIRGO_FUNCTION(echo)
{
	if (call->argument_length > call->result_room)
		return VIRGO_RESULT_TOO_LONG;
	memcpy(call->result, call->argument, call->argument_length);
	call->result_length = call->argument_length;
	return 0;
}

/* "lines words bytes" of the argument, as wc(1) counts them. */
VIRGO_FUNCTION(count)
{
	const unsigned char *text = call->argument;
	size_t lines = 0, words = 0;
	int within = 0, length;

	for (size_t i = 0; i < call->argument_length; i++) {
		lines += text[i] == '\n';
		if (isspace(text[i])) {
			within = 0;
		} else if (!within) {
			within = 1;
			words++;
		}
	}
	length = snprintf(call->result, call->result_room, "%zu %zu %zu", lines, words, call->argument_length);
	if (length < 0 || (size_t)length >= call->result_room)
		return VIRGO_RESULT_TOO_LONG;
	call->result_length = (size_t)length;
	return 0;
}

/* How often each byte occurs: 256 numbers of 8 bytes, little-endian. Histograms of pieces add up to the whole one. */
VIRGO_FUNCTION(histogram)
{
	const unsigned char *text = call->argument;
	unsigned char *result = call->result;
	unsigned long long count[256] = { 0 };

	if (call->result_room < sizeof(count))
		return VIRGO_RESULT_TOO_LONG;
	for (size_t i = 0; i < call->argument_length; i++)
		count[text[i]]++;
	for (size_t i = 0; i < 256 * 8; i++)
		result[i] = (unsigned char)(count[i / 8] >> (8 * (i % 8)));
	call->result_length = sizeof(count);
	return 0;
}
