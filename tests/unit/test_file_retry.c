/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is remembered of changes: against clients whose connections are lost at any moment. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "svc/file/retry_memory.h"

#define ANSWERS 16
#define CLIENTS 20
#define STEPS 200000

static long pieces, pieces_left;

static void *memory_alloc(void *context, size_t bytes)
{
	if (!pieces_left)
		return NULL;
	pieces_left--;
	pieces++;
	return malloc(bytes);
}

static void memory_free(void *context, void *memory)
{
	pieces--;
	pieces_left++;
	free(memory);
}

static const struct vg_mem mem = { memory_alloc, memory_free, NULL };
static struct vg_retry_memory *memory;
static int drops;

static void count_drop(void *running)
{
	drops++;
}

static int setup(void **state)
{
	pieces_left = 1000000;
	drops = 0;
	return vg_retry_memory_new(&memory, &mem, ANSWERS);
}

static int teardown(void **state)
{
	vg_retry_memory_free(memory, count_drop);
	assert_int_equal(pieces, 0);
	return 0;
}

static enum vg_retry_verdict look(__u64 client, __u64 sequence, struct vg_retry_answer *answer)
{
	void *running = NULL;
	enum vg_retry_verdict verdict = vg_retry_look(memory, client, sequence, 1, answer, &running);

	assert_true(!running == (verdict != VG_RETRY_RUNNING));
	return verdict;
}

static void done(__u64 client, __u64 sequence)
{
	const struct vg_retry_answer answer = { .ident = sequence, .argument = client };
	struct vg_retry_record *record;

	assert_int_equal(vg_retry_record_begin(memory, client, sequence, 1, &record, &record), 0);
	vg_retry_record_end(memory, record, &answer);
}

static void test_new_running_done(void **state)
{
	struct vg_retry_answer answer = { .ident = 5, .argument = 6, .flags = 7, .status = 2, .body = "abc",
					  .body_length = 3 };
	struct vg_retry_answer got = { 0 };
	struct vg_retry_record *record;
	int running;
	void *found = NULL;

	assert_int_equal(look(1, 1, &got), VG_RETRY_NEW);
	assert_int_equal(vg_retry_record_begin(memory, 1, 1, 9, &running, &record), 0);
	assert_int_equal(vg_retry_look(memory, 1, 1, 9, &got, &found), VG_RETRY_RUNNING);
	assert_ptr_equal(found, &running);
	assert_int_equal(vg_retry_look(memory, 1, 1, 8, &got, &found), VG_RETRY_OTHER);
	assert_int_equal(look(1, 2, &got), VG_RETRY_NEW);
	assert_int_equal(look(2, 1, &got), VG_RETRY_NEW);
	vg_retry_record_end(memory, record, &answer);
	assert_int_equal(vg_retry_look(memory, 1, 1, 9, &got, &found), VG_RETRY_DONE);
	assert_int_equal(got.ident, 5);
	assert_int_equal(got.argument, 6);
	assert_int_equal(got.flags, 7);
	assert_int_equal(got.status, 2);
	assert_int_equal(got.body_length, 3);
	assert_memory_equal(got.body, "abc", 3);
}

static void test_the_oldest_are_forgotten(void **state)
{
	struct vg_retry_record *slow;
	struct vg_retry_answer answer = { 0 };

	assert_int_equal(vg_retry_record_begin(memory, 1, 1, 1, &slow, &slow), 0);
	for (__u64 i = 2; i < 100; i++)
		done(1, i);
	assert_int_equal(look(1, 1, &answer), VG_RETRY_RUNNING); /* what runs is never forgotten */
	assert_int_equal(look(1, 99 - ANSWERS, &answer), VG_RETRY_UNKNOWN);
	assert_int_equal(look(1, 2, &answer), VG_RETRY_UNKNOWN);
	assert_int_equal(look(1, 0, &answer), VG_RETRY_UNKNOWN);
	assert_int_equal(look(1, 99 - ANSWERS + 1, &answer), VG_RETRY_DONE);
	assert_int_equal(look(1, 99, &answer), VG_RETRY_DONE);
	assert_int_equal(look(1, 100, &answer), VG_RETRY_NEW);
	vg_retry_record_end(memory, slow, &answer);
	assert_int_equal(look(1, 1, &answer), VG_RETRY_DONE);
}

static void test_clients_are_forgotten_too(void **state)
{
	struct vg_retry_answer answer;
	struct vg_retry_record *record;
	int running;

	assert_int_equal(vg_retry_record_begin(memory, 1000, 1, 1, &running, &record), 0);
	for (__u64 i = 0; i < 100; i++)
		done(i, 7);
	assert_int_equal(look(99, 7, &answer), VG_RETRY_DONE);
	assert_int_equal(look(0, 7, &answer), VG_RETRY_UNKNOWN);
	assert_int_equal(look(0, 9, &answer), VG_RETRY_UNKNOWN);
	assert_int_equal(look(1000, 1, &answer), VG_RETRY_RUNNING);
	assert_int_equal(look(5000, 1, &answer), VG_RETRY_NEW);
	done(0, 10); /* it is back: what it asked before is still not known */
	assert_int_equal(look(0, 7, &answer), VG_RETRY_UNKNOWN);
	assert_int_equal(look(0, 10, &answer), VG_RETRY_DONE);
	assert_int_equal(look(0, 11, &answer), VG_RETRY_NEW);
	vg_retry_memory_free(memory, count_drop);
	assert_int_equal(drops, 1);
	memory = NULL;
}

static void test_all_clients_busy(void **state)
{
	struct vg_retry_record *record;
	int running;

	for (__u64 i = 0; i < VG_RETRY_CLIENTS_MAX; i++)
		assert_int_equal(vg_retry_record_begin(memory, i, 1, 1, &running, &record), 0);
	assert_int_equal(vg_retry_record_begin(memory, 1000, 1, 1, &running, &record), -ENOMEM);
}

static void test_without_memory(void **state)
{
	const struct vg_retry_answer answer = { .body = "x", .body_length = 1 };
	struct vg_retry_answer got;
	struct vg_retry_record *record;

	pieces_left = 0;
	assert_int_equal(vg_retry_record_begin(memory, 1, 1, 1, &record, &record), -ENOMEM);
	pieces_left = 1;
	assert_int_equal(vg_retry_record_begin(memory, 1, 1, 1, &record, &record), -ENOMEM);
	pieces_left = 2;
	assert_int_equal(vg_retry_record_begin(memory, 1, 1, 1, &record, &record), 0);
	pieces_left = 0;
	vg_retry_record_end(memory, record, &answer); /* no room for what was answered */
	assert_int_equal(look(1, 1, &got), VG_RETRY_UNKNOWN);
	assert_int_equal(look(1, 2, &got), VG_RETRY_NEW);
	pieces_left = 1000;
}

/* ---- the model ------------------------------------------------------------------------------------------------- */

/* A request as its client sees it, with what the node has done of it. */
struct request {
	__u64 sequence; /* 0: the place is free */
	bool arrived;
	struct vg_retry_record *record; /* while it is carried out */
};

static struct {
	struct request open[ANSWERS]; /* unanswered */
	__u64 sequence;
} client[CLIENTS];
static __u64 carried_out, answered_again;

static void carry_out(int c, struct request *request)
{
	assert_false(request->arrived);
	request->arrived = true;
	carried_out++;
	assert_int_equal(vg_retry_record_begin(memory, (__u64)c, request->sequence, 1, request, &request->record), 0);
}

/* Requests of a connection arrive in order: all that were sent. */
static void arrive(int c)
{
	for (int i = 0; i < ANSWERS; i++)
		if (client[c].open[i].sequence && !client[c].open[i].arrived)
			carry_out(c, &client[c].open[i]);
}

static void finish(int c, struct request *request)
{
	const struct vg_retry_answer answer = { .ident = request->sequence * 3, .argument = (__u64)c };

	vg_retry_record_end(memory, request->record, &answer);
	request->record = NULL;
}

/* Answers arrive in order, too: all that were given. */
static void receive(int c)
{
	for (int i = 0; i < ANSWERS; i++)
		if (client[c].open[i].arrived && !client[c].open[i].record)
			client[c].open[i] = (struct request){ 0 };
}

/* The connection is lost; on the next one what is unanswered is asked again, as far as that one lives. */
static void ask_again(int c, __u64 reach)
{
	for (int i = 0; i < ANSWERS; i++) {
		struct request *request = &client[c].open[i];
		struct vg_retry_answer answer;
		enum vg_retry_verdict verdict;

		if (!request->sequence || request->sequence > reach)
			continue;
		verdict = look((__u64)c, request->sequence, &answer);
		if (!request->arrived) {
			assert_int_equal(verdict, VG_RETRY_NEW);
			carry_out(c, request);
		} else if (request->record) {
			assert_int_equal(verdict, VG_RETRY_RUNNING);
		} else {
			assert_int_equal(verdict, VG_RETRY_DONE);
			assert_int_equal(answer.ident, request->sequence * 3);
			assert_int_equal(answer.argument, c);
			answered_again++;
		}
	}
}

static void send_one(int c, __u64 *random)
{
	for (int i = 0; i < ANSWERS; i++)
		if (!client[c].open[i].sequence) {
			client[c].open[i].sequence = client[c].sequence += 1 + vg_prng_next(random) % 3;
			return;
		}
}

static void test_nothing_is_done_twice(void **state)
{
	__u64 random = 7, sent = 0;

	memset(client, 0, sizeof(client));
	for (int step = 0; step < STEPS; step++) {
		int c = (int)(vg_prng_next(&random) % CLIENTS), at = (int)(vg_prng_next(&random) % ANSWERS);
		__u64 dice = vg_prng_next(&random) % 100;

		if (dice < 5) {
			for (int i = 0; i < (int)dice; i++)
				ask_again(c, vg_prng_next(&random) % (client[c].sequence + 1));
			ask_again(c, client[c].sequence);
		} else if (dice < 45) {
			send_one(c, &random);
			sent++;
		} else if (dice < 65) {
			arrive(c);
		} else if (dice < 75) {
			receive(c);
		} else if (client[c].open[at].record) {
			finish(c, &client[c].open[at]);
		}
	}
	assert_true(carried_out > STEPS / 10 && carried_out <= sent);
	assert_true(answered_again > STEPS / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_running_done, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_oldest_are_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clients_are_forgotten_too, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_clients_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_is_done_twice, setup, teardown),
	};

	return cmocka_run_group_tests_name("file retries", tests, NULL, NULL);
}
