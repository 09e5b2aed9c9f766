/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests for other nodes, and from them. A part of test_xdp.c, included by it alone. */

static void node_write(__u32 flags, __u32 ifindex)
{
	fixture.nodes[9] = (struct vg_node){
		.flags = flags, .address4 = VG_HTOBE32(0x0a000009), .address6 = { 0xfd, [15] = 9 },
		.mac = { 2, 0, 0, 0, 0, 9 }, .port_mem = VG_HTOBE16(PORT + 9), .ifindex = ifindex,
	};
}

static void expect_steered(const struct request *request, int verdict, enum vg_reason reason)
{
	struct packet packet, before;

	packet_build(&packet, request);
	before = packet;
	expect(&packet, verdict, reason);
	assert_memory_equal(packet.bytes, ((const __u8[]){ 2, 0, 0, 0, 0, 9 }), 6);
	assert_memory_equal(packet.bytes + 6, ((const __u8[]){ 2, 0, 0, 0, 0, 1 }), 6);
	if (request->version == 6) {
		assert_int_equal(packet.bytes[packet.network + 7], before.bytes[before.network + 7] - 1);
		assert_memory_equal(packet.bytes + packet.network + 8, before.bytes + before.network + 8, 16);
		assert_memory_equal(packet.bytes + packet.network + 24, fixture.nodes[9].address6, 16);
	} else {
		assert_int_equal(packet.bytes[packet.network + 8], before.bytes[before.network + 8] - 1);
		assert_memory_equal(packet.bytes + packet.network + 12, before.bytes + before.network + 12, 4);
		assert_memory_equal(packet.bytes + packet.network + 16, &fixture.nodes[9].address4, 4);
	}
	assert_memory_equal(packet.bytes + packet.udp, before.bytes + before.udp, 2); /* the client's port stays */
	assert_memory_equal(packet.bytes + packet.udp + 2, &fixture.nodes[9].port_mem, 2);
	assert_int_equal(packet_header(&packet)->hops, request->hops + 1);
	packet_header(&packet)->hops--;
	assert_memory_equal(packet_header(&packet), packet_header(&before), before.length - before.header);
}

static void test_xdp_steering(void **state)
{
	struct request get = request_get("elsewhere", 9);
	struct packet packet;

	fixture.owners[get.partition].node = 9;
	node_write(0, 1);
	expect_request(&get, XDP_PASS, VG_REASON_STEER_FAMILY);
	node_write(VG_NODE_HAS_V4 | VG_NODE_HAS_V6, 1);
	get.vlan_tags = 1; /* no routing table is asked here */
	expect_request(&get, XDP_PASS, VG_REASON_STEER_NO_ROUTE);
	node_write(VG_NODE_HAS_V4 | VG_NODE_HAS_V6 | VG_NODE_HAS_MAC, 1);
	for (int shape = 0; shape < 6; shape++) {
		get.version = shape & 1 ? 6 : 4;
		get.vlan_tags = shape / 2;
		get.hops = (__u8)(shape % VG_HOPS_MAX);
		node_write(VG_NODE_HAS_V4 | VG_NODE_HAS_V6 | VG_NODE_HAS_MAC, 1);
		expect_steered(&get, XDP_TX, VG_REASON_STEERED);
		node_write(VG_NODE_HAS_V4 | VG_NODE_HAS_V6 | VG_NODE_HAS_MAC, 2);
		expect_steered(&get, XDP_REDIRECT, VG_REASON_STEERED_OUT);
	}
	get.vlan_tags = get.version = 0;
	get.hops = VG_HOPS_MAX;
	expect_request(&get, XDP_PASS, VG_REASON_STEER_HOPS);
	get.hops = 0;
	packet_build(&packet, &get);
	packet.bytes[packet.network + 8] = 1; /* time to live */
	packet_repair(&packet);
	expect(&packet, XDP_PASS, VG_REASON_STEER_HOPS);
	get.flags = VG_FLAG_FORWARDED;
	expect_request(&get, XDP_PASS, VG_REASON_BAD_PARTITION);
	get.flags = 0;
	for (int i = 0; i < 3; i++) {
		get.opcode = (const __u8[]){ VG_OP_SET, VG_OP_DEL, VG_OP_COMMAND }[i];
		expect_steered(&get, XDP_TX + 1, VG_REASON_STEERED_OUT);
	}
	get = (struct request){ .opcode = VG_OP_HANDLE_SET, .ident = vg_handle_make(9, 1, 1), .body_length = 100 };
	expect_steered(&get, XDP_REDIRECT, VG_REASON_STEERED_OUT);
	get = request_get("nobody", 6);
	fixture.owners[get.partition].node = VG_NODE_NONE;
	expect_request(&get, XDP_PASS, VG_REASON_BAD_PARTITION);
	get.partition = VG_PARTITIONS;
	expect_request(&get, XDP_PASS, VG_REASON_BAD_PARTITION);
	for (int i = 0; i < VG_PARTITIONS; i++)
		fixture.owners[i].node = SELF;
}

/* What another node steered here is answered to the client, whose link address tc_egress has noted; or it is passed. */
static void test_xdp_steered_here(void **state)
{
	struct vg_neighbour neighbour = { .seen_ns = CLOCK_NS, .mac = { 2, 0, 0, 0, 0, 0x77 }, .ifindex = 1 };
	int map = bpf_map__fd(fixture.skeleton->maps.vg_neighbour);
	struct vg_ip_address client4 = { { [10] = 0xff, 0xff, 10, 0, 0, 2 } }, client6 = { { 0xfd, [15] = 2 } };
	struct request get = request_get("steered", 7);
	struct packet packet;

	store_set(fixture.store, "steered", "value", 5, 0);
	for (int shape = 0; shape < 2; shape++) {
		const struct vg_ip_address *client = shape ? &client6 : &client4;

		get.version = shape ? 6 : 4;
		get.hops = 1;
		expect_request(&get, XDP_PASS, VG_REASON_NO_NEIGHBOUR);
		assert_int_equal(bpf_map_update_elem(map, client, &neighbour, BPF_ANY), 0);
		packet_build(&packet, &get);
		expect(&packet, XDP_TX, VG_REASON_HIT);
		assert_memory_equal(packet.bytes, neighbour.mac, 6);
		assert_memory_equal(packet.bytes + 6, ((const __u8[]){ 2, 0, 0, 0, 0, 1 }), 6);
		assert_int_equal(packet_header(&packet)->hops, 0);
		neighbour.seen_ns = CLOCK_NS - VG_NEIGHBOUR_AGE_MS * 1000000ULL - 1; /* too long ago */
		assert_int_equal(bpf_map_update_elem(map, client, &neighbour, BPF_ANY), 0);
		expect_request(&get, XDP_PASS, VG_REASON_NO_NEIGHBOUR);
		neighbour.seen_ns = CLOCK_NS;
		neighbour.ifindex = 2; /* reached elsewhere than the request came from */
		assert_int_equal(bpf_map_update_elem(map, client, &neighbour, BPF_ANY), 0);
		expect_request(&get, XDP_PASS, VG_REASON_NO_NEIGHBOUR);
		neighbour.ifindex = 1;
		get.hops = 0; /* straight from the client: nobody needs to be known */
		expect_request(&get, XDP_TX, VG_REASON_HIT);
	}
}
