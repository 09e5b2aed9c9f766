/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Several keys in one datagram, answered by XDP or passed up as they came. Included by test_xdp.c. */

struct many {
	struct packet packet;
	__u32 length; /* of the body */
	__u64 count;
};

static void many_begin(struct many *many, int version, __u32 body_bytes, __u32 room)
{
	const struct request request = { .version = version, .opcode = VG_OP_MGET, .body_length = body_bytes, .room = room };

	memset(many, 0, sizeof(*many));
	packet_build(&many->packet, &request);
}

static __u8 *many_body(struct many *many)
{
	return many->packet.bytes + many->packet.header + sizeof(struct vg_wire_header);
}

static void many_add(struct many *many, const char *key)
{
	__u32 length = (__u32)strlen(key);
	const struct vg_mget_key head = { .ident = VG_HTOBE64(vg_hash64(key, length)),
					  .partition = VG_HTOBE16(vg_partition_of(key, length)),
					  .key_length = VG_HTOBE16((__u16)length) };

	memcpy(many_body(many) + many->length, &head, sizeof(head));
	memcpy(many_body(many) + many->length + sizeof(head), key, length);
	many->length += (__u32)sizeof(head) + VG_ALIGN_UP(length, 8u);
	packet_header(&many->packet)->argument = VG_HTOBE64(++many->count);
}

static void many_expect(struct many *many, int verdict, enum vg_reason reason)
{
	packet_repair(&many->packet);
	expect(&many->packet, verdict, reason);
}

static __u32 many_value(struct many *many, __u32 at, __u8 status, const char *value)
{
	__u32 length = value ? (__u32)strlen(value) : 0;
	struct vg_mget_value head;

	memcpy(&head, many_body(many) + at, sizeof(head));
	assert_int_equal(head.status, status);
	assert_int_equal(VG_BE32TOH(head.length), length);
	if (value)
		assert_memory_equal(many_body(many) + at + sizeof(head), value, length);
	for (__u32 i = length; i % 8; i++)
		assert_int_equal(many_body(many)[at + sizeof(head) + i], 0);
	return at + (__u32)sizeof(head) + VG_ALIGN_UP(length, 8u);
}

static const char long_name[] = "a key whose length is not a multiple of eight bytes, and that is hashed in lanes";

static void many_five(struct many *many, int version, __u32 room)
{
	many_begin(many, version, 16 + 8 + 16 + VG_ALIGN_UP((__u32)strlen(long_name), 8u) + 16 + 8 + 16 + 16 + 16 + 8, room);
	many_add(many, "many-a");
	many_add(many, long_name);
	many_add(many, "many-b");
	many_add(many, "many-is-absent");
	many_add(many, "many-a");
}

static void test_xdp_many(void **state)
{
	struct many many;
	__u32 at;

	store_set(fixture.store, "many-a", "first", 5, 0);
	store_set(fixture.store, "many-b", "", 0, 0);
	store_set(fixture.store, long_name, "sixteen bytes...and some more", 29, 0);
	for (int version = 4; version <= 6; version += 2) {
		many_five(&many, version, 600);
		many_expect(&many, XDP_TX, VG_REASON_MULTI_GET);
		at = many_value(&many, 0, VG_STATUS_OK, "first");
		at = many_value(&many, at, VG_STATUS_OK, "sixteen bytes...and some more");
		at = many_value(&many, at, VG_STATUS_OK, "");
		at = many_value(&many, at, VG_STATUS_NOT_FOUND, NULL);
		at = many_value(&many, at, VG_STATUS_OK, "first");
		assert_int_equal(VG_BE32TOH(packet_header(&many.packet)->body_length), at);
		assert_int_equal(packet_header(&many.packet)->status, VG_STATUS_OK);
	}
}

/* Whatever is not wholly XDP's to answer goes up, and not a byte of it is changed. */
static void test_xdp_many_refusals(void **state)
{
	static char heap[VG_CELL_MAX + 100], value[1000];
	struct many many;

	memset(value, 'v', sizeof(value));
	store_set(fixture.store, "many-large", value, sizeof(value), 0);
	store_set(fixture.store, "many-heap", heap, sizeof(heap), 0);
	store_set(fixture.store, "many-near", "x", 1, NOW_MS + 1);
	store_set(fixture.store, "many-a", "first", 5, 0);
	many_begin(&many, 4, 2 * 32, 700);
	many_add(&many, "many-a");
	many_add(&many, "many-large");
	many_expect(&many, XDP_PASS, VG_REASON_NO_ROOM);
	many_begin(&many, 4, 24 + 32, 700);
	many_add(&many, "many-a");
	many_add(&many, "many-heap");
	many_expect(&many, XDP_PASS, VG_REASON_IN_HEAP);
	many_begin(&many, 4, 24 + 32, 700);
	many_add(&many, "many-a");
	many_add(&many, "many-near");
	many_expect(&many, XDP_PASS, VG_REASON_NEAR_EXPIRY);
	many_five(&many, 4, 600);
	many_body(&many)[0] ^= 1; /* the first key's hash */
	many_expect(&many, XDP_PASS, VG_REASON_HASH_MISMATCH);
	many_five(&many, 4, 600);
	many_body(&many)[12] = 1; /* reserved */
	many_expect(&many, XDP_PASS, VG_REASON_BAD_HEADER);
	many_five(&many, 4, 600);
	many_body(&many)[16 + 7] = 1; /* the key's padding */
	many_expect(&many, XDP_PASS, VG_REASON_BAD_HEADER);
	many_five(&many, 4, 600);
	many_body(&many)[10] = 0xff; /* the key's length */
	many_expect(&many, XDP_PASS, VG_REASON_KEY_TOO_LONG);
	many_five(&many, 4, 600);
	packet_header(&many.packet)->argument = VG_HTOBE64(4); /* more in the body than that */
	many_expect(&many, XDP_PASS, VG_REASON_BAD_HEADER);
	many_five(&many, 4, 600);
	packet_header(&many.packet)->argument = VG_HTOBE64(VG_MGET_KEYS_MAX + 1);
	many_expect(&many, XDP_PASS, VG_REASON_BAD_HEADER);
	many_five(&many, 4, 600);
	packet_header(&many.packet)->argument = 0;
	many_expect(&many, XDP_PASS, VG_REASON_BAD_HEADER);
	many_five(&many, 4, 600);
	fixture.owners[vg_partition_of("many-b", 6)].node = SELF + 1;
	many_expect(&many, XDP_PASS, VG_REASON_BAD_PARTITION);
	fixture.owners[vg_partition_of("many-b", 6)].node = SELF;
}
