/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Snapshots: what is written is what was there, and nothing damaged is ever loaded. */
#include "snapshot_fixture.h"

#include "base/crc32c.h"

#define HANDLES 100

static struct vg_store *load(void **ret_arena, int directory_fd, int expected, char *why, size_t why_bytes)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	__u64 sequence = 0;

	assert_int_equal(vg_snapshot_load(store, directory_fd, NULL, NULL, &sequence, why, why_bytes), expected);
	if (!expected)
		assert_int_equal(sequence, 4711);
	vg_store_handles_restored(store);
	*ret_arena = arena;
	return store;
}

static void drop(struct vg_store *store, void *arena)
{
	vg_store_free(store);
	munmap(arena, ARENA_BYTES);
}

static void round_trip(bool compress, __u32 keys)
{
	__u64 seed = random_seed("round_trip"), handles[HANDLES];
	char path[] = "/tmp/virgo-snapshot-XXXXXX", why[256] = "";
	int directory_fd = directory_make(path);
	void *arena = map_shared(ARENA_BYTES), *other_arena;
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1), *other;
	struct bytes bytes;

	fill_store(store, &seed, keys, handles, HANDLES);
	take_snapshot(store, compress, NULL, NULL, &bytes);
	file_put(directory_fd, bytes.data, bytes.length);
	other = load(&other_arena, directory_fd, 0, why, sizeof(why));
	assert_same(store, other);
	free(bytes.data);
	drop(other, other_arena);
	drop(store, arena);
	directory_remove(path, directory_fd);
}

static void test_round_trip(void **state)
{
	round_trip(false, 30000);
}

static void test_round_trip_compressed(void **state)
{
	round_trip(true, 30000);
}

static void test_round_trip_of_little(void **state)
{
	round_trip(false, 0);
	round_trip(true, 1);
}

/* ---- the file is the cut, whatever happens meanwhile ----------------------------------------------------------- */

struct meddling {
	struct vg_store *store;
	__u64 seed;
	__u64 *handles;
};

static void meddle(void *context)
{
	struct meddling *meddling = context;
	static __u8 noise[30000];

	random_fill(&meddling->seed, noise, sizeof(noise));
	for (int i = 0; i < 300; i++) {
		char text[32];
		size_t length = (size_t)snprintf(text, sizeof(text), "key:%llu",
						 (unsigned long long)(random_next(&meddling->seed) % 30000));
		struct vg_key key = key_of(text, length);

		if (random_next(&meddling->seed) % 3)
			assert_int_equal(vg_store_set(meddling->store, &key, NOW_MS, noise,
						      i % 100 ? (__u64)i : sizeof(noise), 0),
					 0);
		else
			vg_store_delete(meddling->store, &key, NOW_MS);
	}
	for (int i = 0; i < 10; i++) {
		__u64 *handle = &meddling->handles[random_next(&meddling->seed) % HANDLES];

		if (vg_store_handle_write(meddling->store, *handle, 0, noise, 100) == -ESTALE || i == 9) {
			vg_store_release(meddling->store, *handle);
			assert_int_equal(vg_store_alloc(meddling->store, 100 + (__u64)i * 4000, handle), 0);
		}
	}
	vg_cuts_tend(meddling->store, NOW_MS);
}

static void test_snapshot_is_the_cut(void **state)
{
	__u64 seed = random_seed("snapshot_is_the_cut"), handles[HANDLES];
	char path[] = "/tmp/virgo-snapshot-XXXXXX", why[256] = "";
	int directory_fd = directory_make(path);
	void *arena = map_shared(ARENA_BYTES), *quiet_arena, *other_arena;
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1), *quiet, *other;
	struct meddling meddling = { store, seed, handles };
	struct vg_cuts_stats stats;
	struct bytes bytes;

	fill_store(store, &seed, 30000, handles, HANDLES);
	take_snapshot(store, false, NULL, NULL, &bytes); /* nobody else is there */
	file_put(directory_fd, bytes.data, bytes.length);
	quiet = load(&quiet_arena, directory_fd, 0, why, sizeof(why));
	free(bytes.data);
	take_snapshot(store, false, meddle, &meddling, &bytes);
	file_put(directory_fd, bytes.data, bytes.length);
	other = load(&other_arena, directory_fd, 0, why, sizeof(why));
	assert_same(quiet, other);
	for (int i = 0; i < 20; i++)
		vg_cuts_tend(store, NOW_MS);
	vg_cuts_stats(store, &stats);
	assert_int_equal(stats.images, 0);
	assert_int_equal(stats.open, 0);
	free(bytes.data);
	drop(other, other_arena);
	drop(quiet, quiet_arena);
	drop(store, arena);
	directory_remove(path, directory_fd);
}

/* A bucket that is larger than the source's room: keys with one hash cannot be made, so one bucket holds all. */
static void test_crowded_bucket(void **state)
{
	char path[] = "/tmp/virgo-snapshot-XXXXXX", why[256] = "";
	int directory_fd = directory_make(path);
	void *arena = map_shared(ARENA_BYTES), *other_arena;
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1), *other;
	static __u8 value[40000];
	struct bytes bytes;
	int stored = 0;

	for (__u64 i = 0; stored < 200; i++) {
		struct vg_key key = key_of(&i, sizeof(i));

		if (key.hash & 0xffff)
			continue; /* these share the low bits of their hash */
		memset(value, (int)i, sizeof(value));
		assert_int_equal(vg_store_set(store, &key, NOW_MS, value, stored % 2 ? 3900 : sizeof(value), 0), 0);
		stored++;
	}
	take_snapshot(store, true, NULL, NULL, &bytes);
	file_put(directory_fd, bytes.data, bytes.length);
	other = load(&other_arena, directory_fd, 0, why, sizeof(why));
	assert_same(store, other);
	free(bytes.data);
	drop(other, other_arena);
	drop(store, arena);
	directory_remove(path, directory_fd);
}

/* ---- damage ---------------------------------------------------------------------------------------------------- */

static int count_record(void *context, const struct vg_record *record)
{
	++*(__u64 *)context;
	return 0;
}

static int read_file(int directory_fd, __u64 *ret_offset)
{
	struct vg_snapshot_header header;
	struct vg_snapshot_counts counts;
	__u64 records = 0;
	int fd = openat(directory_fd, VG_SNAPSHOT_NAME, O_RDONLY | O_CLOEXEC), error;

	assert_true(fd >= 0);
	error = vg_snapshot_file_read(fd, &header, &counts, count_record, &records, NULL, NULL, ret_offset);
	close(fd);
	return error;
}

static void test_no_damage_is_missed(void **state)
{
	__u64 seed = random_seed("no_damage_is_missed"), handles[HANDLES], offset;
	char path[] = "/tmp/virgo-snapshot-XXXXXX";
	int directory_fd = directory_make(path);
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);

	fill_store(store, &seed, 3000, handles, HANDLES);
	for (int compress = 0; compress < 2; compress++) {
		struct bytes bytes;

		take_snapshot(store, compress, NULL, NULL, &bytes);
		file_put(directory_fd, bytes.data, bytes.length);
		assert_int_equal(read_file(directory_fd, &offset), 0);
		assert_int_equal(offset, bytes.length);
		for (int i = 0; i < 400; i++) { /* one bit */
			__u64 at = i < 200 ? (__u64)i : random_next(&seed) % bytes.length;
			__u8 bit = (__u8)(1u << random_next(&seed) % 8);

			bytes.data[at] ^= bit;
			file_put(directory_fd, bytes.data, bytes.length);
			assert_true(read_file(directory_fd, &offset) < 0);
			assert_true(offset <= at);
			bytes.data[at] ^= bit;
		}
		for (int i = 0; i < 200; i++) { /* an end that is missing */
			size_t length = i < 100 ? (size_t)i : random_next(&seed) % bytes.length;

			file_put(directory_fd, bytes.data, length);
			assert_int_equal(read_file(directory_fd, &offset), -EILSEQ);
			assert_true(offset <= length);
		}
		bytes_add(&bytes, "x", 1); /* and one that is too much */
		file_put(directory_fd, bytes.data, bytes.length);
		assert_int_equal(read_file(directory_fd, &offset), -EILSEQ);
		free(bytes.data);
	}
	drop(store, arena);
	directory_remove(path, directory_fd);
}

/* A block of another snapshot, one that is missing, one that is there twice: each is whole in itself. */
static void test_blocks_belong_together(void **state)
{
	__u64 seed = random_seed("blocks_belong_together"), handles[HANDLES], offset, at, starts[64];
	char path[] = "/tmp/virgo-snapshot-XXXXXX";
	int directory_fd = directory_make(path), count = 0;
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	struct bytes bytes, mixed = { 0 };

	fill_store(store, &seed, 3000, handles, HANDLES);
	take_snapshot(store, false, NULL, NULL, &bytes);
	for (at = sizeof(struct vg_snapshot_header); at < bytes.length && count < 64; count++) {
		struct vg_snapshot_block block;

		memcpy(&block, bytes.data + at, sizeof(block));
		starts[count] = at;
		at += sizeof(block) + block.stored_bytes;
	}
	assert_true(count > 3);
	for (int doubled = 0; doubled < 2; doubled++) {
		mixed.length = 0;
		bytes_add(&mixed, bytes.data, starts[doubled ? 2 : 1]);
		bytes_add(&mixed, bytes.data + starts[doubled ? 1 : 2], bytes.length - starts[doubled ? 1 : 2]);
		file_put(directory_fd, mixed.data, mixed.length);
		assert_int_equal(read_file(directory_fd, &offset), -EILSEQ);
	}
	/* The same blocks behind the header of another file. */
	struct vg_snapshot_header header;

	memcpy(&header, bytes.data, sizeof(header));
	header.identity++;
	header.crc = vg_crc32c(0, &header, offsetof(struct vg_snapshot_header, crc));
	memcpy(bytes.data, &header, sizeof(header));
	file_put(directory_fd, bytes.data, bytes.length);
	assert_int_equal(read_file(directory_fd, &offset), -EILSEQ);
	assert_int_equal(offset, sizeof(header));
	free(bytes.data);
	free(mixed.data);
	drop(store, arena);
	directory_remove(path, directory_fd);
}

static void load_fails(int directory_fd, int expected, char *why, size_t why_bytes)
{
	void *arena;
	struct vg_store *store = load(&arena, directory_fd, expected, why, why_bytes);

	drop(store, arena);
}

static void test_damage_is_explained(void **state)
{
	__u64 seed = random_seed("damage_is_explained"), handles[HANDLES];
	char path[] = "/tmp/virgo-snapshot-XXXXXX", why[256] = "";
	int directory_fd = directory_make(path);
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *store = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	struct bytes bytes;
	__u32 version = VG_SNAPSHOT_VERSION + 1;

	load_fails(directory_fd, -ENOENT, why, sizeof(why));
	fill_store(store, &seed, 100, handles, 5);
	take_snapshot(store, false, NULL, NULL, &bytes);
	bytes.data[bytes.length - 1] ^= 1;
	file_put(directory_fd, bytes.data, bytes.length);
	load_fails(directory_fd, -EILSEQ, why, sizeof(why));
	assert_non_null(strstr(why, "damaged at byte"));
	bytes.data[bytes.length - 1] ^= 1;
	memcpy(bytes.data + 8, &version, sizeof(version));
	file_put(directory_fd, bytes.data, bytes.length);
	load_fails(directory_fd, -EPROTONOSUPPORT, why, sizeof(why));
	assert_non_null(strstr(why, "another version"));
	free(bytes.data);
	drop(store, arena);
	directory_remove(path, directory_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_round_trip_compressed),
		cmocka_unit_test(test_round_trip_of_little),
		cmocka_unit_test(test_snapshot_is_the_cut),
		cmocka_unit_test(test_crowded_bucket),
		cmocka_unit_test(test_no_damage_is_missed),
		cmocka_unit_test(test_blocks_belong_together),
		cmocka_unit_test(test_damage_is_explained),
	};

	return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
