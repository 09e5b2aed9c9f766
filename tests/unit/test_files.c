/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the commands on files stand on, here: places, the stream of a large file, the crew, checksums. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/file.h"

#define MIB ((size_t)1 << 20)

static char folder[] = "/tmp/virgo-test-files-XXXXXX";

/* The crew's clients are not asked for anything here. */
int cli_connect_other(struct cli *cli, struct virgo **ret_virgo)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = "127.0.0.1" };

	return virgo_connect(ret_virgo, &options, NULL, 0) ? CLI_OTHER : CLI_OK;
}

int cli_complain(struct cli *cli, enum cli_exit code, const char *format, ...)
{
	return code;
}

static void test_places(void **state)
{
	char buffer[FILE_PATH_BYTES], *large = malloc(FILE_PATH_BYTES);

	assert_true(file_place_of(":a/b").pool);
	assert_string_equal(file_place_of(":a/b").path, "a/b");
	assert_string_equal(file_place_of("::a").path, ":a");
	assert_false(file_place_of("./:a").pool);
	assert_string_equal(file_pool_path("a:b"), "a:b");
	assert_int_equal(file_join(buffer, "a", "b"), 0);
	assert_string_equal(buffer, "a/b");
	assert_int_equal(file_join(buffer, "a/", "b"), 0);
	assert_string_equal(buffer, "a/b");
	assert_int_equal(file_join(buffer, "", "b"), 0);
	assert_string_equal(buffer, "b");
	memset(large, 'x', FILE_PATH_BYTES - 1);
	large[FILE_PATH_BYTES - 1] = '\0';
	assert_int_equal(file_join(buffer, large, "b"), -ENAMETOOLONG);
	assert_string_equal(file_last(buffer, "/a/b//"), "b");
	assert_string_equal(file_last(buffer, "a"), "a");
	assert_string_equal(file_last(buffer, "/"), "");
	assert_string_equal(file_last(buffer, "a/.."), "");
	assert_string_equal(file_last(buffer, "."), "");
	free(large);
}

static unsigned char byte_at(__u64 offset)
{
	return (unsigned char)(offset * 2654435761u >> 13);
}

static int make(const char *name, size_t length)
{
	unsigned char *data = malloc(length + 1);
	char path[200];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (size_t i = 0; i < length; i++)
		data[i] = byte_at(i);
	assert_int_equal(write(fd, data, length), length);
	free(data);
	return fd;
}

struct watched {
	__u64 seen, told, stop_at;
	int wrong;
};

static void see(void *context, const void *data, size_t length)
{
	struct watched *watched = context;

	for (size_t i = 0; i < length; i += 977)
		watched->wrong += ((const unsigned char *)data)[i] != byte_at(watched->seen + i);
	watched->seen += length;
}

static int tell(void *context, __u64 written)
{
	struct watched *watched = context;

	watched->wrong += written <= watched->told || written > watched->seen;
	watched->told = written;
	return watched->stop_at && written >= watched->stop_at ? -ECANCELED : 0;
}

static void test_stream(void **state)
{
	static const size_t lengths[] = { 0, 1, MIB - 1, MIB, MIB + 1, 8 * MIB, 9 * MIB + 5 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (__u64 offset = 0; offset <= 2 * MIB; offset += MIB) {
			struct file_end from = { .fd = make("from", lengths[i]) }, to = { .fd = make("to", 0) };
			struct watched watched = { .seen = offset, .told = offset };
			struct file_stream stream = { .from = &from, .to = &to, .offset = offset, .seen = see,
						      .progress = tell, .context = &watched };
			__u64 end, wanted = offset > lengths[i] ? offset : lengths[i];
			unsigned char last = 0;

			assert_int_equal(file_stream_run(&stream, &end), 0);
			assert_int_equal(end, wanted);
			assert_int_equal(watched.wrong, 0);
			assert_int_equal(watched.seen, wanted);
			assert_int_equal(watched.told, wanted);
			if (wanted > offset) {
				assert_int_equal(pread(to.fd, &last, 1, (off_t)wanted - 1), 1);
				assert_int_equal(last, byte_at(wanted - 1));
			}
			close(from.fd);
			close(to.fd);
		}
}

static void test_stream_stops(void **state)
{
	struct file_end from = { .fd = make("from", 9 * MIB) }, to = { .fd = make("to", 0) }, full = { .fd = -1 };
	struct watched watched = { .stop_at = 3 * MIB };
	struct file_stream stream = { .from = &from, .to = &to, .seen = see, .progress = tell, .context = &watched };
	__u64 end = 77;

	assert_int_equal(file_stream_run(&stream, &end), -ECANCELED);
	assert_int_equal(watched.told, 3 * MIB);
	assert_int_equal(end, 77);
	full.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	full.stream = true;
	stream.to = &full;
	watched = (struct watched){ 0 };
	assert_int_equal(file_stream_run(&stream, &end), -ENOSPC);
	assert_int_equal(watched.told, 0);
	close(full.fd);
	close(from.fd);
	close(to.fd);
}

static void test_stream_through_a_pipe(void **state)
{
	struct file_end from = { .stream = true }, to = { .fd = make("to", 0) };
	struct watched watched = { 0 };
	struct file_stream stream = { .from = &from, .to = &to, .seen = see, .progress = tell, .context = &watched };
	unsigned char *data = malloc(3 * MIB);
	__u64 end;
	int ends[2];
	pid_t child;

	for (size_t i = 0; i < 3 * MIB; i++)
		data[i] = byte_at(i);
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (!child) { /* in small pieces: the end is not where a read is short */
		for (size_t i = 0; i < 3 * MIB; i += MIB / 8)
			if (write(ends[1], data + i, MIB / 8) != (ssize_t)(MIB / 8))
				_exit(1);
		_exit(0);
	}
	close(ends[1]);
	from.fd = ends[0];
	assert_int_equal(file_stream_run(&stream, &end), 0);
	assert_int_equal(end, 3 * MIB);
	assert_int_equal(watched.wrong, 0);
	close(ends[0]);
	close(to.fd);
	free(data);
}

#define JOBS 5000

static void mark(void *context, struct virgo *virgo, void *job)
{
	assert_non_null(virgo);
	__atomic_add_fetch((unsigned int *)job, 1, __ATOMIC_RELAXED);
}

static void test_crew(void **state)
{
	unsigned int *marks = calloc(JOBS, sizeof(*marks)), wrong = 0;
	struct file_crew *crew;
	struct cli cli = { 0 };

	assert_int_equal(file_crew_start(&cli, 4, mark, NULL, &crew), CLI_OK);
	for (unsigned int i = 0; i < JOBS; i++)
		file_crew_give(crew, &marks[i]);
	file_crew_end(crew);
	for (unsigned int i = 0; i < JOBS; i++)
		wrong += marks[i] != 1;
	assert_int_equal(wrong, 0);
	free(marks);
}

static void test_hash(void **state)
{
	struct file_end file = { .fd = make("hashed", 5 * MIB + 3) };
	unsigned char *data = malloc(5 * MIB + 3);
	struct file_hash *hash = file_hash_new();

	for (size_t i = 0; i < 5 * MIB + 3; i++)
		data[i] = byte_at(i);
	/* The specification's own figure for no bytes. */
	assert_true(file_hash_of("", 0) == 0x2d06800538d394c2ULL);
	assert_int_equal(file_hash_read(NULL, &file, 5 * MIB + 3, hash), 0);
	assert_true(file_hash_value(hash) == file_hash_of(data, 5 * MIB + 3));
	assert_int_equal(file_hash_read(NULL, &file, 5 * MIB + 4, hash), -ENODATA);
	file_hash_free(hash);
	/* Goes on from a part. */
	hash = file_hash_new();
	assert_int_equal(file_hash_read(NULL, &file, 2 * MIB, hash), 0);
	file_hash_add(hash, data + 2 * MIB, 3 * MIB + 3);
	assert_true(file_hash_value(hash) == file_hash_of(data, 5 * MIB + 3));
	file_hash_free(hash);
	free(data);
	close(file.fd);
}

static void test_hash_note(void **state)
{
	struct virgo_file_stat stat;
	struct file_place place;
	char path[200];
	__u64 value;
	int fd = make("noted", 100);

	(void)snprintf(path, sizeof(path), "%s/noted", folder);
	place = (struct file_place){ .path = path };
	assert_int_equal(file_stat(NULL, place, true, &stat), 0);
	assert_int_equal(file_hash_known(NULL, place, &stat, &value), -ENODATA);
	if (file_hash_note(NULL, place, stat.size, stat.modified_ns, 0xabcdef))
		skip(); /* no attributes on this disk */
	assert_int_equal(file_hash_known(NULL, place, &stat, &value), 0);
	assert_int_equal(value, 0xabcdef);
	/* Another time, another size: it says nothing about that. */
	stat.modified_ns++;
	assert_int_equal(file_hash_known(NULL, place, &stat, &value), -ENODATA);
	stat.modified_ns--;
	stat.size++;
	assert_int_equal(file_hash_known(NULL, place, &stat, &value), -ENODATA);
	/* Something else than a note. */
	assert_int_equal(file_set_note(NULL, place, FILE_HASH_NOTE, "nonsense"), 0);
	stat.size--;
	assert_int_equal(file_hash_known(NULL, place, &stat, &value), -ENODATA);
	close(fd);
}

static void test_list(void **state)
{
	struct file_list list;
	char path[200];

	(void)snprintf(path, sizeof(path), "%s/d", folder);
	assert_int_equal(file_mkdir(NULL, (struct file_place){ .path = path }, 0700), 0);
	assert_int_equal(file_mkdir(NULL, (struct file_place){ .path = path }, 0700), -EEXIST);
	assert_int_equal(file_list(NULL, (struct file_place){ .path = path }, &list), 0);
	assert_int_equal(list.count, 0);
	close(make("d/b", 7));
	close(make("d/a", 5));
	assert_int_equal(file_list(NULL, (struct file_place){ .path = path }, &list), 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.entries[0].name, "a");
	assert_int_equal(list.entries[1].stat.size, 7);
	file_list_free(&list);
	assert_int_equal(file_list(NULL, (struct file_place){ .path = "/no/such/folder" }, &list), -ENOENT);
	assert_null(list.entries);
}

static int set_up(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[300];

	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),	     cmocka_unit_test(test_stream),
		cmocka_unit_test(test_stream_stops), cmocka_unit_test(test_stream_through_a_pipe),
		cmocka_unit_test(test_crew),	     cmocka_unit_test(test_hash),
		cmocka_unit_test(test_hash_note),    cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests_name("files", tests, set_up, tear_down);
}
