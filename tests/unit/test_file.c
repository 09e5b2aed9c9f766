/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files, pipes and processes over io_uring. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uring/io.h"

static const struct vg_io_config small = {
	.entries = 16, .operations = 32, .stream_buffers = 2, .stream_buffer_bytes = 512,
	.datagram_buffers = 2, .datagram_bytes = 256,
};

static int set_up(void **state)
{
	struct vg_io *io;
	int error = vg_io_new(&io, &small);

	if (error == -ENOSYS || error == -EPERM)
		skip();
	assert_int_equal(error, 0);
	*state = io;
	return 0;
}

static int tear_down(void **state)
{
	vg_io_free(*state);
	return 0;
}

struct heard {
	int events, result;
	bool more;
};

static void on_event(void *owner, const struct vg_io_event *event)
{
	struct heard *heard = owner;

	heard->events++;
	heard->result = event->result;
	heard->more = event->more;
}

/* Turn until the operation has been heard of; its result. */
static int result_of(struct vg_io *io, struct heard *heard)
{
	int result;

	while (!heard->events)
		assert_true(vg_io_run(io, true) >= 0);
	assert_int_equal(heard->events, 1);
	assert_false(heard->more);
	result = heard->result;
	*heard = (struct heard){ 0 };
	return result;
}

static int open_scratch(void)
{
	char path[] = "/tmp/vg-file-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static void test_file_written_and_read_back(void **state)
{
	struct iovec out[3] = { { "write ", 6 }, { "ahead ", 6 }, { "log", 3 } }, in[2];
	struct vg_io *io = *state;
	struct heard heard = { 0 };
	char first[5], second[32];
	int fd = open_scratch();

	assert_int_equal(vg_io_write(io, fd, out, 3, 100, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 15);
	assert_int_equal(vg_io_fsync(io, fd, true, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 0);
	assert_int_equal(vg_io_write_durable(io, fd, out, 1, 115, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 6);
	assert_int_equal(vg_io_fsync(io, fd, false, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 0);
	in[0] = (struct iovec){ first, sizeof(first) };
	in[1] = (struct iovec){ second, sizeof(second) };
	assert_int_equal(vg_io_read(io, fd, in, 2, 100, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 21);
	assert_memory_equal(first, "write", 5);
	assert_memory_equal(second, " ahead logwrite ", 16);
	memset(second, 0, sizeof(second));
	assert_int_equal(vg_io_read_aside(io, fd, in, 2, 100, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 21);
	assert_memory_equal(second, " ahead logwrite ", 16);
	assert_int_equal(vg_io_read(io, fd, in, 1, 121, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 0);
	close(fd);
}

static void test_file_errors_are_results(void **state)
{
	struct iovec vector = { "x", 1 };
	struct vg_io *io = *state;
	struct heard heard = { 0 };
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(full >= 0);
	assert_int_equal(vg_io_write(io, full, &vector, 1, VG_IO_STREAM, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), -ENOSPC);
	close(full);
	assert_int_equal(vg_io_write(io, full, &vector, 1, 0, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), -EBADF);
	assert_int_equal(vg_io_fsync(io, full, true, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), -EBADF);
}

static void test_file_pipe_waits_polls_and_splices(void **state)
{
	struct vg_io *io = *state;
	struct heard read_heard = { 0 }, heard = { 0 };
	char bytes[16] = "";
	struct iovec in = { bytes, sizeof(bytes) }, out = { "output", 6 };
	int ends[2], more[2], fd = open_scratch();
	vg_io_op op;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(pipe2(more, O_CLOEXEC), 0);
	assert_int_equal(vg_io_read(io, ends[0], &in, 1, VG_IO_STREAM, on_event, &read_heard, NULL), 0);
	assert_true(vg_io_run(io, false) >= 0);
	assert_int_equal(read_heard.events, 0);
	assert_int_equal(vg_io_write(io, ends[1], &out, 1, VG_IO_STREAM, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 6);
	assert_int_equal(result_of(io, &read_heard), 6);
	assert_memory_equal(bytes, "output", 6);

	/* A read that nobody feeds ends when it is stopped, and its owner hears so. */
	assert_int_equal(vg_io_read(io, ends[0], &in, 1, VG_IO_STREAM, on_event, &read_heard, &op), 0);
	assert_true(vg_io_run(io, false) >= 0);
	vg_io_stop(io, op);
	assert_int_equal(result_of(io, &read_heard), -ECANCELED);

	assert_int_equal(vg_io_poll(io, ends[0], POLLIN, on_event, &heard, NULL), 0);
	assert_true(vg_io_run(io, false) >= 0);
	assert_int_equal(heard.events, 0);
	assert_int_equal(write(ends[1], "more", 4), 4);
	assert_true(result_of(io, &heard) & POLLIN);
	assert_int_equal(vg_io_splice(io, ends[0], VG_IO_STREAM, more[1], VG_IO_STREAM, 16, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 4);
	assert_int_equal(vg_io_splice(io, more[0], VG_IO_STREAM, fd, 7, 16, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), 4);
	assert_int_equal(pread(fd, bytes, 4, 7), 4);
	assert_memory_equal(bytes, "more", 4);
	for (int i = 0; i < 2; i++) {
		close(ends[i]);
		close(more[i]);
	}
	close(fd);
}

static void test_file_child_is_waited_for(void **state)
{
	struct vg_io *io = *state;
	struct heard heard = { 0 };
	siginfo_t info = { 0 };
	int gate[2], pidfd;
	char byte;
	pid_t child;

	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		close(gate[1]);
		_exit(read(gate[0], &byte, 1) ? 1 : 7);
	}
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	assert_true(pidfd >= 0);
	assert_int_equal(vg_io_waitid(io, P_PIDFD, (id_t)pidfd, &info, WEXITED, on_event, &heard, NULL), 0);
	assert_true(vg_io_run(io, false) >= 0);
	assert_int_equal(heard.events, 0);
	close(gate[0]);
	close(gate[1]);
	assert_int_equal(result_of(io, &heard), 0);
	assert_int_equal(info.si_pid, child);
	assert_int_equal(info.si_code, CLD_EXITED);
	assert_int_equal(info.si_status, 7);
	close(pidfd);
	assert_int_equal(vg_io_waitid(io, P_PID, (id_t)child, &info, WEXITED, on_event, &heard, NULL), 0);
	assert_int_equal(result_of(io, &heard), -ECHILD);
}

static void test_file_slots_run_out(void **state)
{
	struct vg_io *io = *state;
	struct heard heard = { 0 };
	char byte;
	struct iovec in = { &byte, 1 };
	int ends[2], submitted = 0;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(vg_io_run(io, false) >= 0); /* from now on what does not fit the queue is submitted */
	while (vg_io_read(io, ends[0], &in, 1, VG_IO_STREAM, on_event, &heard, NULL) == 0)
		assert_true(++submitted < 1000);
	assert_true(submitted >= 32);
	assert_int_equal(vg_io_fsync(io, ends[0], true, on_event, &heard, NULL), -EBUSY);
	close(ends[1]);
	while (heard.events < submitted)
		assert_true(vg_io_run(io, true) >= 0);
	assert_int_equal(heard.result, 0);
	close(ends[0]);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* A call that begins, tells so, and waits for leave to end. */
struct call {
	sem_t begun, leave;
	pid_t thread;
	int result;
};

static int make_call(void *argument)
{
	struct call *call = argument;

	call->thread = gettid();
	sem_post(&call->begun);
	sem_wait(&call->leave);
	return call->result;
}

static void call_init(struct call *call, int result)
{
	sem_init(&call->begun, 0, 0);
	sem_init(&call->leave, 0, 0);
	call->thread = 0;
	call->result = result;
}

static void test_file_calls_block_others_not(void **state)
{
	struct vg_io *io = *state;
	struct heard heard[3] = { 0 };
	struct call call[3];

	for (int i = 0; i < 3; i++) {
		call_init(&call[i], -i - 1);
		assert_int_equal(vg_io_call(io, make_call, &call[i], on_event, &heard[i], NULL), 0);
	}
	for (int i = 0; i < 3; i++)
		sem_wait(&call[i].begun); /* each has a helper of its own */
	assert_int_not_equal(call[0].thread, gettid());
	assert_true(vg_io_run(io, false) >= 0);
	for (int i = 2; i >= 0; i--) {
		assert_int_equal(heard[i].events, 0);
		sem_post(&call[i].leave);
		assert_int_equal(result_of(io, &heard[i]), -i - 1);
	}
	assert_int_equal(vg_io_stats(io)->calls, 3);
}

static int count_call(void *argument)
{
	return __atomic_add_fetch((int *)argument, 1, __ATOMIC_RELAXED);
}

static void test_file_calls_by_the_thousand(void **state)
{
	struct vg_io *io = *state;
	struct heard heard = { 0 };
	int counted = 0, asked = 0;

	while (asked < 5000) {
		if (!vg_io_call(io, count_call, &counted, on_event, &heard, NULL))
			asked++;
		else
			assert_true(vg_io_run(io, true) >= 0);
	}
	while (heard.events < asked)
		assert_true(vg_io_run(io, true) >= 0);
	assert_int_equal(counted, asked);
}

static void test_file_calls_wait_are_stopped_and_forgotten(void **state)
{
	struct vg_io_config one = small;
	struct heard heard[4] = { 0 };
	struct vg_io *io;
	struct call call;
	vg_io_op op[4];
	int counted = 0;

	one.helpers = 1;
	assert_int_equal(vg_io_new(&io, &one), 0);
	call_init(&call, 5);
	assert_int_equal(vg_io_call(io, make_call, &call, on_event, &heard[0], &op[0]), 0);
	for (int i = 1; i < 4; i++)
		assert_int_equal(vg_io_call(io, count_call, &counted, on_event, &heard[i], &op[i]), 0);
	sem_wait(&call.begun);
	vg_io_stop(io, op[0]); /* too late */
	vg_io_stop(io, op[2]);
	vg_io_cancel(io, op[3]);
	assert_int_equal(result_of(io, &heard[2]), -ECANCELED);
	assert_int_equal(heard[0].events + heard[1].events + heard[3].events, 0);
	sem_post(&call.leave);
	assert_int_equal(result_of(io, &heard[0]), 5);
	assert_int_equal(result_of(io, &heard[1]), 1);
	while (__atomic_load_n(&counted, __ATOMIC_RELAXED) < 2)
		sched_yield();
	assert_int_equal(heard[3].events, 0);
	vg_io_stop(io, op[1]); /* the name of one that has ended is nobody's */

	call_init(&call, 0);
	assert_int_equal(vg_io_call(io, make_call, &call, on_event, &heard[0], NULL), 0);
	assert_int_equal(vg_io_call(io, count_call, &counted, on_event, &heard[1], NULL), 0);
	sem_wait(&call.begun);
	sem_post(&call.leave);
	vg_io_free(io); /* waits for the first; the second may have begun or not */
	assert_true(counted == 2 || counted == 3);
	assert_int_equal(heard[0].events, 0);
}

static int call_on_thread(void *argument)
{
	*(pid_t *)argument = gettid();
	return 0;
}

static int call_slowly(void *argument)
{
	usleep(20000);
	return call_on_thread(argument);
}

static void test_file_brief_calls(void **state)
{
	struct vg_io *io = *state;
	struct heard heard = { 0 }, many = { 0 };
	pid_t thread = 0, threads[20] = { 0 };
	vg_io_op op;

	assert_int_equal(vg_io_call_brief(io, call_on_thread, &thread, on_event, &heard, NULL), 0);
	assert_int_equal(thread, 0); /* not from inside */
	assert_int_equal(result_of(io, &heard), 0);
	assert_int_equal(thread, gettid());
	assert_int_equal(vg_io_call_brief(io, call_on_thread, &thread, on_event, &heard, &op), 0);
	vg_io_stop(io, op);
	assert_int_equal(result_of(io, &heard), -ECANCELED);
	for (int i = 0; i < 20; i++)
		assert_int_equal(vg_io_call_brief(io, call_on_thread, &threads[i], on_event, &many, NULL), 0);
	while (many.events < 20)
		assert_true(vg_io_run(io, true) >= 0);
	for (int i = 0; i < 20; i++)
		assert_true(threads[i]);
	/* After a slow one they are helpers' work, for a while that a busy machine may sleep through. */
	thread = gettid();
	for (int tries = 0; thread == gettid(); tries++) {
		assert_true(tries < 20);
		assert_int_equal(vg_io_call_brief(io, call_slowly, &thread, on_event, &heard, NULL), 0);
		assert_int_equal(result_of(io, &heard), 0);
		assert_int_equal(vg_io_call_brief(io, call_on_thread, &thread, on_event, &heard, NULL), 0);
		assert_int_equal(result_of(io, &heard), 0);
	}
	assert_true(vg_io_stats(io)->own_calls);
	assert_int_equal(vg_io_call_brief(io, call_on_thread, &thread, on_event, &heard, NULL), 0);
	/* What has not begun is forgotten with the vg_io, in tear_down. */
}

/* ---- here and now -------------------------------------------------------------------------------------------------- */

static void test_file_try(void **state)
{
	struct open_how how = { .flags = O_RDONLY, .resolve = RESOLVE_BENEATH };
	struct vg_io *io = *state;
	char folder[] = "/tmp/vg-try-XXXXXX", bytes[8];
	struct iovec in = { bytes, sizeof(bytes) };
	struct statx status;
	int root, fd;

	assert_non_null(mkdtemp(folder));
	root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(root >= 0);
	fd = openat(root, "name", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "cached", 6), 6);
	close(fd);
	assert_int_equal(mkfifoat(root, "fifo", 0600), 0);

	fd = vg_io_try_open(io, root, "name", &how);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(vg_io_try_read(io, fd, &in, 1, 2), 4);
	assert_memory_equal(bytes, "ched", 4);
	assert_int_equal(vg_io_try_read(io, fd, &in, 1, 6), 0);
	assert_int_equal(vg_io_try_stat(io, fd, &status), 0);
	assert_int_equal(status.stx_size, 6);
	assert_true(status.stx_mask & STATX_INO);
	vg_io_try_close(io, fd);
	assert_int_equal(vg_io_try_read(io, fd, &in, 1, 0), -EBADF);
	assert_int_equal(vg_io_try_stat(io, fd, &status), -EBADF);

	fd = vg_io_try_open(io, root, "fifo", &how); /* does not wait for a writer */
	assert_true(fd >= 0);
	close(fd);
	fd = vg_io_try_open(io, root, "../x", &how);
	assert_true(fd == -EXDEV || fd == -EAGAIN); /* it may need to look */
	how.flags = O_RDWR | O_CREAT;
	assert_int_equal(vg_io_try_open(io, root, "name", &how), -EAGAIN);
	how.flags = O_RDWR | O_TRUNC;
	assert_int_equal(vg_io_try_open(io, root, "name", &how), -EAGAIN);
	unlinkat(root, "name", 0);
	unlinkat(root, "fifo", 0);
	close(root);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file_written_and_read_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_errors_are_results, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_pipe_waits_polls_and_splices, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_child_is_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_slots_run_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_calls_block_others_not, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_calls_by_the_thousand, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_calls_wait_are_stopped_and_forgotten, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_brief_calls, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_try, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
