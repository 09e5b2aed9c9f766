/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * exerciser [-s SEED] [-n OPERATIONS] [-b BYTES] [-e] FILE: random operations on one file, by several descriptors and mappings,
 * and the same on memory; whatever is read must be what memory says. Prints its seed first; the same seed does the same.
 * When something differs it prints the last operations and where, and leaves the file. Exit status 1 then. -e: a server
 * is killed meanwhile, so that a sync may fail with EIO, and an append or a rename, done or not; nothing else may.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/prng.h"

#define DESCRIPTORS 3
#define LOG_LINES 40
#define DIRECT_UNIT 4096u

static struct exercise {
	__u64 random; /* state */
	const char *path;
	char other[4200]; /* the name it has half of the time */
	bool renamed, killed;
	int fds[DESCRIPTORS]; /* the last appends */
	int direct;
	unsigned char *model, *buffer;
	size_t size, size_max, length_max;
	char log[LOG_LINES][96];
	unsigned long done;
} ex;

static size_t below(size_t limit)
{
	return limit ? (size_t)(vg_prng_next(&ex.random) % limit) : 0;
}

static const char *path_now(void)
{
	return ex.renamed ? ex.other : ex.path;
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
	va_list arguments;
	unsigned long first = ex.done > LOG_LINES ? ex.done - LOG_LINES : 0;

	for (unsigned long i = first; i < ex.done; i++)
		printf("# %lu: %s\n", i, ex.log[i % LOG_LINES]);
	va_start(arguments, format);
	printf("# ");
	vprintf(format, arguments);
	printf(" (%s)\n", path_now());
	va_end(arguments);
	exit(1);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(ex.log[ex.done % LOG_LINES], sizeof(ex.log[0]), format, arguments);
	va_end(arguments);
	ex.done++;
}

static void compare(const unsigned char *got, size_t offset, size_t length, const char *how)
{
	for (size_t i = 0; i < length; i++)
		if (got[i] != ex.model[offset + i])
			fail("%s: byte %zu is %02x, not %02x; of %zu at %zu, size %zu", how, offset + i, got[i],
			     ex.model[offset + i], length, offset, ex.size);
}

static void check_size(int fd)
{
	struct stat stat;

	if (fstat(fd, &stat))
		fail("fstat: %s", strerror(errno));
	if ((size_t)stat.st_size != ex.size)
		fail("the size is %lld, not %zu", (long long)stat.st_size, ex.size);
}

static void grow_to(size_t size)
{
	if (size > ex.size) {
		memset(ex.model + ex.size, 0, size - ex.size);
		ex.size = size;
	}
}

/* A place and a length, within the limits; half of them at the edges of pages. */
static size_t place(size_t limit, size_t *ret_length)
{
	size_t offset = below(limit), length = 1 + below(below(4) ? 8192 : ex.length_max);

	if (below(2))
		offset &= ~(size_t)4095;
	if (below(4) == 0)
		length = (length + 4095) & ~(size_t)4095;
	*ret_length = length > ex.size_max - offset ? ex.size_max - offset : length;
	return offset;
}

static unsigned char *fill(size_t length)
{
	unsigned char byte = (unsigned char)vg_prng_next(&ex.random);

	for (size_t i = 0; i < length; i++)
		ex.buffer[i] = (unsigned char)(byte + i * 7 + (i >> 8));
	return ex.buffer;
}

/* ---- the operations ---------------------------------------------------------------------------------------------- */

static int any_fd(void)
{
	return ex.fds[below(DESCRIPTORS - 1)];
}

static void do_read(void)
{
	size_t length, offset = place(ex.size_max, &length), there = offset < ex.size ? ex.size - offset : 0;
	ssize_t got;

	note("read %zu at %zu", length, offset);
	got = pread(any_fd(), ex.buffer, length, (off_t)offset);
	if (got != (ssize_t)(there < length ? there : length))
		fail("read: %zd of %zu at %zu, size %zu (%s)", got, length, offset, ex.size, got < 0 ? strerror(errno) : "");
	compare(ex.buffer, offset, (size_t)got, "read");
}

static void do_write(void)
{
	size_t length, offset = place(ex.size_max, &length);
	ssize_t put;

	note("write %zu at %zu", length, offset);
	put = pwrite(any_fd(), fill(length), length, (off_t)offset);
	if (put != (ssize_t)length)
		fail("write: %zd (%s)", put, put < 0 ? strerror(errno) : "");
	grow_to(offset + length);
	memcpy(ex.model + offset, ex.buffer, length);
}

static void do_append(void)
{
	size_t length;

	(void)place(ex.size_max, &length);
	if (length > ex.size_max - ex.size)
		return;
	note("append %zu", length);
	if (write(ex.fds[DESCRIPTORS - 1], fill(length), length) != (ssize_t)length) {
		struct stat stat;

		if (!ex.killed || errno != EIO || fstat(ex.fds[0], &stat))
			fail("append: %s", strerror(errno));
		/* It was done or it was not: the size says so. */
		if ((size_t)stat.st_size == ex.size)
			return;
	}
	memcpy(ex.model + ex.size, ex.buffer, length);
	ex.size += length;
}

static void do_map(bool writes)
{
	size_t length, offset, page;
	unsigned char *at;
	int fd = any_fd();

	if (!ex.size)
		return;
	offset = place(ex.size, &length);
	length = length > ex.size - offset ? ex.size - offset : length;
	page = offset & 4095;
	note("map, %s %zu at %zu", writes ? "write" : "read", length, offset);
	at = mmap(NULL, length + page, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, fd, (off_t)(offset - page));
	if (at == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	if (writes) {
		memcpy(at + page, fill(length), length);
		memcpy(ex.model + offset, ex.buffer, length);
		if (below(2) && msync(at, length + page, MS_SYNC) && !(ex.killed && errno == EIO))
			fail("msync: %s", strerror(errno));
	} else {
		compare(at + page, offset, length, "mapped");
	}
	munmap(at, length + page);
}
static void do_map_read(void)
{
	do_map(false);
}
static void do_map_write(void)
{
	do_map(true);
}

static void do_truncate(void)
{
	size_t size = below(3) ? below(ex.size_max) : 0;

	note("truncate to %zu from %zu", size, ex.size);
	if (below(2) ? truncate(path_now(), (off_t)size) : ftruncate(any_fd(), (off_t)size))
		fail("truncate: %s", strerror(errno));
	if (size < ex.size)
		ex.size = size;
	grow_to(size);
}

static void do_allocate(void)
{
	static const struct {
		int mode;
		const char *name;
	} modes[] = { { 0, "allocate" },
		      { FALLOC_FL_KEEP_SIZE, "allocate, size kept" },
		      { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch" },
		      { FALLOC_FL_ZERO_RANGE, "zero" },
		      { FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero, size kept" } };
	size_t length, offset = place(ex.size_max, &length), which = below(sizeof(modes) / sizeof(modes[0])), end;

	note("%s %zu at %zu", modes[which].name, length, offset);
	if (fallocate(any_fd(), modes[which].mode, (off_t)offset, (off_t)length))
		fail("%s: %s", modes[which].name, strerror(errno));
	if (!(modes[which].mode & FALLOC_FL_KEEP_SIZE))
		grow_to(offset + length);
	end = offset + length < ex.size ? offset + length : ex.size;
	if (which >= 2 && end > offset)
		memset(ex.model + offset, 0, end - offset);
}

static void do_copy(void)
{
	size_t length, from = place(ex.size_max, &length), to = below(ex.size_max - length + 1);
	loff_t from_at = (loff_t)from, to_at = (loff_t)to;

	/* Within one file they may not overlap, and what is not there is not copied. */
	if ((to < from + length && from < to + length) || from + length > ex.size)
		return;
	note("copy %zu from %zu to %zu", length, from, to);
	while (length) {
		ssize_t copied = copy_file_range(ex.fds[0], &from_at, ex.fds[1], &to_at, length, 0);

		if (copied <= 0)
			fail("copy: %s", copied ? strerror(errno) : "nothing");
		grow_to(to + (size_t)copied);
		memcpy(ex.model + to, ex.model + from, (size_t)copied);
		length -= (size_t)copied;
		from += (size_t)copied;
		to += (size_t)copied;
	}
}

static void do_direct(void)
{
	size_t units = ex.size_max / DIRECT_UNIT, at = below(units) * DIRECT_UNIT, length = DIRECT_UNIT * (1 + below(8));
	size_t there = at < ex.size ? ex.size - at : 0;
	ssize_t done;

	if (ex.direct < 0 || at + length > ex.size_max)
		return;
	if (below(2)) {
		note("direct read %zu at %zu", length, at);
		done = pread(ex.direct, ex.buffer, length, (off_t)at);
		if (done != (ssize_t)(there < length ? there : length))
			fail("direct read: %zd (%s)", done, done < 0 ? strerror(errno) : "");
		compare(ex.buffer, at, (size_t)done, "direct");
	} else {
		note("direct write %zu at %zu", length, at);
		done = pwrite(ex.direct, fill(length), length, (off_t)at);
		if (done != (ssize_t)length)
			fail("direct write: %zd (%s)", done, done < 0 ? strerror(errno) : "");
		grow_to(at + length);
		memcpy(ex.model + at, ex.buffer, length);
	}
}

static void do_sync(void)
{
	int fd = any_fd();

	note("sync");
	if ((below(2) ? fsync(fd) : fdatasync(fd)) && !(ex.killed && errno == EIO))
		fail("sync: %s", strerror(errno));
}

static void do_forget(void)
{
	note("out of the cache");
	(void)posix_fadvise(any_fd(), 0, 0, POSIX_FADV_DONTNEED);
}

static void open_one(unsigned int i)
{
	ex.fds[i] = open(path_now(), O_RDWR | O_CREAT | (i == DESCRIPTORS - 1 ? O_APPEND : 0), 0644);
	if (ex.fds[i] < 0)
		fail("open: %s", strerror(errno));
}

static void do_reopen(void)
{
	unsigned int i = (unsigned int)below(DESCRIPTORS);

	note("close and open descriptor %u", i);
	if (close(ex.fds[i]))
		fail("close: %s", strerror(errno));
	open_one(i);
	check_size(ex.fds[i]);
}

static void do_rename(void)
{
	note("rename");
	if (rename(path_now(), ex.renamed ? ex.path : ex.other) &&
	    !(ex.killed && errno == EIO && !access(ex.renamed ? ex.path : ex.other, F_OK)))
		fail("rename: %s", strerror(errno));
	ex.renamed = !ex.renamed;
}

static const struct {
	void (*run)(void);
	unsigned int weight;
} operations[] = { { do_read, 20 },  { do_write, 20 },	 { do_append, 5 }, { do_map_read, 8 }, { do_map_write, 8 },
		   { do_truncate, 6 }, { do_allocate, 10 }, { do_copy, 5 },   { do_direct, 6 },	  { do_sync, 2 },
		   { do_forget, 2 }, { do_reopen, 4 },	 { do_rename, 2 } };

static void one_operation(void)
{
	size_t total = 0, drawn, i = 0;

	for (size_t k = 0; k < sizeof(operations) / sizeof(operations[0]); k++)
		total += operations[k].weight;
	for (drawn = below(total); drawn >= operations[i].weight; i++)
		drawn -= operations[i].weight;
	operations[i].run();
	if (below(8) == 0)
		check_size(any_fd());
}

static void check_all(void)
{
	note("read all");
	for (size_t at = 0; at < ex.size; at += ex.length_max) {
		size_t length = ex.size - at < ex.length_max ? ex.size - at : ex.length_max;

		if (pread(ex.fds[0], ex.buffer, length, (off_t)at) != (ssize_t)length)
			fail("read all: %s", strerror(errno));
		compare(ex.buffer, at, length, "at the end");
	}
	check_size(ex.fds[0]);
}

int main(int argc, char **argv)
{
	__u64 seed = 0, count = 2000, bytes = 1 << 20;
	int option;

	if (getrandom(&seed, 4, 0) != 4)
		return 2;
	while ((option = getopt(argc, argv, "s:n:b:e")) != -1) {
		if (option == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (option == 'n')
			count = strtoull(optarg, NULL, 0);
		else if (option == 'b')
			bytes = strtoull(optarg, NULL, 0) & ~4095ull;
		else if (option == 'e')
			ex.killed = true;
		else
			optind = argc;
	}
	if (argc - optind != 1 || bytes < 65536 || bytes > 1ull << 30) {
		fprintf(stderr, "usage: exerciser [-s SEED] [-n OPERATIONS] [-b BYTES] [-e] FILE\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("# seed %llu\n", (unsigned long long)seed);
	ex.random = seed ? seed : 1;
	ex.path = argv[optind];
	(void)snprintf(ex.other, sizeof(ex.other), "%s.renamed", ex.path);
	ex.size_max = bytes;
	ex.length_max = bytes / 4;
	ex.model = calloc(1, bytes);
	ex.buffer = aligned_alloc(4096, bytes);
	if (!ex.model || !ex.buffer || (unlink(ex.path) && errno != ENOENT))
		return 2;
	for (unsigned int i = 0; i < DESCRIPTORS; i++)
		open_one(i);
	ex.direct = open(ex.path, O_RDWR | O_DIRECT); /* not everywhere: then without */
	for (__u64 i = 0; i < count; i++)
		one_operation();
	check_all();
	if (unlink(path_now()))
		fail("unlink: %s", strerror(errno));
	printf("# %lu operations, all as they should be\n", ex.done);
	return 0;
}
