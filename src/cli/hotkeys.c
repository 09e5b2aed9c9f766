/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo hotkeys: the keys that are asked for most, of every node. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum { HOTKEYS_COUNT = 256 };

static const struct option hotkeys_options[] = {
	{ "count", required_argument, NULL, HOTKEYS_COUNT },
	{ NULL, 0, NULL, 0 },
};

static bool hotkeys_option(void *context, int option, const char *value)
{
	long *count = context;

	*count = strtol(value, NULL, 10);
	return *count >= 1 && *count <= 128;
}

struct answer {
	bool done;
	int error;
	char *text;
	size_t length;
};

static void take(void *context, const struct virgo_result *result)
{
	struct answer *answer = context;

	answer->done = true;
	answer->error = result->error;
	if (result->error)
		return;
	answer->text = malloc(result->length + 1);
	if (!answer->text) {
		answer->error = -ENOMEM;
		return;
	}
	memcpy(answer->text, result->data, result->length);
	answer->text[result->length] = '\0';
	answer->length = result->length;
}

/* The node's answer to VIRGO.HOTKEYS, in RESP. 0 or negative errno. */
static int ask_node(struct cli *cli, unsigned int node, long count, struct answer *answer)
{
	char number[24], text[96];
	int digits = snprintf(number, sizeof(number), "%ld", count), error;
	struct virgo_request request = { .operation = VIRGO_COMMAND, .node = node + 1, .fn = take, .context = answer };

	*answer = (struct answer){ 0 };
	request.length = (size_t)snprintf(text, sizeof(text), "*2\r\n$13\r\nVIRGO.HOTKEYS\r\n$%d\r\n%s\r\n", digits,
					  number);
	request.data = text;
	error = virgo_submit(cli->virgo, &request);
	while (!error && !answer->done)
		(void)virgo_wait(cli->virgo, 0, -1);
	return error ? error : answer->error;
}

/* One line `<type><number>`; the text moves behind it. False: something else. */
static bool take_number(char **at, const char *end, char type, long long *ret_number)
{
	char *line = *at, *close = memmem(line, (size_t)(end - line), "\r\n", 2);

	if (!close || line[0] != type)
		return false;
	*ret_number = strtoll(line + 1, NULL, 10);
	*at = close + 2;
	return true;
}

/* The answer as an array of {key, share, error}, shares in per cent. NULL: it makes no sense. */
static json_t *read_answer(const struct answer *answer)
{
	char *at = answer->text;
	const char *end = answer->text + answer->length;
	long long count, three, length, share, error;
	json_t *keys = json_array();

	if (!take_number(&at, end, '*', &count))
		goto strange;
	for (long long i = 0; i < count; i++) {
		const char *key;
		json_t *one;

		if (!take_number(&at, end, '*', &three) || !take_number(&at, end, '$', &length) || length < 0 ||
		    length + 2 > end - at)
			goto strange;
		key = at;
		at += length + 2;
		if (!take_number(&at, end, ':', &share) || !take_number(&at, end, ':', &error))
			goto strange;
		one = json_pack("{s:f, s:f}", "percent", (double)share / 100, "error_percent", (double)error / 100);
		cli_json_bytes(one, "key", key, (size_t)length);
		(void)json_array_append_new(keys, one);
	}
	return keys;
strange:
	json_decref(keys);
	return NULL;
}

static void print_node(const char *address, const json_t *keys)
{
	const json_t *one;
	size_t index;

	printf("%s\n", address);
	if (!json_array_size(keys))
		printf("   (no commands on keys lately)\n");
	json_array_foreach(keys, index, one)
	{
		const json_t *key = json_object_get(one, "key");
		const char *hex = key ? NULL : json_string_value(json_object_get(one, "key_hex"));

		printf("%6.2f %% +-%5.2f  %s%.60s\n", json_number_value(json_object_get(one, "percent")),
		       json_number_value(json_object_get(one, "error_percent")), hex ? "0x" : "",
		       hex ? hex : json_string_value(key));
	}
}

int cli_hotkeys(struct cli *cli, int argc, char **argv)
{
	long count = 10;
	int first = cli_parse(cli, argc, argv, hotkeys_options, hotkeys_option, &count, 0, 0), code;
	json_t *nodes;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	nodes = json_array();
	for (unsigned int node = 0; node < virgo_nodes(cli->virgo); node++) {
		const char *address = virgo_node_address(cli->virgo, node);
		struct answer answer;
		int error = ask_node(cli, node, count, &answer);
		json_t *keys = error ? NULL : read_answer(&answer);

		free(answer.text);
		if (!keys) {
			code = cli_fail(cli, error ? error : -EPROTO, address);
			continue;
		}
		if (!cli->json)
			print_node(address, keys);
		(void)json_array_append_new(nodes, json_pack("{s:s, s:o}", "address", address, "keys", keys));
	}
	if (cli->json)
		(void)cli_print_json(json_pack("{s:b, s:O}", "ok", code == CLI_OK, "nodes", nodes));
	json_decref(nodes);
	return code;
}
