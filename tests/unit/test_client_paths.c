/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which way a request of libvirgo takes: learnt routes, blocked protocols, dead nodes, options. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "client_node.h"

static void test_client_direct_return_teaches_the_route(void **state)
{
	struct fake_node *node = fake_start(7, &(struct fake_faults){ .foreign = true }, NULL, true);
	struct virgo *v = client_of(node, 0, 0, NULL);
	uint64_t resent;
	size_t length;
	void *value;

	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
	assert_int_equal(fake_count(node, &node->datagrams_foreign), 0);
	/* The answer came from the other address: the next question goes there. */
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
	/* A slow machine may make the client ask again. */
	resent = counters_of(v).datagrams_resent;
	assert_in_range(fake_count(node, &node->datagrams_foreign), 1, 1 + resent);
	assert_int_equal(virgo_nodes(v), 2);
	assert_int_equal(counters_of(v).routes_learnt, 1);
	virgo_disconnect(v);
	v = client_of(node, VIRGO_ASK_ANY, 0, NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
	assert_in_range(fake_count(node, &node->datagrams_foreign), 1, 1 + resent);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_udp_blocked(void **state)
{
	struct fake_node *node = fake_start(1, &(struct fake_faults){ .mute_udp = true }, NULL, true);
	struct virgo *v = client_of(node, 0, 0, NULL);
	size_t length;
	void *value;

	for (int i = 0; i < 50; i++)
		assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
	/* Once UDP was found not to deliver it is left alone for a while. */
	assert_int_equal(counters_of(v).fell_back, 1);
	assert_true(fake_count(node, &node->datagrams) <= 3);
	assert_int_equal(fake_count(node, &node->frames), 50);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_tcp_blocked(void **state)
{
	struct fake_node *node = fake_start(1, NULL, NULL, false);
	struct virgo *v = client_of(node, 0, 0, NULL);
	uint64_t handle;
	char *json;

	assert_int_equal(virgo_malloc(v, 10, &handle), 0);
	assert_int_equal(virgo_free(v, handle), 0);
	assert_int_equal(virgo_status(v, 0, &json), -EHOSTUNREACH);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_wrong_node(void **state)
{
	struct fake_node *owner = fake_start(3, NULL, NULL, true), *other;
	struct virgo_options options = { .size = sizeof(options), .key_file = "" };
	char addresses[64];
	struct virgo *v;
	size_t length;
	void *value;

	other = fake_start(2, &(struct fake_faults){ .wrong_node = 3 + 1 }, NULL, true);
	/* The owner's address is not known, nor to be learnt: the node that was asked does it for us over TCP. */
	v = client_of(other, 0, 0, NULL);
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
	assert_int_equal(other->executed[VG_OP_GET], 1);
	virgo_disconnect(v);
	(void)snprintf(addresses, sizeof(addresses), "127.0.0.1:%u,127.0.0.1:%u", other->port, owner->port);
	options.nodes = addresses;
	assert_int_equal(virgo_connect(&v, &options, NULL, 0), 0);
	assert_int_equal(virgo_ping(v, 1, NULL, NULL), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
	assert_in_range(owner->executed[VG_OP_GET], 4, 4 + counters_of(v).datagrams_resent);
	assert_true(counters_of(v).redirected <= 1 + counters_of(v).datagrams_resent);
	assert_int_equal(other->executed[VG_OP_GET], 1);
	virgo_disconnect(v);
	fake_stop(owner);
	fake_stop(other);
}

static void test_client_asks_for_the_table(void **state)
{
	struct fake_node *owner = fake_start(3, NULL, NULL, true), *other;
	unsigned int asked;
	struct virgo *v;
	size_t length;
	void *value;

	other = fake_start(2, &(struct fake_faults){ .wrong_node = 3 + 1 }, NULL, true);
	(void)snprintf(
		other->topology, sizeof(other->topology),
		"{\"epoch\": 4, \"self\": 2, \"nodes\": [{\"node\": 3, \"address\": \"127.0.0.1\", \"port\": %u}],"
		"\"partitions\": [[0, 16383, 3]]}",
		owner->port);
	v = client_of(other, 0, 0, NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
	assert_int_equal(other->executed[VG_OP_TOPOLOGY], 1);
	assert_int_equal(counters_of(v).requests, 3);
	/* From here on everything goes to the owner, other partitions as well. */
	asked = other->datagrams + other->frames;
	assert_int_equal(virgo_key_get(v, "another", 7, &value, &length), -ENOENT);
	assert_in_range(other->datagrams + other->frames, asked, asked + counters_of(v).datagrams_resent);
	virgo_disconnect(v);
	fake_stop(owner);
	fake_stop(other);
}

static void test_client_table_that_is_none(void **state)
{
	static const char *const tables[] = {
		"",
		"[]",
		"{\"nodes\":[{\"node\":3,\"address\":\"127.0.0.1\",\"port\":",
		"{\"nodes\":[{\"node\":99999999999999999999,\"address\":\"127.0.0.1\",\"port\":5}]}",
		"{\"nodes\":[{\"node\":3,\"address\":\"0.0.0.0\",\"port\":5}]}",
		"{\"nodes\":[{\"node\":3,\"address\":\"not an address\",\"port\":5}]}",
		"{\"partitions\":[[0,16384,3]]}",
		"{\"partitions\":[[5,4,3],[0,16383,65535]]}",
		"{\"nodes\":{\"node\":[[[[[[[[[[",
	};

	for (unsigned int i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		struct fake_node *node = fake_start(2, &(struct fake_faults){ .wrong_node = 3 + 1 }, NULL, true);
		struct virgo *v = client_of(node, 0, 0, NULL);
		size_t length;
		void *value;

		(void)snprintf(node->topology, sizeof(node->topology), "%s", tables[i]);
		for (int n = 0; n < 2; n++)
			assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -ENOENT);
		assert_int_equal(virgo_nodes(v), 1);
		virgo_disconnect(v);
		fake_stop(node);
	}
}

static void test_client_busy_is_tried_again(void **state)
{
	struct fake_node *node = fake_start(1, &(struct fake_faults){ .busy = 5 }, NULL, true);
	struct virgo *v = client_of(node, 0, 0, NULL);

	assert_int_equal(virgo_key_set(v, "k", 1, "v", 1, 0, 0), 0);
	assert_int_equal(fake_count(node, &node->executed[VG_OP_SET]), 1);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_second_node_when_the_first_is_dead(void **state)
{
	struct fake_node *node = fake_start(1, NULL, NULL, true);
	struct virgo_options options = { .size = sizeof(options), .key_file = "" };
	char addresses[64];
	struct virgo *v;
	char *json;

	(void)snprintf(addresses, sizeof(addresses), "127.0.0.1:1, 127.0.0.1:%u", node->port);
	options.nodes = addresses;
	assert_int_equal(virgo_connect(&v, &options, NULL, 0), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(virgo_key_set(v, "k", 1, "v", 1, 0, 0), 0);
	assert_int_equal(virgo_status(v, VIRGO_NODE_ANY, &json), 0);
	assert_string_equal(json, "{\"self\":1}");
	free(json);
	assert_int_equal(virgo_status(v, 0, &json), -EHOSTUNREACH);
	assert_int_equal(virgo_status(v, 9, &json), -EINVAL);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_connection_breaks(void **state)
{
	struct fake_node *node = fake_start(1, &(struct fake_faults){ .break_streams = true }, NULL, true);
	struct virgo *v = client_of(node, VIRGO_NO_UDP, 2000, NULL);
	const char *const ping[] = { "PING" };
	size_t length;
	void *value;
	char *reply;

	/* What may be repeated is, once a node; what may not says that nobody knows. */
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -EHOSTUNREACH);
	assert_int_equal(virgo_command(v, 1, ping, NULL, &reply, &length), -ECONNRESET);
	fake_set_faults(node, &(struct fake_faults){ .garbage_streams = true });
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -EPROTO);
	fake_set_faults(node, &(struct fake_faults){ 0 });
	assert_int_equal(virgo_command(v, 1, ping, NULL, &reply, &length), 0);
	assert_string_equal(reply, "+PONG\r\n");
	free(reply);
	virgo_disconnect(v);
	fake_stop(node);
}

static void test_client_nobody_there(void **state)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = "127.0.0.1:1", .key_file = "" };
	struct virgo *v;
	size_t length;
	void *value;

	assert_int_equal(virgo_connect(&v, &options, NULL, 0), 0);
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -EHOSTUNREACH);
	assert_non_null(strstr(virgo_error_text(v), "127.0.0.1:1"));
	assert_int_equal(virgo_key_del(v, "k", 1), -EHOSTUNREACH);
	virgo_disconnect(v);
	options.flags = VIRGO_NO_TCP;
	options.timeout_ms = 300;
	assert_int_equal(virgo_connect(&v, &options, NULL, 0), 0);
	assert_int_equal(virgo_key_get(v, "k", 1, &value, &length), -EHOSTUNREACH);
	virgo_disconnect(v);
}

static void on_nothing(void *context, const struct virgo_result *result)
{
	(*(int *)context)++;
}

static void test_client_window(void **state)
{
	struct fake_node *node = fake_start(1, &(struct fake_faults){ .mute_udp = true }, NULL, false);
	struct virgo_options options = { .size = sizeof(options), .key_file = "", .window = 5, .timeout_ms = 200 };
	struct virgo_request none = { .operation = VIRGO_GET, .key = "k", .key_length = 1 };
	char address[32];
	int results = 0;
	struct virgo *v;

	(void)snprintf(address, sizeof(address), "127.0.0.1:%u", node->port);
	options.nodes = address;
	assert_int_equal(virgo_connect(&v, &options, NULL, 0), 0);
	assert_int_equal(virgo_submit(v, &none), -EINVAL);
	for (int i = 0; i < 5; i++)
		assert_int_equal(virgo_submit_get(v, "k", 1, on_nothing, &results), 0);
	assert_int_equal(virgo_submit_get(v, "k", 1, on_nothing, &results), -EAGAIN);
	assert_int_equal(virgo_pending(v), 5);
	assert_int_equal(virgo_poll(v), 0);
	assert_int_equal(virgo_wait(v, 0, 1), 0);
	assert_int_equal(virgo_wait(v, 0, -1), 5);
	assert_int_equal(results, 5);
	/* What is in flight at the end is forgotten. */
	assert_int_equal(virgo_submit_get(v, "k", 1, on_nothing, &results), 0);
	virgo_disconnect(v);
	assert_int_equal(results, 5);
	fake_stop(node);
}

static void test_client_options(void **state)
{
	static const char *const bad_nodes[] = {
		"",	" , ",	  ":30000",	 "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:0",
		"[::1", "[::1]x", "no such host"
	};
	static const char *const bad_keys[] = { "", "0011", "00112233445566778899aabbccddeeff0",
						"zz112233445566778899aabbccddeeff",
						"00112233445566778899aabbccddee f" };
	struct virgo_options options = { .size = sizeof(options), .key_file = "" };
	char why[200];
	struct virgo *v = NULL;

	for (unsigned int i = 0; i < sizeof(bad_nodes) / sizeof(bad_nodes[0]); i++) {
		options.nodes = bad_nodes[i];
		why[0] = '\0';
		assert_true(virgo_connect(&v, &options, why, sizeof(why)) < 0);
		assert_true(why[0] && !v);
	}
	options.nodes = "10.0.0.1,[::1]:5, localhost:7,::1\n";
	options.port = 99;
	assert_int_equal(virgo_connect(&v, &options, NULL, 0), 0);
	assert_int_equal(virgo_nodes(v), 4);
	assert_string_equal(virgo_node_address(v, 0), "10.0.0.1:99");
	assert_string_equal(virgo_node_address(v, 1), "[::1]:5");
	assert_string_equal(virgo_node_address(v, 3), "[::1]:99");
	assert_null(virgo_node_address(v, 4));
	virgo_disconnect(v);
	for (unsigned int i = 0; i < sizeof(bad_keys) / sizeof(bad_keys[0]); i++) {
		char path[] = "/tmp/virgo-test-key-XXXXXX";

		write_key_file(path, bad_keys[i]);
		options.key_file = path;
		assert_int_equal(virgo_connect(&v, &options, why, sizeof(why)), -EINVAL);
		(void)unlink(path);
	}
	options.key_file = "/nonexistent/key";
	assert_int_equal(virgo_connect(&v, &options, why, sizeof(why)), -ENOENT);
	options.size = 1;
	assert_int_equal(virgo_connect(&v, &options, why, sizeof(why)), -EINVAL);
	virgo_disconnect(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_direct_return_teaches_the_route),
		cmocka_unit_test(test_client_udp_blocked),
		cmocka_unit_test(test_client_tcp_blocked),
		cmocka_unit_test(test_client_wrong_node),
		cmocka_unit_test(test_client_asks_for_the_table),
		cmocka_unit_test(test_client_table_that_is_none),
		cmocka_unit_test(test_client_busy_is_tried_again),
		cmocka_unit_test(test_client_second_node_when_the_first_is_dead),
		cmocka_unit_test(test_client_connection_breaks),
		cmocka_unit_test(test_client_nobody_there),
		cmocka_unit_test(test_client_window),
		cmocka_unit_test(test_client_options),
	};

	return cmocka_run_group_tests_name("client paths", tests, NULL, NULL);
}
