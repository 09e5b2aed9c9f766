/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files in the simulator: short transfers, failures on demand, and a power cut that keeps what was synced. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "uring/sim.h"

#define SEEDS 100
#define FILE_BYTES 8192

static const struct vg_io_config small = {
	.entries = 16, .operations = 8, .stream_buffers = 2, .stream_buffer_bytes = 512,
	.datagram_buffers = 2, .datagram_bytes = 256,
};

struct heard {
	int events, result;
};

static void on_event(void *owner, const struct vg_io_event *event)
{
	struct heard *heard = owner;

	assert_false(event->more);
	heard->events++;
	heard->result = event->result;
}

static int result_of(struct vg_io *io, struct heard *heard)
{
	for (int turns = 0; !heard->events; turns++) {
		assert_true(turns < 10000);
		assert_true(vg_io_run(io, true) >= 0);
	}
	heard->events = 0;
	return heard->result;
}

static int open_scratch(void)
{
	char path[] = "/tmp/vg-file-sim-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, FILE_BYTES), 0);
	return fd;
}

/* All of it, however short each write is; the number of writes it took. */
static int write_all(struct vg_io *io, int fd, const __u8 *data, size_t bytes, __u64 offset, bool durable)
{
	struct heard heard = { 0 };
	int writes = 0;

	for (size_t done = 0; done < bytes; writes++) {
		struct iovec vector = { (void *)(data + done), bytes - done };
		int result;

		assert_int_equal((durable ? vg_io_write_durable : vg_io_write)(io, fd, &vector, 1, offset + done, on_event,
									       &heard, NULL), 0);
		result = result_of(io, &heard);
		assert_true(result > 0);
		done += (size_t)result;
	}
	return writes;
}

static void test_file_sim_short_transfers(void **state)
{
	__u8 data[FILE_BYTES], back[FILE_BYTES];
	int writes = 0;

	for (__u64 seed = 1; seed <= SEEDS; seed++) {
		struct heard heard = { 0 };
		struct vg_io *io;
		int fd = open_scratch();

		vg_sim_start(seed, &vg_sim_all_faults);
		assert_int_equal(vg_io_new(&io, &small), 0);
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (__u8)vg_sim_random(256);
		writes += write_all(io, fd, data, sizeof(data), 0, seed & 1);
		for (size_t done = 0; done < sizeof(back);) {
			struct iovec vector = { back + done, sizeof(back) - done };

			assert_int_equal(vg_io_read(io, fd, &vector, 1, done, on_event, &heard, NULL), 0);
			assert_true(result_of(io, &heard) > 0);
			done += (size_t)heard.result;
		}
		assert_memory_equal(back, data, sizeof(data));
		vg_io_close(io, fd);
		assert_true(vg_io_run(io, false) >= 0);
		assert_int_equal(fcntl(fd, F_GETFD), -1);
		vg_io_free(io);
		vg_sim_end();
	}
	assert_true(writes > SEEDS);
}

static void test_file_sim_fails_when_told(void **state)
{
	struct vg_sim_faults faults = { .io_error = 300, .no_space = 300 };
	struct iovec vector = { "data", 4 };
	struct heard heard = { 0 };
	struct vg_io *io;
	int fd = open_scratch(), seen[2] = { 0 };

	vg_sim_start(1, &vg_sim_no_faults);
	assert_int_equal(vg_io_new(&io, &small), 0);
	vg_sim_fail_file(3, ENOSPC);
	for (int i = 1; i <= 5; i++) {
		assert_int_equal(vg_io_write(io, fd, &vector, 1, 0, on_event, &heard, NULL), 0);
		assert_int_equal(result_of(io, &heard), i == 3 ? -ENOSPC : 4);
	}
	assert_int_equal(vg_sim_files_done(), 5);
	vg_sim_fail_file(1, EIO);
	assert_int_equal(vg_io_fsync(io, fd, true, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), -EIO);
	vg_sim_set_faults(&faults);
	for (int i = 0; i < 200; i++) {
		int result;

		assert_int_equal(vg_io_write(io, fd, &vector, 1, 0, on_event, &heard, NULL), 0);
		result = result_of(io, &heard);
		assert_true(result == 4 || result == -EIO || result == -ENOSPC);
		seen[0] += result == -EIO;
		seen[1] += result == -ENOSPC;
	}
	assert_true(seen[0] && seen[1]);
	vg_io_free(io);
	vg_sim_end();
	close(fd);
}

static void test_file_sim_power_cut(void **state)
{
	__u8 synced[FILE_BYTES / 2], unsynced[FILE_BYTES / 2], back[FILE_BYTES], zeros[512] = { 0 };
	int kept = 0, lost = 0;

	for (__u64 seed = 1; seed <= SEEDS; seed++) {
		struct heard heard = { 0 };
		struct vg_io *io;
		int fd = open_scratch();

		vg_sim_start(seed, &vg_sim_all_faults);
		assert_int_equal(vg_io_new(&io, &small), 0);
		memset(synced, 's', sizeof(synced));
		memset(unsynced, 'u', sizeof(unsynced));
		write_all(io, fd, synced, sizeof(synced), 0, seed & 1);
		if (!(seed & 1)) {
			assert_int_equal(vg_io_fsync(io, fd, true, on_event, &heard, NULL), 0);
			assert_int_equal(result_of(io, &heard), 0);
		}
		write_all(io, fd, unsynced, sizeof(unsynced), sizeof(synced), false);
		vg_sim_power_cut();
		assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
		assert_memory_equal(back, synced, sizeof(synced));
		for (size_t at = sizeof(synced); at < sizeof(back); at += 512) {
			kept += !memcmp(back + at, unsynced, 512);
			lost += !memcmp(back + at, zeros, 512);
		}
		vg_io_free(io);
		vg_sim_end();
		close(fd);
	}
	assert_true(kept && lost);
}

static void test_file_sim_pipes_wait(void **state)
{
	for (__u64 seed = 1; seed <= SEEDS; seed++) {
		struct heard heard = { 0 }, polled = { 0 };
		char bytes[8];
		struct iovec in = { bytes, sizeof(bytes) };
		struct vg_io *io;
		int ends[2];

		vg_sim_start(seed, &vg_sim_all_faults);
		assert_int_equal(vg_io_new(&io, &small), 0);
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		assert_int_equal(vg_io_poll(io, ends[0], POLLIN, on_event, &polled, NULL), 0);
		assert_int_equal(vg_io_read(io, ends[0], &in, 1, VG_IO_STREAM, on_event, &heard, NULL), 0);
		for (int i = 0; i < 10; i++)
			assert_true(vg_io_run(io, false) >= 0);
		assert_int_equal(heard.events + polled.events, 0);
		assert_int_equal(write(ends[1], "hello", 5), 5);
		assert_true(result_of(io, &heard) > 0);
		assert_int_equal(write(ends[1], "again", 5), 5);
		assert_true(result_of(io, &polled) & POLLIN);
		vg_io_free(io);
		vg_sim_end();
		close(ends[0]);
		close(ends[1]);
	}
}

static int write_twice(void *argument)
{
	return pwrite(*(int *)argument, "call", 4, 0) == 4 && pwrite(*(int *)argument, "call", 4, 4) == 4 ? 8 : -errno;
}

static void test_file_sim_calls(void **state)
{
	struct vg_sim_faults faults = { .io_error = 300 };
	int late = 0, failed = 0;

	for (__u64 seed = 1; seed <= SEEDS; seed++) {
		struct heard heard = { 0 }, stopped = { 0 };
		char bytes[8];
		struct iovec in = { bytes, sizeof(bytes) };
		struct vg_io *io;
		int fd = open_scratch(), result;
		vg_io_op op;

		vg_sim_start(seed, &vg_sim_all_faults);
		assert_int_equal(vg_io_new(&io, &small), 0);
		assert_int_equal(vg_io_call(io, write_twice, &fd, on_event, &stopped, &op), 0);
		vg_io_stop(io, op);
		assert_int_equal(result_of(io, &stopped), -ECANCELED);
		assert_int_equal(vg_io_call(io, write_twice, &fd, on_event, &heard, NULL), 0);
		assert_int_equal(heard.events, 0);
		assert_int_equal(result_of(io, &heard), 8);
		result = vg_io_try_read(io, fd, &in, 1, 0);
		late += result == -EAGAIN;
		assert_true(result == -EAGAIN || (result > 0 && !memcmp(bytes, "callcall", (size_t)result)));
		vg_sim_set_faults(&faults);
		assert_int_equal(vg_io_call(io, write_twice, &fd, on_event, &heard, NULL), 0);
		result = result_of(io, &heard);
		assert_true(result == 8 || result == -EIO);
		failed += result == -EIO;
		vg_io_free(io);
		vg_sim_end();
		close(fd);
	}
	assert_true(late && late < SEEDS && failed && failed < SEEDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_sim_short_transfers),
		cmocka_unit_test(test_file_sim_fails_when_told),
		cmocka_unit_test(test_file_sim_power_cut),
		cmocka_unit_test(test_file_sim_pipes_wait),
		cmocka_unit_test(test_file_sim_calls),
	};

	return cmocka_run_group_tests_name("file_sim", tests, NULL, NULL);
}
