/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files of the client on one real node: what each call does. */
#include "client_file.h"

static int start_one(void **state)
{
	(void)state;
	cluster = real_start(1);
	return 0;
}

/* ---- open files -------------------------------------------------------------------------------------------------- */

static void test_file_open_says_what_open_says(void **state)
{
	struct virgo_file *file;

	(void)state;
	assert_int_equal(virgo_open(v, "none", O_RDONLY, 0, &file), -ENOENT);
	assert_string_equal(virgo_error_text(v), "ENOENT: No such file or directory");
	assert_int_equal(virgo_open(v, "no/such", O_WRONLY | O_CREAT, 0644, &file), -ENOENT);
	make("flags", O_WRONLY | O_EXCL, &file);
	assert_int_equal(virgo_opened_stat(file)->size, 0);
	assert_int_equal(virgo_opened_stat(file)->mode, S_IFREG | 0644);
	assert_int_equal(virgo_write(v, file, "12345", 5), 5);
	assert_int_equal(virgo_pread(v, file, (char[8]){ 0 }, 8, 0), -EBADF);
	assert_int_equal(virgo_close(v, file), 0);
	assert_int_equal(virgo_open(v, "flags", O_WRONLY | O_CREAT | O_EXCL, 0644, &file), -EEXIST);
	assert_int_equal(virgo_open(v, "/flags/x", O_RDONLY, 0, &file), -ENOTDIR);
	assert_int_equal(virgo_open(v, "flags", O_RDONLY | O_DIRECTORY, 0, &file), -ENOTDIR);
	assert_int_equal(virgo_open(v, ".", O_RDONLY | O_DIRECTORY, 0, &file), 0);
	assert_int_equal(virgo_fsync(v, file), 0);
	assert_int_equal(virgo_close(v, file), 0);
	assert_int_equal(virgo_open(v, ".", O_WRONLY, 0, &file), -EISDIR);
	assert_int_equal(virgo_open(v, "flags", O_RDWR | O_TRUNC, 0, &file), 0);
	assert_int_equal(virgo_opened_stat(file)->size, 0);
	assert_int_equal(virgo_close(v, file), 0);
	assert_int_equal(virgo_open(v, "../etc/passwd", O_RDONLY, 0, &file), -EXDEV);
	assert_int_equal(virgo_open(v, ".virgo", O_RDONLY, 0, &file), -EPERM);
	assert_int_equal(virgo_open(v, NULL, O_RDONLY, 0, &file), -EINVAL);
}

static void test_file_position_moves(void **state)
{
	struct virgo_file *file, *other;
	char text[16] = "";

	(void)state;
	make("position", O_RDWR, &file);
	assert_int_equal(virgo_write(v, file, "hello ", 6), 6);
	assert_int_equal(virgo_write(v, file, "world", 5), 5);
	assert_int_equal(virgo_seek(v, file, -5, SEEK_END), 6);
	assert_int_equal(virgo_read(v, file, text, sizeof(text)), 5);
	assert_string_equal(text, "world");
	assert_int_equal(virgo_read(v, file, text, sizeof(text)), 0);
	assert_int_equal(virgo_seek(v, file, -2, SEEK_CUR), 9);
	assert_int_equal(virgo_seek(v, file, -1, SEEK_SET), -EINVAL);
	assert_int_equal(virgo_seek(v, file, 1, SEEK_DATA), 1);
	assert_int_equal(virgo_seek(v, file, 1, SEEK_HOLE), 11);
	assert_int_equal(virgo_seek(v, file, 11, SEEK_DATA), -ENXIO);
	/* Two that append never write over each other. */
	assert_int_equal(virgo_open(v, "position", O_WRONLY | O_APPEND, 0, &other), 0);
	assert_int_equal(virgo_write(v, other, "!", 1), 1);
	assert_int_equal(virgo_seek(v, other, 0, SEEK_CUR), 12);
	assert_int_equal(virgo_pwrite(v, file, "?", 1, 12), 1);
	assert_int_equal(virgo_write(v, other, "!", 1), 1);
	assert_int_equal(virgo_seek(v, other, 0, SEEK_CUR), 14);
	expect_text("position", "hello world!?!");
	assert_int_equal(virgo_close(v, other), 0);
	assert_int_equal(virgo_close(v, file), 0);
}

static void test_file_attributes(void **state)
{
	const struct timespec times[2] = { { .tv_sec = 1000, .tv_nsec = 7 }, { .tv_nsec = UTIME_OMIT } };
	struct virgo_file_stat stat;
	struct virgo_file *file;
	int64_t modified_ns;

	(void)state;
	make("attributes", O_RDWR, &file);
	assert_int_equal(virgo_ftruncate(v, file, 100000), 0);
	assert_int_equal(virgo_fstat(v, file, &stat), 0);
	assert_int_equal(stat.size, 100000);
	assert_int_equal(stat.stripes, 0);
	modified_ns = stat.modified_ns;
	assert_int_equal(virgo_futimens(v, file, times), 0);
	assert_int_equal(virgo_fchmod(v, file, 0600), 0);
	assert_int_equal(virgo_stat(v, "attributes", &stat), 0);
	assert_int_equal(stat.accessed_ns, 1000000000007);
	assert_int_equal(stat.modified_ns, modified_ns);
	assert_int_equal(stat.mode, S_IFREG | 0600);
	assert_int_equal(virgo_chmod(v, "attributes", 0640), 0);
	assert_int_equal(virgo_truncate(v, "attributes", 3), 0);
	assert_int_equal(virgo_utimens(v, "attributes", NULL), 0);
	assert_int_equal(virgo_fstat(v, file, &stat), 0);
	assert_int_equal(stat.size, 3);
	assert_int_equal(stat.mode, S_IFREG | 0640);
	assert_true(stat.accessed_ns > 1000000000007);
	assert_int_equal(virgo_fallocate(v, file, 0, 0, 65536), 0);
	assert_int_equal(virgo_fstat(v, file, &stat), 0);
	assert_int_equal(stat.size, 65536);
	assert_int_equal(virgo_fallocate(v, file, 0x40, 0, 1), -EOPNOTSUPP);
	/* A file that has lost its name is still a file. */
	assert_int_equal(virgo_unlink(v, "attributes"), 0);
	assert_int_equal(virgo_fchmod(v, file, 0444), 0);
	assert_int_equal(virgo_fstat(v, file, &stat), 0);
	assert_int_equal(stat.links, 0);
	assert_int_equal(virgo_close(v, file), 0);
}

static void test_file_vectors(void **state)
{
	static uint8_t large[2][200000];
	char a[4] = "", b[8] = "";
	struct iovec out[3] = { { "one", 3 }, { "", 0 }, { "two", 3 } }, in[2] = { { a, 2 }, { b, 7 } };
	struct iovec larges[2] = { { large[0], sizeof(large[0]) }, { large[1], sizeof(large[1]) } };
	struct virgo_file *file;

	(void)state;
	make("vectors", O_RDWR, &file);
	assert_int_equal(virgo_pwritev(v, file, out, 3, 10), 6);
	assert_int_equal(virgo_preadv(v, file, in, 2, 10), 6);
	assert_string_equal(a, "on");
	assert_string_equal(b, "etwo");
	fill(large[0], sizeof(large[0]));
	memcpy(large[1], large[0], sizeof(large[0]));
	assert_int_equal(virgo_pwritev(v, file, larges, 2, 0), 400000);
	memset(large, 0, sizeof(large));
	assert_int_equal(virgo_preadv(v, file, larges, 2, 0), 400000);
	assert_memory_equal(large[0], large[1], sizeof(large[0]));
	assert_int_equal(virgo_preadv(v, file, larges, -1, 0), -EINVAL);
	assert_int_equal(virgo_close(v, file), 0);
}

static void test_file_copied_on_its_node(void **state)
{
	struct virgo_file *from, *to;

	(void)state;
	put_text("source", "0123456789");
	assert_int_equal(virgo_open(v, "source", O_RDONLY, 0, &from), 0);
	make("target", O_RDWR, &to);
	assert_int_equal(virgo_copy_range(v, from, 2, to, 0, 5), 5);
	expect_text("target", "23456");
	assert_int_equal(virgo_close(v, from), 0);
	assert_int_equal(virgo_close(v, to), 0);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void test_file_names(void **state)
{
	struct virgo_file_stat stat;

	(void)state;
	assert_int_equal(virgo_mkdir(v, "names", 0755), 0);
	assert_int_equal(virgo_mkdir(v, "names", 0755), -EEXIST);
	assert_int_equal(virgo_mkdir(v, "//names/./x/../sub/", 0700), 0);
	put_text("names/a", "A");
	put_text("names/b", "B");
	assert_int_equal(virgo_rename(v, "names/a", "names/b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(virgo_rename(v, "names/a", "names/b", RENAME_EXCHANGE), 0);
	expect_text("names/a", "B");
	assert_int_equal(virgo_rename(v, "names/a", "names/sub/c", 0), 0);
	assert_int_equal(virgo_stat(v, "names/a", &stat), -ENOENT);
	assert_int_equal(virgo_link(v, "names/sub/c", "names/d"), 0);
	assert_int_equal(virgo_stat(v, "names/d", &stat), 0);
	assert_int_equal(stat.links, 2);
	assert_int_equal(virgo_rmdir(v, "names/sub"), -ENOTEMPTY);
	assert_int_equal(virgo_unlink(v, "names/sub"), -EISDIR);
	assert_int_equal(virgo_unlink(v, "names/sub/c"), 0);
	assert_int_equal(virgo_rmdir(v, "names/sub"), 0);
	assert_int_equal(virgo_rename(v, "names", "renamed", 0), 0);
	expect_text("renamed/b", "A");
	assert_int_equal(virgo_rename(v, "renamed/b", "renamed/e", 0x80), -EINVAL);
}

static void test_file_symbolic_links(void **state)
{
	char path[64], text[64] = "";
	struct virgo_file_stat stat;
	struct virgo_file *file;

	(void)state;
	assert_int_equal(virgo_mkdir(v, "real", 0755), 0);
	assert_int_equal(virgo_mkdir(v, "real/deep", 0755), 0);
	assert_int_equal(virgo_symlink(v, "real/deep", "short"), 0);
	assert_int_equal(virgo_symlink(v, "../real/./deep/file", "real/file"), 0);
	put_text("short/file", "by a link");
	expect_text("real/deep/file", "by a link");
	expect_text("real/file", "by a link");
	assert_int_equal(virgo_readlink(v, "short", text, sizeof(text)), 9);
	assert_string_equal(text, "real/deep");
	assert_int_equal(virgo_readlink(v, "real", text, sizeof(text)), -EINVAL);
	assert_int_equal(virgo_lstat(v, "short", &stat), 0);
	assert_true(S_ISLNK(stat.mode));
	assert_int_equal(virgo_stat(v, "short", &stat), 0);
	assert_true(S_ISDIR(stat.mode));
	assert_int_equal(virgo_open(v, "real/file", O_RDONLY | O_NOFOLLOW, 0, &file), -ELOOP);
	assert_int_equal(virgo_rename(v, "short/file", "short/moved", 0), 0);
	/* A new file at the end of a link that leads to none. */
	make("real/file", O_WRONLY, &file);
	assert_int_equal(virgo_close(v, file), 0);
	assert_int_equal(virgo_stat(v, "real/deep/file", &stat), 0);
	assert_int_equal(virgo_symlink(v, "/etc", "outside"), 0);
	assert_int_equal(virgo_stat(v, "outside/passwd", &stat), -EXDEV);
	assert_int_equal(virgo_symlink(v, "../../etc", "above"), 0);
	assert_int_equal(virgo_stat(v, "above/passwd", &stat), -EXDEV);
	assert_int_equal(virgo_symlink(v, "loop", "loop"), 0);
	assert_int_equal(virgo_stat(v, "loop", &stat), -ELOOP);
	for (int i = 0; i < 12; i++) {
		(void)snprintf(path, sizeof(path), "chain%d", i + 1);
		(void)snprintf(text, sizeof(text), i ? "chain%d" : "real", i);
		assert_int_equal(virgo_symlink(v, text, path), 0);
	}
	assert_int_equal(virgo_stat(v, "chain12/deep", &stat), 0);
}

struct listed {
	unsigned int count, stop_after;
	uint64_t sum;
};

static int note_name(void *context, const char *name, const struct virgo_file_stat *stat)
{
	struct listed *listed = context;

	assert_true(S_ISREG(stat->mode));
	listed->sum += strtoul(name + 1, NULL, 10);
	assert_int_equal(stat->size, strtoul(name + 1, NULL, 10) % 7);
	return ++listed->count == listed->stop_after ? 77 : 0;
}

static void test_file_listing(void **state)
{
	struct listed listed = { 0 };
	char path[32];

	(void)state;
	assert_int_equal(virgo_mkdir(v, "many", 0755), 0);
	assert_int_equal(virgo_list(v, "many", note_name, &listed), 0);
	assert_int_equal(listed.count, 0);
	for (unsigned int i = 0; i < 3000; i++) {
		(void)snprintf(path, sizeof(path), "many/f%u", i);
		assert_int_equal(virgo_file_put(v, path, "1234567", i % 7, 0, 0600), 0);
	}
	assert_int_equal(virgo_list(v, "many", note_name, &listed), 0);
	assert_int_equal(listed.count, 3000);
	assert_int_equal(listed.sum, 3000 * 2999 / 2);
	listed = (struct listed){ .stop_after = 5 };
	assert_int_equal(virgo_list(v, "many", note_name, &listed), 77);
	assert_int_equal(listed.count, 5);
	assert_int_equal(virgo_list(v, "none", note_name, &listed), -ENOENT);
	assert_int_equal(virgo_list(v, "many/f1", note_name, &listed), -ENOTDIR);
}

static void test_file_extended_attributes(void **state)
{
	char value[32] = "";

	(void)state;
	put_text("x", "");
	assert_int_equal(virgo_setxattr(v, "x", "user.colour", "red", 3, 0), 0);
	assert_int_equal(virgo_setxattr(v, "x", "user.colour", "blue", 4, 1), -EEXIST);
	assert_int_equal(virgo_getxattr(v, "x", "user.colour", NULL, 0), 3);
	assert_int_equal(virgo_getxattr(v, "x", "user.colour", value, 2), -ERANGE);
	assert_int_equal(virgo_getxattr(v, "x", "user.colour", value, sizeof(value)), 3);
	assert_string_equal(value, "red");
	assert_int_equal(virgo_listxattr(v, "x", value, sizeof(value)), 12);
	assert_string_equal(value, "user.colour");
	assert_int_equal(virgo_removexattr(v, "x", "user.colour"), 0);
	assert_int_equal(virgo_getxattr(v, "x", "user.colour", value, sizeof(value)), -ENODATA);
	assert_int_equal(virgo_getxattr(v, "x", "", value, sizeof(value)), -ERANGE);
}

static void test_file_room(void **state)
{
	struct virgo_statfs room;

	(void)state;
	assert_int_equal(virgo_statfs(v, &room), 0);
	assert_int_equal(room.nodes, 1);
	assert_int_equal(room.nodes_silent, 0);
	assert_true(room.bytes >= room.bytes_free && room.bytes_free > 0);
	assert_int_equal(room.name_max, 255);
}

/* ---- whole files, and many at once --------------------------------------------------------------------------------- */

static void test_file_whole(void **state)
{
	const size_t length = 5 * 1024 * 1024 + 12345;
	struct virgo_file_stat stat;
	uint8_t *data = malloc(length);
	void *got;
	size_t got_length;

	(void)state;
	fill(data, length);
	put_text("whole", "small");
	assert_int_equal(virgo_file_put(v, "whole", "x", 1, O_EXCL, 0644), -EEXIST);
	assert_int_equal(virgo_file_put(v, "whole", "x", 1, O_APPEND, 0644), -EINVAL);
	assert_int_equal(virgo_file_put(v, "whole", data, length, O_SYNC, 0644), 0);
	assert_int_equal(virgo_file_get(v, "whole", &got, &got_length, &stat), 0);
	assert_int_equal(got_length, length);
	assert_int_equal(stat.size, length);
	assert_memory_equal(got, data, length);
	free(got);
	assert_int_equal(virgo_file_put(v, "whole", "", 0, 0, 0644), 0);
	expect_text("whole", "");
	free(data);
}

struct submitted {
	unsigned int count, bad;
	ssize_t expected;
};

static void count_result(void *context, ssize_t result)
{
	struct submitted *submitted = context;

	submitted->count++;
	submitted->bad += result != submitted->expected;
	if (submitted->count == 1)
		assert_int_equal(virgo_stat(v, "/", NULL), -EDEADLK);
}

#define MANY 500
static void test_file_many_at_once(void **state)
{
	struct submitted puts = { 0 }, gets = { 0 }, reads = { .expected = 8 };
	void *data[MANY];
	size_t length[MANY];
	uint64_t words[MANY];
	struct virgo_file *file;

	(void)state;
	assert_int_equal(virgo_mkdir(v, "crowd", 0755), 0);
	for (unsigned int i = 0; i < MANY; i++) {
		char path[32];
		int error;

		words[i] = i;
		(void)snprintf(path, sizeof(path), "crowd/%u", i);
		while ((error = virgo_submit_file_put(v, path, &words[i], 8, 0, 0644, count_result, &puts)) == -EAGAIN)
			assert_true(virgo_wait(v, 1, -1) >= 0);
		assert_int_equal(error, 0);
	}
	assert_true(virgo_wait(v, 0, -1) >= 0);
	assert_int_equal(virgo_pending(v), 0);
	assert_int_equal(puts.count, MANY);
	assert_int_equal(puts.bad, 0);
	for (unsigned int i = 0; i < MANY; i++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "crowd/%u", i);
		while (virgo_submit_file_get(v, path, &data[i], &length[i], count_result, &gets) == -EAGAIN)
			assert_true(virgo_wait(v, 1, -1) >= 0);
	}
	assert_true(virgo_wait(v, 0, -1) >= 0);
	assert_int_equal(gets.bad, 0);
	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(length[i], 8);
		assert_memory_equal(data[i], &words[i], 8);
		free(data[i]);
	}
	make("crowd/file", O_RDWR, &file);
	assert_int_equal(virgo_pwrite(v, file, words, sizeof(words), 0), sizeof(words));
	memset(words, 0, sizeof(words));
	for (unsigned int i = 0; i < MANY; i++)
		while (virgo_submit_pread(v, file, &words[i], 8, 8 * i, count_result, &reads) == -EAGAIN)
			assert_true(virgo_wait(v, 1, -1) >= 0);
	assert_true(virgo_wait(v, 0, -1) >= 0);
	assert_int_equal(reads.bad, 0);
	for (unsigned int i = 0; i < MANY; i++)
		assert_int_equal(words[i], i);
	reads = (struct submitted){ .count = 1 };
	assert_int_equal(virgo_submit_fsync(v, file, 1, count_result, &reads), 0);
	assert_int_equal(virgo_wait(v, 0, -1), 1);
	assert_int_equal(reads.bad, 0);
	assert_int_equal(virgo_close(v, file), 0);
}

/* ---- locks and watches ------------------------------------------------------------------------------------------- */

static void test_file_locks(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10 }, seen;
	struct virgo_file *file;

	(void)state;
	make("locked", O_RDWR, &file);
	assert_int_equal(virgo_lock(v, file, 1, F_SETLK, &lock), 0);
	assert_int_equal(virgo_lock(v, file, 2, F_SETLK, &lock), -EAGAIN);
	seen = (struct flock){ .l_type = F_RDLCK, .l_start = 19, .l_len = 1 };
	assert_int_equal(virgo_lock(v, file, 2, F_GETLK, &seen), 0);
	assert_int_equal(seen.l_type, F_WRLCK);
	assert_int_equal(seen.l_start, 10);
	assert_int_equal(seen.l_len, 10);
	assert_int_equal(seen.l_pid, getpid());
	seen = (struct flock){ .l_type = F_RDLCK, .l_start = 20, .l_len = -1 };
	assert_int_equal(virgo_lock(v, file, 2, F_GETLK, &seen), 0);
	assert_int_equal(seen.l_type, F_WRLCK);
	lock.l_type = F_UNLCK;
	assert_int_equal(virgo_lock(v, file, 1, F_SETLK, &lock), 0);
	assert_int_equal(virgo_lock(v, file, 2, F_GETLK, &(struct flock){ .l_type = F_UNLCK }), -EINVAL);
	assert_int_equal(virgo_flock(v, file, 1, LOCK_SH), 0);
	assert_int_equal(virgo_flock(v, file, 2, LOCK_SH), 0);
	assert_int_equal(virgo_flock(v, file, 2, LOCK_EX | LOCK_NB), -EAGAIN);
	assert_int_equal(virgo_flock(v, file, 1, LOCK_UN), 0);
	assert_int_equal(virgo_flock(v, file, 2, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(virgo_flock(v, file, 2, 0), -EINVAL);
	assert_int_equal(virgo_close(v, file), 0);
}

static struct virgo *sharer;
static struct virgo_file *shared_file;

static void *lock_and_wait(void *context)
{
	struct flock lock = { .l_type = F_WRLCK };

	*(int *)context = virgo_lock(sharer, shared_file, 2, F_SETLKW, &lock);
	return NULL;
}

/* Who shares the session uses the same descriptor, and what waits for a lock gets it. */
static void test_file_shared_session(void **state)
{
	struct flock lock = { .l_type = F_WRLCK };
	char text[8] = "";
	int result = 1;
	pthread_t thread;

	(void)state;
	sharer = real_client(cluster, TIMEOUT_MS, v);
	make("shared", O_RDWR, &shared_file);
	assert_int_equal(virgo_pwrite(v, shared_file, "common", 6, 0), 6);
	assert_int_equal(virgo_pread(sharer, shared_file, text, sizeof(text), 0), 6);
	assert_string_equal(text, "common");
	assert_int_equal(virgo_lock(v, shared_file, 1, F_SETLK, &lock), 0);
	assert_int_equal(pthread_create(&thread, NULL, lock_and_wait, &result), 0);
	(void)usleep(50000);
	lock.l_type = F_UNLCK;
	assert_int_equal(virgo_lock(v, shared_file, 1, F_SETLK, &lock), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(result, 0);
	assert_int_equal(virgo_close(sharer, shared_file), 0);
	virgo_disconnect(sharer);
	/* The session is still there for the other one. */
	expect_text("shared", "common");
}

static void test_file_watches(void **state)
{
	struct virgo *other = real_client(cluster, TIMEOUT_MS, NULL);
	struct virgo_watch *watch;
	struct seen seen = { 0 };

	(void)state;
	assert_int_equal(virgo_mkdir(v, "watched", 0755), 0);
	assert_int_equal(virgo_watch(v, "none", IN_CREATE, note_event, &seen, &watch), -ENOENT);
	assert_int_equal(virgo_watch(v, "watched", IN_CREATE | IN_DELETE, note_event, &seen, &watch), 0);
	assert_int_equal(virgo_mkdir(other, "watched/a", 0755), 0);
	assert_true(soon(&seen.created, 1));
	assert_string_equal(seen.name, "a");
	assert_int_equal(virgo_rmdir(other, "watched/a"), 0);
	assert_true(soon(&seen.deleted, 1));
	assert_int_equal(virgo_unwatch(v, watch), 0);
	seen = (struct seen){ 0 };
	assert_int_equal(virgo_mkdir(other, "watched/b", 0755), 0);
	assert_int_equal(virgo_stat(v, "watched/b", &(struct virgo_file_stat){ 0 }), 0);
	assert_int_equal(seen.created, 0);
	virgo_disconnect(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file_open_says_what_open_says),
		TEST(test_file_position_moves),
		TEST(test_file_attributes),
		TEST(test_file_vectors),
		TEST(test_file_copied_on_its_node),
		TEST(test_file_names),
		TEST(test_file_symbolic_links),
		TEST(test_file_listing),
		TEST(test_file_extended_attributes),
		TEST(test_file_room),
		TEST(test_file_whole),
		TEST(test_file_many_at_once),
		TEST(test_file_locks),
		TEST(test_file_shared_session),
		TEST(test_file_watches),
	};

	return cmocka_run_group_tests_name("client_file", tests, start_one, stop);
}
