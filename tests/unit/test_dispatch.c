// SPDX-License-Identifier: GPL-3.0-or-later
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "proto/dispatch.h"

static enum vg_protocol first(const char *text)
{
	return vg_dispatch((const __u8 *)text, strlen(text), false);
}

static void test_dispatch_by_first_line(void **state)
{
	static const struct {
		const char *text;
		enum vg_protocol protocol;
	} cases[] = {
		{ "VG\1\1", VG_PROTOCOL_BINARY },
		{ "*1\r\n$4\r\nPING\r\n", VG_PROTOCOL_RESP },
		{ "*", VG_PROTOCOL_RESP },
		{ "PING\r\n", VG_PROTOCOL_RESP },
		{ "GET k\r\n", VG_PROTOCOL_RESP },
		{ "get k\r\n", VG_PROTOCOL_MEMCACHE },
		{ "get k\n", VG_PROTOCOL_RESP },
		{ "Get k\r\n", VG_PROTOCOL_RESP },
		{ "get\r\n", VG_PROTOCOL_RESP },
		{ "get k1 k2 k3\r\n", VG_PROTOCOL_MEMCACHE },
		{ "incr k\r\n", VG_PROTOCOL_RESP },
		{ "incr k 5\r\n", VG_PROTOCOL_MEMCACHE },
		{ "decr k 5 noreply\r\n", VG_PROTOCOL_MEMCACHE },
		{ "touch k1 k2\r\n", VG_PROTOCOL_RESP },
		{ "touch k1 100\n", VG_PROTOCOL_MEMCACHE },
		{ "delete k\r\n", VG_PROTOCOL_MEMCACHE },
		{ "del k\r\n", VG_PROTOCOL_RESP },
		{ "append k v\r\n", VG_PROTOCOL_RESP },
		{ "append k 0 0 1\r\n", VG_PROTOCOL_MEMCACHE },
		{ "set k 0 -1 5 noreply\r\n", VG_PROTOCOL_MEMCACHE },
		{ "cas k 0 0 5 7\r\n", VG_PROTOCOL_MEMCACHE },
		{ "stats\n", VG_PROTOCOL_MEMCACHE },
		{ "stats settings\r\n", VG_PROTOCOL_MEMCACHE },
		{ "flush_all\r\n", VG_PROTOCOL_MEMCACHE },
		{ "mget k\r\n", VG_PROTOCOL_RESP },
		{ "metrics\r\n", VG_PROTOCOL_RESP },
		{ "quit\r\n", VG_PROTOCOL_RESP },
		{ "set k v\r\n", VG_PROTOCOL_RESP },
		{ "set k v ex 10\r\n", VG_PROTOCOL_RESP },
		{ "VIRGO.ALLOC 1\r\n", VG_PROTOCOL_RESP },
		{ "\r\n", VG_PROTOCOL_RESP },
		{ "GET /metrics\r\n", VG_PROTOCOL_RESP },
		{ "GET /metrics HTTP/1.1\r\n", VG_PROTOCOL_HTTP },
		{ "POST / HTTP/1.0\r\nContent-Length: 3\r\n", VG_PROTOCOL_HTTP },
		{ "virgo_cloud_malloc(100)\r\n", VG_PROTOCOL_TEXT },
		{ "eventnet_x(1)", VG_PROTOCOL_TEXT },
		{ "REQUEST#1", VG_PROTOCOL_TEXT },
		{ "REPLY#1", VG_PROTOCOL_TEXT },
		{ "set k 0 0 5\r\nhello\r\n", VG_PROTOCOL_MEMCACHE },
		{ "gets k\r\n", VG_PROTOCOL_MEMCACHE },
		{ "version\r\n", VG_PROTOCOL_MEMCACHE },
		{ "mg k v\r\n", VG_PROTOCOL_MEMCACHE },
		{ "", VG_PROTOCOL_UNKNOWN },
		{ "V", VG_PROTOCOL_UNKNOWN },
		{ "virgo", VG_PROTOCOL_UNKNOWN },
		{ "GET /metr", VG_PROTOCOL_UNKNOWN },
		{ "RE", VG_PROTOCOL_UNKNOWN },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(first(cases[i].text), cases[i].protocol);
}

/* The decision never changes once it is made, however the first line arrives, and nothing waits for ever. */
static void test_dispatch_in_pieces(void **state)
{
	static const char *const lines[] = { "GET /a HTTP/1.1\r\n", "virgo_cloud_get(1)\r\n", "SET k v\r\n", "set k 0 0 1\r\n",
					     "*1\r\n", "VG\1\1", "replace k 0 0 1\r\n", "VGX", "get k1 k2\r\n", "incr k 5\r\n",
					     "stats\r\n", "mn\r\n", "mset a b\r\n", "touch k 1\n" };
	char endless[VG_DISPATCH_BYTES];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		enum vg_protocol whole = first(lines[i]);

		assert_int_not_equal(whole, VG_PROTOCOL_UNKNOWN);
		for (size_t length = 1; length < strlen(lines[i]); length++) {
			enum vg_protocol part = vg_dispatch((const __u8 *)lines[i], length, false);

			assert_true(part == VG_PROTOCOL_UNKNOWN || part == whole);
			assert_int_not_equal(vg_dispatch((const __u8 *)lines[i], length, true), VG_PROTOCOL_UNKNOWN);
		}
	}
	memset(endless, ' ', sizeof(endless));
	memcpy(endless, "GET ", 4);
	assert_int_equal(vg_dispatch((const __u8 *)endless, sizeof(endless), false), VG_PROTOCOL_RESP);
	memcpy(endless, "get ", 4);
	assert_int_equal(vg_dispatch((const __u8 *)endless, sizeof(endless), false), VG_PROTOCOL_MEMCACHE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dispatch_by_first_line),
		cmocka_unit_test(test_dispatch_in_pieces),
	};

	return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
