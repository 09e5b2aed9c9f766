/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checks of names: links, directories, renames, what is no file. Part of posix_check.c. */
#ifndef VG_TEST_POSIX_NAMES_H
#define VG_TEST_POSIX_NAMES_H

#include <dirent.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

/* ---- links ------------------------------------------------------------------------------------------------------- */

CHECK("link: two names of one file")
{
	put("a", "x");
	T(link("a", "b"));
	show_stat("a");
	put("b", "other text");
	show("a");
	T(unlink("a"));
	show_stat("b");
	show("b");
}
CHECK("link: what cannot be")
{
	put("a", "x");
	put("b", "x");
	mkdir("d", 0755);
	T(link("a", "b"));
	T(link("none", "c"));
	T(link("d", "e"));
	T(link("a", "none/c"));
	T(link("a", "d"));
}
CHECK("link: in another directory, of a symbolic link")
{
	mkdir("d", 0755);
	put("a", "x");
	T(link("a", "d/b"));
	show_stat("d/b");
	symlink("a", "l");
	T(link("l", "m"));
	show_stat("m");
	T(linkat(AT_FDCWD, "l", AT_FDCWD, "n", AT_SYMLINK_FOLLOW));
	show_stat("n");
}
CHECK("symlink: made, read, followed")
{
	char text[16] = "";

	mkdir("d", 0755);
	put("d/a", "inside");
	T(symlink("d", "l"));
	show("l/a");
	N(readlink("l", text, sizeof(text)));
	N(readlink("l/a", text, sizeof(text)));
	say("%s", text);
	T(symlink("../d/a", "d/m"));
	show("d/m");
	put("l/b", "through");
	show("d/b");
	T(symlink("x", "l"));
	T(symlink("", "e"));
}
CHECK("symlink: dangling, in a ring, too long a way")
{
	symlink("none", "l");
	T(open("l", O_RDONLY));
	symlink("q", "p");
	symlink("p", "q");
	T(open("p", O_RDONLY));
	T(stat("p/x", &(struct stat){ 0 }));
	show_stat("p");
	T(unlink("p"));
}
CHECK("symlink: long targets")
{
	static char target[4200];

	memset(target, 't', sizeof(target));
	target[4096] = '\0';
	T(symlink(target, "l"));
	target[4000] = '\0';
	T(symlink(target, "m"));
	show_size("m");
}
CHECK("unlink: what cannot be")
{
	mkdir("d", 0755);
	put("a", "x");
	T(unlink("d"));
	T(unlink("none"));
	T(unlink("a/"));
	T(unlink("a/b"));
}

/* ---- directories ------------------------------------------------------------------------------------------------- */

CHECK("mkdir: its mode, and what cannot be")
{
	T(mkdir("d", 0777));
	show_stat("d");
	T(mkdir("d", 0755));
	put("a", "x");
	T(mkdir("a", 0755));
	T(mkdir("a/b", 0755));
	T(mkdir("none/b", 0755));
	symlink("nowhere", "l");
	T(mkdir("l", 0755));
	T(mkdir("e/", 0755));
	T(mkdir("e/.", 0755));
}
CHECK("rmdir: what cannot be")
{
	mkdir("d", 0755);
	put("d/a", "x");
	put("a", "x");
	T(rmdir("d"));
	T(rmdir("a"));
	T(rmdir("none"));
	T(rmdir("d/."));
	T(rmdir("d/.."));
	unlink("d/a");
	T(rmdir("d"));
	T(rmdir("d"));
}
CHECK("rmdir: somebody is in it")
{
	mkdir("d", 0755);
	T(chdir("d"));
	T(rmdir("../d"));
	T(open("a", O_CREAT | O_WRONLY, 0600));
	T(mkdir("e", 0755));
	T(chdir(".."));
}
static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}
/* What is in it, sorted, with types. */
static void show_list(const char *path)
{
	DIR *dir = opendir(path);
	char *names[64];
	size_t count = 0;

	for (const struct dirent *entry; dir && (entry = readdir(dir)) && count < 64;)
		if (asprintf(&names[count], "%s/%d", entry->d_name, entry->d_type) > 0)
			count++;
	qsort(names, count, sizeof(names[0]), by_name);
	for (size_t i = 0; i < count; i++)
		say("%s", names[i]);
	if (!dir)
		say("%s", strerrorname_np(errno));
	else
		closedir(dir);
}
CHECK("readdir: names and types")
{
	put("a", "x");
	mkdir("d", 0755);
	symlink("a", "l");
	link("a", "h");
	show_list(".");
	show_list("d");
	show_list("a");
	unlink("a");
	rename("h", "k");
	show_list(".");
}
CHECK("readdir: 1,500 names, each once")
{
	static char seen[1500];
	int once = 0, other = 0, number;
	char name[32];
	DIR *dir;

	mkdir("d", 0755);
	for (int i = 0; i < 1500; i++) {
		(void)snprintf(name, sizeof(name), "d/number-%d", i);
		close(must_open(name, O_CREAT | O_WRONLY));
	}
	dir = opendir("d");
	for (const struct dirent *entry; (entry = readdir(dir));) {
		if (sscanf(entry->d_name, "number-%d", &number) == 1)
			seen[number]++;
		else
			other++;
	}
	for (int i = 0; i < 1500; i++)
		once += seen[i] == 1;
	say("%d %d", once, other);
	rewinddir(dir);
	number = 0;
	/* While it is read, what was read is removed: none is left out. */
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] == 'n')
			number += !unlinkat(dirfd(dir), entry->d_name, 0);
	say("%d", number);
	T(rmdir("d"));
}
CHECK("readdir: positions, and from the start again")
{
	char name[32], at[256] = "";
	long position = 0;
	DIR *dir;

	for (int i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		put(name, "");
	}
	dir = opendir(".");
	for (int i = 0; i < 20; i++)
		(void)readdir(dir);
	position = telldir(dir);
	(void)snprintf(at, sizeof(at), "%s", readdir(dir)->d_name);
	while (readdir(dir))
		;
	seekdir(dir, position);
	say("%d", strcmp(at, readdir(dir)->d_name) == 0);
	put("new", "");
	rewinddir(dir);
	position = 0;
	for (const struct dirent *entry; (entry = readdir(dir));)
		position += strcmp(entry->d_name, "new") == 0;
	say("%ld", position);
}
CHECK("readdir: of what was removed")
{
	DIR *dir;

	mkdir("d", 0755);
	dir = opendir("d");
	T(rmdir("d"));
	say("%s", readdir(dir) ? "something" : "nothing");
}
CHECK("names: any bytes")
{
	static const char *const names[] = { "\xc3\xa4\xe2\x82\xac", "\xff\xfe\x80", "a\nb", " ", "a b ", "\\", "...", "-rf", "A" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		put(names[i], names[i]);
		show(names[i]);
	}
	T(access("a", F_OK));
	show_list(".");
}

/* ---- renaming ---------------------------------------------------------------------------------------------------- */

CHECK("rename: over a file")
{
	put("a", "one");
	put("b", "two");
	T(rename("a", "b"));
	show("b");
	show_stat("a");
}
CHECK("rename: over what it cannot replace")
{
	mkdir("d", 0755);
	mkdir("e", 0755);
	mkdir("full", 0755);
	put("full/x", "");
	put("a", "x");
	T(rename("a", "d"));
	T(rename("d", "a"));
	T(rename("d", "full"));
	T(rename("d", "e"));
	show_list(".");
}
CHECK("rename: what cannot be")
{
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	put("a", "x");
	T(rename("none", "b"));
	T(rename("a", "none/b"));
	T(rename("d", "d/e/f"));
	T(rename("a", "a"));
	T(rename("a/", "b"));
	T(rename("d/.", "f"));
	T(rename("a", "a/b"));
}
CHECK("rename: two names of one file stay")
{
	put("a", "x");
	link("a", "b");
	T(rename("a", "b"));
	show_stat("a");
	show_stat("b");
}
CHECK("rename: not if it is there")
{
	put("a", "one");
	put("b", "two");
	T(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	T(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
	show("b");
	show("c");
	show("a");
}
DIFFERS_SPREAD("rename: exchange", "EXDEV \"two\" \"one\" ENOENT EXDEV ENOTDIR EISDIR", "between two nodes it is refused")
{
	put("b", "two");
	put("a", "one");
	mkdir("d", 0755);
	put("d/x", "in it");
	T(renameat2(AT_FDCWD, "b", AT_FDCWD, "a", RENAME_EXCHANGE));
	show("b");
	show("a");
	T(renameat2(AT_FDCWD, "b", AT_FDCWD, "none", RENAME_EXCHANGE));
	T(renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE));
	show("b/x");
	show("d");
}
CHECK("rename: a directory with open files and a visitor")
{
	int fd;

	mkdir("d", 0755);
	mkdir("d/e", 0755);
	put("d/e/a", "text");
	fd = must_open("d/e/a", O_RDWR);
	T(chdir("d/e"));
	T(rename("../../d", "../../moved"));
	show("a");
	N(pwrite(fd, "TEXT more", 9, 0));
	put("b", "new");
	T(chdir("../.."));
	show("moved/e/a");
	show("moved/e/b");
	T(access("d", F_OK));
	T(rename("moved/e", "e"));
	show("e/a");
	N(pread(fd, (char[16]){ 0 }, 16, 0));
}
CHECK("rename: an open file, many times")
{
	char from[32] = "a", to[32];
	int fd;

	put("a", "");
	fd = must_open("a", O_RDWR | O_APPEND);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(to, sizeof(to), "f%d", i);
		if (rename(from, to) || write(fd, "x", 1) != 1)
			say("%s", strerrorname_np(errno));
		strcpy(from, to);
	}
	show("f19");
	show_list(".");
}
CHECK("rename: a symbolic link itself")
{
	put("a", "x");
	symlink("a", "l");
	T(rename("l", "m"));
	show_stat("m");
	T(rename("a", "m"));
	show_stat("m");
}

/* ---- what is no file --------------------------------------------------------------------------------------------- */

DIFFERS("mknod: a pipe", "EPERM", "the pool has no pipes") { T(mkfifo("f", 0644)); }
DIFFERS("mknod: a device", "EPERM", "the pool has no devices") { T(mknod("n", S_IFCHR | 0644, makedev(1, 3))); }
CHECK("mknod: a file") { T(mknod("a", S_IFREG | 0640, 0)); show_stat("a"); T(mknod("a", S_IFREG | 0640, 0)); }
DIFFERS("bind: a socket", "EPERM", "the pool has no sockets")
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "s" };

	T(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof(address)));
}
CHECK("statvfs: what programs ask for")
{
	struct statvfs all;

	T(statvfs(".", &all));
	say("%lu %lu %d", all.f_namemax, all.f_frsize, all.f_blocks > 0 && all.f_bavail > 0 && all.f_files > 0);
}
CHECK("inotify: what this machine does is told")
{
	char buffer[4096] __attribute__((aligned(8)));
	int fd = inotify_init1(IN_NONBLOCK);
	ssize_t length;

	T(inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_CLOSE_WRITE));
	put("a", "x");
	rename("a", "b");
	unlink("b");
	length = read(fd, buffer, sizeof(buffer));
	for (ssize_t at = 0; at < length;) {
		const struct inotify_event *event = (const void *)(buffer + at);

		say("%x/%s", event->mask, event->name);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
}

#endif
