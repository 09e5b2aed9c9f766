/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo backup, restore, snapshot-read */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "cli/cli.h"
#include "virgo/limits.h"
#include "virgo/snapshot.h"

/* ---- backup ---------------------------------------------------------------------------------------------------- */

static bool flag_option(void *context, int option, const char *value)
{
	*(unsigned int *)context |= (unsigned int)(option - 256);
	return true;
}

/* All bytes of a node's snapshot into fd. */
static int copy_snapshot(struct cli *cli, unsigned int node, unsigned int flags, int fd, __u64 *ret_bytes)
{
	struct cli_progress progress;
	uint64_t snapshot;
	__u64 bytes = 0;
	int more = 1, error = virgo_snapshot_open(cli->virgo, node, VIRGO_SNAPSHOT_BACKUP | flags, &snapshot);

	if (error)
		return cli_fail(cli, error, "backup");
	cli_progress_start(&progress, "backup", 0, true);
	while (more > 0 && !error) {
		void *data = NULL;
		size_t length = 0;

		more = virgo_snapshot_read(cli->virgo, node, snapshot, &data, &length);
		if (more >= 0)
			error = cli_write_all(fd, data, length);
		free(data);
		bytes += length;
		progress.total = more > 0 ? bytes * 1001 / (__u64)more : bytes;
		cli_progress_set(&progress, bytes);
	}
	cli_progress_end(&progress);
	if (more < 0)
		error = cli_fail(cli, more, "backup");
	else if (error)
		error = cli_complain(cli, CLI_OTHER, "backup: %s", strerror(-error));
	else
		*ret_bytes = bytes;
	/* Already gone if that is why it failed. */
	(void)virgo_snapshot_close(cli->virgo, node, snapshot);
	return error;
}

/* Beside the file first: what was there stays until the new one is whole. */
static int backup_node(struct cli *cli, unsigned int node, unsigned int flags, const char *path, __u64 *ret_bytes)
{
	char temporary[4096];
	int fd, code;

	if (!strcmp(path, "-"))
		return copy_snapshot(cli, node, flags, STDOUT_FILENO, ret_bytes);
	if (snprintf(temporary, sizeof(temporary), "%s.tmp-%d", path, getpid()) >= (int)sizeof(temporary))
		return cli_complain(cli, CLI_USAGE, "%s: the name is too long", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return cli_complain(cli, CLI_OTHER, "%s: %s", temporary, strerror(errno));
	code = copy_snapshot(cli, node, flags, fd, ret_bytes);
	if (!code && fsync(fd))
		code = cli_complain(cli, CLI_OTHER, "%s: %s", temporary, strerror(errno));
	if (close(fd) && !code)
		code = cli_complain(cli, CLI_OTHER, "%s: %s", temporary, strerror(errno));
	if (!code && rename(temporary, path))
		code = cli_complain(cli, CLI_OTHER, "%s: %s", path, strerror(errno));
	if (code)
		(void)unlink(temporary);
	return code;
}

int cli_backup(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "compress", no_argument, NULL, 256 + VIRGO_SNAPSHOT_COMPRESS }, { 0 } };
	unsigned int flags = 0, nodes;
	int first = cli_parse(cli, argc, argv, own, flag_option, &flags, 1, 1), code;
	__u64 all = 0;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	if (code)
		return code;
	nodes = virgo_nodes(cli->virgo);
	for (unsigned int node = 0; node < nodes && !code; node++) {
		char path[4096];
		__u64 bytes = 0;

		if (nodes > 1)
			(void)snprintf(path, sizeof(path), "%s.%u", argv[first], node);
		else
			(void)snprintf(path, sizeof(path), "%s", argv[first]);
		if (nodes > 1 && !strcmp(argv[first], "-"))
			return cli_complain(cli, CLI_USAGE, "several nodes need a file each, not standard output");
		code = backup_node(cli, node, flags, path, &bytes);
		all += bytes;
	}
	if (!code && cli->json && strcmp(argv[first], "-"))
		code = cli_print_json(json_pack("{s:b, s:I, s:I}", "ok", 1, "bytes", (json_int_t)all, "nodes",
						(json_int_t)nodes));
	return code;
}

/* ---- restore --------------------------------------------------------------------------------------------------- */

struct restoring {
	struct cli *cli;
	const char *path;
	int fd;
	__u64 at, size, identity;
	unsigned int flags;
	__u8 *block;
	size_t room;
	struct cli_progress progress;
	struct vg_snapshot_counts counts; /* of the file */
	__u64 stored, skipped;
};

static int damaged(struct restoring *restoring)
{
	return cli_complain(restoring->cli, CLI_OTHER, "%s is damaged, or not a snapshot, at byte %llu",
			    restoring->path, (unsigned long long)restoring->at);
}

static int read_at(struct restoring *restoring, void *to, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = pread(restoring->fd, (__u8 *)to + done, bytes - done, (off_t)(restoring->at + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return cli_complain(restoring->cli, CLI_OTHER, "%s: %s", restoring->path, strerror(errno));
		if (!got)
			return damaged(restoring);
		done += (size_t)got;
	}
	return CLI_OK;
}

static int read_head(struct restoring *restoring)
{
	struct vg_snapshot_header header;
	int code = read_at(restoring, &header, sizeof(header));

	if (code)
		return code;
	if (header.magic != VG_SNAPSHOT_MAGIC ||
	    header.crc != vg_crc32c(0, &header, offsetof(struct vg_snapshot_header, crc)))
		return damaged(restoring);
	if (header.version != VG_SNAPSHOT_VERSION)
		return cli_complain(restoring->cli, CLI_OTHER, "%s was written by another version", restoring->path);
	restoring->identity = header.identity;
	restoring->at = sizeof(header);
	return CLI_OK;
}

/* The next block, whole, in restoring->block. The node checks what is in it, we that it is the right one. */
static int read_block(struct restoring *restoring, __u64 number, struct vg_snapshot_block *ret_block)
{
	int code = read_at(restoring, ret_block, sizeof(*ret_block));
	size_t whole = sizeof(*ret_block) + ret_block->stored_bytes;

	if (code)
		return code;
	if (ret_block->magic != VG_SNAPSHOT_BLOCK_MAGIC || ret_block->number != number ||
	    whole > restoring->size - restoring->at || whole > VG_BODY_MAX)
		return damaged(restoring);
	if (whole > restoring->room) {
		__u8 *block = realloc(restoring->block, whole);

		if (!block)
			return cli_complain(restoring->cli, CLI_OTHER, "out of memory");
		restoring->block = block;
		restoring->room = whole;
	}
	return read_at(restoring, restoring->block, whole);
}

/* Every node takes what is its own. */
static int load_block(struct restoring *restoring, size_t length)
{
	struct virgo *virgo = restoring->cli->virgo;

	for (unsigned int node = 0; node < virgo_nodes(virgo); node++) {
		uint32_t stored, skipped;
		int error = virgo_snapshot_load(virgo, node, restoring->identity, restoring->block, length,
						restoring->flags, &stored, &skipped);

		if (error)
			return cli_fail(restoring->cli, error, restoring->path);
		restoring->stored += stored;
		restoring->skipped += skipped;
	}
	return CLI_OK;
}

static int check_last(struct restoring *restoring, const struct vg_snapshot_block *block)
{
	__u32 crc = vg_crc32c(0, &restoring->identity, sizeof(restoring->identity));
	struct vg_snapshot_block head = *block;

	head.crc = 0;
	crc = vg_crc32c(crc, &head, sizeof(head));
	crc = vg_crc32c(crc, restoring->block + sizeof(head), block->stored_bytes);
	if (crc != block->crc || block->stored_bytes != sizeof(restoring->counts) ||
	    restoring->at + sizeof(head) + block->stored_bytes != restoring->size)
		return damaged(restoring);
	memcpy(&restoring->counts, restoring->block + sizeof(head), sizeof(restoring->counts));
	return restoring->counts.blocks == block->number ? CLI_OK : damaged(restoring);
}

static int restore_blocks(struct restoring *restoring)
{
	struct vg_snapshot_block block;
	int code = read_head(restoring);

	for (__u64 number = 0; !code; number++) {
		code = read_block(restoring, number, &block);
		if (code)
			break;
		if (block.kind == VG_SNAPSHOT_LAST)
			return check_last(restoring, &block);
		code = load_block(restoring, sizeof(block) + block.stored_bytes);
		restoring->at += sizeof(block) + block.stored_bytes;
		cli_progress_set(&restoring->progress, restoring->at);
	}
	return code;
}

static int restore_file(struct restoring *restoring, const char *path)
{
	struct stat status;
	int code;

	restoring->path = path;
	restoring->at = 0;
	restoring->stored = restoring->skipped = 0;
	restoring->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (restoring->fd < 0 || fstat(restoring->fd, &status)) {
		code = cli_complain(restoring->cli, CLI_OTHER, "%s: %s", path, strerror(errno));
	} else {
		restoring->size = (__u64)status.st_size;
		cli_progress_start(&restoring->progress, "restore", restoring->size, true);
		code = restore_blocks(restoring);
		cli_progress_end(&restoring->progress);
	}
	if (restoring->fd >= 0)
		close(restoring->fd);
	if (!code && restoring->stored + restoring->skipped < restoring->counts.keys)
		code = cli_complain(restoring->cli, CLI_OTHER,
				    "%s: %llu keys belong to nodes that were not named: name all with --node", path,
				    (unsigned long long)(restoring->counts.keys - restoring->stored -
							 restoring->skipped));
	return code;
}

static int print_restored(struct cli *cli, const struct restoring *all)
{
	if (cli->json)
		return cli_print_json(json_pack("{s:b, s:I, s:I, s:I}", "ok", 1, "stored", (json_int_t)all->stored,
						"skipped", (json_int_t)all->skipped, "handles_left_out",
						(json_int_t)all->counts.handles));
	printf("%llu keys stored, %llu left as they are\n", (unsigned long long)all->stored,
	       (unsigned long long)all->skipped);
	if (all->counts.handles)
		printf("%llu handles left out: they come back when a node starts with this file in its --data-dir\n",
		       (unsigned long long)all->counts.handles);
	return CLI_OK;
}

int cli_restore(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "replace", no_argument, NULL, 256 + VIRGO_REPLACE }, { 0 } };
	struct restoring one = { .cli = cli }, all = { .cli = cli };
	int first = cli_parse(cli, argc, argv, own, flag_option, &one.flags, 1, -1), code;

	if (first < 0)
		return cli_parse_exit(first);
	code = cli_connect(cli);
	for (int i = first; i < argc && !code; i++) {
		code = restore_file(&one, argv[i]);
		all.stored += one.stored;
		all.skipped += one.skipped;
		all.counts.handles += one.counts.handles;
	}
	free(one.block);
	return code ? code : print_restored(cli, &all);
}

/* ---- snapshot-read --------------------------------------------------------------------------------------------- */

/* The value at the moment, from whichever node has the key. */
static int read_one(struct cli *cli, const uint64_t *snapshots, const char *key, void **ret_value, size_t *ret_length)
{
	int error = -EXDEV;

	for (unsigned int node = 0; node < virgo_nodes(cli->virgo) && error == -EXDEV; node++)
		if (snapshots[node])
			error = virgo_snapshot_get(cli->virgo, node, snapshots[node], key, strlen(key), ret_value,
						   ret_length);
	return error;
}

static void print_value(struct cli *cli, json_t *list, const char *key, const void *value, size_t length)
{
	json_t *object;

	if (!cli->json) {
		printf("%s\t", key);
		(void)fwrite(value, 1, length, stdout);
		putchar('\n');
		return;
	}
	object = json_object();
	cli_json_bytes(object, "key", key, strlen(key));
	cli_json_bytes(object, "value", value, length);
	json_array_append_new(list, object);
}

int cli_snapshot_read(struct cli *cli, int argc, char **argv)
{
	int first = cli_parse(cli, argc, argv, NULL, NULL, NULL, 1, -1), code, error = 0, found = 0;
	unsigned int nodes;
	json_t *list;
	uint64_t *snapshots;

	code = first < 0 ? cli_parse_exit(first) : cli_connect(cli);
	if (code || first < 0)
		return code;
	nodes = virgo_nodes(cli->virgo);
	list = json_array();
	snapshots = calloc(nodes, sizeof(*snapshots));
	if (!snapshots)
		return cli_complain(cli, CLI_OTHER, "out of memory");
	for (unsigned int node = 0; node < nodes && !error; node++)
		error = virgo_snapshot_open(cli->virgo, node, 0, &snapshots[node]);
	if (error)
		code = cli_fail(cli, error, "snapshot");
	for (int i = first; i < argc && !code; i++) {
		void *value = NULL;
		size_t length;

		error = read_one(cli, snapshots, argv[i], &value, &length);
		if (!error) {
			print_value(cli, list, argv[i], value, length);
			found++;
		} else if (error != -ENOENT) {
			code = cli_fail(cli, error, argv[i]);
		}
		free(value);
	}
	for (unsigned int node = 0; node < nodes; node++)
		if (snapshots[node])
			(void)virgo_snapshot_close(cli->virgo, node, snapshots[node]);
	free(snapshots);
	if (!code && cli->json)
		code = cli_print_json(json_pack("{s:b, s:o}", "ok", 1, "keys", list));
	else
		json_decref(list);
	return code ? code : found == argc - first ? CLI_OK : CLI_NOT_FOUND;
}
