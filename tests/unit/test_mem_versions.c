// SPDX-License-Identifier: GPL-3.0-or-later
/* Compare-and-set and multi-GET, over a stream, in datagrams, and over nodes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "fake_wire.h"

static struct message *with_flags(struct message *made, __u16 flags, __u64 argument)
{
	made->header.flags |= VG_HTOBE16(flags);
	made->header.argument = VG_HTOBE64(argument);
	return made;
}

static __u64 version_of(struct fake_session *session, const char *key)
{
	struct answer *got = ask(session, with_flags(message(VG_OP_GET, key, NULL, 0), VG_FLAG_VERSION, 0));

	assert_int_equal(got->status, VG_STATUS_OK);
	return got->argument;
}

static struct answer *cas(struct fake_session *session, const char *key, const char *value, __u64 version)
{
	return ask(session, with_flags(message(VG_OP_CAS, key, value, strlen(value)), 0, version));
}

static void compare_and_set(struct fake_session *session, const char *key)
{
	struct answer *got;
	__u64 version, next;

	assert_int_equal(cas(session, key, "x", 5)->status, VG_STATUS_NOT_FOUND);
	got = cas(session, key, "one", 0);
	assert_int_equal(got->status, VG_STATUS_OK);
	version = got->ident;
	assert_int_not_equal(version, 0);
	assert_int_equal(version_of(session, key), version);
	assert_int_equal(cas(session, key, "x", 0)->status, VG_STATUS_CONDITION);
	assert_int_equal(cas(session, key, "x", version + 1)->status, VG_STATUS_CONDITION);
	got = cas(session, key, "two", version);
	assert_int_equal(got->status, VG_STATUS_OK);
	next = got->ident;
	assert_int_not_equal(next, version);
	assert_int_equal(cas(session, key, "x", version)->status, VG_STATUS_CONDITION);
	/* Any change ends a version. */
	assert_int_equal(ask(session, message(VG_OP_SET, key, "three", 5))->status, VG_STATUS_OK);
	assert_int_equal(cas(session, key, "x", next)->status, VG_STATUS_CONDITION);
	next = version_of(session, key);
	assert_int_equal(version_of(session, key), next);
	assert_int_equal(cas(session, key, "four", next)->status, VG_STATUS_OK);
	got = ask(session, message(VG_OP_GET, key, NULL, 0));
	assert_int_equal(got->argument, 0); /* nobody asked */
	assert_int_equal(got->length, 4);
	assert_memory_equal(got->body, "four", 4);
}

static void test_cas(void **state)
{
	compare_and_set(fake_session_open(*state, VG_PROTOCOL_BINARY), "key");
}

static void test_cas_elsewhere(void **state)
{
	compare_and_set(fake_session_open(*state, VG_PROTOCOL_BINARY), key_of(1, 2));
}

static void test_cas_deadlines(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	struct fake_node *node = *state;
	__u64 deadline = node->clock.unix_ns / 1000000 + 1000;
	struct answer *got;

	ask(session, with_flags(message(VG_OP_SET, "keeps", "x", 1), 0, deadline));
	ask(session, with_flags(message(VG_OP_SET, "loses", "x", 1), 0, deadline));
	got = ask(session, with_flags(message(VG_OP_CAS, "keeps", "y", 1), VG_FLAG_KEEP_TTL, version_of(session, "keeps")));
	assert_int_equal(got->status, VG_STATUS_OK);
	assert_int_equal(cas(session, "loses", "y", version_of(session, "loses"))->status, VG_STATUS_OK);
	node->clock.unix_ns += 2000000000;
	assert_int_equal(ask(session, message(VG_OP_GET, "keeps", NULL, 0))->status, VG_STATUS_NOT_FOUND);
	assert_int_equal(ask(session, message(VG_OP_GET, "loses", NULL, 0))->status, VG_STATUS_OK);
	assert_int_equal(ask(session, with_flags(message(VG_OP_CAS, "loses", "z", 1), VG_FLAG_IF_ABSENT, 1))->status,
			 VG_STATUS_BAD_REQUEST);
}

/* Sent again, it is answered again and not done again. */
static void test_cas_once(void **state)
{
	struct fake_node *node = *state;
	struct answer *got = ask_datagram(node, with_flags(message(VG_OP_CAS, "key", "one", 3), 0, 0), 200, false);
	__u64 version = got->ident;

	assert_int_equal(got->status, VG_STATUS_OK);
	got = ask_datagram(node, with_flags(message(VG_OP_CAS, "key", "one", 3), 0, 0), 200, false);
	assert_int_equal(got->status, VG_STATUS_OK);
	assert_int_equal(got->ident, version);
	assert_int_equal(node->stats.refused[VG_REFUSAL_DUPLICATE], 1);
}

/* ---- several keys ---------------------------------------------------------------------------------------------- */

struct keys {
	__u8 body[4096];
	size_t length;
	__u64 count;
};

static void add_key(struct keys *keys, const char *key)
{
	size_t length = strlen(key);
	const struct vg_mget_key head = { .ident = VG_HTOBE64(vg_hash64(key, length)),
					  .partition = VG_HTOBE16(vg_partition_of(key, length)),
					  .key_length = VG_HTOBE16((__u16)length) };

	memset(keys->body + keys->length, 0, sizeof(head) + VG_ALIGN_UP(length, 8));
	memcpy(keys->body + keys->length, &head, sizeof(head));
	memcpy(keys->body + keys->length + sizeof(head), key, length);
	keys->length += sizeof(head) + VG_ALIGN_UP(length, 8);
	keys->count++;
}

static struct message *mget(const struct keys *keys)
{
	return with_flags(message(VG_OP_MGET, NULL, keys->body, keys->length), 0, keys->count);
}

/* Take the next value off the answer. */
static void expect_entry(const struct answer *got, size_t *at, __u8 status, const char *value)
{
	struct vg_mget_value head;
	size_t length = value ? strlen(value) : 0;

	assert_true(*at + sizeof(head) <= got->length);
	memcpy(&head, got->body + *at, sizeof(head));
	assert_int_equal(head.status, status);
	assert_int_equal(VG_BE32TOH(head.length), length);
	if (value)
		assert_memory_equal(got->body + *at + sizeof(head), value, length);
	*at += sizeof(head) + VG_ALIGN_UP(length, 8);
}

static void test_mget(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	struct keys keys = { .length = 0 };
	struct answer *got;
	size_t at = 0;

	ask(session, message(VG_OP_SET, "a", "first", 5));
	ask(session, message(VG_OP_SET, "b", "", 0));
	ask(session, message(VG_OP_SET, "c", "the third one", 13));
	add_key(&keys, "a");
	add_key(&keys, "none");
	add_key(&keys, "b");
	add_key(&keys, "c");
	add_key(&keys, "a");
	got = ask(session, mget(&keys));
	assert_int_equal(got->status, VG_STATUS_OK);
	expect_entry(got, &at, VG_STATUS_OK, "first");
	expect_entry(got, &at, VG_STATUS_NOT_FOUND, NULL);
	expect_entry(got, &at, VG_STATUS_OK, "");
	expect_entry(got, &at, VG_STATUS_OK, "the third one");
	expect_entry(got, &at, VG_STATUS_OK, "first");
	assert_int_equal(at, got->length);
}

/* No answer is longer than an unproven datagram; what fits is there. */
static void test_mget_datagram(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	char value[201];
	struct keys keys = { .length = 0 };
	struct answer *got;
	size_t at = 0;

	memset(value, 'v', 200);
	value[200] = '\0';
	ask(session, message(VG_OP_SET, "a", value, 200));
	ask(session, message(VG_OP_SET, "b", "short", 5));
	for (int i = 0; i < 4; i++)
		add_key(&keys, i % 2 ? "b" : "a");
	got = ask_datagram(*state, mget(&keys), 340, false);
	assert_int_equal(got->status, VG_STATUS_OK);
	expect_entry(got, &at, VG_STATUS_OK, value);
	expect_entry(got, &at, VG_STATUS_OK, "short");
	expect_entry(got, &at, VG_STATUS_TOO_BIG, NULL);
	expect_entry(got, &at, VG_STATUS_OK, "short");
	assert_int_equal(at, got->length);
}

static void test_mget_elsewhere(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	struct keys keys = { .length = 0 };
	struct answer *got;
	char own[32];
	size_t at = 0;

	snprintf(own, sizeof(own), "%s", key_of(0, 2));
	ask(session, message(VG_OP_SET, own, "here", 4));
	add_key(&keys, key_of(1, 2));
	add_key(&keys, own);
	got = ask(session, mget(&keys));
	expect_entry(got, &at, VG_STATUS_WRONG_NODE, NULL);
	expect_entry(got, &at, VG_STATUS_OK, "here");
}

static void expect_refused(struct fake_session *session, struct keys *keys)
{
	struct answer *got = ask(session, mget(keys));

	assert_int_equal(got->status, VG_STATUS_BAD_REQUEST);
}

static void test_mget_hostile(void **state)
{
	struct fake_session *session = fake_session_open(*state, VG_PROTOCOL_BINARY);
	struct keys good = { .length = 0 }, bad;
	size_t at = 0;

	add_key(&good, "a-key-of-more-than-8");
	add_key(&good, "b");
	for (bad = good, bad.length = 0; bad.length < good.length; bad.length++)
		expect_refused(session, &bad);
	bad = good, bad.count = 1;
	expect_refused(session, &bad);
	bad = good, bad.count = 3;
	expect_refused(session, &bad);
	bad = good, bad.count = 0;
	expect_refused(session, &bad);
	bad = good, bad.count = VG_MGET_KEYS_MAX + 1;
	expect_refused(session, &bad);
	bad = good, bad.count = ~0ULL;
	expect_refused(session, &bad);
	bad = good, bad.body[12] = 1; /* reserved */
	expect_refused(session, &bad);
	bad = good, bad.body[16 + 20] = 1; /* padding of the key */
	expect_refused(session, &bad);
	bad = good, bad.body[10] = 0xff; /* length of the key */
	expect_refused(session, &bad);
	/* A hash that is not the key's: that key alone is refused. */
	bad = good, bad.body[0] ^= 1;
	expect_entry(ask(session, mget(&bad)), &at, VG_STATUS_BAD_REQUEST, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_cas, one),	       WITH(test_cas_elsewhere, two),
		WITH(test_cas_deadlines, one), WITH(test_cas_once, one),
		WITH(test_mget, one),	       WITH(test_mget_datagram, one),
		WITH(test_mget_elsewhere, two), WITH(test_mget_hostile, one),
	};

	return cmocka_run_group_tests_name("mem_versions", tests, NULL, NULL);
}
