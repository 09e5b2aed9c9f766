/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libvirgo against a node that loses, doubles, delays, forges, moves and dies. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "client_node.h"
#include "virgo/virgo.h"

static const __u64 cluster_key[2] = { 0x0011223344556677ULL, 0x8899aabbccddeeffULL };

static void test_client_keys(void **state)
{
	struct fake_node *node = fake_start(1, NULL, NULL, true);
	struct virgo *v = client_of(node, 0, 0, NULL);
	size_t length = 99;
	char buffer[8];
	void *value;

	assert_int_equal(virgo_key_get(v, "absent", 6, &value, &length), -ENOENT);
	assert_string_equal(virgo_error_text(v), "no such key");
	assert_int_equal(virgo_key_set(v, "k", 1, "hello", 5, 0, 0), 0);
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), 0);
	assert_int_equal(length, 5);
	assert_string_equal(value, "hello");
	free(value);
	assert_int_equal(virgo_key_set(v, "k", 1, "x", 1, 0, VIRGO_IF_ABSENT), -EEXIST);
	assert_int_equal(virgo_key_set(v, "other", 5, "x", 1, 0, VIRGO_IF_PRESENT), -ENOENT);
	assert_int_equal(virgo_key_set(v, "empty", 5, "", 0, 0, 0), 0);
	assert_int_equal(virgo_key_read(v, "empty", 5, buffer, sizeof(buffer), &length), 0);
	assert_int_equal(length, 0);
	assert_int_equal(virgo_key_set(v, "long", 4, "0123456789", 10, 0, 0), 0);
	assert_int_equal(virgo_key_read(v, "long", 4, buffer, sizeof(buffer), &length), -EMSGSIZE);
	assert_int_equal(length, 10);
	assert_int_equal(virgo_key_del(v, "k", 1), 0);
	assert_int_equal(virgo_key_del(v, "k", 1), -ENOENT);
	assert_int_equal(virgo_key_set(v, "", 0, "x", 1, 0, 0), -EINVAL);
	assert_int_equal(virgo_key_set(v, "x", 1, "x", 1, 0, VIRGO_IF_ABSENT | VIRGO_IF_PRESENT), -EINVAL);
	/* UDP got through at once, so nothing needed TCP. */
	assert_int_equal(counters_of(v).streams_opened, 0);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_handles(void **state)
{
	struct fake_node *node = fake_start(5, NULL, NULL, true);
	struct virgo *v = client_of(node, 0, 0, NULL);
	uint64_t handle, bytes;
	char data[16];

	/* The first thing ever asked is a change: not over UDP, as nobody knows yet whether UDP gets through. */
	assert_int_equal(virgo_malloc(v, 3000, &handle), 0);
	assert_int_equal(handle >> 52, 5);
	assert_int_equal(counters_of(v).datagrams_sent, 0);
	assert_int_equal(virgo_size(v, handle, &bytes), 0);
	assert_int_equal(bytes, 3000);
	assert_int_equal(virgo_set(v, handle, "first", 5), 0);
	assert_int_equal(virgo_set_range(v, handle, 2995, "last!", 5), 0);
	assert_int_equal(virgo_get(v, handle, data, 6), 0);
	assert_memory_equal(data, "first", 6);
	assert_int_equal(virgo_get_range(v, handle, 2995, data, 5), 0);
	assert_memory_equal(data, "last!", 5);
	assert_int_equal(virgo_get_range(v, handle, 2996, data, 5), -ERANGE);
	assert_int_equal(virgo_get_range(v, handle, 0, data, 0), -EINVAL);
	assert_int_equal(virgo_free(v, handle), 0);
	assert_int_equal(virgo_free(v, handle), -ESTALE);
	assert_int_equal(virgo_get(v, handle, data, 5), -ESTALE);
	assert_int_equal(virgo_malloc(v, 0, &handle), -EINVAL);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_large_values_take_tcp(void **state)
{
	struct fake_node *node = fake_start(1, NULL, NULL, true);
	struct virgo *v = client_of(node, 0, 0, NULL);
	size_t bytes = 3000001, length;
	char *big = malloc(bytes), *key = malloc(60000);
	void *value;

	for (size_t i = 0; i < bytes; i++)
		big[i] = (char)(i * 31 + (i >> 11));
	memset(key, 'k', 60000);
	assert_int_equal(virgo_key_set(v, "big", 3, big, bytes, 0, 0), 0);
	assert_int_equal(virgo_key_get(v, "big", 3, &value, &length), 0);
	assert_int_equal(length, bytes);
	assert_memory_equal(value, big, bytes);
	free(value);
	assert_int_equal(virgo_key_set(v, key, 60000, big, 70000, 0, 0), 0);
	assert_int_equal(virgo_key_get(v, key, 60000, &value, &length), 0);
	assert_int_equal(length, 70000);
	assert_memory_equal(value, big, 70000);
	free(value);
	assert_int_equal(counters_of(v).streams_opened, 1);
	assert_int_equal(virgo_key_set(v, key, 65537, "x", 1, 0, 0), -EMSGSIZE);
	virgo_disconnect(v);
	v = client_of(node, VIRGO_NO_TCP, 0, NULL);
	assert_int_equal(virgo_key_set(v, "big", 3, big, bytes, 0, 0), -EMSGSIZE);
	assert_int_equal(virgo_key_get(v, "big", 3, &value, &length), -EMSGSIZE);
	virgo_disconnect(v);
	free(big);
	free(key);
	fake_stop(node);
}

static void test_client_padding_follows_values(void **state)
{
	struct fake_node *node = fake_start(1, NULL, NULL, true);
	struct virgo *v = client_of(node, 0, 0, NULL);
	char value[1000], buffer[1024];
	size_t length;

	memset(value, 'v', sizeof(value));
	assert_int_equal(virgo_key_set(v, "small", 5, value, 10, 0, 0), 0);
	assert_int_equal(virgo_key_set(v, "large", 5, value, sizeof(value), 0, 0), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(virgo_key_read(v, "small", 5, buffer, sizeof(buffer), &length), 0);
	assert_int_equal(counters_of(v).too_big, 0);
	/* Padded for small values by now: one refusal, then the answer, still over UDP. */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(virgo_key_read(v, "large", 5, buffer, sizeof(buffer), &length), 0);
		assert_int_equal(length, sizeof(value));
	}
	assert_in_range(counters_of(v).too_big, 1, 1 + counters_of(v).datagrams_resent);
	assert_int_equal(counters_of(v).streams_opened, 0);
	virgo_disconnect(v);
	fake_stop(node);
}

/* ---- many at once, over a bad network ------------------------------------------------------------------------------
 */

#define MANY 3000

struct many {
	struct virgo *v;
	unsigned int results[MANY], wrong;
};

struct one {
	struct many *many;
	unsigned int number;
	bool get;
	char key[16], value[32];
};

static void on_result(void *context, const struct virgo_result *result)
{
	struct one *one = context;

	one->many->results[one->number]++;
	if (result->error ||
	    (one->get && (result->length != strlen(one->value) || memcmp(result->data, one->value, result->length)))) {
		print_message("%s: error %d, %zu bytes, sent %u times\n", one->key, result->error, result->length,
			      result->sends);
		one->many->wrong++;
	}
	assert_int_equal(virgo_wait(one->many->v, 0, 0), -EDEADLK);
}

static void submit_all(struct virgo *v, struct many *many, struct one *all, bool get)
{
	memset(many, 0, sizeof(*many));
	many->v = v;
	for (unsigned int i = 0; i < MANY; i++) {
		struct one *one = &all[i];
		int error;

		one->many = many;
		one->number = i;
		one->get = get;
		(void)snprintf(one->key, sizeof(one->key), "key-%u", i);
		(void)snprintf(one->value, sizeof(one->value), "value of %u", i * 7);
		while ((error = get ? virgo_submit_get(v, one->key, strlen(one->key), on_result, one)
				    : virgo_submit_set(v, one->key, strlen(one->key), one->value, strlen(one->value),
						       on_result, one)) == -EAGAIN)
			assert_true(virgo_wait(v, 1, -1) >= 1);
		assert_int_equal(error, 0);
	}
	assert_true(virgo_wait(v, 0, -1) >= 0);
	assert_int_equal(virgo_pending(v), 0);
	assert_int_equal(many->wrong, 0);
	for (unsigned int i = 0; i < MANY; i++)
		assert_int_equal(many->results[i], 1);
}

static void many_with(const struct fake_faults *faults, const __u64 *key, const char *key_file, unsigned int flags)
{
	struct fake_node *node = fake_start(1, faults, key, true);
	struct virgo *v = client_of(node, flags, 0, key_file);
	struct one *all = calloc(MANY, sizeof(*all));
	struct many *many = malloc(sizeof(*many));

	submit_all(v, many, all, false);
	submit_all(v, many, all, true);
	/* Sets that were sent again were recognised: each was carried out once, and none of the repeats was believed
	 * twice. */
	if (!(flags & VIRGO_NO_TCP) || !faults->lose_reply_percent)
		assert_true(fake_count(node, &node->executed[VG_OP_SET]) >= MANY);
	else
		assert_int_equal(fake_count(node, &node->executed[VG_OP_SET]), MANY);
	if (faults->double_percent)
		assert_true(counters_of(v).duplicates > 0);
	if (faults->forge)
		assert_true(counters_of(v).forged > 0);
	if (faults->lose_request_percent)
		assert_true(counters_of(v).datagrams_resent > 0);
	virgo_disconnect(v);
	fake_stop(node);
	free(all);
	free(many);
}

static void test_client_pipeline(void **state)
{
	many_with(&(struct fake_faults){ 0 }, NULL, NULL, 0);
}

static void test_client_pipeline_over_tcp(void **state)
{
	many_with(&(struct fake_faults){ 0 }, NULL, NULL, VIRGO_NO_UDP);
}

static void test_client_loss_doubles_delays(void **state)
{
	many_with(
		&(struct fake_faults){
			.lose_request_percent = 5, .lose_reply_percent = 5, .double_percent = 20, .delay_percent = 20 },
		NULL, NULL, VIRGO_NO_TCP);
}

static void test_client_forged_answers(void **state)
{
	many_with(&(struct fake_faults){ .forge = true }, NULL, NULL, 0);
}

static void test_client_forged_tags(void **state)
{
	char path[] = "/tmp/virgo-test-key-XXXXXX";

	write_key_file(path, "00112233445566778899AABBCCDDEEFF\n");
	many_with(&(struct fake_faults){ .forge = true, .foreign = true }, cluster_key, path, 0);
	(void)unlink(path);
}

#define HOSTILE_BYTES 700
static const char hostile_value[HOSTILE_BYTES];
static volatile unsigned int hostile_sum; /* so that the reading is not optimised away */

static void on_anything(void *context, const struct virgo_result *result)
{
	(*(unsigned int *)context)++;
	/* What is delivered can be read, and was sent: values here are zeros, or JSON. */
	if (!result->error && result->length == HOSTILE_BYTES)
		assert_memory_equal(result->data, hostile_value, HOSTILE_BYTES);
	for (size_t i = 0; i < result->length; i++)
		hostile_sum += ((const unsigned char *)result->data)[i];
	if (result->error)
		assert_true(result->error < 0 && virgo_strerror(result->error)[0]);
}

/* A node that may say anything: every request has exactly one result, in time, and nothing is read that was not sent.
 */
static void hostile(unsigned int flags)
{
	struct fake_node *node = fake_start(1, &(struct fake_faults){ .mutate = true }, NULL, true);
	struct virgo *v = client_of(node, flags, 300, NULL);
	unsigned int results = 0, submitted = 0;

	for (int i = 0; i < 600; i++) {
		struct virgo_request request = { .operation = VIRGO_PING + (enum virgo_operation)(i % 4),
						 .key = "some key",
						 .key_length = 8,
						 .data = hostile_value,
						 .length = HOSTILE_BYTES,
						 .fn = on_anything,
						 .context = &results };
		int error;

		while ((error = virgo_submit(v, &request)) == -EAGAIN)
			(void)virgo_wait(v, 1, -1);
		assert_int_equal(error, 0);
		submitted++;
	}
	(void)virgo_wait(v, 0, -1);
	assert_int_equal(virgo_pending(v), 0);
	assert_int_equal(results, submitted);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_hostile_node_over_udp(void **state)
{
	hostile(VIRGO_NO_TCP);
}

static void test_client_hostile_node_over_tcp(void **state)
{
	hostile(VIRGO_NO_UDP);
}

static void test_client_hostile_node(void **state)
{
	hostile(0);
}

static void test_client_wrong_key_is_refused(void **state)
{
	char path[] = "/tmp/virgo-test-key-XXXXXX";
	struct fake_node *node = fake_start(1, NULL, cluster_key, true);
	struct virgo *v;
	size_t length;
	void *value;

	write_key_file(path, "ff112233445566778899aabbccddeeff");
	v = client_of(node, 0, 1000, path);
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -EACCES);
	virgo_disconnect(v);
	v = client_of(node, VIRGO_NO_TCP, 300, path);
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -EACCES);
	virgo_disconnect(v);
	v = client_of(node, 0, 1000, NULL);
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -EACCES);
	virgo_disconnect(v);
	(void)unlink(path);
	fake_stop(node);
}

static void test_client_changes_are_made_once(void **state)
{
	const struct fake_faults lossy = { .lose_reply_percent = 40 };
	struct fake_node *node = fake_start(1, NULL, NULL, true);
	struct virgo_options options = { .size = sizeof(options), .key_file = "", .resends = 20, .timeout_ms = 20000 };
	char address[32];
	struct virgo *v;
	uint64_t handle;

	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", node->port);
	options.nodes = address;
	assert_int_equal(virgo_connect(&v, &options, NULL, 0), 0);
	assert_int_equal(virgo_ping(v, 0, NULL, NULL), 0); /* UDP is known to work now */
	fake_set_faults(node, &lossy);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(virgo_malloc(v, 10, &handle), 0);
		assert_int_equal(virgo_free(v, handle), 0);
		assert_int_equal(virgo_key_set(v, "once", 4, "x", 1, 0, VIRGO_IF_ABSENT), 0);
		assert_int_equal(virgo_key_del(v, "once", 4), 0);
	}
	assert_int_equal(fake_count(node, &node->executed[VG_OP_HANDLE_ALLOC]), 20);
	assert_int_equal(fake_count(node, &node->executed[VG_OP_DEL]), 20);
	assert_true(fake_count(node, &node->repeated) > 0);
	assert_int_equal(fake_count(node, &node->frames), 0);
	virgo_disconnect(v);
	fake_stop(node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_keys),
		cmocka_unit_test(test_client_handles),
		cmocka_unit_test(test_client_large_values_take_tcp),
		cmocka_unit_test(test_client_padding_follows_values),
		cmocka_unit_test(test_client_pipeline),
		cmocka_unit_test(test_client_pipeline_over_tcp),
		cmocka_unit_test(test_client_loss_doubles_delays),
		cmocka_unit_test(test_client_forged_answers),
		cmocka_unit_test(test_client_forged_tags),
		cmocka_unit_test(test_client_hostile_node_over_udp),
		cmocka_unit_test(test_client_hostile_node_over_tcp),
		cmocka_unit_test(test_client_hostile_node),
		cmocka_unit_test(test_client_wrong_key_is_refused),
		cmocka_unit_test(test_client_changes_are_made_once),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
