/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files of the client on three real nodes: one tree, whoever has what; striped files; a node that is gone. */
#include "client_file.h"

static int start_three(void **state)
{
	(void)state;
	cluster = real_start(3);
	return 0;
}

static int note_all(void *context, const char *name, const struct virgo_file_stat *stat)
{
	struct seen *seen = context;

	(void)stat;
	seen->created++;
	(void)snprintf(seen->name, sizeof(seen->name), "%s", name);
	return 0;
}

static int note_one(void *context, const char *name, const struct virgo_file_stat *stat)
{
	struct seen *seen = context;

	seen->created += !strcmp(name, seen->name) && S_ISDIR(stat->mode);
	return 0;
}

static unsigned int count_names(const char *path)
{
	struct seen seen = { 0 };

	assert_int_equal(virgo_list(v, path, note_all, &seen), 0);
	return seen.created;
}

static void test_nodes_share_the_files(void **state)
{
	unsigned int files_of[3] = { 0 };
	struct virgo_file_stat stat;
	struct virgo_statfs room;
	char path[32];

	(void)state;
	assert_int_equal(virgo_mkdir(v, "spread", 0755), 0);
	assert_int_equal(virgo_mkdir(v, "spread/deep", 0755), 0);
	for (unsigned int i = 0; i < 100; i++) {
		(void)snprintf(path, sizeof(path), "spread/deep/%u", i);
		put_text(path, path);
	}
	for (unsigned int i = 0; i < 100; i++) {
		(void)snprintf(path, sizeof(path), "spread/deep/%u", i);
		expect_text(path, path);
		assert_int_equal(virgo_stat(v, path, &stat), 0);
		assert_in_range(stat.node, 0, 2);
		files_of[stat.node]++;
	}
	for (int i = 0; i < 3; i++)
		assert_true(files_of[i] > 5);
	assert_int_equal(count_names("spread/deep"), 100);
	assert_int_equal(count_names("spread"), 1);
	assert_int_equal(virgo_rmdir(v, "spread/deep"), -ENOTEMPTY);
	assert_int_equal(virgo_statfs(v, &room), 0);
	assert_int_equal(room.nodes, 3);
	/* A client that knows one node finds the others. */
	(void)snprintf(path, sizeof(path), "127.0.0.2:%u", cluster->port);
	virgo_disconnect(v);
	assert_int_equal(virgo_connect(&v,
				       &(struct virgo_options){ .size = sizeof(struct virgo_options),
								.nodes = path,
								.file_port = cluster->file_port,
								.key_file = "" },
				       NULL, 0),
			 0);
	for (unsigned int i = 0; i < 100; i++) {
		(void)snprintf(path, sizeof(path), "spread/deep/%u", i);
		expect_text(path, path);
		assert_int_equal(virgo_unlink(v, path), 0);
	}
	assert_int_equal(virgo_rmdir(v, "spread/deep"), 0);
	assert_int_equal(virgo_stat(v, "spread/deep", &stat), -ENOENT);
}

static void test_nodes_names_move(void **state)
{
	char from[32], to[32];

	(void)state;
	assert_int_equal(virgo_mkdir(v, "move", 0755), 0);
	assert_int_equal(virgo_mkdir(v, "move/a", 0755), 0);
	for (unsigned int i = 0; i < 30; i++) {
		(void)snprintf(from, sizeof(from), "move/a/%u", i);
		(void)snprintf(to, sizeof(to), "move/moved%u", i);
		put_text(from, to);
		assert_int_equal(virgo_rename(v, from, to, 0), 0);
		expect_text(to, to);
		assert_int_equal(virgo_stat(v, from, &(struct virgo_file_stat){ 0 }), -ENOENT);
	}
	assert_int_equal(count_names("move"), 31);
	assert_int_equal(virgo_rename(v, "move", "other", 0), 0);
	assert_int_equal(count_names("other"), 31);
	expect_text("other/moved7", "move/moved7");
}

/* A directory whose files are all to be on one node: their names are elsewhere, and lead there. */
static void test_nodes_pinned_directory(void **state)
{
	struct virgo_file_stat stat;
	struct virgo_file *file;
	char path[32];

	(void)state;
	assert_int_equal(virgo_mkdir(v, "pinned", 0755), 0);
	assert_int_equal(virgo_setxattr(v, "pinned", "user.virgo.home", "2", 1, 0), 0);
	for (unsigned int i = 0; i < 20; i++) {
		(void)snprintf(path, sizeof(path), "pinned/%u", i);
		put_text(path, path);
		expect_text(path, path);
		assert_int_equal(virgo_lstat(v, path, &stat), 0);
		assert_int_equal(stat.node, 2);
		assert_true(S_ISREG(stat.mode));
		assert_int_equal(virgo_chmod(v, path, 0600), 0);
		assert_int_equal(virgo_truncate(v, path, 3), 0);
		assert_int_equal(virgo_open(v, path, O_RDWR, 0, &file), 0);
		assert_int_equal(virgo_opened_stat(file)->size, 3);
		assert_int_equal(virgo_close(v, file), 0);
	}
	assert_int_equal(count_names("pinned"), 20);
	assert_int_equal(virgo_rename(v, "pinned/1", "unpinned", 0), 0);
	expect_text("unpinned", "pin");
	assert_int_equal(virgo_unlink(v, "pinned/2"), 0);
	assert_int_equal(virgo_stat(v, "pinned/2", &stat), -ENOENT);
	assert_int_equal(count_names("pinned"), 18);
}

static void test_nodes_symbolic_links(void **state)
{
	struct virgo_file_stat stat;
	char path[32], text[64];

	(void)state;
	assert_int_equal(virgo_mkdir(v, "here", 0755), 0);
	assert_int_equal(virgo_mkdir(v, "here/below", 0755), 0);
	assert_int_equal(virgo_symlink(v, "here/below", "there"), 0);
	/* The names behind the link belong to nodes that know nothing of it. */
	for (unsigned int i = 0; i < 20; i++) {
		(void)snprintf(path, sizeof(path), "there/%u", i);
		(void)snprintf(text, sizeof(text), "here/below/%u", i);
		put_text(path, "found");
		expect_text(text, "found");
		expect_text(path, "found");
		assert_int_equal(virgo_unlink(v, path), 0);
		assert_int_equal(virgo_stat(v, path, &stat), -ENOENT);
	}
	assert_int_equal(virgo_symlink(v, "/.virgo-home/1", "forged"), -EINVAL);
}

/* Nodes make the pieces of a file one after the other, at times of their own: as if that had taken long. */
static void make_pieces_anew(void)
{
	const struct timespec while_ns = { .tv_nsec = 30000000 };
	char command[256];

	(void)nanosleep(&while_ns, NULL);
	(void)snprintf(command, sizeof(command),
		       "for p in %s/*/.virgo/pieces/*; do cp -p \"$p\" \"$p~\" && mv \"$p~\" \"$p\" || exit; done",
		       cluster->directory);
	assert_int_equal(system(command), 0);
}

/* Open or not it is the same file: programs tell files apart by that. */
static void test_nodes_striped_is_one_file(void **state)
{
	struct virgo_file_stat by_name, opened;
	struct virgo_file *file;

	(void)state;
	assert_int_equal(virgo_open_striped(v, "one", O_RDWR, 0640, 65536, 0, &file), 0);
	assert_int_equal(virgo_close(v, file), 0);
	make_pieces_anew();
	assert_int_equal(virgo_stat(v, "one", &by_name), 0);
	assert_int_equal(virgo_open(v, "one", O_RDWR, 0, &file), 0);
	assert_int_equal(virgo_ftruncate(v, file, 200000), 0);
	assert_int_equal(virgo_fstat(v, file, &opened), 0);
	assert_int_equal(opened.size, 200000);
	assert_int_equal(opened.stripes, 3);
	assert_int_equal(opened.inode, by_name.inode);
	assert_int_equal(opened.created_ns, by_name.created_ns);
	assert_int_equal(opened.mode, by_name.mode);
	assert_int_equal(opened.block_size, by_name.block_size);
	assert_int_equal(virgo_close(v, file), 0);
	assert_int_equal(virgo_unlink(v, "one"), 0);
}

/* Programs tell by its time whether a file has changed, whichever piece it was that did. */
static void test_nodes_striped_times(void **state)
{
	const struct timespec times[2] = { { .tv_sec = 1000000007, .tv_nsec = 9 }, { .tv_sec = 1100000003 } };
	struct virgo_file_stat stat, opened;
	struct virgo_file *file;

	(void)state;
	assert_int_equal(virgo_open_striped(v, "times", O_RDWR, 0640, 65536, 0, &file), 0);
	assert_int_equal(virgo_pwrite(v, file, "x", 1, 199999), 1);
	for (int piece = 0; piece < 3; piece++) {
		assert_int_equal(piece % 2 ? virgo_futimens(v, file, times) : virgo_utimens(v, "times", times), 0);
		assert_int_equal(virgo_stat(v, "times", &stat), 0);
		assert_int_equal(stat.accessed_ns, 1000000007000000009);
		assert_int_equal(stat.modified_ns, 1100000003000000000);
		assert_int_equal(stat.size, 200000);
		assert_int_equal(virgo_pwrite(v, file, "y", 1, (uint64_t)piece * 65536), 1);
		assert_int_equal(virgo_stat(v, "times", &stat), 0);
		assert_int_equal(virgo_fstat(v, file, &opened), 0);
		assert_true(stat.modified_ns > 1100000003000000000);
		assert_int_equal(opened.modified_ns, stat.modified_ns);
	}
	assert_int_equal(virgo_chmod(v, "times", 0600), 0);
	assert_int_equal(virgo_stat(v, "times", &stat), 0);
	assert_int_equal(stat.mode & 07777, 0600);
	assert_int_equal(virgo_close(v, file), 0);
	assert_int_equal(virgo_unlink(v, "times"), 0);
}

static void test_nodes_striped_file(void **state)
{
	struct virgo_file_stat stat;
	struct virgo_file *file;
	struct seen seen = { 0 };
	struct virgo *fresh;
	void *data;
	size_t length;

	(void)state;
	assert_int_equal(virgo_open_striped(v, "striped", O_RDWR, 0640, 1000, 0, &file), -EINVAL);
	assert_int_equal(virgo_open_striped(v, "striped", O_RDWR, 0640, 65536, 0, &file), 0);
	assert_int_equal(virgo_opened_stat(file)->stripes, 3);
	random_operations("striped", file, 150);
	assert_int_equal(virgo_ftruncate(v, file, 0), 0);
	assert_int_equal(virgo_pwrite(v, file, "end", 3, 1000000), 3);
	assert_int_equal(virgo_fsync(v, file), 0);
	assert_int_equal(virgo_fstat(v, file, &stat), 0);
	assert_int_equal(stat.size, 1000003);
	assert_int_equal(virgo_seek(v, file, 0, SEEK_END), 1000003);
	assert_int_equal(virgo_fallocate(v, file, 0, 0, 2000000), 0);
	assert_int_equal(virgo_fstat(v, file, &stat), 0);
	assert_int_equal(stat.size, 2000000);
	assert_int_equal(virgo_flock(v, file, 1, LOCK_EX), 0);
	assert_int_equal(virgo_close(v, file), 0);
	/* Somebody who knows nothing yet. */
	fresh = real_client(cluster, TIMEOUT_MS, NULL);
	assert_int_equal(virgo_open(fresh, "striped", O_RDONLY, 0, &file), 0);
	assert_int_equal(virgo_opened_stat(file)->size, 2000000);
	assert_int_equal(virgo_close(fresh, file), 0);
	virgo_disconnect(fresh);
	assert_int_equal(virgo_open_striped(v, "striped", O_RDWR, 0640, 65536, 2, &file), -EEXIST);
	assert_int_equal(virgo_truncate(v, "striped", 1000003), 0);
	assert_int_equal(virgo_stat(v, "striped", &stat), 0);
	assert_int_equal(stat.size, 1000003);
	assert_true(S_ISREG(stat.mode));
	assert_int_equal(virgo_rename(v, "striped", "stripes", 0), 0);
	assert_int_equal(virgo_file_get(v, "stripes", &data, &length, &stat), 0);
	assert_int_equal(length, 1000003);
	assert_memory_equal((char *)data + 999998, "\0\0end", 5);
	free(data);
	assert_int_equal(virgo_list(v, "", note_all, &seen), 0);
	assert_int_equal(virgo_unlink(v, "stripes"), 0);
	assert_int_equal(virgo_stat(v, "stripes", &stat), -ENOENT);
}

static void test_nodes_watch_all(void **state)
{
	struct seen seen = { 0 };
	struct virgo_watch *watch;
	char path[32];

	(void)state;
	assert_int_equal(virgo_mkdir(v, "seen", 0755), 0);
	assert_int_equal(virgo_watch(v, "seen", IN_CREATE | IN_DELETE, note_event, &seen, &watch), 0);
	for (unsigned int i = 0; i < 12; i++) {
		(void)snprintf(path, sizeof(path), "seen/%u", i);
		assert_int_equal(virgo_mkdir(v, path, 0755), 0);
	}
	assert_true(soon(&seen.created, 12));
	assert_int_equal(virgo_unwatch(v, watch), 0);
}

/* A directory whose name is node 1's. */
static void make_directory_of_node_1(char *path, size_t bytes)
{
	struct virgo_file_stat stat = { .node = 0xffff };

	for (unsigned int i = 0; stat.node != 1; i++) {
		assert_true(i < 100);
		(void)snprintf(path, bytes, "gone%u", i);
		assert_int_equal(virgo_mkdir(v, path, 0755), 0);
		assert_int_equal(virgo_stat(v, path, &stat), 0);
	}
}

/* One node gone: what it has is not there, everything else is, and it comes back. */
static void test_nodes_one_is_gone(void **state)
{
	struct virgo_file_stat stat;
	char directory[16];
	struct virgo *quick = real_client(cluster, 1000, NULL);
	unsigned int lost = 0, found = 0;
	struct virgo_statfs room;
	struct seen seen = { 0 };
	char path[40];

	(void)state;
	make_directory_of_node_1(directory, sizeof(directory));
	for (unsigned int i = 0; i < 60; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u", directory, i);
		put_text(path, path);
	}
	real_kill_node(cluster, 1, SIGKILL);
	for (unsigned int i = 0; i < 60; i++) {
		void *data;
		size_t length;
		int error;

		(void)snprintf(path, sizeof(path), "%s/%u", directory, i);
		error = virgo_file_get(quick, path, &data, &length, NULL);
		lost += error == -EHOSTDOWN;
		found += !error;
		if (!error)
			free(data);
	}
	assert_int_equal(lost + found, 60);
	assert_true(lost > 5 && found > 20);
	assert_int_equal(virgo_list(quick, directory, note_all, &seen), -EHOSTDOWN);
	assert_int_equal(seen.created, found);
	/* Nor do its directories vanish from lists: it is told of once. */
	seen = (struct seen){ 0 };
	(void)snprintf(seen.name, sizeof(seen.name), "%s", directory);
	assert_int_equal(virgo_list(quick, "", note_one, &seen), -EHOSTDOWN);
	assert_int_equal(seen.created, 1);
	/* The others have copies of the directory. */
	assert_int_equal(virgo_stat(quick, directory, &stat), 0);
	assert_true(S_ISDIR(stat.mode));
	assert_int_not_equal(virgo_stat(quick, "no.such.thing", &stat), 0);
	assert_int_equal(virgo_statfs(quick, &room), 0);
	assert_int_equal(room.nodes, 2);
	assert_int_equal(room.nodes_silent, 1);
	real_restart_node(cluster, 1);
	for (unsigned int i = 0; i < 60; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u", directory, i);
		expect_text(path, path);
	}
	assert_int_equal(count_names(directory), 60);
	virgo_disconnect(quick);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nodes_share_the_files),
		TEST(test_nodes_names_move),
		TEST(test_nodes_pinned_directory),
		TEST(test_nodes_symbolic_links),
		TEST(test_nodes_striped_is_one_file),
		TEST(test_nodes_striped_times),
		TEST(test_nodes_striped_file),
		TEST(test_nodes_watch_all),
		TEST(test_nodes_one_is_gone),
	};

	return cmocka_run_group_tests_name("client_file_nodes", tests, start_three, stop);
}
