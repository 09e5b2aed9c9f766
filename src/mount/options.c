/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What `virgo mount` can be told. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "mount/mount.h"

static const char help[] =
	"virgo mount [OPTION...] DIR\n"
	"Show the file pool as a file system at DIR, until `virgo umount DIR`.\n"
	"\n"
	"  -n, --node LIST      ADDRESS[:PORT],... to ask (default: VIRGO_NODES, /etc/virgo_client.conf, 127.0.0.1)\n"
	"  -k, --key-file FILE  the cluster key, 32 hex digits (default: VIRGO_KEY_FILE, none)\n"
	"  -t, --timeout SPAN   for an answer; then a node is down (default 5s)\n"
	"      --file-port N    of the nodes' file pools (default 50000, or what the cluster's table says)\n"
	"      --root PATH      show that directory of the pool, not all of it\n"
	"  -r, --read-only      nothing can be changed\n"
	"      --allow-other    other users may use it; else the one who mounted it alone\n"
	"      --ids            show owners as the pool has them, and give new files to who made them; the daemons\n"
	"                       run with --file-ids. Else everything is said to be yours\n"
	"      --cache SPAN     how long names and attributes are believed (default 1s; 0: ask each time)\n"
	"      --negative SPAN  how long that a name does not exist is believed (default 0)\n"
	"      --writeback      the kernel collects writes; others see them later, and a crash here loses them\n"
	"      --readahead N    bytes that are read ahead (default 1m; only root's are heeded)\n"
	"      --threads N      requests at once (default 16)\n"
	"      --io-uring       speak with the kernel over io_uring, where it and libfuse can\n"
	"  -f, --foreground     stay, and print what happens\n"
	"  -h, --help           this\n"
	"      --version\n";

enum {
	OPTION_FILE_PORT = 256,
	OPTION_ROOT,
	OPTION_OTHER,
	OPTION_IDS,
	OPTION_CACHE,
	OPTION_NEGATIVE,
	OPTION_WRITEBACK,
	OPTION_READAHEAD,
	OPTION_THREADS,
	OPTION_URING,
	OPTION_VERSION
};

static const struct option long_options[] = {
	{ "node", required_argument, NULL, 'n' },
	{ "key-file", required_argument, NULL, 'k' },
	{ "timeout", required_argument, NULL, 't' },
	{ "file-port", required_argument, NULL, OPTION_FILE_PORT },
	{ "root", required_argument, NULL, OPTION_ROOT },
	{ "read-only", no_argument, NULL, 'r' },
	{ "allow-other", no_argument, NULL, OPTION_OTHER },
	{ "ids", no_argument, NULL, OPTION_IDS },
	{ "cache", required_argument, NULL, OPTION_CACHE },
	{ "negative", required_argument, NULL, OPTION_NEGATIVE },
	{ "writeback", no_argument, NULL, OPTION_WRITEBACK },
	{ "readahead", required_argument, NULL, OPTION_READAHEAD },
	{ "threads", required_argument, NULL, OPTION_THREADS },
	{ "io-uring", no_argument, NULL, OPTION_URING },
	{ "foreground", no_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

#define TIMEOUT_MS_MAX 3600000
#define CACHE_MS_MAX 86400000
#define READAHEAD_MAX (256u << 20)

static int bad(const char *what, const char *value)
{
	fprintf(stderr, "virgo mount: --%s: %s\nTry: virgo mount --help\n", what, value);
	return OPTIONS_USAGE;
}

static int take_span(const char *what, const char *value, __u64 max_ms, double *ret_s)
{
	__u64 ms;

	if (vg_span_parse(value, max_ms, &ms))
		return bad(what, "not a span of time, or too long");
	*ret_s = (double)ms / 1000;
	return 0;
}

static int take_number(const char *what, const char *value, __u64 max, unsigned int *ret_number)
{
	__u64 number;

	if (vg_number_parse(value, max, &number) || !number)
		return bad(what, "not a number, or out of range");
	*ret_number = (unsigned int)number;
	return 0;
}

/* "/a/b" of "a//b/": as paths are made from it. NULL: out of memory. */
static const char *clean_root(const char *value)
{
	char *root = malloc(strlen(value) + 2), *to = root;

	if (!root)
		return NULL;
	while (*value) {
		size_t slashes = strspn(value, "/"), length = strcspn(value + slashes, "/");

		value += slashes;
		if (!length)
			break;
		*to++ = '/';
		memcpy(to, value, length);
		to += length;
		value += length;
	}
	*to = '\0';
	return root;
}

static int take(struct mount_options *options, int option, const char *value)
{
	double seconds = 0;
	int error;

	switch (option) {
	case 'n':
		options->nodes = value;
		return 0;
	case 'k':
		/* Clients are made later, too, when the working directory is another. */
		options->key_file = realpath(value, NULL);
		return options->key_file ? 0 : bad("key-file", strerror(errno));
	case 't':
		error = take_span("timeout", value, TIMEOUT_MS_MAX, &seconds);
		options->timeout_ms = (unsigned int)(seconds * 1000);
		return error;
	case 'r':
		options->read_only = true;
		return 0;
	case 'f':
		options->foreground = true;
		return 0;
	case OPTION_FILE_PORT:
		return take_number("file-port", value, 65535, &options->file_port);
	case OPTION_ROOT:
		options->root = clean_root(value);
		return options->root ? 0 : bad("root", strerror(ENOMEM));
	case OPTION_OTHER:
		options->allow_other = true;
		return 0;
	case OPTION_IDS:
		options->ids = true;
		return 0;
	case OPTION_CACHE:
		error = take_span("cache", value, CACHE_MS_MAX, &options->entry_s);
		options->attribute_s = options->entry_s;
		return error;
	case OPTION_NEGATIVE:
		return take_span("negative", value, CACHE_MS_MAX, &options->negative_s);
	case OPTION_WRITEBACK:
		options->writeback = true;
		return 0;
	case OPTION_READAHEAD:
		return vg_size_parse(value, READAHEAD_MAX, &options->readahead_bytes) ?
			       bad("readahead", "not a size, or too large") :
			       0;
	case OPTION_THREADS:
		return take_number("threads", value, MOUNT_THREADS_MAX, &options->threads);
	case OPTION_URING:
		options->io_uring = true;
		return 0;
	case 'h':
		printf("%s", help);
		return OPTIONS_HELP;
	case OPTION_VERSION:
		printf("virgo-mount %s, libfuse %s\n", virgo_version(), fuse_pkgversion());
		return OPTIONS_HELP;
	default:
		fprintf(stderr, "Try: virgo mount --help\n");
		return OPTIONS_USAGE;
	}
}

int options_parse(struct mount_options *options, int argc, char **argv)
{
	int option, result;

	*options = (struct mount_options){
		.root = "", .entry_s = 1, .attribute_s = 1, .threads = 16, .readahead_bytes = 1 << 20
	};
	while ((option = getopt_long(argc, argv, "n:k:t:rfh", long_options, NULL)) != -1) {
		result = take(options, option, optarg);
		if (result)
			return result;
	}
	if (argc - optind != 1) {
		fprintf(stderr, "Usage: virgo mount [OPTION...] DIR\nTry: virgo mount --help\n");
		return OPTIONS_USAGE;
	}
	/* It goes into the background, which is in "/". */
	options->directory = realpath(argv[optind], NULL);
	if (!options->directory) {
		fprintf(stderr, "virgo mount: %s: %s\n", argv[optind], strerror(errno));
		return OPTIONS_USAGE;
	}
	return 0;
}
