// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Records and files of the log: any bytes as a file, and as records whose checksums and numbers are right, so that what
 * is in them is met as well. What is read is done to a store: looked for are crashes, what sanitizers find, and a walk
 * that believes a record vg_record_read does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pool/segment.h"

#define NOW_MS 1700000000000ULL
#define ARENA_BYTES (8u << 20)
#define HEAP_BYTES (64u << 20)
#define RUNS_BETWEEN_CLEARS 500

static struct vg_store *store_make(void)
{
	struct vg_store_config config = {
		.arena_bytes = ARENA_BYTES,
		.heap_bytes = HEAP_BYTES,
		.node = 7,
		.workers = 1,
		.instance = 1,
		.now_ms = NOW_MS,
	};
	struct vg_store *store;

	config.arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (config.arena == MAP_FAILED || vg_store_new(&store, &config, NULL))
		abort();
	vg_store_worker(store, 0);
	return store;
}

static int apply(void *context, __u32 segment, __u64 offset, const struct vg_record *record)
{
	int error = vg_record_apply(context, record);

	/* A well-made lie about lengths may ask for more memory than there is: that is an error, not a crash. */
	return error == -ENOMEM || error == -ESTALE || error == -ELOOP || error == -ERANGE || error == -EMSGSIZE ||
			       error == -EINVAL ?
		       0 :
		       error;
}

/* The bytes become records in a row: lengths that fit, numbers that follow, checksums that are right. */
static void repair(__u8 *data, size_t length)
{
	struct vg_record_header header;
	__u64 sequence = 1;

	for (size_t at = 0; at + sizeof(header) <= length; at += header.length) {
		memcpy(&header, data + at, sizeof(header));
		header.length &= 0xfff8;
		if (header.length < sizeof(header) || header.length > length - at)
			header.length = (__u32)((length - at) & ~7ul);
		header.kind %= VG_RECORD_MAX + 1;
		header.padding &= 7;
		header.reserved = 0;
		memcpy(data + at, &header, sizeof(header));
		vg_record_seal(data + at, vg_record_body_crc(data + at), sequence);
		sequence += header.kind < VG_RECORD_SEGMENT;
	}
}

static char folder[] = "/dev/shm/vg-fuzz-log-XXXXXX"; /* a file is made for every run */
static int directory_fd = -1;

static void remove_folder(void)
{
	(void)unlinkat(directory_fd, "log-0000000001.vgl", 0);
	(void)rmdir(folder);
}

/* As the daemon meets it at its start: a directory with one file. */
static void walk(struct vg_store *store, const __u8 *data, size_t length)
{
	struct vg_walk walk = { .record = apply, .context = store };
	struct vg_walk_result result;
	int fd;

	if (directory_fd < 0) {
		if (!mkdtemp(folder))
			abort();
		directory_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		atexit(remove_folder);
	}
	walk.directory_fd = directory_fd;
	fd = openat(directory_fd, "log-0000000001.vgl", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, data, length) != (ssize_t)length)
		abort();
	close(fd);
	if (vg_segments_walk(&walk, &result) || result.bytes > length || result.offset > length)
		abort();
}

/* Whatever is read right is within the bytes, and can be gone through. */
static void read_records(const __u8 *data, size_t length)
{
	struct vg_record record, inside;

	for (size_t at = 0; vg_record_read(data + at, length - at, &record) == VG_RECORD_OK; at += record.length) {
		size_t in = 0;

		if (record.length > length - at)
			abort();
		while (record.kind == VG_RECORD_TRANSACTION && vg_record_next(&record, &in, &inside))
			if (inside.kind >= VG_RECORD_TRANSACTION)
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vg_store *store;
	static int runs;
	__u8 *copy = malloc(size + 8);

	if (!copy)
		return 0;
	if (!store)
		store = store_make();
	if (runs++ % RUNS_BETWEEN_CLEARS == 0)
		vg_store_clear(store);
	memcpy(copy, data, size);
	read_records(copy, size);
	walk(store, copy, size);
	repair(copy, size);
	read_records(copy, size);
	walk(store, copy, size);
	free(copy);
	return 0;
}
