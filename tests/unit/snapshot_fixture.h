/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store with something of everything in it, snapshots of it in memory and in files, and comparing two stores. */
#ifndef VG_TESTS_SNAPSHOT_FIXTURE_H
#define VG_TESTS_SNAPSHOT_FIXTURE_H

#include <fcntl.h>
#include <unistd.h>

#include "pool/snapshot.h"
#include "store_fixture.h"

#define ARENA_BYTES (32u << 20)
#define HEAP_BYTES (256u << 20)

struct bytes {
	__u8 *data;
	size_t length, room;
};

static inline void bytes_add(struct bytes *bytes, const void *data, size_t length)
{
	if (bytes->length + length > bytes->room) {
		bytes->room = (bytes->length + length) * 2;
		bytes->data = realloc(bytes->data, bytes->room);
		assert_non_null(bytes->data);
	}
	memcpy(bytes->data + bytes->length, data, length);
	bytes->length += length;
}

static inline struct vg_snapshot_source_config source_config(struct vg_store *store, bool compress)
{
	return (struct vg_snapshot_source_config){
		.store = store,
		.now_ms = NOW_MS,
		.identity = 0x1122334455667788ULL,
		.log_sequence = 4711,
		.node = 7,
		.compress = compress,
	};
}

/* All of a snapshot; `between` is called between pieces, when others have the store. */
static inline void take_snapshot(struct vg_store *store, bool compress, void (*between)(void *), void *context,
				 struct bytes *ret_bytes)
{
	struct vg_snapshot_source_config config = source_config(store, compress);
	struct vg_snapshot_source *source;
	int more = 1;

	*ret_bytes = (struct bytes){ 0 };
	assert_int_equal(vg_snapshot_source_new(&source, &config), 0);
	while (more == 1) {
		struct iovec vectors[VG_SNAPSHOT_VECTORS];
		int count;

		more = vg_snapshot_source_next(source, vectors, &count);
		assert_true(more >= 0);
		for (int i = 0; i < count; i++)
			bytes_add(ret_bytes, vectors[i].iov_base, vectors[i].iov_len);
		if (between)
			between(context);
	}
	vg_snapshot_source_free(source);
}

/* Everything a record can hold, some of it odd. Returns the handles made. */
static inline void fill_store(struct vg_store *store, __u64 *seed, __u32 keys, __u64 *ret_handles, int handles)
{
	__u8 *large = malloc(300000);

	assert_non_null(large);
	random_fill(seed, large, 300000 - 7);
	for (__u32 i = 0; i < keys; i++) {
		__u8 key[64];
		size_t key_length = (size_t)snprintf((char *)key, sizeof(key), "key:%u", i);
		struct vg_key name = key_of(key, key_length);
		__u64 length = i % 500 == 499 ? 4096 + random_next(seed) % 200000 : random_next(seed) % 100;

		assert_int_equal(vg_store_set(store, &name, NOW_MS, large, length, i % 7 ? 0 : NOW_MS + 1000000 + i),
				 0);
	}
	memset(large, 'k', VG_KEY_MAX); /* the longest key there is */
	assert_int_equal(vg_store_set(store, &(struct vg_key){ large, VG_KEY_MAX, vg_hash64(large, VG_KEY_MAX) },
				      NOW_MS, large, 100000, 0),
			 0);
	assert_int_equal(vg_store_set(store, &(struct vg_key){ "", 0, vg_hash64("", 0) }, NOW_MS, "", 0, 0), 0);
	for (int i = 0; i < handles; i++) {
		__u64 length = i % 3 ? 1 + random_next(seed) % 4096 : 5000 + random_next(seed) % 200000;

		assert_int_equal(vg_store_alloc(store, length, &ret_handles[i]), 0);
		if (i % 5)
			assert_int_equal(vg_store_handle_write(store, ret_handles[i], 0, large,
							       length < 200000 ? length : 200000),
					 0);
		if (i % 4 == 3)
			assert_int_equal(vg_store_handle_set_flags(store, ret_handles[i], (__u32)i), 0);
		if (i % 7 == 6)
			assert_int_equal(vg_store_release(store, ret_handles[i]), 0);
	}
	free(large);
}

struct comparing {
	struct vg_store *other;
	__u64 keys;
};

static inline int compare_key(void *context, const struct vg_cut_entry *entry)
{
	struct comparing *comparing = context;
	const struct vg_key key = { entry->key, entry->key_length, entry->hash };

	assert_value(comparing->other, &key, NOW_MS, entry->entry.value, entry->entry.length, entry->entry.expire_ms);
	comparing->keys++;
	return 0;
}

/* What is in the store now is in the other one, and nothing else. */
static inline void assert_same(struct vg_store *store, struct vg_store *other)
{
	struct comparing comparing = { other };
	struct vg_store_stats stats, other_stats;
	__u64 view, position = 0;

	assert_int_equal(vg_cut_open(store, true, NOW_MS, 0, &view), 0);
	while (!vg_cut_walk(store, view, &position, compare_key, &comparing))
		;
	for (__u32 slot = 0; slot < vg_cut_slots(store); slot++) {
		__u64 handle, length, other_length;
		__u32 flags, other_flags;
		__u8 *bytes, *others;

		assert_int_equal(vg_cut_slot(store, view, slot, &handle, &length, &flags), 0);
		if (!length)
			continue;
		assert_int_equal(vg_store_handle_facts(other, handle, &other_length, &other_flags), 0);
		assert_int_equal(other_length, length);
		assert_int_equal(other_flags, flags);
		bytes = malloc(length);
		others = malloc(length);
		assert_non_null(bytes);
		assert_non_null(others);
		assert_int_equal(vg_store_handle_read(store, handle, 0, bytes, length), 0);
		assert_int_equal(vg_store_handle_read(other, handle, 0, others, length), 0);
		assert_memory_equal(bytes, others, length);
		free(bytes);
		free(others);
	}
	vg_cut_close(store, view);
	vg_store_stats(store, &stats);
	vg_store_stats(other, &other_stats);
	assert_int_equal(comparing.keys, other_stats.keys);
	assert_int_equal(stats.keys, other_stats.keys);
	assert_int_equal(stats.handles, other_stats.handles);
}

/* A directory of its own for a test's files. */
static inline int directory_make(char *path)
{
	int fd;

	assert_non_null(mkdtemp(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline void directory_remove(const char *path, int fd)
{
	(void)unlinkat(fd, VG_SNAPSHOT_NAME, 0);
	(void)unlinkat(fd, VG_SNAPSHOT_NAME ".tmp", 0);
	close(fd);
	assert_int_equal(rmdir(path), 0);
}

static inline void file_put(int directory_fd, const void *data, size_t length)
{
	int fd = openat(directory_fd, VG_SNAPSHOT_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, length), (ssize_t)length);
	close(fd);
}

#endif
