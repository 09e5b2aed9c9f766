/* SPDX-License-Identifier: GPL-3.0-or-later */
/* virgo check-log: read a write-ahead log as the daemon would at its start, and say what it would find. Offline. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "pool/durable.h"
#include "pool/segment.h"
#include "virgo/snapshot.h"

#define OPTION_RECORDS 256
#define KEY_SHOWN 48

struct check {
	bool records, json;
	json_t *list;	 /* of records, with --json --records */
	__u64 kinds[VG_RECORD_MAX];
	__u64 first, last;
	__u32 segment;
	__u32 files;
};

static bool check_option(void *context, int option, const char *value)
{
	((struct check *)context)->records = option == OPTION_RECORDS;
	return true;
}

/* ---- records --------------------------------------------------------------------------------------------------- */

static void print_key(const struct vg_record *record)
{
	const __u8 *key = record->key;

	fputs(" \"", stdout);
	for (__u32 i = 0; i < record->key_length && i < KEY_SHOWN; i++)
		if (isprint(key[i]) && key[i] != '"' && key[i] != '\\')
			putchar(key[i]);
		else
			printf("\\x%02x", key[i]);
	fputs(record->key_length > KEY_SHOWN ? "…\"" : "\"", stdout);
}

static void print_fields(const struct vg_record *record)
{
	if (record->key)
		print_key(record);
	if (record->kind == VG_RECORD_SET || record->kind == VG_RECORD_WRITE)
		printf(" bytes=%llu", record->value_length);
	if (record->expire_ms || record->kind == VG_RECORD_DEADLINE)
		printf(" deadline_ms=%llu", record->expire_ms);
	if (record->handle)
		printf(" handle=%016llx", record->handle);
	if (record->kind == VG_RECORD_ALLOC)
		printf(" bytes=%llu", record->value_length);
	if (record->kind == VG_RECORD_WRITE)
		printf(" offset=%llu", record->offset);
	if (record->kind == VG_RECORD_BATCH)
		printf(" durable=%llu", record->durable);
	if (record->kind == VG_RECORD_SEGMENT)
		printf(" number=%u node=%u log=%016llx", record->number, record->node, record->identity);
}

static void print_record(__u32 segment, __u64 offset, const struct vg_record *record)
{
	struct vg_record inside;
	size_t at = 0;

	printf("%u %llu %llu %s", segment, offset, record->sequence, vg_record_kind_text(record->kind));
	print_fields(record);
	putchar('\n');
	while (record->kind == VG_RECORD_TRANSACTION && vg_record_next(record, &at, &inside)) {
		printf("  %s", vg_record_kind_text(inside.kind));
		print_fields(&inside);
		putchar('\n');
	}
}

static json_t *record_json(const struct vg_record *record)
{
	json_t *object = json_pack("{s:s}", "kind", vg_record_kind_text(record->kind));
	struct vg_record inside;
	json_t *list;
	size_t at = 0;

	if (record->key)
		cli_json_bytes(object, "key", record->key, record->key_length);
	if (record->kind == VG_RECORD_SET || record->kind == VG_RECORD_WRITE || record->kind == VG_RECORD_ALLOC)
		json_object_set_new(object, "bytes", json_integer((json_int_t)record->value_length));
	if (record->expire_ms || record->kind == VG_RECORD_DEADLINE)
		json_object_set_new(object, "deadline_ms", json_integer((json_int_t)record->expire_ms));
	if (record->handle)
		json_object_set_new(object, "handle", json_sprintf("%016llx", record->handle));
	if (record->kind == VG_RECORD_BATCH)
		json_object_set_new(object, "durable", json_integer((json_int_t)record->durable));
	if (record->kind != VG_RECORD_TRANSACTION)
		return object;
	list = json_array();
	while (vg_record_next(record, &at, &inside))
		json_array_append_new(list, record_json(&inside));
	json_object_set_new(object, "changes", list);
	return object;
}

static int on_record(void *context, __u32 segment, __u64 offset, const struct vg_record *record)
{
	struct check *check = context;
	json_t *object;

	check->files += segment != check->segment;
	check->segment = segment;
	check->kinds[record->kind]++;
	if (record->kind < VG_RECORD_SEGMENT) {
		if (!check->first)
			check->first = record->sequence;
		check->last = record->sequence;
	}
	if (!check->records)
		return 0;
	if (!check->json) {
		print_record(segment, offset, record);
		return 0;
	}
	object = record_json(record);
	json_object_set_new(object, "file", json_integer(segment));
	json_object_set_new(object, "offset", json_integer((json_int_t)offset));
	json_object_set_new(object, "sequence", json_integer((json_int_t)record->sequence));
	json_array_append_new(check->list, object);
	return 0;
}

/* ---- a directory, or one file ---------------------------------------------------------------------------------- */

/* The change behind which the log is needed: a snapshot's. What is wrong with the snapshot is another command's. */
static __u64 snapshot_sequence(int directory_fd)
{
	int fd = openat(directory_fd, VG_SNAPSHOT_NAME, O_RDONLY | O_CLOEXEC);
	struct vg_snapshot_header header = { 0 };
	ssize_t got = fd < 0 ? 0 : pread(fd, &header, sizeof(header), 0);

	if (fd >= 0)
		close(fd);
	return got == (ssize_t)sizeof(header) && header.magic == VG_SNAPSHOT_MAGIC ? header.log_sequence : 0;
}

static int check_directory(const char *path, struct check *check, struct vg_walk_result *ret_result)
{
	struct vg_walk walk = { .record = on_record, .context = check };
	int error;

	walk.directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (walk.directory_fd < 0)
		return -errno;
	walk.after = snapshot_sequence(walk.directory_fd);
	error = vg_segments_walk(&walk, ret_result);
	close(walk.directory_fd);
	return error;
}

/* The records of one file, up to what is not right; then whether something behind says that it was right once. */
static int check_file(const char *path, struct check *check, struct vg_walk_result *result)
{
	struct vg_segment_reader reader;
	enum vg_record_verdict verdict;
	struct vg_record record;
	int error = vg_segment_open(&reader, AT_FDCWD, path);

	*result = (struct vg_walk_result){ .end = VG_WALK_WHOLE };
	while (!error) {
		result->offset = reader.at;
		error = vg_segment_read(&reader, &record, &verdict);
		if (error || verdict != VG_RECORD_OK)
			break;
		if (!result->offset && record.kind == VG_RECORD_SEGMENT) {
			result->segment = record.number;
			result->identity = record.identity;
			result->expected = record.sequence;
		} else if (!result->offset || record.sequence != result->expected) {
			verdict = VG_RECORD_BAD;
			break;
		}
		result->expected += record.kind < VG_RECORD_SEGMENT;
		result->records++;
		result->bytes += record.length;
		on_record(check, result->segment, result->offset, &record);
	}
	if (!error && verdict == VG_RECORD_BAD)
		result->end = VG_WALK_TORN;
	reader.at = result->offset;
	while (!error && !vg_segment_seek(&reader, &record))
		if (record.kind == VG_RECORD_BATCH && record.durable >= result->expected)
			result->end = VG_WALK_CORRUPT;
	vg_segment_close(&reader);
	return error;
}

/* ---- what was found -------------------------------------------------------------------------------------------- */

static json_t *kinds_json(const struct check *check)
{
	json_t *object = json_object();

	for (int kind = 1; kind < VG_RECORD_MAX; kind++)
		if (check->kinds[kind])
			json_object_set_new(object, vg_record_kind_text((unsigned int)kind),
					    json_integer((json_int_t)check->kinds[kind]));
	return object;
}

static void report_json(struct check *check, const struct vg_walk_result *result)
{
	json_t *object = json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:o}", "end", vg_walk_end_text(result->end), "files",
				   (int)check->files, "records", (json_int_t)result->records, "bytes",
				   (json_int_t)result->bytes, "first", (json_int_t)check->first, "last",
				   (json_int_t)check->last, "kinds", kinds_json(check));

	if (result->end != VG_WALK_WHOLE) {
		json_object_set_new(object, "file", json_integer(result->segment));
		json_object_set_new(object, "offset", json_integer((json_int_t)result->offset));
		json_object_set_new(object, "expected", json_integer((json_int_t)result->expected));
	}
	if (check->list)
		json_object_set_new(object, "list", check->list);
	(void)cli_print_json(object);
}

static void report_text(const struct check *check, const struct vg_walk_result *result)
{
	printf("%u files, %llu records, %llu bytes, changes %llu to %llu\n", check->files, result->records,
	       result->bytes, check->first, check->last);
	switch (result->end) {
	case VG_WALK_WHOLE:
		puts("the log is whole");
		break;
	case VG_WALK_TORN:
		printf("torn: file %u ends at byte %llu, in the middle of being written; the daemon cuts it there\n",
		       result->segment, result->offset);
		break;
	case VG_WALK_CORRUPT:
		printf("damaged: file %u, byte %llu: change %llu was safe there once and is not readable\n",
		       result->segment, result->offset, result->expected);
		break;
	case VG_WALK_MISSING:
		printf("missing: change %llu is in no file before file %u, and in no snapshot\n", result->expected,
		       result->segment);
		break;
	}
}

int cli_check_log(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = { { "records", no_argument, NULL, OPTION_RECORDS }, { 0 } };
	struct check check = { .json = cli->json };
	int first = cli_parse(cli, argc, argv, own, check_option, &check, 1, 1), error;
	struct vg_walk_result result;
	struct stat status;

	if (first < 0)
		return cli_parse_exit(first);
	check.json = cli->json;
	if (check.json && check.records)
		check.list = json_array();
	error = stat(argv[first], &status) ? -errno : 0;
	if (!error)
		error = S_ISDIR(status.st_mode) ? check_directory(argv[first], &check, &result) :
						  check_file(argv[first], &check, &result);
	if (error)
		return cli_complain(cli, CLI_OTHER, "%s: %s", argv[first], strerror(-error));
	if (cli->json)
		report_json(&check, &result);
	else
		report_text(&check, &result);
	return result.end == VG_WALK_WHOLE || result.end == VG_WALK_TORN ? CLI_OK : CLI_NOT_FOUND;
}
