/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Output chains against a reference model: one flat array of the bytes that must come out, and a count of loans. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/out.h"

#define POOL_CHUNKS 64
#define MODEL_BYTES (8 << 20)
#define LOAN_BYTES_MAX 50000

static __u64 random_state;
static int loans_open;

static __u64 next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static __u64 below(__u64 bound)
{
	return next_random() % bound;
}

struct model {
	__u8 *bytes;
	size_t begin, end;
};

static void model_add(struct model *model, const void *data, size_t bytes)
{
	if (model->end + bytes > MODEL_BYTES) {
		memmove(model->bytes, model->bytes + model->begin, model->end - model->begin);
		model->end -= model->begin;
		model->begin = 0;
	}
	assert_true(model->end + bytes <= MODEL_BYTES);
	memcpy(model->bytes + model->end, data, bytes);
	model->end += bytes;
}

static void release_loan(void *context)
{
	loans_open--;
	free(context);
}

static void append_random(struct vg_out *out, struct model *model)
{
	static __u8 data[40000];
	size_t bytes = below(4) ? below(200) : below(sizeof(data)), index;
	void *room;

	for (index = 0; index < bytes; index++)
		data[index] = next_random();
	if (bytes <= VG_OUT_CHUNK_BYTES && below(2)) {
		size_t asked = bytes + below(VG_OUT_CHUNK_BYTES - bytes + 1);

		room = vg_out_reserve(out, asked);
		if (!room)
			return;
		memcpy(room, data, bytes);
		vg_out_commit(out, bytes);
	} else {
		vg_out_append(out, data, bytes);
	}
	if (!out->failed)
		model_add(model, data, bytes);
}

static void lend_random(struct vg_out *out, struct model *model)
{
	size_t bytes = below(LOAN_BYTES_MAX), index;
	__u8 *loan = malloc(bytes + 1);

	for (index = 0; index < bytes; index++)
		loan[index] = next_random();
	loans_open++;
	vg_out_lend(out, loan, bytes, release_loan, loan);
	if (!out->failed && bytes)
		model_add(model, loan, bytes);
}

/* Compare what peek shows with the model, then consume a part of it as a short send would. */
static void send_random(struct vg_out *out, struct model *model)
{
	struct iovec vectors[16];
	int asked = 1 + below(16), count = vg_out_peek(out, vectors, asked), index;
	size_t seen = 0;

	assert_true(count <= asked);
	for (index = 0; index < count; index++) {
		assert_true(vectors[index].iov_len > 0);
		assert_true(seen + vectors[index].iov_len <= model->end - model->begin);
		assert_memory_equal(vectors[index].iov_base, model->bytes + model->begin + seen, vectors[index].iov_len);
		seen += vectors[index].iov_len;
	}
	if (!out->bytes) {
		assert_int_equal(count, 0);
		return;
	}
	assert_true(seen > 0);
	if (below(3))
		seen = below(seen + 1);
	vg_out_consume(out, seen);
	model->begin += seen;
}

static void test_out_equals_model_under_random_operations(void **state)
{
	struct model model[2] = { 0 };
	struct vg_out_pool pool;
	struct vg_out out[2];
	int round, which;
	size_t failures = 0, splices = 0;

	assert_int_equal(vg_out_pool_init(&pool, POOL_CHUNKS), 0);
	random_state = 88172645463325252ull;
	for (which = 0; which < 2; which++) {
		vg_out_init(&out[which], &pool);
		model[which].bytes = malloc(MODEL_BYTES);
	}
	for (round = 0; round < 60000; round++) {
		which = below(2);
		/* Now and then nothing is sent for a while, until the pool runs dry. */
		switch (below(round / 500 % 4 ? 8 : 5)) {
		case 0 ... 2:
			append_random(&out[which], &model[which]);
			break;
		case 3:
			lend_random(&out[which], &model[which]);
			break;
		case 4:
			vg_out_splice(&out[which], &out[!which]);
			model_add(&model[which], model[!which].bytes + model[!which].begin,
				  model[!which].end - model[!which].begin);
			model[!which].begin = model[!which].end = 0;
			assert_int_equal(out[!which].bytes, 0);
			splices++;
			break;
		default:
			send_random(&out[which], &model[which]);
		}
		if (out[which].failed) {
			/* A half-written answer: the connection would be closed, so would its model. */
			vg_out_deinit(&out[which]);
			model[which].begin = model[which].end = 0;
			failures++;
		}
		assert_int_equal(out[which].bytes, model[which].end - model[which].begin);
	}
	assert_true(failures > 0 && splices > 1000);
	for (which = 0; which < 2; which++) {
		vg_out_deinit(&out[which]);
		free(model[which].bytes);
	}
	assert_int_equal(loans_open, 0);
	assert_int_equal(pool.free_count, POOL_CHUNKS);
	vg_out_pool_deinit(&pool);
}

static void count_release(void *context)
{
	(*(int *)context)++;
}

static void test_out_releases_a_loan_when_its_last_byte_is_consumed(void **state)
{
	struct vg_out_pool pool;
	struct vg_out out;
	int released = 0;

	assert_int_equal(vg_out_pool_init(&pool, 4), 0);
	vg_out_init(&out, &pool);
	vg_out_append(&out, "ab", 2);
	vg_out_lend(&out, "cdef", 4, count_release, &released);
	vg_out_append(&out, "gh", 2);
	assert_int_equal(pool.free_count, 2);
	vg_out_consume(&out, 5);
	assert_int_equal(released, 0);
	vg_out_consume(&out, 1);
	assert_int_equal(released, 1);
	assert_int_equal(out.bytes, 2);
	vg_out_deinit(&out);
	assert_int_equal(released, 1);
	assert_int_equal(pool.free_count, 4);
	vg_out_pool_deinit(&pool);
}

static void test_out_dry_pool_fails_and_releases_the_loan(void **state)
{
	struct vg_out_pool pool;
	struct vg_out out, other;
	int released = 0;

	assert_int_equal(vg_out_pool_init(&pool, 1), 0);
	vg_out_init(&out, &pool);
	vg_out_init(&other, &pool);
	vg_out_append(&out, "ab", 2);
	vg_out_lend(&other, "cdef", 4, count_release, &released);
	assert_true(other.failed);
	assert_int_equal(released, 1);
	assert_null(vg_out_reserve(&other, 1));
	vg_out_splice(&out, &other);
	assert_true(out.failed); /* an answer is missing: the stream cannot go on */
	vg_out_deinit(&out);
	assert_int_equal(pool.free_count, 1);
	vg_out_pool_deinit(&pool);
}

static void test_out_bytes_under_a_send_stay_where_they_are(void **state)
{
	struct iovec before[4], after[4];
	struct vg_out_pool pool;
	struct vg_out out, late;

	assert_int_equal(vg_out_pool_init(&pool, 4), 0);
	vg_out_init(&out, &pool);
	vg_out_init(&late, &pool);
	vg_out_append(&out, "in flight", 9);
	assert_int_equal(vg_out_peek(&out, before, 4), 1);
	vg_out_append(&late, " late", 5);
	vg_out_splice(&out, &late);
	vg_out_append(&out, " later", 6);
	assert_int_equal(vg_out_peek(&out, after, 4), 1);
	assert_ptr_equal(before[0].iov_base, after[0].iov_base);
	assert_int_equal(after[0].iov_len, 20);
	assert_memory_equal(after[0].iov_base, "in flight late later", 20);
	vg_out_consume(&out, 20);
	assert_int_equal(pool.free_count, 4); /* an idle connection holds no chunk */
	vg_out_pool_deinit(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out_equals_model_under_random_operations),
		cmocka_unit_test(test_out_releases_a_loan_when_its_last_byte_is_consumed),
		cmocka_unit_test(test_out_dry_pool_fails_and_releases_the_loan),
		cmocka_unit_test(test_out_bytes_under_a_send_stay_where_they_are),
	};

	return cmocka_run_group_tests_name("out", tests, NULL, NULL);
}
