/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checks of open files: opening, reading, writing, sizes, holes, mapping. Part of posix_check.c. */
#ifndef VG_TEST_POSIX_FILES_H
#define VG_TEST_POSIX_FILES_H

#include <linux/falloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

/* ---- opening ---------------------------------------------------------------------------------------------------- */

CHECK("open: a file that is not there") { T(open("none", O_RDONLY)); }
CHECK("open: create, and its mode under a umask")
{
	struct stat stat;
	int fd = open("a", O_CREAT | O_WRONLY, 06777);

	T(fd);
	fstat(fd, &stat);
	say("%o", stat.st_mode);
}
CHECK("open: create what exists keeps it") { put("a", "hello"); T(open("a", O_CREAT | O_WRONLY, 0600)); show("a"); }
CHECK("open: exclusively what exists") { put("a", ""); T(open("a", O_CREAT | O_EXCL | O_WRONLY, 0600)); }
CHECK("open: exclusively over a dangling symbolic link")
{
	T(symlink("none", "l"));
	T(open("l", O_CREAT | O_EXCL | O_WRONLY, 0600));
	T(access("none", F_OK));
}
CHECK("open: create through a dangling symbolic link")
{
	T(symlink("b", "l"));
	T(open("l", O_CREAT | O_WRONLY, 0600));
	T(access("b", F_OK));
}
CHECK("open: in a directory that is not there") { T(open("d/a", O_CREAT | O_WRONLY, 0600)); }
CHECK("open: below a file") { put("a", ""); T(open("a/b", O_CREAT | O_WRONLY, 0600)); T(open("a/b", O_RDONLY)); }
CHECK("open: a directory for writing") { mkdir("d", 0755); T(open("d", O_WRONLY)); T(open("d", O_RDWR)); }
CHECK("open: create where a directory is") { mkdir("d", 0755); T(open("d", O_CREAT | O_WRONLY, 0600)); }
CHECK("open: a directory for reading") { mkdir("d", 0755); T(open("d", O_RDONLY)); T(read(open("d", O_RDONLY), "", 1)); }
CHECK("open: O_DIRECTORY of a file") { put("a", ""); T(open("a", O_RDONLY | O_DIRECTORY)); }
CHECK("open: O_NOFOLLOW of a symbolic link") { put("a", ""); symlink("a", "l"); T(open("l", O_RDONLY | O_NOFOLLOW)); }
CHECK("open: O_PATH of a symbolic link") { symlink("a", "l"); T(open("l", O_PATH | O_NOFOLLOW)); }
CHECK("open: with a slash behind a file") { put("a", ""); T(open("a/", O_RDONLY)); T(open("new/", O_CREAT | O_WRONLY, 0600)); }
CHECK("open: the empty path") { T(open("", O_RDONLY)); }
CHECK("open: names of 255 and 256 bytes")
{
	char name[257];

	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	T(open(name, O_CREAT | O_WRONLY, 0600));
	T(mkdir(name, 0755));
	name[255] = '\0';
	T(open(name, O_CREAT | O_WRONLY, 0600));
	T(unlink(name));
}
CHECK("open: a path of 4,096 bytes")
{
	char path[4200];

	memset(path, '/', sizeof(path));
	memcpy(path, "./", 2);
	path[4096] = '\0';
	T(open(path, O_RDONLY));
	path[4095] = '\0';
	T(open(path, O_RDONLY));
}
CHECK("open: O_TRUNC empties, also under another descriptor")
{
	int fd;

	put("a", "hello");
	fd = must_open("a", O_RDWR);
	T(open("a", O_WRONLY | O_TRUNC));
	show_size("a");
	N(read(fd, (char[8]){ 0 }, 8));
	N(write(fd, "x", 1));
	show("a");
}
CHECK("open: O_TRUNC of what is opened for reading") { put("a", "hello"); T(open("a", O_RDONLY | O_TRUNC)); show_size("a"); }
CHECK("open: read and write only where it was asked for")
{
	put("a", "hello");
	T(write(must_open("a", O_RDONLY), "x", 1));
	T(read(must_open("a", O_WRONLY), (char[1]){ 0 }, 1));
}
CHECK("open: mode 0 for who creates it") { T(open("a", O_CREAT | O_RDWR, 0)); N(write(must_open("a", O_WRONLY), "x", 1)); }
CHECK("open: through a directory's descriptor")
{
	int d;

	mkdir("d", 0755);
	d = must_open("d", O_RDONLY | O_DIRECTORY);
	T(openat(d, "a", O_CREAT | O_WRONLY, 0600));
	T(rename("d", "e"));
	T(openat(d, "b", O_CREAT | O_WRONLY, 0600));
	T(access("e/b", F_OK));
}
DIFFERS("open: O_TMPFILE", "EOPNOTSUPP", "the pool has names only") { T(open(".", O_TMPFILE | O_RDWR, 0600)); }

/* ---- unlinked files ---------------------------------------------------------------------------------------------- */

CHECK("unlinked: goes on until it is closed")
{
	struct stat stat;
	char text[8] = "";
	int fd;

	put("a", "hello");
	fd = must_open("a", O_RDWR);
	T(unlink("a"));
	T(open("a", O_RDONLY));
	N(pread(fd, text, 5, 0));
	say("%s", text);
	N(pwrite(fd, "HELLO world", 11, 0));
	T(fstat(fd, &stat));
	say("%lu %ld", (unsigned long)stat.st_nlink, (long)stat.st_size);
	T(ftruncate(fd, 3));
	T(fchmod(fd, 0600));
	T(fsync(fd));
	T(fstat(fd, &stat));
	say("%o %ld", stat.st_mode, (long)stat.st_size);
	T(futimens(fd, NULL));
}
CHECK("unlinked: a new file of the name is another one")
{
	struct stat old, new;
	int fd;

	put("a", "old");
	fd = must_open("a", O_RDWR);
	T(unlink("a"));
	put("a", "new file");
	fstat(fd, &old);
	lstat("a", &new);
	say("%d %ld %ld", old.st_ino != new.st_ino, (long)old.st_size, (long)new.st_size);
	N(pwrite(fd, "OLD", 3, 0));
	show("a");
}
CHECK("unlinked: replaced by a rename")
{
	char text[8] = "";
	int fd;

	put("a", "old");
	put("b", "new");
	fd = must_open("a", O_RDONLY);
	T(rename("b", "a"));
	N(read(fd, text, 8));
	say("%s", text);
	show("a");
}
CHECK("unlinked: its directory, too")
{
	int fd;

	mkdir("d", 0755);
	put("d/a", "text");
	fd = must_open("d/a", O_RDWR);
	T(unlink("d/a"));
	T(rmdir("d"));
	N(pwrite(fd, "more text", 9, 0));
	N(pread(fd, (char[16]){ 0 }, 16, 0));
}

/* ---- reading and writing ----------------------------------------------------------------------------------------- */

CHECK("read: at the end, and behind it")
{
	int fd;

	put("a", "hello");
	fd = must_open("a", O_RDONLY);
	N(pread(fd, (char[8]){ 0 }, 8, 3));
	N(pread(fd, (char[8]){ 0 }, 8, 5));
	N(pread(fd, (char[8]){ 0 }, 8, 1 << 20));
	T(pread(fd, (char[8]){ 0 }, 8, -1));
	N(read(fd, NULL, 0));
}
CHECK("write: a hole reads as zeros")
{
	int fd = must_open("a", O_RDWR | O_CREAT);

	N(pwrite(fd, "x", 1, 10));
	show("a");
	show_size("a");
}
CHECK("write: far away")
{
	char byte = 0;
	int fd = must_open("a", O_RDWR | O_CREAT);

	N(pwrite(fd, "x", 1, 1ll << 40));
	show_size("a");
	N(pread(fd, &byte, 1, 1ll << 40));
	say("%c", byte);
	N(pread(fd, &byte, 1, 1ll << 39));
	T(ftruncate(fd, 0));
}
CHECK("write: nothing") { put("a", "x"); N(write(must_open("a", O_WRONLY), "", 0)); show_size("a"); }
CHECK("write: pwrite and pread leave the position")
{
	int fd = must_open("a", O_RDWR | O_CREAT);

	N(write(fd, "abc", 3));
	N(pwrite(fd, "X", 1, 0));
	N(pread(fd, (char[1]){ 0 }, 1, 0));
	N(lseek(fd, 0, SEEK_CUR));
	show("a");
}
CHECK("write: vectors")
{
	struct iovec parts[3] = { { (char[]){ "ab" }, 2 }, { (char[]){ "" }, 0 }, { (char[]){ "cde" }, 3 } };
	int fd = must_open("a", O_RDWR | O_CREAT);

	N(writev(fd, parts, 3));
	N(pwritev(fd, parts, 3, 3));
	show("a");
	N(preadv(fd, parts, 3, 1));
	say("%.2s %.3s", (char *)parts[0].iov_base, (char *)parts[2].iov_base);
}
CHECK("append: always at the end")
{
	int fd;

	put("a", "one");
	fd = must_open("a", O_RDWR | O_APPEND);
	N(lseek(fd, 0, SEEK_SET));
	N(write(fd, "two", 3));
	N(pwrite(fd, "three", 5, 0));
	N(lseek(fd, 0, SEEK_CUR));
	show("a");
}
CHECK("append: two descriptors in turn")
{
	int one = must_open("a", O_WRONLY | O_APPEND | O_CREAT), two = must_open("a", O_WRONLY | O_APPEND);

	for (int i = 0; i < 5; i++)
		if (write(one, "1", 1) != 1 || write(two, "22", 2) != 2)
			say("short");
	show("a");
}
static void *append_lines(void *context)
{
	int fd = must_open("a", O_WRONLY | O_APPEND | O_CREAT);
	char line[16];

	for (int i = 0; i < 100; i++)
		if (write(fd, line, (size_t)snprintf(line, sizeof(line), "%d.%03d\n", *(int *)context, i)) != 6)
			break;
	close(fd);
	return NULL;
}
CHECK("append: four threads at once lose nothing")
{
	pthread_t threads[4];
	int numbers[4], lines = 0, a, b;
	FILE *file;

	for (int i = 0; i < 4; i++) {
		numbers[i] = i;
		pthread_create(&threads[i], NULL, append_lines, &numbers[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	file = fopen("a", "r");
	while (file && fscanf(file, "%d.%d\n", &a, &b) == 2)
		lines++;
	say("%d", lines);
	show_size("a");
}
CHECK("write: what one descriptor writes the other reads")
{
	char text[16] = "";
	int one = must_open("a", O_RDWR | O_CREAT), two = must_open("a", O_RDWR);

	for (int i = 0; i < 3; i++) {
		N(pwrite(one, "abcdef" + i, 4, i * 2));
		N(pread(two, text, 15, 0));
		say("%s", text);
	}
}
CHECK("write: 3 MiB and a bit, and back")
{
	size_t bytes = (3u << 20) + 4711, wrong = 0;
	unsigned char *data = malloc(bytes), *back = calloc(1, bytes);
	int fd = must_open("a", O_RDWR | O_CREAT);

	for (size_t i = 0; i < bytes; i++)
		data[i] = (unsigned char)(i * 31 >> 3);
	N(write(fd, data, bytes));
	N(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	N(pread(fd, back, bytes, 0));
	for (size_t i = 0; i < bytes; i++)
		wrong += data[i] != back[i];
	say("%zu", wrong);
}
CHECK("direct: aligned writes and reads")
{
	char *data = aligned_alloc(4096, 8192);
	int fd = open("a", O_RDWR | O_CREAT | O_DIRECT, 0644);

	memset(data, 'd', 8192);
	N(pwrite(fd, data, 8192, 4096));
	memset(data, 0, 8192);
	N(pread(fd, data, 8192, 4096));
	say("%c%c", data[0], data[8191]);
	N(pread(fd, data, 4096, 12288));
	show_size("a");
}
CHECK("direct: what is in the cache is seen")
{
	char *data = aligned_alloc(4096, 4096);
	int cached = must_open("a", O_RDWR | O_CREAT), direct = open("a", O_RDWR | O_DIRECT);

	memset(data, 'c', 4096);
	N(pwrite(cached, data, 4096, 0));
	memset(data, 0, 4096);
	N(pread(direct, data, 4096, 0));
	say("%c", data[4095]);
	memset(data, 'e', 4096);
	N(pwrite(direct, data, 4096, 0));
	N(pread(cached, data, 10, 0));
	say("%c", data[9]);
}
CHECK("sync: O_SYNC, O_DSYNC, fsync, fdatasync, of a directory")
{
	int fd = open("a", O_WRONLY | O_CREAT | O_SYNC, 0644), other = open("a", O_WRONLY | O_DSYNC);

	N(write(fd, "abc", 3));
	N(write(other, "X", 1));
	T(fsync(fd));
	T(fdatasync(other));
	T(fsync(must_open(".", O_RDONLY | O_DIRECTORY)));
	T(syncfs(fd));
	show("a");
}
CHECK("seek: from everywhere")
{
	int fd;

	put("a", "hello");
	fd = must_open("a", O_RDONLY);
	N(lseek(fd, 0, SEEK_END));
	N(lseek(fd, -2, SEEK_END));
	N(lseek(fd, 1, SEEK_CUR));
	T(lseek(fd, -9, SEEK_SET));
	N(lseek(fd, 100, SEEK_SET));
	N(read(fd, (char[1]){ 0 }, 1));
}
CHECK("seek: data and holes")
{
	int fd = must_open("a", O_RDWR | O_CREAT);

	N(pwrite(fd, "x", 1, 1 << 20));
	T(fsync(fd));
	N(lseek(fd, 0, SEEK_DATA));
	N(lseek(fd, 0, SEEK_HOLE));
	N(lseek(fd, 1 << 20, SEEK_HOLE));
	T(lseek(fd, 2 << 20, SEEK_DATA));
	T(lseek(fd, 2 << 20, SEEK_HOLE));
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

CHECK("truncate: shorter, longer, and what is between")
{
	int fd;

	put("a", "hello world");
	fd = must_open("a", O_RDWR);
	T(ftruncate(fd, 5));
	show("a");
	T(ftruncate(fd, 8));
	show("a");
	T(truncate("a", 2));
	show("a");
	show_size("a");
}
CHECK("truncate: what cannot be")
{
	put("a", "x");
	mkdir("d", 0755);
	T(ftruncate(must_open("a", O_RDONLY), 0));
	T(truncate("d", 0));
	T(truncate("none", 0));
	T(truncate("a", -1));
	symlink("a", "l");
	T(truncate("l", 0));
	show_size("a");
}
CHECK("fallocate: makes it longer, or keeps its size")
{
	struct stat stat;
	int fd = must_open("a", O_RDWR | O_CREAT);

	T(fallocate(fd, 0, 0, 100));
	show_size("a");
	T(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
	show_size("a");
	fstat(fd, &stat);
	say("%d", stat.st_blocks >= 2048);
	T(fallocate(must_open("a", O_RDONLY), 0, 0, 10));
	T(fallocate(fd, 0, 0, 0));
	T(fallocate(fd, 0, -1, 10));
}
CHECK("fallocate: holes and zeros")
{
	char text[8192];
	int fd = must_open("a", O_RDWR | O_CREAT);

	memset(text, 'x', sizeof(text));
	N(pwrite(fd, text, sizeof(text), 0));
	T(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 50));
	T(fallocate(fd, FALLOC_FL_ZERO_RANGE, 8000, 1000));
	show_size("a");
	N(pread(fd, text, sizeof(text), 0));
	say("%d %d %d %d %d", text[99], text[100], text[149], text[150], text[8000]);
	T(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
}
DIFFERS("fallocate: a range taken out", "EOPNOTSUPP", "FUSE has no such operation")
{
	T(fallocate(must_open("a", O_RDWR | O_CREAT), FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
}
CHECK("copy: a part of one file into another")
{
	loff_t from = 2, to = 1;
	int a, b;

	put("a", "hello world");
	put("b", "0123456789");
	a = must_open("a", O_RDONLY);
	b = must_open("b", O_RDWR);
	N(copy_file_range(a, &from, b, &to, 3, 0));
	say("%ld %ld", (long)from, (long)to);
	show("b");
	from = 100;
	N(copy_file_range(a, &from, b, &to, 3, 0));
	T(copy_file_range(a, NULL, must_open("b", O_RDONLY), NULL, 3, 0));
	from = 0;
	to = 1;
	T(copy_file_range(b, &from, b, &to, 5, 0));
}
CHECK("copy: sendfile and splice")
{
	int a, b = must_open("b", O_RDWR | O_CREAT), pipes[2];

	put("a", "hello world");
	a = must_open("a", O_RDONLY);
	N(sendfile(b, a, NULL, 5));
	T(pipe(pipes));
	N(splice(a, NULL, pipes[1], NULL, 6, 0));
	N(splice(pipes[0], NULL, b, NULL, 6, 0));
	show("b");
}

/* ---- mapping ----------------------------------------------------------------------------------------------------- */

CHECK("mmap: shared writes are read by others")
{
	char *at;
	int fd;

	put("a", "hello");
	fd = must_open("a", O_RDWR);
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say("%s", at == MAP_FAILED ? strerrorname_np(errno) : "OK");
	if (at == MAP_FAILED)
		return;
	say("%.5s", at);
	at[0] = 'J';
	show("a");
	T(msync(at, 4096, MS_SYNC));
	N(pwrite(fd, "y", 1, 4));
	say("%.5s", at);
	T(munmap(at, 4096));
	close(fd);
	show("a");
}
CHECK("mmap: private writes are not")
{
	char *at;

	put("a", "hello");
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, must_open("a", O_RDONLY), 0);
	at[0] = 'J';
	say("%.5s", at);
	show("a");
}
CHECK("mmap: written after the descriptor is closed")
{
	char *at;
	int fd;

	put("a", "hello");
	fd = must_open("a", O_RDWR);
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	memcpy(at, "HELLO", 5);
	T(munmap(at, 4096));
	show("a");
}
CHECK("mmap: for writing what is open for reading")
{
	put("a", "hello");
	say("%s", mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, must_open("a", O_RDONLY), 0) == MAP_FAILED ?
			  strerrorname_np(errno) : "OK");
}
CHECK("mmap: a program is run from it")
{
	put("a", "#!/bin/sh\nexit 7\n");
	T(chmod("a", 0755));
	N(WEXITSTATUS(system("./a")));
	T(chmod("a", 0644));
	N(WEXITSTATUS(system("./a 2> /dev/null")));
}

#endif
