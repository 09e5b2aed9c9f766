/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checks of what is said of files: times, modes, owners, rights, extended attributes. Part of posix_check.c. */
#ifndef VG_TEST_POSIX_ATTRIBUTES_H
#define VG_TEST_POSIX_ATTRIBUTES_H

#include <sys/xattr.h>

/* ---- stat -------------------------------------------------------------------------------------------------------- */

static void show_stat(const char *path)
{
	struct stat stat;

	if (lstat(path, &stat))
		say("%s", strerrorname_np(errno));
	else
		say("%o/%lu/%ld", stat.st_mode, (unsigned long)stat.st_nlink, S_ISDIR(stat.st_mode) ? 0l : (long)stat.st_size);
}
static struct timespec modified(const char *path)
{
	struct stat stat = { 0 };

	lstat(path, &stat);
	return stat.st_mtim;
}
static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}
static void moment(void)
{
	usleep(20000); /* clocks of file systems tick by 4 to 10 ms */
}

CHECK("stat: a file, a directory, a symbolic link")
{
	put("a", "hello");
	mkdir("d", 0750);
	mkdir("d/e", 0700);
	symlink("somewhere", "l");
	show_stat("a");
	show_stat("d");
	show_stat("l");
	show_stat("a/");
	show_stat("none");
}
CHECK("stat: blocks and their size")
{
	struct stat stat;

	put("a", "hello");
	sync();
	lstat("a", &stat);
	say("%ld %d", (long)stat.st_blksize, stat.st_blocks > 0);
}
CHECK("stat: the inode stays the same under another name")
{
	struct stat a, b, c;

	put("a", "x");
	lstat("a", &a);
	link("a", "b");
	lstat("b", &b);
	rename("a", "c");
	lstat("c", &c);
	say("%d %d %lu", a.st_ino == b.st_ino, a.st_ino == c.st_ino, (unsigned long)c.st_nlink);
}
CHECK("times: a write changes mtime, chmod only ctime")
{
	struct stat one, two, three;

	put("a", "x");
	stat("a", &one);
	moment();
	put("a", "y");
	stat("a", &two);
	moment();
	chmod("a", 0600);
	stat("a", &three);
	say("%d %d %d", later(two.st_mtim, one.st_mtim), later(three.st_ctim, two.st_ctim), later(three.st_mtim, two.st_mtim));
}
DIFFERS_SPREAD("times: a directory's change with its names", "0 0 0", "a name is another node's than its directory")
{
	struct timespec one, two, three, four;

	mkdir("d", 0755);
	one = modified("d");
	moment();
	put("d/a", "x");
	two = modified("d");
	moment();
	put("d/a", "more");
	three = modified("d");
	moment();
	unlink("d/a");
	four = modified("d");
	say("%d %d %d", later(two, one), later(three, two), later(four, three));
}
CHECK("times: a rename keeps mtime")
{
	struct timespec one;

	put("a", "x");
	one = modified("a");
	moment();
	rename("a", "b");
	say("%d", later(modified("b"), one));
}
CHECK("times: reading and closing changes no mtime")
{
	struct timespec one;

	put("a", "x");
	one = modified("a");
	moment();
	show("a");
	close(must_open("a", O_RDWR));
	say("%d", later(modified("a"), one));
}
CHECK("times: set to the nanosecond, left, now, before 1970")
{
	struct timespec times[2] = { { 1000000000, 123456789 }, { -86400, 987654321 } };
	struct stat stat;

	put("a", "x");
	T(utimensat(AT_FDCWD, "a", times, 0));
	lstat("a", &stat);
	say("%ld.%09ld %ld.%09ld", (long)stat.st_atim.tv_sec, stat.st_atim.tv_nsec, (long)stat.st_mtim.tv_sec,
	    stat.st_mtim.tv_nsec);
	times[0].tv_nsec = UTIME_NOW;
	times[1].tv_nsec = UTIME_OMIT;
	T(utimensat(AT_FDCWD, "a", times, 0));
	lstat("a", &stat);
	say("%d %ld", stat.st_atim.tv_sec > 1500000000, (long)stat.st_mtim.tv_sec);
	T(futimens(must_open("a", O_RDONLY), (struct timespec[2]){ { 5, 6 }, { 7, 8 } }));
	lstat("a", &stat);
	say("%ld %ld", (long)stat.st_atim.tv_sec, (long)stat.st_mtim.tv_nsec);
	T(utimensat(AT_FDCWD, "none", times, 0));
}
CHECK("times: of a symbolic link itself")
{
	struct timespec times[2] = { { 11, 0 }, { 12, 0 } };
	struct stat stat;

	put("a", "x");
	symlink("a", "l");
	T(utimensat(AT_FDCWD, "l", times, AT_SYMLINK_NOFOLLOW));
	lstat("l", &stat);
	say("%ld %d", (long)stat.st_mtim.tv_sec, modified("a").tv_sec > 1000);
}

/* ---- modes and owners -------------------------------------------------------------------------------------------- */

CHECK("chmod: all bits, of files and directories")
{
	put("a", "x");
	mkdir("d", 0700);
	T(chmod("a", 07777));
	show_stat("a");
	T(chmod("d", 03771));
	show_stat("d");
	T(fchmod(must_open("a", O_RDONLY), 0));
	show_stat("a");
	T(chmod("none", 0600));
	symlink("a", "l");
	T(chmod("l", 0640));
	show_stat("a");
}
CHECK("chown: to oneself, and to another")
{
	struct stat stat;

	put("a", "x");
	T(chown("a", getuid(), getgid()));
	T(chown("a", (uid_t)-1, (gid_t)-1));
	T(chown("a", 12, 34));
	lstat("a", &stat);
	say("%u %u", stat.st_uid, stat.st_gid);
	symlink("a", "l");
	T(lchown("l", 56, 78));
	lstat("l", &stat);
	say("%u %u", stat.st_uid, stat.st_gid);
}
CHECK("chown: takes set-user-ID away")
{
	put("a", "x");
	chmod("a", 06755);
	T(chown("a", 12, 34));
	show_stat("a");
}
static void other_user(void)
{
	if (setgid(34) || setuid(12))
		say("cannot");
}
static void as_other_denied(void)
{
	other_user();
	T(open("secret", O_RDONLY));
	T(open("all", O_RDONLY));
	T(open("all", O_WRONLY));
	T(open("new", O_CREAT | O_WRONLY, 0600));
	T(mkdir("d/new", 0755));
	T(unlink("all"));
	T(chmod("all", 0777));
	T(access("secret", R_OK));
	T(chdir("closed"));
}
CHECK("rights: what another user may not")
{
	put("secret", "x");
	put("all", "x");
	chmod("secret", 0600);
	mkdir("d", 0755);
	mkdir("closed", 0700);
	in_child(as_other_denied);
}
static void as_other_open(void)
{
	struct stat stat;
	int fd;

	other_user();
	fd = open("d/mine", O_CREAT | O_RDWR, 0640);
	T(fd);
	N(write(fd, "x", 1));
	T(fstat(fd, &stat));
	say("%u/%u/%o", stat.st_uid, stat.st_gid, stat.st_mode);
	T(chmod("d/mine", 0600));
	T(mkdir("d/e", 0755));
	T(unlink("d/theirs"));
	T(rename("d/theirs", "d/stolen"));
	T(unlink("d/mine"));
	T(symlink("x", "d/l"));
	lstat("d/l", &stat);
	say("%u", stat.st_uid);
}
CHECK("rights: in a directory open to all, with the sticky bit")
{
	mkdir("d", 0755);
	chmod("d", 01777);
	put("d/theirs", "x");
	in_child(as_other_open);
}
static void as_other_writes(void)
{
	int fd;

	other_user();
	fd = open("a", O_WRONLY);
	T(fd);
	N(write(fd, "y", 1));
	show_stat("a");
}
CHECK("rights: writing takes set-user-ID away")
{
	put("a", "x");
	chmod("a", 06777);
	in_child(as_other_writes);
}
CHECK("rights: a directory's set-group-ID is inherited")
{
	struct stat stat;

	mkdir("d", 0755);
	T(chown("d", (uid_t)-1, 34));
	T(chmod("d", 02755));
	put("d/a", "x");
	mkdir("d/e", 0755);
	lstat("d/a", &stat);
	say("%u", stat.st_gid);
	lstat("d/e", &stat);
	say("%u %o", stat.st_gid, stat.st_mode);
}

/* ---- extended attributes ----------------------------------------------------------------------------------------- */

CHECK("xattr: set, read, list, remove")
{
	char value[64] = "", names[64];
	ssize_t length;

	put("a", "x");
	T(setxattr("a", "user.one", "1\0" "2", 3, 0));
	T(setxattr("a", "user.empty", "", 0, 0));
	N(getxattr("a", "user.one", NULL, 0));
	N(getxattr("a", "user.one", value, sizeof(value)));
	say("%d%d", value[0], value[2]);
	T(getxattr("a", "user.one", value, 2));
	N(getxattr("a", "user.empty", value, sizeof(value)));
	length = listxattr("a", names, sizeof(names));
	N(length);
	N(listxattr("a", NULL, 0));
	T(listxattr("a", names, 3));
	say("%d", memmem(names, (size_t)length, "user.one", 9) && memmem(names, (size_t)length, "user.empty", 11));
	T(removexattr("a", "user.one"));
	T(getxattr("a", "user.one", value, sizeof(value)));
	T(removexattr("a", "user.one"));
}
CHECK("xattr: create, replace, replaced")
{
	char value[16] = "";

	put("a", "x");
	T(setxattr("a", "user.n", "v", 1, XATTR_REPLACE));
	T(setxattr("a", "user.n", "v", 1, XATTR_CREATE));
	T(setxattr("a", "user.n", "v", 1, XATTR_CREATE));
	T(setxattr("a", "user.n", "longer", 6, XATTR_REPLACE));
	N(getxattr("a", "user.n", value, sizeof(value)));
	say("%s", value);
}
CHECK("xattr: of directories and open files, kept by a rename")
{
	char value[16] = "";
	int fd;

	mkdir("d", 0755);
	T(setxattr("d", "user.n", "v", 1, 0));
	put("a", "x");
	fd = must_open("a", O_RDWR);
	T(fsetxattr(fd, "user.n", "w", 1, 0));
	rename("a", "b");
	N(getxattr("b", "user.n", value, sizeof(value)));
	N(fgetxattr(fd, "user.n", value, sizeof(value)));
	say("%s", value);
	symlink("b", "l");
	T(lsetxattr("l", "user.n", "v", 1, 0));
}
CHECK("xattr: names and values that cannot be")
{
	static char big[70000], name[300] = "user.";

	put("a", "x");
	memset(name + 5, 'n', 251);
	T(setxattr("a", name, "v", 1, 0));
	name[255] = '\0';
	T(setxattr("a", name, "v", 1, 0));
	T(setxattr("a", "user.big", big, sizeof(big), 0));
	T(setxattr("a", "nonsense", "v", 1, 0));
	T(setxattr("a", "user.", "v", 1, 0));
}

#endif
