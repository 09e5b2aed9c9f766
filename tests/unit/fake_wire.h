/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests and answers of VIRGO binary for the tests of the memory service. Included after fake_node.h. */
#ifndef TESTS_FAKE_WIRE_H
#define TESTS_FAKE_WIRE_H

#include "fake_node.h"

struct message {
	struct vg_wire_header header;
	__u8 bytes[400000]; /* behind the header */
	size_t length;	    /* of all */
};

/* A request with a key (its hash and partition filled in) and a body; either may be NULL. */
FAKE struct message *message(__u8 opcode, const char *key, const void *body, size_t body_length)
{
	static struct message made;
	size_t key_length = key ? strlen(key) : 0;

	made.header = (struct vg_wire_header){
		.magic = VG_HTOBE16(VG_WIRE_MAGIC),
		.version = VG_WIRE_VERSION,
		.opcode = opcode,
		.client = VG_HTOBE64(0x1122334455667788),
		.sequence = VG_HTOBE64(42),
		.source_node = VG_HTOBE16(VG_NODE_NONE),
		.key_length = VG_HTOBE32((__u32)key_length),
		.body_length = VG_HTOBE32((__u32)body_length),
	};
	memset(made.bytes, 0, VG_ALIGN_UP(key_length, 8u));
	if (key) {
		made.header.ident = VG_HTOBE64(vg_hash64(key, key_length));
		made.header.partition = VG_HTOBE16(vg_partition_of(key, key_length));
		memcpy(made.bytes, key, key_length);
	}
	if (body)
		memcpy(made.bytes + VG_ALIGN_UP(key_length, 8u), body, body_length);
	made.length = vg_wire_length(&made.header);
	return &made;
}

FAKE struct message *handle_message(__u8 opcode, __u64 handle, __u64 argument, const void *body, size_t body_length)
{
	struct message *made = message(opcode, NULL, body, body_length);

	made->header.ident = VG_HTOBE64(handle);
	made->header.argument = VG_HTOBE64(argument);
	return made;
}

FAKE void message_tag(struct message *made, const __u64 *key)
{
	made->header.flags |= VG_HTOBE16(VG_FLAG_TAGGED);
	made->header.tag = vg_wire_tag_of(key, &made->header, made->bytes);
}

struct answer {
	struct vg_wire_header header;
	__u8 status;
	__u64 ident, argument;
	__u32 length; /* of the body */
	__u8 body[400000];
};

/* The next answer of the session; asserts that there is a whole one. */
FAKE struct answer *next_answer(struct fake_session *session)
{
	static struct answer got;

	assert_true(session->out.bytes >= sizeof(got.header));
	assert_int_equal(fake_take(session, &got.header, sizeof(got.header)), sizeof(got.header));
	assert_int_equal(vg_wire_check(&got.header), got.header.opcode < VG_OP_MAX ? VG_WIRE_OK : VG_WIRE_BAD_OPCODE);
	assert_true(got.header.flags & VG_HTOBE16(VG_FLAG_REPLY));
	assert_int_equal(got.header.key_length, 0);
	got.status = got.header.status;
	got.ident = VG_BE64TOH(got.header.ident);
	got.argument = VG_BE64TOH(got.header.argument);
	got.length = VG_BE32TOH(got.header.body_length);
	assert_true(got.length <= sizeof(got.body));
	assert_int_equal(fake_take(session, got.body, got.length), got.length);
	return &got;
}

/* Ask and hear, with all that is asked of other nodes on the way. */
FAKE struct answer *ask(struct fake_session *session, const struct message *request)
{
	struct answer *got;

	assert_int_equal(session->out.bytes, 0);
	assert_int_equal(fake_feed(session, &request->header, sizeof(request->header)), 0);
	assert_int_equal(fake_feed(session, request->bytes, request->length - sizeof(request->header)), 0);
	fake_run();
	got = next_answer(session);
	assert_int_equal(session->out.bytes, 0);
	assert_int_equal(got->header.opcode, request->header.opcode);
	assert_int_equal(got->header.client, request->header.client);
	assert_int_equal(got->header.sequence, request->header.sequence);
	return got;
}

/* One datagram of `length` bytes (padded with zeros behind the message); NULL when it was not answered. */
FAKE struct answer *ask_datagram(struct fake_node *node, const struct message *request, size_t length, bool proven)
{
	static struct answer got;
	__u8 *exact = malloc(length);
	struct vg_datagram datagram = {
		.header = (const struct vg_wire_header *)exact,
		.key = exact + sizeof(struct vg_wire_header),
		.body = exact + sizeof(struct vg_wire_header) + vg_wire_key_padded(&request->header),
		.length = length,
		.proven = proven,
	};

	assert_true(length >= request->length);
	memset(exact, 0, length);
	memcpy(exact, &request->header, sizeof(request->header));
	memcpy(exact + sizeof(request->header), request->bytes, request->length - sizeof(request->header));
	fake.datagrams = 0;
	vg_service_mem.datagram(&node->env, &datagram);
	free(exact);
	assert_true(fake.datagrams <= 1);
	if (!fake.datagrams)
		return NULL;
	assert_true(proven ? fake.datagram_length <= VG_DATAGRAM_MAX : fake.datagram_length <= length);
	memcpy(&got.header, fake.datagram, sizeof(got.header));
	assert_int_equal(vg_wire_check(&got.header), VG_WIRE_OK);
	assert_int_equal(vg_wire_length(&got.header), fake.datagram_length);
	got.status = got.header.status;
	got.ident = VG_BE64TOH(got.header.ident);
	got.argument = VG_BE64TOH(got.header.argument);
	got.length = VG_BE32TOH(got.header.body_length);
	memcpy(got.body, fake.datagram + sizeof(got.header), got.length);
	return &got;
}

/* Some key that belongs to the node in a cluster of `nodes`. */
FAKE const char *key_of(__u16 node, __u16 nodes)
{
	static char key[32];

	for (int i = 0;; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		if (vg_partition_of(key, strlen(key)) % nodes == node)
			return key;
	}
}

/* ---- setups ---------------------------------------------------------------------------------------------------- */

FAKE const __u64 cluster_key[2] = { 0x0123456789abcdef, 0xfedcba9876543210 };
FAKE long memory_before;

FAKE int start(void **state, __u16 nodes, const __u64 *key)
{
	for (__u16 n = 0; n < nodes; n++)
		fake_start(n, nodes, key);
	memory_before = fake.memory_out;
	*state = &fake.node[0];
	return 0;
}

FAKE int start_one(void **state)
{
	return start(state, 1, NULL);
}

FAKE int start_two(void **state)
{
	return start(state, 2, NULL);
}

FAKE int start_three(void **state)
{
	return start(state, 3, NULL);
}

FAKE int start_two_keyed(void **state)
{
	return start(state, 2, cluster_key);
}

FAKE int stop(void **state)
{
	long left;

	for (int n = 0; n < FAKE_NODES; n++)
		for (int i = 0; i < FAKE_SESSIONS; i++)
			if (fake.node[n].env.store)
				fake_session_close(&fake.node[n].session[i]);
	left = fake.memory_out - memory_before;
	for (int n = 0; n < FAKE_NODES; n++)
		if (fake.node[n].env.store)
			fake_stop(&fake.node[n]);
	memset(&fake, 0, sizeof(fake));
	return left ? -1 : 0; /* memory of a request outlived it */
}

#define WITH(test, nodes) cmocka_unit_test_setup_teardown(test, start_##nodes, stop)

#endif
