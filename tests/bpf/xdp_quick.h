/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The short cut for the usual GET (bpf/lib/quick.bpf.h) says what the long way says. A frame with a VLAN tag never takes
 * the short cut: the same request is run both ways, and everything behind the link header must be equal. Part of
 * test_xdp.c.
 */
static void expect_both_ways(struct request get, enum vg_reason reason)
{
	struct packet quick, slow;
	enum vg_reason met_quick, met_slow;
	int verdict;

	get.version = 4;
	get.vlan_tags = 0;
	packet_build(&quick, &get);
	get.vlan_tags = 1;
	packet_build(&slow, &get);
	verdict = fixture_run(&fixture, &quick, &met_quick);
	assert_int_equal(fixture_run(&fixture, &slow, &met_slow), verdict);
	assert_int_equal(met_quick, reason);
	assert_int_equal(met_slow, reason);
	assert_int_equal(slow.length - slow.network, quick.length - quick.network);
	assert_memory_equal(slow.bytes + slow.network, quick.bytes + quick.network, quick.length - quick.network);
	assert_true(packet_checksums_right(&quick));
}

static void test_xdp_short_cut_shapes(void **state)
{
	static const __u32 lengths[] = { 0, 1, 7, 8, 63, 64, 65, 127, 128, 255, 256, 257, 300 };
	char key[40], value[300];

	for (unsigned int i = 0; i < sizeof(value); i++)
		value[i] = (char)(i * 29 + 3);
	for (__u32 key_length = 1; key_length <= sizeof(key); key_length++) {
		for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			struct request get;
			char name[sizeof(key) + 1];

			memset(name, 'q', sizeof(name));
			name[key_length] = 0;
			name[key_length - 1] = (char)('a' + i);
			store_set(fixture.store, name, value, lengths[i], i % 2 ? NOW_MS + 100000 : 0);
			get = request_get(name, key_length);
			get.room = lengths[i] > 80 ? lengths[i] : 80;
			expect_both_ways(get, VG_REASON_HIT);
			get.room = lengths[i] - 1; /* one byte too few, where the key does not make room for it */
			if (lengths[i] > sizeof(key))
				expect_both_ways(get, VG_REASON_NO_ROOM);
		}
	}
}

static void test_xdp_short_cut_refusals(void **state)
{
	struct request get;
	struct packet packet;

	store_set(fixture.store, "quick", "value", 5, 0);
	get = request_get("quick", 5);
	get.room = 80;
	expect_both_ways(get, VG_REASON_HIT);
	get.epoch = EPOCH;
	expect_both_ways(get, VG_REASON_HIT);
	get.epoch = EPOCH - 1;
	expect_both_ways(get, VG_REASON_STALE_EPOCH);
	get.epoch = 0;
	get.flags = VG_FLAG_REPLY;
	expect_both_ways(get, VG_REASON_IS_REPLY);
	get.flags = 0;
	get.body_length = 8;
	expect_both_ways(get, VG_REASON_BAD_HEADER);
	get.body_length = 0;
	get.ident ^= 1ULL << 63; /* another tag, the same bucket */
	expect_both_ways(get, VG_REASON_HASH_MISMATCH);
	get.ident ^= 1ULL << 63;
	packet_build(&packet, &get);
	packet.bytes[packet.header + sizeof(struct vg_wire_header) + 5] = 1; /* padding of the key that is not zero */
	packet_repair(&packet);
	expect(&packet, XDP_PASS, VG_REASON_BAD_HEADER);
	fixture.local->lease_until_ns = CLOCK_NS;
	expect_both_ways(get, VG_REASON_NO_LEASE);
	fixture.local->lease_until_ns = ~0ULL;
	store_set(fixture.store, "quick", "value", 5, NOW_MS + 1);
	expect_both_ways(get, VG_REASON_NEAR_EXPIRY);
	fixture.local->unix_offset_ns = UNIX_OFFSET_NS + 2000000;
	expect_both_ways(get, VG_REASON_EXPIRED);
	fixture.local->unix_offset_ns = UNIX_OFFSET_NS;
	store_set(fixture.store, "quick", "value", 5, 0);
	expect_both_ways(get, VG_REASON_HIT);
}
