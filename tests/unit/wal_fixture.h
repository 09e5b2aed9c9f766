/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests of the log share: a directory, a store with a log, and what a store holds as one number. */
#ifndef VG_TESTS_WAL_FIXTURE_H
#define VG_TESTS_WAL_FIXTURE_H

#include "store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/recover.h"
#include "pool/segment.h"
#include "pool/wal.h"

#define WAL_ARENA_BYTES (8u << 20)
#define WAL_HEAP_BYTES (64u << 20)

struct wal_fixture {
	char path[64];
	int directory_fd;
	void *arena;
	struct vg_store *store;
	struct vg_wal *wal;
	struct vg_recovered recovered;
	char why[512];
};

static inline void wal_directory(struct wal_fixture *f)
{
	/* Where a sync costs nothing, if there is such a place: what a disk loses is the crash tests' business. */
	*f = (struct wal_fixture){ .path = "/dev/shm/vg-wal-XXXXXX" };
	if (access("/dev/shm", W_OK))
		memcpy(f->path, "/tmp/vg-wal-XXXXXX", sizeof("/tmp/vg-wal-XXXXXX"));
	assert_non_null(mkdtemp(f->path));
	f->directory_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->directory_fd >= 0);
}

static inline void wal_directory_remove(struct wal_fixture *f)
{
	DIR *directory = opendir(f->path);
	struct dirent *entry;

	while ((entry = readdir(directory)))
		(void)unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	assert_int_equal(rmdir(f->path), 0);
	close(f->directory_fd);
}

/* A store made from the directory, as the daemon does at its start. */
static inline int wal_recover(struct wal_fixture *f, bool repair)
{
	struct vg_recover recover = { .directory_fd = f->directory_fd, .now_ms = NOW_MS, .repair = repair };
	int error;

	f->arena = map_shared(WAL_ARENA_BYTES);
	f->store = store_make(f->arena, WAL_ARENA_BYTES, WAL_HEAP_BYTES, 1);
	recover.store = f->store;
	error = vg_recover(&recover, &f->recovered, f->why, sizeof(f->why));
	if (error) {
		vg_recovered_free(&f->recovered);
		vg_store_free(f->store);
		munmap(f->arena, WAL_ARENA_BYTES);
		f->store = NULL;
	}
	return error;
}

static inline void wal_begin(struct wal_fixture *f, __u64 segment_bytes, enum vg_wal_sync sync)
{
	struct vg_wal_config config = {
		.directory_fd = fcntl(f->directory_fd, F_DUPFD_CLOEXEC, 0),
		.segment_bytes = segment_bytes,
		.sync = sync,
		.sequence = f->recovered.sequence,
		.identity = f->recovered.identity ? f->recovered.identity : 0xfeedULL,
		.segment = f->recovered.segment,
		.node = 7,
	};

	assert_int_equal(vg_wal_new(&f->wal, &config), 0);
	for (__u32 i = 0; i < f->recovered.files; i++)
		assert_int_equal(vg_wal_found_file(f->wal, f->recovered.file[i].number, f->recovered.file[i].last,
						   f->recovered.file[i].bytes), 0);
	assert_int_equal(vg_store_observe(f->store, vg_wal_observe, f->wal), 0);
}

static inline void wal_open(struct wal_fixture *f, __u64 segment_bytes, enum vg_wal_sync sync)
{
	assert_int_equal(wal_recover(f, false), 0);
	wal_begin(f, segment_bytes, sync);
}

static inline void wal_close(struct wal_fixture *f)
{
	vg_wal_free(f->wal);
	f->wal = NULL;
	vg_recovered_free(&f->recovered);
	vg_store_free(f->store);
	munmap(f->arena, WAL_ARENA_BYTES);
	f->store = NULL;
}

struct wal_sum {
	struct vg_store *store;
	__u64 sum, keys;
};

static inline void wal_sum_key(void *context, const void *data, size_t length)
{
	static __u8 buffer[VG_CELL_MAX];
	struct wal_sum *sum = context;
	struct vg_key key = key_of(data, length);
	struct vg_key_facts facts;
	struct vg_block *block;
	__u64 one[6];
	ssize_t got = vg_store_read(sum->store, &key, NOW_MS, false, buffer, sizeof(buffer), &block, &facts);

	if (got < 0)
		return;
	one[0] = key.hash;
	one[1] = vg_hash64(block ? vg_block_data(block) : buffer, (size_t)got);
	one[2] = (__u64)got;
	one[3] = facts.expire_ms;
	one[4] = facts.version;
	one[5] = facts.client_flags | (__u64)facts.marks << 32;
	if (block)
		vg_block_put(block);
	sum->sum += vg_hash64(one, sizeof(one)); /* in any order */
	sum->keys++;
}

/* All keys with all there is to know about them. */
static inline __u64 wal_store_sum(struct vg_store *store)
{
	struct wal_sum sum = { store };
	__u64 cursor = 0;

	do
		cursor = vg_store_scan(store, cursor, 1000, NOW_MS, wal_sum_key, &sum);
	while (cursor);
	return sum.sum + sum.keys;
}

static inline void wal_set(struct wal_fixture *f, const char *key, const char *value)
{
	struct vg_key k = key_of(key, strlen(key));

	assert_int_equal(vg_store_set(f->store, &k, NOW_MS, value, strlen(value), 0), 0);
}

static inline void wal_assert(struct wal_fixture *f, const char *key, const char *value)
{
	struct vg_key k = key_of(key, strlen(key));

	if (value)
		assert_value(f->store, &k, NOW_MS, value, strlen(value), 0);
	else
		assert_absent(f->store, &k, NOW_MS);
}

#endif
