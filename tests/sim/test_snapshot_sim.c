/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The snapshot's writer on a disk that fails: the old file stays, the new one is whole, and the failure is told. */
#include "../unit/snapshot_fixture.h"

#include "uring/sim.h"

#define HANDLES 40
#define KEYS 6000
#define TURNS_MAX 200000

static const struct vg_io_config io_config = {
	.entries = 32,
	.operations = 16,
	.stream_buffers = 4,
	.stream_buffer_bytes = 512,
	.datagram_buffers = 4,
	.datagram_bytes = 512,
};

struct saving {
	bool done;
	struct vg_snapshot_result result;
};

static void on_done(void *context, const struct vg_snapshot_result *result)
{
	struct saving *saving = context;

	assert_false(saving->done);
	saving->done = true;
	saving->result = *result;
}

/* A snapshot from beginning to end. */
static void save(struct vg_store *store, struct vg_io *io, int directory_fd, struct saving *saving, bool cancel)
{
	struct vg_snapshot_writer_config config = {
		.source = source_config(store, false),
		.io = io,
		.directory_fd = directory_fd,
		.name = VG_SNAPSHOT_NAME,
		.pause_ns = 1000,
		.done = on_done,
		.context = saving,
	};
	struct vg_snapshot_writer *writer;
	int turns = 0;

	*saving = (struct saving){ 0 };
	assert_int_equal(vg_snapshot_writer_new(&writer, &config), 0);
	while (!saving->done && turns++ < TURNS_MAX) {
		vg_sim_advance(1000000);
		assert_true(vg_io_run(io, false) >= 0);
		if (cancel && turns == 20)
			vg_snapshot_writer_cancel(writer);
	}
	assert_true(saving->done);
}

static bool exists(int directory_fd, const char *name)
{
	return faccessat(directory_fd, name, F_OK, 0) == 0;
}

/* The file is the store as it is now, or, with `other`, as that is. */
static void assert_loads_as(struct vg_store *store, int directory_fd)
{
	void *arena = map_shared(ARENA_BYTES);
	struct vg_store *loaded = store_make(arena, ARENA_BYTES, HEAP_BYTES, 1);
	char why[256] = "";
	__u64 sequence;

	assert_int_equal(vg_snapshot_load(loaded, directory_fd, NULL, NULL, &sequence, why, sizeof(why)), 0);
	vg_store_handles_restored(loaded);
	assert_same(store, loaded);
	vg_store_free(loaded);
	munmap(arena, ARENA_BYTES);
}

struct bench {
	char path[40];
	int directory_fd;
	void *arena, *old_arena;
	struct vg_store *store, *old; /* old: what the directory's file holds */
	struct vg_io *io;
	__u64 handles[HANDLES];
};

static void bench_make(struct bench *bench, __u64 seed)
{
	struct saving saving;

	vg_sim_start(seed, &vg_sim_no_faults);
	*bench = (struct bench){ .path = "/tmp/virgo-snapshot-XXXXXX" };
	bench->directory_fd = directory_make(bench->path);
	bench->arena = map_shared(ARENA_BYTES);
	bench->old_arena = map_shared(ARENA_BYTES);
	bench->store = store_make(bench->arena, ARENA_BYTES, HEAP_BYTES, 1);
	bench->old = store_make(bench->old_arena, ARENA_BYTES, HEAP_BYTES, 1);
	assert_int_equal(vg_io_new(&bench->io, &io_config), 0);
	fill_store(bench->old, &seed, KEYS / 2, bench->handles, HANDLES);
	save(bench->old, bench->io, bench->directory_fd, &saving, false);
	assert_int_equal(saving.result.error, 0);
	fill_store(bench->store, &seed, KEYS, bench->handles, HANDLES);
}

static void bench_drop(struct bench *bench)
{
	vg_io_free(bench->io);
	vg_store_free(bench->store);
	vg_store_free(bench->old);
	munmap(bench->arena, ARENA_BYTES);
	munmap(bench->old_arena, ARENA_BYTES);
	directory_remove(bench->path, bench->directory_fd);
	vg_sim_end();
}

static void test_file_is_whole(void **state)
{
	struct vg_sim_faults faults = vg_sim_all_faults;
	struct saving saving;
	struct bench bench;

	bench_make(&bench, random_seed("file_is_whole"));
	faults.short_transfer = 300; /* what is written short goes on where it stopped */
	vg_sim_set_faults(&faults);
	for (int i = 0; i < 3; i++) {
		save(bench.store, bench.io, bench.directory_fd, &saving, false);
		assert_int_equal(saving.result.error, 0);
		assert_int_equal(saving.result.log_sequence, 4711);
		assert_false(exists(bench.directory_fd, VG_SNAPSHOT_NAME ".tmp"));
		assert_loads_as(bench.store, bench.directory_fd);
	}
	/* What was told to be safe is so when the power goes. */
	vg_sim_power_cut();
	assert_loads_as(bench.store, bench.directory_fd);
	bench_drop(&bench);
}

/* The n-th file operation fails, for every n there is. */
static void test_every_failure_keeps_the_old_file(void **state)
{
	static const int errors[] = { EIO, ENOSPC };
	struct saving saving;
	struct bench bench;
	__u64 before, operations;

	bench_make(&bench, random_seed("every_failure_keeps_the_old_file"));
	for (int e = 0; e < 2; e++) {
		for (__u64 nth = 1;; nth++) {
			before = vg_sim_files_done();
			vg_sim_fail_file(nth, errors[e]);
			save(bench.store, bench.io, bench.directory_fd, &saving, false);
			vg_sim_fail_file(0, 0);
			operations = vg_sim_files_done() - before;
			if (!saving.result.error)
				break;
			assert_int_equal(saving.result.error, -errors[e]);
			assert_true(saving.result.why[0]);
			assert_false(exists(bench.directory_fd, VG_SNAPSHOT_NAME ".tmp"));
			/* Only the last of all, the directory's sync, comes after the new file has its name. */
			if (strstr(saving.result.why, "directory"))
				assert_loads_as(bench.store, bench.directory_fd);
			else
				assert_loads_as(bench.old, bench.directory_fd);
			if (strstr(saving.result.why, "directory")) {
				struct saving again;

				save(bench.old, bench.io, bench.directory_fd, &again, false);
				assert_int_equal(again.result.error, 0);
			}
		}
		assert_true(operations > 5);
		assert_loads_as(bench.store, bench.directory_fd);
		save(bench.old, bench.io, bench.directory_fd, &saving, false);
		assert_int_equal(saving.result.error, 0);
	}
	bench_drop(&bench);
}

static void test_cancelled_leaves_nothing(void **state)
{
	struct vg_cuts_stats stats;
	struct saving saving;
	struct bench bench;

	bench_make(&bench, random_seed("cancelled_leaves_nothing"));
	save(bench.store, bench.io, bench.directory_fd, &saving, true);
	assert_int_equal(saving.result.error, -ECANCELED);
	assert_false(exists(bench.directory_fd, VG_SNAPSHOT_NAME ".tmp"));
	assert_loads_as(bench.old, bench.directory_fd);
	vg_cuts_stats(bench.store, &stats);
	assert_int_equal(stats.open, 0);
	bench_drop(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_is_whole),
		cmocka_unit_test(test_every_failure_keeps_the_old_file),
		cmocka_unit_test(test_cancelled_leaves_nothing),
	};

	return cmocka_run_group_tests_name("snapshot_sim", tests, NULL, NULL);
}
