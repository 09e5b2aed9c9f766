/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <string.h>

#include "cli/file.h"

const char *file_words(const struct virgo *virgo, int error)
{
	const char *name = strerrorname_np(-error), *said = virgo ? virgo_error_text(virgo) : "";

	/* What was said last may have been about another error. */
	if (name && !strncmp(said, name, strlen(name)))
		return said;
	switch (-error) {
	case EHOSTDOWN:
		return "the node that has it does not answer";
	case EREMOTEIO:
		return "the connection was lost, and nobody knows whether it was done";
	case EBADMSG:
		return "what came is not what was once put there: its checksum differs";
	case EXDEV:
		return "that leads out of the pool, or from one node to another";
	case EHOSTUNREACH:
	case ETIMEDOUT:
	case ECONNRESET:
		return virgo_strerror(error);
	default:
		return strerror(-error);
	}
}

int file_fail(struct cli *cli, int error, const char *what)
{
	return cli_fail_said(cli, error, what, file_words(cli->virgo, error));
}
