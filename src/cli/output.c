/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum cli_exit cli_exit_of(int error)
{
	switch (-error) {
	case 0:
		return CLI_OK;
	case ENOENT:
	case EEXIST:
	case ESTALE:
		return CLI_NOT_FOUND;
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ETIMEDOUT:
	case ECONNRESET:
		return CLI_UNREACHABLE;
	case EACCES:
		return CLI_REFUSED;
	default:
		return CLI_OTHER;
	}
}

static void print_error_json(const char *what, int error, const char *text)
{
	json_t *object =
		json_pack("{s:b, s:s, s:{s:i, s:s, s:s}}", "ok", 0, "what", what, "error", "code", error, "name",
			  error && strerrorname_np(-error) ? strerrorname_np(-error) : "", "text", text);

	(void)cli_print_json(object);
}

/* What a person may try. */
static const char *hint_of(int error)
{
	switch (-error) {
	case EHOSTUNREACH:
		return " (is virgod running there? --node names other nodes)";
	case EACCES:
		return " (--key-file names the cluster key)";
	case ETIMEDOUT:
		return " (--timeout gives it longer)";
	default:
		return "";
	}
}

int cli_fail(struct cli *cli, int error, const char *what)
{
	return cli_fail_said(cli, error, what, cli->virgo ? virgo_error_text(cli->virgo) : "");
}

int cli_fail_said(struct cli *cli, int error, const char *what, const char *said)
{
	const char *text = said[0] ? said : virgo_strerror(error);

	if (cli->json)
		print_error_json(what, error, text);
	fprintf(stderr, "virgo: %s: %s%s\n", what, text, hint_of(error));
	return cli_exit_of(error);
}

int cli_complain(struct cli *cli, enum cli_exit code, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (cli->json)
		print_error_json(cli->command ? cli->command : "", 0, text);
	fprintf(stderr, "virgo: %s\n", text);
	return code;
}

int cli_print_json(json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9)) : NULL;

	json_decref(object);
	if (!text) {
		fprintf(stderr, "virgo: out of memory\n");
		return CLI_OTHER;
	}
	puts(text);
	free(text);
	return CLI_OK;
}

void cli_json_bytes(json_t *object, const char *name, const void *data, size_t length)
{
	json_t *string = json_stringn(data, length);
	char hex_name[64], *hex;

	if (string) {
		(void)json_object_set_new(object, name, string);
		return;
	}
	hex = malloc(2 * length + 1);
	if (!hex)
		return;
	for (size_t i = 0; i < length; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", ((const unsigned char *)data)[i]);
	(void)snprintf(hex_name, sizeof(hex_name), "%s_hex", name);
	(void)json_object_set_new(object, hex_name, json_stringn(hex, 2 * length));
	free(hex);
}

const char *cli_duration(char *text, size_t text_bytes, double ns)
{
	if (ns < 1e3)
		(void)snprintf(text, text_bytes, "%.0f ns", ns);
	else if (ns < 1e6)
		(void)snprintf(text, text_bytes, "%.1f us", ns / 1e3);
	else if (ns < 1e9)
		(void)snprintf(text, text_bytes, "%.2f ms", ns / 1e6);
	else
		(void)snprintf(text, text_bytes, "%.2f s", ns / 1e9);
	return text;
}

const char *cli_bytes(char *text, size_t text_bytes, double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	unsigned int unit = 0;

	for (; bytes >= 1024 && unit < 4; unit++)
		bytes /= 1024;
	(void)snprintf(text, text_bytes, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
	return text;
}
