// SPDX-License-Identifier: GPL-3.0-or-later
/* Stubs, keys of pieces, and what the tree does on one disk: each step of a change, and what may lie in its way. */
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

#include "node/cluster.h"
#include "svc/file/tree_inner.h"

/* ---- words ------------------------------------------------------------------------------------------------------ */

static enum vg_stub_kind parse(const char *target, struct vg_stub *stub)
{
	return vg_stub_parse(target, strlen(target), stub);
}

static void test_stubs(void **state)
{
	static const char *const none[] = {
		"", "x", "/.virgo-", "/.virgo-home/", "/.virgo-home/x", "/.virgo-home/1 ", "/.virgo-home/01",
		"/.virgo-home/1024", "/.virgo-home/-1", "/.virgo-home/99999999999999999999", "/.virgo-homes/1",
		"/.virgo-stripes/65536/1/", "/.virgo-stripes/65536/1", "/.virgo-stripes/65537/1/0",
		"/.virgo-stripes/0/1/0", "/.virgo-stripes/65536/1/0,", "/.virgo-stripes/65536/1/0,1024",
		"/.virgo-stripes/65536/11111111111111111/0", "/.virgo-stripes/2147483648/1/0", "a/.virgo-home/1",
	};
	struct vg_stub stub, again;
	char target[VG_STUB_TARGET_MAX];

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(parse(none[i], &stub), VG_STUB_NONE);
	assert_int_equal(parse("/.virgo-home/1023", &stub), VG_STUB_HOME);
	assert_int_equal(stub.home, 1023);
	assert_int_equal(vg_stub_format(&stub, target), (int)strlen("/.virgo-home/1023"));
	assert_string_equal(target, "/.virgo-home/1023");
	/* The longest there is. */
	stub = (struct vg_stub){ .kind = VG_STUB_STRIPED, .id = ~0ull, .unit = VG_STUB_UNIT_MAX };
	for (stub.count = 0; stub.count < VG_FILE_STRIPES_MAX; stub.count++)
		stub.node[stub.count] = (__u16)(VG_NODES_MAX - 1 - stub.count);
	assert_true(vg_stub_format(&stub, target) < VG_STUB_TARGET_MAX);
	assert_int_equal(parse(target, &again), VG_STUB_STRIPED);
	assert_memory_equal(&again, &stub, sizeof(stub));
	strcat(target, ",1"); /* one too many */
	assert_int_equal(parse(target, &again), VG_STUB_NONE);
	assert_true(vg_stub_is_reserved("/.virgo-anything", 16));
	assert_false(vg_stub_is_reserved("/.virgo", 7));
	assert_false(vg_stub_is_reserved("b/.virgo-home/1", 15));
}

static void test_keys_of_pieces(void **state)
{
	static const char *const wrong[] = { "", ".", "1", "1.", ".1", "1.64", "1.0001", "1.-1", "1.1x", "g.1",
					     "A.1", "11111111111111111.1", "../x.1", "1/2.1" };
	__u32 index;
	__u64 id;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(vg_stripe_parse(wrong[i], &id, &index));
	assert_true(vg_stripe_parse("fedcba9876543210.63", &id, &index));
	assert_int_equal(id, 0xfedcba9876543210);
	assert_int_equal(index, 63);
}

/* ---- a disk ------------------------------------------------------------------------------------------------------ */

static char directory[64];
static int root;

static int make_root(void **state)
{
	snprintf(directory, sizeof(directory), "/tmp/vg-tree-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	root = open(directory, O_RDONLY | O_DIRECTORY);
	return vg_tree_make_own(root);
}

static int remove_root(void **state)
{
	char command[96];

	close(root);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static enum vg_home_kind kind_of(const char *path)
{
	struct vg_tree_look look;

	assert_int_equal(vg_tree_look(root, path, &look), 0);
	return look.kind;
}

static void write_file(const char *path, const char *text)
{
	int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void assert_holds(const char *path, const char *text)
{
	char got[64] = "";
	int fd = openat(root, path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	close(fd);
	assert_string_equal(got, text);
}

static void test_kinds(void **state)
{
	struct vg_tree_look look;

	write_file("file", "x");
	assert_int_equal(mkdirat(root, "dir", 0700), 0);
	assert_int_equal(symlinkat("file", root, "link"), 0);
	assert_int_equal(symlinkat("/.virgo-stripes/65536/a/0,1", root, "big"), 0);
	assert_int_equal(vg_tree_stub_make(root, "stub", 7, false), 0);
	assert_int_equal(kind_of(""), VG_KIND_DIRECTORY);
	assert_int_equal(kind_of("file"), VG_KIND_FILE);
	assert_int_equal(kind_of("dir"), VG_KIND_DIRECTORY);
	assert_int_equal(kind_of("link"), VG_KIND_SYMLINK);
	assert_int_equal(kind_of("big"), VG_KIND_STRIPED);
	assert_int_equal(vg_tree_look(root, "stub", &look), 0);
	assert_int_equal(look.kind, VG_KIND_STUB);
	assert_int_equal(look.stub.home, 7);
	assert_int_equal(kind_of("none"), VG_KIND_NOTHING);
	assert_int_equal(kind_of("none/below"), VG_KIND_NOTHING);
	assert_int_equal(vg_tree_look(root, "file/below", &look), -ENOTDIR);
	assert_int_equal(vg_tree_look(root, "link/below", &look), -ELOOP);
	/* Out of the root leads nothing. */
	assert_int_equal(symlinkat("/", root, "out"), 0);
	assert_int_equal(vg_tree_look(root, "out/etc", &look), -ELOOP);
	assert_int_equal(vg_tree_create(root, "out/tmp/vg-tree", 0644), -ELOOP);
	assert_int_equal(vg_tree_make_parents(root, "out/tmp/vg-tree/x"), -ELOOP);
}

static void test_stubs_on_disk(void **state)
{
	assert_int_equal(vg_tree_stub_make(root, "a/b/stub", 1, false), 0); /* its directories too */
	assert_int_equal(vg_tree_stub_make(root, "a/b/stub", 2, false), -EEXIST);
	assert_int_equal(vg_tree_stub_make(root, "a/b/stub", 2, true), 0);
	assert_int_equal(vg_tree_stub_remove(root, "a/b/stub", 1), 0); /* of another: it stays */
	assert_int_equal(kind_of("a/b/stub"), VG_KIND_STUB);
	assert_int_equal(vg_tree_unlink(root, "a/b/stub"), -ENOENT);
	assert_int_equal(vg_tree_stub_remove(root, "a/b/stub", 2), 0);
	assert_int_equal(vg_tree_stub_remove(root, "a/b/stub", 2), 0);
	assert_int_equal(kind_of("a/b/stub"), VG_KIND_NOTHING);
	write_file("a/b/file", "x");
	assert_int_equal(vg_tree_stub_remove(root, "a/b/file", 2), 0);
	assert_holds("a/b/file", "x");
	assert_int_equal(vg_tree_stub_make(root, "a/b", 2, true), -EISDIR);
}

static void test_moving(void **state)
{
	write_file("from", "new");
	write_file("to", "old");
	assert_int_equal(vg_tree_move(root, "from", "to", true), -EEXIST);
	assert_int_equal(vg_tree_move(root, "from", "to", false), 0);
	assert_holds("to", "new");
	assert_int_equal(vg_tree_move(root, "from", "to", false), -ENOENT);
	/* A stub is as good as nothing, in the way and as what is to be moved. */
	assert_int_equal(vg_tree_stub_make(root, "stub", 3, false), 0);
	assert_int_equal(vg_tree_move(root, "stub", "to", false), -ENOENT);
	assert_int_equal(vg_tree_move(root, "to", "stub", true), 0);
	assert_holds("stub", "new");
	assert_int_equal(vg_tree_move(root, "stub", "deep/er/to", true), 0);
	assert_holds("deep/er/to", "new");
	assert_int_equal(vg_tree_move(root, "deep/er/to", "deep", false), -EISDIR);
	/* Two names of one file: both stay, and that is told. */
	assert_int_equal(vg_tree_link(root, "deep/er/to", "second"), 0);
	assert_int_equal(vg_tree_link(root, "deep/er/to", "second"), -EEXIST);
	assert_int_equal(vg_tree_move(root, "deep/er/to", "second", false), 1);
	assert_int_equal(kind_of("deep/er/to"), VG_KIND_FILE);
	assert_int_equal(vg_tree_stub_make(root, "stub", 3, false), 0);
	assert_int_equal(vg_tree_link(root, "second", "stub"), 0);
	assert_int_equal(vg_tree_link(root, "none", "x"), -ENOENT);
}

static void test_stripes_and_the_trash(void **state)
{
	const struct vg_stub stub = { .kind = VG_STUB_STRIPED, .id = 0xabc, .unit = 65536, .count = 2, .node = { 0, 1 } };
	struct vg_stub trash;

	assert_int_equal(vg_tree_making_begin(root, &stub), 0);
	assert_int_equal(vg_tree_attributes_make(root, stub.id, 0640), 0);
	assert_int_equal(vg_tree_piece_make(root, stub.id, 0), 0);
	assert_int_equal(vg_tree_making_place(root, stub.id, "striped/file"), 0);
	assert_int_equal(kind_of("striped/file"), VG_KIND_STRIPED);
	assert_int_equal(vg_tree_link(root, "striped/file", "striped/link"), -EPERM);
	/* Replaced: what it says is kept until its pieces are gone. */
	write_file("over", "x");
	assert_int_equal(vg_tree_move(root, "over", "striped/file", false), 0);
	assert_int_equal(vg_tree_trash_read(root, stub.id, &trash), 0);
	assert_memory_equal(&trash, &stub, sizeof(stub));
	assert_int_equal(vg_tree_piece_drop(root, stub.id, 0), 0);
	assert_int_equal(vg_tree_piece_drop(root, stub.id, 0), 0);
	assert_int_equal(vg_tree_trash_remove(root, stub.id, true), 0);
	assert_int_equal(vg_tree_trash_read(root, stub.id, &trash), -ENOENT);
	/* Given up while it was made. */
	assert_int_equal(vg_tree_making_begin(root, &stub), 0);
	assert_int_equal(vg_tree_making_place(root, stub.id, "striped/file"), -EEXIST);
	assert_int_equal(vg_tree_making_end(root, stub.id), 0);
	assert_int_equal(vg_tree_trash_read(root, stub.id, &trash), 0);
	assert_int_equal(vg_tree_trash_remove(root, stub.id, true), 0);
	/* Two names, as a crash in the middle of replacing may leave: no trash. */
	assert_int_equal(vg_tree_making_begin(root, &stub), 0);
	assert_int_equal(vg_tree_making_place(root, stub.id, "alive"), 0);
	assert_int_equal(linkat(root, "alive", root, ".virgo/trash/0000000000000abc", 0), 0);
	assert_int_equal(vg_tree_trash_read(root, stub.id, &trash), 1);
}

/* ---- directories -------------------------------------------------------------------------------------------------- */

static void test_empty_directories(void **state)
{
	static struct vg_cluster cluster = { .nodes = 2 };
	struct vg_tree_mine mine = { .self = 0, .cluster = &cluster };

	/* Every name is node 1's: copies of directories do not count. */
	for (int i = 0; i < VG_PARTITIONS; i++)
		cluster.owner[i] = 1;
	assert_int_equal(vg_tree_empty(root, "none", &mine), 0);
	assert_int_equal(vg_tree_stub_make(root, "d/copy/stub", 1, false), 0);
	assert_int_equal(vg_tree_empty(root, "d", &mine), 0);
	mine.self = 1;
	assert_int_equal(vg_tree_empty(root, "d", &mine), -ENOTEMPTY);
	mine.self = 0;
	write_file("d/copy/file", "x");
	assert_int_equal(vg_tree_empty(root, "d", &mine), -ENOTEMPTY);
	assert_int_equal(vg_tree_drop(root, "d"), -ENOTEMPTY);
	assert_holds("d/copy/file", "x");
	assert_int_equal(vg_tree_unlink(root, "d/copy/file"), 0);
	assert_int_equal(vg_tree_drop(root, "d"), 0);
	assert_int_equal(vg_tree_drop(root, "d"), 0);
	assert_int_equal(kind_of("d"), VG_KIND_NOTHING);
}

static void test_shifting(void **state)
{
	assert_int_equal(vg_tree_shift(root, "none", "nowhere", false, 0755), 0);
	assert_int_equal(kind_of("nowhere"), VG_KIND_NOTHING);
	assert_int_equal(vg_tree_shift(root, "none", "must/be", true, 0710), 0);
	assert_int_equal(kind_of("must/be"), VG_KIND_DIRECTORY);
	assert_int_equal(vg_tree_make_parents(root, "old/in/x"), 0);
	write_file("old/in/a", "a");
	assert_int_equal(vg_tree_shift(root, "old", "new/name", false, 0), 0);
	assert_holds("new/name/in/a", "a");
	assert_int_equal(vg_tree_shift(root, "old", "new/name", false, 0), 0); /* told twice */
	/* Where both are, one goes into the other, and what is younger stays. */
	assert_int_equal(vg_tree_make_parents(root, "old/in/x"), 0);
	write_file("old/in/a", "younger? no");
	write_file("old/in/b", "b");
	assert_int_equal(vg_tree_shift(root, "old", "new/name", false, 0), 0);
	assert_holds("new/name/in/a", "a");
	assert_holds("new/name/in/b", "b");
	assert_int_equal(kind_of("old"), VG_KIND_NOTHING);
}

static void test_copies_are_no_news(void **state)
{
	const struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	struct stat stat;

	assert_int_equal(mkdirat(root, "parent", 0755), 0);
	assert_int_equal(utimensat(root, "parent", times, 0), 0);
	assert_int_equal(vg_tree_make_parents(root, "parent/copy/x"), 0);
	assert_int_equal(fstatat(root, "parent", &stat, 0), 0);
	assert_int_equal(stat.st_mtim.tv_sec, 2000);
	assert_int_equal(stat.st_mtim.tv_nsec, 7);
}

static void test_attributes(void **state)
{
	static __u8 buffer[VG_TREE_ATTRIBUTES_MAX];
	const struct timespec times[2] = { { 1000, 5 }, { 2000, 7 } };
	struct stat stat;
	int length;

	assert_int_equal(mkdirat(root, "from", 0755), 0);
	assert_int_equal(mkdirat(root, "to", 0755), 0);
	assert_int_equal(fchmodat(root, "from", 0751, 0), 0);
	assert_int_equal(utimensat(root, "from", times, 0), 0);
	length = vg_tree_attributes_read(root, "from", buffer, sizeof(buffer));
	assert_true(length >= (int)sizeof(struct vg_tree_attributes));
	assert_int_equal(vg_tree_attributes_write(root, "to", buffer, (__u32)length, false), 0);
	assert_int_equal(fstatat(root, "to", &stat, 0), 0);
	assert_int_equal(stat.st_mode & 07777, 0751);
	assert_int_equal(stat.st_mtim.tv_sec, 2000);
	/* What is cut off anywhere is left out. */
	for (int cut = (int)sizeof(struct vg_tree_attributes); cut <= length; cut++)
		(void)vg_tree_attributes_write(root, "to", buffer, (__u32)cut, false);
}

/* ---- notes -------------------------------------------------------------------------------------------------------- */

static bool count_note(void *context, __u64 id)
{
	*(__u64 *)context += id;
	return true;
}

static void test_notes(void **state)
{
	char text[VG_TREE_NOTE_MAX];
	__u64 sum = 0;

	assert_int_equal(vg_tree_note_write(root, "moves", 0x11, "1 a\0b", 5), 0);
	assert_int_equal(vg_tree_note_write(root, "moves", 0x22, "x", 1), 0);
	assert_int_equal(vg_tree_note_read(root, "moves", 0x11, text), 5);
	assert_memory_equal(text, "1 a\0b", 6);
	assert_int_equal(vg_tree_notes(root, "moves", count_note, &sum), 0);
	assert_int_equal(sum, 0x33);
	assert_int_equal(vg_tree_note_remove(root, "moves", 0x11), 0);
	assert_int_equal(vg_tree_note_remove(root, "moves", 0x11), 0);
	assert_int_equal(vg_tree_note_read(root, "moves", 0x11, text), -ENOENT);
}

int main(void)
{
#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stubs),	     cmocka_unit_test(test_keys_of_pieces),
		ON_DISK(test_kinds),		     ON_DISK(test_stubs_on_disk),
		ON_DISK(test_moving),		     ON_DISK(test_stripes_and_the_trash),
		ON_DISK(test_empty_directories),     ON_DISK(test_shifting),
		ON_DISK(test_copies_are_no_news),    ON_DISK(test_attributes),
		ON_DISK(test_notes),
	};

	return cmocka_run_group_tests_name("file_tree", tests, NULL, NULL);
}
