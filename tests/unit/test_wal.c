/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The write-ahead log and start-up from it: every kind of change comes back; a log cut at every byte gives the changes
 * before the cut; damage to any record is found where it is; a disk that fails is survived.
 */
#include "wal_fixture.h"

#include "pool/record.h"

#define SEGMENT_BYTES 65536
#define CHANGES 40

static struct wal_fixture f;

static int set_up(void **state)
{
	wal_directory(&f);
	return 0;
}

static int tear_down(void **state)
{
	if (f.store)
		wal_close(&f);
	wal_directory_remove(&f);
	return 0;
}

/* ---- random changes of everything ------------------------------------------------------------------------------ */

static int random_change(void *context, const struct vg_entry *old, struct vg_change *change)
{
	__u64 *random = context;

	switch (random_next(random) % 6) {
	case 0:
		change->action = VG_CHANGE_DELETE;
		break;
	case 1:
		change->action = VG_CHANGE_DEADLINE;
		change->expire_ms = random_next(random) % 2 ? 0 : NOW_MS + 1000 + random_next(random) % 1000;
		break;
	case 2:
		change->action = VG_CHANGE_STORE;
		change->client_flags = (__u32)random_next(random);
		change->marks = 1;
		change->version = random_next(random);
		change->part[0] = (struct vg_part){ NULL, random_next(random) % 5000 };
		change->parts = 1;
		break;
	default:
		change->action = VG_CHANGE_STORE;
		change->part[0] = (struct vg_part){ old->value, old->length < 9000 ? old->length : 0 };
		change->part[1] = (struct vg_part){ "0123456789", random_next(random) % 10 };
		change->parts = 2;
		change->expire_ms = random_next(random) % 3 ? 0 : NOW_MS + 5000;
	}
	return 0;
}

static int random_changes_together(void *context, const struct vg_entry *old, struct vg_change *changes, int count)
{
	for (int i = 0; i < count; i++)
		random_change(context, &old[i], &changes[i]);
	return 0;
}

static void change_something(__u64 *random, __u64 *handle)
{
	__u32 number[3] = { random_next(random) % 200, random_next(random) % 200, random_next(random) % 200 };
	struct vg_key keys[3];

	for (int i = 0; i < 3; i++)
		keys[i] = key_of(&number[i], sizeof(number[i]));
	switch (random_next(random) % 8) {
	case 0:
		assert_int_equal(vg_store_transact(f.store, keys, 3, NOW_MS, random_changes_together, random), 0);
		break;
	case 1:
		if (random_next(random) % 40 == 0)
			vg_store_clear(f.store);
		break;
	case 2:
		if (!*handle)
			assert_int_equal(vg_store_alloc(f.store, 10 + random_next(random) % 9000, handle), 0);
		else if (random_next(random) % 4)
			assert_int_equal(vg_store_handle_write(f.store, *handle, random_next(random) % 3, random, 7), 0);
		else if (random_next(random) % 2)
			assert_int_equal(vg_store_handle_set_flags(f.store, *handle, 1), 0);
		else {
			assert_int_equal(vg_store_release(f.store, *handle), 0);
			*handle = 0;
		}
		break;
	default:
		assert_int_equal(vg_store_update(f.store, &keys[0], NOW_MS, random_change, random), 0);
	}
}

static void test_wal_everything_comes_back(void **state)
{
	__u64 random = random_seed("wal"), handle = 0, sum, length;
	__u8 before[9100], after[9100];
	__u32 flags;

	for (int life = 0; life < 6; life++) {
		wal_open(&f, SEGMENT_BYTES, (enum vg_wal_sync)(life % VG_WAL_SYNC_MAX));
		if (life)
			assert_int_equal(wal_store_sum(f.store), sum);
		if (life && handle) {
			assert_int_equal(vg_store_handle_facts(f.store, handle, &length, &flags), 0);
			assert_int_equal(vg_store_handle_read(f.store, handle, 0, after, length), 0);
			assert_memory_equal(before, after, length);
		}
		for (int i = 0; i < 1500; i++) {
			change_something(&random, &handle);
			if (random_next(&random) % 20 == 0)
				assert_int_equal(vg_wal_finish(f.wal), 0);
		}
		assert_int_equal(vg_wal_finish(f.wal), 0);
		sum = wal_store_sum(f.store);
		if (handle) {
			assert_int_equal(vg_store_handle_facts(f.store, handle, &length, &flags), 0);
			assert_int_equal(vg_store_handle_read(f.store, handle, 0, before, length), 0);
		}
		assert_int_equal(f.recovered.cut_bytes, 0);
		wal_close(&f);
	}
}

static void test_wal_expired_keys_do_not_come_back(void **state)
{
	struct vg_key key = key_of("mortal", 6);
	struct vg_store_stats stats;

	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	assert_int_equal(vg_store_set(f.store, &key, NOW_MS - 100, "v", 1, NOW_MS - 50), 0);
	wal_set(&f, "immortal", "v");
	assert_int_equal(vg_wal_finish(f.wal), 0);
	wal_close(&f);
	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	assert_int_equal(f.recovered.expired, 1);
	vg_store_stats(f.store, &stats);
	assert_int_equal(stats.keys, 1);
}

/* ---- a small log, cut and damaged ------------------------------------------------------------------------------ */

static __u64 sums[CHANGES + 1], ends[CHANGES + 1]; /* of the store after, and of the file with, so many changes */
static __u8 image[SEGMENT_BYTES];
static size_t image_bytes;

static int note_end(void *context, __u32 segment, __u64 offset, const struct vg_record *record)
{
	assert_int_equal(segment, 1);
	if (record->kind < VG_RECORD_SEGMENT)
		ends[record->sequence] = offset + record->length;
	return 0;
}

/* One segment; every `batch` changes are a batch. */
static void make_small_log(int batch)
{
	struct vg_walk walk = { .directory_fd = f.directory_fd, .record = note_end };
	struct vg_walk_result result;
	__u64 random = 5, handle = 0;
	char path[128];
	int fd;

	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	sums[0] = wal_store_sum(f.store);
	for (__u64 i = 1; i <= CHANGES;) {
		change_something(&random, &handle);
		if (vg_wal_sequence(f.wal) < i)
			continue;
		if (i % (__u64)batch == 0)
			assert_int_equal(vg_wal_finish(f.wal), 0);
		sums[i++] = wal_store_sum(f.store);
	}
	assert_int_equal(vg_wal_finish(f.wal), 0);
	wal_close(&f);
	assert_int_equal(vg_segments_walk(&walk, &result), 0);
	assert_true(result.end == VG_WALK_WHOLE && result.expected == CHANGES + 1);
	snprintf(path, sizeof(path), "%s/log-0000000001.vgl", f.path);
	fd = open(path, O_RDONLY);
	image_bytes = (size_t)pread(fd, image, sizeof(image), 0);
	assert_true(image_bytes >= ends[CHANGES] && image_bytes <= sizeof(image));
	image_bytes = ends[CHANGES];
	close(fd);
}

static void put_image(size_t bytes, size_t zeros)
{
	static const __u8 nothing[SEGMENT_BYTES];
	struct wal_fixture old = f;
	int fd;

	wal_directory_remove(&old);
	wal_directory(&f);
	fd = openat(f.directory_fd, "log-0000000001.vgl", O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, image, bytes), bytes);
	assert_int_equal(write(fd, nothing, zeros), zeros);
	close(fd);
}

static void assert_state_of(__u64 changes)
{
	assert_int_equal(f.recovered.sequence, changes);
	assert_int_equal(wal_store_sum(f.store), sums[changes]);
}

#define ZEROS 999

/* Cut off, or what was not written is zeros: then a record whose last bytes are zeros anyway is whole. */
static __u64 whole_changes(size_t cut, bool zeros)
{
	size_t end = cut + ZEROS;
	__u64 whole = 0;

	for (; zeros && cut < image_bytes && cut < end && !image[cut]; cut++)
		;
	while (whole < CHANGES && ends[whole + 1] <= cut)
		whole++;
	return whole;
}

static void start_from_cut(__u64 whole)
{
	assert_int_equal(wal_recover(&f, false), 0);
	assert_state_of(whole);
	wal_begin(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	wal_set(&f, "after", "the cut");
	assert_int_equal(vg_wal_finish(f.wal), 0);
	wal_close(&f);
	/* And what is written then is found behind it. */
	assert_int_equal(wal_recover(&f, false), 0);
	wal_assert(&f, "after", "the cut");
	assert_int_equal(f.recovered.sequence, whole + 1);
	wal_close(&f);
}

/* Every byte is looked at; now and then a store is made of it, too. */
static void test_wal_cut_at_every_byte(void **state)
{
	make_small_log(3);
	for (size_t cut = 0; cut <= image_bytes; cut++) {
		struct vg_walk walk;
		struct vg_walk_result result;
		bool zeros = cut % 3 == 0;

		put_image(cut, zeros ? ZEROS : 0);
		walk = (struct vg_walk){ .directory_fd = f.directory_fd };
		assert_int_equal(vg_segments_walk(&walk, &result), 0);
		assert_true(result.end == VG_WALK_WHOLE || result.end == VG_WALK_TORN);
		assert_int_equal(result.expected, whole_changes(cut, zeros) + 1);
		if (cut % 97 == 0 || cut == image_bytes)
			start_from_cut(whole_changes(cut, zeros));
	}
	assert_int_equal(whole_changes(image_bytes, false), CHANGES);
}

static void test_wal_damage_to_every_record(void **state)
{
	make_small_log(4);
	for (__u64 change = 1; change <= CHANGES; change++) {
		/* The last batch was never said to be safe by another one: damage there looks like a torn end. */
		bool torn = change > CHANGES - 4;
		char place[64];

		image[ends[change] - 9] ^= 0x40;
		put_image(image_bytes, 100);
		image[ends[change] - 9] ^= 0x40;
		assert_int_equal(wal_recover(&f, false), torn ? 0 : -EBADMSG);
		if (!torn) {
			snprintf(place, sizeof(place), "log-0000000001.vgl is damaged at byte ");
			assert_non_null(strstr(f.why, place));
			assert_true(strtoull(f.why + strlen(place), NULL, 10) < ends[change]);
			assert_true(strtoull(f.why + strlen(place), NULL, 10) >= ends[change - 1]);
			/* Nothing was touched: a second try says the same. */
			assert_int_equal(wal_recover(&f, false), -EBADMSG);
			assert_int_equal(wal_recover(&f, true), 0);
			assert_true(f.recovered.repaired);
			assert_int_equal(faccessat(f.directory_fd, "log-0000000001.vgl.damaged", F_OK, 0), 0);
		}
		assert_state_of(change - 1);
		wal_close(&f);
		assert_int_equal(wal_recover(&f, false), 0);
		assert_state_of(change - 1);
		wal_close(&f);
	}
}

static void test_wal_zeroed_sector_is_damage(void **state)
{
	make_small_log(4);
	memset(image + ends[10], 0, ends[11] - ends[10]);
	put_image(image_bytes, 0);
	assert_int_equal(wal_recover(&f, false), -EBADMSG);
	assert_non_null(strstr(f.why, "change 11 "));
}

static void test_wal_missing_file(void **state)
{
	char name[VG_SEGMENT_NAME_BYTES];
	__u32 *numbers, count;

	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	for (int i = 0; i < 300; i++) {
		char key[16], value[1000];

		snprintf(key, sizeof(key), "key%d", i);
		memset(value, 'a' + i % 26, sizeof(value) - 1);
		value[sizeof(value) - 1] = '\0';
		wal_set(&f, key, value);
		assert_int_equal(vg_wal_finish(f.wal), 0);
	}
	wal_close(&f);
	assert_int_equal(vg_segments_list(f.directory_fd, &numbers, &count), 0);
	assert_true(count >= 5);
	vg_segment_name(numbers[2], name);
	assert_int_equal(unlinkat(f.directory_fd, name, 0), 0);
	assert_int_equal(wal_recover(&f, false), -EBADMSG);
	assert_non_null(strstr(f.why, "log-0000000002.vgl is damaged"));
	assert_int_equal(wal_recover(&f, true), 0);
	wal_assert(&f, "key299", NULL);
	assert_int_equal(faccessat(f.directory_fd, "log-0000000004.vgl.damaged", F_OK, 0), 0);
	vg_segment_name(numbers[0], name);
	assert_int_equal(unlinkat(f.directory_fd, name, 0), 0);
	vg_recovered_free(&f.recovered);
	vg_store_free(f.store);
	munmap(f.arena, WAL_ARENA_BYTES);
	f.store = NULL;
	assert_int_equal(wal_recover(&f, false), -EBADMSG);
	assert_non_null(strstr(f.why, "begins too late"));
	free(numbers);
}

static void test_wal_segments_turn_over_and_go(void **state)
{
	struct vg_wal_stats stats;
	__u32 *numbers, count;
	char value[1000];

	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_EVERYSEC);
	for (int i = 0; i < 1000; i++) {
		char key[16];

		snprintf(key, sizeof(key), "key%d", i);
		wal_set(&f, key, value);
		if (i % 10 == 9)
			assert_int_equal(vg_wal_finish(f.wal), 0);
	}
	vg_wal_stats(f.wal, &stats);
	assert_true(stats.segments > 10);
	assert_true(stats.current_bytes > 1000 * 1000);
	assert_true(stats.durable == 1000 && stats.written == 1000 && !stats.pending_bytes);
	/* As if a snapshot had been made: files with nothing newer go. */
	vg_wal_snapshot_done(f.wal, 500);
	vg_wal_keep(f.wal);
	assert_int_equal(vg_segments_list(f.directory_fd, &numbers, &count), 0);
	assert_true(numbers[0] > 5 && count < stats.segments);
	free(numbers);
	wal_close(&f);
	assert_int_equal(wal_recover(&f, false), -EBADMSG); /* there is no snapshot, really */
}

static void test_wal_large_records(void **state)
{
	static char large[3 << 20];
	struct vg_key key = key_of("large", 5);

	memset(large, 'l', sizeof(large));
	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	wal_set(&f, "before", "1");
	assert_int_equal(vg_wal_finish(f.wal), 0);
	assert_int_equal(vg_store_set(f.store, &key, NOW_MS, large, sizeof(large), 0), 0);
	wal_set(&f, "after", "2");
	assert_int_equal(vg_wal_finish(f.wal), 0);
	wal_close(&f);
	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	assert_value(f.store, &key, NOW_MS, large, sizeof(large), 0);
	wal_assert(&f, "before", "1");
	wal_assert(&f, "after", "2");
}

/* ---- a disk that fails ----------------------------------------------------------------------------------------- */

static int do_step(const struct vg_wal_step *step, size_t bytes)
{
	if (step->what == VG_WAL_SYNC)
		return fdatasync(step->fd) ? -errno : 0;
	return (int)pwrite(step->fd, step->data, bytes < step->bytes ? bytes : step->bytes, (off_t)step->offset);
}

static void test_wal_failed_write_is_done_again(void **state)
{
	struct vg_wal_step step;
	__u64 now_ns = 1;

	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	wal_set(&f, "first", "1");
	assert_int_equal(vg_wal_finish(f.wal), 0);
	assert_int_equal(vg_wal_settled(f.wal), 1);
	wal_set(&f, "second", "2");
	assert_true(vg_wal_next(f.wal, now_ns, &step));
	assert_true(step.what == VG_WAL_WRITE && step.durable);
	wal_set(&f, "third", "3");
	assert_false(vg_wal_next(f.wal, now_ns, &step)); /* somebody writes */
	assert_true(vg_wal_sealed(f.wal) == 2 && vg_wal_settled(f.wal) == 1);
	/* A part of it goes, then the disk is full. */
	assert_true(vg_wal_done(f.wal, do_step(&step, 40), now_ns, &step));
	assert_false(vg_wal_done(f.wal, -ENOSPC, now_ns, &step));
	assert_int_equal(vg_wal_error(f.wal), -ENOSPC);
	assert_int_equal(vg_wal_settled(f.wal), 1);
	assert_false(vg_wal_next(f.wal, now_ns, &step)); /* not yet again */
	now_ns += VG_WAL_RETRY_NS;
	vg_wal_keep(f.wal);
	assert_true(vg_wal_next(f.wal, now_ns, &step));
	assert_int_equal(step.offset, 0); /* in a new file */
	assert_false(vg_wal_done(f.wal, do_step(&step, ~0ul), now_ns, &step));
	assert_int_equal(vg_wal_error(f.wal), 0);
	assert_int_equal(vg_wal_settled(f.wal), 2);
	assert_true(vg_wal_next(f.wal, now_ns, &step)); /* and then the third */
	assert_false(vg_wal_done(f.wal, do_step(&step, ~0ul), now_ns, &step));
	assert_int_equal(vg_wal_settled(f.wal), 3);
	wal_close(&f);
	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	wal_assert(&f, "first", "1");
	wal_assert(&f, "second", "2");
	wal_assert(&f, "third", "3");
	assert_int_equal(f.recovered.sequence, 3);
}

/* The same, but what the failed write left could not be cut off: the next file says where it goes on. */
static void test_wal_failed_write_left_where_it_is(void **state)
{
	struct vg_wal_step step;
	__u8 left[4096];
	ssize_t bytes;
	int fd;

	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	wal_set(&f, "first", "1");
	assert_int_equal(vg_wal_finish(f.wal), 0);
	wal_set(&f, "second", "2");
	wal_set(&f, "third", "3");
	assert_true(vg_wal_next(f.wal, 1, &step));
	assert_true(vg_wal_done(f.wal, do_step(&step, 90), 1, &step));
	fd = openat(f.directory_fd, "log-0000000001.vgl", O_RDWR | O_CLOEXEC);
	bytes = pread(fd, left, sizeof(left), 0);
	assert_false(vg_wal_done(f.wal, -EIO, 1, &step));
	assert_int_equal(vg_wal_finish(f.wal), 0);
	assert_int_equal(pwrite(fd, left, (size_t)bytes, 0), bytes);
	close(fd);
	wal_close(&f);
	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_ALWAYS);
	wal_assert(&f, "second", "2");
	wal_assert(&f, "third", "3");
	assert_int_equal(f.recovered.sequence, 3);
}

static void test_wal_failed_sync_wants_a_snapshot(void **state)
{
	struct vg_wal_step step;

	wal_open(&f, SEGMENT_BYTES, VG_WAL_SYNC_EVERYSEC);
	vg_wal_keep(f.wal);
	wal_set(&f, "first", "1");
	assert_true(vg_wal_next(f.wal, 1, &step));
	assert_int_equal(vg_wal_settled(f.wal), ~0ULL); /* nobody waits */
	assert_false(vg_wal_done(f.wal, do_step(&step, ~0ul), 1, &step));
	assert_false(vg_wal_next(f.wal, 499999999, &step));
	assert_true(vg_wal_next(f.wal, 500000001, &step));
	assert_int_equal(step.what, VG_WAL_SYNC);
	assert_false(vg_wal_done(f.wal, -EIO, 500000001, &step));
	assert_int_equal(vg_wal_error(f.wal), -EIO);
	assert_true(vg_wal_wants_snapshot(f.wal));
	wal_set(&f, "second", "2"); /* what was under way */
	assert_false(vg_wal_next(f.wal, ~0ULL >> 1, &step));
	vg_wal_keep(f.wal);
	vg_wal_snapshot_done(f.wal, 1); /* too old */
	assert_true(vg_wal_wants_snapshot(f.wal));
	vg_wal_snapshot_done(f.wal, 2);
	assert_false(vg_wal_wants_snapshot(f.wal));
	assert_int_equal(vg_wal_error(f.wal), 0);
	wal_set(&f, "third", "3");
	assert_int_equal(vg_wal_finish(f.wal), 0);
	wal_close(&f);
	/* The log alone is not enough: it says so. */
	assert_int_equal(wal_recover(&f, false), -EBADMSG);
}

static void test_wal_sync_mode_changes_while_it_runs(void **state)
{
	struct vg_wal_step step;
	enum vg_wal_sync sync;

	assert_int_equal(vg_wal_sync_parse("sometimes", &sync), -EINVAL);
	assert_int_equal(vg_wal_sync_parse("everysec", &sync), 0);
	wal_open(&f, SEGMENT_BYTES, sync);
	vg_wal_keep(f.wal);
	wal_set(&f, "first", "1");
	assert_true(vg_wal_next(f.wal, 1, &step));
	assert_false(step.durable);
	assert_false(vg_wal_done(f.wal, do_step(&step, ~0ul), 1, &step));
	vg_wal_set_sync(f.wal, VG_WAL_SYNC_ALWAYS);
	assert_int_equal(vg_wal_settled(f.wal), 0);
	assert_true(vg_wal_next(f.wal, 2, &step)); /* what was not synced is first */
	assert_int_equal(step.what, VG_WAL_SYNC);
	assert_false(vg_wal_done(f.wal, do_step(&step, 0), 2, &step));
	assert_int_equal(vg_wal_settled(f.wal), 1);
	wal_set(&f, "second", "2");
	assert_true(vg_wal_next(f.wal, 3, &step));
	assert_true(step.durable);
	assert_false(vg_wal_done(f.wal, do_step(&step, ~0ul), 3, &step));
	assert_int_equal(vg_wal_settled(f.wal), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_wal_everything_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_expired_keys_do_not_come_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_cut_at_every_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_damage_to_every_record, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_zeroed_sector_is_damage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_missing_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_segments_turn_over_and_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_large_records, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_failed_write_is_done_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_failed_write_left_where_it_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_failed_sync_wants_a_snapshot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_wal_sync_mode_changes_while_it_runs, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("wal", tests, NULL, NULL);
}
