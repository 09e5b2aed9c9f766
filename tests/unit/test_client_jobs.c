/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Jobs of the client against CPU pools that say what a test wants. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "fake_pool.h"

/* ---- what an ordinary job is like -------------------------------------------------------------------------------- */

static bool says_hello(struct pool *pool, const struct frame *frame)
{
	struct vg_job_view view;

	if (frame->header.opcode != VG_OP_CLONE)
		return true;
	/* What was sent must be what the node's own reader takes, under the digest in the header. */
	if (vg_job_read(frame->body, frame->length, &view) || view.kind != VG_JOB_EXECUTABLE || view.arguments != 3 ||
	    VG_BE64TOH(frame->header.ident) != vg_job_digest(NULL, frame->body, frame->length))
		return refuses(pool, frame, VG_JOB_REASON_MALFORMED);
	return accepts(pool, frame) && writes(pool, frame, VG_JOB_STDOUT, 0, "hel") &&
	       writes(pool, frame, VG_JOB_STDERR, 0, "oops") && writes(pool, frame, VG_JOB_STDOUT, 3, "lo") &&
	       ends_with(pool, frame, VG_JOB_EXITED, 3, 5, 4, "", 0);
}

static void test_jobs_clone_and_wait(void **state)
{
	static const char *const arguments[] = { "-c", "echo", NULL };
	struct virgo_job_options options = { .size = sizeof(options), .arguments = arguments };
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, says_hello, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "sh", NULL, 0, &options, &result), 0);
	assert_int_equal(result.status, 3);
	assert_int_equal(result.length, 5);
	assert_string_equal(result.data, "hello");
	assert_string_equal(result.errors, "oops");
	assert_int_equal(result.job, JOB_ID);
	assert_int_equal(result.run_ns, 1234000);
	assert_non_null(result.node);
	virgo_job_result_free(&result);
	assert_int_equal(virgo_jobs_running(v), 0);
	virgo_disconnect(v);
}

static bool calls(struct pool *pool, const struct frame *frame)
{
	return frame->header.opcode != VG_OP_CLONE || ends_with(pool, frame, VG_JOB_EXITED, 0, 0, 0, "bytes out", 0);
}

static void test_jobs_function_is_answered_by_its_end(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, calls, 0);
	assert_int_equal(virgo_clone(v, VIRGO_FUNCTION, "echo", "in", 2, NULL, &result), 0);
	assert_string_equal(result.data, "bytes out");
	virgo_job_result_free(&result);
	virgo_disconnect(v);
}

static bool has_no_function(struct pool *pool, const struct frame *frame)
{
	return frame->header.opcode != VG_OP_CLONE || refuses(pool, frame, VG_JOB_REASON_SYMBOL);
}

static void test_jobs_refusal_has_words(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, has_no_function, 0);
	assert_int_equal(virgo_clone(v, VIRGO_FUNCTION, "none", NULL, 0, NULL, &result), -ENOENT);
	assert_string_equal(virgo_error_text(v), vg_job_reason_text(VG_JOB_REASON_SYMBOL));
	virgo_disconnect(v);
}

static bool crashes(struct pool *pool, const struct frame *frame)
{
	return frame->header.opcode != VG_OP_CLONE ||
	       ends_with(pool, frame, VG_JOB_FAILED, 11, 0, 0, "", VG_JOB_REASON_CRASHED);
}

static void test_jobs_crash_of_a_worker(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, crashes, 0);
	assert_int_equal(virgo_clone(v, VIRGO_FUNCTION, "boom", NULL, 0, NULL, &result), -EHOSTDOWN);
	virgo_disconnect(v);
}

static void test_jobs_bad_arguments(void **state)
{
	struct virgo_job_options options = { .size = sizeof(options), .policy = "guess" };
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;
	struct virgo_job *job;

	(void)state;
	assert_int_equal(virgo_clone(v, VIRGO_FUNCTION, "f", NULL, 0, &options, &result), -EINVAL);
	assert_int_equal(virgo_clone(v, (enum virgo_kind)7, "f", NULL, 0, NULL, &result), -EINVAL);
	assert_int_equal(virgo_clone(v, VIRGO_FUNCTION, "", NULL, 0, NULL, &result), -EINVAL);
	options = (struct virgo_job_options){ .size = sizeof(options), .flags = VIRGO_JOB_TTY };
	assert_int_equal(virgo_clone(v, VIRGO_FUNCTION, "f", NULL, 0, &options, &result), -EINVAL);
	options = (struct virgo_job_options){ .size = sizeof(options), .node = "no.such.host.invalid" };
	assert_int_equal(virgo_clone(v, VIRGO_FUNCTION, "f", NULL, 0, &options, &result), -EADDRNOTAVAIL);
	options = (struct virgo_job_options){ .size = sizeof(options) + 8 };
	assert_int_equal(virgo_clone_start(v, VIRGO_FUNCTION, "f", NULL, 0, &options, &job), -EINVAL);
	virgo_disconnect(v);
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static bool runs(struct pool *pool, const struct frame *frame)
{
	return frame->header.opcode != VG_OP_CLONE ||
	       (accepts(pool, frame) && ends_with(pool, frame, VG_JOB_EXITED, 0, 0, 0, "", 0));
}

static bool is_full(struct pool *pool, const struct frame *frame)
{
	return frame->header.opcode != VG_OP_CLONE || refuses(pool, frame, VG_JOB_REASON_FULL);
}

static void test_jobs_go_to_the_less_loaded(void **state)
{
	struct virgo *v = client(two, 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, runs, 40);
	pool_start(1, runs, 2);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), 0);
		virgo_job_result_free(&result);
	}
	assert_int_equal(pools[0].clones, 0);
	assert_int_equal(pools[1].clones, 20);
	/* The load moves. */
	pools[0].in_flight = 0;
	pools[1].in_flight = 60;
	usleep(300000);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), 0);
		virgo_job_result_free(&result);
	}
	assert_int_equal(pools[0].clones, 20);
	virgo_disconnect(v);
}

static void test_jobs_by_chance_go_everywhere(void **state)
{
	struct virgo_job_options options = { .size = sizeof(options), .policy = "prg" };
	struct virgo *v = client(two, 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, runs, 40);
	pool_start(1, runs, 2);
	for (int i = 0; i < 60; i++) {
		assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, &options, &result), 0);
		virgo_job_result_free(&result);
	}
	/* Each with a probability of one in two: fewer than ten are one in a hundred million. */
	assert_true(pools[0].clones >= 10 && pools[1].clones >= 10);
	virgo_disconnect(v);
}

static void test_jobs_busy_is_chosen_again(void **state)
{
	struct virgo *v = client(two, 5000);
	struct virgo_job_result result;

	(void)state;
	/* The full one looks better. */
	pool_start(0, is_full, 0);
	pool_start(1, runs, 9);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), 0);
	assert_int_equal(pools[0].clones, 1);
	assert_int_equal(pools[1].clones, 1);
	virgo_job_result_free(&result);
	virgo_disconnect(v);
}

static void test_jobs_all_busy(void **state)
{
	struct virgo_job_options options = { .size = sizeof(options), .busy_ms = 200 };
	struct virgo *v = client(two, 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, is_full, 0);
	pool_start(1, is_full, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, &options, &result), -EBUSY);
	/* Asked again meanwhile, each time under a new number: nothing was accepted before. */
	assert_true(pools[0].clones > 1 && pools[1].clones > 1);
	assert_true(pools[0].first_sequence != pools[0].last_sequence);
	virgo_disconnect(v);
}

static void test_jobs_dead_node_is_left_out(void **state)
{
	struct virgo *v = client(two, 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(1, runs, 50);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), 0);
	assert_int_equal(pools[1].clones, 1);
	virgo_job_result_free(&result);
	virgo_disconnect(v);
}

static void test_jobs_nobody_there(void **state)
{
	struct virgo *v = client(two, 1000);
	struct virgo_job_result result;

	(void)state;
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), -EHOSTUNREACH);
	assert_non_null(strstr(virgo_error_text(v), "no CPU pool answers"));
	virgo_disconnect(v);
}

static void test_jobs_on_a_named_node(void **state)
{
	struct virgo_job_options options = { .size = sizeof(options), .node = "127.0.0.1" };
	struct virgo *v = client(two, 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, runs, 90);
	pool_start(1, runs, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, &options, &result), 0);
	virgo_job_result_free(&result);
	options.node = "1";
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, &options, &result), 0);
	virgo_job_result_free(&result);
	assert_int_equal(pools[0].clones, 1);
	assert_int_equal(pools[1].clones, 1);
	virgo_disconnect(v);
}

/* ---- lost connections -------------------------------------------------------------------------------------------- */

/* The first connection ends before the answer; then the same request is told what the node knows. */
static bool hangs_up_before_the_answer(struct pool *pool, const struct frame *frame)
{
	if (frame->header.opcode == VG_OP_CLONE)
		return pool->connections > 1 && refuses(pool, frame, VG_JOB_REASON_REPLAYED);
	if (frame->header.opcode == VG_OP_JOB_ATTACH)
		return reply(pool, frame, VG_OP_JOB_ATTACH, VG_STATUS_OK, JOB_ID, 0, 0, "", 0) &&
		       writes(pool, frame, VG_JOB_STDOUT, 0, "once") &&
		       ends_with(pool, frame, VG_JOB_EXITED, 0, 4, 0, "", 0);
	return true;
}

static void test_jobs_sent_again_is_the_same_request(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, hangs_up_before_the_answer, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), 0);
	assert_string_equal(result.data, "once");
	assert_int_equal(pools[0].clones, 2);
	assert_true(pools[0].first_sequence == pools[0].last_sequence);
	assert_int_equal(result.attempts, 1);
	virgo_job_result_free(&result);
	virgo_disconnect(v);
}

/* Breaks in the middle of the output; some of it comes twice. */
static bool breaks_in_the_middle(struct pool *pool, const struct frame *frame)
{
	if (frame->header.opcode == VG_OP_CLONE) {
		(void)(accepts(pool, frame) && writes(pool, frame, VG_JOB_STDOUT, 0, "abc") &&
		       writes(pool, frame, VG_JOB_STDERR, 0, "xy"));
		usleep(50000);
		return false;
	}
	if (frame->header.opcode == VG_OP_JOB_ATTACH)
		return reply(pool, frame, VG_OP_JOB_ATTACH, VG_STATUS_OK, JOB_ID, 0, 0, "", 0) &&
		       writes(pool, frame, VG_JOB_STDOUT, 1, "bcdef") && writes(pool, frame, VG_JOB_STDERR, 2, "z") &&
		       ends_with(pool, frame, VG_JOB_SIGNALLED, 9, 6, 3, "", 0);
	return true;
}

static void test_jobs_reattach_where_it_was(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, breaks_in_the_middle, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), 0);
	assert_string_equal(result.data, "abcdef");
	assert_string_equal(result.errors, "xyz");
	assert_int_equal(result.signal, 9);
	assert_int_equal(pools[0].attach_offset, 3);
	assert_int_equal(pools[0].attach_errors, 2);
	virgo_job_result_free(&result);
	virgo_disconnect(v);
}

/* The node was started anew in the middle: it has forgotten the job. */
static bool forgets(struct pool *pool, const struct frame *frame)
{
	if (frame->header.opcode == VG_OP_CLONE && pool->clones > 1)
		return accepts(pool, frame) && ends_with(pool, frame, VG_JOB_EXITED, 7, 0, 0, "", 0);
	if (frame->header.opcode == VG_OP_CLONE) {
		(void)accepts(pool, frame);
		return false;
	}
	return frame->header.opcode != VG_OP_JOB_ATTACH || refuses(pool, frame, VG_JOB_REASON_NO_JOB);
}

static void test_jobs_forgotten_is_undecided(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, forgets, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), -ECONNRESET);
	assert_non_null(strstr(virgo_error_text(v), "may or may not have run"));
	assert_int_equal(pools[0].clones, 1);
	virgo_disconnect(v);
}

static void test_jobs_retry_when_it_may_run_twice(void **state)
{
	struct virgo_job_options options = { .size = sizeof(options), .retries = 1 };
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, forgets, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, &options, &result), 0);
	assert_int_equal(result.status, 7);
	assert_int_equal(result.attempts, 2);
	assert_true(pools[0].first_sequence != pools[0].last_sequence);
	virgo_job_result_free(&result);
	virgo_disconnect(v);
}

static bool accepts_and_hangs(struct pool *pool, const struct frame *frame)
{
	if (frame->header.opcode == VG_OP_CLONE && !accepts(pool, frame))
		return false;
	/* Neither dead nor alive: what a stopped process or a cut link is like. */
	while (frame->header.opcode == VG_OP_CLONE && !pool->stop)
		usleep(10000);
	return true;
}

static void test_jobs_silent_node_is_given_up(void **state)
{
	struct virgo *v = client("127.0.0.1", 400);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, accepts_and_hangs, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), -ECONNRESET);
	virgo_disconnect(v);
}

static bool speaks_nonsense(struct pool *pool, const struct frame *frame)
{
	static const char nonsense[256] = "HTTP/1.1 400 Bad Request\r\n\r\n";

	(void)frame;
	(void)send_all(pool->connection, nonsense, sizeof(nonsense));
	return true;
}

static void test_jobs_nonsense_ends(void **state)
{
	struct virgo *v = client("127.0.0.1", 300);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, speaks_nonsense, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), -ECONNRESET);
	virgo_disconnect(v);
}

/* A length that lies in JOB_END, and output from the future. */
static bool lies(struct pool *pool, const struct frame *frame)
{
	struct vg_job_end end = { .result_length = VG_HTOBE32(1000000) };

	if (frame->header.opcode != VG_OP_CLONE)
		return true;
	return accepts(pool, frame) && reply(pool, frame, VG_OP_JOB_END, 0, JOB_ID, 0, 0, &end, sizeof(end));
}

static bool skips(struct pool *pool, const struct frame *frame)
{
	return frame->header.opcode != VG_OP_CLONE ||
	       (accepts(pool, frame) && writes(pool, frame, VG_JOB_STDOUT, 100, "late"));
}

static void test_jobs_lies_are_noticed(void **state)
{
	struct virgo *v = client("127.0.0.1", 300);
	struct virgo_job_result result;

	(void)state;
	pool_start(0, lies, 0);
	pool_start(1, skips, 0);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0,
				     &(struct virgo_job_options){ .size = sizeof(struct virgo_job_options),
								  .node = "127.0.0.1" },
				     &result),
			 -ECONNRESET);
	virgo_disconnect(v);
	v = client("127.0.0.2", 5000);
	assert_int_equal(virgo_clone(v, VIRGO_EXECUTABLE, "true", NULL, 0, NULL, &result), -ENODATA);
	virgo_disconnect(v);
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

static bool runs_until_cancelled(struct pool *pool, const struct frame *frame)
{
	switch (frame->header.opcode) {
	case VG_OP_CLONE:
		return accepts(pool, frame);
	case VG_OP_JOB_CANCEL:
		return ends_with(pool, frame, VG_JOB_CANCELLED, 15, 0, 0, "", 0);
	default:
		return true;
	}
}

struct heard {
	unsigned int ended;
	int error;
	struct virgo_job **job;
};

static void on_ended(void *context, const struct virgo_job_result *result)
{
	struct heard *heard = context;

	heard->ended++;
	heard->error = result->error;
	virgo_job_free(*heard->job);
}

static void test_jobs_cancel_and_free_from_the_callback(void **state)
{
	struct virgo_job *job;
	struct heard heard = { .job = &job };
	struct virgo_job_options options = { .size = sizeof(options), .ended = on_ended, .context = &heard };
	struct virgo *v = client("127.0.0.1", 5000);

	(void)state;
	pool_start(0, runs_until_cancelled, 0);
	assert_int_equal(virgo_clone_start(v, VIRGO_EXECUTABLE, "sleep", NULL, 0, &options, &job), 0);
	assert_int_equal(virgo_job_wait(job, 200), -ETIMEDOUT);
	assert_int_equal(virgo_job_number(job), JOB_ID);
	assert_null(virgo_job_result(job));
	assert_int_equal(virgo_job_kill(job, 0), 0);
	for (int i = 0; i < 500 && !heard.ended; i++) {
		struct pollfd polled[8];
		int timeout_ms, count = virgo_descriptors(v, polled, 8, &timeout_ms);

		(void)poll(polled, (nfds_t)count, timeout_ms < 0 || timeout_ms > 20 ? 20 : timeout_ms);
		(void)virgo_poll(v);
	}
	assert_int_equal(heard.ended, 1);
	assert_int_equal(heard.error, -ECANCELED);
	assert_int_equal(pools[0].cancels, 1);
	virgo_disconnect(v);
}

static void test_jobs_disconnect_cancels(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_job *job;

	(void)state;
	pool_start(0, runs_until_cancelled, 0);
	assert_int_equal(virgo_clone_start(v, VIRGO_EXECUTABLE, "sleep", NULL, 0, NULL, &job), 0);
	assert_int_equal(virgo_job_wait(job, 200), -ETIMEDOUT);
	virgo_disconnect(v);
	for (int i = 0; i < 500 && !pools[0].cancels; i++)
		usleep(10000);
	assert_int_equal(pools[0].cancels, 1);
}

/* Takes no more input than its window, until the test lets it. */
static bool reads_slowly(struct pool *pool, const struct frame *frame)
{
	if (frame->header.opcode == VG_OP_CLONE)
		return accepts(pool, frame);
	if (frame->header.opcode == VG_OP_JOB_SIGNAL) /* the test's sign: read it all */
		return reply(pool, frame, VG_OP_JOB_WINDOW, 0, JOB_ID, pool->input_bytes, 0, "", 0);
	if (frame->header.opcode == VG_OP_JOB_INPUT && !frame->length)
		return ends_with(pool, frame, VG_JOB_EXITED, 0, 0, 0, "", 0);
	return true;
}

static void test_jobs_input_keeps_to_the_window(void **state)
{
	struct virgo_job_options options = { .size = sizeof(options), .flags = VIRGO_JOB_INPUT };
	struct virgo *v = client("127.0.0.1", 5000);
	char *data = calloc(1, 2 * VG_JOB_INPUT_WINDOW);
	struct virgo_job *job;
	ssize_t taken;

	(void)state;
	pool_start(0, reads_slowly, 0);
	assert_int_equal(virgo_clone_start(v, VIRGO_EXECUTABLE, "cat", NULL, 0, &options, &job), 0);
	assert_int_equal(virgo_job_wait(job, 100), -ETIMEDOUT);
	taken = virgo_job_write(job, data, 2 * VG_JOB_INPUT_WINDOW);
	assert_int_equal(taken, VG_JOB_INPUT_WINDOW);
	assert_int_equal(virgo_job_room(job), 0);
	assert_int_equal(virgo_job_wait(job, 300), -ETIMEDOUT);
	assert_int_equal(pools[0].input_bytes, VG_JOB_INPUT_WINDOW);
	assert_int_equal(virgo_job_kill(job, 10), 0);
	for (int i = 0; i < 50 && !virgo_job_room(job); i++)
		assert_int_equal(virgo_job_wait(job, 20), -ETIMEDOUT);
	assert_int_equal(virgo_job_room(job), VG_JOB_INPUT_WINDOW);
	assert_int_equal(virgo_job_write(job, data, 1000), 1000);
	assert_int_equal(virgo_job_end_input(job), 0);
	assert_int_equal(virgo_job_write(job, data, 1000), -EPIPE);
	assert_int_equal(virgo_job_wait(job, 5000), 0);
	assert_int_equal(pools[0].input_bytes, VG_JOB_INPUT_WINDOW + 1000);
	assert_true(pools[0].input_ended);
	virgo_job_free(job);
	virgo_disconnect(v);
	free(data);
}

static bool lists(struct pool *pool, const struct frame *frame)
{
	struct {
		struct vg_job_record record;
		char name[8];
	} body = { .record = { .id = VG_HTOBE64(JOB_ID),
			       .state = VG_JOB_STATE_RUNNING,
			       .kind = VG_JOB_EXECUTABLE,
			       .mine = 1,
			       .name_length = VG_HTOBE32(6) },
		   .name = "a\"b\\c\n" };

	if (frame->header.opcode != VG_OP_JOB_LIST)
		return refuses(pool, frame, VG_JOB_REASON_NOT_YOURS);
	return reply(pool, frame, VG_OP_JOB_LIST, 0, 0, 0, 0, &body, sizeof(body.record) + 6);
}

static void test_jobs_list_and_kill(void **state)
{
	struct virgo *v = client("127.0.0.1", 5000);
	struct virgo_load load;
	char *json;

	(void)state;
	pool_start(0, lists, 5);
	assert_int_equal(virgo_jobs(v, NULL, &json), 0);
	assert_non_null(strstr(json, "\"job\":\"000000123456789a\",\"state\":\"running\""));
	assert_non_null(strstr(json, "\"name\":\"a\\u0022b\\u005cc\\u000a\""));
	free(json);
	assert_int_equal(virgo_jobs_kill(v, "127.0.0.1", JOB_ID, 0), -EPERM);
	assert_int_equal(virgo_cpu_load(v, NULL, &load), 0);
	assert_int_equal(load.in_flight, 5);
	virgo_disconnect(v);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_jobs_clone_and_wait),
		TEST(test_jobs_function_is_answered_by_its_end),
		TEST(test_jobs_refusal_has_words),
		TEST(test_jobs_crash_of_a_worker),
		TEST(test_jobs_bad_arguments),
		TEST(test_jobs_go_to_the_less_loaded),
		TEST(test_jobs_by_chance_go_everywhere),
		TEST(test_jobs_busy_is_chosen_again),
		TEST(test_jobs_all_busy),
		TEST(test_jobs_dead_node_is_left_out),
		TEST(test_jobs_nobody_there),
		TEST(test_jobs_on_a_named_node),
		TEST(test_jobs_sent_again_is_the_same_request),
		TEST(test_jobs_reattach_where_it_was),
		TEST(test_jobs_forgotten_is_undecided),
		TEST(test_jobs_retry_when_it_may_run_twice),
		TEST(test_jobs_silent_node_is_given_up),
		TEST(test_jobs_nonsense_ends),
		TEST(test_jobs_lies_are_noticed),
		TEST(test_jobs_cancel_and_free_from_the_callback),
		TEST(test_jobs_disconnect_cancels),
		TEST(test_jobs_input_keeps_to_the_window),
		TEST(test_jobs_list_and_kill),
	};
#undef TEST

	return cmocka_run_group_tests_name("client_jobs", tests, NULL, NULL);
}
