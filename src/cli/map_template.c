/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/map_template.h"

/* A part of the argument, not zero-terminated. */
struct part {
	const char *text;
	size_t length;
};

static struct part last_part(const char *argument)
{
	const char *slash = strrchr(argument, '/');

	return (struct part){ slash ? slash + 1 : argument, strlen(slash ? slash + 1 : argument) };
}

static struct part directory(const char *argument)
{
	const char *slash = strrchr(argument, '/');

	if (!slash)
		return (struct part){ ".", 1 };
	return (struct part){ argument, slash == argument ? 1 : (size_t)(slash - argument) };
}

/* A dot that begins a name begins no extension. */
static struct part without_extension(struct part part)
{
	for (size_t i = part.length; i > 1 && part.text[i - 1] != '/'; i--)
		if (part.text[i - 1] == '.' && part.text[i - 2] != '/')
			return (struct part){ part.text, i - 1 };
	return part;
}

/* What stands for the place that begins at `text`; how long the place is, 0: none begins here. */
static size_t place_at(const char *text, const char *argument, const char *number, struct part *ret_part)
{
	static const char *const places[] = { "{}", "{.}", "{/}", "{//}", "{/.}", "{#}" };
	unsigned int i = 0;

	while (i < 6 && strncmp(text, places[i], strlen(places[i])) != 0)
		i++;
	switch (i) {
	case 0:
		*ret_part = (struct part){ argument, strlen(argument) };
		break;
	case 1:
		*ret_part = without_extension((struct part){ argument, strlen(argument) });
		break;
	case 2:
		*ret_part = last_part(argument);
		break;
	case 3:
		*ret_part = directory(argument);
		break;
	case 4:
		*ret_part = without_extension(last_part(argument));
		break;
	case 5:
		*ret_part = (struct part){ number, strlen(number) };
		break;
	default:
		return 0;
	}
	return strlen(places[i]);
}

/* Put a word at `to` (NULL: only count); how many bytes it has, with its end. */
static size_t expand_word(const char *word, const char *argument, const char *number, char *to, bool *ret_placed)
{
	size_t bytes = 0;

	while (*word) {
		struct part part = { word, 1 };
		size_t length = place_at(word, argument, number, &part);

		if (length)
			*ret_placed = true;
		if (to)
			memcpy(to + bytes, part.text, part.length);
		bytes += part.length;
		word += length ? length : 1;
	}
	if (to)
		to[bytes] = '\0';
	return bytes + 1;
}

int map_expand(char *const *words, size_t count, const char *argument, __u64 number, char ***ret_command)
{
	char number_text[24], **command, *at;
	size_t bytes = 0;
	bool placed = false;

	(void)snprintf(number_text, sizeof(number_text), "%llu", (unsigned long long)number);
	for (size_t i = 0; i < count; i++)
		bytes += expand_word(words[i], argument, number_text, NULL, &placed);
	if (!placed)
		bytes += strlen(argument) + 1;
	if (bytes > MAP_COMMAND_BYTES_MAX)
		return -E2BIG;
	command = malloc((count + 2) * sizeof(*command) + bytes);
	if (!command)
		return -ENOMEM;
	at = (char *)(command + count + 2);
	for (size_t i = 0; i < count; i++) {
		command[i] = at;
		at += expand_word(words[i], argument, number_text, at, &placed);
	}
	if (!placed) {
		command[count++] = at;
		memcpy(at, argument, strlen(argument) + 1);
	}
	command[count] = NULL;
	*ret_command = command;
	return 0;
}
